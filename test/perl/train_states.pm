# Every state that a crash in a training can leave: recovery stops after WAL records of a VACUUM that trains, of
# writes that come then, and of the VACUUM that frees the old lists, in turn. Whatever is there, the index is sound,
# answers are exact, and VACUUM finishes. EVERY=n takes each n-th record only.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my %dims = (short => 400, long => 2100);

my $node = new_archiver('64MB');
$node->safe_psql('postgres', q{
	CREATE EXTENSION vecdb;
	CREATE TABLE pool AS SELECT k, d, array_agg(sin(k * 12.9898 + j * 78.233 + k * j * 0.37))::vector AS v
		FROM generate_series(1, 12) k, (VALUES (400), (2100)) x(d), generate_series(1, d) j GROUP BY 1, 2;
	CREATE FUNCTION v(i int, dims int) RETURNS vector LANGUAGE sql STABLE AS
	$$ SELECT v + array_fill(i / 3000.0, ARRAY[dims])::vector FROM pool WHERE k = 1 + i % 12 AND d = dims $$;
	CREATE FUNCTION stat(index text, name text) RETURNS float LANGUAGE plpgsql AS
	$$ BEGIN RETURN (SELECT value FROM vecdb_index_stats(index::regclass, true) WHERE metric = name); END $$;
});
foreach my $table (sort keys %dims)
{
	$node->safe_psql('postgres', "CREATE TABLE $table (id int, v vector($dims{$table})); CREATE INDEX ${table}_v ON $table USING $am (v) @{[ with(6, $table eq 'long') ]};
		INSERT INTO $table SELECT i, v(i, $dims{$table}) FROM generate_series(1, 1000) i");
}
$node->stop;
$node->backup_fs_cold('before');
$node->start;

my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
foreach my $table (sort keys %dims)
{
	$node->safe_psql('postgres', $_) foreach (
		"VACUUM $table",
		"INSERT INTO $table VALUES (2000, v(2000, $dims{$table}))",
		"DELETE FROM $table WHERE id % 300 = 0",
		"VACUUM $table");
}
my $to = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
is($node->safe_psql('postgres', "SELECT i, stat(i, 'generation'), stat(i, 'pages_retired') FROM unnest('{long_v,short_v}'::text[]) i"),
	"long_v|1|0\nshort_v|1|0", 'both are trained, and the old lists freed');
sound($node, 'without a crash');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

my ($dump) = run_command([ $node->installed_command('pg_waldump'), '-p', $node->archive_dir, '-r', 'Generic', '-s', $from, '-e', $to ]);
my @records = $dump =~ /, lsn: ([0-9A-F]+\/[0-9A-F]+),/g;
cmp_ok(scalar @records, '>', $am eq 'ivfpq' ? 100 : 1000, scalar(@records) . ' records');
# the rare ones are about the changes of the metapage; of the others there are many of a kind
my @meta = $dump =~ /, lsn: ([0-9A-F]+\/[0-9A-F]+),[^\n]* blkref #0:[^\n]* blk 0(?:\s|,|$)/mg;
cmp_ok(scalar @meta, '>=', 6, scalar(@meta) . ' records change a metapage');
my %at = map { $records[$_] => $_ } 0 .. $#records;
my %chosen = map { ($at{$_} - 1) => 1, $at{$_} => 1, ($at{$_} + 1) => 1 } @meta;
my $every = $ENV{EVERY} // int(@records / ($am eq 'ivfpq' ? 10 : 25));	# what differs are the values in the copies
$chosen{ $every * $_ } = 1 foreach 0 .. $#records / $every;

foreach my $number (sort { $a <=> $b } grep { $_ >= 0 && $_ <= $#records } keys %chosen)
{
	my $crashed = recovered_to($node, $records[$number], $number);

	my $name = "after record $number";
	my $class = $OPCLASSES[0];
	sound($crashed, $name);
	foreach my $table (sort keys %dims)
	{
		my $query = $crashed->safe_psql('postgres', "SELECT v(7777, $dims{$table})");
		my ($got, $exact) = map { answer($crashed, $table, $class, $query, exact => $_) } (0, 1);
		is($got, $exact, "$name: the exact answer from $table");
		$crashed->safe_psql('postgres', "INSERT INTO $table SELECT i, v(i, $dims{$table}) FROM generate_series(3000, 3010) i; DELETE FROM $table WHERE id % 300 = 1");
		$crashed->safe_psql('postgres', "VACUUM $table");
		$crashed->safe_psql('postgres', 'SELECT pg_current_xact_id()');
		$crashed->safe_psql('postgres', "VACUUM $table");
		($got, $exact) = map { answer($crashed, $table, $class, $query, exact => $_) } (0, 1);
		is($got, $exact, "$name, vacuumed: the exact answer from $table");
		is($crashed->safe_psql('postgres', "SELECT stat('${table}_v', 'generation'), stat('${table}_v', 'pages_retired')"), '1|0', "$name: $table is trained");
	}
	my $left = $crashed->safe_psql('postgres', q{SELECT c, f.* FROM unnest('{short_v,long_v}'::regclass[]) c, vecdb_check(c, true) f WHERE code <> 'page_zero'});
	is($left, '', "$name: nothing is left behind");
	clean_log($crashed, $name);
	$crashed->stop('immediate');
	$crashed->clean_node;
}
done_testing();
