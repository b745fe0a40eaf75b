/*-------------------------------------------------------------------------
 *
 * client.c
 *	  The client of the benchmark: sends one prepared statement again and
 *	  again, with binary parameters and results, and times each execution.
 *
 * Usage: client [OPTION]... search CONNINFO SQL VECTORS DIMS K RESULT [SETTING]...
 *        client [OPTION]... lookup CONNINFO SQL KEYS RESULT [SETTING]...
 *        client [OPTION]... insert CONNINFO SQL KEYS VECTORS DIMS RESULT [SETTING]...
 *        client [OPTION]... serve CONNINFO [SETTING]...
 *
 *	search		SQL has one parameter, $1 of a type whose binary form is that
 *				of vector, and gives one int4 column
 *	lookup		SQL has one parameter, $1 of type int4, and gives one int4
 *				column: the floor of any statement that finds rows by an index
 *	insert		SQL has two parameters, $1 of type int4 and $2 a vector, and
 *				gives no rows
 *
 *	serve		keeps one connection, as a pooled client would, and takes orders
 *				from standard input, a line each, fields parted by tabs; answers
 *				each with a line "ok", the first with "ok BACKEND-PID" once
 *				connected.  It ends with standard input, or an error
 *
 *					do	SQL						executes a command
 *					prepare	NAME	SQL			prepares a statement
 *					search	NAME	VECTORS	DIMS	K	WARM	RESULT
 *					lookup	NAME	KEYS	WARM	RESULT
 *
 *				The last two execute a prepared statement for each item, once;
 *				the first WARM items are to warm up and not in RESULT
 *
 *	VECTORS		file of float32, DIMS for each execution
 *	KEYS		file of int32, one for each execution
 *	RESULT		file to write, see below
 *	SETTING		an SQL command to run first, on each connection
 *
 *	-c N		clients at once, each a process with a connection of its own
 *				(default 1, at most 256).  They share the work: each takes the
 *				next item, or the next batch of rows, when it is done with one
 *	-p N		passes over the work, not for insert (default 1)
 *	-w N		executions beforehand to warm up, not timed, not for insert
 *				(default 20)
 *	-b N		insert: rows a transaction (default 1)
 *	-C N[,N]...	pin client and backend number i to the i-th of these
 *				processors, in turn.  Waking an idle processor for each message
 *				costs more than some searches.  Takes root or the server's user
 *
 * With BENCH_NICE=1 in the environment client and backend get the highest
 * ordinary priority, so that other work on the machine hardly takes turns with
 * them.
 *
 * RESULT holds, in the machine's byte order, for q items of work:
 *
 *	int32[q][K]			search, lookup (K = 1): what each gave in the last
 *						pass; -1 where there is no row
 *	float64[passes][q]	microseconds of each execution; a batch's first row
 *						counts the BEGIN, its last the COMMIT
 *	float64				seconds on the clock, from the first client's start to
 *						the last one's end
 *	float64				processor time of clients and backends, microseconds an
 *						execution (NaN unless the backends run on this machine,
 *						Linux); parallel workers are not in it
 *
 * Build: cc -O2 -I$(pg_config --includedir) bench/client.c -lpq -lm -o client
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* sched_setaffinity */
#endif
#include <arpa/inet.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MAX_CLIENTS 256
#define MAX_DIMS 16000

typedef enum Mode
{
	SEARCH,
	LOOKUP,
	INSERT
} Mode;

/* What the client processes share, besides the results. */
typedef struct Shared
{
	_Atomic int ready;			/* clients that are connected and warm */
	_Atomic int failed;			/* a client gave up: nobody waits for it */
	_Atomic long next;			/* batches that were taken */
	double		start[MAX_CLIENTS]; /* by now() */
	double		end[MAX_CLIENTS];
	double		cpu[MAX_CLIENTS];	/* microseconds in all */
} Shared;

static Mode mode;
static const char *conninfo;
static const char *sql;
static const char *statement = "statement";	/* the name of the one to execute */
static char **settings;
static int	nsettings;

static int	clients = 1;
static int	passes = 1;
static int	warmup = 20;
static int	batch = 1;
static int	cpus[MAX_CLIENTS];
static int	ncpus;

static long work;				/* queries or rows */
static int	dims;
static int	k = 1;
static float *vectors;
static int32_t *keys;

static Shared *shared;
static int32_t *ids;			/* [work][k] */
static double *times;			/* [passes][work] */

static PGconn *conn;

static void
fail(const char *what)
{
	if (shared)
		shared->failed = 1;
	fprintf(stderr, "client: %s%s%s", what, conn ? ": " : "\n",
			conn ? PQerrorMessage(conn) : "");
	exit(1);
}

static void
usage(void)
{
	fprintf(stderr, "usage: client [OPTION]... search CONNINFO SQL VECTORS DIMS K RESULT [SETTING]...\n"
			"       client [OPTION]... lookup CONNINFO SQL KEYS RESULT [SETTING]...\n"
			"       client [OPTION]... insert CONNINFO SQL KEYS VECTORS DIMS RESULT [SETTING]...\n"
			"       client [OPTION]... serve CONNINFO [SETTING]...\n"
			"options: -c clients  -p passes  -w warm-up  -b rows a transaction  -C processor,...\n"
			"(see the head of bench/client.c)\n");
	exit(2);
}

/* A whole number within bounds, or the end. */
static int
number(const char *text, const char *what, long low, long high)
{
	char	   *end;
	long		value = strtol(text, &end, 10);

	if (end == text || *end || value < low || value > high)
	{
		fprintf(stderr, "client: %s is \"%s\", must be %ld to %ld\n", what, text, low, high);
		exit(2);
	}
	return (int) value;
}

/* The content of a file of items of this size; their number must agree with *n unless that is 0. */
static void *
read_file(const char *path, size_t size, long *n)
{
	FILE	   *file = fopen(path, "rb");
	void	   *data;
	long		bytes;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (bytes = ftell(file)) < 0)
	{
		fprintf(stderr, "client: cannot read %s\n", path);
		exit(1);
	}
	if (bytes == 0 || bytes % size != 0 || (*n && bytes / size != (size_t) *n))
	{
		fprintf(stderr, "client: %s has %ld bytes, not %s of %zu\n", path, bytes,
				*n ? "as many items as the keys" : "a whole number of items", size);
		exit(1);
	}
	*n = bytes / size;
	data = malloc(bytes);
	rewind(file);
	if (!data || fread(data, size, *n, file) != (size_t) *n)
	{
		fprintf(stderr, "client: cannot read %s\n", path);
		exit(1);
	}
	fclose(file);
	return data;
}

/* Memory that the clients write and the first process reads. */
static void *
share(size_t size)
{
	void	   *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("out of memory");
	return p;
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

static void
command(const char *text)
{
	PGresult   *res = PQexec(conn, text);

	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		fail(text);
	PQclear(res);
}

/*
 * The highest ordinary priority for a process of ours, among all processes and,
 * where the kernel shares the processor out by sessions first, for its session.
 */
static void
raise_priority(int pid)
{
	char		path[64];
	FILE	   *file;

	if (setpriority(PRIO_PROCESS, pid, -20) != 0)
		fail("BENCH_NICE=1: cannot raise the priority of client and backend (that takes root)");
	snprintf(path, sizeof(path), "/proc/%d/autogroup", pid);
	file = fopen(path, "w");
	if (file)
	{
		fputs("-20", file);
		if (fclose(file) != 0)
			fail("BENCH_NICE=1: cannot raise the priority of client's and backend's sessions (that takes root)");
	}
}

static void
connect_to_server(int client)
{
	conn = PQconnectdb(conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("cannot connect");
	if (ncpus > 0)
	{
		cpu_set_t	set;

		CPU_ZERO(&set);
		CPU_SET(cpus[client % ncpus], &set);
		if (sched_setaffinity(0, sizeof(set), &set) != 0 ||
			sched_setaffinity(PQbackendPID(conn), sizeof(set), &set) != 0)
			fail("cannot pin client and backend: there is no such processor, or you are neither root nor the server's user");
	}
	if (getenv("BENCH_NICE") && strcmp(getenv("BENCH_NICE"), "1") == 0)
	{
		setsid();				/* else it is the user's shell whose share grows */
		raise_priority(getpid());
		raise_priority(PQbackendPID(conn));
	}
	for (int i = 0; i < nsettings; i++)
		command(settings[i]);
}

static void
prepare(const char *name, const char *text)
{
	PGresult   *res = PQprepare(conn, name, text, 0, NULL);

	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fail("cannot prepare");
	PQclear(res);
}

/* The binary form of a vector: dimensions, an unused word, the numbers. */
static void
encode_vector(char *to, const float *from)
{
	uint16_t	header[2] = {htons((uint16_t) dims), 0};

	memcpy(to, header, 4);
	for (int j = 0; j < dims; j++)
	{
		uint32_t	bits;

		memcpy(&bits, &from[j], 4);
		bits = htonl(bits);
		memcpy(to + 4 + 4 * j, &bits, 4);
	}
}

/* Executes the statement for item i of the work; returns the microseconds. */
static double
execute(long i, char *vector, int first, int last)
{
	uint32_t	key = keys ? htonl((uint32_t) keys[i]) : 0;
	const char *values[2] = {(const char *) &key, vector};
	int			lengths[2] = {4, (int) (4 + sizeof(float) * dims)};
	int			formats[2] = {1, 1};
	int			nparams = mode == INSERT ? 2 : 1;
	int			skip = mode == SEARCH ? 1 : 0;
	ExecStatusType expected = mode == INSERT ? PGRES_COMMAND_OK : PGRES_TUPLES_OK;
	PGresult   *res;
	double		start;
	double		us;

	if (mode != LOOKUP)
		encode_vector(vector, &vectors[i * dims]);
	start = now();
	if (first)
		command("BEGIN");
	res = PQexecPrepared(conn, statement, nparams, values + skip, lengths + skip, formats, 1);
	if (last)
		command("COMMIT");
	us = now() - start;
	if (PQresultStatus(res) != expected)
		fail("execution");
	if (expected == PGRES_TUPLES_OK && (PQnfields(res) != 1 || PQftype(res, 0) != 23))
		fail("the statement must give one column of type integer");
	if (mode != INSERT)
		for (int j = 0; j < k; j++)
		{
			uint32_t	id = htonl((uint32_t) -1);

			if (j < PQntuples(res))
				memcpy(&id, PQgetvalue(res, j, 0), 4);
			ids[i * k + j] = (int32_t) ntohl(id);
		}
	PQclear(res);
	return us;
}

/* One client's part, from connection to results. */
static void
run_client(int client)
{
	long		total = passes * work;
	char	   *vector = malloc(4 + sizeof(float) * dims);
	double		cpu;

	if (!vector)
		fail("out of memory");
	connect_to_server(client);
	prepare(statement, sql);
	if (mode != INSERT)
		for (long i = 0; i < warmup; i++)
			execute((client * work / clients + i) % work, vector, 0, 0);

	/* Wait for the others without keeping the processor from them. */
	shared->ready++;
	while (shared->ready < clients && !shared->failed)
		usleep(50);
	if (shared->failed)
		exit(1);

	cpu = processor_time(PQbackendPID(conn));
	shared->start[client] = now();
	for (;;)
	{
		long		from = shared->next++ * batch;
		long		to = from + batch < total ? from + batch : total;

		if (from >= total)
			break;
		for (long i = from; i < to; i++)
			times[i] = execute(i % work, vector, batch > 1 && i == from, batch > 1 && i == to - 1);
	}
	shared->end[client] = now();
	shared->cpu[client] = processor_time(PQbackendPID(conn)) - cpu;
	PQfinish(conn);
	free(vector);
}

/* Each client in a process of its own: libpq's buffers and locks are not shared. */
static void
run_clients(void)
{
	int			bad = 0;

	for (int client = 0; client < clients; client++)
	{
		pid_t		pid = fork();

		if (pid < 0)
			fail("cannot fork");
		if (pid == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_client(client);
			exit(0);
		}
	}
	for (int client = 0; client < clients; client++)
	{
		int			status;

		if (wait(&status) < 0 || status != 0)
		{
			shared->failed = 1;
			bad = 1;
		}
	}
	if (bad)
		exit(1);
}

/* See RESULT above. */
static void
write_result(const char *result, double seconds, double cpu)
{
	long		total = passes * work;
	FILE	   *file = fopen(result, "wb");

	if (!file ||
		(ids && fwrite(ids, sizeof(int32_t) * k, work, file) != (size_t) work) ||
		fwrite(times, sizeof(double), total, file) != (size_t) total ||
		fwrite(&seconds, sizeof(double), 1, file) != 1 ||
		fwrite(&cpu, sizeof(double), 1, file) != 1 ||
		fclose(file) != 0)
	{
		fprintf(stderr, "client: cannot write %s\n", result);
		exit(1);
	}
}

/* An order to search or look up: fields as in the list of orders. */
static void
serve_run(char **field, int nfields)
{
	const char *result = field[nfields - 1];
	long		warm = number(field[nfields - 2], "WARM", 0, 1000000);
	void	   *items;
	char	   *vector;
	double		cpu;
	double		start;

	statement = field[1];
	work = 0;
	k = 1;
	if (mode == SEARCH)
	{
		dims = number(field[3], "DIMS", 1, MAX_DIMS);
		k = number(field[4], "K", 1, 100000);
		items = vectors = read_file(field[2], sizeof(float) * dims, &work);
	}
	else
		items = keys = read_file(field[2], sizeof(int32_t), &work);
	if (warm >= work)
		fail("no items beyond those to warm up");
	vector = malloc(4 + sizeof(float) * dims);
	ids = malloc(sizeof(int32_t) * k * work);
	times = malloc(sizeof(double) * work);
	if (!vector || !ids || !times)
		fail("out of memory");
	for (long i = 0; i < warm; i++)
		execute(i, vector, 0, 0);
	work -= warm;
	if (mode == SEARCH)
		vectors += warm * dims;
	else
		keys += warm;
	cpu = processor_time(PQbackendPID(conn));
	start = now();
	for (long i = 0; i < work; i++)
		times[i] = execute(i, vector, 0, 0);
	write_result(result, (now() - start) / 1e6, (processor_time(PQbackendPID(conn)) - cpu) / work);
	free(vector);
	free(ids);
	free(times);
	free(items);
	vectors = NULL;
	keys = NULL;
}

static void
serve(void)
{
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		length;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	connect_to_server(0);
	printf("ok %d\n", PQbackendPID(conn));
	fflush(stdout);
	while ((length = getline(&line, &size, stdin)) > 0)
	{
		char	   *rest = line;
		char	   *field[7] = {line};
		int			n = 0;

		line[strcspn(line, "\n")] = 0;
		while (rest && n < 7)
			field[n++] = strsep(&rest, "\t");
		mode = strcmp(field[0], "lookup") == 0 ? LOOKUP : SEARCH;
		if (strcmp(field[0], "do") == 0 && n == 2)
			command(field[1]);
		else if (strcmp(field[0], "prepare") == 0 && n == 3)
			prepare(field[1], field[2]);
		else if ((strcmp(field[0], "search") == 0 && n == 7) || (mode == LOOKUP && n == 5))
			serve_run(field, n);
		else
		{
			fprintf(stderr, "client: no such order: %s (%d fields)\n", field[0], n);
			exit(2);
		}
		printf("ok\n");
		fflush(stdout);
	}
	PQfinish(conn);
}

static void
parse_cpus(char *text)
{
	for (char *part = strtok(text, ","); part; part = strtok(NULL, ","))
	{
		if (ncpus == MAX_CLIENTS)
			usage();
		cpus[ncpus++] = number(part, "processor", 0, CPU_SETSIZE - 1);
	}
}

int
main(int argc, char **argv)
{
	const char *result;
	int			option;
	int			needed;
	long		total;
	double		start;
	double		end;
	double		cpu = 0;

	while ((option = getopt(argc, argv, "+c:p:w:b:C:")) != -1)
		switch (option)
		{
			case 'c':
				clients = number(optarg, "-c", 1, MAX_CLIENTS);
				break;
			case 'p':
				passes = number(optarg, "-p", 1, 10000);
				break;
			case 'w':
				warmup = number(optarg, "-w", 0, 1000000);
				break;
			case 'b':
				batch = number(optarg, "-b", 1, 1000000);
				break;
			case 'C':
				parse_cpus(optarg);
				break;
			default:
				usage();
		}
	argv += optind;
	argc -= optind;
	if (argc < 1)
		usage();
	if (strcmp(argv[0], "search") == 0)
		mode = SEARCH, needed = 7;
	else if (strcmp(argv[0], "lookup") == 0)
		mode = LOOKUP, needed = 5;
	else if (strcmp(argv[0], "insert") == 0)
		mode = INSERT, needed = 7;
	else if (strcmp(argv[0], "serve") == 0)
		needed = 2;
	else
		usage();
	if (argc < needed)
		usage();
	conninfo = argv[1];
	settings = argv + needed;
	nsettings = argc - needed;
	if (needed == 2)
	{
		serve();
		return 0;
	}
	sql = argv[2];
	result = argv[needed - 1];
	if (mode != SEARCH)
		keys = read_file(argv[3], sizeof(int32_t), &work);
	if (mode != LOOKUP)
	{
		int			at = mode == SEARCH ? 3 : 4;

		dims = number(argv[at + 1], "DIMS", 1, MAX_DIMS);
		vectors = read_file(argv[at], sizeof(float) * dims, &work);
	}
	if (mode == SEARCH)
		k = number(argv[5], "K", 1, 100000);
	if (mode == INSERT)
		passes = 1;
	else
		batch = 1;

	total = passes * work;
	shared = share(sizeof(Shared));
	if (mode != INSERT)
		ids = share(sizeof(int32_t) * k * work);
	times = share(sizeof(double) * total);
	run_clients();

	start = shared->start[0];
	end = shared->end[0];
	for (int i = 0; i < clients; i++)
	{
		start = fmin(start, shared->start[i]);
		end = fmax(end, shared->end[i]);
		cpu += shared->cpu[i];
	}
	cpu /= total;
	end = (end - start) / 1e6;

	write_result(result, end, cpu);
	return 0;
}
