/*-------------------------------------------------------------------------
 *
 * ivf_rerank.c
 *	  Exact distances for ivfpq: a row's value from the table, and a heap of
 *	  the rows that have their distance, nearest first.
 *
 * The value is fetched as the executor would fetch the row: under the scan's
 * snapshot, through the HOT chain, and detoasted; where the index is on an
 * expression, that is evaluated.  The index's TID leads to a chain of which one
 * version at most is visible; a row that is not is no row of the answer.  The
 * executor fetches the few that are handed out once more.
 *
 * No lock is held on any page meanwhile; a pin on the last page of the table
 * is, as by any index scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "compat.h"
#include "ivf/ivf_private.h"

#define INITIAL_ITEMS	256

typedef struct ExactItem
{
	double		distance;
	ItemPointerData tid;
} ExactItem;

struct IvfRerank
{
	MemoryContext context;		/* of all below; the scan's */
	MemoryContext row_context;	/* of one value; reset with each row */

	/* made with the first fetch */
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	IndexInfo  *info;
	AttrNumber	column;			/* 0: an expression */
	EState	   *estate;			/* for that, or NULL */

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
	rerank->row_context = AllocSetContextCreate(CurrentMemoryContext, "ivfpq row",
												ALLOCSET_DEFAULT_SIZES);
	rerank->size = INITIAL_ITEMS;
	rerank->items = palloc(sizeof(ExactItem) * rerank->size);
	return rerank;
}

/* A new scan begins: forget rows, let go of pages. */
void
ivf_rerank_reset(IvfRerank *rerank)
{
	rerank->n = 0;
	if (rerank->fetch == NULL)
		return;
	ExecClearTuple(rerank->slot);
	table_index_fetch_reset(rerank->fetch);
}

/* The scan ends; memory is its context's. */
void
ivf_rerank_free(IvfRerank *rerank)
{
	if (rerank->fetch == NULL)
		return;
	ExecDropSingleTupleTableSlot(rerank->slot);
	table_index_fetch_end(rerank->fetch);
	if (rerank->estate)
		FreeExecutorState(rerank->estate);
	rerank->fetch = NULL;
}

static void
begin_fetch(IvfRerank *rerank, IndexScanDesc scan)
{
	MemoryContext old = MemoryContextSwitchTo(rerank->context);

	rerank->info = BuildIndexInfo(scan->indexRelation);
	rerank->column = rerank->info->ii_IndexAttrNumbers[0];
	rerank->slot = table_slot_create(scan->heapRelation, NULL);
	if (rerank->column == 0)
	{
		rerank->estate = CreateExecutorState();
		GetPerTupleExprContext(rerank->estate)->ecxt_scantuple = rerank->slot;
	}
	rerank->fetch = table_index_fetch_begin(scan->heapRelation);
	MemoryContextSwitchTo(old);
}

/*
 * The value of the row that the TID leads to, valid until the next call; false
 * when the snapshot sees none.
 */
bool
ivf_rerank_fetch(IvfRerank *rerank, IndexScanDesc scan, ItemPointer tid, int dims,
				 const float **value)
{
	ItemPointerData at = *tid;	/* becomes that of the chain's member */
	bool		call_again = false;
	bool		all_dead;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	MemoryContext old;

	if (rerank->fetch == NULL)
		begin_fetch(rerank, scan);
	heap_check_block(scan, ItemPointerGetBlockNumberNoCheck(tid));
	if (!table_index_fetch_tuple(rerank->fetch, &at, scan->xs_snapshot, rerank->slot,
								 &call_again, &all_dead))
		return false;
	heap_remember_fetch(scan, rerank->fetch);

	MemoryContextReset(rerank->row_context);
	old = MemoryContextSwitchTo(rerank->row_context);
	if (rerank->column != 0)
		values[0] = slot_getattr(rerank->slot, rerank->column, &isnull[0]);
	else
	{
		ResetPerTupleExprContext(rerank->estate);
		FormIndexDatum(rerank->info, rerank->slot, rerank->estate, values, isnull);
	}
	/* it was not NULL when it was indexed: an index that names a wrong row */
	if (!isnull[0])
		*value = support_value(values[0], dims)->x;
	MemoryContextSwitchTo(old);
	return !isnull[0];
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

void
ivf_rerank_put(IvfRerank *rerank, double distance, ItemPointer tid)
{
	ExactItem	item = {distance, *tid};
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

bool
ivf_rerank_nearest(const IvfRerank *rerank, double *distance)
{
	if (rerank->n == 0)
		return false;
	*distance = rerank->items[0].distance;
	return true;
}

bool
ivf_rerank_pop(IvfRerank *rerank, double *distance, ItemPointer tid)
{
	ExactItem  *items = rerank->items;
	ExactItem	last;
	Size		at = 0;

	if (rerank->n == 0)
		return false;
	*distance = items[0].distance;
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
