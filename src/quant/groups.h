/*-------------------------------------------------------------------------
 *
 * groups.h
 *	  Many centroids in groups, so that one need not be compared with all.
 *
 * Centroids of a group lie side by side, and each group has a middle: who looks
 * for near centroids compares with the middles, and then with the centroids of
 * the nearest groups.
 *
 * Plain C: no PostgreSQL, no allocation.  Memory of the caller may be shared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_GROUPS_H
#define VECDB_GROUPS_H

#include "quant/assign.h"

/*
 * Whoever wants the nearest centroid of a row looks into so many groups; where it is
 * elsewhere the row goes to one about as near (README.md).
 */
#define GROUPS_NEAR		24

/* Groups worth making of k centroids; 0: compare with all of them. */
extern int	groups_wanted(int k, int dim);

/* Bytes of working memory for groups_make(). */
extern size_t groups_make_size(int k, int dim, int groups);

/*
 * Sort k centroids into groups; returns how many.  Group g has centroids first[g]
 * .. first[g + 1] - 1, at least one; first has room for groups + 1 numbers,
 * middles for groups * dim floats.
 */
extern int	groups_make(void *workspace, float *centroids, int k, int dim, bool spherical,
						int groups, uint32_t *first, float *middles,
						AssignInterrupt interrupt, void *arg);

/*
 * The GROUPS_NEAR nearest of n groups (or all), nearest first, by the distances of their
 * middles; of equal ones those of lower numbers.  Returns how many.
 */
extern int	groups_nearest(const float *distances, int n, uint32_t *out);

/* Groups with their centroids, prepared for groups_assign(). */
typedef struct Groups
{
	int			n;
	int			dim;
	const uint32_t *first;
	const void *middles;		/* assign_prepare() has made it ... */
	const void *centroids;		/* ... and this, of all in order */
} Groups;

/*
 * Rows worth giving to groups_assign() at a time, of that many bytes each: the more,
 * the more there are for each group.
 */
extern int	groups_block_rows(size_t row_bytes);

/* Bytes of scratch for up to max_rows rows. */
extern size_t groups_scratch_size(int groups, int k, int dim, int max_rows);

/*
 * The nearest centroid of each of n rows, among those of the GROUPS_NEAR nearest
 * groups, and its distance (NULL: not wanted).  Best with many rows, several for each group: a group's centroids are
 * read once for all of its rows.
 */
extern void groups_assign(const Groups *groups, int k, const float *rows, size_t ld, int n,
						  uint32_t *nearest, float *distance, void *scratch,
						  AssignInterrupt interrupt, void *arg);

#endif							/* VECDB_GROUPS_H */
