# Every state that a crash in a training can leave: ivfpq with rerank = index. The test is ../perl/train_states.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfpq', 'train_states', copies => 1);
