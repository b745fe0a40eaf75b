# Everything at the same time: ivfpq. The test is ../perl/concurrency.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'concurrency');
