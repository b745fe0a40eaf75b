"""report.py: the JSON of a run as a Markdown report. It reads nothing but the JSON."""
from harness import measure

KEYS = ("format", "machine", "versions", "commit", "dirty", "command", "date", "settings", "data", "results", "missing")
FORMAT = 2


class ReportError(Exception):
    """The JSON is not of a run, or of another format."""


def check(run):
    """Raises ReportError, with the way out, unless run is a whole run of this format."""
    missing = [key for key in KEYS if key not in run] if isinstance(run, dict) else KEYS
    if missing:
        raise ReportError(f"not the JSON of a run: it lacks {', '.join(missing)}")
    if run["format"] != FORMAT:
        raise ReportError(f"the run has format {run['format']}, this harness reads {FORMAT}: render it with the commit that made it ({run['commit']})")


# ---- numbers --------------------------------------------------------------------------------------

def number(value, digits=3):
    """Three significant digits, thousands with commas; – for None."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100 or digits < 3 and size >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"


def share(value):
    return "–" if value is None else f"{value:.4f}"


def bytes_text(value):
    if value is None:
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{number(value / size)} {unit}"
    return f"{value:.0f} B"


def ratio_text(values):
    """median (smallest–largest), of ratios a pass; one ratio has no range."""
    found = measure.spread(values)
    if found is None:
        return "–"
    digits = 2 if found[0] >= 0.1 else 3 if found[0] >= 0.01 else 4
    text = f"**{found[0]:.{digits}f}**"
    return text + (f" ({found[1]:.{digits}f}–{found[2]:.{digits}f})" if sum(v is not None for v in values) > 1 else "")


def options_text(options, empty="nothing set"):
    return ", ".join(f"{name} = {value}" for name, value in options.items() if name != "curve") or empty


def table(head, rows, left=1):
    """A Markdown table: the first `left` columns to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] * left + ["---:"] * (len(head) - left)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]) + "\n"


# ---- choosing -------------------------------------------------------------------------------------

def of_data(run, data):
    return [r for r in run["results"] if r["data"] == data["name"]]


def ours(results):
    """vecdb's index among the results (its exact scan where there is no index), None without vecdb."""
    found = [r for r in results if r["name"] == "vecdb"]
    return next((r for r in found if not exact(r)), found[0] if found else None)


def others(results):
    us = ours(results)
    return [r for r in results if r is not us]


def title(result):
    """What tables and plots call an engine."""
    return result["key"]


def floor_us(result):
    """The floor of an engine's server in microseconds, a value a pass; [] in process."""
    return [first(f, ("mean", "us", "us_mean")) for f in result["floor"]]


def first(mapping, names):
    return next((mapping[n] for n in names if mapping.get(n) is not None), None)


def values_at(result, target, statistic, only=None):
    """A statistic at a recall, a value a pass; an exact scan gives the same at each. None where not measured."""
    if exact(result):
        searches = plain(result)
        return measure.column(searches[0], statistic) if searches else None
    found = measure.best_at_recall(result, target, statistic, only=only)
    return found[1] if found else None


def like(peer, statistic):
    """The statistic of ours that compares with a peer's: an engine that answers all queries in one call has hiccups in its mean
    times (see measure.without_hiccups), so ours must have theirs."""
    return "raw_us" if statistic == "us" and any(s.get("one_call") for s in peer["searches"]) else statistic


def exact(result):
    return measure.is_exact(result)


def plain(result, clients=1, k=None):
    k = k or measure.main_k(result)
    return [s for s in result["searches"] if s["clients"] == clients and s["k"] == k]


def recall_name(results):
    """recall@10, or @k where k is less."""
    return f"recall@{min(10, measure.main_k(results[0]))}"


def timed_text(search):
    """How many queries were timed: a pass × passes."""
    return f"{search['queries']:,} × {sum(1 for p in search['passes'] if p)}"


def percentile_texts(search, names):
    return [number((search.get("percentiles") or {}).get(n)) for n in names]


# ---- sections -------------------------------------------------------------------------------------

def head(run):
    m = run["machine"]
    where = (f"{m['cpu']}, {m['cores']} core{'s' if m['cores'] != 1 else ''}"
             f"{' of a virtual machine' if m.get('virtual') else ''}, {bytes_text(m['memory'])} memory, Linux {m['kernel']}, "
             f"SIMD {', '.join(m['simd'])}" + {True: "; what is measured has nice -20", False: "; nice -20 was not to be had: other work takes turns with what is measured",
                                                 None: ""}[m.get("nice")])
    dirty = {True: " with changes not committed", False: "", None: ""}[run["dirty"]]
    lines = [f"# {run.get('title') or run['command']}\n",
             f"{run['date']}, commit {run['commit']}{dirty}; `{run['command']}`.\n",
             f"Machine: {where}; load before the run {', '.join(f'{x:.1f}' for x in m['load'])}.\n",
             "Versions: " + ", ".join(f"{k} {v}" for k, v in run["versions"].items()) + ".\n"]
    if run["settings"]:
        lines.append("Server: " + ", ".join(f"`{k} = {v}`" for k, v in run["settings"].items()) + ".\n")
    passes = run.get("passes")
    lines.append(f"Times are medians of {passes} interleaved passes, ratios are formed pass by pass: **median** (smallest–largest), "
                 "vecdb / peer, so that below 1 vecdb needs less; in a mean no query counts more than twice its own median over the passes. "
                 "A dash: not in the measured range, or not to be had.\n"
                 if passes else "")
    return lines


def missing_section(run):
    if not run["missing"]:
        return ["No engine that was asked for is missing.\n"]
    rows = []
    for m in run["missing"]:
        row = (m["peer"], m.get("data", "all"), m["reason"].replace("|", "/"))
        if row not in rows:
            rows.append(row)
    return ["## Not measured\n", table(["engine", "data", "reason"], rows, left=3)]


def settings_table(results):
    rows = []
    for r in results:
        built = len(r["builds"])
        rows.append([title(r), options_text(r["options"], "–"), r.get("threads") or "", r.get("about") or ""])
    used = [i for i in range(4) if i < 2 or any(row[i] for row in rows)]
    names = ["engine", "index options, as built", "threads", "how it is called"]
    return table([names[i] for i in used], [[row[i] for i in used] for row in rows], left=len(used))


def recall_table(results, statistic, what):
    """Times at equal recall, vecdb against each peer, with the floor's multiple. Exact scans are left out."""
    results = [r for r in results if not exact(r)]
    us, peers = ours(results), others(results)
    if not results:
        return ""
    if us is None:
        names = [title(p) for p in peers]
        rows = [[f"{t:.2f}"] + [number(measure.median(values_at(p, t, statistic) or [])) for p in peers] for t in measure.TARGETS]
        return table([f"{recall_name(results)}: {what}, µs"] + names, rows)
    floor = floor_us(us)
    headers = [f"{recall_name(results)}: {what}, µs", title(us)] + (["× floor"] if floor and statistic == "us" else [])
    for p in peers:
        headers += [title(p), "vecdb / it"]
    rows = []
    for target in measure.TARGETS:
        mine = values_at(us, target, statistic)
        row = [f"{target:.2f}", number(measure.median(mine or []))]
        if floor and statistic == "us":
            row.append(times_floor(mine, floor))
        for p in peers:
            theirs, mine = values_at(p, target, statistic), values_at(us, target, like(p, statistic))
            row += [number(measure.median(theirs or [])), ratio_text(measure.ratios(mine, theirs)) if mine and theirs else "–"]
        rows.append(row)
    return table(headers, rows)


def times_floor(values, floor):
    return number(measure.median(measure.ratios(values, floor)), 2) if values and floor else "–"


def exact_table(results):
    """Exact scans, and what share of their time vecdb's index takes at some recalls."""
    scans = [r for r in results if exact(r) and plain(r)]
    if not scans:
        return ""
    us = ours([r for r in results if not exact(r)])
    targets = (0.90, 0.95, 0.99) if us is not None else ()
    own = next((r for r in scans if r["name"] == "vecdb"), None)
    rows = []
    for r in scans:
        times = values_at(r, 1, "us")
        mine = [(t, values_at(us, t, like(r, "us"))) for t in targets]
        rows.append([title(r), number(measure.median(times)), number(measure.median(values_at(r, 1, "cpu"))), times_floor(times, floor_us(r)),
                     "" if own in (None, r) else ratio_text(measure.ratios(values_at(own, 1, like(r, "us")), times))] +
                    [ratio_text(measure.ratios(v, times)) if v else "–" for _, v in mine])
    return table(["exact scan", "µs mean", "processor µs", "× floor", "vecdb's exact scan / it"] + [f"{title(us)} at {t:.2f} / it" for t in targets], rows)


def unset_table(results):
    """vecdb's index with nothing set, and the peers at the recall it then has."""
    us = ours([r for r in results if not exact(r)])
    search = next((s for s in plain(us) if not s["setting"]), None) if us is not None else None
    if search is None:
        return ""
    recall, mine, floor = measure.recall_at(search), measure.column(search, "us"), floor_us(us)
    rows = [[f"{title(us)}, nothing set", share(recall), number(measure.median(mine)), times_floor(mine, floor),
             number(measure.median(measure.column(search, "cpu"))), "", ""]]
    for p in others(results):
        theirs, cpu = values_at(p, recall, "us"), values_at(p, recall, "cpu")
        if theirs and not exact(p):
            rows.append([f"{title(p)} at that recall", share(recall), number(measure.median(theirs)), times_floor(theirs, floor_us(p)), number(measure.median(cpu)),
                         ratio_text(measure.ratios(measure.column(search, like(p, "us")), theirs)), ratio_text(measure.ratios(measure.column(search, "cpu"), cpu))])
    return table(["", recall_name(results), "µs mean", "× floor", "processor µs", "vecdb / it", "of processor time"], rows)


def quoted_table(results):
    """Where each engine was asked at one setting, as a preset quotes it: times at that setting, whatever recall it has."""
    results = [r for r in results if not exact(r)]
    us = ours(results)
    if us is None or any(len(plain(r)) != 1 for r in results):
        return ""
    mine, rows = plain(us)[0], []
    for r in results:
        s = plain(r)[0]
        us_ratio, cpu_ratio = (measure.ratios(measure.column(mine, like(r, n)), measure.column(s, n)) for n in ("us", "cpu"))
        rows.append([title(r), options_text(s["setting"]), share(measure.recall_at(s)), number(measure.median(measure.column(s, "us"))),
                     times_floor(measure.column(s, "us"), floor_us(r)), number(measure.median(measure.column(s, "cpu")))] +
                    (["", ""] if r is us else [ratio_text(us_ratio), ratio_text(cpu_ratio)]))
    return table(["engine", "setting", recall_name(results), "µs mean", "× floor", "processor µs", "vecdb / it", "of processor time"], rows, left=2)


def cold_table(results):
    """The first queries of new connections, beside the same queries in the passes."""
    rows = []
    for r in results:
        cold = r["extras"].get("cold")
        if cold:
            us = measure.median(cold["us"])
            floor = measure.median(floor_us(r))
            rows.append([title(r), options_text(cold["setting"]), share(cold["recall"]), number(us), number(us / floor, 2) if floor else "–",
                         number(cold["warm"]), f"{us / cold['warm']:.2f}"])
    if not rows:
        return ""
    first_queries = max(r["extras"]["cold"]["queries"] for r in results if "cold" in r["extras"])
    return table(["engine", "setting", recall_name(results), f"first {first_queries} queries of a connection, µs mean", "× floor", "the same queries in the passes", "first / passes"],
                 rows, left=2)


def evicted_table(results):
    """Pages a query touches, and reads where shared_buffers holds nothing of table and index."""
    rows = []
    for r in results:
        evicted = r["extras"].get("evicted")
        if evicted:
            rows.append([title(r), options_text(evicted["setting"]), share(evicted["recall"]), page_text(evicted["pages"]), f"{evicted['read']:,.1f}"])
    return table(["engine", "setting", recall_name(results), "pages touched a query", "read, none being in shared_buffers"], rows, left=2) if rows else ""


def spread_text(values):
    """The median, and the range where there are several."""
    found = measure.spread(values)
    return "–" if not found else number(found[0]) + (f" ({number(found[1])}–{number(found[2])})" if len(values) > 1 else "")


def build_values(result, name):
    return [b.get(name) for b in result["builds"]]


def build_table(results, rows_in_table):
    us = ours(results)
    rows = []
    for r in results:
        last = r["builds"][-1] if r["builds"] else {}
        if exact(r):
            continue
        seconds, index_bytes = build_values(r, "seconds"), last.get("index_bytes")
        compare = "" if r is us or us is None else ratio_text(measure.ratios(build_values(us, "seconds"), seconds))
        rows.append([title(r), spread_text(seconds), compare, number(measure.median(build_values(r, "cpu_seconds"))),
                     bytes_text(last.get("peak_bytes")), bytes_text(index_bytes),
                     number(index_bytes / rows_in_table, 2) if index_bytes else "–",
                     bytes_text(last.get("wal_bytes")), bytes_text(first(r["load"], ("table_bytes",)))])
    if not rows:
        return ""
    return table(["engine", "build, s", "vecdb / it", "processor, s", "peak memory, index included", "index", "bytes/row", "WAL of build", "table"], rows)


def all_settings(results):
    rows = []
    for r in results:
        floor = floor_us(r)
        for s in plain(r):
            same = [o for o in r["searches"] if o["setting"] == s["setting"] and o["clients"] == 1]
            recall100 = next((o["recall"].get("100") for o in same if o["recall"].get("100") is not None), None)
            us = measure.column(s, "us")
            rows.append([title(r), options_text(s["setting"]), share(s["recall"].get("1")), share(measure.recall_at(s)), share(recall100), timed_text(s),
                         number(measure.median(us)), times_floor(us, floor), *percentile_texts(s, ("p50", "p95", "p99")),
                         number(measure.median(measure.column(s, "qps"))), number(measure.median(measure.column(s, "cpu"))), page_text(s.get("pages"))])
    return table(["engine", "setting", "recall@1", recall_name(results)[6:], "@100", "timed", "µs mean", "× floor", "p50", "p95", "p99", "queries/s", "processor µs", "pages"],
                 rows, left=2)


def page_text(pages):
    if isinstance(pages, dict):
        pages = first(pages, ("pages", "total", "mean"))
    return number(pages, 2) if pages is not None else "–"


def clients_table(results):
    """Queries a second with more than one client, and with one client right before each pass of it."""
    rows = []
    for r in results:
        for s in r["searches"]:
            if s["clients"] == 1 or not s["passes"]:
                continue
            qps, alone = measure.column(s, "qps"), s.get("alone") or [None]
            us = measure.column(s, "us")
            floor = measure.median(floor_us(r))
            rows.append([title(r), options_text(s["setting"]), s["clients"], share(measure.recall_at(s)), number(measure.median(alone)),
                         number(measure.median(qps)), ratio_text(measure.ratios(qps, alone)), timed_text(s), number(measure.median(us)),
                         number(measure.median(us) / floor, 2) if floor else "–", *percentile_texts(s, ("p50", "p95", "p99"))])
    if not rows:
        return ""
    return table(["engine", "setting", "clients", recall_name(results), "queries/s, 1 client", "queries/s", "× one", "timed", "µs mean", "× floor", "p50", "p95", "p99"],
                 rows, left=2)


def writes_of(result, kind):
    """The measurements of inserts or churn, a dict each."""
    found = result["extras"].get(kind) or []
    return [found] if isinstance(found, dict) else found        # one alone, in runs before there were several


def writes_table(results):
    rows, us = [], ours(results)
    for r in results:
        insert, churn = writes_of(r, "insert"), writes_of(r, "churn")
        if insert or churn:
            middle = lambda many, name: measure.median([m.get(name) for m in many])
            rates = lambda result: [m.get("rows_per_second") for m in writes_of(result, "insert")]
            mine = rates(us) if us is not None and r is not us else []
            rows.append([title(r), spread_text(rates(r)), ratio_text(measure.ratios(mine, rates(r))) if mine and insert else "",
                         *(number(middle(insert, n)) for n in ("wal_after_checkpoint", "inserts_between", "wal_later")),
                         f"{100 * churn[0]['replaced'] / churn[0]['rows']:.0f} % of {churn[0]['rows']:,}" if churn else "–",
                         share(middle(churn, "recall_before")), share(middle(churn, "recall_after")), options_text(churn[-1]["setting"]) if churn else "–"])
    if not rows:
        return ""
    return ("Engines in turn, medians (range), on tables and indexes made for it with the same options, not on those of the figures above: inserts, a transaction each, into an index "
            "that holds the data set's other rows; WAL with table, primary key and commit, right after a checkpoint and after so many inserts more. Recall "
            "before and after rows were deleted, as many others inserted, and the table vacuumed, against the rows then there.\n\n" +
            table(["engine", "inserts/s", "vecdb / it", "WAL bytes an insert after a checkpoint", "inserts between", "WAL bytes an insert then", "rows replaced",
                   f"{recall_name(results)} before", "after", "setting"], rows))


def not_measured(results):
    lines = []
    for r in results:
        for what, reason in r["extras"].get("not measured", {}).items():
            lines.append(f"- {title(r)}, {what}: {reason}")
    return ["Left out: \n\n" + "\n".join(lines) + "\n"] if lines else []


def notes(results):
    lines = []
    for r in results:
        empty = measure.median([s.get("empty_us") for s in r["searches"]])
        found = {s["note"] for s in r["searches"] if s.get("note")}
        for note in sorted(found):
            lines.append(f"- {title(r)}: {note}" + (f"; an empty call takes {number(empty)} µs, which its latencies contain" if empty is not None else ""))
    return ["How the engines were called:\n\n" + "\n".join(dict.fromkeys(lines)) + "\n"] if lines else []


def floor_line(results):
    us = ours(results) or next((r for r in results if r["floor"]), None)
    if us is None or not us["floor"]:
        return []
    parts = []
    for r in results:
        if r["floor"] and r["name"] not in [p[0] for p in parts]:
            parts.append((r["name"], measure.median(floor_us(r)), measure.median([first(f, ("p50",)) for f in r["floor"]])))
    return ["The floor, a prepared look-up by primary key in the same passes: " +
            "; ".join(f"{name}'s database {number(mean)} µs mean, {number(p50)} p50" for name, mean, p50 in parts) + ".\n"]


def data_section(run, data, plots):
    results = of_data(run, data)
    if not results:
        return [] if run.get("sections") else [f"## {data['name']}\n", "No engine ran on it.\n"]
    timed = [s for r in results for s in plain(r)]
    fewer = sorted({sum(1 for p in s["passes"] if p) for s in timed})
    queries = max((s["queries"] for s in timed), default=0)
    name = recall_name(results)
    lines = [f"## {data['name']}: {data['rows']:,} × {data['dims']}, {data['metric']}\n", data["about"].rstrip(".") + ".\n",
             f"{data['queries']:,} queries that are not among the rows, all of which count for recall (those timed for an exact scan's); k = {measure.main_k(results[0])}, "
             f"recall@1 is that of the first answer, recall@100 of a search for 100. Each pass asks the same {queries:,} of them of every engine at every setting, "
             "one connection an engine through all passes, after each setting has answered all queries once" +
             (f"; slow settings take part in {' or '.join(map(str, fewer[:-1]))} of the passes" if len(fewer) > 1 else "") +
             ". One index an engine; each figure below is of this one, but for \"Writes\":\n",
             settings_table(results)]
    lines += floor_line(results)
    lines += [f"![{caption}]({file})\n" for caption, file in plots]
    quoted = quoted_table(results)
    if quoted:
        lines += ["### At the setting quoted, one client\n", f"Each engine at the {name} that it then has.\n", quoted]
    else:
        lines += ["### At equal recall, one client\n",
                  "Interpolated between the two neighbouring settings of an engine's sweep, its best way of setting effort.\n",
                  recall_table(results, "us", "latency, mean"), recall_table(results, "cpu", "processor time")]
    for heading, text in (("### With nothing set", unset_table(results)), ("### Exact scans", exact_table(results)),
                          ("### A new connection", cold_table(results)), ("### Nothing cached", evicted_table(results))):
        if text:
            lines += [heading + "\n", text]
    build = build_table(results, data["rows"])
    if build:
        lines += ["### Build and size\n", "Peak memory is what the build needed beyond what was there before, the finished index included: over SQL private memory, shared "
                  "segments and the index's pages; in process the growth of the process, which held the rows already.\n", build]
    for heading, text in (("### More clients, indexes alone", clients_table(results)), ("### Writes", writes_table(results))):
        if text:
            lines += [heading + "\n", text]
    lines += ["### Every setting, one client\n", all_settings(results)]
    return lines + notes(results) + not_measured(results)


def render(run, plots=None):
    """The report of a run as Markdown. plots: {name of a data set: [(caption, file), …]}."""
    check(run)
    lines = head(run)
    for data in run["data"]:
        lines += data_section(run, data, (plots or {}).get(data["name"], []))
    lines += [f"![{caption}]({file})\n" for caption, file in (plots or {}).get("", [])]
    for text in run.get("sections", []):
        lines.append(text)
    lines += [""] + missing_section(run)
    return "\n".join(lines).rstrip() + "\n"


# ---- two runs -------------------------------------------------------------------------------------

def ratio_list(run, statistics=("us", "cpu")):
    """{(data, peer, what): ratio vecdb / peer} of a run: at each recall (or at the one setting of a preset), and of the build."""
    found = {}
    for data in run["data"]:
        results = of_data(run, data)
        us = ours(results)
        if us is None:
            continue
        single = quoted_table(results) != ""
        for p in others(results):
            for statistic in statistics:
                name = measure.STATISTICS[statistic]
                pairs = [(f"{name} at recall {t:.2f}", values_at(us, t, like(p, statistic)), values_at(p, t, statistic)) for t in measure.TARGETS]
                if single and not exact(p):
                    pairs = [(f"{name} at {options_text(plain(p)[0]['setting'])}", measure.column(plain(us)[0], like(p, statistic)), measure.column(plain(p)[0], statistic))]
                for what, mine, theirs in pairs:
                    value = measure.median(measure.ratios(mine, theirs)) if mine and theirs else None
                    if value:
                        found[data["name"], title(p), what] = value
            value = measure.median(measure.ratios(build_values(us, "seconds"), build_values(p, "seconds")))
            if value and not exact(p):
                found[data["name"], title(p), "build"] = value
    return found


def unlike(a, b):
    """What two runs do not have in common though ratios can depend on it: rows (what, in the first, in the second)."""
    def facts(run):
        words = run["command"].split()
        if "--out" in words:
            del words[words.index("--out"):words.index("--out") + 2]
        found = {"command": " ".join(w for w in words if not w.startswith("--out=")), "commit": run["commit"], "machine": run["machine"]["cpu"],
                 "nice -20": run["machine"].get("nice"), "passes": run.get("passes"), "queries a pass": run.get("timed")}
        for kind in ("versions", "settings"):
            found.update({f"{kind[:-1]}: {name}": value for name, value in run[kind].items() if name != "tables and indexes at most"})
        for r in run["results"]:
            found[f"options: {r['data']}, {title(r)}"] = options_text(r["options"], "none")
        return found
    first, second = facts(a), facts(b)
    return [[name, first.get(name, "–"), second.get(name, "–")] for name in {**first, **second} if first.get(name) != second.get(name)]


def compare_runs(first_run, second_run, limit=0.10):
    """Compares the ratios of two runs: (Markdown, {statistic: changes}, whether all are within the limit and none is in one run alone)."""
    check(first_run)
    check(second_run)
    a, b = ratio_list(first_run), ratio_list(second_run)
    rows, groups = [], {}
    for key in a:
        if key not in b:
            continue
        change = max(a[key], b[key]) / min(a[key], b[key]) - 1
        groups.setdefault(key[2].split(" at ")[0], []).append(change)
        rows.append([*key, f"{a[key]:.3f}", f"{b[key]:.3f}", f"{100 * change:.1f} %", "yes" if change <= limit else "**no**"])
    if not rows:
        raise ReportError("the two runs have no ratio in common: they must be of the same command, with vecdb and a peer")
    within = f"within {100 * limit:.0f} %"
    summary = [[name, len(c), sum(x <= limit for x in c), f"{100 * measure.median(c):.1f} %", f"{100 * max(c):.1f} %"]
               for name, c in [*groups.items(), ("all", sum(groups.values(), []))]]
    alone = [[*key, *(f"{r[key]:.3f}" if key in r else "–" for r in (a, b)), "in one run only", "**no**"] for key in [*a, *b] if (key in a) != (key in b)]
    differences = unlike(first_run, second_run)
    text = "\n".join([
        "# Two runs compared\n",
        f"First: `{first_run['command']}`, {first_run['date']}, commit {first_run['commit']}. Second: `{second_run['command']}`, "
        f"{second_run['date']}, commit {second_run['commit']}.\n",
        f"{sum(s[2] for s in summary[-1:])} of {len(rows)} ratios {within}, median change {summary[-1][3]}, largest {summary[-1][4]}; "
        f"{len(alone)} more {'is' if len(alone) == 1 else 'are'} in one of the runs only.\n",
        *(["The runs differ in:\n", table(["what", "first", "second"], differences, left=3)] if differences else []),
        table(["ratios vecdb / peer", "number", within, "median change", "largest change"], summary),
        table(["data", "peer", "ratio of", "first", "second", "change", within], rows + alone, left=3)])
    return text, groups, not alone and all(x <= limit for c in groups.values() for x in c)
