"""SQLAlchemy 2 with the unchanged package pgvector, sync and async."""

import asyncio
import inspect

import numpy as np
import pgvector.sqlalchemy
import pytest
from sqlalchemy import Integer, func, insert, inspect as reflect, select
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from conftest import as_array, assert_nearest

# The column type; newer releases of the client call it VECTOR as well.
Vector = getattr(pgvector.sqlalchemy, "Vector", None)
if Vector is None or "dim" not in inspect.signature(Vector).parameters:
    Vector = pgvector.sqlalchemy.VECTOR


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id = mapped_column(Integer, primary_key=True)
    embedding = mapped_column(Vector(24))


METHODS = {
    "l2_distance": lambda rows, q: np.sqrt(((rows - q) ** 2).sum(axis=1)),
    "max_inner_product": lambda rows, q: -(rows @ q),
    "cosine_distance": lambda rows, q: 1 - (rows @ q) / np.linalg.norm(rows, axis=1) / np.linalg.norm(q),
    "l1_distance": lambda rows, q: np.abs(rows - q).sum(axis=1),
}


@pytest.fixture(autouse=True)
def tables(engine):
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


@pytest.fixture
def items(tables, engine, rng):
    rows = rng.standard_normal((1000, 24)).astype(np.float32)
    with Session(engine) as session:
        session.execute(insert(Item), [{"id": i + 1, "embedding": row} for i, row in enumerate(rows)])
        session.commit()
    return rows


def test_values_come_back_as_sent(engine, items):
    with Session(engine) as session:
        got = [as_array(v) for v in session.scalars(select(Item.embedding).order_by(Item.id))]
    assert np.stack(got).tobytes() == items.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_order_by_distance(engine, items, rng, method):
    query = rng.standard_normal(24).astype(np.float32)
    distance = getattr(Item.embedding, method)(query)
    with Session(engine) as session:
        ids = session.scalars(select(Item.id).order_by(distance).limit(10)).all()
    assert len(ids) == 10
    assert_nearest(ids, METHODS[method](items.astype(float), query.astype(float)))


def test_filter_by_distance(engine, items):
    query = items[3]
    distances = np.sort(METHODS["l2_distance"](items, query))
    within = (distances[20] + distances[21]) / 2
    with Session(engine) as session:
        count = session.scalar(
            select(func.count()).select_from(Item).where(Item.embedding.l2_distance(query) < float(within))
        )
    assert count == 21


def test_average(engine, items):
    with Session(engine) as session:
        got = as_array(session.scalar(select(func.avg(Item.embedding, type_=Vector(24)))))
    np.testing.assert_allclose(got, items.astype(float).mean(axis=0), rtol=1e-4, atol=1e-6)


def test_null(engine):
    with Session(engine) as session:
        session.add(Item(id=1, embedding=None))
        session.commit()
        assert session.get(Item, 1).embedding is None


def test_wrong_dimensions(engine):
    with Session(engine) as session, pytest.raises(StatementError, match="expected 24 dimensions, not 2"):
        session.add(Item(embedding=[1, 2]))
        session.commit()


def test_reflection(engine):
    columns = {c["name"]: c["type"] for c in reflect(engine).get_columns("item")}
    assert type(columns["embedding"]) is pgvector.sqlalchemy.VECTOR or isinstance(columns["embedding"], Vector)
    assert columns["embedding"].dim == 24


def test_async(engine, items, database):
    async def run():
        async_engine = create_async_engine(f"postgresql+psycopg:///{database}")
        async with async_sessionmaker(async_engine)() as session:
            ids = (await session.scalars(select(Item.id).order_by(Item.embedding.l2_distance(items[41])).limit(5))).all()
        await async_engine.dispose()
        return ids

    ids = asyncio.run(run())
    assert ids[0] == 42
    assert_nearest(ids, METHODS["l2_distance"](items, items[41]))
