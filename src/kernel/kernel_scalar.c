/*-------------------------------------------------------------------------
 *
 * kernel_scalar.c
 *	  The level every machine has, and the oracle of all others.
 *
 * Plain C that says what the sums are; the compiler makes of the lanes what
 * the baseline of the architecture offers (SSE2, NEON).
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#include <math.h>

/* The fixed tree: lane j with lane j + lanes / 2, and so on down to j + 1. */
#define ADD_LANES(lane, lanes) \
	do { \
		for (int width = (lanes) / 2; width > 0; width /= 2) \
			for (int j = 0; j < width; j++) \
				(lane)[j] += (lane)[j + width]; \
	} while (0)

/*
 * Sums TERM(i) over i in from .. to - 1 into lane[lanes].  The indexes are
 * size_t, since PostgreSQL compiles with -fwrapv, under which the sum of two
 * ints as an index keeps gcc from vectorising.
 */
#define SUM_LANES(lane, lanes, from, to, TERM) \
	do { \
		size_t		i = (from); \
\
		for (; i + (lanes) <= (to); i += (lanes)) \
			for (size_t j = 0; j < (lanes); j++) \
				(lane)[j] += TERM(i + j); \
		for (size_t j = 0; i + j < (to); j++) \
			(lane)[j] += TERM(i + j); \
	} while (0)

static inline float
square(float x)
{
	return x * x;
}

static inline double
square_double(double x)
{
	return x * x;
}

#define L2SQ_TERM(i)	square(a[i] - b[i])
#define L2SQ_DOUBLE(i)	square_double((double) a[i] - (double) b[i])
#define IP_TERM(i)		(a[i] * b[i])
#define IP_DOUBLE(i)	((double) a[i] * (double) b[i])
#define L1_TERM(i)		fabsf(a[i] - b[i])
#define L1_DOUBLE(i)	fabs((double) a[i] - (double) b[i])
#define AA_TERM(i)		square(a[i])
#define AA_DOUBLE(i)	square_double(a[i])

/* The body in float lanes, the tail in double ones (kernel.h). */
#define DEFINE_SUM(declaration, TERM, DOUBLE_TERM) \
static float \
declaration \
{ \
	size_t		n = (size_t) dim; \
	size_t		body = (size_t) KERNEL_BODY(dim); \
	double		sum = 0; \
\
	if (body > 0) \
	{ \
		float		lane[KERNEL_LANES] = {0}; \
\
		SUM_LANES(lane, KERNEL_LANES, 0, body, TERM); \
		ADD_LANES(lane, KERNEL_LANES); \
		sum = lane[0]; \
	} \
	if (body < n) \
	{ \
		double		lane[KERNEL_TAIL_LANES] = {0}; \
\
		SUM_LANES(lane, KERNEL_TAIL_LANES, body, n, DOUBLE_TERM); \
		ADD_LANES(lane, KERNEL_TAIL_LANES); \
		sum += lane[0]; \
	} \
	return (float) sum; \
}

DEFINE_SUM(scalar_l2sq(const float *a, const float *b, int dim), L2SQ_TERM, L2SQ_DOUBLE)
DEFINE_SUM(scalar_ip(const float *a, const float *b, int dim), IP_TERM, IP_DOUBLE)
DEFINE_SUM(scalar_l1(const float *a, const float *b, int dim), L1_TERM, L1_DOUBLE)
DEFINE_SUM(scalar_normsq(const float *a, int dim), AA_TERM, AA_DOUBLE)

static void
scalar_cosine(const float *a, const float *b, int dim,
			  float *ab, float *aa, float *bb)
{
	*ab = scalar_ip(a, b, dim);
	*aa = scalar_normsq(a, dim);
	*bb = scalar_normsq(b, dim);
}

static double
scalar_normsq_double(const float *a, int dim)
{
	double		lane[KERNEL_LANES] = {0};

	SUM_LANES(lane, KERNEL_LANES, 0, (size_t) dim, AA_DOUBLE);
	ADD_LANES(lane, KERNEL_LANES);
	return lane[0];
}

static void
scalar_l2sq_rows(const float *q, const void *rows, size_t stride, int n,
				 int dim, float *out)
{
	const char *row = rows;

	for (int i = 0; i < n; i++, row += stride)
		out[i] = scalar_l2sq(q, (const float *) row, dim);
}

static void
scalar_ip_rows(const float *q, const void *rows, size_t stride, int n,
			   int dim, float *out)
{
	const char *row = rows;

	for (int i = 0; i < n; i++, row += stride)
		out[i] = scalar_ip(q, (const float *) row, dim);
}

#define HALF(i)				(kernel_half_to_float(half[i]) * scale)
#define L2SQ_HALF_TERM(i)	square(q[i] - HALF(i))
#define L2SQ_HALF_DOUBLE(i)	square_double((double) q[i] - (double) HALF(i))
#define IP_HALF_TERM(i)		(q[i] * HALF(i))
#define IP_HALF_DOUBLE(i)	((double) q[i] * (double) HALF(i))

DEFINE_SUM(scalar_l2sq_half(const float *q, const uint16_t *half, float scale, int dim),
		   L2SQ_HALF_TERM, L2SQ_HALF_DOUBLE)
DEFINE_SUM(scalar_ip_half(const float *q, const uint16_t *half, float scale, int dim),
		   IP_HALF_TERM, IP_HALF_DOUBLE)

static void
scalar_half_unpack(const uint16_t *half, float scale, int dim, float *out)
{
	for (int i = 0; i < dim; i++)
		out[i] = HALF(i);
}

static void
scalar_half_pack(const float *x, int dim, uint16_t *half, float *scale)
{
	uint32_t	largest = 0;
	float		inverse;

	for (int i = 0; i < dim; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &x[i], sizeof(bits));
		bits &= 0x7fffffff;
		if (bits > largest)
			largest = bits;
	}
	kernel_half_scale(largest, scale, &inverse);
	for (int i = 0; i < dim; i++)
		half[i] = kernel_float_to_half(x[i] * inverse);
}

static void
scalar_tile(const float *x, const float *panel, int depth, float *out,
			size_t ldo, bool add)
{
	float		sum[KERNEL_PANEL] = {0};

	for (int k = 0; k < depth; k++, panel += KERNEL_PANEL)
		for (int j = 0; j < KERNEL_PANEL; j++)
			sum[j] += x[k] * panel[j];
	for (int j = 0; j < KERNEL_PANEL; j++)
		out[j] = add ? out[j] + sum[j] : sum[j];
}

static void
scalar_ip_panels(const float *x, size_t ldx, int nx, const float *panels,
				 int ny, int dim, float *out, size_t ldo)
{
	static const KernelTiles tiles = {1, 1, scalar_tile, scalar_tile};

	kernel_run_panels(&tiles, x, ldx, nx, panels, ny, dim, out, ldo);
}

const KernelTable kernel_scalar_table = {
	.level = KERNEL_SCALAR,
	.name = "scalar",
	.l2sq = scalar_l2sq,
	.ip = scalar_ip,
	.l1 = scalar_l1,
	.normsq = scalar_normsq,
	.cosine = scalar_cosine,
	.normsq_double = scalar_normsq_double,
	.l2sq_rows = scalar_l2sq_rows,
	.ip_rows = scalar_ip_rows,
	.ip_panels = scalar_ip_panels,
	.l2sq_half = scalar_l2sq_half,
	.ip_half = scalar_ip_half,
	.half_unpack = scalar_half_unpack,
	.half_pack = scalar_half_pack,
	KERNEL_CODES(scalar),
	KERNEL_SCAN(scalar),
};
