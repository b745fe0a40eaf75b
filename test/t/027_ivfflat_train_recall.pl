# Recall of an index that trained itself: ivfflat. The test is ../perl/train_recall.pm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use VecdbTest;

test_method('ivfflat', 'train_recall');
