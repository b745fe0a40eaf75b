/*-------------------------------------------------------------------------
 *
 * hnsw_private.h
 *	  Working state and prototypes of the hnsw room, by file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HNSW_PRIVATE_H
#define VECDB_HNSW_PRIVATE_H

#include "access/amapi.h"
#include "access/genam.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "am/options.h"
#include "am/support.h"
#include "graph/search.h"
#include "hnsw/hnsw_page.h"
#include "quant/rabitq.h"
#include "quant/rotation.h"

#define HNSW_NUM_PROCS		3	/* numbered as pgvector's: see am/support.h */

/* Phases in pg_stat_progress_create_index; 1 is the server's "initializing". */
#define HNSW_PHASE_LOAD		2
#define HNSW_PHASE_GRAPH	3
#define HNSW_PHASE_WRITE	4
#define HNSW_PHASE_INSERT	5
#define HNSW_PHASE_MEASURE	6

/* Vamana's alpha, on squared distances (prototype: 1.1) */
#define HNSW_ALPHA			1.1f

/* visits for the first ten rows, at most, when recall decides */
#define HNSW_ADAPTIVE_CAP		2000

/* The heavyweight lock on this page number: inserts hold it shared. */
#define HNSW_INSERT_LOCK_BLOCK	HNSW_META_BLOCK

/*
 * What a backend knows of an index that does not change between two builds;
 * one allocation, kept in rd_amcache.
 */
typedef struct HnswIndex
{
	HnswMetaPageData meta;		/* as of when it was cached: only the layout
								 * may be used */
	Metric		metric;
	RabitqForm	form;
	int			index_dims;		/* dims of the indexed vectors: one more than
								 * the column's for inner product */
	bool		rotated;		/* false: L1, which no rotation leaves alone */
	Rotation	rotation;
	float	   *mean;			/* index_dims */
	double		mean_norm;		/* |mean| */
	float	   *mean_rotated;	/* padded; NULL: zero */
} HnswIndex;

/* A value as the index sees it: normalised or augmented, centred, rotated. */
typedef struct HnswValue
{
	float	   *x;				/* padded floats */
	uint16	   *half;			/* the same as stored: half * scale */
	float		scale;
	float		error;			/* no less than |true - stored| */
	float		norm;			/* |stored| */
} HnswValue;

/* What is searched for. */
typedef struct HnswQuery
{
	const HnswIndex *hnsw;
	float	   *x;				/* padded: what the own vectors are compared with */
	float		base;			/* inner product: distance = base - 2 <x, own> */
	double		error;			/* no less than |true - x| */
	double		norm;			/* inner product: |query|, no less than */
	double		mean_ip;		/* inner product: <query, mean> */
	double		scale;			/* inner product: x, error, norm, mean_ip are
								 * of the query times that */
	float	   *scratch;		/* padded floats */
	RabitqQuery codes;
} HnswQuery;

/* What a visit to a node leaves. */
typedef struct HnswVisit
{
	HnswNodeId	node;
	ItemPointerData tid;
	OffsetNumber chunk_offset;
	BlockNumber chunk_block;
	uint32		rank;
	uint16		flags;			/* 0: there was no node */
	bool		out;			/* handed out (hnsw_scan.c) */
	float		scale;
	float		error;
	float		norm;
	float		distance;
} HnswVisit;

/* Nodes on pages, as a search sees them (hnsw_node.c). */
typedef struct HnswReader
{
	Relation	index;
	const HnswIndex *hnsw;
	HnswQuery  *query;
	GraphSearch *search;
	MemoryContext context;
	struct HnswScratch *scratch;	/* whose are search and visits */

	HnswVisit  *visits;			/* by the search's ordinal */
	uint32		nvisits;
	uint32		max_visits;
	uint32		visit_limit;	/* then stop, or 0 */
	bool		keep_own;		/* for inserts: ... */
	uint16	   *own;			/* ... padded halves of each visit */

	uint16	   *half_scratch;	/* padded halves: where a vector takes several
								 * pages ... */
	char	   *node_scratch;	/* ... and a copy of the node */
} HnswReader;

/* hnsw_page.c: layout, metapage, entry table */
extern void hnsw_layout(HnswMetaPageData *meta, int dims, Metric metric, int m, int codes);
extern void hnsw_meta_write(Relation index, Buffer buf, const HnswMetaPageData *meta,
							bool building);
extern void hnsw_meta_read(Relation index, HnswMetaPageData *meta);
extern const char *hnsw_meta_flaw(const HnswMetaPageData *meta, BlockNumber nblocks);
extern const HnswIndex *hnsw_open(Relation index);
extern Size hnsw_index_size(const HnswMetaPageData *meta);
extern void hnsw_index_fill(HnswIndex *hnsw, const HnswMetaPageData *meta, const float *mean);
extern void hnsw_index_copy(HnswIndex *to, const HnswIndex *from);
extern void hnsw_page_init(Page page, uint8 kind, const HnswMetaPageData *meta);
extern Buffer hnsw_read(Relation index, BlockNumber blkno, int lockmode, uint8 kind);
extern HnswNode hnsw_node_at(const HnswIndex *hnsw, Page page, OffsetNumber offset);
extern void hnsw_read_own(Relation index, const HnswIndex *hnsw, HnswNodeId id,
						  BlockNumber cont, uint16 *half);
extern int	hnsw_entry_target(double nodes, const HnswMetaPageData *meta);
extern uint32 hnsw_entry_count(Relation index, const HnswMetaPageData *meta,
							   BlockNumber blkno, Page page);
extern void hnsw_entry_add(Relation index, const HnswIndex *hnsw, HnswNodeId node,
						   const HnswValue *value, bool building);

/* hnsw_vector.c: from SQL's values to the index's, and bounds */
extern bool hnsw_value_form(const HnswIndex *hnsw, const float *x, HnswValue *value);
extern void hnsw_value_alloc(const HnswIndex *hnsw, HnswValue *value);
extern void hnsw_query_alloc(const HnswIndex *hnsw, HnswQuery *query);
extern bool hnsw_query_form(HnswQuery *query, const float *x);
extern void hnsw_query_from_value(HnswQuery *query, const HnswValue *value);
extern float hnsw_distance(HnswQuery *query, const uint16 *half, float scale);
extern void hnsw_bounds(const HnswQuery *query, float distance, float error, float norm,
						double *low, double *high);

/* hnsw_node.c: a search's view of the pages */
extern void hnsw_reader_init(HnswReader *reader, Relation index, const HnswIndex *hnsw,
							 HnswQuery *query, Size max_bytes, bool keep_own);
extern void hnsw_reader_start(HnswReader *reader, const GraphEffort *effort);

/* hnsw_build.c */
extern IndexBuildResult *hnswbuild(Relation heap, Relation index, IndexInfo *indexInfo);
extern void hnswbuildempty(Relation index);

/* hnsw_calibrate.c: effort for a recall */
extern float hnsw_gamma_for(const HnswMetaPageData *meta, double recall, double *visits);

/* hnsw_insert.c */

/* One candidate to be a neighbour. */
typedef struct HnswCandidate
{
	HnswNodeId	node;
	uint32		rank;
	float		distance;		/* squared L2 of the stored vectors */
	float	   *x;				/* own vector, padded floats */
} HnswCandidate;

/* What inserts need again and again; VACUUM's repairs, too. */
typedef struct HnswInsert
{
	Relation	index;
	bool		building;
	MemoryContext context;		/* of this struct and all it points to */
	MemoryContext row_context;	/* reset for each row */
	HnswIndex  *hnsw;
	HnswQuery	query;
	HnswReader	reader;
	HnswValue	value;			/* room for one */
	RabitqQuery owner;			/* see hnsw_insert_owner() */
	int			ef;
} HnswInsert;

extern HnswInsert *hnsw_insert_begin(Relation index, bool building);
extern HnswNodeId hnsw_insert_value(HnswInsert *insert, const HnswValue *value, ItemPointer tid);
extern void hnsw_insert_end(HnswInsert *insert);
extern HnswCandidate *hnsw_insert_search(HnswInsert *insert, const HnswValue *value,
										 int *n, HnswNodeId *same);
extern void hnsw_insert_owner(HnswInsert *insert, const float *x);
extern void hnsw_insert_owner_distances(HnswInsert *insert, HnswNode node, float *distances);
extern bool hnsw_insert_link(HnswInsert *insert, HnswNodeId id, const HnswValue *value,
							 const HnswCandidate *owner, bool protect);
extern void hnsw_insert_entry(HnswInsert *insert, HnswNodeId id, const HnswValue *value);
extern void hnsw_record_room(Relation index, BlockNumber blkno);
extern bool hnswinsert(Relation index, Datum *values, bool *isnull,
					   ItemPointer heap_tid, Relation heap,
					   IndexUniqueCheck checkUnique, bool indexUnchanged,
					   IndexInfo *indexInfo);

/* hnsw_tids.c: the heap TIDs of a node, chunks of further ones */
typedef struct HnswTids
{
	ItemPointerData *tids;
	uint32		n;
	uint32		size;
} HnswTids;

extern void hnsw_tids_read(Relation index, const HnswIndex *hnsw, HnswNodeId id,
						   ItemPointer tid, BlockNumber chunk_block,
						   OffsetNumber chunk_offset, HnswTids *tids);
extern HnswChunk hnsw_chunk_at(Page page, OffsetNumber offset, HnswNodeId owner);
extern void hnsw_tids_add(Relation index, const HnswMetaPageData *meta, Buffer node_buf,
						  OffsetNumber offset, ItemPointer tid, bool building);

/* hnsw_scan.c */
extern uint64 hnsw_session_dropped;
extern IndexScanDesc hnswbeginscan(Relation index, int nkeys, int norderbys);
extern void hnswrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
					   ScanKey orderbys, int norderbys);
extern bool hnswgettuple(IndexScanDesc scan, ScanDirection dir);
extern void hnswendscan(IndexScanDesc scan);

/* hnsw_vacuum.c */
extern IndexBulkDeleteResult *hnswbulkdelete(IndexVacuumInfo *info,
											 IndexBulkDeleteResult *stats,
											 IndexBulkDeleteCallback callback,
											 void *callback_state);
extern IndexBulkDeleteResult *hnswvacuumcleanup(IndexVacuumInfo *info,
												IndexBulkDeleteResult *stats);

/* hnsw_cost.c */
extern void hnswcostestimate(PlannerInfo *root, IndexPath *path,
							 double loop_count, Cost *startup_cost,
							 Cost *total_cost, Selectivity *selectivity,
							 double *correlation, double *pages);

/* hnsw_validate.c */
extern bool hnswvalidate(Oid opclassoid);

#endif							/* VECDB_HNSW_PRIVATE_H */
