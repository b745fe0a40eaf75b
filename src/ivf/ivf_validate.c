/*-------------------------------------------------------------------------
 *
 * ivf_validate.c
 *	  ivfflatvalidate: is an operator class fit for ivfflat?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ivf/ivf_private.h"

/*
 * One operator, FOR ORDER BY, strategy 1, that returns float8; a distance
 * function (1) of two values of the type; norm functions (2, 4) of one; a
 * k-means distance (3) of two; type support (5).  INFO for each violation.
 */
bool
ivfflatvalidate(Oid opclassoid)
{
	HeapTuple	classtup = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclassoid));
	Form_pg_opclass opclass;
	CatCList   *procs;
	CatCList   *ops;
	const char *name;
	bool		result = true;
	bool		has_distance = false;
	bool		has_operator = false;

	if (!HeapTupleIsValid(classtup))
		elog(ERROR, "cache lookup failed for operator class %u", opclassoid);
	opclass = (Form_pg_opclass) GETSTRUCT(classtup);
	name = NameStr(opclass->opcname);
	ops = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(opclass->opcfamily));
	procs = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(opclass->opcfamily));

	for (int i = 0; i < procs->n_members; i++)
	{
		Form_pg_amproc proc = (Form_pg_amproc) GETSTRUCT(&procs->members[i]->tuple);
		Oid			type = opclass->opcintype;
		bool		ok;

		switch (proc->amprocnum)
		{
			case 1:
			case 3:
				ok = check_amproc_signature(proc->amproc, FLOAT8OID, true, 2, 2, type, type);
				has_distance |= proc->amprocnum == 1;
				break;
			case 2:
			case 4:
				ok = check_amproc_signature(proc->amproc, FLOAT8OID, true, 1, 1, type);
				break;
			case 5:
				ok = check_amproc_signature(proc->amproc, INTERNALOID, true, 1, 1, INTERNALOID);
				break;
			default:
				ereport(INFO,
						(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
						 errmsg("operator class \"%s\" of access method %s has invalid support number %d",
								name, "ivfflat", proc->amprocnum)));
				result = false;
				continue;
		}
		if (!ok)
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s contains function %s with wrong signature for support number %d",
							name, "ivfflat", get_func_name(proc->amproc), proc->amprocnum)));
			result = false;
		}
	}

	for (int i = 0; i < ops->n_members; i++)
	{
		Form_pg_amop op = (Form_pg_amop) GETSTRUCT(&ops->members[i]->tuple);

		has_operator = true;
		if (op->amopstrategy != 1 || op->amoppurpose != AMOP_ORDER ||
			!check_amop_signature(op->amopopr, FLOAT8OID, op->amoplefttype, op->amoprighttype))
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s contains operator %s that is not a distance for ORDER BY at strategy 1",
							name, "ivfflat", get_opname(op->amopopr))));
			result = false;
		}
	}

	if (!has_distance || !has_operator)
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method %s is missing %s",
						name, "ivfflat",
						has_operator ? "support function 1" : "its operator")));
		result = false;
	}

	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(ops);
	ReleaseSysCache(classtup);
	return result;
}
