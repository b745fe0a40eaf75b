-- ivfpq: what it refuses, options and settings, and which of them rules.

CREATE TABLE bad (id int, v vector(3), w vector, big vector(16000), t text);
INSERT INTO bad VALUES (1, '[1,2,3]', '[1,2]', NULL, 'x');

CREATE INDEX ON bad USING ivfpq (w);
CREATE INDEX ON bad USING ivfpq (t);
CREATE INDEX ON bad USING ivfpq (v vector_l1_ops);
CREATE INDEX ON bad USING ivfpq (v, id);
CREATE UNIQUE INDEX ON bad USING ivfpq (v);

-- options
CREATE INDEX ON bad USING ivfpq (v) WITH (lists = 0);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = best);
CREATE INDEX ON bad USING ivfpq (v) WITH (bits = 9);
CREATE INDEX ON bad USING ivfpq (v) WITH (bits = 8);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = pq, bits = 2);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = pq, m = 4);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = opq, bits = 2);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = opq, m = 4);
CREATE INDEX ON bad USING ivfpq (v) WITH (quantizer = sq8, bits = 4);
CREATE INDEX ON bad USING ivfpq (v) WITH (m = 2);
CREATE INDEX ON bad USING ivfpq (v) WITH (rerank = table);
CREATE INDEX ON bad USING ivfpq (v) WITH (rerank_k = -1);
CREATE INDEX ON bad USING ivfpq (v) WITH (ef_construction = 16);
-- codes that do not fit a page: the value, the limit, the way out
CREATE INDEX ON bad USING ivfpq (big) WITH (quantizer = sq8);
CREATE INDEX ON bad USING ivfpq (big) WITH (quantizer = pq, m = 9000);

-- a rotation of too many dimensions; one that needs more memory to be learnt
CREATE INDEX ON bad USING ivfpq (big) WITH (quantizer = opq);
CREATE TABLE much (id int, v vector(300)) WITH (autovacuum_enabled = off);
INSERT INTO much SELECT i, (SELECT array_agg(sin(i * j))::real[]::vector FROM generate_series(1, 300) j) FROM generate_series(1, 1200) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX ON much USING ivfpq (v) WITH (quantizer = opq, lists = 2);
CREATE TABLE much_later (LIKE much) WITH (autovacuum_enabled = off);
CREATE INDEX much_later_v ON much_later USING ivfpq (v) WITH (quantizer = opq, lists = 2);
INSERT INTO much_later SELECT * FROM much;
VACUUM much_later;
SELECT value AS generation FROM vecdb_index_stats('much_later_v') WHERE metric = 'generation';
RESET maintenance_work_mem;
DROP TABLE much, much_later;

-- options changed later: what contradicts itself is refused at once, what does not fit the column VACUUM says
CREATE TABLE later (id int, v vector(300)) WITH (autovacuum_enabled = off);
CREATE INDEX later_v ON later USING ivfpq (v) WITH (lists = 4, quantizer = pq, m = 30, bits = 4);
ALTER INDEX later_v SET (bits = 2);
ALTER INDEX later_v SET (quantizer = rabitq);
ALTER INDEX later_v RESET (quantizer);
ALTER INDEX later_v RESET (m);
ALTER INDEX later_v SET (quantizer = sq8);
ALTER INDEX later_v SET (quantizer = rabitq, bits = 8);
ALTER INDEX later_v SET (quantizer = pq, m = 301);
VACUUM later;
ALTER INDEX later_v SET (quantizer = pq, m = 300);
VACUUM later;
DROP TABLE later;

-- settings
SET ivfpq.probes = 0;
SET ivfpq.max_probes = 0;
SET ivfpq.iterative_scan = on;
SET ivfpq.rerank_k = -1;
SET ivfpq.no_such_setting = 1;
SELECT name, setting, boot_val, min_val, max_val, enumvals, context FROM pg_settings WHERE name ~ '^ivfpq' ORDER BY 1;

-- which of them rules: session, index, database
CREATE TABLE few (id int, v vector(3));
INSERT INTO few SELECT i, ARRAY[i, i % 7, i % 5]::real[]::vector FROM generate_series(1, 300) i;
SET client_min_messages = warning;
CREATE INDEX few_v ON few USING ivfpq (v) WITH (lists = 10, probes = 3);
RESET client_min_messages;
SELECT metric, value FROM vecdb_index_stats('few_v') WHERE metric IN ('probes', 'lists', 'target_recall');
SET ivfpq.probes = 5;
SELECT metric, value FROM vecdb_index_stats('few_v') WHERE metric = 'probes';
RESET ivfpq.probes;
ALTER INDEX few_v SET (probes = 4);
SELECT metric, value FROM vecdb_index_stats('few_v') WHERE metric = 'probes';
ALTER INDEX few_v RESET (probes);
ALTER INDEX few_v SET (target_recall = 0.9);
SELECT metric, round(value::numeric, 2) FROM vecdb_index_stats('few_v') WHERE metric = 'target_recall';

-- the access method and its classes
SELECT amname, amtype, obj_description(oid, 'pg_am') FROM pg_am WHERE amname = 'ivfpq';
SELECT opcname, opcdefault, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'ivfpq' ORDER BY 1;
SELECT p, pg_index_has_property('few_v', p), pg_index_column_has_property('few_v', 1, p)
FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan', 'distance_orderable', 'orderable', 'returnable']) p;
DROP TABLE few, bad;
