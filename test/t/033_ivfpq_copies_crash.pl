# Crashes at any moment: ivfpq with rerank = index. The test is ../perl/crash.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'crash', copies => 1);
