/*-------------------------------------------------------------------------
 *
 * kernel_codes_neon.c
 *	  Codes and bytes with NEON (AArch64).
 *
 * code_dot: four planes of the query, worth 1, 2, 4 and -8, as in plain C, and
 * NEON counts the bits of bytes.  A byte's weighted count lies between -64 and
 * 56, so the planes are joined before anything is widened.
 *
 * The rotation's row-wise steps in plain C are vectors of four, which is what
 * NEON has; only those within a row are written out here.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <float.h>

#define STEP	static inline __attribute__((always_inline))

/* value < most ? value : most, NaN included, which vminq treats otherwise */
STEP float32x4_t
at_most(float32x4_t value, float32x4_t most)
{
	return vbslq_f32(vcltq_f32(value, most), value, most);
}

STEP float32x4_t
at_least(float32x4_t value, float32x4_t least)
{
	return vbslq_f32(vcgtq_f32(value, least), value, least);
}

/* Without -128, two products fit 16 bits. */
STEP int32_t
dot(const int8_t *a, const int8_t *b, int dim)
{
	int32x4_t	s0 = vdupq_n_s32(0);
	int32x4_t	s1 = vdupq_n_s32(0);

	for (int i = 0; i < dim; i += 32)
	{
		int8x16_t	x = vld1q_s8(a + i);
		int8x16_t	y = vld1q_s8(b + i);
		int16x8_t	products = vmull_s8(vget_low_s8(x), vget_low_s8(y));

		s0 = vpadalq_s16(s0, vmlal_high_s8(products, x, y));
		x = vld1q_s8(a + i + 16);
		y = vld1q_s8(b + i + 16);
		products = vmull_s8(vget_low_s8(x), vget_low_s8(y));
		s1 = vpadalq_s16(s1, vmlal_high_s8(products, x, y));
	}
	return vaddvq_s32(vaddq_s32(s0, s1));
}

int32_t
neon_dot_i8(const int8_t *a, const int8_t *b, int dim)
{
	return dot(a, b, dim);
}

void
neon_dot_i8_ids(const int8_t *q, const void *base, size_t stride,
				const uint32_t *ids, int n, int dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
	{
		if (i + KERNEL_ROWS_AHEAD < n)
		{
			const char *row = (const char *) base + ids[i + KERNEL_ROWS_AHEAD] * stride;

			for (int k = 0; k < dim; k += 64)
				__builtin_prefetch(row + k);
		}
		out[i] = dot(q, (const int8_t *) base + ids[i] * stride, dim);
	}
}

/* The sum of the levels, then for each 128 dimensions four planes of 16 bytes. */
typedef struct PlaneQuery
{
	int32_t		sum;
	int32_t		unused[15];
	uint8_t		planes[][4][16];
} PlaneQuery;

void
neon_code_query(const int8_t *levels, int dims, void *mem)
{
	static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
	uint8x16_t	place = vld1q_u8(places);
	PlaneQuery *query = mem;
	int32x4_t	sum = vdupq_n_s32(0);

	for (int i = 0; i < dims; i += 16)
	{
		int8x16_t	level = vld1q_s8(levels + i);

		sum = vpadalq_s16(sum, vpaddlq_s8(level));
		for (int p = 0; p < 4; p++)
		{
			uint8x16_t	set = vtstq_u8(vreinterpretq_u8_s8(level), vdupq_n_u8((uint8_t) (1 << p)));

			set = vandq_u8(set, place);
			query->planes[i / 128][p][i / 8 % 16] = vaddv_u8(vget_low_u8(set));
			query->planes[i / 128][p][i / 8 % 16 + 1] = vaddv_u8(vget_high_u8(set));
		}
	}
	query->sum = vaddvq_s32(sum);
}

void
neon_code_dot(const void *mem, int dims, int bits, const uint8_t *codes,
			  int n, int32_t *out)
{
	const PlaneQuery *query = mem;
	int			blocks = dims / 128;

	for (int i = 0; i < n; i++)
	{
		int32_t		set = 0;

		for (int p = 0; p < bits; p++)
		{
			/* -128 .. 112 in each lane of 16 bits, from at most 128 blocks */
			int16x8_t	sum = vdupq_n_s16(0);

			for (int block = 0; block < blocks; block++, codes += 16)
			{
				uint8x16_t	code = vld1q_u8(codes);
				const uint8_t (*planes)[16] = query->planes[block];
				uint8x16_t	c0 = vcntq_u8(vandq_u8(code, vld1q_u8(planes[0])));
				uint8x16_t	c1 = vcntq_u8(vandq_u8(code, vld1q_u8(planes[1])));
				uint8x16_t	c2 = vcntq_u8(vandq_u8(code, vld1q_u8(planes[2])));
				uint8x16_t	c3 = vcntq_u8(vandq_u8(code, vld1q_u8(planes[3])));

				c0 = vaddq_u8(c0, vshlq_n_u8(c1, 1));
				c2 = vsubq_u8(c2, vshlq_n_u8(c3, 1));
				sum = vpadalq_s8(sum, vreinterpretq_s8_u8(vaddq_u8(c0, vshlq_n_u8(c2, 2))));
			}
			set = 2 * set + vaddlvq_s16(sum);
		}
		out[i] = kernel_code_result(set, bits, query->sum);
	}
}

void
neon_code_dot_picked(const void *mem, int dims, int bits, size_t plane_size,
					 const uint8_t *rows, size_t row_size, const int32_t *picked,
					 int n, int32_t *out)
{
	kernel_dot_picked(neon_code_dot, mem, dims, bits, plane_size, rows, row_size, picked, n, out);
}

int32_t
neon_code_pair(const uint8_t *a, const uint8_t *b, int dims, int bits)
{
	int			plane = dims / 8;
	int32_t		weights = (1 << bits) - 1;
	int32_t		sum = 0;

	for (int p = 0; p < bits; p++)
		for (int q = 0; q < bits; q++)
		{
			uint16x8_t	count = vdupq_n_u16(0);

			for (int i = 0; i < plane; i += 16)
				count = vpadalq_u8(count, vcntq_u8(veorq_u8(vld1q_u8(a + p * plane + i),
															vld1q_u8(b + q * plane + i))));
			sum += (int32_t) vaddlvq_u16(count) << (2 * bits - 2 - p - q);
		}
	return dims * weights * weights - 2 * sum;
}

void
neon_code_estimate(const int32_t *dots, const float *factors, int n,
				   float step, float base, float *out)
{
	int			i = 0;

	for (; i + 4 <= n; i += 4)
	{
		float32x4x2_t factor = vld2q_f32(factors + 2 * i);
		float32x4_t value = vmulq_n_f32(vcvtq_f32_s32(vld1q_s32(dots + i)), step);

		value = vaddq_f32(vaddq_f32(vdupq_n_f32(base), factor.val[0]), vmulq_f32(factor.val[1], value));
		value = at_most(at_least(value, vdupq_n_f32(-FLT_MAX)), vdupq_n_f32(FLT_MAX));
		vst1q_f32(out + i, value);
	}
	if (i < n)
		scalar_code_estimate(dots + i, factors + 2 * i, n - i, step, base, out + i);
}

int
neon_find_below(const float *values, int n, float limit, int32_t *below)
{
	/* no instruction makes numbers of a comparison's lanes */
	return scalar_find_below(values, n, limit, below);
}

/* ---- making codes: 16 lanes are eight registers of double ---- */

#define ADD_WIDE(sum, at, x) \
	do { \
		(sum)[at] = vaddq_f64((sum)[at], vcvt_f64_f32(vget_low_f32(x))); \
		(sum)[(at) + 1] = vaddq_f64((sum)[(at) + 1], vcvt_high_f64_f32(x)); \
	} while (0)
#define ADD_WIDE_PRODUCT(sum, at, x, y) \
	do { \
		(sum)[at] = vaddq_f64((sum)[at], vmulq_f64(vcvt_f64_f32(vget_low_f32(x)), \
												   vcvt_f64_f32(vget_low_f32(y)))); \
		(sum)[(at) + 1] = vaddq_f64((sum)[(at) + 1], vmulq_f64(vcvt_high_f64_f32(x), \
															   vcvt_high_f64_f32(y))); \
	} while (0)

/* Lanes j + 8, j + 4, j + 2, j + 1 */
STEP double
fold_double(const float64x2_t *s)
{
	float64x2_t four0 = vaddq_f64(vaddq_f64(s[0], s[4]), vaddq_f64(s[2], s[6]));
	float64x2_t four1 = vaddq_f64(vaddq_f64(s[1], s[5]), vaddq_f64(s[3], s[7]));
	float64x2_t two = vaddq_f64(four0, four1);

	return vgetq_lane_f64(two, 0) + vgetq_lane_f64(two, 1);
}

STEP float
fold_float(const float32x4_t *s)
{
	float32x4_t four = vaddq_f32(vaddq_f32(s[0], s[2]), vaddq_f32(s[1], s[3]));
	float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));

	return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

double
neon_quantise(const float *x, int dim, float inverse, int limit, int8_t *out)
{
	float32x4_t most = vdupq_n_f32((float) limit);
	float32x4_t least = vdupq_n_f32((float) -limit);
	float64x2_t sum[8];

	for (int g = 0; g < 8; g++)
		sum[g] = vdupq_n_f64(0);
	for (int i = 0; i < dim; i += 16)
	{
		const float *from = x + i;
		int			rest = dim - i < 16 ? dim - i : 16;
		float		few[16] = {0};
		int16x4_t	level[4];
		int8x16_t	bytes;

		if (rest < 16)
		{
			memcpy(few, from, sizeof(float) * rest);
			from = few;
		}
		for (int g = 0; g < 4; g++)
		{
			float32x4_t exact = vld1q_f32(from + 4 * g);
			float32x4_t value = at_least(at_most(vmulq_n_f32(exact, inverse), most), least);
			int32x4_t	rounded = vcvtnq_s32_f32(value);

			value = vcvtq_f32_s32(rounded);
			ADD_WIDE_PRODUCT(sum, 2 * g, exact, value);
			level[g] = vmovn_s32(rounded);
		}
		bytes = vcombine_s8(vmovn_s16(vcombine_s16(level[0], level[1])),
							vmovn_s16(vcombine_s16(level[2], level[3])));
		if (rest == 16)
			vst1q_s8(out + i, bytes);
		else
		{
			int8_t		last[16];

			vst1q_s8(last, bytes);
			memcpy(out + i, last, rest);
		}
	}
	return fold_double(sum);
}

void
neon_code_residual(const float *x, const float *c, const float *mean,
				   int dim, double *rr, double *rc)
{
	float64x2_t square[8];
	float64x2_t owner[8];

	for (int g = 0; g < 8; g++)
		square[g] = owner[g] = vdupq_n_f64(0);
	for (int i = 0; i < dim; i += 16)
		for (int g = 0; g < 4; g++)
		{
			float32x4_t own = vld1q_f32(c + i + 4 * g);
			float32x4_t r = vsubq_f32(vld1q_f32(x + i + 4 * g), own);

			ADD_WIDE_PRODUCT(square, 2 * g, r, r);
			if (rc != NULL)
			{
				float64x2_t low = vcvt_f64_f32(vget_low_f32(own));
				float64x2_t high = vcvt_high_f64_f32(own);

				if (mean != NULL)
				{
					float32x4_t m = vld1q_f32(mean + i + 4 * g);

					low = vaddq_f64(low, vcvt_f64_f32(vget_low_f32(m)));
					high = vaddq_f64(high, vcvt_high_f64_f32(m));
				}
				owner[2 * g] = vaddq_f64(owner[2 * g], vmulq_f64(vcvt_f64_f32(vget_low_f32(r)), low));
				owner[2 * g + 1] = vaddq_f64(owner[2 * g + 1], vmulq_f64(vcvt_high_f64_f32(r), high));
			}
		}
	*rr = fold_double(square);
	if (rc != NULL)
		*rc = fold_double(owner);
}

/* 2 x + 1 */
STEP float32x4_t
odd_of(float32x4_t x)
{
	return vaddq_f32(vaddq_f32(x, x), vdupq_n_f32(1.0f));
}

void
neon_code_fit(const float *x, const float *c, int dims,
			  const float inverse[3], float top, double fit[3])
{
	float32x4_t most = vdupq_n_f32(top);

	for (int s = 0; s < 3; s++)
	{
		float32x4_t ur[4];
		float32x4_t uu[4];
		double		sum;

		for (int g = 0; g < 4; g++)
			ur[g] = uu[g] = vdupq_n_f32(0);
		for (int i = 0; i < dims; i += 16)
			for (int g = 0; g < 4; g++)
			{
				float32x4_t r = vabsq_f32(vsubq_f32(vld1q_f32(x + i + 4 * g), vld1q_f32(c + i + 4 * g)));
				float32x4_t u = odd_of(vrndq_f32(at_most(vmulq_n_f32(r, inverse[s]), most)));

				ur[g] = vaddq_f32(ur[g], vmulq_f32(r, u));
				uu[g] = vaddq_f32(uu[g], vmulq_f32(u, u));
			}
		sum = fold_float(ur);
		fit[s] = sum * sum / fold_float(uu);
	}
}

STEP void
make_code(const float *x, const float *c, int dims, int bits, float inverse,
		  uint8_t *code, double *ur, double *uc)
{
	static const uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
	uint16x8_t	place = vld1q_u16(places);
	float32x4_t most = vdupq_n_f32((float) ((1 << (bits - 1)) - 1));
	float64x2_t with_r[8];
	float64x2_t with_c[8];
	size_t		plane = (size_t) dims / 8;

	for (int g = 0; g < 8; g++)
		with_r[g] = with_c[g] = vdupq_n_f64(0);
	for (int i = 0; i < dims; i += 16)
		for (int h = 0; h < 2; h++)
		{
			uint16x4_t	negative[2];
			uint16x4_t	level[2];
			uint16x8_t	minus;

			for (int g = 2 * h; g < 2 * h + 2; g++)
			{
				float32x4_t own = vld1q_f32(c + i + 4 * g);
				float32x4_t r = vsubq_f32(vld1q_f32(x + i + 4 * g), own);
				uint32x4_t	below = vcltq_f32(r, vdupq_n_f32(0));

				negative[g % 2] = vmovn_u32(below);
				r = vabsq_f32(r);
				own = vbslq_f32(below, vnegq_f32(own), own);
				if (bits == 1)
				{
					ADD_WIDE(with_r, 2 * g, r);
					ADD_WIDE(with_c, 2 * g, own);
				}
				else
				{
					uint32x4_t	steps = vcvtq_u32_f32(at_most(vmulq_n_f32(r, inverse), most));
					float32x4_t u = odd_of(vcvtq_f32_u32(steps));

					level[g % 2] = vmovn_u32(steps);
					ADD_WIDE_PRODUCT(with_r, 2 * g, r, u);
					ADD_WIDE_PRODUCT(with_c, 2 * g, own, u);
				}
			}
			minus = vcombine_u16(negative[0], negative[1]);
			code[i / 8 + h] = (uint8_t) vaddvq_u16(vbicq_u16(place, minus));
			if (bits > 1)
				for (int p = 1; p < bits; p++)
				{
					uint16x8_t	set = vtstq_u16(vcombine_u16(level[0], level[1]),
												vdupq_n_u16((uint16_t) (1 << (bits - 1 - p))));

					code[p * plane + i / 8 + h] = (uint8_t) vaddvq_u16(vandq_u16(place, veorq_u16(set, minus)));
				}
		}
	*ur = fold_double(with_r);
	*uc = fold_double(with_c);
}

void
neon_code_make(const float *x, const float *c, int dims, int bits,
			   float inverse, uint8_t *code, double *ur, double *uc)
{
	if (bits == 1)
		make_code(x, c, dims, 1, inverse, code, ur, uc);
	else if (bits == 2)
		make_code(x, c, dims, 2, inverse, code, ur, uc);
	else
		make_code(x, c, dims, 4, inverse, code, ur, uc);
}

/* ---- rotation: a row is four registers ---- */

void
neon_hadamard(const float *x, float *y, int rows, int radix,
			  const uint32_t *signs, bool within, float scale)
{
	scalar_hadamard(x, y, rows, radix, signs, false, 1.0f);
	if (!within)
		return;
	for (int row = 0; row < rows; row++, y += 16)
	{
		float32x4_t r0 = vld1q_f32(y);
		float32x4_t r1 = vld1q_f32(y + 4);
		float32x4_t r2 = vld1q_f32(y + 8);
		float32x4_t r3 = vld1q_f32(y + 12);
		float32x4_t s[4];

		s[0] = vaddq_f32(r0, r2);
		s[1] = vaddq_f32(r1, r3);
		s[2] = vsubq_f32(r0, r2);
		s[3] = vsubq_f32(r1, r3);
		r0 = vaddq_f32(s[0], s[1]);
		r1 = vsubq_f32(s[0], s[1]);
		r2 = vaddq_f32(s[2], s[3]);
		r3 = vsubq_f32(s[2], s[3]);
		s[0] = r0;
		s[1] = r1;
		s[2] = r2;
		s[3] = r3;
		for (int g = 0; g < 4; g++)
		{
			float32x2_t low = vget_low_f32(s[g]);
			float32x2_t high = vget_high_f32(s[g]);
			float32x4_t four = vcombine_f32(vadd_f32(low, high), vsub_f32(low, high));
			float32x4_t first = vtrn1q_f32(four, four);
			float32x4_t second = vtrn2q_f32(four, four);

			four = vtrn1q_f32(vaddq_f32(first, second), vsubq_f32(first, second));
			vst1q_f32(y + 4 * g, vmulq_n_f32(four, scale));
		}
	}
}

#endif							/* __aarch64__ */
