/*-------------------------------------------------------------------------
 *
 * kernel_scan_avx512.c
 *	  Look-ups in blocks of 32 codes with AVX-512.
 *
 * A register holds four groups, one in each quarter, as do the look-up tables;
 * four registers hold one set in each quarter, so they are added up in bytes.
 * Bytes are then added to 16-bit sums by twos: `all` takes both bytes as they
 * are, `odd` the upper one, and what `odd` holds is taken off `all` at the end.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET	__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define STEP	static inline __attribute__((always_inline)) TARGET

#define SETS	KERNEL_SCAN_SETS

STEP __m512
limited(__m512 x)
{
	x = _mm512_min_ps(x, _mm512_set1_ps(KERNEL_SCAN_LIMIT));	/* NaN: the limit */
	return _mm512_max_ps(x, _mm512_set1_ps(-KERNEL_SCAN_LIMIT));
}

/* Quarters 0 and 1 of both (2 and 3 of both) */
#define LOWER(a, b)		_mm512_shuffle_f32x4(a, b, 0x44)
#define UPPER(a, b)		_mm512_shuffle_f32x4(a, b, 0xee)
/* Quarters 0 and 2 of both (1 and 3 of both) */
#define EVEN(a, b)		_mm512_shuffle_f32x4(a, b, 0x88)
#define ODD(a, b)		_mm512_shuffle_f32x4(a, b, 0xdd)

/* Float i of quarter q: the least (largest) of the i-th floats of all quarters of table q */
#define FOUR_TABLES(op, a, b, c, d) \
	({ \
		__m512		ab = op(LOWER(a, b), UPPER(a, b)); \
		__m512		cd = op(LOWER(c, d), UPPER(c, d)); \
\
		op(EVEN(ab, cd), ODD(ab, cd)); \
	})

/* The same over the floats of a quarter: float j of quarter q belongs to table 4 j + q. */
#define SIXTEEN_TABLES(op, a, b, c, d) \
	({ \
		__m512		ab = op(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee)); \
		__m512		cd = op(_mm512_shuffle_ps(c, d, 0x44), _mm512_shuffle_ps(c, d, 0xee)); \
\
		op(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xdd)); \
	})

/* `some` tables of the four; those behind are zeros */
STEP void
ends_of_four(const float *tables, int some, __m512 *low, __m512 *high)
{
	__m512		zero = _mm512_setzero_ps();
	__m512		a = some > 0 ? limited(_mm512_loadu_ps(tables)) : zero;
	__m512		b = some > 1 ? limited(_mm512_loadu_ps(tables + 16)) : zero;
	__m512		c = some > 2 ? limited(_mm512_loadu_ps(tables + 32)) : zero;
	__m512		d = some > 3 ? limited(_mm512_loadu_ps(tables + 48)) : zero;

	*low = FOUR_TABLES(_mm512_min_ps, a, b, c, d);
	*high = FOUR_TABLES(_mm512_max_ps, a, b, c, d);
}

/* The least float of each of 16 tables, and what the rest spans */
STEP void
ends(const float *tables, int some, __m512 *least, __m512 *range)
{
	__m512		low0,
				low1,
				low2,
				low3,
				high0,
				high1,
				high2,
				high3;

	ends_of_four(tables, some, &low0, &high0);
	ends_of_four(tables + 64, some - 4, &low1, &high1);
	ends_of_four(tables + 128, some - 8, &low2, &high2);
	ends_of_four(tables + 192, some - 12, &low3, &high3);
	*least = SIXTEEN_TABLES(_mm512_min_ps, low0, low1, low2, low3);
	*range = _mm512_sub_ps(SIXTEEN_TABLES(_mm512_max_ps, high0, high1, high2, high3), *least);
}

TARGET void
avx512_scan_tables(const float *tables, int groups, uint8_t *lut, float *step,
				   float *bias)
{
	const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	float		least[KERNEL_SCAN_MAX_GROUPS];
	__m512d		sum_low = _mm512_setzero_pd();
	__m512d		sum_high = _mm512_setzero_pd();
	__m512		most = _mm512_setzero_ps();
	__m512		inverse;
	__m256d		four;
	__m128d		two;

	for (int g = 0; g < groups; g += SETS)
	{
		__m512		low;
		__m512		range;

		if (groups - g >= SETS)
			ends(tables + (size_t) g * 16, SETS, &low, &range);
		else
			ends(tables + (size_t) g * 16, groups - g, &low, &range);
		low = _mm512_permutexvar_ps(in_order, low);
		_mm512_storeu_ps(least + g, low);
		sum_low = _mm512_add_pd(sum_low, _mm512_cvtps_pd(_mm512_castps512_ps256(low)));
		sum_high = _mm512_add_pd(sum_high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(low, 1)));

		/* a quarter is a set: tables c and c + 8, c + 4 and c + 12 */
		range = _mm512_add_ps(range, _mm512_shuffle_ps(range, range, 0x4e));
		range = _mm512_add_ps(range, _mm512_shuffle_ps(range, range, 0xb1));
		most = _mm512_max_ps(most, range);
	}
	/* lanes j + 8, j + 4, j + 2, j + 1 */
	sum_low = _mm512_add_pd(sum_low, sum_high);
	four = _mm256_add_pd(_mm512_castpd512_pd256(sum_low), _mm512_extractf64x4_pd(sum_low, 1));
	two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
	*bias = (float) _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
	inverse = _mm512_set1_ps(kernel_scan_inverse(_mm512_reduce_max_ps(most), step));

	for (int g = 0; g < groups; g++)
	{
		__m512		value = limited(_mm512_loadu_ps(tables + (size_t) g * 16));

		value = _mm512_mul_ps(_mm512_sub_ps(value, _mm512_set1_ps(least[g])), inverse);
		_mm_storeu_si128((__m128i *) (lut + (size_t) g * 16),
						 _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value)));
	}
	memset(lut + (size_t) groups * 16, 0, kernel_scan_lut_size(groups) - (size_t) groups * 16);
}

/* Sums of four bytes (-128 .. 127) each, as ints */
STEP __m128i
sums_of_four(__m128i bytes)
{
	return _mm_madd_epi16(_mm_maddubs_epi16(_mm_set1_epi8(1), bytes), _mm_set1_epi16(1));
}

/* 16 levels, four groups: their entries, and the sums of |levels| */
STEP __m128i
four_groups(const int8_t *levels, uint8_t *lut)
{
#define PLACE(i)	_mm512_loadu_si512(kernel_scan_places[i])
	__m128i		level = _mm_loadu_si128((const __m128i *) levels);
	__m128i		negative = sums_of_four(_mm_min_epi8(level, _mm_setzero_si128()));
	__m512i		all = _mm512_broadcast_i32x4(level);
	__m512i		entry;

	entry = _mm512_add_epi8(_mm512_add_epi8(_mm512_shuffle_epi8(all, PLACE(0)), _mm512_shuffle_epi8(all, PLACE(1))),
							_mm512_add_epi8(_mm512_shuffle_epi8(all, PLACE(2)), _mm512_shuffle_epi8(all, PLACE(3))));
	entry = _mm512_sub_epi8(entry, _mm512_shuffle_epi8(_mm512_broadcast_i32x4(negative), PLACE(4)));
	_mm512_storeu_si512(lut, entry);
#undef PLACE
	return sums_of_four(_mm_abs_epi8(level));
}

TARGET void
avx512_scan_levels(const int8_t *levels, int groups, uint8_t *lut,
				   int32_t *total, int32_t *most)
{
	__m128i		all = _mm_setzero_si128();
	__m128i		largest = _mm_setzero_si128();

	for (size_t g = 0; g < (size_t) groups; g += SETS)
	{
		__m128i		set = four_groups(levels + 4 * g, lut + 16 * g);

		set = _mm_add_epi32(set, four_groups(levels + 4 * g + 16, lut + 16 * g + 64));
		set = _mm_add_epi32(set, four_groups(levels + 4 * g + 32, lut + 16 * g + 128));
		set = _mm_add_epi32(set, four_groups(levels + 4 * g + 48, lut + 16 * g + 192));
		all = _mm_add_epi32(all, set);
		largest = _mm_max_epi32(largest, set);
	}
	all = _mm_add_epi32(all, _mm_shuffle_epi32(all, 0x4e));
	all = _mm_add_epi32(all, _mm_shuffle_epi32(all, 0xb1));
	largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, 0x4e));
	largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, 0xb1));
	*total = _mm_cvtsi128_si32(all);
	*most = _mm_cvtsi128_si32(largest);
}

/* Sums of four groups' 16 rows, bytes by twos */
typedef struct Sums
{
	__m512i		all;
	__m512i		odd;
} Sums;

STEP void
widen(Sums *sums, __m512i bytes)
{
	sums->all = _mm512_add_epi16(sums->all, bytes);
	sums->odd = _mm512_add_epi16(sums->odd, _mm512_srli_epi16(bytes, 8));
}

#define NIBBLE		_mm512_set1_epi8(15)
#define LOW(t, c)	_mm512_shuffle_epi8(t, _mm512_and_si512(c, NIBBLE))
#define HIGH(t, c)	_mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16(c, 4), NIBBLE))

/* 16 groups: rows 0 .. 15 to low, 16 .. 31 to high */
STEP void
sixteen_groups(const uint8_t *lut, const uint8_t *codes, Sums *low, Sums *high)
{
	__m512i		t0 = _mm512_loadu_si512(lut);
	__m512i		t1 = _mm512_loadu_si512(lut + 64);
	__m512i		t2 = _mm512_loadu_si512(lut + 128);
	__m512i		t3 = _mm512_loadu_si512(lut + 192);
	__m512i		c0 = _mm512_loadu_si512(codes);
	__m512i		c1 = _mm512_loadu_si512(codes + 64);
	__m512i		c2 = _mm512_loadu_si512(codes + 128);
	__m512i		c3 = _mm512_loadu_si512(codes + 192);
	const char *ahead = (const char *) codes + KERNEL_SCAN_AHEAD;

	_mm_prefetch(ahead, _MM_HINT_T0);
	_mm_prefetch(ahead + 64, _MM_HINT_T0);
	_mm_prefetch(ahead + 128, _MM_HINT_T0);
	_mm_prefetch(ahead + 192, _MM_HINT_T0);

	widen(low, _mm512_add_epi8(_mm512_add_epi8(LOW(t0, c0), LOW(t1, c1)),
							   _mm512_add_epi8(LOW(t2, c2), LOW(t3, c3))));
	widen(high, _mm512_add_epi8(_mm512_add_epi8(HIGH(t0, c0), HIGH(t1, c1)),
								_mm512_add_epi8(HIGH(t2, c2), HIGH(t3, c3))));
}

/* Up to 15 groups: what is not there is zero, and adds the zero its look-up table begins with. */
STEP void
few_groups(const uint8_t *lut, const uint8_t *codes, int groups, Sums *low, Sums *high)
{
	__m512i		l = _mm512_setzero_si512();
	__m512i		h = _mm512_setzero_si512();

	for (; groups > 0; groups -= 4, lut += 64, codes += 64)
	{
		__mmask8	mask = groups >= 4 ? 0xff : (__mmask8) ((1 << (2 * groups)) - 1);
		__m512i		t = _mm512_loadu_si512(lut);
		__m512i		c = _mm512_maskz_loadu_epi64(mask, codes);

		l = _mm512_add_epi8(l, LOW(t, c));
		h = _mm512_add_epi8(h, HIGH(t, c));
	}
	widen(low, l);
	widen(high, h);
}

/* Adds quarters of both: those of a in the lower half, of b in the upper one */
STEP __m512i
add_halves(__m512i a, __m512i b)
{
	return _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xee));
}

TARGET void
avx512_scan_blocks(const uint8_t *lut, int groups, const uint8_t *blocks,
				   size_t stride, int n, int shift, int32_t start, int32_t *sums,
				   int32_t limit, uint32_t *below)
{
	/* eight even rows, eight odd ones, and of the upper 16 rows likewise */
	const __m512i by_turns = _mm512_set_epi16(31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24, 16,
											  15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
	__m512i		by = _mm512_set1_epi32(shift);

	for (int b = 0; b < n; b++, blocks += stride, sums += KERNEL_SCAN_ROWS)
	{
		__m512i		out0 = _mm512_set1_epi32(start);
		__m512i		out1 = out0;

		for (int from = 0; from < groups; from += KERNEL_SCAN_PART)
		{
			int			to = groups - from < KERNEL_SCAN_PART ? groups : from + KERNEL_SCAN_PART;
			int			g = from;
			Sums		low;
			Sums		high;
			__m512i		rows;

			low.all = low.odd = high.all = high.odd = _mm512_setzero_si512();
			for (; g + SETS <= to; g += SETS)
				sixteen_groups(lut + (size_t) g * 16, blocks + (size_t) g * 16, &low, &high);
			if (g < to)
				few_groups(lut + (size_t) g * 16, blocks + (size_t) g * 16, to - g, &low, &high);
			low.all = _mm512_sub_epi16(low.all, _mm512_slli_epi16(low.odd, 8));
			high.all = _mm512_sub_epi16(high.all, _mm512_slli_epi16(high.odd, 8));
			low.all = add_halves(low.all, low.odd);
			high.all = add_halves(high.all, high.odd);
			rows = _mm512_add_epi16(_mm512_shuffle_i64x2(low.all, high.all, 0x88),
									_mm512_shuffle_i64x2(low.all, high.all, 0xdd));
			rows = _mm512_permutexvar_epi16(by_turns, rows);
			out0 = _mm512_add_epi32(out0, _mm512_sllv_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rows)), by));
			out1 = _mm512_add_epi32(out1, _mm512_sllv_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(rows, 1)), by));
		}
		_mm512_storeu_si512(sums, out0);
		_mm512_storeu_si512(sums + 16, out1);
		if (below != NULL)
			below[b] = (uint32_t) _mm512_cmplt_epi32_mask(out0, _mm512_set1_epi32(limit)) |
				(uint32_t) _mm512_cmplt_epi32_mask(out1, _mm512_set1_epi32(limit)) << 16;
	}
}

TARGET void
avx512_scan_estimate(const int32_t *sums, int n, float step, float base,
					 float *out)
{
	for (int i = 0; i < n; i += 16)
	{
		__mmask16	mask = (__mmask16) (n - i >= 16 ? 0xffff : (1 << (n - i)) - 1);
		__m512		value = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, sums + i));

		value = _mm512_add_ps(_mm512_set1_ps(base), _mm512_mul_ps(_mm512_set1_ps(step), value));
		_mm512_mask_storeu_ps(out + i, mask, value);
	}
}

#endif							/* __x86_64__ */
