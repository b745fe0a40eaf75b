/*-------------------------------------------------------------------------
 *
 * ivf_scan.c
 *	  ivfbeginscan, rescan, gettuple, endscan.
 *
 * A scan is a stream: it never learns how many rows will be asked for.  It
 * visits the lists in the order of their centroids, in batches; the first
 * batch is the effort asked for (probes), each further one doubles what was
 * visited, and once a quarter of the lists is visited the last batch is all
 * the rest.  So every row of the index is handed out if the executor keeps
 * asking, at a cost of at most twice what the best first batch would have
 * cost.
 *
 * strict_order: a row of a later list may be nearer than rows handed out
 * already.  To make that rare, a row is handed out only while it is among the
 * nearest part of the rows gathered (ivf_look_ahead()); before it goes further,
 * the next batch is gathered and merged.  What is still found too late is
 * dropped and counted (DEBUG1).  relaxed_order hands out each batch as it is;
 * off ends after the first batch.
 *
 * ivfpq gathers rows by a bound, their estimate less what it may be too high by
 * for the recall aimed at.  Rows get their exact distance from the table in that
 * order, and one is handed out when no bound still pending is less: so nobody
 * needs to know how many will be asked for.  With rerank_k, which sets the bound to
 * the estimate, there are always so many exact when one is handed out.  With
 * rerank = none the estimate is all there is, and rows come in its order.
 *
 * With rerank = index the index has copies of the vectors in half precision, and a
 * row gets two bounds of its distance from its copy (ivf_copy.c).  It is handed out by
 * the lower one where its upper one touches no other row's; else it gets its
 * distance from the table, too.  The pool has the number of a row's place in the scan's notes, instead of its TID,
 * as long as there is room for notes.
 *
 * Of the rows that a batch visits few will be wanted.  So the pool gets those whose
 * bounds do not exceed the batch's reach: the estimate of its 32nd nearest row
 * (of a farther one when the scan before this one wanted more), which is about its distance.  The codec leaves all others as soon as it
 * knows that they are beyond (codec_bounds()).  When no bound within the least reach is
 * left, the lists of that batch are read once more, and the rows between the old
 * reach and a new one taken.  A row's bound has the same bits each time, and rows that
 * the snapshot sees neither change nor move to other pages meanwhile: so each is
 * taken once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <limits.h>
#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "am/heap.h"
#include "compat.h"
#include "guc.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "types/vector_distance.h"

/* the last batch begins when this part of the lists is visited */
#define FINISH_SHARE	4
/* a page's rows are worked on in so many parts, the next page prefetched between */
#define PREFETCH_PARTS	8
/* how many rows ahead of the fetch the table's pages, and its rows, are prefetched */
#define PREFETCH_PAGE	8
#define PREFETCH_ROW	4

/* rows of ivfpq whose bounds are found at once */
#define CODE_PART		64
/* of how many rows a batch's reach is to hold the estimates at first, and when they are used up; then all */
#define LEAST_REACH		32
#define SECOND_REACH	512
#define INITIAL_CANDIDATES	256

/* A batch of ivfpq: lists visited[first] .. visited[end - 1] */
typedef struct ScanBatch
{
	uint32		first;
	uint32		end;
	int			wanted;			/* LEAST_REACH to SECOND_REACH rows; 0: all
								 * rows */
	double		reach;			/* the pool had every row whose bound is at
								 * most that */
} ScanBatch;

/* A row of the batch that is gathered, which was within its reach */
typedef struct Candidate
{
	double		bound;
	IvfPlace	place;
} Candidate;

/*
 * Where rows in the pool have their copies.  Shared with the scan of a next
 * generation that gathers into the same pool.  There are so many notes at most; rows
 * beyond that have none, and their values are read from the table.
 */
typedef struct PlaceNotes
{
	IvfPlace   *places;
	uint32		n;				/* ever used */
	uint32		size;
	uint32		most;
	uint32		unused;			/* the first of those that were used, which names
								 * the next one as its block; or NO_PLACE */
} PlaceNotes;

#define NO_PLACE		PG_UINT32_MAX

/*
 * In the pool a note's number stands for the TID, with a mark in the offset that no TID
 * has.
 */
#define PLACE_BITS		15
#define PLACE_MARK		(1 << PLACE_BITS)
StaticAssertDecl(MaxOffsetNumber < PLACE_MARK, "no TID looks like a note");

/* each doubles what was visited */
#define MAX_BATCHES		34

typedef struct IvfScanState
{
	MemoryContext context;		/* of all below; lives as long as the scan */
	CandidatePool *pool;		/* rows; see bound_distance() for ivfpq's */
	ExactRows  *exact_rows;			/* rows of ivfpq with exact distances, or
								 * bounds */
	PlaceNotes *notes;			/* of rows in the pool, with use_copies */
	CandidatePool *groups;		/* groups whose lists are not in lists yet (a
								 * TID's block is the number) ... */
	IvfOrder   *lists;			/* ... and lists not yet visited */
	bool		started;

	/* from here on set when the first row is asked for */
	IvfMetaPageData meta;
	int			iterative_scan; /* IterativeScan */
	float	   *query;			/* NULL when the ORDER BY value is NULL */
	float		query_normsq;
	bool		beside;			/* meta is the next generation, see
								 * visit_next_generation() */
	float	   *sums;			/* of one page's rows ... */
	int			sums_size;		/* ... so many at most */
	IvfLayout	layout;
	bool		exact;			/* ivfpq: distances come from the table ... */
	bool		all_exact;		/* ... for every row gathered, whatever its
								 * code says */
	bool		use_copies;		/* distances come from copies, as far as they
								 * can */
	IvfCopyQuery copy_query;
	int			rerank_k;		/* so many exact at a time; 0: by bounds */
	double		width_recall;	/* bounds are as wide as this recall wants */
	uint32	   *lists_visited;	/* to read them again */
	uint32		lists_size;		/* of lists_visited */
	ScanBatch	batches[MAX_BATCHES];
	int			nbatches;
	ScanBatch  *batch;			/* the one that is gathered */
	bool		again;			/* it is read once more ... */
	double		beyond;			/* ... and rows up to here have been taken */
	double		reach;			/* the least of all batches */
	int			first_reach;	/* wanted of a batch at first ... */
	bool		extended;		/* ... and it was too little */
	Candidate  *candidates;
	int			candidates_size;
	int			max_candidates; /* of work_mem */
	int			ncandidates;
	bool		reach_is_fixed; /* there were more: the pool has them */
	double	   *nearest_estimates;	/* batch->wanted of them; a heap, farthest
									 * first */
	int			nestimates;
	Codec		codec;			/* ivfpq: of this scan, see start_codec() */
	CodecQuery	coded;
	float	   *centroid;		/* in the codec's space */
	MemoryContext coded_context;	/* of what these point to ... */
	uint32		coded_generation;	/* ... which is for the codec of that one */
	double		query_norm;
	IvfRow		row;			/* where a row takes several pages */
	uint32		probes;			/* lists of the first batch; 0: by effort */
	double		effort;			/* ... up to this one */
	double		next_distance;	/* the list to visit next */
	uint32		next_list;
	bool		has_next;
	double		nearest;		/* distance of the first list */
	double		rows_before;	/* rows of the lists visited */
	IvfRank    *rank;			/* the query, for ranking; NULL: nothing to
								 * rank by */
	uint32		ranked;			/* lists whose centroids the query was
								 * compared with */
	double		deepest;		/* so many it took to find one that was the
								 * nearest of them; as far as that matters */
	uint32		max_lists;		/* lists to visit at most */
	uint32		visited;
	uint64		gathered;
	uint64		handed_out;
	uint64		dropped;
	double		last_distance;	/* no row handed out is farther ... */
	double		last_low;		/* ... but one, last_tid, may be so near only */
	ItemPointerData last_tid;
	double		greatest_high;	/* of those handed out: upper bound */
} IvfScanState;

/* Late rows of all finished scans of this session, for vecdb_index_stats(). */
uint64		ivf_session_dropped = 0;

IndexScanDesc
ivfbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	IvfScanState *state;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "ivf scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	state = palloc0(sizeof(IvfScanState));
	state->context = context;
	state->pool = pool_create((Size) work_mem * 1024);
	state->groups = pool_create((Size) work_mem * 1024);
	state->lists = ivf_order_create();
	if (ivf_has_codes(index))
	{
		state->exact_rows = exact_create((Size) work_mem * 1024);
		state->notes = palloc0(sizeof(PlaceNotes));
		state->notes->unused = NO_PLACE;
		state->notes->most = (uint32) Min(Max((Size) work_mem * 1024 / 4 / sizeof(IvfPlace),
											  INITIAL_CANDIDATES), NO_PLACE - 1);
	}
	MemoryContextSwitchTo(old);

	scan->xs_orderbyvals = palloc0(sizeof(Datum) * Max(norderbys, 1));
	scan->xs_orderbynulls = palloc(sizeof(bool) * Max(norderbys, 1));
	memset(scan->xs_orderbynulls, true, sizeof(bool) * Max(norderbys, 1));
	scan->opaque = state;
	return scan;
}

/*
 * Leave word to the next scan how many rows this one, which is over, should have
 * reached for at first: half as many again as were wanted, or three times as many where
 * the codes tell so little that this was not enough.  It comes down only when this is much less,
 * so that it does not go up and down.
 */
static void
remember_reach(Relation index, const IvfScanState *state)
{
	uint64		rows = state->extended ? 3 * state->handed_out : state->handed_out * 3 / 2;
	int			wanted = Min(Max(rows, LEAST_REACH), SECOND_REACH);

	if (wanted > state->first_reach || wanted < state->first_reach / 4)
		ivf_reach_rows_set(index, wanted);
}

/* The scan is over: leave word to the next; say, and count, what strict order cost. */
static void
finish_scan(IndexScanDesc scan, IvfScanState *state)
{
	if (!state->started)
		return;
	if (state->layout.has_codes && state->query != NULL && state->first_reach > 0 &&
		state->handed_out > 0)
		remember_reach(scan->indexRelation, state);
	if (state->dropped == 0)
		return;
	ivf_session_dropped += state->dropped;
	ereport(DEBUG1,
			(errmsg_internal("%s scan dropped " UINT64_FORMAT " rows found too late for strict_order",
							 ivf_am_name(scan->indexRelation), state->dropped)));
}

void
ivfrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
		  ScanKey orderbys, int norderbys)
{
	IvfScanState *state = (IvfScanState *) scan->opaque;

	finish_scan(scan, state);
	state->started = false;
	if (state->exact_rows)
		exact_reset(state->exact_rows);
	if (state->notes)
	{
		state->notes->n = 0;
		state->notes->unused = NO_PLACE;
	}
	pool_reset(state->pool);
	pool_reset(state->groups);
	ivf_order_reset(state->lists);

	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
}

/*
 * Queries unlike the rows have near lists in groups far down: while some turn up, others
 * are to be expected.  So a list is visited when so many times the lists are ranked
 * that it took to find it (README.md).
 */
#define RANK_BEYOND		3

/*
 * So many lists at least are ranked before the next one is visited; those of the
 * nearest groups.
 */
static double
lists_to_rank(const IvfScanState *state)
{
	return Max(32 * sqrt(state->meta.lists) + 64.0 * (Max(state->visited, state->probes) + 1),
			   RANK_BEYOND * state->deepest);
}

/* How many lists were ranked when one was found, is kept in steps of so many (ivf_order.c). */
static double
depth_step(const IvfScanState *state)
{
	return state->meta.lists / IVF_ORDER_STEPS + 1;
}

/* Rank n lists from first on, by their distances as ivf_rank_lists() has them. */
static void
add_lists(IvfScanState *state, uint32 first, uint32 n, const float *distances)
{
	state->ranked += n;
	ivf_order_add(state->lists, first, n, distances, (uint32) (state->ranked / depth_step(state)));
}

/* Rank the lists of the nearest groups, as far as they are wanted. */
static void
open_groups(Relation index, IvfScanState *state)
{
	double		wanted = lists_to_rank(state);
	float	   *distances = NULL;
	uint32		room = 0;
	double		distance;
	ItemPointerData item;

	if (state->ranked >= wanted)
		return;
	/* some more, so that the lists are put in order anew less often */
	wanted *= 1.25;
	while (state->ranked < wanted && pool_pop(state->groups, &distance, &item))
	{
		uint32		first;
		uint32		n = ivf_rank_group(index, &state->meta,
									   ItemPointerGetBlockNumberNoCheck(&item), &first);

		if (n > room)
		{
			if (distances)
				pfree(distances);
			room = n;
			distances = palloc(sizeof(float) * room);
		}
		ivf_rank_lists(index, &state->meta, state->rank, first, n, distances);
		add_lists(state, first, n, distances);
	}
	if (distances)
		pfree(distances);
}

/* Squared distance of the query and a centroid from what ranks that; under cosine and inner product of directions */
static double
list_distance(const IvfScanState *state, float distance)
{
	float		norm = sqrtf(state->query_normsq);

	if (state->meta.metric == METRIC_L2)
		return distance;
	return norm > 0 ? Max(2 + 2 * (double) distance / norm, 0) : 2;
}

/* Take the next list from the ranking. */
static void
advance_list(Relation index, IvfScanState *state)
{
	float		distance;

	for (;;)
	{
		uint32		steps;
		double		depth;

		if (state->ranked < state->meta.lists)
			open_groups(index, state);
		state->has_next = ivf_order_pop(state->lists, Max(state->probes, state->visited) + 1,
										&state->next_list, &distance, &steps);
		if (!state->has_next)
			return;
		state->next_distance = list_distance(state, distance);
		depth = steps * depth_step(state);
		if (state->ranked >= state->meta.lists || RANK_BEYOND * depth <= state->ranked)
			return;
		/* back with it, and look farther */
		state->deepest = depth;
		ivf_order_put_back(state->lists);
	}
}

/*
 * Rank the lists for this query, by the squared distance of their centroids;
 * under cosine and inner product that of the directions.
 */
static void
rank_lists(Relation index, IvfScanState *state)
{
	if (state->rank)
		ivf_rank_end(state->rank);
	state->rank = NULL;
	state->ranked = 0;
	state->deepest = 0;
	if (state->meta.generation > 0 && state->query != NULL)
	{
		uint32		ngroups = ivf_rank_ngroups(index, &state->meta);
		float	   *distances = palloc(sizeof(float) * ngroups);
		ItemPointerData item;

		state->rank = ivf_rank_begin(index, &state->meta, state->query);
		ivf_rank_groups(index, &state->meta, state->rank, distances);
		for (uint32 g = 0; g < ngroups; g++)
		{
			ItemPointerSet(&item, g, FirstOffsetNumber);
			pool_add(state->groups, distances[g], &item);
		}
		pool_end_batch(state->groups);
		pfree(distances);
	}
	else
	{
		add_lists(state, 0, state->meta.lists, NULL);
	}

	advance_list(index, state);
	state->nearest = state->next_distance;
	state->rows_before = 0;
}

/* Memory for the query of codes, in the current context. */
static void
make_room(IvfScanState *state, const Codec *codec)
{
	void	   *memory = palloc(codec_query_memory(codec) + 64);

	state->centroid = palloc(sizeof(float) * codec->work_dim);
	state->coded.scratch = (float *) TYPEALIGN(64, memory);
	state->coded.q = palloc(sizeof(float) * codec->work_dim);
}

/* The query as that codec wants it. */
static void
code_query(IvfScanState *state, const Codec *codec)
{
	float	   *work = unconstify(float *, state->coded.q);
	float	   *value = palloc(sizeof(float) * codec->dim);
	float		width;

	for (int i = 0; i < codec->dim; i++)
		value[i] = state->meta.metric == METRIC_L2 ? state->query[i] :
			(float) (state->query[i] / state->query_norm);
	codec_transform(codec, value, work);
	codec_query_begin(&state->coded, codec, &state->layout.codes, work, state->coded.scratch);
	state->coded.floor = state->meta.code_floor;
	width = ivf_width_for(&state->meta, state->width_recall);
	state->coded.width = !state->exact || state->rerank_k > 0 ? 0 : width;
	state->coded.first_width = ivf_first_width(&state->meta, width);
	pfree(value);
}

/*
 * Make the query ready for codes.  What the codec has learnt lies in the
 * relation cache, which may be emptied while we read the table: from here on
 * the scan needs no more of it than it keeps itself.
 */
static void
start_codec(Relation index, IvfScanState *state, const IvfSearch *search)
{
	const Codec *codec;

	state->query_norm = sqrt(state->query ?
							 kernel->normsq_double(state->query, state->meta.dims) : 0);
	/* no direction: all rows are as far away (cosine: NaN) as each other */
	if (state->meta.metric != METRIC_L2 && !(state->query_norm > 0) && state->query)
	{
		pfree(state->query);
		state->query = NULL;
	}
	state->exact = search->rerank != RERANK_NONE && state->query != NULL;
	state->rerank_k = state->exact ? search->rerank_k : 0;

	/*
	 * who asks for everything gets it: probes = lists misses nothing in
	 * ivfflat, either
	 */
	state->all_exact = state->exact && state->rerank_k == 0 &&
		(search->probes > 0 ? search->probes >= state->meta.lists : search->target_recall >= 1);
	state->use_copies = search->rerank == RERANK_INDEX && state->layout.has_copies &&
		state->exact && !state->all_exact;
	/* with fewer probes set, the lists decide and not the codes */
	state->width_recall = search->probes > 0 ? Max(search->target_recall, 0.99) :
		search->target_recall;
	if (state->query == NULL)
		return;

	if (state->use_copies)
	{
		if (state->copy_query.x == NULL)
			state->copy_query.x = palloc(sizeof(float) * state->meta.dims);
		ivf_copy_query(&state->copy_query, (Metric) state->meta.metric, state->meta.dims,
					   state->query, state->copy_query.x);
	}
	if (state->candidates == NULL)
	{
		state->candidates_size = INITIAL_CANDIDATES;
		state->candidates = palloc(sizeof(Candidate) * state->candidates_size);
		state->nearest_estimates = palloc(sizeof(double) * SECOND_REACH);
		state->max_candidates = (int) Min((Size) work_mem * 1024 / sizeof(Candidate), INT_MAX / 4);
	}
	state->first_reach = state->all_exact || state->rerank_k > LEAST_REACH ? 0 :
		Max(ivf_reach_rows(index, &state->meta), LEAST_REACH);
	state->extended = false;

	codec = ivf_codec(index, &state->meta);
	/* a training between two rescans may have changed it */
	if (state->centroid == NULL || state->coded_generation != state->meta.generation)
	{
		if (state->coded_context == NULL)
			state->coded_context = AllocSetContextCreate(state->context, "ivf query",
														 ALLOCSET_DEFAULT_SIZES);
		MemoryContextReset(state->coded_context);
		MemoryContextSwitchTo(state->coded_context);
		make_room(state, codec);
		if (codec_lists_floats(codec) > 0)
			state->codec.state = palloc(sizeof(float) * codec_lists_floats(codec));
		MemoryContextSwitchTo(state->context);
		state->coded_generation = state->meta.generation;
	}
	code_query(state, codec);

	if (codec_lists_floats(codec) > 0)
	{
		float	   *kept = state->codec.state;

		memcpy(kept, codec->state, sizeof(float) * codec_lists_floats(codec));
		state->codec = *codec;
		codec_attach(&state->codec, kept, NULL);
	}
	else
	{
		state->codec = *codec;
		state->codec.state = state->codec.zeros = NULL;
		state->codec.rotation.signs = NULL;
	}
	state->codec.learnt_rotation = NULL;
	state->coded.codec = &state->codec;
}

/* The first row is asked for: read the query and the settings. */
static void
start_scan(IndexScanDesc scan, IvfScanState *state)
{
	Relation	index = scan->indexRelation;
	MemoryContext old;
	IvfSearch	search;

	if (scan->numberOfOrderBys != 1)
		elog(ERROR, "cannot scan %s index without order", ivf_am_name(index));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "non-MVCC snapshots are not supported with %s", ivf_am_name(index));

	count_index_search(scan);
	old = MemoryContextSwitchTo(state->context);
	ivf_meta_read(index, &state->meta);

	if (state->query)
		pfree(state->query);
	state->query = NULL;
	if (!(scan->orderByData->sk_flags & SK_ISNULL))
	{
		Vector	   *query = support_value(scan->orderByData->sk_argument, state->meta.dims);

		state->query = palloc(sizeof(float) * state->meta.dims);
		memcpy(state->query, query->x, sizeof(float) * state->meta.dims);
		state->query_normsq = kernel->normsq(state->query, state->meta.dims);
		if ((Pointer) query != DatumGetPointer(scan->orderByData->sk_argument))
			pfree(query);
	}
	ivf_layout(&state->meta, &state->layout);
	if (state->row == NULL)
		state->row = palloc(state->meta.row_size);
	/* a training between two rescans may have made rows shorter */
	if (state->sums == NULL || state->sums_size < state->layout.max_rows)
	{
		if (state->sums)
			pfree(state->sums);
		state->sums_size = state->layout.max_rows;
		state->sums = palloc(sizeof(float) * state->sums_size);
	}

	ivf_search_options(index, state->layout.has_codes, &search);
	state->iterative_scan = search.iterative_scan;
	state->probes = Min(search.probes, state->meta.lists);
	state->effort = ivf_effort_for(&state->meta, search.target_recall, NULL);
	state->max_lists = Min(Max(search.max_probes, state->probes), state->meta.lists);
	state->visited = 0;
	state->nbatches = 0;
	state->batch = NULL;
	state->again = false;
	state->reach = get_float8_infinity();
	state->gathered = state->handed_out = state->dropped = 0;
	state->last_distance = state->last_low = state->greatest_high = -get_float8_infinity();
	if (state->layout.has_codes)
		start_codec(index, state, &search);
	rank_lists(index, state);
	state->started = true;
	MemoryContextSwitchTo(old);
}

/* The operator's own distance, to the last bit, from a kernel's sum. */
static inline double
row_distance(const IvfScanState *state, float sum, float normsq)
{
	switch ((Metric) state->meta.metric)
	{
		case METRIC_L2:
			return vector_l2_from_sq(sum);
		case METRIC_IP:
			return vector_negative_ip_from_ip(sum);
		case METRIC_COSINE:
			return vector_cosine_from_parts(sum, normsq, state->query_normsq);
		case METRIC_L1:
			break;				/* not of ivf: ivf_meta_flaw */
	}
	pg_unreachable();
}

static inline void
gather(IvfScanState *state, double distance, ItemPointer tid)
{
	state->gathered++;
	if (state->iterative_scan == ITERATIVE_SCAN_STRICT &&
		distance < state->last_distance)
		state->dropped++;
	else
		pool_add(state->pool, distance, tid);
}

/*
 * The kernels' sums of n rows into state->sums, meanwhile prefetching the page
 * that comes next.
 */
static void
page_sums(IvfScanState *state, const char *rows, int n, const char *next_page)
{
	uint32		row_size = state->meta.row_size;
	int			dims = state->meta.dims;
	int			parts = Min(n, PREFETCH_PARTS);

	if (state->query == NULL)
		memset(state->sums, 0, sizeof(float) * n);
	else
		for (int part = 0; part < parts; part++)
		{
			int			first = n * part / parts;
			int			count = n * (part + 1) / parts - first;
			const char *values = rows + (Size) first * row_size + IVF_ROW_HEAD;

			page_prefetch_part(next_page, part, parts);
			if (state->meta.metric == METRIC_L2)
				kernel->l2sq_rows(state->query, values, row_size, count, dims, state->sums + first);
			else
				kernel->ip_rows(state->query, values, row_size, count, dims, state->sums + first);
		}
}

/* A row's estimate: when it is among the nearest wanted, reach no farther than these. */
static void
lower_reach(IvfScanState *state, double estimate)
{
	double	   *heap = state->nearest_estimates;
	int			wanted = state->batch->wanted;
	int			at;

	/* of factors that are damaged */
	if (unlikely(isnan(estimate)))
		return;
	if (state->nestimates < wanted)
	{
		for (at = state->nestimates++; at > 0 && heap[(at - 1) / 2] < estimate; at = (at - 1) / 2)
			heap[at] = heap[(at - 1) / 2];
		heap[at] = estimate;
	}
	else if (estimate < heap[0])
	{
		int			child;

		for (at = 0; (child = 2 * at + 1) < wanted; at = child)
		{
			if (child + 1 < wanted && heap[child + 1] > heap[child])
				child++;
			if (heap[child] <= estimate)
				break;
			heap[at] = heap[child];
		}
		heap[at] = estimate;
	}
	if (state->nestimates == wanted)
		state->batch->reach = heap[0];
}

/* Forget the candidates that are out of reach by now. */
static void
sift_candidates(IvfScanState *state)
{
	int			kept = 0;

	for (int i = 0; i < state->ncandidates; i++)
		if (state->candidates[i].bound <= state->batch->reach)
			state->candidates[kept++] = state->candidates[i];
	state->ncandidates = kept;
}

/* Where row i of a page of ivfpq has its copy */
static void
note_copy(Relation index, const IvfLayout *layout, BlockNumber blkno, Page page, int i,
		  IvfPlace *place)
{
	place->block = InvalidBlockNumber;
	if (!layout->has_copies)
		return;
	place->slot = i % layout->copies_per_page;
	place->block = ivf_page_copy_blocks(page, layout)[i / layout->copies_per_page];
	if (unlikely(place->block == InvalidBlockNumber))
		page_corrupted(index, blkno, "Row %d has no copy.", i + 1);
}

/* Note a place, if there is room: its number, or NO_PLACE. */
static uint32
note_place(IvfScanState *state, const IvfPlace *place)
{
	PlaceNotes *notes = state->notes;
	uint32		number = notes->unused;

	if (number != NO_PLACE)
		notes->unused = notes->places[number].block;
	else if (notes->n < notes->most)
	{
		if (notes->n == notes->size)
		{
			notes->size = Min(Max(2 * notes->size, INITIAL_CANDIDATES), notes->most);
			notes->places = notes->places == NULL ?
				MemoryContextAlloc(state->context, sizeof(IvfPlace) * notes->size) :
				repalloc_huge(notes->places, sizeof(IvfPlace) * notes->size);
		}
		number = notes->n++;
	}
	else
		return NO_PLACE;
	notes->places[number] = *place;
	return number;
}

/* A row for the pool, with the number of its place where that will be wanted. */
static void
add_to_pool(IvfScanState *state, double bound, const IvfPlace *place)
{
	ItemPointerData item = place->tid;
	uint32		number = state->use_copies ? note_place(state, place) : NO_PLACE;

	if (number != NO_PLACE)
		ItemPointerSet(&item, number >> PLACE_BITS,
					   PLACE_MARK | (number & (PLACE_MARK - 1)));
	pool_add(state->pool, bound, &item);
}

/* The number of the place that an item of the pool stands for, or NO_PLACE: it is the TID */
static inline uint32
place_number(const ItemPointerData *item)
{
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(item);

	if ((offset & PLACE_MARK) == 0)
		return NO_PLACE;
	return ItemPointerGetBlockNumberNoCheck(item) << PLACE_BITS | (offset & (PLACE_MARK - 1));
}

/* Take the place that an item of the pool stands for, whose note is free then; false: there is none. */
static bool
take_place(IvfScanState *state, const ItemPointerData *item, IvfPlace *place)
{
	uint32		number = place_number(item);

	if (number == NO_PLACE)
		return false;
	*place = state->notes->places[number];
	state->notes->places[number].block = state->notes->unused;
	state->notes->unused = number;
	return true;
}

/* What was within the reach when it was taken goes to the pool. */
static void
pass_candidates(IvfScanState *state)
{
	for (int i = 0; i < state->ncandidates; i++)
		add_to_pool(state, state->candidates[i].bound, &state->candidates[i].place);
	state->ncandidates = 0;
}

/* Take row i of a page of ivfpq, whose bound is within reach, as far as is known. */
static void
gather_row(Relation index, IvfScanState *state, BlockNumber blkno, Page page, int i,
		   double bound)
{
	IvfPlace	place;

	place.tid = *ivf_page_tid(page, &state->layout, i);
	if (unlikely(ItemPointerGetBlockNumberNoCheck(&place.tid) == InvalidBlockNumber))
		page_corrupted(index, blkno, "Row %d points to no block of the table.", i + 1);
	/* in the pool it would pass for a note's number */
	if (unlikely(ItemPointerGetOffsetNumberNoCheck(&place.tid) > MaxOffsetNumber))
		page_corrupted(index, blkno, "Row %d points to row %u of block %u of the table.", i + 1,
					   ItemPointerGetOffsetNumberNoCheck(&place.tid),
					   ItemPointerGetBlockNumberNoCheck(&place.tid));
	if (state->use_copies)
		note_copy(index, &state->layout, blkno, page, i, &place);
	if (!state->exact && state->iterative_scan == ITERATIVE_SCAN_STRICT &&
		bound < state->last_distance)
	{
		state->dropped++;
		return;
	}
	if (state->batch->wanted == 0 || state->reach_is_fixed)
	{
		add_to_pool(state, bound, &place);
		return;
	}
	if (state->ncandidates == state->candidates_size)
	{
		sift_candidates(state);
		if (state->ncandidates > state->max_candidates / 2)
		{
			/*
			 * codes that tell so little: the pool knows what to do with many
			 * rows
			 */
			pass_candidates(state);
			state->reach_is_fixed = true;

			/*
			 * else it is for the next reading: its own estimate has lowered
			 * the reach
			 */
			if (bound <= state->batch->reach)
				add_to_pool(state, bound, &place);
			return;
		}
		if (state->ncandidates > state->candidates_size / 2)
		{
			state->candidates_size *= 2;
			state->candidates = repalloc_huge(state->candidates,
											  sizeof(Candidate) * state->candidates_size);
		}
	}
	state->candidates[state->ncandidates].bound = bound;
	state->candidates[state->ncandidates++].place = place;
}

/* The codec's measure of the batch's reach, for the rows of a page */
static float
reach_of_codes(const IvfScanState *state, Page page, int n)
{
	double		reach = state->batch->reach;
	float		norm;

	if (!state->layout.has_norms)
		return nextafterf((float) reach, INFINITY);

	/*
	 * of the row whose estimate may be the largest: of the longest, if it
	 * need be less than 2
	 */
	norm = *ivf_page_norms(page, &state->layout, 0);
	for (int i = 1; i < n; i++)
	{
		float		other = *ivf_page_norms(page, &state->layout, i);

		norm = reach < 0 ? Max(norm, other) : Min(norm, other);
	}
	if (!(norm > 0) || isinf(reach))
		return INFINITY;
	reach = 2 + 2 * reach / norm;
	if (!(fabs(reach) < FLT_MAX / 2))
		return INFINITY;
	return (float) reach + 8 * FLT_EPSILON * (float) (1 + fabs(reach));
}

/*
 * Take the rows of one page of ivfpq that are within reach, meanwhile prefetching
 * the page that comes next.
 */
static void
gather_codes(Relation index, IvfScanState *state, BlockNumber blkno, Page page, int n,
			 const char *next_page)
{
	const IvfLayout *layout = &state->layout;
	int			parts = (n + CODE_PART - 1) / CODE_PART;
	float		reach = INFINITY;

	if (state->query == NULL || state->all_exact)
	{
		/*
		 * nothing is less than -Infinity: so they come in the order of the
		 * table
		 */
		for (int i = 0; i < n; i++)
			gather_row(index, state, blkno, page, i,
					   state->all_exact ? -get_float8_infinity() :
					   layout->has_norms ? -*ivf_page_norms(page, layout, i) : 0);
		return;
	}

	if (n > 0)
		reach = reach_of_codes(state, page, n);
	for (int part = 0; part < parts; part++)
	{
		int			first = part * CODE_PART;
		float		bounds[CODE_PART];
		int			below[CODE_PART];
		int			count;

		page_prefetch_part(next_page, part, parts);
		count = codec_bounds(&state->coded, ivf_page_codes(page, layout), first,
							 Min(CODE_PART, n - first), reach, bounds, below);
		for (int j = 0; j < count; j++)
		{
			int			i = first + below[j];
			double		bound = bounds[below[j]];
			double		norm = layout->has_norms ? *ivf_page_norms(page, layout, i) : 0;

			if (layout->has_norms)
				bound = (bound / 2 - 1) * norm;
			if (bound > state->batch->reach)
				continue;
			if (state->batch->wanted > 0 && !state->reach_is_fixed)
			{
				double		estimate = codec_estimate(&state->coded, ivf_page_codes(page, layout), i,
													  bounds[below[j]]);

				lower_reach(state, layout->has_norms ? (estimate / 2 - 1) * norm : estimate);
			}
			if (!state->again || bound > state->beyond)
				gather_row(index, state, blkno, page, i, bound);
		}
	}
}

/* What bounds from codes are about, in the operator's own measure */
static inline double
bound_distance(const IvfScanState *state, double bound)
{
	if (state->all_exact)
		return bound;
	switch ((Metric) state->meta.metric)
	{
		case METRIC_L2:
			return bound > 0 ? sqrt(bound) : 0;
		case METRIC_COSINE:
			return bound / 2;
		case METRIC_IP:
			return bound * state->query_norm;
		case METRIC_L1:
			break;
	}
	pg_unreachable();
}

/*
 * Let the codec know which list comes, and how far its centroid is: exactly, by the
 * codec's own space, since the ranking may know it roughly.
 */
static void
enter_list(Relation index, IvfScanState *state, uint32 list)
{
	double		base;

	if (!state->layout.has_codes || state->query == NULL)
		return;
	if (state->beside)
		ivf_codec_centroid_of(index, &state->meta, &state->codec, list, state->centroid);
	else
		ivf_codec_centroid(index, &state->meta, list, state->centroid);
	base = kernel->l2sq(state->coded.q, state->centroid, state->codec.work_dim);
	codec_query_list(&state->coded, state->centroid, (float) Min(base, FLT_MAX));
}

/*
 * Gather the rows of the list that the cursor stands before; beside it, those that a
 * training did not copy there.  next: the page that will be read after it, or
 * InvalidBlockNumber.
 */
static void
visit_list(Relation index, IvfScanState *state, IvfCursor *cursor, BlockNumber next)
{
	uint32		row_size = state->meta.row_size;
	Buffer		buf;

	enter_list(index, state, cursor->list);
	while ((buf = ivf_cursor_next(index, cursor)) != InvalidBuffer)
	{
		Page		page = BufferGetPage(buf);
		BlockNumber blkno = BufferGetBlockNumber(buf);
		BlockNumber ahead = cursor->block != InvalidBlockNumber ? cursor->block : next;
		int			n = ivf_page_rows(index, blkno, page, &state->layout);
		char	   *rows = IvfPageContent(page);

		if (state->beside && (IvfPageGetOpaque(page)->flags & IVF_PAGE_COPIES) != 0)
		{
			page_release(buf);
			continue;
		}
		if (state->layout.has_codes)
		{
			gather_codes(index, state, blkno, page, n, page_guess(index, ahead));
			if (!state->again)
				state->gathered += n;
			page_release(buf);
			continue;
		}

		if (n > 0 && row_size > IVF_PAGE_CAPACITY)
		{
			/* it takes several pages: make it whole first */
			page_release(buf);
			if (!ivf_row_read(index, &state->meta, blkno, cursor->list, cursor->last_seq, state->row))
				continue;
			rows = (char *) state->row;
			buf = InvalidBuffer;
		}

		page_sums(state, rows, n, page_guess(index, ahead));
		for (int i = 0; i < n; i++, rows += row_size)
		{
			IvfRow		row = (IvfRow) rows;

			/* the table would take this block number for a wish to grow */
			if (unlikely(ItemPointerGetBlockNumberNoCheck(&row->tid) == InvalidBlockNumber))
				page_corrupted(index, blkno, "Row %d points to no block of the table.", i + 1);
			gather(state,
				   state->query ? row_distance(state, state->sums[i], row->normsq) : 0,
				   &row->tid);
		}
		if (BufferIsValid(buf))
			page_release(buf);
	}
}

/* A batch of ivfpq begins; or, again, is read once more for the rows beyond its reach. */
static void
begin_batch(IvfScanState *state, ScanBatch *batch, int wanted, bool again)
{
	state->batch = batch;
	state->again = again;
	state->beyond = again ? batch->reach : 0;
	batch->wanted = wanted;
	batch->reach = get_float8_infinity();
	state->ncandidates = state->nestimates = 0;
	state->reach_is_fixed = false;
}

/*
 * A training copies rows into new lists, and this scan began while it did: it
 * reads the old lists, which stay as they were, and here what came since.  A row
 * was either put into an old list before its page was copied or frozen, or is in
 * a new one and not marked as copied: never both (README.md).  There are few,
 * and no measurement says yet which of these lists are worth it: all of them.
 *
 * The new lists may have another codec, so this is a scan of its own that gathers
 * into the same pool.  It leaves the relation cache to the old ones.  As it ends here
 * it has no reach: all its rows go to the pool, and extend_reach() need not come back.
 */
static void
visit_next_generation(Relation index, IvfScanState *state)
{
	MemoryContext context = AllocSetContextCreate(state->context, "ivf next generation",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	IvfScanState *next = palloc(sizeof(IvfScanState));
	ScanBatch	all;

	*next = *state;
	next->beside = true;
	ivf_meta_take_next(&next->meta);
	ivf_layout(&next->meta, &next->layout);
	next->sums = palloc(sizeof(float) * next->layout.max_rows);
	if (next->layout.has_codes)
		begin_batch(next, &all, 0, false);
	if (next->layout.has_codes && next->query != NULL)
	{
		ivf_codec_open(index, &next->meta, &next->codec);
		make_room(next, &next->codec);
		code_query(next, &next->codec);
		next->coded.codec = &next->codec;
	}
	MemoryContextSwitchTo(old);

	for (uint32 list = 0; list < next->meta.lists; list++)
	{
		IvfCursor	cursor;

		ivf_cursor_start(index, &cursor, &next->meta, list);
		visit_list(index, next, &cursor, InvalidBlockNumber);
	}
	state->gathered = next->gathered;
	state->dropped = next->dropped;
	MemoryContextDelete(context);
}

/* Is the next list part of the batch that ends at list `end`, or of the first one? */
static bool
in_batch(const IvfScanState *state, bool first, uint32 end)
{
	if (!state->has_next || state->visited >= state->max_lists)
		return false;
	if (!first)
		return state->visited < end;
	if (state->visited == 0)
		return true;
	if (state->probes > 0)
		return state->visited < state->probes;
	/* efforts of later lists need no comparison: theirs is the most so far */
	return ivf_effort(&state->meta, state->rows_before, state->nearest,
					  state->next_distance) <= state->effort;
}

/* What the batch at hand has taken goes to the pool. */
static void
end_batch(IvfScanState *state)
{
	if (state->batch != NULL)
	{
		sift_candidates(state);
		pass_candidates(state);
		state->reach = get_float8_infinity();
		for (int i = 0; i < state->nbatches; i++)
			state->reach = Min(state->reach, state->batches[i].reach);
	}
	pool_end_batch(state->pool);
}

/* Remember a list that is visited, so that it can be visited once more. */
static void
remember_list(IvfScanState *state, uint32 list)
{
	if (state->visited == state->lists_size)
	{
		state->lists_size = Max(2 * state->lists_size, 64);
		state->lists_visited = state->lists_visited == NULL ?
			MemoryContextAlloc(state->context, sizeof(uint32) * state->lists_size) :
			repalloc(state->lists_visited, sizeof(uint32) * state->lists_size);
	}
	state->lists_visited[state->visited] = list;
}

/* Gather the next batch of lists; false when there is none left. */
static bool
next_batch(Relation index, IvfScanState *state)
{
	bool		first = state->visited == 0;
	uint32		end = state->visited * 2;
	bool		more;
	IvfCursor	next;

	if (!state->has_next || state->visited >= state->max_lists ||
		(!first && state->iterative_scan == ITERATIVE_SCAN_OFF))
		return false;
	if (end >= state->meta.lists / FINISH_SHARE)
		end = state->meta.lists;

	if (state->layout.has_codes)
	{
		ScanBatch  *batch = &state->batches[state->nbatches++];

		Assert(state->nbatches <= MAX_BATCHES);
		batch->first = state->visited;
		begin_batch(state, batch, state->query == NULL ? 0 : state->first_reach, false);
	}
	if (first && state->meta.next_generation != 0)
		visit_next_generation(index, state);
	more = in_batch(state, first, end);
	if (more)
		ivf_cursor_start(index, &next, &state->meta, state->next_list);
	while (more)
	{
		IvfCursor	list = next;

		if (state->layout.has_codes)
			remember_list(state, list.list);
		state->rows_before += list.rows;
		state->visited++;
		advance_list(index, state);

		/* know the next one's first page, so that it can be prefetched */
		more = in_batch(state, first, end);
		if (more)
		{
			ivf_cursor_start(index, &next, &state->meta, state->next_list);
			(void) page_guess(index, next.head);
		}
		visit_list(index, state, &list, more ? next.head : InvalidBlockNumber);
	}
	if (state->batch != NULL)
		state->batch->end = state->visited;
	end_batch(state);
	return true;
}

/* Read the lists of the batch with the least reach once more, and take farther rows. */
static void
extend_reach(Relation index, IvfScanState *state)
{
	ScanBatch  *batch = state->batches;
	IvfCursor	next;

	for (int i = 1; i < state->nbatches; i++)
		if (state->batches[i].reach < batch->reach)
			batch = &state->batches[i];
	begin_batch(state, batch, batch->wanted < SECOND_REACH ? SECOND_REACH : 0, true);
	state->extended = true;
	ivf_cursor_start(index, &next, &state->meta, state->lists_visited[batch->first]);
	for (uint32 i = batch->first; i < batch->end; i++)
	{
		IvfCursor	list = next;
		bool		more = i + 1 < batch->end;

		if (more)
			ivf_cursor_start(index, &next, &state->meta, state->lists_visited[i + 1]);
		visit_list(index, state, &list, more ? next.head : InvalidBlockNumber);
	}

	/*
	 * Rows that were inserted meanwhile, and are nearer, may have lowered the
	 * reach below what it was: up to there the pool has had all rows, and
	 * must not get them again.
	 */
	batch->reach = Max(batch->reach, state->beyond);
	end_batch(state);
}

/* The next row in the order of the bounds; false: gather more. */
static bool
next_bound(Relation index, IvfScanState *state, double *bound, ItemPointer tid)
{
	for (;;)
	{
		double		least;
		bool		pending = pool_peek(state->pool, &least);

		if (pending && !(least > state->reach))
			return pool_pop(state->pool, bound, tid);
		if (isinf(state->reach))
			return pending && pool_pop(state->pool, bound, tid);
		extend_reach(index, state);
	}
}

/* A row's distance from its value in the table; false: the snapshot sees no such row. */
static bool
fetch_distance(IndexScanDesc scan, IvfScanState *state, ItemPointer tid, double *distance)
{
	Datum		datum;
	const float *value;
	int			dims = state->meta.dims;
	MemoryContext old;

	if (!exact_fetch(state->exact_rows, scan, tid, &datum))
		return false;
	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(datum)))
	{
		*distance = exact_operator_distance(state->exact_rows, scan, datum);
		return true;
	}
	old = MemoryContextSwitchTo(exact_context(state->exact_rows));
	value = support_value(datum, dims)->x;
	MemoryContextSwitchTo(old);
	if (state->meta.metric == METRIC_L2)
		*distance = row_distance(state, kernel->l2sq(state->query, value, dims), 0);
	else
		*distance = row_distance(state, kernel->ip(state->query, value, dims),
								 state->meta.metric == METRIC_COSINE ?
								 kernel->normsq(value, dims) : 0);
	return true;
}

/* Rows that will soon be wanted from the table, or their copies, into the cache */
static void
prefetch_ahead(IndexScanDesc scan, const IvfScanState *state)
{
	ItemPointer ahead = pool_ahead(state->pool, PREFETCH_ROW);

	if (state->use_copies)
	{
		if (ahead != NULL && place_number(ahead) != NO_PLACE)
			ivf_copy_prefetch(scan->indexRelation, &state->layout,
							  &state->notes->places[place_number(ahead)]);
		return;
	}
	if (ahead != NULL)
		heap_prefetch_row(scan, ahead);
	if ((ahead = pool_ahead(state->pool, PREFETCH_PAGE)) != NULL)
		heap_prefetch_page(scan, ahead);
}

/*
 * Of the farthest row handed out only bounds are known, and a row that came late lies
 * between them: find its distance, too.
 */
static void
find_last_distance(IndexScanDesc scan, IvfScanState *state)
{
	/* where the snapshot sees no such row, it was not handed on */
	(void) fetch_distance(scan, state, &state->last_tid, &state->last_low);
	state->last_distance = state->last_low;
}

/* A row comes to those whose distance lies between two bounds, unless it comes too late. */
static void
put_row(IvfScanState *state, double low, double high, ItemPointer tid)
{
	if (state->iterative_scan != ITERATIVE_SCAN_RELAXED && low < state->last_distance)
		state->dropped++;
	else
		exact_put(state->exact_rows, low, high, tid);
}

/* The same with its distance, from the table */
static void
put_exact(IndexScanDesc scan, IvfScanState *state, ItemPointer tid)
{
	double		distance;

	if (!fetch_distance(scan, state, tid, &distance))
	{
		/*
		 * as if it had been handed out: ivfflat leaves such rows to the
		 * executor
		 */
		state->handed_out++;
		return;
	}
	if (state->iterative_scan != ITERATIVE_SCAN_RELAXED &&
		distance < state->last_distance && distance >= state->last_low)
		find_last_distance(scan, state);
	put_row(state, distance, distance, tid);
}

/*
 * The row that an item of the pool stands for comes to those with a distance, or
 * with bounds of it from its copy.
 */
static void
make_exact(IndexScanDesc scan, IvfScanState *state, const ItemPointerData *item)
{
	ItemPointerData tid = *item;
	double		low;
	double		high;
	IvfPlace	place;

	if (state->use_copies && take_place(state, item, &place))
	{
		tid = place.tid;

		/* where it comes late, or may, only its distance can tell */
		if (place.block != InvalidBlockNumber &&
			ivf_copy_bounds(scan->indexRelation, &state->layout, &place, &state->copy_query,
							&low, &high) &&
			(state->iterative_scan == ITERATIVE_SCAN_RELAXED || low >= state->last_distance ||
			 high < state->last_low))
		{
			put_row(state, low, high, &tid);
			return;
		}
	}
	put_exact(scan, state, &tid);
}

/*
 * Take the row with the least bound from those that have a distance, or bounds of it,
 * to hand it out.  Its place is certain where no row that is still to come may be nearer than
 * it can be far, and none of those handed out farther than it can be near; if not, or where nobody
 * knows any more how far it can be (exact.c), it gets its distance, and false is returned.
 */
static bool
take_nearest(IndexScanDesc scan, IvfScanState *state, ItemPointer tid)
{
	double		low;
	double		high;
	double		next_low;
	double		next_high;

	(void) exact_pop(state->exact_rows, &low, &high, tid);
	if (!(low == high || isnan(high) ||
		  (!isinf(high) && low >= state->greatest_high &&
		   !(exact_nearest(state->exact_rows, &next_low, &next_high) && high > next_low))))
	{
		put_exact(scan, state, tid);
		return false;
	}
	state->greatest_high = Max(state->greatest_high, high);
	if (!(state->last_distance > high))
	{
		state->last_distance = high;
		state->last_low = low;
		state->last_tid = *tid;
	}
	return true;
}

/* The next row of ivfpq in the order of exact distances; false: gather more. */
static bool
next_exact(IndexScanDesc scan, IvfScanState *state, ItemPointer tid)
{
	for (;;)
	{
		double		bound;
		double		low;
		double		high;
		bool		pending = pool_peek(state->pool, &bound);
		ItemPointerData item;

		/* rows beyond the reach are not in the pool, but pending */
		if (!isinf(state->reach) && (!pending || bound > state->reach))
		{
			pending = true;
			bound = state->reach;
		}
		if (exact_nearest(state->exact_rows, &low, &high))
		{
			/*
			 * one whose upper bound was forgotten must not wait for all
			 * others: its distance tells
			 */
			if (!pending ||
				(state->rerank_k > 0 ? exact_count(state->exact_rows) >= (Size) state->rerank_k :
				 (isinf(high) ? low : high) <= bound_distance(state, bound)))
			{
				CHECK_FOR_INTERRUPTS();
				if (take_nearest(scan, state, tid))
					return true;
				continue;
			}
		}
		else if (!pending)
			return false;

		CHECK_FOR_INTERRUPTS();
		/* there may be none beyond the reach */
		if (!next_bound(scan->indexRelation, state, &bound, &item))
			continue;
		prefetch_ahead(scan, state);
		make_exact(scan, state, &item);
	}
}

bool
ivfgettuple(IndexScanDesc scan, ScanDirection dir)
{
	IvfScanState *state = (IvfScanState *) scan->opaque;
	ItemPointerData tid;

	Assert(ScanDirectionIsForward(dir));
	if (!state->started)
		start_scan(scan, state);

	for (;;)
	{
		bool		enough = state->visited > 0;

		if (state->iterative_scan == ITERATIVE_SCAN_STRICT)
			enough = state->handed_out < state->gathered /
				ivf_look_ahead(state->probes);
		if (!enough && next_batch(scan->indexRelation, state))
			continue;

		if (state->exact)
		{
			if (next_exact(scan, state, &tid))
				break;
		}
		else if (next_bound(scan->indexRelation, state, &state->last_distance, &tid))
			break;
		if (!next_batch(scan->indexRelation, state))
		{
			if (state->exact_rows)
				exact_let_go(state->exact_rows);
			return false;
		}
	}

	heap_hand_out(scan, &tid);
	state->handed_out++;
	return true;
}

void
ivfendscan(IndexScanDesc scan)
{
	IvfScanState *state = (IvfScanState *) scan->opaque;

	finish_scan(scan, state);
	/* tuplesorts may own files, which no memory context closes */
	if (state->exact_rows)
		exact_free(state->exact_rows);
	pool_free(state->pool);
	pool_free(state->groups);
	MemoryContextDelete(state->context);
	scan->opaque = NULL;
}
