"""runs.py: makes the engines, runs comparisons, and writes JSON, Markdown and plots of a run."""
import json
import math
import os
import shlex
import sys
import time

import numpy as np

from harness import data, machine, measure, plots, report

RESULTS = os.path.join(machine.WORK, "results")
LABELS = {"debian": "Debian package descriptions", "words": "English words", "debian-subset": "Debian package descriptions, subset"}


class RunError(Exception):
    """What a user can mend: the message says what is wrong and the way out."""


class Run:
    """One run of the harness: what it measured, on its way to JSON.

    Used with `with`: the server is started when the first SQL engine needs it, and stopped at the end.
    """

    def __init__(self, title, options, kind="comparison"):
        self.title, self.options, self.kind = title, options, kind
        self.data, self.results, self.missing, self.sections, self.figures = [], [], [], [], {}
        self.machine = machine.describe()
        self.date, self.started = machine.now(), time.monotonic()
        self.commit = machine.commit()      # of what is measured: the tree may go on meanwhile
        self.host, self.server_failed = None, None
        self.held = None

    def __enter__(self):
        self.held = machine.lock(say=measure.say)
        return self

    def __exit__(self, *_):
        if self.host is not None:
            self.host.stop()
        self.held.close()

    def server(self):
        """The server, started at the first call. Raises what it raised before if it could not be had."""
        from harness import server
        if self.server_failed:
            raise self.server_failed
        if self.host is None:
            settings = {}
            if self.options.shared_buffers:
                settings["shared_buffers"] = self.options.shared_buffers
            try:
                self.host = server.start(settings)
            except Exception as error:
                self.server_failed = error
                raise
        return self.host

    def engine(self, key, options):
        """The engine of that key with these build options, or None, its absence noted."""
        try:
            if key.split()[0] in ("vecdb", "pgvector"):
                from harness import sql
                return sql.make(key, self.server(), toast=self.options.toast, **options)
            from harness import peers
            return peers.make(key, threads=1, cpu=self.cpu(), **options)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            measure.say(f"  {key} is not here: {reason}")
            self.missing.append({"peer": key, "reason": reason})
            return None

    def cpu(self):
        """The processor that searches are pinned to: the last one this process may use."""
        return max(os.sched_getaffinity(0))

    def writes(self, kinds):
        """Which kinds of writes the options leave in."""
        o = self.options
        return () if o.quick or o.no_writes else tuple(kind for kind in kinds if kind != "churn" or not o.no_churn)

    def compare(self, ds, sides, only=None, extras=(), k100=True):
        """Measures the sides on a data set. only: settings to search with, where an engine has them; None is its sweep."""
        o = self.options
        measure.say(f"{ds.name}: {len(ds.base):,} × {ds.base.shape[1]}, {ds.metric}; exact neighbours")
        if o.k > len(ds.base):
            raise RunError(f"--k {o.k}: {ds.name} has {len(ds.base):,} rows, so a query cannot have more answers")
        depth = min(100, len(ds.base))
        data.truth(ds, depth)
        engines = [e for e in (self.engine(key, dict(options)) for key, options in sides) if e is not None]
        for engine in engines:
            limit_settings(engine, only, o.quick)
        comparison = measure.Comparison(
            ds, engines, recall_of(ds), passes=o.passes, k=o.k, clients=o.clients, seed=o.seed, builds=o.builds,
            top=o.top, timed=o.timed, extras=self.writes(extras), k100=k100 and depth >= 100 and not o.quick)
        comparison.run()
        self.data.append({"name": ds.name, "label": LABELS.get(ds.name, ds.name), "rows": len(ds.base), "dims": int(ds.base.shape[1]),
                          "metric": ds.metric, "queries": len(ds.queries), "about": ds.about})
        self.results += comparison.results
        self.missing += comparison.missing
        return comparison

    def json(self):
        commit, dirty = self.commit
        versions, settings = machine.versions(), {}
        if self.host is not None:
            versions.update(self.host.versions())
            settings = self.host.settings()
        return {"format": report.FORMAT, "kind": self.kind, "title": self.title, "machine": self.machine, "versions": versions,
                "commit": commit, "dirty": dirty, "command": command_line(), "date": self.date,
                "seconds": round(time.monotonic() - self.started), "settings": settings, "passes": self.options.passes,
                "seed": self.options.seed, "timed": self.options.timed, "data": self.data, "results": self.results, "missing": self.missing, "sections": self.sections, "figures": self.figures}

    def write(self, folder=None):
        """Writes run.json, report.md and the plots of what was measured so far; says where. Returns the folder."""
        run = self.json()
        stem = plots.safe(run["date"][:16] + "-" + self.title)[:60]
        folder = folder or self.options.out or os.path.join(RESULTS, stem)
        write_run(run, folder)
        print(f"\n{os.path.join(folder, 'report.md')}", flush=True)
        return folder


def recall_of(ds):
    """A function (ids, k, asked) → recall@k of answers to the queries of these numbers."""
    def recall(ids, k, asked):
        if len(asked) == len(ds.queries):
            return float(data.recall(ds, ids, k))
        # Nothing was found for the queries not asked, which are left out of the mean.
        whole = np.full((len(ds.queries), ids.shape[1]), -1, np.int32)
        whole[asked] = ids
        return float(data.recall(ds, whole, k)) * len(ds.queries) / len(asked)
    return recall


def limit_settings(engine, only, quick):
    """Keeps of an engine's sweep the settings named by `only`, or every second one for a quick run."""
    sweep = engine.settings

    def settings():
        found = sweep()
        if only is not None:
            return [s for s in only if set(s) & {name for f in found for name in f}][:1] or found
        if quick and len(found) > 6:
            # Every second one; the last, and what vecdb does with nothing set, stay.
            return [s for i, s in enumerate(found) if i % 2 == 0 or i == len(found) - 1 or set(s) <= {"curve"}]
        return found
    engine.settings = settings


def command_line():
    return shlex.join(["bench/run"] + sys.argv[1:])


def write_run(run, folder):
    """Writes run.json, the plots and report.md into a folder. Neither text is ever there in part."""
    report.check(run)
    os.makedirs(folder, exist_ok=True)
    replace(os.path.join(folder, "run.json"), json.dumps(plain(run), indent=1, allow_nan=False) + "\n")
    drawn = plots.draw(run, folder, plots.safe(run["title"])[:24] if run.get("title") else "run")
    replace(os.path.join(folder, "report.md"), report.render(run, drawn))


def replace(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def plain(value):
    """As JSON has it: NumPy's numbers as Python's, null for what is not a number."""
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_run(path):
    """The run in a run.json, or in a folder that holds one."""
    if os.path.isdir(path):
        path = os.path.join(path, "run.json")
    try:
        with open(path) as file:
            run = json.load(file)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; name the run.json of a run, or its folder") from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from error
    report.check(run)
    return run
