-- Functions and operators of vector: results at the edges, errors, catalog.

-- distances
SELECT l2_distance('[0,0]'::vector, '[3,4]'), '[0,0]'::vector <-> '[0,1]', '[1]'::vector <-> '[1]';
SELECT l2_distance('[3e38]'::vector, '[-3e38]'), l2_distance('[1e-30]'::vector, '[0]');
SELECT inner_product('[1,2]'::vector, '[3,4]'), '[1,2]'::vector <#> '[3,4]', inner_product('[3e38]'::vector, '[3e38]');
SELECT '[1,0]'::vector <#> '[0,1]' AS minus_zero, '[3e38,3e38]'::vector <#> '[3e38,-3e38]' AS cancelled;
-- the sum is rounded to float once; squares beyond float end as infinity
SELECT '[0.1,0.2]'::vector <#> '[0.1,0.2]';
SELECT '[3e38]'::vector <-> '[-3e38]' AS l2, '[3e38]'::vector <#> '[3e38]' AS ip, '[3e38]'::vector <=> '[3e38]' AS cosine,
	   '[3e38]'::vector <+> '[-3e38]' AS l1;
SELECT l1_distance('[0,0]'::vector, '[3,4]'), '[1,-2]'::vector <+> '[-1,2]', l1_distance('[3e38]'::vector, '[-3e38]');
SELECT cosine_distance('[1,2]'::vector, '[2,4]'), '[1,0]'::vector <=> '[0,2]', '[1,1]'::vector <=> '[-1,-1]';
-- clamped: rounding never leaves 0 .. 2
SELECT bool_and(d >= 0) AS low, bool_and(d < 1e-6) AS near
FROM (SELECT cosine_distance(v, v) d FROM (SELECT ARRAY[i, i / 7.0, 1.1 / i]::vector v FROM generate_series(1, 1000) i) s) t;
SELECT bool_and(d <= 2) AS low, bool_and(d > 2 - 1e-6) AS near
FROM (SELECT cosine_distance(v, v * '[-1,-1,-1]') d FROM (SELECT ARRAY[i, i / 7.0, 1.1 / i]::vector v FROM generate_series(1, 1000) i) s) t;
-- no direction: zero, or squares beyond float
SELECT '[0,0]'::vector <=> '[1,1]' AS zero, '[1,1]'::vector <=> '[0,-0]' AS zero, '[1e-30]'::vector <=> '[1e-30]' AS underflow,
	   '[1e-30]'::vector <=> '[1e10]' AS underflow, cosine_distance('[3e38]'::vector, '[3e38]') AS overflow;
SELECT vector_l2_squared_distance('[0,0]', '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]');
SELECT vector_spherical_distance('[1,0]', '[0,1]'), vector_spherical_distance('[1,0]', '[1,0]'),
	   vector_spherical_distance('[1,0]', '[-1,0]'), vector_spherical_distance('[2]', '[2]'), vector_spherical_distance('[2]', '[-2]');

-- norms and parts
SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0,-0]'), vector_norm('[3e37,4e37]')::real,
	   vector_norm('[3e-40,4e-40]')::real, vector_norm('[3e38,3e38]') > 3.5e38 AS beyond_float;
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[0,0]'::vector), l2_normalize('[3e37,4e37]'::vector), l2_normalize('[1e-45]'::vector);
SELECT binary_quantize('[1,0,-1,-0,1e-45,5,6,7,8]'::vector), binary_quantize('[1]'::vector);
SELECT binary_quantize('[1,0,1]'::vector)::bit(3), length(binary_quantize(('[' || repeat('1,', 15999) || '1]')::vector));
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3), subvector('[1,2,3,4,5]'::vector, 3, 2), subvector('[1,2,3,4,5]'::vector, 5, 1);
SELECT subvector('[1,2,3,4,5]'::vector, 3, 9), subvector('[1,2,3,4,5]'::vector, -1, 3), subvector('[1,2,3,4,5]'::vector, 0, 2),
	   subvector('[1,2,3,4,5]'::vector, 1, 2147483647), subvector('[1,2,3,4,5]'::vector, 5, 2147483647),
	   subvector('[1,2,3,4,5]'::vector, -2147483640, 2147483647);
SELECT subvector('[1]'::vector, 1, 0);
SELECT subvector('[1]'::vector, 1, -1);
SELECT subvector('[1]'::vector, 2, 1);
SELECT subvector('[1]'::vector, 2147483647, 2147483647);
SELECT subvector('[1]'::vector, -2147483648, 2147483647);
SELECT subvector('[1]'::vector, -2147483648, -2147483648);
SELECT subvector('[1]'::vector, 0, 1);

-- arithmetic
SELECT '[1,2]'::vector + '[3,-4]', '[1,2]'::vector - '[3,-4]', '[1,2]'::vector * '[3,-4]', '[1,2]'::vector || '[3]';
SELECT '[-0]'::vector + '[-0]', '[0]'::vector - '[0]', '[-1]'::vector * '[0]', '[1e-45]'::vector - '[1e-45]';
SELECT '[1,3e38]'::vector + '[1,3e38]';
SELECT '[-3e38]'::vector - '[3e38]';
SELECT '[1e20]'::vector * '[1e20]';
SELECT '[1e-30]'::vector * '[1e-30]';
SELECT '[1e-30]'::vector * '[0]', '[1e-20]'::vector * '[1e-20]';
SELECT vector_dims(v || v) FROM (SELECT ('[' || repeat('1,', 7999) || '1]')::vector v) s;
SELECT v || v || '[1]' FROM (SELECT ('[' || repeat('1,', 7999) || '1]')::vector v) s;

-- different dimensions
SELECT l2_distance('[1]'::vector, '[1,2]');
SELECT inner_product('[1]'::vector, '[1,2]');
SELECT cosine_distance('[1]'::vector, '[1,2]');
SELECT l1_distance('[1,2]'::vector, '[1]');
SELECT vector_l2_squared_distance('[1]', '[1,2]');
SELECT vector_negative_inner_product('[1]', '[1,2]');
SELECT vector_spherical_distance('[1]', '[1,2]');
SELECT '[1]'::vector + '[1,2]';
SELECT '[1]'::vector - '[1,2]';
SELECT '[1,2,3]'::vector * '[1,2]';
\set VERBOSITY sqlstate
SELECT '[1]'::vector <-> '[1,2]';
SELECT '[3e38]'::vector + '[3e38]';
SELECT '[1e-30]'::vector * '[1e-30]';
SELECT subvector('[1]'::vector, 1, 0);
SELECT v || v || '[1]' FROM (SELECT ('[' || repeat('1,', 7999) || '1]')::vector v) s;
\set VERBOSITY default

-- no operator takes an array or a number
SELECT '[1,2]'::vector = ARRAY[1,2];
SELECT '[1,2]'::vector <-> ARRAY[1,2];
SELECT '[1,2]'::vector * 2;

-- untyped literals: only one candidate may exist for these
SELECT vector_norm('[3,4]'), vector_cmp('[1]', '[2]'), vector_accum('{0}', '[1]'), vector_avg('{1,2}'), vector_combine('{0}', '{0}');

-- strict
SELECT l2_distance(NULL::vector, '[1]'), NULL::vector + '[1]', vector_dims(NULL::vector), subvector('[1]'::vector, NULL, 1);

-- a sequential scan may run in parallel workers
CREATE TABLE vector_scan (id int, v vector(3));
INSERT INTO vector_scan SELECT i, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(1, 1000) i;
ALTER TABLE vector_scan SET (parallel_workers = 2);
ANALYZE vector_scan;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
EXPLAIN (COSTS OFF) SELECT id FROM vector_scan ORDER BY v <-> '[5,5,5]', id LIMIT 3;
SELECT id FROM vector_scan ORDER BY v <-> '[5,5,5]', id LIMIT 3;
SELECT id FROM vector_scan ORDER BY v <#> '[5,5,5]', id LIMIT 3;
SELECT id FROM vector_scan ORDER BY v <=> '[5,5,5]', id LIMIT 3;
SELECT id FROM vector_scan ORDER BY v <+> '[5,5,5]', id LIMIT 3;
DROP TABLE vector_scan;

-- the instruction set is one we know, and is not an immutable fact
SELECT vecdb_simd() IN ('scalar', 'avx2', 'avx512', 'neon') AS known;

-- catalog: what clients and planners rely on
SELECT p.oid::regprocedure AS function, p.prorettype::regtype AS returns, p.provolatile AS vol, p.proisstrict AS strict,
	   p.proparallel AS par, p.proleakproof AS leak, p.prokind AS kind, p.procost AS cost, p.prosrc <> p.proname AS renamed
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'vecdb'
WHERE p.prorettype = 'vector'::regtype OR 'vector'::regtype = ANY (p.proargtypes) OR p.proname ~ '^(vector_|vecdb_simd)'
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT o.oid::regoperator AS operator, o.oprcode::regproc AS function, o.oprresult::regtype AS result,
	   o.oprcom::regoperator AS commutator, o.oprnegate::regoperator AS negator,
	   o.oprrest AS restrict, o.oprjoin AS join, o.oprcanmerge AS merges, o.oprcanhash AS hashes
FROM pg_operator o WHERE 'vector'::regtype IN (o.oprleft, o.oprright)
ORDER BY o.oprname COLLATE "C";

-- all that users look at says what it is
SELECT o.oid::regoperator AS uncommented FROM pg_operator o
WHERE 'vector'::regtype IN (o.oprleft, o.oprright) AND obj_description(o.oid, 'pg_operator') IS NULL;
