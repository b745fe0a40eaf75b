/*-------------------------------------------------------------------------
 *
 * check.h
 *	  The index verifier: what check.c offers to the part that knows the
 *	  pages of an access method (check_hnsw.c, check_ivf.c), and what it asks of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_CHECK_H
#define VECDB_CHECK_H

#include "executor/tuptable.h"
#include "fmgr.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

#include "am/page.h"

/* Nothing to say about block or item */
#define CHECK_NO_BLOCK	InvalidBlockNumber
#define CHECK_NO_ITEM	0

typedef enum CheckSeverity
{
	CHECK_NOTE,					/* legitimate, worth knowing */
	CHECK_DAMAGE,				/* answers are right, space or quality is lost */
	CHECK_CORRUPTION			/* never legitimate */
} CheckSeverity;

typedef struct Check Check;

/* What check.c must know of an access method. */
typedef struct CheckMethod
{
	Size		special_size;

	/*
	 * Walk the structure: report findings, hand every row to check_row().
	 * False when so much is wrong that the heap cannot be compared.
	 */
	bool		(*structure) (Check *check);

	/*
	 * Hash of what the index stores for a value of the column; false when it
	 * stores no row for it.
	 */
	bool		(*fingerprint) (Check *check, Datum value, uint64 *hash);

	/*
	 * Where what a row holds depends on its place, too: does it fit the value?
	 * hash: what check_row() was told.  NULL: the hashes must be equal.
	 */
	bool		(*matches) (Check *check, Datum value, uint64 hash);

	/*
	 * Report what is wrong with the place of a row that matches the value whose
	 * fingerprint was taken last; NULL: nothing to say.
	 */
	void		(*judge_place) (Check *check, BlockNumber blkno, int item);

	/* How many rows of that TID does the block hold now? */
	int			(*count_tid) (Check *check, BlockNumber blkno, ItemPointer tid);
} CheckMethod;

struct Check
{
	Relation	heap;
	Relation	index;
	const CheckMethod *method;
	void	   *method_state;	/* of CheckMethod.structure and later calls */
	bool		strict;			/* writers and VACUUM are locked out */
	bool		check_heap;

	/* findings: rows of fcinfo's answer, or NULL: the first one is an ERROR */
	FunctionCallInfo fcinfo;
	int			max_findings;
	int			findings;
	bool		full;			/* enough: whoever sees this returns */

	BufferAccessStrategy strategy;
	BlockNumber nblocks;		/* of the index, as last asked */
	BlockNumber heap_blocks;	/* of the table, as last asked */

	Tuplesortstate *rows;		/* (tid, fingerprint, place) of check_row() */
	TupleTableSlot *row_slot;	/* to feed it */
};

/* check.c */
extern void check_report(Check *check, CheckSeverity severity, const char *code,
						 BlockNumber blkno, int item,
						 const char *fmt,...) pg_attribute_printf(6, 7);
extern bool check_block_exists(Check *check, BlockNumber blkno);
extern bool check_read(Check *check, BlockNumber blkno, char *image,
					   PageVerdict *verdict);
extern bool check_heap_block_exists(Check *check, BlockNumber blkno);
extern bool check_tid(Check *check, const ItemPointerData *tid, BlockNumber blkno, int item);
extern void check_row(Check *check, ItemPointer tid, uint64 hash,
					  BlockNumber blkno, int item);

/* check_hnsw.c, check_ivf.c */
extern const CheckMethod check_hnsw_method;
extern const CheckMethod check_ivf_method;

#endif							/* VECDB_CHECK_H */
