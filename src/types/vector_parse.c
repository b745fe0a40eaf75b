/*-------------------------------------------------------------------------
 *
 * vector_parse.c
 *	  A decimal number to the nearest float, much faster than strtof.
 *
 * The digits are read eight at a time into an integer w, and the number is
 * w * 10^q.  Its nearest float comes from one 64 x 64 bit multiplication with
 * a table of powers of ten, as in the Eisel-Lemire algorithm (Lemire, "Number
 * Parsing at a Gigabyte per Second", Software: Practice and Experience 51,
 * 2021).  That algorithm keeps powers of 128 bits, because a double leaves few
 * of 64 bits to spare.  A float leaves 38, so we keep 64 and make the error an
 * interval: if all of it rounds to one float, that is the answer.  If not,
 * the number lies within 2^-61 (relative) of the middle between two floats, and
 * strtof decides.
 *
 * strtof also gets whatever is rare: more than 19 significant digits, results
 * that are denormal, zero by underflow or overflow, nan, inf, hexadecimal.  It
 * minds LC_NUMERIC, but a server always runs with LC_NUMERIC=C (PostgreSQL
 * formats with other locales only around to_char and the like, and restores C
 * at once), so the decimal point is '.' in both paths.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "types/vector_parse.h"

/* digits that fit a uint64 whatever they are */
#define MAX_DIGITS 19

/* an exponent beyond this changes nothing and must not overflow an int */
#define MAX_EXPONENT 100000

/*
 * The leading 64 bits of 10^q, rounded down, for every q that can lead from at
 * most 19 digits to a normal float.  Made by tools/make_powers.py.
 */
#define POWER_MIN (-56)
#define POWER_MAX 38

static const uint64_t power_of_ten[POWER_MAX - POWER_MIN + 1] = {
	UINT64_C(0xfb158592be068d2e), UINT64_C(0x9ced737bb6c4183d),
	UINT64_C(0xc428d05aa4751e4c), UINT64_C(0xf53304714d9265df),
	UINT64_C(0x993fe2c6d07b7fab), UINT64_C(0xbf8fdb78849a5f96),
	UINT64_C(0xef73d256a5c0f77c), UINT64_C(0x95a8637627989aad),
	UINT64_C(0xbb127c53b17ec159), UINT64_C(0xe9d71b689dde71af),
	UINT64_C(0x9226712162ab070d), UINT64_C(0xb6b00d69bb55c8d1),
	UINT64_C(0xe45c10c42a2b3b05), UINT64_C(0x8eb98a7a9a5b04e3),
	UINT64_C(0xb267ed1940f1c61c), UINT64_C(0xdf01e85f912e37a3),
	UINT64_C(0x8b61313bbabce2c6), UINT64_C(0xae397d8aa96c1b77),
	UINT64_C(0xd9c7dced53c72255), UINT64_C(0x881cea14545c7575),
	UINT64_C(0xaa242499697392d2), UINT64_C(0xd4ad2dbfc3d07787),
	UINT64_C(0x84ec3c97da624ab4), UINT64_C(0xa6274bbdd0fadd61),
	UINT64_C(0xcfb11ead453994ba), UINT64_C(0x81ceb32c4b43fcf4),
	UINT64_C(0xa2425ff75e14fc31), UINT64_C(0xcad2f7f5359a3b3e),
	UINT64_C(0xfd87b5f28300ca0d), UINT64_C(0x9e74d1b791e07e48),
	UINT64_C(0xc612062576589dda), UINT64_C(0xf79687aed3eec551),
	UINT64_C(0x9abe14cd44753b52), UINT64_C(0xc16d9a0095928a27),
	UINT64_C(0xf1c90080baf72cb1), UINT64_C(0x971da05074da7bee),
	UINT64_C(0xbce5086492111aea), UINT64_C(0xec1e4a7db69561a5),
	UINT64_C(0x9392ee8e921d5d07), UINT64_C(0xb877aa3236a4b449),
	UINT64_C(0xe69594bec44de15b), UINT64_C(0x901d7cf73ab0acd9),
	UINT64_C(0xb424dc35095cd80f), UINT64_C(0xe12e13424bb40e13),
	UINT64_C(0x8cbccc096f5088cb), UINT64_C(0xafebff0bcb24aafe),
	UINT64_C(0xdbe6fecebdedd5be), UINT64_C(0x89705f4136b4a597),
	UINT64_C(0xabcc77118461cefc), UINT64_C(0xd6bf94d5e57a42bc),
	UINT64_C(0x8637bd05af6c69b5), UINT64_C(0xa7c5ac471b478423),
	UINT64_C(0xd1b71758e219652b), UINT64_C(0x83126e978d4fdf3b),
	UINT64_C(0xa3d70a3d70a3d70a), UINT64_C(0xcccccccccccccccc),
	UINT64_C(0x8000000000000000), UINT64_C(0xa000000000000000),
	UINT64_C(0xc800000000000000), UINT64_C(0xfa00000000000000),
	UINT64_C(0x9c40000000000000), UINT64_C(0xc350000000000000),
	UINT64_C(0xf424000000000000), UINT64_C(0x9896800000000000),
	UINT64_C(0xbebc200000000000), UINT64_C(0xee6b280000000000),
	UINT64_C(0x9502f90000000000), UINT64_C(0xba43b74000000000),
	UINT64_C(0xe8d4a51000000000), UINT64_C(0x9184e72a00000000),
	UINT64_C(0xb5e620f480000000), UINT64_C(0xe35fa931a0000000),
	UINT64_C(0x8e1bc9bf04000000), UINT64_C(0xb1a2bc2ec5000000),
	UINT64_C(0xde0b6b3a76400000), UINT64_C(0x8ac7230489e80000),
	UINT64_C(0xad78ebc5ac620000), UINT64_C(0xd8d726b7177a8000),
	UINT64_C(0x878678326eac9000), UINT64_C(0xa968163f0a57b400),
	UINT64_C(0xd3c21bcecceda100), UINT64_C(0x84595161401484a0),
	UINT64_C(0xa56fa5b99019a5c8), UINT64_C(0xcecb8f27f4200f3a),
	UINT64_C(0x813f3978f8940984), UINT64_C(0xa18f07d736b90be5),
	UINT64_C(0xc9f2c9cd04674ede), UINT64_C(0xfc6f7c4045812296),
	UINT64_C(0x9dc5ada82b70b59d), UINT64_C(0xc5371912364ce305),
	UINT64_C(0xf684df56c3e01bc6), UINT64_C(0x9a130b963a6c115c),
	UINT64_C(0xc097ce7bc90715b3), UINT64_C(0xf0bdc21abb48db20),
	UINT64_C(0x96769950b50d88f4)
};

static inline uint64_t
multiply_high(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	return (uint64_t) (((unsigned __int128) a * b) >> 64);
#else
	uint64_t	a0 = (uint32_t) a,
				a1 = a >> 32;
	uint64_t	b0 = (uint32_t) b,
				b1 = b >> 32;
	uint64_t	middle = a1 * b0 + ((a0 * b0) >> 32);
	uint64_t	middle2 = a0 * b1 + (uint32_t) middle;

	return a1 * b1 + (middle >> 32) + (middle2 >> 32);
#endif
}

/*
 * Nearest float to w * 10^q as its bits, or false when that is not certain or
 * the result is not a normal number.
 */
static inline bool
decimal_to_float(uint64_t w, int q, uint32_t *bits)
{
	uint64_t	high;
	uint64_t	mantissa;
	uint64_t	rest;
	uint64_t	half;
	int			zeros;
	int			top;
	int			shift;
	int			exponent;

	if (w == 0)
	{
		*bits = 0;
		return true;
	}
	if (q < POWER_MIN || q > POWER_MAX)
		return false;

	zeros = __builtin_clzll(w);

	/*
	 * Both factors are in [2^63, 2^64).  The power is short of the true one by
	 * less than 1, and the lower half of the product is dropped: the true
	 * product over 2^64 is in [high, high + 2), and high in [2^62, 2^64).
	 */
	high = multiply_high(w << zeros, power_of_ten[q - POWER_MIN]);
	top = (int) (high >> 63);

	/* 217706 / 2^16 = log2(10), close enough to be exact after the floor */
	exponent = ((217706 * q) >> 16) - 63 + (126 + top) - zeros + 127;
	if (exponent <= 0)
		return false;

	/* keep 24 bits, round to nearest */
	shift = 39 + top;
	mantissa = high >> shift;
	half = UINT64_C(1) << (shift - 1);
	rest = high & (2 * half - 1);
	if (rest - (half - 1) <= 1)
		return false;			/* half - 1 or half: either side, or a tie */

	/*
	 * A round-up to 2^24 carries into the exponent, as it should.  Subtracting
	 * one from the exponent absorbs the mantissa's leading bit.
	 */
	*bits = ((uint32_t) (exponent - 1) << 23) + (uint32_t) mantissa + (rest > half);

	return *bits < 0x7f800000;
}

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

/*
 * Append the digits at p to *w (modulo 2^64) and return what follows them.
 */
static inline const char *
read_digits(const char *p, const char *end, uint64_t *w)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	static const uint32_t power[9] = {
		1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000
	};

	while (end - p >= 8)
	{
		uint64_t	chunk;
		uint64_t	other;
		int			n;

		memcpy(&chunk, p, 8);

		/*
		 * Digits become 0 .. 9.  The high bit of the first byte that is none
		 * gets set in "other"; a carry can only spoil the bytes behind it.
		 */
		chunk ^= UINT64_C(0x3030303030303030);
		other = ((chunk + UINT64_C(0x7676767676767676)) | chunk) &
			UINT64_C(0x8080808080808080);

		if (other == 0)
			n = 8;
		else
		{
			/* push out what follows the digits; in two steps, for n = 0 */
			n = __builtin_ctzll(other) / 8;
			chunk = chunk << (56 - 8 * n) << 8;
		}

		/* add up neighbours; the first digit is in the lowest byte */
		chunk = (chunk * 10 + (chunk >> 8)) & UINT64_C(0x00ff00ff00ff00ff);
		chunk = (chunk * 100 + (chunk >> 16)) & UINT64_C(0x0000ffff0000ffff);
		chunk = (chunk * 10000 + (chunk >> 32)) & UINT64_C(0xffffffff);

		*w = *w * power[n] + chunk;
		p += n;
		if (n < 8)
			return p;
	}
#endif

	while (is_digit(*p))
		*w = *w * 10 + (uint64_t) (*p++ - '0');

	return p;
}

static VectorNumber
parse_slowly(const char *s, float *value, const char **next)
{
	char	   *after;

	errno = 0;
	*value = strtof(s, &after);
	*next = after;
	if (after == s)
		return VECTOR_NUMBER_MISSING;
	if (errno == ERANGE && isinf(*value))
		return VECTOR_NUMBER_OVERFLOW;
	return VECTOR_NUMBER_OK;
}

VectorNumber
vector_parse_number(const char *s, const char *end, float *value, const char **next)
{
	const char *p = s;
	const char *first;
	const char *point;
	uint64_t	w = 0;
	uint32_t	sign;
	uint32_t	bits;
	int64_t		digits;
	int64_t		q = 0;

	/* no branch: the sign of an embedding's element is a coin toss */
	sign = (uint32_t) (*p == '-') << 31;
	p += (*p == '-') | (*p == '+');

	first = p;
	while (is_digit(*p))
		w = w * 10 + (uint64_t) (*p++ - '0');
	digits = p - first;

	/* short whole numbers, as in counts and one-hot vectors, are exact */
	if ((*p == ',' || *p == ']') && digits > 0 && digits <= 7)
	{
		*value = (float) w;
		*value = sign ? -*value : *value;
		*next = p;
		return VECTOR_NUMBER_OK;
	}

	/* a hexadecimal number, and then x is not what ends it */
	if (digits == 1 && w == 0 && (*p == 'x' || *p == 'X'))
		return parse_slowly(s, value, next);

	point = p;
	if (*p == '.')
	{
		p = read_digits(p + 1, end, &w);
		q = point + 1 - p;
		digits -= q;
	}

	/* nan, inf, or no number at all */
	if (digits == 0)
		return parse_slowly(s, value, next);

	if (digits > MAX_DIGITS)
	{
		/* leading zeros added nothing to w: do not count them */
		for (const char *d = first; d < p && (*d == '0' || d == point); d++)
			digits -= (d != point);
		if (digits > MAX_DIGITS)
			return parse_slowly(s, value, next);
	}

	if (*p == 'e' || *p == 'E')
	{
		const char *e = p + 1;
		bool		negative = (*e == '-');
		int			exponent = 0;

		if (*e == '-' || *e == '+')
			e++;
		/* without digits the e is not ours */
		if (is_digit(*e))
		{
			do
			{
				if (exponent < MAX_EXPONENT)
					exponent = exponent * 10 + (*e - '0');
			} while (is_digit(*++e));
			q += negative ? -exponent : exponent;
			p = e;
		}
	}

	/*
	 * A literal can be longer than an int counts, so q is wider; it is cut
	 * where no power is in reach.
	 */
	if (q < -MAX_EXPONENT || q > MAX_EXPONENT ||
		!decimal_to_float(w, (int) q, &bits))
		return parse_slowly(s, value, next);

	bits |= sign;
	memcpy(value, &bits, sizeof(float));
	*next = p;

	return VECTOR_NUMBER_OK;
}
