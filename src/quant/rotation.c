/*-------------------------------------------------------------------------
 *
 * rotation.c
 *	  A random orthonormal map of float vectors: signs and Hadamard steps.
 *
 * A vector is a matrix of rows of 16 floats, their number R a multiple of 8 and
 * mostly no power of two.  Three rounds, each:
 *
 *	1. random signs;
 *	2. floor(log2 R) steps over the rows: the sum and the difference of rows i and i
 *	   + R / 2 become rows 2 i and 2 i + 1.  A row is so spread evenly over as
 *	   many neighbouring rows as there are sums, and every round begins
 *	   elsewhere.  (Two or three steps are taken in one pass, kernel->hadamard,
 *	   with their own order of rows.)
 *	3. Hadamard's transform of each row of 16.
 *
 * Every step is orthonormal but for a factor of sqrt(2), which is made good at
 * the end.  No step depends on R being a power of two, and none but the last
 * moves anything within a register.  What three rounds make of a unit vector
 * is told apart from a random direction by no moment we looked at
 * (README.md); two rounds still show.
 *
 * A narrow rotation of a width that is no multiple of 128 has windows instead, as wide as the largest
 * multiple of 128 that fits, or 64: at the beginning and at the end, in turn.  Six rounds, each:
 *
 *	1. in the window, a round as above;
 *	2. the sum and the difference of floats i and i + width / 2 (but where the window is all
 *	   there is).
 *
 * (Transforms of windows with a step across the whole between them, as in the FhtKac rotator of the
 * RaBitQ authors' library, for the same purpose.)
 *
 *-------------------------------------------------------------------------
 */
#include "quant/rotation.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/random.h"

#define ROUNDS		3
#define NARROW_ROUNDS	6		/* an even number */
#define NARROW_LEAST	64
#define ROW			16			/* floats of a row, as kernel->hadamard has it */

int
rotation_padded(int dim)
{
	return (dim + ROTATION_UNIT - 1) / ROTATION_UNIT * ROTATION_UNIT;
}

int
rotation_narrow(int dim)
{
	int			narrow = (dim + 7) / 8 * 8;

	return narrow < NARROW_LEAST ? NARROW_LEAST : narrow;
}

size_t
rotation_size(int dim)
{
	if (dim < 1 || dim > ROTATION_MAX_DIM)
		return SIZE_MAX;
	return (size_t) rotation_padded(dim) * NARROW_ROUNDS * sizeof(uint32_t);
}

static void
init(Rotation *rotation, int dim, int filled, int rounds, uint64_t seed, void *mem)
{
	uint32_t   *signs = mem;
	uint64_t	state = seed;
	int			padded = rotation_padded(dim);

	rotation->dim = dim;
	rotation->padded = padded;
	rotation->filled = filled;
	rotation->seed = seed;
	rotation->signs = signs;
	for (int i = 0; i < padded * rounds; i += 64)
	{
		uint64_t	bits = random_next(&state);

		for (int j = 0; j < 64; j++)
			signs[i + j] = (uint32_t) (bits >> j) << 31;
	}
}

void
rotation_init(Rotation *rotation, int dim, uint64_t seed, void *mem)
{
	init(rotation, dim, rotation_padded(dim), ROUNDS, seed, mem);
}

void
rotation_init_narrow(Rotation *rotation, int dim, uint64_t seed, void *mem)
{
	int			filled = rotation_narrow(dim);

	if (filled == rotation_padded(dim))
		rotation_init(rotation, dim, seed, mem);
	else
		init(rotation, dim, filled, NARROW_ROUNDS, seed, mem);
}

/* Steps over the rows in one round */
static int
row_steps(int rows)
{
	int			steps = 0;

	while (rows >> (steps + 1) > 0)
		steps++;
	return steps;
}

/* The steps of the next pass: threes, but twos rather than a one at the end */
static int
pass_steps(int left)
{
	return left == 2 || left == 4 ? 2 : 3;
}

/* half of a multiple of 8 is a multiple of these */
typedef float Four __attribute__((vector_size(16)));

/* sqrt(1 / 2) for each of so many steps */
static float
scale_of(int steps)
{
	return (float) ldexp(steps % 2 == 0 ? 1.0 : M_SQRT1_2, -(steps / 2));
}

static void
rotate_narrow(const Rotation *rotation, const float *x, float *out)
{
	float		buffers[2][ROTATION_MAX_DIM] __attribute__((aligned(64)));
	int			filled = rotation->filled;
	int			half = filled / 2;
	int			window = filled < ROTATION_UNIT ? NARROW_LEAST : filled / ROTATION_UNIT * ROTATION_UNIT;
	int			steps = row_steps(window / ROW);

	memcpy(out, x, sizeof(float) * rotation->dim);
	memset(out + rotation->dim, 0, sizeof(float) * (rotation->padded - rotation->dim));
	for (int round = 0; round < NARROW_ROUNDS; round++)
	{
		const uint32_t *signs = rotation->signs + (size_t) round * rotation->padded;
		float	   *at = out + (round % 2 == 0 ? 0 : filled - window);
		const float *from = at;
		float	   *to = buffers[0];

		for (int left = steps; left > 0;)
		{
			int			now = pass_steps(left);

			left -= now;
			/* 4 steps are those within a row */
			kernel->hadamard(from, to, window / ROW, 1 << now, signs, left == 0, scale_of(steps + 4));
			signs = NULL;
			from = to;
			to = to == buffers[0] ? buffers[1] : buffers[0];
		}
		memcpy(at, from, sizeof(float) * window);
		/* where the window is everything, this would undo one of its steps */
		if (window == filled)
			continue;
		for (int i = 0; i < half; i += 4)
		{
			Four		a;
			Four		b;
			Four		sum;
			Four		difference;

			memcpy(&a, out + i, sizeof(Four));
			memcpy(&b, out + half + i, sizeof(Four));
			/* every second round makes good what two of these steps add */
			sum = (a + b) * (round % 2 == 0 ? 1.0f : 0.5f);
			difference = (a - b) * (round % 2 == 0 ? 1.0f : 0.5f);
			memcpy(out + i, &sum, sizeof(Four));
			memcpy(out + half + i, &difference, sizeof(Four));
		}
	}
}

void
rotate(const Rotation *rotation, const float *x, float *out)
{
	float		other[ROTATION_MAX_DIM] __attribute__((aligned(64)));
	int			padded = rotation->padded;
	int			rows = padded / ROW;
	int			steps = row_steps(rows);
	int			passes = 0;
	float		scale;
	float	   *from;
	float	   *to;

	if (rotation->filled < padded)
	{
		rotate_narrow(rotation, x, out);
		return;
	}
	for (int left = steps; left > 0; left -= pass_steps(left))
		passes++;

	/* begin where the last of the passes ends in out */
	from = passes * ROUNDS % 2 == 0 ? out : other;
	to = from == out ? other : out;
	memcpy(from, x, sizeof(float) * rotation->dim);
	memset(from + rotation->dim, 0, sizeof(float) * (padded - rotation->dim));

	/* 4 steps are those within a row */
	scale = scale_of((steps + 4) * ROUNDS);

	for (int round = 0; round < ROUNDS; round++)
	{
		const uint32_t *signs = rotation->signs + (size_t) round * padded;

		for (int left = steps; left > 0;)
		{
			int			now = pass_steps(left);
			float	   *next = from;

			left -= now;
			kernel->hadamard(from, to, rows, 1 << now, signs, left == 0,
							 round == ROUNDS - 1 ? scale : 1.0f);
			signs = NULL;
			from = to;
			to = next;
		}
	}
}
