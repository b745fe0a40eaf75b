/*-------------------------------------------------------------------------
 *
 * prune.c
 *	  Which of many candidates become a node's neighbours.
 *
 * Each candidate is compared with those taken before it until one rejects it,
 * and most are rejected by one of the first: with 200 candidates and 32 places
 * some 5 to 10 distances each, not 16.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/prune.h"

#include <stddef.h>

/* Is the candidate much nearer to one of those taken than to the node? */
static bool
rejected(const int *chosen, int taken, int candidate, float distance,
		 float alpha, GraphPairDistance pair, void *arg)
{
	for (int i = 0; i < taken; i++)
		if (alpha * pair(arg, chosen[i], candidate) <= distance)
			return true;
	return false;
}

/*
 * All up to some place in the list end up chosen: find it, and move what is
 * beyond it.
 */
int
graph_fill_up(int n, int *chosen, int taken, int enough)
{
	int			room = enough - taken;
	int			end = 0;		/* all before this one will be chosen */
	int			below = 0;		/* how many of these are so already */

	while (end < n && (room > 0 || (below < taken && chosen[below] == end)))
	{
		if (below < taken && chosen[below] == end)
			below++;
		else
			room--;
		end++;
	}
	for (int i = taken - 1; i >= below; i--)
		chosen[end + i - below] = chosen[i];
	for (int i = 0; i < end; i++)
		chosen[i] = i;
	return end + taken - below;
}

int
graph_prune(int n, const float *distances, const bool *must, int max,
			float alpha, bool keep_rejected,
			GraphPairDistance pair, void *arg, int *chosen)
{
	int			musts = 0;		/* of those still to come */
	int			taken = 0;

	for (int i = 0; must != NULL && i < n; i++)
		musts += must[i];
	for (int i = 0; i < n && taken < max; i++)
	{
		if (must != NULL && must[i])
			musts--;
		else if (taken + musts >= max ||
				 rejected(chosen, taken, i, distances[i], alpha, pair, arg))
			continue;
		chosen[taken++] = i;
	}
	return keep_rejected && taken < max ? graph_fill_up(n, chosen, taken, max) : taken;
}
