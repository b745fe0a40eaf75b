# Damage to the groups of many lists: vecdb_check() tells, and a search ends with an error.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { BLCKSZ => 8192, CONTENT => 24, KIND => 8188, GROUP => 7, LISTS => 17000 };
# metapage: groups, and the first block of their extent
use constant { META_GROUPS => CONTENT + 1848, META_GROUP_START => CONTENT + 1856 };

my $node = PostgreSQL::Test::Cluster->new('groups');
$node->init(extra => $node->pg_version >= 18 ? ['--no-data-checksums'] : []);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_parallel_maintenance_workers = 0\n");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION vecdb;
CREATE TABLE t (id int, v vector(2));
INSERT INTO t SELECT i, ARRAY[sin(i), cos(i * 1.7)]::vector FROM generate_series(1, 17500) i;
CREATE INDEX t_v ON t USING ivfflat (v) WITH (lists = } . LISTS . ')');
my $path = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('t_v')");
my $scan = q{SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[0.1,0.2]' LIMIT 5) x};

# Bytes of the file, which no server is using; put: what they become.
sub bytes
{
	my ($at, $length, $put) = @_;
	open my $fh, '+<:raw', $path or die "$path: $!";
	seek $fh, $at, 0 or die;
	read $fh, my $data, $length;
	if (defined $put) { seek $fh, $at, 0 or die; print $fh $put }
	close $fh or die;
	return $data;
}
sub codes { return $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT code, ',') FROM vecdb_check('t_v') WHERE severity = 'corruption'}) }

is(codes(), '', 'a sound index');
is($node->safe_psql('postgres', $scan), 5, 'and its scan');
$node->stop;
my $start = unpack 'L', bytes(META_GROUP_START, 4);
my $page = $start * BLCKSZ;
my $groups = unpack 'L', bytes(META_GROUPS, 4);
is(unpack('C', bytes($page + KIND, 1)), GROUP, 'groups are where the metapage says');
# the middles follow a number for each group; the first one's first float
my $middle = $page + CONTENT + 4 * $groups;

for my $case (
	[ 'kind of a group page', $page + KIND, pack('C', 6), 'page_kind' ],
	[ 'group page too short', $page + 12, pack('S', CONTENT + 40), 'page_content' ],
	[ 'groups that do not ascend', $page + CONTENT + 8, pack('L', 0), 'groups' ],
	[ 'a first list beyond the last', $page + CONTENT + 8, pack('L', LISTS + 1), 'groups' ],
	[ 'first group with another list', $page + CONTENT, pack('L', 1), 'groups' ],
	[ 'NaN in a middle', $middle, pack('L', 0x7FC00000), 'groups', 'may answer' ],
	[ 'more groups than lists', META_GROUPS, pack('L', 2_000_000), 'meta' ],
	[ 'extent behind the end', META_GROUP_START, pack('L', 4_000_000_000), 'meta' ])
{
	my ($name, $at, $put, $code, $answers) = @$case;
	my $before = bytes($at, length $put, $put);
	$node->start;
	is(codes(), $code, "$name: check");
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$scan");
	$answers ? ok($rc == 0 || $err =~ /XX002/, "$name: scan") : like($err, qr/XX002/, "$name: scan");
	$node->stop;
	bytes($at, length $before, $before);
}
$node->start;
is(codes(), '', 'sound again');
$node->stop;
done_testing();
