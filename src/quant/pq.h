/*-------------------------------------------------------------------------
 *
 * pq.h
 *	  Product quantisation: a vector is cut into m parts, each is replaced by
 *	  the number of the nearest of 16 or 256 centroids of that part (Jegou,
 *	  Douze, Schmid: Product Quantization for Nearest Neighbor Search, PAMI
 *	  2011).
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 * Part j has the dimensions j * dim / m up to (j + 1) * dim / m: all dimensions
 * belong to one, and lengths differ by one at most, whatever dim and m are.
 *
 * Codebooks: pq_codebook_floats() floats.  Those of part j begin at its first
 * dimension times the number of centroids, and hold for each of its dimensions
 * that coordinate of all centroids: so distances to all centroids are
 * computed side by side, each one's sum in the order of the dimensions.
 *
 * Codes: 8 bits: m bytes.  4 bits: (m + 1) / 2 bytes, part 2 i in the low half
 * of byte i.  A code depends on vector and codebooks alone, to the last bit, at
 * every SIMD level.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_PQ_H
#define VECDB_PQ_H

#include <stddef.h>
#include <stdint.h>

typedef struct PqShape
{
	int			dim;			/* >= 1 */
	int			m;				/* parts, 1 .. dim */
	int			bits;			/* of a part's code: 4 or 8 */
} PqShape;

static inline int
pq_centroids(const PqShape *shape)
{
	return 1 << shape->bits;
}

/* The first dimension of part j; of part m: dim. */
static inline int
pq_part(const PqShape *shape, int j)
{
	return (int) ((int64_t) j * shape->dim / shape->m);
}

static inline size_t
pq_code_size(const PqShape *shape)
{
	return ((size_t) shape->m * shape->bits + 7) / 8;
}

static inline size_t
pq_codebook_floats(const PqShape *shape)
{
	return (size_t) shape->dim * pq_centroids(shape);
}

/* Floats of a query's tables: one for each part and centroid. */
static inline size_t
pq_table_floats(const PqShape *shape)
{
	return (size_t) shape->m * pq_centroids(shape);
}

/* Called every few milliseconds of work; NULL for none.  May not return. */
typedef void (*PqInterrupt) (void *arg);

/* Bytes of memory pq_train() works in, for n rows; SIZE_MAX where that overflows. */
extern size_t pq_train_size(const PqShape *shape, int n);

/*
 * Make the codebook of part j from n >= 1 rows of dim floats; row i begins at
 * rows + i * ld.  Parts are independent of each other: processes may share
 * them out, and the result does not depend on how.  Fewer distinct values than
 * centroids: the last one stands for the rest.  256 rows a centroid are as
 * good as more.
 */
extern void pq_train(const PqShape *shape, int j, const float *rows, size_t ld,
					 int n, uint64_t seed, float *codebooks, void *mem,
					 PqInterrupt interrupt, void *arg);

/* The code of x; returns the squared distance of x and what the code stands for. */
extern double pq_encode(const PqShape *shape, const float *codebooks,
						const float *x, uint8_t *code);

/* The centroid of part j in a code. */
static inline int
pq_code_at(const PqShape *shape, const uint8_t *code, int j)
{
	return shape->bits == 8 ? code[j] : code[j / 2] >> (j % 2 * 4) & 15;
}

/* What a code stands for. */
extern void pq_decode(const PqShape *shape, const float *codebooks,
					  const uint8_t *code, float *x);

/*
 * Tables of a query: |q_j - c|^2 of its part j and each centroid c, or the
 * negative inner product.
 */
extern void pq_tables_l2sq(const PqShape *shape, const float *codebooks,
						   const float *q, float *tables);
extern void pq_tables_ip(const PqShape *shape, const float *codebooks,
						 const float *q, float *tables);

/* out[i] = base + the sum of what the tables say for each part of code i, in order. */
extern void pq_estimate(const PqShape *shape, const float *tables, float base,
						const uint8_t *codes, int n, float *out);

#endif							/* VECDB_PQ_H */
