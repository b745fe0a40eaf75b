/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  A row's value from the table, as the index has it, for an index that keeps
 *	  less than that.
 *
 * A scan wants the version that its snapshot sees: as the executor would fetch
 * it, through the HOT chain; where the index is on an expression, that is evaluated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/memutils.h"

#include "am/fetch.h"
#include "compat.h"

/* Begin to fetch rows; memory is the current context's. */
void
fetch_begin(RowFetch *fetch, Relation heap, Relation index)
{
	memset(fetch, 0, sizeof(RowFetch));
	fetch->heap = heap;
	fetch->index = index;
	fetch->row_context = AllocSetContextCreate(CurrentMemoryContext, "row's value",
											   ALLOCSET_DEFAULT_SIZES);
	fetch->info = BuildIndexInfo(index);
	fetch->column = fetch->info->ii_IndexAttrNumbers[0];
	fetch->slot = table_slot_create(heap, NULL);
	if (fetch->column == 0)
		fetch->estate = CreateExecutorState();
	fetch->table = table_index_fetch_begin(heap);
}

/* Let go of pages. */
void
fetch_reset(RowFetch *fetch)
{
	ExecClearTuple(fetch->slot);
	table_index_fetch_reset(fetch->table);
}

void
fetch_end(RowFetch *fetch)
{
	ExecDropSingleTupleTableSlot(fetch->slot);
	table_index_fetch_end(fetch->table);
	if (fetch->estate)
		FreeExecutorState(fetch->estate);
}

/* The value to index of the row in a slot; false: NULL.  Called in row_context. */
bool
fetch_indexed_value(RowFetch *fetch, TupleTableSlot *slot, Datum *value)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	if (fetch->column != 0)
		*value = slot_getattr(slot, fetch->column, &isnull[0]);
	else
	{
		ResetPerTupleExprContext(fetch->estate);
		GetPerTupleExprContext(fetch->estate)->ecxt_scantuple = slot;
		FormIndexDatum(fetch->info, slot, fetch->estate, values, isnull);
		*value = values[0];
	}
	/* it was not NULL when it was indexed: an index that names a wrong row */
	return !isnull[0];
}

/*
 * The value of the row that the TID leads to, valid until the next call; false
 * when the snapshot, an MVCC one, sees none.
 */
bool
fetch_visible(RowFetch *fetch, ItemPointer tid, Snapshot snapshot, Datum *value)
{
	ItemPointerData at = *tid;	/* becomes that of the chain's member */
	bool		call_again = false;
	MemoryContext old;
	bool		found;

	if (!table_index_fetch_tuple(fetch->table, &at, snapshot, fetch->slot, &call_again, NULL))
		return false;
	MemoryContextReset(fetch->row_context);
	old = MemoryContextSwitchTo(fetch->row_context);
	found = fetch_indexed_value(fetch, fetch->slot, value);
	MemoryContextSwitchTo(old);
	return found;
}
