-- ivfpq: what a row takes. 128 dimensions in 64 parts of 8 bits: 64 bytes of code, at most 88 in all; the parts are
-- all of it, and all of it is the file.
CREATE TABLE small (id int, v vector(128)) WITH (autovacuum_enabled = off);
INSERT INTO small SELECT i, (SELECT array_agg((sin(i % 50 * j * 0.7) + 0.3 * sin(i * 0.37 * j))::real)::vector FROM generate_series(1, 128) j)
FROM generate_series(1, 30000) i;
CREATE INDEX small_v ON small USING ivfpq (v) WITH (lists = 10, quantizer = pq, m = 64, bits = 8);
CREATE TABLE part AS SELECT metric, value FROM vecdb_index_stats('small_v', true) WHERE metric ~ '^row_bytes';
SELECT metric, value FROM part WHERE metric ~ '(tid|factors|code)$' ORDER BY 1;
SELECT CASE WHEN value <= 88 THEN 'at most 88' ELSE value::text END AS row_bytes, round(value * 30000) = pg_relation_size('small_v') AS file,
	abs(value - (SELECT sum(value) FROM part WHERE metric <> 'row_bytes')) < 0.001 AS parts
FROM part WHERE metric = 'row_bytes';
DROP TABLE small, part;
