/*-------------------------------------------------------------------------
 *
 * exact.c
 *	  Rows of a scan by exact distance: a row's value from the table, and a heap of
 *	  the rows that have their distance, or bounds of it, nearest first.
 *
 * The value is fetched as the executor would fetch the row, under the scan's
 * snapshot (fetch.c).  The index's TID leads to a chain of which one
 * version at most is visible; a row that is not is no row of the answer.  The
 * executor fetches those that are handed out once more.
 *
 * A search that makes every row exact has them all in hand before the first one goes out, and
 * one of wide bounds many.  So the heap has the nearest only, in half of the memory, and the others go to
 * a pool (pool.c), which spills.  Nothing in the pool is nearer than `cut`, nothing in the heap
 * farther: so the pool is not looked at before the heap is empty, and then its nearest rows
 * fill half of the heap.
 *
 * The executor could do some of this: an index that says xs_recheckorderby has it put
 * rows in order by their values.  But some servers (18.6; not 15.20, 17.12) then lose the
 * place of a row that had to wait: its ctid is (4294967295,0), and FOR UPDATE and WHERE CURRENT OF
 * fail.  So no index of ours says that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "am/exact.h"
#include "am/fetch.h"
#include "am/heap.h"
#include "am/pool.h"
#include "compat.h"

#define INITIAL_ITEMS	256
/* of so many rows the middle one says which are the nearer half */
#define CUT_SAMPLE		64

/*
 * The pool keeps one number for each row.  Of a row with two bounds that is the lower one, and its TID
 * has this mark in the offset, as no TID has; its upper bound is forgotten.
 */
#define BOUNDS_MARK		(1 << 15)
StaticAssertDecl(MaxOffsetNumber < BOUNDS_MARK, "no TID looks like one of a row with bounds");

typedef struct ExactItem
{
	double		distance;		/* or the lower bound of it ... */
	double		high;			/* ... and the upper one */
	ItemPointerData tid;
} ExactItem;

struct ExactRows
{
	MemoryContext context;		/* of all below; the scan's */
	bool		fetching;		/* fetch is in use, from the first fetch on */
	RowFetch	fetch;

	/* binary heap */
	ExactItem  *items;
	Size		size;
	Size		n;
	Size		max_items;

	/* the rows that have no place there, if there are any */
	Size		max_spilled_bytes;	/* of the pool in memory */
	CandidatePool *spilled;		/* made when it is wanted first */
	uint64		nspilled;
	ExactItem	cut;			/* see above; while there are some */
};

ExactRows *
exact_create(Size max_bytes)
{
	ExactRows  *rows = palloc0(sizeof(ExactRows));

	rows->context = CurrentMemoryContext;
	rows->max_items = Max(max_bytes / 2 / sizeof(ExactItem), INITIAL_ITEMS);
	rows->max_items = Min(rows->max_items, MaxAllocHugeSize / sizeof(ExactItem));
	rows->max_spilled_bytes = max_bytes / 2;
	rows->size = INITIAL_ITEMS;
	rows->items = palloc(sizeof(ExactItem) * rows->size);
	return rows;
}

/* The scan has no more rows, for now: let go of pages. */
void
exact_let_go(ExactRows *rows)
{
	if (rows->fetching)
		fetch_reset(&rows->fetch);
}

/* A new scan begins: forget rows, let go of pages. */
void
exact_reset(ExactRows *rows)
{
	rows->n = 0;
	rows->nspilled = 0;
	if (rows->spilled)
		pool_reset(rows->spilled);
	exact_let_go(rows);
}

/* The scan ends; memory is its context's, but files are not. */
void
exact_free(ExactRows *rows)
{
	if (rows->spilled)
		pool_free(rows->spilled);
	rows->spilled = NULL;
	if (rows->fetching)
		fetch_end(&rows->fetch);
	rows->fetching = false;
}

/*
 * The value of the row that the TID leads to, valid until the next call; false
 * when the snapshot sees none.
 */
bool
exact_fetch(ExactRows *rows, IndexScanDesc scan, ItemPointer tid, Datum *value)
{
	RowFetch   *fetch = &rows->fetch;

	if (!rows->fetching)
	{
		MemoryContext old = MemoryContextSwitchTo(rows->context);

		fetch_begin(fetch, scan->heapRelation, scan->indexRelation);
		MemoryContextSwitchTo(old);
		rows->fetching = true;
	}
	heap_check_block(scan, ItemPointerGetBlockNumberNoCheck(tid));
	/* the executor will prune the pages of those handed out */
	heap_find_page(scan->heapRelation, fetch->table, tid, false);
	if (!fetch_visible(fetch, tid, scan->xs_snapshot, value))
		return false;
	heap_remember_fetch(scan, fetch->table);
	return true;
}

/* For what is made of a row's value; reset with the next fetch. */
MemoryContext
exact_context(const ExactRows *rows)
{
	return rows->fetch.row_context;
}

/*
 * The operator's distance of such a value.  Of one in TOAST it is the operator that
 * computes it, which remembers it for when the executor asks (func/memo.c).
 */
double
exact_operator_distance(const ExactRows *rows, IndexScanDesc scan, Datum value)
{
	ScanKey		key = scan->orderByData;
	MemoryContext old = MemoryContextSwitchTo(exact_context(rows));
	double		distance = DatumGetFloat8(FunctionCall2Coll(&key->sk_func, key->sk_collation,
															value, key->sk_argument));

	MemoryContextSwitchTo(old);
	return distance;
}

/* Nearer first, NaN last, equal distances by TID: as the pool has it. */
static bool
nearer(const ExactItem *a, const ExactItem *b)
{
	if (a->distance != b->distance)
	{
		if (unlikely(isnan(a->distance) || isnan(b->distance)))
		{
			if (!isnan(a->distance) || !isnan(b->distance))
				return isnan(b->distance);
		}
		else
			return a->distance < b->distance;
	}
	return ItemPointerCompare(unconstify(ItemPointerData *, &a->tid),
							  unconstify(ItemPointerData *, &b->tid)) < 0;
}

/* For qsort: nearer first */
static int
item_cmp(const void *pa, const void *pb)
{
	const ExactItem *a = pa;
	const ExactItem *b = pb;

	return nearer(a, b) ? -1 : nearer(b, a) ? 1 : 0;
}

/* A row that has no place in the heap */
static void
spill_row(ExactRows *rows, const ExactItem *item)
{
	ItemPointerData tid = item->tid;

	if (item->high != item->distance && !isnan(item->high))
		ItemPointerSetOffsetNumber(&tid, ItemPointerGetOffsetNumberNoCheck(&tid) | BOUNDS_MARK);
	pool_add(rows->spilled, item->distance, &tid);
	rows->nspilled++;
}

/* Put a row into the heap, where there is room. */
static void
put_in_heap(ExactRows *rows, const ExactItem *item)
{
	Size		at = rows->n++;

	while (at > 0 && nearer(item, &rows->items[(at - 1) / 2]))
	{
		rows->items[at] = rows->items[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	rows->items[at] = *item;
}

/* The heap is full: make it larger, or leave about the nearer half of its rows there. */
static void
make_room(ExactRows *rows)
{
	ExactItem	sample[CUT_SAMPLE];
	Size		n = rows->n;

	if (rows->size < rows->max_items)
	{
		rows->size = Min(2 * rows->size, rows->max_items);
		rows->items = repalloc_huge(rows->items, sizeof(ExactItem) * rows->size);
		return;
	}
	if (rows->spilled == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(rows->context);

		rows->spilled = pool_create(rows->max_spilled_bytes);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < CUT_SAMPLE; i++)
		sample[i] = rows->items[(n / CUT_SAMPLE) * i];
	qsort(sample, CUT_SAMPLE, sizeof(ExactItem), item_cmp);
	rows->cut = sample[CUT_SAMPLE / 2];
	rows->n = 0;
	for (Size i = 0; i < n; i++)
	{
		ExactItem	item = rows->items[i];

		CHECK_FOR_INTERRUPTS();
		if (nearer(&item, &rows->cut))
			put_in_heap(rows, &item);
		else
			spill_row(rows, &item);
	}
}

/* The heap is empty: the nearest of the other rows come there.  False: there are none. */
static bool
refill(ExactRows *rows)
{
	ExactItem	item;

	if (rows->nspilled == 0)
		return false;
	pool_end_batch(rows->spilled);
	while (rows->n < rows->size / 2 && pool_pop(rows->spilled, &item.distance, &item.tid))
	{
		OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(&item.tid);

		CHECK_FOR_INTERRUPTS();
		rows->nspilled--;
		item.high = item.distance;
		if ((offset & BOUNDS_MARK) != 0)
		{
			ItemPointerSetOffsetNumber(&item.tid, offset & ~BOUNDS_MARK);
			item.high = get_float8_infinity();
		}
		put_in_heap(rows, &item);
	}
	Assert(rows->n > 0);
	rows->cut = item;
	return true;
}

/* Take a row whose distance is between two bounds; both the same: is that. */
void
exact_put(ExactRows *rows, double low, double high, ItemPointer tid)
{
	ExactItem	item = {low, high, *tid};

	if (rows->n == rows->size)
		make_room(rows);
	if (unlikely(rows->nspilled > 0) && !nearer(&item, &rows->cut))
		spill_row(rows, &item);
	else
		put_in_heap(rows, &item);
}

/* Bounds of the row with the least lower one; the upper one is Infinity where it was forgotten. */
bool
exact_nearest(ExactRows *rows, double *low, double *high)
{
	if (rows->n == 0 && !refill(rows))
		return false;
	*low = rows->items[0].distance;
	*high = rows->items[0].high;
	return true;
}

bool
exact_pop(ExactRows *rows, double *low, double *high, ItemPointer tid)
{
	ExactItem  *items = rows->items;
	ExactItem	last;
	Size		at = 0;

	if (rows->n == 0 && !refill(rows))
		return false;
	*low = items[0].distance;
	*high = items[0].high;
	*tid = items[0].tid;

	last = items[--rows->n];
	for (;;)
	{
		Size		child = 2 * at + 1;

		if (child >= rows->n)
			break;
		if (child + 1 < rows->n && nearer(&items[child + 1], &items[child]))
			child++;
		if (!nearer(&items[child], &last))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = last;
	return true;
}

/* How many rows have a distance, and were not handed out. */
Size
exact_count(const ExactRows *rows)
{
	return rows->n + rows->nspilled;
}
