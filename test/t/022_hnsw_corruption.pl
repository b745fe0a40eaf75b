
# Damaged hnsw files: as 020_corruption.pl does for ivfflat, the checker names what
# is wrong and where, and nothing that reads the index does worse than an error.
#
# 1. One poke for each finding. 2. Random mutations, SEED= and MUTATIONS= as there.
# 3. Links that lead to the page that is locked already, or round in circles.
#
# The pages are read and changed here by their documented offsets, not with
# the code under test.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} || int(rand(2**31));
my $mutations = $ENV{MUTATIONS} || 160;
srand($seed);
note "SEED=$seed MUTATIONS=$mutations";

use constant {
	BLCKSZ => 8192,
	CONTENT => 24,
	INVALID => 0xFFFFFFFF,
	FREE => 0,
	META => 1,
	MEAN => 2,
	NODE => 3,
	ENTRY => 4,
	TIDS => 5,
	CONT => 6
};

# metapage: offset and type
my %meta = (
	magic => [24, 'L'], dims => [28, 'L'], padded => [32, 'L'], code_dims => [36, 'L'],
	metric => [40, 'S'], bits => [42, 'S'], slots => [44, 'S'], m => [46, 'S'],
	ef => [48, 'S'], per_page => [50, 'S'], node_size => [52, 'L'], entries => [56, 'S'],
	cont_pages => [58, 'S'], mean_pages => [60, 'S'], num_targets => [62, 'S'],
	radius => [64, 'L'], entry_head => [68, 'L'], tids_room => [72, 'L'],
	seed => [80, 'L'], targets => [88, 'L'], nodes => [160, 'L'], rows => [168, 'L']);
# special area of every page
my %op = (next => 8176, owner_block => 8180, owner_offset => 8184, kind => 8188, format => 8189, page_id => 8190);
# head of a node: offset and type
my %head = (
	tid => [0, 'L'], tid_offset => [4, 'S'], flags => [6, 'S'], rank => [8, 'L'],
	neighbours => [12, 'S'], attr => [14, 'S'], scale => [16, 'L'], error => [20, 'L'],
	norm => [24, 'L'], chunk_block => [28, 'L'], chunk_offset => [32, 'S'],
	unused => [34, 'S'], cont => [36, 'L']);
# a chunk of TIDs
my %chunk = (owner_block => [0, 'L'], owner_offset => [4, 'S'], count => [6, 'S'], next_block => [8, 'L'], next_offset => [12, 'S']);

my $node = PostgreSQL::Test::Cluster->new('damaged_hnsw');
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

sub kind_block { my ($f, $k) = @_; return first_block($f, sub { kind($f, $_[0]) == $k }) }
sub mfield { my ($f, $name) = @_; return peek($f, 0, @{ $meta{$name} }) }
sub mpoke { my ($f, $name, $v) = @_; poke($f, 0, @{ $meta{$name} }, $v); return 0 }
sub node_at { my ($f, $place) = @_; return CONTENT + ($place - 1) * mfield($f, 'node_size') }
sub nfield { my ($f, $blk, $place, $name) = @_; my ($off, $t) = @{ $head{$name} }; return peek($f, $blk, node_at($f, $place) + $off, $t) }
sub npoke { my ($f, $blk, $place, $name, $v) = @_; my ($off, $t) = @{ $head{$name} }; poke($f, $blk, node_at($f, $place) + $off, $t, $v); return $blk }
sub factors { my ($f, $place) = @_; return node_at($f, $place) + 40 + (mfield($f, 'cont_pages') > 0 ? 0 : 2 * mfield($f, 'padded')) }
sub links { my ($f, $place) = @_; return factors($f, $place) + (mfield($f, 'bits') > 0 ? 8 * mfield($f, 'slots') : 0) }
sub codes { my ($f, $place) = @_; return links($f, $place) + 6 * mfield($f, 'slots') }
sub link_of { my ($f, $blk, $place, $i) = @_; my ($hi, $lo, $o) = peek($f, $blk, links($f, $place) + 6 * $i, 'S3'); return ($hi * 65536 + $lo, $o & 0x7FFF, $o & 0x8000) }
sub set_link { my ($f, $blk, $off, $b, $o) = @_; poke($f, $blk, $off, 'S3', $b >> 16, $b & 0xFFFF, $o) }
sub entry_links { my $f = shift; return CONTENT + 8 + (mfield($f, 'bits') > 0 ? 8 * mfield($f, 'entries') : 0) }
# block and place of the first node for which something is true
sub some_node
{
	my ($f, $what) = @_;
	for my $b (0 .. nblocks($f) - 1)
	{
		next unless kind($f, $b) == NODE;
		for my $p (1 .. mfield($f, 'per_page'))
		{
			return ($b, $p) if nfield($f, $b, $p, 'flags') & 1 && (!$what || $what->($b, $p));
		}
	}
	die "no such node in $f->{path}";
}
# a node with a chain
sub chained { my $f = shift; return some_node($f, sub { nfield($f, $_[0], $_[1], 'chunk_offset') != 0 }) }
sub single { my $f = shift; return some_node($f, sub { nfield($f, $_[0], $_[1], 'chunk_offset') == 0 && nfield($f, $_[0], $_[1], 'tid_offset') != 0 }) }
# take every link to a node away: swap it with the last one
sub isolate
{
	my ($f, $block, $place) = @_;
	for my $b (0 .. nblocks($f) - 1)
	{
		next unless kind($f, $b) == NODE;
		for my $p (1 .. mfield($f, 'per_page'))
		{
			my $n = nfield($f, $b, $p, 'neighbours');
			for (my $i = 0; $i < $n; $i++)
			{
				my ($tb, $to) = link_of($f, $b, $p, $i);
				next unless $tb == $block && $to == $place;
				$n--;
				substr($f->{data}, $b * BLCKSZ + links($f, $p) + 6 * $i, 6) = substr($f->{data}, $b * BLCKSZ + links($f, $p) + 6 * $n, 6);
				npoke($f, $b, $p, 'neighbours', $n);
				$i--;
			}
		}
	}
}
sub make_tid { my ($b, $o) = @_; return pack('SSS', $b >> 16, $b & 0xFFFF, $o) }
sub set_tid { my ($f, $blk, $place, $tid) = @_; substr($f->{data}, $blk * BLCKSZ + node_at($f, $place), 6) = $tid; return $blk }
sub get_tid { my ($f, $blk, $place) = @_; return substr($f->{data}, $blk * BLCKSZ + node_at($f, $place), 6) }

#
# 1. One poke for each finding
#
# l2, cos, plain (no codes): rows of 4 dimensions, 60 of them equal; long: own
# vectors on pages of their own. Row 1 is NULL, row 2 was vacuumed away before any
# index came.
#
$node->safe_psql('postgres', q{
CREATE TABLE t (id int, v vector(4)) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i, CASE WHEN i > 60 THEN rv(4, i) WHEN i > 1 THEN '[1,2,3,4]' END FROM generate_series(1, 400) i;
DELETE FROM t WHERE id = 2;
VACUUM t;
CREATE TABLE tl (id int, v vector(5000));
INSERT INTO tl SELECT i, rv(5000, i) FROM generate_series(1, 8) i;
});

my @pokes;
# what, which index, code, severity, poke: returns the block reported (or "none")
sub case { my ($name, $type, $code, $severity, $poke) = @_; push @pokes, { name => $name, type => $type, code => $code, severity => $severity, poke => $poke } }
sub corrupt { return case($_[0], $_[1], $_[2], 'corruption', $_[3]) }
my $table_of = { l2 => 't', cos => 't', plain => 't', long => 'tl' };

# H1
corrupt('magic', 'l2', 'meta', sub { mpoke($_[0], 'magic', 1) });
corrupt('zero dims', 'l2', 'meta', sub { mpoke($_[0], 'dims', 0) });
corrupt('too many dims', 'l2', 'meta', sub { mpoke($_[0], 'dims', 4_000_000_000) });
corrupt('unknown metric', 'l2', 'meta', sub { mpoke($_[0], 'metric', 9) });
corrupt('m', 'l2', 'meta', sub { mpoke($_[0], 'm', 101) });
corrupt('bits', 'l2', 'meta', sub { mpoke($_[0], 'bits', 3) });
corrupt('slots', 'l2', 'meta', sub { mpoke($_[0], 'slots', 200) });
corrupt('node size', 'l2', 'meta', sub { mpoke($_[0], 'node_size', 8) });
corrupt('nodes per page', 'l2', 'meta', sub { mpoke($_[0], 'per_page', 60000) });
corrupt('entries per page', 'l2', 'meta', sub { mpoke($_[0], 'entries', 60000) });
corrupt('mean pages', 'l2', 'meta', sub { mpoke($_[0], 'mean_pages', 60000) });
corrupt('entry table behind the end', 'l2', 'meta', sub { mpoke($_[0], 'entry_head', 4_000_000) });
corrupt('NaN as radius', 'l2', 'meta', sub { mpoke($_[0], 'radius', 0x7FC00000) });
corrupt('too many targets', 'l2', 'meta', sub { mpoke($_[0], 'num_targets', 7) });
corrupt('metapage too short', 'l2', 'meta', sub { poke($_[0], 0, 12, 'S', 100); 0 });
corrupt('metric of another class', 'l2', 'meta_metric', sub { mpoke($_[0], 'metric', 2) });
corrupt('targets descend', 'l2', 'meta_targets', sub { mpoke($_[0], 'num_targets', 2); poke($_[0], 0, 88, 'f6', 0.9, 1.1, 10, 0.8, 1.2, 20); 0 });
corrupt('no file', 'l2', 'page_missing', sub { $_[0]->{data} = ''; 0 });
corrupt('NaN in the mean', 'l2', 'mean', sub { poke($_[0], 1, CONTENT, 'L', 0x7FC00000); 1 });
corrupt('mean too short', 'l2', 'mean', sub { poke($_[0], 1, 12, 'S', CONTENT + 8); 1 });
# H2
corrupt('metapage of no kind of ours', 'l2', 'page_broken', sub { poke($_[0], 0, $op{page_id}, 'S', 0xFF90); 0 });
corrupt('node page of another extension', 'l2', 'page_broken', sub { my $b = kind_block($_[0], NODE); poke($_[0], $b, $op{page_id}, 'S', 0xFF84); $b });
corrupt('node page of another version', 'l2', 'page_format', sub { my $b = kind_block($_[0], NODE); poke($_[0], $b, $op{format}, 'C', 0); $b });
corrupt('page header', 'l2', 'page_unreadable', sub { my $b = kind_block($_[0], NODE); poke($_[0], $b, 12, 'S', 65535); $b });
corrupt('length of a node page', 'l2', 'page_kind', sub { my $b = kind_block($_[0], NODE); poke($_[0], $b, 12, 'S', CONTENT + 40); $b });
corrupt('length of a TID page', 'l2', 'page_kind', sub { my $b = kind_block($_[0], TIDS); poke($_[0], $b, 12, 'S', CONTENT + 40); $b });
corrupt('unknown kind', 'l2', 'page_kind', sub { my $f = shift; $f->{data} .= substr($f->{data}, 0, BLCKSZ); poke($f, nblocks($f) - 1, $op{kind}, 'C', 200); nblocks($f) - 1 });
corrupt('second metapage', 'l2', 'page_kind', sub { my $f = shift; $f->{data} .= substr($f->{data}, 0, BLCKSZ); nblocks($f) - 1 });
case('page of zeros at the end', 'l2', 'page_zero', 'note', sub { my $f = shift; $f->{data} .= "\0" x BLCKSZ; nblocks($f) - 1 });
# H3
corrupt('unknown flag', 'l2', 'node_head', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'flags', 0x11) });
corrupt('live and dead', 'l2', 'node_head', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'flags', 3) });
corrupt('attribute area', 'l2', 'node_head', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'attr', 8) });
corrupt('too many neighbours', 'l2', 'node_head', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'neighbours', 60000) });
corrupt('live without a row', 'l2', 'node_empty', sub { my ($b, $p) = single($_[0]); set_tid($_[0], $b, $p, make_tid(INVALID, 0)) });
corrupt('dead with a row', 'l2', 'node_dead', sub { my ($b, $p) = single($_[0]); npoke($_[0], $b, $p, 'flags', 2) });
# H4
corrupt('link to itself', 'l2', 'link', sub { my ($b, $p) = some_node($_[0]); set_link($_[0], $b, links($_[0], $p), $b, $p); $b });
corrupt('two links to one node', 'l2', 'link', sub { my $f = shift; my ($b, $p) = some_node($f, sub { nfield($f, @_, 'neighbours') > 1 }); my @l = link_of($f, $b, $p, 0); set_link($f, $b, links($f, $p) + 6, @l[0, 1]); $b });
corrupt('link behind the end', 'l2', 'link', sub { my ($b, $p) = some_node($_[0]); set_link($_[0], $b, links($_[0], $p), 4_000_000, 1); $b });
corrupt('link to no place', 'l2', 'link', sub { my ($b, $p) = some_node($_[0]); set_link($_[0], $b, links($_[0], $p), $b, 77); $b });
corrupt('link to the metapage', 'l2', 'link', sub { my ($b, $p) = some_node($_[0]); set_link($_[0], $b, links($_[0], $p), 0, 1); $b });
corrupt('link to a free place', 'l2', 'link', sub { my ($b, $p) = some_node($_[0]); my ($tb, $to) = link_of($_[0], $b, $p, 0); npoke($_[0], $tb, $to, 'flags', 0); undef });
corrupt('link without codes', 'plain', 'link', sub { my ($b, $p) = some_node($_[0]); set_link($_[0], $b, links($_[0], $p), 4_000_000, 1); $b });
# H5
case('one bit of a code', 'l2', 'link_code', 'damage', sub { my ($b, $p) = some_node($_[0]); my $o = codes($_[0], $p); poke($_[0], $b, $o, 'C', peek($_[0], $b, $o, 'C') ^ 1); $b });
case('factor', 'l2', 'link_code', 'damage', sub { my ($b, $p) = some_node($_[0]); poke($_[0], $b, factors($_[0], $p), 'f', 1e9); $b });
case('factor of a long row', 'long', 'link_code', 'damage', sub { my ($b, $p) = some_node($_[0]); poke($_[0], $b, factors($_[0], $p), 'f', 1e9); $b });
# H6
corrupt('no link leads there', 'l2', 'node_unreachable', sub { my $f = shift; my ($b, $p) = some_node($f, sub { !(nfield($f, @_, 'flags') & 4) }); isolate($f, $b, $p); $b });
corrupt('no protected link', 'l2', 'node_anchor', sub { my $f = shift;
	my ($b, $p) = some_node($f, sub { my ($x, $y) = @_; grep { (link_of($f, $x, $y, $_))[2] } 0 .. nfield($f, $x, $y, 'neighbours') - 1 });
	my ($i) = grep { (link_of($f, $b, $p, $_))[2] } 0 .. nfield($f, $b, $p, 'neighbours') - 1;
	my ($tb, $to) = link_of($f, $b, $p, $i); set_link($f, $b, links($f, $p) + 6 * $i, $tb, $to); $tb });
corrupt('rank', 'l2', 'node_anchor', sub { my $f = shift; my ($b, $p) = some_node($f, sub { !(nfield($f, @_, 'flags') & 4) }); npoke($f, $b, $p, 'rank', 0) });
# H7
corrupt('entry behind the end', 'l2', 'entry', sub { my $b = mfield($_[0], 'entry_head'); set_link($_[0], $b, entry_links($_[0]), 4_000_000, 1); $b });
corrupt('entry to no node', 'l2', 'entry', sub { my $b = mfield($_[0], 'entry_head'); set_link($_[0], $b, entry_links($_[0]), 0, 1); $b });
case('entry twice', 'l2', 'entry', 'damage', sub { my $f = shift; my $b = mfield($f, 'entry_head'); substr($f->{data}, $b * BLCKSZ + entry_links($f), 6) = substr($f->{data}, $b * BLCKSZ + entry_links($f) + 6, 6); $b });
case('entry without flag', 'l2', 'entry_flag', 'note', sub { my $f = shift; my ($b, $p) = some_node($f, sub { nfield($f, @_, 'flags') & 4 }); npoke($f, $b, $p, 'flags', 1); mfield($f, 'entry_head') });
corrupt('entries', 'l2', 'entry_page', sub { my $b = mfield($_[0], 'entry_head'); poke($_[0], $b, CONTENT, 'L', 60000); $b });
corrupt('no entries', 'l2', 'entry', sub { my $b = mfield($_[0], 'entry_head'); poke($_[0], $b, CONTENT, 'L', 0); $b });
corrupt('entry table in a circle', 'l2', 'entry_page', sub { my $b = mfield($_[0], 'entry_head'); poke($_[0], $b, $op{next}, 'L', $b); $b });
corrupt('entry table goes on in nodes', 'l2', 'entry_page', sub { my $b = mfield($_[0], 'entry_head'); my $n = kind_block($_[0], NODE); poke($_[0], $b, $op{next}, 'L', $n); $n });
corrupt('entry table is a node page', 'l2', 'entry_page', sub { my $n = kind_block($_[0], NODE); mpoke($_[0], 'entry_head', $n); $n });
# H8
corrupt('chunk of another node', 'l2', 'chunk_chain', sub { my ($b, $p) = chained($_[0]); my $c = nfield($_[0], $b, $p, 'chunk_block'); poke($_[0], $c, CONTENT + (nfield($_[0], $b, $p, 'chunk_offset') - 1) * 136, 'L', 77); $b });
corrupt('chain in a circle', 'l2', 'chunk_chain', sub { my ($b, $p) = chained($_[0]); my ($c, $o) = map { nfield($_[0], $b, $p, $_) } qw(chunk_block chunk_offset); poke($_[0], $c, CONTENT + ($o - 1) * 136 + 8, 'LS', $c, $o); $c });
corrupt('chain behind the end', 'l2', 'chunk_chain', sub { my ($b, $p) = chained($_[0]); npoke($_[0], $b, $p, 'chunk_block', 4_000_000) });
corrupt('too many TIDs', 'l2', 'chunk', sub { my ($b, $p) = chained($_[0]); my ($c, $o) = map { nfield($_[0], $b, $p, $_) } qw(chunk_block chunk_offset); poke($_[0], $c, CONTENT + ($o - 1) * 136 + 6, 'S', 21); $c });
corrupt('chain cut off', 'l2', 'chunk_orphan', sub { my ($b, $p) = chained($_[0]); my $c = nfield($_[0], $b, $p, 'chunk_block'); npoke($_[0], $b, $p, 'chunk_offset', 0); $c });
corrupt('room for TIDs in the metapage', 'l2', 'tids_room', sub { mpoke($_[0], 'tids_room', 0) });
corrupt('offset 0', 'l2', 'row_tid', sub { my $f = shift; my ($b, $p) = chained($f); my ($c, $o) = map { nfield($f, $b, $p, $_) } qw(chunk_block chunk_offset); poke($f, $c, CONTENT + ($o - 1) * 136 + 16, 'S3', 0, 0, 0); $c });
corrupt('offset beyond all', 'l2', 'row_tid', sub { my ($b, $p) = single($_[0]); set_tid($_[0], $b, $p, make_tid(0, 2049)) });
corrupt('row behind the table', 'l2', 'row_tid', sub { my ($b, $p) = single($_[0]); set_tid($_[0], $b, $p, make_tid(0x7FFFFFFF, 1)) });
corrupt('TID twice', 'l2', 'row_duplicate', sub { my $f = shift; my ($b, $p) = single($f); my ($b2, $p2) = some_node($f, sub { nfield($f, @_, 'chunk_offset') == 0 && "@_" ne "$b $p" }); set_tid($f, $b2, $p2, get_tid($f, $b, $p)); undef });
# H9
corrupt('no continuation', 'long', 'node_cont', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'cont', INVALID) });
corrupt('continuation behind the end', 'long', 'node_cont', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'cont', 4_000_000) });
corrupt('owner of a continuation', 'long', 'node_cont', sub { my ($b, $p) = some_node($_[0]); poke($_[0], nfield($_[0], $b, $p, 'cont'), $op{owner_block}, 'L', 0); $b });
corrupt('continuation too long', 'long', 'node_cont', sub { my ($b, $p) = some_node($_[0]); poke($_[0], nfield($_[0], $b, $p, 'cont'), 12, 'S', 8000); $b });
corrupt('continuation in a circle', 'long', 'node_cont', sub { my ($b, $p) = some_node($_[0]); my $c = nfield($_[0], $b, $p, 'cont'); poke($_[0], $c, $op{next}, 'L', $c); $b });
case('continuation of nobody', 'long', 'page_orphan', 'note', sub { my $f = shift; my $b = kind_block($f, CONT); $f->{data} .= substr($f->{data}, $b * BLCKSZ, BLCKSZ); nblocks($f) - 1 });
# H10, and the own vector
corrupt('scale', 'l2', 'node_vector', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'scale', 0x40400000) });
corrupt('scale zero', 'l2', 'node_vector', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'scale', 0) });
corrupt('negative error', 'l2', 'node_vector', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'error', 0xBF800000) });
corrupt('error too small', 'cos', 'node_error', sub { my ($b, $p) = single($_[0]); npoke($_[0], $b, $p, 'error', 0) });
corrupt('error too small for rows in a chain', 'cos', 'node_error', sub { my ($b, $p) = chained($_[0]); npoke($_[0], $b, $p, 'error', 0) });
corrupt('norm', 'l2', 'node_vector', sub { my ($b, $p) = some_node($_[0]); npoke($_[0], $b, $p, 'norm', 0x7F000000) });
corrupt('NaN in a vector', 'l2', 'node_vector', sub { my ($b, $p) = some_node($_[0]); poke($_[0], $b, node_at($_[0], $p) + 40, 'S', 0x7E00); $b });
corrupt('one bit of a vector', 'l2', 'heap_value', sub { my ($b, $p) = single($_[0]); my $o = node_at($_[0], $p) + 40; poke($_[0], $b, $o, 'S', peek($_[0], $b, $o, 'S') ^ 0x8000); $b });
corrupt('one bit of a long vector', 'long', 'heap_value', sub { my ($b, $p) = some_node($_[0]); my $c = nfield($_[0], $b, $p, 'cont'); poke($_[0], $c, CONTENT, 'S', peek($_[0], $c, CONTENT, 'S') ^ 0x8000); $b });
corrupt('TIDs exchanged', 'cos', 'heap_value', sub { my $f = shift; my ($b, $p) = single($f); my ($b2, $p2) = some_node($f, sub { nfield($f, @_, 'chunk_offset') == 0 && "@_" ne "$b $p" }); my $x = get_tid($f, $b, $p); set_tid($f, $b, $p, get_tid($f, $b2, $p2)); set_tid($f, $b2, $p2, $x); $b });
corrupt('TID of a NULL', 'l2', 'heap_unexpected', sub { my ($b, $p) = single($_[0]); set_tid($_[0], $b, $p, make_tid(0, 1)) });
corrupt('TID of a removed row', 'l2', 'heap_unused', sub { my ($b, $p) = single($_[0]); set_tid($_[0], $b, $p, make_tid(0, 2)) });
corrupt('a TID less', 'l2', 'heap_missing', sub { my ($b, $p) = chained($_[0]); my ($c, $o) = map { nfield($_[0], $b, $p, $_) } qw(chunk_block chunk_offset); my $at = CONTENT + ($o - 1) * 136 + 6; poke($_[0], $c, $at, 'S', peek($_[0], $c, $at, 'S') - 1); 'none' });

my $make = '';
for my $i (0 .. $#pokes)
{
	my $p = $pokes[$i];
	my $class = $p->{type} eq 'cos' ? 'vector_cosine_ops' : 'vector_l2_ops';
	my $codes = $p->{type} eq 'plain' ? 'none' : 'auto';
	$p->{index} = "p$i";
	$make .= "CREATE INDEX p$i ON $table_of->{$p->{type}} USING hnsw (v $class) WITH (codes = $codes);\n";
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
# Tables all alike, one damaged index each. Every fourth has vectors on pages of
# their own; all have been vacuumed, so there are free places as well.
#
$node->safe_psql('postgres', q{
CREATE TABLE base AS SELECT i AS id, (CASE WHEN i % 8 = 0 THEN '[1,2,3,4]' ELSE rv(4, i) END)::vector(4) AS v FROM generate_series(1, 300) i;
CREATE TABLE base_long AS SELECT i AS id, rv(4200, i)::vector(4200) AS v FROM generate_series(1, 8) i;
});
$make = '';
for my $i (1 .. $mutations)
{
	my ($base, $n) = $i % 4 == 0 ? ('base_long', 8) : ('base', 300);
	my $class = ('vector_l2_ops', 'vector_ip_ops', 'vector_cosine_ops', 'vector_l1_ops', 'vector_l2_ops')[$i % 5];
	my $with = ('m = 16', 'm = 4, codes = none', 'm = 8, codes = 4')[$i % 3];
	$make .= "CREATE TABLE m$i (LIKE $base) WITH (autovacuum_enabled = off); INSERT INTO m$i SELECT * FROM $base;
CREATE INDEX i$i ON m$i USING hnsw (v $class) WITH ($with);
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
	my $v = odd_number($f, $blk);
	my $size = mfield($f, 'node_size');
	# by the layout as it still is, if it is one
	my $place = $size >= 100 && $size < 8000 ? 1 + int(rand(int(8000 / $size))) : 1;
	my $put = sub { my ($b, $off, $t, $x) = @_; poke($f, $b, $off, $t, $t eq 'S' ? $x & 0xFFFF : $x) };
	if ($how < 0.15)
	{
		my $name = any(sort keys %op);
		my $t = { kind => 'C', format => 'C', page_id => 'S', owner_offset => 'S' }->{$name} // 'L';
		$v = any(0 .. 7, 255) if $name eq 'kind';
		$v &= 0xFF if $t eq 'C';
		$put->($blk, $op{$name}, $t, $v);
		return "block $blk: $name = $v";
	}
	if ($how < 0.25)
	{
		my $name = any(sort keys %meta);
		my ($off, $t) = @{ $meta{$name} };
		$off += 4 * int(rand(18)) if $name eq 'targets';
		$put->(0, $off, $t, $v);
		return "metapage: $name (offset $off) = $v";
	}
	if ($how < 0.32)
	{
		my $off = any(12, 12, 12, 14, 16, 18, 10);
		$v = any(0, 24, 25, 40, 8000, 8160, 8161, 8192, 65535, int(rand(8192)));
		poke($f, $blk, $off, 'S', $v);
		return "block $blk: page header offset $off = $v";
	}
	if ($how < 0.6 && $is == NODE && $size >= 100)
	{
		my $name = any(sort keys %head);
		my ($off, $t) = @{ $head{$name} };
		$v = any(0, 0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, $v, $v) if $name =~ /scale|error|norm/;
		$v = any(0 .. 7, 0xFFFF, $v) if $name =~ /flags|chunk_offset|tid_offset|neighbours/;
		$put->($blk, CONTENT + ($place - 1) * $size + $off, $t, $v);
		return "block $blk, node $place: $name = $v";
	}
	if ($how < 0.7 && $is == NODE && $size >= 100)
	{
		my $off = links($f, $place) + 6 * int(rand(8));
		my $o = any(0, 1, 2, 3, 0x8001, 0x8002, 77, 0xFFFF);
		return 'nothing' if $off > 8000;
		set_link($f, $blk, $off, $v, $o);
		return "block $blk, node $place: link = $v, $o";
	}
	if ($how < 0.7 && $is == TIDS)
	{
		my $name = any(sort keys %chunk);
		my ($off, $t) = @{ $chunk{$name} };
		$v = any(0, 1, 2, 3, 20, 21, 60, 61, $v) if $t eq 'S';
		$put->($blk, CONTENT + 136 * int(rand(3)) + $off, $t, $v);
		return "block $blk: chunk $name = $v";
	}
	if ($how < 0.7 && $is == ENTRY)
	{
		my $off = any(0, 8 + 4 * int(rand(60)), entry_links($f) - CONTENT + 2 * int(rand(20)));
		return 'nothing' if $off > 8000;
		poke($f, $blk, CONTENT + $off, 'L', $v);
		return "block $blk: entry page offset $off = $v";
	}
	if ($how < 0.75)
	{
		substr($f->{data}, $blk * BLCKSZ, BLCKSZ) = "\0" x BLCKSZ;
		return "block $blk: zeros";
	}
	if ($how < 0.82)
	{
		my $o = int(rand(nblocks($f)));
		substr($f->{data}, $blk * BLCKSZ, BLCKSZ) = substr($f->{data}, $o * BLCKSZ, BLCKSZ);
		return "block $blk: copy of block $o";
	}
	if ($how < 0.85)
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
	my ($base, $op) = ($i % 4 == 0 ? 'base_long' : 'base', ('<->', '<#>', '<=>', '<+>', '<->')[$i % 5]);
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
is(scalar(@wrong), 0, "$errors errors, all of them of corruption and none in a check") or diag(join "\n", @wrong);
is(scalar(@unseen), 0, "the check found whatever scans, writes or VACUUM ran into; findings in $found of $mutations") or diag(join "\n", @unseen);
cmp_ok($found, '>', $mutations / 2, 'most mutations were found');


#
# 3. Counts that cannot be true; links that lead back to a page which is locked already, or round in circles
#
my @locked = qw(room_self room_node chunk_node room_meta entry_self cont_self chunk_count);
$node->safe_psql('postgres', join ' ', map { my $base = /cont/ ? 'base_long' : 'base'; qq{
CREATE TABLE $_ (LIKE $base) WITH (autovacuum_enabled = off); INSERT INTO $_ SELECT * FROM $base;
CREATE INDEX ${_}_idx ON $_ USING hnsw (v vector_l2_ops); } } @locked);
%path = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	"SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relkind = 'i' AND relname ~ '(self|node|meta|count)_idx'");
$node->stop;
for my $name (@locked)
{
	my $f = slurp_index($path{"${name}_idx"});
	if ($name =~ /room|chunk/)
	{
		my ($b, $p) = chained($f);
		my $t = kind_block($f, TIDS);
		# no free chunk on the page
		for my $i (0 .. 59) { poke($f, $t, CONTENT + 136 * $i, 'L', 7) if $name eq 'room_self' }
		poke($f, $t, $op{next}, 'L', $t) if $name eq 'room_self';
		mpoke($f, 'tids_room', $t) if $name eq 'room_self';
		mpoke($f, 'tids_room', $b) if $name eq 'room_node';
		mpoke($f, 'tids_room', 0) if $name eq 'room_meta';
		npoke($f, $b, $p, 'chunk_block', $b) if $name eq 'chunk_node';
		poke($f, nfield($f, $b, $p, 'chunk_block'), CONTENT + (nfield($f, $b, $p, 'chunk_offset') - 1) * 136 + 6, 'S', 21) if $name eq 'chunk_count';
	}
	elsif ($name eq 'entry_self')
	{
		my $b = mfield($f, 'entry_head');
		poke($f, $b, $op{next}, 'L', $b);
		poke($f, $b, CONTENT, 'L', mfield($f, 'entries'));
	}
	else
	{
		my ($b, $p) = some_node($f);
		npoke($f, $b, $p, 'cont', $b);
	}
	spew_index($f);
}
$node->start;
for my $name (@locked)
{
	my $base = $name =~ /cont/ ? 'base_long' : 'base';
	for my $sql ("INSERT INTO $name SELECT id + 1000, v FROM $base CROSS JOIN generate_series(1, 5);",
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
		like($err, qr/Chunk \d+ says it holds 21 TIDs/, "$name: VACUUM passes over no chunk") if $name eq 'chunk_count' && $sql =~ /VACUUM/;
	}
}

# A rebuilt index is sound, whatever the damaged one did to the heap before.
my $cured = '';
for (1 .. 10) { my $i = 1 + int(rand($mutations)); $cured .= "REINDEX INDEX i$i; SELECT * FROM vecdb_check('i$i', true);" }
is($node->safe_psql('postgres', $cured), '', 'REINDEX cures');

$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'no process died');
done_testing();
