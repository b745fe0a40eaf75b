/*-------------------------------------------------------------------------
 *
 * test_kmeans.c
 *	  assign.c against brute force in double, and the promises of kmeans.h.
 *
 * Bound.  A distance by way of the product is off by rounding of x - m, c - m
 * and of a product of dim terms: taken here as (dim / 16 + 16) * 2^-24 times
 * (|x-m| + |c-m|)^2, and for the subtraction of the mean 2^-22 times the
 * largest coordinate for each of the components.
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/assign.h"
#include "quant/kmeans.h"
#include "quant/kmeans_private.h"

/* From so many centroids on rounds do not compare all with all (kmeans_near.c). */
#define MANY	257

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))

static int	tests = 0;
static int	failures = 0;
static int	complaints = 0;		/* of the test at hand */

static void
report(const char *what)
{
	bool		good = complaints == 0;

	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, what);
	fflush(stdout);
	complaints = 0;
}

#define CHECK(condition, ...) \
	do { \
		if (!(condition) && complaints++ < 5) \
		{ \
			printf("# " __VA_ARGS__); \
			printf(" (line %d)\n", __LINE__); \
		} \
	} while (0)

static void *
allocate(size_t size)
{
	void	   *memory = malloc(size ? size : 1);

	if (memory == NULL)
	{
		printf("Bail out! no memory\n");
		exit(1);
	}
	/* nothing may depend on what memory holds */
	memset(memory, 0x7F, size);
	return memory;
}

static uint64_t random_state = 1;

static double
uniform(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double) (random_state >> 11) / 9007199254740992.0;
}

static float
gaussian(void)
{
	double		sum = 0.0;

	for (int i = 0; i < 12; i++)
		sum += uniform();
	return (float) (sum - 6.0);
}

/* n points around `centres` random centres; spread 1, centres 3 apart. */
static float *
make_points(int n, int dim, int centres, float offset, bool unit)
{
	float	   *points = allocate(sizeof(float) * n * dim);
	float	   *middle = allocate(sizeof(float) * centres * dim);

	for (int i = 0; i < centres * dim; i++)
		middle[i] = 3.0f * gaussian();
	for (int i = 0; i < n; i++)
	{
		float	   *x = points + (size_t) i * dim;
		const float *m = middle + (size_t) (int) (uniform() * centres) * dim;
		double		length = 0.0;

		for (int d = 0; d < dim; d++)
		{
			x[d] = offset + m[d] + gaussian();
			length += (double) x[d] * x[d];
		}
		if (unit)
			for (int d = 0; d < dim; d++)
				x[d] = (float) (x[d] / sqrt(length));
	}
	free(middle);
	return points;
}

static double
true_distance(const float *a, const float *b, int dim, bool ip)
{
	double		sum = 0.0;

	for (int d = 0; d < dim; d++)
		sum += ip ? -(double) a[d] * b[d] : ((double) a[d] - b[d]) * ((double) a[d] - b[d]);
	return sum;
}

/* ---------------------------------------------------------------- assign */

static void
test_packing(void)
{
	int			dim = 37;
	int			k = 200;
	float	   *y = make_points(k, dim, 1, 0, false);
	size_t		size = kernel_panels_size(k, dim);
	float	   *whole = allocate(sizeof(float) * size);
	float	   *pieces = allocate(sizeof(float) * size);

	for (int first = 0; first < k; first += 64)
		kernel_pack_panels(y + first * dim, dim, k - first < 64 ? k - first : 64,
						   dim, pieces + (size_t) (first / 64) * kernel_panels_size(64, dim));
	kernel_pack_panels(y, dim, k, dim, whole);
	CHECK(memcmp(whole, pieces, sizeof(float) * size) == 0, "packed differently");
	report("packing 64 rows at a time is packing all");
	free(y);
	free(whole);
	free(pieces);
}

/* All of assign.h for one shape, against double. */
static void
check_assign(int n, int dim, int k, bool ip, float offset)
{
	float	   *rows = make_points(n, dim, 5, offset, false);
	float	   *centroids = make_points(k, dim, 5, offset, false);
	char	   *mem = allocate(assign_size(k, dim) + 4);
	void	   *scratch = allocate(assign_scratch_size(k, dim));
	uint32_t   *nearest = allocate(sizeof(uint32_t) * n);
	uint32_t   *which = allocate(sizeof(uint32_t) * n);
	uint32_t   *gathered = allocate(sizeof(uint32_t) * n);
	float	   *distance = allocate(sizeof(float) * n);
	float	   *all = allocate(sizeof(float) * n * ((size_t) k + 3));
	double	   *mean = allocate(sizeof(double) * dim);
	double		largest = 0.0;

	for (int d = 0; d < dim; d++)
	{
		mean[d] = 0.0;
		for (int j = 0; j < k && !ip; j++)
			mean[d] += centroids[(size_t) j * dim + d] / (double) k;
		for (int i = 0; i < n; i++)
			largest = fmax(largest, fabs(rows[(size_t) i * dim + d]));
	}
	for (int i = 0; i < n; i++)
		which[i] = (uint32_t) (n - 1 - i);

	assign_prepare(mem, centroids, k, dim, ip, scratch);
	assign_rows(mem, rows, dim, NULL, n, nearest, distance, scratch, NULL, NULL);
	assign_rows(mem, rows, dim, which, n, gathered, NULL, scratch, NULL, NULL);
	assign_distances(mem, rows, dim, n, all, (size_t) k + 3, scratch, NULL, NULL);

	for (int i = 0; i < n; i++)
	{
		const float *x = rows + (size_t) i * dim;
		double		least = INFINITY;
		double		worst = 0.0;
		uint32_t	one = 0;
		float		one_distance = INFINITY;
		double		x_length = 0.0;

		for (int d = 0; d < dim; d++)
			x_length += (x[d] - mean[d]) * (x[d] - mean[d]);
		for (int j = 0; j < k; j++)
		{
			const float *c = centroids + (size_t) j * dim;
			double		true_d = true_distance(x, c, dim, ip);
			double		c_length = 0.0;
			double		bound;

			for (int d = 0; d < dim; d++)
				c_length += (c[d] - mean[d]) * (c[d] - mean[d]);
			bound = sqrt(x_length) + sqrt(c_length);
			bound = (dim / 16 + 16) * ldexp(1.0, -24) * bound * bound +
				2.0 * bound * sqrt(dim) * largest * ldexp(1.0, -22);
			worst = fmax(worst, bound);
			least = fmin(least, true_d);
			CHECK(fabs(all[(size_t) i * (k + 3) + j] - true_d) <= bound,
				  "row %d centroid %d: distance %g, should be %.9g",
				  i, j, all[(size_t) i * (k + 3) + j], true_d);
		}
		CHECK(nearest[i] < (uint32_t) k && gathered[n - 1 - i] < (uint32_t) k,
			  "row %d: no such centroid", i);
		if (complaints)
			break;
		CHECK(true_distance(x, centroids + (size_t) nearest[i] * dim, dim, ip) <=
			  least + 2.0 * worst, "n %d dim %d k %d row %d: not the nearest", n, dim, k, i);
		CHECK(true_distance(x, centroids + (size_t) gathered[n - 1 - i] * dim, dim, ip) <=
			  least + 2.0 * worst, "row %d: not the nearest, gathered", i);
		CHECK(fabs(distance[i] - least) <= worst, "row %d: wrong distance", i);

		for (int first = 0; first < k; first += 100)
			assign_one(x, centroids + (size_t) first * dim, sizeof(float) * dim,
					   k - first < 100 ? k - first : 100, dim, ip, (uint32_t) first,
					   &one_distance, &one);
		CHECK(one_distance == (ip ? -kernel->ip(x, centroids + (size_t) one * dim, dim) :
							   kernel->l2sq(x, centroids + (size_t) one * dim, dim)),
			  "row %d: assign_one's distance has other bits", i);
		CHECK(true_distance(x, centroids + (size_t) one * dim, dim, ip) <=
			  least + 2.0 * worst, "row %d: assign_one not the nearest", i);
	}
	free(rows);
	free(centroids);
	free(mem);
	free(scratch);
	free(nearest);
	free(which);
	free(gathered);
	free(distance);
	free(all);
	free(mean);
}

static void
test_assign(void)
{
	static const int dims[] = {1, 2, 3, 15, 16, 17, 31, 32, 100, 384};
	static const int ks[] = {1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 600};

	for (int ip = 0; ip < 2; ip++)
	{
		for (int d = 0; d < LENGTH(dims); d++)
			for (int j = 0; j < LENGTH(ks); j++)
				check_assign(1 + (d * 37 + j * 101) % 300, dims[d], ks[j], ip, 0);
		report(ip ? "assignment equals brute force: inner product" :
			   "assignment equals brute force: L2");
	}
	check_assign(150, 64, 300, false, 1000.0f);
	report("assignment equals brute force: 1000 from the origin");
	check_assign(40, 16000, 70, false, 0);
	check_assign(40, 16000, 70, true, 0);
	report("assignment equals brute force: 16000 dimensions");
}

static void
test_assign_infinite(void)
{
	float		rows[4] = {3e38f, -3e38f, 3e38f, 3e38f};
	float		centroids[4] = {3e38f, -3e38f, -3e38f, 3e38f};
	uint32_t	nearest[2];
	float		distance[2];
	void	   *mem = allocate(assign_size(2, 2));
	void	   *scratch = allocate(assign_scratch_size(2, 2));

	for (int ip = 0; ip < 2; ip++)
	{
		uint32_t	one = 0;
		float		d = INFINITY;

		assign_prepare(mem, centroids, 2, 2, ip, scratch);
		assign_rows(mem, rows, 2, NULL, 2, nearest, distance, scratch, NULL, NULL);
		CHECK(nearest[0] < 2 && nearest[1] < 2, "no such centroid");
		assign_one(rows + 2, centroids, 8, 2, 2, ip, 0, &d, &one);
		CHECK(one < 2, "assign_one: no such centroid");
	}
	report("products that overflow still give a centroid");
	free(mem);
	free(scratch);
}

/* Memory written through one mapping, read through another. */
static void
test_assign_moved(void)
{
	int			dim = 20;
	int			k = 100;
	float	   *rows = make_points(k, dim, 3, 0, false);
	size_t		size = assign_size(k, dim);
	char	   *mem = allocate(size);
	char	   *copy = allocate(size);
	void	   *scratch = allocate(assign_scratch_size(k, dim));
	uint32_t	nearest[100];

	assign_prepare(mem, rows, k, dim, false, scratch);
	memcpy(copy, mem, size);
	memset(mem, 0xFF, size);
	assign_rows(copy, rows, dim, NULL, k, nearest, NULL, scratch, NULL, NULL);
	for (int i = 0; i < k; i++)
		CHECK(nearest[i] == (uint32_t) i, "row %d", i);
	report("prepared centroids can be read at another address");
	free(rows);
	free(mem);
	free(copy);
	free(scratch);
}

/* ---------------------------------------------------------------- kmeans */

typedef struct Run
{
	KMeansParams params;
	const float *points;
	float	   *centroids;
	void	   *workspace;
	pthread_barrier_t barrier;
	int			made;
	KMeansReport report;
} Run;

typedef struct Thread
{
	Run		   *run;
	pthread_t	id;
	int			number;
	int			made;
	long		interrupts;
} Thread;

static void
thread_sync(void *arg)
{
	pthread_barrier_wait(&((Thread *) arg)->run->barrier);
}

static void
thread_interrupt(void *arg)
{
	((Thread *) arg)->interrupts++;
}

static void *
thread_main(void *arg)
{
	Thread	   *me = arg;

	me->made = kmeans_run(me->run->workspace, me->number, me->run->points,
						  me->run->centroids, thread_sync, thread_interrupt, me);
	return NULL;
}

/* Run with that many threads; centroids are the caller's to free. */
static Run
run_kmeans(const float *points, int n, int dim, int k, bool spherical, int threads)
{
	Run			run;
	Thread		thread[8];

	run.params = (KMeansParams)
	{
		n, dim, k, spherical, 10, 42, threads
	};
	run.points = points;
	run.workspace = allocate(kmeans_workspace_size(&run.params));
	run.centroids = allocate(sizeof(float) * k * dim);
	kmeans_init(run.workspace, &run.params);
	if (threads == 1)
		run.made = kmeans_run(run.workspace, 0, points, run.centroids, NULL, NULL, NULL);
	else
	{
		pthread_barrier_init(&run.barrier, NULL, (unsigned) threads);
		for (int t = 0; t < threads; t++)
		{
			thread[t].run = &run;
			thread[t].number = t;
			thread[t].interrupts = 0;
			if (pthread_create(&thread[t].id, NULL, thread_main, &thread[t]) != 0)
			{
				printf("Bail out! no thread\n");
				exit(1);
			}
		}
		for (int t = 0; t < threads; t++)
		{
			pthread_join(thread[t].id, NULL);
			CHECK(thread[t].made == thread[0].made, "participants disagree");
		}
		CHECK(thread[0].interrupts > 0, "no interrupt was looked for");
		run.made = thread[0].made;
		pthread_barrier_destroy(&run.barrier);
	}
	run.report = kmeans_report(run.workspace);
	free(run.workspace);
	return run;
}

/*
 * The promises: centroids finite, distinct, each the nearest of some point;
 * unit length if spherical; the objective is what it says, or little less
 * where rounds do not compare all with all.  Returns the objective.
 */
static double
check_result(const Run *run)
{
	int			n = run->params.n;
	int			dim = run->params.dim;
	int		   *counts = allocate(sizeof(int) * run->made);
	double		objective = 0.0;
	double		spread = 0.0;

	memset(counts, 0, sizeof(int) * run->made);
	for (size_t i = 0; i < (size_t) run->made * dim; i++)
		CHECK(isfinite(run->centroids[i]), "centroid not finite");
	for (int i = 0; i < n; i++)
	{
		double		least = INFINITY;
		int			nearest = 0;

		spread += true_distance(run->points, run->points + (size_t) i * dim, dim, false);
		for (int j = 0; j < run->made; j++)
		{
			double		d = true_distance(run->points + (size_t) i * dim,
										  run->centroids + (size_t) j * dim, dim,
										  run->params.spherical);

			if (d < least)
			{
				least = d;
				nearest = j;
			}
		}
		counts[nearest]++;
		objective += run->params.spherical ? 2.0 + 2.0 * least : least;
	}
	objective /= n;
	for (int j = 0; j < run->made; j++)
	{
		const float *c = run->centroids + (size_t) j * dim;

		CHECK(counts[j] > 0, "cluster %d of %d is empty", j, run->made);
		if (run->params.spherical)
			CHECK(fabs(true_distance(c, c, dim, true) + 1.0) < 1e-5, "length of %d", j);
		for (int other = 0; other < j; other++)
			CHECK(memcmp(c, run->centroids + (size_t) other * dim,
						 sizeof(float) * dim) != 0, "%d equals %d", j, other);
	}
	CHECK(fabs(objective - run->report.objective) <=
		  (run->params.k < MANY ? 1e-4 : 1e-2) * objective + 1e-6 * spread / n + 1e-7,
		  "objective %g, reported %g", objective, run->report.objective);
	free(counts);
	return objective;
}

typedef struct Shape
{
	int			n,
				dim,
				k,
				centres;
	float		offset;
	bool		spherical;
	const char *what;
} Shape;

static void
check_shapes(const Shape *shapes, int nshapes)
{
	for (int s = 0; s < nshapes; s++)
	{
		float	   *points = make_points(shapes[s].n, shapes[s].dim, shapes[s].centres,
										 shapes[s].offset, shapes[s].spherical);
		Run			run = run_kmeans(points, shapes[s].n, shapes[s].dim, shapes[s].k,
									 shapes[s].spherical, 1);
		int			wanted = shapes[s].k < shapes[s].n ? shapes[s].k : shapes[s].n;

		CHECK(run.made == wanted, "%d centroids of %d", run.made, wanted);
		(void) check_result(&run);
		for (int threads = 2; threads <= 3; threads++)
		{
			Run			other = run_kmeans(points, shapes[s].n, shapes[s].dim,
										   shapes[s].k, shapes[s].spherical, threads);

			CHECK(other.made == run.made &&
				  memcmp(other.centroids, run.centroids,
						 sizeof(float) * run.made * run.params.dim) == 0,
				  "%d participants get another result", threads);
			free(other.centroids);
		}
		report(shapes[s].what);
		free(run.centroids);
		free(points);
	}
}

static void
test_shapes(void)
{
	static const Shape shapes[] = {
		{2000, 20, 1, 5, 0, false, "one centroid"},
		{3000, 1, 40, 5, 0, false, "one dimension"},
		{4000, 24, 100, 30, 0, false, "100 centroids"},
		{300, 8, 300, 10, 0, false, "as many centroids as points"},
		{5, 8, 20, 2, 0, false, "fewer points than centroids"},
		{1, 3, 1, 1, 0, false, "one point"},
		{1, 3, 7, 1, 0, true, "one point, spherical"},
		{4000, 24, 60, 30, 1000, false, "1000 from the origin"},
		{4000, 24, 60, 30, 0, true, "spherical"},
		{20, 16000, 4, 4, 0, false, "16000 dimensions"},
		{20, 16000, 4, 4, 0, true, "16000 dimensions, spherical"},
		{20000, 2, 256, 3, 0, false, "many points, two dimensions"},
	};

	check_shapes(shapes, LENGTH(shapes));
}

static void
test_one_centroid(void)
{
	float	   *points = make_points(1000, 7, 3, 50, false);
	Run			run = run_kmeans(points, 1000, 7, 1, false, 1);

	for (int d = 0; d < 7; d++)
	{
		double		mean = 0.0;

		for (int i = 0; i < 1000; i++)
			mean += points[i * 7 + d] / 1000.0;
		CHECK(fabs(run.centroids[d] - mean) < 1e-4, "component %d: %g for %g", d,
			  run.centroids[d], mean);
	}
	report("one centroid is the mean");
	free(run.centroids);
	free(points);
}

/* Far-apart clusters of very different size are all found. */
static void
test_separated(void)
{
	int			n = 6000;
	int			k = 30;
	int			dim = 10;
	float	   *points = allocate(sizeof(float) * n * dim);
	Run			run;

	/* half the points in the first, the others share the rest */
	for (int i = 0; i < n; i++)
	{
		int			cluster = i < n / 2 ? 0 : i % k;

		for (int d = 0; d < dim; d++)
			points[i * dim + d] = 1000.0f + gaussian() +
				(d == cluster % dim ? 200.0f * (float) (1 + cluster / dim) : 0.0f);
	}
	run = run_kmeans(points, n, dim, k, false, 1);
	CHECK(run.made == k, "%d centroids", run.made);
	/* each cluster's own variance is dim; two left together have 10,000s */
	CHECK(check_result(&run) < 1.1 * dim, "objective %g", run.report.objective);
	report("separated clusters of unequal size are found");
	free(run.centroids);
	free(points);
}

static void
test_balance(void)
{
	int			n = 20000;
	int			k = 100;
	int			dim = 16;
	float	   *points = allocate(sizeof(float) * n * dim);
	Run			run;

	/* nine tenths in one dense cloud, the rest scattered widely */
	for (int i = 0; i < n * dim; i++)
		points[i] = (i / dim % 10 == 0 ? 10.0f : 1.0f) * gaussian();
	run = run_kmeans(points, n, dim, k, false, 1);
	CHECK(run.made == k, "%d centroids", run.made);
	CHECK(run.report.largest < 10 * n / k, "largest cluster has %d points, mean %d",
		  run.report.largest, n / k);
	(void) check_result(&run);
	report("no cluster is ten times the mean");
	free(run.centroids);
	free(points);
}

/* Points of that many values give as many centroids, each a value. */
static void
check_values(float *points, int n, int dim, int k, int values, const char *what)
{
	for (int i = 0; i < n; i++)
		memcpy(points + i * dim, points + i % values * dim, sizeof(float) * dim);
	for (int threads = 1; threads <= 2; threads++)
	{
		Run			run = run_kmeans(points, n, dim, k, false, threads);

		CHECK(run.made == values, "%d centroids of %d values", run.made, values);
		CHECK(check_result(&run) < 1e-6, "objective %g", run.report.objective);
		free(run.centroids);
	}
	report(what);
}

/* Points that are all the first unit vector give it alone. */
static void
check_one_value(float *points, int n, int dim, int k, bool spherical)
{
	Run			run;

	for (int i = 0; i < n * dim; i++)
		points[i] = i % dim == 0 ? 1.0f : 0.0f;
	run = run_kmeans(points, n, dim, k, spherical, 1);
	CHECK(run.made == 1 && run.centroids[0] == 1.0f && run.centroids[1] == 0.0f,
		  "%d centroids of one value", run.made);
	free(run.centroids);
}

/* As many centroids as asked for, all of them sound. */
static void
check_made(const float *points, int n, int dim, int k)
{
	Run			run = run_kmeans(points, n, dim, k, false, 1);

	CHECK(run.made == k, "%d centroids", run.made);
	(void) check_result(&run);
	free(run.centroids);
}

static void
test_duplicates(void)
{
	int			n = 3000;
	int			dim = 12;
	float	   *points = make_points(n, dim, 10, 5, false);

	check_values(points, n, dim, 50, 17, "17 values give 17 centroids");
	check_one_value(points, n, dim, 50, false);
	check_one_value(points, n, dim, 50, true);
	report("one value gives one centroid");

	/* all but 40 points are equal */
	for (int i = 0; i < 40 * dim; i++)
		points[n / 2 * dim + i] = 3.0f * gaussian();
	check_made(points, n, dim, 20);
	report("a few points apart from one heap are found");
	free(points);
}

static void
test_many(void)
{
	static const Shape shapes[] = {
		{600, 8, MANY, 10, 0, false, "few points of many centroids"},
		{30000, 24, 500, 100, 1000, false, "many centroids, 1000 from the origin"},
		{30000, 24, 500, 100, 0, true, "many centroids, spherical"},
	};

	check_shapes(shapes, LENGTH(shapes));
}

static void
test_many_duplicates(void)
{
	int			n = 6000;
	int			dim = 12;
	float	   *points = make_points(n, dim, 10, 5, false);
	Run			run;

	check_values(points, n, dim, 400, 290, "290 values give 290 centroids");

	for (int i = 0; i < 500 * dim; i++)
		points[i] = 3.0f * gaussian();
	for (int i = 501; i < n; i++)
		memcpy(points + i * dim, points + 500 * dim, sizeof(float) * dim);
	check_made(points, n, dim, 300);
	report("many points apart from one heap are found");

	check_one_value(points, n, dim, 300, false);
	report("one value gives one centroid of many");
	free(points);

	/*
	 * distances that are no numbers: what owns a point cannot be known from
	 * few
	 */
	points = make_points(n, dim, 3, 0, false);
	for (int i = 0; i < n * dim; i++)
		points[i] *= 1e37f;
	run = run_kmeans(points, n, dim, 300, false, 2);
	CHECK(run.made >= 1 && run.made <= 300, "%d centroids", run.made);
	for (int i = 0; i < run.made * dim; i++)
		CHECK(isfinite(run.centroids[i]), "centroid not finite");
	free(run.centroids);
	report("values whose squares overflow do no harm, many centroids");
	free(points);
}

static void
test_opposite(void)
{
	float		points[8] = {1, 0, -1, 0, 1, 0, -1, 0};
	Run			run = run_kmeans(points, 4, 2, 1, true, 1);

	CHECK(run.made == 1 && fabsf(run.centroids[0]) == 1.0f, "%d, %g", run.made, run.centroids[0]);
	report("opposite points have a centroid of unit length");
	free(run.centroids);
}

static void
test_extreme_values(void)
{
	int			n = 500;
	int			dim = 5;
	float	   *points = make_points(n, dim, 3, 0, false);
	Run			run;

	for (int i = 0; i < n * dim; i++)
		points[i] *= 1e37f;
	run = run_kmeans(points, n, dim, 10, false, 2);
	CHECK(run.made >= 1 && run.made <= 10, "%d centroids", run.made);
	for (int i = 0; i < run.made * dim; i++)
		CHECK(isfinite(run.centroids[i]), "centroid not finite");
	free(run.centroids);
	for (int i = 0; i < n * dim; i++)
		points[i] *= 1e-37f * 1e-40f;
	run = run_kmeans(points, n, dim, 10, false, 2);
	CHECK(run.made >= 1 && run.made <= 10, "%d centroids", run.made);
	free(run.centroids);
	report("values whose squares overflow or vanish do no harm");
	free(points);
}

static jmp_buf jump;
static long calls;
static long calls_left;

static void
jumping_interrupt(void *arg)
{
	calls++;
	if (calls_left-- == 0)
		longjmp(jump, 1);
}

static void
test_interrupt(int k)
{
	int			n = 3000;
	int			dim = 16;
	KMeansParams params = {n, dim, k, false, 10, 7, 1};
	float	   *points = make_points(n, dim, 10, 0, false);
	float	   *centroids = allocate(sizeof(float) * k * dim);
	size_t		size = kmeans_workspace_size(&params);
	char	   *workspace = allocate(size + 1);
	static volatile long when;	/* lives over longjmp */
	long		total;

	workspace[size] = 0x55;
	kmeans_init(workspace, &params);
	calls = 0;
	calls_left = -1;
	CHECK(kmeans_run(workspace, 0, points, centroids, NULL, jumping_interrupt, NULL) == k,
		  "too few centroids");
	total = calls;
	CHECK(total > 100, "%ld calls", total);

	/* leave at many places; the next run, in the same memory, knows nothing */
	for (when = 0; when < total; when += 1 + total / 50)
	{
		kmeans_init(workspace, &params);
		calls_left = when;
		if (setjmp(jump) == 0)
		{
			(void) kmeans_run(workspace, 0, points, centroids, NULL, jumping_interrupt, NULL);
			CHECK(false, "not interrupted at call %ld", when);
		}
	}
	kmeans_init(workspace, &params);
	calls_left = -1;
	CHECK(kmeans_run(workspace, 0, points, centroids, NULL, jumping_interrupt, NULL) == k,
		  "too few centroids");
	CHECK(workspace[size] == 0x55, "written behind the workspace");
	report(k < MANY ? "an interrupt may leave at any place" :
		   "an interrupt may leave at any place, many centroids");
	free(points);
	free(centroids);
	free(workspace);
}

/* As if a centroid were found to own no point: the rest compares all with all. */
static void
unproven_interrupt(void *arg)
{
	KMeansState *state = arg;

	if (state->prove)
		atomic_store(&state->unproven, 1);
}

static void
test_unproven(void)
{
	Run			run = {.params = {12000, 16, 400, false, 10, 7, 1}};
	float	   *points = make_points(12000, 16, 50, 0, false);

	run.points = points;
	run.centroids = allocate(sizeof(float) * 400 * 16);
	run.workspace = allocate(kmeans_workspace_size(&run.params));
	kmeans_init(run.workspace, &run.params);
	run.made = kmeans_run(run.workspace, 0, points, run.centroids, NULL,
						  unproven_interrupt, run.workspace);
	run.report = kmeans_report(run.workspace);
	CHECK(!((KMeansState *) run.workspace)->near, "no use of all centroids");
	CHECK(run.made == 400, "%d centroids", run.made);
	(void) check_result(&run);
	report("what is not proven among few is found among all");
	free(run.workspace);
	free(run.centroids);
	free(points);
}

static void
test_sizes(void)
{
	static const KMeansParams wrong[] = {
		{0, 3, 3, false, 10, 1, 1}, {3, 0, 3, false, 10, 1, 1}, {3, 3, 0, false, 10, 1, 1},
		{3, 3, 3, false, 0, 1, 1}, {3, 3, 3, false, 10, 1, 0}, {-1, 3, 3, false, 10, 1, 1},
		{3, INT_MIN, 3, false, 10, 1, 1}, {3, 3, -1, false, 10, 1, 1},
		{INT_MAX, INT_MAX, INT_MAX, false, 10, 1, INT_MAX},
		{INT_MAX, INT_MAX, 16384, false, 10, 1, 1},
	};
	KMeansParams params = {2000000, 1000, 16384, false, 10, 1, 4};
	size_t		size;

	for (int i = 0; i < LENGTH(wrong); i++)
		CHECK(kmeans_workspace_size(&wrong[i]) == SIZE_MAX ||
			  (sizeof(size_t) > 4 && i == LENGTH(wrong) - 1 &&
			   kmeans_workspace_size(&wrong[i]) > (size_t) INT_MAX * 16384 * sizeof(float)),
			  "no overflow seen in case %d: %zu", i, kmeans_workspace_size(&wrong[i]));
	CHECK(assign_size(0, 3) == SIZE_MAX && assign_size(3, -3) == SIZE_MAX &&
		  assign_scratch_size(3, 0) == SIZE_MAX, "assign_size of nothing");

	/* never less than what it must hold */
	size = kmeans_workspace_size(&params);
	CHECK(size == SIZE_MAX ? sizeof(size_t) == 4 :
		  size >= sizeof(float) * 1000 * (size_t) 16384 + 3 * sizeof(uint32_t) * (size_t) 2000000,
		  "too small: %zu", size);
	for (int shift = 20; shift < 31; shift++)
	{
		KMeansParams huge = {1 << shift, 1 << (shift - 10), 1 << 14, false, 10, 1, 1 << (shift - 16)};
		double		least = 4.0 * ldexp(1.0, shift - 10 + 14) + 12.0 * ldexp(1.0, shift);

		size = kmeans_workspace_size(&huge);
		CHECK(size == SIZE_MAX || (double) size >= least, "2^%d points: %zu bytes", shift, size);
	}
	report("sizes that overflow are refused");
}

int
main(void)
{
	static const KernelLevel levels[] = {KERNEL_SCALAR, KERNEL_AVX2, KERNEL_AVX512, KERNEL_NEON};

	setvbuf(stdout, NULL, _IOLBF, 0);
	kernel_init();
	test_packing();
	test_assign();
	test_assign_infinite();
	test_assign_moved();
	test_shapes();
	test_one_centroid();
	test_separated();
	test_balance();
	test_duplicates();
	test_opposite();
	test_extreme_values();
	test_interrupt(64);
	test_many();
	test_many_duplicates();
	test_interrupt(300);
	test_unproven();
	test_sizes();
	for (int l = 0; l < LENGTH(levels); l++)
		if (kernel_table(levels[l]) != NULL && kernel_force(levels[l]))
		{
			char		what[64];

			check_assign(200, 100, 300, false, 10);
			check_assign(200, 100, 300, true, 0);
			snprintf(what, sizeof(what), "assignment at level %s", kernel->name);
			report(what);
		}
	printf("1..%d\n", tests);
	return failures != 0;
}
