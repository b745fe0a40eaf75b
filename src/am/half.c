/*-------------------------------------------------------------------------
 *
 * half.c
 *	  Vectors kept in half precision, and bounds on the operator's distance
 *	  that follow from the distance to what is kept.
 *
 * The bounds always hold: a scan hands rows out by them, and one that is above the
 * row's distance would put it in a wrong place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "am/half.h"
#include "kernel/kernel.h"

/*
 * Round n floats to halves with one scale, and replace them by what these stand for.
 * Says how far that is from what was given: squared, and in the L1 norm.  stored:
 * room for n floats.
 */
void
half_round(float *x, int n, uint16 *half, float *scale, float *stored,
		   double *errorsq, double *error1)
{
	*errorsq = *error1 = 0;
	kernel->half_pack(x, n, half, scale);
	kernel->half_unpack(half, *scale, n, stored);
	for (int i = 0; i < n; i++)
	{
		double		d = (double) x[i] - stored[i];

		*errorsq += d * d;
		*error1 += fabs(d);
	}
	memcpy(x, stored, sizeof(float) * n);
}

/*
 * Does the cosine operator know the norm?  Where its square is hardly a float any more,
 * or none, what the operator says has little to do with directions.
 */
bool
half_is_precise(const float *x, int dims)
{
	float		normsq = kernel->normsq(x, dims);

	return normsq >= 1e-30f && normsq <= 1e37f;
}

/* What underflow may take from a sum of n products */
static inline double
tiny(int n)
{
	return n * (double) FLT_MIN;
}

/*
 * Bounds of the operator's Euclidean distance, from the squared distance of n
 * dimensions between what is kept of the row and the query, which are off by slack in
 * all.  high may be NULL; it is infinite where the operator may leave the range of float.
 */
void
half_l2_bounds(float distancesq, double slack, int n, double *low, double *high)
{
	double		relative = sum_error(n);
	double		bound = sqrt(Max(distancesq * (1 - relative) - tiny(n), 0)) - slack;

	bound = Max(bound, 0) * (1 - relative);
	/* the operator's own sum may have lost as much */
	*low = sqrt(Max(bound * bound - tiny(n), 0));
	if (high)
	{
		double		above = (sqrt(distancesq * (1 + relative) + tiny(n)) + slack) * (1 + relative);

		above = sqrt(above * above + tiny(n)) * (1 + relative);
		*high = above * above > FLT_MAX / 4 ? INFINITY : above;
	}
}

/* The same of the cosine distance, from the squared distance of directions. */
void
half_cosine_bounds(float distancesq, double slack, int n, double *low, double *high)
{
	double		relative = sum_error(n);
	double		bound = Max(sqrt(Max(distancesq * (1 - relative) - tiny(n), 0)) - slack, 0);

	*low = bound * bound / 2 - 4 * relative;
	if (high)
	{
		double		above = sqrt(distancesq * (1 + relative) + tiny(n)) + slack;

		*high = above * above / 2 + 4 * relative;
	}
}
