# Crashes at any moment: ivfpq. The test is ../perl/crash.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'crash');
