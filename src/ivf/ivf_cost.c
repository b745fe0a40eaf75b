/*-------------------------------------------------------------------------
 *
 * ivf_cost.c
 *	  ivfcostestimate.
 *
 * A scan pays before its first row: the centroids are ranked and the first
 * batch of lists is read (startup cost).  Asked for every row it reads the
 * whole index (total cost); the planner draws a straight line between the
 * two, so LIMIT, and filters that thin the rows out, decide.
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
#include "ivf/ivf_private.h"

/*
 * Rows that ivfpq makes exact before the first ones go out: some dozens, by
 * measurement; those of the table's pages that are cached are most often these.
 */
#define EXACT_ROWS	50

/* Pages of directory, centroids and metapage: read by every scan. */
static double
fixed_pages(const IvfMetaPageData *meta)
{
	double		pages = 1;

	for (int i = 0; i < meta->dir_extents; i++)
		pages += meta->dir[i].blocks;
	for (int i = 0; i < meta->cent_extents; i++)
		pages += meta->cent[i].blocks;
	return pages;
}

void
ivfcostestimate(PlannerInfo *root, IndexPath *path, double loop_count,
					Cost *startup_cost, Cost *total_cost,
					Selectivity *selectivity, double *correlation,
					double *pages)
{
	GenericCosts costs = {0};
	IvfMetaPageData meta;
	IvfSearch	search;
	IvfLayout	layout;
	Relation	index;
	double		random_page_cost;
	double		seq_page_cost;
	double		fixed;
	double		list_pages;
	double		share;
	double		read;
	double		tuples;
	double		rest;
	double		probes;

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
	ivf_meta_read(index, &meta);
	ivf_search_options(index, meta.codec != CODEC_NONE, &search);
	index_close(index, NoLock);
	get_tablespace_page_costs(path->indexinfo->reltablespace,
							  &random_page_cost, &seq_page_cost);

	probes = search.probes;
	if (search.probes == 0)
		(void) ivf_effort_for(&meta, search.target_recall, &probes);
	share = Min(probes / meta.lists_alive, 1.0);
	fixed = Min(fixed_pages(&meta), Max(path->indexinfo->pages, 1));
	list_pages = Max(path->indexinfo->pages - fixed, 1);
	/* copies are read of few rows only, which are charged below */
	ivf_layout(&meta, &layout);
	list_pages = Max(list_pages / (1 + layout.copy_pages), 1);
	read = fixed + list_pages * share;

	/*
	 * A list lies on consecutive blocks: one random read, then sequential
	 * ones.  Where the vectors are TOASTed the table has far fewer pages than
	 * the index, and the planner does not charge a sequential scan for the
	 * TOAST table, though it reads all of it; to be fair, do not charge more
	 * pages than it does.
	 */
	if (read > path->indexinfo->rel->pages)
		*startup_cost = path->indexinfo->rel->pages * seq_page_cost;
	else
		*startup_cost = read * seq_page_cost +
			(Min(probes, list_pages) + 1) * (random_page_cost - seq_page_cost);

	/* a distance for each centroid, and for each row with its sort */
	*startup_cost += cpu_operator_cost * meta.lists +
		(cpu_index_tuple_cost + cpu_operator_cost) * path->indexinfo->tuples * share;

	/*
	 * The rest of the index, should it be wanted.  In strict order it is read
	 * before the first rows that need it are handed out (ivf_look_ahead()), so
	 * a filter that makes the scan hand out a hundredth of the rows makes it
	 * read a third; the planner's straight line to the total cost must be that
	 * much steeper.  And the sort of all rows: charged as the planner charges
	 * its own, or ORDER BY without LIMIT would look cheaper this way.
	 */
	tuples = Max(path->indexinfo->tuples, 2);
	rest = Min(list_pages, Max(path->indexinfo->rel->pages, 1)) * (1 - share) * seq_page_cost +
		(cpu_index_tuple_cost + cpu_operator_cost) * tuples * (1 - share);
	if (search.iterative_scan == ITERATIVE_SCAN_STRICT)
		rest *= ivf_look_ahead(search.probes);
	*total_cost = *startup_cost + rest +
		cpu_index_tuple_cost * tuples +
		2 * cpu_operator_cost * tuples * log2(tuples);
	if (meta.codec != CODEC_NONE && search.rerank != RERANK_NONE)
	{
		/* no more than a quarter of what reading the table would be charged */
		double		exact = Min(EXACT_ROWS * random_page_cost,
								path->indexinfo->rel->pages * seq_page_cost / 4);

		exact += Min(EXACT_ROWS, tuples) * cpu_tuple_cost;
		/* all lists asked for: every row, in the order of the table (ivf_scan.c) */
		if (search.rerank_k == 0 &&
			(search.probes > 0 ? search.probes >= meta.lists : search.target_recall >= 1))
			exact = path->indexinfo->rel->pages * seq_page_cost +
				(cpu_tuple_cost + cpu_operator_cost) * tuples;
		*startup_cost += exact;
		*total_cost += exact + (cpu_tuple_cost + cpu_operator_cost) * tuples;
	}
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = costs.numIndexPages;
}
