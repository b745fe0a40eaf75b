/*-------------------------------------------------------------------------
 *
 * hnsw.c
 *	  The access method hnsw: handler, options, phases.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/progress.h"
#include "commands/vacuum.h"
#include "fmgr.h"

#include "compat.h"
#include "hnsw/hnsw_private.h"

VECDB_FUNCTION(hnswhandler);

static bytea *
hnswoptions(Datum reloptions, bool validate)
{
	return hnsw_reloptions(reloptions, validate);
}

static char *
hnswbuildphasename(int64 phasenum)
{
	switch (phasenum)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case HNSW_PHASE_LOAD:
			return "loading tuples";
		case HNSW_PHASE_GRAPH:
			return "building graph";
		case HNSW_PHASE_WRITE:
			return "writing pages";
		case HNSW_PHASE_INSERT:
			return "inserting tuples beyond maintenance_work_mem";
		case HNSW_PHASE_MEASURE:
			return "measuring recall";
		default:
			return NULL;
	}
}

Datum
hnswhandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	am->amstrategies = 0;
	am->amsupport = HNSW_NUM_PROCS;
	am->amcanorderbyop = true;
	am->amoptionalkey = true;	/* a scan has an ORDER BY, and no key */
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
#if VECDB_HAVE_AMCANBUILDPARALLEL
	am->amcanbuildparallel = true;
#endif
	am->amkeytype = InvalidOid;

	am->ambuild = hnswbuild;
	am->ambuildempty = hnswbuildempty;
	am->aminsert = hnswinsert;
	am->ambulkdelete = hnswbulkdelete;
	am->amvacuumcleanup = hnswvacuumcleanup;
	am->amcostestimate = hnswcostestimate;
	am->amoptions = hnswoptions;
	am->ambuildphasename = hnswbuildphasename;
	am->amvalidate = hnswvalidate;
	am->ambeginscan = hnswbeginscan;
	am->amrescan = hnswrescan;
	am->amgettuple = hnswgettuple;
	am->amendscan = hnswendscan;

	PG_RETURN_POINTER(am);
}
