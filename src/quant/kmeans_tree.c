/*-------------------------------------------------------------------------
 *
 * kmeans_tree.c
 *	  k-means for very many centroids: in cells, and then in each cell.
 *
 * With k centroids for a few dozen points each, k-means costs some k^2 distances,
 * whatever is spared on the way.  Here k-means first makes about sqrt(k) cells; each
 * gets centroids in proportion to its points, by a k-means of its own, which
 * one participant runs alone.  So it costs about k * sqrt(k).
 *
 * Centroids do not know of those beyond the border of their cell, so passes over all
 * points follow (kmeans_passes.c).  What is lost all the same is told in README.md, and is why
 * fewer centroids are not made like this.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/kmeans_private.h"

#include <math.h>
#include <string.h>

/* From so many centroids on. */
#define TREE_FROM		16385

/*
 * A cell has at most so many times the mean of points, or goes on with as
 * many of them; of centroids as well.
 */
#define LARGEST_CELL	8

typedef struct TreeState
{
	KMeansParams params;		/* first, as in KMeansState */

	/* offsets of the arrays from here */
	size_t		cells;			/* workspace of the k-means that makes them */
	size_t		middles;		/* float[ncells * dim] */
	size_t		packed;			/* prepared middles */
	size_t		nearest;		/* uint32[n]: cell of each point */
	size_t		members;		/* uint32[n]: points, sorted by cell */
	size_t		start;			/* uint32[ncells + 1]: each cell's place there */
	size_t		place;			/* uint32[ncells + 1]: of its centroids */
	size_t		made;			/* int[ncells]: centroids made */
	size_t		private;		/* first participant's own memory */
	size_t		private_size;	/* each one's: scratch to assign; and, at */
	size_t		points;			/* this offset, a cell's points, and at */
	size_t		workspace;		/* this one, memory for its k-means */
	size_t		passes;			/* kmeans_passes.c, in the place of all that */

	int			ncells;
	int			max_points;		/* of one cell */
	int			max_k;
	atomic_int	next_block;
	atomic_int	next_cell;
	int			total;			/* centroids made in all */
} TreeState;

bool
kmeans_tree_wanted(const KMeansParams *params)
{
	return min_int(params->k, params->n) >= TREE_FROM;
}

static KMeansParams
cell_params(const KMeansParams *params, int cells)
{
	KMeansParams result = *params;

	result.k = cells;
	return result;
}

/* Of the k-means within a cell. */
static KMeansParams
inner_params(const TreeState *state, int cell, int n, int k)
{
	KMeansParams result = state->params;

	result.n = n;
	result.k = k;
	result.seed += 1 + (uint64_t) cell;
	result.participants = 1;
	return result;
}

/* Fill the offsets; the size of all, or SIZE_MAX. */
static size_t
lay_out(const KMeansParams *params, TreeState *state)
{
	size_t		total = sizeof(TreeState);
	size_t		with_passes = sizeof(TreeState);
	size_t		n = (size_t) params->n;
	size_t		dim = (size_t) params->dim;
	KMeansParams cells;
	KMeansParams inner;
	size_t		ncells,
				unused;

	if (params->participants < 1 || params->max_iterations < 1 || params->dim < 1 ||
		n > SIZE_MAX / sizeof(float) / dim)
		return SIZE_MAX;
	state->params = *params;
	state->ncells = (int) sqrt((double) min_int(params->k, params->n));
	ncells = (size_t) state->ncells;
	state->max_points = min_int(params->n, params->n / state->ncells * LARGEST_CELL);
	state->max_k = min_int(state->max_points,
						   min_int(params->k, params->k / state->ncells * LARGEST_CELL));
	cells = cell_params(params, state->ncells);
	inner = inner_params(state, 0, state->max_points, state->max_k);

	if (!kmeans_reserve(&total, 1, kmeans_workspace_size(&cells), &state->cells) ||
		!kmeans_reserve(&total, ncells * dim, sizeof(float), &state->middles) ||
		!kmeans_reserve(&total, 1, assign_size(state->ncells, params->dim), &state->packed) ||
		!kmeans_reserve(&total, n, sizeof(uint32_t), &state->nearest) ||
		!kmeans_reserve(&total, n, sizeof(uint32_t), &state->members) ||
		!kmeans_reserve(&total, ncells + 1, sizeof(uint32_t), &state->start) ||
		!kmeans_reserve(&total, ncells + 1, sizeof(uint32_t), &state->place) ||
		!kmeans_reserve(&total, ncells, sizeof(int), &state->made))
		return SIZE_MAX;
	state->private_size = 0;
	if (!kmeans_reserve(&state->private_size, 1, assign_scratch_size(state->ncells, params->dim),
						&unused) ||
		!kmeans_reserve(&state->private_size, (size_t) state->max_points, sizeof(float) * dim,
						&state->points) ||
		!kmeans_reserve(&state->private_size, 1, kmeans_workspace_size(&inner), &state->workspace) ||
		!kmeans_reserve(&state->private_size, 0, 0, &unused) ||
		!kmeans_reserve(&total, (size_t) params->participants, state->private_size,
						&state->private) ||
		!kmeans_reserve(&with_passes, 1, kmeans_passes_size(params), &state->passes))
		return SIZE_MAX;
	return total > with_passes ? total : with_passes;
}

size_t
kmeans_tree_workspace_size(const KMeansParams *params)
{
	TreeState	state;

	return lay_out(params, &state);
}

void
kmeans_tree_init(void *workspace, const KMeansParams *params)
{
	TreeState  *state = workspace;
	KMeansParams cells;

	memset(state, 0, sizeof(*state));
	(void) lay_out(params, state);
	atomic_init(&state->next_block, 0);
	atomic_init(&state->next_cell, 0);
	cells = cell_params(params, state->ncells);
	kmeans_init(ARRAY(state, char, cells), &cells);
}

KMeansReport
kmeans_tree_report(const void *workspace)
{
	const TreeState *state = workspace;

	return kmeans_passes_report(ARRAY(state, const char, passes));
}

/* All participants: the cell of each point. */
static void
find_cells(TreeState *state, const float *points, void *scratch,
		   KMeansInterrupt interrupt, void *arg)
{
	int			n = state->params.n;
	int			rows = assign_block_rows(state->params.dim);
	int			first;

	while ((first = rows * atomic_fetch_add(&state->next_block, 1)) < n)
		assign_rows(ARRAY(state, char, packed), points + (size_t) first * state->params.dim,
					(size_t) state->params.dim, NULL, min_int(n - first, rows),
					ARRAY(state, uint32_t, nearest) + first, NULL, scratch, interrupt, arg);
}

/*
 * Participant 0: sort the points by cell, and give each cell centroids: in proportion to
 * its points, but one at least if it has any, and no more than these.
 */
static void
share_out(TreeState *state)
{
	const uint32_t *nearest = ARRAY(state, uint32_t, nearest);
	uint32_t   *members = ARRAY(state, uint32_t, members);
	uint32_t   *start = ARRAY(state, uint32_t, start);
	uint32_t   *place = ARRAY(state, uint32_t, place);
	int			n = state->params.n;
	int64_t		k = min_int(state->params.k, n);
	uint32_t	sum = 0;

	memset(start, 0, sizeof(uint32_t) * ((size_t) state->ncells + 1));
	for (int i = 0; i < n; i++)
		start[nearest[i] + 1]++;
	for (int c = 0; c < state->ncells; c++)
	{
		uint32_t	count = start[c + 1];

		start[c + 1] = sum;
		sum += count;
	}
	for (int i = 0; i < n; i++)
		members[start[nearest[i] + 1]++] = (uint32_t) i;

	/*
	 * the k-th part of the points seen so far, rounded, so that the shares
	 * add up to k
	 */
	place[0] = 0;
	for (int c = 0; c < state->ncells; c++)
	{
		int64_t		size = start[c + 1] - start[c];
		int64_t		share = (k * start[c + 1] + n / 2) / n - place[c];

		if (share < 1)
			share = 1;
		if (share > state->max_k)
			share = state->max_k;
		if (share > size)
			share = size;
		if (share > k - place[c])
			share = k - place[c];
		place[c + 1] = place[c] + (uint32_t) share;
	}
}

/* Make a cell's centroids; own: memory of the participant. */
static void
make_cell(TreeState *state, int c, const float *points, float *centroids, char *own,
		  KMeansInterrupt interrupt, void *arg)
{
	size_t		dim = (size_t) state->params.dim;
	const uint32_t *members = ARRAY(state, const uint32_t, members) +
	ARRAY(state, const uint32_t, start)[c];
	const uint32_t *place = ARRAY(state, const uint32_t, place) + c;
	int			size = (int) (ARRAY(state, const uint32_t, start)[c + 1] -
							  ARRAY(state, const uint32_t, start)[c]);
	int			n = min_int(size, state->max_points);
	float	   *gathered = (float *) (own + state->points);
	KMeansParams params = inner_params(state, c, n, (int) (place[1] - place[0]));

	ARRAY(state, int, made)[c] = 0;
	if (params.k < 1)
		return;
	for (int i = 0; i < n; i++)
	{
		/* of too many one of each of n equal stretches */
		uint32_t	point = members[(int64_t) size * i / n];

		if (interrupt && i % 256 == 0)
			interrupt(arg);
		memcpy(gathered + (size_t) i * dim, points + point * dim, sizeof(float) * dim);
	}
	kmeans_init(own + state->workspace, &params);
	ARRAY(state, int, made)[c] = kmeans_run(own + state->workspace, 0, gathered,
											centroids + place[0] * dim, NULL, interrupt, arg);
}

/* Participant 0: centroids side by side. */
static void
gather_cells(TreeState *state, float *centroids)
{
	size_t		dim = (size_t) state->params.dim;
	const uint32_t *place = ARRAY(state, const uint32_t, place);
	const int  *made = ARRAY(state, const int, made);

	state->total = 0;
	for (int c = 0; c < state->ncells; c++)
	{
		if (made[c] == 0)
			continue;
		if (state->total != (int) place[c])
			memmove(centroids + (size_t) state->total * dim, centroids + place[c] * dim,
					sizeof(float) * dim * (size_t) made[c]);
		state->total += made[c];
	}
}

int
kmeans_tree_run(void *workspace, int participant, const float *points, float *centroids,
				KMeansSync sync, KMeansInterrupt interrupt, void *arg)
{
	TreeState  *state = workspace;
	char	   *own = ARRAY(state, char, private) + state->private_size * (size_t) participant;
	float	   *middles = ARRAY(state, float, middles);
	int			ncells = kmeans_run(ARRAY(state, char, cells), participant, points, middles, sync,
									interrupt, arg);
	int			c;

	if (participant == 0)
	{
		state->ncells = ncells;
		assign_prepare(ARRAY(state, char, packed), middles, ncells, state->params.dim,
					   state->params.spherical, own);
	}
	if (sync)
		sync(arg);
	find_cells(state, points, own, interrupt, arg);
	if (sync)
		sync(arg);
	if (participant == 0)
		share_out(state);
	if (sync)
		sync(arg);
	while ((c = atomic_fetch_add(&state->next_cell, 1)) < state->ncells)
		make_cell(state, c, points, centroids, own, interrupt, arg);
	if (sync)
		sync(arg);
	if (participant == 0)
	{
		gather_cells(state, centroids);
		kmeans_passes_init(ARRAY(state, char, passes), &state->params, state->total);
	}
	if (sync)
		sync(arg);
	return kmeans_passes_run(ARRAY(state, char, passes), participant, points, centroids,
							 sync, interrupt, arg);
}
