/*-------------------------------------------------------------------------
 *
 * faiss_loop.c
 *	  Single FAISS searches one after another, without Python between them.
 *
 *	cc -O2 -shared -fPIC bench/faiss_loop.c -o faiss_loop.so
 *
 * FAISS's own search() of many queries may work on all of them at once (matrix
 * products over queries and centroids), which nobody can do who gets one query
 * at a time.  Its wheel has neither headers nor the C interface, but exports
 * the C++ functions.  A member function of the Itanium C++ ABI is a function
 * whose first argument is the object, so harness/peer_worker.py looks up
 *
 *	Class::search(int64 n, const float *x, int64 k, float *distances,
 *				  int64 *labels, const SearchParameters *) const
 *
 * of the index's class and passes its address.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <time.h>

typedef void (*Search) (const void *index, int64_t n, const float *x, int64_t k,
						float *distances, int64_t *labels,
						const void *parameters);

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

/*
 * Searches for each of the nq queries of dim floats; the answers go to
 * distances and labels, k a query, and the microseconds each took to us.
 */
void
faiss_loop(Search search, const void *index, const float *queries, int64_t nq,
		   int64_t dim, int64_t k, float *distances, int64_t *labels, double *us)
{
	double		before = now();

	for (int64_t i = 0; i < nq; i++)
	{
		double		after;

		search(index, 1, queries + i * dim, k, distances + i * k,
			   labels + i * k, 0);
		after = now();
		us[i] = after - before;
		before = after;
	}
}
