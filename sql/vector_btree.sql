-- Order, equality, and the default btree operator class of vector.

SELECT '[1,2,3]'::vector < '[1,2,4]' AS t, '[1,2,3]'::vector < '[1,2,3,0]' AS t, '[2]'::vector > '[1,9,9]' AS t,
	   '[1,2]'::vector = '[1,2]' AS t, '[0]'::vector = '[-0]' AS t, '[-0,1]'::vector <= '[0,1]' AS t, '[-0,1]'::vector >= '[0,1]' AS t,
	   '[1]'::vector <> '[1,2]' AS t, '[1]'::vector = '[1,2]' AS f, '[0]'::vector <> '[-0]' AS f, '[-0]'::vector < '[0]' AS f;
SELECT vector_cmp('[1]', '[1]'), vector_cmp('[1]', '[2]'), vector_cmp('[2]', '[1]'), vector_cmp('[1,2]', '[1]'), vector_cmp('[1]', '[1,2]'), vector_cmp('[-0]', '[0]');

CREATE TABLE vector_sort (v vector);
INSERT INTO vector_sort VALUES ('[1,2]'), ('[-1]'), ('[0,5]'), ('[-0,4]'), ('[1]'), ('[1,2,-9]'), ('[1,2]'), (NULL), ('[3e38]'), ('[-1e-45]'), ('[-1,0]');
SELECT v FROM vector_sort ORDER BY v;
SELECT v FROM vector_sort ORDER BY v DESC NULLS LAST;
-- as arrays sort
SELECT array_agg(v::text ORDER BY v, v::text) = array_agg(v::text ORDER BY v::real[], v::text) AS same FROM vector_sort;
SELECT v, count(*) FROM vector_sort GROUP BY v HAVING count(*) > 1;
SELECT count(DISTINCT v) FROM vector_sort;
-- all operators against the comparison, all pairs
SELECT count(*), bool_and((a.v < b.v) = (c < 0) AND (a.v <= b.v) = (c <= 0) AND (a.v = b.v) = (c = 0) AND
						  (a.v >= b.v) = (c >= 0) AND (a.v > b.v) = (c > 0) AND (a.v <> b.v) = (c <> 0) AND
						  c = -vector_cmp(b.v, a.v) AND c = btarraycmp(a.v::real[], b.v::real[])) AS agree
FROM vector_sort a, vector_sort b, LATERAL (SELECT vector_cmp(a.v, b.v) c) x WHERE a.v IS NOT NULL AND b.v IS NOT NULL;

-- statistics over mixed dimensions
ANALYZE vector_sort;
SELECT n_distinct, null_frac > 0 AS nulls FROM pg_stats WHERE tablename = 'vector_sort';

-- index: default operator class, all strategies, unique
CREATE INDEX vector_sort_v ON vector_sort (v);
\d vector_sort_v
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM vector_sort WHERE v >= '[0]' AND v < '[1,2]' ORDER BY v;
SELECT v FROM vector_sort WHERE v >= '[0]' AND v < '[1,2]' ORDER BY v;
SELECT v FROM vector_sort WHERE v = '[1,2]';
SELECT v FROM vector_sort WHERE v <= '[-1]';
SELECT v FROM vector_sort WHERE v > '[1,2]';
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE UNIQUE INDEX ON vector_sort (v);
CREATE TABLE vector_key (v vector(2) PRIMARY KEY);
INSERT INTO vector_key VALUES ('[1,2]'), ('[0,1]');
INSERT INTO vector_key VALUES ('[-0,1]');
INSERT INTO vector_key VALUES ('[1,2]') ON CONFLICT DO NOTHING;
SELECT * FROM vector_key;
-- large values that are stored out of line and fetched again for every comparison
INSERT INTO vector_sort SELECT array_fill(i % 5, ARRAY[4000])::vector FROM generate_series(1, 40) i;
DROP INDEX vector_sort_v;
INSERT INTO vector_sort SELECT array_fill(i % 5, ARRAY[4000])::vector FROM generate_series(1, 40) i;
SELECT vector_dims(v), count(*) FROM vector_sort WHERE vector_dims(v) > 100 GROUP BY v ORDER BY v;
DROP TABLE vector_sort, vector_key;

-- = is neither hashable nor mergeable, but joins
SELECT a, b FROM (VALUES ('[1]'::vector), ('[2]')) x(a) JOIN (VALUES ('[2]'::vector), ('[3]')) y(b) ON a = b;

SELECT opcname, opcdefault, opcintype::regtype, amname FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'vector'::regtype AND amname = 'btree';
SELECT amopstrategy, amopopr::regoperator FROM pg_amop JOIN pg_opfamily f ON f.oid = amopfamily JOIN pg_am a ON a.oid = opfmethod
WHERE amoplefttype = 'vector'::regtype AND amname = 'btree' ORDER BY 1;
