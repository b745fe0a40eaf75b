# Cancel, time-out and termination at any moment: ivfpq. The test is ../perl/cancel.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'cancel');
