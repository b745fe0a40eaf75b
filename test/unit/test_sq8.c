/*-------------------------------------------------------------------------
 *
 * test_sq8.c
 *	  Scalar quantisation: codes within half a step, estimates those of what a
 *	  code stands for, any value safe.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/random.h"
#include "quant/sq8.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define MAX_DIM			800
#define ROWS			400

static float rows[ROWS][MAX_DIM];
static uint8_t codes[ROWS * MAX_DIM];
static float least[MAX_DIM];
static float step[MAX_DIM];
static float x[MAX_DIM];
static float scratch[MAX_DIM];
static float out[ROWS];
static uint64_t state = 8;

static void
report(const char *what, int dim)
{
	point("%d dimensions: %s", dim, what);
}

static double
uniform(void)
{
	return (double) (random_next(&state) >> 11) * 0x1p-53;
}

static void
check(int dim)
{
	Sq8Range	range = {dim, least, step};
	float		base;

	for (int i = 0; i < ROWS; i++)
		for (int d = 0; d < dim; d++)
			rows[i][d] = (float) ((d % 3 == 2 ? 5 : 0.01 * (1 + d % 50) * (uniform() - 0.3)) + d % 7 * 100);
	sq8_train_begin(&range);
	for (int i = 0; i < ROWS; i += 100)
		sq8_train(&range, rows[i], MAX_DIM, 100);
	sq8_train_end(&range);

	for (int i = 0; i < ROWS; i++)
	{
		double		error = sq8_encode(&range, rows[i], codes + i * dim);
		double		sum = 0;

		sq8_decode(&range, codes + i * dim, x);
		for (int d = 0; d < dim; d++)
		{
			double		r = (double) rows[i][d] - x[d];

			if (fabs(r) > 0.5 * step[d] + 2e-7 * fabs(rows[i][d]))
				COMPLAIN("row %d, dimension %d: %g became %g, a step is %g", i, d, rows[i][d], x[d], step[d]);
			sum += r * r;
		}
		if (fabs(sum - error) > 1e-6 * sum)
			COMPLAIN("row %d: error %g, the code is at %g", i, error, sum);
	}
	report("a code is off by half a step at most", dim);

	base = sq8_query_l2sq(&range, rows[0], scratch);
	sq8_estimate_l2sq(&range, scratch, base, codes, ROWS, out);
	for (int i = 0; i < ROWS; i++)
	{
		double		sum = 0;

		for (int d = 0; d < dim; d++)
		{
			double		r = rows[0][d] - (least[d] + step[d] * (codes[i * dim + d] + 0.5));

			sum += r * r;
		}
		/* the middle of a first step at 600 is known to 3e-5 */
		if (fabs(sum - out[i]) > 1e-3 * sum + 3e-5 * sqrt(dim * sum) + 1e-6)
			COMPLAIN("row %d: distance %g estimated as %g", i, sum, out[i]);
	}
	report("estimates of distances", dim);

	base = sq8_query_ip(&range, rows[0], scratch);
	sq8_estimate_ip(&range, scratch, base, codes, ROWS, out);
	for (int i = 0; i < ROWS; i++)
	{
		double		sum = 0;

		sq8_decode(&range, codes + i * dim, x);
		for (int d = 0; d < dim; d++)
			sum += (double) rows[0][d] * x[d];
		if (fabs(sum + out[i]) > 1e-5 * (1 + fabs(sum)))
			COMPLAIN("row %d: inner product %g estimated as %g", i, sum, -out[i]);
	}
	report("estimates of inner products", dim);
}

/* What the sample did not have, and what is beyond measure. */
static void
check_hostile(int dim)
{
	static const float values[] = {0, -0.0f, 1e-45f, -1e19f, 1e20f, FLT_MAX, -FLT_MAX};
	Sq8Range	range = {dim, least, step};

	sq8_train_begin(&range);
	sq8_train_end(&range);
	for (int d = 0; d < dim; d++)
		if (least[d] != 0 || step[d] != 0)
			COMPLAIN("dimension %d of no rows: %g, %g", d, least[d], step[d]);
	for (int i = 0; i < ROWS; i++)
		for (int d = 0; d < dim; d++)
			rows[i][d] = values[random_below(&state, LENGTH(values))];
	sq8_train(&range, rows[0], MAX_DIM, 1);
	sq8_train_begin(&range);
	sq8_train(&range, rows[0], MAX_DIM, 20);
	sq8_train_end(&range);
	for (int i = 0; i < ROWS; i++)
	{
		sq8_encode(&range, rows[i], codes);
		sq8_decode(&range, codes, x);
		for (int d = 0; d < dim; d++)
			if (!isfinite(x[d]))
				COMPLAIN("row %d, dimension %d: %g became %g", i, d, rows[i][d], x[d]);
	}
	report("values beyond measure", dim);
}

int
main(void)
{
	static const int dims[] = {1, 3, 15, 16, 17, 100, 384, 799, 800};

	for (int i = 0; i < LENGTH(dims); i++)
	{
		check(dims[i]);
		check_hostile(dims[i]);
	}
	return done();
}
