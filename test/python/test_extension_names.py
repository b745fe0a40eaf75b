"""CREATE EXTENSION vecdb is all that is needed; clients that ask for vector find it."""

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from conftest import as_array


def test_vector_needs_vecdb(empty_database):
    with psycopg.connect(dbname=empty_database, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UndefinedObject, match='required extension "vecdb" is not installed'):
            connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE EXTENSION vector CASCADE")
        assert connection.execute("SELECT '[1]'::vector::text").fetchone() == ("[1]",)


def test_clients_that_create_vector(empty_database):
    """What frameworks send at start-up, on a database where the owner created vecdb."""
    with psycopg.connect(dbname=empty_database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vecdb")
        for _ in range(2):
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0]
        assert tuple(map(int, version.split("."))) >= (0, 8, 0)
        register_vector(connection)
        connection.execute("CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3))")
        connection.execute("INSERT INTO items (embedding) VALUES (%s), (%s)", (np.array([1, 2, 3]), np.array([4, 5, 6])))
        value = connection.execute("SELECT embedding FROM items ORDER BY embedding <-> '[3,3,3]' LIMIT 1").fetchone()[0]
        np.testing.assert_array_equal(as_array(value), [1, 2, 3])


def test_drop_in_order(empty_database):
    with psycopg.connect(dbname=empty_database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector CASCADE")
        connection.execute("DROP EXTENSION vector")
        assert connection.execute("SELECT '[1]'::vector::text").fetchone() == ("[1]",)
        connection.execute("DROP EXTENSION vecdb")
