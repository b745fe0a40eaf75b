/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Every setting, and who set it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_GUC_H
#define VECDB_GUC_H

#include "utils/guc.h"

/* Most lists of an index, and so the most a scan may be told to visit */
#define VECDB_MAX_LISTS		1000000

typedef enum IterativeScan
{
	ITERATIVE_SCAN_OFF,
	ITERATIVE_SCAN_RELAXED,
	ITERATIVE_SCAN_STRICT
} IterativeScan;

extern int	hnsw_ef_search;
extern int	hnsw_iterative_scan;
extern int	hnsw_max_scan_tuples;
extern double hnsw_scan_mem_multiplier;
extern int	ivfflat_probes;
extern int	ivfflat_max_probes;
extern int	ivfflat_iterative_scan;
extern int	ivfpq_probes;
extern int	ivfpq_max_probes;
extern int	ivfpq_iterative_scan;
extern int	ivfpq_rerank_k;
extern double vecdb_target_recall;

/* Where the value in force came from: see options.h for what follows. */
extern GucSource hnsw_ef_search_source;
extern GucSource hnsw_iterative_scan_source;
extern GucSource hnsw_max_scan_tuples_source;
extern GucSource hnsw_scan_mem_multiplier_source;
extern GucSource ivfflat_probes_source;
extern GucSource ivfflat_max_probes_source;
extern GucSource ivfflat_iterative_scan_source;
extern GucSource ivfpq_probes_source;
extern GucSource ivfpq_max_probes_source;
extern GucSource ivfpq_iterative_scan_source;
extern GucSource ivfpq_rerank_k_source;
extern GucSource vecdb_target_recall_source;

extern void guc_init(void);

#endif							/* VECDB_GUC_H */
