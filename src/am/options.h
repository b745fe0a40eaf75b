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

/* Reloptions of ivfflat; every one may be OPTION_UNSET. */
typedef struct IvfflatOptions
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int			lists;
	int			probes;
	int			max_probes;
	int			iterative_scan; /* IterativeScan */
	double		target_recall;
} IvfflatOptions;

/* What a scan of an ivfflat index shall do. */
typedef struct IvfflatSearch
{
	int			probes;			/* lists to visit first; 0: by target_recall */
	double		target_recall;
	int			max_probes;
	int			iterative_scan; /* IterativeScan */
} IvfflatSearch;

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
extern int	ivfflat_option_lists(Relation index);
extern void ivfflat_search_options(Relation index, IvfflatSearch *search);
extern bytea *hnsw_reloptions(Datum reloptions, bool validate);
extern int	hnsw_option_m(Relation index);
extern int	hnsw_option_ef_construction(Relation index);
extern int	hnsw_option_codes(Relation index);
extern void hnsw_search_options(Relation index, HnswSearch *search);

#endif							/* VECDB_OPTIONS_H */
