/*-------------------------------------------------------------------------
 *
 * hnsw_build.h
 *	  What the participants of a build share, by file of the build.
 *
 * A build goes through its phases with all participants (the leader is number 0)
 * at once; between two of them everybody waits for everybody.  What they share
 * lies in one block of memory, the area, in dynamic shared memory or, for a
 * serial build, in our own.  Nodes are numbered by graph/build.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HNSW_BUILD_H
#define VECDB_HNSW_BUILD_H

#include "port/atomics.h"
#include "storage/barrier.h"
#include "storage/buffile.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"

#include "graph/build.h"
#include "hnsw/hnsw_private.h"

/* A row in memory; its own vector is in the area's halves. */
typedef struct HnswBuildRow
{
	ItemPointerData tid;
	bool		duplicate;		/* of another node, in whose chain it is */
	bool		entry;			/* is in the entry table */
	pg_atomic_uint32 same;		/* 1 + next row with the same vector, or 0 */
	float		scale;
	float		error;
	float		norm;
} HnswBuildRow;

/* The nearest node, so far, to a calibration query. */
typedef struct HnswNearest
{
	float		distance;
	HnswNodeId	node;			/* 0: none yet */
} HnswNearest;

#define HNSW_CALIBRATION_K			10
#define HNSW_CALIBRATION_QUERIES	512
#define HNSW_CALIBRATION_GRID		16

/* What the searches of one query found, by gamma. */
typedef struct HnswMeasure
{
	float		found[HNSW_CALIBRATION_GRID];	/* share of the exact answer */
	float		visits[HNSW_CALIBRATION_GRID];
} HnswMeasure;

/* Where things lie in the area, in bytes from its beginning. */
typedef struct HnswArea
{
	Size		mean;			/* floats of the mean */
	Size		queries;		/* calibration: padded floats each */
	Size		panels;			/* ... packed for kernel->ip_panels */
	Size		nearest;		/* ... K for each participant and query */
	Size		measures;		/* ... for each query */
	Size		rows;			/* HnswBuildRow, by node */
	Size		halves;			/* own vectors, padded halves, by node */
	Size		slots;			/* uint32, twice the nodes: at first a hash
								 * table to find equal vectors, then order
								 * and position */
	Size		graph;			/* graph/build.h */
	Size		total;
} HnswArea;

/* Blocks of the index, known before any is written. */
typedef struct HnswBlocks
{
	BlockNumber nodes;			/* first of each kind */
	BlockNumber conts;
	BlockNumber entries;
	BlockNumber tids;
	BlockNumber end;
	uint32		nentries;
	uint32		nchunks;
} HnswBlocks;

/* What all participants know. */
typedef struct HnswBuildShared
{
	/* set before the start */
	Oid			heapid;
	Oid			indexid;
	bool		concurrent;
	int			participants;
	HnswMetaPageData meta;		/* the leader completes it as it goes */
	GraphBuildParams graph;
	double		estimated_rows;
	HnswArea	area;

	/* start: workers wait until the leader knows how many they are */
	slock_t		mutex;
	ConditionVariable changed;
	bool		started;
	Barrier		barrier;

	/* load */
	pg_atomic_uint64 loaded;	/* rows met that have a place in the index */
	pg_atomic_uint32 full;		/* somebody found the memory used up */
	double		heap_tuples;
	double		spooled;
	bool		broken_hot_chain;	/* somebody met one: see index_build() */

	/* the next piece of work of each phase */
	pg_atomic_uint32 next_merge;
	pg_atomic_uint32 next_page;
	pg_atomic_uint32 next_exact;
	pg_atomic_uint32 next_query;
	pg_atomic_uint64 inserted;	/* of those spooled */

	/* write */
	uint32		nodes;			/* in memory, without duplicates */
	HnswBlocks	blocks;

	/* calibration */
	int			nqueries;		/* 0: there is none */
	int			calibrated;		/* gammas tried */
} HnswBuildShared;

/* A participant, in its own memory. */
typedef struct HnswBuilder
{
	HnswBuildShared *shared;
	char	   *area;
	int			number;			/* 0: the leader */
	Relation	heap;
	Relation	index;
	HnswIndex  *hnsw;
	BufFile    *spool;			/* rows that did not fit memory, or NULL */
	double		spooled;
} HnswBuilder;

static inline void *
hnsw_area(const HnswBuilder *builder, Size offset)
{
	return builder->area + offset;
}

static inline HnswBuildRow *
hnsw_build_row(const HnswBuilder *builder, uint32 node)
{
	return (HnswBuildRow *) hnsw_area(builder, builder->shared->area.rows) + node;
}

static inline uint16 *
hnsw_build_half(const HnswBuilder *builder, uint32 node)
{
	return (uint16 *) hnsw_area(builder, builder->shared->area.halves) +
		(Size) node * builder->shared->meta.padded;
}

static inline void *
hnsw_build_graph(const HnswBuilder *builder)
{
	return hnsw_area(builder, builder->shared->area.graph);
}

/* Nodes in the order of the pages, and where in that order a node is. */
static inline uint32 *
hnsw_build_order(const HnswBuilder *builder)
{
	return (uint32 *) hnsw_area(builder, builder->shared->area.slots);
}

static inline uint32 *
hnsw_build_position(const HnswBuilder *builder)
{
	return hnsw_build_order(builder) + builder->shared->graph.capacity;
}

/* The number a node has in the index. */
static inline HnswNodeId
hnsw_build_node_id(const HnswBuilder *builder, uint32 node)
{
	const HnswBuildShared *shared = builder->shared;
	uint32		position = hnsw_build_position(builder)[node];

	return HnswNodeIdMake(shared->blocks.nodes + position / shared->meta.nodes_per_page,
						  position % shared->meta.nodes_per_page + 1);
}

/* hnsw_build.c */
extern void hnsw_build_sync(HnswBuilder *builder);
extern void hnsw_build_phase(HnswBuilder *builder, int phase, double total);
extern void hnsw_build_progress(HnswBuilder *builder, double done);

/* hnsw_memory.c */
#define HNSW_BUILD_MAX_ROWS		((1 << 30) - 1) /* as graph/build.h allows */
extern double hnsw_build_capacity(double rows);
extern void hnsw_build_plan_graph(HnswBuildShared *plan);
extern void hnsw_build_plan_memory(HnswBuildShared *plan, int participants, Size memory,
								   double rows);

/* hnsw_write.c: duplicates, pages */
extern void hnsw_build_clear_slots(HnswBuilder *builder);
extern void hnsw_build_merge(HnswBuilder *builder);
extern void hnsw_build_plan(HnswBuilder *builder);
extern void hnsw_build_write(HnswBuilder *builder);
extern void hnsw_build_write_meta(HnswBuilder *builder);
extern void hnsw_build_write_targets(HnswBuilder *builder);

/* hnsw_calibrate.c */
extern int	hnsw_calibration_queries(Size memory, const HnswMetaPageData *meta);
extern void hnsw_calibrate_begin(HnswBuilder *builder);
extern void hnsw_calibrate_exact(HnswBuilder *builder);
extern void hnsw_calibrate_inserted(HnswBuilder *builder, const float *x, HnswNodeId node);
extern void hnsw_calibrate_search(HnswBuilder *builder);
extern void hnsw_calibrate_end(HnswBuilder *builder);

#endif							/* VECDB_HNSW_BUILD_H */
