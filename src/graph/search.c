/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Best-first search in a graph, as a stream of nodes.
 *
 * What the search has met lies in four places:
 *
 *	pool	the nearest candidates, sorted, visited or not; what is visited next
 *			comes from here, and a hop merges its finds into it once
 *	far		candidates that fell out of the pool, or were never near enough: a
 *			heap, brought into order only when candidates come back from it
 *	log		numbers and estimates as visit() wrote them, of all hops: nothing is
 *			done with a neighbour beyond the bound, not even the question
 *			whether it is known.  Drained into far when the search goes on
 *	ready	visited nodes that were not handed out yet, a heap by distance
 *
 * The bound is such that no unvisited candidate of far or log is below it, and
 * all of the pool are; between two refills it only falls.  It has two parts:
 *
 *	count_bound		the pool is full: its last estimate
 *	value_bound		what is beyond cannot matter for the nodes asked for (adaptive,
 *					or an ef beyond what the pool holds: see below)
 *
 * Small ef: the pool holds the ef nearest, visited ones included.  When all are visited,
 * up to final_count() nodes are handed out; then ef doubles.
 *
 * Otherwise the pool is a window of the nearest unvisited candidates, refilled from
 * far, and `best` holds the k least values of the visited nodes:
 *	adaptive	their distances, k = 10, doubled when more are wanted; value bound
 *				floor + gamma * (k-th best - floor).  The k nearest are handed
 *				out together when no unvisited candidate is below it: one by
 *				one, each by its own distance, the nearest ones would go out
 *				while others as near are still to be found
 *	large ef	their estimates, k = ef; value bound the k-th best.  The ef nearest
 *				candidates are all visited when no unvisited one is below it.
 *
 * A candidate is one integer: estimate (as ordered bits), then slot, then a bit
 * that says visited.  A slot is the place of the node's number in `nodes`,
 * which holds every node that ever was in pool or far ("known"), once.  So
 * candidates sort as integers, and equal estimates in the order they were met.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "graph/search.h"

#define POOL_MAX		1024	/* candidates in the pool */
#define POOL_FIRST		24		/* the same at first, where ef does not tell */
#define TABLE_FIRST		1024	/* places for known nodes at first */
#define LOG_MAX			65536	/* neighbours in the log, and the part of
								 * memory it may take */
#define LOG_SHARE		4
#define BEST_MIN		10		/* k of the adaptive rule at first */
#define RADIUS_MIN		1.05f	/* gamma of the radius at least: the k-th itself
								 * lies well inside */
#define MAX_SLOTS		(UINT32_MAX >> 1)
#define RANKED			12		/* new candidates sorted and merged at once */

#define VISITED			UINT64_C(1)
#define NO_BOUND		UINT32_MAX
#define INFINITY_BITS	UINT32_C(0xFF800000)	/* ordered_bits(INFINITY) */

/* A visited node that was not handed out. */
typedef struct Ready
{
	uint32_t	bits;			/* ordered_bits(distance) */
	uint32_t	ordinal;
	uint64_t	node;
} Ready;

/* An array that grows: room and use, in elements. */
typedef struct Array
{
	void	   *data;
	uint32_t	room;
	uint32_t	size;
} Array;

struct GraphSearch
{
	GraphMemory memory;
	GraphReader reader;
	size_t		max_bytes;
	size_t		used;
	GraphEffort effort;

	/* candidates; before and behind the pool there is room for sentinels */
	uint64_t   *pool;			/* = pool_room + 1 */
	uint64_t	pool_room[1 + POOL_MAX + 1];
	uint64_t	merged[POOL_MAX + GRAPH_MAX_DEGREE];
	uint32_t	pool_size;
	uint32_t	pool_limit;
	uint32_t	cursor;			/* all before it are visited */
	uint64_t	ahead;			/* the next one, announced to visit(); 0: none */
	Array		far;			/* uint64_t, a heap up to far_heaped */
	uint32_t	far_heaped;
	Array		log_nodes;		/* uint64_t */
	Array		log_estimates;	/* float, room and size as log_nodes */

	/* known nodes */
	Array		nodes;			/* uint64_t */
	uint64_t   *table;			/* their set: open addressing, 0 is free */
	uint32_t	table_room;
	uint32_t	table_slots;	/* in use; a power of two */
	int			table_shift;

	/* bounds, as ordered bits: candidates at or beyond are not for the pool */
	bool		window;			/* see above: not small ef */
	uint32_t	count_bound;
	uint32_t	value_bound;

	/* visited nodes */
	Array		ready;			/* Ready, a heap */
	Array		values;			/* uint32_t: all values that best is about */
	Array		best;			/* uint32_t, a heap of at most k, greatest
								 * first */
	uint32_t	k;				/* or ef */
	uint32_t	visits;
	uint64_t	handed;
	uint32_t	last_bits;		/* greatest distance handed out */
	bool		full;			/* of memory */
};

/* Bits that compare as the floats do; NaN counts as infinite. */
static inline uint32_t
ordered_bits(float value)
{
	uint32_t	bits;

	if (value != value)
		return INFINITY_BITS;
	memcpy(&bits, &value, sizeof(bits));
	return bits ^ ((uint32_t) ((int32_t) bits >> 31) | UINT32_C(0x80000000));
}

static inline float
ordered_float(uint32_t bits)
{
	float		value;

	bits = bits & UINT32_C(0x80000000) ? bits ^ UINT32_C(0x80000000) : ~bits;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline uint64_t
candidate(uint32_t bits, uint32_t slot)
{
	return (uint64_t) bits << 32 | (uint64_t) slot << 1;
}

static inline uint32_t
candidate_bits(uint64_t key)
{
	return (uint32_t) (key >> 32);
}

static inline uint32_t
candidate_slot(uint64_t key)
{
	return (uint32_t) key >> 1;
}

/* ---------------------------------------------------------------- memory */

/* Room for `more` elements; false: memory is used up, and nothing changed. */
static bool
array_reserve(GraphSearch *s, Array *array, size_t element, size_t more)
{
	size_t		need = array->size + more;
	size_t		room = array->room ? array->room : 64;
	void	   *data;

	if (need <= array->room)
		return true;
	while (room < need)
		room *= 2;
	if (room > UINT32_MAX || s->used + room * element > s->max_bytes)
		return false;
	data = s->memory.alloc(s->memory.arg, room * element);
	if (array->data)
	{
		memcpy(data, array->data, array->size * element);
		s->memory.release(s->memory.arg, array->data);
	}
	s->used += (room - array->room) * element;
	array->data = data;
	array->room = (uint32_t) room;
	return true;
}

static void
array_free(GraphSearch *s, Array *array)
{
	if (array->data)
		s->memory.release(s->memory.arg, array->data);
}

/* ---------------------------------------------------------------- known nodes */

static inline uint32_t
table_place(const GraphSearch *s, uint64_t node)
{
	uint32_t	place = (uint32_t) (node * UINT64_C(0x9E3779B97F4A7C15) >> s->table_shift);

	while (s->table[place] != 0 && s->table[place] != node)
		place = (place + 1) & (s->table_slots - 1);
	return place;
}

static void
table_use(GraphSearch *s, uint32_t slots)
{
	s->table_slots = slots;
	s->table_shift = 64;
	while (slots > 1)
	{
		slots >>= 1;
		s->table_shift--;
	}
}

/* Make the table fit for `known` nodes, at most half full. */
static bool
table_reserve(GraphSearch *s, size_t known)
{
	size_t		slots = s->table_slots;

	if (known * 2 <= slots)
		return true;
	while (slots < known * 2)
		slots *= 2;
	if (slots > UINT32_MAX)
		return false;
	if (slots > s->table_room)
	{
		if (s->used + slots * sizeof(uint64_t) > s->max_bytes)
			return false;
		if (s->table)
			s->memory.release(s->memory.arg, s->table);
		s->used -= s->table_room * sizeof(uint64_t);

		/*
		 * should alloc not return, free and begin find a search without a
		 * table
		 */
		s->table = NULL;
		s->table_room = 0;
		s->table = s->memory.alloc(s->memory.arg, slots * sizeof(uint64_t));
		s->table_room = (uint32_t) slots;
		s->used += slots * sizeof(uint64_t);
	}
	memset(s->table, 0, slots * sizeof(uint64_t));
	table_use(s, (uint32_t) slots);
	for (uint32_t i = 0; i < s->nodes.size; i++)
	{
		uint64_t	node = ((uint64_t *) s->nodes.data)[i];

		s->table[table_place(s, node)] = node;
	}
	return true;
}

/* Room for `more` known nodes, in the set and in far. */
static bool
reserve_known(GraphSearch *s, size_t more)
{
	return s->nodes.size + more < MAX_SLOTS &&
		array_reserve(s, &s->nodes, sizeof(uint64_t), more) &&
		table_reserve(s, s->nodes.size + more) &&
		array_reserve(s, &s->far, sizeof(uint64_t), more + POOL_MAX);
}

/* ---------------------------------------------------------------- heaps */

static void
far_sift_down(uint64_t *heap, uint32_t size, uint64_t key)
{
	uint32_t	at = 0;

	for (;;)
	{
		uint32_t	child = 2 * at + 1;

		if (child >= size)
			break;
		if (child + 1 < size && heap[child + 1] < heap[child])
			child++;
		if (key <= heap[child])
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = key;
}

static inline void
far_push(GraphSearch *s, uint64_t key)
{
	((uint64_t *) s->far.data)[s->far.size++] = key;
}

/* Order what was pushed since the last time. */
static void
far_order(GraphSearch *s)
{
	uint64_t   *heap = s->far.data;

	for (; s->far_heaped < s->far.size; s->far_heaped++)
	{
		uint32_t	at = s->far_heaped;
		uint64_t	key = heap[at];

		while (at > 0 && key < heap[(at - 1) / 2])
		{
			heap[at] = heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		heap[at] = key;
	}
}

static uint64_t
far_pop(GraphSearch *s)
{
	uint64_t   *heap = s->far.data;
	uint64_t	top = heap[0];

	s->far_heaped = --s->far.size;
	if (s->far.size > 0)
		far_sift_down(heap, s->far.size, heap[s->far.size]);
	return top;
}

static inline bool
ready_before(const Ready *a, const Ready *b)
{
	return a->bits < b->bits || (a->bits == b->bits && a->node < b->node);
}

static void
ready_push(GraphSearch *s, Ready item)
{
	Ready	   *heap = s->ready.data;
	uint32_t	at = s->ready.size++;

	while (at > 0 && ready_before(&item, &heap[(at - 1) / 2]))
	{
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = item;
}

static Ready
ready_pop(GraphSearch *s)
{
	Ready	   *heap = s->ready.data;
	Ready		top = heap[0];
	Ready		item = heap[--s->ready.size];
	uint32_t	at = 0;

	for (;;)
	{
		uint32_t	child = 2 * at + 1;

		if (child >= s->ready.size)
			break;
		if (child + 1 < s->ready.size && ready_before(&heap[child + 1], &heap[child]))
			child++;
		if (!ready_before(&heap[child], &item))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = item;
	return top;
}

/* What an unvisited candidate must exceed so that a distance is final. */
static uint32_t
threshold(const GraphSearch *s, uint32_t bits)
{
	float		floor = s->effort.floor;

	if (s->effort.ef > 0)
		return bits;
	return ordered_bits(floor + s->effort.gamma * (ordered_float(bits) - floor));
}

/* Take a value into the k best, which sets the value bound; false: no memory. */
static bool
best_add(GraphSearch *s, uint32_t value)
{
	uint32_t   *heap = s->best.data;
	uint32_t	at;

	if (s->best.size < s->k)
	{
		if (!array_reserve(s, &s->best, sizeof(uint32_t), 1))
			return false;
		heap = s->best.data;
		at = s->best.size++;
		while (at > 0 && value > heap[(at - 1) / 2])
		{
			heap[at] = heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		heap[at] = value;
		if (s->best.size < s->k)
			return true;
	}
	else
	{
		if (value >= heap[0])
			return true;
		at = 0;
		for (;;)
		{
			uint32_t	child = 2 * at + 1;

			if (child >= s->k)
				break;
			if (child + 1 < s->k && heap[child + 1] > heap[child])
				child++;
			if (value >= heap[child])
				break;
			heap[at] = heap[child];
			at = child;
		}
		heap[at] = value;
	}
	s->value_bound = threshold(s, heap[0]) + 1;
	return true;
}

/* ---------------------------------------------------------------- pool */

/*
 * Merge new candidates into the pool: n >= 1, ascending, batch[-1] = 0 and
 * batch[n] = UINT64_MAX.  far has room.  What does not fit goes to far.
 *
 * The end of the pool from the first new one on is merged into a buffer, from both ends
 * at once: two chains of dependent steps without a branch that could be
 * mispredicted.
 */
static void
pool_merge(GraphSearch *s, const uint64_t *batch, uint32_t n)
{
	uint64_t   *pool = s->pool;
	uint32_t	first = 0;
	uint32_t	total;
	uint32_t	keep;

	if (s->window && s->cursor > 0 && s->pool_size + n > s->pool_limit)
	{
		s->pool_size -= s->cursor;
		memmove(pool, pool + s->cursor, s->pool_size * sizeof(uint64_t));
		s->cursor = 0;
	}

	/* how many of the pool come before the first new one */
	for (uint32_t rest = s->pool_size; rest > 0;)
	{
		uint32_t	half = (rest + 1) / 2;

		first += pool[first + half - 1] < batch[0] ? half : 0;
		rest -= half;
	}

	total = s->pool_size - first + n;
	keep = s->pool_limit - first < total ? s->pool_limit - first : total;
	pool[-1] = 0;
	pool[s->pool_size] = UINT64_MAX;
	{
		const uint64_t *a = pool + first;
		const uint64_t *b = batch;
		const uint64_t *a_end = pool + s->pool_size - 1;
		const uint64_t *b_end = batch + n - 1;
		uint64_t   *out = s->merged;
		uint64_t   *out_end = s->merged + total - 1;

		for (uint32_t i = 0; i < total / 2; i++)
		{
			uint64_t	low_a = *a;
			uint64_t	low_b = *b;
			uint64_t	high_a = *a_end;
			uint64_t	high_b = *b_end;
			bool		low = low_a < low_b;
			bool		high = high_a > high_b;

			*out++ = low ? low_a : low_b;
			a += low;
			b += !low;
			*out_end-- = high ? high_a : high_b;
			a_end -= high;
			b_end -= !high;
		}
		if (total % 2)
			*out = *a < *b ? *a : *b;
	}
	memcpy(pool + first, s->merged, keep * sizeof(uint64_t));
	s->pool_size = first + keep;
	if (first < s->cursor)
		s->cursor = first;

	if (keep < total)
	{
		if (candidate_bits(s->merged[keep]) < s->count_bound)
			s->count_bound = candidate_bits(s->merged[keep]);
		for (uint32_t i = keep; i < total; i++)
			if (!s->window || !(s->merged[i] & VISITED))
				far_push(s, s->merged[i]);
	}
	if (s->pool_size == s->pool_limit &&
		candidate_bits(pool[s->pool_size - 1]) < s->count_bound)
		s->count_bound = candidate_bits(pool[s->pool_size - 1]);
}

/* Candidates that the value bound has passed leave the window. */
static void
pool_cut(GraphSearch *s)
{
	while (s->pool_size > s->cursor &&
		   candidate_bits(s->pool[s->pool_size - 1]) >= s->value_bound)
	{
		uint64_t	key = s->pool[--s->pool_size];

		if (!(key & VISITED))
			far_push(s, key);
	}
}

static inline uint32_t
pool_bound(const GraphSearch *s)
{
	return s->count_bound < s->value_bound ? s->count_bound : s->value_bound;
}

/* The nearest unvisited candidate of the pool is at the cursor afterwards; false: none. */
static inline bool
pool_nearest(GraphSearch *s)
{
	while (s->cursor < s->pool_size && (s->pool[s->cursor] & VISITED))
		s->cursor++;
	return s->cursor < s->pool_size;
}

/*
 * Move what the log holds below a bound to far, unless it is known.  What is
 * beyond stays as it is, known or not: asking would cost more than to keep it.
 * False: no memory.
 */
static bool
log_drain(GraphSearch *s, uint32_t bound)
{
	uint64_t   *nodes = s->log_nodes.data;
	float	   *estimates = s->log_estimates.data;
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < s->log_nodes.size; i++)
	{
		uint64_t	node = nodes[i];
		uint32_t	bits = ordered_bits(estimates[i]);

		if (bits >= bound)
		{
			nodes[kept] = node;
			estimates[kept++] = estimates[i];
			continue;
		}
		if (node == 0 || s->table[table_place(s, node)] == node)
			continue;
		if (!reserve_known(s, 1))
			return false;
		s->table[table_place(s, node)] = node;
		((uint64_t *) s->nodes.data)[s->nodes.size] = node;
		far_push(s, candidate(bits, s->nodes.size++));
	}
	s->log_nodes.size = s->log_estimates.size = kept;
	return true;
}

/* Choose the pool anew from all candidates met.  False: no memory. */
static bool
refill(GraphSearch *s)
{
	uint32_t	take = s->pool_limit;

	if (!array_reserve(s, &s->far, sizeof(uint64_t), POOL_MAX) ||
		!log_drain(s, s->window ? s->value_bound : NO_BOUND))
		return false;
	for (uint32_t i = 0; i < s->pool_size; i++)
		if (!s->window || !(s->pool[i] & VISITED))
			far_push(s, s->pool[i]);
	far_order(s);
	if (s->window)
	{
		/* leave room for finds */
		s->pool_limit = s->pool_limit * 2 < POOL_MAX ? s->pool_limit * 2 : POOL_MAX;
		take = s->pool_limit / 2;
	}
	for (s->pool_size = 0; s->pool_size < take && s->far.size > 0; s->pool_size++)
		s->pool[s->pool_size] = far_pop(s);
	s->cursor = 0;
	s->count_bound = s->far.size > 0 ? candidate_bits(*(uint64_t *) s->far.data) : NO_BOUND;
	if (s->window)
		pool_cut(s);
	return true;
}

/* From an ef that the pool holds to the window and `best`: far keeps unvisited ones only. */
static void
open_window(GraphSearch *s)
{
	uint64_t   *far = s->far.data;
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < s->far.size; i++)
		if (!(far[i] & VISITED))
			far[kept++] = far[i];
	s->far.size = kept;
	s->far_heaped = 0;
	s->window = true;
	s->pool_limit = POOL_MAX;
}

/* More is asked for: double k or ef.  False: no memory. */
static bool
raise_k(GraphSearch *s)
{
	s->k = s->k > UINT32_MAX / 2 ? UINT32_MAX : s->k * 2;
	if (!s->window)
	{
		if (s->k <= POOL_MAX)
			s->pool_limit = s->k;
		else
			open_window(s);
	}
	if (s->window)
	{
		s->best.size = 0;
		s->value_bound = NO_BOUND;
		for (uint32_t i = 0; i < s->values.size; i++)
			if (!best_add(s, ((uint32_t *) s->values.data)[i]))
				return false;
	}
	return refill(s);
}

/* ---------------------------------------------------------------- visits */

/*
 * Sort at most RANKED keys into `sorted`: each finds its place by comparison with all
 * others.  More work than sorting, but no branch to mispredict.
 */
static inline void
sort_batch(const uint64_t *batch, uint32_t n, uint64_t *sorted)
{
	uint32_t	rank[RANKED] = {0};

	for (uint32_t i = 1; i < n; i++)
	{
		uint32_t	mine = 0;

		for (uint32_t j = 0; j < i; j++)
		{
			bool		after = batch[i] > batch[j];

			mine += after;
			rank[j] += !after;
		}
		rank[i] = mine;
	}
	for (uint32_t i = 0; i < n; i++)
		sorted[rank[i]] = batch[i];
}

/* Room for all that a visit may bring. */
static bool
reserve_visit(GraphSearch *s)
{
	uint32_t	need = s->log_nodes.size + GRAPH_MAX_DEGREE;

	if (need > s->log_nodes.room || need > s->log_estimates.room)
	{
		/*
		 * a log of that length holds every node many times, so it is cheaper
		 * to sift it
		 */
		size_t		bytes = (size_t) need * 2 * (sizeof(uint64_t) + sizeof(float));

		if (s->log_nodes.size > 0 && (need > LOG_MAX || bytes > s->max_bytes / LOG_SHARE) &&
			!log_drain(s, NO_BOUND))
			return false;
		if (!array_reserve(s, &s->log_nodes, sizeof(uint64_t), GRAPH_MAX_DEGREE) ||
			!array_reserve(s, &s->log_estimates, sizeof(float), GRAPH_MAX_DEGREE))
			return false;
	}
	return reserve_known(s, GRAPH_MAX_DEGREE) &&
		array_reserve(s, &s->ready, sizeof(Ready), 1) &&
		array_reserve(s, &s->values, sizeof(uint32_t), 1);
}

/* Is there that room, without looking for more? */
static inline bool
has_room(const GraphSearch *s)
{
	uint32_t	known = s->nodes.size + GRAPH_MAX_DEGREE;
	uint32_t	log = s->log_nodes.size + GRAPH_MAX_DEGREE;

	return known <= s->nodes.room && known <= s->table_slots / 2 &&
		s->far.size + GRAPH_MAX_DEGREE + POOL_MAX <= s->far.room &&
		log <= s->log_nodes.room && log <= s->log_estimates.room &&
		s->ready.size < s->ready.room && s->values.size < s->values.room;
}

/* Places of the estimates below the bound, ascending: how many.  Never a NaN. */
static inline uint32_t
below(const float *estimates, uint32_t n, float bound, uint8_t *places)
{
	uint32_t	found = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		places[found] = (uint8_t) i;
		found += estimates[i] < bound;
	}
	return found;
}

/* Neighbours below the bound that are not known become candidates; the others stay in the log. */
static void
take_neighbours(GraphSearch *s, const uint64_t *neighbours, const float *estimates, uint32_t n)
{
	uint64_t	batch[GRAPH_MAX_DEGREE + 1];
	uint64_t	sorted[RANKED + 2];
	uint8_t		places[GRAPH_MAX_DEGREE];
	uint64_t   *table = s->table;
	uint64_t   *nodes = s->nodes.data;
	uint32_t	known = s->nodes.size;
	uint32_t	bits = pool_bound(s);
	uint32_t	n_batch = 0;
	uint32_t	n_below;

	/* INFINITY when there is no bound: infinite estimates can wait in the log */
	n_below = below(estimates, n, bits < INFINITY_BITS ? ordered_float(bits) : INFINITY, places);
	s->log_nodes.size += n;
	s->log_estimates.size += n;

	/* without a branch on whether a neighbour is known: about every second is */
	for (uint32_t i = 0; i < n_below; i++)
	{
		uint64_t	node = neighbours[places[i]];
		uint32_t	place = table_place(s, node);
		bool		is_new = table[place] == 0 && node != 0;

		table[place] = node;
		nodes[known] = node;
		batch[n_batch] = candidate(ordered_bits(estimates[places[i]]), known);
		known += is_new;
		n_batch += is_new;
	}
	s->nodes.size = known;
	sorted[0] = 0;
	for (uint32_t i = 0; i < n_batch; i += RANKED)
	{
		uint32_t	m = n_batch - i < RANKED ? n_batch - i : RANKED;

		sort_batch(batch + i, m, sorted + 1);
		sorted[m + 1] = UINT64_MAX;
		pool_merge(s, sorted + 1, m);
	}
}

/* Visit the candidate announced, or the one at the cursor.  False: no memory. */
static bool
visit(GraphSearch *s)
{
	uint32_t	at = s->cursor;
	uint32_t	after;
	uint64_t	key;
	uint64_t	node;
	uint64_t	next = 0;
	uint64_t   *neighbours;
	float	   *estimates;
	float		distance = INFINITY;
	int			n;

	if (!has_room(s) && !reserve_visit(s))
		return false;

	if (s->ahead)
	{
		while (at < s->pool_size && (s->pool[at] & ~VISITED) < s->ahead)
			at++;
		if (at == s->pool_size || s->pool[at] != s->ahead)
			at = s->cursor;
	}
	key = s->pool[at];
	s->pool[at] |= VISITED;
	node = ((uint64_t *) s->nodes.data)[candidate_slot(key)];

	s->ahead = 0;
	for (after = s->cursor; after < s->pool_size; after++)
		if (!(s->pool[after] & VISITED))
		{
			s->ahead = s->pool[after];
			next = ((uint64_t *) s->nodes.data)[candidate_slot(s->ahead)];
			break;
		}

	neighbours = (uint64_t *) s->log_nodes.data + s->log_nodes.size;
	estimates = (float *) s->log_estimates.data + s->log_nodes.size;
	n = s->reader.visit(s->reader.arg, node, next, &distance, neighbours, estimates);

	if (n >= 0 && distance != INFINITY)
	{
		Ready		item;

		item.bits = distance != distance ? UINT32_MAX : ordered_bits(distance);
		item.ordinal = s->visits;
		item.node = node;
		ready_push(s, item);
	}
	s->visits++;
	if (s->effort.ef > 0 || (n >= 0 && distance != INFINITY))
	{
		uint32_t	value = s->effort.ef > 0 ? candidate_bits(key) : ordered_bits(distance);

		((uint32_t *) s->values.data)[s->values.size++] = value;
		if (s->window)
		{
			if (!best_add(s, value))
				return false;
			pool_cut(s);
		}
	}
	if (n <= 0)
		return true;

	take_neighbours(s, neighbours, estimates, (uint32_t) n);
	if (s->reader.costly && !log_drain(s, NO_BOUND))
		return false;
	return true;
}

/* ---------------------------------------------------------------- interface */

GraphSearch *
graph_search_create(const GraphMemory *memory, const GraphReader *reader,
					size_t max_bytes)
{
	GraphSearch *s = memory->alloc(memory->arg, sizeof(GraphSearch));

	memset(s, 0, sizeof(*s));
	s->memory = *memory;
	s->reader = *reader;
	s->max_bytes = max_bytes;
	s->used = sizeof(GraphSearch);
	s->pool = s->pool_room + 1;
	s->full = true;				/* until it begins */
	return s;
}

void
graph_search_free(GraphSearch *s)
{
	array_free(s, &s->far);
	array_free(s, &s->log_nodes);
	array_free(s, &s->log_estimates);
	array_free(s, &s->nodes);
	array_free(s, &s->ready);
	array_free(s, &s->values);
	array_free(s, &s->best);
	if (s->table)
		s->memory.release(s->memory.arg, s->table);
	s->memory.release(s->memory.arg, s);
}

void
graph_search_adopt(GraphSearch *s, const GraphReader *reader, size_t max_bytes)
{
	s->reader = *reader;
	s->max_bytes = max_bytes;
	s->full = true;				/* until it begins */
}

void
graph_search_begin(GraphSearch *s, const GraphEffort *effort)
{
	s->effort = *effort;
	s->pool_size = s->cursor = 0;
	s->ahead = 0;
	s->far.size = s->far_heaped = 0;
	s->log_nodes.size = s->log_estimates.size = 0;
	s->ready.size = s->values.size = s->best.size = 0;
	s->count_bound = s->value_bound = NO_BOUND;
	s->visits = 0;
	s->handed = 0;
	s->last_bits = 0;
	s->full = false;

	if (effort->ef > 0)
	{
		s->k = (uint32_t) effort->ef;
		s->window = effort->ef > POOL_MAX;
		s->pool_limit = s->window ? POOL_MAX : (uint32_t) effort->ef;
	}
	else
	{
		s->k = BEST_MIN;
		s->window = true;
		s->pool_limit = POOL_FIRST;
	}

	/* only what the last search used is cleared */
	if (s->table)
		memset(s->table, 0, (size_t) s->table_slots * sizeof(uint64_t));
	s->nodes.size = 0;
	table_use(s, s->table ? TABLE_FIRST : 1);
	if (!table_reserve(s, TABLE_FIRST / 2))
		s->full = true;
}

void
graph_search_start(GraphSearch *s, uint64_t node, float estimate)
{
	uint64_t	batch[3] = {0, 0, UINT64_MAX};
	uint32_t	place;
	uint64_t	key;

	if (s->full || node == 0)
		return;
	if (!reserve_known(s, 1))
	{
		s->full = true;
		return;
	}
	place = table_place(s, node);
	if (s->table[place] == node)
		return;
	s->table[place] = node;
	((uint64_t *) s->nodes.data)[s->nodes.size] = node;
	key = candidate(ordered_bits(estimate), s->nodes.size++);
	if (candidate_bits(key) < pool_bound(s))
	{
		batch[1] = key;
		pool_merge(s, batch + 1, 1);
	}
	else
		far_push(s, key);
}

/*
 * How many nodes may be handed out when the k-th best is final.  Adaptive: some
 * more than k.  Who wants ten rows in exact order asks for an eleventh, to know
 * that no nearer one follows; without these few, that would double the work.
 *
 * hold_back: beyond the first ones, fewer.  The farthest of the k, and those beyond, are
 * those that the search has looked for least; from the second k on, they
 * are most of what is handed out, and what they pass by is lost.  The four are for
 * who wants 50 or 100 rows, and a few to know their order.
 */
static inline uint32_t
final_count(const GraphSearch *s)
{
	if (s->effort.hold_back && s->k > BEST_MIN)
		return s->k / 3 * 2 + 4 < s->k ? s->k / 3 * 2 + 4 : s->k;
	return s->effort.ef > 0 ? s->k : s->k + s->k / 4;
}

/* May the nearest of ready be handed out, for all that is not visited? */
static bool
is_final(GraphSearch *s, bool has_nearest)
{
	uint32_t	nearest;

	if (!s->window)
		return !has_nearest && s->handed < final_count(s);
	if (has_nearest)
		nearest = candidate_bits(s->pool[s->cursor]);
	else
	{
		/* below the bound there is none; infinite ones are rejected by any */
		nearest = pool_bound(s);
		if (nearest > INFINITY_BITS)
			nearest = INFINITY_BITS;
	}
	if (s->handed < final_count(s) && s->best.size == s->k && nearest >= s->value_bound)
		return true;
	if (s->effort.ef > 0)
		return false;
	if (s->effort.cap > 0 &&
		s->visits >= (uint64_t) s->effort.cap * (s->handed < 10 ? 10 : s->handed + 1) / 10)
		return true;
	return !has_nearest && s->far.size == 0 && s->log_nodes.size == 0;
}

bool
graph_search_next(GraphSearch *s, uint64_t *node, uint32_t *ordinal,
				  float *distance, bool *ordered)
{
	Ready		item;

	for (;;)
	{
		bool		has_nearest;

		if (s->full)
			break;
		if (s->handed >= final_count(s) && (s->far.size > 0 || s->log_nodes.size > 0 || pool_nearest(s)))
		{
			if (!raise_k(s))
			{
				s->full = true;
				break;
			}
		}
		has_nearest = pool_nearest(s);
		if (s->ready.size > 0 && is_final(s, has_nearest))
			break;
		if (!has_nearest)
		{
			bool		good;

			if (s->far.size == 0 && s->log_nodes.size == 0)
				break;
			/* nothing below the bounds: fetch from far, or raise them */
			if (s->window && (s->count_bound < s->value_bound || s->best.size < s->k))
				good = refill(s);
			else
				good = raise_k(s);
			if (!good)
				s->full = true;
			continue;
		}
		if (s->reader.interrupt)
			s->reader.interrupt(s->reader.arg);
		if (!visit(s))
			s->full = true;
	}

	if (s->ready.size == 0)
		return false;
	item = ready_pop(s);
	*node = item.node;
	*ordinal = item.ordinal;
	*distance = ordered_float(item.bits);
	*ordered = item.bits >= s->last_bits;
	if (*ordered)
		s->last_bits = item.bits;
	s->handed++;
	return true;
}

float
graph_search_radius(const GraphSearch *s)
{
	const uint32_t *best = s->best.data;
	float		floor = s->effort.floor;
	float		gamma = s->effort.gamma > RADIUS_MIN ? s->effort.gamma : RADIUS_MIN;

	if (s->effort.ef > 0 || s->best.size < s->k)
		return INFINITY;
	return floor + gamma * (ordered_float(best[0]) - floor);
}

int
graph_search_peek(const GraphSearch *s, uint32_t *ordinals, int n, float *distance)
{
	if (distance && s->ready.size > 0)
		*distance = ordered_float(((Ready *) s->ready.data)[0].bits);
	/* the first is the least, the next two those below it in the heap */
	for (int i = 0; i < n; i++)
	{
		if ((uint32_t) i == s->ready.size)
			return i;
		ordinals[i] = ((Ready *) s->ready.data)[i].ordinal;
	}
	return n;
}

void
graph_search_stop(GraphSearch *s)
{
	s->full = true;
}

bool
graph_search_complete(const GraphSearch *s)
{
	return !s->full;
}

bool
graph_search_knows(const GraphSearch *s, uint64_t node)
{
	return s->table != NULL && node != 0 && s->table[table_place(s, node)] == node;
}

uint32_t
graph_search_visits(const GraphSearch *s)
{
	return s->visits;
}
