/*-------------------------------------------------------------------------
 *
 * kernel_bench.c
 *	  How fast the kernels are, level by level; nothing of PostgreSQL.
 *
 *	make bench-kernel, or
 *	cc -O2 -ffp-contract=off -Isrc bench/kernel_bench.c src/kernel/[a-z]*.c -lm -o kernel_bench
 *	taskset -c 0 ./kernel_bench [level]
 *
 * Each figure is the best of several short runs, which is what a shared
 * machine disturbs least.  "hot": the rows stay in the first-level cache.
 * "stream": 256 MB of rows, one after the other, so memory is the limit.
 * GB/s counts the bytes of the rows, not of the query.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/kernel.h"

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

int
main(int argc, char **argv)
{
	const float *q = random_floats(3072);
	const float *many = random_floats(STREAM_BYTES / sizeof(float));
	bool		found = false;

	kernel_init();
	for (int i = 0; i < KERNEL_NUM_LEVELS; i++)
	{
		const KernelTable *level = kernel_table((KernelLevel) i);

		if (level == NULL || (argc > 1 && strcmp(argv[1], level->name) != 0))
			continue;
		found = true;
		bench_panels(level, many);
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
