/*-------------------------------------------------------------------------
 *
 * arith.c
 *	  Functions from vectors to vectors (and bits): arithmetic, parts, norms.
 *
 * Elements are finite on entry, so an infinite result is an overflow, and no
 * result is NaN.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "compat.h"
#include "kernel/kernel.h"
#include "types/vector.h"

VECDB_FUNCTION(vector_dims);
VECDB_FUNCTION(vector_add);
VECDB_FUNCTION(vector_sub);
VECDB_FUNCTION(vector_mul);
VECDB_FUNCTION(vector_concat);
VECDB_FUNCTION(l2_normalize);
VECDB_FUNCTION(binary_quantize);
VECDB_FUNCTION(subvector);

Datum
vector_dims(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);

	PG_RETURN_INT32(v->dim);
}

static void
check_overflow(const Vector *v)
{
	for (int i = 0; i < v->dim; i++)
	{
		if (unlikely(isinf(v->x[i])))
			float_overflow_error();
	}
}

Datum
vector_add(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	vector_check_same_dim(a, b);

	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] + b->x[i];
	check_overflow(result);

	PG_RETURN_VECTOR_P(result);
}

Datum
vector_sub(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	vector_check_same_dim(a, b);

	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] - b->x[i];
	check_overflow(result);

	PG_RETURN_VECTOR_P(result);
}

Datum
vector_mul(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;

	vector_check_same_dim(a, b);

	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] * b->x[i];
	check_overflow(result);
	for (int i = 0; i < a->dim; i++)
	{
		if (unlikely(result->x[i] == 0 && a->x[i] != 0 && b->x[i] != 0))
			float_underflow_error();
	}

	PG_RETURN_VECTOR_P(result);
}

Datum
vector_concat(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			dim = (int) a->dim + (int) b->dim;
	Vector	   *result;

	(void) vector_check_dim(dim, NULL);

	result = vector_new(dim);
	memcpy(result->x, a->x, sizeof(float) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(float) * b->dim);

	PG_RETURN_VECTOR_P(result);
}

/* A zero vector has no direction and stays zero. */
Datum
l2_normalize(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	Vector	   *result = vector_new(v->dim);
	double		norm = sqrt(kernel->normsq_double(v->x, v->dim));

	if (norm > 0)
	{
		for (int i = 0; i < v->dim; i++)
			result->x[i] = (float) (v->x[i] / norm);
		check_overflow(result);
	}

	PG_RETURN_VECTOR_P(result);
}

/* One bit for each element: is it positive?  The first is the highest bit. */
Datum
binary_quantize(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	Size		size = VARBITTOTALLEN(v->dim);
	VarBit	   *result = (VarBit *) palloc0(size);
	uint8	   *bits = VARBITS(result);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = v->dim;
	for (int i = 0; i < v->dim; i++)
	{
		if (v->x[i] > 0)
			bits[i / 8] |= 0x80 >> (i % 8);
	}

	PG_RETURN_VARBIT_P(result);
}

/*
 * count elements from start, which is 1 for the first; like substring, what
 * lies outside the vector is left out, but nothing at all is an error.
 */
Datum
subvector(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	int64		start = PG_GETARG_INT32(1);
	int64		count = PG_GETARG_INT32(2);
	int64		stop = Min(start + count, v->dim + 1);
	Vector	   *result;

	start = Max(start, 1);
	(void) vector_check_dim((int) Max(stop - start, 0), NULL);

	result = vector_new((int) (stop - start));
	memcpy(result->x, v->x + (start - 1), sizeof(float) * result->dim);

	PG_RETURN_VECTOR_P(result);
}
