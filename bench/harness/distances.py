"""distances.py: what one cosine distance costs, by dimension: a plain C loop, NumPy, FAISS, vecdb's kernels at each
SIMD level; with the rows in the cache, and with rows that come from memory.

    PYTHONPATH=bench python -m harness.distances [--dims 64,128,…] [--passes 5] [--cpu N] [--json FILE]

One thread; all ways in one process, taking turns; medians and ranges of the passes. A nanosecond a distance is a
millisecond for a million of them. All ways must come to the same distances (within 0.001), else it ends with an error.
"""
import argparse
import ctypes
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"         # read when NumPy and FAISS load their libraries

import numpy as np

from harness import measure

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DIMS = (64, 128, 256, 384, 512, 768, 1536, 3072)
CACHED = 256 << 10          # bytes of rows that stay in the second-level cache
STREAMED = 1 << 30          # bytes of rows that no cache holds; less where it is more than 1/8 of the memory
PASS = 0.02                 # seconds that a pass over cached rows takes at least
SCALAR_COSINE, SCALAR_IP, KERNEL_COSINE, KERNEL_IP_ROWS, FAISS_IP, FAISS_IP_ROWS = range(6)     # as in distances.c
EACH, KNOWN = "norms computed each time", "norms known"


class DistancesError(Exception):
    """Two ways disagree, or nothing can be compiled; the text says which."""


def compile_library(folder):
    """distances.c with the objects of src/kernel, loaded. The plain loops are kept from being vectorised."""
    part, path = os.path.join(folder, "distances.o"), os.path.join(folder, "distances.so")
    include = "-I" + os.path.join(TOP, "src")
    kernels = sorted(glob.glob(os.path.join(TOP, "src", "kernel", "*.c")))
    try:
        for command in (["-O2", "-fno-tree-vectorize", "-fPIC", include, "-c", os.path.join(TOP, "bench", "distances.c"), "-o", part],
                        ["-O2", "-ffp-contract=off", "-fPIC", "-shared", include, part, *kernels, "-lm", "-o", path]):
            subprocess.run(["cc", *command], check=True, capture_output=True, text=True)
    except OSError as error:
        raise DistancesError(f"no C compiler: {error}") from error
    except subprocess.CalledProcessError as error:
        raise DistancesError(f"bench/distances.c cannot be compiled: {error.stderr.strip()[-300:]}") from error
    library = ctypes.CDLL(path)
    library.level_name.restype = ctypes.c_char_p
    library.time_way.restype = ctypes.c_double
    return library


def native(library, way, level=0, function=None):
    """A function (q, rows, rounds, out) → seconds that runs a way of distances.c."""
    def run(q, rows, rounds, out):
        return library.time_way(way, level, function, ctypes.c_void_p(q.ctypes.data), ctypes.c_void_p(rows.ctypes.data),
                                len(rows), rows.shape[1], rounds, ctypes.c_void_p(out.ctypes.data))
    return run


def python(call):
    """The same for call(q, rows, out), which leaves the distances in out."""
    def run(q, rows, rounds, out):
        start = time.perf_counter()
        for _ in range(rounds):
            call(q, rows, out)
        return time.perf_counter() - start
    return run


def numpy_cosine(q, rows, out):
    np.divide(rows @ q, np.sqrt(np.einsum("ij,ij->i", rows, rows) * (q @ q)), out=out)
    np.subtract(1, out, out=out)


def numpy_ip(q, rows, out):
    np.matmul(rows, q, out=out)
    np.subtract(1, out, out=out)


def ways(library):
    """([(name, norms, function)], [{'peer', 'reason'}] for what is not here)."""
    found = [("C loop, not vectorised", EACH, native(library, SCALAR_COSINE)), ("C loop, not vectorised", KNOWN, native(library, SCALAR_IP)),
             ("NumPy", EACH, python(numpy_cosine)), ("NumPy", KNOWN, python(numpy_ip))]
    missing = []
    try:
        import faiss
        faiss.omp_set_num_threads(1)
        shared = ctypes.CDLL(os.path.join(os.path.dirname(faiss.__file__), "libfaiss.so"))
        for name, way, symbol in (("FAISS, fvec_inner_product", FAISS_IP, "_ZN5faiss18fvec_inner_productEPKfS1_m"),
                                  ("FAISS, fvec_inner_products_ny", FAISS_IP_ROWS, "_ZN5faiss22fvec_inner_products_nyEPfPKfS2_mm")):
            if hasattr(shared, symbol):
                found.append((name, KNOWN, native(library, way, 0, ctypes.cast(getattr(shared, symbol), ctypes.c_void_p))))
            else:
                missing.append({"peer": name, "reason": "this build of FAISS does not export it"})
    except (ImportError, OSError) as error:
        missing.append({"peer": "FAISS", "reason": str(error)})
    for level in range(4):
        name = library.level_name(level)
        if name:
            name = "vecdb, " + name.decode()
            found += [(name, EACH, native(library, KERNEL_COSINE, level)), (name, KNOWN, native(library, KERNEL_IP_ROWS, level))]
    return found, missing


def random_rows(floats):
    """An array of that many random floats, the same in each run."""
    return np.random.default_rng(1).standard_normal(floats, dtype=np.float32)


def unit(rows):
    """Brings the rows to unit length in place."""
    for start in range(0, len(rows), 65536):
        part = rows[start:start + 65536]
        part /= np.sqrt(np.einsum("ij,ij->i", part, part))[:, None]
    return rows


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def measure_all(dims=DIMS, passes=5, cpu=None, say=measure.say):
    """Measures everything: {'results': [{'way', 'norms', 'dims', 'where', 'ns': [a value a pass]}], 'missing': […]}.

    cpu: the processor to stay on, None for any. DistancesError where two ways disagree.
    """
    before = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        with tempfile.TemporaryDirectory(prefix="vecdb-distances-") as folder:
            found, missing = ways(compile_library(folder))
            pool = random_rows(min(STREAMED, memory() // 8) // 4)
            results = []
            for d in dims:
                for where, size in (("cache", min(CACHED, pool.nbytes)), ("memory", pool.nbytes)):
                    rows = unit(pool[:size // 4 // d * d].reshape(-1, d))
                    results += measure_rows(found, rows, where, passes)
                say(f"  {d} dimensions")
            return {"results": results, "missing": missing}
    finally:
        os.sched_setaffinity(0, before)


def measure_rows(found, rows, where, passes):
    """All ways over these rows, in turns."""
    n, d = rows.shape
    q = unit(random_rows(d).reshape(1, d))[0].copy()
    results = [{"way": name, "norms": norms, "dims": d, "where": where, "bytes": rows.nbytes, "ns": []} for name, norms, _ in found]
    out, rounds, expected = np.empty(n, np.float32), [], None
    for (name, norms, run), result in zip(found, results):
        seconds = max(run(q, rows, 1, out) for _ in range(2 if where == "cache" else 1))
        rounds.append(max(1, int(PASS / seconds)) if where == "cache" else 1)
        expected = out.copy() if expected is None else expected
        worst = float(np.abs(out - expected).max())
        if not worst < 1e-3:
            raise DistancesError(f"{name}, {norms}, {d} dimensions: a distance differs by {worst:g} from that of {found[0][0]}")
    for number in range(passes):
        for i in sorted(range(len(found)), key=lambda i: (i + number) % len(found)):
            results[i]["ns"].append(found[i][2](q, rows, rounds[i], out) / rounds[i] / n * 1e9)
    return results


def markdown(measured):
    """The tables."""
    from harness import report
    text = []
    for where, title in (("cache", "Rows in the cache"), ("memory", "Rows from memory, read once a pass")):
        for norms in (EACH, KNOWN):
            these = [r for r in measured["results"] if r["where"] == where and r["norms"] == norms]
            size = max(r["bytes"] for r in these) / (1 << 20)
            dims = sorted({r["dims"] for r in these})
            names = list(dict.fromkeys(r["way"] for r in these))
            cells = {(r["way"], r["dims"]): cell(r) for r in these}
            text += [f"{title} ({size:,.1f} MB), {norms}: ns a distance = ms a million (range), GB/s\n",
                     report.table(["way", *map(str, dims)], [[name, *(cells[name, d] for d in dims)] for name in names]), ""]
    return "\n".join(text + [f"- {m['peer']} is missing: {m['reason']}" for m in measured["missing"]])


def cell(result):
    """Median, range, and the bytes of rows a second that the median means."""
    low, middle, high = min(result["ns"]), measure.median(result["ns"]), max(result["ns"])
    digits = 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f}), {4 * result['dims'] / middle:.1f}"


def main():
    parser = argparse.ArgumentParser(prog="harness.distances", description="Times cosine distances by several means.")
    parser.add_argument("--dims", default=",".join(map(str, DIMS)), help="dimensions, separated by commas")
    parser.add_argument("--passes", type=int, default=5, help="passes, of which the median counts")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the processor to stay on")
    parser.add_argument("--json", help="a file for the figures")
    o = parser.parse_args()
    try:
        dims = [int(d) for d in o.dims.split(",")]
    except ValueError:
        parser.error(f"--dims {o.dims}: whole numbers, separated by commas, such as 64,384")
    if not all(1 <= d <= 16000 for d in dims):
        parser.error(f"--dims {o.dims}: each must be from 1 to 16000")
    if o.passes < 1:
        parser.error(f"--passes {o.passes}: must be at least 1")
    if o.cpu not in os.sched_getaffinity(0):
        parser.error(f"--cpu {o.cpu}: this process may use {', '.join(map(str, sorted(os.sched_getaffinity(0))))}")
    try:
        measured = measure_all(dims, o.passes, o.cpu)
    except DistancesError as error:
        sys.exit(f"distances: {error}")
    if o.json:
        with open(o.json, "w") as file:
            json.dump(measured, file, indent=1)
    print(markdown(measured))


if __name__ == "__main__":
    main()
