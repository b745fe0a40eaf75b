/*-------------------------------------------------------------------------
 *
 * rabitq.c
 *	  Codes of 1, 2 or 4 bits a dimension, and estimates from them.
 *
 * All sums over dimensions are the kernel's, in one order, and in double: so a
 * code and its factors are the same everywhere.
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

#define FACTOR_LIMIT (FLT_MAX / 4)

/* Codes estimated at once: their integers stay in the first-level cache. */
#define BATCH		64

/* One step of the query's levels, in units of its root mean square */
#define QUERY_STEP	0.36
#define QUERY_LIMIT	7

static inline float
to_factor(double value)
{
	if (value > FACTOR_LIMIT)
		return (float) FACTOR_LIMIT;
	return value > -FACTOR_LIMIT ? (float) value : (float) -FACTOR_LIMIT;
}

/*
 * 1 / the best of a few steps around what is best for normal values.  What is behind `filled` would speak
 * for small steps, as its levels are +-1 whatever the step.
 */
static float
choose_step(const float *x, const float *c, int filled, int bits, double rr)
{
	static const double steps[2][3] = {
		{0.92, 1.0, 1.08},		/* 2 bits */
		{0.302, 0.335, 0.375}	/* 4 bits */
	};
	double		sigma = sqrt(rr / filled);
	float		inverse[3];
	double		fit[3];
	int			best = 1;

	for (int s = 0; s < 3; s++)
	{
		double		exact = 1 / (steps[bits / 4][s] * sigma);

		inverse[s] = exact < FLT_MAX ? (float) exact : FLT_MAX;
	}
	kernel->code_fit(x, c, (filled + 15) / 16 * 16, inverse, bits == 2 ? 1.0f : 7.0f, fit);
	for (int s = 0; s < 3; s += 2)
		if (fit[s] > fit[best])
			best = s;
	return inverse[best];
}

void
rabitq_encode(const float *x, const float *c, const float *mean, int padded,
			  int code_dims, int bits, RabitqForm form, uint8_t *code,
			  RabitqFactor *factor)
{
	rabitq_encode_filled(x, c, mean, padded, code_dims, code_dims, bits, form, code, factor);
}

void
rabitq_encode_filled(const float *x, const float *c, const float *mean, int padded,
					 int code_dims, int filled, int bits, RabitqForm form,
					 uint8_t *code, RabitqFactor *factor)
{
	bool		owner = form == RABITQ_IP;
	double		rr;				/* |r|^2 */
	double		coded_rr;		/* the same of the dimensions coded */
	double		rc = 0;			/* <r, c + mean> */
	double		ur;
	double		uc;
	double		k;

	kernel->code_residual(x, c, mean, code_dims, &coded_rr, owner ? &rc : NULL);
	rr = coded_rr;
	if (code_dims < padded)
	{
		double		rest_rr;
		double		rest_rc = 0;

		kernel->code_residual(x + code_dims, c + code_dims,
							  mean == NULL ? NULL : mean + code_dims, padded - code_dims,
							  &rest_rr, owner ? &rest_rc : NULL);
		rr += rest_rr;
		rc += rest_rc;
	}
	if (!(rr <= DBL_MAX))
	{
		/* the residual overflows: as far away as can be said */
		memset(code, 0, rabitq_code_size(code_dims, bits));
		factor->add = (float) FACTOR_LIMIT;
		factor->mul = 0;
		return;
	}
	kernel->code_make(x, c, code_dims, bits,
					  bits > 1 && coded_rr > 0 ? choose_step(x, c, filled, bits, coded_rr) : 0,
					  code, &ur, &uc);

	/* |coded r|^2 / <u, coded r> times the whole over the coded of |r|^2 */
	k = ur > 0 ? rr / ur : 0;
	factor->add = to_factor((form == RABITQ_L2 ? rr : -2 * rc) + 2 * k * uc);
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

const int8_t *
rabitq_query_levels(const RabitqQuery *query)
{
	return (const int8_t *) query->mem + levels_offset(query->code_dims);
}

void
rabitq_query_prepare(RabitqQuery *query, const float *q, int code_dims,
					 int bits, void *mem)
{
	rabitq_query_prepare_filled(query, q, code_dims, code_dims, bits, mem);
}

void
rabitq_query_prepare_filled(RabitqQuery *query, const float *q, int code_dims,
							int filled, int bits, void *mem)
{
	int8_t	   *levels = (int8_t *) mem + levels_offset(code_dims);
	double		norm = kernel->normsq_double(q, code_dims);
	double		step = QUERY_STEP * sqrt(norm / filled);

	query->code_dims = code_dims;
	query->bits = bits;
	query->mem = mem;
	query->table = kernel;
	/* an inverse beyond float: no different from zero */
	if (step > 2.0 / FLT_MAX && step <= FLT_MAX)
	{
		double		along = kernel->quantise(q, code_dims, (float) (1 / step), QUERY_LIMIT, levels);

		/*
		 * Levels by the step are somewhat short of q, by what is clamped: the
		 * factor that leaves no error along q itself is |q|^2 / <q, levels>.
		 */
		query->step = (float) (norm / along);
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

double
rabitq_code_normsq(const uint8_t *code, int code_dims, int bits)
{
	return kernel->code_pair(code, code, code_dims, bits);
}

void
rabitq_dots_picked(const RabitqQuery *query, int bits, size_t plane_size,
				   const uint8_t *rows, size_t row_size, const int32_t *picked,
				   int n, int32_t *dots)
{
	query->table->code_dot_picked(query->mem, query->code_dims, bits, plane_size, rows, row_size,
								  picked, n, dots);
}

float
rabitq_code_cosine(const uint8_t *a, const uint8_t *b, int code_dims, int bits)
{
	double		ab = kernel->code_pair(a, b, code_dims, bits);

	if (bits == 1)
	{
		/*
		 * A share h of the bits differs where the angle is pi h: the cosine
		 * is sin(pi / 2 * (1 - 2 h)), and 1 - 2 h = ab / dims.  The sine as a
		 * polynomial, since libraries differ in the last bit: off by 4e-9.
		 */
		double		t = ab / code_dims * M_PI_2;
		double		tt = t * t;

		return (float) (t * (1 + tt * (-1.0 / 6 + tt * (1.0 / 120 + tt *
														(-1.0 / 5040 + tt * (1.0 / 362880 - tt / 39916800))))));
	}
	else
	{
		double		t = ab / sqrt((double) kernel->code_pair(a, a, code_dims, bits) *
								  kernel->code_pair(b, b, code_dims, bits));
		double		tt = t * t;

		/*
		 * What is cut off lowers the cosine of the codes, by a share that
		 * falls to nothing at +-1: fitted to normal values and the best step,
		 * within .0025 and .009.
		 */
		if (bits == 2)
			return (float) (t * (1.1472189 + tt * (-0.2110915 + tt * (0.5071250 - tt * 0.4432524))));
		return (float) (t * (1.0191455 - tt * 0.0191455));
	}
}
