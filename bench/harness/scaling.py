"""scaling.py: what the measured growth means for more rows than were measured."""
from harness import measure, plots, report

FAR = (10_000_000, 100_000_000)


def far(run):
    """Markdown: measured bytes per row, exponents, and what 10 and 100 million rows would take by them.

    An exponent is fitted over all sizes measured, and the curve goes through the largest one. Everything beyond
    the largest size is said to be extrapolated.
    """
    series = plots.scaling_series(run)
    largest = max((d["rows"] for d in run["data"]), default=0)
    dims = run["data"][0]["dims"] if run["data"] else 0
    lines = ["## What this means for 10 and 100 million rows\n",
             f"**Extrapolated**, not measured: from the figure at {largest:,} rows by the exponent fitted over all sizes, n^b. Size grows with the "
             "rows; time by inverted lists grows with lists × rows. It holds for a machine whose memory holds the index; beyond "
             f"that each page is a read from disk. {dims} dimensions; size and memory grow with them almost in proportion.\n"]
    units = {"latency": ("latency at recall@10 0.95", micro), "build": ("build", duration), "memory": ("peak memory of the build", megabytes), "size": ("index size", megabytes)}
    rows = []
    for name, (what, text) in units.items():
        for result, points in series[name]["lines"]:
            power = measure.growth(*zip(*points))
            n, value = points[-1]
            per_row = f"{value * 1e6 / n:,.0f}" if name in ("memory", "size") else "–"
            rows.append([what, report.title(result), f"{n:,}", text(value), per_row, "–" if power is None else f"{power:.2f}"] +
                        ["–" if power is None else text(value * (more / n) ** power) for more in FAR])
    lines.append(report.table(["", "engine", "largest measured", "there", "bytes a row", "b", "10 million", "100 million"], rows, left=2))
    return "\n".join(lines)


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
