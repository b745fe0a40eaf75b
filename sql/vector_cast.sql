-- Casts from and to vector.

SELECT c.castsource::regtype AS source, c.casttarget::regtype AS target, c.castfunc::regprocedure AS function, c.castcontext, c.castmethod
FROM pg_cast c WHERE 'vector'::regtype IN (c.castsource, c.casttarget)
ORDER BY 1::text COLLATE "C", 2::text COLLATE "C";

-- arrays to vector
SELECT ARRAY[1,2,3]::vector, ARRAY[1.5,2,3]::vector(3), '{1,2,3}'::real[]::vector, '{1,-2.5}'::float8[]::vector, '{1,-2.5}'::numeric[]::vector;
SELECT ARRAY[2147483647,16777217,-2147483648]::vector, '{0.1,16777217,1e-46,-1e-46}'::float8[]::vector;
SELECT '{0.1,12345678901234567890.5}'::numeric[]::vector;
-- core narrows a numeric, and will not underflow
SELECT '{1e-46}'::numeric[]::vector;
SELECT '{-0,0}'::real[]::vector, '{-0}'::float8[]::vector, '{-0}'::numeric[]::vector;
SELECT '[5:7]={1,2,3}'::int[]::vector;
-- a null bitmap without nulls
SELECT array_remove(ARRAY[1,NULL,3], NULL)::vector, (ARRAY[NULL,1,2])[2:3]::vector;

SELECT '{{1,2},{3,4}}'::int[]::vector;
SELECT '{1,NULL}'::int[]::vector;
SELECT '{NULL}'::real[]::vector;
SELECT '{}'::int[]::vector;
SELECT '{}'::real[]::vector;
SELECT '{}'::float8[]::vector;
SELECT '{}'::numeric[]::vector;
SELECT '{NaN}'::real[]::vector;
SELECT '{1,-Infinity}'::real[]::vector;
SELECT '{NaN}'::float8[]::vector;
SELECT '{Infinity}'::float8[]::vector;
SELECT '{4e38}'::float8[]::vector;
SELECT '{-4e38}'::float8[]::vector;
SELECT '{NaN}'::numeric[]::vector;
SELECT '{1e39}'::numeric[]::vector;
SELECT ARRAY[1,2,3]::vector(2);
SELECT '{1,2,3}'::real[]::vector(4);
SELECT '{1,2,3}'::float8[]::vector(4);
SELECT '{1,2,3}'::numeric[]::vector(4);
SELECT vector_dims(array_fill(0, ARRAY[16000])::vector);
SELECT array_fill(0, ARRAY[16001])::vector;
SELECT array_fill(0::numeric, ARRAY[100000])::vector;
CREATE FUNCTION pg_temp.texts_to_vector(text[], integer, boolean) RETURNS vector
	AS '$libdir/vecdb', 'array_to_vector' LANGUAGE C IMMUTABLE STRICT;
SELECT pg_temp.texts_to_vector('{a}', -1, true);
\set VERBOSITY sqlstate
SELECT '{{1,2},{3,4}}'::int[]::vector;
SELECT '{1,NULL}'::int[]::vector;
SELECT '{}'::int[]::vector;
SELECT '{4e38}'::float8[]::vector;
SELECT '{1e39}'::numeric[]::vector;
SELECT ARRAY[1,2,3]::vector(2);
SELECT array_fill(0, ARRAY[16001])::vector;
SELECT pg_temp.texts_to_vector('{a}', -1, true);
\set VERBOSITY default

-- no cast from these
SELECT '{1}'::smallint[]::vector;
SELECT '{1}'::bigint[]::vector;
SELECT '{1}'::text[]::vector;

-- vector to vector(n)
SELECT '[1,2,3]'::vector::vector(3), '[1,2,3]'::vector(3)::vector;
SELECT '[1,2,3]'::vector::vector(2);
SELECT vector('[1,2,3]'::vector, 3, true);
SELECT vector('[1,2,3]'::vector, 4, false);

-- vector to real[] is implicit: functions of real[] take vectors
CREATE FUNCTION pg_temp.second(real[]) RETURNS real LANGUAGE sql AS 'SELECT $1[2]';
SELECT pg_temp.second('[1,2.5]'::vector);
SELECT '[1,-0,2.5]'::vector::real[], array_dims('[1,2,3]'::vector::real[]), ('[1,2,3]'::vector::real[])[2];
SELECT ('[' || repeat('1,', 15999) || '1]')::vector::real[]::vector = ('[' || repeat('1,', 15999) || '1]')::vector AS same;
SELECT '[1,2]'::vector::float8[];
SELECT '[1,2]'::vector::int[];

-- to and from text only through the text form
SELECT '[1,2]'::text::vector, '[1,2]'::vector::text;
SELECT to_jsonb('[1,2]'::vector);

-- assignment
CREATE TEMP TABLE vector_assigned (v vector(3), r real[]);
INSERT INTO vector_assigned VALUES (ARRAY[1,2,3], '[1,2,3]'::vector), ('{1,2,3}'::float8[], '[1]'::vector), (ARRAY[1.5,2,3], NULL), (NULL, '{}');
INSERT INTO vector_assigned VALUES (ARRAY[1,2]);
SELECT * FROM vector_assigned;

-- and not implicit: with an implicit cast these would be ambiguous
SELECT ARRAY[1,2,3] = ARRAY[1,2,3] AS equal, ARRAY[1.5] < ARRAY[2.5] AS less, ARRAY[1,2] || ARRAY[3] AS concatenated, ARRAY[1,2]::real[] <> ARRAY[1]::real[] AS differ;
SELECT l2_distance(ARRAY[1,2], ARRAY[3,4]);
