/*-------------------------------------------------------------------------
 *
 * test_vector_parse.c
 *	  The float parser of vector_in against strtof, on random literals.
 *
 * For each literal the value (to the bit), the status and the end of the
 * number must be strtof's.  Literals end where an unreadable page begins, so a
 * read behind the NUL ends the program.
 *
 * Usage: test_vector_parse [LITERALS PER SHAPE [SEED]]
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Count the parser's own calls of strtof: most numbers must not need it. */
static long strtof_calls = 0;

static float
counted_strtof(const char *s, char **end)
{
	strtof_calls++;
	return strtof(s, end);
}

/* under another name, since the build may link the object file as well */
#define strtof counted_strtof
#define vector_parse_number parse_under_test
#include "types/vector_parse.c"
#undef strtof

#define ROOM 2048				/* longest literal */

static uint64_t state;
static char *limit;				/* first unreadable byte */
static int	tests = 0;
static int	failures = 0;
static long complaints = 0;

static uint64_t
random64(void)
{
	uint64_t	z = (state += UINT64_C(0x9e3779b97f4a7c15));	/* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int
below(int n)
{
	return (int) (random64() % (uint64_t) n);
}

static uint32_t
float_bits(float f)
{
	uint32_t	bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static float
bits_float(uint32_t bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static float
finite_float(void)
{
	uint32_t	bits;

	do
		bits = (uint32_t) random64();
	while ((bits & 0x7f800000) == 0x7f800000);
	return bits_float(bits);
}

static void
report(const char *what)
{
	tests++;
	failures += complaints != 0;
	printf("%sok %d - %s\n", complaints ? "not " : "", tests, what);
	complaints = 0;
}

static void
check(const char *literal)
{
	size_t		length = strlen(literal);
	char	   *s = limit - length - 1;
	char	   *expected_next;
	const char *next = NULL;
	VectorNumber expected;
	VectorNumber got;
	float		expected_value;
	float		value = 0;

	memcpy(s, literal, length + 1);

	errno = 0;
	expected_value = strtof(s, &expected_next);
	expected = expected_next == s ? VECTOR_NUMBER_MISSING :
		errno == ERANGE && isinf(expected_value) ? VECTOR_NUMBER_OVERFLOW :
		VECTOR_NUMBER_OK;

	got = parse_under_test(s, limit - 1, &value, &next);

	if (got != expected || next != expected_next ||
		(expected == VECTOR_NUMBER_OK &&
		 float_bits(value) != float_bits(expected_value) &&
		 !(isnan(value) && isnan(expected_value))))
	{
		if (complaints++ < 5)
			printf("# \"%s\": status %d, %d characters, %.9g (%08x); strtof: %d, %d, %.9g (%08x)\n",
				   literal, got, (int) (next - s), value, float_bits(value),
				   expected, (int) (expected_next - s), expected_value,
				   float_bits(expected_value));
	}
}

/* n random digits at p; returns their end */
static char *
put_digits(char *p, int n)
{
	while (n-- > 0)
		*p++ = (char) ('0' + below(10));
	return p;
}

/* now and then something behind the number, as in a vector literal */
static void
put_tail(char *p)
{
	static const char *const tails[] = {"", "", "]", ",1.25]", " , 3", "x", "e", "e+", ".5", "f", "x1"};

	strcpy(p, tails[below(11)]);
}

static void
shape_shortest(char *s)
{
	put_tail(s + sprintf(s, "%.*g", 6 + below(4), finite_float()));
}

static void
shape_embedding(char *s)
{
	/* what models give: mostly within 0.001 .. 1 */
	sprintf(s, "%.*g", 7 + below(3),
			(double) ((int64_t) random64()) * 0x1p-63 * pow(10, -below(4)));
}

static void
shape_double(char *s)
{
	double		d;

	do
	{
		uint64_t	bits = random64();

		/* every second one within the range of float */
		if (below(2))
			bits = (bits & UINT64_C(0x800fffffffffffff)) | (uint64_t) (1023 - 150 + below(280)) << 52;
		memcpy(&d, &bits, sizeof(d));
	} while (!isfinite(d));
	put_tail(s + sprintf(s, "%.*g", 15 + below(6), d));
}

static void
shape_denormal(char *s)
{
	double		d = bits_float((uint32_t) random64() & 0x80ffffff);

	put_tail(s + sprintf(s, "%.*e", below(20), d * (below(8) ? 1 : 0x1p-24)));
}

static void
shape_limits(char *s)
{
	static const char *const limits[] = {
		"3.4028234", "3.40282346", "3.4028235", "3.40282356", "3.4028235677973366",
		"3.402823567797336616", "34028235677973366163753939545814", "1.17549435",
		"1.17549428", "1.1754942807573643", "1.1754943508222875", "0.7006492321624085",
		"1.40129846", "7.00649232162408535461864791644958", "7.006492321624086"
	};

	s += sprintf(s, "%s", limits[below(15)]);
	if (below(2))
		s = put_digits(s, below(12));
	sprintf(s, "e%d", (int[]) {38, 37, 39, -38, -37, -39, -45, -46, -44, 7, 0}[below(11)]);
}

static void
shape_digits(char *s)
{
	if (below(2))
		*s++ = below(2) ? '-' : '+';
	if (below(4) == 0)
		s += sprintf(s, "%.*s", below(30), "000000000000000000000000000000");
	s = put_digits(s, below(24));
	if (below(4))
	{
		*s++ = '.';
		if (below(4) == 0)
			s += sprintf(s, "%.*s", below(50), "00000000000000000000000000000000000000000000000000");
		s = put_digits(s, below(24));
	}
	if (below(2))
	{
		*s++ = below(2) ? 'e' : 'E';
		if (below(2))
			*s++ = below(2) ? '-' : '+';
		s += sprintf(s, "%d", below(below(8) ? 70 : 200000));
		if (below(20) == 0)
			s = put_digits(s, 20);
	}
	put_tail(s);
}

/*
 * The exact middle between two floats, all its digits, or cut, or with its
 * last digit changed.
 */
static void
shape_halfway(char *s)
{
	float		f = finite_float();
	double		middle;
	int			digits = below(3) ? 1 + below(40) : 160;

	if (below(2))
		f = bits_float((float_bits(f) & 0x807fffff) | (uint32_t) (127 - 30 + below(80)) << 23);
	middle = ((double) f + (double) bits_float(float_bits(f) + 1)) / 2;
	if (!isfinite(middle))
		middle = 16777217;

	sprintf(s, "%.*e", digits, middle);
	if (below(2))
	{
		char	   *last = strchr(s, 'e') - 1;

		if (*last >= '0' && *last <= '9')
			*last = (char) ('0' + (*last - '0' + (below(2) ? 1 : 9)) % 10);
	}
}

/* middles that need few digits: integers and dyadic fractions */
static void
shape_short_halfway(char *s)
{
	uint64_t	odd = ((uint64_t) (1 << 24 | below(1 << 24)) << 1 | 1) >> below(2);
	int			shift = below(39);

	if (below(2))
		sprintf(s, "%.25g", ldexp((double) odd, -below(12)));
	else
		sprintf(s, "%llu", (unsigned long long) ((odd << shift) + (uint64_t) below(3) - 1));
}

static void
shape_integer(char *s)
{
	put_tail(s + sprintf(s, "%llu", (unsigned long long) (random64() >> below(64))));
}

static void
shape_junk(char *s)
{
	static const char alphabet[] = "0123456789012345678900..eE+-xXpPnaNAifty() \t,]/:";
	int			n = below(24);

	while (n-- > 0)
		*s++ = alphabet[below((int) sizeof(alphabet) - 1)];
	*s = '\0';
}

static void
shape_words(char *s)
{
	static const char *const words[] = {
		"nan", "NaN", "-nan", "nan(", "nan(12)", "inf", "-INFINITY", "infinit",
		"0x10", "0X1.8p3", "-0x.8", "0x", "0xg", "-0x1p-149", "0x1p128", "0b1", "+", "-", "+-1", "--1", ".",
		"-.", ".e1", "1.", "1.e3", "-.5", "00", "-0", "-0.0e-999999999999", "0e999999999999999999",
		"1e", "1e+", "1e-", "1e99999999999999999999", "1e-99999999999999999999", "-1e-46"
	};

	put_tail(s + sprintf(s, "%s", words[below(36)]));
}

static void
shape_long(char *s)
{
	char	   *p = s;

	p = put_digits(p, below(3) ? below(3) : 500);
	*p++ = '.';
	memset(p, '0', 600);
	p += below(2) ? 0 : below(600);
	p = put_digits(p, below(600));
	sprintf(p, "e%d", below(1200) - 600);
}

/*
 * Each entry must be floor(10^q / 2^e), with the e the parser takes it for:
 * compared as T * 10^-q * 2^e <= 1 < (T + 1) * ..., in whole numbers.
 */
#define LIMBS 16

typedef struct Big
{
	uint32_t	limb[LIMBS];
} Big;

static void
big_multiply(Big *b, uint32_t factor)
{
	uint64_t	carry = 0;

	for (int i = 0; i < LIMBS; i++)
	{
		carry += (uint64_t) b->limb[i] * factor;
		b->limb[i] = (uint32_t) carry;
		carry >>= 32;
	}
	if (carry != 0)
		abort();
}

static int
big_compare(const Big *a, const Big *b)
{
	for (int i = LIMBS - 1; i >= 0; i--)
	{
		if (a->limb[i] != b->limb[i])
			return a->limb[i] < b->limb[i] ? -1 : 1;
	}
	return 0;
}

static void
check_powers(void)
{
	for (int q = POWER_MIN; q <= POWER_MAX; q++)
	{
		uint64_t	t = power_of_ten[q - POWER_MIN];
		int			e = ((217706 * q) >> 16) - 63;
		Big			low = {{(uint32_t) t, (uint32_t) (t >> 32)}};
		Big			high = {{(uint32_t) (t + 1), (uint32_t) ((t + 1) >> 32), t + 1 == 0}};
		Big			power = {{1}};

		for (int i = 0; i > q; i--)
		{
			big_multiply(&low, 10);
			big_multiply(&high, 10);
		}
		for (int i = 0; i < e; i++)
		{
			big_multiply(&low, 2);
			big_multiply(&high, 2);
		}
		for (int i = 0; i < q; i++)
			big_multiply(&power, 10);
		for (int i = 0; i > e; i--)
			big_multiply(&power, 2);

		if (t < UINT64_C(1) << 63 ||
			big_compare(&low, &power) > 0 || big_compare(&high, &power) <= 0)
		{
			complaints++;
			printf("# 10^%d: %016llx\n", q, (unsigned long long) t);
		}
	}
	report("table of powers");
}

int
main(int argc, char **argv)
{
	static const struct
	{
		const char *name;
		void		(*make) (char *s);
		double		most_calls; /* share that may need strtof */
	}			shapes[] = {
		{"floats as printed", shape_shortest, 0.02},
		{"embeddings", shape_embedding, 0.0001},
		{"doubles as printed", shape_double, 1},
		{"denormals and underflow", shape_denormal, 1},
		{"about the limits of float", shape_limits, 1},
		{"digits, points and exponents", shape_digits, 1},
		{"middles between floats", shape_halfway, 1},
		{"short middles between floats", shape_short_halfway, 1},
		{"integers", shape_integer, 0.05},
		{"junk", shape_junk, 1},
		{"special words", shape_words, 1},
		{"long literals", shape_long, 1},
	};
	long		count = argc > 1 ? atol(argv[1]) : 50000;
	long		page = sysconf(_SC_PAGESIZE);
	char		literal[ROOM];
	char	   *memory;

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	memory = mmap(NULL, (size_t) (2 * page), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || mprotect(memory + page, (size_t) page, PROT_NONE) != 0)
	{
		perror("mmap");
		return 2;
	}
	limit = memory + page;

	check_powers();

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		strtof_calls = 0;
		for (long n = 0; n < count; n++)
		{
			shapes[i].make(literal);
			check(literal);
		}
		if ((double) strtof_calls > shapes[i].most_calls * (double) count)
		{
			complaints++;
			printf("# strtof was called for %ld of %ld\n", strtof_calls, count);
		}
		report(shapes[i].name);
	}

	printf("1..%d\n", tests);
	return failures != 0;
}
