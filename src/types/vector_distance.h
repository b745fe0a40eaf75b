/*-------------------------------------------------------------------------
 *
 * vector_distance.h
 *	  From the float sums of the kernels to the distances that SQL shows.
 *
 * The operators and the index scans both end here.  An index keeps sums (a
 * norm, an inner product) and must hand out the operator's own value to the
 * last bit, so there is one formula for each distance and it is this one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_VECTOR_DISTANCE_H
#define VECDB_VECTOR_DISTANCE_H

#include <math.h>

/* <->, from kernel->l2sq */
static inline double
vector_l2_from_sq(float l2sq)
{
	return sqrt((double) l2sq);
}

/* <#>, from kernel->ip; orthogonal vectors give -0 */
static inline double
vector_negative_ip_from_ip(float ip)
{
	return (double) -ip;
}

/*
 * <=>, from kernel->cosine, or kernel->ip and two stored kernel->normsq.
 *
 * A norm of zero has no direction: NaN, which sorts last.  So has one whose
 * square underflowed; without the test it would divide a small number by zero
 * and look like a perfect match.
 */
static inline double
vector_cosine_from_parts(float ab, float aa, float bb)
{
	double		similarity;

	if (aa == 0.0f || bb == 0.0f)
		return (double) NAN;

	similarity = (double) ab / sqrt((double) aa * (double) bb);

	/* rounding may leave the range; a NaN (infinite sums) passes through */
	if (similarity > 1.0)
		similarity = 1.0;
	else if (similarity < -1.0)
		similarity = -1.0;

	return 1.0 - similarity;
}

/*
 * Angle over pi, from the kernel->ip of two unit vectors: the spherical
 * k-means distance, which unlike the cosine distance is a metric.
 */
static inline double
vector_spherical_from_ip(float ip)
{
	double		cosine = (double) ip;

	if (cosine > 1.0)
		cosine = 1.0;
	else if (cosine < -1.0)
		cosine = -1.0;

	return acos(cosine) / 3.14159265358979323846;
}

#endif							/* VECDB_VECTOR_DISTANCE_H */
