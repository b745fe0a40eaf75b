/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  Many centroids in groups, so that one need not be compared with all.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/groups.h"

#include <math.h>
#include <string.h>

#include "quant/kmeans.h"

/*
 * Fewer centroids are compared with as quickly all at once, and a query that is
 * unlike the rows must look into most groups then (README.md).
 */
#define GROUPS_FROM		8192

/* So many times the square root of the centroids: the finer, the fewer need a look. */
#define GROUPS_FINE		8

/* Middles are kept by every backend: so many bytes at most ... */
#define MIDDLES_MAX		(4 * 1024 * 1024)
/* ... but so many of them in any case */
#define GROUPS_MIN		32

/* The grouping is no better for more passes. */
#define ITERATIONS		4
#define SEED			0x67727073

#define ALIGNMENT		64

static size_t
align_up(size_t offset)
{
	return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

int
groups_wanted(int k, int dim)
{
	int			groups = (int) (GROUPS_FINE * sqrt((double) k));
	int			most = MIDDLES_MAX / (int) sizeof(float) / dim;

	if (k < GROUPS_FROM)
		return 0;
	return min_int(groups, most > GROUPS_MIN ? most : GROUPS_MIN);
}

/* ---- making groups ---- */

static KMeansParams
grouping(int k, int dim, bool spherical, int groups)
{
	KMeansParams params = {
		.n = k,.dim = dim,.k = groups,.spherical = spherical,.max_iterations = ITERATIONS,
		.seed = SEED,.participants = 1
	};

	return params;
}

size_t
groups_make_size(int k, int dim, int groups)
{
	KMeansParams params = grouping(k, dim, false, groups);
	size_t		kmeans = kmeans_workspace_size(&params);
	size_t		sorting = align_up(sizeof(uint32_t) * (size_t) k) * 2 +
	align_up(sizeof(float) * (size_t) dim) * 2 +
	align_up(assign_size(groups, dim)) + assign_scratch_size(groups, dim) + ALIGNMENT;

	return kmeans > sorting ? kmeans : sorting;
}

/* Bring centroid i to place[i], in cycles; place is used up. */
static void
permute(float *centroids, uint32_t *place, int k, int dim, float *hand, float *other)
{
	size_t		bytes = sizeof(float) * (size_t) dim;

	for (int i = 0; i < k; i++)
	{
		if (place[i] == (uint32_t) i)
			continue;
		memcpy(hand, centroids + (size_t) i * dim, bytes);
		for (uint32_t at = (uint32_t) i; place[at] != at;)
		{
			uint32_t	to = place[at];
			float	   *there = centroids + (size_t) to * dim;

			memcpy(other, there, bytes);
			memcpy(there, hand, bytes);
			memcpy(hand, other, bytes);
			place[at] = at;
			at = to;
		}
	}
}

int
groups_make(void *workspace, float *centroids, int k, int dim, bool spherical,
			int groups, uint32_t *first, float *middles,
			AssignInterrupt interrupt, void *arg)
{
	KMeansParams params = grouping(k, dim, spherical, groups);
	char	   *at = workspace;
	uint32_t   *nearest;
	uint32_t   *place;
	float	   *hand;
	float	   *other;
	void	   *prepared;
	int			made;
	int			kept = 0;
	uint32_t	sum = 0;

	kmeans_init(workspace, &params);
	made = kmeans_run(workspace, 0, centroids, middles, NULL, interrupt, arg);

	nearest = (uint32_t *) at;
	at += align_up(sizeof(uint32_t) * (size_t) k);
	place = (uint32_t *) at;
	at += align_up(sizeof(uint32_t) * (size_t) k);
	hand = (float *) at;
	at += align_up(sizeof(float) * (size_t) dim);
	other = (float *) at;
	at += align_up(sizeof(float) * (size_t) dim);
	prepared = at;
	at += align_up(assign_size(groups, dim));
	assign_prepare(prepared, middles, made, dim, spherical, at);
	assign_rows(prepared, centroids, (size_t) dim, NULL, k, nearest, NULL, at, interrupt, arg);

	/* a counting sort; groups that nothing is nearest to go */
	memset(first, 0, sizeof(uint32_t) * ((size_t) groups + 1));
	for (int i = 0; i < k; i++)
		first[nearest[i] + 1]++;
	for (int g = 0; g < made; g++)
	{
		uint32_t	count = first[g + 1];

		first[g + 1] = sum;
		sum += count;
	}
	for (int i = 0; i < k; i++)
		place[i] = first[nearest[i] + 1]++;
	for (int g = 0; g < made; g++)
		if (first[g + 1] > first[kept])
		{
			if (kept != g)
				memcpy(middles + (size_t) kept * dim, middles + (size_t) g * dim,
					   sizeof(float) * (size_t) dim);
			first[++kept] = first[g + 1];
		}
	permute(centroids, place, k, dim, hand, other);
	return kept;
}

/* ---- assigning rows ---- */

/* A block of rows has at most so many bytes, and so many rows. */
#define BLOCK_BYTES		(4 * 1024 * 1024)
#define BLOCK_ROWS		16384

int
groups_block_rows(size_t row_bytes)
{
	size_t		rows = BLOCK_BYTES / row_bytes;

	if (rows < ASSIGN_BLOCK_ROWS)
		return ASSIGN_BLOCK_ROWS;
	return rows < BLOCK_ROWS ? (int) rows : BLOCK_ROWS;
}

/* A group near a row. */
typedef struct Near
{
	float		distance;
	uint32_t	group;
} Near;

typedef struct Scratch
{
	uint32_t   *near;			/* max_rows * GROUPS_NEAR */
	uint32_t   *rows;			/* as many: rows, sorted by group */
	float	   *best;			/* max_rows */
	uint32_t   *start;			/* groups + 1 */
	float	   *distances;		/* ASSIGN_BLOCK_ROWS * groups */
	void	   *assign;
} Scratch;

static size_t
lay_out(Scratch *s, char *memory, int groups, int k, int dim, int max_rows)
{
	size_t		pairs = align_up(sizeof(uint32_t) * (size_t) max_rows * GROUPS_NEAR);
	size_t		best = align_up(sizeof(float) * (size_t) max_rows);
	size_t		start = align_up(sizeof(uint32_t) * ((size_t) groups + 1));
	size_t		distances = align_up(sizeof(float) * ASSIGN_BLOCK_ROWS * (size_t) groups);

	s->near = (uint32_t *) memory;
	s->rows = (uint32_t *) (memory + pairs);
	s->best = (float *) (memory + 2 * pairs);
	s->start = (uint32_t *) (memory + 2 * pairs + best);
	s->distances = (float *) (memory + 2 * pairs + best + start);
	s->assign = memory + 2 * pairs + best + start + distances;
	return 2 * pairs + best + start + distances + assign_scratch_size(k, dim);
}

size_t
groups_scratch_size(int groups, int k, int dim, int max_rows)
{
	Scratch		s;

	return lay_out(&s, NULL, groups, k, dim, max_rows) + ALIGNMENT;
}

int
groups_nearest(const float *distances, int n, uint32_t *out)
{
	Near		near[GROUPS_NEAR];
	int			count = 0;

	for (int g = 0; g < n; g++)
	{
		int			at;

		if (count == GROUPS_NEAR && !(distances[g] < near[count - 1].distance))
			continue;
		if (count < GROUPS_NEAR)
			count++;
		for (at = count - 1; at > 0 && distances[g] < near[at - 1].distance; at--)
			near[at] = near[at - 1];
		near[at].distance = distances[g];
		near[at].group = (uint32_t) g;
	}
	for (int i = 0; i < count; i++)
		out[i] = near[i].group;
	return count;
}

/* Compare rows with the centroids of a group, and keep what is nearer. */
static void
compare_group(const Groups *groups, int g, const float *rows, size_t ld,
			  const uint32_t *which, int n, uint32_t *nearest, const Scratch *s,
			  AssignInterrupt interrupt, void *arg)
{
	uint32_t	found[ASSIGN_BLOCK_ROWS];
	float		distance[ASSIGN_BLOCK_ROWS];

	for (int start = 0; start < n; start += ASSIGN_BLOCK_ROWS)
	{
		int			count = min_int(n - start, ASSIGN_BLOCK_ROWS);

		assign_rows_among(groups->centroids, (int) groups->first[g], (int) groups->first[g + 1],
						  rows, ld, which + start, count, found, distance, s->assign,
						  interrupt, arg);
		for (int i = 0; i < count; i++)
		{
			uint32_t	row = which[start + i];

			if (distance[i] < s->best[row] ||
				(distance[i] == s->best[row] && found[i] < nearest[row]))
			{
				s->best[row] = distance[i];
				nearest[row] = found[i];
			}
		}
	}
}

void
groups_assign(const Groups *groups, int k, const float *rows, size_t ld, int n,
			  uint32_t *nearest, float *distance, void *scratch,
			  AssignInterrupt interrupt, void *arg)
{
	Scratch		s;
	int			each = min_int(GROUPS_NEAR, groups->n);

	(void) lay_out(&s, (char *) align_up((uintptr_t) scratch), groups->n, k, groups->dim, n);
	memset(s.start, 0, sizeof(uint32_t) * ((size_t) groups->n + 1));
	for (int first = 0; first < n; first += ASSIGN_BLOCK_ROWS)
	{
		int			count = min_int(n - first, ASSIGN_BLOCK_ROWS);

		assign_distances(groups->middles, rows + (size_t) first * ld, ld, count,
						 s.distances, (size_t) groups->n, s.assign, interrupt, arg);
		for (int i = 0; i < count; i++)
		{
			uint32_t   *near = s.near + (size_t) (first + i) * each;

			groups_nearest(s.distances + (size_t) i * groups->n, groups->n, near);
			for (int j = 0; j < each; j++)
				s.start[near[j]]++;
		}
	}
	for (int g = 0, sum = 0; g <= groups->n; g++)
		s.start[g] = (uint32_t) (sum += (int) s.start[g]);
	/* backwards, so that start[g] moves down to the group's first place */
	for (int i = n - 1; i >= 0; i--)
		for (int j = 0; j < each; j++)
			s.rows[--s.start[s.near[(size_t) i * each + j]]] = (uint32_t) i;
	for (int i = 0; i < n; i++)
	{
		s.best[i] = INFINITY;
		nearest[i] = UINT32_MAX;
	}
	for (int g = 0; g < groups->n; g++)
		compare_group(groups, g, rows, ld, s.rows + s.start[g],
					  (int) (s.start[g + 1] - s.start[g]), nearest, &s, interrupt, arg);
	/* distances that overflow are less than nothing */
	for (int i = 0; i < n; i++)
		if (nearest[i] == UINT32_MAX)
			nearest[i] = groups->first[s.near[(size_t) i * each]];
	if (distance)
		memcpy(distance, s.best, sizeof(float) * (size_t) n);
}
