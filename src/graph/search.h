/*-------------------------------------------------------------------------
 *
 * search.h
 *	  Best-first search in a graph whose nodes know estimates of their
 *	  neighbours' distances; a stream of nodes, nearest first.
 *
 * Plain C; memory comes from the caller.  Where nodes lie (index pages, or
 * an array in memory) is the business of GraphReader.
 *
 * A node number is any uint64_t but 0.  "Distance" is squared L2 or any other
 * float to be minimised.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_GRAPH_SEARCH_H
#define VECDB_GRAPH_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory: alloc never returns NULL (it raises the caller's own error). */
typedef struct GraphMemory
{
	void	   *(*alloc) (void *arg, size_t bytes);
	void		(*release) (void *arg, void *mem);
	void	   *arg;
} GraphMemory;

#define GRAPH_MAX_DEGREE 256	/* neighbours of one node */

typedef struct GraphSearch GraphSearch;

typedef struct GraphReader
{
	/*
	 * Visit a node: its own distance, the numbers of its neighbours and
	 * estimates of their distances.  Returns how many, or -1 when there is
	 * no such node (any more): it is skipped.  A node may have no distance
	 * worth handing out (deleted, but still a way to others): *distance =
	 * INFINITY, and it is not handed out.  next is the node that will
	 * probably be visited next, or 0: prefetch it, in portions between
	 * pieces of the work on this one.
	 */
	int			(*visit) (void *arg, uint64_t node, uint64_t next,
						  float *distance, uint64_t *neighbours, float *estimates);
	/* Called between two visits, with nothing held; may not return.  Or NULL. */
	void		(*interrupt) (void *arg);
	void	   *arg;

	/*
	 * Estimates are costly (no codes): every neighbour that a visit reported
	 * is remembered at once, so that visit() may leave out those that
	 * graph_search_knows().  Otherwise neighbours beyond the bound are looked
	 * at no further, and may be reported again.
	 */
	bool		costly;
} GraphReader;

/* How far to search. */
typedef struct GraphEffort
{
	/*
	 * ef > 0: the classical rule.  A bounded list of the ef nearest
	 * candidates; when all of them are visited, they are handed out.  If more
	 * is asked for, ef doubles.
	 *
	 * hold_back: they were chosen by estimates, and the farthest of them are not
	 * those that distances would have chosen.  So beyond ef = 10 only two thirds of
	 * ef, and four, are handed out before it doubles.
	 */
	int			ef;

	/*
	 * ef == 0: adaptive.  The k nearest nodes visited are handed out when no
	 * unvisited estimate is below gamma times the distance of the k-th, above
	 * floor: estimate - floor < gamma * (distance - floor).  k is 10 at first, and
	 * doubles when k and a quarter more are handed out.  cap: visits for the
	 * first 10 nodes at most (then hand out what there is), growing in
	 * proportion to what was handed out.
	 *
	 * hold_back: a node nearer than one handed out before is of no use, so beyond k = 10
	 * the same holds for k.
	 */
	float		gamma;
	float		floor;
	int			cap;
	bool		hold_back;
} GraphEffort;

/*
 * max_bytes: what the search may allocate for lists, overflow and visited set;
 * at least some 128 kB.  A node met takes 32 to 64 bytes, 28 more once it is visited.
 */
extern GraphSearch *graph_search_create(const GraphMemory *memory,
										const GraphReader *reader,
										size_t max_bytes);
extern void graph_search_free(GraphSearch *search);

/* Serve another reader from the next begin() on, with the memory there is. */
extern void graph_search_adopt(GraphSearch *search, const GraphReader *reader,
							   size_t max_bytes);

/*
 * Begin anew.  Also right after visit(), interrupt() or alloc() did not return.
 * Memory is kept for the next search until graph_search_free().
 */
extern void graph_search_begin(GraphSearch *search, const GraphEffort *effort);

/* Give it a place to start from; any number of them, before the first next(). */
extern void graph_search_start(GraphSearch *search, uint64_t node, float estimate);

/*
 * The next node.  ordinal counts the visits that gave a distance or -1 or
 * INFINITY, from 0, in the order of the calls of visit(): the caller keeps what
 * it read there by that number.  ordered is false when the node is nearer than one handed out before.
 * Returns false when everything reachable was handed out, or memory is used up
 * (graph_search_complete tells).  A distance NaN comes after all others.
 */
extern bool graph_search_next(GraphSearch *search, uint64_t *node,
							  uint32_t *ordinal, float *distance, bool *ordered);

/*
 * The distance up to which the search has looked for nodes; one that is farther was
 * met on the way, and nearer ones may follow it.  INFINITY where ef rules: there
 * nothing is known of what is left.
 */
extern float graph_search_radius(const GraphSearch *search);

/*
 * Ordinals of visited nodes that wait to be handed out: the nearest of them, then
 * likely followers.  Returns how many of at most n.  *distance (if not NULL) is
 * that of the nearest.
 */
extern int	graph_search_peek(const GraphSearch *search, uint32_t *ordinals, int n,
							  float *distance);

/* False: it ended because of max_bytes, there may be more. */
extern bool graph_search_complete(const GraphSearch *search);

/* Was the node visited, or is it a candidate?  See costly. */
extern bool graph_search_knows(const GraphSearch *search, uint64_t node);

/* Visit no more: next() hands out what was visited, then ends. */
extern void graph_search_stop(GraphSearch *search);

extern uint32_t graph_search_visits(const GraphSearch *search);

#endif							/* VECDB_GRAPH_SEARCH_H */
