-- ivfflat: what it refuses, options and settings, and which of them rules.

CREATE TABLE bad (id int, v vector(3), w vector, big vector(16000), t text);
INSERT INTO bad VALUES (1, '[1,2,3]', '[1,2]', NULL, 'x');

-- columns and operator classes
CREATE INDEX ON bad USING ivfflat (w);
CREATE INDEX ON bad USING ivfflat ((w::vector));
CREATE INDEX ON bad USING ivfflat ((w::vector(3)));
CREATE TABLE bad16001 (v vector(16001));
CREATE INDEX ON bad USING ivfflat ((w::vector(16001)));
CREATE INDEX ON bad USING ivfflat (t);
CREATE INDEX ON bad USING ivfflat (v vector_l1_ops);
CREATE INDEX ON bad USING ivfflat (v, id);
CREATE INDEX ON bad USING ivfflat (v) INCLUDE (id);
CREATE UNIQUE INDEX ON bad USING ivfflat (v);
CREATE INDEX ON bad USING ivfflat (v DESC);
CREATE INDEX ON bad USING ivfflat (v NULLS FIRST);
-- (18 words this one differently)
\set VERBOSITY sqlstate
ALTER TABLE bad ADD EXCLUDE USING ivfflat (v WITH =);
\set VERBOSITY default

-- options
CREATE INDEX ON bad USING ivfflat (v) WITH (lists = 0);
CREATE INDEX ON bad USING ivfflat (v) WITH (lists = 0.5);
CREATE INDEX ON bad USING ivfflat (v) WITH (lists = -1);
CREATE INDEX ON bad USING ivfflat (v) WITH (lists = 1000001);
CREATE INDEX ON bad USING ivfflat (v) WITH (lists = many);
CREATE INDEX ON bad USING ivfflat (v) WITH (probes = 0);
CREATE INDEX ON bad USING ivfflat (v) WITH (max_probes = 1000001);
CREATE INDEX ON bad USING ivfflat (v) WITH (iterative_scan = on);
CREATE INDEX ON bad USING ivfflat (v) WITH (target_recall = 1.01);
CREATE INDEX ON bad USING ivfflat (v) WITH (target_recall = 0);
CREATE INDEX ON bad USING ivfflat (v) WITH (m = 16);
-- centroids that do not fit the memory allowed, with the value, the limit and the way out
CREATE TABLE much (v vector(2000));
INSERT INTO much SELECT array_agg(i * 1000 + j)::real[]::vector FROM generate_series(1, 60) i, generate_series(1, 2000) j GROUP BY i;
SET maintenance_work_mem = '1MB';
CREATE INDEX ON much USING ivfflat (v) WITH (lists = 60);
CREATE INDEX ON much USING ivfflat (v);
-- the sample does not fit either: say what the lists asked for need, not those it would allow
CREATE INDEX ON much USING ivfflat ((subvector(v || v || v || v, 1, 8000)::vector(8000))) WITH (lists = 60);
RESET maintenance_work_mem;
DROP TABLE much;

-- settings
SET ivfflat.probes = 0;
SET ivfflat.probes = 1000001;
SET ivfflat.max_probes = 0;
SET ivfflat.iterative_scan = on;
SET vecdb.target_recall = 0;
SET vecdb.target_recall = 1.01;
SET ivfflat.no_such_setting = 1;
SELECT name, setting, boot_val, min_val, max_val, enumvals, context FROM pg_settings WHERE name ~ '^(ivfflat|vecdb)\.(probes|max_probes|iterative_scan|target_recall)$' ORDER BY 1;
SHOW ivfflat.probes;
SHOW ivfflat.max_probes;
SHOW ivfflat.iterative_scan;
SHOW vecdb.target_recall;

-- queries and rows of other dimensions; the session goes on
CREATE INDEX bad_v ON bad USING ivfflat (v);
INSERT INTO bad (v) VALUES ('[1,2]');
INSERT INTO bad (v) VALUES ('[1,2');
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
CREATE INDEX ON empty USING ivfflat (v);
SELECT v FROM empty ORDER BY v <-> '[1,2]';
SELECT v FROM empty ORDER BY v <-> '[1,2,3]';
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

-- operator classes are sound; properties are as they should be
SELECT opcname, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'ivfflat' ORDER BY 1;
CREATE OPERATOR CLASS no_distance_ops FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops;
CREATE OPERATOR CLASS no_order_ops FOR TYPE vector USING ivfflat AS
	OPERATOR 1 = (vector, vector), FUNCTION 1 vector_l2_squared_distance(vector, vector);
CREATE OPERATOR CLASS wrong_distance_ops FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 l1_distance(vector, vector);
SELECT opcname, amvalidate(c.oid) FROM pg_opclass c WHERE opcname IN ('no_distance_ops', 'no_order_ops', 'wrong_distance_ops') ORDER BY 1;
CREATE INDEX ON bad USING ivfflat (v no_distance_ops);
CREATE INDEX ON bad USING ivfflat (v wrong_distance_ops);
-- our function for the bytes of another type
CREATE OPERATOR CLASS wrong_type_ops FOR TYPE bit USING ivfflat AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 vector_l2_squared_distance(vector, vector);
CREATE TABLE bits (b bit(40));
INSERT INTO bits VALUES (B'1'::bit(40));
CREATE INDEX ON bits USING ivfflat (b wrong_type_ops);
DROP TABLE bits;
DROP OPERATOR FAMILY wrong_type_ops USING ivfflat;
DROP OPERATOR FAMILY no_distance_ops USING ivfflat;
DROP OPERATOR FAMILY no_order_ops USING ivfflat;
DROP OPERATOR FAMILY wrong_distance_ops USING ivfflat;
SELECT p, pg_indexam_has_property(a.oid, p) AS am FROM pg_am a,
	unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) p WHERE amname = 'ivfflat';
SELECT p, pg_index_has_property('bad_v', p) AS index FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) p;
SELECT p, pg_index_column_has_property('bad_v', 1, p) AS col FROM unnest(ARRAY['orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) p;
DROP FUNCTION plan;
DROP TABLE bad;

-- who rules: what this session said, before the index's option, before database and role
CREATE TABLE rule (id int, v vector(1));
INSERT INTO rule SELECT i, ARRAY[i]::real[]::vector FROM generate_series(1, 400) i;
CREATE INDEX rule_v ON rule USING ivfflat (v) WITH (lists = 20);
-- lists visited: with iterative_scan = off, one probe sees few rows, 8 several, 20 all
CREATE FUNCTION visited() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	SELECT count(*) INTO n FROM (SELECT id FROM rule ORDER BY v <-> '[200]') x;
	RETURN CASE WHEN n = 400 THEN 'all' WHEN n > 60 THEN 'several' ELSE 'few' END;
END $$ SET enable_seqscan = off;
SET ivfflat.iterative_scan = off;
SET ivfflat.probes = 20;
SELECT visited();
SET ivfflat.probes = 1;
SELECT visited();
RESET ivfflat.probes;
-- a target, at any strength, rules where nobody gave probes
SET vecdb.target_recall = 1;
SELECT visited();
RESET vecdb.target_recall;
ALTER INDEX rule_v SET (probes = 20);
SELECT visited();
ALTER INDEX rule_v SET (probes = 1);
SELECT visited();
-- the session before the option
SET ivfflat.probes = 20;
SELECT visited();
BEGIN;
SET LOCAL ivfflat.probes = 8;
SELECT visited();
ROLLBACK;
SELECT visited();
RESET ivfflat.probes;
SELECT visited();
-- a session's target before the index's probes
SET vecdb.target_recall = 1;
SELECT visited();
RESET vecdb.target_recall;
-- a value that equals the default counts, too
ALTER INDEX rule_v SET (probes = 20);
SET ivfflat.probes = 1;
SELECT visited();
SHOW ivfflat.probes;
RESET ivfflat.probes;
SHOW ivfflat.probes;
SELECT visited();
-- a function's SET is the session's
CREATE FUNCTION visited_by_one() RETURNS text LANGUAGE sql SET ivfflat.probes = 1 AS 'SELECT visited()';
SELECT visited_by_one();
-- the index's target
ALTER INDEX rule_v RESET (probes);
ALTER INDEX rule_v SET (target_recall = 1);
SELECT visited();
ALTER INDEX rule_v SET (target_recall = 0.01);
SELECT visited();
ALTER INDEX rule_v RESET (target_recall);
-- database and role: before the default, behind the option
SELECT current_database() AS db, current_user AS me \gset
ALTER DATABASE :"db" SET ivfflat.probes = 20;
\c
SET ivfflat.iterative_scan = off;
SHOW ivfflat.probes;
SELECT visited();
ALTER INDEX rule_v SET (probes = 1);
SELECT visited();
SET ivfflat.probes = 20;
SELECT visited();
RESET ivfflat.probes;
SELECT visited();
ALTER INDEX rule_v RESET (probes);
SELECT visited();
-- what the role says goes before what the database says
CREATE ROLE regress_ivfflat LOGIN SUPERUSER;
ALTER ROLE regress_ivfflat SET ivfflat.probes = 1;
\c - regress_ivfflat
SET ivfflat.iterative_scan = off;
SHOW ivfflat.probes;
SELECT visited();
ALTER INDEX rule_v SET (probes = 20);
SELECT visited();
\c - :me
ALTER DATABASE :"db" RESET ivfflat.probes;
DROP ROLE regress_ivfflat;
\c
-- client options count as the session
ALTER INDEX rule_v SET (probes = 1);
\c -reuse-previous=on "options='-c ivfflat.probes=20'"
SET ivfflat.iterative_scan = off;
SELECT visited();
\c -reuse-previous=on "options=''"
-- iterative_scan and max_probes as options
SELECT visited();
ALTER INDEX rule_v SET (iterative_scan = off);
SELECT visited();
SET ivfflat.iterative_scan = relaxed_order;
SELECT visited();
RESET ivfflat.iterative_scan;
ALTER INDEX rule_v SET (iterative_scan = relaxed_order, max_probes = 1);
SELECT visited();
SET ivfflat.max_probes = 32768;
SELECT visited();
SELECT reloptions FROM pg_class WHERE relname = 'rule_v';
DROP TABLE rule;
DROP FUNCTION visited, visited_by_one;
