/*-------------------------------------------------------------------------
 *
 * ivf_insert.c
 *	  ivfflatinsert: one row into the list of its nearest centroid.
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
	row->flags = 0;
	memcpy(row->value, vector->x, sizeof(float) * dims);
	if ((Pointer) vector != DatumGetPointer(value))
		pfree(vector);

	return metric != METRIC_COSINE || row->normsq != 0;
}

/* The list a value belongs to; ties go to the lower number. */
uint32
ivf_nearest_list(Relation index, const IvfMetaPageData *meta, const float *value)
{
	float	   *distances;
	uint32		best = 0;

	if (meta->generation == 0)
		return 0;

	distances = palloc(sizeof(float) * meta->lists);
	ivf_centroid_distances(index, meta, value, distances);
	for (uint32 i = 1; i < meta->lists; i++)
		if (distances[i] < distances[best])
			best = i;
	pfree(distances);
	return best;
}

bool
ivfflatinsert(Relation index, Datum *values, bool *isnull,
			  ItemPointer heap_tid, Relation heap,
			  IndexUniqueCheck checkUnique, bool indexUnchanged,
			  IndexInfo *indexInfo)
{
	IvfMetaPageData meta;
	IvfRow		row;
	uint32		tried = 0;
	bool		again = false;

	if (isnull[0])
		return false;

	ivf_meta_read(index, &meta);
	row = palloc(meta.row_size);
	if (ivf_form_row(meta.metric, meta.dims, values[0], heap_tid, row))
		for (;;)
		{
			/* while a training copies rows, new ones go to the new lists */
			if (meta.next_generation != 0)
				ivf_meta_take_next(&meta);
			/* frozen lists are those of before: read again which are to be used */
			if (again && meta.generation == tried)
				page_corrupted(index, IVF_META_BLOCK,
							   "Lists of generation %u take no more rows, but the metapage names no others.",
							   tried);
			if (ivf_list_append(index, &meta, ivf_nearest_list(index, &meta, row->value), row, 1))
				break;
			again = true;
			tried = meta.generation;
			ivf_meta_read(index, &meta);
		}
	pfree(row);
	return false;
}
