/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  One face for all codes of an inverted list: pq, opq, rabitq, sq8.
 *
 *-------------------------------------------------------------------------
 */
#include "quant/codec.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "quant/opq.h"

/* Rows whose bounds are computed at once: whole blocks */
#define BATCH	(2 * FASTSCAN_ROWS)

/* A block that is not full may cost an area one row of so many. */
#define BLOCK_COST	32

/* Groups of the codes that have blocks: those of more would fit no page. */
#define MAX_GROUPS	512

/*
 * Rotation and codebooks in turn, so often.  The rotation is learnt with parts of 4 bits, whatever
 * bits the codes have: README.md.
 */
#define OPQ_ITERATIONS	20
#define OPQ_BITS		4

/* Least share of a residual that pq's code must reach along it */
#define MIN_ALONG	0.1

static size_t
aligned(size_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

bool
codec_init(Codec *codec, CodecKind kind, int dim, int bits, int m, uint64_t seed)
{
	if (dim < 1 || dim > ROTATION_MAX_DIM)
		return false;
	memset(codec, 0, sizeof(*codec));
	codec->kind = kind;
	codec->dim = codec->work_dim = codec->code_dims = dim;
	codec->bits = bits;
	codec->m = m;
	codec->seed = seed;
	switch (kind)
	{
		case CODEC_PQ:
		case CODEC_OPQ:
			if ((bits != 4 && bits != 8) || m < 1 || m > dim ||
				(kind == CODEC_OPQ && dim > OPQ_MAX_DIM))
				return false;
			codec->pq = (PqShape) {dim, m, bits};
			codec->nfactors = 2;
			codec->code_size = codec->first_size = pq_code_size(&codec->pq);
			codec->groups = bits == 4 && m <= MAX_GROUPS ? m : 0;
			return true;
		case CODEC_RABITQ:
			if ((bits != 1 && bits != 2 && bits != 4) || m != 0)
				return false;
			codec->work_dim = rotation_padded(dim);
			codec->code_dims = rotation_narrow(dim);
			codec->nfactors = bits == 1 ? 2 : 3;
			codec->code_size = rabitq_code_size(codec->code_dims, bits);
			codec->first_size = rabitq_code_size(codec->code_dims, 1);
			codec->rest_size = codec->code_size - codec->first_size;
			codec->groups = codec->code_dims / 4 <= MAX_GROUPS ? codec->code_dims / 4 : 0;
			return true;
		case CODEC_SQ8:
			if (bits != 8 || m != 0)
				return false;
			codec->code_size = codec->first_size = dim;
			return true;
		case CODEC_NONE:
			break;
	}
	return false;
}

/* State: pq: codebooks | opq: rotation; sq8: least | greatest. */
size_t
codec_state_floats(const Codec *codec)
{
	if (codec_has_parts(codec))
		return pq_codebook_floats(&codec->pq) +
			(codec->kind == CODEC_OPQ ? (size_t) codec->dim * codec->dim : 0);
	return codec->kind == CODEC_SQ8 ? 2 * (size_t) codec->dim : 0;
}

/* Memory: zeros | signs of the rotation. */
size_t
codec_memory(const Codec *codec)
{
	if (codec->kind != CODEC_RABITQ)
		return 0;
	return aligned(sizeof(float) * codec->work_dim) + rotation_size(codec->dim);
}

void
codec_attach(Codec *codec, float *state, void *memory)
{
	codec->state = state;
	if (codec->kind == CODEC_RABITQ)
	{
		codec->zeros = memory;
		memset(codec->zeros, 0, sizeof(float) * codec->work_dim);
		rotation_init_narrow(&codec->rotation, codec->dim, codec->seed,
							 (char *) memory + aligned(sizeof(float) * codec->work_dim));
	}
	else if (codec->kind == CODEC_SQ8)
		codec->range = (Sq8Range) {codec->dim, state, state + codec->dim};
	else if (codec->kind == CODEC_OPQ)
		codec->learnt_rotation = state + pq_codebook_floats(&codec->pq);
}

/* ----------------------------------------------------------------- training */

/* Of the rotation's learning: parts as those of the codes, of few centroids. */
static PqShape
rough_shape(const Codec *codec)
{
	return (PqShape) {codec->dim, codec->m, OPQ_BITS};
}

size_t
codec_space_memory(const Codec *codec, int n)
{
	PqShape		rough = rough_shape(codec);

	return codec->kind == CODEC_OPQ && n >= codec->dim ? opq_train_size(&rough, n) : 0;
}

void
codec_learn_space(Codec *codec, const float *residuals, int n, void *memory,
				  PqInterrupt interrupt, void *arg)
{
	PqShape		rough = rough_shape(codec);
	size_t		dim = (size_t) codec->dim;
	float	   *rotation;

	if (codec->kind != CODEC_OPQ)
		return;
	rotation = codec->state + pq_codebook_floats(&codec->pq);
	if (n >= codec->dim)
	{
		/* the codebooks' place has room for these, which nobody needs afterwards */
		(void) opq_train(&rough, residuals, dim, n, OPQ_ITERATIONS, codec->seed, rotation,
						 codec->state, memory, interrupt, arg);
		return;
	}
	memset(rotation, 0, sizeof(float) * dim * dim);
	for (size_t i = 0; i < dim; i++)
		rotation[i * dim + i] = 1;
}

/* The length of its rows tells enough: a bit that is wrong changes one. */
double
codec_space_skew(const Codec *codec)
{
	double		most = 0;

	for (int i = 0; codec->kind == CODEC_OPQ && i < codec->dim; i++)
	{
		double		off = fabs(kernel->normsq_double(codec->learnt_rotation + (size_t) i * codec->dim,
													 codec->dim) - 1);

		most = off > most ? off : most;
	}
	return most;
}

int
codec_train_parts(const Codec *codec)
{
	return codec_has_parts(codec) ? codec->m : codec->kind == CODEC_SQ8 ? 1 : 0;
}

size_t
codec_train_memory(const Codec *codec, int n)
{
	return codec_has_parts(codec) ? pq_train_size(&codec->pq, n) : 0;
}

void
codec_train(Codec *codec, int part, const float *residuals, int n, void *memory,
			PqInterrupt interrupt, void *arg)
{
	if (codec_has_parts(codec))
		pq_train(&codec->pq, part, residuals, codec->dim, n, codec->seed, codec->state,
				 memory, interrupt, arg);
	else if (codec->kind == CODEC_SQ8)
	{
		sq8_train_begin(&codec->range);
		sq8_train(&codec->range, residuals, codec->dim, n);
		sq8_train_end(&codec->range);
	}
}

/* -------------------------------------------------------------------- codes */

void
codec_transform(const Codec *codec, const float *x, float *out)
{
	if (codec->kind == CODEC_RABITQ)
		rotate(&codec->rotation, x, out);
	else if (codec->kind == CODEC_OPQ)
		opq_rotate(codec->learnt_rotation, codec->dim, x, out);
	else
		memcpy(out, x, sizeof(float) * codec->dim);
}

static inline float
to_factor(double value)
{
	/* a NaN is as far away as can be said */
	return value < FLT_MAX / 4 ? value > -FLT_MAX / 4 ? (float) value : -FLT_MAX / 4 : FLT_MAX / 4;
}

/* Bytes of a plane as kernels want it, of work_dim bits */
static inline size_t
wide_plane(const Codec *codec)
{
	return rabitq_code_size(codec->work_dim, 1);
}

/* rabitq_encode(), without the dimensions that nobody has; wide: a code of all of them */
static void
encode_rabitq(const Codec *codec, const float *residual, int bits, uint8_t *wide,
			  uint8_t *code, RabitqFactor *factor)
{
	rabitq_encode_filled(residual, codec->zeros, NULL, codec->work_dim, codec->work_dim,
						 codec->code_dims, bits, RABITQ_L2, wide, factor);
	for (int p = 0; code != NULL && p < bits; p++)
		memcpy(code + p * codec->first_size, wide + p * wide_plane(codec), codec->first_size);
}

/* |u|^2 of a code of rabitq; wide: memory for a code of all dimensions */
static double
rabitq_normsq(const Codec *codec, const uint8_t *code, uint8_t *wide)
{
	double		most = (1 << codec->bits) - 1;

	memset(wide, 0, codec->bits * wide_plane(codec));
	for (int p = 0; p < codec->bits; p++)
		memcpy(wide + p * wide_plane(codec), code + p * codec->first_size, codec->first_size);
	/* where no bit is set u is -most */
	return rabitq_code_normsq(wide, codec->work_dim, codec->bits) -
		(codec->work_dim - codec->code_dims) * most * most;
}

void
codec_encode(const Codec *codec, const float *x, const float *c, float *scratch,
			 uint8_t *code, float *factors)
{
	float	   *residual = scratch;
	float	   *decoded = scratch + codec->work_dim;

	for (int d = 0; d < codec->work_dim; d++)
		residual[d] = x[d] - c[d];

	switch (codec->kind)
	{
		case CODEC_RABITQ:
			{
				RabitqFactor factor;

				encode_rabitq(codec, residual, codec->bits, (uint8_t *) decoded, code, &factor);
				factors[0] = factor.add;
				factors[codec->nfactors - 1] = factor.mul;
				if (codec->bits > 1)
				{
					/* |r|^2, which is add, is the same; so is the code, which is there already */
					encode_rabitq(codec, residual, 1, (uint8_t *) decoded, NULL, &factor);
					factors[1] = factor.mul;
				}
				break;
			}
		case CODEC_PQ:
		case CODEC_OPQ:
			{
				double		rr = 0;
				double		along = 0;	/* <r', r> */
				double		centre = 0; /* <r', c> */
				double		k;

				(void) pq_encode(&codec->pq, codec->state, residual, code);
				pq_decode(&codec->pq, codec->state, code, decoded);
				for (int d = 0; d < codec->dim; d++)
				{
					rr += (double) residual[d] * residual[d];
					along += (double) decoded[d] * residual[d];
					centre += (double) decoded[d] * c[d];
				}
				/* a code that says next to nothing of r: leave it at |r|^2 */
				k = along > rr * MIN_ALONG ? rr / along : 0;
				factors[0] = to_factor(rr + (codec->groups > 0 ? 0 : 2 * k * centre));
				factors[1] = to_factor(-2 * k);
				break;
			}
		case CODEC_SQ8:
			(void) sq8_encode(&codec->range, residual, code);
			break;
		case CODEC_NONE:
			break;
	}
}

double
codec_quantisation_error(const Codec *codec, const float *x, const float *c,
						 float *scratch, uint8_t *code, float *factors)
{
	const float *residual = scratch;
	float	   *decoded = scratch + codec->work_dim;
	double		error = 0;

	codec_encode(codec, x, c, scratch, code, factors);
	if (codec->kind == CODEC_RABITQ)
	{
		float		mul = factors[codec->nfactors - 1];	/* of the whole code */
		double		along;		/* <u, r> = |r|^2 / k */

		for (int d = 0; d < codec->work_dim; d++)
			error += (double) residual[d] * residual[d];
		if (!(mul < 0))
			return error;
		along = -2 * error / mul;
		error -= along * along / rabitq_normsq(codec, code, (uint8_t *) decoded);
		return error > 0 ? error : 0;
	}
	if (codec_has_parts(codec))
		pq_decode(&codec->pq, codec->state, code, decoded);
	else
		sq8_decode(&codec->range, code, decoded);
	for (int d = 0; d < codec->dim; d++)
	{
		double		off = (double) residual[d] - decoded[d];

		error += off * off;
	}
	return error;
}

/* -------------------------------------------------------------------- areas */

/*
 * Loose rows take longer than a block of as many.  Have another block for them, which is not
 * full, where its empty places cost few rows.
 */
static void
fill_block(const Codec *codec, CodecArea *area)
{
	int			loose = area->rows - area->blocks * FASTSCAN_ROWS;
	size_t		empty = (FASTSCAN_ROWS - loose) * codec->first_size;
	size_t		each = codec_record_size(codec) - codec->first_size;
	int			fewer;

	/* others than rabitq's may have nothing beside that part: each is 0 */
	if (codec->kind != CODEC_RABITQ || codec->groups == 0)
		return;
	fewer = (int) ((empty + each - 1) / each);
	if (loose > fewer && fewer <= area->rows / BLOCK_COST)
	{
		area->rows -= fewer;
		area->blocks++;
	}
}

void
codec_area(const Codec *codec, int most, CodecArea *area)
{
	area->blocks = codec->groups > 0 ? most / FASTSCAN_ROWS : 0;
	area->rows = codec_has_parts(codec) && area->blocks > 0 ? area->blocks * FASTSCAN_ROWS : most;
	fill_block(codec, area);
	area->third_at = sizeof(float) * (codec->nfactors < 2 ? codec->nfactors : 2) * area->rows;
	area->blocks_at = sizeof(float) * codec->nfactors * area->rows;
	area->loose_at = area->blocks_at + fastscan_block_size(codec->groups) * area->blocks;
	area->rest_at = area->loose_at;
	if (area->rows > area->blocks * FASTSCAN_ROWS)
		area->rest_at += codec->first_size * (area->rows - area->blocks * FASTSCAN_ROWS);
	area->size = area->rest_at + codec->rest_size * area->rows;
}

/* The block of a row, or NULL: it is loose. */
static inline uint8_t *
block_of(const Codec *codec, const CodecArea *area, const void *base, int row)
{
	return row >= area->blocks * FASTSCAN_ROWS ? NULL :
		(uint8_t *) base + area->blocks_at +
		(size_t) (row / FASTSCAN_ROWS) * fastscan_block_size(codec->groups);
}

static inline uint8_t *
loose_code(const Codec *codec, const CodecArea *area, const void *base, int row)
{
	return (uint8_t *) base + area->loose_at +
		(size_t) (row - area->blocks * FASTSCAN_ROWS) * codec->first_size;
}

static inline uint8_t *
rest_of(const Codec *codec, const CodecArea *area, const void *base, int row)
{
	return (uint8_t *) base + area->rest_at + (size_t) row * codec->rest_size;
}

static inline float *
two_factors(const void *base, int row)
{
	return (float *) base + 2 * (size_t) row;
}

static inline float *
third_factor(const CodecArea *area, const void *base, int row)
{
	return (float *) ((char *) base + area->third_at) + row;
}

void
codec_put(const Codec *codec, const CodecArea *area, void *to, int row, const void *record)
{
	const uint8_t *code = (const uint8_t *) record + sizeof(float) * codec->nfactors;
	uint8_t    *block = block_of(codec, area, to, row);

	if (codec->nfactors > 0)
		memcpy(two_factors(to, row), record, 2 * sizeof(float));
	if (codec->nfactors > 2)
		memcpy(third_factor(area, to, row), (const char *) record + 2 * sizeof(float), sizeof(float));
	if (block != NULL)
		fastscan_replace(block, codec->groups, row % FASTSCAN_ROWS, code);
	else
		memcpy(loose_code(codec, area, to, row), code, codec->first_size);
	memcpy(rest_of(codec, area, to, row), code + codec->first_size, codec->rest_size);
}

void
codec_get(const Codec *codec, const CodecArea *area, const void *from, int row, void *record)
{
	uint8_t    *code = (uint8_t *) record + sizeof(float) * codec->nfactors;
	const uint8_t *block = block_of(codec, area, from, row);

	if (codec->nfactors > 0)
		memcpy(record, two_factors(from, row), 2 * sizeof(float));
	if (codec->nfactors > 2)
		memcpy((char *) record + 2 * sizeof(float), third_factor(area, from, row), sizeof(float));
	if (block != NULL)
		fastscan_unpack(block, codec->groups, row % FASTSCAN_ROWS, code);
	else
		memcpy(code, loose_code(codec, area, from, row), codec->first_size);
	memcpy(code + codec->first_size, rest_of(codec, area, from, row), codec->rest_size);
}

/* ------------------------------------------------------------------ queries */

/* Memory: residual | pq's tables, or rabitq's levels | look-ups of blocks. */
static size_t
look_ups_at(const Codec *codec)
{
	size_t		size = aligned(sizeof(float) * codec->work_dim);

	if (codec_has_parts(codec))
		size += sizeof(float) * pq_table_floats(&codec->pq);
	else if (codec->kind == CODEC_RABITQ)
		size += rabitq_query_size(codec->work_dim);
	return aligned(size);
}

size_t
codec_query_memory(const Codec *codec)
{
	return look_ups_at(codec) + (codec->groups > 0 ? fastscan_query_size(codec->groups) : 0);
}

void
codec_query_begin(CodecQuery *query, const Codec *codec, const CodecArea *area,
				  const float *q, void *memory)
{
	query->codec = codec;
	query->area = *area;
	query->q = q;
	query->width = query->first_width = query->floor = 0;
	query->scratch = memory;
	query->tables = query->levels = (char *) memory + aligned(sizeof(float) * codec->work_dim);
	query->look_ups = (char *) memory + look_ups_at(codec);
	if (codec_has_parts(codec) && codec->groups == 0)
		pq_tables_ip(&codec->pq, codec->state, q, query->tables);
}

/*
 * rabitq takes a width off by the integers that estimates are made of: whole
 * steps, rounded up.
 */
#define MAX_STEPS	(1 << 30)

/* The rows of a batch, none left out */
#define FOUR(i)		(i), (i) + 1, (i) + 2, (i) + 3
#define SIXTEEN(i)	FOUR(i), FOUR((i) + 4), FOUR((i) + 8), FOUR((i) + 12)
static const int32_t in_order[BATCH] = {SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)};

static int32_t
whole_steps(float width, float step)
{
	double		steps = step > 0 ? ceil((double) width / step) : 0;

	return steps < MAX_STEPS ? (int32_t) steps : MAX_STEPS;
}

void
codec_query_list(CodecQuery *query, const float *c, float base)
{
	const Codec *codec = query->codec;
	float		first_width = codec_has_first(codec) ? query->first_width : query->width;

	query->base = base > 0 ? base : 0;
	query->spread = sqrtf(query->base);
	if (codec_has_parts(codec) && codec->groups == 0)
		return;
	for (int d = 0; d < codec->work_dim; d++)
		query->scratch[d] = query->q[d] - c[d];
	if (codec_has_parts(codec))
	{
		pq_tables_ip(&codec->pq, codec->state, query->scratch, query->tables);
		if (query->area.blocks > 0)
			fastscan_query_tables(&query->scan, query->tables, codec->groups, query->look_ups);
		return;
	}
	if (codec->kind == CODEC_SQ8)
	{
		query->sq8_base = sq8_query_l2sq(&codec->range, query->scratch, query->scratch);
		return;
	}
	rabitq_query_prepare_filled(&query->rabitq, query->scratch, codec->work_dim, codec->code_dims, 1,
								query->levels);
	query->steps = whole_steps(query->width * query->spread, query->rabitq.step);
	query->first_steps = whole_steps(first_width * query->spread, query->rabitq.step);
	if (query->area.blocks == 0)
		return;
	fastscan_query_rabitq(&query->scan, &query->rabitq, codec->groups, query->look_ups);
	query->scan.start += query->first_steps;
}

/* ------------------------------------------------------------------- bounds */

/* Within bounds; a NaN is as near as can be: to be looked at closely. */
static inline float
positive(float value)
{
	return value > 0 ? value < FLT_MAX ? value : FLT_MAX : 0;
}

/* How many of n rows from `first` on lie in blocks. */
static inline int
in_blocks(const CodecArea *area, int first, int n)
{
	int			most = area->blocks * FASTSCAN_ROWS - first;

	return most < 0 ? 0 : most < n ? most : n;
}

static inline int
blocks_for(int rows)
{
	return (rows + FASTSCAN_ROWS - 1) / FASTSCAN_ROWS;
}

/* out[chosen[j]]: raised to what the whole code says; dots: of the first planes */
static void
whole_codes(const CodecQuery *query, const void *area, int first, const int *chosen, int n,
			const int32_t *dots, float *out)
{
	const Codec *codec = query->codec;
	int			planes = codec->bits - 1;
	const float *two = two_factors(area, first);
	const float *third = third_factor(&query->area, area, first);
	int32_t		sums[BATCH];
	RabitqFactor factors[BATCH];
	float		bounds[BATCH];

	rabitq_dots_picked(&query->rabitq, planes, codec->first_size, rest_of(codec, &query->area, area, first),
					   codec->rest_size, chosen, n, sums);
	for (int j = 0; j < n; j++)
	{
		int			row = chosen[j];

		/* a plane is worth twice the next one */
		sums[j] += (dots[row] - query->first_steps) * (1 << planes) + query->steps;
		factors[j].add = two[2 * row];
		factors[j].mul = third[row];
	}
	kernel->code_estimate(sums, &factors[0].add, n, query->rabitq.step, query->base, bounds);
	for (int j = 0; j < n; j++)
	{
		float	   *bound = &out[chosen[j]];

		*bound = bounds[j] > *bound ? bounds[j] : *bound;
	}
}

static int
rabitq_bounds(const CodecQuery *query, const void *area, int first, int n, float limit,
			  float *out, int *below)
{
	const Codec *codec = query->codec;
	int			packed = in_blocks(&query->area, first, n);
	int32_t		dots[BATCH];
	int			count;
	int			kept = 0;

	if (packed > 0)
		fastscan_scan(&query->scan, 0, codec->groups, block_of(codec, &query->area, area, first),
					  fastscan_block_size(codec->groups), blocks_for(packed), dots);
	if (packed < n)
	{
		rabitq_dots_picked(&query->rabitq, 1, codec->first_size,
						   loose_code(codec, &query->area, area, first + packed), codec->first_size,
						   in_order, n - packed, dots + packed);
		for (int i = packed; i < n; i++)
			dots[i] += query->first_steps;
	}
	kernel->code_estimate(dots, two_factors(area, first), n, query->rabitq.step, query->base, out);
	count = kernel->find_below(out, n, limit, below);
	if (count == 0 || !codec_has_first(codec))
		return count;
	whole_codes(query, area, first, below, count, dots, out);
	for (int j = 0; j < count; j++)
	{
		/* no branch: about as many are below as are not */
		below[kept] = below[j];
		kept += out[below[j]] < limit;
	}
	return kept;
}

static int
other_bounds(const CodecQuery *query, const void *area, int first, int n, float limit,
			 float *out, int *below)
{
	const Codec *codec = query->codec;
	float		width = query->width;
	float		far = FLT_MAX;

	if (codec->kind == CODEC_SQ8)
		sq8_estimate_l2sq(&codec->range, query->scratch, query->sq8_base,
						  loose_code(codec, &query->area, area, first), n, out);
	else
	{
		int			packed = in_blocks(&query->area, first, n);
		float		sums[BATCH];

		/* the tables are of -<q, r'>, or of -<q - c, r'> */
		if (packed > 0)
			fastscan_estimate(&query->scan, 0, block_of(codec, &query->area, area, first),
							  fastscan_block_size(codec->groups), blocks_for(packed), sums);
		if (packed < n)
			pq_estimate(&codec->pq, query->tables, 0,
						loose_code(codec, &query->area, area, first + packed), n - packed, sums + packed);
		for (int i = 0; i < n; i++)
		{
			const float *factors = two_factors(area, first + i);

			out[i] = query->base + factors[0] - factors[1] * sums[i];
		}
	}

	/*
	 * Estimates from here on have bounds of limit or more, as has the estimate
	 * itself: no need for the root.
	 */
	if (limit > 0 && limit < FLT_MAX)
	{
		double		root = (width + sqrt((double) width * width + 4.0 * limit)) / 2;

		far = (float) (root * root * 1.0001);
	}
	for (int i = 0; i < n; i++)
	{
		float		estimate = positive(out[i]);

		out[i] = estimate;
		if (width > 0 && estimate <= query->floor)
			out[i] = 0;
		else if (width > 0 && estimate < far)
			out[i] = estimate - width * sqrtf(estimate);
	}
	return kernel->find_below(out, n, limit, below);
}

int
codec_bounds(const CodecQuery *query, const void *area, int first, int n, float limit,
			 float *out, int *below)
{
	int			total = 0;

	for (int i = 0; i < n; i += BATCH)
	{
		int			now = n - i < BATCH ? n - i : BATCH;
		int			count = query->codec->kind == CODEC_RABITQ ?
			rabitq_bounds(query, area, first + i, now, limit, out + i, below + total) :
			other_bounds(query, area, first + i, now, limit, out + i, below + total);

		for (int j = 0; i > 0 && j < count; j++)
			below[total + j] += i;
		total += count;
	}
	return total;
}

float
codec_estimate(const CodecQuery *query, const void *area, int row, float bound)
{
	const Codec *codec = query->codec;

	if (codec->kind == CODEC_RABITQ)
	{
		float		mul = codec_has_first(codec) ? *third_factor(&query->area, area, row) :
			two_factors(area, row)[1];
		int32_t		steps = codec_has_first(codec) ? query->steps : query->first_steps;

		return bound - mul * (query->rabitq.step * (float) steps);
	}
	else
	{
		/* bound = E - width sqrt(E) */
		float		width = query->width;
		float		root = (width + sqrtf(positive(width * width + 4 * bound))) / 2;

		return root * root;
	}
}

float
codec_error(const CodecQuery *query, const float *factors, bool is_first, float estimate,
			float truth)
{
	const Codec *codec = query->codec;
	float		unit = codec->kind == CODEC_RABITQ ?
		query->spread * -factors[is_first ? 1 : codec->nfactors - 1] :
		sqrtf(positive(estimate));
	float		off = estimate - truth;

	return unit > 0 ? off / unit : off > 0 ? FLT_MAX : 0;
}
