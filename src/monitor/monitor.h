/*-------------------------------------------------------------------------
 *
 * monitor.h
 *	  What the functions that look at an index have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_MONITOR_H
#define VECDB_MONITOR_H

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "am/page.h"

/* An index opened to be looked at, and what to restore afterwards. */
typedef struct MonitorTarget
{
	Relation	heap;
	Relation	index;
	LOCKMODE	lockmode;
	Oid			saved_user;
	int			saved_context;
	int			saved_nestlevel;
} MonitorTarget;

extern void monitor_open(Oid indexid, LOCKMODE lockmode, MonitorTarget *target);
extern void monitor_close(MonitorTarget *target);
extern bool monitor_is_hnsw(const MonitorTarget *target);

extern PageVerdict monitor_copy_page(Relation rel, BlockNumber blkno,
									 BufferAccessStrategy strategy,
									 Size special_size, char *image);

extern Page monitor_copy_bytea(bytea *raw);
extern Page monitor_page_from_bytea(bytea *raw, Size special_size);

/* Answers of several rows, and of one. */
extern void monitor_begin_rows(FunctionCallInfo fcinfo);
extern void monitor_put_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);
extern Datum monitor_record(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

/* inspect_hnsw.c */
extern const char *hnsw_kind_name(uint8 kind);

/* inspect_ivf.c */
extern const char *ivf_kind_name(uint8 kind);

#endif							/* VECDB_MONITOR_H */
