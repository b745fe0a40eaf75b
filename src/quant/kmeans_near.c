/*-------------------------------------------------------------------------
 *
 * kmeans_near.c
 *	  Rounds of k-means that compare a point with few of many centroids.
 *
 * A point is compared with the KMEANS_NEAR centroids closest to the one it
 * belonged to, itself among them: from one round to the next it rarely goes
 * farther, and then at little loss.  The points of a cluster lie side by side
 * in members, so this is a matrix product as well: all of them by the same
 * centroids.  Which those are costs the distances of the centroids to each
 * other, as much as one more point in each cluster.  Only points new to the
 * sample, and those of clusters that were dissolved, are compared with all.
 *
 * A round writes nearest and gap in the order of members, and plan() then
 * takes members for order.
 *
 * What such rounds cannot know is whether a centroid is, of all, the nearest
 * of any point.  So at the end the innermost point of each cluster is compared
 * with all centroids, and where another is nearer, the other points of the
 * cluster.  If a centroid owns none of them (its equal is in another place),
 * the run goes on comparing all with all.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/kmeans_private.h"

#include <math.h>
#include <string.h>

/* How many centroids a point is compared with, and from how many on that pays. */
#define KMEANS_NEAR		64
#define NEAR_FROM		(4 * KMEANS_NEAR + 1)

/* Centroids whose distances to all others are computed together. */
#define CLOSEST_ROWS	24

/* Clusters taken by a participant at a time. */
#define CHUNK			4

/* A centroid and its distance from the one at hand. */
typedef struct Close
{
	float		distance;
	uint32_t	centroid;
} Close;

bool
kmeans_near_wanted(const KMeansParams *params)
{
	return min_int(params->k, params->n) >= NEAR_FROM;
}

bool
kmeans_near_lay_out(const KMeansParams *params, size_t *total, KMeansState *state)
{
	size_t		k = (size_t) params->k;

	return kmeans_reserve(total, k, sizeof(uint32_t) * KMEANS_NEAR, &state->closest) &&
		kmeans_reserve(total, k, sizeof(uint32_t), &state->anchor);
}

/*
 * A participant's room holds the distances of some centroids to all, behind
 * the closest of one of them; later, centroids that are to be prepared.
 */
bool
kmeans_near_lay_out_private(const KMeansParams *params, size_t *total, KMeansState *state)
{
	size_t		distances = sizeof(Close) * KMEANS_NEAR;
	size_t		centroids = 0;
	size_t		unused;

	return kmeans_reserve(&distances, (size_t) params->k, sizeof(float) * CLOSEST_ROWS, &unused) &&
		kmeans_reserve(&centroids, (size_t) params->dim, sizeof(float) * KMEANS_NEAR, &unused) &&
		kmeans_reserve(total, 1, assign_size(KMEANS_NEAR, params->dim), &state->local) &&
		kmeans_reserve(total, 1, distances > centroids ? distances : centroids, &state->room);
}

/* What a round costs, in units of one that compares all points with all centroids. */
double
kmeans_near_pass(const KMeansState *state)
{
	return (double) state->active / state->params.n * KMEANS_NEAR / state->k;
}

/* Restore the heap (farthest on top) below its top. */
static void
sift_down(Close *heap)
{
	Close		item = heap[0];
	int			i = 0;

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= KMEANS_NEAR)
			break;
		if (child + 1 < KMEANS_NEAR && heap[child + 1].distance > heap[child].distance)
			child++;
		if (!(heap[child].distance > item.distance))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = item;
}

/* Which centroids are closest to each of [first, first + count), itself among them. */
static void
find_closest(Participant *me, int first, int count)
{
	KMeansState *state = me->state;
	int			k = state->k;
	size_t		dim = (size_t) state->params.dim;
	Close	   *heap = (Close *) me->room;
	float	   *distances = (float *) (heap + KMEANS_NEAR);

	assign_distances(ARRAY(state, char, packed), me->centroids + first * dim, dim,
					 count, distances, (size_t) k, me->scratch, me->interrupt, me->arg);
	for (int i = 0; i < count; i++)
	{
		const float *distance = distances + (size_t) i * k;
		uint32_t   *closest = ARRAY(state, uint32_t, closest) + (size_t) (first + i) * KMEANS_NEAR;

		check_interrupt(me);
		for (int j = 0; j < KMEANS_NEAR; j++)
			heap[j] = (Close)
		{
			INFINITY, (uint32_t) (first + i)
		};
		for (int j = 0; j < k; j++)
			if (distance[j] < heap[0].distance && j != first + i)
			{
				heap[0] = (Close)
				{
					distance[j], (uint32_t) j
				};
				sift_down(heap);
			}
		heap[0].centroid = (uint32_t) (first + i);	/* for the farthest */
		for (int j = 0; j < KMEANS_NEAR; j++)
			closest[j] = heap[j].centroid;
	}
}

/* Assign the points that are members of one cluster. */
static void
assign_cluster(Participant *me, int j)
{
	KMeansState *state = me->state;
	int			dim = state->params.dim;
	const uint32_t *closest = ARRAY(state, const uint32_t, closest) + (size_t) j * KMEANS_NEAR;
	uint32_t	start = ARRAY(state, const uint32_t, start)[j];
	const uint32_t *points = ARRAY(state, const uint32_t, members) + start;
	uint32_t   *nearest = ARRAY(state, uint32_t, nearest) + start;
	float	   *gap = ARRAY(state, float, gap) + start;
	int			count = cluster_size(state, j);
	bool		dissolved = ARRAY(state, const int, pieces)[j] == 0;	/* centroid j is
																		 * elsewhere */
	const void *prepared = ARRAY(state, const char, packed);

	if (count == 0)
		return;
	if (!dissolved)
	{
		float	   *centroids = (float *) me->room;

		for (int i = 0; i < KMEANS_NEAR; i++)
			memcpy(centroids + (size_t) i * dim, me->centroids + (size_t) closest[i] * dim,
				   sizeof(float) * (size_t) dim);
		assign_begin(me->local, KMEANS_NEAR, dim, state->params.spherical,
					 ARRAY(state, const float, mean));
		assign_pack(me->local, centroids, 0, assign_units(KMEANS_NEAR), me->scratch);
		prepared = me->local;
	}
	assign_rows(prepared, me->points, (size_t) dim, points, count, nearest, gap,
				me->scratch, me->interrupt, me->arg);
	for (int i = 0; i < count; i++)
	{
		gap[i] = squared_distance(state, gap[i]);
		if (!dissolved)
			nearest[i] = closest[nearest[i]];
	}
}

/* All participants, the centroids being packed. */
void
kmeans_near_assign(Participant *me)
{
	KMeansState *state = me->state;
	int			first;

	while ((first = atomic_fetch_add(&state->next_closest, CLOSEST_ROWS)) < state->k)
		find_closest(me, first, min_int(CLOSEST_ROWS, state->k - first));
	wait_for_all(me);
	while ((first = atomic_fetch_add(&state->next_near, CHUNK)) < state->k)
		for (int j = first; j < min_int(first + CHUNK, state->k); j++)
			assign_cluster(me, j);
	kmeans_assign(me, state->sorted);
}

/* Is a centroid, of all, the nearest of a point of its cluster? */
static bool
owns_a_point(Participant *me, int j)
{
	KMeansState *state = me->state;
	const uint32_t *points = ARRAY(state, const uint32_t, members) +
	ARRAY(state, const uint32_t, start)[j];
	int			size = cluster_size(state, j);
	uint32_t	nearest[ASSIGN_BLOCK_ROWS];

	for (int first = 0; first < size; first += ASSIGN_BLOCK_ROWS)
	{
		int			count = min_int(size - first, ASSIGN_BLOCK_ROWS);

		assign_rows(ARRAY(state, const char, packed), me->points, (size_t) state->params.dim,
					points + first, count, nearest, NULL,
					me->scratch, me->interrupt, me->arg);
		for (int i = 0; i < count; i++)
			if (nearest[i] == (uint32_t) j)
				return true;
	}
	return false;
}

/*
 * All participants, after plan(), the centroids being as they were packed:
 * count those that own no point of their cluster.  Empty clusters do not count.
 */
void
kmeans_near_prove(Participant *me)
{
	KMeansState *state = me->state;
	const uint32_t *order = ARRAY(state, const uint32_t, order);
	const uint32_t *anchor = ARRAY(state, const uint32_t, anchor);
	int			rows = assign_block_rows(state->params.dim);
	int			first;

	while ((first = atomic_fetch_add(&state->next_cluster, rows)) < state->k)
	{
		uint32_t	clusters[ASSIGN_BLOCK_ROWS];
		uint32_t	points[ASSIGN_BLOCK_ROWS];
		uint32_t	nearest[ASSIGN_BLOCK_ROWS];
		int			count = 0;

		for (int j = first; j < min_int(first + rows, state->k); j++)
			if (cluster_size(state, j) > 0)
			{
				clusters[count] = (uint32_t) j;
				points[count++] = order[anchor[j]];
			}
		assign_rows(ARRAY(state, const char, packed), me->points, (size_t) state->params.dim,
					points, count, nearest, NULL, me->scratch, me->interrupt, me->arg);
		for (int i = 0; i < count; i++)
			if (nearest[i] != clusters[i] && !owns_a_point(me, (int) clusters[i]))
				atomic_fetch_add(&state->unproven, 1);
	}
}
