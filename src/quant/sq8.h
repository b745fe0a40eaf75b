/*-------------------------------------------------------------------------
 *
 * sq8.h
 *	  Scalar quantisation: each dimension in 256 equal steps between the least
 *	  and the greatest value of a sample.
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 * A code is dim bytes; byte d stands for least[d] + step[d] * (code[d] + 0.5), the
 * middle of a step.  Values outside what the sample had get the first or last
 * step.  Codes are the same at every SIMD level.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_SQ8_H
#define VECDB_SQ8_H

#include <stddef.h>
#include <stdint.h>

/* Both have dim floats, the caller's memory. */
typedef struct Sq8Range
{
	int			dim;			/* >= 1 */
	float	   *least;
	float	   *step;			/* 0 where all values of the sample are equal */
} Sq8Range;

/* Take n rows of dim floats, row i at rows + i * ld, into account; begin with first. */
extern void sq8_train_begin(Sq8Range *range);
extern void sq8_train(Sq8Range *range, const float *rows, size_t ld, int n);
extern void sq8_train_end(Sq8Range *range);

/* The code of x; returns the squared distance of x and what the code stands for. */
extern double sq8_encode(const Sq8Range *range, const float *x, uint8_t *code);

/* What a code stands for. */
extern void sq8_decode(const Sq8Range *range, const uint8_t *code, float *x);

/*
 * out[i] = |q - x_i|^2 or -<q, x_i> of what n contiguous codes stand for.
 * scratch: dim floats, made by sq8_query_l2sq() or sq8_query_ip(), which return
 * what belongs to all codes alike.
 */
extern float sq8_query_l2sq(const Sq8Range *range, const float *q, float *scratch);
extern float sq8_query_ip(const Sq8Range *range, const float *q, float *scratch);
extern void sq8_estimate_l2sq(const Sq8Range *range, const float *scratch, float base,
							  const uint8_t *codes, int n, float *out);
extern void sq8_estimate_ip(const Sq8Range *range, const float *scratch, float base,
							const uint8_t *codes, int n, float *out);

#endif							/* VECDB_SQ8_H */
