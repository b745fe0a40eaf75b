/*-------------------------------------------------------------------------
 *
 * fastscan.h
 *	  Codes of 4-bit numbers in blocks of 32 rows, so that a shuffle looks up
 *	  one number of 16 to 64 rows at once (Andre, Kermarrec, Le Scouarnec:
 *	  Cache locality is not enough, VLDB 2015; the layout is that every level
 *	  of src/kernel reads).
 *
 * A code is a string of `groups` numbers of 4 bits, number g being the low half
 * (g even) or the high half of byte g / 2: so is a PQ code of 4 bits (a number
 * for each part), and so is a RaBitQ code of 1 bit (one for four dimensions,
 * code_dims / 4 in all).
 *
 * A block of 32 such codes, 16 * groups bytes, at any address:
 *
 *	OFFSET		SIZE	DESCRIPTION
 *	16 g + j	1		(g < groups, j < 16) number g of row j in the low half,
 *						of row j + 16 in the high half
 *
 * Numbers of rows that are not there may be anything; fastscan_pack() writes 0.
 * A block may be cut at multiples of 16 groups, and the parts scanned one by
 * one (fastscan_scan()).
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_FASTSCAN_H
#define VECDB_FASTSCAN_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "quant/rabitq.h"

#define FASTSCAN_ROWS	KERNEL_SCAN_ROWS

static inline size_t
fastscan_block_size(int groups)
{
	return (size_t) groups * (FASTSCAN_ROWS / 2);
}

/* Bytes of a code on its own */
static inline size_t
fastscan_code_size(int groups)
{
	return ((size_t) groups + 1) / 2;
}

/* n <= 32 codes, one each `stride` bytes, become rows 0 .. n - 1 of a block. */
extern void fastscan_pack(const uint8_t *codes, size_t stride, int n,
						  int groups, uint8_t *block);

/* The code of one row of a block */
extern void fastscan_unpack(const uint8_t *block, int groups, int row,
							uint8_t *code);

/* Makes code that of one row of a block. */
extern void fastscan_replace(uint8_t *block, int groups, int row,
							 const uint8_t *code);

/* Exchanges a row of a block with a row of the same or another one. */
extern void fastscan_exchange(uint8_t *a, int row_a, uint8_t *b, int row_b,
							  int groups);

/*
 * A query: what each value of each number adds, in small integers.  Made of PQ
 * tables or of a RaBitQ query, and good for estimates of that kind alone.
 */
typedef struct FastscanQuery
{
	int			groups;
	int			shift;			/* integers are start + (sum << shift) */
	int32_t		start;
	float		step;			/* what an integer is worth */
	float		bias;			/* PQ: what a sum of 0 stands for */
	uint8_t    *lut;			/* the same at every SIMD level */
} FastscanQuery;

/* Bytes of `mem` for a query; faster at a multiple of 64. */
extern size_t fastscan_query_size(int groups);

/*
 * Of 16 floats for each of `groups` numbers, such as those of pq_tables_l2sq().
 * Estimates differ from the sum of the floats by query->step / 2 for each
 * group at most, and about sqrt(groups / 12) steps as a rule.
 */
extern void fastscan_query_tables(FastscanQuery *query, const float *tables,
								  int groups, void *mem);

/* out[32 i + r] = base + the estimate of row r of block i */
extern void fastscan_estimate(const FastscanQuery *query, float base,
							  const uint8_t *blocks, size_t stride, int n,
							  float *out);

/*
 * For those who want the nearest rows only: integers, and bit r of below[i] set
 * for each row r of block i whose estimate is below limit, and for some whose
 * estimate is a few steps above.  The estimate is fastscan_value(), the same bits as fastscan_estimate()'s.
 */
extern void fastscan_below(const FastscanQuery *query, float base, float limit,
						   const uint8_t *blocks, size_t stride, int n,
						   int32_t *sums, uint32_t *below);

static inline float
fastscan_value(const FastscanQuery *query, float base, int32_t sum)
{
	return (base + query->bias) + query->step * (float) sum;
}

/*
 * Of a RaBitQ query for codes of one bit.  Integers, and so estimates, are those of
 * rabitq_estimate() with the same query, to the last bit: a row's estimate does
 * not change when it is packed.  Blocks have the first `groups` groups of the codes; what is behind these
 * must be 0 in the query.
 */
extern void fastscan_query_rabitq(FastscanQuery *query, const RabitqQuery *rabitq,
								  int groups, void *mem);

/*
 * The same from the rotated query itself, in steps of a tenth of its root mean
 * square instead of a third: what the query's rounding adds to the error of
 * estimates falls to a quarter.  Estimates are not those of rabitq_estimate().
 */
extern void fastscan_query_fine(FastscanQuery *query, const float *q,
								int code_dims, void *mem);

/*
 * out[32 i + r] = base + add + mul * <u, q> of row r of block i, as
 * rabitq_estimate(); the 32 factors of block i start factors_stride bytes behind
 * those of block i - 1.
 */
extern void fastscan_estimate_rabitq(const FastscanQuery *query, float base,
									 const uint8_t *blocks, size_t stride,
									 const RabitqFactor *factors,
									 size_t factors_stride, int n, float *out);

/*
 * Integers alone, of a part of each block: groups first .. first + groups - 1
 * (first a multiple of 16; groups, too, unless it is the last part).  The first
 * part sets sums[32 i + r], the others add to them.
 */
extern void fastscan_scan(const FastscanQuery *query, int first, int groups,
						  const uint8_t *blocks, size_t stride, int n,
						  int32_t *sums);

#endif							/* VECDB_FASTSCAN_H */
