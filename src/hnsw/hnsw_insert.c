/*-------------------------------------------------------------------------
 *
 * hnsw_insert.c
 *	  hnswinsert: one row into the graph.
 *
 * A search for the value finds candidates; the alpha rule (graph/prune.h) chooses
 * its neighbours among them; then
 *
 *	1.	the node is written, with all its links: nobody can find it yet;
 *	2.	its protected in-edge is written into the nearest neighbour that has
 *		room for one; or, where none has, the node becomes an entry.  From now
 *		on it can be found, and always will;
 *	3.	other neighbours get links back, up to four in a record: those that the rule
 *		chose, and the nearest.
 *
 * A crash or an error after any record leaves a sound index: after 1 a node that
 * nobody can find, whose row is dead then, too, since its transaction never
 * committed; after 2 one that has fewer in-edges than it might.
 *
 * A row whose stored vector equals that of a node found joins that node
 * (hnsw_tids.c).
 *
 * Locks: a shared heavyweight lock on page HNSW_INSERT_LOCK_BLOCK from before the
 * search until the last link, so that VACUUM, which takes it exclusively for a
 * moment after it has marked dead nodes, knows that nobody is about to link to
 * them; buffer locks one page at a time (with a node's page, those of its TIDs
 * or of its own vector), but of the owners of links back up to four, in the order of
 * their blocks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/freespace.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "graph/prune.h"
#include "hnsw/hnsw_private.h"
#include "kernel/kernel.h"
#include "quant/random.h"

/* In the free-space map: a page with a free place for a node. */
#define FSM_ROOM			(BLCKSZ / 4)
/* Memory of the search; more than any ef_construction needs. */
#define SEARCH_BYTES		(64 * 1024 * 1024)
/* a full list is not pruned to fewer: README.md, As good as a build */
#define ENOUGH_LINKS(slots) ((slots) * 7 / 8)
/* where the alpha rule leaves fewer links back, the nearest neighbours make up for it: README.md, What an insert logs */
#define ENOUGH_BACK(slots)	((slots) / 4)

/* In the current memory context. */
HnswInsert *
hnsw_insert_begin(Relation index, bool building)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw insert",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	HnswInsert *insert = palloc0(sizeof(HnswInsert));
	const HnswIndex *hnsw = hnsw_open(index);

	insert->index = index;
	insert->building = building;
	insert->context = context;
	insert->row_context = AllocSetContextCreate(context, "hnsw insert row",
												ALLOCSET_DEFAULT_SIZES);
	/* the relation's may go meanwhile */
	insert->hnsw = palloc(hnsw_index_size(&hnsw->meta));
	hnsw_index_copy(insert->hnsw, hnsw);
	/* as good as a build with ef_construction: README.md, As good as a build */
	insert->ef = hnsw_option_ef_construction(index) * 3 / 2;
	hnsw_query_alloc(insert->hnsw, &insert->query);
	hnsw_value_alloc(insert->hnsw, &insert->value);
	if (insert->hnsw->meta.bits > 0)
		insert->owner.mem = (void *) TYPEALIGN(64, palloc(rabitq_query_size(insert->hnsw->meta.code_dims) + 64));
	hnsw_reader_init(&insert->reader, index, insert->hnsw, &insert->query, SEARCH_BYTES, true);
	/* many dead nodes, on their way out, must not hold up an insert */
	insert->reader.visit_limit = 20 * insert->ef + 1000;
	MemoryContextSwitchTo(old);
	return insert;
}

void
hnsw_insert_end(HnswInsert *insert)
{
	MemoryContextDelete(insert->context);
}

static int
candidate_cmp(const void *pa, const void *pb)
{
	const HnswCandidate *a = pa;
	const HnswCandidate *b = pb;

	if (a->distance != b->distance)
		return a->distance < b->distance ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

/*
 * Search, and leave insert->query prepared for the value.  Returns candidates,
 * nearest first; or, unless same is NULL, a node whose stored vector equals the
 * value, in *same (else 0).
 */
HnswCandidate *
hnsw_insert_search(HnswInsert *insert, const HnswValue *value, int *n, HnswNodeId *same)
{
	HnswReader *reader = &insert->reader;
	int			padded = insert->hnsw->meta.padded;
	GraphEffort effort = {0};
	HnswCandidate *candidates = palloc(sizeof(HnswCandidate) * insert->ef);
	uint64		node;
	uint32		ordinal;
	float		distance;
	bool		ordered;

	*n = 0;
	if (same)
		*same = 0;
	hnsw_query_from_value(&insert->query, value);
	effort.ef = insert->ef;
	hnsw_reader_start(reader, &effort);
	while (*n < insert->ef &&
		   graph_search_next(reader->search, &node, &ordinal, &distance, &ordered))
	{
		const uint16 *own = reader->own + (Size) ordinal * padded;
		HnswCandidate *candidate = &candidates[*n];

		if (same && reader->visits[ordinal].scale == value->scale &&
			memcmp(own, value->half, sizeof(uint16) * padded) == 0)
		{
			*same = node;
			return candidates;
		}
		candidate->node = node;
		candidate->rank = reader->visits[ordinal].rank;
		candidate->x = palloc(sizeof(float) * padded);
		kernel->half_unpack(own, reader->visits[ordinal].scale, padded, candidate->x);
		candidate->distance = kernel->l2sq(value->x, candidate->x, padded);
		(*n)++;
	}
	qsort(candidates, *n, sizeof(HnswCandidate), candidate_cmp);
	return candidates;
}

typedef struct PairArg
{
	HnswCandidate *candidates;
	int			padded;
} PairArg;

static float
pair_distance(void *arg, int a, int b)
{
	PairArg    *pair = arg;

	return kernel->l2sq(pair->candidates[a].x, pair->candidates[b].x, pair->padded);
}

/* Join a node with the same vector.  False: it is gone, search again. */
static bool
join_node(HnswInsert *insert, HnswNodeId id, const HnswValue *value, ItemPointer tid)
{
	Relation	index = insert->index;
	const HnswIndex *hnsw = insert->hnsw;
	OffsetNumber offset = HnswNodeIdOffset(id);
	Buffer		buf = page_read(index, HnswNodeIdBlock(id), BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
	HnswNode	node = hnsw_node_at(hnsw, BufferGetPage(buf), offset);
	bool		ok;

	/*
	 * VACUUM may have found it dead since; it cannot have freed it while we
	 * hold the insert lock, so it still is the node with this vector.
	 */
	ok = node != NULL && (node->flags & HNSW_NODE_LIVE) != 0 &&
		(hnsw->meta.cont_pages > 0 ||
		 (node->scale == value->scale &&
		  memcmp(node->own, value->half, sizeof(uint16) * hnsw->meta.padded) == 0));
	if (ok)
	{
		if (value->error > node->error)
		{
			PageEdit	edit;
			Page		page;

			page_edit_begin(&edit, index, insert->building);
			page = page_edit_add(&edit, buf, false);
			HnswPageGetNode(&hnsw->meta, page, offset)->error = value->error;
			page_edit_commit(&edit);
		}
		hnsw_tids_add(index, &hnsw->meta, buf, offset, tid, insert->building);
	}
	page_release(buf);
	return ok;
}

/* A free place of a NODE page, from 1; 0: none. */
static OffsetNumber
free_place(const HnswMetaPageData *meta, Page page)
{
	for (int i = 1; i <= meta->nodes_per_page; i++)
		if ((HnswPageGetNode(meta, page, i)->flags & (HNSW_NODE_LIVE | HNSW_NODE_DEAD)) == 0)
			return i;
	return 0;
}

/* Let inserts know that a page has a free place. */
void
hnsw_record_room(Relation index, BlockNumber blkno)
{
	RecordPageWithFreeSpace(index, blkno, FSM_ROOM);
}

/* An exclusively locked page with a free place; fresh: it must be formatted. */
static Buffer
find_place(HnswInsert *insert, OffsetNumber *place, bool *fresh)
{
	Relation	index = insert->index;
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	BlockNumber blkno = RelationGetTargetBlock(index);
	Buffer		buf;

	*fresh = false;
	if (blkno == InvalidBlockNumber && !insert->building)
		blkno = GetPageWithFreeSpace(index, FSM_ROOM);
	while (blkno != InvalidBlockNumber)
	{
		PageVerdict verdict;

		CHECK_FOR_INTERRUPTS();
		/* a crash may leave the map ahead of the file */
		if (blkno < RelationGetNumberOfBlocks(index))
		{
			Page		page;

			buf = page_read_any(index, blkno, BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE,
								NULL, &verdict);
			page = BufferGetPage(buf);
			if (verdict == PAGE_OK && HnswPageKind(page) == HNSW_PAGE_NODE)
			{
				*place = free_place(meta, page);
				if (*place != 0)
				{
					RelationSetTargetBlock(index, blkno);
					return buf;
				}
			}
			else if (!insert->building && blkno != HNSW_META_BLOCK &&
					 (verdict == PAGE_ZERO ||
					  (verdict == PAGE_OK && HnswPageKind(page) == VECDB_PAGE_FREE)))
			{
				*place = 1;
				*fresh = true;
				RelationSetTargetBlock(index, blkno);
				/* CONT pages are looked for while this one is locked */
				RecordUsedIndexPage(index, blkno);
				return buf;
			}
			page_release(buf);
		}
		blkno = insert->building ? InvalidBlockNumber :
			RecordAndGetPageWithFreeSpace(index, blkno, 0, FSM_ROOM);
	}

	buf = page_new(index, MAIN_FORKNUM, HNSW_SPECIAL_SIZE, insert->building);
	*place = 1;
	*fresh = true;
	RelationSetTargetBlock(index, BufferGetBlockNumber(buf));
	return buf;
}

/*
 * Write the own vector to CONT pages, the last one first.  Returns the first.
 * The node's page is locked meanwhile; nobody waits for it who holds one of
 * these.
 */
static BlockNumber
write_own(HnswInsert *insert, HnswNodeId id, const uint16 *half)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	BlockNumber next = InvalidBlockNumber;

	for (int i = meta->cont_pages - 1; i >= 0; i--)
	{
		int			first = i * HNSW_CONT_HALVES;
		int			n = Min((int) meta->padded - first, HNSW_CONT_HALVES);
		Buffer		buf = page_new(insert->index, MAIN_FORKNUM, HNSW_SPECIAL_SIZE, insert->building);
		PageEdit	edit;
		Page		page;

		page_edit_begin(&edit, insert->index, insert->building);
		page = page_edit_add(&edit, buf, true);
		hnsw_page_init(page, HNSW_PAGE_CONT, meta);
		memcpy(HnswPageContent(page), half + first, n * sizeof(uint16));
		HnswPageSetUsed(page, n * sizeof(uint16));
		HnswPageGetOpaque(page)->next = next;
		HnswPageGetOpaque(page)->owner_block = HnswNodeIdBlock(id);
		HnswPageGetOpaque(page)->owner_offset = HnswNodeIdOffset(id);
		page_edit_commit(&edit);
		next = BufferGetBlockNumber(buf);
		page_release(buf);
	}
	return next;
}

/* Step 1: write the node.  Returns its number. */
static HnswNodeId
write_node(HnswInsert *insert, const HnswValue *value, ItemPointer tid,
		   const HnswCandidate *candidates, const int *chosen, int nchosen,
		   uint32 rank)
{
	const HnswIndex *hnsw = insert->hnsw;
	const HnswMetaPageData *meta = &hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	HnswNode	image = palloc0(meta->node_size);
	RabitqFactor *factors = HnswNodeFactors(meta, image);
	HnswLink   *links = HnswNodeLinks(meta, image);
	uint8	   *codes = HnswNodeCodes(meta, image);
	PageEdit	edit;
	Page		page;
	Buffer		buf;
	OffsetNumber place;
	bool		fresh;
	HnswNodeId	id;

	image->tid = *tid;
	image->flags = HNSW_NODE_LIVE;
	image->rank = rank;
	image->neighbours = nchosen;
	image->scale = value->scale;
	image->error = value->error;
	image->norm = value->norm;
	image->chunk_block = InvalidBlockNumber;
	image->cont = InvalidBlockNumber;
	if (meta->cont_pages == 0)
		memcpy(image->own, value->half, sizeof(uint16) * meta->padded);
	for (int i = 0; i < nchosen; i++)
	{
		const HnswCandidate *candidate = &candidates[chosen[i]];

		HnswLinkSet(&links[i], candidate->node, false);
		if (meta->bits > 0)
			rabitq_encode(candidate->x, value->x, hnsw->mean_rotated, meta->padded,
						  meta->code_dims, meta->bits, hnsw->form,
						  codes + i * code_size, &factors[i]);
	}

	buf = find_place(insert, &place, &fresh);
	id = HnswNodeIdMake(BufferGetBlockNumber(buf), place);
	if (meta->cont_pages > 0)
		image->cont = write_own(insert, id, value->half);
	page_edit_begin(&edit, insert->index, insert->building);
	page = page_edit_add(&edit, buf, fresh);
	if (fresh)
		hnsw_page_init(page, HNSW_PAGE_NODE, meta);
	memcpy(HnswPageGetNode(meta, page, place), image, HnswNodeLength(meta, nchosen));
	HnswPageCoverNode(meta, page, place);
	page_edit_commit(&edit);
	page_release(buf);
	if (fresh && meta->nodes_per_page > 1 && !insert->building)
	{
		/*
		 * up to the root of the map, too: or each new connection would begin
		 * a page
		 */
		hnsw_record_room(insert->index, HnswNodeIdBlock(id));
		FreeSpaceMapVacuumRange(insert->index, HnswNodeIdBlock(id), HnswNodeIdBlock(id) + 1);
	}
	pfree(image);
	return id;
}

/*
 * Prepare for hnsw_insert_owner_distances(): x is the own vector of the node
 * whose neighbours are looked at.
 */
void
hnsw_insert_owner(HnswInsert *insert, const float *x)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;

	if (meta->bits > 0)
		rabitq_query_prepare(&insert->owner, x, meta->code_dims, meta->bits, insert->owner.mem);
}

/*
 * Distances of a node to its neighbours, from its codes: estimates for itself as the
 * query.  (The factors hold them exactly, but taking them apart in float costs more
 * than all the rest of an insert.)
 */
void
hnsw_insert_owner_distances(HnswInsert *insert, HnswNode node, float *distances)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;

	rabitq_estimate(&insert->owner, 0, HnswNodeCodes(meta, node), HnswNodeFactors(meta, node),
					node->neighbours, distances);
}

/* A full node's neighbours and the value, nearest to the node first. */
typedef struct LinkChoice
{
	const HnswMetaPageData *meta;
	const uint8 *codes;
	int			n;				/* neighbours; number n is the value */
	const float *to_owner;		/* by number */
	const float *to_value;
	int			order[HNSW_MAX_SLOTS + 1];	/* numbers */
} LinkChoice;

/* graph_prune() asks: the squared distance of two of them, from their codes. */
static float
link_distance(void *arg, int pa, int pb)
{
	LinkChoice *choice = arg;
	int			a = choice->order[pa];
	int			b = choice->order[pb];
	Size		code_size = hnsw_code_size(choice->meta);
	float		d;

	if (a == choice->n)
		return choice->to_value[b];
	if (b == choice->n)
		return choice->to_value[a];
	d = choice->to_owner[a] + choice->to_owner[b] -
		2 * sqrtf(choice->to_owner[a] * choice->to_owner[b]) *
		rabitq_code_cosine(choice->codes + a * code_size, choice->codes + b * code_size,
						   choice->meta->code_dims, choice->meta->bits);
	return Max(d, 0);
}

/*
 * Which link of a full node gives way to one to the value; -1: none, it need not
 * come.  must: it has to.
 *
 * The alpha rule over all of them, as a build applies it to a list that
 * overflows, with the distances that the codes tell; ENOUGH_LINKS stay, and what is
 * protected.  Of those that would not, the farthest gives way, and it alone: a link
 * that stays costs nothing before another needs its place, while one that moved to fill
 * a gap would be logged again.
 */
static int
choose_victim(HnswInsert *insert, HnswNode node, const HnswCandidate *owner, bool must)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	const HnswLink *links = HnswNodeLinks(meta, node);
	int			n = node->neighbours;
	float		to_owner[HNSW_MAX_SLOTS + 1];
	float		to_value[HNSW_MAX_SLOTS];
	float		distances[HNSW_MAX_SLOTS + 1];
	bool		musts[HNSW_MAX_SLOTS + 1];
	int			chosen[HNSW_MAX_SLOTS + 1];
	LinkChoice	choice = {meta, HnswNodeCodes(meta, node), n, to_owner, to_value};
	int			nchosen;
	int			victim = -1;
	bool		comes = false;

	rabitq_estimate(&insert->query.codes, owner->distance, choice.codes,
					HnswNodeFactors(meta, node), n, to_value);
	hnsw_insert_owner(insert, owner->x);
	hnsw_insert_owner_distances(insert, node, to_owner);
	to_owner[n] = owner->distance;
	for (int i = 0; i <= n; i++)
	{
		int			at = i;

		to_owner[i] = Max(to_owner[i], 0);
		for (; at > 0 && to_owner[choice.order[at - 1]] > to_owner[i]; at--)
			choice.order[at] = choice.order[at - 1];
		choice.order[at] = i;
	}
	for (int i = 0; i <= n; i++)
	{
		int			number = choice.order[i];

		distances[i] = to_owner[number];
		musts[i] = number < n ? HnswLinkIsProtected(&links[number]) : must;
	}
	nchosen = graph_prune(n + 1, distances, musts, meta->slots, HNSW_ALPHA, false,
						  link_distance, &choice, chosen);
	nchosen = graph_fill_up(n + 1, chosen, nchosen, ENOUGH_LINKS(meta->slots));

	/* chosen is ascending: the last that is not among them */
	for (int i = n, left = nchosen; i >= 0; i--)
	{
		if (left > 0 && chosen[left - 1] == i)
		{
			left--;
			comes |= choice.order[i] == n;
		}
		else if (victim < 0 && choice.order[i] < n)
			victim = choice.order[i];
	}
	return comes ? victim : -1;
}

/*
 * Without codes: which link makes room; -1: none should.  The neighbours' vectors are
 * read, nothing is locked meanwhile.  links: a copy of the node's.
 *
 * By the alpha rule a neighbour that the value is much nearer to than the node
 * is can be reached through the value: the farthest such goes.  Failing that, a
 * value that can be reached through a neighbour of the node needs no link.
 * Otherwise the farthest neighbour gives way, if it is farther than the value.
 */
static int
choose_victim_by_vectors(HnswInsert *insert, const HnswLink *links, int n,
						 const HnswValue *value, const HnswCandidate *owner, bool must)
{
	const HnswIndex *hnsw = insert->hnsw;
	int			padded = hnsw->meta.padded;
	uint16	   *half = palloc(sizeof(uint16) * padded);
	float	   *x = palloc(sizeof(float) * padded);
	int			farthest = -1;
	float		farthest_distance = -INFINITY;
	int			occluded = -1;
	float		occluded_distance = -INFINITY;
	bool		redundant = false;

	for (int i = 0; i < n; i++)
	{
		HnswNodeId	id = HnswLinkNode(&links[i]);
		Buffer		buf;
		HnswNode	node;
		float		scale = 0;
		float		d;
		float		to_value;
		BlockNumber cont = InvalidBlockNumber;

		CHECK_FOR_INTERRUPTS();
		buf = page_read(insert->index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
		node = hnsw_node_at(hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
		if (node)
		{
			scale = node->scale;
			cont = node->cont;
			if (hnsw->meta.cont_pages == 0)
				memcpy(half, node->own, sizeof(uint16) * padded);
		}
		page_release(buf);
		if (node == NULL)
			return i;			/* leads nowhere */
		if (hnsw->meta.cont_pages > 0)
			hnsw_read_own(insert->index, hnsw, id, cont, half);
		kernel->half_unpack(half, scale, padded, x);
		d = kernel->l2sq(owner->x, x, padded);
		to_value = kernel->l2sq(value->x, x, padded);

		if (d < owner->distance && HNSW_ALPHA * to_value <= owner->distance)
			redundant = true;
		if (HnswLinkIsProtected(&links[i]))
			continue;
		if (d > farthest_distance)
		{
			farthest = i;
			farthest_distance = d;
		}
		if (d > owner->distance && HNSW_ALPHA * to_value <= d && d > occluded_distance)
		{
			occluded = i;
			occluded_distance = d;
		}
	}
	pfree(half);
	pfree(x);
	if (occluded >= 0)
		return occluded;
	if (must)
		return farthest;
	return !redundant && farthest_distance > owner->distance ? farthest : -1;
}

/* A link on its way into its owner. */
typedef struct NewLink
{
	const HnswCandidate *owner;
	HnswNodeId	node;			/* leads to */
	bool		is_protected;
	RabitqFactor factor;
	uint8	   *code;
	Buffer		buf;			/* the owner's page, exclusively locked */
	int			place;			/* among the owner's links */
} NewLink;

/* What find_room() says of the owner. */
typedef enum Room
{
	ROOM_FOUND,
	ROOM_NOT_NEEDED,			/* linked already, or not worth another's
								 * place */
	ROOM_REFUSED,				/* dead, or too many protected links */
	ROOM_BY_VECTORS				/* full, and no codes to choose a victim by */
} Room;

/* A link to a value, with its code and factor. */
static void
form_link(HnswInsert *insert, HnswNodeId id, const HnswValue *value,
		  const HnswCandidate *owner, bool protect, NewLink *link)
{
	const HnswIndex *hnsw = insert->hnsw;
	const HnswMetaPageData *meta = &hnsw->meta;

	memset(link, 0, sizeof(*link));
	link->owner = owner;
	link->node = id;
	link->is_protected = protect;
	if (meta->bits > 0)
	{
		link->code = palloc(hnsw_code_size(meta));
		rabitq_encode(value->x, owner->x, hnsw->mean_rotated, meta->padded,
					  meta->code_dims, meta->bits, hnsw->form, link->code, &link->factor);
	}
}

/* Look for the link's place in its owner, whose page is locked. */
static Room
find_room(HnswInsert *insert, NewLink *link)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	HnswNode	node = hnsw_node_at(insert->hnsw, BufferGetPage(link->buf),
									HnswNodeIdOffset(link->owner->node));
	HnswLink   *links;
	int			nprotected = 0;

	if (node == NULL || (node->flags & HNSW_NODE_LIVE) == 0)
		return ROOM_REFUSED;
	links = HnswNodeLinks(meta, node);
	link->place = -1;
	for (int i = 0; i < node->neighbours; i++)
	{
		nprotected += HnswLinkIsProtected(&links[i]);
		if (HnswLinkNode(&links[i]) == link->node)
			link->place = i;
	}
	if (link->place >= 0 &&
		(!link->is_protected || HnswLinkIsProtected(&links[link->place])))
		return ROOM_NOT_NEEDED;
	if (link->is_protected && nprotected >= meta->slots / 2)
		return ROOM_REFUSED;

	if (link->place >= 0)
		return ROOM_FOUND;
	if (node->neighbours < meta->slots)
	{
		link->place = node->neighbours;
		return ROOM_FOUND;
	}
	if (meta->bits == 0)
		return ROOM_BY_VECTORS;
	link->place = choose_victim(insert, node, link->owner, link->is_protected);
	if (link->place >= 0)
		return ROOM_FOUND;
	return link->is_protected ? ROOM_REFUSED : ROOM_NOT_NEEDED;
}

/* Write links to where there is room for them, each in a page of its own; unlock. */
static void
write_links(HnswInsert *insert, const NewLink *new_links, int n)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	PageEdit	edit;

	page_edit_begin(&edit, insert->index, insert->building);
	for (int i = 0; i < n; i++)
	{
		const NewLink *link = &new_links[i];
		OffsetNumber offset = HnswNodeIdOffset(link->owner->node);
		Page		page = page_edit_add(&edit, link->buf, false);
		HnswNode	node = HnswPageGetNode(meta, page, offset);

		HnswLinkSet(&HnswNodeLinks(meta, node)[link->place], link->node, link->is_protected);
		if (meta->bits > 0)
		{
			HnswNodeFactors(meta, node)[link->place] = link->factor;
			memcpy(HnswNodeCodes(meta, node) + link->place * code_size, link->code, code_size);
		}
		if (link->place == node->neighbours)
		{
			node->neighbours++;
			HnswPageCoverNode(meta, page, offset);
		}
	}
	page_edit_commit(&edit);
	for (int i = 0; i < n; i++)
		page_release(new_links[i].buf);
}

static void
lock_owner(HnswInsert *insert, NewLink *link)
{
	link->buf = page_read(insert->index, HnswNodeIdBlock(link->owner->node), BUFFER_LOCK_EXCLUSIVE,
						  HNSW_SPECIAL_SIZE);
}

/*
 * Steps 2 and 3: write a link to a node of this value, for which insert->query is
 * prepared, into a neighbour, the owner.  protect: as its protected in-edge, whose
 * rank the caller has compared.  False when that was not possible: the owner died,
 * or has too many protected links.  (An ordinary link that the owner does not
 * want is no failure.)
 */
bool
hnsw_insert_link(HnswInsert *insert, HnswNodeId id, const HnswValue *value,
				 const HnswCandidate *owner, bool protect)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	HnswLink   *seen = NULL;
	int			victim = -1;
	NewLink		link;
	Room		room;

	form_link(insert, id, value, owner, protect, &link);
	for (;;)
	{
		const HnswLink *links;

		lock_owner(insert, &link);
		room = find_room(insert, &link);
		if (room != ROOM_BY_VECTORS)
			break;

		links = HnswNodeLinks(meta, HnswPageGetNode(meta, BufferGetPage(link.buf),
													HnswNodeIdOffset(owner->node)));
		if (seen && memcmp(seen, links, sizeof(HnswLink) * meta->slots) == 0)
		{
			link.place = victim;
			room = ROOM_FOUND;
			break;
		}
		/* look at the neighbours without the lock, then come back */
		if (seen == NULL)
			seen = palloc(sizeof(HnswLink) * meta->slots);
		memcpy(seen, links, sizeof(HnswLink) * meta->slots);
		page_release(link.buf);
		victim = choose_victim_by_vectors(insert, seen, meta->slots, value, owner, protect);
		if (victim < 0)
			return !protect;
	}
	if (room == ROOM_FOUND)
		write_links(insert, &link, 1);
	else
		page_release(link.buf);
	return room != ROOM_REFUSED;
}

static int
owner_cmp(const void *pa, const void *pb)
{
	HnswNodeId	a = (*(const HnswCandidate *const *) pa)->node;
	HnswNodeId	b = (*(const HnswCandidate *const *) pb)->node;

	return a < b ? -1 : a > b;
}

/*
 * Step 3: ordinary links into several owners, which are sorted.  As many pages as
 * a record takes are changed together: a fifth less to log than one by one.  They
 * are locked in the order of their blocks, so that inserts wait for each other and
 * not in a circle.
 */
static void
link_back(HnswInsert *insert, HnswNodeId id, const HnswValue *value,
		  const HnswCandidate **owners, int n)
{
	NewLink		group[MAX_GENERIC_XLOG_PAGES];
	int			ngroup = 0;
	BlockNumber last = InvalidBlockNumber;

	if (insert->hnsw->meta.bits == 0)
	{
		/* to choose a victim, pages are read: no other may be locked */
		for (int i = 0; i < n; i++)
			(void) hnsw_insert_link(insert, id, value, owners[i], false);
		return;
	}

	qsort(owners, n, sizeof(*owners), owner_cmp);
	for (int i = 0; i < n; i++)
	{
		NewLink    *link;

		if (ngroup == lengthof(group) ||
			(ngroup > 0 && HnswNodeIdBlock(owners[i]->node) == last))
		{
			write_links(insert, group, ngroup);
			ngroup = 0;
		}
		link = &group[ngroup];
		form_link(insert, id, value, owners[i], false, link);
		lock_owner(insert, link);
		if (find_room(insert, link) == ROOM_FOUND)
		{
			ngroup++;
			last = HnswNodeIdBlock(owners[i]->node);
		}
		else
			page_release(link->buf);
	}
	if (ngroup > 0)
		write_links(insert, group, ngroup);
}

/*
 * Make a node of this value an entry: in the table first, so that a crash leaves
 * no root that is not there.
 */
void
hnsw_insert_entry(HnswInsert *insert, HnswNodeId id, const HnswValue *value)
{
	Buffer		buf;
	PageEdit	edit;
	Page		page;

	hnsw_entry_add(insert->index, insert->hnsw, id, value, insert->building);
	buf = page_read(insert->index, HnswNodeIdBlock(id), BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
	page_edit_begin(&edit, insert->index, insert->building);
	page = page_edit_add(&edit, buf, false);
	HnswPageGetNode(&insert->hnsw->meta, page, HnswNodeIdOffset(id))->flags |= HNSW_NODE_ENTRY;
	page_edit_commit(&edit);
	page_release(buf);
}

/*
 * Shall this node be an entry, so that their number keeps up with that of the
 * nodes?  hnsw_entry_target() grows by 1 / sqrt(nodes) with each.
 */
static bool
entry_wanted(HnswInsert *insert)
{
	static uint64 random = 0;
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	double		nodes = (double) RelationGetNumberOfBlocks(insert->index) * meta->nodes_per_page;

	if (random == 0)
		random = MyProcPid;
	return meta->bits > 0 && nodes < 8192.0 * 8192.0 / 4 &&
		(random_next(&random) >> 11) * 0x1.0p-53 * sqrt(nodes) < 1;
}

/* Insert a formed value; returns its node, which may have been there. */
HnswNodeId
hnsw_insert_value(HnswInsert *insert, const HnswValue *value, ItemPointer tid)
{
	const HnswMetaPageData *meta = &insert->hnsw->meta;
	MemoryContext old;
	HnswCandidate *candidates;
	PairArg		pair;
	float	   *distances;
	int		   *chosen;
	int			n;
	int		   *back;
	int			nchosen;
	int			nback;
	int			anchor;
	const HnswCandidate **owners;
	int			nowners = 0;
	uint32		rank = 0;
	HnswNodeId	same;
	HnswNodeId	id;

	if (!insert->building)
		LockPage(insert->index, HNSW_INSERT_LOCK_BLOCK, ShareLock);
	old = MemoryContextSwitchTo(insert->row_context);

	for (;;)
	{
		candidates = hnsw_insert_search(insert, value, &n, &same);
		if (same == 0)
			break;
		if (join_node(insert, same, value, tid))
		{
			id = same;
			goto done;
		}
		CHECK_FOR_INTERRUPTS();
	}

	pair.candidates = candidates;
	pair.padded = meta->padded;
	distances = palloc(sizeof(float) * Max(n, 1));
	chosen = palloc(sizeof(int) * Max(n, 1));
	back = palloc(sizeof(int) * Max(n, 1));
	for (int i = 0; i < n; i++)
		distances[i] = candidates[i].distance;
	nchosen = graph_prune(n, distances, NULL, meta->slots, HNSW_ALPHA, false,
						  pair_distance, &pair, chosen);
	nback = graph_fill_up(n, chosen, nchosen, ENOUGH_BACK(meta->slots));
	memcpy(back, chosen, sizeof(int) * nback);
	nchosen = graph_fill_up(n, chosen, nback, meta->slots / 2);
	/* of any candidate: each of them may have to hold the protected in-edge */
	for (int i = 0; i < n; i++)
		rank = Max(rank, candidates[i].rank + 1);

	id = write_node(insert, value, tid, candidates, chosen, nchosen, rank);
	for (anchor = 0; anchor < nchosen; anchor++)
		if (hnsw_insert_link(insert, id, value, &candidates[chosen[anchor]], true))
			break;
	if (anchor == nchosen)
	{
		int			other = 0;

		/* those chosen are full: any other will do */
		while (other < n &&
			   !hnsw_insert_link(insert, id, value, &candidates[other], true))
			other++;
		if (other == n)
			hnsw_insert_entry(insert, id, value);
	}
	else if (entry_wanted(insert))
		hnsw_insert_entry(insert, id, value);
	owners = palloc(sizeof(*owners) * Max(nback, 1));
	for (int i = 0; i < nback; i++)
		if (anchor == nchosen || back[i] != chosen[anchor])
			owners[nowners++] = &candidates[back[i]];
	link_back(insert, id, value, owners, nowners);

done:
	MemoryContextSwitchTo(old);
	MemoryContextReset(insert->row_context);
	if (!insert->building)
		UnlockPage(insert->index, HNSW_INSERT_LOCK_BLOCK, ShareLock);
	return id;
}

bool
hnswinsert(Relation index, Datum *values, bool *isnull,
		   ItemPointer heap_tid, Relation heap,
		   IndexUniqueCheck checkUnique, bool indexUnchanged,
		   IndexInfo *indexInfo)
{
	HnswInsert *insert = (HnswInsert *) indexInfo->ii_AmCache;
	Vector	   *vector;

	if (isnull[0])
		return false;

	if (insert == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(indexInfo->ii_Context);

		insert = hnsw_insert_begin(index, false);
		indexInfo->ii_AmCache = insert;
		MemoryContextSwitchTo(old);
	}
	/* the executor may have opened the index anew for a later row */
	insert->index = insert->reader.index = index;

	vector = support_value(values[0], insert->hnsw->meta.dims);
	if (hnsw_value_form(insert->hnsw, vector->x, &insert->value))
		hnsw_insert_value(insert, &insert->value, heap_tid);
	if ((Pointer) vector != DatumGetPointer(values[0]))
		pfree(vector);
	return false;
}
