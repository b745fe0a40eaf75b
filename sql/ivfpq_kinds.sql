-- ivfpq: every quantizer with every metric. Recall, exact distances in order, changes, the verifier.

CREATE FUNCTION random_vector(dims int) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((random() * 2 - 1)::real)::vector FROM generate_series(1, dims) $$;

-- One of 16 groups, far from the origin, lengths from 1 to 100.
CREATE FUNCTION grouped(i int, dims int, far real) RETURNS vector LANGUAGE sql VOLATILE AS
$$ SELECT array_agg((far + (1 + i % 3 * 30) * (sin((i % 16) * 78.233 + j * 12.9898 * (1 + i % 16)) + random() + random() - 1))::real)::vector FROM generate_series(1, dims) j $$;

-- Builds an index, asks 20 queries for 10 rows, and says: recall is fine or how much it is; the distances
-- are exact and ascend; after deletes, VACUUM and inserts the verifier finds nothing.
CREATE FUNCTION try(dims int, rows int, far real, class text, op text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query vector;
	got int[];
	want int[];
	hits int := 0;
	bad int := 0;
	faults text;
BEGIN
	-- few rows for 16 lists
	PERFORM set_config('client_min_messages', 'warning', true);
	CREATE TABLE q (id serial, v vector);
	EXECUTE format('ALTER TABLE q ALTER v TYPE vector(%s)', dims);
	INSERT INTO q (v) SELECT grouped(i, dims, far) FROM generate_series(1, rows) i;
	EXECUTE format('CREATE INDEX q_v ON q USING ivfpq (v %s) WITH (lists = 16%s)', class, options);
	FOR i IN 1 .. 20 LOOP
		query := grouped(i, dims, far);
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE format('SELECT array_agg(id), count(*) FILTER (WHERE d < before) FROM (SELECT id, d, lag(d, 1, d) OVER () AS before FROM
			(SELECT id, v %1$s %2$L AS d FROM q ORDER BY v %1$s %2$L LIMIT 10) x) y', op, query) INTO got, bad;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM q ORDER BY v %1$s %2$L LIMIT 10) x', op, query) INTO want;
		hits := hits + (SELECT count(*) FROM unnest(got) g WHERE g = ANY (want));
		IF bad > 0 OR cardinality(got) <> 10 THEN
			RETURN 'rows out of order, or too few';
		END IF;
	END LOOP;
	DELETE FROM q WHERE id % 3 = 0;
	INSERT INTO q (v) SELECT grouped(i, dims, far) FROM generate_series(1, rows / 10) i;
	UPDATE q SET v = grouped(id, dims, far) WHERE id % 20 = 1;
	PERFORM set_config('enable_indexscan', 'on', true);
	SELECT string_agg(f::text, '; ') INTO faults FROM vecdb_check('q_v', true) f WHERE severity <> 'note';
	DROP TABLE q;
	RETURN concat_ws(', ', CASE WHEN hits >= 180 THEN 'recall fine' ELSE 'recall ' || hits / 200.0 END, 'in order', coalesce(faults, 'sound'));
END $$;

SELECT setseed(0.3);
SELECT o.options, m.class, try(24, 1000, 0, m.class, m.op, o.options)
FROM (VALUES (1, ''), (2, ', bits = 1'), (3, ', bits = 2'), (4, ', quantizer = pq'), (5, ', quantizer = pq, bits = 4, m = 20'), (6, ', quantizer = pq, m = 7'), (7, ', quantizer = sq8'),
		(8, ', quantizer = opq'), (9, ', quantizer = opq, bits = 4, m = 20'), (10, ', quantizer = opq, m = 7')) o(n, options),
	(VALUES (1, 'vector_l2_ops', '<->'), (2, 'vector_ip_ops', '<#>'), (3, 'vector_cosine_ops', '<=>')) m(k, class, op)
ORDER BY n, k;
-- far from the origin; one dimension; many
SELECT o.options, try(24, 1000, 1000, 'vector_l2_ops', '<->', o.options)
FROM (VALUES (1, ''), (2, ', quantizer = pq'), (3, ', quantizer = sq8'), (4, ', quantizer = pq, bits = 4, m = 24'), (5, ', quantizer = opq'), (6, ', quantizer = opq, bits = 4, m = 24')) o(n, options) ORDER BY n;
SELECT o.options, try(1, 300, 0, 'vector_l2_ops', '<->', o.options)
FROM (VALUES (1, ''), (2, ', quantizer = pq'), (3, ', quantizer = sq8'), (4, ', quantizer = opq')) o(n, options) ORDER BY n;
-- fewer rows than dimensions: opq finds no rotation, and has none
SELECT try(100, 90, 0, 'vector_l2_ops', '<->', ', quantizer = opq, bits = 4');
SELECT try(2048, 60, 0, 'vector_cosine_ops', '<=>', ', quantizer = opq, m = 100');
SELECT o.options, try(2100, 60, 0, 'vector_cosine_ops', '<=>', o.options)
FROM (VALUES (1, ''), (2, ', quantizer = pq, m = 100'), (3, ', quantizer = sq8')) o(n, options) ORDER BY n;

-- A scan takes few rows at first, and reads its lists again when more are wanted: each row once, however
-- many; a third of them have the same value.
CREATE FUNCTION far_scans(class text, op text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query vector := grouped(5, 24, 0);
	most int;
	n int;
	once int;
	answer text;
BEGIN
	CREATE TABLE q (id serial, v vector(24));
	INSERT INTO q (v) SELECT grouped(i, 24, 0) FROM generate_series(1, 2000) i;
	INSERT INTO q (v) SELECT query FROM generate_series(1, 1000) i;
	EXECUTE format('CREATE INDEX q_v ON q USING ivfpq (v %s) WITH (lists = 7%s)', class, options);
	PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
	FOREACH most IN ARRAY ARRAY[5, 33, 600, 1500, 5000] LOOP
		EXECUTE format('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM q ORDER BY v %s %L LIMIT %s) x', op, query, most) INTO n, once;
		answer := concat_ws(' ', answer, n, CASE WHEN once <> n THEN once || ' different' END);
	END LOOP;
	DROP TABLE q;
	RETURN answer;
END $$;
SET ivfpq.iterative_scan = relaxed_order;
SET ivfpq.max_probes = 7;
SET ivfpq.probes = 6;
SELECT o.options, m.class, far_scans(m.class, m.op, o.options)
FROM (VALUES (1, ''), (2, ', bits = 1'), (3, ', bits = 2'), (4, ', quantizer = pq, bits = 4, m = 12'), (5, ', quantizer = sq8'), (6, ', quantizer = opq, bits = 4, m = 12'), (7, ', quantizer = opq')) o(n, options),
	(VALUES (1, 'vector_l2_ops', '<->'), (2, 'vector_ip_ops', '<#>'), (3, 'vector_cosine_ops', '<=>')) m(k, class, op)
ORDER BY n, k;
SET ivfpq.probes = 7;
SELECT options, far_scans('vector_l2_ops', '<->', options) FROM (VALUES (', rerank = none'), (', bits = 1, rerank_k = 50')) o(options);
RESET ivfpq.iterative_scan;
RESET ivfpq.max_probes;
RESET ivfpq.probes;

-- any dimension: 16,000 of them, beyond what a page holds of values; TOASTed rows
SET client_min_messages = warning;
CREATE TABLE wide (id int, v vector(16000));
INSERT INTO wide SELECT i, grouped(i, 16000, 0) FROM generate_series(1, 12) i;
CREATE INDEX wide_v ON wide USING ivfpq (v) WITH (bits = 4, lists = 2);
SET enable_seqscan = off;
SELECT a.id, (SELECT b.id FROM wide b ORDER BY b.v <-> a.v LIMIT 1) FROM wide a WHERE id IN (3, 12) ORDER BY 1;
SELECT * FROM vecdb_check('wide_v', true);
DROP TABLE wide;

-- born empty: codes that need no training
CREATE TABLE born (id int, v vector(16));
CREATE INDEX born_v ON born USING ivfpq (v vector_cosine_ops) WITH (quantizer = pq);
INSERT INTO born SELECT i, grouped(i, 16, 0) FROM generate_series(1, 500) i;
SELECT value AS bits FROM vecdb_index_stats('born_v') WHERE metric = 'code_bits';
SELECT count(*) FILTER (WHERE (SELECT b.id FROM born b ORDER BY b.v <=> a.v LIMIT 1) = a.id) FROM born a;
SELECT * FROM vecdb_check('born_v', true);
VACUUM FULL born;
SELECT value AS bits FROM vecdb_index_stats('born_v') WHERE metric = 'code_bits';
SELECT count(*) FILTER (WHERE (SELECT b.id FROM born b ORDER BY b.v <=> a.v LIMIT 1) = a.id) FROM born a;
DROP TABLE born;

-- one row, one value
CREATE TABLE one (id int, v vector(16));
INSERT INTO one VALUES (1, grouped(1, 16, 0));
SELECT format('CREATE INDEX one_%s ON one USING ivfpq (v) WITH (quantizer = %1$s)', k) FROM unnest(ARRAY['rabitq', 'pq', 'opq', 'sq8']) k \gexec
INSERT INTO one SELECT i, v FROM one, generate_series(2, 1200) i;
REINDEX TABLE one;
SELECT k, f.* FROM unnest(ARRAY['rabitq', 'pq', 'opq', 'sq8']) k, vecdb_check(('one_' || k)::regclass, true) f;
DROP TABLE one;

-- pages of codes as rows
-- from the index's file, as contrib need not be installed
CREATE FUNCTION page(index regclass, block int) RETURNS bytea LANGUAGE sql AS
$$ SELECT pg_read_binary_file(pg_relation_filepath(index), block * 8192, 8192) $$;
CREATE TABLE seen (id int, v vector(16));
INSERT INTO seen SELECT i, grouped(i, 16, 0) FROM generate_series(1, 300) i;
CREATE INDEX seen_v ON seen USING ivfpq (v vector_ip_ops) WITH (lists = 3, bits = 1);
CHECKPOINT;
SELECT codec, row_size, lists, code_bits, code_parts, code_blocks, code_error > 0 AS error, cardinality(target_widths), flaw
FROM ivf_metapage_info(page('seen_v', 0));
SELECT count(*), count(DISTINCT tid), min(cardinality(factors)), min(length(code)), max(length(code)), bool_and(norm > 0)
FROM ivf_list_info(page('seen_v', 1)) l, ivf_code_items(page('seen_v', l.head::int), page('seen_v', 0));
SELECT * FROM ivf_code_items(page('seen_v', 3), page('seen_v', 3));
SELECT * FROM ivf_code_items(page('seen_v', 1), page('seen_v', 0));
DROP TABLE seen;
DROP FUNCTION page;

-- an expression; a partial index; HOT chains; rows that others delete or have not committed
CREATE TABLE hot (id int, n int DEFAULT 0, a real[], keep bool) WITH (fillfactor = 50);
INSERT INTO hot (id, a, keep) SELECT i, grouped(i, 8, 0)::real[], i % 2 = 0 FROM generate_series(1, 500) i;
CREATE INDEX hot_v ON hot USING ivfpq ((a::vector(8))) WITH (lists = 4) WHERE keep;
RESET client_min_messages;
UPDATE hot SET n = n + 1;
UPDATE hot SET n = n + 1 WHERE id % 3 = 0;
SET ivfpq.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id), min(n), max(n) FROM (SELECT id, n FROM hot WHERE keep ORDER BY a::vector(8) <-> '[1,1,1,1,1,1,1,1]' OFFSET 0) x;
BEGIN;
DELETE FROM hot WHERE id % 4 = 0;
SELECT count(*) FROM (SELECT id FROM hot WHERE keep ORDER BY a::vector(8) <-> '[1,1,1,1,1,1,1,1]' OFFSET 0) x;
ROLLBACK;
SELECT count(*) FROM (SELECT id FROM hot WHERE keep ORDER BY a::vector(8) <-> '[1,1,1,1,1,1,1,1]' OFFSET 0) x;
SELECT * FROM vecdb_check('hot_v', true);
DROP TABLE hot;

-- rerank = none: no table is read, rows come in the order of estimates; rerank_k: so many exact at a time
CREATE TABLE r (id int, v vector(64));
INSERT INTO r SELECT i, grouped(i, 64, 0) FROM generate_series(1, 2000) i;
CREATE INDEX r_v ON r USING ivfpq (v) WITH (lists = 16, rerank = none);
SELECT count(*) FROM (SELECT id FROM r ORDER BY v <-> (SELECT v FROM r WHERE id = 5) LIMIT 10) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM r ORDER BY v <-> (SELECT v FROM r WHERE id = 5) LIMIT 700) x;
ALTER INDEX r_v SET (rerank = heap, rerank_k = 50);
SELECT id FROM r ORDER BY v <-> (SELECT v FROM r WHERE id = 5) LIMIT 1;
SET ivfpq.rerank_k = 1;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM r ORDER BY v <-> (SELECT v FROM r WHERE id = 5) LIMIT 100) x;
RESET ivfpq.rerank_k;
DROP TABLE r;
RESET enable_seqscan;
RESET ivfpq.iterative_scan;
DROP FUNCTION try, grouped, random_vector;
