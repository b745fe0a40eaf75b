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
#include "utils/memutils.h"

#include "am/exact.h"
#include "am/fetch.h"
#include "am/heap.h"
#include "compat.h"

#define INITIAL_ITEMS	256

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
};

/* In the current memory context. */
ExactRows *
exact_create(void)
{
	ExactRows  *rows = palloc0(sizeof(ExactRows));

	rows->context = CurrentMemoryContext;
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
	exact_let_go(rows);
}

/* The scan ends; memory is its context's. */
void
exact_free(ExactRows *rows)
{
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

/* Put a row into the heap, whose distance is between two bounds; both the same: is that. */
void
exact_put(ExactRows *rows, double low, double high, ItemPointer tid)
{
	ExactItem	item = {low, high, *tid};
	Size		at = rows->n++;

	if (at == rows->size)
	{
		rows->size *= 2;
		rows->items = repalloc_huge(rows->items, sizeof(ExactItem) * rows->size);
	}
	while (at > 0 && nearer(&item, &rows->items[(at - 1) / 2]))
	{
		rows->items[at] = rows->items[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	rows->items[at] = item;
}

/* Bounds of the row with the least lower one */
bool
exact_nearest(const ExactRows *rows, double *low, double *high)
{
	if (rows->n == 0)
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

	if (rows->n == 0)
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
	return rows->n;
}
