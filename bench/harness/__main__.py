"""The command line of the benchmark: bench/run COMMAND …"""
import argparse
import os
import sys

from harness import data, measure, presets, report, runs

# How long a command takes on two cores of a virtual machine, as measured; printed before it starts.
ABOUT = {"compare": "two to five minutes a data set", "ivfflat": "a quarter of an hour; with --quick four minutes",
         "hnsw": "an hour; with --quick ten minutes", "ivfpq": "half an hour; with --quick ten minutes", "scaling": "half an hour up to a million rows",
         "million": "three minutes", "preset": "ten minutes to half an hour", "all": "a night", "profile": "two minutes", "check": "a minute a data set"}


def common(parser):
    """The options of everything that measures."""
    o = parser.add_argument_group("how to measure")
    o.add_argument("--passes", type=at_least(1), default=None, metavar="N", help="interleaved passes; medians are reported (15; quick: 5)")
    o.add_argument("--builds", type=at_least(1), default=None, metavar="N", help="builds, interleaved likewise; the last one is searched, and one longer than 60 s is not repeated (3; quick: 1)")
    o.add_argument("--k", type=at_least(1), default=10, metavar="K", help="rows a query asks for (10)")
    o.add_argument("--clients", type=numbers, default=None, metavar="1,2", help="numbers of clients (1,2; quick: 1)")
    o.add_argument("--queries", type=at_least(1), default=None, metavar="N", help="ask only so many queries (all of the data set's; quick: 300)")
    o.add_argument("--top", type=float, default=0.99, metavar="RECALL", help="sweeps end with the first setting of this recall@10 (0.99)")
    o.add_argument("--quick", action="store_true", help="fewer passes, settings and queries, no inserts and deletes: for a first look")
    o.add_argument("--no-writes", action="store_true", help="leave out inserts, deletes and WAL, which need builds of their own")
    o.add_argument("--seed", type=int, default=1, metavar="N", help="order of the passes (1)")
    o.add_argument("--shared-buffers", default=None, metavar="SIZE", help="such as 128MB (the default holds all tables and indexes)")
    o.add_argument("--toast", choices=("inline", "default"), default="inline",
                   help="inline: vectors up to 8 kB stay in the row; default: as PostgreSQL does it, those beyond 2 kB are moved out of line")
    o.add_argument("--out", default=None, metavar="DIR", help="where to write run.json, report.md and the plots (build/bench/results/…)")


def at_least(low):
    def whole(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is too small, it must be at least {low}")
        return value
    return whole


def numbers(text):
    """'1,2' as (1, 2)."""
    values = tuple(at_least(1)(part) for part in text.split(","))
    if 1 not in values:
        raise argparse.ArgumentTypeError(f"{text}: one client must be among them, all else is compared with it")
    return values


def build_options(text):
    """'m=16,ef_construction=64' as a dict."""
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise argparse.ArgumentTypeError(f"{part!r} is not of the form name=value, such as lists=1000")
        try:
            found[name] = int(value)
        except ValueError:
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = value
    return found


def parser():
    top = argparse.ArgumentParser(prog="bench/run", description="Measures vecdb and the systems a user would pick instead: recall against speed, "
                                  "build time, memory, size, on the same machine, data and in the same run. bench/README.md explains it.",
                                  epilog="Start with: bench/run compare --data debian --index ivfflat")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, text, **more):
        long = text + (f" Takes about {ABOUT[name]}." if name in ABOUT else "")
        return commands.add_parser(name, help=text, description=long, **more)

    c = add("compare", "One comparison on one or more data sets.")
    c.add_argument("--data", action="append", metavar="SPEC", help="debian, words, clustered:ROWSxDIMS[:SEED][:METRIC], hdf5:PATH; a number of rows may follow, "
                   "debian:20000. May be given several times (debian)")
    c.add_argument("--index", choices=presets.INDEXES, default="ivfflat", help="which comparison (ivfflat)")
    c.add_argument("--engines", metavar="KEY,…", help="only these, and others by key: 'vecdb ivfflat,hnswlib HNSW'; a system alone ('faiss') "
                   "keeps all of its engines. --engines list shows the keys")
    c.add_argument("--options", type=build_options, default={}, metavar="NAME=VALUE,…", help="build options for every engine that has them, such as lists=1000")
    common(c)
    for index in ("ivfflat", "hnsw", "ivfpq"):
        s = add(index, f"The report on {index}: vecdb and its peers on two real data sets, with plots.")
        common(s)
    s = add("preset", "Repeats what is often quoted.")
    s.add_argument("name", metavar="NAME", help="list shows them")
    common(s)
    s = add("scaling", "Growth with the number of rows: latency, build time, memory, size.")
    s.add_argument("--max", type=at_least(20_000), default=1_000_000, metavar="ROWS", help="the largest size (1000000)")
    s.add_argument("--dims", type=at_least(2), default=128, metavar="D", help="dimensions (128)")
    s.add_argument("--index", choices=presets.INDEXES, default="ivfflat")
    common(s)
    s = add("million", "One million cosine distances at 64 to 3,072 dimensions: a plain loop, NumPy, FAISS, vecdb's kernels at each SIMD level, and over SQL.")
    s.add_argument("--rows", type=at_least(1000), default=1_000_000)
    common(s)
    s = add("profile", "Where a backend's time goes while vecdb searches, by perf.")
    s.add_argument("--data", action="append", metavar="SPEC", help="data sets (debian and words)")
    s.add_argument("--index", choices=presets.INDEXES, default="ivfflat")
    common(s)
    s = add("all", "Everything, one after the other.")
    common(s)
    s = add("check", "Checks the exact neighbours of all data sets against a second implementation.")
    s.add_argument("data", nargs="*", metavar="SPEC", help="data sets (debian, words and a generated one)")
    s = add("report", "Renders runs again from their JSON.")
    s.add_argument("runs", nargs="+", metavar="RUN", help="run.json, or its folder")
    s = add("repeat", "Compares the ratios of two runs of the same command; status 1 if any differs by more than the limit.")
    s.add_argument("runs", nargs=2, metavar="RUN", help="run.json, or its folder")
    s.add_argument("--limit", type=float, default=0.10, metavar="SHARE", help="(0.10)")
    s = add("smoke", "Checks the harness itself, in two minutes (make bench-smoke); prints TAP.")
    commands.add_parser("setup", help="Installs what is missing, tries failed peers again, and lists them.")
    return top


def settle(o):
    """Defaults that depend on --quick."""
    o.passes = o.passes or (5 if o.quick else 15)
    o.builds = o.builds or (1 if o.quick else 3)
    o.clients = o.clients or ((1,) if o.quick else (1, 2))
    o.queries = o.queries or (300 if o.quick else None)
    return o


EXTRAS = ("insert", "churn")


def load(spec, o):
    return data.load(spec, **({"max_queries": o.queries} if o.queries else {}))


def choose(sides, engines, options):
    """The sides that --engines names, with --options where an engine has them."""
    from harness import peers
    if engines:
        wanted = [e.strip() for e in engines.split(",") if e.strip()]
        known = {key for key, _ in sides}
        chosen = []
        for name in wanted:
            found = [s for s in sides if s[0] == name or s[0].split()[0] == name]
            if not found and (name in peers.CATALOGUE or name.split()[0] in ("vecdb", "pgvector")):
                found = [(name, {})]
            if not found:
                raise runs.RunError(f"no engine is called {name!r}; there are: {', '.join(sorted(known | set(peers.CATALOGUE)))}")
            chosen += [s for s in found if s not in chosen]
        sides = chosen
    def merged(key, own):
        if "exact" in key:
            return own
        has = peers.CATALOGUE[key][3] if key in peers.CATALOGUE else None
        return {**own, **{n: v for n, v in options.items() if has is None or n in has}}
    return [(key, merged(key, own)) for key, own in sides]


def compare(o):
    from harness import peers
    if o.engines == "list":
        names = {key for index in presets.INDEXES for key, _ in presets.sides(index, 1000)} | set(peers.CATALOGUE)
        print("\n".join(sorted(names)))
        return 0
    specs = o.data or ["debian"]
    with runs.Run(f"{o.index} on {', '.join(specs)}", o) as run:
        for spec in specs:
            ds = load(spec, o)
            run.compare(ds, choose(presets.sides(o.index, len(ds.base)), o.engines, o.options), extras=EXTRAS)
        run.write()
    return status(run)


def index_report(o):
    with runs.Run(f"{o.command} against its peers", o) as run:
        for spec in presets.REAL:
            ds = load(spec, o)
            run.compare(ds, presets.sides(o.command, len(ds.base)), extras=EXTRAS)
        run.write()
    return status(run)


def status(run):
    """1 if nothing could be measured."""
    if not run.results:
        measure.say("nothing was measured: the report says why")
        return 1
    return 0


def preset(o):
    if o.name == "list":
        for name, (about, specs, _, _) in presets.PRESETS.items():
            print(f"{name:12} {about}; on {', '.join(specs)}")
        print(f"{'dims':12} the exact scan at {', '.join(map(str, presets.DIMENSIONS))} dimensions")
        print(f"{'million':12} one million cosine distances, as bench/run million")
        return 0
    if o.name == "dims":
        return dimensions(o)
    if o.name == "million":
        o.rows = 1_000_000
        return million(o)
    if o.name not in presets.PRESETS:
        raise runs.RunError(f"no preset is called {o.name!r}: see bench/run preset list")
    about, specs, sides, only = presets.PRESETS[o.name]
    with runs.Run(about, o) as run:
        for spec in specs:
            ds = load(spec, o)
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
            run.compare(ds, [s for s in presets.sides(o.index, rows) if rows <= 200_000 or s[0].split()[1] != "exact"], k100=False)
            del ds
        run.sections.append(page.far(run.json()))
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
    jobs += [("scaling", scaling, {"max": 1_000_000, "dims": 128, "index": "ivfflat"}), ("million", million, {"rows": 1_000_000}),
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
    for path in o.runs:
        folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
        runs.write_run(runs.read_run(path), folder)
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
    o = parser().parse_args()
    if hasattr(o, "passes"):
        settle(o)
        if o.command in ABOUT:
            measure.say(f"{o.command}: {o.passes} passes of all engines and settings; takes about {ABOUT[o.command]} on two cores, more the first time")
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
