-- So many lists that they have groups, and that k-means makes them in cells: every row is found, and the index is sound.
CREATE TABLE many (id int, v vector(3));
INSERT INTO many SELECT i, ARRAY[sin(i), cos(i * 1.7), (i % 97) / 97.0]::vector FROM generate_series(1, 12000) i;

CREATE PROCEDURE many_lists(method text, ops text, operator text, lists int) LANGUAGE plpgsql AS $$
DECLARE
	groups numeric;
	made numeric;
	found bigint;
	wrong bigint;
	findings bigint;
BEGIN
	-- there are few rows for so many
	PERFORM set_config('client_min_messages', 'warning', true);
	EXECUTE format('CREATE INDEX many_v ON many USING %s (v %s) WITH (lists = %s)', method, ops, lists);
	PERFORM set_config('client_min_messages', 'notice', true);
	DELETE FROM many WHERE id % 10 = 3;
	INSERT INTO many SELECT i, ARRAY[sin(i), cos(i * 1.7), (i % 97) / 97.0]::vector FROM generate_series(12001, 12300) i;
	SELECT value INTO groups FROM vecdb_index_stats('many_v', detailed => true) WHERE metric = 'pages_group';
	SELECT value INTO made FROM vecdb_index_stats('many_v') WHERE metric = 'lists';
	PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
	PERFORM set_config(method || '.iterative_scan', 'relaxed_order', true);
	EXECUTE format('SELECT count(*) FROM (SELECT id FROM many ORDER BY v %s ''[0.1,0.2,0.3]'' OFFSET 0) x', operator) INTO found;
	-- the nearest rows, by a few lists and by the table
	PERFORM set_config(method || '.probes', '50', true);
	EXECUTE format('CREATE TEMP TABLE sampled AS SELECT id, (SELECT array_agg(id) FROM (SELECT id FROM many m ORDER BY m.v %s q.v LIMIT 5) x) AS near, v FROM many q WHERE id %% 500 = 1', operator);
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE format('SELECT count(*) FROM sampled q, LATERAL (SELECT id FROM many m ORDER BY m.v %s q.v LIMIT 5) x WHERE NOT x.id = ANY (near)', operator) INTO wrong;
	PERFORM set_config('enable_indexscan', 'on', true);
	SELECT count(*) INTO findings FROM vecdb_check('many_v', strict => true) WHERE severity <> 'note';
	RAISE NOTICE '% % %: groups: %, lists: %, rows found: % of %, near rows missed: %, findings: %', method, ops, lists,
		groups > 0, CASE WHEN made > lists * 0.95 THEN 'nearly all' ELSE made::text END, found, (SELECT count(*) FROM many), CASE WHEN wrong <= 6 THEN 'few' ELSE wrong::text END, findings;
	DROP TABLE sampled;
END $$;

CALL many_lists('ivfflat', 'vector_l2_ops', '<->', 8500);
VACUUM many;
SELECT * FROM vecdb_check('many_v', strict => true) WHERE severity <> 'note';
DROP INDEX many_v;
-- k-means in cells
INSERT INTO many SELECT i, ARRAY[sin(i), cos(i * 1.7), (i % 97) / 97.0]::vector FROM generate_series(12301, 24000) i;
CALL many_lists('ivfpq', 'vector_cosine_ops', '<=>', 17000);
VACUUM many;
SELECT * FROM vecdb_check('many_v', strict => true) WHERE severity <> 'note';
DROP TABLE many;
DROP PROCEDURE many_lists;
