# A crowd for a minute: eight writers, VACUUM without end, readers. Afterwards the index is sound, and nearly
# every row is found by its own vector.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my $seconds = $ENV{CROWD_SECONDS} // 60;
my ($dims, $rows, $writers) = (64, 4000, 8);
my $node = new_node('crowd', 'max_connections = 30', 'deadlock_timeout = 100ms', 'max_wal_size = 2GB', 'work_mem = 32MB');
$node->safe_psql('postgres', "
	CREATE TABLE t (id bigserial PRIMARY KEY, writer int, v vector($dims));
	INSERT INTO t (writer, v) SELECT i % $writers, clustered(i, $dims) FROM generate_series(1, $rows) i;
	CREATE INDEX t_v ON t USING $am (v vector_l2_ops);
	ANALYZE");

# In one snapshot: each row once, in order, at its own distance, and none that the table does not have.
$node->safe_psql('postgres', q{
	CREATE FUNCTION look(query vector) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		wrong bigint;
	BEGIN
		SELECT count(*) - count(DISTINCT g.id) + count(*) FILTER (WHERE t.id IS NULL OR t.v <-> query <> g.d) +
			count(*) FILTER (WHERE g.d < g.before) + abs(40 - count(*)) INTO wrong
		FROM (SELECT id, d, lag(d) OVER (ORDER BY n) AS before FROM
				(SELECT id, d, row_number() OVER () AS n FROM (SELECT id, v <-> query AS d FROM t ORDER BY v <-> query LIMIT 40) x) y) g
			LEFT JOIN t USING (id);
		IF wrong <> 0 THEN
			RAISE 'a scan gave % wrong rows', wrong;
		END IF;
	END $$ SET enable_seqscan = off;
});

my $end = time() + $seconds;
my %sessions;
my $run = sub {
	my ($name, $line) = @_;
	$sessions{$name} = begin_session($node, "SET statement_timeout = '120s';\n" .
		"${line}SELECT extract(epoch FROM clock_timestamp()) > $end AS over \\gset\n\\if :over\n\\q\n\\endif\n" x (400 * $seconds), stop => 1);
};
foreach my $writer (0 .. $writers - 1)
{
	$run->("writer $writer", "INSERT INTO t (writer, v) SELECT $writer, clustered((random() * 1000)::int, $dims) FROM generate_series(1, 4);\n" .
		"DELETE FROM t WHERE id IN (SELECT id FROM t WHERE writer = $writer ORDER BY id LIMIT 3);\n" .
		"UPDATE t SET v = clustered($writer, $dims) WHERE id = (SELECT max(id) FROM t WHERE writer = $writer);\n");
}
$run->('vacuum', "VACUUM t;\n");
$run->("reader $_", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT look(clustered((random() * 1000)::int, $dims)); COMMIT;\n") foreach 1 .. 2;

my @errors;
foreach my $name (sort keys %sessions)
{
	my (undef, $err) = end_session($sessions{$name});
	push @errors, "$name: $err" if $err ne '';
}
is(join("\n", @errors), '', "$seconds s: no session met an error or a wrong row");
note($node->safe_psql('postgres', "SELECT 'inserted, updated, deleted, vacuumed: ' || concat_ws(', ', n_tup_ins, n_tup_upd, n_tup_del, vacuum_count) FROM pg_stat_user_tables WHERE relname = 't'"));
$node->safe_psql('postgres', 'VACUUM t');
sound($node, 'after the crowd');

my ($live, $itself) = split(/\|/, $node->safe_psql('postgres', "SET enable_seqscan = off; @{[ $am eq 'hnsw' ? 'SET hnsw.ef_search = 200' : 'SET ivfflat.probes = 5' ]};
	SELECT count(*), count(*) FILTER (WHERE (SELECT b.id FROM t b ORDER BY b.v <-> a.v LIMIT 1) = a.id) FROM t a"));
cmp_ok($itself, '>=', 0.999 * $live, "$itself of $live rows are found by their own vector");
clean_log($node, 'crowd', no_errors => 1);
$node->stop;
done_testing();
