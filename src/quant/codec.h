/*-------------------------------------------------------------------------
 *
 * codec.h
 *	  One face for all codes of an inverted list: pq, opq, rabitq, sq8.
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 * Every codec codes r = x - c, the residual of a value and the centre c of its
 * list, and estimates E = |q - x|^2, the squared distance, from the code, some
 * floats beside it (factors) and base = |q - c|^2, which whoever ranked the
 * lists knows:
 *
 *	KIND			FACTORS				ESTIMATE
 *	CODEC_RABITQ	add, first, mul		base + add + mul <u, q - c>		(rabitq.h)
 *	CODEC_PQ		add, mul			base + add + mul <q, r'>
 *	CODEC_OPQ		add, mul			the same, after a rotation (opq.h)
 *	CODEC_SQ8		-					|(q - c) - r'|^2
 *
 * (rabitq of 1 bit: add, mul.)
 *
 * r' is what a code stands for.  pq does with it what rabitq does with its u: with
 * k = |r|^2 / <r', r>, k r' has no error along r itself, so that near neighbours,
 * whose q - c is much like r, are not put too far away; add = |r|^2 + 2 k <c, r'>,
 * mul = -2 k.  So the tables of products depend on the query alone, not on the
 * list.  Not so where they are to be turned into small integers (blocks, below): of
 * data far from the origin <q, r'> is large, and so would be what rounding loses;
 * there, each list has its tables, of <q - c, r'>, and add = |r|^2.
 *
 * Other metrics come down to this one: see ivf/ivf_codec.c.
 *
 * An estimate is off by some part of a width; the bound is what is left of it
 * when `width` units are taken off.  The unit follows the errors' size from
 * row to row and list to list:
 *
 *	CODEC_RABITQ				sqrt(base) |mul|	(|q - c| times |r|, nearly)
 *	the others					sqrt(E)
 *
 * How many units hold which share of the errors is measured (codec_error()).
 * Where q is x itself, or nearly, sq8 estimates the square of the code's error
 * and not 0, which is no matter of units: an estimate below `floor` has the bound
 * 0.  (The others have no error along the residual.)
 *
 * Two estimates: the first plane of a rabitq code of several bits is one of 1 bit
 * (rabitq.h), whose factors are add and first.  A row's bound is the greater of the
 * two that its first plane and its code give; where the first one says that a row is
 * too far away, nobody looks at the rest of its code.
 *
 * Codes are kept in areas for a fixed number of rows (CodecArea); those whose
 * numbers of 4 bits a shuffle can look up lie in blocks of 32 rows there
 * (fastscan.h): pq's of 4 bits, and the first plane of rabitq's.
 *
 * "Codec's space": rabitq works on rotated vectors of code_dims floats, padded to work_dim with zeros (a narrow
 * rotation, rotation.h); opq on
 * vectors rotated as it has learnt; the others on vectors as they are.  pq is said for
 * both where they are the same.  Codes and factors are the same at every SIMD
 * level, to the last bit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_CODEC_H
#define VECDB_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/fastscan.h"
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
	CODEC_SQ8 = 3,
	CODEC_OPQ = 4
} CodecKind;
#define CODEC_LAST CODEC_OPQ

#define CODEC_MAX_FACTORS	3

typedef struct Codec
{
	CodecKind	kind;
	int			dim;
	int			bits;			/* rabitq: 1, 2, 4 a dimension; pq: 4, 8 a
								 * part; sq8: 8 */
	int			m;				/* pq: parts; otherwise 0 */
	uint64_t	seed;			/* of the rotation, or of the training */

	int			work_dim;		/* floats of a vector in the codec's space ... */
	int			code_dims;		/* ... and so many at its front may differ
								 * from 0 */
	int			nfactors;		/* floats beside each code */
	size_t		code_size;		/* bytes: */
	size_t		first_size;		/* of the part that blocks may hold, or of all */
	size_t		rest_size;		/* of what comes behind it */
	int			groups;			/* numbers of 4 bits in that part; 0: in no
								 * block */

	/* set by codec_attach() */
	PqShape		pq;
	Rotation	rotation;
	Sq8Range	range;
	const float *learnt_rotation;	/* opq: in the state, behind the codebooks */
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
 * First of all, opq learns its space from n residuals of dim floats each, as they are;
 * one process does.  From fewer than dim of them there is nothing to be learnt: the space
 * stays theirs.  memory: codec_space_memory() bytes, 0 where a codec's space is given.
 */
extern size_t codec_space_memory(const Codec *codec, int n);
extern void codec_learn_space(Codec *codec, const float *residuals, int n, void *memory,
							  PqInterrupt interrupt, void *arg);

/* How far from a rotation is what opq has learnt?  0 of other codecs. */
extern double codec_space_skew(const Codec *codec);

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

/*
 * An area: factors and codes of up to `rows` rows, at a multiple of 4 bytes.
 *
 *	OFFSET		SIZE						DESCRIPTION
 *	0			8 * rows					factors, the first two of each row (if any)
 *	third_at	4 * rows					the third of each row (if any)
 *	blocks_at	16 * groups * blocks		first parts of codes, of 32 * blocks rows (or of all)
 *	loose_at	first_size * the others		of the rows behind them, one after the other
 *	rest_at		rest_size * rows			the rest of the codes
 */
typedef struct CodecArea
{
	int			rows;
	int			blocks;
	size_t		third_at;
	size_t		blocks_at;
	size_t		loose_at;
	size_t		rest_at;
	size_t		size;			/* at most codec_record_size() for each row
								 * asked for */
} CodecArea;

/*
 * An area for `most` rows, or for somewhat fewer: of pq, whose rows are all in
 * blocks, if one is full, since others take many times as long; of rabitq where a
 * block that is not full costs little.
 */
extern void codec_area(const Codec *codec, int most, CodecArea *area);

/* A row on its own: factors, then the code, at any address. */
static inline size_t
codec_record_size(const Codec *codec)
{
	return sizeof(float) * codec->nfactors + codec->code_size;
}

extern void codec_put(const Codec *codec, const CodecArea *area, void *to, int row,
					  const void *record);
extern void codec_get(const Codec *codec, const CodecArea *area, const void *from,
					  int row, void *record);

/*
 * A query, and the list it is at.  The caller sets what is said to be his after
 * codec_query_begin(), which sets 0, and before codec_query_list().
 */
typedef struct CodecQuery
{
	const Codec *codec;
	CodecArea	area;			/* of all codes it will meet */
	const float *q;				/* in the codec's space, the caller's */
	float		width;			/* to take off estimates; the caller's */
	float		first_width;	/* the same of those of first planes; the
								 * caller's */
	float		floor;			/* the caller's */
	float	   *scratch;		/* residual, or what sq8 keeps */
	float	   *tables;			/* pq */
	void	   *levels;			/* rabitq */
	void	   *look_ups;		/* of scan */
	RabitqQuery rabitq;
	FastscanQuery scan;
	int32_t		steps;			/* width and first_width of rabitq, in steps */
	int32_t		first_steps;
	float		base;
	float		sq8_base;
	float		spread;			/* sqrt(base) */
} CodecQuery;

/* memory: codec_query_memory() bytes at a multiple of 64. */
extern size_t codec_query_memory(const Codec *codec);
extern void codec_query_begin(CodecQuery *query, const Codec *codec, const CodecArea *area,
							  const float *q, void *memory);

/*
 * From now on codes of the list of centre c; base: |q - c|^2.  Of what the codec has
 * learnt the first codec_lists_floats() must be there still.
 */
extern void codec_query_list(CodecQuery *query, const float *c, float base);

/*
 * Finds the bounds of n rows of an area from row `first` on, a multiple of 32: the
 * estimates where the widths are 0.  Never NaN.  Returns how many are below limit; of
 * the i-th of them below[i] is the row, counted from first, and out[below[i]] the bound.
 * The rest of out may be any other value that is not below limit.  -INFINITY: what first
 * planes say, in all of out.
 */
extern int	codec_bounds(const CodecQuery *query, const void *area, int first, int n,
						 float limit, float *out, int *below);

/* About the estimate that the bound of a row of an area was made of. */
extern float codec_estimate(const CodecQuery *query, const void *area, int row, float bound);

/*
 * By how many units is an estimate above the truth?  factors: the row's; is_first:
 * it is of the first plane.
 */
extern float codec_error(const CodecQuery *query, const float *factors, bool is_first,
						 float estimate, float truth);

/* Codes of parts, which codebooks tell */
static inline bool
codec_has_parts(const Codec *codec)
{
	return codec->kind == CODEC_PQ || codec->kind == CODEC_OPQ;
}

/* How much of the state that work needs, from its beginning: codebooks, not the rotation. */
static inline size_t
codec_lists_floats(const Codec *codec)
{
	if (codec_has_parts(codec))
		return codec->groups > 0 ? pq_codebook_floats(&codec->pq) : 0;
	return codec->kind == CODEC_SQ8 ? 2 * (size_t) codec->dim : 0;
}

/* Has the codec two estimates? */
static inline bool
codec_has_first(const Codec *codec)
{
	return codec->rest_size > 0;
}

#endif							/* VECDB_CODEC_H */
