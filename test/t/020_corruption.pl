
# Damaged index files: the checker names what is wrong and where, and nothing
# that reads the index does worse than an error.
#
# 1. One poke for each finding: an index for each, all damaged while the server
#    is down; vecdb_check must report that code, severity and block.
# 2. Random mutations, half of them aimed at fields: scan, insert, VACUUM and
#    both kinds of check must end in an answer or XX001/XX002; where they meet
#    an error, the check before has findings. SEED= repeats a run, MUTATIONS=
#    changes their number.
#
# The pages are read and changed here by their documented offsets, not with
# the code under test.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} || int(rand(2**31));
my $mutations = $ENV{MUTATIONS} || 240;
srand($seed);
note "SEED=$seed MUTATIONS=$mutations";

use constant {
	BLCKSZ => 8192,
	SPECIAL => 8160,
	CONTENT => 24,
	INVALID => 0xFFFFFFFF,
	META => 1,
	DIR => 2,
	CENT => 3,
	LIST => 4,
	CONT => 5,
	CODEC => 6,
	COPY => 8
};

# metapage
my %meta = (
	magic => 24, dims => 28, metric => 32, codec => 34, row_size => 36,
	generation => 40, lists => 44, alive => 48, dir_extents => 52,
	next_generation => 980, next_lists => 984, retired_generation => 1760, retired_xid => 1768,
	cent_extents => 54, num_targets => 56, targets => 60, dir => 156,
	cent => 540, floor => 924, code_bits => 944, code => 960, code_error => 972,
	first_error => 1776, quantisation_error => 1780, next_codec => 1788, retired_codec => 1802,
	retired_row_size => 1860, copies => 1866, retired_copies => 1870);
# special area of every page
my %op = (
	next => 8160, next_seq => 8164, seq => 8168, list => 8172,
	generation => 8176, cont => 8180, rows => 8184, flags => 8186, kind => 8188,
	format => 8189, page_id => 8190);
# directory entry, from its beginning
my %dir = (head => 0, insert => 4, generation => 8, flags => 12,
	successor => 16, successors => 20, unused => 28);

my $node = PostgreSQL::Test::Cluster->new('damaged');
# checksums would tell of every poke before we can
$node->init(extra => $node->pg_version >= 18 ? ['--no-data-checksums'] : []);
$node->append_conf('postgresql.conf', q{
autovacuum = off
fsync = off
max_parallel_maintenance_workers = 0
restart_after_crash = off
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION vecdb;
CREATE FUNCTION rv(dims int, seed int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg(sin(seed * 12.9898 + i * 78.233 + seed * i * 0.37))::vector FROM generate_series(1, dims) i $$;
});

#
# Files: an image in memory, changed by poke, written back.
#
sub slurp_index
{
	my $path = $node->data_dir . '/' . shift;
	open my $fh, '<:raw', $path or die "$path: $!";
	local $/;
	my $data = <$fh>;
	close $fh;
	return { path => $path, data => $data };
}

sub spew_index
{
	my $f = shift;
	open my $fh, '>:raw', $f->{path} or die "$f->{path}: $!";
	print $fh $f->{data};
	close $fh or die;
}

sub nblocks { return length($_[0]->{data}) / BLCKSZ }
sub peek { my ($f, $blk, $off, $t) = @_; return unpack($t, substr($f->{data}, $blk * BLCKSZ + $off, 16)) }
sub poke { my ($f, $blk, $off, $t, @v) = @_; my $b = pack($t, @v); substr($f->{data}, $blk * BLCKSZ + $off, length $b) = $b }
sub u32 { return peek(@_, 'L') }
sub kind { return peek($_[0], $_[1], $op{kind}, 'C') }
sub used { return peek($_[0], $_[1], 12, 'S') - CONTENT }
# the first block for which something is true
sub first_block
{
	my ($f, $what) = @_;
	for my $b (0 .. nblocks($f) - 1) { return $b if $what->($b) }
	die "no such block in $f->{path}";
}
sub dir_block { my $f = shift; return first_block($f, sub { kind($f, $_[0]) == DIR }) }
sub cent_block { my $f = shift; return first_block($f, sub { kind($f, $_[0]) == CENT }) }
# a head with a page behind it
sub long_head { my $f = shift; return first_block($f, sub { kind($f, $_[0]) == LIST && u32($f, $_[0], $op{seq}) == 1 && u32($f, $_[0], $op{next}) != INVALID }) }
sub filled_list { my $f = shift; return first_block($f, sub { kind($f, $_[0]) == LIST && used($f, $_[0]) > 0 }) }
sub row { my ($f, $n) = @_; return CONTENT + ($n - 1) * u32($f, 0, $meta{row_size}) }
sub get_tid { my ($f, $blk, $n) = @_; return substr($f->{data}, $blk * BLCKSZ + row($f, $n), 6) }
sub set_tid { my ($f, $blk, $n, $tid) = @_; substr($f->{data}, $blk * BLCKSZ + row($f, $n), 6) = $tid }
sub make_tid { my ($b, $o) = @_; return pack('SSS', $b >> 16, $b & 0xFFFF, $o) }

#
# 1. One poke for each finding
#
# l2 and cos: rows of 4 dimensions, 254 on a page; long: rows over 2 pages.
# Row 1 of the table is NULL, row 2 was vacuumed away before any index came.
#
$node->safe_psql('postgres', q{
CREATE TABLE t (id int, v vector(4)) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i, CASE WHEN i > 1 THEN rv(4, i) END FROM generate_series(1, 1600) i;
DELETE FROM t WHERE id = 2;
VACUUM t;
CREATE TABLE tl (id int, v vector(3000));
INSERT INTO tl SELECT i, rv(3000, i) FROM generate_series(1, 8) i;
});

my @pokes;
# what, which index, code, severity, poke: returns the block reported (or "none")
sub case { my ($name, $type, $code, $severity, $poke) = @_; push @pokes, { name => $name, type => $type, code => $code, severity => $severity, poke => $poke } }
sub corrupt { return case($_[0], $_[1], $_[2], 'corruption', $_[3]) }
my $table_of = { l2 => 't', cos => 't', long => 'tl', rq => 't', pq => 't', opq => 't', rc => 't' };

# I1
corrupt('magic', 'l2', 'meta', sub { poke($_[0], 0, $meta{magic}, 'L', 1); 0 });
corrupt('zero dims', 'l2', 'meta', sub { poke($_[0], 0, $meta{dims}, 'L', 0); 0 });
corrupt('row size', 'l2', 'meta', sub { poke($_[0], 0, $meta{row_size}, 'L', 36); 0 });
corrupt('unknown metric', 'l2', 'meta', sub { poke($_[0], 0, $meta{metric}, 'S', 9); 0 });
corrupt('too many lists', 'l2', 'meta', sub { poke($_[0], 0, $meta{lists}, 'L', 1_000_000_000); 0 });
corrupt('too many extents', 'l2', 'meta', sub { poke($_[0], 0, $meta{dir_extents}, 'S', 33); 0 });
corrupt('extent behind the end', 'l2', 'meta', sub { poke($_[0], 0, $meta{dir} + 4, 'L', 4_000_000_000); 0 });
corrupt('metapage too short', 'l2', 'meta', sub { poke($_[0], 0, 12, 'S', 100); 0 });
corrupt('dims of another column', 'l2', 'meta_dims', sub { poke($_[0], 0, $meta{dims}, 'L', 3); poke($_[0], 0, $meta{row_size}, 'L', 28); 0 });
corrupt('metric of another class', 'l2', 'meta_metric', sub { poke($_[0], 0, $meta{metric}, 'S', 2); 0 });
corrupt('lists alive', 'l2', 'meta_lists', sub { poke($_[0], 0, $meta{alive}, 'L', 3); 0 });
corrupt('no file', 'l2', 'page_missing', sub { $_[0]->{data} = ''; 0 });
# I2
corrupt('metapage of no kind of ours', 'l2', 'page_broken', sub { poke($_[0], 0, $op{page_id}, 'S', 0xFF90); 0 });
corrupt('list page of another extension', 'l2', 'page_broken', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{page_id}, 'S', 0xFF84); $b });
corrupt('metapage of another version', 'l2', 'page_format', sub { poke($_[0], 0, $op{format}, 'C', 99); 0 });
corrupt('list page of another version', 'l2', 'page_format', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{format}, 'C', 0); $b });
corrupt('page header', 'l2', 'page_unreadable', sub { my $b = filled_list($_[0]); poke($_[0], $b, 12, 'S', 65535); $b });
corrupt('end of the hole', 'l2', 'page_broken', sub { my $b = filled_list($_[0]); poke($_[0], $b, 14, 'S', 8152); $b });
corrupt('page size of the directory', 'l2', 'page_broken', sub { my $b = dir_block($_[0]); poke($_[0], $b, 18, 'S', 0); $b });
corrupt('page header of the directory', 'l2', 'page_unreadable', sub { my $b = dir_block($_[0]); poke($_[0], $b, 16, 'S', 8161); $b });
corrupt('list page of zeros', 'l2', 'page_broken', sub { my $b = filled_list($_[0]); substr($_[0]->{data}, $b * BLCKSZ, BLCKSZ) = "\0" x BLCKSZ; $b });
corrupt('centroids of zeros', 'l2', 'page_broken', sub { my $b = cent_block($_[0]); substr($_[0]->{data}, $b * BLCKSZ, BLCKSZ) = "\0" x BLCKSZ; $b });
corrupt('kind of the directory', 'l2', 'page_kind', sub { my $b = dir_block($_[0]); poke($_[0], $b, $op{kind}, 'C', LIST); $b });
corrupt('kind of the centroids', 'l2', 'page_kind', sub { my $b = cent_block($_[0]); poke($_[0], $b, $op{kind}, 'C', 0); $b });
corrupt('second metapage', 'l2', 'page_kind', sub { my $f = shift; $f->{data} .= substr($f->{data}, 0, BLCKSZ); nblocks($f) - 1 });
corrupt('unknown kind', 'l2', 'page_kind', sub { my $f = shift; $f->{data} .= substr($f->{data}, 0, BLCKSZ); poke($f, nblocks($f) - 1, $op{kind}, 'C', 200); nblocks($f) - 1 });
corrupt('rest of another file', 'l2', 'page_broken', sub { my $f = shift; $f->{data} .= pack('x12SSSSx8172', 24, 8192, 8192, 8196); nblocks($f) - 1 });
case('orphan', 'l2', 'page_orphan', 'damage', sub { my $f = shift; my $b = filled_list($f); $f->{data} .= substr($f->{data}, $b * BLCKSZ, BLCKSZ); nblocks($f) - 1 });
case('orphaned continuation', 'long', 'page_orphan', 'damage', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); $f->{data} .= substr($f->{data}, $b * BLCKSZ, BLCKSZ); nblocks($f) - 1 });
case('page of zeros at the end', 'l2', 'page_zero', 'note', sub { my $f = shift; $f->{data} .= "\0" x BLCKSZ; nblocks($f) - 1 });
corrupt('extents overlap', 'l2', 'extent_overlap', sub { my $b = dir_block($_[0]); poke($_[0], 0, $meta{cent} + 4, 'L', $b); $b });
# I3
corrupt('head behind the end', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{head}, 'L', 4_000_000); $b });
corrupt('no head', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{head}, 'L', INVALID); $b });
corrupt('insert hint behind the end', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + 40 + $dir{insert}, 'L', 4_000_000); $b });
corrupt('list from the future', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{generation}, 'L', 7); $b });
corrupt('unknown flag', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{flags}, 'L', 8); $b });
corrupt('superseded by nothing', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{flags}, 'L', 1); poke($_[0], 0, $meta{alive}, 'L', u32($_[0], 0, $meta{alive}) - 1); $b });
corrupt('successor without being superseded', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{successor}, 'L', 1); $b });
corrupt('unused field of a list', 'l2', 'list_entry', sub { my $b = dir_block($_[0]); poke($_[0], $b, CONTENT + $dir{unused}, 'L', 1); $b });
corrupt('generation of the directory', 'l2', 'page_generation', sub { my $b = dir_block($_[0]); poke($_[0], $b, $op{generation}, 'L', 0); $b });
corrupt('generation of the centroids', 'l2', 'page_generation', sub { my $b = cent_block($_[0]); poke($_[0], $b, $op{generation}, 'L', 2); $b });
corrupt('next generation without lists', 'l2', 'meta', sub { poke($_[0], 0, $meta{next_generation}, 'L', 2); 0 });
corrupt('retired generation to come', 'l2', 'meta', sub { poke($_[0], 0, $meta{retired_xid}, 'L', 7); poke($_[0], 0, $meta{retired_generation}, 'L', 9); 0 });
corrupt('frozen page of a list in use', 'l2', 'page_flags', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{flags}, 'S', 1); $b });
corrupt('unknown flag of a page', 'l2', 'page_flags', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{flags}, 'S', 4); $b });
corrupt('head of another list', 'l2', 'chain_link', sub { my $b = dir_block($_[0]); my $h = u32($_[0], $b, CONTENT + 40 + $dir{head}); poke($_[0], $b, CONTENT + $dir{head}, 'L', $h); $h });
corrupt('directory too short', 'l2', 'page_content', sub { my $b = dir_block($_[0]); poke($_[0], $b, 12, 'S', CONTENT + 41); $b });
corrupt('centroids too short', 'l2', 'page_content', sub { my $b = cent_block($_[0]); poke($_[0], $b, 12, 'S', CONTENT + 15); $b });
# I4
corrupt('next behind the end', 'l2', 'chain_link', sub { my $b = long_head($_[0]); poke($_[0], $b, $op{next}, 'L', 4_000_000); $b });
corrupt('file cut off', 'l2', 'chain_link', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == LIST && u32($f, $_[0], $op{next}) == nblocks($f) - 1 }); substr($f->{data}, -BLCKSZ) = ''; $b });
corrupt('next is the page itself', 'l2', 'chain_link', sub { my $b = long_head($_[0]); poke($_[0], $b, $op{next}, 'L', $b); $b });
corrupt('next is the metapage', 'l2', 'chain_link', sub { my $b = long_head($_[0]); poke($_[0], $b, $op{next}, 'L', 0); 0 });
corrupt('list number', 'l2', 'chain_link', sub { my $b = long_head($_[0]); my $n = u32($_[0], $b, $op{next}); poke($_[0], $n, $op{list}, 'L', 77); $n });
corrupt('generation', 'l2', 'chain_link', sub { my $b = long_head($_[0]); my $n = u32($_[0], $b, $op{next}); poke($_[0], $n, $op{generation}, 'L', 0); $n });
corrupt('seq', 'l2', 'chain_link', sub { my $b = long_head($_[0]); my $n = u32($_[0], $b, $op{next}); poke($_[0], $n, $op{seq}, 'L', 9); $n });
corrupt('freed page in a chain', 'l2', 'chain_link', sub { my $b = long_head($_[0]); my $n = u32($_[0], $b, $op{next}); poke($_[0], $n, $op{kind}, 'C', 0); $n });
corrupt('seq of a head', 'l2', 'chain_link', sub { my $b = long_head($_[0]); poke($_[0], $b, $op{seq}, 'L', 0); $b });
corrupt('descending seq', 'l2', 'chain_seq', sub { my $b = long_head($_[0]); poke($_[0], $b, $op{next_seq}, 'L', 1); $b });
corrupt('seq of no next page', 'l2', 'chain_seq', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == LIST && u32($f, $_[0], $op{next}) == INVALID }); poke($f, $b, $op{next_seq}, 'L', 5); $b });
# I5
corrupt('half a row', 'l2', 'page_content', sub { my $b = filled_list($_[0]); poke($_[0], $b, 12, 'S', CONTENT + 40); $b });
corrupt('half a long row', 'long', 'page_content', sub { my $b = filled_list($_[0]); poke($_[0], $b, 12, 'S', CONTENT + 40); $b });
corrupt('continuation of a short row', 'l2', 'row_cont', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{cont}, 'L', 1); $b });
corrupt('no continuation', 'long', 'row_cont', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{cont}, 'L', INVALID); $b });
corrupt('continuation behind the end', 'long', 'row_cont', sub { my $b = filled_list($_[0]); poke($_[0], $b, $op{cont}, 'L', 4_000_000); 4_000_000 });
corrupt('continuation of another row', 'long', 'row_cont', sub { my $f = shift; my $b = filled_list($f); my $o = first_block($f, sub { kind($f, $_[0]) == CONT && u32($f, $_[0], $op{next}) != $b }); poke($f, $b, $op{cont}, 'L', $o); $o });
corrupt('owner of a continuation', 'long', 'row_cont', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); poke($f, $b, $op{next}, 'L', 0); $b });
corrupt('continuation too long', 'long', 'row_cont', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); poke($f, $b, 12, 'S', 8000); $b });
corrupt('continuation in a circle', 'long', 'row_cont', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); poke($f, $b, $op{cont}, 'L', $b); $b });
corrupt('kind of a continuation', 'long', 'row_cont', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); poke($f, $b, $op{kind}, 'C', LIST); $b });
# I6
corrupt('offset 0', 'l2', 'row_tid', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 1, make_tid(0, 0)); $b });
corrupt('offset beyond all', 'l2', 'row_tid', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 1, make_tid(0, 2049)); $b });
corrupt('row behind the table', 'l2', 'row_tid', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 2, make_tid(0x7FFFFFFF, 1)); $b });
corrupt('attribute area', 'l2', 'row_head', sub { my $b = filled_list($_[0]); poke($_[0], $b, row($_[0], 1) + 6, 'S', 8); $b });
corrupt('unknown flag of a row', 'l2', 'row_head', sub { my $b = filled_list($_[0]); poke($_[0], $b, row($_[0], 2) + 12, 'L', 2); $b });
corrupt('NaN in a row', 'l2', 'row_value', sub { my $b = filled_list($_[0]); poke($_[0], $b, row($_[0], 1) + 20, 'L', 0x7FC00000); $b });
corrupt('infinity in a long row', 'long', 'row_value', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CONT }); poke($f, $b, CONTENT, 'L', 0x7F800000); u32($f, $b, $op{next}) });
corrupt('norm of a row', 'l2', 'row_norm', sub { my $b = filled_list($_[0]); poke($_[0], $b, row($_[0], 1) + 8, 'f', 1); $b });
corrupt('one bit of a value', 'l2', 'heap_value', sub { my $b = filled_list($_[0]); my $o = row($_[0], 1) + 16; poke($_[0], $b, $o, 'L', u32($_[0], $b, $o) ^ 1); $b });
corrupt('row without direction', 'cos', 'row_norm', sub { my $b = filled_list($_[0]); poke($_[0], $b, row($_[0], 1) + 8, 'f5', (0) x 5); poke($_[0], $b, row($_[0], 1) + 12, 'f5', (0) x 5); $b });
corrupt('TID twice', 'l2', 'row_duplicate', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 2, get_tid($_[0], $b, 1)); $b });
# I7
corrupt('NaN in a centroid', 'l2', 'centroid', sub { my $b = cent_block($_[0]); poke($_[0], $b, CONTENT, 'L', 0x7FC00000); $b });
corrupt('length of a centroid', 'cos', 'centroid', sub { my $b = cent_block($_[0]); poke($_[0], $b, CONTENT, 'f', 2); $b });
corrupt('target above 1', 'l2', 'meta', sub { poke($_[0], 0, $meta{targets} + 80, 'f', 1.5); 0 });
corrupt('targets descend', 'l2', 'meta_targets', sub { poke($_[0], 0, $meta{targets} + 16, 'f', 0.7); 0 });
corrupt('efforts descend', 'l2', 'meta_targets', sub { poke($_[0], 0, $meta{targets} + 4, 'f', 1e30); 0 });
corrupt('negative effort', 'l2', 'meta', sub { poke($_[0], 0, $meta{targets} + 4, 'f', -1); 0 });
corrupt('NaN as floor', 'l2', 'meta', sub { poke($_[0], 0, $meta{floor}, 'L', 0x7FC00000); 0 });
case('centroids exchanged', 'l2', 'list_nearest', 'note', sub { my $b = cent_block($_[0]); my ($x, $y) = map { substr($_[0]->{data}, $b * BLCKSZ + CONTENT + 16 * $_, 16) } 0, 1; substr($_[0]->{data}, $b * BLCKSZ + CONTENT, 32) = $y . $x; undef });
# I8, I9
corrupt('a row less', 'l2', 'heap_missing', sub { my $b = filled_list($_[0]); poke($_[0], $b, 12, 'S', CONTENT + used($_[0], $b) - 32); 'none' });
corrupt('TIDs exchanged', 'l2', 'heap_value', sub { my $b = filled_list($_[0]); my ($x, $y) = map { get_tid($_[0], $b, $_) } 1, 2; set_tid($_[0], $b, 1, $y); set_tid($_[0], $b, 2, $x); $b });
corrupt('TID of a NULL', 'l2', 'heap_unexpected', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 1, make_tid(0, 1)); $b });
corrupt('TID of a removed row', 'l2', 'heap_unused', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 1, make_tid(0, 2)); $b });
corrupt('TID behind the line pointers', 'l2', 'heap_unused', sub { my $b = filled_list($_[0]); set_tid($_[0], $b, 1, make_tid(0, 290)); $b });

# ivfpq: rq has 369 rows a page, whose factors begin at 2216 and codes at 5168; pq has codebooks
sub codes { my $f = shift; return first_block($f, sub { kind($f, $_[0]) == LIST && (u32($f, $_[0], $op{rows}) & 0xFFFF) > 1 }) }
corrupt('bits of the codes', 'rq', 'meta', sub { poke($_[0], 0, $meta{code_bits}, 'S', 3); 0 });
corrupt('NaN as error of first planes', 'rq', 'meta', sub { poke($_[0], 0, $meta{first_error}, 'L', 0x7FC00000); 0 });
corrupt('infinite width', 'rq', 'meta', sub { poke($_[0], 0, $meta{targets} + 12, 'L', 0x7F800000); 0 });
corrupt('infinite error of the codes', 'rq', 'meta', sub { poke($_[0], 0, $meta{code_error}, 'L', 0x7F800000); 0 });
corrupt('NaN as quantisation error', 'rq', 'meta', sub { poke($_[0], 0, $meta{quantisation_error}, 'L', 0x7FC00000); 0 });
corrupt('retired lists without a codec', 'rq', 'meta', sub { poke($_[0], 0, $meta{retired_xid}, 'L', 7); 0 });
corrupt('retired lists with rows of another size', 'rq', 'meta', sub { poke($_[0], 0, $meta{retired_xid}, 'L', 7); poke($_[0], 0, $meta{retired_codec}, 'S', 2); poke($_[0], 0, $meta{retired_row_size}, 'L', 9); 0 });
corrupt('codebooks behind the end', 'pq', 'meta', sub { poke($_[0], 0, $meta{code} + 4, 'L', 4_000_000); 0 });
corrupt('rows that do not fit', 'rq', 'page_content', sub { my $b = codes($_[0]); poke($_[0], $b, $op{rows}, 'S', 370); $b });
corrupt('unknown flag of a page of codes', 'rq', 'page_flags', sub { my $b = codes($_[0]); poke($_[0], $b, $op{flags}, 'S', 4); $b });
corrupt('codes cut off', 'rq', 'page_content', sub { my $b = codes($_[0]); poke($_[0], $b, 12, 'S', CONTENT + 3000); $b });
corrupt('NaN as factor', 'rq', 'row_factors', sub { my $b = codes($_[0]); poke($_[0], $b, CONTENT + 2216, 'L', 0x7FC00000); $b });
corrupt('one bit of a factor', 'rq', 'heap_value', sub { my $b = codes($_[0]); poke($_[0], $b, CONTENT + 2220, 'L', u32($_[0], $b, CONTENT + 2220) ^ 1); $b });
corrupt('one bit of a code', 'rq', 'heap_value', sub { my $b = codes($_[0]); poke($_[0], $b, CONTENT + 5168 + 16, 'L', u32($_[0], $b, CONTENT + 5168 + 16) ^ 1); $b });
corrupt('codes exchanged', 'rq', 'heap_value', sub { my $b = codes($_[0]); my ($x, $y) = map { substr($_[0]->{data}, $b * BLCKSZ + CONTENT + 6 * $_, 6) } 0, 1; substr($_[0]->{data}, $b * BLCKSZ + CONTENT, 12) = $y . $x; $b });
corrupt('TID of a code twice', 'rq', 'row_duplicate', sub { my $b = codes($_[0]); substr($_[0]->{data}, $b * BLCKSZ + CONTENT + 6, 6) = substr($_[0]->{data}, $b * BLCKSZ + CONTENT, 6); $b });
corrupt('offset 0 of a code', 'rq', 'row_tid', sub { my $b = codes($_[0]); substr($_[0]->{data}, $b * BLCKSZ + CONTENT, 6) = make_tid(0, 0); $b });
corrupt('offset beyond all of a code', 'rq', 'row_tid', sub { my $b = codes($_[0]); substr($_[0]->{data}, $b * BLCKSZ + CONTENT, 6) = make_tid(0, 0x9001); $b });
corrupt('a code less', 'rq', 'heap_missing', sub { my $b = codes($_[0]); poke($_[0], $b, $op{rows}, 'S', (u32($_[0], $b, $op{rows}) & 0xFFFF) - 1); 'none' });
corrupt('NaN in a codebook', 'pq', 'codec', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CODEC }); poke($f, $b, CONTENT, 'L', 0x7FC00000); $b });
corrupt('a codebook cut off', 'pq', 'page_content', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CODEC }); poke($f, $b, 12, 'S', CONTENT + 8); $b });
corrupt('bits of a rotation', 'opq', 'codec', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CODEC }); poke($f, $b, CONTENT + 4 * 4 * 16 + 20, 'f', 1.5); $b });
corrupt('a rotation without one dimension', 'opq', 'page_content', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CODEC }); poke($f, $b, 12, 'S', CONTENT + 4 * 4 * (16 + 3)); $b });
corrupt('a rotation that is not there', 'pq', 'page_content', sub { my $f = shift; poke($f, 0, $meta{codec}, 'S', 4); first_block($f, sub { kind($f, $_[0]) == CODEC }) });
corrupt('kind of a codebook', 'pq', 'page_kind', sub { my $f = shift; my $b = first_block($f, sub { kind($f, $_[0]) == CODEC }); poke($f, $b, $op{kind}, 'C', LIST); $b });

# rerank = index: the numbers of two COPY pages end a page of codes; copies have 24 bytes, 339 on the first page
sub copy_link { my ($f, $b) = @_; return CONTENT + used($f, $b) - 8 }
sub copies_of { my ($f, $b) = @_; return u32($f, $b, copy_link($f, $b)) }
corrupt('unknown kind of copies', 'rc', 'meta', sub { poke($_[0], 0, $meta{copies}, 'S', 2); 0 });
corrupt('copies of ivfflat', 'l2', 'meta', sub { poke($_[0], 0, $meta{copies}, 'S', 1); 0 });
corrupt('no copies by the metapage', 'rc', 'page_content', sub { my $b = codes($_[0]); poke($_[0], 0, $meta{copies}, 'S', 0); $b });
corrupt('copies by the metapage only', 'rq', 'page_content', sub { my $b = codes($_[0]); poke($_[0], 0, $meta{copies}, 'S', 1); $b });
corrupt('retired copies of another kind', 'rc', 'meta', sub { poke($_[0], 0, $meta{retired_xid}, 'L', 7); poke($_[0], 0, $meta{retired_copies}, 'S', 3); 0 });
corrupt('no copy page', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, $b, copy_link($f, $b), 'L', INVALID); $b });
corrupt('copies behind the end', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, $b, copy_link($f, $b), 'L', 4_000_000); $b });
corrupt('copies on the page itself', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, $b, copy_link($f, $b), 'L', $b); $b });
corrupt('copies of another page', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); my $o = first_block($f, sub { kind($f, $_[0]) == LIST && $_[0] != $b }); poke($f, $b, copy_link($f, $b), 'L', copies_of($f, $o)); $b });
corrupt('kind of a copy page', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), $op{kind}, 'C', CODEC); $b });
corrupt('owner of a copy page', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), $op{next}, 'L', $b + 1); $b });
corrupt('number of a copy page', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), $op{next_seq}, 'L', 1); $b });
corrupt('copies cut off', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), 12, 'S', CONTENT + 24); $b });
corrupt('TID of a copy', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); substr($f->{data}, copies_of($f, $b) * BLCKSZ + CONTENT, 6) = make_tid(0, 2); $b });
corrupt('copies exchanged', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); my $at = copies_of($f, $b) * BLCKSZ + CONTENT; substr($f->{data}, $at, 48) = substr($f->{data}, $at + 24, 24) . substr($f->{data}, $at, 24); $b });
corrupt('NaN as scale of a copy', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), CONTENT + 8, 'L', 0x7FC00000); $b });
corrupt('a negative error of a copy', 'rc', 'row_copy', sub { my ($f, $b) = ($_[0], codes($_[0])); poke($f, copies_of($f, $b), CONTENT + 12, 'f', -1); $b });
corrupt('one bit of a copy', 'rc', 'heap_value', sub { my ($f, $b) = ($_[0], codes($_[0])); my $c = copies_of($f, $b); poke($f, $c, CONTENT + 16, 'S', (u32($f, $c, CONTENT + 16) & 0xFFFF) ^ 1); $b });

my %options = (rq => ', bits = 1', pq => ', quantizer = pq, m = 2', opq => ', quantizer = opq, m = 2, bits = 4', rc => ', bits = 1, rerank = index');
my $make = '';
for my $i (0 .. $#pokes)
{
	my $p = $pokes[$i];
	my $class = $p->{type} eq 'cos' ? 'vector_cosine_ops' : 'vector_l2_ops';
	my $lists = ($p->{type} eq 'long' ? 2 : 4) . ($options{ $p->{type} } // '');
	my $am = $options{ $p->{type} } ? 'ivfpq' : 'ivfflat';
	$p->{index} = "p$i";
	$make .= "CREATE INDEX p$i ON $table_of->{$p->{type}} USING $am (v $class) WITH (lists = $lists);\n";
}
$node->safe_psql('postgres', $make);
my $findings = join ' UNION ALL ', map {
	"SELECT '$_', s, f.* FROM (VALUES (false), (true)) v(s), vecdb_check('$_', s) f"
} map { $_->{index} } @pokes;
is($node->safe_psql('postgres', $findings), '', 'no finding in ' . @pokes . ' sound indexes');

my %path = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	"SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relkind = 'i' AND relname ~ '^p[0-9]'");
$node->stop;
for my $p (@pokes)
{
	my $f = slurp_index($path{ $p->{index} });
	$p->{block} = $p->{poke}->($f);
	spew_index($f);
}
$node->start;

my %reported;
for (split /\n/, $node->safe_psql('postgres', join "\n", map {
	"SELECT '$_->{index}', f.severity, f.code, coalesce(f.block::text, 'none'), f.detail FROM vecdb_check('$_->{index}', true, max_findings => 20) f;"
  } @pokes))
{
	push @{ $reported{$1} }, $_ if /^(p\d+)\|/;
}
# each as a statement of its own, so that an error ends only that
my ($rc, $out, $err) = $node->psql('postgres', join("\n", '\set VERBOSITY sqlstate', map {
	"\\warn $_->{index}\nSELECT vecdb_index_check('$_->{index}', true);"
  } @pokes), on_error_stop => 0);
my %state;
my $current;
for (split /\n/, $err)
{
	if (/^(p\d+)$/) { $current = $1 }
	elsif (/ERROR:\s+(\w{5})/) { $state{$current} = $1 }
}
for my $p (@pokes)
{
	my @got = @{ $reported{ $p->{index} } // [] };
	my $want = join '|', $p->{index}, $p->{severity}, $p->{code}, defined $p->{block} ? "$p->{block}|" : '';
	ok((grep { index($_, $want) == 0 } @got) > 0, "$p->{name}: $p->{code}")
	  or diag("wanted $want, got:\n" . join("\n", @got));
	like(join("\n", grep { /row_tid/ } @got), qr/has [1-9]\d* blocks, and offsets are 1 to 2048\./, "$p->{name}: what TIDs there can be") if $p->{code} eq 'row_tid';
	my $worst = join ' ', @got;
	is($state{ $p->{index} } // 'none', $p->{severity} eq 'note' && $worst !~ /corruption|damage/ ? 'none' : 'XX002',
		"$p->{name}: vecdb_index_check");
}
$node->safe_psql('postgres', 'REINDEX TABLE t; REINDEX TABLE tl;');
is($node->safe_psql('postgres', $findings), '', 'REINDEX cures them all');
$node->safe_psql('postgres', 'DROP TABLE t, tl');

#
# 2. Random mutations
#
# Tables all alike, one damaged index each. Every fourth has rows over several
# pages; all have been vacuumed, so there are free pages as well.
#
$node->safe_psql('postgres', q{
CREATE TABLE base AS SELECT i AS id, rv(4, i)::vector(4) AS v FROM generate_series(1, 900) i;
CREATE TABLE base_long AS SELECT i AS id, rv(4200, i)::vector(4200) AS v FROM generate_series(1, 8) i;
});
# every other one of ivfpq, but where rows are too long
sub has_copies { my $i = shift; return $i % 5 == 1 && $i % 4 != 0 }
$make = '';
for my $i (1 .. $mutations)
{
	my ($base, $dims, $n) = $i % 4 == 0 ? ('base_long', 4200, 8) : ('base', 4, 900);
	my $class = ('vector_l2_ops', 'vector_ip_ops', 'vector_cosine_ops')[$i % 3];
	my $am = $i % 5 < 2 ? 'ivfpq' : 'ivfflat';
	$make .= "CREATE TABLE m$i (LIKE $base) WITH (autovacuum_enabled = off); INSERT INTO m$i SELECT * FROM $base;
CREATE INDEX i$i ON m$i USING $am (v $class) WITH (lists = 2@{[ has_copies($i) ? ', rerank = index' : '' ]});
DELETE FROM m$i WHERE id BETWEEN $n / 4 AND $n / 2; VACUUM m$i; INSERT INTO m$i SELECT id + 10000, v FROM $base WHERE id < 3;\n";
}
$node->safe_psql('postgres', $make);
%path = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	"SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relkind = 'i' AND relname ~ '^i[0-9]'");
$node->stop;

sub any { return $_[int(rand(@_))] }
# a number that a field may be mistaken for, or that ends badly
sub odd_number
{
	my ($f, $blk) = @_;
	return any(0, 1, 2, 3, $blk, $blk, int(rand(nblocks($f))), int(rand(nblocks($f))), nblocks($f), nblocks($f) - 1,
		0x7FFFFFFF, 0x80000000, INVALID, INVALID - 1, int(rand(65536)), int(rand(2**32)));
}
sub mutate
{
	my $f = shift;
	my $blk = int(rand(nblocks($f)));
	my $how = rand();
	my $is = kind($f, $blk);
	if ($how < 0.25)
	{
		my $name = any(sort keys %op);
		my $t = { kind => 'C', format => 'C', page_id => 'S', rows => 'S', flags => 'S' }->{$name} // 'L';
		my $v = odd_number($f, $blk);
		$v = any(0 .. 8, 255) if $name eq 'kind';
		$v &= 0xFF if $t eq 'C';
		$v &= 0xFFFF if $t eq 'S';
		poke($f, $blk, $op{$name}, $t, $v);
		return "block $blk: $name = $v";
	}
	if ($how < 0.35)
	{
		my $name = any(sort keys %meta);
		my $off = $meta{$name} + ($name =~ /^(targets|dir|cent)$/ ? 4 * int(rand(18)) : 0);
		my $v = odd_number($f, $blk);
		my $t = $name =~ /metric|codec|extents/ ? 'S' : 'L';
		poke($f, 0, $off, $t, $t eq 'S' ? $v & 0xFFFF : $v);
		return "metapage: $name (offset $off) = $v";
	}
	if ($how < 0.45)
	{
		# gone already, after an earlier mutation?
		my $b = eval { dir_block($f) } // return 'no directory to change';
		my $name = any(sort keys %dir);
		my $v = odd_number($f, $blk);
		my $list = int(rand(2));
		poke($f, $b, CONTENT + 40 * $list + $dir{$name}, 'L', $v);
		return "list $list: $name = $v";
	}
	if ($how < 0.55)
	{
		my $off = any(12, 12, 12, 14, 16, 18, 10);
		my $v = any(0, 24, 25, 40, 8000, 8160, 8161, 8192, 65535, int(rand(8192)));
		poke($f, $blk, $off, 'S', $v);
		return "block $blk: page header offset $off = $v";
	}
	if ($how < 0.7 && $is == LIST)
	{
		# fields of a row: TID, attribute length, norm, unused, value
		my $off = CONTENT + (u32($f, 0, $meta{row_size}) < 8000 ? 32 * int(rand(20)) : 0) + any(0, 2, 4, 6, 8, 12, 16, 20);
		my $v = any(0, 0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, odd_number($f, $blk));
		poke($f, $blk, $off, 'L', $v);
		return "block $blk: row field at $off = $v";
	}
	if ($how < 0.75)
	{
		substr($f->{data}, $blk * BLCKSZ, BLCKSZ) = "\0" x BLCKSZ;
		return "block $blk: zeros";
	}
	if ($how < 0.8)
	{
		my $o = int(rand(nblocks($f)));
		substr($f->{data}, $blk * BLCKSZ, BLCKSZ) = substr($f->{data}, $o * BLCKSZ, BLCKSZ);
		return "block $blk: copy of block $o";
	}
	if ($how < 0.83)
	{
		my $n = int(rand(nblocks($f)));
		substr($f->{data}, $n * BLCKSZ) = '';
		return "cut off at block $n";
	}
	my $n = 1 + int(rand(8));
	poke($f, $blk, int(rand(BLCKSZ)), 'C', int(rand(256))) for 1 .. $n;
	return "block $blk: $n random bytes";
}
my %what;
for my $i (1 .. $mutations)
{
	my $f = slurp_index($path{"i$i"});
	my @did = (mutate($f));
	push @did, mutate($f) while nblocks($f) > 0 && rand() < 0.2;
	$what{$i} = join '; ', @did;
	spew_index($f);
}
$node->start;

# Which statement of which table an error belongs to is told by \warn.
my $script = "\\set VERBOSITY sqlstate\nSET enable_seqscan = off;\nSET jit = off;\nSET statement_timeout = '10s';\n";
for my $i (1 .. $mutations)
{
	my ($base, $op) = ($i % 4 == 0 ? 'base_long' : 'base', ('<->', '<#>', '<=>')[$i % 3]);
	my %statement = (
		1 => "SELECT count(*) AS n FROM vecdb_check('i$i', true, max_findings => 5)",
		2 => "SELECT count(*) FROM vecdb_check('i$i')",
		3 => "SELECT count(*) FROM (SELECT id FROM m$i ORDER BY v $op (SELECT v FROM $base WHERE id = 5) LIMIT 10) s",
		4 => "SELECT count(*) FROM (SELECT id FROM m$i ORDER BY v $op (SELECT v FROM $base WHERE id = 7)) s",
		5 => "INSERT INTO m$i SELECT id + 20000, v FROM $base WHERE id <= 6",
		6 => "UPDATE m$i SET v = (SELECT v FROM $base WHERE id = 8) WHERE id IN (1, 3)",
		7 => "DELETE FROM m$i WHERE id % 3 = 0",
		8 => "VACUUM m$i",
		9 => "SELECT count(*) FROM vecdb_index_stats('i$i', true)",
		10 => "SELECT count(*) FROM vecdb_check('i$i')");
	for my $n (1 .. 10)
	{
		$script .= "\\warn $i.$n\n\\echo $i.$n\n$statement{$n};\n";
	}
}
my $timed_out = 0;
($out, $err) = ('', '');
$rc = $node->psql('postgres', $script, on_error_stop => 0, stdout => \$out,
	stderr => \$err, timeout => 120 + $mutations, timed_out => \$timed_out);
if ($timed_out)
{
	# waiting for a page lock, which nothing interrupts
	my ($last) = reverse grep { /^\d+\.\d+$/ } split /\n/, $err;
	$last =~ /^(\d+)/;
	diag("statement $last never ended ($what{$1})");
	$node->stop('immediate');
	BAIL_OUT('a backend hangs');
}
is($rc, 0, 'the session lived to its end');

my (%error, %answer);
$current = '';
for (split /\n/, $err)
{
	if (/^(\d+\.\d+)$/) { $current = $1 }
	elsif (/(?:ERROR|FATAL|PANIC):\s+(\w{5})/) { $error{$current} = $1 }
	elsif (!/WARNING|NOTICE/) { fail("unexpected: $_") }
}
for (split /\n/, $out)
{
	if (/^(\d+\.\d+)$/) { $current = $1 }
	elsif (/^\d+$/) { $answer{$current} = $_ }
}
my (@wrong, @unseen);
my ($found, $errors) = (0, 0);
for my $i (1 .. $mutations)
{
	for my $n (1 .. 10)
	{
		my $state = $error{"$i.$n"} // next;
		$errors++;
		push @wrong, "table $i, statement $n: $state ($what{$i})" unless $state =~ /^XX00[12]$/;
	}
	push @wrong, "table $i: the check itself failed ($what{$i})" if grep { defined $error{"$i.$_"} } 1, 2, 10;
	my $findings = $answer{"$i.1"} // 0;
	$found++ if $findings > 0;
	push @unseen, "table $i ($what{$i})"
	  if $findings == 0 && grep { defined $error{"$i.$_"} } 3 .. 8;
}
is(scalar(@wrong), 0, "$errors errors, all of them XX001 or XX002 and none in a check") or diag(join "\n", @wrong);
is(scalar(@unseen), 0, "the check found whatever scans, writes or VACUUM ran into; findings in $found of $mutations") or diag(join "\n", @unseen);
cmp_ok($found, '>', $mutations / 2, 'most mutations were found');

#
# 3. Links that lead back to a page which is locked already
#
$node->safe_psql('postgres', join ' ', map { qq{
CREATE TABLE $_ (LIKE base_long) WITH (autovacuum_enabled = off); INSERT INTO $_ SELECT * FROM base_long;
CREATE INDEX ${_}_idx ON $_ USING ivfflat (v vector_l2_ops) WITH (lists = 1); } }
  qw(own_cont head_cont cont_cont own_next));
%path = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	"SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relkind = 'i' AND relname ~ '(cont|next)_idx'");
# so that the rows below use the pages again: empty heads keep their CONT pages
my $second_of = sub { my $f = shift; my $h = first_block($f, sub { kind($f, $_[0]) == LIST && u32($f, $_[0], $op{seq}) == 1 }); return ($h, u32($f, $h, $op{next})) };
$node->stop;
for my $name (qw(own_cont head_cont cont_cont own_next))
{
	my $f = slurp_index($path{"${name}_idx"});
	my ($head, $second) = $second_of->($f);
	# as VACUUM leaves the head
	poke($f, $head, 12, 'S', CONTENT);
	poke($f, $head, $op{cont}, 'L', $head) if $name eq 'own_cont';
	poke($f, u32($f, $head, $op{cont}), $op{cont}, 'L', $head) if $name eq 'head_cont';
	poke($f, u32($f, $head, $op{cont}), $op{cont}, 'L', u32($f, $head, $op{cont})) if $name eq 'cont_cont';
	poke($f, $head, $op{next}, 'L', $head) if $name eq 'own_next';
	# and the second page, for VACUUM to take out
	poke($f, $second, 12, 'S', CONTENT);
	poke($f, $second, $op{cont}, 'L', $name eq 'own_cont' ? $second : $head) if $name =~ /own_cont|head_cont/;
	my $dir = dir_block($f);
	poke($f, $dir, CONTENT + $dir{insert}, 'L', $head);
	spew_index($f);
}
$node->start;
for my $name (qw(own_cont head_cont cont_cont own_next))
{
	# each may be the first to come by; inserts have to use the emptied pages
	for my $sql ("INSERT INTO $name SELECT id + 100, v FROM base_long WHERE id < 3;",
		"DELETE FROM $name WHERE id > 2;\nVACUUM (INDEX_CLEANUP ON) $name;")
	{
		$timed_out = 0;
		($out, $err) = ('', '');
		$node->psql('postgres', $sql, on_error_stop => 0, stdout => \$out,
			stderr => \$err, timeout => 60, timed_out => \$timed_out);
		if ($timed_out)
		{
			$node->stop('immediate');
			BAIL_OUT("a backend hangs: $name: $sql");
		}
		like($err, qr/^$|contains corrupted page/, "$name: " . substr($sql, 0, 6) . ' ends');
	}
	isnt($node->safe_psql('postgres', "SELECT code FROM vecdb_check('${name}_idx', true)"), '', "$name: found");
}

#
# 4. A row that points to block 4294967295, which to the server means "one more"
#
$node->safe_psql('postgres', 'CREATE TABLE nowhere (LIKE base); INSERT INTO nowhere SELECT * FROM base; CREATE INDEX nowhere_idx ON nowhere USING ivfflat (v) WITH (lists = 1)');
%path = map { split /\|/ } split /\n/, $node->safe_psql('postgres', "SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relname = 'nowhere_idx'");
$node->stop;
my $file = slurp_index($path{nowhere_idx});
set_tid($file, filled_list($file), 1, make_tid(INVALID, 1));
spew_index($file);
$node->start;
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('nowhere')");
($rc, $out, $err) = $node->psql('postgres', "SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM nowhere ORDER BY v <-> (SELECT v FROM base LIMIT 1)");
like($err, qr/index "nowhere_idx" contains corrupted page at block/, 'a row that points to no block is refused');
is($node->safe_psql('postgres', "SELECT pg_relation_size('nowhere')"), $size, 'and the table does not grow');

# A rebuilt index is sound, whatever the damaged one did to the heap before.
my $cured = '';
for (1 .. 10) { my $i = 1 + int(rand($mutations)); $cured .= "REINDEX INDEX i$i; SELECT * FROM vecdb_check('i$i', true);" }
is($node->safe_psql('postgres', $cured), '', 'REINDEX cures');

$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'no process died');
done_testing();
