/*-------------------------------------------------------------------------
 *
 * ivf_meta.c
 *	  Metapage, directory of lists, centroids, what the codec has learnt.
 *
 * Everything read from a page is checked before it is used: counts against
 * the limits of the format, blocks against the length of the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "miscadmin.h"

#include "ivf/ivf_private.h"
#include "kernel/kernel.h"

/* codec: NULL for ivfflat */
void
ivf_meta_init(IvfMetaPageData *meta, int dims, Metric metric, const Codec *codec)
{
	memset(meta, 0, sizeof(*meta));
	meta->magic = IVF_MAGIC;
	meta->dims = dims;
	meta->metric = metric;
	ivf_meta_set_codec(meta, codec);
}

void
ivf_meta_set_codec(IvfMetaPageData *meta, const Codec *codec)
{
	meta->row_size = ivf_row_size(meta->dims, (Metric) meta->metric, codec);
	if (codec == NULL)
		return;
	meta->codec = codec->kind;
	meta->code_bits = codec->bits;
	meta->code_parts = codec->m;
	meta->code_seed = codec->seed;
}

/*
 * A field that the metapage has of two generations: of the present one, and of the next
 * or the retired one.
 */
typedef struct GenerationField
{
	Size		present;		/* offsets */
	Size		other;
	Size		size;
} GenerationField;

#define FIELD_SIZE(field)	sizeof(((IvfMetaPageData *) 0)->field)
#define FIELD(field, other_field) { \
	offsetof(IvfMetaPageData, field), offsetof(IvfMetaPageData, other_field), \
	FIELD_SIZE(field) + 0 * sizeof(char[FIELD_SIZE(field) == FIELD_SIZE(other_field) ? 1 : -1]) \
}

static const GenerationField next_fields[] = {
	FIELD(generation, next_generation),
	FIELD(lists, next_lists),
	FIELD(dir_extents, next_dir_extents),
	FIELD(cent_extents, next_cent_extents),
	FIELD(dir, next_dir),
	FIELD(cent, next_cent),
	FIELD(groups, next_groups),
	FIELD(group, next_group),
	FIELD(codec, next_codec),
	FIELD(code_bits, next_code_bits),
	FIELD(code_parts, next_code_parts),
	FIELD(row_size, next_row_size),
	FIELD(copies, next_copies),
	FIELD(code_extents, next_code_extents),
	FIELD(code, next_code),
	FIELD(code_error, next_code_error),
	FIELD(first_error, next_first_error),
	FIELD(code_floor, next_code_floor),
	FIELD(quantisation_error_at_build, next_quantisation_error),
	FIELD(targets[0].width, next_widths[0]),
	FIELD(targets[1].width, next_widths[1]),
	FIELD(targets[2].width, next_widths[2]),
	FIELD(targets[3].width, next_widths[3]),
	FIELD(targets[4].width, next_widths[4]),
	FIELD(targets[5].width, next_widths[5]),
};

StaticAssertDecl(IVF_NUM_TARGETS == 6, "next_fields has each width");

/* What VACUUM must know to take rows off pages that retired. */
static const GenerationField retired_fields[] = {
	FIELD(generation, retired_generation),
	FIELD(codec, retired_codec),
	FIELD(code_bits, retired_code_bits),
	FIELD(code_parts, retired_code_parts),
	FIELD(row_size, retired_row_size),
	FIELD(copies, retired_copies),
};

/* Fields of another generation become those of the present one of to. */
static void
take_fields(IvfMetaPageData *to, const IvfMetaPageData *from, const GenerationField *fields, int n)
{
	for (int i = 0; i < n; i++)
		memcpy((char *) to + fields[i].present, (const char *) from + fields[i].other, fields[i].size);
}

/* And those of the present one of from become another's. */
static void
give_fields(IvfMetaPageData *to, const IvfMetaPageData *from, const GenerationField *fields, int n)
{
	for (int i = 0; i < n; i++)
		memcpy((char *) to + fields[i].other, (const char *) from + fields[i].present, fields[i].size);
}

/*
 * The lists of the next generation, and its codec with what was measured of it,
 * become those of meta: in a copy, for whoever adds rows while a training copies;
 * on the page, when it is done.  Efforts, counts and the rest are the caller's to
 * set.
 */
void
ivf_meta_take_next(IvfMetaPageData *meta)
{
	take_fields(meta, meta, next_fields, lengthof(next_fields));
	for (int i = 0; i < lengthof(next_fields); i++)
		memset((char *) meta + next_fields[i].other, 0, next_fields[i].size);
	meta->lists_alive = meta->lists;
	meta->quantisation_error = meta->quantisation_error_at_build;
}

/* Give the next generation of the metapage what a copy says of its only one. */
void
ivf_meta_set_next(IvfMetaPageData *meta, const IvfMetaPageData *next)
{
	give_fields(meta, next, next_fields, lengthof(next_fields));
}

/* The present generation retires. */
void
ivf_meta_retire(IvfMetaPageData *meta, uint64 xid)
{
	give_fields(meta, meta, retired_fields, lengthof(retired_fields));
	meta->retired_xid = xid;
}

/* How rows lie on the pages of the retired generation. */
void
ivf_retired_layout(const IvfMetaPageData *meta, IvfLayout *layout)
{
	IvfMetaPageData *retired = palloc(sizeof(IvfMetaPageData));

	*retired = *meta;
	take_fields(retired, meta, retired_fields, lengthof(retired_fields));
	ivf_layout(retired, layout);
	pfree(retired);
}

/* Begin to change the metapage of a live index; ivf_meta_commit() ends it. */
IvfMetaPage
ivf_meta_edit(Relation index, PageEdit *edit, Buffer *buf)
{
	*buf = page_read(index, IVF_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
	page_edit_begin(edit, index, false);
	return IvfPageGetMeta(page_edit_add(edit, *buf, false));
}

void
ivf_meta_commit(PageEdit *edit, Buffer buf)
{
	page_edit_commit(edit);
	page_release(buf);
}

/* Write the metapage during a build; buf is exclusively locked. */
void
ivf_meta_write(Relation index, Buffer buf, const IvfMetaPageData *meta)
{
	PageEdit	edit;
	Page		page;

	page_edit_begin(&edit, index, true);
	page = page_edit_add(&edit, buf, true);
	page_init(page, IVF_SPECIAL_SIZE, IVF_PAGE_META);
	memcpy(IvfPageGetMeta(page), meta, sizeof(*meta));
	IvfPageSetUsed(page, sizeof(*meta));
	page_edit_commit(&edit);
}

/* Extents must cover the items in order, with room for each. */
static bool
extents_sound(const IvfExtent *extents, int n, uint32 items,
			  uint32 items_per_page, uint32 pages_per_item, BlockNumber nblocks)
{
	if (n > IVF_MAX_EXTENTS || (n == 0) != (items == 0))
		return false;
	for (int i = 0; i < n; i++)
	{
		uint32		end = i + 1 < n ? extents[i + 1].first : items;
		uint64		pages;

		if ((i == 0 && extents[i].first != 0) ||
			extents[i].first >= end || end > items)
			return false;
		pages = items_per_page > 0 ?
			((uint64) end - extents[i].first + items_per_page - 1) / items_per_page :
			((uint64) end - extents[i].first) * pages_per_item;
		if (pages > extents[i].blocks ||
			(uint64) extents[i].start + extents[i].blocks > nblocks)
			return false;
	}
	return true;
}

/*
 * Kind, bits and parts of a codec must fit the dimensions, the size of rows these, and
 * copies their pages.
 */
static const char *
codec_flaw(const IvfMetaPageData *meta, uint16 kind, uint16 bits, uint32 parts,
		   uint32 row_size, uint16 copies, Codec *codec)
{
	codec->kind = CODEC_NONE;
	if (kind > CODEC_LAST || (kind == CODEC_NONE) != (meta->codec == CODEC_NONE))
		return "Metric or codec is not known.";
	if (kind != CODEC_NONE &&
		!codec_init(codec, (CodecKind) kind, meta->dims, bits, parts, meta->code_seed))
		return "Kind, bits and parts of the codec do not fit the dimensions.";
	if (row_size != ivf_row_size(meta->dims, (Metric) meta->metric,
								 kind != CODEC_NONE ? codec : NULL) ||
		(kind != CODEC_NONE && ivf_rows_per_page(row_size, true) < 1))
		return "The row size does not fit dimensions and codec.";
	if (copies > 1 ||
		(copies == 1 && (kind == CODEC_NONE || meta->dims > IVF_COPY_MAX_DIMS ||
						 ivf_rows_with_copies(row_size, meta->dims) < 1)))
		return "Copies do not fit dimensions and codec.";
	return NULL;
}

/* What was learnt has an extent, of its length; nothing has none. */
static bool
code_extent_sound(const Codec *codec, int extents, const IvfExtent *extent, BlockNumber nblocks)
{
	Size		floats = codec->kind == CODEC_NONE ? 0 : codec_state_floats(codec);

	if (floats == 0)
		return extents == 0;
	return extents == 1 && extent->first == 0 &&
		extent->blocks >= (floats + IVF_CONT_FLOATS - 1) / IVF_CONT_FLOATS &&
		(uint64) extent->start + extent->blocks <= nblocks;
}

/* Groups have an extent, of their length; none has none. */
static bool
group_extent_sound(uint32 groups, uint32 lists, uint32 dims, const IvfExtent *extent,
				   BlockNumber nblocks)
{
	if (groups == 0)
		return extent->blocks == 0;
	return groups <= lists && extent->first == 0 &&
		extent->blocks >= ivf_word_pages(ivf_group_words(groups, dims)) &&
		(uint64) extent->start + extent->blocks <= nblocks;
}

/* An error or a width: bounds are computed with it, so NaN and infinity are none. */
static bool
is_measure(float value)
{
	return isfinite(value) && value >= 0;
}

/* What is wrong with a metapage, as a sentence; NULL when it is sound. */
const char *
ivf_meta_flaw(const IvfMetaPageData *meta, BlockNumber nblocks)
{
	Codec		codec;
	const char *flaw;

	if (meta->magic != IVF_MAGIC)
		return "The magic number of the metapage is wrong.";
	if (meta->dims < 1 || meta->dims > VECTOR_MAX_DIM)
		return "The number of dimensions is out of range.";
	if (meta->metric > METRIC_LAST)
		return "Metric or codec is not known.";
	flaw = codec_flaw(meta, meta->codec, meta->code_bits, meta->code_parts, meta->row_size,
					  meta->copies, &codec);
	if (flaw)
		return flaw;
	if (!code_extent_sound(&codec, meta->code_extents, &meta->code, nblocks))
		return "The extent of what the codec has learnt does not fit the codec.";
	if (!is_measure(meta->code_error) || !is_measure(meta->code_floor) ||
		!is_measure(meta->first_error) || !is_measure(meta->quantisation_error_at_build) ||
		!is_measure(meta->quantisation_error))
		return "The error of the codec is out of range.";
	if (meta->lists < 1 || meta->lists_alive < 1 || meta->lists_alive > meta->lists ||
		meta->lists > (uint64) IVF_MAX_EXTENTS * IVF_MAX_LISTS)
		return "The number of lists is out of range.";
	if (meta->generation == 0 ?
		(meta->lists != 1 || meta->num_targets != 0 || meta->cent_extents != 0) :
		meta->cent_extents == 0)
		return "Training generation and lists contradict each other.";
	if (meta->num_targets > IVF_NUM_TARGETS)
		return "The number of recall targets is out of range.";
	for (int i = 0; i < meta->num_targets; i++)
		if (!(meta->targets[i].recall > 0 && meta->targets[i].recall <= 1) ||
			!(meta->targets[i].effort >= 0) || !(meta->targets[i].probes >= 0) ||
			!is_measure(meta->targets[i].width))
			return "A recall target is out of range.";
	if (!(meta->nearest_floor >= 0))
		return "The floor of the nearest distance is out of range.";
	if (!extents_sound(meta->dir, meta->dir_extents, meta->lists,
					   IVF_LISTS_PER_PAGE, 0, nblocks))
		return "The extents of the directory do not cover its lists.";
	if (meta->generation > 0 &&
		!extents_sound(meta->cent, meta->cent_extents, meta->lists,
					   ivf_centroids_per_page(meta->dims),
					   ivf_pages_per_centroid(meta->dims), nblocks))
		return "The extents of the centroids do not cover the lists.";
	if (!group_extent_sound(meta->groups, meta->generation > 0 ? meta->lists : 0, meta->dims,
							&meta->group, nblocks) ||
		!group_extent_sound(meta->next_groups, meta->next_lists, meta->dims,
							&meta->next_group, nblocks))
		return "The extent of the groups does not fit groups and lists.";
	if (meta->next_generation == 0 ?
		(meta->next_lists != 0 || meta->next_dir_extents != 0 || meta->next_cent_extents != 0) :
		(meta->next_generation <= meta->generation || meta->next_lists < 1 ||
		 meta->next_lists > IVF_MAX_LISTS || meta->retired_xid != 0))
		return "The next generation contradicts itself, or the present one.";
	if (meta->next_generation > 0 &&
		(!extents_sound(meta->next_dir, meta->next_dir_extents, meta->next_lists,
						IVF_LISTS_PER_PAGE, 0, nblocks) ||
		 !extents_sound(meta->next_cent, meta->next_cent_extents, meta->next_lists,
						ivf_centroids_per_page(meta->dims),
						ivf_pages_per_centroid(meta->dims), nblocks)))
		return "The extents of the next generation do not cover its lists.";
	if (meta->next_generation > 0)
	{
		flaw = codec_flaw(meta, meta->next_codec, meta->next_code_bits, meta->next_code_parts,
						  meta->next_row_size, meta->next_copies, &codec);
		if (flaw)
			return flaw;
		if (!code_extent_sound(&codec, meta->next_code_extents, &meta->next_code, nblocks))
			return "The extent of what the next codec has learnt does not fit the codec.";
		if (!is_measure(meta->next_code_error) || !is_measure(meta->next_first_error) ||
			!is_measure(meta->next_code_floor) || !is_measure(meta->next_quantisation_error))
			return "The error of the next codec is out of range.";
		for (int i = 0; i < IVF_NUM_TARGETS; i++)
			if (!is_measure(meta->next_widths[i]))
				return "A width of the next codec is out of range.";
	}
	if (meta->retired_xid != 0)
	{
		flaw = codec_flaw(meta, meta->retired_codec, meta->retired_code_bits,
						  meta->retired_code_parts, meta->retired_row_size,
						  meta->retired_copies, &codec);
		if (flaw)
			return flaw;
	}
	if (meta->retired_xid != 0 && meta->retired_generation >= meta->generation)
		return "The retired generation is not before the present one.";
	if (!(meta->spread_at_build >= 0))
		return "The spread of the lists is out of range.";
	return NULL;
}

/* Read and check the metapage: it is short enough to be copied out. */
void
ivf_meta_read(Relation index, IvfMetaPageData *meta)
{
	int			dims = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	Buffer		buf = page_read(index, IVF_META_BLOCK, BUFFER_LOCK_SHARE,
								IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);
	const char *flaw;

	if (IvfPageKind(page) != IVF_PAGE_META ||
		IvfPageUsed(page) != sizeof(IvfMetaPageData))
		page_corrupted(index, IVF_META_BLOCK, "Expected the metapage of an %s index.",
					   ivf_am_name(index));
	memcpy(meta, IvfPageGetMeta(page), sizeof(*meta));
	page_release(buf);

	flaw = ivf_meta_flaw(meta, RelationGetNumberOfBlocks(index));
	if (flaw == NULL && (meta->codec != CODEC_NONE) != ivf_has_codes(index))
		flaw = "The codec does not fit the access method.";
	if (flaw == NULL && dims >= 0 && meta->dims != dims)
		flaw = "The number of dimensions is not the column's.";
	if (flaw)
		page_corrupted(index, IVF_META_BLOCK, "%s", flaw);
}

/*
 * A page is not what the metapage, as the caller read it, said: the lists of
 * that generation are perhaps no more.  VACUUM frees them when no snapshot of
 * its server is as old as the last scan that may read them; but nothing tells a
 * standby to cancel its own old scans, so they must find out for themselves.
 * Returns when that is not the cause.  The caller holds no lock.
 */
void
ivf_generation_check(Relation index, uint32 generation)
{
	IvfMetaPageData meta;

	if (!RecoveryInProgress())
		return;
	ivf_meta_read(index, &meta);
	if (meta.generation == generation ||
		(meta.next_generation != 0 && meta.next_generation == generation))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("canceling statement due to conflict with recovery"),
			 errdetail("VACUUM has trained index \"%s\" anew and freed the lists that the statement was reading.",
					   RelationGetRelationName(index)),
			 errhint("Run the statement again; hot_standby_feedback prevents this.")));
}

/* The extent that holds an item, and the item's number in it. */
static const IvfExtent *
find_extent(const IvfExtent *extents, int n, uint32 item, uint32 *index)
{
	int			i = n - 1;

	while (i > 0 && extents[i].first > item)
		i--;
	*index = item - extents[i].first;
	return &extents[i];
}

/* Where a list's directory entry stands. */
BlockNumber
ivf_list_block(const IvfMetaPageData *meta, uint32 list, int *slot)
{
	uint32		i;
	const IvfExtent *extent = find_extent(meta->dir, meta->dir_extents, list, &i);

	Assert(list < meta->lists);
	*slot = i % IVF_LISTS_PER_PAGE;
	return extent->start + i / IVF_LISTS_PER_PAGE;
}

/* Where a list's centroid stands; slot is 0 where it takes several pages. */
BlockNumber
ivf_centroid_block(const IvfMetaPageData *meta, uint32 list, int *slot)
{
	uint32		i;
	const IvfExtent *extent = find_extent(meta->cent, meta->cent_extents, list, &i);
	int			per_page = ivf_centroids_per_page(meta->dims);

	Assert(list < meta->lists);
	if (per_page == 0)
	{
		*slot = 0;
		return extent->start + i * ivf_pages_per_centroid(meta->dims);
	}
	*slot = i % per_page;
	return extent->start + i / per_page;
}

/* A directory page, locked; ERROR when it does not hold the slot. */
static Buffer
dir_page(Relation index, const IvfMetaPageData *meta, BlockNumber blkno, int slot,
		 int lockmode)
{
	Buffer		buf = page_read(index, blkno, lockmode, IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);

	if (unlikely(IvfPageKind(page) != IVF_PAGE_DIR ||
				 IvfPageGetOpaque(page)->generation != meta->generation ||
				 IvfPageUsed(page) < (slot + 1) * (int) sizeof(IvfListData)))
	{
		page_release(buf);
		ivf_generation_check(index, meta->generation);
		page_corrupted(index, blkno, "Expected a directory page of generation %u with at least %d lists.",
					   meta->generation, slot + 1);
	}
	return buf;
}

void
ivf_list_read(Relation index, const IvfMetaPageData *meta, uint32 list,
			  IvfListData *entry)
{
	int			slot;
	BlockNumber blkno = ivf_list_block(meta, list, &slot);
	Buffer		buf = dir_page(index, meta, blkno, slot, BUFFER_LOCK_SHARE);

	*entry = ((IvfListData *) IvfPageContent(BufferGetPage(buf)))[slot];
	page_release(buf);
}

/* Remember where the next insert should look for room first. */
void
ivf_list_set_insert(Relation index, const IvfMetaPageData *meta, uint32 list,
					BlockNumber insert)
{
	int			slot;
	BlockNumber blkno = ivf_list_block(meta, list, &slot);
	Buffer		buf = dir_page(index, meta, blkno, slot, BUFFER_LOCK_EXCLUSIVE);
	IvfListData *entries = (IvfListData *) IvfPageContent(BufferGetPage(buf));

	if (entries[slot].insert != insert)
	{
		PageEdit	edit;

		page_edit_begin(&edit, index, false);
		entries = (IvfListData *) IvfPageContent(page_edit_add(&edit, buf, false));
		entries[slot].insert = insert;
		page_edit_commit(&edit);
	}
	page_release(buf);
}

/*
 * What VACUUM counted; one record for each directory page.  Returns the sum of
 * the rows.
 */
uint64
ivf_list_set_counts(Relation index, const IvfMetaPageData *meta,
					const uint64 *rows, const uint32 *pages,
					const BlockNumber *insert)
{
	uint32		list = 0;
	uint64		total = 0;

	while (list < meta->lists)
	{
		int			slot;
		BlockNumber blkno = ivf_list_block(meta, list, &slot);
		Buffer		buf = dir_page(index, meta, blkno, slot, BUFFER_LOCK_EXCLUSIVE);
		int			n = IvfPageUsed(BufferGetPage(buf)) / sizeof(IvfListData);
		PageEdit	edit;
		IvfListData *entries;

		page_edit_begin(&edit, index, false);
		entries = (IvfListData *) IvfPageContent(page_edit_add(&edit, buf, false));
		for (; slot < n && list < meta->lists; slot++, list++)
		{
			entries[slot].rows = rows[list];
			total += rows[list];
			entries[slot].pages = pages[list];
			if (insert[list] != InvalidBlockNumber)
				entries[slot].insert = insert[list];
		}
		page_edit_commit(&edit);
		page_release(buf);
	}
	return total;
}

/*
 * How unequal lists are: rows in the list of a row, on average, as a multiple
 * of the rows of a list.  1 when all are of one size.  So many more rows than
 * with equal lists does a search read that visits one list.
 */
double
ivf_spread(const uint64 *rows, uint32 lists)
{
	double		sum = 0;
	double		squares = 0;

	for (uint32 i = 0; i < lists; i++)
	{
		sum += rows[i];
		squares += (double) rows[i] * rows[i];
	}
	return sum > 0 ? squares * lists / (sum * sum) : 1;
}

/* Append an extent; returns how many there are then. */
int
ivf_extents_add(IvfExtent *extents, int n, uint32 first, BlockNumber start,
				uint32 blocks)
{
	Assert(n < IVF_MAX_EXTENTS);
	extents[n].first = first;
	extents[n].start = start;
	extents[n].blocks = blocks;
	return n + 1;
}

/* A centroid page, share-locked; ERROR when it does not hold that much. */
static Buffer
centroid_page(Relation index, const IvfMetaPageData *meta, BlockNumber blkno, Size bytes)
{
	Buffer		buf = page_read(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);

	if (unlikely(IvfPageKind(page) != IVF_PAGE_CENT || IvfPageUsed(page) < bytes ||
				 IvfPageGetOpaque(page)->generation != meta->generation))
	{
		page_release(buf);
		ivf_generation_check(index, meta->generation);
		page_corrupted(index, blkno, "Expected a centroid page of generation %u with at least %zu bytes.",
					   meta->generation, bytes);
	}
	return buf;
}

/* Copy the centroids of lists first .. first + n - 1 from their pages. */
void
ivf_centroids_read(Relation index, const IvfMetaPageData *meta, uint32 first,
				   uint32 n, float *out)
{
	int			dims = meta->dims;
	int			per_page = ivf_centroids_per_page(dims);

	for (uint32 list = first; list < first + n;)
	{
		int			slot;
		BlockNumber blkno = ivf_centroid_block(meta, list, &slot);
		uint32		count = 1;
		Buffer		buf;

		CHECK_FOR_INTERRUPTS();
		if (per_page > 0)
		{
			uint32		end = first + n;
			Size		bytes;

			/* a page holds centroids of one extent only */
			for (int e = 1; e < meta->cent_extents; e++)
				if (meta->cent[e].first > list)
				{
					end = Min(end, meta->cent[e].first);
					break;
				}
			count = Min(per_page - slot, end - list);
			bytes = sizeof(float) * dims;
			buf = centroid_page(index, meta, blkno, bytes * (slot + count));
			memcpy(out, IvfPageContent(BufferGetPage(buf)) + bytes * slot, bytes * count);
			page_release(buf);
		}
		else
			for (int done = 0; done < dims; done += IVF_CONT_FLOATS, blkno++)
			{
				int			part = Min(dims - done, IVF_CONT_FLOATS);

				buf = centroid_page(index, meta, blkno, sizeof(float) * part);
				memcpy(out + done, IvfPageContent(BufferGetPage(buf)), sizeof(float) * part);
				page_release(buf);
			}
		list += count;
		out += (Size) count * dims;
	}
}

/*
 * Copy words (of 4 bytes) from the pages of a kind, which follow each other from
 * start on: what the codec has learnt, or the groups.
 */
static void
words_read(Relation index, const IvfMetaPageData *meta, BlockNumber start, uint8 kind,
		   Size words, void *out)
{
	BlockNumber blkno = start;

	for (Size done = 0; done < words; done += IVF_CONT_FLOATS, blkno++)
	{
		Size		part = Min(words - done, IVF_CONT_FLOATS);
		Buffer		buf;
		Page		page;

		CHECK_FOR_INTERRUPTS();
		buf = page_read(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
		page = BufferGetPage(buf);
		if (unlikely(IvfPageKind(page) != kind ||
					 IvfPageGetOpaque(page)->generation != meta->generation ||
					 IvfPageUsed(page) != sizeof(float) * part))
		{
			page_release(buf);
			ivf_generation_check(index, meta->generation);
			page_corrupted(index, blkno, "Expected a %s page of generation %u with %zu bytes.",
						   kind == IVF_PAGE_CODEC ? "codec" : "group",
						   meta->generation, sizeof(float) * part);
		}
		memcpy((float *) out + done, IvfPageContent(page), sizeof(float) * part);
		page_release(buf);
	}
}

void
ivf_code_state_read(Relation index, const IvfMetaPageData *meta, Size floats, float *out)
{
	words_read(index, meta, meta->code.start, IVF_PAGE_CODEC, floats, out);
}

/* What is wrong with the first lists of groups, as a sentence; NULL: nothing. */
const char *
ivf_groups_flaw(const IvfMetaPageData *meta, const uint32 *first)
{
	for (uint32 g = 0; g < meta->groups; g++)
		if (first[g] >= meta->lists || (g == 0 ? first[g] != 0 : first[g] <= first[g - 1]))
			return "The groups do not divide the lists.";
	return NULL;
}

/* The groups of lists: where each begins, and their middles. */
void
ivf_groups_read(Relation index, const IvfMetaPageData *meta, uint32 *first, float *middles)
{
	Size		words = ivf_group_words(meta->groups, meta->dims);
	uint32	   *all = palloc_extended(sizeof(uint32) * words, MCXT_ALLOC_HUGE);
	const char *flaw;

	words_read(index, meta, meta->group.start, IVF_PAGE_GROUP, words, all);
	memcpy(first, all, sizeof(uint32) * meta->groups);
	memcpy(middles, all + meta->groups, sizeof(float) * meta->groups * meta->dims);
	pfree(all);
	flaw = ivf_groups_flaw(meta, first);
	if (flaw)
		page_corrupted(index, meta->group.start, "%s", flaw);
}

/* Groups as their pages have them, in the current memory context. */
void	   *
ivf_groups_form(uint32 groups, int dims, const uint32 *first, const float *middles)
{
	uint32	   *all = palloc_extended(sizeof(uint32) * ivf_group_words(groups, dims),
									  MCXT_ALLOC_HUGE);

	memcpy(all, first, sizeof(uint32) * groups);
	memcpy(all + groups, middles, sizeof(float) * groups * dims);
	return all;
}
