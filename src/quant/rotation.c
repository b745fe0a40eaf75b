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
 *-------------------------------------------------------------------------
 */
#include "quant/rotation.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/random.h"

#define ROUNDS		3
#define ROW			16			/* floats of a row, as kernel->hadamard has it */

int
rotation_padded(int dim)
{
	return (dim + ROTATION_UNIT - 1) / ROTATION_UNIT * ROTATION_UNIT;
}

size_t
rotation_size(int dim)
{
	if (dim < 1 || dim > ROTATION_MAX_DIM)
		return SIZE_MAX;
	return (size_t) rotation_padded(dim) * ROUNDS * sizeof(uint32_t);
}

void
rotation_init(Rotation *rotation, int dim, uint64_t seed, void *mem)
{
	uint32_t   *signs = mem;
	uint64_t	state = seed;
	int			padded = rotation_padded(dim);

	rotation->dim = dim;
	rotation->padded = padded;
	rotation->seed = seed;
	rotation->signs = signs;
	for (int i = 0; i < padded * ROUNDS; i += 64)
	{
		uint64_t	bits = random_next(&state);

		for (int j = 0; j < 64; j++)
			signs[i + j] = (uint32_t) (bits >> j) << 31;
	}
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

	for (int left = steps; left > 0; left -= pass_steps(left))
		passes++;

	/* begin where the last of the passes ends in out */
	from = passes * ROUNDS % 2 == 0 ? out : other;
	to = from == out ? other : out;
	memcpy(from, x, sizeof(float) * rotation->dim);
	memset(from + rotation->dim, 0, sizeof(float) * (padded - rotation->dim));

	/* 4 steps are those within a row; sqrt(1 / 2) for each of all */
	steps += 4;
	scale = (float) ldexp(steps * ROUNDS % 2 == 0 ? 1.0 : M_SQRT1_2,
						  -(steps * ROUNDS / 2));
	steps -= 4;

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
