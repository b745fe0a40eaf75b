# A standby replays a training: it answers as the primary does before, in the midst of it and afterwards. A scan
# that is open there while the primary frees the lists it reads (it does not know of the scan) ends with an error
# that says to try again, never with rows missing; with hot_standby_feedback it ends well.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my %dims = (short => 200, long => 2100);
my $primary = new_node('primary', "wal_consistency_checking = 'generic'", 'wal_keep_size = 1GB', 'max_wal_size = 1GB');
my $standby = new_standby($primary, 'wal_receiver_status_interval = 1');

$primary->safe_psql('postgres', q{
	CREATE TABLE pool AS SELECT i, d, clustered(i, d) AS v FROM generate_series(1, 40) i, (VALUES (200), (2100)) x(d);
	CREATE FUNCTION v(n int, dims int) RETURNS vector LANGUAGE sql STABLE AS
	$$ SELECT v + array_fill(n / 3000.0, ARRAY[dims])::vector FROM pool WHERE i = 1 + n % 40 AND d = dims $$;
	CREATE FUNCTION stat(index text, name text) RETURNS float LANGUAGE plpgsql AS
	$$ BEGIN RETURN (SELECT value FROM vecdb_index_stats(index::regclass, true) WHERE metric = name); END $$;
});

sub equal_answers
{
	my ($name) = @_;
	my @wrong;
	caught_up($primary, $standby);
	foreach my $table (sort keys %dims)
	{
		my $query = random_literal($dims{$table});
		my $exact = answer($primary, $table, $OPCLASSES[0], $query, exact => 1);
		foreach my $node ($primary, $standby)
		{
			my $got = answer($node, $table, $OPCLASSES[0], $query);
			push @wrong, $node->name . " $table: $got instead of $exact" if $got ne $exact;
		}
	}
	is(join("\n", @wrong), '', "$name: the exact answer on both");
	sound($standby, "$name, standby", standby => 1);
}

# A cursor on the standby that goes on when a file tells it to: no lock can be held from outside there.
sub cursor
{
	my ($n, $query) = @_;
	return begin_session($standby, qq{
		SET enable_seqscan = off; SET enable_sort = off; SET $am.iterative_scan = relaxed_order; SET $am.probes = 1;
		SET application_name = 'cursor $n';
		BEGIN;
		DECLARE c CURSOR FOR SELECT id FROM short ORDER BY v <-> '$query';
		FETCH 3 FROM c;
		SELECT 'open';
		\\! while [ ! -e "$ENV{TESTDATADIR}/go$n" ]; do sleep 0.1; done
		FETCH ALL FROM c;
		COMMIT;
	});
}

foreach my $table (sort keys %dims)
{
	$primary->safe_psql('postgres', "CREATE TABLE $table (id int, v vector($dims{$table}));
		CREATE INDEX ${table}_v ON $table USING $am (v) @{[ with(5, $table eq 'long', $dims{$table}) ]};
		INSERT INTO $table SELECT i, v(i, $dims{$table}) FROM generate_series(1, 1000) i");
}
equal_answers('born empty');

$primary->safe_psql('postgres', 'VACUUM short; VACUUM long');
equal_answers('trained');
$primary->safe_psql('postgres', 'SELECT pg_current_xact_id(); ');
$primary->safe_psql('postgres', 'VACUUM short; VACUUM long');
is($primary->safe_psql('postgres', "SELECT stat('short_v', 'generation'), stat('short_v', 'pages_retired')"), '1|0', 'trained, and the old list freed');

$ENV{TESTDATADIR} = PostgreSQL::Test::Utils::tempdir_short();
my $query = $primary->safe_psql('postgres', 'SELECT v(7, 200)');
my $rows = 1000;
foreach my $feedback ('off', 'on')
{
	my $before = $primary->safe_psql('postgres', "SELECT stat('short_v', 'generation')");
	$standby->append_conf('postgresql.conf', "hot_standby_feedback = $feedback");
	$standby->reload;
	# before the cursor, or VACUUM's marks on these pages of the table would wait for its snapshot
	$primary->safe_psql('postgres', "INSERT INTO short SELECT 100000 * $before + i, v(i + 5, 200) FROM generate_series(1, $rows * 2) i");
	caught_up($primary, $standby);
	my $cursor = cursor($feedback, $query);
	$standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'cursor $feedback' AND state = 'idle in transaction' AND query LIKE '%open%'")
		or die 'no cursor';
	if ($feedback eq 'on')
	{
		$primary->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication') or die 'no feedback';
	}
	$rows = $standby->safe_psql('postgres', 'SELECT count(*) FROM short');

	$primary->safe_psql('postgres', 'VACUUM short');
	equal_answers("trained again, feedback $feedback");
	is($primary->safe_psql('postgres', "SELECT stat('short_v', 'generation')"), $before + 1, "feedback $feedback: trained again");
	# frees the old lists, and has them taken by others
	$primary->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	$primary->safe_psql('postgres', 'VACUUM short; VACUUM long');
	$primary->safe_psql('postgres', "INSERT INTO short SELECT 100000 * $before + 50000 + i, v(i, 200) FROM generate_series(1, 300) i; INSERT INTO long SELECT 100000 * $before + i, v(i, 2100) FROM generate_series(1, 30) i");
	equal_answers("freed, feedback $feedback");

	append_to_file("$ENV{TESTDATADIR}/go$feedback", "go\n");
	my ($out, $err) = end_session($cursor);
	my %seen;
	$seen{$_}++ foreach $out =~ /^(\d+)$/mg;
	is(scalar(grep { $_ > 1 } values %seen), 0, "feedback $feedback: the cursor gave no row twice");
	if ($feedback eq 'off')
	{
		# the rows it had gathered came first
		like($err, qr/canceling statement due to conflict with recovery.*trained index "short_v" anew/s, 'a cursor in lists that are gone says so');
	}
	else
	{
		is($err . keys(%seen), $rows, 'with feedback the cursor gives every row');
	}
}
caught_up($primary, $standby);
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
sound($standby, 'promoted');
$standby->safe_psql('postgres', 'SELECT pg_current_xact_id(); VACUUM short; VACUUM long');
sound($standby, 'promoted, vacuumed');
same_answers($standby, $_, $dims{$_}, 1, 'promoted', classes => [ $OPCLASSES[0] ]) foreach sort keys %dims;
clean_log($primary, 'primary');
clean_log($standby, 'standby');
$standby->stop;
$primary->stop;
done_testing();
