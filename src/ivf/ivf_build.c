/*-------------------------------------------------------------------------
 *
 * ivf_build.c
 *	  ivfbuild, ivfbuildempty, parallel workers.
 *
 * A build samples the table (ivf_sample.c), finds centroids (quant/kmeans),
 * assigns each row to the nearest one while it scans the table, sorts the
 * rows by list with a tuplesort, and writes list after list, so that a list
 * lies on consecutive blocks.  The pages are logged as a whole at the end.
 *
 * ivfpq: after k-means its codec learns from residuals of sampled rows (all but
 * rabitq), and what is sorted and written are codes.
 *
 * k-means and assignment are shared with parallel workers: all of them run
 * participate(), over one block of memory laid out by plan_area(), in dynamic
 * shared memory or, for a serial build, in our own.  Only the leader samples
 * and writes pages.
 *
 * Memory: half of maintenance_work_mem for the sample, half for the sorts that
 * come after it; for a moment the sample is there twice, beside the centroids
 * and their workspace, which must fit maintenance_work_mem alone.
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
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/barrier.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#include "am/shm.h"
#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/assign.h"
#include "quant/groups.h"
#include "quant/kmeans.h"

#define KEY_SHARED		UINT64CONST(0xB000000000000001)
#define KEY_AREA		UINT64CONST(0xB000000000000002)
#define KEY_SORT		UINT64CONST(0xB000000000000003)
#define KEY_SCAN		UINT64CONST(0xB000000000000004)
#define KEY_QUERY		UINT64CONST(0xB000000000000005)

/* Where things lie in the area, in bytes from its beginning. */
typedef struct IvfArea
{
	Size		sample;			/* sample_n * dims floats */
	Size		centroids;		/* lists * dims floats */
	Size		work_centroids; /* lists * work_dim floats, of ivfpq */
	Size		code_state;		/* codec_state_floats() */
	Size		residuals;		/* train_n * dims floats */
	Size		kmeans;			/* workspace of quant/kmeans */
	Size		assign;			/* prepared centroids */
	Size		group_first;	/* groups + 1 numbers: the lists of each */
	Size		middles;		/* groups * dims floats */
	Size		assign_middles; /* prepared middles */
	Size		queries;		/* nqueries * dims floats */
	Size		assign_queries; /* prepared queries */
	Size		nearest;		/* IvfNeighbor, per participant and query */
	Size		total;
} IvfArea;

/* What all participants know. */
typedef struct IvfBuildShared
{
	/* set before the start */
	Oid			heapid;
	Oid			indexid;
	bool		concurrent;
	int			dims;
	int			metric;			/* Metric */
	Codec		codec;			/* not attached; CODEC_NONE: ivfflat */
	uint16		copies;			/* rows have copies */
	int			train_n;		/* rows the codec learns from */
	int			space_n;		/* ... its space */
	double		rows;			/* of the table, estimated */
	int			sample_n;
	int			nqueries;
	float		copy_distance;	/* see ivf_calibration_add */
	int			sort_mem;		/* kB for each participant */
	KMeansParams kmeans;
	IvfArea		area;

	/* start: workers wait until the leader knows how many they are */
	slock_t		mutex;
	ConditionVariable changed;
	bool		started;
	Barrier		barrier;

	/* results */
	int			lists;			/* centroids that k-means made */
	int			groups;			/* of them; 0: none */
	int			done;			/* workers that finished their scan */
	double		heap_tuples;
	double		index_tuples;
	bool		broken_hot_chain;	/* somebody met one: see index_build() */
} IvfBuildShared;

/* One participant's assignment: rows are gathered into blocks. */
typedef struct IvfAssign
{
	IvfBuildShared *shared;
	char	   *area;
	MemoryContext context;		/* of detoasted values; reset with each row */
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	Size		slot_size;		/* a row of ivfflat with its varlena header */
	Codec		codec;			/* attached, of ivfpq */
	IvfLayout	layout;
	char	   *code;			/* a row of ivfpq with its varlena header */
	Size		code_size;
	float	   *encode_scratch;
	Groups		groups;
	void	   *group_scratch;
	int			block_rows;
	int			n;				/* rows gathered */
	char	   *block;			/* block_rows of slot_size */
	uint32	   *lists;
	float	   *distances;		/* ASSIGN_BLOCK_ROWS * nqueries */
	void	   *scratch;
	IvfNeighbor *nearest;
	double		index_tuples;
} IvfAssign;

/* The whole of a build, in the leader. */
typedef struct IvfBuild
{
	Relation	heap;
	Relation	index;
	IndexInfo  *indexInfo;
	Metric		metric;
	int			dims;
	Codec		codec;			/* CODEC_NONE: ivfflat */
	uint16		copies;			/* rows have copies */
	IvfSample	sample;
	IvfBuildShared *shared;
	char	   *area;
	ParallelContext *pcxt;		/* NULL in a serial build */
	Sharedsort *sharedsort;
	ParallelTableScanDesc scan;
	Snapshot	snapshot;
	Tuplesortstate *sort;
} IvfBuild;

static void
interrupt(void *arg)
{
	CHECK_FOR_INTERRUPTS();
}

static void
barrier_sync(void *arg)
{
	BarrierArriveAndWait((Barrier *) arg, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
}

/* Columns of the sort: list number, row as it goes to the page. */
TupleDesc
ivf_sort_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "list", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "row", BYTEAOID, -1, 0);
	return desc;
}

Tuplesortstate *
ivf_sort_begin(int sort_mem, SortCoordinate coordinate)
{
	AttrNumber	keys[] = {1};
	Oid			operators[] = {Int4LessOperator};
	Oid			collations[] = {InvalidOid};
	bool		nulls_first[] = {false};

	return tuplesort_begin_heap(ivf_sort_desc(), 1, keys, operators, collations,
								nulls_first, sort_mem, coordinate, TUPLESORT_NONE);
}

/* A row, as a varlena, into the sort; slot: a virtual one of ivf_sort_desc(). */
void
ivf_sort_put(Tuplesortstate *sort, TupleTableSlot *slot, uint32 list, char *datum)
{
	ExecClearTuple(slot);
	slot->tts_values[0] = Int32GetDatum((int32) list);
	slot->tts_isnull[0] = false;
	slot->tts_values[1] = PointerGetDatum(datum);
	slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort, slot);
}

/* Assign the rows gathered and hand them to the sort. */
static void
flush_block(IvfAssign *assign)
{
	IvfBuildShared *shared = assign->shared;
	Size		ld = assign->slot_size / sizeof(float);
	float	   *values = (float *) (assign->block + VARHDRSZ + IVF_ROW_HEAD);

	if (assign->n == 0)
		return;

	if (assign->groups.n > 0)
		groups_assign(&assign->groups, shared->lists, values, ld, assign->n, assign->lists,
					  NULL, assign->group_scratch, interrupt, NULL);
	else
		assign_rows(assign->area + shared->area.assign, values, ld, NULL, assign->n,
					assign->lists, NULL, assign->scratch, interrupt, NULL);

	for (int i = 0; i < assign->n; i++)
	{
		int			of_part = i % ASSIGN_BLOCK_ROWS;
		char	   *datum = assign->block + i * assign->slot_size;
		IvfRow		row = (IvfRow) (datum + VARHDRSZ);

		if (of_part == 0 && shared->nqueries > 0)
			assign_distances(assign->area + shared->area.assign_queries, values + i * ld, ld,
							 Min(assign->n - i, ASSIGN_BLOCK_ROWS), assign->distances,
							 shared->nqueries, assign->scratch, interrupt, NULL);
		ivf_calibration_add_row(assign->nearest, shared->nqueries, (Metric) shared->metric,
								row->normsq, assign->distances + (Size) of_part * shared->nqueries,
								shared->copy_distance, assign->lists[i]);

		if (assign->code)
		{
			ivf_make_row(&assign->codec, &assign->layout, (Metric) shared->metric,
						 (float *) (assign->area + shared->area.work_centroids) +
						 (Size) assign->lists[i] * assign->codec.work_dim,
						 row, assign->encode_scratch, assign->code + VARHDRSZ);
			datum = assign->code;
		}
		ivf_sort_put(assign->sort, assign->slot, assign->lists[i], datum);
	}
	assign->index_tuples += assign->n;
	assign->n = 0;
}

/* A row of the table. */
static void
assign_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				bool tupleIsAlive, void *arg)
{
	IvfAssign  *assign = (IvfAssign *) arg;
	char	   *datum = assign->block + assign->n * assign->slot_size;
	MemoryContext old;

	if (isnull[0])
		return;

	old = MemoryContextSwitchTo(assign->context);
	SET_VARSIZE(datum, assign->slot_size);
	if (ivf_form_row(assign->shared->metric, assign->shared->dims, values[0], tid,
					 (IvfRow) (datum + VARHDRSZ)))
		assign->n++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(assign->context);

	if (assign->n == assign->block_rows)
		flush_block(assign);
}

/* The codec of this process, over what lies in the area. */
static void
attach_codec(Codec *codec, const IvfBuildShared *shared, char *area)
{
	*codec = shared->codec;
	codec_attach(codec, (float *) (area + shared->area.code_state),
				 palloc(codec_memory(codec) + 1));
}

/* How rows will lie on the pages */
static void
build_layout(const IvfBuildShared *shared, IvfLayout *layout)
{
	IvfMetaPageData *meta = palloc(sizeof(IvfMetaPageData));

	ivf_meta_init(meta, shared->dims, (Metric) shared->metric, &shared->codec);
	meta->copies = shared->copies;
	ivf_layout(meta, layout);
	pfree(meta);
}

/*
 * All participants: centroids in the codec's space, residuals of sampled rows,
 * and what the codec learns from them.  The barrier is passed by all alike.
 */
static void
train_codec(IvfBuildShared *shared, char *area, int number, int lists, Codec *codec,
			void *scratch, KMeansSync sync)
{
	IvfLearning learning = {
		.dims = shared->dims,
		.lists = lists,
		.n = shared->train_n,
		.space_n = shared->space_n,
		.sample = (float *) (area + shared->area.sample),
		.centroids = (float *) (area + shared->area.centroids),
		.assign = area + shared->area.assign,
		.scratch = scratch,
		.work_centroids = (float *) (area + shared->area.work_centroids),
		.residuals = (float *) (area + shared->area.residuals),
		.interrupt = interrupt
	};

	ivf_learn_begin(&learning, codec, number, shared->kmeans.participants);
	if (sync)
		sync(&shared->barrier);
	if (shared->codec.kind == CODEC_OPQ)
	{
		ivf_learn_space(&learning, codec, number);
		if (sync)
			sync(&shared->barrier);
	}
	ivf_learn_end(&learning, codec, number, shared->kmeans.participants);
	if (sync)
		sync(&shared->barrier);
}

/* The leader: sort the centroids into groups, if they are many. */
static void
make_groups(IvfBuildShared *shared, char *area)
{
	int			wanted = groups_wanted(shared->lists, shared->dims);
	void	   *workspace;

	shared->groups = 0;
	if (wanted == 0)
		return;
	workspace = palloc_extended(groups_make_size(shared->lists, shared->dims, wanted),
								MCXT_ALLOC_HUGE);
	shared->groups = groups_make(workspace, (float *) (area + shared->area.centroids),
								 shared->lists, shared->dims, shared->kmeans.spherical, wanted,
								 (uint32 *) (area + shared->area.group_first),
								 (float *) (area + shared->area.middles), interrupt, NULL);
	pfree(workspace);
}

/*
 * The share of one participant in the build, from the sample to the sorted
 * rows; number 0 is the leader.  In a parallel build all of them run it at
 * the same time.
 */
static Tuplesortstate *
participate(IvfBuildShared *shared, char *area, int number, Relation heap,
			Relation index, IndexInfo *indexInfo, Sharedsort *sharedsort,
			ParallelTableScanDesc pscan)
{
	KMeansSync	sync = shared->kmeans.participants > 1 ? barrier_sync : NULL;
	float	   *centroids = (float *) (area + shared->area.centroids);
	bool		ip = shared->metric != METRIC_L2;
	IvfAssign	assign = {0};
	SortCoordinateData coordinate;
	TableScanDesc scan = NULL;
	Size		scratch_size;
	double		heap_tuples;
	int			lists;

	/* find the centroids */
	if (number == 0)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IVF_PHASE_KMEANS);
	lists = kmeans_run(area + shared->area.kmeans, number,
					   (float *) (area + shared->area.sample), centroids,
					   sync, interrupt, &shared->barrier);
	scratch_size = Max(assign_scratch_size(lists, shared->dims),
					   assign_scratch_size(Max(shared->nqueries, 1), shared->dims));
	assign.scratch = palloc_extended(scratch_size, MCXT_ALLOC_HUGE);
	if (number == 0)
	{
		shared->lists = lists;
		make_groups(shared, area);
		if (shared->groups > 0)
			assign_prepare(area + shared->area.assign_middles,
						   (float *) (area + shared->area.middles), shared->groups,
						   shared->dims, ip, assign.scratch);
		assign_prepare(area + shared->area.assign, centroids, lists, shared->dims, ip,
					   assign.scratch);
		if (shared->nqueries > 0)
			assign_prepare(area + shared->area.assign_queries,
						   (float *) (area + shared->area.queries),
						   shared->nqueries, shared->dims, ip, assign.scratch);
		if (shared->codec.kind != CODEC_NONE)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IVF_PHASE_CODEC);
	}
	if (sync)
		sync(&shared->barrier);
	if (shared->codec.kind != CODEC_NONE)
	{
		attach_codec(&assign.codec, shared, area);
		train_codec(shared, area, number, lists, &assign.codec, assign.scratch, sync);
		build_layout(shared, &assign.layout);
		assign.code_size = VARHDRSZ + assign.layout.moved_size;
		assign.code = palloc0(assign.code_size);
		SET_VARSIZE(assign.code, assign.code_size);
		assign.encode_scratch = palloc(ivf_encode_scratch(&assign.codec));
	}

	/* assign the rows of our part of the table */
	if (number == 0)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IVF_PHASE_ASSIGN);
	assign.shared = shared;
	assign.area = area;
	assign.context = AllocSetContextCreate(CurrentMemoryContext, "ivf build row",
										   ALLOCSET_DEFAULT_SIZES);
	assign.slot_size = VARHDRSZ + IVF_ROW_HEAD + sizeof(float) * shared->dims;
	assign.block_rows = assign_block_rows(shared->dims);
	if (shared->groups > 0)
	{
		assign.block_rows = groups_block_rows(assign.slot_size);
		assign.groups.n = shared->groups;
		assign.groups.dim = shared->dims;
		assign.groups.first = (uint32 *) (area + shared->area.group_first);
		assign.groups.middles = area + shared->area.assign_middles;
		assign.groups.centroids = area + shared->area.assign;
		assign.group_scratch = palloc_extended(groups_scratch_size(shared->groups, lists, shared->dims,
																   assign.block_rows),
											   MCXT_ALLOC_HUGE);
	}
	assign.block = palloc(assign.slot_size * assign.block_rows);
	assign.lists = palloc(sizeof(uint32) * assign.block_rows);
	assign.distances = palloc(sizeof(float) * ASSIGN_BLOCK_ROWS * Max(shared->nqueries, 1));
	assign.nearest = (IvfNeighbor *) (area + shared->area.nearest) +
		(Size) number * shared->nqueries * IVF_CALIBRATION_K;
	ivf_calibration_reset(assign.nearest, shared->nqueries);
	assign.slot = MakeSingleTupleTableSlot(ivf_sort_desc(), &TTSOpsVirtual);

	if (sharedsort)
	{
		coordinate.isWorker = true;
		coordinate.nParticipants = -1;
		coordinate.sharedsort = sharedsort;
	}
	assign.sort = ivf_sort_begin(shared->sort_mem, sharedsort ? &coordinate : NULL);
	if (pscan)
		scan = table_beginscan_parallel(heap, pscan);
	heap_tuples = table_index_build_scan(heap, index, indexInfo, true, number == 0,
										 assign_callback, &assign, scan);
	flush_block(&assign);
	tuplesort_performsort(assign.sort);

	SpinLockAcquire(&shared->mutex);
	shared->heap_tuples += heap_tuples;
	shared->index_tuples += assign.index_tuples;
	shared->broken_hot_chain |= indexInfo->ii_BrokenHotChain;
	shared->done++;
	SpinLockRelease(&shared->mutex);
	ConditionVariableBroadcast(&shared->changed);

	ereport(DEBUG1,
			(errmsg_internal("%s processed %.0f tuples",
							 number == 0 ? "leader" : "worker", heap_tuples)));

	ExecDropSingleTupleTableSlot(assign.slot);
	MemoryContextDelete(assign.context);
	pfree(assign.block);
	pfree(assign.lists);
	pfree(assign.distances);
	pfree(assign.scratch);
	if (assign.group_scratch)
		pfree(assign.group_scratch);
	return assign.sort;
}

/* A parallel worker. */
PGDLLEXPORT void ivf_parallel_build(dsm_segment *seg, shm_toc *toc);

void
ivf_parallel_build(dsm_segment *seg, shm_toc *toc)
{
	IvfBuildShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	char	   *area = shm_toc_lookup(toc, KEY_AREA, false);
	Sharedsort *sharedsort = shm_toc_lookup(toc, KEY_SORT, false);
	ParallelTableScanDesc pscan = shm_toc_lookup(toc, KEY_SCAN, false);
	char	   *query = shm_toc_lookup(toc, KEY_QUERY, true);
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	Relation	heap;
	Relation	index;
	IndexInfo  *indexInfo;

	debug_query_string = query;
	pgstat_report_activity(STATE_RUNNING, debug_query_string);

	heap = table_open(shared->heapid, heap_lock);
	index = index_open(shared->indexid, index_lock);
	indexInfo = BuildIndexInfo(index);
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

	tuplesort_attach_shared(sharedsort, seg);
	tuplesort_end(participate(shared, area, ParallelWorkerNumber + 1, heap, index,
							  indexInfo, sharedsort, pscan));

	index_close(index, index_lock);
	table_close(heap, heap_lock);
}

/* Room for one more thing in the area, on a cache line of its own. */
static Size
reserve(Size *total, Size bytes)
{
	Size		at = *total;

	*total = add_size(at, TYPEALIGN(64, bytes));
	return at;
}

static Size
reserve_array(Size *total, Size n, Size size)
{
	return reserve(total, mul_size(n, size));
}

/* Lay out the area; participants is the most there may be. */
static void
plan_area(IvfArea *area, const KMeansParams *kmeans, const Codec *codec, int train_n,
		  int nqueries)
{
	Size		vector = mul_size(sizeof(float), kmeans->dim);
	int			groups = groups_wanted(kmeans->k, kmeans->dim);
	Size		total = 0;

	area->centroids = reserve_array(&total, kmeans->k, vector);
	area->work_centroids = reserve_array(&total, kmeans->k, sizeof(float) * codec->work_dim);
	area->code_state = reserve_array(&total, codec_state_floats(codec), sizeof(float));
	area->residuals = reserve_array(&total, train_n, vector);
	area->kmeans = reserve_array(&total, 1, kmeans_workspace_size(kmeans));
	area->assign = reserve_array(&total, 1, assign_size(kmeans->k, kmeans->dim));
	area->group_first = reserve_array(&total, groups + 1, sizeof(uint32));
	area->middles = reserve_array(&total, groups, vector);
	area->assign_middles = groups > 0 ?
		reserve_array(&total, 1, assign_size(groups, kmeans->dim)) : 0;
	area->queries = reserve_array(&total, nqueries, vector);
	area->assign_queries = nqueries > 0 ?
		reserve_array(&total, 1, assign_size(nqueries, kmeans->dim)) : 0;
	area->nearest = reserve_array(&total, (Size) kmeans->participants * nqueries,
								  sizeof(IvfNeighbor) * IVF_CALIBRATION_K);
	/* last, so that its offset is the size of all the rest */
	area->sample = reserve_array(&total, kmeans->n, vector);
	area->total = total;
}

/* What the participants find when they are let go. */
static void
init_shared(IvfBuildShared *shared, const IvfBuildShared *plan)
{
	*shared = *plan;
	SpinLockInit(&shared->mutex);
	ConditionVariableInit(&shared->changed);
}

/* Move the sample into the area and make the queries of the calibration. */
static void
fill_area(IvfBuild *build)
{
	IvfBuildShared *shared = build->shared;
	float	   *sample = (float *) (build->area + shared->area.sample);

	memcpy(sample, build->sample.values, sizeof(float) * build->dims * shared->sample_n);
	pfree(build->sample.values);
	build->sample.values = NULL;
	shared->nqueries = ivf_calibration_queries(sample, shared->sample_n, shared->nqueries,
											   build->dims, build->metric,
											   (float *) (build->area + shared->area.queries),
											   &shared->copy_distance);
}

/*
 * Set up shared memory and launch workers.  False when there are none: no
 * room, no slot, no luck; then nothing is left behind, and the build goes on
 * alone.
 */
static bool
begin_parallel(IvfBuild *build, IvfBuildShared *plan, int workers)
{
	ParallelContext *pcxt;
	Size		sort_size;
	Size		scan_size;
	Size		query_size = debug_query_string ? strlen(debug_query_string) + 1 : 0;
	char	   *query;

	if (!shm_has_room(plan->area.total))
	{
		ereport(NOTICE,
				(errmsg("%s index \"%s\" is built without parallel workers",
						ivf_am_name(build->index), RelationGetRelationName(build->index)),
				 errdetail("A parallel build needs %zu MB of shared memory, which are not free.",
						   plan->area.total / (1024 * 1024) + 1),
				 errhint("Give /dev/shm more room, or lower maintenance_work_mem.")));
		return false;
	}

	EnterParallelMode();
	pcxt = CreateParallelContext("vecdb", "ivf_parallel_build", workers);
	build->snapshot = plan->concurrent ?
		RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;

	scan_size = table_parallelscan_estimate(build->heap, build->snapshot);
	sort_size = tuplesort_estimate_shared(workers + 1);
	shm_toc_estimate_chunk(&pcxt->estimator, sizeof(IvfBuildShared));
	shm_toc_estimate_chunk(&pcxt->estimator, plan->area.total);
	shm_toc_estimate_chunk(&pcxt->estimator, sort_size);
	shm_toc_estimate_chunk(&pcxt->estimator, scan_size);
	shm_toc_estimate_keys(&pcxt->estimator, 4);
	if (query_size > 0)
	{
		shm_toc_estimate_chunk(&pcxt->estimator, query_size);
		shm_toc_estimate_keys(&pcxt->estimator, 1);
	}
	InitializeParallelDSM(pcxt);

	if (pcxt->seg != NULL)
	{
		build->shared = shm_toc_allocate(pcxt->toc, sizeof(IvfBuildShared));
		shm_toc_insert(pcxt->toc, KEY_SHARED, build->shared);
		build->area = shm_toc_allocate(pcxt->toc, plan->area.total);
		shm_toc_insert(pcxt->toc, KEY_AREA, build->area);
		build->sharedsort = shm_toc_allocate(pcxt->toc, sort_size);
		shm_toc_insert(pcxt->toc, KEY_SORT, build->sharedsort);
		build->scan = shm_toc_allocate(pcxt->toc, scan_size);
		shm_toc_insert(pcxt->toc, KEY_SCAN, build->scan);
		if (query_size > 0)
		{
			query = shm_toc_allocate(pcxt->toc, query_size);
			memcpy(query, debug_query_string, query_size);
			shm_toc_insert(pcxt->toc, KEY_QUERY, query);
		}
		init_shared(build->shared, plan);
		tuplesort_initialize_shared(build->sharedsort, workers + 1, pcxt->seg);
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
		build->sharedsort = NULL;
		build->scan = NULL;
		return false;
	}
	build->pcxt = pcxt;
	ereport(DEBUG1, (errmsg_internal("using %d parallel workers", pcxt->nworkers_launched)));

	/* Everybody passes the same barriers, so be sure who everybody is. */
	WaitForParallelWorkersToAttach(pcxt);
	build->shared->kmeans.participants = pcxt->nworkers_launched + 1;
	return true;
}

/* Run the participants; afterwards build->sort gives all rows by list. */
static void
run_participants(IvfBuild *build)
{
	IvfBuildShared *shared = build->shared;
	int			participants = shared->kmeans.participants;
	SortCoordinateData coordinate;
	Tuplesortstate *own;

	kmeans_init(build->area + shared->area.kmeans, &shared->kmeans);
	if (build->pcxt)
	{
		BarrierInit(&shared->barrier, participants);
		SpinLockAcquire(&shared->mutex);
		shared->started = true;
		SpinLockRelease(&shared->mutex);
		ConditionVariableBroadcast(&shared->changed);
	}

	own = participate(shared, build->area, 0, build->heap, build->index,
					  build->indexInfo, build->sharedsort, build->scan);
	if (build->pcxt == NULL)
	{
		build->sort = own;
		return;
	}
	tuplesort_end(own);

	for (;;)
	{
		int			done;

		SpinLockAcquire(&shared->mutex);
		done = shared->done;
		SpinLockRelease(&shared->mutex);
		if (done == participants)
			break;
		ConditionVariableSleep(&shared->changed, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();

	coordinate.isWorker = false;
	coordinate.nParticipants = participants;
	coordinate.sharedsort = build->sharedsort;
	build->sort = ivf_sort_begin(shared->sort_mem * participants, &coordinate);
	tuplesort_performsort(build->sort);
}

static void
end_parallel(IvfBuild *build)
{
	WaitForParallelWorkersToFinish(build->pcxt);
	if (IsMVCCSnapshot(build->snapshot))
		UnregisterSnapshot(build->snapshot);
	DestroyParallelContext(build->pcxt);
	ExitParallelMode();
}

/* ---- writing pages ---- */

/* One more block of the index that is being built. */
static Buffer
build_page(Relation index, ForkNumber fork, uint8 kind)
{
	Buffer		buf = page_new(index, fork, IVF_SPECIAL_SIZE, true);

	page_init(BufferGetPage(buf), IVF_SPECIAL_SIZE, kind);
	MarkBufferDirty(buf);
	return buf;
}

/* Reserve consecutive blocks of a kind; returns the first. */
static BlockNumber
build_run(Relation index, ForkNumber fork, uint8 kind, uint32 generation, uint32 blocks)
{
	BlockNumber start = InvalidBlockNumber;

	for (uint32 i = 0; i < blocks; i++)
	{
		Buffer		buf = build_page(index, fork, kind);

		IvfPageGetOpaque(BufferGetPage(buf))->generation = generation;
		if (i == 0)
			start = BufferGetBlockNumber(buf);
		page_release(buf);
		CHECK_FOR_INTERRUPTS();
	}
	return start;
}

/* Put bytes onto a page that build_page() made. */
static void
write_content(Relation index, ForkNumber fork, BlockNumber blkno, int offset,
			  const void *data, Size bytes)
{
	Buffer		buf = page_read_fork(index, fork, blkno, BUFFER_LOCK_EXCLUSIVE,
									 IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);
	PageEdit	edit;

	page_edit_begin(&edit, index, true);
	page = page_edit_add(&edit, buf, false);
	memcpy(IvfPageContent(page) + offset, data, bytes);
	if (IvfPageUsed(page) < offset + bytes)
		IvfPageSetUsed(page, offset + bytes);
	page_edit_commit(&edit);
	page_release(buf);
}

/* The head of a list, or the page behind prev (which is released). */
static Buffer
build_list_page(Relation index, ForkNumber fork, const IvfLayout *layout, uint32 list,
				uint32 generation, Buffer prev)
{
	Buffer		buf = build_page(index, fork, IVF_PAGE_LIST);
	uint32		seq = 1;

	if (BufferIsValid(prev))
	{
		IvfPageOpaque opaque = IvfPageGetOpaque(BufferGetPage(prev));

		seq = opaque->seq + 1;
		opaque->next = BufferGetBlockNumber(buf);
		opaque->next_seq = seq;
		MarkBufferDirty(prev);
		page_release(prev);
	}
	ivf_page_init_list(BufferGetPage(buf), layout, IVF_PAGE_LIST, list, generation, seq);
	return buf;
}

/* Make the directory's blocks, and those of the centroids if there are any. */
static void
build_directory(Relation index, ForkNumber fork, IvfMetaPageData *meta)
{
	uint32		dir = (meta->lists + IVF_LISTS_PER_PAGE - 1) / IVF_LISTS_PER_PAGE;
	uint32		cent;

	meta->dir_extents = ivf_extents_add(meta->dir, 0, 0,
										build_run(index, fork, IVF_PAGE_DIR, meta->generation, dir),
										dir);
	if (meta->generation == 0)
		return;
	cent = ivf_centroid_pages(meta->lists, meta->dims);
	meta->cent_extents = ivf_extents_add(meta->cent, 0, 0,
										 build_run(index, fork, IVF_PAGE_CENT, meta->generation, cent),
										 cent);
}

static void
write_directory(Relation index, ForkNumber fork, const IvfMetaPageData *meta,
				const IvfListData *entries)
{
	for (uint32 list = 0; list < meta->lists; list++)
	{
		int			slot;
		BlockNumber blkno = ivf_list_block(meta, list, &slot);

		CHECK_FOR_INTERRUPTS();
		write_content(index, fork, blkno, slot * sizeof(IvfListData), &entries[list],
					  sizeof(IvfListData));
	}
}

static void
write_centroids(Relation index, const IvfMetaPageData *meta, const float *centroids)
{
	for (uint32 list = 0; list < meta->lists; list++)
	{
		int			slot;
		BlockNumber blkno = ivf_centroid_block(meta, list, &slot);
		const float *centroid = centroids + (Size) list * meta->dims;

		CHECK_FOR_INTERRUPTS();
		for (int done = 0; done < meta->dims; done += IVF_CONT_FLOATS, blkno++)
		{
			int			part = Min(meta->dims - done, IVF_CONT_FLOATS);

			write_content(index, MAIN_FORKNUM, blkno,
						  slot * meta->dims * sizeof(float), centroid + done,
						  part * sizeof(float));
		}
	}
}

/* Words (of 4 bytes) on pages of their own, which make one extent; returns 1. */
static int
write_words(Relation index, const IvfMetaPageData *meta, uint8 kind, const void *words,
			Size nwords, IvfExtent *extent)
{
	uint32		blocks = ivf_word_pages(nwords);
	BlockNumber start = build_run(index, MAIN_FORKNUM, kind, meta->generation, blocks);

	for (uint32 i = 0; i < blocks; i++)
	{
		Size		done = (Size) i * IVF_CONT_FLOATS;

		CHECK_FOR_INTERRUPTS();
		write_content(index, MAIN_FORKNUM, start + i, 0, (const float *) words + done,
					  sizeof(float) * Min(nwords - done, IVF_CONT_FLOATS));
	}
	return ivf_extents_add(extent, 0, 0, start, blocks);
}

/* What the codec has learnt. */
static void
write_code_state(Relation index, IvfMetaPageData *meta, const float *state, Size floats)
{
	if (floats > 0)
		meta->code_extents = write_words(index, meta, IVF_PAGE_CODEC, state, floats, &meta->code);
}

static void
write_groups(Relation index, IvfMetaPageData *meta, uint32 groups, const uint32 *first,
			 const float *middles)
{
	void	   *words;

	meta->groups = groups;
	if (groups == 0)
		return;
	words = ivf_groups_form(groups, meta->dims, first, middles);
	(void) write_words(index, meta, IVF_PAGE_GROUP, words, ivf_group_words(groups, meta->dims),
					   &meta->group);
	pfree(words);
}

/* An index without rows: metapage, a directory of one list, its empty page. */
static void
build_empty(Relation index, ForkNumber fork, Metric metric, int dims)
{
	IvfMetaPageData meta;
	Codec		codec;
	IvfLayout	layout;
	IvfListData entry = {0};
	Buffer		metabuf = build_page(index, fork, IVF_PAGE_META);
	Buffer		listbuf;

	if (ivf_has_codes(index))
		(void) ivf_choose_codec(index, dims, metric, false, ERROR, &codec);
	ivf_meta_init(&meta, dims, metric, ivf_has_codes(index) ? &codec : NULL);
	if (ivf_has_codes(index))
		(void) ivf_choose_copies(index, dims, metric, &codec, ERROR, &meta.copies);
	ivf_layout(&meta, &layout);
	meta.lists = meta.lists_alive = 1;
	build_directory(index, fork, &meta);
	listbuf = build_list_page(index, fork, &layout, 0, 0, InvalidBuffer);
	entry.head = entry.insert = BufferGetBlockNumber(listbuf);
	entry.pages = 1;
	page_release(listbuf);
	write_directory(index, fork, &meta, &entry);
	ivf_meta_write(index, metabuf, &meta);
	page_release(metabuf);
}

/* Write all lists from the sorted rows. */
static void
load_lists(IvfBuild *build, const IvfMetaPageData *meta, IvfListData *entries)
{
	Relation	index = build->index;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(ivf_sort_desc(), &TTSOpsMinimalTuple);
	IvfLayout	layout;
	IvfCopyFile *copies;
	IvfRow		long_row = palloc(meta->row_size);
	int64		loaded = 0;
	bool		more;

	ivf_layout(meta, &layout);
	copies = ivf_copy_file_create(&layout);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IVF_PHASE_LOAD);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL,
								 (int64) build->shared->index_tuples);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);

	more = tuplesort_gettupleslot(build->sort, true, false, slot, NULL);
	for (uint32 list = 0; list < meta->lists; list++)
	{
		IvfListData *entry = &entries[list];
		Buffer		buf = build_list_page(index, MAIN_FORKNUM, &layout, list,
										  meta->generation, InvalidBuffer);
		int			on_page = 0;

		entry->head = BufferGetBlockNumber(buf);
		entry->generation = meta->generation;
		entry->pages = 1;
		while (more)
		{
			bool		isnull;
			bytea	   *datum;
			Page		page;

			if (DatumGetInt32(slot_getattr(slot, 1, &isnull)) != (int32) list)
				break;
			datum = DatumGetByteaPP(slot_getattr(slot, 2, &isnull));
			if (on_page == layout.max_rows)
			{
				BlockNumber full = BufferGetBlockNumber(buf);

				/* interrupts wait as long as a page is locked, so let go */
				page_release(buf);
				CHECK_FOR_INTERRUPTS();
				buf = page_read(index, full, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
				buf = build_list_page(index, MAIN_FORKNUM, &layout, list, meta->generation, buf);
				entry->pages++;
				on_page = 0;
			}
			if (meta->row_size > IVF_PAGE_CAPACITY)
			{
				memcpy(long_row, VARDATA_ANY(datum), meta->row_size);
				ivf_write_long_row(index, meta, buf, long_row, true);
			}
			else
			{
				page = BufferGetPage(buf);
				ivf_page_put_row(page, &layout, on_page, VARDATA_ANY(datum));
				ivf_page_set_rows(page, &layout, on_page + 1);
				MarkBufferDirty(buf);
				ivf_copy_file_put(copies, VARDATA_ANY(datum));
			}
			on_page++;
			entry->rows++;
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, ++loaded);
			more = tuplesort_gettupleslot(build->sort, true, false, slot, NULL);
		}
		entry->insert = BufferGetBlockNumber(buf);
		page_release(buf);
		CHECK_FOR_INTERRUPTS();
	}
	if (more)
		elog(ERROR, "ivf build assigned a row to a list that does not exist");
	ivf_copy_file_write(copies, index, entries[0].head);

	ExecDropSingleTupleTableSlot(slot);
	pfree(long_row);
}

static double
spread_of(const IvfListData *entries, uint32 lists)
{
	uint64	   *rows = palloc(sizeof(uint64) * lists);
	double		spread;

	for (uint32 i = 0; i < lists; i++)
		rows[i] = entries[i].rows;
	spread = ivf_spread(rows, lists);
	pfree(rows);
	return spread;
}

/* Write the index, metapage last, and log it. */
static void
write_index(IvfBuild *build)
{
	Relation	index = build->index;
	IvfBuildShared *shared = build->shared;
	float	   *centroids = (float *) (build->area + shared->area.centroids);
	Buffer		metabuf = build_page(index, MAIN_FORKNUM, IVF_PAGE_META);
	bool		codes = build->codec.kind != CODEC_NONE;
	Codec		codec;
	IvfMetaPageData meta;
	IvfListData *entries;

	Assert(BufferGetBlockNumber(metabuf) == IVF_META_BLOCK);
	page_release(metabuf);

	if (codes)
		attach_codec(&codec, shared, build->area);
	ivf_meta_init(&meta, build->dims, build->metric, codes ? &codec : NULL);
	meta.copies = build->copies;
	meta.generation = 1;
	meta.lists = meta.lists_alive = shared->lists;
	meta.rows = meta.rows_at_build = (uint64) shared->index_tuples;
	build_directory(index, MAIN_FORKNUM, &meta);
	write_centroids(index, &meta, centroids);
	write_groups(index, &meta, shared->groups, (uint32 *) (build->area + shared->area.group_first),
				 (float *) (build->area + shared->area.middles));
	if (codes)
		write_code_state(index, &meta, codec.state, codec_state_floats(&codec));

	entries = palloc0(sizeof(IvfListData) * meta.lists);
	load_lists(build, &meta, entries);
	write_directory(index, MAIN_FORKNUM, &meta, entries);
	meta.spread_at_build = spread_of(entries, meta.lists);

	ivf_calibrate(&meta, entries, centroids, (float *) (build->area + shared->area.queries),
				  shared->nqueries, (IvfNeighbor *) (build->area + shared->area.nearest),
				  shared->kmeans.participants);
	if (codes)
		ivf_calibrate_codec(&meta, &codec, centroids,
							(float *) (build->area + shared->area.work_centroids),
							(float *) (build->area + shared->area.sample) +
							(Size) shared->train_n * shared->dims,
							shared->sample_n - shared->train_n, shared->copy_distance);
	metabuf = page_read(index, IVF_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
	ivf_meta_write(index, metabuf, &meta);
	page_release(metabuf);
	pfree(entries);
}

/* A row of a table that has nothing to train on, in build_untrained(). */
static void
untrained_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				   bool tupleIsAlive, void *arg)
{
	IndexBuildResult *result = (IndexBuildResult *) arg;

	if (!isnull[0] && ivf_insert_value(index, values[0], tid))
		result->index_tuples++;
}

/*
 * An index born empty.  The table may have rows nevertheless: NULLs, others
 * that a partial index leaves out, or vectors without direction, which inner
 * product indexes.  So it is scanned all the same, and its rows are counted:
 * the server takes the table's reltuples from here.
 */
static void
build_untrained(IvfBuild *build, IndexBuildResult *result)
{
	Relation	index = build->index;

	build_empty(index, MAIN_FORKNUM, build->metric, build->dims);
	/* before the first append, which logs changes to these pages */
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	result->heap_tuples = table_index_build_scan(build->heap, index, build->indexInfo,
												 true, true, untrained_callback,
												 result, NULL);
}

/*
 * Say where more lists were asked for than the rows are good for.  A list that fills half of its page
 * passes: the last page of any list is half empty on average.
 */
static void
notice_few_rows(Relation index, const IvfSample *sample)
{
	int			option = ivf_option_lists(index);
	int			half_page = sample->rows_per_page / 2;
	int			most = ivf_most_lists(sample->best_rows, half_page);

	if (option == OPTION_UNSET || option <= most)
		return;
	ereport(NOTICE,
			(errmsg("%s index \"%s\" created with few rows for its lists",
					ivf_am_name(index), RelationGetRelationName(index)),
			 half_page > IVF_LIST_ROWS ?
			 errdetail("About %.0f rows in %d lists are %.1f each; each list takes a page at least, which holds %d.",
					   sample->best_rows, option, sample->best_rows / option, sample->rows_per_page) :
			 errdetail("About %.0f rows in %d lists are %.1f each; a list should have %d, for its centroid to tell where rows are.",
					   sample->best_rows, option, sample->best_rows / option, IVF_LIST_ROWS),
			 errhint("Unless many more rows will come, set lists to %d at most, or leave it unset, and REINDEX.", most)));
}

/*
 * Say of an index that VACUUM will have to train, as there is too little to learn from:
 * fewer rows than lists that were asked for, or so few that it has one list, which is the same whether
 * there are any or none.  pgvector's words, which tools know, and behind them which index, as a migration may create many; but not
 * pgvector's advice, to drop the index until there are rows.
 *
 * Not when a commit empties a temporary table (ON COMMIT DELETE ROWS), which builds its indexes anew each
 * time: a command has a snapshot active, a commit has none any more.
 */
static void
notice_little_data(Relation index, const IvfSample *sample)
{
	int			option = ivf_option_lists(index);
	/* a full sample was cut to the memory allowed */
	bool		enough = option == OPTION_UNSET ? sample->rows >= IVF_FEW_ROWS :
		sample->n >= option || sample->n == sample->max_n;

	if (!ActiveSnapshotSet())
		return;
	if (sample->n > 0 && enough)
	{
		notice_few_rows(index, sample);
		return;
	}
	ereport(NOTICE,
			(errmsg("%s index created with little data", ivf_am_name(index)),
			 sample->n > 0 && option != OPTION_UNSET ?
			 errdetail("Index \"%s\" has %d lists at most, as many as rows, until VACUUM, or autovacuum, meets enough rows.",
					   RelationGetRelationName(index), sample->n) :
			 errdetail("Index \"%s\" has one list, which is read whole, until VACUUM, or autovacuum, meets enough rows.",
					   RelationGetRelationName(index)),
			 errhint("After loading data, VACUUM the table.")));
}

/* Lay out the area for so many participants, and share out the sort memory. */
static void
plan_participants(IvfBuildShared *plan, int participants, Size memory)
{
	plan->kmeans.participants = participants;
	/* the queries' vectors, plain and prepared, take an eighth at most */
	plan->nqueries = (int) Min(memory / 16 / (sizeof(float) * plan->dims),
							   IVF_CALIBRATION_QUERIES);
	plan->train_n = codec_train_parts(&plan->codec) == 0 ? 0 :
		(int) Min(Min(Max(plan->sample_n * 4.0 / 5, 1), IVF_TRAIN_ROWS),
				  Max(memory / 4 / (sizeof(float) * plan->dims), 1));
	/* its error needs no name of the index */
	plan->space_n = ivf_space_rows(NULL, &plan->codec, plan->train_n, plan->rows, memory, ERROR);
	plan_area(&plan->area, &plan->kmeans, &plan->codec, plan->train_n, plan->nqueries);
	plan->sort_mem = (int) Max(memory / 1024 / 2 / participants, 64);
}

/* All that lies before the sample, and what the leader sorts the centroids into groups in. */
static Size
least_memory(const IvfBuildShared *plan)
{
	int			groups = groups_wanted(plan->kmeans.k, plan->dims);

	return add_size(plan->area.sample,
					groups > 0 ? groups_make_size(plan->kmeans.k, plan->dims, groups) : 0);
}

/*
 * The centroids and their training must fit the memory allowed, whatever the
 * sample is: fewer lists if the number was ours to choose, else an error.
 */
static void
fit_memory(IvfBuild *build, IvfBuildShared *plan, Size memory)
{
	for (;;)
	{
		Size		needed;

		plan_participants(plan, 1, memory);
		needed = least_memory(plan);
		if (needed <= memory || plan->kmeans.k == 1)
			return;
		if (ivf_option_lists(build->index) != OPTION_UNSET)
		{
			/* a sample cut to the memory allows few lists: what do all need? */
			plan->kmeans.k = (int) Max(Min(build->sample.lists, build->sample.rows), plan->kmeans.k);
			plan->kmeans.n = Max(plan->kmeans.n, plan->kmeans.k);
			plan_participants(plan, 1, memory);
			needed = least_memory(plan);
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("memory required is %zu MB, maintenance_work_mem is %d MB",
							needed / (1024 * 1024) + 1, maintenance_work_mem / 1024),
					 errhint("Increase maintenance_work_mem, or decrease lists.")));
		}
		plan->kmeans.k /= 2;
	}
}

/* Plan and run a build over a table that has rows. */
static void
build_lists(IvfBuild *build, Size memory, IndexBuildResult *result)
{
	IvfBuildShared plan = {0};
	int			workers;

	plan.heapid = RelationGetRelid(build->heap);
	plan.indexid = RelationGetRelid(build->index);
	plan.concurrent = build->indexInfo->ii_Concurrent;
	plan.dims = build->dims;
	plan.metric = build->metric;
	plan.codec = build->codec;
	plan.copies = build->copies;
	plan.rows = build->sample.rows;
	plan.sample_n = build->sample.n;
	plan.kmeans.n = build->sample.n;
	plan.kmeans.dim = build->dims;
	plan.kmeans.k = Min(build->sample.lists, build->sample.n);
	plan.kmeans.spherical = build->metric != METRIC_L2 ||
		ivf_all_unit_length(build->sample.values, build->sample.n, build->dims);
	plan.kmeans.max_iterations = IVF_KMEANS_ITERATIONS;
	plan.kmeans.seed = IVF_KMEANS_SEED;

	fit_memory(build, &plan, memory);
	workers = plan_build_workers(build->heap, build->index, build->indexInfo);
	plan_participants(&plan, workers + 1, memory);
	if (workers == 0 || !begin_parallel(build, &plan, workers))
	{
		plan_participants(&plan, 1, memory);
		build->shared = palloc(sizeof(IvfBuildShared));
		build->area = palloc_extended(plan.area.total, MCXT_ALLOC_HUGE);
		init_shared(build->shared, &plan);
	}
	fill_area(build);
	run_participants(build);
	write_index(build);
	result->heap_tuples = build->shared->heap_tuples;
	result->index_tuples = build->shared->index_tuples;
	/* of the workers', whose IndexInfo is their own */
	build->indexInfo->ii_BrokenHotChain |= build->shared->broken_hot_chain;

	tuplesort_end(build->sort);
	if (build->pcxt)
		end_parallel(build);
	else
		pfree(build->area);
}

IndexBuildResult *
ivfbuild(Relation heap, Relation index, IndexInfo *indexInfo)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	IvfBuild	build = {0};
	Size		memory = (Size) maintenance_work_mem * 1024;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));

	build.heap = heap;
	build.index = index;
	build.indexInfo = indexInfo;
	build.metric = support_metric(index, false);
	build.dims = support_dims(index, ivf_am_name(index), VECTOR_MAX_DIM);

	if (ivf_has_codes(index))
	{
		(void) ivf_choose_codec(index, build.dims, build.metric, true, ERROR, &build.codec);
		(void) ivf_choose_copies(index, build.dims, build.metric, &build.codec, ERROR, &build.copies);
	}

	ivf_sample_rows(heap, index, indexInfo, build.metric, build.dims,
					ivf_has_codes(index) ? &build.codec : NULL, memory / 2, &build.sample);
	notice_little_data(index, &build.sample);
	if (build.sample.n == 0)
		build_untrained(&build, result);
	else
	{
		build_lists(&build, memory, result);
		if (RelationNeedsWAL(index))
			log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	}
	return result;
}

/* The init fork of an unlogged index, always logged: a crash copies it. */
void
ivfbuildempty(Relation index)
{
	build_empty(index, INIT_FORKNUM, support_metric(index, false),
				support_dims(index, ivf_am_name(index), VECTOR_MAX_DIM));
	log_newpage_range(index, INIT_FORKNUM, 0,
					  RelationGetNumberOfBlocksInFork(index, INIT_FORKNUM), true);
}
