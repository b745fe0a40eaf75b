# Cancel, time-out and termination at any moment of a build, an insert, a scan, VACUUM and a check: a clean
# ERROR, nothing left behind, and the index can be used or dropped.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use VecdbTest;

my $dims = 64;
my $node = new_node('cancel', 'max_parallel_maintenance_workers = 2', 'min_parallel_table_scan_size = 0', 'shared_buffers = 32MB');
$node->safe_psql('postgres', "
	CREATE TABLE t (id serial PRIMARY KEY, v vector($dims)) WITH (parallel_workers = 2);
	CREATE TABLE begun (app text);
	CREATE TABLE pool AS SELECT clustered(i, $dims) AS v FROM generate_series(0, 999) i;
	INSERT INTO t (v) SELECT p.v + q.v * array_fill(0.1, ARRAY[$dims])::vector FROM pool p, (SELECT v FROM pool LIMIT 20) q;
	CREATE INDEX t_v ON t USING $am (v vector_l2_ops) @{[ with(100) ]};
	CREATE TABLE long (id serial, v vector(6000));
	INSERT INTO long (v) SELECT random_vector(6000) FROM generate_series(1, 40);
	CREATE INDEX long_v ON long USING $am (v vector_l2_ops) @{[ with(3) ]};
	ANALYZE");

my %work = (
	'serial build' => qq{SET max_parallel_maintenance_workers = 0; CREATE INDEX c_serial ON t USING $am (v vector_ip_ops) @{[ with(1000) ]}},
	'parallel build' => qq{CREATE INDEX c_parallel ON t USING $am (v vector_cosine_ops) @{[ with(1000) ]}},
	'build with sorts on disk' => "SET maintenance_work_mem = '2MB'; CREATE INDEX c_disk ON t USING $am (v vector_l2_ops) @{[ with(200) ]}",
	'concurrent build' => qq{CREATE INDEX CONCURRENTLY c_concurrent ON t USING $am (v vector_l2_ops) @{[ with(500) ]}},
	'reindex' => qq{REINDEX INDEX t_v},
	'insert' => qq{INSERT INTO t (v) SELECT v FROM pool, generate_series(1, 30)},
	'insert of long rows' => qq{INSERT INTO long (v) SELECT v FROM long, generate_series(1, 60)},
	'scans' => "SET enable_seqscan = off; SET enable_sort = off; SET work_mem = '64kB'; @{[ exhaustive() ]};
		SELECT sum(n) FROM pool q, LATERAL (SELECT count(id) AS n FROM (SELECT id FROM t ORDER BY v <-> q.v OFFSET 0) x) y",
	'scans of long rows' => qq{SET enable_seqscan = off; SET enable_sort = off; @{[ effort(3) ]};
		SELECT sum(n) FROM long q, generate_series(1, 100), LATERAL (SELECT count(id) AS n FROM (SELECT id FROM long ORDER BY v <-> q.v OFFSET 0) x) y},
	'delete and vacuum' => qq{DELETE FROM t WHERE id % 3 = 0; VACUUM t},
	'check' => "SELECT vecdb_index_check('t_v', true) FROM generate_series(1, 50)");

my $drop = 'DROP INDEX IF EXISTS c_serial, c_parallel, c_disk, c_concurrent';
my $restore = "DELETE FROM t WHERE id > 20000; DELETE FROM long WHERE id > 40; VACUUM t; VACUUM long;
	INSERT INTO t SELECT i, v FROM generate_series(1, 20000) i JOIN (SELECT row_number() OVER () AS n, v FROM pool) p ON n = i % 1000 + 1 WHERE NOT EXISTS (SELECT FROM t WHERE id = i)";

# How long each takes when nobody interrupts it, up to a second, so that it is interrupted in its midst on any machine
my %seconds;
my $start = time();
$node->safe_psql('postgres', 'SELECT');
my $connecting = time() - $start;
foreach my $kind (sort keys %work)
{
	$start = time();
	$node->psql('postgres', join(";\n", "SET statement_timeout = '1s'", split(/;\s*/, $work{$kind})), on_error_die => 0);
	$seconds{$kind} = time() - $start - $connecting;
	$seconds{$kind} = 0.02 if $seconds{$kind} < 0.02;
	$node->safe_psql('postgres', $drop);
}
$node->safe_psql('postgres', $restore);

my $interrupted = 0;
foreach my $round (1 .. 3)
{
	foreach my $kind (sort keys %work)
	{
		my $way = (qw(pg_cancel_backend pg_terminate_backend statement_timeout))[ ($round + length $kind) % 3 ];
		# from the first milliseconds to the midst, and the end
		my $delay = $seconds{$kind} * ($round == 1 ? 0.02 + rand(0.1) : 0.05 + rand(0.8));
		my $ms = int(1000 * $delay) + 1;
		my $app = "work $round $kind";
		my $script = "SET application_name = '$app';\nINSERT INTO begun VALUES ('$app');\n" . ($way eq 'statement_timeout' ? "SET statement_timeout = $ms;\n" : '');
		$script .= join(";\n", split(/;\s*/, $work{$kind})) . ";\n";
		my $session = begin_session($node, $script, stop => 1);
		my $sent;
		if ($way ne 'statement_timeout')
		{
			$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM begun WHERE app = '$app'") or die "session did not begin";
			sleep($delay);
			$sent = time();
			$node->safe_psql('postgres', "SELECT $way(pid) FROM pg_stat_activity WHERE application_name = '$app' AND backend_type = 'client backend'");
		}
		my (undef, $err) = end_session($session);
		my $took = $sent ? sprintf(', %.2f s after the signal', time() - $sent) : '';
		$err = join("\n", grep { /ERROR|FATAL|PANIC|WARNING|server closed/ } split(/\n/, $err));
		$interrupted++ if $err ne '';
		like($err, qr/^$|canceling statement due to (user request|statement timeout)$|terminating connection due to administrator command(\n.*server closed.*)?$/m,
			"$kind, $way after $ms ms: " . ($err eq '' ? 'was done before' : 'a clean end') . $took);
		$node->safe_psql('postgres', $drop);
	}
	# a worker ends a moment after its leader
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker' OR application_name ~ '^work'"),
		"round $round: no session and no worker is left");
	my @files = grep { -f } map { glob($node->data_dir . "/base/pgsql_tmp/$_") } ('*', '*/*');
	is("@files", '', "round $round: no temporary file is left");
	sound($node, "round $round");
	$node->safe_psql('postgres', $restore);
	same_answers($node, 't', $dims, 1, "round $round", classes => [ $OPCLASSES[0] ]);
	same_answers($node, 'long', 6000, 1, "round $round", classes => [ $OPCLASSES[0] ]);
}
# A time-out comes in time; a signal, which takes two connections, may be late for what is short.
cmp_ok($interrupted, '>', 3 * keys(%work) / 4, "$interrupted of " . 3 * keys(%work) . ' were interrupted');

is($node->safe_psql('postgres', "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), '0', 'no invalid index is left');
clean_log($node, 'interrupts');
$node->stop;
done_testing();
