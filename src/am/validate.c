/*-------------------------------------------------------------------------
 *
 * validate.c
 *	  Is an operator class fit for an access method of ours?
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

#include "am/validate.h"

/*
 * One operator, FOR ORDER BY, strategy 1, that returns float8; support functions
 * of the kinds that the access method numbers from 1 on, the first of which must
 * be there.  INFO for each violation.
 */
bool
validate_opclass(Oid opclassoid, const char *am_name, const SupportKind *kinds, int nkinds)
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

		if (proc->amprocnum < 1 || proc->amprocnum > nkinds)
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s has invalid support number %d",
							name, am_name, proc->amprocnum)));
			result = false;
			continue;
		}
		switch (kinds[proc->amprocnum - 1])
		{
			case SUPPORT_DISTANCE:
				ok = check_amproc_signature(proc->amproc, FLOAT8OID, true, 2, 2, type, type);
				break;
			case SUPPORT_NORM:
				ok = check_amproc_signature(proc->amproc, FLOAT8OID, true, 1, 1, type);
				break;
			case SUPPORT_TYPE:
			default:
				ok = check_amproc_signature(proc->amproc, INTERNALOID, true, 1, 1, INTERNALOID);
				break;
		}
		has_distance |= proc->amprocnum == 1;
		if (!ok)
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s contains function %s with wrong signature for support number %d",
							name, am_name, get_func_name(proc->amproc), proc->amprocnum)));
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
							name, am_name, get_opname(op->amopopr))));
			result = false;
		}
	}

	if (!has_distance || !has_operator)
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method %s is missing %s",
						name, am_name,
						has_operator ? "support function 1" : "its operator")));
		result = false;
	}

	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(ops);
	ReleaseSysCache(classtup);
	return result;
}
