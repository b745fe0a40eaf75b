# A standby replays a training: ivfpq. The test is ../perl/train_standby.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'train_standby');
