/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  The type vector: its bytes and what other rooms may do with them.
 *
 * In memory and on disk (native byte order, pgvector's layout):
 *
 *	OFFSET	SIZE	DESCRIPTION
 *	0		4		varlena header
 *	4		2		dim, 1 .. VECTOR_MAX_DIM
 *	6		2		unused, 0
 *	8		4*dim	elements, float4, never NaN or infinite
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_VECTOR_H
#define VECDB_VECTOR_H

#include <math.h>

#include "fmgr.h"

#define VECTOR_MAX_DIM 16000

typedef struct Vector
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int16		dim;			/* number of elements */
	int16		unused;			/* reserved, always 0 */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} Vector;

StaticAssertDecl(offsetof(Vector, x) == 8, "vector elements start at byte 8");

#define VECTOR_SIZE(dim)		(offsetof(Vector, x) + sizeof(float) * (dim))
/* Detoasts; may return the datum itself, so free only what differs from it. */
#define DatumGetVector(d)		((Vector *) PG_DETOAST_DATUM(d))
#define PG_GETARG_VECTOR_P(n)	DatumGetVector(PG_GETARG_DATUM(n))
#define PG_RETURN_VECTOR_P(v)	PG_RETURN_POINTER(v)

/* vector.c: a new vector of dim zeros in the current memory context */
extern Vector *vector_new(int dim);

/*
 * vector.c: the checks every way into the type shares, so that each message
 * has one home.  False only when escontext (may be NULL) caught a soft error.
 */
extern bool vector_check_dim(int dim, fmNodePtr escontext);
extern bool vector_check_typmod(int32 typmod, int dim, fmNodePtr escontext);
extern bool vector_not_finite(float value, fmNodePtr escontext);
extern void vector_check_elements(const Vector *v);

static inline bool
vector_check_element(float value, fmNodePtr escontext)
{
	return likely(isfinite(value)) || vector_not_finite(value, escontext);
}

/* vector.c: raises "different vector dimensions", always */
extern void vector_dims_differ(int a, int b);

static inline void
vector_check_same_dim(const Vector *a, const Vector *b)
{
	if (unlikely(a->dim != b->dim))
		vector_dims_differ(a->dim, b->dim);
}

/*
 * func/distance.c: support functions of operator classes, by which an index
 * recognises its metric (am/support.c)
 */
extern Datum vector_l2_squared_distance(PG_FUNCTION_ARGS);
extern Datum vector_negative_inner_product(PG_FUNCTION_ARGS);
extern Datum l1_distance(PG_FUNCTION_ARGS);

#endif							/* VECDB_VECTOR_H */
