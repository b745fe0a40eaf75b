/*-------------------------------------------------------------------------
 *
 * check_ivf.c
 *	  The index verifier's part for IVF: metapage, directory, centroids,
 *	  chains of list pages, rows, and pages that belong to nothing.
 *
 * I1 .. I14 are the invariants of ivf/README.md.  The walk goes from the
 * metapage to the extents, from each directory entry along its chain, and
 * ticks off every block it reaches; one pass over the rest finds what is
 * free, what is lost, and what is broken.
 *
 * With writers about, a page may change between two looks.  Every judgement
 * about two pages (a link and its target, a row and its continuation) is
 * therefore given only when the first page, read again afterwards, still says
 * what it said; otherwise the walk looks again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"

#include "am/support.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "monitor/check.h"
#include "monitor/monitor.h"

/* Looks at a pair of pages that change all the time, before we let it be. */
#define MAX_LOOKS	100

/* How far a squared norm may be from 1 (I7) */
#define UNIT_TOLERANCE	1e-3

/* The nearest centroid is sought for this many rows, and at most this many
 * multiplications. */
#define NEAREST_ROWS	10000
#define NEAREST_WORK	(1e9)

/* Where lists have groups, one in so many rows may be in another list. */
#define MISPLACED_SHARE	10

#define MAX_CONT_PAGES \
	((VECTOR_MAX_DIM - IVF_HEAD_FLOATS + IVF_CONT_FLOATS - 1) / IVF_CONT_FLOATS)

/* The lists of one generation. */
typedef struct IvfView
{
	IvfMetaPageData meta;		/* as if there were no other lists */
	IvfLayout	layout;
	uint32	   *last_seq;		/* by list: of the last page walked */
	bool		open;			/* rows are inserted here */
	bool		filling;		/* a training copies rows here */
	bool		sound_centroids;

	/* of ivfpq: to make a row's code again */
	Codec		codec;
	uint32		centroid_list;	/* whose centroid is in centroid ... */
	float	   *centroid;		/* ... in the codec's space */
	float	   *scratch;
	char	   *code;			/* a row, moved_size bytes */
	char	   *copies;			/* of the rows of one LIST page */
} IvfView;

typedef struct IvfCheck
{
	Check	   *check;
	IvfMetaPageData meta;
	bool		codes;			/* ivfpq */
	bool		is_long;		/* a row takes several pages */
	IvfView		views[2];
	int			nviews;			/* 2 while a training copies */
	IvfView    *view;			/* the one that is walked */
	bool		stale;			/* trained anew and freed while we looked on */
	int			cont_pages;		/* of a row */

	BlockNumber reached_size;	/* blocks that reached has room for */
	uint8	   *reached;		/* a bit for each block that has its place */
	uint64		waiting;		/* pages of a generation that is not in use */
	BlockNumber waiting_block;	/* ... the first of them */
	bool		complete;		/* no chain broke: the rest are orphans */

	float	   *value;			/* a row's or a centroid's */
	IvfRow		row;			/* a row with its value, for ivfpq */

	/* sample of rows for the nearest list (I8) */
	float	   *distances;
	uint64		row_number;
	uint64		sample_size;	/* at most so many rows; 0: no sample */
	uint64		sample_step;	/* every how many-th one */
	uint64		sampled;
	uint64		misplaced;
	BlockNumber misplaced_block;
	int			misplaced_item;
	uint32		misplaced_list;
	uint32		misplaced_nearest;
} IvfCheck;

/* ---- blocks ---------------------------------------------------------------- */

static bool
is_reached(IvfCheck *ivf, BlockNumber blkno)
{
	return blkno < ivf->reached_size &&
		(ivf->reached[blkno / 8] & (1 << (blkno % 8))) != 0;
}

static void
set_reached(IvfCheck *ivf, BlockNumber blkno)
{
	if (blkno >= ivf->reached_size)
	{
		/* a page younger than the check */
		BlockNumber size = Max(ivf->check->nblocks, blkno + 1);
		Size		old_bytes = ivf->reached_size / 8 + 1;
		Size		bytes = size / 8 + 1;

		ivf->reached = repalloc_huge(ivf->reached, bytes);
		memset(ivf->reached + old_bytes, 0, bytes - old_bytes);
		ivf->reached_size = size;
	}
	ivf->reached[blkno / 8] |= 1 << (blkno % 8);
}

/*
 * Read a page that must be a sound one of ours of some kind.  Otherwise
 * false, with a finding.
 */
static bool
read_kind(IvfCheck *ivf, BlockNumber blkno, uint8 kind, char *image)
{
	Check	   *check = ivf->check;
	PageVerdict verdict;

	if (!check_block_exists(check, blkno))
	{
		check_report(check, CHECK_CORRUPTION, "page_missing", blkno, CHECK_NO_ITEM,
					 "A %s page should be here, but the index ends before it.",
					 ivf_kind_name(kind));
		return false;
	}
	if (!check_read(check, blkno, image, &verdict))
		return false;
	switch (verdict)
	{
		case PAGE_OK:
			break;
		case PAGE_ZERO:
			check_report(check, CHECK_CORRUPTION, "page_broken", blkno, CHECK_NO_ITEM,
						 "A %s page should be here, but the page is all zero.",
						 ivf_kind_name(kind));
			return false;
		case PAGE_BROKEN:
			check_report(check, CHECK_CORRUPTION, "page_broken", blkno, CHECK_NO_ITEM,
						 "A %s page should be here, but the page header or the page id (%04x, expected %04x) is wrong.",
						 ivf_kind_name(kind), PageGetTrailer(image)->page_id, VECDB_PAGE_ID);
			return false;
		case PAGE_FORMAT:
			check_report(check, CHECK_CORRUPTION, "page_format", blkno, CHECK_NO_ITEM,
						 "The page has format version %d, but this vecdb reads version %d.",
						 PageGetTrailer(image)->format, VECDB_PAGE_FORMAT);
			return false;
	}
	if (IvfPageKind(image) != kind)
	{
		check_report(check, CHECK_CORRUPTION, "page_kind", blkno, CHECK_NO_ITEM,
					 "A %s page should be here, but the page is of kind %d (%s).",
					 ivf_kind_name(kind), IvfPageKind(image), ivf_kind_name(IvfPageKind(image)));
		return false;
	}
	return true;
}

/* The generations that the metapage names by now: those with lists to read, and the one that takes rows. */
static bool
reread_generations(IvfCheck *ivf, uint32 *present, uint32 *newest)
{
	PGAlignedBlock image;
	PageVerdict verdict;
	IvfMetaPage meta = IvfPageGetMeta(image.data);

	if (!check_read(ivf->check, IVF_META_BLOCK, image.data, &verdict) || verdict != PAGE_OK ||
		IvfPageKind(image.data) != IVF_PAGE_META)
		return false;
	*present = meta->generation;
	*newest = meta->next_generation != 0 ? meta->next_generation : meta->generation;
	return true;
}

/*
 * Is the generation that is walked one the index has parted with since?  Our
 * snapshot keeps its pages, but not on a standby.  Then there is nothing to say.
 */
static bool
is_stale(IvfCheck *ivf)
{
	uint32		present;
	uint32		newest;
	uint32		walked = ivf->view->meta.generation;

	if (ivf->check->strict || ivf->stale)
		return ivf->stale;
	if (reread_generations(ivf, &present, &newest) && walked != present && walked != newest)
	{
		ivf->stale = true;
		ivf->complete = false;
		check_report(ivf->check, CHECK_NOTE, "index_trained", CHECK_NO_BLOCK, CHECK_NO_ITEM,
					 "VACUUM has trained the index anew and freed the old lists meanwhile: check it again.");
	}
	return ivf->stale;
}

/* Do the lists that are walked take rows?  A training may have closed them since we began. */
static bool
take_rows(IvfCheck *ivf)
{
	uint32		present;
	uint32		newest;

	if (ivf->view->open && !ivf->check->strict && reread_generations(ivf, &present, &newest))
		ivf->view->open = ivf->view->meta.generation == newest;
	return ivf->view->open;
}

/* The same for directory and centroids, of the generation that is walked. */
static bool
read_kind_of_view(IvfCheck *ivf, BlockNumber blkno, uint8 kind, char *image)
{
	PageVerdict verdict;

	if (!ivf->check->strict && check_block_exists(ivf->check, blkno) &&
		check_read(ivf->check, blkno, image, &verdict) &&
		(verdict != PAGE_OK || IvfPageKind(image) != kind ||
		 IvfPageGetOpaque(image)->generation != ivf->view->meta.generation) &&
		is_stale(ivf))
		return false;
	if (!read_kind(ivf, blkno, kind, image))
		return false;
	if (IvfPageGetOpaque(image)->generation == ivf->view->meta.generation)
		return true;
	check_report(ivf->check, CHECK_CORRUPTION, "page_generation", blkno, CHECK_NO_ITEM,
				 "The %s page has generation %u instead of %u.", ivf_kind_name(kind),
				 IvfPageGetOpaque(image)->generation, ivf->view->meta.generation);
	return false;
}

/* ---- metapage, extents, centroids (I1, I2, I7) ------------------------------ */

/* False when nothing else can be checked. */
static bool
check_meta(IvfCheck *ivf)
{
	Check	   *check = ivf->check;
	int			dims = TupleDescAttr(RelationGetDescr(check->index), 0)->atttypmod;
	Metric		metric = support_metric(check->index, false);
	PGAlignedBlock image;
	const char *flaw;

	if (!read_kind(ivf, IVF_META_BLOCK, IVF_PAGE_META, image.data))
		return false;
	if (IvfPageUsed(image.data) != sizeof(IvfMetaPageData))
	{
		check_report(check, CHECK_CORRUPTION, "meta", IVF_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage has %d bytes of content instead of %zu.",
					 (int) IvfPageUsed(image.data), sizeof(IvfMetaPageData));
		return false;
	}
	memcpy(&ivf->meta, IvfPageGetMeta(image.data), sizeof(IvfMetaPageData));

	flaw = ivf_meta_flaw(&ivf->meta, check->nblocks);
	if (flaw)
	{
		check_report(check, CHECK_CORRUPTION, "meta", IVF_META_BLOCK, CHECK_NO_ITEM,
					 "%s", flaw);
		return false;
	}
	/* ALTER TABLE may take the dimensions from the column: the index keeps its file */
	if (dims >= 0 && ivf->meta.dims != dims)
	{
		check_report(check, CHECK_CORRUPTION, "meta_dims", IVF_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage says %u dimensions, but the column has %d.",
					 ivf->meta.dims, dims);
		return false;
	}
	if (ivf->meta.metric != metric)
	{
		check_report(check, CHECK_CORRUPTION, "meta_metric", IVF_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage says metric \"%s\", but the operator class is for \"%s\".",
					 support_metric_name((Metric) ivf->meta.metric),
					 support_metric_name(metric));
		return false;
	}

	for (int i = 1; i < ivf->meta.num_targets; i++)
		if (ivf->meta.targets[i].recall <= ivf->meta.targets[i - 1].recall ||
			ivf->meta.targets[i].effort < ivf->meta.targets[i - 1].effort)
			check_report(check, CHECK_CORRUPTION, "meta_targets", IVF_META_BLOCK, CHECK_NO_ITEM,
						 "Recall targets do not ascend: %g takes effort %g, %g takes %g.",
						 ivf->meta.targets[i - 1].recall, ivf->meta.targets[i - 1].effort,
						 ivf->meta.targets[i].recall, ivf->meta.targets[i].effort);
	return true;
}

/* Tick off the blocks of extents; each may have one owner only. */
static bool
reach_extents(IvfCheck *ivf, const IvfExtent *extents, int n, uint8 kind)
{
	for (int i = 0; i < n; i++)
		for (BlockNumber blkno = extents[i].start;
			 blkno < extents[i].start + extents[i].blocks; blkno++)
		{
			if (is_reached(ivf, blkno))
			{
				check_report(ivf->check, CHECK_CORRUPTION, "extent_overlap", blkno, CHECK_NO_ITEM,
							 "The block is in a %s extent, and in another extent as well.",
							 ivf_kind_name(kind));
				return false;
			}
			set_reached(ivf, blkno);
		}
	return true;
}

static bool
check_centroid(IvfCheck *ivf, uint32 list, BlockNumber blkno, const float *value)
{
	Check	   *check = ivf->check;
	double		normsq;

	for (int i = 0; i < ivf->meta.dims; i++)
		if (!isfinite(value[i]))
		{
			check_report(check, CHECK_CORRUPTION, "centroid", blkno, CHECK_NO_ITEM,
						 "Element %d of the centroid of list %u is not finite.", i + 1, list);
			return false;
		}
	if (ivf->meta.metric == METRIC_L2)
		return true;
	normsq = kernel->normsq_double(value, ivf->meta.dims);
	if (fabs(normsq - 1) > UNIT_TOLERANCE)
	{
		check_report(check, CHECK_CORRUPTION, "centroid", blkno, CHECK_NO_ITEM,
					 "The centroid of list %u has the squared length %g instead of 1.",
					 list, normsq);
		return false;
	}
	return true;
}

/* All centroids (I7); true when no one has a fault. */
static bool
check_centroids(IvfCheck *ivf)
{
	Check	   *check = ivf->check;
	int			dims = ivf->meta.dims;
	int			per_page = ivf_centroids_per_page(dims);
	bool		sound = true;
	BlockNumber page_block = InvalidBlockNumber;
	bool		page_good = false;
	PGAlignedBlock image;

	for (uint32 list = 0; list < ivf->view->meta.lists && !check->full && !ivf->stale; list++)
	{
		int			slot;
		BlockNumber blkno = ivf_centroid_block(&ivf->view->meta, list, &slot);
		int			done = 0;

		/* one of several on a page, or the parts of one from several pages */
		while (done < dims)
		{
			int			n = per_page > 0 ? dims : Min(dims - done, IVF_CONT_FLOATS);
			Size		bytes = sizeof(float) * n;

			if (blkno != page_block)
			{
				page_block = blkno;
				page_good = read_kind_of_view(ivf, blkno, IVF_PAGE_CENT, image.data);
			}
			if (page_good && IvfPageUsed(image.data) < bytes * (slot + 1))
			{
				check_report(check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
							 "The page has %d bytes of content, too few for the centroid of list %u.",
							 (int) IvfPageUsed(image.data), list);
				page_good = false;
			}
			if (!page_good)
				break;
			memcpy(ivf->value + done, IvfPageContent(image.data) + bytes * slot, bytes);
			done += n;
			blkno++;
		}
		if (done < dims || !check_centroid(ivf, list, page_block, ivf->value))
			sound = false;
	}
	return sound;
}

/* ---- rows (I5, I6, I8) ------------------------------------------------------ */

/*
 * Is the list of a row that of its nearest centroid?  A build may add up in
 * another order than we, hence the tolerance.
 */
static void
sample_nearest(IvfCheck *ivf, uint32 list, BlockNumber blkno, int item,
			   const float *value, float normsq)
{
	uint32		nearest = 0;
	double		tolerance;

	if (ivf->view != &ivf->views[0] || ivf->sampled == ivf->sample_size ||
		ivf->row_number++ % ivf->sample_step != 0 || !isfinite(normsq))
		return;

	ivf_centroid_distances(ivf->check->index, &ivf->meta, value, ivf->distances);
	for (uint32 i = 1; i < ivf->meta.lists; i++)
		if (ivf->distances[i] < ivf->distances[nearest])
			nearest = i;

	if (ivf->meta.metric == METRIC_L2)
		tolerance = 1e-4 * ((double) ivf->distances[nearest] + normsq);
	else
		tolerance = 1e-4 * sqrt(normsq);
	ivf->sampled++;
	if (ivf->distances[list] > ivf->distances[nearest] + tolerance &&
		ivf->misplaced++ == 0)
	{
		ivf->misplaced_block = blkno;
		ivf->misplaced_item = item;
		ivf->misplaced_list = list;
		ivf->misplaced_nearest = nearest;
	}
}

/*
 * A row, with its value in one piece.  Where its TID can be true it goes to
 * the comparison with the heap whatever else is wrong with it.
 */
static void
check_ivf_row(IvfCheck *ivf, uint32 list, BlockNumber blkno, int item,
			  const IvfRowData *row, const float *value, bool copied)
{
	Check	   *check = ivf->check;
	int			dims = ivf->meta.dims;
	float		normsq = kernel->normsq(value, dims);
	bool		sound = true;

	if (row->attr_length != 0 || row->unused != 0)
	{
		check_report(check, CHECK_CORRUPTION, "row_head", blkno, item,
					 "Attribute length %u and %x, which is unused, should be 0.",
					 row->attr_length, row->unused);
		sound = false;
	}
	for (int i = 0; i < dims; i++)
		if (unlikely(!isfinite(value[i])))
		{
			check_report(check, CHECK_CORRUPTION, "row_value", blkno, item,
						 "Element %d of the value is not finite.", i + 1);
			sound = false;
			break;
		}
	if (sound && memcmp(&row->normsq, &normsq, sizeof(float)) != 0)
	{
		check_report(check, CHECK_CORRUPTION, "row_norm", blkno, item,
					 "The row says its squared norm is %.9g, but it is %.9g.",
					 row->normsq, normsq);
		sound = false;
	}
	if (sound && ivf->meta.metric == METRIC_COSINE && !(normsq > 0))
	{
		check_report(check, CHECK_CORRUPTION, "row_norm", blkno, item,
					 "A value without direction (squared norm %.9g) is not indexed for cosine distance.",
					 normsq);
		sound = false;
	}

	if (!check_tid(check, &row->tid, blkno, item))
		return;
	/* of a copy that is not in use yet the old lists hold the row */
	if (copied)
		return;
	check_row(check, unconstify(ItemPointerData *, &row->tid),
			  hash_bytes_extended((const unsigned char *) value, sizeof(float) * dims, 0),
			  blkno, item);
	if (sound)
		sample_nearest(ivf, list, blkno, item, value, normsq);
}

/* Are the rows of a LIST page copies of those in the old lists? */
static bool
are_copies(IvfCheck *ivf, char *page)
{
	return ivf->view->filling && (IvfPageGetOpaque(page)->flags & IVF_PAGE_COPIES) != 0;
}

/* What is wrong with a CONT page as number i of a LIST page's; NULL: nothing. */
static const char *
cont_flaw(IvfCheck *ivf, BlockNumber owner, const IvfPageOpaqueData *owner_opaque,
		  char *image, PageVerdict verdict, int i, bool filled)
{
	IvfPageOpaque opaque = IvfPageGetOpaque(image);
	int			floats = Min(ivf->meta.dims - IVF_HEAD_FLOATS - i * IVF_CONT_FLOATS,
							 IVF_CONT_FLOATS);

	if (verdict != PAGE_OK || opaque->trailer.kind != IVF_PAGE_CONT)
		return "it is not a sound continuation page";
	if (opaque->next != owner || opaque->seq != owner_opaque->seq ||
		opaque->list != owner_opaque->list ||
		opaque->generation != owner_opaque->generation)
		return "it says it belongs to another page";
	if (filled ? IvfPageUsed(image) != sizeof(float) * floats :
		(IvfPageUsed(image) != 0 && IvfPageUsed(image) != sizeof(float) * floats))
		return "its content has another length than the row's part";
	return NULL;
}

/*
 * The only row of a LIST page whose rows take several, and its CONT pages;
 * page is the LIST page's image, which is read again when it changes
 * meanwhile.
 */
static void
check_long_row(IvfCheck *ivf, uint32 list, BlockNumber blkno, char *page)
{
	Check	   *check = ivf->check;
	uint32		seq = IvfPageGetOpaque(page)->seq;
	PGAlignedBlock image;
	PGAlignedBlock again;

	for (int look = 0; look < MAX_LOOKS; look++)
	{
		IvfPageOpaqueData opaque = *IvfPageGetOpaque(page);
		IvfRow		row = (IvfRow) IvfPageContent(page);
		bool		filled = IvfPageUsed(page) > 0;
		BlockNumber cont = opaque.cont;
		BlockNumber blocks[MAX_CONT_PAGES];
		PageVerdict verdict = PAGE_OK;
		const char *flaw = NULL;
		int			n = 0;

		if (filled)
			memcpy(ivf->value, row->value, sizeof(float) * IVF_HEAD_FLOATS);
		while (cont != InvalidBlockNumber)
		{
			if (n == ivf->cont_pages)
				flaw = "the row has no part left for it";
			for (int i = 0; i < n && flaw == NULL; i++)
				if (blocks[i] == cont)
					flaw = "it is in the row's chain twice";
			if (flaw == NULL && !check_block_exists(check, cont))
				flaw = "the index ends before it";
			if (flaw == NULL && !check_read(check, cont, image.data, &verdict))
				return;
			if (flaw == NULL)
				flaw = cont_flaw(ivf, blkno, &opaque, image.data, verdict, n, filled);
			if (flaw)
				break;
			blocks[n] = cont;
			if (filled)
				memcpy(ivf->value + IVF_HEAD_FLOATS + n * IVF_CONT_FLOATS,
					   IvfPageContent(image.data), IvfPageUsed(image.data));
			n++;
			cont = IvfPageGetOpaque(image.data)->cont;
		}

		/* has anybody been here meanwhile? */
		if (!check->strict)
		{
			if (!check_read(check, blkno, again.data, &verdict))
				return;
			if (verdict != PAGE_OK || IvfPageKind(again.data) != IVF_PAGE_LIST ||
				IvfPageGetOpaque(again.data)->list != list ||
				IvfPageGetOpaque(again.data)->seq != seq)
				return;			/* the page has left the list */
			if (IvfPageUsed(again.data) != IvfPageUsed(page) ||
				IvfPageGetOpaque(again.data)->cont != opaque.cont ||
				memcmp(IvfPageContent(again.data), row, IvfPageUsed(page)) != 0)
			{
				memcpy(page, again.data, BLCKSZ);
				continue;
			}
		}

		for (int i = 0; i < n; i++)
			set_reached(ivf, blocks[i]);
		if (flaw)
		{
			check_report(check, CHECK_CORRUPTION, "row_cont", cont, CHECK_NO_ITEM,
						 "Continuation %d of the row on block %u: %s.",
						 n + 1, blkno, flaw);
			if (check_block_exists(check, cont))
				set_reached(ivf, cont);
			ivf->complete = false;
		}
		else if (filled && n < ivf->cont_pages)
			check_report(check, CHECK_CORRUPTION, "row_cont", blkno, 1,
						 "The row has %d continuation pages instead of %d.",
						 n, ivf->cont_pages);
		else if (filled)
			check_ivf_row(ivf, list, blkno, 1, row, ivf->value, are_copies(ivf, page));
		return;
	}
}

/* What is wrong with COPY page number k of a LIST page; NULL: nothing. */
static const char *
copy_page_flaw(IvfCheck *ivf, BlockNumber owner, char *page, BlockNumber blkno, int k, char *image)
{
	PageVerdict verdict;

	if (!check_block_exists(ivf->check, blkno))
		return "the index ends before it";
	if (!check_read(ivf->check, blkno, image, &verdict))
		return "it cannot be read";
	if (verdict != PAGE_OK || IvfPageKind(image) != IVF_PAGE_COPY)
		return "it is not a sound copy page";
	if (!ivf_is_copy_page(image, &ivf->view->layout, IvfPageGetOpaque(page), owner, k))
		return "it says it belongs to another page, or its content has another length";
	return NULL;
}

/*
 * Read the COPY pages of a LIST page into view->copies (I14); page is the LIST page's
 * image, which is read again when it changes meanwhile.  False: the page has
 * left the list, or there was a finding.
 */
static bool
read_copies(IvfCheck *ivf, uint32 list, BlockNumber blkno, char *page)
{
	Check	   *check = ivf->check;
	IvfLayout  *layout = &ivf->view->layout;
	IvfPageOpaqueData opaque = *IvfPageGetOpaque(page);
	PGAlignedBlock image;
	PGAlignedBlock again;

	for (int look = 0; look < MAX_LOOKS; look++)
	{
		BlockNumber *blocks = ivf_page_copy_blocks(page, layout);
		int			rows = Min(IvfPageGetOpaque(page)->rows, layout->max_rows);
		const char *flaw = NULL;
		PageVerdict verdict;
		int			k;

		for (k = 0; k < layout->copy_pages; k++)
		{
			if (blocks[k] == InvalidBlockNumber)
			{
				if (k * layout->copies_per_page >= rows)
					continue;
				flaw = "there is none";
				break;
			}
			if ((flaw = copy_page_flaw(ivf, blkno, page, blocks[k], k, image.data)) != NULL)
				break;
			memcpy(ivf->view->copies + (Size) k * layout->copies_per_page * layout->copy_size,
				   IvfPageContent(image.data), layout->copies_per_page * layout->copy_size);
		}

		/* has anybody been here meanwhile? */
		if (!check->strict)
		{
			if (!check_read(check, blkno, again.data, &verdict))
				return false;
			if (verdict != PAGE_OK || IvfPageKind(again.data) != IVF_PAGE_LIST ||
				IvfPageGetOpaque(again.data)->list != list ||
				IvfPageGetOpaque(again.data)->generation != opaque.generation ||
				IvfPageGetOpaque(again.data)->seq != opaque.seq ||
				IvfPageUsed(again.data) != layout->end)
				return false;	/* the page has left the list */
			if (IvfPageGetOpaque(again.data)->rows != IvfPageGetOpaque(page)->rows ||
				memcmp(IvfPageContent(again.data), IvfPageContent(page), layout->end) != 0)
			{
				memcpy(page, again.data, BLCKSZ);
				continue;
			}
		}

		for (int i = 0; i < layout->copy_pages; i++)
			if (blocks[i] != InvalidBlockNumber && check_block_exists(check, blocks[i]))
			{
				if (is_reached(ivf, blocks[i]))
					flaw = flaw ? flaw : "another page has it, too";
				set_reached(ivf, blocks[i]);
			}
		if (flaw == NULL)
			return true;
		check_report(check, CHECK_CORRUPTION, "row_copy", blkno, CHECK_NO_ITEM,
					 "Copy page %d of the page, block %u: %s.", Min(k, layout->copy_pages - 1) + 1,
					 blocks[Min(k, layout->copy_pages - 1)], flaw);
		return false;
	}
	check_report(check, CHECK_NOTE, "chain_busy", blkno, CHECK_NO_ITEM,
				 "The page changed %d times while it was read: its copies were not checked.", MAX_LOOKS);
	ivf->complete = false;
	return false;
}

/* A copy of a row (I14): its TID, and numbers that can be true. */
static void
check_copy(IvfCheck *ivf, BlockNumber blkno, int i, const ItemPointerData *tid, const IvfCopyData *copy)
{
	if (!ItemPointerEquals(unconstify(ItemPointerData *, tid), unconstify(ItemPointerData *, &copy->tid)))
		check_report(ivf->check, CHECK_CORRUPTION, "row_copy", blkno, i + 1,
					 "The row's copy is of (%u,%u), but the row points to (%u,%u).",
					 ItemPointerGetBlockNumberNoCheck(&copy->tid),
					 ItemPointerGetOffsetNumberNoCheck(&copy->tid),
					 ItemPointerGetBlockNumberNoCheck(tid), ItemPointerGetOffsetNumberNoCheck(tid));
	if (!isfinite(copy->scale) || !(copy->scale > 0) || !(copy->error >= 0) || copy->unused != 0)
		check_report(ivf->check, CHECK_CORRUPTION, "row_copy", blkno, i + 1,
					 "The row's copy has scale %g, error %g and %x, which is unused.",
					 copy->scale, copy->error, copy->unused);
}

/* Hash of a row as it moves, without its TIDs: code and copy */
static uint32
hash_row(const IvfLayout *layout, const char *row)
{
	uint32		hash = hash_bytes((const unsigned char *) row + sizeof(ItemPointerData),
								  layout->row_size - sizeof(ItemPointerData));

	if (layout->has_copies)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) row + layout->copy_at +
											 sizeof(ItemPointerData),
											 layout->copy_size - sizeof(ItemPointerData)));
	return hash;
}

/*
 * The rows of a LIST page of ivfpq (I5, I6, I14).  What is compared with the heap
 * is the view and the list, in the upper half, and a hash of factors, code and copy.
 */
#define VIEW_SHIFT	63
#define LIST_MASK	0x7FFFFFFF

static void
check_codes(IvfCheck *ivf, uint32 list, BlockNumber blkno, char *page)
{
	Check	   *check = ivf->check;
	IvfView    *view = ivf->view;
	IvfLayout  *layout = &view->layout;
	IvfPageOpaque opaque = IvfPageGetOpaque(page);

	if (IvfPageUsed(page) != layout->end || opaque->rows > layout->max_rows ||
		opaque->cont != InvalidBlockNumber)
	{
		check_report(check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
					 "The page says it has %u of at most %d rows, in %d bytes instead of %u.",
					 opaque->rows, layout->max_rows, (int) IvfPageUsed(page), layout->end);
		return;
	}
	if (layout->has_copies && !read_copies(ivf, list, blkno, page))
		return;
	for (int i = 0; i < opaque->rows && !check->full; i++)
	{
		ItemPointerData tid = *ivf_page_tid(page, layout, i);
		float		factors[CODEC_MAX_FACTORS];
		bool		sound = true;

		/* TID, norm, factors, code */
		ivf_page_get_row(page, layout, i, view->code);
		if (layout->has_copies)
		{
			IvfCopy		copy = (IvfCopy) (view->code + layout->copy_at);

			memcpy(copy, view->copies + (Size) i * layout->copy_size, layout->copy_size);
			check_copy(ivf, blkno, i, &tid, copy);
		}
		memcpy(factors, view->code + layout->row_size - codec_record_size(&layout->codec),
			   sizeof(float) * layout->codec.nfactors);
		for (int j = 0; j < layout->codec.nfactors; j++)
			sound &= isfinite(factors[j]);
		if (layout->has_norms)
			sound &= isfinite(*ivf_page_norms(page, layout, i)) &&
				*ivf_page_norms(page, layout, i) >= 0;
		if (!sound)
			check_report(check, CHECK_CORRUPTION, "row_factors", blkno, i + 1,
						 "A number beside the code is not finite, or the length is negative.");
		if (!check_tid(check, &tid, blkno, i + 1))
			continue;
		if (are_copies(ivf, page))
			continue;
		check_row(check, &tid, (uint64) (view - ivf->views) << VIEW_SHIFT | (uint64) list << 32 |
				  hash_row(layout, view->code), blkno, i + 1);
	}
}

/*
 * Read words (of 4 bytes) from the pages of a kind, which follow each other from blkno on;
 * false when they are not there.
 */
static bool
read_words(IvfCheck *ivf, BlockNumber blkno, uint8 kind, Size words, void *out)
{
	PGAlignedBlock image;

	for (Size done = 0; done < words; done += IVF_CONT_FLOATS, blkno++)
	{
		Size		part = Min(words - done, IVF_CONT_FLOATS);

		if (!read_kind_of_view(ivf, blkno, kind, image.data))
			return false;
		if (IvfPageUsed(image.data) != sizeof(float) * part)
		{
			check_report(ivf->check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
						 "The page has %d bytes of content instead of %zu.",
						 (int) IvfPageUsed(image.data), sizeof(float) * part);
			return false;
		}
		memcpy((float *) out + done, IvfPageContent(image.data), sizeof(float) * part);
	}
	return true;
}

/* Groups divide the lists, and their middles are finite (I13). */
static bool
check_groups(IvfCheck *ivf)
{
	const IvfMetaPageData *meta = &ivf->view->meta;
	Size		words = ivf_group_words(meta->groups, meta->dims);
	float	   *all;
	const char *flaw;

	if (meta->groups == 0)
		return true;
	all = palloc_extended(sizeof(float) * words, MCXT_ALLOC_HUGE);
	if (!read_words(ivf, meta->group.start, IVF_PAGE_GROUP, words, all))
		return false;
	flaw = ivf_groups_flaw(meta, (uint32 *) all);
	for (Size i = meta->groups; flaw == NULL && i < words; i++)
		if (!isfinite(all[i]))
			flaw = "The middle of a group is not finite.";
	if (flaw)
		check_report(ivf->check, CHECK_CORRUPTION, "groups", meta->group.start, CHECK_NO_ITEM,
					 "%s", flaw);
	pfree(all);
	return flaw == NULL;
}

/* What a codec has learnt: finite (I7). */
static bool
check_code_state(IvfCheck *ivf)
{
	Check	   *check = ivf->check;
	IvfView    *view = ivf->view;
	IvfMetaPageData *meta = &view->meta;
	Size		floats;
	float	   *state;

	(void) codec_init(&view->codec, (CodecKind) meta->codec, meta->dims, meta->code_bits,
					  meta->code_parts, meta->code_seed);
	floats = codec_state_floats(&view->codec);
	state = palloc_extended(sizeof(float) * floats + 1, MCXT_ALLOC_HUGE);
	if (!read_words(ivf, meta->code.start, IVF_PAGE_CODEC, floats, state))
		return false;
	for (Size i = 0; i < floats; i++)
		if (!isfinite(state[i]))
		{
			check_report(check, CHECK_CORRUPTION, "codec",
						 meta->code.start + (BlockNumber) (i / IVF_CONT_FLOATS), CHECK_NO_ITEM,
						 "Number %zu of what the codec has learnt is not finite.", i + 1);
			return false;
		}
	codec_attach(&view->codec, state, palloc(codec_memory(&view->codec) + 1));
	if (codec_space_skew(&view->codec) > UNIT_TOLERANCE)
	{
		check_report(check, CHECK_CORRUPTION, "codec", meta->code.start, CHECK_NO_ITEM,
					 "What the codec has learnt is no rotation: the squared length of a row is %g off 1.",
					 codec_space_skew(&view->codec));
		return false;
	}
	view->centroid_list = PG_UINT32_MAX;
	view->centroid = palloc(sizeof(float) * view->codec.work_dim);
	view->scratch = palloc(ivf_encode_scratch(&view->codec));
	view->code = palloc(view->layout.moved_size);
	view->copies = palloc_extended((Size) view->layout.copy_pages * view->layout.copies_per_page *
								   view->layout.copy_size + 1, MCXT_ALLOC_HUGE);
	ivf->row = palloc(IVF_ROW_HEAD + sizeof(float) * ivf->meta.dims);
	return true;
}

/* The content of a LIST page (I5). */
static void
check_list_content(IvfCheck *ivf, uint32 list, BlockNumber blkno, char *page)
{
	Check	   *check = ivf->check;
	int			used = IvfPageUsed(page);
	int			row_size = ivf->meta.row_size;
	uint32		flags = IvfPageGetOpaque(page)->flags;

	if ((flags & ~(IVF_PAGE_FROZEN | IVF_PAGE_COPIES)) != 0 ||
		((flags & IVF_PAGE_FROZEN) != 0 && take_rows(ivf)))
		check_report(check, CHECK_CORRUPTION, "page_flags", blkno, CHECK_NO_ITEM,
					 "The page has flags %x, but it is in a list that takes rows.", flags);

	if (ivf->codes)
	{
		check_codes(ivf, list, blkno, page);
		return;
	}
	if (ivf->is_long)
	{
		if (used != 0 && used != IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS)
			check_report(check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
						 "The page has %d bytes of content, neither none nor the beginning of a row, %zu.",
						 used, IVF_ROW_HEAD + sizeof(float) * IVF_HEAD_FLOATS);
		else
			check_long_row(ivf, list, blkno, page);
		return;
	}

	if (used % row_size != 0)
		check_report(check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
					 "The page has %d bytes of content, not a whole number of rows of %d bytes.",
					 used, row_size);
	if (IvfPageGetOpaque(page)->cont != InvalidBlockNumber)
		check_report(check, CHECK_CORRUPTION, "row_cont", blkno, CHECK_NO_ITEM,
					 "The page names block %u as continuation, but rows of %d bytes need none.",
					 IvfPageGetOpaque(page)->cont, row_size);
	for (int i = 0; i < used / row_size && !check->full; i++)
	{
		IvfRow		row = (IvfRow) (IvfPageContent(page) + i * row_size);

		check_ivf_row(ivf, list, blkno, i + 1, row, row->value, are_copies(ivf, page));
	}
}

/* ---- chains (I3, I4) -------------------------------------------------------- */

/* What the page at the end of a link should be. */
typedef struct Link
{
	uint32		list;
	uint32		generation;
	BlockNumber from;			/* LIST page with the link; invalid: the
								 * directory */
	uint32		from_seq;
	BlockNumber block;
	uint32		seq;
} Link;

static bool
is_page_of(char *image, PageVerdict verdict, const Link *link, uint32 seq)
{
	IvfPageOpaque opaque = IvfPageGetOpaque(image);

	return verdict == PAGE_OK && opaque->trailer.kind == IVF_PAGE_LIST &&
		opaque->list == link->list && opaque->generation == link->generation &&
		opaque->seq == seq;
}

/*
 * The target of a link is not what it should be.  Does the page it came from
 * still have that link?  Heads never move.
 */
static bool
link_stands(IvfCheck *ivf, const Link *link)
{
	PGAlignedBlock image;
	PageVerdict verdict;

	if (ivf->check->strict || link->from == InvalidBlockNumber)
		return true;
	if (!check_read(ivf->check, link->from, image.data, &verdict))
		return true;
	return is_page_of(image.data, verdict, link, link->from_seq) &&
		IvfPageGetOpaque(image.data)->next == link->block &&
		IvfPageGetOpaque(image.data)->next_seq == link->seq;
}

static void
report_link(IvfCheck *ivf, const Link *link, char *image, PageVerdict verdict)
{
	IvfPageOpaque opaque = IvfPageGetOpaque(image);
	char		origin[64];

	if (link->from == InvalidBlockNumber)
		strlcpy(origin, "the directory", sizeof(origin));
	else
		snprintf(origin, sizeof(origin), "block %u", link->from);

	if (verdict == PAGE_OK)
		check_report(ivf->check, CHECK_CORRUPTION, "chain_link", link->block, CHECK_NO_ITEM,
					 "From %s: expected a list page of list %u, generation %u, seq %u, found a %s page of list %u, generation %u, seq %u.",
					 origin, link->list, link->generation, link->seq,
					 ivf_kind_name(opaque->trailer.kind), opaque->list,
					 opaque->generation, opaque->seq);
	else
		check_report(ivf->check, CHECK_CORRUPTION, verdict == PAGE_FORMAT ? "page_format" : "page_broken",
					 link->block, CHECK_NO_ITEM,
					 "From %s: expected a list page of list %u, found %s.",
					 origin, link->list,
					 verdict == PAGE_ZERO ? "a page of zeros" :
					 verdict == PAGE_FORMAT ? "a page of another format version" :
					 "a page with a wrong header or page id");
}

/* The link's target was reported: say no more of it and of what follows. */
static void
give_up_chain(IvfCheck *ivf, const Link *link)
{
	set_reached(ivf, link->block);
	ivf->complete = false;
}

/*
 * Walk the chain of a list.  When VACUUM takes away the page we are about to
 * visit, begin again at the head and pass over what was done.
 */
static void
check_chain(IvfCheck *ivf, uint32 list, const IvfListData *entry)
{
	Check	   *check = ivf->check;
	Link		head = {list, entry->generation, InvalidBlockNumber, 0, entry->head, 1};
	Link		link = head;
	int			looks = 0;
	PGAlignedBlock image;

	while (link.block != InvalidBlockNumber && !check->full)
	{
		IvfPageOpaque opaque = IvfPageGetOpaque(image.data);
		PageVerdict verdict;

		if (!check_block_exists(check, link.block))
		{
			check_report(check, CHECK_CORRUPTION, "chain_link",
						 link.from == InvalidBlockNumber ? CHECK_NO_BLOCK : link.from,
						 CHECK_NO_ITEM,
						 "List %u goes on at block %u, but the index has %u blocks.",
						 list, link.block, check->nblocks);
			ivf->complete = false;
			return;
		}
		if (!check_read(check, link.block, image.data, &verdict))
		{
			give_up_chain(ivf, &link);
			return;
		}
		if (!is_page_of(image.data, verdict, &link, link.seq))
		{
			if (is_stale(ivf))
				return;
			/* twice the same answer from both pages is the truth */
			if (link_stands(ivf, &link) &&
				(check->strict ||
				 (check_read(check, link.block, image.data, &verdict) &&
				  !is_page_of(image.data, verdict, &link, link.seq) &&
				  link_stands(ivf, &link))))
			{
				report_link(ivf, &link, image.data, verdict);
				give_up_chain(ivf, &link);
				return;
			}
			if (++looks == MAX_LOOKS)
			{
				check_report(check, CHECK_NOTE, "chain_busy", link.block, CHECK_NO_ITEM,
							 "List %u changed %d times while it was read: its end was not checked.",
							 list, looks);
				ivf->complete = false;
				return;
			}
			link = head;
			continue;
		}

		if (opaque->next == InvalidBlockNumber ? opaque->next_seq != 0 :
			opaque->next_seq <= opaque->seq)
		{
			check_report(check, CHECK_CORRUPTION, "chain_seq", link.block, CHECK_NO_ITEM,
						 "The page has seq %u and goes on at block %u with seq %u: it must ascend, or end with 0.",
						 opaque->seq, opaque->next, opaque->next_seq);
			ivf->complete = false;
		}

		link.from = link.block;
		link.from_seq = link.seq;
		link.block = opaque->next;
		link.seq = opaque->next_seq;
		if (link.from_seq > ivf->view->last_seq[list])
		{
			ivf->view->last_seq[list] = link.from_seq;
			set_reached(ivf, link.from);
			check_list_content(ivf, list, link.from, image.data);
		}
		if (link.block != InvalidBlockNumber && link.seq <= link.from_seq)
			return;
	}
}

/* A directory entry (I3); false when its chain cannot be followed. */
static bool
check_entry(IvfCheck *ivf, uint32 list, BlockNumber blkno, int item,
			const IvfListData *entry)
{
	Check	   *check = ivf->check;
	bool		superseded = (entry->flags & IVF_LIST_SUPERSEDED) != 0;

	if ((entry->flags & ~IVF_LIST_SUPERSEDED) != 0 || entry->unused != 0)
		check_report(check, CHECK_CORRUPTION, "list_entry", blkno, item,
					 "List %u has unknown flags %x, or an unused field that is %u instead of 0.",
					 list, entry->flags, entry->unused);
	if (superseded ?
		(entry->successors == 0 ||
		 (uint64) entry->successor + entry->successors > ivf->view->meta.lists) :
		(entry->successor != 0 || entry->successors != 0))
		check_report(check, CHECK_CORRUPTION, "list_entry", blkno, item,
					 "List %u is %ssuperseded, but names %u successors from list %u on, of %u lists.",
					 list, superseded ? "" : "not ", entry->successors,
					 entry->successor, ivf->view->meta.lists);
	if (entry->generation > ivf->view->meta.generation)
		check_report(check, CHECK_CORRUPTION, "list_entry", blkno, item,
					 "List %u has generation %u, but the index has reached %u only.",
					 list, entry->generation, ivf->view->meta.generation);
	if (!check_block_exists(check, entry->insert))
		check_report(check, CHECK_CORRUPTION, "list_entry", blkno, item,
					 "The insert hint of list %u is block %u, but the index has %u blocks.",
					 list, entry->insert, check->nblocks);
	if (!check_block_exists(check, entry->head))
	{
		check_report(check, CHECK_CORRUPTION, "list_entry", blkno, item,
					 "The head of list %u is block %u, but the index has %u blocks.",
					 list, entry->head, check->nblocks);
		return false;
	}
	return true;
}

static void
check_lists(IvfCheck *ivf)
{
	Check	   *check = ivf->check;
	BlockNumber page_block = InvalidBlockNumber;
	bool		page_good = false;
	uint32		alive = 0;
	bool		all_seen = true;
	PGAlignedBlock image;

	for (uint32 list = 0; list < ivf->view->meta.lists && !check->full && !ivf->stale; list++)
	{
		int			slot;
		BlockNumber blkno = ivf_list_block(&ivf->view->meta, list, &slot);
		IvfListData entry;

		if (blkno != page_block)
		{
			page_block = blkno;
			page_good = read_kind_of_view(ivf, blkno, IVF_PAGE_DIR, image.data);
		}
		if (page_good &&
			(IvfPageUsed(image.data) % sizeof(IvfListData) != 0 ||
			 IvfPageUsed(image.data) < (slot + 1) * sizeof(IvfListData)))
		{
			check_report(check, CHECK_CORRUPTION, "page_content", blkno, CHECK_NO_ITEM,
						 "The page has %d bytes of content, which does not fit entry %d of the directory.",
						 (int) IvfPageUsed(image.data), slot + 1);
			page_good = false;
		}
		if (!page_good)
		{
			all_seen = ivf->complete = false;
			continue;
		}

		entry = ((IvfListData *) IvfPageContent(image.data))[slot];
		if ((entry.flags & IVF_LIST_SUPERSEDED) == 0)
			alive++;
		if (check_entry(ivf, list, blkno, slot + 1, &entry))
			check_chain(ivf, list, &entry);
		else
			ivf->complete = false;
	}
	if (all_seen && !check->full && !ivf->stale && alive != ivf->view->meta.lists_alive)
		check_report(check, CHECK_CORRUPTION, "meta_lists", IVF_META_BLOCK, CHECK_NO_ITEM,
					 "The metapage says %u lists are alive, but %u are.",
					 ivf->view->meta.lists_alive, alive);
}

/* ---- blocks that nothing reached (I2) --------------------------------------- */

/*
 * A page of a list with a seq that the walk has passed: VACUUM may have taken
 * the tail away and an insert have made a new one.  Look for it once more,
 * and believe the page where the chain changes as we go.
 */
static bool
joined_late(IvfCheck *ivf, const IvfView *view, BlockNumber blkno,
			const IvfPageOpaqueData *opaque)
{
	Check	   *check = ivf->check;
	IvfListData entry;
	BlockNumber at;
	uint32		seq = 0;
	PGAlignedBlock page;
	PageVerdict verdict;

	ivf_list_read(check->index, &view->meta, opaque->list, &entry);
	for (at = entry.head; at != blkno && at != InvalidBlockNumber;
		 at = IvfPageGetOpaque(page.data)->next)
	{
		if (!check_block_exists(check, at) ||
			!check_read(check, at, page.data, &verdict))
			return false;
		if (verdict != PAGE_OK || IvfPageKind(page.data) != IVF_PAGE_LIST ||
			IvfPageGetOpaque(page.data)->list != opaque->list ||
			IvfPageGetOpaque(page.data)->seq <= seq)
			return true;
		seq = IvfPageGetOpaque(page.data)->seq;
	}
	if (at == blkno)
		return true;
	return !check_read(check, blkno, page.data, &verdict) ||
		memcmp(IvfPageGetOpaque(page.data), opaque, sizeof(IvfPageOpaqueData)) != 0;
}

/* Did the page come into its list, or to its owner, behind our back? */
static bool
is_newcomer(IvfCheck *ivf, const IvfView *view, BlockNumber blkno, char *image)
{
	IvfPageOpaqueData opaque = *IvfPageGetOpaque(image);
	PageVerdict verdict;
	PGAlignedBlock page;
	BlockNumber cont;

	if (ivf->check->strict || opaque.list >= view->meta.lists)
		return false;
	if (opaque.seq > view->last_seq[opaque.list])
		return true;
	if (opaque.trailer.kind == IVF_PAGE_LIST)
		return joined_late(ivf, view, blkno, &opaque);
	if (opaque.trailer.kind == IVF_PAGE_COPY)
		return check_block_exists(ivf->check, opaque.next) &&
			check_read(ivf->check, opaque.next, page.data, &verdict) &&
			verdict == PAGE_OK && IvfPageKind(page.data) == IVF_PAGE_LIST &&
			IvfPageUsed(page.data) == view->layout.end &&
			opaque.next_seq < view->layout.copy_pages &&
			ivf_page_copy_blocks(page.data, &view->layout)[opaque.next_seq] == blkno;
	if (opaque.trailer.kind != IVF_PAGE_CONT)
		return false;

	/* attached to a page that we have seen without it? */
	if (!check_block_exists(ivf->check, opaque.next) ||
		!check_read(ivf->check, opaque.next, page.data, &verdict) ||
		verdict != PAGE_OK || IvfPageKind(page.data) != IVF_PAGE_LIST ||
		IvfPageGetOpaque(page.data)->seq != opaque.seq)
		return false;
	cont = IvfPageGetOpaque(page.data)->cont;
	for (int i = 0; i < ivf->cont_pages && cont != InvalidBlockNumber; i++)
	{
		if (cont == blkno)
			return true;
		if (!check_block_exists(ivf->check, cont) ||
			!check_read(ivf->check, cont, page.data, &verdict) || verdict != PAGE_OK)
			return false;
		cont = IvfPageGetOpaque(page.data)->cont;
	}
	return false;
}

/* The view that a page's generation belongs to, or NULL. */
static const IvfView *
view_of(IvfCheck *ivf, char *image)
{
	uint32		generation = IvfPageGetOpaque(image)->generation;

	for (int i = 0; i < ivf->nviews; i++)
		if (ivf->views[i].meta.generation == generation)
			return &ivf->views[i];
	return NULL;
}

/*
 * A page of a generation that is not in use.  The retired one's are in order: a
 * later VACUUM frees them.  Others were left by a training that came to nothing,
 * or, unless the check is strict, are those of one that has begun since.
 */
static void
count_waiting(IvfCheck *ivf, BlockNumber blkno, char *image)
{
	if (ivf->meta.retired_xid != 0 &&
		IvfPageGetOpaque(image)->generation == ivf->meta.retired_generation)
		return;
	if (ivf->waiting++ == 0)
		ivf->waiting_block = blkno;
}

static void
check_rest(IvfCheck *ivf)
{
	Check	   *check = ivf->check;
	BlockNumber nblocks = check->nblocks;
	PGAlignedBlock image;

	for (BlockNumber blkno = 0; blkno < nblocks && !check->full; blkno++)
	{
		PageVerdict verdict;
		uint8		kind;

		if (is_reached(ivf, blkno) || !check_read(check, blkno, image.data, &verdict))
			continue;
		switch (verdict)
		{
			case PAGE_OK:
				break;
			case PAGE_ZERO:
				check_report(check, CHECK_NOTE, "page_zero", blkno, CHECK_NO_ITEM,
							 "The page is all zero, as a crash leaves it; VACUUM will make use of it.");
				continue;
			case PAGE_FORMAT:
				check_report(check, CHECK_CORRUPTION, "page_format", blkno, CHECK_NO_ITEM,
							 "The page has format version %d, but this vecdb reads version %d.",
							 PageGetTrailer(image.data)->format, VECDB_PAGE_FORMAT);
				continue;
			case PAGE_BROKEN:
				check_report(check, CHECK_CORRUPTION, "page_broken", blkno, CHECK_NO_ITEM,
							 "The page header or the page id (%04x, expected %04x) is wrong.",
							 PageGetTrailer(image.data)->page_id, VECDB_PAGE_ID);
				continue;
		}

		kind = IvfPageKind(image.data);
		if (kind == VECDB_PAGE_FREE)
			continue;
		if (kind == IVF_PAGE_META || kind > IVF_PAGE_LAST)
			check_report(check, CHECK_CORRUPTION, "page_kind", blkno, CHECK_NO_ITEM,
						 "A page of kind %d (%s) has no place here.", kind, ivf_kind_name(kind));
		else if (view_of(ivf, image.data) == NULL)
			count_waiting(ivf, blkno, image.data);
		else if (ivf->complete &&
				 !is_newcomer(ivf, view_of(ivf, image.data), blkno, image.data))
			check_report(check, check->strict ? CHECK_DAMAGE : CHECK_NOTE, "page_orphan",
						 blkno, CHECK_NO_ITEM,
						 "The %s page (list %u, seq %u) is reached by nothing%s.",
						 ivf_kind_name(kind), IvfPageGetOpaque(image.data)->list,
						 IvfPageGetOpaque(image.data)->seq,
						 check->strict ? ": its space is lost until a REINDEX" :
						 "; if a strict check says the same, its space is lost until a REINDEX");
	}
}

/* ---- what check.c calls ------------------------------------------------------ */

static bool
ivf_structure(Check *check)
{
	IvfCheck   *ivf = palloc0(sizeof(IvfCheck));

	ivf->check = check;
	check->method_state = ivf;
	if (!check_meta(ivf))
		return false;

	ivf->codes = ivf->meta.codec != CODEC_NONE;
	ivf->is_long = ivf->meta.row_size > IVF_PAGE_CAPACITY;
	ivf->cont_pages = ivf->codes ? 0 : ivf_cont_pages(ivf->meta.dims);
	ivf->reached_size = check->nblocks;
	ivf->reached = MemoryContextAllocExtended(CurrentMemoryContext,
											  ivf->reached_size / 8 + 1,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	ivf->value = palloc(sizeof(float) * ivf->meta.dims);
	ivf->complete = true;

	ivf->views[ivf->nviews++].meta = ivf->meta;
	if (ivf->meta.next_generation != 0)
	{
		ivf->views[ivf->nviews].meta = ivf->meta;
		ivf_meta_take_next(&ivf->views[ivf->nviews].meta);
		ivf->views[ivf->nviews++].filling = true;
	}
	ivf->views[ivf->nviews - 1].open = true;

	set_reached(ivf, IVF_META_BLOCK);
	for (int i = 0; i < ivf->nviews; i++)
	{
		IvfMetaPageData *meta = &ivf->views[i].meta;

		ivf_layout(meta, &ivf->views[i].layout);
		ivf->views[i].last_seq = palloc0(sizeof(uint32) * meta->lists);
		if (!reach_extents(ivf, meta->dir, meta->dir_extents, IVF_PAGE_DIR) ||
			!reach_extents(ivf, meta->cent, meta->cent_extents, IVF_PAGE_CENT) ||
			!reach_extents(ivf, &meta->code, meta->code_extents, IVF_PAGE_CODEC) ||
			!reach_extents(ivf, &meta->group, meta->groups > 0 ? 1 : 0, IVF_PAGE_GROUP))
			return false;
	}

	for (int i = 0; i < ivf->nviews; i++)
	{
		ivf->view = &ivf->views[i];
		if (ivf->codes && !check_code_state(ivf))
			return false;
		ivf->view->sound_centroids = ivf->view->meta.generation == 0 || check_centroids(ivf);
		if (!check_groups(ivf))
			return false;
	}
	if (ivf->views[0].sound_centroids && ivf->meta.generation > 0 && ivf->meta.lists > 1)
	{
		double		rows = check->nblocks * (double) ivf->views[0].layout.max_rows;
		double		samples = NEAREST_WORK / ((double) ivf->meta.lists * ivf->meta.dims);

		ivf->sample_size = (uint64) Max(Min(samples, NEAREST_ROWS), 100);
		ivf->sample_step = (uint64) Max(rows / ivf->sample_size, 1);
		ivf->distances = palloc(sizeof(float) * ivf->meta.lists);
	}

	for (int i = 0; i < ivf->nviews; i++)
	{
		ivf->view = &ivf->views[i];
		check_lists(ivf);
	}
	if (!ivf->stale)
		check_rest(ivf);

	if (ivf->waiting > 0 && check->strict)
		check_report(check, CHECK_NOTE, "pages_waiting", ivf->waiting_block, CHECK_NO_ITEM,
					 UINT64_FORMAT " pages from here on were left by a training that came to nothing; VACUUM will make use of them.",
					 ivf->waiting);

	/* a row is compared with the nearest groups only: it may miss a nearer list */
	if (ivf->misplaced > (ivf->meta.groups > 0 ? ivf->sampled / MISPLACED_SHARE : 0))
		check_report(check, CHECK_NOTE, "list_nearest",
					 ivf->misplaced_block, ivf->misplaced_item,
					 UINT64_FORMAT " of " UINT64_FORMAT " sampled rows are not in the list of their nearest centroid; this one is in list %u, but nearest to list %u.",
					 ivf->misplaced, ivf->sampled, ivf->misplaced_list,
					 ivf->misplaced_nearest);
	return !ivf->stale;
}

/* The same hash as check_ivf_row(); cosine distance indexes no zero vectors. */
static bool
ivf_fingerprint(Check *check, Datum value, uint64 *hash)
{
	IvfCheck   *ivf = check->method_state;
	Vector	   *vector = DatumGetVector(value);

	if (ivf->meta.metric == METRIC_COSINE && !(kernel->normsq(vector->x, vector->dim) > 0))
		return false;
	*hash = hash_bytes_extended((const unsigned char *) vector->x,
								sizeof(float) * vector->dim, 0);
	return true;
}

/* Make the code of a value for its row's list again, and compare it. */
static bool
ivf_matches(Check *check, Datum value, uint64 hash)
{
	IvfCheck   *ivf = check->method_state;
	IvfView    *view = &ivf->views[hash >> VIEW_SHIFT];
	uint32		list = (uint32) (hash >> 32) & LIST_MASK;
	ItemPointerData tid = {0};

	/* whoever damaged a centroid was reported; its rows are not to blame */
	if (!view->sound_centroids)
		return true;
	if (list != view->centroid_list)
	{
		ivf_codec_centroid_of(check->index, &view->meta, &view->codec, list, view->centroid);
		view->centroid_list = list;
	}
	(void) ivf_form_row((Metric) ivf->meta.metric, ivf->meta.dims, value, &tid, ivf->row);
	ivf_make_row(&view->codec, &view->layout, (Metric) ivf->meta.metric, view->centroid, ivf->row,
				 view->scratch, view->code);
	return (uint32) hash == hash_row(&view->layout, view->code);
}

/* As check_ivf_method.fingerprint and matches have it: the latter for ivfpq only. */
static bool
ivf_matches_any(Check *check, Datum value, uint64 hash)
{
	IvfCheck   *ivf = check->method_state;
	uint64		expected;

	if (ivf->codes)
		return ivf_matches(check, value, hash);
	return ivf_fingerprint(check, value, &expected) && hash == expected;
}

static int
ivf_count_tid(Check *check, BlockNumber blkno, ItemPointer tid)
{
	IvfCheck   *ivf = check->method_state;
	int			count = 0;
	int			rows;
	const IvfView *view;
	PGAlignedBlock image;
	PageVerdict verdict;

	if (!check_read(check, blkno, image.data, &verdict) || verdict != PAGE_OK ||
		IvfPageKind(image.data) != IVF_PAGE_LIST || (view = view_of(ivf, image.data)) == NULL)
		return 0;
	if (ivf->codes)
		rows = IvfPageUsed(image.data) == view->layout.end ?
			Min(IvfPageGetOpaque(image.data)->rows, view->layout.max_rows) : 0;
	else if (ivf->is_long)
		rows = IvfPageUsed(image.data) >= IVF_ROW_HEAD;
	else
		rows = IvfPageUsed(image.data) / ivf->meta.row_size;
	for (int i = 0; i < rows; i++)
		if (ItemPointerEquals(ivf_page_tid(image.data, &view->layout, i), tid))
			count++;
	return count;
}

const CheckMethod check_ivf_method = {
	.special_size = IVF_SPECIAL_SIZE,
	.structure = ivf_structure,
	.fingerprint = ivf_fingerprint,
	.matches = ivf_matches_any,
	.count_tid = ivf_count_tid
};
