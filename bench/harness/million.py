"""million.py: one million cosine distances of one query, by several means; one thread.

Without a server (distances.py): a plain C loop, NumPy, FAISS and vecdb's kernels, with rows in the cache and rows from memory. Over
SQL: a sequential scan that computes <=> for each row, at each SIMD level.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

from harness import data, machine, measure, report

DIMS = 128
LEVELS = ("scalar", "avx2", "avx512", "neon")


def measure_all(run, rows):
    """Measures all of them and returns the Markdown; what cannot be had is added to run.missing."""
    parts = []
    measure.say("  without a server: a minute")
    try:
        parts += ["## Without a server\n", libraries(run)]
    except Exception as error:
        run.missing.append({"peer": "distances without a server", "reason": first_line(error)})
    measure.say(f"  over SQL: making and loading {rows:,} rows")
    try:
        parts += [f"## Over SQL: {rows:,} rows, {DIMS} dimensions\n", over_sql(run, data.load(f"clustered:{rows}x{DIMS}:1:cosine", max_queries=1))]
    except Exception as error:
        run.missing.append({"peer": "distances over SQL", "reason": first_line(error)})
    return "\n".join(parts)


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def libraries(run):
    """distances.py in a process of its own, whose libraries use one thread."""
    with tempfile.TemporaryDirectory(prefix="vecdb-million-") as work:
        path = os.path.join(work, "figures")
        done = subprocess.run([sys.executable, "-m", "harness.distances", "--passes", str(run.options.passes), "--json", path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=machine.raise_priority)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
        with open(path) as file:
            run.figures["distances"] = json.load(file)
        return done.stdout


def over_sql(run, ds):
    """A sequential scan with <=> at each SIMD level, passes interleaved; without parallel workers. count(*) is what the scan alone takes."""
    from harness import sql
    engine = sql.make("vecdb exact", run.server())
    try:
        engine.load(ds)
        table, passes = engine.table.name, run.options.passes
        with run.server().connect("vecdb") as db:
            db.execute("LOAD 'vecdb'")
            machine.raise_priority(int(db.execute("SELECT pg_backend_pid()").fetchone()[0]))
            jobs = [("the scan alone", "auto", f"SELECT count(*) FROM {table}")]
            for level in LEVELS:
                try:
                    db.execute(f"SET vecdb.simd = '{level}'")
                except Exception:
                    continue        # this processor has no such level
                jobs.append((f"<=>, {level}", level, f"SELECT sum(v <=> {sql.literal(ds.queries[0])}) FROM {table}"))
            seconds, sums = {name: [] for name, _, _ in jobs}, set()
            for number in range(-1, passes):        # the first one warms up
                measure.say(f"  over SQL: pass {number + 1} of {passes}" if number >= 0 else "  over SQL: warming up")
                turn = number % len(jobs)
                for name, level, statement in jobs[turn:] + jobs[:turn]:
                    db.execute(f"SET vecdb.simd = '{level}'")
                    start = time.perf_counter()
                    answer = db.execute(statement).fetchone()[0]
                    if number >= 0:
                        seconds[name].append(time.perf_counter() - start)
                    if "sum" in statement:
                        sums.add(answer)
        if len(sums) != 1:
            raise RuntimeError(f"the sums of all distances differ between SIMD levels: {sorted(sums)}")
        run.figures["sql"] = {"rows": len(ds.base), "dims": DIMS, "seconds": seconds}
        alone = measure.median(seconds["the scan alone"])
        return report.table(["", "ms, median", "range", "ns a row", "without the scan"],
                            [[name, report.number(1e3 * measure.median(s)), f"{1e3 * min(s):,.0f}–{1e3 * max(s):,.0f}", report.number(1e9 * measure.median(s) / len(ds.base)),
                              report.number(1e9 * (measure.median(s) - alone) / len(ds.base)) if "<=>" in name else ""] for name, s in seconds.items()])
    finally:
        engine.close()
