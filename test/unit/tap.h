/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  Points of a unit test, in the Test Anything Protocol.
 *
 * A point is made of any number of complaints: COMPLAIN() for each fault found,
 * then point(), which is "ok" if there was none.  done() is main()'s result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_TEST_TAP_H
#define VECDB_TEST_TAP_H

#include <stdarg.h>
#include <stdio.h>

static int	tests = 0;
static int	failures = 0;
static int	complaints = 0;		/* of the test at hand */

/* Prints the first few only. */
#define COMPLAIN(...) \
	do { \
		if (complaints++ < 5) \
		{ \
			printf("# " __VA_ARGS__); \
			printf("\n"); \
		} \
	} while (0)

static void
point(const char *format,...)
{
	va_list		arguments;

	tests++;
	failures += complaints > 0;
	printf("%sok %d - ", complaints > 0 ? "not " : "", tests);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	complaints = 0;
}

static int
done(void)
{
	printf("1..%d\n", tests);
	return failures > 0;
}

#endif							/* VECDB_TEST_TAP_H */
