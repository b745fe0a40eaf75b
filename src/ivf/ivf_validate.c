/*-------------------------------------------------------------------------
 *
 * ivf_validate.c
 *	  ivfflatvalidate, ivfpqvalidate: is an operator class fit?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "am/validate.h"
#include "ivf/ivf_private.h"

/* distance, norm (cosine), k-means distance, its norm, type support */
static const SupportKind kinds[IVF_NUM_PROCS] = {
	SUPPORT_DISTANCE, SUPPORT_NORM, SUPPORT_DISTANCE, SUPPORT_NORM, SUPPORT_TYPE
};

bool
ivfflatvalidate(Oid opclassoid)
{
	return validate_opclass(opclassoid, "ivfflat", kinds, IVF_NUM_PROCS);
}

bool
ivfpqvalidate(Oid opclassoid)
{
	return validate_opclass(opclassoid, "ivfpq", kinds, IVF_NUM_PROCS);
}
