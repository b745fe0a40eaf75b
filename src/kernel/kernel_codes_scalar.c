/*-------------------------------------------------------------------------
 *
 * kernel_codes_scalar.c
 *	  Codes, bytes and rotations, for every machine; the oracle of the others.
 *
 * The query of code_dot is four bit planes of the levels in two's complement,
 * worth 1, 2, 4 and -8, so <bits, levels> is a sum of weighted popcounts.  The
 * processors this is for may lack a popcount instruction: bits are counted
 * within the bytes of a word, and the counts of the planes, weighted, share the
 * final sum over bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Four floats at once wherever the architecture's baseline has them. */
typedef float Four __attribute__((vector_size(16)));

#define CODE_LANES	KERNEL_CODE_LANES

/* The tree of KERNEL_CODE_LANES sums */
#define FOLD(lane) \
	do { \
		for (int width = CODE_LANES / 2; width > 0; width /= 2) \
			for (int j = 0; j < width; j++) \
				(lane)[j] += (lane)[j + width]; \
	} while (0)

double
scalar_quantise(const float *x, int dim, float inverse, int limit, int8_t *out)
{
	const float magic = 0x1.8p23f;	/* adding it rounds to nearest even */
	float		most = (float) limit;
	float		least = -most;
	double		sum[CODE_LANES] = {0};

	for (int i = 0; i < dim; i++)
	{
		float		value = x[i] * inverse;

		value = value < most ? value : most;
		value = value > least ? value : least;
		value = (value + magic) - magic;
		sum[i % CODE_LANES] += (double) x[i] * (double) value;
		out[i] = (int8_t) (int) value;
	}
	FOLD(sum);
	return sum[0];
}

int32_t
scalar_dot_i8(const int8_t *a, const int8_t *b, int dim)
{
	int32_t		sum = 0;

	for (int i = 0; i < dim; i += 16)
		for (int j = 0; j < 16; j++)
			sum += a[i + j] * b[i + j];
	return sum;
}

void
scalar_dot_i8_ids(const int8_t *q, const void *base, size_t stride,
				  const uint32_t *ids, int n, int dim, int32_t *out)
{
	for (int i = 0; i < n; i++)
		out[i] = scalar_dot_i8(q, (const int8_t *) base + ids[i] * stride, dim);
}

/* The sum of the levels, then for each 64 dimensions four planes. */
typedef struct ScalarQuery
{
	int32_t		sum;
	int32_t		unused[15];
	uint64_t	planes[][4];
} ScalarQuery;

/* Bit i of byte j is dimension 8 j + i, whatever the machine's byte order. */
static inline uint64_t
load_word(const uint8_t *bytes)
{
	uint64_t	word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

void
scalar_code_query(const int8_t *levels, int dims, void *mem)
{
	ScalarQuery *query = mem;

	query->sum = 0;
	for (int w = 0; w < dims / 64; w++)
		for (int p = 0; p < 4; p++)
		{
			uint8_t		bytes[8];

			for (int j = 0; j < 8; j++)
			{
				unsigned	byte = 0;

				for (int i = 0; i < 8; i++)
					byte |= ((unsigned) levels[w * 64 + j * 8 + i] >> p & 1) << i;
				bytes[j] = (uint8_t) byte;
			}
			query->planes[w][p] = load_word(bytes);
		}
	for (int i = 0; i < dims; i++)
		query->sum += levels[i];
}

/* The number of bits set in each byte */
static inline uint64_t
count_bytes(uint64_t x)
{
	x -= x >> 1 & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
	return (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
}

static inline int32_t
sum_bytes(uint64_t x)
{
	return (int32_t) ((x & UINT64_C(0x00ff00ff00ff00ff)) * UINT64_C(0x0001000100010001) >> 48) +
		(int32_t) ((x >> 8 & UINT64_C(0x00ff00ff00ff00ff)) * UINT64_C(0x0001000100010001) >> 48);
}

void
scalar_code_dot(const void *mem, int dims, int bits, const uint8_t *codes,
				int n, int32_t *out)
{
	const ScalarQuery *query = mem;

	for (int i = 0; i < n; i++)
	{
		int32_t		set = 0;

		for (int plane = 0; plane < bits; plane++)
		{
			int32_t		sum = 0;

			for (int w = 0; w < dims / 64; w++, codes += 8)
			{
				uint64_t	code = load_word(codes);
				const uint64_t *planes = query->planes[w];

				/* at most 8 * 7 in a byte, and 8 * 8 */
				sum += sum_bytes(count_bytes(code & planes[0]) +
								 (count_bytes(code & planes[1]) << 1) +
								 (count_bytes(code & planes[2]) << 2));
				sum -= sum_bytes(count_bytes(code & planes[3]) << 3);
			}
			set = 2 * set + sum;
		}
		out[i] = kernel_code_result(set, bits, query->sum);
	}
}

void
scalar_code_estimate(const int32_t *dots, const float *factors, int n,
					 float step, float base, float *out)
{
	for (int i = 0; i < n; i++)
	{
		float		value = (base + factors[2 * i]) +
			factors[2 * i + 1] * (step * (float) dots[i]);

		value = value > -FLT_MAX ? value : -FLT_MAX;
		out[i] = value < FLT_MAX ? value : FLT_MAX;
	}
}

/* How many of the dims bits differ */
static int32_t
count_different(const uint8_t *a, const uint8_t *b, int dims)
{
	int32_t		sum = 0;

	for (int i = 0; i < dims / 8; i += 8)
		sum += sum_bytes(count_bytes(load_word(a + i) ^ load_word(b + i)));
	return sum;
}

int32_t
scalar_code_pair(const uint8_t *a, const uint8_t *b, int dims, int bits)
{
	int32_t		sum = 0;

	/* u is the sum over planes of +-2^(bits - 1 - plane) */
	for (int p = 0; p < bits; p++)
		for (int q = 0; q < bits; q++)
			sum += (dims - 2 * count_different(a + p * (dims / 8), b + q * (dims / 8), dims)) *
				(1 << (2 * bits - 2 - p - q));
	return sum;
}

void
scalar_code_residual(const float *x, const float *c, const float *mean,
					 int dim, double *rr, double *rc)
{
	double		square[CODE_LANES] = {0};
	double		owner[CODE_LANES] = {0};

	for (size_t i = 0; i < (size_t) dim; i += CODE_LANES)
	{
		float		r[CODE_LANES];

		for (size_t j = 0; j < CODE_LANES; j++)
		{
			r[j] = x[i + j] - c[i + j];
			square[j] += (double) r[j] * (double) r[j];
		}
		if (rc == NULL)
			continue;
		if (mean == NULL)
			for (size_t j = 0; j < CODE_LANES; j++)
				owner[j] += (double) r[j] * (double) c[i + j];
		else
			for (size_t j = 0; j < CODE_LANES; j++)
				owner[j] += (double) r[j] * ((double) c[i + j] + (double) mean[i + j]);
	}
	FOLD(square);
	*rr = square[0];
	if (rc != NULL)
	{
		FOLD(owner);
		*rc = owner[0];
	}
}

/* How many steps |r| holds, at most top, cut */
static inline int
level_of(float r, float inverse, float top)
{
	float		steps = fabsf(r) * inverse;

	return (int) (steps < top ? steps : top);
}

void
scalar_code_fit(const float *x, const float *c, int dims,
				const float inverse[3], float top, double fit[3])
{
	for (int s = 0; s < 3; s++)
	{
		float		ur[CODE_LANES] = {0};
		float		uu[CODE_LANES] = {0};

		for (size_t i = 0; i < (size_t) dims; i += CODE_LANES)
			for (size_t j = 0; j < CODE_LANES; j++)
			{
				float		r = x[i + j] - c[i + j];
				float		u = (float) (2 * level_of(r, inverse[s], top) + 1);

				ur[j] += fabsf(r) * u;
				uu[j] += u * u;
			}
		FOLD(ur);
		FOLD(uu);
		fit[s] = (double) ur[0] * (double) ur[0] / (double) uu[0];
	}
}

void
scalar_code_make(const float *x, const float *c, int dims, int bits,
				 float inverse, uint8_t *code, double *ur, double *uc)
{
	double		with_r[CODE_LANES] = {0};
	double		with_c[CODE_LANES] = {0};
	float		top = (float) ((1 << (bits - 1)) - 1);
	int			half = 1 << (bits - 1);
	size_t		plane_size = (size_t) dims / 8;

	for (size_t i = 0; i < (size_t) dims; i += CODE_LANES)
	{
		unsigned	planes[4] = {0};

		for (size_t j = 0; j < CODE_LANES; j++)
		{
			float		r = x[i + j] - c[i + j];
			int			level = bits == 1 ? 0 : level_of(r, inverse, top);
			int			u = 2 * level + 1;
			int			w = half + level;	/* (u + 2^bits - 1) / 2 */

			with_r[j] += (double) fabsf(r) * u;
			if (r < 0)
			{
				u = -u;
				w = half - 1 - level;
			}
			with_c[j] += (double) c[i + j] * u;
			for (int p = 0; p < bits; p++)
				planes[p] |= (unsigned) (w >> (bits - 1 - p) & 1) << j;
		}
		for (int p = 0; p < bits; p++)
		{
			code[p * plane_size + i / 8] = (uint8_t) planes[p];
			code[p * plane_size + i / 8 + 1] = (uint8_t) (planes[p] >> 8);
		}
	}
	FOLD(with_r);
	FOLD(with_c);
	*ur = with_r[0];
	*uc = with_c[0];
}

/* Butterflies of n groups of Fours, group k with k + n / 2, and so on. */
#define BUTTERFLIES(v, n) \
	do { \
		for (int half = (n) / 2; half > 0; half /= 2) \
			for (int k = 0; k < (n); k++) \
				if ((k & half) == 0) \
				{ \
					Four		a = (v)[k]; \
					Four		b = (v)[k + half]; \
\
					(v)[k] = a + b; \
					(v)[k + half] = a - b; \
				} \
	} while (0)

/* A row of 16 */
static inline void
transform_row(float *row, float scale)
{
	for (int half = 8; half > 0; half /= 2)
		for (int k = 0; k < 16; k++)
			if ((k & half) == 0)
			{
				float		a = row[k];
				float		b = row[k + half];

				row[k] = a + b;
				row[k + half] = a - b;
			}
	for (int k = 0; k < 16; k++)
		row[k] *= scale;
}

static inline Four
load_four(const float *x, const uint32_t *signs)
{
	Four		four;

	if (signs != NULL)
	{
		uint32_t	bits[4];

		memcpy(bits, x, sizeof(bits));
		for (int i = 0; i < 4; i++)
			bits[i] ^= signs[i];
		memcpy(&four, bits, sizeof(four));
	}
	else
		memcpy(&four, x, sizeof(four));
	return four;
}

#define DEFINE_PASS(name, radix) \
static void \
name(const float *x, float *y, int rows, const uint32_t *signs) \
{ \
	size_t		apart = (size_t) rows / (radix) * 16; \
\
	for (size_t i = 0; i < apart; i += 4) \
	{ \
		float	   *to = y + i / 16 * 16 * (radix) + i % 16; \
		Four		v[radix]; \
\
		for (size_t k = 0; k < (radix); k++) \
			v[k] = load_four(x + i + k * apart, \
							 signs == NULL ? NULL : signs + i + k * apart); \
		BUTTERFLIES(v, radix); \
		for (size_t k = 0; k < (radix); k++) \
			memcpy(to + 16 * k, &v[k], sizeof(Four)); \
	} \
}

DEFINE_PASS(pass_of_4, 4)
DEFINE_PASS(pass_of_8, 8)

void
scalar_hadamard(const float *x, float *y, int rows, int radix,
				const uint32_t *signs, bool within, float scale)
{
	if (radix == 8)
		pass_of_8(x, y, rows, signs);
	else
		pass_of_4(x, y, rows, signs);
	if (within)
		for (int row = 0; row < rows; row++)
			transform_row(y + row * 16, scale);
}
