/*-------------------------------------------------------------------------
 *
 * opq.c
 *	  Optimised product quantisation: learn rotation and codebooks in turn.
 *
 * With X the rows, R the rotation and Y what the codes of the rotated rows stand
 * for, |X R' - Y|^2 is least, among all rotations, for the orthogonal factor of the
 * polar decomposition of Y' X.  That factor is found by products of matrices alone
 * (Newton and Schulz: A <- A (3 I - A' A) / 2, which takes every singular value
 * below sqrt 3 to 1; Higham: Functions of Matrices, 2008, chapter 8), at the speed of
 * ip_panels().  Directions that the rows do not have leave Y' X singular, and
 * any rotation will do there: a little of the last rotation added keeps it, and the
 * iteration short.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/opq.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"

/* Part of the last rotation in what is decomposed, whose norm is 1 at most. */
#define KEEP			1e-3f

/*
 * Codebooks are learnt from nothing in each so-manieth round: k-means is most of the time, but what is
 * only improved stays near where it began.
 */
#define ANEW			5

/*
 * The rotation goes as far again as the step that is best for these codes, since the next ones
 * follow it: with codebooks that are only improved in each round this makes good what they lag behind
 * (README.md).  Farther it does not settle.
 */
#define BEYOND			1.0f

/* Newton-Schulz: KEEP grows by half at each step, then the error is squared. */
#define MAX_STEPS		40
#define ORTHONORMAL		1e-6f	/* mean squared deviation of A' A from I, good enough */

/* Rows that are multiplied between two looks at interrupts. */
#define ROWS_AT_ONCE	96
/* Rows of a chunk of the product over all rows. */
#define CHUNK			1024

static size_t
aligned(size_t floats)
{
	return (floats + 15) / 16 * 16;
}

/*
 * Memory, in floats: rotated rows | decoded rows | three squares | a packed
 * matrix | then pq_train()'s.  Two of them hold transposed chunks as well, at a time when
 * nobody needs what else they are for.
 */
typedef struct Workspace
{
	float	   *rotated;		/* n * dim; at least dim * CHUNK */
	float	   *decoded;		/* n * dim */
	float	   *a;				/* dim * dim each */
	float	   *b;
	float	   *c;				/* at least dim * CHUNK */
	float	   *panels;			/* dim rows of max(dim, CHUNK) */
	void	   *pq;
} Workspace;

static size_t
divide(const PqShape *shape, int n, float *mem, Workspace *w)
{
	size_t		dim = (size_t) shape->dim;
	int			longer = shape->dim > CHUNK ? shape->dim : CHUNK;
	size_t		sizes[] = {
		aligned((size_t) (n > CHUNK ? n : CHUNK) * dim), aligned((size_t) n * dim),
		aligned(dim * dim), aligned(dim * dim), aligned(dim * longer),
		aligned(kernel_panels_size(shape->dim, longer))
	};
	float	  **parts[] = {&w->rotated, &w->decoded, &w->a, &w->b, &w->c, &w->panels};
	size_t		at = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		if (mem)
			*parts[i] = mem + at;
		at += sizes[i];
	}
	if (mem)
		w->pq = mem + at;
	return at * sizeof(float);
}

size_t
opq_train_size(const PqShape *shape, int n)
{
	Workspace	w;
	size_t		size = divide(shape, n, NULL, &w);
	size_t		pq = pq_train_size(shape, n);

	return pq > SIZE_MAX - size ? SIZE_MAX : size + pq;
}

typedef struct Caller
{
	PqInterrupt interrupt;
	void	   *arg;
} Caller;

/* out[i * ny + j] = <x_i, y_j>; rows of dim floats. */
static void
products(const float *x, size_t ldx, int nx, const float *y, int ny, int dim,
		 float *panels, float *out, const Caller *caller)
{
	kernel_pack_panels(y, (size_t) dim, ny, dim, panels);
	for (int i = 0; i < nx; i += ROWS_AT_ONCE)
	{
		if (caller->interrupt)
			caller->interrupt(caller->arg);
		kernel->ip_panels(x + i * ldx, ldx, nx - i < ROWS_AT_ONCE ? nx - i : ROWS_AT_ONCE,
						  panels, ny, dim, out + (size_t) i * ny, (size_t) ny);
	}
}

/* Columns of n rows of dim, padded with 0 to rows of `length`; by blocks, for the cache. */
static void
transpose(const float *x, size_t ldx, int n, int dim, int length, float *out)
{
	for (int i = 0; i < n; i += 16)
		for (int d = 0; d < dim; d++)
			for (int k = i; k < n && k < i + 16; k++)
				out[(size_t) d * length + k] = x[k * ldx + d];
	for (int d = 0; d < dim; d++)
		memset(out + (size_t) d * length + n, 0, sizeof(float) * (length - n));
}

/* w->a := Y' X, Y being the decoded rows; the rotated ones are lost. */
static void
correlate(const PqShape *shape, const float *rows, size_t ld, int n, Workspace *w, const Caller *caller)
{
	float	   *left = w->c;
	float	   *right = w->rotated;
	int			dim = shape->dim;
	size_t		square = (size_t) dim * dim;

	memset(w->a, 0, sizeof(float) * square);
	for (int first = 0; first < n; first += CHUNK)
	{
		int			count = n - first < CHUNK ? n - first : CHUNK;

		transpose(w->decoded + (size_t) first * dim, (size_t) dim, count, dim, CHUNK, left);
		transpose(rows + first * ld, ld, count, dim, CHUNK, right);
		products(left, CHUNK, dim, right, dim, CHUNK, w->panels, w->b, caller);
		for (size_t i = 0; i < square; i++)
			w->a[i] += w->b[i];
	}
}

/*
 * A bound of the greatest singular value: the root of the greatest sums of
 * absolute values of a row and of a column.
 */
static double
norm_bound(const float *a, int dim, float *columns)
{
	double		row = 0;
	double		column = 0;

	memset(columns, 0, sizeof(float) * dim);
	for (int i = 0; i < dim; i++)
	{
		double		sum = 0;

		for (int j = 0; j < dim; j++)
		{
			float		value = fabsf(a[(size_t) i * dim + j]);

			sum += value;
			columns[j] += value;
		}
		row = sum > row ? sum : row;
	}
	for (int j = 0; j < dim; j++)
		column = columns[j] > column ? columns[j] : column;
	return sqrt(row * column);
}

/* One step of Newton and Schulz on w->a; returns how far A' A was from I, a mean square. */
static double
orthogonalise(int dim, Workspace *w, const Caller *caller)
{
	size_t		square = (size_t) dim * dim;
	double		off = 0;

	transpose(w->a, (size_t) dim, dim, dim, dim, w->b);
	products(w->b, (size_t) dim, dim, w->b, dim, dim, w->panels, w->c, caller);	/* A' A */
	for (int i = 0; i < dim; i++)
		for (int j = 0; j < dim; j++)
		{
			double		d = w->c[(size_t) i * dim + j] - (i == j);

			off += d * d;
		}
	products(w->a, (size_t) dim, dim, w->c, dim, dim, w->panels, w->b, caller);	/* A A' A */
	for (size_t i = 0; i < square; i++)
		w->a[i] = 1.5f * w->a[i] - 0.5f * w->b[i];
	return off / dim;
}

/* Make w->a, no singular value of which is above 1, orthogonal. */
static void
make_rotation(int dim, Workspace *w, const Caller *caller)
{
	for (int step = 0; step < MAX_STEPS; step++)
		if (orthogonalise(dim, w, caller) < ORTHONORMAL)
			break;
}

/* From the rotation towards the one nearest to w->a, and beyond; a little drawn to what it was. */
static void
turn(int dim, float *rotation, Workspace *w, const Caller *caller)
{
	size_t		square = (size_t) dim * dim;
	double		norm = norm_bound(w->a, dim, w->b);
	float		scale = norm > 0 ? (float) (1 / norm) : 0;

	if (!isfinite(scale))
		scale = 0;
	for (size_t i = 0; i < square; i++)
		w->a[i] = w->a[i] * scale + KEEP * rotation[i];
	make_rotation(dim, w, caller);
	for (size_t i = 0; i < square; i++)
		w->a[i] = ((1 + BEYOND) * w->a[i] - BEYOND * rotation[i]) / (1 + 2 * BEYOND);
	make_rotation(dim, w, caller);
	memcpy(rotation, w->a, sizeof(float) * square);
}

/* Codebooks of the rotated rows, and what their codes stand for; returns the mean squared error. */
static double
quantise(const PqShape *shape, int n, uint64_t seed, float *codebooks, Workspace *w, const Caller *caller)
{
	/* nobody uses this memory now, and a code has no more bytes than a row dimensions */
	uint8_t    *code = (uint8_t *) w->c;
	double		error = 0;

	for (int j = 0; j < shape->m; j++)
		pq_train(shape, j, w->rotated, (size_t) shape->dim, n, seed, codebooks, w->pq,
				 caller->interrupt, caller->arg);
	for (int i = 0; i < n; i++)
	{
		if (caller->interrupt && i % ROWS_AT_ONCE == 0)
			caller->interrupt(caller->arg);
		error += pq_encode(shape, codebooks, w->rotated + (size_t) i * shape->dim, code);
		pq_decode(shape, codebooks, code, w->decoded + (size_t) i * shape->dim);
	}
	return error / n;
}

/*
 * The same by one step of Lloyd's from the codebooks there are: rows are coded by them, and
 * each centroid becomes the mean of the parts that it codes.  The rotated rows are lost.
 */
static void
improve(const PqShape *shape, int n, float *codebooks, Workspace *w, const Caller *caller)
{
	int			dim = shape->dim;
	int			k = pq_centroids(shape);
	size_t		code_size = pq_code_size(shape);
	/* 8 k + 4 k + 1 bytes a dimension at most, where nobody uses 4 CHUNK */
	double	   *sums = (double *) w->c;
	int		   *counts = (int *) (sums + (size_t) dim * k);
	uint8_t    *code = (uint8_t *) (counts + (size_t) shape->m * k);

	memset(sums, 0, sizeof(double) * dim * k);
	memset(counts, 0, sizeof(int) * shape->m * k);
	for (int i = 0; i < n; i++)
	{
		float	   *row = w->rotated + (size_t) i * dim;

		if (caller->interrupt && i % ROWS_AT_ONCE == 0)
			caller->interrupt(caller->arg);
		(void) pq_encode(shape, codebooks, row, code);
		for (int j = 0; j < shape->m; j++)
		{
			int			centroid = pq_code_at(shape, code, j);

			counts[(size_t) j * k + centroid]++;
			for (int d = pq_part(shape, j); d < pq_part(shape, j + 1); d++)
				sums[(size_t) d * k + centroid] += row[d];
		}
		memcpy(row, code, code_size);
	}
	for (int j = 0; j < shape->m; j++)
		for (int c = 0; c < k; c++)
			for (int d = pq_part(shape, j); d < pq_part(shape, j + 1) && counts[(size_t) j * k + c] > 0; d++)
				codebooks[(size_t) d * k + c] =
					(float) (sums[(size_t) d * k + c] / counts[(size_t) j * k + c]);
	for (int i = 0; i < n; i++)
		pq_decode(shape, codebooks, (uint8_t *) (w->rotated + (size_t) i * dim),
				  w->decoded + (size_t) i * dim);
}

double
opq_train(const PqShape *shape, const float *rows, size_t ld, int n, int iterations,
		  uint64_t seed, float *rotation, float *codebooks, void *mem,
		  PqInterrupt interrupt, void *arg)
{
	Caller		caller = {interrupt, arg};
	int			dim = shape->dim;
	Workspace	w;

	divide(shape, n, mem, &w);
	memset(rotation, 0, sizeof(float) * dim * dim);
	for (int i = 0; i < dim; i++)
		rotation[(size_t) i * dim + i] = 1;

	for (int i = 0; i < iterations; i++)
	{
		products(rows, ld, n, rotation, dim, dim, w.panels, w.rotated, &caller);
		/* a round turns the rows little, so the last one's codebooks are nearly right */
		if (i % ANEW == 0)
			(void) quantise(shape, n, seed, codebooks, &w, &caller);
		else
			improve(shape, n, codebooks, &w, &caller);
		correlate(shape, rows, ld, n, &w, &caller);
		turn(dim, rotation, &w, &caller);
	}
	products(rows, ld, n, rotation, dim, dim, w.panels, w.rotated, &caller);
	return quantise(shape, n, seed, codebooks, &w, &caller);
}

void
opq_rotate(const float *rotation, int dim, const float *x, float *y)
{
	kernel->ip_rows(x, rotation, sizeof(float) * dim, dim, dim, y);
}
