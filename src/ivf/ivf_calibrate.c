/*-------------------------------------------------------------------------
 *
 * ivf_calibrate.c
 *	  How far a search must go for a recall: measured at build.
 *
 * While every row is assigned to its list it is also compared with some
 * sampled rows, taken as queries; each keeps its 10 nearest other rows and
 * the lists these are in.  So at the end the exact answers are known.
 *
 * A search goes through the lists in the order of their centroids and stops
 * by its effort, which at the i-th list is
 *
 *	(1 + rows of the lists before it / mean rows of a list) * (D_i / D_1)^4
 *
 * or the most it was so far; D is the squared distance of query and centroid,
 * under cosine and inner product of the directions.  A query in the middle
 * of a cluster has a small D_1, so its effort rises fast and it ends early;
 * one between clusters goes on.  At equal recall this reads 16 to 34 % fewer
 * rows than a fixed number of probes (README.md has the study).
 *
 * gamma(recall) is the effort at which that share of the sample's neighbours
 * has been met.  Real queries are harder than rows, so hard rows (far from
 * their 10th neighbour) weigh more, and the misses allowed are fewer than
 * the target allows (MISSES below).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"

#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/random.h"

#define CALIBRATION_SEED	0x63616C69

/* Nearer to the query than this: the row itself, or a copy of it. */
#define COPY_COSINE			0.99999f
#define COPY_DISTANCE		1e-5f	/* of the mean squared distance to the mean */

/* D_1 is taken as no less than this part of its mean. */
#define FLOOR_SHARE			0.25f

static const struct
{
	float		recall;
	float		misses;			/* part of 1 - recall that is used */
}			targets[IVF_NUM_TARGETS] =
{
	{0.80f, 0.7f}, {0.90f, 0.7f}, {0.95f, 0.7f},
	{0.98f, 0.9f}, {0.99f, 0.9f}, {0.995f, 0.9f}
};

/* The effort of a search when it comes to a list (running maximum excepted). */
double
ivf_effort(const IvfMetaPageData *meta, double rows_before, float nearest,
		   float distance)
{
	double		mean = Max((double) meta->rows / meta->lists_alive, 1);
	double		ratio = distance / Max(Max(nearest, meta->nearest_floor), FLT_MIN);

	ratio = Max(ratio, 1);
	return (1 + rows_before / mean) * ratio * ratio * ratio * ratio;
}

/*
 * The effort for a recall, INFINITY for all lists, and into *probes (if not
 * NULL) how many lists that is on average.  Between the measured targets
 * straight lines in log(1 - recall), which is how the curve bends.
 */
double
ivf_effort_for(const IvfMetaPageData *meta, double recall, double *probes)
{
	double		all = meta->lists_alive;

	if (probes == NULL)
		probes = &all;
	*probes = all;
	for (int i = 0; i < meta->num_targets; i++)
	{
		const IvfTarget *above = &meta->targets[i];
		const IvfTarget *below = above - 1;
		double		share;

		if (recall > above->recall + 1e-6)
			continue;
		if (i == 0 || recall > above->recall - 1e-6)
			share = 1;
		else
			share = (log(1 - below->recall) - log(1 - recall)) /
				(log(1 - below->recall) - log(1 - above->recall));
		*probes = share * above->probes + (share < 1 ? (1 - share) * below->probes : 0);
		*probes = Min(Max(*probes, 1), meta->lists_alive);
		return share * above->effort + (share < 1 ? (1 - share) * below->effort : 0);
	}
	return INFINITY;
}

/*
 * Take queries (max_queries * dims at most) from a sample whose
 * order is random; returns how many.  *copy_distance: see ivf_calibration_add.
 */
int
ivf_calibration_queries(const float *sample, int n, int max_queries, int dims,
						Metric metric, float *queries, float *copy_distance)
{
	uint64		random = CALIBRATION_SEED;
	int			nqueries = Min(n, max_queries);
	double		spread = 0;
	double	   *mean = palloc0(sizeof(double) * dims);

	/* one of each of nqueries equal parts: no row twice */
	for (int q = 0; q < nqueries; q++)
	{
		uint64		first = (uint64) n * q / nqueries;
		uint64		end = (uint64) n * (q + 1) / nqueries;
		const float *row = sample + (first + random_below(&random, end - first)) * dims;

		memcpy(queries + (Size) q * dims, row, sizeof(float) * dims);
		for (int i = 0; i < dims; i++)
			mean[i] += row[i] / nqueries;
	}
	for (int q = 0; q < nqueries; q++)
		for (int i = 0; i < dims; i++)
		{
			double		d = queries[(Size) q * dims + i] - mean[i];

			spread += d * d / nqueries;
		}
	pfree(mean);

	*copy_distance = metric == METRIC_L2 ? COPY_DISTANCE * spread : -COPY_COSINE;
	return nqueries;
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

/*
 * A row of that list, at these distances from the queries: squared L2, or the
 * negative inner product.  One nearer than copy_distance is the query's own
 * row or a copy of it, and tells nothing.
 */
void
ivf_calibration_add(IvfNeighbor *nearest, int nqueries, const float *distances,
					float copy_distance, uint32 list)
{
	for (int q = 0; q < nqueries; q++, nearest += IVF_CALIBRATION_K)
	{
		int			i = IVF_CALIBRATION_K - 1;

		if (likely(!(distances[q] < nearest[i].distance)) ||
			distances[q] < copy_distance)
			continue;
		for (; i > 0 && distances[q] < nearest[i - 1].distance; i--)
			nearest[i] = nearest[i - 1];
		nearest[i].distance = distances[q];
		nearest[i].list = list;
	}
}

/*
 * The same of one row, as assign_distances() gives its distances: under cosine
 * they are still to be divided by its length, and inner products are compared
 * with what a copy of the query would have.
 */
void
ivf_calibration_add_row(IvfNeighbor *nearest, int nqueries, Metric metric,
						float normsq, float *distances, float copy_distance,
						uint32 list)
{
	if (metric == METRIC_COSINE)
	{
		float		scale = 1 / sqrtf(normsq);

		for (int q = 0; q < nqueries; q++)
			distances[q] *= scale;
	}
	else if (metric == METRIC_IP)
		copy_distance *= sqrtf(normsq);
	ivf_calibration_add(nearest, nqueries, distances, copy_distance, list);
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
									&from->distance, -INFINITY, from->list);
			}
	}
}

/* A query ranks all lists: where they are many, fewer queries do. */
#define RANKED_LISTS	(32 * 1024 * 1024)
#define QUERIES_MIN		32

typedef struct RankedList
{
	float		distance;
	uint32		list;
} RankedList;

static int
cmp_ranked(const void *a, const void *b)
{
	const RankedList *x = a;
	const RankedList *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return x->list < y->list ? -1 : 1;
}

/* All lists in the order a search for the query would visit them. */
static void
rank_for_query(const IvfMetaPageData *meta, const float *centroids,
			   const float *query, float *distances, RankedList *ranked)
{
	int			dims = meta->dims;

	if (meta->metric == METRIC_L2)
		kernel->l2sq_rows(query, centroids, sizeof(float) * dims, meta->lists, dims, distances);
	else
		kernel->ip_rows(query, centroids, sizeof(float) * dims, meta->lists, dims, distances);
	for (uint32 i = 0; i < meta->lists; i++)
	{
		/* of unit vectors, squared distance and inner product say the same */
		ranked[i].distance = meta->metric == METRIC_L2 ? distances[i] : 2 - 2 * distances[i];
		ranked[i].list = i;
	}
	qsort(ranked, meta->lists, sizeof(RankedList), cmp_ranked);
}

/* Into efforts[list], the effort at which the query's search comes to it. */
static void
efforts_of(const IvfMetaPageData *meta, const IvfListData *entries,
		   const RankedList *ranked, float *efforts)
{
	double		rows = 0;
	double		most = 0;

	for (uint32 i = 0; i < meta->lists; i++)
	{
		double		effort = ivf_effort(meta, rows, ranked[0].distance, ranked[i].distance);

		most = Max(most, effort);
		efforts[ranked[i].list] = (float) Min(most, FLT_MAX);
		rows += entries[ranked[i].list].rows;
	}
}

typedef struct MetAt
{
	float		effort;			/* at which a neighbour is met */
	float		weight;
} MetAt;

static int
cmp_met(const void *a, const void *b)
{
	float		x = ((const MetAt *) a)->effort;
	float		y = ((const MetAt *) b)->effort;

	return x < y ? -1 : x > y;
}

/* Order queries by how far away their last neighbour is. */
static int
cmp_hardness(const void *a, const void *b, void *arg)
{
	const IvfNeighbor *nearest = arg;
	float		x = nearest[*(const int *) a * IVF_CALIBRATION_K + IVF_CALIBRATION_K - 1].distance;
	float		y = nearest[*(const int *) b * IVF_CALIBRATION_K + IVF_CALIBRATION_K - 1].distance;

	return x < y ? -1 : x > y;
}

/* The recalls to be measured. */
void
ivf_calibration_targets(IvfMetaPageData *meta)
{
	meta->num_targets = IVF_NUM_TARGETS;
	for (int t = 0; t < IVF_NUM_TARGETS; t++)
		meta->targets[t].recall = targets[t].recall;
}

/*
 * Fill meta's targets, but for the widths.  nearest: IVF_CALIBRATION_K for each query and
 * participant; it is used up.  meta->rows and the rows of the lists are set.
 */
void
ivf_calibrate(IvfMetaPageData *meta, const IvfListData *entries,
			  const float *centroids, const float *queries, int nqueries,
			  IvfNeighbor *nearest, int participants)
{
	float	   *distances = palloc(sizeof(float) * meta->lists);
	float	   *efforts = palloc(sizeof(float) * meta->lists);
	RankedList *ranked = palloc(sizeof(RankedList) * meta->lists);
	MetAt	   *met = palloc(sizeof(MetAt) * Max(nqueries, 1) * IVF_CALIBRATION_K);
	int		   *by_hardness = palloc(sizeof(int) * Max(nqueries, 1));
	int			n = 0;
	double		total = 0;
	double		sum = 0;
	double		first = 0;
	int			at = 0;

	merge_participants(nearest, nqueries, participants);
	nqueries = (int) Min(nqueries, Max(RANKED_LISTS / meta->lists, QUERIES_MIN));

	/* how near the nearest centroid usually is */
	for (int q = 0; q < nqueries; q++)
	{
		CHECK_FOR_INTERRUPTS();
		rank_for_query(meta, centroids, queries + (Size) q * meta->dims, distances, ranked);
		first += ranked[0].distance;
		by_hardness[q] = q;
	}
	/* of unit vectors that are equal the distance may come out as -1e-7 */
	meta->nearest_floor = nqueries > 0 ? Max(FLOOR_SHARE * first / nqueries, 0) : 0;
	qsort_arg(by_hardness, nqueries, sizeof(int), cmp_hardness, nearest);

	for (int hardness = 0; hardness < nqueries; hardness++)
	{
		int			q = by_hardness[hardness];

		CHECK_FOR_INTERRUPTS();
		rank_for_query(meta, centroids, queries + (Size) q * meta->dims, distances, ranked);
		efforts_of(meta, entries, ranked, efforts);
		for (int i = 0; i < IVF_CALIBRATION_K; i++)
		{
			uint32		list = nearest[q * IVF_CALIBRATION_K + i].list;

			if (list >= meta->lists)
				continue;		/* fewer rows than neighbours wanted */
			met[n].effort = efforts[list];
			met[n].weight = hardness + 0.5f;
			total += met[n++].weight;
		}
	}
	qsort(met, n, sizeof(MetAt), cmp_met);

	ivf_calibration_targets(meta);
	if (n == 0)
		meta->num_targets = 0;
	for (int t = 0; t < meta->num_targets; t++)
	{
		double		share = 1 - (1 - targets[t].recall) * targets[t].misses;

		while (at < n - 1 && sum + met[at].weight < share * total)
			sum += met[at++].weight;
		meta->targets[t].effort = met[at].effort;
		meta->targets[t].probes = 0;
	}

	/* what that means in lists, on average */
	for (int q = 0; q < nqueries; q++)
	{
		CHECK_FOR_INTERRUPTS();
		rank_for_query(meta, centroids, queries + (Size) q * meta->dims, distances, ranked);
		efforts_of(meta, entries, ranked, efforts);
		for (int t = 0; t < meta->num_targets; t++)
			for (uint32 i = 0; i < meta->lists; i++)
				meta->targets[t].probes += efforts[i] <= meta->targets[t].effort ? 1.0f / nqueries : 0;
	}

	pfree(distances);
	pfree(efforts);
	pfree(ranked);
	pfree(met);
	pfree(by_hardness);
}
