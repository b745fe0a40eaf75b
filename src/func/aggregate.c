/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *	  avg(vector).  (sum(vector) needs only vector_add.)
 *
 * The state is a double precision array {count, sum of each element}, {0}
 * before the first value.  Anyone may call these functions with any array,
 * so each of them trusts nothing about its state.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "compat.h"
#include "types/vector.h"

VECDB_FUNCTION(vector_accum);
VECDB_FUNCTION(vector_combine);
VECDB_FUNCTION(vector_avg);

/* The numbers in a state after the count; of which there may be none. */
#define STATE_DIM(state)	(ARR_DIMS(state)[0] - 1)

/* The state's numbers: values[0] is the count, values[1 ..] the sums. */
static double *
state_values(ArrayType *state, const char *caller)
{
	if (ARR_NDIM(state) != 1 ||
		ARR_DIMS(state)[0] < 1 ||
		ARR_HASNULL(state) ||
		ARR_ELEMTYPE(state) != FLOAT8OID)
		elog(ERROR, "%s: expected state array", caller);

	return (double *) ARR_DATA_PTR(state);
}

static ArrayType *
state_new(int dim)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * (1 + dim);
	ArrayType  *state = (ArrayType *) palloc0(size);

	SET_VARSIZE(state, size);
	state->ndim = 1;
	state->elemtype = FLOAT8OID;
	ARR_DIMS(state)[0] = 1 + dim;
	ARR_LBOUND(state)[0] = 1;

	return state;
}

static inline double
add_checked(double a, double b)
{
	double		sum = a + b;

	if (unlikely(isinf(sum)))
		float_overflow_error();
	return sum;
}

Datum
vector_accum(PG_FUNCTION_ARGS)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	Vector	   *v = PG_GETARG_VECTOR_P(1);
	double	   *values = state_values(state, "vector_accum");
	ArrayType  *result = state;
	double	   *sums;

	if (STATE_DIM(state) == 0)
		result = state_new(v->dim);
	else
	{
		(void) vector_check_typmod(STATE_DIM(state), v->dim, NULL);

		/* an aggregate's own state may be changed in place, others' not */
		if (!AggCheckCallContext(fcinfo, NULL))
		{
			result = state_new(v->dim);
			memcpy(ARR_DATA_PTR(result), values, sizeof(float8) * (1 + v->dim));
		}
	}

	sums = (double *) ARR_DATA_PTR(result);
	sums[0] = values[0] + 1.0;
	for (int i = 0; i < v->dim; i++)
		sums[1 + i] = add_checked(sums[1 + i], (double) v->x[i]);

	PG_RETURN_ARRAYTYPE_P(result);
}

Datum
vector_combine(PG_FUNCTION_ARGS)
{
	ArrayType  *a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *b = PG_GETARG_ARRAYTYPE_P(1);
	double	   *avalues = state_values(a, "vector_combine");
	double	   *bvalues = state_values(b, "vector_combine");
	ArrayType  *result;
	double	   *sums;

	/* a worker that saw no row contributes {0} */
	if (avalues[0] == 0.0)
		PG_RETURN_ARRAYTYPE_P(b);
	if (bvalues[0] == 0.0)
		PG_RETURN_ARRAYTYPE_P(a);

	(void) vector_check_typmod(STATE_DIM(a), STATE_DIM(b), NULL);

	result = state_new(STATE_DIM(a));
	sums = (double *) ARR_DATA_PTR(result);
	for (int i = 0; i <= STATE_DIM(a); i++)
		sums[i] = add_checked(avalues[i], bvalues[i]);

	PG_RETURN_ARRAYTYPE_P(result);
}

/* NULL when there was no row. */
Datum
vector_avg(PG_FUNCTION_ARGS)
{
	ArrayType  *state = PG_GETARG_ARRAYTYPE_P(0);
	double	   *values = state_values(state, "vector_avg");
	int			dim = STATE_DIM(state);
	Vector	   *result;

	if (values[0] == 0.0)
		PG_RETURN_NULL();

	(void) vector_check_dim(dim, NULL);

	result = vector_new(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = (float) (values[1 + i] / values[0]);
	vector_check_elements(result);

	PG_RETURN_VECTOR_P(result);
}
