/*-------------------------------------------------------------------------
 *
 * heap.c
 *	  What an index scan does about the table whose rows it names.
 *
 * It checks that the block of a row exists, and brings rows that will soon be
 * fetched into the processor's cache: the executor fetches them one by one, and
 * waits for the buffer's descriptor, the page's header, the line pointer and the
 * tuple, one after the other.  The hints of page.c, fed with what the executor
 * has fetched before, tell where these are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "catalog/pg_am.h"
#include "storage/bufmgr.h"

#include "am/heap.h"
#include "am/page.h"
#include "compat.h"

/* of a row's beginning: an embedding of some 500 dimensions */
#define ROW_BYTES_MAX		2048

/*
 * The length of the table asked last: asking the kernel is a system call.  It may
 * have been truncated since, but then no sound index names a block that is gone.
 */
static Oid	last_file = InvalidOid;
static BlockNumber last_nblocks = 0;

static inline bool
is_heap(Relation rel)
{
	return rel->rd_rel->relam == HEAP_TABLE_AM_OID;
}

/* For qsort: by the TID that an item is, or begins with. */
int
heap_cmp_tid(const void *a, const void *b)
{
	return ItemPointerCompare(unconstify(ItemPointerData *, (const ItemPointerData *) a),
							  unconstify(ItemPointerData *, (const ItemPointerData *) b));
}

/* ERROR when the index names a block that the table, of so many, has not. */
void
heap_check_exists(Relation heap, Relation index, BlockNumber block, BlockNumber nblocks)
{
	if (block >= nblocks && is_heap(heap))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" points to block %u of table \"%s\", which has %u blocks",
						RelationGetRelationName(index), block,
						RelationGetRelationName(heap), nblocks),
				 errhint("Please REINDEX it.")));
}

/*
 * ERROR when the table has no such block: left to itself, the storage manager
 * would speak of a missing file.  What is no heap may number rows as it likes.
 */
void
heap_check_block(IndexScanDesc scan, BlockNumber block)
{
	Relation	heap = scan->heapRelation;

	if (likely(last_file == RelationGetFileNumber(heap) && block < last_nblocks))
		return;
	if (!is_heap(heap))
		return;
	last_nblocks = RelationGetNumberOfBlocks(heap);
	last_file = RelationGetFileNumber(heap);
	page_remember_table(last_nblocks);
	heap_check_exists(heap, scan->indexRelation, block, last_nblocks);
}

/* In which buffer was the row that this fetch of the table gave last? */
void
heap_remember_fetch(IndexScanDesc scan, IndexFetchTableData *fetch)
{
	Buffer		buf;

	if (fetch == NULL || !is_heap(scan->heapRelation))
		return;
	buf = ((IndexFetchHeapData *) fetch)->xs_cbuf;
	if (BufferIsValid(buf) && !BufferIsLocal(buf))
		page_remember(scan->heapRelation, BufferGetBlockNumber(buf), buf);
}

/* ... and the row that the executor fetched last? */
void
heap_remember(IndexScanDesc scan)
{
	heap_remember_fetch(scan, scan->xs_heapfetch);
}

/*
 * Let a fetch that is about to read the row have the table's page pinned already, if it
 * was seen before: that spares it the look-up in the server's buffer table, which costs more
 * than all else about a row.  A fetch prunes a page when it comes to it, which it has now;
 * prune: do that.
 */
void
heap_find_page(Relation heap, IndexFetchTableData *fetch, ItemPointer tid, bool prune)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	IndexFetchHeapData *of_heap = (IndexFetchHeapData *) fetch;
	Buffer		buf;

	if (fetch == NULL || !is_heap(heap) ||
		(BufferIsValid(of_heap->xs_cbuf) && BufferGetBlockNumber(of_heap->xs_cbuf) == block))
		return;
	buf = page_pin_seen(heap, block);
	if (!BufferIsValid(buf))
		return;
	if (BufferIsValid(of_heap->xs_cbuf))
		ReleaseBuffer(of_heap->xs_cbuf);
	of_heap->xs_cbuf = buf;
	if (prune)
		heap_page_prune_opt(heap, buf);
}

/* Hand the row out to the executor, in the order of distances. */
void
heap_hand_out(IndexScanDesc scan, ItemPointer tid)
{
	heap_check_block(scan, ItemPointerGetBlockNumberNoCheck(tid));
	heap_find_page(scan->heapRelation, scan->xs_heapfetch, tid, true);
	scan->xs_heaptid = *tid;
	scan->xs_recheck = false;
	/* see exact.c */
	scan->xs_recheckorderby = false;
}

/* The row may be fetched soon. */
void
heap_prefetch_page(IndexScanDesc scan, ItemPointer tid)
{
	const char *page = page_guess(scan->heapRelation, ItemPointerGetBlockNumberNoCheck(tid));

	if (page)
		__builtin_prefetch(page + offsetof(PageHeaderData, pd_linp) +
						   (ItemPointerGetOffsetNumberNoCheck(tid) - 1) * sizeof(ItemIdData), 0, 3);
}

/*
 * The row will be fetched next.  Reads the line pointer without lock or pin: a
 * wrong one costs nothing but the prefetch.
 */
void
heap_prefetch_row(IndexScanDesc scan, ItemPointer tid)
{
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);
	const char *page;
	ItemIdData	item;
	int			from;
	int			to;

	if (offset < FirstOffsetNumber || offset > MaxHeapTuplesPerPage || !is_heap(scan->heapRelation))
		return;
	page = page_guess(scan->heapRelation, ItemPointerGetBlockNumberNoCheck(tid));
	if (page == NULL)
		return;
	item = *PageGetItemId((Page) page, offset);
	from = ItemIdGetOffset(&item) % BLCKSZ;
	to = Min(from + Min(ItemIdGetLength(&item), ROW_BYTES_MAX), BLCKSZ);
	for (int at = from; at < to; at += 64)
		__builtin_prefetch(page + at, 0, 3);
}
