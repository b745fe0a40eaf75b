# A standby replays a training: ivfflat. The test is ../perl/train_standby.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfflat', 'train_standby');
