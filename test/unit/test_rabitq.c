/*-------------------------------------------------------------------------
 *
 * test_rabitq.c
 *	  Codes and estimates: unbiased, within the papers' bounds, finite, and the
 *	  same at every level.
 *
 * Gao and Long (SIGMOD 2024): for unit vectors o and q, and x the unit vector of
 * o's code, <o, q> is estimated by <x, q> / <o, x>, without bias over random
 * rotations, and the error is beyond e sqrt((1 - <o, x>^2) / <o, x>^2 / (D - 1))
 * with a probability that falls like exp(-c e^2): it is about as if normal.
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
#include "quant/rabitq.h"
#include "quant/random.h"
#include "quant/rotation.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define MAX_PADDED		ROTATION_MAX_DIM

static void
report(const char *what, const char *level)
{
	point("%s: %s", level, what);
}

static uint64_t state = 20240609;

static double
uniform(void)
{
	return (double) (random_next(&state) >> 11) * 0x1p-53;
}

static double
normal(void)
{
	return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

static void *
allocate(size_t size)
{
	void	   *mem = NULL;

	if (posix_memalign(&mem, 64, size + 64) != 0)
	{
		printf("Bail out! no memory\n");
		exit(2);
	}
	return mem;
}

static double
product(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static double
distance(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
	return sum;
}

/* The number u of one dimension of a code, by definition */
static int
code_value(const uint8_t *code, int dims, int bits, int i)
{
	int			w = 0;

	for (int p = 0; p < bits; p++)
		w = 2 * w + (code[p * (dims / 8) + i / 8] >> i % 8 & 1);
	return 2 * w - ((1 << bits) - 1);
}

/* One place to work in: vectors as they are, and rotated. */
typedef struct Place
{
	int			dim;
	int			padded;
	Rotation	rotation;
	void	   *signs;
	float	   *x,
			   *c,
			   *q,
			   *mean,
			   *rx,
			   *rc,
			   *rq,
			   *rmean;
	uint8_t    *code;
	RabitqFactor factor;
	RabitqQuery query;
	void	   *query_mem;
} Place;

static Place
make_place(int dim)
{
	Place		place;

	place.dim = dim;
	place.padded = rotation_padded(dim);
	place.signs = allocate(rotation_size(dim));
	place.x = allocate(sizeof(float) * dim);
	place.c = allocate(sizeof(float) * dim);
	place.q = allocate(sizeof(float) * dim);
	place.mean = allocate(sizeof(float) * dim);
	place.rx = allocate(sizeof(float) * place.padded);
	place.rc = allocate(sizeof(float) * place.padded);
	place.rq = allocate(sizeof(float) * place.padded);
	place.rmean = allocate(sizeof(float) * place.padded);
	place.code = allocate(rabitq_code_size(place.padded, 4));
	place.query_mem = allocate(rabitq_query_size(place.padded));
	rotation_init(&place.rotation, dim, random_next(&state), place.signs);
	memset(place.mean, 0, sizeof(float) * dim);
	return place;
}

static void
free_place(Place *place)
{
	free(place->signs);
	free(place->x);
	free(place->c);
	free(place->q);
	free(place->mean);
	free(place->rx);
	free(place->rc);
	free(place->rq);
	free(place->rmean);
	free(place->code);
	free(place->query_mem);
}

/* Centre and rotate x, c and q. */
static void
rotate_place(Place *place)
{
	float	   *centred = allocate(sizeof(float) * place->dim);
	const float *plain[] = {place->x, place->c, place->q};
	float	   *rotated[] = {place->rx, place->rc, place->rq};

	for (int v = 0; v < 3; v++)
	{
		for (int i = 0; i < place->dim; i++)
			centred[i] = plain[v][i] - place->mean[i];
		rotate(&place->rotation, centred, rotated[v]);
	}
	rotate(&place->rotation, place->mean, place->rmean);
	free(centred);
}

/* Estimate of the distance (or of -2 <q, x>) through the code, base exact. */
static float
estimate(Place *place, int code_dims, int bits, RabitqForm form)
{
	double		base = form == RABITQ_L2 ? distance(place->q, place->c, place->dim) :
		-2 * product(place->q, place->c, place->dim);
	float		result;

	rabitq_encode(place->rx, place->rc, place->rmean, place->padded, code_dims, bits, form,
				  place->code, &place->factor);
	rabitq_query_prepare(&place->query, place->rq, code_dims, bits, place->query_mem);
	rabitq_estimate(&place->query, (float) base, place->code, &place->factor, 1, &result);
	return result;
}

/*
 * Many rotations of one triple: the error's mean is nought beside its deviation, and its
 * deviation what the theory says.  r = x - c, the estimate's error is that of -2
 * <r, q - c>, where only <u, q> is not exact.
 */
static void
test_unbiased(void)
{
	static const int sizes[] = {64, 128, 200, 384, 768, 1536};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int form = 0; form < 2; form++)
			{
				Place		place = make_place(sizes[s]);
				int			rounds = 1500;
				double		sum = 0,
							squares = 0,
							expected = 0,
							along,
							across,
							exact,
							rr,
							own;
				int			beyond = 0;

				for (int i = 0; i < place.dim; i++)
				{
					place.c[i] = (float) normal();
					place.x[i] = place.c[i] + 0.6f * (float) normal();
					place.q[i] = place.c[i] + 0.7f * (float) normal();
				}
				exact = form == RABITQ_L2 ? distance(place.q, place.x, place.dim) :
					-2 * product(place.q, place.x, place.dim);
				rr = distance(place.x, place.c, place.dim);
				/* of q - c, only what is not along r is subject to error */
				along = (product(place.x, place.q, place.dim) - product(place.x, place.c, place.dim) -
						 product(place.c, place.q, place.dim) + product(place.c, place.c, place.dim)) / sqrt(rr);
				across = sqrt(distance(place.q, place.c, place.dim) - along * along);
				/* rounding the query to 4 bits, about 1.2 % of its square */
				own = 0.012 * product(place.q, place.q, place.dim);
				for (int round = 0; round < rounds; round++)
				{
					double		error;
					double		cosine;
					double		bound;
					double		uu = 0;
					double		ur = 0;

					rotation_init(&place.rotation, place.dim, random_next(&state), place.signs);
					rotate_place(&place);
					error = estimate(&place, place.padded, bits, (RabitqForm) form) - exact;
					sum += error;
					squares += error * error;
					for (int i = 0; i < place.padded; i++)
					{
						int			u = code_value(place.code, place.padded, bits, i);

						uu += u * u;
						ur += u * ((double) place.rx[i] - place.rc[i]);
					}
					cosine = ur / sqrt(uu * rr);
					/* of 2 <r, q - c>; u sees the query's own error, too */
					bound = 2 * sqrt(rr * (across * across * (1 - cosine * cosine) + own) /
									 (cosine * cosine) / (place.padded - 1));
					expected += bound * bound;
					beyond += fabs(error) > 3 * bound;
				}
				sum /= rounds;
				squares = sqrt(squares / rounds);
				expected = sqrt(expected / rounds);
				if (!(fabs(sum) < 5 * squares / sqrt(rounds)))
					COMPLAIN("dim %d bits %d form %d: mean error %g, of %g (deviation %g)", place.dim, bits, form,
							 sum, exact, squares);
				if (!(squares < 1.15 * expected && squares > 0.75 * expected))
					COMPLAIN("dim %d bits %d form %d: deviation %g, expected %g", place.dim, bits, form,
							 squares, expected);
				if (beyond > rounds / 100)
					COMPLAIN("dim %d bits %d form %d: %d of %d errors beyond three times the bound", place.dim,
							 bits, form, beyond, rounds);
				free_place(&place);
			}
	report("unbiased, and the error the papers tell", kernel->name);
}

/* How much of a normal vector a code holds. */
static void
test_fit(void)
{
	static const double least[] = {0, 0.795, 0.935, 0, 0.9925};
	Place		place = make_place(384);

	for (int bits = 1; bits <= 4; bits *= 2)
	{
		double		mean = 0;

		for (int round = 0; round < 100; round++)
		{
			double		uu = 0;
			double		ur = 0;

			for (int i = 0; i < 384; i++)
			{
				place.rx[i] = (float) normal();
				place.rc[i] = 0;
			}
			rabitq_encode(place.rx, place.rc, NULL, 384, 384, bits, RABITQ_L2, place.code, &place.factor);
			for (int i = 0; i < 384; i++)
			{
				int			u = code_value(place.code, 384, bits, i);

				uu += u * u;
				ur += u * (double) place.rx[i];
			}
			mean += ur / sqrt(uu * product(place.rx, place.rx, 384)) / 100;
		}
		printf("# %d bits: cosine of code and vector %.4f\n", bits, mean);
		if (!(mean > least[bits]))
			COMPLAIN("bits %d: cosine %g", bits, mean);
	}
	free_place(&place);
	report("codes are near what they stand for", kernel->name);
}

/* Data of all kinds; the error is measured against |x - c| |q - c|, as it should be. */
static void
test_kinds(void)
{
	static const char *const names[] = {"offset 1000", "1e-3", "1e4", "0 .. 255", "sparse", "1e15", "1e-15"};
	static const int sizes[] = {100, 384, 768, 3072};
	/* of |x - c| |q - mean| / sqrt(padded) */
	static const double worst[] = {0, 5, 3, 0, 1.2};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int kind = 0; kind < LENGTH(names); kind++)
			for (int bits = 1; bits <= 4; bits *= 2)
				for (int form = 0; form < 2; form++)
				{
					Place		place = make_place(sizes[s]);
					double		squares = 0;
					int			rounds = 60;

					for (int round = 0; round < rounds; round++)
					{
						double		exact;
						double		size;
						double		rounding;

						for (int i = 0; i < place.dim; i++)
						{
							double		at = kind == 0 ? 1000 + normal() : kind == 1 ? 1e-3 * normal() :
								kind == 2 ? 1e4 * normal() : kind == 3 ? floor(uniform() * 256) :
								kind == 4 ? (i % 50 == 0) * normal() : kind == 5 ? 1e15 * normal() : 1e-15 * normal();
							double		step = kind == 1 ? 1e-3 : kind == 2 ? 1e4 : kind == 5 ? 1e15 : kind == 6 ? 1e-15 : 1;

							place.c[i] = (float) at;
							if (kind == 3)
							{
								place.x[i] = (float) floor(uniform() * 256);
								place.q[i] = (float) floor(uniform() * 256);
								place.mean[i] = 127.5f;
							}
							else
							{
								place.x[i] = (float) (at + (kind == 4 ? i % 40 == 0 : 0.5) * step * normal());
								place.q[i] = (float) (at + (kind == 4 ? i % 30 == 0 : 0.5) * step * normal());
								place.mean[i] = kind == 0 ? 1000 : 0;
							}
						}
						rotation_init(&place.rotation, place.dim, random_next(&state), place.signs);
						rotate_place(&place);
						exact = form == RABITQ_L2 ? distance(place.q, place.x, place.dim) :
							-2 * product(place.q, place.x, place.dim);
						size = sqrt(distance(place.x, place.c, place.dim) *
									distance(place.q, place.mean, place.dim) / place.padded);
						/* of the estimate itself, a float: what offset 1000 does to inner products */
						rounding = 1e-6 * (form == RABITQ_L2 ? exact : fabs(exact));
						squares += pow(fmax(fabs(estimate(&place, place.padded, bits, (RabitqForm) form) - exact) - rounding, 0) / size, 2) / rounds;
					}
					if (!(sqrt(squares) < worst[bits]))
						COMPLAIN("%s, dim %d bits %d form %d: error %.2f", names[kind], place.dim, bits, form, sqrt(squares));
					free_place(&place);
				}
	report("offset, large, small, whole numbers, sparse", kernel->name);
}

/* A part of the dimensions coded: no bias, and the error of that many dimensions. */
static void
test_sketch(void)
{
	static const int sizes[][2] = {{384, 128}, {384, 256}, {1536, 1024}, {3072, 1024}, {16001, 1024}};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int form = 0; form < 2; form++)
			{
				Place		place = make_place(sizes[s][0]);
				int			code_dims = sizes[s][1];
				int			rounds = place.dim > 2000 ? 150 : 500;
				double		sum = 0;
				double		squares = 0;
				double		exact;
				double		size;

				for (int i = 0; i < place.dim; i++)
				{
					place.c[i] = (float) normal();
					place.x[i] = place.c[i] + 0.6f * (float) normal();
					place.q[i] = place.c[i] + 0.7f * (float) normal();
				}
				exact = form == RABITQ_L2 ? distance(place.q, place.x, place.dim) :
					-2 * product(place.q, place.x, place.dim);
				size = sqrt(distance(place.x, place.c, place.dim) * product(place.q, place.q, place.dim) / code_dims);
				for (int round = 0; round < rounds; round++)
				{
					double		error;

					rotation_init(&place.rotation, place.dim, random_next(&state), place.signs);
					rotate_place(&place);
					error = estimate(&place, code_dims, bits, (RabitqForm) form) - exact;
					sum += error / rounds;
					squares += error * error / rounds;
				}
				if (!(fabs(sum) < 5 * sqrt(squares / rounds)))
					COMPLAIN("dim %d of %d bits %d form %d: mean error %g, deviation %g", code_dims, place.dim,
							 bits, form, sum, sqrt(squares));
				if (!(sqrt(squares) < (bits == 1 ? 4 : 3) * size))
					COMPLAIN("dim %d of %d bits %d form %d: deviation %g, size %g", code_dims, place.dim,
							 bits, form, sqrt(squares), size);
				free_place(&place);
			}
	report("sketches", kernel->name);
}

/* Factors by their formulas, from the code as it is. */
static void
test_factors(void)
{
	static const int sizes[][2] = {{128, 128}, {384, 384}, {384, 128}, {768, 768}, {16128, 16128}, {16128, 1024}};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int form = 0; form < 2; form++)
				for (int with_mean = 0; with_mean < 2; with_mean++)
				{
					Place		place = make_place(sizes[s][0]);
					int			dims = sizes[s][0];
					int			code_dims = sizes[s][1];
					double		rr = 0,
								r_owner = 0,
								ur = 0,
								uc = 0,
								size = 0,
								add,
								k;

					for (int i = 0; i < dims; i++)
					{
						place.rx[i] = (float) normal();
						place.rc[i] = (float) normal();
						place.rmean[i] = with_mean ? (float) normal() : 0;
					}
					/* at an odd address */
					rabitq_encode(place.rx, place.rc, with_mean ? place.rmean : NULL, dims, code_dims, bits,
								  (RabitqForm) form, place.code + 1, &place.factor);
					for (int i = 0; i < dims; i++)
					{
						double		r = place.rx[i] - place.rc[i];

						rr += r * r;
						r_owner += r * ((double) place.rc[i] + place.rmean[i]);
						if (i < code_dims)
						{
							int			u = code_value(place.code + 1, code_dims, bits, i);

							ur += u * r;
							uc += u * (double) place.rc[i];
							size += fabs(u * (double) place.rc[i]);
							if ((u > 0) != (r >= 0))
								COMPLAIN("dims %d bits %d: %g has code %d", dims, bits, r, u);
						}
					}
					k = rr / ur;
					add = (form == RABITQ_L2 ? rr : -2 * r_owner) + 2 * k * uc;
					if (!(fabs(place.factor.mul + 2 * k) <= 1e-6 * k) ||
						!(fabs(place.factor.add - add) <= 1e-6 * (rr + k * size)))
						COMPLAIN("dims %d of %d bits %d form %d: add %g mul %g, not %g and %g", code_dims, dims, bits,
								 form, place.factor.add, place.factor.mul, add, -2 * k);
					free_place(&place);
				}
	report("factors by their formulas", kernel->name);
}

/* The cosine of two residuals, from their codes. */
static void
test_cosine(void)
{
	static const int sizes[] = {128, 384, 1536};
	static const double worst[] = {0, 2.2, 1.0, 0, 0.3};	/* over sqrt(dims) */

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
		{
			int			dims = sizes[s];
			float	   *a = allocate(sizeof(float) * dims);
			float	   *b = allocate(sizeof(float) * dims);
			float	   *zero = allocate(sizeof(float) * dims);
			uint8_t    *code_a = allocate(rabitq_code_size(dims, bits));
			uint8_t    *code_b = allocate(rabitq_code_size(dims, bits));
			RabitqFactor factor;
			double		sum = 0;
			double		squares = 0;
			int			rounds = 400;

			memset(zero, 0, sizeof(float) * dims);
			for (int round = 0; round < rounds; round++)
			{
				double		share = 2 * uniform() - 1;
				double		error;

				for (int i = 0; i < dims; i++)
				{
					a[i] = (float) normal();
					b[i] = (float) (share * a[i] + sqrt(1 - share * share) * normal());
				}
				rabitq_encode(a, zero, NULL, dims, dims, bits, RABITQ_L2, code_a, &factor);
				rabitq_encode(b, zero, NULL, dims, dims, bits, RABITQ_L2, code_b, &factor);
				error = rabitq_code_cosine(code_a, code_b, dims, bits) -
					product(a, b, dims) / sqrt(product(a, a, dims) * product(b, b, dims));
				sum += error / rounds;
				squares += error * error / rounds;
				if (rabitq_code_cosine(code_a, code_b, dims, bits) != rabitq_code_cosine(code_b, code_a, dims, bits))
					COMPLAIN("dims %d bits %d: not symmetric", dims, bits);
			}
			if (!(sqrt(squares) < worst[bits] / sqrt(dims)) || !(fabs(sum) < 0.01))
				COMPLAIN("dims %d bits %d: mean error %g, deviation %g", dims, bits, sum, sqrt(squares));
			if (!(fabs(rabitq_code_cosine(code_a, code_a, dims, bits) - 1) < 1e-7))
				COMPLAIN("dims %d bits %d: cosine with itself %.9g", dims, bits,
						 rabitq_code_cosine(code_a, code_a, dims, bits));
			if (bits == 1)
			{
				for (int i = 0; i < dims / 8; i++)
					code_b[i] = (uint8_t) ~code_a[i];
				if (!(fabs(rabitq_code_cosine(code_a, code_b, dims, 1) + 1) < 1e-7))
					COMPLAIN("dims %d: cosine with the opposite %.9g", dims,
							 rabitq_code_cosine(code_a, code_b, dims, 1));
			}
			free(a);
			free(b);
			free(zero);
			free(code_a);
			free(code_b);
		}
	report("cosines of codes", kernel->name);
}

/* Whatever the values, no infinity and no NaN. */
static void
test_finite(void)
{
	static const float values[] = {0.0f, -0.0f, 1e-45f, 1e-38f, 1e-20f, 1.0f, 1e15f, 1e19f, 1e30f, 3e38f, FLT_MAX, -FLT_MAX};
	static const int sizes[][2] = {{128, 128}, {384, 384}, {384, 128}};
	int			n = LENGTH(values);

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int v = 0; v < n * n * n * 2; v++)
			{
				Place		place = make_place(sizes[s][0]);
				int			dims = sizes[s][0];
				int			code_dims = sizes[s][1];
				RabitqForm	form = (RabitqForm) (v % 2);
				float		x = values[v / 2 % n];
				float		c = values[v / 2 / n % n];
				float		q = values[v / 2 / n / n];
				float		result[3];
				float		base[3] = {0.0f, 1.0f, FLT_MAX};

				for (int i = 0; i < dims; i++)
				{
					place.rx[i] = i % 3 == 0 ? x : i % 3 == 1 ? -x : 0;
					place.rc[i] = i % 4 == 0 ? c : i % 4 == 2 ? -c : 0;
					place.rq[i] = i % 5 == 0 ? q : i % 5 == 1 ? -q : 0;
				}
				rabitq_encode(place.rx, place.rc, NULL, dims, code_dims, bits, form, place.code, &place.factor);
				rabitq_query_prepare(&place.query, place.rq, code_dims, bits, place.query_mem);
				if (!isfinite(place.factor.add) || !isfinite(place.factor.mul) || !isfinite(place.query.step))
					COMPLAIN("%g %g %g: add %g mul %g step %g", x, c, q, place.factor.add, place.factor.mul,
							 place.query.step);
				for (int b = 0; b < 3; b++)
				{
					rabitq_estimate(&place.query, base[b], place.code, &place.factor, 1, &result[b]);
					if (!isfinite(result[b]))
						COMPLAIN("%g %g %g base %g: %g", x, c, q, base[b], result[b]);
					if (q == 0 && result[b] != place.factor.add + base[b] && base[b] < 2)
						COMPLAIN("the zero query gives %g, not %g", result[b], place.factor.add + base[b]);
				}
				free_place(&place);
			}
	{
		Place		place = make_place(384);

		/* no residual: the owner's own distance */
		for (int i = 0; i < 384; i++)
			place.rx[i] = place.rc[i] = place.rq[i] = (float) normal();
		for (int bits = 1; bits <= 4; bits *= 2)
		{
			float		result;

			rabitq_encode(place.rx, place.rc, NULL, 384, 384, bits, RABITQ_L2, place.code, &place.factor);
			rabitq_query_prepare(&place.query, place.rq, 384, bits, place.query_mem);
			rabitq_estimate(&place.query, 2.5f, place.code, &place.factor, 1, &result);
			if (place.factor.add != 0 || place.factor.mul != 0 || result != 2.5f)
				COMPLAIN("no residual, bits %d: add %g mul %g, estimate %g", bits, place.factor.add,
						 place.factor.mul, result);
		}
		free_place(&place);
	}
	report("finite whatever the values", kernel->name);
}

/* Codes, factors and estimates of this level, bit by bit those of scalar. */
static void
test_level(const char *name)
{
	static const int sizes[][2] = {{128, 128}, {256, 256}, {384, 384}, {384, 128}, {768, 768}, {1536, 1536}, {16128, 1024}, {16128, 16128}};
	static const int counts[] = {0, 1, 3, 4, 5, 31, 32, 33, 64, 65, 150};
	const KernelTable *level = kernel;

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int count = 0; count < LENGTH(counts); count++)
			{
				int			dims = sizes[s][0];
				int			code_dims = sizes[s][1];
				int			n = dims > 2000 && counts[count] > 5 ? 2 : counts[count];
				size_t		code_size = rabitq_code_size(code_dims, bits);
				float	   *x = allocate(sizeof(float) * dims);
				float	   *c = allocate(sizeof(float) * dims);
				float	   *q = allocate(sizeof(float) * dims);
				uint8_t    *codes[2];
				RabitqFactor *factors[2];
				float	   *estimates[2];
				float		step[2];
				void	   *mem = allocate(rabitq_query_size(code_dims));

				for (int side = 0; side < 2; side++)
				{
					codes[side] = allocate(code_size * n);
					factors[side] = allocate(sizeof(RabitqFactor) * n);
					estimates[side] = allocate(sizeof(float) * n);
				}
				for (int i = 0; i < dims; i++)
				{
					c[i] = (float) normal();
					q[i] = (float) normal();
				}
				for (int i = 0; i < n; i++)
				{
					for (int j = 0; j < dims; j++)
						x[j] = c[j] + (float) normal();
					for (int side = 0; side < 2; side++)
					{
						kernel = side == 0 ? level : kernel_table(KERNEL_SCALAR);
						rabitq_encode(x, c, q, dims, code_dims, bits, (RabitqForm) (i % 2),
									  codes[side] + i * code_size, &factors[side][i]);
					}
				}
				for (int side = 0; side < 2; side++)
				{
					RabitqQuery query;

					kernel = side == 0 ? level : kernel_table(KERNEL_SCALAR);
					rabitq_query_prepare(&query, q, code_dims, bits, mem);
					/* the level may change in between: the query knows its own */
					kernel = side == 1 ? level : kernel_table(KERNEL_SCALAR);
					rabitq_estimate(&query, 1.5f, codes[side], factors[side], n, estimates[side]);
					step[side] = query.step;
				}
				kernel = level;
				if (memcmp(codes[0], codes[1], code_size * n) != 0)
					COMPLAIN("dims %d of %d bits %d: codes differ", code_dims, dims, bits);
				if (memcmp(factors[0], factors[1], sizeof(RabitqFactor) * n) != 0)
					COMPLAIN("dims %d of %d bits %d: factors differ", code_dims, dims, bits);
				if (memcmp(estimates[0], estimates[1], sizeof(float) * n) != 0)
					COMPLAIN("dims %d of %d bits %d, %d codes: estimates differ", code_dims, dims, bits, n);
				if (step[0] != step[1])
					COMPLAIN("dims %d: steps differ", dims);
				if (n > 1)
				{
					float		cosine = rabitq_code_cosine(codes[0], codes[0] + code_size, code_dims, bits);

					kernel = kernel_table(KERNEL_SCALAR);
					if (cosine != rabitq_code_cosine(codes[0], codes[0] + code_size, code_dims, bits))
						COMPLAIN("dims %d bits %d: cosine differs", code_dims, bits);
					kernel = level;
				}
				for (int side = 0; side < 2; side++)
				{
					free(codes[side]);
					free(factors[side]);
					free(estimates[side]);
				}
				free(x);
				free(c);
				free(q);
				free(mem);
			}
	report("the bits of scalar", name);
}

int
main(void)
{
	const KernelTable *best;

	kernel_init();
	best = kernel;
	test_unbiased();
	test_fit();
	test_kinds();
	test_sketch();
	test_factors();
	test_cosine();
	for (int i = 0; i < KERNEL_NUM_LEVELS; i++)
		if (kernel_force((KernelLevel) i))
		{
			test_finite();
			test_level(kernel->name);
			if (kernel_plain_table(kernel->level) != kernel)
			{
				kernel = kernel_plain_table(kernel->level);
				test_level("plain avx512");
			}
		}
	kernel = best;
	return done();
}
