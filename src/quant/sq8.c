/*-------------------------------------------------------------------------
 *
 * sq8.c
 *	  Scalar quantisation: ranges, codes, estimates.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/sq8.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

/* Sums side by side: so the order of a sum does not depend on the compiler. */
#define LANES	16

/* Between sq8_train_begin() and sq8_train_end() step holds the greatest value. */
void
sq8_train_begin(Sq8Range *range)
{
	for (int d = 0; d < range->dim; d++)
	{
		range->least[d] = FLT_MAX;
		range->step[d] = -FLT_MAX;
	}
}

void
sq8_train(Sq8Range *range, const float *rows, size_t ld, int n)
{
	for (int i = 0; i < n; i++, rows += ld)
		for (int d = 0; d < range->dim; d++)
		{
			range->least[d] = rows[d] < range->least[d] ? rows[d] : range->least[d];
			range->step[d] = rows[d] > range->step[d] ? rows[d] : range->step[d];
		}
}

void
sq8_train_end(Sq8Range *range)
{
	for (int d = 0; d < range->dim; d++)
	{
		if (range->least[d] > range->step[d])
			range->least[d] = range->step[d] = 0;	/* no rows */
		range->step[d] = (float) (((double) range->step[d] - range->least[d]) / 256);
	}
}

static inline float
value(const Sq8Range *range, int d, uint8_t code)
{
	return (float) ((double) range->least[d] + (double) range->step[d] * (code + 0.5));
}

double
sq8_encode(const Sq8Range *range, const float *x, uint8_t *code)
{
	double		error = 0;

	for (int d = 0; d < range->dim; d++)
	{
		float		place = range->step[d] > 0 ? (x[d] - range->least[d]) / range->step[d] : 0;
		double		rest;

		code[d] = place >= 255 ? 255 : place > 0 ? (uint8_t) place : 0;
		rest = (double) x[d] - value(range, d, code[d]);
		error += rest * rest;
	}
	return error;
}

void
sq8_decode(const Sq8Range *range, const uint8_t *code, float *x)
{
	for (int d = 0; d < range->dim; d++)
		x[d] = value(range, d, code[d]);
}

/* scratch: the query less the middle of the first step */
float
sq8_query_l2sq(const Sq8Range *range, const float *q, float *scratch)
{
	for (int d = 0; d < range->dim; d++)
		scratch[d] = q[d] - value(range, d, 0);
	return 0;
}

/* scratch: what a step of each dimension is worth */
float
sq8_query_ip(const Sq8Range *range, const float *q, float *scratch)
{
	double		base = 0;

	for (int d = 0; d < range->dim; d++)
	{
		base -= (double) q[d] * value(range, d, 0);
		scratch[d] = -q[d] * range->step[d];
	}
	return (float) base;
}

/*
 * LANES dimensions side by side, in the compiler's vectors of any width: left
 * to itself it does one at a time, eight times slower.
 */
typedef float LaneFloats __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));
typedef uint8_t LaneBytes __attribute__((vector_size(LANES), aligned(1)));

static inline float
sum_lanes(const float *sum)
{
	double		total = 0;

	for (int i = 0; i < LANES; i++)
		total += sum[i];
	return (float) total;
}

static inline void
estimate(const Sq8Range *range, const float *scratch, float base,
		 const uint8_t *codes, int n, float *out, bool ip)
{
	int			dim = range->dim;

	for (int i = 0; i < n; i++, codes += dim)
	{
		LaneFloats	lanes = {0};
		float		sum[LANES];
		int			d = 0;

		for (; d + LANES <= dim; d += LANES)
		{
			LaneFloats	code = __builtin_convertvector(*(const LaneBytes *) (codes + d), LaneFloats);
			LaneFloats	r = *(const LaneFloats *) (scratch + d);

			if (ip)
				lanes += r * code;
			else
			{
				r -= *(const LaneFloats *) (range->step + d) * code;
				lanes += r * r;
			}
		}
		memcpy(sum, &lanes, sizeof(sum));
		for (; d < dim; d++)
		{
			float		r = ip ? scratch[d] * codes[d] : scratch[d] - range->step[d] * codes[d];

			sum[d % LANES] += ip ? r : r * r;
		}
		out[i] = base + sum_lanes(sum);
	}
}

void
sq8_estimate_l2sq(const Sq8Range *range, const float *scratch, float base,
				  const uint8_t *codes, int n, float *out)
{
	estimate(range, scratch, base, codes, n, out, false);
}

void
sq8_estimate_ip(const Sq8Range *range, const float *scratch, float base,
				const uint8_t *codes, int n, float *out)
{
	estimate(range, scratch, base, codes, n, out, true);
}
