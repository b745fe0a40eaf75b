/*-------------------------------------------------------------------------
 *
 * sample.h
 *	  Rows spread over a table, taken before an index is built.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_SAMPLE_H
#define VECDB_SAMPLE_H

#include "nodes/execnodes.h"
#include "utils/rel.h"

/*
 * Keep a row's value at this place of the sample; false when it is of no use,
 * and the place stays free.  A place may be asked for again: the new value
 * replaces the old one.
 */
typedef bool (*SampleTake) (void *arg, Datum value, int place);

/* How many rows there are to index. */
typedef struct SampleRows
{
	double		rows;
	double		error;			/* standard error of rows; 0: counted */
} SampleRows;

extern void sample_count(Relation heap, Relation index, IndexInfo *indexInfo,
						 SampleRows *rows);
extern int	sample_take(Relation heap, Relation index, IndexInfo *indexInfo,
						int max_n, SampleTake take, void *arg, SampleRows *rows);

#endif							/* VECDB_SAMPLE_H */
