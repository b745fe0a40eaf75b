/*-------------------------------------------------------------------------
 *
 * rabitq.c
 *	  Codes of 1, 2 or 4 bits a dimension, and estimates from them.
 *
 * All sums have LANES accumulators in double and one tree, so a code and its
 * factors are the same everywhere.
 *
 * Whatever the values, factors are finite (limited to FACTOR_LIMIT) and so are
 * the estimates: a residual that overflows a float gets an estimate as far
 * away as there is.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/rabitq.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define LANES		16
#define FACTOR_LIMIT (FLT_MAX / 4)

/* Codes estimated at once: their integers stay in the first-level cache. */
#define BATCH		64

/* One step of the query's levels, in units of its root mean square */
#define QUERY_STEP	0.36
#define QUERY_LIMIT	7

static inline double
fold(const double *lane)
{
	double		sum[LANES];

	memcpy(sum, lane, sizeof(sum));
	for (int width = LANES / 2; width > 0; width /= 2)
		for (int j = 0; j < width; j++)
			sum[j] += sum[j + width];
	return sum[0];
}

static inline float
to_factor(double value)
{
	if (value > FACTOR_LIMIT)
		return (float) FACTOR_LIMIT;
	return value > -FACTOR_LIMIT ? (float) value : (float) -FACTOR_LIMIT;
}

/* What the factors are made of; u is the code's vector. */
typedef struct Sums
{
	double		rr;				/* |r|^2, all dimensions */
	double		coded_rr;		/* the same of those coded */
	double		r_owner;		/* <r, c + mean>, all dimensions; if mean */
	double		ur;				/* <u, r> */
	double		uc;				/* <u, c> */
} Sums;

static void
sum_residual(const float *x, const float *c, const float *mean, int padded,
			 int code_dims, bool owner, Sums *sums)
{
	double		rr[LANES] = {0};
	double		r_owner[LANES] = {0};

	sums->coded_rr = 0;
	for (size_t i = 0; i < (size_t) padded; i += LANES)
	{
		if (i == (size_t) code_dims)
			sums->coded_rr = fold(rr);
		for (size_t j = i; j < i + LANES; j++)
		{
			double		r = x[j] - c[j];

			rr[j - i] += r * r;
		}
		if (owner && mean != NULL)
			for (size_t j = i; j < i + LANES; j++)
				r_owner[j - i] += (double) (x[j] - c[j]) * ((double) c[j] + (double) mean[j]);
		else if (owner)
			for (size_t j = i; j < i + LANES; j++)
				r_owner[j - i] += (double) (x[j] - c[j]) * (double) c[j];
	}
	sums->rr = fold(rr);
	if (code_dims == padded)
		sums->coded_rr = sums->rr;
	sums->r_owner = fold(r_owner);
}

/*
 * Levels above zero of each magnitude |r|: how many steps it holds, at most
 * top.  u = +-(2 level + 1).
 */
static inline int
level_of(float r, float inverse, float top)
{
	float		steps = fabsf(r) * inverse;

	return (int) (steps < top ? steps : top);
}

/* cos(u, r)^2 up to the factor |r|^2, for one step */
static double
fit_of_step(const float *x, const float *c, int code_dims, float inverse, float top)
{
	double		ur[LANES] = {0};
	int32_t		uu = 0;
	double		sum;

	for (size_t i = 0; i < (size_t) code_dims; i += LANES)
		for (size_t j = 0; j < LANES; j++)
		{
			float		r = x[i + j] - c[i + j];
			int			u = 2 * level_of(r, inverse, top) + 1;

			ur[j] += (double) (fabsf(r) * (float) u);
			uu += u * u;
		}
	sum = fold(ur);
	return sum * sum / uu;
}

/* 1 / the best of a few steps around what is best for normal values */
static float
choose_step(const float *x, const float *c, int code_dims, int bits, double rr)
{
	static const double two_bits[] = {0.85, 1.0, 1.15};
	static const double four_bits[] = {0.29, 0.335, 0.38};
	const double *steps = bits == 2 ? two_bits : four_bits;
	float		top = bits == 2 ? 1.0f : 7.0f;
	double		sigma = sqrt(rr / code_dims);
	double		best = -1;
	float		chosen = 0;

	if (!(sigma > 0))
		return 0;
	for (int s = 0; s < 3; s++)
	{
		double		exact = 1 / (steps[s] * sigma);
		float		inverse = exact < FLT_MAX ? (float) exact : FLT_MAX;
		double		fit = fit_of_step(x, c, code_dims, inverse, top);

		if (fit > best)
		{
			best = fit;
			chosen = inverse;
		}
	}
	return chosen;
}

static void
make_code(const float *x, const float *c, int code_dims, int bits,
		  float inverse, uint8_t *code, Sums *sums)
{
	double		ur[LANES] = {0};
	double		uc[LANES] = {0};
	float		top = (float) ((1 << (bits - 1)) - 1);
	int			half = 1 << (bits - 1);
	size_t		plane_size = (size_t) code_dims / 8;

	for (size_t i = 0; i < (size_t) code_dims; i += LANES)
	{
		unsigned	planes[4] = {0};

		for (size_t j = 0; j < LANES; j++)
		{
			float		r = x[i + j] - c[i + j];
			int			level = bits == 1 ? 0 : level_of(r, inverse, top);
			int			u = 2 * level + 1;
			int			w = half + level;	/* (u + 2^bits - 1) / 2 */

			ur[j] += (double) fabsf(r) * u;
			if (r < 0)
			{
				u = -u;
				w = half - 1 - level;
			}
			uc[j] += (double) c[i + j] * u;
			for (int p = 0; p < bits; p++)
				planes[p] |= (unsigned) (w >> (bits - 1 - p) & 1) << j;
		}
		for (int p = 0; p < bits; p++)
		{
			code[p * plane_size + i / 8] = (uint8_t) planes[p];
			code[p * plane_size + i / 8 + 1] = (uint8_t) (planes[p] >> 8);
		}
	}
	sums->ur = fold(ur);
	sums->uc = fold(uc);
}

void
rabitq_encode(const float *x, const float *c, const float *mean, int padded,
			  int code_dims, int bits, RabitqForm form, uint8_t *code,
			  RabitqFactor *factor)
{
	Sums		sums;
	float		inverse = 0;
	double		k;

	sum_residual(x, c, mean, padded, code_dims, form == RABITQ_IP, &sums);
	if (!(sums.rr <= DBL_MAX))
	{
		/* the residual overflows: as far away as can be said */
		memset(code, 0, rabitq_code_size(code_dims, bits));
		factor->add = (float) FACTOR_LIMIT;
		factor->mul = 0;
		return;
	}
	if (bits > 1)
		inverse = choose_step(x, c, code_dims, bits, sums.coded_rr);
	make_code(x, c, code_dims, bits, inverse, code, &sums);

	/*
	 * |coded r|^2 / <u, coded r> times the whole over the coded share of
	 * |r|^2
	 */
	k = sums.ur > 0 ? sums.rr / sums.ur : 0;
	factor->add = to_factor((form == RABITQ_L2 ? sums.rr : -2 * sums.r_owner) +
							2 * k * sums.uc);
	factor->mul = to_factor(-2 * k);
}

/* The levels lie behind what the kernel keeps. */
static size_t
levels_offset(int code_dims)
{
	return (kernel_code_query_size(code_dims) + 63) / 64 * 64;
}

size_t
rabitq_query_size(int code_dims)
{
	return levels_offset(code_dims) + (size_t) code_dims;
}

void
rabitq_query_prepare(RabitqQuery *query, const float *q, int code_dims,
					 int bits, void *mem)
{
	int8_t	   *levels = (int8_t *) mem + levels_offset(code_dims);
	double		norm = kernel->normsq_double(q, code_dims);
	double		step = QUERY_STEP * sqrt(norm / code_dims);

	query->code_dims = code_dims;
	query->bits = bits;
	query->mem = mem;
	query->table = kernel;
	/* an inverse beyond float: no different from zero */
	if (step > 2.0 / FLT_MAX && step <= FLT_MAX)
	{
		kernel->quantise(q, code_dims, (float) (1 / step), QUERY_LIMIT, levels);
		query->step = (float) step;
	}
	else
	{
		memset(levels, 0, code_dims);
		query->step = 0;
	}
	kernel->code_query(levels, code_dims, mem);
}

void
rabitq_estimate(const RabitqQuery *query, float base, const uint8_t *codes,
				const RabitqFactor *factors, int n, float *estimates)
{
	const KernelTable *table = query->table;
	size_t		code_size = rabitq_code_size(query->code_dims, query->bits);
	int32_t		dots[BATCH];

	while (n > 0)
	{
		int			now = n < BATCH ? n : BATCH;

		table->code_dot(query->mem, query->code_dims, query->bits, codes, now, dots);
		table->code_estimate(dots, &factors->add, now, query->step, base, estimates);
		codes += now * code_size;
		factors += now;
		estimates += now;
		n -= now;
	}
}

float
rabitq_code_cosine(const uint8_t *a, const uint8_t *b, int code_dims, int bits)
{
	double		ab = kernel->code_pair(a, b, code_dims, bits);

	if (bits == 1)
	{
		/*
		 * A share h of the bits differs where the angle is pi h: the cosine is
		 * sin(pi / 2 * (1 - 2 h)), and 1 - 2 h = ab / dims.  The sine as a
		 * polynomial, since libraries differ in the last bit: off by 4e-9.
		 */
		double		t = ab / code_dims * M_PI_2;
		double		tt = t * t;

		return (float) (t * (1 + tt * (-1.0 / 6 + tt * (1.0 / 120 + tt *
														(-1.0 / 5040 + tt * (1.0 / 362880 - tt / 39916800))))));
	}
	return (float) (ab / sqrt((double) kernel->code_pair(a, a, code_dims, bits) *
							  kernel->code_pair(b, b, code_dims, bits)));
}

float
rabitq_code_ip(const uint8_t *code, const float *v, int code_dims, int bits)
{
	size_t		plane_size = (size_t) code_dims / 8;
	double		sum = 0;

	for (int from = 0; from < code_dims; from += 128)
	{
		float		u[128];

		for (int i = 0; i < 128; i++)
			u[i] = (float) (1 - (1 << bits));
		for (int p = 0; p < bits; p++)
			for (int j = 0; j < 16; j++)
			{
				unsigned	byte = code[p * plane_size + from / 8 + j];
				int			worth = 1 << (bits - p);

				for (int i = 0; i < 8; i++)
					u[8 * j + i] += (float) ((int) (byte >> i & 1) * worth);
			}
		sum += kernel->ip(u, v + from, 128);
	}
	return (float) sum;
}
