# A standby replays every change of an index, answers as the primary does, and can be promoted.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use VecdbTest;

my %dims = (short => 12, long => 2500);

# A restartable run needs the segments that WAL of page images fills quickly: hence wal_keep_size.
my $primary = new_node('primary', "wal_consistency_checking = 'generic'", 'wal_keep_size = 1GB', 'max_wal_size = 1GB');
my $standby = new_standby($primary);

sub equal_answers
{
	my ($name) = @_;
	my @wrong;
	caught_up($primary, $standby);
	foreach my $table (sort keys %dims)
	{
		foreach my $class (@OPCLASSES)
		{
			my $query = random_literal($dims{$table});
			my @answers = map { answer($_, $table, $class, $query) } ($primary, $standby);
			my $exact = answer($standby, $table, $class, $query, exact => 1);
			push @wrong, "$table $class->{name}: @answers, exact $exact" if $answers[0] ne $answers[1] || $answers[0] ne $exact;
			# fewer lists: the same ones on both
			@answers = map { answer($_, $table, $class, $query, limit => 20, probes => 2) } ($primary, $standby);
			push @wrong, "$table $class->{name} 2 probes: @answers" if $answers[0] ne $answers[1];
		}
	}
	is(join("\n", @wrong), '', "$name: the same answers on both, and the exact one");
	sound($standby, "$name, standby", standby => 1);
}

foreach my $table (sort keys %dims)
{
	my $rows = $table eq 'short' ? 2000 : 60;
	$primary->safe_psql('postgres', "CREATE TABLE $table (id int, v vector($dims{$table}));
		INSERT INTO $table SELECT i, clustered(i, $dims{$table}) FROM generate_series(1, $rows) i;
		CREATE TABLE un$table (LIKE $table); ALTER TABLE un$table SET UNLOGGED");
	$primary->safe_psql('postgres', "CREATE INDEX ${table}_$_->{name} ON $table USING $am (v $_->{name}) @{[ with(8, undef, $dims{$table}) ]}") foreach @OPCLASSES;
	$primary->safe_psql('postgres', "CREATE INDEX un${table}_v ON un$table USING $am (v vector_l2_ops); INSERT INTO un$table SELECT * FROM $table");
}
equal_answers('after the build');

my $next = 100_000;
foreach my $round (1 .. 4)
{
	foreach my $table (sort keys %dims)
	{
		my $n = $table eq 'short' ? 500 : 15;
		my $third = int(rand(3));
		# one list at a time is emptied too, so that pages leave chains and others take them
		$primary->safe_psql('postgres', "DELETE FROM $table WHERE id % 3 = $third" . ($round % 2 ? '' : " OR id % 32 < 8") . ";
			VACUUM $table;
			INSERT INTO $table SELECT $next + i, clustered(i, $dims{$table}) FROM generate_series(1, $n) i;
			UPDATE $table SET v = clustered(id + 1, $dims{$table}) WHERE id % 10 = $round;
			BEGIN; INSERT INTO $table SELECT $next + i, clustered(i, $dims{$table}) FROM generate_series(1, 20) i; ROLLBACK;");
		$next += $n;
	}
	equal_answers("round $round");
}
$primary->safe_psql('postgres', 'REINDEX TABLE short; REINDEX TABLE CONCURRENTLY long; VACUUM FULL long; TRUNCATE unshort');
equal_answers('after rebuilds');
$primary->safe_psql('postgres', "CREATE TABLE born (id int, v vector(3)); CREATE INDEX ON born USING $am (v vector_l2_ops)");
$primary->safe_psql('postgres', 'INSERT INTO born SELECT i, random_vector(3) FROM generate_series(1, 1000) i; DELETE FROM born WHERE id < 700; VACUUM born');
caught_up($primary, $standby);
same_answers($standby, 'born', 3, 2, 'an index born empty, on the standby', classes => [ $OPCLASSES[0] ]);
sound($primary, 'primary');

# Promotion in the middle of writing
my $writer = begin_session($primary, "INSERT INTO short SELECT 1000000 + i, random_vector($dims{short}) FROM generate_series(1, 5) i;\nDELETE FROM short WHERE id % 7 = 3;\nVACUUM short;\n" x 300);
sleep(0.5 + rand(1));
$standby->promote;
end_session($writer, kill => 1);
$primary->stop('immediate');
same_answers($standby, $_, $dims{$_}, 2, 'promoted') foreach sort keys %dims;
sound($standby, 'promoted');
foreach my $table (sort keys %dims)
{
	my $n = $table eq 'short' ? 1000 : 40;
	is($standby->safe_psql('postgres', "SELECT count(*) FROM un$table"), '0', "un$table is empty after promotion");
	$standby->safe_psql('postgres', "
		INSERT INTO $table SELECT 2000000 + i, random_vector($dims{$table}) FROM generate_series(1, $n) i;
		DELETE FROM $table WHERE id % 3 = 1;
		VACUUM $table;
		INSERT INTO $table SELECT 3000000 + i, random_vector($dims{$table}) FROM generate_series(1, $n) i;
		INSERT INTO un$table SELECT * FROM $table");
	same_answers($standby, $table, $dims{$table}, 2, 'written after promotion');
	same_answers($standby, "un$table", $dims{$table}, 2, 'unlogged, filled after promotion', classes => [ $OPCLASSES[0] ]);
}
sound($standby, 'written after promotion');
clean_log($primary, 'primary');
clean_log($standby, 'standby');
$standby->stop;
done_testing();
