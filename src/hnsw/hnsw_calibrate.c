/*-------------------------------------------------------------------------
 *
 * hnsw_calibrate.c
 *	  How far a search must go for a recall: measured at build.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"

#include "hnsw/hnsw_build.h"
#include "kernel/kernel.h"
#include "quant/random.h"

/* What is true of most data, where nothing was measured. */
static const HnswTarget defaults[HNSW_NUM_TARGETS] =
{
	{0.80f, 1.02f, 25}, {0.90f, 1.08f, 40}, {0.95f, 1.15f, 80},
	{0.98f, 1.20f, 120}, {0.99f, 1.25f, 180}, {0.995f, 1.30f, 250}
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

void
hnsw_calibrate_begin(HnswBuilder *builder)
{
}

void
hnsw_calibrate_exact(HnswBuilder *builder)
{
}

void
hnsw_calibrate_search(HnswBuilder *builder)
{
}

void
hnsw_calibrate_end(HnswBuilder *builder)
{
}
