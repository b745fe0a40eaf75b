"""psycopg 3 with the unchanged package pgvector."""

import asyncio

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector_async

from conftest import as_array, assert_nearest

OPERATORS = {
    "<->": lambda rows, q: np.sqrt(((rows - q) ** 2).sum(axis=1)),
    "<#>": lambda rows, q: -(rows @ q),
    "<=>": lambda rows, q: 1 - (rows @ q) / np.linalg.norm(rows, axis=1) / np.linalg.norm(q),
    "<+>": lambda rows, q: np.abs(rows - q).sum(axis=1),
}


def test_register_finds_the_type(connection):
    value = connection.execute("SELECT '[1,2,3]'::vector").fetchone()[0]
    np.testing.assert_array_equal(as_array(value), [1, 2, 3])


@pytest.mark.parametrize("binary", [False, True])
def test_values_come_back_as_sent(connection, rng, binary):
    sent = rng.standard_normal(768).astype(np.float32)
    sent[:4] = [0, -0.0, np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal]
    connection.execute("CREATE TABLE t (v vector(768))")
    parameter = "%b" if binary else "%t"
    connection.execute(f"INSERT INTO t VALUES ({parameter})", (sent,))
    for result_binary in (False, True):
        got = as_array(connection.execute("SELECT v FROM t", binary=result_binary).fetchone()[0])
        assert got.tobytes() == sent.tobytes()


def test_null(connection):
    connection.execute("CREATE TABLE t (v vector(3))")
    connection.execute("INSERT INTO t VALUES (%s)", (None,))
    assert connection.execute("SELECT v FROM t").fetchone() == (None,)


@pytest.mark.parametrize("binary", [False, True])
def test_copy(connection, rng, binary):
    rows = rng.standard_normal((1000, 16)).astype(np.float32)
    connection.execute("CREATE TABLE t (id integer, v vector(16))")
    how = " WITH (FORMAT BINARY)" if binary else ""
    with connection.cursor().copy(f"COPY t FROM STDIN{how}") as copy:
        if binary:
            copy.set_types(["int4", "vector"])
        for i, row in enumerate(rows):
            copy.write_row([i + 1, row])
    with connection.cursor().copy(f"COPY (SELECT id, v FROM t ORDER BY id) TO STDOUT{how}") as copy:
        copy.set_types(["int4", "vector"])
        got = np.stack([as_array(v) for _, v in copy.rows()])
    assert got.tobytes() == rows.tobytes()


@pytest.mark.parametrize("operator", OPERATORS)
def test_nearest_rows_are_numpys(connection, rng, operator):
    rows = rng.standard_normal((2000, 48)).astype(np.float32)
    connection.execute("CREATE TABLE t (id serial, v vector(48))")
    connection.cursor().executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
    for query in rng.standard_normal((5, 48)).astype(np.float32):
        answer = connection.execute(
            f"SELECT id, v {operator} %s FROM t ORDER BY v {operator} %s LIMIT 10", (query, query)
        ).fetchall()
        exact = OPERATORS[operator](rows.astype(float), query.astype(float))
        assert len(answer) == 10
        assert_nearest([id for id, _ in answer], exact)
        np.testing.assert_allclose([d for _, d in answer], np.sort(exact)[:10], rtol=1e-5, atol=1e-5)


def test_average(connection):
    connection.execute("CREATE TABLE t (v vector(2))")
    connection.cursor().executemany("INSERT INTO t VALUES (%s)", [(np.array([1, 2]),), (np.array([3, 6]),)])
    np.testing.assert_array_equal(as_array(connection.execute("SELECT avg(v) FROM t").fetchone()[0]), [2, 4])


def test_array_of_vectors(connection):
    got = connection.execute("SELECT ARRAY['[1,2]', '[3,4]']::vector[]").fetchone()[0]
    if isinstance(got, str):  # older releases of the client register no array type
        assert got == '{"[1,2]","[3,4]"}'
    else:
        np.testing.assert_array_equal([as_array(v) for v in got], [[1, 2], [3, 4]])


def test_errors_leave_the_session_usable(connection):
    connection.execute("CREATE TABLE t (v vector(3))")
    for bad, message in [
        (np.array([1, 2]), "expected 3 dimensions, not 2"),
        (np.array([1, 2, np.nan]), "NaN not allowed in vector"),
        (np.array([1, 2, np.inf]), "infinite value not allowed in vector"),
    ]:
        with pytest.raises(psycopg.errors.DataError, match=message), connection.transaction():
            connection.execute("INSERT INTO t VALUES (%b)", (bad,))
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_async(database, rng):
    rows = rng.standard_normal((200, 8)).astype(np.float32)

    async def run():
        async with await psycopg.AsyncConnection.connect(dbname=database) as connection:
            await register_vector_async(connection)
            await connection.execute("CREATE TEMP TABLE t (id serial, v vector(8))")
            async with connection.cursor() as cursor:
                await cursor.executemany("INSERT INTO t (v) VALUES (%b)", [(row,) for row in rows])
                await cursor.execute("SELECT id FROM t ORDER BY v <-> %s LIMIT 5", (rows[7],))
                return [id for (id,) in await cursor.fetchall()]

    ids = asyncio.run(run())
    assert ids[0] == 8
    assert_nearest(ids, OPERATORS["<->"](rows, rows[7]))
