"""arguments.py: the command line of bench/run.

It needs Python alone: bench/run has its arguments looked at (python3 -m harness.arguments) before it sets anything up.
"""
import argparse
import re
import sys

from harness import presets

ANSWERED = 64

# How long a command takes on two cores of a virtual machine, and with --quick where that was measured; printed before it starts.
ABOUT = {"compare": ("a quarter of an hour a data set", "five minutes"), "ivfflat": ("most of an hour", "five minutes"),
         "hnsw": ("an hour", "ten minutes"), "ivfpq": ("half an hour", "ten minutes"), "scaling": ("half an hour up to a million rows", None),
         "million": ("three minutes", None), "preset": ("ten minutes to half an hour", None), "all": ("a night", None), "profile": ("two minutes", None),
         "check": ("a minute a data set", None)}
NUMBERS = ("lists", "m", "M", "ef_construction", "bits", "trees", "leaves", "degree", "window")    # build options that are numbers
FEW = 50                    # queries of which a recall or a mean says little


def common(parser):
    """The options of everything that measures."""
    o = parser.add_argument_group("how to measure")
    o.add_argument("--passes", type=at_least(1), default=None, metavar="N", help="interleaved passes; medians are reported (15; quick: 5)")
    o.add_argument("--builds", type=at_least(1), default=None, metavar="N", help="builds, interleaved likewise; the last one is searched, and one longer than 60 s is not repeated (9; quick: 1)")
    o.add_argument("--k", type=at_least(1), default=10, metavar="K", help="rows a query asks for (10)")
    o.add_argument("--clients", type=numbers, default=None, metavar="1,2", help="numbers of clients (1,2; quick: 1)")
    o.add_argument("--queries", type=at_least(1), default=None, metavar="N", help="take only so many queries of the data set, all of which count for recall (1,000; quick: 300, and no recall@100)")
    o.add_argument("--timed", type=at_least(1), default=None, metavar="N", help="how many of them each pass asks, the same in all (200; quick: 100)")
    o.add_argument("--top", type=recall, default=0.99, metavar="RECALL", help="sweeps end with the first setting of this recall@10 (0.99)")
    o.add_argument("--quick", action="store_true", help="fewer passes, settings and queries, no inserts and deletes: for a first look")
    o.add_argument("--no-writes", action="store_true", help="leave out inserts, deletes and WAL, which need builds of their own")
    o.add_argument("--no-churn", action="store_true", help="inserts, but no deletes: a VACUUM of pgvector's hnsw can take a quarter of an hour")
    o.add_argument("--seed", type=int, default=1, metavar="N", help="order of the passes (1)")
    o.add_argument("--shared-buffers", type=size, default=None, metavar="SIZE", help="such as 128MB (the default holds all tables and indexes)")
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


def recall(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no recall: a number above 0, at most 1, such as 0.99")
    return value


def preset_name(text):
    if text not in (*presets.PRESETS, "dims", "million", "list"):
        raise argparse.ArgumentTypeError(f"no preset is called {text!r}: see bench/run preset list")
    return text


def size(text):
    if not re.fullmatch(r"[1-9][0-9]*(kB|MB|GB|TB)", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size as PostgreSQL takes it, such as 128MB")
    if int(text[:-2]) * 1024 ** ("kB", "MB", "GB", "TB").index(text[-2:]) < 1024:
        raise argparse.ArgumentTypeError(f"{text} is too small to serve queries: at least 1MB")
    return text


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
                if name in NUMBERS:
                    raise argparse.ArgumentTypeError(f"{part}: {name} is a number") from None
                found[name] = value
    return found


def parser():
    top = argparse.ArgumentParser(prog="bench/run", description="Measures vecdb and the systems a user would pick instead: recall against speed, "
                                  "build time, memory, size, on the same machine, data and in the same run. bench/README.md explains it.",
                                  epilog="Start with: bench/run compare --data debian --index ivfflat")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, text, **more):
        long = text + (f" Takes about {'; with --quick '.join(filter(None, ABOUT[name]))}." if name in ABOUT else "")
        return commands.add_parser(name, help=text, description=long, **more)

    c = add("compare", "One comparison on one or more data sets.")
    c.add_argument("--data", action="append", metavar="SPEC", help="debian, words, clustered:ROWSxDIMS[:SEED][:METRIC], hdf5:PATH; a number of rows may follow, "
                   "debian:20000. May be given several times (debian)")
    c.add_argument("--index", choices=presets.INDEXES, default="ivfflat", help="which comparison (ivfflat)")
    c.add_argument("--engines", metavar="KEY,…", help="only these, and others by key: 'vecdb ivfflat,hnswlib HNSW'; a system alone ('faiss') "
                   "keeps all of its engines. --engines list shows the keys")
    c.add_argument("--options", type=build_options, default={}, metavar="NAME=VALUE,…", help="build options for every engine that has them, such as lists=1000 or m=32,ef_construction=100")
    common(c)
    for index in ("ivfflat", "hnsw", "ivfpq"):
        s = add(index, f"The report on {index}: vecdb and its peers on two real data sets, with plots.")
        common(s)
    s = add("preset", "Repeats what is often quoted.")
    s.add_argument("name", type=preset_name, metavar="NAME", help="list shows them")
    common(s)
    s = add("scaling", "Growth with the number of rows: latency, build time, memory, size.")
    s.add_argument("--max", type=at_least(20_000), default=1_000_000, metavar="ROWS", help="the largest size (1000000)")
    s.add_argument("--dims", type=at_least(2), default=128, metavar="D", help="dimensions (128)")
    s.add_argument("--index", choices=presets.INDEXES, default="ivfflat", help="which comparison (ivfflat)")
    s.add_argument("--engines", metavar="KEY,…", help="only these, as for compare")
    common(s)
    s = add("million", "One million cosine distances at 64 to 3,072 dimensions: a plain loop, NumPy, FAISS, vecdb's kernels at each SIMD level, and over SQL.")
    s.add_argument("--rows", type=at_least(1000), default=1_000_000, metavar="N", help="rows of the table that is scanned over SQL (1000000)")
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
    o.builds = o.builds or (1 if o.quick else 9)
    o.clients = o.clients or ((1,) if o.quick else (1, 2))
    o.queries = o.queries or (300 if o.quick else None)
    o.timed = o.timed or (100 if o.quick else 200)
    return o


def remarks(o):
    """What should be known before a run begins: how long it takes, and what will be worth little."""
    found = []
    if o.command in ABOUT:
        long, quick = ABOUT[o.command]
        found.append(f"{o.command}: {o.passes} passes of all engines and settings; takes about {o.quick and quick or long} on two cores, more the first time")
    for what, number in (("--queries", o.queries or FEW), ("--timed", o.timed)):
        if number < FEW:
            found.append(f"{what} {number}: so few queries say little; recall moves in steps of {1 / (number * min(o.k, 10)):.4g}, ratios with the luck of the draw")
    return found


def preset_list():
    for name, (about, specs, _, _) in presets.PRESETS.items():
        print(f"{name:12} {about}; on {', '.join(specs)}")
    print(f"{'dims':12} exact scans and ivfflat at {', '.join(map(str, presets.DIMENSIONS))} dimensions")
    print(f"{'million':12} one million cosine distances, as bench/run million")


def main():
    """0: go on; ANSWERED: all was said, as for --help; else the arguments are wrong, and the message says how."""
    try:
        o = parser().parse_args()
    except SystemExit as end:
        return ANSWERED if end.code == 0 else end.code
    if o.command == "preset" and o.name == "list":
        preset_list()
        return ANSWERED
    return 0


if __name__ == "__main__":
    sys.exit(main())
