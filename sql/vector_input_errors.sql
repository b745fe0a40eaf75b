-- Every error of vector's input, with its SQLSTATE.
CREATE FUNCTION error_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE sql;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', state, left(message, 90), nullif(detail, ''), nullif(hint, ''));
END $$;

-- text syntax
SELECT literal, error_of(format('SELECT %L::vector', literal)) FROM unnest(ARRAY[
	'', ' ', '1', '1,2,3', '{1,2,3}', '(1)', '[', '[1', '[1,', '[1,2', '[1,2,3', '[,', '[,1]', '[1,,2]',
	'[1,]', '[1, ]', '[1 2]', '[1;2]', '[1]x', '[1]]', '[1],[2]', '[1] [2]', '[a]', '[1a]', '[e1]', '[.]',
	'[+]', '[-]', '[1e]', '[1e+]', '[0x]', '[0xg]', '[1.2.3]', '[- 1]', '[--1]', '[[1]]', '[1,"2"]', '[NULL]',
	'[1,2,abc', '] [1]'
]) literal;

-- too few, too many
SELECT error_of($$SELECT '[]'::vector$$);
SELECT error_of($$SELECT ' [ ] '::vector$$);
SELECT error_of($$SELECT '[]junk'::vector$$);
SELECT error_of($$SELECT ('[' || repeat('1,', 16000) || '1]')::vector$$);
SELECT error_of($$SELECT ('[' || repeat('1,', 1000000) || 'junk')::vector$$);
SELECT error_of($$SELECT ('[' || repeat('1,', 15999) || '1')::vector$$);

-- values
SELECT literal, error_of(format('SELECT %L::vector', literal)) FROM unnest(ARRAY[
	'[nan]', '[1,NaN]', '[-nan]', '[nan(12)]', '[inf]', '[-inf]', '[Infinity]', '[1,-INFINITY]', '[infinit]',
	'[4e38]', '[1,-4e38]', '[3.40282356779733661637539395458142568448e38]', '[1e99999999999999999999]', '[0x1p128]',
	'[340282360000000000000000000000000000000]', '[ 1e39 , 2]'
]) literal;

-- dimensions expected
SELECT error_of($$SELECT '[1,2,3]'::vector(2)$$);
SELECT error_of($$SELECT '[1]'::vector(2)$$);
SELECT error_of($$SELECT '{"[1,2]","[1,2,3]"}'::vector(2)[]$$);
CREATE TEMP TABLE vector_two (v vector(2));
SELECT error_of($$INSERT INTO vector_two VALUES ('[1,2,3]')$$);
COPY vector_two FROM stdin;
[1,2]
[1,2,3]
\.
COPY vector_two FROM stdin;
[1,2
\.
SELECT count(*) FROM vector_two;

-- type modifier
SELECT modifier, error_of(format('SELECT NULL::vector(%s)', modifier)) FROM unnest(ARRAY[
	'0', '-1', '16001', '2147483647', '1,2', '3.5', '''a''', '99999999999', '16000', '1'
]) modifier;
SELECT error_of($$SELECT vector_typmod_in('{}')$$);
SELECT error_of($$SELECT vector_typmod_in('{NULL}')$$);
SELECT error_of($$SELECT vector_typmod_in('{{1,2}}')$$);

-- binary: COPY what printf makes, one row with one column that holds these bytes
CREATE FUNCTION recv_error(payload bytea, target text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	file bytea := '\x5047434f50590aff0d0a00' || '\x0000000000000000'::bytea || '\x0001'::bytea ||
				  int4send(length(payload)) || payload || '\xffff'::bytea;
	octal text;
BEGIN
	SELECT string_agg(concat('\', b / 64, b / 8 % 8, b % 8), '' ORDER BY i) INTO octal
	FROM (SELECT i, get_byte(file, i) b FROM generate_series(0, length(file) - 1) i) s;
	RETURN error_of(format('COPY %s FROM PROGRAM %L (FORMAT binary)', target, 'printf ''' || octal || ''''));
END $$;
CREATE TEMP TABLE vector_any (v vector);
SELECT payload, recv_error(decode(replace(payload, ' ', ''), 'hex'), 'vector_any') FROM unnest(ARRAY[
	'0001 0000 3f800000',			-- good
	'0002 0000 80000000 00000001',	-- good
	'0000 0000',					-- no dimensions
	'3e81 0000 3f800000',			-- 16001
	'9c40 0000 3f800000',			-- 40000, not negative
	'ffff 0000 3f800000',
	'0001 0001 3f800000',			-- unused
	'0001 ffff 3f800000',
	'0001 0000 7fc00000',			-- NaN
	'0002 0000 3f800000 ffc00001',
	'0001 0000 7f800000',			-- infinite
	'0001 0000 ff800000',
	'',								-- short
	'00',
	'0001',
	'0001 0000',
	'0001 0000 3f8000',
	'0002 0000 3f800000',
	'3e80 0000 3f800000',
	'0001 0000 3f800000 00',		-- long
	'0001 0000 3f800000 3f800000'
]) payload;
SELECT recv_error('\x00030000' || '\x3f8000003f8000003f800000'::bytea, 'vector_two');
SELECT v, vector_send(v) FROM vector_any;

DROP FUNCTION recv_error, error_of;

-- 16 and later can ask without an error
DO $$
DECLARE
	bad text;
	valid boolean;
BEGIN
	IF current_setting('server_version_num')::int >= 160000 THEN
		FOREACH bad IN ARRAY ARRAY['', '[', '[]', '[1', '[a]', '[1]x', '[nan]', '[inf]', '[4e38]', '[1,2,3]', '[' || repeat('1,', 16000) || '1]'] LOOP
			EXECUTE 'SELECT pg_input_is_valid($1, ''vector(2)'')' INTO valid USING bad;
			ASSERT NOT valid, bad;
		END LOOP;
		EXECUTE 'SELECT pg_input_is_valid(''[1,2]'', ''vector(2)'')' INTO valid;
		ASSERT valid;
	END IF;
END $$;
