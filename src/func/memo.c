/*-------------------------------------------------------------------------
 *
 * memo.c
 *	  A small memory for distances of vectors that lie in TOAST.
 *
 * A scan that puts rows in order by their values computes a row's distance (am/exact.c),
 * and so does the executor, for the ORDER BY expression.  Each time the
 * vector is fetched from TOAST, which costs 6 us at 768 dimensions where the
 * distance costs 0.05.  So what was computed for a TOAST value is remembered:
 * by function, by the other vector (the query), by the value's TOAST pointer.
 *
 * A TOAST value never changes, and its number is not given to another one
 * within a transaction (that would take four billion new ones), so the memory
 * is dropped at a transaction's end and needs no other invalidation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "utils/memutils.h"

#include "compat.h"
#include "func/memo.h"

/* Rows remembered for a query; a scan is seldom farther ahead of the executor. */
#define MEMO_ROWS			64
/* Queries at the same time: joins, several distances in one statement */
#define MEMO_QUERIES		4

typedef struct MemoRow
{
	Oid			toastrelid;
	Oid			valueid;		/* InvalidOid: empty */
	double		distance;
} MemoRow;

typedef struct MemoQuery
{
	VectorDistance distance;	/* NULL: empty */
	bool		toast_first;	/* the row's vector is the first argument */
	Vector	   *query;			/* a copy; its size is that of its dim */
	MemoRow		rows[MEMO_ROWS];
} MemoQuery;

static MemoQuery *memo = NULL;	/* MEMO_QUERIES of them */
static int	next_query = 0;

static void
forget(XactEvent event, void *arg)
{
	for (int i = 0; i < MEMO_QUERIES; i++)
		memo[i].distance = NULL;
}

/* What is remembered of this function and query. */
static MemoQuery *
find_query(VectorDistance distance, const Vector *query, bool toast_first)
{
	MemoQuery  *found;

	if (memo == NULL)
	{
		memo = MemoryContextAllocZero(TopMemoryContext, sizeof(MemoQuery) * MEMO_QUERIES);
		RegisterXactCallback(forget, NULL);
	}
	for (int i = 0; i < MEMO_QUERIES; i++)
	{
		found = &memo[i];
		if (found->distance == distance && found->toast_first == toast_first &&
			found->query->dim == query->dim &&
			memcmp(found->query->x, query->x, sizeof(float) * query->dim) == 0)
			return found;
	}

	found = &memo[next_query];
	next_query = (next_query + 1) % MEMO_QUERIES;
	found->distance = NULL;
	if (found->query == NULL || found->query->dim != query->dim)
	{
		Vector	   *copy = MemoryContextAlloc(TopMemoryContext, VECTOR_SIZE(query->dim));

		if (found->query)
			pfree(found->query);
		found->query = copy;
	}
	memcpy(found->query, query, VECTOR_SIZE(query->dim));
	memset(found->rows, 0, sizeof(found->rows));
	found->toast_first = toast_first;
	found->distance = distance;
	return found;
}

static double
compute(VectorDistance distance, Datum da, Datum db)
{
	Vector	   *a = DatumGetVector(da);
	Vector	   *b = DatumGetVector(db);
	double		result;

	vector_check_same_dim(a, b);
	result = distance(a, b);
	if ((Pointer) a != DatumGetPointer(da))
		pfree(a);
	if ((Pointer) b != DatumGetPointer(db))
		pfree(b);
	return result;
}

/* The distance of two values, one of which may lie in TOAST. */
double
memo_distance(VectorDistance distance, Datum a, Datum b)
{
	bool		a_in_toast = VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a));
	bool		b_in_toast = VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b));
	struct varatt_external pointer;
	MemoRow    *row;

	if (likely(!a_in_toast && !b_in_toast))
		return compute(distance, a, b);
	if (a_in_toast == b_in_toast || VARATT_IS_EXTENDED(DatumGetPointer(a_in_toast ? b : a)))
		return compute(distance, a, b);

	VARATT_EXTERNAL_GET_POINTER(pointer, DatumGetPointer(a_in_toast ? a : b));
	row = &find_query(distance, (Vector *) DatumGetPointer(a_in_toast ? b : a), a_in_toast)
		->rows[pointer.va_valueid % MEMO_ROWS];
	if (row->valueid != pointer.va_valueid || row->toastrelid != pointer.va_toastrelid)
	{
		double		result = compute(distance, a, b);

		row->valueid = pointer.va_valueid;
		row->toastrelid = pointer.va_toastrelid;
		row->distance = result;
	}
	return row->distance;
}
