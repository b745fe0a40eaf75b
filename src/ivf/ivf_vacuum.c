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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"

#include "compat.h"
#include "ivf/ivf_private.h"

typedef struct IvfVacuum
{
	IndexVacuumInfo *info;
	Relation	index;
	IvfMetaPageData meta;
	IvfLayout	layout;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;

	/* of each list */
	uint64	   *rows;
	uint32	   *pages;
	BlockNumber *room;			/* the first page in the chain with room ... */
	uint32	   *room_seq;		/* ... and its seq */
	bool	   *has_empty;		/* a page other than the head holds no row */
} IvfVacuum;

static bool
row_is_dead(IvfVacuum *vac, Page page, int i)
{
	return vac->callback != NULL &&
		vac->callback(ivf_page_tid(page, &vac->layout, i), vac->callback_state);
}

/*
 * Remove the dead rows of an exclusively locked page: the last row takes the
 * place of a dead one, so that one row is logged for each row removed.
 */
static int
remove_dead(IvfVacuum *vac, Buffer buf, int nrows)
{
	PageEdit	edit;
	Page		page;
	int			n = nrows;
	char	   *row = palloc(vac->layout.row_size);

	page_edit_begin(&edit, vac->index, false);
	page = page_edit_add(&edit, buf, false);
	for (int i = 0; i < n;)
	{
		if (!row_is_dead(vac, page, i))
			i++;
		else if (i < --n)
		{
			ivf_page_get_row(page, &vac->layout, n, row);
			ivf_page_put_row(page, &vac->layout, i, row);
		}
	}
	/* a row over several pages leaves an empty head (CONT pages stay) */
	if (n < nrows)
		ivf_page_set_rows(page, &vac->layout, n);
	page_edit_commit(&edit);
	pfree(row);

	vac->stats->tuples_removed += nrows - n;
	return n;
}

/* Remove the dead rows of a LIST page and count what is left. */
static void
vacuum_list_page(IvfVacuum *vac, BlockNumber blkno, Buffer buf)
{
	Page		page = BufferGetPage(buf);
	IvfPageOpaque opaque = IvfPageGetOpaque(page);
	uint32		list = opaque->list;
	int			nrows = ivf_page_rows(vac->index, blkno, page, &vac->layout);

	if (list >= vac->meta.lists)
		page_corrupted(vac->index, blkno, "The page belongs to list %u of %u.",
					   list, vac->meta.lists);

	for (int i = 0; i < nrows; i++)
	{
		if (row_is_dead(vac, page, i))
		{
			/*
			 * Nobody but VACUUM turns this page into another kind, so what
			 * can happen while the lock is exchanged is another row.
			 */
			page_relock(buf, BUFFER_LOCK_EXCLUSIVE);
			nrows = ivf_page_rows(vac->index, blkno, page, &vac->layout);
			nrows = remove_dead(vac, buf, nrows);
			break;
		}
	}

	vac->stats->num_index_tuples += nrows;
	vac->rows[list] += nrows;
	vac->pages[list]++;
	if (nrows < vac->layout.max_rows &&
		(vac->room[list] == InvalidBlockNumber || opaque->seq < vac->room_seq[list]))
	{
		vac->room[list] = blkno;
		vac->room_seq[list] = opaque->seq;
	}
	if (nrows == 0 && opaque->seq > 1)
		vac->has_empty[list] = true;
}

static void
vacuum_page(IvfVacuum *vac, BlockNumber blkno)
{
	PageVerdict verdict;
	Buffer		buf;
	Page		page;

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

	if (IvfPageKind(page) == IVF_PAGE_LIST)
		vacuum_list_page(vac, blkno, buf);
	page_release(buf);
}

/*
 * Take the exclusively locked, empty page "buf" out of its chain; prev is its
 * predecessor, exclusively locked, too.  CONT pages go first, one record
 * each, so that at no moment a page belongs to nothing.
 */
static void
unlink_page(IvfVacuum *vac, Buffer prev, Buffer buf)
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
vacuum_chain(IvfVacuum *vac, uint32 list)
{
	IvfListData entry;
	BlockNumber blkno;
	uint32		seq = 1;

	ivf_list_read(vac->index, &vac->meta, list, &entry);
	blkno = entry.head;
	vac->rows[list] = 0;
	vac->pages[list] = 0;
	vac->room[list] = InvalidBlockNumber;

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
			if (ivf_page_rows(vac->index, opaque->next, nextpage, &vac->layout) == 0)
			{
				unlink_page(vac, buf, next);
				removed = true;
			}
			page_release(next);
		}

		if (!removed)
		{
			nrows = ivf_page_rows(vac->index, blkno, page, &vac->layout);
			vac->rows[list] += nrows;
			vac->pages[list]++;
			if (nrows < vac->layout.max_rows && vac->room[list] == InvalidBlockNumber)
				vac->room[list] = blkno;
			blkno = opaque->next;
			seq = opaque->next_seq;
		}
		page_release(buf);
	}
}

/* The whole work; callback NULL: no row is dead, only count and tidy up. */
IndexBulkDeleteResult *
ivfbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *callback_state)
{
	IvfVacuum	vac = {0};
	BlockNumber nblocks;

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
	ivf_layout(&vac.meta, &vac.layout);
	vac.rows = palloc0(sizeof(uint64) * vac.meta.lists);
	vac.pages = palloc0(sizeof(uint32) * vac.meta.lists);
	vac.room = palloc(sizeof(BlockNumber) * vac.meta.lists);
	vac.room_seq = palloc0(sizeof(uint32) * vac.meta.lists);
	vac.has_empty = palloc0(sizeof(bool) * vac.meta.lists);
	memset(vac.room, 0xFF, sizeof(BlockNumber) * vac.meta.lists);	/* invalid */

	/* Pages added while we go hold only rows that nobody can call dead. */
	nblocks = RelationGetNumberOfBlocks(vac.index);
	for (BlockNumber blkno = IVF_META_BLOCK + 1; blkno < nblocks; blkno++)
	{
		VACUUM_DELAY_POINT();
		vacuum_page(&vac, blkno);
	}
	for (uint32 list = 0; list < vac.meta.lists; list++)
		if (vac.has_empty[list])
			vacuum_chain(&vac, list);
	ivf_list_set_counts(vac.index, &vac.meta, vac.rows, vac.pages, vac.room);

	pfree(vac.rows);
	pfree(vac.pages);
	pfree(vac.room);
	pfree(vac.room_seq);
	pfree(vac.has_empty);
	return stats;
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

	IndexFreeSpaceMapVacuum(info->index);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}
