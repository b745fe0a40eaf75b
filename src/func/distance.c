/*-------------------------------------------------------------------------
 *
 * distance.c
 *	  Distances and norms of vectors, as SQL calls them.
 *
 * The sums are the kernels', in float; from there on it is double, by the
 * formulas of types/vector_distance.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "func/memo.h"
#include "kernel/kernel.h"
#include "types/vector.h"
#include "types/vector_distance.h"

VECDB_FUNCTION(l2_distance);
VECDB_FUNCTION(vector_l2_squared_distance);
VECDB_FUNCTION(inner_product);
VECDB_FUNCTION(vector_negative_inner_product);
VECDB_FUNCTION(cosine_distance);
VECDB_FUNCTION(vector_spherical_distance);
VECDB_FUNCTION(l1_distance);
VECDB_FUNCTION(vector_norm);

/* Each distance of vectors, and the function that SQL calls. */
static double
l2(const Vector *a, const Vector *b)
{
	return vector_l2_from_sq(kernel->l2sq(a->x, b->x, a->dim));
}

static double
l2_squared(const Vector *a, const Vector *b)
{
	return (double) kernel->l2sq(a->x, b->x, a->dim);
}

static double
ip(const Vector *a, const Vector *b)
{
	return (double) kernel->ip(a->x, b->x, a->dim);
}

static double
negative_ip(const Vector *a, const Vector *b)
{
	return vector_negative_ip_from_ip(kernel->ip(a->x, b->x, a->dim));
}

static double
cosine(const Vector *a, const Vector *b)
{
	float		ab;
	float		aa;
	float		bb;

	kernel->cosine(a->x, b->x, a->dim, &ab, &aa, &bb);
	return vector_cosine_from_parts(ab, aa, bb);
}

static double
spherical(const Vector *a, const Vector *b)
{
	return vector_spherical_from_ip(kernel->ip(a->x, b->x, a->dim));
}

static double
l1(const Vector *a, const Vector *b)
{
	return (double) kernel->l1(a->x, b->x, a->dim);
}

#define MEMO_DISTANCE(distance) \
	PG_RETURN_FLOAT8(memo_distance(distance, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)))

Datum
l2_distance(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(l2);
}

/* The order of l2_distance without its square root; for operator classes. */
Datum
vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(l2_squared);
}

Datum
inner_product(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(ip);
}

Datum
vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(negative_ip);
}

Datum
cosine_distance(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(cosine);
}

/* The angle between unit vectors; for operator classes. */
Datum
vector_spherical_distance(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(spherical);
}

Datum
l1_distance(PG_FUNCTION_ARGS)
{
	MEMO_DISTANCE(l1);
}

/* Summed in double: squares of large and small floats leave float's range. */
Datum
vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);

	PG_RETURN_FLOAT8(sqrt(kernel->normsq_double(v->x, v->dim)));
}
