-- vecdb_index_stats of hnsw; a temporary table, since no other session can delay its VACUUM
CREATE TEMPORARY TABLE st (id int, v vector(4));
INSERT INTO st SELECT i, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3), cos(i * 2.9)]::vector FROM generate_series(1, 1000) i;
INSERT INTO st SELECT i, '[1,2,3,4]' FROM generate_series(1001, 1100) i;
CREATE INDEX st_idx ON st USING hnsw (v vector_l2_ops);
CREATE FUNCTION stat(name text, detailed boolean DEFAULT false) RETURNS float8 LANGUAGE sql AS
	$$ SELECT value FROM vecdb_index_stats('st_idx', detailed) WHERE metric = name $$;

SELECT metric, CASE WHEN metric !~ '^(bytes|gamma|visits)' THEN value END AS value
	FROM vecdb_index_stats('st_idx') WHERE metric !~ '_for_recall_';
SELECT stat('bytes') = pg_relation_size('st_idx') AS bytes,
	stat('bytes_per_row') = stat('bytes') / 1100 AS per_row;
-- effort grows with recall, and the target decides while nobody set ef_search
SELECT coalesce(bool_and(value >= before), true) AS ascending
	FROM (SELECT value, lag(value, 1, 1) OVER (ORDER BY metric) AS before
		FROM vecdb_index_stats('st_idx') WHERE metric LIKE 'visits_for_recall%') s;
SELECT stat('visits') AS v95, stat('gamma') AS g95 \gset
SET vecdb.target_recall = 0.995;
SELECT stat('visits') >= :v95 AS more, stat('gamma') >= :g95 AS wider, stat('target_recall');
SET vecdb.target_recall = 1;
SELECT stat('gamma'), stat('visits') = 1001 AS all_nodes;
SET hnsw.ef_search = 30;
SELECT stat('ef_search') AS by_session, stat('target_recall'), stat('visits');
RESET hnsw.ef_search;
RESET vecdb.target_recall;
ALTER INDEX st_idx SET (ef_search = 50);
SELECT stat('ef_search') AS by_option;
ALTER INDEX st_idx RESET (ef_search);
ALTER INDEX st_idx SET (target_recall = 0.8);
SELECT stat('visits') <= :v95 AS less, stat('target_recall');

-- what was counted last, and what is there
DELETE FROM st WHERE id <= 300 OR id > 1050;
INSERT INTO st SELECT i, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3), cos(i * 2.9)]::vector FROM generate_series(2001, 2100) i;
SELECT stat('rows') AS rows, stat('rows_now', true) AS rows_now, stat('nodes_now', true) AS nodes_now;
VACUUM st;
SELECT stat('rows') AS rows, stat('nodes') AS nodes, stat('rows_now', true) AS rows_now, stat('nodes_now', true) AS nodes_now, stat('nodes_dead', true) AS dead;
SELECT metric FROM vecdb_index_stats('st_idx', true) EXCEPT SELECT metric FROM vecdb_index_stats('st_idx') ORDER BY 1;
SELECT stat('entries', true) >= 16 AS entries, stat('links_mean', true) BETWEEN 4 AND stat('slots') AS links,
	stat('links_protected_mean', true) BETWEEN 0.5 AND 2 AS protected;
SELECT sum(value) * 8192 = pg_relation_size('st_idx') AS all_pages
	FROM vecdb_index_stats('st_idx', true) WHERE metric LIKE 'pages\_%';
SELECT * FROM vecdb_check('st_idx', true);

-- born empty; without codes
CREATE TABLE st_empty (v vector(4));
CREATE INDEX st_empty_idx ON st_empty USING hnsw (v vector_l1_ops);
SELECT * FROM vecdb_index_stats('st_empty_idx', true) WHERE metric !~ '^(bytes|gamma|visits)';
INSERT INTO st_empty SELECT ARRAY[i, 1, 2, 3]::vector FROM generate_series(1, 100) i;
SELECT value > 1 AS visits_of_inserted FROM vecdb_index_stats('st_empty_idx') WHERE metric = 'visits';
DROP TABLE st, st_empty;
DROP FUNCTION stat;
