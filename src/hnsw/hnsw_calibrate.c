/*-------------------------------------------------------------------------
 *
 * hnsw_calibrate.c
 *	  How far a search must go for a recall: measured at build.
 *
 * Some queries are made of the rows in memory, their exact answers are found among
 * all rows, those that did not fit memory included, and then the pages are searched
 * for them as a scan would, with one gamma (graph/search.h) after the other, until
 * the highest target is met.
 *
 * Real queries are harder than rows: questions are no documents.  So a query
 * lies some way (MIX) from one row to another, and only a part of the misses that
 * a target allows may be used (MISSES).  This is a heuristic, chosen on real
 * sentences, word vectors and generated clusters, with queries of their own: a
 * quarter of the way left sentences short of their target, three tenths had
 * clusters searched twice as far as need be.
 *
 * Which queries are drawn, and how participants happen to share the rows, moves
 * the result.  Sentences, ef_construction 64, eight builds with 256 queries and
 * 0.6 of the misses: a target of 0.95 gave 0.929 to 0.952; ten with 512 and
 * half of them: 0.944 to 0.958.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "hnsw/hnsw_build.h"
#include "kernel/kernel.h"
#include "quant/random.h"

/* Fewer nodes tell nothing. */
#define MIN_NODES			1000
/* Part of the way from a row to another */
#define MIX					0.28f
#define SEED				UINT64CONST(0x63616c6962)
#define EXACT_ROWS			32	/* compared with the queries at a time */
#define SEARCH_BYTES		(64 * 1024 * 1024)

/* The part of the misses a target allows that may be used: see above. */
#define MISSES				0.5

static const float recalls_wanted[HNSW_NUM_TARGETS] =
{
	0.80f, 0.90f, 0.95f, 0.98f, 0.99f, 0.995f
};

static const float gammas[HNSW_CALIBRATION_GRID] =
{
	0.90f, 0.95f, 1.00f, 1.03f, 1.06f, 1.09f, 1.12f, 1.16f,
	1.20f, 1.25f, 1.30f, 1.40f, 1.50f, 1.70f, 2.00f, 2.50f
};

/* Where nothing was measured: what held for the harder of those sets. */
static const HnswTarget defaults[HNSW_NUM_TARGETS] =
{
	{0.80f, 1.00f, 25}, {0.90f, 1.06f, 35}, {0.95f, 1.11f, 50},
	{0.98f, 1.18f, 90}, {0.99f, 1.25f, 150}, {0.995f, 1.36f, 300}
};

/*
 * The effort for a recall, INFINITY to search all that can be reached, and into
 * *visits (if not NULL) how many nodes that is on average.  Between the
 * measured targets straight lines in log(1 - recall), which is how the curve
 * bends.
 */
float
hnsw_gamma_for(const HnswMetaPageData *meta, double recall, double *visits)
{
	bool		measured = meta->num_targets > 0;
	const HnswTarget *targets = measured ? meta->targets : defaults;
	int			n = measured ? meta->num_targets : HNSW_NUM_TARGETS;
	double		all = Max((double) meta->nodes, 1);

	if (visits == NULL)
		visits = &all;
	*visits = all;
	for (int i = 0; i < n; i++)
	{
		const HnswTarget *above = &targets[i];
		const HnswTarget *below = above - 1;
		double		share;

		if (recall > above->recall + 1e-6)
			continue;
		if (i == 0 || recall > above->recall - 1e-6)
			share = 1;
		else
			share = (log(1 - below->recall) - log(1 - recall)) /
				(log(1 - below->recall) - log(1 - above->recall));
		*visits = share * above->visits + (share < 1 ? (1 - share) * below->visits : 0);
		*visits = Min(Max(*visits, 1), Max((double) meta->nodes, 1));
		return share * above->gamma + (share < 1 ? (1 - share) * below->gamma : 0);
	}
	return INFINITY;
}

/* How many queries fit so much memory: as floats, and packed. */
int
hnsw_calibration_queries(Size memory, const HnswMetaPageData *meta)
{
	return (int) Min(memory / (2 * sizeof(float) * meta->padded), HNSW_CALIBRATION_QUERIES);
}

static inline float *
query_at(const HnswBuilder *builder, int q)
{
	return (float *) hnsw_area(builder, builder->shared->area.queries) +
		(Size) q * builder->shared->meta.padded;
}

static inline HnswNearest *
nearest_of(const HnswBuilder *builder, int participant, int q)
{
	return (HnswNearest *) hnsw_area(builder, builder->shared->area.nearest) +
		((Size) participant * builder->shared->nqueries + q) * HNSW_CALIBRATION_K;
}

static inline HnswMeasure *
measure_of(const HnswBuilder *builder, int q)
{
	return (HnswMeasure *) hnsw_area(builder, builder->shared->area.measures) + q;
}

static void
unpack(const HnswBuilder *builder, uint32 node, float *x)
{
	kernel->half_unpack(hnsw_build_half(builder, node), hnsw_build_row(builder, node)->scale,
						builder->shared->meta.padded, x);
}

/*
 * Make a query of a point between two rows as SQL's queries are made: of unit
 * length (cosine), or with 0 for the dimension that inner product adds; axis is
 * where the rotation takes that dimension.
 */
static void
form_query(const HnswBuilder *builder, const float *axis, float *x)
{
	const HnswIndex *hnsw = builder->hnsw;
	int			padded = hnsw->meta.padded;
	const float *mean = hnsw->mean_rotated;

	if (hnsw->metric != METRIC_COSINE && hnsw->metric != METRIC_IP)
		return;
	for (int i = 0; mean && i < padded; i++)
		x[i] += mean[i];
	if (hnsw->metric == METRIC_COSINE)
	{
		double		norm = sqrt(kernel->normsq_double(x, padded));

		for (int i = 0; norm > 0 && i < padded; i++)
			x[i] /= norm;
	}
	else
	{
		float		along = kernel->ip(x, axis, padded);

		for (int i = 0; i < padded; i++)
			x[i] -= along * axis[i];
	}
	for (int i = 0; mean && i < padded; i++)
		x[i] -= mean[i];
}

/* What the rows in memory are compared with: for inner product, not centred. */
static void
comparand(const HnswBuilder *builder, int q, float *x)
{
	const HnswIndex *hnsw = builder->hnsw;

	memcpy(x, query_at(builder, q), sizeof(float) * hnsw->meta.padded);
	for (int i = 0; hnsw->metric == METRIC_IP && hnsw->mean_rotated && i < hnsw->meta.padded; i++)
		x[i] += hnsw->mean_rotated[i];
}

/* The leader makes the queries; none where there is nothing to learn. */
void
hnsw_calibrate_begin(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	const HnswIndex *hnsw = builder->hnsw;
	int			padded = hnsw->meta.padded;
	const uint32 *order = hnsw_build_order(builder);
	uint64		random = SEED;
	float	   *other = palloc(sizeof(float) * padded);
	float	   *axis = palloc0(sizeof(float) * padded);
	float	   *comparands;

	hnsw_build_phase(builder, HNSW_PHASE_MEASURE, shared->nodes);
	shared->calibrated = 0;
	if (shared->nodes < MIN_NODES)
		shared->nqueries = 0;
	if (hnsw->metric == METRIC_IP)
	{
		float	   *unit = palloc0(sizeof(float) * hnsw->index_dims);

		unit[hnsw->index_dims - 1] = 1;
		rotate(&hnsw->rotation, unit, axis);
		pfree(unit);
	}

	for (int q = 0; q < shared->nqueries; q++)
	{
		float	   *x = query_at(builder, q);

		CHECK_FOR_INTERRUPTS();
		unpack(builder, order[random_below(&random, shared->nodes)], x);
		unpack(builder, order[random_below(&random, shared->nodes)], other);
		for (int i = 0; i < padded; i++)
			x[i] += MIX * (other[i] - x[i]);
		form_query(builder, axis, x);
		memset(measure_of(builder, q), 0, sizeof(HnswMeasure));
	}

	comparands = palloc_extended(sizeof(float) * padded * Max(shared->nqueries, 1), MCXT_ALLOC_HUGE);
	for (int q = 0; q < shared->nqueries; q++)
		comparand(builder, q, comparands + (Size) q * padded);
	if (shared->nqueries > 0)
		kernel_pack_panels(comparands, padded, shared->nqueries, padded,
						   hnsw_area(builder, shared->area.panels));
	pfree(comparands);
	pfree(other);
	pfree(axis);
}

/* Keep the K nearest, in order, each once. */
static inline void
keep_nearest(HnswNearest *nearest, float distance, HnswNodeId node)
{
	int			i = HNSW_CALIBRATION_K - 1;

	if (likely(!(distance < nearest[i].distance)))
		return;
	for (int j = 0; j < HNSW_CALIBRATION_K; j++)
		if (nearest[j].node == node)
			return;
	for (; i > 0 && distance < nearest[i - 1].distance; i--)
		nearest[i] = nearest[i - 1];
	nearest[i].distance = distance;
	nearest[i].node = node;
}

/* Distances of a row to all queries, each less a constant of the query. */
static void
distances_of(const HnswBuilder *builder, const float *rows, int n, float *out)
{
	const HnswBuildShared *shared = builder->shared;
	int			padded = shared->meta.padded;

	if (builder->hnsw->metric == METRIC_L1)
	{
		for (int i = 0; i < n; i++)
			for (int q = 0; q < shared->nqueries; q++)
				out[i * shared->nqueries + q] = kernel->l1(rows + (Size) i * padded,
														   query_at(builder, q), padded);
		return;
	}
	kernel->ip_panels(rows, padded, n, hnsw_area(builder, shared->area.panels),
					  shared->nqueries, padded, out, shared->nqueries);
	for (int i = 0; i < n; i++)
	{
		float		normsq = builder->hnsw->metric == METRIC_IP ? 0 :
			kernel->normsq(rows + (Size) i * padded, padded);

		for (int q = 0; q < shared->nqueries; q++)
			out[i * shared->nqueries + q] = normsq - 2 * out[i * shared->nqueries + q];
	}
}

/* The exact answers among the rows in memory: each participant compares a part. */
void
hnsw_calibrate_exact(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	int			padded = shared->meta.padded;
	const uint32 *order = hnsw_build_order(builder);
	float	   *rows;
	float	   *distances;

	if (shared->nqueries == 0)
		return;
	rows = palloc(sizeof(float) * padded * EXACT_ROWS);
	distances = palloc(sizeof(float) * shared->nqueries * EXACT_ROWS);
	for (int q = 0; q < shared->nqueries; q++)
		for (int i = 0; i < HNSW_CALIBRATION_K; i++)
		{
			nearest_of(builder, builder->number, q)[i].distance = INFINITY;
			nearest_of(builder, builder->number, q)[i].node = 0;
		}

	for (;;)
	{
		uint32		first = pg_atomic_fetch_add_u32(&shared->next_exact, EXACT_ROWS);
		int			n;

		if (first >= shared->nodes)
			break;
		CHECK_FOR_INTERRUPTS();
		n = Min(shared->nodes - first, EXACT_ROWS);
		for (int i = 0; i < n; i++)
			unpack(builder, order[first + i], rows + (Size) i * padded);
		distances_of(builder, rows, n, distances);
		for (int i = 0; i < n; i++)
			for (int q = 0; q < shared->nqueries; q++)
				keep_nearest(nearest_of(builder, builder->number, q),
							 distances[i * shared->nqueries + q],
							 hnsw_build_node_id(builder, order[first + i]));
		hnsw_build_progress(builder, (double) first + n);
	}
	pfree(rows);
	pfree(distances);
}

/* A row that did not fit memory has got this node, its own or that of equal rows. */
void
hnsw_calibrate_inserted(HnswBuilder *builder, const float *x, HnswNodeId node)
{
	HnswBuildShared *shared = builder->shared;
	float	   *distances;

	if (shared->nqueries == 0)
		return;
	distances = palloc(sizeof(float) * shared->nqueries);
	distances_of(builder, x, 1, distances);
	for (int q = 0; q < shared->nqueries; q++)
		keep_nearest(nearest_of(builder, builder->number, q), distances[q], node);
	pfree(distances);
}

/* Nodes of the exact answer to a query, from what all participants found. */
static void
exact_answer(const HnswBuilder *builder, int q, HnswNodeId *answer)
{
	HnswNearest nearest[HNSW_CALIBRATION_K];

	memcpy(nearest, nearest_of(builder, 0, q), sizeof(nearest));
	for (int p = 1; p < builder->shared->participants; p++)
		for (int i = 0; i < HNSW_CALIBRATION_K; i++)
		{
			const HnswNearest *other = &nearest_of(builder, p, q)[i];

			keep_nearest(nearest, other->distance, other->node);
		}
	for (int i = 0; i < HNSW_CALIBRATION_K; i++)
		answer[i] = nearest[i].node;
}

/* Search for a query with one gamma, as a scan does. */
static void
search_query(HnswBuilder *builder, HnswReader *reader, int q, int step)
{
	GraphEffort effort = {.gamma = gammas[step],.cap = HNSW_ADAPTIVE_CAP};
	HnswMeasure *measure = measure_of(builder, q);
	HnswNodeId	answer[HNSW_CALIBRATION_K];
	int			hits = 0;

	exact_answer(builder, q, answer);
	hnsw_reader_start(reader, &effort);
	for (int i = 0; i < HNSW_CALIBRATION_K; i++)
	{
		uint64_t	node;
		uint32_t	ordinal;
		float		distance;
		bool		ordered;

		if (!graph_search_next(reader->search, &node, &ordinal, &distance, &ordered))
			break;
		for (int j = 0; j < HNSW_CALIBRATION_K; j++)
			hits += answer[j] == node;
	}
	measure->found[step] = (float) hits / HNSW_CALIBRATION_K;
	measure->visits[step] = graph_search_visits(reader->search);
}

/* Recall and visits of a step, on average. */
static void
mean_of_step(const HnswBuilder *builder, int step, double *recall, double *visits)
{
	int			n = builder->shared->nqueries;

	*recall = *visits = 0;
	for (int q = 0; q < n; q++)
	{
		*recall += measure_of(builder, q)->found[step] / n;
		*visits += measure_of(builder, q)->visits[step] / n;
	}
}

/* The recall that must be measured for a target. */
static double
wanted(int target)
{
	return 1 - (1 - (double) recalls_wanted[target]) * MISSES;
}

/*
 * Search with one gamma after the other, all participants together, until the
 * highest target is met.
 */
void
hnsw_calibrate_search(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	MemoryContext context;
	MemoryContext old;
	HnswQuery	query;
	HnswReader	reader;

	if (shared->nqueries == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "hnsw calibration",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	hnsw_query_alloc(builder->hnsw, &query);
	hnsw_reader_init(&reader, builder->index, builder->hnsw, &query, SEARCH_BYTES, false);

	for (int step = 0; step < HNSW_CALIBRATION_GRID; step++)
	{
		uint32		end = (uint32) (step + 1) * shared->nqueries;
		double		recall;
		double		visits;

		/* the counter goes on from step to step */
		for (;;)
		{
			uint32		at = pg_atomic_read_u32(&shared->next_query);
			HnswValue	value;

			if (at >= end)
				break;
			if (!pg_atomic_compare_exchange_u32(&shared->next_query, &at, at + 1))
				continue;
			CHECK_FOR_INTERRUPTS();
			value.x = query_at(builder, at % shared->nqueries);
			hnsw_query_from_value(&query, &value);
			search_query(builder, &reader, at % shared->nqueries, step);
		}
		hnsw_build_sync(builder);
		if (builder->number == 0)
			shared->calibrated = step + 1;
		/* the same sum everywhere: all go on, or nobody does */
		mean_of_step(builder, step, &recall, &visits);
		if (recall >= wanted(HNSW_NUM_TARGETS - 1))
			break;
	}

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The leader concludes: gamma and visits for each target. */
void
hnsw_calibrate_end(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	HnswMetaPageData *meta = &shared->meta;
	double		least = shared->nqueries > 0 ? 0.5 / (shared->nqueries * HNSW_CALIBRATION_K) : 0;
	double		recalls[HNSW_CALIBRATION_GRID];
	double		visits[HNSW_CALIBRATION_GRID];

	meta->num_targets = 0;
	if (shared->nqueries == 0)
		return;
	for (int step = 0; step < shared->calibrated; step++)
	{
		mean_of_step(builder, step, &recalls[step], &visits[step]);
		if (step > 0)
			recalls[step] = Max(recalls[step], recalls[step - 1]);
		ereport(DEBUG1,
				(errmsg_internal("hnsw calibration: gamma %.2f, recall %.4f, %.1f visits",
								 gammas[step], recalls[step], visits[step])));
	}
	for (int t = 0; t < HNSW_NUM_TARGETS; t++)
	{
		HnswTarget *target = &meta->targets[t];
		double		aim = wanted(t);
		double		share = 1;
		int			step = 0;

		while (step < shared->calibrated - 1 && recalls[step] < aim)
			step++;
		/* straight lines in log(1 - recall) */
		if (step > 0 && recalls[step] > recalls[step - 1])
		{
			double		below = log(Max(1 - recalls[step - 1], least));
			double		above = log(Max(1 - recalls[step], least));

			share = above < below ? (below - log(1 - aim)) / (below - above) : 1;
			share = Min(Max(share, 0), 1);
		}
		target->recall = recalls_wanted[t];
		target->gamma = gammas[step];
		target->visits = visits[step];
		if (step > 0)
		{
			target->gamma = share * gammas[step] + (1 - share) * gammas[step - 1];
			target->visits = share * visits[step] + (1 - share) * visits[step - 1];
		}
	}
	meta->num_targets = HNSW_NUM_TARGETS;
}
