# The server dies at any moment while several sessions write and VACUUM: afterwards every
# acknowledged row is in the index, no deleted one, and writing goes on without REINDEX.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VecdbTest;

my %dims = (short => 8, long => 2500);
my $writers = 3;

my $node = new_node('crash', "wal_consistency_checking = 'generic'", 'fsync = on', 'checkpoint_timeout = 30s', 'restart_after_crash = off',
	# nothing reaches the files before a checkpoint: recovery has it from WAL, or not at all
	'shared_buffers = 64MB');
foreach my $table (sort keys %dims)
{
	my $rows = $table eq 'short' ? 1000 : 40;
	$node->safe_psql('postgres', "CREATE TABLE $table (id int PRIMARY KEY, v vector($dims{$table}));
		CREATE TABLE pool_$table AS SELECT i, clustered(i, $dims{$table}) AS v FROM generate_series(0, 96) i;
		INSERT INTO $table SELECT -i, clustered(i, $dims{$table}) FROM generate_series(1, $rows) i;
		CREATE UNLOGGED TABLE un$table (id int, v vector($dims{$table}));
		CREATE INDEX un${table}_v ON un$table USING $am (v vector_l2_ops);
		INSERT INTO un$table SELECT i, random_vector($dims{$table}) FROM generate_series(1, 20) i;");
	$node->safe_psql('postgres', "CREATE INDEX ${table}_$_->{name} ON $table USING $am (v $_->{name}) @{[ with(6, undef, $dims{$table}) ]}") foreach @OPCLASSES;
}

# What each writer does with its ids, in order; the statement's output acknowledges it. Ids go up, so
# lists# lose rows at their beginning and get new ones at their end; every fifth transaction is rolled back.
sub writer_script
{
	my ($first) = @_;
	my $script = '';
	foreach my $i (0 .. 3000)
	{
		foreach my $table ($i % 4 ? ('short') : ('short', 'long'))
		{
			my $id = $first + $i;
			my $old = $id - 12;
			my ($v, $w) = map { "(SELECT v FROM pool_$table WHERE i = " . $_ % 97 . ')' } ($i, $i + 1);
			$script .= "INSERT INTO $table VALUES ($id, $v) RETURNING '+$table ' || id;\n";
			$script .= "DELETE FROM $table WHERE id = $old RETURNING '-$table ' || id;\n" if $i >= 12 && $i % 3;
			$script .= "UPDATE $table SET v = $w WHERE id = $id;\n" if $i % 5 == 1;
			$script .= "BEGIN; INSERT INTO $table VALUES (-$id - 10000, $v); ROLLBACK;\n" if $i % 5 == 2;
		}
	}
	return $script;
}

my %state;						# "table id" -> 1 there, 0 gone, undef never acknowledged
my $next = 1_000_000;
foreach my $round (1 .. 5)
{
	my @sessions;
	foreach (1 .. $writers)
	{
		push @sessions, begin_session($node, writer_script($next), stop => 1);
		$next += 10_000;
	}
	my $vacuum = begin_session($node, "VACUUM short;\nVACUUM long;\n" x 5000, stop => 1);
	my $builder = begin_session($node, "CREATE INDEX CONCURRENTLY extra ON short USING $am (v vector_l2_ops);\nDROP INDEX extra;\n" x 1000, stop => 1);
	sleep(0.4 + rand(1.6));
	if ($round % 3)
	{
		power_cut($node);
	}
	else
	{
		$node->stop('immediate');
	}

	my $acknowledged = 0;
	foreach my $session (@sessions)
	{
		my ($out) = end_session($session);
		foreach my $line (split(/\n/, $out))
		{
			my ($sign, $row) = $line =~ /^([+-])(\w+ \d+)$/ or next;
			$state{$row} = $sign eq '+' ? 1 : 0;
			$acknowledged++;
		}
	}
	end_session($_) foreach ($vacuum, $builder);
	cmp_ok($acknowledged, '>', 0, "round $round: $acknowledged statements acknowledged before the crash");

	$node->start;
	# before any VACUUM repairs anything
	sound($node, "round $round");
	foreach my $table (sort keys %dims)
	{
		foreach my $class (@OPCLASSES)
		{
			my $query = random_literal($dims{$table});
			my $ids = $node->safe_psql('postgres', "SET enable_seqscan = off; SET enable_sort = off; @{[ exhaustive() ]};
				SELECT id FROM $table WHERE $class->{indexed} ORDER BY v $class->{op} '$query'");
			my %found;
			$found{$_}++ foreach split(/\n/, $ids);
			my @lost = grep { my ($t, $id) = split(/ /); $t eq $table && $state{$_} && !$found{$id} } keys %state;
			my @undead = grep { my ($t, $id) = split(/ /); $t eq $table && !$state{$_} && $found{$id} } keys %state;
			my @twice = grep { $found{$_} > 1 } keys %found;
			my @rolled_back = grep { $_ < -10_000 } keys %found;
			# a delete may have committed without a word reaching the client
			my @unexplained = grep { !in_flight($_) } @lost;
			is("@unexplained", '', "round $round, $table, $class->{name}: no acknowledged row is lost");
			is("@undead @twice @rolled_back", '  ', "round $round, $table, $class->{name}: no row came back, none twice");
			delete $state{$_} foreach @lost;
		}
		same_answers($node, $table, $dims{$table}, 1, "round $round");
		is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM un$table ORDER BY v <-> '" . random_literal($dims{$table}) . "') x"),
			'0', "round $round: un$table is empty");
		$node->safe_psql('postgres', "INSERT INTO un$table SELECT id, v FROM $table LIMIT 100");
		same_answers($node, "un$table", $dims{$table}, 1, "round $round", classes => [ $OPCLASSES[0] ]);
	}
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS extra');
	sound($node, "round $round, written");
}

# Was this row being deleted when the crash came? A writer deletes 12 behind its last insert.
sub in_flight
{
	my ($row) = @_;
	my ($table, $id) = split(/ /, $row);
	my $base = int($id / 10_000) * 10_000;
	my ($last) = sort { $b <=> $a } map { (split(/ /))[1] } grep { /^$table / && $state{$_} && int((split(/ /))[1] / 10_000) * 10_000 == $base } keys %state;
	return $id == $last - 12;
}

$node->safe_psql('postgres', 'VACUUM short; VACUUM long');
sound($node, 'after VACUUM');
same_answers($node, $_, $dims{$_}, 1, 'after VACUUM') foreach sort keys %dims;
clean_log($node, 'crashes');
$node->stop;
done_testing();
