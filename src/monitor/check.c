/*-------------------------------------------------------------------------
 *
 * check.c
 *	  vecdb_check: is an index sound, and does it say what its table says?
 *
 * Two halves meet here.  The access method's part (check_ivf.c) walks the
 * structure and hands over every row it finds.  This file sorts them by TID
 * and merges them with one pass over the heap, which comes in TID order, too:
 *
 *	index rows	 (1,1) (1,2) (1,2) (1,5)  |  (2,1) ...
 *	visible rows (1,1) (1,2)       (1,4)  |  (2,1) ...
 *	                          ^twice ^missing
 *
 * So both directions are exact (no Bloom filter), at any size, in the memory
 * of one sort, and values are compared by a 64-bit hash of their bytes.
 *
 * With writers about (not strict), what may one believe?  The snapshot is
 * taken before the first index page is read.  Its rows cannot be vacuumed
 * while it lives, an index row never changes its page, and each row was in
 * the index before its transaction committed.  Hence: a row of the snapshot
 * that the walk did not meet is missing.  TIDs that are not of the snapshot
 * may come and go; a second look at the page decides (duplicates), or only a
 * strict check asks at all (dead line pointers).
 *
 * Pages are copied out and judged without a lock.  A page that cannot even
 * be read (checksum, header) is a finding as well: each read is a
 * subtransaction, which costs a third of a microsecond.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "monitor/check.h"
#include "monitor/monitor.h"

/* An index row, as it comes back from the sort. */
typedef struct IndexRow
{
	ItemPointerData tid;
	uint64		hash;
	BlockNumber blkno;
	int			item;
} IndexRow;

/* The merge of index rows and heap. */
typedef struct Merge
{
	Check	   *check;
	MemoryContext tuple_context;	/* reset for each heap tuple */
	TupleTableSlot *slot;

	bool		have_next;		/* next is the first row behind group */
	IndexRow	next;

	/* the index rows of one heap block, by offset */
	BlockNumber block;
	IndexRow   *group;
	int			ngroup;
	int			max_group;
} Merge;

VECDB_FUNCTION(vecdb_check);
VECDB_FUNCTION(vecdb_index_check);

/* ---- findings -------------------------------------------------------------- */

static const char *const severity_names[] = {"note", "damage", "corruption"};

/*
 * Report a finding; the format makes a sentence.  The last one allowed is
 * followed by a note that the check went no further.
 */
void
check_report(Check *check, CheckSeverity severity, const char *code,
			 BlockNumber blkno, int item, const char *fmt,...)
{
	char		detail[512];
	Datum		values[5];
	bool		nulls[5] = {0};
	va_list		args;

	if (check->full || (check->fcinfo == NULL && severity == CHECK_NOTE))
		return;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);

	if (check->fcinfo == NULL)
	{
		if (blkno == CHECK_NO_BLOCK)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" fails check \"%s\"",
							RelationGetRelationName(check->index), code),
					 errdetail_internal("%s", detail),
					 errhint("Please REINDEX it.")));
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" fails check \"%s\" at block %u",
						RelationGetRelationName(check->index), code, blkno),
				 errdetail_internal("%s", detail),
				 errhint("Please REINDEX it.")));
	}

	values[0] = CStringGetTextDatum(severity_names[severity]);
	values[1] = CStringGetTextDatum(code);
	values[2] = Int64GetDatum((int64) blkno);
	nulls[2] = blkno == CHECK_NO_BLOCK;
	values[3] = Int32GetDatum(item);
	nulls[3] = item == CHECK_NO_ITEM;
	values[4] = CStringGetTextDatum(detail);
	monitor_put_row(check->fcinfo, values, nulls);

	if (++check->findings == check->max_findings)
	{
		values[0] = CStringGetTextDatum(severity_names[CHECK_NOTE]);
		values[1] = CStringGetTextDatum("stopped");
		nulls[2] = nulls[3] = true;
		values[4] = CStringGetTextDatum("The check ended here, at max_findings: there may be more.");
		monitor_put_row(check->fcinfo, values, nulls);
		check->full = true;
	}
}

/* ---- reading --------------------------------------------------------------- */

bool
check_block_exists(Check *check, BlockNumber blkno)
{
	if (blkno >= check->nblocks)
		check->nblocks = RelationGetNumberOfBlocks(check->index);
	return blkno < check->nblocks;
}

/* Does the table have that block?  What is no heap may number rows as it likes. */
bool
check_heap_block_exists(Check *check, BlockNumber blkno)
{
	if (check->heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		return true;
	if (blkno >= check->heap_blocks)
		check->heap_blocks = RelationGetNumberOfBlocks(check->heap);
	return blkno < check->heap_blocks;
}

/* Can a row of the table have the TID of that row?  False with a finding. */
bool
check_tid(Check *check, const ItemPointerData *tid, BlockNumber blkno, int item)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (check_heap_block_exists(check, block) && OffsetNumberIsValid(offset))
		return true;
	check_report(check, CHECK_CORRUPTION, "row_tid", blkno, item,
				 "The row points to (%u,%u), but the table has %u blocks, and offsets are 1 to %d.",
				 block, offset, check->heap_blocks, (int) MaxOffsetNumber);
	return false;
}

/*
 * Copy a block that exists.  False, with a finding, when the server cannot
 * read it at all.
 */
bool
check_read(Check *check, BlockNumber blkno, char *image, PageVerdict *verdict)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	CHECK_FOR_INTERRUPTS();

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*verdict = monitor_copy_page(check->index, blkno, check->strategy,
									 check->method->special_size, image);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
		error->sqlerrcode != ERRCODE_IO_ERROR)
		ReThrowError(error);
	check_report(check, CHECK_CORRUPTION, "page_unreadable", blkno,
				 CHECK_NO_ITEM, "The server cannot read the page: %s.",
				 error->message);
	FreeErrorData(error);
	return false;
}

/* ---- rows of the index ----------------------------------------------------- */

/*
 * Begin the sort of (TID, fingerprint, place) by TID, then place, so that
 * findings come in a fixed order.  TID and place are packed into integers.
 */
static TupleDesc
begin_rows(Check *check)
{
	TupleDesc	tupdesc = CreateTemplateTupleDesc(3);
	AttrNumber	keys[] = {1, 3};
	Oid			operators[] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	TupleDescInitEntry(tupdesc, 1, "tid", INT8OID, -1, 0);
	TupleDescInitEntry(tupdesc, 2, "fingerprint", INT8OID, -1, 0);
	TupleDescInitEntry(tupdesc, 3, "place", INT8OID, -1, 0);

	check->row_slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsVirtual);
	check->rows = tuplesort_begin_heap(tupdesc, 2, keys, operators, collations,
									   nulls_first, maintenance_work_mem, NULL,
									   TUPLESORT_NONE);
	return tupdesc;
}

/*
 * A row of the index whose TID can be true.  hash: as CheckMethod.fingerprint
 * makes it of the value that the row stands for.
 */
void
check_row(Check *check, ItemPointer tid, uint64 hash, BlockNumber blkno, int item)
{
	TupleTableSlot *slot = check->row_slot;

	ExecClearTuple(slot);
	slot->tts_values[0] = Int64GetDatum((int64) ItemPointerGetBlockNumber(tid) << 16 |
										ItemPointerGetOffsetNumber(tid));
	slot->tts_values[1] = Int64GetDatum((int64) hash);
	slot->tts_values[2] = Int64GetDatum((int64) blkno << 16 | item);
	memset(slot->tts_isnull, 0, 3 * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(check->rows, slot);
}

static void
next_row(Merge *merge)
{
	TupleTableSlot *slot = merge->slot;
	int64		tid;
	int64		place;

	merge->have_next = tuplesort_gettupleslot(merge->check->rows, true, false,
											  slot, NULL);
	if (!merge->have_next)
		return;
	slot_getallattrs(slot);
	tid = DatumGetInt64(slot->tts_values[0]);
	place = DatumGetInt64(slot->tts_values[2]);
	ItemPointerSet(&merge->next.tid, (BlockNumber) (tid >> 16), (OffsetNumber) (tid & 0xFFFF));
	merge->next.hash = (uint64) DatumGetInt64(slot->tts_values[1]);
	merge->next.blkno = (BlockNumber) (place >> 16);
	merge->next.item = (int) (place & 0xFFFF);
}

/* ---- index rows of one heap block ------------------------------------------ */

static void
load_group(Merge *merge, BlockNumber block)
{
	CHECK_FOR_INTERRUPTS();

	merge->block = block;
	merge->ngroup = 0;
	while (merge->have_next &&
		   ItemPointerGetBlockNumber(&merge->next.tid) == block)
	{
		if (merge->ngroup == merge->max_group)
		{
			merge->max_group *= 2;
			merge->group = repalloc(merge->group, merge->max_group * sizeof(IndexRow));
		}
		merge->group[merge->ngroup++] = merge->next;
		next_row(merge);
	}
}

/*
 * Two index rows with one TID.  With writers about, the walk may have met the
 * row of a dead tuple, and later the row of the one that took its place: then
 * the first has gone when we look again.
 */
static bool
still_duplicate(Check *check, const IndexRow *a, const IndexRow *b)
{
	ItemPointerData tid = a->tid;

	if (check->strict)
		return true;
	if (a->blkno == b->blkno)
		return check->method->count_tid(check, a->blkno, &tid) > 1;
	return check->method->count_tid(check, a->blkno, &tid) > 0 &&
		check->method->count_tid(check, b->blkno, &tid) > 0;
}

/* Index rows must not point to what VACUUM or pruning has taken away. */
static void
check_line_pointers(Merge *merge)
{
	Check	   *check = merge->check;
	PGAlignedBlock image;
	Page		page = (Page) image.data;

	(void) monitor_copy_page(check->heap, merge->block, NULL, 0, image.data);
	for (int i = 0; i < merge->ngroup; i++)
	{
		IndexRow   *row = &merge->group[i];
		OffsetNumber offset = ItemPointerGetOffsetNumber(&row->tid);
		ItemId		lp;

		if (PageIsNew(page) || offset > PageGetMaxOffsetNumber(page))
		{
			check_report(check, CHECK_CORRUPTION, "heap_unused", row->blkno, row->item,
						 "The row points to (%u,%u), behind the end of that page of the table.",
						 merge->block, offset);
			continue;
		}
		lp = PageGetItemId(page, offset);
		if (!ItemIdIsUsed(lp))
			check_report(check, CHECK_CORRUPTION, "heap_unused", row->blkno, row->item,
						 "The row points to (%u,%u), which is unused in the table: VACUUM forgot the row.",
						 merge->block, offset);
		else if (ItemIdIsNormal(lp) &&
				 HeapTupleHeaderIsHeapOnly((HeapTupleHeader) PageGetItem(page, lp)))
			check_report(check, CHECK_CORRUPTION, "heap_unused", row->blkno, row->item,
						 "The row points to (%u,%u), a heap-only tuple, which no index may name.",
						 merge->block, offset);
	}
}

/* All that can be said of the group without the heap's visible rows. */
static void
finish_group(Merge *merge)
{
	Check	   *check = merge->check;

	for (int i = 1; i < merge->ngroup && !check->full; i++)
	{
		IndexRow   *a = &merge->group[i - 1];
		IndexRow   *b = &merge->group[i];

		if (ItemPointerEquals(&a->tid, &b->tid) && still_duplicate(check, a, b))
			check_report(check, CHECK_CORRUPTION, "row_duplicate", b->blkno, b->item,
						 "The row has the TID (%u,%u) of row %d of block %u.",
						 merge->block, ItemPointerGetOffsetNumber(&b->tid),
						 a->item, a->blkno);
	}
	if (merge->ngroup > 0 && check->strict && check->check_heap && !check->full &&
		check->heap->rd_rel->relam == HEAP_TABLE_AM_OID)
		check_line_pointers(merge);
	merge->ngroup = 0;
}

/* Finish all groups before this heap block, and load the block's own. */
static void
advance_merge(Merge *merge, BlockNumber block)
{
	finish_group(merge);
	while (merge->have_next && ItemPointerGetBlockNumber(&merge->next.tid) < block)
	{
		load_group(merge, ItemPointerGetBlockNumber(&merge->next.tid));
		finish_group(merge);
	}
	load_group(merge, block);
}

/* A row that the snapshot sees and the index's predicate lets through. */
static void
heap_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		 bool tuple_is_alive, void *state)
{
	Merge	   *merge = state;
	Check	   *check = merge->check;
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	MemoryContext old;
	uint64		hash = 0;
	bool		indexed;
	bool		matches = true;
	int			low = 0;
	int			high;

	if (check->full)
		return;

	if (merge->block == InvalidBlockNumber || block > merge->block)
		advance_merge(merge, block);
	else if (block < merge->block)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" does not return its rows in the order of their TIDs",
						RelationGetRelationName(check->heap)),
				 errhint("Check the index with heap => false.")));

	old = MemoryContextSwitchTo(merge->tuple_context);
	indexed = !isnull[0] && check->method->fingerprint(check, values[0], &hash);
	MemoryContextSwitchTo(old);
	MemoryContextReset(merge->tuple_context);

	/* the first index row that is not before the TID */
	high = merge->ngroup;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (ItemPointerCompare(&merge->group[middle].tid, tid) < 0)
			low = middle + 1;
		else
			high = middle;
	}

	if (indexed &&
		(low == merge->ngroup || !ItemPointerEquals(&merge->group[low].tid, tid)))
		check_report(check, CHECK_CORRUPTION, "heap_missing", CHECK_NO_BLOCK, CHECK_NO_ITEM,
					 "The row at (%u,%u) of the table is not in the index.",
					 block, ItemPointerGetOffsetNumber(tid));

	for (; low < merge->ngroup && ItemPointerEquals(&merge->group[low].tid, tid); low++)
	{
		IndexRow   *row = &merge->group[low];

		if (!indexed)
			check_report(check, CHECK_CORRUPTION, "heap_unexpected", row->blkno, row->item,
						 "The row points to (%u,%u) of the table, whose value is %s.",
						 block, ItemPointerGetOffsetNumber(tid),
						 isnull[0] ? "NULL" : "one that is not indexed");
		else if (check->method->matches)
		{
			old = MemoryContextSwitchTo(merge->tuple_context);
			matches = check->method->matches(check, values[0], row->hash);
			MemoryContextSwitchTo(old);
			MemoryContextReset(merge->tuple_context);
		}
		else
			matches = row->hash == hash;
		if (indexed && !matches)
			check_report(check, CHECK_CORRUPTION, "heap_value", row->blkno, row->item,
						 "The row's value is not that of (%u,%u) of the table.",
						 block, ItemPointerGetOffsetNumber(tid));
		else if (indexed && check->method->judge_place)
			check->method->judge_place(check, row->blkno, row->item);
	}
}

/* Sort the index rows, and merge them with the visible rows of the table. */
static void
compare_rows(Check *check, TupleDesc tupdesc, Snapshot snapshot)
{
	Merge		merge = {0};

	merge.check = check;
	merge.block = InvalidBlockNumber;
	merge.max_group = MaxHeapTuplesPerPage;
	merge.group = palloc(merge.max_group * sizeof(IndexRow));
	merge.slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	merge.tuple_context = AllocSetContextCreate(CurrentMemoryContext,
												"vecdb_check tuple",
												ALLOCSET_DEFAULT_SIZES);

	tuplesort_performsort(check->rows);
	next_row(&merge);

	if (check->check_heap)
	{
		IndexInfo  *info = BuildIndexInfo(check->index);

		/* makes the scan use our snapshot, and nothing else */
		info->ii_Concurrent = true;

		/*
		 * allow_sync must be true with a scan of ours, which is not
		 * synchronised
		 */
		table_index_build_scan(check->heap, check->index, info, true, false,
							   heap_row, &merge,
							   table_beginscan_strat(check->heap, snapshot, 0, NULL,
													 true, false));
	}

	finish_group(&merge);
	while (merge.have_next && !check->full)
	{
		load_group(&merge, ItemPointerGetBlockNumber(&merge.next.tid));
		finish_group(&merge);
	}
	ExecDropSingleTupleTableSlot(merge.slot);
	MemoryContextDelete(merge.tuple_context);
}

/* ---- SQL ------------------------------------------------------------------- */

/*
 * Check an index.  fcinfo: where findings go, or NULL when the first damage
 * or corruption is an ERROR.
 */
static void
run_check(Oid indexid, bool strict, bool check_heap, int max_findings,
		  FunctionCallInfo fcinfo)
{
	MonitorTarget target;
	Check		check = {0};
	Snapshot	snapshot = NULL;
	TupleDesc	tupdesc;

	monitor_open(indexid, strict ? ShareLock : AccessShareLock, &target);
	check.heap = target.heap;
	check.index = target.index;
	check.method = monitor_is_hnsw(&target) ? &check_hnsw_method : &check_ivf_method;
	check.strict = strict;
	check.check_heap = check_heap;
	check.fcinfo = fcinfo;
	check.max_findings = max_findings;

	if (check.index->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED &&
		RecoveryInProgress())
	{
		check_report(&check, CHECK_NOTE, "index_unlogged", CHECK_NO_BLOCK, CHECK_NO_ITEM,
					 "An unlogged index has no content on a standby: nothing was checked.");
		monitor_close(&target);
		return;
	}
	if (!check.index->rd_index->indisready)
	{
		check_report(&check, CHECK_NOTE, "index_invalid", CHECK_NO_BLOCK, CHECK_NO_ITEM,
					 "The index is being built, or a concurrent build failed: nothing was checked.");
		monitor_close(&target);
		return;
	}
	if (!check.index->rd_index->indisvalid)
	{
		check_report(&check, CHECK_NOTE, "index_invalid", CHECK_NO_BLOCK, CHECK_NO_ITEM,
					 "The index is not valid: it was not compared with its table.");
		check.check_heap = false;
	}

	/* before the first page of the index: see above */
	if (check.check_heap)
		snapshot = RegisterSnapshot(GetLatestSnapshot());

	check.strategy = GetAccessStrategy(BAS_BULKREAD);
	check.nblocks = RelationGetNumberOfBlocks(check.index);
	check.heap_blocks = RelationGetNumberOfBlocks(check.heap);
	tupdesc = begin_rows(&check);

	if (check.method->structure(&check) && !check.full)
		compare_rows(&check, tupdesc, snapshot);

	tuplesort_end(check.rows);
	ExecDropSingleTupleTableSlot(check.row_slot);
	FreeAccessStrategy(check.strategy);
	if (snapshot)
		UnregisterSnapshot(snapshot);
	monitor_close(&target);
}

/* No argument may be NULL: no answer would look like a sound index. */
static void
refuse_nulls(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d of the check must not be null", i + 1)));
}

/* vecdb_check(index regclass, strict bool, heap bool, max_findings int) */
Datum
vecdb_check(PG_FUNCTION_ARGS)
{
	refuse_nulls(fcinfo);
	if (PG_GETARG_INT32(3) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_findings is %d, but must be at least 1", PG_GETARG_INT32(3))));

	monitor_begin_rows(fcinfo);
	run_check(PG_GETARG_OID(0), PG_GETARG_BOOL(1), PG_GETARG_BOOL(2),
			  PG_GETARG_INT32(3), fcinfo);
	return (Datum) 0;
}

/* vecdb_index_check(index regclass, strict bool): no news is good news */
Datum
vecdb_index_check(PG_FUNCTION_ARGS)
{
	refuse_nulls(fcinfo);
	run_check(PG_GETARG_OID(0), PG_GETARG_BOOL(1), true, 1, NULL);
	PG_RETURN_VOID();
}
