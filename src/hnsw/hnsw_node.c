/*-------------------------------------------------------------------------
 *
 * hnsw_node.c
 *	  Gives a search of graph/ its nodes from index pages, and a place to
 *	  start from.
 *
 * A visit pins one page, by the hint of where the block was last (am/page.c),
 * takes all it needs from the node under a share lock, and lets go.  While it
 * works, it prefetches the node that will be visited next, in portions: a node
 * is some 40 cache lines, more than a core can wait for at once.
 *
 * Nothing is remembered between two visits but node numbers.  Vacuum may have
 * freed a node meanwhile, and an insert used its place again: then the visit
 * finds nothing, or a node that is as good as any other to hop to, since its
 * distance and its heap TIDs are read together under the lock.
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
 * Entries that a search starts from: the nearest; of a small table all, since a few rows
 * that a VACUUM has left may form islands, and no estimate tells which entry leads to one.
 */
#define STARTS				8
#define ALL_STARTS			64

/*
 * Memory that searches need, some 100 kB: kept from one scan to the next, since
 * malloc would give it back to the kernel and fetch it anew, page by page.
 */
typedef struct HnswScratch
{
	MemoryContext context;		/* of all of it */
	GraphMemory memory;
	GraphSearch *search;
	HnswVisit  *visits;
	uint32		max_visits;
} HnswScratch;

/* What the next reader of this backend takes, or NULL. */
static HnswScratch *spare = NULL;

/* More than that is not worth keeping. */
#define SPARE_BYTES_MAX		(1024 * 1024)

/* Where a node will be, or NULL: to prefetch from. */
static inline const char *
guess_node(HnswReader *reader, HnswNodeId id)
{
	const char *page;

	if (id == 0)
		return NULL;
	page = page_guess(reader->index, HnswNodeIdBlock(id));
	if (page == NULL)
		return NULL;
	return page + SizeOfPageHeaderData +
		(HnswNodeIdOffset(id) - 1) * (Size) reader->hnsw->meta.node_size;
}

/* Prefetch lines [from, to) bytes of a node. */
static inline __attribute__((always_inline)) void
prefetch_part(const char *node, Size from, Size to)
{
	if (node == NULL)
		return;
	for (Size at = from; at < to; at += 64)
		__builtin_prefetch(node + at, 0, 3);
}

static void
grow_visits(HnswReader *reader)
{
	HnswScratch *scratch = reader->scratch;
	uint32		wanted = Max(reader->nvisits * 2, 256);

	if (wanted > scratch->max_visits)
	{
		scratch->visits = scratch->visits ?
			repalloc_huge(scratch->visits, sizeof(HnswVisit) * wanted) :
			MemoryContextAllocHuge(scratch->context, sizeof(HnswVisit) * wanted);
		scratch->max_visits = wanted;
	}
	reader->max_visits = scratch->max_visits;
	if (reader->keep_own)
	{
		Size		bytes = mul_size(sizeof(uint16) * reader->hnsw->meta.padded, wanted);

		/* vectors take far more room than what the scratch kept for its visits */
		reader->own = reader->own ? repalloc_huge(reader->own, bytes) :
			MemoryContextAllocHuge(reader->context, bytes);
		reader->max_visits = wanted;
	}
	reader->visits = scratch->visits;
}

static inline HnswVisit *
new_visit(HnswReader *reader, HnswNodeId id)
{
	HnswVisit  *visit;

	if (unlikely(reader->nvisits == reader->max_visits))
		grow_visits(reader);
	visit = &reader->visits[reader->nvisits++];
	visit->node = id;
	visit->flags = 0;
	visit->out = false;
	visit->distance = INFINITY;
	return visit;
}

/*
 * Without codes: the distances of the neighbours that the search does not know,
 * a page each.  Returns how many are left.
 */
static int
visit_neighbours(HnswReader *reader, int n, uint64 *neighbours, float *estimates)
{
	const HnswIndex *hnsw = reader->hnsw;
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		HnswNodeId	id = neighbours[i];
		Buffer		buf;
		HnswNode	node;
		BlockNumber cont;
		float		scale;

		if (graph_search_knows(reader->search, id))
			continue;
		buf = page_read(reader->index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
		node = hnsw_node_at(hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
		if (node == NULL)
		{
			page_release(buf);
			continue;
		}
		if (hnsw->meta.cont_pages == 0)
		{
			estimates[kept] = hnsw_distance(reader->query, node->own, node->scale);
			page_release(buf);
		}
		else
		{
			cont = node->cont;
			scale = node->scale;
			page_release(buf);
			hnsw_read_own(reader->index, hnsw, id, cont, reader->half_scratch);
			estimates[kept] = hnsw_distance(reader->query, reader->half_scratch, scale);
		}
		neighbours[kept++] = id;
	}
	return kept;
}

static int
visit_node(void *arg, uint64_t id, uint64_t next, float *distance,
		   uint64_t *neighbours, float *estimates)
{
	HnswReader *reader = (HnswReader *) arg;
	const HnswIndex *hnsw = reader->hnsw;
	const HnswMetaPageData *meta = &hnsw->meta;
	HnswVisit  *visit = new_visit(reader, id);
	const char *ahead = guess_node(reader, next);
	Size		codes_at = meta->node_size - meta->slots * hnsw_code_size(meta);
	Buffer		buf;
	HnswNode	node;
	HnswLink   *links;
	const uint16 *own;
	float		d;
	int			n = 0;

	buf = page_read(reader->index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
	node = hnsw_node_at(hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
	if (unlikely(node == NULL))
	{
		page_release(buf);
		return -1;
	}
	if (unlikely(reader->visit_limit > 0 && reader->nvisits >= reader->visit_limit))
		graph_search_stop(reader->search);
	prefetch_part(ahead, 0, codes_at / 2);

	visit->tid = node->tid;
	visit->chunk_block = node->chunk_block;
	visit->chunk_offset = node->chunk_offset;
	visit->rank = node->rank;
	visit->flags = node->flags;
	visit->scale = node->scale;
	visit->error = node->error;
	visit->norm = node->norm;

	own = node->own;
	if (meta->cont_pages > 0)
	{
		memcpy(reader->node_scratch, node, meta->node_size);
		page_release(buf);
		buf = InvalidBuffer;
		node = (HnswNode) reader->node_scratch;
		hnsw_read_own(reader->index, hnsw, id, node->cont, reader->half_scratch);
		own = reader->half_scratch;
	}
	d = hnsw_distance(reader->query, own, node->scale);
	visit->distance = d;
	if (reader->keep_own)
		memcpy(reader->own + (Size) (reader->nvisits - 1) * meta->padded, own,
			   meta->padded * sizeof(uint16));
	*distance = (node->flags & HNSW_NODE_LIVE) ? d : INFINITY;
	prefetch_part(ahead, codes_at / 2, codes_at);

	links = HnswNodeLinks(meta, node);
	for (int i = 0; i < node->neighbours; i++)
		neighbours[n++] = HnswLinkNode(&links[i]);
	if (meta->bits > 0)
	{
		rabitq_estimate(&reader->query->codes, d, HnswNodeCodes(meta, node),
						HnswNodeFactors(meta, node), n, estimates);
		prefetch_part(ahead, codes_at, meta->node_size);
	}
	if (buf != InvalidBuffer)
		page_release(buf);
	if (meta->bits == 0)
		n = visit_neighbours(reader, n, neighbours, estimates);
	return n;
}

static void
interrupt(void *arg)
{
	CHECK_FOR_INTERRUPTS();
}

static void *
search_alloc(void *arg, size_t bytes)
{
	return MemoryContextAllocHuge((MemoryContext) arg, bytes);
}

static void
search_release(void *arg, void *mem)
{
	pfree(mem);
}

/* The reader's memory context goes, at its end or after an error. */
static void
give_back(void *arg)
{
	HnswScratch *scratch = (HnswScratch *) arg;

	if (spare == NULL && MemoryContextMemAllocated(scratch->context, false) <= SPARE_BYTES_MAX)
		spare = scratch;
	else
		MemoryContextDelete(scratch->context);
}

static HnswScratch *
take_scratch(const GraphReader *graph, Size max_bytes)
{
	HnswScratch *scratch = spare;
	MemoryContext context;

	/* with most of its memory in other places than it wants it, a search would soon be at its end */
	if (scratch && MemoryContextMemAllocated(scratch->context, false) > max_bytes / 2)
	{
		spare = NULL;
		MemoryContextDelete(scratch->context);
		scratch = NULL;
	}
	if (scratch)
	{
		spare = NULL;
		graph_search_adopt(scratch->search, graph, max_bytes);
		return scratch;
	}
	context = AllocSetContextCreate(CacheMemoryContext, "hnsw search", ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		scratch = MemoryContextAllocZero(context, sizeof(HnswScratch));
		scratch->context = context;
		scratch->memory.alloc = search_alloc;
		scratch->memory.release = search_release;
		scratch->memory.arg = context;
		scratch->search = graph_search_create(&scratch->memory, graph, max_bytes);
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return scratch;
}

/*
 * Set up a reader that lives as long as the current memory context.  max_bytes:
 * for the search.  keep_own: keep the own vector of each visit.
 */
void
hnsw_reader_init(HnswReader *reader, Relation index, const HnswIndex *hnsw,
				 HnswQuery *query, Size max_bytes, bool keep_own)
{
	GraphReader graph = {visit_node, interrupt, reader, hnsw->meta.bits == 0};
	MemoryContextCallback *at_end = palloc(sizeof(MemoryContextCallback));

	memset(reader, 0, sizeof(*reader));
	reader->index = index;
	reader->hnsw = hnsw;
	reader->query = query;
	reader->context = CurrentMemoryContext;
	reader->keep_own = keep_own;
	if (hnsw->meta.cont_pages > 0)
	{
		reader->half_scratch = palloc(sizeof(uint16) * hnsw->meta.padded);
		reader->node_scratch = palloc(hnsw->meta.node_size);
	}
	reader->scratch = take_scratch(&graph, max_bytes);
	reader->search = reader->scratch->search;
	at_end->func = give_back;
	at_end->arg = reader->scratch;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, at_end);
}

typedef struct Starts
{
	uint32		entries;		/* seen */
	int			n;
	HnswNodeId	nodes[ALL_STARTS];
	float		estimates[ALL_STARTS];
} Starts;

/* Keep ALL_STARTS at first, then the nearest STARTS, in order. */
static inline void
keep_start(Starts *starts, HnswNodeId node, float estimate)
{
	int			at;

	starts->entries++;
	if (starts->entries > ALL_STARTS)
	{
		starts->n = Min(starts->n, STARTS);
		if (!(estimate < starts->estimates[STARTS - 1]))
			return;
		starts->n--;
	}
	for (at = starts->n; at > 0 && estimate < starts->estimates[at - 1]; at--)
	{
		starts->nodes[at] = starts->nodes[at - 1];
		starts->estimates[at] = starts->estimates[at - 1];
	}
	starts->nodes[at] = node;
	starts->estimates[at] = estimate;
	starts->n++;
}

/* Begin a search for reader->query: rank the entry table, start from the best. */
void
hnsw_reader_start(HnswReader *reader, const GraphEffort *effort)
{
	const HnswMetaPageData *meta = &reader->hnsw->meta;
	BlockNumber blkno = meta->entry_head;
	BlockNumber pages = 0;
	Starts		starts;
	HnswNodeId *nodes = palloc(sizeof(HnswNodeId) * meta->entries_per_page);
	float	   *estimates = palloc(sizeof(float) * meta->entries_per_page);
	float		base = 0;

	starts.entries = 0;
	starts.n = 0;
	reader->nvisits = 0;
	graph_search_begin(reader->search, effort);

	/* the owner of the entries' codes is the mean, which is zero when centred */
	if (meta->bits > 0)
		base = reader->hnsw->metric == METRIC_IP ? reader->query->base :
			kernel->normsq(reader->query->x, meta->padded);

	while (blkno != InvalidBlockNumber)
	{
		Buffer		buf = hnsw_read(reader->index, blkno, BUFFER_LOCK_SHARE, HNSW_PAGE_ENTRY);
		Page		page = BufferGetPage(buf);
		uint32		n = hnsw_entry_count(reader->index, meta, blkno, page);
		HnswLink   *links = HnswPageEntryLinks(meta, page);

		if (meta->bits > 0)
		{
			rabitq_estimate(&reader->query->codes, base, HnswPageEntryCodes(meta, page),
							HnswPageEntryFactors(meta, page), n, estimates);
			for (uint32 i = 0; i < n; i++)
				keep_start(&starts, HnswLinkNode(&links[i]), estimates[i]);
		}
		else
			for (uint32 i = 0; i < n; i++)
				nodes[i] = HnswLinkNode(&links[i]);
		blkno = HnswPageGetOpaque(page)->next;
		page_release(buf);

		if (++pages % 1024 == 0 && pages > RelationGetNumberOfBlocks(reader->index))
			page_corrupted(reader->index, meta->entry_head, "The entry table goes round in circles.");
		if (meta->bits == 0)
		{
			n = visit_neighbours(reader, n, nodes, estimates);
			for (uint32 i = 0; i < n; i++)
				keep_start(&starts, nodes[i], estimates[i]);
		}
		CHECK_FOR_INTERRUPTS();
	}
	for (int i = 0; i < starts.n; i++)
		graph_search_start(reader->search, starts.nodes[i], starts.estimates[i]);
	pfree(nodes);
	pfree(estimates);
}
