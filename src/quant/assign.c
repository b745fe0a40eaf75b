/*-------------------------------------------------------------------------
 *
 * assign.c
 *	  The nearest centroid of each of many rows, by blocked kernels.
 *
 * |x-c|^2 is least where <x,c> - |c|^2/2 is greatest, so the work is a matrix
 * product.  Rows are taken in blocks that stay in the second-level cache,
 * centroids in tiles of TILE; of each tile of scores only the best of each
 * row is kept, and the rows * k matrix never exists.
 *
 * Three details:
 *
 * - Far from the origin <x,c> and |c|^2/2 are large and nearly equal, and
 *   their difference has no digits left.  So both x and c are taken relative
 *   to one mean m, which changes no distance.  Rows are copied for this block
 *   by block; the copy also gathers rows that do not lie side by side.
 * - -|c|^2/2 is one component more of c, and 1 one more of x: the product is
 *   then the score itself.
 * - Finding the maximum and finding its place are two loops, since the first
 *   is a plain vector maximum and the second is rarely needed.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/assign.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

/* Centroids whose scores are looked at together. */
#define TILE			256

/*
 * Centroids packed by one call: the mean is subtracted in scratch.  A multiple
 * of the kernel's panel, so that packing in pieces is packing the whole.
 */
#define UNIT			64

/*
 * A block of rows has at most so many bytes, but at least BLOCK_STEP rows and
 * always a multiple of it, so that the kernels' tiles of 4, 6, 8 or 12 rows
 * divide it.
 */
#define BLOCK_BYTES		(512 * 1024)
#define BLOCK_STEP		24

#define LANES			16
#define ALIGNMENT		64

typedef struct AssignHeader
{
	int			k;
	int			dim;
	int			product_dim;	/* dim, or dim + 1 with the half norm */
	bool		ip;
	size_t		mean;			/* offset of dim floats; none with ip */
	size_t		panels;			/* offset of the packed centroids */
} AssignHeader;

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

/* Floats from one row of a block to the next. */
static size_t
row_stride(int dim)
{
	return ((size_t) dim + 1 + LANES - 1) / LANES * LANES;
}

static size_t
align_up(size_t offset)
{
	return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The first aligned address of scratch memory. */
static float *
align_scratch(void *scratch)
{
	return (float *) (((uintptr_t) scratch + ALIGNMENT - 1) &
					  ~(uintptr_t) (ALIGNMENT - 1));
}

int
assign_block_rows(int dim)
{
	size_t		rows = BLOCK_BYTES / sizeof(float) / row_stride(dim);

	if (rows > ASSIGN_BLOCK_ROWS)
		return ASSIGN_BLOCK_ROWS;
	return rows < BLOCK_STEP ? BLOCK_STEP : (int) (rows / BLOCK_STEP * BLOCK_STEP);
}

int
assign_units(int k)
{
	return k / UNIT + (k % UNIT != 0);
}

size_t
assign_size(int k, int dim)
{
	size_t		rows,
				row_bytes;

	if (k < 1 || dim < 1 || (size_t) dim > SIZE_MAX / sizeof(float) / 2 - TILE)
		return SIZE_MAX;
	rows = (size_t) assign_units(k) * UNIT;
	row_bytes = row_stride(dim) * sizeof(float);
	/* one row's worth for the mean, one for the header and two alignments */
	if (rows > SIZE_MAX - 3 || row_bytes > SIZE_MAX - 4 * ALIGNMENT ||
		(rows + 3) > SIZE_MAX / (row_bytes + 4 * ALIGNMENT))
		return SIZE_MAX;
	return (rows + 1) * row_bytes + sizeof(AssignHeader) + 4 * ALIGNMENT;
}

size_t
assign_scratch_size(int k, int dim)
{
	size_t		row_bytes;

	if (assign_size(k, dim) == SIZE_MAX)
		return SIZE_MAX;
	row_bytes = row_stride(dim) * sizeof(float);
	if (row_bytes > SIZE_MAX / 2 / ASSIGN_BLOCK_ROWS)
		return SIZE_MAX;
	/* rows or a unit of centroids; then scores, norms and best of each row */
	return row_bytes * (size_t) (assign_block_rows(dim) > UNIT ?
								 assign_block_rows(dim) : UNIT) +
		sizeof(float) * ASSIGN_BLOCK_ROWS * (TILE + 2) + ALIGNMENT;
}

/*
 * The products' largest row count, and where the parts of scratch lie.
 */
typedef struct Scratch
{
	float	   *rows;			/* stride row_stride(dim) */
	float	   *scores;			/* stride TILE */
	float	   *norms;
	float	   *best;
} Scratch;

static Scratch
divide_scratch(void *memory, int dim)
{
	Scratch		s;
	int			rows = assign_block_rows(dim);

	s.rows = align_scratch(memory);
	s.scores = s.rows + row_stride(dim) * (size_t) (rows > UNIT ? rows : UNIT);
	s.norms = s.scores + (size_t) ASSIGN_BLOCK_ROWS * TILE;
	s.best = s.norms + ASSIGN_BLOCK_ROWS;
	return s;
}

void
assign_begin(void *mem, int k, int dim, bool ip, const float *mean)
{
	AssignHeader *header = mem;
	uintptr_t	base = (uintptr_t) mem;
	float	   *own_mean;

	header->k = k;
	header->dim = dim;
	header->ip = ip;
	header->product_dim = ip ? dim : dim + 1;
	header->mean = align_up(base + sizeof(AssignHeader)) - base;
	header->panels = align_up(base + header->mean + sizeof(float) * (size_t) dim) - base;
	own_mean = (float *) ((char *) mem + header->mean);
	if (mean == NULL || ip)
		memset(own_mean, 0, sizeof(float) * (size_t) dim);
	else
		memcpy(own_mean, mean, sizeof(float) * (size_t) dim);
}

/*
 * to = from - mean.  The inner loops of this file run over LANES elements from
 * a pointer: a form that gcc -O2 makes vectors of, at the least.
 */
static void
subtract(float *restrict to, const float *restrict from,
		 const float *restrict mean, int dim)
{
	for (; dim >= LANES; dim -= LANES)
	{
		for (int l = 0; l < LANES; l++)
			to[l] = from[l] - mean[l];
		to += LANES;
		from += LANES;
		mean += LANES;
	}
	for (int l = 0; l < dim; l++)
		to[l] = from[l] - mean[l];
}

void
assign_pack(void *mem, const float *centroids, int first, int end, void *scratch)
{
	const AssignHeader *header = mem;
	const float *mean = (const float *) ((char *) mem + header->mean);
	float	   *panels = (float *) ((char *) mem + header->panels);
	size_t		stride = row_stride(header->dim);
	float	   *rows = align_scratch(scratch);

	for (int unit = first; unit < end; unit++)
	{
		int			start = unit * UNIT;
		int			count = min_int(header->k - start, UNIT);
		float	   *to = panels +
		(size_t) unit * kernel_panels_size(UNIT, header->product_dim);

		for (int i = 0; i < count; i++)
		{
			const float *from = centroids + (size_t) (start + i) * header->dim;
			float	   *row = rows + i * stride;

			if (header->ip)
				memcpy(row, from, sizeof(float) * (size_t) header->dim);
			else
			{
				subtract(row, from, mean, header->dim);
				row[header->dim] = (float) (-0.5 * kernel->normsq_double(row, header->dim));
			}
		}
		kernel_pack_panels(rows, stride, count, header->product_dim, to);
	}
}

void
assign_prepare(void *mem, const float *centroids, int k, int dim, bool ip,
			   void *scratch)
{
	assign_begin(mem, k, dim, ip, NULL);
	if (!ip)
	{
		float	   *mean = (float *) ((char *) mem + ((AssignHeader *) mem)->mean);
		double		sums[64];

		for (int start = 0; start < dim; start += 64)
		{
			int			count = min_int(dim - start, 64);

			memset(sums, 0, sizeof(sums));
			for (int i = 0; i < k; i++)
			{
				const float *c = centroids + (size_t) i * dim + start;

				for (int d = 0; d < count; d++)
					sums[d] += c[d];
			}
			for (int d = 0; d < count; d++)
				mean[start + d] = (float) (sums[d] / k);
		}
	}
	assign_pack(mem, centroids, 0, assign_units(k), scratch);
}

/*
 * Bring rows of one block into the form the product needs.  Returns where
 * they are and their stride: scratch, or their own place where they need no
 * change.
 */
static const float *
load_block(const AssignHeader *header, const float *rows, size_t ld,
		   const uint32_t *which, int n, const Scratch *s, size_t *stride)
{
	const float *mean = (const float *) ((const char *) header + header->mean);
	int			dim = header->dim;

	if (header->ip && which == NULL)
	{
		*stride = ld;
		return rows;
	}
	*stride = row_stride(dim);
	for (int i = 0; i < n; i++)
	{
		const float *from = rows + (which ? which[i] : (size_t) i) * ld;
		float	   *to = s->rows + i * *stride;

		if (which && i + 4 < n)
			assign_prefetch(rows + which[i + 4] * ld, dim);
		if (header->ip)
			memcpy(to, from, sizeof(float) * (size_t) dim);
		else
		{
			subtract(to, from, mean, dim);
			to[dim] = 1.0f;
			s->norms[i] = kernel->normsq(to, dim);
		}
	}
	return s->rows;
}

static void
tile_scores(const AssignHeader *header, const float *x, size_t ldx, int n,
			int first, int count, float *out, size_t ldo)
{
	const float *panels = (const float *) ((const char *) header + header->panels);

	kernel->ip_panels(x, ldx, n,
					  panels + (size_t) (first / UNIT) *
					  kernel_panels_size(UNIT, header->product_dim),
					  count, header->product_dim, out, ldo);
}

/* a = the larger of a and b, of four each; a NaN in b is passed over */
static inline void
maximum(float *a, const float *b)
{
	for (int l = 0; l < 4; l++)
		a[l] = b[l] > a[l] ? b[l] : a[l];
}

/*
 * Improve *best and *nearest by the scores of one row in one tile.  A NaN
 * (from values whose products overflow) is never best.
 */
static inline void
take_best(const float *scores, int n, int first, float *best, uint32_t *nearest)
{
	const float *s = scores;
	const float *whole = scores + n / LANES * LANES;
	const float *end = scores + n;
	float		lanes0[4],
				lanes1[4],
				lanes2[4],
				lanes3[4];
	float		max;

	for (int l = 0; l < 4; l++)
		lanes0[l] = lanes1[l] = lanes2[l] = lanes3[l] = -INFINITY;
	for (; s < whole; s += LANES)
	{
		maximum(lanes0, s);
		maximum(lanes1, s + 4);
		maximum(lanes2, s + 8);
		maximum(lanes3, s + 12);
	}
	maximum(lanes0, lanes1);
	maximum(lanes2, lanes3);
	maximum(lanes0, lanes2);
	max = lanes0[0];
	for (int l = 1; l < 4; l++)
		max = lanes0[l] > max ? lanes0[l] : max;
	for (; s < end; s++)
		max = *s > max ? *s : max;

	if (!(max > *best))
		return;
	*best = max;
	for (s = scores; s < whole; s += LANES)
	{
		int			hit = 0;

		for (int l = 0; l < LANES; l++)
			hit |= s[l] == max;
		if (hit)
			break;
	}
	while (*s != max)
		s++;
	*nearest = (uint32_t) (first + (s - scores));
}

void
assign_rows_among(const void *mem, int first_centroid, int end,
				  const float *rows, size_t ld,
				  const uint32_t *which, int n,
				  uint32_t *nearest, float *distance,
				  void *scratch, AssignInterrupt interrupt, void *arg)
{
	const AssignHeader *header = mem;
	Scratch		s = divide_scratch(scratch, header->dim);
	int			block = assign_block_rows(header->dim);

	first_centroid = first_centroid / UNIT * UNIT;
	end = min_int(header->k, (end + UNIT - 1) / UNIT * UNIT);
	for (int start = 0; start < n; start += block)
	{
		int			count = min_int(n - start, block);
		size_t		stride;
		const float *x = load_block(header,
									which ? rows : rows + (size_t) start * ld, ld,
									which ? which + start : NULL, count, &s, &stride);

		for (int i = 0; i < count; i++)
		{
			s.best[i] = -INFINITY;
			nearest[start + i] = (uint32_t) first_centroid;
		}
		for (int first = first_centroid; first < end; first += TILE)
		{
			if (interrupt)
				interrupt(arg);
			tile_scores(header, x, stride, count, first, min_int(end - first, TILE),
						s.scores, TILE);
			for (int i = 0; i < count; i++)
				take_best(s.scores + (size_t) i * TILE,
						  min_int(end - first, TILE), first,
						  &s.best[i], &nearest[start + i]);
		}
		if (distance == NULL)
			continue;
		for (int i = 0; i < count; i++)
		{
			float		d = s.norms[i] - 2.0f * s.best[i];

			if (header->ip)
				d = -s.best[i];
			else if (d < 0.0f)
				d = 0.0f;		/* only rounding can make it negative */
			distance[start + i] = d;
		}
	}
}

void
assign_rows(const void *mem, const float *rows, size_t ld,
			const uint32_t *which, int n,
			uint32_t *nearest, float *distance,
			void *scratch, AssignInterrupt interrupt, void *arg)
{
	assign_rows_among(mem, 0, ((const AssignHeader *) mem)->k, rows, ld, which, n,
					  nearest, distance, scratch, interrupt, arg);
}

void
assign_distances(const void *mem, const float *rows, size_t ld, int n,
				 float *out, size_t ldo,
				 void *scratch, AssignInterrupt interrupt, void *arg)
{
	const AssignHeader *header = mem;
	Scratch		s = divide_scratch(scratch, header->dim);
	int			block = assign_block_rows(header->dim);

	for (int start = 0; start < n; start += block)
	{
		int			count = min_int(n - start, block);
		size_t		stride;
		const float *x = load_block(header, rows + (size_t) start * ld, ld,
									NULL, count, &s, &stride);

		for (int first = 0; first < header->k; first += TILE)
		{
			int			width = min_int(header->k - first, TILE);

			if (interrupt)
				interrupt(arg);
			tile_scores(header, x, stride, count, first, width,
						out + (size_t) start * ldo + first, ldo);
			for (int i = 0; i < count; i++)
			{
				float	   *d = out + (size_t) (start + i) * ldo + first;

				for (int j = 0; j < width; j++)
				{
					if (header->ip)
						d[j] = -d[j];
					else
					{
						d[j] = s.norms[i] - 2.0f * d[j];
						if (d[j] < 0.0f)
							d[j] = 0.0f;
					}
				}
			}
		}
	}
}

void
assign_one(const float *row, const void *centroids, size_t stride,
		   int k, int dim, bool ip, uint32_t first,
		   float *distance, uint32_t *nearest)
{
	float		distances[64];

	for (int start = 0; start < k; start += 64)
	{
		int			count = min_int(k - start, 64);
		const char *rows = (const char *) centroids + (size_t) start * stride;

		if (ip)
			kernel->ip_rows(row, rows, stride, count, dim, distances);
		else
			kernel->l2sq_rows(row, rows, stride, count, dim, distances);
		for (int j = 0; j < count; j++)
		{
			float		d = ip ? -distances[j] : distances[j];

			if (d < *distance)
			{
				*distance = d;
				*nearest = first + (uint32_t) (start + j);
			}
		}
	}
}
