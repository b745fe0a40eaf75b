/*-------------------------------------------------------------------------
 *
 * hnsw_cost.c
 *	  hnswcostestimate.
 *
 * A scan pays before its first row: it scans the entry table and visits the
 * nodes that its effort asks for, a page each (startup cost).  Asked for every
 * row it reads the whole index and sorts it (total cost); the planner draws a
 * straight line between the two, so LIMIT, and filters that thin the rows out,
 * decide.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "compat.h"
#include "guc.h"
#include "hnsw/hnsw_private.h"

/*
 * Nodes visited for a row handed out beyond the first ones: 6 to 9 on clusters of 64 dimensions
 * and on text, as strict order looks ahead and what lies on the way is visited, too.
 */
#define VISITS_A_ROW	6

void
hnswcostestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				 Cost *startup_cost, Cost *total_cost,
				 Selectivity *selectivity, double *correlation,
				 double *pages)
{
	GenericCosts costs = {0};
	HnswMetaPageData meta;
	HnswSearch	search;
	Relation	index;
	double		random_page_cost;
	double		seq_page_cost;
	double		entries;
	double		visits;
	double		read;
	double		tuples;
	double		share;
	double		rest;

	/*
	 * It serves no search but ORDER BY column OP value, and knows nothing of a
	 * second such key.  An index that only a planning tool imagines has no
	 * metapage to look into.
	 */
	if (list_length(path->indexorderbys) != 1 || path->indexinfo->hypothetical)
	{
		*startup_cost = *total_cost = get_float8_infinity();
		*selectivity = 0;
		*correlation = 0;
		*pages = 0;
		disable_path(path);
		return;
	}

	genericcostestimate(root, path, loop_count, &costs);

	index = index_open(path->indexinfo->indexoid, NoLock);
	hnsw_meta_read(index, &meta);
	hnsw_search_options(index, &search);
	index_close(index, NoLock);
	get_tablespace_page_costs(path->indexinfo->reltablespace,
							  &random_page_cost, &seq_page_cost);

	tuples = Max(path->indexinfo->tuples, 2);
	/* the metapage does not count what was inserted since the build */
	meta.nodes = Max(meta.nodes, (uint64) tuples);
	entries = hnsw_entry_target(tuples, &meta);
	visits = search.ef_search;
	if (search.ef_search == 0)
		(void) hnsw_gamma_for(&meta, search.target_recall, &visits);
	/* without codes, each neighbour is a page */
	if (meta.bits == 0)
		visits *= meta.slots / 2.0;
	visits = Min(visits, tuples);
	share = visits / tuples;

	/*
	 * Where the vectors are TOASTed the table has far fewer pages than the
	 * index, and the planner does not charge a sequential scan for the TOAST
	 * table, though it reads all of it; to be fair, do not charge more pages
	 * than it does.
	 */
	read = Min(1 + entries / meta.entries_per_page + visits, path->indexinfo->pages);
	if (read > path->indexinfo->rel->pages)
		*startup_cost = path->indexinfo->rel->pages * seq_page_cost;
	else
		*startup_cost = read * random_page_cost;
	*startup_cost += cpu_operator_cost * (entries + visits * meta.slots) / 16 +
		cpu_index_tuple_cost * visits;

	/*
	 * The rest of the index, should it be wanted, and the sort of all rows:
	 * charged as the planner charges its own, or ORDER BY without LIMIT would
	 * look cheaper this way.  The line is to be right near its beginning, where
	 * a filter makes the scan hand out some hundredths of the rows: there it
	 * visits several nodes for each, in random order.  (Past a quarter of the
	 * nodes all are read in sequence, which is cheaper than the line's end.)
	 */
	rest = VISITS_A_ROW * (1 - share) *
		(Min(path->indexinfo->pages, Max(path->indexinfo->rel->pages, 1)) *
		 (random_page_cost + seq_page_cost) / 2 +
		 (cpu_index_tuple_cost + cpu_operator_cost) * tuples);
	*total_cost = *startup_cost + rest +
		cpu_index_tuple_cost * tuples +
		2 * cpu_operator_cost * tuples * log2(tuples);
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = costs.numIndexPages;
}
