-- avg(vector) and sum(vector).

CREATE TABLE vector_agg (g int, v vector(3));
INSERT INTO vector_agg VALUES (1, '[1,2,3]'), (1, '[3,5,7]'), (2, '[-1,0,1]'), (2, NULL), (3, NULL);
SELECT avg(v), sum(v) FROM vector_agg;
SELECT g, avg(v), sum(v) FROM vector_agg GROUP BY g ORDER BY g;
SELECT avg(v), sum(v) FROM vector_agg WHERE false;
SELECT avg(v) FILTER (WHERE g = 1), sum(DISTINCT v) FROM vector_agg;
-- a moving frame starts over from saved states, which must not have changed
SELECT g, v, avg(v) OVER w, sum(v) OVER w FROM vector_agg WINDOW w AS (ORDER BY g, v ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING);
SELECT g, avg(v) OVER (ORDER BY g, v), sum(v) OVER (ORDER BY g, v) FROM vector_agg;

-- avg adds in double: float would lose the small ones
SELECT avg(v), sum(v) FROM (VALUES ('[16777216]'::vector), ('[1]'), ('[1]'), ('[2]')) t(v);
SELECT avg(v) FROM (VALUES ('[3e38]'::vector), ('[3e38]')) t(v);
SELECT sum(v) FROM (VALUES ('[3e38]'::vector), ('[3e38]')) t(v);

-- mixed dimensions
SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) t(v);
SELECT sum(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) t(v);
SELECT vector_dims(avg(v)), vector_dims(sum(v)) FROM (SELECT array_fill(i, ARRAY[16000])::vector v FROM generate_series(1, 3) i) t;

-- parallel, with rows and without
INSERT INTO vector_agg SELECT 4, ARRAY[i, i + 1, -i]::vector FROM generate_series(1, 1000) i;
ALTER TABLE vector_agg SET (parallel_workers = 2);
ANALYZE vector_agg;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM vector_agg;
SELECT avg(v), sum(v) FROM vector_agg WHERE g = 4;
SELECT avg(v), sum(v) FROM vector_agg WHERE g = 5;
SELECT avg(v), sum(v) FROM vector_agg WHERE g = 3;
SELECT avg(v || subvector(v, 1, CASE WHEN v = '[1,2,-1]' THEN 1 ELSE 2 END)) FROM vector_agg WHERE g = 4;
SELECT g, avg(v), sum(v) FROM vector_agg GROUP BY g ORDER BY g;
DROP TABLE vector_agg;

-- the support functions, called by anyone with anything
SELECT vector_accum('{0}', '[1,2]'), vector_accum('{1,2,3}', '[1,2]'), vector_accum('{5,0}', '[1]');
SELECT vector_combine('{0}', '{0}'), vector_combine('{0}', '{2,3}'), vector_combine('{2,3}', '{0}'), vector_combine('{1,2}', '{3,4}');
SELECT vector_avg('{2,3,4}'), vector_avg('{0}'), vector_avg('{0,1}'), vector_avg('{-1,1}');
SELECT vector_accum('{}', '[1]');
SELECT vector_accum('{{0}}', '[1]');
SELECT vector_accum('{NULL}', '[1]');
SELECT vector_accum('{1,NULL}', '[1]');
SELECT vector_accum('{1,2}', '[1,2]');
SELECT vector_accum('{1,2,3}', '[1]');
SELECT vector_accum('{1,Infinity}', '[1]');
SELECT vector_accum('[5:6]={1,2}', '[1]');
SELECT vector_combine('{}', '{0}');
SELECT vector_combine('{0}', '{}');
SELECT vector_combine('{0}', '{{0,1}}');
SELECT vector_combine('{1,NULL}', '{0}');
SELECT vector_combine('{1,2}', '{1,2,3}');
SELECT vector_combine('{1}', '{1,2}');
SELECT vector_combine('{1,1e308}', '{1,1e308}');
SELECT array_length(vector_combine(array_fill(1::float8, ARRAY[20000]), array_fill(1::float8, ARRAY[20000])), 1);
SELECT vector_avg('{}');
SELECT vector_avg('{{1,2}}');
SELECT vector_avg('{NULL}');
SELECT vector_avg('{1}');
SELECT vector_avg('{1,NaN}');
SELECT vector_avg('{NaN,1}');
SELECT vector_avg('{1,Infinity}');
SELECT vector_avg('{1,1e39}');
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));
SELECT vector_dims(vector_avg(array_fill(1::float8, ARRAY[16001])));
\set VERBOSITY sqlstate
SELECT vector_accum('{}', '[1]');
SELECT vector_combine('{0}', '{}');
SELECT vector_avg('{}');
SELECT vector_avg('{1}');
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));
SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) t(v);
\set VERBOSITY default
-- a state that was stored short, and one out of line
CREATE TEMP TABLE vector_state (s float8[]);
ALTER TABLE vector_state ALTER s SET STORAGE external;
INSERT INTO vector_state VALUES ('{1,2}'), (array_fill(2::float8, ARRAY[5001]));
SELECT array_length(vector_accum(s, array_fill(1, ARRAY[array_length(s, 1) - 1])::vector), 1), vector_norm(vector_avg(s))::real FROM vector_state;
-- direct calls leave the stored state alone
SELECT s[1:2] FROM vector_state;
