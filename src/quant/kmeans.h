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
	int			dim;
	int			k;				/* centroids wanted, >= 1 */
	bool		spherical;		/* points have unit length; so have centroids */
	int			max_iterations;
	uint64_t	seed;
	int			participants;	/* >= 1 */
} KMeansParams;

/*
 * A barrier all participants pass; also the place to check for interrupts.
 * Called often enough (each participant between two calls does at most a few
 * million distance components) ... see kmeans.c.
 */
typedef void (*KMeansSync) (void *arg);
/* Called by each participant every few milliseconds of work; may not return. */
typedef void (*KMeansInterrupt) (void *arg);

/* Bytes of working memory for these parameters; SIZE_MAX when it overflows. */
extern size_t kmeans_workspace_size(const KMeansParams *params);

/* One participant, before the others start. */
extern void kmeans_init(void *workspace, const KMeansParams *params);

/*
 * All participants.  points: n * dim floats, not changed.  centroids:
 * k * dim floats, the result.  Returns the number of centroids that are
 * distinct and own at least one point (<= k; less only when the points have
 * fewer distinct values); those come first, the rest is not to be used.
 */
extern int	kmeans_run(void *workspace, int participant, const float *points,
					   float *centroids, KMeansSync sync,
					   KMeansInterrupt interrupt, void *arg);

#endif							/* VECDB_KMEANS_H */
