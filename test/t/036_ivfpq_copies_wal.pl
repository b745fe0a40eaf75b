# A standby replays, answers and is promoted: ivfpq with rerank = index. The test is ../perl/wal.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'wal', copies => 1);
