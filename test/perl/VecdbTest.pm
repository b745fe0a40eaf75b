# VecdbTest: what the TAP tests share. Servers with vecdb in them, random vectors, the answer of
# an index against the exact one, sessions that run beside the test, and a power cut.
#
# SEED in the environment repeats a run's random choices.
package VecdbTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our @EXPORT = qw($am @OPCLASSES test_method with exhaustive effort new_node new_standby caught_up new_archiver recovered_to answer same_answers sound clean_log
  begin_session end_session random_literal power_cut recall);

# Metric by metric: operator class, operator, and which rows its index holds.
our @OPCLASSES = (
	{ name => 'vector_l2_ops', op => '<->', indexed => 'v IS NOT NULL' },
	{ name => 'vector_ip_ops', op => '<#>', indexed => 'v IS NOT NULL' },
	{ name => 'vector_cosine_ops', op => '<=>', indexed => 'vector_norm(v) > 0' });

# The access method under test, and what differs between them. With copies ivfpq has rerank = index; a quantizer
# is that of all indexes with few dimensions enough for any.
our $am = 'ivfflat';
our $copies = 0;
my $quantizer;

# Run a test of this folder for one access method; copies => 1, quantizer => 'opq': see above.
sub test_method
{
	my ($method, $name, %opt) = @_;
	$am = $method;
	$copies = $opt{copies} // 0;
	$quantizer = $opt{quantizer};
	push @OPCLASSES, { name => 'vector_l1_ops', op => '<+>', indexed => 'v IS NOT NULL' } if $am eq 'hnsw';
	my $done = do "$FindBin::RealBin/../perl/$name.pm";
	die $@ if $@;
	die "$name.pm: $!" unless defined $done;
	return;
}

# Options of CREATE INDEX: so many lists, where there are lists, and codes of the n-th kind, where there are codes, for
# vectors of so many dimensions.
my @quantizers = ('quantizer = rabitq', 'quantizer = pq', 'quantizer = sq8', 'quantizer = opq, bits = 4', 'quantizer = pq, bits = 4', 'bits = 1',
	'quantizer = opq');
sub with
{
	my ($lists, $n, $dims) = @_;
	my $few = ($dims // 0) <= 2048;
	my $codes = $am eq 'ivfpq' && defined $n ? ', ' . $quantizers[ $n % @quantizers ] : '';
	$codes =~ s/opq/pq/ unless $few;
	$codes = ", quantizer = $quantizer" if $quantizer && $few;
	$codes .= ', rerank = index' if $copies;
	return $am eq 'hnsw' ? '' : "WITH (lists = $lists$codes)";
}

# The settings of a search that misses nothing, and of one that reads $n lists, or visits some nodes.
sub exhaustive
{
	# who wants all rows by bounds gets them from the table; so many at a time, from copies
	return "SET $am.probes = 32768; SET $am.rerank_k = 2147483647" if $copies;
	return $am eq 'hnsw' ? 'SET vecdb.target_recall = 1' : "SET $am.probes = 32768";
}

sub effort
{
	my ($n) = @_;
	return $am eq 'hnsw' ? 'SET hnsw.ef_search = ' . 10 * $n : "SET $am.probes = $n";
}

our $seed = $ENV{SEED} // int(rand(1 << 30));
srand($seed);
note("SEED=$seed");

# What every test creates first. clustered(): a vector near one of 32 centres; the same i has the
# same centre, so any part of a table has all of them.
my $functions = q{
	CREATE EXTENSION vecdb;
	CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
	$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;
	CREATE FUNCTION clustered(i int, dims int) RETURNS vector LANGUAGE sql VOLATILE AS
	$$ SELECT array_agg((sin((i % 32) * 78.233 + j * 12.9898 * (1 + i % 32)) +
						 0.6 * (random() + random() + random() - 1.5))::real)::vector FROM generate_series(1, dims) j $$;
};

# A server with vecdb; the remaining arguments are lines for its configuration.
sub new_node
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join("\n", 'autovacuum = off', 'max_prepared_transactions = 5', @conf, ''));
	$node->start;
	$node->safe_psql('postgres', $functions);
	return $node;
}

# A standby of it that never cancels a scan; the remaining arguments are lines for its configuration.
sub new_standby
{
	my ($primary, @conf) = @_;
	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', join("\n", 'max_standby_streaming_delay = -1', @conf, ''));
	$standby->start;
	return $standby;
}

# Wait until a standby has replayed all there is.
sub caught_up
{
	my ($primary, $standby) = @_;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# A server that archives its WAL, for recovered_to(), and writes no page that it need not.
sub new_archiver
{
	my ($shared_buffers) = @_;
	my $node = PostgreSQL::Test::Cluster->new('primary');
	$node->init(has_archiving => 1, allows_streaming => 1, extra => [ '--no-sync' ]);
	$node->append_conf('postgresql.conf', join("\n", 'autovacuum = off', "shared_buffers = $shared_buffers", 'bgwriter_lru_maxpages = 0', 'fsync = off',
			"wal_consistency_checking = 'generic'", ''));
	$node->start;
	return $node;
}

# What a crash after one record leaves: the backup 'before', recovered up to it. $n tells the servers apart.
sub recovered_to
{
	my ($node, $lsn, $n) = @_;
	my $crashed = PostgreSQL::Test::Cluster->new("crashed_$n");
	$crashed->init_from_backup($node, 'before', has_restoring => 1, standby => 0);
	$crashed->append_conf('postgresql.conf', "recovery_target_lsn = '$lsn'\nrecovery_target_action = 'promote'\narchive_mode = off\n");
	$crashed->start;
	$crashed->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
	return $crashed;
}

sub random_literal
{
	my ($dims) = @_;
	return '[' . join(',', map { sprintf('%.6f', rand(2) - 1) } 1 .. $dims) . ']';
}

# What an ordered scan gives, by index (all lists) or exactly: rows, and digests of the distances
# in the order they came and of the (distance, id) pairs. The rest of the options: limit, probes (see effort(); 0: none set).
sub answer
{
	my ($node, $table, $class, $query, %opt) = @_;
	my $by_index = !$opt{exact};
	my $settings = $opt{probes} ? effort($opt{probes}) : defined $opt{probes} ? '' : exhaustive();
	my $order = "v $class->{op} '$query'";
	my $rows = "SELECT id, $order AS d FROM $table WHERE $class->{indexed} ORDER BY $order LIMIT " . ($opt{limit} // 'ALL') . ' OFFSET 0';
	my $sql = $by_index ? 'SET enable_seqscan = off; SET enable_sort = off; ' : 'SET enable_indexscan = off; ';
	$sql .= "$settings; " if $by_index;
	$sql .= "EXPLAIN (COSTS OFF) $rows; " if $by_index;
	$sql .= "SELECT count(*), count(DISTINCT id), md5(string_agg(d::text, ',')), md5(string_agg(d || ':' || id, ',' ORDER BY d, id)) FROM ($rows) x";
	my $out = $node->safe_psql('postgres', $sql);
	die "no index scan: $out" if $by_index && $out !~ /Order By:/;
	return (split(/\n/, $out))[-1];
}

# One test: for each operator class, $n random queries, the index's answer is the exact one.
sub same_answers
{
	my ($node, $table, $dims, $n, $name, %opt) = @_;
	my (@wrong, $rows);
	foreach my $class (@{ $opt{classes} // \@OPCLASSES })
	{
		foreach (1 .. $n)
		{
			my $query = random_literal($dims);
			my $exact = answer($node, $table, $class, $query, %opt, exact => 1);
			my $got = answer($node, $table, $class, $query, %opt);
			push @wrong, "$class->{name}: $got instead of $exact, query $query" if $got ne $exact;
			($rows) = split(/\|/, $exact);
		}
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @wrong), '', "$name: $table, $rows rows");
}

# One test: vecdb_check has nothing to say about any index of ours (notes apart). A standby cannot be locked strictly.
sub sound
{
	my ($node, $name, %opt) = @_;
	my $strict = $opt{standby} ? 'false' : 'true';
	my $found = $node->safe_psql('postgres', qq{
		SELECT c.oid::regclass, f.* FROM pg_class c JOIN pg_am a ON a.oid = relam, LATERAL vecdb_check(c.oid, $strict) f
		WHERE amname IN ('ivfflat', 'ivfpq', 'hnsw') AND relkind = 'i' AND severity <> 'note'
			AND NOT (relpersistence = 'u' AND pg_is_in_recovery())});
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $good = is($found, '', "$name: indexes are sound");
	# beside the failed point, where the summary shows it; is() says it elsewhere
	note("vecdb_check found $_") foreach $good ? () : split(/\n/, $found);
	return $good;
}

# One test: the server's log tells of no crash, failed assertion, wrong page or leak. With no_errors, of no ERROR either.
sub clean_log
{
	my ($node, $name, %opt) = @_;
	my $bad = qr/PANIC|TRAP:|terminated by signal|inconsistent page|WARNING:.*leak|XX00[0-9]|contains corrupted page/;
	$bad = qr/$bad|ERROR:|deadlock/ if $opt{no_errors};
	my @lines = grep { /$bad/ && !($opt{except} && /$opt{except}/) } split(/\n/, slurp_file($node->logfile));
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @lines[0 .. ($#lines > 9 ? 9 : $#lines)]), '', "$name: nothing bad in the log");
}

# A psql beside the test that runs a script of its own; end_session() waits for it (kill => 1: ends it) and
# returns what it printed and its errors. What psql printed for a statement, the server has committed.
my $sessions = 0;
sub begin_session
{
	my ($node, $script, %opt) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir_short() . '/session' . ++$sessions;
	append_to_file($file, $script);
	my $stop = $opt{stop} ? '1' : '0';
	my $session = { out => "$file.out", err => "$file.err" };
	$session->{run} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', "ON_ERROR_STOP=$stop", '-d', $node->connstr('postgres'), '-f', $file ],
		'<', \'', '>', $session->{out}, '2>', $session->{err});
	return $session;
}

sub end_session
{
	my ($session, %opt) = @_;
	if ($opt{kill})
	{
		$session->{run}->kill_kill(grace => 5);
	}
	else
	{
		$session->{run}->finish;
	}
	return (slurp_file($session->{out}), slurp_file($session->{err}));
}

# The server's processes end at the same moment, without a word to anybody.
sub power_cut
{
	my ($node) = @_;
	my ($postmaster) = split(/\n/, slurp_file($node->data_dir . '/postmaster.pid'));
	kill('STOP', $postmaster);
	foreach (1 .. 1000)
	{
		# once it has stopped it has no more children
		last if slurp_file("/proc/$postmaster/stat") =~ /^\d+ \(.*\) T /;
		sleep(0.01);
	}
	my @children;
	foreach my $stat (glob '/proc/[0-9]*/stat')
	{
		open(my $f, '<', $stat) or next;
		my $line = <$f> // '';
		push @children, $1 if $line =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
	}
	kill('KILL', @children);
	$node->kill9;
	# the new server must not meet the old one's processes
	foreach my $pid (@children)
	{
		foreach (1 .. 1000)
		{
			last unless kill(0, $pid);
			sleep(0.01);
		}
	}
	return;
}

# Mean recall@k of the queries in table queries(v): the share of the exact answer's rows that the index finds.
sub recall
{
	my ($node, $table, $class, $k, $settings) = @_;
	my $nearest = "SELECT q.i, x.id, x.d FROM queries q, LATERAL (SELECT id, $table.v $class->{op} q.v AS d FROM $table WHERE $class->{indexed} ORDER BY $table.v $class->{op} q.v LIMIT $k) x";
	my $out = $node->safe_psql('postgres', qq{
		SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0;
		CREATE TEMP TABLE truth AS $nearest;
		RESET enable_indexscan; SET enable_seqscan = off; $settings;
		EXPLAIN (COSTS OFF) CREATE TEMP TABLE found AS $nearest;
		CREATE TEMP TABLE found AS $nearest;
		SELECT (SELECT count(*) FROM found JOIN (SELECT i, max(d) AS far FROM truth GROUP BY i) t USING (i) WHERE d <= far)::float / count(*) FROM truth});
	die "no index scan: $out" if $out !~ /Order By:/;
	return (split(/\n/, $out))[-1];
}

1;
