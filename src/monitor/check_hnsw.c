/*-------------------------------------------------------------------------
 *
 * check_hnsw.c
 *	  The index verifier's part for hnsw: metapage, mean, nodes, links, codes,
 *	  entry table, chains of TIDs, continuation pages, reachability.
 *
 * H1 .. H10 are the invariants of hnsw/README.md.  One pass over the file looks
 * at each page by itself and notes state and rank of every place; a second one
 * judges links by these notes; then the entry table, and a walk from it along the
 * links.
 *
 * With writers about, a node may have changed between the two passes.  What
 * concerns two pages is then looked at again, both pages anew, before it is
 * reported; what concerns the whole graph (protected in-edges, reachability,
 * pages that belong to nothing) is judged in strict mode only.
 *
 * Memory: 10 bytes for each place, and 8 for each node on the walk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/tableam.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "am/support.h"
#include "hnsw/hnsw_private.h"
#include "kernel/kernel.h"
#include "monitor/check.h"
#include "monitor/monitor.h"

/* Codes are computed again for so many nodes. */
#define CODE_NODES			1000
#define CODE_NODES_STRICT	20000

/* Notes of a place */
#define PLACE_LIVE			0x01
#define PLACE_DEAD			0x02
#define PLACE_FLAGGED		0x04	/* the node says it is an entry */
#define PLACE_ENTRY			0x08	/* it is in the entry table */
#define PLACE_ANCHORED		0x10	/* it has a protected in-edge */
#define PLACE_REACHED		0x20

typedef struct HnswCheck
{
	Check	   *check;
	HnswMetaPageData meta;
	HnswIndex  *hnsw;			/* NULL while the mean was not read */

	BlockNumber nblocks;		/* as of the beginning: places beyond are new */
	uint8	   *places;
	uint32	   *ranks;
	float	   *errors;			/* of the nodes */
	uint8	   *chunks;			/* a bit a chunk that a chain holds */
	uint8	   *conts;			/* a bit a block that a node's vector holds */
	bool		complete;		/* every page could be read and understood */
	uint64		live;
	uint64		code_step;		/* every how many-th node */

	uint16	   *half;			/* a node's vector */
	float	   *x;
	float	   *other;
	uint8	   *code;
	HnswValue	value;			/* of fingerprint() */
} HnswCheck;

/* ---- places ----------------------------------------------------------------- */

static inline uint64
place_number(HnswCheck *hnsw, HnswNodeId id)
{
	return (uint64) HnswNodeIdBlock(id) * hnsw->meta.nodes_per_page + HnswNodeIdOffset(id) - 1;
}

/* Is that a place of the file as it was when the check began? */
static inline bool
is_place(HnswCheck *hnsw, HnswNodeId id)
{
	return HnswNodeIdBlock(id) < hnsw->nblocks && HnswNodeIdOffset(id) >= 1 &&
		HnswNodeIdOffset(id) <= hnsw->meta.nodes_per_page;
}

/* Read a block that must hold a sound page of ours; false with a finding. */
static bool
read_page(HnswCheck *hnsw, BlockNumber blkno, char *image)
{
	Check	   *check = hnsw->check;
	PageVerdict verdict;

	if (!check_block_exists(check, blkno))
	{
		check_report(check, CHECK_CORRUPTION, "page_missing", blkno, CHECK_NO_ITEM,
					 "A link leads to this block, but the index has %u blocks.", check->nblocks);
		return false;
	}
	if (!check_read(check, blkno, image, &verdict))
		return false;
	switch (verdict)
	{
		case PAGE_OK:
			return true;
		case PAGE_ZERO:
			check_report(check, CHECK_NOTE, "page_zero", blkno, CHECK_NO_ITEM,
						 "The page is all zero, as a crash leaves it; VACUUM will make use of it.");
			return false;
		case PAGE_FORMAT:
			check_report(check, CHECK_CORRUPTION, "page_format", blkno, CHECK_NO_ITEM,
						 "The page has format version %d, but this vecdb reads version %d.",
						 PageGetTrailer(image)->format, VECDB_PAGE_FORMAT);
			return false;
		case PAGE_BROKEN:
			check_report(check, CHECK_CORRUPTION, "page_broken", blkno, CHECK_NO_ITEM,
						 "The page header or the page id (%04x, expected %04x) is wrong.",
						 PageGetTrailer(image)->page_id, VECDB_PAGE_ID);
			return false;
	}
	return false;
}

/* ---- metapage and mean (H1) ----------------------------------------------------- */

static bool
check_meta(HnswCheck *hnsw)
{
	Check	   *check = hnsw->check;
	int			dims = TupleDescAttr(RelationGetDescr(check->index), 0)->atttypmod;
	Metric		metric = support_metric(check->index, true);
	PGAlignedBlock image;
	const char *flaw;
	float	   *mean = NULL;
	int			done = 0;
	int			index_dims;

	if (!read_page(hnsw, HNSW_META_BLOCK, image.data))
		return false;
	if (HnswPageKind(image.data) != HNSW_PAGE_META ||
		((PageHeader) image.data)->pd_lower != SizeOfPageHeaderData + sizeof(HnswMetaPageData))
	{
		check_report(check, CHECK_CORRUPTION, "meta", HNSW_META_BLOCK, CHECK_NO_ITEM,
					 "The page is no metapage, or has the wrong length.");
		return false;
	}
	memcpy(&hnsw->meta, HnswPageGetMeta(image.data), sizeof(HnswMetaPageData));
	flaw = hnsw_meta_flaw(&hnsw->meta, check->nblocks);
	if (flaw)
	{
		check_report(check, CHECK_CORRUPTION, "meta", HNSW_META_BLOCK, CHECK_NO_ITEM, "%s", flaw);
		return false;
	}
	/* ALTER TABLE may take the dimensions from the column: the index keeps its file */
	if (dims >= 0 && hnsw->meta.dims != dims)
	{
		check_report(check, CHECK_CORRUPTION, "meta_dims", HNSW_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage says %u dimensions, but the column has %d.", hnsw->meta.dims, dims);
		return false;
	}
	if (hnsw->meta.metric != metric)
	{
		check_report(check, CHECK_CORRUPTION, "meta_metric", HNSW_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage says metric \"%s\", but the operator class is for \"%s\".",
					 support_metric_name((Metric) hnsw->meta.metric), support_metric_name(metric));
		return false;
	}
	for (int i = 1; i < hnsw->meta.num_targets; i++)
		if (hnsw->meta.targets[i].recall <= hnsw->meta.targets[i - 1].recall ||
			hnsw->meta.targets[i].gamma < hnsw->meta.targets[i - 1].gamma)
			check_report(check, CHECK_CORRUPTION, "meta_targets", HNSW_META_BLOCK, CHECK_NO_ITEM,
						 "Recall targets do not ascend: %g takes gamma %g, %g takes %g.",
						 hnsw->meta.targets[i - 1].recall, hnsw->meta.targets[i - 1].gamma,
						 hnsw->meta.targets[i].recall, hnsw->meta.targets[i].gamma);

	index_dims = hnsw->meta.dims + (metric == METRIC_IP);
	if (hnsw->meta.mean_pages > 0)
		mean = palloc0(sizeof(float) * index_dims);
	for (int i = 0; i < hnsw->meta.mean_pages; i++)
	{
		BlockNumber blkno = HNSW_MEAN_BLOCK + i;
		int			n = Min(index_dims - done, HNSW_MEAN_FLOATS);

		if (!read_page(hnsw, blkno, image.data))
			return false;
		if (HnswPageKind(image.data) != HNSW_PAGE_MEAN ||
			((PageHeader) image.data)->pd_lower != SizeOfPageHeaderData + n * sizeof(float))
		{
			check_report(check, CHECK_CORRUPTION, "mean", blkno, CHECK_NO_ITEM,
						 "The page is no page of the mean, or has the wrong length.");
			return false;
		}
		memcpy(mean + done, HnswPageContent(image.data), n * sizeof(float));
		for (int j = done; j < done + n; j++)
			if (!isfinite(mean[j]))
			{
				check_report(check, CHECK_CORRUPTION, "mean", blkno, CHECK_NO_ITEM,
							 "Element %d of the mean is not finite.", j + 1);
				return false;
			}
		done += n;
	}
	hnsw->hnsw = palloc(hnsw_index_size(&hnsw->meta));
	hnsw_index_fill(hnsw->hnsw, &hnsw->meta, mean);
	return true;
}

/* ---- vectors ---------------------------------------------------------------------- */

/*
 * The own vector of a node into hnsw->half; false when its CONT pages are not
 * (any more) what they should be.  mark: these pages belong to a node.
 */
static bool
read_vector(HnswCheck *hnsw, HnswNodeId id, HnswNode node, bool mark)
{
	BlockNumber cont = node->cont;
	int			padded = hnsw->meta.padded;
	int			done = 0;
	PGAlignedBlock image;

	if (hnsw->meta.cont_pages == 0)
	{
		memcpy(hnsw->half, node->own, sizeof(uint16) * padded);
		return true;
	}
	for (int i = 0; i < hnsw->meta.cont_pages; i++)
	{
		int			n = Min(padded - done, HNSW_CONT_HALVES);
		PageVerdict verdict;
		HnswPageOpaque opaque = HnswPageGetOpaque(image.data);

		if (!check_block_exists(hnsw->check, cont) ||
			!check_read(hnsw->check, cont, image.data, &verdict) || verdict != PAGE_OK ||
			opaque->trailer.kind != HNSW_PAGE_CONT ||
			opaque->owner_block != HnswNodeIdBlock(id) ||
			opaque->owner_offset != HnswNodeIdOffset(id) ||
			((PageHeader) image.data)->pd_lower != SizeOfPageHeaderData + n * sizeof(uint16))
			return false;
		if (mark && cont < hnsw->nblocks)
			hnsw->conts[cont / 8] |= 1 << (cont % 8);
		memcpy(hnsw->half + done, HnswPageContent(image.data), n * sizeof(uint16));
		cont = opaque->next;
		done += n;
	}
	return true;
}

static uint64
vector_hash(HnswCheck *hnsw, const uint16 *half, float scale)
{
	uint32		bits;

	memcpy(&bits, &scale, sizeof(bits));
	return hash_bytes_extended((const unsigned char *) half, sizeof(uint16) * hnsw->meta.padded, bits);
}

/* A node as it is now, into image; NULL when the place holds none. */
static HnswNode
look_again(HnswCheck *hnsw, HnswNodeId id, char *image)
{
	PageVerdict verdict;

	if (!check_block_exists(hnsw->check, HnswNodeIdBlock(id)) ||
		!check_read(hnsw->check, HnswNodeIdBlock(id), image, &verdict) || verdict != PAGE_OK)
		return NULL;
	return hnsw_node_at(hnsw->hnsw, (Page) image, HnswNodeIdOffset(id));
}

static void
row(HnswCheck *hnsw, ItemPointer tid, uint64 hash, BlockNumber blkno, int item)
{
	if (check_tid(hnsw->check, tid, blkno, item))
		check_row(hnsw->check, tid, hash, blkno, item);
}

/* ---- chains of TIDs (H8) ------------------------------------------------------------ */

static void
check_chain(HnswCheck *hnsw, HnswNodeId id, HnswNode node, uint64 hash)
{
	Check	   *check = hnsw->check;
	BlockNumber block = node->chunk_block;
	OffsetNumber offset = node->chunk_offset;
	uint64		steps = 0;
	PGAlignedBlock image;

	while (offset != 0 && !check->full)
	{
		PageVerdict verdict;
		HnswChunk	chunk = NULL;

		if (check_block_exists(check, block) && check_read(check, block, image.data, &verdict) &&
			verdict == PAGE_OK)
			chunk = hnsw_chunk_at((Page) image.data, offset, id);
		if (chunk == NULL || ++steps > (uint64) check->nblocks * HNSW_CHUNKS_PER_PAGE)
		{
			/* VACUUM may have unlinked it while we came */
			if (check->strict)
				check_report(check, CHECK_CORRUPTION, "chunk_chain", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
							 "The chain of the node's TIDs leads to (%u,%u), which is no chunk of its.",
							 block, offset);
			hnsw->complete = false;
			return;
		}
		if (block < hnsw->nblocks)
		{
			uint64		bit = (uint64) block * HNSW_CHUNKS_PER_PAGE + offset - 1;

			if (check->strict && (hnsw->chunks[bit / 8] & (1 << (bit % 8))))
			{
				check_report(check, CHECK_CORRUPTION, "chunk_chain", block, offset,
							 "The chunk is in a chain twice.");
				return;
			}
			hnsw->chunks[bit / 8] |= 1 << (bit % 8);
		}
		for (int i = 0; i < chunk->count; i++)
			row(hnsw, &chunk->tids[i], hash, block, offset);
		block = chunk->next_block;
		offset = chunk->next_offset;
	}
}

/* ---- nodes by themselves (H3, H8, H10) ------------------------------------------------ */

/* The own vector: finite, its norm and error as said.  False with a finding. */
static bool
check_vector(HnswCheck *hnsw, HnswNodeId id, HnswNode node)
{
	Check	   *check = hnsw->check;
	double		norm;
	int			exponent;

	if (!isfinite(node->scale) || node->scale <= 0 || frexpf(node->scale, &exponent) != 0.5f ||
		!(node->error >= 0))
	{
		check_report(check, CHECK_CORRUPTION, "node_vector", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
					 "Scale %g should be a power of two, and error %g not negative.",
					 node->scale, node->error);
		return false;
	}
	kernel->half_unpack(hnsw->half, node->scale, hnsw->meta.padded, hnsw->x);
	for (int i = 0; i < hnsw->meta.padded; i++)
		if (!isfinite(hnsw->x[i]))
		{
			check_report(check, CHECK_CORRUPTION, "node_vector", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
						 "Element %d of the vector is not finite.", i + 1);
			return false;
		}
	norm = sqrt(kernel->normsq_double(hnsw->x, hnsw->meta.padded));
	if (!(fabs(node->norm - norm) <= 1e-5 * norm + FLT_MIN))
	{
		check_report(check, CHECK_CORRUPTION, "node_vector", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
					 "The node says the norm of its vector is %.9g, but it is %.9g.", node->norm, norm);
		return false;
	}
	return true;
}

static void
check_node(HnswCheck *hnsw, HnswNodeId id, HnswNode node)
{
	Check	   *check = hnsw->check;
	BlockNumber blkno = HnswNodeIdBlock(id);
	OffsetNumber place = HnswNodeIdOffset(id);
	uint8	   *note = &hnsw->places[place_number(hnsw, id)];
	bool		live = (node->flags & HNSW_NODE_LIVE) != 0;
	uint64		hash;

	if ((node->flags & ~(HNSW_NODE_LIVE | HNSW_NODE_DEAD | HNSW_NODE_ENTRY)) != 0 ||
		live == ((node->flags & HNSW_NODE_DEAD) != 0) ||
		node->attr_length != 0 || node->unused != 0 || node->neighbours > hnsw->meta.slots)
	{
		check_report(check, CHECK_CORRUPTION, "node_head", blkno, place,
					 "Flags %x, attribute length %u, unused field %u or %u neighbours of at most %u are impossible.",
					 node->flags, node->attr_length, node->unused, node->neighbours, hnsw->meta.slots);
		hnsw->complete = false;
		return;
	}
	*note = live ? PLACE_LIVE : PLACE_DEAD;
	if (node->flags & HNSW_NODE_ENTRY)
		*note |= PLACE_FLAGGED;
	hnsw->ranks[place_number(hnsw, id)] = node->rank;
	hnsw->errors[place_number(hnsw, id)] = node->error;
	hnsw->live += live;

	if (!read_vector(hnsw, id, node, true))
	{
		PGAlignedBlock image;
		HnswNode	again = check->strict ? node : look_again(hnsw, id, image.data);

		if (again && (check->strict || read_vector(hnsw, id, again, true) == false))
			check_report(check, CHECK_CORRUPTION, "node_cont", blkno, place,
						 "The continuation pages from block %u on are not this node's.", node->cont);
		hnsw->complete = false;
		return;
	}
	if (!check_vector(hnsw, id, node))
		return;
	hash = vector_hash(hnsw, hnsw->half, node->scale);
	if (!live)
	{
		if (ItemPointerIsValid(&node->tid) || node->chunk_offset != 0)
			check_report(check, CHECK_CORRUPTION, "node_dead", blkno, place,
						 "The node is marked as dead, but has rows.");
		return;
	}
	if (ItemPointerIsValid(&node->tid))
		row(hnsw, &node->tid, hash, blkno, place);
	else if (node->chunk_offset == 0)
		check_report(check, CHECK_CORRUPTION, "node_empty", blkno, place,
					 "The node is not marked as dead, but has no row.");
	if (node->chunk_offset != 0)
		check_chain(hnsw, id, node, hash);
}

/* First pass. */
static void
check_page(HnswCheck *hnsw, BlockNumber blkno)
{
	Check	   *check = hnsw->check;
	PGAlignedBlock image;
	int			content;
	int			expected = -1;
	uint8		kind;

	/* what cannot be read leaves the image as it is */
	((PageHeader) image.data)->pd_upper = 1;
	if (!read_page(hnsw, blkno, image.data))
	{
		/* zeros belong to nothing */
		if (!PageIsNew((Page) image.data))
			hnsw->complete = false;
		return;
	}
	content = ((PageHeader) image.data)->pd_lower - SizeOfPageHeaderData;
	kind = HnswPageKind(image.data);
	switch (kind)
	{
		case VECDB_PAGE_FREE:
		case HNSW_PAGE_CONT:
			return;
		case HNSW_PAGE_MEAN:
			if (blkno < HNSW_MEAN_BLOCK + hnsw->meta.mean_pages)
				return;
			break;
		case HNSW_PAGE_NODE:
			expected = HnswNodePageLengthIsSound(&hnsw->meta, content) ? content : -1;
			break;
		case HNSW_PAGE_ENTRY:
			expected = HNSW_PAGE_CAPACITY;
			break;
		case HNSW_PAGE_TIDS:
			expected = HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData);
			break;
		default:
			break;
	}
	if (expected < 0 || content != expected)
	{
		check_report(check, CHECK_CORRUPTION, "page_kind", blkno, CHECK_NO_ITEM,
					 "A %s page (kind %d) with %d bytes of content has no place here.",
					 hnsw_kind_name(kind), kind, content);
		hnsw->complete = false;
		return;
	}
	if (kind == HNSW_PAGE_TIDS)
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
		{
			HnswChunk	chunk = HnswPageGetChunk(image.data, i);

			if (chunk->owner_block != InvalidBlockNumber && chunk->count > HNSW_CHUNK_TIDS)
				check_report(check, CHECK_CORRUPTION, "chunk", blkno, i,
							 "The chunk says it holds %u TIDs.", chunk->count);
		}
	if (kind != HNSW_PAGE_NODE)
		return;
	for (int i = 1; i <= hnsw->meta.nodes_per_page && !check->full; i++)
	{
		HnswNode	node = HnswPageGetNode(&hnsw->meta, (Page) image.data, i);

		if (node->flags != 0 && node->neighbours <= hnsw->meta.slots &&
			!HnswPageCoversNode(&hnsw->meta, (Page) image.data, node))
		{
			check_report(check, CHECK_CORRUPTION, "page_kind", blkno, i,
						 "The page's %d bytes of content end before the node does.", content);
			hnsw->complete = false;
		}
		else if (node->flags != 0)
			check_node(hnsw, HnswNodeIdMake(blkno, i), node);
	}
}

/* ---- links (H4, H5, H6) ----------------------------------------------------------------- */

/* What is wrong with link i of a node, judged by the notes; NULL: nothing. */
static const char *
link_flaw(HnswCheck *hnsw, HnswNodeId id, const HnswLink *links, int i)
{
	HnswNodeId	to = HnswLinkNode(&links[i]);

	if (to == id)
		return "leads to itself";
	for (int j = 0; j < i; j++)
		if (HnswLinkNode(&links[j]) == to)
			return "stands there twice";
	if (HnswNodeIdBlock(to) >= hnsw->nblocks && !hnsw->check->strict &&
		check_block_exists(hnsw->check, HnswNodeIdBlock(to)))
		return NULL;			/* younger than the check */
	if (!is_place(hnsw, to))
		return "leads to a place that does not exist";
	if ((hnsw->places[place_number(hnsw, to)] & (PLACE_LIVE | PLACE_DEAD)) == 0)
		return "leads to a place without a node";
	return NULL;
}

/* With writers about: is the link still there, and still wrong? */
static bool
link_still_wrong(HnswCheck *hnsw, HnswNodeId id, HnswNodeId to)
{
	PGAlignedBlock image;
	HnswNode	node;
	bool		linked = false;

	if (hnsw->check->strict)
		return true;
	/* first the target, then the link, which is older where both stand */
	for (int look = 0; look < 2; look++)
	{
		if (to != id && look_again(hnsw, to, image.data) != NULL)
			return false;
		node = look_again(hnsw, id, image.data);
		if (node == NULL || (node->flags & HNSW_NODE_LIVE) == 0)
			return false;
		linked = false;
		for (int i = 0; i < node->neighbours; i++)
			linked |= HnswLinkNode(&HnswNodeLinks(&hnsw->meta, node)[i]) == to;
		if (!linked)
			return false;
	}
	return true;
}

/* Compute codes and factors of a node's links again (H5). */
static void
check_codes(HnswCheck *hnsw, HnswNodeId id, HnswNode node)
{
	const HnswMetaPageData *meta = &hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	HnswLink   *links = HnswNodeLinks(meta, node);
	PGAlignedBlock image;

	if (!read_vector(hnsw, id, node, false))
		return;
	kernel->half_unpack(hnsw->half, node->scale, meta->padded, hnsw->x);
	for (int i = 0; i < node->neighbours; i++)
	{
		HnswNodeId	to = HnswLinkNode(&links[i]);
		HnswNode	other = look_again(hnsw, to, image.data);
		RabitqFactor factor;

		if (other == NULL || !read_vector(hnsw, to, other, false))
			continue;
		kernel->half_unpack(hnsw->half, other->scale, meta->padded, hnsw->other);
		memset(hnsw->code, 0, code_size);
		rabitq_encode(hnsw->other, hnsw->x, hnsw->hnsw->mean_rotated, meta->padded,
					  meta->code_dims, meta->bits, hnsw->hnsw->form, hnsw->code, &factor);
		if (memcmp(hnsw->code, HnswNodeCodes(meta, node) + i * code_size, code_size) == 0 &&
			memcmp(&factor, &HnswNodeFactors(meta, node)[i], sizeof(factor)) == 0)
			continue;
		/* a place that was freed and used again meanwhile has another vector */
		if (!hnsw->check->strict)
			continue;
		check_report(hnsw->check, CHECK_DAMAGE, "link_code", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
					 "Code or factors of the link to (%u,%u) are not those of its vector.",
					 HnswNodeIdBlock(to), HnswNodeIdOffset(to));
		/* one is enough: a damaged vector shows in all of its node's links */
		return;
	}
}

/* Second pass. */
static void
check_links(HnswCheck *hnsw)
{
	Check	   *check = hnsw->check;
	const HnswMetaPageData *meta = &hnsw->meta;
	uint64		number = 0;
	PGAlignedBlock image;

	for (BlockNumber blkno = 0; blkno < hnsw->nblocks && !check->full; blkno++)
	{
		PageVerdict verdict;
		bool		any = false;

		for (int i = 1; i <= meta->nodes_per_page && !any; i++)
			any = hnsw->places[place_number(hnsw, HnswNodeIdMake(blkno, i))] != 0;
		if (!any || !check_read(check, blkno, image.data, &verdict) || verdict != PAGE_OK)
			continue;
		for (int i = 1; i <= meta->nodes_per_page && !check->full; i++)
		{
			HnswNodeId	id = HnswNodeIdMake(blkno, i);
			HnswNode	node = hnsw_node_at(hnsw->hnsw, (Page) image.data, i);
			HnswLink   *links;
			int			nprotected = 0;

			if (node == NULL)
				continue;
			links = HnswNodeLinks(meta, node);
			for (int j = 0; j < node->neighbours; j++)
			{
				HnswNodeId	to = HnswLinkNode(&links[j]);
				const char *flaw = link_flaw(hnsw, id, links, j);

				if (flaw)
				{
					/* what a dead node says is of no interest but to its children */
					if ((node->flags & HNSW_NODE_LIVE) && link_still_wrong(hnsw, id, to))
						check_report(check, CHECK_CORRUPTION, "link", blkno, i,
									 "Link %d, to (%u,%u), %s.", j + 1,
									 HnswNodeIdBlock(to), HnswNodeIdOffset(to), flaw);
				}
				else if (is_place(hnsw, to))
				{
					if (HnswLinkIsProtected(&links[j]) &&
						node->rank < hnsw->ranks[place_number(hnsw, to)])
						hnsw->places[place_number(hnsw, to)] |= PLACE_ANCHORED;
				}
				nprotected += HnswLinkIsProtected(&links[j]);
			}
			/* a build may protect more */
			if (nprotected > meta->slots)
				check_report(check, CHECK_CORRUPTION, "link", blkno, i, "%d links are protected.", nprotected);
			if (meta->bits > 0 && (node->flags & HNSW_NODE_LIVE) &&
				number++ % hnsw->code_step == 0)
				check_codes(hnsw, id, node);
		}
	}
}

/* ---- entry table (H7) ---------------------------------------------------------------------- */

static void
check_entries(HnswCheck *hnsw)
{
	Check	   *check = hnsw->check;
	const HnswMetaPageData *meta = &hnsw->meta;
	BlockNumber blkno = meta->entry_head;
	uint8	   *seen = palloc_extended(check->nblocks / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint64		entries = 0;
	PGAlignedBlock image;

	while (blkno != InvalidBlockNumber && !check->full)
	{
		uint32		n;
		HnswLink   *links;

		if (!read_page(hnsw, blkno, image.data))
		{
			hnsw->complete = false;
			return;
		}
		n = HnswPageEntryCount(image.data);
		if (HnswPageKind(image.data) != HNSW_PAGE_ENTRY || n > meta->entries_per_page ||
			((PageHeader) image.data)->pd_lower != SizeOfPageHeaderData + HNSW_PAGE_CAPACITY)
		{
			check_report(check, CHECK_CORRUPTION, "entry_page", blkno, CHECK_NO_ITEM,
						 "The entry table goes on here, but this is a %s page, with %u entries of at most %u.",
						 hnsw_kind_name(HnswPageKind(image.data)), n, meta->entries_per_page);
			hnsw->complete = false;
			return;
		}
		if (blkno < hnsw->nblocks)
		{
			if (seen[blkno / 8] & (1 << (blkno % 8)))
			{
				check_report(check, CHECK_CORRUPTION, "entry_page", blkno, CHECK_NO_ITEM,
							 "The entry table goes round in circles.");
				hnsw->complete = false;
				return;
			}
			seen[blkno / 8] |= 1 << (blkno % 8);
		}
		links = HnswPageEntryLinks(meta, (Page) image.data);
		for (uint32 i = 0; i < n; i++)
		{
			HnswNodeId	id = HnswLinkNode(&links[i]);
			uint8	   *note;

			if (!is_place(hnsw, id))
			{
				if (check->strict || HnswNodeIdBlock(id) >= check->nblocks)
					check_report(check, CHECK_CORRUPTION, "entry", blkno, i + 1,
								 "The entry leads to (%u,%u), a place that does not exist.",
								 HnswNodeIdBlock(id), HnswNodeIdOffset(id));
				continue;
			}
			note = &hnsw->places[place_number(hnsw, id)];
			if (check->strict && (*note & (PLACE_LIVE | PLACE_DEAD)) == 0)
				check_report(check, CHECK_CORRUPTION, "entry", blkno, i + 1,
							 "The entry leads to (%u,%u), where no node is.",
							 HnswNodeIdBlock(id), HnswNodeIdOffset(id));
			else if (check->strict && (*note & PLACE_ENTRY))
				check_report(check, CHECK_DAMAGE, "entry", blkno, i + 1,
							 "Node (%u,%u) is in the entry table twice.",
							 HnswNodeIdBlock(id), HnswNodeIdOffset(id));
			else if (check->strict && (*note & PLACE_FLAGGED) == 0)
				check_report(check, CHECK_NOTE, "entry_flag", blkno, i + 1,
							 "Node (%u,%u) does not know that it is an entry, as a crash leaves it.",
							 HnswNodeIdBlock(id), HnswNodeIdOffset(id));
			*note |= PLACE_ENTRY;
			entries++;
		}
		blkno = HnswPageGetOpaque(image.data)->next;
	}
	if (check->strict && entries == 0 && hnsw->live > 0)
		check_report(check, CHECK_CORRUPTION, "entry", meta->entry_head, CHECK_NO_ITEM,
					 "The entry table is empty, but there are " UINT64_FORMAT " nodes.", hnsw->live);
	pfree(seen);
}

/* ---- the whole graph (H6), strict only --------------------------------------------------------- */

/* Is the row of a node seen by anybody?  One that nobody sees may be unfinished. */
static bool
is_visible(HnswCheck *hnsw, HnswNode node)
{
	Relation	heap = hnsw->check->heap;
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	IndexFetchTableData *fetch = table_index_fetch_begin(heap);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ItemPointerData tid = node->tid;
	bool		call_again = false;
	bool		all_dead = false;
	bool		found;

	found = !ItemPointerIsValid(&tid) ||	/* rows in a chunk: take them as seen */
		(check_heap_block_exists(hnsw->check, ItemPointerGetBlockNumber(&tid)) &&
		 table_index_fetch_tuple(fetch, &tid, snapshot, slot, &call_again, &all_dead));
	ExecDropSingleTupleTableSlot(slot);
	table_index_fetch_end(fetch);
	UnregisterSnapshot(snapshot);
	return found;
}

/* Walk from the entries along all links. */
static void
walk(HnswCheck *hnsw)
{
	const HnswMetaPageData *meta = &hnsw->meta;
	uint64		nplaces = (uint64) hnsw->nblocks * meta->nodes_per_page;
	uint64		size = 1024;
	uint64	   *stack = palloc(sizeof(uint64) * size);
	uint64		n = 0;
	PGAlignedBlock image;

	for (uint64 place = 0; place < nplaces; place++)
	{
		if ((hnsw->places[place] & PLACE_ENTRY) == 0 || (hnsw->places[place] & PLACE_REACHED))
			continue;
		hnsw->places[place] |= PLACE_REACHED;
		stack[n++] = place;
		while (n > 0)
		{
			uint64		at = stack[--n];
			HnswNodeId	id = HnswNodeIdMake(at / meta->nodes_per_page, at % meta->nodes_per_page + 1);
			HnswNode	node;

			CHECK_FOR_INTERRUPTS();
			(void) monitor_copy_page(hnsw->check->index, HnswNodeIdBlock(id), hnsw->check->strategy,
									 HNSW_SPECIAL_SIZE, image.data);
			node = hnsw_node_at(hnsw->hnsw, (Page) image.data, HnswNodeIdOffset(id));
			if (node == NULL)
				continue;
			for (int i = 0; i < node->neighbours; i++)
			{
				HnswNodeId	to = HnswLinkNode(&HnswNodeLinks(meta, node)[i]);
				uint64		number;

				if (!is_place(hnsw, to))
					continue;
				number = place_number(hnsw, to);
				if ((hnsw->places[number] & (PLACE_LIVE | PLACE_DEAD)) == 0 ||
					(hnsw->places[number] & PLACE_REACHED))
					continue;
				hnsw->places[number] |= PLACE_REACHED;
				if (n == size)
				{
					size *= 2;
					stack = repalloc_huge(stack, sizeof(uint64) * size);
				}
				stack[n++] = number;
			}
		}
	}
	pfree(stack);
}

static void
check_graph(HnswCheck *hnsw)
{
	Check	   *check = hnsw->check;
	const HnswMetaPageData *meta = &hnsw->meta;
	uint64		nplaces = (uint64) hnsw->nblocks * meta->nodes_per_page;
	PGAlignedBlock image;

	walk(hnsw);
	for (uint64 place = 0; place < nplaces && !check->full; place++)
	{
		uint8		note = hnsw->places[place];
		HnswNodeId	id = HnswNodeIdMake(place / meta->nodes_per_page, place % meta->nodes_per_page + 1);
		bool		reached = (note & PLACE_REACHED) != 0;
		HnswNode	node;

		if ((note & PLACE_LIVE) == 0 || (reached && (note & (PLACE_ENTRY | PLACE_ANCHORED))))
			continue;
		node = look_again(hnsw, id, image.data);
		if (node == NULL || !is_visible(hnsw, node))
		{
			check_report(check, CHECK_NOTE, "node_unfinished", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
						 "The node was not linked, and nobody sees its row: VACUUM will remove it.");
			continue;
		}
		/* a concurrent build ends with inserts of rows that everybody sees */
		if (!check->index->rd_index->indisvalid)
		{
			check_report(check, CHECK_NOTE, "node_unfinished", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
						 "The node was not linked: the build of the index did not finish.");
			continue;
		}
		check_report(check, CHECK_CORRUPTION, reached ? "node_anchor" : "node_unreachable",
					 HnswNodeIdBlock(id), HnswNodeIdOffset(id),
					 reached ? "The node is no entry, and has no protected in-edge from a node of lower rank than %u." :
					 "No link and no entry leads to the node (rank %u): searches cannot find it.", node->rank);
	}
}

/* Chunks and CONT pages that belong to nothing; room for TIDs (H8, H9); strict only. */
static void
check_rest(HnswCheck *hnsw)
{
	Check	   *check = hnsw->check;
	uint8	   *listed = palloc_extended(hnsw->nblocks / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint8	   *roomy = palloc_extended(hnsw->nblocks / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	PGAlignedBlock image;
	BlockNumber room = hnsw->meta.tids_room;

	for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < hnsw->nblocks && !check->full; blkno++)
	{
		PageVerdict verdict;

		if (!check_read(check, blkno, image.data, &verdict) || verdict != PAGE_OK)
			continue;
		if (HnswPageKind(image.data) == HNSW_PAGE_CONT &&
			(hnsw->conts[blkno / 8] & (1 << (blkno % 8))) == 0)
			check_report(check, CHECK_NOTE, "page_orphan", blkno, CHECK_NO_ITEM,
						 "The continuation page belongs to no node, as a crash leaves it; VACUUM will free it.");
		if (HnswPageKind(image.data) != HNSW_PAGE_TIDS)
			continue;
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
		{
			uint64		bit = (uint64) blkno * HNSW_CHUNKS_PER_PAGE + i - 1;

			if (HnswPageGetChunk(image.data, i)->owner_block == InvalidBlockNumber)
				roomy[blkno / 8] |= 1 << (blkno % 8);
			else if ((hnsw->chunks[bit / 8] & (1 << (bit % 8))) == 0)
				check_report(check, CHECK_CORRUPTION, "chunk_orphan", blkno, i,
							 "The chunk says it belongs to (%u,%u), but is not in its chain.",
							 HnswPageGetChunk(image.data, i)->owner_block,
							 HnswPageGetChunk(image.data, i)->owner_offset);
		}
	}

	while (room != InvalidBlockNumber && !check->full)
	{
		if (room >= hnsw->nblocks || (listed[room / 8] & (1 << (room % 8))) ||
			!read_page(hnsw, room, image.data) || HnswPageKind(image.data) != HNSW_PAGE_TIDS)
		{
			check_report(check, CHECK_CORRUPTION, "tids_room", room, CHECK_NO_ITEM,
						 "The list of pages with room for TIDs leads here, where no such page is, or goes round in circles.");
			break;
		}
		listed[room / 8] |= 1 << (room % 8);
		room = HnswPageGetOpaque(image.data)->next;
	}
	if (room == InvalidBlockNumber)
		for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < hnsw->nblocks && !check->full; blkno++)
			if ((roomy[blkno / 8] & ~listed[blkno / 8]) & (1 << (blkno % 8)))
				check_report(check, CHECK_NOTE, "tids_unlisted", blkno, CHECK_NO_ITEM,
							 "The page has room for TIDs, but is not in the list of such pages: VACUUM will list it.");
	pfree(listed);
	pfree(roomy);
}

/* ---- what check.c calls --------------------------------------------------------------------------- */

static bool
hnsw_structure(Check *check)
{
	HnswCheck  *hnsw = palloc0(sizeof(HnswCheck));
	const HnswMetaPageData *meta = &hnsw->meta;
	uint64		nplaces;
	uint64		wanted;

	hnsw->check = check;
	check->method_state = hnsw;
	if (!check_meta(hnsw))
		return false;

	hnsw->nblocks = check->nblocks;
	nplaces = (uint64) hnsw->nblocks * meta->nodes_per_page;
	hnsw->places = palloc_extended(nplaces, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hnsw->ranks = palloc_extended(mul_size(nplaces, sizeof(uint32)), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hnsw->errors = palloc_extended(mul_size(nplaces, sizeof(float)), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hnsw->chunks = palloc_extended((uint64) hnsw->nblocks * HNSW_CHUNKS_PER_PAGE / 8 + 1,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hnsw->conts = palloc_extended(hnsw->nblocks / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hnsw->half = palloc0(sizeof(uint16) * meta->padded);
	hnsw->x = palloc(sizeof(float) * meta->padded);
	hnsw->other = palloc(sizeof(float) * meta->padded);
	hnsw->code = palloc(hnsw_code_size(meta) + 1);
	hnsw_value_alloc(hnsw->hnsw, &hnsw->value);
	hnsw->complete = true;

	for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < hnsw->nblocks && !check->full; blkno++)
		check_page(hnsw, blkno);
	wanted = check->strict ? CODE_NODES_STRICT : CODE_NODES;
	hnsw->code_step = Max(hnsw->live / wanted, 1);
	if (!check->full)
		check_links(hnsw);
	if (!check->full)
		check_entries(hnsw);
	if (check->strict && hnsw->complete && !check->full)
	{
		check_graph(hnsw);
		check_rest(hnsw);
	}
	return true;
}

/* Rows stand for what is stored of their vector. */
static bool
hnsw_fingerprint(Check *check, Datum value, uint64 *hash)
{
	HnswCheck  *hnsw = check->method_state;
	Vector	   *vector = DatumGetVector(value);

	if (vector->dim != hnsw->meta.dims || !hnsw_value_form(hnsw->hnsw, vector->x, &hnsw->value))
		return false;
	*hash = vector_hash(hnsw, hnsw->value.half, hnsw->value.scale);
	return true;
}

/*
 * H10: the error that a scan believes is no less than that of this row.  With writers about
 * a chunk may have another owner by now.
 */
static void
hnsw_judge_place(Check *check, BlockNumber blkno, int item)
{
	HnswCheck  *hnsw = check->method_state;
	HnswNodeId	id = HnswNodeIdMake(blkno, item);

	if (!is_place(hnsw, id) || hnsw->places[place_number(hnsw, id)] == 0)
	{
		PGAlignedBlock image;
		PageVerdict verdict;
		HnswChunk	chunk;

		if (!check->strict || item > HNSW_CHUNKS_PER_PAGE ||
			!check_read(check, blkno, image.data, &verdict) || verdict != PAGE_OK)
			return;
		chunk = HnswPageGetChunk(image.data, item);
		id = HnswNodeIdMake(chunk->owner_block, chunk->owner_offset);
		if (!is_place(hnsw, id))
			return;
	}
	if (hnsw->errors[place_number(hnsw, id)] < hnsw->value.error)
		check_report(check, CHECK_CORRUPTION, "node_error", HnswNodeIdBlock(id), HnswNodeIdOffset(id),
					 "The node says that its vector is off by %.9g at most, but a row's is by %.9g.",
					 hnsw->errors[place_number(hnsw, id)], hnsw->value.error);
}

static int
hnsw_count_tid(Check *check, BlockNumber blkno, ItemPointer tid)
{
	HnswCheck  *hnsw = check->method_state;
	int			count = 0;
	PGAlignedBlock image;
	PageVerdict verdict;

	if (!check_read(check, blkno, image.data, &verdict) || verdict != PAGE_OK)
		return 0;
	if (HnswPageKind(image.data) == HNSW_PAGE_NODE)
		for (int i = 1; i <= hnsw->meta.nodes_per_page; i++)
		{
			HnswNode	node = hnsw_node_at(hnsw->hnsw, (Page) image.data, i);

			count += node != NULL && ItemPointerEquals(&node->tid, tid);
		}
	else if (HnswPageKind(image.data) == HNSW_PAGE_TIDS)
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
		{
			HnswChunk	chunk = HnswPageGetChunk(image.data, i);

			if (chunk->owner_block != InvalidBlockNumber)
				for (int j = 0; j < Min(chunk->count, HNSW_CHUNK_TIDS); j++)
					count += ItemPointerEquals(&chunk->tids[j], tid);
		}
	return count;
}

const CheckMethod check_hnsw_method = {
	.special_size = HNSW_SPECIAL_SIZE,
	.structure = hnsw_structure,
	.fingerprint = hnsw_fingerprint,
	.judge_place = hnsw_judge_place,
	.count_tid = hnsw_count_tid
};
