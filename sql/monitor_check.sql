-- vecdb_check: a sound index has no findings, whatever was done to it
SET client_min_messages = warning;
CREATE FUNCTION random_vector(dims int, seed int) RETURNS vector
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT array_agg(sin(seed * 12.9898 + i * 78.233 + seed * i * 0.37))::vector FROM generate_series(1, dims) i $$;

-- every metric, both modes, after each kind of change
CREATE TABLE chk (id int, v vector(8));
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(1, 3000) i;
INSERT INTO chk SELECT i, NULL FROM generate_series(3001, 3050) i;
INSERT INTO chk SELECT i, '[0,0,0,0,0,0,0,0]' FROM generate_series(3051, 3060) i;
CREATE INDEX chk_l2 ON chk USING ivfflat (v vector_l2_ops) WITH (lists = 20);
CREATE INDEX chk_ip ON chk USING ivfflat (v vector_ip_ops) WITH (lists = 20);
CREATE INDEX chk_cos ON chk USING ivfflat (v vector_cosine_ops) WITH (lists = 20);
CREATE INDEX chk_part ON chk USING ivfflat (v vector_l2_ops) WITH (lists = 3) WHERE id % 7 = 0;
CREATE INDEX chk_expr ON chk USING ivfflat (((v + '[1,2,3,4,5,6,7,8]')::vector(8)) vector_l2_ops) WITH (lists = 5);

CREATE VIEW check_all AS
	SELECT c.relname, s.strict, f.*
	FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
		JOIN pg_am a ON a.oid = c.relam AND a.amname = 'ivfflat',
		(VALUES (false), (true)) s(strict), vecdb_check(c.oid, s.strict) f
	WHERE c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace
	ORDER BY 1, 2;
SELECT * FROM check_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(4001, 5000) i;
SELECT * FROM check_all;
UPDATE chk SET v = random_vector(8, id + 100000) WHERE id % 5 = 0;
UPDATE chk SET id = id WHERE id % 11 = 0;
SELECT * FROM check_all;
DELETE FROM chk WHERE id % 3 = 0;
SELECT * FROM check_all;
VACUUM chk;
SELECT * FROM check_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(6001, 7000) i;
SELECT * FROM check_all;
-- rows of this transaction, and of one that was rolled back
BEGIN;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(7001, 7100) i;
SELECT * FROM check_all;
ROLLBACK;
SELECT * FROM check_all;
DELETE FROM chk;
VACUUM chk;
SELECT * FROM check_all;
INSERT INTO chk SELECT i, random_vector(8, i) FROM generate_series(1, 100) i;
REINDEX TABLE chk;
SELECT * FROM check_all;
DROP TABLE chk CASCADE;

-- born empty, then filled
CREATE TABLE born (v vector(3));
CREATE INDEX born_idx ON born USING ivfflat (v vector_cosine_ops);
SELECT * FROM check_all;
INSERT INTO born VALUES ('[1,2,3]');
SELECT * FROM check_all;
INSERT INTO born SELECT random_vector(3, i) FROM generate_series(1, 1000) i;
SELECT * FROM check_all;
DROP TABLE born;

-- one row; unlogged; temporary
CREATE UNLOGGED TABLE one (v vector(3));
INSERT INTO one VALUES ('[1,2,3]');
CREATE INDEX one_idx ON one USING ivfflat (v vector_l2_ops);
SELECT * FROM check_all;
DROP TABLE one;
CREATE TEMPORARY TABLE temporary_one (v vector(3));
INSERT INTO temporary_one SELECT random_vector(3, i) FROM generate_series(1, 500) i;
CREATE INDEX temporary_idx ON temporary_one USING ivfflat (v vector_l2_ops);
SELECT * FROM vecdb_check('temporary_idx', true);
DROP TABLE temporary_one;

-- a column that lost its dimensions keeps its index, which keeps them
CREATE TABLE loose (v vector(3));
INSERT INTO loose SELECT random_vector(3, i) FROM generate_series(1, 50) i;
CREATE INDEX loose_idx ON loose USING ivfflat (v vector_l2_ops) WITH (lists = 2);
ALTER TABLE loose ALTER v TYPE vector;
INSERT INTO loose VALUES ('[1,2]');
INSERT INTO loose VALUES ('[1,2,3]');
SELECT * FROM check_all;
DROP TABLE loose;

-- rows over several pages: 2,030 elements fit the first one, 2,034 each further
CREATE TABLE long_rows (id int, v2030 vector(2030), v2031 vector(2031), v3000 vector(3000), v9000 vector(9000));
ALTER TABLE long_rows ALTER v2030 SET STORAGE EXTERNAL, ALTER v3000 SET STORAGE EXTERNAL;
INSERT INTO long_rows
	SELECT i, random_vector(2030, i), random_vector(2031, i), random_vector(3000, i), random_vector(9000, i)
	FROM generate_series(1, 12) i;
CREATE INDEX long_2030 ON long_rows USING ivfflat (v2030 vector_l2_ops) WITH (lists = 2);
CREATE INDEX long_2031 ON long_rows USING ivfflat (v2031 vector_ip_ops) WITH (lists = 2);
CREATE INDEX long_3000 ON long_rows USING ivfflat (v3000 vector_cosine_ops) WITH (lists = 2);
CREATE INDEX long_9000 ON long_rows USING ivfflat (v9000 vector_l2_ops) WITH (lists = 2);
SELECT * FROM check_all;
DELETE FROM long_rows WHERE id % 2 = 0;
VACUUM long_rows;
SELECT * FROM check_all;
INSERT INTO long_rows
	SELECT i, random_vector(2030, i), random_vector(2031, i), random_vector(3000, i), random_vector(9000, i)
	FROM generate_series(13, 20) i;
SELECT * FROM check_all;
SELECT vecdb_index_check('long_9000'), vecdb_index_check('long_9000', true);
DROP TABLE long_rows CASCADE;

-- what it cannot check
CREATE TABLE other (id int PRIMARY KEY, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (0) TO (10);
INSERT INTO other VALUES (1, '[1,2,3]');
CREATE INDEX other_idx ON other USING ivfflat (v vector_l2_ops);
SELECT * FROM vecdb_check('other_idx');
SELECT * FROM vecdb_check('other_1_v_idx');
SELECT * FROM vecdb_check('other_1');
SELECT * FROM vecdb_check('other_1_pkey');
SELECT * FROM vecdb_check(NULL);
SELECT * FROM vecdb_check(1);
SELECT * FROM vecdb_check('other_1_v_idx', max_findings => 0);
SELECT vecdb_index_check('other_1_v_idx', NULL);

-- an index that is not valid, and one that was never built
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'other_1_v_idx'::regclass;
SELECT * FROM vecdb_check('other_1_v_idx');
SELECT vecdb_index_check('other_1_v_idx');
UPDATE pg_index SET indisready = false WHERE indexrelid = 'other_1_v_idx'::regclass;
SELECT * FROM vecdb_check('other_1_v_idx');
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'other_1_v_idx'::regclass;

-- rows that the index lacks, has with another value, or should not have:
-- an index built while its table said something else
CREATE TABLE lies (id int, v vector(3));
INSERT INTO lies SELECT i, random_vector(3, i) FROM generate_series(1, 4) i;
CREATE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN v; END $$;
CREATE INDEX lies_idx ON lies USING ivfflat ((lie(v)::vector(3)) vector_l2_ops) WITH (lists = 1);
SELECT * FROM vecdb_check('lies_idx');
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN CASE WHEN v < '[0,0,0]' THEN v + '[1,1,1]' ELSE v END; END $$;
SELECT * FROM vecdb_check('lies_idx');
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN CASE WHEN v < '[0,0,0]' THEN NULL ELSE v END; END $$;
SELECT * FROM vecdb_check('lies_idx');
SELECT * FROM vecdb_check('lies_idx', max_findings => 1);
SELECT * FROM vecdb_check('lies_idx', heap => false);
SELECT vecdb_index_check('lies_idx');
INSERT INTO lies SELECT i, random_vector(3, i) FROM generate_series(5, 8) i;
CREATE OR REPLACE FUNCTION lie(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
	$$ BEGIN RETURN v; END $$;
SELECT * FROM vecdb_check('lies_idx');
DROP TABLE lies;

-- index expressions run as the owner of the table, with a safe search_path
CREATE ROLE regress_vecdb_owner;
CREATE ROLE regress_vecdb_reader;
CREATE ROLE regress_vecdb_nobody;
GRANT pg_read_all_data TO regress_vecdb_reader;
CREATE TABLE owned (id int, v vector(3));
ALTER TABLE owned OWNER TO regress_vecdb_owner;
INSERT INTO owned VALUES (1, '[1,2,3]');
CREATE FUNCTION who(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RAISE WARNING '% with search_path %', current_user, current_setting('search_path'); RETURN v; END $$;
SET client_min_messages = error;
CREATE INDEX owned_idx ON owned USING ivfflat ((who(v)::vector(3)) vector_l2_ops);
SET client_min_messages = warning;
SELECT * FROM vecdb_check('owned_idx');
SELECT current_user = session_user AS myself_again, current_setting('search_path');

-- who may
SET ROLE regress_vecdb_nobody;
SELECT * FROM vecdb_check('owned_idx');
SELECT * FROM vecdb_check('owned_idx', strict => true);
SELECT vecdb_index_check('owned_idx');
SELECT * FROM vecdb_index_stats('owned_idx');
SELECT * FROM vecdb_page_header('');
SELECT * FROM ivf_metapage_info('');
SELECT * FROM ivf_page_info('');
SELECT * FROM ivf_list_info('');
SELECT * FROM ivf_page_items('', 28);
SET ROLE regress_vecdb_reader;
SELECT * FROM vecdb_check('owned_idx');
SELECT * FROM vecdb_check('owned_idx', strict => true);
SELECT count(*) > 5 AS has_stats FROM vecdb_index_stats('owned_idx');
SELECT * FROM vecdb_page_header('');
SET ROLE regress_vecdb_owner;
SELECT * FROM vecdb_check('owned_idx', strict => true);
SELECT vecdb_index_check('owned_idx');
RESET ROLE;
DROP TABLE owned, other;
DROP FUNCTION who, lie, random_vector CASCADE;
DROP ROLE regress_vecdb_owner, regress_vecdb_reader, regress_vecdb_nobody;
