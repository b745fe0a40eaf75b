/*-------------------------------------------------------------------------
 *
 * random.h
 *	  Small repeatable random numbers: splitmix64 (Steele, Lea, Flood 2014).
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_RANDOM_H
#define VECDB_RANDOM_H

#include <stdint.h>

/* *state is the seed at first; any value will do */
static inline uint64_t
random_next(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* 0 .. n - 1, n >= 1; the bias of the modulus is n / 2^64 */
static inline uint64_t
random_below(uint64_t *state, uint64_t n)
{
	return random_next(state) % n;
}

#endif							/* VECDB_RANDOM_H */
