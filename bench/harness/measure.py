"""measure.py: runs the engines of a comparison side by side, and does its arithmetic.

A comparison has passes. In each pass every engine answers at every one of its settings; the order is
mixed anew for each pass (by a seed), and settings of like recall of all engines stay together, so
that a machine that gets slower or faster meanwhile does so for all. What is compared within a pass is
thus a second or two apart. Passes are short and many: what disturbs a shared machine lasts longer than that. A ratio is formed pass by pass; what is reported is the median and the range.

Everything measured goes into plain dictionaries that become the JSON of the run; report.py and plots.py
work from that JSON alone.

A search is recorded as
    {"setting": {…}, "k": 10, "clients": 1, "queries": 1000, "recall": {"1": …, "10": …},
     "passes": [{"us":…, "p50":…, "p95":…, "p99":…, "cpu":…, "qps":…}, …], "pages": …, "note": …}
with us, p50, p95, p99 in microseconds a query as the client sees it (percentiles None where an engine
answers all queries in one native call), cpu in microseconds of processor time a query (client and
backend, or the process), qps in queries a second. Lists over passes run alike in all searches.
"""
import math
import random
import statistics
import sys
import time
import traceback

TARGETS = (0.80, 0.90, 0.95, 0.98, 0.99)
STATISTICS = {"us": "latency, mean", "cpu": "processor time", "p50": "latency, p50"}
MIN_PASS = 0.08             # seconds that a pass of a fast search lasts at least, by repeating it
MAX_REPEATS = 8
MIN_QUERIES = 40            # a slow search is timed on a part of the queries, but on so many at least
LONG_BUILD = 60             # seconds; a build that takes longer is not repeated
EXACT_QUERIES = 10          # of an exact scan, which takes as long for any query


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- arithmetic -----------------------------------------------------------------------------------

def median(values):
    """The median of the numbers among values, None if there are none."""
    numbers = [v for v in values if v is not None and not math.isnan(v)]
    return statistics.median(numbers) if numbers else None


def spread(values):
    """(median, smallest, largest) of the numbers among values, None if there are none."""
    numbers = [v for v in values if v is not None and not math.isnan(v)]
    return (statistics.median(numbers), min(numbers), max(numbers)) if numbers else None


def ratios(ours, theirs):
    """Pass by pass: ours[i] / theirs[i], None where one of them is missing or zero."""
    return [a / b if a is not None and b else None for a, b in zip(ours, theirs)]


def column(search, statistic):
    """One statistic of a search, a value a pass."""
    return [p.get(statistic) for p in search["passes"]]


def curves(result, k=10, clients=1):
    """The searches of an engine, grouped into curves: those which set the same names belong together.

    Returns a list of (names, searches); an engine that is swept in two ways (probes, declared recall) has
    two curves. A search with nothing set joins the curve whose searches say so ("curve"), else stands alone.
    """
    groups = {}
    for search in result["searches"]:
        if search["k"] == k and search["clients"] == clients:
            groups.setdefault(search.get("curve") or " ".join(sorted(search["setting"])), []).append(search)
    return list(groups.items())


def front(searches, statistic="us", at="10"):
    """The searches no other one beats in recall and time (medians), by rising recall."""
    points = [(s["recall"].get(at), median(column(s, statistic)), s) for s in searches]
    points = sorted((p for p in points if p[0] is not None and p[1]), key=lambda p: (-p[0], p[1]))
    best, kept = math.inf, []
    for recall, value, search in points:
        if value < best:
            best = value
            kept.append(search)
    return kept[::-1]


def bracket(searches, target, statistic="us", at="10"):
    """Where a curve passes a recall: (search below, search above, weight of the latter), or None.

    Chosen by the medians, so that all passes use the same two settings. None where the target lies
    outside the range measured: nothing is extrapolated.
    """
    points = front(searches, statistic, at)
    for low, high in zip(points, points[1:]):
        a, b = low["recall"][at], high["recall"][at]
        if a <= target <= b:
            return low, high, (target - a) / (b - a)
    for search in points:
        if search["recall"][at] == target:
            return search, search, 0.0
    return None


def at_recall(searches, target, statistic="us", at="10"):
    """A statistic at a given recall, a value a pass: interpolated between two settings, linear in recall
    and in the logarithm of the value. None outside the measured range."""
    found = bracket(searches, target, statistic, at)
    if found is None:
        return None
    low, high, weight = found
    return [math.exp((1 - weight) * math.log(a) + weight * math.log(b)) if a and b else None
            for a, b in zip(column(low, statistic), column(high, statistic))]


def best_at_recall(result, target, statistic="us", at="10", only=None):
    """The fastest curve of an engine at a recall: (name of the curve, values a pass), or None."""
    found = []
    for name, searches in curves(result):
        if only is None or name == only:
            values = at_recall(searches, target, statistic, at)
            if values:
                found.append((median(values), name, values))
    return min(found)[1:] if found else None


def growth(sizes, values):
    """The exponent b of values ~ sizes ** b, by least squares over the logarithms; None for fewer than two."""
    pairs = [(math.log(n), math.log(v)) for n, v in zip(sizes, values) if n and v and v > 0]
    if len(pairs) < 2:
        return None
    mx, my = (statistics.fmean(c) for c in zip(*pairs))
    over = sum((x - mx) ** 2 for x, _ in pairs)
    return sum((x - mx) * (y - my) for x, y in pairs) / over if over else None


# ---- order of work --------------------------------------------------------------------------------

def schedule(recalls, number, seed=1):
    """The order of one pass: a list of (engine, setting), both numbers from 0.

    recalls: for each engine the recall of each of its settings. What is compared at equal recall shall be measured at the same
    time: settings of like recall form a block, about one of each engine. Blocks are shuffled, and within a block the order
    rotates from pass to pass.
    """
    jobs = sorted((recall, e, s) for e, own in enumerate(recalls) for s, recall in enumerate(own))
    size = max(1, sum(1 for own in recalls if own))
    blocks = [[(e, s) for _, e, s in jobs[i:i + size]] for i in range(0, len(jobs), size)]
    random.Random(f"{seed} {number}").shuffle(blocks)
    order = []
    for block in blocks:
        turn = number % len(block)
        order += block[turn:] + block[:turn]
    return order


# ---- running --------------------------------------------------------------------------------------

class Dropped(Exception):
    """An engine has failed; it is out of the comparison, and the report says so."""


class Comparison:
    """The engines of one comparison on one data set, and what was measured of them.

    ds: a DataSet; engines: objects with the interface of bench/README.md; recall: a function (ids, k, queries) → share,
    where queries are the numbers of the queries asked. top: an engine's sweep ends with the first setting of that
    recall. After run(), results and missing hold the outcome.
    """

    def __init__(self, ds, engines, recall, passes=5, k=10, clients=(1,), seed=1, builds=1, budget=0.15,
                 extras=(), k100=True, top=0.99):
        self.ds, self.engines, self.recall = ds, list(engines), recall
        self.passes, self.k, self.clients, self.seed, self.builds = passes, k, clients, seed, builds
        self.budget, self.extras, self.k100, self.top = budget, set(extras), k100, top
        self.results, self.missing = [], []
        self.live = []          # (engine, result) of those still in it

    def attempt(self, engine, what, function, *args, **kwargs):
        """function(…), but a failure takes the engine out of the comparison."""
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            say(f"  {engine.key}: {what} failed: {reason}")
            if not type(error).__module__.startswith("harness"):
                traceback.print_exc(file=sys.stderr)
            self.missing.append({"peer": engine.key, "reason": f"{what}: {reason}", "data": self.ds.name})
            self.live = [pair for pair in self.live if pair[0] is not engine]
            self.results = [r for r in self.results if r["key"] != engine.key]
            raise Dropped(engine.key) from error

    def each(self, what, function):
        """function(engine, result) for every engine still in the comparison; those that fail leave it."""
        for engine, result in list(self.live):
            try:
                self.attempt(engine, what, function, engine, result)
            except Dropped:
                pass

    def run(self):
        """All of it: load, build, search, extras. Engines are closed whatever happens."""
        try:
            self.start()
            self.build()
            self.warm()
            self.timed()
            self.more()
        finally:
            for engine in self.engines:
                try:
                    engine.close()
                except Exception as error:
                    say(f"  {engine.key}: closing failed: {error}")
        return self

    def start(self):
        for engine in self.engines:
            ok, reason = engine.available()
            if not ok:
                say(f"  {engine.key} is not here: {reason}")
                self.missing.append({"peer": engine.key, "reason": reason, "data": self.ds.name})
                continue
            result = {"data": self.ds.name, "key": engine.key, "name": engine.name, "index": engine.index,
                      "options": {}, "load": {}, "builds": [], "searches": [], "floor": [], "extras": {}}
            self.live.append((engine, result))
            self.results.append(result)

        def load(engine, result):
            say(f"  {engine.key}: loading")
            result["load"] = engine.load(self.ds) or {}
        self.each("loading", load)

    def build(self):
        """Builds interleaved; what is searched afterwards is the index built last."""
        for number in range(self.builds):
            def build(engine, result):
                if any(b["seconds"] > LONG_BUILD for b in result["builds"]):
                    return
                start = time.monotonic()
                figures = dict(engine.build() or {})
                figures.setdefault("seconds", time.monotonic() - start)
                result["builds"].append(figures)
                result["options"] = dict(engine.options)
                say(f"  {engine.key}: built in {figures['seconds']:.2f} s")
            turn = number % max(1, len(self.live))
            self.live = self.live[turn:] + self.live[:turn]
            self.each("building", build)

    def warm(self):
        """One untimed pass over all queries: warms caches, measures recall, and tells how long a timed pass takes."""
        def warm(engine, result):
            arrived = set()     # the curves that have come to the top
            for setting in engine.settings():
                names = tuple(sorted(setting))
                if names in arrived:
                    continue
                curve = setting.get("curve") if isinstance(setting.get("curve"), str) else None
                setting = {name: value for name, value in setting.items() if name != "curve"}
                chosen = self.chosen(EXACT_QUERIES) if engine.index == "exact" else self.chosen(None)
                answer = engine.search(setting, self.k, clients=1, queries=self.ds.queries[chosen])
                search = {"setting": setting, "k": self.k, "clients": 1, "passes": [], "note": answer.note,
                          "recall": {str(k): self.recall(answer.ids, k, chosen) for k in (1, 10, 100) if k <= self.k}}
                if curve is not None:
                    search["curve"] = curve
                if search["recall"].get("10", 0) >= self.top:
                    arrived.add(names)
                seconds = answer.us_mean * 1e-6
                count = min(len(chosen), max(MIN_QUERIES, int(self.budget / max(seconds, 1e-9))))
                search["queries"] = count
                search["repeats"] = max(1, min(MAX_REPEATS, math.ceil(MIN_PASS / max(seconds * count, 1e-9))))
                result["searches"].append(search)
            say(f"  {engine.key}: " + ", ".join(f"{s['recall'].get('10', 0):.3f}" for s in result["searches"]) + " recall@10")
        self.each("searching", warm)

    def chosen(self, count):
        """Numbers of the queries to ask: all of them, or count, spread evenly."""
        total = len(self.ds.queries)
        if count is None or count >= total:
            return list(range(total))
        return [i * total // count for i in range(count)]

    def one(self, engine, search):
        """Adds one pass to a search: the median of its repeats."""
        chosen = self.chosen(search["queries"])
        queries = self.ds.queries[chosen]
        runs = [figures(engine.search(search["setting"], search["k"], clients=search["clients"], queries=queries), len(chosen))
                for _ in range(search.get("repeats", 1))]
        search["passes"].append({name: median([r[name] for r in runs]) for name in runs[0]})

    def beside_one(self, engine, job):
        """A pass with more clients, and right before it one of one client: "alone" has that one's queries a second."""
        alone = {**job, "clients": 1, "passes": []}
        self.one(engine, alone)
        self.one(engine, job)
        job.setdefault("alone", []).append(alone["passes"][0]["qps"])

    def timed(self):
        start = time.monotonic()
        for number in range(self.passes):
            live = list(self.live)

            def floor(engine, result):
                if hasattr(engine, "floor"):
                    result["floor"].append(engine.floor())
            self.each("the floor", floor)
            for e, s in schedule([[s["recall"].get("10", 0) for s in result["searches"]] for _, result in live], number, self.seed):
                engine, result = live[e]
                if (engine, result) not in self.live:
                    continue
                try:
                    self.attempt(engine, "searching", self.one, engine, result["searches"][s])
                except Dropped:
                    pass
            say(f"  pass {number + 1} of {self.passes} done ({time.monotonic() - start:.0f} s)")

    def more(self):
        """What needs fewer passes: k = 100, more clients, pages; then what changes the table."""
        def deep(engine, result):
            if self.k100 and engine.index != "exact" and self.k < 100 <= len(self.ds.base):
                for search in list(self.telling(result)):
                    self.extra(engine, result, dict(search["setting"]), 100, 1, 1)
        self.each("searching with k = 100", deep)

        for clients in self.clients:
            if clients == 1:
                continue
            pairs = [(engine, result, self.extra_job(result, search, clients))
                     for engine, result in self.live for search in self.telling(result)]
            for number in range(min(3, self.passes)):
                turn = number % max(1, len(pairs))
                for engine, result, job in pairs[turn:] + pairs[:turn]:
                    if (engine, result) in self.live and f"{clients} clients" not in result["extras"].get("not measured", {}):
                        self.optional(engine, result, f"{clients} clients", self.beside_one, engine, job)
        for result in self.results:
            result["searches"] = [s for s in result["searches"] if s["passes"]]

        def pages(engine, result):
            if hasattr(engine, "pages"):
                for search in result["searches"]:
                    if search["clients"] == 1 and search["k"] == self.k:
                        search["pages"] = engine.pages(search["setting"])
        self.each("counting pages", pages)
        for name, call in (("insert", "insert_rate"), ("churn", "churn")):
            if name in self.extras:
                for engine, result in list(self.live):
                    if hasattr(engine, call) and engine.index != "exact":
                        say(f"  {engine.key}: {name}")
                        self.optional(engine, result, name, lambda: result["extras"].update({name: getattr(engine, call)()}))

    def telling(self, result):
        """The settings worth more than the sweep: nothing set, and those nearest to recall 0.90, 0.95, 0.99."""
        plain = [s for s in result["searches"] if s["k"] == self.k and s["clients"] == 1]
        chosen = [s for s in plain if not s["setting"]]
        for target in (0.90, 0.95, 0.99):
            near = min(plain, key=lambda s: abs(s["recall"].get("10", 0) - target), default=None)
            if near is not None and near not in chosen:
                chosen.append(near)
        return chosen

    def extra_job(self, result, search, clients, k=None):
        job = {name: search[name] for name in ("setting", "k", "queries", "repeats", "recall", "curve") if name in search}
        job.update(clients=clients, passes=[], note="")
        result["searches"].append(job)
        return job

    def extra(self, engine, result, setting, k, clients, passes):
        chosen = self.chosen(None)
        answer = engine.search(setting, k, clients=clients, queries=self.ds.queries[chosen])
        result["searches"].append({
            "setting": setting, "k": k, "clients": clients, "queries": len(chosen), "note": answer.note,
            "recall": {str(n): self.recall(answer.ids, n, chosen) for n in (1, 10, 100) if n <= k},
            "passes": [figures(answer, len(chosen))]})

    def optional(self, engine, result, what, function, *args):
        """What an engine may lack without leaving the comparison; the reason goes into its result."""
        try:
            function(*args)
        except KeyboardInterrupt:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            say(f"  {engine.key}: {what}: {reason}")
            result["extras"].setdefault("not measured", {})[what] = reason


def figures(answer, queries):
    """A Pass as numbers for the JSON."""
    import numpy as np
    times = None if answer.us is None else np.asarray(answer.us, dtype=float)
    at = [None] * 3 if times is None or not len(times) else [float(v) for v in np.percentile(times, (50, 95, 99))]
    wall = getattr(answer, "wall_s", None)
    cpu = answer.cpu_us
    return {"us": float(answer.us_mean), "p50": at[0], "p95": at[1], "p99": at[2],
            "cpu": None if cpu is None or math.isnan(cpu) else float(cpu),
            "qps": queries / wall if wall else 1e6 / float(answer.us_mean)}
