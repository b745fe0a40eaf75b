/*-------------------------------------------------------------------------
 *
 * page.h
 *	  Index pages: read, lock, check; edit under WAL or during a build;
 *	  allocate and free.
 *
 * Every page of every access method of ours ends with a trailer, so that a
 * page can be told apart from any other file's:
 *
 *	OFFSET FROM END	SIZE	DESCRIPTION
 *	4				1		kind: what the page holds (per access method)
 *	3				1		format version of the page
 *	2				2		page id, VECDB_PAGE_ID
 *
 * README.md of this room: lock rules, WAL rules, free space.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_PAGE_H
#define VECDB_PAGE_H

#include "access/generic_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "compat.h"

#define VECDB_PAGE_ID		0xFFA7
/* Raise when any page changes its layout; older pages then say REINDEX. */
#define VECDB_PAGE_FORMAT	5

typedef struct VecdbPageTrailer
{
	uint8		kind;			/* see *_page.h of the access method */
	uint8		format;			/* VECDB_PAGE_FORMAT */
	uint16		page_id;		/* VECDB_PAGE_ID */
} VecdbPageTrailer;

StaticAssertDecl(sizeof(VecdbPageTrailer) == 4, "page trailer is 4 bytes");

/* A page that belongs to nothing and may be taken by page_new(). */
#define VECDB_PAGE_FREE		0

#define PageGetTrailer(page) \
	((VecdbPageTrailer *) ((char *) (page) + BLCKSZ - sizeof(VecdbPageTrailer)))

/* What page_check() found */
typedef enum PageVerdict
{
	PAGE_OK,
	PAGE_ZERO,					/* all zero: extended, then a crash */
	PAGE_BROKEN,				/* not a page, or not ours */
	PAGE_FORMAT					/* ours, but of another format version */
} PageVerdict;

/*
 * Up to four pages changed as one: all of it survives a crash, or nothing.
 * The same code edits pages of a live index (generic WAL, on copies) and of
 * one that is being built (in place; the build logs whole pages at its end).
 */
typedef struct PageEdit
{
	GenericXLogState *xlog;		/* NULL during a build */
	int			nbuffers;
	Buffer		buffers[MAX_GENERIC_XLOG_PAGES];
} PageEdit;

/* reading */
extern PageVerdict page_check(Page page, Size special_size);
extern void page_verify(Relation rel, BlockNumber blkno, Page page,
						Size special_size);
pg_noreturn extern void page_corrupted(Relation rel, BlockNumber blkno,
									   const char *fmt,...) pg_attribute_printf(3, 4);
extern Buffer page_read(Relation rel, BlockNumber blkno, int lockmode,
						Size special_size);
extern Buffer page_read_any(Relation rel, BlockNumber blkno, int lockmode,
							Size special_size, BufferAccessStrategy strategy,
							PageVerdict *verdict);
extern const char *page_guess(Relation rel, BlockNumber blkno);
extern Buffer page_pin_seen(Relation rel, BlockNumber blkno);
extern void page_remember_table(BlockNumber nblocks);
extern void page_remember(Relation rel, BlockNumber blkno, Buffer buf);
extern Buffer page_read_fork(Relation rel, ForkNumber fork, BlockNumber blkno,
							 int lockmode, Size special_size);
extern void page_relock(Buffer buf, int lockmode);
extern void page_release(Buffer buf);

/*
 * Bring part i of n of a page that will be needed soon into the second-level
 * cache.  A page at once would stall on the line fill buffers, so do it in
 * portions between pieces of work on the page at hand (src/ivf/README.md has
 * the measurement).  page NULL: nothing.
 */
static inline void
page_prefetch_part(const char *page, int i, int n)
{
	int			lines = BLCKSZ / 64;

	if (page == NULL)
		return;
	for (int line = lines * i / n; line < lines * (i + 1) / n; line++)
		__builtin_prefetch(page + line * 64, 0, 2);
}

/* changing */
extern void page_edit_begin(PageEdit *edit, Relation rel, bool building);
extern Page page_edit_add(PageEdit *edit, Buffer buf, bool whole);
extern void page_edit_commit(PageEdit *edit);

/* the space of a relation */
extern void page_init(Page page, Size special_size, uint8 kind);
extern Buffer page_new(Relation rel, ForkNumber fork, Size special_size,
					   bool building);
extern BlockNumber page_new_run(Relation rel, BlockNumber n);

/* a build that knows where everything will be */
extern void page_extend(Relation rel, ForkNumber fork, BlockNumber nblocks);
extern void page_overwrite(Relation rel, ForkNumber fork, BlockNumber blkno,
						   const char *image);

#endif							/* VECDB_PAGE_H */
