/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  What the programs that time src/quant and the build of src/graph alone
 *	  share: seconds, memory, and rows of floats from a file.  PROGRAM is the name
 *	  to complain under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_BENCH_ROWS_H
#define VECDB_BENCH_ROWS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double
seconds(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *
allocate(size_t size)
{
	void	   *memory = size == SIZE_MAX ? NULL : malloc(size);

	if (memory == NULL)
	{
		fprintf(stderr, PROGRAM ": no memory for %zu bytes\n", size);
		exit(1);
	}
	return memory;
}

static float *
read_rows(const char *path, int dim, int *n)
{
	FILE	   *file = fopen(path, "rb");
	float	   *rows = NULL;
	long		size;

	if (file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0)
	{
		*n = (int) (size / (long) sizeof(float) / dim);
		rewind(file);
		rows = allocate(sizeof(float) * *n * dim);
		if (*n < 1 || fread(rows, sizeof(float) * dim, *n, file) != (size_t) *n)
			rows = NULL;
	}
	if (rows == NULL)
	{
		fprintf(stderr, PROGRAM ": could not read rows of %d floats from \"%s\"\n", dim, path);
		exit(1);
	}
	fclose(file);
	return rows;
}

#endif							/* VECDB_BENCH_ROWS_H */
