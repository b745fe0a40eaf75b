/*-------------------------------------------------------------------------
 *
 * inspect_hnsw.c
 *	  Pages of an hnsw index as rows.
 *
 * As in inspect_ivf.c: a page is bytea, may come from anywhere, and nothing that it
 * says is believed.  A node page does not say how its nodes are laid out; the
 * metapage does, so hnsw_page_items() takes that as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "hnsw/hnsw_private.h"
#include "kernel/kernel.h"
#include "monitor/monitor.h"

/* Elements of a stored vector that hnsw_page_items() shows */
#define SHOWN_ELEMENTS	8

VECDB_FUNCTION(hnsw_metapage_info);
VECDB_FUNCTION(hnsw_page_info);
VECDB_FUNCTION(hnsw_page_items);

/* What a page holds; "unknown" where no page of ours says so. */
const char *
hnsw_kind_name(uint8 kind)
{
	static const char *const names[] = {
		[VECDB_PAGE_FREE] = "free",[HNSW_PAGE_META] = "meta",
		[HNSW_PAGE_MEAN] = "mean",[HNSW_PAGE_NODE] = "node",
		[HNSW_PAGE_ENTRY] = "entry",[HNSW_PAGE_TIDS] = "tids",
		[HNSW_PAGE_CONT] = "continuation"
	};

	return kind < lengthof(names) ? names[kind] : "unknown";
}

/* A sound page of a vecdb index, of that kind unless kind < 0. */
static Page
hnsw_page_from_bytea(bytea *raw, int kind)
{
	Page		page = monitor_page_from_bytea(raw, HNSW_SPECIAL_SIZE);

	if (kind >= 0 && HnswPageKind(page) != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the page is not a %s page of an hnsw index", hnsw_kind_name(kind)),
				 errdetail("Expected kind %d, got %d.", kind, HnswPageKind(page))));
	return page;
}

static int
content_bytes(Page page)
{
	return ((PageHeader) page)->pd_lower - (int) SizeOfPageHeaderData;
}

static Datum
block_datum(BlockNumber blkno, bool *isnull)
{
	*isnull = blkno == InvalidBlockNumber;
	return Int64GetDatum((int64) blkno);
}

static Datum
floats_datum(const Datum *floats, int n)
{
	return PointerGetDatum(construct_array(unconstify(Datum *, floats), n, FLOAT4OID,
										   sizeof(float4), true, TYPALIGN_INT));
}

/* A place as a TID. */
static Datum
place_datum(BlockNumber blkno, OffsetNumber offset)
{
	ItemPointer place = palloc(sizeof(ItemPointerData));

	ItemPointerSet(place, blkno, offset);
	return PointerGetDatum(place);
}

static const char *
page_meta_flaw(Page page, const HnswMetaPageData *meta)
{
	return content_bytes(page) != sizeof(HnswMetaPageData) ?
		"The content has not the length of a metapage." :
		hnsw_meta_flaw(meta, MaxBlockNumber);
}

/* hnsw_metapage_info(page bytea) */
Datum
hnsw_metapage_info(PG_FUNCTION_ARGS)
{
	Page		page = hnsw_page_from_bytea(PG_GETARG_BYTEA_PP(0), HNSW_PAGE_META);
	HnswMetaPageData *meta = palloc(sizeof(HnswMetaPageData));
	int			ntargets;
	const char *flaw;
	Datum		recalls[HNSW_NUM_TARGETS];
	Datum		gammas[HNSW_NUM_TARGETS];
	Datum		visits[HNSW_NUM_TARGETS];
	Datum		values[23];
	bool		nulls[23] = {0};
	int			n = 0;

	memcpy(meta, HnswPageGetMeta(page), sizeof(HnswMetaPageData));
	ntargets = Min(meta->num_targets, HNSW_NUM_TARGETS);
	for (int i = 0; i < ntargets; i++)
	{
		recalls[i] = Float4GetDatum(meta->targets[i].recall);
		gammas[i] = Float4GetDatum(meta->targets[i].gamma);
		visits[i] = Float4GetDatum(meta->targets[i].visits);
	}

	values[n++] = CStringGetTextDatum(psprintf("%08x", meta->magic));
	values[n++] = Int64GetDatum((int64) meta->dims);
	values[n++] = CStringGetTextDatum(support_metric_name((Metric) meta->metric));
	values[n++] = Int64GetDatum((int64) meta->padded);
	values[n++] = Int64GetDatum((int64) meta->code_dims);
	values[n++] = Int32GetDatum(meta->bits);
	values[n++] = Int32GetDatum(meta->m);
	values[n++] = Int32GetDatum(meta->ef_construction);
	values[n++] = Int32GetDatum(meta->slots);
	values[n++] = Int64GetDatum((int64) meta->node_size);
	values[n++] = Int32GetDatum(meta->nodes_per_page);
	values[n++] = Int32GetDatum(meta->entries_per_page);
	values[n++] = Int32GetDatum(meta->cont_pages);
	values[n++] = Int32GetDatum(meta->mean_pages);
	values[n++] = Float4GetDatum(meta->radius);
	values[n] = block_datum(meta->entry_head, &nulls[n]);
	n++;
	values[n] = block_datum(meta->tids_room, &nulls[n]);
	n++;
	values[n++] = floats_datum(recalls, ntargets);
	values[n++] = floats_datum(gammas, ntargets);
	values[n++] = floats_datum(visits, ntargets);
	values[n++] = Int64GetDatum((int64) meta->nodes);
	values[n++] = Int64GetDatum((int64) meta->rows);
	flaw = page_meta_flaw(page, meta);
	if (flaw)
		values[n] = CStringGetTextDatum(flaw);
	nulls[n++] = flaw == NULL;
	Assert(n == lengthof(values));
	PG_RETURN_DATUM(monitor_record(fcinfo, values, nulls));
}

/* hnsw_page_info(page bytea): the special area of any page */
Datum
hnsw_page_info(PG_FUNCTION_ARGS)
{
	Page		page = hnsw_page_from_bytea(PG_GETARG_BYTEA_PP(0), -1);
	HnswPageOpaque opaque = HnswPageGetOpaque(page);
	bool		cont = opaque->trailer.kind == HNSW_PAGE_CONT;
	bool		entry = opaque->trailer.kind == HNSW_PAGE_ENTRY;
	Datum		values[5];
	bool		nulls[5] = {0};

	values[0] = CStringGetTextDatum(hnsw_kind_name(opaque->trailer.kind));
	values[1] = Int32GetDatum(content_bytes(page));
	values[2] = block_datum(opaque->next, &nulls[2]);
	values[3] = place_datum(opaque->owner_block, opaque->owner_offset);
	nulls[3] = !cont;
	nulls[4] = !entry || content_bytes(page) < sizeof(uint32);
	values[4] = nulls[4] ? (Datum) 0 : Int64GetDatum((int64) HnswPageEntryCount(page));
	PG_RETURN_DATUM(monitor_record(fcinfo, values, nulls));
}

/* hnsw_page_items(page bytea, metapage bytea): the nodes of a page */
Datum
hnsw_page_items(PG_FUNCTION_ARGS)
{
	Page		page = hnsw_page_from_bytea(PG_GETARG_BYTEA_PP(0), HNSW_PAGE_NODE);
	Page		meta_page = hnsw_page_from_bytea(PG_GETARG_BYTEA_PP(1), HNSW_PAGE_META);
	HnswMetaPageData *meta = palloc(sizeof(HnswMetaPageData));
	const char *flaw;

	memcpy(meta, HnswPageGetMeta(meta_page), sizeof(HnswMetaPageData));
	flaw = page_meta_flaw(meta_page, meta);
	if (flaw)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the metapage is not sound"),
				 errdetail_internal("%s", flaw)));
	if (!HnswNodePageLengthIsSound(meta, content_bytes(page)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the page and the metapage are not of the same index"),
				 errdetail("The page has %d bytes of content, but none of its nodes could end there.",
						   content_bytes(page))));

	monitor_begin_rows(fcinfo);
	for (int place = 1; place <= meta->nodes_per_page; place++)
	{
		HnswNode	node = HnswPageGetNode(meta, page, place);
		HnswLink   *links = HnswNodeLinks(meta, node);
		int			n = Min(node->neighbours, meta->slots);
		int			shown = meta->cont_pages > 0 ? 0 : Min(SHOWN_ELEMENTS, meta->padded);
		float	   *own = palloc(sizeof(float) * meta->padded);
		Datum		elements[SHOWN_ELEMENTS];
		Datum	   *tids = palloc(sizeof(Datum) * Max(n, 1));
		int			nprotected = 0;
		Datum		values[13];
		bool		nulls[13] = {0};

		if (node->flags == 0)
			continue;
		for (int i = 0; i < n; i++)
		{
			tids[i] = place_datum(BlockIdGetBlockNumber(&links[i].block), HnswLinkOffset(&links[i]));
			nprotected += HnswLinkIsProtected(&links[i]);
		}
		if (shown > 0)
			kernel->half_unpack(node->own, node->scale, meta->padded, own);
		for (int i = 0; i < shown; i++)
			elements[i] = Float4GetDatum(own[i]);

		values[0] = Int32GetDatum(place);
		values[1] = PointerGetDatum(&node->tid);
		values[2] = BoolGetDatum((node->flags & HNSW_NODE_LIVE) != 0);
		values[3] = BoolGetDatum((node->flags & HNSW_NODE_ENTRY) != 0);
		values[4] = Int64GetDatum((int64) node->rank);
		values[5] = PointerGetDatum(construct_array(tids, n, TIDOID, sizeof(ItemPointerData),
													false, TYPALIGN_SHORT));
		values[6] = Int32GetDatum(nprotected);
		values[7] = Float4GetDatum(node->scale);
		values[8] = Float4GetDatum(node->error);
		values[9] = Float4GetDatum(node->norm);
		values[10] = place_datum(node->chunk_block, node->chunk_offset);
		nulls[10] = node->chunk_offset == 0;
		values[11] = block_datum(node->cont, &nulls[11]);
		nulls[11] |= meta->cont_pages == 0;
		values[12] = floats_datum(elements, shown);
		nulls[12] = shown == 0;
		monitor_put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}
