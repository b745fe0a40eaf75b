/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  The type vector: text and binary input and output, type modifier.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/array.h"

#include "compat.h"
#include "types/vector.h"
#include "types/vector_parse.h"

VECDB_FUNCTION(vector_in);
VECDB_FUNCTION(vector_out);
VECDB_FUNCTION(vector_recv);
VECDB_FUNCTION(vector_send);
VECDB_FUNCTION(vector_typmod_in);

Vector *
vector_new(int dim)
{
	Size		size = VECTOR_SIZE(dim);
	Vector	   *result = (Vector *) palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = dim;

	return result;
}

bool
vector_check_dim(int dim, fmNodePtr escontext)
{
	if (unlikely(dim < 1))
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector must have at least 1 dimension")));

	if (unlikely(dim > VECTOR_MAX_DIM))
		ereturn(escontext, false,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("vector cannot have more than %d dimensions", VECTOR_MAX_DIM)));

	return true;
}

bool
vector_check_typmod(int32 typmod, int dim, fmNodePtr escontext)
{
	if (unlikely(typmod != -1 && typmod != dim))
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", typmod, dim)));

	return true;
}

/* The error of vector_check_element: false, or not at all. */
bool
vector_not_finite(float value, fmNodePtr escontext)
{
	if (isnan(value))
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("NaN not allowed in vector")));
	else
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("infinite value not allowed in vector")));
}

/* All elements of a vector just made; the first bad one gives the error. */
void
vector_check_elements(const Vector *v)
{
	for (int i = 0; i < v->dim; i++)
		(void) vector_check_element(v->x[i], NULL);
}

void
vector_dims_differ(int a, int b)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("different vector dimensions %d and %d", a, b)));
}

/* White space as isspace() in the C locale, whatever LC_CTYPE says. */
static inline const char *
skip_space(const char *p)
{
	while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		p++;
	return p;
}

/* detail may be NULL */
static Datum
vector_syntax_error(const char *literal, const char *detail, fmNodePtr escontext)
{
	ereturn(escontext, (Datum) 0,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type vector: \"%s\"", literal),
			 detail ? errdetail_internal("%s", detail) : 0));
}

/*
 * Text input: [1,2.5,-3e-2], white space anywhere between the tokens.
 *
 * The elements go to the stack first: the literal would have to be read twice
 * to know their number.
 */
Datum
vector_in(PG_FUNCTION_ARGS)
{
	char	   *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	fmNodePtr	escontext = fcinfo->context;
	const char *end = literal + strlen(literal);
	const char *p = skip_space(literal);
	float		x[VECTOR_MAX_DIM];
	int			dim = 0;
	Vector	   *result;

	if (*p != '[')
		return vector_syntax_error(literal,
								   "Vector contents must start with \"[\".",
								   escontext);
	p = skip_space(p + 1);

	/* "[]" is well-formed, only too short; no dimensions is an error here */
	if (*p == ']' && !vector_check_dim(0, escontext))
		return (Datum) 0;

	for (;;)
	{
		const char *next;

		if (dim == VECTOR_MAX_DIM)
		{
			(void) vector_check_dim(dim + 1, escontext);
			return (Datum) 0;
		}

		switch (vector_parse_number(p, end, &x[dim], &next))
		{
			case VECTOR_NUMBER_OK:
				break;
			case VECTOR_NUMBER_MISSING:
				return vector_syntax_error(literal, NULL, escontext);
			case VECTOR_NUMBER_OVERFLOW:
				ereturn(escontext, (Datum) 0,
						(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						 errmsg("\"%.*s\" is out of range for type vector",
								(int) (next - p), p)));
		}
		if (!vector_check_element(x[dim], escontext))
			return (Datum) 0;
		dim++;

		p = skip_space(next);
		if (*p != ',')
			break;
		p = skip_space(p + 1);
	}

	if (*p != ']')
		return vector_syntax_error(literal, NULL, escontext);

	p = skip_space(p + 1);
	if (*p != '\0')
		return vector_syntax_error(literal,
								   "Junk after closing right brace.",
								   escontext);

	if (!vector_check_typmod(typmod, dim, escontext))
		return (Datum) 0;

	result = (Vector *) palloc(VECTOR_SIZE(dim));
	SET_VARSIZE(result, VECTOR_SIZE(dim));
	result->dim = dim;
	result->unused = 0;
	memcpy(result->x, x, sizeof(float) * dim);

	PG_RETURN_VECTOR_P(result);
}

/*
 * Text output: the shortest digits that read back as the same float, whatever
 * extra_float_digits says.
 */
Datum
vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	char	   *result;
	char	   *p;

	/* a separator or bracket for each element, one more bracket, and NUL */
	result = p = (char *) palloc((FLOAT_SHORTEST_DECIMAL_LEN + 1) * v->dim + 2);

	for (int i = 0; i < v->dim; i++)
	{
		*p++ = i == 0 ? '[' : ',';
		p += float_to_shortest_decimal_bufn(v->x[i], p);
	}
	*p++ = ']';
	*p = '\0';

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_CSTRING(result);
}

/*
 * Binary input: uint16 dim, uint16 zero, dim float4, in network order.
 */
Datum
vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim = (int) pq_getmsgint(buf, 2);
	int			unused = (int) pq_getmsgint(buf, 2);
	const char *bytes;
	Vector	   *result;

	(void) vector_check_dim(dim, NULL);
	(void) vector_check_typmod(typmod, dim, NULL);

	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));

	bytes = pq_getmsgbytes(buf, (int) sizeof(float) * dim);
	result = vector_new(dim);
	for (int i = 0; i < dim; i++)
	{
		uint32		word;

		memcpy(&word, bytes + sizeof(float) * i, sizeof(word));
		word = pg_ntoh32(word);
		memcpy(&result->x[i], &word, sizeof(word));
	}
	vector_check_elements(result);

	PG_RETURN_VECTOR_P(result);
}

Datum
vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, 4 + (int) sizeof(float) * v->dim);
	pq_writeint16(&buf, (uint16) v->dim);
	pq_writeint16(&buf, 0);
	for (int i = 0; i < v->dim; i++)
	{
		uint32		word;

		memcpy(&word, &v->x[i], sizeof(word));
		pq_writeint32(&buf, word);
	}

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* vector(n): the modifier is n itself */
Datum
vector_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *modifiers = PG_GETARG_ARRAYTYPE_P(0);
	int			n;
	int32	   *typmod = ArrayGetIntegerTypmods(modifiers, &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));

	if (*typmod < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type vector must be at least 1")));

	if (*typmod > VECTOR_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type vector cannot exceed %d", VECTOR_MAX_DIM)));

	PG_RETURN_INT32(*typmod);
}
