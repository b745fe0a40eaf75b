/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Every setting, alphabetical.
 *
 * A setting that an index option can replace remembers its source: SHOW must
 * give pgvector's default, so the value alone cannot tell whether anybody
 * set it.  The check hook puts the source into "extra", which the server
 * keeps with the value through SET LOCAL, rollback, RESET and the transfer
 * to parallel workers; the assign hook publishes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "guc.h"
#include "kernel/kernel.h"

int			hnsw_ef_search = 40;
int			hnsw_iterative_scan = ITERATIVE_SCAN_STRICT;
int			hnsw_max_scan_tuples = INT_MAX;
double		hnsw_scan_mem_multiplier = 1;
int			ivfflat_probes = 1;
int			ivfflat_max_probes = 32768;
int			ivfflat_iterative_scan = ITERATIVE_SCAN_STRICT;
int			ivfpq_probes = 1;
int			ivfpq_max_probes = 32768;
int			ivfpq_iterative_scan = ITERATIVE_SCAN_STRICT;
int			ivfpq_rerank_k = 0;
double		vecdb_target_recall = 0.95;
static int	vecdb_simd_level;

GucSource	hnsw_ef_search_source = PGC_S_DEFAULT;
GucSource	hnsw_iterative_scan_source = PGC_S_DEFAULT;
GucSource	hnsw_max_scan_tuples_source = PGC_S_DEFAULT;
GucSource	hnsw_scan_mem_multiplier_source = PGC_S_DEFAULT;
GucSource	ivfflat_probes_source = PGC_S_DEFAULT;
GucSource	ivfflat_max_probes_source = PGC_S_DEFAULT;
GucSource	ivfflat_iterative_scan_source = PGC_S_DEFAULT;
GucSource	ivfpq_probes_source = PGC_S_DEFAULT;
GucSource	ivfpq_max_probes_source = PGC_S_DEFAULT;
GucSource	ivfpq_iterative_scan_source = PGC_S_DEFAULT;
GucSource	ivfpq_rerank_k_source = PGC_S_DEFAULT;
GucSource	vecdb_target_recall_source = PGC_S_DEFAULT;

/* vecdb.simd: the levels, and "auto" beside them */
#define SIMD_AUTO (-1)

static const struct config_enum_entry simd_options[] = {
	{"auto", SIMD_AUTO, false},
	{"scalar", KERNEL_SCALAR, false},
	{"avx2", KERNEL_AVX2, false},
	{"avx512", KERNEL_AVX512, false},
	{"neon", KERNEL_NEON, false},
	{NULL, 0, false}
};

static const struct config_enum_entry iterative_scan_options[] = {
	{"off", ITERATIVE_SCAN_OFF, false},
	{"relaxed_order", ITERATIVE_SCAN_RELAXED, false},
	{"strict_order", ITERATIVE_SCAN_STRICT, false},
	{NULL, 0, false}
};

/* Keep the source with the value. */
static bool
keep_source(void **extra, GucSource source)
{
	GucSource  *kept = guc_extra_alloc(sizeof(GucSource));

	if (kept == NULL)
		return false;
	*kept = source;
	*extra = kept;
	return true;
}

static bool
check_int(int *newval, void **extra, GucSource source)
{
	return keep_source(extra, source);
}

static bool
check_real(double *newval, void **extra, GucSource source)
{
	return keep_source(extra, source);
}

static void
assign_ef_search(int newval, void *extra)
{
	hnsw_ef_search_source = *(GucSource *) extra;
}

static void
assign_hnsw_iterative_scan(int newval, void *extra)
{
	hnsw_iterative_scan_source = *(GucSource *) extra;
}

static void
assign_max_scan_tuples(int newval, void *extra)
{
	hnsw_max_scan_tuples_source = *(GucSource *) extra;
}

static void
assign_scan_mem_multiplier(double newval, void *extra)
{
	hnsw_scan_mem_multiplier_source = *(GucSource *) extra;
}

static void
assign_probes(int newval, void *extra)
{
	ivfflat_probes_source = *(GucSource *) extra;
}

static void
assign_max_probes(int newval, void *extra)
{
	ivfflat_max_probes_source = *(GucSource *) extra;
}

static void
assign_iterative_scan(int newval, void *extra)
{
	ivfflat_iterative_scan_source = *(GucSource *) extra;
}

static void
assign_ivfpq_probes(int newval, void *extra)
{
	ivfpq_probes_source = *(GucSource *) extra;
}

static void
assign_ivfpq_max_probes(int newval, void *extra)
{
	ivfpq_max_probes_source = *(GucSource *) extra;
}

static void
assign_ivfpq_iterative_scan(int newval, void *extra)
{
	ivfpq_iterative_scan_source = *(GucSource *) extra;
}

static void
assign_ivfpq_rerank_k(int newval, void *extra)
{
	ivfpq_rerank_k_source = *(GucSource *) extra;
}

static void
assign_target_recall(double newval, void *extra)
{
	vecdb_target_recall_source = *(GucSource *) extra;
}

static bool
check_simd(int *newval, void **extra, GucSource source)
{
	if (*newval == SIMD_AUTO || kernel_table((KernelLevel) *newval) != NULL)
		return true;

	GUC_check_errdetail("This processor or this build of vecdb does not have that level.");
	GUC_check_errhint("Available: auto, scalar%s%s%s.",
					  kernel_table(KERNEL_AVX2) ? ", avx2" : "",
					  kernel_table(KERNEL_AVX512) ? ", avx512" : "",
					  kernel_table(KERNEL_NEON) ? ", neon" : "");
	return false;
}

static void
assign_simd(int newval, void *extra)
{
	if (newval == SIMD_AUTO)
		kernel_init();
	else
		(void) kernel_force((KernelLevel) newval);
}

void
guc_init(void)
{
	DefineCustomIntVariable("hnsw.ef_search",
							"Sets the number of candidates an hnsw search keeps.",
							"While nobody sets it, vecdb.target_recall decides.",
							&hnsw_ef_search,
							40, 1, INT_MAX,
							PGC_USERSET, 0,
							check_int, assign_ef_search, NULL);
	DefineCustomEnumVariable("hnsw.iterative_scan",
							 "Sets how an hnsw scan goes on when more rows are wanted.",
							 "off: ef_search rows at most; relaxed_order: all rows, late finds out of order; "
							 "strict_order: in order, late finds dropped.",
							 &hnsw_iterative_scan,
							 ITERATIVE_SCAN_STRICT, iterative_scan_options,
							 PGC_USERSET, 0,
							 check_int, assign_hnsw_iterative_scan, NULL);
	DefineCustomIntVariable("hnsw.max_scan_tuples",
							"Sets the most nodes an hnsw scan may visit.",
							NULL,
							&hnsw_max_scan_tuples,
							INT_MAX, 1, INT_MAX,
							PGC_USERSET, 0,
							check_int, assign_max_scan_tuples, NULL);
	DefineCustomRealVariable("hnsw.scan_mem_multiplier",
							 "Sets the memory of an hnsw scan, as a multiple of work_mem.",
							 "A scan that needs more reads the rest of the index in one pass and sorts it.",
							 &hnsw_scan_mem_multiplier,
							 1, 1, 1000,
							 PGC_USERSET, 0,
							 check_real, assign_scan_mem_multiplier, NULL);
	DefineCustomEnumVariable("ivfflat.iterative_scan",
							 "Sets how an ivfflat scan goes on when more rows are wanted.",
							 "off: the first probes lists only; relaxed_order: all rows, late finds out of order; "
							 "strict_order: in order, late finds dropped.",
							 &ivfflat_iterative_scan,
							 ITERATIVE_SCAN_STRICT, iterative_scan_options,
							 PGC_USERSET, 0,
							 check_int, assign_iterative_scan, NULL);
	DefineCustomIntVariable("ivfflat.max_probes",
							"Sets the most lists an ivfflat scan may visit.",
							"The greater of this and ivfflat.probes rules, at most all lists.",
							&ivfflat_max_probes,
							32768, 1, VECDB_MAX_LISTS,
							PGC_USERSET, 0,
							check_int, assign_max_probes, NULL);
	DefineCustomIntVariable("ivfflat.probes",
							"Sets the number of lists an ivfflat scan visits first.",
							"While nobody sets it, vecdb.target_recall decides.",
							&ivfflat_probes,
							1, 1, VECDB_MAX_LISTS,
							PGC_USERSET, 0,
							check_int, assign_probes, NULL);
	DefineCustomEnumVariable("ivfpq.iterative_scan",
							 "Sets how an ivfpq scan goes on when more rows are wanted.",
							 "off: the first probes lists only; relaxed_order: all rows, late finds out of order; "
							 "strict_order: in order, late finds dropped.",
							 &ivfpq_iterative_scan,
							 ITERATIVE_SCAN_STRICT, iterative_scan_options,
							 PGC_USERSET, 0,
							 check_int, assign_ivfpq_iterative_scan, NULL);
	DefineCustomIntVariable("ivfpq.max_probes",
							"Sets the most lists an ivfpq scan may visit.",
							"The greater of this and ivfpq.probes rules, at most all lists.",
							&ivfpq_max_probes,
							32768, 1, VECDB_MAX_LISTS,
							PGC_USERSET, 0,
							check_int, assign_ivfpq_max_probes, NULL);
	DefineCustomIntVariable("ivfpq.probes",
							"Sets the number of lists an ivfpq scan visits first.",
							"While nobody sets it, vecdb.target_recall decides.",
							&ivfpq_probes,
							1, 1, VECDB_MAX_LISTS,
							PGC_USERSET, 0,
							check_int, assign_ivfpq_probes, NULL);
	DefineCustomIntVariable("ivfpq.rerank_k",
							"Sets how many of the nearest estimates an ivfpq scan makes exact at a time.",
							"0: as many as the error of the estimates asks for.",
							&ivfpq_rerank_k,
							0, 0, INT_MAX,
							PGC_USERSET, 0,
							check_int, assign_ivfpq_rerank_k, NULL);
	DefineCustomEnumVariable("vecdb.simd",
							 "Forces the instruction set of the distance kernels, for tests.",
							 "All levels give the same distances, to the last bit.",
							 &vecdb_simd_level,
							 SIMD_AUTO, simd_options,
							 PGC_USERSET, 0,
							 check_simd, assign_simd, NULL);
	DefineCustomRealVariable("vecdb.target_recall",
							 "Sets the share of the true nearest neighbours that a search aims to find.",
							 "Decides the effort where nobody set hnsw.ef_search, ivfflat.probes or ivfpq.probes, by samples taken when the index was built.",
							 &vecdb_target_recall,
							 0.95, 0.01, 1.0,
							 PGC_USERSET, 0,
							 check_real, assign_target_recall, NULL);

	MarkGUCPrefixReserved("hnsw");
	MarkGUCPrefixReserved("ivfflat");
	MarkGUCPrefixReserved("ivfpq");
	MarkGUCPrefixReserved("vecdb");
}
