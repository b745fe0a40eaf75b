/*-------------------------------------------------------------------------
 *
 * kernel_private.h
 *	  What the files of this room share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_KERNEL_PRIVATE_H
#define VECDB_KERNEL_PRIVATE_H

#include <string.h>

#include "kernel/kernel.h"

/* The elements summed in float lanes; those behind them are the tail. */
#define KERNEL_BODY(dim)	((dim) & ~(KERNEL_LANES - 1))

typedef enum SumKind
{
	SUM_L2SQ,
	SUM_IP,
	SUM_L1
} SumKind;

/*
 * Rows of up to this dim are interleaved by *_rows.  In longer ones the gain is
 * small, and hopping between them confuses the processor's prefetcher, which
 * from 100 dimensions on costs up to half the speed from memory (README.md).
 */
#define KERNEL_SHORT_ROW	64

/*
 * One panel holds KERNEL_PANEL of the rows y: for each k in turn, component k
 * of each of them.  So a register of the tile's columns is one plain load, and
 * 32 columns are two registers of AVX-512, four of AVX2, eight of NEON.
 */
#define KERNEL_PANEL	32

/* Components of a block, and of one row in the copy the tile reads. */
#define KERNEL_PANEL_DEPTH	384
#define KERNEL_TILE_STRIDE	(KERNEL_PANEL_DEPTH + 16)

/* No level has a tile of more rows. */
#define KERNEL_TILE_MAX_ROWS	12

/*
 * The inner loop of ip_panels: all products of `rows` rows (fixed for each
 * tile function; row r starts at x + r * KERNEL_TILE_STRIDE) with one panel,
 * over depth components.  Sets out[r * ldo + 0 .. KERNEL_PANEL - 1], or adds to
 * it.
 */
typedef void (*KernelTile) (const float *x, const float *panel, int depth,
							float *out, size_t ldo, bool add);

typedef struct KernelTiles
{
	int			rows;			/* rows of the large tile */
	int			small_rows;		/* rows of the small one, for what remains */
	KernelTile	tile;
	KernelTile	small_tile;
} KernelTiles;

/* kernel_panels.c */
extern void kernel_run_panels(const KernelTiles *tiles,
							  const float *x, size_t ldx, int nx,
							  const float *panels, int ny, int dim,
							  float *out, size_t ldo);

/*
 * Half an element to float and back, the meaning of every level's
 * instructions: denormals kept, NaN quiet, to nearest even.
 */
static inline float
kernel_half_to_float(uint16_t half)
{
	uint32_t	bits = (uint32_t) (half & 0x7fff) << 13;
	uint32_t	normal = bits + ((uint32_t) 112 << 23);
	float		denormal = (float) (int32_t) (half & 0x7fff) * 0x1p-24f;
	float		value;

	if (bits >= (uint32_t) 0x7c00 << 13)
		normal += (uint32_t) 112 << 23;
	if (bits > (uint32_t) 0x7c00 << 13)
		normal |= 0x400000;
	if (bits < (uint32_t) 0x400 << 13)
		memcpy(&normal, &denormal, sizeof(normal));
	normal |= (uint32_t) (half & 0x8000) << 16;
	memcpy(&value, &normal, sizeof(value));
	return value;
}

static inline uint16_t
kernel_float_to_half(float value)
{
	uint32_t	bits;
	uint32_t	sign;

	memcpy(&bits, &value, sizeof(bits));
	sign = bits >> 16 & 0x8000;
	bits &= 0x7fffffff;
	if (bits > 0x7f800000)
		return (uint16_t) (sign | 0x7e00 | (bits >> 13 & 0x1ff));
	if (bits >= 0x47800000)		/* 2^16 and infinity */
		return (uint16_t) (sign | 0x7c00);
	if (bits < 0x38800000)		/* below 2^-14: the place of 2^-24 is the last */
	{
		float		shifted;

		memcpy(&shifted, &bits, sizeof(shifted));
		shifted += 0.5f;
		memcpy(&bits, &shifted, sizeof(bits));
		return (uint16_t) (sign | (bits - 0x3f000000));
	}
	bits += 0xfff + (bits >> 13 & 1);
	return (uint16_t) (sign | ((bits - ((uint32_t) 112 << 23)) >> 13));
}

/*
 * The scale of half_pack from the bits of the largest |x|: it brings its
 * exponent to 14.  Neither the scale nor its inverse is denormal.
 */
static inline void
kernel_half_scale(uint32_t largest, float *scale, float *inverse)
{
	int			exponent = (int) (largest >> 23) - 14;	/* biased by 127 */
	uint32_t	bits;

	if (largest == 0)
		exponent = 127;
	else if (exponent < 1)
		exponent = 1;
	else if (exponent > 240)
		exponent = 240;			/* infinity, NaN */
	bits = (uint32_t) exponent << 23;
	memcpy(scale, &bits, sizeof(bits));
	bits = (uint32_t) (254 - exponent) << 23;
	memcpy(inverse, &bits, sizeof(bits));
}

/* How many rows ahead of the one at work dot_i8_ids prefetches */
#define KERNEL_ROWS_AHEAD	4

/* <u, levels> = 2 * (what the set bits sum to) - (2^bits - 1) * sum(levels) */
static inline int32_t
kernel_code_result(int32_t set, int bits, int32_t sum)
{
	return 2 * set - ((1 << bits) - 1) * sum;
}

/* A plane of `narrow` bytes, 8 at least, to where there is room for it; no call for one of a few registers. */
static inline void
kernel_copy_plane(uint8_t *to, const uint8_t *from, size_t narrow)
{
	if (narrow <= 16)
	{
		memcpy(to, from, 8);
		memcpy(to + narrow - 8, from + narrow - 8, 8);
		return;
	}
	for (size_t at = 0; at + 16 < narrow; at += 16)
		memcpy(to + at, from + at, 16);
	memcpy(to + narrow - 16, from + narrow - 16, 16);
}

/* code_dot_picked by a level's code_dot: of codes that are brought together, as wide as that wants them */
static inline void
kernel_dot_picked(void (*code_dot) (const void *mem, int dims, int bits,
									const uint8_t *codes, int n, int32_t *out),
				  const void *mem, int dims, int bits, size_t plane_size,
				  const uint8_t *rows, size_t row_size, const int32_t *picked,
				  int n, int32_t *out)
{
	uint8_t		codes[KERNEL_CODE_MAX_DIMS / 8 * 4];
	size_t		wide = (size_t) dims / 8;
	size_t		size = wide * bits;
	int			most = (int) (sizeof(codes) / size);

	/* what is behind a narrow plane counts for nothing, but shall be something */
	if (plane_size < wide)
		memset(codes, 0, size * (n < most ? n : most));
	while (n > 0)
	{
		int			now = n < most ? n : most;

		for (int i = 0; i < now; i++)
			for (int p = 0; p < bits; p++)
				kernel_copy_plane(codes + i * size + p * wide,
								  rows + (size_t) picked[i] * row_size + p * plane_size, plane_size);
		code_dot(mem, dims, bits, codes, now, out);
		picked += now;
		out += now;
		n -= now;
	}
}

/* kernel_codes_*.c: the functions on codes and bytes of a level */
#define KERNEL_DECLARE_CODES(level) \
extern double level##_quantise(const float *x, int dim, float inverse, \
							   int limit, int8_t *out); \
extern int32_t level##_dot_i8(const int8_t *a, const int8_t *b, int dim); \
extern void level##_dot_i8_ids(const int8_t *q, const void *base, \
							   size_t stride, const uint32_t *ids, int n, \
							   int dim, int32_t *out); \
extern void level##_code_query(const int8_t *levels, int dims, void *mem); \
extern void level##_code_dot(const void *mem, int dims, int bits, \
							 const uint8_t *codes, int n, int32_t *out); \
extern void level##_code_dot_picked(const void *mem, int dims, int bits, \
									size_t plane_size, const uint8_t *rows, \
									size_t row_size, const int32_t *picked, \
									int n, int32_t *out); \
extern void level##_code_estimate(const int32_t *dots, const float *factors, \
								  int n, float step, float base, float *out); \
extern int level##_find_below(const float *values, int n, float limit, \
							  int32_t *below); \
extern int32_t level##_code_pair(const uint8_t *a, const uint8_t *b, \
								 int dims, int bits); \
extern void level##_code_residual(const float *x, const float *c, \
								  const float *mean, int dim, double *rr, \
								  double *rc); \
extern void level##_code_fit(const float *x, const float *c, int dims, \
							 const float inverse[3], float top, double fit[3]); \
extern void level##_code_make(const float *x, const float *c, int dims, \
							  int bits, float inverse, uint8_t *code, \
							  double *ur, double *uc); \
extern void level##_hadamard(const float *x, float *y, int rows, int radix, \
							 const uint32_t *signs, bool within, float scale)

#define KERNEL_CODES(level) \
	.quantise = level##_quantise, \
	.dot_i8 = level##_dot_i8, \
	.dot_i8_ids = level##_dot_i8_ids, \
	.code_query = level##_code_query, \
	.code_dot = level##_code_dot, \
	.code_dot_picked = level##_code_dot_picked, \
	.code_estimate = level##_code_estimate, \
	.find_below = level##_find_below, \
	.code_pair = level##_code_pair, \
	.code_residual = level##_code_residual, \
	.code_fit = level##_code_fit, \
	.code_make = level##_code_make, \
	.hadamard = level##_hadamard

/* kernel_scan_*.c: look-ups in blocks of codes */
#define KERNEL_DECLARE_SCAN(level) \
extern void level##_scan_tables(const float *tables, int groups, \
								uint8_t *lut, float *step, float *bias); \
extern void level##_scan_levels(const int8_t *levels, int groups, \
								uint8_t *lut, int32_t *total, \
								int32_t *most); \
extern void level##_scan_blocks(const uint8_t *lut, int groups, \
								const uint8_t *blocks, size_t stride, int n, \
								int shift, int32_t start, int32_t *sums, \
								int32_t limit, uint32_t *below); \
extern void level##_scan_estimate(const int32_t *sums, int n, float step, \
								  float base, float *out)

#define KERNEL_SCAN(level) \
	.scan_tables = level##_scan_tables, \
	.scan_levels = level##_scan_levels, \
	.scan_blocks = level##_scan_blocks, \
	.scan_estimate = level##_scan_estimate

KERNEL_DECLARE_CODES(scalar);
KERNEL_DECLARE_SCAN(scalar);
#if defined(__x86_64__)
KERNEL_DECLARE_CODES(avx2);
KERNEL_DECLARE_SCAN(avx2);
KERNEL_DECLARE_CODES(avx512);
KERNEL_DECLARE_SCAN(avx512);
KERNEL_DECLARE_CODES(avx512v);
#elif defined(__aarch64__)
KERNEL_DECLARE_CODES(neon);
KERNEL_DECLARE_SCAN(neon);
#endif

/* Sets of groups (kernel.h): 16 groups are four sets of four. */
#define KERNEL_SCAN_SETS	16

/* So many groups add up to 16 bits at most: 1,024 / 4 * 255 = 65,280. */
#define KERNEL_SCAN_PART	1024

/*
 * scan_blocks prefetches so many bytes ahead of the 256 at work: where blocks come from
 * beyond the second-level cache it gains a fifth, else it costs nothing.
 */
#define KERNEL_SCAN_AHEAD	2048

/*
 * What the largest set may add up to before entries are rounded, each by 1 / 2
 * at most and a little for the arithmetic.
 */
#define KERNEL_SCAN_TOP		252.0f

/*
 * For four groups of 16 bytes, of 16 levels: at [i][16 g + value] the place of
 * level i of group g if bit i of value is set, else 255, which shuffles take
 * for 0; at [4][...] the first place of group g.
 */
extern const uint8_t kernel_scan_places[5][64];

/* 1 / the step of a look-up table whose largest set spans `most`; 0: all entries are 0 */
static inline float
kernel_scan_inverse(float most, float *step)
{
	float		inverse = KERNEL_SCAN_TOP / most;

	if (!(inverse <= 0x1.fffffep127f))
	{
		*step = 0;
		return 0;
	}
	*step = most / KERNEL_SCAN_TOP;
	return inverse;
}

/* kernel_scalar.c and its faster relatives */
extern const KernelTable kernel_scalar_table;
#if defined(__x86_64__)
extern const KernelTable kernel_avx2_table;
extern const KernelTable kernel_avx512_table;
extern const KernelTable kernel_avx512v_table;	/* with VPOPCNTDQ and VNNI */
#elif defined(__aarch64__)
extern const KernelTable kernel_neon_table;
#endif

#endif							/* VECDB_KERNEL_PRIVATE_H */
