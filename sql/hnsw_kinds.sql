-- hnsw indexes of all sizes and kinds: dimensions, data that is offset or equal, norms of two decades, unlogged, temporary, partial, of expressions.

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
SET vecdb.target_recall = 1;
-- every number of dimensions: codes of all, sketches, none; own vectors on pages of their own
DO $$
DECLARE
	dims int;
	op text[];
	answer text;
	rows int;
BEGIN
	FOREACH dims IN ARRAY ARRAY[1, 2, 3, 100, 768, 2000, 3072, 5000, 16000] LOOP
		rows := CASE WHEN dims <= 100 THEN 300 WHEN dims < 5000 THEN 40 ELSE 12 END;
		EXECUTE format('CREATE TABLE d (id int, v vector(%s))', dims);
		INSERT INTO d SELECT i, random_vector(dims) FROM generate_series(1, rows) i;
		INSERT INTO d VALUES (0, NULL);
		FOREACH op SLICE 1 IN ARRAY ARRAY[['<->', 'l2'], ['<#>', 'ip'], ['<=>', 'cosine'], ['<+>', 'l1']] LOOP
			EXECUTE format('CREATE INDEX d_v ON d USING hnsw (v vector_%s_ops)', op[2]);
			INSERT INTO d SELECT rows + i, random_vector(dims) FROM generate_series(1, 3) i;
			DELETE FROM d WHERE id = 1;
			FOR answer IN SELECT * FROM against_exact(format('SELECT id, v %1$s %2$L FROM d WHERE id > 0 ORDER BY v %1$s %2$L LIMIT 1000', op[1], random_vector(dims))) LOOP
				RAISE NOTICE '% %: %', dims, op[2], answer;
			END LOOP;
			FOR answer IN SELECT f::text FROM vecdb_check('d_v', true) f LOOP
				RAISE NOTICE '% %: finding %', dims, op[2], answer;
			END LOOP;
			DROP INDEX d_v;
			DELETE FROM d WHERE id > rows;
		END LOOP;
		DROP TABLE d;
	END LOOP;
END $$;
RESET vecdb.target_recall;

-- m, ef_construction, codes
CREATE TABLE o (id serial, v vector(40));
INSERT INTO o (v) SELECT random_vector(40) FROM generate_series(1, 400);
SET vecdb.target_recall = 1;
DO $$
DECLARE
	options text;
	finding text;
BEGIN
	FOREACH options IN ARRAY ARRAY['m = 2, ef_construction = 4', 'm = 100, ef_construction = 1000', 'm = 48, ef_construction = 96', 'codes = none', 'codes = ''1''', 'codes = ''2''', 'codes = ''4''', 'codes = auto'] LOOP
		EXECUTE format('CREATE INDEX o_v ON o USING hnsw (v vector_cosine_ops) WITH (%s)', options);
		INSERT INTO o (v) SELECT random_vector(40) FROM generate_series(1, 20);
		RAISE NOTICE '%: %', options, against_exact(format('SELECT id, v <=> %1$L FROM o ORDER BY v <=> %1$L LIMIT 50', random_vector(40)));
		FOR finding IN SELECT f::text FROM vecdb_check('o_v', true) f LOOP
			RAISE NOTICE '%: finding %', options, finding;
		END LOOP;
		DROP INDEX o_v;
	END LOOP;
END $$;
RESET vecdb.target_recall;
DROP TABLE o;

-- born empty: grown by inserts alone
CREATE TABLE born (id serial, v vector(24));
CREATE INDEX born_l2 ON born USING hnsw (v vector_l2_ops);
CREATE INDEX born_ip ON born USING hnsw (v vector_ip_ops);
CREATE INDEX born_l1 ON born USING hnsw (v vector_l1_ops);
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM born ORDER BY v <-> random_vector(24)) x;
SELECT * FROM findings('born');
INSERT INTO born (v) VALUES (random_vector(24));
SELECT count(*) FROM (SELECT id FROM born ORDER BY v <-> random_vector(24)) x;
SELECT * FROM findings('born');
INSERT INTO born (v) SELECT random_vector(24) FROM generate_series(1, 1500);
SELECT * FROM findings('born');
SET hnsw.ef_search = 200;
SELECT recall('born', '<->', 20) >= 0.9 AS l2, recall('born', '<#>', 20) >= 0.7 AS ip, recall('born', '<+>', 20) >= 0.9 AS l1;
RESET hnsw.ef_search;
SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM born ORDER BY v <-> %1$L', 24);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM born ORDER BY v <#> %1$L', 24);
SELECT * FROM all_against_exact('SELECT id, v <+> %1$L FROM born ORDER BY v <+> %1$L', 24);
RESET vecdb.target_recall;
-- inner products that have no zero, by the recall wanted
CREATE TABLE born_unit (id serial, v vector(24));
CREATE INDEX ON born_unit USING hnsw (v vector_ip_ops);
INSERT INTO born_unit (v) SELECT l2_normalize(c + random_vector(24) * array_fill(0.4::real, ARRAY[24])::vector)
	FROM (SELECT i, random_vector(24) AS c FROM generate_series(0, 19) i) x JOIN generate_series(1, 2000) n ON i = n % 20 ORDER BY n;
SELECT recall('born_unit', '<#>', 20) >= 0.9 AS ip;
DROP TABLE born, born_unit;

-- far from the origin: the mean takes the offset away
CREATE TABLE away (id serial, v vector(16));
INSERT INTO away (v) SELECT random_vector(16) + array_fill(1000::real, ARRAY[16])::vector FROM generate_series(1, 2000);
CREATE INDEX away_l2 ON away USING hnsw (v vector_l2_ops);
CREATE INDEX away_l1 ON away USING hnsw (v vector_l1_ops);
SELECT count(*), count(*) FILTER (WHERE near = id) >= 195 AS l2 FROM (SELECT id, v FROM away WHERE id <= 200) q,
	LATERAL (SELECT id AS near FROM away ORDER BY v <-> q.v LIMIT 1) x;
SELECT count(*), count(*) FILTER (WHERE near = id) >= 195 AS l1 FROM (SELECT id, v FROM away WHERE id <= 200) q,
	LATERAL (SELECT id AS near FROM away ORDER BY v <+> q.v LIMIT 1) x;
SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM away ORDER BY v <-> %1$L', 16);
SELECT against_exact(format('SELECT id, v <-> %1$L FROM away ORDER BY v <-> %1$L', (SELECT v FROM away WHERE id = 77)));
RESET vecdb.target_recall;
SELECT * FROM findings('away');
DROP TABLE away;

-- inner product: norms over two decades; the true maximum is found
CREATE TABLE norms (id serial, v vector(16));
INSERT INTO norms (v) SELECT random_vector(16) * array_fill(power(10, random() * 2)::real, ARRAY[16])::vector FROM generate_series(1, 2000);
CREATE INDEX norms_ip ON norms USING hnsw (v vector_ip_ops);
SET hnsw.ef_search = 400;
SELECT count(*) FILTER (WHERE near = best) >= 38 AS maximum_found FROM (SELECT random_vector(16) AS q FROM generate_series(1, 40)) q,
	LATERAL (SELECT v <#> q AS near FROM norms ORDER BY v <#> q LIMIT 1) x, LATERAL (SELECT min(v <#> q) AS best FROM norms) y;
-- at whatever length of the query
SELECT count(*) FILTER (WHERE near = best) >= 38 AS maximum_found FROM (SELECT random_vector(16) * array_fill(1e-6::real, ARRAY[16])::vector AS q FROM generate_series(1, 40)) q,
	LATERAL (SELECT v <#> q AS near FROM norms ORDER BY v <#> q LIMIT 1) x, LATERAL (SELECT min(v <#> q) AS best FROM norms) y;
RESET hnsw.ef_search;
SET vecdb.target_recall = 1;
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM norms ORDER BY v <#> %1$L', 16);
SELECT against_exact('SELECT id, v <#> ''[1e20,1e20,1e20,1,1,1,1,1,1,1,1,1,1,1,1,1]'' FROM norms ORDER BY v <#> ''[1e20,1e20,1e20,1,1,1,1,1,1,1,1,1,1,1,1,1]''');
SELECT against_exact('SELECT id, v <#> ''[1e-20,1e-20,1e-20,0,0,0,0,0,0,0,0,0,0,0,0,0]'' FROM norms ORDER BY v <#> ''[1e-20,1e-20,1e-20,0,0,0,0,0,0,0,0,0,0,0,0,0]''');
-- rows longer than any at the build
INSERT INTO norms (v) SELECT random_vector(16) * array_fill(1000::real, ARRAY[16])::vector FROM generate_series(1, 100);
SELECT * FROM all_against_exact('SELECT id, v <#> %1$L FROM norms ORDER BY v <#> %1$L', 16);
RESET vecdb.target_recall;
SELECT * FROM findings('norms');
DROP TABLE norms;

-- 5,000 equal rows among others: one node with a long chain
CREATE TABLE same (id serial, v vector(3));
INSERT INTO same (v) SELECT '[1,2,3]' FROM generate_series(1, 5000);
INSERT INTO same (v) SELECT random_vector(3) FROM generate_series(1, 200);
CREATE INDEX same_v ON same USING hnsw (v vector_l2_ops);
SELECT pg_relation_size('same_v') < 600000 AS short;
SELECT count(*), count(DISTINCT id), max(d) FROM (SELECT id, v <-> '[1,2,3]' AS d FROM same ORDER BY v <-> '[1,2,3]' LIMIT 5000) x;
SELECT * FROM findings('same');
DELETE FROM same WHERE id % 2 = 0;
INSERT INTO same (v) SELECT '[1,2,3]' FROM generate_series(1, 1000);
VACUUM same;
SELECT * FROM findings('same');
SELECT count(*), count(DISTINCT id), max(d) FROM (SELECT id, v <-> '[1,2,3]' AS d FROM same ORDER BY v <-> '[1,2,3]' LIMIT 3500) x;
DELETE FROM same WHERE v = '[1,2,3]';
VACUUM same;
INSERT INTO same (v) SELECT '[3,2,1]' FROM generate_series(1, 100);
SELECT count(*), count(DISTINCT id), max(d) FROM (SELECT id, v <-> '[3,2,1]' AS d FROM same ORDER BY v <-> '[3,2,1]' LIMIT 100) x;
SELECT pg_relation_size('same_v') < 600000 AS short;
SELECT * FROM findings('same');
DROP TABLE same;
-- nothing but equal rows
CREATE TABLE same AS SELECT i AS id, '[1,2,3]'::vector(3) AS v FROM generate_series(1, 300) i;
CREATE INDEX same_l2 ON same USING hnsw (v vector_l2_ops);
CREATE INDEX same_cosine ON same USING hnsw (v vector_cosine_ops);
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <-> '[0,0,0]') x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <=> '[1,1,1]') x;
SELECT * FROM findings('same');
DROP TABLE same;

-- values at the ends of float
CREATE TABLE ends (id int, v vector(3));
INSERT INTO ends VALUES (1, '[1e38,1e38,1e38]'), (2, '[-1e38,1e38,3e38]'), (3, '[1e-40,0,0]'), (4, '[0,0,0]'), (5, '[1,1,1]'), (6, '[1e-30,1e-30,0]'), (7, '[3e38,3e38,3e38]');
CREATE INDEX ends_l2 ON ends USING hnsw (v vector_l2_ops);
CREATE INDEX ends_ip ON ends USING hnsw (v vector_ip_ops);
CREATE INDEX ends_cosine ON ends USING hnsw (v vector_cosine_ops);
CREATE INDEX ends_l1 ON ends USING hnsw (v vector_l1_ops);
INSERT INTO ends SELECT id + 10, v FROM ends;
SET hnsw.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM ends ORDER BY v <-> '[1,1,1]') x;
SELECT count(*) FROM (SELECT id FROM ends ORDER BY v <#> '[1,1,1]') x;
SELECT count(*) FROM (SELECT id FROM ends ORDER BY v <=> '[1,1,1]') x;
SELECT count(*) FROM (SELECT id FROM ends ORDER BY v <+> '[1,1,1]') x;
RESET hnsw.iterative_scan;
SELECT * FROM findings('ends');
DROP TABLE ends;

-- unlogged, temporary, partial, of an expression, on partitions
SET vecdb.target_recall = 1;
CREATE UNLOGGED TABLE kinds (id int, v vector(5), a real[]);
INSERT INTO kinds SELECT i, random_vector(5), random_vector(4)::real[] FROM generate_series(1, 500) i;
CREATE INDEX kinds_v ON kinds USING hnsw (v vector_l2_ops);
CREATE INDEX kinds_part ON kinds USING hnsw (v vector_cosine_ops) WHERE id % 5 = 0;
CREATE INDEX kinds_expr ON kinds USING hnsw ((a::vector(4)) vector_ip_ops);
INSERT INTO kinds SELECT i, random_vector(5), random_vector(4)::real[] FROM generate_series(501, 600) i;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM kinds ORDER BY v <-> %1$L LIMIT 100', 5);
SELECT * FROM all_against_exact('SELECT id, v <=> %1$L FROM kinds WHERE id %% 5 = 0 ORDER BY v <=> %1$L LIMIT 1000', 5);
SELECT * FROM all_against_exact('SELECT id, a::vector(4) <#> %1$L FROM kinds ORDER BY a::vector(4) <#> %1$L LIMIT 100', 4);
SELECT * FROM findings('kinds');
DROP TABLE kinds;
CREATE TEMP TABLE kinds (id int, v vector(5)) ON COMMIT DELETE ROWS;
CREATE INDEX kinds_v ON kinds USING hnsw (v vector_l2_ops);
BEGIN;
INSERT INTO kinds SELECT i, random_vector(5) FROM generate_series(1, 100) i;
SELECT count(*) FROM (SELECT id FROM kinds ORDER BY v <-> '[1,1,1,1,1]') x;
SELECT * FROM findings('kinds');
COMMIT;
SELECT count(*) FROM (SELECT id FROM kinds ORDER BY v <-> '[1,1,1,1,1]') x;
DROP TABLE kinds;
CREATE TABLE kinds (id int, v vector(5)) PARTITION BY HASH (id);
CREATE TABLE kinds0 PARTITION OF kinds FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE kinds1 PARTITION OF kinds FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON kinds USING hnsw (v vector_l2_ops);
INSERT INTO kinds SELECT i, random_vector(5) FROM generate_series(1, 400) i;
SELECT * FROM all_against_exact('SELECT id, v <-> %1$L FROM kinds ORDER BY v <-> %1$L LIMIT 50', 5);
SELECT * FROM findings('kinds0');
SELECT * FROM findings('kinds1');
DROP TABLE kinds;
RESET vecdb.target_recall;

-- memory that does not hold the graph: the rest is inserted row by row
CREATE TABLE much (id int, v vector(100));
INSERT INTO much SELECT i, random_vector(100) FROM generate_series(1, 3000) i;
SET maintenance_work_mem = '1MB';
SET client_min_messages = warning;
CREATE INDEX much_v ON much USING hnsw (v vector_l2_ops);
RESET client_min_messages;
RESET maintenance_work_mem;
SELECT * FROM findings('much');
SELECT count(*), count(*) FILTER (WHERE near = id) >= 48 AS finds_itself FROM (SELECT id, v FROM much WHERE id % 60 = 0) q,
	LATERAL (SELECT id AS near FROM much ORDER BY v <-> q.v LIMIT 1) x;
DROP TABLE much;

RESET enable_seqscan;
DROP FUNCTION random_vector, against_exact, all_against_exact, recall, findings;
