/*-------------------------------------------------------------------------
 *
 * hnsw_validate.c
 *	  hnswvalidate: is an operator class fit for hnsw?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "am/validate.h"
#include "hnsw/hnsw_private.h"

bool
hnswvalidate(Oid opclassoid)
{
	/* distance, norm (cosine), type support */
	static const SupportKind kinds[HNSW_NUM_PROCS] = {
		SUPPORT_DISTANCE, SUPPORT_NORM, SUPPORT_TYPE
	};

	return validate_opclass(opclassoid, "hnsw", kinds, HNSW_NUM_PROCS);
}
