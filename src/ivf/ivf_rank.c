/*-------------------------------------------------------------------------
 *
 * ivf_rank.c
 *	  Lists by the distance of their centroids, and what each backend keeps of
 *	  centroids and codec.
 *
 * A query is compared with all centroids by 8-bit numbers (quant/rough.h), which take
 * a quarter of the bytes; in few dimensions, where they would not, by floats.
 * Where there are groups (quant/groups.h) it is compared with their middles, and the
 * centroids of the nearest groups.  What is too large to keep is read from its pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "ivf/ivf_private.h"
#include "kernel/kernel.h"
#include "quant/groups.h"
#include "quant/rough.h"

/* Vectors that a query is compared with: centroids, or middles of groups. */
typedef struct RankedSet
{
	const float *plain;			/* NULL: not kept */
	RoughRows	rough;			/* codes NULL: not made */
} RankedSet;

/*
 * The backend's own copy of the centroids (unless there are too many), and of
 * the codec with the centroids in its space.  They never change within a
 * generation, and a new file empties the relation cache.  It spares each search
 * and each insert a hundred page accesses.
 *
 * Whoever takes a lock, or reads the catalogs, lets go of it: the relation cache
 * may be emptied then.
 */
typedef struct IvfCache
{
	uint32		generation;
	uint32		lists;
	uint32		groups;			/* 0: none, or none are wanted */
	const uint32 *first;		/* list of each group */
	RankedSet	centroids;
	RankedSet	middles;
	const float *mean;			/* of both; NULL where neither is rough */
	const float *work_centroids;	/* in the codec's space, or NULL; of opq
									 * ... */
	bool	   *transformed;	/* ... those that somebody has asked for,
								 * others are plain */
	int			reach_rows;		/* see ivf_reach_rows() */
	Codec		codec;			/* CODEC_NONE: of ivfflat */
} IvfCache;

/* Most bytes of plain centroids, and of rough ones, that a backend keeps */
#define CENTROID_CACHE_MAX	(4 * 1024 * 1024)
#define CENTROID_CHUNK		(64 * 1024)
/*
 * Up to so many lists whose centroids are kept are ranked all at once, even if they
 * have groups: they would miss some for queries unlike the rows (README.md).
 */
#define RANK_ALL_MAX	16384
/* fewer lists are ranked by floats: exactly, and as quickly */
#define ROUGH_FROM_LISTS	64
/* queries to try whether rough distances will do */
#define ROUGH_TRIES			8

/* Rough distances do not tell which of so many centroids is the nearest. */
#define NEAREST_ROUGH		8

/* Memory of the cache is handed out from one block, on cache lines; first it is counted. */
static char *
take(char **at, Size bytes)
{
	char	   *start = (char *) TYPEALIGN(64, *at);

	*at = start + bytes;
	return start;
}

/*
 * Places of the parts of a cache that begins at start (NULL: how much it takes).
 * may_be_rough: false where that was tried, and tells too little.
 */
static Size
lay_out(const IvfMetaPageData *meta, bool may_be_rough, IvfCache *cache, char *start,
		char **codec_memory_at)
{
	Size		dims = meta->dims;
	Size		plain_bytes = sizeof(float) * dims * meta->lists;
	Size		stride = rough_stride(meta->dims);
	bool		rough = may_be_rough && meta->generation > 0 && meta->dims >= ROUGH_FROM_DIM &&
	meta->lists >= ROUGH_FROM_LISTS;

	/* as many lists, if they have to be floats */
	Size		plain_max = may_be_rough ? CENTROID_CACHE_MAX : sizeof(float) * CENTROID_CACHE_MAX;
	char	   *at = start + sizeof(IvfCache);

	if (rough)
		cache->mean = (float *) take(&at, sizeof(float) * dims);
	if (rough && stride * meta->lists <= CENTROID_CACHE_MAX)
	{
		cache->centroids.rough.rows = (RoughRow *) take(&at, sizeof(RoughRow) * meta->lists);
		cache->centroids.rough.codes = (int8_t *) take(&at, stride * meta->lists);
	}
	else if (!rough && meta->generation > 0 && plain_bytes <= plain_max)
		cache->centroids.plain = (float *) take(&at, plain_bytes);
	cache->groups = meta->lists <= RANK_ALL_MAX &&
		(cache->centroids.rough.codes || cache->centroids.plain) ? 0 : meta->groups;
	if (cache->groups > 0)
		cache->first = (uint32 *) take(&at, sizeof(uint32) * meta->groups);
	if (cache->groups > 0 && rough)
	{
		cache->middles.rough.rows = (RoughRow *) take(&at, sizeof(RoughRow) * meta->groups);
		cache->middles.rough.codes = (int8_t *) take(&at, stride * meta->groups);
	}
	else if (cache->groups > 0)
		cache->middles.plain = (float *) take(&at, sizeof(float) * dims * meta->groups);
	if (meta->codec != CODEC_NONE && meta->generation > 0 && plain_bytes <= CENTROID_CACHE_MAX)
		cache->work_centroids = (float *) take(&at, sizeof(float) * cache->codec.work_dim * meta->lists);
	/* dims^2 steps each: not all of them for one query */
	if (cache->work_centroids && cache->codec.kind == CODEC_OPQ)
		cache->transformed = (bool *) take(&at, sizeof(bool) * meta->lists);
	if (meta->codec != CODEC_NONE)
	{
		cache->codec.state = (float *) take(&at, sizeof(float) * codec_state_floats(&cache->codec));
		*codec_memory_at = take(&at, codec_memory(&cache->codec));
	}
	/* the block may begin anywhere */
	return at - start + 64;
}

/* mean := that of n rows */
static void
set_mean(float *mean, const float *rows, uint32 n, int dims)
{
	double	   *sums = palloc0(sizeof(double) * dims);

	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int d = 0; d < dims; d++)
			sums[d] += rows[(Size) i * dims + d];
	}
	for (int d = 0; d < dims; d++)
		mean[d] = (float) (sums[d] / n);
	pfree(sums);
}

static void
fill_rough(RoughRows *rough, const float *mean, const float *rows, uint32 n, int dims)
{
	float	   *scratch = palloc(sizeof(float) * dims);

	rough->dim = dims;
	rough->mean = mean;
	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		rough_put(rough, i, rows + (Size) i * dims, scratch);
	}
	pfree(scratch);
}

/* A query that is compared with centroids, again and again. */
struct IvfRank
{
	const float *query;
	bool		ip;
	RoughQuery	rough;			/* code NULL: nothing is rough */
};

/* Distances to n vectors that lie side by side */
static void
plain_distances(const IvfRank *rank, const float *rows, uint32 n, int dims, float *out)
{
	Size		bytes = sizeof(float) * dims;

	if (!rank->ip)
	{
		kernel->l2sq_rows(rank->query, rows, bytes, n, dims, out);
		return;
	}
	kernel->ip_rows(rank->query, rows, bytes, n, dims, out);
	for (uint32 i = 0; i < n; i++)
		out[i] = -out[i];
}

/*
 * Do rough distances tell which vectors are near each other?  Not where there are many of
 * them and they lie along a line, or nearly: there the next one is nearer than what eight
 * bits of the whole length tell.  Some are tried as queries; what is nearest by numbers
 * must hardly ever be more than twice as far (squared) as what is nearest.
 */
static bool
tells_apart(const RoughRows *rough, const float *rows, uint32 n, int dims, bool ip)
{
	float	   *by_numbers = palloc(sizeof(float) * n);
	float	   *exact = palloc(sizeof(float) * n);
	float	   *scratch = palloc(sizeof(float) * dims);
	IvfRank		rank = {.ip = ip,.rough.ip = ip};
	int			misses = 0;

	rank.rough.code = palloc(rough_stride(dims));
	for (int try = 0; try < ROUGH_TRIES; try++)
	{
		uint32		own = (uint32) ((uint64) n * try / ROUGH_TRIES);
		uint32		nearest = own == 0 ? 1 : 0;
		uint32		found = nearest;

		CHECK_FOR_INTERRUPTS();
		rank.query = rows + (Size) own * dims;
		rough_query(&rank.rough, rough->mean, rank.query, dims, scratch);
		rough_distances(&rank.rough, rough, 0, n, by_numbers);
		plain_distances(&rank, rows, n, dims, exact);
		for (uint32 i = 0; i < n; i++)
		{
			/*
			 * of unit vectors, squared distance and inner product say the
			 * same
			 */
			exact[i] = ip ? Max(2 + 2 * exact[i], 0) : exact[i];
			if (i == own)
				continue;
			if (exact[i] < exact[nearest])
				nearest = i;
			if (by_numbers[i] < by_numbers[found])
				found = i;
		}
		misses += exact[found] > 2 * exact[nearest];
	}
	pfree(by_numbers);
	pfree(exact);
	pfree(scratch);
	pfree(rank.rough.code);
	return misses <= ROUGH_TRIES / 4;
}

/*
 * Read groups and centroids into the cache, as it is laid out.  False: rough distances
 * will not do.
 */
static bool
fill_centroids(Relation index, const IvfMetaPageData *meta, IvfCache *cache)
{
	int			dims = meta->dims;
	float	   *mean = unconstify(float *, cache->mean);
	float	   *work = unconstify(float *, cache->work_centroids);
	bool		kept = cache->centroids.plain || cache->centroids.rough.codes || work;
	float	   *all = unconstify(float *, cache->centroids.plain);
	bool		enough = true;

	if (cache->groups > 0)
	{
		float	   *middles = cache->middles.plain ? unconstify(float *, cache->middles.plain) :
		palloc_extended(sizeof(float) * dims * meta->groups, MCXT_ALLOC_HUGE);

		ivf_groups_read(index, meta, unconstify(uint32 *, cache->first), middles);
		if (mean)
			set_mean(mean, middles, meta->groups, dims);
		if (cache->middles.rough.codes)
		{
			fill_rough(&cache->middles.rough, mean, middles, meta->groups, dims);
			enough = meta->groups < 2 ||
				tells_apart(&cache->middles.rough, middles, meta->groups, dims,
							meta->metric != METRIC_L2);
		}
		if (middles != cache->middles.plain)
			pfree(middles);
	}
	if (mean && cache->groups == 0 && !kept)
		memset(mean, 0, sizeof(float) * dims);
	if (!kept || !enough)
		return enough;

	if (all == NULL)
		all = palloc_extended(sizeof(float) * dims * meta->lists, MCXT_ALLOC_HUGE);
	ivf_centroids_read(index, meta, 0, meta->lists, all);
	if (mean && cache->groups == 0)
		set_mean(mean, all, meta->lists, dims);
	if (cache->centroids.rough.codes)
	{
		fill_rough(&cache->centroids.rough, mean, all, meta->lists, dims);
		enough = tells_apart(&cache->centroids.rough, all, meta->lists, dims,
							 meta->metric != METRIC_L2);
	}
	if (cache->transformed)
	{
		memcpy(work, all, sizeof(float) * dims * meta->lists);
		memset(cache->transformed, 0, sizeof(bool) * meta->lists);
	}
	for (uint32 list = 0; work && !cache->transformed && list < meta->lists; list++)
		codec_transform(&cache->codec, all + (Size) list * dims,
						work + (Size) list * cache->codec.work_dim);
	if (all != cache->centroids.plain)
		pfree(all);
	return enough;
}

/*
 * Read all of it; false, and it is freed, where rough distances will not do.  The cache is some MB and not ours to keep until it is complete: an
 * error, or a cancel, must not leave it behind in rd_indexcxt.
 */
static bool
fill(Relation index, const IvfMetaPageData *meta, IvfCache *cache, char *codec_memory)
{
	volatile bool enough = true;

	PG_TRY();
	{
		if (meta->codec != CODEC_NONE)
		{
			Size		floats = codec_state_floats(&cache->codec);

			if (floats > 0)
				ivf_code_state_read(index, meta, floats, cache->codec.state);
			codec_attach(&cache->codec, cache->codec.state, codec_memory);
		}
		if (meta->generation > 0)
			enough = fill_centroids(index, meta, cache);
	}
	PG_CATCH();
	{
		pfree(cache);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!enough)
		pfree(cache);
	return enough;
}

static const IvfCache *
cached(Relation index, const IvfMetaPageData *meta)
{
	IvfCache   *cache = (IvfCache *) index->rd_amcache;
	IvfCache	plan = {0};
	IvfCache	layout;
	bool		may_be_rough = true;
	char	   *memory;
	char	   *codec_memory_at = NULL;

	if (cache != NULL && cache->generation == meta->generation &&
		cache->lists == meta->lists)
		return cache;

	index->rd_amcache = NULL;
	if (cache != NULL)
		pfree(cache);
	plan.generation = meta->generation;
	plan.lists = meta->lists;
	if (meta->codec != CODEC_NONE &&
		!codec_init(&plan.codec, (CodecKind) meta->codec, meta->dims, meta->code_bits,
					meta->code_parts, meta->code_seed))
		elog(ERROR, "invalid codec");	/* ivf_meta_flaw() */

	do
	{
		Size		size;

		layout = plan;
		size = lay_out(meta, may_be_rough, &layout, NULL, &codec_memory_at);
		memory = MemoryContextAllocExtended(index->rd_indexcxt, size, MCXT_ALLOC_HUGE);
		layout = plan;
		(void) lay_out(meta, may_be_rough, &layout, memory, &codec_memory_at);
		may_be_rough = false;
		cache = (IvfCache *) memory;
		*cache = layout;
	} while (!fill(index, meta, cache, codec_memory_at));
	index->rd_amcache = cache;
	return cache;
}

/* ---- the codec ---- */

/*
 * The codec of meta's generation in the current memory context, for whoever keeps
 * it for long, or reads two generations.
 */
void
ivf_codec_open(Relation index, const IvfMetaPageData *meta, Codec *codec)
{
	Size		floats;
	float	   *state;

	if (!codec_init(codec, (CodecKind) meta->codec, meta->dims, meta->code_bits,
					meta->code_parts, meta->code_seed))
		elog(ERROR, "invalid codec");	/* ivf_meta_flaw() */
	floats = codec_state_floats(codec);
	state = palloc_extended(sizeof(float) * floats + 1, MCXT_ALLOC_HUGE);
	ivf_code_state_read(index, meta, floats, state);
	codec_attach(codec, state, palloc(codec_memory(codec) + 1));
}

/* A list's centroid in the space of a codec of one's own. */
void
ivf_codec_centroid_of(Relation index, const IvfMetaPageData *meta, const Codec *codec,
					  uint32 list, float *out)
{
	float	   *plain;

	if (meta->generation == 0)
	{
		memset(out, 0, sizeof(float) * codec->work_dim);
		return;
	}
	plain = palloc(sizeof(float) * meta->dims);
	ivf_centroids_read(index, meta, list, 1, plain);
	codec_transform(codec, plain, out);
	pfree(plain);
}

/* The codec of an ivfpq index, in the relation cache: see above. */
const Codec *
ivf_codec(Relation index, const IvfMetaPageData *meta)
{
	Assert(meta->codec != CODEC_NONE);
	return &cached(index, meta)->codec;
}

/*
 * For how many rows a scan should reach at first, as the scans of this backend
 * before it leave word; 0 where none has.  A wrong guess costs time only.
 */
int
ivf_reach_rows(Relation index, const IvfMetaPageData *meta)
{
	return cached(index, meta)->reach_rows;
}

void
ivf_reach_rows_set(Relation index, int rows)
{
	IvfCache   *cache = (IvfCache *) index->rd_amcache;

	if (cache != NULL)
		cache->reach_rows = rows;
}

/* A list's centroid in the codec's space into out (work_dim floats). */
void
ivf_codec_centroid(Relation index, const IvfMetaPageData *meta, uint32 list, float *out)
{
	const IvfCache *cache = cached(index, meta);
	Size		work_dim = cache->codec.work_dim;

	if (meta->generation > 0 && cache->work_centroids)
	{
		float	   *work = unconstify(float *, cache->work_centroids) + list * work_dim;

		if (cache->transformed && !cache->transformed[list])
		{
			codec_transform(&cache->codec, work, out);
			memcpy(work, out, sizeof(float) * work_dim);
			cache->transformed[list] = true;
		}
		else
			memcpy(out, work, sizeof(float) * work_dim);
	}
	else
		ivf_codec_centroid_of(index, meta, &cache->codec, list, out);
}

/* ---- ranking ---- */

IvfRank    *
ivf_rank_begin(Relation index, const IvfMetaPageData *meta, const float *query)
{
	const float *mean = cached(index, meta)->mean;
	IvfRank    *rank = palloc0(sizeof(IvfRank));

	rank->query = query;
	rank->ip = meta->metric != METRIC_L2;
	if (mean)
	{
		float	   *scratch = palloc(sizeof(float) * meta->dims);

		rank->rough.ip = rank->ip;
		rank->rough.code = palloc(rough_stride(meta->dims));
		rough_query(&rank->rough, mean, query, meta->dims, scratch);
		pfree(scratch);
	}
	return rank;
}

void
ivf_rank_end(IvfRank *rank)
{
	if (rank->rough.code)
		pfree(rank->rough.code);
	pfree(rank);
}

/* Distances to the centroids of lists first .. first + n - 1, from their pages: exact. */
static void
distances_on_pages(Relation index, const IvfMetaPageData *meta, const IvfRank *rank,
				   uint32 first, uint32 n, float *out)
{
	Size		bytes = sizeof(float) * meta->dims;
	uint32		chunk = Min(Max(CENTROID_CHUNK / bytes, 1), n);
	float	   *copy = palloc(bytes * chunk);

	for (uint32 done = 0; done < n; done += chunk)
	{
		uint32		count = Min(chunk, n - done);

		ivf_centroids_read(index, meta, first + done, count, copy);
		plain_distances(rank, copy, count, meta->dims, out + done);
	}
	pfree(copy);
}

/* How many groups there are to rank: 1 where lists are ranked all at once. */
uint32
ivf_rank_ngroups(Relation index, const IvfMetaPageData *meta)
{
	return Max(cached(index, meta)->groups, 1);
}

/* How far each group is. */
void
ivf_rank_groups(Relation index, const IvfMetaPageData *meta, const IvfRank *rank, float *out)
{
	const IvfCache *cache = cached(index, meta);

	CHECK_FOR_INTERRUPTS();
	if (cache->groups == 0)
		*out = 0;
	else if (cache->middles.rough.codes)
		rough_distances(&rank->rough, &cache->middles.rough, 0, meta->groups, out);
	else
		plain_distances(rank, cache->middles.plain, meta->groups, meta->dims, out);
}

/* The lists of a group: from *first on, so many. */
uint32
ivf_rank_group(Relation index, const IvfMetaPageData *meta, uint32 group, uint32 *first)
{
	const IvfCache *cache = cached(index, meta);

	*first = cache->first ? cache->first[group] : 0;
	return (cache->first && group + 1 < meta->groups ? cache->first[group + 1] : meta->lists) - *first;
}

/*
 * About how far a query is from the centroids of lists first .. first + n - 1,
 * smaller is nearer: squared L2, or the negative inner product (under cosine, too:
 * centroids have unit length, and the query's length changes no order).
 * Superseded lists are included.
 */
void
ivf_rank_lists(Relation index, const IvfMetaPageData *meta, const IvfRank *rank,
			   uint32 first, uint32 n, float *out)
{
	const IvfCache *cache = cached(index, meta);

	CHECK_FOR_INTERRUPTS();
	if (cache->centroids.rough.codes)
		rough_distances(&rank->rough, &cache->centroids.rough, first, n, out);
	else if (cache->centroids.plain)
		plain_distances(rank, cache->centroids.plain + (Size) first * meta->dims, n,
						meta->dims, out);
	else
		distances_on_pages(index, meta, rank, first, n, out);
}

/* The same for all lists, exactly. */
void
ivf_centroid_distances(Relation index, const IvfMetaPageData *meta,
					   const float *query, float *distances)
{
	IvfRank		rank = {.query = query,.ip = meta->metric != METRIC_L2};
	const float *plain = cached(index, meta)->centroids.plain;

	Assert(meta->generation > 0);
	if (plain)
		plain_distances(&rank, plain, meta->lists, meta->dims, distances);
	else
		distances_on_pages(index, meta, &rank, 0, meta->lists, distances);
}

/* Some of the nearest found, nearest first; of equal ones those found first. */
typedef struct Nearest
{
	int			max;
	int			n;
	float	   *distances;
	uint32	   *items;
} Nearest;

static void
keep_nearest(Nearest *nearest, float distance, uint32 item)
{
	int			at;

	if (nearest->n == nearest->max && !(distance < nearest->distances[nearest->n - 1]))
		return;
	if (nearest->n < nearest->max)
		nearest->n++;
	for (at = nearest->n - 1; at > 0 && distance < nearest->distances[at - 1]; at--)
	{
		nearest->distances[at] = nearest->distances[at - 1];
		nearest->items[at] = nearest->items[at - 1];
	}
	nearest->distances[at] = distance;
	nearest->items[at] = item;
}

/*
 * The list a value belongs to: that of the nearest centroid, of all or of those in the
 * nearest groups; ties go to the lower number.
 */
uint32
ivf_nearest_list(Relation index, const IvfMetaPageData *meta, const float *value)
{
	float		group_distances[GROUPS_NEAR];
	uint32		group_items[GROUPS_NEAR];
	float		list_distances[NEAREST_ROUGH];
	uint32		list_items[NEAREST_ROUGH];
	Nearest		groups = {GROUPS_NEAR, 0, group_distances, group_items};
	Nearest		lists = {NEAREST_ROUGH, 0, list_distances, list_items};
	uint32		ngroups;
	float	   *distances;
	float		least = 0;
	uint32		best = 0;
	IvfRank    *rank;

	if (meta->generation == 0)
		return 0;

	rank = ivf_rank_begin(index, meta, value);
	ngroups = ivf_rank_ngroups(index, meta);
	distances = palloc(sizeof(float) * Max(meta->lists, ngroups));
	ivf_rank_groups(index, meta, rank, distances);
	for (uint32 g = 0; g < ngroups; g++)
		keep_nearest(&groups, distances[g], g);
	for (int g = 0; g < groups.n; g++)
	{
		uint32		first;
		uint32		n = ivf_rank_group(index, meta, groups.items[g], &first);

		ivf_rank_lists(index, meta, rank, first, n, distances);
		for (uint32 i = 0; i < n; i++)
			keep_nearest(&lists, distances[i], first + i);
	}

	/* rough distances leave some to choose from */
	for (int i = 0; i < lists.n; i++)
	{
		float		distance;

		if (rank->rough.code)
			distances_on_pages(index, meta, rank, lists.items[i], 1, &distance);
		else
			distance = lists.distances[i];
		if (i == 0 || distance < least || (distance == least && lists.items[i] < best))
		{
			least = distance;
			best = lists.items[i];
		}
	}
	pfree(distances);
	ivf_rank_end(rank);
	return best;
}
