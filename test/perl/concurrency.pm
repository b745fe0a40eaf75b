# Inserts, deletes, updates, VACUUM, builds and scans at the same time: no error, no wrong answer,
# and sound indexes at the end.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my $seconds = $ENV{SOAK_SECONDS} // 15;
my $dims = 24;

my $node = new_node('soak', 'deadlock_timeout = 100ms', 'shared_buffers = 16MB', 'max_parallel_maintenance_workers = 2',
	'min_parallel_table_scan_size = 0', 'max_wal_size = 1GB', 'autovacuum_naptime = 1s');
$node->safe_psql('postgres', "
	CREATE TABLE pool AS SELECT i, clustered(i, $dims) AS v, NULL::vector(2100) AS w FROM generate_series(0, 255) i;
	UPDATE pool SET w = clustered(i, 2100) WHERE i < 32;
	CREATE TABLE t (id serial PRIMARY KEY, kind int DEFAULT 0, v vector($dims)) WITH (parallel_workers = 2);
	INSERT INTO t (v) SELECT v FROM pool, generate_series(1, 12);
	CREATE TABLE long (id serial PRIMARY KEY, v vector(2100));
	INSERT INTO long (v) SELECT w FROM pool WHERE w IS NOT NULL;
	-- few lists and full pages: sessions meet on the same ones
	CREATE INDEX t_l2 ON t USING $am (v vector_l2_ops) @{[ with(5) ]};
	CREATE INDEX t_cosine ON t USING $am (v vector_cosine_ops) @{[ with(40) ]};
	CREATE INDEX long_l2 ON long USING $am (v vector_l2_ops) @{[ with(3) ]};
	ANALYZE");

# Compares the index's answer with the table in one snapshot: each visible row once, at its own distance, in order.
$node->safe_psql('postgres', q{
	CREATE FUNCTION verify(tab text, op text, query vector) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		wrong text;
	BEGIN
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('ivfflat.probes', '32768', true), set_config('ivfpq.probes', '32768', true), set_config('vecdb.target_recall', '1', true);
		EXECUTE format('CREATE TEMP TABLE got ON COMMIT DROP AS SELECT row_number() OVER () AS n, id, v, d FROM
			(SELECT id, v, v %1$s %3$L AS d FROM %2$s ORDER BY v %1$s %3$L) x', op, tab, query);
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE format('CREATE TEMP TABLE want ON COMMIT DROP AS SELECT id, v, v %1$s %3$L AS d FROM %2$s', op, tab, query);
		ANALYZE got, want;
		SELECT string_agg(concat_ws(' ', id, trouble), ', ') INTO wrong FROM (
			SELECT id, 'missing' AS trouble FROM want WHERE id NOT IN (SELECT id FROM got)
			UNION ALL SELECT id, 'too much' FROM got WHERE id NOT IN (SELECT id FROM want)
			UNION ALL SELECT id, 'twice' FROM got GROUP BY id HAVING count(*) > 1
			UNION ALL SELECT id, 'other value' FROM got JOIN want USING (id) WHERE got.d <> want.d OR got.v <> want.v
			UNION ALL SELECT id, 'out of order' FROM (SELECT id, d, lag(d) OVER (ORDER BY n) AS before FROM got) o WHERE before > d) x;
		IF wrong IS NOT NULL THEN
			RAISE 'wrong answer of % %: %', tab, op, left(wrong, 200);
		END IF;
	END $$;
});

my $lines = 400 * $seconds;
my $insert = "INSERT INTO t (v) SELECT v FROM pool ORDER BY random() LIMIT 1;\n";
my $verify = join('', map { "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT verify('$_->[0]', '$_->[1]', (SELECT $_->[2] FROM pool WHERE i < 32 ORDER BY random() LIMIT 1)); COMMIT;\n" }
	([ 't', '<->', 'v' ], [ 't', '<=>', 'v' ], [ 'long', '<->', 'w' ]));
my %scripts = (
	'insert' => "BEGIN; $insert$insert$insert SAVEPOINT s; $insert ROLLBACK TO s; $insert COMMIT;\n",
	'insert 2' => "INSERT INTO t (v) SELECT v FROM pool WHERE i % 32 = (random() * 31)::int LIMIT 4;\n",
	'delete' => "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id LIMIT 9) AND (SELECT count(*) FROM t) > 3000;\nBEGIN; DELETE FROM t WHERE id % 50 = 1; ROLLBACK;\n",
	'update' => "UPDATE t SET v = (SELECT v FROM pool ORDER BY random() LIMIT 1) WHERE id IN (SELECT id FROM t ORDER BY id DESC LIMIT 2);\n" .
	  "UPDATE t SET kind = kind + 1 WHERE id IN (SELECT id FROM t ORDER BY id DESC LIMIT 3);\n",
	'long rows' => "INSERT INTO long (v) SELECT w FROM pool WHERE i < 32 ORDER BY random() LIMIT 1;\nDELETE FROM long WHERE id IN (SELECT id FROM long ORDER BY id LIMIT 1);\n",
	'vacuum' => "VACUUM t;\nVACUUM long;\n",
	'verify' => $verify,
	'check' => "SELECT vecdb_index_check('t_l2'); SELECT vecdb_index_check('t_cosine'); SELECT vecdb_index_check('long_l2');\n");

sub together
{
	my ($name, $for, %scripts) = @_;
	my $end = time() + $for;
	my %sessions;
	# each script ends by itself, between two transactions
	foreach my $kind (sort keys %scripts)
	{
		my @steps = split(/(?<=\n)/, $scripts{$kind});
		my $n = int($lines / @steps);
		my $script = "SET statement_timeout = '60s'; SELECT setseed(0.$VecdbTest::seed);\n";
		$script .= "$scripts{$kind}SELECT extract(epoch FROM clock_timestamp()) > $end AS over \\gset\n\\if :over\n\\q\n\\endif\n" foreach 1 .. $n;
		$sessions{$kind} = begin_session($node, $script, stop => 1);
	}
	my @errors;
	foreach my $kind (sort keys %sessions)
	{
		my (undef, $err) = end_session($sessions{$kind});
		$err = join("\n", grep { !/NOTICE|DETAIL|HINT|^$/ } split(/\n/, $err));
		push @errors, "$kind: $err" if $err ne '';
	}
	is(join("\n", @errors), '', "$name: no session met an error");
	sound($node, $name);
	same_answers($node, 't', $dims, 2, $name, classes => [ @OPCLASSES[ 0, 2 ] ]);
	same_answers($node, 'long', 2100, 1, $name, classes => [ $OPCLASSES[0] ]);
}

together("$seconds s of everything", $seconds, %scripts);
my $calls = $node->safe_psql('postgres', 'SELECT sum(n_tup_ins), sum(n_tup_del), min(vacuum_count) > 0 FROM pg_stat_user_tables WHERE relname IN (\'t\', \'long\')');
note("inserted, deleted, vacuumed: $calls");

# Builds meet writers.
delete @scripts{ 'insert 2', 'check' };
$scripts{'vacuum'} = "VACUUM long;\n";
together('builds under load', $ENV{SOAK_BUILDS} // 8, %scripts,
	'build' => "CREATE INDEX CONCURRENTLY t_ip ON t USING $am (v vector_ip_ops) @{[ with(10) ]};\nSELECT vecdb_index_check('t_ip');\nREINDEX INDEX CONCURRENTLY t_l2;\nSELECT vecdb_index_check('t_l2');\nDROP INDEX CONCURRENTLY t_ip;\n");
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), '0', 'no index is left invalid');

# Long chains of pages with one row each: VACUUM takes away pages that a scan is on its way to, and inserts into the
# other list take them. Rows that were updated stand behind these pages, and must be in every scan all the same.
$node->safe_psql('postgres', "
	CREATE TABLE chain (id int, v vector(1900));
	INSERT INTO chain SELECT i, array_fill((i % 2 * 2 - 1)::real, ARRAY[1900])::vector FROM generate_series(1, 600) i ORDER BY i % 4 < 2, i;
	CREATE INDEX chain_v ON chain USING $am (v vector_l2_ops) @{[ with(2) ]};
	DELETE FROM chain WHERE id % 4 >= 2;
	CREATE FUNCTION all_there() RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		n bigint;
		d bigint;
	BEGIN
		SELECT count(*), count(DISTINCT id) INTO n, d FROM (SELECT id FROM chain ORDER BY v <-> array_fill(1, ARRAY[1900])::vector OFFSET 0) x WHERE id <= 600;
		IF n <> 300 OR d <> 300 THEN
			RAISE 'a scan found % rows, % different, of 300', n, d;
		END IF;
	END \$\$ SET enable_seqscan = off SET enable_sort = off SET ivfflat.probes = 2 SET ivfpq.probes = 2 SET vecdb.target_recall = 1");
my $churn = join('', map { my $side = $_; "INSERT INTO chain SELECT 1000 + i, array_fill($side, ARRAY[1900])::vector FROM generate_series(1, 100) i;\n" .
	  "UPDATE chain SET v = array_fill($side * (1 + random() / 100)::real, ARRAY[1900])::vector WHERE id BETWEEN 1 AND 40 AND id % 4 = ($side + 1) / 2;\nDELETE FROM chain WHERE id > 1000;\nVACUUM chain;\n" } (1, -1));
together('chains that lose and gain pages', 6, 'churn' => $churn, map { ("scan $_" => "SELECT all_there();\n" x 10) } (1 .. 3));

# VACUUM trains the lists anew, again and again, while they are checked, read and written.
if ($am ne 'hnsw')
{
	$node->safe_psql('postgres', "
		CREATE TABLE young (id serial, v vector($dims)) WITH (autovacuum_enabled = off);
		CREATE INDEX young_v ON young USING $am (v) @{[ with(4) ]};
		CREATE FUNCTION fill(n int) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO young (v) SELECT v FROM pool, generate_series(1, n) \$\$");
	my $looks = "SELECT vecdb_index_check('young_v');\nSELECT count(*) FROM vecdb_check('young_v') WHERE severity <> 'note';\n";
	together('trainings', 6, 'train' => "TRUNCATE young;\nSELECT fill(6);\nVACUUM young;\nSELECT fill(8);\nVACUUM young;\n",
		'insert' => "INSERT INTO young (v) SELECT v FROM pool WHERE i % 8 = 3;\n",
		'verify' => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT verify('young', '<->', (SELECT v FROM pool WHERE i = 5)); COMMIT;\n",
		map { ("check $_" => $looks) } (1 .. 2));
}

# Prepared transactions that cross a build and a crash
$node->safe_psql('postgres', "BEGIN; INSERT INTO t (v) SELECT v FROM pool; DELETE FROM t WHERE id % 9 = 1; PREPARE TRANSACTION 'p'");
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', "BEGIN; INSERT INTO t (v) SELECT v FROM pool; PREPARE TRANSACTION 'q'; VACUUM t; COMMIT PREPARED 'p'; ROLLBACK PREPARED 'q'");
sound($node, 'prepared transactions');
same_answers($node, 't', $dims, 2, 'prepared transactions', classes => [ @OPCLASSES[ 0, 2 ] ]);
$node->safe_psql('postgres', 'VACUUM t');
sound($node, 'at last');

is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"), '0', 'no worker is left');
clean_log($node, 'concurrency', no_errors => 1);
$node->stop;
done_testing();
