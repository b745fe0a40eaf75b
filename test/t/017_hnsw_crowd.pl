# Eight writers, VACUUM and readers for a minute: hnsw. The test is ../perl/crowd.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('hnsw', 'crowd');
