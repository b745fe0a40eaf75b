/*-------------------------------------------------------------------------
 *
 * kernel.h
 *	  Distances on plain arrays, one implementation per instruction set.
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
#include <stdint.h>

#define KERNEL_LANES 32
#define KERNEL_TAIL_LANES 8
#define KERNEL_CODE_LANES 16

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

	/*
	 * [exact] Half precision with a scale: element i is (float) half[i] *
	 * scale, rounded to float.  l2sq_half and ip_half have the bits of l2sq
	 * and ip of q with those elements.
	 */
	float		(*l2sq_half) (const float *q, const uint16_t *half, float scale,
							  int dim);
	float		(*ip_half) (const float *q, const uint16_t *half, float scale,
							int dim);
	void		(*half_unpack) (const uint16_t *half, float scale, int dim,
								float *out);

	/*
	 * [exact] Sets scale to a power of two and half[i] to x[i] / scale, to
	 * nearest even.  The largest |half[i]| lies in [2^14, 2^15], so elements
	 * down to 2^-28 of it keep 11 bits, and smaller ones are off by 2^-40 of
	 * it at most.  All zero: scale 1.
	 */
	void		(*half_pack) (const float *x, int dim, uint16_t *half,
							  float *scale);

	/*
	 * [exact] out[i] = x[i] * inverse, rounded to nearest even and clamped to
	 * -limit .. limit (1 .. 127).  NaN gives limit.  Returns sum x * out, in
	 * double (KERNEL_CODE_LANES of them, as below).
	 */
	double		(*quantise) (const float *x, int dim, float inverse, int limit,
							 int8_t *out);

	/*
	 * [exact] sum a*b; dim a multiple of 64, elements -127 .. 127 (never
	 * -128).
	 */
	int32_t		(*dot_i8) (const int8_t *a, const int8_t *b, int dim);

	/*
	 * [exact] out[i] = dot_i8(q, row ids[i]), where row j starts at (char *)
	 * base + j * stride.  Several rows are under way at once, so they may
	 * come from anywhere in memory.
	 */
	void		(*dot_i8_ids) (const int8_t *q, const void *base, size_t stride,
							   const uint32_t *ids, int n, int dim,
							   int32_t *out);

	/*
	 * Codes (quant/rabitq.h) against a query of small integers.  dims is a
	 * multiple of 128, at most KERNEL_CODE_MAX_DIMS; bits 1, 2 or 4.
	 *
	 * code_query lays out the levels (-7 .. 7) as this level wants them, in
	 * kernel_code_query_size(dims) bytes at a multiple of 64: for code_dot of
	 * this same level, not for another one's.
	 *
	 * code_dot [exact]: out[i] = <u_i, levels> for n contiguous codes of dims
	 * / 8 * bits bytes, at any address.  No byte behind the last is read.
	 */
	void		(*code_query) (const int8_t *levels, int dims, void *mem);
	void		(*code_dot) (const void *mem, int dims, int bits,
							 const uint8_t *codes, int n, int32_t *out);

	/*
	 * [exact] The same of rows picked from an array, whose codes may be narrow: row
	 * picked[i] starts at rows + picked[i] * row_size, and has `bits` (1 to 4) planes of
	 * plane_size bytes each (8 to dims / 8), for the first 8 * plane_size dimensions.  Levels of
	 * the others must be 0.  No byte behind a row's planes is read.
	 */
	void		(*code_dot_picked) (const void *mem, int dims, int bits,
									size_t plane_size, const uint8_t *rows,
									size_t row_size, const int32_t *picked,
									int n, int32_t *out);

	/*
	 * [exact] out[i] = (base + add_i) + mul_i * (step * dots[i]), each step
	 * rounded to float; factors holds add_i and mul_i in turn.  What would be
	 * infinite becomes +-FLT_MAX, a NaN -FLT_MAX (to be looked at closely).
	 */
	void		(*code_estimate) (const int32_t *dots, const float *factors,
								  int n, float step, float base, float *out);

	/*
	 * [exact] below[0 ..]: the numbers, ascending, of those of n values that are
	 * below limit; returns how many.  There must be room for n.
	 */
	int			(*find_below) (const float *values, int n, float limit, int32_t *below);

	/* [exact] <u_a, u_b> of two codes */
	int32_t		(*code_pair) (const uint8_t *a, const uint8_t *b, int dims,
							  int bits);

	/*
	 * Blocks of 32 codes of 4-bit numbers (quant/fastscan.h has the layout):
	 * `groups` numbers a code, 0 .. KERNEL_SCAN_MAX_GROUPS; 16 bytes of a
	 * block for each, and 16 bytes of the query's look-up table, which says
	 * what each of the 16 values adds.  The look-up table is the same at
	 * every level, has kernel_scan_lut_size(groups) bytes, and ends in zeros.
	 * Groups 16 s + c, + 4, + 8 and + 12 (c < 4) are a set: what they add
	 * together must not exceed 255, so a level may add up a set in bytes. All
	 * [exact].
	 *
	 * scan_tables: the look-up table of 16 floats for each group.  An entry
	 * is the float less the smallest one of its group, over step, to nearest
	 * even; bias is the sum of the smallest, in KERNEL_CODE_LANES doubles. So
	 * what a code's floats add up to is bias + step * its sum, off by step /
	 * 2 for each group at most.  The step is the least that keeps the rule of
	 * sets.  Floats beyond +-KERNEL_SCAN_LIMIT count as that, NaN as the
	 * largest.
	 *
	 * scan_levels: that of the levels of a query (-63 .. 63), four to a
	 * group, groups a multiple of 16: an entry is the sum of the levels whose
	 * bit is set, less all negative ones.  So <u, levels> = 2 * sum - total
	 * for a code u of -1 and 1, total being the sum of |levels|.  most is
	 * what the largest set may add up to, for the caller to judge.
	 *
	 * scan_blocks: n blocks, one each `stride` bytes, at any address; sums[32
	 * i + r] = start + (the sum of row r of block i << shift).  No byte
	 * beyond the last block is read.  A part of all groups may be scanned,
	 * with its part of the look-up table, if it begins and ends at a multiple
	 * of 16 groups, or ends at the last one.
	 *
	 * If below is not NULL, bit r of below[i] says whether sums[32 i + r] <
	 * limit.
	 *
	 * scan_estimate: out[i] = base + step * sums[i], each step rounded.
	 */
	void		(*scan_tables) (const float *tables, int groups, uint8_t *lut,
								float *step, float *bias);
	void		(*scan_levels) (const int8_t *levels, int groups, uint8_t *lut,
								int32_t *total, int32_t *most);
	void		(*scan_blocks) (const uint8_t *lut, int groups,
								const uint8_t *blocks, size_t stride, int n,
								int shift, int32_t start, int32_t *sums,
								int32_t limit, uint32_t *below);
	void		(*scan_estimate) (const int32_t *sums, int n, float step,
								  float base, float *out);

	/*
	 * What quant/rabitq.c makes codes of; r_i = x_i - c_i, rounded to float.
	 * Sums in KERNEL_CODE_LANES accumulators in double (element i goes to
	 * lane i % KERNEL_CODE_LANES; lane j takes j + 8, j + 4, j + 2, j + 1),
	 * dim a multiple of 128.  All [exact].
	 *
	 * code_residual: sum r r and, if rc is not NULL, sum r (c + mean) in
	 * double; mean NULL: zero.
	 *
	 * code_fit: for three steps, how well u fits r: (sum u r)^2 / (sum u u),
	 * u being +-(2 level + 1) where level is |r| * inverse, at most top (1 or
	 * 7), cut to an integer.  Float lanes.  Here dims may be any multiple of 16.
	 *
	 * code_make: the code of bits planes of dims / 8 bytes, and sum u r and
	 * sum u c. inverse is for bits > 1; 0 <= |r| * inverse < infinity.
	 */
	void		(*code_residual) (const float *x, const float *c,
								  const float *mean, int dim,
								  double *rr, double *rc);
	void		(*code_fit) (const float *x, const float *c, int dims,
							 const float inverse[3], float top, double fit[3]);
	void		(*code_make) (const float *x, const float *c, int dims, int bits,
							  float inverse, uint8_t *code, double *ur, double *uc);

	/*
	 * [exact] One pass of a rotation (quant/rotation.c).  x and y are `rows`
	 * (a multiple of 8) rows of 16 floats, and must not overlap.  If signs is
	 * given, its sign bits are first flipped into x.  Then row radix * i + c
	 * of y becomes the sum over k < radix (4 or 8) of H[c][k] x[i + k * rows
	 * / radix], H being Hadamard's matrix, taken by halves (k with k + radix
	 * / 2, and so on).  If within, each row is then transformed likewise
	 * (16), and multiplied by scale.
	 */
	void		(*hadamard) (const float *x, float *y, int rows, int radix,
							 const uint32_t *signs, bool within, float scale);
} KernelTable;

#define KERNEL_CODE_MAX_DIMS	16384

/* Bytes for code_query(), whatever the level. */
static inline size_t
kernel_code_query_size(int dims)
{
	return 64 + (size_t) dims * 4;
}

#define KERNEL_SCAN_ROWS		32	/* of a block */
#define KERNEL_SCAN_MAX_GROUPS	4096
#define KERNEL_SCAN_LIMIT		0x1p100f

/* Bytes of a look-up table of scan_blocks(): whole sets. */
static inline size_t
kernel_scan_lut_size(int groups)
{
	return ((size_t) groups + 15) / 16 * 256;
}

/* The level in use: scalar until kernel_init(), never NULL. */
extern const KernelTable *kernel;

/* Choose the best level this processor has.  Called once, at load. */
extern void kernel_init(void);

/* The table of a level, or NULL when this build or processor lacks it. */
extern const KernelTable *kernel_table(KernelLevel level);

/*
 * The same level as a processor would run it that has nothing beyond what the
 * level asks for (AVX-512 without VPOPCNTDQ and VNNI); mostly the same table.
 * For tests.
 */
extern const KernelTable *kernel_plain_table(KernelLevel level);

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
