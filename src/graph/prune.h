/*-------------------------------------------------------------------------
 *
 * prune.h
 *	  Which of many candidates become a node's neighbours: the alpha rule of
 *	  Vamana (Subramanya et al., DiskANN, NeurIPS 2019).
 *
 * Candidates come nearest first.  One is taken unless a neighbour taken before
 * is much nearer to it than the node itself is: alpha * d(taken, candidate) <= d(node,
 * candidate), squared distances throughout.  What the rule rejects may fill up the list
 * at the end (keep_rejected), nearest first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_GRAPH_PRUNE_H
#define VECDB_GRAPH_PRUNE_H

#include <stdbool.h>
#include <stdint.h>

/* Squared distance of two candidates, by their places in the list. */
typedef float (*GraphPairDistance) (void *arg, int a, int b);

/*
 * n candidates at distances[0 .. n-1], ascending; must[i] (NULL: none): taken in any
 * case.  Sets chosen[0 .. result-1], at most max of them, in ascending order.
 */
extern int	graph_prune(int n, const float *distances, const bool *must, int max,
						float alpha, bool keep_rejected,
						GraphPairDistance pair, void *arg, int *chosen);

/*
 * Add the nearest candidates that were not chosen until `enough` of the n are;
 * taken places stand in chosen, ascending, as they do afterwards.  Returns their
 * number.  Around a point with many others at about the same distance in many
 * dimensions the alpha rule leaves each of them that one neighbour, which
 * cannot link back to all: they could not be found.  So a list is filled up to
 * half.
 */
extern int	graph_fill_up(int n, int *chosen, int taken, int enough);

#endif							/* VECDB_GRAPH_PRUNE_H */
