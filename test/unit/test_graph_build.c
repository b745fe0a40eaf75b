/*-------------------------------------------------------------------------
 *
 * test_graph_build.c
 *	  The promises of graph/prune.h and graph/build.h.
 *
 * Run with one participant and with several threads: the latter is meant for
 * ThreadSanitizer, too (cc -fsanitize=thread).
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/build.h"
#include "graph/prune.h"
#include "kernel/kernel.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define THREADS			4
#define CANARY			64
#define MAX_DEGREE		200

static int	tests = 0;
static int	failures = 0;
static int	complaints = 0;		/* of the test at hand */

static void
report(const char *what)
{
	bool		good = complaints == 0;

	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, what);
	fflush(stdout);
	complaints = 0;
}

#define CHECK(condition, ...) \
	do { \
		if (!(condition) && complaints++ < 5) \
		{ \
			printf("# " __VA_ARGS__); \
			printf(" (line %d)\n", __LINE__); \
		} \
	} while (0)

static void *
allocate(size_t size)
{
	void	   *memory = malloc(size ? size : 1);

	if (memory == NULL)
	{
		printf("Bail out! no memory\n");
		exit(1);
	}
	/* nothing may depend on what memory holds */
	memset(memory, 0x7F, size);
	return memory;
}

static uint64_t random_state = 1;

static double
uniform(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double) (random_state >> 11) / 9007199254740992.0;
}

static float
gaussian(void)
{
	double		sum = 0.0;

	for (int i = 0; i < 12; i++)
		sum += uniform();
	return (float) (sum - 6.0);
}

/* ----------------------------------------------------------------- prune */

static float
line_distance(void *arg, int a, int b)
{
	const float *points = arg;

	return (points[a] - points[b]) * (points[a] - points[b]);
}

/* The rule as it is written, with sets. */
static int
plain_prune(int n, const float *distances, const bool *must, int max, float alpha,
			bool keep_rejected, float *points, int *chosen)
{
	bool		taken[64] = {false};
	int			count = 0;

	for (int i = 0; i < n && count < max; i++)
	{
		bool		rejected = false;
		int			musts = 0;

		for (int j = i; j < n; j++)
			musts += must && must[j];
		for (int j = 0; j < i; j++)
			if (taken[j] && alpha * line_distance(points, j, i) <= distances[i])
				rejected = true;
		if ((must && must[i]) || (!rejected && count + musts < max))
		{
			taken[i] = true;
			count++;
		}
	}
	for (int i = 0; keep_rejected && i < n && count < max; i++)
		if (!taken[i])
		{
			taken[i] = true;
			count++;
		}
	count = 0;
	for (int i = 0; i < n; i++)
		if (taken[i])
			chosen[count++] = i;
	return count;
}

static int
compare_floats(const void *a, const void *b)
{
	return (*(const float *) a > *(const float *) b) - (*(const float *) a < *(const float *) b);
}

static void
test_prune(void)
{
	for (int round = 0; round < 20000; round++)
	{
		int			n = (int) (uniform() * 20);
		int			max = (int) (uniform() * 12);
		float		alpha = (float) (1.0 + 0.5 * uniform());
		bool		keep_rejected = uniform() < 0.5;
		bool		with_must = uniform() < 0.5;
		float		points[64];
		float		distances[64];
		bool		must[64];
		int			chosen[64];
		int			wanted[64];
		int			count;
		int			wanted_count;

		/* some on either side of the node at 0, some equal */
		for (int i = 0; i < n; i++)
			distances[i] = (float) (int) (uniform() * 12);
		qsort(distances, n, sizeof(float), compare_floats);
		for (int i = 0; i < n; i++)
		{
			points[i] = uniform() < 0.5 ? distances[i] : -distances[i];
			distances[i] *= distances[i];
			must[i] = uniform() < 0.2;
		}
		count = graph_prune(n, distances, with_must ? must : NULL, max, alpha, keep_rejected,
							line_distance, points, chosen);
		wanted_count = plain_prune(n, distances, with_must ? must : NULL, max, alpha,
								   keep_rejected, points, wanted);
		CHECK(count == wanted_count && memcmp(chosen, wanted, sizeof(int) * count) == 0,
			  "round %d: %d chosen, %d wanted", round, count, wanted_count);
	}
	report("graph_prune() follows the rule");
}

/* ----------------------------------------------------------------- build */

typedef struct Graph
{
	GraphBuildParams params;
	const float *rows;
	uint32_t	n;
	char	   *memory;
	void	   *mem;
	uint32_t   *edges;			/* n * degree */
	int		   *counts;
	uint32_t	roots;
} Graph;

typedef struct Participant
{
	void	   *mem;
	void	   *scratch;
	int			number;
	uint32_t	last_done;
	pthread_t	thread;
} Participant;

static void
progress(void *arg, uint32_t done)
{
	Participant *me = arg;

	CHECK(done >= me->last_done, "progress goes back from %u to %u", me->last_done, done);
	me->last_done = done;
}

static void
no_interrupt(void *arg)
{
}

static void *
participate(void *arg)
{
	Participant *me = arg;

	graph_build_run(me->mem, me->number, me->scratch, progress, no_interrupt, me);
	return NULL;
}

static void
run(Graph *g)
{
	Participant all[THREADS];
	size_t		scratch_size = graph_build_scratch_size(&g->params);

	for (int p = 0; p < g->params.participants; p++)
	{
		all[p].mem = g->mem;
		all[p].scratch = allocate(scratch_size + CANARY);
		all[p].number = p;
		all[p].last_done = 0;
		if (p > 0 && pthread_create(&all[p].thread, NULL, participate, &all[p]) != 0)
		{
			printf("Bail out! could not start a thread\n");
			exit(1);
		}
	}
	participate(&all[0]);
	for (int p = 0; p < g->params.participants; p++)
	{
		if (p > 0)
			pthread_join(all[p].thread, NULL);
		CHECK(all[p].last_done == g->n, "progress ends at %u of %u", all[p].last_done, g->n);
		for (int i = 0; i < CANARY; i++)
			CHECK(((char *) all[p].scratch)[scratch_size + i] == 0x7F, "written behind the scratch");
		free(all[p].scratch);
	}
}

/* Take the graph out, and look at everything that is promised of it. */
static void
inspect(Graph *g, const bool *skipped)
{
	int			degree = g->params.degree;
	uint32_t   *parents = allocate(sizeof(uint32_t) * g->n);
	uint32_t   *queue = allocate(sizeof(uint32_t) * g->n);
	bool	   *reached = calloc(g->n + 1, sizeof(bool));
	uint32_t   *seen = calloc(g->n + 1, sizeof(uint32_t));
	uint32_t	queued = 0;
	uint32_t	inserted = 0;
	uint32_t	neighbours[MAX_DEGREE];
	bool		is_protected[MAX_DEGREE];

	g->edges = allocate(sizeof(uint32_t) * g->n * degree);
	g->counts = allocate(sizeof(int) * g->n);
	g->roots = 0;
	CHECK(graph_build_count(g->mem) == g->n, "%u nodes", graph_build_count(g->mem));
	for (uint32_t i = 0; i < g->n; i++)
		parents[i] = UINT32_MAX;
	for (uint32_t i = 0; i < g->n; i++)
	{
		int			count = graph_build_neighbours(g->mem, i, neighbours, is_protected);
		int			protected_count = 0;
		float		last = 0.0f;

		g->counts[i] = count;
		if (skipped && skipped[i])
		{
			CHECK(count == 0 && !graph_build_is_root(g->mem, i), "skipped node %u has %d edges", i, count);
			continue;
		}
		inserted++;
		CHECK(count <= degree, "node %u has %d neighbours", i, count);
		if (graph_build_is_root(g->mem, i))
		{
			g->roots++;
			CHECK(graph_build_rank(g->mem, i) == 0, "root %u has rank %u", i, graph_build_rank(g->mem, i));
			queue[queued++] = i;
			reached[i] = true;
		}
		else
			CHECK(graph_build_rank(g->mem, i) > 0, "node %u has rank 0", i);
		for (int j = 0; j < count; j++)
		{
			uint32_t	other = neighbours[j];

			g->edges[(size_t) i * degree + j] = other;
			CHECK(other < g->n && other != i, "node %u has neighbour %u", i, other);
			if (other >= g->n)
				continue;
			CHECK(!skipped || !skipped[other], "node %u has the skipped neighbour %u", i, other);
			CHECK(seen[other] != i + 1, "node %u has neighbour %u twice", i, other);
			seen[other] = i + 1;
			if (is_protected[j])
			{
				protected_count++;
				CHECK(parents[other] == UINT32_MAX, "node %u has two protected edges", other);
				CHECK(!graph_build_is_root(g->mem, other), "root %u has a protected edge", other);
				CHECK(graph_build_rank(g->mem, i) < graph_build_rank(g->mem, other),
					  "protected edge from rank %u to %u", graph_build_rank(g->mem, i),
					  graph_build_rank(g->mem, other));
				parents[other] = i;
			}
			if (g->params.dim < 16) /* no codes */
			{
				float		distance = kernel->l2sq(g->rows + (size_t) i * g->params.dim,
													g->rows + (size_t) other * g->params.dim, g->params.dim);

				CHECK(distance >= last * 0.996f, "neighbours of node %u are not sorted", i);
				last = distance;
			}
		}
		CHECK(protected_count <= degree / 2, "node %u has %d protected edges", i, protected_count);
	}
	for (uint32_t at = 0; at < queued; at++)
	{
		int			count = graph_build_neighbours(g->mem, queue[at], neighbours, is_protected);

		for (int j = 0; j < count; j++)
			if (is_protected[j] && !reached[neighbours[j]])
			{
				reached[neighbours[j]] = true;
				queue[queued++] = neighbours[j];
			}
	}
	CHECK(queued == inserted, "%u of %u nodes are reached along protected edges", queued, inserted);
	free(parents);
	free(queue);
	free(reached);
	free(seen);
}

/* Add rows and build; skipped may be NULL. */
static Graph
build(const float *rows, uint32_t n, GraphBuildParams params, const bool *skipped)
{
	Graph		g = {.params = params,.rows = rows,.n = n};
	size_t		size = graph_build_size(&params);

	g.memory = allocate(size + CANARY + 8);
	g.mem = g.memory + 8;		/* not at a cache line */
	graph_build_init(g.mem, &params);
	for (uint32_t i = 0; i < n; i++)
		CHECK(graph_build_add(g.mem, rows + (size_t) i * params.dim) == i, "node %u gets another number", i);
	if (n == params.capacity)
		CHECK(graph_build_add(g.mem, rows) == UINT32_MAX, "a node more than there is room for");
	for (uint32_t i = 0; skipped && i < n; i++)
		if (skipped[i])
			graph_build_skip(g.mem, i);
	run(&g);
	for (int i = 0; i < CANARY; i++)
		CHECK(((char *) g.mem)[size + i] == 0x7F, "written behind the block");
	inspect(&g, skipped);
	return g;
}

static void
discard(Graph *g)
{
	free(g->memory);
	free(g->edges);
	free(g->counts);
}

static GraphBuildParams
usual(uint32_t n, int dim, int participants)
{
	GraphBuildParams params = {.capacity = n,.dim = dim,.degree = 16,.window = 64,
	.alpha = 1.1f,.seed = 7,.participants = participants};

	return params;
}

/*
 * The nearest nodes to a query that a best-first search finds from the nearest of
 * some random nodes, and the roots.
 */
static int
plain_search(const Graph *g, const float *query, int entries, int ef,
			 uint32_t *nodes, float *distances)
{
	int			dim = g->params.dim;
	bool	   *met = calloc(g->n, sizeof(bool));
	bool	   *expanded = calloc(g->n, sizeof(bool));
	uint64_t	state = 99;
	uint32_t	best = 0;
	float		best_distance = INFINITY;
	int			n = 1;

	for (uint32_t i = 0; i < (uint32_t) entries + g->n; i++)
	{
		uint32_t	entry = i - (uint32_t) entries;
		float		distance;

		if (i < (uint32_t) entries)
		{
			state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
			entry = (uint32_t) ((state >> 33) % g->n);
		}
		else if (!graph_build_is_root(g->mem, entry))
			continue;
		distance = kernel->l2sq(query, g->rows + (size_t) entry * dim, dim);
		if (distance < best_distance)
		{
			best_distance = distance;
			best = entry;
		}
	}
	nodes[0] = best;
	distances[0] = best_distance;
	met[best] = true;
	for (int at = 0; at < n;)
	{
		uint32_t	node = nodes[at];

		if (expanded[node])
		{
			at++;
			continue;
		}
		expanded[node] = true;
		at = 0;
		for (int i = 0; i < g->counts[node]; i++)
		{
			uint32_t	other = g->edges[(size_t) node * g->params.degree + i];
			float		distance;
			int			j;

			if (met[other])
				continue;
			met[other] = true;
			distance = kernel->l2sq(query, g->rows + (size_t) other * dim, dim);
			if (n == ef && distance >= distances[n - 1])
				continue;
			for (j = n < ef ? n++ : n - 1; j > 0 && distances[j - 1] > distance; j--)
			{
				distances[j] = distances[j - 1];
				nodes[j] = nodes[j - 1];
			}
			distances[j] = distance;
			nodes[j] = other;
		}
	}
	free(met);
	free(expanded);
	return n;
}

#define EF		50
#define TOP		10

/* Recall@10 of some queries; the mean of nodes that lie within the true 10th distance. */
static double
recall(const Graph *g, const float *queries, int nq)
{
	int			dim = g->params.dim;
	float	   *all = allocate(sizeof(float) * g->n);
	uint64_t	hits = 0;

	for (int q = 0; q < nq; q++)
	{
		uint32_t	nodes[EF];
		float		distances[EF];
		int			n = plain_search(g, queries + (size_t) q * dim, 200, EF, nodes, distances);
		float		bound;

		kernel->l2sq_rows(queries + (size_t) q * dim, g->rows, sizeof(float) * dim, (int) g->n, dim, all);
		qsort(all, g->n, sizeof(float), compare_floats);
		bound = all[TOP - 1];
		for (int i = 0; i < n && i < TOP; i++)
			hits += distances[i] <= bound;
	}
	free(all);
	return (double) hits / nq / TOP;
}

/* How many nodes are found by their own vector. */
static double
found_themselves(const Graph *g, uint32_t step)
{
	uint32_t	found = 0;
	uint32_t	asked = 0;

	for (uint32_t i = 0; i < g->n; i += step, asked++)
	{
		uint32_t	nodes[EF];
		float		distances[EF];

		plain_search(g, g->rows + (size_t) i * g->params.dim, 200, EF, nodes, distances);
		found += distances[0] == 0.0f;
	}
	return (double) found / asked;
}

static void
test_sizes(void)
{
	GraphBuildParams params = usual(1000, 384, 2);

	CHECK(graph_build_size(&params) != SIZE_MAX, "no size");
	params.degree = 1;
	CHECK(graph_build_size(&params) == SIZE_MAX, "degree 1");
	CHECK(graph_build_scratch_size(&params) == SIZE_MAX, "scratch for degree 1");
	params.degree = MAX_DEGREE + 1;
	CHECK(graph_build_size(&params) == SIZE_MAX, "degree %d", params.degree);
	params = usual(UINT32_MAX, 384, 2);
	CHECK(graph_build_size(&params) == SIZE_MAX, "as many nodes as that");
	params = usual(1000, 0, 2);
	CHECK(graph_build_size(&params) == SIZE_MAX, "no dimension");
	params = usual(1000, 3, 0);
	CHECK(graph_build_size(&params) == SIZE_MAX, "no participant");
	for (int dim = 384; dim <= 768; dim += 384)
	{
		size_t		per_node;

		params = usual(1000000, dim, 2);
		params.degree = 32;
		per_node = graph_build_size(&params) / params.capacity;
		printf("# %d dimensions, degree 32: %zu bytes a node\n", dim, per_node);
		CHECK(per_node < (size_t) dim + 400, "%zu bytes a node", per_node);
	}
	report("sizes");
}

static void
test_tiny(int participants)
{
	float		rows[20];

	for (int i = 0; i < LENGTH(rows); i++)
		rows[i] = gaussian();
	for (uint32_t n = 0; n <= 10; n++)
		for (int room = 0; room < 2; room++)
		{
			Graph		g = build(rows, n, usual(n + room, 2, participants), NULL);

			CHECK(g.roots == (n > 0), "%u nodes have %u roots", n, g.roots);
			CHECK(n == 0 || found_themselves(&g, 1) == 1.0, "a node of %u is lost", n);
			discard(&g);
		}
	report("graphs of few nodes");
}

static void
test_skipped(int participants)
{
	uint32_t	n = 2000;
	float	   *rows = allocate(sizeof(float) * n * 40);
	bool	   *skipped = allocate(n);

	for (uint32_t i = 0; i < n * 40; i++)
		rows[i] = gaussian();
	for (int share = 1; share <= 3; share++)
	{
		Graph		g;

		/* some, most, all */
		for (uint32_t i = 0; i < n; i++)
			skipped[i] = share == 3 || uniform() < (share == 1 ? 0.3 : 0.95);
		g = build(rows, n, usual(n, 40, participants), skipped);
		CHECK(g.roots == (share < 3), "%u roots", g.roots);
		discard(&g);
	}
	free(rows);
	free(skipped);
	report("skipped nodes have no edges");
}

static void
test_equal(int participants)
{
	static const int dims[] = {3, 64};

	for (int d = 0; d < LENGTH(dims); d++)
		for (int zero = 0; zero < 2; zero++)
		{
			uint32_t	n = 6000;
			int			dim = dims[d];
			float	   *rows = allocate(sizeof(float) * n * dim);
			Graph		g;
			uint32_t	nodes[EF];
			float		distances[EF];
			int			found;

			/* first all, then two of three, in between others */
			for (uint32_t i = 0; i < n * (uint32_t) dim; i++)
				rows[i] = zero ? 0.0f : 1.0f;
			g = build(rows, n, usual(n, dim, participants), NULL);
			CHECK(g.roots == 1, "%u roots", g.roots);
			found = plain_search(&g, rows, 20, EF, nodes, distances);
			CHECK(found == EF, "only %d of equal vectors are found", found);
			discard(&g);

			for (uint32_t i = 0; i < n; i += 3)
				for (int k = 0; k < dim; k++)
					rows[i * dim + k] = gaussian();
			g = build(rows, n, usual(n, dim, participants), NULL);
			CHECK(g.roots == 1, "%u roots", g.roots);
			found = plain_search(&g, rows + dim, 20, EF, nodes, distances);
			CHECK(found == EF && distances[EF - 1] == 0, "%d found, the last at %g", found, distances[found - 1]);
			CHECK(recall(&g, rows, 20) > 0.9, "recall %g beside equal vectors", recall(&g, rows, 20));
			discard(&g);
			free(rows);
		}
	report("thousands of equal vectors");
}

/* A line, a grid, a cube: sorted, and without a bend to prune by. */
static void
test_low_dimensions(int participants)
{
	for (int dim = 1; dim <= 3; dim++)
	{
		int			side = dim == 1 ? 8000 : dim == 2 ? 90 : 20;
		uint32_t	n = (uint32_t) (dim == 1 ? side : dim == 2 ? side * side : side * side * side);
		float	   *rows = allocate(sizeof(float) * n * dim);
		float	   *queries = allocate(sizeof(float) * 100 * dim);
		Graph		g;
		double		r;

		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t	rest = i;

			for (int d = 0; d < dim; d++, rest /= side)
				rows[i * dim + d] = (float) (rest % side) + 1000.0f;
		}
		for (int i = 0; i < 100 * dim; i++)
			queries[i] = (float) (1000 + uniform() * side);
		g = build(rows, n, usual(n, dim, participants), NULL);
		r = recall(&g, queries, 100);
		CHECK(r >= 0.999, "%d dimensions: recall %g", dim, r);
		r = found_themselves(&g, 7);
		CHECK(r == 1.0, "%d dimensions: %g find themselves", dim, r);
		discard(&g);
		free(rows);
		free(queries);
	}
	report("a line, a grid, a cube");
}

/* 30 clusters far apart, in the order of clusters. */
static void
test_clusters(int participants)
{
	uint32_t	n = 6000;
	int			dim = 48;
	float	   *rows = allocate(sizeof(float) * n * dim);
	float		centre[48];
	Graph		g;
	double		r;

	for (uint32_t i = 0; i < n; i++)
	{
		if (i % (n / 30) == 0)
			for (int d = 0; d < dim; d++)
				centre[d] = 20.0f * gaussian();
		for (int d = 0; d < dim; d++)
			rows[i * dim + d] = centre[d] + gaussian();
	}
	g = build(rows, n, usual(n, dim, participants), NULL);
	r = found_themselves(&g, 5);
	CHECK(r >= 0.999, "%g find themselves", r);
	r = recall(&g, rows, 100);
	CHECK(r >= 0.98, "recall %g", r);
	discard(&g);
	free(rows);
	report("30 clusters far apart, one after the other");
}

/*
 * Inner product: lengths over two decades, augmented to one length.  The added
 * dimension dwarfs the others of a short vector, so that these get codes that
 * hardly differ.
 */
static void
test_augmented(int participants)
{
	uint32_t	n = 5000;
	int			dim = 65;
	float	   *rows = calloc((size_t) n * dim, sizeof(float));
	float	   *queries = calloc((size_t) 100 * dim, sizeof(float));
	Graph		g;
	double		r;

	for (uint32_t i = 0; i < n; i++)
	{
		float	   *x = rows + (size_t) i * dim;
		double		norm = 0.0;
		double		length = pow(10.0, -2.0 * uniform());

		for (int d = 0; d < dim - 1; d++)
		{
			x[d] = d % 4 == 0 ? gaussian() : 0.1f * gaussian();
			norm += (double) x[d] * x[d];
		}
		for (int d = 0; d < dim - 1; d++)
			x[d] = (float) (x[d] * length / sqrt(norm));
		x[dim - 1] = (float) sqrt(1.0 - length * length);
	}
	for (int q = 0; q < 100; q++)
		for (int d = 0; d < dim - 1; d++)
			queries[q * dim + d] = d % 4 == 0 ? gaussian() : 0.1f * gaussian();
	g = build(rows, n, usual(n, dim, participants), NULL);
	CHECK(g.roots == 1, "%u roots", g.roots);
	r = recall(&g, queries, 100);
	printf("# inner product, lengths over two decades: recall %.3f\n", r);
	CHECK(r >= 0.9, "recall %g", r);
	discard(&g);
	free(rows);
	free(queries);
	report("inner product, lengths over two decades");
}

/*
 * Random vectors of many dimensions around one: it is nearer to each than all
 * others are, and rejects them all.  (0.92 and 1.00 find themselves without it; 0.66 and
 * 0.83 with it, where nothing fills up the lists.)
 */
static void
test_hub(int participants)
{
	uint32_t	n = 4000;
	int			dim = 128;
	float	   *rows = calloc((size_t) n * dim, sizeof(float));

	for (int offset = 0; offset < 2; offset++)
	{
		Graph		g;
		double		r;

		/*
		 * one or three hubs; the distances from them hardly differ, or not at
		 * all
		 */
		for (uint32_t i = 1 + 2 * offset; i < n; i++)
			for (int d = 0; d < dim; d++)
				rows[(size_t) i * dim + d] = offset ? (gaussian() > 0 ? 1.0f : -1.0f) : gaussian();
		g = build(rows, n, usual(n, dim, participants), NULL);
		r = found_themselves(&g, 3);
		printf("# around %s: %.3f find themselves\n", offset ? "three equal points" : "a point", r);
		CHECK(r >= (offset ? 0.95 : 0.84), "%g find themselves", r);
		discard(&g);
	}
	free(rows);
	report("random vectors around a point");
}

static void
test_recall(int participants, int dim, int degree, int window, float alpha, double wanted)
{
	uint32_t	n = 5000;
	float	   *rows = allocate(sizeof(float) * (n + 100) * dim);
	GraphBuildParams params = usual(n, dim, participants);
	Graph		g;
	double		r;
	char		name[100];

	/* uniform noise in 16 dimensions, and little in the others */
	for (uint32_t i = 0; i < (n + 100) * (uint32_t) dim; i++)
		rows[i] = i % (uint32_t) dim < 16 ? gaussian() : 0.1f * gaussian();
	params.degree = degree;
	params.window = window;
	params.alpha = alpha;
	g = build(rows, n, params, NULL);
	r = recall(&g, rows + (size_t) n * dim, 100);
	CHECK(r >= wanted, "recall %g", r);
	CHECK(g.roots <= (degree < 4 ? 100 : 1), "%u roots", g.roots);
	snprintf(name, sizeof(name), "%d dimensions, degree %d, window %d: recall %.3f", dim, degree, window, r);
	discard(&g);
	free(rows);
	report(name);
}

/* Values that overflow or vanish: no quality, but a sound graph. */
static void
test_extremes(int participants)
{
	static const float factors[] = {1e30f, 1e-30f, 1e19f, 1e-42f, 0.0f};
	uint32_t	n = 1500;

	for (int dim = 4; dim <= 40; dim += 36)
	{
		float	   *rows = allocate(sizeof(float) * n * dim);
		Graph		g;

		for (uint32_t i = 0; i < n * (uint32_t) dim; i++)
			rows[i] = gaussian() * factors[i / dim % LENGTH(factors)];
		g = build(rows, n, usual(n, dim, participants), NULL);
		discard(&g);
		free(rows);
	}
	report("values that overflow or vanish");
}

/* One participant: the graph does not depend on the level, nor on the address. */
static void
test_repeatable(void)
{
	uint32_t	n = 2000;
	int			dim = 100;
	float	   *rows = allocate(sizeof(float) * n * dim);
	KernelLevel best = kernel->level;
	Graph		first;

	for (uint32_t i = 0; i < n * (uint32_t) dim; i++)
		rows[i] = gaussian();
	first = build(rows, n, usual(n, dim, 1), NULL);
	for (int level = 0; level < KERNEL_NUM_LEVELS; level++)
	{
		Graph		g;

		if (!kernel_force((KernelLevel) level))
			continue;
		g = build(rows, n, usual(n, dim, 1), NULL);
		CHECK(memcmp(g.counts, first.counts, sizeof(int) * n) == 0, "other counts at level %s", kernel->name);
		for (uint32_t i = 0; i < n; i++)
			CHECK(memcmp(g.edges + i * 16, first.edges + i * 16, sizeof(uint32_t) * g.counts[i]) == 0,
				  "other edges of node %u at level %s", i, kernel->name);
		discard(&g);
	}
	kernel_force(best);

	/* moved after the nodes were added, by a multiple of a cache line */
	{
		GraphBuildParams params = usual(n, dim, 1);
		size_t		size = graph_build_size(&params);
		char	   *here = allocate(size + 64);
		char	   *there = allocate(size + 64);
		Graph		g = {.params = params,.rows = rows,.n = n};

		graph_build_init(here, &params);
		for (uint32_t i = 0; i < n; i++)
			graph_build_add(here, rows + (size_t) i * dim);
		g.mem = there + ((size_t) here - (size_t) there) % 64;
		memcpy(g.mem, here, size);
		memset(here, 0, size);
		run(&g);
		inspect(&g, NULL);
		CHECK(memcmp(g.counts, first.counts, sizeof(int) * n) == 0, "other counts at another address");
		free(here);
		free(there);
		free(g.edges);
		free(g.counts);
	}
	discard(&first);
	free(rows);
	report("one participant: the same graph at each SIMD level and address");
}

/* Participants that are stopped by an error, wherever they are. */
typedef struct Stopped
{
	void	   *mem;
	void	   *scratch;
	int			number;
	int			calls;
	int		   *stop;
	jmp_buf		out;
	pthread_t	thread;
} Stopped;

static void
stop(void *arg)
{
	Stopped    *me = arg;

	if (me->number == 0 && ++me->calls == 300)
		__atomic_store_n(me->stop, 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(me->stop, __ATOMIC_RELAXED))
		longjmp(me->out, 1);
}

static void *
participate_stopped(void *arg)
{
	Stopped    *me = arg;

	if (setjmp(me->out) == 0)
	{
		graph_build_run(me->mem, me->number, me->scratch, NULL, stop, me);
		me->calls = -1;
	}
	return NULL;
}

static void
test_interrupt(void)
{
	uint32_t	n = 3000;
	GraphBuildParams params = usual(n, 40, THREADS);
	void	   *mem = allocate(graph_build_size(&params));
	Stopped		all[THREADS];
	int			flag = 0;
	float		row[40];

	graph_build_init(mem, &params);
	for (uint32_t i = 0; i < n; i++)
	{
		for (int d = 0; d < 40; d++)
			row[d] = gaussian();
		graph_build_add(mem, row);
	}
	for (int p = 0; p < THREADS; p++)
	{
		all[p].mem = mem;
		all[p].scratch = allocate(graph_build_scratch_size(&params));
		all[p].number = p;
		all[p].calls = 0;
		all[p].stop = &flag;
		if (pthread_create(&all[p].thread, NULL, participate_stopped, &all[p]) != 0)
		{
			printf("Bail out! could not start a thread\n");
			exit(1);
		}
	}
	for (int p = 0; p < THREADS; p++)
	{
		pthread_join(all[p].thread, NULL);
		CHECK(all[p].calls >= 0, "participant %d came to an end", p);
		free(all[p].scratch);
	}
	free(mem);
	report("all participants leave by their interrupt");
}

/* Rows added by several at once. */
typedef struct Adder
{
	void	   *mem;
	int			number;
	uint32_t	added;
	pthread_t	thread;
} Adder;

static void *
add_rows(void *arg)
{
	Adder	   *me = arg;
	float		row[4] = {0};

	for (int i = 0;; i++)
	{
		row[0] = (float) (i * THREADS + me->number);
		if (graph_build_add(me->mem, row) == UINT32_MAX)
			return NULL;
		me->added++;
	}
}

static void
test_adding(void)
{
	uint32_t	n = 5000;
	GraphBuildParams params = usual(n, 4, 1);
	void	   *mem = allocate(graph_build_size(&params));
	Adder		all[THREADS];
	uint32_t	sum = 0;

	graph_build_init(mem, &params);
	for (int p = 0; p < THREADS; p++)
	{
		all[p].mem = mem;
		all[p].number = p;
		all[p].added = 0;
		if (pthread_create(&all[p].thread, NULL, add_rows, &all[p]) != 0)
		{
			printf("Bail out! could not start a thread\n");
			exit(1);
		}
	}
	for (int p = 0; p < THREADS; p++)
	{
		pthread_join(all[p].thread, NULL);
		sum += all[p].added;
	}
	CHECK(sum == n && graph_build_count(mem) == n, "%u added, %u counted", sum, graph_build_count(mem));
	free(mem);
	report("rows added by several at once");
}

int
main(void)
{
	kernel_init();
	test_prune();
	test_sizes();
	for (int participants = 1; participants <= THREADS; participants += THREADS - 1)
	{
		printf("# %d participants\n", participants);
		test_tiny(participants);
		test_skipped(participants);
		test_equal(participants);
		test_low_dimensions(participants);
		test_clusters(participants);
		test_augmented(participants);
		test_hub(participants);
		test_recall(participants, 16, 16, 64, 1.1f, 0.97);
		test_recall(participants, 48, 16, 64, 1.1f, 0.95);
		test_recall(participants, 48, 2, 4, 1.1f, 0.0);
		test_recall(participants, 48, 3, 1, 1.0f, 0.0);
		test_recall(participants, 48, 200, 300, 1.2f, 0.99);
		test_extremes(participants);
	}
	test_repeatable();
	test_interrupt();
	test_adding();
	printf("1..%d\n", tests);
	return failures > 0;
}
