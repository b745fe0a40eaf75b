/*-------------------------------------------------------------------------
 *
 * ivf_insert.c
 *	  ivfinsert: one row into the list of its nearest centroid.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ivf/ivf_private.h"
#include "kernel/kernel.h"

/*
 * Make the row of a value.  False when the value has no place in the index:
 * a zero vector (or one whose norm underflows) has no direction, so cosine
 * distance is undefined for it.
 */
bool
ivf_form_row(Metric metric, int dims, Datum value, ItemPointer tid, IvfRow row)
{
	Vector	   *vector = support_value(value, dims);

	row->tid = *tid;
	row->attr_length = 0;
	row->normsq = kernel->normsq(vector->x, dims);
	row->unused = 0;
	memcpy(row->value, vector->x, sizeof(float) * dims);
	if ((Pointer) vector != DatumGetPointer(value))
		pfree(vector);

	return metric != METRIC_COSINE || row->normsq != 0;
}

/*
 * Append a value's row to the list of its nearest centroid; false when that list
 * takes no more rows, as ivf_list_append() says.
 */
static bool
insert_row(Relation index, const IvfMetaPageData *meta, const IvfRowData *row, IvfAppend kind)
{
	uint32		list = ivf_nearest_list(index, meta, row->value);
	const Codec *codec;
	IvfLayout	layout;
	char	   *code;
	float	   *centroid;
	float	   *scratch;
	bool		done;

	if (meta->codec == CODEC_NONE)
		return ivf_list_append(index, meta, list, (const char *) row, 1, kind);

	codec = ivf_codec(index, meta);
	centroid = palloc(sizeof(float) * codec->work_dim);
	scratch = palloc(ivf_encode_scratch(codec));
	ivf_layout(meta, &layout);
	code = palloc(layout.moved_size);
	ivf_codec_centroid(index, meta, list, centroid);
	ivf_make_row(codec, &layout, (Metric) meta->metric, centroid, row, scratch, code);
	done = ivf_list_append(index, meta, list, code, 1, kind);
	pfree(centroid);
	pfree(scratch);
	pfree(code);
	return done;
}

/*
 * Insert a value; false when it has no place in the index.  Used by a build
 * that has nothing to learn from, too.
 */
bool
ivf_insert_value(Relation index, Datum value, ItemPointer tid)
{
	IvfMetaPageData meta;
	IvfRow		row;
	bool		has_place;
	uint32		tried = 0;
	bool		again = false;

	ivf_meta_read(index, &meta);
	row = palloc(IVF_ROW_HEAD + sizeof(float) * meta.dims);
	has_place = ivf_form_row((Metric) meta.metric, meta.dims, value, tid, row);
	while (has_place)
	{
		IvfAppend	kind = IVF_APPEND_ANY;

		/* while a training copies rows, new ones go to the new lists */
		if (meta.next_generation != 0)
		{
			ivf_meta_take_next(&meta);
			kind = IVF_APPEND_INSERTED;
		}
		/* frozen lists are those of before: read again which are to be used */
		if (again && meta.generation == tried)
			page_corrupted(index, IVF_META_BLOCK,
						   "Lists of generation %u take no more rows, but the metapage names no others.",
						   tried);
		if (insert_row(index, &meta, row, kind))
			break;
		again = true;
		tried = meta.generation;
		ivf_meta_read(index, &meta);
	}
	pfree(row);
	return has_place;
}

bool
ivfinsert(Relation index, Datum *values, bool *isnull,
		  ItemPointer heap_tid, Relation heap,
		  IndexUniqueCheck checkUnique, bool indexUnchanged,
		  IndexInfo *indexInfo)
{
	if (!isnull[0])
		(void) ivf_insert_value(index, values[0], heap_tid);
	return false;
}
