/*-------------------------------------------------------------------------
 *
 * hnsw_page.c
 *	  Layout of nodes, metapage, entry table; what a backend caches of an
 *	  index.
 *
 * Everything read from a page is checked before it is used: counts against
 * the limits of the format, blocks against the length of the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "hnsw/hnsw_private.h"
#include "kernel/kernel.h"

/*
 * Codes of "auto". Below so many dimensions a neighbour is so much nearer than
 * the mean that the rounding of the query (4 bits) hides the difference: no
 * codes. Below so many rotated dimensions one bit each is too few: two.
 */
#define NO_CODE_DIMS		4
#define ONE_BIT_DIMS		256
/* a sketch of fewer dimensions steers a search badly */
#define MIN_SKETCH_DIMS		512
#define SEED				UINT64CONST(0x7665636462686e73)

/* Bytes of a node with so many slots and so many bytes of code. */
static Size
node_bytes(const HnswMetaPageData *meta, int slots, bool own_inside, Size code_size)
{
	return HNSW_NODE_HEAD + (own_inside ? meta->padded * sizeof(uint16) : 0) +
		slots * (sizeof(HnswLink) + (code_size > 0 ? code_size + sizeof(RabitqFactor) : 0));
}

/*
 * Slots when n nodes share a page, at most `wanted`; 0: not even the head
 * fits.
 */
static int
slots_at(const HnswMetaPageData *meta, int n, bool own_inside, Size code_size, int wanted)
{
	Size		room = HNSW_PAGE_CAPACITY / n / MAXIMUM_ALIGNOF * MAXIMUM_ALIGNOF;
	Size		fixed = node_bytes(meta, 0, own_inside, code_size);
	Size		slot = node_bytes(meta, 1, own_inside, code_size) - fixed;

	return room < fixed ? 0 : (int) Min((room - fixed) / slot, wanted);
}

/*
 * Choose how many nodes share a page: as many as leave each three quarters of
 * the slots wanted; or two thirds, where that saves two fifths of the space.
 * 2m slots are wanted; more than 32 (m > 16) somebody asked for, and gets.
 */
static int
choose_nodes_per_page(const HnswMetaPageData *meta, bool own_inside, Size code_size,
					  int wanted, int *slots)
{
	int			good = wanted > 32 ? wanted : (wanted * 3 + 3) / 4;
	int			fair = wanted > 32 ? wanted : (wanted * 2 + 2) / 3;
	int			n = 0;

	while (slots_at(meta, n + 1, own_inside, code_size, wanted) >= good)
		n++;
	if (slots_at(meta, n + 1, own_inside, code_size, wanted) >= fair && n <= 1)
		n++;
	if (n > 0)
		*slots = slots_at(meta, n, own_inside, code_size, wanted);
	return n;
}

/*
 * Fill in what follows from dimensions, metric, m and codes (OPTION_UNSET:
 * auto): sizes of nodes and entries.
 *
 * Where a node with codes of all its dimensions does not fit a page, the codes
 * become a sketch of the first rotated dimensions, down to MIN_SKETCH_DIMS;
 * where even these do not fit, the own vector moves to pages of its own.
 */
void
hnsw_layout(HnswMetaPageData *meta, int dims, Metric metric, int m, int codes)
{
	int			index_dims = dims + (metric == METRIC_IP ? 1 : 0);
	int			wanted = 2 * m;
	int			slots = 0;
	int			n = 0;
	bool		own_inside = true;

	memset(meta, 0, sizeof(*meta));
	meta->magic = HNSW_MAGIC;
	meta->dims = dims;
	meta->padded = rotation_padded(index_dims);
	meta->metric = metric;
	meta->m = m;
	meta->seed = SEED;
	meta->bits = codes != OPTION_UNSET ? codes :
		dims < NO_CODE_DIMS ? 0 : meta->padded < ONE_BIT_DIMS ? 2 : 1;
	if (metric == METRIC_L1)
		meta->bits = 0;

	if (meta->bits == 0)
	{
		n = choose_nodes_per_page(meta, true, 0, wanted, &slots);
		if (n == 0)
		{
			own_inside = false;
			n = choose_nodes_per_page(meta, false, 0, wanted, &slots);
		}
	}
	else
	{
		int			code_dims = meta->padded;

		for (;;)
		{
			n = choose_nodes_per_page(meta, own_inside,
									  rabitq_code_size(code_dims, meta->bits), wanted, &slots);
			if (n > 0)
				break;
			code_dims -= ROTATION_UNIT;
			if (own_inside && code_dims < Min(MIN_SKETCH_DIMS, meta->padded))
			{
				own_inside = false;
				code_dims = Min(meta->padded, 2 * MIN_SKETCH_DIMS);
			}
			else if (code_dims < ROTATION_UNIT)
			{
				/*
				 * Many slots, several bits: one bit of few dimensions always
				 * fits.  As if these bits had been asked for, since that is
				 * all that the metapage will tell.
				 */
				Assert(meta->bits > 1);
				meta->bits /= 2;
				own_inside = true;
				code_dims = meta->padded;
			}
		}
		meta->code_dims = code_dims;
	}

	meta->slots = slots;
	meta->nodes_per_page = n;
	meta->node_size = MAXALIGN(node_bytes(meta, slots, own_inside, hnsw_code_size(meta)));
	meta->cont_pages = own_inside ? 0 :
		(meta->padded + HNSW_CONT_HALVES - 1) / HNSW_CONT_HALVES;
	meta->entries_per_page = (HNSW_PAGE_CAPACITY - HNSW_ENTRY_HEAD) /
		(sizeof(HnswLink) + (meta->bits > 0 ? hnsw_code_size(meta) + sizeof(RabitqFactor) : 0));
	meta->entry_head = InvalidBlockNumber;
	meta->tids_room = InvalidBlockNumber;
}

/* Format a page. */
void
hnsw_page_init(Page page, uint8 kind, const HnswMetaPageData *meta)
{
	page_init(page, HNSW_SPECIAL_SIZE, kind);
	HnswPageGetOpaque(page)->next = InvalidBlockNumber;
	HnswPageGetOpaque(page)->owner_block = InvalidBlockNumber;
	switch (kind)
	{
		case HNSW_PAGE_META:
			HnswPageSetUsed(page, sizeof(HnswMetaPageData));
			break;
		case HNSW_PAGE_ENTRY:
			memset(HnswPageContent(page), 0, HNSW_PAGE_CAPACITY);
			HnswPageSetUsed(page, HNSW_PAGE_CAPACITY);
			break;
		case HNSW_PAGE_TIDS:
			memset(HnswPageContent(page), 0, HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData));
			for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
				HnswPageGetChunk(page, i)->owner_block = InvalidBlockNumber;
			HnswPageSetUsed(page, HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData));
			break;
		default:				/* MEAN, NODE, CONT: the writer knows how much */
			break;
	}
}

/* Write the metapage; buf is exclusively locked. */
void
hnsw_meta_write(Relation index, Buffer buf, const HnswMetaPageData *meta, bool building)
{
	PageEdit	edit;
	Page		page;

	page_edit_begin(&edit, index, building);
	page = page_edit_add(&edit, buf, true);
	hnsw_page_init(page, HNSW_PAGE_META, meta);
	memcpy(HnswPageGetMeta(page), meta, sizeof(*meta));
	page_edit_commit(&edit);
}

/* What is wrong with a metapage, as a sentence; NULL when it is sound. */
const char *
hnsw_meta_flaw(const HnswMetaPageData *meta, BlockNumber nblocks)
{
	HnswMetaPageData expected;

	if (meta->magic != HNSW_MAGIC)
		return "The magic number of the metapage is wrong.";
	if (meta->dims < 1 || meta->dims > HNSW_MAX_DIMS)
		return "The number of dimensions is out of range.";
	if (meta->metric > METRIC_L1)
		return "The metric is not known.";
	if (meta->m < HNSW_MIN_M || meta->m > HNSW_MAX_M)
		return "m is out of range.";
	if (meta->bits != 0 && meta->bits != 1 && meta->bits != 2 && meta->bits != 4)
		return "The bits of a code are out of range.";
	hnsw_layout(&expected, meta->dims, meta->metric, meta->m, meta->bits);
	if (meta->padded != expected.padded || meta->code_dims != expected.code_dims ||
		meta->slots != expected.slots || meta->nodes_per_page != expected.nodes_per_page ||
		meta->node_size != expected.node_size || meta->bits != expected.bits ||
		meta->entries_per_page != expected.entries_per_page ||
		meta->cont_pages != expected.cont_pages)
		return "The layout of the nodes does not fit dimensions, m and codes.";
	if (meta->mean_pages != 0 &&
		meta->mean_pages != (meta->dims + (meta->metric == METRIC_IP) + HNSW_MEAN_FLOATS - 1) / HNSW_MEAN_FLOATS)
		return "The number of mean pages does not fit the dimensions.";
	if (meta->entry_head >= nblocks)
		return "The entry table is beyond the end of the index.";
	if (!(meta->radius >= 0) || isinf(meta->radius))
		return "The radius is out of range.";
	if (meta->num_targets > HNSW_NUM_TARGETS)
		return "The number of recall targets is out of range.";
	for (int i = 0; i < meta->num_targets; i++)
		if (!(meta->targets[i].recall > 0 && meta->targets[i].recall <= 1) ||
			!(meta->targets[i].gamma >= 0) || !(meta->targets[i].visits >= 0))
			return "A recall target is out of range.";
	return NULL;
}

/* Read and check the metapage: it is short enough to be copied out. */
void
hnsw_meta_read(Relation index, HnswMetaPageData *meta)
{
	Buffer		buf = hnsw_read(index, HNSW_META_BLOCK, BUFFER_LOCK_SHARE, HNSW_PAGE_META);
	const char *flaw;

	memcpy(meta, HnswPageGetMeta(BufferGetPage(buf)), sizeof(*meta));
	page_release(buf);
	/* whoever follows a link beyond the file is told so then */
	flaw = hnsw_meta_flaw(meta, InvalidBlockNumber);
	if (flaw)
		page_corrupted(index, HNSW_META_BLOCK, "%s", flaw);
}

/*
 * Pin and lock a page that must be of this kind, with the content length that
 * goes with it.
 */
Buffer
hnsw_read(Relation index, BlockNumber blkno, int lockmode, uint8 kind)
{
	Buffer		buf = page_read(index, blkno, lockmode, HNSW_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);

	if (unlikely(HnswPageKind(page) != kind))
		page_corrupted(index, blkno, "Expected a page of kind %d, got kind %d.",
					   kind, HnswPageKind(page));
	if (unlikely(kind == HNSW_PAGE_META &&
				 ((PageHeader) page)->pd_lower != SizeOfPageHeaderData + sizeof(HnswMetaPageData)))
		page_corrupted(index, blkno, "The metapage has the wrong length.");
	return buf;
}

/*
 * The node at a place of a page that is locked, or NULL when there is none: the
 * page holds something else by now, the place does not exist, or is free.
 */
HnswNode
hnsw_node_at(const HnswIndex *hnsw, Page page, OffsetNumber offset)
{
	HnswNode	node;

	if (unlikely(HnswPageKind(page) != HNSW_PAGE_NODE || offset < 1 ||
				 offset > hnsw->meta.nodes_per_page))
		return NULL;
	node = HnswPageGetNode(&hnsw->meta, page, offset);
	if (unlikely((node->flags & (HNSW_NODE_LIVE | HNSW_NODE_DEAD)) == 0 ||
				 node->neighbours > hnsw->meta.slots ||
				 !HnswPageCoversNode(&hnsw->meta, page, node)))
		return NULL;
	return node;
}

/*
 * The own vector of a node that keeps it on CONT pages: padded halves.  No lock
 * is held.  Pages that belong to another node by now leave zeros: whoever comes
 * too late reads a node that no snapshot of his sees.
 */
void
hnsw_read_own(Relation index, const HnswIndex *hnsw, HnswNodeId id,
			  BlockNumber cont, uint16 *half)
{
	int			done = 0;
	int			padded = hnsw->meta.padded;

	for (int i = 0; i < hnsw->meta.cont_pages && cont != InvalidBlockNumber; i++)
	{
		int			n = Min(padded - done, HNSW_CONT_HALVES);
		Buffer		buf = page_read(index, cont, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
		Page		page = BufferGetPage(buf);
		HnswPageOpaque opaque = HnswPageGetOpaque(page);

		if (opaque->trailer.kind != HNSW_PAGE_CONT ||
			opaque->owner_block != HnswNodeIdBlock(id) ||
			opaque->owner_offset != HnswNodeIdOffset(id) ||
			((PageHeader) page)->pd_lower != SizeOfPageHeaderData + n * sizeof(uint16))
		{
			page_release(buf);
			break;
		}
		memcpy(half + done, HnswPageContent(page), n * sizeof(uint16));
		cont = opaque->next;
		page_release(buf);
		done += n;
	}
	memset(half + done, 0, (padded - done) * sizeof(uint16));
}

/* Bytes of an HnswIndex and all it points to. */
Size
hnsw_index_size(const HnswMetaPageData *meta)
{
	int			index_dims = meta->dims + (meta->metric == METRIC_IP ? 1 : 0);

	return MAXALIGN(sizeof(HnswIndex)) + MAXALIGN(rotation_size(index_dims)) +
		MAXALIGN(sizeof(float) * index_dims) + sizeof(float) * meta->padded;
}

/* Fill memory of hnsw_index_size(); mean NULL: zero. */
void
hnsw_index_fill(HnswIndex *hnsw, const HnswMetaPageData *meta, const float *mean)
{
	char	   *at = (char *) hnsw + MAXALIGN(sizeof(HnswIndex));

	memset(hnsw, 0, sizeof(*hnsw));
	hnsw->meta = *meta;
	hnsw->metric = (Metric) meta->metric;
	hnsw->form = hnsw->metric == METRIC_IP ? RABITQ_IP : RABITQ_L2;
	hnsw->index_dims = meta->dims + (hnsw->metric == METRIC_IP ? 1 : 0);
	hnsw->rotated = hnsw->metric != METRIC_L1;
	rotation_init(&hnsw->rotation, hnsw->index_dims, meta->seed, at);
	at += MAXALIGN(rotation_size(hnsw->index_dims));
	hnsw->mean = (float *) at;
	at += MAXALIGN(sizeof(float) * hnsw->index_dims);
	if (mean)
	{
		memcpy(hnsw->mean, mean, sizeof(float) * hnsw->index_dims);
		hnsw->mean_norm = sqrt(kernel->normsq_double(mean, hnsw->index_dims));
		hnsw->mean_rotated = (float *) at;
		if (hnsw->rotated)
			rotate(&hnsw->rotation, mean, hnsw->mean_rotated);
		else
			memset(hnsw->mean_rotated, 0, sizeof(float) * meta->padded);
	}
	else
		memset(hnsw->mean, 0, sizeof(float) * hnsw->index_dims);
}

/* Read the mean, floats[index_dims]. */
static void
read_mean(Relation index, const HnswMetaPageData *meta, float *mean)
{
	int			index_dims = meta->dims + (meta->metric == METRIC_IP ? 1 : 0);

	for (int i = 0; i < meta->mean_pages; i++)
	{
		int			first = i * HNSW_MEAN_FLOATS;
		int			n = Min(index_dims - first, HNSW_MEAN_FLOATS);
		Buffer		buf = hnsw_read(index, HNSW_MEAN_BLOCK + i, BUFFER_LOCK_SHARE, HNSW_PAGE_MEAN);
		Page		page = BufferGetPage(buf);

		if (((PageHeader) page)->pd_lower != SizeOfPageHeaderData + n * sizeof(float))
			page_corrupted(index, HNSW_MEAN_BLOCK + i, "The page of the mean has the wrong length.");
		memcpy(mean + first, HnswPageContent(page), n * sizeof(float));
		page_release(buf);
		for (int j = first; j < first + n; j++)
			if (!isfinite(mean[j]))
				page_corrupted(index, HNSW_MEAN_BLOCK + i, "The mean is not finite.");
	}
}

/* A copy in memory of hnsw_index_size(). */
void
hnsw_index_copy(HnswIndex *to, const HnswIndex *from)
{
	ptrdiff_t	moved = (char *) to - (const char *) from;

	memcpy(to, from, hnsw_index_size(&from->meta));
	to->rotation.signs = (const uint32_t *) ((const char *) from->rotation.signs + moved);
	to->mean = (float *) ((char *) from->mean + moved);
	if (from->mean_rotated)
		to->mean_rotated = (float *) ((char *) from->mean_rotated + moved);
}

/*
 * What this backend knows of the index, read once.  The result may be freed
 * whenever invalidations are processed: copy it (hnsw_index_copy()).
 */
const HnswIndex *
hnsw_open(Relation index)
{
	HnswMetaPageData meta;
	HnswIndex  *hnsw;
	float	   *mean = NULL;

	if (index->rd_amcache)
		return (HnswIndex *) index->rd_amcache;

	hnsw_meta_read(index, &meta);
	if (meta.mean_pages > 0)
	{
		mean = palloc(sizeof(float) * (meta.dims + 1));
		read_mean(index, &meta, mean);
	}
	hnsw = MemoryContextAlloc(index->rd_indexcxt, hnsw_index_size(&meta));
	hnsw_index_fill(hnsw, &meta, mean);
	if (mean)
		pfree(mean);
	index->rd_amcache = hnsw;
	return hnsw;
}

/*
 * How many entries a table of so many nodes should have: with codes they are
 * scanned at 3 ns each, which a few hops of a search cost; without, each is
 * a page.
 */
int
hnsw_entry_target(double nodes, const HnswMetaPageData *meta)
{
	if (meta->bits == 0)
		return (int) Min(16, Max(nodes, 1));
	return (int) Min(Max(2 * sqrt(Max(nodes, 1)), 16), 8192);
}

/* The entries of a page of the table; ERROR when their number cannot be. */
uint32
hnsw_entry_count(Relation index, const HnswMetaPageData *meta, BlockNumber blkno,
				 Page page)
{
	uint32		n = HnswPageEntryCount(page);

	if (n > meta->entries_per_page ||
		((PageHeader) page)->pd_lower != SizeOfPageHeaderData + HNSW_PAGE_CAPACITY)
		page_corrupted(index, blkno, "The page says it holds %u entries.", n);
	return n;
}

/* Is a node in the entry table? */
static bool
entry_known(Relation index, const HnswMetaPageData *meta, HnswNodeId node)
{
	BlockNumber blkno = meta->entry_head;
	BlockNumber pages = 0;
	bool		known = false;

	while (blkno != InvalidBlockNumber && !known)
	{
		Buffer		buf = hnsw_read(index, blkno, BUFFER_LOCK_SHARE, HNSW_PAGE_ENTRY);
		Page		page = BufferGetPage(buf);
		uint32		n = hnsw_entry_count(index, meta, blkno, page);

		for (uint32 i = 0; i < n && !known; i++)
			known = HnswLinkNode(&HnswPageEntryLinks(meta, page)[i]) == node;
		blkno = HnswPageGetOpaque(page)->next;
		page_release(buf);
		if (++pages % 1024 == 0 && pages > RelationGetNumberOfBlocks(index))
			page_corrupted(index, meta->entry_head, "The entry table goes round in circles.");
		CHECK_FOR_INTERRUPTS();
	}
	return known;
}

/*
 * Append a node to the entry table, whose code is relative to the mean, unless it
 * is there: a crash between entry and flag (H7) leaves a node that does not know.  Only
 * appended to, here; VACUUM alone takes entries out, and pages never.  Nobody else
 * adds the same node: the caller has just made it, or is VACUUM.
 */
void
hnsw_entry_add(Relation index, const HnswIndex *hnsw, HnswNodeId node,
			   const HnswValue *value, bool building)
{
	const HnswMetaPageData *meta = &hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	uint8	   *code = palloc0(Max(code_size, 1));
	RabitqFactor factor = {0, 0};
	BlockNumber blkno = meta->entry_head;
	BlockNumber pages = 0;

	if (entry_known(index, meta, node))
		return;
	if (meta->bits > 0)
	{
		float	   *zero = palloc0(sizeof(float) * meta->padded);

		rabitq_encode(value->x, zero, hnsw->mean_rotated, meta->padded, meta->code_dims,
					  meta->bits, hnsw->form, code, &factor);
		pfree(zero);
	}

	for (;;)
	{
		Buffer		buf = hnsw_read(index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_ENTRY);
		Page		page = BufferGetPage(buf);
		BlockNumber next = HnswPageGetOpaque(page)->next;
		uint32		n = hnsw_entry_count(index, meta, blkno, page);
		Buffer		more = InvalidBuffer;
		PageEdit	edit;

		if (n == meta->entries_per_page && next != InvalidBlockNumber)
		{
			page_release(buf);
			blkno = next;
			if (++pages > RelationGetNumberOfBlocks(index))
				page_corrupted(index, meta->entry_head, "The entry table goes round in circles.");
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		if (n == meta->entries_per_page)
			more = page_new(index, MAIN_FORKNUM, HNSW_SPECIAL_SIZE, building);
		page_edit_begin(&edit, index, building);
		page = page_edit_add(&edit, buf, false);
		if (more != InvalidBuffer)
		{
			HnswPageGetOpaque(page)->next = BufferGetBlockNumber(more);
			page = page_edit_add(&edit, more, true);
			hnsw_page_init(page, HNSW_PAGE_ENTRY, meta);
			n = 0;
		}
		HnswLinkSet(&HnswPageEntryLinks(meta, page)[n], node, false);
		if (meta->bits > 0)
		{
			HnswPageEntryFactors(meta, page)[n] = factor;
			memcpy(HnswPageEntryCodes(meta, page) + n * code_size, code, code_size);
		}
		HnswPageEntryCount(page) = n + 1;
		page_edit_commit(&edit);
		if (more != InvalidBuffer)
			page_release(more);
		page_release(buf);
		break;
	}
	pfree(code);
}
