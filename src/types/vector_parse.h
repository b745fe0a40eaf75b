/*-------------------------------------------------------------------------
 *
 * vector_parse.h
 *	  A decimal number to the nearest float, much faster than strtof.
 *
 * Plain C, no PostgreSQL, so that it can be fuzzed and timed alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_VECTOR_PARSE_H
#define VECDB_VECTOR_PARSE_H

typedef enum VectorNumber
{
	VECTOR_NUMBER_OK,
	VECTOR_NUMBER_MISSING,		/* no number starts here */
	VECTOR_NUMBER_OVERFLOW		/* a finite number beyond the range of float */
} VectorNumber;

/*
 * Parse the number at s, which must not be white space; *end is the NUL that
 * ends the string s points into.  Sets *next to the first character behind
 * the number (also on overflow), as strtof would in the C locale, and *value
 * to the same bits as strtof: nan, inf and hexadecimal numbers included.
 * Underflow is no error.
 */
extern VectorNumber vector_parse_number(const char *s, const char *end,
										float *value, const char **next);

#endif							/* VECDB_VECTOR_PARSE_H */
