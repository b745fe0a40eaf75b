/*-------------------------------------------------------------------------
 *
 * test_fastscan.c
 *	  Blocks of 32 codes: packing; look-up tables and scans, every level
 *	  against their definitions; estimates against the floats they stand for.
 *
 *-------------------------------------------------------------------------
 */
#define _DEFAULT_SOURCE
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/kernel.h"
#include "quant/fastscan.h"
#include "quant/pq.h"
#include "quant/rabitq.h"
#include "quant/random.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define ROWS			FASTSCAN_ROWS

static uint64_t state = 7151;

static int
below(int n)
{
	return (int) random_below(&state, (uint32_t) n);
}

static float
normal(void)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double) (random_next(&state) >> 11) * 0x1p-53;
	return (float) (sum - 6);
}

/* size bytes that end `slack` bytes before an unreadable page */
typedef struct Guarded
{
	void	   *memory;
	size_t		size;
	void	   *p;
} Guarded;

static Guarded
guarded(size_t size, size_t slack)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		room = (size + slack + page - 1) / page * page;
	Guarded		g;

	g.size = room + 2 * page;
	g.memory = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g.memory == MAP_FAILED || mprotect(g.memory, page, PROT_NONE) != 0 ||
		mprotect((char *) g.memory + page + room, page, PROT_NONE) != 0)
	{
		printf("Bail out! no guarded memory\n");
		exit(1);
	}
	g.p = (char *) g.memory + page + room - slack - size;
	return g;
}

static void
release(Guarded g)
{
	munmap(g.memory, g.size);
}

/* Every table there is, also those of levels without what they may use beyond. */
static const KernelTable *
nth_table(int i)
{
	const KernelTable *table = kernel_table((KernelLevel) (i / 2));

	if (i % 2 == 0)
		return table;
	return table != NULL && kernel_plain_table(table->level) != table ? kernel_plain_table(table->level) : NULL;
}
#define NUM_TABLES	(2 * KERNEL_NUM_LEVELS)

static int
number(const uint8_t *code, int g)
{
	return code[g / 2] >> g % 2 * 4 & 15;
}

/* ------------------------------------------------------------------- blocks */

static void
check_packing(int groups)
{
	size_t		size = fastscan_code_size(groups);
	size_t		stride = size + 3;
	Guarded		codes = guarded(stride * ROWS - 3, 0);
	Guarded		block = guarded(fastscan_block_size(groups), 5);
	Guarded		other = guarded(fastscan_block_size(groups), 0);
	Guarded		code = guarded(size, 0);
	Guarded		more = guarded(size, 0);
	uint8_t    *all = codes.p;

	for (size_t i = 0; i < stride * ROWS - 3; i++)
		all[i] = (uint8_t) below(256);
	/* the spare half of an odd number's byte is 0, as pq_encode() leaves it */
	for (int r = 0; r < ROWS; r++)
		if (groups % 2)
			all[r * stride + size - 1] &= 15;
	fastscan_pack(all, stride, ROWS, groups, block.p);
	for (int r = 0; r < ROWS; r++)
		for (int g = 0; g < groups; g++)
			if ((((uint8_t *) block.p)[16 * g + r % 16] >> r / 16 * 4 & 15) != number(all + r * stride, g))
				COMPLAIN("row %d number %d is not where it should be", r, g);
	for (int n = 0; n <= ROWS; n += 3)
	{
		fastscan_pack(all, stride, n, groups, other.p);
		for (int r = 0; r < ROWS; r++)
		{
			memset(code.p, 0xa5, size);
			fastscan_unpack(other.p, groups, r, code.p);
			if (r < n && memcmp(code.p, all + r * stride, size) != 0)
				COMPLAIN("row %d of %d comes back otherwise", r, n);
			for (size_t i = 0; r >= n && i < size; i++)
				if (((uint8_t *) code.p)[i] != 0)
					COMPLAIN("row %d of %d is not 0", r, n);
		}
	}
	/* rows put in one by one, in any order: the same block */
	memset(other.p, 0x5a, fastscan_block_size(groups));
	for (int i = 0; i < ROWS; i++)
		fastscan_replace(other.p, groups, i * 13 % ROWS, all + i * 13 % ROWS * stride);
	if (memcmp(block.p, other.p, fastscan_block_size(groups)) != 0)
		COMPLAIN("rows replaced make another block");
	for (int i = 0; i < 40; i++)
	{
		int			a = below(ROWS);
		int			b = below(ROWS);
		bool		same = below(2) == 0;

		memcpy(other.p, block.p, fastscan_block_size(groups));
		fastscan_exchange(block.p, a, same ? block.p : other.p, b, groups);
		fastscan_unpack(block.p, groups, a, code.p);
		fastscan_unpack(same ? block.p : other.p, groups, b, more.p);
		if (memcmp(code.p, all + b * stride, size) != 0 || memcmp(more.p, all + a * stride, size) != 0)
			COMPLAIN("rows %d and %d exchanged are others", a, b);
		fastscan_exchange(block.p, a, same ? block.p : other.p, b, groups);
		if (memcmp(block.p, other.p, fastscan_block_size(groups)) != 0)
			COMPLAIN("rows %d and %d exchanged twice are others", a, b);
	}
	point("packing, %d numbers", groups);
	release(codes);
	release(block);
	release(other);
	release(code);
	release(more);
}

/* ------------------------------------------------------------------- kernel */

/* kind 0, 1: sets add up to 255 whatever the code; 2: one of each set is 255; else any sets within the rule */
static void
make_lut(uint8_t *lut, int groups, int kind)
{
	memset(lut, 0, kernel_scan_lut_size(groups));
	for (int g = 0; g < groups; g++)
		for (int i = 0; i < 16; i++)
		{
			int			turn = g / 4 % 4;

			if (kind < 2)
				lut[g * 16 + i] = turn == 0 ? 63 : 64;
			else if (kind == 2)
				lut[g * 16 + i] = turn == g / 16 % 4 ? 255 : 0;
			else
				lut[g * 16 + i] = (uint8_t) below(64);
		}
}

static void
check_blocks(int groups)
{
	static const int counts[] = {0, 1, 2, 5};
	size_t		size = fastscan_block_size(groups);

	for (int kind = 0; kind < 6; kind++)
		for (int c = 0; c < LENGTH(counts); c++)
		{
			int			n = counts[c];
			size_t		stride = size + (kind % 2 ? (size_t) below(70) : 0);
			Guarded		lut = guarded(kernel_scan_lut_size(groups), 0);
			Guarded		blocks = guarded(n == 0 ? 0 : stride * (n - 1) + size, (size_t) (kind < 3 ? 0 : below(64)));
			Guarded		sums = guarded(sizeof(int32_t) * ROWS * n, kind % 2 ? 4 : 0);
			const uint8_t *block = blocks.p;
			int32_t    *expected = malloc(sizeof(int32_t) * (ROWS * n + 1));
			uint32_t	masks[8];
			int			shift = kind % 3;
			int32_t		start = below(100000) - 50000;

			make_lut(lut.p, groups, kind);
			for (size_t i = 0; n > 0 && i < stride * (n - 1) + size; i++)
				((uint8_t *) blocks.p)[i] = kind == 0 ? 255 : (uint8_t) below(256);
			for (int i = 0; i < ROWS * n; i++)
			{
				int32_t		sum = 0;

				for (int g = 0; g < groups; g++)
					sum += ((uint8_t *) lut.p)[16 * g + (block[i / ROWS * stride + 16 * g + i % 16] >> i % ROWS / 16 * 4 & 15)];
				expected[i] = start + sum * (1 << shift);
			}
			for (int t = 0; t < NUM_TABLES; t++)
			{
				const KernelTable *table = nth_table(t);

				if (table == NULL)
					continue;
				memset(sums.p, 0x7e, sizeof(int32_t) * ROWS * n);
				table->scan_blocks(lut.p, groups, block, stride, n, shift, start, sums.p, 0, NULL);
				if (memcmp(sums.p, expected, sizeof(int32_t) * ROWS * n) != 0)
					COMPLAIN("%s: %d blocks, kind %d", table->name, n, kind);
				memset(sums.p, 0x7e, sizeof(int32_t) * ROWS * n);
				table->scan_blocks(lut.p, groups, block, stride, n, shift, start, sums.p, expected[0], masks);
				if (memcmp(sums.p, expected, sizeof(int32_t) * ROWS * n) != 0)
					COMPLAIN("%s: %d blocks, kind %d, with a limit", table->name, n, kind);
				for (int i = 0; i < ROWS * n; i++)
					if ((masks[i / ROWS] >> i % ROWS & 1) != (expected[i] < expected[0]))
						COMPLAIN("%s: row %d, kind %d: %d below %d?", table->name, i, kind, expected[i], expected[0]);
			}
			free(expected);
			release(lut);
			release(blocks);
			release(sums);
		}
	point("scan of %d groups, all levels", groups);
}

/* Tables of floats; hostile ones, too. */
static void
make_tables(float *tables, int groups, int kind)
{
	static const float values[] = {
		0, -0.0f, 1e-45f, -1e-40f, FLT_MIN, 1, -1, 3e30f, -2e30f, FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN
	};

	for (int g = 0; g < groups; g++)
	{
		float		spread = kind == 1 ? expf(2 * normal()) : 1;
		float		offset = kind == 2 ? 1000 * normal() : 0;

		for (int i = 0; i < 16; i++)
		{
			float	   *x = tables + 16 * g + i;

			*x = spread * normal() + offset;
			if (kind == 3)
				*x = values[below(LENGTH(values))];
			else if (kind == 4)
				*x = values[below(5)];
			else if (kind == 5)
				*x = -0.0f;
			else if (kind == 6 && below(3) == 0)
				*x = values[below(LENGTH(values))];
		}
	}
}

static double
limited(float x)
{
	return x < KERNEL_SCAN_LIMIT ? (x > -KERNEL_SCAN_LIMIT ? x : -KERNEL_SCAN_LIMIT) : KERNEL_SCAN_LIMIT;
}

static void
check_tables(int groups)
{
	for (int kind = 0; kind < 7; kind++)
	{
		Guarded		tables = guarded(sizeof(float) * 16 * groups, 0);
		Guarded		first = guarded(kernel_scan_lut_size(groups), 0);
		Guarded		lut = guarded(kernel_scan_lut_size(groups), 0);
		const float *x = tables.p;
		const uint8_t *entry = first.p;
		float		steps[2];
		float		biases[2];
		double		bias = 0;
		double		most = 0;
		double		largest = 0;

		make_tables(tables.p, groups, kind);
		memset(first.p, 0xff, kernel_scan_lut_size(groups));
		kernel_table(KERNEL_SCALAR)->scan_tables(x, groups, first.p, &steps[0], &biases[0]);
		for (int t = 0; t < NUM_TABLES; t++)
		{
			const KernelTable *table = nth_table(t);

			if (table == NULL)
				continue;
			memset(lut.p, 0xee, kernel_scan_lut_size(groups));
			table->scan_tables(x, groups, lut.p, &steps[1], &biases[1]);
			if (memcmp(first.p, lut.p, kernel_scan_lut_size(groups)) != 0 ||
				memcmp(&steps[0], &steps[1], sizeof(float)) != 0 || memcmp(&biases[0], &biases[1], sizeof(float)) != 0)
				COMPLAIN("%s, kind %d: step %g bias %g, not %g %g", table->name, kind, steps[1], biases[1], steps[0], biases[0]);
		}
		for (int s = 0; s < groups; s += 16)
			for (int c = s; c < s + 4; c++)
			{
				double		set = 0;
				int			sum = 0;

				for (int g = c; g < groups && g < s + 16; g += 4)
				{
					double		low = limited(x[16 * g]);
					double		high = low;
					int			top = 0;

					for (int i = 0; i < 16; i++)
					{
						low = limited(x[16 * g + i]) < low ? limited(x[16 * g + i]) : low;
						high = limited(x[16 * g + i]) > high ? limited(x[16 * g + i]) : high;
						top = entry[16 * g + i] > top ? entry[16 * g + i] : top;
					}
					for (int i = 0; i < 16; i++)
					{
						double		is = low + steps[0] * entry[16 * g + i];

						if (fabs(is - limited(x[16 * g + i])) > 0.50005 * steps[0] + 1e-6 * (high - low) + 1e-35)
							COMPLAIN("kind %d: %g in steps of %g from %g is %d", kind, x[16 * g + i], steps[0], low, entry[16 * g + i]);
					}
					bias += low;
					largest += fabs(low);
					set += high - low;
					sum += top;
				}
				if (sum > 255)
					COMPLAIN("kind %d: a set adds up to %d", kind, sum);
				most = set > most ? set : most;
			}
		if (!(fabs(bias - biases[0]) <= 1e-6 * largest))
			COMPLAIN("kind %d: bias %g, not %g", kind, biases[0], bias);
		/* no step is wasted */
		if (!(steps[0] <= most / 251) || (kind < 3 && groups > 0 && steps[0] < most / 253))
			COMPLAIN("kind %d: step %g for sets of %g", kind, steps[0], most);
		for (size_t i = (size_t) groups * 16; i < kernel_scan_lut_size(groups); i++)
			if (entry[i] != 0)
				COMPLAIN("kind %d: it does not end in zeros", kind);
		release(tables);
		release(first);
		release(lut);
	}
	point("look-up table of floats, %d groups, all levels", groups);
}

static void
check_levels(int groups)
{
	for (int kind = 0; kind < 4; kind++)
	{
		Guarded		levels = guarded((size_t) groups * 4, 0);
		Guarded		lut = guarded(kernel_scan_lut_size(groups), 0);
		int8_t	   *level = levels.p;
		int			total = 0;
		int			most = 0;

		for (int i = 0; i < groups * 4; i++)
		{
			level[i] = (int8_t) (kind == 0 ? 63 : kind == 1 ? -63 : kind == 2 ? below(15) - 7 : below(127) - 63);
			total += abs(level[i]);
		}
		for (int g = 0; g < groups; g += g % 16 == 3 ? 13 : 1)
		{
			int			set = 0;

			for (int k = 0; k < 64; k++)
				set += k % 16 < 4 ? abs(level[4 * g + k]) : 0;
			most = set > most ? set : most;
		}
		for (int t = 0; t < NUM_TABLES; t++)
		{
			const KernelTable *table = nth_table(t);
			int32_t		its_total;
			int32_t		its_most;

			if (table == NULL)
				continue;
			memset(lut.p, 0xee, kernel_scan_lut_size(groups));
			table->scan_levels(level, groups, lut.p, &its_total, &its_most);
			if (its_total != total || its_most != most)
				COMPLAIN("%s: total %d of %d, most %d of %d", table->name, its_total, total, its_most, most);
			for (int i = 0; i < groups * 16; i++)
			{
				int			entry = 0;

				for (int k = 0; k < 4; k++)
				{
					int			l = level[i / 16 * 4 + k];

					entry += (i >> k & 1) ? (l > 0 ? l : 0) : (l < 0 ? -l : 0);
				}
				if (((uint8_t *) lut.p)[i] != entry)
					COMPLAIN("%s: entry %d of group %d is %d, not %d", table->name, i % 16, i / 16, ((uint8_t *) lut.p)[i], entry);
			}
		}
		release(levels);
		release(lut);
	}
	point("look-up table of levels, %d groups, all levels", groups);
}

static void
check_estimate_kernel(void)
{
	for (int n = 0; n <= 70; n++)
	{
		Guarded		sums = guarded(sizeof(int32_t) * n, 0);
		Guarded		out = guarded(sizeof(float) * n, 0);

		for (int i = 0; i < n; i++)
			((int32_t *) sums.p)[i] = below(20000000) - 10000000;
		for (int t = 0; t < NUM_TABLES; t++)
		{
			const KernelTable *table = nth_table(t);
			float		step = 0.37f;
			float		base = -1234.5f;

			if (table == NULL)
				continue;
			table->scan_estimate(sums.p, n, step, base, out.p);
			for (int i = 0; i < n; i++)
			{
				volatile float product = step * (float) ((int32_t *) sums.p)[i];

				if (((float *) out.p)[i] != base + product)
					COMPLAIN("%s: %d of %d", table->name, i, n);
			}
		}
		release(sums);
		release(out);
	}
	point("estimates of integers, all levels");
}

/* ---------------------------------------------------------------- estimates */

static void *
memory(size_t size)
{
	void	   *p = NULL;

	if (posix_memalign(&p, 64, size + 64) != 0)
	{
		printf("Bail out! out of memory\n");
		exit(1);
	}
	return p;
}

/* Product quantisation: the estimate is that of the float tables, within half a step a part. */
static void
check_pq(int dim, int m)
{
	PqShape		shape = {dim, m, 4};
	int			n = 20 * ROWS;
	float	   *rows = memory(sizeof(float) * n * dim);
	float	   *codebooks = memory(sizeof(float) * pq_codebook_floats(&shape));
	float	   *tables = memory(sizeof(float) * pq_table_floats(&shape));
	uint8_t    *codes = memory(pq_code_size(&shape) * n);
	uint8_t    *blocks = memory(fastscan_block_size(m) * n / ROWS);
	float	   *exact = memory(sizeof(float) * n);
	float	   *first = memory(sizeof(float) * n);
	float	   *out = memory(sizeof(float) * n);
	int32_t    *sums = memory(sizeof(int32_t) * n);
	uint32_t   *below = memory(sizeof(uint32_t) * n / ROWS);
	void	   *mem = memory(pq_train_size(&shape, n));
	void	   *lut = memory(fastscan_query_size(m));

	if (fastscan_code_size(m) != pq_code_size(&shape))
		COMPLAIN("a code has %zu bytes, not %zu", fastscan_code_size(m), pq_code_size(&shape));
	for (int i = 0; i < n * dim; i++)
		rows[i] = normal() + (float) (i / dim % 3);
	for (int j = 0; j < m; j++)
		pq_train(&shape, j, rows, dim, n, 1, codebooks, mem, NULL, NULL);
	for (int i = 0; i < n; i++)
		pq_encode(&shape, codebooks, rows + (size_t) i * dim, codes + i * pq_code_size(&shape));
	for (int i = 0; i < n; i += ROWS)
		fastscan_pack(codes + i * pq_code_size(&shape), pq_code_size(&shape), ROWS, m, blocks + i / ROWS * fastscan_block_size(m));
	for (int ip = 0; ip < 2; ip++)
	{
		bool		begun = false;

		if (ip)
			pq_tables_ip(&shape, codebooks, rows, tables);
		else
			pq_tables_l2sq(&shape, codebooks, rows, tables);
		pq_estimate(&shape, tables, 5, codes, n, exact);
		for (int level = 0; level < KERNEL_NUM_LEVELS; level++)
		{
			FastscanQuery query;
			double		square = 0;

			if (!kernel_force((KernelLevel) level))
				continue;
			fastscan_query_tables(&query, tables, m, lut);
			fastscan_estimate(&query, 5, blocks, fastscan_block_size(m), n / ROWS, out);
			for (int i = 0; i < n; i++)
			{
				double		off = out[i] - exact[i];

				if (!(fabs(off) <= query.step * m * 0.501 + 1e-4))
					COMPLAIN("%s, row %d: %g instead of %g, step %g", kernel->name, i, out[i], exact[i], query.step);
				square += off * off / n;
			}
			if (sqrt(square) > query.step * (sqrt(m / 12.0) * 1.5 + 0.3))
				COMPLAIN("%s: off by %g steps on average", kernel->name, sqrt(square) / query.step);
			if (begun && memcmp(first, out, sizeof(float) * n) != 0)
				COMPLAIN("%s: not what the others say", kernel->name);
			for (int k = 0; k < 8; k++)
			{
				float		limit = k < 7 ? out[k * 31] : FLT_MAX;
				int			extra = 0;

				fastscan_below(&query, 5, limit, blocks, fastscan_block_size(m), n / ROWS, sums, below);
				for (int i = 0; i < n; i++)
				{
					bool		set = below[i / ROWS] >> i % ROWS & 1;

					if (fastscan_value(&query, 5, sums[i]) != out[i])
						COMPLAIN("%s, row %d: value and estimate differ", kernel->name, i);
					if (out[i] < limit && !set)
						COMPLAIN("%s, row %d: %g is below %g", kernel->name, i, out[i], limit);
					if (set && out[i] > limit + 4 * query.step + 1e-4)
						extra++;
				}
				if (extra > 0)
					COMPLAIN("%s: %d rows far above %g", kernel->name, extra, limit);
			}
			memcpy(first, out, sizeof(float) * n);
			begun = true;
		}
	}
	kernel_init();
	free(sums);
	free(below);
	point("product quantisation, %d dimensions in %d parts", dim, m);
	free(rows);
	free(codebooks);
	free(tables);
	free(codes);
	free(blocks);
	free(exact);
	free(first);
	free(out);
	free(mem);
	free(lut);
}

/* RaBitQ: the same bits as row by row; the fine query within half a step a dimension. */
static void
check_rabitq(int dims, int kind)
{
	int			groups = dims / 4;
	int			n = 19 * ROWS;
	size_t		size = rabitq_code_size(dims, 1);
	size_t		block_size = fastscan_block_size(groups);
	size_t		stride = block_size + sizeof(RabitqFactor) * ROWS;
	float	   *q = memory(sizeof(float) * dims);
	float	   *c = memory(sizeof(float) * dims);
	float	   *x = memory(sizeof(float) * dims);
	uint8_t    *codes = memory(size * n);
	RabitqFactor *factors = memory(sizeof(RabitqFactor) * n);
	char	   *blocks = memory(stride * n / ROWS);
	float	   *exact = memory(sizeof(float) * n);
	float	   *out = memory(sizeof(float) * n);
	float	   *first = memory(sizeof(float) * n);
	int32_t    *sums = memory(sizeof(int32_t) * n);
	int32_t    *parts = memory(sizeof(int32_t) * n);
	void	   *mem = memory(rabitq_query_size(dims));
	void	   *lut = memory(fastscan_query_size(groups));
	bool		begun = false;

	for (int i = 0; i < dims; i++)
	{
		q[i] = normal();
		c[i] = normal() / 2;
	}
	if (kind == 1)				/* one dimension is all there is, nearly */
		q[dims / 3] = 300;
	else if (kind == 2)			/* and some where levels would not fit */
		for (int i = 64; i < 80; i++)
			q[i] = 4;
	else if (kind == 3)
		memset(q, 0, sizeof(float) * dims);
	else if (kind == 4)
		for (int i = 0; i < dims; i++)
			q[i] *= 1e-42f;
	else if (kind == 5)
		for (int i = 0; i < dims; i += 4)
			q[i] = i % 3 ? FLT_MAX : -FLT_MAX;
	for (int i = 0; i < n; i++)
	{
		RabitqFactor *in_block = (RabitqFactor *) (blocks + i / ROWS * stride + block_size);

		for (int d = 0; d < dims; d++)
			x[d] = c[d] + normal();
		rabitq_encode(x, c, NULL, dims, dims, 1, RABITQ_L2, codes + i * size, &factors[i]);
		in_block[i % ROWS] = factors[i];
	}
	for (int i = 0; i < n; i += ROWS)
		fastscan_pack(codes + i * size, size, ROWS, groups, (uint8_t *) blocks + i / ROWS * stride);
	for (int level = 0; level < KERNEL_NUM_LEVELS; level++)
	{
		RabitqQuery rabitq;
		FastscanQuery query;
		int			cut = groups / 32 * 16;

		if (!kernel_force((KernelLevel) level))
			continue;
		rabitq_query_prepare(&rabitq, q, dims, 1, mem);
		rabitq_estimate(&rabitq, 7.5f, codes, factors, n, exact);
		fastscan_query_rabitq(&query, &rabitq, dims / 4, lut);
		fastscan_estimate_rabitq(&query, 7.5f, (uint8_t *) blocks, stride, (RabitqFactor *) (blocks + block_size), stride, n / ROWS, out);
		if (memcmp(exact, out, sizeof(float) * n) != 0)
			COMPLAIN("%s: not what they are row by row", kernel->name);

		fastscan_query_fine(&query, q, dims, lut);
		fastscan_scan(&query, 0, groups, (uint8_t *) blocks, stride, n / ROWS, sums);
		fastscan_scan(&query, 0, cut, (uint8_t *) blocks, stride, n / ROWS, parts);
		fastscan_scan(&query, cut, groups - cut, (uint8_t *) blocks + cut * 16, stride, n / ROWS, parts);
		if (memcmp(sums, parts, sizeof(int32_t) * n) != 0)
			COMPLAIN("%s: two parts are not the whole", kernel->name);
		for (int i = 0; i < n && kind < 4; i++)
		{
			double		product = 0;
			double		bound = 0;

			for (int d = 0; d < dims; d++)
			{
				product += codes[i * size + d / 8] >> d % 8 & 1 ? q[d] : -q[d];

				/*
				 * what is clamped, and what the factor corrects, besides
				 * rounding
				 */
				bound += kind == 1 ? fabsf(q[d]) : 0.5 * query.step + 0.01 * fabsf(q[d]);
			}
			if (!(fabs(product - query.step * sums[i]) <= bound + 1e-6))
				COMPLAIN("%s, row %d: %g instead of %g", kernel->name, i, query.step * sums[i], product);
		}
		fastscan_estimate_rabitq(&query, 7.5f, (uint8_t *) blocks, stride, (RabitqFactor *) (blocks + block_size), stride, n / ROWS, out);
		if (begun && memcmp(first, out, sizeof(float) * n) != 0)
			COMPLAIN("%s: the fine query's are not what the others say", kernel->name);
		memcpy(first, out, sizeof(float) * n);
		begun = true;
		for (int i = 0; i < n; i++)
			if (!(fabsf(out[i]) <= FLT_MAX))
				COMPLAIN("%s, row %d: estimate %g", kernel->name, i, out[i]);
	}
	kernel_init();
	point("RaBitQ, %d dimensions, query %d", dims, kind);
	free(q);
	free(c);
	free(x);
	free(codes);
	free(factors);
	free(blocks);
	free(exact);
	free(out);
	free(first);
	free(sums);
	free(parts);
	free(mem);
	free(lut);
}

int
main(void)
{
	static const int groups[] = {
		0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 15, 16, 17, 18, 21, 30, 31, 32, 33, 47, 48, 50, 63, 64, 96, 97, 192,
		1023, 1024, 1025, 1039, 1041, 2049, 3079, 4095, 4096
	};

	kernel_init();
	for (int i = 0; i < LENGTH(groups); i++)
	{
		check_packing(groups[i]);
		check_blocks(groups[i]);
		check_tables(groups[i]);
		if (groups[i] % 16 == 0)
			check_levels(groups[i]);
	}
	check_estimate_kernel();
	check_pq(16, 1);
	check_pq(16, 16);
	check_pq(100, 33);
	check_pq(96, 48);
	check_pq(384, 95);
	check_pq(384, 192);
	for (int kind = 0; kind < 6; kind++)
	{
		check_rabitq(128, kind);
		check_rabitq(384, kind);
		check_rabitq(1536, kind);
	}
	check_rabitq(16128, 0);
	return done();
}
