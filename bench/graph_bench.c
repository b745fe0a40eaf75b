/*-------------------------------------------------------------------------
 *
 * graph_bench.c
 *	  The search of src/graph over an array in memory: what the index could do
 *	  if pages, locks and SQL cost nothing.
 *
 *	make bench-graph ARGS="ROWS.npy QUERIES.npy", or
 *	cc -O2 -ffp-contract=off -Isrc bench/graph_bench.c src/kernel/[a-z]*.c src/quant/[a-z]*.c \
 *		src/graph/[a-z]*.c -lm -lpthread -o graph_bench
 *	graph_bench [-u] [-b BITS] [-d DEGREE] [-w WINDOW] [-a ALPHA] [-p PARTICIPANTS]
 *				[-g GRAPH] [-i IMAGE] [-E ENTRIES] [-s STARTS] [-e EF,EF...] [-m GAMMA,GAMMA...] [-c CAP]
 *				[-r REPEATS] [-l LEVEL] [-P PORTIONS] [-t] [-H] ROWS QUERIES [DIM]
 *
 * ROWS and QUERIES are .npy files of float16 or float32, or plain floats, DIM a
 * row.  -u: unit vectors (cosine).  The graph is built, or read from GRAPH, or
 * built and written there if there is no such file: uint32 rows, uint32 slots,
 * then slots uint32 for each row, UINT32_MAX where there is no edge.
 * IMAGE likewise keeps the nodes and the true answers, for many runs with the same
 * data and options.
 *
 * Nodes are the records of the index, on pages of 8 kB: head of 40 bytes, own
 * vector in half precision, factors, 6-byte links, codes.  Each query is
 * rotated, quantised, compared with the entry table, and searched; then 10 nodes are
 * asked for.  One thread; the time is of the processor, in the best of REPEATS passes over
 * all queries.
 *
 * ns a hop is the search alone, entry table included.  With -t it is split by the time
 * stamp counter, which costs some 15 ns for each part.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "graph/build.h"
#include "graph/search.h"
#include "kernel/kernel.h"
#include "quant/rabitq.h"
#include "quant/random.h"
#include "quant/rotation.h"

#define PAGE_SIZE		8192
#define PAGE_HEAD		24
#define PAGE_TAIL		16
#define NODE_HEAD		40
#define TOP				10
#define MAX_STEPS		32
#define MAX_PARTICIPANTS 64
#define MAX_STARTS		64

typedef struct Link
{
	uint16_t	part[3];		/* block high, block low, offset */
} Link;

/* What all searches share. */
typedef struct Index
{
	int			n;
	int			dim;
	int			padded;
	int			bits;
	int			slots;
	size_t		code_size;
	size_t		node_size;
	int			per_page;
	char	   *pages;
	int			entries;
	uint64_t   *entry_nodes;
	RabitqFactor *entry_factors;
	uint8_t    *entry_codes;
	int			portions;		/* in which a node is prefetched; 0: not */
} Index;

typedef struct Reader
{
	const Index *index;
	const float *query;			/* rotated */
	RabitqQuery codes;
	uint64_t	ticks[4];		/* links and prefetch, distance, estimates; all of visit */
	uint64_t	estimates;
} Reader;

static double
seconds(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *
allocate(size_t size)
{
	void	   *memory = NULL;

	if (size == SIZE_MAX || posix_memalign(&memory, 4096, size + 64) != 0)
	{
		fprintf(stderr, "graph_bench: no memory for %zu bytes\n", size);
		exit(1);
	}
	return memory;
}

static void
fail(const char *what, const char *path)
{
	fprintf(stderr, "graph_bench: %s \"%s\"\n", what, path);
	exit(1);
}

/* ---------------------------------------------------------------- input */

/* Rows of a .npy file (float16, float32), or of plain floats if *dim is given. */
static float *
read_rows(const char *path, int *n, int *dim)
{
	FILE	   *file = fopen(path, "rb");
	unsigned char head[12] = {0};
	float	   *rows;
	bool		half = false;
	int			columns;
	long		start = 0;
	long		size;

	if (file == NULL)
		fail("could not open", path);
	if (fread(head, 1, 10, file) == 10 && memcmp(head, "\x93NUMPY", 6) == 0)
	{
		char		text[1024] = {0};
		size_t		length = head[8] | head[9] << 8;
		const char *shape;

		if (length >= sizeof(text) || fread(text, 1, length, file) != length)
			fail("could not read the head of", path);
		half = strstr(text, "<f2") != NULL;
		shape = strstr(text, "'shape': (");
		if ((!half && strstr(text, "<f4") == NULL) || shape == NULL ||
			sscanf(shape, "'shape': (%d, %d)", n, &columns) != 2)
			fail("not two-dimensional float16 or float32:", path);
		if (*dim > 0 && *dim != columns)
			fail("another number of dimensions in", path);
		*dim = columns;
		start = 10 + (long) length;
	}
	else
	{
		fseek(file, 0, SEEK_END);
		size = ftell(file);
		if (*dim < 1 || size < 1)
			fail("neither .npy nor a number of dimensions given:", path);
		*n = (int) (size / (long) sizeof(float) / *dim);
	}
	fseek(file, start, SEEK_SET);
	rows = allocate(sizeof(float) * *n * *dim);
	if (half)
	{
		uint16_t   *halves = allocate(sizeof(uint16_t) * *dim);

		for (int i = 0; i < *n; i++)
		{
			if (fread(halves, sizeof(uint16_t), *dim, file) != (size_t) *dim)
				fail("could not read", path);
			kernel->half_unpack(halves, 1.0f, *dim, rows + (size_t) i * *dim);
		}
		free(halves);
	}
	else if (fread(rows, sizeof(float) * *dim, *n, file) != (size_t) *n)
		fail("could not read", path);
	fclose(file);
	return rows;
}

static void
make_unit(float *rows, int n, int dim)
{
	for (int i = 0; i < n; i++)
	{
		float	   *x = rows + (size_t) i * dim;
		double		norm = sqrt(kernel->normsq_double(x, dim));

		for (int d = 0; d < dim; d++)
			x[d] = (float) (x[d] / norm);
	}
}

/* The nearest TOP of each query, and the distance of the last. */
static void
find_truth(const float *rows, int n, const float *queries, int nq, int dim,
		   uint32_t *truth)
{
	float		distances[1024];

	for (int q = 0; q < nq; q++)
	{
		float		best[TOP];
		int			found = 0;

		for (int first = 0; first < n; first += 1024)
		{
			int			m = n - first < 1024 ? n - first : 1024;

			kernel->l2sq_rows(queries + (size_t) q * dim, rows + (size_t) first * dim,
							  sizeof(float) * dim, m, dim, distances);
			for (int i = 0; i < m; i++)
			{
				int			at;

				if (found == TOP && distances[i] >= best[TOP - 1])
					continue;
				at = found < TOP ? found++ : TOP - 1;
				for (; at > 0 && best[at - 1] > distances[i]; at--)
				{
					best[at] = best[at - 1];
					truth[q * TOP + at] = truth[q * TOP + at - 1];
				}
				best[at] = distances[i];
				truth[q * TOP + at] = (uint32_t) (first + i);
			}
		}
	}
}

/* ---------------------------------------------------------------- graph */

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

static void *
participate(void *arg)
{
	Participant *me = arg;

	graph_build_run(me->mem, me->number, me->scratch, NULL, NULL, NULL);
	return NULL;
}

static uint32_t *
build_graph(const float *rows, int n, int dim, int degree, int window, float alpha,
			int participants)
{
	GraphBuildParams params = {.capacity = (uint32_t) n,.dim = dim,.degree = degree,
		.window = window,.alpha = alpha,.seed = 1,.participants = participants};
	Participant who[MAX_PARTICIPANTS];
	void	   *mem = allocate(graph_build_size(&params));
	uint32_t   *edges = allocate(sizeof(uint32_t) * n * degree);
	bool		is_protected[GRAPH_MAX_DEGREE];
	double		start = seconds(CLOCK_MONOTONIC);

	graph_build_init(mem, &params);
	for (int i = 0; i < n; i++)
		graph_build_add(mem, rows + (size_t) i * dim);
	for (int p = 0; p < participants; p++)
	{
		who[p] = (Participant) {.mem = mem,.number = p,.scratch = allocate(graph_build_scratch_size(&params))};
		if (pthread_create(&who[p].thread, NULL, participate, &who[p]) != 0)
			fail("no thread", "");
	}
	for (int p = 0; p < participants; p++)
	{
		pthread_join(who[p].thread, NULL);
		free(who[p].scratch);
	}
	printf("# built in %.1f s, %d participants\n", seconds(CLOCK_MONOTONIC) - start, participants);
	memset(edges, 0xFF, sizeof(uint32_t) * n * degree);
	for (int i = 0; i < n; i++)
		graph_build_neighbours(mem, (uint32_t) i, edges + (size_t) i * degree, is_protected);
	free(mem);
	return edges;
}

static uint32_t *
read_graph(const char *path, int n, int *slots)
{
	FILE	   *file = fopen(path, "rb");
	uint32_t	head[2];
	uint32_t   *edges;

	if (file == NULL)
		return NULL;
	if (fread(head, sizeof(uint32_t), 2, file) != 2 || head[0] != (uint32_t) n ||
		head[1] < 1 || head[1] > GRAPH_MAX_DEGREE)
		fail("not a graph of these rows:", path);
	edges = allocate(sizeof(uint32_t) * n * head[1]);
	if (fread(edges, sizeof(uint32_t) * head[1], n, file) != (size_t) n)
		fail("could not read", path);
	fclose(file);
	*slots = (int) head[1];
	return edges;
}

static void
write_graph(const char *path, int n, int slots, const uint32_t *edges)
{
	FILE	   *file = fopen(path, "wb");
	uint32_t	head[2] = {(uint32_t) n, (uint32_t) slots};

	if (file == NULL || fwrite(head, sizeof(uint32_t), 2, file) != 2 ||
		fwrite(edges, sizeof(uint32_t) * slots, n, file) != (size_t) n || fclose(file) != 0)
		fail("could not write", path);
}

/* ---------------------------------------------------------------- nodes */

static inline uint64_t
node_number(const Index *index, uint32_t i)
{
	return (uint64_t) (i / index->per_page + 1) << 16 | (i % index->per_page + 1);
}

static inline uint32_t
node_row(const Index *index, uint64_t node)
{
	return (uint32_t) ((node >> 16) - 1) * index->per_page + (node & 0xFFFF) - 1;
}

static inline char *
node_address(const Index *index, uint64_t node)
{
	return index->pages + (node >> 16) * PAGE_SIZE + PAGE_HEAD +
		((node & 0xFFFF) - 1) * index->node_size;
}

static inline RabitqFactor *
node_factors(const Index *index, char *node)
{
	return (RabitqFactor *) (node + NODE_HEAD + sizeof(uint16_t) * index->padded);
}

static inline Link *
node_links(const Index *index, char *node)
{
	return (Link *) (node_factors(index, node) + index->slots);
}

static inline uint8_t *
node_codes(const Index *index, char *node)
{
	return (uint8_t *) (node_links(index, node) + index->slots);
}

/* In the head: neighbours at 12, scale at 16, as in the index. */
static inline int
node_neighbours(const char *node)
{
	uint16_t	n;

	memcpy(&n, node + 12, sizeof(n));
	return n;
}

static inline float
node_scale(const char *node)
{
	float		scale;

	memcpy(&scale, node + 16, sizeof(scale));
	return scale;
}

static inline uint64_t
link_node(const Link *link)
{
	return ((uint64_t) link->part[0] << 16 | link->part[1]) << 16 | link->part[2];
}

static size_t
pages_size(const Index *index)
{
	return ((size_t) index->n / index->per_page + 2) * PAGE_SIZE;
}

/* Sizes from n, padded, bits, slots; and the pages, empty. */
static void
make_pages(Index *index, bool huge)
{
	index->code_size = rabitq_code_size(index->padded, index->bits);
	index->node_size = (NODE_HEAD + sizeof(uint16_t) * index->padded +
						index->slots * (sizeof(RabitqFactor) + sizeof(Link) + index->code_size) + 7) / 8 * 8;
	index->per_page = (int) ((PAGE_SIZE - PAGE_HEAD - PAGE_TAIL) / index->node_size);
	if (index->per_page < 1)
		fail("a node does not fit a page with", "these settings");
	index->pages = mmap(NULL, pages_size(index), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (index->pages == MAP_FAILED)
		fail("no memory for", "pages");
#ifdef MADV_HUGEPAGE
	madvise(index->pages, pages_size(index), huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#endif
	index->entry_nodes = allocate(sizeof(uint64_t) * index->entries);
	index->entry_factors = allocate(sizeof(RabitqFactor) * index->entries);
	index->entry_codes = allocate(index->code_size * index->entries);
}

static void
fill_pages(Index *index, const float *rotated, const uint32_t *edges)
{
	for (int i = 0; i < index->n; i++)
	{
		char	   *node = node_address(index, node_number(index, (uint32_t) i));
		const float *own = rotated + (size_t) i * index->padded;
		float		scale;
		uint16_t	n = 0;

		kernel->half_pack(own, index->padded, (uint16_t *) (node + NODE_HEAD), &scale);
		memcpy(node + 16, &scale, sizeof(scale));
		for (int e = 0; e < index->slots; e++)
		{
			uint32_t	neighbour = edges[(size_t) i * index->slots + e];
			uint64_t	number;
			Link	   *link = &node_links(index, node)[n];

			if (neighbour == UINT32_MAX)
				continue;
			number = node_number(index, neighbour);
			link->part[0] = (uint16_t) (number >> 32);
			link->part[1] = (uint16_t) (number >> 16);
			link->part[2] = (uint16_t) number;
			rabitq_encode(rotated + (size_t) neighbour * index->padded, own, NULL, index->padded,
						  index->padded, index->bits, RABITQ_L2,
						  node_codes(index, node) + n * index->code_size,
						  &node_factors(index, node)[n]);
			n++;
		}
		memcpy(node + 12, &n, sizeof(n));
	}
}

static void
fill_entries(Index *index, const float *rotated)
{
	uint64_t	random = 7;
	float	   *zero = allocate(sizeof(float) * index->padded);

	memset(zero, 0, sizeof(float) * index->padded);
	for (int i = 0; i < index->entries; i++)
	{
		uint32_t	row = (uint32_t) random_below(&random, index->n);

		index->entry_nodes[i] = node_number(index, row);
		rabitq_encode(rotated + (size_t) row * index->padded, zero, NULL, index->padded, index->padded,
					  index->bits, RABITQ_L2, index->entry_codes + i * index->code_size, &index->entry_factors[i]);
	}
	free(zero);
}

static void
transfer(FILE *file, bool write, void *data, size_t size)
{
	if ((write ? fwrite(data, 1, size, file) : fread(data, 1, size, file)) != size)
		fail("could not read or write", "the image");
}

/* Write all that does not depend on how the search is done, or read it; false: no such file. */
static bool
transfer_image(const char *path, bool write, Index *index, uint32_t *truth, float *mean,
			   int nq, bool huge)
{
	FILE	   *file = fopen(path, write ? "wb" : "rb");
	int			head[6] = {index->n, index->padded, index->bits, index->slots, index->entries, nq};

	if (file == NULL)
		return false;
	transfer(file, write, head, sizeof(head));
	if (!write)
	{
		if (head[1] != index->padded || head[5] != nq)
			fail("of other data:", path);
		index->n = head[0];
		index->bits = head[2];
		index->slots = head[3];
		index->entries = head[4];
		make_pages(index, huge);
	}
	transfer(file, write, truth, sizeof(uint32_t) * nq * TOP);
	transfer(file, write, mean, sizeof(float) * index->dim);
	transfer(file, write, index->pages, pages_size(index));
	transfer(file, write, index->entry_nodes, sizeof(uint64_t) * index->entries);
	transfer(file, write, index->entry_factors, sizeof(RabitqFactor) * index->entries);
	transfer(file, write, index->entry_codes, index->code_size * index->entries);
	fclose(file);
	return true;
}

/* ---------------------------------------------------------------- search */

static inline uint64_t
ticks(bool timed)
{
#if defined(__x86_64__)
	return timed ? __rdtsc() : 0;
#else
	return timed ? (uint64_t) (seconds(CLOCK_MONOTONIC) * 1e9) : 0;
#endif
}

static inline __attribute__((always_inline)) void
prefetch(const char *from, const char *to)
{
	for (; from < to; from += 64)
		__builtin_prefetch(from, 0, 3);
}

static inline __attribute__((always_inline)) int
visit_node(void *arg, uint64_t id, uint64_t next, float *distance,
		   uint64_t *neighbours, float *estimates, bool timed)
{
	Reader	   *reader = arg;
	const Index *index = reader->index;
	char	   *node = node_address(index, id);
	const char *ahead = next ? node_address(index, next) : NULL;
	const char *third = ahead;
	const char *two_thirds = ahead;
	const char *end = ahead;
	uint64_t	t0 = ticks(timed);
	uint64_t	t1;
	uint64_t	t2;
	int			n = node_neighbours(node);
	const Link *links = node_links(index, node);

	if (ahead && index->portions > 0)
	{
		end = ahead + index->node_size;
		third = ahead + (index->portions < 3 ? index->node_size : index->node_size / 3);
		two_thirds = ahead + (index->portions < 3 ? index->node_size : index->node_size * 2 / 3);
	}
	prefetch(ahead, third);
	t1 = ticks(timed);
	*distance = kernel->l2sq_half(reader->query, (uint16_t *) (node + NODE_HEAD), node_scale(node), index->padded);
	prefetch(third, two_thirds);
	t2 = ticks(timed);
	for (int i = 0; i < n; i++)
		neighbours[i] = link_node(&links[i]);
	prefetch(two_thirds, end);
	rabitq_estimate(&reader->codes, *distance, node_codes(index, node), node_factors(index, node), n, estimates);
	if (timed)
	{
		uint64_t	t3 = ticks(timed);

		reader->ticks[0] += t1 - t0;
		reader->ticks[1] += t2 - t1;
		reader->ticks[2] += t3 - t2;
		reader->ticks[3] += t3 - t0;
		reader->estimates += n;
	}
	return n;
}

static int
visit(void *arg, uint64_t id, uint64_t next, float *distance,
	  uint64_t *neighbours, float *estimates)
{
	return visit_node(arg, id, next, distance, neighbours, estimates, false);
}

static int
visit_timed(void *arg, uint64_t id, uint64_t next, float *distance,
			uint64_t *neighbours, float *estimates)
{
	return visit_node(arg, id, next, distance, neighbours, estimates, true);
}

static void
start(GraphSearch *search, const Index *index, const Reader *reader, int starts)
{
	float		estimates[64];
	float		best[MAX_STARTS];
	int			which[MAX_STARTS];
	int			found = 0;
	float		base = kernel->normsq(reader->query, index->padded);

	for (int first = 0; first < index->entries; first += 64)
	{
		int			m = index->entries - first < 64 ? index->entries - first : 64;

		rabitq_estimate(&reader->codes, base, index->entry_codes + first * index->code_size,
						index->entry_factors + first, m, estimates);
		for (int i = 0; i < m; i++)
		{
			int			at;

			if (found == starts && estimates[i] >= best[starts - 1])
				continue;
			at = found < starts ? found++ : starts - 1;
			for (; at > 0 && best[at - 1] > estimates[i]; at--)
			{
				best[at] = best[at - 1];
				which[at] = which[at - 1];
			}
			best[at] = estimates[i];
			which[at] = first + i;
		}
	}
	for (int i = 0; i < found; i++)
		graph_search_start(search, index->entry_nodes[which[i]], best[i]);
}

static void *
plain_alloc(void *arg, size_t bytes)
{
	return allocate(bytes);
}

static void
plain_release(void *arg, void *mem)
{
	free(mem);
}

static void
run(const Index *index, const Rotation *rotation, const float *queries, int nq,
	const uint32_t *truth, const GraphEffort *effort, int starts, int repeats, bool timed)
{
	Reader		reader = {index};
	GraphMemory memory = {plain_alloc, plain_release, NULL};
	GraphReader graph = {timed ? visit_timed : visit, NULL, &reader};
	GraphSearch *search = graph_search_create(&memory, &graph, (size_t) 1 << 28);
	float	   *rotated = allocate(sizeof(float) * index->padded);
	void	   *codes = allocate(rabitq_query_size(index->padded));
	double		best = INFINITY;
	double		best_prepare = INFINITY;
	uint64_t	best_ticks[5] = {0};
	uint64_t	visits = 0;
	int			hits = 0;

	reader.query = rotated;
	for (int pass = 0; pass < repeats; pass++)
	{
		double		begin = seconds(CLOCK_THREAD_CPUTIME_ID);
		uint64_t	all_ticks = 0;
		double		time;

		visits = 0;
		hits = 0;
		memset(reader.ticks, 0, sizeof(reader.ticks));
		reader.estimates = 0;
		for (int q = 0; q < nq; q++)
		{
			uint64_t	t0;

			rotate(rotation, queries + (size_t) q * index->dim, rotated);
			rabitq_query_prepare(&reader.codes, rotated, index->padded, index->bits, codes);
			graph_search_begin(search, effort);
			start(search, index, &reader, starts);
			t0 = ticks(timed);
			for (int i = 0; i < TOP; i++)
			{
				uint64_t	node;
				uint32_t	ordinal;
				float		distance;
				bool		ordered;

				if (!graph_search_next(search, &node, &ordinal, &distance, &ordered))
					break;
				for (int j = 0; j < TOP; j++)
					hits += truth[q * TOP + j] == node_row(index, node);
			}
			all_ticks += ticks(timed) - t0;
			visits += graph_search_visits(search);
		}
		time = seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
		if (time < best)
		{
			best = time;
			memcpy(best_ticks, reader.ticks, sizeof(reader.ticks));
			best_ticks[4] = all_ticks;
		}

		begin = seconds(CLOCK_THREAD_CPUTIME_ID);
		for (int q = 0; q < nq; q++)
		{
			rotate(rotation, queries + (size_t) q * index->dim, rotated);
			rabitq_query_prepare(&reader.codes, rotated, index->padded, index->bits, codes);
		}
		time = seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
		if (time < best_prepare)
			best_prepare = time;
	}
	if (effort->ef > 0)
		printf("ef %-9d", effort->ef);
	else
		printf("gamma %-6.3f", effort->gamma);
	printf("  recall %.4f  visits %6.1f  QPS %7.0f  us %6.2f (prepare %.2f)  ns a hop %5.0f",
		   (double) hits / TOP / nq, (double) visits / nq, nq / best, best / nq * 1e6, best_prepare / nq * 1e6,
		   (best - best_prepare) / visits * 1e9);
	if (timed)
	{
		double		t = seconds(CLOCK_MONOTONIC);
		uint64_t	from = ticks(true);
		double		ghz;

		while (seconds(CLOCK_MONOTONIC) - t < 0.01)
			;
		ghz = (ticks(true) - from) / (seconds(CLOCK_MONOTONIC) - t) * 1e-9;
		printf("  prefetch %.0f distance %.0f estimates %.0f (%.1f) pool %.0f",
			   best_ticks[0] / ghz / visits, best_ticks[1] / ghz / visits, best_ticks[2] / ghz / visits,
			   (double) reader.estimates / visits, (best_ticks[4] - best_ticks[3]) / ghz / visits);
	}
	printf("\n");
	fflush(stdout);
	graph_search_free(search);
	free(rotated);
	free(codes);
}

static int
parse_list(const char *text, double *out)
{
	int			n = 0;

	while (*text && n < MAX_STEPS)
	{
		char	   *end;

		out[n++] = strtod(text, &end);
		if (end == text)
			return 0;
		text = *end == ',' ? end + 1 : end;
	}
	return n;
}

int
main(int argc, char **argv)
{
	Index		index = {.bits = 1,.slots = 32,.entries = 128,.portions = 3};
	Rotation	rotation;
	double		efs[MAX_STEPS] = {10, 20, 40, 80, 120};
	double		gammas[MAX_STEPS] = {1.02, 1.06, 1.10, 1.15, 1.20};
	int			nefs = 5;
	int			ngammas = 5;
	int			window = 200;
	double		alpha = 1.1;
	int			participants = (int) sysconf(_SC_NPROCESSORS_ONLN);
	int			starts = 4;
	int			cap = 400;
	int			repeats = 5;
	bool		unit = false;
	bool		timed = false;
	bool		huge = false;
	const char *graph_path = NULL;
	const char *image_path = NULL;
	const char *level = NULL;
	int			nq;
	int			option;
	float	   *rows;
	float	   *queries;
	float	   *mean;
	float	   *rotated;
	uint32_t   *truth;
	uint32_t   *edges;
	double		degrees = 0;

	while ((option = getopt(argc, argv, "ub:d:w:a:p:g:i:E:s:e:m:c:r:l:P:tH")) != -1)
		switch (option)
		{
			case 'u': unit = true; break;
			case 'b': index.bits = atoi(optarg); break;
			case 'd': index.slots = atoi(optarg); break;
			case 'w': window = atoi(optarg); break;
			case 'a': alpha = atof(optarg); break;
			case 'p': participants = atoi(optarg); break;
			case 'g': graph_path = optarg; break;
			case 'i': image_path = optarg; break;
			case 'E': index.entries = atoi(optarg); break;
			case 's': starts = atoi(optarg); break;
			case 'e': nefs = parse_list(optarg, efs); break;
			case 'm': ngammas = parse_list(optarg, gammas); break;
			case 'c': cap = atoi(optarg); break;
			case 'r': repeats = atoi(optarg); break;
			case 'l': level = optarg; break;
			case 'P': index.portions = atoi(optarg); break;
			case 't': timed = true; break;
			case 'H': huge = true; break;
			default: return 2;
		}
	kernel_init();
	for (int i = 0; level && i < KERNEL_NUM_LEVELS; i++)
		if (kernel_table((KernelLevel) i) && strcmp(kernel_table((KernelLevel) i)->name, level) == 0)
			kernel_force((KernelLevel) i);
	if (argc - optind < 2 || participants < 1 || participants > MAX_PARTICIPANTS || starts < 1 ||
		starts > MAX_STARTS || index.slots < 2 || index.slots > GRAPH_MAX_DEGREE)
	{
		fprintf(stderr, "usage: graph_bench [OPTIONS] ROWS QUERIES [DIM]; see the head of the source\n");
		return 2;
	}
	index.dim = argc - optind > 2 ? atoi(argv[optind + 2]) : 0;
	queries = read_rows(argv[optind + 1], &nq, &index.dim);
	if (unit)
		make_unit(queries, nq, index.dim);
	truth = allocate(sizeof(uint32_t) * nq * TOP);
	mean = allocate(sizeof(float) * index.dim);
	rotation_init(&rotation, index.dim, 42, allocate(rotation_size(index.dim)));
	index.padded = rotation_padded(index.dim);
	if (image_path == NULL || !transfer_image(image_path, false, &index, truth, mean, nq, huge))
	{
		const char *path = argv[optind];

		rows = read_rows(path, &index.n, &index.dim);
		if (unit)
			make_unit(rows, index.n, index.dim);
		find_truth(rows, index.n, queries, nq, index.dim, truth);
		for (int d = 0; d < index.dim; d++)
		{
			double		sum = 0;

			for (int i = 0; i < index.n; i++)
				sum += rows[(size_t) i * index.dim + d];
			mean[d] = (float) (sum / index.n);
			for (int i = 0; i < index.n; i++)
				rows[(size_t) i * index.dim + d] -= mean[d];
		}
		edges = graph_path ? read_graph(graph_path, index.n, &index.slots) : NULL;
		if (edges == NULL)
		{
			edges = build_graph(rows, index.n, index.dim, index.slots, window, (float) alpha, participants);
			if (graph_path)
				write_graph(graph_path, index.n, index.slots, edges);
		}
		rotated = allocate(sizeof(float) * index.n * index.padded);
		for (int i = 0; i < index.n; i++)
			rotate(&rotation, rows + (size_t) i * index.dim, rotated + (size_t) i * index.padded);
		make_pages(&index, huge);
		fill_pages(&index, rotated, edges);
		fill_entries(&index, rotated);
		free(rotated);
		free(rows);
		free(edges);
		if (image_path)
			transfer_image(image_path, true, &index, truth, mean, nq, huge);
	}
	for (int i = 0; i < nq; i++)
		for (int d = 0; d < index.dim; d++)
			queries[(size_t) i * index.dim + d] -= mean[d];
	for (int i = 0; i < index.n; i++)
		degrees += node_neighbours(node_address(&index, node_number(&index, (uint32_t) i)));

	printf("# %d rows of %d, %d queries; %s; %d slots, mean degree %.1f; %d bits; node of %zu bytes, %d a page; "
		   "%d entries, %d starts\n", index.n, index.dim, nq, kernel->name, index.slots, degrees / index.n,
		   index.bits, index.node_size, index.per_page, index.entries, starts);
	for (int i = 0; i < nefs; i++)
	{
		GraphEffort effort = {.ef = (int) efs[i]};

		run(&index, &rotation, queries, nq, truth, &effort, starts, repeats, timed);
	}
	for (int i = 0; i < ngammas; i++)
	{
		GraphEffort effort = {.gamma = (float) gammas[i],.cap = cap};

		run(&index, &rotation, queries, nq, truth, &effort, starts, repeats, timed);
	}
	return 0;
}
