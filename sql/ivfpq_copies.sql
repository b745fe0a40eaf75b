-- ivfpq with rerank = index: distances from copies of the vectors in the index. Order, changes, training, the verifier.

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- One of 16 groups, far from the origin, lengths from 1 to 100.
CREATE FUNCTION grouped(i int, dims int, far real) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((far + (1 + i % 3 * 30) * (sin((i % 16) * 78.233 + j * 12.9898 * (1 + i % 16)) + random() + random() - 1))::real)::vector FROM generate_series(1, dims) j $$;

-- Asks 10 queries for some rows of table q, in the way the settings say, and compares the distances with the exact ones.
CREATE FUNCTION ask(dims int, far real, op text, rows int, settings text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query vector;
	got float[];
	want float[];
	hits int := 0;
	plan text;
BEGIN
	EXECUTE settings;
	FOR i IN 1 .. 10 LOOP
		query := grouped(i, dims, far);
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s %2$L AS d FROM q ORDER BY v %1$s %2$L LIMIT %3$s) x', op, query, rows) INTO got;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s %2$L AS d FROM q ORDER BY v %1$s %2$L LIMIT %3$s) x', op, query, rows) INTO want;
		IF got <> (SELECT array_agg(d ORDER BY d) FROM unnest(got) d) THEN
			RETURN 'rows out of order';
		END IF;
		IF cardinality(got) <> cardinality(want) THEN
			RETURN 'too few rows: ' || cardinality(got);
		END IF;
		hits := hits + (SELECT count(*) FROM unnest(got) d WHERE d <= want[rows]);
	END LOOP;
	PERFORM set_config('enable_indexscan', 'on', true);
	RETURN CASE WHEN hits >= 9 * rows AND settings LIKE '%target%' THEN 'recall fine' WHEN hits >= 10 * rows THEN 'all found' ELSE 'recall ' || hits / 10.0 / rows END;
END $$;

-- All rows made exact before the first one goes out: the copies alone decide.
CREATE FUNCTION everything() RETURNS text LANGUAGE sql AS
$$ SELECT 'SET LOCAL ivfpq.probes = 32768; SET LOCAL ivfpq.rerank_k = 2000000000' $$;

CREATE FUNCTION try(dims int, rows int, far real, class text, op text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answers text;
	faults text;
	copies float;
BEGIN
	-- few rows for 16 lists
	PERFORM set_config('client_min_messages', 'warning', true);
	CREATE TABLE q (id serial, v vector);
	EXECUTE format('ALTER TABLE q ALTER v TYPE vector(%s)', dims);
	INSERT INTO q (v) SELECT grouped(i, dims, far) FROM generate_series(1, rows) i;
	EXECUTE format('CREATE INDEX q_v ON q USING ivfpq (v %s) WITH (lists = 16, rerank = index%s)', class, options);
	SELECT value INTO copies FROM vecdb_index_stats('q_v', true) WHERE metric = 'pages_copy';
	answers := ask(dims, far, op, 10, 'SET LOCAL vecdb.target_recall = 0.99') || ', ' || ask(dims, far, op, 40, everything());
	DELETE FROM q WHERE id % 3 = 0;
	INSERT INTO q (v) SELECT grouped(i, dims, far) FROM generate_series(1, rows / 10) i;
	UPDATE q SET v = grouped(id, dims, far) WHERE id % 20 = 1;
	answers := answers || ', ' || ask(dims, far, op, 10, everything());
	SELECT string_agg(f::text, '; ') INTO faults FROM vecdb_check('q_v', true) f WHERE severity <> 'note';
	DROP TABLE q;
	RETURN concat_ws(', ', answers, coalesce(faults, 'sound'), CASE WHEN copies = 0 THEN 'no copies' END);
END $$;

SELECT setseed(0.3);
SELECT o.options, m.class, try(24, 1000, 0, m.class, m.op, o.options)
FROM (VALUES (1, ''), (2, ', bits = 1'), (3, ', quantizer = pq'), (4, ', quantizer = pq, bits = 4, m = 20'), (5, ', quantizer = sq8')) o(n, options),
	(VALUES (1, 'vector_l2_ops', '<->'), (2, 'vector_ip_ops', '<#>'), (3, 'vector_cosine_ops', '<=>')) m(k, class, op)
ORDER BY n, k;
-- far from the origin, where halves tell little; one dimension; one copy a page, and the longest there can be
SELECT d.dims, m.class, try(d.dims, d.rows, d.far, m.class, m.op, ', bits = 1')
FROM (VALUES (24, 600, 1000), (1, 300, 0), (2100, 80, 0), (4060, 40, 0)) d(dims, rows, far),
	(VALUES (1, 'vector_l2_ops', '<->'), (2, 'vector_ip_ops', '<#>'), (3, 'vector_cosine_ops', '<=>')) m(k, class, op)
ORDER BY d.dims, d.far, k;
CREATE TABLE long (v vector(4061));
CREATE INDEX ON long USING ivfpq (v) WITH (rerank = index);
INSERT INTO long SELECT random_vector(4061);
CREATE INDEX ON long USING ivfpq (v) WITH (rerank = index);
CREATE INDEX ON long USING ivfpq (v) WITH (rerank = heap);
DROP TABLE long;

-- Each row once, however many are wanted; a third of them have the same value.
CREATE TABLE q (id serial, v vector(24));
INSERT INTO q (v) SELECT CASE WHEN i % 3 = 0 THEN array_fill(0.5, ARRAY[24])::vector ELSE grouped(i, 24, 0) END FROM generate_series(1, 3000) i;
CREATE INDEX q_v ON q USING ivfpq (v) WITH (lists = 20, rerank = index);
SET enable_seqscan = off;
SET enable_sort = off;
SELECT n, rows, once, in_order FROM unnest(ARRAY[5, 40, 600, 1500]) n,
	LATERAL (SELECT count(*) AS rows, count(DISTINCT id) = count(*) AS once, bool_and(d >= before) AS in_order FROM
		(SELECT id, d, lag(d, 1, d) OVER () AS before FROM (SELECT id, v <-> array_fill(0.4, ARRAY[24])::vector AS d FROM q ORDER BY v <-> array_fill(0.4, ARRAY[24])::vector LIMIT n) x) y) z;
SET ivfpq.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM q ORDER BY v <-> array_fill(0.4, ARRAY[24])::vector OFFSET 0) x;
SET ivfpq.rerank_k = 7;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM q ORDER BY v <-> array_fill(0.4, ARRAY[24])::vector OFFSET 0) x;
RESET ivfpq.rerank_k;
-- memory for few rows only
SET work_mem = '64kB';
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM q ORDER BY v <-> array_fill(0.4, ARRAY[24])::vector OFFSET 0) x;
RESET work_mem;
RESET ivfpq.iterative_scan;
-- a query of no value, and one that is NULL
SELECT count(*) FROM (SELECT id FROM q ORDER BY v <-> NULL LIMIT 100) x;
-- joins scan again, with other queries
SELECT count(*), count(DISTINCT b) FROM (SELECT id AS a, v FROM q WHERE id % 300 = 1) a, LATERAL (SELECT id AS b FROM q ORDER BY v <-> a.v LIMIT 3) b;

-- The option counts from the next build on; searches use copies while they are there.
SELECT metric, value > 0 AS there FROM vecdb_index_stats('q_v', true) WHERE metric IN ('copy_bytes', 'pages_copy') ORDER BY metric;
CHECKPOINT;
CREATE FUNCTION page(index regclass, block bigint) RETURNS bytea LANGUAGE sql AS
$$ SELECT pg_read_binary_file(pg_relation_filepath(index), block * 8192, 8192) $$;
SELECT i.kind, o.kind AS owner, i.list = o.list AND i.generation = o.generation AND i.seq = o.seq AS agree, count(*) > 1 AS many
FROM generate_series(1, pg_relation_size('q_v') / 8192 - 1) b, ivf_page_info(page('q_v', b)) i, ivf_page_info(page('q_v', i.owner)) o GROUP BY 1, 2, 3;
-- what stands in the first place of a copy page is near the row it names
SELECT count(*) > 0 AS some, bool_and(abs((v::real[])[1] - first_elements[1]) <= error) AS near, bool_and(item = 1) AS first
FROM generate_series(1, pg_relation_size('q_v') / 8192 - 1) b, ivf_page_info(page('q_v', b)) i,
	LATERAL (SELECT * FROM ivf_copy_items(CASE WHEN i.kind = 'copy' THEN page('q_v', b) END, 24) LIMIT 1) c JOIN q ON q.ctid = c.tid;
SELECT * FROM ivf_copy_items(page('q_v', 0), 24);
SELECT * FROM ivf_copy_items((SELECT page('q_v', b) FROM generate_series(1, pg_relation_size('q_v') / 8192 - 1) b, ivf_page_info(page('q_v', b)) i WHERE kind = 'copy' LIMIT 1), 4061);
DROP FUNCTION page;
ALTER INDEX q_v SET (rerank = heap);
INSERT INTO q (v) SELECT grouped(i, 24, 0) FROM generate_series(1, 100) i;
SELECT ask(24, 0, '<->', 10, 'SET LOCAL vecdb.target_recall = 0.99');
ALTER INDEX q_v SET (rerank = none);
SELECT count(*) FROM (SELECT id FROM q ORDER BY v <-> array_fill(0.4, ARRAY[24])::vector LIMIT 100) x;
SELECT * FROM vecdb_check('q_v', true);
REINDEX INDEX q_v;
SELECT metric, value FROM vecdb_index_stats('q_v', true) WHERE metric IN ('copy_bytes', 'pages_copy') ORDER BY metric;
ALTER INDEX q_v SET (rerank = index);
SELECT ask(24, 0, '<->', 10, 'SET LOCAL vecdb.target_recall = 0.99');
REINDEX INDEX q_v;
SELECT metric, value > 0 AS there FROM vecdb_index_stats('q_v', true) WHERE metric IN ('copy_bytes', 'pages_copy') ORDER BY metric;
DROP TABLE q;

-- Born empty, then filled, trained by VACUUM; emptied lists give their pages back.
CREATE TABLE q (id serial, v vector(100)) WITH (autovacuum_enabled = off);
CREATE INDEX q_v ON q USING ivfpq (v) WITH (lists = 16, rerank = index);
INSERT INTO q (v) SELECT grouped(i, 100, 0) FROM generate_series(1, 1500) i;
SELECT ask(100, 0, '<->', 20, everything()), (SELECT count(*) FROM vecdb_check('q_v', true));
VACUUM q;
SELECT ask(100, 0, '<->', 20, everything()), (SELECT value FROM vecdb_index_stats('q_v') WHERE metric = 'generation') AS generation;
SELECT pg_current_xact_id() IS NOT NULL;
VACUUM q;
SELECT * FROM vecdb_check('q_v', true);
DELETE FROM q WHERE id % 16 < 8 OR id % 5 = 0;
VACUUM q;
SELECT ask(100, 0, '<->', 20, everything());
SELECT * FROM vecdb_check('q_v', true);
SELECT value > 0 AS pages_free FROM vecdb_index_stats('q_v', true) WHERE metric = 'pages_free';
INSERT INTO q (v) SELECT grouped(i, 100, 0) FROM generate_series(1, 500) i;
SELECT ask(100, 0, '<->', 20, everything());
-- trained anew with and without
ALTER INDEX q_v SET (rerank = heap);
INSERT INTO q (v) SELECT grouped(i, 100, 0) FROM generate_series(1, 3000) i;
VACUUM q;
SELECT value AS copy_bytes FROM vecdb_index_stats('q_v') WHERE metric = 'copy_bytes';
SELECT * FROM vecdb_check('q_v', true);
DROP TABLE q;

-- The smallest and largest values, where nothing follows from halves.
CREATE TABLE q (id serial, v vector(3));
INSERT INTO q (v) SELECT ARRAY[x, y, x + y]::vector FROM unnest(ARRAY[0, 1e-44, 1e-30, 1e-18, 1, 3, 7e4, 1e18]::real[]) x, unnest(ARRAY[0, -1e-44, 1e-20, -1, 5, 1e19]::real[]) y;
CREATE FUNCTION extremes(class text, op text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	got float[];
	want float[];
	query vector;
BEGIN
	EXECUTE format('CREATE INDEX q_v ON q USING ivfpq (v %s) WITH (lists = 1, rerank = index)', class);
	EXECUTE everything();
	FOR query IN SELECT v FROM q WHERE id % 5 = 1 AND vector_norm(v) > 0 LOOP
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s %2$L AS d FROM q ORDER BY v %1$s %2$L) x WHERE d <> ''NaN''', op, query) INTO got;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s %2$L AS d FROM q ORDER BY v %1$s %2$L) x WHERE d <> ''NaN''', op, query) INTO want;
		IF got IS DISTINCT FROM want THEN
			RETURN format('%s: %s instead of %s', query, got, want);
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM vecdb_check('q_v', true) WHERE severity <> 'note') THEN
		RETURN (SELECT detail FROM vecdb_check('q_v', true) LIMIT 1);
	END IF;
	DROP INDEX q_v;
	RETURN 'as they should be';
END $$;
SELECT extremes('vector_l2_ops', '<->'), extremes('vector_ip_ops', '<#>'), extremes('vector_cosine_ops', '<=>');
DROP TABLE q;
RESET enable_seqscan;
RESET enable_sort;
DROP FUNCTION extremes, try, ask, everything, grouped, random_vector;
