/*-------------------------------------------------------------------------
 *
 * support.c
 *	  What an index knows of its column: metric, dimensions, value checks.
 *
 * The metric follows from the operator class's support procedures, as users
 * of pgvector may have classes of their own made from the same functions:
 * procedure 1 is vector_l2_squared_distance, vector_negative_inner_product or
 * l1_distance, and with procedure 2 (the norm) the second means cosine.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "utils/lsyscache.h"

#include "am/support.h"


/* with_l1: the access method knows L1, too */
Metric
support_metric(Relation index, bool with_l1)
{
	FmgrInfo   *distance = index_getprocinfo(index, 1, SUPPORT_DISTANCE_PROC);
	Oid		   *argtypes;
	int			nargs;

	/* CREATE OPERATOR CLASS ties a function to any type: the bytes must be a vector's */
	(void) get_func_signature(distance->fn_oid, &argtypes, &nargs);
	if (nargs == 2 && argtypes[0] == index->rd_opcintype[0])
	{
		if (distance->fn_addr == vector_l2_squared_distance)
			return METRIC_L2;
		if (distance->fn_addr == vector_negative_inner_product)
			return OidIsValid(index_getprocid(index, 1, SUPPORT_NORM_PROC)) ?
				METRIC_COSINE : METRIC_IP;
		if (with_l1 && distance->fn_addr == l1_distance)
			return METRIC_L1;
	}

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("operator class of index \"%s\" has an unsupported distance function",
					RelationGetRelationName(index)),
			 with_l1 ?
			 errdetail("Support function 1 must be vector_l2_squared_distance, vector_negative_inner_product or l1_distance of vecdb, for the type they take.") :
			 errdetail("Support function 1 must be vector_l2_squared_distance or vector_negative_inner_product of vecdb, for the type they take.")));
	pg_unreachable();
}

const char *
support_metric_name(Metric metric)
{
	switch (metric)
	{
		case METRIC_L2:
			return "l2";
		case METRIC_IP:
			return "ip";
		case METRIC_COSINE:
			return "cosine";
		case METRIC_L1:
			return "l1";
	}
	return "invalid";
}

/* The dimensions of the indexed column, from its type modifier. */
int
support_dims(Relation index, const char *am_name, int max_dims)
{
	int			dims = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;

	if (dims < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column does not have dimensions"),
				 errhint("Give them with the type, for example vector(384), or cast an expression to it.")));
	if (dims > max_dims)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("column cannot have more than %d dimensions for %s index",
						max_dims, am_name)));
	return dims;
}

/* A value to index or to search for: detoasted, of the index's dimensions. */
Vector *
support_value(Datum value, int dims)
{
	Vector	   *vector = DatumGetVector(value);

	if (vector->dim != dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %d and %d", dims, vector->dim)));
	return vector;
}
