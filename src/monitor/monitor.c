/*-------------------------------------------------------------------------
 *
 * monitor.c
 *	  What the functions that look at an index have in common: who may,
 *	  under which lock, as whom; and how rows are answered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "hnsw/hnsw_private.h"
#include "ivf/ivf_private.h"
#include "monitor/monitor.h"

/*
 * Before any lock is taken, so that nobody can make others wait for an index
 * that is not theirs.  Looking is for the owner and for roles that may read
 * all data; locking writers out is for the owner alone.
 */
static void
check_permission(Oid indexid, LOCKMODE lockmode)
{
	char		relkind = get_rel_relkind(indexid);

	if (relkind == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u does not exist", indexid)));

	if (!relation_ownercheck(indexid, GetUserId()) &&
		(lockmode != AccessShareLock ||
		 !has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for index \"%s\"", get_rel_name(indexid)),
				 lockmode == AccessShareLock ?
				 errdetail("Only its owner and roles with privileges of the \"%s\" role may look into it.",
						   "pg_read_all_data") :
				 errdetail("Only its owner may lock out writers for a strict check.")));

	if (relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partitioned index", get_rel_name(indexid)),
				 errhint("Name the index of one partition; pg_partition_tree() lists them.")));
	if (relkind != RELKIND_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index", get_rel_name(indexid))));
}

/*
 * Open an index of ours and its table, both under lockmode, the table first
 * as everybody does.  From here to monitor_close() the session acts as the
 * owner of the table, in a restricted context and with a safe search_path:
 * index expressions and predicates run with nobody else's rights.
 */
void
monitor_open(Oid indexid, LOCKMODE lockmode, MonitorTarget *target)
{
	Oid			heapid;

	check_permission(indexid, lockmode);

	heapid = IndexGetRelation(indexid, true);
	target->heap = OidIsValid(heapid) ? try_table_open(heapid, lockmode) : NULL;
	if (target->heap == NULL || IndexGetRelation(indexid, true) != heapid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u does not exist any more", indexid)));

	target->lockmode = lockmode;
	GetUserIdAndSecContext(&target->saved_user, &target->saved_context);
	SetUserIdAndSecContext(target->heap->rd_rel->relowner,
						   target->saved_context | SECURITY_RESTRICTED_OPERATION);
	target->saved_nestlevel = NewGUCNestLevel();
	RestrictSearchPath();

	target->index = index_open(indexid, lockmode);

	/* by the code behind it: another extension may call its method ivfflat */
	if (target->index->rd_indam->ambuild != ivfbuild && !monitor_is_hnsw(target))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" uses access method \"%s\", which is not one of vecdb",
						RelationGetRelationName(target->index),
						get_am_name(target->index->rd_rel->relam)),
				 errhint("vecdb looks into indexes that use hnsw, ivfflat or ivfpq.")));
	if (RELATION_IS_OTHER_TEMP(target->index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" belongs to a temporary table of another session",
						RelationGetRelationName(target->index))));
}

bool
monitor_is_hnsw(const MonitorTarget *target)
{
	return target->index->rd_indam->ambuild == hnswbuild;
}

/* Become who we were, and drop the locks. */
void
monitor_close(MonitorTarget *target)
{
	AtEOXact_GUC(false, target->saved_nestlevel);
	SetUserIdAndSecContext(target->saved_user, target->saved_context);
	index_close(target->index, target->lockmode);
	table_close(target->heap, target->lockmode);
}

/*
 * What a block held at one moment: no lock and no pin remains, so whatever is
 * made of it cannot stand in anybody's way.  The block must exist.
 */
PageVerdict
monitor_copy_page(Relation rel, BlockNumber blkno, BufferAccessStrategy strategy,
				  Size special_size, char *image)
{
	PageVerdict verdict;
	Buffer		buf = page_read_any(rel, blkno, BUFFER_LOCK_SHARE, special_size,
									strategy, &verdict);

	memcpy(image, BufferGetPage(buf), BLCKSZ);
	page_release(buf);
	return verdict;
}

/* An aligned copy of a page, which may hold anything. */
Page
monitor_copy_bytea(bytea *raw)
{
	char	   *page;

	if (VARSIZE_ANY_EXHDR(raw) != BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the page has %zu bytes, but a page of this server has %d",
						(Size) VARSIZE_ANY_EXHDR(raw), BLCKSZ),
				 errhint("Pass what get_raw_page() of the extension pageinspect returns.")));
	page = palloc(BLCKSZ);
	memcpy(page, VARDATA_ANY(raw), BLCKSZ);
	return (Page) page;
}

/* The same for a sound page with a special area of that size. */
Page
monitor_page_from_bytea(bytea *raw, Size special_size)
{
	Page		page = monitor_copy_bytea(raw);

	switch (page_check(page, special_size))
	{
		case PAGE_OK:
			break;
		case PAGE_ZERO:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the page is empty (all zero)")));
			break;
		case PAGE_FORMAT:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the page has format version %d, but this vecdb reads version %d",
							PageGetTrailer(page)->format, VECDB_PAGE_FORMAT)));
			break;
		case PAGE_BROKEN:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the page is not a sound page of a vecdb index"),
					 errdetail("Expected page id %04x and special size %d, got %04x and %d.",
							   VECDB_PAGE_ID, (int) special_size,
							   PageGetTrailer(page)->page_id,
							   BLCKSZ - ((PageHeader) page)->pd_special)));
			break;
	}
	return page;
}

/* The answer will be rows in a tuplestore, which lives as long as the query. */
void
monitor_begin_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	tupdesc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = tupdesc;
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	MemoryContextSwitchTo(old);
}

void
monitor_put_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The answer is one row. */
Datum
monitor_record(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}
