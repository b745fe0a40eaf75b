"""The access method ivfflat, as clients of pgvector create and query it."""

import numpy as np
import pytest
from sqlalchemy import Index, Integer, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from conftest import assert_nearest
from test_sqlalchemy import METHODS, Vector

LISTS = 20


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id = mapped_column(Integer, primary_key=True)
    embedding = mapped_column(Vector(24))


INDEXES = {
    "l2_distance": "vector_l2_ops",
    "max_inner_product": "vector_ip_ops",
    "cosine_distance": "vector_cosine_ops",
}


@pytest.fixture(autouse=True)
def tables(engine):
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


@pytest.mark.parametrize("method", INDEXES)
def test_index_through_sqlalchemy(engine, rng, method):
    """All lists probed: the index answers exactly as NumPy does."""
    rows = rng.standard_normal((3000, 24)).astype(np.float32)
    index = Index(
        f"document_{method}",
        Document.embedding,
        postgresql_using="ivfflat",
        postgresql_with={"lists": LISTS},
        postgresql_ops={"embedding": INDEXES[method]},
    )
    with Session(engine) as session:
        session.execute(insert(Document), [{"id": i + 1, "embedding": row} for i, row in enumerate(rows)])
        session.commit()
        index.create(session.connection())
        session.commit()
        session.execute(text(f"SET ivfflat.probes = {LISTS}"))
        session.execute(text("SET enable_seqscan = off"))
        for query in rng.standard_normal((5, 24)).astype(np.float32):
            nearest = select(Document.id).order_by(getattr(Document.embedding, method)(query)).limit(10)
            plan = "\n".join(session.scalars(text(f"EXPLAIN {nearest.compile(session.connection(), compile_kwargs={'literal_binds': True})}")))
            assert index.name in plan
            ids = session.scalars(nearest).all()
            assert len(ids) == 10
            assert_nearest(ids, METHODS[method](rows.astype(float), query.astype(float)))
    Base.metadata.tables["document"].indexes.discard(index)


def test_rows_that_come_later(connection, rng):
    """Inserted after the index was built, in binary; deleted rows are gone."""
    rows = rng.standard_normal((1500, 16)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(16))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows[:1000]])
    connection.execute(f"CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = {LISTS})")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows[1000:]])
    connection.execute("DELETE FROM t WHERE id % 7 = 0")
    connection.execute(f"SET LOCAL ivfflat.probes = {LISTS}; SET LOCAL enable_seqscan = off")
    gone = np.arange(1, 1501) % 7 == 0
    for query in (rows[1200], rows[3]):
        answer = connection.execute("SELECT id FROM t ORDER BY v <-> %b LIMIT 10", (query,)).fetchall()
        distances = np.where(gone, np.inf, METHODS["l2_distance"](rows.astype(float), query.astype(float)))
        assert_nearest([id for (id,) in answer], distances)


def test_limit_beyond_one_list(connection, rng):
    """As many rows as asked for, whatever the probes."""
    rows = rng.standard_normal((2000, 8)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(8))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    connection.execute("CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = 50)")
    connection.execute("SET LOCAL ivfflat.probes = 1; SET LOCAL enable_seqscan = off")
    answer = connection.execute("SELECT id FROM t ORDER BY v <-> %s LIMIT 500", (rows[0],)).fetchall()
    assert len({id for (id,) in answer}) == 500
