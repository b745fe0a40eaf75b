/*-------------------------------------------------------------------------
 *
 * point.h
 *	  Places where a test can stop a backend: builds with assertions only.
 *
 * VECDB_POINT(n) waits as long as somebody holds the advisory lock
 * (VECDB_POINT_CLASS, n), so a test that takes it with pg_advisory_lock() stops
 * the backend there, sees that it waits, and lets it go on, cancels or kills it.
 * Never while a buffer is locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_POINT_H
#define VECDB_POINT_H

#include "miscadmin.h"
#include "storage/lock.h"

#define VECDB_POINT_CLASS	1987404642

/* the points there are, each once in the source */
#define POINT_TRAIN_WRITTEN		1	/* new lists written, nothing refers to them */
#define POINT_TRAIN_BEGUN		2	/* the metapage names them, no row is copied */
#define POINT_TRAIN_FROZEN		3	/* old lists frozen, no row is copied */
#define POINT_TRAIN_HALF		4	/* half of the rows are copied */
#define POINT_TRAIN_COPIED		5	/* all rows are copied, old lists still in use */

#ifdef USE_ASSERT_CHECKING
#define VECDB_POINT(n) vecdb_point(n)

static inline void
vecdb_point(uint32 n)
{
	LOCKTAG		tag;

	/* as pg_advisory_lock(integer, integer) does */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, VECDB_POINT_CLASS, n, 2);
	(void) LockAcquire(&tag, ShareLock, false, false);
	LockRelease(&tag, ShareLock, false);
}
#else
#define VECDB_POINT(n) ((void) 0)
#endif

#endif							/* VECDB_POINT_H */
