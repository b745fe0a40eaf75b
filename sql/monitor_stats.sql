-- vecdb_index_stats; a temporary table, since no other session can delay its VACUUM
CREATE TEMPORARY TABLE st (id int, v vector(4));
INSERT INTO st SELECT i, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3), cos(i * 2.9)]::vector FROM generate_series(1, 2000) i;
CREATE INDEX st_idx ON st USING ivfflat (v vector_l2_ops) WITH (lists = 10);
CREATE FUNCTION stat(name text, detailed boolean DEFAULT false) RETURNS float8 LANGUAGE sql AS
	$$ SELECT value FROM vecdb_index_stats('st_idx', detailed) WHERE metric = name $$;

SELECT metric, CASE WHEN metric ~ '^(dimensions|rows|rows_at_build|generation|lists|list_rows_mean|target_recall)$' THEN value END AS value
	FROM vecdb_index_stats('st_idx');
SELECT stat('bytes') = pg_relation_size('st_idx') AS bytes,
	stat('bytes_per_row') = stat('bytes') / 2000 AS per_row,
	stat('list_rows_smallest') > 0 AS smallest,
	stat('list_rows_largest') BETWEEN 200 AND 2000 AS largest;
-- effort grows with recall, and the target decides while nobody set probes
SELECT bool_and(value >= before) AS ascending, min(value) >= 1 AND max(value) <= 10 AS in_range
	FROM (SELECT value, lag(value, 1, 1) OVER (ORDER BY metric) AS before
		FROM vecdb_index_stats('st_idx') WHERE metric LIKE 'probes_for_recall%') s;
SELECT stat('probes') = stat('probes_for_recall_0.95') AS by_target;
SET vecdb.target_recall = 0.98;
SELECT stat('probes') = stat('probes_for_recall_0.98') AS by_target, stat('target_recall');
SET ivfflat.probes = 3;
SELECT stat('probes') AS by_session, stat('target_recall');
RESET ivfflat.probes;
RESET vecdb.target_recall;
ALTER INDEX st_idx SET (probes = 4);
SELECT stat('probes') AS by_option;
ALTER INDEX st_idx RESET (probes);
ALTER INDEX st_idx SET (target_recall = 0.8);
SELECT stat('probes') = stat('probes_for_recall_0.8') AS by_target_option, stat('target_recall');
SET ivfflat.probes = 32768;
SELECT stat('probes') AS all_lists;
RESET ivfflat.probes;

-- what was counted last, and what is there
DELETE FROM st WHERE id <= 500;
INSERT INTO st SELECT i, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3), cos(i * 2.9)]::vector FROM generate_series(2001, 2100) i;
SELECT stat('rows') AS rows, stat('rows_now', true) AS rows_now;
VACUUM st;
SELECT stat('rows') AS rows, stat('rows_now', true) AS rows_now, stat('rows_at_build') AS rows_at_build;
SELECT metric FROM vecdb_index_stats('st_idx', true) EXCEPT SELECT metric FROM vecdb_index_stats('st_idx') ORDER BY 1;
SELECT sum(value) * 8192 = pg_relation_size('st_idx') AS all_pages
	FROM vecdb_index_stats('st_idx', true) WHERE metric LIKE 'pages\_%' AND metric <> 'pages_list_empty';

-- ivfpq: what it is, and what decides about its searches
CREATE INDEX st_codes ON st USING ivfpq (v) WITH (lists = 10);
SELECT metric, value, setting FROM vecdb_index_stats('st_codes') WHERE metric ~ '^(quantizer|code_bits|m|rerank.*)$';
ALTER INDEX st_codes SET (rerank = none, rerank_k = 70);
SELECT metric, value, setting FROM vecdb_index_stats('st_codes') WHERE metric ~ '^(quantizer|code_bits|m|rerank.*)$';
ALTER INDEX st_codes SET (rerank = index, quantizer = opq, m = 2);
REINDEX INDEX st_codes;
SET ivfpq.rerank_k = 30;
SELECT metric, value, setting FROM vecdb_index_stats('st_codes') WHERE metric ~ '^(quantizer|code_bits|m|rerank.*)$';
RESET ivfpq.rerank_k;

-- born empty
CREATE TABLE st_empty (v vector(4));
SET client_min_messages = warning;
CREATE INDEX st_empty_idx ON st_empty USING ivfflat (v vector_l2_ops);
RESET client_min_messages;
SELECT * FROM vecdb_index_stats('st_empty_idx') WHERE metric <> 'bytes';
SELECT * FROM vecdb_index_stats('st');
SELECT * FROM vecdb_index_stats(NULL);
DROP TABLE st, st_empty;
DROP FUNCTION stat;
