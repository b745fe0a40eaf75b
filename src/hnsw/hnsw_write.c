/*-------------------------------------------------------------------------
 *
 * hnsw_write.c
 *	  From a graph in memory to the pages of the index.
 *
 * Before the graph is made, rows with equal vectors are merged: they become one
 * node with a chain of heap TIDs.  Afterwards every node's place is computed
 * (hnsw_build_plan), the file is made as long as it will be, and the
 * participants fill its pages, each page once:
 *
 *	metapage | mean | nodes | own vectors that do not fit (cont) | entry table | heap TIDs
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "am/page.h"
#include "hnsw/hnsw_build.h"
#include "kernel/kernel.h"
#include "quant/random.h"

#define MERGE_ROWS		1024	/* merged at a time */
#define WRITE_PAGES		8		/* written at a time */
#define ENTRY_SEED		UINT64CONST(0x656e7472696573)

/* ---- duplicates ---- */

/* Make the hash table empty, each participant a part of it. */
void
hnsw_build_clear_slots(HnswBuilder *builder)
{
	const HnswBuildShared *shared = builder->shared;
	uint64		nslots = 2 * (uint64) shared->graph.capacity;
	uint64		first = nslots * builder->number / shared->participants;
	uint64		end = nslots * (builder->number + 1) / shared->participants;

	memset(hnsw_build_order(builder) + first, 0, sizeof(uint32) * (end - first));
}

/* Do two rows have the same vector, to the bit? */
static bool
same_vector(const HnswBuilder *builder, uint32 a, uint32 b)
{
	return hnsw_build_row(builder, a)->scale == hnsw_build_row(builder, b)->scale &&
		memcmp(hnsw_build_half(builder, a), hnsw_build_half(builder, b),
			   sizeof(uint16) * builder->shared->meta.padded) == 0;
}

/*
 * Put a row into the hash table, or into the chain of the row there that has
 * the same vector.  A slot holds 1 + the number of a row.
 */
static void
merge_row(HnswBuilder *builder, uint32 node)
{
	HnswBuildShared *shared = builder->shared;
	HnswBuildRow *row = hnsw_build_row(builder, node);
	pg_atomic_uint32 *slots = (pg_atomic_uint32 *) hnsw_build_order(builder);
	uint64		nslots = 2 * (uint64) shared->graph.capacity;
	uint32		scale_bits;
	uint64		hash;
	uint64		slot;

	memcpy(&scale_bits, &row->scale, sizeof(scale_bits));
	hash = hash_bytes_extended((unsigned char *) hnsw_build_half(builder, node),
							   sizeof(uint16) * shared->meta.padded, scale_bits);
	slot = ((hash >> 32) * nslots) >> 32;
	for (;;)
	{
		uint32		there = 0;

		if (pg_atomic_compare_exchange_u32(&slots[slot], &there, node + 1))
			return;
		if (same_vector(builder, node, there - 1))
		{
			pg_atomic_uint32 *same = &hnsw_build_row(builder, there - 1)->same;
			uint32		next = pg_atomic_read_u32(same);

			do
				pg_atomic_write_u32(&row->same, next);
			while (!pg_atomic_compare_exchange_u32(same, &next, node + 1));
			row->duplicate = true;
			graph_build_skip(hnsw_build_graph(builder), node);
			return;
		}
		if (++slot == nslots)
			slot = 0;
	}
}

/* Merge rows with equal vectors: all participants together. */
void
hnsw_build_merge(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	uint32		count = graph_build_count(hnsw_build_graph(builder));

	for (;;)
	{
		uint32		node = pg_atomic_fetch_add_u32(&shared->next_merge, MERGE_ROWS);
		uint32		end = Min(node + MERGE_ROWS, count);

		if (node >= count)
			break;
		CHECK_FOR_INTERRUPTS();
		for (; node < end; node++)
			merge_row(builder, node);
	}
}

/* ---- plan ---- */

/*
 * Decide in which order nodes lie on the pages: now that of the table, whose
 * neighbours are often alike.  Returns how many nodes there are.
 */
static uint32
choose_order(HnswBuilder *builder)
{
	uint32		count = graph_build_count(hnsw_build_graph(builder));
	uint32	   *order = hnsw_build_order(builder);
	uint32	   *position = hnsw_build_position(builder);
	uint32		n = 0;

	for (uint32 node = 0; node < count; node++)
	{
		if (node % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (hnsw_build_row(builder, node)->duplicate)
			continue;
		order[n] = node;
		position[node] = n++;
	}
	return n;
}

/* The first row in the chain of a node, or UINT32_MAX. */
static inline uint32
first_same(const HnswBuilder *builder, uint32 node)
{
	return pg_atomic_read_u32(&hnsw_build_row(builder, node)->same) - 1;
}

/* How many rows beside its own a node has. */
static uint32
count_same(const HnswBuilder *builder, uint32 node)
{
	uint32		n = 0;

	for (node = first_same(builder, node); node != PG_UINT32_MAX; node = first_same(builder, node))
		n++;
	return n;
}

/*
 * Give the chains their chunks; returns how many.  The number of the first
 * chunk is kept as the position of the chain's first row, which has none
 * itself.
 */
static uint32
plan_chunks(HnswBuilder *builder)
{
	const uint32 *order = hnsw_build_order(builder);
	uint32	   *position = hnsw_build_position(builder);
	uint32		nchunks = 0;

	for (uint32 i = 0; i < builder->shared->nodes; i++)
	{
		uint32		first = first_same(builder, order[i]);
		uint32		n = count_same(builder, order[i]);

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (n == 0)
			continue;
		position[first] = nchunks;
		nchunks += (n + HNSW_CHUNK_TIDS - 1) / HNSW_CHUNK_TIDS;
	}
	return nchunks;
}

typedef struct Longest
{
	float		augmented;
	uint32		node;
} Longest;

static int
longest_cmp(const void *pa, const void *pb)
{
	const Longest *a = pa;
	const Longest *b = pb;

	if (a->augmented != b->augmented)
		return a->augmented < b->augmented ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

/*
 * The longest vectors are the answer to most inner products, but where they are
 * much longer than all others they lie alone, with few links to them: make k of
 * them entries.  The longer a vector, the less it was augmented, and that
 * coordinate is the product with its axis, rotated.  Returns how many are new.
 */
static uint32
choose_longest(HnswBuilder *builder, uint32 k)
{
	const HnswBuildShared *shared = builder->shared;
	const HnswIndex *hnsw = builder->hnsw;
	const uint32 *order = hnsw_build_order(builder);
	float	   *axis = palloc0(sizeof(float) * hnsw->index_dims);
	float	   *rotated = palloc(sizeof(float) * hnsw->meta.padded);
	Longest    *longest = palloc(sizeof(Longest) * 2 * k);
	uint32		kept = 0;
	uint32		n = 0;

	axis[hnsw->index_dims - 1] = 1;
	rotate(&hnsw->rotation, axis, rotated);
	for (uint32 i = 0; i < shared->nodes; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		longest[kept].node = order[i];
		longest[kept].augmented = kernel->ip_half(rotated, hnsw_build_half(builder, order[i]),
												  hnsw_build_row(builder, order[i])->scale,
												  hnsw->meta.padded);
		if (++kept == 2 * k)
		{
			qsort(longest, kept, sizeof(Longest), longest_cmp);
			kept = k;
		}
	}
	qsort(longest, kept, sizeof(Longest), longest_cmp);
	for (uint32 i = 0; i < Min(kept, k); i++)
	{
		HnswBuildRow *row = hnsw_build_row(builder, longest[i].node);

		n += !row->entry;
		row->entry = true;
	}
	pfree(axis);
	pfree(rotated);
	pfree(longest);
	return n;
}

/*
 * Mark the nodes of the entry table: all roots, and one of each of so many
 * equal parts of all nodes; for inner product also half as many of the longest.
 * And the crowds: nodes with half as many rows as come upon an entry, so no more than
 * twice as many.  Hundreds of equal rows are often unlike all others (a licence, an
 * empty form), so that few links lead there, and queries like them are as many.
 * Returns how many.
 */
static uint32
choose_entries(HnswBuilder *builder)
{
	const HnswBuildShared *shared = builder->shared;
	const void *graph = hnsw_build_graph(builder);
	const uint32 *order = hnsw_build_order(builder);
	uint64		random = ENTRY_SEED;
	uint64		wanted = hnsw_entry_target(shared->nodes + shared->spooled, &shared->meta);
	uint32		crowd;
	uint32		n = 0;

	wanted = Min(wanted, shared->nodes);
	crowd = Max(graph_build_count(graph) / Max(wanted, 1) / 2, 1);
	for (uint32 i = 0; i < shared->nodes; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		n += hnsw_build_row(builder, order[i])->entry =
			graph_build_is_root(graph, order[i]) || count_same(builder, order[i]) >= crowd;
	}
	for (uint64 i = 0; i < wanted; i++)
	{
		uint64		first = shared->nodes * i / wanted;
		uint64		end = shared->nodes * (i + 1) / wanted;
		HnswBuildRow *row = hnsw_build_row(builder, order[first + random_below(&random, end - first)]);

		n += !row->entry;
		row->entry = true;
	}
	if (shared->meta.metric == METRIC_IP && wanted > 1)
		n += choose_longest(builder, wanted / 2);
	return n;
}

static inline uint64
divide_up(uint64 n, uint64 by)
{
	return (n + by - 1) / by;
}

/* Write a page of the index. */
static void
write_page(HnswBuilder *builder, BlockNumber blkno, Page page)
{
	page_overwrite(builder->index, MAIN_FORKNUM, blkno, (char *) page);
}

static Page
begin_page(const HnswBuilder *builder, uint8 kind, PGAlignedBlock *image)
{
	memset(image->data, 0, BLCKSZ);
	hnsw_page_init((Page) image->data, kind, &builder->shared->meta);
	return (Page) image->data;
}

static void
write_mean(HnswBuilder *builder)
{
	const float *mean = hnsw_area(builder, builder->shared->area.mean);
	PGAlignedBlock image;

	for (int i = 0; i < builder->shared->meta.mean_pages; i++)
	{
		int			first = i * HNSW_MEAN_FLOATS;
		int			n = Min(builder->hnsw->index_dims - first, HNSW_MEAN_FLOATS);
		Page		page = begin_page(builder, HNSW_PAGE_MEAN, &image);

		memcpy(HnswPageContent(page), mean + first, sizeof(float) * n);
		HnswPageSetUsed(page, sizeof(float) * n);
		write_page(builder, HNSW_MEAN_BLOCK + i, page);
	}
}

/*
 * The leader decides where everything will be, and makes the file as long as
 * it will be.
 */
void
hnsw_build_plan(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	HnswMetaPageData *meta = &shared->meta;
	HnswBlocks *blocks = &shared->blocks;
	uint64		end = HNSW_META_BLOCK + 1 + meta->mean_pages;

	shared->nodes = choose_order(builder);
	blocks->nchunks = plan_chunks(builder);
	blocks->nentries = choose_entries(builder);

	blocks->nodes = end;
	end += divide_up(shared->nodes, meta->nodes_per_page);
	blocks->conts = end;
	end += (uint64) shared->nodes * meta->cont_pages;
	blocks->entries = end;
	end += Max(divide_up(blocks->nentries, meta->entries_per_page), 1);
	blocks->tids = end;
	end += divide_up(blocks->nchunks, HNSW_CHUNKS_PER_PAGE);
	blocks->end = end;
	if (end > MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" would have more than %u pages",
						RelationGetRelationName(builder->index), MaxBlockNumber)));

	meta->entry_head = blocks->entries;
	/* the last page of TIDs, if it is not full */
	meta->tids_room = blocks->nchunks % HNSW_CHUNKS_PER_PAGE != 0 ? blocks->end - 1 : InvalidBlockNumber;
	page_extend(builder->index, MAIN_FORKNUM, end);
}

/* ---- nodes ---- */

/* What one participant needs to fill nodes. */
typedef struct NodeWriter
{
	HnswBuilder *builder;
	float	   *own;			/* padded floats */
	float	   *other;
	uint32		neighbours[HNSW_MAX_SLOTS];
	bool		is_protected[HNSW_MAX_SLOTS];
	PGAlignedBlock page;
	PGAlignedBlock cont;
} NodeWriter;

static void
unpack(const HnswBuilder *builder, uint32 node, float *x)
{
	kernel->half_unpack(hnsw_build_half(builder, node), hnsw_build_row(builder, node)->scale,
						builder->shared->meta.padded, x);
}

/* Where the chunk with this number is. */
static void
chunk_place(const HnswBlocks *blocks, uint32 chunk, BlockNumber *block, OffsetNumber *offset)
{
	*block = blocks->tids + chunk / HNSW_CHUNKS_PER_PAGE;
	*offset = chunk % HNSW_CHUNKS_PER_PAGE + 1;
}

/* The own vector of a node whose page has no room for it. */
static void
write_cont(NodeWriter *writer, uint32 position, uint32 node)
{
	HnswBuilder *builder = writer->builder;
	const HnswMetaPageData *meta = &builder->shared->meta;
	const uint16 *half = hnsw_build_half(builder, node);
	HnswNodeId	id = hnsw_build_node_id(builder, node);
	BlockNumber blkno = builder->shared->blocks.conts + position * meta->cont_pages;

	for (int i = 0; i < meta->cont_pages; i++)
	{
		int			first = i * HNSW_CONT_HALVES;
		int			n = Min((int) meta->padded - first, HNSW_CONT_HALVES);
		Page		page = begin_page(builder, HNSW_PAGE_CONT, &writer->cont);
		HnswPageOpaque opaque = HnswPageGetOpaque(page);

		opaque->next = i + 1 < meta->cont_pages ? blkno + i + 1 : InvalidBlockNumber;
		opaque->owner_block = HnswNodeIdBlock(id);
		opaque->owner_offset = HnswNodeIdOffset(id);
		memcpy(HnswPageContent(page), half + first, sizeof(uint16) * n);
		HnswPageSetUsed(page, sizeof(uint16) * n);
		write_page(builder, blkno + i, page);
	}
}

/* A node, at its place of the page in writer->page. */
static void
fill_node(NodeWriter *writer, uint32 position, HnswNode to)
{
	HnswBuilder *builder = writer->builder;
	const HnswBuildShared *shared = builder->shared;
	const HnswMetaPageData *meta = &shared->meta;
	const void *graph = hnsw_build_graph(builder);
	uint32		node = hnsw_build_order(builder)[position];
	const HnswBuildRow *row = hnsw_build_row(builder, node);
	Size		code_size = hnsw_code_size(meta);
	uint32		same = first_same(builder, node);
	HnswLink   *links = HnswNodeLinks(meta, to);

	to->tid = row->tid;
	to->flags = HNSW_NODE_LIVE | (row->entry ? HNSW_NODE_ENTRY : 0);
	to->rank = graph_build_rank(graph, node);
	to->scale = row->scale;
	to->error = row->error;
	to->norm = row->norm;
	to->chunk_block = InvalidBlockNumber;
	to->cont = InvalidBlockNumber;
	if (same != PG_UINT32_MAX)
		chunk_place(&shared->blocks, hnsw_build_position(builder)[same],
					&to->chunk_block, &to->chunk_offset);
	/* rows may differ before they are rounded to the same vector */
	for (; same != PG_UINT32_MAX; same = first_same(builder, same))
		to->error = Max(to->error, hnsw_build_row(builder, same)->error);

	if (meta->cont_pages > 0)
	{
		to->cont = shared->blocks.conts + position * meta->cont_pages;
		write_cont(writer, position, node);
	}
	else
		memcpy(to->own, hnsw_build_half(builder, node), sizeof(uint16) * meta->padded);

	to->neighbours = graph_build_neighbours(graph, node, writer->neighbours,
											writer->is_protected);
	Assert(to->neighbours <= meta->slots);
	unpack(builder, node, writer->own);
	for (int i = 0; i < to->neighbours; i++)
	{
		HnswLinkSet(&links[i], hnsw_build_node_id(builder, writer->neighbours[i]),
					writer->is_protected[i]);
		if (meta->bits == 0)
			continue;
		unpack(builder, writer->neighbours[i], writer->other);
		rabitq_encode(writer->other, writer->own, builder->hnsw->mean_rotated,
					  meta->padded, meta->code_dims, meta->bits, builder->hnsw->form,
					  HnswNodeCodes(meta, to) + i * code_size,
					  &HnswNodeFactors(meta, to)[i]);
	}
}

static void
write_node_page(NodeWriter *writer, uint32 number)
{
	HnswBuilder *builder = writer->builder;
	const HnswBuildShared *shared = builder->shared;
	const HnswMetaPageData *meta = &shared->meta;
	uint32		first = number * meta->nodes_per_page;
	Page		page = begin_page(builder, HNSW_PAGE_NODE, &writer->page);

	for (int i = 0; i < meta->nodes_per_page && first + i < shared->nodes; i++)
	{
		fill_node(writer, first + i, HnswPageGetNode(meta, page, i + 1));
		HnswPageCoverNode(meta, page, i + 1);
	}
	write_page(builder, shared->blocks.nodes + number, page);
}

/* ---- entry table, heap TIDs ---- */

static void
write_entries(NodeWriter *writer)
{
	HnswBuilder *builder = writer->builder;
	const HnswBuildShared *shared = builder->shared;
	const HnswMetaPageData *meta = &shared->meta;
	const uint32 *order = hnsw_build_order(builder);
	Size		code_size = hnsw_code_size(meta);
	BlockNumber blkno = shared->blocks.entries;
	uint32		at = 0;
	Page		page = begin_page(builder, HNSW_PAGE_ENTRY, &writer->page);

	/* codes are relative to the mean, and everything here is centred */
	memset(writer->own, 0, sizeof(float) * meta->padded);
	for (uint32 i = 0; i < shared->nodes; i++)
	{
		if (!hnsw_build_row(builder, order[i])->entry)
			continue;
		if (at == meta->entries_per_page)
		{
			HnswPageGetOpaque(page)->next = blkno + 1;
			write_page(builder, blkno++, page);
			CHECK_FOR_INTERRUPTS();
			page = begin_page(builder, HNSW_PAGE_ENTRY, &writer->page);
			at = 0;
		}
		HnswLinkSet(&HnswPageEntryLinks(meta, page)[at], hnsw_build_node_id(builder, order[i]),
					false);
		if (meta->bits > 0)
		{
			unpack(builder, order[i], writer->other);
			rabitq_encode(writer->other, writer->own, builder->hnsw->mean_rotated,
						  meta->padded, meta->code_dims, meta->bits, builder->hnsw->form,
						  HnswPageEntryCodes(meta, page) + at * code_size,
						  &HnswPageEntryFactors(meta, page)[at]);
		}
		HnswPageEntryCount(page) = ++at;
	}
	write_page(builder, blkno, page);
	Assert(blkno + 1 == shared->blocks.tids);
}

static void
write_tids(NodeWriter *writer)
{
	HnswBuilder *builder = writer->builder;
	const HnswBlocks *blocks = &builder->shared->blocks;
	const uint32 *order = hnsw_build_order(builder);
	uint32		chunk = 0;
	Page		page = NULL;
	BlockNumber block = InvalidBlockNumber;
	OffsetNumber offset = 0;

	for (uint32 i = 0; i < builder->shared->nodes; i++)
	{
		HnswNodeId	id = hnsw_build_node_id(builder, order[i]);
		uint32		same = first_same(builder, order[i]);

		while (same != PG_UINT32_MAX)
		{
			HnswChunk	to;

			chunk_place(blocks, chunk++, &block, &offset);
			if (offset == 1)
			{
				if (page)
					write_page(builder, block - 1, page);
				CHECK_FOR_INTERRUPTS();
				page = begin_page(builder, HNSW_PAGE_TIDS, &writer->page);
			}
			to = HnswPageGetChunk(page, offset);
			to->owner_block = HnswNodeIdBlock(id);
			to->owner_offset = HnswNodeIdOffset(id);
			for (; same != PG_UINT32_MAX && to->count < HNSW_CHUNK_TIDS;
				 same = first_same(builder, same))
				to->tids[to->count++] = hnsw_build_row(builder, same)->tid;
			to->next_block = InvalidBlockNumber;
			if (same != PG_UINT32_MAX)
				chunk_place(blocks, chunk, &to->next_block, &to->next_offset);
		}
	}
	if (page)
		write_page(builder, block, page);
	Assert(chunk == blocks->nchunks);
}

/* Fill the pages: all participants together; those that are few, the leader. */
void
hnsw_build_write(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	NodeWriter *writer = palloc(sizeof(NodeWriter));
	uint32		npages = shared->blocks.conts - shared->blocks.nodes;

	hnsw_build_phase(builder, HNSW_PHASE_WRITE, shared->nodes);
	writer->builder = builder;
	writer->own = palloc(sizeof(float) * shared->meta.padded);
	writer->other = palloc(sizeof(float) * shared->meta.padded);
	for (;;)
	{
		uint32		number = pg_atomic_fetch_add_u32(&shared->next_page, WRITE_PAGES);
		uint32		end = Min(number + WRITE_PAGES, npages);

		if (number >= npages)
			break;
		for (; number < end; number++)
		{
			CHECK_FOR_INTERRUPTS();
			write_node_page(writer, number);
		}
		hnsw_build_progress(builder, (double) end * shared->meta.nodes_per_page);
	}
	if (builder->number == 0)
	{
		write_mean(builder);
		write_entries(writer);
		write_tids(writer);
	}
	pfree(writer->own);
	pfree(writer->other);
	pfree(writer);
}

/* The metapage, last of all pages; the targets follow. */
void
hnsw_build_write_meta(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	HnswMetaPageData *meta = &shared->meta;
	PGAlignedBlock image;
	Page		page = begin_page(builder, HNSW_PAGE_META, &image);

	meta->nodes = shared->nodes + (uint64) shared->spooled;
	meta->rows = pg_atomic_read_u64(&shared->loaded);
	memcpy(HnswPageGetMeta(page), meta, sizeof(*meta));
	write_page(builder, HNSW_META_BLOCK, page);
}

/* What was measured goes to the metapage, which inserts have changed since; hnswbuild() logs it. */
void
hnsw_build_write_targets(HnswBuilder *builder)
{
	const HnswMetaPageData *measured = &builder->shared->meta;
	Buffer		buf = hnsw_read(builder->index, HNSW_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_META);
	HnswMetaPageData meta = *HnswPageGetMeta(BufferGetPage(buf));

	meta.num_targets = measured->num_targets;
	memcpy(meta.targets, measured->targets, sizeof(meta.targets));
	hnsw_meta_write(builder->index, buf, &meta, true);
	page_release(buf);
}
