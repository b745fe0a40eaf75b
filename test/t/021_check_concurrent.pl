
# No false alarm: while rows come and go and VACUUM takes pages out of chains,
# vecdb_check finds nothing, on the primary and on a standby; and a strict check
# at the end finds nothing either.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{SECONDS_OF_LOAD} || 8;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
autovacuum = off
fsync = off
wal_keep_size = 1GB
});
$primary->start;

# One list each, so that chains are long; few rows on a page, or one row on
# three, so that pages are emptied and used again all the time.
$primary->safe_psql('postgres', q{
CREATE EXTENSION vecdb;
CREATE FUNCTION rv(dims int, seed int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg(sin(seed * 12.9898 + i * 78.233 + seed * i * 0.37))::vector FROM generate_series(1, dims) i $$;
CREATE TABLE pool AS SELECT i, rv(500, i)::vector(500) v FROM generate_series(1, 500) i;
CREATE TABLE pool_long AS SELECT i, rv(4500, i)::vector(4500) v FROM generate_series(1, 200) i;
SET client_min_messages = warning;
CREATE TABLE short (id int, v vector(500));
CREATE INDEX short_idx ON short USING ivfflat (v vector_l2_ops) WITH (lists = 1);
CREATE TABLE long (id int, v vector(4500));
CREATE INDEX long_idx ON long USING ivfflat (v vector_cosine_ops) WITH (lists = 1);
CREATE UNLOGGED TABLE unlogged (id int, v vector(4500));
CREATE INDEX unlogged_idx ON unlogged USING ivfflat (v vector_cosine_ops) WITH (lists = 1);
INSERT INTO short SELECT pool.* FROM pool, generate_series(1, 3);
INSERT INTO long SELECT * FROM pool_long;
});
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', q{
hot_standby_feedback = on
max_standby_streaming_delay = -1
});
$standby->start;

my %script = (
	short => q{
\set a random(1, 500)
\set b random(1, 500)
INSERT INTO short SELECT * FROM pool WHERE i BETWEEN :a AND :a + 60;
DELETE FROM short WHERE id BETWEEN :b AND :b + 60;
},
	long => q{
\set a random(1, 200)
\set b random(1, 200)
INSERT INTO long SELECT * FROM pool_long WHERE i BETWEEN :a AND :a + 10;
DELETE FROM long WHERE id BETWEEN :b AND :b + 10;
},
	vacuum => q{
VACUUM short;
VACUUM long;
},
	# a finding makes the division fail, and its detail shows in the log
	check => q{
SELECT 1 / (count(*) = 0)::int FROM vecdb_check('short_idx');
SELECT vecdb_index_check('short_idx');
SELECT 1 / (count(*) = 0)::int FROM vecdb_check('long_idx');
SELECT vecdb_index_check('long_idx');
});
my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/$_", $script{$_}) for keys %script;

my @runs;
for (['short', $primary], ['long', $primary], ['vacuum', $primary], ['check', $primary], ['check', $standby])
{
	my ($name, $node) = @$_;
	my $run = { name => $name . ' on the ' . $node->name, out => '', err => '' };
	$run->{handle} = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 1, '-T', $seconds, '-f', "$dir/$name", '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$run->{out}, '2>', \$run->{err});
	push @runs, $run;
}
for my $run (@runs)
{
	$run->{handle}->finish;
	my ($n) = $run->{out} =~ /number of transactions actually processed: (\d+)/;
	ok($run->{handle}->result(0) == 0 && $n > 0, "$run->{name}: " . ($n // 0) . ' times')
	  or diag($run->{out} . $run->{err});
}

my $all = join ' UNION ALL ', map { "SELECT f.* FROM vecdb_check('${_}_idx', %s) f" } 'short', 'long';
is($primary->safe_psql('postgres', sprintf($all, 'true', 'true')), '', 'strict check afterwards');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', sprintf($all, 'false', 'false')), '', 'check of the standby afterwards');
is($standby->safe_psql('postgres', "SELECT severity, code FROM vecdb_check('unlogged_idx')"),
	'note|index_unlogged', 'an unlogged index on a standby');
my ($rc, $out, $err) = $standby->psql('postgres', "SELECT * FROM vecdb_check('short_idx', true)");
like($err, qr/recovery is in progress/, 'no strict check on a standby');

$_->stop for $standby, $primary;
done_testing();
