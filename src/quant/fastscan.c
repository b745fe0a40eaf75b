/*-------------------------------------------------------------------------
 *
 * fastscan.c
 *	  Blocks of 32 codes: packing, queries, estimates.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/fastscan.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ROWS	FASTSCAN_ROWS

/* Blocks estimated at once: their integers stay in the first-level cache. */
#define BATCH	16

/* One step of fastscan_query_fine()'s levels, in units of the query's root mean square */
#define FINE_STEP	0.1
#define FINE_LIMIT	63

/* What a set of 16 levels may add up to: it must fit a byte. */
#define SET_LIMIT	255

/* ------------------------------------------------------------------- blocks */

void
fastscan_pack(const uint8_t *codes, size_t stride, int n, int groups, uint8_t *block)
{
	static const uint8_t none[KERNEL_SCAN_MAX_GROUPS / 2];
	const uint8_t *rows[ROWS];

	for (int r = 0; r < ROWS; r++)
		rows[r] = r < n ? codes + (size_t) r * stride : none;
	for (int g = 0; g < groups; g += 2, block += 16)
	{
		for (int j = 0; j < 16; j++)
			block[j] = (uint8_t) ((rows[j][g / 2] & 15) | rows[j + 16][g / 2] << 4);
		if (g + 1 == groups)
			return;
		block += 16;
		for (int j = 0; j < 16; j++)
			block[j] = (uint8_t) (rows[j][g / 2] >> 4 | (rows[j + 16][g / 2] & 0xf0));
	}
}

void
fastscan_unpack(const uint8_t *block, int groups, int row, uint8_t *code)
{
	int			shift = row < 16 ? 0 : 4;

	block += row % 16;
	for (int g = 0; g < groups; g += 2)
	{
		unsigned	byte = block[(size_t) g * 16] >> shift & 15;

		if (g + 1 < groups)
			byte |= (unsigned) (block[(size_t) g * 16 + 16] >> shift & 15) << 4;
		code[g / 2] = (uint8_t) byte;
	}
}

static inline void
put(uint8_t *byte, int row, unsigned value)
{
	*byte = (uint8_t) (row < 16 ? (*byte & 0xf0) | value : (*byte & 15) | value << 4);
}

void
fastscan_replace(uint8_t *block, int groups, int row, const uint8_t *code)
{
	for (int g = 0; g < groups; g++)
		put(block + (size_t) g * 16 + row % 16, row, (unsigned) code[g / 2] >> g % 2 * 4 & 15);
}

void
fastscan_exchange(uint8_t *a, int row_a, uint8_t *b, int row_b, int groups)
{
	for (int g = 0; g < groups; g++)
	{
		uint8_t    *in_a = a + (size_t) g * 16 + row_a % 16;
		uint8_t    *in_b = b + (size_t) g * 16 + row_b % 16;
		unsigned	of_a = (unsigned) *in_a >> (row_a < 16 ? 0 : 4) & 15;
		unsigned	of_b = (unsigned) *in_b >> (row_b < 16 ? 0 : 4) & 15;

		put(in_a, row_a, of_b);
		put(in_b, row_b, of_a);
	}
}

/* ------------------------------------------------------------------ queries */

size_t
fastscan_query_size(int groups)
{
	/* the look-up table; levels of a query, four to a group */
	return kernel_scan_lut_size(groups) + (size_t) groups * 4;
}

void
fastscan_query_tables(FastscanQuery *query, const float *tables, int groups, void *mem)
{
	query->groups = groups;
	query->shift = 0;
	query->start = 0;
	query->lut = mem;
	kernel->scan_tables(tables, groups, query->lut, &query->step, &query->bias);
}

/* <u, levels> = 2 * sum - the sum of |levels|; returns what the largest set may add up to */
static int32_t
of_levels(FastscanQuery *query, const int8_t *levels, int groups, float step, void *mem)
{
	int32_t		total;
	int32_t		most;

	query->groups = groups;
	query->shift = 1;
	query->step = step;
	query->bias = 0;
	query->lut = mem;
	kernel->scan_levels(levels, groups, query->lut, &total, &most);
	query->start = -total;
	return most;
}

void
fastscan_query_rabitq(FastscanQuery *query, const RabitqQuery *rabitq, int groups, void *mem)
{
	/* levels to 7: at most 16 * 7 in a set */
	of_levels(query, rabitq_query_levels(rabitq), groups, rabitq->step, mem);
}

void
fastscan_query_fine(FastscanQuery *query, const float *q, int code_dims, void *mem)
{
	int8_t	   *levels = (int8_t *) mem + kernel_scan_lut_size(code_dims / 4);
	double		norm = kernel->normsq_double(q, code_dims);
	double		step = FINE_STEP * sqrt(norm / code_dims);

	for (;;)
	{
		int32_t		most;
		float		scale = 0;

		/* an inverse beyond float: no different from zero */
		if (step > 2.0 / FLT_MAX && step <= FLT_MAX)
		{
			double		along = kernel->quantise(q, code_dims, (float) (1 / step), FINE_LIMIT, levels);

			/* what leaves no error along q itself, as in rabitq.c */
			scale = (float) (norm / along);
		}
		else
			memset(levels, 0, code_dims);
		most = of_levels(query, levels, code_dims / 4, scale, mem);
		if (most <= SET_LIMIT)
			return;

		/*
		 * One dimension far above the others: rare after a rotation.  A step
		 * so much longer and a little more, since levels round up, too.
		 */
		step *= 1.05 * most / SET_LIMIT;
	}
}

/* ---------------------------------------------------------------- estimates */

void
fastscan_estimate(const FastscanQuery *query, float base, const uint8_t *blocks,
				  size_t stride, int n, float *out)
{
	int32_t		sums[BATCH * ROWS];

	base += query->bias;
	for (int i = 0; i < n; i += BATCH)
	{
		int			now = n - i < BATCH ? n - i : BATCH;

		kernel->scan_blocks(query->lut, query->groups, blocks + i * stride, stride, now,
							query->shift, query->start, sums, 0, NULL);
		kernel->scan_estimate(sums, now * ROWS, query->step, base, out + (size_t) i * ROWS);
	}
}

void
fastscan_below(const FastscanQuery *query, float base, float limit,
			   const uint8_t *blocks, size_t stride, int n, int32_t *sums, uint32_t *below)
{
	int32_t		most = INT32_MAX;

	if (query->step > 0)
	{
		/* a step more, and what estimates may lose by rounding, four times over */
		double		size = fabs((double) limit) + fabs((double) base) + fabs((double) query->bias);
		double		steps = ((double) limit - base - query->bias + size * 0x1p-22) / query->step + 2;

		/* not a number: all rows */
		if (steps < INT32_MAX)
			most = steps > 0 ? (int32_t) steps : 0;
	}
	kernel->scan_blocks(query->lut, query->groups, blocks, stride, n,
						query->shift, query->start, sums, most, below);
}

void
fastscan_estimate_rabitq(const FastscanQuery *query, float base,
						 const uint8_t *blocks, size_t stride,
						 const RabitqFactor *factors, size_t factors_stride,
						 int n, float *out)
{
	int32_t		sums[BATCH * ROWS];

	for (int i = 0; i < n; i += BATCH)
	{
		int			now = n - i < BATCH ? n - i : BATCH;

		kernel->scan_blocks(query->lut, query->groups, blocks + i * stride, stride, now,
							query->shift, query->start, sums, 0, NULL);
		for (int b = 0; b < now; b++)
		{
			const RabitqFactor *of_block =
			(const RabitqFactor *) ((const char *) factors + (size_t) (i + b) * factors_stride);

			kernel->code_estimate(sums + b * ROWS, &of_block->add, ROWS, query->step, base,
								  out + (size_t) (i + b) * ROWS);
		}
	}
}

void
fastscan_scan(const FastscanQuery *query, int first, int groups,
			  const uint8_t *blocks, size_t stride, int n, int32_t *sums)
{
	int32_t		more[BATCH * ROWS];
	const uint8_t *lut = query->lut + (size_t) first * 16;

	if (first == 0)
	{
		kernel->scan_blocks(lut, groups, blocks, stride, n, query->shift, query->start, sums, 0, NULL);
		return;
	}
	for (int i = 0; i < n; i += BATCH)
	{
		int			now = n - i < BATCH ? n - i : BATCH;
		int32_t    *to = sums + (size_t) i * ROWS;

		kernel->scan_blocks(lut, groups, blocks + i * stride, stride, now, query->shift, 0, more, 0, NULL);
		for (int r = 0; r < now * ROWS; r++)
			to[r] += more[r];
	}
}
