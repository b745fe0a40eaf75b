/*-------------------------------------------------------------------------
 *
 * kernel_private.h
 *	  What the files of this room share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KERNEL_PRIVATE_H
#define VECDB_KERNEL_PRIVATE_H

#include "kernel/kernel.h"

/* The elements summed in float lanes; those behind them are the tail. */
#define KERNEL_BODY(dim)	((dim) & ~(KERNEL_LANES - 1))

typedef enum SumKind
{
	SUM_L2SQ,
	SUM_IP,
	SUM_L1
} SumKind;

/*
 * Rows of up to this dim are interleaved by *_rows.  In longer ones the gain is
 * small, and hopping between them confuses the processor's prefetcher, which
 * from 100 dimensions on costs up to half the speed from memory (README.md).
 */
#define KERNEL_SHORT_ROW	64

/*
 * One panel holds KERNEL_PANEL of the rows y: for each k in turn, component k
 * of each of them.  So a register of the tile's columns is one plain load, and
 * 32 columns are two registers of AVX-512, four of AVX2, eight of NEON.
 */
#define KERNEL_PANEL	32

/* Components of a block, and of one row in the copy the tile reads. */
#define KERNEL_PANEL_DEPTH	384
#define KERNEL_TILE_STRIDE	(KERNEL_PANEL_DEPTH + 16)

/* No level has a tile of more rows. */
#define KERNEL_TILE_MAX_ROWS	12

/*
 * The inner loop of ip_panels: all products of `rows` rows (fixed for each
 * tile function; row r starts at x + r * KERNEL_TILE_STRIDE) with one panel,
 * over depth components.  Sets out[r * ldo + 0 .. KERNEL_PANEL - 1], or adds to
 * it.
 */
typedef void (*KernelTile) (const float *x, const float *panel, int depth,
							float *out, size_t ldo, bool add);

typedef struct KernelTiles
{
	int			rows;			/* rows of the large tile */
	int			small_rows;		/* rows of the small one, for what remains */
	KernelTile	tile;
	KernelTile	small_tile;
} KernelTiles;

/* kernel_panels.c */
extern void kernel_run_panels(const KernelTiles *tiles,
							  const float *x, size_t ldx, int nx,
							  const float *panels, int ny, int dim,
							  float *out, size_t ldo);

/* kernel_scalar.c and its faster relatives */
extern const KernelTable kernel_scalar_table;
#if defined(__x86_64__)
extern const KernelTable kernel_avx2_table;
extern const KernelTable kernel_avx512_table;
#elif defined(__aarch64__)
extern const KernelTable kernel_neon_table;
#endif

#endif							/* VECDB_KERNEL_PRIVATE_H */
