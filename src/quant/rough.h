/*-------------------------------------------------------------------------
 *
 * rough.h
 *	  Distances of a query to many rows by 8-bit numbers: a quarter of the bytes.
 *
 * A row x is kept relative to a mean m: as |x-m|^2, and as numbers from -127 to 127
 * with a scale of their own.  With u and v for query and row as the numbers have them,
 *
 *	|q-x|^2 = |q-m|^2 + |x-m|^2 - 2<q-m, x-m>, where <q-m, x-m> is about <u, v>
 *	-<q, x> = -<q, m> - <q, x-m>, where <q, x-m> is about <u, v>
 *
 * The product is off by some 0.01 |q-m||x-m| / sqrt(dim), root mean square, of normal
 * values: too little to bring many of several hundred centroids into another order.
 * The integers are the same on every processor (kernel->dot_i8), and so are the
 * distances.
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_ROUGH_H
#define VECDB_ROUGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From here on numbers take less than floats; fewer are padded to 64. */
#define ROUGH_FROM_DIM	64

typedef struct RoughRow
{
	float		scale;
	float		normsq;			/* |x-m|^2 */
} RoughRow;

/* Many rows: what the caller has made room for. */
typedef struct RoughRows
{
	int			dim;
	const float *mean;
	RoughRow   *rows;
	int8_t	   *codes;			/* rough_stride(dim) bytes a row, at a
								 * multiple of 64 */
} RoughRows;

typedef struct RoughQuery
{
	bool		ip;				/* negative inner products are wanted */
	float		scale;
	float		base;			/* |q-m|^2, or -<q, m> */
	int8_t	   *code;			/* rough_stride(dim) bytes */
} RoughQuery;

static inline size_t
rough_stride(int dim)
{
	return ((size_t) dim + 63) / 64 * 64;
}

/* Put x into row i; scratch: dim floats. */
extern void rough_put(const RoughRows *rows, int i, const float *x, float *scratch);

/* Set all of query but ip and code, which are the caller's to set before. */
extern void rough_query(RoughQuery *query, const float *mean, const float *q, int dim,
						float *scratch);

/* Distances to rows first .. first + n - 1. */
extern void rough_distances(const RoughQuery *query, const RoughRows *rows, int first, int n,
							float *out);

#endif							/* VECDB_ROUGH_H */
