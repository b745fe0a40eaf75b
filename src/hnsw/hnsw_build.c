/*-------------------------------------------------------------------------
 *
 * hnsw_build.c
 *	  hnswbuild, hnswbuildempty, parallel workers.
 *
 * A build takes a sample (for the mean, and to know how many rows there are),
 * loads all rows into memory, merges equal ones, makes the graph there
 * (graph/build.c), and writes it to pages (hnsw_write.c).  Rows that do not fit
 * maintenance_work_mem wait in temporary files, one of each participant, and
 * are then inserted one by one.  At last it measures how far a search must go for
 * a recall (hnsw_calibrate.c).  The pages are logged as a whole when
 * everything is done.
 *
 * All phases but the sample are shared with parallel workers: all of them run
 * participate(), over one block of memory laid out by hnsw_memory.c, in
 * dynamic shared memory or, for a serial build, in our own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "am/page.h"
#include "am/sample.h"
#include "am/shm.h"
#include "compat.h"
#include "hnsw/hnsw_build.h"
#include "kernel/kernel.h"

#define KEY_SHARED		UINT64CONST(0xB000000000000001)
#define KEY_AREA		UINT64CONST(0xB000000000000002)
#define KEY_SCAN		UINT64CONST(0xB000000000000003)
#define KEY_QUERY		UINT64CONST(0xB000000000000004)

/* Rows that tell mean and radius */
#define SAMPLE_ROWS			2000
#define SAMPLE_ROWS_MIN		64

/* The whole of a build, in the leader. */
typedef struct HnswBuild
{
	Relation	heap;
	Relation	index;
	IndexInfo  *indexInfo;
	HnswBuildShared *shared;
	char	   *area;
	ParallelContext *pcxt;		/* NULL in a serial build */
	ParallelTableScanDesc scan;
	Snapshot	snapshot;
	float	   *mean;			/* NULL: zero */
} HnswBuild;

/* The load of one participant. */
typedef struct HnswLoad
{
	HnswBuilder *builder;
	MemoryContext context;		/* of detoasted values; reset with each row */
	HnswValue	value;
	float	   *axes;			/* see graph_form() */
	float	   *plain;
} HnswLoad;

/* Head of a row in the spool; the halves follow. */
typedef struct SpooledRow
{
	ItemPointerData tid;
	float		scale;
	float		error;
	float		norm;
} SpooledRow;

static void
interrupt(void *arg)
{
	CHECK_FOR_INTERRUPTS();
}

/* Wait until all participants are here. */
void
hnsw_build_sync(HnswBuilder *builder)
{
	if (builder->shared->participants > 1)
		BarrierArriveAndWait(&builder->shared->barrier, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
}

/* Begin a phase of so many tuples. */
void
hnsw_build_phase(HnswBuilder *builder, int phase, double total)
{
	if (builder->number != 0)
		return;
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, phase);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, (int64) total);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
}

void
hnsw_build_progress(HnswBuilder *builder, double done)
{
	if (builder->number == 0)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, (int64) done);
}

/* ---- sample ---- */

typedef struct HnswSample
{
	Metric		metric;
	int			dims;
	float	   *values;
} HnswSample;

/* Put a value at a place of the sample; false when it has no direction. */
static bool
sample_value(void *arg, Datum value, int place)
{
	HnswSample *sample = (HnswSample *) arg;
	Vector	   *vector = support_value(value, sample->dims);
	float	   *to = sample->values + (Size) place * sample->dims;
	double		scale = 1;

	if (sample->metric == METRIC_COSINE)
		scale = 1 / sqrt(kernel->normsq_double(vector->x, sample->dims));
	if (isfinite(scale))
		for (int i = 0; i < sample->dims; i++)
			to[i] = vector->x[i] * scale;
	if ((Pointer) vector != DatumGetPointer(value))
		pfree(vector);
	return isfinite(scale);
}

static int
norm_cmp(const void *pa, const void *pb)
{
	double		a = *(const double *) pa;
	double		b = *(const double *) pb;

	return a < b ? -1 : a > b;
}

/*
 * The radius of the sphere onto which rows are lifted for inner product: their
 * greatest norm, outliers aside.  A radius much greater than most norms makes all
 * distances about equal, so that the adaptive stop never comes or comes at
 * once.  An outlier is one in a hundred at most, and more than twice the norm of
 * the rest; it stays outside of the sphere, as rows do that come later.
 */
static double
find_radius(const float *values, int n, int dims)
{
	double	   *norms;
	double		radius;
	int			at = n - 1;

	if (n == 0)
		return 0;
	norms = palloc(sizeof(double) * n);
	for (int i = 0; i < n; i++)
		norms[i] = sqrt(kernel->normsq_double(values + (Size) i * dims, dims));
	qsort(norms, n, sizeof(double), norm_cmp);
	radius = norms[Max(n - 1 - Max(n / 100, 1), 0)];
	while (radius > 0 && norms[at] > 2 * radius)
		at--;
	radius = norms[at];
	pfree(norms);
	return radius;
}

/*
 * Learn the mean and the radius, and how many rows there are.  The mean is left
 * in build->mean, the rest in meta.
 */
static void
sample_rows(HnswBuild *build, HnswMetaPageData *meta, Size memory, SampleRows *rows)
{
	HnswSample	sample = {.metric = meta->metric, .dims = meta->dims};
	bool		ip = sample.metric == METRIC_IP;
	int			index_dims = meta->dims + (ip ? 1 : 0);
	Size		fit = memory / 4 / (sizeof(float) * meta->dims);
	int			max_n = (int) Min(Max(fit, SAMPLE_ROWS_MIN), SAMPLE_ROWS);
	double		radius = 0;
	double	   *mean;
	int			n;

	sample_count(build->heap, build->index, build->indexInfo, rows);
	if (rows->rows == 0)
		return;
	sample.values = palloc(sizeof(float) * meta->dims * max_n);
	n = sample_take(build->heap, build->index, build->indexInfo, max_n, sample_value,
					&sample, rows);

	if (ip)
	{
		radius = find_radius(sample.values, n, meta->dims);
		/* its square, too, must be a float */
		meta->radius = (float) Min(radius, 1e18);
		radius = meta->radius;
	}

	mean = palloc0(sizeof(double) * index_dims);
	for (int i = 0; i < n; i++)
	{
		const float *x = sample.values + (Size) i * meta->dims;

		for (int d = 0; d < meta->dims; d++)
			mean[d] += (double) x[d] / n;
		if (ip)
			mean[meta->dims] += sqrt(Max(radius * radius - kernel->normsq_double(x, meta->dims), 0)) / n;
	}
	if (n > 0)
	{
		build->mean = palloc(sizeof(float) * index_dims);
		for (int d = 0; d < index_dims; d++)
			build->mean[d] = (float) mean[d];
		meta->mean_pages = (index_dims + HNSW_MEAN_FLOATS - 1) / HNSW_MEAN_FLOATS;
	}
	pfree(mean);
	pfree(sample.values);
}

/* ---- load ---- */

/*
 * The graph is built on 8-bit codes of its vectors, whose rounding counts
 * where neighbours differ little from one another: in few dimensions.  So there
 * it gets what it keeps as floats: the vector as it was before the rotation.
 */
static const float *
graph_form(HnswLoad *load)
{
	const HnswBuildShared *shared = load->builder->shared;

	if (load->axes == NULL)
		return load->value.x;
	for (int i = 0; i < shared->graph.dim; i++)
		load->plain[i] = kernel->ip(load->value.x, load->axes + (Size) i * shared->meta.padded,
									shared->meta.padded);
	return load->plain;
}

/* Write a row that has no place in memory to this participant's spool. */
static void
spool_row(HnswBuilder *builder, const HnswValue *value, ItemPointer tid)
{
	HnswBuildShared *shared = builder->shared;
	SpooledRow	row = {*tid, value->scale, value->error, value->norm};

	if (pg_atomic_exchange_u32(&shared->full, 1) == 0)
		ereport(NOTICE,
				(errmsg("hnsw graph no longer fits into maintenance_work_mem after %u tuples",
						graph_build_count(hnsw_build_graph(builder))),
				 errdetail("Building will take significantly more time (index \"%s\").",
						   RelationGetRelationName(builder->index)),
				 errhint("Increase maintenance_work_mem to speed up builds.")));
	if (builder->spool == NULL)
		builder->spool = BufFileCreateTemp(false);
	BufFileWrite(builder->spool, &row, sizeof(row));
	BufFileWrite(builder->spool, value->half, sizeof(uint16) * shared->meta.padded);
	builder->spooled++;
}

/* A row of the table. */
static void
load_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			  bool tupleIsAlive, void *arg)
{
	HnswLoad   *load = (HnswLoad *) arg;
	HnswBuilder *builder = load->builder;
	HnswBuildShared *shared = builder->shared;
	HnswValue  *value = &load->value;
	MemoryContext old;

	if (isnull[0])
		return;

	old = MemoryContextSwitchTo(load->context);
	if (hnsw_value_form(builder->hnsw, support_value(values[0], shared->meta.dims)->x, value))
	{
		uint32		node = UINT32_MAX;
		uint64		loaded;

		if (pg_atomic_read_u32(&shared->full) == 0)
			node = graph_build_add(hnsw_build_graph(builder), graph_form(load));
		if (node != UINT32_MAX)
		{
			HnswBuildRow *row = hnsw_build_row(builder, node);

			row->tid = *tid;
			row->duplicate = false;
			pg_atomic_init_u32(&row->same, 0);
			row->scale = value->scale;
			row->error = value->error;
			row->norm = value->norm;
			memcpy(hnsw_build_half(builder, node), value->half,
				   sizeof(uint16) * shared->meta.padded);
		}
		else
		{
			MemoryContextSwitchTo(old);
			spool_row(builder, value, tid);
		}
		loaded = pg_atomic_add_fetch_u64(&shared->loaded, 1);
		hnsw_build_progress(builder, (double) loaded);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(load->context);
}

/* This participant's part of the table. */
static void
load_rows(HnswBuilder *builder, IndexInfo *indexInfo, ParallelTableScanDesc pscan)
{
	HnswBuildShared *shared = builder->shared;
	HnswLoad	load = {.builder = builder};
	TableScanDesc scan = NULL;
	double		heap_tuples;

	hnsw_build_phase(builder, HNSW_PHASE_LOAD, shared->estimated_rows);
	hnsw_value_alloc(builder->hnsw, &load.value);
	if (shared->graph.dim != shared->meta.padded)
	{
		float	   *unit = palloc0(sizeof(float) * builder->hnsw->index_dims);

		load.axes = palloc0(sizeof(float) * shared->graph.dim * shared->meta.padded);
		load.plain = palloc(sizeof(float) * shared->graph.dim);
		for (int i = 0; i < shared->graph.dim; i++)
		{
			float	   *axis = load.axes + (Size) i * shared->meta.padded;

			unit[i] = 1;
			if (builder->hnsw->rotated)
				rotate(&builder->hnsw->rotation, unit, axis);
			else
				axis[i] = 1;
			unit[i] = 0;
		}
		pfree(unit);
	}
	load.context = AllocSetContextCreate(CurrentMemoryContext, "hnsw build row",
										 ALLOCSET_DEFAULT_SIZES);

	if (pscan)
		scan = table_beginscan_parallel(builder->heap, pscan);
	heap_tuples = table_index_build_scan(builder->heap, builder->index, indexInfo, true,
										 builder->number == 0, load_callback, &load, scan);

	SpinLockAcquire(&shared->mutex);
	shared->heap_tuples += heap_tuples;
	shared->spooled += builder->spooled;
	shared->broken_hot_chain |= indexInfo->ii_BrokenHotChain;
	SpinLockRelease(&shared->mutex);

	ereport(DEBUG1,
			(errmsg_internal("%s processed %.0f tuples",
							 builder->number == 0 ? "leader" : "worker", heap_tuples)));
	MemoryContextDelete(load.context);
}

/* ---- graph ---- */

static void
graph_progress(void *arg, uint32_t done)
{
	hnsw_build_progress((HnswBuilder *) arg, done);
}

static void
build_graph(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	void	   *graph = hnsw_build_graph(builder);
	void	   *scratch = palloc_extended(graph_build_scratch_size(&shared->graph),
										  MCXT_ALLOC_HUGE);

	hnsw_build_phase(builder, HNSW_PHASE_GRAPH, graph_build_count(graph));
	graph_build_run(graph, builder->number, scratch,
					builder->number == 0 ? graph_progress : NULL, interrupt, builder);
	pfree(scratch);
}

/* ---- rows that did not fit ---- */

static void
read_spool(BufFile *spool, void *to, Size bytes)
{
	if (BufFileRead(spool, to, bytes) != bytes)
		elog(ERROR, "could not read back a row from a temporary file of an hnsw build");
}

static void
insert_spooled(HnswBuilder *builder)
{
	HnswBuildShared *shared = builder->shared;
	int			padded = shared->meta.padded;
	HnswInsert *insert;
	HnswValue	value;

	if (shared->spooled > 0)
		hnsw_build_phase(builder, HNSW_PHASE_INSERT, shared->spooled);
	if (builder->spool == NULL)
		return;

	if (BufFileSeek(builder->spool, 0, 0, SEEK_SET) != 0)
		elog(ERROR, "could not rewind a temporary file of an hnsw build");
	hnsw_value_alloc(builder->hnsw, &value);
	insert = hnsw_insert_begin(builder->index, true);
	for (double i = 0; i < builder->spooled; i++)
	{
		SpooledRow	row;

		CHECK_FOR_INTERRUPTS();
		read_spool(builder->spool, &row, sizeof(row));
		read_spool(builder->spool, value.half, sizeof(uint16) * padded);
		value.scale = row.scale;
		value.error = row.error;
		value.norm = row.norm;
		kernel->half_unpack(value.half, value.scale, padded, value.x);
		hnsw_calibrate_inserted(builder, value.x, hnsw_insert_value(insert, &value, &row.tid));
		hnsw_build_progress(builder, (double) pg_atomic_add_fetch_u64(&shared->inserted, 1));
	}
	hnsw_insert_end(insert);
	BufFileClose(builder->spool);
	builder->spool = NULL;
}

/* ---- participants ---- */

/*
 * The share of one participant in the build; in a parallel build all of them run
 * it at the same time.
 */
static void
participate(HnswBuilder *builder, IndexInfo *indexInfo, ParallelTableScanDesc pscan)
{
	HnswBuildShared *shared = builder->shared;
	bool		leader = builder->number == 0;

	builder->hnsw = palloc(hnsw_index_size(&shared->meta));
	hnsw_index_fill(builder->hnsw, &shared->meta,
					shared->meta.mean_pages > 0 ? hnsw_area(builder, shared->area.mean) : NULL);
	hnsw_build_clear_slots(builder);
	load_rows(builder, indexInfo, pscan);
	hnsw_build_sync(builder);

	hnsw_build_merge(builder);
	hnsw_build_sync(builder);
	build_graph(builder);
	hnsw_build_sync(builder);

	if (leader)
		hnsw_build_plan(builder);
	hnsw_build_sync(builder);
	builder->hnsw->meta = shared->meta;
	hnsw_build_write(builder);
	hnsw_build_sync(builder);

	if (leader)
	{
		hnsw_build_write_meta(builder);
		hnsw_calibrate_begin(builder);
	}
	hnsw_build_sync(builder);
	hnsw_calibrate_exact(builder);
	hnsw_build_sync(builder);
	insert_spooled(builder);
	hnsw_build_sync(builder);
	hnsw_calibrate_search(builder);
	hnsw_build_sync(builder);
	if (leader)
	{
		hnsw_calibrate_end(builder);
		hnsw_build_write_targets(builder);
	}
}

/* A parallel worker. */
PGDLLEXPORT void hnsw_parallel_build(dsm_segment *seg, shm_toc *toc);

void
hnsw_parallel_build(dsm_segment *seg, shm_toc *toc)
{
	HnswBuildShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	HnswBuilder builder = {
		.shared = shared,
		.area = shm_toc_lookup(toc, KEY_AREA, false),
		.number = ParallelWorkerNumber + 1
	};
	ParallelTableScanDesc pscan = shm_toc_lookup(toc, KEY_SCAN, false);
	char	   *query = shm_toc_lookup(toc, KEY_QUERY, true);
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	IndexInfo  *indexInfo;

	debug_query_string = query;
	pgstat_report_activity(STATE_RUNNING, debug_query_string);

	builder.heap = table_open(shared->heapid, heap_lock);
	builder.index = index_open(shared->indexid, index_lock);
	indexInfo = BuildIndexInfo(builder.index);
	indexInfo->ii_Concurrent = shared->concurrent;

	ConditionVariablePrepareToSleep(&shared->changed);
	for (;;)
	{
		bool		started;

		SpinLockAcquire(&shared->mutex);
		started = shared->started;
		SpinLockRelease(&shared->mutex);
		if (started)
			break;
		ConditionVariableSleep(&shared->changed, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();

	participate(&builder, indexInfo, pscan);

	index_close(builder.index, index_lock);
	table_close(builder.heap, heap_lock);
}

/* What the participants find when they are let go, but for their number. */
static void
init_shared(HnswBuild *build, const HnswBuildShared *plan)
{
	HnswBuildShared *shared = build->shared;

	*shared = *plan;
	SpinLockInit(&shared->mutex);
	ConditionVariableInit(&shared->changed);
	pg_atomic_init_u64(&shared->loaded, 0);
	pg_atomic_init_u32(&shared->full, 0);
	pg_atomic_init_u32(&shared->next_merge, 0);
	pg_atomic_init_u32(&shared->next_page, 0);
	pg_atomic_init_u32(&shared->next_exact, 0);
	pg_atomic_init_u32(&shared->next_query, 0);
	pg_atomic_init_u64(&shared->inserted, 0);
	if (build->mean)
		memcpy(build->area + shared->area.mean, build->mean,
			   sizeof(float) * (shared->meta.dims + (shared->meta.metric == METRIC_IP ? 1 : 0)));
}

/*
 * Set up shared memory and launch workers.  False when there are none: no
 * room, no slot, no luck; then nothing is left behind, and the build goes on
 * alone.
 */
static bool
begin_parallel(HnswBuild *build, const HnswBuildShared *plan, int workers)
{
	ParallelContext *pcxt;
	Size		scan_size;
	Size		query_size = debug_query_string ? strlen(debug_query_string) + 1 : 0;
	char	   *query;

	if (!shm_has_room(plan->area.total))
	{
		ereport(NOTICE,
				(errmsg("hnsw index \"%s\" is built without parallel workers",
						RelationGetRelationName(build->index)),
				 errdetail("A parallel build needs %zu MB of shared memory, which are not free.",
						   plan->area.total / (1024 * 1024) + 1),
				 errhint("Give /dev/shm more room, or lower maintenance_work_mem.")));
		return false;
	}

	EnterParallelMode();
	pcxt = CreateParallelContext("vecdb", "hnsw_parallel_build", workers);
	build->snapshot = plan->concurrent ?
		RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;

	scan_size = table_parallelscan_estimate(build->heap, build->snapshot);
	shm_toc_estimate_chunk(&pcxt->estimator, sizeof(HnswBuildShared));
	shm_toc_estimate_chunk(&pcxt->estimator, plan->area.total);
	shm_toc_estimate_chunk(&pcxt->estimator, scan_size);
	shm_toc_estimate_keys(&pcxt->estimator, 3);
	if (query_size > 0)
	{
		shm_toc_estimate_chunk(&pcxt->estimator, query_size);
		shm_toc_estimate_keys(&pcxt->estimator, 1);
	}
	InitializeParallelDSM(pcxt);

	if (pcxt->seg != NULL)
	{
		build->shared = shm_toc_allocate(pcxt->toc, sizeof(HnswBuildShared));
		shm_toc_insert(pcxt->toc, KEY_SHARED, build->shared);
		build->area = shm_toc_allocate(pcxt->toc, plan->area.total);
		shm_toc_insert(pcxt->toc, KEY_AREA, build->area);
		build->scan = shm_toc_allocate(pcxt->toc, scan_size);
		shm_toc_insert(pcxt->toc, KEY_SCAN, build->scan);
		if (query_size > 0)
		{
			query = shm_toc_allocate(pcxt->toc, query_size);
			memcpy(query, debug_query_string, query_size);
			shm_toc_insert(pcxt->toc, KEY_QUERY, query);
		}
		init_shared(build, plan);
		table_parallelscan_initialize(build->heap, build->scan, build->snapshot);

		LaunchParallelWorkers(pcxt);
	}

	if (pcxt->seg == NULL || pcxt->nworkers_launched == 0)
	{
		if (pcxt->seg)
			WaitForParallelWorkersToFinish(pcxt);
		if (IsMVCCSnapshot(build->snapshot))
			UnregisterSnapshot(build->snapshot);
		DestroyParallelContext(pcxt);
		ExitParallelMode();
		build->shared = NULL;
		build->area = NULL;
		build->scan = NULL;
		return false;
	}
	build->pcxt = pcxt;
	ereport(DEBUG1, (errmsg_internal("using %d parallel workers", pcxt->nworkers_launched)));

	/* Everybody passes the same barriers, so be sure who everybody is. */
	WaitForParallelWorkersToAttach(pcxt);
	build->shared->participants = pcxt->nworkers_launched + 1;
	build->shared->graph.participants = pcxt->nworkers_launched + 1;
	return true;
}

/* Let the participants go, and be one of them. */
static void
run_participants(HnswBuild *build)
{
	HnswBuildShared *shared = build->shared;
	HnswBuilder builder = {
		.shared = shared,
		.area = build->area,
		.heap = build->heap,
		.index = build->index
	};

	graph_build_init(hnsw_build_graph(&builder), &shared->graph);
	if (build->pcxt)
	{
		BarrierInit(&shared->barrier, shared->participants);
		SpinLockAcquire(&shared->mutex);
		shared->started = true;
		SpinLockRelease(&shared->mutex);
		ConditionVariableBroadcast(&shared->changed);
	}
	participate(&builder, build->indexInfo, build->scan);
}

static void
end_parallel(HnswBuild *build)
{
	WaitForParallelWorkersToFinish(build->pcxt);
	if (IsMVCCSnapshot(build->snapshot))
		UnregisterSnapshot(build->snapshot);
	DestroyParallelContext(build->pcxt);
	ExitParallelMode();
}

/* Layout of an index with the options given. */
static void
init_meta(Relation index, HnswMetaPageData *meta)
{
	int			m = hnsw_option_m(index);

	hnsw_layout(meta, support_dims(index, "hnsw", HNSW_MAX_DIMS), support_metric(index, true),
				m, hnsw_option_codes(index));
	meta->ef_construction = hnsw_option_ef_construction(index);
	if (meta->ef_construction < 2 * m)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ef_construction must be greater than or equal to 2 * m"),
				 errdetail("It is %d, and m is %d.", meta->ef_construction, m)));
}

IndexBuildResult *
hnswbuild(Relation heap, Relation index, IndexInfo *indexInfo)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	HnswBuild	build = {.heap = heap, .index = index, .indexInfo = indexInfo};
	HnswBuildShared plan = {0};
	Size		memory = (Size) maintenance_work_mem * 1024;
	SampleRows	rows;
	double		capacity;
	int			workers;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));

	plan.heapid = RelationGetRelid(heap);
	plan.indexid = RelationGetRelid(index);
	plan.concurrent = indexInfo->ii_Concurrent;
	init_meta(index, &plan.meta);
	sample_rows(&build, &plan.meta, memory, &rows);
	plan.estimated_rows = rows.rows;
	hnsw_build_plan_graph(&plan);

	/* as many as there can reasonably be */
	capacity = hnsw_build_capacity(rows.rows + 4 * rows.error);
	workers = plan_build_workers(heap, index, indexInfo);
	hnsw_build_plan_memory(&plan, workers + 1, memory, capacity);
	if (workers == 0 || !begin_parallel(&build, &plan, workers))
	{
		hnsw_build_plan_memory(&plan, 1, memory, capacity);
		build.shared = palloc(sizeof(HnswBuildShared));
		build.area = palloc_extended(plan.area.total, MCXT_ALLOC_HUGE);
		init_shared(&build, &plan);
	}
	run_participants(&build);

	result->heap_tuples = build.shared->heap_tuples;
	result->index_tuples = (double) pg_atomic_read_u64(&build.shared->loaded);
	/* of the workers', whose IndexInfo is their own */
	indexInfo->ii_BrokenHotChain |= build.shared->broken_hot_chain;
	if (build.pcxt)
		end_parallel(&build);
	else
		pfree(build.area);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, HNSW_PHASE_WRITE);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	return result;
}

/*
 * The init fork of an unlogged index, always logged: a crash copies it.  A
 * metapage and an entry table without entries.
 */
void
hnswbuildempty(Relation index)
{
	HnswMetaPageData meta;
	PGAlignedBlock image;
	Page		page = (Page) image.data;

	init_meta(index, &meta);
	meta.entry_head = HNSW_META_BLOCK + 1;
	meta.tids_room = InvalidBlockNumber;
	page_extend(index, INIT_FORKNUM, meta.entry_head + 1);

	memset(image.data, 0, BLCKSZ);
	hnsw_page_init(page, HNSW_PAGE_META, &meta);
	memcpy(HnswPageGetMeta(page), &meta, sizeof(meta));
	page_overwrite(index, INIT_FORKNUM, HNSW_META_BLOCK, image.data);

	memset(image.data, 0, BLCKSZ);
	hnsw_page_init(page, HNSW_PAGE_ENTRY, &meta);
	page_overwrite(index, INIT_FORKNUM, meta.entry_head, image.data);

	log_newpage_range(index, INIT_FORKNUM, 0,
					  RelationGetNumberOfBlocksInFork(index, INIT_FORKNUM), true);
}
