-- how an hnsw index is built: layout, memory, duplicates, rows that do not fit
SELECT dims, m, (vecdb_hnsw_layout(dims, m)).*
FROM unnest(ARRAY[1, 100, 384, 768, 1536, 3072, 16000]) dims, unnest(ARRAY[16, 100]) m;
SELECT vecdb_hnsw_layout(0);
SELECT vecdb_hnsw_layout(16001);
SELECT vecdb_hnsw_layout(3, 1);
SELECT vecdb_hnsw_build_memory(-1, 3);
SELECT vecdb_hnsw_build_memory(9223372036854775807, 3);
SELECT vecdb_hnsw_build_memory(100000, 768, 16) BETWEEN 100000 * 2304 AND 100000 * 3072 AS likely;

CREATE TABLE hnsw_build (id int, v vector(16)) WITH (parallel_workers = 1);
INSERT INTO hnsw_build
SELECT i, (SELECT array_agg(sin(i * j + j * j)) FROM generate_series(1, 16) j)::real[]::vector(16)
FROM generate_series(1, 3000) i;
-- one vector many times, some without direction, some NULL
INSERT INTO hnsw_build SELECT i, array_fill(0.5, ARRAY[16])::vector FROM generate_series(3001, 5000) i;
INSERT INTO hnsw_build SELECT i, array_fill(0, ARRAY[16])::vector FROM generate_series(5001, 5003) i;
INSERT INTO hnsw_build SELECT i, NULL FROM generate_series(5004, 5006) i;

-- rows in the index, rows with the frequent vector among the nearest 2,000, findings
CREATE FUNCTION hnsw_build_answer(OUT rows bigint, OUT equal bigint, OUT findings bigint)
LANGUAGE plpgsql AS $$
DECLARE op text := CASE (SELECT opcname FROM pg_opclass JOIN pg_index ON indclass[0] = pg_opclass.oid
	WHERE indexrelid = 'hnsw_build_idx'::regclass)
	WHEN 'vector_l2_ops' THEN '<->' WHEN 'vector_ip_ops' THEN '<#>' WHEN 'vector_cosine_ops' THEN '<=>' ELSE '<+>' END;
	q text := array_fill(0.5, ARRAY[16])::text;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL hnsw.iterative_scan = relaxed_order;
	-- the frequent vector is far from all others: by ef_search of 40 it may be missed
	SET LOCAL hnsw.ef_search = 200;
	q := translate(q, '{}', '[]');
	EXECUTE format('SELECT count(DISTINCT id) FROM (SELECT id FROM hnsw_build ORDER BY v %s %L) s', op, q) INTO rows;
	EXECUTE format('SELECT count(*) FROM (SELECT id FROM hnsw_build ORDER BY v %s %L LIMIT 2000) s WHERE id BETWEEN 3001 AND 5000', op, q) INTO equal;
	SELECT count(*) FROM vecdb_check('hnsw_build_idx', true) INTO findings;
END $$;

-- the memory that suffices for all rows, and one that holds a part of them
SELECT greatest(vecdb_hnsw_build_memory(5006, 16) / 1024, 1024) AS all_kb \gset
SET maintenance_work_mem = :all_kb;
CREATE INDEX hnsw_build_idx ON hnsw_build USING hnsw (v vector_l2_ops);
SELECT * FROM hnsw_build_answer();
DROP INDEX hnsw_build_idx;
CREATE INDEX hnsw_build_idx ON hnsw_build USING hnsw (v vector_cosine_ops);
SELECT * FROM hnsw_build_answer();
DROP INDEX hnsw_build_idx;
CREATE INDEX hnsw_build_idx ON hnsw_build USING hnsw (v vector_l1_ops);
SELECT * FROM hnsw_build_answer();
DROP INDEX hnsw_build_idx;
-- the number in the NOTICE depends on details of the graph
SET client_min_messages = warning;
SET maintenance_work_mem = '1MB';
CREATE INDEX hnsw_build_idx ON hnsw_build USING hnsw (v vector_l2_ops);
SELECT * FROM hnsw_build_answer();
DROP INDEX hnsw_build_idx;
SET max_parallel_maintenance_workers = 0;
CREATE INDEX hnsw_build_idx ON hnsw_build USING hnsw (v vector_ip_ops);
SELECT * FROM hnsw_build_answer();
DROP INDEX hnsw_build_idx;
RESET ALL;

CREATE INDEX ON hnsw_build USING hnsw (v vector_l2_ops) WITH (m = 40, ef_construction = 79);
DROP TABLE hnsw_build;
DROP FUNCTION hnsw_build_answer;
