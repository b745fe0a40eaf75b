-- Rows that wait with their exact distances are kept within work_mem, and those beyond it on disk: all come, in order, each once.

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- What scans and sorts have in memory
CREATE FUNCTION scan_kilobytes() RETURNS int LANGUAGE sql VOLATILE AS
$$ SELECT coalesce(sum(total_bytes), 0) / 1024 FROM pg_backend_memory_contexts WHERE name IN ('ivf scan', 'hnsw scan', 'TupleSort main', 'TupleSort sort', 'Caller tuples') $$;

-- Is that no more than so much, when a cursor of the query has its first row, and so many later?
CREATE FUNCTION memory(query text, most int, later bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found refcursor;
	used int;
	used_later int;
BEGIN
	OPEN found FOR EXECUTE query;
	MOVE found;
	used := scan_kilobytes();
	MOVE FORWARD later FROM found;
	used_later := scan_kilobytes();
	CLOSE found;
	RETURN CASE WHEN used BETWEEN 1 AND most AND used_later BETWEEN 1 AND most THEN 'memory fine' ELSE format('%s kB, later %s', used, used_later) END;
END $$;

-- All rows of m by index, in the order of their distances, and of their ids where these are equal; and by exact scan.
CREATE FUNCTION everything(query vector, most int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	statement text := format('SELECT id, v <-> %1$L AS d FROM m ORDER BY v <-> %1$L', query);
	line text;
	by_index bool := false;
	n bigint;
	late bigint;
	bad bigint;
	used text;
BEGIN
	PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		by_index := by_index OR line ~ 'Order By:';
	END LOOP;
	IF NOT by_index THEN
		RETURN 'no index scan: ' || statement;
	END IF;
	EXECUTE 'CREATE TEMP TABLE by_index AS SELECT row_number() OVER () AS n, * FROM (' || statement || ') x';
	used := memory(statement, most, 10000);
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE 'CREATE TEMP TABLE exact AS ' || statement;
	PERFORM set_config('enable_indexscan', 'on', true);

	SELECT count(*), count(*) FILTER (WHERE (d, id) <= (d_before, id_before)) INTO n, late
		FROM (SELECT *, lag(d) OVER w AS d_before, lag(id) OVER w AS id_before FROM by_index WINDOW w AS (ORDER BY by_index.n)) x;
	SELECT count(*) INTO bad FROM by_index i FULL JOIN exact e USING (id, d) WHERE i.n IS NULL OR e IS NULL;
	DROP TABLE by_index, exact;
	RETURN format('%s rows, %s late, %s differ, %s', n, late, bad, used);
END $$;

SELECT setseed(0.42);
CREATE TABLE m (id int, v vector(8));
INSERT INTO m SELECT i, random_vector(8) FROM generate_series(1, 30000) i;
INSERT INTO m SELECT 30000 + i, '[1,-1,1,-1,1,-1,1,-1]' FROM generate_series(1, 5000) i;
CREATE TABLE queries AS SELECT i, random_vector(8) AS v FROM generate_series(1, 4) i;
CREATE INDEX m_v ON m USING ivfpq (v vector_l2_ops) WITH (lists = 20, rerank = index);
ANALYZE m, queries;
SET work_mem = '64kB';

-- every row has its distance before the first one goes out
SET ivfpq.probes = 20;
SELECT everything(v, 1000) FROM queries WHERE i = 1;
SELECT everything('[1,-1,1,-1,1,-1,1,-1]', 1000);

-- so many that wait, while they come and go: with their distances, and with bounds of them
SET ivfpq.rerank_k = 34000;
ALTER INDEX m_v SET (rerank = heap);
SELECT everything(v, 1300) FROM queries WHERE i = 1;
ALTER INDEX m_v SET (rerank = index);
SELECT everything(v, 1300) FROM queries WHERE i = 1;
SELECT everything('[1,-1,1,-1,1,-1,1,-1]', 1300);
SET ivfpq.rerank_k = 20000;
SELECT everything(v, 1700) FROM queries WHERE i = 1;
SET ivfpq.rerank_k = 2000000000;
SELECT everything(v, 1000) FROM queries WHERE i = 1;

-- one scan after the other, when the one before was at its end, and when it was not
CREATE FUNCTION rescans(rows_wanted int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	statement text := format('SELECT q.i, x.n, x.d FROM queries q, LATERAL (SELECT row_number() OVER () AS n, * FROM (SELECT m.v <-> q.v AS d FROM m ORDER BY m.v <-> q.v LIMIT %s) y) x', rows_wanted);
	line text;
	by_index bool := false;
	by_scan text;
	by_index_scan text;
BEGIN
	statement := format('SELECT i, md5(string_agg(d::text, '','' ORDER BY n)) FROM (%s) x GROUP BY i', statement);
	PERFORM set_config('enable_seqscan', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		by_index := by_index OR line ~ 'Order By:';
	END LOOP;
	EXECUTE format('SELECT array_agg(x::text ORDER BY i) FROM (%s) x', statement) INTO by_index_scan;
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE format('SELECT array_agg(x::text ORDER BY i) FROM (%s) x', statement) INTO by_scan;
	PERFORM set_config('enable_indexscan', 'on', true);
	RETURN CASE WHEN NOT by_index THEN 'no index scan' WHEN by_index_scan = by_scan THEN 'same' ELSE 'differ' END;
END $$;
SELECT rescans(3000), rescans(35000);
RESET ivfpq.rerank_k;
SELECT rescans(3000), rescans(35000);

-- cursors that are open at the same time, across a savepoint
BEGIN;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_sort = off;
DECLARE near CURSOR FOR SELECT id AS near FROM m ORDER BY v <-> '[0,0,0,0,0,0,0,0]';
FETCH near \gset
SAVEPOINT before;
DECLARE far CURSOR WITH HOLD FOR SELECT id AS far FROM m ORDER BY v <-> '[1,2,3,4,5,6,7,8]';
MOVE 20000 FROM near;
MOVE 9 FROM far;
RELEASE before;
SAVEPOINT before;
MOVE 5000 FROM near;
ROLLBACK TO before;
FETCH near \gset
SET LOCAL enable_seqscan = on;
SET LOCAL enable_sort = on;
SET LOCAL enable_indexscan = off;
SELECT id = :near AS same FROM m ORDER BY v <-> '[0,0,0,0,0,0,0,0]', id OFFSET 25001 LIMIT 1;
COMMIT;
MOVE 30000 FROM far;
FETCH far \gset
SET enable_indexscan = off;
SELECT id = :far AS same FROM m ORDER BY v <-> '[1,2,3,4,5,6,7,8]', id OFFSET 30009 LIMIT 1;
RESET enable_indexscan;
CLOSE far;

-- hnsw: where the query is so far away codes cannot tell which row is nearer. (What it drops in strict order depends on the graph.)
DROP INDEX m_v;
CREATE INDEX m_v ON m USING hnsw (v vector_l2_ops);
SET hnsw.scan_mem_multiplier = 100;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT memory('SELECT id FROM m ORDER BY v <-> ''[100000,0,0,0,0,0,0,0]''', 1100, 10);
SET hnsw.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM m ORDER BY v <-> '[100000,0,0,0,0,0,0,0]' LIMIT 40000) x;
RESET enable_seqscan;
RESET enable_sort;
RESET hnsw.iterative_scan;
RESET hnsw.scan_mem_multiplier;
RESET ivfpq.probes;

-- A row that spilled with bounds forgets the upper one, and asks the table for its distance: it does not wait for all rows that may be nearer than infinity.
CREATE FUNCTION blocks(query text, memory text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	PERFORM set_config('work_mem', memory, true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
	IF plan->0->'Plan'->'Plans'->0->>'Node Type' <> 'Index Scan' THEN
		RAISE 'no index scan: %', plan;
	END IF;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
END $$;
SELECT setseed(0.1);
CREATE TABLE m64 (id int, v vector(64));
INSERT INTO m64 SELECT i, random_vector(64) FROM generate_series(1, 20000) i;
CREATE INDEX m64_v ON m64 USING ivfpq (v vector_l2_ops) WITH (lists = 20, bits = 1, rerank = index, probes = 19);
ANALYZE m64;
SELECT format('SELECT id FROM m64 ORDER BY v <-> %L LIMIT 2000', v) AS query FROM m64 WHERE id = 7 \gset
SELECT blocks(:'query', '64kB') <= 1.05 * blocks(:'query', '4MB') AS few;
DROP TABLE m64;
DROP FUNCTION blocks;

RESET work_mem;
DROP TABLE m, queries;
DROP FUNCTION random_vector, scan_kilobytes, memory, everything, rescans;
