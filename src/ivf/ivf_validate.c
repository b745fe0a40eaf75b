/*-------------------------------------------------------------------------
 *
 * ivf_validate.c
 *	  ivfflatvalidate: is an operator class fit for ivfflat?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "am/validate.h"
#include "ivf/ivf_private.h"

bool
ivfflatvalidate(Oid opclassoid)
{
	/* distance, norm (cosine), k-means distance, its norm, type support */
	static const SupportKind kinds[IVF_NUM_PROCS] = {
		SUPPORT_DISTANCE, SUPPORT_NORM, SUPPORT_DISTANCE, SUPPORT_NORM, SUPPORT_TYPE
	};

	return validate_opclass(opclassoid, "ivfflat", kinds, IVF_NUM_PROCS);
}
