"""scaling.py: what was measured at each number of rows, and what it means for more rows than were measured."""
from harness import plots, report

FAR = (10_000_000, 100_000_000)


def render(run):
    """Markdown for the report of a run whose data sets differ in rows only."""
    series = plots.scaling_series(run)
    return "\n".join([*measured(run, series), *bytes_a_row(run), *growth(series)])


def measured(run, series):
    """A table: each figure of each engine at each number of rows."""
    sizes = sorted({d["rows"] for d in run["data"]})
    rows = []
    for name, (what, text) in UNITS.items():
        for result, points in series[name]["lines"]:
            found = dict(points)
            rows.append([what, report.title(result)] + [text(found[n]) if n in found else "–" for n in sizes])
    return ["## Growth, as measured\n", report.table(["", "engine"] + [f"{n:,} rows" for n in sizes], rows, left=2)]


def bytes_a_row(run):
    """What the bytes a row at the largest size mean for 10 and 100 million rows."""
    if not run["data"]:
        return []
    largest = max(run["data"], key=lambda d: d["rows"])
    n, rows = largest["rows"], []
    for r in report.of_data(run, largest):
        last = r["builds"][-1] if r["builds"] and not report.exact(r) else {}
        for what, value in (("index", last.get("index_bytes")), ("WAL of the build", last.get("wal_bytes")), ("peak memory of the build, index included", last.get("peak_bytes")),
                            ("table without index", r["load"].get("table_bytes") if last else None)):
            if value:
                rows.append([what, report.title(r), f"{value / n:,.0f}"] + [report.bytes_text(value / n * more) for more in FAR])
    return ["## What the bytes a row mean for 10 and 100 million rows\n",
            f"Measured at {n:,} rows × {largest['dims']} dimensions, whose vectors alone have {4 * largest['dims']:,} bytes a row; **multiplied**, not measured. Searches are as fast "
            "as measured only where the index fits into memory (shared_buffers, or the process); an index over SQL also wants the table, of which each answer "
            "reads rows. WAL goes to the disk and to every standby.\n",
            report.table(["", "engine", f"bytes a row at {n:,}", *(f"{more // 10**6} million rows" for more in FAR)], rows, left=2)]


def growth(series):
    """Exponents, and what 10 and 100 million rows would take by them."""
    rows = []
    for name in ("latency", "build"):
        what, text = UNITS[name]
        for result, points in series[name]["lines"]:
            floor, power = plots.exponent(name, result, points)
            n, value = points[-1]
            rows.append([what, report.title(result), f"{n:,}", text(value), text(floor) if floor else "–", "–" if power is None else f"{power:.2f}"] +
                        ["–" if power is None else text(floor + (value - floor) * (more / n) ** power) for more in FAR])
    return ["## What the growth of times means for them\n",
            "**Extrapolated**, not measured: floor + c n^b from the largest number of rows, b fitted over all of them, the floor being a look-up by primary key "
            f"over SQL. From fewer than {plots.FEWEST_SIZES} sizes nothing is said. A power law fitted to two decades is a guess about the next two: caches and memory end somewhere.\n",
            report.table(["", "engine", "largest measured", "there", "floor", "b", *(f"{more // 10**6} million rows" for more in FAR)], rows, left=2)]


def micro(us):
    return f"{us:,.0f} µs" if us < 10_000 else f"{us / 1000:,.1f} ms"


def duration(seconds):
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def megabytes(mb):
    return report.bytes_text(mb * 1e6)


UNITS = {"latency": ("latency at recall@10 0.95", micro), "build": ("build", duration),
         "memory": ("peak memory of the build, index included", megabytes), "size": ("index size", megabytes)}
