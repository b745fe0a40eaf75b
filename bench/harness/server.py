"""server.py: the PostgreSQL server of a run, which has vecdb and pgvector, each in a database of its own.

    with Server() as server:                        # or server = start({...}) … server.stop()
        psycopg.connect(server.conninfo("vecdb"))   # and "pgvector", where server.pgvector says its version
        server.restart(shared_buffers="128MB")

Where the server comes from is told at the head of bench/server, which this drives through a pipe: the server ends
when the pipe closes, so also when the harness is killed.
"""
import atexit
import json
import os
import re
import subprocess
import sys
import threading

import psycopg

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(TOP, "bench", "server")
DATABASES = ("vecdb", "pgvector")

# Beyond what bench/server sets: one thread builds and searches unless a comparison asks for more, and a build
# has room for what it wants.
SETTINGS = {"max_parallel_maintenance_workers": "0", "max_parallel_workers_per_gather": "0"}

# What a report says of the server, besides whatever was set.
REPORTED = ("shared_buffers", "maintenance_work_mem", "work_mem", "effective_cache_size", "max_parallel_maintenance_workers",
            "max_parallel_workers_per_gather", "wal_level", "full_page_writes", "synchronous_commit", "huge_pages",
            "huge_pages_status")
PLUMBING = ("config_file", "data_directory", "hba_file", "ident_file", "external_pid_file", "unix_socket_directories",
            "unix_socket_permissions", "listen_addresses", "port", "log_line_prefix", "log_timezone", "TimeZone",
            "application_name", "client_encoding", "DateStyle", "default_text_search_config", "dynamic_shared_memory_type",
            "lc_messages", "lc_monetary", "lc_numeric", "lc_time", "max_connections", "log_file_mode", "transaction_deferrable",
            "transaction_isolation", "transaction_read_only")


class ServerError(Exception):
    """The server could not be had; the message says why and the way out."""


def memory():
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def default_settings():
    """maintenance_work_mem is an eighth of the memory, 64 MB to 2 GB."""
    work = min(2048, max(64, memory() // 8 >> 20))
    return {**SETTINGS, "maintenance_work_mem": f"{work}MB"}


class Server:
    """One running server; a context manager. The constructor provisions, builds vecdb and starts (two minutes at most).

    settings: PostgreSQL's, by name, beyond those of bench/server. instance: which of several servers, each with a
    folder of its own; one of the same name can run once at a time. Raises ServerError.

    kind        'package', 'chroot' or 'local'
    pgvector    its version, or None; then missing says why and what to do
    pid         the postmaster, as the machine's /proc numbers it
    shm         the folder of the server's shared memory segments
    tables      for sql.py: the tables that are loaded
    """

    def __init__(self, settings=None, instance=None):
        self.asked = {**default_settings(), **(settings or {})}
        self.tables, self.numbers, self.largest = [], 0, 0
        environment = dict(os.environ)
        if instance is not None:
            environment["BENCH_INSTANCE"] = instance
        self.last_words = []
        self.process = subprocess.Popen([SCRIPT, "serve", *assignments(self.asked)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        self.echo = threading.Thread(target=self.pass_on, daemon=True)
        self.echo.start()
        atexit.register(self.stop)
        try:
            self.read_status()
        except BaseException:
            self.stop()
            raise

    def pass_on(self):
        """What the server's script says goes to standard error, as it comes; the end of it is kept for error messages."""
        for part in iter(lambda: self.process.stderr.read(1), ""):
            sys.stderr.write(part)
            sys.stderr.flush()
            self.last_words = (self.last_words + [part])[-2000:]

    def read_status(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.echo.join(5)
            said = [line for line in "".join(self.last_words).strip().splitlines() if "(all of it: " not in line] or [f"status {self.process.returncode}"]
            raise ServerError("there is no server: " + re.sub(r"^server: ", "", said[-1]))
        self.status = json.loads(line)
        self.kind, self.pgvector, self.missing = self.status["kind"], self.status["pgvector"], self.status["missing"]
        self.pid, self.shm = self.status["pid"], self.status["shm"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the server; may be called twice."""
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
            except OSError:
                pass
            try:
                self.process.wait(180)
            except subprocess.TimeoutExpired:
                self.process.terminate()
                self.process.wait()
        atexit.unregister(self.stop)

    def restart(self, **settings):
        """Restarts it with these settings besides the former ones; tables stay, connections do not."""
        self.asked.update(settings)
        try:
            self.process.stdin.write("restart " + " ".join(assignments(self.asked)) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass                                    # read_status tells what is the matter
        self.read_status()

    def conninfo(self, database):
        """For psycopg and libpq: how to connect to a database, 'vecdb' or 'pgvector'."""
        return f"host={self.status['socket']} port={self.status['port']} user=postgres dbname={database}"

    def connect(self, database):
        return psycopg.connect(self.conninfo(database), autocommit=True)

    def has(self, database):
        """(True, '') or (False, why there is no such database)."""
        if database == "vecdb" or database == "pgvector" and self.pgvector:
            return True, ""
        return False, self.missing if database == "pgvector" else f"there is no database {database}"

    def versions(self):
        """What runs, for the report: PostgreSQL, vecdb with the commit it was built from, pgvector, where the server is from."""
        with self.connect("vecdb") as db:
            found = {"PostgreSQL": value(db, "SHOW server_version"),
                     "vecdb": value(db, "SELECT extversion FROM pg_extension WHERE extname = 'vecdb'"),
                     "vecdb commit": self.status["vecdb_commit"] + (" with changes" if self.status["vecdb_dirty"] else ""),
                     "vecdb kernels": value(db, "SELECT vecdb_simd()"),
                     "compiler": re.sub(r".*compiled by (.*?)(, \d+-bit)?$", r"\1", value(db, "SELECT version()"))}
        if self.pgvector:
            with self.connect("pgvector") as db:
                found["pgvector"] = value(db, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        found["server from"] = {"package": "the distribution, with its package of pgvector", "chroot": "a chroot of Debian 13",
                                "local": "the distribution, without pgvector"}[self.kind]
        return found

    def note_size(self):
        """Takes note of how much there is to be held in memory now: all tables and indexes of both databases."""
        with self.connect("vecdb") as db:
            size = int(value(db, "SELECT sum(pg_database_size(datname)) FROM pg_database WHERE datname = ANY (%s)", [list(DATABASES)]))
        self.largest = max(self.largest, size)

    def settings(self):
        """The server's settings that bear on speed, and all that are not PostgreSQL's defaults, as a dict of strings; and
        how much data there was at most, to be compared with shared_buffers."""
        with self.connect("vecdb") as db:
            rows = db.execute("SELECT name, current_setting(name) FROM pg_settings WHERE source NOT IN ('default', 'override', 'client')"
                              " OR name = ANY (%s) ORDER BY name", [list(REPORTED)]).fetchall()
        found = {name: text for name, text in ((decode(n), decode(t)) for n, t in rows) if name not in PLUMBING}
        if self.largest:
            found["tables and indexes at most"] = f"{self.largest / 1e6:,.0f} MB"
        return found

    def new_table(self):
        """A name that no table of this run has."""
        self.numbers += 1
        return f"items_{self.numbers}"


def start(settings=None, instance=None):
    """A running Server; whoever calls it must stop() it (it also stops with the harness)."""
    return Server(settings, instance)


def decode(text):
    return text.decode() if isinstance(text, bytes) else text


def value(db, statement, parameters=None):
    """The first column of the first row."""
    return decode(db.execute(statement, parameters).fetchone()[0])


def assignments(settings):
    """['name=value', …]; raises ServerError for names and values that cannot be settings of ours."""
    for name, text in settings.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or not re.fullmatch(r"[A-Za-z0-9_.,:%+-]+", str(text)):
            raise ServerError(f"the setting {name}={text!r}: a name, and a value without spaces and quotes, such as shared_buffers=128MB")
    return [f"{name}={text}" for name, text in settings.items()]
