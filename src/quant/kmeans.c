/*-------------------------------------------------------------------------
 *
 * kmeans.c
 *	  Lloyd's k-means with blocked kernels, for any number of participants.
 *
 * One round, with a barrier after each step:
 *
 *	pack	each participant packs some of the centroids (assign.c)
 *	assign	each takes blocks of points, and finds their nearest centroids;
 *			of many centroids, among few (kmeans_near.c)
 *	plan	participant 0 sorts the points by cluster, decides whether to go
 *			on, and which clusters give away a part of themselves
 *	update	each takes clusters, and computes their means
 *
 * Sorting the points (one counting sort, cheap beside the distances) is what
 * keeps this simple: a cluster is summed by one participant in one fixed
 * order, so sums need no k * dim array for each of them and do not depend on
 * how many there are; and a cluster that is to be split has its points at
 * hand.
 *
 * Rounds run on samples first, of FIRST_LEVEL points for each centroid, then
 * twice as many until all are in: early rounds move the centroids far, and
 * for that few points do as well as many.
 *
 * Very many centroids are made in cells: kmeans_tree.c.
 *
 * Seeds are drawn as k-means++ does (Arthur and Vassilvitskii 2007), on the
 * smallest sample and in batches, see draw_seeds().  In each round but the
 * last ones, the centroids of empty and of starved clusters go to the largest
 * clusters, which are cut in two (or more) by a small k-means++ of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/kmeans_private.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/random.h"

/* Points for each centroid on the smallest sample. */
#define FIRST_LEVEL		32

/* On a sample: rounds at most, and the improvement that makes one more worth it. */
#define LEVEL_ROUNDS	4
#define LEVEL_GAIN		0.01

/*
 * On all points, a round that improves less is the last; the second where
 * rounds are cheap (kmeans_near.c).
 */
#define FINAL_GAIN		0.003
#define FINAL_GAIN_NEAR	0.001

/* Rounds after the last one to fill clusters that are still empty. */
#define REPAIR_ROUNDS	10

/* Smaller than this share of the mean is starved; larger than this may give. */
#define STARVED			0.25
#define LARGE			2.5

/*
 * A starved cluster stays if dissolving it cost more than this share of the
 * large one's sum of squares: it may be small and far from all others.
 */
#define MAX_COST		0.5

/* A split looks at this many points of its cluster, and makes so many at most. */
#define SPLIT_SAMPLE	256
#define SPLIT_PIECES	16
#define SPLIT_ROUNDS	3

/* Seeds chosen between two passes over the sample: as many as one matrix tile. */
#define SEED_BATCH		256

/* Clusters taken by a participant at a time. */
#define UPDATE_CHUNK	4

#define NO_POINT		UINT32_MAX

#define ALIGNMENT		64

/* Uniform in [0, 1). */
static double
random_unit(uint64_t *state)
{
	return (double) (random_next(state) >> 11) / 9007199254740992.0;
}

/* ---------------------------------------------------------------- memory */

bool
kmeans_reserve(size_t *total, size_t count, size_t item, size_t *offset)
{
	if (*total > SIZE_MAX - ALIGNMENT)
		return false;
	*total = (*total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	*offset = *total;
	if (item != 0 && count > (SIZE_MAX - *total) / item)
		return false;
	*total += count * item;
	return true;
}

static int
block_count(const KMeansParams *params, int n)
{
	int			rows = assign_block_rows(params->dim);

	return n / rows + (n % rows != 0);
}

/* Points of the smallest sample. */
static int
first_level(const KMeansParams *params)
{
	int64_t		level = (int64_t) params->k * FIRST_LEVEL;

	return level < params->n ? (int) level : params->n;
}

size_t
kmeans_lay_out(const KMeansParams *params, bool near, KMeansState *state)
{
	size_t		total = sizeof(KMeansState);
	size_t		n,
				k,
				dim,
				packed,
				scratch;

	if (params->n < 1 || params->dim < 1 || params->k < 1 ||
		params->participants < 1 || params->max_iterations < 1)
		return SIZE_MAX;
	n = (size_t) params->n;
	k = (size_t) params->k;
	dim = (size_t) params->dim;
	packed = assign_size(params->k, params->dim);
	scratch = assign_scratch_size(params->k, params->dim);
	if (packed == SIZE_MAX || scratch == SIZE_MAX ||
		dim > SIZE_MAX / sizeof(double) || n > SIZE_MAX / sizeof(float) / dim ||
		k > SIZE_MAX / sizeof(float) / dim)
		return SIZE_MAX;

	if (!kmeans_reserve(&total, dim, sizeof(float), &state->mean) ||
		!kmeans_reserve(&total, n, sizeof(uint32_t), &state->order) ||
		!kmeans_reserve(&total, n, sizeof(uint32_t), &state->nearest) ||
		!kmeans_reserve(&total, n, sizeof(uint32_t), &state->members) ||
		!kmeans_reserve(&total, n, sizeof(float), &state->gap) ||
		!kmeans_reserve(&total, (size_t) block_count(params, params->n), sizeof(double),
						&state->block_sums) ||
		!kmeans_reserve(&total, k + 1, sizeof(uint32_t), &state->start) ||
		!kmeans_reserve(&total, k, sizeof(double), &state->spread) ||
		!kmeans_reserve(&total, k, sizeof(int), &state->pieces) ||
		!kmeans_reserve(&total, k, sizeof(int), &state->next_piece) ||
		!kmeans_reserve(&total, k, sizeof(int), &state->heap) ||
		!kmeans_reserve(&total, 1, packed, &state->packed) ||
		(near && !kmeans_near_lay_out(params, &total, state)))
		return SIZE_MAX;

	state->private_size = 0;
	if (!kmeans_reserve(&state->private_size, dim, sizeof(double), &n) ||
		!kmeans_reserve(&state->private_size, 1, scratch, &n) ||
		(near && !kmeans_near_lay_out_private(params, &state->private_size, state)) ||
		!kmeans_reserve(&state->private_size, 0, 0, &n) ||
		!kmeans_reserve(&total, (size_t) params->participants, state->private_size,
						&state->private))
		return SIZE_MAX;
	return total;
}

size_t
kmeans_workspace_size(const KMeansParams *params)
{
	KMeansState state;

	if (kmeans_tree_wanted(params))
		return kmeans_tree_workspace_size(params);
	return kmeans_lay_out(params, kmeans_near_wanted(params), &state);
}

void
kmeans_init(void *workspace, const KMeansParams *params)
{
	KMeansState *state = workspace;

	if (kmeans_tree_wanted(params))
	{
		kmeans_tree_init(workspace, params);
		return;
	}
	memset(state, 0, sizeof(*state));
	state->near = kmeans_near_wanted(params);
	(void) kmeans_lay_out(params, state->near, state);
	state->params = *params;
	atomic_init(&state->next_block, 0);
	atomic_init(&state->next_cluster, 0);
	atomic_init(&state->next_closest, 0);
	atomic_init(&state->next_near, 0);
	atomic_init(&state->unproven, 0);
	state->k = min_int(params->k, params->n);
	state->active = first_level(params);
	state->random = params->seed;
	state->previous = -1.0;
}

KMeansReport
kmeans_report(const void *workspace)
{
	if (kmeans_tree_wanted(workspace))
		return kmeans_tree_report(workspace);
	return ((const KMeansState *) workspace)->report;
}

/* ----------------------------------------------------------------- start */

/* sums += x; by eights, which gcc -O2 makes vectors of */
static void
add_row(double *restrict sums, const float *restrict x, int dim)
{
	for (; dim >= 8; dim -= 8)
	{
		for (int l = 0; l < 8; l++)
			sums[l] += x[l];
		sums += 8;
		x += 8;
	}
	for (int l = 0; l < dim; l++)
		sums[l] += x[l];
}

/*
 * The mean of all points, each participant some of the dimensions.
 */
static void
compute_mean(Participant *me)
{
	KMeansState *state = me->state;
	int			dim = state->params.dim;
	int			n = state->params.n;
	float	   *mean = ARRAY(state, float, mean);
	int			first = (int) ((int64_t) dim * me->number / state->params.participants);
	int			end = (int) ((int64_t) dim * (me->number + 1) / state->params.participants);

	for (int d = first; d < end; d++)
		me->sums[d] = 0.0;
	for (int i = 0; i < n; i++)
	{
		const float *x = me->points + (size_t) i * dim;

		if (i % 256 == 0)
			check_interrupt(me);
		add_row(me->sums + first, x + first, end - first);
	}
	for (int d = first; d < end; d++)
		mean[d] = (float) (me->sums[d] / n);
}

/* Points in random order: the first so many of them are a sample. */
static void
shuffle_points(Participant *me)
{
	KMeansState *state = me->state;
	uint32_t   *order = ARRAY(state, uint32_t, order);
	uint32_t	n = (uint32_t) state->params.n;

	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = 0; i < n - 1; i++)
	{
		uint32_t	other = i + (uint32_t) random_below(&state->random, n - i);
		uint32_t	point = order[i];

		if (i % 65536 == 0)
			check_interrupt(me);
		order[i] = order[other];
		order[other] = point;
	}
}

/* -------------------------------------------------------- pack and assign */

static void
pack(Participant *me, const float *centroids, int k)
{
	KMeansState *state = me->state;
	int			units = assign_units(k);

	for (int unit = me->number; unit < units; unit += state->params.participants)
	{
		check_interrupt(me);
		assign_pack(ARRAY(state, char, packed), centroids, unit, unit + 1,
					me->scratch);
	}
}

void
kmeans_assign(Participant *me, int first)
{
	KMeansState *state = me->state;
	const uint32_t *order = ARRAY(state, uint32_t, order);
	uint32_t   *nearest = ARRAY(state, uint32_t, nearest);
	float	   *gap = ARRAY(state, float, gap);
	int			rows = assign_block_rows(state->params.dim);
	int			blocks = block_count(&state->params, state->active - first);
	int			block;

	while ((block = atomic_fetch_add(&state->next_block, 1)) < blocks)
	{
		int			start = first + block * rows;
		int			count = min_int(state->active - start, rows);

		assign_rows(ARRAY(state, char, packed), me->points, state->params.dim,
					order + start, count, nearest + start, gap + start,
					me->scratch, me->interrupt, me->arg);
		for (int i = start; i < start + count; i++)
			gap[i] = squared_distance(state, gap[i]);
	}
}

/* ----------------------------------------------------------------- seeds */

/*
 * Draw a point of the sample with probability proportional to gap[].  Returns
 * its place in order[], or -1 when all gaps are zero.
 */
static int
draw_point(KMeansState *state, double total)
{
	const float *gap = ARRAY(state, float, gap);
	const double *block_sums = ARRAY(state, double, block_sums);
	int			rows = assign_block_rows(state->params.dim);
	int			blocks = block_count(&state->params, state->active);
	double		mark = random_unit(&state->random) * total;
	int			last = -1;

	for (int block = 0; block < blocks; block++)
	{
		int			start = block * rows;

		if (block_sums[block] <= 0.0)
			continue;
		mark -= block_sums[block];
		if (mark >= 0.0 && block + 1 < blocks)
			continue;
		mark += block_sums[block];
		for (int i = start; i < min_int(start + rows, state->active); i++)
			if (gap[i] > 0.0f)
			{
				last = i;
				mark -= gap[i];
				if (mark < 0.0)
					break;
			}
		break;
	}
	return last;
}

/*
 * Participant 0: choose the next seeds.  They are drawn by the gaps as they
 * were before any of this batch; a draw is accepted with the probability by
 * which the batch has shortened its gap, which makes the distribution that of
 * k-means++ without a pass over the points for each seed.
 */
static void
draw_seeds(Participant *me)
{
	KMeansState *state = me->state;
	const uint32_t *order = ARRAY(state, uint32_t, order);
	const float *gap = ARRAY(state, float, gap);
	const double *block_sums = ARRAY(state, double, block_sums);
	int			dim = state->params.dim;
	int			blocks = block_count(&state->params, state->active);
	float	   *batch = me->centroids + (size_t) state->seeds * dim;
	int			most = min_int(state->k - state->seeds, SEED_BATCH);
	int			tries = 2 * SEED_BATCH;
	int			made = 0;
	double		total = 0.0;

	for (int block = 0; block < blocks && state->seeds > 0; block++)
		total += block_sums[block];
	if (state->seeds == 0)
		most = 1;
	while (made < most && tries-- > 0)
	{
		int			place = -1;
		const float *point;

		check_interrupt(me);
		if (total > 0.0 && isfinite(total))
			place = draw_point(state, total);
		if (place < 0)			/* the first of all, or no gap is left */
			place = (int) random_below(&state->random, (uint64_t) state->active);
		point = me->points + (size_t) order[place] * dim;
		if (made > 0)
		{
			float		least = gap[place];

			for (int j = 0; j < made; j++)
			{
				float		d = kernel->l2sq(point, batch + (size_t) j * dim, dim);

				least = d < least ? d : least;
			}
			if (random_unit(&state->random) * gap[place] >= least)
				continue;
		}
		memcpy(batch + (size_t) made * dim, point, sizeof(float) * (size_t) dim);
		made++;
	}
	state->new_seeds = made;
	assign_begin(ARRAY(state, char, packed), made, dim, state->params.spherical,
				 ARRAY(state, float, mean));
	atomic_store(&state->next_block, 0);
}

/* Shorten the gaps by the new seeds, and say which seed is nearest. */
static void
update_gaps(Participant *me)
{
	KMeansState *state = me->state;
	const uint32_t *order = ARRAY(state, uint32_t, order);
	uint32_t   *nearest_seed = ARRAY(state, uint32_t, nearest);
	float	   *gap = ARRAY(state, float, gap);
	double	   *block_sums = ARRAY(state, double, block_sums);
	int			rows = assign_block_rows(state->params.dim);
	int			blocks = block_count(&state->params, state->active);
	uint32_t	nearest[ASSIGN_BLOCK_ROWS];
	float		distance[ASSIGN_BLOCK_ROWS];
	int			block;

	while ((block = atomic_fetch_add(&state->next_block, 1)) < blocks)
	{
		int			start = block * rows;
		int			count = min_int(state->active - start, rows);
		double		sum = 0.0;

		assign_rows(ARRAY(state, char, packed), me->points, state->params.dim,
					order + start, count, nearest, distance,
					me->scratch, me->interrupt, me->arg);
		for (int i = 0; i < count; i++)
		{
			float		d = squared_distance(state, distance[i]);

			if (state->seeds == 0 || d < gap[start + i])
			{
				gap[start + i] = d;
				nearest_seed[start + i] = (uint32_t) state->seeds + nearest[i];
			}
			sum += gap[start + i];
		}
		block_sums[block] = sum;
	}
}

/* All participants: fill the centroids with seeds, and assign the sample to them. */
static void
choose_seeds(Participant *me)
{
	KMeansState *state = me->state;

	do
	{
		if (me->number == 0)
			draw_seeds(me);
		wait_for_all(me);
		pack(me, me->centroids + (size_t) state->seeds * state->params.dim,
			 state->new_seeds);
		wait_for_all(me);
		update_gaps(me);
		wait_for_all(me);
		if (me->number == 0)
			state->seeds += state->new_seeds;
		wait_for_all(me);
	} while (state->seeds < state->k);
	if (me->number == 0)
	{
		assign_begin(ARRAY(state, char, packed), state->k, state->params.dim,
					 state->params.spherical, ARRAY(state, float, mean));
		atomic_store(&state->next_block, 0);
	}
}

/* ------------------------------------------------------------------ plan */

/* Sort the points by cluster, and sum up their gaps. */
static void
sort_members(Participant *me)
{
	KMeansState *state = me->state;
	const uint32_t *order = ARRAY(state, uint32_t, order);
	const uint32_t *nearest = ARRAY(state, uint32_t, nearest);
	uint32_t   *members = ARRAY(state, uint32_t, members);
	uint32_t   *start = ARRAY(state, uint32_t, start);
	const float *gap = ARRAY(state, float, gap);
	double	   *spread = ARRAY(state, double, spread);
	uint32_t   *anchor = state->near ? ARRAY(state, uint32_t, anchor) : NULL;
	int			k = state->k;
	uint32_t	sum = 0;

	memset(start, 0, sizeof(uint32_t) * ((size_t) k + 1));
	for (int i = 0; i < state->active; i++)
	{
		if (i % 65536 == 0)
			check_interrupt(me);
		start[nearest[i] + 1]++;
	}
	/* start[j + 1] := first place of cluster j, moved on to its end below */
	for (int j = 0; j < k; j++)
	{
		uint32_t	count = start[j + 1];

		start[j + 1] = sum;
		sum += count;
		spread[j] = 0.0;
		if (anchor)
			anchor[j] = NO_POINT;
	}
	for (int i = 0; i < state->active; i++)
	{
		if (i % 65536 == 0)
			check_interrupt(me);
		members[start[nearest[i] + 1]++] = order[i];
		spread[nearest[i]] += gap[i];
		if (anchor && (anchor[nearest[i]] == NO_POINT || gap[i] < gap[anchor[nearest[i]]]))
			anchor[nearest[i]] = (uint32_t) i;
	}
	memcpy(members + state->active, order + state->active,
		   sizeof(uint32_t) * (size_t) (state->params.n - state->active));
}

/*
 * A point of the cluster that differs from its first, by its place in the
 * cluster; 0 when all have the same value.
 */
static int
find_other_value(Participant *me, int j)
{
	KMeansState *state = me->state;
	const uint32_t *members = ARRAY(state, uint32_t, members) +
	ARRAY(state, uint32_t, start)[j];
	size_t		dim = (size_t) state->params.dim;
	int			size = cluster_size(state, j);

	for (int i = 1; i < size; i++)
	{
		const float *a = me->points + members[0] * dim;
		const float *b = me->points + members[i] * dim;

		if (i % 256 == 0)
			check_interrupt(me);
		for (size_t d = 0; d < dim; d++)
			if (a[d] != b[d])	/* not memcmp: 0 equals -0 */
				return i;
	}
	return 0;
}

/* Points of each part, when the cluster is made into its pieces. */
static double
part_size(const KMeansState *state, int j)
{
	return (double) cluster_size(state, j) / ARRAY(state, const int, pieces)[j];
}

/*
 * What the sum of squared distances would about grow by if the cluster's
 * points went to the next centroid.
 */
static double
removal_cost(Participant *me, int j)
{
	KMeansState *state = me->state;
	int			dim = state->params.dim;
	const float *centroid = me->centroids + (size_t) j * dim;
	float		distance[64];
	float		least = INFINITY;

	if (state->next > 0)
		return cluster_size(state, j) * (double) ARRAY(state, const float, next)[j];
	for (int first = 0; first < state->k; first += 64)
	{
		int			count = min_int(state->k - first, 64);

		check_interrupt(me);
		kernel->l2sq_rows(centroid, me->centroids + (size_t) first * dim,
						  sizeof(float) * (size_t) dim, count, dim, distance);
		for (int i = 0; i < count; i++)
			if (first + i != j && distance[i] < least)
				least = distance[i];
	}
	return (double) cluster_size(state, j) * least;
}

/* Restore the heap (largest part on top) below place i. */
static void
sift_down(const KMeansState *state, int *heap, int size, int i)
{
	int			item = heap[i];
	double		part = part_size(state, item);

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= size)
			break;
		if (child + 1 < size &&
			part_size(state, heap[child + 1]) > part_size(state, heap[child]))
			child++;
		if (part_size(state, heap[child]) <= part)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = item;
}

/*
 * Give the centroids of empty clusters, and of starved ones if balance, to the
 * largest clusters.  Sets pieces[j]: how many centroids will be made of
 * cluster j: 1; more, if it is to be split, and then a list that begins at
 * next_piece[j] and goes on at next_piece of each names the others; 0, if it
 * gives its centroid away and its points go wherever they are near.
 *
 * Returns the number of centroids moved.  Empty clusters that could not be
 * helped keep their place, and pieces 1.
 */
static int
plan_splits(Participant *me, bool balance)
{
	KMeansState *state = me->state;
	int		   *pieces = ARRAY(state, int, pieces);
	int		   *next_piece = ARRAY(state, int, next_piece);
	int		   *heap = ARRAY(state, int, heap);
	int			k = state->k;
	double		mean = (double) state->active / k;
	int			size = 0;
	int			poor = 0;		/* takers wait in heap[k - poor ... k - 1] */
	int			moved = 0;

	for (int j = 0; j < k; j++)
	{
		int			count = cluster_size(state, j);

		pieces[j] = 1;
		next_piece[j] = -1;
		if (count == 0 || (balance && count < STARVED * mean))
			heap[k - ++poor] = j;
		else
			heap[size++] = j;
	}
	for (int i = size / 2 - 1; i >= 0; i--)
		sift_down(state, heap, size, i);

	/* the empty first, then the starved */
	for (int pass = 0; pass < (balance ? 2 : 1); pass++)
		for (int i = k - 1; i >= k - poor; i--)
		{
			int			taker = heap[i];
			bool		empty = cluster_size(state, taker) == 0;
			double		cost;

			if (empty != (pass == 0) || size == 0)
				continue;
			cost = empty ? 0.0 : removal_cost(me, taker);
			while (size > 0)
			{
				int			giver = heap[0];
				double		part = part_size(state, giver);

				if (part < 2.0 || (!empty && part < LARGE * mean))
				{
					size = 0;	/* nor is any other large enough */
					break;
				}
				if (cost > MAX_COST * ARRAY(state, double, spread)[giver] / pieces[giver])
					break;		/* small, but rightly so */
				if (pieces[giver] < SPLIT_PIECES &&
					(pieces[giver] > 1 || find_other_value(me, giver) > 0))
				{
					pieces[giver]++;
					next_piece[taker] = next_piece[giver];
					next_piece[giver] = taker;
					pieces[taker] = 0;
					moved++;
					sift_down(state, heap, size, 0);
					break;
				}
				heap[0] = heap[--size];
				if (size > 0)
					sift_down(state, heap, size, 0);
			}
		}
	return moved;
}

/* Report, and remove the empty clusters' centroids. */
static void
finish(Participant *me)
{
	KMeansState *state = me->state;
	size_t		dim = (size_t) state->params.dim;
	int			kept = 0;

	state->report.objective = state->objective;
	state->report.largest = 0;
	for (int j = 0; j < state->k; j++)
		if (cluster_size(state, j) > state->report.largest)
			state->report.largest = cluster_size(state, j);
	for (int j = 0; j < state->k; j++)
		if (cluster_size(state, j) > 0)
		{
			if (kept < j)
				memcpy(me->centroids + kept * dim, me->centroids + j * dim,
					   sizeof(float) * dim);
			kept++;
		}
	state->k = kept;
}

/*
 * The run ends here, after an assignment, not after an update: so the answer
 * is the centroids whose clusters were seen, and known not to be empty.
 */
void
kmeans_plan(Participant *me)
{
	KMeansState *state = me->state;
	const double *spread = ARRAY(state, const double, spread);
	int			n = state->params.n;
	double		gain;
	bool		all = (state->active == n);
	bool		last = false;
	bool		balance = true;
	int			moved;

	if (state->near && state->sorted > 0)
	{
		size_t		order = state->order;

		state->order = state->members;	/* kmeans_near.c */
		state->members = order;
	}
	sort_members(me);
	state->sorted = state->active;
	state->objective = 0.0;
	for (int j = 0; j < state->k; j++)
		state->objective += spread[j];
	state->objective /= state->active;
	gain = state->previous < 0.0 ? 1.0 :
		state->previous > state->objective ?
		(state->previous - state->objective) / state->previous : 0.0;
	state->previous = state->objective;
	state->level_rounds++;
	state->report.points_read += state->near ? kmeans_near_pass(state) :
		(double) state->active / n;

	if (all)
	{
		double		least = state->near ? FINAL_GAIN_NEAR : FINAL_GAIN;
		int			left;

		state->report.iterations++;
		left = state->params.max_iterations - state->report.iterations;
		last = (left <= 0 || (state->settling && gain < least));
		/* a split costs before it pays: let the last ones settle */
		if (gain < least || left <= 2)
			state->settling = true;
		balance = !state->settling;
	}
	moved = plan_splits(me, balance);
	state->report.reseeded += moved;
	if (last)
		state->done = (moved == 0 || state->repair_rounds++ >= REPAIR_ROUNDS);
	if (state->done && state->near)
	{
		state->done = false;
		state->prove = true;
	}
	else if (state->done)
		finish(me);
	else if (!all && (gain < LEVEL_GAIN || state->level_rounds >= LEVEL_ROUNDS))
	{
		state->active = state->active > n / 2 ? n : state->active * 2;
		/* all of them are best read as they lie */
		for (uint32_t i = 0; state->active == n && !state->near && i < (uint32_t) n; i++)
			ARRAY(state, uint32_t, order)[i] = i;
		state->level_rounds = 0;
		state->previous = -1.0;
	}
	atomic_store(&state->next_block, 0);
	atomic_store(&state->next_cluster, 0);
	atomic_store(&state->next_closest, 0);
	atomic_store(&state->next_near, 0);
}

/*
 * Participant 0, the others waiting: end, if each centroid owns a point; or
 * else go on with all centroids for all points, and plan() sees which are
 * empty.
 */
static void
judge(Participant *me)
{
	KMeansState *state = me->state;

	state->prove = false;
	state->done = atomic_load(&state->unproven) == 0;
	if (state->done)
		finish(me);
	else
		state->near = false;
}

/* ---------------------------------------------------------------- update */

/*
 * Set a centroid to the mean of points; with label, of those that bear it.
 * False, and no change, when there are none.
 */
static bool
set_to_mean(Participant *me, float *centroid, const uint32_t *points, int count,
			const unsigned char *labels, int label)
{
	int			dim = me->state->params.dim;
	double	   *sums = me->sums;
	double		scale;
	int			used = 0;

	for (int d = 0; d < dim; d++)
		sums[d] = 0.0;
	for (int i = 0; i < count; i++)
	{
		const float *x = me->points + (size_t) points[i] * dim;

		if (i % 64 == 0)
			check_interrupt(me);
		if (i + 4 < count)
			assign_prefetch(me->points + (size_t) points[i + 4] * dim, dim);
		if (labels && labels[i] != label)
			continue;
		add_row(sums, x, dim);
		used++;
	}
	if (used == 0)
		return false;

	scale = used;
	if (me->state->params.spherical)
	{
		scale = 0.0;
		for (int d = 0; d < dim; d++)
			scale += sums[d] * sums[d];
		scale = sqrt(scale);
		if (!(scale > 1e-6 * used))
			return false;		/* opposite points: the mean has no direction */
	}
	for (int d = 0; d < dim; d++)
		centroid[d] = (float) (sums[d] / scale);
	return true;
}

static float
point_distance(const Participant *me, uint32_t a, const float *b)
{
	return kernel->l2sq(me->points + (size_t) a * me->state->params.dim, b,
						me->state->params.dim);
}

/*
 * Make several centroids of one cluster: k-means++ and a few rounds of Lloyd
 * on a sample of its points, small enough to compare one by one.
 */
static void
split_cluster(Participant *me, int cluster)
{
	KMeansState *state = me->state;
	const uint32_t *members = ARRAY(state, uint32_t, members) +
	ARRAY(state, uint32_t, start)[cluster];
	const int  *next_piece = ARRAY(state, int, next_piece);
	int			pieces = ARRAY(state, int, pieces)[cluster];
	size_t		dim = (size_t) state->params.dim;
	int			size = cluster_size(state, cluster);
	int			count = min_int(size, SPLIT_SAMPLE);
	uint32_t	sample[SPLIT_SAMPLE];
	float		distance[SPLIT_SAMPLE];
	unsigned char labels[SPLIT_SAMPLE];
	float	   *targets[SPLIT_PIECES];
	int			made = 0;
	uint64_t	random = state->params.seed + 1 + (uint64_t) cluster +
	((uint64_t) (state->report.points_read * 1024.0) << 32);

	for (int j = cluster; j >= 0; j = next_piece[j])
		targets[made++] = me->centroids + (size_t) j * dim;

	/* one of each of count equal stretches: no point comes twice */
	for (int i = 0; i < count; i++)
	{
		uint32_t	low = (uint32_t) ((int64_t) size * i / count);
		uint32_t	high = (uint32_t) ((int64_t) size * (i + 1) / count);

		sample[i] = members[low + random_below(&random, high - low)];
		distance[i] = INFINITY;
		labels[i] = 0;
	}

	/* two values at least, even where nearly all points are equal */
	sample[0] = members[0];
	sample[1] = members[find_other_value(me, cluster)];

	for (int p = 0; p < pieces; p++)
	{
		int			choice = 0;

		if (p == 0)
			choice = (int) random_below(&random, (uint64_t) count);
		else
		{
			double		sum = 0.0;
			double		mark;

			for (int i = 0; i < count; i++)
				sum += distance[i];
			mark = random_unit(&random) * sum;
			for (int i = 0; i < count; i++)
				if (distance[i] > 0.0f)
				{
					choice = i;
					mark -= distance[i];
					if (mark < 0.0)
						break;
				}
		}
		memcpy(targets[p], me->points + sample[choice] * dim, sizeof(float) * dim);
		for (int i = 0; i < count; i++)
		{
			float		d = point_distance(me, sample[i], targets[p]);

			if (i % 16 == 0)
				check_interrupt(me);
			if (d < distance[i])
			{
				distance[i] = d;
				labels[i] = (unsigned char) p;
			}
		}
	}

	for (int round = 1; round < SPLIT_ROUNDS; round++)
	{
		for (int p = 0; p < pieces; p++)
			(void) set_to_mean(me, targets[p], sample, count, labels, p);
		if (round + 1 == SPLIT_ROUNDS)
			break;
		for (int i = 0; i < count; i++)
		{
			float		least = INFINITY;

			if (i % 16 == 0)
				check_interrupt(me);
			for (int p = 0; p < pieces; p++)
			{
				float		d = point_distance(me, sample[i], targets[p]);

				if (d < least)
				{
					least = d;
					labels[i] = (unsigned char) p;
				}
			}
		}
	}
}

void
kmeans_update(Participant *me)
{
	KMeansState *state = me->state;
	const int  *pieces = ARRAY(state, int, pieces);
	int			first;

	while ((first = atomic_fetch_add(&state->next_cluster, UPDATE_CHUNK)) < state->k)
		for (int j = first; j < min_int(first + UPDATE_CHUNK, state->k); j++)
		{
			if (pieces[j] > 1)
				split_cluster(me, j);
			else if (pieces[j] == 1)
				(void) set_to_mean(me, me->centroids + (size_t) j * state->params.dim,
								   ARRAY(state, uint32_t, members) +
								   ARRAY(state, uint32_t, start)[j],
								   cluster_size(state, j), NULL, 0);
		}
}

int
kmeans_run(void *workspace, int participant, const float *points,
		   float *centroids, KMeansSync sync,
		   KMeansInterrupt interrupt, void *arg)
{
	KMeansState *state = workspace;
	Participant me;
	char	   *own = ARRAY(state, char, private) +
	state->private_size * (size_t) participant;
	size_t		sums_size = sizeof(double) * (size_t) state->params.dim;

	/* either state begins with the parameters */
	if (kmeans_tree_wanted(workspace))
		return kmeans_tree_run(workspace, participant, points, centroids, sync, interrupt, arg);

	me.state = state;
	me.number = participant;
	me.points = points;
	me.centroids = centroids;
	me.sums = (double *) own;
	me.scratch = own + (sums_size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	me.local = own + state->local;
	me.room = own + state->room;
	me.sync = sync;
	me.interrupt = interrupt;
	me.arg = arg;

	if (!state->params.spherical)
		compute_mean(&me);
	wait_for_all(&me);
	if (participant == 0)
		shuffle_points(&me);
	choose_seeds(&me);
	wait_for_all(&me);

	/* each round but the first, which has the nearest seeds */
	for (bool assigned = true;; assigned = false)
	{
		if (!assigned)
		{
			pack(&me, centroids, state->k);
			wait_for_all(&me);
			if (state->near)
				kmeans_near_assign(&me);
			else
				kmeans_assign(&me, 0);
			wait_for_all(&me);
		}
		if (participant == 0)
			kmeans_plan(&me);
		wait_for_all(&me);
		if (state->prove)
		{
			kmeans_near_prove(&me);
			wait_for_all(&me);
			if (participant == 0)
				judge(&me);
			wait_for_all(&me);
			if (!state->done)
				continue;
		}
		if (state->done)
			return state->k;
		kmeans_update(&me);
		wait_for_all(&me);
	}
}
