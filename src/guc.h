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

typedef enum IterativeScan
{
	ITERATIVE_SCAN_OFF,
	ITERATIVE_SCAN_RELAXED,
	ITERATIVE_SCAN_STRICT
} IterativeScan;

extern int	ivfflat_probes;
extern int	ivfflat_max_probes;
extern int	ivfflat_iterative_scan;
extern double vecdb_target_recall;

/* Where the value in force came from: see options.h for what follows. */
extern GucSource ivfflat_probes_source;
extern GucSource ivfflat_max_probes_source;
extern GucSource ivfflat_iterative_scan_source;
extern GucSource vecdb_target_recall_source;

extern void guc_init(void);

#endif							/* VECDB_GUC_H */
