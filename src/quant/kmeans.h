/*-------------------------------------------------------------------------
 *
 * kmeans.h
 *	  Lloyd's k-means with blocked kernels, for any number of participants.
 *
 * Plain C: no PostgreSQL, no allocation.  The caller gives one block of
 * memory (shared between processes, if it likes: it holds no pointers) and
 * lets every participant call kmeans_run() with its number; sync() is a
 * barrier among them (NULL when there is one participant only).
 *
 * The result depends on the points, their order, k, the seed and the SIMD
 * level (kernel->ip_panels is not bit-stable), and not on the number of
 * participants.
 *
 * Points must be finite.  Values whose squares overflow a float (1e19) make
 * the distances infinite and the clusters meaningless, but do no harm.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KMEANS_H
#define VECDB_KMEANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct KMeansParams
{
	int			n;				/* points, >= 1 */
	int			dim;			/* >= 1 */
	int			k;				/* centroids wanted, >= 1 */
	bool		spherical;		/* points have unit length; so have centroids */
	int			max_iterations; /* passes over all points, >= 1 */
	uint64_t	seed;
	int			participants;	/* >= 1 */
} KMeansParams;

/* A barrier: returns when all participants have called it.  May not return. */
typedef void (*KMeansSync) (void *arg);

/*
 * Called by each participant every few milliseconds of work, never while
 * something is held; NULL for none.  May not return (longjmp): nothing is to be
 * cleaned up here, but the others then wait in sync() until the caller's
 * barrier lets them go.
 */
typedef void (*KMeansInterrupt) (void *arg);

/*
 * Bytes of working memory for these parameters: about 4 * k * dim, 16 a
 * point, and for each participant one block of rows and what rounds among few
 * need (kmeans_near.c).  SIZE_MAX when that, or the points, do not fit the
 * address space, or a parameter is out of its range.
 */
extern size_t kmeans_workspace_size(const KMeansParams *params);

/* One participant, before the others start. */
extern void kmeans_init(void *workspace, const KMeansParams *params);

/*
 * All participants.  points: n * dim floats, not changed.  centroids:
 * k * dim floats, the result, shared by all.  Returns to each the number of
 * centroids made, which come first; the rest is not to be used.  Each is
 * distinct and the nearest to at least one point.  They are fewer than k only
 * when the points have fewer distinct values, or values so near each other,
 * measured against the spread of all, that float distances do not tell them
 * apart.  Of more than 16,384 (kmeans_tree.c) a few may own no point, and there may be
 * fewer, too, where very many points are close together.
 */
extern int	kmeans_run(void *workspace, int participant, const float *points,
					   float *centroids, KMeansSync sync,
					   KMeansInterrupt interrupt, void *arg);

/* How it went; after kmeans_run(). */
typedef struct KMeansReport
{
	int			iterations;		/* passes over all points */
	double		points_read;	/* with the passes over some, in units of n *
								 * k; without seeds and points new to a sample */
	double		objective;		/* mean squared distance to the nearest
								 * centroid, of those compared: with many
								 * centroids up to 1 % more than of all */
	int			largest;		/* points of the largest cluster */
	int			reseeded;		/* centroids moved to another place */
} KMeansReport;

extern KMeansReport kmeans_report(const void *workspace);

#endif							/* VECDB_KMEANS_H */
