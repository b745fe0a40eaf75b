/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Index options, and which of option and setting rules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"

#include "am/options.h"
#include "guc.h"

static relopt_kind hnsw_relopt_kind;
static relopt_kind ivfflat_relopt_kind;

static relopt_enum_elt_def iterative_scan_values[] = {
	{"off", ITERATIVE_SCAN_OFF},
	{"relaxed_order", ITERATIVE_SCAN_RELAXED},
	{"strict_order", ITERATIVE_SCAN_STRICT},
	{(const char *) NULL, 0}
};

static relopt_enum_elt_def codes_values[] = {
	{"auto", OPTION_UNSET},
	{"none", 0},
	{"1", 1},
	{"2", 2},
	{"4", 4},
	{(const char *) NULL, 0}
};

/*
 * Search options may change while scans run (each reads them once, when it
 * starts), hence the weak lock; "lists", "m" and "codes" take effect with the
 * next REINDEX.
 */
void
options_init(void)
{
	ivfflat_relopt_kind = add_reloption_kind();

	add_int_reloption(ivfflat_relopt_kind, "lists",
					  "Number of lists (default: chosen from the number of rows)",
					  OPTION_UNSET, 1, 32768, AccessExclusiveLock);
	add_int_reloption(ivfflat_relopt_kind, "probes",
					  "Number of lists a scan visits first",
					  OPTION_UNSET, 1, 32768, ShareUpdateExclusiveLock);
	add_int_reloption(ivfflat_relopt_kind, "max_probes",
					  "Most lists a scan may visit",
					  OPTION_UNSET, 1, 32768, ShareUpdateExclusiveLock);
	add_enum_reloption(ivfflat_relopt_kind, "iterative_scan",
					   "How a scan goes on when more rows are wanted",
					   iterative_scan_values, OPTION_UNSET,
					   "Valid values are \"off\", \"relaxed_order\" and \"strict_order\".",
					   ShareUpdateExclusiveLock);
	add_real_reloption(ivfflat_relopt_kind, "target_recall",
					   "Share of the true nearest neighbours that a search aims to find",
					   OPTION_UNSET, 0.01, 1.0, ShareUpdateExclusiveLock);

	hnsw_relopt_kind = add_reloption_kind();

	add_int_reloption(hnsw_relopt_kind, "m",
					  "Half the number of neighbours of a node",
					  HNSW_DEFAULT_M, 2, 100, AccessExclusiveLock);
	add_int_reloption(hnsw_relopt_kind, "ef_construction",
					  "Number of candidates looked at when a row is inserted",
					  HNSW_DEFAULT_EF_CONSTRUCTION, 4, 1000, AccessExclusiveLock);
	add_enum_reloption(hnsw_relopt_kind, "codes",
					   "Bits a dimension of the neighbours' codes kept in each node",
					   codes_values, OPTION_UNSET,
					   "Valid values are \"auto\", \"none\", \"1\", \"2\" and \"4\".",
					   AccessExclusiveLock);
	add_int_reloption(hnsw_relopt_kind, "ef_search",
					  "Number of candidates a search keeps",
					  OPTION_UNSET, 1, INT_MAX, ShareUpdateExclusiveLock);
	add_enum_reloption(hnsw_relopt_kind, "iterative_scan",
					   "How a scan goes on when more rows are wanted",
					   iterative_scan_values, OPTION_UNSET,
					   "Valid values are \"off\", \"relaxed_order\" and \"strict_order\".",
					   ShareUpdateExclusiveLock);
	add_int_reloption(hnsw_relopt_kind, "max_scan_tuples",
					  "Most nodes a scan may visit",
					  OPTION_UNSET, 1, INT_MAX, ShareUpdateExclusiveLock);
	add_real_reloption(hnsw_relopt_kind, "scan_mem_multiplier",
					   "Memory of a scan, as a multiple of work_mem",
					   OPTION_UNSET, 1, 1000, ShareUpdateExclusiveLock);
	add_real_reloption(hnsw_relopt_kind, "target_recall",
					   "Share of the true nearest neighbours that a search aims to find",
					   OPTION_UNSET, 0.01, 1.0, ShareUpdateExclusiveLock);
}

bytea *
ivfflat_reloptions(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"lists", RELOPT_TYPE_INT, offsetof(IvfflatOptions, lists)},
		{"probes", RELOPT_TYPE_INT, offsetof(IvfflatOptions, probes)},
		{"max_probes", RELOPT_TYPE_INT, offsetof(IvfflatOptions, max_probes)},
		{"iterative_scan", RELOPT_TYPE_ENUM, offsetof(IvfflatOptions, iterative_scan)},
		{"target_recall", RELOPT_TYPE_REAL, offsetof(IvfflatOptions, target_recall)},
	};

	return (bytea *) build_reloptions(reloptions, validate, ivfflat_relopt_kind,
									  sizeof(IvfflatOptions), table, lengthof(table));
}

/* The option "lists", or OPTION_UNSET. */
int
ivfflat_option_lists(Relation index)
{
	IvfflatOptions *options = (IvfflatOptions *) index->rd_options;

	return options ? options->lists : OPTION_UNSET;
}

static inline bool
said_by_session(GucSource source)
{
	return source >= PGC_S_CLIENT;
}

/*
 * Who decides the effort: the strongest of those who gave probes or a target;
 * probes before a target at the same strength; the default target at last.
 */
void
ivfflat_search_options(Relation index, IvfflatSearch *search)
{
	static const IvfflatOptions unset = {
		.lists = OPTION_UNSET, .probes = OPTION_UNSET, .max_probes = OPTION_UNSET,
		.iterative_scan = OPTION_UNSET, .target_recall = OPTION_UNSET
	};
	const IvfflatOptions *options = index->rd_options ?
		(const IvfflatOptions *) index->rd_options : &unset;

	search->probes = 0;
	search->target_recall = vecdb_target_recall;
	if (said_by_session(ivfflat_probes_source))
		search->probes = ivfflat_probes;
	else if (said_by_session(vecdb_target_recall_source))
		 /* the setting's value stands */ ;
	else if (options->probes != OPTION_UNSET)
		search->probes = options->probes;
	else if (options->target_recall != OPTION_UNSET)
		search->target_recall = options->target_recall;
	else if (ivfflat_probes_source > PGC_S_DYNAMIC_DEFAULT)
		search->probes = ivfflat_probes;

	search->max_probes = ivfflat_max_probes;
	if (!said_by_session(ivfflat_max_probes_source) &&
		options->max_probes != OPTION_UNSET)
		search->max_probes = options->max_probes;

	search->iterative_scan = ivfflat_iterative_scan;
	if (!said_by_session(ivfflat_iterative_scan_source) &&
		options->iterative_scan != OPTION_UNSET)
		search->iterative_scan = options->iterative_scan;
}

bytea *
hnsw_reloptions(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(HnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(HnswOptions, ef_construction)},
		{"codes", RELOPT_TYPE_ENUM, offsetof(HnswOptions, codes)},
		{"ef_search", RELOPT_TYPE_INT, offsetof(HnswOptions, ef_search)},
		{"iterative_scan", RELOPT_TYPE_ENUM, offsetof(HnswOptions, iterative_scan)},
		{"max_scan_tuples", RELOPT_TYPE_INT, offsetof(HnswOptions, max_scan_tuples)},
		{"scan_mem_multiplier", RELOPT_TYPE_REAL, offsetof(HnswOptions, scan_mem_multiplier)},
		{"target_recall", RELOPT_TYPE_REAL, offsetof(HnswOptions, target_recall)},
	};

	return (bytea *) build_reloptions(reloptions, validate, hnsw_relopt_kind,
									  sizeof(HnswOptions), table, lengthof(table));
}

static const HnswOptions *
hnsw_options(Relation index)
{
	static const HnswOptions unset = {
		.m = HNSW_DEFAULT_M, .ef_construction = HNSW_DEFAULT_EF_CONSTRUCTION,
		.codes = OPTION_UNSET, .ef_search = OPTION_UNSET, .iterative_scan = OPTION_UNSET,
		.max_scan_tuples = OPTION_UNSET, .scan_mem_multiplier = OPTION_UNSET,
		.target_recall = OPTION_UNSET
	};

	return index->rd_options ? (const HnswOptions *) index->rd_options : &unset;
}

int
hnsw_option_m(Relation index)
{
	return hnsw_options(index)->m;
}

int
hnsw_option_ef_construction(Relation index)
{
	return hnsw_options(index)->ef_construction;
}

/* Bits of a code a dimension, 0: none, OPTION_UNSET: auto. */
int
hnsw_option_codes(Relation index)
{
	return hnsw_options(index)->codes;
}

/*
 * Who decides the effort: as for ivfflat, with ef_search in the place of
 * probes.
 */
void
hnsw_search_options(Relation index, HnswSearch *search)
{
	const HnswOptions *options = hnsw_options(index);

	search->ef_search = 0;
	search->target_recall = vecdb_target_recall;
	if (said_by_session(hnsw_ef_search_source))
		search->ef_search = hnsw_ef_search;
	else if (said_by_session(vecdb_target_recall_source))
		 /* the setting's value stands */ ;
	else if (options->ef_search != OPTION_UNSET)
		search->ef_search = options->ef_search;
	else if (options->target_recall != OPTION_UNSET)
		search->target_recall = options->target_recall;
	else if (hnsw_ef_search_source > PGC_S_DYNAMIC_DEFAULT)
		search->ef_search = hnsw_ef_search;

	search->iterative_scan = hnsw_iterative_scan;
	if (!said_by_session(hnsw_iterative_scan_source) && options->iterative_scan != OPTION_UNSET)
		search->iterative_scan = options->iterative_scan;
	search->max_scan_tuples = hnsw_max_scan_tuples;
	if (!said_by_session(hnsw_max_scan_tuples_source) && options->max_scan_tuples != OPTION_UNSET)
		search->max_scan_tuples = options->max_scan_tuples;
	search->scan_mem_multiplier = hnsw_scan_mem_multiplier;
	if (!said_by_session(hnsw_scan_mem_multiplier_source) &&
		options->scan_mem_multiplier != OPTION_UNSET)
		search->scan_mem_multiplier = options->scan_mem_multiplier;
}
