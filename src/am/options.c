/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Index options, and which of option and setting rules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/reloptions.h"

#include "am/options.h"
#include "guc.h"
#include "quant/codec.h"

static relopt_kind hnsw_relopt_kind;
static relopt_kind ivfflat_relopt_kind;
static relopt_kind ivfpq_relopt_kind;

static relopt_enum_elt_def iterative_scan_values[] = {
	{"off", ITERATIVE_SCAN_OFF},
	{"relaxed_order", ITERATIVE_SCAN_RELAXED},
	{"strict_order", ITERATIVE_SCAN_STRICT},
	{(const char *) NULL, 0}
};

static relopt_enum_elt_def quantizer_values[] = {
	{"opq", CODEC_OPQ},
	{"pq", CODEC_PQ},
	{"rabitq", CODEC_RABITQ},
	{"sq8", CODEC_SQ8},
	{(const char *) NULL, 0}
};

static relopt_enum_elt_def rerank_values[] = {
	{"none", RERANK_NONE},
	{"heap", RERANK_HEAP},
	{"index", RERANK_INDEX},
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

/* Those that ivfflat and ivfpq share */
static void
add_ivf_options(relopt_kind kind)
{
	add_int_reloption(kind, "lists",
					  "Number of lists (default: chosen from the number of rows)",
					  OPTION_UNSET, 1, VECDB_MAX_LISTS, AccessExclusiveLock);
	add_int_reloption(kind, "probes",
					  "Number of lists a scan visits first",
					  OPTION_UNSET, 1, VECDB_MAX_LISTS, ShareUpdateExclusiveLock);
	add_int_reloption(kind, "max_probes",
					  "Most lists a scan may visit",
					  OPTION_UNSET, 1, VECDB_MAX_LISTS, ShareUpdateExclusiveLock);
	add_enum_reloption(kind, "iterative_scan",
					   "How a scan goes on when more rows are wanted",
					   iterative_scan_values, OPTION_UNSET,
					   "Valid values are \"off\", \"relaxed_order\" and \"strict_order\".",
					   ShareUpdateExclusiveLock);
	add_real_reloption(kind, "target_recall",
					   "Share of the true nearest neighbours that a search aims to find",
					   OPTION_UNSET, 0.01, 1.0, ShareUpdateExclusiveLock);
}

/*
 * Search options may change while scans run (each reads them once, when it
 * starts), hence the weak lock; "lists", "quantizer", "bits", "m", "ef_construction",
 * "codes", and the copies of "rerank", take effect with the next REINDEX, or
 * training.  Nothing can say so here: who parses options is not told of which
 * index they are, nor whether it has been built.
 */
void
options_init(void)
{
	ivfflat_relopt_kind = add_reloption_kind();
	add_ivf_options(ivfflat_relopt_kind);

	ivfpq_relopt_kind = add_reloption_kind();
	add_ivf_options(ivfpq_relopt_kind);
	add_enum_reloption(ivfpq_relopt_kind, "quantizer",
					   "What the codes are made by",
					   quantizer_values, OPTION_UNSET,
					   "Valid values are \"opq\", \"pq\", \"rabitq\" and \"sq8\".",
					   AccessExclusiveLock);
	add_int_reloption(ivfpq_relopt_kind, "m",
					  "Number of parts that pq and opq cut a vector into",
					  OPTION_UNSET, 1, 16000, AccessExclusiveLock);
	add_int_reloption(ivfpq_relopt_kind, "bits",
					  "Bits of a code for each part (pq, opq: 4, 8) or dimension (rabitq: 1, 2, 4)",
					  OPTION_UNSET, 1, 8, AccessExclusiveLock);
	add_enum_reloption(ivfpq_relopt_kind, "rerank",
					   "Where exact distances come from",
					   rerank_values, OPTION_UNSET,
					   "Valid values are \"heap\", \"index\" and \"none\".",
					   ShareUpdateExclusiveLock);
	add_int_reloption(ivfpq_relopt_kind, "rerank_k",
					  "Number of estimates a scan makes exact at a time (0: by the estimates' error)",
					  OPTION_UNSET, 0, INT_MAX, ShareUpdateExclusiveLock);

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

/* Of ivfflat and ivfpq: an option that the kind lacks is refused, or left 0. */
static bytea *
ivf_reloptions(Datum reloptions, bool validate, relopt_kind kind)
{
	static const relopt_parse_elt table[] = {
		{"lists", RELOPT_TYPE_INT, offsetof(IvfOptions, lists)},
		{"probes", RELOPT_TYPE_INT, offsetof(IvfOptions, probes)},
		{"max_probes", RELOPT_TYPE_INT, offsetof(IvfOptions, max_probes)},
		{"iterative_scan", RELOPT_TYPE_ENUM, offsetof(IvfOptions, iterative_scan)},
		{"target_recall", RELOPT_TYPE_REAL, offsetof(IvfOptions, target_recall)},
		{"quantizer", RELOPT_TYPE_ENUM, offsetof(IvfOptions, quantizer)},
		{"m", RELOPT_TYPE_INT, offsetof(IvfOptions, m)},
		{"bits", RELOPT_TYPE_INT, offsetof(IvfOptions, bits)},
		{"rerank", RELOPT_TYPE_ENUM, offsetof(IvfOptions, rerank)},
		{"rerank_k", RELOPT_TYPE_INT, offsetof(IvfOptions, rerank_k)},
	};

	return (bytea *) build_reloptions(reloptions, validate, kind,
									  sizeof(IvfOptions), table, lengthof(table));
}

bytea *
ivfflat_reloptions(Datum reloptions, bool validate)
{
	return ivf_reloptions(reloptions, validate, ivfflat_relopt_kind);
}

/* What a value of an option is called; NULL where it is none. */
static const char *
value_name(const relopt_enum_elt_def *values, int value)
{
	while (values->string_val != NULL && values->symbol_val != value)
		values++;
	return values->string_val;
}

const char *
option_quantizer_name(int kind)
{
	return value_name(quantizer_values, kind);
}

const char *
option_rerank_name(int rerank)
{
	return value_name(rerank_values, rerank);
}

static int
quantizer_of(const IvfOptions *options)
{
	return options == NULL || options->quantizer == OPTION_UNSET ? CODEC_RABITQ : options->quantizer;
}

/*
 * Do "bits" and "m" fit the quantizer?  Who changes one of them learns it at once, not from
 * VACUUM; that they fit the column's dimensions only a build can tell.
 */
static void
check_code_options(const IvfOptions *options)
{
	int			kind = quantizer_of(options);
	int			bits = options->bits;

	if (options->m != OPTION_UNSET && kind != CODEC_PQ && kind != CODEC_OPQ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"m\" is for quantizers \"pq\" and \"opq\" only"),
				 errhint("Set quantizer = pq, or leave m out (ALTER INDEX ... RESET (m)).")));
	if (bits == OPTION_UNSET)
		return;
	if ((kind == CODEC_PQ || kind == CODEC_OPQ) && bits != 4 && bits != 8)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bits is %d, but quantizer \"%s\" has 4 or 8 bits for each part",
						bits, option_quantizer_name(kind))));
	if (kind == CODEC_SQ8 && bits != 8)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bits is %d, but quantizer \"sq8\" has 8 bits for each dimension", bits)));
	if (kind == CODEC_RABITQ && bits != 1 && bits != 2 && bits != 4)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bits is %d, but quantizer \"rabitq\" has 1, 2 or 4 bits for each dimension", bits)));
}

bytea *
ivfpq_reloptions(Datum reloptions, bool validate)
{
	bytea	   *options = ivf_reloptions(reloptions, validate, ivfpq_relopt_kind);

	if (validate && options != NULL)
		check_code_options((const IvfOptions *) options);
	return options;
}

/* The options "quantizer" (CodecKind) of an ivfpq index, and "bits" and "m", or OPTION_UNSET. */
void
ivfpq_build_options(Relation index, int *kind, int *bits, int *m)
{
	const IvfOptions *options = (const IvfOptions *) index->rd_options;

	*kind = quantizer_of(options);
	*bits = options ? options->bits : OPTION_UNSET;
	*m = options ? options->m : OPTION_UNSET;
}

/* Does the option "rerank" of an ivfpq index want copies of the vectors? */
bool
ivfpq_option_copies(Relation index)
{
	const IvfOptions *options = (const IvfOptions *) index->rd_options;

	return options != NULL && options->rerank == RERANK_INDEX;
}

/* The option "lists", or OPTION_UNSET. */
int
ivf_option_lists(Relation index)
{
	IvfOptions *options = (IvfOptions *) index->rd_options;

	return options ? options->lists : OPTION_UNSET;
}

static inline bool
said_by_session(GucSource source)
{
	return source >= PGC_S_CLIENT;
}

/*
 * Who decides the effort: the strongest of those who gave a number (of probes,
 * of candidates) or a target; the number before the target at the same strength;
 * the default target at last.  *number is 0 where a target rules.
 */
static void
choose_effort(int setting, GucSource source, int option, double option_target,
			  int *number, double *target)
{
	*number = 0;
	*target = vecdb_target_recall;
	if (said_by_session(source))
		*number = setting;
	else if (said_by_session(vecdb_target_recall_source))
		 /* the setting's value stands */ ;
	else if (option != OPTION_UNSET)
		*number = option;
	else if (option_target != OPTION_UNSET)
		*target = option_target;
	else if (source > PGC_S_DYNAMIC_DEFAULT)
		*number = setting;
}

void
ivf_search_options(Relation index, bool ivfpq, IvfSearch *search)
{
	static const IvfOptions unset = {
		.lists = OPTION_UNSET, .probes = OPTION_UNSET, .max_probes = OPTION_UNSET,
		.iterative_scan = OPTION_UNSET, .target_recall = OPTION_UNSET,
		.rerank = OPTION_UNSET, .rerank_k = OPTION_UNSET
	};
	const IvfOptions *options = index->rd_options ?
		(const IvfOptions *) index->rd_options : &unset;
	GucSource	max_probes_source;

	choose_effort(ivfpq ? ivfpq_probes : ivfflat_probes,
				  ivfpq ? ivfpq_probes_source : ivfflat_probes_source,
				  options->probes, options->target_recall,
				  &search->probes, &search->target_recall);

	search->max_probes = ivfpq ? ivfpq_max_probes : ivfflat_max_probes;
	max_probes_source = ivfpq ? ivfpq_max_probes_source : ivfflat_max_probes_source;
	if (!said_by_session(max_probes_source) && options->max_probes != OPTION_UNSET)
		search->max_probes = options->max_probes;
	else if (max_probes_source <= PGC_S_DYNAMIC_DEFAULT)
		search->max_probes = VECDB_MAX_LISTS;	/* the default, pgvector's, means all */

	search->iterative_scan = ivfpq ? ivfpq_iterative_scan : ivfflat_iterative_scan;
	if (!said_by_session(ivfpq ? ivfpq_iterative_scan_source : ivfflat_iterative_scan_source) &&
		options->iterative_scan != OPTION_UNSET)
		search->iterative_scan = options->iterative_scan;

	search->rerank = ivfpq && options->rerank != OPTION_UNSET ? options->rerank : RERANK_HEAP;
	search->rerank_k = ivfpq_rerank_k;
	if (!said_by_session(ivfpq_rerank_k_source) && ivfpq && options->rerank_k != OPTION_UNSET)
		search->rerank_k = options->rerank_k;
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

void
hnsw_search_options(Relation index, HnswSearch *search)
{
	const HnswOptions *options = hnsw_options(index);

	choose_effort(hnsw_ef_search, hnsw_ef_search_source, options->ef_search,
				  options->target_recall, &search->ef_search, &search->target_recall);

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
