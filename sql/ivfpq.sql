-- What an ivfpq index answers: with every list visited it equals the exact scan row for row. (As ivfflat.sql, and each metric with another quantizer.)

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- Runs a query (id, distance in order) by index and by exact scan: same distances row for row,
-- same ids (at the last distance, where LIMIT cuts, any of its rows), none twice.
CREATE FUNCTION against_exact(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	by_index bool := false;
	n bigint;
	bad bigint;
BEGIN
	PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		by_index := by_index OR line ~ 'Order By:';
	END LOOP;
	IF NOT by_index THEN
		RETURN 'no index scan: ' || query;
	END IF;
	EXECUTE 'CREATE TEMP TABLE by_index AS SELECT row_number() OVER () AS n, * FROM (' || query || ') x(id, d)';
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE 'CREATE TEMP TABLE exact AS SELECT row_number() OVER () AS n, * FROM (' || query || ') x(id, d)';
	PERFORM set_config('enable_indexscan', 'on', true);

	SELECT count(*) INTO bad FROM by_index i FULL JOIN exact e USING (n) WHERE i.d IS DISTINCT FROM e.d;
	SELECT bad + count(*) INTO bad FROM
		(SELECT id, d FROM by_index EXCEPT SELECT id, d FROM exact) x WHERE d < (SELECT max(d) FROM exact);
	SELECT bad + count(*) - count(DISTINCT id), count(*) INTO bad, n FROM by_index;
	DROP TABLE by_index, exact;
	RETURN CASE WHEN bad = 0 THEN format('%s rows, same', n) ELSE format('%s of %s rows differ: %s', bad, n, query) END;
END $$;

-- The same for several queries, each a string with a %L for the vector asked for.
CREATE FUNCTION all_against_exact(query text, dims int) RETURNS TABLE (answer text, queries bigint) LANGUAGE sql AS
$$ SELECT against_exact(format(query, random_vector(dims))), count(*) FROM generate_series(1, 5) GROUP BY 1 $$;

SELECT setseed(0.42);
CREATE TABLE ivf (id serial, category int, v vector(8));
INSERT INTO ivf (category, v) SELECT i % 100, random_vector(8) FROM generate_series(1, 3000) i;
INSERT INTO ivf (category, v) SELECT i % 100, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 100) i;
INSERT INTO ivf (category, v) VALUES (0, NULL), (1, NULL), (0, '[0,0,0,0,0,0,0,0]'), (1, '[0,0,0,0,0,0,0,0]');
ANALYZE ivf;

CREATE INDEX ivf_l2 ON ivf USING ivfpq (v) WITH (lists = 20, quantizer = pq, m = 4);
CREATE INDEX ivf_ip ON ivf USING ivfpq (v vector_ip_ops) WITH (lists = 20);
CREATE INDEX ivf_cosine ON ivf USING ivfpq (v vector_cosine_ops) WITH (lists = 20, quantizer = sq8);
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'ivf%' AND relkind IN ('r', 'i') ORDER BY 1;

SET ivfpq.probes = 20;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM ivf ORDER BY v <-> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM ivf ORDER BY v <#> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM ivf ORDER BY v <=> %1$L LIMIT 10', 8);
-- all rows; NULLs are in no index, nor zero vectors under cosine
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <-> %1$L LIMIT 3102', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <#> %1$L LIMIT 3102', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM ivf WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L LIMIT 3100', 8);
SET enable_seqscan = off;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM ivf ORDER BY v <-> '[1,1,1,1,1,1,1,1]') x;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM ivf ORDER BY v <#> '[1,1,1,1,1,1,1,1]') x;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM ivf ORDER BY v <=> '[1,1,1,1,1,1,1,1]') x;
-- many equal vectors; a row as the query; no query; a query without direction
SELECT against_exact('SELECT id, v <-> ''[1,2,3,4,5,6,7,8]'' FROM ivf ORDER BY v <-> ''[1,2,3,4,5,6,7,8]'' LIMIT 150');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf ORDER BY v <-> (SELECT NULL::vector)) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf ORDER BY v <=> '[0,0,0,0,0,0,0,0]') x;
SELECT against_exact('SELECT id, v <-> ''[0,0,0,0,0,0,0,0]'' FROM ivf ORDER BY v <-> ''[0,0,0,0,0,0,0,0]'' LIMIT 50');

-- a scan goes on until it has what was asked for, from one probe or none given
SET ivfpq.probes = 1;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 500) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf WHERE category = 7 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf WHERE category = 7 ORDER BY v <#> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf WHERE category = 7 ORDER BY v <=> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;
SELECT count(*) FROM (SELECT id FROM ivf WHERE category = 777 ORDER BY v <=> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;
RESET ivfpq.probes;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 500) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM ivf WHERE category = 7 ORDER BY v <=> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;

-- strict: in order, what it leaves out it says; relaxed: all rows; off: the first lists only; max_probes bounds
CREATE FUNCTION scan(query text, OUT n bigint, OUT twice bigint, OUT in_order bool) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT count(*), count(*) - count(DISTINCT id), bool_and(d >= before) FROM
		(SELECT id, d, lag(d, 1, d) OVER () AS before FROM (' || query || ') x(id, d)) y' INTO n, twice, in_order;
END $$;
SET ivfpq.probes = 1;
SELECT setting, (s).n = 3102 AS all_rows, (s).n > 0 AS some, (s).twice, (s).in_order
FROM (VALUES ('strict_order'), ('relaxed_order'), ('off')) v(setting),
	LATERAL (SELECT set_config('ivfpq.iterative_scan', setting, false) AS c) c,
	LATERAL (SELECT scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM ivf ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''') AS s WHERE c <> '') x;
SET ivfpq.iterative_scan = relaxed_order;
SET ivfpq.max_probes = 5;
SELECT n < 3102 AS fewer, n > 0 AS some, twice FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM ivf ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
SET ivfpq.max_probes = 20;
SELECT n, twice FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM ivf ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
RESET ivfpq.max_probes;
RESET ivfpq.iterative_scan;
-- strict order drops late finds: over a few queries there must be one
DO $$
DECLARE
	n bigint;
BEGIN
	FOR i IN 1..20 LOOP
		EXECUTE format('SELECT count(*) FROM (SELECT id FROM ivf ORDER BY v <-> %L) x', random_vector(8)) INTO n;
		IF n < 3102 THEN
			RETURN;
		END IF;
	END LOOP;
	RAISE 'no scan dropped a row';
END $$;

-- more rows than work_mem holds go to disk and come back in order
SET work_mem = '64kB';
SET ivfpq.probes = 20;
CREATE TABLE spill AS SELECT i AS id, ARRAY[random(), random()]::real[]::vector(2) AS v FROM generate_series(1, 30000) i;
CREATE INDEX ON spill USING ivfpq (v) WITH (lists = 20);
SELECT against_exact('SELECT id, v <-> ''[0.5,0.5]'' FROM spill ORDER BY v <-> ''[0.5,0.5]'' LIMIT 30000');
SET ivfpq.probes = 2;
SET ivfpq.iterative_scan = relaxed_order;
SELECT n, twice FROM scan('SELECT id, v <-> ''[0.5,0.5]'' FROM spill ORDER BY v <-> ''[0.5,0.5]''');
RESET ivfpq.iterative_scan;
-- rescans over spilled scans
SELECT count(*), sum(n) FROM (VALUES ('[0,0]'::vector), ('[1,1]'), ('[0.5,0]')) q(q), LATERAL
	(SELECT count(*) AS n FROM (SELECT id FROM spill ORDER BY v <-> q OFFSET 0 LIMIT 9000) y) x;
RESET work_mem;
DROP TABLE spill;

-- rescan: as many different queries as outer rows
SET ivfpq.probes = 20;
SELECT count(*), bool_and(near = id) AS each_finds_itself FROM (SELECT id, v FROM ivf WHERE id <= 200) q,
	LATERAL (SELECT id AS near FROM ivf ORDER BY v <-> q.v LIMIT 1) x;
SELECT count(*), count(DISTINCT (q, id)) FROM generate_series(1, 3) q, LATERAL
	(SELECT id FROM ivf ORDER BY v <-> ('[1,1,1,1,1,1,1,' || q || ']')::vector LIMIT 20) x;
-- a NULL query among others
SELECT q, count(id) FROM (VALUES (1, '[1,1,1,1,1,1,1,1]'::vector), (2, NULL), (3, '[2,1,1,1,1,1,1,1]')) q(q, v),
	LATERAL (SELECT id FROM ivf ORDER BY v <-> q.v LIMIT 3) x GROUP BY q ORDER BY q;

-- rows locked and followed in order
BEGIN;
SELECT count(*) FROM (SELECT id FROM ivf ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5 FOR UPDATE) x;
-- a cursor sees what was there when it was opened, and scrolls
DECLARE c SCROLL CURSOR FOR SELECT id FROM ivf WHERE id <= 3000 ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]';
MOVE FORWARD 10 IN c;
\echo :ROW_COUNT
DELETE FROM ivf WHERE id > 2000;
INSERT INTO ivf (v) SELECT random_vector(8) FROM generate_series(1, 100);
MOVE FORWARD ALL IN c;
\echo :ROW_COUNT
MOVE BACKWARD 5 IN c;
\echo :ROW_COUNT
ROLLBACK;
-- a cursor goes on after a rollback to a savepoint in which it was read
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM ivf ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]';
SAVEPOINT s;
MOVE FORWARD 100 IN c;
ROLLBACK TO s;
MOVE FORWARD ALL IN c;
\echo :ROW_COUNT
COMMIT;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM ivf ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]' LIMIT 7;
MOVE FORWARD ALL IN held;
\echo :ROW_COUNT
CLOSE held;

-- prepared, generic plan
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(vector) AS SELECT id, v <-> $1 FROM ivf ORDER BY v <-> $1 LIMIT 4;
EXPLAIN (COSTS OFF) EXECUTE nearest('[1,1,1,1,1,1,1,1]');
CREATE TEMP TABLE nearest1 AS EXECUTE nearest('[1,1,1,1,1,1,1,1]');
CREATE TEMP TABLE nearest2 AS EXECUTE nearest('[-1,-1,-1,-1,-1,-1,-1,-1]');
SELECT count(*) FROM (SELECT * FROM nearest1 UNION ALL SELECT * FROM nearest2) x JOIN ivf USING (id);
SELECT count(*) FROM nearest1 JOIN nearest2 USING (id);
DROP TABLE nearest1, nearest2;
DEALLOCATE nearest;
RESET plan_cache_mode;

-- changes after the build are found
INSERT INTO ivf (category, v) SELECT i % 100, random_vector(8) FROM generate_series(1, 1000) i;
UPDATE ivf SET v = random_vector(8) WHERE id % 10 = 3;
UPDATE ivf SET category = category + 1 WHERE id % 10 = 4;
UPDATE ivf SET v = NULL WHERE id % 10 = 5;
DELETE FROM ivf WHERE id % 10 = 6;
BEGIN;
INSERT INTO ivf (v) SELECT random_vector(8) FROM generate_series(1, 100);
SAVEPOINT s;
INSERT INTO ivf (v) SELECT random_vector(8) FROM generate_series(1, 100);
ROLLBACK TO s;
DELETE FROM ivf WHERE id % 10 = 7;
ROLLBACK;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <-> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <#> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM ivf WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L', 8);
VACUUM ivf;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <-> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <#> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM ivf WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L', 8);
SELECT c.oid::regclass, f.* FROM pg_class c, LATERAL vecdb_check(c.oid, strict => true) f WHERE relname ~ '^ivf_(l2|ip|cosine)$';
-- pages would hold more rows of such codes than 20 lists get: CREATE INDEX has said so
SET client_min_messages = warning;
REINDEX TABLE ivf;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM ivf WHERE v IS NOT NULL ORDER BY v <-> %1$L LIMIT 100', 8);
SELECT c.oid::regclass, f.* FROM pg_class c, LATERAL vecdb_check(c.oid, strict => true) f WHERE relname ~ '^ivf_(l2|ip|cosine)$';
VACUUM FULL ivf;
RESET client_min_messages;
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM ivf ORDER BY v <=> %1$L LIMIT 100', 8);
TRUNCATE ivf;
SELECT count(*) FROM (SELECT id FROM ivf ORDER BY v <-> '[1,1,1,1,1,1,1,1]') x;
DROP TABLE ivf;
RESET enable_seqscan;
RESET ivfpq.probes;

-- rerank_k: the row that is handed out is the nearest of as many, and LIMIT is filled
SELECT setseed(0.3);
CREATE TABLE few AS SELECT i AS id, (SELECT array_agg(sin(i * 0.37 * d) + random() * 2) FROM generate_series(1, 64) d WHERE i = i)::real[]::vector(64) AS v
	FROM generate_series(1, 20000) i;
CREATE INDEX ON few USING ivfpq (v);
SET enable_seqscan = off;
SET enable_sort = off;
SET ivfpq.rerank_k = 20;
SELECT count(*) FROM (SELECT id FROM few WHERE id % 100 = 7 ORDER BY v <-> (SELECT v FROM few WHERE id = 2) LIMIT 10) x;
SELECT count(*) FROM (SELECT id FROM few ORDER BY v <-> (SELECT v FROM few WHERE id = 2) LIMIT 500) x;
RESET ivfpq.rerank_k;
RESET enable_sort;
RESET enable_seqscan;
DROP TABLE few;

DROP FUNCTION random_vector, against_exact, all_against_exact, scan;
