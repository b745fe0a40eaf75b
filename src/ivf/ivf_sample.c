/*-------------------------------------------------------------------------
 *
 * ivf_sample.c
 *	  Sample the table: how many rows, how many lists, values to train on.
 *
 * A few blocks tell how many rows there are, so how many lists to make, and
 * how many rows to train on; am/sample.c spreads these over the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "utils/memutils.h"

#include "am/sample.h"
#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"

/*
 * Training rows for each list: more are better (62,666 x 384, 501 lists, recall
 * at 16 probes: 0.870 with 64, 0.874 with 128) and dearer, as the square of the
 * lists; so the fewer where there are many lists.
 */
#define POINTS_PER_LIST		128
#define POINTS_PER_LIST_MIN 64
#define POINTS_ENOUGH		128000
/* enough to measure the errors of codes that need no training */
#define CODEC_ROWS			1000

typedef struct SampleState
{
	IvfSample  *sample;
	Metric		metric;
	int			dims;
} SampleState;

/* Put a value into a sample, of unit length unless the metric is L2; false when it has no direction. */
bool
ivf_sample_put(Metric metric, const float *value, int dims, float *to)
{
	double		scale = 1;

	if (metric != METRIC_L2)
		scale = 1 / sqrt(kernel->normsq_double(value, dims));
	if (!isfinite(scale))
		return false;
	for (int i = 0; i < dims; i++)
		to[i] = value[i] * scale;
	return true;
}

static bool
sample_value(void *arg, Datum value, int place)
{
	SampleState *state = (SampleState *) arg;
	Vector	   *vector = support_value(value, state->dims);
	bool		put = ivf_sample_put(state->metric, vector->x, state->dims,
									 state->sample->values + (Size) place * state->dims);

	if ((Pointer) vector != DatumGetPointer(value))
		pfree(vector);
	return put;
}

/*
 * How many lists so many rows can do with: each should have IVF_LIST_ROWS, and fill
 * the pages it takes, of which it has one at least.
 */
int
ivf_most_lists(double rows, int rows_to_fill)
{
	return (int) Min(Max(rows / Max(IVF_LIST_ROWS, rows_to_fill), 1), IVF_MAX_LISTS);
}

/*
 * Lists for a table of that many rows, when nobody said: 2 * sqrt(rows), which
 * read a fifth to a third less at equal recall than sqrt(rows) (README.md);
 * from a million rows on no more than there, until sqrt(rows) are more, since
 * a build compares every row with every list.  A list should fill two pages, or one
 * of codes.
 */
int
ivf_choose_lists(double rows, int rows_per_page, bool codes)
{
	double		lists = Max(Min(2 * sqrt(rows), 2000), sqrt(rows));

	if (rows < IVF_FEW_ROWS)
		return rows > 0 ? 1 : 0;
	return (int) Min(rint(lists), ivf_most_lists(rows, (codes ? 1 : 2) * rows_per_page));
}

/* Rows that a codec wants in the sample: to learn from, and to measure its errors on. */
int
ivf_codec_rows(const Codec *codec)
{
	return codec_train_parts(codec) > 0 ? (int) (IVF_TRAIN_ROWS * 5.0 / 4) : CODEC_ROWS;
}

/*
 * How many rows to train so many lists on, and a codec that wants codec_rows (0:
 * none); the values may take memory bytes.
 */
int
ivf_sample_size(int lists, double rows, int dims, int codec_rows, Size memory)
{
	double		wanted = Max(Min((double) lists * POINTS_PER_LIST, POINTS_ENOUGH),
							 (double) lists * POINTS_PER_LIST_MIN);

	wanted = Max(wanted, codec_rows);
	wanted = Min(wanted, ceil(rows * 1.1));
	wanted = Min(wanted, (double) memory / (sizeof(float) * dims));
	wanted = Min(wanted, MaxAllocHugeSize / (sizeof(float) * dims));
	return (int) Min(Max(wanted, 1), INT_MAX);
}

/*
 * Do the sampled values all have (nearly) unit length?  Then centroids should
 * have it under L2, too: plain means are the shorter the more diffuse their
 * list, which brings such lists too far forward for every query.
 */
bool
ivf_all_unit_length(const float *values, int n, int dims)
{
	for (int i = 0; i < n; i++)
		if (!(fabsf(kernel->normsq(values + (Size) i * dims, dims) - 1) < 0.01f))
			return false;
	return true;
}

/*
 * Fill *sample.  Memory is what the values may take; they are palloc'd, and
 * the caller frees them.
 */
void
ivf_sample_rows(Relation heap, Relation index, IndexInfo *indexInfo,
				Metric metric, int dims, const Codec *codec, Size memory,
				IvfSample *sample)
{
	SampleState state = {.sample = sample, .metric = metric, .dims = dims};
	SampleRows	rows;
	int			option = ivf_option_lists(index);
	int			codec_rows = 0;

	memset(sample, 0, sizeof(*sample));
	sample_count(heap, index, indexInfo, &rows);
	sample->rows = rows.rows;
	if (sample->rows == 0)
		return;

	sample->rows_per_page = ivf_rows_per_page(ivf_row_size(dims, metric, codec), codec != NULL);
	sample->lists = option != OPTION_UNSET ? option :
		ivf_choose_lists(sample->rows, sample->rows_per_page, codec != NULL);
	if (codec != NULL)
		codec_rows = ivf_codec_rows(codec);
	sample->max_n = ivf_sample_size(sample->lists, sample->rows, dims, codec_rows, memory);
	sample->values = palloc_extended(sizeof(float) * dims * sample->max_n, MCXT_ALLOC_HUGE);

	sample->n = sample_take(heap, index, indexInfo, sample->max_n, sample_value, &state, &rows);
	sample->best_rows = rows.rows;
}
