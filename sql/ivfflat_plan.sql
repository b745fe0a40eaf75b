-- When the planner chooses an ivfflat index.

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- 50 clusters, as real data have
SELECT setseed(0.3);
CREATE TABLE centers AS SELECT i, random_vector(384) AS c FROM generate_series(0, 49) i;
CREATE TABLE large (id int PRIMARY KEY, category int, v vector(384));
INSERT INTO large SELECT n, n % 100, c * random_vector(384) + c + c FROM generate_series(1, 2000) n JOIN centers ON i = n % 50;
SELECT c AS q FROM centers WHERE i = 7 \gset
CREATE INDEX large_v ON large USING ivfflat (v vector_cosine_ops);
CREATE TABLE small AS SELECT * FROM large LIMIT 20;
CREATE INDEX small_v ON small USING ivfflat (v vector_cosine_ops);
CREATE TABLE short (id int, v vector(3));
INSERT INTO short SELECT i, random_vector(3) FROM generate_series(1, 20000) i;
CREATE INDEX short_v ON short USING ivfflat (v);
VACUUM ANALYZE large, small, short;

-- the plan's scan nodes, without the query vector
CREATE FUNCTION scans(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		found := concat_ws(', ', nullif(found, ''), substring(line FROM '(?:Parallel )?(?:Seq|Index|Index Only|Bitmap Heap) Scan.*'));
	END LOOP;
	RETURN found;
END $$;

-- LIMIT on large tables
SELECT scans(format('SELECT id FROM large ORDER BY v <=> %L LIMIT 10', :'q'));
SELECT scans(format('SELECT id FROM large ORDER BY v <=> %L LIMIT 1', :'q'));
SELECT scans(format('SELECT id FROM large ORDER BY v <=> (SELECT v FROM small LIMIT 1) LIMIT 10'));
SELECT scans('SELECT id FROM short ORDER BY v <-> ''[1,2,3]'' LIMIT 10');
SELECT scans('SELECT * FROM small s, LATERAL (SELECT id FROM large l ORDER BY l.v <=> s.v LIMIT 5) x');
-- all rows, and tiny tables
SELECT scans(format('SELECT id FROM large ORDER BY v <=> %L', :'q'));
SELECT scans('SELECT id FROM short ORDER BY v <-> ''[1,2,3]''');
SELECT scans(format('SELECT id FROM small ORDER BY v <=> %L LIMIT 10', :'q'));
-- another index that finds the few rows
SELECT scans(format('SELECT id FROM large WHERE id = 5 ORDER BY v <=> %L LIMIT 10', :'q'));
SELECT scans(format('SELECT id FROM large WHERE id BETWEEN 1 AND 30 ORDER BY v <=> %L LIMIT 10', :'q'));
-- a filter that is no search by distance
SELECT scans(format('SELECT id FROM large WHERE v <=> %L < 0.1', :'q'));
-- with the filter, still by distance
SELECT scans('SELECT id FROM short WHERE v <-> ''[1,2,3]'' < 0.1 ORDER BY v <-> ''[1,2,3]'' LIMIT 10');
-- a fresh table without statistics
CREATE TABLE fresh AS SELECT * FROM large;
CREATE INDEX fresh_v ON fresh USING ivfflat (v vector_cosine_ops);
SELECT scans(format('SELECT id FROM fresh ORDER BY v <=> %L LIMIT 10', :'q'));
-- partitions
CREATE TABLE parted (id int, v vector(3)) PARTITION BY HASH (id);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT * FROM short;
CREATE INDEX ON parted USING ivfflat (v);
VACUUM ANALYZE parted;
SELECT scans('SELECT id FROM parted ORDER BY v <-> ''[1,2,3]'' LIMIT 10');

-- two distances: an index has the order of one
SELECT scans(format('SELECT id FROM large ORDER BY v <=> %L, v <=> %L LIMIT 10', :'q', :'q'));
SELECT scans(format('SELECT id FROM large ORDER BY v <=> %1$L, v <=> ARRAY(SELECT i FROM generate_series(1, 384) i)::vector LIMIT 10', :'q'));
DROP TABLE centers, large, small, short, fresh, parted;
DROP FUNCTION random_vector, scans;
