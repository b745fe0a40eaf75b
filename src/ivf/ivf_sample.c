/*-------------------------------------------------------------------------
 *
 * ivf_sample.c
 *	  Sample the table: how many rows, how many lists, values to train on.
 *
 * A few blocks tell how many rows a block holds, and so how many there are,
 * how many lists to make, and how many rows to train on.  Then blocks are
 * read in an order that spreads over the whole table however early it stops,
 * a few rows of each, since rows of one block are often alike.
 *
 * The sample is the same for the same table: builds can be repeated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/random.h"

/*
 * Training rows for each list: more are better (62,666 x 384, 501 lists, recall
 * at 16 probes: 0.870 with 64, 0.874 with 128) and dearer, as the square of the
 * lists; so the fewer where there are many lists.
 */
#define POINTS_PER_LIST		128
#define POINTS_PER_LIST_MIN 64
#define POINTS_ENOUGH		128000
/* Blocks read to learn how many rows a block holds */
#define PROBE_BLOCKS		64
#define SAMPLE_SEED			0x76656364

typedef struct SampleState
{
	IvfSample  *sample;			/* NULL while rows are only counted */
	Metric		metric;
	int			dims;
	int			rows_per_block; /* take at most so many of each block */
	uint64		random;

	double		seen;			/* rows in all blocks read */
	int			block_seen;		/* in this block ... */
	int			block_first;	/* ... and where its rows begin in the sample */
} SampleState;

/* Put a value at a place of the sample; false when it has no direction. */
static bool
sample_value(SampleState *state, Datum value, int place)
{
	Vector	   *vector = support_value(value, state->dims);
	float	   *to = state->sample->values + (Size) place * state->dims;
	double		scale = 1;

	if (state->metric != METRIC_L2)
		scale = 1 / sqrt(kernel->normsq_double(vector->x, state->dims));
	if (isfinite(scale))
		for (int i = 0; i < state->dims; i++)
			to[i] = vector->x[i] * scale;
	if ((Pointer) vector != DatumGetPointer(value))
		pfree(vector);
	return isfinite(scale);
}

/* One row of a block: a reservoir of rows_per_block for each block. */
static void
sample_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				bool tupleIsAlive, void *arg)
{
	SampleState *state = (SampleState *) arg;
	IvfSample  *sample = state->sample;

	if (isnull[0])
		return;
	state->seen++;
	if (sample == NULL)
		return;

	if (sample->n - state->block_first < state->rows_per_block)
	{
		if (sample->n < sample->max_n && sample_value(state, values[0], sample->n))
		{
			sample->n++;
			state->block_seen++;
		}
	}
	else
	{
		uint64		place = random_below(&state->random, ++state->block_seen);

		if (place < state->rows_per_block)
			(void) sample_value(state, values[0], state->block_first + place);
	}
}

static void
read_block(Relation heap, Relation index, IndexInfo *indexInfo,
		   BlockNumber blkno, SampleState *state)
{
	CHECK_FOR_INTERRUPTS();
	state->block_seen = 0;
	state->block_first = state->sample ? state->sample->n : 0;
	table_index_build_range_scan(heap, index, indexInfo, false, false, false,
								 blkno, 1, sample_callback, state, NULL);
}

/*
 * The i-th block of a walk over all n blocks: a step near the golden section
 * of n and without common divisor spreads any beginning of it evenly.
 */
static BlockNumber
golden_step(BlockNumber n)
{
	BlockNumber step = Max((BlockNumber) (n * 0.6180339887), 1);

	for (;; step++)
	{
		BlockNumber a = n;
		BlockNumber b = step;

		while (b != 0)
		{
			BlockNumber rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return step;
	}
}

/*
 * Lists for a table of that many rows, when nobody said: 2 * sqrt(rows), which
 * read a fifth to a third less at equal recall than sqrt(rows) (README.md);
 * from a million rows on no more than there, until sqrt(rows) are more, since
 * a build compares every row with every list.  A list should fill two pages.
 */
int
ivf_choose_lists(double rows, int rows_per_page)
{
	double		lists = Max(Min(2 * sqrt(rows), 2000), sqrt(rows));

	/* up to here one list, scanned whole, is as quick, and exact */
	if (rows < 1000)
		return rows > 0 ? 1 : 0;
	lists = Min(lists, rows / (2 * Max(rows_per_page, 1)));
	return (int) Min(Max(rint(lists), 1), IVF_MAX_LISTS);
}

/*
 * Fill *sample.  Memory is what the values may take; they are palloc'd, and
 * the caller frees them.
 */
void
ivf_sample_rows(Relation heap, Relation index, IndexInfo *indexInfo,
				Metric metric, int dims, Size memory, IvfSample *sample)
{
	SampleState state = {0};
	BlockNumber nblocks = RelationGetNumberOfBlocks(heap);
	BlockNumber probed;
	BlockNumber step;
	double		wanted;
	int			option = ivfflat_option_lists(index);

	memset(sample, 0, sizeof(*sample));
	if (nblocks == 0)
		return;

	state.metric = metric;
	state.dims = dims;
	state.random = SAMPLE_SEED;
	step = golden_step(nblocks);

	probed = Min(nblocks, PROBE_BLOCKS);
	for (BlockNumber i = 0; i < probed; i++)
		read_block(heap, index, indexInfo, ((uint64) i * step) % nblocks, &state);
	sample->rows = state.seen / probed * nblocks;

	/* a partial index may hide from a few blocks: look at all before giving up */
	if (state.seen == 0 && probed < nblocks)
	{
		for (BlockNumber i = probed; i < nblocks; i++)
			read_block(heap, index, indexInfo, ((uint64) i * step) % nblocks, &state);
		sample->rows = state.seen;
	}
	if (sample->rows == 0)
		return;

	sample->lists = option != OPTION_UNSET ? option : ivf_choose_lists(sample->rows,
									ivf_rows_per_page(IVF_ROW_HEAD + sizeof(float) * dims));
	wanted = Max(Min((double) sample->lists * POINTS_PER_LIST, POINTS_ENOUGH),
				 (double) sample->lists * POINTS_PER_LIST_MIN);
	wanted = Min(wanted, ceil(sample->rows * 1.1));
	wanted = Min(wanted, (double) memory / (sizeof(float) * dims));
	wanted = Min(wanted, MaxAllocHugeSize / (sizeof(float) * dims));
	sample->max_n = (int) Min(Max(wanted, 1), INT_MAX);
	sample->values = palloc_extended(sizeof(float) * dims * sample->max_n, MCXT_ALLOC_HUGE);

	/* 1.2: so that blocks with fewer rows than the mean do not leave it short */
	state.sample = sample;
	state.rows_per_block = (int) Min(ceil(sample->max_n * 1.2 / nblocks), INT_MAX);
	for (BlockNumber i = 0; i < nblocks && sample->n < sample->max_n; i++)
		read_block(heap, index, indexInfo, ((uint64) i * step) % nblocks, &state);
}
