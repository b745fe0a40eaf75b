#!/usr/bin/env python3
"""Search Debian's packages by meaning: load them, build the indexes, measure them, ask.

Usage: demo.py DATA
  DATA  folder of the data: this one (8 bits a value), or the full set (float16)

tools/demo starts the server and calls this program with PGHOST, PGPORT, PGUSER and PGDATABASE in the environment.
A database that an earlier run left complete is used again, unless the data or the table changed.

Times are what the client sees: one connection, prepared statements, parameters and results in binary, from the call to
the last row in hand. Nothing is subtracted; the floor in the table is what Python and the socket cost on any query.
"""
import gzip
import hashlib
import json
import os
import shutil
import struct
import sys
import threading
import time

import numpy as np
import psycopg
from psycopg import pq

K = 10
HELD = 1000                     # queries 0 … 999 measure; those after them are questions to show
EXACT_SAMPLE = 100              # the exact scan takes long and does not vary: every tenth query
SHOWN = ["a program to edit PDF files",
         "how do I make a backup to another machine every night",
         "strategy game with ancient civilisations",
         "view the stars and planets",
         "download web sites for reading offline"]
TARGETS = [("target_recall = 0.80", "0.80"),
           ("nothing set", None),
           ("target_recall = 0.99", "0.99")]

SCHEMA = """
CREATE TABLE packages (
    id        integer PRIMARY KEY,
    name      text NOT NULL UNIQUE,
    section   text NOT NULL,
    size      integer NOT NULL,
    tags      text[] NOT NULL,
    short     text NOT NULL,
    long      text NOT NULL,
    embedding vector({dims}) NOT NULL
) WITH (toast_tuple_target = 8160);  -- keeps the vectors in the rows: the exact scan reads them all
COMMENT ON COLUMN packages.size IS 'installed size in kB';
CREATE TABLE questions (
    id        integer PRIMARY KEY,
    question  text NOT NULL,
    embedding vector({dims}) NOT NULL
);
CREATE TABLE demo_state (state jsonb NOT NULL);
COMMENT ON TABLE demo_state IS 'what make demo loaded, so that its next run can tell whether to start over';
"""
METHODS = ["ivfflat", "ivfpq", "hnsw"]
ASKED = "hnsw"                  # answers the questions
SEARCH_ALL = {"ivfflat": "SET ivfflat.probes = 32768", "ivfpq": "SET ivfpq.probes = 32768", "hnsw": "SET hnsw.ef_search = 2147483647"}
CREATE_INDEX = "CREATE INDEX packages_embedding_{0} ON packages USING {0} (embedding vector_cosine_ops)"
NEAREST = b"SELECT id FROM packages ORDER BY embedding <=> $1 LIMIT %d" % K
LOOK_UP = b"SELECT id FROM packages WHERE id = $1"


# ---- terminal ----

TTY = sys.stdout.isatty()
UTF8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 110)
TIMES = "×" if UTF8 else "x"
MICRO = "µs" if UTF8 else "us"
NONE = "–" if UTF8 else "-"


def say(text=""):
    print(text if UTF8 else text.encode("ascii", "replace").decode(), flush=True)


def cut(text, width):
    return text if len(text) <= width else text[:width - 1].rstrip() + ("…" if UTF8 else "~")


class Progress:
    """One line that says what goes on and how far it is. On a terminal it moves; in a log it comes every few seconds."""

    def __init__(self, what):
        self.what, self.start, self.last, self.width = what, time.monotonic(), 0.0, 0
        if TTY:
            self.update(None)

    def update(self, share, note=""):
        now = time.monotonic()
        if now - max(self.last, 0 if TTY else self.start) < (0.1 if TTY else 3.0):
            return
        self.last = now
        parts = [f"{now - self.start:.0f} s"] + ([note] if note else [])
        if share is not None:
            share = min(max(share, 0.0), 1.0)
            full = int(share * 24)
            bar = ("━" * full + "╌" * (24 - full)) if UTF8 else ("#" * full + "." * (24 - full))
            parts.insert(0, f"{bar} {share * 100:3.0f} %")
        self._line(f"  {self.what:<30} " + "  ".join(parts))

    def done(self, result):
        self._line(f"  {self.what:<30} {result}")
        if TTY:
            print()

    def _line(self, text):
        if TTY:
            text = cut(text, WIDTH)
            print("\r" + text + " " * (self.width - len(text)), end="", flush=True)
            self.width = len(text)
        else:
            say(text)


def seconds(t):
    return f"{t:.1f} s" if t >= 0.1 else f"{t * 1000:.0f} ms"


def latency(t):
    """Three figures, in the unit a person would choose."""
    if t < 0.9995e-3:
        return f"{t * 1e6:.0f} {MICRO}"
    ms = t * 1e3
    return f"{ms:.2f} ms" if ms < 9.995 else f"{ms:.1f} ms" if ms < 99.95 else f"{ms:.0f} ms"


def size(n):
    return f"{n / 2**20:.1f} MB"


def table(rows, align):
    """Rows of cells; None draws a line."""
    widths = [max(len(r[i]) for r in rows if r) for i in range(len(align))]
    h, v = ("─", "│") if UTF8 else ("-", "|")
    joints = {"top": "┌┬┐", "mid": "├┼┤", "end": "└┴┘"} if UTF8 else dict.fromkeys(("top", "mid", "end"), "+++")

    def rule(where):
        left, mid, right = joints[where]
        return "  " + left + mid.join(h * (w + 2) for w in widths) + right

    say(rule("top"))
    for r in rows:
        if r is None:
            say(rule("mid"))
        else:
            cells = (f" {c:{a}{w}} " for c, a, w in zip(r, align, widths))
            say("  " + v + v.join(cells) + v)
    say(rule("end"))


# ---- data ----

class Data:
    """The rows, queries and truth of a folder: 8-bit codes with scales, or float16."""

    def __init__(self, folder):
        self.folder = folder
        self.full = os.path.exists(self._path("base.f16.npy"))
        self.truth = np.load(self._path("truth.i32.npy"))
        self.truth_distance = np.load(self._path("truth_distance.f32.npy"))
        self.base = self._vectors("base")
        self.queries = self._vectors("queries")
        self.rows, self.dims = self.base.shape
        with open(self._path("queries.txt"), encoding="utf-8") as f:
            self.questions = f.read().rstrip("\n").split("\n")
        # Binary parameters, made before any clock runs.
        self.parameters = [vector_binary(q) for q in self.queries]

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _vectors(self, name):
        if self.full:
            return np.load(self._path(name + ".f16.npy")).astype(np.float32)
        return np.load(self._path(name + ".i8.npy")) * np.load(self._path(name + "_scale.f32.npy"))[:, None]

    def texts(self):
        with gzip.open(self._path("base.tsv.gz"), "rt", encoding="utf-8", newline="\n") as f:
            for line in f:
                yield line.rstrip("\n").split("\t")

    def fingerprint(self):
        h = hashlib.sha256()
        for name in ("base.f16.npy" if self.full else "base.i8.npy", "base.tsv.gz"):
            with open(self._path(name), "rb") as f:
                h.update(f.read())
        h.update(SCHEMA.encode() + "".join(CREATE_INDEX.format(m) for m in METHODS).encode())
        return h.hexdigest()

    def recall(self, query, found):
        """The share of the K nearest that was found; a row as far as the K-th counts as well."""
        limit = self.truth_distance[query, K - 1] + 1e-6
        nearest = set(self.truth[query, :K].tolist())
        hits = 0
        for i in set(found):
            if i in nearest:
                hits += 1
            else:
                b, q = self.base[i].astype(np.float64), self.queries[query].astype(np.float64)
                hits += 1 - b @ q / np.sqrt((b @ b) * (q @ q)) <= limit
        return hits / K


def vector_binary(v):
    """The binary format of a vector: two 16-bit words (dimensions, 0), then float4 values, all big-endian."""
    return struct.pack("!HH", len(v), 0) + v.astype(">f4").tobytes()


def field(b):
    return struct.pack("!i", len(b)) + b


def text_array(items):
    if not items:
        return struct.pack("!iiI", 0, 0, 25)
    return struct.pack("!iiIii", 1, 0, 25, len(items), 1) + b"".join(field(s.encode()) for s in items)


def package_row(cells, vector):
    ident, name, section, kilobytes, tags, short, long = cells
    return b"".join((struct.pack("!h", 8),
                     field(struct.pack("!i", int(ident))),
                     field(name.encode()), field(section.encode()),
                     field(struct.pack("!i", int(kilobytes or 0))),
                     field(text_array([t for t in tags.split(",") if t])),
                     field(short.encode()), field(long.encode()),
                     field(vector_binary(vector))))


# ---- server ----

def copy_binary(cur, target, rows):
    with cur.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0))
        for row in rows:
            copy.write(row)
        copy.write(struct.pack("!h", -1))


def stored_state(conn, fingerprint):
    """What the last complete run left, or None with the reason said if this run must load."""
    if conn.execute("SELECT to_regclass('demo_state')").fetchone()[0] is None:
        return None
    found = conn.execute("SELECT state FROM demo_state").fetchone()
    if found is None:
        say("  The last run did not finish: loading again.")
        return None
    state = found[0]
    if state["fingerprint"] != fingerprint:
        say("  The data changed since the last run: loading again.")
        return None
    # All rows came in by one transaction, so a row of another one is a change, and so is a missing row.
    same = conn.execute("SELECT count(*) = %(rows)s AND count(*) FILTER (WHERE xmin::text = %(xid)s) = %(rows)s"
                        " FROM packages", state).fetchone()[0]
    if not same or index_definitions(conn) != state["indexes"]:
        say("  The table packages or an index of it was changed since the last run: loading again.")
        return None
    return state


def index_definitions(conn):
    """All indexes of the embedding: another one would answer where ours shall."""
    return [d for d, in conn.execute("SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid"
                                     " WHERE indrelid = 'packages'::regclass AND indisvalid"
                                     " AND NOT indisunique ORDER BY relname")]


def load(conn, data):
    line = Progress("loading the packages")
    start = time.monotonic()
    with conn.transaction():
        conn.execute("DROP TABLE IF EXISTS packages, questions, demo_state CASCADE")
        conn.execute(SCHEMA.format(dims=data.dims))
        with conn.cursor() as cur:
            def packages():
                for i, cells in enumerate(data.texts()):
                    if i % 500 == 0:
                        line.update(i / data.rows)
                    yield package_row(cells, data.base[i])
            copy_binary(cur, "packages", packages())
            copy_binary(cur, "questions", (
                struct.pack("!h", 3) + field(struct.pack("!i", i)) + field(text.encode()) + field(data.parameters[i])
                for i, text in enumerate(data.questions)))
        xid = conn.execute("SELECT pg_current_xact_id()::xid::text").fetchone()[0]
    took = time.monotonic() - start
    line.done(f"{data.rows:,} rows in {seconds(took)} (COPY, binary)")
    return {"rows": data.rows, "xid": xid, "load": took}


PROGRESS = """SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total
              FROM pg_stat_progress_create_index WHERE pid = %s"""


def build(conn, method):
    """CREATE INDEX in a thread of its own, while a second connection watches how far it is."""
    line = Progress(f"building {method}")
    statement = CREATE_INDEX.format(method)
    failed = []

    def run():
        try:
            conn.execute(statement)
        except BaseException as e:      # handed to the caller below
            failed.append(e)

    start = time.monotonic()
    thread = threading.Thread(target=run)
    with psycopg.connect(autocommit=True) as watch:
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.1)
                found = watch.execute(PROGRESS, (conn.info.backend_pid,)).fetchone()
                if found:
                    phase, tuples, of_tuples, blocks, of_blocks = found
                    phase = phase.removeprefix("building index: ")
                    share = tuples / of_tuples if of_tuples else blocks / of_blocks if of_blocks else None
                    line.update(share, phase)
        except KeyboardInterrupt:
            conn.cancel()
            thread.join()
            raise
    if failed:
        raise failed[0]
    took = time.monotonic() - start
    line.done(f"{seconds(took)}   {statement[statement.index('USING'):]}")
    return took


def prepare(conn, data):
    """The loaded table with its indexes and the facts about them."""
    conn.execute("CREATE EXTENSION IF NOT EXISTS vecdb")
    fingerprint = data.fingerprint()
    state = stored_state(conn, fingerprint)
    if state:
        say("  The database of the last run is as it was left: using it again.")
        return state
    state = load(conn, data)
    state["fingerprint"] = fingerprint
    state["build"] = {method: build(conn, method) for method in METHODS}
    # VACUUM too, so that autovacuum has no reason to come while we measure.
    line = Progress("VACUUM, ANALYZE")
    start = time.monotonic()
    conn.execute("VACUUM (ANALYZE) packages")
    conn.execute("VACUUM (ANALYZE) questions")
    line.done(seconds(time.monotonic() - start))
    state["indexes"] = index_definitions(conn)
    conn.execute("INSERT INTO demo_state VALUES (%s)", (json.dumps(state),))
    return state | {"fresh": True}


# ---- measuring ----

class Statement:
    """A prepared statement with one binary parameter; its rows' first column, an integer, comes back in binary."""

    def __init__(self, conn, name, sql):
        self.pgconn, self.name = conn.pgconn, name
        self._check(self.pgconn.prepare(name, sql))

    def __call__(self, parameter):
        result = self.pgconn.exec_prepared(self.name, [parameter], [pq.Format.BINARY], pq.Format.BINARY)
        self._check(result)
        return [int.from_bytes(result.get_value(i, 0), "big") for i in range(result.ntuples)]

    def _check(self, result):
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise psycopg.DatabaseError(result.error_message.decode(errors="replace").strip())


def run(what, statement, parameters):
    """What each call found, and the median and 99th percentile of their times. A twentieth runs before to warm up."""
    line = Progress(what)
    for p in parameters[:len(parameters) // 20]:
        statement(p)
    rows, times = [], []
    for i, p in enumerate(parameters):
        start = time.perf_counter()
        found = statement(p)
        times.append(time.perf_counter() - start)
        rows.append(found)
        if i % 8 == 0:
            line.update(i / len(parameters))
    p50, p99 = np.percentile(times, (50, 99))
    line.done(f"{len(parameters):,} queries, p50 {latency(p50)}")
    return rows, p50, p99


def prefer(conn, method):
    """
    Two indexes lie on one column, and the planner takes the one that looks cheaper: for this session, each other
    one is told to search all of itself.
    """
    for other in METHODS:
        if other != method:
            conn.execute(SEARCH_ALL[other])


def plan(conn, parameter):
    """How the server answers the query: the plan's node types, outermost first; the index, if any; workers."""
    nodes, index, workers = [], None, 0
    with conn.cursor() as cur:
        text = "[" + ",".join(repr(float(x)) for x in parameter) + "]"
        node = cur.execute("EXPLAIN (FORMAT JSON) " + NEAREST.decode().replace("$1", f"'{text}'")).fetchone()[0][0]["Plan"]
    while node:
        nodes.append(node["Node Type"])
        index = node.get("Index Name", index)
        workers = node.get("Workers Planned", workers)
        node = node.get("Plans", [None])[0]
    return nodes, index, workers


def check_plan(conn, data, label, method):
    """Error unless the query is answered by the method's index, or without one where it is None. Returns workers."""
    nodes, index, workers = plan(conn, data.queries[0])
    wanted = f"packages_embedding_{method}" if method else None
    if index != wanted:
        raise RuntimeError(f"the planner answers \"{label}\" by {' / '.join(nodes)} with {index or 'no index'}"
                           f" where {wanted or 'none'} was expected")
    return workers


def measure(data):
    """Each way to answer on a connection of its own, so that no setting outlives its turn."""
    results = []

    def one(label, settings, sample, method):
        with psycopg.connect(autocommit=True) as conn:
            for s in settings:
                conn.execute(s)
            if method:
                prefer(conn, method)
            workers = check_plan(conn, data, label, method)
            rows, p50, p99 = run(label, Statement(conn, b"nearest", NEAREST), [data.parameters[i] for i in sample])
            recall = float(np.mean([data.recall(q, found) for q, found in zip(sample, rows)]))
            if workers:
                label += f", {workers + 1} processes"
            results.append((method, label, len(sample), recall, p50, p99))

    one("exact scan", ["SET enable_indexscan = off"], range(0, HELD, HELD // EXACT_SAMPLE), None)
    for method in METHODS:
        for label, target in TARGETS:
            settings = [f"SET vecdb.target_recall = {target}"] if target else []
            one(f"{method}, {label}", settings, range(HELD), method)

    with psycopg.connect(autocommit=True) as conn:
        keys = np.random.default_rng(1).integers(0, data.rows, HELD)
        _, p50, p99 = run("floor: look-up by key", Statement(conn, b"look_up", LOOK_UP),
                          [struct.pack("!i", k) for k in keys.tolist()])
    return results, (p50, p99)


# ---- what a person reads ----

def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith(("model name", "Model\t")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return os.uname().machine


def report(conn, data, state, results, floor):
    table_size = conn.execute("SELECT pg_table_size('packages')").fetchone()[0]
    index_size = {m: conn.execute(f"SELECT pg_relation_size('packages_embedding_{m}')").fetchone()[0] for m in METHODS}
    version = conn.execute("SHOW server_version").fetchone()[0].split()[0]
    simd = conn.execute("SELECT vecdb_simd()").fetchone()[0]
    default = conn.execute("SHOW vecdb.target_recall").fetchone()[0]
    if data.full:
        source = "all of them, float16 (../shared/data)"
    else:
        source = "a random third of Debian 12, as shipped (examples/debian)"
    again = "" if "fresh" in state else " (when this database was made)"
    facts = [("rows", f"{data.rows:,} packages: {source}"),
             ("dimensions", f"{data.dims}, cosine distance"),
             ("table", f"{size(table_size)}, loaded in {seconds(state['load'])}{again}"),
             *((m, f"{size(index_size[m])}, built in {seconds(state['build'][m])}{again}") for m in METHODS),
             ("server", f"PostgreSQL {version}, kernels {simd}, {processor()}")]
    say()
    for name, value in facts:
        say(f"  {name:<11} {cut(value, max(WIDTH - 14, 40))}")
    say()

    exact = results[0][4]
    rows = [(f"the {K} nearest", "queries", f"recall@{K}", "p50", "p99", "speed-up"), None]
    for i, (method, label, n, recall, p50, p99) in enumerate(results):
        if label.endswith(", nothing set"):
            label += f" ({default})"
        if i > 0 and method != results[i - 1][0]:
            rows.append(None)
        rows.append((label, f"{n:,}", f"{recall:.3f}", latency(p50), latency(p99),
                     NONE if i == 0 else f"{exact / p50:.{1 if exact < 100 * p50 else 0}f} {TIMES}"))
    rows += [None, ("floor: a row by its key", f"{HELD:,}", NONE, latency(floor[0]), latency(floor[1]), "")]
    table(rows, "<>>>>>")
    say(f"  {NEAREST.decode()}")
    say("  Half of the queries took at most p50, 99 of 100 at most p99. One connection, prepared, parameters and rows")
    say("  in binary, timed in Python; nothing subtracted: the floor is what any query pays for Python and the socket.")


def ask(data):
    say()
    say(f"  Five questions, as a person would type them ({ASKED}, nothing set):")
    with psycopg.connect(autocommit=True) as conn:
        prefer(conn, ASKED)
        check_plan(conn, data, "five questions", ASKED)
        nearest = Statement(conn, b"nearest", NEAREST)
        for text in SHOWN:
            q = HELD + data.questions[HELD:].index(text)
            nearest(data.parameters[q])
            start = time.perf_counter()
            found = nearest(data.parameters[q])[:5]
            took = time.perf_counter() - start
            rows = conn.execute(
                "SELECT name, short, 1 - (embedding <=> (SELECT embedding FROM questions WHERE id = %s))"
                " FROM packages JOIN unnest(%s::int[]) WITH ORDINALITY AS f (id, place) USING (id) ORDER BY place",
                (q, found)).fetchall()
            say()
            title = f"“{text}”" if UTF8 else f'"{text}"'
            say(f"  {title:<60} {latency(took)}")
            widest = min(max(len(r[0]) for r in rows), 34)
            for name, short, cosine in rows:
                say(cut(f"    {cosine:.3f}  {cut(name, widest):<{widest}}  {short}", WIDTH))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = Data(sys.argv[1])
    with psycopg.connect(autocommit=True) as conn:
        state = prepare(conn, data)
    results, floor = measure(data)
    with psycopg.connect(autocommit=True) as conn:
        report(conn, data, state, results, floor)
    ask(data)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
    except (psycopg.Error, RuntimeError, OSError) as e:
        sys.exit(f"\nThe demo stopped: {e}")
