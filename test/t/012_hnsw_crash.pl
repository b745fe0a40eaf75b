# Crashes at any moment: hnsw. The test is ../perl/crash.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('hnsw', 'crash');
