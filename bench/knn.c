/*-------------------------------------------------------------------------
 *
 * knn.c
 *	  A client that asks for nearest neighbours, one query at a time, and
 *	  times each: prepared statement, binary parameter, binary result.
 *
 * Usage: knn CONNINFO SQL QUERIES DIMS K RESULT [SETTING]...
 *
 *	SQL			has one parameter $1 of type vector and gives one int4 column
 *	QUERIES		file of float32, DIMS for each query
 *	RESULT		file to write: for each query K int32 (-1 where there is no
 *				row), then for each query a float64, microseconds, then one
 *				float64: processor time of client and backend, microseconds a
 *				query (NaN unless the backend is on this machine, Linux)
 *	SETTING		an SQL command to run first
 *
 * The first 20 queries run once beforehand to warm up.  With KNN_CPU=n in the
 * environment, client and backend are pinned to that processor: waking an
 * idle one for each message costs more than some searches.
 *
 * Build: cc -O2 -I$(pg_config --includedir) bench/knn.c -lpq -lm -o knn
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* sched_setaffinity */
#endif
#include <arpa/inet.h>
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

static PGconn *conn;

static void
fail(const char *what)
{
	fprintf(stderr, "knn: %s: %s", what, conn ? PQerrorMessage(conn) : "\n");
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Processor time of this process and the backend so far, or NaN. */
static double
processor_time(int backend)
{
	char		path[64];
	FILE	   *file;
	double		ns;
	struct timespec t;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", backend);
	file = fopen(path, "r");
	if (!file)
		return NAN;
	if (fscanf(file, "%lf", &ns) != 1)
		ns = NAN;
	fclose(file);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return ns / 1e3 + t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int
main(int argc, char **argv)
{
	int			dims;
	int			k;
	long		n;
	FILE	   *file;
	float	   *queries;
	char	   *param;
	int		   *ids;
	double	   *times;
	double		cpu = 0;
	PGresult   *res;

	if (argc < 7)
	{
		fprintf(stderr, "usage: knn CONNINFO SQL QUERIES DIMS K RESULT [SETTING]...\n");
		return 2;
	}
	dims = atoi(argv[4]);
	k = atoi(argv[5]);

	file = fopen(argv[3], "rb");
	if (!file || dims < 1 || k < 1)
		fail("cannot read the queries");
	fseek(file, 0, SEEK_END);
	n = ftell(file) / (sizeof(float) * dims);
	rewind(file);
	queries = malloc(sizeof(float) * dims * n);
	if (fread(queries, sizeof(float) * dims, n, file) != (size_t) n)
		fail("cannot read the queries");
	fclose(file);

	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("cannot connect");
	if (getenv("KNN_CPU"))
	{
		cpu_set_t	set;

		CPU_ZERO(&set);
		CPU_SET(atoi(getenv("KNN_CPU")), &set);
		if (sched_setaffinity(0, sizeof(set), &set) != 0 ||
			sched_setaffinity(PQbackendPID(conn), sizeof(set), &set) != 0)
			fail("cannot pin client and backend (run as the server's user or root)");
	}
	for (int i = 7; i < argc; i++)
	{
		res = PQexec(conn, argv[i]);
		if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
			fail(argv[i]);
		PQclear(res);
	}
	res = PQprepare(conn, "knn", argv[2], 0, NULL);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fail("cannot prepare");
	PQclear(res);

	param = malloc(4 + sizeof(float) * dims);
	ids = malloc(sizeof(int) * k * n);
	times = malloc(sizeof(double) * n);
	for (long q = -20; q < n; q++)
	{
		long		i = q < 0 ? (q + 20) % n : q;
		const char *values[1] = {param};
		int			lengths[1] = {(int) (4 + sizeof(float) * dims)};
		int			formats[1] = {1};
		uint16_t	header[2] = {htons((uint16_t) dims), 0};
		double		start;

		memcpy(param, header, 4);
		for (int j = 0; j < dims; j++)
		{
			uint32_t	bits;

			memcpy(&bits, &queries[i * dims + j], 4);
			bits = htonl(bits);
			memcpy(param + 4 + 4 * j, &bits, 4);
		}
		if (q == 0)
			cpu = processor_time(PQbackendPID(conn));
		start = now();
		res = PQexecPrepared(conn, "knn", 1, values, lengths, formats, 1);
		times[i] = now() - start;
		if (PQresultStatus(res) != PGRES_TUPLES_OK)
			fail("query");
		for (int j = 0; j < k; j++)
		{
			uint32_t	id = htonl((uint32_t) -1);

			if (j < PQntuples(res))
				memcpy(&id, PQgetvalue(res, j, 0), 4);
			ids[i * k + j] = (int) ntohl(id);
		}
		PQclear(res);
	}
	cpu = (processor_time(PQbackendPID(conn)) - cpu) / n;
	PQfinish(conn);

	file = fopen(argv[6], "wb");
	if (!file || fwrite(ids, sizeof(int) * k, n, file) != (size_t) n ||
		fwrite(times, sizeof(double), n, file) != (size_t) n ||
		fwrite(&cpu, sizeof(double), 1, file) != 1 || fclose(file) != 0)
	{
		fprintf(stderr, "knn: cannot write %s\n", argv[6]);
		return 1;
	}
	return 0;
}
