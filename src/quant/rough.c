/*-------------------------------------------------------------------------
 *
 * rough.c
 *	  Distances of a query to many rows by 8-bit numbers: a quarter of the bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/rough.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

#define LIMIT		127

/* rows whose products are asked for at a time */
#define CHUNK		64

/* x as numbers with their scale, which is 0 where there is nothing to scale. */
static float
to_numbers(const float *x, int dim, int8_t *code)
{
	float		most = 0.0f;

	for (int d = 0; d < dim; d++)
		most = fabsf(x[d]) > most ? fabsf(x[d]) : most;
	memset(code + dim, 0, rough_stride(dim) - (size_t) dim);
	/* 1 / most may be no float */
	if (!(most > 1e-30f) || !(most < 1e30f))
	{
		memset(code, 0, (size_t) dim);
		return 0.0f;
	}
	(void) kernel->quantise(x, dim, LIMIT / most, LIMIT, code);
	return most / LIMIT;
}

void
rough_put(const RoughRows *rows, int i, const float *x, float *scratch)
{
	for (int d = 0; d < rows->dim; d++)
		scratch[d] = x[d] - rows->mean[d];
	rows->rows[i].normsq = kernel->normsq(scratch, rows->dim);
	rows->rows[i].scale = to_numbers(scratch, rows->dim,
									 rows->codes + (size_t) i * rough_stride(rows->dim));
}

void
rough_query(RoughQuery *query, const float *mean, const float *q, int dim, float *scratch)
{
	if (query->ip)
	{
		query->base = -kernel->ip(q, mean, dim);
		query->scale = to_numbers(q, dim, query->code);
		return;
	}
	for (int d = 0; d < dim; d++)
		scratch[d] = q[d] - mean[d];
	query->base = kernel->normsq(scratch, dim);
	query->scale = to_numbers(scratch, dim, query->code);
}

void
rough_distances(const RoughQuery *query, const RoughRows *rows, int first, int n, float *out)
{
	int			stride = (int) rough_stride(rows->dim);
	uint32_t	ids[CHUNK];
	int32_t		dots[CHUNK];

	for (int i = 0; i < CHUNK; i++)
		ids[i] = (uint32_t) i;
	for (int start = first; start < first + n; start += CHUNK)
	{
		int			count = first + n - start < CHUNK ? first + n - start : CHUNK;
		const RoughRow *row = rows->rows + start;

		kernel->dot_i8_ids(query->code, rows->codes + (size_t) start * stride, (size_t) stride,
						   ids, count, stride, dots);
		for (int i = 0; i < count; i++)
		{
			float		product = query->scale * row[i].scale * (float) dots[i];
			float		distance = query->base + row[i].normsq - 2.0f * product;

			if (query->ip)
				distance = query->base - product;
			else if (distance < 0.0f)
				distance = 0.0f;
			*out++ = distance;
		}
	}
}
