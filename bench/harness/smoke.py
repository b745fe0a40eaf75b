"""smoke.py: checks the harness, not the speed (make bench-smoke). Prints TAP; nothing depends on how long anything takes.

The server is the one that BENCH_HOST and BENCH_PORT name (tools/test starts one that has vecdb), else the benchmark's own.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
import xml.etree.ElementTree
from contextlib import redirect_stderr

import numpy as np

from harness import data, fake, machine, measure, peers, plots, presets, report, runs, server, sql

POINTS = []
ROWS, DIMS, QUERIES = 3000, 32, 60
LISTS = 32                  # a number of the sweep, so that it ends with all lists


class Skip(Exception):
    """The point cannot be tried here; the text says why."""


def point(promise):
    """Marks a function as a point of the test."""
    def add(function):
        POINTS.append((promise, function))
        return function
    return add


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError(f"{what or 'value'}: {got!r}, expected {expected!r}")


def close(got, expected, tolerance=1e-9, what=""):
    if got is None or abs(got - expected) > tolerance * max(1, abs(expected)):
        raise AssertionError(f"{what or 'value'}: {got!r}, expected {expected!r} (tolerance {tolerance})")


class Given(server.Server):
    """A server that runs already and has vecdb; it is not started, restarted or stopped here."""

    def __init__(self, host, port):
        self.status = {"socket": host, "port": port, "vecdb_commit": "unknown", "vecdb_dirty": False}
        self.kind, self.pgvector, self.missing = "local", None, "the server of the tests has vecdb alone"
        self.asked, self.tables, self.numbers, self.largest = {}, [], 0, 0
        self.process = self                         # as if it were one that serves
        with self.connect("postgres") as db:
            db.execute("DROP DATABASE IF EXISTS vecdb WITH (FORCE)")
            db.execute("CREATE DATABASE vecdb")
        with self.connect("vecdb") as db:
            db.execute("CREATE EXTENSION vecdb")
            folder = server.value(db, "SHOW data_directory")
        with open(os.path.join(folder, "postmaster.pid")) as file:
            self.pid = int(file.readline())
        self.shm = "/dev/shm"

    def poll(self):
        return None

    def stop(self):
        with self.connect("postgres") as db:
            db.execute("DROP DATABASE IF EXISTS vecdb WITH (FORCE)")

    def restart(self, **settings):
        raise server.ServerError("the server of the tests keeps its settings")


class State:
    """What the points share: data, a server, the run of the engines, where to write."""
    ds = run = host = folder = outcome = None


def dataset():
    if State.ds is None:
        State.ds = data.clustered(ROWS, DIMS, metric="cosine", queries=QUERIES)
    return State.ds


def options(**more):
    given = dict(passes=2, builds=2, k=10, clients=(1, 2), queries=None, timed=QUERIES, quick=False, no_writes=False, no_churn=False, seed=1, shared_buffers=None, toast="inline", out=None, top=1.0)
    return argparse.Namespace(**{**given, **more})


def the_server():
    if State.host is None:
        host = os.environ.get("BENCH_HOST")
        State.host = Given(host, int(os.environ.get("BENCH_PORT", 5432))) if host else server.start({"shared_buffers": "256MB"})
    return State.host


# ---- arithmetic on known numbers ------------------------------------------------------------------

def search(probes, recall, times):
    return {"setting": {"probes": probes}, "k": 10, "clients": 1, "queries": 1, "recall": {"10": recall},
            "passes": [{"us": t, "cpu": t / 2, "p50": t, "qps": 1e6 / t} for t in times]}


@point("a hiccup counts as twice the query's median")
def hiccups():
    import numpy as np
    passes = [np.array([10.0, 20.0]), np.array([10.0, 900.0]), np.array([11.0, 22.0])]
    equal([round(float(v), 3) for v in measure.without_hiccups(passes)], [15.0, 27.0, 16.5])


@point("medians, ranges and ratios of known numbers")
def arithmetic():
    equal(measure.median([3, None, 1, float("nan"), 2]), 2)
    equal(measure.median([]), None)
    equal(measure.spread([2, 8, 4]), (4, 2, 8))
    equal(measure.ratios([1, 2, None, 4], [2, 4, 1, None]), [0.5, 0.5, None, None])
    close(measure.growth([10, 100, 1000], [7 * 10 ** 1.5, 7 * 100 ** 1.5, 7 * 1000 ** 1.5]), 1.5)
    equal(measure.growth([10], [1]), None)
    equal(report.number(1234.5), "1,234")
    equal(report.number(0.01234), "0.012")
    equal(report.ratio_text([0.5, 0.4, 0.7]), "**0.50** (0.40–0.70)")


@point("times at equal recall are interpolated, never extrapolated")
def interpolation():
    sweep = [search(1, 0.80, [100, 200]), search(2, 0.90, [400, 800]), search(3, 0.85, [900, 900]), search(4, 0.96, [1600, 3200])]
    close(measure.at_recall(sweep, 0.85, "us")[0], 200, what="half way from 100 to 400, on the logarithm")
    close(measure.at_recall(sweep, 0.85, "us")[1], 400)
    close(measure.at_recall(sweep, 0.80, "us")[0], 100)
    close(measure.at_recall(sweep, 0.93, "cpu")[0], 400)
    equal(measure.at_recall(sweep, 0.79, "us"), None)
    equal(measure.at_recall(sweep, 0.97, "us"), None)
    equal([s["setting"]["probes"] for s in measure.front(sweep)], [1, 2, 4], "a slower setting of less recall is not used")


@point("each pass has every engine and setting once, in an order of its own")
def order():
    recalls = [[0.5, 0.6, 0.8, 0.9, 0.95, 0.97, 0.99], [1.0], [0.51, 0.62, 0.81, 0.92, 0.94, 0.98], [], [0.9, 0.8, 0.99]]
    everything = sorted((e, s) for e, own in enumerate(recalls) for s in range(len(own)))
    orders = [measure.schedule(recalls, number, seed=5) for number in range(4)]
    for one in orders:
        equal(sorted(one), everything)
    equal(len({tuple(one) for one in orders}), 4, "different orders")
    equal(measure.schedule(recalls, 2, seed=5), orders[2], "the same seed, the same order")
    for one in orders:
        if abs(one.index((0, 0)) - one.index((2, 0))) > 3:
            raise AssertionError(f"settings of like recall are not measured together: {one}")


def fakes(*engines, **more):
    ds = dataset()
    truth, _ = data.truth(ds, 100)
    for e in engines:
        e.truth = truth
    given = dict(passes=4, k=10, builds=2, k100=False, top=1.0)
    with redirect_stderr(io.StringIO()):
        return measure.Comparison(ds, engines, runs.recall_of(ds), **{**given, **more}).run()


@point("an engine that fails in the middle of a pass leaves the comparison, the others go on")
def failing():
    class Failing(fake.Fake):
        searches = 0

        def search(self, *args, **kwargs):
            self.searches += 1
            if self.searches == self.fails:
                raise RuntimeError("no more")
            return super().search(*args, **kwargs)
    for fails in (6, 7, 8, 13, 30, 31, 100):        # five searches come before the passes, 25 are one
        engine = Failing("failing")
        engine.fails = fails
        c = fakes(fake.Fake("vecdb"), engine)
        equal(([r["name"] for r in c.results], [m["reason"] for m in c.missing]), (["vecdb"], ["searching: no more"]))
        equal([len(s["passes"]) for s in c.results[0]["searches"]], [4] * 5)


@point("beside an engine that answers in one call, vecdb's times keep their hiccups")
def like_with_like():
    class OneCall(fake.Fake):
        def search(self, *args, **kwargs):
            answer = super().search(*args, **kwargs)
            answer.us = None
            return answer

    class Hiccups(fake.Fake):
        def search(self, *args, **kwargs):
            answer = super().search(*args, **kwargs)
            answer.us = answer.us.copy()
            answer.us[0] *= 100 if self.now % 7 == 0 else 1
            self.now += 1
            answer.us_mean = float(answer.us.mean())
            return answer
        now = 1
    c = fakes(Hiccups("vecdb"), OneCall("peer"), fake.Fake("slow"))
    us, peer, slow = c.results
    equal([report.like(r, "us") for r in (peer, slow)] + [report.like(peer, "cpu")], ["raw_us", "us", "cpu"])
    sums = [sum(v for v in report.values_at(us, 0.9, statistic)) for statistic in ("us", "raw_us")]
    if not sums[0] < sums[1]:
        raise AssertionError(f"the hiccups are not in the raw times: {sums}")


@point("the parts of a pass are put together in the order of its queries")
def parts_together():
    asked = list(range(100, 113))
    answers = [fake.Answer(np.array([[q] for q in part]), np.array(part, float), np.mean(part), 0.5 * np.mean(part), 1.0) for part in measure.parts(asked)]
    whole = measure.together(answers)
    equal((whole.ids[:, 0].tolist(), whole.us.tolist()), (asked, asked))
    equal((round(whole.us_mean, 6), round(whole.cpu_us, 6), whole.wall_s), (106.0, 53.0, 5.0))
    equal([len(p) for p in measure.parts([1, 2])], [1, 1])


@point("a machine that slows down during the run leaves the ratios as they are")
def drift():
    now = [1.0]

    class Drifting(fake.Fake):
        def search(self, *args, **kwargs):
            now[0] *= 1.01
            return super().search(*args, **kwargs)
    c = fakes(Drifting("vecdb", 10, 20, drift=now), Drifting("slow", 20, 40, drift=now))
    values = [report.values_at(r, 0.9, "us") for r in c.results]
    close(measure.median(measure.ratios(*values)), 0.5, 0.05, "ratio")
    if not values[0][-1] > 1.1 * values[0][0]:
        raise AssertionError("the fakes did not slow down")


@point("each pass asks the same queries of every engine, part by part; slow settings take part in fewer passes, in the same ones")
def same_queries():
    asked = []

    class Recording(fake.Fake):
        def search(self, setting, k, clients=1, queries=None, warm=None):
            asked.append((self.name, setting["probes"], np.array(queries)))
            if warm is not None and any((w == q).all() for w in warm for q in queries):
                raise AssertionError("a query was asked to warm up for itself")
            return super().search(setting, k, clients, queries)
    slow = 1e6 * measure.BUDGET / 20 / 20       # of ten queries and ten to warm up: half the time there is for ten passes of one probe, and more
    c = fakes(Recording("vecdb"), Recording("slow", slow, slow), passes=15, timed=10)
    turns = {}
    for name, probes, queries in asked:
        if len(queries) != QUERIES:
            turns.setdefault((name, probes), []).append(queries)
    whole = np.concatenate(turns["vecdb", 1][:measure.PARTS])
    equal(len(np.unique(whole, axis=0)), 10)
    for of_one in turns.values():
        if not (np.concatenate(of_one) == np.tile(whole, (len(of_one) // measure.PARTS, 1))).all():
            raise AssertionError("other queries were asked")
    numbers = {r["name"]: [{i for i, p in enumerate(s["passes"]) if p} for s in r["searches"]] for r in c.results}
    equal({len(n) for n in numbers["vecdb"]}, {15})
    equal(sorted({len(n) for n in numbers["slow"]}), [3, 5, 9])
    for few, many in zip(numbers["slow"][1:], numbers["slow"]):
        if not few <= many:
            raise AssertionError(f"passes of slow settings do not meet: {numbers['slow']}")
    equal(sum(n is not None for n in measure.ratios(*(report.values_at(r, 0.95, "us") for r in c.results))), 3)
    equal(report.timed_text(c.results[1]["searches"][-1]), "10 × 3")
    few, many = c.results[1]["searches"][-1]["percentiles"], fakes(fake.Fake("vecdb")).results[0]["searches"][0]["percentiles"]
    equal((few["samples"], report.percentile_texts({"percentiles": few}, ("p95", "p99"))), (30, ["–", "–"]))
    equal((many["samples"], many["p99"]), (4 * QUERIES, 30.0))


def as_run(c, **more):
    """The fakes' comparison as a run."""
    ds = dataset()
    return {**engines(), "results": [{**r, "data": ds.name} for r in c.results], "missing": [],
            "data": [{"name": ds.name, "rows": ROWS, "dims": DIMS, "metric": "cosine", "queries": QUERIES, "about": ""}], **more}


@point("five rows a query, one setting alone, calls from Python: the report has figures and names for them")
def other_reports():
    class FromPython(fake.Fake):
        def search(self, *args, **kwargs):
            answer = super().search(*args, **kwargs)
            answer.empty_us, answer.note = 2.5, "from Python"
            return answer
    text = report.render(as_run(fakes(fake.Fake("vecdb"), FromPython("peer", 20, 40), k=5)))
    for words in ("k = 5", "| recall@5: latency, mean, µs |", "**0.50** (0.50–0.50)", "peer ivfflat: from Python; an empty call takes 2.50 µs"):
        if words not in text:
            raise AssertionError(f"{words!r} is not in the report")
    one = as_run(fakes(fake.Fake("vecdb", probes=(3,)), fake.Fake("peer", 20, 40, probes=(4,)), passes=1))
    text = report.render(one)
    for words in ("### At the setting quoted", "| peer ivfflat | probes = 4 | 0.9000 | 180 | – | 162 | **0.39** | **0.39** |"):
        if words not in text:
            raise AssertionError(f"{words!r} is not in the report")
    if not any("latency" in what for _, _, what in report.ratio_list(one)):
        raise AssertionError("a preset's ratios cannot be compared with another run's")


@point("two runs cannot measure at once")
def locked():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lock")
        with machine.lock(path):
            equal(subprocess.run(["flock", "-n", path, "true"]).returncode, 1)
        equal(subprocess.run(["flock", "-n", path, "true"]).returncode, 0)


@point("build options reach each engine under its own name, and --help needs no set-up")
def options_mapped():
    from harness import __main__ as command
    chosen = dict(command.choose(presets.sides("hnsw", ROWS), None, {"m": 8, "ef_construction": 50}))
    equal(chosen["vecdb hnsw"], {"m": 8, "ef_construction": 50})
    equal(chosen["hnswlib HNSW"], {"M": 8, "ef_construction": 50})
    equal(chosen["svs Vamana"], {})
    done = subprocess.run(["python3", "-S", "-m", "harness.arguments", "compare", "--help"], capture_output=True, text=True)
    equal((done.returncode, "--timed" in done.stdout), (64, True), done.stderr)


@point("a peer that may not raise its priority says so")
def not_allowed():
    if os.geteuid() == 0:
        raise Skip("root may")
    peer = peers.make("usearch HNSW", threads=1)
    os.environ["BENCH_NICE"], before = "1", os.environ.get("BENCH_NICE", "0")
    try:
        if not peer.available()[0]:
            raise Skip("usearch is not installed")
        peer.load(dataset())
        peer.build()
    except peers.PeerError as error:
        if "ermi" not in str(error):
            raise
    else:
        raise AssertionError("it went on at its ordinary priority")
    finally:
        os.environ["BENCH_NICE"] = before
        peer.close()


@point("an engine that fails is reported with the reason, and the others are measured")
def broken():
    bad = [fake.Broken(f"bad-{step}", step) for step in ("available", "load", "build", "search")]
    good = fake.Fake("vecdb")
    c = fakes(bad[0], bad[1], good, bad[2], bad[3])
    equal([r["key"] for r in c.results], ["vecdb ivfflat"])
    equal(len(c.results[0]["searches"][0]["passes"]), 4)
    reasons = {m["peer"]: m["reason"] for m in c.missing}
    equal(sorted(reasons), sorted(b.key for b in bad))
    for b, words in zip(bad, ("said not to be here", "no room for the rows", "build was told to fail", "search was told to fail")):
        if words not in reasons[b.key]:
            raise AssertionError(f"{b.key}: {reasons[b.key]}")
        if b.step != "available" and not b.closed:
            raise AssertionError(f"{b.key} was not closed")


# ---- data -----------------------------------------------------------------------------------------

@point("exact neighbours agree with a second implementation, for each metric")
def truth():
    for metric in ("cosine", "l2", "ip"):
        ds = data.clustered(ROWS, DIMS, metric=metric, queries=QUERIES)
        data.truth(ds, 100)
        said = data.verify_truth(ds)
        equal(said["queries"], QUERIES, f"queries checked under {metric}")


@point("neighbours that are not the nearest are refused")
def false_truth():
    ds = data.clustered(ROWS, DIMS, metric="l2", queries=QUERIES)
    ids, distances = (a.copy() for a in data.truth(ds, 100))
    ids[3, 0], distances[3, 0] = ids[4, 99], distances[3, 0] * 0.99
    ds.memo["truth"] = (ids, distances)
    try:
        data.verify_truth(ds)
    except data.DataError:
        return
    raise AssertionError("a false neighbour was not noticed")


@point("recall is 1 for the truth, 0.5 for half of it, and counts a row once")
def recalls():
    ds = dataset()
    ids, _ = data.truth(ds, 10)
    recall, everyone = runs.recall_of(ds), list(range(QUERIES))
    equal(recall(ids, 10, everyone), 1.0)
    half = ids.copy()
    half[:, 5:] = -1
    close(recall(half, 10, everyone), 0.5)
    half[:, 5:] = half[:, :1]
    close(recall(half, 10, everyone), 0.5)
    close(recall(ids[5:10], 10, everyone[5:10]), 1.0)


# ---- engines --------------------------------------------------------------------------------------

def engines():
    """The run of the real engines, made once: vecdb on the server, and the peers that are there."""
    if State.run is None:
        State.folder = tempfile.mkdtemp(prefix="vecdb-smoke-")
        run = runs.Run("smoke", options())
        lists = {"lists": LISTS}
        try:
            run.host = the_server()
        except Exception as error:
            run.server_failed = error
        run.compare(dataset(), [("vecdb ivfflat", lists), ("vecdb exact", {}), ("faiss IVFFlat", lists), ("usearch HNSW", {"M": 8, "ef_construction": 40})],
                    extras=("insert", "churn"))
        State.outcome = run.json()
        State.run = run
    return State.outcome


def result(key):
    run = engines()
    found = next((r for r in run["results"] if r["key"] == key), None)
    if found is None:
        raise AssertionError(next((m["reason"] for m in run["missing"] if m["peer"] == key), "no reason was given"))
    return found


@point("vecdb's exact scan has recall 1")
def exact():
    for s in result("vecdb exact")["searches"]:
        equal(s["recall"]["10"], 1.0)


@point("vecdb's ivfflat with all lists has recall 1, with one list less; each is timed in each pass")
def ivfflat():
    r = result("vecdb ivfflat")
    by_probes = {s["setting"]["ivfflat.probes"]: s for s in report.plain(r) if "ivfflat.probes" in s["setting"]}
    low, high = min(by_probes), max(by_probes)
    if not by_probes[low]["recall"]["10"] < by_probes[high]["recall"]["10"]:
        raise AssertionError(f"recall does not rise from {low} to {high} probes")
    close(by_probes[high]["recall"]["10"], 1.0, 1e-3, f"recall with {high} probes of {LISTS}")
    for s in by_probes.values():
        equal(len(s["passes"]), 2)
        for p in s["passes"]:
            if not (p["us"] > 0 and p["p50"] > 0 and p["qps"] > 0):
                raise AssertionError(f"figures out of order: {p}")


@point("two clients are measured beside one; libraries are said to have one only")
def two_clients():
    both = [s for s in result("vecdb ivfflat")["searches"] if s["clients"] == 2]
    if not both:
        raise AssertionError("no search with two clients")
    for s in both:
        equal((len(s["passes"]), len(s["alone"])), (2, 2))
    for r in engines()["results"]:
        if r["name"] not in ("vecdb", "pgvector") and not report.exact(r) and "2 clients" not in r["extras"].get("not measured", {}):
            raise AssertionError(f"{r['key']}: nothing is said of two clients")


@point("one connection lives through the sweep; the first queries of a new one are timed apart")
def connections():
    cold = result("vecdb ivfflat")["extras"]["cold"]
    equal((len(cold["us"]), cold["queries"]), (measure.NEW_CONNECTIONS, QUERIES))
    if not (cold["warm"] > 0 and min(cold["us"]) > 0):
        raise AssertionError(cold)
    equal(result("usearch HNSW")["extras"].get("cold"), None)
    evicted = result("vecdb ivfflat")["extras"].get("evicted")
    if evicted and not 1 < evicted["read"] <= 2 * first_pages(evicted["pages"]):     # not the same queries
        raise AssertionError(evicted)
    if engines()["settings"] == {}:
        raise AssertionError("no settings of the server")
    engine = sql.make("vecdb exact", the_server())
    try:
        engine.load(dataset())
        first = engine.search({}, 10, queries=dataset().queries[:5])
        backend = engine.session.backend
        engine.floor(50)
        again = engine.search({}, 10, queries=dataset().queries[:5])
        equal(engine.session.backend, backend)
        if not (first.ids == again.ids).all():
            raise AssertionError("other answers over the same connection")
    finally:
        engine.close()


@point("what an index costs is measured: seconds, bytes, memory, pages, the floor")
def costs():
    r = result("vecdb ivfflat")
    build = r["builds"][-1]
    for name in ("seconds", "index_bytes"):
        if not build.get(name, 0) > 0:
            raise AssertionError(f"{name}: {build.get(name)}")
    if build["index_bytes"] < ROWS * DIMS * 4:
        raise AssertionError(f"the index has {build['index_bytes']} bytes, the vectors alone {ROWS * DIMS * 4}")
    pages = [s["pages"] for s in report.plain(r) if "ivfflat.probes" in s["setting"]]
    if not 0 < first_pages(pages[0]) < first_pages(pages[-1]):
        raise AssertionError(f"pages do not rise with effort: {pages}")
    if not (report.floor_us(r) and report.floor_us(r)[0] > 0):
        raise AssertionError("no floor")


def first_pages(pages):
    return report.first(pages, ("pages", "total", "mean")) if isinstance(pages, dict) else pages


def peer(key):
    run = engines()
    if all(r["key"] != key for r in run["results"]):
        library = key.split()[0]
        reason = next((m["reason"] for m in run["missing"] if m["peer"] == key), "")
        if peers.not_installed(library) or not installed(library):
            raise Skip(reason or "not installed")
        raise AssertionError(reason)
    return result(key)


def installed(library):
    import importlib.util
    return importlib.util.find_spec(library) is not None


@point("FAISS IndexIVFFlat takes part, and finds everything with all lists")
def faiss():
    close(max(s["recall"]["10"] for s in report.plain(peer("faiss IVFFlat"))), 1.0, 1e-3)


@point("usearch takes part")
def usearch():
    best = max(s["recall"]["10"] for s in report.plain(peer("usearch HNSW")))
    if best < 0.9:
        raise AssertionError(f"recall {best}")


# ---- output ---------------------------------------------------------------------------------------

@point("the JSON of a run is whole and survives writing and reading")
def whole():
    run = engines()
    report.check(run)
    runs.write_run(run, State.folder)
    again = runs.read_run(State.folder)
    equal(json.dumps(again, sort_keys=True), json.dumps(runs.plain(run), sort_keys=True))
    equal(runs.plain({"a": [float("nan"), np.float32(0.5), (1, None)]}), {"a": [None, 0.5, [1, None]]})
    equal([name for name in os.listdir(State.folder) if name.endswith(".new")], [])
    for name in ("cpu", "cores", "memory", "kernel", "simd"):
        if name not in run["machine"]:
            raise AssertionError(f"the machine lacks {name}")


@point("the report names every engine, its settings and what is missing")
def markdown():
    run = engines()
    run = {**run, "missing": run["missing"] + [{"peer": "absent engine", "reason": "it was not there"}]}
    text = report.render(run)
    for words in [r["key"] for r in run["results"]] + [f"lists = {LISTS}", "absent engine", "it was not there", "At equal recall", run["commit"], run["machine"]["kernel"]]:
        if words not in text:
            raise AssertionError(f"the report lacks {words!r}")
    width = {}
    for number, line in enumerate(text.splitlines()):
        if line.startswith("|"):
            cells = line.count("|")
            if width.setdefault("cells", cells) != cells:
                raise AssertionError(f"line {number + 1} of the report has {cells - 1} cells, its table {width['cells'] - 1}: {line}")
        else:
            width = {}


@point("each plot is a PNG and an SVG with the engines' names in it")
def pictures():
    run = engines()
    drawn = plots.draw(run, State.folder, "smoke")
    files = [file for found in drawn.values() for _, file in found]
    if len(files) < 2:
        raise AssertionError(f"plots: {files}")
    for file in files:
        path = os.path.join(State.folder, file)
        with open(path, "rb") as f:
            equal(f.read(8), b"\x89PNG\r\n\x1a\n", file)
        with open(path[:-4] + ".svg") as f:
            text = f.read()
        xml.etree.ElementTree.fromstring(text)
        for r in run["results"]:
            if ("recall" in file or r["builds"] and r["index"] != "exact") and r["key"] not in text:
                raise AssertionError(f"{file}: {r['key']} is not in it")


@point("inserts and churn are measured as often as builds, and the report has them")
def writes():
    found = result("vecdb ivfflat")["extras"]
    equal((len(found.get("insert", ())), len(found.get("churn", ()))), (2, 2), str(found.get("not measured")))
    text = report.render(engines())
    if "### Writes" not in text or f"% of {found['churn'][0]['rows']:,}" not in text:
        raise AssertionError("the report has no writes")


@point("a growth plot and a page for more rows come from sizes measured")
def scaling():
    from harness import scaling as page
    run = json.loads(json.dumps(runs.plain(engines())))
    run["kind"] = "scaling"
    once, power = json.dumps(run), "| 2.00 |"
    for times in (10, 100):
        if power in page.render(run):
            raise AssertionError("an exponent from too few sizes")
        more = json.loads(once)
        for d in more["data"] + more["results"]:
            d["data" if "key" in d else "name"] += f" x {times}"
        for d in more["data"]:
            d["rows"] *= times
        for r in more["results"]:
            for b in r["builds"]:
                b["seconds"], b["index_bytes"] = b["seconds"] * times**2, b["index_bytes"] * times
        run["data"] += more["data"]
        run["results"] += more["results"]
    text = page.render(run)
    big = result("vecdb ivfflat")["builds"][-1]["index_bytes"] / ROWS
    for words in (f"| index | vecdb ivfflat | {big:,.0f} | {report.bytes_text(big * 10**7)} | {report.bytes_text(big * 10**8)} |", power,
                  "| index size | vecdb ivfflat |", "| peak memory of the build, index included | vecdb ivfflat |", "| table without index | vecdb ivfflat |", "**Extrapolated**"):
        if words not in text:
            raise AssertionError(f"{words!r} is not in\n{text}")
    if plots.scaling_plot(run, os.path.join(State.folder, "growth")) != "growth.png":
        raise AssertionError("no plot")


@point("two runs are compared: the same one is within the limit, a slower one is not")
def repeats():
    c = fakes(fake.Fake("vecdb"), fake.Fake("peer", 20, 40))
    base = as_run(c)
    _, groups, same = report.compare_runs(base, base)
    equal((same, max(max(g) for g in groups.values())), (True, 0.0))
    slower = json.loads(json.dumps(runs.plain(base)))
    for s in slower["results"][0]["searches"]:
        for p in s["passes"]:
            p["us"] *= 1.2
    _, groups, same = report.compare_runs(base, slower)
    equal(same, False)
    close(max(groups["latency, mean"]), 0.2, 1e-6)
    equal(max(groups["processor time"]), 0.0)
    shorter = json.loads(json.dumps(runs.plain(base)))
    shorter.update(command="bench/run other", passes=7)
    shorter["results"][1]["searches"] = [s for s in shorter["results"][1]["searches"] if s["recall"]["10"] < 0.96]
    for pair in ((base, shorter), (shorter, base)):
        text, groups, same = report.compare_runs(*pair)
        equal((same, max(max(g) for g in groups.values())), (False, 0.0))
        for words in ("in one run only", "| passes |", "| command |"):
            if words not in text:
                raise AssertionError(f"{words!r} is not in\n{text}")


@point("wrong commands, data and files get a message that names the way out")
def messages():
    for arguments, words in ((["compare", "--data", "nonsense"], "clustered:"), (["compare", "--clients", "2"], "one client"), (["preset", "nothing"], "preset list"),
                             (["compare", "--passes", "0"], "at least 1"), (["compare", "--options", "m"], "name=value"), (["report", "nowhere"], "run.json"),
                             (["compare", "--top", "nan"], "no recall"), (["compare", "--shared-buffers", "nonsense"], "128MB"),
                             (["compare", "--data", "clustered:100x4", "--engines", "faiss"], "nothing to compare"),
                             (["compare", "--data", "clustered:100x4", "--options", "bogus=1"], "bogus"),
                             (["compare", "--data", "clustered:100x4", "--data", "hdf5:/nowhere.hdf5"], "/nowhere"),
                             (["compare", "--data", "clustered:100x4", "--engines", "nobody"], "vecdb ivfflat")):
        done = subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True, cwd=State.folder)
        if done.returncode == 0 or words not in done.stderr or "Traceback" in done.stderr:
            raise AssertionError(f"{' '.join(arguments)}: status {done.returncode}, {done.stderr.strip()[-300:]}")


def main():
    """Runs all points; 0 if none failed."""
    failed = 0
    print(f"1..{len(POINTS)}")
    try:
        for number, (promise, function) in enumerate(POINTS, 1):
            try:
                function()
                print(f"ok {number} - {promise}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {promise} # skip {reason}", flush=True)
            except Exception as error:
                failed += 1
                print(f"not ok {number} - {promise}", flush=True)
                for line in [str(error), *traceback.format_exc().splitlines()[-6:]]:
                    print(f"# {line}", flush=True)
    finally:
        if State.host is not None:
            State.host.stop()
        if State.folder:
            import shutil
            shutil.rmtree(State.folder, ignore_errors=True)
    return 1 if failed else 0
