/*-------------------------------------------------------------------------
 *
 * hnsw_vector.c
 *	  From SQL's values to those the index stores and compares, and bounds on
 *	  the operators' distances.
 *
 * A value is normalised (cosine) or augmented (inner product), centred, rotated
 * (not for L1) and rounded to half precision.  On the way it keeps account of
 * how far what is stored may be from the truth, so that the distance to what is
 * stored gives a bound that always holds (am/half.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "am/half.h"
#include "hnsw/hnsw_private.h"
#include "kernel/kernel.h"

void
hnsw_value_alloc(const HnswIndex *hnsw, HnswValue *value)
{
	value->x = palloc(sizeof(float) * hnsw->meta.padded);
	value->half = palloc(sizeof(uint16) * hnsw->meta.padded);
}

/*
 * Normalise or augment, centre, rotate: dims floats to padded ones.  False when
 * a zero vector has no direction (cosine), or no finite norm.  size: the norms
 * that went in, for bounds.
 */
static bool
transform(const HnswIndex *hnsw, const float *x, double augment, float *out, double *size)
{
	int			dims = hnsw->meta.dims;
	float	   *v = palloc(sizeof(float) * hnsw->index_dims);
	double		normsq = kernel->normsq_double(x, dims);
	bool		ok = true;

	if (hnsw->metric == METRIC_COSINE)
	{
		/* the operator's norm underflows earlier than ours: it decides */
		ok = kernel->normsq(x, dims) != 0 && isfinite(normsq);
		if (ok)
		{
			double		scale = 1 / sqrt(normsq);

			for (int i = 0; i < dims; i++)
				v[i] = x[i] * scale;
		}
		*size = 1;
	}
	else
	{
		memcpy(v, x, sizeof(float) * dims);
		*size = sqrt(normsq);
		if (hnsw->metric == METRIC_IP)
		{
			v[dims] = augment;
			*size += augment;
		}
	}
	if (ok && hnsw->mean_rotated)
		for (int i = 0; i < hnsw->index_dims; i++)
			v[i] -= hnsw->mean[i];
	if (ok)
		*size += hnsw->mean_norm;

	if (!ok)
		 /* nothing */ ;
	else if (hnsw->rotated)
		rotate(&hnsw->rotation, v, out);
	else
	{
		memcpy(out, v, sizeof(float) * hnsw->index_dims);
		memset(out + hnsw->index_dims, 0, sizeof(float) * (hnsw->meta.padded - hnsw->index_dims));
	}
	pfree(v);
	return ok;
}

/*
 * Make the value of dims floats; value's arrays are the caller's.  False when
 * it has no place in the index.
 */
bool
hnsw_value_form(const HnswIndex *hnsw, const float *x, HnswValue *value)
{
	int			padded = hnsw->meta.padded;
	double		augment = 0;
	double		size;
	double		errorsq;
	double		error1;
	float	   *stored;

	if (hnsw->metric == METRIC_IP)
	{
		double		normsq = kernel->normsq_double(x, hnsw->meta.dims);

		augment = sqrt(Max(0, (double) hnsw->meta.radius * hnsw->meta.radius - normsq));
	}
	if (!transform(hnsw, x, augment, value->x, &size))
		return false;

	stored = palloc(sizeof(float) * padded);
	half_round(value->x, padded, value->half, &value->scale, stored, &errorsq, &error1);
	pfree(stored);
	if (hnsw->metric == METRIC_L1)
		value->error = (error1 + ROUNDING_BEFORE * size * sqrt(padded)) * (1 + FLT_EPSILON);
	else
		value->error = (sqrt(errorsq) + ROUNDING_BEFORE * size) * (1 + FLT_EPSILON);
	value->norm = sqrt(kernel->normsq_double(value->x, padded)) * (1 + FLT_EPSILON);
	if (hnsw->metric == METRIC_COSINE && !half_is_precise(x, hnsw->meta.dims))
		value->error = INFINITY;

	/*
	 * What leaves the range of float on the way has its place in the middle,
	 * with a bound that says nothing.
	 */
	if (!isfinite(value->error) || !isfinite(value->norm))
	{
		memset(value->x, 0, sizeof(float) * padded);
		kernel->half_pack(value->x, padded, value->half, &value->scale);
		value->error = INFINITY;
		value->norm = 0;
	}
	return true;
}

void
hnsw_query_alloc(const HnswIndex *hnsw, HnswQuery *query)
{
	query->hnsw = hnsw;
	query->x = palloc(sizeof(float) * hnsw->meta.padded);
	query->scratch = palloc(sizeof(float) * hnsw->meta.padded);
	query->codes.mem = NULL;
	if (hnsw->meta.bits > 0)
		query->codes.mem = (void *) TYPEALIGN(64, palloc(rabitq_query_size(hnsw->meta.code_dims) + 64));
}

/* Quantise what the codes are compared with: the centred, rotated query. */
static void
prepare_codes(HnswQuery *query, const float *centred)
{
	if (query->hnsw->meta.bits > 0)
		rabitq_query_prepare(&query->codes, centred, query->hnsw->meta.code_dims,
							 query->hnsw->meta.bits, query->codes.mem);
}

/*
 * For inner product the own vectors are compared with R q, not centred:
 * <q, x> = <R q, own> + <q, mean>.
 */
static void
uncentre(HnswQuery *query)
{
	const HnswIndex *hnsw = query->hnsw;

	query->mean_ip = 0;
	if (hnsw->mean_rotated)
		for (int i = 0; i < hnsw->meta.padded; i++)
		{
			query->x[i] += hnsw->mean_rotated[i];
			query->mean_ip += (double) query->x[i] * hnsw->mean_rotated[i];
		}
	query->norm = sqrt(kernel->normsq_double(query->x, hnsw->meta.padded)) * (1 + 1e-6);
	query->base = query->norm * query->norm +
		(double) hnsw->meta.radius * hnsw->meta.radius - 2 * query->mean_ip;
}

/*
 * Search for dims floats.  False: the operator gives all rows the same distance,
 * NaN to a query without direction (cosine), 0 to a zero one (inner product).
 * Any order will do then; a search starts from the mean or from zero.
 *
 * For inner product the order is the same at any length of the query, but codes
 * are not: their error grows with |q - c|, of which a short query would be a
 * small part.  So it is given the length of the sphere that the rows lie on.
 */
bool
hnsw_query_form(HnswQuery *query, const float *x)
{
	const HnswIndex *hnsw = query->hnsw;
	float	   *scaled = NULL;
	bool		differs = true;
	double		size;

	query->scale = 1;
	if (hnsw->metric == METRIC_IP)
	{
		double		norm = sqrt(kernel->normsq_double(x, hnsw->meta.dims));

		differs = norm > 0;
		if (differs && hnsw->meta.radius > 0)
		{
			query->scale = hnsw->meta.radius / norm;
			scaled = palloc(sizeof(float) * hnsw->meta.dims);
			for (int i = 0; i < hnsw->meta.dims; i++)
				scaled[i] = x[i] * query->scale;
			x = scaled;
		}
	}
	if (!transform(hnsw, x, 0, query->x, &size))
	{
		differs = false;
		memset(query->x, 0, sizeof(float) * hnsw->meta.padded);
	}
	if (scaled)
		pfree(scaled);
	query->error = ROUNDING_BEFORE * size;
	if (hnsw->metric == METRIC_L1)
		query->error *= sqrt(hnsw->meta.padded);
	if (hnsw->metric == METRIC_COSINE && !half_is_precise(x, hnsw->meta.dims))
		query->error = INFINITY;
	prepare_codes(query, query->x);
	if (hnsw->metric == METRIC_IP)
		uncentre(query);
	return differs;
}

/* Search for the neighbours of a value that is to be inserted. */
void
hnsw_query_from_value(HnswQuery *query, const HnswValue *value)
{
	memcpy(query->x, value->x, sizeof(float) * query->hnsw->meta.padded);
	query->error = 0;
	query->scale = 1;
	prepare_codes(query, query->x);
	if (query->hnsw->metric == METRIC_IP)
		uncentre(query);
}

/*
 * The distance of a stored vector, as the search sees it: squared L2, base - 2 <q,
 * x>, or L1.  Never infinite, which to the search means a dead node: FLT_MAX where
 * it leaves the range of float.
 */
float
hnsw_distance(HnswQuery *query, const uint16 *half, float scale)
{
	int			padded = query->hnsw->meta.padded;
	float		distance;

	switch (query->hnsw->metric)
	{
		case METRIC_IP:
			distance = query->base - 2 * kernel->ip_half(query->x, half, scale, padded);
			break;
		case METRIC_L1:
			kernel->half_unpack(half, scale, padded, query->scratch);
			distance = kernel->l1(query->x, query->scratch, padded);
			break;
		default:
			distance = kernel->l2sq_half(query->x, half, scale, padded);
			break;
	}
	return likely(distance < FLT_MAX) ? distance : FLT_MAX;
}

/*
 * Bounds of the operator's own distance of the row as given, from the search's
 * distance of what is stored: *low <= distance, and *high >= it (which nobody
 * wants to know where high is NULL).  They always hold; infinite where nothing can
 * be said.
 */
void
hnsw_bounds(const HnswQuery *query, float distance, float error, float norm,
			double *low, double *high)
{
	const HnswIndex *hnsw = query->hnsw;
	int			padded = hnsw->meta.padded;
	double		relative = sum_error(padded);
	double		slack = error + query->error;
	double		tiny = padded * (double) FLT_MIN;	/* underflow of a sum of products */
	double		above = INFINITY;
	double		bound;

	*low = -INFINITY;
	if (high)
		*high = INFINITY;
	if (!(fabsf(distance) < FLT_MAX))
		return;
	switch (hnsw->metric)
	{
		case METRIC_L2:
			half_l2_bounds(distance, slack, padded, &bound, high ? &above : NULL);
			break;
		case METRIC_COSINE:
			half_cosine_bounds(distance, slack, padded, &bound, high ? &above : NULL);
			break;
		case METRIC_L1:
			bound = distance * (1 - relative) - slack;
			bound = Max(bound, 0) * (1 - relative);
			if (high)
			{
				above = (distance * (1 + relative) + slack) * (1 + relative);
				if (above > FLT_MAX / 4)
					above = INFINITY;
			}
			break;
		case METRIC_IP:
			{
				/*
				 * distance = base - 2 <x, own>, each step rounded; -<q, x> is
				 * (distance - base) / 2 - <q, mean>, but for what the errors can
				 * change
				 */
				double		true_norm = norm + error + hnsw->mean_norm;
				double		found = ((double) distance - query->base) / 2 - query->mean_ip;
				double		change = query->norm * (error + ROUNDING_BEFORE * hnsw->mean_norm + relative * (true_norm + norm)) +
					query->error * true_norm +
					FLT_EPSILON * (fabs(query->base) + fabs(distance)) + tiny;

				/*
				 * no partial sum of the operator's is greater; beyond the range
				 * of float it may become anything, be the whole sum ever so small
				 */
				if (query->norm * true_norm / query->scale > FLT_MAX / 4)
					return;
				bound = (found - change) / query->scale - tiny;
				above = (found + change) / query->scale + tiny;
				break;
			}
		default:
			pg_unreachable();
	}
	/* float underflow on the way to the operator's result */
	if (!isnan(bound))
		*low = bound - FLT_MIN;
	if (high && !isnan(above))
		*high = above + FLT_MIN;
}
