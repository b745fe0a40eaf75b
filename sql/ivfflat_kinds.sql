-- ivfflat on every kind of table, index and dimension, and what VACUUM gives back.

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- Rows of the whole table as an ordered index scan gives them, against an ordered sequential scan:
-- how many rows, and how many (id, distance) are in one only, or twice; and what vecdb_check() has to say.
CREATE FUNCTION all_rows(tab regclass, column_expr text, query vector, where_clause text DEFAULT 'true',
						 OUT scan text, OUT n bigint, OUT differ bigint, OUT findings bigint) LANGUAGE plpgsql AS $$
DECLARE
	rows text := format('SELECT id, %1$s <-> %2$L AS d FROM %3$s WHERE %4$s ORDER BY %1$s <-> %2$L OFFSET 0', column_expr, query, tab, where_clause);
	line text;
BEGIN
	PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('ivfflat.probes', '32768', true);
	scan := 'sequential';
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || rows LOOP
		scan := CASE WHEN line ~ 'Order By:' THEN 'index' ELSE scan END;
	END LOOP;
	EXECUTE 'CREATE TEMP TABLE by_index AS SELECT row_number() OVER () AS n, * FROM (' || rows || ') x';
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE 'CREATE TEMP TABLE exact AS SELECT row_number() OVER () AS n, * FROM (' || rows || ') x WHERE d IS NOT NULL';
	PERFORM set_config('enable_indexscan', 'on', true);
	SELECT count(*), count(*) - count(DISTINCT id) INTO n, differ FROM by_index;
	SELECT differ + count(*) INTO differ FROM by_index i FULL JOIN exact e USING (n) WHERE i.d IS DISTINCT FROM e.d;
	SELECT differ + count(*) INTO differ FROM by_index i FULL JOIN exact e USING (id, d) WHERE i.n IS NULL OR e.n IS NULL;
	DROP TABLE by_index, exact;
	SELECT count(*) INTO findings FROM pg_partition_tree(tab) t, pg_index i, pg_class c, pg_am a, LATERAL vecdb_check(indexrelid, strict => true) f
	WHERE indrelid = t.relid AND c.oid = indexrelid AND c.relkind = 'i' AND a.oid = c.relam AND amname = 'ivfflat' AND severity <> 'note';
END $$;

-- A life of a table with an index of that many dimensions: build, insert, delete, vacuum, insert again.
CREATE PROCEDURE life(dims int, rows int, lists int) LANGUAGE plpgsql AS $$
BEGIN
	-- few rows for the lists are no news here, fewer than lists are
	PERFORM set_config('client_min_messages', CASE WHEN rows < lists THEN 'notice' ELSE 'warning' END, true);
	EXECUTE format('CREATE TABLE life (id int, v vector(%s)) WITH (autovacuum_enabled = off)', dims);
	INSERT INTO life SELECT i, random_vector(dims) FROM generate_series(1, rows) i;
	EXECUTE format('CREATE INDEX life_v ON life USING ivfflat (v) WITH (lists = %s)', lists);
	INSERT INTO life SELECT rows + i, random_vector(dims) FROM generate_series(1, rows / 2) i;
	DELETE FROM life WHERE id % 3 = 0;
	UPDATE life SET v = random_vector(dims) WHERE id % 7 = 0;
END $$;

SELECT setseed(0.7);
\set checks 'SELECT * FROM all_rows(''life'', ''v'', (SELECT random_vector(vector_dims(v)) FROM life LIMIT 1));'
CALL life(1, 500, 5); :checks VACUUM life; :checks DROP TABLE life;
CALL life(3, 500, 5); :checks VACUUM life; :checks DROP TABLE life;
-- 2,030 dims: a row fills a page; 2,031: the first that takes two; 4,064 and 4,065: two and three; 16,000: the most
CALL life(2029, 30, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(2030, 30, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(2031, 30, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(2035, 20, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(4064, 20, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(4065, 20, 3); :checks VACUUM life; :checks DROP TABLE life;
CALL life(16000, 20, 3); :checks VACUUM life; :checks
-- the pages of rows over several pages are given back, too
CREATE TEMP TABLE size AS SELECT pg_relation_size('life_v') AS before;
CREATE TEMP TABLE copy AS SELECT * FROM life;
DELETE FROM life; VACUUM life;
INSERT INTO life SELECT * FROM copy;
SELECT pg_relation_size('life_v') <= before AS not_larger FROM size;
:checks
DROP TABLE life, size, copy;

-- one list; as many lists as rows; more lists than rows; the most there are
CALL life(4, 50, 1); :checks VACUUM life; :checks DROP TABLE life;
CALL life(4, 50, 50); :checks VACUUM life; :checks DROP TABLE life;
CALL life(4, 50, 51); :checks VACUUM life; :checks DROP TABLE life;
CALL life(4, 50, 32768); :checks VACUUM life; :checks DROP TABLE life;

-- deleting and inserting everything, again and again, does not grow the index
CREATE TABLE churn (id int, v vector(100)) WITH (autovacuum_enabled = off);
INSERT INTO churn SELECT i, random_vector(100) FROM generate_series(1, 2000) i;
CREATE INDEX churn_v ON churn USING ivfflat (v) WITH (lists = 10);
CREATE TEMP TABLE vectors AS SELECT * FROM churn;
CREATE TEMP TABLE size AS SELECT pg_relation_size('churn_v') AS before;
DELETE FROM churn; VACUUM churn;
SELECT * FROM all_rows('churn', 'v', random_vector(100));
INSERT INTO churn SELECT * FROM vectors;
SELECT pg_relation_size('churn_v') <= before AS not_larger FROM size;
DELETE FROM churn; VACUUM churn; INSERT INTO churn SELECT * FROM vectors;
SELECT pg_relation_size('churn_v') <= before AS not_larger FROM size;
DELETE FROM churn WHERE id % 2 = 0; VACUUM churn; INSERT INTO churn SELECT * FROM vectors WHERE id % 2 = 0;
SELECT pg_relation_size('churn_v') <= before AS not_larger FROM size;
SELECT * FROM all_rows('churn', 'v', random_vector(100));
-- as many rows as before, all in one list
DELETE FROM churn; VACUUM churn;
INSERT INTO churn SELECT i, v FROM vectors, generate_series(1, 2000) i WHERE id = 1;
SELECT * FROM all_rows('churn', 'v', random_vector(100));
SELECT pg_relation_size('churn_v') <= before AS not_larger FROM size;
-- pages are taken over by other lists
DELETE FROM churn; VACUUM churn; INSERT INTO churn SELECT * FROM vectors;
SELECT * FROM all_rows('churn', 'v', random_vector(100));
SELECT pg_relation_size('churn_v') <= before AS not_larger FROM size;
-- VACUUM in parallel, with several indexes
CREATE INDEX churn_ip ON churn USING ivfflat (v vector_ip_ops) WITH (lists = 10);
CREATE INDEX churn_cosine ON churn USING ivfflat (v vector_cosine_ops) WITH (lists = 10);
SET min_parallel_index_scan_size = 0;
DELETE FROM churn WHERE id % 4 = 0;
VACUUM (PARALLEL 2) churn;
RESET min_parallel_index_scan_size;
SELECT * FROM all_rows('churn', 'v', random_vector(100));
VACUUM (INDEX_CLEANUP OFF) churn;
VACUUM ANALYZE churn;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'churn%' ORDER BY 1;
DROP TABLE churn, vectors, size;

-- an index born empty: one list, scanned whole, until it is built again
CREATE TABLE born (id int, v vector(4));
CREATE INDEX born_v ON born USING ivfflat (v);
INSERT INTO born SELECT i, random_vector(4) FROM generate_series(1, 1500) i;
SELECT * FROM all_rows('born', 'v', random_vector(4));
DELETE FROM born WHERE id % 3 = 0;
VACUUM born;
SELECT * FROM all_rows('born', 'v', random_vector(4));
REINDEX INDEX born_v;
SELECT * FROM all_rows('born', 'v', random_vector(4));
TRUNCATE born;
INSERT INTO born SELECT i, random_vector(4) FROM generate_series(1, 15) i;
SELECT * FROM all_rows('born', 'v', random_vector(4));
BEGIN;
TRUNCATE born;
INSERT INTO born VALUES (1, random_vector(4));
ROLLBACK;
SELECT * FROM all_rows('born', 'v', random_vector(4));
DROP TABLE born;

-- nothing to train on, but rows all the same: they are counted, and inner product indexes vectors without direction
CREATE TABLE untrained (id int, v vector(3));
INSERT INTO untrained SELECT i, CASE WHEN i > 100 THEN '[0,0,0]'::vector END FROM generate_series(1, 300) i;
SET client_min_messages = warning;
CREATE INDEX untrained_ip ON untrained USING ivfflat (v vector_ip_ops);
CREATE INDEX untrained_cosine ON untrained USING ivfflat (v vector_cosine_ops);
CREATE INDEX untrained_part ON untrained USING ivfflat (v) WHERE id < 100;
RESET client_min_messages;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'untrained%' ORDER BY 1;
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM untrained ORDER BY v <#> '[1,1,1]') x;
SELECT count(*) FROM (SELECT id FROM untrained ORDER BY v <=> '[1,1,1]') x;
INSERT INTO untrained VALUES (301, '[1,2,3]');
SELECT id FROM untrained ORDER BY v <#> '[1,1,1]' LIMIT 1;
SELECT id FROM untrained ORDER BY v <=> '[1,1,1]' LIMIT 1;
RESET enable_seqscan;
SELECT * FROM vecdb_check('untrained_ip', strict => true);
SELECT * FROM vecdb_check('untrained_cosine', strict => true);
DROP TABLE untrained;

-- values at the ends of the range: no order is exact there, but no row is lost
CREATE TABLE extreme (id int, v vector(3));
INSERT INTO extreme SELECT i, ARRAY[(random() - 0.5) * 6e38, 1e38, i % 3 * 1e-38]::real[]::vector FROM generate_series(1, 300) i;
INSERT INTO extreme SELECT 300 + i, ARRAY[random() * 1e-38, 1e-45, 0]::real[]::vector FROM generate_series(1, 300) i;
CREATE INDEX extreme_l2 ON extreme USING ivfflat (v) WITH (lists = 10);
CREATE INDEX extreme_ip ON extreme USING ivfflat (v vector_ip_ops) WITH (lists = 10);
CREATE INDEX extreme_cosine ON extreme USING ivfflat (v vector_cosine_ops) WITH (lists = 10);
SET enable_seqscan = off;
SET ivfflat.probes = 10;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM extreme ORDER BY v <-> '[1,1,1]') x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM extreme ORDER BY v <-> '[3e38,-3e38,3e38]') x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM extreme ORDER BY v <#> '[3e38,-3e38,3e38]') x;
SELECT count(*) > 200 AS many, count(*) = count(DISTINCT id) AS once FROM (SELECT id FROM extreme ORDER BY v <=> '[3e38,-3e38,3e38]') x;
INSERT INTO extreme SELECT id + 600, v FROM extreme;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM extreme ORDER BY v <-> '[1,1,1]') x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM extreme ORDER BY v <#> '[1,1,1]') x;
RESET ivfflat.probes;
RESET enable_seqscan;
SELECT * FROM vecdb_check('extreme_l2', strict => true) WHERE severity <> 'note';
SELECT * FROM vecdb_check('extreme_ip', strict => true) WHERE severity <> 'note';
SELECT * FROM vecdb_check('extreme_cosine', strict => true) WHERE severity <> 'note';
DROP TABLE extreme;

-- unlogged; made logged and back
CREATE UNLOGGED TABLE unlogged (id int, v vector(4));
INSERT INTO unlogged SELECT i, random_vector(4) FROM generate_series(1, 300) i;
CREATE INDEX unlogged_v ON unlogged USING ivfflat (v) WITH (lists = 5);
INSERT INTO unlogged SELECT 300 + i, random_vector(4) FROM generate_series(1, 300) i;
SELECT * FROM all_rows('unlogged', 'v', random_vector(4));
SELECT pg_relation_size('unlogged_v', 'init') > 0 AS has_init_fork;
ALTER TABLE unlogged SET LOGGED;
SELECT * FROM all_rows('unlogged', 'v', random_vector(4));
ALTER TABLE unlogged SET UNLOGGED;
DELETE FROM unlogged WHERE id % 2 = 0;
VACUUM unlogged;
SELECT * FROM all_rows('unlogged', 'v', random_vector(4));
DROP TABLE unlogged;

-- temporary; emptied at each commit, in place
CREATE TEMP TABLE temporary (id int, v vector(4));
INSERT INTO temporary SELECT i, random_vector(4) FROM generate_series(1, 3000) i;
CREATE INDEX temporary_v ON temporary USING ivfflat (v);
INSERT INTO temporary SELECT 3000 + i, random_vector(4) FROM generate_series(1, 300) i;
DELETE FROM temporary WHERE id % 2 = 0;
VACUUM temporary;
SELECT * FROM all_rows('temporary', 'v', random_vector(4));
DROP TABLE temporary;
-- CREATE INDEX says that there is little data; the commits that empty the table, its own the first, do not say it again
CREATE TEMP TABLE temporary (id int, v vector(4)) ON COMMIT DELETE ROWS;
CREATE INDEX temporary_v ON temporary USING ivfflat (v);
BEGIN;
INSERT INTO temporary SELECT i, random_vector(4) FROM generate_series(1, 3000) i;
SELECT * FROM all_rows('temporary', 'v', random_vector(4));
COMMIT;
SELECT * FROM all_rows('temporary', 'v', random_vector(4));
BEGIN;
INSERT INTO temporary SELECT i, random_vector(4) FROM generate_series(1, 1000) i;
SELECT * FROM all_rows('temporary', 'v', random_vector(4));
COMMIT;
DO $$ BEGIN
	INSERT INTO temporary VALUES (1, '[1,2,3,4]');
	COMMIT;
	INSERT INTO temporary VALUES (2, '[1,2,3,4]');
END $$;
REINDEX INDEX temporary_v;
DROP TABLE temporary;
CREATE TABLE beside (id int, v vector(4));
CREATE INDEX CONCURRENTLY beside_v ON beside USING ivfflat (v);
REINDEX INDEX CONCURRENTLY beside_v;
DROP TABLE beside;
-- emptied in the transaction that made it: in place, too
SET client_min_messages = warning;
BEGIN;
CREATE TABLE fresh (id int, v vector(4));
INSERT INTO fresh SELECT i, random_vector(4) FROM generate_series(1, 2000) i;
CREATE INDEX fresh_v ON fresh USING ivfflat (v);
TRUNCATE fresh;
INSERT INTO fresh SELECT i, random_vector(4) FROM generate_series(1, 100) i;
SELECT * FROM all_rows('fresh', 'v', random_vector(4));
COMMIT;
SELECT * FROM all_rows('fresh', 'v', random_vector(4));
RESET client_min_messages;
-- a build that is rolled back, and again in the same transaction
BEGIN;
SAVEPOINT s;
CREATE INDEX fresh_w ON fresh USING ivfflat (v vector_ip_ops);
ROLLBACK TO s;
CREATE INDEX fresh_w ON fresh USING ivfflat (v vector_ip_ops);
COMMIT;
DROP TABLE fresh;

-- partial and expression indexes
CREATE TABLE items (id int, kind text, a real[], v vector);
INSERT INTO items SELECT i, CASE i % 10 WHEN 0 THEN 'rare' ELSE 'common' END,
	(random_vector(4))::real[], random_vector(CASE i % 2 WHEN 0 THEN 4 ELSE 5 END) FROM generate_series(1, 500) i;
CREATE INDEX items_a ON items USING ivfflat ((a::vector(4))) WITH (lists = 5);
CREATE INDEX items_rare ON items USING ivfflat ((a::vector(4))) WITH (lists = 5) WHERE kind = 'rare';
CREATE INDEX items_v4 ON items USING ivfflat ((v::vector(4))) WITH (lists = 5) WHERE vector_dims(v) = 4;
CREATE INDEX items_v5 ON items USING ivfflat ((v::vector(5))) WITH (lists = 5) WHERE vector_dims(v) = 5;
INSERT INTO items SELECT 500 + i, CASE i % 10 WHEN 0 THEN 'rare' ELSE 'common' END,
	(random_vector(4))::real[], random_vector(CASE i % 2 WHEN 0 THEN 4 ELSE 5 END) FROM generate_series(1, 500) i;
UPDATE items SET kind = 'rare' WHERE id % 10 = 1;
DELETE FROM items WHERE id % 3 = 1;
VACUUM items;
SELECT * FROM all_rows('items', 'a::vector(4)', random_vector(4));
SELECT * FROM all_rows('items', 'a::vector(4)', random_vector(4), 'kind = ''rare''');
SELECT * FROM all_rows('items', 'v::vector(4)', random_vector(4), 'vector_dims(v) = 4');
SELECT * FROM all_rows('items', 'v::vector(5)', random_vector(5), 'vector_dims(v) = 5');
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'items%' AND relkind = 'i' ORDER BY 1;
-- a partial index whose few rows lie in few of many blocks
CREATE INDEX items_last ON items USING ivfflat ((a::vector(4))) WHERE id = 999;
SELECT * FROM all_rows('items', 'a::vector(4)', random_vector(4), 'id = 999');
DROP TABLE items;

-- partitions
CREATE TABLE parted (id int, v vector(4)) PARTITION BY RANGE (id);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (500);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (500) TO (1000);
INSERT INTO parted SELECT i, random_vector(4) FROM generate_series(1, 999) i;
CREATE INDEX parted_v ON parted USING ivfflat (v) WITH (lists = 5);
SET client_min_messages = warning;
CREATE TABLE parted3 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
RESET client_min_messages;
INSERT INTO parted SELECT i, random_vector(4) FROM generate_series(1000, 1500) i;
UPDATE parted SET id = id + 1200 WHERE id BETWEEN 400 AND 499;
SELECT * FROM all_rows('parted', 'v', random_vector(4));
ALTER TABLE parted DETACH PARTITION parted2;
SELECT * FROM all_rows('parted', 'v', random_vector(4));
ALTER TABLE parted ATTACH PARTITION parted2 FOR VALUES FROM (500) TO (1000);
SELECT * FROM all_rows('parted', 'v', random_vector(4));
DROP TABLE parted;

-- parallel builds, ordinary and concurrent; other commands that rebuild
CREATE TABLE parallel (id int, v vector(16));
INSERT INTO parallel SELECT i, CASE WHEN i % 50 > 0 THEN random_vector(16) END FROM generate_series(1, 4000) i;
ALTER TABLE parallel SET (parallel_workers = 2);
SET min_parallel_table_scan_size = 0;
CREATE INDEX parallel_l2 ON parallel USING ivfflat (v) WITH (lists = 30);
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
CREATE INDEX CONCURRENTLY parallel_ip ON parallel USING ivfflat (v vector_ip_ops) WITH (lists = 30);
DROP INDEX parallel_l2;
CREATE INDEX CONCURRENTLY parallel_l2 ON parallel USING ivfflat (v) WITH (lists = 30);
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
REINDEX TABLE CONCURRENTLY parallel;
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'parallel%' ORDER BY 1;
ALTER TABLE parallel ALTER COLUMN id TYPE bigint;
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
CREATE INDEX parallel_id ON parallel (id);
CLUSTER parallel USING parallel_id;
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
DROP INDEX CONCURRENTLY parallel_ip;
-- little memory: fewer training rows, sorts on disk
SET maintenance_work_mem = '1MB';
REINDEX TABLE parallel;
SELECT * FROM all_rows('parallel', 'v', random_vector(16));
RESET maintenance_work_mem;
RESET min_parallel_table_scan_size;
DROP TABLE parallel;

DROP FUNCTION random_vector, all_rows;
DROP PROCEDURE life;
