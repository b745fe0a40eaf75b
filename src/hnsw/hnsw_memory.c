/*-------------------------------------------------------------------------
 *
 * hnsw_memory.c
 *	  What a build needs: how the shared area is laid out, how many rows fit
 *	  it, and the SQL functions that tell beforehand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"

#include "compat.h"
#include "hnsw/hnsw_build.h"
#include "kernel/kernel.h"

/* Fewer dimensions are given to the graph unrotated: see graph_form() */
#define PLAIN_DIMS			32
#define MIN_CAPACITY		16
#define GRAPH_SEED			UINT64CONST(0x67726170687365)
/* Participants that vecdb_hnsw_build_memory() provides for */
#define USUAL_PARTICIPANTS	9

VECDB_FUNCTION(vecdb_hnsw_build_memory);
VECDB_FUNCTION(vecdb_hnsw_layout);

/* The graph that these options and these data want. */
void
hnsw_build_plan_graph(HnswBuildShared *plan)
{
	const HnswMetaPageData *meta = &plan->meta;
	GraphBuildParams *graph = &plan->graph;
	int			index_dims = meta->dims + (meta->metric == METRIC_IP ? 1 : 0);

	graph->dim = index_dims <= PLAIN_DIMS ? index_dims : meta->padded;
	graph->degree = meta->slots;
	graph->window = meta->ef_construction;
	graph->alpha = HNSW_ALPHA;
	graph->seed = GRAPH_SEED;
}

/* Room for so many rows, and for some that come meanwhile. */
double
hnsw_build_capacity(double rows)
{
	return rows * 1.01 + 64;
}

/* Room for n more things in the area, on cache lines of their own. */
static Size
reserve(Size *total, Size n, Size size)
{
	Size		at = *total;

	*total = add_size(at, TYPEALIGN(64, mul_size(n, size)));
	return at;
}

/* Lay out the area. */
static void
plan_area(HnswBuildShared *plan)
{
	const HnswMetaPageData *meta = &plan->meta;
	HnswArea   *area = &plan->area;
	Size		n = plan->graph.capacity;
	Size		total = 0;

	area->mean = reserve(&total, meta->dims + 1, sizeof(float));
	area->queries = reserve(&total, plan->nqueries, mul_size(sizeof(float), meta->padded));
	area->panels = reserve(&total, kernel_panels_size(plan->nqueries, meta->padded), sizeof(float));
	area->nearest = reserve(&total, (Size) plan->participants * plan->nqueries,
							sizeof(HnswNearest) * HNSW_CALIBRATION_K);
	area->measures = reserve(&total, plan->nqueries, sizeof(HnswMeasure));
	area->rows = reserve(&total, n, sizeof(HnswBuildRow));
	area->halves = reserve(&total, n, mul_size(sizeof(uint16), meta->padded));
	area->slots = reserve(&total, n, 2 * sizeof(uint32));
	area->graph = reserve(&total, graph_build_size(&plan->graph), 1);
	area->total = total;
}

/*
 * Lay out the area for so many rows, or as many as fit the memory, and so many
 * participants.
 */
void
hnsw_build_plan_memory(HnswBuildShared *plan, int participants, Size memory, double rows)
{
	Size		row_size = sizeof(HnswBuildRow) + sizeof(uint16) * plan->meta.padded;
	double		most = Min(Min(rows, (double) memory / row_size), HNSW_BUILD_MAX_ROWS);
	uint32		low = MIN_CAPACITY;
	uint32		high = Max((uint32) most, MIN_CAPACITY);

	plan->participants = participants;
	plan->graph.participants = participants;
	plan->nqueries = hnsw_calibration_queries(memory / 16, &plan->meta);
	while (low < high)
	{
		uint32		middle = low + (high - low + 1) / 2;

		plan->graph.capacity = middle;
		plan_area(plan);
		if (plan->area.total <= memory)
			low = middle;
		else
			high = middle - 1;
	}
	plan->graph.capacity = low;
	plan_area(plan);
}

/* Layout of an index of such vectors; ERROR when there can be none. */
static void
layout_for(int dims, int m, HnswMetaPageData *meta)
{
	if (dims < 1 || dims > HNSW_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dims must be between 1 and %d", HNSW_MAX_DIMS)));
	if (m < HNSW_MIN_M || m > HNSW_MAX_M)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("m must be between %d and %d", HNSW_MIN_M, HNSW_MAX_M)));
	hnsw_layout(meta, dims, METRIC_L2, m, OPTION_UNSET);
}

/*
 * vecdb_hnsw_build_memory(rows bigint, dims int, m int): bytes of
 * maintenance_work_mem with which so many rows are built in memory.
 */
Datum
vecdb_hnsw_build_memory(PG_FUNCTION_ARGS)
{
	int64		rows = PG_GETARG_INT64(0);
	HnswBuildShared plan = {0};
	double		capacity = hnsw_build_capacity((double) rows);

	layout_for(PG_GETARG_INT32(1), PG_GETARG_INT32(2), &plan.meta);
	if (rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows must not be negative")));
	if (capacity > HNSW_BUILD_MAX_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("no more than %d rows can be built in memory", HNSW_BUILD_MAX_ROWS)));
	plan.meta.ef_construction = HNSW_DEFAULT_EF_CONSTRUCTION;
	hnsw_build_plan_graph(&plan);
	hnsw_build_plan_memory(&plan, USUAL_PARTICIPANTS, SIZE_MAX / 4, capacity);
	/* maintenance_work_mem counts kilobytes */
	PG_RETURN_INT64((int64) TYPEALIGN64(1024, plan.area.total));
}

/* vecdb_hnsw_layout(dims int, m int): how nodes lie on pages. */
Datum
vecdb_hnsw_layout(PG_FUNCTION_ARGS)
{
	HnswMetaPageData meta;
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {false};

	layout_for(PG_GETARG_INT32(0), PG_GETARG_INT32(1), &meta);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int32GetDatum(meta.slots);
	values[1] = Int32GetDatum(meta.bits);
	values[2] = Int32GetDatum(meta.code_dims);
	values[3] = Int32GetDatum(meta.nodes_per_page);
	values[4] = Int32GetDatum(meta.node_size);
	values[5] = Int32GetDatum(meta.cont_pages);
	values[6] = Int32GetDatum(BLCKSZ / meta.nodes_per_page + BLCKSZ * meta.cont_pages);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
