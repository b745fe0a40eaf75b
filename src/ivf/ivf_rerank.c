/*-------------------------------------------------------------------------
 *
 * ivf_rerank.c
 *	  Exact distances for ivfpq: a row's value from the table, and a heap of
 *	  the rows that have their distance, or bounds of it, nearest first.
 *
 * The value is fetched as the executor would fetch the row, under the scan's
 * snapshot (ivf_fetch.c).  The index's TID leads to a chain of which one
 * version at most is visible; a row that is not is no row of the answer.  The
 * executor fetches the few that are handed out once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "compat.h"
#include "ivf/ivf_private.h"

#define INITIAL_ITEMS	256

typedef struct ExactItem
{
	double		distance;		/* or the lower bound of it ... */
	double		high;			/* ... and the upper one */
	ItemPointerData tid;
} ExactItem;

struct IvfRerank
{
	MemoryContext context;		/* of all below; the scan's */
	IvfFetch   *fetch;			/* made with the first fetch */

	/* binary heap */
	ExactItem  *items;
	Size		size;
	Size		n;
};

/* In the current memory context. */
IvfRerank *
ivf_rerank_create(void)
{
	IvfRerank  *rerank = palloc0(sizeof(IvfRerank));

	rerank->context = CurrentMemoryContext;
	rerank->size = INITIAL_ITEMS;
	rerank->items = palloc(sizeof(ExactItem) * rerank->size);
	return rerank;
}

/* A new scan begins: forget rows, let go of pages. */
void
ivf_rerank_reset(IvfRerank *rerank)
{
	rerank->n = 0;
	if (rerank->fetch)
		ivf_fetch_reset(rerank->fetch);
}

/* The scan ends; memory is its context's. */
void
ivf_rerank_free(IvfRerank *rerank)
{
	if (rerank->fetch == NULL)
		return;
	ivf_fetch_end(rerank->fetch);
	rerank->fetch = NULL;
}

/*
 * The value of the row that the TID leads to, valid until the next call; false
 * when the snapshot sees none.
 */
bool
ivf_rerank_fetch(IvfRerank *rerank, IndexScanDesc scan, ItemPointer tid, int dims,
				 const float **value)
{
	Datum		datum;
	MemoryContext old;

	if (rerank->fetch == NULL)
	{
		old = MemoryContextSwitchTo(rerank->context);
		rerank->fetch = ivf_fetch_begin(scan->heapRelation, scan->indexRelation);
		MemoryContextSwitchTo(old);
	}
	heap_check_block(scan, ItemPointerGetBlockNumberNoCheck(tid));
	/* the executor will prune the pages of those handed out */
	heap_find_page(scan->heapRelation, rerank->fetch->table, tid, false);
	if (!ivf_fetch_visible(rerank->fetch, tid, scan->xs_snapshot, &datum))
		return false;
	heap_remember_fetch(scan, rerank->fetch->table);

	old = MemoryContextSwitchTo(rerank->fetch->row_context);
	*value = support_value(datum, dims)->x;
	MemoryContextSwitchTo(old);
	return true;
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
ivf_rerank_put(IvfRerank *rerank, double low, double high, ItemPointer tid)
{
	ExactItem	item = {low, high, *tid};
	Size		at = rerank->n++;

	if (at == rerank->size)
	{
		rerank->size *= 2;
		rerank->items = repalloc_huge(rerank->items, sizeof(ExactItem) * rerank->size);
	}
	while (at > 0 && nearer(&item, &rerank->items[(at - 1) / 2]))
	{
		rerank->items[at] = rerank->items[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	rerank->items[at] = item;
}

/* Bounds of the row with the least lower one */
bool
ivf_rerank_nearest(const IvfRerank *rerank, double *low, double *high)
{
	if (rerank->n == 0)
		return false;
	*low = rerank->items[0].distance;
	*high = rerank->items[0].high;
	return true;
}

bool
ivf_rerank_pop(IvfRerank *rerank, double *low, double *high, ItemPointer tid)
{
	ExactItem  *items = rerank->items;
	ExactItem	last;
	Size		at = 0;

	if (rerank->n == 0)
		return false;
	*low = items[0].distance;
	*high = items[0].high;
	*tid = items[0].tid;

	last = items[--rerank->n];
	for (;;)
	{
		Size		child = 2 * at + 1;

		if (child >= rerank->n)
			break;
		if (child + 1 < rerank->n && nearer(&items[child + 1], &items[child]))
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
ivf_rerank_count(const IvfRerank *rerank)
{
	return rerank->n;
}
