-- Training in VACUUM: when, how many lists, and that every row is found before and after.
SET enable_seqscan = off;
SET enable_sort = off;
CREATE FUNCTION state(index text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT string_agg(metric || ' ' || value, ', ' ORDER BY metric) FROM vecdb_index_stats(index::regclass, true)
		WHERE metric IN ('generation', 'lists', 'rows', 'rows_now', 'rows_at_build'));
END $$;
CREATE FUNCTION found(tab text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	ids bigint;
	damage bigint;
BEGIN
	SET LOCAL ivfflat.probes = 32768;
	EXECUTE format('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM %I ORDER BY v <-> %L) x', tab, query) INTO n, ids;
	SELECT count(*) INTO damage FROM vecdb_check((tab || '_v')::regclass, true);
	RETURN format('%s rows, %s ids, %s findings', n, ids, damage);
END $$;
CREATE FUNCTION v2(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[i % 41, i % 37]::real[]::vector $$;

-- too few rows, then enough: 1,000, and 32 for each list
CREATE TABLE tr (id int, v vector(2)) WITH (autovacuum_enabled = off);
CREATE INDEX tr_v ON tr USING ivfflat (v) WITH (lists = 50);
INSERT INTO tr SELECT i, v2(i) FROM generate_series(1, 1599) i;
VACUUM tr;
SELECT state('tr_v');
INSERT INTO tr VALUES (1600, v2(1600)), (1601, NULL);
VACUUM tr;
SELECT state('tr_v'), found('tr', '[1,2]');
-- twice the rows: once more
INSERT INTO tr SELECT i, v2(i) FROM generate_series(1602, 3201) i;
VACUUM tr;
SELECT state('tr_v'), found('tr', '[1,2]');
-- rows come and go without more of them: no more
INSERT INTO tr SELECT i, v2(i) FROM generate_series(3202, 3300) i;
DELETE FROM tr WHERE id % 3 = 0;
VACUUM tr;
SELECT state('tr_v'), found('tr', '[1,2]');
-- lists of its own choice, of 32 rows at least: as many as a build makes of these rows
CREATE TABLE own (id int, v vector(300)) WITH (autovacuum_enabled = off);
CREATE INDEX own_v ON own USING ivfflat (v);
INSERT INTO own SELECT i, (SELECT array_agg(sin(i * j * 0.01) + i % 10)::vector FROM generate_series(1, 300) j) FROM generate_series(1, 999) i;
VACUUM own;
SELECT state('own_v');
INSERT INTO own SELECT i, (SELECT array_agg(sin(i * j * 0.01) + i % 10)::vector FROM generate_series(1, 300) j) FROM generate_series(1000, 1023) i;
VACUUM own;
SELECT state('own_v'), found('own', (SELECT v::text FROM own LIMIT 1));
CREATE INDEX own_built ON own USING ivfflat (v);
SELECT state('own_built');
DROP INDEX own_built;
INSERT INTO own SELECT i, (SELECT array_agg(sin(i * j * 0.01) + i % 10)::vector FROM generate_series(1, 300) j) FROM generate_series(1024, 4100) i;
VACUUM own;
SELECT state('own_v'), found('own', (SELECT v::text FROM own LIMIT 1));
-- more lists than half fill their pages, or than have 32 rows each: made all the same, and CREATE INDEX says how many would do
CREATE TABLE few (id int, v vector(3), w vector(300)) WITH (autovacuum_enabled = off);
INSERT INTO few SELECT i, ARRAY[i % 41, i % 37, i % 43]::real[]::vector, array_fill(sin(i)::real, ARRAY[300])::vector FROM generate_series(1, 1000) i;
CREATE INDEX few_v ON few USING ivfflat (v) WITH (lists = 7);
SELECT state('few_v');
ALTER INDEX few_v SET (lists = 6);
REINDEX INDEX few_v;
CREATE INDEX few_w ON few USING ivfflat (w) WITH (lists = 32);
CREATE INDEX few_codes ON few USING ivfpq (w) WITH (lists = 32, quantizer = pq, m = 75, bits = 8);
CREATE INDEX few_31 ON few USING ivfflat (w) WITH (lists = 31);
CREATE INDEX few_1 ON few USING ivfflat (w) WITH (lists = 1) WHERE id < 10;
CREATE INDEX few_2 ON few USING ivfflat (w) WITH (lists = 2) WHERE id < 10;
DROP TABLE few;
-- inner product and cosine, rows of several pages
CREATE TABLE long (id int, v vector(2100)) WITH (autovacuum_enabled = off);
CREATE INDEX long_v ON long USING ivfflat (v) WITH (lists = 3);
CREATE INDEX long_ip ON long USING ivfflat (v vector_ip_ops) WITH (lists = 3);
CREATE INDEX long_cosine ON long USING ivfflat (v vector_cosine_ops) WITH (lists = 3);
INSERT INTO long SELECT i, array_fill((CASE WHEN i % 100 = 0 THEN 0 ELSE i % 3 - 1 + i / 10000.0 END)::real, ARRAY[2100])::vector FROM generate_series(1, 1030) i;
VACUUM long;
SELECT i, state(i), (SELECT count(*) FROM vecdb_check(i::regclass, true)) FROM unnest('{long_v,long_ip,long_cosine}'::text[]) i;
SELECT found('long', (SELECT v::text FROM long LIMIT 1));
-- all rows alike: one list, and no second try before there are twice as many
CREATE TABLE alike (id int, v vector(3)) WITH (autovacuum_enabled = off);
CREATE INDEX alike_v ON alike USING ivfflat (v) WITH (lists = 10);
INSERT INTO alike SELECT i, '[1,2,3]' FROM generate_series(1, 1500) i;
VACUUM alike;
VACUUM alike;
SELECT state('alike_v'), found('alike', '[1,2,4]');
-- temporary and unlogged tables, an expression, a predicate
CREATE TEMP TABLE tmp (id int, v vector(2));
CREATE INDEX tmp_v ON tmp USING ivfflat (v) WITH (lists = 4);
CREATE UNLOGGED TABLE unlogged (id int, v vector(2)) WITH (autovacuum_enabled = off);
CREATE INDEX unlogged_v ON unlogged USING ivfflat (v) WITH (lists = 4);
CREATE INDEX unlogged_part ON unlogged USING ivfflat (((v + '[1,1]')::vector(2))) WITH (lists = 4) WHERE id % 2 = 0;
INSERT INTO tmp SELECT i, v2(i) FROM generate_series(1, 1100) i;
INSERT INTO unlogged SELECT i, v2(i) FROM generate_series(1, 2200) i;
VACUUM tmp, unlogged;
SELECT state('tmp_v'), found('tmp', '[1,2]');
SELECT state('unlogged_v'), state('unlogged_part'), found('unlogged', '[1,2]');
-- too little memory for so many lists: a warning, and nothing is lost
CREATE TABLE mem (id int, v vector(1000)) WITH (autovacuum_enabled = off);
CREATE INDEX mem_v ON mem USING ivfflat (v) WITH (lists = 40);
INSERT INTO mem SELECT i, array_fill((i % 50)::real, ARRAY[1000])::vector FROM generate_series(1, 1300) i;
SET maintenance_work_mem = '1MB';
VACUUM mem;
SELECT state('mem_v');
RESET maintenance_work_mem;
VACUUM mem;
SELECT state('mem_v'), found('mem', (SELECT v::text FROM mem LIMIT 1));
\unset dummy
DROP TABLE tr, own, long, alike, tmp, unlogged, mem;
DROP FUNCTION state, found, v2;
