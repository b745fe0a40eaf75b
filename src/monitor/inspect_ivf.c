/*-------------------------------------------------------------------------
 *
 * inspect_ivf.c
 *	  Pages of an IVF index as rows.
 *
 * The functions take a page as bytea, as pageinspect's get_raw_page() reads
 * it, and know nothing else: no index, no lock.  So they work on a page of a
 * broken index, or one from a backup, and believe nothing that it says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "am/support.h"
#include "compat.h"
#include "hnsw/hnsw_page.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "monitor/monitor.h"

/* Elements of a value that ivf_page_items() shows */
#define SHOWN_ELEMENTS	8

VECDB_FUNCTION(vecdb_page_header);
VECDB_FUNCTION(ivf_metapage_info);
VECDB_FUNCTION(ivf_page_info);
VECDB_FUNCTION(ivf_list_info);
VECDB_FUNCTION(ivf_page_items);
VECDB_FUNCTION(ivf_code_items);
VECDB_FUNCTION(ivf_copy_items);

/* A sound page of an IVF index, of that kind unless kind < 0. */
static Page
ivf_page_from_bytea(bytea *raw, int kind, const char *kind_name)
{
	Page		page = monitor_page_from_bytea(raw, IVF_SPECIAL_SIZE);

	if (kind >= 0 && IvfPageKind(page) != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the page is not a %s page of an IVF index", kind_name),
				 errdetail("Expected kind %d, got %d.", kind, IvfPageKind(page))));
	return page;
}

/* What a page holds; "unknown" where no page of ours says so. */
const char *
ivf_kind_name(uint8 kind)
{
	static const char *const names[] = {
		[VECDB_PAGE_FREE] = "free",[IVF_PAGE_META] = "meta",
		[IVF_PAGE_DIR] = "directory",[IVF_PAGE_CENT] = "centroid",
		[IVF_PAGE_LIST] = "list",[IVF_PAGE_CONT] = "continuation",
		[IVF_PAGE_CODEC] = "codec",[IVF_PAGE_GROUP] = "group",[IVF_PAGE_COPY] = "copy"
	};

	return kind < lengthof(names) ? names[kind] : "unknown";
}

static Datum
block_datum(BlockNumber blkno, bool *isnull)
{
	*isnull = blkno == InvalidBlockNumber;
	return Int64GetDatum((int64) blkno);
}

/*
 * vecdb_page_header(page bytea): what any 8 kB say of themselves, sound or not
 */
Datum
vecdb_page_header(PG_FUNCTION_ARGS)
{
	static const char *const verdicts[] = {
		[PAGE_OK] = "sound",[PAGE_ZERO] = "zero",[PAGE_BROKEN] = "broken",
		[PAGE_FORMAT] = "other format"
	};
	Page		page = monitor_copy_bytea(PG_GETARG_BYTEA_PP(0));
	PageHeader	header = (PageHeader) page;
	VecdbPageTrailer *trailer = PageGetTrailer(page);
	PageVerdict verdict = page_check(page, IVF_SPECIAL_SIZE);
	bool		hnsw = verdict == PAGE_BROKEN && page_check(page, HNSW_SPECIAL_SIZE) == PAGE_OK;
	bool		ours = verdict != PAGE_ZERO && trailer->page_id == VECDB_PAGE_ID;
	Datum		values[6];
	bool		nulls[6] = {0};

	/* the two access methods' pages differ in the size of the special area */
	if (hnsw)
		verdict = PAGE_OK;
	values[0] = CStringGetTextDatum(verdicts[verdict]);
	values[1] = CStringGetTextDatum(psprintf("%04x", trailer->page_id));
	values[2] = Int32GetDatum(trailer->format);
	nulls[2] = !ours;
	if (ours)
		values[3] = CStringGetTextDatum(hnsw ? hnsw_kind_name(trailer->kind) :
										ivf_kind_name(trailer->kind));
	nulls[3] = !ours;
	values[4] = Int32GetDatum(header->pd_lower - (int) SizeOfPageHeaderData);
	nulls[4] = verdict != PAGE_OK;
	values[5] = Int32GetDatum(BLCKSZ - header->pd_special);
	nulls[5] = verdict == PAGE_ZERO;
	PG_RETURN_DATUM(monitor_record(fcinfo, values, nulls));
}

/* "first block..last block (first item), ...", as far as they can be read */
static text *
extents_text(const IvfExtent *extents, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < Min(n, IVF_MAX_EXTENTS); i++)
		appendStringInfo(&buf, "%s%u..%u", i > 0 ? ", " : "", extents[i].start,
						 extents[i].start + extents[i].blocks - 1);
	return cstring_to_text_with_len(buf.data, buf.len);
}

static Datum
floats_datum(const Datum *floats, int n)
{
	return PointerGetDatum(construct_array(unconstify(Datum *, floats), n, FLOAT4OID,
										   sizeof(float4), true, TYPALIGN_INT));
}

/* ivf_metapage_info(page bytea) */
Datum
ivf_metapage_info(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), IVF_PAGE_META, "meta");
	IvfMetaPageData *meta = palloc(sizeof(IvfMetaPageData));
	int			ntargets;
	const char *flaw;
	Datum		recalls[IVF_NUM_TARGETS];
	Datum		efforts[IVF_NUM_TARGETS];
	Datum		probes[IVF_NUM_TARGETS];
	Datum		widths[IVF_NUM_TARGETS];
	Datum		values[27];
	bool		nulls[27] = {0};

	memcpy(meta, IvfPageGetMeta(page), sizeof(IvfMetaPageData));
	ntargets = Min(meta->num_targets, IVF_NUM_TARGETS);
	for (int i = 0; i < ntargets; i++)
	{
		recalls[i] = Float4GetDatum(meta->targets[i].recall);
		efforts[i] = Float4GetDatum(meta->targets[i].effort);
		probes[i] = Float4GetDatum(meta->targets[i].probes);
		widths[i] = Float4GetDatum(meta->targets[i].width);
	}

	values[0] = CStringGetTextDatum(psprintf("%08x", meta->magic));
	values[1] = Int64GetDatum((int64) meta->dims);
	values[2] = CStringGetTextDatum(support_metric_name((Metric) meta->metric));
	values[3] = Int32GetDatum(meta->codec);
	values[4] = Int64GetDatum((int64) meta->row_size);
	values[5] = Int64GetDatum((int64) meta->generation);
	values[6] = Int64GetDatum((int64) meta->lists);
	values[7] = Int64GetDatum((int64) meta->lists_alive);
	values[8] = PointerGetDatum(extents_text(meta->dir, meta->dir_extents));
	values[9] = PointerGetDatum(extents_text(meta->cent, meta->cent_extents));
	values[10] = floats_datum(recalls, ntargets);
	values[11] = floats_datum(efforts, ntargets);
	values[12] = floats_datum(probes, ntargets);
	values[13] = Float4GetDatum(meta->nearest_floor);
	values[14] = Int64GetDatum((int64) meta->rows_at_build);
	values[15] = Int64GetDatum((int64) meta->rows);

	values[16] = Int32GetDatum(meta->code_bits);
	values[17] = Int64GetDatum((int64) meta->code_parts);
	values[18] = PointerGetDatum(extents_text(&meta->code, Min(meta->code_extents, 1)));
	values[19] = Float4GetDatum(meta->code_error);
	values[20] = Float4GetDatum(meta->first_error);
	values[21] = Float4GetDatum(meta->code_floor);
	values[22] = floats_datum(widths, ntargets);
	for (int i = 16; i < 23; i++)
		nulls[i] = meta->codec == CODEC_NONE;
	values[23] = Int64GetDatum((int64) meta->next_generation);
	values[24] = Int64GetDatum((int64) meta->next_lists);
	nulls[23] = nulls[24] = meta->next_generation == 0;
	values[25] = Int64GetDatum((int64) meta->retired_generation);
	nulls[25] = meta->retired_xid == 0;

	flaw = IvfPageUsed(page) != sizeof(IvfMetaPageData) ?
		"The content has not the length of a metapage." :
		ivf_meta_flaw(meta, MaxBlockNumber);
	if (flaw)
		values[26] = CStringGetTextDatum(flaw);
	nulls[26] = flaw == NULL;
	PG_RETURN_DATUM(monitor_record(fcinfo, values, nulls));
}

/* ivf_page_info(page bytea): the special area of any page */
Datum
ivf_page_info(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), -1, NULL);
	IvfPageOpaque opaque = IvfPageGetOpaque(page);
	bool		list = opaque->trailer.kind == IVF_PAGE_LIST;
	bool		cont = opaque->trailer.kind == IVF_PAGE_CONT;
	bool		owned = cont || opaque->trailer.kind == IVF_PAGE_COPY;
	Datum		values[9];
	bool		nulls[9] = {0};

	values[0] = CStringGetTextDatum(ivf_kind_name(opaque->trailer.kind));
	values[1] = Int32GetDatum((int) IvfPageUsed(page));
	values[2] = Int64GetDatum((int64) opaque->list);
	values[3] = Int64GetDatum((int64) opaque->generation);
	values[4] = Int64GetDatum((int64) opaque->seq);
	nulls[2] = nulls[3] = nulls[4] = !list && !owned;
	values[5] = block_datum(opaque->next, &nulls[5]);
	nulls[5] |= !list;
	values[6] = Int64GetDatum((int64) opaque->next_seq);
	nulls[6] = !list;
	values[7] = block_datum(opaque->next, &nulls[7]);
	nulls[7] |= !owned;
	values[8] = block_datum(opaque->cont, &nulls[8]);
	nulls[8] |= !list && !cont;
	PG_RETURN_DATUM(monitor_record(fcinfo, values, nulls));
}

/* ivf_list_info(page bytea): the entries of a directory page */
Datum
ivf_list_info(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), IVF_PAGE_DIR, "directory");
	IvfListData *entries = (IvfListData *) IvfPageContent(page);
	int			n = IvfPageUsed(page) / sizeof(IvfListData);

	monitor_begin_rows(fcinfo);
	for (int i = 0; i < n; i++)
	{
		IvfListData *entry = &entries[i];
		Datum		values[9];
		bool		nulls[9] = {0};

		values[0] = Int32GetDatum(i + 1);
		values[1] = block_datum(entry->head, &nulls[1]);
		values[2] = block_datum(entry->insert, &nulls[2]);
		values[3] = Int64GetDatum((int64) entry->generation);
		values[4] = Int64GetDatum((int64) entry->pages);
		values[5] = Int64GetDatum((int64) entry->rows);
		values[6] = BoolGetDatum((entry->flags & IVF_LIST_SUPERSEDED) != 0);
		values[7] = Int64GetDatum((int64) entry->successor);
		values[8] = Int64GetDatum((int64) entry->successors);
		nulls[7] = nulls[8] = (entry->flags & IVF_LIST_SUPERSEDED) == 0;
		monitor_put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * ivf_page_items(page bytea, row_size integer): the rows of a list page.  The
 * page does not say how long its rows are; ivf_metapage_info() does.
 */
Datum
ivf_page_items(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), IVF_PAGE_LIST, "list");
	int			row_size = PG_GETARG_INT32(1);
	int			used = IvfPageUsed(page);
	int			on_page;
	int			n;

	if (row_size <= IVF_ROW_HEAD || row_size > IVF_ROW_HEAD + sizeof(float) * VECTOR_MAX_DIM ||
		(row_size - IVF_ROW_HEAD) % sizeof(float) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("row_size is %d, but the size of a row is %d + 4 * dimensions, at most %d",
						row_size, (int) IVF_ROW_HEAD,
						(int) (IVF_ROW_HEAD + sizeof(float) * VECTOR_MAX_DIM)),
				 errhint("Take it from ivf_metapage_info() of block 0.")));

	/* a row that does not fit a page: only its beginning is here */
	on_page = Min(row_size, IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS);
	n = row_size > on_page ? Min(used / on_page, 1) : used / on_page;

	monitor_begin_rows(fcinfo);
	for (int i = 0; i < n; i++)
	{
		IvfRow		row = (IvfRow) (IvfPageContent(page) + i * on_page);
		int			shown = Min((on_page - (int) IVF_ROW_HEAD) / (int) sizeof(float),
								SHOWN_ELEMENTS);
		Datum		elements[SHOWN_ELEMENTS];
		Datum		values[5];
		bool		nulls[5] = {0};

		for (int j = 0; j < shown; j++)
			elements[j] = Float4GetDatum(row->value[j]);

		values[0] = Int32GetDatum(i + 1);
		values[1] = PointerGetDatum(&row->tid);
		values[2] = Int32GetDatum(row->attr_length);
		values[3] = Float4GetDatum(row->normsq);
		values[4] = floats_datum(elements, shown);
		monitor_put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * ivf_code_items(page bytea, metapage bytea): the rows of a list page of ivfpq,
 * whose arrays only the metapage can tell apart.
 */
Datum
ivf_code_items(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), IVF_PAGE_LIST, "list");
	Page		metapage = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(1), IVF_PAGE_META, "meta");
	IvfMetaPageData *meta = palloc(sizeof(IvfMetaPageData));
	IvfLayout	layout;
	int			n;

	memcpy(meta, IvfPageGetMeta(metapage), sizeof(IvfMetaPageData));
	if (IvfPageUsed(metapage) != sizeof(IvfMetaPageData) ||
		ivf_meta_flaw(meta, MaxBlockNumber) != NULL || meta->codec == CODEC_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the second page is not a sound metapage of an ivfpq index"),
				 errhint("Pass block 0 of the same index; for ivfflat there is ivf_page_items().")));
	if (meta->next_generation != 0 && IvfPageGetOpaque(page)->generation == meta->next_generation)
		ivf_meta_take_next(meta);
	if (meta->retired_xid != 0 && IvfPageGetOpaque(page)->generation == meta->retired_generation)
		ivf_retired_layout(meta, &layout);
	else
		ivf_layout(meta, &layout);
	n = IvfPageGetOpaque(page)->rows;
	if (IvfPageUsed(page) != layout.end || n > layout.max_rows)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the page has %d rows in %d bytes, but the metapage says at most %d in %u",
						n, (int) IvfPageUsed(page), layout.max_rows, layout.end)));

	monitor_begin_rows(fcinfo);
	for (int i = 0; i < n; i++)
	{
		const Codec *codec = &layout.codec;
		char	   *record = palloc(codec_record_size(codec));
		bytea	   *code = palloc(VARHDRSZ + codec->code_size);
		Datum		factors[CODEC_MAX_FACTORS];
		Datum		values[5];
		bool		nulls[5] = {0};

		codec_get(codec, &layout.codes, ivf_page_codes(page, &layout), i, record);
		for (int j = 0; j < codec->nfactors; j++)
			factors[j] = Float4GetDatum(((float *) record)[j]);
		SET_VARSIZE(code, VARHDRSZ + codec->code_size);
		memcpy(VARDATA(code), record + sizeof(float) * codec->nfactors, codec->code_size);

		values[0] = Int32GetDatum(i + 1);
		values[1] = PointerGetDatum(ivf_page_tid(page, &layout, i));
		values[2] = floats_datum(factors, codec->nfactors);
		nulls[3] = !layout.has_norms;
		values[3] = Float4GetDatum(layout.has_norms ? *ivf_page_norms(page, &layout, i) : 0);
		values[4] = PointerGetDatum(code);
		monitor_put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * ivf_copy_items(page bytea, dims integer): the places of a copy page.  How many
 * of them are in use only the list page that owns it can tell.
 */
Datum
ivf_copy_items(PG_FUNCTION_ARGS)
{
	Page		page = ivf_page_from_bytea(PG_GETARG_BYTEA_PP(0), IVF_PAGE_COPY, "copy");
	int			dims = PG_GETARG_INT32(1);
	int			n;

	if (dims < 1 || dims > IVF_COPY_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dims is %d, but copies have 1 to %d dimensions", dims, IVF_COPY_MAX_DIMS),
				 errhint("Take it from ivf_metapage_info() of block 0.")));
	n = IvfPageUsed(page) / ivf_copy_size(dims);

	monitor_begin_rows(fcinfo);
	for (int i = 0; i < n; i++)
	{
		IvfCopy		copy = (IvfCopy) (IvfPageContent(page) + i * ivf_copy_size(dims));
		int			shown = Min(dims, SHOWN_ELEMENTS);
		float		first[SHOWN_ELEMENTS];
		Datum		elements[SHOWN_ELEMENTS];
		Datum		values[5];
		bool		nulls[5] = {0};

		kernel->half_unpack(copy->half, copy->scale, shown, first);
		for (int j = 0; j < shown; j++)
			elements[j] = Float4GetDatum(first[j]);
		values[0] = Int32GetDatum(i + 1);
		values[1] = PointerGetDatum(&copy->tid);
		values[2] = Float4GetDatum(copy->scale);
		values[3] = Float4GetDatum(copy->error);
		values[4] = floats_datum(elements, shown);
		monitor_put_row(fcinfo, values, nulls);
	}
	return (Datum) 0;
}
