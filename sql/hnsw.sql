-- What an hnsw index answers: at a recall of 1 it equals the exact scan row for row; below, never a row twice or out of order.
-- Which rows an approximate search finds is the graph's affair: here are counts and yes or no.

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
$$ SELECT against_exact(format(query, random_vector(dims))), count(*) FROM generate_series(1, 3) GROUP BY 1 $$;

-- recall@10 over queries near rows of the table, by distances, as rows may be equal
CREATE FUNCTION recall(tab text, op text, queries int) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	q vector;
	near float8[];
	exact float8[];
	n bigint := 0;
	top text := format('SELECT array_agg(d) FROM (SELECT v %2$s $1 AS d FROM %1$s ORDER BY v %2$s $1 LIMIT 10) x', tab, op);
BEGIN
	PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
	FOR q IN EXECUTE format('SELECT v * random_vector(vector_dims(v)) + v FROM %s WHERE v IS NOT NULL ORDER BY id LIMIT %s', tab, queries) LOOP
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE top INTO near USING q;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE top INTO exact USING q;
		n := n + (SELECT count(*) FROM unnest(near) d WHERE d <= exact[10]);
	END LOOP;
	PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
	RETURN n / (10.0 * queries);
END $$;

-- what the verifier says of all hnsw indexes of a table
CREATE FUNCTION findings(tab regclass) RETURNS TABLE (index regclass, finding record) LANGUAGE sql AS $$
	SELECT indexrelid::regclass, f FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam AND amname = 'hnsw',
		LATERAL vecdb_check(indexrelid, true) f WHERE indrelid = tab ORDER BY 1 $$;

SELECT setseed(0.42);
CREATE TABLE h (id serial, category int, v vector(8));
INSERT INTO h (category, v) SELECT i % 100, random_vector(8) FROM generate_series(1, 3000) i;
INSERT INTO h (category, v) SELECT i % 100, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 100) i;
INSERT INTO h (category, v) VALUES (0, NULL), (1, NULL), (0, '[0,0,0,0,0,0,0,0]'), (1, '[0,0,0,0,0,0,0,0]');
ANALYZE h;

CREATE INDEX h_l2 ON h USING hnsw (v vector_l2_ops);
CREATE INDEX h_ip ON h USING hnsw (v vector_ip_ops);
CREATE INDEX h_cosine ON h USING hnsw (v vector_cosine_ops);
CREATE INDEX h_l1 ON h USING hnsw (v vector_l1_ops) WITH (m = 8, ef_construction = 32);
SELECT relname, reltuples FROM pg_class WHERE relname ~ '^h(_|$)' AND relkind IN ('r', 'i') ORDER BY 1;
SELECT * FROM findings('h');

SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h ORDER BY v <-> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h ORDER BY v <#> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM h ORDER BY v <=> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <+> %1$L FROM h ORDER BY v <+> %1$L LIMIT 10', 8);
-- all rows; NULLs are in no index, nor zero vectors under cosine
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <-> %1$L LIMIT 3102', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <#> %1$L LIMIT 3102', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM h WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L LIMIT 3100', 8);
SELECT * FROM all_against_exact('SELECT id, v <+> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <+> %1$L LIMIT 3102', 8);
-- a filter of 1 %
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h WHERE category = 7 ORDER BY v <-> %1$L LIMIT 10', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h WHERE category = 7 ORDER BY v <#> %1$L LIMIT 100', 8);
SET enable_seqscan = off;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM h ORDER BY v <-> '[1,1,1,1,1,1,1,1]') x;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM h ORDER BY v <#> '[1,1,1,1,1,1,1,1]') x;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM h ORDER BY v <=> '[1,1,1,1,1,1,1,1]') x;
SELECT count(*), count(*) FILTER (WHERE vector_norm(v) = 0) AS zero FROM (SELECT v FROM h ORDER BY v <+> '[1,1,1,1,1,1,1,1]') x;
-- many equal vectors; no query; a query without direction, far away, or in the middle
SELECT against_exact('SELECT id, v <-> ''[1,2,3,4,5,6,7,8]'' FROM h ORDER BY v <-> ''[1,2,3,4,5,6,7,8]'' LIMIT 150');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM h ORDER BY v <-> (SELECT NULL::vector)) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM h ORDER BY v <=> '[0,0,0,0,0,0,0,0]') x;
SELECT against_exact('SELECT id, v <-> ''[0,0,0,0,0,0,0,0]'' FROM h ORDER BY v <-> ''[0,0,0,0,0,0,0,0]'' LIMIT 50');
SELECT against_exact('SELECT id, v <#> ''[0,0,0,0,0,0,0,0]'' FROM h WHERE v IS NOT NULL ORDER BY v <#> ''[0,0,0,0,0,0,0,0]'' LIMIT 3102');
SELECT against_exact('SELECT id, v <-> ''[1e18,1,1,1,1,1,1,1]'' FROM h WHERE v IS NOT NULL ORDER BY v <-> ''[1e18,1,1,1,1,1,1,1]'' LIMIT 3102');
SELECT against_exact('SELECT id, v <+> ''[1e30,1,1,1,1,1,1,1]'' FROM h WHERE v IS NOT NULL ORDER BY v <+> ''[1e30,1,1,1,1,1,1,1]'' LIMIT 3102');
RESET vecdb.target_recall;

-- a scan goes on until it has what was asked for, whatever the effort
CREATE FUNCTION scan(query text, OUT n bigint, OUT twice bigint, OUT in_order bool) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT count(*), count(*) - count(DISTINCT id), bool_and(d >= before) FROM
		(SELECT id, d, lag(d, 1, d) OVER () AS before FROM (' || query || ') x(id, d)) y' INTO n, twice, in_order;
END $$;
SET hnsw.ef_search = 10;
SET hnsw.iterative_scan = relaxed_order;
SELECT n, twice FROM scan('SELECT id, v <-> ''[1,1,1,1,1,1,1,1]'' FROM h ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 500');
SELECT n, twice FROM scan('SELECT id, v <-> ''[1,1,1,1,1,1,1,1]'' FROM h ORDER BY v <-> ''[1,1,1,1,1,1,1,1]''');
SELECT n, twice FROM scan('SELECT id, v <#> ''[1,1,1,1,1,1,1,1]'' FROM h ORDER BY v <#> ''[1,1,1,1,1,1,1,1]''');
SELECT n, twice FROM scan('SELECT id, v <=> ''[1,1,1,1,1,1,1,1]'' FROM h ORDER BY v <=> ''[1,1,1,1,1,1,1,1]''');
SELECT n, twice FROM scan('SELECT id, v <+> ''[1,1,1,1,1,1,1,1]'' FROM h ORDER BY v <+> ''[1,1,1,1,1,1,1,1]''');
SELECT n, twice FROM scan('SELECT id, v <-> ''[1,1,1,1,1,1,1,1]'' FROM h WHERE category = 7 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 10');
SELECT n, twice FROM scan('SELECT id, v <-> ''[1,1,1,1,1,1,1,1]'' FROM h WHERE category = 7 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 100');
SELECT n, twice FROM scan('SELECT id, v <-> ''[1,1,1,1,1,1,1,1]'' FROM h WHERE category = 777 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 100');
-- strict: in order, and what it leaves out it says
RESET hnsw.iterative_scan;
SELECT n BETWEEN 2800 AND 3102 AS nearly_all, twice, in_order FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
SELECT n, twice, in_order FROM scan('SELECT id, v <=> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <=> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 100');
SELECT n, twice, in_order FROM scan('SELECT id, v <#> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h WHERE category = 7 ORDER BY v <#> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 10');
SELECT n, twice, in_order FROM scan('SELECT id, v <+> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h WHERE category = 7 ORDER BY v <+> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 10');
-- a query from which all rows are equally far: none is late, and LIMIT 10 reads no more than it needs
SELECT n = (SELECT count(v) FROM h) AS all_rows, twice FROM scan('SELECT id, v <#> ''[0,0,0,0,0,0,0,0]'' FROM h WHERE v IS NOT NULL ORDER BY v <#> ''[0,0,0,0,0,0,0,0]''');
SELECT n = (SELECT count(v) FROM h WHERE vector_norm(v) > 0) AS all_rows, twice FROM scan('SELECT id, v <=> ''[0,0,0,0,0,0,0,0]'' FROM h ORDER BY v <=> ''[0,0,0,0,0,0,0,0]''');
CREATE FUNCTION blocks(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
	RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
END $$;
SELECT blocks('SELECT id FROM h ORDER BY v <#> ''[0,0,0,0,0,0,0,0]'' LIMIT 10') < 600 AS ip, blocks('SELECT id FROM h ORDER BY v <=> ''[0,0,0,0,0,0,0,0]'' LIMIT 10') < 600 AS cosine;
DROP FUNCTION blocks;
-- LIMIT beyond ef_search, without codes and with them
SELECT n, twice, in_order FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 300');
SELECT n, twice, in_order FROM scan('SELECT id, v <+> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <+> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 300');
-- off: ef_search vectors at most; equal vectors count once
SET hnsw.iterative_scan = off;
SELECT n <= 10 AS few, twice, in_order FROM scan('SELECT id, v <-> ''[.9,.1,.1,.1,.1,.1,.1,.1]'' FROM h WHERE id <= 3000 ORDER BY v <-> ''[.9,.1,.1,.1,.1,.1,.1,.1]''');
SELECT n < 5 AS few FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h WHERE category = 7 ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' LIMIT 10');
SET hnsw.ef_search = 200;
SELECT n, twice, in_order FROM scan('SELECT id, v <-> ''[1,2,3,4,5,6,7,8]'' FROM h ORDER BY v <-> ''[1,2,3,4,5,6,7,8]''');
-- relaxed, but no more nodes than allowed once ef_search is satisfied
SET hnsw.ef_search = 10;
SET hnsw.iterative_scan = relaxed_order;
SET hnsw.max_scan_tuples = 50;
SELECT n BETWEEN 10 AND 150 AS bounded, twice FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h WHERE id <= 3000 ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
RESET hnsw.ef_search;
RESET hnsw.max_scan_tuples;
-- little memory: the rest is read in one pass, and sorted on disk
SET work_mem = '64kB';
SELECT n, twice FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
SET hnsw.scan_mem_multiplier = 2;
SELECT n, twice FROM scan('SELECT id, v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]'' FROM h ORDER BY v <-> ''[.1,.1,.1,.1,.1,.1,.1,.1]''');
RESET hnsw.scan_mem_multiplier;
SET vecdb.target_recall = 1;
SELECT against_exact('SELECT id, v <-> ''[0,0,0,0,0,0,0,0]'' FROM h WHERE v IS NOT NULL ORDER BY v <-> ''[0,0,0,0,0,0,0,0]'' LIMIT 3102');
RESET vecdb.target_recall;
RESET work_mem;
RESET hnsw.iterative_scan;

-- recall at the default target; above it with more effort
-- (by inner product half of the queries want the 100 equal rows, one node that lies far from all others)
SELECT recall('h', '<->', 20) >= 0.85 AS l2, recall('h', '<#>', 20) >= 0.8 AS ip, recall('h', '<=>', 20) >= 0.85 AS cosine, recall('h', '<+>', 20) >= 0.85 AS l1;
SET hnsw.ef_search = 300;
SELECT recall('h', '<->', 20) >= 0.98 AS l2, recall('h', '<#>', 20) >= 0.9 AS ip, recall('h', '<=>', 20) >= 0.98 AS cosine, recall('h', '<+>', 20) >= 0.98 AS l1;
RESET hnsw.ef_search;

-- rescan: as many different queries as outer rows
SET vecdb.target_recall = 0.99;
SELECT count(*), count(*) FILTER (WHERE near = id) >= 198 AS each_finds_itself FROM (SELECT id, v FROM h WHERE id <= 200) q,
	LATERAL (SELECT id AS near FROM h ORDER BY v <-> q.v LIMIT 1) x;
SELECT count(*), count(DISTINCT (q, id)) FROM generate_series(1, 3) q, LATERAL
	(SELECT id FROM h ORDER BY v <-> ('[1,1,1,1,1,1,1,' || q || ']')::vector LIMIT 20) x;
-- a NULL query among others
SELECT q, count(id) FROM (VALUES (1, '[1,1,1,1,1,1,1,1]'::vector), (2, NULL), (3, '[2,1,1,1,1,1,1,1]')) q(q, v),
	LATERAL (SELECT id FROM h ORDER BY v <-> q.v LIMIT 3) x GROUP BY q ORDER BY q;
RESET vecdb.target_recall;

-- rows locked and followed in order
BEGIN;
SELECT count(*) FROM (SELECT id FROM h ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5 FOR UPDATE) x;
-- equal rows, whose place in the order is in doubt, keep their own in the table
SELECT count(*) FROM (SELECT ctid AS place FROM h ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 50) x JOIN h ON h.ctid = x.place;
-- a cursor sees what was there when it was opened, and scrolls
SET LOCAL hnsw.iterative_scan = relaxed_order;
DECLARE c SCROLL CURSOR FOR SELECT id FROM h WHERE id <= 3000 ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]';
MOVE FORWARD 10 IN c;
\echo :ROW_COUNT
DELETE FROM h WHERE id > 2000;
INSERT INTO h (v) SELECT random_vector(8) FROM generate_series(1, 100);
MOVE FORWARD ALL IN c;
\echo :ROW_COUNT
MOVE BACKWARD 5 IN c;
\echo :ROW_COUNT
ROLLBACK;
-- a cursor goes on after a rollback to a savepoint in which it was read
BEGIN;
SET LOCAL hnsw.iterative_scan = relaxed_order;
DECLARE c CURSOR FOR SELECT id FROM h ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]';
SAVEPOINT s;
MOVE FORWARD 100 IN c;
ROLLBACK TO s;
MOVE FORWARD ALL IN c;
\echo :ROW_COUNT
COMMIT;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM h ORDER BY v <-> '[0.2,0,0,0,0,0,0,0]' LIMIT 7;
MOVE FORWARD ALL IN held;
\echo :ROW_COUNT
CLOSE held;

-- prepared, generic plan
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(vector) AS SELECT id, v <-> $1 FROM h ORDER BY v <-> $1 LIMIT 4;
EXPLAIN (COSTS OFF) EXECUTE nearest('[1,1,1,1,1,1,1,1]');
CREATE TEMP TABLE nearest1 AS EXECUTE nearest('[1,1,1,1,1,1,1,1]');
CREATE TEMP TABLE nearest2 AS EXECUTE nearest('[-1,-1,-1,-1,-1,-1,-1,-1]');
SELECT count(*) FROM (SELECT * FROM nearest1 UNION ALL SELECT * FROM nearest2) x JOIN h USING (id);
SELECT count(*) FROM nearest1 JOIN nearest2 USING (id);
DROP TABLE nearest1, nearest2;
DEALLOCATE nearest;
RESET plan_cache_mode;

-- changes after the build are found
INSERT INTO h (category, v) SELECT i % 100, random_vector(8) FROM generate_series(1, 500) i;
UPDATE h SET v = random_vector(8) WHERE id % 10 = 3;
UPDATE h SET category = category + 1 WHERE id % 10 = 4;
UPDATE h SET v = NULL WHERE id % 10 = 5;
DELETE FROM h WHERE id % 10 = 6;
BEGIN;
INSERT INTO h (v) SELECT random_vector(8) FROM generate_series(1, 50);
SAVEPOINT s;
INSERT INTO h (v) SELECT random_vector(8) FROM generate_series(1, 50);
ROLLBACK TO s;
DELETE FROM h WHERE id % 10 = 7;
ROLLBACK;
SELECT * FROM findings('h');
SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <-> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <#> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM h WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <+> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <+> %1$L', 8);
VACUUM h;
SELECT * FROM findings('h');
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <-> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <#> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM h WHERE vector_norm(v) > 0 ORDER BY v <=> %1$L', 8);
SELECT * FROM all_against_exact('SELECT id, v <+> %1$L FROM h WHERE v IS NOT NULL ORDER BY v <+> %1$L', 8);
RESET vecdb.target_recall;
SELECT recall('h', '<->', 20) >= 0.85 AS l2, recall('h', '<#>', 20) >= 0.8 AS ip, recall('h', '<=>', 20) >= 0.85 AS cosine, recall('h', '<+>', 20) >= 0.85 AS l1;
-- an index whose rows all went grows again
DELETE FROM h;
VACUUM h;
SELECT count(*) FROM (SELECT id FROM h ORDER BY v <-> '[1,1,1,1,1,1,1,1]') x;
SELECT * FROM findings('h');
INSERT INTO h (v) SELECT random_vector(8) FROM generate_series(1, 300);
VACUUM FULL h;
SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM h ORDER BY v <=> %1$L LIMIT 100', 8);
REINDEX TABLE h;
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM h ORDER BY v <#> %1$L LIMIT 100', 8);
SELECT * FROM findings('h');
TRUNCATE h;
SELECT count(*) FROM (SELECT id FROM h ORDER BY v <-> '[1,1,1,1,1,1,1,1]') x;
INSERT INTO h (v) SELECT random_vector(8) FROM generate_series(1, 300);
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM h ORDER BY v <-> %1$L LIMIT 100', 8);
SELECT * FROM findings('h');
RESET vecdb.target_recall;
DROP TABLE h;

-- distances that half precision cannot tell apart among ones it can: the index orders the one sort, the executor the other, and no twin of a row is taken for late
CREATE TABLE near_pairs (id int, v vector(64));
INSERT INTO near_pairs SELECT i, random_vector(64) FROM generate_series(1, 1000) i;
INSERT INTO near_pairs SELECT 1000 + id, (SELECT array_agg(x * (1 + random() * 1e-4)) FROM unnest(v::real[]) x)::vector FROM near_pairs WHERE id % 3 = 0;
CREATE FUNCTION near_scans(op text) RETURNS TABLE (nearly_all bool, twice bigint, in_order bool, queries bigint) LANGUAGE sql AS
$$ SELECT (r).n >= 1310, (r).twice, (r).in_order, count(*) FROM (SELECT scan(format('SELECT id, v %2$s %1$L FROM near_pairs ORDER BY v %2$s %1$L', random_vector(64), op)) AS r
	FROM generate_series(1, 10)) x GROUP BY 1, 2, 3 $$;
SET hnsw.ef_search = 1333;
CREATE INDEX near_pairs_v ON near_pairs USING hnsw (v vector_l2_ops);
SELECT * FROM near_scans('<->');
DROP INDEX near_pairs_v;
CREATE INDEX near_pairs_v ON near_pairs USING hnsw (v vector_ip_ops);
SELECT * FROM near_scans('<#>');
DROP INDEX near_pairs_v;
CREATE INDEX near_pairs_v ON near_pairs USING hnsw (v vector_cosine_ops);
SELECT * FROM near_scans('<=>');
DROP INDEX near_pairs_v;
CREATE INDEX near_pairs_v ON near_pairs USING hnsw (v vector_l1_ops);
SELECT * FROM near_scans('<+>');
SELECT * FROM findings('near_pairs');
DROP FUNCTION near_scans;
DROP TABLE near_pairs;
RESET hnsw.ef_search;

-- inner products whose partial sums leave the range of float, be the whole ever so small: the index says nothing of them, the executor sorts
CREATE TABLE beyond (id int, v vector(64));
INSERT INTO beyond SELECT i, array_agg(CASE WHEN hashint4(64 * i + j) % 2 = 0 THEN 8e18 ELSE -8e18 END)::real[]::vector FROM generate_series(1, 600) i, generate_series(1, 64) j GROUP BY i;
CREATE INDEX beyond_v ON beyond USING hnsw (v vector_ip_ops);
SELECT (s).*, count(*) FROM (SELECT scan(format('SELECT id, v <#> %1$L FROM beyond ORDER BY v <#> %1$L', v)) s FROM beyond WHERE id <= 5) x GROUP BY 1, 2, 3;
SELECT * FROM findings('beyond');
DROP TABLE beyond;
RESET enable_seqscan;

-- the eleventh and twelfth row, met on the way, do not cost those between that the search finds when it goes on
CREATE TABLE beyond (id serial, v vector(24));
INSERT INTO beyond (v) SELECT random_vector(24) FROM generate_series(1, 4000);
CREATE INDEX beyond_v ON beyond USING hnsw (v vector_l2_ops);
ANALYZE beyond;
SET enable_seqscan = off;
SET vecdb.target_recall = 0.8;
SELECT avg(hits) / 30 >= 0.7 AS recall_at_30 FROM (SELECT v FROM beyond WHERE id <= 100) q, LATERAL
	(SELECT count(*) AS hits FROM (SELECT v <-> q.v AS d FROM beyond ORDER BY v <-> q.v LIMIT 30) near
		WHERE d <= (SELECT max(d) FROM (SELECT l2_distance(v, q.v) AS d FROM beyond ORDER BY l2_distance(v, q.v) LIMIT 30) exact)) x;
RESET vecdb.target_recall;
RESET enable_seqscan;
DROP TABLE beyond;

DROP FUNCTION random_vector, against_exact, all_against_exact, scan, recall, findings;

-- each connection inserts into the room that another one left
CREATE TABLE alone (v vector(8));
CREATE INDEX alone_idx ON alone USING hnsw (v vector_l2_ops);
INSERT INTO alone VALUES ('[1,0,0,0,0,0,0,0]');
SELECT pg_relation_size('alone_idx') AS size \gset
\c -
INSERT INTO alone VALUES ('[0,1,0,0,0,0,0,0]');
\c -
INSERT INTO alone VALUES ('[0,0,1,0,0,0,0,0]');
\c -
INSERT INTO alone VALUES ('[0,0,0,1,0,0,0,0]');
SELECT pg_relation_size('alone_idx') = :size AS same_size;
DROP TABLE alone;
