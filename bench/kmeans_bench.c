/*-------------------------------------------------------------------------
 *
 * kmeans_bench.c
 *	  Time and quality of src/quant's k-means and assignment, alone.
 *
 *	make bench-kmeans, or
 *	cc -O2 -ffp-contract=off -Isrc bench/kmeans_bench.c src/kernel/[a-z]*.c src/quant/[a-z]*.c \
 *		-lm -lpthread -o kmeans_bench
 *	kmeans_bench [-s] [-k LISTS] [-n POINTS] [-i ITERATIONS] [-p PARTICIPANTS]
 *				 [-r SEED] [-o CENTROIDS] [FILE DIM]
 *
 * FILE holds rows of DIM floats, nothing else; without it, 200,000 clustered
 * rows of 128 are made.  Trains on the first POINTS rows (0: all), then
 * assigns all rows.  -s: unit vectors, spherical.  -o writes the centroids.
 * kmeans_faiss.py does the same work with FAISS beside it.
 *
 * Seconds are of CPU time of all participants, which a busy machine disturbs
 * less than the clock; "wall" is the clock.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "kmeans_bench"
#include "rows.h"

#include "kernel/kernel.h"
#include "quant/assign.h"
#include "quant/kmeans.h"
#include "quant/random.h"

#define MAX_PARTICIPANTS	64

typedef struct Job
{
	void	   *workspace;
	const float *points;
	float	   *centroids;
	pthread_barrier_t barrier;
	int			made;
} Job;

typedef struct Participant
{
	Job		   *job;
	int			number;
	pthread_t	thread;
} Participant;

static float
gaussian(uint64_t *random)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double) (random_next(random) >> 11) / 9007199254740992.0;
	return (float) (sum - 6);
}

/* 2,000 centres of unequal weight; each row is one plus half as much noise. */
static float *
clustered_rows(int n, int dim)
{
	uint64_t	random = 5;
	int			centres = 2000;
	float	   *centre = allocate(sizeof(float) * centres * dim);
	float	   *rows = allocate(sizeof(float) * n * dim);

	for (int i = 0; i < centres * dim; i++)
		centre[i] = gaussian(&random);
	for (int i = 0; i < n; i++)
	{
		double		u = (double) (random_next(&random) >> 11) / 9007199254740992.0;
		int			c = (int) (u * u * centres);

		for (int d = 0; d < dim; d++)
			rows[(size_t) i * dim + d] = centre[c * dim + d] + 0.5f * gaussian(&random);
	}
	free(centre);
	return rows;
}

static void
barrier_sync(void *arg)
{
	pthread_barrier_wait(&((Job *) arg)->barrier);
}

static void *
participate(void *arg)
{
	Participant *me = arg;
	int			made = kmeans_run(me->job->workspace, me->number, me->job->points,
								  me->job->centroids, barrier_sync, NULL, me->job);

	if (me->number == 0)
		me->job->made = made;
	return NULL;
}

int
main(int argc, char **argv)
{
	KMeansParams params = {.k = 1000,.max_iterations = 10,.seed = 1,.participants = 1};
	const char *output = NULL;
	float	   *rows;
	int			n = 200000;
	int			wanted = 0;
	int			option;
	Job			job;
	Participant all[MAX_PARTICIPANTS];
	double		cpu,
				wall,
				assign_cpu;
	KMeansReport report;
	void	   *prepared;
	void	   *scratch;
	uint32_t   *nearest;
	float	   *distance;
	int		   *sizes;
	double		sum = 0;
	int			largest = 0;
	int			empty = 0;

	params.dim = 128;
	while ((option = getopt(argc, argv, "sk:n:i:p:r:o:")) != -1)
		switch (option)
		{
			case 's':
				params.spherical = true;
				break;
			case 'k':
				params.k = atoi(optarg);
				break;
			case 'n':
				wanted = atoi(optarg);
				break;
			case 'i':
				params.max_iterations = atoi(optarg);
				break;
			case 'p':
				params.participants = atoi(optarg);
				break;
			case 'r':
				params.seed = (uint64_t) atoll(optarg);
				break;
			case 'o':
				output = optarg;
				break;
			default:
				return 2;
		}
	if (argc - optind == 2)
		params.dim = atoi(argv[optind + 1]);
	if ((argc != optind && argc - optind != 2) || params.dim < 1 || params.participants < 1 ||
		params.participants > MAX_PARTICIPANTS)
	{
		fprintf(stderr, "usage: kmeans_bench [-s] [-k LISTS] [-n POINTS] [-i ITERATIONS] "
				"[-p PARTICIPANTS] [-r SEED] [-o CENTROIDS] [FILE DIM]\n");
		return 2;
	}
	kernel_init();
	rows = argc == optind ? clustered_rows(n, params.dim) :
		read_rows(argv[optind], params.dim, &n);
	params.n = wanted > 0 && wanted < n ? wanted : n;

	job.workspace = allocate(kmeans_workspace_size(&params));
	job.centroids = allocate(sizeof(float) * params.k * params.dim);
	job.points = rows;
	pthread_barrier_init(&job.barrier, NULL, (unsigned) params.participants);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	wall = seconds(CLOCK_MONOTONIC);
	kmeans_init(job.workspace, &params);
	for (int p = 0; p < params.participants; p++)
	{
		all[p].job = &job;
		all[p].number = p;
		if (p > 0 && pthread_create(&all[p].thread, NULL, participate, &all[p]) != 0)
		{
			fprintf(stderr, "kmeans_bench: could not start a thread\n");
			return 1;
		}
	}
	participate(&all[0]);
	for (int p = 1; p < params.participants; p++)
		pthread_join(all[p].thread, NULL);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = seconds(CLOCK_MONOTONIC) - wall;
	report = kmeans_report(job.workspace);

	prepared = allocate(assign_size(job.made, params.dim));
	scratch = allocate(assign_scratch_size(job.made, params.dim));
	nearest = allocate(sizeof(uint32_t) * n);
	distance = allocate(sizeof(float) * n);
	assign_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	assign_prepare(prepared, job.centroids, job.made, params.dim, params.spherical, scratch);
	assign_rows(prepared, rows, params.dim, NULL, n, nearest, distance, scratch, NULL, NULL);
	assign_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - assign_cpu;
	sizes = calloc(job.made, sizeof(int));
	for (int i = 0; i < n; i++)
	{
		sum += params.spherical ? 2 + 2 * distance[i] : distance[i];
		sizes[nearest[i]]++;
	}
	for (int j = 0; j < job.made; j++)
	{
		largest = sizes[j] > largest ? sizes[j] : largest;
		empty += sizes[j] == 0;
	}

	printf("level=%s rows=%d points=%d dim=%d k=%d participants=%d train=%.3f wall=%.3f "
		   "assign=%.3f objective=%.6g iterations=%d passes=%.1f largest=%.2f empty=%d\n",
		   kernel->name, n, params.n, params.dim, job.made, params.participants, cpu, wall,
		   assign_cpu, sum / n, report.iterations, report.points_read,
		   (double) largest * job.made / n, empty);
	if (output)
	{
		FILE	   *file = fopen(output, "wb");

		if (file == NULL || fwrite(job.centroids, sizeof(float) * params.dim, job.made, file) !=
			(size_t) job.made || fclose(file) != 0)
		{
			fprintf(stderr, "kmeans_bench: could not write \"%s\"\n", output);
			return 1;
		}
	}
	return 0;
}
