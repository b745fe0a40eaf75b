/*-------------------------------------------------------------------------
 *
 * kernel_avx2.c
 *	  AVX2 + FMA + F16C: the 32 lanes are four registers.
 *
 * The [exact] functions are compiled without FMA, so no compiler can fuse
 * what must be rounded twice; only the tiles have it.  Four chains hide the
 * latency of an addition; *_rows takes short rows two by two, which is what 16
 * registers hold, and ends the trees of four together.  The tails are in
 * kernel_tail_x86.h.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include "kernel/kernel_tail_x86.h"

#define TARGET		__attribute__((target("avx2")))
#define TARGET_FMA	__attribute__((target("avx2,fma")))
#define STEP		static inline __attribute__((always_inline)) TARGET

STEP __m256
add_term(__m256 sum, __m256 a, __m256 b, SumKind kind)
{
	__m256		d;

	switch (kind)
	{
		case SUM_L2SQ:
			d = _mm256_sub_ps(a, b);
			return _mm256_add_ps(sum, _mm256_mul_ps(d, d));
		case SUM_IP:
			return _mm256_add_ps(sum, _mm256_mul_ps(a, b));
		case SUM_L1:
		default:
			d = _mm256_sub_ps(a, b);
			return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), d));
	}
}

/* The first step of the tree joins 0 with 2 and 1 with 3, the second both. */
STEP __m128
fold_to_four(__m256 s0, __m256 s1, __m256 s2, __m256 s3)
{
	__m256		eight = _mm256_add_ps(_mm256_add_ps(s0, s2),
									  _mm256_add_ps(s1, s3));

	return _mm_add_ps(_mm256_castps256_ps128(eight),
					  _mm256_extractf128_ps(eight, 1));
}

STEP float
fold_four(__m128 four)
{
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The last two steps of four trees side by side. */
STEP __m128
fold_rows(__m128 r0, __m128 r1, __m128 r2, __m128 r3)
{
	_MM_TRANSPOSE4_PS(r0, r1, r2, r3);
	return _mm_add_ps(_mm_add_ps(r0, r2), _mm_add_ps(r1, r3));
}

STEP float
sum_pair(const float *a, const float *b, int dim, SumKind kind)
{
	int			body = KERNEL_BODY(dim);
	float		sum = 0.0f;

	if (body > 0)
	{
		__m256		s0 = _mm256_setzero_ps();
		__m256		s1 = _mm256_setzero_ps();
		__m256		s2 = _mm256_setzero_ps();
		__m256		s3 = _mm256_setzero_ps();

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			s0 = add_term(s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), kind);
			s1 = add_term(s1, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), kind);
			s2 = add_term(s2, _mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), kind);
			s3 = add_term(s3, _mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), kind);
		}
		sum = fold_four(fold_to_four(s0, s1, s2, s3));
	}
	if (body < dim)
		sum = add_tail(sum, a + body, b + body, dim - body, kind);
	return sum;
}

static TARGET float
avx2_l2sq(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L2SQ);
}

static TARGET float
avx2_ip(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_IP);
}

static TARGET float
avx2_l1(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L1);
}

static TARGET float
avx2_normsq(const float *a, int dim)
{
	return sum_pair(a, a, dim, SUM_IP);
}

static TARGET void
avx2_cosine(const float *a, const float *b, int dim,
			float *ab, float *aa, float *bb)
{
	int			body = KERNEL_BODY(dim);
	__m128		sums = _mm_setzero_ps();

#define DECLARE(g) \
	__m256		ab##g = _mm256_setzero_ps(); \
	__m256		aa##g = _mm256_setzero_ps(); \
	__m256		bb##g = _mm256_setzero_ps()
#define WHOLE(g) \
	do { \
		__m256		x = _mm256_loadu_ps(a + i + 8 * g); \
		__m256		y = _mm256_loadu_ps(b + i + 8 * g); \
\
		ab##g = add_term(ab##g, x, y, SUM_IP); \
		aa##g = add_term(aa##g, x, x, SUM_IP); \
		bb##g = add_term(bb##g, y, y, SUM_IP); \
	} while (0)

	if (body > 0)
	{
		__m128		bb_four;

		DECLARE(0);
		DECLARE(1);
		DECLARE(2);
		DECLARE(3);

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			WHOLE(0);
			WHOLE(1);
			WHOLE(2);
			WHOLE(3);
		}
		bb_four = fold_to_four(bb0, bb1, bb2, bb3);
		sums = fold_rows(fold_to_four(ab0, ab1, ab2, ab3),
						 fold_to_four(aa0, aa1, aa2, aa3), bb_four, bb_four);
	}
#undef DECLARE
#undef WHOLE

	if (body < dim)
		sums = add_cosine_tail(sums, a + body, b + body, dim - body);
	*ab = _mm_cvtss_f32(sums);
	*aa = _mm_cvtss_f32(_mm_movehdup_ps(sums));
	*bb = _mm_cvtss_f32(_mm_movehl_ps(sums, sums));
}

STEP __m256d
add_square_double(__m256d sum, __m128 a)
{
	__m256d		wide = _mm256_cvtps_pd(a);

	return _mm256_add_pd(sum, _mm256_mul_pd(wide, wide));
}

static TARGET double
avx2_normsq_double(const float *a, int dim)
{
	__m256d		s[8];
	int			i = 0;

	for (int g = 0; g < 8; g++)
		s[g] = _mm256_setzero_pd();
	for (; i + KERNEL_LANES <= dim; i += KERNEL_LANES)
	{
		s[0] = add_square_double(s[0], _mm_loadu_ps(a + i));
		s[1] = add_square_double(s[1], _mm_loadu_ps(a + i + 4));
		s[2] = add_square_double(s[2], _mm_loadu_ps(a + i + 8));
		s[3] = add_square_double(s[3], _mm_loadu_ps(a + i + 12));
		s[4] = add_square_double(s[4], _mm_loadu_ps(a + i + 16));
		s[5] = add_square_double(s[5], _mm_loadu_ps(a + i + 20));
		s[6] = add_square_double(s[6], _mm_loadu_ps(a + i + 24));
		s[7] = add_square_double(s[7], _mm_loadu_ps(a + i + 28));
	}

#define REST(g) \
	do { \
		if (dim - i >= 4 * g + 4) \
			s[g] = add_square_double(s[g], _mm_loadu_ps(a + i + 4 * g)); \
		else if (dim - i > 4 * g) \
		{ \
			__m128i		mask = rest_mask(dim - i - 4 * g); \
\
			s[g] = add_square_double(s[g], _mm_maskload_ps(a + i + 4 * g, mask)); \
		} \
	} while (0)
	REST(0);
	REST(1);
	REST(2);
	REST(3);
	REST(4);
	REST(5);
	REST(6);
	REST(7);
#undef REST

	s[0] = _mm256_add_pd(_mm256_add_pd(_mm256_add_pd(s[0], s[4]),
									   _mm256_add_pd(s[2], s[6])),
						 _mm256_add_pd(_mm256_add_pd(s[1], s[5]),
									   _mm256_add_pd(s[3], s[7])));
	return fold_double(s[0]);
}

/* The bodies of two rows, their lanes folded to four each. */
STEP void
sum_rows(const float *q, const float *r0, const float *r1, int body,
		 SumKind kind, __m128 *four0, __m128 *four1)
{
	__m256		x;

#define DECLARE(g) \
	__m256		s0##g = _mm256_setzero_ps(); \
	__m256		s1##g = _mm256_setzero_ps()
#define WHOLE(g) \
	do { \
		x = _mm256_loadu_ps(q + i + 8 * g); \
		s0##g = add_term(s0##g, x, _mm256_loadu_ps(r0 + i + 8 * g), kind); \
		s1##g = add_term(s1##g, x, _mm256_loadu_ps(r1 + i + 8 * g), kind); \
	} while (0)

	DECLARE(0);
	DECLARE(1);
	DECLARE(2);
	DECLARE(3);

	for (int i = 0; i < body; i += KERNEL_LANES)
	{
		WHOLE(0);
		WHOLE(1);
		WHOLE(2);
		WHOLE(3);
	}
#undef DECLARE
#undef WHOLE

	*four0 = fold_to_four(s00, s01, s02, s03);
	*four1 = fold_to_four(s10, s11, s12, s13);
}

STEP void
run_rows(const float *q, const void *rows, size_t stride, int n, int dim,
		 float *out, SumKind kind)
{
	const char *row = rows;
	int			body = KERNEL_BODY(dim);
	int			i = 0;

	if (dim <= KERNEL_SHORT_ROW)
	{
		for (; i + 4 <= n; i += 4, row += 4 * stride)
		{
			const float *r0 = (const float *) row;
			const float *r1 = (const float *) (row + stride);
			const float *r2 = (const float *) (row + 2 * stride);
			const float *r3 = (const float *) (row + 3 * stride);
			__m128		sums = _mm_setzero_ps();

			if (body > 0)
			{
				__m128		four0,
							four1,
							four2,
							four3;

				sum_rows(q, r0, r1, body, kind, &four0, &four1);
				sum_rows(q, r2, r3, body, kind, &four2, &four3);
				sums = fold_rows(four0, four1, four2, four3);
			}
			if (body < dim)
				sums = add_rows_tail(sums, q + body, r0 + body, r1 + body,
									 r2 + body, r3 + body, dim - body, kind);
			_mm_storeu_ps(out + i, sums);
		}
	}
	for (; i < n; i++, row += stride)
		out[i] = sum_pair(q, (const float *) row, dim, kind);
}

static TARGET void
avx2_l2sq_rows(const float *q, const void *rows, size_t stride, int n,
			   int dim, float *out)
{
	run_rows(q, rows, stride, n, dim, out, SUM_L2SQ);
}

static TARGET void
avx2_ip_rows(const float *q, const void *rows, size_t stride, int n,
			 int dim, float *out)
{
	run_rows(q, rows, stride, n, dim, out, SUM_IP);
}

/* ---- half precision ---- */

#define TARGET_HALF	__attribute__((target("avx2,f16c")))
#define STEP_HALF	static inline __attribute__((always_inline)) TARGET_HALF

STEP_HALF __m256
load_halves(const uint16_t *half, __m256 scale)
{
	return _mm256_mul_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) half)), scale);
}

/* The last `rest` (1 .. 31) elements as floats, any number behind them */
STEP_HALF void
unpack_tail(const uint16_t *half, int rest, __m256 scale, float *tail)
{
	uint16_t	copy[KERNEL_LANES] = {0};

	memcpy(copy, half, sizeof(uint16_t) * rest);
	for (int i = 0; i < rest; i += 8)
		_mm256_storeu_ps(tail + i, load_halves(copy + i, scale));
}

STEP_HALF float
sum_half(const float *q, const uint16_t *half, float scale, int dim, SumKind kind)
{
	int			body = KERNEL_BODY(dim);
	__m256		factor = _mm256_set1_ps(scale);
	float		sum = 0.0f;

	if (body > 0)
	{
		__m256		s0 = _mm256_setzero_ps();
		__m256		s1 = _mm256_setzero_ps();
		__m256		s2 = _mm256_setzero_ps();
		__m256		s3 = _mm256_setzero_ps();

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			s0 = add_term(s0, _mm256_loadu_ps(q + i), load_halves(half + i, factor), kind);
			s1 = add_term(s1, _mm256_loadu_ps(q + i + 8), load_halves(half + i + 8, factor), kind);
			s2 = add_term(s2, _mm256_loadu_ps(q + i + 16), load_halves(half + i + 16, factor), kind);
			s3 = add_term(s3, _mm256_loadu_ps(q + i + 24), load_halves(half + i + 24, factor), kind);
		}
		sum = fold_four(fold_to_four(s0, s1, s2, s3));
	}
	if (body < dim)
	{
		float		tail[KERNEL_LANES];

		unpack_tail(half + body, dim - body, factor, tail);
		sum = add_tail(sum, q + body, tail, dim - body, kind);
	}
	return sum;
}

static TARGET_HALF float
avx2_l2sq_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_L2SQ);
}

static TARGET_HALF float
avx2_ip_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_IP);
}

static TARGET_HALF void
avx2_half_unpack(const uint16_t *half, float scale, int dim, float *out)
{
	__m256		factor = _mm256_set1_ps(scale);
	int			i = 0;

	for (; i + 8 <= dim; i += 8)
		_mm256_storeu_ps(out + i, load_halves(half + i, factor));
	if (i < dim)
	{
		float		tail[KERNEL_LANES];

		unpack_tail(half + i, dim - i, factor, tail);
		memcpy(out + i, tail, sizeof(float) * (dim - i));
	}
}

static TARGET_HALF void
avx2_half_pack(const float *x, int dim, uint16_t *half, float *scale)
{
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	__m256i		eight = _mm256_setzero_si256();
	__m128i		four;
	uint32_t	largest;
	__m256		factor;
	float		inverse;
	float		tail[8] = {0};
	int			whole = dim & ~7;

	memcpy(tail, x + whole, sizeof(float) * (dim - whole));
	for (int i = 0; i < whole; i += 8)
		eight = _mm256_max_epu32(eight, _mm256_and_si256(_mm256_loadu_si256((const __m256i *) (x + i)), magnitude));
	eight = _mm256_max_epu32(eight, _mm256_and_si256(_mm256_loadu_si256((const __m256i *) tail), magnitude));
	four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
	four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
	four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
	largest = (uint32_t) _mm_cvtsi128_si32(four);

	kernel_half_scale(largest, scale, &inverse);
	factor = _mm256_set1_ps(inverse);
	for (int i = 0; i < whole; i += 8)
		_mm_storeu_si128((__m128i *) (half + i),
						 _mm256_cvtps_ph(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor),
										 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	if (whole < dim)
	{
		uint16_t	last[8];

		_mm_storeu_si128((__m128i *) last,
						 _mm256_cvtps_ph(_mm256_mul_ps(_mm256_loadu_ps(tail), factor),
										 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
		memcpy(half + whole, last, sizeof(uint16_t) * (dim - whole));
	}
}

/*
 * The tile: 6 rows by two registers of columns is 12 sums, which with the two
 * of the panel and one of x fill the 16 registers.  So a panel is two halves.
 */
#define TILE_ROWS		6
#define SMALL_ROWS		2

#define EACH_OF_2(DO)	DO(0) DO(1)
#define EACH_OF_6(DO)	EACH_OF_2(DO) DO(2) DO(3) DO(4) DO(5)

#define TILE_DECLARE(r) \
	__m256		low##r = _mm256_setzero_ps(); \
	__m256		high##r = _mm256_setzero_ps();
#define TILE_STEP(r) \
	one = _mm256_broadcast_ss(x + r * KERNEL_TILE_STRIDE); \
	low##r = _mm256_fmadd_ps(one, y_low, low##r); \
	high##r = _mm256_fmadd_ps(one, y_high, high##r);
#define TILE_ADD(r) \
	low##r = _mm256_add_ps(low##r, _mm256_loadu_ps(out + r * ldo)); \
	high##r = _mm256_add_ps(high##r, _mm256_loadu_ps(out + r * ldo + 8));
#define TILE_STORE(r) \
	_mm256_storeu_ps(out + r * ldo, low##r); \
	_mm256_storeu_ps(out + r * ldo + 8, high##r);

#define DEFINE_TILE(name, EACH) \
static TARGET_FMA void \
name##_half(const float *x, const float *panel, int depth, float *out, \
			size_t ldo, bool add) \
{ \
	__m256		one, \
				y_low, \
				y_high; \
	EACH(TILE_DECLARE) \
\
	for (int k = 0; k < depth; k++, x++, panel += KERNEL_PANEL) \
	{ \
		y_low = _mm256_loadu_ps(panel); \
		y_high = _mm256_loadu_ps(panel + 8); \
		EACH(TILE_STEP) \
	} \
	if (add) \
	{ \
		EACH(TILE_ADD) \
	} \
	EACH(TILE_STORE) \
} \
\
static void \
name(const float *x, const float *panel, int depth, float *out, size_t ldo, \
	 bool add) \
{ \
	name##_half(x, panel, depth, out, ldo, add); \
	name##_half(x, panel + 16, depth, out + 16, ldo, add); \
}

DEFINE_TILE(tile, EACH_OF_6)
DEFINE_TILE(small_tile, EACH_OF_2)

static void
avx2_ip_panels(const float *x, size_t ldx, int nx, const float *panels,
			   int ny, int dim, float *out, size_t ldo)
{
	static const KernelTiles tiles = {TILE_ROWS, SMALL_ROWS, tile, small_tile};

	kernel_run_panels(&tiles, x, ldx, nx, panels, ny, dim, out, ldo);
}

const KernelTable kernel_avx2_table = {
	.level = KERNEL_AVX2,
	.name = "avx2",
	.l2sq = avx2_l2sq,
	.ip = avx2_ip,
	.l1 = avx2_l1,
	.normsq = avx2_normsq,
	.cosine = avx2_cosine,
	.normsq_double = avx2_normsq_double,
	.l2sq_rows = avx2_l2sq_rows,
	.ip_rows = avx2_ip_rows,
	.ip_panels = avx2_ip_panels,
	.l2sq_half = avx2_l2sq_half,
	.ip_half = avx2_ip_half,
	.half_unpack = avx2_half_unpack,
	.half_pack = avx2_half_pack,
	KERNEL_CODES(avx2),
	KERNEL_SCAN(avx2),
};

#endif							/* __x86_64__ */
