/*-------------------------------------------------------------------------
 *
 * vecdb.h
 *	  Module entry points.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_H
#define VECDB_H

extern PGDLLEXPORT void _PG_init(void);

#endif							/* VECDB_H */
