# Recall against the exact scan, on clustered vectors and queries that are not among them: with no
# setting, with a higher target, for rows that came after the build, and after churn.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my ($dims, $rows, $queries) = (48, 10_000, 100);
my $node = new_node('recall', 'max_parallel_maintenance_workers = 2', 'min_parallel_table_scan_size = 0', 'max_parallel_workers_per_gather = 2',
	'parallel_setup_cost = 0', 'parallel_tuple_cost = 0');
$node->safe_psql('postgres', "
	CREATE TABLE t (id serial PRIMARY KEY, v vector($dims)) WITH (parallel_workers = 2);
	INSERT INTO t (v) SELECT clustered(i, $dims) FROM generate_series(1, $rows) i;
	CREATE TABLE queries AS SELECT i, clustered(i, $dims) AS v FROM generate_series(1, $queries) i;
	ANALYZE");

# The truth comes from a parallel sequential scan, as it should on a large table
like($node->safe_psql('postgres', "SET enable_indexscan = off; SET enable_seqscan = on; EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '" . random_literal($dims) . "' LIMIT 10"),
	qr/Parallel Seq Scan on t/, 'the exact scan is parallel');
my $one = random_literal($dims);
is($node->safe_psql('postgres', "SET enable_indexscan = off; SELECT string_agg(id::text, ',') FROM (SELECT id FROM t ORDER BY v <-> '$one' LIMIT 10) x"),
	$node->safe_psql('postgres', "SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0; SELECT string_agg(id::text, ',') FROM (SELECT id FROM t ORDER BY v <-> '$one' LIMIT 10) x"),
	'parallel or not, the exact answer is the same');

sub floor_of
{
	my ($class, $floor, $name, $settings) = @_;
	my $recall = recall($node, 't', $class, 10, $settings // '');
	cmp_ok($recall, '>=', $floor, "$class->{name}: recall\@10 $recall, $name");
	return $recall;
}

foreach my $class (@OPCLASSES)
{
	foreach my $workers (0, 2)
	{
		$node->safe_psql('postgres', "SET max_parallel_maintenance_workers = $workers; CREATE INDEX t_v ON t USING $am (v $class->{name})");
		my $default = floor_of($class, 0.90, "built with $workers workers, no setting");
		floor_of($class, 0.96, 'target 0.99', 'SET vecdb.target_recall = 0.99') if $workers;
		floor_of($class, 1, 'all lists', exhaustive()) if $workers;
		my $least = recall($node, 't', $class, 10, effort(1) . "; SET $am.iterative_scan = off");
		cmp_ok($least, '<=', $default, "$class->{name}: one probe finds no more ($least)");
		$node->safe_psql('postgres', 'DROP INDEX t_v') unless $workers;
	}
	# rows of the same kind after the build, then a quarter of all exchanged three times
	$node->safe_psql('postgres', "INSERT INTO t (v) SELECT clustered(i, $dims) FROM generate_series(1, $rows / 4) i");
	floor_of($class, 0.90, 'a fifth inserted after the build');
	foreach my $round (1 .. 3)
	{
		$node->safe_psql('postgres', "DELETE FROM t WHERE id % 4 = $round; VACUUM t; INSERT INTO t (v) SELECT clustered(i, $dims) FROM generate_series(1, $rows / 4) i");
	}
	my $churned = floor_of($class, 0.88, 'after churn');
	sound($node, "$class->{name}, after churn");
	$node->safe_psql('postgres', 'REINDEX INDEX t_v');
	my $fresh = floor_of($class, 0.90, 'built again');
	cmp_ok($churned, '>=', $fresh - 0.08, "$class->{name}: churn does not cost recall");
	$node->safe_psql('postgres', 'DROP INDEX t_v');
}

# rows in an order that is no sample of the whole: one cluster after the other
$node->safe_psql('postgres', "CREATE TABLE sorted (LIKE t); INSERT INTO sorted SELECT i, clustered(i / 400, $dims) FROM generate_series(1, $rows) i;
	CREATE INDEX sorted_v ON sorted USING $am (v vector_l2_ops)");
my $sorted = recall($node, 'sorted', $OPCLASSES[0], 10, '');
cmp_ok($sorted, '>=', 0.90, "recall\@10 $sorted, rows sorted by cluster");

# strict_order: what a scan gives and what it says it dropped are all rows
my ($got, $dropped) = (0, 0);
foreach my $i (1 .. 5)
{
	my ($ret, $out, $err) = $node->psql('postgres', "SET enable_seqscan = off; SET enable_sort = off; @{[ effort(1) ]}; SET client_min_messages = debug1;
		SELECT count(*) FROM (SELECT id FROM sorted ORDER BY v <-> '" . random_literal($dims) . "') x");
	$got += $out;
	$dropped += $1 if $err =~ /DEBUG:  $am scan dropped (\d+) rows found too late for strict_order/;
}
is($got + $dropped, 5 * $rows, "rows given and rows dropped ($dropped of " . 5 * $rows . ') are all rows');
cmp_ok($dropped, '>', 0, 'some are dropped');
clean_log($node, 'recall');
$node->stop;
done_testing();
