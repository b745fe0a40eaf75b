/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  One face for all codes of an inverted list: pq, rabitq, sq8.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/codec.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Least share of a residual that pq's code must reach along it */
#define MIN_ALONG	0.1

static size_t
aligned(size_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

bool
codec_init(Codec *codec, CodecKind kind, int dim, int bits, int m, uint64_t seed)
{
	if (dim < 1 || dim > ROTATION_MAX_DIM)
		return false;
	memset(codec, 0, sizeof(*codec));
	codec->kind = kind;
	codec->dim = codec->work_dim = dim;
	codec->bits = bits;
	codec->m = m;
	codec->seed = seed;
	switch (kind)
	{
		case CODEC_PQ:
			if ((bits != 4 && bits != 8) || m < 1 || m > dim)
				return false;
			codec->pq = (PqShape) {dim, m, bits};
			codec->nfactors = 2;
			codec->code_size = pq_code_size(&codec->pq);
			return true;
		case CODEC_RABITQ:
			if ((bits != 1 && bits != 2 && bits != 4) || m != 0)
				return false;
			codec->work_dim = rotation_padded(dim);
			codec->nfactors = 2;
			codec->code_size = rabitq_code_size(codec->work_dim, bits);
			return true;
		case CODEC_SQ8:
			if (bits != 8 || m != 0)
				return false;
			codec->code_size = dim;
			return true;
		case CODEC_NONE:
			break;
	}
	return false;
}

size_t
codec_state_floats(const Codec *codec)
{
	if (codec->kind == CODEC_PQ)
		return pq_codebook_floats(&codec->pq);
	return codec->kind == CODEC_SQ8 ? 2 * (size_t) codec->dim : 0;
}

/* Memory: zeros | signs of the rotation. */
size_t
codec_memory(const Codec *codec)
{
	if (codec->kind != CODEC_RABITQ)
		return 0;
	return aligned(sizeof(float) * codec->work_dim) + rotation_size(codec->dim);
}

void
codec_attach(Codec *codec, float *state, void *memory)
{
	codec->state = state;
	if (codec->kind == CODEC_RABITQ)
	{
		codec->zeros = memory;
		memset(codec->zeros, 0, sizeof(float) * codec->work_dim);
		rotation_init(&codec->rotation, codec->dim, codec->seed,
					  (char *) memory + aligned(sizeof(float) * codec->work_dim));
	}
	else if (codec->kind == CODEC_SQ8)
		codec->range = (Sq8Range) {codec->dim, state, state + codec->dim};
}

/* ----------------------------------------------------------------- training */

int
codec_train_parts(const Codec *codec)
{
	return codec->kind == CODEC_PQ ? codec->m : codec->kind == CODEC_SQ8 ? 1 : 0;
}

size_t
codec_train_memory(const Codec *codec, int n)
{
	return codec->kind == CODEC_PQ ? pq_train_size(&codec->pq, n) : 0;
}

void
codec_train(Codec *codec, int part, const float *residuals, int n, void *memory,
			PqInterrupt interrupt, void *arg)
{
	if (codec->kind == CODEC_PQ)
		pq_train(&codec->pq, part, residuals, codec->dim, n, codec->seed, codec->state,
				 memory, interrupt, arg);
	else if (codec->kind == CODEC_SQ8)
	{
		sq8_train_begin(&codec->range);
		sq8_train(&codec->range, residuals, codec->dim, n);
		sq8_train_end(&codec->range);
	}
}

/* -------------------------------------------------------------------- codes */

void
codec_transform(const Codec *codec, const float *x, float *out)
{
	if (codec->kind == CODEC_RABITQ)
		rotate(&codec->rotation, x, out);
	else
		memcpy(out, x, sizeof(float) * codec->dim);
}

static inline float
to_factor(double value)
{
	/* a NaN is as far away as can be said */
	return value < FLT_MAX / 4 ? value > -FLT_MAX / 4 ? (float) value : -FLT_MAX / 4 : FLT_MAX / 4;
}

void
codec_encode(const Codec *codec, const float *x, const float *c, float *scratch,
			 uint8_t *code, float *factors)
{
	float	   *residual = scratch;
	float	   *decoded = scratch + codec->work_dim;

	for (int d = 0; d < codec->work_dim; d++)
		residual[d] = x[d] - c[d];

	switch (codec->kind)
	{
		case CODEC_RABITQ:
			rabitq_encode(residual, codec->zeros, NULL, codec->work_dim, codec->work_dim,
						  codec->bits, RABITQ_L2, code, (RabitqFactor *) factors);
			break;
		case CODEC_PQ:
			{
				double		rr = 0;
				double		along = 0;	/* <r', r> */
				double		centre = 0; /* <r', c> */
				double		k;

				(void) pq_encode(&codec->pq, codec->state, residual, code);
				pq_decode(&codec->pq, codec->state, code, decoded);
				for (int d = 0; d < codec->dim; d++)
				{
					rr += (double) residual[d] * residual[d];
					along += (double) decoded[d] * residual[d];
					centre += (double) decoded[d] * c[d];
				}
				/* a code that says next to nothing of r: leave it at |r|^2 */
				k = along > rr * MIN_ALONG ? rr / along : 0;
				factors[0] = to_factor(rr + 2 * k * centre);
				factors[1] = to_factor(-2 * k);
				break;
			}
		case CODEC_SQ8:
			(void) sq8_encode(&codec->range, residual, code);
			break;
		case CODEC_NONE:
			break;
	}
}

double
codec_quantisation_error(const Codec *codec, const float *x, const float *c,
						 float *scratch, uint8_t *code, float *factors)
{
	const float *residual = scratch;
	float	   *decoded = scratch + codec->work_dim;
	double		error = 0;

	codec_encode(codec, x, c, scratch, code, factors);
	if (codec->kind == CODEC_RABITQ)
	{
		double		along;		/* <u, r> = |r|^2 / k */

		for (int d = 0; d < codec->work_dim; d++)
			error += (double) residual[d] * residual[d];
		if (!(factors[1] < 0))
			return error;
		along = -2 * error / factors[1];
		error -= along * along / rabitq_code_normsq(code, codec->work_dim, codec->bits);
		return error > 0 ? error : 0;
	}
	if (codec->kind == CODEC_PQ)
		pq_decode(&codec->pq, codec->state, code, decoded);
	else
		sq8_decode(&codec->range, code, decoded);
	for (int d = 0; d < codec->dim; d++)
	{
		double		off = (double) residual[d] - decoded[d];

		error += off * off;
	}
	return error;
}

/* ------------------------------------------------------------------ queries */

/* Memory: residual | pq's tables, or rabitq's levels. */
size_t
codec_query_memory(const Codec *codec)
{
	size_t		size = aligned(sizeof(float) * codec->work_dim);

	if (codec->kind == CODEC_PQ)
		size += sizeof(float) * pq_table_floats(&codec->pq);
	else if (codec->kind == CODEC_RABITQ)
		size += rabitq_query_size(codec->work_dim);
	return size;
}

void
codec_query_begin(CodecQuery *query, const Codec *codec, const float *q, void *memory)
{
	void	   *rest = (char *) memory + aligned(sizeof(float) * codec->work_dim);

	query->codec = codec;
	query->floor = 0;
	query->q = q;
	query->scratch = memory;
	query->tables = rest;
	query->levels = rest;
	if (codec->kind == CODEC_PQ)
		pq_tables_ip(&codec->pq, codec->state, q, query->tables);
}

void
codec_query_list(CodecQuery *query, const float *c, float base)
{
	const Codec *codec = query->codec;

	query->base = base > 0 ? base : 0;
	query->spread = sqrtf(query->base);
	if (codec->kind == CODEC_PQ)
		return;
	for (int d = 0; d < codec->work_dim; d++)
		query->scratch[d] = query->q[d] - c[d];
	if (codec->kind == CODEC_RABITQ)
		rabitq_query_prepare(&query->rabitq, query->scratch, codec->work_dim, codec->bits,
							 query->levels);
	else
		query->sq8_base = sq8_query_l2sq(&codec->range, query->scratch, query->scratch);
}

/* Within bounds; a NaN is as near as can be: to be looked at closely. */
static inline float
positive(float value)
{
	return value > 0 ? value < FLT_MAX ? value : FLT_MAX : 0;
}

void
codec_estimate(const CodecQuery *query, float width, const uint8_t *codes,
			   const float *factors, int n, float *out)
{
	const Codec *codec = query->codec;

	switch (codec->kind)
	{
		case CODEC_RABITQ:
			rabitq_estimate(&query->rabitq, query->base, codes, (const RabitqFactor *) factors,
							n, out);
			width *= query->spread;
			if (width > 0)
				for (int i = 0; i < n; i++)
					out[i] += width * factors[2 * i + 1];	/* mul <= 0 */
			return;
		case CODEC_PQ:
			/* the tables are of -<q, r'> */
			pq_estimate(&codec->pq, query->tables, 0, codes, n, out);
			for (int i = 0; i < n; i++)
				out[i] = query->base + factors[2 * i] - factors[2 * i + 1] * out[i];
			break;
		case CODEC_SQ8:
			sq8_estimate_l2sq(&codec->range, query->scratch, query->sq8_base, codes, n, out);
			break;
		case CODEC_NONE:
			return;
	}
	for (int i = 0; i < n; i++)
	{
		float		estimate = positive(out[i]);

		out[i] = estimate - width * sqrtf(estimate);
		if (width > 0 && estimate <= query->floor)
			out[i] = 0;
	}
}

float
codec_error(const CodecQuery *query, const float *factors, float estimate, float truth)
{
	float		unit = query->codec->kind == CODEC_RABITQ ? query->spread * -factors[1] :
		sqrtf(positive(estimate));
	float		off = estimate - truth;

	return unit > 0 ? off / unit : off > 0 ? FLT_MAX : 0;
}
