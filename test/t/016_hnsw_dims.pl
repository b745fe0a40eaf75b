# Recall at 1 to 16,000 dimensions: hnsw. The test is ../perl/dims.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('hnsw', 'dims');
