/*-------------------------------------------------------------------------
 *
 * ivf_list.c
 *	  Chains of list pages: walk them, read their rows, append a row.
 *
 * Rows never move to another page, so a reader that was interrupted on its
 * way along a chain has missed nothing it must see on the pages behind it.
 * What can happen is that VACUUM takes an empty page out of the chain while
 * the reader is between two pages: it then arrives at a page that is free,
 * or in another list, or back in this one with another seq.  Seq ascends
 * along a chain and a new page gets the seq of the tail plus one, so all rows
 * the reader must still see are on pages with a higher seq than the last one
 * it visited: it begins again at the head and skips pages up to that seq.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "ivf/ivf_private.h"

/*
 * A walk begins again at the head when VACUUM took its page away.  The link to
 * that page is gone then, so that the same page should be missed so often
 * means that a link is wrong.
 */
#define MAX_MISSES		10

/* Is this a page of that list, in that generation? */
static inline bool
page_of_list(Page page, PageVerdict verdict, uint32 list, uint32 generation)
{
	return verdict == PAGE_OK &&
		IvfPageKind(page) == IVF_PAGE_LIST &&
		IvfPageGetOpaque(page)->list == list &&
		IvfPageGetOpaque(page)->generation == generation;
}

/* Format a LIST or CONT (layout NULL) page: no rows, no successor. */
void
ivf_page_init_list(Page page, const IvfLayout *layout, uint8 kind, uint32 list,
				   uint32 generation, uint32 seq)
{
	IvfPageOpaque opaque;

	page_init(page, IVF_SPECIAL_SIZE, kind);
	opaque = IvfPageGetOpaque(page);
	opaque->next = InvalidBlockNumber;
	opaque->next_seq = 0;
	opaque->seq = seq;
	opaque->list = list;
	opaque->generation = generation;
	opaque->cont = InvalidBlockNumber;
	/* arrays of codes are there from the beginning */
	if (layout != NULL && layout->has_codes)
		IvfPageSetUsed(page, layout->end);
	if (layout != NULL && layout->has_copies)
		for (int k = 0; k < layout->copy_pages; k++)
			ivf_page_copy_blocks(page, layout)[k] = InvalidBlockNumber;
}

/* How many rows begin on a LIST page; ERROR when its content does not fit. */
int
ivf_page_rows(Relation index, BlockNumber blkno, Page page, const IvfLayout *layout)
{
	uint32		used = IvfPageUsed(page);
	uint32		row_size = layout->row_size;

	if (layout->has_codes)
	{
		IvfPageOpaque opaque = IvfPageGetOpaque(page);

		if (unlikely(used != layout->end || opaque->rows > layout->max_rows))
			page_corrupted(index, blkno,
						   "The page has %u of at most %d rows, in %u bytes instead of %u.",
						   opaque->rows, layout->max_rows, used, layout->end);
		return opaque->rows;
	}
	if (likely(row_size <= IVF_PAGE_CAPACITY))
	{
		if (unlikely(used % row_size != 0))
			page_corrupted(index, blkno,
						   "The content of %u bytes is no whole number of rows of %u bytes.",
						   used, row_size);
		return used / row_size;
	}
	if (unlikely(used != 0 && used != IVF_ROW_HEAD + IVF_HEAD_FLOATS * sizeof(float)))
		page_corrupted(index, blkno, "The first part of a row has %u bytes.", used);
	return used != 0;
}

/* Say how many rows a page has that is being edited; not for rows over several pages. */
void
ivf_page_set_rows(Page page, const IvfLayout *layout, int nrows)
{
	if (layout->has_codes)
		IvfPageGetOpaque(page)->rows = (uint16) nrows;
	else
		IvfPageSetUsed(page, nrows * layout->row_size);
}

/*
 * Put a row, row_size bytes of any alignment, to place i of a page that is being edited;
 * of its copy that is not all.
 */
void
ivf_page_put_row(Page page, const IvfLayout *layout, int i, const char *row)
{
	if (!layout->has_codes)
	{
		memcpy(IvfPageContent(page) + (Size) i * layout->row_size, row, layout->row_size);
		return;
	}
	memcpy(ivf_page_tid(page, layout, i), row, sizeof(ItemPointerData));
	row += sizeof(ItemPointerData);
	if (layout->has_norms)
	{
		memcpy(ivf_page_norms(page, layout, i), row, sizeof(float));
		row += sizeof(float);
	}
	codec_put(&layout->codec, &layout->codes, ivf_page_codes(page, layout), i, row);
}

/* The opposite: row i as row_size bytes. */
void
ivf_page_get_row(Page page, const IvfLayout *layout, int i, char *row)
{
	if (!layout->has_codes)
	{
		memcpy(row, IvfPageContent(page) + (Size) i * layout->row_size, layout->row_size);
		return;
	}
	memcpy(row, ivf_page_tid(page, layout, i), sizeof(ItemPointerData));
	row += sizeof(ItemPointerData);
	if (layout->has_norms)
	{
		memcpy(row, ivf_page_norms(page, layout, i), sizeof(float));
		row += sizeof(float);
	}
	codec_get(&layout->codec, &layout->codes, ivf_page_codes(page, layout), i, row);
}

/* Stand before the first page of a list. */
void
ivf_cursor_start(Relation index, IvfCursor *cursor,
				 const IvfMetaPageData *meta, uint32 list)
{
	IvfListData entry;

	ivf_list_read(index, meta, list, &entry);
	cursor->list = list;
	cursor->generation = entry.generation;
	cursor->rows = entry.rows;
	cursor->head = cursor->block = entry.head;
	cursor->seq = 1;
	cursor->last_seq = 0;
	cursor->missed = InvalidBlockNumber;
	cursor->misses = 0;
}

/*
 * The next page of the list that the cursor has not visited, share-locked, or
 * InvalidBuffer at the end.  The caller reads what it wants and releases it;
 * no other lock of ours may be held.
 */
Buffer
ivf_cursor_next(Relation index, IvfCursor *cursor)
{
	while (cursor->block != InvalidBlockNumber)
	{
		BlockNumber blkno = cursor->block;
		PageVerdict verdict;
		Buffer		buf;
		Page		page;
		IvfPageOpaque opaque;

		CHECK_FOR_INTERRUPTS();
		buf = page_read_any(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE,
							NULL, &verdict);
		page = BufferGetPage(buf);
		opaque = IvfPageGetOpaque(page);

		if (unlikely(!page_of_list(page, verdict, cursor->list, cursor->generation) ||
					 opaque->seq != cursor->seq))
		{
			/* a damaged page never is a page that left the list */
			if (verdict != PAGE_OK)
				page_verify(index, blkno, page, IVF_SPECIAL_SIZE);
			cursor->misses = blkno == cursor->missed ? cursor->misses + 1 : 1;
			cursor->missed = blkno;
			page_release(buf);
			if (blkno == cursor->head || cursor->misses > MAX_MISSES)
			{
				ivf_generation_check(index, cursor->generation);
				page_corrupted(index, blkno, "Expected page %u of list %u.",
							   cursor->seq, cursor->list);
			}
			cursor->block = cursor->head;
			cursor->seq = 1;
			continue;
		}

		/* seq ascends, so no link can lead round in a circle */
		if (unlikely(opaque->next != InvalidBlockNumber &&
					 opaque->next_seq <= opaque->seq))
			page_corrupted(index, blkno, "Page %u of list %u is followed by page %u.",
						   opaque->seq, cursor->list, opaque->next_seq);
		cursor->block = opaque->next;
		cursor->seq = opaque->next_seq;

		if (opaque->seq > cursor->last_seq)
		{
			cursor->last_seq = opaque->seq;
			return buf;
		}
		page_release(buf);		/* visited before the new beginning */
	}
	return InvalidBuffer;
}

/*
 * Read a row that lies on several pages into *row: the one that begins on this
 * page of that list.  False when it is gone: VACUUM removed it, so no snapshot
 * in use can want it.
 */
bool
ivf_row_read(Relation index, const IvfMetaPageData *meta, BlockNumber blkno,
			 uint32 list, uint32 seq, IvfRow row)
{
	Buffer		buf = page_read(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
	Page		page = BufferGetPage(buf);
	IvfPageOpaque opaque = IvfPageGetOpaque(page);
	BlockNumber first;
	BlockNumber cont;
	int			done = IVF_HEAD_FLOATS;
	int			dims = meta->dims;
	IvfLayout	layout;

	ivf_layout(meta, &layout);
	if (!page_of_list(page, PAGE_OK, list, meta->generation) || opaque->seq != seq ||
		ivf_page_rows(index, blkno, page, &layout) == 0)
	{
		page_release(buf);
		ivf_generation_check(index, meta->generation);
		return false;
	}
	memcpy(row, IvfPageContent(page), IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS);
	first = cont = opaque->cont;
	page_release(buf);

	while (done < dims)
	{
		int			part = Min(dims - done, IVF_CONT_FLOATS);
		PageVerdict verdict;

		CHECK_FOR_INTERRUPTS();
		if (cont == InvalidBlockNumber)
			page_corrupted(index, blkno, "A row of %d dimensions ends after %d.",
						   dims, done);
		buf = page_read_any(index, cont, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE,
							NULL, &verdict);
		page = BufferGetPage(buf);
		if (verdict != PAGE_OK)
			page_verify(index, cont, page, IVF_SPECIAL_SIZE);
		opaque = IvfPageGetOpaque(page);
		if (IvfPageKind(page) != IVF_PAGE_CONT || opaque->next != blkno ||
			opaque->seq != seq || opaque->list != list ||
			opaque->generation != meta->generation ||
			IvfPageUsed(page) != part * sizeof(float))
		{
			bool		same;

			/* Either the row was removed meanwhile, or the page is wrong. */
			page_release(buf);
			buf = page_read(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE);
			page = BufferGetPage(buf);
			same = page_of_list(page, PAGE_OK, list, meta->generation) &&
				IvfPageGetOpaque(page)->seq == seq &&
				IvfPageGetOpaque(page)->cont == first &&
				IvfPageUsed(page) > 0 &&
				ItemPointerEquals(&((IvfRow) IvfPageContent(page))->tid, &row->tid);
			page_release(buf);
			if (same)
				page_corrupted(index, cont, "Expected part of the row that begins at block %u.",
							   blkno);
			ivf_generation_check(index, meta->generation);
			return false;
		}
		memcpy(row->value + done, IvfPageContent(page), part * sizeof(float));
		cont = opaque->cont;
		done += part;
		page_release(buf);
	}
	return true;
}

/*
 * Write the row that begins on the (empty, exclusively locked) page buf:
 * first the CONT pages, new ones linked and filled in one record each, then
 * the head.  A crash in between leaves an empty page with some CONT pages
 * attached, which the next row there uses (invariant I5).
 */
void
ivf_write_long_row(Relation index, const IvfMetaPageData *meta, Buffer buf,
				   const IvfRowData *row, bool building)
{
	BlockNumber owner = BufferGetBlockNumber(buf);
	IvfPageOpaqueData head = *IvfPageGetOpaque(BufferGetPage(buf));
	PageEdit	edit;
	Page		page;
	Buffer		prev = buf;
	int			done = IVF_HEAD_FLOATS;

	while (done < meta->dims)
	{
		int			part = Min(meta->dims - done, IVF_CONT_FLOATS);
		BlockNumber cont = IvfPageGetOpaque(BufferGetPage(prev))->cont;
		bool		add = cont == InvalidBlockNumber;
		Buffer		next;

		/* a lock of ours, waited for, would never come */
		if (cont == owner || cont == BufferGetBlockNumber(prev))
			page_corrupted(index, BufferGetBlockNumber(prev),
						   "The page is continued by block %u.", cont);
		next = add ?
			page_new(index, MAIN_FORKNUM, IVF_SPECIAL_SIZE, building) :
			page_read(index, cont, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);

		if (!add && (IvfPageKind(BufferGetPage(next)) != IVF_PAGE_CONT ||
					 IvfPageGetOpaque(BufferGetPage(next))->next != owner))
			page_corrupted(index, cont, "Expected a continuation page of block %u.", owner);

		page_edit_begin(&edit, index, building);
		page = page_edit_add(&edit, next, true);
		if (add)
		{
			ivf_page_init_list(page, NULL, IVF_PAGE_CONT, head.list, head.generation, head.seq);
			IvfPageGetOpaque(page)->next = owner;
			IvfPageGetOpaque(page_edit_add(&edit, prev, false))->cont =
				BufferGetBlockNumber(next);
		}
		memcpy(IvfPageContent(page), row->value + done, part * sizeof(float));
		IvfPageSetUsed(page, part * sizeof(float));
		page_edit_commit(&edit);

		if (prev != buf)
			page_release(prev);
		prev = next;
		done += part;
	}
	if (prev != buf)
		page_release(prev);

	page_edit_begin(&edit, index, building);
	page = page_edit_add(&edit, buf, false);
	memcpy(IvfPageContent(page), row, IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS);
	IvfPageSetUsed(page, IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS);
	page_edit_commit(&edit);
}

/* Set a flag of an exclusively locked page. */
static void
mark_page(Relation index, Buffer buf, uint16 flag)
{
	PageEdit	edit;

	if ((IvfPageGetOpaque(BufferGetPage(buf))->flags & flag) == flag)
		return;
	page_edit_begin(&edit, index, false);
	IvfPageGetOpaque(page_edit_add(&edit, buf, false))->flags |= flag;
	page_edit_commit(&edit);
}

/* The page that copies of rows from nrows on go to; *add: it is new. */
typedef struct CopyTarget
{
	Buffer		buf;			/* InvalidBuffer: rows have no copies */
	bool		add;
} CopyTarget;

/*
 * Lock the COPY page for row nrows of an exclusively locked LIST page, or get a
 * new one; list is InvalidBuffer for a LIST page that is new itself.  *part becomes the
 * number of rows that find room there.
 */
static CopyTarget
copy_target(Relation index, const IvfLayout *layout, Buffer list, int nrows, int *part)
{
	CopyTarget	target = {InvalidBuffer, false};
	int			per_page = layout->copies_per_page;

	if (!layout->has_copies)
		return target;
	*part = Min(*part, per_page - nrows % per_page);
	if (BufferIsValid(list))
		target.buf = ivf_copy_buffer(index, layout, list, nrows / per_page,
									 BUFFER_LOCK_EXCLUSIVE);
	if (!BufferIsValid(target.buf))
	{
		target.buf = page_new(index, MAIN_FORKNUM, IVF_SPECIAL_SIZE, false);
		target.add = true;
	}
	return target;
}

/*
 * Put n rows, one after the other in memory, with their copies, behind the first nrows
 * of a page that lies at blkno.
 */
static void
put_rows(PageEdit *edit, Page page, BlockNumber blkno, const IvfLayout *layout,
		 const CopyTarget *target, int nrows, const char *rows, int n)
{
	for (int i = 0; i < n; i++)
		ivf_page_put_row(page, layout, nrows + i, rows + (Size) i * layout->moved_size);
	if (layout->has_copies)
	{
		int			k = nrows / layout->copies_per_page;
		int			first = nrows % layout->copies_per_page;
		Page		copies = page_edit_add(edit, target->buf, target->add);

		if (target->add)
		{
			ivf_page_init_copy(copies, layout, IvfPageGetOpaque(page), blkno, k);
			ivf_page_copy_blocks(page, layout)[k] = BufferGetBlockNumber(target->buf);
		}
		for (int i = 0; i < n; i++)
			memcpy(ivf_page_copy(copies, layout, first + i),
				   rows + (Size) i * layout->moved_size + layout->copy_at, layout->copy_size);
	}
	ivf_page_set_rows(page, layout, nrows + n);
}

/*
 * May rows be put on this page of the list?  While a training fills it, its copies
 * have pages of their own, so that one flag tells them from what was inserted: a
 * page without rows becomes either kind.
 */
static inline bool
page_takes(const IvfPageOpaqueData *opaque, int nrows, IvfAppend kind)
{
	bool		copies = (opaque->flags & IVF_PAGE_COPIES) != 0;

	switch (kind)
	{
		case IVF_APPEND_INSERTED:
			return !copies;
		case IVF_APPEND_COPIES:
			return copies || nrows == 0;
		case IVF_APPEND_ANY:
			break;
	}
	return true;
}

/*
 * Append n rows, one after the other in memory, to a list.  Holds one page at a
 * time, and while the list gets a page the new one beside its predecessor; and where
 * rows have copies the page that these go to.
 *
 * False when the list takes no more rows, since a training is copying it: then
 * none was appended, and the metapage, which says so, was read before that.
 * Only the lists that the metapage names for inserts are never frozen.
 */
bool
ivf_list_append(Relation index, const IvfMetaPageData *meta, uint32 list,
				const char *rows, int n, IvfAppend kind)
{
	IvfLayout	layout;
	uint16		flag = kind == IVF_APPEND_COPIES ? IVF_PAGE_COPIES : 0;
	bool		is_long = meta->row_size > IVF_PAGE_CAPACITY;
	IvfListData entry;
	BlockNumber blkno;
	uint32		seq = 0;		/* expected; 0: any page of the list will do */
	BlockNumber missed = InvalidBlockNumber;
	int			misses = 0;

	ivf_layout(meta, &layout);
	ivf_list_read(index, meta, list, &entry);
	blkno = entry.insert;

	for (;;)
	{
		PageVerdict verdict;
		Buffer		buf;
		Page		page;
		IvfPageOpaque opaque;
		PageEdit	edit;
		int			nrows;
		int			part;
		bool		full;

		CHECK_FOR_INTERRUPTS();
		buf = page_read_any(index, blkno, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE,
							NULL, &verdict);
		page = BufferGetPage(buf);
		opaque = IvfPageGetOpaque(page);

		if (unlikely(!page_of_list(page, verdict, list, entry.generation) ||
					 (seq != 0 && opaque->seq != seq)))
		{
			/* VACUUM took the page away: begin at the head, which stays */
			if (verdict != PAGE_OK && verdict != PAGE_ZERO)
				page_verify(index, blkno, page, IVF_SPECIAL_SIZE);
			misses = blkno == missed ? misses + 1 : 1;
			missed = blkno;
			if (blkno == entry.head || misses > MAX_MISSES)
				page_corrupted(index, blkno, "Expected page %u of list %u.", Max(seq, 1), list);
			page_release(buf);
			blkno = entry.head;
			seq = 1;
			continue;
		}

		if (unlikely((opaque->flags & IVF_PAGE_FROZEN) != 0))
		{
			page_release(buf);
			return false;
		}

		nrows = ivf_page_rows(index, blkno, page, &layout);
		full = nrows >= layout.max_rows || !page_takes(opaque, nrows, kind);
		if (full && opaque->next != InvalidBlockNumber)
		{
			/* seq ascends, so this walk ends */
			if (opaque->next_seq <= opaque->seq)
				page_corrupted(index, blkno, "Page %u of list %u is followed by page %u.",
							   opaque->seq, list, opaque->next_seq);
			blkno = opaque->next;
			seq = opaque->next_seq;
			page_release(buf);
			continue;
		}

		if (full)
		{
			/* the tail is full, or not for us: a new page, linked in the same record */
			Buffer		tail = buf;
			Page		image;
			CopyTarget	copies;

			part = Min(n, layout.max_rows);
			copies = copy_target(index, &layout, InvalidBuffer, 0, &part);
			buf = page_new(index, MAIN_FORKNUM, IVF_SPECIAL_SIZE, false);
			blkno = BufferGetBlockNumber(buf);
			seq = opaque->seq + 1;

			page_edit_begin(&edit, index, false);
			image = page_edit_add(&edit, tail, false);
			IvfPageGetOpaque(image)->next = blkno;
			IvfPageGetOpaque(image)->next_seq = seq;
			image = page_edit_add(&edit, buf, true);
			ivf_page_init_list(image, &layout, IVF_PAGE_LIST, list, entry.generation, seq);
			IvfPageGetOpaque(image)->flags |= flag;
			if (!is_long)
				put_rows(&edit, image, blkno, &layout, &copies, 0, rows, part);
			page_edit_commit(&edit);
			if (BufferIsValid(copies.buf))
				page_release(copies.buf);
			page_release(tail);
			if (is_long)
				ivf_write_long_row(index, meta, buf, (const IvfRowData *) rows, false);
		}
		else if (is_long)
		{
			part = 1;
			seq = opaque->seq;
			mark_page(index, buf, flag);
			ivf_write_long_row(index, meta, buf, (const IvfRowData *) rows, false);
		}
		else
		{
			CopyTarget	copies;

			part = Min(n, layout.max_rows - nrows);
			copies = copy_target(index, &layout, buf, nrows, &part);
			seq = opaque->seq;
			page_edit_begin(&edit, index, false);
			page = page_edit_add(&edit, buf, false);
			put_rows(&edit, page, blkno, &layout, &copies, nrows, rows, part);
			IvfPageGetOpaque(page)->flags |= flag;
			page_edit_commit(&edit);
			if (BufferIsValid(copies.buf))
				page_release(copies.buf);
		}
		page_release(buf);
		rows += (Size) part * layout.moved_size;
		n -= part;
		if (n == 0)
			break;
	}

	/* The directory changes with the page, not with the row. */
	if (blkno != entry.insert)
		ivf_list_set_insert(index, meta, list, blkno);
	return true;
}
