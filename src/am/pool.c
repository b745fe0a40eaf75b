/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  Candidates of a scan, handed out nearest first.
 *
 * Memory: items[] holds, from left to right, what was popped already, the
 * sorted front, and the rest in any order, none of it nearer than the front.
 *
 *		popped      sorted            rest
 *	  |----------|------------|-----------------|
 *	  0         head      sorted_end            n
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "am/pool.h"
#include "compat.h"

/*
 * The front that the first pass aims at, and each further one at twice as many, so that who pops all pays for
 * few passes; and how many keys it looks at to get there
 */
#define POOL_FRONT			32
#define POOL_SAMPLE			32
/* up to how many items are sorted by insertion */
#define POOL_INSERTION		64
#define POOL_INITIAL_ITEMS	1024
/* spilled batches, each with memory of its own; of more, small ones become one */
#define POOL_MAX_RUNS		8

typedef struct PoolItem
{
	double		distance;
	ItemPointerData tid;
} PoolItem;

/* A batch's overflow: a finished sort, its next item, and how many come after that. */
typedef struct PoolRun
{
	Tuplesortstate *sort;
	PoolItem	next;
	uint64		rest;
} PoolRun;

struct CandidatePool
{
	MemoryContext context;
	Size		max_items;		/* in memory */
	int			sort_mem;		/* kB for each spilled batch */

	PoolItem   *items;
	Size		size;			/* of items[] */
	Size		head;
	Size		sorted_end;
	Size		n;
	Size		front;			/* what the next pass aims at */

	Tuplesortstate *spill;		/* overflow of the batch being added, or NULL */
	uint64		nspilled;		/* so many items */
	TupleDesc	tupdesc;		/* (distance, tid); made with the first spill */
	TupleTableSlot *slot;
	TupleTableSlot *sort_slot;
	PoolRun    *runs;			/* none is used up */
	int			nruns;
};

/* Nearer first; NaN after everything, as float8 orders it; then by TID. */
static int
item_cmp(const void *pa, const void *pb)
{
	const PoolItem *a = pa;
	const PoolItem *b = pb;

	if (likely(a->distance < b->distance))
		return -1;
	if (likely(a->distance > b->distance))
		return 1;
	if (unlikely(isnan(a->distance) != isnan(b->distance)))
		return isnan(a->distance) ? 1 : -1;
	return ItemPointerCompare(unconstify(ItemPointerData *, &a->tid),
							  unconstify(ItemPointerData *, &b->tid));
}

static inline bool
item_less(const PoolItem *a, const PoolItem *b)
{
	return item_cmp(a, b) < 0;
}

/* Few are sorted by insertion, which needs no call for each comparison. */
static void
sort_items(PoolItem *items, Size n)
{
	if (n > POOL_INSERTION)
	{
		qsort(items, n, sizeof(PoolItem), item_cmp);
		return;
	}
	for (Size i = 1; i < n; i++)
	{
		PoolItem	item = items[i];
		Size		at = i;

		for (; at > 0 && item_less(&item, &items[at - 1]); at--)
			items[at] = items[at - 1];
		items[at] = item;
	}
}

CandidatePool *
pool_create(Size max_bytes)
{
	CandidatePool *pool = palloc0(sizeof(CandidatePool));

	pool->context = CurrentMemoryContext;
	pool->max_items = Max(max_bytes / sizeof(PoolItem), POOL_INITIAL_ITEMS);
	pool->max_items = Min(pool->max_items, MaxAllocHugeSize / sizeof(PoolItem));
	pool->sort_mem = (int) Min(Max(max_bytes / 1024, 64), MAX_KILOBYTES);
	pool->front = POOL_FRONT;
	pool->size = POOL_INITIAL_ITEMS;
	pool->items = palloc(pool->size * sizeof(PoolItem));
	return pool;
}

/* Forget all candidates; keep the memory. */
void
pool_reset(CandidatePool *pool)
{
	pool->head = pool->sorted_end = pool->n = 0;
	pool->front = POOL_FRONT;
	if (pool->spill)
		tuplesort_end(pool->spill);
	pool->spill = NULL;
	pool->nspilled = 0;
	for (int i = 0; i < pool->nruns; i++)
		tuplesort_end(pool->runs[i].sort);
	pool->nruns = 0;
}

void
pool_free(CandidatePool *pool)
{
	pool_reset(pool);
	if (pool->slot)
	{
		ExecDropSingleTupleTableSlot(pool->slot);
		ExecDropSingleTupleTableSlot(pool->sort_slot);
		FreeTupleDesc(pool->tupdesc);
	}
	if (pool->runs)
		pfree(pool->runs);
	pfree(pool->items);
	pfree(pool);
}

/* Send one candidate to the tuplesort of this batch. */
static void
spill_item(CandidatePool *pool, double distance, ItemPointer tid)
{
	if (pool->spill == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(pool->context);
		AttrNumber	keys[] = {1, 2};
		Oid			operators[] = {Float8LessOperator, TIDLessOperator};
		Oid			collations[] = {InvalidOid, InvalidOid};
		bool		nulls_first[] = {false, false};

		if (pool->tupdesc == NULL)
		{
			pool->tupdesc = CreateTemplateTupleDesc(2);
			TupleDescInitEntry(pool->tupdesc, 1, "distance", FLOAT8OID, -1, 0);
			TupleDescInitEntry(pool->tupdesc, 2, "tid", TIDOID, -1, 0);
			pool->slot = MakeSingleTupleTableSlot(pool->tupdesc, &TTSOpsVirtual);
			pool->sort_slot = MakeSingleTupleTableSlot(pool->tupdesc, &TTSOpsMinimalTuple);
		}
		pool->spill = tuplesort_begin_heap(pool->tupdesc, 2, keys, operators,
										   collations, nulls_first,
										   pool->sort_mem, NULL, TUPLESORT_NONE);
		MemoryContextSwitchTo(old);
	}

	ExecClearTuple(pool->slot);
	pool->slot->tts_values[0] = Float8GetDatum(distance);
	pool->slot->tts_isnull[0] = false;
	pool->slot->tts_values[1] = PointerGetDatum(tid);
	pool->slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(pool->slot);
	tuplesort_puttupleslot(pool->spill, pool->slot);
	pool->nspilled++;
}

void
pool_add(CandidatePool *pool, double distance, ItemPointer tid)
{
	PoolItem   *item;

	if (unlikely(pool->n == pool->size))
	{
		if (pool->head > pool->size / 2)
		{
			/* the popped ones leave room enough */
			memmove(pool->items, pool->items + pool->head,
					(pool->n - pool->head) * sizeof(PoolItem));
			pool->n -= pool->head;
			pool->sorted_end -= pool->head;
			pool->head = 0;
		}
		else if (pool->size < pool->max_items)
		{
			pool->size = Min(pool->size * 2, pool->max_items);
			pool->items = repalloc_huge(pool->items, pool->size * sizeof(PoolItem));
		}
		else
		{
			spill_item(pool, distance, tid);
			return;
		}
	}

	item = &pool->items[pool->n++];
	item->distance = distance;
	item->tid = *tid;
}

/* The run's next item; a run that has none is gone. */
static void
advance_run(CandidatePool *pool, PoolRun *run)
{
	bool		isnull;

	if (!tuplesort_gettupleslot(run->sort, true, false, pool->sort_slot, NULL))
	{
		tuplesort_end(run->sort);
		pool->nruns--;
		memmove(run, run + 1, (pool->runs + pool->nruns - run) * sizeof(PoolRun));
		return;
	}
	run->next.distance = DatumGetFloat8(slot_getattr(pool->sort_slot, 1, &isnull));
	run->next.tid = *(ItemPointer) DatumGetPointer(slot_getattr(pool->sort_slot, 2, &isnull));
	run->rest--;
}

/* What is left of the last run comes to the batch being added. */
static void
absorb_run(CandidatePool *pool)
{
	PoolRun    *run = &pool->runs[--pool->nruns];

	spill_item(pool, run->next.distance, &run->next.tid);
	while (tuplesort_gettupleslot(run->sort, true, false, pool->sort_slot, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		tuplesort_puttupleslot(pool->spill, pool->sort_slot);
	}
	pool->nspilled += run->rest;
	tuplesort_end(run->sort);
}

/* After the last candidate of a batch: what comes next may be among them. */
void
pool_end_batch(CandidatePool *pool)
{
	pool->sorted_end = pool->head;
	if (pool->spill)
	{
		MemoryContext old = MemoryContextSwitchTo(pool->context);
		PoolRun    *run;

		/*
		 * Runs that are much larger stay as they are, so that an item is
		 * sorted anew a few times, however many batches there are.
		 */
		if (pool->nruns == POOL_MAX_RUNS)
			do
				absorb_run(pool);
			while (pool->nruns > 0 && pool->runs[pool->nruns - 1].rest <= 2 * pool->nspilled);

		tuplesort_performsort(pool->spill);
		if (pool->runs == NULL)
			pool->runs = palloc(sizeof(PoolRun) * POOL_MAX_RUNS);
		run = &pool->runs[pool->nruns++];
		run->sort = pool->spill;
		run->rest = pool->nspilled;
		pool->spill = NULL;
		pool->nspilled = 0;
		advance_run(pool, run);
		MemoryContextSwitchTo(old);
	}
}

/*
 * Bring the next candidates to the front and sort them, at first a few dozen.  A pivot
 * from a small sample makes this one pass with a branch that is nearly always
 * the same; where the sample misleads (few distinct distances), everything
 * that is left is sorted.
 */
static void
sort_front(CandidatePool *pool)
{
	PoolItem   *rest = pool->items + pool->head;
	Size		n = pool->n - pool->head;
	Size		front = 0;

	if (n > 2 * pool->front)
	{
		PoolItem	sample[POOL_SAMPLE];
		PoolItem	pivot;
		Size		rank;

		for (int i = 0; i < POOL_SAMPLE; i++)
			sample[i] = rest[(n / POOL_SAMPLE) * i];
		sort_items(sample, POOL_SAMPLE);
		rank = POOL_SAMPLE * pool->front / n;
		pivot = sample[rank];

		for (Size i = 0; i < n; i++)
		{
			if (unlikely(!(rest[i].distance > pivot.distance)) && !item_less(&pivot, &rest[i]))
			{
				PoolItem	tmp = rest[i];

				rest[i] = rest[front];
				rest[front++] = tmp;
			}
		}
	}
	if (front == 0 || front > n / 2)
		front = n;

	sort_items(rest, front);
	pool->sorted_end = pool->head + front;
	pool->front = Min(2 * pool->front, pool->max_items);
}

/* Where the nearest candidate is; NULL when there is none.  *from: its run, or NULL. */
static PoolItem *
find_nearest(CandidatePool *pool, PoolRun **from)
{
	PoolItem   *best = NULL;

	*from = NULL;
	if (pool->head == pool->sorted_end && pool->head < pool->n)
		sort_front(pool);
	if (pool->head < pool->n)
		best = &pool->items[pool->head];

	for (int i = 0; i < pool->nruns; i++)
	{
		PoolRun    *run = &pool->runs[i];

		if (best == NULL || item_less(&run->next, best))
		{
			best = &run->next;
			*from = run;
		}
	}
	return best;
}

/* The nearest candidate not yet handed out; false when there is none. */
bool
pool_pop(CandidatePool *pool, double *distance, ItemPointer tid)
{
	PoolRun    *from;
	PoolItem   *best = find_nearest(pool, &from);

	if (best == NULL)
		return false;

	*distance = best->distance;
	*tid = best->tid;
	if (from)
		advance_run(pool, from);
	else
		pool->head++;
	return true;
}

/* How far away is the candidate that pool_pop() would hand out?  False when there is none. */
bool
pool_peek(CandidatePool *pool, double *distance)
{
	PoolRun    *from;
	PoolItem   *best = find_nearest(pool, &from);

	if (best == NULL)
		return false;
	*distance = best->distance;
	return true;
}

/*
 * The TID of the candidate that comes i places after the next one, or NULL: only a
 * guess, for prefetching, and only among those already sorted.
 */
ItemPointer
pool_ahead(CandidatePool *pool, int i)
{
	return pool->head + i < pool->sorted_end ? &pool->items[pool->head + i].tid : NULL;
}
