-- hnsw: what it refuses, options and settings, and which of them rules.

CREATE TABLE bad (id int, v vector(3), w vector, big vector(16000), t text);
INSERT INTO bad VALUES (1, '[1,2,3]', '[1,2]', NULL, 'x');

-- columns and operator classes
CREATE INDEX ON bad USING hnsw (v);
CREATE INDEX ON bad USING hnsw (w vector_l2_ops);
CREATE INDEX ON bad USING hnsw ((w::vector) vector_l2_ops);
CREATE INDEX ON bad USING hnsw ((w::vector(3)) vector_l2_ops);
CREATE INDEX ON bad USING hnsw (t);
CREATE INDEX ON bad USING hnsw (t vector_l2_ops);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops, id);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops, v vector_ip_ops);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) INCLUDE (id);
CREATE UNIQUE INDEX ON bad USING hnsw (v vector_l2_ops);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops DESC);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops NULLS FIRST);
-- (18 words this one differently)
\set VERBOSITY sqlstate
ALTER TABLE bad ADD EXCLUDE USING hnsw (v vector_l2_ops WITH =);
\set VERBOSITY default

-- options
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 1);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 101);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 2.5);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (ef_construction = 3);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (ef_construction = 1001);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (codes = 3);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (codes = on);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (ef_search = 0);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (iterative_scan = on);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (max_scan_tuples = 0);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (scan_mem_multiplier = 0.5);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (scan_mem_multiplier = 1001);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (target_recall = 1.01);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (target_recall = 0);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (lists = 16);
-- fewer candidates than neighbours: at the build, not before
\set VERBOSITY sqlstate
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 31);
\set VERBOSITY default
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 31);
CREATE INDEX ON bad USING hnsw (v vector_l2_ops) WITH (m = 33);
CREATE INDEX later ON bad USING hnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 32);
ALTER INDEX later SET (ef_construction = 31);
REINDEX INDEX later;
TRUNCATE bad;
SELECT count(*) FROM bad;
ALTER INDEX later SET (m = 100, ef_construction = 200);
REINDEX INDEX later;
SELECT reloptions FROM pg_class WHERE relname = 'later';
DROP INDEX later;

-- settings
SET hnsw.ef_search = 0;
SET hnsw.ef_search = 2147483648;
SET hnsw.iterative_scan = on;
SET hnsw.max_scan_tuples = 0;
SET hnsw.scan_mem_multiplier = 0;
SET hnsw.scan_mem_multiplier = 1001;
SET hnsw.no_such_setting = 1;
SELECT name, setting, boot_val, min_val, max_val, enumvals, context FROM pg_settings WHERE name LIKE 'hnsw.%' ORDER BY 1;
SHOW hnsw.ef_search;
SHOW hnsw.iterative_scan;
SHOW hnsw.max_scan_tuples;
SHOW hnsw.scan_mem_multiplier;

-- queries and rows of other dimensions; the session goes on
CREATE INDEX bad_v ON bad USING hnsw (v vector_l2_ops);
INSERT INTO bad (v) VALUES ('[1,2]');
INSERT INTO bad (v) VALUES ('[1,2,NaN]');
UPDATE bad SET v = '[1,2,3,4]';
SET enable_seqscan = off;
SELECT id FROM bad ORDER BY v <-> '[1,2]';
SELECT id FROM bad ORDER BY v <-> '[1,2,3,4]' LIMIT 1;
SELECT id FROM bad ORDER BY v <-> '[1,2,inf]' LIMIT 1;
PREPARE nearest(vector) AS SELECT id FROM bad ORDER BY v <-> $1 LIMIT 1;
EXECUTE nearest('[1]');
EXECUTE nearest('[1,2,3]');
DEALLOCATE nearest;
-- an index born empty refuses, too
CREATE TABLE empty (v vector(3));
CREATE INDEX ON empty USING hnsw (v vector_cosine_ops);
SELECT v FROM empty ORDER BY v <=> '[1,2]';
SELECT v FROM empty ORDER BY v <=> '[1,2,3]';
DROP TABLE empty;
-- what is no search by distance never goes through the index
-- 18 marks what enable_seqscan = off could not avoid: leave that out
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		CONTINUE WHEN line ~ 'Disabled: true';
		RETURN NEXT line;
	END LOOP;
END $$;
SELECT plan($$SELECT id FROM bad WHERE v <-> '[1,2,3]' < 1$$);
SELECT plan($$SELECT id FROM bad WHERE v = '[1,2,3]'$$);
SELECT plan($$SELECT id FROM bad WHERE v IS NOT NULL$$);
SELECT plan($$SELECT id FROM bad ORDER BY v <=> '[1,2,3]' LIMIT 1$$);
SELECT plan($$SELECT id FROM bad ORDER BY v <-> '[1,2,3]' DESC LIMIT 1$$);
SELECT plan($$SELECT id FROM bad ORDER BY id, v <-> '[1,2,3]' LIMIT 1$$);
SELECT plan($$SELECT id FROM bad ORDER BY v <-> v LIMIT 1$$);
SELECT count(*) FROM bad WHERE v <-> '[1,2,3]' < 1;
RESET enable_seqscan;
SELECT * FROM vecdb_check('bad_v', true);

-- operator classes are sound; properties are as they should be
SELECT opcname, opcdefault, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'hnsw' AND opcname ~ '^vector' ORDER BY 1;
CREATE OPERATOR CLASS no_distance_ops FOR TYPE vector USING hnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops;
CREATE OPERATOR CLASS no_order_ops FOR TYPE vector USING hnsw AS
	OPERATOR 1 = (vector, vector), FUNCTION 1 vector_l2_squared_distance(vector, vector);
CREATE OPERATOR CLASS wrong_distance_ops FOR TYPE vector USING hnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 vector_spherical_distance(vector, vector);
SELECT opcname, amvalidate(c.oid) FROM pg_opclass c WHERE opcname IN ('no_distance_ops', 'no_order_ops', 'wrong_distance_ops') ORDER BY 1;
CREATE INDEX ON bad USING hnsw (v no_distance_ops);
CREATE INDEX ON bad USING hnsw (v wrong_distance_ops);
-- our function for the bytes of another type
CREATE OPERATOR CLASS wrong_type_ops FOR TYPE bit USING hnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 vector_l2_squared_distance(vector, vector);
CREATE TABLE bits (b bit(40));
INSERT INTO bits VALUES (B'1'::bit(40));
CREATE INDEX ON bits USING hnsw (b wrong_type_ops);
DROP TABLE bits;
DROP OPERATOR FAMILY wrong_type_ops USING hnsw;
DROP OPERATOR FAMILY no_distance_ops USING hnsw;
DROP OPERATOR FAMILY no_order_ops USING hnsw;
DROP OPERATOR FAMILY wrong_distance_ops USING hnsw;
SELECT p, pg_indexam_has_property(a.oid, p) AS am FROM pg_am a,
	unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) p WHERE amname = 'hnsw';
SELECT p, pg_index_has_property('bad_v', p) AS index FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) p;
SELECT p, pg_index_column_has_property('bad_v', 1, p) AS col FROM unnest(ARRAY['orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) p;
DROP FUNCTION plan;
DROP TABLE bad;

-- who rules: what this session said, before the index's option, before database and role
CREATE TABLE rule (id int, v vector(1));
INSERT INTO rule SELECT i, ARRAY[i]::real[]::vector FROM generate_series(1, 400) i;
CREATE INDEX rule_v ON rule USING hnsw (v vector_l2_ops);
-- with iterative_scan = off a scan hands out ef_search rows: 40 where nobody gave it
CREATE FUNCTION visited() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT count(*) FROM (SELECT id FROM rule ORDER BY v <-> '[200]') x);
END $$ SET enable_seqscan = off;
SET hnsw.iterative_scan = off;
SELECT visited();
SET hnsw.ef_search = 20;
SELECT visited();
SET hnsw.ef_search = 100;
SELECT visited();
RESET hnsw.ef_search;
ALTER INDEX rule_v SET (ef_search = 60);
SELECT visited();
-- the session before the option
SET hnsw.ef_search = 20;
SELECT visited();
BEGIN;
SET LOCAL hnsw.ef_search = 30;
SELECT visited();
ROLLBACK;
SELECT visited();
RESET hnsw.ef_search;
SELECT visited();
-- a session's target before the index's ef_search: nobody gives it then
SET vecdb.target_recall = 0.9;
SELECT visited();
-- a session's ef_search before its target
SET hnsw.ef_search = 10;
SELECT visited();
RESET hnsw.ef_search;
RESET vecdb.target_recall;
-- a value that equals the default counts, too
SET hnsw.ef_search = 40;
SELECT visited();
RESET hnsw.ef_search;
SHOW hnsw.ef_search;
SELECT visited();
-- a function's SET is the session's
CREATE FUNCTION visited_by_ten() RETURNS bigint LANGUAGE sql SET hnsw.ef_search = 10 AS 'SELECT visited()';
SELECT visited_by_ten();
-- the index's target is weaker than its ef_search, and stronger than the database's
ALTER INDEX rule_v SET (target_recall = 0.9);
SELECT visited();
SELECT current_database() AS db, current_user AS me \gset
ALTER DATABASE :"db" SET hnsw.ef_search = 70;
\c
SET hnsw.iterative_scan = off;
SHOW hnsw.ef_search;
SELECT visited();
ALTER INDEX rule_v RESET (ef_search);
SELECT visited();
ALTER INDEX rule_v RESET (target_recall);
SELECT visited();
SET hnsw.ef_search = 20;
SELECT visited();
RESET hnsw.ef_search;
SELECT visited();
-- what the role says goes before what the database says
CREATE ROLE regress_hnsw LOGIN SUPERUSER;
ALTER ROLE regress_hnsw SET hnsw.ef_search = 15;
\c - regress_hnsw
SET hnsw.iterative_scan = off;
SELECT visited();
ALTER INDEX rule_v SET (ef_search = 25);
SELECT visited();
\c - :me
ALTER DATABASE :"db" RESET hnsw.ef_search;
DROP ROLE regress_hnsw;
-- client options count as the session
\c -reuse-previous=on "options='-c hnsw.ef_search=35'"
SET hnsw.iterative_scan = off;
SELECT visited();
\c -reuse-previous=on "options=''"
-- the other options
ALTER INDEX rule_v SET (iterative_scan = off);
SELECT visited();
SET hnsw.iterative_scan = relaxed_order;
SELECT visited();
ALTER INDEX rule_v SET (max_scan_tuples = 1);
SELECT visited() < 400 AS fewer;
SET hnsw.max_scan_tuples = 2147483647;
SELECT visited();
ALTER INDEX rule_v SET (scan_mem_multiplier = 2.5);
SELECT visited();
SELECT reloptions FROM pg_class WHERE relname = 'rule_v';
SELECT * FROM vecdb_check('rule_v', true);
DROP TABLE rule;
DROP FUNCTION visited, visited_by_ten;
