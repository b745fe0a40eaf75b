"""Databases for the tests of the Python clients.

The server comes from the environment (PGHOST, PGPORT, PGUSER), as every libpq
client reads it. SEED repeats a run's random data.
"""

import os

import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine


def as_array(value):
    """A vector as any release of pgvector's package hands it out, as float32."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return np.asarray(value, dtype=np.float32)


def assert_nearest(ids, distances):
    """ids (1…n) are the nearest rows: equal distances may change places."""
    found = distances[np.asarray(ids) - 1]
    expected = np.sort(distances)[: len(ids)]
    assert len(set(ids)) == len(ids)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def rng():
    return np.random.default_rng(int(os.environ.get("SEED", "1")))


def make_database(name):
    with psycopg.connect(dbname="postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    return name


@pytest.fixture(scope="session")
def database():
    """A database in which vecdb was created under its own name."""
    name = make_database("python_vecdb")
    with psycopg.connect(dbname=name, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vecdb")
    return name


@pytest.fixture
def empty_database():
    return make_database("python_empty")


@pytest.fixture
def connection(database):
    """A connection with the client's vector type registered; nothing it does stays."""
    from pgvector.psycopg import register_vector

    with psycopg.connect(dbname=database) as connection:
        register_vector(connection)
        yield connection
        connection.rollback()


@pytest.fixture
def engine(database):
    engine = create_engine(f"postgresql+psycopg:///{database}")
    yield engine
    engine.dispose()
