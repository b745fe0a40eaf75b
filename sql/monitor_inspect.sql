-- pages of an ivfflat index as rows; the pages come from the index's file, as
-- contrib need not be installed
CREATE TABLE ins (id int, v vector(3));
INSERT INTO ins SELECT i, ARRAY[i % 20 + 500 * (i % 2), i % 7, 1]::vector FROM generate_series(1, 40) i;
CREATE INDEX ins_idx ON ins USING ivfflat (v vector_l2_ops) WITH (lists = 2);
CHECKPOINT;
CREATE FUNCTION page(index regclass, block int) RETURNS bytea LANGUAGE sql AS
	$$ SELECT pg_read_binary_file(pg_relation_filepath(index), block * 8192, 8192) $$;

SELECT magic, dims, metric, codec, row_size, generation, lists, lists_alive, rows_at_build, rows, flaw,
	target_recalls, array_length(target_efforts, 1) AS efforts, array_length(target_probes, 1) AS probes, nearest_floor >= 0 AS floor
	FROM ivf_metapage_info(page('ins_idx', 0));
SELECT block, h.*, i.kind = h.kind AS same_kind, i.owner, i.continuation
	FROM generate_series(0, pg_relation_size('ins_idx') / 8192 - 1) block,
		vecdb_page_header(page('ins_idx', block::int)) h, ivf_page_info(page('ins_idx', block::int)) i;
-- from the metapage to the directory, to the heads of the lists, to their rows
WITH meta AS (SELECT * FROM ivf_metapage_info(page('ins_idx', 0))),
	list AS (SELECT row_size, l.* FROM meta, ivf_list_info(page('ins_idx', split_part(directory_blocks, '..', 1)::int)) l)
SELECT list.item, list.generation, pages, superseded, successor, successors,
		i.list, i.seq, i.next, i.next_seq, list.rows = count(*) AS rows_agree,
		bool_and(r.normsq = -(v <#> v)) AS norms_agree,
		bool_and(r.first_elements = v::real[]) AS values_agree
	FROM list, ivf_page_info(page('ins_idx', head::int)) i,
		ivf_page_items(page('ins_idx', head::int), row_size::int) r JOIN ins ON ins.ctid = r.tid
	GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, list.rows ORDER BY 1;

-- born empty
CREATE TABLE ins_empty (v vector(3));
SET client_min_messages = warning;
CREATE INDEX ins_empty_idx ON ins_empty USING ivfflat (v vector_cosine_ops);
RESET client_min_messages;
CHECKPOINT;
SELECT dims, metric, generation, lists, lists_alive, centroid_blocks, target_recalls, target_efforts, target_probes, nearest_floor, rows_at_build, rows, flaw
	FROM ivf_metapage_info(page('ins_empty_idx', 0));

-- what is no page, no page of ours, or of another kind
SELECT * FROM vecdb_page_header('\x00');
SELECT * FROM vecdb_page_header(decode(repeat('00', 8192), 'hex'));
SELECT * FROM vecdb_page_header(decode(repeat('ff', 8192), 'hex'));
SELECT page_id = 'ffa7' AS ours, verdict FROM vecdb_page_header(page('ins', 0));
SELECT * FROM ivf_metapage_info('\x');
SELECT * FROM ivf_metapage_info(decode(repeat('00', 8192), 'hex'));
SELECT * FROM ivf_metapage_info(decode(repeat('ff', 8192), 'hex'));
SELECT * FROM ivf_metapage_info(page('ins_idx', 1));
SELECT * FROM ivf_list_info(page('ins_idx', 0));
SELECT * FROM ivf_page_items(page('ins_idx', 0), 28);
SELECT * FROM vecdb_page_header(set_byte(page('ins_idx', 1), 8189, 99));
SELECT * FROM ivf_page_info(set_byte(page('ins_idx', 1), 8189, 99));
SELECT * FROM vecdb_page_header(set_byte(page('ins_idx', 1), 8188, 77));
SELECT * FROM vecdb_page_header(set_byte(page('ins_idx', 1), 12, 255));
SELECT flaw FROM ivf_metapage_info(set_byte(page('ins_idx', 0), 24, 0));
SELECT flaw FROM ivf_metapage_info(set_byte(page('ins_idx', 0), 12, 32));
SELECT * FROM ivf_page_items(page('ins_idx', 0), 27);
SELECT count(*) FROM ivf_page_items(set_byte(page('ins_idx', 0), 8188, 4), 28);
SELECT * FROM ivf_page_items(set_byte(page('ins_idx', 0), 8188, 4), 27);
SELECT * FROM ivf_page_items(set_byte(page('ins_idx', 0), 8188, 4), 64020);
-- any byte of any page may be anything: answers or errors, nothing worse
DO $$
DECLARE
	raw bytea;
	calls int := 0;
BEGIN
	PERFORM setseed(0.5);
	FOR i IN 1 .. 2000 LOOP
		raw := page('ins_idx', (random() * 3)::int);
		FOR j IN 0 .. (random() * 4)::int LOOP
			-- half of them in header and special area
			raw := set_byte(raw, CASE WHEN random() < 0.5 THEN (random() * 8191)::int
				WHEN random() < 0.5 THEN (random() * 23)::int ELSE 8160 + (random() * 31)::int END,
				(random() * 255)::int);
		END LOOP;
		PERFORM vecdb_page_header(raw);
		BEGIN PERFORM ivf_metapage_info(raw); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
		BEGIN PERFORM ivf_page_info(raw); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
		BEGIN PERFORM ivf_list_info(raw); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
		BEGIN PERFORM ivf_page_items(raw, 28); calls := calls + 1; EXCEPTION WHEN invalid_parameter_value THEN END;
	END LOOP;
	RAISE NOTICE 'some were answered: %', calls > 500;
END $$;
DROP TABLE ins, ins_empty;
DROP FUNCTION page;
