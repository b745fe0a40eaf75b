/*-------------------------------------------------------------------------
 *
 * ivf_train.c
 *	  Training in VACUUM: an index born empty gets lists, one that has outgrown
 *	  its lists gets new ones.
 *
 * The rows of the index are sampled, centroids found, and an empty generation of
 * lists written beside the old one.  One record on the metapage sends inserts
 * there.  Then the old lists are closed page by page, and their rows sorted and
 * copied, marked as copies; scans go on reading the old lists, and of the new ones
 * what is no copy.  One more record makes the new generation the only one.  The
 * old pages stay until no scan can be in them: a later VACUUM frees them.
 *
 * ivfpq: codes are relative to the centroid of their list, so they are made anew,
 * from values read from the table, in its order (ivf_fetch.c); the codec learns
 * anew, too.
 *
 * Rows of the old lists stay where they are, so nothing moves behind
 * ambulkdelete: while VACUUM works on a table no other may, and this one has
 * ended its passes when it comes here.  README.md has the states, and what a
 * crash or a cancel leaves in each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "am/point.h"
#include "compat.h"
#include "ivf/ivf_private.h"
#include "quant/assign.h"
#include "quant/groups.h"
#include "quant/kmeans.h"
#include "quant/random.h"

/*
 * When to train anew: grown to so many times the rows, or the lists grown so much
 * more unequal.  README.md has the measurement.
 */
#define RETRAIN_GROWTH		2
#define RETRAIN_SPREAD		1.5

#define SAMPLE_SEED			0x7472616E

/* k-means and assignment touch no page, so they pay for their time like this. */
#define COST_OF_A_MOMENT	20

typedef struct IvfTraining
{
	IndexVacuumInfo *info;
	Relation	index;
	Size		memory;
	IvfLayout	layout;			/* of the old lists ... */
	IvfLayout	new_layout;		/* ... and of the new ones */
	IvfMetaPageData old;		/* as if there were no new lists */
	IvfMetaPageData new;		/* as if there were no old ones */
	float	   *centroids;
	int			groups;			/* of them; 0: none */
	uint32	   *group_first;	/* lists of each */
	float	   *middles;
	Codec		codec;			/* of the new lists; CODEC_NONE: ivfflat */
	float	   *work_centroids; /* in its space */
	IvfFetch   *fetch;			/* ivfpq: values */
	IvfListData *entries;		/* of the new lists: rows, for the calibration */

	/* sampled rows; unit length unless the metric is L2 */
	int			n;
	float	   *sample;
	int			learnt;			/* so many of them the codec has learnt from */
	int			space_n;		/* ... its space */

	/* calibration */
	int			nqueries;
	float	   *queries;
	float		copy_distance;
	IvfNeighbor *nearest;

	/* copying: rows gathered into blocks, then sorted */
	Tuplesortstate *tids;		/* ivfpq: of the old lists */
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	Size		slot_size;		/* a row of ivfflat with its varlena header */
	char	   *code;			/* a row of ivfpq with its varlena header */
	float	   *encode_scratch;
	int			block_rows;
	int			nblock;
	char	   *block;
	uint32	   *lists;
	float	   *distances;
	char	   *assign;			/* prepared centroids */
	char	   *assign_middles;
	char	   *assign_queries;
	Groups		assign_groups;
	void	   *group_scratch;
	void	   *scratch;
	uint64		copied;
} IvfTraining;

/* In the loops of plain C that touch no page. */
static void
pause_training(void *arg)
{
	if (VacuumCostActive)
		VacuumCostBalance += COST_OF_A_MOMENT;
	VACUUM_DELAY_POINT();
}

/* ---- pages of the new generation, which nobody else looks at ---- */

/* Give a zeroed block its page. */
static void
write_page(Relation index, BlockNumber blkno, uint8 kind, uint32 generation,
		   const void *content, Size bytes)
{
	PageVerdict verdict;
	Buffer		buf;
	PageEdit	edit;
	Page		page;

	VACUUM_DELAY_POINT();
	buf = page_read_any(index, blkno, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE, NULL,
						&verdict);
	page_edit_begin(&edit, index, false);
	page = page_edit_add(&edit, buf, true);
	page_init(page, IVF_SPECIAL_SIZE, kind);
	IvfPageGetOpaque(page)->generation = generation;
	memcpy(IvfPageContent(page), content, bytes);
	IvfPageSetUsed(page, bytes);
	page_edit_commit(&edit);
	page_release(buf);
}

/* The head of each list, an empty page. */
static void
write_heads(IvfTraining *training)
{
	Relation	index = training->index;
	IvfMetaPageData *new = &training->new;

	for (uint32 list = 0; list < new->lists; list++)
	{
		IvfListData *entry = &training->entries[list];
		PageEdit	edit;
		Buffer		buf;

		VACUUM_DELAY_POINT();
		buf = page_new(index, MAIN_FORKNUM, IVF_SPECIAL_SIZE, false);
		page_edit_begin(&edit, index, false);
		ivf_page_init_list(page_edit_add(&edit, buf, true), &training->new_layout,
						   IVF_PAGE_LIST, list, new->generation, 1);
		page_edit_commit(&edit);
		entry->head = entry->insert = BufferGetBlockNumber(buf);
		entry->generation = new->generation;
		entry->pages = 1;
		page_release(buf);
	}
}

static void
write_directory(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	uint32		blocks = (new->lists + IVF_LISTS_PER_PAGE - 1) / IVF_LISTS_PER_PAGE;
	BlockNumber start = page_new_run(training->index, blocks);

	for (uint32 i = 0; i < blocks; i++)
	{
		uint32		first = i * IVF_LISTS_PER_PAGE;

		write_page(training->index, start + i, IVF_PAGE_DIR, new->generation,
				   &training->entries[first],
				   Min(new->lists - first, IVF_LISTS_PER_PAGE) * sizeof(IvfListData));
	}
	new->dir_extents = ivf_extents_add(new->dir, 0, 0, start, blocks);
}

static void
write_centroids(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	uint32		dims = new->dims;
	uint32		per_page = ivf_centroids_per_page(dims);
	uint32		pages = ivf_pages_per_centroid(dims);
	uint32		blocks = ivf_centroid_pages(new->lists, dims);
	BlockNumber start = page_new_run(training->index, blocks);

	for (uint32 i = 0; i < blocks; i++)
	{
		/* page i: from that float on, so many */
		Size		first = per_page > 0 ? (Size) i * per_page * dims :
			(Size) (i / pages) * dims + (i % pages) * IVF_CONT_FLOATS;
		Size		n = per_page > 0 ? Min(per_page, new->lists - i * per_page) * dims :
			Min(dims - (i % pages) * IVF_CONT_FLOATS, IVF_CONT_FLOATS);

		write_page(training->index, start + i, IVF_PAGE_CENT, new->generation,
				   training->centroids + first, n * sizeof(float));
	}
	new->cent_extents = ivf_extents_add(new->cent, 0, 0, start, blocks);
}

/* Words (of 4 bytes) on pages of their own, which make one extent; returns 1. */
static int
write_words(IvfTraining *training, uint8 kind, const void *words, Size nwords, IvfExtent *extent)
{
	uint32		blocks = ivf_word_pages(nwords);
	BlockNumber start = page_new_run(training->index, blocks);

	for (uint32 i = 0; i < blocks; i++)
	{
		Size		done = (Size) i * IVF_CONT_FLOATS;

		write_page(training->index, start + i, kind, training->new.generation,
				   (const float *) words + done,
				   Min(nwords - done, IVF_CONT_FLOATS) * sizeof(float));
	}
	return ivf_extents_add(extent, 0, 0, start, blocks);
}

/* What the codec has learnt. */
static void
write_code_state(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	Size		floats = training->codec.kind == CODEC_NONE ? 0 : codec_state_floats(&training->codec);

	new->code_extents = 0;
	memset(&new->code, 0, sizeof(new->code));
	if (floats > 0)
		new->code_extents = write_words(training, IVF_PAGE_CODEC, training->codec.state, floats,
										&new->code);
}

static void
write_groups(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	void	   *words;

	new->groups = training->groups;
	memset(&new->group, 0, sizeof(new->group));
	if (new->groups == 0)
		return;
	words = ivf_groups_form(new->groups, new->dims, training->group_first, training->middles);
	(void) write_words(training, IVF_PAGE_GROUP, words, ivf_group_words(new->groups, new->dims),
					   &new->group);
	pfree(words);
}

/* One record: inserts go to the new lists, scans read them as well. */
static void
begin_generation(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	PageEdit	edit;
	Buffer		buf;
	IvfMetaPage meta = ivf_meta_edit(training->index, &edit, &buf);

	ivf_meta_set_next(meta, new);
	ivf_meta_commit(&edit, buf);
}

/*
 * One record: the new lists are the only ones.  Whoever read the metapage before
 * it has a snapshot or a transaction ID older than the next one now.
 */
static void
end_generation(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	PageEdit	edit;
	Buffer		buf;
	IvfMetaPage meta = ivf_meta_edit(training->index, &edit, &buf);

	ivf_meta_retire(meta, U64FromFullTransactionId(ReadNextFullTransactionId()));
	ivf_meta_take_next(meta);
	meta->rows = meta->rows_at_build = new->rows;
	meta->num_targets = new->num_targets;
	memcpy(meta->targets, new->targets, sizeof(meta->targets));
	meta->nearest_floor = new->nearest_floor;
	meta->spread_at_build = new->spread_at_build;
	ivf_meta_commit(&edit, buf);
}

/* ---- the old lists ---- */

static inline IvfRow
row_at(IvfRow rows, uint32 row_size, int i)
{
	return (IvfRow) ((char *) rows + (Size) i * row_size);
}

/*
 * Rows of a page of the old lists that lies at blkno, copied into rows (a page
 * full of them); 0 where there is none.  Where a row takes several pages it is
 * made whole.
 */
static int
read_rows(IvfTraining *training, BlockNumber blkno, Page page, IvfRow rows, Buffer *buf)
{
	IvfMetaPageData *old = &training->old;
	int			n = ivf_page_rows(training->index, blkno, page, &training->layout);
	IvfPageOpaque opaque = IvfPageGetOpaque(page);
	uint32		list = opaque->list;
	uint32		seq = opaque->seq;

	for (int i = 0; i < n && old->row_size <= IVF_PAGE_CAPACITY; i++)
		ivf_page_get_row(page, &training->layout, i, (char *) row_at(rows, old->row_size, i));
	page_release(*buf);
	*buf = InvalidBuffer;
	if (n > 0 && old->row_size > IVF_PAGE_CAPACITY &&
		!ivf_row_read(training->index, old, blkno, list, seq, rows))
		return 0;
	return n;
}

/* The value of a row of ivfpq as a row of ivfflat; false: the table has it no more. */
static bool
fetch_row(IvfTraining *training, ItemPointer tid, IvfRow row)
{
	IvfMetaPageData *old = &training->old;
	MemoryContext context;
	Datum		value;
	bool		has_place;

	VACUUM_DELAY_POINT();
	if (!ivf_fetch_any(training->fetch, tid, &value))
		return false;
	context = MemoryContextSwitchTo(training->fetch->row.row_context);
	has_place = ivf_form_row((Metric) old->metric, old->dims, value, tid, row);
	MemoryContextSwitchTo(context);
	return has_place;
}

/* Put a row's value at the end of the sample. */
static void
sample_row(IvfTraining *training, const IvfRowData *row)
{
	int			dims = training->old.dims;

	if (ivf_sample_put((Metric) training->old.metric, row->value, dims,
					   training->sample + (Size) training->n * dims))
		training->n++;
}

/*
 * Sample max_n rows of the old lists, in random order, in one pass over the
 * file (Knuth's selection sampling; the metapage says how many rows there are).
 * Of ivfpq these are TIDs, and their values are then read in the order of the table.
 */
static void
sample_lists(IvfTraining *training, int max_n)
{
	IvfMetaPageData *old = &training->old;
	Relation	index = training->index;
	int			dims = old->dims;
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	IvfRow		rows = palloc(Max(BLCKSZ, IVF_ROW_HEAD + sizeof(float) * dims));
	ItemPointerData *tids = training->fetch ?
		palloc_extended(sizeof(ItemPointerData) * max_n, MCXT_ALLOC_HUGE) : NULL;
	int			ntids = 0;
	float	   *swap = palloc(sizeof(float) * dims);
	uint64		random = SAMPLE_SEED;
	uint64		seen = 0;

	training->n = 0;
	training->sample = palloc_extended(sizeof(float) * dims * max_n, MCXT_ALLOC_HUGE);
	for (BlockNumber blkno = 0; blkno < nblocks && training->n + ntids < max_n; blkno++)
	{
		PageVerdict verdict;
		Buffer		buf;
		Page		page;
		int			n;

		VACUUM_DELAY_POINT();
		buf = page_read_any(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE,
							training->info->strategy, &verdict);
		page = BufferGetPage(buf);
		if (verdict != PAGE_OK || IvfPageKind(page) != IVF_PAGE_LIST ||
			IvfPageGetOpaque(page)->generation != old->generation)
		{
			page_release(buf);
			continue;
		}
		n = read_rows(training, blkno, page, rows, &buf);
		for (int i = 0; i < n && seen < old->rows && training->n + ntids < max_n; i++, seen++)
		{
			char	   *row = (char *) row_at(rows, old->row_size, i);

			if (random_below(&random, old->rows - seen) >= max_n - training->n - ntids)
				continue;
			if (tids == NULL)
				sample_row(training, (IvfRow) row);
			else
				memcpy(&tids[ntids++], row, sizeof(ItemPointerData));
		}
	}
	if (tids)
	{
		qsort(tids, ntids, sizeof(ItemPointerData), heap_cmp_tid);
		for (int i = 0; i < ntids; i++)
			if (fetch_row(training, &tids[i], rows))
				sample_row(training, rows);
		ivf_fetch_reset(training->fetch);
		pfree(tids);
	}

	for (int i = training->n - 1; i > 0; i--)
	{
		float	   *a = training->sample + (Size) i * dims;
		float	   *b = training->sample + (Size) random_below(&random, i + 1) * dims;

		memcpy(swap, a, sizeof(float) * dims);
		memmove(a, b, sizeof(float) * dims);
		memcpy(b, swap, sizeof(float) * dims);
	}
	pfree(rows);
	pfree(swap);
}

/* Find the new lists of gathered rows, and hand them to the sort. */
static void
flush_block(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	Size		ld = training->slot_size / sizeof(float);
	float	   *values = (float *) (training->block + VARHDRSZ + IVF_ROW_HEAD);

	if (training->nblock == 0)
		return;
	if (training->groups > 0)
		groups_assign(&training->assign_groups, (int) new->lists, values, ld, training->nblock,
					  training->lists, NULL, training->group_scratch, pause_training, NULL);
	else
		assign_rows(training->assign, values, ld, NULL, training->nblock, training->lists,
					NULL, training->scratch, pause_training, NULL);
	for (int i = 0; i < training->nblock; i++)
	{
		int			of_part = i % ASSIGN_BLOCK_ROWS;
		char	   *datum = training->block + i * training->slot_size;
		IvfRow		row = (IvfRow) (datum + VARHDRSZ);
		uint32		list = training->lists[i];

		if (of_part == 0 && training->nqueries > 0)
			assign_distances(training->assign_queries, values + i * ld, ld,
							 Min(training->nblock - i, ASSIGN_BLOCK_ROWS), training->distances,
							 training->nqueries, training->scratch, pause_training, NULL);
		ivf_calibration_add_row(training->nearest, training->nqueries, (Metric) new->metric,
								row->normsq,
								training->distances + (Size) of_part * training->nqueries,
								training->copy_distance, list);
		training->entries[list].rows++;
		if (training->code)
		{
			ivf_make_row(&training->codec, &training->new_layout, (Metric) new->metric,
						 training->work_centroids + (Size) list * training->codec.work_dim,
						 row, training->encode_scratch, training->code + VARHDRSZ);
			datum = training->code;
		}
		ivf_sort_put(training->sort, training->slot, list, datum);
	}
	training->copied += training->nblock;
	training->nblock = 0;
}

/* A row of the old lists, to be copied. */
static void
gather_row(IvfTraining *training, IvfRow row)
{
	char	   *datum = training->block + training->nblock * training->slot_size;

	SET_VARSIZE(datum, training->slot_size);
	memcpy(VARDATA(datum), row, training->slot_size - VARHDRSZ);
	if (++training->nblock == training->block_rows)
		flush_block(training);
}

/* itemptr_encode() of a TID that a damaged page may have made invalid */
static inline int64
tid_to_number(const ItemPointerData *tid)
{
	return (int64) ItemPointerGetBlockNumberNoCheck(tid) << 16 |
		ItemPointerGetOffsetNumberNoCheck(tid);
}

/* Gather the rows of ivfpq: their values, in the order of the table. */
static void
gather_values(IvfTraining *training, IvfRow row)
{
	Datum		number;
	bool		isnull;

	tuplesort_performsort(training->tids);
	while (sorted_datum(training->tids, &number, &isnull))
	{
		ItemPointerData tid;

		itemptr_decode(&tid, DatumGetInt64(number));
		if (fetch_row(training, &tid, row))
			gather_row(training, row);
	}
	tuplesort_end(training->tids);
	ivf_fetch_reset(training->fetch);
}

/*
 * Close a list, page by page from its head, and hand its rows to the sort.  A
 * page that an insert could still use (one with room, or the last one, which can
 * get a successor) is frozen; then its rows, and those of a full page anyway, are
 * what they will be until a later VACUUM.  An insert that comes to a frozen page
 * reads the metapage again, which has named the new lists before.
 */
static void
close_list(IvfTraining *training, uint32 list, IvfRow rows)
{
	IvfMetaPageData *old = &training->old;
	Relation	index = training->index;
	IvfListData entry;
	BlockNumber blkno;
	uint32		seq = 1;

	ivf_list_read(index, old, list, &entry);
	blkno = entry.head;
	while (blkno != InvalidBlockNumber)
	{
		BlockNumber at = blkno;
		Buffer		buf;
		Page		page;
		IvfPageOpaque opaque;
		int			n;

		VACUUM_DELAY_POINT();
		buf = page_read(index, blkno, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
		page = BufferGetPage(buf);
		opaque = IvfPageGetOpaque(page);
		/* nobody but VACUUM takes pages out of a chain */
		if (IvfPageKind(page) != IVF_PAGE_LIST || opaque->list != list ||
			opaque->generation != old->generation || opaque->seq != seq ||
			(opaque->next != InvalidBlockNumber && opaque->next_seq <= seq))
			page_corrupted(index, blkno, "Expected page %u of list %u.", seq, list);

		n = ivf_page_rows(index, blkno, page, &training->layout);
		if ((n < training->layout.max_rows || opaque->next == InvalidBlockNumber) &&
			(opaque->flags & IVF_PAGE_FROZEN) == 0)
		{
			PageEdit	edit;

			page_edit_begin(&edit, index, false);
			IvfPageGetOpaque(page_edit_add(&edit, buf, false))->flags |= IVF_PAGE_FROZEN;
			page_edit_commit(&edit);
		}
		blkno = opaque->next;
		seq = opaque->next_seq;
		n = read_rows(training, at, page, rows, &buf);

		for (int i = 0; i < n; i++)
		{
			IvfRow		row = row_at(rows, old->row_size, i);
			ItemPointerData tid;

			if (training->tids == NULL)
				gather_row(training, row);
			else
			{
				memcpy(&tid, row, sizeof(tid));
				tuplesort_putdatum(training->tids, Int64GetDatum(tid_to_number(&tid)), false);
			}
		}
	}
}

/* Write the sorted rows to their lists, a page full of them at a time. */
static void
write_copies(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(ivf_sort_desc(), &TTSOpsMinimalTuple);
	int			max_rows = training->new_layout.max_rows;
	Size		moved_size = training->new_layout.moved_size;
	char	   *rows = palloc(max_rows * moved_size);
	uint32		list = 0;
	int			n = 0;
	uint64		written = 0;

	for (;;)
	{
		bool		more = tuplesort_gettupleslot(training->sort, true, false, slot, NULL);
		bool		isnull;
		uint32		next = more ? (uint32) DatumGetInt32(slot_getattr(slot, 1, &isnull)) : 0;

		if (n > 0 && (!more || next != list || n == max_rows))
		{
			VACUUM_DELAY_POINT();
			if (!ivf_list_append(training->index, new, list, rows, n,
								 IVF_APPEND_COPIES))
				elog(ERROR, "list %u of a new training generation is frozen", list);
			n = 0;
		}
		if (!more)
			break;
		if (written++ == training->copied / 2)
			VECDB_POINT(POINT_TRAIN_HALF);
		list = next;
		memcpy(rows + n++ * moved_size,
			   VARDATA_ANY(DatumGetByteaPP(slot_getattr(slot, 2, &isnull))), moved_size);
	}
	ExecDropSingleTupleTableSlot(slot);
	pfree(rows);
}

/* Copy all rows of the old lists to the new ones. */
static void
copy_rows(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	int			dims = (int) new->dims;
	bool		ip = new->metric != METRIC_L2;
	bool		codes = training->codec.kind != CODEC_NONE;
	int			sort_mem = (int) Max(training->memory / 1024 / (codes ? 4 : 2), 64);
	IvfRow		rows;

	training->slot_size = VARHDRSZ + IVF_ROW_HEAD + sizeof(float) * dims;
	rows = palloc(Max(BLCKSZ, training->slot_size));
	training->block_rows = training->groups > 0 ? groups_block_rows(training->slot_size) :
		assign_block_rows(dims);
	if (training->groups > 0)
		training->group_scratch = palloc_extended(groups_scratch_size(training->groups, (int) new->lists,
																	  dims, training->block_rows),
												  MCXT_ALLOC_HUGE);
	training->block = palloc(training->slot_size * training->block_rows);
	training->lists = palloc(sizeof(uint32) * training->block_rows);
	training->distances = palloc(sizeof(float) * ASSIGN_BLOCK_ROWS * Max(training->nqueries, 1));
	if (training->nqueries > 0)
	{
		training->assign_queries = palloc(assign_size(training->nqueries, dims));
		assign_prepare(training->assign_queries, training->queries, training->nqueries, dims,
					   ip, training->scratch);
	}
	training->nearest = palloc(sizeof(IvfNeighbor) * IVF_CALIBRATION_K * Max(training->nqueries, 1));
	ivf_calibration_reset(training->nearest, training->nqueries);
	training->slot = MakeSingleTupleTableSlot(ivf_sort_desc(), &TTSOpsVirtual);
	training->sort = ivf_sort_begin(sort_mem, NULL);
	if (codes)
	{
		Size		code_size = VARHDRSZ + training->new_layout.moved_size;

		training->code = palloc0(code_size);
		SET_VARSIZE(training->code, code_size);
		training->encode_scratch = palloc(ivf_encode_scratch(&training->codec));
		training->tids = tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false,
											   sort_mem, NULL, TUPLESORT_NONE);
	}

	for (uint32 list = 0; list < training->old.lists; list++)
		close_list(training, list, rows);
	VECDB_POINT(POINT_TRAIN_FROZEN);
	if (codes)
		gather_values(training, rows);
	flush_block(training);
	tuplesort_performsort(training->sort);
	write_copies(training);

	tuplesort_end(training->sort);
	ExecDropSingleTupleTableSlot(training->slot);
}

/* Say how far to search for which recall, and what the lists look like. */
static void
measure_lists(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	uint64	   *rows = palloc(sizeof(uint64) * new->lists);

	new->rows = 0;
	for (uint32 list = 0; list < new->lists; list++)
	{
		IvfListData entry;

		/* what came meanwhile the next VACUUM will count, what came before it has */
		VACUUM_DELAY_POINT();
		ivf_list_read(training->index, new, list, &entry);
		training->entries[list].rows += entry.rows;
		rows[list] = training->entries[list].rows;
		new->rows += rows[list];
	}
	new->spread_at_build = ivf_spread(rows, new->lists);
	ivf_calibrate(new, training->entries, training->centroids, training->queries,
				  training->nqueries, training->nearest, 1);
	pfree(rows);
}

/* The directory learns the rows; pages and hints it has from the copying. */
static void
tell_directory(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;
	uint64	   *rows = palloc(sizeof(uint64) * new->lists);
	uint32	   *pages = palloc(sizeof(uint32) * new->lists);
	BlockNumber *insert = palloc(sizeof(BlockNumber) * new->lists);
	int			max_rows = training->new_layout.max_rows;

	for (uint32 list = 0; list < new->lists; list++)
	{
		rows[list] = training->entries[list].rows;
		pages[list] = (uint32) Max((rows[list] + max_rows - 1) / max_rows, 1);
		insert[list] = InvalidBlockNumber;
	}
	(void) ivf_list_set_counts(training->index, new, rows, pages, insert);
	pfree(rows);
	pfree(pages);
	pfree(insert);
}

/* ---- when, and how many lists ---- */

/* Lists that the rows of the index ask for; meta has the codec they will have. */
static int
wanted_lists(Relation index, const IvfMetaPageData *meta)
{
	int			option = ivf_option_lists(index);
	bool		codes = meta->codec != CODEC_NONE;

	return option > 0 ? option :
		ivf_choose_lists((double) meta->rows, ivf_rows_per_page(meta->row_size, codes), codes);
}

/*
 * Do the rows ask for lists, or new ones?  VACUUM has just counted them.  The first lists wait
 * for IVF_LIST_ROWS each, which those of ivf_choose_lists() always have; until then one list
 * serves, exactly.  CREATE INDEX, which nobody runs again, makes as many as it is told (and says so),
 * and where there are lists, new ones of as few rows are no worse.
 */
static bool
is_due(Relation index, const IvfMetaPageData *meta, int wanted)
{
	uint64	   *rows;
	double		spread;

	if (wanted < 2 || meta->rows < IVF_FEW_ROWS)
		return false;
	if (meta->generation == 0)
		return meta->rows >= (uint64) wanted * IVF_LIST_ROWS;
	if (meta->rows >= Max(meta->rows_at_build, 1) * RETRAIN_GROWTH)
		return true;
	if (meta->lists < 2)
		return false;

	rows = palloc(sizeof(uint64) * meta->lists);
	for (uint32 list = 0; list < meta->lists; list++)
	{
		IvfListData entry;

		VACUUM_DELAY_POINT();
		ivf_list_read(index, meta, list, &entry);
		rows[list] = entry.rows;
	}
	spread = ivf_spread(rows, meta->lists);
	pfree(rows);
	return spread >= Max(meta->spread_at_build, 1) * RETRAIN_SPREAD;
}

/*
 * Is it time to train?  Where the rows ask for it, but it has to wait, VACUUM says why: not at info's
 * level, which from PostgreSQL 15 on VERBOSE does not raise.
 */
static bool
may_begin(const IvfTraining *training, int wanted)
{
	Relation	index = training->index;
	const IvfMetaPageData *meta = &training->old;

	if (!is_due(index, meta, wanted))
	{
		if (meta->generation == 0 && wanted >= 2 && meta->rows >= IVF_FEW_ROWS &&
			ivf_option_lists(index) != OPTION_UNSET)
			ereport(NOTICE,
					(errmsg("%s index \"%s\" was not trained: %d lists want %d rows each, and there are " UINT64_FORMAT " rows",
							ivf_am_name(index), RelationGetRelationName(index), wanted,
							IVF_LIST_ROWS, meta->rows),
					 errhint("Set lists to fewer, or load more rows, and VACUUM the table again.")));
		return false;
	}
	if (meta->retired_xid == 0)
		return true;
	ereport(NOTICE,
			(errmsg("%s index \"%s\" was not trained anew: the lists that the last training replaced are still there",
					ivf_am_name(index), RelationGetRelationName(index)),
			 errdetail("A snapshot, prepared transaction or replication slot, of any database, is as old as that training, or nobody has written since then."),
			 errhint("End what is so old (see pg_stat_activity.backend_xmin, pg_prepared_xacts, pg_replication_slots), and VACUUM the table again.")));
	return false;
}

/*
 * Memory of k-means, of what the codec learns, of groups, and later of the assignment,
 * for so many lists, the sample not counted.
 */
static Size
memory_for(const KMeansParams *kmeans, const Codec *codec, int learnt, int nqueries)
{
	int			groups = groups_wanted(kmeans->k, kmeans->dim);
	Size		vector = mul_size(sizeof(float), kmeans->dim);
	Size		total = kmeans_workspace_size(kmeans);

	total = add_size(total, mul_size(vector, kmeans->k));
	if (codec->kind != CODEC_NONE)
	{
		total = add_size(total, mul_size(sizeof(float) * codec->work_dim, kmeans->k));
		total = add_size(total, sizeof(float) * codec_state_floats(codec));
		total = add_size(total, mul_size(vector, learnt));
		total = add_size(total, codec_train_memory(codec, learnt));
	}
	total = add_size(total, assign_size(kmeans->k, kmeans->dim));
	total = add_size(total, assign_scratch_size(kmeans->k, kmeans->dim));
	if (groups > 0)
	{
		/* they are made in what k-means has left */
		total = add_size(total, add_size(mul_size(vector, groups), assign_size(groups, kmeans->dim)));
		total = add_size(total, groups_scratch_size(groups, kmeans->k, kmeans->dim,
													groups_block_rows(vector)));
	}
	return add_size(total, mul_size(2 * vector, nqueries));
}

/* Sort the centroids into groups, if they are many. */
static void
make_groups(IvfTraining *training, bool spherical)
{
	int			lists = (int) training->new.lists;
	int			dims = (int) training->new.dims;
	int			wanted = groups_wanted(lists, dims);
	void	   *workspace;

	training->groups = 0;
	if (wanted == 0)
		return;
	workspace = palloc_extended(groups_make_size(lists, dims, wanted), MCXT_ALLOC_HUGE);
	training->group_first = palloc(sizeof(uint32) * (wanted + 1));
	training->middles = palloc_extended(sizeof(float) * dims * wanted, MCXT_ALLOC_HUGE);
	training->groups = groups_make(workspace, training->centroids, lists, dims, spherical, wanted,
								   training->group_first, training->middles, pause_training, NULL);
	pfree(workspace);
}

/* Sample and find centroids.  False: not with this memory, or not of these rows. */
static bool
find_centroids(IvfTraining *training, int wanted)
{
	IvfMetaPageData *new = &training->new;
	bool		learns = training->codec.kind != CODEC_NONE && codec_train_parts(&training->codec) > 0;
	KMeansParams kmeans = {0};
	void	   *workspace;
	Size		needed;

	sample_lists(training, ivf_sample_size(wanted, (double) training->old.rows, new->dims,
										   training->codec.kind == CODEC_NONE ? 0 :
										   ivf_codec_rows(&training->codec),
										   training->memory / 2));
	if (training->n < 2)
		return false;
	training->learnt = !learns ? 0 :
		(int) Min(Min(training->n * 4.0 / 5, IVF_TRAIN_ROWS),
				  Max(training->memory / 4 / (sizeof(float) * new->dims), 1));
	training->space_n = !learns ? 0 :
		ivf_space_rows(training->index, &training->codec, training->learnt, (double) training->old.rows,
					   training->memory, WARNING);
	if (training->space_n < 0)
		return false;
	kmeans.n = training->n;
	kmeans.dim = new->dims;
	kmeans.k = Min(Min(wanted, training->n), IVF_MAX_LISTS);
	kmeans.spherical = new->metric != METRIC_L2 ||
		ivf_all_unit_length(training->sample, training->n, new->dims);
	kmeans.max_iterations = IVF_KMEANS_ITERATIONS;
	kmeans.seed = IVF_KMEANS_SEED;
	kmeans.participants = 1;
	while ((needed = memory_for(&kmeans, &training->codec, training->learnt,
								training->nqueries)) > training->memory)
	{
		if (kmeans.k == 2 || ivf_option_lists(training->index) > 0)
		{
			ereport(WARNING,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("%s index \"%s\" cannot be trained: memory required is %zu MB, maintenance_work_mem is %zu MB",
							ivf_am_name(training->index),
							RelationGetRelationName(training->index),
							needed / (1024 * 1024) + 1,
							training->memory / (1024 * 1024)),
					 errhint("Increase maintenance_work_mem, or decrease lists.")));
			return false;
		}
		kmeans.k = Max(kmeans.k / 2, 2);
	}

	workspace = palloc_extended(kmeans_workspace_size(&kmeans), MCXT_ALLOC_HUGE);
	training->centroids = palloc_extended(sizeof(float) * kmeans.dim * kmeans.k, MCXT_ALLOC_HUGE);
	kmeans_init(workspace, &kmeans);
	new->lists = new->lists_alive = kmeans_run(workspace, 0, training->sample, training->centroids,
											   NULL, pause_training, NULL);
	pfree(workspace);
	make_groups(training, kmeans.spherical);
	return true;
}

/* Prepare the centroids for the assignment of many rows. */
static void
prepare_assign(IvfTraining *training)
{
	int			lists = (int) training->new.lists;
	int			dims = (int) training->new.dims;

	training->scratch = palloc_extended(Max(assign_scratch_size(lists, dims),
											assign_scratch_size(Max(training->nqueries, 1), dims)),
										MCXT_ALLOC_HUGE);
	training->assign = palloc_extended(assign_size(lists, dims), MCXT_ALLOC_HUGE);
	assign_prepare(training->assign, training->centroids, lists, dims,
				   training->new.metric != METRIC_L2, training->scratch);
	if (training->groups == 0)
		return;
	training->assign_middles = palloc_extended(assign_size(training->groups, dims), MCXT_ALLOC_HUGE);
	assign_prepare(training->assign_middles, training->middles, training->groups, dims,
				   training->new.metric != METRIC_L2, training->scratch);
	training->assign_groups.n = training->groups;
	training->assign_groups.dim = dims;
	training->assign_groups.first = training->group_first;
	training->assign_groups.middles = training->assign_middles;
	training->assign_groups.centroids = training->assign;
}

/*
 * The new codec, where there is one: it learns from the beginning of the sample,
 * and its errors are measured on the rest; or, of a training that is resumed, was
 * read from its pages.
 */
static void
make_codec(IvfTraining *training, bool resume)
{
	IvfMetaPageData *new = &training->new;
	Codec	   *codec = &training->codec;
	IvfLearning learning = {
		.dims = new->dims,
		.lists = (int) new->lists,
		.n = resume ? 0 : training->learnt,
		.space_n = training->space_n,
		.sample = training->sample,
		.centroids = training->centroids,
		.assign = training->assign,
		.scratch = training->scratch,
		.interrupt = pause_training
	};

	if (codec->kind == CODEC_NONE)
		return;
	training->work_centroids = palloc_extended(sizeof(float) * codec->work_dim * new->lists,
											   MCXT_ALLOC_HUGE);
	learning.work_centroids = training->work_centroids;
	if (!resume)
	{
		float	   *state = palloc_extended(sizeof(float) * codec_state_floats(codec) + 1,
											MCXT_ALLOC_HUGE);

		codec_attach(codec, state, palloc(codec_memory(codec) + 1));
		learning.residuals = palloc_extended(sizeof(float) * new->dims * learning.n + 1,
											 MCXT_ALLOC_HUGE);
	}
	ivf_learn_begin(&learning, codec, 0, 1);
	if (!resume)
		ivf_learn_space(&learning, codec, 0);
	ivf_learn_end(&learning, codec, 0, 1);
	if (resume)
		return;
	pfree(learning.residuals);
	ivf_calibration_targets(new);
	ivf_calibrate_codec(new, codec, training->centroids, training->work_centroids,
						training->sample + (Size) training->learnt * new->dims,
						training->n - training->learnt, training->copy_distance);
}

/* Keep some of the sample as queries. */
static void
take_queries(IvfTraining *training)
{
	int			dims = training->new.dims;

	training->queries = palloc(sizeof(float) * dims * Max(training->nqueries, 1));
	training->nqueries = ivf_calibration_queries(training->sample, training->n, training->nqueries,
												 dims, (Metric) training->new.metric,
												 training->queries, &training->copy_distance);
}

static Size
vacuum_memory(void)
{
	int			kb = maintenance_work_mem;

	if (AmAutoVacuumWorkerProcess() && autovacuum_work_mem != -1)
		kb = autovacuum_work_mem;
	return (Size) kb * 1024;
}

/* Write the lists of a new generation, and send inserts there. */
static void
begin_training(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;

	new->generation = training->old.generation + 1;
	memset(new->dir, 0, sizeof(new->dir));
	memset(new->cent, 0, sizeof(new->cent));
	training->entries = palloc0(sizeof(IvfListData) * new->lists);
	write_heads(training);
	write_directory(training);
	write_centroids(training);
	write_groups(training);
	write_code_state(training);
	VECDB_POINT(POINT_TRAIN_WRITTEN);
	begin_generation(training);
	VECDB_POINT(POINT_TRAIN_BEGUN);
}

/* Take up one that was interrupted: its lists are there, the copies are not. */
static void
resume_training(IvfTraining *training)
{
	IvfMetaPageData *new = &training->new;

	ivf_meta_take_next(new);
	ivf_layout(new, &training->new_layout);
	training->entries = palloc0(sizeof(IvfListData) * new->lists);
	training->centroids = palloc_extended(sizeof(float) * new->dims * new->lists,
										  MCXT_ALLOC_HUGE);
	if (new->codec != CODEC_NONE)
		ivf_codec_open(training->index, new, &training->codec);
	ivf_centroids_read(training->index, new, 0, new->lists, training->centroids);
	training->groups = (int) new->groups;
	if (training->groups > 0)
	{
		training->group_first = palloc(sizeof(uint32) * (new->groups + 1));
		training->middles = palloc_extended(sizeof(float) * new->dims * new->groups, MCXT_ALLOC_HUGE);
		ivf_groups_read(training->index, new, training->group_first, training->middles);
		training->group_first[new->groups] = new->lists;
	}
}

/* The whole work, from the metapage of the old lists; false: it is not due. */
static bool
train(IvfTraining *training)
{
	Relation	index = training->index;
	IvfMetaPageData *new = &training->new;
	bool		resume = training->old.next_generation != 0;
	bool		codes = ivf_has_codes(index);
	Relation	heap = NULL;
	bool		done = false;
	int			wanted;

	training->new = training->old;
	/* with the options of ALTER INDEX, by now */
	if (codes && !resume)
	{
		if (!ivf_choose_codec(index, new->dims, (Metric) new->metric, true, WARNING,
							  &training->codec))
			return false;
		ivf_meta_set_codec(new, &training->codec);
		if (!ivf_choose_copies(index, new->dims, (Metric) new->metric, &training->codec, WARNING,
							   &new->copies))
			return false;
	}
	wanted = wanted_lists(index, new);
	if (!resume && !may_begin(training, wanted))
		return false;

	ivf_layout(&training->old, &training->layout);
	ivf_layout(new, &training->new_layout);
	training->nqueries = (int) Min(training->memory / 16 / (sizeof(float) * new->dims),
								   IVF_CALIBRATION_QUERIES);
	if (codes)
	{
		/* VACUUM has locked it */
		heap = table_open(index->rd_index->indrelid, NoLock);
		training->fetch = ivf_fetch_begin(heap, index);
	}
	if (resume)
	{
		resume_training(training);
		sample_lists(training, Max(training->nqueries, 1));
	}
	if (resume || find_centroids(training, wanted))
	{
		take_queries(training);
		prepare_assign(training);
		make_codec(training, resume);
		pfree(training->sample);
		if (!resume)
			begin_training(training);
		copy_rows(training);
		measure_lists(training);
		tell_directory(training);
		VECDB_POINT(POINT_TRAIN_COPIED);
		end_generation(training);
		done = true;
	}
	if (codes)
	{
		ivf_fetch_end(training->fetch);
		table_close(heap, NoLock);
	}
	return done;
}

/*
 * Train the index if it is due, or go on with a training that was interrupted;
 * true when it was done.  Called at the end of VACUUM's work on the index, which
 * has counted the rows and removed what an interrupted training left.
 */
bool
ivf_train(IndexVacuumInfo *info)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ivf training",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	IvfTraining *training = palloc0(sizeof(IvfTraining));
	bool		done;

	training->info = info;
	training->index = info->index;
	training->memory = vacuum_memory();
	ivf_meta_read(info->index, &training->old);
	done = train(training);
	if (done)
		ereport(info->message_level,
				(errmsg("%s index \"%s\" was trained: " UINT64_FORMAT " rows in %u lists, generation %u",
						ivf_am_name(info->index), RelationGetRelationName(info->index),
						training->new.rows, training->new.lists, training->new.generation)));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return done;
}
