"""measure.py: runs the engines of a comparison side by side, and does its arithmetic.

A comparison has passes. In each pass every engine answers all queries at every one of its settings, in PARTS rounds of a
part of the queries each; the order is mixed anew for each round (by a seed), and settings of like recall of all engines
stay together, so that a machine that gets slower or faster meanwhile does so for all: what is compared is measured in
PARTS short turns, each a second or less apart. Every pass of every setting of every engine asks the same queries in the same
order; slow settings take part in some of the passes only, all slow ones in the same. A ratio is formed pass by pass;
what is reported is the median and the range.

Before the passes each setting answers all queries of the data set once, which warms what can be warmed and gives the recall.

Everything measured goes into plain dictionaries that become the JSON of the run; report.py and plots.py
work from that JSON alone.

A search is recorded as
    {"setting": {…}, "k": 10, "clients": 1, "queries": 200, "one_call": false, "recall": {"1": …, "10": …},
     "passes": [{"us":…, "p50":…, "cpu":…, "qps":…}, {}, …], "percentiles": {"p50":…, "p95":…, "p99":…, "samples":…},
     "pages": …, "note": …, "empty_us": …}
with us, p50, p95, p99 in microseconds a query as the client sees it (percentiles, over all passes together, None where an
engine answers all queries in one native call, or samples are fewer than FEWEST), cpu in microseconds of processor time a
query (client and backend, or the process), qps in queries a second. recall has "5" in place of "10" where k is 5. Lists
over passes run alike in all searches; a pass that a search took no part in is {}.
"""
import copy
import math
import random
import statistics
import sys
import time
import traceback

TARGETS = (0.80, 0.90, 0.95, 0.98, 0.99)
STATISTICS = {"us": "latency, mean", "cpu": "processor time", "p50": "latency, p50"}
PARTS = 5                   # of the queries of a pass: a machine's memory is fast and slow for a tenth of a second to a second at a time
BUDGET = 120                # seconds that all passes of a setting may last: slower ones are timed in fewer passes
FEWER = (9, 5, 3)           # in so many, spread evenly over the run
HICCUP = 2                  # a time beyond so many medians of the same query is the machine's doing
FEWEST = 200                # samples that a p95 or p99 takes
LONG_BUILD = 60             # seconds; a build that takes longer is not repeated
EXACT_QUERIES = 3           # of an exact scan before the passes, each of which reads everything; its recall is that of the passes
WARM_UP = 20                # queries beforehand that are not timed, of every engine: what ran before has emptied the caches
EXACT_WARM = 2              # queries beforehand of an exact scan
EXACT_TIMED = 20            # of an exact scan in a pass: its time does not depend on the query
WRITES = 3                  # times that inserts and churn are measured, engines in turn
NEW_CONNECTIONS = 3         # on which the first queries are timed


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


def is_exact(engine):
    """Of an engine's or a result's index."""
    return (engine["index"] if isinstance(engine, dict) else engine.index).startswith("exact")


def recall_at(search):
    """The recall that tables and curves go by: at 10, or at k where that is less; None if not known."""
    return search["recall"].get(str(min(10, search["k"])))


def main_k(result):
    """The k of a result's sweep."""
    counts = {}
    for search in result["searches"]:
        if search["clients"] == 1:
            counts[search["k"]] = counts.get(search["k"], 0) + len(search["passes"])
    return max(counts, key=counts.get) if counts else 10


def passes_of(seconds, passes):
    """The numbers of the passes in which a setting is timed that takes so many seconds a pass; fewer are a part of more."""
    count = next((n for n in (passes, *FEWER) if n <= passes and n * seconds <= BUDGET), min(passes, FEWER[-1]))
    return {round(i * (passes - 1) / max(1, count - 1)) for i in range(count)}


def curves(result, k=None, clients=1):
    """The searches of an engine, grouped into curves: those which set the same names belong together.

    Returns a list of (names, searches); an engine that is swept in two ways (probes, declared recall) has
    two curves. A search with nothing set joins the curve whose searches say so ("curve"), else stands alone.
    """
    groups, k = {}, k or main_k(result)
    for search in result["searches"]:
        if search["k"] == k and search["clients"] == clients:
            groups.setdefault(search.get("curve") or " ".join(sorted(search["setting"])), []).append(search)
    return list(groups.items())


def front(searches, statistic="us"):
    """The searches no other one beats in recall and time (medians), by rising recall."""
    points = [(recall_at(s), median(column(s, statistic)), s) for s in searches]
    points = sorted((p for p in points if p[0] is not None and p[1]), key=lambda p: (-p[0], p[1]))
    best, kept = math.inf, []
    for recall, value, search in points:
        if value < best:
            best = value
            kept.append(search)
    return kept[::-1]


def bracket(searches, target, statistic="us"):
    """Where a curve passes a recall: (search below, search above, weight of the latter), or None.

    Chosen by the medians, so that all passes use the same two settings. None where the target lies
    outside the range measured: nothing is extrapolated.
    """
    points = front(searches, statistic)
    for low, high in zip(points, points[1:]):
        a, b = recall_at(low), recall_at(high)
        if a <= target <= b:
            return low, high, (target - a) / (b - a)
    lowest = min((recall_at(s) for s in searches if recall_at(s) is not None), default=math.inf)
    if points and (recall_at(points[0]) == target or lowest <= target < recall_at(points[0])):
        return points[0], points[0], 0.0        # the settings below are slower and find less
    return None


def at_recall(searches, target, statistic="us"):
    """A statistic at a given recall, a value a pass: interpolated between two settings, linear in recall
    and in the logarithm of the value. None outside the measured range."""
    found = bracket(searches, target, statistic)
    if found is None:
        return None
    low, high, weight = found
    return [math.exp((1 - weight) * math.log(a) + weight * math.log(b)) if a and b else None
            for a, b in zip(column(low, statistic), column(high, statistic))]


def best_at_recall(result, target, statistic="us", only=None):
    """The fastest curve of an engine at a recall: (name of the curve, values a pass), or None."""
    found = []
    for name, searches in curves(result):
        if only is None or name == only:
            values = at_recall(searches, target, statistic)
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
    recall; timed: how many of the queries each pass asks. After run(), results and missing hold the outcome.
    """

    def __init__(self, ds, engines, recall, passes=5, k=10, clients=(1,), seed=1, builds=1, timed=200,
                 extras=(), k100=True, top=0.99):
        self.ds, self.engines, self.recall = ds, list(engines), recall
        self.passes, self.k, self.clients, self.seed, self.builds = passes, k, clients, seed, builds
        self.extras, self.k100, self.top = set(extras), k100, top
        self.asked = spread_evenly(timed, len(ds.queries))
        self.queries = ds.queries[self.asked]
        self.samples = {}       # id of a search → arrays of microseconds a query
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

    def is_live(self, engine):
        return any(engine is other for other, _ in self.live)

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
        """One untimed pass over all queries: warms connections and caches, measures recall, and tells how long a timed pass takes."""
        def warm(engine, result):
            arrived = set()     # the curves that have come to the top
            for setting in engine.settings():
                names = tuple(sorted(setting))
                if names in arrived:
                    continue
                curve = setting.get("curve") if isinstance(setting.get("curve"), str) else None
                setting = {name: value for name, value in setting.items() if name != "curve"}
                chosen = self.asked[:EXACT_QUERIES] if is_exact(engine) else list(range(len(self.ds.queries)))
                answer = engine.search(setting, self.k, clients=1, queries=self.ds.queries[chosen])
                search = {"setting": setting, "k": self.k, "clients": 1, "passes": [], "note": answer.note, "queries": len(self.timed_of(engine)),
                          "recall": self.recalls(answer.ids, self.k, chosen)}
                if getattr(answer, "empty_us", None) is not None:
                    search["empty_us"] = answer.empty_us
                if curve is not None:
                    search["curve"] = curve
                if recall_at(search) >= self.top:
                    arrived.add(names)
                turns = self.turns(engine, answer.us is None)
                search["one_call"] = answer.us is None
                search["timed_in"] = sorted(passes_of(answer.us_mean * 1e-6 * sum(len(asked) + len(warm) for asked, warm in turns), self.passes))
                result["searches"].append(search)
            say(f"  {engine.key}: " + ", ".join(f"{recall_at(s):.3f}" for s in result["searches"]) + f" recall@{min(10, self.k)}")
        self.each("searching", warm)

    def recalls(self, ids, k, asked):
        return {str(n): self.recall(ids, n, asked) for n in sorted({1, min(10, k), 100}) if n <= k}

    def timed_of(self, engine):
        """The numbers of the queries that a pass asks of an engine: the same for all, but fewer of an exact scan."""
        return self.asked[:EXACT_TIMED] if is_exact(engine) else self.asked

    def turns(self, engine, one_call):
        """The parts of a pass, in each of which an engine answers some queries after others untimed: pairs of their numbers. One
        part where the engine takes all queries in one call, whose fixed costs must not weigh more."""
        asked = self.timed_of(engine)
        warm = EXACT_WARM if is_exact(engine) else WARM_UP
        cut = [asked] if one_call else parts(asked)
        return [(part, cut[(i + 1) % len(cut)][-warm:]) for i, part in enumerate(cut)]

    def one(self, engine, search):
        """Adds one pass to a search."""
        self.add(engine, search, [engine.search(search["setting"], search["k"], clients=search["clients"], queries=self.ds.queries[self.timed_of(engine)])])

    def add(self, engine, search, answers):
        """Adds one pass to a search: its answers, one for each part of the queries."""
        answer = together(answers)
        search["passes"].append(figures(answer, len(answer.ids)))
        if answer.us is not None:
            self.samples.setdefault(id(search), []).append(answer.us)
        if is_exact(engine):
            search["recall"] = self.recalls(answer.ids, search["k"], self.timed_of(engine))

    def percentiles(self):
        """Those of each search over all of its passes; and its mean times without the machine's hiccups, see without_hiccups()."""
        import numpy as np
        for result in self.results:
            for search in result["searches"]:
                if id(search) in self.samples:
                    samples = self.samples.pop(id(search))
                    timed = [one for one in search["passes"] if one]
                    if search["clients"] == 1 and len(samples) == len(timed):
                        for one, us in zip(timed, without_hiccups(samples), strict=True):
                            one["us"], one["raw_us"], one["qps"] = float(us), one["us"], 1e6 / float(us)
                    us = np.concatenate(samples)
                    p50, p95, p99 = (float(v) for v in np.percentile(us, (50, 95, 99)))
                    search["percentiles"] = {"samples": len(us), "p50": p50, **({"p95": p95, "p99": p99} if len(us) >= FEWEST else {})}

    def beside_one(self, engine, job):
        """A pass with more clients, and right before it one of one client: "alone" has that one's queries a second."""
        alone = {**job, "clients": 1, "passes": []}
        self.one(engine, alone)
        self.samples.pop(id(alone), None)
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
            answers = {}
            for part in range(PARTS):
                for e, s in schedule([[recall_at(s) for s in result["searches"]] for _, result in live], number * PARTS + part, self.seed):
                    engine, result = live[e]
                    search = result["searches"][s]
                    turns = self.turns(engine, search["one_call"])
                    if number not in search["timed_in"] or part >= len(turns) or not self.is_live(engine):
                        continue
                    asked, warm = (self.ds.queries[numbers] for numbers in turns[part])
                    try:
                        answer = self.attempt(engine, "searching", engine.search, search["setting"], search["k"], queries=asked, warm=warm)
                        answers.setdefault((e, s), []).append(answer)
                    except Dropped:
                        pass
            for e, (engine, result) in enumerate(live):
                if not self.is_live(engine):
                    continue
                for s, search in enumerate(result["searches"]):
                    if (e, s) in answers:
                        self.add(engine, search, answers[e, s])
                    else:
                        search["passes"].append({})
            say(f"  pass {number + 1} of {self.passes} done ({time.monotonic() - start:.0f} s)")

    def more(self):
        """What needs fewer passes: new connections, k = 100, more clients, pages; then what takes tables of its own."""
        def cold(engine, result):
            if hasattr(engine, "first_queries") and not is_exact(engine):
                near = self.nearest(result, 0.95)
                answers = [engine.first_queries(near["setting"], self.k, self.queries) for _ in range(NEW_CONNECTIONS)]
                result["extras"]["cold"] = {"setting": near["setting"], "recall": recall_at(near), "queries": len(self.asked),
                                            "us": [float(a.us_mean) for a in answers], "warm": median(column(near, "us"))}
        self.each("searching on new connections", cold)

        def deep(engine, result):
            if self.k100 and not is_exact(engine) and self.k < 100 <= len(self.ds.base):
                for search in list(self.telling(result)):
                    self.extra(engine, result, dict(search["setting"]), 100, 1, 1)
        self.each("searching with k = 100", deep)

        for clients in self.clients:
            if clients == 1:
                continue
            pairs = [(engine, result, self.extra_job(result, search, clients))
                     for engine, result in self.live if not is_exact(engine) for search in self.telling(result)]
            for number in range(min(3, self.passes)):
                turn = number % max(1, len(pairs))
                for engine, result, job in pairs[turn:] + pairs[:turn]:
                    if (engine, result) in self.live and f"{clients} clients" not in result["extras"].get("not measured", {}):
                        self.optional(engine, result, f"{clients} clients", self.beside_one, engine, job)
        self.percentiles()
        for result in self.results:
            result["searches"] = [s for s in result["searches"] if s["passes"]]

        def pages(engine, result):
            if hasattr(engine, "pages"):
                for search in result["searches"]:
                    if search["clients"] == 1 and search["k"] == self.k:
                        search["pages"] = engine.pages(search["setting"], k=self.k)
        self.each("counting pages", pages)

        def evicted(engine, result):
            if hasattr(engine, "pages_read") and not is_exact(engine):
                near = self.nearest(result, 0.95)
                read = engine.pages_read(near["setting"], k=self.k)
                if read is not None:
                    result["extras"]["evicted"] = {"setting": near["setting"], "recall": recall_at(near), "pages": near.get("pages"), "read": read}
        self.each("counting pages read by an empty cache", evicted)
        for name, call in (("insert", "insert_rate"), ("churn", "churn")):
            if name in self.extras:
                self.writes(name, call)

    def writes(self, name, call):
        """Inserts or churn, engines in turn, WRITES times (once where a build is long or builds are): a list in the result's extras."""
        given = {"k": self.k} if name == "churn" else {}
        able = [(engine, result) for engine, result in self.live if hasattr(engine, call) and not is_exact(engine)]
        for number in range(min(self.builds, WRITES)):
            turn = number % max(1, len(able))
            for engine, result in able[turn:] + able[:turn]:
                long = any(b["seconds"] > LONG_BUILD for b in result["builds"])
                if name in result["extras"].get("not measured", {}) or number and long:
                    continue
                say(f"  {engine.key}: {name}")
                self.optional(engine, result, name, lambda: result["extras"].setdefault(name, []).append(getattr(engine, call)(**given)))

    def plain(self, result):
        return [s for s in result["searches"] if s["k"] == self.k and s["clients"] == 1]

    def nearest(self, result, target):
        """The setting of the sweep whose recall is nearest to a target; None where there is none."""
        return min(self.plain(result), key=lambda s: abs(recall_at(s) - target), default=None)

    def telling(self, result):
        """The settings worth more than the sweep: nothing set, and those nearest to recall 0.95 and 0.99."""
        plain = self.plain(result)
        chosen = [s for s in plain if not s["setting"]]
        for target in (0.95, 0.99):
            near = self.nearest(result, target)
            if near is not None and near not in chosen:
                chosen.append(near)
        return chosen

    def extra_job(self, result, search, clients, k=None):
        job = {name: search[name] for name in ("setting", "k", "queries", "recall", "curve") if name in search}
        job.update(clients=clients, passes=[], note="")
        result["searches"].append(job)
        return job

    def extra(self, engine, result, setting, k, clients, passes):
        chosen = list(range(len(self.ds.queries)))
        answer = engine.search(setting, k, clients=clients, queries=self.ds.queries)
        result["searches"].append({
            "setting": setting, "k": k, "clients": clients, "queries": len(chosen), "note": answer.note,
            "recall": self.recalls(answer.ids, k, chosen),
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


def spread_evenly(count, total):
    """count numbers below total, rising; all of them if there are no more."""
    return list(range(total)) if count >= total else [i * total // count for i in range(count)]


def parts(asked):
    """A list cut into PARTS, or fewer where it is shorter, each an even selection of it."""
    return [asked[i::PARTS] for i in range(min(PARTS, len(asked)))]


def together(answers):
    """Passes over the parts of some queries as one over all, in the order of the whole list."""
    import numpy as np
    if len(answers) == 1:
        return answers[0]
    counts = [len(a.ids) for a in answers]
    order = np.argsort(np.concatenate([np.arange(n) * len(answers) + i for i, n in enumerate(counts)]))

    def mean(name):
        values = [getattr(a, name) for a in answers]
        return None if any(v is None for v in values) else float(np.average(values, weights=counts))
    whole = copy.copy(answers[0])
    whole.ids = np.concatenate([a.ids for a in answers])[order]
    whole.us = None if answers[0].us is None else np.concatenate([a.us for a in answers])[order]
    whole.us_mean, whole.cpu_us = mean("us_mean"), mean("cpu_us")
    whole.wall_s = None if getattr(answers[0], "wall_s", None) is None else sum(a.wall_s for a in answers)
    return whole


def without_hiccups(samples):
    """Mean times of passes over the same queries (arrays of microseconds), where none counts more than HICCUP times that query's
    median over the passes: a query takes that long again and again, or something else had the processor."""
    import numpy as np
    times = np.array(samples)
    return np.minimum(times, HICCUP * np.median(times, axis=0)).mean(axis=1)


def figures(answer, queries):
    """A Pass as numbers for the JSON."""
    import numpy as np
    p50 = None if answer.us is None else float(np.median(answer.us))
    wall = getattr(answer, "wall_s", None)
    cpu = answer.cpu_us
    return {"us": float(answer.us_mean), "p50": p50,
            "cpu": None if cpu is None or math.isnan(cpu) else float(cpu),
            "qps": queries / wall if wall else 1e6 / float(answer.us_mean)}
