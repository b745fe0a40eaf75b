/*-------------------------------------------------------------------------
 *
 * hnsw_page.h
 *	  Disk format of an hnsw index: pages, nodes, entry table, metapage.
 *
 * How the pages hang together is drawn in README.md of this room.  All
 * numbers are in native byte order.  Every page:
 *
 *	OFFSET	SIZE	DESCRIPTION
 *	0		24		PostgreSQL's page header; pd_lower ends the content
 *	24		...		content, by kind (below)
 *	8176	16		HnswPageOpaqueData, whose last 4 bytes are the common trailer
 *
 * KIND				CONTENT
 *	HNSW_PAGE_META	HnswMetaPageData (block 0 only)
 *	HNSW_PAGE_MEAN	floats of the mean: blocks 1 .. meta.mean_pages
 *	HNSW_PAGE_NODE	meta.nodes_per_page places of meta.node_size bytes, each a
 *					node or free; the content ends with a node, which may have
 *					had more neighbours then
 *	HNSW_PAGE_ENTRY part of the entry table; the pages form a chain
 *	HNSW_PAGE_TIDS	HNSW_CHUNKS_PER_PAGE places, each a chunk of heap TIDs or
 *					free
 *	HNSW_PAGE_CONT	halves of the own vector of one node that do not fit its page
 *	VECDB_PAGE_FREE nothing; in the free-space map
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_HNSW_PAGE_H
#define VECDB_HNSW_PAGE_H

#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "am/page.h"
#include "quant/rabitq.h"

#define HNSW_META_BLOCK		0
#define HNSW_MEAN_BLOCK		1	/* the first of meta.mean_pages */
#define HNSW_MAGIC			0x56464E48	/* "HNFV" */

#define HNSW_PAGE_META		1
#define HNSW_PAGE_MEAN		2
#define HNSW_PAGE_NODE		3
#define HNSW_PAGE_ENTRY		4
#define HNSW_PAGE_TIDS		5
#define HNSW_PAGE_CONT		6

#define HNSW_MAX_DIMS		16000
#define HNSW_MIN_M			2
#define HNSW_MAX_M			100
#define HNSW_MAX_SLOTS		(2 * HNSW_MAX_M)

/*
 * Special area of every page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		ENTRY: next page of the chain; CONT: next page of the
 *					vector; TIDS: next page with room; or InvalidBlockNumber
 *	4		4		CONT: block of the node
 *	8		2		CONT: place of the node on that block
 *	10		2		unused, 0
 *	12		4		VecdbPageTrailer
 */
typedef struct HnswPageOpaqueData
{
	BlockNumber next;
	BlockNumber owner_block;
	OffsetNumber owner_offset;
	uint16		unused;
	VecdbPageTrailer trailer;
} HnswPageOpaqueData;

typedef HnswPageOpaqueData *HnswPageOpaque;

#define HNSW_SPECIAL_SIZE	MAXALIGN(sizeof(HnswPageOpaqueData))
#define HnswPageGetOpaque(page) \
	((HnswPageOpaque) ((char *) (page) + BLCKSZ - HNSW_SPECIAL_SIZE))
#define HnswPageKind(page)	(HnswPageGetOpaque(page)->trailer.kind)

StaticAssertDecl(sizeof(HnswPageOpaqueData) == 16, "special area is 16 bytes");
StaticAssertDecl(HNSW_SPECIAL_SIZE == sizeof(HnswPageOpaqueData),
				 "the trailer ends the page");

#define HNSW_PAGE_CAPACITY	(BLCKSZ - SizeOfPageHeaderData - HNSW_SPECIAL_SIZE)
#define HnswPageContent(page) ((char *) (page) + SizeOfPageHeaderData)
#define HnswPageSetUsed(page, bytes) \
	(((PageHeader) (page))->pd_lower = SizeOfPageHeaderData + (bytes))

/*
 * The number of a node: where it lies.  Offsets count places from 1, as in
 * any TID, so no node has number 0.
 */
typedef uint64 HnswNodeId;

#define HnswNodeIdMake(block, offset)	(((uint64) (block) << 16) | (offset))
#define HnswNodeIdBlock(id)		((BlockNumber) ((id) >> 16))
#define HnswNodeIdOffset(id)	((OffsetNumber) ((id) & 0xFFFF))

/*
 * A link to a node, in 6 bytes.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		block (two halves, as in a TID)
 *	4		2		bits 0-14: place on the page, from 1; bit 15: this is the
 *					protected in-edge of the node it leads to
 */
typedef struct HnswLink
{
	BlockIdData block;
	uint16		offset;
} HnswLink;

#define HNSW_LINK_PROTECTED 0x8000
StaticAssertDecl(sizeof(HnswLink) == 6, "a link is 6 bytes");

#define HnswLinkOffset(link) ((OffsetNumber) ((link)->offset & ~HNSW_LINK_PROTECTED))
#define HnswLinkIsProtected(link) (((link)->offset & HNSW_LINK_PROTECTED) != 0)
#define HnswLinkNode(link) \
	HnswNodeIdMake(BlockIdGetBlockNumber(&(link)->block), HnswLinkOffset(link))

static inline void
HnswLinkSet(HnswLink *link, HnswNodeId node, bool is_protected)
{
	BlockIdSet(&link->block, HnswNodeIdBlock(node));
	link->offset = HnswNodeIdOffset(node) | (is_protected ? HNSW_LINK_PROTECTED : 0);
}

/*
 * A node, at the head of its place on a NODE page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		6		heap TID, or invalid (dead, or only rows in the chain)
 *	6		2		flags, HNSW_NODE_*
 *	8		4		rank: a protected in-edge comes from a node of lower rank
 *	12		2		neighbours
 *	14		2		length of the attribute area behind the head (0 in this
 *					format; design: filters inside the index)
 *	16		4		scale of the own vector
 *	20		4		error: no less than the norm (L1: the L1 norm) of the
 *					difference between own vector and the one indexed
 *	24		4		norm of the own vector
 *	28		4		first chunk of further heap TIDs: block ...
 *	32		2		... and place, 0: none
 *	34		2		unused, 0
 *	36		4		first CONT page, or InvalidBlockNumber
 *	40		2*padded	own vector: halves, times scale; centred and rotated;
 *					not here where meta.cont_pages > 0
 *	...		8*slots	factors (RabitqFactor); none without codes
 *	...		6*slots links
 *	...		code_size*slots		codes; none without codes
 *
 * The three arrays have meta.slots places, of which the first `neighbours` count.
 */
typedef struct HnswNodeData
{
	ItemPointerData tid;
	uint16		flags;
	uint32		rank;
	uint16		neighbours;
	uint16		attr_length;
	float		scale;
	float		error;
	float		norm;
	BlockNumber chunk_block;
	OffsetNumber chunk_offset;
	uint16		unused;
	BlockNumber cont;
	uint16		own[FLEXIBLE_ARRAY_MEMBER];
} HnswNodeData;

typedef HnswNodeData *HnswNode;

#define HNSW_NODE_HEAD		offsetof(HnswNodeData, own)
StaticAssertDecl(HNSW_NODE_HEAD == 40, "node head is 40 bytes");

/* flags: 0 means the place is free */
#define HNSW_NODE_LIVE		0x0001	/* has rows */
#define HNSW_NODE_DEAD		0x0002	/* has none any more; VACUUM will free it */
#define HNSW_NODE_ENTRY		0x0004	/* is in the entry table: a root */

/*
 * A chunk of further heap TIDs with the same vector, on a TIDS page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		node: block, InvalidBlockNumber when the chunk is free
 *	4		2		node: place
 *	6		2		TIDs in use
 *	8		4		next chunk: block ...
 *	12		2		... and place, 0: none
 *	14		2		unused, 0
 *	16		6*20	TIDs
 */
#define HNSW_CHUNK_TIDS		20
typedef struct HnswChunkData
{
	BlockNumber owner_block;
	OffsetNumber owner_offset;
	uint16		count;
	BlockNumber next_block;
	OffsetNumber next_offset;
	uint16		unused;
	ItemPointerData tids[HNSW_CHUNK_TIDS];
} HnswChunkData;

typedef HnswChunkData *HnswChunk;

StaticAssertDecl(sizeof(HnswChunkData) == 136, "a chunk is 136 bytes");
#define HNSW_CHUNKS_PER_PAGE ((int) (HNSW_PAGE_CAPACITY / sizeof(HnswChunkData)))
#define HnswPageGetChunk(page, offset) \
	((HnswChunk) (HnswPageContent(page) + ((offset) - 1) * sizeof(HnswChunkData)))

/*
 * A page of the entry table: arrays of meta.entries_per_page places.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		entries in use
 *	4		4		unused, 0
 *	8		8*places	factors, relative to the mean; none without codes
 *	...		6*places	links
 *	...		code_size*places	codes; none without codes
 */
#define HNSW_ENTRY_HEAD		8
#define HnswPageEntryCount(page) (*(uint32 *) HnswPageContent(page))

/* Effort for a recall, measured at build (hnsw_calibrate.c). */
#define HNSW_NUM_TARGETS	6
typedef struct HnswTarget
{
	float		recall;			/* 0.80, 0.90, 0.95, 0.98, 0.99, 0.995 */
	float		gamma;			/* the adaptive stop that reached it */
	float		visits;			/* nodes visited then, on average */
} HnswTarget;

/*
 * Metapage, block 0.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		magic, HNSW_MAGIC
 *	4		4		dims of the column, 1 .. 16000
 *	8		4		padded: dims of the own vector, rotated
 *	12		4		code_dims: rotated dims that codes cover; 0: no codes
 *	16		2		metric: Metric of am/support.h
 *	18		2		bits of a code a dimension: 0, 1, 2, 4
 *	20		2		slots of a node
 *	22		2		m
 *	24		2		ef_construction at build
 *	26		2		nodes_per_page
 *	28		4		node_size
 *	32		2		entries_per_page
 *	34		2		cont_pages of each node
 *	36		2		mean_pages (0: the mean is zero)
 *	38		2		recall targets in use
 *	40		4		radius: inner product: S, norms are augmented up to it
 *	44		4		entry_head: first page of the entry table
 *	48		4		tids_room: a TIDS page that may have a free chunk, the
 *					first of a list (next), or InvalidBlockNumber
 *	52		4		unused, 0
 *	56		8		seed of the rotation
 *	64		72		targets, ascending
 *	136		8		nodes at build or the last VACUUM
 *	144		8		rows at build or the last VACUUM
 */
typedef struct HnswMetaPageData
{
	uint32		magic;
	uint32		dims;
	uint32		padded;
	uint32		code_dims;
	uint16		metric;
	uint16		bits;
	uint16		slots;
	uint16		m;
	uint16		ef_construction;
	uint16		nodes_per_page;
	uint32		node_size;
	uint16		entries_per_page;
	uint16		cont_pages;
	uint16		mean_pages;
	uint16		num_targets;
	float		radius;
	BlockNumber entry_head;
	BlockNumber tids_room;
	uint32		unused;
	uint64		seed;
	HnswTarget	targets[HNSW_NUM_TARGETS];
	uint64		nodes;
	uint64		rows;
} HnswMetaPageData;

typedef HnswMetaPageData *HnswMetaPage;

#define HnswPageGetMeta(page) ((HnswMetaPage) HnswPageContent(page))
StaticAssertDecl(offsetof(HnswMetaPageData, targets) == 64, "metapage layout");
StaticAssertDecl(sizeof(HnswMetaPageData) == 152, "metapage layout");

#define HNSW_MEAN_FLOATS	((int) (HNSW_PAGE_CAPACITY / sizeof(float)))
#define HNSW_CONT_HALVES	((int) (HNSW_PAGE_CAPACITY / sizeof(uint16)))

/* Parts of a node, and of an entry page. */
static inline Size
hnsw_code_size(const HnswMetaPageData *meta)
{
	return rabitq_code_size(meta->code_dims, meta->bits);
}

static inline HnswNode
HnswPageGetNode(const HnswMetaPageData *meta, Page page, OffsetNumber offset)
{
	return (HnswNode) (HnswPageContent(page) + (Size) (offset - 1) * meta->node_size);
}

static inline RabitqFactor *
HnswNodeFactors(const HnswMetaPageData *meta, HnswNode node)
{
	return (RabitqFactor *) ((char *) node->own +
							 (meta->cont_pages > 0 ? 0 : meta->padded * sizeof(uint16)));
}

static inline HnswLink *
HnswNodeLinks(const HnswMetaPageData *meta, HnswNode node)
{
	return (HnswLink *) (HnswNodeFactors(meta, node) + (meta->bits > 0 ? meta->slots : 0));
}

static inline uint8 *
HnswNodeCodes(const HnswMetaPageData *meta, HnswNode node)
{
	return (uint8 *) (HnswNodeLinks(meta, node) + meta->slots);
}

/* Bytes of a node with so many neighbours, up to the last code (or link). */
static inline Size
HnswNodeLength(const HnswMetaPageData *meta, int neighbours)
{
	Size		head = HNSW_NODE_HEAD + (meta->cont_pages > 0 ? 0 : meta->padded * sizeof(uint16));

	return meta->bits > 0 ?
		head + meta->slots * (sizeof(RabitqFactor) + sizeof(HnswLink)) + neighbours * hnsw_code_size(meta) :
		head + neighbours * sizeof(HnswLink);
}

/*
 * The content of a NODE page ends where the last of its nodes does, not with the last
 * place: what is logged of a page that is new, or the first after a checkpoint, is its
 * content.  Whoever lets a node grow must let the page know.
 */
static inline void
HnswPageCoverNode(const HnswMetaPageData *meta, Page page, OffsetNumber offset)
{
	PageHeader	header = (PageHeader) page;
	HnswNode	node = HnswPageGetNode(meta, page, offset);

	header->pd_lower = Max(header->pd_lower,
						   (char *) node - (char *) page + HnswNodeLength(meta, node->neighbours));
}

static inline bool
HnswPageCoversNode(const HnswMetaPageData *meta, Page page, HnswNode node)
{
	return (char *) node - (char *) page + HnswNodeLength(meta, node->neighbours) <= ((PageHeader) page)->pd_lower;
}

/* Can a NODE page have so many bytes of content: does a node end there? */
static inline bool
HnswNodePageLengthIsSound(const HnswMetaPageData *meta, int bytes)
{
	int			place = bytes > 0 ? (bytes - 1) / (int) meta->node_size : 0;
	int			beyond = bytes - place * (int) meta->node_size - (int) HnswNodeLength(meta, 0);
	int			step = (int) (HnswNodeLength(meta, 1) - HnswNodeLength(meta, 0));

	return place < meta->nodes_per_page && beyond >= 0 && beyond % step == 0 && beyond / step <= meta->slots;
}

static inline RabitqFactor *
HnswPageEntryFactors(const HnswMetaPageData *meta, Page page)
{
	return (RabitqFactor *) (HnswPageContent(page) + HNSW_ENTRY_HEAD);
}

static inline HnswLink *
HnswPageEntryLinks(const HnswMetaPageData *meta, Page page)
{
	return (HnswLink *) (HnswPageEntryFactors(meta, page) +
						 (meta->bits > 0 ? meta->entries_per_page : 0));
}

static inline uint8 *
HnswPageEntryCodes(const HnswMetaPageData *meta, Page page)
{
	return (uint8 *) (HnswPageEntryLinks(meta, page) + meta->entries_per_page);
}

#endif							/* VECDB_HNSW_PAGE_H */
