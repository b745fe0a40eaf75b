/*-------------------------------------------------------------------------
 *
 * page.c
 *	  Index pages: read, lock, check; edit under WAL or during a build;
 *	  allocate and free.
 *
 * The only file that calls LockBuffer and GenericXLog*.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/buf_internals.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "am/page.h"
#include "compat.h"

/* Is this a page of ours, with a special area of that size? */
PageVerdict
page_check(Page page, Size special_size)
{
	PageHeader	header = (PageHeader) page;
	VecdbPageTrailer *trailer = PageGetTrailer(page);

	if (PageIsNew(page))
		return PAGE_ZERO;
	if (trailer->page_id != VECDB_PAGE_ID)
		return PAGE_BROKEN;
	if (trailer->format != VECDB_PAGE_FORMAT)
		return PAGE_FORMAT;
	if (header->pd_special != BLCKSZ - special_size ||
		PageGetPageSize(page) != BLCKSZ ||
		header->pd_lower < SizeOfPageHeaderData ||
		header->pd_lower > header->pd_upper ||
		/* our content grows with pd_lower up to here; generic WAL clears the rest */
		header->pd_upper != header->pd_special)
		return PAGE_BROKEN;
	return PAGE_OK;
}

/*
 * ERROR: the index has a page that cannot be true.  The format makes the
 * detail, a sentence: which field, which value, what was expected.
 */
void
page_corrupted(Relation rel, BlockNumber blkno, const char *fmt,...)
{
	char		detail[256];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);

	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" contains corrupted page at block %u",
					RelationGetRelationName(rel), blkno),
			 errdetail_internal("%s", detail),
			 errhint("Please REINDEX it.")));
	pg_unreachable();
}

/* ERROR unless the page is a sound page of ours and of this format. */
void
page_verify(Relation rel, BlockNumber blkno, Page page, Size special_size)
{
	switch (page_check(page, special_size))
	{
		case PAGE_OK:
			return;
		case PAGE_ZERO:
			page_corrupted(rel, blkno, "The page is empty (all zero).");
		case PAGE_FORMAT:
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" has page format version %d at block %u, but this vecdb reads version %d",
							RelationGetRelationName(rel),
							PageGetTrailer(page)->format, blkno,
							VECDB_PAGE_FORMAT),
					 errhint("Please REINDEX it.")));
			break;
		case PAGE_BROKEN:
			page_corrupted(rel, blkno,
						   "Expected page id %04x and a sound page header, got page id %04x.",
						   VECDB_PAGE_ID, PageGetTrailer(page)->page_id);
	}
}

/*
 * What this backend remembers of the relation it read last: its length, since
 * asking the kernel costs a system call (an index file never shrinks while it
 * keeps its file number).
 */
static Oid	last_rel = InvalidOid;
static Oid	last_file = InvalidOid;
static BlockNumber last_nblocks = 0;

/*
 * And in which buffer it saw a block: finding one in the server's buffer
 * table costs some 200 ns, mostly cache misses, while ReadRecentBuffer()
 * with the right guess costs 40, and checks the guess itself.  Direct-mapped;
 * a wrong or overwritten entry only costs the usual look-up.
 */
typedef struct BufferHint
{
	Oid			file;
	BlockNumber blkno;
	Buffer		buffer;
} BufferHint;

#define HINTS_MIN	1024
#define HINTS_MAX	(1024 * 1024)	/* 12 MB, for 4 GB and more */

static BufferHint *hints = NULL;
static uint32 nhints = 0;		/* a power of two */

static inline BufferHint *
find_hint(Oid file, BlockNumber blkno)
{
	return &hints[(blkno + file * 0x9E3779B1) & (nhints - 1)];
}

/*
 * Have two slots or more for each block, of the index and, as page_remember() is told about
 * them, of the table: blocks in one slot drive each other out, and a page of the index
 * without hint is not prefetched, either.
 */
static void
grow_hints(uint64 nblocks)
{
	uint32		wanted = HINTS_MIN;
	BufferHint *old;

	while (wanted / 2 < nblocks && wanted < HINTS_MAX)
		wanted *= 2;
	if (wanted <= nhints)
		return;
	old = hints;
	hints = MemoryContextAllocZero(TopMemoryContext, sizeof(BufferHint) * wanted);
	nhints = wanted;
	if (old)
		pfree(old);
}

/* Does the relation have this block? */
static bool
block_exists(Relation rel, BlockNumber blkno)
{
	Oid			file = RelationGetFileNumber(rel);

	if (likely(last_rel == RelationGetRelid(rel) && last_file == file &&
			   blkno < last_nblocks))
		return true;

	/* either may raise an error: remember nothing before both have gone well */
	last_rel = InvalidOid;
	last_nblocks = RelationGetNumberOfBlocks(rel);
	grow_hints(last_nblocks);
	last_rel = RelationGetRelid(rel);
	last_file = file;
	return blkno < last_nblocks;
}

/*
 * ReadRecentBuffer() pins a buffer without telling the clock sweep that it is in
 * use: the pages that every search reads would be evicted before those read
 * twice by anybody else.  Do what PinBuffer() does; where somebody changes the
 * state at the same moment, not this time.
 */
static inline void
count_usage(Buffer buf)
{
	BufferDesc *desc = GetBufferDescriptor(buf - 1);
	uint32		state = pg_atomic_read_u32(&desc->state);

	if (unlikely(BUF_STATE_GET_USAGECOUNT(state) < BM_MAX_USAGE_COUNT) && !(state & BM_LOCKED))
		(void) pg_atomic_compare_exchange_u32(&desc->state, &state, state + BUF_USAGECOUNT_ONE);
}

static inline bool
hint_is(const BufferHint *hint, Oid file, BlockNumber blkno)
{
	return hint->blkno == blkno && hint->file == file &&
		hint->buffer > 0 && hint->buffer <= NBuffers;
}

static inline void
hint_set(BufferHint *hint, Oid file, BlockNumber blkno, Buffer buf)
{
	hint->file = file;
	hint->blkno = blkno;
	hint->buffer = buf;
}

/* Pin a block of the main fork where the hint says it is; false: it is not there. */
static bool
pin_hint(Relation rel, BlockNumber blkno, BufferAccessStrategy strategy, const BufferHint *hint)
{
	/*
	 * Not for a temporary table: it may have the file number of a permanent
	 * one, and before 14.5 ReadRecentBuffer() mistook local buffers.
	 */
	if (!hint_is(hint, RelationGetFileNumber(rel), blkno) || RelationUsesLocalBuffers(rel) ||
		!ReadRecentBuffer(RelationGetFileLocator(rel), MAIN_FORKNUM, blkno, hint->buffer))
		return false;
	/* as ReadBuffer() counts for pg_statio_user_tables, and VACUUM's delay */
	pgstat_count_buffer_read(rel);
	pgstat_count_buffer_hit(rel);
	if (VacuumCostActive)
		VacuumCostBalance += VacuumCostPageHit;
	if (strategy == NULL)
		count_usage(hint->buffer);
	return true;
}

/*
 * Pin a block of the main fork, of a table or an index, where it was seen last;
 * InvalidBuffer: it is not there any more, or nobody has seen it.
 */
Buffer
page_pin_seen(Relation rel, BlockNumber blkno)
{
	const BufferHint *hint;

	if (nhints == 0)
		return InvalidBuffer;
	hint = find_hint(RelationGetFileNumber(rel), blkno);
	return pin_hint(rel, blkno, NULL, hint) ? hint->buffer : InvalidBuffer;
}

/* Pin a block of the main fork that exists. */
static Buffer
pin_block(Relation rel, BlockNumber blkno, BufferAccessStrategy strategy)
{
	Oid			file = RelationGetFileNumber(rel);
	BufferHint *hint = find_hint(file, blkno);

	if (pin_hint(rel, blkno, strategy, hint))
		return hint->buffer;

	/* an error in there must not leave the old buffer to the new block */
	hint_set(hint, file, blkno, InvalidBuffer);
	hint->buffer = ReadBufferExtended(rel, MAIN_FORKNUM, blkno, RBM_NORMAL, strategy);
	return hint->buffer;
}

/*
 * Where a block's page probably is in memory, or NULL: to prefetch from, never
 * to trust.  Prefetches what every reader touches: the buffer's descriptor, and
 * both ends of the page.  Locks nothing, and may be given any block number.
 */
const char *
page_guess(Relation rel, BlockNumber blkno)
{
	Oid			file = RelationGetFileNumber(rel);
	const char *page;
	BufferHint *hint;

	if (nhints == 0)
		return NULL;
	hint = find_hint(file, blkno);
	if (!hint_is(hint, file, blkno))
		return NULL;
	page = (const char *) BufferGetBlock(hint->buffer);
	__builtin_prefetch(GetBufferDescriptor(hint->buffer - 1), 1, 3);
	__builtin_prefetch(page, 0, 3);
	__builtin_prefetch(page + BLCKSZ - 1, 0, 3);
	return page;
}

/* Blocks of a table of that length will be remembered, beside those of the index read last. */
void
page_remember_table(BlockNumber nblocks)
{
	grow_hints((uint64) last_nblocks + nblocks);
}

/* A block was seen in that buffer. */
void
page_remember(Relation rel, BlockNumber blkno, Buffer buf)
{
	Oid			file = RelationGetFileNumber(rel);

	if (nhints > 0)
		hint_set(find_hint(file, blkno), file, blkno, buf);
}

/*
 * Pin and lock a block that must hold a page of ours: a block number read
 * from another page may be anything, and so may the page.
 */
Buffer
page_read(Relation rel, BlockNumber blkno, int lockmode, Size special_size)
{
	PageVerdict verdict;
	Buffer		buf = page_read_any(rel, blkno, lockmode, special_size, NULL, &verdict);

	if (unlikely(verdict != PAGE_OK))
		page_verify(rel, blkno, BufferGetPage(buf), special_size);
	return buf;
}

/* The same, but leaves it to the caller what to make of a page that is not OK. */
Buffer
page_read_any(Relation rel, BlockNumber blkno, int lockmode,
			  Size special_size, BufferAccessStrategy strategy,
			  PageVerdict *verdict)
{
	Buffer		buf;

	if (unlikely(!block_exists(rel, blkno)))
		page_corrupted(rel, blkno,
					   "A link leads to this block, but the index ends before it.");

	buf = pin_block(rel, blkno, strategy);
	LockBuffer(buf, lockmode);
	*verdict = page_check(BufferGetPage(buf), special_size);
	return buf;
}

/* A block of any fork of an index that is being built. */
Buffer
page_read_fork(Relation rel, ForkNumber fork, BlockNumber blkno, int lockmode,
			   Size special_size)
{
	Buffer		buf = ReadBufferExtended(rel, fork, blkno, RBM_NORMAL, NULL);

	LockBuffer(buf, lockmode);
	page_verify(rel, blkno, BufferGetPage(buf), special_size);
	return buf;
}

/* Exchange the lock for another; between the two anything may happen. */
void
page_relock(Buffer buf, int lockmode)
{
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
	LockBuffer(buf, lockmode);
}

/* Drop lock and pin. */
void
page_release(Buffer buf)
{
	UnlockReleaseBuffer(buf);
}

/* Start an edit.  building: nobody else sees the index, and nothing is logged. */
void
page_edit_begin(PageEdit *edit, Relation rel, bool building)
{
	edit->xlog = building ? NULL : GenericXLogStart(rel);
	edit->nbuffers = 0;
}

/*
 * Add an exclusively locked buffer; change only the page returned, until the
 * commit.  whole: the page is written anew, so log all of it.
 */
Page
page_edit_add(PageEdit *edit, Buffer buf, bool whole)
{
	Assert(edit->nbuffers < MAX_GENERIC_XLOG_PAGES);
	edit->buffers[edit->nbuffers++] = buf;
	if (edit->xlog == NULL)
		return BufferGetPage(buf);
	return GenericXLogRegisterBuffer(edit->xlog, buf,
									 whole ? GENERIC_XLOG_FULL_IMAGE : 0);
}

/* Make the edit true.  The buffers stay locked and pinned. */
void
page_edit_commit(PageEdit *edit)
{
	if (edit->xlog != NULL)
	{
		GenericXLogFinish(edit->xlog);
		return;
	}
	for (int i = 0; i < edit->nbuffers; i++)
		MarkBufferDirty(edit->buffers[i]);
}

/* Format a page: no content, trailer set, the rest of the special area zero. */
void
page_init(Page page, Size special_size, uint8 kind)
{
	PageInit(page, BLCKSZ, special_size);
	PageGetTrailer(page)->kind = kind;
	PageGetTrailer(page)->format = VECDB_PAGE_FORMAT;
	PageGetTrailer(page)->page_id = VECDB_PAGE_ID;
}

/*
 * A pinned, exclusively locked buffer for a page that nobody uses: from the
 * free-space map, else from a longer file.  Its content is of no interest;
 * the caller calls page_init() on the image it edits.  While the caller
 * holds the lock, nobody else can take the page: the map is only a hint, and
 * whoever follows it finds the lock, or later a kind that is not free.
 */
Buffer
page_new(Relation rel, ForkNumber fork, Size special_size, bool building)
{
	while (!building)
	{
		BlockNumber blkno = GetFreeIndexPage(rel);
		Buffer		buf;

		if (blkno == InvalidBlockNumber)
			break;
		if (!block_exists(rel, blkno))
			continue;			/* a crash may leave the map ahead of the file */

		buf = ReadBuffer(rel, blkno);
		if (ConditionalLockBuffer(buf))
		{
			Page		page = BufferGetPage(buf);
			PageVerdict verdict = page_check(page, special_size);

			if (verdict == PAGE_ZERO ||
				(verdict == PAGE_OK && PageGetTrailer(page)->kind == VECDB_PAGE_FREE))
				return buf;
			LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		}
		ReleaseBuffer(buf);
	}

	return extend_relation(rel, fork);
}

/*
 * n consecutive blocks at the end of a live index, all zero; returns the first.
 * Others may want to extend it at the same time, so the extension lock is held
 * throughout.  The blocks belong to nothing until the caller makes them pages.
 */
BlockNumber
page_new_run(Relation rel, BlockNumber n)
{
	BlockNumber start = InvalidBlockNumber;
	bool		lock = !RelationUsesLocalBuffers(rel);

	if (lock)
		LockRelationForExtension(rel, ExclusiveLock);
	for (BlockNumber i = 0; i < n; i++)
	{
		Buffer		buf = extend_relation_locked(rel, MAIN_FORKNUM);

		if (i == 0)
			start = BufferGetBlockNumber(buf);
		Assert(BufferGetBlockNumber(buf) == start + i);
		page_release(buf);
	}
	if (lock)
		UnlockRelationForExtension(rel, ExclusiveLock);
	return start;
}

/* Make a fork of an index that is being built so many blocks long. */
void
page_extend(Relation rel, ForkNumber fork, BlockNumber nblocks)
{
	for (BlockNumber blkno = RelationGetNumberOfBlocksInFork(rel, fork); blkno < nblocks; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		page_release(extend_relation(rel, fork));
	}
}

/*
 * Give a block of an index that is being built its content, without reading
 * or logging it.
 */
void
page_overwrite(Relation rel, ForkNumber fork, BlockNumber blkno, const char *image)
{
	Buffer		buf = ReadBufferExtended(rel, fork, blkno, RBM_ZERO_AND_LOCK, NULL);

	memcpy(BufferGetPage(buf), image, BLCKSZ);
	MarkBufferDirty(buf);
	page_release(buf);
}
