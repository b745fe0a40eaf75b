/*-------------------------------------------------------------------------
 *
 * kmeans_passes.c
 *	  Passes over all points for very many centroids, to which those that
 *	  kmeans_tree.c made in cells owe that they know of each other.
 *
 * These are rounds of k-means as kmeans.c plans them, clusters given away and split
 * included; but nothing here compares all with all.  Centroids are sorted into groups
 * (groups.h).  In the first pass each point meets the centroids of the groups that are
 * nearest to it.  In the others all points of a group's clusters meet its centroids and
 * those of the groups nearest to its middle: one matrix product, without finding
 * the groups of each point.  Few points would move farther than that.
 *
 * Middles stay as they were made.  So does the group of a centroid, which does not move
 * far; but one that is given away goes to the group of the cluster that is split.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/kmeans_private.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/groups.h"

/* Passes at most; four or five gain what there is to gain (README.md). */
#define PASSES			6

/* So many centroids at least are compared with, if GROUPS_NEAR groups have them. */
#define CANDIDATES		512

/* Centroids whose distances to the candidates are computed together. */
#define NEXT_ROWS		24

/* Clusters, sorted by a group of theirs. */
typedef struct Sorted
{
	size_t		clusters;		/* offsets: uint32[k], */
	size_t		first;			/* uint32[groups + 1], each group's place
								 * there */
} Sorted;

typedef struct Passes
{
	int			ngroups;
	int			room;			/* candidates at most */
	atomic_int	next_block;
	atomic_int	next_group;

	/* offsets of the arrays from here */
	size_t		state;			/* KMeansState, with its arrays */
	size_t		work;			/* of groups_make() */
	size_t		middles;		/* float[groups * dim] */
	size_t		packed_middles;
	size_t		group;			/* uint32[k]: each centroid's */
	size_t		home;			/* uint32[k]: where it was when its points
								 * became its */
	Sorted		by_group;
	Sorted		by_home;
	size_t		private;		/* first participant's own memory */
	size_t		private_size;	/* each one's: scratch of groups_assign(), and
								 * at */
	size_t		distances;		/* these offsets: float[groups], of a middle
								 * to the others, or float[NEXT_ROWS * room] */
	size_t		which;			/* uint32[room]: the candidates */
	size_t		candidates;		/* float[room * dim] */
	size_t		local;			/* those, prepared */
} Passes;

static KMeansState *
state_of(Passes *passes)
{
	return ARRAY(passes, KMeansState, state);
}

static KMeansParams
passes_params(const KMeansParams *params)
{
	KMeansParams result = *params;

	result.k = min_int(params->k, params->n);
	result.max_iterations = PASSES;
	return result;
}

/* Points of a block of the first pass. */
static int
block_rows(const KMeansParams *params)
{
	return groups_block_rows(sizeof(float) * (size_t) params->dim);
}

static bool
reserve_sorted(size_t *total, size_t k, size_t groups, Sorted *sorted)
{
	return kmeans_reserve(total, k, sizeof(uint32_t), &sorted->clusters) &&
		kmeans_reserve(total, groups + 1, sizeof(uint32_t), &sorted->first);
}

/* Fill the offsets; the size of all, or SIZE_MAX. */
static size_t
lay_out(const KMeansParams *all_params, Passes *passes, KMeansState *state)
{
	KMeansParams params = passes_params(all_params);
	size_t		total = sizeof(Passes);
	size_t		k = (size_t) params.k;
	size_t		dim = (size_t) params.dim;
	size_t		groups;
	size_t		room;
	size_t		unused;

	passes->ngroups = groups_wanted(params.k, params.dim);
	passes->room = min_int(params.k, 4 * CANDIDATES);
	groups = (size_t) passes->ngroups;
	room = (size_t) passes->room;
	if (!kmeans_reserve(&total, 1, kmeans_lay_out(&params, false, state), &passes->state) ||
		!kmeans_reserve(&total, k, sizeof(float), &state->next) ||
		!kmeans_reserve(&total, 1, groups_make_size(params.k, params.dim, passes->ngroups),
						&passes->work) ||
		!kmeans_reserve(&total, groups * dim, sizeof(float), &passes->middles) ||
		!kmeans_reserve(&total, 1, assign_size(passes->ngroups, params.dim),
						&passes->packed_middles) ||
		!kmeans_reserve(&total, k, sizeof(uint32_t), &passes->group) ||
		!kmeans_reserve(&total, k, sizeof(uint32_t), &passes->home) ||
		!reserve_sorted(&total, k, groups, &passes->by_group) ||
		!reserve_sorted(&total, k, groups, &passes->by_home))
		return SIZE_MAX;
	state->next -= passes->state;

	passes->private_size = 0;
	if (!kmeans_reserve(&passes->private_size, 1,
						groups_scratch_size(passes->ngroups, params.k, params.dim,
											block_rows(&params)), &unused) ||
		!kmeans_reserve(&passes->private_size, groups > room * NEXT_ROWS ? groups : room * NEXT_ROWS,
						sizeof(float), &passes->distances) ||
		!kmeans_reserve(&passes->private_size, room, sizeof(uint32_t), &passes->which) ||
		!kmeans_reserve(&passes->private_size, room, sizeof(float) * dim, &passes->candidates) ||
		!kmeans_reserve(&passes->private_size, 1, assign_size(passes->room, params.dim),
						&passes->local) ||
		!kmeans_reserve(&passes->private_size, 0, 0, &unused) ||
		!kmeans_reserve(&total, (size_t) params.participants, passes->private_size,
						&passes->private))
		return SIZE_MAX;
	return total;
}

size_t
kmeans_passes_size(const KMeansParams *params)
{
	Passes		passes;
	KMeansState state;

	return lay_out(params, &passes, &state);
}

void
kmeans_passes_init(void *memory, const KMeansParams *params, int k)
{
	Passes	   *passes = memory;
	KMeansState layout = {0};
	KMeansState *state;
	uint32_t   *order;

	memset(passes, 0, sizeof(*passes));
	(void) lay_out(params, passes, &layout);
	atomic_init(&passes->next_block, 0);
	atomic_init(&passes->next_group, 0);
	state = state_of(passes);
	*state = layout;
	state->params = passes_params(params);
	atomic_init(&state->next_cluster, 0);
	state->k = k;
	state->active = params->n;
	state->previous = -1.0;
	order = ARRAY(state, uint32_t, order);
	for (uint32_t i = 0; i < (uint32_t) params->n; i++)
		order[i] = i;
	for (int j = 0; j < k; j++)
		ARRAY(state, float, next)[j] = INFINITY;
	/* no cluster has points as yet */
	memset(ARRAY(state, uint32_t, start), 0, sizeof(uint32_t) * ((size_t) k + 1));
}

/* A counting sort. */
static void
sort_clusters(Passes *passes, const uint32_t *group, const Sorted *sorted)
{
	uint32_t   *clusters = (uint32_t *) ((char *) passes + sorted->clusters);
	uint32_t   *first = (uint32_t *) ((char *) passes + sorted->first);
	int			k = state_of(passes)->k;
	uint32_t	sum = 0;

	memset(first, 0, sizeof(uint32_t) * ((size_t) passes->ngroups + 1));
	for (int j = 0; j < k; j++)
		first[group[j] + 1]++;
	/* first[g + 1] := first place of group g, moved on to its end below */
	for (int g = 0; g < passes->ngroups; g++)
	{
		uint32_t	count = first[g + 1];

		first[g + 1] = sum;
		sum += count;
	}
	for (int j = 0; j < k; j++)
		clusters[first[group[j] + 1]++] = (uint32_t) j;
}

/* Participant 0: sort the centroids into groups, and prepare both. */
static void
make_groups(Passes *passes, Participant *me)
{
	KMeansState *state = me->state;
	float	   *middles = ARRAY(passes, float, middles);
	uint32_t   *group = ARRAY(passes, uint32_t, group);
	uint32_t   *first = (uint32_t *) ((char *) passes + passes->by_group.first);
	int			dim = state->params.dim;
	bool		spherical = state->params.spherical;

	passes->ngroups = groups_make(ARRAY(passes, char, work), me->centroids, state->k, dim, spherical,
								  passes->ngroups, first, middles, me->interrupt, me->arg);
	assign_prepare(ARRAY(passes, char, packed_middles), middles, passes->ngroups, dim, spherical,
				   me->scratch);
	assign_prepare(ARRAY(state, char, packed), me->centroids, state->k, dim, spherical, me->scratch);
	for (int g = 0; g < passes->ngroups; g++)
		for (uint32_t j = first[g]; j < first[g + 1]; j++)
			group[j] = (uint32_t) g;
	memcpy(ARRAY(passes, uint32_t, home), group, sizeof(uint32_t) * (size_t) state->k);
	sort_clusters(passes, group, &passes->by_group);
	sort_clusters(passes, group, &passes->by_home);
}

/*
 * Participant 0, after plan(): points stay where their cluster was, and centroids
 * that are given away go to whom they are given.
 */
static void
regroup(Passes *passes, Participant *me)
{
	KMeansState *state = me->state;
	const int  *pieces = ARRAY(state, const int, pieces);
	const int  *next_piece = ARRAY(state, const int, next_piece);
	uint32_t   *group = ARRAY(passes, uint32_t, group);
	uint32_t   *home = ARRAY(passes, uint32_t, home);

	memcpy(home, group, sizeof(uint32_t) * (size_t) state->k);
	for (int j = 0; j < state->k; j++)
		for (int piece = next_piece[j]; pieces[j] > 1 && piece >= 0; piece = next_piece[piece])
			group[piece] = home[j];
	sort_clusters(passes, group, &passes->by_group);
	sort_clusters(passes, home, &passes->by_home);
	atomic_store(&passes->next_group, 0);
}

/* All participants: the first pass. */
static void
assign_by_groups(Passes *passes, Participant *me)
{
	KMeansState *state = me->state;
	Groups		groups = {
		.n = passes->ngroups,.dim = state->params.dim,
		.first = (const uint32_t *) ((char *) passes + passes->by_group.first),
		.middles = ARRAY(passes, const char, packed_middles),
		.centroids = ARRAY(state, const char, packed)
	};
	size_t		dim = (size_t) state->params.dim;
	float	   *gap = ARRAY(state, float, gap);
	int			n = state->params.n;
	int			rows = block_rows(&state->params);
	int			blocks = n / rows + (n % rows != 0);
	int			block;

	while ((block = atomic_fetch_add(&passes->next_block, 1)) < blocks)
	{
		int			start = block * rows;
		int			count = min_int(n - start, rows);

		groups_assign(&groups, state->k, me->points + (size_t) start * dim, dim, count,
					  ARRAY(state, uint32_t, nearest) + start, gap + start,
					  me->scratch, me->interrupt, me->arg);
		for (int i = start; i < start + count; i++)
			gap[i] = squared_distance(state, gap[i]);
	}
}

/*
 * The centroids around a group: its own, and those of the groups nearest to its middle,
 * until they are enough.  0: its own are too many.
 */
static int
gather_candidates(Passes *passes, Participant *me, int g)
{
	const float *middles = ARRAY(passes, const float, middles);
	const uint32_t *clusters = (const uint32_t *) ((char *) passes + passes->by_group.clusters);
	const uint32_t *first = (const uint32_t *) ((char *) passes + passes->by_group.first);
	float	   *distances = (float *) (me->room + passes->distances);
	uint32_t   *which = (uint32_t *) (me->room + passes->which);
	float	   *candidates = (float *) (me->room + passes->candidates);
	size_t		dim = (size_t) me->state->params.dim;
	uint32_t	near[GROUPS_NEAR];
	int			nnear;
	int			n = 0;

	if ((int) (first[g + 1] - first[g]) > passes->room)
		return 0;
	check_interrupt(me);
	kernel->l2sq_rows(middles + (size_t) g * dim, middles, sizeof(float) * dim,
					  passes->ngroups, (int) dim, distances);
	distances[g] = -1.0f;		/* the first, even if another is as near */
	nnear = groups_nearest(distances, passes->ngroups, near);
	for (int i = 0; i < nnear && n < CANDIDATES; i++)
	{
		if (n + (int) (first[near[i] + 1] - first[near[i]]) > passes->room)
			continue;
		for (uint32_t j = first[near[i]]; j < first[near[i] + 1]; j++)
		{
			which[n] = clusters[j];
			memcpy(candidates + (size_t) n * dim, me->centroids + clusters[j] * dim,
				   sizeof(float) * dim);
			n++;
		}
	}
	return n;
}

/* How far is each of a group's centroids, the first of the candidates, from the next one? */
static void
find_next(Passes *passes, Participant *me, int own, int candidates)
{
	KMeansState *state = me->state;
	size_t		dim = (size_t) state->params.dim;
	const uint32_t *which = (const uint32_t *) (me->room + passes->which);
	const float *rows = (const float *) (me->room + passes->candidates);
	float	   *distances = (float *) (me->room + passes->distances);

	for (int from = 0; from < own; from += NEXT_ROWS)
	{
		int			count = min_int(own - from, NEXT_ROWS);

		assign_distances(me->room + passes->local, rows + (size_t) from * dim, dim, count,
						 distances, (size_t) candidates, me->scratch, me->interrupt, me->arg);
		for (int i = 0; i < count; i++)
		{
			float		least = INFINITY;

			for (int j = 0; j < candidates; j++)
			{
				float		d = distances[(size_t) i * candidates + j];

				if (j != from + i && d < least)
					least = d;
			}
			ARRAY(state, float, next)[which[from + i]] = squared_distance(state, least);
		}
	}
}

/* Compare some points with the candidates. */
static void
assign_points(Passes *passes, Participant *me, const uint32_t *points, int n)
{
	KMeansState *state = me->state;
	const uint32_t *which = (const uint32_t *) (me->room + passes->which);
	uint32_t	found[ASSIGN_BLOCK_ROWS];
	float		distance[ASSIGN_BLOCK_ROWS];

	assign_rows(me->room + passes->local, me->points, (size_t) state->params.dim, points, n,
				found, distance, me->scratch, me->interrupt, me->arg);
	for (int i = 0; i < n; i++)
	{
		ARRAY(state, uint32_t, nearest)[points[i]] = which[found[i]];
		ARRAY(state, float, gap)[points[i]] = squared_distance(state, distance[i]);
	}
}

/* Compare the points whose home a group is with the centroids around it. */
static void
assign_group(Passes *passes, Participant *me, int g)
{
	KMeansState *state = me->state;
	const uint32_t *group_first = (const uint32_t *) ((char *) passes + passes->by_group.first);
	const uint32_t *clusters = (const uint32_t *) ((char *) passes + passes->by_home.clusters);
	const uint32_t *first = (const uint32_t *) ((char *) passes + passes->by_home.first);
	const uint32_t *members = ARRAY(state, const uint32_t, members);
	const uint32_t *start = ARRAY(state, const uint32_t, start);
	int			candidates = gather_candidates(passes, me, g);
	uint32_t	points[ASSIGN_BLOCK_ROWS];
	int			n = 0;

	if (candidates == 0)
		return;
	assign_prepare(me->room + passes->local, (float *) (me->room + passes->candidates), candidates,
				   state->params.dim, state->params.spherical, me->scratch);
	find_next(passes, me, (int) (group_first[g + 1] - group_first[g]), candidates);
	for (uint32_t c = first[g]; c < first[g + 1]; c++)
		for (uint32_t i = start[clusters[c]]; i < start[clusters[c] + 1]; i++)
		{
			points[n++] = members[i];
			if (n == ASSIGN_BLOCK_ROWS)
			{
				assign_points(passes, me, points, n);
				n = 0;
			}
		}
	if (n > 0)
		assign_points(passes, me, points, n);
}

KMeansReport
kmeans_passes_report(const void *memory)
{
	const Passes *passes = memory;

	return ARRAY(passes, const KMeansState, state)->report;
}

int
kmeans_passes_run(void *memory, int participant, const float *points, float *centroids,
				  KMeansSync sync, KMeansInterrupt interrupt, void *arg)
{
	Passes	   *passes = memory;
	KMeansState *state = state_of(passes);
	Participant me = {
		.state = state,.number = participant,.points = points,.centroids = centroids,
		.room = ARRAY(passes, char, private) + passes->private_size * (size_t) participant,
		.sync = sync,.interrupt = interrupt,.arg = arg
	};
	int			g;

	me.scratch = me.room;
	me.sums = (double *) (ARRAY(state, char, private) + state->private_size * (size_t) participant);
	if (participant == 0)
		make_groups(passes, &me);
	wait_for_all(&me);
	assign_by_groups(passes, &me);
	for (;;)
	{
		while ((g = atomic_fetch_add(&passes->next_group, 1)) < passes->ngroups)
			assign_group(passes, &me, g);
		wait_for_all(&me);
		if (participant == 0)
		{
			kmeans_plan(&me);
			if (!state->done)
				regroup(passes, &me);
		}
		wait_for_all(&me);
		if (state->done)
			return state->k;
		kmeans_update(&me);
		wait_for_all(&me);
	}
}
