/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  Candidates of a scan, handed out nearest first.
 *
 * A scan adds rows in batches and pops as many as the executor wants, which
 * it never says beforehand.  So the pool sorts lazily: each time the sorted
 * front is used up, one pass over the rest brings the next few dozen to the
 * front and only these are sorted.  What does not fit the memory given goes
 * to a tuplesort, one for each batch, and is merged while popping; there are eight at most, and
 * the one of the batch being added.
 *
 * Order: distance ascending, NaN last, equal distances by TID.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_POOL_H
#define VECDB_POOL_H

#include "storage/itemptr.h"

typedef struct CandidatePool CandidatePool;

/* In the current memory context; max_bytes for candidates in memory, and as
 * much again, or 64 kB, for each spilled batch. */
extern CandidatePool *pool_create(Size max_bytes);
extern void pool_reset(CandidatePool *pool);
extern void pool_free(CandidatePool *pool);

extern void pool_add(CandidatePool *pool, double distance, ItemPointer tid);
extern void pool_end_batch(CandidatePool *pool);
extern bool pool_pop(CandidatePool *pool, double *distance, ItemPointer tid);
extern bool pool_peek(CandidatePool *pool, double *distance);
extern ItemPointer pool_ahead(CandidatePool *pool, int i);

#endif							/* VECDB_POOL_H */
