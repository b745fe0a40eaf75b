/*-------------------------------------------------------------------------
 *
 * test_codec.c
 *	  Every codec: estimates near the truth, without bias, exact for the value
 *	  itself (rabitq, pq); bounds below; one by one as in a row; any value safe.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/codec.h"
#include "quant/random.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define MAX_DIM			300
#define MAX_WORK		384
#define ROWS			2000

static float rows[ROWS][MAX_DIM];
static float residuals[ROWS * MAX_DIM];
static float centre[MAX_DIM];
static float work_centre[MAX_WORK];
static float work[MAX_WORK];
static float q[MAX_WORK];
static float scratch[2 * MAX_WORK];
static float factors[ROWS * CODEC_MAX_FACTORS];
static float out[ROWS];
static float bound[ROWS];
static uint64_t state = 11;

static double
normal(void)
{
	double		sum = -6;

	for (int i = 0; i < 12; i++)
		sum += (double) (random_next(&state) >> 11) * 0x1p-53;
	return sum;
}

static void *
get(size_t size)
{
	void	   *memory = NULL;

	if (posix_memalign(&memory, 64, size + 64) != 0)
		abort();
	return memory;
}

static double
distance(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int d = 0; d < n; d++)
		sum += ((double) a[d] - b[d]) * ((double) a[d] - b[d]);
	return sum;
}

/* most: root mean square error allowed, as a share of the mean distance */
static void
check(CodecKind kind, const char *name, int dim, int bits, int m, float far, double most)
{
	Codec		codec;
	CodecQuery	query;
	uint8_t    *codes;
	float	   *learnt;
	void	   *memory;
	void	   *training;
	double		sum = 0;
	double		bias = 0;
	double		mean = 0;
	double		error = 0;
	double		whole = 0;

	if (!codec_init(&codec, kind, dim, bits, m, 7))
		abort();
	for (int d = 0; d < dim; d++)
		centre[d] = (float) (far + normal());
	for (int i = 0; i < ROWS; i++)
		for (int d = 0; d < dim; d++)
		{
			rows[i][d] = (float) (centre[d] + normal());
			residuals[(size_t) i * dim + d] = rows[i][d] - centre[d];
		}
	learnt = get(sizeof(float) * codec_state_floats(&codec));
	memory = get(codec_memory(&codec));
	codec_attach(&codec, learnt, memory);
	training = get(codec_train_memory(&codec, ROWS));
	for (int part = 0; part < codec_train_parts(&codec); part++)
		codec_train(&codec, part, residuals, ROWS, training, NULL, NULL);
	free(training);

	codes = get(codec.code_size * ROWS);
	codec_transform(&codec, centre, work_centre);

	/* what a code leaves of the residual, as a share of it; rabitq's as quant/README.md has it */
	for (int i = 0; i < ROWS; i++)
	{
		codec_transform(&codec, rows[i], work);
		error += codec_quantisation_error(&codec, work, work_centre, scratch, codes, factors);
		whole += distance(work, work_centre, codec.work_dim);
	}
	error /= whole;
	if (kind == CODEC_RABITQ && dim >= 100 &&
		fabs(error / (bits == 1 ? 0.363 : bits == 2 ? 0.118 : dim <= 128 ? 0.0105 : 0.0112) - 1) > 0.1)
		COMPLAIN("share %g of the residual is lost", error);
	if (kind != CODEC_RABITQ && !(error < (kind == CODEC_SQ8 ? 0.001 : 0.5)))
		COMPLAIN("share %g of the residual is lost", error);
	point("%s, %d dimensions, %d bits: quantisation error (%.4f)", name, dim, bits, error);

	for (int i = 0; i < ROWS; i++)
	{
		codec_transform(&codec, rows[i], work);
		codec_encode(&codec, work, work_centre, scratch, codes + i * codec.code_size,
					 factors + i * codec.nfactors);
	}
	training = get(codec_query_memory(&codec));
	codec_transform(&codec, rows[0], q);
	codec_query_begin(&query, &codec, q, training);
	codec_query_list(&query, work_centre, (float) distance(q, work_centre, codec.work_dim));
	codec_estimate(&query, 0, codes, factors, ROWS, out);
	for (int i = 1; i < ROWS; i++)
	{
		double		truth = distance(rows[0], rows[i], dim);
		double		off = out[i] - truth;

		sum += off * off / (ROWS - 1);
		bias += off / (ROWS - 1);
		mean += truth / (ROWS - 1);
	}
	if (sqrt(sum) > most * mean)
		COMPLAIN("error %g of distances of %g", sqrt(sum), mean);
	if (fabs(bias) > 0.6 * most * mean)
		COMPLAIN("bias %g of distances of %g", bias, mean);
	if (kind != CODEC_SQ8 && fabs(out[0]) > 0.06 * mean)
		COMPLAIN("the value itself is at %g, others at %g", out[0], mean);
	point("%s, %d dimensions, %d bits: estimates (%.4f)", name, dim, bits, sqrt(sum) / mean);

	codec_estimate(&query, 0.5f, codes, factors, ROWS, bound);
	for (int i = 0; i < ROWS; i++)
	{
		float		one;

		codec_estimate(&query, 0.5f, codes + i * codec.code_size, factors + i * codec.nfactors, 1, &one);
		if (memcmp(&one, &bound[i], sizeof(float)) != 0)
			COMPLAIN("row %d: %g alone, %g among others", i, one, bound[i]);
		if (!(bound[i] <= out[i]))
			COMPLAIN("row %d: bound %g above the estimate %g", i, bound[i], out[i]);
		/* what codec_error() says is taken off makes the bound */
		if (kind == CODEC_RABITQ && i > 0 &&
			fabs(codec_error(&query, factors + i * codec.nfactors, out[i], bound[i]) - 0.5) > 0.02)
			COMPLAIN("row %d: %g units taken off", i, codec_error(&query, factors + i * codec.nfactors, out[i], bound[i]));
	}
	point("%s, %d dimensions, %d bits: bounds", name, dim, bits);

	/* values that overflow, nothing at all, the centre */
	for (int i = 0; i < 4; i++)
	{
		for (int d = 0; d < dim; d++)
			rows[i][d] = i == 0 ? FLT_MAX / 4 : i == 1 ? -1e20f : i == 2 ? 0 : centre[d];
		codec_transform(&codec, rows[i], work);
		codec_encode(&codec, work, work_centre, scratch, codes + i * codec.code_size,
					 factors + i * codec.nfactors);
		for (int j = 0; j < codec.nfactors; j++)
			if (!isfinite(factors[i * codec.nfactors + j]))
				COMPLAIN("value %d: factor %d is %g", i, j, factors[i * codec.nfactors + j]);
	}
	for (int i = 0; i < 3; i++)
	{
		codec_transform(&codec, rows[i], q);
		codec_query_begin(&query, &codec, q, training);
		codec_query_list(&query, work_centre, i == 2 ? (float) distance(q, work_centre, codec.work_dim) : FLT_MAX);
		codec_estimate(&query, 1, codes, factors, ROWS, out);
		for (int j = 0; j < ROWS; j++)
			if (isnan(out[j]))
				COMPLAIN("query %d, row %d: not a number", i, j);
	}
	point("%s, %d dimensions, %d bits: any value", name, dim, bits);
	free(training);
	free(codes);
	free(learnt);
	free(memory);
}

int
main(void)
{
	static const int dims[] = {1, 7, 100, 300};
	Codec		codec;

	kernel_init();
	for (int i = 0; i < LENGTH(dims); i++)
	{
		int			dim = dims[i];
		float		far = i % 2 == 0 ? 0 : 100;

		check(CODEC_RABITQ, "rabitq", dim, 1, 0, far, dim < 100 ? 0.6 : 0.10);
		check(CODEC_RABITQ, "rabitq", dim, 2, 0, far, dim < 100 ? 0.3 : 0.06);
		check(CODEC_RABITQ, "rabitq", dim, 4, 0, far, dim < 100 ? 0.2 : 0.03);
		check(CODEC_PQ, "pq", dim, 8, (dim + 3) / 4, far, 0.45);
		check(CODEC_PQ, "pq", dim, 4, (dim + 1) / 2, far, 0.45);
		check(CODEC_SQ8, "sq8", dim, 8, 0, far, 0.02);
	}
	if (codec_init(&codec, CODEC_NONE, 8, 8, 0, 1) || codec_init(&codec, CODEC_PQ, 8, 8, 9, 1) ||
		codec_init(&codec, CODEC_PQ, 8, 5, 4, 1) || codec_init(&codec, CODEC_RABITQ, 8, 3, 0, 1) ||
		codec_init(&codec, CODEC_RABITQ, 0, 1, 0, 1) || codec_init(&codec, CODEC_SQ8, 17000, 8, 0, 1))
		COMPLAIN("a codec that cannot be");
	point("what cannot be is refused");
	return done();
}
