/*-------------------------------------------------------------------------
 *
 * ivf_copy.c
 *	  Copies of the vectors of ivfpq (rerank = index): made, written, found,
 *	  and what follows from one for the operator's distance.
 *
 * A copy is in half precision, and says by how much a distance may be off for that:
 * under L2 and cosine, how far what is kept is from the value, or its direction;
 * under inner product, by how much the product with a query of length 1 may differ,
 * rounding of both sums included.  So the distance to what is kept gives two bounds of the
 * operator's own that always hold (am/half.c).  Infinite: nothing can be said.
 *
 * Copies lie on COPY pages of the LIST page that has the row (README.md).  Whoever
 * locks that one exclusively may change them, and locks the COPY page as well, for
 * readers that come from their notes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/buffile.h"

#include "am/half.h"
#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"

/* Under inner product nobody knows what sums beyond the range of float do: longer ones have no bounds. */
#define LONGEST			1e18

/*
 * Shall rows with codes of that codec have copies?  Where they cannot: elevel, or false
 * where that is no error.
 */
bool
ivf_choose_copies(Relation index, int dims, Metric metric, const Codec *codec, int elevel,
				  uint16 *copies)
{
	*copies = 0;
	if (!ivfpq_option_copies(index))
		return true;
	if (dims > IVF_COPY_MAX_DIMS)
	{
		ereport(elevel,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%sa column of %d dimensions cannot have rerank = index, which is for up to %d",
						ivf_untrained(index, elevel), dims, IVF_COPY_MAX_DIMS),
				 errhint("Set rerank = heap.")));
		return false;
	}
	/* codes of so few dimensions leave room for more than one row a page */
	Assert(ivf_rows_with_copies(ivf_row_size(dims, metric, codec), dims) > 0);
	*copies = 1;
	return true;
}

/* ---- making them ---- */

/* Direction of a value, 0 where it has none; false where the operator is not precise about it. */
static bool
take_direction(const float *value, int dims, float *to)
{
	if (!ivf_sample_put(METRIC_COSINE, value, dims, to))
		memset(to, 0, sizeof(float) * dims);
	return half_is_precise(value, dims);
}

/* scratch: 2 * dims floats */
static void
form_copy(Metric metric, int dims, const IvfRowData *row, float *scratch, IvfCopy copy)
{
	float	   *value = scratch;
	double		error;
	double		error1;
	double		slack = 0;

	memset(copy, 0, ivf_copy_size(dims));
	copy->tid = row->tid;
	memcpy(value, row->value, sizeof(float) * dims);
	if (metric == METRIC_COSINE)
		slack = take_direction(row->value, dims, value) ? ROUNDING_BEFORE : INFINITY;
	half_round(value, dims, copy->half, &copy->scale, scratch + dims, &error, &error1);
	error = sqrt(error);
	if (metric == METRIC_IP)
	{
		double		norm = sqrt(kernel->normsq_double(row->value, dims));

		slack = norm > LONGEST ? INFINITY :
			sum_error(dims) * (norm + sqrt(kernel->normsq_double(value, dims)));
	}
	error = (error + slack) * (1 + FLT_EPSILON);
	copy->error = error <= FLT_MAX ? (float) (error * (1 + FLT_EPSILON)) : INFINITY;
}

/*
 * Make the row of ivfpq, as it is sorted and appended, from one of ivfflat: its code,
 * and its copy where there are any.  out: moved_size bytes, aligned for floats; scratch:
 * ivf_encode_scratch().
 */
void
ivf_make_row(const Codec *codec, const IvfLayout *layout, Metric metric, const float *centroid,
			 const IvfRowData *row, float *scratch, char *out)
{
	ivf_encode_row(codec, metric, centroid, row, scratch, out);
	if (!layout->has_copies)
		return;
	memset(out + layout->row_size, 0, layout->copy_at - layout->row_size);
	form_copy(metric, codec->dim, row, scratch, (IvfCopy) (out + layout->copy_at));
}

/* ---- COPY pages ---- */

/* Format COPY page number k of the LIST page at owner, whose special area is given. */
void
ivf_page_init_copy(Page page, const IvfLayout *layout, const IvfPageOpaqueData *list,
				   BlockNumber owner, int k)
{
	IvfPageOpaque opaque;

	page_init(page, IVF_SPECIAL_SIZE, IVF_PAGE_COPY);
	opaque = IvfPageGetOpaque(page);
	opaque->next = owner;
	opaque->next_seq = k;
	opaque->seq = list->seq;
	opaque->list = list->list;
	opaque->generation = list->generation;
	opaque->cont = InvalidBlockNumber;
	IvfPageSetUsed(page, layout->copies_per_page * layout->copy_size);
}

/* Is this COPY page number k of the LIST page at owner, whose special area is given? */
bool
ivf_is_copy_page(Page page, const IvfLayout *layout, const IvfPageOpaqueData *list,
				 BlockNumber owner, int k)
{
	IvfPageOpaque opaque = IvfPageGetOpaque(page);

	return opaque->trailer.kind == IVF_PAGE_COPY &&
		opaque->next == owner && opaque->next_seq == k &&
		opaque->seq == list->seq && opaque->list == list->list &&
		opaque->generation == list->generation &&
		IvfPageUsed(page) == layout->copies_per_page * layout->copy_size;
}

/*
 * COPY page number k of a LIST page, which the caller has locked exclusively,
 * locked; InvalidBuffer where there is none.
 */
Buffer
ivf_copy_buffer(Relation index, const IvfLayout *layout, Buffer list, int k, int lockmode)
{
	Page		page = BufferGetPage(list);
	BlockNumber owner = BufferGetBlockNumber(list);
	BlockNumber blkno = ivf_page_copy_blocks(page, layout)[k];
	Buffer		buf;

	if (blkno == InvalidBlockNumber)
		return InvalidBuffer;
	/* a lock of ours, waited for, would never come */
	if (blkno == owner)
		page_corrupted(index, owner, "The page names itself as its copies.");
	buf = page_read(index, blkno, lockmode, IVF_SPECIAL_SIZE);
	if (!ivf_is_copy_page(BufferGetPage(buf), layout, IvfPageGetOpaque(page), owner, k))
		page_corrupted(index, blkno, "Expected copies of rows of block %u.", owner);
	return buf;
}

/* ---- a build ---- */

/*
 * A build writes the LIST pages of all lists one after the other, as if there were
 * no copies, and keeps these in a file meanwhile; then COPY pages for all of them.  So the
 * codes lie as close together as ever.
 */
struct IvfCopyFile
{
	BufFile    *file;
	const IvfLayout *layout;
};

/* NULL where rows have no copies. */
IvfCopyFile *
ivf_copy_file_create(const IvfLayout *layout)
{
	IvfCopyFile *copies;

	if (!layout->has_copies)
		return NULL;
	copies = palloc(sizeof(IvfCopyFile));
	copies->file = BufFileCreateTemp(false);
	copies->layout = layout;
	return copies;
}

/* The copy of a row on its way to a page: moved_size bytes of any alignment. */
void
ivf_copy_file_put(IvfCopyFile *copies, const char *row)
{
	if (copies != NULL)
		BufFileWrite(copies->file, unconstify(char *, row) + copies->layout->copy_at,
					 copies->layout->copy_size);
}

static void
read_copy(IvfCopyFile *copies, IvfCopy to)
{
	if (BufFileRead(copies->file, to, copies->layout->copy_size) != copies->layout->copy_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the temporary file of a build")));
}

/* Write the copies of the rows of a LIST page. */
static void
write_page_copies(Relation index, IvfCopyFile *copies, BlockNumber blkno)
{
	const IvfLayout *layout = copies->layout;
	int			per_page = layout->copies_per_page;
	BlockNumber *blocks = palloc(sizeof(BlockNumber) * layout->copy_pages);
	Buffer		list = page_read(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
	IvfPageOpaqueData opaque = *IvfPageGetOpaque(BufferGetPage(list));
	int			pages = (opaque.rows + per_page - 1) / per_page;
	IvfCopy		copy = palloc(layout->copy_size);
	PageEdit	edit;

	page_release(list);
	for (int k = 0; k < pages; k++)
	{
		Buffer		buf = page_new(index, MAIN_FORKNUM, IVF_SPECIAL_SIZE, true);
		Page		page = BufferGetPage(buf);

		ivf_page_init_copy(page, layout, &opaque, blkno, k);
		for (int i = 0; i < Min(per_page, opaque.rows - k * per_page); i++)
		{
			read_copy(copies, copy);
			memcpy(ivf_page_copy(page, layout, i), copy, layout->copy_size);
		}
		MarkBufferDirty(buf);
		blocks[k] = BufferGetBlockNumber(buf);
		page_release(buf);
	}

	list = page_read(index, blkno, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
	page_edit_begin(&edit, index, true);
	memcpy(ivf_page_copy_blocks(page_edit_add(&edit, list, false), layout), blocks,
		   sizeof(BlockNumber) * pages);
	page_edit_commit(&edit);
	page_release(list);
	pfree(blocks);
	pfree(copy);
}

/* All rows are on LIST pages, from that block to the end of the file: write the copies. */
void
ivf_copy_file_write(IvfCopyFile *copies, Relation index, BlockNumber first)
{
	BlockNumber end = RelationGetNumberOfBlocks(index);

	if (copies == NULL)
		return;
	if (BufFileSeek(copies->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rewind the temporary file of a build")));
	for (BlockNumber blkno = first; blkno < end; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		write_page_copies(index, copies, blkno);
	}
	BufFileClose(copies->file);
	pfree(copies);
}

/* ---- a scan ---- */

/* Make a query, of finite norm, ready for copies; its memory is the caller's: dims floats. */
void
ivf_copy_query(IvfCopyQuery *query, Metric metric, int dims, const float *value, float *x)
{
	query->metric = metric;
	query->dims = dims;
	query->x = x;
	query->norm = sqrt(kernel->normsq_double(value, dims)) * (1 + FLT_EPSILON);
	query->error = 0;
	if (metric == METRIC_COSINE)
		query->error = take_direction(value, dims, x) ? ROUNDING_BEFORE : INFINITY;
	else
		memcpy(x, value, sizeof(float) * dims);
	if (metric == METRIC_IP && query->norm > LONGEST)
		query->error = INFINITY;
}

/* Bounds of the operator's distance, from a copy.  False: there are none. */
static bool
find_bounds(const IvfCopyQuery *query, const IvfCopyData *copy, double *low, double *high)
{
	int			dims = query->dims;
	double		slack = copy->error + query->error;
	float		sum;

	if (!(slack < FLT_MAX))
		return false;
	if (query->metric == METRIC_IP)
	{
		double		change = query->norm * slack + dims * (double) FLT_MIN;

		sum = kernel->ip_half(query->x, copy->half, copy->scale, dims);
		*low = -(double) sum - change;
		*high = -(double) sum + change;
	}
	else
	{
		sum = kernel->l2sq_half(query->x, copy->half, copy->scale, dims);
		if (!(sum < FLT_MAX))
			return false;
		if (query->metric == METRIC_COSINE)
			half_cosine_bounds(sum, slack, dims, low, high);
		else
			half_l2_bounds(sum, slack, dims, low, high);
	}
	/* float underflow on the way to the operator's result */
	*low -= FLT_MIN;
	*high += FLT_MIN;
	return isfinite(*low) && isfinite(*high);
}

/*
 * Bounds of a row's distance, from its copy.  False when the table must say: the copy
 * is at its place no more, or nothing follows from it.  A copy with the TID of a row that the
 * snapshot sees is that row's, whatever happened to the page.
 */
bool
ivf_copy_bounds(Relation index, const IvfLayout *layout, const IvfPlace *place,
				const IvfCopyQuery *query, double *low, double *high)
{
	Buffer		buf = page_read(index, place->block, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);
	bool		found = false;

	if (IvfPageKind(page) == IVF_PAGE_COPY)
	{
		IvfCopy		copy = ivf_page_copy(page, layout, place->slot);

		if (IvfPageUsed(page) != layout->copies_per_page * layout->copy_size)
			page_corrupted(index, place->block, "The page has %d bytes of copies instead of %u.",
						   (int) IvfPageUsed(page), layout->copies_per_page * layout->copy_size);
		if (ItemPointerEquals(&copy->tid, unconstify(ItemPointerData *, &place->tid)))
			found = find_bounds(query, copy, low, high);
	}
	page_release(buf);
	return found;
}

/* The copy may be read soon: bring its beginning into the cache. */
void
ivf_copy_prefetch(Relation index, const IvfLayout *layout, const IvfPlace *place)
{
	const char *page = page_guess(index, place->block);
	int			from = SizeOfPageHeaderData + place->slot * layout->copy_size;

	if (page == NULL)
		return;
	for (int at = from; at < from + (int) Min(layout->copy_size, 2048) && at < BLCKSZ; at += 64)
		__builtin_prefetch(page + at, 0, 3);
}
