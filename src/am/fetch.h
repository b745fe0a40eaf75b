/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  A row's value from the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_FETCH_H
#define VECDB_FETCH_H

#include "access/relscan.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct RowFetch
{
	Relation	heap;
	Relation	index;
	IndexFetchTableData *table;
	TupleTableSlot *slot;
	IndexInfo  *info;
	AttrNumber	column;			/* 0: an expression ... */
	EState	   *estate;			/* ... for which there is this, or NULL */
	MemoryContext row_context;	/* of one value; reset with each row */
} RowFetch;

extern void fetch_begin(RowFetch *fetch, Relation heap, Relation index);
extern bool fetch_visible(RowFetch *fetch, ItemPointer tid, Snapshot snapshot, Datum *value);
extern bool fetch_indexed_value(RowFetch *fetch, TupleTableSlot *slot, Datum *value);
extern void fetch_reset(RowFetch *fetch);
extern void fetch_end(RowFetch *fetch);

#endif							/* VECDB_FETCH_H */
