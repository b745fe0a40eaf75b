# Crashes at any moment: ivfpq with rerank = index, codes of opq where it has few dimensions. The test is ../perl/crash.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'crash', copies => 1, quantizer => 'opq');
