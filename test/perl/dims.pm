# Recall for each operator at few and at very many dimensions: built serially and in parallel, after
# inserts alone, after deletes.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use VecdbTest;

# how many rows, for each number of dimensions
my %rows = (1 => 1500, 2 => 1500, 3 => 1500, 4 => 1500, 100 => 1500, 768 => 800, 2000 => 400, 3072 => 300, 16000 => 90);
my $node = new_node('dims', 'max_parallel_maintenance_workers = 2', 'min_parallel_table_scan_size = 0', 'maintenance_work_mem = 256MB');

foreach my $dims (sort { $a <=> $b } keys %rows)
{
	my $rows = $rows{$dims};
	$node->safe_psql('postgres', "
		CREATE TABLE t (id serial PRIMARY KEY, v vector($dims)) WITH (parallel_workers = 2);
		INSERT INTO t (v) SELECT clustered(i, $dims) FROM generate_series(1, $rows) i;
		CREATE TABLE rest AS SELECT clustered(i, $dims) AS v FROM generate_series(1, $rows / 3) i;
		CREATE TABLE queries AS SELECT i, clustered(i, $dims) AS v FROM generate_series(1, 100) i;
		ANALYZE");
	foreach my $class (@OPCLASSES)
	{
		my %found;
		my $measure = sub { $found{ $_[0] } = recall($node, 't', $class, 10, ''); };

		$node->safe_psql('postgres', "SET max_parallel_maintenance_workers = 0; CREATE INDEX t_v ON t USING $am (v $class->{name})");
		$measure->('built serially');
		$node->safe_psql('postgres', 'REINDEX INDEX t_v');
		$measure->('built in parallel');
		$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT v FROM rest');
		$measure->('a third inserted');
		$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0; VACUUM t');
		$measure->('a third deleted');
		$node->safe_psql('postgres', "DROP INDEX t_v; CREATE TABLE all_rows AS TABLE t; TRUNCATE t; CREATE INDEX t_v ON t USING $am (v $class->{name});
			INSERT INTO t TABLE all_rows; DROP TABLE all_rows");
		$measure->('inserted alone');
		# 0.95 is aimed at; over 20 queries it varied by 0.015, over these 100 it keeps well above 0.9.
		# A build measures how far to search, an index born empty goes by what suits most data
		my @low = map { "$_: $found{$_}" } grep { $found{$_} < ($_ eq 'inserted alone' ? 0.8 : 0.9) } sort keys %found;
		is(join(', ', @low), '', "$dims dimensions, $class->{name}: recall\@10 in every state");
		sound($node, "$dims dimensions, $class->{name}");
		$node->safe_psql('postgres', 'DROP INDEX t_v');
	}
	$node->safe_psql('postgres', 'DROP TABLE t, rest, queries');
}
clean_log($node, 'dims');
$node->stop;
done_testing();
