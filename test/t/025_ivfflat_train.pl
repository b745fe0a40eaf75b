# Training in VACUUM, stopped at each of its points: ivfflat. The test is ../perl/train.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfflat', 'train');
