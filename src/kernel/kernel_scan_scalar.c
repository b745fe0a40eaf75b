/*-------------------------------------------------------------------------
 *
 * kernel_scan_scalar.c
 *	  Look-ups in blocks of 32 codes, for every machine; the oracle of the
 *	  others.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#define SETS	KERNEL_SCAN_SETS

#define PLACE(i, g, value)	((value) >> (i) & 1 ? 4 * (g) + (i) : 255)
#define FOUR_PLACES(i, g, v) \
	PLACE(i, g, v), PLACE(i, g, v + 1), PLACE(i, g, v + 2), PLACE(i, g, v + 3)
#define GROUP(i, g) \
	FOUR_PLACES(i, g, 0), FOUR_PLACES(i, g, 4), FOUR_PLACES(i, g, 8), FOUR_PLACES(i, g, 12)
#define FIRST(p)	p, p, p, p, p, p, p, p, p, p, p, p, p, p, p, p

const uint8_t kernel_scan_places[5][64] = {
	{GROUP(0, 0), GROUP(0, 1), GROUP(0, 2), GROUP(0, 3)},
	{GROUP(1, 0), GROUP(1, 1), GROUP(1, 2), GROUP(1, 3)},
	{GROUP(2, 0), GROUP(2, 1), GROUP(2, 2), GROUP(2, 3)},
	{GROUP(3, 0), GROUP(3, 1), GROUP(3, 2), GROUP(3, 3)},
	{FIRST(0), FIRST(4), FIRST(8), FIRST(12)}
};

static inline float
limited(float x)
{
	x = x < KERNEL_SCAN_LIMIT ? x : KERNEL_SCAN_LIMIT;
	return x > -KERNEL_SCAN_LIMIT ? x : -KERNEL_SCAN_LIMIT;
}

void
scalar_scan_tables(const float *tables, int groups, uint8_t *lut, float *step,
				   float *bias)
{
	const float magic = 0x1.8p23f;	/* adding it rounds to nearest even */
	float		least[KERNEL_SCAN_MAX_GROUPS];
	double		sum[KERNEL_CODE_LANES] = {0};
	float		most = 0;
	float		inverse;

	for (int from = 0; from < groups; from += SETS)
	{
		int			some = groups - from < SETS ? groups - from : SETS;
		float		range[SETS] = {0};

		for (int g = 0; g < some; g++)
		{
			const float *table = tables + (size_t) (from + g) * 16;
			float		low = KERNEL_SCAN_LIMIT;
			float		high = -KERNEL_SCAN_LIMIT;

			for (int i = 0; i < 16; i++)
			{
				float		x = limited(table[i]);

				low = x < low ? x : low;
				high = x > high ? x : high;
			}
			least[from + g] = low;
			range[g] = high - low;
			sum[g] += (double) low;
		}
		for (int c = 0; c < 4; c++)
		{
			float		set = (range[c] + range[c + 8]) + (range[c + 4] + range[c + 12]);

			most = set > most ? set : most;
		}
	}
	for (int width = KERNEL_CODE_LANES / 2; width > 0; width /= 2)
		for (int j = 0; j < width; j++)
			sum[j] += sum[j + width];
	*bias = (float) sum[0];

	inverse = kernel_scan_inverse(most, step);
	for (int g = 0; g < groups; g++)
		for (int i = 0; i < 16; i++)
		{
			float		value = (limited(tables[(size_t) g * 16 + i]) - least[g]) * inverse;

			value = (value + magic) - magic;
			lut[(size_t) g * 16 + i] = (uint8_t) (int) value;
		}
	memset(lut + (size_t) groups * 16, 0, kernel_scan_lut_size(groups) - (size_t) groups * 16);
}

void
scalar_scan_levels(const int8_t *levels, int groups, uint8_t *lut,
				   int32_t *total, int32_t *most)
{
	*total = 0;
	*most = 0;
	for (int from = 0; from < groups; from += SETS)
	{
		int			set[4] = {0};

		for (int g = 0; g < SETS; g++)
		{
			const int8_t *four = levels + (size_t) (from + g) * 4;
			uint8_t    *entry = lut + (size_t) (from + g) * 16;
			int			bias = 0;

			for (int i = 0; i < 4; i++)
			{
				bias += four[i] < 0 ? -four[i] : 0;
				set[g % 4] += four[i] < 0 ? -four[i] : four[i];
			}
			/* each level doubles the number of entries */
			entry[0] = (uint8_t) bias;
			for (int i = 0; i < 4; i++)
				for (int value = 0; value < 1 << i; value++)
					entry[value + (1 << i)] = (uint8_t) (entry[value] + four[i]);
		}
		for (int c = 0; c < 4; c++)
		{
			*total += set[c];
			*most = set[c] > *most ? set[c] : *most;
		}
	}
}

void
scalar_scan_blocks(const uint8_t *lut, int groups, const uint8_t *blocks,
				   size_t stride, int n, int shift, int32_t start, int32_t *sums,
				   int32_t limit, uint32_t *below)
{
	for (int b = 0; b < n; b++, blocks += stride, sums += KERNEL_SCAN_ROWS)
	{
		uint32_t	sum[KERNEL_SCAN_ROWS] = {0};

		for (size_t g = 0; g < (size_t) groups; g++)
			for (size_t j = 0; j < 16; j++)
			{
				unsigned	both = blocks[g * 16 + j];

				sum[j] += lut[g * 16 + (both & 15)];
				sum[j + 16] += lut[g * 16 + (both >> 4)];
			}
		for (int r = 0; r < KERNEL_SCAN_ROWS; r++)
			sums[r] = start + (int32_t) (sum[r] << shift);
		if (below != NULL)
		{
			below[b] = 0;
			for (int r = 0; r < KERNEL_SCAN_ROWS; r++)
				below[b] |= (uint32_t) (sums[r] < limit) << r;
		}
	}
}

void
scalar_scan_estimate(const int32_t *sums, int n, float step, float base,
					 float *out)
{
	for (size_t i = 0; i < (size_t) n; i++)
		out[i] = base + step * (float) sums[i];
}
