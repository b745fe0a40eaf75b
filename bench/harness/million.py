"""million.py: one million cosine distances of one query, by several means; one thread.

Plain Python, NumPy, FAISS, vecdb's kernels alone (bench/million.c) and vecdb over SQL, the latter two at each SIMD
level. The sums of all distances must agree, so that nobody computes less.
"""
import glob
import json
import math
import os
import subprocess
import sys
import tempfile
import time

from harness import data, machine, measure, report

DIMS = 128


def measure_all(run, rows):
    """Measures all of them and returns the Markdown section; what cannot be had is added to run.missing."""
    ds = data.load(f"clustered:{rows}x{DIMS}:1:cosine", max_queries=1)
    figures, sums = [], {}
    with tempfile.TemporaryDirectory(prefix="vecdb-million-") as work:
        path = os.path.join(work, "rows")
        with open(path, "wb") as file:
            ds.queries[:1].tofile(file)
            ds.base.tofile(file)
        for what, function in (("kernels", lambda: kernels(path, rows, run.options.passes, work)), ("Python", lambda: libraries(path, rows, run.options.passes)),
                               ("vecdb over SQL", lambda: over_sql(run, ds))):
            measure.say(f"  {what}")
            try:
                for name, seconds, total, how in function():
                    figures.append((name, seconds, how))
                    sums[name] = total
            except Exception as error:
                run.missing.append({"peer": what, "reason": (str(error).strip() or type(error).__name__).splitlines()[0]})
    if figures:
        best = min((measure.median(s), name) for name, s, _ in figures)[0]
        expected = sorted(sums.values())[len(sums) // 2]
        for name, total in sums.items():
            if abs(total - expected) > 1e-3 * abs(expected):
                run.missing.append({"peer": name, "reason": f"its distances sum up to {total:.6g}, those of the others to {expected:.6g}"})
    run.data.append({"name": ds.name, "label": ds.name, "rows": rows, "dims": DIMS, "metric": "cosine", "queries": 1, "about": ds.about})
    return "\n".join([f"## {rows:,} cosine distances of one query, {DIMS} dimensions\n",
                      "One thread; the rows lie in memory. Each way's distances sum up to the same (to 1 in 1,000).\n",
                      report.table(["way", "ms, median", "range", "ns a distance", "× the fastest", "how"],
                                   [[name, report.number(1e3 * measure.median(s)), f"{1e3 * min(s):,.0f}–{1e3 * max(s):,.0f}",
                                     report.number(1e9 * measure.median(s) / rows), f"{measure.median(s) / best:.1f}", how]
                                    for name, s, how in sorted(figures, key=lambda f: measure.median(f[1]))])]) if figures else "Nothing could be measured.\n"


def kernels(path, rows, passes, work):
    """vecdb's kernels without a server: (name, seconds of each pass, sum, how) for each SIMD level."""
    program = os.path.join(work, "million")
    source = sorted(glob.glob(os.path.join(machine.TOP, "src", "kernel", "*.c")))
    subprocess.run(["cc", "-O2", "-ffp-contract=off", "-I" + os.path.join(machine.TOP, "src"), os.path.join(machine.TOP, "bench", "million.c"),
                    *source, "-lm", "-o", program], check=True, capture_output=True, text=True)
    out = subprocess.run([program, path, str(rows), str(DIMS), str(passes)], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        name, *numbers = line.split()
        *seconds, total = map(float, numbers)
        yield f"vecdb's kernel, {name}", seconds, total, "bench/million.c, norms computed each time"


def libraries(path, rows, passes):
    """Python, NumPy and FAISS in a process of its own, whose libraries use one thread."""
    env = dict(os.environ, **{name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})
    out = subprocess.run([sys.executable, "-m", "harness.million", path, str(rows), str(passes)], check=True, capture_output=True, text=True, env=env).stdout
    for name, seconds, total, how in json.loads(out):
        yield name, seconds, total, how


def in_process(path, rows, passes):
    """What libraries() runs."""
    import numpy as np
    everything = np.fromfile(path, np.float32).reshape(rows + 1, DIMS)
    query, base = everything[0], everything[1:]
    ways = []

    def plain():
        """A list a row, as a script without libraries would have it."""
        q, total = query.tolist(), 0.0
        spent = 0.0
        for s in range(0, rows, 10_000):
            chunk = base[s:s + 10_000].tolist()
            start = time.perf_counter()
            for row in chunk:
                ab = aa = bb = 0.0
                for a, b in zip(q, row):
                    ab += a * b
                    aa += a * a
                    bb += b * b
                total += 1 - ab / math.sqrt(aa * bb)
            spent += time.perf_counter() - start
        return total, spent

    def numpy_all():
        return float((1 - (base @ query) / (np.sqrt(np.einsum("ij,ij->i", base, base)) * np.linalg.norm(query))).sum(dtype=np.float64))

    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    unit_query = query / np.linalg.norm(query)

    def numpy_unit():
        return float((1 - unit @ unit_query).sum(dtype=np.float64))

    ways.append(("NumPy", numpy_all, "matrix product, norms computed each time"))
    ways.append(("NumPy, unit vectors", numpy_unit, "matrix product, norms known before"))
    try:
        import faiss
        faiss.omp_set_num_threads(1)
        ways.append(("FAISS, unit vectors", lambda: float((1 - faiss.pairwise_distances(unit_query[None], unit, faiss.METRIC_INNER_PRODUCT)).sum(dtype=np.float64)),
                     "pairwise_distances, inner product, norms known before"))
    except ImportError:
        pass
    seconds, sums = {name: [] for name, _, _ in ways}, {}
    for number in range(passes):
        for name, function, _ in ways[number % len(ways):] + ways[:number % len(ways)]:
            start = time.perf_counter()
            sums[name] = function()
            seconds[name].append(time.perf_counter() - start)
    found = [(name, seconds[name], sums[name], how) for name, _, how in ways]
    total, spent = plain()
    return found + [("Python, no library", [spent], total, "a loop over floats, once")]


def over_sql(run, ds):
    """A sequential scan with <=> at each SIMD level, passes interleaved; without parallel workers."""
    from harness import sql
    engine = sql.make("vecdb exact", run.server())
    try:
        engine.load(ds)
        db = run.server().connect("vecdb")
        statement = f"SELECT sum(v <=> {sql.literal(ds.queries[0])}) FROM {engine.table.name}"
        db.execute("SET max_parallel_workers_per_gather = 0")
        db.execute("LOAD 'vecdb'")
        levels = []
        for level in ("scalar", "avx2", "avx512", "neon"):
            try:
                db.execute(f"SET vecdb.simd = '{level}'")
                levels.append(level)
            except Exception:
                pass
        seconds, sums = {level: [] for level in levels}, {}
        for number in range(run.options.passes):
            for level in levels[number % len(levels):] + levels[:number % len(levels)]:
                db.execute(f"SET vecdb.simd = '{level}'")
                start = time.perf_counter()
                sums[level] = db.execute(statement).fetchone()[0]
                seconds[level].append(time.perf_counter() - start)
        for level in levels:
            yield f"vecdb over SQL, {level}", seconds[level], float(sums[level]), "SELECT sum(v <=> $1) FROM items, rows in shared buffers"
    finally:
        engine.close()


if __name__ == "__main__":
    print(json.dumps(in_process(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
