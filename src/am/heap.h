/*-------------------------------------------------------------------------
 *
 * heap.h
 *	  What an index scan does about the table whose rows it names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HEAP_H
#define VECDB_HEAP_H

#include "access/genam.h"
#include "access/relscan.h"

extern int	heap_cmp_tid(const void *a, const void *b);
extern void heap_check_block(IndexScanDesc scan, BlockNumber block);
extern void heap_check_exists(Relation heap, Relation index, BlockNumber block,
							  BlockNumber nblocks);
extern void heap_remember(IndexScanDesc scan);
extern void heap_remember_fetch(IndexScanDesc scan, IndexFetchTableData *fetch);
extern void heap_find_page(Relation heap, IndexFetchTableData *fetch, ItemPointer tid, bool prune);
extern void heap_hand_out(IndexScanDesc scan, ItemPointer tid);
extern void heap_prefetch_page(IndexScanDesc scan, ItemPointer tid);
extern void heap_prefetch_row(IndexScanDesc scan, ItemPointer tid);

#endif							/* VECDB_HEAP_H */
