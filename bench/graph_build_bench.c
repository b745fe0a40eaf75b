/*-------------------------------------------------------------------------
 *
 * graph_build_bench.c
 *	  Time of a graph build in memory, and what the graph is worth.
 *
 *	make bench-graph-build, or
 *	cc -O2 -ffp-contract=off -Isrc bench/graph_build_bench.c src/kernel/[a-z]*.c \
 *		src/graph/[a-z]*.c -lm -lpthread -o graph_build_bench
 *	graph_build_bench [-d DEGREE] [-w WINDOW] [-a ALPHA] [-p PARTICIPANTS] [-n ROWS]
 *					  [-g GRAPH] [-q QUERIES] [-Q NUMBER] [-m] [FILE DIM]
 *
 * FILE and QUERIES hold rows of DIM floats, nothing else; without FILE 30,000
 * clustered rows of 128 are made, without QUERIES some rows are held back.
 * -m subtracts the mean of all rows first.
 * The graph is judged by a plain best-first search on exact distances from the
 * nearest four of 200 random nodes: recall@10 and the number of distances.
 * -g takes a graph from elsewhere instead (graph_build_hnswlib.py makes one):
 * uint32 rows, uint32 slots, then slots uint32 for each row, UINT32_MAX where
 * there is no edge.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "graph_build_bench"
#include "rows.h"

#include "graph/build.h"
#include "kernel/kernel.h"

#define MAX_PARTICIPANTS	64
#define ENTRIES		200
#define STARTS		4
#define TOP			10
#define MAX_EF		400

typedef struct Graph
{
	uint32_t	n;
	uint32_t	slots;
	uint32_t   *edges;			/* n * slots, UINT32_MAX: none */
} Graph;

typedef struct Participant
{
	void	   *mem;
	void	   *scratch;
	const float *rows;
	int			number;
	int			participants;
	uint32_t	n;
	int			dim;
	pthread_t	thread;
} Participant;

static pthread_barrier_t barrier;
static double added;			/* when all nodes were */

static uint64_t random_state = 42;

static uint64_t
random_next(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return random_state >> 11;
}

static float
gaussian(void)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double) random_next() / 9007199254740992.0;
	return (float) (sum - 6);
}

/* 300 centres, each row one plus half as much noise. */
static float *
clustered_rows(uint32_t n, int dim)
{
	int			centres = 300;
	float	   *centre = allocate(sizeof(float) * centres * dim);
	float	   *rows = allocate(sizeof(float) * n * dim);

	for (int i = 0; i < centres * dim; i++)
		centre[i] = gaussian();
	for (uint32_t i = 0; i < n; i++)
	{
		int			c = (int) (random_next() % centres);

		for (int d = 0; d < dim; d++)
			rows[(size_t) i * dim + d] = centre[c * dim + d] + 0.5f * gaussian();
	}
	free(centre);
	return rows;
}

static void
read_graph(const char *path, Graph *graph)
{
	FILE	   *file = fopen(path, "rb");
	uint32_t	head[2];

	if (file == NULL || fread(head, sizeof(head), 1, file) != 1)
	{
		fprintf(stderr, "graph_build_bench: could not read \"%s\"\n", path);
		exit(1);
	}
	graph->n = head[0];
	graph->slots = head[1];
	graph->edges = allocate(sizeof(uint32_t) * graph->n * graph->slots);
	if (fread(graph->edges, sizeof(uint32_t) * graph->slots, graph->n, file) != graph->n)
	{
		fprintf(stderr, "graph_build_bench: \"%s\" is too short\n", path);
		exit(1);
	}
	fclose(file);
}

static void *
participate(void *arg)
{
	Participant *me = arg;

	/* the order of numbers must be that of rows: one adds them */
	if (me->number == 0)
	{
		for (uint32_t i = 0; i < me->n; i++)
			graph_build_add(me->mem, me->rows + (size_t) i * me->dim);
		added = seconds(CLOCK_MONOTONIC);
	}
	pthread_barrier_wait(&barrier);
	graph_build_run(me->mem, me->number, me->scratch, NULL, NULL, NULL);
	return NULL;
}

static void
build(const GraphBuildParams *params, const float *rows, Graph *graph)
{
	Participant all[MAX_PARTICIPANTS];
	size_t		size = graph_build_size(params);
	void	   *mem = allocate(size);
	double		start,
				end,
				cpu;
	uint32_t	neighbours[256];
	bool		is_protected[256];
	uint32_t	roots = 0;
	uint32_t	greatest_rank = 0;
	uint64_t	edges = 0;

	memset(mem, 0, size);		/* page faults come before the clock */
	pthread_barrier_init(&barrier, NULL, (unsigned) params->participants);
	start = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	graph_build_init(mem, params);
	for (int p = 0; p < params->participants; p++)
	{
		all[p].mem = mem;
		all[p].scratch = allocate(graph_build_scratch_size(params));
		all[p].rows = rows;
		all[p].number = p;
		all[p].n = params->capacity;
		all[p].dim = params->dim;
		if (p > 0 && pthread_create(&all[p].thread, NULL, participate, &all[p]) != 0)
		{
			fprintf(stderr, "graph_build_bench: could not start a thread\n");
			exit(1);
		}
	}
	participate(&all[0]);
	for (int p = 1; p < params->participants; p++)
		pthread_join(all[p].thread, NULL);
	end = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;

	graph->n = params->capacity;
	graph->slots = (uint32_t) params->degree;
	graph->edges = allocate(sizeof(uint32_t) * graph->n * graph->slots);
	for (uint32_t i = 0; i < graph->n; i++)
	{
		uint32_t	rank = graph_build_rank(mem, i);
		int			count = graph_build_neighbours(mem, i, neighbours, is_protected);

		greatest_rank = rank > greatest_rank ? rank : greatest_rank;
		roots += graph_build_is_root(mem, i);
		edges += count;
		for (int j = 0; j < params->degree; j++)
			graph->edges[(size_t) i * graph->slots + j] = j < count ? neighbours[j] : UINT32_MAX;
	}
	printf("level=%s rows=%u dim=%d degree=%d window=%d alpha=%g participants=%d "
		   "add=%.2f wall=%.2f cpu=%.2f us_row_cpu=%.1f edges=%.2f roots=%u rank=%u bytes_row=%.1f\n",
		   kernel->name, graph->n, params->dim, params->degree, params->window, params->alpha,
		   params->participants, added - start, end - start, cpu, cpu * 1e6 / graph->n,
		   (double) edges / graph->n, roots, greatest_rank, (double) size / graph->n);
	for (int p = 0; p < params->participants; p++)
		free(all[p].scratch);
	free(mem);
}

typedef struct Candidate
{
	float		distance;
	uint32_t	node;
	bool		expanded;
} Candidate;

static int
offer(Candidate *list, int *n, int max, float distance, uint32_t node)
{
	int			i;

	if (*n == max && distance >= list[max - 1].distance)
		return max;
	if (*n == max)
		(*n)--;
	for (i = (*n)++; i > 0 && list[i - 1].distance > distance; i--)
		list[i] = list[i - 1];
	list[i].distance = distance;
	list[i].node = node;
	list[i].expanded = false;
	return i;
}

static uint64_t
plain_search(const Graph *graph, const float *rows, int dim, const float *query,
			 const uint32_t *entries, int ef, uint32_t *met, uint32_t stamp, Candidate *list)
{
	int			n = 0;
	int			at = 0;
	uint64_t	distances = 0;

	for (int i = 0; i < ENTRIES; i++)
		if (met[entries[i]] != stamp)
		{
			met[entries[i]] = stamp;
			offer(list, &n, STARTS, kernel->l2sq(query, rows + (size_t) entries[i] * dim, dim),
				  entries[i]);
		}
	for (int i = 0; i < ENTRIES; i++)
		met[entries[i]] = 0;
	for (int i = 0; i < n; i++)
		met[list[i].node] = stamp;
	n = n > ef ? ef : n;
	while (at < n)
	{
		const uint32_t *edges = graph->edges + (size_t) list[at].node * graph->slots;

		if (list[at].expanded)
		{
			at++;
			continue;
		}
		list[at++].expanded = true;
		for (uint32_t i = 0; i < graph->slots && edges[i] != UINT32_MAX; i++)
		{
			int			place;

			if (met[edges[i]] == stamp)
				continue;
			met[edges[i]] = stamp;
			distances++;
			place = offer(list, &n, ef, kernel->l2sq(query, rows + (size_t) edges[i] * dim, dim),
						  edges[i]);
			at = place < at ? place : at;
		}
	}
	while (n < TOP)
	{
		list[n].distance = INFINITY;
		list[n++].node = UINT32_MAX;
	}
	return distances;
}

static void
judge(const Graph *graph, const float *rows, int dim, const float *queries, int nq)
{
	static const int efs[] = {10, 15, 20, 30, 40, 60, 80, 120, 200, 400};
	float	   *bounds = allocate(sizeof(float) * nq);
	float	   *all = allocate(sizeof(float) * graph->n);
	uint32_t   *met = calloc(graph->n, sizeof(uint32_t));
	uint32_t	entries[ENTRIES];
	Candidate	list[MAX_EF + 1];
	uint32_t	stamp = 0;

	/* the true 10th distance of each query; what is no farther is a hit */
	for (int q = 0; q < nq; q++)
	{
		int			n = 0;

		kernel->l2sq_rows(queries + (size_t) q * dim, rows, sizeof(float) * dim, graph->n, dim, all);
		for (uint32_t i = 0; i < graph->n; i++)
			offer(list, &n, TOP, all[i], i);
		bounds[q] = list[n - 1].distance;
	}
	for (int i = 0; i < ENTRIES; i++)
		entries[i] = (uint32_t) (random_next() % graph->n);
	for (size_t e = 0; e < sizeof(efs) / sizeof(efs[0]); e++)
	{
		uint64_t	distances = 0;
		uint64_t	hits = 0;

		for (int q = 0; q < nq; q++)
		{
			distances += plain_search(graph, rows, dim, queries + (size_t) q * dim, entries,
									  efs[e], met, ++stamp, list);
			for (int i = 0; i < TOP; i++)
				hits += list[i].distance <= bounds[q];
		}
		printf("ef=%d recall=%.4f distances=%.0f\n", efs[e], (double) hits / nq / TOP,
			   (double) distances / nq);
	}
	free(bounds);
	free(all);
	free(met);
}

int
main(int argc, char **argv)
{
	GraphBuildParams params = {.degree = 32,.window = 200,.alpha = 1.1f,.seed = 1,.participants = 1};
	const char *graph_path = NULL;
	const char *query_path = NULL;
	bool		centre = false;
	uint32_t	wanted = 0;
	uint32_t	nq = 1000;
	int			in_file;
	uint32_t	n = 31000;
	float	   *rows;
	float	   *queries;
	Graph		graph;
	int			option;

	params.dim = 128;
	while ((option = getopt(argc, argv, "d:w:a:p:n:g:q:Q:r:m")) != -1)
		switch (option)
		{
			case 'd':
				params.degree = atoi(optarg);
				break;
			case 'w':
				params.window = atoi(optarg);
				break;
			case 'a':
				params.alpha = (float) atof(optarg);
				break;
			case 'p':
				params.participants = atoi(optarg);
				break;
			case 'n':
				wanted = (uint32_t) atol(optarg);
				break;
			case 'g':
				graph_path = optarg;
				break;
			case 'q':
				query_path = optarg;
				break;
			case 'Q':
				nq = (uint32_t) atol(optarg);
				break;
			case 'r':
				params.seed = (uint64_t) atoll(optarg);
				break;
			case 'm':
				centre = true;
				break;
			default:
				return 2;
		}
	if (argc - optind == 2)
		params.dim = atoi(argv[optind + 1]);
	if ((argc != optind && argc - optind != 2) || params.dim < 1 || params.participants < 1 ||
		params.participants > MAX_PARTICIPANTS)
	{
		fprintf(stderr, "usage: graph_build_bench [-d DEGREE] [-w WINDOW] [-a ALPHA] [-p PARTICIPANTS] "
				"[-n ROWS] [-g GRAPH] [-q QUERIES] [-Q NUMBER] [-m] [FILE DIM]\n");
		return 2;
	}
	kernel_init();
	if (argc == optind)
		rows = clustered_rows(n, params.dim);
	else
	{
		rows = read_rows(argv[optind], params.dim, &in_file);
		n = (uint32_t) in_file;
	}
	if (query_path)
	{
		queries = read_rows(query_path, params.dim, &in_file);
		nq = nq < (uint32_t) in_file ? nq : (uint32_t) in_file;
	}
	else
	{
		nq = nq < n / 2 ? nq : n / 2;
		n -= nq;
		queries = rows + (size_t) n * params.dim;
	}
	n = wanted > 0 && wanted < n ? wanted : n;
	if (centre)
		for (int d = 0; d < params.dim; d++)
		{
			double		sum = 0;

			for (uint32_t i = 0; i < n; i++)
				sum += rows[(size_t) i * params.dim + d];
			sum /= n;
			for (uint32_t i = 0; i < n; i++)
				rows[(size_t) i * params.dim + d] -= (float) sum;
			for (uint32_t i = 0; i < nq; i++)
				queries[(size_t) i * params.dim + d] -= (float) sum;
		}
	params.capacity = n;
	if (graph_path)
		read_graph(graph_path, &graph);
	else
		build(&params, rows, &graph);
	if (graph.n != n)
	{
		fprintf(stderr, "graph_build_bench: a graph of %u rows for %u\n", graph.n, n);
		return 1;
	}
	judge(&graph, rows, params.dim, queries, (int) nq);
	return 0;
}
