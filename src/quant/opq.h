/*-------------------------------------------------------------------------
 *
 * opq.h
 *	  Optimised product quantisation: a rotation, learnt from the rows, after
 *	  which product quantisation errs least (Ge, He, Ke, Sun: Optimized Product
 *	  Quantization for Approximate Nearest Neighbor Search, CVPR 2013; the
 *	  non-parametric way).
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 * The rotation is dim * dim floats, row by row: coordinate i of the rotated
 * vector is the inner product of row i and the vector.  Rows are orthonormal to
 * about 1e-5, so that distances and inner products of rotated vectors are those of
 * the vectors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_OPQ_H
#define VECDB_OPQ_H

#include <stddef.h>
#include <stdint.h>

#include "quant/pq.h"

/* A rotation has dim^2 floats, and learning it takes dim^3 steps: 16 MB and minutes there. */
#define OPQ_MAX_DIM		2048

/* Bytes of memory opq_train() works in, for n rows; SIZE_MAX where that overflows. */
extern size_t opq_train_size(const PqShape *shape, int n);

/*
 * Learn rotation and codebooks (of rotated rows) from n >= 1 rows of dim <=
 * OPQ_MAX_DIM finite floats; row i begins at rows + i * ld.  iterations of both in
 * turn; 0 leaves the rotation the identity.  Returns the mean squared error of the
 * rows and their codes.  The result depends on the arguments alone, but not to the last
 * bit: ip_panels() differs between SIMD levels.
 */
extern double opq_train(const PqShape *shape, const float *rows, size_t ld, int n,
						int iterations, uint64_t seed, float *rotation,
						float *codebooks, void *mem,
						PqInterrupt interrupt, void *arg);

/* y := the rotated x, which is another array; sums in the order of kernel->ip. */
extern void opq_rotate(const float *rotation, int dim, const float *x, float *y);

#endif							/* VECDB_OPQ_H */
