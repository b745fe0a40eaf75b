/*-------------------------------------------------------------------------
 *
 * kmeans_private.h
 *	  What the files of k-means share: the state of a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KMEANS_PRIVATE_H
#define VECDB_KMEANS_PRIVATE_H

#include <stdatomic.h>

#include "quant/assign.h"
#include "quant/kmeans.h"

typedef struct KMeansState
{
	KMeansParams params;

	/* offsets of the arrays from here */
	size_t		mean;			/* float[dim]: subtracted from all, for
								 * distances */
	size_t		order;			/* uint32[n]: the points, samples first */
	size_t		nearest;		/* uint32[n]: cluster of the i-th of order, or
								 * of members; see near */
	size_t		members;		/* uint32[n]: points, sorted by cluster, then
								 * those not in the sample */
	size_t		gap;			/* float[n]: the i-th of order (members) to
								 * nearest seed, centroid */
	size_t		block_sums;		/* double[blocks]: sum of squared distances to
								 * seeds */
	size_t		start;			/* uint32[k + 1]: each cluster's place in
								 * members */
	size_t		spread;			/* double[k]: sum of the cluster's gaps */
	size_t		pieces;			/* int[k]: centroids to make of it; see plan() */
	size_t		next_piece;		/* int[k]: list of the centroids it is given */
	size_t		heap;			/* int[k]: scratch of plan() */
	size_t		packed;			/* prepared centroids */
	size_t		private;		/* first participant's own memory */
	size_t		private_size;	/* each one's: double[dim], assign's scratch;
								 * then, at */
	size_t		local;			/* this offset, a few prepared centroids, and
								 * at */
	size_t		room;			/* this one, see kmeans_near.c */
	size_t		closest;		/* uint32[k * KMEANS_NEAR]: centroids next to
								 * each */
	size_t		anchor;			/* uint32[k]: place in order of the cluster's
								 * innermost point */

	size_t		next;			/* float[k]: squared distance of each centroid
								 * to the next; 0: there is none such */

	/* taken from by all */
	atomic_int	next_block;
	atomic_int	next_cluster;
	atomic_int	next_closest;
	atomic_int	next_near;
	atomic_int	unproven;		/* centroids not known to own a point */

	/* written by participant 0 alone, read by all after the barrier */
	int			seeds;			/* seeds chosen, and with their distances in
								 * gap */
	int			new_seeds;		/* the last chosen, that gap knows nothing of */
	uint64_t	random;
	int			k;				/* centroids in use */
	int			active;			/* the first so many of order are in use */
	bool		near;			/* points are compared with few centroids, as
								 * kmeans_near.c does it */
	int			sorted;			/* so many of members are sorted by cluster */
	bool		prove;			/* the run ends if each centroid owns a point */
	bool		done;
	int			level_rounds;	/* rounds made on this sample */
	bool		settling;		/* no more splits, but of empty clusters */
	int			repair_rounds;
	double		objective;
	double		previous;		/* objective a round ago; < 0: none on this
								 * sample */
	KMeansReport report;
} KMeansState;

typedef struct Participant
{
	KMeansState *state;
	int			number;
	const float *points;
	float	   *centroids;
	double	   *sums;
	void	   *scratch;
	char	   *local;
	char	   *room;
	KMeansSync	sync;
	KMeansInterrupt interrupt;
	void	   *arg;
} Participant;

#define ARRAY(state, type, field) ((type *) ((char *) (state) + (state)->field))

static inline void
check_interrupt(const Participant *me)
{
	if (me->interrupt)
		me->interrupt(me->arg);
}

static inline void
wait_for_all(const Participant *me)
{
	if (me->sync)
		me->sync(me->arg);
}

static inline int
min_int(int a, int b)
{
	return a < b ? a : b;
}

/* As assign.c gives it; |x|^2 + |c|^2 - 2<x,c> with both lengths 1 if spherical. */
static inline float
squared_distance(const KMeansState *state, float distance)
{
	if (state->params.spherical)
		distance = 2.0f + 2.0f * distance;
	return distance > 0.0f ? distance : 0.0f;
}

static inline int
cluster_size(const KMeansState *state, int j)
{
	const uint32_t *start = ARRAY(state, const uint32_t, start);

	return (int) (start[j + 1] - start[j]);
}

/* kmeans.c */

/*
 * Make room for count items at *total; their offset goes to *offset.  False
 * when the sum overflows, so no product or sum of sizes here can wrap.
 */
extern bool kmeans_reserve(size_t *total, size_t count, size_t item, size_t *offset);

/* Fill the offsets, with those of kmeans_near.c or without; the size of all, or SIZE_MAX. */
extern size_t kmeans_lay_out(const KMeansParams *params, bool near, KMeansState *state);

/* Participant 0, the others waiting: look at the assignment, decide what next. */
extern void kmeans_plan(Participant *me);

/* All participants: move the centroids, as planned. */
extern void kmeans_update(Participant *me);

/* Compare points of order, from place first on, with all centroids. */
extern void kmeans_assign(Participant *me, int first);

/* kmeans_tree.c */
extern bool kmeans_tree_wanted(const KMeansParams *params);
extern size_t kmeans_tree_workspace_size(const KMeansParams *params);
extern void kmeans_tree_init(void *workspace, const KMeansParams *params);
extern int	kmeans_tree_run(void *workspace, int participant, const float *points,
							float *centroids, KMeansSync sync,
							KMeansInterrupt interrupt, void *arg);
extern KMeansReport kmeans_tree_report(const void *workspace);

/*
 * kmeans_passes.c: one participant calls kmeans_passes_init() first, with as many
 * centroids as there are; kmeans_passes_run() changes these, and their order.
 */
extern size_t kmeans_passes_size(const KMeansParams *params);
extern void kmeans_passes_init(void *memory, const KMeansParams *params, int k);
extern int	kmeans_passes_run(void *memory, int participant, const float *points, float *centroids,
							  KMeansSync sync, KMeansInterrupt interrupt, void *arg);
extern KMeansReport kmeans_passes_report(const void *memory);

/* kmeans_near.c */
extern bool kmeans_near_wanted(const KMeansParams *params);
extern bool kmeans_near_lay_out(const KMeansParams *params, size_t *total,
								KMeansState *state);
extern bool kmeans_near_lay_out_private(const KMeansParams *params, size_t *total,
										KMeansState *state);
extern void kmeans_near_assign(Participant *me);
extern void kmeans_near_prove(Participant *me);
extern double kmeans_near_pass(const KMeansState *state);

#endif							/* VECDB_KMEANS_PRIVATE_H */
