/*-------------------------------------------------------------------------
 *
 * hnsw_tids.c
 *	  The heap TIDs of a node: one lies in the node, further rows with the same
 *	  vector in a chain of chunks, of any length.
 *
 * Locks: the node's page, then a chunk's page.  The chain begins in the node, so
 * whoever adds or unlinks a chunk at its head holds the node's page exclusively;
 * only VACUUM unlinks.  A reader holds one page at a time; a chunk that names
 * another node as its owner has left the chain meanwhile, and the reader begins
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "hnsw/hnsw_private.h"

/* How often a reader may meet a chunk that has left the chain, at one place. */
#define MAX_MISSES			10

static void
add(HnswTids *tids, ItemPointer tid)
{
	if (tids->n == tids->size)
	{
		tids->size = Max(tids->size * 2, 32);
		tids->tids = tids->tids ?
			repalloc_huge(tids->tids, sizeof(ItemPointerData) * tids->size) :
			palloc(sizeof(ItemPointerData) * tids->size);
	}
	tids->tids[tids->n++] = *tid;
}

/* A chunk of this node on a locked page, or NULL. */
HnswChunk
hnsw_chunk_at(Page page, OffsetNumber offset, HnswNodeId owner)
{
	HnswChunk	chunk;

	if (HnswPageKind(page) != HNSW_PAGE_TIDS || offset < 1 || offset > HNSW_CHUNKS_PER_PAGE ||
		((PageHeader) page)->pd_lower != SizeOfPageHeaderData + HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData))
		return NULL;
	chunk = HnswPageGetChunk(page, offset);
	if (chunk->owner_block != HnswNodeIdBlock(owner) ||
		chunk->owner_offset != HnswNodeIdOffset(owner) || chunk->count > HNSW_CHUNK_TIDS)
		return NULL;
	return chunk;
}

/*
 * All TIDs of a node, as its head said when it was visited (tid, chunk_*); tids is
 * emptied first, and grows in the current memory context.
 */
void
hnsw_tids_read(Relation index, const HnswIndex *hnsw, HnswNodeId id, ItemPointer tid,
			   BlockNumber chunk_block, OffsetNumber chunk_offset, HnswTids *tids)
{
	BlockNumber last_missed = InvalidBlockNumber;
	OffsetNumber last_missed_offset = 0;
	int			misses = 0;
	uint64		steps;

again:
	steps = 0;
	tids->n = 0;
	if (ItemPointerIsValid(tid))
		add(tids, tid);
	while (chunk_offset != 0)
	{
		Buffer		buf;
		HnswChunk	chunk;

		CHECK_FOR_INTERRUPTS();
		buf = page_read(index, chunk_block, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
		chunk = hnsw_chunk_at(BufferGetPage(buf), chunk_offset, id);
		if (chunk == NULL)
		{
			HnswNode	node;
			BlockNumber missed = chunk_block;
			OffsetNumber missed_offset = chunk_offset;

			/* it left the chain: read the head again, if that is still there */
			page_release(buf);
			buf = page_read(index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
			node = hnsw_node_at(hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
			if (node == NULL)
			{
				page_release(buf);
				return;
			}
			*tid = node->tid;
			chunk_block = node->chunk_block;
			chunk_offset = node->chunk_offset;
			page_release(buf);
			/*
			 * A chunk that left the chain may be in it again, as the first
			 * one, when an insert took it in between; but not again and
			 * again.
			 */
			misses = missed == last_missed && missed_offset == last_missed_offset ? misses + 1 : 1;
			if (misses > MAX_MISSES)
				page_corrupted(index, HnswNodeIdBlock(id),
							   "The chain of node %u leads to (%u,%u), which is not its own.",
							   HnswNodeIdOffset(id), missed, missed_offset);
			last_missed = missed;
			last_missed_offset = missed_offset;
			goto again;
		}
		for (int i = 0; i < chunk->count; i++)
			add(tids, &chunk->tids[i]);
		chunk_block = chunk->next_block;
		chunk_offset = chunk->next_offset;
		page_release(buf);
		if (++steps > (uint64) RelationGetNumberOfBlocks(index) * HNSW_CHUNKS_PER_PAGE)
			page_corrupted(index, HnswNodeIdBlock(id), "The chunks of node %u go round in circles.",
						   HnswNodeIdOffset(id));
	}

	/* a chunk that was freed behind us may have become the node's first one */
	if (steps > 0)
	{
		uint32		kept = 0;

		qsort(tids->tids, tids->n, sizeof(ItemPointerData), heap_cmp_tid);
		for (uint32 i = 0; i < tids->n; i++)
			if (kept == 0 || heap_cmp_tid(&tids->tids[kept - 1], &tids->tids[i]) != 0)
				tids->tids[kept++] = tids->tids[i];
		tids->n = kept;
	}
}

/*
 * Give the node a new first chunk that holds tid.  Node page exclusively locked;
 * the metapage is locked meanwhile, then a TIDS page.
 */
static void
add_chunk(Relation index, const HnswMetaPageData *layout, Buffer node_buf,
		  OffsetNumber offset, ItemPointer tid, bool building)
{
	Buffer		meta_buf = hnsw_read(index, HNSW_META_BLOCK, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_META);
	Buffer		buf = InvalidBuffer;
	OffsetNumber place = 0;
	bool		fresh = false;
	PageEdit	edit;
	Page		page;
	HnswNode	node;
	HnswChunk	chunk;
	BlockNumber block;
	BlockNumber steps = 0;

	while ((block = HnswPageGetMeta(BufferGetPage(meta_buf))->tids_room) != InvalidBlockNumber)
	{
		BlockNumber next;

		/* a lock of ours, waited for, would never come */
		if (block == BufferGetBlockNumber(node_buf) || block == HNSW_META_BLOCK)
			page_corrupted(index, HNSW_META_BLOCK, "Block %u is said to have room for TIDs.", block);
		buf = hnsw_read(index, block, BUFFER_LOCK_EXCLUSIVE, HNSW_PAGE_TIDS);
		page = BufferGetPage(buf);
		if (((PageHeader) page)->pd_lower != SizeOfPageHeaderData + HNSW_CHUNKS_PER_PAGE * sizeof(HnswChunkData))
			page_corrupted(index, block, "The page of TIDs has the wrong length.");
		for (int i = 1; i <= HNSW_CHUNKS_PER_PAGE && place == 0; i++)
			if (HnswPageGetChunk(page, i)->owner_block == InvalidBlockNumber)
				place = i;
		if (place != 0)
			break;

		/* it is full: the next one */
		next = HnswPageGetOpaque(page)->next;
		if (next == block || ++steps > RelationGetNumberOfBlocks(index))
			page_corrupted(index, block, "The list of pages with room for TIDs goes round in circles.");
		page_release(buf);
		buf = InvalidBuffer;
		page_edit_begin(&edit, index, building);
		HnswPageGetMeta(page_edit_add(&edit, meta_buf, false))->tids_room = next;
		page_edit_commit(&edit);
	}
	if (buf == InvalidBuffer)
	{
		buf = page_new(index, MAIN_FORKNUM, HNSW_SPECIAL_SIZE, building);
		place = 1;
		fresh = true;
	}
	block = BufferGetBlockNumber(buf);

	page_edit_begin(&edit, index, building);
	page = page_edit_add(&edit, node_buf, false);
	node = HnswPageGetNode(layout, page, offset);
	page = page_edit_add(&edit, buf, fresh);
	if (fresh)
	{
		hnsw_page_init(page, HNSW_PAGE_TIDS, layout);
		HnswPageGetMeta(page_edit_add(&edit, meta_buf, false))->tids_room = block;
	}
	chunk = HnswPageGetChunk(page, place);
	chunk->owner_block = BufferGetBlockNumber(node_buf);
	chunk->owner_offset = offset;
	chunk->count = 1;
	chunk->next_block = node->chunk_block;
	chunk->next_offset = node->chunk_offset;
	chunk->tids[0] = *tid;
	node->chunk_block = block;
	node->chunk_offset = place;
	page_edit_commit(&edit);
	page_release(buf);
	page_release(meta_buf);
}

/*
 * Add a heap TID to a node; its page is exclusively locked, stays so, and must
 * hold the node.
 */
void
hnsw_tids_add(Relation index, const HnswMetaPageData *layout, Buffer node_buf,
			  OffsetNumber offset, ItemPointer tid, bool building)
{
	HnswNode	node = HnswPageGetNode(layout, BufferGetPage(node_buf), offset);
	BlockNumber node_block = BufferGetBlockNumber(node_buf);
	PageEdit	edit;

	if (!ItemPointerIsValid(&node->tid))
	{
		page_edit_begin(&edit, index, building);
		node = HnswPageGetNode(layout, page_edit_add(&edit, node_buf, false), offset);
		node->tid = *tid;
		page_edit_commit(&edit);
		return;
	}

	if (node->chunk_offset != 0)
	{
		Buffer		buf;
		HnswChunk	chunk;

		if (node->chunk_block == node_block)
			page_corrupted(index, node_block, "Node %u has a chunk on its own page.", offset);
		buf = page_read(index, node->chunk_block, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		chunk = hnsw_chunk_at(BufferGetPage(buf), node->chunk_offset, HnswNodeIdMake(node_block, offset));
		if (chunk == NULL)
			page_corrupted(index, node_block,
						   "Node %u has its first chunk at (%u,%u), which is not its own.",
						   offset, node->chunk_block, node->chunk_offset);
		if (chunk->count < HNSW_CHUNK_TIDS)
		{
			page_edit_begin(&edit, index, building);
			chunk = HnswPageGetChunk(page_edit_add(&edit, buf, false), node->chunk_offset);
			chunk->tids[chunk->count++] = *tid;
			page_edit_commit(&edit);
			page_release(buf);
			return;
		}
		page_release(buf);
	}
	add_chunk(index, layout, node_buf, offset, tid, building);
}
