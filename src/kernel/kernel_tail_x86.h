/*-------------------------------------------------------------------------
 *
 * kernel_tail_x86.h
 *	  The tail of AVX2 and AVX-512: 8 lanes of double in two registers.
 *
 * Two registers of four are for AVX-512, too: a tail then ends at a multiple of
 * four and not of eight, and processors that split a register of 512 bits win
 * nothing by it.
 *
 * Elements behind the end are read as +0.0.  A lane starts at +0.0 and so never
 * becomes -0.0 (round to nearest), hence adding the +0.0 such an element yields
 * changes no bit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KERNEL_TAIL_X86_H
#define VECDB_KERNEL_TAIL_X86_H

#include <immintrin.h>

#include "kernel/kernel_private.h"

#define TAIL_STEP	static inline __attribute__((always_inline, target("avx2")))

/* Four ints, of which the first `rest` (1 .. 4) are set. */
TAIL_STEP __m128i
rest_mask(int rest)
{
	static const int table[8] = {-1, -1, -1, -1};

	return _mm_loadu_si128((const __m128i *) (table + 4 - rest));
}

TAIL_STEP __m256d
load_four(const float *a)
{
	return _mm256_cvtps_pd(_mm_loadu_ps(a));
}

TAIL_STEP __m256d
load_few(const float *a, __m128i mask)
{
	return _mm256_cvtps_pd(_mm_maskload_ps(a, mask));
}

/* One step of four lanes, multiplication and addition rounded separately. */
TAIL_STEP __m256d
add_term_double(__m256d sum, __m256d a, __m256d b, SumKind kind)
{
	__m256d		d;

	switch (kind)
	{
		case SUM_L2SQ:
			d = _mm256_sub_pd(a, b);
			return _mm256_add_pd(sum, _mm256_mul_pd(d, d));
		case SUM_IP:
			return _mm256_add_pd(sum, _mm256_mul_pd(a, b));
		case SUM_L1:
		default:
			d = _mm256_sub_pd(a, b);
			return _mm256_add_pd(sum, _mm256_andnot_pd(_mm256_set1_pd(-0.0), d));
	}
}

/*
 * Takes a tail of `rest` elements four by four: FOUR(lane group, from) for all
 * whole fours, FEW(lane group, from, mask) for what remains.
 */
#define TAIL_STEPS(rest, FOUR, FEW) \
	do { \
		int			t = 0; \
\
		for (; (rest) - t >= 8; t += 8) \
		{ \
			FOUR(low, t); \
			FOUR(high, t + 4); \
		} \
		if ((rest) - t >= 4) \
		{ \
			FOUR(low, t); \
			t += 4; \
			if ((rest) - t > 0) \
			{ \
				__m128i		mask = rest_mask((rest) - t); \
\
				FEW(high, t, mask); \
			} \
		} \
		else if ((rest) - t > 0) \
		{ \
			__m128i		mask = rest_mask((rest) - t); \
\
			FEW(low, t, mask); \
		} \
	} while (0)

/* One tree: lanes j + 4, then j + 2, j + 1. */
TAIL_STEP double
fold_double(__m256d four)
{
	__m128d		two = _mm_add_pd(_mm256_castpd256_pd128(four),
								 _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* The last two steps of four trees side by side. */
TAIL_STEP __m256d
fold_four_double(__m256d r0, __m256d r1, __m256d r2, __m256d r3)
{
	__m256d		r02 = _mm256_add_pd(_mm256_permute2f128_pd(r0, r2, 0x20),
									_mm256_permute2f128_pd(r0, r2, 0x31));
	__m256d		r13 = _mm256_add_pd(_mm256_permute2f128_pd(r1, r3, 0x20),
									_mm256_permute2f128_pd(r1, r3, 0x31));

	return _mm256_add_pd(_mm256_unpacklo_pd(r02, r13), _mm256_unpackhi_pd(r02, r13));
}

/* body + the sum of the tail's `rest` elements */
TAIL_STEP float
add_tail(float body, const float *a, const float *b, int rest, SumKind kind)
{
	__m256d		low = _mm256_setzero_pd();
	__m256d		high = _mm256_setzero_pd();

#define FOUR(group, from) \
	group = add_term_double(group, load_four(a + (from)), load_four(b + (from)), kind)
#define FEW(group, from, mask) \
	group = add_term_double(group, load_few(a + (from), mask), load_few(b + (from), mask), kind)
	TAIL_STEPS(rest, FOUR, FEW);
#undef FOUR
#undef FEW

	return (float) ((double) body + fold_double(_mm256_add_pd(low, high)));
}

/* Four sums at once */
TAIL_STEP __m128
add_tails(__m128 bodies, __m256d r0, __m256d r1, __m256d r2, __m256d r3)
{
	return _mm256_cvtpd_ps(_mm256_add_pd(_mm256_cvtps_pd(bodies),
										 fold_four_double(r0, r1, r2, r3)));
}

/* The same for four rows. */
TAIL_STEP __m128
add_rows_tail(__m128 bodies, const float *q, const float *r0, const float *r1,
			  const float *r2, const float *r3, int rest, SumKind kind)
{
	__m256d		low0 = _mm256_setzero_pd();
	__m256d		low1 = _mm256_setzero_pd();
	__m256d		low2 = _mm256_setzero_pd();
	__m256d		low3 = _mm256_setzero_pd();
	__m256d		high0 = _mm256_setzero_pd();
	__m256d		high1 = _mm256_setzero_pd();
	__m256d		high2 = _mm256_setzero_pd();
	__m256d		high3 = _mm256_setzero_pd();
	__m256d		x;

#define FOUR(group, from) \
	do { \
		x = load_four(q + (from)); \
		group##0 = add_term_double(group##0, x, load_four(r0 + (from)), kind); \
		group##1 = add_term_double(group##1, x, load_four(r1 + (from)), kind); \
		group##2 = add_term_double(group##2, x, load_four(r2 + (from)), kind); \
		group##3 = add_term_double(group##3, x, load_four(r3 + (from)), kind); \
	} while (0)
#define FEW(group, from, mask) \
	do { \
		x = load_few(q + (from), mask); \
		group##0 = add_term_double(group##0, x, load_few(r0 + (from), mask), kind); \
		group##1 = add_term_double(group##1, x, load_few(r1 + (from), mask), kind); \
		group##2 = add_term_double(group##2, x, load_few(r2 + (from), mask), kind); \
		group##3 = add_term_double(group##3, x, load_few(r3 + (from), mask), kind); \
	} while (0)
	TAIL_STEPS(rest, FOUR, FEW);
#undef FOUR
#undef FEW

	return add_tails(bodies, _mm256_add_pd(low0, high0), _mm256_add_pd(low1, high1),
					 _mm256_add_pd(low2, high2), _mm256_add_pd(low3, high3));
}

/* The three sums of a cosine: ab, aa, bb. */
TAIL_STEP __m128
add_cosine_tail(__m128 bodies, const float *a, const float *b, int rest)
{
	__m256d		lowab = _mm256_setzero_pd();
	__m256d		lowaa = _mm256_setzero_pd();
	__m256d		lowbb = _mm256_setzero_pd();
	__m256d		highab = _mm256_setzero_pd();
	__m256d		highaa = _mm256_setzero_pd();
	__m256d		highbb = _mm256_setzero_pd();
	__m256d		x,
				y;

#define ADD(group) \
	group##ab = add_term_double(group##ab, x, y, SUM_IP); \
	group##aa = add_term_double(group##aa, x, x, SUM_IP); \
	group##bb = add_term_double(group##bb, y, y, SUM_IP)
#define FOUR(group, from) \
	do { \
		x = load_four(a + (from)); \
		y = load_four(b + (from)); \
		ADD(group); \
	} while (0)
#define FEW(group, from, mask) \
	do { \
		x = load_few(a + (from), mask); \
		y = load_few(b + (from), mask); \
		ADD(group); \
	} while (0)
	TAIL_STEPS(rest, FOUR, FEW);
#undef ADD
#undef FOUR
#undef FEW

	lowbb = _mm256_add_pd(lowbb, highbb);
	return add_tails(bodies, _mm256_add_pd(lowab, highab),
					 _mm256_add_pd(lowaa, highaa), lowbb, lowbb);
}

#endif							/* VECDB_KERNEL_TAIL_X86_H */
