/*-------------------------------------------------------------------------
 *
 * test_groups.c
 *	  Groups of centroids, rough distances, and k-means in cells: what
 *	  groups.h, rough.h and kmeans_tree.c promise.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#include "kernel/kernel.h"
#include "quant/groups.h"
#include "quant/kmeans.h"
#include "quant/random.h"
#include "quant/rough.h"

static uint64_t seed = 11;

static void *
allocate(size_t size)
{
	void	   *memory = aligned_alloc(64, (size + 127) / 64 * 64);

	if (memory == NULL)
		exit(1);
	return memory;
}

static float
gaussian(void)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double) (random_next(&seed) >> 11) / 9007199254740992.0;
	return (float) (sum - 6);
}

/* n rows around centres, each offset from zero. */
static float *
make_rows(int n, int dim, int centres, float offset, bool unit)
{
	float	   *rows = allocate(sizeof(float) * n * dim);
	float	   *centre = allocate(sizeof(float) * centres * dim);

	for (int i = 0; i < centres * dim; i++)
		centre[i] = gaussian();
	for (int i = 0; i < n; i++)
	{
		float	   *x = rows + (size_t) i * dim;
		const float *c = centre + (size_t) random_below(&seed, centres) * dim;
		double		length = 0;

		for (int d = 0; d < dim; d++)
		{
			x[d] = offset + c[d] + 0.5f * gaussian();
			length += (double) x[d] * x[d];
		}
		for (int d = 0; unit && d < dim; d++)
			x[d] = (float) (x[d] / sqrt(length));
	}
	free(centre);
	return rows;
}

static int
cmp_float(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* Centroids in groups: the same ones, each with the nearest middle; rows find theirs. */
static void
test_groups(int k, int dim, int wanted, bool unit)
{
	int			n = 3000;
	float	   *centroids = make_rows(k, dim, 50, 1, unit);
	float	   *before = allocate(sizeof(float) * k);
	float	   *after = allocate(sizeof(float) * k);
	float	   *rows = make_rows(n, dim, 50, 1, unit);
	float	   *middles = allocate(sizeof(float) * wanted * dim);
	uint32_t   *first = allocate(sizeof(uint32_t) * (wanted + 1));
	void	   *workspace = allocate(groups_make_size(k, dim, wanted));
	void	   *scratch = allocate(assign_scratch_size(k, dim));
	uint32_t   *exact = allocate(sizeof(uint32_t) * n);
	uint32_t   *found = allocate(sizeof(uint32_t) * n);
	Groups		groups = {.dim = dim,.first = first};
	void	   *packed;
	void	   *packed_middles;
	int			elsewhere = 0;
	int			misplaced = 0;

	for (int i = 0; i < k; i++)
		before[i] = centroids[(size_t) i * dim];
	groups.n = groups_make(workspace, centroids, k, dim, unit, wanted, first, middles, NULL, NULL);
	for (int i = 0; i < k; i++)
		after[i] = centroids[(size_t) i * dim];
	qsort(before, k, sizeof(float), cmp_float);
	qsort(after, k, sizeof(float), cmp_float);
	if (memcmp(before, after, sizeof(float) * k) != 0)
		COMPLAIN("centroids are not the same");
	if (groups.n < 1 || groups.n > wanted || first[0] != 0 || first[groups.n] != (uint32_t) k)
		COMPLAIN("%d groups from %u to %u", groups.n, first[0], first[groups.n]);
	for (int g = 0; g < groups.n; g++)
	{
		if (first[g + 1] <= first[g])
			COMPLAIN("group %d is empty", g);
		for (uint32_t i = first[g]; i < first[g + 1]; i++)
		{
			float		own = kernel->l2sq(centroids + (size_t) i * dim, middles + (size_t) g * dim, dim);

			for (int other = 0; other < groups.n; other++)
				if (kernel->l2sq(centroids + (size_t) i * dim, middles + (size_t) other * dim,
								 dim) < own * 0.9999f - 1e-5f)
				{
					misplaced++;
					break;
				}
		}
	}
	if (misplaced > 0)
		COMPLAIN("%d centroids are nearer to another middle", misplaced);

	packed = allocate(assign_size(k, dim));
	packed_middles = allocate(assign_size(groups.n, dim));
	assign_prepare(packed, centroids, k, dim, unit, scratch);
	assign_prepare(packed_middles, middles, groups.n, dim, unit, scratch);
	groups.centroids = packed;
	groups.middles = packed_middles;
	assign_rows(packed, rows, dim, NULL, n, exact, NULL, scratch, NULL, NULL);
	free(scratch);
	scratch = allocate(groups_scratch_size(groups.n, k, dim, n));
	groups_assign(&groups, k, rows, dim, n, found, NULL, scratch, NULL, NULL);
	for (int i = 0; i < n; i++)
	{
		if (found[i] >= (uint32_t) k)
			COMPLAIN("row %d goes to centroid %u", i, found[i]);
		elsewhere += found[i] != exact[i];
	}
	if (elsewhere > (groups.n <= GROUPS_NEAR ? 0 : n / 50))
		COMPLAIN("%d of %d rows go elsewhere", elsewhere, n);
	point("%d centroids of %d in %d groups%s", k, dim, wanted, unit ? ", unit length" : "");

	free(centroids);
	free(before);
	free(after);
	free(rows);
	free(middles);
	free(first);
	free(workspace);
	free(scratch);
	free(exact);
	free(found);
	free(packed);
	free(packed_middles);
}

/* Rough distances keep to the error they are said to have. */
static void
test_rough(int dim, bool ip)
{
	int			n = 300;
	float	   *rows = make_rows(n, dim, 20, 5, false);
	float	   *mean = allocate(sizeof(float) * dim);
	float	   *scratch = allocate(sizeof(float) * dim);
	float	   *out = allocate(sizeof(float) * n);
	RoughRows	rough = {.dim = dim,.mean = mean};
	RoughQuery	query = {.ip = ip};
	const float *q = rows + dim;

	for (int d = 0; d < dim; d++)
		mean[d] = 5;
	memcpy(rows, mean, sizeof(float) * dim);	/* nothing is left of it */
	rough.rows = allocate(sizeof(RoughRow) * n);
	rough.codes = allocate(rough_stride(dim) * n);
	query.code = allocate(rough_stride(dim));
	for (int i = 0; i < n; i++)
		rough_put(&rough, i, rows + (size_t) i * dim, scratch);
	rough_query(&query, mean, q, dim, scratch);
	/* not from the first on, and no whole chunk at the end */
	rough_distances(&query, &rough, 0, 7, out);
	rough_distances(&query, &rough, 7, n - 7, out + 7);
	for (int i = 0; i < n; i++)
	{
		const float *x = rows + (size_t) i * dim;
		double		exact = 0;
		double		q_length = 0;
		double		x_length = 0;

		for (int d = 0; d < dim; d++)
		{
			double		a = ip ? q[d] : q[d] - mean[d];
			double		b = x[d] - mean[d];

			exact += ip ? -(double) q[d] * x[d] : ((double) q[d] - x[d]) * ((double) q[d] - x[d]);
			q_length += a * a;
			x_length += b * b;
		}
		if (!(fabs(out[i] - exact) <= 0.2 * sqrt(q_length * x_length / dim) + 1e-4 * (1 + fabs(exact))))
			COMPLAIN("row %d: %g instead of %g", i, out[i], exact);
	}
	point("rough %s in %d dimensions", ip ? "inner products" : "distances", dim);

	free(rows);
	free(mean);
	free(scratch);
	free(out);
	free(rough.rows);
	free(rough.codes);
	free(query.code);
}

/* k-means of several participants */
typedef struct Run
{
	void	   *workspace;
	const float *rows;
	float	   *centroids;
	pthread_barrier_t barrier;
} Run;

typedef struct Participant
{
	Run		   *run;
	int			number;
	int			made;
	pthread_t	thread;
} Participant;

static void
wait_for_all(void *arg)
{
	pthread_barrier_wait(&((Run *) arg)->barrier);
}

static void *
participate(void *arg)
{
	Participant *me = arg;
	Run		   *run = me->run;

	me->made = kmeans_run(run->workspace, me->number, run->rows, run->centroids, wait_for_all,
						  NULL, run);
	return NULL;
}

static int
run_together(KMeansParams params, const float *rows, float *centroids)
{
	Run			run = {.rows = rows,.centroids = centroids};
	Participant all[3];

	params.participants = 3;
	run.workspace = allocate(kmeans_workspace_size(&params));
	pthread_barrier_init(&run.barrier, NULL, 3);
	kmeans_init(run.workspace, &params);
	for (int p = 0; p < 3; p++)
	{
		all[p].run = &run;
		all[p].number = p;
		if (pthread_create(&all[p].thread, NULL, participate, &all[p]) != 0)
			exit(1);
	}
	for (int p = 0; p < 3; p++)
	{
		pthread_join(all[p].thread, NULL);
		if (all[p].made != all[0].made)
			COMPLAIN("participants tell of %d and %d centroids", all[0].made, all[p].made);
	}
	pthread_barrier_destroy(&run.barrier);
	free(run.workspace);
	return all[0].made;
}

/*
 * Of the mean squared distance of all rows to the nearest centroid, the part that one
 * round of k-means, all compared with all, would gain; and how many centroids own no row.
 */
static double
left_to_gain(const float *rows, int n, int dim, const float *centroids, int k, int *empty)
{
	void	   *packed = allocate(assign_size(k, dim));
	void	   *scratch = allocate(assign_scratch_size(k, dim));
	uint32_t   *nearest = allocate(sizeof(uint32_t) * n);
	float	   *distance = allocate(sizeof(float) * n);
	double	   *sums = calloc((size_t) k * dim, sizeof(double));
	int		   *sizes = calloc(k, sizeof(int));
	double		before = 0;
	double		gain = 0;

	assign_prepare(packed, centroids, k, dim, false, scratch);
	assign_rows(packed, rows, dim, NULL, n, nearest, distance, scratch, NULL, NULL);
	for (int i = 0; i < n; i++)
	{
		before += distance[i];
		sizes[nearest[i]]++;
		for (int d = 0; d < dim; d++)
			sums[(size_t) nearest[i] * dim + d] += rows[(size_t) i * dim + d];
	}
	*empty = 0;
	for (int j = 0; j < k; j++)
	{
		*empty += sizes[j] == 0;
		for (int d = 0; sizes[j] > 0 && d < dim; d++)
		{
			double		moved = sums[(size_t) j * dim + d] / sizes[j] - centroids[(size_t) j * dim + d];

			gain += sizes[j] * moved * moved;
		}
	}
	free(packed);
	free(scratch);
	free(nearest);
	free(distance);
	free(sums);
	free(sizes);
	return gain / before;
}

/*
 * More centroids than k-means makes at once: distinct, and as many as wanted; the same from
 * several participants; and the borders of the cells they were made in are no more.
 */
static void
test_tree(int n, int dim, int k)
{
	double		left;
	int			empty;
	KMeansParams params = {.n = n,.dim = dim,.k = k,.max_iterations = 3,.seed = 1,.participants = 1};
	float	   *rows = make_rows(n, dim, 500, 0, false);
	float	   *centroids = allocate(sizeof(float) * k * dim);
	float	   *again = allocate(sizeof(float) * k * dim);
	void	   *workspace = allocate(kmeans_workspace_size(&params));
	int			made;

	kmeans_init(workspace, &params);
	made = kmeans_run(workspace, 0, rows, centroids, NULL, NULL, NULL);
	if (made > k || made < k - k / 50)
		COMPLAIN("%d of %d centroids", made, k);
	for (int i = 0; i < made * dim; i++)
		if (!isfinite(centroids[i]))
			COMPLAIN("number %d is not finite", i);
	if (!(kmeans_report(workspace).objective < 0.5 * dim))
		COMPLAIN("objective %g", kmeans_report(workspace).objective);
	kmeans_init(workspace, &params);
	if (kmeans_run(workspace, 0, rows, again, NULL, NULL, NULL) != made ||
		memcmp(centroids, again, sizeof(float) * made * dim) != 0)
		COMPLAIN("another result the second time");
	if (run_together(params, rows, again) != made ||
		memcmp(centroids, again, sizeof(float) * made * dim) != 0)
		COMPLAIN("another result of three participants");
	left = left_to_gain(rows, n, dim, centroids, made, &empty);
	if (left > 0.01 || empty > made / 100)
		COMPLAIN("%g of the objective is left to gain, and %d centroids own no row", left, empty);
	point("%d centroids of %d rows of %d", k, n, dim);

	free(rows);
	free(centroids);
	free(again);
	free(workspace);
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	kernel_init();
	if (groups_wanted(1000, 100) != 0 || groups_wanted(100000, 16000) < GROUPS_NEAR ||
		groups_wanted(1000000, 1) > 1000000)
		COMPLAIN("groups_wanted()");
	point("how many groups");
	test_groups(2000, 8, 100, false);
	test_groups(2000, 33, 60, true);
	test_groups(300, 5, 10, false);
	test_groups(300, 1, 40, false);
	for (int dim = 1; dim < 800; dim = dim * 3 + 5)
	{
		test_rough(dim, false);
		test_rough(dim, true);
	}
	test_tree(60000, 3, 20000);
	test_tree(17000, 2, 17000);
	test_tree(80000, 16, 17000);
	return done();
}
