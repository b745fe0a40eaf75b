/*-------------------------------------------------------------------------
 *
 * codec_bench.c
 *	  Time and error of src/quant's product and scalar quantisation, alone.
 *
 *	make bench-codecs, or
 *	codec_bench [-s | -o ITERATIONS] [-m PARTS] [-b BITS] [-n POINTS] [-r SEED] FILE DIM
 *
 * FILE holds rows of DIM floats, nothing else.  -s: scalar, else product
 * quantisation, with -o after a rotation learnt in so many iterations.  Trains on the first POINTS rows
 * (0: all), then encodes all rows.  "error" is the mean squared distance of a row
 * and what its code stands for.  One thread, seconds of processor time.
 * codecs_faiss.py does the same work with FAISS beside it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "codec_bench"
#include "rows.h"

#include "kernel/kernel.h"
#include "quant/opq.h"
#include "quant/pq.h"
#include "quant/sq8.h"

#define ROUNDS	10				/* of estimates */

int
main(int argc, char **argv)
{
	PqShape		shape = {.m = 16, .bits = 8};
	bool		scalar = false;
	int			iterations = -1;
	int			points = 0;
	int			seed = 1;
	int			n;
	int			option;
	float	   *rows;
	float	   *out;
	uint8_t    *codes;
	double		error = 0;
	double		start;
	double		trained;
	double		encoded;
	double		estimated;

	while ((option = getopt(argc, argv, "so:m:b:n:r:")) != -1)
		switch (option)
		{
			case 's':
				scalar = true;
				break;
			case 'o':
				iterations = atoi(optarg);
				break;
			case 'm':
				shape.m = atoi(optarg);
				break;
			case 'b':
				shape.bits = atoi(optarg);
				break;
			case 'n':
				points = atoi(optarg);
				break;
			case 'r':
				seed = atoi(optarg);
				break;
			default:
				return 64;
		}
	if (argc - optind == 2)
		shape.dim = atoi(argv[optind + 1]);
	if (argc - optind != 2 || shape.dim < 1 || (!scalar && (shape.m < 1 || shape.m > shape.dim)) ||
		(shape.bits != 4 && shape.bits != 8) || points < 0 || (iterations >= 0 && shape.dim > OPQ_MAX_DIM))
	{
		fprintf(stderr, "usage: codec_bench [-s | -o ITERATIONS] [-m PARTS] [-b 4|8] [-n POINTS] [-r SEED] FILE DIM\n");
		return 64;
	}
	kernel_init();
	rows = read_rows(argv[optind], shape.dim, &n);
	if (points == 0 || points > n)
		points = n;
	codes = allocate(scalar ? (size_t) n * shape.dim : pq_code_size(&shape) * n);
	out = allocate(sizeof(float) * n);

	start = seconds(CLOCK_PROCESS_CPUTIME_ID);
	if (scalar)
	{
		Sq8Range	range = {shape.dim, allocate(sizeof(float) * shape.dim), allocate(sizeof(float) * shape.dim)};
		float	   *scratch = allocate(sizeof(float) * shape.dim);

		sq8_train_begin(&range);
		sq8_train(&range, rows, shape.dim, points);
		sq8_train_end(&range);
		trained = seconds(CLOCK_PROCESS_CPUTIME_ID);
		for (int i = 0; i < n; i++)
			error += sq8_encode(&range, rows + (size_t) i * shape.dim, codes + (size_t) i * shape.dim);
		encoded = seconds(CLOCK_PROCESS_CPUTIME_ID);
		sq8_query_l2sq(&range, rows, scratch);
		for (int i = 0; i < ROUNDS; i++)
			sq8_estimate_l2sq(&range, scratch, 0, codes, n, out);
	}
	else
	{
		float	   *codebooks = allocate(sizeof(float) * pq_codebook_floats(&shape));
		float	   *tables = allocate(sizeof(float) * pq_table_floats(&shape));
		void	   *mem = allocate(iterations < 0 ? pq_train_size(&shape, points) : opq_train_size(&shape, points));
		float	   *rotation = allocate(sizeof(float) * shape.dim * (iterations < 0 ? 1 : shape.dim));
		float	   *rotated = allocate(sizeof(float) * shape.dim);

		if (iterations < 0)
			for (int j = 0; j < shape.m; j++)
				pq_train(&shape, j, rows, shape.dim, points, seed, codebooks, mem, NULL, NULL);
		else
			opq_train(&shape, rows, shape.dim, points, iterations, seed, rotation, codebooks, mem, NULL, NULL);
		trained = seconds(CLOCK_PROCESS_CPUTIME_ID);
		for (int i = 0; i < n; i++)
		{
			const float *row = rows + (size_t) i * shape.dim;

			if (iterations >= 0)
			{
				opq_rotate(rotation, shape.dim, row, rotated);
				row = rotated;
			}
			error += pq_encode(&shape, codebooks, row, codes + pq_code_size(&shape) * i);
		}
		encoded = seconds(CLOCK_PROCESS_CPUTIME_ID);
		pq_tables_l2sq(&shape, codebooks, rows, tables);
		for (int i = 0; i < ROUNDS; i++)
			pq_estimate(&shape, tables, 0, codes, n, out);
	}
	estimated = seconds(CLOCK_PROCESS_CPUTIME_ID);
	printf("dim=%d m=%d bits=%d rows=%d points=%d error=%.6g train=%.3f encode=%.3f estimates_per_second=%.3g\n",
		   shape.dim, shape.m, shape.bits, n, points, error / n, trained - start, encoded - trained,
		   (double) ROUNDS * n / (estimated - encoded));
	return 0;
}
