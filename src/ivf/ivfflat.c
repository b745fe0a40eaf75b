/*-------------------------------------------------------------------------
 *
 * ivfflat.c
 *	  The access method ivfflat: handler, options, phases, properties.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/progress.h"
#include "commands/vacuum.h"
#include "fmgr.h"

#include "compat.h"
#include "ivf/ivf_private.h"

VECDB_FUNCTION(ivfflathandler);

static bytea *
ivfflatoptions(Datum reloptions, bool validate)
{
	return ivfflat_reloptions(reloptions, validate);
}

static char *
ivfflatbuildphasename(int64 phasenum)
{
	switch (phasenum)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case IVF_PHASE_KMEANS:
			return "performing k-means";
		case IVF_PHASE_ASSIGN:
			return "assigning tuples";
		case IVF_PHASE_LOAD:
			return "loading tuples";
		default:
			return NULL;
	}
}

Datum
ivfflathandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	am->amstrategies = 0;
	am->amsupport = IVF_NUM_PROCS;
	am->amcanorderbyop = true;
	am->amoptionalkey = true;	/* a scan has an ORDER BY, and no key */
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
#if VECDB_HAVE_AMCANBUILDPARALLEL
	am->amcanbuildparallel = true;
#endif
	am->amkeytype = InvalidOid;

	am->ambuild = ivfflatbuild;
	am->ambuildempty = ivfflatbuildempty;
	am->aminsert = ivfflatinsert;
	am->ambulkdelete = ivfflatbulkdelete;
	am->amvacuumcleanup = ivfflatvacuumcleanup;
	am->amcostestimate = ivfflatcostestimate;
	am->amoptions = ivfflatoptions;
	am->ambuildphasename = ivfflatbuildphasename;
	am->amvalidate = ivfflatvalidate;
	am->ambeginscan = ivfflatbeginscan;
	am->amrescan = ivfflatrescan;
	am->amgettuple = ivfflatgettuple;
	am->amendscan = ivfflatendscan;

	PG_RETURN_POINTER(am);
}
