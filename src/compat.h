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

#endif							/* VECDB_COMPAT_H */
