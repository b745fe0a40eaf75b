/*-------------------------------------------------------------------------
 *
 * kernel_scan_avx2.c
 *	  Look-ups in blocks of 32 codes with AVX2.
 *
 * A register holds two groups, one in each half, as do the look-up tables.  Of
 * eight registers, the even ones hold sets 0 and 1 in their halves, the odd
 * ones sets 2 and 3: so each four are added up in bytes.  Bytes are then added
 * to 16-bit sums by twos: `all` takes both bytes as they are, `odd` the upper
 * one, and what `odd` holds is taken off `all` at the end.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET	__attribute__((target("avx2")))
#define STEP	static inline __attribute__((always_inline)) TARGET

#define SETS	KERNEL_SCAN_SETS

STEP __m256
limited(__m256 x)
{
	x = _mm256_min_ps(x, _mm256_set1_ps(KERNEL_SCAN_LIMIT));	/* NaN: the limit */
	return _mm256_max_ps(x, _mm256_set1_ps(-KERNEL_SCAN_LIMIT));
}

STEP __m128
both_halves_min(__m256 x)
{
	return _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

STEP __m128
both_halves_max(__m256 x)
{
	return _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

/* The least and the largest float of each of four tables */
STEP void
ends_of_four(const float *tables, __m128 *least, __m128 *range)
{
	__m128		low[4];
	__m128		high[4];

#define ENDS(k) \
	do { \
		__m256		a = limited(_mm256_loadu_ps(tables + 16 * k)); \
		__m256		b = limited(_mm256_loadu_ps(tables + 16 * k + 8)); \
\
		low[k] = both_halves_min(_mm256_min_ps(a, b)); \
		high[k] = both_halves_max(_mm256_max_ps(a, b)); \
	} while (0)
	ENDS(0);
	ENDS(1);
	ENDS(2);
	ENDS(3);
#undef ENDS
	_MM_TRANSPOSE4_PS(low[0], low[1], low[2], low[3]);
	_MM_TRANSPOSE4_PS(high[0], high[1], high[2], high[3]);
	*least = _mm_min_ps(_mm_min_ps(low[0], low[1]), _mm_min_ps(low[2], low[3]));
	*range = _mm_sub_ps(_mm_max_ps(_mm_max_ps(high[0], high[1]), _mm_max_ps(high[2], high[3])), *least);
}

/* The same of the last one to three tables: the others' are 0. */
STEP void
ends_of_few(const float *tables, int some, __m128 *least, __m128 *range)
{
	float		copy[64];

	if (some >= 4)
	{
		ends_of_four(tables, least, range);
		return;
	}
	memset(copy, 0, sizeof(copy));
	if (some > 0)
		memcpy(copy, tables, (size_t) some * 16 * sizeof(float));
	ends_of_four(copy, least, range);
}

/* The entries of eight floats, as ints */
STEP __m256i
entries(const float *table, __m256 least, __m256 inverse)
{
	__m256		value = _mm256_sub_ps(limited(_mm256_loadu_ps(table)), least);

	return _mm256_cvtps_epi32(_mm256_mul_ps(value, inverse));
}

TARGET void
avx2_scan_tables(const float *tables, int groups, uint8_t *lut, float *step,
				 float *bias)
{
	float		least[KERNEL_SCAN_MAX_GROUPS];
	__m256d		d0 = _mm256_setzero_pd();	/* lanes 0 .. 3, and so on */
	__m256d		d1 = _mm256_setzero_pd();
	__m256d		d2 = _mm256_setzero_pd();
	__m256d		d3 = _mm256_setzero_pd();
	__m128		most = _mm_setzero_ps();
	__m256		inverse;
	__m128d		two;

	for (int g = 0; g < groups; g += SETS)
	{
		const float *table = tables + (size_t) g * 16;
		__m128		low[4];
		__m128		range[4];

		ends_of_few(table, groups - g, &low[0], &range[0]);
		ends_of_few(table + 64, groups - g - 4, &low[1], &range[1]);
		ends_of_few(table + 128, groups - g - 8, &low[2], &range[2]);
		ends_of_few(table + 192, groups - g - 12, &low[3], &range[3]);
		_mm_storeu_ps(least + g, low[0]);
		_mm_storeu_ps(least + g + 4, low[1]);
		_mm_storeu_ps(least + g + 8, low[2]);
		_mm_storeu_ps(least + g + 12, low[3]);
		d0 = _mm256_add_pd(d0, _mm256_cvtps_pd(low[0]));
		d1 = _mm256_add_pd(d1, _mm256_cvtps_pd(low[1]));
		d2 = _mm256_add_pd(d2, _mm256_cvtps_pd(low[2]));
		d3 = _mm256_add_pd(d3, _mm256_cvtps_pd(low[3]));
		most = _mm_max_ps(most, _mm_add_ps(_mm_add_ps(range[0], range[2]),
										   _mm_add_ps(range[1], range[3])));
	}
	/* lanes j + 8, j + 4, j + 2, j + 1 */
	d0 = _mm256_add_pd(_mm256_add_pd(d0, d2), _mm256_add_pd(d1, d3));
	two = _mm_add_pd(_mm256_castpd256_pd128(d0), _mm256_extractf128_pd(d0, 1));
	*bias = (float) _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
	most = _mm_max_ps(most, _mm_movehl_ps(most, most));
	most = _mm_max_ps(most, _mm_movehdup_ps(most));
	inverse = _mm256_set1_ps(kernel_scan_inverse(_mm_cvtss_f32(most), step));

	for (int g = 0; g < groups; g++)
	{
		const float *table = tables + (size_t) g * 16;
		__m256		low = _mm256_set1_ps(least[g]);
		__m256i		words = _mm256_packs_epi32(entries(table, low, inverse),
											   entries(table + 8, low, inverse));

		words = _mm256_permute4x64_epi64(words, 0xd8);
		_mm_storeu_si128((__m128i *) (lut + (size_t) g * 16),
						 _mm_packus_epi16(_mm256_castsi256_si128(words),
										  _mm256_extracti128_si256(words, 1)));
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
	__m128i		level = _mm_loadu_si128((const __m128i *) levels);
	__m128i		negative = sums_of_four(_mm_min_epi8(level, _mm_setzero_si128()));
	__m256i		both = _mm256_broadcastsi128_si256(level);
	__m256i		bias = _mm256_broadcastsi128_si256(negative);

	for (int k = 0; k < 2; k++)
	{
#define PLACE(i)	_mm256_loadu_si256((const __m256i *) (kernel_scan_places[i] + 32 * k))
		__m256i		entry = _mm256_add_epi8(_mm256_add_epi8(_mm256_shuffle_epi8(both, PLACE(0)),
															_mm256_shuffle_epi8(both, PLACE(1))),
											_mm256_add_epi8(_mm256_shuffle_epi8(both, PLACE(2)),
															_mm256_shuffle_epi8(both, PLACE(3))));

		entry = _mm256_sub_epi8(entry, _mm256_shuffle_epi8(bias, PLACE(4)));
		_mm256_storeu_si256((__m256i *) (lut + 32 * k), entry);
#undef PLACE
	}
	return sums_of_four(_mm_abs_epi8(level));
}

TARGET void
avx2_scan_levels(const int8_t *levels, int groups, uint8_t *lut,
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

/* Sums of two groups' 16 rows, bytes by twos */
typedef struct Sums
{
	__m256i		all;
	__m256i		odd;
} Sums;

STEP void
widen(Sums *sums, __m256i bytes)
{
	sums->all = _mm256_add_epi16(sums->all, bytes);
	sums->odd = _mm256_add_epi16(sums->odd, _mm256_srli_epi16(bytes, 8));
}

#define NIBBLE		_mm256_set1_epi8(15)
#define LOW(t, c)	_mm256_shuffle_epi8(t, _mm256_and_si256(c, NIBBLE))
#define HIGH(t, c)	_mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16(c, 4), NIBBLE))
#define LOAD(p)		_mm256_loadu_si256((const __m256i *) (p))

/* 16 groups: rows 0 .. 15 to low, 16 .. 31 to high */
STEP void
sixteen_groups(const uint8_t *lut, const uint8_t *codes, Sums *low, Sums *high)
{
#define FOUR(from) \
	do { \
		__m256i		c = LOAD(codes + from); \
		__m256i		t = LOAD(lut + from); \
		__m256i		l = LOW(t, c); \
		__m256i		h = HIGH(t, c); \
\
		MORE(from + 64); \
		MORE(from + 128); \
		MORE(from + 192); \
		widen(low, l); \
		widen(high, h); \
	} while (0)
#define MORE(at) \
		c = LOAD(codes + at); \
		t = LOAD(lut + at); \
		l = _mm256_add_epi8(l, LOW(t, c)); \
		h = _mm256_add_epi8(h, HIGH(t, c))
	const char *ahead = (const char *) codes + KERNEL_SCAN_AHEAD;

	_mm_prefetch(ahead, _MM_HINT_T0);
	_mm_prefetch(ahead + 64, _MM_HINT_T0);
	_mm_prefetch(ahead + 128, _MM_HINT_T0);
	_mm_prefetch(ahead + 192, _MM_HINT_T0);
	FOUR(0);
	FOUR(32);
#undef MORE
#undef FOUR
}

/* 16 rows in order: at most 16 bits each, even ones and odd ones added over both halves */
STEP void
fold(Sums sums, __m128i *first, __m128i *second)
{
	__m256i		even = _mm256_sub_epi16(sums.all, _mm256_slli_epi16(sums.odd, 8));
	__m128i		e = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
	__m128i		o = _mm_add_epi16(_mm256_castsi256_si128(sums.odd), _mm256_extracti128_si256(sums.odd, 1));

	*first = _mm_unpacklo_epi16(e, o);
	*second = _mm_unpackhi_epi16(e, o);
}

STEP uint32_t
eight_below(__m256i x, int32_t limit)
{
	return (uint32_t) _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(limit), x)));
}

TARGET void
avx2_scan_blocks(const uint8_t *lut, int groups, const uint8_t *blocks,
				 size_t stride, int n, int shift, int32_t start, int32_t *sums,
				 int32_t limit, uint32_t *below)
{
	__m256i		by = _mm256_set1_epi32(shift);

	for (int b = 0; b < n; b++, blocks += stride, sums += KERNEL_SCAN_ROWS)
	{
		__m256i		out0 = _mm256_set1_epi32(start);
		__m256i		out1 = out0;
		__m256i		out2 = out0;
		__m256i		out3 = out0;

		for (int from = 0; from < groups; from += KERNEL_SCAN_PART)
		{
			int			to = groups - from < KERNEL_SCAN_PART ? groups : from + KERNEL_SCAN_PART;
			int			g = from;
			Sums		low;
			Sums		high;
			__m128i		r0;
			__m128i		r8;
			__m128i		r16;
			__m128i		r24;

			low.all = low.odd = high.all = high.odd = _mm256_setzero_si256();
			for (; g + SETS <= to; g += SETS)
				sixteen_groups(lut + (size_t) g * 16, blocks + (size_t) g * 16, &low, &high);
			for (; g < to; g += 2)
			{
				__m256i		c = g + 2 <= to ? LOAD(blocks + (size_t) g * 16) :
				_mm256_inserti128_si256(_mm256_setzero_si256(),
										_mm_loadu_si128((const __m128i *) (blocks + (size_t) g * 16)), 0);
				__m256i		t = LOAD(lut + (size_t) g * 16);

				widen(&low, LOW(t, c));
				widen(&high, HIGH(t, c));
			}
			fold(low, &r0, &r8);
			fold(high, &r16, &r24);
			out0 = _mm256_add_epi32(out0, _mm256_sllv_epi32(_mm256_cvtepu16_epi32(r0), by));
			out1 = _mm256_add_epi32(out1, _mm256_sllv_epi32(_mm256_cvtepu16_epi32(r8), by));
			out2 = _mm256_add_epi32(out2, _mm256_sllv_epi32(_mm256_cvtepu16_epi32(r16), by));
			out3 = _mm256_add_epi32(out3, _mm256_sllv_epi32(_mm256_cvtepu16_epi32(r24), by));
		}
		_mm256_storeu_si256((__m256i *) sums, out0);
		_mm256_storeu_si256((__m256i *) (sums + 8), out1);
		_mm256_storeu_si256((__m256i *) (sums + 16), out2);
		_mm256_storeu_si256((__m256i *) (sums + 24), out3);
		if (below != NULL)
			below[b] = eight_below(out0, limit) | eight_below(out1, limit) << 8 |
				eight_below(out2, limit) << 16 | eight_below(out3, limit) << 24;
	}
}

TARGET void
avx2_scan_estimate(const int32_t *sums, int n, float step, float base,
				   float *out)
{
	int			i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_set1_ps(base),
												_mm256_mul_ps(_mm256_set1_ps(step),
															  _mm256_cvtepi32_ps(LOAD(sums + i)))));
	if (i < n)
		scalar_scan_estimate(sums + i, n - i, step, base, out + i);
}

#endif							/* __x86_64__ */
