/*-------------------------------------------------------------------------
 *
 * kernel_avx512.c
 *	  AVX-512 F, BW, VL, DQ: the 32 lanes are two registers.
 *
 * Two chains of dependent additions are less than the processor can overlap, and
 * the tree at the end of a short row takes longer than its sum: so *_rows takes
 * four short rows at once.  A row's own sum is not touched by that: same lanes,
 * same tree.
 *
 * The tails are those of AVX2, in kernel_tail_x86.h.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)

#include "kernel/kernel_tail_x86.h"

#define TARGET	__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define STEP	static inline __attribute__((always_inline)) TARGET

/* One step of 16 lanes; multiplication and addition rounded separately. */
STEP __m512
add_term(__m512 sum, __m512 a, __m512 b, SumKind kind)
{
	__m512		d;

	switch (kind)
	{
		case SUM_L2SQ:
			d = _mm512_sub_ps(a, b);
			return _mm512_add_ps(sum, _mm512_mul_ps(d, d));
		case SUM_IP:
			return _mm512_add_ps(sum, _mm512_mul_ps(a, b));
		case SUM_L1:
		default:
			d = _mm512_sub_ps(a, b);
			return _mm512_add_ps(sum, _mm512_abs_ps(d));
	}
}

/* Lane j with lane j + 8 of 16: the second step of the tree, then the third */
STEP __m128
fold_to_four(__m512 sum)
{
	__m256		eight = _mm256_add_ps(_mm512_castps512_ps256(sum),
									  _mm512_extractf32x8_ps(sum, 1));

	return _mm_add_ps(_mm256_castps256_ps128(eight),
					  _mm256_extractf128_ps(eight, 1));
}

STEP float
fold(__m512 sum)
{
	__m128		four = fold_to_four(sum);
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Four trees side by side. */
STEP __m128
fold_rows(__m512 s0, __m512 s1, __m512 s2, __m512 s3)
{
	__m128		r0 = fold_to_four(s0);
	__m128		r1 = fold_to_four(s1);
	__m128		r2 = fold_to_four(s2);
	__m128		r3 = fold_to_four(s3);

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
		__m512		low = _mm512_setzero_ps();
		__m512		high = _mm512_setzero_ps();

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			low = add_term(low, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), kind);
			high = add_term(high, _mm512_loadu_ps(a + i + 16),
							_mm512_loadu_ps(b + i + 16), kind);
		}
		sum = fold(_mm512_add_ps(low, high));
	}
	if (body < dim)
		sum = add_tail(sum, a + body, b + body, dim - body, kind);
	return sum;
}

static TARGET float
avx512_l2sq(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L2SQ);
}

static TARGET float
avx512_ip(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_IP);
}

static TARGET float
avx512_l1(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L1);
}

static TARGET float
avx512_normsq(const float *a, int dim)
{
	return sum_pair(a, a, dim, SUM_IP);
}

static TARGET void
avx512_cosine(const float *a, const float *b, int dim,
			  float *ab, float *aa, float *bb)
{
	int			body = KERNEL_BODY(dim);
	__m128		sums = _mm_setzero_ps();

	if (body > 0)
	{
		__m512		ab_low = _mm512_setzero_ps();
		__m512		ab_high = _mm512_setzero_ps();
		__m512		aa_low = _mm512_setzero_ps();
		__m512		aa_high = _mm512_setzero_ps();
		__m512		bb_low = _mm512_setzero_ps();
		__m512		bb_high = _mm512_setzero_ps();

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			__m512		x = _mm512_loadu_ps(a + i);
			__m512		y = _mm512_loadu_ps(b + i);

			ab_low = add_term(ab_low, x, y, SUM_IP);
			aa_low = add_term(aa_low, x, x, SUM_IP);
			bb_low = add_term(bb_low, y, y, SUM_IP);
			x = _mm512_loadu_ps(a + i + 16);
			y = _mm512_loadu_ps(b + i + 16);
			ab_high = add_term(ab_high, x, y, SUM_IP);
			aa_high = add_term(aa_high, x, x, SUM_IP);
			bb_high = add_term(bb_high, y, y, SUM_IP);
		}
		bb_low = _mm512_add_ps(bb_low, bb_high);
		sums = fold_rows(_mm512_add_ps(ab_low, ab_high),
						 _mm512_add_ps(aa_low, aa_high), bb_low, bb_low);
	}
	if (body < dim)
		sums = add_cosine_tail(sums, a + body, b + body, dim - body);
	*ab = _mm_cvtss_f32(sums);
	*aa = _mm_cvtss_f32(_mm_movehdup_ps(sums));
	*bb = _mm_cvtss_f32(_mm_movehl_ps(sums, sums));
}

STEP __m512d
add_square_double(__m512d sum, __m256 a)
{
	__m512d		wide = _mm512_cvtps_pd(a);

	return _mm512_add_pd(sum, _mm512_mul_pd(wide, wide));
}

static TARGET double
avx512_normsq_double(const float *a, int dim)
{
	__m512d		s0 = _mm512_setzero_pd();
	__m512d		s1 = _mm512_setzero_pd();
	__m512d		s2 = _mm512_setzero_pd();
	__m512d		s3 = _mm512_setzero_pd();
	int			i = 0;

	for (; i + KERNEL_LANES <= dim; i += KERNEL_LANES)
	{
		s0 = add_square_double(s0, _mm256_loadu_ps(a + i));
		s1 = add_square_double(s1, _mm256_loadu_ps(a + i + 8));
		s2 = add_square_double(s2, _mm256_loadu_ps(a + i + 16));
		s3 = add_square_double(s3, _mm256_loadu_ps(a + i + 24));
	}
	if (i < dim)
	{
		unsigned	mask = (1u << (dim - i)) - 1;

		s0 = add_square_double(s0, _mm256_maskz_loadu_ps((__mmask8) mask, a + i));
		s1 = add_square_double(s1, _mm256_maskz_loadu_ps((__mmask8) (mask >> 8), a + i + 8));
		s2 = add_square_double(s2, _mm256_maskz_loadu_ps((__mmask8) (mask >> 16), a + i + 16));
		s3 = add_square_double(s3, _mm256_maskz_loadu_ps((__mmask8) (mask >> 24), a + i + 24));
	}
	s0 = _mm512_add_pd(_mm512_add_pd(s0, s2), _mm512_add_pd(s1, s3));
	return fold_double(_mm256_add_pd(_mm512_castpd512_pd256(s0),
									 _mm512_extractf64x4_pd(s0, 1)));
}

/* The bodies of four rows, in their order. */
STEP __m128
sum_rows(const float *q, const float *r0, const float *r1, const float *r2,
		 const float *r3, int body, SumKind kind)
{
	__m512		low0 = _mm512_setzero_ps();
	__m512		low1 = _mm512_setzero_ps();
	__m512		low2 = _mm512_setzero_ps();
	__m512		low3 = _mm512_setzero_ps();
	__m512		high0 = _mm512_setzero_ps();
	__m512		high1 = _mm512_setzero_ps();
	__m512		high2 = _mm512_setzero_ps();
	__m512		high3 = _mm512_setzero_ps();
	__m512		x;

	for (int i = 0; i < body; i += KERNEL_LANES)
	{
		x = _mm512_loadu_ps(q + i);
		low0 = add_term(low0, x, _mm512_loadu_ps(r0 + i), kind);
		low1 = add_term(low1, x, _mm512_loadu_ps(r1 + i), kind);
		low2 = add_term(low2, x, _mm512_loadu_ps(r2 + i), kind);
		low3 = add_term(low3, x, _mm512_loadu_ps(r3 + i), kind);
		x = _mm512_loadu_ps(q + i + 16);
		high0 = add_term(high0, x, _mm512_loadu_ps(r0 + i + 16), kind);
		high1 = add_term(high1, x, _mm512_loadu_ps(r1 + i + 16), kind);
		high2 = add_term(high2, x, _mm512_loadu_ps(r2 + i + 16), kind);
		high3 = add_term(high3, x, _mm512_loadu_ps(r3 + i + 16), kind);
	}
	return fold_rows(_mm512_add_ps(low0, high0), _mm512_add_ps(low1, high1),
					 _mm512_add_ps(low2, high2), _mm512_add_ps(low3, high3));
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
				sums = sum_rows(q, r0, r1, r2, r3, body, kind);
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
avx512_l2sq_rows(const float *q, const void *rows, size_t stride, int n,
				 int dim, float *out)
{
	run_rows(q, rows, stride, n, dim, out, SUM_L2SQ);
}

static TARGET void
avx512_ip_rows(const float *q, const void *rows, size_t stride, int n,
			   int dim, float *out)
{
	run_rows(q, rows, stride, n, dim, out, SUM_IP);
}

/* ---- half precision ---- */

STEP __m512
load_halves(const uint16_t *half, __m512 scale)
{
	return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) half)), scale);
}

/* The first `rest` (1 .. 16) of them, +0.0 for the others (if scale is finite) */
STEP __m512
load_few_halves(const uint16_t *half, int rest, __m512 scale)
{
	__mmask16	mask = (__mmask16) ((1u << rest) - 1);

	return _mm512_maskz_mul_ps(mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, half)), scale);
}

STEP float
sum_half(const float *q, const uint16_t *half, float scale, int dim, SumKind kind)
{
	int			body = KERNEL_BODY(dim);
	__m512		factor = _mm512_set1_ps(scale);
	float		sum = 0.0f;

	if (body > 0)
	{
		__m512		low = _mm512_setzero_ps();
		__m512		high = _mm512_setzero_ps();

		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			low = add_term(low, _mm512_loadu_ps(q + i), load_halves(half + i, factor), kind);
			high = add_term(high, _mm512_loadu_ps(q + i + 16),
							load_halves(half + i + 16, factor), kind);
		}
		sum = fold(_mm512_add_ps(low, high));
	}
	if (body < dim)
	{
		float		tail[KERNEL_LANES];
		int			rest = dim - body;

		_mm512_storeu_ps(tail, load_few_halves(half + body, rest < 16 ? rest : 16, factor));
		if (rest > 16)
			_mm512_storeu_ps(tail + 16, load_few_halves(half + body + 16, rest - 16, factor));
		sum = add_tail(sum, q + body, tail, rest, kind);
	}
	return sum;
}

static TARGET float
avx512_l2sq_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_L2SQ);
}

static TARGET float
avx512_ip_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_IP);
}

static TARGET void
avx512_half_unpack(const uint16_t *half, float scale, int dim, float *out)
{
	__m512		factor = _mm512_set1_ps(scale);
	int			i = 0;

	for (; i + 16 <= dim; i += 16)
		_mm512_storeu_ps(out + i, load_halves(half + i, factor));
	if (i < dim)
		_mm512_mask_storeu_ps(out + i, (__mmask16) ((1u << (dim - i)) - 1),
							  load_few_halves(half + i, dim - i, factor));
}

static TARGET void
avx512_half_pack(const float *x, int dim, uint16_t *half, float *scale)
{
	const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
	__m512i		largest = _mm512_setzero_si512();
	__m512		factor;
	float		inverse;

	for (int i = 0; i < dim; i += 16)
	{
		__mmask16	mask = (__mmask16) (dim - i >= 16 ? 0xffff : (1 << (dim - i)) - 1);

		largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_maskz_loadu_epi32(mask, x + i), magnitude));
	}
	kernel_half_scale(_mm512_reduce_max_epu32(largest), scale, &inverse);
	factor = _mm512_set1_ps(inverse);
	for (int i = 0; i < dim; i += 16)
	{
		__mmask16	mask = (__mmask16) (dim - i >= 16 ? 0xffff : (1 << (dim - i)) - 1);
		__m512		value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);

		_mm256_mask_storeu_epi16(half + i, mask,
								 _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	}
}

/*
 * The tile: 12 rows by two registers of columns is 24 sums, which with the two
 * of the panel and one of x fill the 32 registers.
 */
#define TILE_ROWS		12
#define SMALL_ROWS		4

#define EACH_OF_4(DO)	DO(0) DO(1) DO(2) DO(3)
#define EACH_OF_12(DO)	EACH_OF_4(DO) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

#define TILE_DECLARE(r) \
	__m512		low##r = _mm512_setzero_ps(); \
	__m512		high##r = _mm512_setzero_ps();
#define TILE_STEP(r) \
	one = _mm512_set1_ps(x[r * KERNEL_TILE_STRIDE]); \
	low##r = _mm512_fmadd_ps(one, y_low, low##r); \
	high##r = _mm512_fmadd_ps(one, y_high, high##r);
#define TILE_ADD(r) \
	low##r = _mm512_add_ps(low##r, _mm512_loadu_ps(out + r * ldo)); \
	high##r = _mm512_add_ps(high##r, _mm512_loadu_ps(out + r * ldo + 16));
#define TILE_STORE(r) \
	_mm512_storeu_ps(out + r * ldo, low##r); \
	_mm512_storeu_ps(out + r * ldo + 16, high##r);

#define DEFINE_TILE(name, EACH) \
static TARGET void \
name(const float *x, const float *panel, int depth, float *out, size_t ldo, \
	 bool add) \
{ \
	__m512		one, \
				y_low, \
				y_high; \
	EACH(TILE_DECLARE) \
\
	for (int k = 0; k < depth; k++, x++, panel += KERNEL_PANEL) \
	{ \
		y_low = _mm512_loadu_ps(panel); \
		y_high = _mm512_loadu_ps(panel + 16); \
		EACH(TILE_STEP) \
	} \
	if (add) \
	{ \
		EACH(TILE_ADD) \
	} \
	EACH(TILE_STORE) \
}

DEFINE_TILE(tile, EACH_OF_12)
DEFINE_TILE(small_tile, EACH_OF_4)

static void
avx512_ip_panels(const float *x, size_t ldx, int nx, const float *panels,
				 int ny, int dim, float *out, size_t ldo)
{
	static const KernelTiles tiles = {TILE_ROWS, SMALL_ROWS, tile, small_tile};

	kernel_run_panels(&tiles, x, ldx, nx, panels, ny, dim, out, ldo);
}

#define COMMON \
	.level = KERNEL_AVX512, \
	.name = "avx512", \
	.l2sq = avx512_l2sq, \
	.ip = avx512_ip, \
	.l1 = avx512_l1, \
	.normsq = avx512_normsq, \
	.cosine = avx512_cosine, \
	.normsq_double = avx512_normsq_double, \
	.l2sq_rows = avx512_l2sq_rows, \
	.ip_rows = avx512_ip_rows, \
	.ip_panels = avx512_ip_panels, \
	.l2sq_half = avx512_l2sq_half, \
	.ip_half = avx512_ip_half, \
	.half_unpack = avx512_half_unpack, \
	.half_pack = avx512_half_pack, \
	.quantise = avx512_quantise, \
	.code_estimate = avx512_code_estimate, \
	.find_below = avx512_find_below, \
	.code_residual = avx512_code_residual, \
	.code_fit = avx512_code_fit, \
	.code_make = avx512_code_make, \
	.hadamard = avx512_hadamard, \
	KERNEL_SCAN(avx512)

const KernelTable kernel_avx512_table = {
	COMMON,
	.dot_i8 = avx2_dot_i8,
	.dot_i8_ids = avx2_dot_i8_ids,
	.code_query = avx2_code_query,
	.code_dot = avx2_code_dot,
	.code_dot_picked = avx2_code_dot_picked,
	.code_pair = avx2_code_pair,
};

/* With VPOPCNTDQ, VNNI and VBMI */
const KernelTable kernel_avx512v_table = {
	COMMON,
	.dot_i8 = avx512v_dot_i8,
	.dot_i8_ids = avx512v_dot_i8_ids,
	.code_query = avx512v_code_query,
	.code_dot = avx512v_code_dot,
	.code_dot_picked = avx512v_code_dot_picked,
	.code_pair = avx512v_code_pair,
};

#endif							/* __x86_64__ */
