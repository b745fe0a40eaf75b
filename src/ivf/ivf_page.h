/*-------------------------------------------------------------------------
 *
 * ivf_page.h
 *	  Disk format of an IVF index: pages, rows, directory, metapage.
 *
 * How the pages hang together is drawn in README.md of this room.  All
 * numbers are in native byte order.  Every page:
 *
 *	OFFSET	SIZE	DESCRIPTION
 *	0		24		PostgreSQL's page header; pd_lower ends the content
 *	24		...		content, by kind (below)
 *	8160	32		IvfPageOpaqueData, whose last 4 bytes are the common trailer
 *
 * KIND				CONTENT
 *	IVF_PAGE_META	IvfMetaPageData (block 0 only)
 *	IVF_PAGE_DIR	array of IvfListData, one for each list
 *	IVF_PAGE_CENT	centroids, float4[dims] each; where one does not fit a page,
 *					ivf_pages_per_centroid() consecutive pages hold it
 *	IVF_PAGE_LIST	rows of one list, meta.row_size bytes each; where one row
 *					does not fit, the head of one row, continued on CONT pages;
 *					of ivfpq: arrays (IvfLayout)
 *	IVF_PAGE_CONT	floats of the row that begins on the page's owner
 *	IVF_PAGE_CODEC	floats of what the codec has learnt, IVF_CONT_FLOATS on each
 *					page but the last
 *	IVF_PAGE_GROUP	groups of lists: uint32[groups], the first list of each, then
 *					their middles, float4[dims] each; laid out as a codec's
 *	IVF_PAGE_COPY	vectors in half precision, of some rows of a LIST page of ivfpq
 *					(IvfCopyData)
 *	VECDB_PAGE_FREE	nothing; in the free-space map
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_IVF_PAGE_H
#define VECDB_IVF_PAGE_H

#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "guc.h"
#include "am/page.h"
#include "am/support.h"
#include "quant/codec.h"

#define IVF_META_BLOCK		0
#define IVF_MAGIC			0x49564656	/* "VFVI" */

#define IVF_PAGE_META		1
#define IVF_PAGE_DIR		2
#define IVF_PAGE_CENT		3
#define IVF_PAGE_LIST		4
#define IVF_PAGE_CONT		5
#define IVF_PAGE_CODEC		6
#define IVF_PAGE_GROUP		7
#define IVF_PAGE_COPY		8
#define IVF_PAGE_LAST		IVF_PAGE_COPY

#define IVF_MAX_LISTS		VECDB_MAX_LISTS
#define IVF_MAX_EXTENTS		32

/*
 * Special area of every page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		LIST: next page of the list, or InvalidBlockNumber
 *					CONT, COPY: owner, the LIST page that the row (begins) on
 *	4		4		LIST: seq of that next page (0 when there is none)
 *					COPY: which of the owner's COPY pages, from 0
 *	8		4		LIST: seq, ascending along the list; the head has 1
 *					CONT, COPY: seq of the owner
 *	12		4		LIST, CONT, COPY: number of the list
 *	16		4		all but META: training generation that made it
 *	20		4		LIST: first CONT page; CONT: next one; or InvalidBlockNumber
 *	24		2		LIST of ivfpq: rows on the page; otherwise 0
 *	26		2		LIST: flags, IVF_PAGE_FROZEN, IVF_PAGE_COPIES
 *	28		4		VecdbPageTrailer
 */
typedef struct IvfPageOpaqueData
{
	BlockNumber next;
	uint32		next_seq;
	uint32		seq;
	uint32		list;
	uint32		generation;
	BlockNumber cont;
	uint16		rows;
	uint16		flags;
	VecdbPageTrailer trailer;
} IvfPageOpaqueData;

typedef IvfPageOpaqueData *IvfPageOpaque;

/* takes no more rows: a training has copied, or passed over, those it holds */
#define IVF_PAGE_FROZEN		0x0001

/*
 * All rows of the page were copied by the training that made this list; nobody
 * inserted one.  Means something only as long as the list is of the next
 * generation: later, rows are inserted here, too.  (Nothing to do with
 * IVF_PAGE_COPY.)
 */
#define IVF_PAGE_COPIES		0x0002

#define IVF_SPECIAL_SIZE	MAXALIGN(sizeof(IvfPageOpaqueData))
#define IvfPageGetOpaque(page) \
	((IvfPageOpaque) ((char *) (page) + BLCKSZ - IVF_SPECIAL_SIZE))
#define IvfPageKind(page)	(IvfPageGetOpaque(page)->trailer.kind)
#define IvfPageIsFree(page) (IvfPageKind(page) == VECDB_PAGE_FREE)

StaticAssertDecl(sizeof(IvfPageOpaqueData) == 32, "special area is 32 bytes");
StaticAssertDecl(IVF_SPECIAL_SIZE == sizeof(IvfPageOpaqueData),
				 "the trailer ends the page");

#define IVF_PAGE_CAPACITY	(BLCKSZ - SizeOfPageHeaderData - IVF_SPECIAL_SIZE)
#define IvfPageContent(page) ((char *) (page) + SizeOfPageHeaderData)
/* bytes of content: pd_lower ends it */
#define IvfPageUsed(page) \
	(((PageHeader) (page))->pd_lower - SizeOfPageHeaderData)
#define IvfPageSetUsed(page, bytes) \
	(((PageHeader) (page))->pd_lower = SizeOfPageHeaderData + (bytes))

/*
 * A row of ivfflat, as it stands on LIST pages (one after the other).  ivfpq
 * makes its codes from such a row, which is then on no page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		6		heap TID
 *	6		2		length of the attribute area between head and value (0 in
 *					this format; design: filters inside the index)
 *	8		4		squared norm of the value, kernel->normsq
 *	12		4		unused, 0
 *	16		4*dims	value, float4, as given (not normalised)
 */
typedef struct IvfRowData
{
	ItemPointerData tid;
	uint16		attr_length;
	float		normsq;
	uint32		unused;
	float		value[FLEXIBLE_ARRAY_MEMBER];
} IvfRowData;

typedef IvfRowData *IvfRow;

#define IVF_ROW_HEAD		offsetof(IvfRowData, value)
StaticAssertDecl(IVF_ROW_HEAD == 16, "row head is 16 bytes");

/* floats of one row or centroid that a page holds: first and further pages */
#define IVF_HEAD_FLOATS		((int) ((IVF_PAGE_CAPACITY - IVF_ROW_HEAD) / sizeof(float)))
#define IVF_CONT_FLOATS		((int) (IVF_PAGE_CAPACITY / sizeof(float)))

/*
 * A list in the directory.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		head: first page, never changes while the list lives
 *	4		4		insert: where to look for room first (a hint: any page of
 *					the list, or a page that has left it)
 *	8		4		training generation that made the list
 *	12		4		flags: IVF_LIST_SUPERSEDED
 *	16		4		first list that replaces a superseded one
 *	20		4		how many replace it
 *	24		4		pages of the chain, at build or the last VACUUM
 *	28		4		unused, 0
 *	32		8		rows, at build or the last VACUUM
 */
typedef struct IvfListData
{
	BlockNumber head;
	BlockNumber insert;
	uint32		generation;
	uint32		flags;
	uint32		successor;
	uint32		successors;
	uint32		pages;
	uint32		unused;
	uint64		rows;
} IvfListData;

#define IVF_LIST_SUPERSEDED 0x0001
#define IVF_LISTS_PER_PAGE	((int) (IVF_PAGE_CAPACITY / sizeof(IvfListData)))
StaticAssertDecl(sizeof(IvfListData) == 40, "directory entry is 40 bytes");

/*
 * Directory and centroids grow by extents: runs of consecutive blocks.
 * Items first .. (first of the next extent or the total) - 1 lie in it.
 */
typedef struct IvfExtent
{
	uint32		first;			/* first item */
	BlockNumber start;			/* first block */
	uint32		blocks;
} IvfExtent;

/*
 * Effort for a recall, measured at build or training (ivf_calibrate.c,
 * ivf_codec.c).
 */
#define IVF_NUM_TARGETS		6
typedef struct IvfTarget
{
	float		recall;			/* 0.80, 0.90, 0.95, 0.98, 0.99, 0.995 */
	float		effort;			/* at which a search has met that share */
	float		probes;			/* lists it has visited then, on average */
	float		width;			/* of estimates, in the codec's units; 0 for ivfflat */
} IvfTarget;

/*
 * Metapage, block 0.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		magic, IVF_MAGIC
 *	4		4		dims, 1 .. 16000
 *	8		2		metric: Metric of am/support.h
 *	10		2		codec: CodecKind; CODEC_NONE: float4 values (ivfflat)
 *	12		4		row_size: bytes a row takes on the list pages
 *	16		4		training generation; 0: born empty, one list, no centroids
 *	20		4		lists in the directory (superseded ones count)
 *	24		4		lists alive
 *	28		2		extents of the directory
 *	30		2		extents of the centroids (0 in generation 0)
 *	32		4		recall targets in use (0 in generation 0)
 *	36		96		targets, ascending
 *	132		384		extents of the directory
 *	516		384		extents of the centroids
 *	900		4		nearest_floor: the nearest centroid counts as no nearer
 *					(squared distance; ivf_calibrate.c)
 *	904		8		rows at build, or when it was last trained
 *	912		8		rows at build or the last VACUUM
 *	920		2		bits of the codes (0: no codec)
 *	922		2		extents of what the codec has learnt: 0 or 1
 *	924		4		parts of a code (pq; otherwise 0)
 *	928		8		seed of the codec
 *	936		12		extent of what the codec has learnt
 *	948		4		error: of the estimates, root mean square, in units
 *	952		4		floor: estimates up to it may be of the query itself
 *	956		4		next generation, whose lists a training fills; 0: none
 *	960		4		lists of it
 *	964		2		extents of its directory
 *	966		2		extents of its centroids
 *	968		384		extents of its directory
 *	1352	384		extents of its centroids
 *	1736	4		retired generation: no new scan reads its pages
 *	1740	4		spread of the lists' sizes when it was last trained
 *					(ivf_spread())
 *	1744	8		transaction ID at which that one retired; 0: there is none
 *	1752	4		first_error: of the estimates from first planes, likewise (0: the
 *					codec has none)
 *	1756	4		quantisation error (codec_quantisation_error(), mean) when the codec
 *					was chosen or trained; 0: never
 *	1760	4		the same, of the rows there were at the last VACUUM
 *
 * A generation may have another codec than the one before: it learns anew, and
 * one born empty has learnt nothing.
 *
 *	1764	2		next generation: codec
 *	1766	2		... bits of its codes
 *	1768	4		... parts of a code
 *	1772	4		... row_size
 *	1776	2		... extents of what the codec has learnt
 *	1778	2		retired generation: codec
 *	1780	12		next generation: extent of what the codec has learnt
 *	1792	4		... error
 *	1796	4		... floor
 *	1800	4		... first_error
 *	1804	4		... quantisation error
 *	1808	24		... widths of the recall targets
 *	1832	4		retired generation: parts of a code
 *	1836	4		... row_size
 *	1840	2		... bits of its codes
 *	1842	2		copies: 1 if rows have copies (rerank = index), otherwise 0
 *	1844	2		next generation: copies
 *	1846	2		retired generation: copies
 *
 * Many lists are in groups (quant/groups.h), few are not:
 *
 *	1848	4		groups, or 0
 *	1852	12		extent of the groups
 *	1864	4		next generation: groups, or 0
 *	1868	12		... extent of the groups
 */
typedef struct IvfMetaPageData
{
	uint32		magic;
	uint32		dims;
	uint16		metric;
	uint16		codec;
	uint32		row_size;
	uint32		generation;
	uint32		lists;
	uint32		lists_alive;
	uint16		dir_extents;
	uint16		cent_extents;
	uint32		num_targets;
	IvfTarget	targets[IVF_NUM_TARGETS];
	IvfExtent	dir[IVF_MAX_EXTENTS];
	IvfExtent	cent[IVF_MAX_EXTENTS];
	float		nearest_floor;
	uint64		rows_at_build;
	uint64		rows;
	uint16		code_bits;
	uint16		code_extents;
	uint32		code_parts;
	uint64		code_seed;
	IvfExtent	code;
	float		code_error;
	float		code_floor;
	uint32		next_generation;
	uint32		next_lists;
	uint16		next_dir_extents;
	uint16		next_cent_extents;
	IvfExtent	next_dir[IVF_MAX_EXTENTS];
	IvfExtent	next_cent[IVF_MAX_EXTENTS];
	uint32		retired_generation;
	float		spread_at_build;
	uint64		retired_xid;
	float		first_error;
	float		quantisation_error_at_build;
	float		quantisation_error;
	uint16		next_codec;
	uint16		next_code_bits;
	uint32		next_code_parts;
	uint32		next_row_size;
	uint16		next_code_extents;
	uint16		retired_codec;
	IvfExtent	next_code;
	float		next_code_error;
	float		next_code_floor;
	float		next_first_error;
	float		next_quantisation_error;
	float		next_widths[IVF_NUM_TARGETS];
	uint32		retired_code_parts;
	uint32		retired_row_size;
	uint16		retired_code_bits;
	uint16		copies;
	uint16		next_copies;
	uint16		retired_copies;
	uint32		groups;
	IvfExtent	group;
	uint32		next_groups;
	IvfExtent	next_group;
} IvfMetaPageData;

typedef IvfMetaPageData *IvfMetaPage;

#define IvfPageGetMeta(page) ((IvfMetaPage) IvfPageContent(page))
StaticAssertDecl(offsetof(IvfMetaPageData, dir) == 132, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, rows_at_build) == 904, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, code_seed) == 928, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, next_dir) == 968, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, retired_xid) == 1744, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, next_codec) == 1764, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, next_widths) == 1808, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, groups) == 1848, "metapage layout");
StaticAssertDecl(sizeof(IvfMetaPageData) == 1880, "metapage layout");


/*
 * A row's vector in half precision, on a COPY page of the row's LIST page; there
 * are as many on each as fit, all places from the page's first day.  Of row i of the
 * LIST page it is at place i % copies_per_page of the COPY page that
 * ivf_page_copy_blocks()[i / copies_per_page] names.  Places without a row hold
 * anything.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		6		heap TID, the row's
 *	6		2		unused, 0
 *	8		4		scale of the halves
 *	12		4		error: by how much the distance may be off, see ivf_copy.c
 *	16		2*dims	halves, of the value; under cosine, of its direction
 *					(padded to a multiple of 4 bytes)
 */
typedef struct IvfCopyData
{
	ItemPointerData tid;
	uint16		unused;
	float		scale;
	float		error;
	uint16		half[FLEXIBLE_ARRAY_MEMBER];
} IvfCopyData;

typedef IvfCopyData *IvfCopy;

#define IVF_COPY_HEAD		offsetof(IvfCopyData, half)
StaticAssertDecl(IVF_COPY_HEAD == 16, "head of a copy is 16 bytes");

#define IVF_COPY_MAX_DIMS	((int) ((IVF_PAGE_CAPACITY - IVF_COPY_HEAD) / sizeof(uint16)))

static inline uint32
ivf_copy_size(int dims)
{
	return TYPEALIGN(sizeof(float), IVF_COPY_HEAD + sizeof(uint16) * dims);
}

static inline int
ivf_copies_per_page(int dims)
{
	return IVF_PAGE_CAPACITY / ivf_copy_size(dims);
}

/*
 * How rows lie on LIST pages.
 *
 * ivfflat: one after the other; pd_lower ends them.
 *
 * ivfpq: arrays for max_rows rows, whose number is in the special area; all of
 * them lie below pd_lower, which is where they end from the page's first day:
 *
 *	OFFSET		SIZE						DESCRIPTION
 *	0			6 * max_rows				heap TIDs
 *	norms_at	4 * max_rows				norms of the values: inner product only
 *	codes_at	codes.size					factors and codes, as the codec has them
 *											(CodecArea of quant/codec.h)
 *	blocks_at	4 * copy_pages				COPY pages, or InvalidBlockNumber: where rows
 *											have copies
 *
 * So one call finds the bounds of all rows of a page.  In a sort, or on its way to a
 * page, a row is moved_size bytes: row_size, which are TID, then norm and record (factors and
 * code) of ivfpq, or IvfRowData; and at copy_at its copy, where it has one.
 */
typedef struct IvfLayout
{
	uint32		row_size;
	int			max_rows;		/* of a page, at least 1 */
	bool		has_codes;		/* ivfpq */
	bool		has_norms;
	uint32		norms_at;		/* offsets in the content */
	uint32		codes_at;
	uint32		blocks_at;
	uint32		end;
	bool		has_copies;
	uint32		copy_size;
	int			copies_per_page;
	int			copy_pages;		/* of a LIST page, at most */
	uint32		copy_at;		/* in a row on its way */
	uint32		moved_size;		/* of a row on its way */
	Codec		codec;			/* its shape: not attached */
	CodecArea	codes;
} IvfLayout;

/* The record that kind of codec has; 0 bytes for ivfflat. */
static inline uint32
ivf_row_size(int dims, Metric metric, const Codec *codec)
{
	if (codec == NULL)
		return IVF_ROW_HEAD + sizeof(float) * dims;
	return sizeof(ItemPointerData) + sizeof(float) * (metric == METRIC_IP) +
		codec_record_size(codec);
}

/* How many rows fit a page (a codec may take somewhat fewer); 0: not one. */
static inline int
ivf_rows_per_page(uint32 row_size, bool codes)
{
	/* two bytes may be needed to align the norms, or the factors */
	return (IVF_PAGE_CAPACITY - (codes ? 2 : 0)) / row_size;
}

/* The same of rows that have copies, whose pages are named after the codes. */
static inline int
ivf_rows_with_copies(uint32 row_size, int dims)
{
	int			per_page = ivf_copies_per_page(dims);
	int			rows = ivf_rows_per_page(row_size, true);

	/* and three to align the block numbers */
	while (rows > 0 && 5 + (Size) row_size * rows +
		   sizeof(BlockNumber) * ((rows + per_page - 1) / per_page) > IVF_PAGE_CAPACITY)
		rows--;
	return rows;
}

static inline void
ivf_layout(const IvfMetaPageData *meta, IvfLayout *layout)
{
	memset(layout, 0, sizeof(*layout));
	layout->row_size = meta->row_size;
	layout->moved_size = meta->row_size;
	layout->has_codes = meta->codec != CODEC_NONE;
	layout->max_rows = Max(ivf_rows_per_page(meta->row_size, layout->has_codes), 1);
	if (!layout->has_codes)
		return;
	layout->has_copies = meta->copies != 0;
	if (layout->has_copies)
		layout->max_rows = ivf_rows_with_copies(meta->row_size, meta->dims);
	/* ivf_meta_flaw() has seen that it can be */
	(void) codec_init(&layout->codec, (CodecKind) meta->codec, meta->dims, meta->code_bits,
					  meta->code_parts, meta->code_seed);
	codec_area(&layout->codec, layout->max_rows, &layout->codes);
	layout->max_rows = layout->codes.rows;
	layout->has_norms = meta->metric == METRIC_IP;
	layout->norms_at = TYPEALIGN(sizeof(float), sizeof(ItemPointerData) * layout->max_rows);
	layout->codes_at = layout->norms_at + sizeof(float) * layout->has_norms * layout->max_rows;
	layout->end = layout->codes_at + layout->codes.size;
	if (layout->has_copies)
	{
		layout->copy_size = ivf_copy_size(meta->dims);
		layout->copies_per_page = ivf_copies_per_page(meta->dims);
		layout->copy_pages = (layout->max_rows + layout->copies_per_page - 1) / layout->copies_per_page;
		layout->blocks_at = TYPEALIGN(sizeof(BlockNumber), layout->end);
		layout->end = layout->blocks_at + sizeof(BlockNumber) * layout->copy_pages;
		layout->copy_at = TYPEALIGN(sizeof(float), meta->row_size);
		layout->moved_size = layout->copy_at + layout->copy_size;
	}
	Assert(layout->end <= IVF_PAGE_CAPACITY);
}

/* The TID of row i of a LIST page */
static inline ItemPointer
ivf_page_tid(Page page, const IvfLayout *layout, int i)
{
	return (ItemPointer) (IvfPageContent(page) +
						  (Size) i * (layout->has_codes ? sizeof(ItemPointerData) : layout->row_size));
}

static inline float *
ivf_page_norms(Page page, const IvfLayout *layout, int i)
{
	return (float *) (IvfPageContent(page) + layout->norms_at) + i;
}

static inline char *
ivf_page_codes(Page page, const IvfLayout *layout)
{
	return IvfPageContent(page) + layout->codes_at;
}

/* The COPY pages of a LIST page */
static inline BlockNumber *
ivf_page_copy_blocks(Page page, const IvfLayout *layout)
{
	return (BlockNumber *) (IvfPageContent(page) + layout->blocks_at);
}

/* The copy at place i of a COPY page */
static inline IvfCopy
ivf_page_copy(Page page, const IvfLayout *layout, int i)
{
	return (IvfCopy) (IvfPageContent(page) + (Size) i * layout->copy_size);
}

/* CONT pages a row of these dimensions needs beyond its LIST page. */
static inline int
ivf_cont_pages(int dims)
{
	return dims <= IVF_HEAD_FLOATS ? 0 :
		(dims - IVF_HEAD_FLOATS + IVF_CONT_FLOATS - 1) / IVF_CONT_FLOATS;
}

static inline int
ivf_centroids_per_page(int dims)
{
	return IVF_CONT_FLOATS / dims;
}

static inline int
ivf_pages_per_centroid(int dims)
{
	return (dims + IVF_CONT_FLOATS - 1) / IVF_CONT_FLOATS;
}

/* Pages that so many centroids take, as one extent. */
static inline uint32
ivf_centroid_pages(uint32 lists, int dims)
{
	uint32		per_page = ivf_centroids_per_page(dims);

	return per_page > 0 ? (lists + per_page - 1) / per_page :
		lists * ivf_pages_per_centroid(dims);
}

/* Words (of 4 bytes) on the pages of groups: where each begins, and the middles. */
static inline Size
ivf_group_words(uint32 groups, int dims)
{
	return (Size) groups * (dims + 1);
}

/* Pages for so many words, as codec and groups have them. */
static inline uint32
ivf_word_pages(Size words)
{
	return (uint32) ((words + IVF_CONT_FLOATS - 1) / IVF_CONT_FLOATS);
}

#endif							/* VECDB_IVF_PAGE_H */
