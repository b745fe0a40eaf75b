# A standby replays, answers and is promoted: ivfpq with rerank = index, codes of opq where it has few dimensions. The test is ../perl/wal.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'wal', copies => 1, quantizer => 'opq');
