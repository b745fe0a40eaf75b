/*-------------------------------------------------------------------------
 *
 * ivf_codec.c
 *	  The codes of ivfpq: which codec an index has, a row's code, how wide
 *	  its estimates' error is.
 *
 * A code is of the residual under L2 (quant/codec.h).  Cosine and inner product
 * code the value's direction x / |x|, against the list's centroid, which has unit
 * length, too; with E = |q/|q| - x/|x||^2
 *
 *	cosine distance			= E / 2
 *	negative inner product	= |q| |x| (E / 2 - 1)
 *
 * for which inner product keeps |x| beside the code.  So values of very
 * different lengths do no harm, residuals are short (a value of length 5 is no 4
 * away from its centroid), and each codec has one formula to get right.
 *
 * An index born empty has one list whose centre is zero, and nothing to learn
 * from: its codes are rabitq's, which needs no training, whatever was asked for,
 * until VACUUM trains it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/table.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "am/heap.h"
#include "compat.h"
#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/assign.h"
#include "quant/opq.h"
#include "quant/random.h"

#define CODEC_SEED		0x69766671

/* of ivf_calibrate_codec() */
#define ERROR_NEIGHBOURS	10
#define ERROR_QUERIES		256
#define ERROR_WORK			(2e9)	/* multiplications */

/*
 * Rows from which opq learns its rotation: twice as many take twice as long, for codes that
 * err 2 % less (62,666 x 384).
 */
#define SPACE_ROWS		8192
/* The codec's share of the memory for sampled rows: a fourth of all */
#define SAMPLE_SHARE	4

/* Rows whose quantisation error is averaged: a mean of so many is off by some 2 % */
#define QUANTISED_ROWS		500

/*
 * What precedes the reason why an index cannot be built, which is an error, or cannot be
 * trained, which VACUUM only warns of.
 */
const char *
ivf_untrained(Relation index, int elevel)
{
	return elevel >= ERROR ? "" :
		psprintf("ivfpq index \"%s\" cannot be trained: ", RelationGetRelationName(index));
}

/*
 * The codec that the index's options ask for; trained: there are rows to learn
 * from.  Where they do not fit the column: elevel, or false where that is no error.
 * (Whether they fit each other options.c has looked at.)
 */
bool
ivf_choose_codec(Relation index, int dims, Metric metric, bool trained, int elevel,
				 Codec *codec)
{
	int			kind;
	int			bits;
	int			m;
	int			most;

	ivfpq_build_options(index, &kind, &bits, &m);
	switch (kind)
	{
		case CODEC_PQ:
		case CODEC_OPQ:
			if (kind == CODEC_OPQ && dims > OPQ_MAX_DIM)
			{
				ereport(elevel,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("%scolumn has %d dimensions, but quantizer \"opq\" codes up to %d",
								ivf_untrained(index, elevel), dims, OPQ_MAX_DIM),
						 errdetail("It learns and stores a rotation, which has as many numbers as the square of the dimensions."),
						 errhint("Choose quantizer = pq, or rabitq, which codes any dimension.")));
				return false;
			}
			bits = bits == OPTION_UNSET ? 8 : bits;
			if (m != OPTION_UNSET && m > dims)
			{
				ereport(elevel,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%sm is %d, but the column has %d dimensions",
								ivf_untrained(index, elevel), m, dims),
						 errhint("A part needs one dimension at least: set m to %d at most.", dims)));
				return false;
			}
			m = m == OPTION_UNSET ? Max(dims * 2 / bits, 1) : m;
			break;
		case CODEC_SQ8:
			bits = 8;
			m = 0;
			break;
		default:
			if (bits == OPTION_UNSET)
				bits = dims <= IVFPQ_FEW_DIMS ? IVFPQ_FEW_DIMS_BITS : IVFPQ_DEFAULT_BITS;
			m = 0;
			break;
	}

	if (!codec_init(codec, (CodecKind) kind, dims, bits, m, CODEC_SEED))
		elog(ERROR, "invalid codec");
	most = IVF_PAGE_CAPACITY - 2 - (int) (ivf_row_size(dims, metric, codec) - codec->code_size);
	if (codec->code_size > most)
	{
		ereport(elevel,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%scodes of %zu bytes do not fit a page of the index, which has room for %d",
						ivf_untrained(index, elevel), codec->code_size, most),
				 kind == CODEC_PQ || kind == CODEC_OPQ ?
				 errhint("Choose m up to %d, or quantizer = rabitq, which codes any dimension.", most * 8 / bits) :
				 errhint("Choose quantizer = rabitq, which codes any dimension, or pq.")));
		return false;
	}

	if (!trained && kind != CODEC_RABITQ)
		(void) codec_init(codec, CODEC_RABITQ, dims, 4, 0, CODEC_SEED);
	return true;
}

/* Bytes that ivf_encode_row() works in. */
Size
ivf_encode_scratch(const Codec *codec)
{
	return sizeof(float) * ((Size) codec->dim + 3 * (Size) codec->work_dim);
}

/*
 * Make the row of ivfpq, as it is sorted and appended, from one of ivfflat.
 * centroid: that of its list, in the codec's space.
 */
void
ivf_encode_row(const Codec *codec, Metric metric, const float *centroid,
			   const IvfRowData *row, float *scratch, char *out)
{
	float	   *value = scratch;
	float	   *work = value + codec->dim;
	float		factors[CODEC_MAX_FACTORS];

	memcpy(out, &row->tid, sizeof(ItemPointerData));
	out += sizeof(ItemPointerData);
	memcpy(value, row->value, sizeof(float) * codec->dim);
	if (metric == METRIC_L2)
		codec_transform(codec, value, work);
	else
	{
		double		norm = sqrt(kernel->normsq_double(value, codec->dim));
		double		scale = norm > 0 ? 1 / norm : 0;

		/* one without direction is as far from everything as its centroid */
		for (int i = 0; i < codec->dim; i++)
			value[i] = (float) (value[i] * scale);
		codec_transform(codec, value, work);
		if (!(norm > 0))
			memcpy(work, centroid, sizeof(float) * codec->work_dim);

		if (metric == METRIC_IP)
		{
			float		kept = (float) Min(norm, FLT_MAX);

			memcpy(out, &kept, sizeof(float));
			out += sizeof(float);
		}
	}
	codec_encode(codec, work, centroid, work + codec->work_dim,
				 (uint8_t *) out + sizeof(float) * codec->nfactors, factors);
	memcpy(out, factors, sizeof(float) * codec->nfactors);
}

/*
 * Of how many of n residuals the codec learns its space, if it does, in half of that much
 * memory; rows: of the table.  -1: in more memory only, which elevel says.
 */
int
ivf_space_rows(Relation index, const Codec *codec, int n, double rows, Size memory, int elevel)
{
	int			least = codec->dim;
	Size		least_size = codec_space_memory(codec, least);
	Size		needed = Max(2 * least_size, SAMPLE_SHARE * sizeof(float) * least * least);
	double		more;

	/* of so few it learns nothing */
	if (least_size == 0 || rows * 4 / 5 < least)
		return 0;
	if (needed > memory)
	{
		ereport(elevel,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%smemory required for quantizer \"opq\" is %zu MB, maintenance_work_mem is %zu MB",
						ivf_untrained(index, elevel), needed / (1024 * 1024) + 1, memory / (1024 * 1024)),
				 errhint("Increase maintenance_work_mem, or choose quantizer = pq or rabitq.")));
		return -1;
	}
	/* a row more takes as much as the next one, nearly */
	more = (double) (codec_space_memory(codec, 2 * least) - least_size) / least;
	return (int) Min(Min(least + (memory / 2 - least_size) / Max(more, 1), n), SPACE_ROWS);
}

/*
 * What a codec learns, in three steps, by participants of whom this is one; all must
 * have ended one before anybody begins the next.  First: residuals of sampled rows.
 */
void
ivf_learn_begin(const IvfLearning *learning, const Codec *codec, int number, int participants)
{
	int			dims = learning->dims;
	int			n = codec_train_parts(codec) > 0 ? learning->n : 0;
	int			block = assign_block_rows(dims);
	uint32	   *nearest = palloc(sizeof(uint32) * block);

	for (int first = number * block; first < n; first += participants * block)
	{
		int			count = Min(block, n - first);

		assign_rows(learning->assign, learning->sample + (Size) first * dims, dims, NULL,
					count, nearest, NULL, learning->scratch, learning->interrupt, NULL);
		for (int i = 0; i < count; i++)
		{
			const float *row = learning->sample + (Size) (first + i) * dims;
			const float *centroid = learning->centroids + (Size) nearest[i] * dims;
			float	   *to = learning->residuals + (Size) (first + i) * dims;

			for (int d = 0; d < dims; d++)
				to[d] = row[d] - centroid[d];
		}
	}
	pfree(nearest);
}

/* Second, where the codec learns its space, by one for all: this, and residuals in it. */
void
ivf_learn_space(const IvfLearning *learning, Codec *codec, int number)
{
	Size		memory_size = codec_space_memory(codec, learning->space_n);
	int			dims = learning->dims;
	float	   *rotated;
	void	   *memory;

	if (number != 0 || codec->kind != CODEC_OPQ)
		return;
	memory = palloc_extended(memory_size + 64, MCXT_ALLOC_HUGE);
	codec_learn_space(codec, learning->residuals, learning->space_n,
					  (void *) TYPEALIGN(64, memory), learning->interrupt, NULL);
	pfree(memory);
	rotated = palloc(sizeof(float) * dims);
	for (int i = 0; i < learning->n; i++)
	{
		float	   *residual = learning->residuals + (Size) i * dims;

		learning->interrupt(NULL);
		codec_transform(codec, residual, rotated);
		memcpy(residual, rotated, sizeof(float) * dims);
	}
	pfree(rotated);
}

/* Third: centroids in the codec's space, and the rest of its state, part by part. */
void
ivf_learn_end(const IvfLearning *learning, Codec *codec, int number, int participants)
{
	int			parts = learning->n > 0 ? codec_train_parts(codec) : 0;
	void	   *memory;

	for (int list = number; list < learning->lists; list += participants)
	{
		/* of opq dims^2 steps each; the others' are few */
		if (codec->kind == CODEC_OPQ || list % 64 == 0)
			learning->interrupt(NULL);
		codec_transform(codec, learning->centroids + (Size) list * learning->dims,
						learning->work_centroids + (Size) list * codec->work_dim);
	}
	if (parts == 0)
		return;
	memory = palloc_extended(codec_train_memory(codec, learning->n) + 64, MCXT_ALLOC_HUGE);
	for (int part = number; part < parts; part += participants)
		codec_train(codec, part, learning->residuals, learning->n,
					(void *) TYPEALIGN(64, memory), learning->interrupt, NULL);
	pfree(memory);
}

/* Mean quantisation error of sampled rows, as ivf_calibrate_codec() has them. */
static float
sampled_error(const IvfMetaPageData *meta, const Codec *codec, const float *centroids,
			  const float *work_centroids, const float *sample, int n)
{
	int			dims = meta->dims;
	float	   *value = palloc(sizeof(float) * codec->work_dim);
	float	   *scratch = palloc(sizeof(float) * 2 * codec->work_dim);
	uint8_t    *code = palloc(codec->code_size);
	float		factors[CODEC_MAX_FACTORS];
	double		sum = 0;

	n = (int) Min(Min(n, QUANTISED_ROWS), Max(ERROR_WORK / ((double) meta->lists * dims), 50));
	for (int i = 0; i < n; i++)
	{
		const float *row = sample + (Size) i * dims;
		float		distance = INFINITY;
		uint32		list = 0;

		CHECK_FOR_INTERRUPTS();
		assign_one(row, centroids, sizeof(float) * dims, meta->lists, dims,
				   meta->metric != METRIC_L2, 0, &distance, &list);
		codec_transform(codec, row, value);
		sum += codec_quantisation_error(codec, value,
										work_centroids + (Size) list * codec->work_dim,
										scratch, code, factors);
	}
	pfree(value);
	pfree(scratch);
	pfree(code);
	return n > 0 ? (float) Min(sum / n, FLT_MAX) : 0;
}

typedef struct SampledRow
{
	ItemPointerData tid;		/* first, for heap_cmp_tid() */
	uint32		list;
} SampledRow;

/* Rows from random pages of the present lists, in the order of the table; returns how many. */
static int
sample_codes(Relation index, const IvfMetaPageData *meta, SampledRow *rows, int max_n)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	uint64		random = meta->rows;
	IvfLayout	layout;
	int			n = 0;

	ivf_layout(meta, &layout);
	for (int tries = 0; tries < 2 * max_n && n < max_n; tries++)
	{
		BlockNumber blkno = (BlockNumber) random_below(&random, nblocks);
		PageVerdict verdict;
		Buffer		buf;
		Page		page;
		int			on_page;

		VACUUM_DELAY_POINT();
		buf = page_read_any(index, blkno, BUFFER_LOCK_SHARE, IVF_SPECIAL_SIZE, NULL, &verdict);
		page = BufferGetPage(buf);
		if (verdict == PAGE_OK && IvfPageKind(page) == IVF_PAGE_LIST &&
			IvfPageGetOpaque(page)->generation == meta->generation &&
			IvfPageGetOpaque(page)->list < meta->lists &&
			(on_page = ivf_page_rows(index, blkno, page, &layout)) > 0)
		{
			int			i = (int) random_below(&random, on_page);

			rows[n].tid = *ivf_page_tid(page, &layout, i);
			rows[n++].list = IvfPageGetOpaque(page)->list;
		}
		page_release(buf);
	}
	qsort(rows, n, sizeof(SampledRow), heap_cmp_tid);
	return n;
}

/*
 * Mean quantisation error of the rows there are now: some of them are read from the
 * table.  Called by VACUUM.
 */
float
ivf_measure_codes(Relation index, const IvfMetaPageData *meta)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ivfpq error",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SampledRow *rows = palloc(sizeof(SampledRow) * QUANTISED_ROWS);
	int			n = sample_codes(index, meta, rows, QUANTISED_ROWS);
	Relation	heap = table_open(index->rd_index->indrelid, NoLock);
	IvfFetch   *fetch = ivf_fetch_begin(heap, index);
	Codec		codec;
	float	   *directed = palloc(sizeof(float) * meta->dims);
	float	   *value;
	float	   *centroid;
	float	   *scratch;
	uint8_t    *code;
	float		factors[CODEC_MAX_FACTORS];
	double		sum = 0;
	int			measured = 0;

	ivf_codec_open(index, meta, &codec);
	value = palloc(sizeof(float) * codec.work_dim);
	centroid = palloc(sizeof(float) * codec.work_dim);
	scratch = palloc(sizeof(float) * 2 * codec.work_dim);
	code = palloc(codec.code_size);
	for (int i = 0; i < n; i++)
	{
		Datum		datum;
		Vector	   *vector;
		bool		put;

		VACUUM_DELAY_POINT();
		if (!ivf_fetch_any(fetch, &rows[i].tid, &datum))
			continue;
		vector = support_value(datum, meta->dims);
		put = ivf_sample_put((Metric) meta->metric, vector->x, meta->dims, directed);
		if ((Pointer) vector != DatumGetPointer(datum))
			pfree(vector);
		if (!put)
			continue;
		codec_transform(&codec, directed, value);
		ivf_codec_centroid_of(index, meta, &codec, rows[i].list, centroid);
		sum += codec_quantisation_error(&codec, value, centroid, scratch, code, factors);
		measured++;
	}
	ivf_fetch_end(fetch);
	table_close(heap, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return measured > 0 ? (float) Min(sum / measured, FLT_MAX) : 0;
}

static int
cmp_float(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* A share of the estimates' errors, and of the errors of those from first planes */
typedef struct CodecError
{
	float		whole;
	float		first;
} CodecError;

static double
mean_square(double sum, int n)
{
	return n > 0 ? sum / n : 0;
}

/*
 * Measure the estimates' errors on sampled rows, taken as queries, and their nearest
 * ones, which are like those that a search must not miss, and set the widths:
 * for each recall the one that a share WIDTH_MISSES of the misses allowed
 * exceeds.  A codec that has two estimates of a row misses it when either is too
 * high, so of each row the error counts that is the larger one beside its own root
 * mean square, and the two widths are to each other as these are.  Estimates
 * are measured as a scan makes them, from a page's area: what blocks of pq lose by
 * whole numbers is part of the error.  A row whose error exceeds it is missed only where ten others are
 * nearer than its bound; so the share of rows missed is smaller than that
 * (README.md).  Real queries are harder than rows, so of these the half counts
 * whose neighbours are farther away.  The sample is in random order, and has unit length unless the
 * metric is L2; no row of it is one that the codec has learnt from, and knows too
 * well.  The quantisation error is measured as well.
 */
#define WIDTH_MISSES	0.12
#define FLOOR_MARGIN	1.1f

/* With fewer errors measured, trust no estimate */
#define ERRORS_ENOUGH	50
#define WIDTH_UNKNOWN	1e6f

void
ivf_calibrate_codec(IvfMetaPageData *meta, const Codec *codec, const float *centroids,
					const float *work_centroids, const float *sample, int n,
					float copy_distance)
{
	int			dims = meta->dims;
	double		work = (double) Max((double) n, (double) meta->lists * ERROR_NEIGHBOURS) * dims;
	bool		has_first = codec_has_first(codec);
	IvfLayout	layout;
	char	   *area;			/* of one row */
	char	   *record = palloc(codec_record_size(codec));
	float		factors[CODEC_MAX_FACTORS];
	float	   *distances;
	CodecError *errors;
	float	   *larger;
	float	   *value = palloc(sizeof(float) * codec->work_dim);
	float	   *q = palloc(sizeof(float) * codec->work_dim);
	float	   *scratch = palloc(sizeof(float) * 2 * codec->work_dim);
	void	   *memory = palloc(codec_query_memory(codec) + 64);
	float	   *own;			/* estimates of the queries themselves */
	float	   *farthest;		/* of the queries' neighbours: distance */
	float	   *by_farthest;
	int		   *ends;			/* where a query's errors end */
	int			nqueries = Min(n, ERROR_QUERIES);
	int			nerrors = 0;
	CodecError	rms;
	double		sum = 0;
	double		first_sum = 0;

	meta->quantisation_error = meta->quantisation_error_at_build =
		sampled_error(meta, codec, centroids, work_centroids, sample, n);
	ivf_layout(meta, &layout);
	area = palloc0(layout.codes.size);
	nqueries = Min(nqueries, (int) Max(ERROR_WORK / work, 16));
	n = (int) Min(n, Max(ERROR_WORK / Max(nqueries, 1) / dims, 1000));
	distances = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	own = palloc(sizeof(float) * Max(nqueries, 1));
	farthest = palloc(sizeof(float) * Max(nqueries, 1));
	by_farthest = palloc(sizeof(float) * Max(nqueries, 1));
	ends = palloc(sizeof(int) * Max(nqueries, 1));
	errors = palloc0(sizeof(CodecError) * Max(nqueries, 1) * ERROR_NEIGHBOURS);

	for (int i = 0; i < nqueries; i++)
	{
		const float *query = sample + (Size) i * dims;
		CodecQuery	coded;
		float		nearest[ERROR_NEIGHBOURS];
		int			which[ERROR_NEIGHBOURS];
		int			found = 0;

		CHECK_FOR_INTERRUPTS();
		kernel->l2sq_rows(query, sample, sizeof(float) * dims, n, dims, distances);
		for (int r = 0; r < n; r++)
		{
			int			at;

			/* the row itself, or a copy: nothing to estimate */
			if (distances[r] <= (meta->metric == METRIC_L2 ? copy_distance : 2 + 2 * copy_distance))
				continue;
			if (found == ERROR_NEIGHBOURS && !(distances[r] < nearest[found - 1]))
				continue;
			at = found < ERROR_NEIGHBOURS ? found++ : found - 1;
			for (; at > 0 && distances[r] < nearest[at - 1]; at--)
			{
				nearest[at] = nearest[at - 1];
				which[at] = which[at - 1];
			}
			nearest[at] = distances[r];
			which[at] = r;
		}

		codec_transform(codec, query, q);
		codec_query_begin(&coded, codec, &layout.codes, q, (void *) TYPEALIGN(64, memory));
		/* so much that the whole code alone decides */
		coded.first_width = FLT_MAX;
		for (int j = -1; j < found; j++)
		{
			const float *row = j < 0 ? query : sample + (Size) which[j] * dims;
			const float *centroid;
			float		estimate;
			int			below;
			float		distance = INFINITY;
			uint32		list = 0;

			assign_one(row, centroids, sizeof(float) * dims, meta->lists, dims,
					   meta->metric != METRIC_L2, 0, &distance, &list);
			centroid = work_centroids + (Size) list * codec->work_dim;
			codec_transform(codec, row, value);
			codec_encode(codec, value, centroid, scratch,
						 (uint8_t *) record + sizeof(float) * codec->nfactors, factors);
			memcpy(record, factors, sizeof(float) * codec->nfactors);
			codec_put(codec, &layout.codes, area, 0, record);
			codec_query_list(&coded, centroid, kernel->l2sq(q, centroid, codec->work_dim));
			(void) codec_bounds(&coded, area, 0, 1, INFINITY, &estimate, &below);
			if (j < 0)
			{
				own[i] = estimate;
				continue;
			}
			errors[nerrors].whole = codec_error(&coded, factors, false, estimate, nearest[j]);
			if (has_first)
			{
				coded.first_width = 0;
				codec_query_list(&coded, centroid, coded.base);
				(void) codec_bounds(&coded, area, 0, 1, -INFINITY, &estimate, &below);
				errors[nerrors].first = codec_error(&coded, factors, true, estimate, nearest[j]);
				coded.first_width = FLT_MAX;
			}
			nerrors++;
		}
		farthest[i] = found > 0 ? nearest[found - 1] : 0;
		ends[i] = nerrors;
	}

	/* leave the easy half out */
	if (nqueries > 0)
	{
		int			kept = 0;

		memcpy(by_farthest, farthest, sizeof(float) * nqueries);
		qsort(by_farthest, nqueries, sizeof(float), cmp_float);
		for (int i = 0; i < nqueries; i++)
			if (farthest[i] >= by_farthest[nqueries / 2])
				for (int j = i > 0 ? ends[i - 1] : 0; j < ends[i]; j++)
				{
					errors[kept] = errors[j];
					sum += (double) errors[j].whole * errors[j].whole;
					first_sum += (double) errors[j].first * errors[j].first;
					kept++;
				}
		nerrors = kept;
	}
	rms.whole = (float) Min(sqrt(mean_square(sum, nerrors)), FLT_MAX);
	rms.first = (float) Min(sqrt(mean_square(first_sum, nerrors)), FLT_MAX);
	larger = palloc(sizeof(float) * Max(nerrors, 1));
	for (int i = 0; i < nerrors; i++)
	{
		larger[i] = Min(errors[i].whole, FLT_MAX);
		if (has_first && rms.first > 0)
			larger[i] = Max(larger[i], (float) Min((double) errors[i].first * rms.whole / rms.first, FLT_MAX));
	}
	qsort(larger, nerrors, sizeof(float), cmp_float);
	if (nqueries > 0)
	{
		/* somewhat more than any of these: they are few */
		qsort(own, nqueries, sizeof(float), cmp_float);
		meta->code_floor = codec->kind != CODEC_SQ8 ? 0 :
			Max(Min(own[nqueries - 1] * FLOOR_MARGIN, FLT_MAX), 0);
	}

	meta->code_error = nerrors < ERRORS_ENOUGH ? WIDTH_UNKNOWN : rms.whole;
	meta->first_error = !has_first ? 0 : nerrors < ERRORS_ENOUGH ? WIDTH_UNKNOWN : rms.first;
	for (int t = 0; t < meta->num_targets && nerrors < ERRORS_ENOUGH; t++)
		meta->targets[t].width = WIDTH_UNKNOWN;
	for (int t = 0; t < meta->num_targets && nerrors >= ERRORS_ENOUGH; t++)
	{
		int			rank = (int) ceil((1 - WIDTH_MISSES * (1 - meta->targets[t].recall)) * nerrors) - 1;

		meta->targets[t].width = Max(larger[Min(Max(rank, 0), nerrors - 1)], 0);
	}

	pfree(distances);
	pfree(errors);
	pfree(larger);
	pfree(own);
	pfree(farthest);
	pfree(by_farthest);
	pfree(ends);
	pfree(value);
	pfree(q);
	pfree(scratch);
	pfree(area);
	pfree(record);
	pfree(memory);
}

/* What rabitq's error is in theory: of a code in code_dims random directions, in units. */
static float
untrained_error(int bits)
{
	/*
	 * sin of the angle of code and residual, and the query's own codes
	 * (quant/README.md)
	 */
	double		lost = bits == 1 ? 0.363 : bits == 2 ? 0.118 : 0.0115;
	double		step = bits == 1 ? 1 : bits == 2 ? 0.996 : 0.335;

	/*
	 * |mul| = 2 |r| / (|u| cos), where |u| = sqrt(D) * 1 / (step / 2) for one
	 * sigma
	 */
	return (float) (sqrt(lost + 0.013) * 2 / (bits == 1 ? 2 : step));
}

/* By how many units an estimate may be too high, for a recall. */
float
ivf_width_for(const IvfMetaPageData *meta, double recall)
{
	for (int i = 0; i < meta->num_targets; i++)
	{
		const IvfTarget *above = &meta->targets[i];
		const IvfTarget *below = above - 1;
		double		share;

		if (recall > above->recall + 1e-6)
			continue;
		if (i == 0 || recall > above->recall - 1e-6)
			return above->width;
		share = (log(1 - below->recall) - log(1 - recall)) /
			(log(1 - below->recall) - log(1 - above->recall));
		return (float) (share * above->width + (1 - share) * below->width);
	}
	/* beyond what was measured, or nothing was: four times the deviation */
	return 4 * (meta->code_error > 0 ? meta->code_error :
				meta->codec == CODEC_RABITQ ? untrained_error(meta->code_bits) : 0);
}

/* The same of an estimate from a first plane, where that of a whole code is width. */
float
ivf_first_width(const IvfMetaPageData *meta, float width)
{
	if (meta->codec != CODEC_RABITQ || meta->code_bits == 1)
		return 0;
	if (meta->code_error > 0)
		return width * meta->first_error / meta->code_error;
	return width * untrained_error(1) / untrained_error(meta->code_bits);
}
