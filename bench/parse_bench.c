/*-------------------------------------------------------------------------
 *
 * parse_bench.c
 *	  How much faster than strtof vector_in reads its numbers.
 *
 * Parses 768-dimensional literals, as vector_out prints them, with both; the
 * loop over separators is the same, so the ratio is that of whole literals.
 * Rounds alternate and the best of each counts.
 *
 * Build and run: see bench/README.md.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "types/vector_parse.h"

#define DIM			768
#define LITERALS	200
#define ROUNDS		25

static char *literals[LITERALS];
static size_t bytes = 0;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* shortest decimal that reads back as f */
static char *
print_shortest(char *p, float f)
{
	int			n = 0;

	for (int precision = 1; precision <= 9; precision++)
	{
		n = sprintf(p, "%.*g", precision, f);
		if (strtof(p, NULL) == f)
			break;
	}
	return p + n;
}

static float
uniform(void)
{
	static uint64_t state = 42;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (float) (state >> 40) / 16777216.0f;
}

static float
with_strtof(void)
{
	float		sum = 0;

	for (int i = 0; i < LITERALS; i++)
	{
		for (char *p = literals[i] + 1;; p++)
		{
			sum += strtof(p, &p);
			if (*p != ',')
				break;
		}
	}
	return sum;
}

static float
with_parser(void)
{
	float		sum = 0;

	for (int i = 0; i < LITERALS; i++)
	{
		const char *end = literals[i] + strlen(literals[i]);

		for (const char *p = literals[i] + 1;; p++)
		{
			float		value;

			(void) vector_parse_number(p, end, &value, &p);
			sum += value;
			if (*p != ',')
				break;
		}
	}
	return sum;
}

int
main(void)
{
	static const char *const names[] = {
		"unit vectors, as vector_out prints them", "integers 0 .. 255",
		"doubles, 17 digits"
	};

	for (int kind = 0; kind < 3; kind++)
	{
		double		best_strtof = 1e9;
		double		best_parser = 1e9;

		bytes = 0;
		for (int i = 0; i < LITERALS; i++)
		{
			float		x[DIM];
			float		norm = 0;
			char	   *p;

			for (int j = 0; j < DIM; j++)
			{
				/* sum of uniforms: about normal */
				x[j] = uniform() + uniform() + uniform() + uniform() - 2.0f;
				norm += x[j] * x[j];
			}
			p = literals[i] = realloc(literals[i], 32 * DIM);
			for (int j = 0; j < DIM; j++)
			{
				*p++ = j == 0 ? '[' : ',';
				if (kind == 0)
					p = print_shortest(p, x[j] / sqrtf(norm));
				else if (kind == 1)
					p += sprintf(p, "%d", (int) (256 * uniform()));
				else
					p += sprintf(p, "%.17g", x[j] / sqrt((double) norm));
			}
			strcpy(p, "]");
			bytes += strlen(literals[i]);
		}

		for (int round = 0; round < ROUNDS; round++)
		{
			double		start = now();
			float		a = with_strtof();
			double		middle = now();
			float		b = with_parser();
			double		stop = now();

			if (a != b)
			{
				printf("results differ: %.9g, %.9g\n", a, b);
				return 1;
			}
			best_strtof = fmin(best_strtof, middle - start);
			best_parser = fmin(best_parser, stop - middle);
		}
		printf("%s: strtof %.1f ns, parser %.1f ns a number (%.2f GB/s), ratio %.2f\n",
			   names[kind], 1e9 * best_strtof / (LITERALS * DIM),
			   1e9 * best_parser / (LITERALS * DIM),
			   1e-9 * (double) bytes / best_parser, best_strtof / best_parser);
	}
	return 0;
}
