/*-------------------------------------------------------------------------
 *
 * memo.h
 *	  A small memory for distances of vectors that lie in TOAST.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_MEMO_H
#define VECDB_MEMO_H

#include "types/vector.h"

/* A distance of two vectors of equal dimensions. */
typedef double (*VectorDistance) (const Vector *a, const Vector *b);

extern double memo_distance(VectorDistance distance, Datum a, Datum b);

#endif							/* VECDB_MEMO_H */
