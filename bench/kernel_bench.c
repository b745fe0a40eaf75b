/*-------------------------------------------------------------------------
 *
 * kernel_bench.c
 *	  How fast the kernels are, level by level; nothing of PostgreSQL.
 *
 *	make bench-kernel, or
 *	cc -O2 -ffp-contract=off -Isrc bench/kernel_bench.c src/kernel/[a-z]*.c src/quant/[fr]*.c -lm -o kernel_bench
 *	taskset -c 0 ./kernel_bench [level [rows | panels | codes | scan]]
 *
 * Each figure is the best of several short runs, which is what a shared
 * machine disturbs least.  "hot": the rows stay in the first-level cache.
 * "stream": 256 MB of rows, one after the other, so memory is the limit.
 * GB/s counts the bytes of the rows, not of the query.  "plain" after a level is the same
 * level on a processor without VPOPCNTDQ and VNNI.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/kernel.h"
#include "quant/fastscan.h"
#include "quant/rabitq.h"
#include "quant/rotation.h"

#define HOT_BYTES		(16 * 1024)
#define STREAM_BYTES	((size_t) 256 * 1024 * 1024)

static volatile float sink;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

static float *
random_floats(size_t n)
{
	float	   *a = NULL;
	uint32_t	state = 1;

	if (posix_memalign((void **) &a, 64, n * sizeof(float) + 64) != 0)
	{
		fprintf(stderr, "kernel_bench: no memory for %zu floats\n", n);
		exit(1);
	}
	for (size_t i = 0; i < n; i++)
	{
		state = state * 1664525u + 1013904223u;
		a[i] = (float) (int32_t) state / 2147483648.0f;
	}
	return a;
}

typedef enum Job
{
	L2SQ, IP, L1, NORMSQ, COSINE, NORMSQ_DOUBLE, L2SQ_ROWS, IP_ROWS
} Job;
static const char *const job_names[] = {
	"l2sq", "ip", "l1", "normsq", "cosine", "normsq_double", "l2sq_rows", "ip_rows"
};
#define NUM_JOBS ((int) (sizeof(job_names) / sizeof(job_names[0])))

/* n rows once */
static void
run(const KernelTable *level, Job job, const float *q, const float *rows,
	int n, int dim, float *out)
{
	float		aa,
				bb;

	switch (job)
	{
		case L2SQ_ROWS:
			level->l2sq_rows(q, rows, dim * sizeof(float), n, dim, out);
			return;
		case IP_ROWS:
			level->ip_rows(q, rows, dim * sizeof(float), n, dim, out);
			return;
		default:
			break;
	}
	for (int i = 0; i < n; i++)
	{
		const float *row = rows + (size_t) i * dim;

		switch (job)
		{
			case L2SQ:
				out[i] = level->l2sq(q, row, dim);
				break;
			case IP:
				out[i] = level->ip(q, row, dim);
				break;
			case L1:
				out[i] = level->l1(q, row, dim);
				break;
			case NORMSQ:
				out[i] = level->normsq(row, dim);
				break;
			case COSINE:
				level->cosine(q, row, dim, &out[i], &aa, &bb);
				break;
			default:
				out[i] = (float) level->normsq_double(row, dim);
				break;
		}
	}
}

/* Seconds per row: the best of `runs` times `batch` passes over the rows. */
static double
time_rows(const KernelTable *level, Job job, const float *q, const float *rows,
		  int n, int dim, float *out, int runs, int batch)
{
	double		best = 1e9;

	run(level, job, q, rows, n, dim, out);
	for (int r = 0; r < runs; r++)
	{
		double		start = now();
		double		elapsed;

		for (int i = 0; i < batch; i++)
			run(level, job, q, rows, n, dim, out);
		elapsed = (now() - start) / batch / n;
		if (elapsed < best)
			best = elapsed;
	}
	sink = out[0];
	return best;
}

static void
bench_rows(const KernelTable *level, const float *q, const float *many)
{
	static const int dims[] = {3, 10, 25, 64, 100, 128, 384, 768, 1024, 1536, 3072};
	float	   *out = random_floats(STREAM_BYTES / sizeof(float) / 3 + 1);

	for (int where = 0; where < 2; where++)
	{
		printf("\n%s, %s: ns a row (GB/s)\n%-14s", level->name,
			   where == 0 ? "hot" : "stream", "dim");
		for (size_t d = where == 0 ? 0 : 3; d < sizeof(dims) / sizeof(dims[0]); d++)
			printf("%16d", dims[d]);
		printf("\n");
		for (int job = 0; job < NUM_JOBS; job++)
		{
			if (where == 1 && job != L2SQ && job != L2SQ_ROWS && job != IP_ROWS)
				continue;
			printf("%-14s", job_names[job]);
			for (size_t d = where == 0 ? 0 : 3; d < sizeof(dims) / sizeof(dims[0]); d++)
			{
				size_t		bytes = dims[d] * sizeof(float);
				double		s;

				if (where == 0)
				{
					int			n = HOT_BYTES / bytes;

					s = time_rows(level, (Job) job, q, many, n > 64 ? 64 : n,
								  dims[d], out, 200, 100);
				}
				else
					s = time_rows(level, (Job) job, q, many,
								  (int) (STREAM_BYTES / bytes), dims[d], out, 8, 1);
				printf("%8.1f (%5.1f)", s * 1e9, bytes / s / 1e9);
			}
			printf("\n");
			fflush(stdout);
		}
	}
	free(out);
}

static void
bench_panels(const KernelTable *level, const float *many)
{
	static const int shapes[][3] = {
		{256, 256, 384}, {1024, 1024, 768}, {256, 1000, 100}, {256, 250, 1024},
		{1000, 200, 1536}, {1, 1000, 768}, {7, 1000, 768}
	};

	printf("\n%s, ip_panels: GFLOP/s\n", level->name);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		int			nx = shapes[i][0];
		int			ny = shapes[i][1];
		int			dim = shapes[i][2];
		const float *y = many + (size_t) nx * dim;
		float	   *panels = random_floats(kernel_panels_size(ny, dim));
		float	   *out = random_floats((size_t) nx * ny);
		double		best = 1e9;
		double		packing = 1e9;

		for (int r = 0; r < 40; r++)
		{
			double		start = now(),
						packed,
						end;

			kernel_pack_panels(y, dim, ny, dim, panels);
			packed = now();
			level->ip_panels(many, dim, nx, panels, ny, dim, out, ny);
			end = now();
			if (packed - start < packing)
				packing = packed - start;
			if (end - packed < best)
				best = end - packed;
		}
		sink = out[0];
		printf("%4d x %4d, dim %4d: %6.1f   (packing %.0f us, product %.0f us)\n",
			   nx, ny, dim, 2e-9 * nx * ny * dim / best, packing * 1e6, best * 1e6);
		fflush(stdout);
		free(panels);
		free(out);
	}
}

/*
 * The next result: the best of several runs of `batch` times WORK, in ns for each
 * of `n`.  WORK sees its number as i.
 */
#define TIME(n, WORK) \
	do { \
		int			batch = 1; \
		double		best = 1e9; \
\
		for (int run = 0; run < 40; run++) \
		{ \
			double		start = now(); \
			double		elapsed; \
\
			for (int i = 0; i < batch; i++) \
			{ \
				WORK; \
			} \
			elapsed = now() - start; \
			if (elapsed < 50e-6) \
			{ \
				batch *= 2; \
				run--; \
			} \
			elapsed = elapsed / batch / (n) * 1e9; \
			if (elapsed < best) \
				best = elapsed; \
		} \
		ns[job++][d] = best; \
	} while (0)

#define NODE	32				/* neighbours of a node */

/* The neighbours of the i-th node, all over the memory. */
static void
dot_of_random_rows(const int8_t *q, const float *many, int dim, int i)
{
	static uint32_t ids[NODE * 128];
	static uint32_t state = 1;
	static int32_t dots[NODE];
	int			turn = i % 128;

	if (turn == 0)
		for (int j = 0; j < NODE * 128; j++)
		{
			state = state * 1664525u + 1013904223u;
			ids[j] = (uint32_t) ((uint64_t) state * (STREAM_BYTES / dim) >> 32);
		}
	kernel->dot_i8_ids(q, many, dim, ids + turn * NODE, NODE, dim, dots);
	sink = (float) dots[0];
}

/* What a search over codes is made of, with this level in use. */
static void
bench_codes(const float *many)
{
	static const int dims[] = {128, 384, 768, 1536};
	static const char *const names[] = {
		"rotate a query", "prepare a query", "estimate, 1 bit", "  integers alone", "estimate, 2 bits",
		"estimate, 4 bits", "encode, 1 bit", "encode, 2 bits", "encode, 4 bits", "code_pair, 1 bit",
		"l2sq_half", "ip_half", "half_unpack", "half_pack", "dot_i8", "dot_i8_ids, hot", "dot_i8_ids, memory"
	};
	double		ns[sizeof(names) / sizeof(names[0])][sizeof(dims) / sizeof(dims[0])];

	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		int			dim = dims[d];
		Rotation	rotation;
		void	   *signs = random_floats(rotation_size(dim) / sizeof(float));
		float	   *out = random_floats(dim);
		float	   *half = random_floats(dim);
		void	   *mem = random_floats(rabitq_query_size(dim) / sizeof(float) + 16);
		uint8_t    *codes = (uint8_t *) random_floats(rabitq_code_size(dim, 4) * NODE / sizeof(float) + 16);
		RabitqFactor *factors = (RabitqFactor *) random_floats(2 * NODE);
		float		estimates[NODE];
		int32_t		dots[NODE];
		uint32_t	ids[NODE];
		float		scale;
		RabitqQuery query;
		int			job = 0;

		/* codes lie at any multiple of 8 */
		codes += 8;
		rotation_init(&rotation, dim, 1, signs);
		TIME(1, rotate(&rotation, many, out));
		TIME(1, rabitq_query_prepare(&query, out, dim, 1, mem));
		for (int bits = 1; bits <= 4; bits *= 2)
		{
			rabitq_query_prepare(&query, out, dim, bits, mem);
			TIME(NODE, rabitq_estimate(&query, 1.0f, codes, factors, NODE, estimates));
			if (bits == 1)
				TIME(NODE, kernel->code_dot(mem, dim, 1, codes, NODE, dots));
		}
		for (int bits = 1; bits <= 4; bits *= 2)
			TIME(1, rabitq_encode(many, out, NULL, dim, dim, bits, RABITQ_L2, codes, factors));
		TIME(1, dots[0] += kernel->code_pair(codes, codes + dim / 8, dim, 1));
		kernel->half_pack(many, dim, (uint16_t *) half, &scale);
		TIME(1, sink = kernel->l2sq_half(out, (uint16_t *) half, scale, dim));
		TIME(1, sink = kernel->ip_half(out, (uint16_t *) half, scale, dim));
		TIME(1, kernel->half_unpack((uint16_t *) half, scale, dim, out));
		TIME(1, kernel->half_pack(many, dim, (uint16_t *) half, &scale));
		TIME(1, dots[0] += kernel->dot_i8((int8_t *) out, (int8_t *) half, dim));
		for (int i = 0; i < NODE; i++)
			ids[i] = (uint32_t) i % 16;
		TIME(NODE, kernel->dot_i8_ids((int8_t *) out, many, dim, ids, NODE, dim, dots));
		TIME(NODE, dot_of_random_rows((int8_t *) out, many, dim, i));
		sink = estimates[0] + dots[0];
		free(signs);
		free(out);
		free(half);
		free(mem);
		free(codes - 8);
		free(factors);
	}
	printf("\n%s%s: ns (estimates and dot_i8_ids: for one of %d)\n%-20s", kernel->name,
		   kernel == kernel_table(kernel->level) ? "" : " plain", NODE, "dim");
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
		printf("%10d", dims[d]);
	printf("\n");
	for (size_t job = 0; job < sizeof(names) / sizeof(names[0]); job++)
	{
		printf("%-20s", names[job]);
		for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
			printf("%10.*f", ns[job][d] < 100 ? 2 : 0, ns[job][d]);
		printf("\n");
	}
	fflush(stdout);
}

/*
 * Blocks of 32 codes in the first-level cache: look-ups and what surrounds
 * them, for a number of groups, which are as many parts of a PQ code or a
 * quarter of the dimensions of a RaBitQ code; beside it, those codes row by row.
 */
static void
bench_scan(const float *many)
{
	static const int groups[] = {16, 32, 48, 96, 192, 384};
	static const char *const names[] = {
		"tables of floats", "  nearest (pq)", "  estimates (pq)", "levels of a query", "fine levels", "  integers (rabitq)",
		"  estimates (rabitq)", "row by row: integers", "  estimates"
	};
	double		ns[sizeof(names) / sizeof(names[0])][sizeof(groups) / sizeof(groups[0])] = {{0}};

	for (size_t d = 0; d < sizeof(groups) / sizeof(groups[0]); d++)
	{
		int			g = groups[d];
		size_t		size = fastscan_block_size(g);
		int			n = (int) (HOT_BYTES / size) > 0 ? (int) (HOT_BYTES / size) : 1;
		int			rows = n * FASTSCAN_ROWS;
		const uint8_t *blocks = (const uint8_t *) many;
		const RabitqFactor *factors = (const RabitqFactor *) many;
		void	   *lut = random_floats(fastscan_query_size(g) / sizeof(float) + 16);
		void	   *mem = random_floats(rabitq_query_size(g * 4) / sizeof(float) + 16);
		int32_t    *sums = (int32_t *) random_floats(rows);
		float	   *out = random_floats(rows);
		uint32_t   *below = (uint32_t *) random_floats(n);
		FastscanQuery query;
		RabitqQuery rabitq;
		int			job = 0;

		TIME(1, fastscan_query_tables(&query, many, g, lut));
		TIME(rows, fastscan_below(&query, 0, -1e9f, blocks, size, n, sums, below));
		TIME(rows, fastscan_estimate(&query, 0, blocks, size, n, out));
		if (g % 32 == 0)
		{
			rabitq_query_prepare(&rabitq, many, g * 4, 1, mem);
			TIME(1, fastscan_query_rabitq(&query, &rabitq, g, lut));
			TIME(1, fastscan_query_fine(&query, many, g * 4, lut));
			TIME(rows, fastscan_scan(&query, 0, g, blocks, size, n, sums));
			TIME(rows, fastscan_estimate_rabitq(&query, 0, blocks, size, factors, 0, n, out));
			TIME(rows, kernel->code_dot(mem, g * 4, 1, blocks, rows, sums));
			TIME(rows, rabitq_estimate(&rabitq, 0, blocks, factors, rows, out));
		}
		sink = out[0] + sums[0] + below[0];
		free(lut);
		free(mem);
		free(sums);
		free(out);
		free(below);
	}
	printf("\n%s: ns for a query, or for one of the rows of blocks\n%-20s", kernel->name, "groups");
	for (size_t d = 0; d < sizeof(groups) / sizeof(groups[0]); d++)
		printf("%10d", groups[d]);
	printf("\n");
	for (size_t job = 0; job < sizeof(names) / sizeof(names[0]); job++)
	{
		printf("%-20s", names[job]);
		for (size_t d = 0; d < sizeof(groups) / sizeof(groups[0]); d++)
			printf("%10.*f", ns[job][d] < 100 ? 2 : 0, ns[job][d]);
		printf("\n");
	}
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	const float *q = random_floats(3072);
	const float *many = random_floats(STREAM_BYTES / sizeof(float));
	const char *part = argc > 2 ? argv[2] : "";
	bool		found = false;

	kernel_init();
	for (int i = 0; i < KERNEL_NUM_LEVELS; i++)
	{
		const KernelTable *level = kernel_table((KernelLevel) i);

		if (level == NULL || (argc > 1 && strcmp(argv[1], level->name) != 0))
			continue;
		found = true;
		if (part[0] == '\0' || strcmp(part, "codes") == 0)
		{
			kernel = level;
			bench_codes(many);
			if (kernel_plain_table(level->level) != level)
			{
				kernel = kernel_plain_table(level->level);
				bench_codes(many);
			}
		}
		if (part[0] == '\0' || strcmp(part, "scan") == 0)
		{
			kernel = level;
			bench_scan(many);
		}
		if (part[0] == '\0' || strcmp(part, "panels") == 0)
			bench_panels(level, many);
		if (part[0] == '\0' || strcmp(part, "rows") == 0)
			bench_rows(level, q, many);
	}
	if (!found)
	{
		fprintf(stderr, "kernel_bench: this machine has no level \"%s\"; "
				"try scalar, avx2, avx512 or neon\n", argv[1]);
		return 1;
	}
	return 0;
}
