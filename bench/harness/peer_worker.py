"""peer_worker.py: the process in which one peer library runs; started by peers.py.

    python -m harness.peer_worker FD LIBRARY

Every peer has a process of its own: their OpenMP and threading runtimes do not meet, the memory of a build can be
read off the process, and a crash ends nothing else. Requests and answers are lines of JSON over the socket FD;
arrays lie in .npy files that the requests name. Output of the libraries goes to stdout and stderr, a log file.

Each class below wraps one library and answers
    describe()                                {'version': …, 'simd': …}: which build of it was loaded
    build(base, metric, kind, options, threads)   metric 'l2' or 'ip' (cosine: rows of unit length, 'ip')
    size(folder)                              (bytes of the index, how they were counted)
    search(setting, queries, k, mode)         (ids (q, <= k), microseconds of each query or None, how)
    empty(k)                                  microseconds of a call that has next to nothing to search, or None
mode 'single' is one query after another, as a server gets them; 'batch' hands the library all queries at
once, where that is not the same.
"""
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import sys
import time
import traceback

import numpy as np

from harness import machine


def importable(name):
    """The library, or an ImportError that says what to do."""
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(f"the Python module {name} cannot be loaded: {error}") from error


def timed_calls(call, queries):
    """call(query) for each query from Python: (results, microseconds of each)."""
    results, us = [], np.empty(len(queries))
    clock = time.perf_counter_ns
    before = clock()
    for i, query in enumerate(queries):
        results.append(call(query))
        after = clock()
        us[i] = (after - before) * 1e-3
        before = after
    return results, us


def empty_call(call, query, times=2000):
    """The median of microseconds that call(query) takes."""
    for _ in range(100):
        call(query)
    return statistics.median(timed_calls(call, [query] * times)[1].tolist())


def padded(rows, k):
    """Rows of found ids, some shorter than k, as an array; -1 where there is none."""
    ids = np.full((len(rows), k), -1, np.int32)
    for i, row in enumerate(rows):
        row = np.asarray(row)[:k]
        ids[i, :len(row)] = row
    return ids


def folder_bytes(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


ONE_CALL = "all queries in one native call, which answers them one after another"


BLAS_CORE = "VECDB_BENCH_BLAS_CORE"      # what OpenBLAS chose by itself, where that was replaced


def openblas_core():
    """The kernels that the OpenBLAS loaded into this process uses, such as 'SkylakeX', or None without OpenBLAS."""
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if "openblas" in line and "faiss" in line}
    for path in paths:
        function = getattr(ctypes.CDLL(path), "openblas_get_corename", None)
        if function is not None:
            function.restype = ctypes.c_char_p
            return function().decode()
    return None


def best_core():
    """The OpenBLAS kernels for the widest vectors this processor has, None if it has no AVX2."""
    with open("/proc/cpuinfo") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags):
        return "SkylakeX"
    return "Haswell" if "avx2" in flags and "fma" in flags else None


def better_blas():
    """Starts this process anew where OpenBLAS is older than the processor and fell back to SSE kernels.

    The OpenBLAS in FAISS's wheel does that on processors newer than itself; training would be three times slower.
    """
    core, best = openblas_core(), best_core()
    if core in ("Prescott", "Core2", "Penryn", "Nehalem") and best and "OPENBLAS_CORETYPE" not in os.environ:
        os.environ.update({"OPENBLAS_CORETYPE": best, BLAS_CORE: core})
        os.execv(sys.executable, [sys.executable, "-m", "harness.peer_worker", *sys.argv[1:]])


class Faiss:
    def __init__(self):
        self.faiss = importable("faiss")
        better_blas()
        path = os.path.join(os.path.dirname(self.faiss.__file__), "libfaiss.so")
        try:
            self.library = ctypes.CDLL(path)
        except OSError:
            self.library = None     # single searches go through Python then
        self.loop = None

    def use_loop(self, path):
        """The compiled faiss_loop.c."""
        self.loop = ctypes.CDLL(path).faiss_loop
        self.loop.restype = None

    def describe(self):
        faiss, simd = self.faiss, self.faiss.get_compile_options().strip()
        if hasattr(faiss, "SIMDConfig"):
            simd = faiss.SIMDConfig.get_level_name()
        core, own = openblas_core(), os.environ.get(BLAS_CORE)
        if core:
            simd += f", OpenBLAS {core}" + (f" (forced; by itself it took {own})" if own else "")
        return {"version": faiss.__version__, "simd": simd}

    def build(self, base, metric, kind, options, threads):
        faiss = self.faiss
        faiss.omp_set_num_threads(threads)
        self.index = faiss.index_factory(base.shape[1], kind.format(**options),
                                         faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)
        self.inner = self.index
        if isinstance(self.index, faiss.IndexRefine):
            self.inner = faiss.downcast_index(self.index.base_index)
        if hasattr(self.inner, "hnsw"):
            self.inner.hnsw.efConstruction = options["ef_construction"]
        self.index.train(base)
        self.index.add(base)
        faiss.omp_set_num_threads(1)
        self.prepare_loop()

    def prepare_loop(self):
        """The address of the function that index.search() would call: that of the nearest class that defines it."""
        self.function = None
        for cls in type(self.index).__mro__:
            name = f"_ZNK5faiss{len(cls.__name__)}{cls.__name__}6searchElPKflPfPlPKNS_16SearchParametersE"
            if self.library is not None and self.loop is not None and hasattr(self.library, name):
                self.function = ctypes.cast(getattr(self.library, name), ctypes.c_void_p)
                return

    def size(self, folder):
        written = 0

        def count(block):
            nonlocal written
            written += len(block)
            return len(block)
        self.faiss.write_index(self.index, self.faiss.PyCallbackIOWriter(count, 1 << 20))
        return written, "written by write_index"

    def search(self, setting, queries, k, mode):
        if "nprobe" in setting:
            self.inner.nprobe = setting["nprobe"]
        if "ef" in setting:
            self.inner.hnsw.efSearch = setting["ef"]
        if "k_factor" in setting:
            self.index.k_factor = setting["k_factor"]
        if mode == "batch":
            return self.index.search(queries, k)[1], None, "all queries in one native call"
        if self.function is None:
            found, us = timed_calls(lambda query: self.index.search(query, k)[1][0], queries[:, None, :])
            return padded(found, k), us, "one call a query from Python, its cost included"
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        us = np.empty(len(queries))
        at = [ctypes.c_void_p(a.ctypes.data) for a in (queries, distances, ids, us)]
        n, d, count = (ctypes.c_int64(v) for v in (len(queries), queries.shape[1], k))
        self.loop(self.function, ctypes.c_void_p(int(self.index.this)), at[0], n, d, count, *at[1:])
        return ids, us, "one query a call, called from C"

    def empty(self, k):
        if self.function is not None:
            return None
        one = self.faiss.IndexFlatL2(self.index.d)
        query = np.zeros((1, self.index.d), np.float32)
        one.add(query)
        return empty_call(lambda q: one.search(q, k), query)


class Hnswlib:
    def __init__(self):
        self.hnswlib = importable("hnswlib")

    def describe(self):
        return {"version": version("hnswlib"), "simd": "as compiled when it was installed (-march=native)"}

    def build(self, base, metric, kind, options, threads):
        self.index = self.hnswlib.Index(space=metric, dim=base.shape[1])
        self.index.init_index(max_elements=len(base), ef_construction=options["ef_construction"], M=options["M"], random_seed=1)
        self.index.add_items(base, num_threads=threads)
        self.index.set_num_threads(1)

    def size(self, folder):
        return self.index.index_file_size(), "index_file_size()"

    def search(self, setting, queries, k, mode):
        self.index.set_ef(setting["ef"])
        return self.index.knn_query(queries, k=k, num_threads=1)[0], None, ONE_CALL

    def empty(self, k):
        return None


class Usearch:
    def __init__(self):
        self.usearch = importable("usearch.index").index

    def describe(self):
        simd = {t: self.usearch.Index(ndim=64, metric="ip", dtype=t).hardware_acceleration for t in ("f32", "bf16")}
        return {"version": version("usearch"), "simd": ", ".join(f"{t}: {level}" for t, level in simd.items())}

    def build(self, base, metric, kind, options, threads):
        self.index = self.usearch.Index(ndim=base.shape[1], metric={"ip": "ip", "l2": "l2sq"}[metric], dtype=options["dtype"],
                                        connectivity=options["M"], expansion_add=options["ef_construction"])
        self.index.add(np.arange(len(base)), base, threads=threads, copy=True)

    def size(self, folder):
        return self.index.serialized_length, "serialized_length"

    def search(self, setting, queries, k, mode):
        self.index.expansion_search = setting["ef"]
        found = self.index.search(queries, k, threads=1)
        return found.keys.astype(np.int64).reshape(len(queries), -1), None, ONE_CALL

    def empty(self, k):
        return None


class Annoy:
    def __init__(self):
        self.annoy = importable("annoy")

    def describe(self):
        return {"version": version("annoy"), "simd": "as compiled when it was installed (-march=native)"}

    def build(self, base, metric, kind, options, threads):
        self.metric, self.dims, self.trees = {"ip": "dot", "l2": "euclidean"}[metric], base.shape[1], options["trees"]
        if options.get("unit"):
            self.metric = "angular"
        self.index = self.annoy.AnnoyIndex(self.dims, self.metric)
        self.index.set_seed(1)
        for start in range(0, len(base), 10000):
            for i, row in enumerate(base[start:start + 10000].tolist(), start):
                self.index.add_item(i, row)
        self.index.build(self.trees, n_jobs=threads)

    def size(self, folder):
        path = os.path.join(folder, "annoy")
        self.index.save(path)       # from now on the index is that file, mapped into memory, as Annoy is meant to be used
        return os.path.getsize(path), "the file written by save(), mapped into memory for searching"

    def search(self, setting, queries, k, mode):
        search_k, lists = setting["search_k"], queries.tolist()
        found, us = timed_calls(lambda query: self.index.get_nns_by_vector(query, k, search_k), lists)
        return padded(found, k), us, "one call a query from Python, its cost included"

    def empty(self, k):
        one = self.annoy.AnnoyIndex(self.dims, self.metric)
        query = [1.0] * self.dims
        one.add_item(0, query)
        one.build(1)
        return empty_call(lambda q: one.get_nns_by_vector(q, k, 1), query)


class Scann:
    def __init__(self):
        self.builder = importable("scann").scann_ops_pybind.builder

    def describe(self):
        return {"version": version("scann"), "simd": "chosen at run time"}

    def build(self, base, metric, kind, options, threads):
        self.dims, self.metric = base.shape[1], {"ip": "dot_product", "l2": "squared_l2"}[metric]
        spilling = {"soar_lambda": options["soar_lambda"]} if options.get("soar_lambda") else {}
        self.index = (self.builder(base, 10, self.metric).set_n_training_threads(threads)
                      .tree(num_leaves=options["leaves"], num_leaves_to_search=10, training_sample_size=min(len(base), 250000), **spilling)
                      .score_ah(options["dims_per_block"], anisotropic_quantization_threshold=options["threshold"])
                      .reorder(100).build())
        self.index.set_num_threads(1)

    def size(self, folder):
        self.index.serialize(folder)
        return folder_bytes(folder), "files written by serialize()"

    def search(self, setting, queries, k, mode):
        leaves, reorder = setting["leaves"], max(k, setting["reorder"])
        if mode == "batch":
            found = self.index.search_batched(queries, final_num_neighbors=k, pre_reorder_num_neighbors=reorder, leaves_to_search=leaves)[0]
            return padded(found, k), None, "all queries in one native call (search_batched)"
        found, us = timed_calls(lambda query: self.index.search(query, k, reorder, leaves)[0], queries)
        return padded(found, k), us, "one call a query from Python, its cost included"

    def empty(self, k):
        one = self.builder(np.ones((1, self.dims), np.float32), 1, self.metric).score_brute_force().build()
        return empty_call(lambda q: one.search(q, 1, 1, 1), np.ones(self.dims, np.float32))


class Svs:
    def __init__(self):
        self.svs = importable("svs")

    def describe(self):
        return {"version": version("scalable-vs"), "simd": "chosen at run time"}

    def build(self, base, metric, kind, options, threads):
        svs = self.svs
        path = os.path.join(self.folder, "base.fvecs")
        distance = {"ip": svs.DistanceType.MIP, "l2": svs.DistanceType.L2}[metric]
        if options.get("unit"):
            distance = svs.DistanceType.L2      # the order is that of the cosine, and α = 1.2 applies
        source = svs.VectorDataLoader(path, svs.DataType.float32, dims=base.shape[1])
        primary, residual = options["bits"]
        parameters = svs.VamanaBuildParameters(graph_max_degree=options["degree"], window_size=options["window"],
                                               alpha=options["alpha"] if distance == svs.DistanceType.L2 else 0.95)
        self.index = svs.Vamana.build(parameters, svs.LVQLoader(source, primary=primary, residual=residual), distance, num_threads=threads)
        self.index.num_threads = 1

    def prepare(self, base):
        """SVS compresses from a file: written before the clock starts."""
        self.svs.write_vecs(base, os.path.join(self.folder, "base.fvecs"))

    def size(self, folder):
        parts = [os.path.join(folder, part) for part in ("config", "graph", "data")]
        self.index.save(*parts)
        return folder_bytes(folder), "files written by save()"

    def search(self, setting, queries, k, mode):
        parameters = self.index.search_parameters
        window = max(k, setting["window"])
        parameters.buffer_config = self.svs.SearchBufferConfig(window, max(window, setting.get("capacity", window)))
        self.index.search_parameters = parameters
        if mode == "python":
            found, us = timed_calls(lambda query: self.index.search(query, k)[0][0], queries)
            return padded(found, k), us, "one call a query from Python, its cost included"
        return self.index.search(queries, k)[0].astype(np.int64), None, ONE_CALL

    def empty(self, k):
        return None


LIBRARIES = {"faiss": Faiss, "hnswlib": Hnswlib, "usearch": Usearch, "annoy": Annoy, "scann": Scann, "svs": Svs}


def version(package):
    from importlib import metadata
    return metadata.version(package)


def status(name):
    """A figure of /proc/self/status in bytes."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(name)


def forget_peak():
    """From now on VmHWM counts anew; False where the kernel does not let us."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def pin(cpus):
    """Every thread of this process to these processors, with a higher priority where bench/run asks for it."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), cpus)
            machine.raise_priority(int(thread))
        except ProcessLookupError:
            pass                    # it has ended meanwhile


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Worker:
    """One peer: carries out requests, a method each."""

    def __init__(self, library):
        self.cpus = os.sched_getaffinity(0)
        self.peer = LIBRARIES[library]()
        self.base = None

    def describe(self):
        return self.peer.describe()

    def load(self, base, metric, folder, loop=None):
        """Reads the rows; for cosine they are brought to unit length (a row of zeros stays one)."""
        self.unit = metric == "cosine"
        self.metric = "ip" if self.unit else metric
        self.base_path = base
        self.peer.folder = self.folder = folder
        if loop and hasattr(self.peer, "use_loop"):
            self.peer.use_loop(loop)
        return {}

    def rows(self, path):
        rows = np.ascontiguousarray(np.load(path), dtype=np.float32)
        if self.unit:
            for start in range(0, len(rows), 65536):
                part = rows[start:start + 65536]
                norms = np.linalg.norm(part, axis=1, keepdims=True)
                np.divide(part, norms, out=part, where=norms > 0)
        return rows

    def build(self, kind, options, threads, cpus=None):
        pin(set(cpus) if cpus else self.cpus)
        base = self.rows(self.base_path)
        self.peer.index = self.peer.inner = None
        if hasattr(self.peer, "prepare"):
            self.peer.prepare(base)
        known = forget_peak()
        before, cpu, start = status("VmRSS"), cpu_seconds(), time.perf_counter()
        self.peer.build(base, self.metric, kind, dict(options, unit=self.unit), threads)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        peak = max(0, status("VmHWM") - before) if known else None
        del base
        space = os.path.join(self.folder, "index")
        shutil.rmtree(space, ignore_errors=True)
        os.makedirs(space)
        size, how = self.peer.size(space)
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "index_bytes": size, "index_bytes_how": how,
                "wal_bytes": None, "threads": threads}

    def search(self, setting, queries, answer, k, mode, cpu=None, warm_up=0):
        pin({cpu} if cpu is not None else self.cpus)
        queries = self.rows(queries)
        if warm_up:
            self.peer.search(setting, queries[:warm_up], k, mode)
        queries = queries[warm_up:]
        used, start = time.process_time(), time.perf_counter()
        ids, us, note = self.peer.search(setting, queries, k, mode)
        wall, used = time.perf_counter() - start, time.process_time() - used
        ids = np.where((ids >= 0) & (ids < 2 ** 31), ids, -1).astype(np.int32)
        np.save(answer, ids)
        if us is not None:
            np.save(answer + ".us.npy", us)
            wall = float(us.sum()) * 1e-6
        return {"wall": wall, "cpu": used, "note": note, "each": us is not None}

    def empty(self, k, cpu=None):
        pin({cpu} if cpu is not None else self.cpus)
        return self.peer.empty(k)


def main(argv):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG: a build that nobody waits for ends with the harness
    with socket.socket(fileno=int(argv[1])) as link, link.makefile("rw") as lines:
        def answer(**fields):
            lines.write(json.dumps(fields) + "\n")
            lines.flush()
        try:
            worker = Worker(argv[2])
        except Exception as error:
            answer(error=str(error))
            return
        answer(result=worker.describe())
        for line in lines:
            request = json.loads(line)
            try:
                answer(result=getattr(worker, request.pop("do"))(**request))
            except Exception as error:
                traceback.print_exc()
                answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv)
