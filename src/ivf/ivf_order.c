/*-------------------------------------------------------------------------
 *
 * ivf_order.c
 *	  Lists in the order of their distances, nearest first.
 *
 * Few of many lists are visited, so they are sorted lazily: one pass brings about as
 * many as are wanted to the front, and only these are sorted, as in am/pool.c.  A
 * list is one number here, so that comparing takes one instruction:
 *
 *		 63             32 31             20 19              0
 *		+-----------------+-----------------+-----------------+
 *		| distance        | steps           | number          |
 *		+-----------------+-----------------+-----------------+
 *
 *		popped      sorted            rest
 *	  |----------|------------|-----------------|
 *	  0         head      sorted_end            n
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "ivf/ivf_private.h"

#define NUMBER_BITS		20
StaticAssertDecl(VECDB_MAX_LISTS <= 1 << NUMBER_BITS, "a list's number has 20 bits");
StaticAssertDecl(IVF_ORDER_STEPS == 1 << (32 - NUMBER_BITS), "steps have the rest");

#define INITIAL_LISTS	1024
/* keys that one pass looks at to choose where the front ends */
#define SAMPLE			64
/* least front, and up to which size keys are sorted by insertion */
#define LEAST_FRONT		32
#define MAX_INSERTION	128
/* and the most that are wanted at once */
#define MOST_FRONT		1024

struct IvfOrder
{
	uint64	   *keys;
	Size		size;			/* of keys[] */
	Size		head;
	Size		sorted_end;
	Size		n;
};

/* In the current memory context. */
IvfOrder   *
ivf_order_create(void)
{
	IvfOrder   *order = palloc0(sizeof(IvfOrder));

	order->size = INITIAL_LISTS;
	order->keys = palloc(sizeof(uint64) * order->size);
	return order;
}

/* Forget all lists; keep the memory. */
void
ivf_order_reset(IvfOrder *order)
{
	order->head = order->sorted_end = order->n = 0;
}

/* Unsigned numbers in the order of floats, NaN last */
static inline uint32
float_to_key(float distance)
{
	uint32		bits;

	memcpy(&bits, &distance, sizeof(bits));
	/* no branch: signs are anything */
	bits ^= (uint32) ((int32) bits >> 31) | 0x80000000;
	return isnan(distance) ? PG_UINT32_MAX : bits;
}

static inline float
key_to_float(uint32 key)
{
	uint32		bits = (key & 0x80000000) ? key & 0x7fffffff : ~key;
	float		distance;

	/* NaN's key is that of some NaN */
	memcpy(&distance, &bits, sizeof(distance));
	return distance;
}

/*
 * Lists first .. first + n - 1; distances NULL: all as far away as each other.  steps:
 * less than IVF_ORDER_STEPS, which ivf_order_pop() gives back.
 */
void
ivf_order_add(IvfOrder *order, uint32 first, uint32 n, const float *distances, uint32 steps)
{
	uint64	   *to;

	Assert(steps < IVF_ORDER_STEPS);

	if (order->size - order->n < n)
	{
		order->size = Max(order->size * 2, order->n + n);
		order->keys = repalloc_huge(order->keys, sizeof(uint64) * order->size);
	}
	to = order->keys + order->n;
	for (uint32 i = 0; i < n; i++)
		to[i] = (uint64) float_to_key(distances ? distances[i] : 0) << 32 | steps << NUMBER_BITS | (first + i);
	order->n += n;
	/* what comes next may be among them */
	order->sorted_end = order->head;
}

static int
cmp_keys(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

static void
sort_keys(uint64 *keys, Size n)
{
	if (n > MAX_INSERTION)
	{
		qsort(keys, n, sizeof(uint64), cmp_keys);
		return;
	}
	for (Size i = 1; i < n; i++)
	{
		uint64		key = keys[i];
		Size		at = i;

		for (; at > 0 && keys[at - 1] > key; at--)
			keys[at] = keys[at - 1];
		keys[at] = key;
	}
}

/* Bring about so many of the nearest to the front, and sort these; all where the sample misleads. */
static void
sort_front(IvfOrder *order, Size wanted)
{
	uint64	   *rest = order->keys + order->head;
	Size		n = order->n - order->head;
	Size		front = 0;

	wanted = Min(Max(wanted, LEAST_FRONT), MOST_FRONT);
	if (n / 4 > wanted)
	{
		uint64		sample[SAMPLE];
		uint64		pivot;

		for (int i = 0; i < SAMPLE; i++)
			sample[i] = rest[n / SAMPLE * i];
		sort_keys(sample, SAMPLE);
		pivot = sample[SAMPLE * wanted / n];
		for (Size i = 0; i < n; i++)
		{
			uint64		key = rest[i];

			if (unlikely(key <= pivot))
			{
				rest[i] = rest[front];
				rest[front++] = key;
			}
		}
	}
	if (front == 0 || front > n / 2)
		front = n;
	sort_keys(rest, front);
	order->sorted_end = order->head + front;
}

/*
 * The nearest list not yet handed out, and its distance; false when there is none.
 * wanted: so many will be asked for, about.
 */
bool
ivf_order_pop(IvfOrder *order, Size wanted, uint32 *list, float *distance,
			  uint32 *steps)
{
	uint64		key;

	if (order->head == order->n)
		return false;
	if (order->head == order->sorted_end)
		sort_front(order, wanted);
	key = order->keys[order->head++];
	*list = key & ((1 << NUMBER_BITS) - 1);
	*steps = (uint32) key >> NUMBER_BITS;
	*distance = key_to_float((uint32) (key >> 32));
	return true;
}

/* The list popped last is the next one again. */
void
ivf_order_put_back(IvfOrder *order)
{
	order->head--;
}
