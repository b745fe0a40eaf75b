# Recall of every quantizer of ivfpq against the exact scan, under every metric, with distances from the table, from
# copies in the index, and from the codes alone. Rows and queries are the same in every run.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my ($dims, $rows, $queries) = (32, 3000, 40);
# least recall@10 of codes alone, 8 of 40 lists, under L2, inner product and cosine; measured: 0.1 more, sq8 0.99
my @codes = (
	[ 'quantizer = rabitq, bits = 1', 0.62, 0.78, 0.62 ],
	[ 'quantizer = rabitq, bits = 2', 0.78, 0.84, 0.77 ],
	[ 'quantizer = rabitq, bits = 4', 0.84, 0.88, 0.85 ],
	[ 'quantizer = pq, bits = 4, m = 16', 0.70, 0.80, 0.68 ],
	[ 'quantizer = pq, m = 8', 0.71, 0.80, 0.68 ],
	[ 'quantizer = opq, bits = 4, m = 16', 0.69, 0.79, 0.66 ],
	[ 'quantizer = opq, m = 8', 0.70, 0.80, 0.69 ],
	[ 'quantizer = sq8', 0.95, 0.95, 0.95 ]);

my $node = new_node('recall', 'max_parallel_maintenance_workers = 0', 'fsync = off');
$node->safe_psql('postgres', "
	SELECT setseed(0.37);
	CREATE TABLE t (id int PRIMARY KEY, v vector($dims));
	INSERT INTO t SELECT i, clustered(i, $dims) FROM generate_series(1, $rows) i;
	CREATE TABLE queries AS SELECT i, clustered(i, $dims) AS v FROM generate_series(1, $queries) i;
	CREATE FUNCTION found(op text) RETURNS SETOF record LANGUAGE plpgsql AS \$\$ BEGIN RETURN QUERY EXECUTE format(
		'SELECT q.i, x.id, x.d FROM queries q, LATERAL (SELECT id, t.v %1\$s q.v AS d FROM t ORDER BY t.v %1\$s q.v LIMIT 10) x', op); END \$\$;
	ANALYZE");

foreach my $n (0 .. 2)
{
	my $class = $OPCLASSES[$n];
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS truth; SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0;
		CREATE TABLE truth AS SELECT i, max(d) AS far FROM found('$class->{op}') AS x(i int, id int, d float) GROUP BY i");
	my $recall = "SELECT count(*) FILTER (WHERE d <= far) / ($queries * 10.0) FROM found('$class->{op}') AS x(i int, id int, d float) JOIN truth USING (i)";
	foreach my $of (@codes)
	{
		my ($codes, @least) = @$of;
		my $out = $node->safe_psql('postgres', "
			CREATE INDEX t_v ON t USING ivfpq (v $class->{name}) WITH (lists = 40, rerank = index, $codes);
			SET enable_seqscan = off;
			EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v $class->{op} '@{[ random_literal($dims) ]}' LIMIT 10;
			ALTER INDEX t_v SET (rerank = heap);
			$recall;
			ALTER INDEX t_v SET (rerank = index);
			$recall;
			SET ivfpq.probes = 40;
			$recall;
			SET ivfpq.probes = 8;
			ALTER INDEX t_v SET (rerank = none);
			$recall;
			DROP INDEX t_v");
		my ($heap, $copies, $all, $none) = $out =~ /^([01]\.\d+)$/mg;
		my $name = "$class->{name}, $codes";
		like($out, qr/Index Scan using t_v.*Order By:/s, "$name: an index scan");
		cmp_ok($heap, '>=', $n == 1 ? 0.90 : 0.95, "$name: recall\@10 $heap");
		cmp_ok($copies, '>=', $heap - 0.01, "$name, rerank = index: recall\@10 $copies");
		cmp_ok($all, '==', 1, "$name, all lists: every row");
		cmp_ok($none, '>=', $least[$n], "$name, rerank = none: recall\@10 $none");
	}
}
clean_log($node, 'recall');
$node->stop;
done_testing();
