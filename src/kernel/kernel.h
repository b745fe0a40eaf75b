/*-------------------------------------------------------------------------
 *
 * kernel.h
 *	  Distances on plain float arrays, one implementation per instruction set.
 *
 * Knows nothing of PostgreSQL.  Any dim >= 0, floats at any multiple of 4
 * bytes; no byte behind the last element is read.
 *
 * Every function marked [exact] returns the same bits at every level.  The
 * body, all whole blocks of KERNEL_LANES elements, is summed in as many float
 * accumulators (element i goes to lane i % KERNEL_LANES); the tail, the last
 * dim % KERNEL_LANES elements, in KERNEL_TAIL_LANES double ones (element t of
 * the tail goes to lane t % KERNEL_TAIL_LANES).  Each step is one rounded
 * multiplication and one rounded addition (never fused), the lanes are added in
 * one fixed tree, and the result is the two sums added in double and rounded
 * to float.  So an answer does not depend on the processor, a standby with
 * another CPU orders rows as its primary does, and the scalar level is an exact
 * oracle.  (A NaN is a NaN at every level; its sign and payload are not
 * promised.)
 *
 * Hence vectors of fewer than KERNEL_LANES dimensions, whose distances people
 * read and compare, get the true sum rounded once, and those of a multiple
 * cost nothing more.  A sum beyond float is an infinity, in either.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KERNEL_H
#define VECDB_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#define KERNEL_LANES 32
#define KERNEL_TAIL_LANES 8

typedef enum KernelLevel
{
	KERNEL_SCALAR,
	KERNEL_AVX2,				/* AVX2 + FMA + F16C */
	KERNEL_AVX512,				/* AVX-512 F, BW, VL, DQ */
	KERNEL_NEON
} KernelLevel;
#define KERNEL_NUM_LEVELS 4

typedef struct KernelTable
{
	KernelLevel level;
	const char *name;			/* "scalar", "avx2", "avx512", "neon" */

	/* [exact] sum (a-b)^2; sum a*b; sum |a-b|; sum a*a (same bits as ip(a,a)) */
	float		(*l2sq) (const float *a, const float *b, int dim);
	float		(*ip) (const float *a, const float *b, int dim);
	float		(*l1) (const float *a, const float *b, int dim);
	float		(*normsq) (const float *a, int dim);

	/* [exact] ip(a,b), normsq(a), normsq(b) in one pass, the same bits */
	void		(*cosine) (const float *a, const float *b, int dim,
						   float *ab, float *aa, float *bb);

	/* [exact] sum a*a in KERNEL_LANES double accumulators, body and tail */
	double		(*normsq_double) (const float *a, int dim);

	/*
	 * [exact] One query against n rows; row i starts at (char *) rows + i *
	 * stride (stride in bytes, any alignment of 4).  out[i] has the bits of
	 * l2sq(q, row i) or ip(q, row i).
	 */
	void		(*l2sq_rows) (const float *q, const void *rows, size_t stride,
							  int n, int dim, float *out);
	void		(*ip_rows) (const float *q, const void *rows, size_t stride,
							int n, int dim, float *out);

	/*
	 * Inner products of nx rows with ny packed rows, for k-means and
	 * assignment: out[i * ldo + j] = <x_i, y_j>.  Blocked for the caches,
	 * fused multiply-add: NOT bit-stable over levels.  x_i = x + i * ldx; ldx
	 * and ldo count floats.  panels comes from kernel_pack_panels(), with the
	 * same ny and dim, and is the same for every level.  Runs to its end,
	 * about nx * ny * dim / 30 ns: callers who must stay interruptible pass
	 * few rows.
	 */
	void		(*ip_panels) (const float *x, size_t ldx, int nx,
							  const float *panels, int ny, int dim,
							  float *out, size_t ldo);
} KernelTable;

/* The level in use: scalar until kernel_init(), never NULL. */
extern const KernelTable *kernel;

/* Choose the best level this processor has.  Called once, at load. */
extern void kernel_init(void);

/* The table of a level, or NULL when this build or processor lacks it. */
extern const KernelTable *kernel_table(KernelLevel level);

/* Use this level from now on; false (and no change) when it is not there. */
extern bool kernel_force(KernelLevel level);

/*
 * Floats needed for ny packed rows of dim (ny rounded up to 32), and the
 * packing itself: y_j = y + j * ldy.  The panels may be copied and moved;
 * products are fastest where they start at a multiple of 64 bytes.
 */
extern size_t kernel_panels_size(int ny, int dim);
extern void kernel_pack_panels(const float *y, size_t ldy, int ny, int dim,
							   float *panels);

#endif							/* VECDB_KERNEL_H */
