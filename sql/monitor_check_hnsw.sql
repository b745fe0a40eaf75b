-- vecdb_check of hnsw: a sound index has no findings, whatever was done to it; what a table's lies do is found
SET client_min_messages = warning;
CREATE FUNCTION random_vector(dims int, seed int) RETURNS vector
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT array_agg(sin(seed * 12.9898 + i * 78.233 + seed * i * 0.37))::vector FROM generate_series(1, dims) i $$;
CREATE VIEW check_hnsw_all AS
	SELECT c.relname, s.strict, f.*
	FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw',
		(VALUES (false), (true)) s(strict), vecdb_check(c.oid, s.strict) f
	WHERE c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace
	ORDER BY 1, 2;

-- every metric, both modes, after each kind of change
CREATE TABLE chk (id int, v vector(8));
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(1, 1000) i;
INSERT INTO chk SELECT i, NULL FROM generate_series(3001, 3010) i;
INSERT INTO chk SELECT i, '[0,0,0,0,0,0,0,0]' FROM generate_series(3051, 3100) i;
CREATE INDEX chk_l2 ON chk USING hnsw (v vector_l2_ops);
CREATE INDEX chk_ip ON chk USING hnsw (v vector_ip_ops) WITH (m = 4);
CREATE INDEX chk_cos ON chk USING hnsw (v vector_cosine_ops) WITH (codes = '4');
CREATE INDEX chk_l1 ON chk USING hnsw (v vector_l1_ops) WITH (m = 4);
CREATE INDEX chk_part ON chk USING hnsw (v vector_l2_ops) WHERE id % 7 = 0;
CREATE INDEX chk_expr ON chk USING hnsw (((v + '[1,2,3,4,5,6,7,8]')::vector(8)) vector_l2_ops) WITH (codes = none, m = 4);
SELECT * FROM check_hnsw_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(4001, 4300) i;
SELECT * FROM check_hnsw_all;
UPDATE chk SET v = random_vector(8, id + 100000) WHERE id % 5 = 0;
UPDATE chk SET id = id WHERE id % 11 = 0;
SELECT * FROM check_hnsw_all;
DELETE FROM chk WHERE id % 3 = 0;
SELECT * FROM check_hnsw_all;
VACUUM chk;
SELECT * FROM check_hnsw_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(6001, 6300) i;
SELECT * FROM check_hnsw_all;
-- rows of this transaction, and of one that was rolled back
BEGIN;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(7001, 7050) i;
SELECT * FROM check_hnsw_all;
ROLLBACK;
SELECT * FROM check_hnsw_all;
DELETE FROM chk;
VACUUM chk;
SELECT * FROM check_hnsw_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(1, 100) i;
SELECT * FROM check_hnsw_all;
REINDEX TABLE chk;
SELECT * FROM check_hnsw_all;
DROP TABLE chk CASCADE;

-- a column that lost its dimensions keeps its index, which keeps them
CREATE TABLE loose (v vector(3));
INSERT INTO loose SELECT random_vector(3, i) FROM generate_series(1, 50) i;
CREATE INDEX loose_idx ON loose USING hnsw (v vector_l2_ops);
ALTER TABLE loose ALTER v TYPE vector;
INSERT INTO loose VALUES ('[1,2]');
INSERT INTO loose VALUES ('[1,2,3]');
SELECT * FROM check_hnsw_all;
DROP TABLE loose;

-- own vectors on pages of their own
CREATE TABLE long_rows (id int, v vector(5000));
INSERT INTO long_rows SELECT i, random_vector(5000, i) FROM generate_series(1, 12) i;
CREATE INDEX long_l2 ON long_rows USING hnsw (v vector_l2_ops);
CREATE INDEX long_ip ON long_rows USING hnsw (v vector_ip_ops);
CREATE INDEX long_l1 ON long_rows USING hnsw (v vector_l1_ops);
SELECT * FROM check_hnsw_all;
DELETE FROM long_rows WHERE id % 2 = 0;
VACUUM long_rows;
SELECT * FROM check_hnsw_all;
INSERT INTO long_rows SELECT i, random_vector(5000, i) FROM generate_series(13, 20) i;
SELECT * FROM check_hnsw_all;
SELECT vecdb_index_check('long_l2'), vecdb_index_check('long_l2', true);
DROP TABLE long_rows CASCADE;

-- rows that the index lacks, has with another value, or should not have:
-- an index built while its table said something else
CREATE TABLE lies (id int, v vector(3));
INSERT INTO lies SELECT i, random_vector(3, i) FROM generate_series(1, 4) i;
CREATE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN v; END $$;
CREATE INDEX lies_idx ON lies USING hnsw ((lie(v)::vector(3)) vector_l2_ops);
SELECT * FROM check_hnsw_all;
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN CASE WHEN v < '[0,0,0]' THEN v + '[1,1,1]' ELSE v END; END $$;
SELECT severity, code, detail FROM vecdb_check('lies_idx');
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN CASE WHEN v < '[0,0,0]' THEN NULL ELSE v END; END $$;
SELECT severity, code, detail FROM vecdb_check('lies_idx');
SELECT severity, code, detail FROM vecdb_check('lies_idx', max_findings => 1);
SELECT * FROM vecdb_check('lies_idx', heap => false);
\set VERBOSITY sqlstate
SELECT vecdb_index_check('lies_idx');
\set VERBOSITY default
INSERT INTO lies SELECT i, random_vector(3, i) FROM generate_series(5, 20) i;
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN v; END $$;
SELECT severity, code, count(*) > 0 AS some FROM vecdb_check('lies_idx') GROUP BY 1, 2;
REINDEX INDEX lies_idx;
SELECT * FROM check_hnsw_all;
DROP TABLE lies;
DROP FUNCTION lie;
DROP FUNCTION random_vector CASCADE;
