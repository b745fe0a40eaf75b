# Training in VACUUM, stopped at each of its points (src/am/point.h): there the index is sound, answers are
# the exact ones, rows come and go; then VACUUM goes on, is cancelled, or dies with the server. Cursors opened
# before and at the point end with the rows of their snapshots, and a later VACUUM finishes what was begun.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

use constant POINTS => 1987404642;
my @points = ('', 'written', 'begun', 'frozen', 'half copied', 'copied');
my %dims = (short => 3, long => 2100);

my $node = new_node('train', "wal_consistency_checking = 'generic'", 'restart_after_crash = off', 'shared_buffers = 64MB', 'max_wal_size = 4GB');
$node->safe_psql('postgres', q{
	CREATE FUNCTION stat(name text) RETURNS float LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT value FROM vecdb_index_stats('t_v'::text::regclass, true) WHERE metric = name); END $$;
	CREATE TABLE pool_long AS SELECT i, clustered(i, 2100) AS v FROM generate_series(1, 40) i});

# A session that holds an advisory lock until released.
sub hold
{
	my ($class, $n) = @_;
	my $session = begin_session($node, "SET application_name = 'holder $n';\nSELECT pg_advisory_lock($class, $n);\nSELECT pg_sleep(600);\n");
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = $class AND objid = $n AND mode = 'ExclusiveLock'")
		or die "no lock $class, $n";
	return { session => $session, name => "holder $n" };
}

sub release
{
	my ($held) = @_;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '$held->{name}'");
	end_session($held->{session});
}

sub wait_for_waiter
{
	my ($class, $n) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = $class AND objid = $n")
		or die "nobody waits for $class, $n";
}

# A cursor in the middle of its scan of all rows; it goes on when lock (1, $n) is released.
sub cursor
{
	my ($n, $op, $query, $settings) = @_;
	my $session = begin_session($node, qq{
		SET enable_seqscan = off; SET enable_sort = off; SET $am.iterative_scan = relaxed_order; $settings;
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v $op '$query';
		FETCH 3 FROM c;
		SELECT 'n' || count(*) FROM t;
		SELECT '' FROM pg_advisory_lock(1, $n);
		FETCH ALL FROM c;
		COMMIT;
	});
	wait_for_waiter(1, $n);
	return $session;
}

sub whole_cursor
{
	my ($session, $name) = @_;
	my ($out, $err) = end_session($session);
	my ($n) = $out =~ /^n(\d+)$/m;
	my %seen;
	$seen{$_}++ foreach $out =~ /^(-?\d+)$/mg;
	my @twice = grep { $seen{$_} > 1 } keys %seen;
	is($err . scalar(keys %seen) . ' rows, twice: ' . "@twice", "$n rows, twice: ", "$name: the cursor gave every row of its snapshot once");
}

sub rows
{
	my ($kind, $first, $n) = @_;
	my $v = $kind eq 'short' ? "clustered(i, $dims{short})" :
		"(SELECT p.v FROM pool_long p WHERE p.i = 1 + (g.i % 40)) + array_fill(g.i % 1000 / 1000.0 + g.i * 1e-6, ARRAY[2100])::vector";
	return "INSERT INTO t SELECT i, $v FROM generate_series($first, $first + $n - 1) g(i)";
}

# Does this build have the points?
$node->safe_psql('postgres', "CREATE TABLE t (id int, v vector(3)); CREATE INDEX t_v ON t USING $am (v) WITH (lists = 4); " . rows('short', 1, 1000));
{
	my $held = hold(POINTS, 1);
	my $vacuum = begin_session($node, 'VACUUM t');
	my $waits = 0;
	foreach (1 .. 100)
	{
		$waits = $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
		last if $waits || $node->safe_psql('postgres', "SELECT stat('generation')") ne '0';
		select(undef, undef, undef, 0.05);
	}
	release($held);
	end_session($vacuum);
	is($node->safe_psql('postgres', "SELECT stat('generation'), stat('lists')"), '1|4', 'VACUUM trained an index of 1,000 rows');
	if (!$waits)
	{
		note('the library has no points to stop at: built without assertions');
		done_testing();
		exit;
	}
}

# A training that is due, but has to wait, says why
{
	$node->safe_psql('postgres', "CREATE TABLE w (id int, v vector(3)); CREATE INDEX w_v ON w USING $am (v) WITH (lists = 50);
		BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'old';" . rows('short', 1, 1000) =~ s/INTO t /INTO w /r);
	my $vacuum = sub {
		my (undef, undef, $err) = $node->psql('postgres', 'VACUUM w');
		return $node->safe_psql('postgres', "SELECT value FROM vecdb_index_stats('w_v') WHERE metric = 'generation'") . $err;
	};
	like($vacuum->(), qr/^0.*"w_v" was not trained: 50 lists want 32 rows each, and there are 1000 rows/, 'too few rows for the lists asked for');
	$node->safe_psql('postgres', 'ALTER INDEX w_v SET (lists = 4)');
	is($vacuum->(), '1', 'enough rows: trained');
	is($vacuum->(), '1', 'no training is due');
	$node->safe_psql('postgres', rows('short', 1001, 1000) =~ s/INTO t /INTO w /r);
	like($vacuum->(), qr/^1.*"w_v" was not trained anew: the lists that the last training replaced are still there.*DETAIL: .* is as old as that training/s, 'an old transaction keeps the lists before the last');
	$node->safe_psql('postgres', "COMMIT PREPARED 'old'");
	is($vacuum->(), '2', 'it has ended');
	$node->safe_psql('postgres', 'DROP TABLE w');
}

my $n = 0;
foreach my $kind (sort keys %dims)
{
	foreach my $point (1 .. $#points)
	{
		foreach my $end ('go on', 'cancel', 'crash')
		{
			# an index born empty, and one that has been trained before
			my $born = $n++ % 2 == 0;
			my $class = $OPCLASSES[ $n % 3 ];
			my $name = "$kind, $points[$point], $end, " . ($born ? 'born empty' : 'trained before') . ", $class->{name}";
			my $query = random_literal($dims{$kind});
			my $first = $kind eq 'long' && $born ? 1010 : 1200;
			my $with = with(4, $n, $dims{$kind});
			$node->safe_psql('postgres', "DROP TABLE t; CREATE TABLE t (id int, v vector($dims{$kind}));" .
				($born ? '' : rows($kind, 1, 250) . ';') . "CREATE INDEX t_v ON t USING $am (v $class->{name}) $with;" .
				rows($kind, $born ? 1 : 251, $first));
			# other codes than before
			$node->safe_psql('postgres', 'ALTER INDEX t_v SET (quantizer = sq8, bits = 8)') if $am eq 'ivfpq' && $n % 4 == 2;
			my $generation = $born ? 0 : 1;

			my $go = hold(1, 1);
			my @cursors = (cursor(1, $class->{op}, $query, effort(1)));
			$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 7 = 0');
			my $held = hold(POINTS, $point);
			my $vacuum = begin_session($node, "SET application_name = 'vacuum'; VACUUM t");
			wait_for_waiter(POINTS, $point);

			sound($node, "$name, there", standby => 1);
			same_answers($node, 't', $dims{$kind}, 1, "$name, there", classes => [$class]);
			push @cursors, cursor(1, $class->{op}, $query, effort(1));
			$node->safe_psql('postgres', rows($kind, 5000, 30) . '; DELETE FROM t WHERE id % 7 = 1; UPDATE t SET id = -id WHERE id % 7 = 2 AND id < 300;');
			$node->safe_psql('postgres', 'BEGIN; ' . rows($kind, 6000, 10) . '; ROLLBACK');
			push @cursors, cursor(1, $class->{op}, $query, effort(4));
			same_answers($node, 't', $dims{$kind}, 1, "$name, written there", classes => [$class]);
			sound($node, "$name, written there", standby => 1);

			if ($end eq 'crash')
			{
				power_cut($node);
				end_session($_) foreach ($vacuum, @cursors, $held->{session}, $go->{session});
				$node->start;
			}
			else
			{
				$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'vacuum'") if $end eq 'cancel';
				release($held) if $end eq 'go on';
				my (undef, $err) = end_session($vacuum);
				is($err =~ /canceling statement due to user request/ ? 'cancel' : $err eq '' ? 'go on' : $err, $end, "$name: how VACUUM ended");
				release($held) if $end eq 'cancel';
				sound($node, "$name, the cursors still open");
				release($go);
				whole_cursor($cursors[$_], "$name, cursor $_") foreach 0 .. $#cursors;
			}
			sound($node, "$name, after it");
			same_answers($node, 't', $dims{$kind}, 1, "$name, after it", classes => [$class]);
			$node->safe_psql('postgres', rows($kind, 7000, 600) . '; DELETE FROM t WHERE id % 7 = 3 AND id < 7000');
			sound($node, "$name, written after it");

			# the first one finishes, the second one frees
			foreach (1 .. 2)
			{
				$node->safe_psql('postgres', 'VACUUM t');
				sound($node, "$name, vacuumed $_");
				same_answers($node, 't', $dims{$kind}, 1, "$name, vacuumed $_", classes => [$class]);
				$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
			}
			is($node->safe_psql('postgres', "SELECT stat('generation'), stat('lists'), stat('pages_retired'), stat('rows_now') = count(*) FROM t"),
				join('|', $generation + 1, 4, 0, 't'), "$name: trained, and nothing is left of the old lists");
		}
	}
}

# Values come from the table. Rows that are deleted while a training reads them, and their chunks in TOAST, may go at
# any moment, as nothing keeps them for a VACUUM: they are left out, and it is no error.
if ($am eq 'ivfpq')
{
	my $file = PostgreSQL::Test::Utils::tempdir_short() . '/go';
	foreach my $index ('(v)', '(((v + v)::vector(2100)))')
	{
		unlink $file;
		# unlike that of hold(), a session that keeps no snapshot
		my $held = begin_session($node, "SELECT pg_advisory_lock(@{[ POINTS ]}, 3);\n\\! while [ ! -e $file ]; do sleep 0.1; done\n");
		$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 3") or die 'no lock';
		$node->safe_psql('postgres', "DROP TABLE t; CREATE TABLE t (id int, n int DEFAULT 0, v vector(2100)); ALTER TABLE t ALTER v SET STORAGE external;
			CREATE INDEX t_v ON t USING ivfpq $index WITH (lists = 4);" . rows('long', 1, 1010) =~ s/INTO t /INTO t (id, v) /r);
		my $vacuum = begin_session($node, 'VACUUM t');
		wait_for_waiter(POINTS, 3);
		my $toast = $node->safe_psql('postgres', q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 't'::regclass});
		# HOT where v stays; other chains end dead
		$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 5 = 0; UPDATE t SET v = v + v WHERE id % 5 = 1; UPDATE t SET n = 1 WHERE id % 5 = 2');
		$node->safe_psql('postgres', "VACUUM $toast");
		is($node->safe_psql('postgres', "SELECT (SELECT count(DISTINCT chunk_id) FROM $toast) = (SELECT count(*) FROM t)"), 't', "$index: only the values of live rows are left in TOAST");
		append_to_file($file, "go\n");
		end_session($held);
		my (undef, $err) = end_session($vacuum);
		is($err, '', "$index: VACUUM trains without them");
		is($node->safe_psql('postgres', q{SELECT stat('generation')}), '1', "$index: trained");
		sound($node, "$index: rows gone from TOAST");
		same_answers($node, 't', 2100, 1, "$index: rows gone from TOAST", classes => [ $OPCLASSES[0] ]) if $index eq '(v)';
		foreach (1 .. 2)
		{
			$node->safe_psql('postgres', 'VACUUM t; ');
			$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
			sound($node, "$index: rows gone from TOAST, vacuumed $_");
		}
		is($node->safe_psql('postgres', q{SELECT stat('rows_now') = count(*), stat('pages_retired') FROM t}), 't|0', "$index: all rows are there");
	}
}
clean_log($node, 'training');
$node->stop;
done_testing();
