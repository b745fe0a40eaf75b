-- The type vector: text and binary form, type modifier, storage, catalog.

-- text input
SELECT '[1,2,3]'::vector;
SELECT E' \t\n\r\x0b\f[ \t1 \n, \r2\x0b,\f3 ] \n'::vector;
SELECT '[-1]'::vector, '[+1]'::vector, '[1.]'::vector, '[.5]'::vector, '[-.5e+1]'::vector, '[1E2]'::vector;
SELECT '[0x10]'::vector, '[-0x1.8p1,0X.8]'::vector;
SELECT '[0,-0,0e99999,-0.000e-99999]'::vector;
SELECT '[00000000000000000000000000001,000000000000000000000000.000000000000000000005e21]'::vector;

-- rounding: nearest, ties to even; beyond 19 digits and at the limits too
SELECT '[16777216,16777217,16777218,16777219,16777220]'::vector;
SELECT '[16777217.000000000000000000000000000000000000001,16777216.99999999999999999999999999]'::vector;
SELECT '[3.4028235e38,3.40282356779733661637539395458142568447e38,-3.4028235e+38]'::vector;
SELECT '[1.17549435e-38,1.1754942e-38,1.4e-45,0.7006492321624086e-45]'::vector;
-- underflow gives zero, with its sign
SELECT '[1e-46,-1e-46,0.7006492321624085e-45,1e-99999999999999999999]'::vector;

-- text output: the shortest digits that read back, whatever the setting
SELECT '[1e7,1234567,0.0001,1e-5,123456789,0.1,1e15,6.1e-5,100000]'::vector;
SET extra_float_digits = -15;
SELECT '[1.2345678,0.33333334]'::vector;
RESET extra_float_digits;

-- binary form
SELECT vector_send('[1,-2,0.5]');
SELECT vector_send('[-0,3.4028235e38,1e-45]');

-- type modifier
SELECT '[1,2,3]'::vector(3), '{"[1,2]","[3,4]"}'::vector(2)[];
CREATE TABLE vector_t (id int, v vector, v3 vector(3), a vector(2)[]);
SELECT attname, format_type(atttypid, atttypmod), atttypmod, attstorage
FROM pg_attribute WHERE attrelid = 'vector_t'::regclass AND attnum > 1 ORDER BY attnum;
INSERT INTO vector_t VALUES (1, '[1]', '[1,2,3]', '{"[1,2]"}'), (2, '[1,2]', '[4,5,6]', NULL), (3, NULL, NULL, '{}');
SELECT * FROM vector_t ORDER BY id;
ALTER TABLE vector_t ALTER v3 TYPE vector(4);
ALTER TABLE vector_t ALTER v3 TYPE vector;
DROP TABLE vector_t;

-- how the type looks in the catalog
SELECT typlen, typbyval, typcategory, typispreferred, typdelim, typalign, typstorage, typcollation,
	   typmodin, typmodout, typanalyze, typarray::regtype
FROM pg_type WHERE typname = 'vector';
SELECT typstorage FROM pg_type WHERE typname = '_vector';

-- short header, inline, out of line, compressed
CREATE TABLE vector_stored (id int, v vector);
INSERT INTO vector_stored VALUES (3, '[1,2,3]');
INSERT INTO vector_stored
	SELECT n, ('[' || array_to_string(ARRAY(SELECT (i % 7) - 3 FROM generate_series(1, n) i), ',') || ']')::vector
	FROM unnest(ARRAY[29, 30, 500, 4000, 16000]) n;
ALTER TABLE vector_stored ALTER v SET STORAGE extended;
INSERT INTO vector_stored SELECT id + 100000, (v::text)::vector FROM vector_stored WHERE id IN (4000, 16000);
SELECT id, vector_dims(v), CASE WHEN id < 100000 THEN pg_column_size(v) END AS size, pg_column_size(v) < 2000 AS small, v = (v::text)::vector AS same, vector_norm(v)::real,
	   v <-> subvector(v, 1, id % 100000) AS self
FROM vector_stored ORDER BY id;
SELECT a.id, b.id, a.v <-> b.v AS l2, a.v = b.v AS eq
FROM vector_stored a JOIN vector_stored b ON b.id = a.id + 100000 ORDER BY 1;
-- several at once, so that none is freed or overwritten too early
SELECT sum(v1) = sum(v2) AS same
FROM (SELECT v AS v1, (v::real[])::vector AS v2 FROM vector_stored WHERE id % 100000 = 16000) s;
DROP TABLE vector_stored;

-- COPY, text and binary, there and back
CREATE TABLE vector_from (id int, v vector(5));
INSERT INTO vector_from SELECT i, ARRAY[i, -i, i / 3.0, 1e30 / i, 1e-42 * i]::vector FROM generate_series(1, 100) i;
INSERT INTO vector_from VALUES (0, '[0,-0,1e-45,3.4028235e38,-3.4028235e38]'), (-1, NULL);
CREATE TABLE vector_to (LIKE vector_from);
-- (the server's processes run in its data directory)
COPY vector_from TO PROGRAM 'cat >vector_copy.tmp';
COPY vector_to FROM PROGRAM 'cat vector_copy.tmp && rm vector_copy.tmp';
COPY vector_from TO PROGRAM 'cat >vector_copy.tmp' (FORMAT binary);
COPY vector_to FROM PROGRAM 'cat vector_copy.tmp && rm vector_copy.tmp' (FORMAT binary);
SELECT count(*), count(DISTINCT id), count(v) FROM vector_to;
SELECT count(*) FROM vector_to t JOIN vector_from f USING (id)
WHERE vector_send(t.v) IS DISTINCT FROM vector_send(f.v);
DROP TABLE vector_from, vector_to;

-- the largest
SELECT vector_dims(('[' || repeat('1.5,', 15999) || '2]')::vector(16000));
