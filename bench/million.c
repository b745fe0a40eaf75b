/*-------------------------------------------------------------------------
 *
 * million.c
 *	  Cosine distances of one query to many rows with the kernels alone, level
 *	  by level: no server, no index, one thread.
 *
 * Usage: million ROWS N DIMS PASSES
 *
 *	ROWS		file of float32, (N + 1) * DIMS: the query, then the rows
 *
 * Prints a line for each level this machine has: its name, then the seconds of each
 * pass, then the sum of all distances.  Levels alternate, so that the machine's drift
 * hits all alike.  The distance is that of <=>: 1 - ab / sqrt(aa * bb), with the
 * norms computed each time.
 *
 * Build: cc -O2 -ffp-contract=off -Isrc bench/million.c src/kernel/[a-z]*.c -lm -o million
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/kernel.h"

#define MAX_PASSES 100

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

int
main(int argc, char **argv)
{
	static double seconds[KERNEL_NUM_LEVELS][MAX_PASSES];
	double		sums[KERNEL_NUM_LEVELS] = {0};
	FILE	   *file;
	float	   *all;
	size_t		n;
	int			dims;
	int			passes;

	if (argc != 5)
	{
		fprintf(stderr, "usage: million ROWS N DIMS PASSES\n");
		return 2;
	}
	n = strtoul(argv[2], NULL, 10);
	dims = atoi(argv[3]);
	passes = atoi(argv[4]);
	if (n < 1 || dims < 1 || passes < 1 || passes > MAX_PASSES)
	{
		fprintf(stderr, "million: N and DIMS must be at least 1, PASSES 1 to %d\n", MAX_PASSES);
		return 2;
	}
	all = malloc((n + 1) * dims * sizeof(float));
	file = fopen(argv[1], "rb");
	if (!all || !file || fread(all, dims * sizeof(float), n + 1, file) != n + 1)
	{
		fprintf(stderr, "million: cannot read %zu rows of %d dimensions from %s\n", n + 1, dims, argv[1]);
		return 1;
	}
	fclose(file);

	kernel_init();
	for (int pass = 0; pass < passes; pass++)
		for (int l = 0; l < KERNEL_NUM_LEVELS; l++)
		{
			const KernelTable *level = kernel_table((KernelLevel) l);
			double		start = now();
			double		sum = 0;

			if (level == NULL)
				continue;
			for (size_t i = 1; i <= n; i++)
			{
				float		ab,
							aa,
							bb;

				level->cosine(all, all + i * dims, dims, &ab, &aa, &bb);
				sum += 1 - (double) ab / sqrt((double) aa * bb);
			}
			seconds[l][pass] = now() - start;
			sums[l] = sum;
		}
	for (int l = 0; l < KERNEL_NUM_LEVELS; l++)
		if (kernel_table((KernelLevel) l) != NULL)
		{
			printf("%s", kernel_table((KernelLevel) l)->name);
			for (int pass = 0; pass < passes; pass++)
				printf(" %.6f", seconds[l][pass]);
			printf(" %.9g\n", sums[l]);
		}
	return 0;
}
