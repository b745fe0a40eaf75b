/*-------------------------------------------------------------------------
 *
 * half.h
 *	  Vectors kept in half precision, and bounds on the operator's distance
 *	  that follow from the distance to what is kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HALF_H
#define VECDB_HALF_H

#include <float.h>

/*
 * Rounding of what happens to a value before it becomes halves (normalisation,
 * subtraction of a mean, the additions of a rotation), relative to the norms that
 * went in.
 */
#define ROUNDING_BEFORE		(128 * (FLT_EPSILON / 2))

/* Relative error of a kernel's sum of n terms (src/kernel/README.md), doubled. */
static inline double
sum_error(int n)
{
	return 2 * (n / 32.0 + 12) * (FLT_EPSILON / 2);
}

extern void half_round(float *x, int n, uint16 *half, float *scale, float *stored,
					   double *errorsq, double *error1);
extern bool half_is_precise(const float *x, int dims);
extern void half_l2_bounds(float distancesq, double slack, int n, double *low, double *high);
extern void half_cosine_bounds(float distancesq, double slack, int n, double *low, double *high);

#endif							/* VECDB_HALF_H */
