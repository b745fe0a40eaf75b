/*-------------------------------------------------------------------------
 *
 * fastscan_bench.c
 *	  Time of a search over blocks of codes of src/quant/fastscan.h, alone.
 *
 *	make bench-fastscan, or
 *	fastscan_bench [-l LEVEL] [-n ROWS] [-r SEARCHES] [-f] pq PARTS | rabitq DIMS
 *
 * Random codes of PARTS numbers, or of DIMS bits with factors.  A search makes
 * the look-up table of its query (-f: the fine one), estimates all rows and
 * keeps the nearest.  Prints the median over SEARCHES, in ns: of a search of ROWS rows, and of one of
 * the first 1,024 alone.  fastscan_faiss.py does the same with FAISS beside it.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernel/kernel.h"
#include "quant/fastscan.h"
#include "quant/random.h"

#define ROWS	FASTSCAN_ROWS
#define BLOCKS	16				/* estimated in one call */
#define FEW		1024			/* rows of the small search */

static double
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void *
allocate(size_t size)
{
	void	   *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	if (memory == NULL)
	{
		fprintf(stderr, "fastscan_bench: no memory for %zu bytes\n", size);
		exit(1);
	}
	return memory;
}

typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

typedef struct Search
{
	bool		rabitq;
	bool		fine;
	int			groups;
	size_t		stride;			/* of a block and, of RaBitQ, its factors */
	char	   *blocks;
	float	   *q;				/* the query, or its float tables */
	void	   *rabitq_mem;
	void	   *mem;
} Search;

/* Is any of 32 floats below limit? */
static inline bool
any_below(const float *x, float limit)
{
	Four		limits = {limit, limit, limit, limit};
	FourInts	below = {0};

	for (int i = 0; i < ROWS; i += 4)
	{
		Four		four;

		memcpy(&four, x + i, sizeof(four));
		below |= four < limits;
	}
	return (below[0] | below[1] | below[2] | below[3]) != 0;
}

/* The nearest of n rows */
static int
run(const Search *search, int n)
{
	FastscanQuery query;
	float		estimates[BLOCKS * ROWS];
	int32_t		sums[BLOCKS * ROWS];
	uint32_t	below[BLOCKS];
	float		least = FLT_MAX;
	int			nearest = -1;

	if (search->rabitq && search->fine)
		fastscan_query_fine(&query, search->q, search->groups * 4, search->mem);
	else if (search->rabitq)
	{
		RabitqQuery rabitq;

		rabitq_query_prepare(&rabitq, search->q, search->groups * 4, 1, search->rabitq_mem);
		fastscan_query_rabitq(&query, &rabitq, search->groups, search->mem);
	}
	else
		fastscan_query_tables(&query, search->q, search->groups, search->mem);
	for (int i = 0; i < n; i += BLOCKS * ROWS)
	{
		int			now = (n - i) / ROWS < BLOCKS ? (n - i) / ROWS : BLOCKS;
		const char *blocks = search->blocks + i / ROWS * search->stride;

		if (!search->rabitq)
		{
			fastscan_below(&query, 1.0f, least, (const uint8_t *) blocks, search->stride, now, sums, below);
			for (int b = 0; b < now; b++)
				for (uint32_t left = below[b]; left != 0; left &= left - 1)
				{
					int			j = b * ROWS + __builtin_ctz(left);
					float		estimate = fastscan_value(&query, 1.0f, sums[j]);

					if (estimate < least)
					{
						least = estimate;
						nearest = i + j;
					}
				}
			continue;
		}
		fastscan_estimate_rabitq(&query, 1.0f, (const uint8_t *) blocks, search->stride,
								 (const RabitqFactor *) (blocks + fastscan_block_size(search->groups)),
								 search->stride, now, estimates);
		for (int r = 0; r < now * ROWS; r += ROWS)
			if (any_below(estimates + r, least))
				for (int j = r; j < r + ROWS; j++)
					if (estimates[j] < least)
					{
						least = estimates[j];
						nearest = i + j;
					}
	}
	return nearest;
}

static int
ascending(const void *a, const void *b)
{
	return (*(const double *) a > *(const double *) b) - (*(const double *) a < *(const double *) b);
}

static double
median_ns(const Search *search, int n, int searches)
{
	double	   *times = allocate(sizeof(double) * searches);
	double		median;
	static volatile int sink;

	sink = run(search, n);
	for (int i = 0; i < searches; i++)
	{
		double		start = now_ns();

		sink = run(search, n);
		times[i] = now_ns() - start;
	}
	(void) sink;
	qsort(times, searches, sizeof(double), ascending);
	median = times[searches / 2];
	free(times);
	return median;
}

int
main(int argc, char **argv)
{
	Search		search = {0};
	const char *level = NULL;
	uint64_t	state = 1;
	int			n = 200000;
	int			searches = 100;
	int			number = 0;
	int			option;
	double		all;

	while ((option = getopt(argc, argv, "l:n:r:f")) != -1)
		switch (option)
		{
			case 'l':
				level = optarg;
				break;
			case 'n':
				n = atoi(optarg);
				break;
			case 'r':
				searches = atoi(optarg);
				break;
			case 'f':
				search.fine = true;
				break;
			default:
				return 64;
		}
	if (argc - optind == 2)
		number = atoi(argv[optind + 1]);
	search.rabitq = number > 0 && strcmp(argv[optind], "rabitq") == 0;
	search.groups = search.rabitq ? number / 4 : number;
	if (number < 1 || (!search.rabitq && strcmp(argv[optind], "pq") != 0) || (search.rabitq && number % 128 != 0) ||
		search.groups > KERNEL_SCAN_MAX_GROUPS || n < FEW || n % ROWS != 0 || searches < 1)
	{
		fprintf(stderr, "usage: fastscan_bench [-l LEVEL] [-n ROWS] [-r SEARCHES] [-f] pq PARTS | rabitq DIMS\n"
				"ROWS is a multiple of 32, 1024 or more; DIMS one of 128\n");
		return 64;
	}
	kernel_init();
	for (int i = 0; level != NULL && i < KERNEL_NUM_LEVELS; i++)
		if (kernel_table((KernelLevel) i) != NULL && strcmp(kernel_table((KernelLevel) i)->name, level) == 0)
			kernel_force((KernelLevel) i);
	if (level != NULL && strcmp(kernel->name, level) != 0)
	{
		fprintf(stderr, "fastscan_bench: this machine has no level \"%s\"\n", level);
		return 1;
	}

	search.stride = fastscan_block_size(search.groups) + (search.rabitq ? sizeof(RabitqFactor) * ROWS : 0);
	search.blocks = allocate(search.stride * (n / ROWS));
	search.q = allocate(sizeof(float) * 16 * search.groups);
	search.mem = allocate(fastscan_query_size(search.groups));
	if (search.rabitq)
		search.rabitq_mem = allocate(rabitq_query_size(number));
	for (int i = 0; i < 16 * search.groups; i++)
		search.q[i] = (float) (random_next(&state) >> 40) * 0x1p-24f - (search.rabitq ? 0.5f : 0);
	for (int b = 0; b < n / ROWS; b++)
	{
		char	   *block = search.blocks + b * search.stride;
		size_t		size = fastscan_block_size(search.groups);

		for (size_t i = 0; i < size; i += 8)
		{
			uint64_t	word = random_next(&state);

			memcpy(block + i, &word, sizeof(word));
		}
		for (int i = 0; search.rabitq && i < 2 * ROWS; i++)
		{
			float		factor = 1 + (float) (random_next(&state) >> 40) * 0x1p-24f;

			memcpy(block + size + i * sizeof(float), &factor, sizeof(factor));
		}
	}
	all = median_ns(&search, n, searches);
	printf("level=%s rows=%d all=%.0f few=%.0f\n", kernel->name, n, all, median_ns(&search, FEW, searches));
	return 0;
}
