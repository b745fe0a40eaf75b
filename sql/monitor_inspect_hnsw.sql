-- pages of an hnsw index as rows; the pages come from the index's file, as
-- contrib need not be installed
CREATE TABLE ins (id int, v vector(3));
INSERT INTO ins SELECT i, ARRAY[i % 20, i % 7, 1]::vector FROM generate_series(1, 400) i;
CREATE INDEX ins_idx ON ins USING hnsw (v vector_l2_ops) WITH (codes = 2);
CREATE TABLE ins_long (id int, v vector(5000));
INSERT INTO ins_long SELECT i, (SELECT array_agg(sin(i * j))::vector FROM generate_series(1, 5000) j) FROM generate_series(1, 4) i;
CREATE INDEX ins_long_idx ON ins_long USING hnsw (v vector_ip_ops);
CREATE TABLE ins_empty (v vector(3));
CREATE INDEX ins_empty_idx ON ins_empty USING hnsw (v vector_cosine_ops) WITH (m = 4, codes = none);
CHECKPOINT;
CREATE FUNCTION page(index regclass, block int) RETURNS bytea LANGUAGE sql AS
	$$ SELECT pg_read_binary_file(pg_relation_filepath(index), block * 8192, 8192) $$;
CREATE FUNCTION pages(index regclass) RETURNS TABLE (block int, page bytea) LANGUAGE sql AS
	$$ SELECT i, page(index, i) FROM generate_series(0, pg_relation_size(index)::int / 8192 - 1) i $$;

SELECT magic, dims, metric, padded, code_dims, bits, m, ef_construction, slots, node_size, nodes_per_page, entries_per_page,
	cont_pages, mean_pages, radius, entry_head > 0 AS head, tids_room > 0 AS room, nodes, rows, flaw,
	array_length(target_recalls, 1) IS NOT DISTINCT FROM array_length(target_visits, 1) AS targets,
	array_length(target_recalls, 1) IS NOT DISTINCT FROM array_length(target_gammas, 1) AS gammas
	FROM hnsw_metapage_info(page('ins_idx', 0));
SELECT metric, padded, code_dims, bits, nodes_per_page, cont_pages, mean_pages, radius > 0 AS radius, nodes, rows, flaw FROM hnsw_metapage_info(page('ins_long_idx', 0));
SELECT metric, code_dims, bits, m, mean_pages, target_recalls, nodes, rows, tids_room, flaw FROM hnsw_metapage_info(page('ins_empty_idx', 0));
-- what the page says, by both functions
SELECT h.kind, count(*), bool_and(h.kind = i.kind AND h.content_bytes = i.content_bytes AND verdict = 'sound') AS same,
	sum(entries) > 0 AS entries, count(owner) AS owned
	FROM (SELECT * FROM pages('ins_idx') UNION ALL SELECT * FROM pages('ins_long_idx')) p, vecdb_page_header(page) h, hnsw_page_info(page) i
	WHERE h.kind <> 'entry' GROUP BY 1 ORDER BY 1;
-- nodes: as many as different vectors; links lead to nodes; protected ones to what is no entry
CREATE TEMP VIEW nodes AS SELECT block, format('(%s,%s)', block, item)::tid AS place, i.*
	FROM pages('ins_idx') p, vecdb_page_header(page) h, hnsw_page_items(page, page('ins_idx', 0)) i WHERE h.kind = 'node';
SELECT count(*) = 140 AS all_nodes, bool_and(live) AS live, bool_or(entry) AS entries, count(tid) = 140 AS tids, count(chunk) = 140 AS chunks,
	bool_and(norm > 0 AND error >= 0) AS norms, bool_and(cardinality(first_elements) = 8) AS elements FROM nodes;
SELECT count(*) AS links_to_nothing FROM nodes n, unnest(neighbours) l WHERE l NOT IN (SELECT place FROM nodes);
SELECT sum(protected) >= (SELECT count(*) FROM nodes WHERE NOT entry) AS anchored FROM nodes;
SELECT count(*) FILTER (WHERE v IS NULL) AS wrong FROM nodes LEFT JOIN ins ON ins.ctid = nodes.tid;
SELECT count(*), count(continuation), count(first_elements) FROM pages('ins_long_idx') p, vecdb_page_header(page) h, hnsw_page_items(page, page('ins_long_idx', 0)) i WHERE h.kind = 'node';

-- what is no page, no page of ours, or of another kind
SELECT * FROM hnsw_metapage_info('\x');
SELECT * FROM hnsw_metapage_info(decode(repeat('00', 8192), 'hex'));
SELECT * FROM hnsw_page_info(decode(repeat('ff', 8192), 'hex'));
SELECT * FROM hnsw_metapage_info(page('ins_idx', 1));
SELECT * FROM hnsw_page_items(page('ins_idx', 0), page('ins_idx', 0));
SELECT * FROM hnsw_page_info(set_byte(page('ins_idx', 1), 8189, 99));
SELECT flaw FROM hnsw_metapage_info(set_byte(page('ins_idx', 0), 24, 0));
SELECT flaw FROM hnsw_metapage_info(set_byte(page('ins_idx', 0), 46, 101));
SELECT flaw FROM hnsw_metapage_info(set_byte(page('ins_idx', 0), 12, 32));
\set VERBOSITY terse
SELECT count(*) FROM pages('ins_idx') p, vecdb_page_header(page) h, hnsw_page_items(page, set_byte(page('ins_idx', 0), 52, 77)) i WHERE h.kind = 'node';
SELECT count(*) FROM pages('ins_idx') p, vecdb_page_header(page) h, hnsw_page_items(page, page('ins_long_idx', 0)) i WHERE h.kind = 'node';
\set VERBOSITY default
-- any byte of any page may be anything: answers or errors, nothing worse
DO $$
DECLARE
	raw bytea;
	good bytea[];
	meta bytea;
	calls int := 0;
	n int;
BEGIN
	PERFORM setseed(0.5);
	good := (SELECT array_agg(page ORDER BY block) FROM pages('ins_idx'));
	FOR i IN 1 .. 2000 LOOP
		raw := good[1 + (random() * (cardinality(good) - 1))::int];
		meta := good[1];
		FOR j IN 0 .. (random() * 4)::int LOOP
			-- half of them in header and special area
			n := CASE WHEN random() < 0.5 THEN (random() * 8191)::int
				WHEN random() < 0.5 THEN (random() * 23)::int ELSE 8176 + (random() * 15)::int END;
			raw := set_byte(raw, n, (random() * 255)::int);
		END LOOP;
		IF random() < 0.2 THEN
			meta := set_byte(meta, 24 + (random() * 60)::int, (random() * 255)::int);
		END IF;
		PERFORM vecdb_page_header(raw);
		BEGIN PERFORM hnsw_metapage_info(raw); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
		BEGIN PERFORM hnsw_page_info(raw); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
		BEGIN PERFORM hnsw_page_items(raw, meta); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
	END LOOP;
	RAISE NOTICE 'some were answered: %', calls > 500;
END $$;

-- for superusers and roles that may read all data
CREATE ROLE regress_vecdb_hnsw;
SET ROLE regress_vecdb_hnsw;
SELECT * FROM hnsw_metapage_info('');
SELECT * FROM hnsw_page_info('');
SELECT * FROM hnsw_page_items('', '');
RESET ROLE;
DROP ROLE regress_vecdb_hnsw;
DROP VIEW nodes;
DROP TABLE ins, ins_long, ins_empty;
DROP FUNCTION page, pages;
