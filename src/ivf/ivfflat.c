/*-------------------------------------------------------------------------
 *
 * ivfflat.c
 *	  The access method ivfflat: handler, options; phases and properties, which
 *	  ivfpq shares.
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
ivfbuildphasename(int64 phasenum)
{
	switch (phasenum)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case IVF_PHASE_KMEANS:
			return "performing k-means";
		case IVF_PHASE_CODEC:
			return "learning codes";
		case IVF_PHASE_ASSIGN:
			return "assigning tuples";
		case IVF_PHASE_LOAD:
			return "loading tuples";
		default:
			return NULL;
	}
}

/* What both access methods of this room have in common: all but options and validator. */
IndexAmRoutine *
ivf_am_routine(void)
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

	am->ambuild = ivfbuild;
	am->ambuildempty = ivfbuildempty;
	am->aminsert = ivfinsert;
	am->ambulkdelete = ivfbulkdelete;
	am->amvacuumcleanup = ivfvacuumcleanup;
	am->amcostestimate = ivfcostestimate;
	am->ambuildphasename = ivfbuildphasename;
	am->ambeginscan = ivfbeginscan;
	am->amrescan = ivfrescan;
	am->amgettuple = ivfgettuple;
	am->amendscan = ivfendscan;

	return am;
}

Datum
ivfflathandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = ivf_am_routine();

	am->amoptions = ivfflatoptions;
	am->amvalidate = ivfflatvalidate;
	PG_RETURN_POINTER(am);
}
