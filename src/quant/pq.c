/*-------------------------------------------------------------------------
 *
 * pq.c
 *	  Product quantisation: codebooks, codes, tables, estimates.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/pq.h"

#include <math.h>
#include <string.h>

#include "quant/kmeans.h"

/* Passes of k-means over all rows: what it gains beyond is lost on other rows. */
#define MAX_ITERATIONS	25

/* Centroids whose distances are computed side by side. */
#define LANES	16

/* ----------------------------------------------------------------- training */

static KMeansParams
training(const PqShape *shape, int j, int n, uint64_t seed)
{
	KMeansParams params = {
		.n = n,
		.dim = pq_part(shape, j + 1) - pq_part(shape, j),
		.k = pq_centroids(shape),
		.max_iterations = MAX_ITERATIONS,
		.seed = seed + (uint64_t) j,
		.participants = 1
	};

	return params;
}

/* The longest part is this one or one as long. */
static int
longest(const PqShape *shape)
{
	return (shape->dim + shape->m - 1) / shape->m;
}

/* Floats, rounded up so that what follows lies as malloc() would have it. */
static size_t
aligned(size_t floats)
{
	return (floats + 15) / 16 * 16 * sizeof(float);
}

static size_t
workspace_size(const PqShape *shape, int n)
{
	size_t		most = 0;

	for (int j = 0; j < shape->m; j++)
	{
		KMeansParams params = training(shape, j, n, 0);
		size_t		size = kmeans_workspace_size(&params);

		if (size > most)
			most = size;
	}
	return most;
}

/* Memory: a part of all rows | its centroids | k-means' own. */
size_t
pq_train_size(const PqShape *shape, int n)
{
	size_t		workspace = workspace_size(shape, n);
	size_t		rest = aligned((size_t) n * longest(shape)) +
		aligned((size_t) pq_centroids(shape) * longest(shape));

	return workspace > SIZE_MAX - rest ? SIZE_MAX : rest + workspace;
}

void
pq_train(const PqShape *shape, int j, const float *rows, size_t ld, int n,
		 uint64_t seed, float *codebooks, void *mem,
		 PqInterrupt interrupt, void *arg)
{
	KMeansParams params = training(shape, j, n, seed);
	int			first = pq_part(shape, j);
	int			k = params.k;
	float	   *points = mem;
	float	   *centroids = (float *) ((char *) points + aligned((size_t) n * longest(shape)));
	void	   *workspace = (char *) centroids + aligned((size_t) k * longest(shape));
	float	   *columns = codebooks + (size_t) first * k;
	int			made;

	for (int i = 0; i < n; i++)
		memcpy(points + (size_t) i * params.dim, rows + i * ld + first, sizeof(float) * params.dim);
	kmeans_init(workspace, &params);
	made = kmeans_run(workspace, 0, points, centroids, NULL, interrupt, arg);
	for (int d = 0; d < params.dim; d++)
		for (int c = 0; c < k; c++)
			columns[(size_t) d * k + c] = centroids[(size_t) (c < made ? c : made - 1) * params.dim + d];
}

/* -------------------------------------------------------------------- codes */

/* |x - c|^2 of LANES centroids; their coordinates of one dimension lie k floats behind the last one's. */
static inline void
distances(const float *x, const float *columns, int dim, int k, float *out)
{
	float		sum[LANES] = {0};

	for (int d = 0; d < dim; d++)
	{
		const float *column = columns + (size_t) d * k;

		for (int i = 0; i < LANES; i++)
		{
			float		r = x[d] - column[i];

			sum[i] += r * r;
		}
	}
	memcpy(out, sum, sizeof(sum));
}

double
pq_encode(const PqShape *shape, const float *codebooks, const float *x, uint8_t *code)
{
	int			k = pq_centroids(shape);
	double		error = 0;

	memset(code, 0, pq_code_size(shape));
	for (int j = 0; j < shape->m; j++)
	{
		int			first = pq_part(shape, j);
		int			dim = pq_part(shape, j + 1) - first;
		const float *columns = codebooks + (size_t) first * k;
		float		least = INFINITY;
		int			nearest = 0;

		for (int c = 0; c < k; c += LANES)
		{
			float		some[LANES];

			distances(x + first, columns + c, dim, k, some);
			for (int i = 0; i < LANES; i++)
				if (some[i] < least)
				{
					least = some[i];
					nearest = c + i;
				}
		}
		error += least;
		if (shape->bits == 8)
			code[j] = (uint8_t) nearest;
		else
			code[j / 2] |= (uint8_t) (nearest << (j % 2 * 4));
	}
	return error;
}

void
pq_decode(const PqShape *shape, const float *codebooks, const uint8_t *code, float *x)
{
	int			k = pq_centroids(shape);

	for (int j = 0; j < shape->m; j++)
	{
		int			centroid = pq_code_at(shape, code, j);

		for (int d = pq_part(shape, j); d < pq_part(shape, j + 1); d++)
			x[d] = codebooks[(size_t) d * k + centroid];
	}
}

/* ------------------------------------------------------------------ queries */

void
pq_tables_l2sq(const PqShape *shape, const float *codebooks, const float *q, float *tables)
{
	int			k = pq_centroids(shape);

	for (int j = 0; j < shape->m; j++)
	{
		int			first = pq_part(shape, j);

		for (int c = 0; c < k; c += LANES)
			distances(q + first, codebooks + (size_t) first * k + c,
					  pq_part(shape, j + 1) - first, k, tables + (size_t) j * k + c);
	}
}

void
pq_tables_ip(const PqShape *shape, const float *codebooks, const float *q, float *tables)
{
	int			k = pq_centroids(shape);

	memset(tables, 0, sizeof(float) * pq_table_floats(shape));
	for (int j = 0; j < shape->m; j++)
	{
		float	   *table = tables + (size_t) j * k;

		for (int d = pq_part(shape, j); d < pq_part(shape, j + 1); d++)
			for (int c = 0; c < k; c += LANES)
				for (int i = 0; i < LANES; i++)
					table[c + i] -= q[d] * codebooks[(size_t) d * k + c + i];
	}
}

void
pq_estimate(const PqShape *shape, const float *tables, float base,
			const uint8_t *codes, int n, float *out)
{
	size_t		size = pq_code_size(shape);

	for (int i = 0; i < n; i++, codes += size)
	{
		float		sum = base;

		if (shape->bits == 8)
			for (int j = 0; j < shape->m; j++)
				sum += tables[(size_t) j * 256 + codes[j]];
		else
			for (int j = 0; j < shape->m; j++)
				sum += tables[(size_t) j * 16 + pq_code_at(shape, codes, j)];
		out[i] = sum;
	}
}
