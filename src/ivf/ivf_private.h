/*-------------------------------------------------------------------------
 *
 * ivf_private.h
 *	  Working state and prototypes of the IVF room, by file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_IVF_PRIVATE_H
#define VECDB_IVF_PRIVATE_H

#include "access/amapi.h"
#include "access/genam.h"
#include "access/relscan.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "utils/tuplesort.h"

#include "am/fetch.h"
#include "am/options.h"
#include "am/pool.h"
#include "am/exact.h"
#include "am/support.h"
#include "ivf/ivf_page.h"

#define IVF_NUM_PROCS		5	/* numbered as pgvector's: see am/support.h */

/* Phases in pg_stat_progress_create_index; 1 is the server's "initializing". */
#define IVF_PHASE_KMEANS	2
#define IVF_PHASE_ASSIGN	3
#define IVF_PHASE_LOAD		4
#define IVF_PHASE_CODEC		5	/* before 3, of ivfpq */

/*
 * A place in a list's chain: the page to go to, and which page is expected
 * there.  Vacuum may have taken the page away meanwhile; then whoever arrives
 * sees another seq, list or kind (invariant I4) and begins again at the head.
 */
typedef struct IvfCursor
{
	uint32		list;
	uint32		generation;
	uint64		rows;			/* of the list, at build or the last VACUUM */
	BlockNumber head;
	BlockNumber block;			/* InvalidBlockNumber at the end */
	uint32		seq;
	uint32		last_seq;		/* of the last page visited: a new beginning
								 * skips pages up to it */
	BlockNumber missed;			/* the page that was not there ... */
	int			misses;			/* ... and how often in a row */
} IvfCursor;

/* ivf_meta.c: metapage, directory, centroids */
extern void ivf_meta_init(IvfMetaPageData *meta, int dims, Metric metric,
						  const Codec *codec);
extern void ivf_meta_set_codec(IvfMetaPageData *meta, const Codec *codec);
extern void ivf_meta_take_next(IvfMetaPageData *meta);
extern void ivf_meta_set_next(IvfMetaPageData *meta, const IvfMetaPageData *next);
extern void ivf_meta_retire(IvfMetaPageData *meta, uint64 xid);
extern void ivf_retired_layout(const IvfMetaPageData *meta, IvfLayout *layout);
extern IvfMetaPage ivf_meta_edit(Relation index, PageEdit *edit, Buffer *buf);
extern void ivf_meta_commit(PageEdit *edit, Buffer buf);
extern void ivf_meta_write(Relation index, Buffer buf, const IvfMetaPageData *meta);
extern void ivf_meta_read(Relation index, IvfMetaPageData *meta);
extern const char *ivf_meta_flaw(const IvfMetaPageData *meta, BlockNumber nblocks);
extern void ivf_generation_check(Relation index, uint32 generation);
extern BlockNumber ivf_list_block(const IvfMetaPageData *meta, uint32 list, int *slot);
extern void ivf_list_read(Relation index, const IvfMetaPageData *meta,
						  uint32 list, IvfListData *entry);
extern void ivf_list_set_insert(Relation index, const IvfMetaPageData *meta,
								uint32 list, BlockNumber insert);
extern uint64 ivf_list_set_counts(Relation index, const IvfMetaPageData *meta,
								  const uint64 *rows, const uint32 *pages,
								  const BlockNumber *insert);
extern double ivf_spread(const uint64 *rows, uint32 lists);
extern int	ivf_extents_add(IvfExtent *extents, int n, uint32 first,
							BlockNumber start, uint32 blocks);
extern BlockNumber ivf_centroid_block(const IvfMetaPageData *meta, uint32 list, int *slot);
extern void ivf_centroids_read(Relation index, const IvfMetaPageData *meta,
							   uint32 first, uint32 n, float *out);
extern void ivf_code_state_read(Relation index, const IvfMetaPageData *meta, Size floats,
								float *out);
extern const char *ivf_groups_flaw(const IvfMetaPageData *meta, const uint32 *first);
extern void ivf_groups_read(Relation index, const IvfMetaPageData *meta, uint32 *first,
							float *middles);
extern void *ivf_groups_form(uint32 groups, int dims, const uint32 *first,
							 const float *middles);

/* ivf_rank.c: lists by their centroids, and the backend's copy of these */
typedef struct IvfRank IvfRank;
extern IvfRank *ivf_rank_begin(Relation index, const IvfMetaPageData *meta, const float *query);
extern void ivf_rank_end(IvfRank *rank);
extern uint32 ivf_rank_ngroups(Relation index, const IvfMetaPageData *meta);
extern void ivf_rank_groups(Relation index, const IvfMetaPageData *meta, const IvfRank *rank,
							float *out);
extern uint32 ivf_rank_group(Relation index, const IvfMetaPageData *meta, uint32 group,
							 uint32 *first);
extern void ivf_rank_lists(Relation index, const IvfMetaPageData *meta, const IvfRank *rank,
						   uint32 first, uint32 n, float *out);
extern void ivf_centroid_distances(Relation index, const IvfMetaPageData *meta,
								   const float *query, float *distances);
extern uint32 ivf_nearest_list(Relation index, const IvfMetaPageData *meta,
							   const float *value);
extern void ivf_codec_open(Relation index, const IvfMetaPageData *meta, Codec *codec);
extern void ivf_codec_centroid_of(Relation index, const IvfMetaPageData *meta,
								  const Codec *codec, uint32 list, float *out);
extern const Codec *ivf_codec(Relation index, const IvfMetaPageData *meta);
extern int	ivf_reach_rows(Relation index, const IvfMetaPageData *meta);
extern void ivf_reach_rows_set(Relation index, int rows);
extern void ivf_codec_centroid(Relation index, const IvfMetaPageData *meta,
							   uint32 list, float *out);

/* ivf_order.c: lists in the order of their distances */
typedef struct IvfOrder IvfOrder;
extern IvfOrder *ivf_order_create(void);
extern void ivf_order_reset(IvfOrder *order);
#define IVF_ORDER_STEPS	4096
extern void ivf_order_add(IvfOrder *order, uint32 first, uint32 n, const float *distances,
						  uint32 steps);
extern bool ivf_order_pop(IvfOrder *order, Size wanted, uint32 *list, float *distance,
						  uint32 *steps);
extern void ivf_order_put_back(IvfOrder *order);

/* ivf_list.c: chains of list pages */
extern void ivf_cursor_start(Relation index, IvfCursor *cursor,
							 const IvfMetaPageData *meta, uint32 list);
extern Buffer ivf_cursor_next(Relation index, IvfCursor *cursor);
typedef enum IvfAppend
{
	IVF_APPEND_ANY,				/* to a list of the present generation */
	IVF_APPEND_INSERTED,		/* to one of the next, by an insert ... */
	IVF_APPEND_COPIES			/* ... and by the training that fills it */
} IvfAppend;
extern bool ivf_list_append(Relation index, const IvfMetaPageData *meta,
							uint32 list, const char *rows, int n, IvfAppend kind);
extern void ivf_write_long_row(Relation index, const IvfMetaPageData *meta,
							   Buffer buf, const IvfRowData *row, bool building);
extern void ivf_page_init_list(Page page, const IvfLayout *layout, uint8 kind,
							   uint32 list, uint32 generation, uint32 seq);
extern int	ivf_page_rows(Relation index, BlockNumber blkno, Page page,
						  const IvfLayout *layout);
extern void ivf_page_set_rows(Page page, const IvfLayout *layout, int nrows);
extern void ivf_page_put_row(Page page, const IvfLayout *layout, int i, const char *row);
extern void ivf_page_get_row(Page page, const IvfLayout *layout, int i, char *row);
extern bool ivf_row_read(Relation index, const IvfMetaPageData *meta,
						 BlockNumber blkno, uint32 list, uint32 seq, IvfRow row);

/* ivf_codec.c: rows as codes */
extern const char *ivf_untrained(Relation index, int elevel);
extern bool ivf_choose_codec(Relation index, int dims, Metric metric, bool trained,
							 int elevel, Codec *codec);

/* Sampled rows to learn from: the residuals to their centroids. */
typedef struct IvfLearning
{
	int			dims;
	int			lists;
	int			n;				/* sampled rows to learn from */
	int			space_n;		/* ... the codec's space: ivf_space_rows() */
	const float *sample;		/* n * dims */
	const float *centroids;		/* lists * dims */
	const void *assign;			/* prepared centroids */
	void	   *scratch;		/* for assign_rows() */
	float	   *work_centroids; /* out: lists * work_dim */
	float	   *residuals;		/* n * dims, if the codec learns; in its space at last */
	void		(*interrupt) (void *arg);
} IvfLearning;

extern void ivf_learn_begin(const IvfLearning *learning, const Codec *codec, int number,
							int participants);
extern void ivf_learn_space(const IvfLearning *learning, Codec *codec, int number);
extern void ivf_learn_end(const IvfLearning *learning, Codec *codec, int number,
						  int participants);
extern int	ivf_space_rows(Relation index, const Codec *codec, int n, double rows, Size memory,
						   int elevel);
extern Size ivf_encode_scratch(const Codec *codec);
extern void ivf_encode_row(const Codec *codec, Metric metric, const float *centroid,
						   const IvfRowData *row, float *scratch, char *out);
extern void ivf_calibrate_codec(IvfMetaPageData *meta, const Codec *codec,
								const float *centroids, const float *work_centroids,
								const float *sample, int n, float copy_distance);
extern float ivf_measure_codes(Relation index, const IvfMetaPageData *meta);
extern float ivf_width_for(const IvfMetaPageData *meta, double recall);
extern float ivf_first_width(const IvfMetaPageData *meta, float width);

/* ivf_copy.c: vectors in half precision, kept in the index */

/* Where a scan found a row, and its copy */
typedef struct IvfPlace
{
	ItemPointerData tid;
	uint16		slot;
	BlockNumber block;			/* COPY page; InvalidBlockNumber: there is none */
} IvfPlace;

/* A query that copies are compared with */
typedef struct IvfCopyQuery
{
	Metric		metric;
	int			dims;
	float	   *x;				/* cosine: its direction */
	double		norm;			/* of the query: no less than it */
	double		error;			/* of x; infinite: no bounds */
} IvfCopyQuery;

typedef struct IvfCopyFile IvfCopyFile;

extern bool ivf_choose_copies(Relation index, int dims, Metric metric, const Codec *codec,
							  int elevel, uint16 *copies);
extern void ivf_make_row(const Codec *codec, const IvfLayout *layout, Metric metric,
						 const float *centroid, const IvfRowData *row, float *scratch, char *out);
extern void ivf_page_init_copy(Page page, const IvfLayout *layout, const IvfPageOpaqueData *list,
							   BlockNumber owner, int k);
extern bool ivf_is_copy_page(Page page, const IvfLayout *layout, const IvfPageOpaqueData *list,
							 BlockNumber owner, int k);
extern Buffer ivf_copy_buffer(Relation index, const IvfLayout *layout, Buffer list, int k,
							  int lockmode);
extern IvfCopyFile *ivf_copy_file_create(const IvfLayout *layout);
extern void ivf_copy_file_put(IvfCopyFile *copies, const char *row);
extern void ivf_copy_file_write(IvfCopyFile *copies, Relation index, BlockNumber first);
extern void ivf_copy_query(IvfCopyQuery *query, Metric metric, int dims, const float *value,
						   float *x);
extern bool ivf_copy_bounds(Relation index, const IvfLayout *layout, const IvfPlace *place,
							const IvfCopyQuery *query, double *low, double *high);
extern void ivf_copy_prefetch(Relation index, const IvfLayout *layout, const IvfPlace *place);

/*
 * pq, opq and sq8 learn from so many rows, 64 for each of 256 centroids, or from four
 * fifths of the sample: the errors of the rest are measured.
 */
#define IVF_TRAIN_ROWS		16384
/* With fewer rows one list read whole is as quick, and the centroids would be poor */
#define IVF_FEW_ROWS		1000
/* Of fewer rows a list's centroid says little about those to come */
#define IVF_LIST_ROWS		32

/* ivf_sample.c: what a build learns before it begins */
typedef struct IvfSample
{
	double		rows;			/* of the whole table, estimated */
	double		best_rows;		/* the same, by all blocks of the sample */
	int			lists;			/* to make; 0: born empty, one list */
	int			rows_per_page;
	int			n;				/* sampled values */
	int			max_n;
	float	   *values;			/* n * dims; unit length unless the metric is L2 */
} IvfSample;

extern void ivf_sample_rows(Relation heap, Relation index, IndexInfo *indexInfo,
							Metric metric, int dims, const Codec *codec,
							Size memory, IvfSample *sample);
extern int	ivf_most_lists(double rows, int rows_to_fill);
extern int	ivf_choose_lists(double rows, int rows_per_page, bool codes);
extern int	ivf_codec_rows(const Codec *codec);
extern int	ivf_sample_size(int lists, double rows, int dims, int codec_rows, Size memory);
extern bool ivf_sample_put(Metric metric, const float *value, int dims, float *to);
extern bool ivf_all_unit_length(const float *values, int n, int dims);

/* ivf_calibrate.c: effort for a recall */
#define IVF_CALIBRATION_K	10	/* recall@10 */
#define IVF_CALIBRATION_QUERIES 256
typedef struct IvfNeighbor
{
	float		distance;
	uint32		list;
} IvfNeighbor;

extern int	ivf_calibration_queries(const float *sample, int n, int max_queries,
									int dims, Metric metric, float *queries,
									float *copy_distance);
extern void ivf_calibration_reset(IvfNeighbor *nearest, int nqueries);
extern void ivf_calibration_add(IvfNeighbor *nearest, int nqueries,
								const float *distances, float copy_distance,
								uint32 list);
extern void ivf_calibration_add_row(IvfNeighbor *nearest, int nqueries, Metric metric,
									float normsq, float *distances,
									float copy_distance, uint32 list);
extern void ivf_calibration_targets(IvfMetaPageData *meta);
extern void ivf_calibrate(IvfMetaPageData *meta, const IvfListData *entries,
						  const float *centroids, const float *queries,
						  int nqueries, IvfNeighbor *nearest, int participants);
extern double ivf_effort(const IvfMetaPageData *meta, double rows_before,
						 float nearest, float distance);
extern double ivf_effort_for(const IvfMetaPageData *meta, double recall, double *probes);

/* ivf_build.c */
#define IVF_KMEANS_SEED		0x6B6D6E73
#define IVF_KMEANS_ITERATIONS 10
extern TupleDesc ivf_sort_desc(void);
extern Tuplesortstate *ivf_sort_begin(int sort_mem, SortCoordinate coordinate);
extern void ivf_sort_put(Tuplesortstate *sort, TupleTableSlot *slot, uint32 list, char *datum);
extern IndexBuildResult *ivfbuild(Relation heap, Relation index,
								  IndexInfo *indexInfo);
extern void ivfbuildempty(Relation index);

/* ivf_insert.c */
extern bool ivf_insert_value(Relation index, Datum value, ItemPointer tid);
extern bool ivf_form_row(Metric metric, int dims, Datum value, ItemPointer tid, IvfRow row);
extern bool ivfinsert(Relation index, Datum *values, bool *isnull,
					  ItemPointer heap_tid, Relation heap,
					  IndexUniqueCheck checkUnique, bool indexUnchanged,
					  IndexInfo *indexInfo);

/* ivf_fetch.c: values of rows for VACUUM, from the table */
typedef struct IvfFetch
{
	RowFetch	row;
	BlockNumber nblocks;
	TupleTableSlot *flat;		/* columns of the expression, not in TOAST */
	Bitmapset  *columns;		/* which, as pull_varattnos() has it */
	Relation	toast;			/* opened with the first value from there ... */
	Relation   *toast_indexes;
	int			toast_nindexes;
	int			toast_valid;	/* ... and which of its indexes to use */
} IvfFetch;

extern IvfFetch *ivf_fetch_begin(Relation heap, Relation index);
extern bool ivf_fetch_any(IvfFetch *fetch, ItemPointer tid, Datum *value);
extern void ivf_fetch_reset(IvfFetch *fetch);
extern void ivf_fetch_end(IvfFetch *fetch);

/* ivf_scan.c */

/*
 * strict_order hands out the nearest 1/ivf_look_ahead() of the rows gathered,
 * then looks on.  Of all rows of the package data 1.6 % are dropped at 4,
 * 0.5 % at 8, 0.2 % at 16, 0.1 % at 32; and a large LIMIT, or a filter, which
 * take rows far beyond the ten that the recall was calibrated for, keep near
 * it (README.md).  Whoever sets probes wants that effort: look less far then.
 */
static inline int
ivf_look_ahead(int probes)
{
	return probes > 0 ? 8 : 32;
}

extern uint64 ivf_session_dropped;
extern IndexScanDesc ivfbeginscan(Relation index, int nkeys, int norderbys);
extern void ivfrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
					  ScanKey orderbys, int norderbys);
extern bool ivfgettuple(IndexScanDesc scan, ScanDirection dir);
extern void ivfendscan(IndexScanDesc scan);

/* ivf_vacuum.c */
extern IndexBulkDeleteResult *ivfbulkdelete(IndexVacuumInfo *info,
											IndexBulkDeleteResult *stats,
											IndexBulkDeleteCallback callback,
											void *callback_state);
extern IndexBulkDeleteResult *ivfvacuumcleanup(IndexVacuumInfo *info,
											   IndexBulkDeleteResult *stats);

/* ivf_train.c */
extern bool ivf_train(IndexVacuumInfo *info);

/* ivf_cost.c */
extern void ivfcostestimate(PlannerInfo *root, IndexPath *path,
								double loop_count, Cost *startup_cost,
								Cost *total_cost, Selectivity *selectivity,
								double *correlation, double *pages);

/* ivf_validate.c */
extern bool ivfflatvalidate(Oid opclassoid);
extern bool ivfpqvalidate(Oid opclassoid);

/* ivfflat.c, ivfpq.c */
extern IndexAmRoutine *ivf_am_routine(void);
extern bytea *ivfpqoptions(Datum reloptions, bool validate);

/* Is it an ivfpq index?  By the code behind it: another extension may call its method so. */
static inline bool
ivf_has_codes(Relation index)
{
	return index->rd_indam->amoptions == ivfpqoptions;
}

static inline const char *
ivf_am_name(Relation index)
{
	return ivf_has_codes(index) ? "ivfpq" : "ivfflat";
}

#endif							/* VECDB_IVF_PRIVATE_H */
