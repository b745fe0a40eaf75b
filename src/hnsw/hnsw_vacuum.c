/*-------------------------------------------------------------------------
 *
 * hnsw_vacuum.c
 *	  hnswbulkdelete, hnswvacuumcleanup.
 *
 *	1.	Mark: one pass over the file removes dead heap TIDs, and marks the nodes
 *		that have none left as dead.  A dead node still leads a search to its
 *		neighbours, but is not handed out and nobody links to it any more.
 *	2.	Wait: until the inserts in flight, which may not have seen the marks,
 *		are done (hnsw_insert.c says how).
 *	3.	Repair (hnsw_repair.c): a second pass takes the links to dead nodes out of
 *		all live ones, fills up their lists from the lists of the dead, and gives
 *		each node whose protected in-edge came from a dead one another.
 *	4.	Entries of dead nodes leave the entry table; then the dead nodes' places
 *		are freed.
 *
 * Each page is changed under its own exclusive lock and in records of its own;
 * after each of them the index is sound.  A VACUUM that does not reach its end
 * leaves marks, which the next one finds.
 *
 * Memory: two bits for each place of the index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hnsw/hnsw_private.h"
#include "hnsw/hnsw_vacuum.h"

static inline bool
tid_is_dead(HnswVacuum *vac, ItemPointer tid)
{
	return vac->callback != NULL && vac->callback(tid, vac->callback_state);
}

/* A bitmap of all places of the first nblocks blocks. */
static uint8 *
place_bits(HnswVacuum *vac)
{
	Size		bits = mul_size(vac->nblocks, vac->hnsw->meta.nodes_per_page);

	return palloc_extended(bits / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static inline uint64
place_number(HnswVacuum *vac, HnswNodeId id)
{
	return (uint64) HnswNodeIdBlock(id) * vac->hnsw->meta.nodes_per_page +
		HnswNodeIdOffset(id) - 1;
}

static inline void
set_bit(HnswVacuum *vac, uint8 *bits, HnswNodeId id)
{
	uint64		bit = place_number(vac, id);

	bits[bit / 8] |= 1 << (bit % 8);
}

static inline bool
get_bit(HnswVacuum *vac, const uint8 *bits, HnswNodeId id)
{
	uint64		bit = place_number(vac, id);

	return (bits[bit / 8] & (1 << (bit % 8))) != 0;
}

/* Did this VACUUM find the node dead? */
bool
hnsw_vacuum_is_dead(HnswVacuum *vac, HnswNodeId id)
{
	return HnswNodeIdBlock(id) < vac->nblocks &&
		HnswNodeIdOffset(id) <= vac->hnsw->meta.nodes_per_page &&
		HnswNodeIdOffset(id) > 0 && get_bit(vac, vac->dead, id);
}

/* Remember a dead node. */
static void
found_dead(HnswVacuum *vac, HnswNodeId id)
{
	set_bit(vac, vac->dead, id);
	vac->ndead++;
}

/*
 * Has this node anything for VACUUM to change?  Chains are looked at later.  A node
 * without any row is none that this vecdb leaves, but one that an earlier one may have left.
 */
static bool
node_needs_work(HnswVacuum *vac, HnswNode node)
{
	if ((node->flags & HNSW_NODE_LIVE) == 0)
		return false;
	if (ItemPointerIsValid(&node->tid))
		return tid_is_dead(vac, &node->tid);
	return node->chunk_offset == 0;
}

/* In an edit: a node that has no row is dead from now on (H3). */
static void
mark_if_empty(HnswNode node)
{
	if (!ItemPointerIsValid(&node->tid) && node->chunk_offset == 0)
		node->flags = (node->flags & ~HNSW_NODE_LIVE) | HNSW_NODE_DEAD;
}

/* Step 1 for a NODE page, share locked. */
static void
mark_node_page(HnswVacuum *vac, BlockNumber blkno, Buffer buf)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	Page		page = BufferGetPage(buf);
	bool		work = false;
	int			live = 0;

	for (int offset = 1; offset <= meta->nodes_per_page && !work; offset++)
	{
		HnswNode	node = hnsw_node_at(vac->hnsw, page, offset);

		work = node != NULL && node_needs_work(vac, node);
	}
	if (work)
	{
		PageEdit	edit;

		/* nobody but VACUUM takes nodes away, so what happens meanwhile is more */
		page_relock(buf, BUFFER_LOCK_EXCLUSIVE);
		page_edit_begin(&edit, vac->index, false);
		page = page_edit_add(&edit, buf, false);
		for (int offset = 1; offset <= meta->nodes_per_page; offset++)
		{
			HnswNode	node = hnsw_node_at(vac->hnsw, page, offset);

			if (node == NULL || !node_needs_work(vac, node))
				continue;
			vac->stats->tuples_removed += ItemPointerIsValid(&node->tid);
			ItemPointerSetInvalid(&node->tid);
			mark_if_empty(node);
		}
		page_edit_commit(&edit);
		page = BufferGetPage(buf);
	}

	for (int offset = 1; offset <= meta->nodes_per_page; offset++)
	{
		HnswNode	node = hnsw_node_at(vac->hnsw, page, offset);
		HnswNodeId	id = HnswNodeIdMake(blkno, offset);

		if (node == NULL)
			continue;
		if (node->flags & HNSW_NODE_DEAD)
		{
			found_dead(vac, id);
			continue;
		}
		live++;
		if (ItemPointerIsValid(&node->tid))
			vac->stats->num_index_tuples++;
		if (node->chunk_offset != 0)
			set_bit(vac, vac->chained, id);
	}
	vac->nodes += live;
}

/* Step 1 for a TIDS page, share locked: chunks lose their dead TIDs. */
static void
clean_tids_page(HnswVacuum *vac, BlockNumber blkno, Buffer buf)
{
	Page		page = BufferGetPage(buf);
	bool		work = false;
	bool		room = false;

	if (((PageHeader) page)->pd_lower != SizeOfPageHeaderData + HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData))
		page_corrupted(vac->index, blkno, "The page of TIDs has the wrong length.");
	if (vac->ntids_pages == vac->max_tids_pages)
	{
		vac->max_tids_pages = Max(vac->max_tids_pages * 2, 64);
		vac->tids_pages = vac->tids_pages == NULL ?
			palloc(sizeof(BlockNumber) * vac->max_tids_pages) :
			repalloc_huge(vac->tids_pages, sizeof(BlockNumber) * vac->max_tids_pages);
	}
	vac->tids_pages[vac->ntids_pages++] = blkno;

	for (int pass = 0; pass < 2; pass++)
	{
		PageEdit	edit;

		if (pass == 1)
		{
			if (!work)
				break;
			page_relock(buf, BUFFER_LOCK_EXCLUSIVE);
			page_edit_begin(&edit, vac->index, false);
			page = page_edit_add(&edit, buf, false);
		}
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
		{
			HnswChunk	chunk = HnswPageGetChunk(page, i);

			if (chunk->owner_block == InvalidBlockNumber)
				continue;
			/* to pass over it would leave dead TIDs, whose places the table will give to other rows */
			if (chunk->count > HNSW_CHUNK_TIDS)
				page_corrupted(vac->index, blkno, "Chunk %d says it holds %u TIDs.", i, chunk->count);
			for (int j = 0; j < chunk->count;)
			{
				if (!tid_is_dead(vac, &chunk->tids[j]))
					j++;
				else if (pass == 0)
				{
					work = true;
					break;
				}
				else
				{
					chunk->tids[j] = chunk->tids[--chunk->count];
					vac->stats->tuples_removed++;
				}
			}
		}
		if (pass == 1)
			page_edit_commit(&edit);
	}

	page = BufferGetPage(buf);
	for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE; i++)
	{
		HnswChunk	chunk = HnswPageGetChunk(page, i);

		if (chunk->owner_block != InvalidBlockNumber)
			vac->stats->num_index_tuples += chunk->count;
		else
			room = true;
	}
	vac->roomy_pages += room;
}

/* Step 1 for any page. */
static void
mark_page(HnswVacuum *vac, BlockNumber blkno)
{
	PageVerdict verdict;
	Buffer		buf = page_read_any(vac->index, blkno, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE,
									vac->info->strategy, &verdict);
	Page		page = BufferGetPage(buf);

	if (verdict == PAGE_ZERO || (verdict == PAGE_OK && HnswPageKind(page) == VECDB_PAGE_FREE))
	{
		page_release(buf);
		RecordFreeIndexPage(vac->index, blkno);
		vac->stats->pages_free++;
		return;
	}
	if (verdict != PAGE_OK)
		page_verify(vac->index, blkno, page, HNSW_SPECIAL_SIZE);

	switch (HnswPageKind(page))
	{
		case HNSW_PAGE_NODE:
			mark_node_page(vac, blkno, buf);
			break;
		case HNSW_PAGE_TIDS:
			clean_tids_page(vac, blkno, buf);
			break;
		case HNSW_PAGE_CONT:
			vac->has_cont = true;
			break;
		default:
			break;
	}
	page_release(buf);
}

/* Take the exclusively locked chunk out: *next_* is what points to it. */
static void
free_chunk(HnswVacuum *vac, HnswChunk chunk)
{
	memset(chunk, 0, sizeof(*chunk));
	chunk->owner_block = InvalidBlockNumber;
	vac->freed_chunks = true;
}

/*
 * Unlink the empty chunks behind a chunk that stays.  Only VACUUM unlinks, so a
 * chunk of a live node stays where it is while no lock is held.
 */
static void
unlink_behind(HnswVacuum *vac, HnswNodeId id, BlockNumber block, OffsetNumber offset)
{
	uint64		steps = 0;

	while (offset != 0)
	{
		Buffer		buf;
		Buffer		next_buf = InvalidBuffer;
		HnswChunk	chunk;
		HnswChunk	next;
		BlockNumber next_block;
		OffsetNumber next_offset;

		VACUUM_DELAY_POINT();
		buf = page_read(vac->index, block, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		chunk = hnsw_chunk_at(BufferGetPage(buf), offset, id);
		if (chunk == NULL || ++steps > (uint64) vac->nblocks * HNSW_CHUNKS_PER_PAGE)
			page_corrupted(vac->index, HnswNodeIdBlock(id), "The chunks of node %u do not form a chain.",
						   HnswNodeIdOffset(id));
		next_block = chunk->next_block;
		next_offset = chunk->next_offset;
		if (next_offset == 0)
		{
			page_release(buf);
			return;
		}
		if (next_block != block)
			next_buf = page_read(vac->index, next_block, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		next = hnsw_chunk_at(BufferGetPage(next_buf != InvalidBuffer ? next_buf : buf), next_offset, id);
		if (next == NULL)
			page_corrupted(vac->index, block, "Chunk %u is followed by one that is not its node's.", offset);
		if (next->count == 0)
		{
			PageEdit	edit;
			Page		page;
			Page		next_page;

			page_edit_begin(&edit, vac->index, false);
			page = next_page = page_edit_add(&edit, buf, false);
			if (next_buf != InvalidBuffer)
				next_page = page_edit_add(&edit, next_buf, false);
			chunk = HnswPageGetChunk(page, offset);
			next = HnswPageGetChunk(next_page, next_offset);
			chunk->next_block = next->next_block;
			chunk->next_offset = next->next_offset;
			free_chunk(vac, next);
			page_edit_commit(&edit);
		}
		else
		{
			block = next_block;
			offset = next_offset;
		}
		if (next_buf != InvalidBuffer)
			page_release(next_buf);
		page_release(buf);
	}
}

/* Unlink the empty chunks of a node; without any row it is dead. */
static void
clean_chain(HnswVacuum *vac, HnswNodeId id)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	OffsetNumber place = HnswNodeIdOffset(id);
	bool		head_stays = false;
	BlockNumber block = InvalidBlockNumber;
	OffsetNumber offset = 0;

	while (!head_stays)
	{
		Buffer		buf;
		Buffer		chunk_buf;
		HnswNode	node;
		HnswChunk	chunk;
		PageEdit	edit;

		VACUUM_DELAY_POINT();
		buf = page_read(vac->index, HnswNodeIdBlock(id), BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		node = hnsw_node_at(vac->hnsw, BufferGetPage(buf), place);
		if (node == NULL || (node->flags & HNSW_NODE_LIVE) == 0)
		{
			page_release(buf);
			return;
		}
		if (node->chunk_offset == 0)
		{
			page_release(buf);
			return;
		}

		block = node->chunk_block;
		offset = node->chunk_offset;
		if (block == HnswNodeIdBlock(id))
			page_corrupted(vac->index, block, "Node %u has a chunk on its own page.", place);
		chunk_buf = page_read(vac->index, block, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		chunk = hnsw_chunk_at(BufferGetPage(chunk_buf), offset, id);
		if (chunk == NULL)
			page_corrupted(vac->index, HnswNodeIdBlock(id),
						   "Node %u has its first chunk at (%u,%u), which is not its own.",
						   place, block, offset);
		head_stays = chunk->count > 0;
		if (!head_stays)
		{
			page_edit_begin(&edit, vac->index, false);
			node = HnswPageGetNode(meta, page_edit_add(&edit, buf, false), place);
			chunk = HnswPageGetChunk(page_edit_add(&edit, chunk_buf, false), offset);
			node->chunk_block = chunk->next_offset != 0 ? chunk->next_block : InvalidBlockNumber;
			node->chunk_offset = chunk->next_offset;
			free_chunk(vac, chunk);
			/* in the same record: nobody looks for nodes without rows after a crash */
			mark_if_empty(node);
			if (node->flags & HNSW_NODE_DEAD)
			{
				found_dead(vac, id);
				vac->nodes--;
			}
			page_edit_commit(&edit);
		}
		page_release(chunk_buf);
		page_release(buf);
	}
	unlink_behind(vac, id, block, offset);
}

/*
 * Are there pages with room for TIDs that are not listed?  A VACUUM that ended while it
 * made the list anew leaves them.  False alarm where an insert took
 * the last free chunk of a page meanwhile.
 */
static bool
room_is_lost(HnswVacuum *vac)
{
	Buffer		buf = hnsw_read(vac->index, HNSW_META_BLOCK, BUFFER_LOCK_SHARE, HNSW_PAGE_META);
	BlockNumber blkno = HnswPageGetMeta(BufferGetPage(buf))->tids_room;
	uint32		listed = 0;

	page_release(buf);
	/* a list of more pages than there are goes round in circles, and is made anew, too */
	for (uint32 steps = 0; blkno != InvalidBlockNumber && steps < vac->ntids_pages; steps++)
	{
		bool		room = false;

		VACUUM_DELAY_POINT();
		buf = hnsw_read(vac->index, blkno, BUFFER_LOCK_SHARE, HNSW_PAGE_TIDS);
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE && !room; i++)
			room = HnswPageGetChunk(BufferGetPage(buf), i)->owner_block == InvalidBlockNumber;
		listed += room;
		blkno = HnswPageGetOpaque(BufferGetPage(buf))->next;
		page_release(buf);
	}
	return listed < vac->roomy_pages;
}

/* Make the list of TIDS pages with room anew, as chunks became free. */
static void
relist_room(HnswVacuum *vac)
{
	Buffer		meta_buf = hnsw_read(vac->index, HNSW_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_META);
	PageEdit	edit;

	page_edit_begin(&edit, vac->index, false);
	HnswPageGetMeta(page_edit_add(&edit, meta_buf, false))->tids_room = InvalidBlockNumber;
	page_edit_commit(&edit);
	page_release(meta_buf);

	for (uint32 i = 0; i < vac->ntids_pages; i++)
	{
		BlockNumber blkno = vac->tids_pages[i];
		Buffer		buf;
		bool		room = false;

		VACUUM_DELAY_POINT();
		meta_buf = hnsw_read(vac->index, HNSW_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_META);
		buf = hnsw_read(vac->index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_TIDS);
		for (int j = 1; j <= HNSW_CHUNKS_PER_PAGE && !room; j++)
			room = HnswPageGetChunk(BufferGetPage(buf), j)->owner_block == InvalidBlockNumber;
		if (room)
		{
			HnswMetaPage meta;

			page_edit_begin(&edit, vac->index, false);
			meta = HnswPageGetMeta(page_edit_add(&edit, meta_buf, false));
			HnswPageGetOpaque(page_edit_add(&edit, buf, false))->next = meta->tids_room;
			meta->tids_room = blkno;
			page_edit_commit(&edit);
		}
		page_release(buf);
		page_release(meta_buf);
	}
}

/* Step 4: entries of dead nodes leave the table. */
static void
clean_entries(HnswVacuum *vac)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	BlockNumber blkno = meta->entry_head;
	BlockNumber pages = 0;

	while (blkno != InvalidBlockNumber)
	{
		Buffer		buf;
		Page		page;
		PageEdit	edit;
		HnswLink   *links;
		uint32		n;
		bool		dirty = false;

		VACUUM_DELAY_POINT();
		buf = hnsw_read(vac->index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_ENTRY);
		page = BufferGetPage(buf);
		n = hnsw_entry_count(vac->index, meta, blkno, page);
		if (++pages > RelationGetNumberOfBlocks(vac->index))
			page_corrupted(vac->index, blkno, "The entry table goes round in circles.");

		links = HnswPageEntryLinks(meta, page);
		for (uint32 i = 0; i < n && !dirty; i++)
			dirty = hnsw_vacuum_is_dead(vac, HnswLinkNode(&links[i]));
		if (!dirty)
		{
			blkno = HnswPageGetOpaque(page)->next;
			page_release(buf);
			continue;
		}
		page_edit_begin(&edit, vac->index, false);
		page = page_edit_add(&edit, buf, false);
		links = HnswPageEntryLinks(meta, page);
		for (uint32 i = 0; i < n;)
		{
			if (!hnsw_vacuum_is_dead(vac, HnswLinkNode(&links[i])))
			{
				i++;
				continue;
			}
			/* the last entry takes its place */
			n--;
			links[i] = links[n];
			if (meta->bits > 0)
			{
				uint8	   *codes = HnswPageEntryCodes(meta, page);

				HnswPageEntryFactors(meta, page)[i] = HnswPageEntryFactors(meta, page)[n];
				memmove(codes + i * code_size, codes + n * code_size, code_size);
			}
		}
		HnswPageEntryCount(page) = n;
		page_edit_commit(&edit);
		blkno = HnswPageGetOpaque(BufferGetPage(buf))->next;
		page_release(buf);
	}
}

/* Free a CONT page of this node; returns the next one. */
static BlockNumber
free_cont_page(HnswVacuum *vac, HnswNodeId id, BlockNumber blkno)
{
	Buffer		buf = page_read(vac->index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
	HnswPageOpaque opaque = HnswPageGetOpaque(BufferGetPage(buf));
	BlockNumber next = opaque->next;

	if (opaque->trailer.kind == HNSW_PAGE_CONT &&
		opaque->owner_block == HnswNodeIdBlock(id) && opaque->owner_offset == HnswNodeIdOffset(id))
	{
		PageEdit	edit;

		page_edit_begin(&edit, vac->index, false);
		page_init(page_edit_add(&edit, buf, true), HNSW_SPECIAL_SIZE, VECDB_PAGE_FREE);
		page_edit_commit(&edit);
		page_release(buf);
		RecordFreeIndexPage(vac->index, blkno);
		vac->stats->pages_deleted++;
		vac->stats->pages_free++;
		return next;
	}
	page_release(buf);
	return InvalidBlockNumber;
}

/*
 * Step 4 for one page: free the places of dead nodes.  A page without nodes
 * becomes a free one.
 */
static void
free_places(HnswVacuum *vac, BlockNumber blkno)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	BlockNumber *conts = palloc(sizeof(BlockNumber) * meta->nodes_per_page);
	Buffer		buf = page_read(vac->index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
	Page		page;
	PageEdit	edit;
	int			used = 0;

	page_edit_begin(&edit, vac->index, false);
	page = page_edit_add(&edit, buf, false);
	for (int offset = 1; offset <= meta->nodes_per_page; offset++)
	{
		HnswNode	node = hnsw_node_at(vac->hnsw, page, offset);

		conts[offset - 1] = InvalidBlockNumber;
		if (node == NULL)
			continue;
		if (hnsw_vacuum_is_dead(vac, HnswNodeIdMake(blkno, offset)) && (node->flags & HNSW_NODE_DEAD))
		{
			conts[offset - 1] = node->cont;
			node->flags = 0;
		}
		else
			used++;
	}
	if (used == 0)
		page_init(page, HNSW_SPECIAL_SIZE, VECDB_PAGE_FREE);
	page_edit_commit(&edit);
	page_release(buf);

	if (used == 0)
	{
		RecordFreeIndexPage(vac->index, blkno);
		vac->stats->pages_deleted++;
		vac->stats->pages_free++;
	}
	else
		hnsw_record_room(vac->index, blkno);
	for (int i = 0; i < meta->nodes_per_page; i++)
	{
		BlockNumber cont = conts[i];

		for (int j = 0; j < meta->cont_pages && cont != InvalidBlockNumber; j++)
			cont = free_cont_page(vac, HnswNodeIdMake(blkno, i + 1), cont);
	}
	pfree(conts);
}

/*
 * A crash between the CONT pages of a node and the node leaves pages of nobody.
 * Whoever writes CONT pages holds the node's page until the node is there too.
 */
static void
free_orphan_cont(HnswVacuum *vac, BlockNumber blkno)
{
	PageVerdict verdict;
	Buffer		buf = page_read_any(vac->index, blkno, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE,
									vac->info->strategy, &verdict);
	HnswPageOpaque opaque = HnswPageGetOpaque(BufferGetPage(buf));
	bool		is_cont = verdict == PAGE_OK && opaque->trailer.kind == HNSW_PAGE_CONT;
	HnswNodeId	owner = HnswNodeIdMake(opaque->owner_block, opaque->owner_offset);
	HnswNode	node;
	BlockNumber cont;
	bool		found = false;

	page_release(buf);
	if (!is_cont)
		return;
	/* the node's page may not have reached the disk, nor the file its length */
	if (HnswNodeIdBlock(owner) == blkno || HnswNodeIdBlock(owner) >= RelationGetNumberOfBlocks(vac->index))
	{
		(void) free_cont_page(vac, owner, blkno);
		return;
	}
	buf = page_read_any(vac->index, HnswNodeIdBlock(owner), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE,
						NULL, &verdict);
	node = verdict == PAGE_OK ?
		hnsw_node_at(vac->hnsw, BufferGetPage(buf), HnswNodeIdOffset(owner)) : NULL;
	cont = node ? node->cont : InvalidBlockNumber;
	page_release(buf);

	for (int i = 0; i < vac->hnsw->meta.cont_pages && cont != InvalidBlockNumber && !found; i++)
	{
		found = cont == blkno;
		buf = page_read(vac->index, cont, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
		cont = HnswPageGetOpaque(BufferGetPage(buf))->next;
		page_release(buf);
	}
	if (!found)
		(void) free_cont_page(vac, owner, blkno);
}

IndexBulkDeleteResult *
hnswbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			   IndexBulkDeleteCallback callback, void *callback_state)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw vacuum",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	HnswVacuum *vac;
	BlockNumber nblocks;
	Buffer		buf;
	PageEdit	edit;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	/* these are of this pass; tuples_removed and pages_deleted add up */
	stats->num_index_tuples = 0;
	stats->pages_free = 0;

	old = MemoryContextSwitchTo(context);
	vac = palloc0(sizeof(HnswVacuum));
	vac->info = info;
	vac->index = info->index;
	vac->stats = stats;
	vac->callback = callback;
	vac->callback_state = callback_state;
	vac->insert = hnsw_insert_begin(vac->index, false);
	vac->hnsw = vac->insert->hnsw;
	/* pages added while we go hold only rows that nobody can call dead */
	vac->nblocks = RelationGetNumberOfBlocks(vac->index);
	vac->dead = place_bits(vac);
	vac->chained = place_bits(vac);

	/* 1. mark */
	for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < vac->nblocks; blkno++)
	{
		VACUUM_DELAY_POINT();
		mark_page(vac, blkno);
	}
	for (BlockNumber blkno = HNSW_META_BLOCK + 1; vac->ntids_pages > 0 && blkno < vac->nblocks; blkno++)
		for (int offset = 1; offset <= vac->hnsw->meta.nodes_per_page; offset++)
			if (get_bit(vac, vac->chained, HnswNodeIdMake(blkno, offset)))
				clean_chain(vac, HnswNodeIdMake(blkno, offset));
	if (vac->freed_chunks || (vac->roomy_pages > 0 && room_is_lost(vac)))
		relist_room(vac);

	if (vac->ndead > 0 || vac->has_cont)
	{
		/* 2. wait */
		LockPage(vac->index, HNSW_INSERT_LOCK_BLOCK, ExclusiveLock);
		UnlockPage(vac->index, HNSW_INSERT_LOCK_BLOCK, ExclusiveLock);
	}
	if (vac->ndead > 0)
	{
		/* 3. repair; inserts of before may have added pages */
		nblocks = RelationGetNumberOfBlocks(vac->index);
		for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < nblocks; blkno++)
		{
			VACUUM_DELAY_POINT();
			hnsw_repair_page(vac, blkno);
		}

		/* 4. free */
		clean_entries(vac);
		for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < vac->nblocks; blkno++)
			for (int offset = 1; offset <= vac->hnsw->meta.nodes_per_page; offset++)
				if (get_bit(vac, vac->dead, HnswNodeIdMake(blkno, offset)))
				{
					VACUUM_DELAY_POINT();
					free_places(vac, blkno);
					break;
				}
	}
	if (vac->has_cont)
		for (BlockNumber blkno = HNSW_META_BLOCK + 1; blkno < vac->nblocks; blkno++)
		{
			VACUUM_DELAY_POINT();
			free_orphan_cont(vac, blkno);
		}

	buf = hnsw_read(vac->index, HNSW_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_META);
	page_edit_begin(&edit, vac->index, false);
	{
		HnswMetaPage meta = HnswPageGetMeta(page_edit_add(&edit, buf, false));

		meta->nodes = vac->nodes;
		meta->rows = (uint64) stats->num_index_tuples;
	}
	page_edit_commit(&edit);
	page_release(buf);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return stats;
}

IndexBulkDeleteResult *
hnswvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	if (info->analyze_only)
		return stats;

	/* nothing was deleted: the table knows how many rows there are */
	if (stats == NULL)
	{
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->num_index_tuples = info->num_heap_tuples;
		stats->estimated_count = true;
	}
	IndexFreeSpaceMapVacuum(info->index);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}
