# Training in VACUUM, stopped at each of its points: ivfpq. The test is ../perl/train.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'train');
