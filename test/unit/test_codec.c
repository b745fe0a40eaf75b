/*-------------------------------------------------------------------------
 *
 * test_codec.c
 *	  Every codec: estimates near the truth, without bias, exact for the value
 *	  itself (rabitq, pq, opq); bounds below; one by one as in a page; what is not below
 *	  a limit stays there; areas give back what was put; any value safe.
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
static float out[ROWS];
static float bound[ROWS];
static float block[ROWS];
static float first[ROWS];
static int	below[ROWS];
static char *records;
static uint8_t *codes;
static float one_record[MAX_WORK];
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

static char *
record(const Codec *codec, int i)
{
	return records + codec_record_size(codec) * i;
}

/* Encodes row i, keeps its record and puts it into the area. */
static void
make(const Codec *codec, const CodecArea *area, int i)
{
	float		factors[CODEC_MAX_FACTORS];

	codec_transform(codec, rows[i], work);
	codec_encode(codec, work, work_centre, scratch,
				 (uint8_t *) record(codec, i) + sizeof(float) * codec->nfactors, factors);
	memcpy(record(codec, i), factors, sizeof(float) * codec->nfactors);
	codec_put(codec, area, codes, i, record(codec, i));
}

static void
begin(CodecQuery *query, const Codec *codec, const CodecArea *area, void *memory,
	  float width, float first_width)
{
	codec_query_begin(query, codec, area, q, memory);
	query->width = width;
	query->first_width = first_width;
}

/* Areas for any number of rows: room for nearly as many, none of it beyond what was given */
static void
check_areas(CodecKind kind, const char *name, int dim, int bits, int m)
{
	Codec		codec;
	int			filled = 0;

	if (!codec_init(&codec, kind, dim, bits, m, 7))
		abort();
	for (int most = 1; most <= 400; most++)
	{
		CodecArea	area;

		codec_area(&codec, most, &area);
		if (area.size > (size_t) most * codec_record_size(&codec))
			COMPLAIN("%zu bytes for %d rows", area.size, most);
		if (area.rows > most || area.rows < 1 ||
			(kind == CODEC_RABITQ && area.rows < most - most / 32))
			COMPLAIN("room for %d rows of %d", area.rows, most);
		filled += area.blocks * 32 > area.rows;
	}
	/* somewhere it must have been worth it */
	if (filled == 0 ? kind == CODEC_RABITQ && dim == 100 : codec.groups == 0 || kind != CODEC_RABITQ)
		COMPLAIN("%d blocks that are not full", filled);
	point("%s, %d dimensions, %d bits: areas for any number of rows (%d)", name, dim, bits, filled);
}

/* most: root mean square error allowed, as a share of the mean distance */
static void
check(CodecKind kind, const char *name, int dim, int bits, int m, float far, double most)
{
	Codec		codec;
	CodecQuery	query;
	CodecArea	area;
	int			nrows;
	float	   *learnt;
	void	   *memory;
	void	   *training;
	double		sum = 0;
	double		bias = 0;
	double		mean = 0;
	double		error = 0;
	double		whole = 0;
	double		lost;

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
	training = get(codec_space_memory(&codec, ROWS));
	codec_learn_space(&codec, residuals, ROWS, training, NULL, NULL);
	free(training);
	if (!(codec_space_skew(&codec) < 1e-4))
		COMPLAIN("no rotation: %g off", codec_space_skew(&codec));
	for (int i = 0; kind == CODEC_OPQ && i < ROWS; i++)
	{
		codec_transform(&codec, residuals + (size_t) i * dim, work);
		memcpy(residuals + (size_t) i * dim, work, sizeof(float) * dim);
	}
	training = get(codec_train_memory(&codec, ROWS));
	for (int part = 0; part < codec_train_parts(&codec); part++)
		codec_train(&codec, part, residuals, ROWS, training, NULL, NULL);
	free(training);

	codec_area(&codec, ROWS, &area);
	if (area.rows > ROWS || area.size > (size_t) ROWS * codec_record_size(&codec))
		COMPLAIN("an area of %zu bytes for %d rows", area.size, area.rows);
	nrows = area.rows;
	codes = get(area.size);
	records = get(codec_record_size(&codec) * nrows);
	memset(codes, 0xa5, area.size);
	codec_transform(&codec, centre, work_centre);

	/* what a code leaves of the residual, as a share of it; rabitq's as quant/README.md has it */
	for (int i = 0; i < ROWS; i++)
	{
		float		factors[CODEC_MAX_FACTORS];

		codec_transform(&codec, rows[i], work);
		error += codec_quantisation_error(&codec, work, work_centre, scratch, (uint8_t *) one_record, factors);
		whole += distance(work, work_centre, codec.work_dim);
	}
	error /= whole;
	lost = bits == 1 ? 0.363 : bits == 2 ? 0.118 : dim <= 128 ? 0.0105 : 0.0112;
	if (kind == CODEC_RABITQ && dim >= 100 && fabs(error / lost - 1) > 0.1)
		COMPLAIN("share %g of the residual is lost", error);
	if (kind != CODEC_RABITQ && !(error < (kind == CODEC_SQ8 ? 0.001 : 0.5)))
		COMPLAIN("share %g of the residual is lost", error);
	point("%s, %d dimensions, %d bits: quantisation error (%.4f)", name, dim, bits, error);

	for (int i = 0; i < nrows; i++)
		make(&codec, &area, i);
	for (int i = 0; i < nrows; i += 7)
	{
		/* rows that are put anew, in any order, leave the others alone */
		codec_put(&codec, &area, codes, i, record(&codec, (i + 31) % nrows));
		codec_put(&codec, &area, codes, i, record(&codec, i));
	}
	for (int i = 0; i < nrows; i++)
	{
		codec_get(&codec, &area, codes, i, one_record);
		if (memcmp(one_record, record(&codec, i), codec_record_size(&codec)) != 0)
			COMPLAIN("row %d is not what was put", i);
	}
	point("%s, %d dimensions, %d bits: areas", name, dim, bits);

	training = get(codec_query_memory(&codec));
	codec_transform(&codec, rows[0], q);
	begin(&query, &codec, &area, training, 0, 1e9f);
	codec_query_list(&query, work_centre, (float) distance(q, work_centre, codec.work_dim));
	codec_bounds(&query, codes, 0, nrows, INFINITY, out, below);
	for (int i = 1; i < nrows; i++)
	{
		double		truth = distance(rows[0], rows[i], dim);
		double		off = out[i] - truth;

		sum += off * off / (nrows - 1);
		bias += off / (nrows - 1);
		mean += truth / (nrows - 1);
	}
	if (sqrt(sum) > most * mean)
		COMPLAIN("error %g of distances of %g", sqrt(sum), mean);
	if (fabs(bias) > 0.6 * most * mean)
		COMPLAIN("bias %g of distances of %g", bias, mean);
	if (kind != CODEC_SQ8 && fabs(out[0]) > (dim < 100 ? 0.1 : 0.06) * mean)
		COMPLAIN("the value itself is at %g, others at %g", out[0], mean);
	point("%s, %d dimensions, %d bits: estimates (%.4f)", name, dim, bits, sqrt(sum) / mean);

	begin(&query, &codec, &area, training, 0.5f, 2);
	codec_query_list(&query, work_centre, (float) distance(q, work_centre, codec.work_dim));
	codec_bounds(&query, codes, 0, nrows, INFINITY, bound, below);
	for (int i = 0; i < nrows; i++)
	{
		float		factors[CODEC_MAX_FACTORS];
		float		one;

		memcpy(factors, record(&codec, i), sizeof(float) * codec.nfactors);
		codec_bounds(&query, codes, i / 32 * 32, i % 32 + 1, INFINITY, block, below);
		one = block[i % 32];
		if (memcmp(&one, &bound[i], sizeof(float)) != 0)
			COMPLAIN("row %d: %g in a part, %g among others", i, one, bound[i]);
		if (!(bound[i] <= out[i]) && !codec_has_first(&codec))
			COMPLAIN("row %d: bound %g above the estimate %g", i, bound[i], out[i]);
		/* what codec_error() says is taken off makes the bound, or somewhat more is */
		one = codec_error(&query, factors, false, out[i], bound[i]);
		if (kind == CODEC_RABITQ && i > 0 && !codec_has_first(&codec) && !(one > 0.49 && one < 0.8))
			COMPLAIN("row %d: %g units taken off", i, one);
		one = codec_estimate(&query, codes, i, bound[i]);
		if (!codec_has_first(&codec) && bound[i] > 0.1 * mean && fabs(one - out[i]) > 0.01 * mean)
			COMPLAIN("row %d: bound %g was made of %g, not %g", i, bound[i], out[i], one);
	}
	point("%s, %d dimensions, %d bits: bounds", name, dim, bits);

	/* the least of them, all, none */
	codec_bounds(&query, codes, 0, nrows, -INFINITY, first, below);
	for (int l = 0; l < 40; l++)
	{
		float		limit = bound[(size_t) l * nrows / 40];
		int			count;

		count = codec_bounds(&query, codes, 0, nrows, limit, block, below);
		for (int i = 0, j = 0; i < nrows; i++)
			if (bound[i] < limit && (j == count || below[j++] != i))
				COMPLAIN("row %d is not told as below the limit", i);
		for (int i = 0; i < nrows; i++)
		{
			if (bound[i] < limit ? block[i] != bound[i] : block[i] < limit)
				COMPLAIN("row %d: bound %g with the limit %g, %g without", i, block[i], limit, bound[i]);
			if (codec_has_first(&codec) && first[i] > bound[i])
				COMPLAIN("row %d: bound %g, but the first plane says %g", i, bound[i], first[i]);
		}
	}
	point("%s, %d dimensions, %d bits: limits", name, dim, bits);

	/* rows on their own, in no block: of rabitq the same bits */
	if (codec.groups > 0)
	{
		CodecArea	alone;
		uint8_t    *codes_alone;

		codec_area(&codec, 31, &alone);
		if (alone.blocks != 0 || (area.blocks != nrows / 32 && area.blocks != (nrows + 31) / 32) ||
			(codec_has_parts(&codec) && nrows % 32 != 0))
			COMPLAIN("%d blocks for %d rows", area.blocks, nrows);
		codes_alone = get(alone.size);
		begin(&query, &codec, &alone, training, 0.5f, 2);
		codec_query_list(&query, work_centre, (float) distance(q, work_centre, codec.work_dim));
		for (int i = 0; i < nrows; i++)
		{
			codec_put(&codec, &alone, codes_alone, i % 31, record(&codec, i));
			codec_bounds(&query, codes_alone, 0, i % 31 + 1, INFINITY, block, below);
			if (codec_has_parts(&codec) ? fabs(block[i % 31] - bound[i]) > 0.06 * mean : block[i % 31] != bound[i])
				COMPLAIN("row %d: %g alone, %g in a block", i, block[i % 31], bound[i]);
		}
		free(codes_alone);
		point("%s, %d dimensions, %d bits: blocks and rows", name, dim, bits);
	}

	if (codec_has_first(&codec))
	{
		Codec		one;

		if (!codec_init(&one, CODEC_RABITQ, dim, 1, 0, 7) || one.code_size != codec.first_size)
			abort();
		codec_attach(&one, NULL, memory);
		for (int i = 0; i < nrows; i++)
		{
			float		factors[CODEC_MAX_FACTORS];

			codec_transform(&one, rows[i], work);
			codec_encode(&one, work, work_centre, scratch, (uint8_t *) one_record, factors);
			if (memcmp(one_record, record(&codec, i) + sizeof(float) * codec.nfactors, one.code_size) != 0 ||
				memcmp(factors, record(&codec, i), sizeof(float) * 2) != 0)
				COMPLAIN("row %d: the first plane is no code of 1 bit", i);
		}
		codec_attach(&codec, learnt, memory);
		point("%s, %d dimensions, %d bits: first planes", name, dim, bits);
	}

	/* values that overflow, nothing at all, the centre */
	for (int i = 0; i < 4; i++)
	{
		for (int d = 0; d < dim; d++)
			rows[i][d] = i == 0 ? FLT_MAX / 4 : i == 1 ? -1e20f : i == 2 ? 0 : centre[d];
		make(&codec, &area, i);
		for (int j = 0; j < codec.nfactors; j++)
		{
			float		factor;

			memcpy(&factor, (char *) record(&codec, i) + sizeof(float) * j, sizeof(float));
			if (!isfinite(factor))
				COMPLAIN("value %d: factor %d is %g", i, j, factor);
		}
	}
	for (int i = 0; i < 3; i++)
	{
		codec_transform(&codec, rows[i], q);
		begin(&query, &codec, &area, training, 1, 2);
		codec_query_list(&query, work_centre, i == 2 ? (float) distance(q, work_centre, codec.work_dim) : FLT_MAX);
		codec_bounds(&query, codes, 0, nrows, INFINITY, out, below);
		for (int j = 0; j < nrows; j++)
			if (isnan(out[j]))
				COMPLAIN("query %d, row %d: not a number", i, j);
	}
	point("%s, %d dimensions, %d bits: any value", name, dim, bits);
	free(training);
	free(codes);
	free(records);
	free(learnt);
	free(memory);
}

/* The step goes by the dimensions that values have, not by those behind them: codes of few err as codes of all do. */
static void
check_step(int dim, int full, int bits)
{
	double		errors[2] = {0};

	for (int k = 0; k < 2; k++)
	{
		Codec		codec;
		int			dims = k == 0 ? dim : full;
		void	   *memory;
		float		factors[CODEC_MAX_FACTORS];

		if (!codec_init(&codec, CODEC_RABITQ, dims, bits, 0, 7))
			abort();
		memory = get(codec_memory(&codec));
		codec_attach(&codec, NULL, memory);
		memset(work_centre, 0, sizeof(work_centre));
		for (int i = 0; i < ROWS; i++)
		{
			double		size = 0;

			for (int d = 0; d < dims; d++)
			{
				residuals[d] = (float) normal();
				size += residuals[d] * residuals[d];
			}
			codec_transform(&codec, residuals, work);
			errors[k] += codec_quantisation_error(&codec, work, work_centre, scratch,
												  (uint8_t *) one_record, factors) / size / ROWS;
		}
		free(memory);
	}
	if (!(errors[0] < 1.02 * errors[1]))
		COMPLAIN("error %.5f, of %d dimensions %.5f", errors[0], full, errors[1]);
	point("rabitq, %d dimensions, %d bits: as good a step as of %d", dim, bits, full);
}

int
main(void)
{
	static const int dims[] = {1, 7, 100, 300};
	/* planes of rabitq that end in the middle of 16 bytes, or of 32, and with them */
	static const int narrow[] = {64, 65, 120, 136, 200, 256, 257};
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
		check(CODEC_OPQ, "opq", dim, 8, (dim + 3) / 4, far, 0.45);
		check(CODEC_OPQ, "opq", dim, 4, (dim + 1) / 2, far, 0.45);
		check(CODEC_SQ8, "sq8", dim, 8, 0, far, 0.02);
	}
	for (int i = 0; i < LENGTH(narrow); i++)
		for (int bits = 1; bits <= 4; bits *= 2)
			check(CODEC_RABITQ, "rabitq", narrow[i], bits, 0, 0,
				  (narrow[i] < 100 ? 2 : 1) * (bits == 1 ? 0.10 : bits == 2 ? 0.06 : 0.03));
	for (int bits = 1; bits <= 4; bits *= 2)
	{
		check_areas(CODEC_RABITQ, "rabitq", 100, bits, 0);
		check_areas(CODEC_RABITQ, "rabitq", 768, bits, 0);
		check_areas(CODEC_RABITQ, "rabitq", 5000, bits, 0);
	}
	check_step(64, 128, 4);
	check_step(136, 256, 4);
	check_areas(CODEC_PQ, "pq", 100, 4, 50);
	check_areas(CODEC_SQ8, "sq8", 100, 8, 0);
	if (codec_init(&codec, CODEC_NONE, 8, 8, 0, 1) || codec_init(&codec, CODEC_PQ, 8, 8, 9, 1) ||
		codec_init(&codec, CODEC_PQ, 8, 5, 4, 1) || codec_init(&codec, CODEC_RABITQ, 8, 3, 0, 1) ||
		codec_init(&codec, CODEC_RABITQ, 0, 1, 0, 1) || codec_init(&codec, CODEC_SQ8, 17000, 8, 0, 1) ||
		codec_init(&codec, CODEC_OPQ, 8, 2, 4, 1) || codec_init(&codec, CODEC_OPQ, 2049, 8, 100, 1))
		COMPLAIN("a codec that cannot be");
	point("what cannot be is refused");
	return done();
}
