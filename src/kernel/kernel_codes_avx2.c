/*-------------------------------------------------------------------------
 *
 * kernel_codes_avx2.c
 *	  Codes, bytes and rotations with AVX2; AVX-512 without VPOPCNTDQ and VNNI
 *	  uses some of it, too.
 *
 * code_dot: there is no vector popcount, but a shuffle that looks up 16 bytes
 * in a table of 16.  Four dimensions of a code are a number of 4 bits, and the
 * table of the query tells what the levels of those set sum to: -28 .. 28, kept as 0
 * .. 56, so that four of them fit a byte.  The result is exact.
 *
 * The same four dimensions of many codes must lie side by side: 32 codes are
 * read 16 bytes at a time, and each 16 x 16 bytes are transposed in registers.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include <float.h>
#include <immintrin.h>

#define TARGET	__attribute__((target("avx2")))
#define STEP	static inline __attribute__((always_inline)) TARGET

/* Eight ints, of which the first `rest` (0 .. 8) are set. */
STEP __m256i
first_of_eight(int rest)
{
	static const int table[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

	return _mm256_loadu_si256((const __m256i *) (table + 8 - rest));
}

/* 32 products of bytes, added by fours.  Without -128 nothing overflows. */
STEP __m256i
dot_step(__m256i sum, __m256i a, __m256i b)
{
	__m256i		pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

STEP int32_t
add_eight(__m256i sum)
{
	__m128i		four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
	__m128i		two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));

	return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

STEP int32_t
dot(const int8_t *a, const int8_t *b, int dim)
{
	__m256i		s0 = _mm256_setzero_si256();
	__m256i		s1 = _mm256_setzero_si256();

	for (int i = 0; i < dim; i += 64)
	{
		s0 = dot_step(s0, _mm256_loadu_si256((const __m256i *) (a + i)),
					  _mm256_loadu_si256((const __m256i *) (b + i)));
		s1 = dot_step(s1, _mm256_loadu_si256((const __m256i *) (a + i + 32)),
					  _mm256_loadu_si256((const __m256i *) (b + i + 32)));
	}
	return add_eight(_mm256_add_epi32(s0, s1));
}

TARGET int32_t
avx2_dot_i8(const int8_t *a, const int8_t *b, int dim)
{
	return dot(a, b, dim);
}

/* Four rows at once, from anywhere in memory */
TARGET void
avx2_dot_i8_ids(const int8_t *q, const void *base, size_t stride,
				const uint32_t *ids, int n, int dim, int32_t *out)
{
	for (int i = 0; i < n; i += 4)
	{
		int			rest = n - i < 4 ? n - i : 4;
		const int8_t *r0 = (const int8_t *) base + ids[i] * stride;
		const int8_t *r1 = rest > 1 ? (const int8_t *) base + ids[i + 1] * stride : r0;
		const int8_t *r2 = rest > 2 ? (const int8_t *) base + ids[i + 2] * stride : r0;
		const int8_t *r3 = rest > 3 ? (const int8_t *) base + ids[i + 3] * stride : r0;
		__m256i		s0 = _mm256_setzero_si256();
		__m256i		s1 = _mm256_setzero_si256();
		__m256i		s2 = _mm256_setzero_si256();
		__m256i		s3 = _mm256_setzero_si256();
		__m256i		sums;

		/* the next four, while these are worked on */
		for (int j = i + 4; j < i + 8 && j < n; j++)
		{
			const char *row = (const char *) base + ids[j] * stride;

			for (int k = 0; k < dim; k += 64)
				_mm_prefetch(row + k, _MM_HINT_T0);
		}
		for (int k = 0; k < dim; k += 32)
		{
			__m256i		x = _mm256_loadu_si256((const __m256i *) (q + k));

			s0 = dot_step(s0, x, _mm256_loadu_si256((const __m256i *) (r0 + k)));
			s1 = dot_step(s1, x, _mm256_loadu_si256((const __m256i *) (r1 + k)));
			s2 = dot_step(s2, x, _mm256_loadu_si256((const __m256i *) (r2 + k)));
			s3 = dot_step(s3, x, _mm256_loadu_si256((const __m256i *) (r3 + k)));
		}
		sums = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
		_mm_maskstore_epi32(out + i, _mm256_castsi256_si128(first_of_eight(rest)),
							_mm_add_epi32(_mm256_castsi256_si128(sums),
										  _mm256_extracti128_si256(sums, 1)));
	}
}

/* The sum of the levels, then 16 bytes for each four dimensions. */
typedef struct TableQuery
{
	int32_t		sum;
	int32_t		unused[15];
	__m128i		tables[];
} TableQuery;

#define TABLE_BIAS	28			/* of each entry */

TARGET void
avx2_code_query(const int8_t *levels, int dims, void *mem)
{
	TableQuery *query = mem;
	const __m128i first = _mm_setr_epi8(0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1);
	const __m128i second = _mm_setr_epi8(0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1);
	const __m128i third = _mm_setr_epi8(0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1);
	const __m128i fourth = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1);
	const __m128i bias = _mm_set1_epi8(TABLE_BIAS);
	int32_t		sum = 0;

	for (int i = 0; i < dims; i += 4)
	{
		__m128i		entry = _mm_add_epi8(bias, _mm_and_si128(first, _mm_set1_epi8(levels[i])));

		entry = _mm_add_epi8(entry, _mm_and_si128(second, _mm_set1_epi8(levels[i + 1])));
		entry = _mm_add_epi8(entry, _mm_and_si128(third, _mm_set1_epi8(levels[i + 2])));
		entry = _mm_add_epi8(entry, _mm_and_si128(fourth, _mm_set1_epi8(levels[i + 3])));
		_mm_store_si128(&query->tables[i / 4], entry);
		sum += levels[i] + levels[i + 1] + levels[i + 2] + levels[i + 3];
	}
	query->sum = sum;
}

/*
 * Code by code, a column of 16 x 16 bytes becomes a row: interleaving rows k and
 * k + 8 into rows 2 k and 2 k + 1 rotates the eight bits of a byte's address (row,
 * place) by one, and four times exchange row and place.  This is one such step;
 * the last is in SUM_UP.  Both halves of the registers do the same.
 */
#define INTERLEAVE(to, from) \
	do { \
		PAIR(to, from, 0); \
		PAIR(to, from, 1); \
		PAIR(to, from, 2); \
		PAIR(to, from, 3); \
		PAIR(to, from, 4); \
		PAIR(to, from, 5); \
		PAIR(to, from, 6); \
		PAIR(to, from, 7); \
	} while (0)
#define PAIR(to, from, k) \
	(to)[2 * k] = _mm256_unpacklo_epi8((from)[k], (from)[k + 8]); \
	(to)[2 * k + 1] = _mm256_unpackhi_epi8((from)[k], (from)[k + 8])

/* One byte of 32 codes, eight dimensions: what two tables say */
STEP __m256i
look_up(__m256i bytes, const __m128i *tables)
{
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i		low = _mm256_and_si256(bytes, nibble);
	__m256i		high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);

	return _mm256_add_epi8(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(tables[0]), low),
						   _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(tables[1]), high));
}

/*
 * 128 dimensions of 32 codes: adds to even and odd, the codes by turns.  At most 224
 * for each 16 dimensions, so 4,608 dimensions fit 16 bits.
 */
STEP void
sum_block(const uint8_t *codes, const uint32_t *offsets, const __m128i *tables,
		  __m256i *even, __m256i *odd)
{
	__m256i		a[16];
	__m256i		b[16];
	__m256i		sum;

#define READ(i) \
	a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *) (codes + offsets[i]))), \
								   _mm_loadu_si128((const __m128i *) (codes + offsets[i + 16])), 1)
#define SUM_UP(k) \
	sum = _mm256_add_epi8(look_up(_mm256_unpacklo_epi8(b[k], b[k + 8]), tables + 4 * k), \
						  look_up(_mm256_unpackhi_epi8(b[k], b[k + 8]), tables + 4 * k + 2)); \
	*even = _mm256_add_epi16(*even, _mm256_and_si256(sum, _mm256_set1_epi16(0xff))); \
	*odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(sum, 8))

	/* written out: gcc -O2 would keep arrays that a loop walks through in memory */
	READ(0);
	READ(1);
	READ(2);
	READ(3);
	READ(4);
	READ(5);
	READ(6);
	READ(7);
	READ(8);
	READ(9);
	READ(10);
	READ(11);
	READ(12);
	READ(13);
	READ(14);
	READ(15);
	INTERLEAVE(b, a);
	INTERLEAVE(a, b);
	INTERLEAVE(b, a);
	SUM_UP(0);
	SUM_UP(1);
	SUM_UP(2);
	SUM_UP(3);
	SUM_UP(4);
	SUM_UP(5);
	SUM_UP(6);
	SUM_UP(7);
#undef READ
#undef SUM_UP
}

#define BLOCKS_AT_ONCE	32		/* of 128 dimensions, in 16 bits */

TARGET void
avx2_code_dot(const void *mem, int dims, int bits, const uint8_t *codes,
			  int n, int32_t *out)
{
	const TableQuery *query = mem;
	int			blocks = dims / 128;
	size_t		plane = (size_t) dims / 8;
	size_t		size = plane * bits;
	__m256i		rest = _mm256_set1_epi32(((1 << bits) - 1) *
										 (query->sum + 2 * TABLE_BIAS * (dims / 4)));

	for (int i = 0; i < n; i += 32, codes += 32 * size)
	{
		uint32_t	offsets[32];
		__m256i		set[4];		/* codes 0 .. 7, 8 .. 15, 16 .. 23, 24 .. 31 */

		/* beyond the last: the last again */
		for (int j = 0; j < 32; j++)
			offsets[j] = (uint32_t) ((i + j < n ? j : n - 1 - i) * size);
		for (int j = 0; j < 4; j++)
			set[j] = _mm256_setzero_si256();
		for (int p = 0; p < bits; p++)
		{
			for (int j = 0; j < 4; j++)
				set[j] = _mm256_add_epi32(set[j], set[j]);
			for (int from = 0; from < blocks; from += BLOCKS_AT_ONCE)
			{
				int			to = blocks - from < BLOCKS_AT_ONCE ? blocks : from + BLOCKS_AT_ONCE;
				__m256i		even = _mm256_setzero_si256();
				__m256i		odd = _mm256_setzero_si256();
				__m256i		low;
				__m256i		high;

				for (int block = from; block < to; block++)
					sum_block(codes + p * plane + (size_t) block * 16, offsets,
							  query->tables + block * 32, &even, &odd);
				low = _mm256_unpacklo_epi16(even, odd);
				high = _mm256_unpackhi_epi16(even, odd);
				set[0] = _mm256_add_epi32(set[0], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(low)));
				set[1] = _mm256_add_epi32(set[1], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(high)));
				set[2] = _mm256_add_epi32(set[2], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(low, 1)));
				set[3] = _mm256_add_epi32(set[3], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(high, 1)));
			}
		}
		for (int j = 0; j < 4 && i + 8 * j < n; j++)
		{
			int			left = n - i - 8 * j;
			__m256i		result = _mm256_sub_epi32(_mm256_add_epi32(set[j], set[j]), rest);

			if (left >= 8)
				_mm256_storeu_si256((__m256i *) (out + i + 8 * j), result);
			else
				_mm256_maskstore_epi32(out + i + 8 * j, first_of_eight(left), result);
		}
	}
}

void
avx2_code_dot_picked(const void *mem, int dims, int bits, size_t plane_size,
					  const uint8_t *rows, size_t row_size, const int32_t *picked,
					  int n, int32_t *out)
{
	kernel_dot_picked(avx2_code_dot, mem, dims, bits, plane_size, rows, row_size, picked, n, out);
}

/* The number of bits set in each 64 of a register */
STEP __m256i
count_bits(__m256i x)
{
	const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3,
																	1, 2, 2, 3, 2, 3, 3, 4));
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i		low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
	__m256i		high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));

	return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}

TARGET int32_t
avx2_code_pair(const uint8_t *a, const uint8_t *b, int dims, int bits)
{
	int			plane = dims / 8;
	__m256i		sum = _mm256_setzero_si256();
	int64_t		weights = (1 << bits) - 1;
	__m128i		two;

	for (int p = 0; p < bits; p++)
		for (int q = 0; q < bits; q++)
		{
			const uint8_t *x = a + p * plane;
			const uint8_t *y = b + q * plane;
			__m256i		count = _mm256_setzero_si256();
			int			i = 0;

			for (; i + 32 <= plane; i += 32)
				count = _mm256_add_epi64(count, count_bits(_mm256_xor_si256(_mm256_loadu_si256((const __m256i *) (x + i)),
																			_mm256_loadu_si256((const __m256i *) (y + i)))));
			if (i < plane)
				count = _mm256_add_epi64(count, count_bits(_mm256_inserti128_si256(_mm256_setzero_si256(),
																				   _mm_xor_si128(_mm_loadu_si128((const __m128i *) (x + i)),
																								 _mm_loadu_si128((const __m128i *) (y + i))), 0)));
			sum = _mm256_add_epi64(sum, _mm256_slli_epi64(count, 2 * bits - 2 - p - q));
		}
	two = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
	return (int32_t) (dims * weights * weights -
					  2 * (_mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1)));
}

TARGET void
avx2_code_estimate(const int32_t *dots, const float *factors, int n,
				   float step, float base, float *out)
{
	int			i = 0;

	for (; i + 8 <= n; i += 8)
	{
		__m256		low = _mm256_loadu_ps(factors + 2 * i);
		__m256		high = _mm256_loadu_ps(factors + 2 * i + 8);
		__m256		add = _mm256_shuffle_ps(low, high, 0x88);
		__m256		mul = _mm256_shuffle_ps(low, high, 0xdd);
		__m256		value = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *) (dots + i)));

		add = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(add), 0xd8));
		mul = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mul), 0xd8));
		value = _mm256_mul_ps(mul, _mm256_mul_ps(_mm256_set1_ps(step), value));
		value = _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(base), add), value);
		value = _mm256_max_ps(value, _mm256_set1_ps(-FLT_MAX));
		value = _mm256_min_ps(value, _mm256_set1_ps(FLT_MAX));
		_mm256_storeu_ps(out + i, value);
	}
	if (i < n)
		scalar_code_estimate(dots + i, factors + 2 * i, n - i, step, base, out + i);
}

TARGET int
avx2_find_below(const float *values, int n, float limit, int32_t *below)
{
	int			count = 0;
	int			i = 0;

	for (; i + 8 <= n; i += 8)
	{
		unsigned	found = (unsigned) _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values + i),
																		_mm256_set1_ps(limit), _CMP_LT_OQ));

		for (; found != 0; found &= found - 1)
			below[count++] = i + __builtin_ctz(found);
	}
	for (; i < n; i++)
		if (values[i] < limit)
			below[count++] = i;
	return count;
}

/* ---- making codes: 16 lanes are four registers of double ---- */

typedef struct Lanes
{
	__m256d		d0;				/* lanes 0 .. 3, and so on */
	__m256d		d1;
	__m256d		d2;
	__m256d		d3;
} Lanes;

STEP Lanes
zero_lanes(void)
{
	Lanes		lanes;

	lanes.d0 = lanes.d1 = lanes.d2 = lanes.d3 = _mm256_setzero_pd();
	return lanes;
}

STEP Lanes
to_lanes(__m256 low, __m256 high)
{
	Lanes		lanes;

	lanes.d0 = _mm256_cvtps_pd(_mm256_castps256_ps128(low));
	lanes.d1 = _mm256_cvtps_pd(_mm256_extractf128_ps(low, 1));
	lanes.d2 = _mm256_cvtps_pd(_mm256_castps256_ps128(high));
	lanes.d3 = _mm256_cvtps_pd(_mm256_extractf128_ps(high, 1));
	return lanes;
}

STEP Lanes
add_lanes(Lanes sum, Lanes a)
{
	sum.d0 = _mm256_add_pd(sum.d0, a.d0);
	sum.d1 = _mm256_add_pd(sum.d1, a.d1);
	sum.d2 = _mm256_add_pd(sum.d2, a.d2);
	sum.d3 = _mm256_add_pd(sum.d3, a.d3);
	return sum;
}

STEP Lanes
multiply_lanes(Lanes a, Lanes b)
{
	a.d0 = _mm256_mul_pd(a.d0, b.d0);
	a.d1 = _mm256_mul_pd(a.d1, b.d1);
	a.d2 = _mm256_mul_pd(a.d2, b.d2);
	a.d3 = _mm256_mul_pd(a.d3, b.d3);
	return a;
}

/* Lanes j + 8, j + 4, j + 2, j + 1 */
STEP double
fold_lanes(Lanes sum)
{
	__m256d		four = _mm256_add_pd(_mm256_add_pd(sum.d0, sum.d2),
									 _mm256_add_pd(sum.d1, sum.d3));
	__m128d		two = _mm_add_pd(_mm256_castpd256_pd128(four),
								 _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* Eight values as integers, clamped */
STEP __m256i
quantise_eight(__m256 value, __m256 most, __m256 least)
{
	return _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(value, most), least));
}

TARGET double
avx2_quantise(const float *x, int dim, float inverse, int limit, int8_t *out)
{
	__m256		scale = _mm256_set1_ps(inverse);
	__m256		most = _mm256_set1_ps((float) limit);
	__m256		least = _mm256_set1_ps((float) -limit);
	Lanes		sum = zero_lanes();

	for (int i = 0; i < dim; i += 16)
	{
		int			rest = dim - i;
		__m256		x_low;
		__m256		x_high;
		__m256i		low;
		__m256i		high;
		__m128i		bytes;

		if (rest >= 16)
		{
			x_low = _mm256_loadu_ps(x + i);
			x_high = _mm256_loadu_ps(x + i + 8);
		}
		else
		{
			x_low = _mm256_maskload_ps(x + i, first_of_eight(rest < 8 ? rest : 8));
			x_high = _mm256_setzero_ps();
			if (rest > 8)
				x_high = _mm256_maskload_ps(x + i + 8, first_of_eight(rest - 8));
		}
		low = quantise_eight(_mm256_mul_ps(x_low, scale), most, least);
		high = quantise_eight(_mm256_mul_ps(x_high, scale), most, least);
		sum = add_lanes(sum, multiply_lanes(to_lanes(x_low, x_high),
											to_lanes(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))));
		/* by halves: 0 .. 3 and 8 .. 11, then 4 .. 7 and 12 .. 15 */
		low = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
		bytes = _mm_packs_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
		if (rest >= 16)
			_mm_storeu_si128((__m128i *) (out + i), bytes);
		else
			memcpy(out + i, &bytes, rest);
	}
	return fold_lanes(sum);
}

TARGET void
avx2_code_residual(const float *x, const float *c, const float *mean,
				   int dim, double *rr, double *rc)
{
	Lanes		square = zero_lanes();
	Lanes		owner = zero_lanes();

	for (int i = 0; i < dim; i += 16)
	{
		__m256		own_low = _mm256_loadu_ps(c + i);
		__m256		own_high = _mm256_loadu_ps(c + i + 8);
		Lanes		r = to_lanes(_mm256_sub_ps(_mm256_loadu_ps(x + i), own_low),
								 _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), own_high));

		square = add_lanes(square, multiply_lanes(r, r));
		if (rc != NULL)
		{
			Lanes		own = to_lanes(own_low, own_high);

			if (mean != NULL)
				own = add_lanes(own, to_lanes(_mm256_loadu_ps(mean + i), _mm256_loadu_ps(mean + i + 8)));
			owner = add_lanes(owner, multiply_lanes(r, own));
		}
	}
	*rr = fold_lanes(square);
	if (rc != NULL)
		*rc = fold_lanes(owner);
}

STEP __m256
magnitude(__m256 x)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* 2 x + 1 */
STEP __m256
odd_of(__m256 x)
{
	return _mm256_add_ps(_mm256_add_ps(x, x), _mm256_set1_ps(1.0f));
}

STEP float
fold_float(__m256 low, __m256 high)
{
	__m256		eight = _mm256_add_ps(low, high);
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight),
								  _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

TARGET void
avx2_code_fit(const float *x, const float *c, int dims,
			  const float inverse[3], float top, double fit[3])
{
	__m256		most = _mm256_set1_ps(top);

#define FIT(half, at) \
	do { \
		__m256		r = magnitude(_mm256_sub_ps(_mm256_loadu_ps(x + (at)), _mm256_loadu_ps(c + (at)))); \
		__m256		u = _mm256_min_ps(_mm256_mul_ps(r, scale), most); \
\
		u = odd_of(_mm256_round_ps(u, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)); \
		ur_##half = _mm256_add_ps(ur_##half, _mm256_mul_ps(r, u)); \
		uu_##half = _mm256_add_ps(uu_##half, _mm256_mul_ps(u, u)); \
	} while (0)

	for (int s = 0; s < 3; s++)
	{
		__m256		scale = _mm256_set1_ps(inverse[s]);
		__m256		ur_low = _mm256_setzero_ps();
		__m256		ur_high = _mm256_setzero_ps();
		__m256		uu_low = _mm256_setzero_ps();
		__m256		uu_high = _mm256_setzero_ps();
		double		sum;

		for (int i = 0; i < dims; i += 16)
		{
			FIT(low, i);
			FIT(high, i + 8);
		}
		sum = fold_float(ur_low, ur_high);
		fit[s] = sum * sum / fold_float(uu_low, uu_high);
	}
#undef FIT
}

STEP void
make_code(const float *x, const float *c, int dims, int bits, float inverse,
		  uint8_t *code, double *ur, double *uc)
{
	__m256		most = _mm256_set1_ps((float) ((1 << (bits - 1)) - 1));
	__m256		scale = _mm256_set1_ps(inverse);
	__m256		sign = _mm256_set1_ps(-0.0f);
	Lanes		with_r = zero_lanes();
	Lanes		with_c = zero_lanes();
	size_t		plane = (size_t) dims / 8;

#define HALF(half, byte) \
	do { \
		__m256		negative; \
		int			bit; \
\
		own_##half = _mm256_loadu_ps(c + 8 * (byte)); \
		r_##half = _mm256_sub_ps(_mm256_loadu_ps(x + 8 * (byte)), own_##half); \
		negative = _mm256_cmp_ps(r_##half, _mm256_setzero_ps(), _CMP_LT_OQ); \
		bit = _mm256_movemask_ps(negative); \
		code[byte] = (uint8_t) ~bit; \
		r_##half = magnitude(r_##half); \
		own_##half = _mm256_xor_ps(own_##half, _mm256_and_ps(negative, sign)); \
		if (bits > 1) \
		{ \
			__m256i		level = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(r_##half, scale), most)); \
\
			u_##half = odd_of(_mm256_cvtepi32_ps(level)); \
			for (int p = 1; p < bits; p++) \
			{ \
				__m256i		top = _mm256_slli_epi32(level, 32 - bits + p); \
\
				code[p * plane + (byte)] = (uint8_t) (_mm256_movemask_ps(_mm256_castsi256_ps(top)) ^ bit); \
			} \
		} \
	} while (0)

	for (size_t byte = 0; byte < plane; byte += 2)
	{
		__m256		r_low;
		__m256		r_high;
		__m256		own_low;
		__m256		own_high;
		__m256		u_low = _mm256_setzero_ps();
		__m256		u_high = _mm256_setzero_ps();

		HALF(low, byte);
		HALF(high, byte + 1);
		if (bits == 1)
		{
			with_r = add_lanes(with_r, to_lanes(r_low, r_high));
			with_c = add_lanes(with_c, to_lanes(own_low, own_high));
		}
		else
		{
			Lanes		wide = to_lanes(u_low, u_high);

			with_r = add_lanes(with_r, multiply_lanes(to_lanes(r_low, r_high), wide));
			with_c = add_lanes(with_c, multiply_lanes(to_lanes(own_low, own_high), wide));
		}
	}
#undef HALF
	*ur = fold_lanes(with_r);
	*uc = fold_lanes(with_c);
}

TARGET void
avx2_code_make(const float *x, const float *c, int dims, int bits,
			   float inverse, uint8_t *code, double *ur, double *uc)
{
	if (bits == 1)
		make_code(x, c, dims, 1, inverse, code, ur, uc);
	else if (bits == 2)
		make_code(x, c, dims, 2, inverse, code, ur, uc);
	else
		make_code(x, c, dims, 4, inverse, code, ur, uc);
}

/* ---- rotation: a row is two registers ---- */

/* The first of each pair gets the sum, the second first - second. */
#define BUTTERFLY(a, b) \
	do { \
		__m256		sum = _mm256_add_ps(a, b); \
\
		b = _mm256_sub_ps(a, b); \
		a = sum; \
	} while (0)

/*
 * The same within a register: swapped holds the other of each pair, and minus has
 * the sign bit where x is the second.  Adding -x is subtracting x.
 */
#define BUTTERFLY_WITHIN(x, swapped, minus) \
	x = _mm256_add_ps(swapped, _mm256_xor_ps(x, minus))

STEP __m256
transform_half(__m256 x, __m256 scale)
{
	const __m256 fours = _mm256_setr_ps(0.0f, 0.0f, 0.0f, 0.0f, -0.0f, -0.0f, -0.0f, -0.0f);
	const __m256 twos = _mm256_setr_ps(0.0f, 0.0f, -0.0f, -0.0f, 0.0f, 0.0f, -0.0f, -0.0f);
	const __m256 ones = _mm256_setr_ps(0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f);

	BUTTERFLY_WITHIN(x, _mm256_permute2f128_ps(x, x, 0x01), fours);
	BUTTERFLY_WITHIN(x, _mm256_permute_ps(x, 0x4e), twos);
	BUTTERFLY_WITHIN(x, _mm256_permute_ps(x, 0xb1), ones);
	return _mm256_mul_ps(x, scale);
}

STEP void
transform_rows(float *row, int n, __m256 scale)
{
	for (int i = 0; i < n; i++, row += 16)
	{
		__m256		low = _mm256_loadu_ps(row);
		__m256		high = _mm256_loadu_ps(row + 8);

		BUTTERFLY(low, high);
		_mm256_storeu_ps(row, transform_half(low, scale));
		_mm256_storeu_ps(row + 8, transform_half(high, scale));
	}
}

#define LOAD(k) \
	do { \
		v##k = _mm256_loadu_ps(from + k * apart); \
		if (flip) \
			v##k = _mm256_xor_ps(v##k, _mm256_loadu_ps(signs + k * apart)); \
	} while (0)
#define STORE(k) \
	_mm256_storeu_ps(to + 16 * k, v##k)

STEP void
pass_of_8(const float *from, float *y, int rows, const float *signs, bool flip,
		  bool within, __m256 scale)
{
	size_t		apart = (size_t) rows * 2;

	for (int i = 0; i < rows; i += 8, y += 128)
	{
		float	   *to = y;

		for (int h = 0; h < 2; h++, from += 8, signs += 8, to += 8)
		{
			__m256		v0,
						v1,
						v2,
						v3,
						v4,
						v5,
						v6,
						v7;

			LOAD(0);
			LOAD(1);
			LOAD(2);
			LOAD(3);
			LOAD(4);
			LOAD(5);
			LOAD(6);
			LOAD(7);
			BUTTERFLY(v0, v4);
			BUTTERFLY(v1, v5);
			BUTTERFLY(v2, v6);
			BUTTERFLY(v3, v7);
			BUTTERFLY(v0, v2);
			BUTTERFLY(v1, v3);
			BUTTERFLY(v4, v6);
			BUTTERFLY(v5, v7);
			BUTTERFLY(v0, v1);
			BUTTERFLY(v2, v3);
			BUTTERFLY(v4, v5);
			BUTTERFLY(v6, v7);
			STORE(0);
			STORE(1);
			STORE(2);
			STORE(3);
			STORE(4);
			STORE(5);
			STORE(6);
			STORE(7);
		}
		if (within)
			transform_rows(y, 8, scale);
	}
}

STEP void
pass_of_4(const float *from, float *y, int rows, const float *signs, bool flip,
		  bool within, __m256 scale)
{
	size_t		apart = (size_t) rows * 4;

	for (int i = 0; i < rows; i += 4, y += 64)
	{
		float	   *to = y;

		for (int h = 0; h < 2; h++, from += 8, signs += 8, to += 8)
		{
			__m256		v0,
						v1,
						v2,
						v3;

			LOAD(0);
			LOAD(1);
			LOAD(2);
			LOAD(3);
			BUTTERFLY(v0, v2);
			BUTTERFLY(v1, v3);
			BUTTERFLY(v0, v1);
			BUTTERFLY(v2, v3);
			STORE(0);
			STORE(1);
			STORE(2);
			STORE(3);
		}
		if (within)
			transform_rows(y, 4, scale);
	}
}

#undef LOAD
#undef STORE

TARGET void
avx2_hadamard(const float *x, float *y, int rows, int radix,
			  const uint32_t *signs, bool within, float scale)
{
	/* the bits as floats; without signs x stands in and is not looked at */
	bool		flip = signs != NULL;
	const float *bits = flip ? (const float *) signs : x;
	__m256		factor = _mm256_set1_ps(scale);

	if (radix == 8 && flip)
		pass_of_8(x, y, rows, bits, true, within, factor);
	else if (radix == 8)
		pass_of_8(x, y, rows, bits, false, within, factor);
	else if (flip)
		pass_of_4(x, y, rows, bits, true, within, factor);
	else
		pass_of_4(x, y, rows, bits, false, within, factor);
}

#endif							/* __x86_64__ */
