/*-------------------------------------------------------------------------
 *
 * hnsw_repair.c
 *	  VACUUM's repair of the graph around dead nodes.
 *
 * A live node that links to dead ones loses these links, and looks for as many
 * new neighbours among the neighbours of the dead: where a walk through the
 * node would have gone.  Their distances are estimated from the codes in the
 * dead nodes' records, so a dead neighbour costs one page, and only the nearest
 * candidates are looked at themselves (cf. FreshDiskANN, Singh et al. 2021,
 * which reads all of them).
 *
 * A live node whose protected in-edge came from a dead one gets another, from a
 * live node of lower rank: one of its own neighbours, or one that a search for
 * it finds; failing that it becomes an entry.  Ranks never change, so every node
 * goes on to be reached from an entry, whatever happens in which order.
 *
 * Nothing is locked while distances are computed.  A list is changed only if it still is
 * the one that was looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hnsw/hnsw_vacuum.h"
#include "kernel/kernel.h"

/* Candidates looked at for so many lost neighbours. */
#define CANDIDATES(lost)	Min(2 * (lost) + 4, 32)

/* A copy of a node, with its vector unpacked. */
typedef struct NodeCopy
{
	HnswNode	node;			/* node_size bytes */
	uint16	   *half;
	float	   *x;				/* padded floats */
} NodeCopy;

typedef struct Estimate
{
	HnswNodeId	node;
	float		distance;
} Estimate;

static int
estimate_cmp(const void *pa, const void *pb)
{
	const Estimate *a = pa;
	const Estimate *b = pb;

	if (a->distance != b->distance)
		return a->distance < b->distance ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

static int
candidate_cmp(const void *pa, const void *pb)
{
	const HnswCandidate *a = pa;
	const HnswCandidate *b = pb;

	if (a->distance != b->distance)
		return a->distance < b->distance ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

static NodeCopy
new_copy(HnswVacuum *vac)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	NodeCopy	copy;

	copy.node = palloc(meta->node_size);
	copy.half = palloc(sizeof(uint16) * meta->padded);
	copy.x = palloc(sizeof(float) * meta->padded);
	return copy;
}

/* Copy a node; false when there is none. */
static bool
copy_node(HnswVacuum *vac, HnswNodeId id, NodeCopy *copy)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	Buffer		buf;
	HnswNode	node;

	VACUUM_DELAY_POINT();
	buf = page_read(vac->index, HnswNodeIdBlock(id), BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE);
	node = hnsw_node_at(vac->hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
	if (node)
		memcpy(copy->node, node, meta->node_size);
	page_release(buf);
	if (node == NULL)
		return false;
	if (meta->cont_pages > 0)
		hnsw_read_own(vac->index, vac->hnsw, id, copy->node->cont, copy->half);
	else
		memcpy(copy->half, copy->node->own, sizeof(uint16) * meta->padded);
	kernel->half_unpack(copy->half, copy->node->scale, meta->padded, copy->x);
	return true;
}

/* The value of a node, for searches and links. */
static HnswValue
value_of(const NodeCopy *copy)
{
	HnswValue	value;

	value.x = copy->x;
	value.half = copy->half;
	value.scale = copy->node->scale;
	value.error = copy->node->error;
	value.norm = copy->node->norm;
	return value;
}

/* Try to have one of the candidates, of lower rank, hold the protected in-edge. */
static bool
anchor_at(HnswVacuum *vac, HnswNodeId id, uint32 rank, const HnswValue *value,
		  HnswCandidate *candidates, int n)
{
	for (int i = 0; i < n; i++)
		if (candidates[i].node != id && candidates[i].rank < rank &&
			!hnsw_vacuum_is_dead(vac, candidates[i].node) &&
			hnsw_insert_link(vac->insert, id, value, &candidates[i], true))
			return true;
	return false;
}

/* Give a node that has lost its protected in-edge another. */
static void
anchor_node(HnswVacuum *vac, HnswNodeId id)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	NodeCopy	copy = new_copy(vac);
	NodeCopy	other = new_copy(vac);
	HnswCandidate *candidates;
	HnswLink   *links;
	HnswValue	value;
	int			n = 0;

	if (!copy_node(vac, id, &copy) || (copy.node->flags & HNSW_NODE_LIVE) == 0 ||
		(copy.node->flags & HNSW_NODE_ENTRY) != 0)
		return;
	value = value_of(&copy);
	hnsw_query_from_value(&vac->insert->query, &value);

	candidates = palloc(sizeof(HnswCandidate) * meta->slots);
	links = HnswNodeLinks(meta, copy.node);
	for (int i = 0; i < copy.node->neighbours; i++)
	{
		HnswCandidate *candidate = &candidates[n];

		candidate->node = HnswLinkNode(&links[i]);
		if (hnsw_vacuum_is_dead(vac, candidate->node) ||
			!copy_node(vac, candidate->node, &other) ||
			other.node->rank >= copy.node->rank)
			continue;
		candidate->rank = other.node->rank;
		candidate->distance = kernel->l2sq(copy.x, other.x, meta->padded);
		candidate->x = palloc(sizeof(float) * meta->padded);
		memcpy(candidate->x, other.x, sizeof(float) * meta->padded);
		n++;
	}
	qsort(candidates, n, sizeof(HnswCandidate), candidate_cmp);
	if (anchor_at(vac, id, copy.node->rank, &value, candidates, n))
		return;

	candidates = hnsw_insert_search(vac->insert, &value, &n, NULL);
	if (anchor_at(vac, id, copy.node->rank, &value, candidates, n))
		return;

	hnsw_insert_entry(vac->insert, id, &value);
}

/* Is the node among these links? */
static bool
is_linked(const HnswLink *links, int n, HnswNodeId id)
{
	for (int i = 0; i < n; i++)
		if (HnswLinkNode(&links[i]) == id)
			return true;
	return false;
}

/* The neighbours of a node's dead neighbours, with estimates of their distances. */
static int
gather_estimates(HnswVacuum *vac, HnswNodeId id, const NodeCopy *copy, int lost,
				 Estimate **result)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	const HnswLink *links = HnswNodeLinks(meta, copy->node);
	NodeCopy	dead = new_copy(vac);
	Estimate   *estimates = palloc(sizeof(Estimate) * lost * meta->slots);
	float	   *distances = palloc0(sizeof(float) * meta->slots);
	int			n = 0;
	int			kept = 0;

	for (int i = 0; i < copy->node->neighbours; i++)
	{
		HnswNodeId	dead_id = HnswLinkNode(&links[i]);
		HnswLink   *dead_links;

		if (!hnsw_vacuum_is_dead(vac, dead_id) || !copy_node(vac, dead_id, &dead))
			continue;
		dead_links = HnswNodeLinks(meta, dead.node);
		if (meta->bits > 0)
			rabitq_estimate(&vac->insert->query.codes,
							kernel->l2sq(copy->x, dead.x, meta->padded),
							HnswNodeCodes(meta, dead.node), HnswNodeFactors(meta, dead.node),
							dead.node->neighbours, distances);
		for (int j = 0; j < dead.node->neighbours; j++)
		{
			HnswNodeId	other = HnswLinkNode(&dead_links[j]);

			if (other == id || hnsw_vacuum_is_dead(vac, other) ||
				is_linked(links, copy->node->neighbours, other))
				continue;
			estimates[n].node = other;
			estimates[n].distance = distances[j];
			n++;
		}
	}

	/* several dead ones may know the same node */
	qsort(estimates, n, sizeof(Estimate), estimate_cmp);
	for (int i = 0; i < n && kept < CANDIDATES(lost); i++)
	{
		bool		seen = false;

		for (int j = 0; j < kept && !seen; j++)
			seen = estimates[j].node == estimates[i].node;
		if (!seen)
			estimates[kept++] = estimates[i];
	}
	*result = estimates;
	return kept;
}

/* Can the candidate be reached through a neighbour that stays? */
static bool
is_redundant(HnswVacuum *vac, const NodeCopy *copy, const float *kept_distances,
			 HnswCandidate *candidate)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	const HnswLink *links = HnswNodeLinks(meta, copy->node);
	HnswValue	value = {.x = candidate->x};
	float	   *estimates;
	bool		redundant = false;

	if (meta->bits == 0)
		return false;
	estimates = palloc(sizeof(float) * meta->slots);
	hnsw_query_from_value(&vac->insert->query, &value);
	rabitq_estimate(&vac->insert->query.codes, candidate->distance,
					HnswNodeCodes(meta, copy->node), HnswNodeFactors(meta, copy->node),
					copy->node->neighbours, estimates);
	for (int i = 0; i < copy->node->neighbours && !redundant; i++)
		redundant = !hnsw_vacuum_is_dead(vac, HnswLinkNode(&links[i])) &&
			kept_distances[i] < candidate->distance &&
			HNSW_ALPHA * estimates[i] <= candidate->distance;
	pfree(estimates);
	return redundant;
}

/*
 * New neighbours for a node that loses some: at most "lost", nearest first.
 */
static int
choose_new(HnswVacuum *vac, HnswNodeId id, const NodeCopy *copy, int lost,
		   HnswCandidate *chosen)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	HnswValue	value = value_of(copy);
	float	   *kept_distances = palloc0(sizeof(float) * meta->slots);
	NodeCopy	other = new_copy(vac);
	Estimate   *estimates;
	HnswCandidate *candidates;
	int			nestimates;
	int			n = 0;
	int			nchosen = 0;

	hnsw_query_from_value(&vac->insert->query, &value);
	nestimates = gather_estimates(vac, id, copy, lost, &estimates);
	if (nestimates == 0)
		return 0;
	if (meta->bits > 0)
	{
		hnsw_insert_owner(vac->insert, copy->x);
		hnsw_insert_owner_distances(vac->insert, copy->node, kept_distances);
	}

	candidates = palloc(sizeof(HnswCandidate) * nestimates);
	for (int i = 0; i < nestimates; i++)
	{
		HnswCandidate *candidate = &candidates[n];

		if (!copy_node(vac, estimates[i].node, &other) ||
			(other.node->flags & HNSW_NODE_LIVE) == 0)
			continue;
		candidate->node = estimates[i].node;
		candidate->rank = other.node->rank;
		candidate->distance = kernel->l2sq(copy->x, other.x, meta->padded);
		candidate->x = palloc(sizeof(float) * meta->padded);
		memcpy(candidate->x, other.x, sizeof(float) * meta->padded);
		n++;
	}
	qsort(candidates, n, sizeof(HnswCandidate), candidate_cmp);

	for (int i = 0; i < n && nchosen < lost; i++)
	{
		bool		redundant = is_redundant(vac, copy, kept_distances, &candidates[i]);

		for (int j = 0; j < nchosen && !redundant; j++)
			redundant = HNSW_ALPHA * kernel->l2sq(chosen[j].x, candidates[i].x, meta->padded) <=
				candidates[i].distance;
		if (!redundant)
			chosen[nchosen++] = candidates[i];
	}
	return nchosen;
}

/* Replace the links of a live node to dead ones. */
static void
repair_list(HnswVacuum *vac, HnswNodeId id)
{
	const HnswIndex *hnsw = vac->hnsw;
	const HnswMetaPageData *meta = &hnsw->meta;
	Size		code_size = hnsw_code_size(meta);
	NodeCopy	copy = new_copy(vac);
	HnswCandidate *chosen = palloc(sizeof(HnswCandidate) * meta->slots);
	RabitqFactor *new_factors = palloc0(sizeof(RabitqFactor) * meta->slots);
	uint8	   *new_codes = palloc0(code_size * meta->slots + 1);

	for (;;)
	{
		HnswLink   *links;
		Buffer		buf;
		HnswNode	node;
		PageEdit	edit;
		uint8	   *codes;
		RabitqFactor *factors;
		int			lost = 0;
		int			nchosen;
		int			used = 0;

		if (!copy_node(vac, id, &copy) || (copy.node->flags & HNSW_NODE_LIVE) == 0)
			return;
		links = HnswNodeLinks(meta, copy.node);
		for (int i = 0; i < copy.node->neighbours; i++)
			lost += hnsw_vacuum_is_dead(vac, HnswLinkNode(&links[i]));
		if (lost == 0)
			return;
		nchosen = choose_new(vac, id, &copy, lost, chosen);
		if (meta->bits > 0)
			for (int i = 0; i < nchosen; i++)
				rabitq_encode(chosen[i].x, copy.x, hnsw->mean_rotated, meta->padded,
							  meta->code_dims, meta->bits, hnsw->form,
							  new_codes + i * code_size, &new_factors[i]);

		buf = page_read(vac->index, HnswNodeIdBlock(id), BUFFER_LOCK_EXCLUSIVE, HNSW_SPECIAL_SIZE);
		node = hnsw_node_at(hnsw, BufferGetPage(buf), HnswNodeIdOffset(id));
		if (node == NULL || node->neighbours != copy.node->neighbours ||
			memcmp(HnswNodeLinks(meta, node), links, sizeof(HnswLink) * node->neighbours) != 0)
		{
			page_release(buf);	/* an insert came between: look again */
			continue;
		}
		page_edit_begin(&edit, vac->index, false);
		node = HnswPageGetNode(meta, page_edit_add(&edit, buf, false), HnswNodeIdOffset(id));
		links = HnswNodeLinks(meta, node);
		factors = HnswNodeFactors(meta, node);
		codes = HnswNodeCodes(meta, node);
		for (int i = 0; i < node->neighbours;)
		{
			if (!hnsw_vacuum_is_dead(vac, HnswLinkNode(&links[i])))
				i++;
			else if (used < nchosen)
			{
				HnswLinkSet(&links[i], chosen[used].node, false);
				if (meta->bits > 0)
				{
					factors[i] = new_factors[used];
					memcpy(codes + i * code_size, new_codes + used * code_size, code_size);
				}
				used++;
				i++;
			}
			else
			{
				int			last = --node->neighbours;

				links[i] = links[last];
				if (meta->bits > 0)
				{
					factors[i] = factors[last];
					memmove(codes + i * code_size, codes + last * code_size, code_size);
				}
			}
		}
		page_edit_commit(&edit);
		page_release(buf);
		return;
	}
}

/* Repair what is to be repaired on a page: see above. */
void
hnsw_repair_page(HnswVacuum *vac, BlockNumber blkno)
{
	const HnswMetaPageData *meta = &vac->hnsw->meta;
	MemoryContext old;
	PageVerdict verdict;
	Buffer		buf = page_read_any(vac->index, blkno, BUFFER_LOCK_SHARE, HNSW_SPECIAL_SIZE,
									vac->info->strategy, &verdict);
	PGAlignedBlock copy;

	if (verdict != PAGE_OK || HnswPageKind(BufferGetPage(buf)) != HNSW_PAGE_NODE)
	{
		page_release(buf);
		return;
	}
	old = MemoryContextSwitchTo(vac->insert->row_context);
	memcpy(copy.data, BufferGetPage(buf), BLCKSZ);
	page_release(buf);

	for (int offset = 1; offset <= meta->nodes_per_page; offset++)
	{
		HnswNode	node = hnsw_node_at(vac->hnsw, (Page) copy.data, offset);
		HnswNodeId	id = HnswNodeIdMake(blkno, offset);
		HnswLink   *links;
		bool		is_dead;
		bool		lost = false;

		if (node == NULL)
			continue;
		is_dead = hnsw_vacuum_is_dead(vac, id);
		links = HnswNodeLinks(meta, node);
		for (int i = 0; i < node->neighbours; i++)
		{
			HnswNodeId	other = HnswLinkNode(&links[i]);

			if (!is_dead)
				lost |= hnsw_vacuum_is_dead(vac, other);
			else if (HnswLinkIsProtected(&links[i]) && !hnsw_vacuum_is_dead(vac, other))
			{
				anchor_node(vac, other);
				MemoryContextReset(vac->insert->row_context);
			}
		}
		if (lost)
			repair_list(vac, id);
		MemoryContextReset(vac->insert->row_context);
	}
	MemoryContextSwitchTo(old);
}
