"""The command line of the benchmark: bench/run COMMAND …"""
import os
import signal
import sys

from harness import arguments, data, measure, presets, report, runs

EXTRAS = ("insert", "churn")


def load(spec, o):
    return data.load(spec, **({"max_queries": o.queries} if o.queries else {}))


def choose(sides, engines, options):
    """The sides that --engines names, with --options where an engine has them."""
    from harness import peers, sql
    if engines:
        wanted = [e.strip() for e in engines.split(",") if e.strip()]
        known = {key for key, _ in sides}
        chosen = []
        for name in wanted:
            found = [s for s in sides if s[0] == name or s[0].split()[0] == name]
            if not found and (name in peers.CATALOGUE or name.partition(" ")[0] in ("vecdb", "pgvector")):
                found = [(name, {})]
            if not found:
                found = [(key, {}) for key in peers.CATALOGUE if key.split()[0] == name and not key.endswith(peers.BATCH)]
            if not found:
                raise runs.RunError(f"no engine is called {name!r}; there are: {', '.join(sorted(known | set(peers.CATALOGUE)))}")
            chosen += [s for s in found if s not in chosen]
        sides = chosen
    if all(key.split()[0] != "vecdb" for key, _ in sides):
        raise runs.RunError(f"--engines {engines}: there is nothing to compare with: name one of vecdb's, such as 'vecdb ivfflat', too")
    used = set()

    def merged(key, own):
        """own, replaced by those of the options that the engine has; M is what other libraries call m."""
        has = peers.CATALOGUE[key][3] if key in peers.CATALOGUE else sql.BUILD_OPTIONS.get(key.partition(" ")[2], ())
        found = {}
        for name, value in options.items():
            there = name if has is None or name in has else "M" if name == "m" and "M" in has else None
            if there:
                found[there] = value
                used.add(name)
        return {**own, **found}
    sides = [(key, merged(key, own)) for key, own in sides]
    if set(options) - used:
        raise runs.RunError(f"--options: none of the engines has {', '.join(sorted(set(options) - used))}")
    return sides


def compare(o):
    from harness import peers
    if o.engines == "list":
        names = {key for index in presets.INDEXES for key, _ in presets.sides(index, 1000)} | set(peers.CATALOGUE)
        print("\n".join(sorted(names)))
        return 0
    specs = o.data or ["debian"]
    sets = [load(spec, o) for spec in specs]
    chosen = [choose(presets.sides(o.index, len(ds.base)), o.engines, o.options) for ds in sets]
    with runs.Run(f"{o.index} on {', '.join(specs)}", o) as run:
        for ds, sides in zip(sets, chosen):
            run.compare(ds, sides, extras=EXTRAS)
            run.write()
    return status(run)


def index_report(o):
    sets = [load(spec, o) for spec in presets.REAL]
    with runs.Run(f"{o.command} against its peers", o) as run:
        for ds in sets:
            run.compare(ds, presets.sides(o.command, len(ds.base)), extras=EXTRAS)
            run.write()
    return status(run)


def status(run):
    """1 if vecdb could not be measured on some data set."""
    bad = 0
    for d in run.data:
        names = {r["name"] for r in run.results if r["data"] == d["name"]}
        if "vecdb" not in names:
            measure.say(f"{d['name']}: vecdb was not measured, so there is nothing to compare: the report says why")
            bad = 1
    return bad


def preset(o):
    if o.name == "dims":
        return dimensions(o)
    if o.name == "million":
        o.rows = 1_000_000
        return million(o)
    about, specs, sides, only = presets.PRESETS[o.name]
    sets = [load(spec, o) for spec in specs]
    with runs.Run(about, o) as run:
        for ds in sets:
            run.compare(ds, sides(len(ds.base)), only=only, k100=False)
            run.write()
    return status(run)


def dimensions(o):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with runs.Run("Dimensions 64 to 3072", o, kind="dimensions") as run:
        for dims in presets.DIMENSIONS:
            ds = load(f"clustered:{presets.dimension_rows(dims, memory)}x{dims}:1:cosine", o)
            run.compare(ds, presets.sides("ivfflat", len(ds.base)), k100=False)
            run.write()
    return status(run)


def scaling(o):
    from harness import scaling as page
    with runs.Run(f"{o.index}: growth with the number of rows", o, kind="scaling") as run:
        for rows in presets.scaling_sizes(o.max):
            ds = load(f"clustered:{rows}x{o.dims}", o)
            sides = [s for s in presets.sides(o.index, rows) if not s[0].endswith("(batch)") and (rows <= 200_000 or s[0].split()[1] != "exact")]
            run.compare(ds, choose(sides, o.engines, {}), k100=False)
            del ds
            run.sections = [page.render(run.json())]
            run.write()
    return status(run)


def million(o):
    from harness import million as distances
    with runs.Run("One million cosine distances", o, kind="million") as run:
        run.sections.append(distances.measure_all(run, o.rows))
        run.write()
    return 0


def profile(o):
    from harness import profile as perf
    settings = {"ivfflat": [{"ivfflat.probes": 32}, {}], "ivfpq": [{"ivfpq.probes": 32}, {}], "hnsw": [{"hnsw.ef_search": 40}, {}], "exact": [{}]}[o.index]
    with runs.Run(f"Where the time goes: {o.index}", o, kind="profile") as run:
        run.sections.append(perf.measure_all(run, o.data or presets.REAL, o.index, settings))
        run.write()
    return 0


def everything(o):
    """All commands, each a run of its own; one that fails does not keep the others from running."""
    import copy
    failed = []
    jobs = [("ivfflat", index_report, {}), ("hnsw", index_report, {}), ("ivfpq", index_report, {}),
            ("ivfflat", index_report, {"shared_buffers": "128MB"})]
    jobs += [("preset", preset, {"name": name}) for name in (*presets.PRESETS, "dims")]
    jobs += [("scaling", scaling, {"max": 1_000_000, "dims": 128, "index": "ivfflat", "engines": None}), ("million", million, {"rows": 1_000_000}),
             ("profile", profile, {"index": "ivfflat", "data": None})]
    for command, function, more in jobs:
        job = copy.copy(o)
        job.command, job.out = command, None
        for name, value in more.items():
            setattr(job, name, value)
        if o.out:
            job.out = os.path.join(o.out, "-".join([command, *map(str, more.values())]).replace(" ", "-"))
        measure.say(f"== {command} {' '.join(f'{n} {v}' for n, v in more.items())}")
        try:
            if function(job) != 0:
                failed.append(command)
        except (data.DataError, runs.RunError, RuntimeError) as error:
            measure.say(f"{command}: {error}")
            failed.append(command)
    if failed:
        measure.say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def check(o):
    """Exact neighbours against a second implementation, for each data set."""
    bad = 0
    for spec in o.data or ["debian", "words", "clustered:50000x128", "clustered:50000x128:1:ip", "clustered:20000x96:3:cosine"]:
        ds = data.load(spec)
        data.truth(ds, 100)
        try:
            print(f"{ds.name}: {data.verify_truth(ds)}", flush=True)
        except data.DataError as error:
            bad = 1
            print(f"{ds.name}: NOT the exact neighbours: {error}", flush=True)
    return bad


def rerender(o):
    from harness import scaling as page
    for path in o.runs:
        folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
        run = runs.read_run(path)
        if run["kind"] == "scaling":
            run["sections"] = [page.render(run)]
        runs.write_run(run, folder)
        print(os.path.join(folder, "report.md"))
    return 0


def repeat(o):
    text, _, same = report.compare_runs(*map(runs.read_run, o.runs), limit=o.limit)
    print(text)
    return 0 if same else 1


def smoke(o):
    from harness import smoke as test
    return test.main()


COMMANDS = {"compare": compare, "ivfflat": index_report, "hnsw": index_report, "ivfpq": index_report, "preset": preset, "scaling": scaling,
            "million": million, "profile": profile, "all": everything, "check": check, "report": rerender, "repeat": repeat, "smoke": smoke}


def main():
    o = arguments.parser().parse_args()
    if hasattr(o, "passes"):
        arguments.settle(o)
        for remark in arguments.remarks(o):
            measure.say(remark)
    # As an interrupt does: the server is stopped, and what lies in temporary folders goes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:      # nohup ignores one
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return COMMANDS[o.command](o)
    except (data.DataError, runs.RunError, report.ReportError) as error:
        measure.say(f"bench/run: {error}")
        return 1
    except KeyboardInterrupt:
        measure.say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
