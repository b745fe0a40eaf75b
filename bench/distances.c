/*-------------------------------------------------------------------------
 *
 * distances.c
 *	  Time of distances from one query to many rows, way by way.
 *
 * harness/distances.py loads this as a library, beside NumPy and FAISS in one
 * process, so that all ways can take turns:
 *
 *	cc -O2 -fno-tree-vectorize -fPIC -Isrc -c bench/distances.c
 *	cc -O2 -ffp-contract=off -fPIC -shared -Isrc distances.o src/kernel/[a-z]*.c -lm -o distances.so
 *
 * Rows are of unit length.  "cosine" computes both norms each time, as the
 * operator <=> must; "ip" takes them as known, as an index does.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stddef.h>
#include <time.h>

#include "kernel/kernel.h"

/* FAISS's C++ functions, whose addresses distances.py finds */
typedef float (*FaissInnerProduct) (const float *x, const float *y, size_t d);
typedef void (*FaissInnerProducts) (float *out, const float *x, const float *y,
									size_t d, size_t ny);

typedef enum Way
{
	SCALAR_COSINE, SCALAR_IP, KERNEL_COSINE, KERNEL_IP_ROWS, FAISS_IP,
	FAISS_IP_ROWS
} Way;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* What a programmer writes first; one addition waits for the other. */
static float
scalar_ip(const float *a, const float *b, int dim)
{
	float		sum = 0;

	for (int i = 0; i < dim; i++)
		sum += a[i] * b[i];
	return sum;
}

static float
scalar_cosine(const float *a, const float *b, int dim)
{
	float		ab = 0,
				aa = 0,
				bb = 0;

	for (int i = 0; i < dim; i++)
	{
		ab += a[i] * b[i];
		aa += a[i] * a[i];
		bb += b[i] * b[i];
	}
	return 1 - ab / sqrtf(aa * bb);
}

/* The name of a level, or NULL where this machine lacks it. */
const char *
level_name(int level)
{
	const KernelTable *table;

	if (level < 0 || level >= KERNEL_NUM_LEVELS)
		return NULL;
	kernel_init();
	table = kernel_table((KernelLevel) level);
	return table ? table->name : NULL;
}

/*
 * Goes `rounds` times over the n rows; out gets the n distances (ip ways: 1 -
 * inner product).  Returns seconds.  level matters for KERNEL_*, function for
 * FAISS_*.
 */
double
time_way(int way, int level, void *function, const float *q, const float *rows,
		 int n, int dim, int rounds, float *out)
{
	const KernelTable *k = kernel_table((KernelLevel) level);
	double		start = now();
	double		seconds;

	for (int r = 0; r < rounds; r++)
	{
		switch ((Way) way)
		{
			case SCALAR_COSINE:
				for (int i = 0; i < n; i++)
					out[i] = scalar_cosine(q, rows + (size_t) i * dim, dim);
				break;
			case SCALAR_IP:
				for (int i = 0; i < n; i++)
					out[i] = scalar_ip(q, rows + (size_t) i * dim, dim);
				break;
			case KERNEL_COSINE:
				for (int i = 0; i < n; i++)
				{
					float		ab,
								aa,
								bb;

					k->cosine(q, rows + (size_t) i * dim, dim, &ab, &aa, &bb);
					out[i] = 1 - ab / sqrt((double) aa * bb);
				}
				break;
			case KERNEL_IP_ROWS:
				k->ip_rows(q, rows, dim * sizeof(float), n, dim, out);
				break;
			case FAISS_IP:
				for (int i = 0; i < n; i++)
					out[i] = ((FaissInnerProduct) function) (q, rows + (size_t) i * dim, dim);
				break;
			case FAISS_IP_ROWS:
				((FaissInnerProducts) function) (out, q, rows, dim, n);
				break;
		}
		/* The rounds are alike; the compiler must not see that. */
		__asm__ volatile("" ::: "memory");
	}
	seconds = now() - start;
	if (way != SCALAR_COSINE && way != KERNEL_COSINE)
		for (int i = 0; i < n; i++)
			out[i] = 1 - out[i];
	return seconds;
}
