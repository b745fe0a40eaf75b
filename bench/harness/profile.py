"""profile.py: where a backend's time goes while it searches, by perf (Linux), function by function."""
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

import numpy as np

from harness import data, measure, report, runs, sql

SECONDS = 6                 # of recording, a setting
FREQUENCY = 1999            # samples a second
LEAST = 0.7                 # percent: what is below is summed up


def measure_all(run, specs, index, settings):
    """Profiles vecdb's index on each data set at each setting; returns the Markdown."""
    perf = shutil.which("perf")
    if perf is None:
        raise runs.RunError("perf is not installed (Debian: apt-get install linux-perf)")
    parts = []
    for spec in specs:
        ds = data.load(spec)
        data.truth(ds, 10)
        engine = sql.make(f"vecdb {index}", run.server())
        try:
            engine.load(ds)
            engine.build()
            for setting in settings:
                answer = engine.search(setting, 10)
                measure.say(f"  {ds.name}, {report.options_text(setting)}: {answer.us_mean:.0f} µs")
                shares = record(perf, engine, setting, answer.us_mean)
                recall = data.recall(ds, answer.ids, 10)
                run.figures.setdefault("profiles", []).append({"data": ds.name, "setting": setting, "us": answer.us_mean, "recall": recall, "shares": shares})
                parts += [f"## {ds.name} ({len(ds.base):,} × {ds.base.shape[1]}), {report.options_text(setting)}: recall@10 {recall:.4f}, {answer.us_mean:,.0f} µs a query\n",
                          rooms(shares), functions(shares)]
        finally:
            engine.close()
    return "\n".join(parts)


def record(perf, engine, setting, us):
    """[(share in percent, library, function), …] of the backend's samples while it searches."""
    repeats = max(1, int((SECONDS + 3) * 1e6 / us / len(engine.ds.queries)))
    queries = np.tile(engine.ds.queries, (repeats, 1))
    failed = []

    def search():
        try:
            engine.search(setting, 10, queries=queries)
        except Exception as error:
            failed.append(error)
    thread = threading.Thread(target=search)
    thread.start()
    backend = engine.session.backend
    with tempfile.TemporaryDirectory(prefix="vecdb-perf-") as work:
        path = os.path.join(work, "data")
        time.sleep(0.5)
        done = subprocess.run([perf, "record", "-q", "-F", str(FREQUENCY), "-p", str(backend), "-o", path, "--", "sleep", str(SECONDS)],
                              capture_output=True, text=True)
        listing = subprocess.run([perf, "report", "--stdio", "-q", "-i", path, "--no-children", "--sort", "dso,symbol", "-w", "40,60"],
                                 capture_output=True, text=True)
        thread.join()
    if failed:
        raise failed[0]
    shares = [(float(m[1]), os.path.basename(m[2]), re.sub(r"(\s+-)*\s*$", "", m[3])) for m in re.finditer(r"^\s*([\d.]+)%\s+(\S+)\s+\[[^\]]*\]\s+(.*)$", listing.stdout, re.M)]
    if not shares:
        raise runs.RunError(f"perf recorded nothing: {(done.stderr or listing.stderr).strip()[:300]}")
    return shares


# The rooms of a search, by the names of functions; the first that matches counts.
ROOMS = (("distances", r"l2sq|_ip|ip_|cosine|normsq|kernel"), ("choosing lists", r"centroid|list_order|rank"),
         ("pages: pin, lock, check, prefetch", r"page|Buffer|buffer|LWLock|ReadRecent|next_batch|prefetch|BufTable|hash_search|ResourceOwner"),
         ("candidates and their order", r"heap_|sift|candidate|sort|pairing|push|pop|select"),
         ("rows of the table", r"heap|Heap|tuple|Tuple|index_fetch|slot|detoast|visib|Visib|XidIn|TransactionId"))


def rooms(shares):
    """Shares summed up by room: vecdb's own functions by what they do, the server, the kernel."""
    sums = {}
    for share, library, name in shares:
        own = library.startswith("vecdb")
        room = "system calls and the kernel" if library == "[kernel.kallsyms]" or library.startswith("[k") else next(
            (r for r, pattern in ROOMS if re.search(pattern, name)), "the rest of vecdb" if own else "executor, protocol, the rest of the server")
        sums[room] = sums.get(room, 0) + share
    return report.table(["what", "% of the backend's time"], [[room, f"{share:.1f}"] for room, share in sorted(sums.items(), key=lambda s: -s[1])])


def functions(shares):
    rows = [[f"`{name}`", library, f"{share:.1f}"] for share, library, name in shares if share >= LEAST]
    return report.table(["function", "in", "%"], rows + [["all others", "", f"{sum(s for s, _, _ in shares if s < LEAST):.1f}"]], left=2)
