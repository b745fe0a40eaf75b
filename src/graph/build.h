/*-------------------------------------------------------------------------
 *
 * build.h
 *	  A graph built in memory by any number of participants: incremental
 *	  insertion, all distances on 8-bit codes.
 *
 * Plain C.  The caller gives one block of memory, which holds offsets and no
 * pointers, so that it may lie in shared memory that each process sees at
 * another address; only the last six bits of the address must be the same for
 * all.
 *
 * Distances are squared L2 of the floats given; the caller normalises (cosine)
 * or augments (inner product) them.  Beyond 32 dimensions they are those of codes of
 * 8 bits a dimension, whose steps are 1/127 of the vector's largest component:
 * so vectors are best centred, and rotated if some dimensions are much larger
 * than others.  Nodes are numbered 0, 1, ... as they are added, and inserted in a
 * pseudo-random order (rows often come sorted, which would leave the graph
 * without long edges).
 *
 * Every node but the roots has one protected in-edge: the edge back to it from
 * one of the neighbours it chose when it was inserted, which pruning may not
 * evict.  Its rank is 1 + the greatest rank among those neighbours (roots: 0), so
 * protected edges lead from lower to higher ranks, and every node can be reached
 * from a root along them.  At most half the edges of a node are protected.  Usually
 * there is one root.
 *
 * With one participant the graph depends on rows, their order, parameters and
 * seed alone; with several also on their timing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_GRAPH_BUILD_H
#define VECDB_GRAPH_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GraphBuildParams
{
	uint32_t	capacity;		/* nodes at most (below 2^30) */
	int			dim;			/* 1 .. 65535 */
	int			degree;			/* neighbours of a node, at most (2 .. 200) */
	int			window;			/* nodes expanded by a search: ef_construction */
	float		alpha;			/* 1.1 */
	uint64_t	seed;
	int			participants;
} GraphBuildParams;

/* Bytes of the block, exactly; SIZE_MAX when that overflows or params are no good. */
extern size_t graph_build_size(const GraphBuildParams *params);
extern void graph_build_init(void *mem, const GraphBuildParams *params);

/*
 * Add a node, from any participant at any time before the run: its number, or UINT32_MAX
 * when the block is full.  Numbers are given without gaps.
 */
extern uint32_t graph_build_add(void *mem, const float *x);

/* Leave this node out of the graph (a duplicate). */
extern void graph_build_skip(void *mem, uint32_t node);
extern uint32_t graph_build_count(const void *mem);

/* Bytes of scratch for one participant, its own memory. */
extern size_t graph_build_scratch_size(const GraphBuildParams *params);

/*
 * Insert all nodes; every participant calls it with its number, and returns when no
 * node is left to take.  The graph is final once all have returned.
 * progress (may be NULL) is called with the number of nodes done by all, about every 64 nodes of
 * one participant; interrupt between nodes, with nothing held; both may not return.
 */
extern void graph_build_run(void *mem, int participant, void *scratch,
							void (*progress) (void *arg, uint32_t done),
							void (*interrupt) (void *arg), void *arg);

/*
 * The result.  neighbours: nearest first (but for 1/512), at most degree; is_protected[i]: the edge is the
 * protected in-edge of that neighbour.  A skipped node has none.
 */
extern int	graph_build_neighbours(const void *mem, uint32_t node,
								   uint32_t *neighbours, bool *is_protected);
extern uint32_t graph_build_rank(const void *mem, uint32_t node);
extern bool graph_build_is_root(const void *mem, uint32_t node);

#endif							/* VECDB_GRAPH_BUILD_H */
