/*-------------------------------------------------------------------------
 *
 * rotation.h
 *	  A random orthonormal map of float vectors: signs and Hadamard steps.
 *
 * Plain C.  The map is given by dim and seed alone, the same on every
 * machine and at every SIMD level to the last bit; it takes O(dim log dim).
 * A vector of dim is padded with zeros to rotation_padded(dim), a multiple of
 * ROTATION_UNIT, and keeps its norm (up to float rounding).
 *
 * A narrow rotation is a map onto rotation_narrow(dim) floats, dim rounded up to a multiple of 8 (64
 * at least); what is behind them, up to rotation_padded(dim), is 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_ROTATION_H
#define VECDB_ROTATION_H

#include <stddef.h>
#include <stdint.h>

#define ROTATION_UNIT 128
#define ROTATION_MAX_DIM (126 * ROTATION_UNIT)	/* 16,128 */

typedef struct Rotation
{
	int			dim;
	int			padded;			/* rotation_padded(dim) */
	int			filled;			/* the same, or rotation_narrow(dim) */
	uint64_t	seed;
	const uint32_t *signs;		/* rotation_size() bytes of the caller's */
} Rotation;

extern int	rotation_padded(int dim);
extern int	rotation_narrow(int dim);

/* Bytes of memory a rotation needs; SIZE_MAX for dim < 1 or beyond the limit. */
extern size_t rotation_size(int dim);
extern void rotation_init(Rotation *rotation, int dim, uint64_t seed, void *mem);
extern void rotation_init_narrow(Rotation *rotation, int dim, uint64_t seed, void *mem);

/*
 * out (padded floats) = R x (dim floats); x and out must not overlap.  Takes 128
 * kB of stack at most.
 */
extern void rotate(const Rotation *rotation, const float *x, float *out);

#endif							/* VECDB_ROTATION_H */
