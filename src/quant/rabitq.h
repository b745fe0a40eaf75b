/*-------------------------------------------------------------------------
 *
 * rabitq.h
 *	  Codes of 1, 2 or 4 bits a dimension, relative to an owner, and
 *	  estimates of distances from them (RaBitQ: Gao and Long, SIGMOD 2024; its
 *	  extension to several bits, 2025).
 *
 * Everything here is rotated (rotation.h) and, where the index has a mean,
 * centred: c, x and q stand for R(c - mean) and so on.  A code covers the
 * first `bits_dims` rotated dimensions (all of them, or a sketch), a multiple of
 * 128.
 *
 * For owner c and neighbour x, r = x - c.  The code is a vector u of odd
 * integers (1 bit: -1, 1; 2 bits: -3 .. 3; 4 bits: -15 .. 15), chosen to maximise
 * cos(u, r).  With k = |r|^2 / <u, r>:
 *
 *	 |q - x|^2  ~  |q - c|^2 + add + mul <u, q>
 *
 *	 RABITQ_L2:  add = |r|^2 + 2 k <u, c>					mul = -2 k
 *	 RABITQ_IP:  add = -2 <r, C> + 2 k <u, c>				mul = -2 k
 *
 * where for RABITQ_IP the "distance" is S - 2 <q, x> for some constant S, and
 * C = c + R mean is the owner not centred.  r = 0 gives k = 0.  With a sketch,
 * <u, .> runs over the coded dimensions, k = |r_coded|^2 / <u, r_coded> of the
 * coded part of r, |r|^2 and <r, C> stay whole, and k <u, .> is scaled by the
 * whole over the coded share of |r|^2 (the rotation spreads it evenly).
 *
 * Layout of a code: `bits` planes of bits_dims / 8 bytes, one after the other; bit
 * i of byte j of a plane belongs to rotated dimension 8 j + i.  Plane 0 is the
 * most significant.  Plane values: u = 2 * sum over planes of 2^(bits-1-p) b_p
 * - (2^bits - 1).
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_RABITQ_H
#define VECDB_RABITQ_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

typedef enum RabitqForm
{
	RABITQ_L2 = 0,
	RABITQ_IP = 1
} RabitqForm;

typedef struct RabitqFactor
{
	float		add;
	float		mul;
} RabitqFactor;

static inline size_t
rabitq_code_size(int code_dims, int bits)
{
	return (size_t) code_dims / 8 * bits;
}

/*
 * Encode neighbour x for owner c; both have `padded` rotated floats.  mean: R
 * mean, padded floats, for RABITQ_IP; NULL: zero.  code need not be aligned.
 */
extern void rabitq_encode(const float *x, const float *c, const float *mean,
						  int padded, int code_dims, int bits, RabitqForm form,
						  uint8_t *code, RabitqFactor *factor);

/*
 * A query, quantised once: 4 bits a dimension (levels -7 .. 7 of one step), bit
 * planes and a look-up table, whichever the level in use wants.
 */
typedef struct RabitqQuery
{
	int			code_dims;
	int			bits;			/* of the codes it will meet */
	float		step;			/* <u, q> ~ step * <u, levels> */
	void	   *mem;			/* rabitq_query_size() bytes, 64-byte aligned */
	const KernelTable *table;	/* the level mem is laid out for */
} RabitqQuery;

extern size_t rabitq_query_size(int code_dims);
extern void rabitq_query_prepare(RabitqQuery *query, const float *q,
								 int code_dims, int bits, void *mem);

/*
 * The same where all but the first `filled` of the coded dimensions of x, c and q are 0 (a narrow
 * rotation's): steps go by these alone.  A query's levels of the others are 0, so their bits
 * may be any, and need not be kept.
 */
extern void rabitq_encode_filled(const float *x, const float *c, const float *mean,
								 int padded, int code_dims, int filled, int bits,
								 RabitqForm form, uint8_t *code, RabitqFactor *factor);
extern void rabitq_query_prepare_filled(RabitqQuery *query, const float *q,
										int code_dims, int filled, int bits, void *mem);

/* Its levels, code_dims of them. */
extern const int8_t *rabitq_query_levels(const RabitqQuery *query);

/*
 * estimates[i] = base + factors[i].add + factors[i].mul * <u_i, q> for n
 * contiguous codes.  base is |q - c|^2, or S - 2 <q, c>.  The integers behind it
 * are the same at every SIMD level, and so are the floats.  Reads no byte
 * beyond the last code.
 */
extern void rabitq_estimate(const RabitqQuery *query, float base,
							const uint8_t *codes, const RabitqFactor *factors,
							int n, float *estimates);

/* |u|^2 of a code. */
extern double rabitq_code_normsq(const uint8_t *code, int code_dims, int bits);

/*
 * <u, levels> of codes of `bits` planes in rows picked from an array, or of planes of larger codes, taken for codes of as
 * many bits: u of a code of b bits is 2^(b - 1) times that of its plane 0, taken for a code of 1 bit, plus that of the
 * code that the planes behind it are.  Row picked[i] starts at rows + picked[i] * row_size, and has planes of plane_size bytes, for
 * as many dimensions; the query must be 0 in the others (rabitq_query_prepare_filled()).
 */
extern void rabitq_dots_picked(const RabitqQuery *query, int bits, size_t plane_size,
							   const uint8_t *rows, size_t row_size,
							   const int32_t *picked, int n, int32_t *dots);

/*
 * For pruning an owner's list without its neighbours' vectors: <r_i, r_j> / (|r_i|
 * |r_j|), the cosine between two codes of one owner, from the codes alone
 * (1 bit: the cosine of the angle the differing bits tell; several bits: that of u_i and
 * u_j, corrected for what is cut off).
 */
extern float rabitq_code_cosine(const uint8_t *a, const uint8_t *b,
								int code_dims, int bits);

#endif							/* VECDB_RABITQ_H */
