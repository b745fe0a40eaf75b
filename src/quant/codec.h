/*-------------------------------------------------------------------------
 *
 * codec.h
 *	  One face for all codes of an inverted list: pq, rabitq, sq8.
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 * Every codec codes r = x - c, the residual of a value and the centre c of its
 * list, and estimates E = |q - x|^2, the squared distance, from the code, some
 * floats beside it (factors) and base = |q - c|^2, which whoever ranked the
 * lists knows:
 *
 *	KIND			FACTORS		ESTIMATE
 *	CODEC_RABITQ	add, mul	base + add + mul <u, q - c>		(rabitq.h)
 *	CODEC_PQ		add, mul	base + add + mul <q, r'>
 *	CODEC_SQ8		-			|(q - c) - r'|^2
 *
 * r' is what a code stands for.  pq does with it what rabitq does with its u: with
 * k = |r|^2 / <r', r>, k r' has no error along r itself, so that near neighbours,
 * whose q - c is much like r, are not put too far away; add = |r|^2 + 2 k <c, r'>,
 * mul = -2 k.  The tables of products depend on the query alone,
 * not on the list.
 *
 * Other metrics come down to this one: see ivf/ivf_codec.c.
 *
 * An estimate is off by some part of a width; the bound is what is left of it
 * when `width` units are taken off.  The unit follows the errors' size from
 * row to row and list to list:
 *
 *	CODEC_RABITQ				sqrt(base) |mul|	(|q - c| times |r|, nearly)
 *	CODEC_PQ, CODEC_SQ8			sqrt(E)
 *
 * How many units hold which share of the errors is measured (codec_error()).
 * Where q is x itself, or nearly, sq8 estimates the square of the code's error
 * and not 0, which is no matter of units: an estimate below `floor` has the bound
 * 0.  (The others have no error along the residual.)
 *
 * "Codec's space": rabitq works on rotated vectors, padded to work_dim floats; the
 * others on vectors as they are.  Codes and factors are the same at every SIMD
 * level, to the last bit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_CODEC_H
#define VECDB_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/pq.h"
#include "quant/rabitq.h"
#include "quant/rotation.h"
#include "quant/sq8.h"

/* Stored in metapages: do not renumber. */
typedef enum CodecKind
{
	CODEC_NONE = 0,				/* values as they are (ivfflat) */
	CODEC_PQ = 1,
	CODEC_RABITQ = 2,
	CODEC_SQ8 = 3
} CodecKind;
#define CODEC_LAST CODEC_SQ8

#define CODEC_MAX_FACTORS	2

typedef struct Codec
{
	CodecKind	kind;
	int			dim;
	int			bits;			/* rabitq: 1, 2, 4 a dimension; pq: 4, 8 a part; sq8: 8 */
	int			m;				/* pq: parts; otherwise 0 */
	uint64_t	seed;			/* of the rotation */

	int			work_dim;		/* floats of a vector in the codec's space */
	int			nfactors;		/* floats beside each code */
	size_t		code_size;		/* bytes */

	/* set by codec_attach() */
	PqShape		pq;
	Rotation	rotation;
	Sq8Range	range;
	float	   *state;			/* what was learnt: codec_state_floats() */
	float	   *zeros;
} Codec;

/*
 * Set kind, dim, bits, m, seed and what follows from them; false when they
 * cannot be.
 */
extern bool codec_init(Codec *codec, CodecKind kind, int dim, int bits, int m, uint64_t seed);

/* Floats of what the codec learns from data (0: nothing), as it is stored. */
extern size_t codec_state_floats(const Codec *codec);

/* Bytes of memory beside the state; then both may be attached and used. */
extern size_t codec_memory(const Codec *codec);
extern void codec_attach(Codec *codec, float *state, void *memory);

/*
 * Learn the state from n residuals of dim floats each, in the codec's space: by
 * parts 0 .. codec_train_parts() - 1, in any order and by any process (one at
 * a time gets the memory, codec_train_memory() bytes).
 */
extern int	codec_train_parts(const Codec *codec);
extern size_t codec_train_memory(const Codec *codec, int n);
extern void codec_train(Codec *codec, int part, const float *residuals, int n,
						void *memory, PqInterrupt interrupt, void *arg);

/* x (dim floats) into the codec's space, work_dim floats; no overlap. */
extern void codec_transform(const Codec *codec, const float *x, float *out);

/*
 * The code and the factors of x in the list of centre c, both in the codec's
 * space.  scratch: 2 * work_dim floats.
 */
extern void codec_encode(const Codec *codec, const float *x, const float *c,
						 float *scratch, uint8_t *code, float *factors);

/*
 * The quantisation error of x in that list: |r - r'|^2, where r' is what the code
 * stands for (rabitq: the multiple of u that is nearest to r).  code, factors and
 * scratch are used up.
 */
extern double codec_quantisation_error(const Codec *codec, const float *x, const float *c,
									   float *scratch, uint8_t *code, float *factors);

/* A query, and the list it is at. */
typedef struct CodecQuery
{
	const Codec *codec;
	const float *q;				/* in the codec's space, the caller's */
	float	   *scratch;		/* residual, or what sq8 keeps */
	float	   *tables;			/* pq */
	void	   *levels;			/* rabitq */
	RabitqQuery rabitq;
	float		base;
	float		sq8_base;
	float		spread;			/* sqrt(base) */
	float		floor;			/* the caller's, after codec_query_begin(), which sets 0 */
} CodecQuery;

/* memory: codec_query_memory() bytes at a multiple of 64. */
extern size_t codec_query_memory(const Codec *codec);
extern void codec_query_begin(CodecQuery *query, const Codec *codec, const float *q,
							  void *memory);

/* From now on codes of the list of centre c; base: |q - c|^2. */
extern void codec_query_list(CodecQuery *query, const float *c, float base);

/*
 * out[i] = the estimate less `width` units, for n contiguous codes; their
 * factors are nfactors floats each.  Never NaN.
 */
extern void codec_estimate(const CodecQuery *query, float width, const uint8_t *codes,
						   const float *factors, int n, float *out);

/* By how many units is an estimate (width 0) above the truth? */
extern float codec_error(const CodecQuery *query, const float *factors, float estimate,
						 float truth);

#endif							/* VECDB_CODEC_H */
