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

Datum
l2_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8(vector_l2_from_sq(kernel->l2sq(a->x, b->x, a->dim)));
}

/* The order of l2_distance without its square root; for operator classes. */
Datum
vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8((double) kernel->l2sq(a->x, b->x, a->dim));
}

Datum
inner_product(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8((double) kernel->ip(a->x, b->x, a->dim));
}

Datum
vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8(vector_negative_ip_from_ip(kernel->ip(a->x, b->x, a->dim)));
}

Datum
cosine_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	float		ab;
	float		aa;
	float		bb;

	vector_check_same_dim(a, b);
	kernel->cosine(a->x, b->x, a->dim, &ab, &aa, &bb);

	PG_RETURN_FLOAT8(vector_cosine_from_parts(ab, aa, bb));
}

/* The angle between unit vectors; for operator classes. */
Datum
vector_spherical_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8(vector_spherical_from_ip(kernel->ip(a->x, b->x, a->dim)));
}

Datum
l1_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);

	vector_check_same_dim(a, b);

	PG_RETURN_FLOAT8((double) kernel->l1(a->x, b->x, a->dim));
}

/* Summed in double: squares of large and small floats leave float's range. */
Datum
vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);

	PG_RETURN_FLOAT8(sqrt(kernel->normsq_double(v->x, v->dim)));
}
