/*-------------------------------------------------------------------------
 *
 * ivf_vacuum.c
 *	  ivfbulkdelete, ivfvacuumcleanup.
 *
 * One pass over the file in physical order removes the dead rows: rows never
 * change their page, so every row that was there when the pass began is met.
 * On the way it counts the rows of each list, and gives the pages that belong
 * to nothing (all zero after a crash, or free but missing from the map, which
 * is not logged) to the free-space map.  Then the chains that have empty
 * pages are walked once and these pages are taken out, in one WAL record with
 * their predecessor; the head of a list always stays.
 *
 * Pages of a generation that nobody reads any more are freed in the same pass:
 * what a training that came to nothing left, or what it has replaced, once no
 * scan can be there.  Where a training was interrupted while it copied rows, the
 * copies are taken out, since it will begin to copy anew (ivf_train.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "ivf/ivf_private.h"

/* What the pass finds of the lists of one generation. */
typedef struct VacuumLists
{
	IvfMetaPageData meta;		/* as if there were no other lists */
	IvfLayout	layout;
	uint64	   *rows;
	uint32	   *pages;
	BlockNumber *room;			/* the first page in the chain with room ... */
	uint32	   *room_seq;		/* ... and its seq */
	bool	   *has_empty;		/* a page other than the head holds no row */
	bool		closed;			/* takes no rows: all pages with room are frozen */
	bool		drop_copies;	/* rows copied here are to go */
} VacuumLists;

typedef struct IvfVacuum
{
	IndexVacuumInfo *info;
	Relation	index;
	IvfMetaPageData meta;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;

	int			nlists;			/* 2 while a training copies */
	VacuumLists lists[2];
	bool		free_retired;	/* no scan reads the retired generation */
	IvfLayout	retired_layout;
} IvfVacuum;

/* The lists that a generation's pages belong to; NULL: nobody finds them. */
static VacuumLists *
lists_of(IvfVacuum *vac, uint32 generation)
{
	for (int i = 0; i < vac->nlists; i++)
		if (vac->lists[i].meta.generation == generation)
			return &vac->lists[i];
	return NULL;
}

/* lists is NULL for a page of the retired generation. */
static const IvfLayout *
layout_of(const IvfVacuum *vac, const VacuumLists *lists)
{
	return lists != NULL ? &lists->layout : &vac->retired_layout;
}

/* Are the page's rows copies of an interrupted training? */
static bool
drop_copies(const VacuumLists *lists, Page page)
{
	return lists != NULL && lists->drop_copies &&
		(IvfPageGetOpaque(page)->flags & IVF_PAGE_COPIES) != 0;
}

static bool
row_is_dead(IvfVacuum *vac, const VacuumLists *lists, Page page, int i)
{
	if (drop_copies(lists, page))
		return true;
	return vac->callback != NULL &&
		vac->callback(ivf_page_tid(page, layout_of(vac, lists), i), vac->callback_state);
}

/*
 * What a page's flags say when rows have gone: an empty one is anybody's again, and where
 * no row may be added any more it is frozen, since it has room now.
 */
static void
flag_removed(const VacuumLists *lists, Page page)
{
	if (drop_copies(lists, page))
		IvfPageGetOpaque(page)->flags &= ~IVF_PAGE_COPIES;
	if (lists == NULL || lists->closed)
		IvfPageGetOpaque(page)->flags |= IVF_PAGE_FROZEN;
}

/*
 * Remove the dead rows of an exclusively locked page: the last row takes the
 * place of a dead one, so that one row is logged for each row removed.
 */
static int
remove_dead(IvfVacuum *vac, const VacuumLists *lists, Buffer buf, int nrows)
{
	PageEdit	edit;
	Page		page;
	int			n = nrows;
	const IvfLayout *layout = layout_of(vac, lists);
	char	   *row = palloc(layout->row_size);

	page_edit_begin(&edit, vac->index, false);
	page = page_edit_add(&edit, buf, false);
	for (int i = 0; i < n;)
	{
		if (!row_is_dead(vac, lists, page, i))
		{
			i++;
			continue;
		}
		if (vac->callback != NULL)
			vac->stats->tuples_removed++;
		if (i < --n)
		{
			ivf_page_get_row(page, layout, n, row);
			ivf_page_put_row(page, layout, i, row);
		}
	}
	/* a row over several pages leaves an empty head (CONT pages stay) */
	if (n < nrows)
		ivf_page_set_rows(page, layout, n);
	flag_removed(lists, page);
	page_edit_commit(&edit);
	pfree(row);
	return n;
}

/* The COPY page of row i of an exclusively locked LIST page, locked */
static Buffer
copies_of_row(IvfVacuum *vac, const IvfLayout *layout, Buffer list, int i, int lockmode)
{
	Buffer		buf = ivf_copy_buffer(vac->index, layout, list, i / layout->copies_per_page,
									  lockmode);

	if (!BufferIsValid(buf))
		page_corrupted(vac->index, BufferGetBlockNumber(list), "Row %d has no copy.", i + 1);
	return buf;
}

/* The copy of row i, for moving it */
static void
take_copy(IvfVacuum *vac, const IvfLayout *layout, Buffer list, int i, IvfCopy to)
{
	Buffer		buf = copies_of_row(vac, layout, list, i, BUFFER_LOCK_SHARE);

	memcpy(to, ivf_page_copy(BufferGetPage(buf), layout, i % layout->copies_per_page),
		   layout->copy_size);
	page_release(buf);
}

/*
 * remove_dead() where rows have copies: the last row and its copy take the place of
 * a dead one in one record, so that each step leaves all rows with theirs.  What lies beyond
 * the rows on COPY pages is of no interest.
 */
static int
remove_dead_with_copies(IvfVacuum *vac, const VacuumLists *lists, Buffer buf, int nrows)
{
	const IvfLayout *layout = layout_of(vac, lists);
	Page		page = BufferGetPage(buf);
	char	   *row = palloc(layout->row_size);
	IvfCopy		copy = palloc(layout->copy_size);

	for (int i = 0; i < nrows; i++)
	{
		PageEdit	edit;
		Buffer		copies = InvalidBuffer;
		int			removed = 1;
		int			last;

		if (!row_is_dead(vac, lists, page, i))
			continue;
		for (last = nrows - 1; last > i && row_is_dead(vac, lists, page, last); last--)
			removed++;
		if (last > i)
		{
			take_copy(vac, layout, buf, last, copy);
			ivf_page_get_row(page, layout, last, row);
			copies = copies_of_row(vac, layout, buf, i, BUFFER_LOCK_EXCLUSIVE);
		}

		page_edit_begin(&edit, vac->index, false);
		page = page_edit_add(&edit, buf, false);
		if (BufferIsValid(copies))
		{
			ivf_page_put_row(page, layout, i, row);
			memcpy(ivf_page_copy(page_edit_add(&edit, copies, false), layout,
								 i % layout->copies_per_page), copy, layout->copy_size);
			last--;
		}
		nrows = BufferIsValid(copies) ? last + 1 : i;
		ivf_page_set_rows(page, layout, nrows);
		flag_removed(lists, page);
		page_edit_commit(&edit);
		page = BufferGetPage(buf);
		if (BufferIsValid(copies))
			page_release(copies);
		if (vac->callback != NULL)
			vac->stats->tuples_removed += removed;
	}
	pfree(row);
	pfree(copy);
	return nrows;
}

/*
 * Remove the dead rows of a LIST page and count what is left.  lists is NULL
 * for a page of the retired generation, whose rows count nowhere.
 */
static void
vacuum_list_page(IvfVacuum *vac, VacuumLists *lists, BlockNumber blkno, Buffer buf)
{
	Page		page = BufferGetPage(buf);
	IvfPageOpaque opaque = IvfPageGetOpaque(page);
	uint32		list = opaque->list;
	const IvfLayout *layout = layout_of(vac, lists);
	int			nrows = ivf_page_rows(vac->index, blkno, page, layout);

	if (lists != NULL && list >= lists->meta.lists)
		page_corrupted(vac->index, blkno, "The page belongs to list %u of %u.",
					   list, lists->meta.lists);

	for (int i = 0; i < nrows; i++)
	{
		if (row_is_dead(vac, lists, page, i))
		{
			/*
			 * Nobody but VACUUM turns this page into another kind, so what
			 * can happen while the lock is exchanged is another row.
			 */
			page_relock(buf, BUFFER_LOCK_EXCLUSIVE);
			nrows = ivf_page_rows(vac->index, blkno, page, layout);
			nrows = layout->has_copies ? remove_dead_with_copies(vac, lists, buf, nrows) :
				remove_dead(vac, lists, buf, nrows);
			break;
		}
	}
	if (lists == NULL)
		return;

	vac->stats->num_index_tuples += nrows;
	lists->rows[list] += nrows;
	lists->pages[list]++;
	if (nrows < layout->max_rows &&
		(lists->room[list] == InvalidBlockNumber || opaque->seq < lists->room_seq[list]))
	{
		lists->room[list] = blkno;
		lists->room_seq[list] = opaque->seq;
	}
	if (nrows == 0 && opaque->seq > 1)
		lists->has_empty[list] = true;
}

/* A page that belongs to nothing: nobody but us can find it. */
static void
free_page(IvfVacuum *vac, Buffer buf)
{
	PageEdit	edit;

	page_relock(buf, BUFFER_LOCK_EXCLUSIVE);
	page_edit_begin(&edit, vac->index, false);
	page_init(page_edit_add(&edit, buf, true), IVF_SPECIAL_SIZE, VECDB_PAGE_FREE);
	page_edit_commit(&edit);
	vac->stats->pages_deleted++;
	vac->stats->pages_free++;
}

static void
vacuum_page(IvfVacuum *vac, BlockNumber blkno)
{
	PageVerdict verdict;
	Buffer		buf;
	Page		page;
	uint8		kind;
	uint32		generation;
	VacuumLists *lists;
	bool		retired;

	buf = page_read_any(vac->index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE,
						vac->info->strategy, &verdict);
	page = BufferGetPage(buf);
	if (verdict == PAGE_ZERO || (verdict == PAGE_OK && IvfPageIsFree(page)))
	{
		page_release(buf);
		RecordFreeIndexPage(vac->index, blkno);
		vac->stats->pages_free++;
		return;
	}
	if (verdict != PAGE_OK)
		page_verify(vac->index, blkno, page, IVF_SPECIAL_SIZE);

	kind = IvfPageKind(page);
	generation = IvfPageGetOpaque(page)->generation;
	lists = lists_of(vac, generation);
	retired = vac->meta.retired_xid != 0 && generation == vac->meta.retired_generation;
	if (kind == IVF_PAGE_META || kind > IVF_PAGE_LAST)
		page_release(buf);		/* out of place: vecdb_check tells */
	else if (lists == NULL && (!retired || vac->free_retired))
	{
		free_page(vac, buf);
		page_release(buf);
		RecordFreeIndexPage(vac->index, blkno);
	}
	else
	{
		if (kind == IVF_PAGE_LIST)
			vacuum_list_page(vac, lists, blkno, buf);
		page_release(buf);
	}
}

/* Free the COPY pages of an empty LIST page; it and its predecessor are exclusively locked. */
static void
free_copies(IvfVacuum *vac, const IvfLayout *layout, Buffer prev, Buffer list)
{
	for (int k = 0; k < (layout->has_copies ? layout->copy_pages : 0); k++)
	{
		PageEdit	edit;
		Buffer		buf;

		if (ivf_page_copy_blocks(BufferGetPage(list), layout)[k] == BufferGetBlockNumber(prev))
			page_corrupted(vac->index, BufferGetBlockNumber(list),
						   "The page names its predecessor as its copies.");
		buf = ivf_copy_buffer(vac->index, layout, list, k, BUFFER_LOCK_EXCLUSIVE);
		if (!BufferIsValid(buf))
			continue;
		page_edit_begin(&edit, vac->index, false);
		ivf_page_copy_blocks(page_edit_add(&edit, list, false), layout)[k] = InvalidBlockNumber;
		page_init(page_edit_add(&edit, buf, true), IVF_SPECIAL_SIZE, VECDB_PAGE_FREE);
		page_edit_commit(&edit);
		RecordFreeIndexPage(vac->index, BufferGetBlockNumber(buf));
		page_release(buf);
		vac->stats->pages_deleted++;
		vac->stats->pages_free++;
	}
}

/*
 * Take the exclusively locked, empty page "buf" out of its chain; prev is its
 * predecessor, exclusively locked, too.  CONT and COPY pages go first, one record
 * each, so that at no moment a page belongs to nothing.
 */
static void
unlink_page(IvfVacuum *vac, const IvfLayout *layout, Buffer prev, Buffer buf)
{
	BlockNumber blkno = BufferGetBlockNumber(buf);
	BlockNumber cont;
	IvfPageOpaque opaque;
	PageEdit	edit;
	Page		page;

	while ((cont = IvfPageGetOpaque(BufferGetPage(buf))->cont) != InvalidBlockNumber)
	{
		Buffer		contbuf;

		/* a lock of ours, waited for, would never come */
		if (cont == blkno || cont == BufferGetBlockNumber(prev))
			page_corrupted(vac->index, blkno, "The page is continued by block %u.", cont);
		contbuf = page_read(vac->index, cont, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);

		opaque = IvfPageGetOpaque(BufferGetPage(contbuf));
		if (opaque->trailer.kind != IVF_PAGE_CONT || opaque->next != blkno)
			page_corrupted(vac->index, cont, "Expected a continuation page of block %u.", blkno);

		page_edit_begin(&edit, vac->index, false);
		IvfPageGetOpaque(page_edit_add(&edit, buf, false))->cont = opaque->cont;
		page_init(page_edit_add(&edit, contbuf, true), IVF_SPECIAL_SIZE, VECDB_PAGE_FREE);
		page_edit_commit(&edit);
		page_release(contbuf);
		RecordFreeIndexPage(vac->index, cont);
		vac->stats->pages_deleted++;
		vac->stats->pages_free++;
	}

	free_copies(vac, layout, prev, buf);

	opaque = IvfPageGetOpaque(BufferGetPage(buf));
	page_edit_begin(&edit, vac->index, false);
	page = page_edit_add(&edit, prev, false);
	IvfPageGetOpaque(page)->next = opaque->next;
	IvfPageGetOpaque(page)->next_seq = opaque->next_seq;
	page_init(page_edit_add(&edit, buf, true), IVF_SPECIAL_SIZE, VECDB_PAGE_FREE);
	page_edit_commit(&edit);
	RecordFreeIndexPage(vac->index, blkno);
	vac->stats->pages_deleted++;
	vac->stats->pages_free++;
}

/*
 * Take the empty pages of a list out of its chain, and count again.  Only
 * VACUUM unlinks, and one at a time, so the page we come from stays where it
 * is while no lock is held.
 */
static void
vacuum_chain(IvfVacuum *vac, VacuumLists *lists, uint32 list)
{
	IvfListData entry;
	BlockNumber blkno;
	uint32		seq = 1;

	ivf_list_read(vac->index, &lists->meta, list, &entry);
	blkno = entry.head;
	lists->rows[list] = 0;
	lists->pages[list] = 0;
	lists->room[list] = InvalidBlockNumber;

	while (blkno != InvalidBlockNumber)
	{
		Buffer		buf;
		Page		page;
		IvfPageOpaque opaque;
		int			nrows;
		bool		removed = false;

		VACUUM_DELAY_POINT();
		buf = page_read(vac->index, blkno, BUFFER_LOCK_EXCLUSIVE, IVF_SPECIAL_SIZE);
		page = BufferGetPage(buf);
		opaque = IvfPageGetOpaque(page);
		if (IvfPageKind(page) != IVF_PAGE_LIST || opaque->list != list ||
			opaque->generation != entry.generation || opaque->seq != seq ||
			(opaque->next != InvalidBlockNumber &&
			 (opaque->next_seq <= seq || opaque->next == blkno)))
			page_corrupted(vac->index, blkno, "Expected page %u of list %u.", seq, list);

		if (opaque->next != InvalidBlockNumber)
		{
			Buffer		next = page_read(vac->index, opaque->next, BUFFER_LOCK_EXCLUSIVE,
										 IVF_SPECIAL_SIZE);
			Page		nextpage = BufferGetPage(next);

			if (IvfPageKind(nextpage) != IVF_PAGE_LIST ||
				IvfPageGetOpaque(nextpage)->list != list ||
				IvfPageGetOpaque(nextpage)->seq != opaque->next_seq)
				page_corrupted(vac->index, opaque->next, "Expected page %u of list %u.",
							   opaque->next_seq, list);
			if (ivf_page_rows(vac->index, opaque->next, nextpage, &lists->layout) == 0)
			{
				unlink_page(vac, &lists->layout, buf, next);
				removed = true;
			}
			page_release(next);
		}

		if (!removed)
		{
			nrows = ivf_page_rows(vac->index, blkno, page, &lists->layout);
			lists->rows[list] += nrows;
			lists->pages[list]++;
			if (nrows < lists->layout.max_rows && lists->room[list] == InvalidBlockNumber)
				lists->room[list] = blkno;
			blkno = opaque->next;
			seq = opaque->next_seq;
		}
		page_release(buf);
	}
}

static void
init_lists(VacuumLists *lists)
{
	uint32		n = lists->meta.lists;

	ivf_layout(&lists->meta, &lists->layout);
	lists->rows = palloc0(sizeof(uint64) * n);
	lists->pages = palloc0(sizeof(uint32) * n);
	lists->room = palloc(sizeof(BlockNumber) * n);
	lists->room_seq = palloc0(sizeof(uint32) * n);
	lists->has_empty = palloc0(sizeof(bool) * n);
	memset(lists->room, 0xFF, sizeof(BlockNumber) * n); /* invalid */
}

/*
 * Tidy up lists after the pass, and tell the directory what was found.  Lists
 * that take no more rows keep their empty pages, or another page than the frozen
 * one would be the last; they go soon, whole.
 */
static uint64
finish_lists(IvfVacuum *vac, VacuumLists *lists)
{
	uint64		rows;

	for (uint32 list = 0; list < lists->meta.lists; list++)
		if (lists->has_empty[list] && !lists->closed)
			vacuum_chain(vac, lists, list);
	rows = ivf_list_set_counts(vac->index, &lists->meta, lists->rows, lists->pages, lists->room);
	pfree(lists->rows);
	pfree(lists->pages);
	pfree(lists->room);
	pfree(lists->room_seq);
	pfree(lists->has_empty);
	return rows;
}

/* The whole work; callback NULL: no row is dead, only count and tidy up. */
IndexBulkDeleteResult *
ivfbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *callback_state)
{
	IvfVacuum	vac = {0};
	BlockNumber nblocks;
	IvfMetaPage meta;
	PageEdit	edit;
	Buffer		metabuf;
	uint64		rows;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	/* these are of this pass; tuples_removed and pages_deleted add up */
	stats->num_index_tuples = 0;
	stats->pages_free = 0;

	vac.info = info;
	vac.index = info->index;
	vac.stats = stats;
	vac.callback = callback;
	vac.callback_state = callback_state;
	ivf_meta_read(vac.index, &vac.meta);
	if (vac.meta.retired_xid != 0)
		ivf_retired_layout(&vac.meta, &vac.retired_layout);
	vac.lists[vac.nlists++].meta = vac.meta;
	if (vac.meta.next_generation != 0)
	{
		vac.lists[0].closed = true;
		vac.lists[1].drop_copies = true;
		vac.lists[vac.nlists].meta = vac.meta;
		ivf_meta_take_next(&vac.lists[vac.nlists++].meta);
	}
	for (int i = 0; i < vac.nlists; i++)
		init_lists(&vac.lists[i]);

	/*
	 * Scans that read the retired lists began before they retired, and have a
	 * snapshot; inserts that look for them have a transaction ID.  (Which table
	 * it is could allow an earlier moment, but not every server tells us.)
	 */
	vac.free_retired = vac.meta.retired_xid != 0 &&
		GlobalVisCheckRemovableFullXid(NULL, FullTransactionIdFromU64(vac.meta.retired_xid));

	/* Pages added while we go hold only rows that nobody can call dead. */
	nblocks = RelationGetNumberOfBlocks(vac.index);
	for (BlockNumber blkno = IVF_META_BLOCK + 1; blkno < nblocks; blkno++)
	{
		VACUUM_DELAY_POINT();
		vacuum_page(&vac, blkno);
	}
	rows = finish_lists(&vac, &vac.lists[0]);
	if (vac.nlists > 1)
		(void) finish_lists(&vac, &vac.lists[1]);

	meta = ivf_meta_edit(vac.index, &edit, &metabuf);
	meta->rows = rows;
	if (vac.free_retired)
	{
		meta->retired_generation = 0;
		meta->retired_xid = 0;
	}
	ivf_meta_commit(&edit, metabuf);
	return stats;
}

/* How well do the codes tell the rows there are now?  A training has just measured that. */
static void
measure_error(Relation index)
{
	IvfMetaPageData meta;
	IvfMetaPage page;
	PageEdit	edit;
	Buffer		buf;
	float		error;

	ivf_meta_read(index, &meta);
	if (meta.rows == 0)
		return;
	error = ivf_measure_codes(index, &meta);
	if (error == meta.quantisation_error)
		return;
	page = ivf_meta_edit(index, &edit, &buf);
	page->quantisation_error = error;
	ivf_meta_commit(&edit, buf);
}

IndexBulkDeleteResult *
ivfvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	if (info->analyze_only)
		return stats;

	/*
	 * Nothing was deleted, but rows may have been added: searches that aim at
	 * a recall, and vecdb_index_stats(), want to know how many a list has.
	 */
	if (stats == NULL)
		stats = ivfbulkdelete(info, NULL, NULL, NULL);
	if (!ivf_train(info) && ivf_has_codes(info->index))
		measure_error(info->index);

	IndexFreeSpaceMapVacuum(info->index);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}
