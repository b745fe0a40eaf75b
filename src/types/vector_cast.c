/*-------------------------------------------------------------------------
 *
 * vector_cast.c
 *	  Casts of vector to itself (length), from arrays, and to real[].
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "types/vector.h"

VECDB_FUNCTION(vector);
VECDB_FUNCTION(array_to_vector);
VECDB_FUNCTION(vector_to_float4);

/* vector to vector(n): values keep their length or fail */
Datum
vector(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);

	(void) vector_check_typmod(PG_GETARG_INT32(1), v->dim, NULL);

	PG_RETURN_VECTOR_P(v);
}

/* integer[], real[], double precision[] or numeric[] to vector */
Datum
array_to_vector(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	int			dim;
	Vector	   *result;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D")));

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));

	dim = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	(void) vector_check_dim(dim, NULL);
	(void) vector_check_typmod(typmod, dim, NULL);

	result = vector_new(dim);

	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			{
				const int32 *elements = (const int32 *) ARR_DATA_PTR(array);

				for (int i = 0; i < dim; i++)
					result->x[i] = (float) elements[i];
				break;
			}
		case FLOAT4OID:
			memcpy(result->x, ARR_DATA_PTR(array), sizeof(float) * dim);
			break;
		case FLOAT8OID:
			{
				const double *elements = (const double *) ARR_DATA_PTR(array);

				for (int i = 0; i < dim; i++)
					result->x[i] = (float) elements[i];
				break;
			}
		case NUMERICOID:
			{
				Datum	   *elements;
				int			n;

				deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT,
								  &elements, NULL, &n);
				Assert(n == dim);
				for (int i = 0; i < dim; i++)
					result->x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4,
																	  elements[i]));
				pfree(elements);
				break;
			}
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("unsupported array type")));
	}

	/* narrowing may have made infinities; NaN came as such */
	vector_check_elements(result);

	PG_FREE_IF_COPY(array, 0);
	PG_RETURN_VECTOR_P(result);
}

/* vector to real[]; the array's type modifier means nothing */
Datum
vector_to_float4(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float4) * v->dim;
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = v->dim;
	ARR_LBOUND(result)[0] = 1;
	memcpy(ARR_DATA_PTR(result), v->x, sizeof(float4) * v->dim);

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
