/*-------------------------------------------------------------------------
 *
 * kernel_neon.c
 *	  NEON (AArch64): the 32 lanes are eight registers.
 *
 * Eight chains of additions keep any core busy, so rows are taken one by one.
 *
 * Elements behind the end of a tail are read as +0.0.  A lane starts at +0.0
 * and so never becomes -0.0 (round to nearest), hence adding the +0.0 such an
 * element yields changes no bit.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define STEP	static inline __attribute__((always_inline))

#define EACH_OF_8(DO) \
	DO(0); DO(1); DO(2); DO(3); DO(4); DO(5); DO(6); DO(7)
#define EACH_OF_16(DO) \
	EACH_OF_8(DO); DO(8); DO(9); DO(10); DO(11); DO(12); DO(13); DO(14); DO(15)

/* vmulq and vaddq, not vmlaq or vfmaq: rounded separately. */
STEP float32x4_t
add_term(float32x4_t sum, float32x4_t a, float32x4_t b, SumKind kind)
{
	float32x4_t d;

	switch (kind)
	{
		case SUM_L2SQ:
			d = vsubq_f32(a, b);
			return vaddq_f32(sum, vmulq_f32(d, d));
		case SUM_IP:
			return vaddq_f32(sum, vmulq_f32(a, b));
		case SUM_L1:
		default:
			return vaddq_f32(sum, vabdq_f32(a, b));
	}
}

/* The first `rest` (>= 1) of four elements, +0.0 for the others. */
STEP float32x4_t
load_rest(const float *a, int rest)
{
	float32x4_t four = vdupq_n_f32(0.0f);

	if (rest >= 4)
		return vld1q_f32(a);
	four = vld1q_lane_f32(a, four, 0);
	if (rest > 1)
		four = vld1q_lane_f32(a + 1, four, 1);
	if (rest > 2)
		four = vld1q_lane_f32(a + 2, four, 2);
	return four;
}

/* Lanes j + 16, j + 8, j + 4: whole registers; then j + 2 and j + 1. */
STEP float
fold(float32x4_t s0, float32x4_t s1, float32x4_t s2, float32x4_t s3,
	 float32x4_t s4, float32x4_t s5, float32x4_t s6, float32x4_t s7)
{
	float32x4_t four = vaddq_f32(vaddq_f32(vaddq_f32(s0, s4), vaddq_f32(s2, s6)),
								 vaddq_f32(vaddq_f32(s1, s5), vaddq_f32(s3, s7)));
	float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));

	return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

STEP float64x2_t
add_term_double(float64x2_t sum, float64x2_t a, float64x2_t b, SumKind kind)
{
	float64x2_t d;

	switch (kind)
	{
		case SUM_L2SQ:
			d = vsubq_f64(a, b);
			return vaddq_f64(sum, vmulq_f64(d, d));
		case SUM_IP:
			return vaddq_f64(sum, vmulq_f64(a, b));
		case SUM_L1:
		default:
			return vaddq_f64(sum, vabdq_f64(a, b));
	}
}

/* body + the sum of the tail's `rest` elements; lanes j + 4, j + 2, j + 1 */
STEP float
add_tail(float body, const float *a, const float *b, int rest, SumKind kind)
{
	float64x2_t s0 = vdupq_n_f64(0.0);
	float64x2_t s1 = vdupq_n_f64(0.0);
	float64x2_t s2 = vdupq_n_f64(0.0);
	float64x2_t s3 = vdupq_n_f64(0.0);
	float32x4_t x,
				y;

#define ADD(low, high, from) \
	do { \
		x = load_rest(a + from, rest - from); \
		y = load_rest(b + from, rest - from); \
		low = add_term_double(low, vcvt_f64_f32(vget_low_f32(x)), \
							  vcvt_f64_f32(vget_low_f32(y)), kind); \
		high = add_term_double(high, vcvt_high_f64_f32(x), vcvt_high_f64_f32(y), kind); \
	} while (0)

	for (; rest > 0; rest -= 8, a += 8, b += 8)
	{
		ADD(s0, s1, 0);
		if (rest > 4)
			ADD(s2, s3, 4);
	}
#undef ADD

	s0 = vaddq_f64(vaddq_f64(s0, s2), vaddq_f64(s1, s3));
	return (float) ((double) body + (vgetq_lane_f64(s0, 0) + vgetq_lane_f64(s0, 1)));
}

STEP float
sum_pair(const float *a, const float *b, int dim, SumKind kind)
{
	int			body = KERNEL_BODY(dim);
	float		sum = 0.0f;

#define DECLARE(g) \
	float32x4_t s##g = vdupq_n_f32(0.0f)
#define WHOLE(g) \
	s##g = add_term(s##g, vld1q_f32(a + i + 4 * g), vld1q_f32(b + i + 4 * g), kind)

	if (body > 0)
	{
		EACH_OF_8(DECLARE);
		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			EACH_OF_8(WHOLE);
		}
		sum = fold(s0, s1, s2, s3, s4, s5, s6, s7);
	}
#undef DECLARE
#undef WHOLE

	if (body < dim)
		sum = add_tail(sum, a + body, b + body, dim - body, kind);
	return sum;
}

static float
neon_l2sq(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L2SQ);
}

static float
neon_ip(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_IP);
}

static float
neon_l1(const float *a, const float *b, int dim)
{
	return sum_pair(a, b, dim, SUM_L1);
}

static float
neon_normsq(const float *a, int dim)
{
	return sum_pair(a, a, dim, SUM_IP);
}

static void
neon_cosine(const float *a, const float *b, int dim,
			float *ab, float *aa, float *bb)
{
	int			body = KERNEL_BODY(dim);
	int			rest = dim - body;

#define DECLARE(g) \
	float32x4_t ab##g = vdupq_n_f32(0.0f); \
	float32x4_t aa##g = vdupq_n_f32(0.0f); \
	float32x4_t bb##g = vdupq_n_f32(0.0f)
#define WHOLE(g) \
	do { \
		float32x4_t x = vld1q_f32(a + i + 4 * g); \
		float32x4_t y = vld1q_f32(b + i + 4 * g); \
\
		ab##g = add_term(ab##g, x, y, SUM_IP); \
		aa##g = add_term(aa##g, x, x, SUM_IP); \
		bb##g = add_term(bb##g, y, y, SUM_IP); \
	} while (0)

	*ab = *aa = *bb = 0.0f;
	if (body > 0)
	{
		EACH_OF_8(DECLARE);
		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			EACH_OF_8(WHOLE);
		}
		*ab = fold(ab0, ab1, ab2, ab3, ab4, ab5, ab6, ab7);
		*aa = fold(aa0, aa1, aa2, aa3, aa4, aa5, aa6, aa7);
		*bb = fold(bb0, bb1, bb2, bb3, bb4, bb5, bb6, bb7);
	}
#undef DECLARE
#undef WHOLE

	if (rest > 0)
	{
		*ab = add_tail(*ab, a + body, b + body, rest, SUM_IP);
		*aa = add_tail(*aa, a + body, a + body, rest, SUM_IP);
		*bb = add_tail(*bb, b + body, b + body, rest, SUM_IP);
	}
}

static double
neon_normsq_double(const float *a, int dim)
{
	float64x2_t x;
	int			i = 0;

#define DECLARE(g) \
	float64x2_t s##g = vdupq_n_f64(0.0)
#define ADD(g, pair) \
	do { \
		x = vcvt_f64_f32(pair); \
		s##g = vaddq_f64(s##g, vmulq_f64(x, x)); \
	} while (0)
#define WHOLE(g)	ADD(g, vld1_f32(a + i + 2 * g))
#define REST(g) \
	do { \
		if (dim - i > 2 * g) \
			ADD(g, vget_low_f32(load_rest(a + i + 2 * g, \
										  dim - i > 2 * g + 1 ? 2 : 1))); \
	} while (0)

	EACH_OF_16(DECLARE);
	for (; i + KERNEL_LANES <= dim; i += KERNEL_LANES)
	{
		EACH_OF_16(WHOLE);
	}
	EACH_OF_16(REST);
#undef DECLARE
#undef ADD
#undef WHOLE
#undef REST

	/* lanes j + 16, then j + 8, j + 4, j + 2, j + 1 */
#define JOIN(g, h)	s##g = vaddq_f64(s##g, s##h)
	JOIN(0, 8);
	JOIN(1, 9);
	JOIN(2, 10);
	JOIN(3, 11);
	JOIN(4, 12);
	JOIN(5, 13);
	JOIN(6, 14);
	JOIN(7, 15);
	JOIN(0, 4);
	JOIN(1, 5);
	JOIN(2, 6);
	JOIN(3, 7);
	JOIN(0, 2);
	JOIN(1, 3);
	JOIN(0, 1);
#undef JOIN
	return vgetq_lane_f64(s0, 0) + vgetq_lane_f64(s0, 1);
}

static void
neon_l2sq_rows(const float *q, const void *rows, size_t stride, int n,
			   int dim, float *out)
{
	const char *row = rows;

	for (int i = 0; i < n; i++, row += stride)
		out[i] = sum_pair(q, (const float *) row, dim, SUM_L2SQ);
}

static void
neon_ip_rows(const float *q, const void *rows, size_t stride, int n,
			 int dim, float *out)
{
	const char *row = rows;

	for (int i = 0; i < n; i++, row += stride)
		out[i] = sum_pair(q, (const float *) row, dim, SUM_IP);
}

/* ---- half precision ---- */

STEP float32x4_t
load_halves(const uint16_t *half, float scale)
{
	return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half))), scale);
}

/* The last `rest` (1 .. 31) elements as floats, any number behind them */
STEP void
unpack_tail(const uint16_t *half, int rest, float scale, float *tail)
{
	uint16_t	copy[KERNEL_LANES] = {0};

	memcpy(copy, half, sizeof(uint16_t) * rest);
	for (int i = 0; i < rest; i += 4)
		vst1q_f32(tail + i, load_halves(copy + i, scale));
}

STEP float
sum_half(const float *q, const uint16_t *half, float scale, int dim, SumKind kind)
{
	int			body = KERNEL_BODY(dim);
	float		sum = 0.0f;

#define DECLARE(g) \
	float32x4_t s##g = vdupq_n_f32(0.0f)
#define WHOLE(g) \
	s##g = add_term(s##g, vld1q_f32(q + i + 4 * g), load_halves(half + i + 4 * g, scale), kind)

	if (body > 0)
	{
		EACH_OF_8(DECLARE);
		for (int i = 0; i < body; i += KERNEL_LANES)
		{
			EACH_OF_8(WHOLE);
		}
		sum = fold(s0, s1, s2, s3, s4, s5, s6, s7);
	}
#undef DECLARE
#undef WHOLE

	if (body < dim)
	{
		float		tail[KERNEL_LANES];

		unpack_tail(half + body, dim - body, scale, tail);
		sum = add_tail(sum, q + body, tail, dim - body, kind);
	}
	return sum;
}

static float
neon_l2sq_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_L2SQ);
}

static float
neon_ip_half(const float *q, const uint16_t *half, float scale, int dim)
{
	return sum_half(q, half, scale, dim, SUM_IP);
}

static void
neon_half_unpack(const uint16_t *half, float scale, int dim, float *out)
{
	int			i = 0;

	for (; i + 4 <= dim; i += 4)
		vst1q_f32(out + i, load_halves(half + i, scale));
	if (i < dim)
	{
		float		tail[KERNEL_LANES];

		unpack_tail(half + i, dim - i, scale, tail);
		memcpy(out + i, tail, sizeof(float) * (dim - i));
	}
}

static void
neon_half_pack(const float *x, int dim, uint16_t *half, float *scale)
{
	uint32x4_t	largest = vdupq_n_u32(0);
	float		inverse;
	float		tail[4] = {0};
	int			whole = dim & ~3;

	memcpy(tail, x + whole, sizeof(float) * (dim - whole));
	for (int i = 0; i < whole; i += 4)
		largest = vmaxq_u32(largest, vbicq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x80000000)));
	largest = vmaxq_u32(largest, vbicq_u32(vreinterpretq_u32_f32(vld1q_f32(tail)), vdupq_n_u32(0x80000000)));
	kernel_half_scale(vmaxvq_u32(largest), scale, &inverse);
	for (int i = 0; i < whole; i += 4)
		vst1_u16(half + i, vreinterpret_u16_f16(vcvt_f16_f32(vmulq_n_f32(vld1q_f32(x + i), inverse))));
	if (whole < dim)
	{
		uint16_t	last[4];

		vst1_u16(last, vreinterpret_u16_f16(vcvt_f16_f32(vmulq_n_f32(vld1q_f32(tail), inverse))));
		memcpy(half + whole, last, sizeof(uint16_t) * (dim - whole));
	}
}

/*
 * The tile: 6 rows by four registers of columns is 24 sums, which with the four
 * of the panel leave room for x.  So a panel is two halves.
 */
#define TILE_ROWS		6
#define SMALL_ROWS		2

#define EACH_OF_2(DO)	DO(0) DO(1)
#define EACH_OF_6(DO)	EACH_OF_2(DO) DO(2) DO(3) DO(4) DO(5)

#define TILE_DECLARE(r) \
	float32x4_t a##r = vdupq_n_f32(0.0f); \
	float32x4_t b##r = vdupq_n_f32(0.0f); \
	float32x4_t c##r = vdupq_n_f32(0.0f); \
	float32x4_t d##r = vdupq_n_f32(0.0f);
#define TILE_STEP(r) \
	one = x[r * KERNEL_TILE_STRIDE]; \
	a##r = vfmaq_n_f32(a##r, ya, one); \
	b##r = vfmaq_n_f32(b##r, yb, one); \
	c##r = vfmaq_n_f32(c##r, yc, one); \
	d##r = vfmaq_n_f32(d##r, yd, one);
#define TILE_ADD(r) \
	a##r = vaddq_f32(a##r, vld1q_f32(out + r * ldo)); \
	b##r = vaddq_f32(b##r, vld1q_f32(out + r * ldo + 4)); \
	c##r = vaddq_f32(c##r, vld1q_f32(out + r * ldo + 8)); \
	d##r = vaddq_f32(d##r, vld1q_f32(out + r * ldo + 12));
#define TILE_STORE(r) \
	vst1q_f32(out + r * ldo, a##r); \
	vst1q_f32(out + r * ldo + 4, b##r); \
	vst1q_f32(out + r * ldo + 8, c##r); \
	vst1q_f32(out + r * ldo + 12, d##r);

#define DEFINE_TILE(name, EACH) \
static void \
name##_half(const float *x, const float *panel, int depth, float *out, \
			size_t ldo, bool add) \
{ \
	float32x4_t ya, \
				yb, \
				yc, \
				yd; \
	float		one; \
	EACH(TILE_DECLARE) \
\
	for (int k = 0; k < depth; k++, x++, panel += KERNEL_PANEL) \
	{ \
		ya = vld1q_f32(panel); \
		yb = vld1q_f32(panel + 4); \
		yc = vld1q_f32(panel + 8); \
		yd = vld1q_f32(panel + 12); \
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
neon_ip_panels(const float *x, size_t ldx, int nx, const float *panels,
			   int ny, int dim, float *out, size_t ldo)
{
	static const KernelTiles tiles = {TILE_ROWS, SMALL_ROWS, tile, small_tile};

	kernel_run_panels(&tiles, x, ldx, nx, panels, ny, dim, out, ldo);
}

const KernelTable kernel_neon_table = {
	.level = KERNEL_NEON,
	.name = "neon",
	.l2sq = neon_l2sq,
	.ip = neon_ip,
	.l1 = neon_l1,
	.normsq = neon_normsq,
	.cosine = neon_cosine,
	.normsq_double = neon_normsq_double,
	.l2sq_rows = neon_l2sq_rows,
	.ip_rows = neon_ip_rows,
	.ip_panels = neon_ip_panels,
	.l2sq_half = neon_l2sq_half,
	.ip_half = neon_ip_half,
	.half_unpack = neon_half_unpack,
	.half_pack = neon_half_pack,
	KERNEL_CODES(neon),
	KERNEL_SCAN(neon),
};

#endif							/* __aarch64__ */
