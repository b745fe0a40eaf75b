/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  Rows spread over a table, taken before an index is built.
 *
 * Blocks are read in an order that spreads over the whole table however early
 * it stops, a few rows of each, since rows of one block are often alike.  The
 * blocks read also tell how many rows there are.
 *
 * The sample is the same for the same table: builds can be repeated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/tableam.h"
#include "miscadmin.h"

#include "am/sample.h"
#include "compat.h"
#include "quant/random.h"

/* Blocks read to learn how many rows a block holds */
#define PROBE_BLOCKS		64
#define SAMPLE_SEED			0x76656364

typedef struct SampleState
{
	Relation	heap;
	Relation	index;
	IndexInfo  *indexInfo;
	BlockNumber nblocks;
	BlockNumber step;

	/* rows in all blocks read, and the sum of squares, by block */
	double		seen;
	double		seen_squared;

	/* the sample; take is NULL while rows are only counted */
	SampleTake	take;
	void	   *arg;
	int			n;
	int			max_n;
	int			rows_per_block; /* take at most so many of each block */
	uint64		random;
	int			block_rows;		/* rows of this block: all ... */
	int			block_seen;		/* ... and those that were of use ... */
	int			block_first;	/* ... and where they begin in the sample */
} SampleState;

/* One row of a block: a reservoir of rows_per_block for each block. */
static void
sample_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				bool tupleIsAlive, void *arg)
{
	SampleState *state = (SampleState *) arg;

	if (isnull[0])
		return;
	state->block_rows++;
	if (state->take == NULL)
		return;

	if (state->n - state->block_first < state->rows_per_block)
	{
		if (state->n < state->max_n && state->take(state->arg, values[0], state->n))
		{
			state->n++;
			state->block_seen++;
		}
	}
	else
	{
		uint64		place = random_below(&state->random, ++state->block_seen);

		if (place < state->rows_per_block)
			(void) state->take(state->arg, values[0], state->block_first + place);
	}
}

/* Read the i-th block of the walk. */
static void
read_block(SampleState *state, BlockNumber i)
{
	CHECK_FOR_INTERRUPTS();
	state->block_rows = 0;
	state->block_seen = 0;
	state->block_first = state->n;
	table_index_build_range_scan(state->heap, state->index, state->indexInfo,
								 false, false, false,
								 ((uint64) i * state->step) % state->nblocks, 1,
								 sample_callback, state, NULL);
	state->seen += state->block_rows;
	state->seen_squared += (double) state->block_rows * state->block_rows;
}

/*
 * A walk over all n blocks: a step near the golden section of n and without
 * common divisor spreads any beginning of it evenly.
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

static void
init_state(SampleState *state, Relation heap, Relation index, IndexInfo *indexInfo)
{
	memset(state, 0, sizeof(*state));
	state->heap = heap;
	state->index = index;
	state->indexInfo = indexInfo;
	state->nblocks = RelationGetNumberOfBlocks(heap);
	state->step = golden_step(Max(state->nblocks, 1));
	state->random = SAMPLE_SEED;
}

/* What so many blocks tell of all. */
static void
estimate_rows(const SampleState *state, BlockNumber blocks, SampleRows *rows)
{
	double		mean = state->seen / Max(blocks, 1);
	double		variance = state->seen_squared / Max(blocks, 1) - mean * mean;

	rows->rows = mean * state->nblocks;
	rows->error = blocks < state->nblocks ?
		state->nblocks * sqrt(Max(variance, 0) / blocks) : 0;
}

/* How many rows are there to index?  A few blocks tell. */
void
sample_count(Relation heap, Relation index, IndexInfo *indexInfo, SampleRows *rows)
{
	SampleState state;
	BlockNumber blocks;

	init_state(&state, heap, index, indexInfo);
	for (blocks = 0; blocks < Min(state.nblocks, PROBE_BLOCKS); blocks++)
		read_block(&state, blocks);
	/* a partial index may hide from a few blocks: look at all before giving up */
	if (state.seen == 0)
		for (; blocks < state.nblocks; blocks++)
			read_block(&state, blocks);
	estimate_rows(&state, blocks, rows);
}

/*
 * Give take() at most max_n values; returns how many it kept.  *rows (what
 * sample_count() said) becomes more precise.
 */
int
sample_take(Relation heap, Relation index, IndexInfo *indexInfo, int max_n,
			SampleTake take, void *arg, SampleRows *rows)
{
	SampleState state;
	BlockNumber blocks;

	init_state(&state, heap, index, indexInfo);
	if (state.nblocks == 0)
		return 0;
	state.take = take;
	state.arg = arg;
	state.max_n = max_n;
	/* 1.2: so that blocks with fewer rows than the mean do not leave it short */
	state.rows_per_block = (int) Min(ceil(max_n * 1.2 / state.nblocks), INT_MAX);
	for (blocks = 0; blocks < state.nblocks && state.n < max_n; blocks++)
		read_block(&state, blocks);
	if (blocks >= PROBE_BLOCKS || blocks == state.nblocks)
		estimate_rows(&state, blocks, rows);
	return state.n;
}
