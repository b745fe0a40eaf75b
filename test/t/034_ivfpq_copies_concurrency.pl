# Many sessions at once: ivfpq with rerank = index. The test is ../perl/concurrency.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'concurrency', copies => 1);
