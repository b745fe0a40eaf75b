/*-------------------------------------------------------------------------
 *
 * ivfpq.c
 *	  The access method ivfpq: handler, options.
 *
 * The list machine is ivfflat's; the codec in the metapage makes the difference.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "ivf/ivf_private.h"

VECDB_FUNCTION(ivfpqhandler);

/* Also tells an ivfpq index from an ivfflat one: ivf_has_codes(). */
bytea *
ivfpqoptions(Datum reloptions, bool validate)
{
	return ivfpq_reloptions(reloptions, validate);
}

Datum
ivfpqhandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = ivf_am_routine();

	am->amoptions = ivfpqoptions;
	am->amvalidate = ivfpqvalidate;
	PG_RETURN_POINTER(am);
}
