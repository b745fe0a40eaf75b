"""sql.py: the engines behind SQL: vecdb's and pgvector's indexes and exact scans.

    engine = make("vecdb ivfflat", server, lists=500)       # keys: ENGINES; the interface is engine.Engine's
    engine.load(ds); engine.build(); engine.search({"ivfflat.probes": 8}, 10)

Each index has a table of its own, items_N (id integer PRIMARY KEY, v vector(d)), whose ids are row numbers of the
data set; an exact scan shares the table of an index in its database. All queries are timed by bench/client.c, never
here: prepared, binary, one by one, client and backend on one processor where that is allowed. One connection an index lives
for the whole sweep, as one from a pool would. Sequential
scans are off for index engines, index scans for exact ones, and a plan that does not do what the engine's name says
is an error, not a figure.

`python -m harness.sql --self-test` checks this file and the client on a server of its own.
"""
import contextlib
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import psycopg

from harness import data, machine
from harness.engine import EF, PROBES, Engine, Pass, ladder
from harness.measure import WARM_UP
from harness.server import TOP, Server, value

OPERATORS = {"cosine": ("<=>", "vector_cosine_ops"), "l2": ("<->", "vector_l2_ops"), "ip": ("<#>", "vector_ip_ops")}
LIBRARY = {"vecdb": "vecdb", "pgvector": "vector"}
BUILD_OPTIONS = {"ivfflat": ("lists",), "hnsw": ("m", "ef_construction"), "ivfpq": None, "exact": ()}   # None: whatever it has
RECALLS = (0.8, 0.85, 0.9, 0.93, None, 0.97, 0.98, 0.99, 0.995)   # None: nothing set, which aims at 0.95; beyond 0.995 all rows are read
SEED = 20261126
POLL = 0.02                                         # seconds between two looks at a build's memory

INSERTS = 14_000                                    # rows of insert_rate: 1,000; 10,000; 1,000; 2,000 in batches
BATCH = 100


class SqlError(Exception):
    """What keeps an engine from being measured; the message says why."""


def make(key, server, toast="inline", workers=0, cpus=None, **options):
    """The engine called `key`, one of ENGINES, on a harness.server.Server.

    toast     'inline': vectors up to 8 kB stay in their rows; 'default': PostgreSQL moves what exceeds 2 kB out of line
    workers   parallel workers of a build (max_parallel_maintenance_workers)
    cpus      processors for client and backend i, in turn (default: those this process may use, the last one first);
              () pins nothing
    options   of the index, as in CREATE INDEX … WITH: lists; m, ef_construction. What is not given is the
              system's own default
    Raises SqlError for an unknown key, option or value.
    """
    system, _, index = key.partition(" ")
    if key not in ENGINES:
        raise SqlError(f"no SQL engine is called {key!r}: there are {', '.join(ENGINES)}")
    known = BUILD_OPTIONS[index]
    for name, number in options.items():
        if known is not None and name not in known:
            raise SqlError(f"{key} has no option {name!r}: it has {', '.join(known) or 'none'}")
        if not isinstance(number, (int, float)) and (known is not None or not str(number).isalnum()):
            raise SqlError(f"{key}: the option {name} is {number!r}, it must be a number" + ("" if known is not None else " or a word"))
    if toast not in ("inline", "default"):
        raise SqlError(f"toast is {toast!r}: must be inline or default")
    return SqlEngine(system, index, server, toast, workers, cpus, options)


ENGINES = ("vecdb ivfflat", "vecdb hnsw", "vecdb ivfpq", "vecdb exact", "pgvector ivfflat", "pgvector hnsw", "pgvector exact")


class Table:
    """A table with a data set's rows in the database of a system."""

    def __init__(self, db, server, ds, toast, rows=None):
        """rows: numbers of the base's rows to load (default: all). Loaded by COPY in binary, vacuumed, written to disk."""
        self.name, self.base, self.toast = server.new_table(), ds.base, toast
        self.index, self.users = None, 0            # the engine whose index it has, and engines that use it
        self.dims = ds.base.shape[1]
        db.execute(f"CREATE TABLE {self.name} (id integer PRIMARY KEY, v vector({self.dims}))")
        if toast == "inline":
            db.execute(f"ALTER TABLE {self.name} SET (toast_tuple_target = 8160)")
        start = time.perf_counter()
        copy_rows(db, self.name, ds.base, np.arange(len(ds.base)) if rows is None else rows)
        self.seconds = time.perf_counter() - start
        db.execute(f"VACUUM (FREEZE, ANALYZE) {self.name}")
        db.execute("CHECKPOINT")

    def bytes(self, db):
        return int(value(db, "SELECT pg_table_size(%s::regclass)", [self.name]))


def copy_rows(db, table, base, rows):
    """Sends base[rows] with their numbers as ids."""
    dims = base.shape[1]
    layout = np.dtype([("fields", ">i2"), ("id_length", ">i4"), ("id", ">i4"), ("v_length", ">i4"), ("dims", ">u2"), ("unused", ">u2"),
                       ("v", ">f4", (dims,))])
    with db.cursor().copy(f"COPY {table} (id, v) FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
        portion = max(1, 2**22 // layout.itemsize)
        for s in range(0, len(rows), portion):
            part = rows[s:s + portion]
            block = np.zeros(len(part), layout)
            block["fields"], block["id_length"], block["id"] = 2, 4, part
            block["v_length"], block["dims"], block["v"] = 4 + 4 * dims, dims, base[part]
            copy.write(block.tobytes())
        copy.write(struct.pack(">h", -1))


class SqlEngine(Engine):
    """One index (or the exact scan) of vecdb or pgvector; see make."""

    def __init__(self, system, index, server, toast, workers, cpus, options):
        self.name, self.index, self.key = system, index, f"{system} {index}"
        self.server, self.toast, self.workers = server, toast, workers
        self.given = dict(options)
        self.options = {**options, **({"vectors": "inline" if toast == "inline" else "default TOAST"})}
        if index != "exact":
            self.options["workers"] = workers
        self.cpus = pinning() if cpus is None else tuple(cpus)
        self.table = self.connection = self.session = None

    # -- the interface ----------------------------------------------------------------------------

    def available(self):
        ok, reason = self.server.has(self.name)
        if ok and self.index != "exact":
            ok = self.db.execute("SELECT 1 FROM pg_am WHERE amname = %s", [self.index]).fetchone() is not None
            reason = "" if ok else f"{self.name} has no access method {self.index} yet"
        return ok, reason

    def load(self, ds):
        """{'table_bytes', 'table', 'seconds' of COPY (None where the rows were there), 'vectors'}"""
        self.release()
        self.ds = ds
        self.work = tempfile.TemporaryDirectory(prefix="vecdb-bench-")
        shared = next((t for t in self.server.tables if t.base is ds.base and t.system == self.name and t.toast == self.toast
                       and (self.index == "exact" or t.index is None)), None)
        self.table = shared or Table(self.db, self.server, ds, self.toast)
        if shared is None:
            self.table.system = self.name
            self.server.tables.append(self.table)
        self.table.users += 1
        if self.index != "exact":
            self.table.index = self
        self.server.note_size()
        return {"table_bytes": self.table.bytes(self.db), "table": self.table.name, "vectors": self.options["vectors"],
                "seconds": None if shared else self.table.seconds}

    def build(self):
        if self.index == "exact":
            return {"seconds": 0.0, "cpu_seconds": 0.0, "peak_bytes": 0, "index_bytes": 0, "wal_bytes": 0}
        self.hang_up()
        figures = self.build_index(self.table.name)
        self.options.update(self.as_built(self.table.name))
        return figures

    def settings(self):
        """Names are those of SQL's settings; {} stands among them where a declared recall is swept ('curve' says so)."""
        if self.index == "exact":
            return [{}]
        if self.index == "hnsw":
            sweep = [{"hnsw.ef_search": ef} for ef in EF]
        else:
            lists = self.options.get("lists") or self.given.get("lists") or math.inf
            sweep = [{f"{self.index}.probes": p} for p in (PROBES if lists == math.inf else ladder(PROBES, lists))]
        if self.name == "vecdb":
            sweep += [{"vecdb.target_recall": r} if r else {"curve": "vecdb.target_recall"} for r in RECALLS]
        return sweep

    def search(self, setting, k, clients=1, queries=None, warm=None):
        """setting: {name of a setting: value}. wall_s is from the first query to the last answer of all clients, so that
        len(queries) / wall_s is the throughput. hnsw.ef_search below k is raised to k, and the note says so."""
        return self.search_table(self.table.name, setting, k, clients, queries, warm=warm)

    def first_queries(self, setting, k, queries):
        """A Pass over the queries as the first of a new connection, whose backend has seen neither index nor table."""
        return self.search_table(self.table.name, setting, k, 1, queries, new=True)

    def pages(self, setting, n=50, k=10):
        """Pages touched a query (buffer hits and reads, of index and table), mean over n queries, from EXPLAIN (ANALYZE, BUFFERS)."""
        return self.count_pages(setting, n, k, lambda plan: plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def pages_read(self, setting, n=20, k=10):
        """Pages read a query when shared_buffers holds none of table and index, mean over n queries, each after an eviction; None where
        the server cannot evict (pg_buffercache of PostgreSQL 17). The connection has searched before: it knows the index's head."""
        try:
            self.db.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
        except psycopg.Error:
            return None
        if value(self.db, "SELECT to_regproc('pg_buffercache_evict')") is None:
            return None
        files = [row[0] for row in self.db.execute("""
            SELECT pg_relation_filenode(c.oid) FROM pg_class c, (SELECT oid, reltoastrelid FROM pg_class WHERE oid = %s::regclass) t
            WHERE c.oid IN (t.oid, t.reltoastrelid) OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN (t.oid, t.reltoastrelid))""", [self.table.name])]

        def evict():
            self.db.execute("""SELECT pg_buffercache_evict(bufferid) FROM pg_buffercache WHERE relfilenode = ANY(%s)
                AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())""", [files])
        return self.count_pages(setting, n, k, lambda plan: plan["Shared Read Blocks"], evict)

    def count_pages(self, setting, n, k, of, before=lambda: None):
        """The mean of of(plan) over n queries, each after before()."""
        setting, _ = self.effective(setting, k)
        queries = self.ds.queries[:: max(1, len(self.ds.queries) // n)][:n]
        self.apply(setting)
        self.db.execute(f"PREPARE counted AS {self.statement(self.table.name, k)}")
        try:
            total = 0
            for warm in (True, False):              # the first query of a session reads the index's head, too
                for q in queries[:1] if warm else queries:
                    before()
                    plan = explain(self.db, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE counted ({literal(q)})")
                    if not warm:
                        total += of(plan)
            return total / len(queries)
        finally:
            self.db.execute("DEALLOCATE counted")
            self.db.execute("RESET ALL")

    def floor(self, n=2000):
        """A prepared look-up by primary key in the same table, the same way: {'mean', 'p50', 'p99', 'cpu'} in microseconds."""
        keys = np.random.default_rng(SEED).integers(0, len(self.ds.base), n).astype(np.int32)
        if self.keys is None or len(self.keys) != n:
            self.keys = keys
            self.ask(self.table.name, "lookup", f"SELECT id FROM {self.table.name} WHERE id = $1", 1, self.keys, [])     # touches every page once
        ids, us, _, cpu = self.ask(self.table.name, "lookup", f"SELECT id FROM {self.table.name} WHERE id = $1", 1, self.keys, [])
        if not (ids[:, 0] == keys).all():
            raise SqlError(f"{self.key}: the look-up by primary key did not find the rows it asked for")
        return {"mean": float(us.mean()), "p50": float(np.median(us)), "p99": float(np.percentile(us, 99)), "cpu": cpu}

    def insert_rate(self, rows=INSERTS):
        """Single-row inserts, a transaction each, into an index that holds all other rows of the data set; a table made for it.

        rows: how many (at most a quarter of the data set). A dict: rows_per_second (over all single rows), p50, p99 and cpu in
        microseconds; rows_per_second_batch with 100 rows a transaction; wal_after_checkpoint and wal_later: bytes of WAL a row,
        with its table, primary key and commit, over the first rows after a checkpoint and over as many after `inserts_between`
        others; fsync, since a disk that must be waited for would hide the index's work.
        """
        n = len(self.ds.base)
        rows = min(rows, n // 4)
        if rows < 30:
            raise SqlError(f"{n} rows are too few to insert a quarter of them and learn from it")
        order = np.random.default_rng(SEED).permutation(n).astype(np.int32)
        slice_ = min(1000, rows // 6)
        parts = np.split(order[:rows], [slice_, rows - 3 * slice_, rows - 2 * slice_])     # first, between, later, in batches
        with self.side_table(np.sort(order[rows:])) as table:
            self.db.execute("CHECKPOINT")
            found, times, cpus, wal, walls = [], [], [], [], []
            for part in parts:
                before = self.wal()
                _, us, wall, cpu = self.insert(table, part, 1 if part is not parts[3] else BATCH)
                wal.append((self.wal() - before) / len(part))
                times.append(us), cpus.append(cpu), walls.append(wall)
            found = int(value(self.db, f"SELECT count(*) FROM {table}"))
            if found != n:
                raise SqlError(f"{self.key}: {found} rows after the inserts, expected {n}")
            single = np.concatenate(times[:3])
            return {"rows_per_second": len(single) / sum(walls[:3]), "rows_per_second_batch": len(parts[3]) / walls[3],
                    "p50": float(np.median(single)), "p99": float(np.percentile(single, 99)),
                    "cpu": float(np.average(cpus[:3], weights=[len(p) for p in parts[:3]])),
                    "wal_after_checkpoint": wal[0], "wal_later": wal[2], "wal_batch": wal[3], "inserts_between": len(parts[1]),
                    "rows": rows, "fsync": value(self.db, "SHOW fsync")}

    def churn(self, share=0.3, k=10):
        """Recall after that share of the rows was deleted and replaced by as many others, and VACUUM; on a table made for it.

        Both times recall is against the exact answer for the rows that are in the table. The setting is the first of the
        sweep that reaches 0.95 before. A dict: recall_before, recall_after; us and cpu (microseconds a query) before and after; setting, share, rows (in the
        table), replaced, index_bytes_before, index_bytes_after, seconds of delete, insert and vacuum.
        """
        n = len(self.ds.base)
        random = np.random.default_rng(SEED)
        order = random.permutation(n)
        replaced = int(n * share / (1 + share))
        if not 0 < share <= 1 or replaced < 1:
            raise SqlError(f"churn: the share is {share} of {n} rows; it must be above 0, at most 1, and mean a row at least")
        fresh, old = order[:replaced], np.sort(order[replaced:])
        gone = random.permutation(old)[:replaced]
        present = np.sort(np.concatenate((np.setdiff1d(old, gone), fresh)))
        with self.side_table(old) as table:
            setting, before = self.good_setting(table, old, k)
            bytes_before = self.index_bytes(table)
            seconds = {}
            with clock(seconds, "delete_seconds"):
                self.db.execute(f"DELETE FROM {table} WHERE id = ANY (%s)", [gone.tolist()])
            with clock(seconds, "insert_seconds"):
                copy_rows(self.db, table, self.ds.base, fresh)
            with clock(seconds, "vacuum_seconds"):
                self.db.execute(f"VACUUM (ANALYZE) {table}")
            self.db.execute("CHECKPOINT")
            after = self.recall_on(table, present, setting, k)
            return {"recall_before": before[0], "recall_after": after[0], "us_before": before[1], "us_after": after[1],
                    "cpu_before": before[2], "cpu_after": after[2],
                    "setting": setting, "share": share, "rows": len(old), "replaced": replaced, "index_bytes_before": bytes_before,
                    "index_bytes_after": self.index_bytes(table), **seconds}

    def close(self):
        self.release()
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # -- statements -------------------------------------------------------------------------------

    @property
    def db(self):
        """A session for all that is not timed; another one after the server was restarted."""
        if self.connection is None or self.connection.closed or self.connected_to != self.server.pid:
            self.connection, self.connected_to = self.server.connect(self.name), self.server.pid
            self.connection.prepare_threshold = None
            self.connection.execute(f"LOAD '{LIBRARY[self.name]}'")
        return self.connection

    def statement(self, table, k):
        return f"SELECT id FROM {table} ORDER BY v {OPERATORS[self.ds.metric][0]} $1 LIMIT {k}"

    def effective(self, setting, k):
        """The SQL settings of a setting, and a note on what was changed in it."""
        setting = {name: number for name, number in setting.items() if name != "curve"}
        # Short names for convenience.
        setting = {name if "." in name else f"vecdb.{name}" if name == "target_recall" else f"{self.index}.{name}": number
                   for name, number in setting.items()}
        if setting.get("hnsw.ef_search", k) < k:
            return {**setting, "hnsw.ef_search": k}, f"hnsw.ef_search raised to k = {k}, below which it gives fewer than k rows"
        return setting, ""

    def commands(self, setting):
        """The commands that make a session do what the engine's name says."""
        commands = [f"LOAD '{LIBRARY[self.name]}'"]
        if self.index == "exact":
            commands += ["SET enable_indexscan = off", "SET enable_bitmapscan = off"]
        else:
            commands += ["SET enable_seqscan = off"]
        return commands + [f"SET {name} = '{number}'" for name, number in setting.items()]

    def apply(self, setting):
        self.db.execute("RESET ALL")
        for command in self.commands(setting):
            self.db.execute(command)

    def check_plan(self, table, setting, k):
        """Raises SqlError unless the planner uses the index (or, exact, none), with the parameter's value known and not."""
        wanted = None if self.index == "exact" else index_name(table)
        self.apply(setting)
        self.db.execute(f"PREPARE planned AS {self.statement(table, k)}")
        try:
            for mode in ("force_custom_plan", "force_generic_plan"):
                self.db.execute(f"SET plan_cache_mode = {mode}")
                plan = explain(self.db, f"EXPLAIN (FORMAT JSON) EXECUTE planned ({literal(self.ds.queries[0])})")
                used = [node.get("Index Name") for node in nodes(plan) if "Index Name" in node]
                if used != ([wanted] if wanted else []):
                    what = f"the index {wanted}" if wanted else "a sequential scan"
                    raise SqlError(f"{self.key} at {setting or 'nothing set'}: the plan does not use {what} but "
                                   + " over ".join(node["Node Type"] for node in nodes(plan)))
        finally:
            self.db.execute("DEALLOCATE planned")
            self.db.execute("RESET ALL")

    # -- work -------------------------------------------------------------------------------------

    def search_table(self, table, setting, k, clients=1, queries=None, new=False, warm=None):
        """One client asks over the engine's session; with new, and each of several clients, over a connection of its own. The
        several have each asked everything once before."""
        queries = self.ds.queries if queries is None else np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.ds.base.shape[1]:
            raise SqlError(f"{self.key}: queries are {queries.shape}, must be (any, {self.ds.base.shape[1]})")
        setting, note = self.effective(setting, k)
        if clients == 1 and not new:
            ids, us, wall, cpu = self.ask(table, "search", self.statement(table, k), k, queries, self.commands(setting), warm,
                                          check=lambda: self.check_plan(table, setting, k))
        else:
            self.check_plan(table, setting, k)
            ids, us, wall, cpu = self.client("search", self.statement(table, k), k, queries, [self.file("queries", queries), queries.shape[1], k],
                                             self.commands(setting), clients, warmup=0 if new else len(queries))
        pinned = "client and backend on one processor" if self.cpus else "not pinned"
        return Pass(ids, us, float(us.mean()), cpu, wall, "; ".join(filter(None, (f"prepared, binary, one by one, {pinned}", note))))

    def insert(self, table, rows, batch):
        vectors = np.ascontiguousarray(self.ds.base[rows])
        return self.client("insert", f"INSERT INTO {table} (id, v) VALUES ($1, $2)", 0, rows,
                           [self.file("keys", np.asarray(rows, np.int32)), self.file("vectors", vectors), vectors.shape[1]],
                           [f"LOAD '{LIBRARY[self.name]}'"], batch=batch)

    def ask(self, table, mode, statement, k, items, commands, warm=None, check=None):
        """Runs bench/client.c's orders over the session that lives on; what client() returns. warm: items beforehand, untimed (the last
        WARM_UP ones); check is called before a statement's first use."""
        if self.session is None or self.session.table != table or self.session.postmaster != self.server.pid:
            self.hang_up()
            self.session = Session(self, table)
        name = self.session.statement(statement, commands, check)
        warm = items[-WARM_UP:] if warm is None else warm
        fields = [self.file(mode, np.concatenate([warm, items]).astype(items.dtype)), *([items.shape[1], k] if mode == "search" else []), len(warm),
                  os.path.join(self.work.name, "result")]
        self.session.order(mode, name, *fields)
        return self.result(len(items), k)

    def hang_up(self):
        if self.session is not None:
            self.session.close()
            self.session = None

    def client(self, mode, statement, k, items, arguments, session, clients=1, batch=1, warmup=20):
        """Runs bench/client.c; (ids (items, k) or None, microseconds (items,), seconds on the clock, processor µs an item)."""
        n, out = len(items), os.path.join(self.work.name, "result")
        command = [client_program(), "-c", str(clients), "-b", str(batch), "-w", str(warmup)]
        if self.cpus:
            command += ["-C", ",".join(map(str, self.cpus))]
        command += [mode, self.server.conninfo(self.name), statement, *map(str, arguments), out, *session]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if run.returncode != 0:
            raise SqlError(f"{self.key}: {(run.stderr.strip() or f'status {run.returncode}').splitlines()[0]}")
        return self.result(n, k)

    def result(self, n, k):
        """What the client wrote; see its head."""
        with open(os.path.join(self.work.name, "result"), "rb") as f:
            ids = np.fromfile(f, np.int32, n * k).reshape(n, k) if k else None
            rest = np.fromfile(f, np.float64)
        if len(rest) != n + 2:
            raise SqlError(f"{self.key}: the client's result has {len(rest)} figures, expected {n + 2}: build it from this tree (bench/run setup)")
        return ids, rest[:n], float(rest[n]), float(rest[n + 1])

    def file(self, name, array):
        """The array as a file for the client; written once for the same array."""
        path = os.path.join(self.work.name, name)
        if self.files.get(name) is not array:
            array.tofile(path)
            self.files[name] = array
        return path

    def build_index(self, table):
        """CREATE INDEX, and what it took. In a session of its own, whose memory no earlier build has left its marks on."""
        name = index_name(table)
        with_ = ", ".join(f"{option} = {number}" for option, number in self.given.items())
        self.db.execute(f"DROP INDEX IF EXISTS {name}")
        self.db.execute("CHECKPOINT")
        before = self.wal()
        with self.server.connect(self.name) as db:
            db.execute(f"LOAD '{LIBRARY[self.name]}'")
            db.execute(f"SET max_parallel_maintenance_workers = {self.workers}")
            backend = int(value(db, "SELECT pg_backend_pid()"))
            if self.workers == 0:
                machine.raise_priority(backend)      # a worker would not have it
            with Watch(self.server, backend) as watch:
                start = time.perf_counter()
                db.execute(f"CREATE INDEX {name} ON {table} USING {self.index} (v {OPERATORS[self.ds.metric][1]})" + (f" WITH ({with_})" if with_ else ""))
                seconds = time.perf_counter() - start
        wal = self.wal() - before
        self.db.execute("CHECKPOINT")
        self.server.note_size()
        size = self.index_bytes(table)
        return {"seconds": seconds, "cpu_seconds": watch.cpu_seconds, "peak_bytes": watch.peak_bytes + size, "work_bytes": watch.peak_bytes,
                "index_bytes": size, "wal_bytes": wal, "workers": watch.workers}

    def as_built(self, table):
        """Options that the index itself chose, where it tells."""
        if self.name == "vecdb" and self.index in ("ivfflat", "ivfpq"):
            row = self.db.execute("SELECT value FROM vecdb_index_stats(%s::regclass) WHERE metric = 'lists'", [index_name(table)]).fetchone()
            return {"lists": int(row[0])} if row else {}
        if self.index == "ivfflat":
            return {"lists": self.given.get("lists", 100)}
        if self.index == "hnsw":
            return {"m": self.given.get("m", 16), "ef_construction": self.given.get("ef_construction", 64)} if self.name == "pgvector" else {}
        return {}

    def index_bytes(self, table):
        return 0 if self.index == "exact" else int(value(self.db, "SELECT pg_relation_size(%s::regclass)", [index_name(table)]))

    def wal(self):
        return int(value(self.db, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    @contextlib.contextmanager
    def side_table(self, rows):
        """A table with these rows and the engine's index, dropped at the end; its name."""
        table = Table(self.db, self.server, self.ds, self.toast, rows).name
        try:
            if self.index != "exact":
                self.build_index(table)
            yield table
        finally:
            self.hang_up()
            if not self.db.closed:
                self.db.execute(f"DROP TABLE {table}")

    def recall_on(self, table, rows, setting, k):
        """(recall, mean µs, processor µs) on a table that has these rows of the base, ascending."""
        whole = getattr(self.ds, "whole", self.ds)
        part = data.DataSet(f"{self.ds.name} {len(rows)} rows", self.ds.metric, np.ascontiguousarray(self.ds.base[rows]),
                            np.ascontiguousarray(self.ds.queries), whole.about)
        answer = self.search_table(table, setting, k)
        ids = np.searchsorted(rows, answer.ids)
        found = answer.ids >= 0
        if found.any() and not (rows[np.minimum(ids, len(rows) - 1)] == answer.ids)[found].all():
            raise SqlError(f"{self.key}: a search gave rows that were deleted")
        return float(data.recall(part, np.where(found, ids, -1), k)), answer.us_mean, answer.cpu_us

    def good_setting(self, table, rows, k):
        """The first setting of the sweep with recall 0.95 (else the last), and its (recall, µs, processor µs)."""
        for setting in self.settings():
            figures = self.recall_on(table, rows, setting, k)
            if figures[0] >= 0.95:
                break
        return {n: v for n, v in setting.items() if n != "curve"}, figures

    def release(self):
        """Lets go of the table; the last one drops it."""
        self.hang_up()
        table, self.table, self.files, self.keys = self.table, None, {}, None
        if table is None:
            return
        table.users -= 1
        gone = self.server.process.poll() is not None
        if table.index is self:
            table.index = None
            if not gone and table.users:
                self.db.execute(f"DROP INDEX IF EXISTS {index_name(table.name)}")
        if not table.users:
            self.server.tables.remove(table)
            if not gone:
                self.db.execute(f"DROP TABLE {table.name}")
        self.work.cleanup()


class Session:
    """A bench/client.c that serves: one connection to a table's database, with a prepared statement for each setting.

    backend     the process at its other end
    """

    def __init__(self, engine, table):
        self.key, self.table, self.postmaster, self.names = engine.key, table, engine.server.pid, {}
        pin = ["-C", ",".join(map(str, engine.cpus))] if engine.cpus else []
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([client_program(), *pin, "serve", engine.server.conninfo(engine.name)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.backend = int(self.answer().split()[1])
        self.now = None             # the commands that the session has obeyed last

    def statement(self, text, commands, check):
        """Sets the session up; the name of the statement, prepared under just these settings, so that its plan is of them, too."""
        if commands != self.now:
            for command in ["RESET ALL", *commands]:
                self.order("do", command)
            self.now = commands
        known = (text, *commands)
        if known not in self.names:
            if check:
                check()
            self.names[known] = f"s{len(self.names)}"
            self.order("prepare", self.names[known], text)
        return self.names[known]

    def order(self, *fields):
        try:
            self.process.stdin.write("\t".join(map(str, fields)) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass                    # answer() tells what is the matter
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line.startswith("ok"):
            status = self.process.wait()
            self.errors.seek(0)
            raise SqlError(f"{self.key}: {(self.errors.read().strip() or f'status {status}').splitlines()[0]}")
        return line

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Watch:
    """Looks at a backend and its parallel workers while something runs (a context manager).

    cpu_seconds   their processor time (a worker's last POLL seconds may be missing)
    peak_bytes    their private memory and the server's shared memory segments, above what was there at the start
    workers       how many workers were seen
    """

    def __init__(self, server, backend):
        self.server, self.backend = server, int(backend)
        self.others, self.cpu, self.peak_bytes = set(), {}, 0

    def __enter__(self):
        self.start_cpu, self.base = cpu_seconds(self.backend), private_bytes(self.backend) + folder_bytes(self.server.shm)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self.cpu[self.backend] = cpu_seconds(self.backend)
        self.workers = len(self.cpu) - 1
        self.cpu_seconds = sum(self.cpu.values()) - self.start_cpu

    def poll(self):
        while True:
            used = 0
            for pid in [self.backend, *self.workers_now()]:
                used += private_bytes(pid)
                self.cpu[pid] = max(self.cpu.get(pid, 0.0), cpu_seconds(pid))
            self.peak_bytes = max(self.peak_bytes, used + folder_bytes(self.server.shm) - self.base)
            if self.stopped.wait(POLL):
                return

    def workers_now(self):
        found = []
        for pid in children(self.server.pid):
            if pid in self.others:
                continue
            title = read(f"/proc/{pid}/cmdline")
            if f"parallel worker for PID {self.backend}" in title:
                found.append(pid)
            elif "postgres: " in title and "parallel worker" not in title:
                self.others.add(pid)
        return found


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def children(pid):
    return [int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()]


def cpu_seconds(pid):
    words = read(f"/proc/{pid}/schedstat").split()
    return int(words[0]) / 1e9 if words else 0.0


def private_bytes(pid):
    """Memory of a process that is neither shared nor backed by files."""
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def folder_bytes(path):
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            if entry.name.startswith("PostgreSQL."):
                with contextlib.suppress(OSError):
                    total += entry.stat().st_blocks * 512
    return total


def pinning():
    """The processors this process may use, the last one first: the first is everybody's."""
    return tuple(sorted(os.sched_getaffinity(0), reverse=True))


def index_name(table):
    return f"{table}_v_idx"


def literal(vector):
    """A vector for SQL, with all its digits."""
    return "'[" + ",".join(format(float(x), ".9g") for x in vector) + "]'"


def explain(db, statement):
    """The top node of a plan."""
    plan = db.execute(statement).fetchone()[0]
    return (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]


def nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@contextlib.contextmanager
def clock(seconds, name):
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def client_program():
    """The program of bench/client.c, as bench/run builds it ($BENCH_CLIENT names another)."""
    path = os.environ.get("BENCH_CLIENT") or os.path.join(machine.WORK, "client")
    source = os.path.join(TOP, "bench", "client.c")
    if not os.path.exists(path):
        raise SqlError(f"{path} is not there: bench/run setup builds it")
    if "BENCH_CLIENT" not in os.environ and os.path.getmtime(path) < os.path.getmtime(source):
        raise SqlError(f"{path} is older than bench/client.c: bench/run setup builds it anew")
    return path


# -- self-test ------------------------------------------------------------------------------------

def self_test(server=None):
    """Checks engines and client on a small data set; prints TAP, returns the number of failures.

    server: a running one; without, one of its own (instance "selftest") is started and stopped.
    """
    if server is None:
        with Server({"shared_buffers": "128MB"}, "selftest") as server:
            return self_test(server)
    test = Tap()
    ds = data.load("clustered:3000x24:1:cosine")
    engines = [make(key, server, **({"lists": 40} if key.endswith("ivfflat") else {})) for key in ENGINES]
    try:
        for engine in engines:
            ok, reason = engine.available()
            if not ok:
                test.skip(engine.key, reason)
                continue
            test.run(f"{engine.key}: load, build, search", check_engine, engine, ds)
            if engine.index == "exact":
                continue
            test.run(f"{engine.key}: inserts", check_inserts, engine)
            test.run(f"{engine.key}: churn", check_churn, engine)
            test.run(f"{engine.key}: a plan without the index is an error", check_no_index, engine)
        test.run("client: bad input has a message", check_messages, engines[0])
        test.run("unknown keys and options are refused", check_refusals, server)
    finally:
        for engine in engines:
            engine.close()
    test.run("no table is left", lambda: expect(not server.tables and value_of(server, "SELECT count(*) FROM pg_class WHERE relname ~ '^items_'") == 0, "tables left"))
    return test.end()


class Tap:
    """Counts and prints test points."""

    def __init__(self):
        self.number = self.failed = 0

    def run(self, name, function, *arguments):
        self.number += 1
        try:
            function(*arguments)
            print(f"ok {self.number} - {name}", flush=True)
        except Exception as error:
            self.failed += 1
            print(f"not ok {self.number} - {name}\n# {type(error).__name__}: {error}", flush=True)

    def skip(self, name, reason):
        self.number += 1
        print(f"ok {self.number} - {name} # skip {reason}", flush=True)

    def end(self):
        print(f"1..{self.number}", flush=True)
        return self.failed


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def value_of(server, statement):
    with server.connect("vecdb") as db:
        return value(db, statement)


def check_engine(engine, ds):
    loaded = engine.load(ds)
    expect(loaded["table_bytes"] > ds.base.nbytes, f"the table has {loaded['table_bytes']} bytes")
    figures = engine.build()
    if engine.index != "exact":
        expect(figures["seconds"] > 0 and figures["cpu_seconds"] > 0 and figures["index_bytes"] > 0 and figures["wal_bytes"] > 0, figures)
        expect(0 <= figures["peak_bytes"] < 1 << 30, f"peak memory {figures['peak_bytes']}")
    recalls = []
    for setting in engine.settings():
        answer = engine.search(setting, 10)
        expect(answer.ids.shape == (len(ds.queries), 10) and (answer.us > 0).all() and answer.cpu_us > 0, "shape or times of an answer")
        expect(answer.us.sum() / 1e6 <= answer.wall_s, "the queries together took longer than the wall clock")
        recalls.append(data.recall(ds, answer.ids, 10))
    best = max(recalls)
    expect(best > 0.99, f"recalls {recalls}")
    complete = {"ivfflat": {"ivfflat.probes": 40}, "exact": {}}.get(engine.index)
    if complete is not None:
        answer = engine.search(complete, 10)
        expect(data.recall(ds, answer.ids, 10) == 1.0, "a search of everything is not exact")
        both = engine.search(complete, 10, clients=2, queries=ds.queries[:200])
        expect((both.ids == answer.ids[:200]).all(), "two clients got other answers than one")
    expect(engine.search({}, 3, queries=ds.queries[:7]).ids.shape == (7, 3), "seven queries for three rows")
    floor = engine.floor(200)
    expect(0 < floor["p50"] <= floor["p99"] and floor["cpu"] > 0, floor)
    expect(engine.pages(engine.settings()[0], 10) > 1, "pages")


def check_inserts(engine):
    found = engine.insert_rate(600)
    expect(found["rows"] == 600 and found["rows_per_second"] > 0 and found["wal_later"] > 0, found)
    expect(found["wal_after_checkpoint"] > found["wal_later"], f"no full pages after a checkpoint: {found}")


def check_churn(engine):
    found = engine.churn(0.3)
    expect(found["recall_after"] > 0.5 and found["replaced"] > 0.2 * found["rows"], found)


def check_no_index(engine):
    engine.hang_up()
    engine.db.execute(f"DROP INDEX {index_name(engine.table.name)}")
    try:
        engine.search(engine.settings()[0], 10)
    except SqlError as error:
        expect("does not use" in str(error), str(error))
    else:
        raise AssertionError("the search went on without its index")


def check_messages(engine):
    program = client_program()
    good = os.path.join(engine.work.name, "queries")
    for arguments, message in (([], "usage"), (["-c", "0", "search"], "must be 1 to 256"), (["search", "x", "y", "/nowhere", "3", "1", "/dev/null"], "cannot read"),
                               (["search", "x", "y", good, "0", "1", "/dev/null"], "DIMS"), (["search", "x", "y", good, "17", "1", "/dev/null"], "whole number"),
                               (["search", "host=/nowhere", "y", good, "24", "1", "/dev/null"], "cannot connect"),
                               (["-C", "1023", "search", engine.server.conninfo("vecdb"), "y", good, "24", "1", "/dev/null"], "pin"),
                               (["search", engine.server.conninfo("vecdb"), "SELECT 1 + $1", good, "24", "1", "/dev/null"], "execution"),
                               (["search", engine.server.conninfo("vecdb"), "nonsense", good, "24", "1", "/dev/null"], "prepare")):
        run = subprocess.run([program, *arguments], capture_output=True, text=True)
        expect(run.returncode != 0 and message in run.stderr, f"{arguments}: {run.returncode} {run.stderr}")


def check_refusals(server):
    for key, options, message in (("vecdb tree", {}, "no SQL engine"), ("vecdb ivfflat", {"m": 3}, "has no option"), ("vecdb exact", {"toast": "x"}, "toast is"),
                                  ("pgvector hnsw", {"m": "1) --"}, "must be a number")):
        try:
            make(key, server, **options)
        except SqlError as error:
            expect(message in str(error), str(error))
        else:
            raise AssertionError(f"{key} {options} was taken")


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit("usage: python -m harness.sql --self-test")
    sys.exit(1 if self_test() else 0)
