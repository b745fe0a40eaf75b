/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Index options, and which of option and setting rules.
 *
 * Every search setting is also an index option, so that it travels with the
 * index behind poolers, ORMs and shards.  From strongest to weakest:
 *
 *	1.	what this session said: client options, SET, SET LOCAL
 *		(GucSource PGC_S_CLIENT and above)
 *	2.	the index option
 *	3.	files, database and role settings, the server's default
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_OPTIONS_H
#define VECDB_OPTIONS_H

#include "utils/guc.h"
#include "utils/rel.h"

/* An option's value in memory when the index does not give it */
#define OPTION_UNSET (-1)

/* Bits of a rabitq code for each dimension, when nobody said; of few dimensions (ivf/README.md) */
#define IVFPQ_DEFAULT_BITS	2
#define IVFPQ_FEW_DIMS		256
#define IVFPQ_FEW_DIMS_BITS	4

/* Reloptions of ivfflat and ivfpq; every one may be OPTION_UNSET. */
typedef struct IvfOptions
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int			lists;
	int			probes;
	int			max_probes;
	int			iterative_scan; /* IterativeScan */
	double		target_recall;
	/* of ivfpq alone; 0 in an ivfflat index's */
	int			quantizer;		/* CodecKind */
	int			m;
	int			bits;
	int			rerank;			/* Rerank */
	int			rerank_k;
} IvfOptions;

/* Where exact distances come from */
typedef enum Rerank
{
	RERANK_NONE,				/* nowhere: estimates order the rows */
	RERANK_HEAP,				/* from the table */
	RERANK_INDEX				/* from copies in the index */
} Rerank;

/* What a scan of an ivfflat or ivfpq index shall do. */
typedef struct IvfSearch
{
	int			probes;			/* lists to visit first; 0: by target_recall */
	double		target_recall;
	int			max_probes;
	int			iterative_scan; /* IterativeScan */
	int			rerank;			/* Rerank; of ivfpq */
	int			rerank_k;		/* 0: by error bound */
} IvfSearch;

/* Reloptions of hnsw; every one may be OPTION_UNSET. */
typedef struct HnswOptions
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int			m;
	int			ef_construction;
	int			codes;			/* bits of a code a dimension; 0: none */
	int			ef_search;
	int			iterative_scan; /* IterativeScan */
	int			max_scan_tuples;
	double		scan_mem_multiplier;
	double		target_recall;
} HnswOptions;

#define HNSW_DEFAULT_M					16
#define HNSW_DEFAULT_EF_CONSTRUCTION	64

/* What a scan of an hnsw index shall do. */
typedef struct HnswSearch
{
	int			ef_search;		/* 0: by target_recall */
	double		target_recall;
	int			iterative_scan; /* IterativeScan */
	int			max_scan_tuples;
	double		scan_mem_multiplier;
} HnswSearch;

extern void options_init(void);
extern bytea *ivfflat_reloptions(Datum reloptions, bool validate);
extern bytea *ivfpq_reloptions(Datum reloptions, bool validate);
extern const char *option_quantizer_name(int kind);
extern const char *option_rerank_name(int rerank);
extern void ivfpq_build_options(Relation index, int *kind, int *bits, int *m);
extern bool ivfpq_option_copies(Relation index);
extern int	ivf_option_lists(Relation index);
extern void ivf_search_options(Relation index, bool ivfpq, IvfSearch *search);
extern bytea *hnsw_reloptions(Datum reloptions, bool validate);
extern int	hnsw_option_m(Relation index);
extern int	hnsw_option_ef_construction(Relation index);
extern int	hnsw_option_codes(Relation index);
extern void hnsw_search_options(Relation index, HnswSearch *search);

#endif							/* VECDB_OPTIONS_H */
