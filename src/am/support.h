/*-------------------------------------------------------------------------
 *
 * support.h
 *	  What an index knows of its column: metric, dimensions, value checks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_SUPPORT_H
#define VECDB_SUPPORT_H

#include "utils/rel.h"

#include "types/vector.h"

/* Stored in metapages: do not renumber. */
typedef enum Metric
{
	METRIC_L2 = 0,				/* <-> */
	METRIC_IP = 1,				/* <#> */
	METRIC_COSINE = 2,			/* <=> */
	METRIC_L1 = 3				/* <+>, hnsw only */
} Metric;
#define METRIC_LAST METRIC_COSINE	/* of those that ivf has */

/* Support procedures of an operator class, numbered as pgvector's ivfflat. */
#define SUPPORT_DISTANCE_PROC	1
#define SUPPORT_NORM_PROC		2	/* cosine only */

extern Metric support_metric(Relation index, bool with_l1);
extern const char *support_metric_name(Metric metric);
extern int	support_dims(Relation index, const char *am_name, int max_dims);
extern Vector *support_value(Datum value, int dims);

#endif							/* VECDB_SUPPORT_H */
