/*-------------------------------------------------------------------------
 *
 * ivf_fetch.c
 *	  Any row's value from the table, for ivfpq, which keeps only its code.
 *
 * VACUUM (training, and the measurement of errors) wants the value of each row
 * in the index, visible to whomever (scans: am/fetch.c).  Our own snapshot keeps nothing in place,
 * since others disregard that of a VACUUM: a row that was deleted, and its chunks in
 * TOAST, may be pruned at any moment.  So
 *
 * - every version that is still there counts, even where the primary needs it no
 *	 more: a standby may.  What is gone was pruned, with a record that cancels
 *	 whoever could have seen it there.
 * - a value whose chunks are missing is one that nobody can see: no error.
 * - versions of a chain have one value, but for those older than the index (a
 *	 "broken" chain) and those of transactions that failed.  So the last one counts
 *	 that was not of such a transaction: it is what the index got.
 *
 * No lock is held on any page meanwhile; a pin on the last page of the table is,
 * as by any index scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/toast_internals.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "am/page.h"
#include "compat.h"
#include "ivf/ivf_private.h"

/* In the current memory context. */
IvfFetch *
ivf_fetch_begin(Relation heap, Relation index)
{
	IvfFetch   *fetch = palloc0(sizeof(IvfFetch));

	fetch_begin(&fetch->row, heap, index);
	return fetch;
}

/* Let go of pages. */
void
ivf_fetch_reset(IvfFetch *fetch)
{
	fetch_reset(&fetch->row);
}

/* Memory is its context's. */
void
ivf_fetch_end(IvfFetch *fetch)
{
	fetch_end(&fetch->row);
	if (fetch->flat)
		ExecDropSingleTupleTableSlot(fetch->flat);
	if (fetch->toast)
	{
		toast_close_indexes(fetch->toast_indexes, fetch->toast_nindexes, NoLock);
		table_close(fetch->toast, NoLock);
	}
}

/* Was this version inserted by a transaction that has not failed? */
static bool
was_inserted(TupleTableSlot *slot)
{
	HeapTupleHeader header;
	TransactionId xmin;

	/* what is no heap has no such versions that we could know of */
	if (!TTS_IS_BUFFERTUPLE(slot))
		return true;
	header = ((BufferHeapTupleTableSlot *) slot)->base.tuple->t_data;
	if (HeapTupleHeaderXminCommitted(header))
		return true;
	if (HeapTupleHeaderXminInvalid(header))
		return false;
	xmin = HeapTupleHeaderGetRawXmin(header);
	return TransactionIdIsCurrentTransactionId(xmin) || TransactionIdIsInProgress(xmin) ||
		TransactionIdDidCommit(xmin);
}

/* The table's TOAST, and the index on its chunks. */
static void
open_toast(IvfFetch *fetch, Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(fetch));

	if (fetch->toast)
	{
		toast_close_indexes(fetch->toast_indexes, fetch->toast_nindexes, NoLock);
		table_close(fetch->toast, NoLock);
		fetch->toast = NULL;
	}
	fetch->toast = table_open(relid, AccessShareLock);
	fetch->toast_valid = toast_open_indexes(fetch->toast, AccessShareLock,
											&fetch->toast_indexes, &fetch->toast_nindexes);
	MemoryContextSwitchTo(old);
}

/*
 * A value from its chunks in TOAST, still compressed where it is; false when some
 * are gone.
 */
static bool
read_chunks(IvfFetch *fetch, struct varlena *pointer, Datum *value)
{
	struct varatt_external external;
	SnapshotData snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	struct varlena *result;
	int32		size;
	int32		done = 0;
	int32		next = 0;
	bool		whole = true;

	VARATT_EXTERNAL_GET_POINTER(external, pointer);
	if (fetch->toast == NULL || RelationGetRelid(fetch->toast) != external.va_toastrelid)
		open_toast(fetch, external.va_toastrelid);
	if (fetch->toast->rd_rel->relam != HEAP_TABLE_AM_OID)
	{
		*value = PointerGetDatum(detoast_attr(pointer));
		return true;
	}

	size = VARATT_EXTERNAL_GET_EXTSIZE(external);
	result = palloc(VARHDRSZ + size);
	if (VARATT_EXTERNAL_IS_COMPRESSED(external))
		SET_VARSIZE_COMPRESSED(result, VARHDRSZ + size);
	else
		SET_VARSIZE(result, VARHDRSZ + size);

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(external.va_valueid));
	scan = systable_beginscan_ordered(fetch->toast, fetch->toast_indexes[fetch->toast_valid],
									  toast_snapshot(&snapshot), 1, &key);
	while (whole && (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		TupleDesc	desc = RelationGetDescr(fetch->toast);
		bool		isnull;
		int32		number = DatumGetInt32(fastgetattr(tuple, 2, desc, &isnull));
		struct varlena *chunk = (struct varlena *) DatumGetPointer(fastgetattr(tuple, 3, desc, &isnull));
		int32		length;

		if (isnull || VARATT_IS_EXTERNAL(chunk) || VARATT_IS_COMPRESSED(chunk))
			whole = false;
		else
		{
			length = VARSIZE_ANY_EXHDR(chunk);
			whole = number == next++ && length <= size - done;
			if (whole)
				memcpy(VARDATA(result) + done, VARDATA_ANY(chunk), length);
			done += length;
		}
	}
	systable_endscan_ordered(scan);
	*value = PointerGetDatum(result);
	return whole && done == size;
}

/* The row's columns that the index's expression reads, fetched from TOAST; NULL: some are gone. */
static TupleTableSlot *
flatten(IvfFetch *fetch)
{
	TupleDesc	desc = RelationGetDescr(fetch->row.heap);
	TupleTableSlot *slot = fetch->row.slot;

	if (fetch->flat == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(fetch));

		fetch->flat = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		pull_varattnos((Node *) fetch->row.info->ii_Expressions, 1, &fetch->columns);
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(fetch->flat);
	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		struct varlena *value = (struct varlena *) DatumGetPointer(slot->tts_values[i]);

		fetch->flat->tts_values[i] = slot->tts_values[i];
		fetch->flat->tts_isnull[i] = slot->tts_isnull[i];
		/* a reference to the whole row has number 0 */
		if (TupleDescAttr(desc, i)->attlen == -1 && !slot->tts_isnull[i] &&
			VARATT_IS_EXTERNAL_ONDISK(value) &&
			(bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, fetch->columns) ||
			 bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, fetch->columns)) &&
			!read_chunks(fetch, value, &fetch->flat->tts_values[i]))
			return NULL;
	}
	return ExecStoreVirtualTuple(fetch->flat);
}

/*
 * The value that the row has in the index, valid until the next call, visible or not;
 * false when the table has it no more, or never will.  See above.
 */
bool
ivf_fetch_any(IvfFetch *fetch, ItemPointer tid, Datum *value)
{
	ItemPointerData at = *tid;
	ItemPointerData best;
	ItemPointerData last;
	bool		call_again = false;
	MemoryContext old;
	bool		found;

	if (ItemPointerGetBlockNumberNoCheck(tid) >= fetch->nblocks)
		fetch->nblocks = RelationGetNumberOfBlocks(fetch->row.heap);
	heap_check_exists(fetch->row.heap, fetch->row.index, ItemPointerGetBlockNumberNoCheck(tid),
					  fetch->nblocks);
	ItemPointerSetInvalid(&best);
	do
	{
		if (!table_index_fetch_tuple(fetch->row.table, &at, SnapshotAny, fetch->row.slot,
									 &call_again, NULL))
			break;
		last = fetch->row.slot->tts_tid;
		if (was_inserted(fetch->row.slot))
			best = last;
	} while (call_again);
	if (!ItemPointerIsValid(&best))
		return false;
	if (!ItemPointerEquals(&best, &last) &&
		!table_tuple_fetch_row_version(fetch->row.heap, &best, SnapshotAny, fetch->row.slot))
		return false;

	MemoryContextReset(fetch->row.row_context);
	old = MemoryContextSwitchTo(fetch->row.row_context);
	if (fetch->row.column != 0)
	{
		found = fetch_indexed_value(&fetch->row, fetch->row.slot, value);
		if (found && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(*value)))
			found = read_chunks(fetch, (struct varlena *) DatumGetPointer(*value), value);
	}
	else
	{
		TupleTableSlot *flat = flatten(fetch);

		found = flat != NULL && fetch_indexed_value(&fetch->row, flat, value);
	}
	MemoryContextSwitchTo(old);
	return found;
}
