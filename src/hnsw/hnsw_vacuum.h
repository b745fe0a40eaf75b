/*-------------------------------------------------------------------------
 *
 * hnsw_vacuum.h
 *	  What hnsw_vacuum.c and hnsw_repair.c share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HNSW_VACUUM_H
#define VECDB_HNSW_VACUUM_H

#include "hnsw/hnsw_private.h"

typedef struct HnswVacuum
{
	IndexVacuumInfo *info;
	Relation	index;
	const HnswIndex *hnsw;
	HnswInsert *insert;			/* for repairs */
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;

	BlockNumber nblocks;		/* of the index when marking began */
	uint8	   *dead;			/* a bit a place: a dead node */
	uint8	   *chained;		/* a live node with a chain of chunks */
	uint64		ndead;
	uint64		nodes;			/* live ones */
	BlockNumber *tids_pages;
	uint32		ntids_pages;
	uint32		max_tids_pages;
	uint32		roomy_pages;	/* of these, with a free chunk */
	bool		freed_chunks;
	bool		has_cont;		/* there are CONT pages */
} HnswVacuum;

extern bool hnsw_vacuum_is_dead(HnswVacuum *vac, HnswNodeId id);

/* hnsw_repair.c */
extern void hnsw_repair_page(HnswVacuum *vac, BlockNumber blkno);

#endif							/* VECDB_HNSW_VACUUM_H */
