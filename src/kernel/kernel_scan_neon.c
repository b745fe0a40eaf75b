/*-------------------------------------------------------------------------
 *
 * kernel_scan_neon.c
 *	  Look-ups in blocks of 32 codes with NEON (AArch64).
 *
 * A register holds one group; four of one set are added up in bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define STEP	static inline __attribute__((always_inline))

#define SETS	KERNEL_SCAN_SETS

/* x < limit ? x : limit, NaN included, which vminq treats otherwise */
STEP float32x4_t
limited(float32x4_t x)
{
	float32x4_t most = vdupq_n_f32(KERNEL_SCAN_LIMIT);
	float32x4_t least = vdupq_n_f32(-KERNEL_SCAN_LIMIT);

	x = vbslq_f32(vcltq_f32(x, most), x, most);
	return vbslq_f32(vcgtq_f32(x, least), x, least);
}

void
neon_scan_tables(const float *tables, int groups, uint8_t *lut, float *step,
				 float *bias)
{
	float		least[KERNEL_SCAN_MAX_GROUPS];
	double		sum[KERNEL_CODE_LANES] = {0};
	float		most = 0;
	float		inverse;

	for (int from = 0; from < groups; from += SETS)
	{
		int			some = groups - from < SETS ? groups - from : SETS;
		float		range[SETS] = {0};
		float32x4_t set;

		for (int g = 0; g < some; g++)
		{
			const float *table = tables + (size_t) (from + g) * 16;
			float32x4_t a = limited(vld1q_f32(table));
			float32x4_t b = limited(vld1q_f32(table + 4));
			float32x4_t c = limited(vld1q_f32(table + 8));
			float32x4_t d = limited(vld1q_f32(table + 12));
			float		low = vminvq_f32(vminq_f32(vminq_f32(a, b), vminq_f32(c, d)));

			least[from + g] = low;
			range[g] = vmaxvq_f32(vmaxq_f32(vmaxq_f32(a, b), vmaxq_f32(c, d))) - low;
			sum[g] += (double) low;
		}
		set = vaddq_f32(vaddq_f32(vld1q_f32(range), vld1q_f32(range + 8)),
						vaddq_f32(vld1q_f32(range + 4), vld1q_f32(range + 12)));
		most = vmaxvq_f32(set) > most ? vmaxvq_f32(set) : most;
	}
	for (int width = KERNEL_CODE_LANES / 2; width > 0; width /= 2)
		for (int j = 0; j < width; j++)
			sum[j] += sum[j + width];
	*bias = (float) sum[0];

	inverse = kernel_scan_inverse(most, step);
	for (int g = 0; g < groups; g++)
	{
		const float *table = tables + (size_t) g * 16;
		float32x4_t low = vdupq_n_f32(least[g]);
		uint16x4_t	entry[4];

		for (int i = 0; i < 4; i++)
		{
			float32x4_t value = vsubq_f32(limited(vld1q_f32(table + 4 * i)), low);

			entry[i] = vmovn_u32(vcvtnq_u32_f32(vmulq_n_f32(value, inverse)));
		}
		vst1q_u8(lut + (size_t) g * 16,
				 vcombine_u8(vmovn_u16(vcombine_u16(entry[0], entry[1])),
							 vmovn_u16(vcombine_u16(entry[2], entry[3]))));
	}
	memset(lut + (size_t) groups * 16, 0, kernel_scan_lut_size(groups) - (size_t) groups * 16);
}

void
neon_scan_levels(const int8_t *levels, int groups, uint8_t *lut,
				 int32_t *total, int32_t *most)
{
	int32x4_t	all = vdupq_n_s32(0);
	int32x4_t	largest = vdupq_n_s32(0);

	for (int from = 0; from < groups; from += SETS)
	{
		int32x4_t	set = vdupq_n_s32(0);

		for (int four = from; four < from + SETS; four += 4)
		{
			int8x16_t	level = vld1q_s8(levels + (size_t) four * 4);
			int32x4_t	negative = vpaddlq_s16(vpaddlq_s8(vminq_s8(level, vdupq_n_s8(0))));
			int8x16_t	bias = vreinterpretq_s8_s32(negative);

			set = vpadalq_s16(set, vpaddlq_s8(vabsq_s8(level)));
			for (int k = 0; k < 4; k++)
			{
#define PICK(bytes, i)	vqtbl1q_s8(bytes, vld1q_u8(kernel_scan_places[i] + 16 * k))
				int8x16_t	entry = vaddq_s8(vaddq_s8(PICK(level, 0), PICK(level, 1)),
											 vaddq_s8(PICK(level, 2), PICK(level, 3)));

				entry = vsubq_s8(entry, PICK(bias, 4));
				vst1q_u8(lut + (size_t) (four + k) * 16, vreinterpretq_u8_s8(entry));
#undef PICK
			}
		}
		all = vaddq_s32(all, set);
		largest = vmaxq_s32(largest, set);
	}
	*total = vaddvq_s32(all);
	*most = vmaxvq_s32(largest);
}

/* Rows 0 .. 7, 8 .. 15, 16 .. 23, 24 .. 31 */
typedef struct Sums
{
	uint16x8_t	r0;
	uint16x8_t	r8;
	uint16x8_t	r16;
	uint16x8_t	r24;
} Sums;

STEP void
widen(Sums *sums, uint8x16_t low, uint8x16_t high)
{
	sums->r0 = vaddw_u8(sums->r0, vget_low_u8(low));
	sums->r8 = vaddw_high_u8(sums->r8, low);
	sums->r16 = vaddw_u8(sums->r16, vget_low_u8(high));
	sums->r24 = vaddw_high_u8(sums->r24, high);
}

#define LOW(t, c)	vqtbl1q_u8(t, vandq_u8(c, vdupq_n_u8(15)))
#define HIGH(t, c)	vqtbl1q_u8(t, vshrq_n_u8(c, 4))

/* One set of the 16 groups */
STEP void
four_groups(const uint8_t *lut, const uint8_t *codes, Sums *sums)
{
	uint8x16_t	t0 = vld1q_u8(lut);
	uint8x16_t	t1 = vld1q_u8(lut + 64);
	uint8x16_t	t2 = vld1q_u8(lut + 128);
	uint8x16_t	t3 = vld1q_u8(lut + 192);
	uint8x16_t	c0 = vld1q_u8(codes);
	uint8x16_t	c1 = vld1q_u8(codes + 64);
	uint8x16_t	c2 = vld1q_u8(codes + 128);
	uint8x16_t	c3 = vld1q_u8(codes + 192);

	widen(sums, vaddq_u8(vaddq_u8(LOW(t0, c0), LOW(t1, c1)), vaddq_u8(LOW(t2, c2), LOW(t3, c3))),
		  vaddq_u8(vaddq_u8(HIGH(t0, c0), HIGH(t1, c1)), vaddq_u8(HIGH(t2, c2), HIGH(t3, c3))));
}

/* Eight rows more */
STEP void
put(int32_t *sums, uint16x8_t rows, int32x4_t shift)
{
	int32x4_t	low = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(rows)));
	int32x4_t	high = vreinterpretq_s32_u32(vmovl_high_u16(rows));

	vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), vshlq_s32(low, shift)));
	vst1q_s32(sums + 4, vaddq_s32(vld1q_s32(sums + 4), vshlq_s32(high, shift)));
}

void
neon_scan_blocks(const uint8_t *lut, int groups, const uint8_t *blocks,
				 size_t stride, int n, int shift, int32_t start, int32_t *sums,
				 int32_t limit, uint32_t *below)
{
	static const uint32_t bits[4] = {1, 2, 4, 8};
	int32x4_t	by = vdupq_n_s32(shift);

	for (int b = 0; b < n; b++, blocks += stride, sums += KERNEL_SCAN_ROWS)
	{
		for (int r = 0; r < KERNEL_SCAN_ROWS; r += 4)
			vst1q_s32(sums + r, vdupq_n_s32(start));
		for (int from = 0; from < groups; from += KERNEL_SCAN_PART)
		{
			int			to = groups - from < KERNEL_SCAN_PART ? groups : from + KERNEL_SCAN_PART;
			int			g = from;
			Sums		part;

			part.r0 = part.r8 = part.r16 = part.r24 = vdupq_n_u16(0);
			for (; g + SETS <= to; g += SETS)
			{
				const uint8_t *t = lut + (size_t) g * 16;
				const uint8_t *c = blocks + (size_t) g * 16;

				for (int i = 0; i < 256; i += 64)
					__builtin_prefetch(c + KERNEL_SCAN_AHEAD + i);
				four_groups(t, c, &part);
				four_groups(t + 16, c + 16, &part);
				four_groups(t + 32, c + 32, &part);
				four_groups(t + 48, c + 48, &part);
			}
			for (; g < to; g++)
			{
				uint8x16_t	t = vld1q_u8(lut + (size_t) g * 16);
				uint8x16_t	c = vld1q_u8(blocks + (size_t) g * 16);

				widen(&part, LOW(t, c), HIGH(t, c));
			}
			put(sums, part.r0, by);
			put(sums + 8, part.r8, by);
			put(sums + 16, part.r16, by);
			put(sums + 24, part.r24, by);
		}
		if (below != NULL)
		{
			below[b] = 0;
			for (int r = 0; r < KERNEL_SCAN_ROWS; r += 4)
				below[b] |= vaddvq_u32(vandq_u32(vcltq_s32(vld1q_s32(sums + r), vdupq_n_s32(limit)),
												 vld1q_u32(bits))) << r;
		}
	}
}

void
neon_scan_estimate(const int32_t *sums, int n, float step, float base,
				   float *out)
{
	int			i = 0;

	for (; i + 4 <= n; i += 4)
		vst1q_f32(out + i, vaddq_f32(vdupq_n_f32(base),
									 vmulq_n_f32(vcvtq_f32_s32(vld1q_s32(sums + i)), step)));
	if (i < n)
		scalar_scan_estimate(sums + i, n - i, step, base, out + i);
}

#endif							/* __aarch64__ */
