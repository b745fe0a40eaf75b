/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The only file that knows PostgreSQL versions.
 *
 * The code is written for the newest server; each shim here says which
 * release changed what and adapts the older ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_COMPAT_H
#define VECDB_COMPAT_H

#if PG_VERSION_NUM < 140000
#error "vecdb needs PostgreSQL 14 or newer"
#endif

/*
 * 16 hides a library's symbols by default and gives PGDLLEXPORT a meaning;
 * we compile with -fvisibility=hidden everywhere, so give it one before, too.
 */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

/* A C function that SQL calls: visible, version-1 calling convention. */
#define VECDB_FUNCTION(name) \
	PG_FUNCTION_INFO_V1(name); \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS)

/* 16 split the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * 16 added soft errors: an input function reports through its escontext and
 * returns dummy_value.  Before, every error is a hard one.
 */
#if PG_VERSION_NUM < 160000
#define ereturn(escontext, dummy_value, ...) \
	do { \
		(void) (escontext); \
		ereport(ERROR, __VA_ARGS__); \
	} while (0)
#endif

/* 18 marks functions that do not return in front. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 16 renamed a Relation's relfilenode. */
#if PG_VERSION_NUM >= 160000
#define RelationGetFileNumber(rel) ((rel)->rd_locator.relNumber)
#define RelationGetFileLocator(rel) ((rel)->rd_locator)
#else
#define RelationGetFileNumber(rel) ((rel)->rd_node.relNode)
#define RelationGetFileLocator(rel) ((rel)->rd_node)
#endif

/*
 * One more block, zeroed, pinned and exclusively locked before anyone else can
 * see it.  16 has a call for it; before, the caller takes the extension lock.
 */
#if PG_VERSION_NUM >= 160000
#include "storage/bufmgr.h"
static inline Buffer
extend_relation(Relation rel, ForkNumber fork)
{
	return ExtendBufferedRel(BMR_REL(rel), fork, NULL, EB_LOCK_FIRST);
}

/* The same by a caller that holds the extension lock. */
static inline Buffer
extend_relation_locked(Relation rel, ForkNumber fork)
{
	return ExtendBufferedRel(BMR_REL(rel), fork, NULL,
							 EB_LOCK_FIRST | EB_SKIP_EXTENSION_LOCK);
}
#else
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
static inline Buffer
extend_relation_locked(Relation rel, ForkNumber fork)
{
	return ReadBufferExtended(rel, fork, P_NEW, RBM_ZERO_AND_LOCK, NULL);
}

static inline Buffer
extend_relation(Relation rel, ForkNumber fork)
{
	/* even where the index is of this transaction: workers extend it, too */
	bool		lock = !RelationUsesLocalBuffers(rel);
	Buffer		buf;

	if (lock)
		LockRelationForExtension(rel, ExclusiveLock);
	buf = extend_relation_locked(rel, fork);
	if (lock)
		UnlockRelationForExtension(rel, ExclusiveLock);
	return buf;
}
#endif

/* 15 gave reserved prefixes their present name. */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* 16 frees a setting's "extra" with guc_free; before, with free. */
#if PG_VERSION_NUM >= 160000
#define guc_extra_alloc(size) guc_malloc(LOG, size)
#else
#define guc_extra_alloc(size) malloc(size)
#endif

/* 15 turned tuplesort's randomAccess flag into options. */
#if PG_VERSION_NUM < 150000
#define TUPLESORT_NONE false
#endif

/* 16 replaced the ownership checks of each catalog by one for all. */
#if PG_VERSION_NUM >= 160000
#define relation_ownercheck(relid, role) \
	object_ownercheck(RelationRelationId, relid, role)
#else
#define relation_ownercheck(relid, role) pg_class_ownercheck(relid, role)
#endif

/*
 * 17 has a call for the search_path of maintenance; before, it is set by hand.
 * The caller has begun a new GUC nest level, and includes utils/guc.h.
 */
#if PG_VERSION_NUM < 170000
#define RestrictSearchPath() \
	((void) set_config_option("search_path", "pg_catalog, pg_temp", \
							  PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, \
							  true, 0, false))
#endif

/* 17 renamed the tests for a process's kind. */
#if PG_VERSION_NUM < 170000
#define AmAutoVacuumWorkerProcess() IsAutoVacuumWorkerProcess()
#endif

/* 18 gave vacuum_delay_point an argument. */
#if PG_VERSION_NUM >= 180000
#define VACUUM_DELAY_POINT() vacuum_delay_point(false)
#else
#define VACUUM_DELAY_POINT() vacuum_delay_point()
#endif

/* 18 counts the searches of an index scan for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define count_index_search(scan) \
	do { \
		pgstat_count_index_scan((scan)->indexRelation); \
		if ((scan)->instrument) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define count_index_search(scan) pgstat_count_index_scan((scan)->indexRelation)
#endif

/* 16 asks whether to copy what a tuplesort of datums gives. */
#if PG_VERSION_NUM >= 160000
#define sorted_datum(sort, value, isnull) tuplesort_getdatum(sort, true, false, value, isnull, NULL)
#else
#define sorted_datum(sort, value, isnull) tuplesort_getdatum(sort, true, value, isnull, NULL)
#endif

/* 18 keeps the snapshot for reading TOAST itself; before, the caller has the memory. */
#if PG_VERSION_NUM >= 180000
#define toast_snapshot(memory) ((void) (memory), get_toast_snapshot())
#else
#define toast_snapshot(memory) (init_toast_snapshot(memory), (memory))
#endif

/*
 * 17 plans the workers of an index build for any access method that has
 * amcanbuildparallel; before, it does so for btree only, but lets others call.
 */
#if PG_VERSION_NUM >= 170000
#define plan_build_workers(heap, index, indexInfo) ((indexInfo)->ii_ParallelWorkers)
#else
#include "optimizer/optimizer.h"
#define plan_build_workers(heap, index, indexInfo) \
	plan_create_index_workers(RelationGetRelid(heap), RelationGetRelid(index))
#endif

/*
 * 18 counts disabled nodes; before, an infinite cost says the same.  17 asks
 * whether an access method builds in parallel.
 */
#if PG_VERSION_NUM >= 180000
#define disable_path(path) ((path)->path.disabled_nodes = 2)
#else
#define disable_path(path) ((void) (path))
#endif
#define VECDB_HAVE_AMCANBUILDPARALLEL (PG_VERSION_NUM >= 170000)

#endif							/* VECDB_COMPAT_H */
