"""The access method hnsw, as clients of pgvector create and query it."""

import numpy as np
import psycopg
import pytest
from sqlalchemy import Index, Integer, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from test_sqlalchemy import METHODS, Vector

ROWS = 3000


class Base(DeclarativeBase):
    pass


class Picture(Base):
    __tablename__ = "picture"
    id = mapped_column(Integer, primary_key=True)
    embedding = mapped_column(Vector(24))


INDEXES = {
    "l2_distance": "vector_l2_ops",
    "max_inner_product": "vector_ip_ops",
    "cosine_distance": "vector_cosine_ops",
    "l1_distance": "vector_l1_ops",
}


@pytest.fixture(autouse=True)
def tables(engine):
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


def recall(ids, distances):
    """The share of the nearest rows among ids (1…n), which must come in order and no row twice."""
    found = distances[np.asarray(ids) - 1]
    assert len(set(ids)) == len(ids)
    assert (np.diff(found) > -1e-5 * np.abs(found[1:])).all()
    last = np.sort(distances)[len(ids) - 1]
    return np.mean(found <= last + 1e-5 * np.abs(last) + 1e-6)


def create_index(**options):
    return Index(
        "picture_embedding",
        Picture.embedding,
        postgresql_using="hnsw",
        postgresql_with=options,
        postgresql_ops={"embedding": "vector_l2_ops"},
    )


@pytest.mark.parametrize("method", INDEXES)
def test_index_through_sqlalchemy(engine, rng, method):
    """The index answers, in order, nearly as NumPy does."""
    rows = rng.standard_normal((ROWS, 24)).astype(np.float32)
    index = Index(
        f"picture_{method}",
        Picture.embedding,
        postgresql_using="hnsw",
        postgresql_with={"m": 16, "ef_construction": 64},
        postgresql_ops={"embedding": INDEXES[method]},
    )
    recalls = []
    with Session(engine) as session:
        session.execute(insert(Picture), [{"id": i + 1, "embedding": row} for i, row in enumerate(rows)])
        session.commit()
        index.create(session.connection())
        session.commit()
        session.execute(text("SET LOCAL hnsw.ef_search = 200"))
        session.execute(text("SET LOCAL enable_seqscan = off"))
        for query in rng.standard_normal((20, 24)).astype(np.float32):
            nearest = select(Picture.id).order_by(getattr(Picture.embedding, method)(query)).limit(10)
            plan = "\n".join(session.scalars(text(f"EXPLAIN {nearest.compile(session.connection(), compile_kwargs={'literal_binds': True})}")))
            assert index.name in plan
            ids = session.scalars(nearest).all()
            assert len(ids) == 10
            recalls.append(recall(ids, METHODS[method](rows.astype(float), query.astype(float))))
    Base.metadata.tables["picture"].indexes.discard(index)
    assert np.mean(recalls) >= 0.95


def test_settings_by_their_names(connection):
    """What clients of pgvector set, they can set: for a transaction, and see again."""
    connection.execute("SELECT '[1]'::vector")  # loads the library, which defines the settings
    for name, default, value in [
        ("hnsw.ef_search", "40", "100"),
        ("hnsw.iterative_scan", "strict_order", "relaxed_order"),
        ("hnsw.iterative_scan", "strict_order", "off"),
        ("hnsw.max_scan_tuples", "2147483647", "20000"),
        ("hnsw.scan_mem_multiplier", "1", "2"),
    ]:
        assert connection.execute(f"SHOW {name}").fetchone() == (default,)
        connection.execute(f"SET LOCAL {name} = {value}")
        assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        connection.rollback()
    for name, value in [("hnsw.ef_search", "0"), ("hnsw.iterative_scan", "on"), ("hnsw.scan_mem_multiplier", "0.5")]:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute(f"SET LOCAL {name} = {value}")
        connection.rollback()


def test_options_out_of_range(engine):
    with Session(engine) as session:
        for options in [{"m": 1}, {"m": 101}, {"ef_construction": 3}, {"ef_construction": 1001}, {"codes": "3"}]:
            index = create_index(**options)
            with pytest.raises(Exception, match="out of bounds|invalid value"):
                index.create(session.connection())
            session.rollback()
            Base.metadata.tables["picture"].indexes.discard(index)


@pytest.fixture
def filled(connection, rng):
    """A table in which every hundredth row is of kind 0, and its rows."""
    rows = rng.standard_normal((ROWS, 8)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(8), kind int GENERATED ALWAYS AS (id % 100) STORED)")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    connection.execute("CREATE INDEX t_v ON t USING hnsw (v vector_l2_ops) WITH (m = 12, ef_construction = 40)")
    connection.execute("SET LOCAL enable_seqscan = off")
    connection.execute("SET LOCAL enable_sort = off")
    return rows


def ids_of(connection, sql, *parameters):
    return [id for (id,) in connection.execute(sql, parameters).fetchall()]


def test_limit_beyond_ef_search(connection, filled):
    """As many rows as asked for, whatever ef_search."""
    connection.execute("SET LOCAL hnsw.ef_search = 10")
    ids = ids_of(connection, "SELECT id FROM t ORDER BY v <-> %b LIMIT 500", filled[0])
    assert len(set(ids)) == 500


def test_iterative_scan_fills_a_filtered_limit(connection, filled):
    """A filter that keeps one row in a hundred: off stops at ef_search rows, the others go on."""
    sql = "SELECT id FROM t WHERE kind = 0 ORDER BY v <-> %b LIMIT 10"
    kind = np.arange(1, ROWS + 1) % 100 == 0
    connection.execute("SET LOCAL hnsw.ef_search = 40")
    connection.execute("SET LOCAL hnsw.iterative_scan = off")
    assert len(ids_of(connection, sql, filled[0])) < 10
    connection.execute("RESET hnsw.ef_search")
    connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    recalls = []
    for query in filled[:10]:
        ids = ids_of(connection, sql, query)
        assert len(ids) == 10
        distances = METHODS["l2_distance"](filled.astype(float), query.astype(float))
        recalls.append(recall(ids, np.where(kind, distances, np.inf)))
    # strict order loses what it finds too late: no more of it than a search without a filter misses
    assert np.mean(recalls) >= 0.9
    connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
    ids = ids_of(connection, sql, filled[0])
    assert len(set(ids)) == 10
    assert all(id % 100 == 0 for id in ids)
    # every row, each once
    assert sorted(ids_of(connection, "SELECT id FROM t ORDER BY v <-> %b", filled[0])) == list(range(1, ROWS + 1))


def test_max_scan_tuples_ends_a_scan(connection, filled):
    """Asked now and then, not at each node."""
    sql = "SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> %b) x"
    connection.execute("SET LOCAL hnsw.max_scan_tuples = 300")
    (rows,) = connection.execute(sql, (filled[0],)).fetchone()
    assert 10 <= rows < ROWS / 2


def test_inner_product_with_an_outlier(connection, rng):
    """One row of a great norm costs neither recall nor a look at the whole index."""
    rows = rng.standard_normal((ROWS, 32)).astype(np.float32)
    rows[7] *= 20
    connection.execute("CREATE TABLE t (id serial, v vector(32))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    connection.execute("CREATE INDEX t_v ON t USING hnsw (v vector_ip_ops)")
    connection.execute("SET LOCAL enable_seqscan = off")
    sql = "SELECT id FROM t ORDER BY v <#> %b LIMIT 10"
    recalls = []
    pages = []
    for query in rng.standard_normal((20, 32)).astype(np.float32):
        ids = ids_of(connection, sql, query)
        recalls.append(recall(ids, METHODS["max_inner_product"](rows.astype(float), query.astype(float))))
        (plan,) = connection.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) " + sql, (query,)).fetchone()
        pages.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
    (size,) = connection.execute("SELECT pg_relation_size('t_v') / current_setting('block_size')::int").fetchone()
    # of 20 queries on data without clusters, whose mean varies
    assert np.mean(recalls) >= 0.8
    assert np.mean(pages) < size / 2


@pytest.mark.parametrize("order", ["strict_order", "relaxed_order"])
def test_limit_of_ef_search(connection, rng, order):
    """Codes of one bit rank candidates roughly: LIMIT = ef_search gets nearly the nearest rows all the same."""
    centres = rng.standard_normal((40, 256))
    rows = (centres[rng.integers(0, 40, 4000)] + 0.7 * rng.standard_normal((4000, 256))).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(256))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    connection.execute("CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (codes = 1)")
    connection.execute("SET LOCAL enable_seqscan = off")
    connection.execute("SET LOCAL hnsw.ef_search = 80")
    connection.execute(f"SET LOCAL hnsw.iterative_scan = {order}")
    recalls = []
    for query in rows[:10] + 0.3 * rng.standard_normal((10, 256)).astype(np.float32):
        ids = ids_of(connection, "SELECT id FROM t ORDER BY v <-> %b LIMIT 80", query)
        distances = METHODS["l2_distance"](rows.astype(float), query.astype(float))
        recalls.append(np.mean(distances[np.asarray(ids) - 1] <= np.sort(distances)[79] * (1 + 1e-6)))
    assert np.mean(recalls) >= 0.9


def test_rows_that_come_later(connection, rng):
    """Inserted after the index was built, in binary; deleted rows are gone."""
    rows = rng.standard_normal((1500, 16)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(16))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows[:1000]])
    connection.execute("CREATE INDEX ON t USING hnsw (v vector_l2_ops)")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows[1000:]])
    connection.execute("DELETE FROM t WHERE id % 7 = 0")
    connection.execute("SET LOCAL hnsw.ef_search = 200")
    connection.execute("SET LOCAL enable_seqscan = off")
    gone = np.arange(1, 1501) % 7 == 0
    for query in (rows[1200], rows[3]):
        ids = ids_of(connection, "SELECT id FROM t ORDER BY v <-> %b LIMIT 10", query)
        assert len(ids) == 10 and not any(gone[id - 1] for id in ids)
        assert recall(ids, np.where(gone, np.inf, METHODS["l2_distance"](rows.astype(float), query.astype(float)))) >= 0.9


def test_index_before_the_rows(connection, rng):
    """An index created on an empty table, as frameworks do it, finds what is loaded then."""
    rows = rng.standard_normal((1500, 16)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(16))")
    connection.execute("CREATE INDEX ON t USING hnsw (v vector_cosine_ops) WITH (m = 16, ef_construction = 64)")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    connection.execute("SET LOCAL hnsw.ef_search = 200")
    connection.execute("SET LOCAL enable_seqscan = off")
    recalls = []
    for query in rng.standard_normal((20, 16)).astype(np.float32):
        ids = ids_of(connection, "SELECT id FROM t ORDER BY v <=> %b LIMIT 10", query)
        recalls.append(recall(ids, METHODS["cosine_distance"](rows.astype(float), query.astype(float))))
    assert np.mean(recalls) >= 0.95


def test_notice_of_too_little_memory(connection):
    """What CREATE INDEX says of memory that does not hold the graph names the index: a client may create many."""
    notices = []
    connection.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_detail)))
    connection.execute("SET LOCAL maintenance_work_mem = '1MB'")
    connection.execute("CREATE TABLE much AS SELECT i AS id, array_fill(i::real, ARRAY[64])::vector(64) AS v FROM generate_series(1, 3000) i")
    connection.execute("CREATE INDEX much_v ON much USING hnsw (v vector_l2_ops)")
    assert len(notices) == 1
    assert notices[0][0].startswith("hnsw graph no longer fits into maintenance_work_mem after ")
    assert '"much_v"' in notices[0][1]
