"""peers.py: the in-process engines, libraries from PyPI that a user would pick instead.

Each runs in a process of its own (peer_worker.py), searches with one thread pinned to one processor, and gets the
same vectors as everyone: as stored for l2 and ip, of unit length for cosine (what counts are the ids). Builds may use
more threads. Nobody pays for Python where the library lets us avoid it: Pass.note says how queries were put, and
Pass.empty_us what a call costs where Python lies between them (it is contained in the latencies).

    for peer in all_peers(threads=2, cpu=1): …        # every entry of CATALOGUE
    make("faiss IVFFlat", lists=500)                  # one of them, with options of one's own
    make("faiss IVFFlat (batch)")                     # the same index, asked all queries in one call
"""
import atexit
import ctypes
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zlib

import numpy as np

from . import machine
from .engine import EF, PROBES, Engine, Pass, ladder
from .measure import WARM_UP

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(machine.WORK, "peers")


class PeerError(Exception):
    """A peer could not do what was asked; the text says why."""


def by_ef(options):
    return [{"ef": ef} for ef in EF]


def by_probes(options):
    return [{"nprobe": p} for p in ladder(PROBES, options["lists"])]


def by_probes_and_factor(options):
    return [{"nprobe": p, "k_factor": f} for p in ladder(PROBES, options["lists"]) for f in (2, 4, 8, 16, 32, 64)]


def by_search_k(options):
    return [{"search_k": v} for v in (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400)]


def by_leaves_and_reorder(options):
    return [{"leaves": p, "reorder": r} for p in ladder(PROBES, options["leaves"]) for r in (20, 40, 80, 160, 320)]


def by_window(options):
    return [{"window": w, "capacity": int(w * c)} for w in (10, 14, 20, 28, 40, 56, 80, 112, 160, 240, 400) for c in (1, 1.5, 2)]


def lists(n, d):
    """About 2 √n, as vecdb chooses."""
    return max(1, min(n // 39, round(2 * n ** 0.5)))


def subquantizers(n, d):
    """One for two dimensions; for odd dimensions the largest number that divides them."""
    return next(m for m in range(max(1, d // 2), 0, -1) if d % m == 0)


# key: (library, what the worker builds, sweep, default options: values, or functions of n and d)
CATALOGUE = {
    "faiss exact": ("faiss", "Flat", lambda options: [{}], {}),
    "faiss IVFFlat": ("faiss", "IVF{lists},Flat", by_probes, {"lists": lists}),
    "faiss HNSW": ("faiss", "HNSW{M},Flat", by_ef, {"M": 16, "ef_construction": 200}),
    "faiss IVFPQFastScan+refine": ("faiss", "IVF{lists},PQ{m}x4fs,RFlat", by_probes_and_factor, {"lists": lists, "m": subquantizers}),
    "faiss IVFRaBitQFastScan+refine": ("faiss", "IVF{lists},RaBitQfs,RFlat", by_probes_and_factor, {"lists": lists}),
    "faiss IVFPQ": ("faiss", "IVF{lists},PQ{m}x{bits}", by_probes, {"lists": 4096, "m": 16, "bits": 8}),
    "hnswlib HNSW": ("hnswlib", "", by_ef, {"M": 16, "ef_construction": 200}),
    "usearch HNSW": ("usearch", "", by_ef, {"M": 16, "ef_construction": 200, "dtype": "f32"}),
    "annoy trees": ("annoy", "", by_search_k, {"trees": 50}),
    "scann tree-AH+reorder": ("scann", "", by_leaves_and_reorder, {"leaves": lists, "dims_per_block": 2, "threshold": 0.2, "soar_lambda": 1.5}),
    "svs Vamana": ("svs", "", by_window, {"degree": 32, "window": 200, "alpha": 1.2, "bits": (4, 8)}),
}
# The same indexes asked all queries in one call, where that is more than a loop over single ones: what the library can do
# for whoever has many queries at once. No server that gets them one by one can.
BATCH = " (batch)"
CATALOGUE.update({key + BATCH: CATALOGUE[key] for key in list(CATALOGUE) if key.split()[0] in ("faiss", "scann") and "HNSW" not in key})
TWO_PARAMETERS = {by_probes_and_factor, by_leaves_and_reorder, by_window}
NOT_MEASURED = object()
TRIAL_QUERIES = 400
PACKAGES = {"faiss": "faiss-cpu", "svs": "scalable-vs"}


def make(key, threads=2, cpu=None, **options):
    """The peer of that key of CATALOGUE; options replace its defaults.

    threads: of the build, from 1; cpu: the processor a search is pinned to, None for not at all. Option values are those
    of the library. PeerError for an unknown key or option.
    """
    if key not in CATALOGUE:
        raise PeerError(f"no peer is called {key!r}; there are: {', '.join(CATALOGUE)}")
    defaults = CATALOGUE[key][3]
    unknown = [name for name in options if name not in defaults]
    if unknown:
        raise PeerError(f"{key} has no option {', '.join(unknown)}; it has: {', '.join(defaults) or 'none'}")
    return Peer(key, threads, cpu, options)


def all_peers(keys=None, threads=2, cpu=None):
    """The peers of these keys; by default all but the batch ones and FAISS's IVFPQ without refinement, which a preset wants."""
    return [make(key, threads, cpu) for key in (keys or [key for key in CATALOGUE if key != "faiss IVFPQ" and not key.endswith(BATCH)])]


class Worker:
    """The process of a peer."""

    def __init__(self, library, threads):
        os.makedirs(WORK, exist_ok=True)
        self.folder = tempfile.mkdtemp(prefix=library + "-", dir=WORK)
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        ours, theirs = socket.socketpair()
        env = dict(os.environ, PYTHONPATH=os.path.dirname(HERE))
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            env[name] = str(threads)
        env.setdefault("OMP_WAIT_POLICY", "passive")    # threads that spin for each other take ten times as long under load
        self.log = os.path.join(self.folder, "log")
        with theirs, open(self.log, "w") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "harness.peer_worker", str(theirs.fileno()), library],
                                            pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self.link = ours
        self.lines = ours.makefile("rw")
        try:
            self.about = self.receive()
        except PeerError:
            self.close()
            raise

    def ask(self, do, **fields):
        """Carries out one request; PeerError if it failed or the process has died."""
        try:
            self.lines.write(json.dumps(dict(fields, do=do)) + "\n")
            self.lines.flush()
        except OSError:
            pass                    # receive() tells how it ended
        return self.receive()

    def receive(self):
        try:
            line = self.lines.readline()
        except OSError:
            line = ""
        if not line:
            raise PeerError(self.epitaph())
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["result"]

    def epitaph(self):
        """How the process ended."""
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        with open(self.log, errors="replace") as log:
            last = [line.strip() for line in log if line.strip()][-1:]
        return f"the library's process ended with {how}" + (f": {last[0][:300]}" if last else "")

    def close(self):
        self.lines.close()
        self.link.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Peer(Engine):
    """One library with one kind of index; made by make()."""

    def __init__(self, key, threads, cpu, options):
        self.library, self.kind, self.sweep, self.defaults = CATALOGUE[key]
        self.name, self.index = key.split(" ", 1)
        self.key, self.mode = key, "batch" if key.endswith(BATCH) else "single"
        self.threads, self.cpu, self.chosen = threads, cpu, options
        self.options, self.about, self.worker, self.ds, self.front, self.empty_us = dict(options), {}, None, None, None, NOT_MEASURED

    def available(self):
        """(True, '') if the library is there and runs on this processor, else (False, why)."""
        reason = not_installed(self.library)
        try:
            self.start()
            return True, ""
        except PeerError as error:
            return False, reason or str(error)

    def start(self):
        if self.worker is None:
            self.worker = Worker(self.library, self.threads)
            self.about = self.worker.about

    def load(self, ds):
        """Hands the rows to the worker: {'version', 'simd'} of the library. Options that depend on them are settled."""
        self.ds = ds
        n, d = ds.base.shape
        self.options = {name: value(n, d) if callable(value) else value for name, value in self.defaults.items()}
        self.options.update(self.chosen)
        if ds.metric == "l2":
            self.options.pop("soar_lambda", None)       # SOAR is for inner products
        self.start()
        self.worker.ask("load", base=array_file(ds.base), metric=ds.metric, folder=self.worker.folder,
                        loop=native_loop() if self.library == "faiss" else None)
        return dict(self.about)

    def build(self):
        """Builds with self.threads threads; seconds and peak memory are of the build alone, the rows already in memory.

        index_bytes_how tells how index_bytes was found.
        """
        self.front = None
        self.built = self.worker.ask("build", kind=self.kind, options=self.options, threads=self.threads)
        return self.built

    def settings(self):
        """The sweep, from fast to accurate.

        Where two parameters work together, all combinations are tried once on TRIAL_QUERIES of the queries, and those
        kept that no other one beats in recall@10 and processor time (by more than 3 %): a dozen at most.
        """
        if self.front is None:
            self.front = self.sweep(self.options)
            if self.sweep in TWO_PARAMETERS:
                self.front = pareto(self.front, *self.try_all(self.front))
        return self.front

    def try_all(self, settings):
        """(recalls, microseconds of processor time a query) of each setting, tried once."""
        from . import data
        asked = np.arange(0, len(self.ds.queries), max(1, len(self.ds.queries) // TRIAL_QUERIES))
        k = min(10, len(self.ds.base))
        recalls, times = [], []
        for setting in settings:
            answer = self.search(setting, k, queries=self.ds.queries[asked])
            whole = np.full((len(self.ds.queries), k), -1, np.int32)
            whole[asked] = answer.ids
            recalls.append(data.recall(self.ds, whole, k) * len(whole) / len(asked))
            times.append(answer.cpu_us)
        return recalls, times

    def search(self, setting, k, clients=1, queries=None, warm=None):
        """A Pass; clients must be 1. Settings are those of the sweep: {'ef': 64}, {'nprobe': 8, 'k_factor': 4}, …"""
        if clients != 1:
            raise PeerError("an in-process peer is measured with one client")
        queries = self.ds.queries if queries is None else queries
        question = os.path.join(self.worker.folder, "queries.npy")
        answer = os.path.join(self.worker.folder, "answer.npy")
        warm = queries[-WARM_UP:] if warm is None else warm
        np.save(question, np.concatenate([warm, queries]).astype(np.float32))
        out = self.worker.ask("search", setting=setting, queries=question, answer=answer, k=k, mode=self.mode, cpu=self.cpu, warm_up=len(warm))
        us = np.load(answer + ".us.npy") if out["each"] else None
        number = max(1, len(queries))
        return Pass(ids=np.load(answer), us=us, us_mean=out["wall"] / number * 1e6, cpu_us=out["cpu"] / number * 1e6, wall_s=out["wall"],
                    note=out["note"], empty_us=self.empty(k))

    def empty(self, k):
        """Microseconds of an empty call where Python lies between queries, None elsewhere."""
        if self.mode == "batch":
            return None
        if self.empty_us is NOT_MEASURED:
            self.empty_us = self.worker.ask("empty", k=k, cpu=self.cpu)
        return self.empty_us

    def close(self):
        if self.worker is not None:
            self.worker.close()
        self.worker = None


def pareto(settings, recalls, times, most=12, tolerance=0.03):
    """The settings that no other one beats in recall and, by more than the tolerance, in time; by rising time.

    settings, recalls and times are lists of like length. Of more than `most`, those are dropped whose neighbours are nearest
    in the logarithm of what they miss, so that 0.98 and 0.99 are as far apart as 0.80 and 0.90.
    """
    def missed(point):
        return math.log(1.002 - point[1])

    points = sorted(zip(times, recalls, range(len(settings))))
    kept = [p for p in points if not any(r >= p[1] and t < p[0] * (1 - tolerance) or r > p[1] and t <= p[0] for t, r, _ in points)]
    while len(kept) > most:
        gaps = [missed(kept[i - 1]) - missed(kept[i + 1]) for i in range(1, len(kept) - 1)]
        del kept[1 + gaps.index(min(gaps))]
    return [settings[i] for _, _, i in kept]


def not_installed(library):
    """Why bench/run could not install it, as noted in build/bench/peers.json, or ''."""
    try:
        with open(os.path.join(WORK, "..", "peers.json")) as file:
            note = json.load(file).get(PACKAGES.get(library, library)) or {}
        return note.get("reason") or ""
    except (OSError, ValueError):
        return ""


files = {}


def array_file(rows):
    """A .npy file with the rows for the workers, written once an array; removed when the harness ends."""
    key = (id(rows), rows.shape, zlib.crc32(np.ascontiguousarray(rows[:: max(1, len(rows) // 64)])))
    if key not in files:
        os.makedirs(WORK, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix="base-", suffix=".npy", dir=WORK)
        os.close(handle)
        atexit.register(lambda: os.path.exists(path) and os.remove(path))
        np.save(path, rows)
        files[key] = path
    return files[key]


def native_loop():
    """The path of the compiled faiss_loop.c, or None without a compiler (then Python calls once a query)."""
    source, path = os.path.join(HERE, "..", "faiss_loop.c"), os.path.join(WORK, "faiss_loop.so")
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        new = f"{path}.{os.getpid()}"
        try:
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", new], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        os.replace(new, path)
    try:
        ctypes.CDLL(path)
    except OSError:
        return None
    return path
