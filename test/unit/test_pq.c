/*-------------------------------------------------------------------------
 *
 * test_pq.c
 *	  Product quantisation: every dimension in one part, codes nearest,
 *	  estimates those of what a code stands for, any value safe.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/pq.h"
#include "quant/random.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))

static void
report(const char *what, const PqShape *shape)
{
	point("%d dimensions in %d parts of %d bits: %s", shape->dim, shape->m, shape->bits, what);
}

static uint64_t state = 20111;

static float
normal(void)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double) (random_next(&state) >> 11) * 0x1p-53;
	return (float) (sum - 6);
}

static void *
memory(size_t size)
{
	void	   *p = malloc(size ? size : 1);

	if (p == NULL)
	{
		printf("Bail out! out of memory\n");
		exit(1);
	}
	return p;
}

/* n rows around centres: neighbouring dimensions go together, as they do in real vectors. */
static float *
rows_of(int n, int dim)
{
	float	   *rows = memory(sizeof(float) * n * dim);

	for (int i = 0; i < n; i++)
	{
		float		drift = 0;

		for (int d = 0; d < dim; d++)
		{
			drift = 0.8f * drift + 0.6f * normal();
			rows[(size_t) i * dim + d] = drift + (float) (i % 7);
		}
	}
	return rows;
}

static float *
trained(const PqShape *shape, const float *rows, int n)
{
	float	   *codebooks = memory(sizeof(float) * pq_codebook_floats(shape));
	void	   *mem = memory(pq_train_size(shape, n));

	/* backwards: the order is of no account */
	for (int j = shape->m - 1; j >= 0; j--)
		pq_train(shape, j, rows, shape->dim, n, 42, codebooks, mem, NULL, NULL);
	free(mem);
	return codebooks;
}

static double
distance(const float *a, const float *b, int dim)
{
	double		sum = 0;

	for (int d = 0; d < dim; d++)
		sum += ((double) a[d] - b[d]) * ((double) a[d] - b[d]);
	return sum;
}

/* Mean squared error over rows, whose codes and errors are held against the definitions. */
static double
check_codes(const PqShape *shape, const float *codebooks, const float *rows, int n)
{
	int			k = pq_centroids(shape);
	uint8_t    *code = memory(pq_code_size(shape));
	uint8_t    *other = memory(pq_code_size(shape));
	float	   *x = memory(sizeof(float) * shape->dim);
	double		total = 0;

	for (int i = 0; i < n; i++)
	{
		const float *row = rows + (size_t) i * shape->dim;
		double		error = pq_encode(shape, codebooks, row, code);
		double		least = 0;

		for (int j = 0; j < shape->m; j++)
		{
			double		nearest = INFINITY;

			for (int c = 0; c < k; c++)
			{
				double		sum = 0;

				for (int d = pq_part(shape, j); d < pq_part(shape, j + 1); d++)
				{
					double		r = (double) row[d] - codebooks[(size_t) d * k + c];

					sum += r * r;
				}
				nearest = fmin(nearest, sum);
			}
			least += nearest;
		}
		pq_decode(shape, codebooks, code, x);
		if (fabs(error - least) > 1e-5 * (1 + least))
			COMPLAIN("row %d: error %g, the nearest centroids have %g", i, error, least);
		if (fabs(distance(row, x, shape->dim) - error) > 1e-5 * (1 + error))
			COMPLAIN("row %d: error %g, the code is at %g", i, error, distance(row, x, shape->dim));
		if (pq_encode(shape, codebooks, x, other) > 1e-9 || memcmp(code, other, pq_code_size(shape)) != 0)
			COMPLAIN("row %d: what its code stands for has another", i);
		total += error;
	}
	free(code);
	free(other);
	free(x);
	return total / n;
}

static void
check_estimates(const PqShape *shape, const float *codebooks, const float *rows, int n)
{
	float	   *tables = memory(sizeof(float) * pq_table_floats(shape));
	uint8_t    *codes = memory(pq_code_size(shape) * n);
	float	   *x = memory(sizeof(float) * shape->dim);
	float	   *l2 = memory(sizeof(float) * n);
	float	   *ip = memory(sizeof(float) * n);
	const float *q = rows + (size_t) (n - 1) * shape->dim;

	for (int i = 0; i < n; i++)
		pq_encode(shape, codebooks, rows + (size_t) i * shape->dim, codes + pq_code_size(shape) * i);
	pq_tables_l2sq(shape, codebooks, q, tables);
	pq_estimate(shape, tables, 3, codes, n, l2);
	pq_tables_ip(shape, codebooks, q, tables);
	pq_estimate(shape, tables, -3, codes, n, ip);
	for (int i = 0; i < n; i++)
	{
		double		d;
		double		product = 0;
		double		norms = 0;

		pq_decode(shape, codebooks, codes + pq_code_size(shape) * i, x);
		d = distance(q, x, shape->dim);
		for (int t = 0; t < shape->dim; t++)
		{
			product += (double) q[t] * x[t];
			norms += fabs((double) q[t] * x[t]);
		}
		if (fabs(l2[i] - 3 - d) > 1e-5 * (3 + d))
			COMPLAIN("row %d: distance %g estimated as %g", i, d, l2[i] - 3);
		if (fabs(ip[i] + 3 + product) > 1e-5 * (3 + norms))
			COMPLAIN("row %d: inner product %g estimated as %g", i, product, -ip[i] - 3);
	}
	free(tables);
	free(codes);
	free(x);
	free(l2);
	free(ip);
}

static void
check_shape(PqShape shape)
{
	int			n = 1500;
	float	   *rows = rows_of(n, shape.dim);
	float	   *codebooks = trained(&shape, rows, n);
	double		spread = 0;
	double		error;

	for (int j = 0; j < shape.m; j++)
	{
		int			dim = pq_part(&shape, j + 1) - pq_part(&shape, j);

		if (dim != shape.dim / shape.m && dim != (shape.dim + shape.m - 1) / shape.m)
			COMPLAIN("part %d has %d dimensions", j, dim);
	}
	if (pq_part(&shape, 0) != 0 || pq_part(&shape, shape.m) != shape.dim)
		COMPLAIN("the parts begin at %d and end at %d", pq_part(&shape, 0), pq_part(&shape, shape.m));
	report("parts", &shape);

	error = check_codes(&shape, codebooks, rows, n);
	report("the code is that of the nearest centroids", &shape);

	/* the codebooks learn: far less is lost than the rows are apart, more so with more bits a dimension */
	for (int i = 1; i < n; i++)
		spread += distance(rows + (size_t) i * shape.dim, rows + (size_t) (i - 1) * shape.dim, shape.dim) / (2.0 * (n - 1));
	if (error > spread * (shape.bits == 8 ? 0.6 : 0.8))
		COMPLAIN("mean squared error %g, the rows' own spread is %g", error, spread);
	report("little is lost", &shape);

	check_estimates(&shape, codebooks, rows, 300);
	report("estimates", &shape);
	free(rows);
	free(codebooks);
}

/* Fewer distinct rows than centroids: each is a centroid. */
static void
check_few(PqShape shape, int distinct)
{
	int			n = 500;
	float	   *rows = rows_of(n, shape.dim);
	float	   *codebooks;

	for (int i = distinct; i < n; i++)
		memcpy(rows + (size_t) i * shape.dim, rows + (size_t) (i % distinct) * shape.dim, sizeof(float) * shape.dim);
	codebooks = trained(&shape, rows, n);
	if (check_codes(&shape, codebooks, rows, n) > 1e-6)
		COMPLAIN("%d distinct rows lose something", distinct);
	report("fewer distinct rows than centroids", &shape);
	free(rows);
	free(codebooks);
}

/* Values beyond measure: codes there are, and nothing is read or written that should not be. */
static void
check_hostile(PqShape shape)
{
	static const float values[] = {0, -0.0f, 1e-45f, FLT_MIN, 1, -1e19f, 1e20f, FLT_MAX, -FLT_MAX};
	int			n = 300;
	float	   *rows = rows_of(n, shape.dim);
	float	   *codebooks;
	float	   *tables = memory(sizeof(float) * pq_table_floats(&shape));
	float	   *x = memory(sizeof(float) * shape.dim);
	uint8_t    *code = memory(pq_code_size(&shape));
	float		estimate;

	for (int i = 0; i < n * shape.dim; i++)
		if (random_below(&state, 4) == 0)
			rows[i] = values[random_below(&state, LENGTH(values))];
	codebooks = trained(&shape, rows, n);
	for (int i = 0; i < n; i++)
	{
		pq_encode(&shape, codebooks, rows + (size_t) i * shape.dim, code);
		pq_decode(&shape, codebooks, code, x);
		pq_tables_l2sq(&shape, codebooks, rows + (size_t) i * shape.dim, tables);
		pq_estimate(&shape, tables, 0, code, 1, &estimate);
		if (!(estimate >= 0))
			COMPLAIN("row %d: distance estimated as %g", i, estimate);
	}
	report("values beyond measure", &shape);
	free(rows);
	free(codebooks);
	free(tables);
	free(x);
	free(code);
}

int
main(void)
{
	static const PqShape shapes[] = {
		{1, 1, 4}, {1, 1, 8}, {3, 2, 4}, {7, 3, 8}, {24, 24, 4}, {100, 50, 4}, {100, 25, 8}, {101, 33, 4}, {128, 16, 8}, {384, 7, 4}
	};

	kernel_init();
	for (int i = 0; i < LENGTH(shapes); i++)
	{
		check_shape(shapes[i]);
		check_few(shapes[i], 5);
		check_hostile(shapes[i]);
	}
	return done();
}
