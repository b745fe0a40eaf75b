/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  vecdb_index_stats: numbers of an index that SHOW and pg_class lack.
 *
 * The plain answer reads the metapage (and ivfflat's directory), so its row counts
 * are those of the build or of the last VACUUM.  The detailed one reads every
 * page and counts what is there now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "am/options.h"
#include "compat.h"
#include "hnsw/hnsw_private.h"
#include "ivf/ivf_private.h"
#include "monitor/monitor.h"

VECDB_FUNCTION(vecdb_index_stats);

static void
put(FunctionCallInfo fcinfo, const char *metric, double value)
{
	Datum		values[3] = {CStringGetTextDatum(metric), Float8GetDatum(value)};
	bool		nulls[3] = {false, false, true};

	monitor_put_row(fcinfo, values, nulls);
}

/* What has a name instead of a number */
static void
put_setting(FunctionCallInfo fcinfo, const char *metric, const char *setting)
{
	Datum		values[3] = {CStringGetTextDatum(metric), (Datum) 0, CStringGetTextDatum(setting)};
	bool		nulls[3] = {false, true, false};

	monitor_put_row(fcinfo, values, nulls);
}

/* Rows and pages by kind, from a pass over all pages. */
static void
ivf_put_pages(FunctionCallInfo fcinfo, Relation index, const IvfMetaPageData *meta)
{
	static const char *const names[] = {"pages_free", "pages_meta",
	"pages_directory", "pages_centroids", "pages_list", "pages_continuation",
	"pages_codec", "pages_group", "pages_copy"};
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	uint64		pages[lengthof(names)] = {0};
	uint64		rows = 0;
	uint64		zero = 0;
	uint64		broken = 0;
	uint64		empty = 0;
	uint64		retired = 0;
	PGAlignedBlock image;
	Codec		codec;

	for (BlockNumber blkno = 0; blkno < nblocks; blkno++)
	{
		PageVerdict verdict;
		int			n;
		uint32		generation;

		CHECK_FOR_INTERRUPTS();
		verdict = monitor_copy_page(index, blkno, strategy, IVF_SPECIAL_SIZE, image.data);
		if (verdict == PAGE_ZERO)
			zero++;
		else if (verdict != PAGE_OK || IvfPageKind(image.data) >= lengthof(names))
			broken++;
		else
		{
			pages[IvfPageKind(image.data)]++;
			generation = IvfPageGetOpaque(image.data)->generation;
			if (IvfPageKind(image.data) > IVF_PAGE_META && generation != meta->generation &&
				(meta->next_generation == 0 || generation != meta->next_generation))
			{
				retired++;
				continue;
			}
			if (IvfPageKind(image.data) != IVF_PAGE_LIST)
				continue;
			n = meta->codec != CODEC_NONE ? IvfPageGetOpaque(image.data)->rows :
				IvfPageUsed(image.data) / Min(meta->row_size,
											  IVF_ROW_HEAD + IVF_HEAD_FLOATS * sizeof(float));
			empty += n == 0;
			/* of the next generation, what no training has copied there */
			if (generation == meta->generation ||
				(IvfPageGetOpaque(image.data)->flags & IVF_PAGE_COPIES) == 0)
				rows += n;
		}
	}
	FreeAccessStrategy(strategy);

	if (meta->codec != CODEC_NONE)
		(void) codec_init(&codec, (CodecKind) meta->codec, meta->dims, meta->code_bits,
						  meta->code_parts, meta->code_seed);
	put(fcinfo, "rows_now", rows);
	for (int i = 0; i < lengthof(names); i++)
		if ((i < IVF_PAGE_CODEC || i == IVF_PAGE_GROUP || meta->codec != CODEC_NONE) &&
			(i != IVF_PAGE_GROUP || meta->groups > 0))
			put(fcinfo, names[i], pages[i]);
	if (meta->codec != CODEC_NONE && rows > 0)
	{
		uint64		directory = pages[IVF_PAGE_DIR] + pages[IVF_PAGE_CENT];
		uint64		others = nblocks - pages[IVF_PAGE_LIST] - pages[IVF_PAGE_CODEC] -
			pages[IVF_PAGE_COPY] - directory;
		double		share = (double) BLCKSZ / rows;

		/* all bytes of the index, by what they are for */
		put(fcinfo, "row_bytes", share * nblocks);
		put(fcinfo, "row_bytes_tid", sizeof(ItemPointerData));
		put(fcinfo, "row_bytes_factors", meta->row_size - sizeof(ItemPointerData) - codec.code_size);
		put(fcinfo, "row_bytes_code", codec.code_size);
		put(fcinfo, "row_bytes_empty", share * pages[IVF_PAGE_LIST] - meta->row_size);
		put(fcinfo, "row_bytes_centroids", share * directory);
		put(fcinfo, "row_bytes_codec", share * pages[IVF_PAGE_CODEC]);
		put(fcinfo, "row_bytes_copies", share * pages[IVF_PAGE_COPY]);
		put(fcinfo, "row_bytes_others", share * others);
	}
	put(fcinfo, "pages_list_empty", empty);
	put(fcinfo, "pages_retired", retired);
	put(fcinfo, "pages_zero", zero);
	put(fcinfo, "pages_broken", broken);
}

static void
ivf_put_stats(FunctionCallInfo fcinfo, Relation index, bool detailed)
{
	IvfMetaPageData meta;
	IvfSearch	search;
	double		bytes = (double) RelationGetNumberOfBlocks(index) * BLCKSZ;
	uint64		rows = 0;
	uint64		smallest = PG_UINT64_MAX;
	uint64		largest = 0;
	uint64	   *list_rows;
	uint32		alive = 0;

	ivf_meta_read(index, &meta);
	list_rows = palloc(sizeof(uint64) * meta.lists);
	for (uint32 list = 0; list < meta.lists; list++)
	{
		IvfListData entry;

		CHECK_FOR_INTERRUPTS();
		ivf_list_read(index, &meta, list, &entry);
		if (entry.flags & IVF_LIST_SUPERSEDED)
			continue;
		rows += entry.rows;
		list_rows[alive++] = entry.rows;
		smallest = Min(smallest, entry.rows);
		largest = Max(largest, entry.rows);
	}

	put(fcinfo, "dimensions", meta.dims);
	put(fcinfo, "rows", rows);
	put(fcinfo, "rows_at_build", meta.rows_at_build);
	put(fcinfo, "bytes", bytes);
	if (rows > 0)
		put(fcinfo, "bytes_per_row", bytes / rows);
	put(fcinfo, "generation", meta.generation);
	put(fcinfo, "lists", meta.lists_alive);
	put(fcinfo, "list_rows_smallest", Min(smallest, largest));
	put(fcinfo, "list_rows_mean", (double) rows / meta.lists_alive);
	put(fcinfo, "list_rows_largest", largest);
	put(fcinfo, "list_rows_spread", ivf_spread(list_rows, alive));
	if (meta.generation > 0)
		put(fcinfo, "list_rows_spread_at_build", meta.spread_at_build);
	if (meta.next_generation != 0)
		put(fcinfo, "lists_in_training", meta.next_lists);
	for (int i = 0; i < meta.num_targets; i++)
		put(fcinfo, psprintf("probes_for_recall_%g", meta.targets[i].recall),
			meta.targets[i].probes);

	if (meta.codec != CODEC_NONE)
	{
		put_setting(fcinfo, "quantizer", option_quantizer_name(meta.codec));
		put(fcinfo, "code_bits", meta.code_bits);
		if (meta.code_parts > 0)
			put(fcinfo, "m", meta.code_parts);
		put(fcinfo, "code_bytes", meta.row_size - sizeof(ItemPointerData));
		put(fcinfo, "copy_bytes", meta.copies ? ivf_copy_size(meta.dims) : 0);
		put(fcinfo, "code_error", meta.code_error);
		put(fcinfo, "quantisation_error", meta.quantisation_error);
		if (meta.generation > 0)
			put(fcinfo, "quantisation_error_at_build", meta.quantisation_error_at_build);
		for (int i = 0; i < meta.num_targets; i++)
			put(fcinfo, psprintf("width_for_recall_%g", meta.targets[i].recall),
				meta.targets[i].width);
	}

	ivf_search_options(index, meta.codec != CODEC_NONE, &search);
	if (search.probes == 0)
	{
		double		probes;

		(void) ivf_effort_for(&meta, search.target_recall, &probes);
		put(fcinfo, "target_recall", search.target_recall);
		put(fcinfo, "probes", probes);
	}
	else
		put(fcinfo, "probes", Min(search.probes, meta.lists_alive));

	if (meta.codec != CODEC_NONE)
	{
		put_setting(fcinfo, "rerank", option_rerank_name(search.rerank));
		put(fcinfo, "rerank_k", search.rerank_k);
	}

	put(fcinfo, "session_rows_dropped", ivf_session_dropped);

	if (detailed)
		ivf_put_pages(fcinfo, index, &meta);
}

/* Nodes, links, rows and pages by kind, from a pass over all pages. */
static void
hnsw_put_pages(FunctionCallInfo fcinfo, Relation index, const HnswIndex *hnsw)
{
	static const char *const names[] = {"pages_free", "pages_meta", "pages_mean",
	"pages_node", "pages_entry", "pages_tids", "pages_continuation"};
	const HnswMetaPageData *meta = &hnsw->meta;
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	uint64		pages[lengthof(names)] = {0};
	uint64		live = 0;
	uint64		dead = 0;
	uint64		rows = 0;
	uint64		links = 0;
	uint64		nprotected = 0;
	uint64		entries = 0;
	uint64		zero = 0;
	uint64		broken = 0;
	PGAlignedBlock image;

	for (BlockNumber blkno = 0; blkno < nblocks; blkno++)
	{
		Page		page = (Page) image.data;
		PageVerdict verdict;

		CHECK_FOR_INTERRUPTS();
		verdict = monitor_copy_page(index, blkno, strategy, HNSW_SPECIAL_SIZE, image.data);
		if (verdict == PAGE_ZERO)
		{
			zero++;
			continue;
		}
		if (verdict != PAGE_OK || HnswPageKind(page) >= lengthof(names))
		{
			broken++;
			continue;
		}
		pages[HnswPageKind(page)]++;
		if (HnswPageKind(page) == HNSW_PAGE_NODE)
			for (int place = 1; place <= meta->nodes_per_page; place++)
			{
				HnswNode	node = hnsw_node_at(hnsw, page, place);

				if (node == NULL)
					continue;
				if ((node->flags & HNSW_NODE_LIVE) == 0)
				{
					dead++;
					continue;
				}
				live++;
				rows += ItemPointerIsValid(&node->tid);
				links += node->neighbours;
				for (int i = 0; i < node->neighbours; i++)
					nprotected += HnswLinkIsProtected(&HnswNodeLinks(meta, node)[i]);
			}
		else if (HnswPageKind(page) == HNSW_PAGE_ENTRY)
			entries += Min(HnswPageEntryCount(page), meta->entries_per_page);
		else if (HnswPageKind(page) == HNSW_PAGE_TIDS)
			for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
			{
				HnswChunk	chunk = HnswPageGetChunk(page, i);

				if (chunk->owner_block != InvalidBlockNumber)
					rows += Min(chunk->count, HNSW_CHUNK_TIDS);
			}
	}
	FreeAccessStrategy(strategy);

	put(fcinfo, "rows_now", rows);
	put(fcinfo, "nodes_now", live);
	put(fcinfo, "nodes_dead", dead);
	put(fcinfo, "entries", entries);
	if (live > 0)
	{
		put(fcinfo, "links_mean", (double) links / live);
		put(fcinfo, "links_protected_mean", (double) nprotected / live);
	}
	for (int i = 0; i < lengthof(names); i++)
		put(fcinfo, names[i], pages[i]);
	put(fcinfo, "pages_zero", zero);
	put(fcinfo, "pages_broken", broken);
}

static void
hnsw_put_stats(FunctionCallInfo fcinfo, Relation index, bool detailed)
{
	HnswMetaPageData meta;
	HnswSearch	search;
	double		bytes = (double) RelationGetNumberOfBlocks(index) * BLCKSZ;

	/* not the cached one, whose counts are old */
	hnsw_meta_read(index, &meta);
	put(fcinfo, "dimensions", meta.dims);
	put(fcinfo, "rows", meta.rows);
	put(fcinfo, "nodes", meta.nodes);
	put(fcinfo, "bytes", bytes);
	if (meta.rows > 0)
		put(fcinfo, "bytes_per_row", bytes / meta.rows);
	put(fcinfo, "m", meta.m);
	put(fcinfo, "ef_construction", meta.ef_construction);
	put(fcinfo, "slots", meta.slots);
	put(fcinfo, "code_bits", meta.bits);
	put(fcinfo, "code_dimensions", meta.code_dims);
	put(fcinfo, "nodes_per_page", meta.nodes_per_page);
	put(fcinfo, "node_bytes", meta.node_size);
	for (int i = 0; i < meta.num_targets; i++)
	{
		put(fcinfo, psprintf("visits_for_recall_%g", meta.targets[i].recall),
			meta.targets[i].visits);
		put(fcinfo, psprintf("gamma_for_recall_%g", meta.targets[i].recall),
			meta.targets[i].gamma);
	}

	hnsw_search_options(index, &search);
	if (search.ef_search == 0)
	{
		double		visits;
		float		gamma;

		/* born small: no more visits than nodes, of which the metapage knows few or none */
		if (meta.num_targets == 0)
			meta.nodes = Max(meta.nodes, (uint64) (bytes / BLCKSZ) * meta.nodes_per_page);
		gamma = hnsw_gamma_for(&meta, search.target_recall, &visits);
		put(fcinfo, "target_recall", search.target_recall);
		put(fcinfo, "gamma", gamma);
		put(fcinfo, "visits", visits);
	}
	else
		put(fcinfo, "ef_search", search.ef_search);

	put(fcinfo, "session_rows_dropped", hnsw_session_dropped);

	if (detailed)
	{
		HnswIndex  *hnsw = palloc(hnsw_index_size(&meta));

		hnsw_index_fill(hnsw, &meta, NULL);
		hnsw_put_pages(fcinfo, index, hnsw);
		pfree(hnsw);
	}
}

/* vecdb_index_stats(index regclass, detailed boolean) */
Datum
vecdb_index_stats(PG_FUNCTION_ARGS)
{
	MonitorTarget target;

	monitor_begin_rows(fcinfo);
	monitor_open(PG_GETARG_OID(0), AccessShareLock, &target);
	if (monitor_is_hnsw(&target))
		hnsw_put_stats(fcinfo, target.index, PG_GETARG_BOOL(1));
	else
		ivf_put_stats(fcinfo, target.index, PG_GETARG_BOOL(1));
	monitor_close(&target);
	return (Datum) 0;
}
