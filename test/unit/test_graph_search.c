/*-------------------------------------------------------------------------
 *
 * test_graph_search.c
 *	  search.c on graphs in memory: against a slow reference, and the promises
 *	  of search.h one by one.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>

#include "graph/search.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define LARGE			((size_t) 1 << 30)

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

/* ---------------------------------------------------------------- memory that is counted */

typedef struct Counted
{
	size_t		bytes;
	size_t		peak;
	int			blocks;
	int			until_jump;		/* allocations until one does not return; 0: never */
	jmp_buf		jump;
} Counted;

static void *
counted_alloc(void *arg, size_t bytes)
{
	Counted    *counted = arg;
	size_t	   *memory;

	if (counted->until_jump > 0 && --counted->until_jump == 0)
		longjmp(counted->jump, 1);
	memory = allocate(bytes + 64);
	memory[0] = bytes;
	counted->bytes += bytes;
	counted->blocks++;
	if (counted->bytes > counted->peak)
		counted->peak = counted->bytes;
	return (char *) memory + 64;
}

static void
counted_release(void *arg, void *mem)
{
	Counted    *counted = arg;
	size_t	   *memory = (size_t *) ((char *) mem - 64);

	counted->bytes -= memory[0];
	counted->blocks--;
	memset(memory, 0x7F, memory[0] + 64);
	free(memory);
}

/* ---------------------------------------------------------------- graphs */

/* Node i has the number (i + 1) << 16 | i % 5 + 1. */
typedef struct Graph
{
	int			n;
	int			degree;
	int		   *edges;			/* degree each; -1: none */
	float	   *distances;
	float	   *estimates;		/* of each edge */
	int		   *visited;		/* how often */
	int			order;			/* visits so far */
	int		   *visit_order;
	bool	   *gone;
	uint64_t	announced;		/* next of the last visit */
	int			announced_count;
	int			announced_right;
	int			interrupts;
	int			jump_at;		/* visit that does not return; 0: none */
	jmp_buf		jump;
	Counted		counted;
	GraphSearch *search;		/* for readers that ask it */
} Graph;

static uint64_t
number(int i)
{
	return (uint64_t) (i + 1) << 16 | (i % 5 + 1);
}

static int
place(uint64_t node)
{
	return (int) (node >> 16) - 1;
}

static Graph *
graph_make(int n, int degree)
{
	Graph	   *graph = allocate(sizeof(Graph));

	memset(graph, 0, sizeof(Graph));
	graph->n = n;
	graph->degree = degree;
	graph->edges = allocate(sizeof(int) * n * degree);
	graph->distances = allocate(sizeof(float) * n);
	graph->estimates = allocate(sizeof(float) * n * degree);
	graph->visited = calloc(n, sizeof(int));
	graph->visit_order = allocate(sizeof(int) * n);
	graph->gone = calloc(n, sizeof(bool));
	return graph;
}

static void
graph_drop(Graph *graph)
{
	CHECK(graph->counted.blocks == 0, "%d blocks not released", graph->counted.blocks);
	free(graph->edges);
	free(graph->distances);
	free(graph->estimates);
	free(graph->visited);
	free(graph->visit_order);
	free(graph->gone);
	free(graph);
}

static void
graph_forget(Graph *graph)
{
	memset(graph->visited, 0, sizeof(int) * graph->n);
	graph->order = 0;
	graph->announced = 0;
	graph->announced_count = graph->announced_right = 0;
}

/*
 * Points of a plane; edges to near points (of a random window, so that it costs
 * little) and some at random, query in a corner.  noise: relative, of estimates;
 * by_edge: another one for each edge, not for each node.
 */
static Graph *
graph_random(int n, int degree, float noise, bool by_edge)
{
	Graph	   *graph = graph_make(n, degree);
	float	   *x = allocate(sizeof(float) * n);
	float	   *y = allocate(sizeof(float) * n);
	float	   *own = allocate(sizeof(float) * n);

	for (int i = 0; i < n; i++)
	{
		x[i] = gaussian();
		y[i] = gaussian();
		graph->distances[i] = (x[i] - 1) * (x[i] - 1) + (y[i] - 1) * (y[i] - 1);
		own[i] = graph->distances[i] * (1 + noise * gaussian());
	}
	for (int i = 0; i < n; i++)
	{
		for (int e = 0; e < degree; e++)
		{
			int			best = (int) (uniform() * n);

			/* the nearest of some random ones: nearer for small e */
			for (int t = e * 4; t < degree * 3; t++)
			{
				int			j = (int) (uniform() * n);

				if (j != i &&
					hypot(x[j] - x[i], y[j] - y[i]) < hypot(x[best] - x[i], y[best] - y[i]))
					best = j;
			}
			graph->edges[i * degree + e] = uniform() < 0.02 ? -1 : best;
			graph->estimates[i * degree + e] = !by_edge ? own[best] :
				graph->distances[best] * (1 + noise * gaussian());
		}
	}
	free(x);
	free(y);
	free(own);
	return graph;
}

static int
graph_visit(void *arg, uint64_t node, uint64_t next,
			float *distance, uint64_t *neighbours, float *estimates)
{
	Graph	   *graph = arg;
	int			i = place(node);
	int			n = 0;

	if (i < 0 || i >= graph->n || number(i) != node)
	{
		CHECK(false, "visit of no node");
		return -1;
	}
	if (graph->jump_at > 0 && --graph->jump_at == 0)
		longjmp(graph->jump, 1);
	if (graph->announced)
	{
		graph->announced_count++;
		graph->announced_right += graph->announced == node;
	}
	graph->announced = next;
	CHECK(next != node, "a node announced while it is visited");
	CHECK(next == 0 || graph->visited[place(next)] == 0, "a visited node announced");
	if (graph->visited[i]++ == 0 && graph->order < graph->n)
		graph->visit_order[graph->order] = i;
	graph->order++;
	*distance = graph->distances[i];
	if (graph->gone[i])
		return -1;
	for (int e = 0; e < graph->degree; e++)
	{
		int			j = graph->edges[i * graph->degree + e];

		if (j < 0 || (graph->search && graph_search_knows(graph->search, number(j))))
			continue;
		neighbours[n] = number(j);
		estimates[n++] = graph->estimates[i * graph->degree + e];
	}
	return n;
}

static void
graph_interrupt(void *arg)
{
	((Graph *) arg)->interrupts++;
}

static GraphSearch *
search_make(Graph *graph, size_t max_bytes)
{
	GraphMemory memory = {counted_alloc, counted_release, &graph->counted};
	GraphReader reader = {graph_visit, graph_interrupt, graph};

	return graph_search_create(&memory, &reader, max_bytes);
}

static void
start_some(GraphSearch *search, const Graph *graph, int n)
{
	for (int i = 0; i < n; i++)
	{
		int			j = i * (graph->n / n);

		graph_search_start(search, number(j), graph->distances[j]);
	}
}

/* How many nodes can be reached from the starts. */
static int
reachable(const Graph *graph, int starts, bool *reached)
{
	int		   *queue = allocate(sizeof(int) * graph->n);
	int			head = 0;
	int			tail = 0;

	memset(reached, 0, graph->n);
	for (int i = 0; i < starts; i++)
	{
		int			j = i * (graph->n / starts);

		if (!reached[j])
			queue[tail++] = j;
		reached[j] = true;
	}
	for (; head < tail; head++)
	{
		if (graph->gone[queue[head]])
			continue;
		for (int e = 0; e < graph->degree; e++)
		{
			int			j = graph->edges[queue[head] * graph->degree + e];

			if (j >= 0 && !reached[j])
			{
				reached[j] = true;
				queue[tail++] = j;
			}
		}
	}
	free(queue);
	return tail;
}

/* ---------------------------------------------------------------- reference */

typedef struct Candidate
{
	float		estimate;
	int			node;
	int			met;
	bool		visited;
} Candidate;

static int
by_estimate(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->estimate != y->estimate)
		return x->estimate < y->estimate ? -1 : 1;
	return x->met - y->met;
}

/*
 * The classical search with one candidate of look-ahead, as simply as it can be
 * written.  Returns the number of visits, in their order in `visits`.
 */
static int
reference(const Graph *graph, int starts, int ef, int *visits)
{
	Candidate  *pool = allocate(sizeof(Candidate) * (ef + graph->degree + starts));
	bool	   *known = calloc(graph->n, sizeof(bool));
	int			size = 0;
	int			met = 0;
	int			ahead = -1;
	int			n = 0;

	for (int i = 0; i < starts; i++)
	{
		int			j = i * (graph->n / starts);

		known[j] = true;
		pool[size++] = (Candidate) {graph->distances[j], j, met++, false};
		qsort(pool, size, sizeof(Candidate), by_estimate);
		if (size > ef)
			size = ef;
	}
	for (;;)
	{
		float		bound = size == ef ? pool[ef - 1].estimate : INFINITY;
		int			at = -1;
		int			node;

		for (int i = size - 1; i >= 0; i--)
			if (!pool[i].visited)
				at = i;
		for (int i = 0; i < size && ahead >= 0; i++)
			if (pool[i].node == ahead)
				at = i;
		if (at < 0)
			break;
		pool[at].visited = true;
		visits[n++] = node = pool[at].node;
		ahead = -1;
		for (int i = size - 1; i >= 0; i--)
			if (!pool[i].visited)
				ahead = pool[i].node;
		for (int e = 0; e < graph->degree && !graph->gone[node]; e++)
		{
			int			j = graph->edges[node * graph->degree + e];
			float		estimate = graph->estimates[node * graph->degree + e];

			if (j < 0 || known[j] || !(estimate < bound))
				continue;
			known[j] = true;
			pool[size++] = (Candidate) {estimate, j, met++, false};
		}
		qsort(pool, size, sizeof(Candidate), by_estimate);
		if (size > ef)
			size = ef;
	}
	free(pool);
	free(known);
	return n;
}

static void
test_fixed(void)
{
	static const int efs[] = {1, 2, 3, 10, 40, 200, 1000};

	for (int round = 0; round < 12; round++)
	{
		Graph	   *graph = graph_random(2000, 4 + 4 * (round % 4), 0.2f, round % 2);
		GraphSearch *search = search_make(graph, LARGE);
		int		   *visits = allocate(sizeof(int) * graph->n);

		for (int i = 0; i < graph->n && round % 3 == 0; i++)
			graph->gone[i] = uniform() < 0.05;
		for (int i = 0; i < LENGTH(efs); i++)
		{
			GraphEffort effort = {.ef = efs[i]};
			int			starts = 1 + round;
			int			n = reference(graph, starts, efs[i], visits);
			uint64_t	node;
			uint32_t	ordinal;
			float		distance;
			float		before = 0;
			bool		ordered;
			int			found = 0;

			graph_forget(graph);
			graph_search_begin(search, &effort);
			start_some(search, graph, starts);
			while (found < n && found < efs[i] &&
				   graph_search_next(search, &node, &ordinal, &distance, &ordered))
			{
				if (graph->order > n)
					break;
				CHECK(ordered && distance >= before, "not in order");
				CHECK(distance == graph->distances[place(node)], "wrong distance");
				CHECK(graph->visit_order[ordinal] == place(node), "wrong ordinal");
				before = distance;
				found++;
			}
			CHECK(graph->order >= n, "ef %d: %d visits, not %d", efs[i], graph->order, n);
			CHECK(graph_search_visits(search) == graph->order, "wrong number of visits");
			CHECK(isinf(graph_search_radius(search)), "a radius with ef");
			CHECK(memcmp(visits, graph->visit_order, sizeof(int) * n) == 0,
				  "ef %d: visits differ", efs[i]);
			CHECK(graph->interrupts >= graph->order, "not interruptible");
			graph->interrupts = 0;
			CHECK(efs[i] < 10 || graph->announced_right >= graph->announced_count * 8 / 10, "ef %d: %d of %d announced",
				  efs[i], graph->announced_right, graph->announced_count);
		}
		free(visits);
		graph_search_free(search);
		graph_drop(graph);
	}
	report("fixed ef visits what the reference visits, and hands it out in order");
}

/* Hand out all; check completeness, order and what ordered says. Returns late finds. */
static int
stream_all(Graph *graph, GraphSearch *search, int starts, const GraphEffort *effort,
		   const char *what)
{
	bool	   *reached = allocate(graph->n);
	int		   *handed = calloc(graph->n, sizeof(int));
	int			expected = reachable(graph, starts, reached);
	int			found = 0;
	int			late = 0;
	float		before = -INFINITY;
	uint64_t	node = 0;
	uint64_t	last_node = 0;
	float		last = -INFINITY;
	uint32_t	ordinal;
	float		distance;
	bool		ordered;

	graph_forget(graph);
	graph_search_begin(search, effort);
	start_some(search, graph, starts);
	for (int i = 0; i < graph->n; i++)
		if (reached[i] && (graph->gone[i] || graph->distances[i] == INFINITY))
			expected--;
	while (graph_search_next(search, &node, &ordinal, &distance, &ordered))
	{
		int			i = place(node);

		found++;
		if (found > graph->n)
			break;
		CHECK(!graph->gone[i] && reached[i], "%s: handed out what cannot be reached", what);
		CHECK(handed[i]++ == 0, "%s: handed out twice", what);
		CHECK(distance == graph->distances[i], "%s: wrong distance", what);
		CHECK(ordinal < graph->order && graph->visit_order[ordinal] == i, "%s: wrong ordinal", what);
		CHECK(ordered == !(distance < before), "%s: ordered is wrong", what);
		if (distance == last && graph->order == (int) graph_search_visits(search))
			CHECK(node > last_node || late > 0, "%s: ties not by number", what);
		late += !ordered;
		if (ordered)
			before = distance;
		last = distance;
		last_node = node;
	}
	CHECK(found == expected, "%s: %d of %d handed out", what, found, expected);
	CHECK(graph_search_complete(search), "%s: not complete", what);
	for (int i = 0; i < graph->n; i++)
		CHECK(graph->visited[i] == reached[i], "%s: visited %d times", what, graph->visited[i]);
	CHECK(!graph_search_next(search, &node, &ordinal, &distance, &ordered), "%s: goes on after its end", what);
	free(reached);
	free(handed);
	return late;
}

static void
test_stream(void)
{
	static const int efs[] = {1, 5, 40, 700, 1024, 1025, 3000, 100000};
	static const float gammas[] = {0.5f, 1.0f, 1.1f, 2.0f, INFINITY};

	for (int round = 0; round < 8; round++)
	{
		Graph	   *graph = graph_random(6000, 3 + 4 * (round % 4), 0.2f, round % 2);
		GraphSearch *search = search_make(graph, LARGE);
		char		what[64];

		for (int i = 0; i < graph->n && round % 3 == 0; i++)
		{
			graph->gone[i] = uniform() < 0.05;
			if (uniform() < 0.3)
				graph->distances[i] = INFINITY;
			if (uniform() < 0.3)
				graph->distances[i] = 7;
		}
		for (int i = 0; i < LENGTH(efs); i++)
		{
			GraphEffort effort = {.ef = efs[i]};
			int			late;

			snprintf(what, sizeof(what), "ef %d", efs[i]);
			late = stream_all(graph, search, 1 + round, &effort, what);
			if (efs[i] >= graph->n)
				CHECK(late == 0, "an ef beyond the graph is not in order");
		}
		for (int i = 0; i < LENGTH(gammas); i++)
		{
			GraphEffort effort = {.gamma = gammas[i],.cap = round & 4 ? 30 : 100000};

			snprintf(what, sizeof(what), "gamma %g", gammas[i]);
			stream_all(graph, search, 1 + round, &effort, what);
		}
		graph_search_free(search);
		graph_drop(graph);
	}
	report("every node that can be reached is handed out once");
}

/* Fixed ef: when a node is handed out, the ef nearest candidates met are visited. */
static void
test_large_ef(void)
{
	Graph	   *graph = graph_random(20000, 12, 0.1f, false);
	GraphSearch *search = search_make(graph, LARGE);
	static const int efs[] = {100, 1024, 1500, 3000, 8000};

	for (int i = 0; i < LENGTH(efs); i++)
	{
		GraphEffort effort = {.ef = efs[i]};
		uint64_t	node;
		uint32_t	ordinal;
		float		distance;
		bool		ordered;
		float	   *met = allocate(sizeof(float) * graph->n);
		float		unvisited = INFINITY;
		int			nearer = 0;

		graph_forget(graph);
		graph_search_begin(search, &effort);
		start_some(search, graph, 3);
		graph_search_next(search, &node, &ordinal, &distance, &ordered);
		for (int j = 0; j < graph->n; j++)
			met[j] = NAN;
		for (int j = 0; j < 3; j++)
			met[j * (graph->n / 3)] = graph->distances[j * (graph->n / 3)];
		for (int v = 0; v < graph->order; v++)
			for (int e = 0; e < graph->degree; e++)
			{
				int			edge = graph->visit_order[v] * graph->degree + e;

				if (graph->edges[edge] >= 0)
					met[graph->edges[edge]] = graph->estimates[edge];
			}
		for (int j = 0; j < graph->n; j++)
			if (met[j] < unvisited && !graph->visited[j])
				unvisited = met[j];
		for (int j = 0; j < graph->n; j++)
			nearer += met[j] < unvisited;
		CHECK(nearer >= efs[i], "ef %d: only the nearest %d visited", efs[i], nearer);
		CHECK(graph->order < efs[i] * 1.3 + 60, "ef %d: %d visits", efs[i], graph->order);
		free(met);
	}
	graph_search_free(search);
	graph_drop(graph);
	report("fixed ef of any size: the ef nearest candidates are visited, and few more");
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* The k-th least distance of the first n nodes visited, or INFINITY. */
static float
kth_visited(const Graph *graph, int n, int k)
{
	float	   *distances = allocate(sizeof(float) * (n + 1));
	float		kth;

	for (int i = 0; i < n; i++)
		distances[i] = graph->distances[graph->visit_order[i]];
	qsort(distances, n, sizeof(float), compare_floats);
	kth = n < k ? INFINITY : distances[k - 1];
	free(distances);
	return kth;
}

static void
test_gamma(void)
{
	static const float gammas[] = {1.0f, 1.05f, 1.3f, 2.0f, 1.1f};
	static const float floors[] = {0, 0, -3, 0, -1000};

	for (int round = 0; round < 10; round++)
	{
		Graph	   *graph = graph_random(5000, 12, 0.1f, false);
		GraphSearch *search = search_make(graph, LARGE);
		float	   *met = allocate(sizeof(float) * graph->n);
		int			g = round % LENGTH(gammas);
		GraphEffort effort = {.gamma = gammas[g],.floor = floors[g],.cap = 100000,.hold_back = round >= 5};
		uint64_t	node;
		uint32_t	ordinal;
		float		distance;
		bool		ordered;
		int			done = 0;
		int			last_order = 0;
		int			k = 10;

		for (int j = 0; j < graph->n; j++)
			met[j] = INFINITY;
		for (int j = 0; j < 3; j++)
			met[j * (graph->n / 3)] = graph->distances[j * (graph->n / 3)];
		graph_search_begin(search, &effort);
		start_some(search, graph, 3);
		for (int handed = 0; handed < 300; handed++)
		{
			float		unvisited = INFINITY;
			float		before = INFINITY;
			float		kth;
			float		radius;

			if (!graph_search_next(search, &node, &ordinal, &distance, &ordered))
				break;
			for (; done < graph->order; done++)
			{
				/* before the last visit the search was right to go on */
				if (done == graph->order - 1)
					for (int j = 0; j < graph->n; j++)
						if (met[j] < before && (!graph->visited[j] || j == graph->visit_order[done]))
							before = met[j];
				for (int e = 0; e < graph->degree; e++)
				{
					int			edge = graph->visit_order[done] * graph->degree + e;

					if (graph->edges[edge] >= 0)
						met[graph->edges[edge]] = graph->estimates[edge];
				}
			}
			for (int j = 0; j < graph->n; j++)
				if (met[j] < unvisited && !graph->visited[j])
					unvisited = met[j];
			while (handed >= (effort.hold_back && k > 10 ? k / 3 * 2 + 4 : k + k / 4))
				k *= 2;
			kth = kth_visited(graph, graph->order, k);
			CHECK(isinf(unvisited) ||
				  unvisited - effort.floor > effort.gamma * (kth - effort.floor) - 1e-3 * effort.gamma,
				  "gamma %g: handed out with %g unvisited, the %d-th best %g", effort.gamma, unvisited, k, kth);
			radius = graph_search_radius(search);
			/* k may be greater with a small gamma, see below, and stays when all was visited */
			CHECK(isinf(kth) ? isinf(radius) : isinf(unvisited) || radius >= kth,
				  "gamma %g: radius %g, the %d-th best %g", effort.gamma, radius, k, kth);
			if (!isinf(kth) && !isinf(unvisited) && effort.gamma >= 1.1f)
				CHECK(fabsf(radius - effort.floor - effort.gamma * (kth - effort.floor)) <= 1e-3 * effort.gamma,
					  "gamma %g: radius %g, the %d-th best %g", effort.gamma, radius, k, kth);
			/* with a small gamma all that was visited may be handed out, and k doubles early */
			if (graph->order > last_order && effort.gamma >= 1.1f)
			{
				kth = kth_visited(graph, graph->order - 1, k);
				CHECK(before - effort.floor <= effort.gamma * (kth - effort.floor) + 1e-3 * effort.gamma,
					  "gamma %g: not handed out with %g unvisited, the %d-th best %g", effort.gamma, before, k, kth);
			}
			last_order = graph->order;
		}
		free(met);
		graph_search_free(search);
		graph_drop(graph);
	}
	report("gamma: the k nearest handed out as soon as the nearest unvisited estimate is beyond");
}

static void
test_cap(void)
{
	Graph	   *graph = graph_random(5000, 12, 0.1f, false);
	GraphSearch *search = search_make(graph, LARGE);
	GraphEffort effort = {.gamma = INFINITY,.cap = 50};
	uint64_t	node;
	uint32_t	ordinal;
	float		distance;
	bool		ordered;

	graph_search_begin(search, &effort);
	start_some(search, graph, 3);
	for (int i = 1; i <= 400; i++)
	{
		CHECK(graph_search_next(search, &node, &ordinal, &distance, &ordered), "ended");
		CHECK(graph->order <= 5 * (i < 10 ? 10 : i), "%d visits for %d", graph->order, i);
		CHECK(graph->order >= 5 * (i < 10 ? 10 : i), "only %d visits for %d", graph->order, i);
	}
	graph_search_free(search);
	graph_drop(graph);
	report("cap on visits, in proportion to what was handed out");
}

static void
test_memory(void)
{
	static const size_t limits[] = {0, 1000, 65536, 100000, 200000, 1 << 20, 1 << 21};
	Graph	   *graph = graph_random(30000, 16, 0.1f, true);

	for (int i = 0; i < LENGTH(limits); i++)
	{
		for (int mode = 0; mode < 3; mode++)
		{
			GraphSearch *search = search_make(graph, limits[i]);
			GraphEffort effort = {.ef = mode == 2 ? 20000 : mode * 40,.gamma = 1.1f,.cap = 1000000};
			uint64_t	node;
			uint32_t	ordinal;
			float		distance;
			float		before = 0;
			bool		ordered;
			int			found = 0;

			for (int again = 0; again < 2; again++)
			{
				graph_forget(graph);
				graph_search_begin(search, &effort);
				start_some(search, graph, 5);
				for (found = 0; graph_search_next(search, &node, &ordinal, &distance, &ordered); found++)
				{
					CHECK(ordered == (distance >= before), "order is wrong");
					if (ordered)
						before = distance;
				}
				before = 0;
				CHECK(found == graph->order, "%d handed out of %d", found, graph->order);
			}
			CHECK(!graph_search_complete(search) || found > 29000, "complete with %d of %d", found, graph->n);
			CHECK(graph->counted.peak <= limits[i] || limits[i] < 65536, "%zu bytes of %zu", graph->counted.peak, limits[i]);
			CHECK(limits[i] < 200000 || found >= (int) (limits[i] / 2000), "%d found with %zu bytes", found, limits[i]);
			graph_search_free(search);
			graph->counted.peak = 0;
		}
	}
	graph_drop(graph);
	report("memory is bounded; what was found is handed out");
}

static void
test_costly(void)
{
	Graph	   *graph = graph_random(6000, 8, 0.1f, true);
	GraphMemory memory = {counted_alloc, counted_release, &graph->counted};
	GraphReader reader = {graph_visit, NULL, graph,.costly = true};
	GraphSearch *search = graph_search_create(&memory, &reader, LARGE);
	GraphEffort fixed = {.ef = 40};
	GraphEffort adaptive = {.gamma = 1.2f,.cap = 1000};

	graph->search = search;
	stream_all(graph, search, 2, &fixed, "fixed");
	stream_all(graph, search, 2, &adaptive, "adaptive");
	for (int i = 0; i < graph->n; i++)
		CHECK(graph_search_knows(search, number(i)) == (graph->visited[i] > 0), "does not know %d", i);
	CHECK(!graph_search_knows(search, 0), "knows 0");
	graph_search_free(search);
	graph_drop(graph);
	report("a reader may leave out what the search knows");
}

/* visit(), interrupt() and alloc() may jump away; the search can begin anew. */
static void
test_jumps(void)
{
	Graph	   *graph = graph_random(3000, 8, 0.1f, true);
	volatile int jumps = 0;

	for (int i = 1; i < 60; i++)
	{
		GraphSearch *search = search_make(graph, LARGE);
		GraphEffort effort = {.ef = i % 2 ? 40 : 0,.gamma = 1.2f,.cap = 1000};
		uint64_t	node;
		uint32_t	ordinal;
		float		distance;
		bool		ordered;

		if (setjmp(graph->jump) == 0 && setjmp(graph->counted.jump) == 0)
		{
			if (i % 3)
				graph->jump_at = i;
			else
				graph->counted.until_jump = i / 3;
			graph_forget(graph);
			graph_search_begin(search, &effort);
			start_some(search, graph, 2);
			while (graph_search_next(search, &node, &ordinal, &distance, &ordered))
				;
		}
		else
			jumps++;
		graph->jump_at = graph->counted.until_jump = 0;
		stream_all(graph, search, 2, &effort, "after a jump");
		graph_search_free(search);
	}
	CHECK(jumps > 50, "only %d jumps", jumps);
	graph_drop(graph);
	report("a search that was left can begin anew");
}

/* ---------------------------------------------------------------- hostile graphs */

typedef struct Hostile
{
	int			kind;
	int			visits;
	Counted		counted;
} Hostile;

static int
hostile_visit(void *arg, uint64_t node, uint64_t next,
			  float *distance, uint64_t *neighbours, float *estimates)
{
	Hostile    *hostile = arg;
	static const float odd[] = {NAN, -INFINITY, INFINITY, 0, -0.0f, 1, -1, 3e38f, -3e38f};
	int			n = 0;

	hostile->visits++;
	*distance = odd[node % LENGTH(odd)];
	switch (hostile->kind)
	{
		case 0:					/* only itself */
			for (; n < GRAPH_MAX_DEGREE; n++)
			{
				neighbours[n] = node;
				estimates[n] = -INFINITY;
			}
			return n;
		case 1:					/* gone */
			return -1;
		case 2:					/* duplicates and cycles, any estimate */
		case 3:
		case 4:
		case 5:
			for (; n < GRAPH_MAX_DEGREE; n++)
			{
				neighbours[n] = 1 + (node * 7 + n / 8) % 997;
				estimates[n] = hostile->kind == 2 ? NAN : hostile->kind == 3 ? -INFINITY :
					hostile->kind == 4 ? INFINITY : odd[(node + n) % LENGTH(odd)];
			}
			return n;
		case 6:					/* node 0 */
			neighbours[0] = 0;
			estimates[0] = -1;
			neighbours[1] = node % 50 + 1;
			estimates[1] = 0;
			return 2;
		case 7:					/* no neighbours */
			return 0;
		case 8:					/* numbers that collide in any hash of low or high bits */
			for (; n < 64; n++)
			{
				neighbours[n] = ((node >> 32 ^ n * UINT64_C(2654435761)) % 1000 + 1) << 32;
				estimates[n] = (float) n;
			}
			return n;
		default:				/* greatest numbers */
			for (; n < 64; n++)
			{
				neighbours[n] = UINT64_MAX - (node * 3 + n) % 1000;
				estimates[n] = (float) n;
			}
			return n;
	}
}

static void
test_hostile(void)
{
	static const int efs[] = {1, 10, 1000, 5000, INT32_MAX, 0, 0, 0, 0};
	static const float gammas[] = {0, 0, 0, 0, 0, 1, NAN, INFINITY, -1};

	for (int kind = 0; kind < 10; kind++)
	{
		Hostile		hostile = {kind};
		GraphMemory memory = {counted_alloc, counted_release, &hostile.counted};
		GraphReader reader = {hostile_visit, NULL, &hostile};
		GraphSearch *search = graph_search_create(&memory, &reader, 1 << 22);
		int			visits = 0;

		for (int i = 0; i < LENGTH(efs); i++)
		{
			GraphEffort effort = {.ef = efs[i],.gamma = gammas[i],.floor = i == 8 ? -INFINITY : 0,.cap = 100000};
			uint64_t	node;
			uint32_t	ordinal;
			float		distance;
			float		before = -INFINITY;
			bool		ordered;
			int			found = 0;
			bool		nan = false;

			hostile.visits = 0;
			graph_search_begin(search, &effort);
			for (int j = 0; j < 3; j++)
			{
				graph_search_start(search, 5, NAN);
				graph_search_start(search, 77, -INFINITY);
				graph_search_start(search, 0, 1);
			}
			while (graph_search_next(search, &node, &ordinal, &distance, &ordered))
			{
				found++;
				CHECK(distance != INFINITY, "an infinite distance handed out");
				if (ordered)
				{
					CHECK(nan ? distance != distance : !(distance < before), "order is wrong");
					nan |= distance != distance;
					before = distance;
				}
			}
			CHECK(graph_search_complete(search), "not complete");
			CHECK(hostile.visits <= 1003, "%d visits", hostile.visits);
			/* the same nodes, whatever the effort */
			if (i > 0)
				CHECK(visits == hostile.visits, "kind %d: %d visits, then %d", kind, visits, hostile.visits);
			visits = hostile.visits;
			CHECK(kind == 1 ? found == 0 : found > 0, "%d found", found);
		}
		graph_search_free(search);
		CHECK(hostile.counted.blocks == 0, "memory not released");
	}
	report("hostile graphs end, and are searched whole");
}

static void
test_nothing(void)
{
	Graph	   *graph = graph_random(100, 4, 0.1f, false);
	GraphSearch *search = search_make(graph, LARGE);
	GraphEffort effort = {.ef = 10};
	uint64_t	node;
	uint32_t	ordinal;
	float		distance;
	bool		ordered;

	CHECK(!graph_search_next(search, &node, &ordinal, &distance, &ordered), "found before it began");
	CHECK(!graph_search_knows(search, 5), "knows something");
	graph_search_begin(search, &effort);
	CHECK(!graph_search_next(search, &node, &ordinal, &distance, &ordered), "found without a start");
	CHECK(graph_search_complete(search), "not complete");
	effort.ef = 0;
	graph_search_begin(search, &effort);
	CHECK(!graph_search_next(search, &node, &ordinal, &distance, &ordered), "found without a start");
	CHECK(graph_search_complete(search), "not complete");
	graph_search_free(search);
	graph_drop(graph);
	report("a search without a start finds nothing");
}

static void
test_many(void)
{
	Graph	   *graph = graph_random(100000, 10, 0.1f, true);
	GraphSearch *search = search_make(graph, LARGE);
	GraphEffort small = {.ef = 40};
	GraphEffort large = {.ef = 1000000};
	GraphEffort adaptive = {.gamma = 1.1f,.cap = 1000};

	stream_all(graph, search, 10, &small, "small");
	CHECK(stream_all(graph, search, 10, &large, "large") == 0, "not in order");
	stream_all(graph, search, 10, &adaptive, "adaptive");
	CHECK(graph->counted.peak < 128 * 100000, "%zu bytes", graph->counted.peak);
	graph_search_free(search);
	graph_drop(graph);
	report("100,000 nodes");
}

int
main(void)
{
	test_nothing();
	test_fixed();
	test_stream();
	test_large_ef();
	test_gamma();
	test_cap();
	test_memory();
	test_costly();
	test_jumps();
	test_hostile();
	test_many();
	printf("1..%d\n", tests);
	return failures > 0;
}
