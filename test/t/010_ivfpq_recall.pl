# Recall against the exact scan: ivfpq. The test is ../perl/recall.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'recall');
