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
typedef uint32_t FourBits __attribute__((vector_size(16)));

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

	for (size_t i = 0; i < (size_t) dim; i += CODE_LANES)
	{
		size_t		rest = (size_t) dim - i < CODE_LANES ? (size_t) dim - i : CODE_LANES;

		for (size_t j = 0; j < rest; j++)
		{
			float		value = x[i + j] * inverse;

			value = value < most ? value : most;
			value = value > least ? value : least;
			value = (value + magic) - magic;
			sum[j] += (double) x[i + j] * (double) value;
			out[i + j] = (int8_t) (int) value;
		}
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
scalar_code_dot_picked(const void *mem, int dims, int bits, size_t plane_size,
					   const uint8_t *rows, size_t row_size, const int32_t *picked,
					   int n, int32_t *out)
{
	kernel_dot_picked(scalar_code_dot, mem, dims, bits, plane_size, rows, row_size, picked, n, out);
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

int
scalar_find_below(const float *values, int n, float limit, int32_t *below)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		/* no branch: about as many are below as are not */
		below[count] = i;
		count += values[i] < limit;
	}
	return count;
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

/* ---- rotation: a row of 16 is four Fours ---- */

/* The first of each pair gets the sum, the second first - second. */
#define BUTTERFLY(a, b) \
	do { \
		Four		sum = a + b; \
\
		b = a - b; \
		a = sum; \
	} while (0)

static inline Four
load_four(const float *x)
{
	Four		four;

	memcpy(&four, x, sizeof(four));
	return four;
}

static inline Four
load_flipped(const float *x, const uint32_t *signs)
{
	FourBits	bits;
	FourBits	flip;

	memcpy(&bits, x, sizeof(bits));
	memcpy(&flip, signs, sizeof(flip));
	bits ^= flip;
	return (Four) bits;
}

/* Hadamard's transform of the four places within each of four Fours, scaled */
static inline void
transform_within(Four v0, Four v1, Four v2, Four v3, float scale, float *row)
{
	Four		all[4] = {v0, v1, v2, v3};

	/* shuffles of vectors have no spelling that all compilers know */
	for (int g = 0; g < 4; g++)
	{
		float		sum02 = all[g][0] + all[g][2];
		float		sum13 = all[g][1] + all[g][3];
		float		diff02 = all[g][0] - all[g][2];
		float		diff13 = all[g][1] - all[g][3];

		row[4 * g] = (sum02 + sum13) * scale;
		row[4 * g + 1] = (sum02 - sum13) * scale;
		row[4 * g + 2] = (diff02 + diff13) * scale;
		row[4 * g + 3] = (diff02 - diff13) * scale;
	}
}

static inline void
transform_row(float *row, float scale)
{
	Four		v0 = load_four(row);
	Four		v1 = load_four(row + 4);
	Four		v2 = load_four(row + 8);
	Four		v3 = load_four(row + 12);

	BUTTERFLY(v0, v2);
	BUTTERFLY(v1, v3);
	BUTTERFLY(v0, v1);
	BUTTERFLY(v2, v3);
	transform_within(v0, v1, v2, v3, scale, row);
}

#define LOAD(k) \
	Four		v##k = signs == NULL ? load_four(x + i + k * apart) : \
		load_flipped(x + i + k * apart, signs + i + k * apart)
#define STORE(k)	memcpy(to + 16 * k, &v##k, sizeof(Four))

static inline void
pass_of_8(const float *x, float *y, int rows, const uint32_t *signs)
{
	size_t		apart = (size_t) rows * 2;

	for (size_t i = 0; i < apart; i += 4)
	{
		float	   *to = y + i / 16 * 128 + i % 16;

		LOAD(0);
		LOAD(1);
		LOAD(2);
		LOAD(3);
		LOAD(4);
		LOAD(5);
		LOAD(6);
		LOAD(7);
		BUTTERFLY(v0, v4);
		BUTTERFLY(v1, v5);
		BUTTERFLY(v2, v6);
		BUTTERFLY(v3, v7);
		BUTTERFLY(v0, v2);
		BUTTERFLY(v1, v3);
		BUTTERFLY(v4, v6);
		BUTTERFLY(v5, v7);
		BUTTERFLY(v0, v1);
		BUTTERFLY(v2, v3);
		BUTTERFLY(v4, v5);
		BUTTERFLY(v6, v7);
		STORE(0);
		STORE(1);
		STORE(2);
		STORE(3);
		STORE(4);
		STORE(5);
		STORE(6);
		STORE(7);
	}
}

static inline void
pass_of_4(const float *x, float *y, int rows, const uint32_t *signs)
{
	size_t		apart = (size_t) rows * 4;

	for (size_t i = 0; i < apart; i += 4)
	{
		float	   *to = y + i / 16 * 64 + i % 16;

		LOAD(0);
		LOAD(1);
		LOAD(2);
		LOAD(3);
		BUTTERFLY(v0, v2);
		BUTTERFLY(v1, v3);
		BUTTERFLY(v0, v1);
		BUTTERFLY(v2, v3);
		STORE(0);
		STORE(1);
		STORE(2);
		STORE(3);
	}
}

#undef LOAD
#undef STORE

void
scalar_hadamard(const float *x, float *y, int rows, int radix,
				const uint32_t *signs, bool within, float scale)
{
	if (radix == 8 && signs != NULL)
		pass_of_8(x, y, rows, signs);
	else if (radix == 8)
		pass_of_8(x, y, rows, NULL);
	else if (signs != NULL)
		pass_of_4(x, y, rows, signs);
	else
		pass_of_4(x, y, rows, NULL);
	if (within)
		for (int row = 0; row < rows; row++)
			transform_row(y + row * 16, scale);
}
