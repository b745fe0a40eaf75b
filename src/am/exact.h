/*-------------------------------------------------------------------------
 *
 * exact.h
 *	  Rows of a scan by their exact distances.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_EXACT_H
#define VECDB_EXACT_H

#include "access/genam.h"
#include "storage/itemptr.h"

typedef struct ExactRows ExactRows;

/* In the current memory context; max_bytes for rows in memory, and half of it, or 64 kB, for each of
 * up to nine sorts of those beyond. */
extern ExactRows *exact_create(Size max_bytes);
extern void exact_reset(ExactRows *rows);
extern void exact_free(ExactRows *rows);
extern void exact_let_go(ExactRows *rows);
extern bool exact_fetch(ExactRows *rows, IndexScanDesc scan, ItemPointer tid, Datum *value);
extern MemoryContext exact_context(const ExactRows *rows);
extern double exact_operator_distance(const ExactRows *rows, IndexScanDesc scan, Datum value);
extern void exact_put(ExactRows *rows, double low, double high, ItemPointer tid);
extern Size exact_count(const ExactRows *rows);
extern bool exact_nearest(ExactRows *rows, double *low, double *high);
extern bool exact_pop(ExactRows *rows, double *low, double *high, ItemPointer tid);

#endif							/* VECDB_EXACT_H */
