-- Training of ivfpq in VACUUM: every quantizer and metric, where values come from, when, and that every row is found
-- before and after.
SET enable_seqscan = off;
SET enable_sort = off;
SET client_min_messages = warning;
CREATE FUNCTION stat(index text, name text) RETURNS float LANGUAGE plpgsql AS
$$ BEGIN RETURN (SELECT value FROM vecdb_index_stats(index::regclass, true) WHERE metric = name); END $$;
CREATE FUNCTION state(index text) RETURNS text LANGUAGE sql AS
$$ SELECT format('generation %s, %s lists, %s bits, %s of %s rows', stat(index, 'generation'), stat(index, 'lists'), stat(index, 'code_bits'),
	stat(index, 'rows_now'), stat(index, 'rows_at_build')) $$;
-- how well the codes tell the rows, against when it was trained
CREATE FUNCTION error(index text) RETURNS text LANGUAGE sql AS
$$ SELECT CASE WHEN built IS NULL THEN '-' WHEN now > built * 1.5 THEN 'more' WHEN now < built / 1.5 THEN 'less' ELSE 'as built' END
	FROM (SELECT stat(index, 'quantisation_error'), stat(index, 'quantisation_error_at_build')) e(now, built) $$;
-- each row once; of 20 rows the nearest one is the exact one's equal (two may be missed); nothing to find fault with
CREATE FUNCTION found(tab text, op text, value text DEFAULT 'v') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	ids bigint;
	by_index float[];
	exact float[];
	damage text;
BEGIN
	SET LOCAL ivfpq.iterative_scan = relaxed_order;
	EXECUTE format('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM %1$I ORDER BY %3$s %2$s (SELECT %3$s FROM %1$I WHERE id = 7) OFFSET 0) x', tab, op, value) INTO n, ids;
	FOR i IN 0 .. 1 LOOP
		PERFORM set_config('enable_indexscan', CASE i WHEN 0 THEN 'on' ELSE 'off' END, true), set_config('enable_seqscan', CASE i WHEN 0 THEN 'off' ELSE 'on' END, true),
			set_config('enable_sort', CASE i WHEN 0 THEN 'off' ELSE 'on' END, true);
		exact := by_index;
		EXECUTE format('SELECT array_agg((SELECT %3$s %2$s a.q FROM %1$I ORDER BY %3$s %2$s a.q LIMIT 1) ORDER BY id) FROM (SELECT id, %3$s AS q FROM %1$I WHERE id BETWEEN 7 AND 26 OFFSET 0) a', tab, op, value) INTO by_index;
	END LOOP;
	SELECT string_agg(f::text, '; ') INTO damage FROM vecdb_check((tab || '_v')::regclass, true) f;
	RETURN format('%s rows, %s ids, %s, %s', n, ids,
		CASE WHEN (SELECT count(*) FROM unnest(by_index, exact) x(i, e) WHERE i > e) > 2 THEN 'recall is low' ELSE 'found' END, coalesce(damage, 'sound'));
END $$;
CREATE FUNCTION grouped(i int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg((sin((i % 16) * 78.233 + j * 12.9898 * (1 + i % 16)) + sin(i * 0.37 * j) * 0.5 + i * 1e-5)::real)::vector FROM generate_series(1, dims) j $$;
CREATE TABLE source AS SELECT i AS id, grouped(i, 24) AS v FROM generate_series(1, 2500) i;

-- each quantizer with each metric: born empty, then trained
SELECT statement FROM (VALUES (1, ''), (2, ', bits = 1'), (3, ', bits = 2'), (4, ', quantizer = pq'), (5, ', quantizer = pq, bits = 4, m = 7'), (6, ', quantizer = sq8'), (7, ', quantizer = opq'), (8, ', quantizer = opq, bits = 4, m = 7')) o(n, options),
	(VALUES (1, 'vector_l2_ops', '<->'), (2, 'vector_ip_ops', '<#>'), (3, 'vector_cosine_ops', '<=>')) m(k, class, op),
	LATERAL unnest(ARRAY['CREATE TABLE q (id int, v vector(24)) WITH (autovacuum_enabled = off)', format('CREATE INDEX q_v ON q USING ivfpq (v %s) WITH (lists = 20%s)', class, options),
		'INSERT INTO q SELECT * FROM source WHERE id <= 1200', format('SELECT %L AS made, state(%L), found(%L, %L)', class || options, 'q_v', 'q', op),
		'VACUUM q', format('SELECT state(%L), found(%L, %L), error(%L)', 'q_v', 'q', op, 'q_v'),
		'INSERT INTO q SELECT * FROM source WHERE id BETWEEN 1201 AND 1300', 'DELETE FROM q WHERE id % 50 = 0', format('SELECT found(%L, %L)', 'q', op),
		'DROP TABLE q']) WITH ORDINALITY s(statement, line)
ORDER BY n, k, line \gexec

-- twice the rows: anew, with the options there are by now; other ones than fit: a warning, and the lists stay
CREATE TABLE q (id int, v vector(24)) WITH (autovacuum_enabled = off);
INSERT INTO q SELECT * FROM source WHERE id <= 1000;
CREATE INDEX q_v ON q USING ivfpq (v) WITH (lists = 20, quantizer = pq);
SELECT state('q_v'), error('q_v');
INSERT INTO q SELECT * FROM source WHERE id > 1000;
ALTER INDEX q_v SET (m = 25);
VACUUM q;
SELECT state('q_v'), found('q', '<->');
ALTER INDEX q_v RESET (m);
ALTER INDEX q_v SET (quantizer = rabitq, bits = 4, lists = 30);
VACUUM q;
SELECT state('q_v'), found('q', '<->'), error('q_v');
-- the old lists' rows are removed as well, though these had other codes
DELETE FROM q WHERE id % 3 = 0;
VACUUM q;
SELECT state('q_v'), found('q', '<->');
-- rows that are unlike those it was trained with: the error tells
INSERT INTO q SELECT 10000 + id, v * array_fill(3::real, ARRAY[24])::vector FROM source WHERE id <= 2000;
ALTER INDEX q_v SET (lists = 32768);
VACUUM q;
SELECT state('q_v'), error('q_v');
DROP TABLE q;

-- values in TOAST, compressed and not
CREATE TABLE q (id int, v vector(600)) WITH (autovacuum_enabled = off);
CREATE INDEX q_v ON q USING ivfpq (v) WITH (lists = 8);
ALTER TABLE q ALTER v SET STORAGE external;
INSERT INTO q SELECT i, (grouped(i, 24)::real[] || array_fill(0.25, ARRAY[576])::real[])::vector FROM generate_series(1, 500) i;
ALTER TABLE q ALTER v SET STORAGE extended;
INSERT INTO q SELECT i, (grouped(i, 24)::real[] || array_fill(0.25, ARRAY[576])::real[])::vector FROM generate_series(501, 1000) i;
ALTER TABLE q ALTER v SET STORAGE main;
INSERT INTO q SELECT i, (grouped(i, 24)::real[] || array_fill(0.25, ARRAY[576])::real[])::vector FROM generate_series(1001, 1200) i;
UPDATE q SET v = v + v WHERE id % 10 = 0;
VACUUM q;
SELECT state('q_v'), found('q', '<->');
DROP TABLE q;

-- an expression over a column in TOAST, a partial index, HOT chains; NULLs and rows without direction
CREATE TABLE q (id int, n int DEFAULT 0, a real[], keep bool) WITH (fillfactor = 50, autovacuum_enabled = off);
ALTER TABLE q ALTER a SET STORAGE external;
CREATE INDEX q_v ON q USING ivfpq ((a::vector(600)) vector_cosine_ops) WITH (lists = 8) WHERE keep;
INSERT INTO q (id, a, keep) SELECT i, CASE WHEN i % 100 = 0 THEN array_fill(0, ARRAY[600]) WHEN i % 100 <> 1 THEN grouped(i, 24)::real[] || array_fill(0.25, ARRAY[576])::real[] END, i % 7 > 0 FROM generate_series(1, 1500) i;
UPDATE q SET n = n + 1;
UPDATE q SET n = n + 1 WHERE id % 3 = 0;
VACUUM q;
SET ivfpq.iterative_scan = relaxed_order;
SELECT state('q_v'), (SELECT count(*) FROM vecdb_check('q_v', true)),
	(SELECT count(*) FROM (SELECT id FROM q WHERE keep ORDER BY a::vector(600) <=> (SELECT a::vector(600) FROM q WHERE id = 8) OFFSET 0) x),
	(SELECT count(*) FROM q WHERE keep AND vector_norm(a::vector) > 0);
RESET ivfpq.iterative_scan;
DROP TABLE q;

-- temporary and unlogged tables; 16,000 dimensions
CREATE TEMP TABLE tmp (id int, v vector(24));
CREATE INDEX tmp_v ON tmp USING ivfpq (v) WITH (lists = 4);
CREATE UNLOGGED TABLE unlogged (id int, v vector(24)) WITH (autovacuum_enabled = off);
CREATE INDEX unlogged_v ON unlogged USING ivfpq (v) WITH (lists = 4, quantizer = sq8);
INSERT INTO tmp SELECT * FROM source;
INSERT INTO unlogged SELECT * FROM source;
CREATE TABLE wide (id int, v vector(16000)) WITH (autovacuum_enabled = off);
CREATE INDEX wide_v ON wide USING ivfpq (v) WITH (lists = 3);
INSERT INTO wide SELECT i, (grouped(i, 24)::real[] || array_fill(0.25, ARRAY[15976])::real[])::vector FROM generate_series(1, 1000) i;
VACUUM tmp, unlogged, wide;
SELECT i, state(i || '_v'), found(i, '<->') FROM unnest('{tmp,unlogged,wide}'::text[]) i;
DROP TABLE tmp, unlogged, wide;
-- too little memory for so many lists: a warning, and nothing is lost
CREATE TABLE q (id int, v vector(1000)) WITH (autovacuum_enabled = off);
CREATE INDEX q_v ON q USING ivfpq (v) WITH (lists = 40);
INSERT INTO q SELECT i, array_fill((i % 50)::real, ARRAY[1000])::vector FROM generate_series(1, 1300) i;
SET maintenance_work_mem = '1MB';
VACUUM q;
SELECT state('q_v');
RESET maintenance_work_mem;
VACUUM q;
SELECT state('q_v'), found('q', '<->');
DROP TABLE q, source;
DROP FUNCTION state, found, grouped, error, stat;
