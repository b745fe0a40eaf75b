/*-------------------------------------------------------------------------
 *
 * kernel_panels.c
 *	  Many rows times many rows: packing, and the blocking around the tiles.
 *
 * This is the matrix product of k-means and of assigning rows to lists.  The
 * levels give only the inner loop (a KernelTile, whose sums stay in
 * registers); what is here keeps its operands in the caches:
 *
 *	for each BLOCK_ROWS rows of x		(their part of out stays in the cache)
 *		for each KERNEL_PANEL_DEPTH components
 *			for each group of panels	(which fit the second-level cache)
 *				for each tile's rows: copy their components
 *					for each panel of the group: tile
 *
 * The copy costs a percent or less, and buys a fixed distance between rows:
 * all rows are addressed from one register, and rows that lie 4 kB apart
 * (1024 dimensions) do not fight for the same set of the first-level cache.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#include <string.h>

/* A multiple of every level's tile. */
#define BLOCK_ROWS		96

/* Panels of one group: 8 * 32 columns * 384 components = 384 kB. */
#define GROUP_PANELS	8

static int
panel_count(int ny)
{
	return ny / KERNEL_PANEL + (ny % KERNEL_PANEL != 0);
}

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

size_t
kernel_panels_size(int ny, int dim)
{
	return (size_t) panel_count(ny) * KERNEL_PANEL * (size_t) dim;
}

/*
 * A cache line of each row in turn, not one component of all: rows that lie
 * 4 kB apart would push each other's lines out of the cache.
 */
void
kernel_pack_panels(const float *y, size_t ldy, int ny, int dim, float *panels)
{
	for (int first = 0; first < ny; first += KERNEL_PANEL)
	{
		int			columns = min_int(ny - first, KERNEL_PANEL);
		const float *rows = y + (size_t) first * ldy;

		for (int start = 0; start < dim; start += 16)
		{
			int			depth = min_int(dim - start, 16);

			if (columns < KERNEL_PANEL)
				memset(panels, 0, sizeof(float) * KERNEL_PANEL * depth);
			for (int j = 0; j < columns; j++)
			{
				const float *row = rows + (size_t) j * ldy + start;

				for (int k = 0; k < depth; k++)
					panels[k * KERNEL_PANEL + j] = row[k];
			}
			panels += depth * KERNEL_PANEL;
		}
	}
}

/*
 * Tiles of `height` rows, of which the first `rows` are real, with `columns`
 * columns from `panel` on.  A tile that is not whole goes by way of a buffer.
 */
static void
run_tiles(KernelTile tile, const float *copy, int rows, int height,
		  const float *panel, size_t panel_size, int columns, int depth,
		  float *out, size_t ldo, bool add)
{
	float		whole[KERNEL_TILE_MAX_ROWS * KERNEL_PANEL];

	while (columns > 0)
	{
		int			width = min_int(columns, KERNEL_PANEL);

		if (rows == height && width == KERNEL_PANEL)
			tile(copy, panel, depth, out, ldo, add);
		else
		{
			tile(copy, panel, depth, whole, KERNEL_PANEL, false);
			for (int r = 0; r < rows; r++)
				for (int j = 0; j < width; j++)
				{
					float		product = whole[r * KERNEL_PANEL + j];

					out[r * ldo + j] = add ? out[r * ldo + j] + product : product;
				}
		}
		out += width;
		columns -= width;
		panel += panel_size;
	}
}

/* One block of rows. */
static void
run_block(const KernelTiles *tiles, const float *x, size_t ldx, int nx,
		  const float *panels, int ny, int dim, float *out, size_t ldo)
{
	float		copy[KERNEL_TILE_MAX_ROWS * KERNEL_TILE_STRIDE]
				__attribute__((aligned(64)));
	size_t		panel_size = (size_t) dim * KERNEL_PANEL;
	int			start = 0;

	do							/* once at least: no components, all zeros */
	{
		int			depth = min_int(dim - start, KERNEL_PANEL_DEPTH);

		for (int first = 0; first < ny; first += GROUP_PANELS * KERNEL_PANEL)
		{
			int			columns = min_int(ny - first, GROUP_PANELS * KERNEL_PANEL);
			const float *panel;
			int			i = 0;

			panel = panels + (size_t) (first / KERNEL_PANEL) * panel_size +
				(size_t) start * KERNEL_PANEL;
			while (i < nx)
			{
				/* small tiles where a large one would be mostly empty */
				bool		large = nx - i > 2 * tiles->small_rows;
				int			height = large ? tiles->rows : tiles->small_rows;
				int			rows = min_int(nx - i, height);

				for (int r = 0; r < height; r++)
				{
					if (r < rows)
						memcpy(copy + r * KERNEL_TILE_STRIDE,
							   x + (size_t) (i + r) * ldx + start,
							   sizeof(float) * depth);
					else
						memset(copy + r * KERNEL_TILE_STRIDE, 0,
							   sizeof(float) * depth);
				}
				run_tiles(large ? tiles->tile : tiles->small_tile,
						  copy, rows, height, panel, panel_size, columns, depth,
						  out + (size_t) i * ldo + first, ldo, start > 0);
				i += rows;
			}
		}
		start += depth;
	} while (start < dim);
}

void
kernel_run_panels(const KernelTiles *tiles,
				  const float *x, size_t ldx, int nx,
				  const float *panels, int ny, int dim,
				  float *out, size_t ldo)
{
	for (int i = 0; i < nx; i += BLOCK_ROWS)
		run_block(tiles, x + (size_t) i * ldx, ldx, min_int(nx - i, BLOCK_ROWS),
				  panels, ny, dim, out + (size_t) i * ldo, ldo);
}
