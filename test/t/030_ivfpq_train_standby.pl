# A standby replays a training: ivfpq with rerank = index, codes of opq or pq. The test is ../perl/train_standby.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'train_standby', copies => 1, quantizer => 'opq');
