/*-------------------------------------------------------------------------
 *
 * test_opq.c
 *	  Optimised product quantisation: the rotation is one, errs less than none, and
 *	  survives rows that leave it undetermined.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/opq.h"
#include "quant/random.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))

static uint64_t state = 20131;
static int	interrupts;

static void
count(void *arg)
{
	(void) arg;
	interrupts++;
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

static float
uniform(void)
{
	return (float) (random_next(&state) >> 40) * 0x1p-23f - 1;
}

/*
 * Rows near a few directions that lie across all parts, which is what a rotation
 * mends: `directions` of them, noise beside.
 */
static float *
rows_of(int n, int dim, int directions, float noise)
{
	float	   *rows = memory(sizeof(float) * n * dim);
	float	   *axes = memory(sizeof(float) * dim * (directions + 1));

	for (int i = 0; i < dim * directions; i++)
		axes[i] = uniform();
	for (int i = 0; i < n; i++)
	{
		float	   *row = rows + (size_t) i * dim;

		for (int d = 0; d < dim; d++)
			row[d] = noise * uniform();
		for (int a = 0; a < directions; a++)
		{
			float		much = uniform() * 4 / (float) (1 + a);

			for (int d = 0; d < dim; d++)
				row[d] += much * axes[(size_t) a * dim + d];
		}
	}
	free(axes);
	return rows;
}

/* Largest deviation of R R' from I. */
static double
skewness(const float *rotation, int dim)
{
	double		most = 0;

	for (int i = 0; i < dim; i++)
		for (int j = 0; j <= i; j++)
		{
			double		sum = 0;

			for (int d = 0; d < dim; d++)
				sum += (double) rotation[(size_t) i * dim + d] * rotation[(size_t) j * dim + d];
			most = fmax(most, fabs(sum - (i == j)));
		}
	return most;
}

/* Train; complain about what is wrong with the outcome whatever the rows are; returns the error. */
static double
trained(const PqShape *shape, const float *rows, int n, int iterations)
{
	int			dim = shape->dim;
	float	   *rotation = memory(sizeof(float) * dim * dim);
	float	   *again = memory(sizeof(float) * dim * dim);
	float	   *codebooks = memory(sizeof(float) * pq_codebook_floats(shape));
	float	   *rotated = memory(sizeof(float) * dim);
	uint8_t    *code = memory(pq_code_size(shape));
	void	   *mem = memory(opq_train_size(shape, n));
	double		error = opq_train(shape, rows, dim, n, iterations, 7, rotation, codebooks, mem, count, NULL);
	double		total = 0;
	double		size = 0;		/* mean square of a row, whose rounding training and encoding do not share */
	double		skew = skewness(rotation, dim);

	if (!(skew < 1e-4))
		COMPLAIN("the rows of the rotation are %g from orthonormal", skew);
	for (int i = 0; i < n; i++)
	{
		const float *row = rows + (size_t) i * dim;

		opq_rotate(rotation, dim, row, rotated);
		for (int d = 0; d < dim; d++)
			if (rotated[d] != kernel->ip(row, rotation + (size_t) d * dim, dim))
				COMPLAIN("row %d: coordinate %d is %g", i, d, rotated[d]);
		total += pq_encode(shape, codebooks, rotated, code);
		size += kernel->normsq_double(row, dim) / n;
	}
	if (!(fabs(total / n - error) <= 1e-3 * error + 1e-10 * size))
		COMPLAIN("error %g, codes of the rows have %g", error, total / n);
	opq_train(shape, rows, dim, n, iterations, 7, again, codebooks, mem, NULL, NULL);
	if (memcmp(rotation, again, sizeof(float) * dim * dim) != 0)
		COMPLAIN("the same rows give another rotation");
	free(rotation);
	free(again);
	free(codebooks);
	free(rotated);
	free(code);
	free(mem);
	return error;
}

int
main(void)
{
	static const PqShape shapes[] = {
		{16, 4, 4}, {64, 16, 4}, {65, 7, 4}, {48, 6, 8}, {130, 33, 4}
	};
	static const PqShape small[] = {{1, 1, 4}, {3, 2, 8}, {20, 5, 4}};

	kernel_init();
	for (int i = 0; i < LENGTH(shapes); i++)
	{
		const PqShape *shape = &shapes[i];
		int			n = 1500;
		float	   *rows = rows_of(n, shape->dim, 6, 0.1f);
		double		plain = trained(shape, rows, n, 0);
		double		better = trained(shape, rows, n, 12);

		if (!(better < 0.85 * plain))
			COMPLAIN("error %g after 12 iterations, %g without", better, plain);
		point("%d dimensions in %d parts of %d bits: a rotation that errs less", shape->dim, shape->m, shape->bits);
		free(rows);
	}
	if (interrupts == 0)
		COMPLAIN("no look at interrupts");
	point("interrupts are looked at");

	for (int i = 0; i < LENGTH(small); i++)
	{
		const PqShape *shape = &small[i];
		int			n = 40;
		float	   *rows = rows_of(n, shape->dim, 1, 0);

		if (!(trained(shape, rows, n, 5) >= 0))
			COMPLAIN("no error");
		trained(shape, rows, 1, 3);
		memset(rows, 0, sizeof(float) * n * shape->dim);
		if (trained(shape, rows, n, 3) != 0)
			COMPLAIN("zero rows have an error");
		for (int k = 0; k < n * shape->dim; k++)
			rows[k] = 1e18f * uniform();
		trained(shape, rows, n, 3);
		point("%d dimensions: rows on a line, one row, zero rows, large rows", shape->dim);
		free(rows);
	}
	return done();
}
