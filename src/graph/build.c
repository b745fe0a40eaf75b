/*-------------------------------------------------------------------------
 *
 * build.c
 *	  A graph built in memory by any number of participants.
 *
 * The block: a header, then four arrays indexed by node number:
 *
 *	codes		the vector, as bytes with one scale (or as floats, if short)
 *	factors		scale and squared length of the code
 *	nodes		rank, flags, number of edges, and the edges
 *	lengths		the distance of each edge, in short, wanted when the list is pruned
 *
 * A node is inserted by a best-first search, which keeps the nearest nodes it
 * meets.  Its neighbours are chosen among them by the alpha rule (prune.h), and
 * it is added to the lists of those it chose.  Lists have room for more than the degree, so that a
 * prune makes room for many edges to come; the last prune, down to the degree,
 * is done when all nodes are in.
 *
 * Concurrency.  A list is changed only under its node's spin bit, and read
 * without it.  What a reader may find there is any mixture of edges old and
 * new; all are nodes whose own list and rank were complete before the first
 * edge to them was written (release) and read (acquire).  A node never occurs
 * twice in a list: it can choose only nodes that were published before it chose,
 * and can be chosen only after its own publication.
 *
 * Reachability.  Before a node x is published it fixes its rank, and reserves a
 * protected place in the list of one node p that it has chosen: rank(p) <
 * rank(x), since p's rank was fixed before p could be found, and that of x is 1 +
 * the greatest of all it has chosen.  The edge p -> x is then in p's list for
 * good.  So from any node, one goes back along protected edges through ever lower
 * ranks, and ends at a node without one: a root.  If
 * all nodes met are full (thousands of equal vectors), p is looked for where their
 * protected edges lead; a node becomes a root only if that takes too long.
 *
 * The first nodes are inserted by one participant alone, while the others
 * wait: else each would find an empty graph.  Since the order is random, they are
 * a sample of all, and a later search starts from the nearest of them.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/build.h"

#include <float.h>
#include <math.h>
#include <sched.h>
#include <string.h>

#include "graph/prune.h"
#include "kernel/kernel.h"

#define LINE			64		/* bytes of a cache line */

#define FIRST_NODES		256		/* inserted by one; where searches start */
#define RANDOM_STARTS	8		/* of all nodes, beside the nearest of these */
#define MIN_CANDIDATES	150		/* chosen among, if the window is smaller */
#define MAX_CANDIDATES	250		/* and if it is larger */
#define FINISH_NODES	256		/* pruned at a time, at the end */
#define PROGRESS_NODES	64
#define PARENT_STEPS	100		/* in search of a place for a protected edge */
#define MET_MAX			16384	/* nodes a search can meet at little cost */
#define PORTION_MAX		4096	/* nodes a participant takes at once */
#define FLOAT_DIM		32		/* shorter vectors are kept as floats */

/* An edge: the number of a node, and two flags. */
#define EDGE_PROTECTED	(UINT32_C(1) << 31)
#define EDGE_SETTLED	(UINT32_C(1) << 30) /* see choose() */
#define EDGE_NODE		(EDGE_SETTLED - 1)

#define NODE_LOCKED		1
#define NODE_PUBLISHED	2
#define NODE_SKIPPED	4
#define NODE_ROOT		8

typedef struct Node
{
	uint32_t	rank;			/* fixed before NODE_PUBLISHED is set */
	uint16_t	count;			/* edges */
	uint8_t		protected_count;	/* places given to protected edges */
	uint8_t		flags;
	uint32_t	edges[];
} Node;

typedef struct Factors
{
	float		scale;
	float		norm;			/* squared length of scale * code */
} Factors;

typedef struct Build
{
	/* fixed by graph_build_init() */
	GraphBuildParams params;
	int			slots;			/* edges of a list */
	int			max_protected;
	int			candidates;		/* what a search keeps */
	bool		floats;
	uint32_t	code_stride;
	uint32_t	node_stride;
	uint64_t	codes;			/* offsets from the block */
	uint64_t	factors;
	uint64_t	nodes;
	uint64_t	lengths;

	/* nodes added, and those where searches start */
	uint32_t	count;
	uint32_t	first_state;	/* 0, 1: being inserted, 2: done */
	uint32_t	first_count;
	uint32_t	first[FIRST_NODES];
	uint16_t	tour[FIRST_NODES];	/* the place of each on a short tour */

	/* tickets */
	uint32_t	next __attribute__((aligned(LINE)));
	uint32_t	done;
	uint32_t	finish_next;
} Build;

typedef struct Ticket
{
	uint32_t	node;
	uint16_t	nearest;		/* of the first nodes */
	uint16_t	place;			/* of that one on the tour */
} Ticket;

/* What one participant works with, in its scratch; all pointers are its own. */
typedef struct Worker
{
	Build	   *b;
	uint64_t	random;

	/*
	 * Nodes met by this search, a bit each, and their numbers: while there
	 * are no more than MET_MAX, these tell which bits to clear.
	 */
	uint64_t   *met;
	uint32_t   *met_ids;
	int			met_count;
	bool		met_overflow;

	/*
	 * The nearest nodes met, in ascending order: distance (its bits: they
	 * sort as the floats do, which are not negative), node << 1, and whether
	 * it was expanded.
	 */
	uint64_t   *pool;
	int			pool_count;
	uint64_t   *batch;			/* what one node's list adds to it */
	uint64_t   *sorted;			/* that in order */

	/* candidates of a choice, nearest first */
	uint32_t   *edges;
	float	   *lengths;

	Ticket	   *portion;		/* nodes to be inserted next */
	Ticket	   *unsorted;

	/* the nodes chosen for a new one */
	uint32_t   *targets;
	float	   *target_lengths;

	/* scratch of batches */
	uint32_t   *ids;
	int		   *places;
	int		   *chosen;
	int32_t    *dots;
	float	   *distances;
} Worker;

/* ------------------------------------------------------------------ memory */

static size_t
align_to(size_t size, size_t alignment)
{
	return (size + alignment - 1) / alignment * alignment;
}

/* The layout for these parameters; false when they make no sense or overflow. */
static bool
lay_out(Build *b, const GraphBuildParams *params, size_t *size)
{
	size_t		n = params->capacity;
	size_t		per_node;
	size_t		at = align_to(sizeof(Build), LINE);

	if (params->dim < 1 || params->dim > 65535 || params->degree < 2 ||
		params->degree > 200 || params->window < 1 || params->participants < 1 ||
		params->capacity > EDGE_NODE)
		return false;
	b->params = *params;
	b->floats = params->dim <= FLOAT_DIM;
	b->code_stride = (uint32_t) (b->floats ? sizeof(float) * params->dim :
								 align_to(params->dim, LINE));

	/* 3/8 more than the degree, and what fills half a cache line */
	b->node_stride = (uint32_t) align_to(sizeof(Node) + sizeof(uint32_t) *
										 (params->degree + params->degree * 3 / 8 + 1), LINE / 2);
	b->slots = (int) ((b->node_stride - sizeof(Node)) / sizeof(uint32_t));
	b->max_protected = params->degree / 2;
	b->candidates = params->window > MIN_CANDIDATES ? params->window : MIN_CANDIDATES;

	per_node = b->code_stride + sizeof(Factors) + b->node_stride + sizeof(uint16_t) * b->slots;
	if (n > (SIZE_MAX / 2 - at) / per_node)
		return false;
	b->codes = at;
	at = align_to(at + n * b->code_stride, LINE);
	b->factors = at;
	at = align_to(at + n * sizeof(Factors), LINE);
	b->nodes = at;
	at = align_to(at + n * b->node_stride, LINE);
	b->lengths = at;
	at = align_to(at + n * sizeof(uint16_t) * b->slots, LINE);
	*size = at + LINE;			/* to align the block itself */
	return true;
}

/* The block begins at the first cache line in the memory given. */
static inline Build *
build_of(const void *mem)
{
	return (Build *) align_to((size_t) mem, LINE);
}

static inline void *
code_of(const Build *b, uint32_t node)
{
	return (char *) b + b->codes + (size_t) node * b->code_stride;
}

static inline Factors *
factors_of(const Build *b, uint32_t node)
{
	return (Factors *) ((char *) b + b->factors) + node;
}

static inline Node *
node_of(const Build *b, uint32_t node)
{
	return (Node *) ((char *) b + b->nodes + (size_t) node * b->node_stride);
}

static inline uint16_t *
lengths_of(const Build *b, uint32_t node)
{
	return (uint16_t *) ((char *) b + b->lengths) + (size_t) node * b->slots;
}

/*
 * The distance of an edge in 16 bits: a float that is not negative, without its sign
 * and its last 15 bits, rounded (by 1/512 at most).
 */
static inline uint16_t
shorten(float length)
{
	uint32_t	bits;

	memcpy(&bits, &length, sizeof(bits));
	return (uint16_t) ((bits + 0x4000) >> 15);
}

static inline float
lengthen(uint16_t length)
{
	uint32_t	bits = (uint32_t) length << 15;
	float		result;

	memcpy(&result, &bits, sizeof(result));
	return result;
}

size_t
graph_build_size(const GraphBuildParams *params)
{
	Build		b;
	size_t		size;

	return lay_out(&b, params, &size) ? size : SIZE_MAX;
}

void
graph_build_init(void *mem, const GraphBuildParams *params)
{
	Build	   *b = build_of(mem);
	size_t		size;

	memset(b, 0, sizeof(Build));
	lay_out(b, params, &size);
}

static bool
lay_out_worker(Worker *w, const Build *b, char *scratch, size_t *size)
{
	size_t		n = b->params.capacity;
	size_t		words = n / 64 + 1;
	size_t		most = (size_t) b->candidates + b->slots + FIRST_NODES + RANDOM_STARTS;
	size_t		at = align_to(sizeof(Worker), LINE);

#define TAKE(pointer, length) \
	do { \
		w->pointer = (void *) (scratch + at); \
		at = align_to(at + sizeof(*w->pointer) * (length), LINE); \
	} while (0)

	TAKE(met, words);
	TAKE(met_ids, MET_MAX + most);
	TAKE(pool, b->candidates + most);
	TAKE(batch, most);
	TAKE(sorted, most);
	TAKE(edges, most);
	TAKE(lengths, most);
	TAKE(portion, PORTION_MAX);
	TAKE(unsorted, PORTION_MAX);
	TAKE(targets, b->params.degree);
	TAKE(target_lengths, b->params.degree);
	TAKE(ids, most);
	TAKE(places, most);
	TAKE(chosen, most);
	TAKE(dots, most);
	TAKE(distances, most);
#undef TAKE
	*size = at + LINE;
	return true;
}

size_t
graph_build_scratch_size(const GraphBuildParams *params)
{
	Build		b;
	Worker		w;
	size_t		size;

	if (!lay_out(&b, params, &size))
		return SIZE_MAX;
	lay_out_worker(&w, &b, NULL, &size);
	return size;
}

/* --------------------------------------------------------------- distances */

/* Never negative, never NaN: the pool sorts by the bits. */
static inline float
clean(float distance)
{
	return distance > 0.0f ? distance : distance <= 0.0f ? 0.0f : FLT_MAX;
}

/* Squared distances of a node to n others. */
static void
measure(Worker *w, uint32_t node, const uint32_t *ids, int n, float *out)
{
	Build	   *b = w->b;
	int			dim = b->params.dim;

	if (b->floats)
	{
		for (int i = 0; i < n; i++)
			out[i] = clean(kernel->l2sq(code_of(b, node), code_of(b, ids[i]), dim));
	}
	else
	{
		const Factors *factors = factors_of(b, 0);
		const int32_t *dots = w->dots;
		float		norm = factors[node].norm;
		float		scale = -2.0f * factors[node].scale;

		kernel->dot_i8_ids(code_of(b, node), code_of(b, 0), b->code_stride, ids, n,
						   (int) b->code_stride, w->dots);
		for (int i = 0; i < n; i++)
		{
			const Factors *f = factors + ids[i];

			out[i] = clean(norm + f->norm + scale * f->scale * (float) dots[i]);
		}
	}
}

/* The code of x, padded with zeros. */
static void
encode(const Build *b, const float *x, int8_t *code, Factors *factors)
{
	int			dim = b->params.dim;
	int			padded = (int) b->code_stride;
	float		greatest = 0.0f;
	float		inverse;

	for (int d = 0; d < dim; d++)
		greatest = fmaxf(greatest, fabsf(x[d]));
	factors->scale = greatest / 127.0f;
	inverse = 1.0f / factors->scale;
	if (!(inverse <= FLT_MAX))
		inverse = factors->scale = 0.0f;
	kernel->quantise(x, dim, inverse, 127, code);
	memset(code + dim, 0, padded - dim);
	factors->norm = (float) ((double) factors->scale * factors->scale *
							 (double) kernel->dot_i8(code, code, padded));
}

/* ------------------------------------------------------------------- nodes */

uint32_t
graph_build_add(void *mem, const float *x)
{
	Build	   *b = build_of(mem);
	uint32_t	number = __atomic_load_n(&b->count, __ATOMIC_RELAXED);

	do
	{
		if (number >= b->params.capacity)
			return UINT32_MAX;
	} while (!__atomic_compare_exchange_n(&b->count, &number, number + 1, false,
										  __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	memset(node_of(b, number), 0, sizeof(Node));
	if (b->floats)
		memcpy(code_of(b, number), x, sizeof(float) * b->params.dim);
	else
		encode(b, x, code_of(b, number), factors_of(b, number));
	return number;
}

void
graph_build_skip(void *mem, uint32_t node)
{
	node_of(build_of(mem), node)->flags |= NODE_SKIPPED;
}

uint32_t
graph_build_count(const void *mem)
{
	return __atomic_load_n(&build_of(mem)->count, __ATOMIC_RELAXED);
}

static inline void
relax(int *spins)
{
	if (++*spins % 64 == 0)
		sched_yield();
#if defined(__x86_64__) || defined(__i386__)
	else
		__builtin_ia32_pause();
#endif
}

static void
lock(Node *node)
{
	int			spins = 0;

	while (__atomic_fetch_or(&node->flags, NODE_LOCKED, __ATOMIC_ACQUIRE) & NODE_LOCKED)
		relax(&spins);
}

static void
unlock(Node *node)
{
	__atomic_fetch_and(&node->flags, (uint8_t) ~NODE_LOCKED, __ATOMIC_RELEASE);
}

/* splitmix64 */
static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static uint32_t
random_below(Worker *w, uint32_t n)
{
	w->random += UINT64_C(0x9E3779B97F4A7C15);
	return (uint32_t) (mix(w->random) % n);
}

/*
 * The node of a ticket: a permutation that needs no memory.  A Feistel network
 * permutes the numbers of an even number of bits; those beyond count are
 * permuted again until they fall below it, at most 4 times on average.
 */
static uint32_t
permute(const Build *b, uint32_t count, uint32_t ticket)
{
	int			bits = 1;
	uint32_t	mask;

	while (bits < 16 && (UINT64_C(1) << (2 * bits)) < count)
		bits++;
	mask = (UINT32_C(1) << bits) - 1;
	do
	{
		uint32_t	left = ticket >> bits;
		uint32_t	right = ticket & mask;

		for (uint64_t round = 0; round < 4; round++)
		{
			uint32_t	old = right;

			right = left ^ ((uint32_t) mix(b->params.seed + (round << 32) + right +
										   UINT64_C(0x9E3779B97F4A7C15)) & mask);
			left = old;
		}
		ticket = left << bits | right;
	} while (ticket >= count);
	return ticket;
}

/* ------------------------------------------------------------------ choice */

/*
 * Choose by the alpha rule at most max of the n candidates in w->edges and
 * w->lengths, in ascending order of length; protected ones in any case.
 * Their places, in order, are put into w->chosen.
 *
 * Each candidate taken is compared with all that are left, and what it rejects
 * drops out: the same distances as graph_prune() computes, but in batches.
 * Candidates that were chosen together before (EDGE_SETTLED) did not reject one
 * another then, or were kept all the same (choose_enough()), and do not now: so
 * their distance is not wanted.
 */
static int
choose(Worker *w, int n, int max)
{
	const uint32_t *edges = w->edges;
	const float *lengths = w->lengths;
	uint32_t   *ids = w->ids;
	int		   *left = w->places;	/* places still in the race */
	float		alpha = w->b->params.alpha;
	int			musts = 0;
	int			taken = 0;

	for (int i = 0; i < n; i++)
	{
		left[i] = i;
		musts += (edges[i] & EDGE_PROTECTED) != 0;
	}
	while (n > 0 && taken < max)
	{
		uint32_t	edge = edges[left[0]];
		const float *distance = w->distances;
		int			kept = 0;
		int			wanted = 0;

		if (edge & EDGE_PROTECTED)
			musts--;
		else if (taken + musts >= max)
		{
			/* there is room for those only */
			left++;
			n--;
			continue;
		}
		w->chosen[taken++] = left[0];
		left++;
		n--;
#define WANTED(other) \
		(((other) & EDGE_PROTECTED) == 0 && ((other) & edge & EDGE_SETTLED) == 0)
		for (int i = 0; i < n; i++)
		{
			uint32_t	other = edges[left[i]];

			ids[wanted] = other & EDGE_NODE;
			wanted += WANTED(other);
		}
		measure(w, edge & EDGE_NODE, ids, wanted, w->distances);
		for (int i = 0; i < n; i++)
		{
			int			place = left[i];
			bool		rejected = false;

			if (WANTED(edges[place]))
				rejected = alpha * *distance++ <= lengths[place];
			left[kept] = place;
			kept += !rejected;
		}
#undef WANTED
		n = kept;
	}
	return taken;
}

/* Sort candidates by length; nearly sorted mostly. */
static void
sort_candidates(Worker *w, int n)
{
	for (int i = 1; i < n; i++)
	{
		uint32_t	edge = w->edges[i];
		float		length = w->lengths[i];
		int			j = i;

		for (; j > 0 && w->lengths[j - 1] > length; j--)
		{
			w->edges[j] = w->edges[j - 1];
			w->lengths[j] = w->lengths[j - 1];
		}
		w->edges[j] = edge;
		w->lengths[j] = length;
	}
}

/* The same, and at least half the list: see graph_fill_up(). */
static int
choose_enough(Worker *w, int n, int max)
{
	return graph_fill_up(n, w->chosen, choose(w, n, max), max / 2);
}

/*
 * Replace the list of a node, locked or the caller's own, by the best of the n
 * candidates in w->edges and w->lengths, in any order.
 */
static void
prune_list(Worker *w, uint32_t number, int n)
{
	Build	   *b = w->b;
	Node	   *node = node_of(b, number);
	uint16_t   *lengths = lengths_of(b, number);
	bool		all = n <= b->params.degree;
	int			count = n;

	sort_candidates(w, n);
	if (!all)
		count = choose_enough(w, n, b->params.degree);
	for (int i = 0; i < count; i++)
	{
		int			place = all ? i : w->chosen[i];
		uint32_t	edge = w->edges[place];

		if (!all)
			edge |= EDGE_SETTLED;
		__atomic_store_n(&node->edges[i], edge, __ATOMIC_RELEASE);
		lengths[i] = shorten(w->lengths[place]);
	}
	__atomic_store_n(&node->count, (uint16_t) count, __ATOMIC_RELEASE);
}

static int
load_list(Worker *w, uint32_t number)
{
	Node	   *node = node_of(w->b, number);
	const uint16_t *lengths = lengths_of(w->b, number);
	int			count = node->count;

	memcpy(w->edges, node->edges, sizeof(uint32_t) * count);
	for (int i = 0; i < count; i++)
		w->lengths[i] = lengthen(lengths[i]);
	return count;
}

/* Add an edge to the list of a node. */
static void
add_edge(Worker *w, uint32_t number, uint32_t edge, float length)
{
	Build	   *b = w->b;
	Node	   *node = node_of(b, number);
	int			count;

	lock(node);
	count = node->count;
	if (count < b->slots)
	{
		lengths_of(b, number)[count] = shorten(length);
		__atomic_store_n(&node->edges[count], edge, __ATOMIC_RELEASE);
		__atomic_store_n(&node->count, (uint16_t) (count + 1), __ATOMIC_RELEASE);
	}
	else
	{
		load_list(w, number);
		w->edges[count] = edge;
		w->lengths[count] = length;
		prune_list(w, number, count + 1);
	}
	unlock(node);
}

/* A protected place in the list of a node, if it has one left. */
static bool
reserve_protected(const Build *b, uint32_t number)
{
	Node	   *node = node_of(b, number);
	bool		room;

	lock(node);
	room = node->protected_count < b->max_protected;
	if (room)
		node->protected_count++;
	unlock(node);
	return room;
}

/* One of the nodes to which this one's protected edges lead; false: none yet. */
static bool
protected_child(Worker *w, uint32_t number, uint32_t *child)
{
	Node	   *node = node_of(w->b, number);
	int			n = 0;

	lock(node);
	for (int i = 0; i < node->count; i++)
		if ((node->edges[i] & EDGE_PROTECTED) && random_below(w, ++n) == 0)
			*child = node->edges[i] & EDGE_NODE;
	unlock(node);
	return n > 0;
}

/*
 * A protected place below a node that has none left, where protected edges lead:
 * the ends of these ways have room.  False when it takes too long.
 */
static bool
reserve_below(Worker *w, uint32_t number, uint32_t *holder)
{
	for (int step = 0; step < PARENT_STEPS; step++)
	{
		if (!protected_child(w, number, &number))
			return false;
		*holder = number;
		if (reserve_protected(w->b, number))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ search */

#define POOL_EXPANDED	UINT64_C(1)

static inline uint32_t
pool_node(uint64_t entry)
{
	return (uint32_t) entry >> 1;
}

static inline float
pool_distance(uint64_t entry)
{
	uint32_t	bits = (uint32_t) (entry >> 32);
	float		distance;

	memcpy(&distance, &bits, sizeof(distance));
	return distance;
}

static inline uint64_t
pool_entry(uint32_t node, float distance)
{
	uint32_t	bits;

	memcpy(&bits, &distance, sizeof(bits));
	return (uint64_t) bits << 32 | (uint64_t) node << 1;
}

/* How many of the first n entries are below this one; without branches. */
static inline int
count_below(const uint64_t *pool, int n, uint64_t entry)
{
	int			from = 0;

	while (n > 0)
	{
		int			half = (n + 1) / 2;

		from += half & -(int) (pool[from + half - 1] < entry);
		n -= half;
	}
	return from;
}

/*
 * Sort entries, no two of them equal: each goes where as many are below it, which
 * takes no branches, as long as there are few.
 */
static void
sort_entries(uint64_t *from, uint64_t *to, int n)
{
	if (n <= 12)
		for (int i = 0; i < n; i++)
		{
			int			below = 0;

			for (int j = 0; j < n; j++)
				below += from[j] < from[i];
			to[below] = from[i];
		}
	else
		for (int i = 0; i < n; i++)
		{
			int			j = i;

			for (; j > 0 && to[j - 1] > from[i]; j--)
				to[j] = to[j - 1];
			to[j] = from[i];
		}
}

/*
 * Put nodes into the pool, those that are near enough: the place of the first, or
 * the pool's size.
 */
static int
pool_add(Worker *w, const uint32_t *ids, const float *distances, int n)
{
	uint64_t   *pool = w->pool;
	uint64_t   *batch = w->batch;
	int			max = w->b->candidates;
	int			end = w->pool_count;
	uint64_t	bound = end < max ? UINT64_MAX : pool[end - 1];
	int			added = 0;

	for (int i = 0; i < n; i++)
	{
		uint64_t	entry = pool_entry(ids[i], distances[i]);

		batch[added] = entry;
		added += entry < bound;
	}
	sort_entries(batch, w->sorted, added);
	batch = w->sorted;

	/* from the end, so that each entry of the pool is moved once */
	w->pool_count = end + added < max ? end + added : max;
	for (int i = added - 1; i >= 0; i--)
	{
		int			place = count_below(pool, end, batch[i]);

		memmove(pool + place + i + 1, pool + place, sizeof(uint64_t) * (end - place));
		pool[place + i] = batch[i];
		end = place;
	}
	return added > 0 ? end : w->pool_count;
}

/*
 * Nodes found in one place: those not met before are met now, and returned as the
 * last of w->met_ids.
 */
static uint32_t *
meet(Worker *w, const uint32_t *edges, int count, int *n)
{
	uint64_t   *met = w->met;
	uint32_t   *first;
	int			added = 0;

	if (w->met_count > MET_MAX)
	{
		w->met_overflow = true;
		w->met_count = 0;
	}
	first = w->met_ids + w->met_count;
	for (int i = 0; i < count; i++)
	{
		uint32_t	node = __atomic_load_n(&edges[i], __ATOMIC_ACQUIRE) & EDGE_NODE;
		uint64_t	word = met[node / 64];
		uint64_t	bit = UINT64_C(1) << (node % 64);

		first[added] = node;
		added += (word & bit) == 0;
		met[node / 64] = word | bit;
	}
	w->met_count += added;
	*n = added;
	return first;
}

static void
forget_all(Worker *w)
{
	if (w->met_overflow)
		memset(w->met, 0, sizeof(uint64_t) * ((size_t) w->b->params.capacity / 64 + 1));
	else
		for (int i = 0; i < w->met_count; i++)
			w->met[w->met_ids[i] / 64] = 0;
	w->met_count = 0;
	w->met_overflow = false;
}

static inline void
prefetch(const void *from, size_t size)
{
	for (size_t i = 0; i < size; i += LINE)
		__builtin_prefetch((const char *) from + i);
}

/*
 * Best-first search from n nodes in w->ids: the nearest nodes to this one end up in
 * the pool.
 */
static void
search(Worker *w, uint32_t node, int n_starts)
{
	Build	   *b = w->b;
	uint32_t   *starts;
	int			at = 0;

	w->pool_count = 0;
	meet(w, &node, 1, &at);
	at = 0;
	starts = meet(w, w->ids, n_starts, &n_starts);
	measure(w, node, starts, n_starts, w->distances);
	pool_add(w, starts, w->distances, n_starts);
	while (at < w->pool_count && at < b->params.window)
	{
		uint64_t	entry = w->pool[at];
		Node	   *from = node_of(b, pool_node(entry));
		uint32_t   *ids;
		int			n;
		int			place;

		if (entry & POOL_EXPANDED)
		{
			at++;
			continue;
		}
		w->pool[at++] |= POOL_EXPANDED;
		ids = meet(w, from->edges, __atomic_load_n(&from->count, __ATOMIC_ACQUIRE), &n);
		for (int i = 0; i < n && i < 4; i++)
			prefetch(code_of(b, ids[i]), b->code_stride);
		for (int i = 0; i < n; i++)
			__builtin_prefetch(factors_of(b, ids[i]));

		/* what comes next, unless this list has something nearer */
		for (int i = at; i < w->pool_count; i++)
			if ((w->pool[i] & POOL_EXPANDED) == 0)
			{
				prefetch(node_of(b, pool_node(w->pool[i])), b->node_stride);
				break;
			}
		measure(w, node, ids, n, w->distances);
		place = pool_add(w, ids, w->distances, n);
		if (place < at)
			at = place;
	}
	forget_all(w);
}

/* --------------------------------------------------------------- insertion */

/* Insert a node, which is searched for from the n_starts nodes in w->ids. */
static void
insert(Worker *w, uint32_t number, int n_starts)
{
	Build	   *b = w->b;
	Node	   *node = node_of(b, number);
	uint16_t   *lengths = lengths_of(b, number);
	int			found;
	int			count;
	int			parent = -1;
	bool		substitute = false;
	uint32_t	rank = 0;

	search(w, number, n_starts);
	found = w->pool_count < MAX_CANDIDATES ? w->pool_count : MAX_CANDIDATES;
	for (int i = 0; i < found; i++)
	{
		w->edges[i] = pool_node(w->pool[i]);
		w->lengths[i] = pool_distance(w->pool[i]);
	}
	count = choose_enough(w, found, b->params.degree);

	/* who will hold the protected edge: one of those chosen, or any other */
	for (int i = 0; i < count && parent < 0; i++)
		if (reserve_protected(b, w->edges[w->chosen[i]]))
			parent = i;
	if (parent < 0 && found > 0)
	{
		int			place = 0;

		while (place < found && !reserve_protected(b, w->edges[place]))
			place++;
		if (place == found && reserve_below(w, w->edges[0], &w->edges[found]))
			measure(w, number, &w->edges[found], 1, &w->lengths[found]);
		else if (place == found)
			place = -1;
		if (place >= 0)
		{
			/* no node chosen had room, so this is another one */
			substitute = true;
			parent = count < b->params.degree ? count++ : count - 1;
			w->chosen[parent] = place;
		}
	}

	/* not published yet: nobody else looks at this node */
	for (int i = 0; i < count; i++)
	{
		uint32_t	other = w->edges[w->chosen[i]];
		uint32_t	other_rank = node_of(b, other)->rank;
		bool		settled = !(substitute && i == parent);

		w->targets[i] = other;
		w->target_lengths[i] = w->lengths[w->chosen[i]];
		lengths[i] = shorten(w->target_lengths[i]);
		__atomic_store_n(&node->edges[i], other | (settled ? EDGE_SETTLED : 0),
						 __ATOMIC_RELAXED);
		if (parent >= 0 && rank <= other_rank)
			rank = other_rank + 1;
	}
	node->rank = rank;
	__atomic_store_n(&node->count, (uint16_t) count, __ATOMIC_RELAXED);
	__atomic_fetch_or(&node->flags, NODE_PUBLISHED | (parent < 0 ? NODE_ROOT : 0),
					  __ATOMIC_RELEASE);
	for (int i = 0; i < count; i++)
		add_edge(w, w->targets[i], number | (i == parent ? EDGE_PROTECTED : 0),
				 w->target_lengths[i]);
}

/* Order the first nodes by a tour that goes to the nearest one each time. */
static void
plan_tour(Worker *w)
{
	Build	   *b = w->b;
	int			n = (int) b->first_count;
	uint32_t	left[FIRST_NODES];
	uint16_t	place[FIRST_NODES];
	int			at = 0;

	for (int i = 0; i < n; i++)
	{
		left[i] = b->first[i];
		place[i] = (uint16_t) i;
	}
	for (int i = 0; n > 0; i++)
	{
		uint32_t	node = left[at];

		b->tour[place[at]] = (uint16_t) i;
		left[at] = left[--n];
		place[at] = place[n];
		measure(w, node, left, n, w->distances);
		at = 0;
		for (int j = 1; j < n; j++)
			if (w->distances[j] < w->distances[at])
				at = j;
	}
}

/* The first nodes, by whoever comes first; the others wait. */
static void
insert_first(Worker *w, uint32_t count, void (*interrupt) (void *arg), void *arg)
{
	Build	   *b = w->b;
	uint32_t	state = 0;
	int			spins = 0;

	if (__atomic_compare_exchange_n(&b->first_state, &state, 1, false,
									__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
	{
		uint32_t	ticket = 0;

		for (; ticket < count && b->first_count < FIRST_NODES; ticket++)
		{
			uint32_t	number = permute(b, count, ticket);

			if (node_of(b, number)->flags & NODE_SKIPPED)
				continue;
			memcpy(w->ids, b->first, sizeof(uint32_t) * b->first_count);
			insert(w, number, (int) b->first_count);
			b->first[b->first_count++] = number;
		}
		plan_tour(w);
		__atomic_store_n(&b->next, ticket, __ATOMIC_RELAXED);
		__atomic_store_n(&b->done, ticket, __ATOMIC_RELAXED);
		__atomic_store_n(&b->first_state, 2, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&b->first_state, __ATOMIC_ACQUIRE) != 2)
	{
		relax(&spins);
		if (interrupt && spins % 1024 == 0)
			interrupt(arg);
	}
}

/*
 * Take tickets, and put their nodes into an order in which neighbours come one
 * after the other, and find in the processor's caches what the last one read.
 * The portion is small compared to what was inserted before, so that the order remains
 * random enough, and to what is left for each.  Returns their number, and
 * 0 when there are none left.
 */
static int
take_portion(Worker *w, uint32_t count, void (*interrupt) (void *arg), void *arg)
{
	Build	   *b = w->b;
	uint32_t	ticket = __atomic_load_n(&b->next, __ATOMIC_RELAXED);
	uint32_t	size;
	int			ends[FIRST_NODES] = {0};
	int			n = 0;
	int			shift;

	do
	{
		uint32_t	share;

		if (ticket >= count)
			return 0;
		size = ticket / 8;
		share = (count - ticket) / (4 * b->params.participants);
		size = size < share ? size : share;
		size = size < PORTION_MAX ? size : PORTION_MAX;
		size = size < 16 ? 16 : size;
		size = size < count - ticket ? size : count - ticket;
	} while (!__atomic_compare_exchange_n(&b->next, &ticket, ticket + size, false,
										  __ATOMIC_RELAXED, __ATOMIC_RELAXED));

	/* the tour begins elsewhere each time, so that participants do not meet */
	shift = (int) random_below(w, FIRST_NODES);
	for (uint32_t i = 0; i < size; i++)
	{
		uint32_t	number = permute(b, count, ticket + i);
		int			nearest = 0;

		if (interrupt && i % 64 == 0)
			interrupt(arg);
		if (node_of(b, number)->flags & NODE_SKIPPED)
			continue;
		measure(w, number, b->first, (int) b->first_count, w->distances);
		for (int j = 1; j < (int) b->first_count; j++)
			if (w->distances[j] < w->distances[nearest])
				nearest = j;
		w->unsorted[n].node = number;
		w->unsorted[n].nearest = (uint16_t) nearest;
		w->unsorted[n].place = (uint16_t) ((b->tour[nearest] + shift) % FIRST_NODES);
		ends[w->unsorted[n++].place]++;
	}
	__atomic_fetch_add(&b->done, size - n, __ATOMIC_RELEASE);
	for (int i = 1; i < FIRST_NODES; i++)
		ends[i] += ends[i - 1];
	for (int i = n - 1; i >= 0; i--)
		w->portion[--ends[w->unsorted[i].place]] = w->unsorted[i];
	return n;
}

/*
 * Where the search for a node starts: the first node nearest to it, the one inserted
 * before it, and some at random (of thousands of equal nodes, they find some
 * with room for a protected edge).  Returns their number; they are in w->ids.
 */
static int
find_starts(Worker *w, uint32_t count, int ticket)
{
	Build	   *b = w->b;
	uint32_t	taken = __atomic_load_n(&b->next, __ATOMIC_RELAXED);
	int			n = 0;

	if (b->first_count > 0)
		w->ids[n++] = b->first[w->portion[ticket].nearest];
	if (ticket > 0)
		w->ids[n++] = w->portion[ticket - 1].node;
	for (int i = 0; i < RANDOM_STARTS; i++)
	{
		uint32_t	other = permute(b, count, random_below(w, taken));

		if (__atomic_load_n(&node_of(b, other)->flags, __ATOMIC_ACQUIRE) & NODE_PUBLISHED)
			w->ids[n++] = other;
	}
	return n;
}

void
graph_build_run(void *mem, int participant, void *scratch,
				void (*progress) (void *arg, uint32_t done),
				void (*interrupt) (void *arg), void *arg)
{
	Build	   *b = build_of(mem);
	Worker	   *w = (Worker *) align_to((size_t) scratch, LINE);
	uint32_t	count = graph_build_count(mem);
	uint32_t	mine = 0;
	size_t		size;
	int			spins = 0;

	lay_out_worker(w, b, (char *) w, &size);
	w->b = b;
	w->random = mix(b->params.seed + (uint64_t) participant);
	w->met_count = 0;
	w->met_overflow = false;
	memset(w->met, 0, sizeof(uint64_t) * ((size_t) b->params.capacity / 64 + 1));

	insert_first(w, count, interrupt, arg);
	while (__atomic_load_n(&b->next, __ATOMIC_RELAXED) < count)
	{
		int			n = take_portion(w, count, interrupt, arg);

		for (int i = 0; i < n; i++)
		{
			if (interrupt)
				interrupt(arg);
			insert(w, w->portion[i].node, find_starts(w, count, i));
			__atomic_fetch_add(&b->done, 1, __ATOMIC_RELEASE);
			if (progress && ++mine % PROGRESS_NODES == 0)
				progress(arg, __atomic_load_n(&b->done, __ATOMIC_RELAXED));
		}
	}

	/* wait for the insertions that others are at */
	while (__atomic_load_n(&b->done, __ATOMIC_ACQUIRE) < count)
	{
		relax(&spins);
		if (interrupt && spins % 1024 == 0)
			interrupt(arg);
	}

	/* then all lists are as they will be, and are pruned to the degree */
	while (__atomic_load_n(&b->finish_next, __ATOMIC_RELAXED) < count)
	{
		uint32_t	begin = __atomic_fetch_add(&b->finish_next, FINISH_NODES, __ATOMIC_RELAXED);

		for (uint32_t number = begin; number < count && number - begin < FINISH_NODES; number++)
			prune_list(w, number, load_list(w, number));
		if (interrupt)
			interrupt(arg);
	}
	if (progress)
		progress(arg, count);
}

/* ------------------------------------------------------------------ result */

int
graph_build_neighbours(const void *mem, uint32_t node, uint32_t *neighbours,
					   bool *is_protected)
{
	const Node *n = node_of(build_of(mem), node);

	for (int i = 0; i < n->count; i++)
	{
		neighbours[i] = n->edges[i] & EDGE_NODE;
		is_protected[i] = (n->edges[i] & EDGE_PROTECTED) != 0;
	}
	return n->count;
}

uint32_t
graph_build_rank(const void *mem, uint32_t node)
{
	return node_of(build_of(mem), node)->rank;
}

bool
graph_build_is_root(const void *mem, uint32_t node)
{
	return (node_of(build_of(mem), node)->flags & NODE_ROOT) != 0;
}
