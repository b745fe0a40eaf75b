\echo Use "CREATE EXTENSION vecdb" to load this file. \quit

/* ---- the type vector ---------------------------------------------------- */

CREATE TYPE vector;

CREATE FUNCTION vector_in(cstring, oid, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_out(vector) RETURNS cstring
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_typmod_in(cstring[]) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_recv(internal, oid, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_send(vector) RETURNS bytea
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE vector (
	INPUT = vector_in,
	OUTPUT = vector_out,
	TYPMOD_IN = vector_typmod_in,
	RECEIVE = vector_recv,
	SEND = vector_send,
	STORAGE = external
);
COMMENT ON TYPE vector IS 'list of floating-point numbers, ''[1,2,3]''; vector(n) holds n of them';

/* ---- vector: functions ---------------------------------------------------- */

CREATE FUNCTION l2_distance(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_distance(vector, vector) IS 'Euclidean distance';
CREATE FUNCTION inner_product(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION inner_product(vector, vector) IS 'inner product';
CREATE FUNCTION cosine_distance(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cosine_distance(vector, vector) IS 'cosine distance; NaN for a zero vector';
CREATE FUNCTION l1_distance(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l1_distance(vector, vector) IS 'taxicab distance';
CREATE FUNCTION vector_dims(vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(vector) IS 'number of dimensions';
CREATE FUNCTION vector_norm(vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_norm(vector) IS 'Euclidean norm';
CREATE FUNCTION l2_normalize(vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_normalize(vector) IS 'scale to Euclidean norm 1';
CREATE FUNCTION binary_quantize(vector) RETURNS bit
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION binary_quantize(vector) IS 'one bit per dimension: is it positive';
CREATE FUNCTION subvector(vector, integer, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION subvector(vector, integer, integer) IS 'part of a vector: start (from 1), count';

-- behind operators, operator classes and aggregates
CREATE FUNCTION vector_l2_squared_distance(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_negative_inner_product(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_spherical_distance(vector, vector) RETURNS float8
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_add(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_sub(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_mul(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_concat(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_lt(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_le(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_eq(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_ne(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_ge(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_gt(vector, vector) RETURNS bool
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_cmp(vector, vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_accum(double precision[], vector) RETURNS double precision[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_avg(double precision[]) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_combine(double precision[], double precision[]) RETURNS double precision[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

/* ---- vector: casts -------------------------------------------------------- */

CREATE FUNCTION vector(vector, integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(integer[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(real[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(double precision[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(numeric[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_to_float4(vector, integer, boolean) RETURNS real[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (vector AS vector)
	WITH FUNCTION vector(vector, integer, boolean) AS IMPLICIT;
CREATE CAST (vector AS real[])
	WITH FUNCTION vector_to_float4(vector, integer, boolean) AS IMPLICIT;

-- not implicit, or ARRAY[1,2,3] = ARRAY[1,2,3] would be ambiguous
CREATE CAST (integer[] AS vector)
	WITH FUNCTION array_to_vector(integer[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (real[] AS vector)
	WITH FUNCTION array_to_vector(real[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (double precision[] AS vector)
	WITH FUNCTION array_to_vector(double precision[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (numeric[] AS vector)
	WITH FUNCTION array_to_vector(numeric[], integer, boolean) AS ASSIGNMENT;

/* ---- vector: operators ---------------------------------------------------- */

CREATE OPERATOR <-> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = l2_distance,
	COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (vector, vector) IS 'Euclidean distance';
CREATE OPERATOR <#> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_negative_inner_product,
	COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (vector, vector) IS 'negative inner product';
CREATE OPERATOR <=> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = cosine_distance,
	COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (vector, vector) IS 'cosine distance';
CREATE OPERATOR <+> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = l1_distance,
	COMMUTATOR = <+>
);
COMMENT ON OPERATOR <+> (vector, vector) IS 'taxicab distance';

CREATE OPERATOR + (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_add,
	COMMUTATOR = +
);
COMMENT ON OPERATOR + (vector, vector) IS 'element-wise sum';
CREATE OPERATOR - (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_sub
);
COMMENT ON OPERATOR - (vector, vector) IS 'element-wise difference';
CREATE OPERATOR * (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_mul,
	COMMUTATOR = *
);
COMMENT ON OPERATOR * (vector, vector) IS 'element-wise product';
CREATE OPERATOR || (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_concat
);
COMMENT ON OPERATOR || (vector, vector) IS 'concatenate';

CREATE OPERATOR < (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_lt,
	COMMUTATOR = >, NEGATOR = >=,
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (vector, vector) IS 'less than';
CREATE OPERATOR <= (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_le,
	COMMUTATOR = >=, NEGATOR = >,
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (vector, vector) IS 'less than or equal';
CREATE OPERATOR = (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_eq,
	COMMUTATOR = =, NEGATOR = <>,
	RESTRICT = eqsel, JOIN = eqjoinsel
);
COMMENT ON OPERATOR = (vector, vector) IS 'equal';
-- eqsel, not neqsel: what clients of this type have always been planned with
CREATE OPERATOR <> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_ne,
	COMMUTATOR = <>, NEGATOR = =,
	RESTRICT = eqsel, JOIN = eqjoinsel
);
COMMENT ON OPERATOR <> (vector, vector) IS 'not equal';
CREATE OPERATOR >= (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_ge,
	COMMUTATOR = <=, NEGATOR = <,
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (vector, vector) IS 'greater than or equal';
CREATE OPERATOR > (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_gt,
	COMMUTATOR = <, NEGATOR = <=,
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (vector, vector) IS 'greater than';

/* ---- vector: aggregates --------------------------------------------------- */

CREATE AGGREGATE avg(vector) (
	SFUNC = vector_accum,
	STYPE = double precision[],
	FINALFUNC = vector_avg,
	COMBINEFUNC = vector_combine,
	INITCOND = '{0}',
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(vector) IS 'the average (arithmetic mean), element by element';

CREATE AGGREGATE sum(vector) (
	SFUNC = vector_add,
	STYPE = vector,
	COMBINEFUNC = vector_add,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(vector) IS 'sum, element by element';

/* ---- vector: btree -------------------------------------------------------- */

CREATE OPERATOR CLASS vector_ops
	DEFAULT FOR TYPE vector USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 vector_cmp(vector, vector);

/* ---- kernels -------------------------------------------------------------- */

-- not immutable: vecdb.simd can change the answer
CREATE FUNCTION vecdb_simd() RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdb_simd() IS 'instruction set in use for distances: scalar, avx2, avx512 or neon';

/* ---- access methods and their operator classes ---------------------------- */

CREATE FUNCTION ivfflathandler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER ivfflathandler;

COMMENT ON ACCESS METHOD ivfflat IS 'vecdb: inverted lists of vectors, approximate nearest neighbours';

/* support functions are numbered as pgvector's: users have classes of their own */
CREATE OPERATOR CLASS vector_l2_ops
	DEFAULT FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_l2_squared_distance(vector, vector),
	FUNCTION 3 l2_distance(vector, vector);

CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 3 vector_spherical_distance(vector, vector),
	FUNCTION 4 vector_norm(vector);

CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 2 vector_norm(vector),
	FUNCTION 3 vector_spherical_distance(vector, vector),
	FUNCTION 4 vector_norm(vector);

COMMENT ON OPERATOR CLASS vector_l2_ops USING ivfflat IS 'ORDER BY column <-> value: Euclidean distance';
COMMENT ON OPERATOR CLASS vector_ip_ops USING ivfflat IS 'ORDER BY column <#> value: negative inner product';
COMMENT ON OPERATOR CLASS vector_cosine_ops USING ivfflat IS 'ORDER BY column <=> value: cosine distance';

CREATE FUNCTION ivfpqhandler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD ivfpq TYPE INDEX HANDLER ivfpqhandler;

COMMENT ON ACCESS METHOD ivfpq IS 'vecdb: inverted lists of short codes, approximate nearest neighbours, distances from the table or the index';

/* support functions are numbered as pgvector's: users have classes of their own */
CREATE OPERATOR CLASS vector_l2_ops
	DEFAULT FOR TYPE vector USING ivfpq AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_l2_squared_distance(vector, vector),
	FUNCTION 3 l2_distance(vector, vector);

CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING ivfpq AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 3 vector_spherical_distance(vector, vector),
	FUNCTION 4 vector_norm(vector);

CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING ivfpq AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 2 vector_norm(vector),
	FUNCTION 3 vector_spherical_distance(vector, vector),
	FUNCTION 4 vector_norm(vector);

COMMENT ON OPERATOR CLASS vector_l2_ops USING ivfpq IS 'ORDER BY column <-> value: Euclidean distance';
COMMENT ON OPERATOR CLASS vector_ip_ops USING ivfpq IS 'ORDER BY column <#> value: negative inner product';
COMMENT ON OPERATOR CLASS vector_cosine_ops USING ivfpq IS 'ORDER BY column <=> value: cosine distance';

CREATE FUNCTION hnswhandler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER hnswhandler;

COMMENT ON ACCESS METHOD hnsw IS 'vecdb: graph of vectors with codes of neighbours, approximate nearest neighbours';

CREATE OPERATOR CLASS vector_l2_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_l2_squared_distance(vector, vector);

CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector);

CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_negative_inner_product(vector, vector),
	FUNCTION 2 vector_norm(vector);

CREATE OPERATOR CLASS vector_l1_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 l1_distance(vector, vector);

COMMENT ON OPERATOR CLASS vector_l2_ops USING hnsw IS 'ORDER BY column <-> value: Euclidean distance';
COMMENT ON OPERATOR CLASS vector_ip_ops USING hnsw IS 'ORDER BY column <#> value: negative inner product';
COMMENT ON OPERATOR CLASS vector_cosine_ops USING hnsw IS 'ORDER BY column <=> value: cosine distance';
COMMENT ON OPERATOR CLASS vector_l1_ops USING hnsw IS 'ORDER BY column <+> value: taxicab distance';

/* ---- monitor functions ---------------------------------------------------- */

-- Permission is checked inside: the owner of the index, and pg_read_all_data.
CREATE FUNCTION vecdb_check(
	index regclass,
	strict boolean DEFAULT false,
	heap boolean DEFAULT true,
	max_findings integer DEFAULT 100,
	OUT severity text, OUT code text, OUT block bigint, OUT item integer, OUT detail text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION vecdb_check(regclass, boolean, boolean, integer) IS
	'verifies an index against its format and its table; no rows: it is sound. severity: corruption, damage (space or quality lost), note. strict locks out writers and VACUUM and checks more';

CREATE FUNCTION vecdb_index_check(index regclass, strict boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION vecdb_index_check(regclass, boolean) IS
	'raises an error (XX002) at the first corruption or damage that vecdb_check() would report';

CREATE FUNCTION vecdb_index_stats(
	index regclass,
	detailed boolean DEFAULT false,
	OUT metric text, OUT value double precision, OUT setting text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION vecdb_index_stats(regclass, boolean) IS
	'size and rows of an index (as of build or last VACUUM, of hnsw the last that found dead rows), and the effort of a search of this session, where recall decides on average, which SHOW does not tell: probes (ivfflat, ivfpq: lists visited first), visits (hnsw: nodes; ef_search where that decides); session_rows_dropped counts rows that strict_order dropped in all scans of the session by that access method; quantisation_error (ivfpq) is the mean squared distance of rows and what their codes stand for, at the last VACUUM and when it was built or trained (_at_build); of its codes it tells quantizer (a name, in setting), code_bits and m as they are now, which options change with the next build or training, of its searches rerank (in setting) and rerank_k, which rule at once. detailed reads every page and counts anew';

CREATE FUNCTION vecdb_hnsw_build_memory(rows bigint, dims integer, m integer DEFAULT 16)
	RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdb_hnsw_build_memory(bigint, integer, integer) IS
	'bytes of maintenance_work_mem with which an hnsw index over so many vectors is built in memory; vector_ip_ops has a dimension more';

CREATE FUNCTION vecdb_hnsw_layout(
	dims integer,
	m integer DEFAULT 16,
	OUT slots integer, OUT bits integer, OUT code_dims integer,
	OUT nodes_per_page integer, OUT node_bytes integer,
	OUT continuation_pages integer, OUT bytes_per_row integer
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdb_hnsw_layout(integer, integer) IS
	'how an hnsw index over such vectors lies on pages (vector_ip_ops has a dimension more): neighbours of a node at most, bits of a code a dimension and dimensions it covers, nodes a page, bytes of a node, pages of its own for each vector, bytes a row in all';

-- Pages may show values of rows: for superusers and roles that may read all data.
CREATE FUNCTION vecdb_page_header(
	page bytea,
	OUT verdict text, OUT page_id text, OUT format integer, OUT kind text,
	OUT content_bytes integer, OUT special_bytes integer
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdb_page_header(bytea) IS
	'what a page from get_raw_page() says of itself: sound, zero, broken or of another format, and its kind';

CREATE FUNCTION ivf_metapage_info(
	page bytea,
	OUT magic text, OUT dims bigint, OUT metric text, OUT codec integer,
	OUT row_size bigint, OUT generation bigint, OUT lists bigint,
	OUT lists_alive bigint, OUT directory_blocks text, OUT centroid_blocks text,
	OUT target_recalls real[], OUT target_efforts real[], OUT target_probes real[],
	OUT nearest_floor real, OUT rows_at_build bigint, OUT rows bigint,
	OUT code_bits integer, OUT code_parts bigint, OUT code_blocks text,
	OUT code_error real, OUT first_error real, OUT code_floor real, OUT target_widths real[],
	OUT next_generation bigint, OUT next_lists bigint, OUT retired_generation bigint,
	OUT flaw text
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_metapage_info(bytea) IS
	'metapage (block 0) of an ivfflat or ivfpq index; flaw is NULL where it is sound';

CREATE FUNCTION ivf_page_info(
	page bytea,
	OUT kind text, OUT content_bytes integer, OUT list bigint, OUT generation bigint,
	OUT seq bigint, OUT next bigint, OUT next_seq bigint, OUT owner bigint,
	OUT continuation bigint
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_page_info(bytea) IS
	'where a page of an ivfflat or ivfpq index belongs and which pages follow it';

CREATE FUNCTION ivf_list_info(
	page bytea,
	OUT item integer, OUT head bigint, OUT insert bigint, OUT generation bigint,
	OUT pages bigint, OUT rows bigint, OUT superseded boolean,
	OUT successor bigint, OUT successors bigint
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_list_info(bytea) IS
	'lists on a directory page of an ivfflat or ivfpq index';

CREATE FUNCTION ivf_page_items(
	page bytea,
	row_size integer,
	OUT item integer, OUT tid tid, OUT attr_length integer, OUT normsq real,
	OUT first_elements real[]
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_page_items(bytea, integer) IS
	'rows on a list page of an ivfflat index; row_size is that of ivf_metapage_info()';

CREATE FUNCTION ivf_code_items(
	page bytea, metapage bytea,
	OUT item integer, OUT tid tid, OUT factors real[], OUT norm real, OUT code bytea
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_code_items(bytea, bytea) IS
	'rows on a list page of an ivfpq index, whose block 0 is metapage';

CREATE FUNCTION ivf_copy_items(
	page bytea, dims integer,
	OUT item integer, OUT tid tid, OUT scale real, OUT error real,
	OUT first_elements real[]
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivf_copy_items(bytea, integer) IS
	'copies of vectors on a copy page of an ivfpq index, and how far a distance may be off; places beyond the rows of the list page that owns it hold anything';

CREATE FUNCTION hnsw_metapage_info(
	page bytea,
	OUT magic text, OUT dims bigint, OUT metric text, OUT padded bigint,
	OUT code_dims bigint, OUT bits integer, OUT m integer,
	OUT ef_construction integer, OUT slots integer, OUT node_size bigint,
	OUT nodes_per_page integer, OUT entries_per_page integer,
	OUT cont_pages integer, OUT mean_pages integer, OUT radius real,
	OUT entry_head bigint, OUT tids_room bigint,
	OUT target_recalls real[], OUT target_gammas real[], OUT target_visits real[],
	OUT nodes bigint, OUT rows bigint, OUT flaw text
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_metapage_info(bytea) IS
	'metapage (block 0) of an hnsw index; flaw is NULL where it is sound';

CREATE FUNCTION hnsw_page_info(
	page bytea,
	OUT kind text, OUT content_bytes integer, OUT next bigint, OUT owner tid,
	OUT entries bigint
) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_page_info(bytea) IS
	'what a page of an hnsw index holds and which page follows it; owner: block and place of the node that a continuation page belongs to';

CREATE FUNCTION hnsw_page_items(
	page bytea,
	metapage bytea,
	OUT item integer, OUT tid tid, OUT live boolean, OUT entry boolean,
	OUT rank bigint, OUT neighbours tid[], OUT protected integer,
	OUT scale real, OUT error real, OUT norm real, OUT chunk tid,
	OUT continuation bigint, OUT first_elements real[]
) RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_page_items(bytea, bytea) IS
	'nodes on a page of an hnsw index, whose layout its metapage (block 0) tells; neighbours and chunk are block and place; first_elements: of the vector as stored, centred and rotated';

REVOKE ALL ON FUNCTION vecdb_page_header(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION hnsw_metapage_info(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION hnsw_page_info(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION hnsw_page_items(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_metapage_info(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_page_info(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_list_info(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_page_items(bytea, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_code_items(bytea, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION ivf_copy_items(bytea, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vecdb_page_header(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION hnsw_metapage_info(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION hnsw_page_info(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION hnsw_page_items(bytea, bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_metapage_info(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_page_info(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_list_info(bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_page_items(bytea, integer) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_code_items(bytea, bytea) TO pg_read_all_data;
GRANT EXECUTE ON FUNCTION ivf_copy_items(bytea, integer) TO pg_read_all_data;
