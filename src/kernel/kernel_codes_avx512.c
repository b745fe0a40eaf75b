/*-------------------------------------------------------------------------
 *
 * kernel_codes_avx512.c
 *	  Codes, bytes and rotations with AVX-512.
 *
 * Functions named avx512_ need no more than the level asks for; those named
 * avx512v_ need VPOPCNTDQ and VNNI too, and have the table kernel_avx512v_table to themselves.
 *
 * code_dot: a register holds 128 dimensions of four codes, a 128-bit lane each.
 * Codes lie one behind the other, so but for 128 dimensions lanes are
 * transposed 4 x 4 on the way (two shuffles for a register).  Each register is
 * ANDed with the four planes of the query and counted, 64 bits at a time, into
 * four sums; nothing is added across until the end.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include <float.h>
#include <immintrin.h>

#define TARGET	__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define STEP	static inline __attribute__((always_inline)) TARGET
#define TARGET_V \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vnni,avx512vbmi")))
#define STEP_V	static inline __attribute__((always_inline)) TARGET_V

TARGET void
avx512_code_estimate(const int32_t *dots, const float *factors, int n,
					 float step, float base, float *out)
{
	const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14,
										   16, 18, 20, 22, 24, 26, 28, 30);
	const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15,
										  17, 19, 21, 23, 25, 27, 29, 31);

	for (int i = 0; i < n; i += 16)
	{
		int			rest = n - i < 16 ? n - i : 16;
		__mmask16	mask = (__mmask16) ((1 << rest) - 1);
		uint32_t	both = rest < 16 ? (1u << (2 * rest)) - 1 : 0xffffffff;
		__m512		low = _mm512_maskz_loadu_ps((__mmask16) both, factors + 2 * i);
		__m512		high = _mm512_maskz_loadu_ps((__mmask16) (both >> 16), factors + 2 * i + 16);
		__m512		add = _mm512_permutex2var_ps(low, even, high);
		__m512		mul = _mm512_permutex2var_ps(low, odd, high);
		__m512		value = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, dots + i));

		value = _mm512_mul_ps(mul, _mm512_mul_ps(_mm512_set1_ps(step), value));
		value = _mm512_add_ps(_mm512_add_ps(_mm512_set1_ps(base), add), value);
		value = _mm512_max_ps(value, _mm512_set1_ps(-FLT_MAX));
		value = _mm512_min_ps(value, _mm512_set1_ps(FLT_MAX));
		_mm512_mask_storeu_ps(out + i, mask, value);
	}
}

TARGET int
avx512_find_below(const float *values, int n, float limit, int32_t *below)
{
	const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	int			count = 0;

	for (int i = 0; i < n; i += 16)
	{
		int			rest = n - i < 16 ? n - i : 16;
		__mmask16	mask = (__mmask16) ((1 << rest) - 1);
		__mmask16	found = _mm512_mask_cmp_ps_mask(mask, _mm512_maskz_loadu_ps(mask, values + i),
													_mm512_set1_ps(limit), _CMP_LT_OQ);
		int			more = __builtin_popcount(found);

		/* not compressed to memory, which takes long on some processors */
		_mm512_mask_storeu_epi32(below + count, (__mmask16) ((1 << more) - 1),
								 _mm512_maskz_compress_epi32(found, _mm512_add_epi32(lanes, _mm512_set1_epi32(i))));
		count += more;
	}
	return count;
}

/* The tree of KERNEL_CODE_LANES sums: lanes j + 8, j + 4, j + 2, j + 1 */
STEP double
fold_double(__m512d low, __m512d high)
{
	__m512d		eight = _mm512_add_pd(low, high);
	__m256d		four = _mm256_add_pd(_mm512_castpd512_pd256(eight),
									 _mm512_extractf64x4_pd(eight, 1));
	__m128d		two = _mm_add_pd(_mm256_castpd256_pd128(four),
								 _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* The same in float */
STEP float
fold_float(__m512 sum)
{
	__m256		eight = _mm256_add_ps(_mm512_castps512_ps256(sum),
									  _mm512_extractf32x8_ps(sum, 1));
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight),
								  _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#define LOW(x)		_mm512_cvtps_pd(_mm512_castps512_ps256(x))
#define HIGH(x)		_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))
/* sum += a * b, rounded twice */
#define ADD_PRODUCT(sum, a, b) \
	sum = _mm512_add_pd(sum, _mm512_mul_pd(a, b))

TARGET double
avx512_quantise(const float *x, int dim, float inverse, int limit, int8_t *out)
{
	__m512		scale = _mm512_set1_ps(inverse);
	__m512		most = _mm512_set1_ps((float) limit);
	__m512		least = _mm512_set1_ps((float) -limit);
	__m512d		sum_low = _mm512_setzero_pd();
	__m512d		sum_high = _mm512_setzero_pd();

	for (int i = 0; i < dim; i += 16)
	{
		__mmask16	mask = (__mmask16) (dim - i >= 16 ? 0xffff : (1 << (dim - i)) - 1);
		__m512		exact = _mm512_maskz_loadu_ps(mask, x + i);
		__m512		value = _mm512_mul_ps(exact, scale);
		__m512i		level = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(value, most), least));

		value = _mm512_cvtepi32_ps(level);
		ADD_PRODUCT(sum_low, LOW(exact), LOW(value));
		ADD_PRODUCT(sum_high, HIGH(exact), HIGH(value));
		_mm512_mask_cvtepi32_storeu_epi8(out + i, mask, level);
	}
	return fold_double(sum_low, sum_high);
}

TARGET void
avx512_code_residual(const float *x, const float *c, const float *mean,
					 int dim, double *rr, double *rc)
{
	__m512d		square_low = _mm512_setzero_pd();
	__m512d		square_high = _mm512_setzero_pd();
	__m512d		owner_low = _mm512_setzero_pd();
	__m512d		owner_high = _mm512_setzero_pd();

	for (int i = 0; i < dim; i += 16)
	{
		__m512		own = _mm512_loadu_ps(c + i);
		__m512		r = _mm512_sub_ps(_mm512_loadu_ps(x + i), own);
		__m512d		low = LOW(r);
		__m512d		high = HIGH(r);

		ADD_PRODUCT(square_low, low, low);
		ADD_PRODUCT(square_high, high, high);
		if (rc != NULL)
		{
			__m512d		own_low = LOW(own);
			__m512d		own_high = HIGH(own);

			if (mean != NULL)
			{
				__m512		m = _mm512_loadu_ps(mean + i);

				own_low = _mm512_add_pd(own_low, LOW(m));
				own_high = _mm512_add_pd(own_high, HIGH(m));
			}
			ADD_PRODUCT(owner_low, low, own_low);
			ADD_PRODUCT(owner_high, high, own_high);
		}
	}
	*rr = fold_double(square_low, square_high);
	if (rc != NULL)
		*rc = fold_double(owner_low, owner_high);
}

TARGET void
avx512_code_fit(const float *x, const float *c, int dims,
				const float inverse[3], float top, double fit[3])
{
	__m512		most = _mm512_set1_ps(top);
	__m512		ur0 = _mm512_setzero_ps();
	__m512		ur1 = _mm512_setzero_ps();
	__m512		ur2 = _mm512_setzero_ps();
	__m512		uu0 = _mm512_setzero_ps();
	__m512		uu1 = _mm512_setzero_ps();
	__m512		uu2 = _mm512_setzero_ps();

#define FIT(s) \
	do { \
		__m512		u = _mm512_min_ps(_mm512_mul_ps(r, _mm512_set1_ps(inverse[s])), most); \
\
		u = _mm512_roundscale_ps(u, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); \
		u = _mm512_add_ps(_mm512_add_ps(u, u), _mm512_set1_ps(1.0f)); \
		ur##s = _mm512_add_ps(ur##s, _mm512_mul_ps(r, u)); \
		uu##s = _mm512_add_ps(uu##s, _mm512_mul_ps(u, u)); \
	} while (0)

	for (int i = 0; i < dims; i += 16)
	{
		__m512		r = _mm512_abs_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(c + i)));

		FIT(0);
		FIT(1);
		FIT(2);
	}
#undef FIT

#define FOLD_FIT(s) \
	fit[s] = (double) fold_float(ur##s) * (double) fold_float(ur##s) / (double) fold_float(uu##s)
	FOLD_FIT(0);
	FOLD_FIT(1);
	FOLD_FIT(2);
#undef FOLD_FIT
}

STEP void
make_code(const float *x, const float *c, int dims, int bits, float inverse,
		  uint8_t *code, double *ur, double *uc)
{
	__m512		most = _mm512_set1_ps((float) ((1 << (bits - 1)) - 1));
	__m512		scale = _mm512_set1_ps(inverse);
	__m512d		r_low = _mm512_setzero_pd();
	__m512d		r_high = _mm512_setzero_pd();
	__m512d		c_low = _mm512_setzero_pd();
	__m512d		c_high = _mm512_setzero_pd();
	size_t		plane = (size_t) dims / 8;

	for (int i = 0; i < dims; i += 16)
	{
		__m512		own = _mm512_loadu_ps(c + i);
		__m512		r = _mm512_sub_ps(_mm512_loadu_ps(x + i), own);
		__mmask16	negative = _mm512_cmp_ps_mask(r, _mm512_setzero_ps(), _CMP_LT_OQ);
		uint16_t	bit = (uint16_t) ~negative;

		r = _mm512_abs_ps(r);
		own = _mm512_mask_xor_ps(own, negative, own, _mm512_set1_ps(-0.0f));
		memcpy(code + i / 8, &bit, sizeof(bit));
		if (bits == 1)
		{
			r_low = _mm512_add_pd(r_low, LOW(r));
			r_high = _mm512_add_pd(r_high, HIGH(r));
			c_low = _mm512_add_pd(c_low, LOW(own));
			c_high = _mm512_add_pd(c_high, HIGH(own));
		}
		else
		{
			__m512i		level = _mm512_cvttps_epi32(_mm512_min_ps(_mm512_mul_ps(r, scale), most));
			__m512		u = _mm512_cvtepi32_ps(level);
			__m512d		u_low;
			__m512d		u_high;

			u = _mm512_add_ps(_mm512_add_ps(u, u), _mm512_set1_ps(1.0f));
			u_low = LOW(u);
			u_high = HIGH(u);
			ADD_PRODUCT(r_low, LOW(r), u_low);
			ADD_PRODUCT(r_high, HIGH(r), u_high);
			ADD_PRODUCT(c_low, LOW(own), u_low);
			ADD_PRODUCT(c_high, HIGH(own), u_high);
			for (int p = 1; p < bits; p++)
			{
				bit = (uint16_t) (_mm512_test_epi32_mask(level, _mm512_set1_epi32(1 << (bits - 1 - p))) ^ negative);
				memcpy(code + p * plane + i / 8, &bit, sizeof(bit));
			}
		}
	}
	*ur = fold_double(r_low, r_high);
	*uc = fold_double(c_low, c_high);
}

TARGET void
avx512_code_make(const float *x, const float *c, int dims, int bits,
				 float inverse, uint8_t *code, double *ur, double *uc)
{
	if (bits == 1)
		make_code(x, c, dims, 1, inverse, code, ur, uc);
	else if (bits == 2)
		make_code(x, c, dims, 2, inverse, code, ur, uc);
	else
		make_code(x, c, dims, 4, inverse, code, ur, uc);
}

/* The first of each pair gets the sum, the second first - second. */
#define BUTTERFLY(a, b) \
	do { \
		__m512		sum = _mm512_add_ps(a, b); \
\
		b = _mm512_sub_ps(a, b); \
		a = sum; \
	} while (0)

/* The same within a register: places of mask are second, swapped holds their firsts. */
#define BUTTERFLY_WITHIN(x, swapped, mask) \
	do { \
		__m512		other = swapped; \
\
		x = _mm512_mask_sub_ps(_mm512_add_ps(x, other), mask, other, x); \
	} while (0)

STEP __m512
transform_row(__m512 x, __m512 scale)
{
	BUTTERFLY_WITHIN(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
	BUTTERFLY_WITHIN(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
	BUTTERFLY_WITHIN(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
	BUTTERFLY_WITHIN(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
	return _mm512_mul_ps(x, scale);
}

#define LOAD(k) \
	do { \
		v##k = _mm512_loadu_ps(from + k * apart); \
		if (flip) \
			v##k = _mm512_xor_ps(v##k, _mm512_loadu_ps(signs + k * apart)); \
	} while (0)
#define STORE(k) \
	_mm512_storeu_ps(y + 16 * k, within ? transform_row(v##k, scale) : v##k)

STEP void
pass_of_8(const float *from, float *y, int rows, const float *signs, bool flip,
		  bool within, __m512 scale)
{
	size_t		apart = (size_t) rows * 2;

	for (int i = 0; i < rows; i += 8, from += 16, signs += 16, y += 128)
	{
		__m512		v0,
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
}

STEP void
pass_of_4(const float *from, float *y, int rows, const float *signs, bool flip,
		  bool within, __m512 scale)
{
	size_t		apart = (size_t) rows * 4;

	for (int i = 0; i < rows; i += 4, from += 16, signs += 16, y += 64)
	{
		__m512		v0,
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
}

#undef LOAD
#undef STORE

TARGET void
avx512_hadamard(const float *x, float *y, int rows, int radix,
				const uint32_t *signs, bool within, float scale)
{
	/* the bits as floats; without signs x stands in and is not looked at */
	bool		flip = signs != NULL;
	const float *bits = flip ? (const float *) signs : x;
	__m512		factor = _mm512_set1_ps(scale);

	if (radix == 8 && within && flip)
		pass_of_8(x, y, rows, bits, true, true, factor);
	else if (radix == 8 && within)
		pass_of_8(x, y, rows, bits, false, true, factor);
	else if (radix == 8 && flip)
		pass_of_8(x, y, rows, bits, true, false, factor);
	else if (radix == 8)
		pass_of_8(x, y, rows, bits, false, false, factor);
	else if (within && flip)
		pass_of_4(x, y, rows, bits, true, true, factor);
	else if (within)
		pass_of_4(x, y, rows, bits, false, true, factor);
	else if (flip)
		pass_of_4(x, y, rows, bits, true, false, factor);
	else
		pass_of_4(x, y, rows, bits, false, false, factor);
}

/* ---- VPOPCNTDQ and VNNI ---- */

/*
 * VPDPBUSD multiplies unsigned by signed bytes: with the sign bits flipped, a
 * is a + 128, and 128 sum(b) too much comes out.
 */
TARGET_V int32_t
avx512v_dot_i8(const int8_t *a, const int8_t *b, int dim)
{
	const __m512i offset = _mm512_set1_epi8(-128);
	__m512i		sum = _mm512_setzero_si512();
	__m512i		excess = _mm512_setzero_si512();

	for (int i = 0; i < dim; i += 64)
	{
		__m512i		y = _mm512_loadu_si512(b + i);

		sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(_mm512_loadu_si512(a + i), offset), y);
		excess = _mm512_dpbusd_epi32(excess, offset, y);
	}
	return _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, excess));
}

/* Four sums across, in order. */
STEP __m128i
add_across(__m512i s0, __m512i s1, __m512i s2, __m512i s3)
{
	__m512i		s01 = _mm512_add_epi32(_mm512_unpacklo_epi32(s0, s1),
									   _mm512_unpackhi_epi32(s0, s1));
	__m512i		s23 = _mm512_add_epi32(_mm512_unpacklo_epi32(s2, s3),
									   _mm512_unpackhi_epi32(s2, s3));
	__m512i		four = _mm512_add_epi32(_mm512_unpacklo_epi64(s01, s23),
										_mm512_unpackhi_epi64(s01, s23));
	__m256i		half = _mm256_add_epi32(_mm512_castsi512_si256(four),
										_mm512_extracti64x4_epi64(four, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half),
						 _mm256_extracti128_si256(half, 1));
}

/*
 * Four rows at once: they arrive in parallel wherever they lie, and prefetching
 * the next ones only costs (README.md).
 */
TARGET_V void
avx512v_dot_i8_ids(const int8_t *q, const void *base, size_t stride,
				   const uint32_t *ids, int n, int dim, int32_t *out)
{
	const __m512i offset = _mm512_set1_epi8(-128);
	__m512i		excess = _mm512_setzero_si512();
	__m128i		too_much;

	for (int i = 0; i < dim; i += 64)
		excess = _mm512_dpbusd_epi32(excess, offset, _mm512_loadu_si512(q + i));
	too_much = _mm_set1_epi32(_mm512_reduce_add_epi32(excess));

	for (int i = 0; i < n; i += 4)
	{
		int			last = n - 1;
		const int8_t *r0 = (const int8_t *) base + ids[i] * stride;
		const int8_t *r1 = (const int8_t *) base + ids[i + 1 < n ? i + 1 : last] * stride;
		const int8_t *r2 = (const int8_t *) base + ids[i + 2 < n ? i + 2 : last] * stride;
		const int8_t *r3 = (const int8_t *) base + ids[i + 3 < n ? i + 3 : last] * stride;
		__m512i		s0 = _mm512_setzero_si512();
		__m512i		s1 = _mm512_setzero_si512();
		__m512i		s2 = _mm512_setzero_si512();
		__m512i		s3 = _mm512_setzero_si512();
		__m128i		sums;

		for (int k = 0; k < dim; k += 64)
		{
			__m512i		y = _mm512_loadu_si512(q + k);

			s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(_mm512_loadu_si512(r0 + k), offset), y);
			s1 = _mm512_dpbusd_epi32(s1, _mm512_xor_si512(_mm512_loadu_si512(r1 + k), offset), y);
			s2 = _mm512_dpbusd_epi32(s2, _mm512_xor_si512(_mm512_loadu_si512(r2 + k), offset), y);
			s3 = _mm512_dpbusd_epi32(s3, _mm512_xor_si512(_mm512_loadu_si512(r3 + k), offset), y);
		}
		sums = _mm_sub_epi32(add_across(s0, s1, s2, s3), too_much);
		_mm_mask_storeu_epi32(out + i, (__mmask8) (n - i >= 4 ? 15 : (1 << (n - i)) - 1), sums);
	}
}

/* The sum of the levels, then plane by plane dims / 8 bytes. */
typedef struct PlaneQuery
{
	int32_t		sum;
	int32_t		unused[15];
	uint64_t	planes[];
} PlaneQuery;

TARGET_V void
avx512v_code_query(const int8_t *levels, int dims, void *mem)
{
	PlaneQuery *query = mem;
	const __m512i ones = _mm512_set1_epi8(1);
	__m512i		sum = _mm512_setzero_si512();
	int			words = dims / 64;

	for (int w = 0; w < words; w++)
	{
		__m512i		level = _mm512_loadu_si512(levels + w * 64);

		sum = _mm512_dpbusd_epi32(sum, ones, level);
		query->planes[w] = _mm512_movepi8_mask(_mm512_slli_epi16(level, 7));
		query->planes[words + w] = _mm512_movepi8_mask(_mm512_slli_epi16(level, 6));
		query->planes[2 * words + w] = _mm512_movepi8_mask(_mm512_slli_epi16(level, 5));
		query->planes[3 * words + w] = _mm512_movepi8_mask(_mm512_slli_epi16(level, 4));
	}
	query->sum = _mm512_reduce_add_epi32(sum);
}

/* One register of code against the four planes at word w. */
#define COUNT(code, w) \
	do { \
		__m512i		bits = code; \
\
		a0 = _mm512_add_epi64(a0, _mm512_popcnt_epi64(_mm512_and_si512(bits, \
			_mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *) (p0 + (w))))))); \
		a1 = _mm512_add_epi64(a1, _mm512_popcnt_epi64(_mm512_and_si512(bits, \
			_mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *) (p1 + (w))))))); \
		a2 = _mm512_add_epi64(a2, _mm512_popcnt_epi64(_mm512_and_si512(bits, \
			_mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *) (p2 + (w))))))); \
		a3 = _mm512_add_epi64(a3, _mm512_popcnt_epi64(_mm512_and_si512(bits, \
			_mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *) (p3 + (w))))))); \
	} while (0)

/* Four rows of four lanes become four rows of one lane of each. */
#define TRANSPOSE(r0, r1, r2, r3) \
	do { \
		__m512i		low01 = _mm512_shuffle_i64x2(r0, r1, 0x44); \
		__m512i		high01 = _mm512_shuffle_i64x2(r0, r1, 0xee); \
		__m512i		low23 = _mm512_shuffle_i64x2(r2, r3, 0x44); \
		__m512i		high23 = _mm512_shuffle_i64x2(r2, r3, 0xee); \
\
		r0 = _mm512_shuffle_i64x2(low01, low23, 0x88); \
		r1 = _mm512_shuffle_i64x2(low01, low23, 0xdd); \
		r2 = _mm512_shuffle_i64x2(high01, high23, 0x88); \
		r3 = _mm512_shuffle_i64x2(high01, high23, 0xdd); \
	} while (0)

/* One plane of four codes: the weighted counts, 64 bits for each two of eight. */
STEP_V __m512i
count_plane(const uint8_t *c0, const uint8_t *c1, const uint8_t *c2,
			const uint8_t *c3, const uint64_t *p0, int words)
{
	const uint64_t *p1 = p0 + words;
	const uint64_t *p2 = p1 + words;
	const uint64_t *p3 = p2 + words;
	__m512i		a0 = _mm512_setzero_si512();
	__m512i		a1 = _mm512_setzero_si512();
	__m512i		a2 = _mm512_setzero_si512();
	__m512i		a3 = _mm512_setzero_si512();
	__m512i		r0,
				r1,
				r2,
				r3;
	int			w = 0;

	for (; w + 8 <= words; w += 8)
	{
		r0 = _mm512_loadu_si512(c0 + 8 * w);
		r1 = _mm512_loadu_si512(c1 + 8 * w);
		r2 = _mm512_loadu_si512(c2 + 8 * w);
		r3 = _mm512_loadu_si512(c3 + 8 * w);
		TRANSPOSE(r0, r1, r2, r3);
		COUNT(r0, w);
		COUNT(r1, w + 2);
		COUNT(r2, w + 4);
		COUNT(r3, w + 6);
	}
	if (w < words)
	{
		__mmask8	mask = (__mmask8) ((1 << (words - w)) - 1);

		r0 = _mm512_maskz_loadu_epi64(mask, c0 + 8 * w);
		r1 = _mm512_maskz_loadu_epi64(mask, c1 + 8 * w);
		r2 = _mm512_maskz_loadu_epi64(mask, c2 + 8 * w);
		r3 = _mm512_maskz_loadu_epi64(mask, c3 + 8 * w);
		TRANSPOSE(r0, r1, r2, r3);
		COUNT(r0, w);
		if (w + 2 < words)
			COUNT(r1, w + 2);
		if (w + 4 < words)
			COUNT(r2, w + 4);
	}
	a0 = _mm512_add_epi64(a0, _mm512_slli_epi64(a1, 1));
	a2 = _mm512_sub_epi64(a2, _mm512_slli_epi64(a3, 1));
	return _mm512_add_epi64(a0, _mm512_slli_epi64(a2, 2));
}

/* Codes of 128 dimensions and one bit: four of them are a register as they lie. */
STEP_V __m512i
count_short(__m512i codes, const uint64_t *p0)
{
	const uint64_t *p1 = p0 + 2;
	const uint64_t *p2 = p0 + 4;
	const uint64_t *p3 = p0 + 6;
	__m512i		a0 = _mm512_setzero_si512();
	__m512i		a1 = _mm512_setzero_si512();
	__m512i		a2 = _mm512_setzero_si512();
	__m512i		a3 = _mm512_setzero_si512();

	COUNT(codes, 0);
	a0 = _mm512_add_epi64(a0, _mm512_slli_epi64(a1, 1));
	a2 = _mm512_sub_epi64(a2, _mm512_slli_epi64(a3, 1));
	return _mm512_add_epi64(a0, _mm512_slli_epi64(a2, 2));
}

/* Lanes of two sums to the results of four codes */
STEP __m128i
finish(__m512i set, __m128i sum)
{
	const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0,
										   0, 0, 0, 0, 0, 0, 0, 0);
	__m128i		four;

	set = _mm512_add_epi64(set, _mm512_shuffle_epi32(set, _MM_PERM_BADC));
	four = _mm512_castsi512_si128(_mm512_permutexvar_epi32(pick, set));
	return _mm_sub_epi32(_mm_add_epi32(four, four), sum);
}

STEP_V void
run_codes(const PlaneQuery *query, int dims, int bits, const uint8_t *codes,
		  int n, int32_t *out)
{
	__m128i		sum = _mm_set1_epi32(((1 << bits) - 1) * query->sum);
	size_t		plane = (size_t) dims / 8;
	size_t		size = plane * bits;
	int			words = dims / 64;

	for (int i = 0; i < n; i += 4, codes += 4 * size)
	{
		int			rest = n - i < 4 ? n - i : 4;
		__m512i		set;

		if (dims == 128 && bits == 1)
			set = count_short(_mm512_maskz_loadu_epi64((__mmask8) ((1 << (2 * rest)) - 1), codes),
							  query->planes);
		else
		{
			const uint8_t *c0 = codes;
			const uint8_t *c1 = codes + (rest > 1 ? size : 0);
			const uint8_t *c2 = codes + (rest > 2 ? 2 * size : 0);
			const uint8_t *c3 = codes + (rest > 3 ? 3 * size : 0);

			set = count_plane(c0, c1, c2, c3, query->planes, words);
			for (int p = 1; p < bits; p++)
			{
				c0 += plane;
				c1 += plane;
				c2 += plane;
				c3 += plane;
				set = _mm512_add_epi64(_mm512_add_epi64(set, set),
									   count_plane(c0, c1, c2, c3, query->planes, words));
			}
		}
		_mm_mask_storeu_epi32(out + i, (__mmask8) ((1 << rest) - 1), finish(set, sum));
	}
}

TARGET_V void
avx512v_code_dot(const void *mem, int dims, int bits, const uint8_t *codes,
				 int n, int32_t *out)
{
	/* the loops unroll where the number of words is known */
	if (bits == 1 && dims == 128)
		run_codes(mem, 128, 1, codes, n, out);
	else if (bits == 1 && dims == 384)
		run_codes(mem, 384, 1, codes, n, out);
	else if (bits == 1 && dims == 768)
		run_codes(mem, 768, 1, codes, n, out);
	else if (bits == 2 && dims == 128)
		run_codes(mem, 128, 2, codes, n, out);
	else
		run_codes(mem, dims, bits, codes, n, out);
}

/* 32 bits of four rows' eight counts each, in the order 0, 2, 1, 3 */
STEP __m128i
counts_across(__m512i s0, __m512i s1, __m512i s2, __m512i s3)
{
	__m512i		s01 = _mm512_add_epi64(_mm512_unpacklo_epi64(s0, s1), _mm512_unpackhi_epi64(s0, s1));
	__m512i		s23 = _mm512_add_epi64(_mm512_unpacklo_epi64(s2, s3), _mm512_unpackhi_epi64(s2, s3));
	__m512i		four = _mm512_mask_blend_epi32(0xaaaa, s01, _mm512_slli_epi64(s23, 32));
	__m256i		half = _mm256_add_epi32(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Up to 128 dimensions, 3 bits at most: a row is a register, a plane a lane. */
STEP_V void
run_picked(const PlaneQuery *query, int bits, size_t plane_size, const uint8_t *rows,
		   size_t row_size, const int32_t *picked, int n, int32_t *out)
{
	/* of each lane */
	const __m512i number = _mm512_setr_epi64(0, 0, 0x0001000100010001, 0x0001000100010001,
											 0x0002000200020002, 0x0002000200020002, 0, 0);
	const __m512i worth = _mm512_setr_epi64(bits - 1, bits - 1, bits - 2, bits - 2,
											bits - 3, bits - 3, 0, 0);
	const __mmask8 has = (__mmask8) ((1 << (2 * bits)) - 1);
	const __mmask64 bytes = (UINT64_C(1) << (bits * plane_size)) - 1;

	/* byte i of lane p is byte i + p * plane_size of the row; what is behind a plane counts for nothing */
	const __m512i apart =
		_mm512_add_epi8(_mm512_set4_epi32(0x0f0e0d0c, 0x0b0a0908, 0x07060504, 0x03020100),
						_mm512_mullo_epi16(number, _mm512_set1_epi16((short) (plane_size * 0x0101))));
	__m128i		sum = _mm_set1_epi32(((1 << bits) - 1) * query->sum);

	for (int i = 0; i < n; i += 4)
	{
		int			rest = n - i < 4 ? n - i : 4;
		__m512i		sets[4];
		__m128i		four;

		for (int k = 0; k < 4; k++)
		{
			const uint8_t *row = rows + (size_t) picked[i + (k < rest ? k : 0)] * row_size;
			__m512i		planes = _mm512_maskz_loadu_epi8(bytes, row);

			planes = _mm512_permutexvar_epi8(apart, planes);
			sets[k] = _mm512_maskz_sllv_epi64(has, count_short(planes, query->planes), worth);
		}
		four = _mm_shuffle_epi32(counts_across(sets[0], sets[1], sets[2], sets[3]), 0xd8);
		_mm_mask_storeu_epi32(out + i, (__mmask8) ((1 << rest) - 1),
							  _mm_sub_epi32(_mm_add_epi32(four, four), sum));
	}
}

TARGET_V void
avx512v_code_dot_picked(const void *mem, int dims, int bits, size_t plane_size,
						const uint8_t *rows, size_t row_size, const int32_t *picked,
						int n, int32_t *out)
{
	if (dims == 128 && bits == 3)
		run_picked(mem, 3, plane_size, rows, row_size, picked, n, out);
	else if (dims == 128 && bits == 1)
		run_picked(mem, 1, plane_size, rows, row_size, picked, n, out);
	else
		kernel_dot_picked(avx512v_code_dot, mem, dims, bits, plane_size, rows, row_size, picked, n, out);
}

TARGET_V int32_t
avx512v_code_pair(const uint8_t *a, const uint8_t *b, int dims, int bits)
{
	int			plane = dims / 8;
	__m512i		sum = _mm512_setzero_si512();
	int64_t		weights = (1 << bits) - 1;

	for (int p = 0; p < bits; p++)
		for (int q = 0; q < bits; q++)
		{
			const uint8_t *x = a + p * plane;
			const uint8_t *y = b + q * plane;
			__m512i		count = _mm512_setzero_si512();
			int			i = 0;

			for (; i + 64 <= plane; i += 64)
				count = _mm512_add_epi64(count, _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(x + i),
																					 _mm512_loadu_si512(y + i))));
			if (i < plane)
			{
				__mmask8	mask = (__mmask8) ((1 << ((plane - i) / 8)) - 1);

				count = _mm512_add_epi64(count, _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_maskz_loadu_epi64(mask, x + i),
																					 _mm512_maskz_loadu_epi64(mask, y + i))));
			}
			sum = _mm512_add_epi64(sum, _mm512_slli_epi64(count, (unsigned) (2 * bits - 2 - p - q)));
		}

	/*
	 * each plane's weight is dims - 2 * different; the weights sum to
	 * weights^2
	 */
	return (int32_t) (dims * weights * weights - 2 * _mm512_reduce_add_epi64(sum));
}

#endif							/* __x86_64__ */
