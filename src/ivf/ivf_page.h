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
 *					does not fit, the head of one row, continued on CONT pages
 *	IVF_PAGE_CONT	floats of the row that begins on the page's owner
 *	VECDB_PAGE_FREE	nothing; in the free-space map
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_IVF_PAGE_H
#define VECDB_IVF_PAGE_H

#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "am/page.h"

#define IVF_META_BLOCK		0
#define IVF_MAGIC			0x49564656	/* "VFVI" */

#define IVF_PAGE_META		1
#define IVF_PAGE_DIR		2
#define IVF_PAGE_CENT		3
#define IVF_PAGE_LIST		4
#define IVF_PAGE_CONT		5

#define IVF_MAX_LISTS		32768
#define IVF_MAX_EXTENTS		32

/*
 * Special area of every page.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		LIST: next page of the list, or InvalidBlockNumber
 *					CONT: owner, the LIST page the row begins on
 *	4		4		LIST: seq of that next page (0 when there is none)
 *	8		4		LIST: seq, ascending along the list; the head has 1
 *					CONT: seq of the owner
 *	12		4		LIST, CONT: number of the list
 *	16		4		DIR, CENT, LIST, CONT: training generation of its list(s)
 *	20		4		LIST: first CONT page; CONT: next one; or InvalidBlockNumber
 *	24		4		LIST: flags, IVF_PAGE_FROZEN
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
	uint32		flags;
	VecdbPageTrailer trailer;
} IvfPageOpaqueData;

typedef IvfPageOpaqueData *IvfPageOpaque;

/* takes no more rows: a training has copied, or passed over, those it holds */
#define IVF_PAGE_FROZEN		0x0001

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
 * A row of ivfflat, as it stands on LIST pages (one after the other).
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		6		heap TID
 *	6		2		length of the attribute area between head and value (0 in
 *					this format; design: filters inside the index)
 *	8		4		squared norm of the value, kernel->normsq
 *	12		4		flags: IVF_ROW_COPIED
 *	16		4*dims	value, float4, as given (not normalised)
 */
typedef struct IvfRowData
{
	ItemPointerData tid;
	uint16		attr_length;
	float		normsq;
	uint32		flags;
	float		value[FLEXIBLE_ARRAY_MEMBER];
} IvfRowData;

typedef IvfRowData *IvfRow;

/* the training that made this list copied the row into it (nobody inserted it) */
#define IVF_ROW_COPIED		0x0001

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

/* Effort for a recall, measured at build or training (ivf_calibrate.c). */
#define IVF_NUM_TARGETS		6
typedef struct IvfTarget
{
	float		recall;			/* 0.80, 0.90, 0.95, 0.98, 0.99, 0.995 */
	float		effort;			/* at which a search has met that share */
	float		probes;			/* lists it has visited then, on average */
} IvfTarget;

/*
 * Metapage, block 0.
 *
 * OFFSET	SIZE	DESCRIPTION
 *	0		4		magic, IVF_MAGIC
 *	4		4		dims, 1 .. 16000
 *	8		2		metric: Metric of am/support.h
 *	10		2		codec: 0 raw float4 values (ivfflat)
 *	12		4		row_size: head + attribute area + value on the list pages
 *	16		4		training generation; 0: born empty, one list, no centroids
 *	20		4		lists in the directory (superseded ones count)
 *	24		4		lists alive
 *	28		2		extents of the directory
 *	30		2		extents of the centroids (0 in generation 0)
 *	32		4		recall targets in use (0 in generation 0)
 *	36		72		targets, ascending
 *	108		384		extents of the directory
 *	492		384		extents of the centroids
 *	876		4		nearest_floor: the nearest centroid counts as no nearer
 *					(squared distance; ivf_calibrate.c)
 *	880		8		rows at build, or when it was last trained
 *	888		8		rows at build or the last VACUUM
 *	896		4		next generation, whose lists a training fills; 0: none
 *	900		4		lists of it
 *	904		2		extents of its directory
 *	906		2		extents of its centroids
 *	908		384		extents of its directory
 *	1292	384		extents of its centroids
 *	1676	4		retired generation: no new scan reads its pages
 *	1680	8		transaction ID at which it retired; 0: there is none
 *	1688	4		spread of the lists' sizes when it was last trained
 *					(ivf_spread())
 *	1692	4		unused, 0
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
	uint32		next_generation;
	uint32		next_lists;
	uint16		next_dir_extents;
	uint16		next_cent_extents;
	IvfExtent	next_dir[IVF_MAX_EXTENTS];
	IvfExtent	next_cent[IVF_MAX_EXTENTS];
	uint32		retired_generation;
	uint64		retired_xid;
	float		spread_at_build;
	uint32		unused;
} IvfMetaPageData;

typedef IvfMetaPageData *IvfMetaPage;

#define IvfPageGetMeta(page) ((IvfMetaPage) IvfPageContent(page))
StaticAssertDecl(offsetof(IvfMetaPageData, dir) == 108, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, rows_at_build) == 880, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, next_dir) == 908, "metapage layout");
StaticAssertDecl(offsetof(IvfMetaPageData, retired_xid) == 1680, "metapage layout");
StaticAssertDecl(sizeof(IvfMetaPageData) == 1696, "metapage layout");


/* How many rows (centroids) a page holds; 0: one takes several pages. */
static inline int
ivf_rows_per_page(uint32 row_size)
{
	return IVF_PAGE_CAPACITY / row_size;
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

#endif							/* VECDB_IVF_PAGE_H */
