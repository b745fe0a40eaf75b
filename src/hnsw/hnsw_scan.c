/*-------------------------------------------------------------------------
 *
 * hnsw_scan.c
 *	  hnswbeginscan, rescan, gettuple, endscan.
 *
 * A scan is a stream: it never learns how many rows will be asked for.  The
 * graph search (graph/search.h) gives nodes, nearest first, and goes on as long
 * as it is asked.  When it has visited a quarter of the nodes, or its memory is
 * used up, the rest of the index is read in one sequential pass and sorted,
 * which is cheaper than hopping on: so every row is met if the executor keeps
 * asking, and in relaxed_order handed out.
 *
 * The index knows vectors in half precision, so it has bounds of each row's distance.
 * Most rows are farther from their neighbours in the order than any rounding: then
 * the row's place is certain.  That is so where its lower bound is no less than the upper one of
 * all before it, and its upper bound no more than the lower one of what comes next.  A row in
 * doubt gets its distance from the table, and waits until that is no more than the lower bound of
 * the row that the graph gave last (am/exact.h).  So these bounds must never fall: the one that
 * counts is computed with the largest rounding error seen so far, and a row whose own bound lies below
 * it came too late.  strict_order drops and counts it (DEBUG1); relaxed_order hands it out.  What turns
 * up later below the upper bound of a row whose place was certain came too late, too.
 *
 * A row beyond the search's radius (graph_search_radius(): the eleventh and twelfth, which
 * are asked for to know that the tenth is in its place, may be) counts with the
 * bound of the radius.  It waits until rows come that have a greater one, so
 * that what the search finds between the two, when it goes on, is not too late.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "am/exact.h"
#include "am/heap.h"
#include "am/pool.h"
#include "compat.h"
#include "guc.h"
#include "hnsw/hnsw_private.h"

/* the last pass begins when this part of the nodes is visited, ... */
#define FINISH_SHARE		4
/* ... but no sooner than that: the first visits are what the search is for */
#define FINISH_MIN			1000
/* strict order gathers so many times what it hands out, beyond the first ones */
#define LOOK_AHEAD			4
/* rows beyond LIMIT that the graph is asked for to know the order of the others */
#define ORDER_AHEAD			2
/* off is pgvector's: no more rows than that where nobody set ef_search */
#define EF_OFF				40
/* bytes that a search of some hundred visits needs */
#define SCAN_BYTES_MIN		(256 * 1024.0)
/*
 * The bound handed out allows for so much greater rounding errors than any seen
 * before: else a row with a greater one, hardly farther than the last, would have
 * a lower bound and count as late.
 */
#define ERROR_MARGIN		1.5f

typedef struct HnswScanState
{
	MemoryContext context;		/* of all below; lives as long as the scan */
	bool		started;

	/* from here on set when the first row is asked for */
	HnswIndex  *hnsw;			/* a copy of the relation's, which may go */
	HnswReader	reader;
	HnswQuery	query;
	bool		has_query;		/* false: ORDER BY NULL, or by a distance that all
								 * rows share: any order will do */
	int			iterative_scan; /* IterativeScan */
	uint32		max_visits;		/* settings */
	uint32		finish_visits;	/* the last pass begins */
	Size		max_bytes;
	uint32		limit;			/* nodes to hand out at most, or 0 */
	uint32		nodes_out;

	/* strict order beyond the first ones: see search_node() */
	uint32		ef;
	uint32		first;			/* nodes that go out before that */
	CandidatePool *ahead;		/* visits: a TID's block is the ordinal */
	uint64		gathered;

	/* the last pass */
	bool		finishing;
	CandidatePool *rest;		/* nodes: a TID is where the node lies */

	/* the node at hand */
	HnswTids	tids;
	uint32		next_tid;

	/* rows whose place in the order is in doubt, by their exact distances */
	ExactRows  *exact_rows;
	bool		ended;			/* these are all that is left */

	double		bound;			/* the greatest handed out; no less than what certain
								 * rows may be */
	double		high;			/* no distance of a node handed out is more */
	double		row_bound;		/* of the node at hand */
	bool		row_certain;	/* its place in the order is */
	bool		beyond;			/* a row beyond the radius went out: from then on no
								 * row's place is certain */
	float		max_error;		/* of the nodes so far */
	float		max_norm;
	uint64		dropped;
} HnswScanState;

/* Late rows of all finished scans of this session, for vecdb_index_stats(). */
uint64		hnsw_session_dropped = 0;

IndexScanDesc
hnswbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "hnsw scan",
												  ALLOCSET_DEFAULT_SIZES);
	HnswScanState *state = MemoryContextAllocZero(context, sizeof(HnswScanState));
	MemoryContext old = MemoryContextSwitchTo(context);

	state->context = context;
	state->exact_rows = exact_create((Size) work_mem * 1024);
	MemoryContextSwitchTo(old);
	scan->opaque = state;
	scan->xs_orderbyvals = palloc0(sizeof(Datum) * Max(norderbys, 1));
	scan->xs_orderbynulls = palloc(sizeof(bool) * Max(norderbys, 1));
	memset(scan->xs_orderbynulls, true, sizeof(bool) * Max(norderbys, 1));
	return scan;
}

/* Say, and count, what strict order cost; the scan is over. */
static void
report_dropped(HnswScanState *state)
{
	if (!state->started || state->dropped == 0)
		return;
	hnsw_session_dropped += state->dropped;
	ereport(DEBUG1,
			(errmsg_internal("hnsw scan dropped " UINT64_FORMAT " rows found too late for strict_order",
							 state->dropped)));
	state->dropped = 0;
}

void
hnswrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
		   ScanKey orderbys, int norderbys)
{
	HnswScanState *state = (HnswScanState *) scan->opaque;

	report_dropped(state);
	state->started = false;
	if (state->rest)
		pool_free(state->rest);
	state->rest = NULL;
	if (state->ahead)
		pool_free(state->ahead);
	state->ahead = NULL;
	exact_reset(state->exact_rows);

	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
}

/* What the scan keeps from rescan to rescan: the index's description, buffers. */
static void
prepare(HnswScanState *state, Relation index)
{
	const HnswIndex *cached;

	if (state->hnsw)
		return;
	cached = hnsw_open(index);
	state->hnsw = palloc(hnsw_index_size(&cached->meta));
	hnsw_index_copy(state->hnsw, cached);
	hnsw_query_alloc(state->hnsw, &state->query);
	hnsw_reader_init(&state->reader, index, state->hnsw, &state->query, state->max_bytes, false);
}

/* One bit a place, for the nodes handed out. */
static void
mark(uint8 *bits, const HnswMetaPageData *meta, BlockNumber nblocks, HnswNodeId id)
{
	uint64		bit = (uint64) HnswNodeIdBlock(id) * meta->nodes_per_page + HnswNodeIdOffset(id) - 1;

	if (HnswNodeIdBlock(id) < nblocks)
		bits[bit / 8] |= 1 << (bit % 8);
}

/*
 * Read all nodes of the index that were not handed out into state->rest, in the
 * order of their bounds: so each is handed out with its own, however uncertain
 * the value of another one is.  Nodes that are added meanwhile hold no row that our
 * snapshot sees.
 */
static void
finish(IndexScanDesc scan, HnswScanState *state)
{
	Relation	index = scan->indexRelation;
	const HnswIndex *hnsw = state->hnsw;
	const HnswMetaPageData *meta = &hnsw->meta;
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	Size		bytes = (Size) nblocks * meta->nodes_per_page / 8 + 1;
	uint8	   *out = palloc_extended(bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	char	   *copy = palloc(BLCKSZ);
	uint16	   *half = palloc(sizeof(uint16) * meta->padded);

	for (uint32 i = 0; i < state->reader.nvisits; i++)
		if (state->reader.visits[i].out)
			mark(out, meta, nblocks, state->reader.visits[i].node);
	state->finishing = true;
	state->rest = pool_create(state->max_bytes);

	for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < nblocks; blkno++)
	{
		PageVerdict verdict;
		Buffer		buf;
		Page		page;

		CHECK_FOR_INTERRUPTS();
		buf = page_read_any(index, blkno, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE, strategy, &verdict);
		page = BufferGetPage(buf);
		if (verdict != PAGE_OK && verdict != PAGE_ZERO)
			page_verify(index, blkno, page, HNSW_SPECIAL_SIZE);
		if (verdict == PAGE_ZERO || HnswPageKind(page) != HNSW_PAGE_NODE)
		{
			page_release(buf);
			continue;
		}
		memcpy(copy, page, BLCKSZ);
		page_release(buf);

		for (int offset = 1; offset <= meta->nodes_per_page; offset++)
		{
			HnswNode	node = hnsw_node_at(hnsw, (Page) copy, offset);
			HnswNodeId	id = HnswNodeIdMake(blkno, offset);
			uint64		bit = (uint64) blkno * meta->nodes_per_page + offset - 1;
			const uint16 *own;
			ItemPointerData place;
			double		bound = -get_float8_infinity();

			if (node == NULL || (node->flags & HNSW_NODE_LIVE) == 0 ||
				(out[bit / 8] & (1 << (bit % 8))))
				continue;
			own = node->own;
			if (meta->cont_pages > 0)
			{
				hnsw_read_own(index, hnsw, id, node->cont, half);
				own = half;
			}
			if (state->has_query && isfinite(node->error))
				hnsw_bounds(&state->query, hnsw_distance(&state->query, own, node->scale),
							node->error, node->norm, &bound, NULL);
			ItemPointerSet(&place, blkno, offset);
			pool_add(state->rest, bound, &place);
		}
	}
	pool_end_batch(state->rest);
	FreeAccessStrategy(strategy);
	pfree(out);
	pfree(copy);
	pfree(half);
}

/* The first row is asked for: read the query and the settings, start. */
static void
start_scan(IndexScanDesc scan, HnswScanState *state)
{
	Relation	index = scan->indexRelation;
	MemoryContext old;
	HnswSearch	search;
	HnswMetaPageData meta;
	GraphEffort effort = {0};
	Datum		value;

	if (scan->numberOfOrderBys != 1)
		elog(ERROR, "cannot scan hnsw index without order");
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "non-MVCC snapshots are not supported with hnsw");

	count_index_search(scan);
	old = MemoryContextSwitchTo(state->context);
	hnsw_search_options(index, &search);
	state->max_bytes = (Size) Min(Max(work_mem * 1024.0 * search.scan_mem_multiplier, SCAN_BYTES_MIN),
									(double) MaxAllocHugeSize);
	prepare(state, index);
	hnsw_meta_read(index, &meta);

	value = scan->orderByData->sk_argument;
	state->has_query = (scan->orderByData->sk_flags & SK_ISNULL) == 0;
	if (state->has_query)
	{
		Vector	   *query = support_value(value, state->hnsw->meta.dims);

		state->has_query = hnsw_query_form(&state->query, query->x);
		if ((Pointer) query != DatumGetPointer(value))
			pfree(query);
	}
	else
	{
		float	   *zero = palloc0(sizeof(float) * state->hnsw->meta.dims);

		(void) hnsw_query_form(&state->query, zero);
		pfree(zero);
	}

	state->iterative_scan = search.iterative_scan;
	state->limit = 0;
	effort.ef = search.ef_search;
	if (state->iterative_scan == ITERATIVE_SCAN_OFF)
	{
		if (effort.ef == 0)
			effort.ef = EF_OFF;
		state->limit = effort.ef;
	}
	if (!state->has_query)
	{
		/* nothing is late, and equal distances would keep the adaptive search going */
		if (state->iterative_scan == ITERATIVE_SCAN_STRICT)
			state->iterative_scan = ITERATIVE_SCAN_RELAXED;
		if (effort.ef == 0)
			effort.ef = EF_OFF;
	}
	/* 0 where all came by inserts: the estimate of visits must not be cut off there */
	meta.nodes = Max(meta.nodes, FINISH_MIN);
	if (effort.ef == 0)
	{
		double		visits;

		effort.gamma = hnsw_gamma_for(&meta, search.target_recall, &visits);

		/*
		 * Without a radius (an index born empty) the distance of an inner
		 * product lacks |x|^2, so it has no zero that gamma could be a
		 * multiple from: where it is negative the search would stop before
		 * it has the nearest.  Twice the visits, since a fixed number serves
		 * hard queries no better than easy ones.
		 */
		if (state->hnsw->metric == METRIC_IP && meta.radius == 0 && !isinf(effort.gamma))
			effort.ef = 2 * (int) visits;
		effort.cap = HNSW_ADAPTIVE_CAP;
	}
	effort.hold_back = effort.ef > 0 ? state->hnsw->meta.bits > 0 :
		state->iterative_scan == ITERATIVE_SCAN_STRICT;
	state->max_visits = search.max_scan_tuples;
	state->finish_visits = (uint32) Min(Max(meta.nodes / FINISH_SHARE, FINISH_MIN), UINT32_MAX);
	state->finish_visits = Max(state->finish_visits, 4 * (uint32) Min(effort.ef, INT_MAX / 8));
	state->finishing = false;
	state->ef = effort.ef;
	/* what the search gives before ef doubles, or who asks for ten with ef = 10 */
	state->first = effort.hold_back ?
		Max(effort.ef / 3 + 4, Min(effort.ef, 10) + ORDER_AHEAD) :
		(uint32) effort.ef + ORDER_AHEAD;
	state->nodes_out = 0;
	state->tids.n = state->next_tid = 0;
	state->bound = state->high = -get_float8_infinity();
	state->max_error = state->max_norm = 0;
	state->beyond = false;
	state->ended = false;
	state->row_bound = -get_float8_infinity();
	hnsw_reader_start(&state->reader, &effort);
	/* asked for everything: one pass is the cheapest way there */
	if (isinf(effort.gamma))
		finish(scan, state);
	state->started = true;
	MemoryContextSwitchTo(old);
}

/*
 * The bound to hand out with a node of the last pass, whose own it is.  False: it
 * came too late for strict order.
 */
static bool
last_bound(HnswScanState *state, double own, double *bound)
{
	state->row_certain = false;
	*bound = own;
	return own >= state->bound || own == -get_float8_infinity() ||
		state->iterative_scan != ITERATIVE_SCAN_STRICT;
}

/* The lower bound of the node that the search has next; -Infinity where it is not known. */
static double
next_low(const HnswScanState *state)
{
	double		low = -get_float8_infinity();
	uint32_t	next;
	float		distance;

	if (state->ahead == NULL &&
		graph_search_peek(state->reader.search, &next, 1, &distance) > 0 &&
		isfinite(state->reader.visits[next].error))
		hnsw_bounds(&state->query, distance, state->reader.visits[next].error,
					state->reader.visits[next].norm, &low, NULL);
	return low;
}

/*
 * The bound to hand out with a node that the search found.  False: it came too
 * late for strict order.  Rows that share a node may differ in the last bits of their
 * distance, so only a row alone in its node has its place for certain.  Nothing beyond the
 * radius has.
 */
static bool
next_bound(HnswScanState *state, float distance, float error, float norm, bool alone, double *bound)
{
	float		radius = graph_search_radius(state->reader.search);
	double		own;
	double		high;

	*bound = -get_float8_infinity();
	state->row_certain = false;
	if (!state->has_query)
		return true;

	hnsw_bounds(&state->query, distance, error, norm, &own, &high);
	/* nothing can be said of it but by its value */
	if (isinf(error) || own == -get_float8_infinity())
	{
		state->high = get_float8_infinity();
		return true;
	}
	state->beyond |= distance > radius;
	if (alone && !state->beyond && own >= state->high && own >= state->bound && high <= next_low(state))
	{
		state->row_certain = true;
		state->high = high;
		*bound = own;
		return true;
	}
	state->max_error = Max(state->max_error, ERROR_MARGIN * error);
	state->max_norm = Max(state->max_norm, norm);
	hnsw_bounds(&state->query, Min(distance, radius), state->max_error, state->max_norm, bound, NULL);
	*bound = Max(*bound, state->bound);
	if (own < *bound)
	{
		if (state->iterative_scan == ITERATIVE_SCAN_STRICT)
			return false;
		*bound = own;
	}
	state->high = Max(state->high, high);
	return true;
}

/*
 * Has the search visited so many nodes that the last pass is cheaper?  The
 * metapage counts the nodes of the last build or of the last VACUUM that found dead rows; an
 * index that was filled by inserts has many more.  So look at the file before it
 * is read whole.
 */
static bool
last_pass_due(IndexScanDesc scan, HnswScanState *state)
{
	const HnswMetaPageData *meta = &state->hnsw->meta;
	double		nodes;

	if (state->reader.nvisits < state->finish_visits)
		return false;
	nodes = (double) RelationGetNumberOfBlocks(scan->indexRelation) * meta->nodes_per_page /
		(1 + (double) meta->cont_pages * meta->nodes_per_page);
	state->finish_visits = (uint32) Max(state->finish_visits, Min(nodes / FINISH_SHARE, UINT32_MAX));
	return state->reader.nvisits >= state->finish_visits;
}

/*
 * The nearest node that the search has for us; false when it has none.
 *
 * With ef_search set, the search gives the nearest of the ef it has seen, then
 * goes on with twice as many, and may find nearer ones than it gave before.  In
 * strict order these would be lost, so beyond those a node is handed out only when
 * LOOK_AHEAD times as many have been gathered.
 */
static bool
search_node(IndexScanDesc scan, HnswScanState *state, uint32 *ordinal, float *distance)
{
	GraphSearch *search = state->reader.search;
	ItemPointerData place;
	uint64		id;
	bool		ordered;
	double		d;

	if (state->reader.nvisits >= state->max_visits)
		graph_search_stop(search);
	if (state->iterative_scan != ITERATIVE_SCAN_STRICT || state->ef == 0 ||
		state->nodes_out < state->first)
		return graph_search_next(search, &id, ordinal, distance, &ordered);

	if (state->ahead == NULL)
	{
		state->ahead = pool_create(state->max_bytes);
		state->gathered = state->nodes_out;
	}
	if (state->gathered < (uint64) LOOK_AHEAD * state->nodes_out)
	{
		/* half as many more, so that this is seldom */
		uint64		wanted = (uint64) LOOK_AHEAD * state->nodes_out * 3 / 2;

		while (state->gathered < wanted && !last_pass_due(scan, state) &&
			   graph_search_next(search, &id, ordinal, distance, &ordered))
		{
			ItemPointerSet(&place, *ordinal, FirstOffsetNumber);
			pool_add(state->ahead, *distance, &place);
			state->gathered++;
		}
		pool_end_batch(state->ahead);
		/* the search is at its end, or the last pass is due: what there is will do */
		state->gathered = Max(state->gathered, wanted);
	}
	if (!pool_pop(state->ahead, &d, &place))
		return graph_search_next(search, &id, ordinal, distance, &ordered);
	*ordinal = ItemPointerGetBlockNumberNoCheck(&place);
	*distance = d;
	return true;
}

/* Take what the search visited next: fills state->tids.  False at the end. */
static bool
next_node(IndexScanDesc scan, HnswScanState *state, double *bound)
{
	Relation	index = scan->indexRelation;

	for (;;)
	{
		HnswVisit	visit;
		uint64		id;
		uint32		ordinal;
		float		distance = 0;
		double		own = 0;

		if (state->limit > 0 && state->nodes_out >= state->limit)
			return false;

		if (!state->finishing)
		{
			if (search_node(scan, state, &ordinal, &distance))
			{
				if (state->iterative_scan != ITERATIVE_SCAN_OFF &&
					state->reader.nvisits < state->max_visits &&
					last_pass_due(scan, state))
				{
					/* this node is met again on the way */
					finish(scan, state);
					continue;
				}
				visit = state->reader.visits[ordinal];
				id = visit.node;
				state->reader.visits[ordinal].out = true;
			}
			else if (state->iterative_scan != ITERATIVE_SCAN_OFF &&
					 state->reader.nvisits < state->max_visits)
			{
				/* memory used up; or nodes that only other entries lead to */
				finish(scan, state);
				continue;
			}
			else
				return false;
		}
		else
		{
			ItemPointerData place;
			Buffer		buf;
			HnswNode	node;

			if (!pool_pop(state->rest, &own, &place))
				return false;
			id = HnswNodeIdMake(ItemPointerGetBlockNumberNoCheck(&place),
								ItemPointerGetOffsetNumberNoCheck(&place));
			CHECK_FOR_INTERRUPTS();
			buf = page_read(index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
			node = hnsw_node_at(state->hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
			if (node)
			{
				visit.tid = node->tid;
				visit.chunk_block = node->chunk_block;
				visit.chunk_offset = node->chunk_offset;
			}
			page_release(buf);
			if (node == NULL)
				continue;		/* freed since: nobody's row any more */
		}

		if (visit.chunk_offset == 0)
		{
			/* the common case, without a chain */
			if (!ItemPointerIsValid(&visit.tid))
				continue;
			if (state->tids.size == 0)
			{
				state->tids.size = 32;
				state->tids.tids = MemoryContextAlloc(state->context, sizeof(ItemPointerData) * 32);
			}
			state->tids.tids[0] = visit.tid;
			state->tids.n = 1;
		}
		else
		{
			MemoryContext old = MemoryContextSwitchTo(state->context);

			hnsw_tids_read(index, state->hnsw, id, &visit.tid, visit.chunk_block,
						   visit.chunk_offset, &state->tids);
			MemoryContextSwitchTo(old);
			if (state->tids.n == 0)
				continue;
		}
		if (state->finishing ? !last_bound(state, own, bound) :
			!next_bound(state, distance, visit.error, visit.norm, visit.chunk_offset == 0, bound))
		{
			state->dropped += state->tids.n;
			state->tids.n = 0;
			continue;
		}
		state->next_tid = 0;
		state->nodes_out++;
		return true;
	}
}

/*
 * Bring the rows that will be handed out next into the cache, while the executor
 * is busy with this one: the next surely, and the page of the one after it.
 */
static void
prefetch_rows(IndexScanDesc scan, HnswScanState *state)
{
	uint32_t	next[3];
	int			n = graph_search_peek(state->reader.search, next, lengthof(next), NULL);

	heap_remember(scan);
	for (int i = 0; i < n; i++)
	{
		HnswVisit  *visit = &state->reader.visits[next[i]];

		if (visit->chunk_offset != 0 || !ItemPointerIsValid(&visit->tid))
			continue;
		if (i == 0)
			heap_prefetch_row(scan, &visit->tid);
		else
			heap_prefetch_page(scan, &visit->tid);
	}
}

/*
 * The next row in the order of the graph: state->row_bound and row_certain say what is
 * known of its distance.  False at the end.
 */
static bool
next_row(IndexScanDesc scan, HnswScanState *state, ItemPointer tid)
{
	if (state->next_tid >= state->tids.n)
	{
		double		bound;
		MemoryContext old = MemoryContextSwitchTo(state->context);
		bool		found = next_node(scan, state, &bound);

		MemoryContextSwitchTo(old);
		if (!found)
			return false;
		state->row_bound = bound;
		state->bound = Max(state->bound, state->row_certain ? state->high : bound);
	}
	*tid = state->tids.tids[state->next_tid++];
	return true;
}

/* The next row to hand out: of those in doubt, or the graph's.  False at the end. */
static bool
next_in_order(IndexScanDesc scan, HnswScanState *state, ItemPointer tid)
{
	for (;;)
	{
		double		nearest;
		double		high;
		bool		in_doubt = exact_nearest(state->exact_rows, &nearest, &high);

		if (in_doubt && (state->ended || nearest <= state->row_bound))
			return exact_pop(state->exact_rows, &nearest, &high, tid);
		if (state->ended)
			return false;

		CHECK_FOR_INTERRUPTS();
		if (!next_row(scan, state, tid))
		{
			state->ended = true;
			continue;
		}
		prefetch_rows(scan, state);
		if (!state->has_query)
			return true;
		if (!state->row_certain)
		{
			Datum		value;
			double		distance;

			if (exact_fetch(state->exact_rows, scan, tid, &value))
			{
				distance = exact_operator_distance(state->exact_rows, scan, value);
				exact_put(state->exact_rows, distance, distance, tid);
			}
		}
		else if (in_doubt && nearest <= state->row_bound)
			exact_put(state->exact_rows, state->row_bound, state->row_bound, tid);
		else
			return true;
	}
}

bool
hnswgettuple(IndexScanDesc scan, ScanDirection dir)
{
	HnswScanState *state = (HnswScanState *) scan->opaque;
	ItemPointerData tid;

	Assert(ScanDirectionIsForward(dir));
	if (!state->started)
		start_scan(scan, state);
	if (!next_in_order(scan, state, &tid))
	{
		exact_let_go(state->exact_rows);
		return false;
	}

	heap_hand_out(scan, &tid);
	return true;
}

void
hnswendscan(IndexScanDesc scan)
{
	HnswScanState *state = (HnswScanState *) scan->opaque;

	report_dropped(state);
	/* a tuplesort may own files, which no memory context closes */
	if (state->rest)
		pool_free(state->rest);
	if (state->ahead)
		pool_free(state->ahead);
	exact_free(state->exact_rows);
	MemoryContextDelete(state->context);
	scan->opaque = NULL;
}
