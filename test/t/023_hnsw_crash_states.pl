# Every state that a crash can leave: recovery stops after each WAL record of inserts and of a
# VACUUM in turn. Whatever is there then, the index is sound, VACUUM and inserts repair
# what the crash left, and nothing is left behind. EVERY=n takes each n-th record only.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

my $every = $ENV{EVERY} // 1;
$VecdbTest::am = 'hnsw';

my $node = new_archiver('16MB');
$node->safe_psql('postgres', q{
	CREATE EXTENSION vecdb;
	CREATE FUNCTION v(i int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg(sin(i * 12.9898 + j * 78.233 + i * j * 0.37))::vector FROM generate_series(1, dims) j $$;
	-- short: each row is the in-edge of the next one, the first the only entry; long: vectors on pages of their own
	CREATE TABLE short (id int, v vector(8));
	CREATE INDEX short_v ON short USING hnsw (v vector_l2_ops);
	INSERT INTO short SELECT i, v(i, 8) FROM generate_series(1, 6) i;
	INSERT INTO short SELECT 100 + i, v(7, 8) FROM generate_series(1, 25) i;
	CREATE TABLE long (id int, v vector(4500));
	CREATE INDEX long_v ON long USING hnsw (v vector_l2_ops);
	INSERT INTO long SELECT i, v(i, 4500) FROM generate_series(1, 3) i;
});
$node->stop;
$node->backup_fs_cold('before');
$node->start;

# Rows of its own, and with the vector of another one: a first and a second chunk; then nearly all of
# it goes: an entry with the only in-edge of a row, a chain of chunks to its last row, a vector of several pages.
my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$node->safe_psql('postgres', $_) foreach (
	'INSERT INTO short VALUES (200, v(200, 8))',
	'INSERT INTO short VALUES (201, v(200, 8))',
	'INSERT INTO short VALUES (202, v(200, 8))',
	'INSERT INTO long VALUES (200, v(200, 4500))',
	'DELETE FROM short WHERE id IN (1, 4) OR id BETWEEN 100 AND 201',
	'DELETE FROM long WHERE id IN (1, 200)',
	'VACUUM short',
	'VACUUM long',
	'INSERT INTO short VALUES (203, v(203, 8))',
	'INSERT INTO long VALUES (203, v(203, 4500))');
my $to = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
sound($node, 'without a crash');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

my ($dump, $errors) = run_command([ $node->installed_command('pg_waldump'), '-p', $node->archive_dir, '-r', 'Generic', '-s', $from, '-e', $to ]);
my @records = $dump =~ /, lsn: ([0-9A-F]+\/[0-9A-F]+),/g;
cmp_ok(scalar @records, '>', 40, scalar(@records) . ' records');

my $number = 0;
foreach my $lsn (@records)
{
	next if $number++ % $every;
	my $crashed = recovered_to($node, $lsn, $number);

	my $name = "after record $number";
	sound($crashed, $name);
	$crashed->safe_psql('postgres', 'DELETE FROM short WHERE id IN (2, 6); VACUUM short; VACUUM long');
	sound($crashed, "$name, vacuumed");
	# nothing that VACUUM should have made use of; pages of zeros are free
	my $left = $crashed->safe_psql('postgres', q{
		SELECT c, f.* FROM unnest('{short_v,long_v}'::regclass[]) c, vecdb_check(c, true) f WHERE code NOT IN ('page_zero', 'entry_flag')});
	is($left, '', "$name: nothing is left behind") or note("left behind: $left");
	$crashed->safe_psql('postgres', 'INSERT INTO short VALUES (300, v(300, 8)), (301, v(200, 8)), (302, v(7, 8)); INSERT INTO long VALUES (300, v(300, 4500))');
	sound($crashed, "$name, written");
	foreach my $table ('short', 'long')
	{
		my $rows = $crashed->safe_psql('postgres', "SET enable_indexscan = off; SELECT string_agg(id::text, ' ' ORDER BY id) FROM $table");
		my $found = $crashed->safe_psql('postgres', "SET enable_seqscan = off; SET enable_sort = off; SET hnsw.ef_search = 100; SET hnsw.iterative_scan = off;
			SELECT string_agg(id::text, ' ' ORDER BY id) FROM (SELECT id FROM $table ORDER BY v <-> v(9, @{[ $table eq 'short' ? 8 : 4500 ]})) x");
		is($found, $rows, "$name: a search finds every row of $table");
	}
	clean_log($crashed, $name);
	$crashed->stop('immediate');
	$crashed->clean_node;
}
done_testing();
