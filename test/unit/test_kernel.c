/*-------------------------------------------------------------------------
 *
 * test_kernel.c
 *	  Every SIMD level this machine has, against the scalar one and the truth.
 *
 * The functions marked [exact] in kernel.h must agree in all bits (any NaN
 * equals any NaN); the scalar level and ip_panels must agree with sums in
 * double within the bounds stated below.  Inputs end where an unreadable page
 * begins, so that a read behind the last element ends the program; outputs
 * lie between guards.
 *
 * Bounds.  A sum of n products in float, by whatever tree, is off by at most
 * about (n + 2) * 2^-24 times the sum of the absolute terms; the 32 lanes make
 * n / 32 + 6 of that n.  Denormal products add up to 2^-149 each.  The tail
 * (the last dim % 32 elements) is summed in double, so what it adds to the sum
 * of the body is right but for the last bit.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/kernel.h"
#include "tap.h"

#define MAX_DIM		16000
#define MAX_ROWS	9
#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))

static const int dims[] = {
	0, 1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 25, 31, 32, 33, 47, 48, 63, 64, 65, 100,
	127, 128, 129, 384, 768, 1000, 1536, MAX_DIM
};

static void
report(const char *what, const char *level)
{
	point("%s: %s", level, what);
}

/* xorshift64*: the same inputs on every machine */
static uint64_t state = 20240607;

static uint32_t
random_bits(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t) ((state * UINT64_C(2685821657736338717)) >> 32);
}

static float
from_bits(uint32_t bits)
{
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* in [-1, 1), 24 bits */
static float
random_unit(void)
{
	return (float) (int32_t) (random_bits() & 0xffffff) / 8388608.0f - 1.0f;
}

typedef enum Flavour
{
	UNIT,						/* [-1, 1) */
	WIDE,						/* any sign, exponents -60 .. 60 */
	TINY,						/* denormals, and products that are */
	OFFSET,						/* near 1000 */
	MINUS_ZERO,					/* -0.0 and 0.0 only */
	CANCELLED,					/* sums whose order shows, in double, too */
	HUGE_SUM,					/* sums that overflow */
	SPECIAL,					/* a few infinities and NaN among UNIT */
	INFINITE_ONLY,				/* a few infinities among UNIT */
	ANY_BITS					/* every float there is */
} Flavour;
static const char *const flavour_names[] = {
	"unit", "wide", "tiny", "offset", "minus zero", "cancelled", "huge", "special",
	"infinite", "any bits"
};
#define NUM_FLAVOURS LENGTH(flavour_names)

static float
random_float(Flavour flavour)
{
	uint32_t	bits = random_bits();

	switch (flavour)
	{
		case UNIT:
			return random_unit();
		case WIDE:
			return ldexpf(random_unit(), (int) (bits % 121) - 60);
		case TINY:
			return bits & 1 ? from_bits(bits & 0x807fffff) :
				ldexpf(random_unit(), -70 - (int) (bits >> 1) % 8);
		case OFFSET:
			return 1000.0f + random_unit();
		case MINUS_ZERO:
			return bits & 1 ? -0.0f : 0.0f;
		case CANCELLED:
			return bits % 3 != 0 ? random_unit() :
				bits & 0x10000 ? 0x1p30f : -0x1p30f;
		case HUGE_SUM:
			return random_unit() * 3e38f;
		case SPECIAL:
			if (bits % 50 == 0)
				return NAN;
			/* fall through */
		case INFINITE_ONLY:
			if (bits % 50 == 1)
				return bits & 0x10000 ? INFINITY : -INFINITY;
			return random_unit();
		case ANY_BITS:
			return from_bits(bits);
	}
	abort();
}

static bool
same_bits(float a, float b)
{
	return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static bool
same_bits_double(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

/*
 * Memory of `size` bytes whose end an unreadable page follows, and which an
 * unreadable page precedes (not closely).  With `slack` bytes kept free at
 * the end, to move the start off alignment.
 */
static char *
guarded(size_t size, size_t slack)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		room = (size + slack + page - 1) / page * page;
	char	   *memory = mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE,
							  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED ||
		mprotect(memory, page, PROT_NONE) != 0 ||
		mprotect(memory + page + room, page, PROT_NONE) != 0)
	{
		printf("Bail out! no guarded memory\n");
		exit(2);
	}
	return memory + page + room - slack - size;
}

static void
release(char *memory, size_t size, size_t slack)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		room = (size + slack + page - 1) / page * page;

	munmap(memory + slack + size - room - page, room + 2 * page);
}

/* All one-row functions on one pair of inputs. */
static void
compare_pair(const KernelTable *level, const KernelTable *scalar,
			 const float *a, const float *b, int dim, const char *flavour)
{
	float		ab,
				aa,
				bb;

#define SAME(call) \
	do { \
		float		got = level->call; \
		float		want = scalar->call; \
\
		if (!same_bits(got, want)) \
			COMPLAIN("%s %s dim %d: %a, scalar %a", flavour, #call, dim, got, want); \
	} while (0)

	SAME(l2sq(a, b, dim));
	SAME(ip(a, b, dim));
	SAME(l1(a, b, dim));
	SAME(normsq(a, dim));
#undef SAME

	if (!same_bits_double(level->normsq_double(a, dim), scalar->normsq_double(a, dim)))
		COMPLAIN("%s normsq_double dim %d: %a, scalar %a", flavour, dim,
				 level->normsq_double(a, dim), scalar->normsq_double(a, dim));
	if (!same_bits(level->normsq(a, dim), level->ip(a, a, dim)))
		COMPLAIN("%s normsq(a) is not ip(a, a), dim %d", flavour, dim);
	level->cosine(a, b, dim, &ab, &aa, &bb);
	if (!same_bits(ab, level->ip(a, b, dim)) ||
		!same_bits(aa, level->normsq(a, dim)) ||
		!same_bits(bb, level->normsq(b, dim)))
		COMPLAIN("%s cosine differs from its parts, dim %d", flavour, dim);
}

static void
test_pairs(const KernelTable *level, const KernelTable *scalar)
{
	for (int d = 0; d < LENGTH(dims); d++)
	{
		int			dim = dims[d];
		size_t		size = sizeof(float) * dim;
		int			rounds = dim > 2000 ? 3 : 20;

		/* slack 0: up to the end of a page; 4, 8, 12: unaligned */
		for (size_t slack = 0; slack < 16; slack += 4)
		{
			float	   *a = (float *) guarded(size, slack);
			float	   *b = (float *) guarded(size, 0);

			for (int f = 0; f < NUM_FLAVOURS; f++)
				for (int round = 0; round < rounds; round++)
				{
					for (int i = 0; i < dim; i++)
					{
						a[i] = random_float((Flavour) f);
						b[i] = random_float((Flavour) (f == TINY ? UNIT : f));
					}
					compare_pair(level, scalar, a, b, dim, flavour_names[f]);
					compare_pair(level, scalar, b, a, dim, flavour_names[f]);
				}
			release((char *) a, size, slack);
			release((char *) b, size, 0);
		}
	}
	report("one pair, the bits of scalar", level->name);
}

/* One special value at each place in turn: no lane is forgotten or doubled. */
static void
test_places(const KernelTable *level, const KernelTable *scalar)
{
	static const float values[] = {1.0f, -0.0f, INFINITY, -INFINITY, NAN};

	for (int dim = 1; dim <= 130; dim++)
	{
		size_t		size = sizeof(float) * dim;
		float	   *a = (float *) guarded(size, 0);
		float	   *b = (float *) guarded(size, 0);

		for (int v = 0; v < LENGTH(values); v++)
			for (int place = 0; place < dim; place++)
			{
				for (int i = 0; i < dim; i++)
				{
					a[i] = 0.0f;
					b[i] = 1.0f;
				}
				a[place] = values[v];
				compare_pair(level, scalar, a, b, dim, "one place");
				compare_pair(level, scalar, b, a, dim, "one place");
				if (v == 0 && level->ip(a, b, dim) != 1.0f)
					COMPLAIN("place %d of %d does not count once", place, dim);
			}
		release((char *) a, size, 0);
		release((char *) b, size, 0);
	}
	report("a special value at each place", level->name);
}

static void
test_rows(const KernelTable *level, const KernelTable *scalar)
{
	static const size_t gaps[] = {0, 4, 8, 20, 60};
	const float guard = 12345.0f;

	for (int d = 0; d < LENGTH(dims); d++)
		for (int g = 0; g < LENGTH(gaps); g++)
			for (int n = 0; n <= MAX_ROWS; n++)
			{
				int			dim = dims[d];
				size_t		row_size = sizeof(float) * dim;
				size_t		stride = row_size + gaps[g];
				size_t		size = n == 0 ? 0 : (n - 1) * stride + row_size;
				float	   *q = (float *) guarded(row_size, (size_t) (n % 4) * 4);
				char	   *rows = guarded(size, 0);
				float		out[MAX_ROWS + 2];
				Flavour		flavour = (Flavour) (random_bits() % NUM_FLAVOURS);

				for (int i = 0; i < dim; i++)
					q[i] = random_float(flavour);
				for (size_t i = 0; i < size; i += sizeof(float))
					*(float *) (rows + i) = random_float(flavour);

				for (int which = 0; which < 2; which++)
				{
					for (int i = 0; i < n + 2; i++)
						out[i] = guard;
					if (which == 0)
						level->l2sq_rows(q, rows, stride, n, dim, out + 1);
					else
						level->ip_rows(q, rows, stride, n, dim, out + 1);
					for (int i = 0; i < n; i++)
					{
						const float *row = (const float *) (rows + i * stride);
						float		want;

						want = which == 0 ? scalar->l2sq(q, row, dim) :
							scalar->ip(q, row, dim);
						if (!same_bits(out[i + 1], want))
							COMPLAIN("%s %s row %d of %d, dim %d, stride %zu: %a, alone %a",
									 flavour_names[flavour],
									 which == 0 ? "l2sq_rows" : "ip_rows",
									 i, n, dim, stride, out[i + 1], want);
					}
					if (out[0] != guard || out[n + 1] != guard)
						COMPLAIN("%d rows, dim %d: wrote beside out", n, dim);
				}
				release((char *) q, row_size, (size_t) (n % 4) * 4);
				release(rows, size, 0);
			}
	report("rows, the bits of each alone", level->name);
}

/* The scalar level against sums in double. */
static void
test_truth(const KernelTable *scalar)
{
	static const Flavour flavours[] = {UNIT, WIDE, TINY, OFFSET, MINUS_ZERO};
	static float a[MAX_DIM];
	static float b[MAX_DIM];

	for (int d = 0; d < LENGTH(dims); d++)
		for (int f = 0; f < LENGTH(flavours); f++)
			for (int round = 0; round < 10; round++)
			{
				int			dim = dims[d];
				double		l2sq = 0,
							ip = 0,
							ip_size = 0,
							l1 = 0,
							normsq = 0;
				double		share,
							tiny = dim * ldexp(1, -149);

				for (int i = 0; i < dim; i++)
				{
					double		x,
								y;

					x = a[i] = random_float(flavours[f]);
					y = b[i] = random_float(flavours[f]);
					l2sq += (x - y) * (x - y);
					ip += x * y;
					ip_size += fabs(x * y);
					l1 += fabs(x - y);
					normsq += x * x;
				}
				/* the difference is rounded before it is squared: 3 more */
				share = (dim / 32 + 6 + 5) * ldexp(1, -24);

#define NEAR(got, want, size) \
	do { \
		if (!(fabs((got) - (want)) <= share * (size) + tiny)) \
			COMPLAIN("%s %s dim %d: %.9g, in double %.17g", \
					 flavour_names[flavours[f]], #got, dim, (double) (got), want); \
	} while (0)

				NEAR(scalar->l2sq(a, b, dim), l2sq, l2sq);
				NEAR(scalar->ip(a, b, dim), ip, ip_size);
				NEAR(scalar->l1(a, b, dim), l1, l1);
				NEAR(scalar->normsq(a, dim), normsq, normsq);
				share = (dim + 40) * DBL_EPSILON;
				tiny = 0;
				NEAR(scalar->normsq_double(a, dim), normsq, normsq);
#undef NEAR
			}
	report("sums in double, within (dim / 32 + 11) * 2^-24", scalar->name);

	a[0] = 3e37f;
	a[1] = 4e37f;
	if (fabs(sqrt(scalar->normsq_double(a, 2)) / 5e37 - 1) > 1e-7)
		COMPLAIN("the norm of (3e37, 4e37) is %g", sqrt(scalar->normsq_double(a, 2)));
	a[0] = b[0] = INFINITY;
	a[1] = b[1] = 1.0f;
	if (scalar->ip(a, b, 2) != INFINITY || !isnan(scalar->l2sq(a, b, 2)))
		COMPLAIN("infinity: ip %g, l2sq %g", scalar->ip(a, b, 2), scalar->l2sq(a, b, 2));
	a[0] = b[0] = NAN;
	if (!isnan(scalar->ip(a, b, 2)) || !isnan(scalar->l1(a, b, 2)))
		COMPLAIN("NaN is lost");
	report("overflow, infinity, NaN", scalar->name);
}

/*
 * dim elements are the body, then a tail in double: a level's sum of all must be
 * its sum of the body plus the true tail, rounded once.  Below 32 there is no
 * body, and the sum itself is the true one.
 */
static void
test_tails(const KernelTable *level)
{
	static const Flavour flavours[] = {UNIT, WIDE, TINY, OFFSET, MINUS_ZERO};
	static float a[5 * KERNEL_LANES];
	static float b[5 * KERNEL_LANES];

	for (int dim = 1; dim < LENGTH(a); dim++)
		for (int f = 0; f < LENGTH(flavours); f++)
			for (int round = 0; round < 20; round++)
			{
				int			body = dim - dim % KERNEL_LANES;
				double		l2sq,
							ip,
							ip_size,
							l1,
							normsq;

				for (int i = 0; i < dim; i++)
				{
					a[i] = random_float(flavours[f]);
					b[i] = random_float(flavours[f]);
				}
				l2sq = level->l2sq(a, b, body);
				ip = level->ip(a, b, body);
				ip_size = fabs(ip);
				l1 = level->l1(a, b, body);
				normsq = level->normsq(a, body);
				for (int i = body; i < dim; i++)
				{
					double		x = a[i];
					double		y = b[i];

					l2sq += (x - y) * (x - y);
					ip += x * y;
					ip_size += fabs(x * y);
					l1 += fabs(x - y);
					normsq += x * x;
				}

#define NEAR(call, want, size) \
	do { \
		float		got = level->call; \
		float		ulp = nextafterf(fabsf((float) (want)), INFINITY) - fabsf((float) (want)); \
\
		if (!(fabs(got - (double) (float) (want)) <= ulp + 40 * DBL_EPSILON * (size))) \
			COMPLAIN("%s %s dim %d: %.9g, body and tail in double %.17g", \
					 flavour_names[flavours[f]], #call, dim, got, want); \
	} while (0)

				NEAR(l2sq(a, b, dim), l2sq, l2sq);
				NEAR(ip(a, b, dim), ip, ip_size);
				NEAR(l1(a, b, dim), l1, l1);
				NEAR(normsq(a, dim), normsq, normsq);
#undef NEAR
			}
	report("tails in double, within 1 ulp", level->name);
}

/* What users of pgvector see: the sum rounded once, and overflow as infinity. */
static void
test_small(const KernelTable *level)
{
	static const float few[] = {0.1f, 0.2f};
	static const float huge[] = {3e38f};
	static const float minus_huge[] = {-3e38f};
	float		ab,
				aa,
				bb;

	if (level->ip(few, few, 2) != 0.05000000074505806f ||
		level->normsq(few, 2) != 0.05000000074505806f)
		COMPLAIN("(0.1, 0.2) squared is %.17g", level->ip(few, few, 2));
	if (level->l2sq(huge, minus_huge, 1) != INFINITY)
		COMPLAIN("l2sq of 3e38 and -3e38 is %g", level->l2sq(huge, minus_huge, 1));
	if (level->l1(huge, minus_huge, 1) != INFINITY)
		COMPLAIN("l1 of 3e38 and -3e38 is %g", level->l1(huge, minus_huge, 1));
	level->cosine(huge, minus_huge, 1, &ab, &aa, &bb);
	if (ab != -INFINITY || aa != INFINITY || bb != INFINITY)
		COMPLAIN("cosine of 3e38 and -3e38 is %g %g %g", ab, aa, bb);
	report("two elements, and one that overflows", level->name);
}

static void
test_panels_at(const KernelTable *level, int nx, int ny, int dim, int gap,
			   Flavour flavour)
{
	const float guard = 12345.0f;
	size_t		ldx = dim + gap;
	size_t		ldo = ny + gap;
	size_t		x_size = sizeof(float) * ((nx - 1) * ldx + dim);
	size_t		y_size = sizeof(float) * ((ny - 1) * ldx + dim);
	size_t		panels_size = sizeof(float) * kernel_panels_size(ny, dim);
	size_t		out_size = sizeof(float) * ((nx - 1) * ldo + ny);
	float	   *x = (float *) guarded(x_size, 0);
	float	   *y = (float *) guarded(y_size, 0);
	float	   *panels = (float *) guarded(panels_size, 0);
	float	   *out = (float *) guarded(out_size, 0);

	for (size_t i = 0; i < x_size / sizeof(float); i++)
		x[i] = random_float(flavour);
	for (size_t i = 0; i < y_size / sizeof(float); i++)
		y[i] = random_float(flavour);
	for (size_t i = 0; i < out_size / sizeof(float); i++)
		out[i] = guard;
	for (size_t i = 0; i < panels_size / sizeof(float); i++)
		panels[i] = NAN;		/* packing must set them all */

	kernel_pack_panels(y, ldx, ny, dim, panels);
	for (size_t i = 0; i < panels_size / sizeof(float); i++)
		if (isnan(panels[i]))
			COMPLAIN("%d rows, dim %d: packing left float %zu unset", ny, dim, i);
	level->ip_panels(x, ldx, nx, panels, ny, dim, out, ldo);

	for (int i = 0; i < nx; i++)
	{
		for (int j = 0; j < ny; j++)
		{
			double		sum = 0;
			double		size = 0;
			double		got = out[i * ldo + j];

			for (int k = 0; k < dim; k++)
			{
				double		product = (double) x[i * ldx + k] * y[j * ldx + k];

				sum += product;
				size += fabs(product);
			}
			if (!(fabs(got - sum) <= (dim + 2) * ldexp(1, -24) * size + dim * ldexp(1, -149)))
				COMPLAIN("%s %d x %d, dim %d, (%d, %d): %.9g, in double %.17g",
						 flavour_names[flavour], nx, ny, dim, i, j, got, sum);
		}
		for (size_t j = ny; i < nx - 1 && j < ldo; j++)
			if (out[i * ldo + j] != guard)
				COMPLAIN("%d x %d, dim %d: wrote beside row %d", nx, ny, dim, i);
	}
	release((char *) x, x_size, 0);
	release((char *) y, y_size, 0);
	release((char *) panels, panels_size, 0);
	release((char *) out, out_size, 0);
}

static void
test_panels(const KernelTable *level)
{
	static const int counts[] = {1, 2, 3, 5, 8, 9, 12, 13, 24, 31};
	static const int columns[] = {1, 15, 16, 17, 31, 32, 33, 64, 65};
	static const int depths[] = {0, 1, 3, 17, 100, 383, 384, 385, 769};
	static const Flavour flavours[] = {UNIT, WIDE, OFFSET};

	for (int c = 0; c < LENGTH(counts); c++)
		for (int j = 0; j < LENGTH(columns); j++)
			for (int d = 0; d < LENGTH(depths); d++)
				test_panels_at(level, counts[c], columns[j], depths[d],
							   (c + j + d) % 4, flavours[(c + j + d) % 3]);
	/* several blocks of rows, groups of panels, and both */
	test_panels_at(level, 200, 33, 400, 1, UNIT);
	test_panels_at(level, 37, 1029, 129, 3, UNIT);
	test_panels_at(level, 109, 260, 770, 0, UNIT);
	test_panels_at(level, 2, 3, MAX_DIM, 0, UNIT);
	level->ip_panels(NULL, 0, 0, NULL, 0, 10, NULL, 0);
	report("ip_panels against sums in double, within (dim + 2) * 2^-24", level->name);
}

/* Half precision: every half, then sums and packing against scalar. */
static void
test_halves(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	static uint16_t all[65536];
	static float got[65536];
	static const float scales[] = {1.0f, 0x1p-20f, 0x1p100f, 0x1p-126f, 0.7f};

	for (int i = 0; i < 65536; i++)
		all[i] = (uint16_t) i;
	for (int s = 0; s < LENGTH(scales); s++)
	{
		level->half_unpack(all, scales[s], 65536, got);
		for (int i = 0; i < 65536; i++)
		{
			int			exponent = i >> 10 & 31;
			double		want = exponent == 31 ? (i & 0x3ff) == 0 ? INFINITY : NAN :
				exponent == 0 ? ldexp(i & 0x3ff, -24) :
				ldexp(1024 + (i & 0x3ff), exponent - 25);

			want = (float) ((float) (i & 0x8000 ? -want : want) * scales[s]);
			if (!same_bits(got[i], (float) want))
				COMPLAIN("half %04x * %a is %a, not %a", i, scales[s], got[i], want);
		}
	}
	report("every half unpacked", name);

	for (int d = 0; d < LENGTH(dims); d++)
		for (int f = 0; f < NUM_FLAVOURS; f++)
			for (int round = 0; round < (dims[d] > 2000 ? 2 : 12); round++)
			{
				int			dim = dims[d];
				size_t		slack = (size_t) (round % 4) * 2;
				float	   *q = (float *) guarded(sizeof(float) * dim, 0);
				float	   *x = (float *) guarded(sizeof(float) * dim, 0);
				float	   *back = (float *) guarded(sizeof(float) * dim, 0);
				uint16_t   *half = (uint16_t *) guarded(sizeof(uint16_t) * dim, slack);
				uint16_t   *same = (uint16_t *) guarded(sizeof(uint16_t) * dim, 0);
				float		scale = NAN;
				float		same_scale = NAN;
				float		largest = 0;
				bool		finite = true;

				for (int i = 0; i < dim; i++)
				{
					q[i] = random_float((Flavour) f);
					x[i] = random_float((Flavour) f);
					finite = finite && isfinite(x[i]);
					if (fabsf(x[i]) > largest)
						largest = fabsf(x[i]);
				}
				level->half_pack(x, dim, half, &scale);
				scalar->half_pack(x, dim, same, &same_scale);
				if (!same_bits(scale, same_scale))
					COMPLAIN("%s dim %d: scale %a, scalar %a", flavour_names[f], dim, scale, same_scale);
				for (int i = 0; i < dim; i++)
					if (half[i] != same[i] && !((half[i] & 0x7fff) > 0x7c00 && (same[i] & 0x7fff) > 0x7c00))
						COMPLAIN("%s dim %d: %a became %04x, scalar %04x", flavour_names[f], dim,
								 x[i], half[i], same[i]);

				level->half_unpack(half, scale, dim, back);
				for (int i = 0; i < dim && finite; i++)
					if (!(fabs((double) back[i] - x[i]) <=
						  fmax(fabs((double) x[i]) * 0x1p-11, fmax(largest * 0x1p-38, 0x1p-149))))
						COMPLAIN("%s dim %d: %a came back as %a (scale %a)", flavour_names[f], dim,
								 x[i], back[i], scale);

				/* any halves, and any scale */
				if (round % 2 == 1)
				{
					for (int i = 0; i < dim; i++)
						half[i] = f >= SPECIAL ? (uint16_t) random_bits() :
							(uint16_t) (random_bits() & 0xbfff);
					scale = round % 4 == 1 ? scale : 0.3f;
				}
				level->half_unpack(half, scale, dim, back);
				if (!same_bits(level->l2sq_half(q, half, scale, dim), scalar->l2sq(q, back, dim)) ||
					!same_bits(level->ip_half(q, half, scale, dim), scalar->ip(q, back, dim)))
					COMPLAIN("%s dim %d scale %a: l2sq_half %a, l2sq %a; ip_half %a, ip %a",
							 flavour_names[f], dim, scale,
							 level->l2sq_half(q, half, scale, dim), scalar->l2sq(q, back, dim),
							 level->ip_half(q, half, scale, dim), scalar->ip(q, back, dim));
				release((char *) q, sizeof(float) * dim, 0);
				release((char *) x, sizeof(float) * dim, 0);
				release((char *) back, sizeof(float) * dim, 0);
				release((char *) half, sizeof(uint16_t) * dim, slack);
				release((char *) same, sizeof(uint16_t) * dim, 0);
			}
	report("half precision, the bits of float", name);
}

/* Bytes: each sum against the plain one. */
static void
test_bytes(const KernelTable *level, const char *name)
{
	static const int sizes[] = {0, 64, 128, 192, 384, 768, 1536, 16128};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int n = 0; n < 20; n++)
		{
			int			dim = sizes[s];
			size_t		stride = dim + (size_t) (n % 3) * 5;
			int			rows = 7;
			size_t		size = (rows - 1) * stride + dim;
			int8_t	   *q = (int8_t *) guarded(dim, n % 2);
			char	   *base = guarded(size, n % 5);
			uint32_t	ids[20];
			int32_t		out[22];

			for (int i = 0; i < dim; i++)
				q[i] = n < 3 ? (int8_t) (n == 1 ? 127 : -127) : (int8_t) (random_bits() % 255 - 127);
			for (size_t i = 0; i < size; i++)
				base[i] = n < 3 ? -127 : (char) (random_bits() % 255 - 127);
			for (int i = 0; i < n; i++)
				ids[i] = i == 0 ? (uint32_t) rows - 1 : random_bits() % rows;
			for (int i = 0; i < 22; i++)
				out[i] = 12345;
			level->dot_i8_ids(q, base, stride, ids, n, dim, out + 1);
			for (int i = 0; i < n; i++)
			{
				const int8_t *row = (const int8_t *) base + ids[i] * stride;
				int32_t		want = 0;

				for (int j = 0; j < dim; j++)
					want += q[j] * row[j];
				if (out[i + 1] != want || level->dot_i8(q, row, dim) != want ||
					level->dot_i8(row, q, dim) != want)
					COMPLAIN("dim %d, row %d of %d: %d and %d, not %d", dim, i, n,
							 out[i + 1], level->dot_i8(q, row, dim), want);
			}
			if (out[0] != 12345 || out[n + 1] != 12345)
				COMPLAIN("dim %d, %d rows: wrote beside out", dim, n);
			release((char *) q, dim, n % 2);
			release(base, size, n % 5);
		}
	report("dot products of bytes", name);
}

static void
test_quantise(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	static const int limits[] = {1, 7, 127};

	for (int d = 0; d < LENGTH(dims); d++)
		for (int f = 0; f < NUM_FLAVOURS; f++)
			for (int l = 0; l < LENGTH(limits); l++)
			{
				int			dim = dims[d];
				float	   *x = (float *) guarded(sizeof(float) * dim, 4);
				int8_t	   *got = (int8_t *) guarded(dim, 0);
				int8_t	   *want = (int8_t *) guarded(dim, 0);
				double		sum;
				double		same_sum;
				double		true_sum = 0;
				double		size = 0;
				float		inverse = f == OFFSET ? limits[l] / 1001.0f : (float) limits[l];

				for (int i = 0; i < dim; i++)
					x[i] = i % 5 == 4 ? ((int) (random_bits() % 31) - 15) * 0.5f / inverse :
						random_float((Flavour) f);
				sum = level->quantise(x, dim, inverse, limits[l], got);
				same_sum = scalar->quantise(x, dim, inverse, limits[l], want);
				if (!same_bits_double(sum, same_sum))
					COMPLAIN("%s dim %d: sum %a, scalar %a", flavour_names[f], dim, sum, same_sum);
				for (int i = 0; i < dim; i++)
				{
					double		exact = isnan(x[i] * inverse) ? limits[l] :
						fmax(-limits[l], fmin(limits[l], nearbyint(x[i] * inverse)));

					if (got[i] != want[i] || got[i] != exact)
						COMPLAIN("%a * %a: %d, scalar %d, true %g", x[i], inverse, got[i], want[i], exact);
					true_sum += (double) x[i] * exact;
					size += fabs((double) x[i] * exact);
				}
				if (f < SPECIAL && !(fabs(sum - true_sum) <= 1e-12 * size))
					COMPLAIN("%s dim %d: sum %g, true %g", flavour_names[f], dim, sum, true_sum);
				release((char *) x, sizeof(float) * dim, 4);
				release((char *) got, dim, 0);
				release((char *) want, dim, 0);
			}
	report("quantise", name);
}

/* The number u of one dimension of a code, by definition */
static int
code_value(const uint8_t *code, int dims, int bits, int i)
{
	int			w = 0;

	for (int p = 0; p < bits; p++)
		w = 2 * w + (code[p * (dims / 8) + i / 8] >> i % 8 & 1);
	return 2 * w - ((1 << bits) - 1);
}

static void
test_codes(const KernelTable *level, const char *name)
{
	static const int sizes[] = {128, 256, 384, 512, 640, 768, 896, 1024, 1536, 3072, 5120, 16128, 16384};
	static const int counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 28, 31, 32, 33, 65};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int c = 0; c < LENGTH(counts); c++)
				for (int kind = 0; kind < 4; kind++)
				{
					int			dims = sizes[s];
					int			n = dims > 2000 && counts[c] > 9 && counts[c] != 33 ? 1 : counts[c];
					size_t		code_size = (size_t) dims / 8 * bits;
					size_t		slack = (size_t) (c % 5);
					uint8_t    *codes = (uint8_t *) guarded(code_size * n, slack);
					size_t		query_size = kernel_code_query_size(dims);
					size_t		to_64 = (64 - query_size % 64) % 64;
					char	   *query = guarded(query_size + to_64, 0);
					int8_t	   *levels = (int8_t *) guarded(dims, 0);
					int32_t		out[67];

					/* all of one sign, the other, and mixed */
					for (int i = 0; i < dims; i++)
						levels[i] = kind == 0 ? 7 : kind == 1 ? -7 : (int8_t) (random_bits() % 15 - 7);
					for (size_t i = 0; i < code_size * n; i++)
						codes[i] = kind < 2 ? 0xff : kind == 2 && i % 3 == 0 ? 0 : (uint8_t) random_bits();
					for (int i = 0; i < 67; i++)
						out[i] = 12345;
					level->code_query(levels, dims, query);
					level->code_dot(query, dims, bits, codes, n, out + 1);
					for (int i = 0; i < n; i++)
					{
						int32_t		want = 0;

						for (int j = 0; j < dims; j++)
							want += levels[j] * code_value(codes + i * code_size, dims, bits, j);
						if (out[i + 1] != want)
							COMPLAIN("dims %d bits %d code %d of %d: %d, not %d", dims, bits, i, n,
									 out[i + 1], want);
					}
					if (out[0] != 12345 || out[n + 1] != 12345)
						COMPLAIN("%d codes, dims %d: wrote beside out", n, dims);
					/* narrow, the last ones first, and with levels for no more dimensions */
					for (int narrow = 0; narrow < 2; narrow++)
					{
						size_t		plane = narrow == 0 ? (size_t) dims / 8 : (size_t) dims / 8 - 1 - (c + s) % 8;
						size_t		row_size = plane * bits + (narrow ? c % 3 : 0);
						uint8_t    *rows = (uint8_t *) guarded(row_size * n, slack);
						int32_t		picked[65];
						int32_t		sums[67];

						memset(levels + plane * 8, 0, dims - plane * 8);
						level->code_query(levels, dims, query);
						for (size_t i = 0; i < row_size * n; i++)
							rows[i] = (uint8_t) random_bits();
						for (int i = 0; i < n; i++)
							picked[i] = n - 1 - i;
						for (int i = 0; i < 67; i++)
							sums[i] = 12345;
						level->code_dot_picked(query, dims, bits, plane, rows, row_size, picked, n, sums + 1);
						for (int i = 0; i < n; i++)
						{
							int32_t		want = 0;

							for (int j = 0; j < (int) plane * 8; j++)
								want += levels[j] * code_value(rows + picked[i] * row_size, (int) plane * 8, bits, j);
							if (sums[i + 1] != want)
								COMPLAIN("dims %d bits %d, planes of %zu bytes, row %d of %d: %d, not %d", dims, bits, plane, i, n,
										 sums[i + 1], want);
						}
						if (sums[0] != 12345 || sums[n + 1] != 12345)
							COMPLAIN("%d rows, dims %d: wrote beside out", n, dims);
						release((char *) rows, row_size * n, slack);
					}
					if (n > 1)
					{
						const uint8_t *last = codes + (n - 1) * code_size;
						int32_t		want = 0;

						for (int j = 0; j < dims; j++)
							want += code_value(codes, dims, bits, j) * code_value(last, dims, bits, j);
						if (level->code_pair(codes, last, dims, bits) != want ||
							level->code_pair(last, codes, dims, bits) != want)
							COMPLAIN("dims %d bits %d: pair %d, not %d", dims, bits,
									 level->code_pair(codes, last, dims, bits), want);
					}
					release((char *) codes, code_size * n, slack);
					release(query, query_size + to_64, 0);
					release((char *) levels, dims, 0);
				}
	report("codes, the integers of their definition", name);
}

static void
test_estimates(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	for (int n = 0; n < 70; n++)
		for (int f = 0; f < NUM_FLAVOURS; f++)
		{
			int32_t    *dots = (int32_t *) guarded(sizeof(int32_t) * n, 0);
			float	   *factors = (float *) guarded(sizeof(float) * 2 * n, 4);
			float	   *got = (float *) guarded(sizeof(float) * n, 0);
			float	   *want = (float *) guarded(sizeof(float) * n, 0);
			float		step = fabsf(random_float((Flavour) f));
			float		base = fabsf(random_float((Flavour) f));

			for (int i = 0; i < n; i++)
			{
				dots[i] = (int32_t) (random_bits() % (15 * 7 * 2 * KERNEL_CODE_MAX_DIMS + 1)) -
					15 * 7 * KERNEL_CODE_MAX_DIMS;
				factors[2 * i] = random_float((Flavour) f);
				factors[2 * i + 1] = random_float((Flavour) f);
			}
			level->code_estimate(dots, factors, n, step, base, got);
			scalar->code_estimate(dots, factors, n, step, base, want);
			for (int i = 0; i < n; i++)
				if (memcmp(&got[i], &want[i], sizeof(float)) != 0 || !isfinite(got[i]))
					COMPLAIN("%s: (%a + %a) + %a * %a * %d is %a, scalar %a", flavour_names[f], base,
							 factors[2 * i], factors[2 * i + 1], step, dots[i], got[i], want[i]);
			release((char *) dots, sizeof(int32_t) * n, 0);
			release((char *) factors, sizeof(float) * 2 * n, 4);
			release((char *) got, sizeof(float) * n, 0);
			release((char *) want, sizeof(float) * n, 0);
		}
	report("estimates, the bits of scalar, never infinite", name);
}

/* The numbers of values below a limit, at every level */
static void
test_find_below(const KernelTable *level, const char *name)
{
	for (int n = 0; n < 70; n++)
		for (int f = 0; f < NUM_FLAVOURS; f++)
			for (int kind = 0; kind < 5; kind++)
			{
				float	   *values = (float *) guarded(sizeof(float) * n, 4);
				int32_t    *below = (int32_t *) guarded(sizeof(int32_t) * n, 4);
				float		limit = kind == 0 ? INFINITY : kind == 1 ? -INFINITY : kind == 2 ? NAN :
					random_float((Flavour) f);
				int			count = 0;
				int			got;

				for (int i = 0; i < n; i++)
				{
					unsigned	draw = random_bits() % 16;

					values[i] = draw == 0 ? NAN : draw == 1 ? INFINITY : draw == 2 ? limit :
						random_float((Flavour) f);
				}
				got = level->find_below(values, n, limit, below);
				for (int i = 0; i < n; i++)
					if (values[i] < limit)
					{
						if (count < got && below[count] != i)
							COMPLAIN("%s: number %d of those below %a is %d, not %d", flavour_names[f],
									 count, limit, below[count], i);
						count++;
					}
				if (got != count)
					COMPLAIN("%s: %d of %d values below %a, not %d", flavour_names[f], got, n, limit, count);
				release((char *) values, sizeof(float) * n, 4);
				release((char *) below, sizeof(int32_t) * n, 4);
			}
	report("values below a limit", name);
}

/* Passes against scalar, and scalar against the definition. */
static void
test_hadamard(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	static const int counts[] = {8, 16, 24, 40, 48, 96, 1008};

	for (int c = 0; c < LENGTH(counts); c++)
		for (int kind = 0; kind < 8; kind++)
			for (int f = 0; f < NUM_FLAVOURS; f++)
			{
				int			rows = counts[c];
				int			radix = kind & 1 ? 8 : 4;
				bool		within = (kind & 2) != 0;
				size_t		size = sizeof(float) * 16 * rows;
				size_t		slack = f % 2 == 0 ? 0 : 4;
				float	   *x = (float *) guarded(size, slack);
				uint32_t   *signs = (uint32_t *) guarded(size, 0);
				float	   *got = (float *) guarded(size, slack);
				float	   *want = (float *) guarded(size, 0);

				for (int i = 0; i < 16 * rows; i++)
				{
					x[i] = random_float((Flavour) f);
					signs[i] = random_bits() & 0x80000000;
				}
				level->hadamard(x, got, rows, radix, kind & 4 ? signs : NULL, within, 0.25f);
				scalar->hadamard(x, want, rows, radix, kind & 4 ? signs : NULL, within, 0.25f);
				for (int i = 0; i < 16 * rows; i++)
					if (!same_bits(got[i], want[i]))
						COMPLAIN("%s rows %d radix %d%s: place %d is %a, scalar %a", flavour_names[f],
								 rows, radix, within ? " within" : "", i, got[i], want[i]);
				for (int i = 0; i < 16 * rows && f == UNIT; i += 37)
				{
					int			row = i / 16;
					double		sum = 0;

					for (int k = 0; k < radix; k++)
						for (int j = within ? 0 : i % 16; j < (within ? 16 : i % 16 + 1); j++)
						{
							int			place = (row / radix + k * (rows / radix)) * 16 + j;
							double		value = x[place];

							if ((kind & 4) != 0 && signs[place] != 0)
								value = -value;
							if (__builtin_parity(k & row % radix) ^ (within && __builtin_parity(j & i % 16)))
								value = -value;
							sum += value;
						}
					if (within)
						sum *= 0.25;
					if (fabs(sum - got[i]) > 1e-5)
						COMPLAIN("rows %d radix %d%s: place %d is %g, not %g", rows, radix,
								 within ? " within" : "", i, got[i], sum);
				}
				release((char *) x, size, slack);
				release((char *) signs, size, 0);
				release((char *) got, size, slack);
				release((char *) want, size, 0);
			}
	report("passes of a rotation, the bits of scalar", name);
}

/* What codes are made of, against scalar; and scalar's code by definition. */
static void
test_making(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	static const int sizes[] = {128, 256, 384, 768, 1536, 16128};

	for (int s = 0; s < LENGTH(sizes); s++)
		for (int bits = 1; bits <= 4; bits *= 2)
			for (int f = 0; f < NUM_FLAVOURS; f++)
				for (int round = 0; round < (sizes[s] > 2000 ? 2 : 10); round++)
				{
					int			dims = sizes[s];
					size_t		size = sizeof(float) * dims;
					size_t		code_size = (size_t) dims / 8 * bits;
					float	   *x = (float *) guarded(size, 4);
					float	   *c = (float *) guarded(size, 0);
					float	   *mean = (float *) guarded(size, 8);
					uint8_t    *code = (uint8_t *) guarded(code_size, 1);
					uint8_t    *same = (uint8_t *) guarded(code_size, 0);
					float		top = (float) ((1 << (bits - 1)) - 1);
					float		inverse[3];
					double		got[5],
								want[5];

					/* what a code is made of is finite */
					for (int i = 0; i < dims; i++)
					{
						do
							x[i] = random_float((Flavour) f);
						while (!isfinite(x[i]) || fabsf(x[i]) > 1e38f);
						do
							c[i] = round == 0 && i % 3 == 0 ? x[i] : random_float((Flavour) f);
						while (!isfinite(c[i]) || fabsf(c[i]) > 1e38f);
						mean[i] = random_unit();
					}

#define SAME_DOUBLE(what, i) \
	do { \
		if (!same_bits_double(got[i], want[i])) \
			COMPLAIN("%s dims %d bits %d: %s is %a, scalar %a", flavour_names[f], dims, bits, \
					 what, got[i], want[i]); \
	} while (0)
					level->code_residual(x, c, mean, dims, &got[0], &got[1]);
					scalar->code_residual(x, c, mean, dims, &want[0], &want[1]);
					level->code_residual(x, c, NULL, dims, &got[2], &got[3]);
					scalar->code_residual(x, c, NULL, dims, &want[2], &want[3]);
					level->code_residual(x, c, NULL, dims, &got[4], NULL);
					scalar->code_residual(x, c, NULL, dims, &want[4], NULL);
					SAME_DOUBLE("rr", 0);
					SAME_DOUBLE("r (c + mean)", 1);
					SAME_DOUBLE("rr", 2);
					SAME_DOUBLE("rc", 3);
					SAME_DOUBLE("rr", 4);

					for (int i = 0; i < 3; i++)
					{
						double		exact = (0.3 + 0.4 * i) * top / sqrt(want[0] / dims);

						inverse[i] = exact < FLT_MAX ? (float) exact : FLT_MAX;
					}
					if (want[0] > 0 && want[0] < 1e74 && bits > 1)
					{
						level->code_fit(x, c, dims, inverse, top, got);
						scalar->code_fit(x, c, dims, inverse, top, want);
						SAME_DOUBLE("fit 0", 0);
						SAME_DOUBLE("fit 1", 1);
						SAME_DOUBLE("fit 2", 2);
					}
					else
						inverse[1] = 1.0f;

					level->code_make(x, c, dims, bits, inverse[1], code, &got[0], &got[1]);
					scalar->code_make(x, c, dims, bits, inverse[1], same, &want[0], &want[1]);
					SAME_DOUBLE("ur", 0);
					SAME_DOUBLE("uc", 1);
#undef SAME_DOUBLE
					if (memcmp(code, same, code_size) != 0)
						COMPLAIN("%s dims %d bits %d: codes differ", flavour_names[f], dims, bits);
					want[0] = want[1] = 0;
					for (int i = 0; i < dims; i++)
					{
						int			u = code_value(code, dims, bits, i);
						float		r = x[i] - c[i];
						float		steps = fabsf(r) * inverse[1];

						if (abs(u) != 2 * (int) (steps < top ? steps : top) + 1 || (u < 0) != (r < 0))
							COMPLAIN("%s dims %d bits %d: %a, step %a, got %d", flavour_names[f], dims,
									 bits, r, 1 / inverse[1], u);
						want[0] += (double) r * u;
						want[1] += (double) c[i] * u;
					}
					if (!(fabs(got[0] - want[0]) <= 1e-12 * want[0]))
						COMPLAIN("%s dims %d bits %d: ur is %g, not %g", flavour_names[f], dims, bits,
								 got[0], want[0]);
					release((char *) x, size, 4);
					release((char *) c, size, 0);
					release((char *) mean, size, 8);
					release((char *) code, code_size, 1);
					release((char *) same, code_size, 0);
				}
	report("making codes, the bits of scalar", name);
}

static void
test_codes_and_bytes(const KernelTable *level, const KernelTable *scalar, const char *name)
{
	test_halves(level, scalar, name);
	test_bytes(level, name);
	test_quantise(level, scalar, name);
	test_codes(level, name);
	test_estimates(level, scalar, name);
	test_find_below(level, name);
	test_making(level, scalar, name);
	test_hadamard(level, scalar, name);
}

static void
test_dispatch(void)
{
	const KernelTable *best;

	if (kernel == NULL || kernel->level != KERNEL_SCALAR)
		COMPLAIN("before kernel_init() the level is not scalar");
	kernel_init();
	best = kernel;
	printf("# best level: %s\n", best == NULL ? "none" : best->name);
	if (best == NULL || kernel_table(best->level) != best)
	{
		COMPLAIN("kernel_init() chose a level that is not there");
		report("levels", "dispatch");
		return;
	}
	for (int level = 0; level < KERNEL_NUM_LEVELS; level++)
	{
		const KernelTable *table = kernel_table((KernelLevel) level);

		if (table != NULL && table->level != (KernelLevel) level)
			COMPLAIN("level %d calls itself %d", level, (int) table->level);
		if (kernel_force((KernelLevel) level) != (table != NULL))
			COMPLAIN("level %d: force and table disagree", level);
		if (table != NULL && kernel != table)
			COMPLAIN("level %d was not taken", level);
	}
	if (kernel_table((KernelLevel) KERNEL_NUM_LEVELS) != NULL ||
		kernel_table((KernelLevel) -1) != NULL)
		COMPLAIN("a level that does not exist has a table");
	if (!kernel_force(KERNEL_SCALAR) || !kernel_force(best->level) || kernel != best)
		COMPLAIN("could not go to scalar and back");
	report("levels", "dispatch");
}

int
main(void)
{
	const KernelTable *scalar;

	test_dispatch();
	scalar = kernel_table(KERNEL_SCALAR);
	test_truth(scalar);
	for (int i = 0; i < KERNEL_NUM_LEVELS; i++)
	{
		const KernelTable *level = kernel_table((KernelLevel) i);

		if (level == NULL)
		{
			printf("# level %d is not on this machine\n", i);
			continue;
		}
		test_pairs(level, scalar);
		test_places(level, scalar);
		test_rows(level, scalar);
		test_tails(level);
		test_small(level);
		test_panels(level);
		test_codes_and_bytes(level, scalar, level->name);
		if (kernel_plain_table((KernelLevel) i) != level)
			test_codes_and_bytes(kernel_plain_table((KernelLevel) i), scalar,
								 "plain avx512");
	}
	return done();
}
