/*-------------------------------------------------------------------------
 *
 * test_rotation.c
 *	  The rotation is orthonormal, mixes, and is the same at every level.
 *
 * How well it mixes is judged by what codes need: the rotated coordinates of any
 * fixed vector should look drawn from a normal distribution.  For a vector x
 * of norm 1 in D dimensions, times sqrt(D): mean |x_i| near sqrt(2 / pi), mean
 * x_i^4 near 3, largest |x_i| below 6 or so.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/random.h"
#include "quant/rotation.h"
#include "tap.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))

static const int dims[] = {
	1, 2, 3, 17, 64, 65, 72, 100, 120, 127, 128, 129, 200, 248, 256, 300, 376, 384, 500, 512, 640, 768, 896, 960,
	1000, 1024, 1100, 1536, 2000, 3072, 4096, 8192, 16000, 16001, 16128
};

/* All that follows is tested of either kind. */
static bool narrow;

static void
report(const char *what, const char *level)
{
	point("%s: %s%s", level, what, narrow ? " (narrow)" : "");
}

static void
begin(Rotation *rotation, int dim, uint64_t seed, void *mem)
{
	if (narrow)
		rotation_init_narrow(rotation, dim, seed, mem);
	else
		rotation_init(rotation, dim, seed, mem);
}

static int
filled(int dim)
{
	return narrow ? rotation_narrow(dim) : rotation_padded(dim);
}

static uint64_t state = 20240608;

/* in [-1, 1) */
static float
random_unit(void)
{
	return (float) ((int32_t) (random_next(&state) >> 40) - 0x800000) / 8388608.0f;
}

static void *
allocate(size_t size)
{
	void	   *mem = NULL;

	if (posix_memalign(&mem, 64, size + 64) != 0)
	{
		printf("Bail out! no memory\n");
		exit(2);
	}
	return mem;
}

static double
product(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static void
test_sizes(void)
{
	for (int dim = 1; dim <= ROTATION_MAX_DIM; dim++)
	{
		int			padded = rotation_padded(dim);

		if (padded < dim || padded >= dim + ROTATION_UNIT || padded % ROTATION_UNIT != 0)
			COMPLAIN("%d is padded to %d", dim, padded);
		if (rotation_narrow(dim) < dim || rotation_narrow(dim) < 64 || rotation_narrow(dim) > padded ||
			rotation_narrow(dim) % 8 != 0 || (dim > 64 && rotation_narrow(dim) >= dim + 8))
			COMPLAIN("%d is at least %d", dim, rotation_narrow(dim));
		if (rotation_size(dim) == SIZE_MAX || rotation_size(dim) < (size_t) padded * 4)
			COMPLAIN("dim %d has size %zu", dim, rotation_size(dim));
	}
	if (rotation_size(0) != SIZE_MAX || rotation_size(-1) != SIZE_MAX ||
		rotation_size(ROTATION_MAX_DIM + 1) != SIZE_MAX)
		COMPLAIN("a rotation that cannot be has a size");
	report("sizes", "rotation");
}

/* Norms and inner products stay; nothing is written beside out. */
static void
test_orthonormal(void)
{
	for (int d = 0; d < LENGTH(dims); d++)
	{
		int			dim = dims[d];
		int			padded = rotation_padded(dim);
		Rotation	rotation;
		float	   *x = allocate(sizeof(float) * dim);
		float	   *y = allocate(sizeof(float) * dim);
		float	   *rx = allocate(sizeof(float) * (padded + 1));
		float	   *ry = allocate(sizeof(float) * (padded + 1));
		void	   *mem = allocate(rotation_size(dim));

		begin(&rotation, dim, 42 + d, mem);
		if (rotation.padded != padded || rotation.dim != dim || rotation.filled != filled(dim))
			COMPLAIN("dim %d: padded %d, filled %d", dim, rotation.padded, rotation.filled);
		for (int round = 0; round < 20; round++)
		{
			double		size;

			for (int i = 0; i < dim; i++)
			{
				/* one coordinate, all the same, and any */
				x[i] = round == 0 ? (float) (i == dim / 2) : round == 1 ? 1.0f : random_unit();
				y[i] = round == 0 ? (float) (i == dim / 3) : round == 1 ? (float) (i % 2) : random_unit();
			}
			rx[padded] = ry[padded] = 12345;
			rotate(&rotation, x, rx);
			rotate(&rotation, y, ry);
			if (rx[padded] != 12345)
				COMPLAIN("dim %d: wrote beside out", dim);
			for (int i = filled(dim); i < padded; i++)
				if (rx[i] != 0)
					COMPLAIN("dim %d: float %d is %g", dim, i, rx[i]);
			size = product(x, x, dim);
			if (!(fabs(product(rx, rx, padded) / size - 1) < 2e-6))
				COMPLAIN("dim %d: |x|^2 %.9g became %.9g", dim, size, product(rx, rx, padded));
			size = sqrt(size * product(y, y, dim));
			if (!(fabs(product(rx, ry, padded) - product(x, y, dim)) <= 2e-6 * size))
				COMPLAIN("dim %d: <x, y> %.9g became %.9g", dim, product(x, y, dim), product(rx, ry, padded));
		}
		free(x);
		free(y);
		free(rx);
		free(ry);
		free(mem);
	}
	report("norms and inner products", "rotation");
}

typedef struct Moments
{
	double		mean;			/* |x| */
	double		fourth;
	double		largest;
	double		least_mean;		/* of one vector */
} Moments;

/* One vector of norm 1 in D dimensions, times sqrt(D) */
static void
add_moments(Moments *moments, const float *x, int n, double norm)
{
	double		mean = 0;

	for (int i = 0; i < n; i++)
	{
		double		value = fabs(x[i]) * sqrt(n) / norm;

		mean += value / n;
		moments->fourth += value * value * value * value / n;
		if (value > moments->largest)
			moments->largest = value;
	}
	moments->mean += mean;
	if (mean < moments->least_mean)
		moments->least_mean = mean;
}

/* Vectors as far from random as can be: the coordinates of each look normal. */
static void
test_mixing(void)
{
	static const char *const kinds[] = {"one coordinate", "two coordinates", "all the same", "a ramp", "alternating"};

	for (int d = 0; d < LENGTH(dims); d++)
		for (int kind = 0; kind < LENGTH(kinds); kind++)
		{
			int			dim = dims[d];
			int			padded = rotation_padded(dim);
			int			rounds = padded > 2000 ? 20 : 200;
			Moments		moments = {0, 0, 0, 1};
			Rotation	rotation;
			float	   *x = allocate(sizeof(float) * dim);
			float	   *out = allocate(sizeof(float) * padded);
			void	   *mem = allocate(rotation_size(dim));
			int			n = filled(dim);
			double		spread = sqrt(1.0 / rounds / n);

			for (int round = 0; round < rounds; round++)
			{
				begin(&rotation, dim, random_next(&state), mem);
				for (int i = 0; i < dim; i++)
					x[i] = kind == 2 ? 1.0f : kind == 3 ? (float) (i + 1) : kind == 4 ? (float) (1 - i % 2 * 2) : 0.0f;
				if (kind < 2)
					x[round % dim] = 1.0f;
				if (kind == 1)
					x[(round * 7 + 1) % dim] -= 2.0f;
				rotate(&rotation, x, out);
				add_moments(&moments, out, n, sqrt(product(x, x, dim)));
			}
			moments.mean /= rounds;
			moments.fourth /= rounds;
			/* .6 and 9.8 / sqrt(number) if independent: allow 8 times that */
			if (!(fabs(moments.mean - sqrt(2 / M_PI)) < 0.004 + 8 * 0.6 * spread) ||
				!(fabs(moments.fourth - 3) < 0.06 + 8 * 9.8 * spread) ||
				!(moments.largest < 6.5) || !(moments.least_mean > 0.8 - 1.5 / sqrt(n)))
				COMPLAIN("dim %d, %s: mean %.4f (least %.4f), fourth moment %.3f, largest %.2f", dim, kinds[kind],
						 moments.mean, moments.least_mean, moments.fourth, moments.largest);
			free(x);
			free(out);
			free(mem);
		}
	report("whatever is rotated looks normal", "rotation");
}

/* No coordinate is preferred: over many seeds, each gets its share of e_i. */
static void
test_shares(void)
{
	static const int sizes[] = {3, 64, 100, 120, 128, 200, 264, 384, 640, 768, 1000};

	for (int d = 0; d < LENGTH(sizes); d++)
	{
		int			dim = sizes[d];
		int			padded = rotation_padded(dim);
		int			n = filled(dim);
		int			rounds = 2000;
		Rotation	rotation;
		float	   *x = allocate(sizeof(float) * dim);
		float	   *out = allocate(sizeof(float) * padded);
		double	   *share = allocate(sizeof(double) * padded);
		void	   *mem = allocate(rotation_size(dim));

		for (int i = 0; i < n; i++)
			share[i] = 0;
		for (int i = 0; i < dim; i++)
			x[i] = (float) (i == dim / 3);
		for (int round = 0; round < rounds; round++)
		{
			begin(&rotation, dim, random_next(&state), mem);
			rotate(&rotation, x, out);
			for (int i = 0; i < n; i++)
				share[i] += (double) out[i] * out[i] * n / rounds;
		}
		/* standard deviation sqrt(2 / 2000) = .032 */
		for (int i = 0; i < n; i++)
			if (!(fabs(share[i] - 1) < 0.2))
				COMPLAIN("dim %d: coordinate %d gets %.3f of its share", dim, i, share[i]);
		free(x);
		free(out);
		free(share);
		free(mem);
	}
	report("every coordinate gets its share", "rotation");
}

static void
test_seeds(void)
{
	Rotation	one,
				two;
	float		x[100];
	float		out[2][128];
	void	   *mem[2];
	double		size;

	for (int i = 0; i < 100; i++)
		x[i] = random_unit();
	size = product(x, x, 100);
	mem[0] = allocate(rotation_size(100));
	mem[1] = allocate(rotation_size(100));
	begin(&one, 100, 5, mem[0]);
	begin(&two, 100, 5, mem[1]);
	rotate(&one, x, out[0]);
	rotate(&two, x, out[1]);
	if (memcmp(out[0], out[1], sizeof(out[0])) != 0)
		COMPLAIN("the same seed gives another rotation");
	begin(&two, 100, 6, mem[1]);
	rotate(&two, x, out[1]);
	if (!(fabs(product(out[0], out[1], 128)) < 0.6 * size))
		COMPLAIN("another seed gives nearly the same rotation");
	report("seeds", "rotation");
	free(mem[0]);
	free(mem[1]);
}

/* The map is fixed for all time: indexes on disk are made with it. */
static void
test_fixed(void)
{
	static const struct
	{
		int			dim;
		uint64_t	sum;
		bool		narrow;
	}			known[] = {
		{1, UINT64_C(0x54fd4a2062be3116)}, {3, UINT64_C(0x8c9d6baf57b00949)}, {100, UINT64_C(0xd4cd73dd74c36b25)},
		{384, UINT64_C(0x436600b8c760f800)}, {768, UINT64_C(0xe8282ffd782df0e7)}, {1536, UINT64_C(0x7f2323b69085f7c0)},
		{3072, UINT64_C(0x7608ace5d66f4a12)}, {16001, UINT64_C(0x3444f64f19fd7684)},
		{3, UINT64_C(0x8095bf2246907000), true}, {100, UINT64_C(0x7ef04d4fed2100b0), true}, {120, UINT64_C(0xcd079c18c8f4a138), true}, {200, UINT64_C(0x2b9b803ab92b1acc), true}, {384, UINT64_C(0x436600b8c760f800), true}, {1000, UINT64_C(0x4a429d94ca7544f4), true}
	};

	for (int i = 0; i < LENGTH(known); i++)
	{
		int			dim = known[i].dim;
		int			padded = rotation_padded(dim);
		Rotation	rotation;
		float	   *x = allocate(sizeof(float) * dim);
		float	   *out = allocate(sizeof(float) * padded);
		void	   *mem = allocate(rotation_size(dim));
		uint64_t	sum = 0;

		narrow = known[i].narrow;
		for (int j = 0; j < dim; j++)
			x[j] = (float) (j % 17) - 7.25f;
		begin(&rotation, dim, 1, mem);
		rotate(&rotation, x, out);
		for (int j = 0; j < padded; j++)
		{
			uint32_t	bits;

			memcpy(&bits, &out[j], sizeof(bits));
			sum = (sum ^ bits) * UINT64_C(0x100000001b3);
		}
		if (sum != known[i].sum)
			COMPLAIN("dim %d: the bits sum to 0x%016llx", dim, (unsigned long long) sum);
		free(x);
		free(out);
		free(mem);
	}
	narrow = false;
	report("the rotation of a seed is what it always was", kernel->name);
}

static void
test_level(void)
{
	const KernelTable *level = kernel;

	for (int d = 0; d < LENGTH(dims); d++)
	{
		int			dim = dims[d];
		int			padded = rotation_padded(dim);
		Rotation	rotation;
		float	   *x = allocate(sizeof(float) * dim);
		float	   *got = allocate(sizeof(float) * padded);
		float	   *want = allocate(sizeof(float) * padded);
		void	   *mem = allocate(rotation_size(dim));

		begin(&rotation, dim, random_next(&state), mem);
		for (int round = 0; round < 10; round++)
		{
			for (int i = 0; i < dim; i++)
				x[i] = ldexpf(random_unit(), round * 20 - 100);
			rotate(&rotation, x, got);
			kernel_force(KERNEL_SCALAR);
			rotate(&rotation, x, want);
			kernel = level;
			if (memcmp(got, want, sizeof(float) * padded) != 0)
				COMPLAIN("dim %d: the bits differ from scalar", dim);
		}
		/* the largest that promise to stay finite, and the smallest */
		for (int i = 0; i < dim; i++)
			x[i] = random_unit() < 0 ? 1e28f : -1e28f;
		rotate(&rotation, x, got);
		for (int i = 0; i < padded; i++)
			if (!isfinite(got[i]))
				COMPLAIN("dim %d: 1e28 overflows", dim);
		for (int i = 0; i < dim; i++)
			x[i] = random_unit() < 0 ? 1e-36f : -1e-36f;
		rotate(&rotation, x, got);
		if (!(fabs(product(got, got, padded) / product(x, x, dim) - 1) < 1e-2))
			COMPLAIN("dim %d: 1e-36 vanishes", dim);
		free(x);
		free(got);
		free(want);
		free(mem);
	}
	report("the bits of scalar", level->name);
}

int
main(void)
{
	const KernelTable *best;

	kernel_init();
	best = kernel;
	test_sizes();
	for (int kind = 0; kind < 2; kind++)
	{
		narrow = kind == 1;
		test_orthonormal();
		test_mixing();
		test_shares();
		test_seeds();
	}
	for (int i = 0; i < KERNEL_NUM_LEVELS; i++)
		if (kernel_force((KernelLevel) i))
		{
			test_fixed();
			test_level();
			narrow = true;
			test_level();
		}
	kernel = best;
	return done();
}
