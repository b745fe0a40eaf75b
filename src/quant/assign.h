/*-------------------------------------------------------------------------
 *
 * assign.h
 *	  The nearest centroid of each of many rows, by blocked kernels.
 *
 * Plain C: no PostgreSQL, no allocation.  The caller gives memory for the
 * prepared centroids (it holds no pointers, so it may lie in shared memory
 * that each process sees at another address; it may not be copied to an
 * address that differs in its last six bits, which would cost speed, though
 * nothing else) and, for each thread of work, scratch.
 *
 * "Distance" here is the squared Euclidean distance or, with ip, the negative
 * inner product: smaller is nearer.  It is computed as
 * |x-m|^2 - 2 (<x-m, c-m> - |c-m|^2 / 2) with m the mean of the centroids: so
 * it is as precise as the spread of the data allows, however far from the
 * origin they lie, but not bit for bit what kernel->l2sq returns, nor the
 * same at each SIMD level.  Its error is some 1e-6 * |x-m| * max |c-m|.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_ASSIGN_H
#define VECDB_ASSIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called every few milliseconds of work; NULL for none.  May not return. */
typedef void (*AssignInterrupt) (void *arg);

/* Bytes for k prepared centroids; SIZE_MAX when that overflows, or k or dim < 1. */
extern size_t assign_size(int k, int dim);

/* Bytes of scratch for one participant; SIZE_MAX as above. */
extern size_t assign_scratch_size(int k, int dim);

/* Prepare centroids (k * dim floats, not needed afterwards). */
extern void assign_prepare(void *mem, const float *centroids, int k, int dim,
						   bool ip, void *scratch);

/*
 * Nearest centroid, and its distance, of n rows; row i starts at rows + i *
 * ld, or at rows + which[i] * ld unless which is NULL.  Equal distances go to
 * the lower number.  distance may be NULL.  Best with 100 rows or more.
 */
extern void assign_rows(const void *mem, const float *rows, size_t ld,
						const uint32_t *which, int n,
						uint32_t *nearest, float *distance,
						void *scratch, AssignInterrupt interrupt, void *arg);

/*
 * The same among some centroids only: from first to end - 1, and those that were
 * packed in one unit with either (so what nearest says may lie beyond).
 */
extern void assign_rows_among(const void *mem, int first, int end,
							  const float *rows, size_t ld,
							  const uint32_t *which, int n,
							  uint32_t *nearest, float *distance,
							  void *scratch, AssignInterrupt interrupt, void *arg);

/* Distances of n rows to all k centroids: out[i * ldo + j]. */
extern void assign_distances(const void *mem, const float *rows, size_t ld,
							 int n, float *out, size_t ldo,
							 void *scratch, AssignInterrupt interrupt, void *arg);

/*
 * Is one of k plain centroids, stride bytes apart, nearer to a row than
 * *distance?  Then *distance is set, to the bits of kernel->l2sq or
 * -kernel->ip, and *nearest to its number plus first.  Nothing to prepare, and
 * centroids may come in pieces, as they lie on pages.  Start with *distance =
 * INFINITY and *nearest = 0: where all distances overflow, that is the answer.
 */
extern void assign_one(const float *row, const void *centroids, size_t stride,
					   int k, int dim, bool ip, uint32_t first,
					   float *distance, uint32_t *nearest);

/*
 * For k-means, whose participants prepare together: one begins (mean NULL:
 * use zero), then each packs units [first, end) of the assign_units(k).
 */
extern void assign_begin(void *mem, int k, int dim, bool ip, const float *mean);
extern int	assign_units(int k);
extern void assign_pack(void *mem, const float *centroids, int first, int end,
						void *scratch);

/*
 * Ask for the beginning of a row that is read soon: rows in random order wait
 * for memory otherwise.  What follows, the processor sees coming.
 */
static inline void
assign_prefetch(const float *row, int dim)
{
#if defined(__GNUC__)
	for (int d = 0; d < dim && d < 128; d += 16)
		__builtin_prefetch(row + d);
#endif
}

/* Rows worth giving to assign_rows at a time: a unit of work. */
#define ASSIGN_BLOCK_ROWS	120 /* never more */
extern int	assign_block_rows(int dim);

#endif							/* VECDB_ASSIGN_H */
