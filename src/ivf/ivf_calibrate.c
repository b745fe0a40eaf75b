/*-------------------------------------------------------------------------
 *
 * ivf_calibrate.c
 *	  How many probes reach a recall: measured at build, on made-up queries.
 *
 * While every row is assigned to its list, it is also compared with some
 * queries; each keeps its 10 nearest rows and the lists these are in.  So at
 * the end the exact answer of each query is known, and the place of the lists
 * that hold it in the query's own order of lists: recall@10 for each number
 * of probes.
 *
 * Real queries are not rows, and harder (README.md, Calibration): a query
 * here is made of sampled rows by ivf_calibration_queries().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>


#include "miscadmin.h"

#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/random.h"

#define CALIBRATION_SEED	0x63616C69

static const float recall_targets[IVF_NUM_TARGETS] =
{0.80f, 0.90f, 0.95f, 0.98f, 0.99f, 0.995f};

/* Make queries (IVF_CALIBRATION_QUERIES * dims) from a sample; returns how many. */
int
ivf_calibration_queries(const float *sample, int n, int dims, Metric metric,
						float *queries)
{
	uint64		random = CALIBRATION_SEED;

	if (n < 3)
		return 0;
	for (int q = 0; q < IVF_CALIBRATION_QUERIES; q++)
	{
		const float *x = sample + (Size) random_below(&random, n) * dims;
		const float *y = sample + (Size) random_below(&random, n) * dims;
		float	   *query = queries + (Size) q * dims;

		for (int i = 0; i < dims; i++)
			query[i] = 0.7f * x[i] + 0.3f * y[i];
		if (metric != METRIC_L2)
		{
			double		norm = sqrt(kernel->normsq_double(query, dims));

			if (norm > 0)
				for (int i = 0; i < dims; i++)
					query[i] /= norm;
		}
	}
	return IVF_CALIBRATION_QUERIES;
}

/* No neighbour is known yet. */
void
ivf_calibration_reset(IvfNeighbor *nearest, int nqueries)
{
	for (int i = 0; i < nqueries * IVF_CALIBRATION_K; i++)
	{
		nearest[i].distance = INFINITY;
		nearest[i].list = PG_UINT32_MAX;
	}
}

/* A row of that list, at these distances from the queries. */
void
ivf_calibration_add(IvfNeighbor *nearest, int nqueries, const float *distances,
					uint32 list)
{
	for (int q = 0; q < nqueries; q++, nearest += IVF_CALIBRATION_K)
	{
		int			i = IVF_CALIBRATION_K - 1;

		if (likely(!(distances[q] < nearest[i].distance)))
			continue;
		for (; i > 0 && distances[q] < nearest[i - 1].distance; i--)
			nearest[i] = nearest[i - 1];
		nearest[i].distance = distances[q];
		nearest[i].list = list;
	}
}

/* The nearest of all participants, in the place of the first one's. */
static void
merge_participants(IvfNeighbor *nearest, int nqueries, int participants)
{
	for (int p = 1; p < participants; p++)
	{
		IvfNeighbor *other = nearest + (Size) p * nqueries * IVF_CALIBRATION_K;

		for (int q = 0; q < nqueries; q++)
			for (int i = 0; i < IVF_CALIBRATION_K; i++)
			{
				IvfNeighbor *from = &other[q * IVF_CALIBRATION_K + i];

				ivf_calibration_add(nearest + q * IVF_CALIBRATION_K, 1,
									&from->distance, from->list);
			}
	}
}

/*
 * Fill meta's targets.  nearest: IVF_CALIBRATION_K for each query and
 * participant; it is used up.
 */
void
ivf_calibrate(IvfMetaPageData *meta, const float *centroids,
			  const float *queries, int nqueries, IvfNeighbor *nearest,
			  int participants)
{
	uint32		lists = meta->lists;
	int			dims = meta->dims;
	float	   *distances = palloc(sizeof(float) * lists);
	uint64	   *found = palloc0(sizeof(uint64) * lists); /* neighbours in the list of that rank */
	uint64		total = 0;
	uint64		sum = 0;
	int			target = 0;

	merge_participants(nearest, nqueries, participants);
	for (int q = 0; q < nqueries; q++)
	{
		const float *query = queries + (Size) q * dims;
		float		sign = meta->metric == METRIC_L2 ? 1 : -1;

		CHECK_FOR_INTERRUPTS();
		if (meta->metric == METRIC_L2)
			kernel->l2sq_rows(query, centroids, sizeof(float) * dims, lists, dims, distances);
		else
			kernel->ip_rows(query, centroids, sizeof(float) * dims, lists, dims, distances);

		for (int i = 0; i < IVF_CALIBRATION_K; i++)
		{
			uint32		list = nearest[q * IVF_CALIBRATION_K + i].list;
			uint32		rank = 0;

			if (list >= lists)
				continue;		/* fewer rows than neighbours wanted */
			for (uint32 other = 0; other < lists; other++)
				rank += sign * distances[other] < sign * distances[list];
			found[rank]++;
			total++;
		}
	}

	for (uint32 probes = 1; probes <= lists && target < IVF_NUM_TARGETS && total > 0; probes++)
	{
		sum += found[probes - 1];
		while (target < IVF_NUM_TARGETS && sum >= recall_targets[target] * (double) total)
		{
			meta->targets[target].recall = recall_targets[target];
			meta->targets[target].probes = probes;
			target++;
		}
	}
	meta->num_targets = target;

	pfree(distances);
	pfree(found);
}
