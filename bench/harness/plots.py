"""plots.py: the plots of a run, as PNG and SVG, from its JSON.

They must read without the text around them: title and subtitle say what, on which data and machine; each curve is
labelled at its end; vecdb is the thick black one, so that a print in grey shows the same.
"""
import math
import os
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness import measure, report

# Okabe and Ito's colours, chosen to differ in grey as well; each peer has a marker of its own.
STYLES = {"vecdb": ("#000000", "o"), "pgvector": ("#D55E00", "s"), "faiss": ("#0072B2", "^"), "hnswlib": ("#009E73", "D"),
          "usearch": ("#CC79A7", "v"), "annoy": ("#8C6D1F", "P"), "scann": ("#56B4E9", "X"), "svs": ("#7A3E9D", "*"),
          "scalable-vs": ("#7A3E9D", "*")}
OVER_SQL = ("vecdb", "pgvector")
GREY = "#555555"
TICKS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
FEWEST_SIZES = 3            # numbers of rows that an exponent of growth is fitted to
NEAREST = 0.004             # how far from 1 the recall axis puts 1.0

plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
                     "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "svg.fonttype": "none", "svg.hashsalt": "vecdb",
                     "axes.titlelocation": "left", "figure.facecolor": "white"})


def style(result):
    return STYLES.get(result["name"], ("#666666", "h"))


def label(result):
    return report.title(result) + ("" if result["name"] in OVER_SQL else " (in process)")


def machine_line(run):
    m = run["machine"]
    cpu = re.sub(r"\((R|TM)\)", "", m["cpu"])
    return f"{cpu}, {m['cores']} cores · commit {run['commit']} · {run['date'].split()[0]}"


def headings(figure, axes, title, lines):
    """Title and subtitle above the axes, flush with the figure's left edge."""
    height = figure.get_figheight()
    top = 1 - 0.12 / height
    figure.text(0.012, top, title, ha="left", va="top", fontsize=13.5, fontweight="bold")
    figure.text(0.012, top - 0.30 / height, "\n".join(lines), ha="left", va="top", fontsize=9, color=GREY, linespacing=1.35)
    figure.subplots_adjust(top=1 - (0.62 + 0.17 * len(lines)) / height)


def save(figure, stem):
    """Writes stem.png and stem.svg; returns the PNG's name."""
    figure.savefig(stem + ".png", dpi=140)
    figure.savefig(stem + ".svg", metadata={"Date": None})
    plt.close(figure)
    return os.path.basename(stem) + ".png"


def place(wanted, gap):
    """Positions near `wanted` (rising order of the list), at least gap apart, moved as little as needed."""
    groups = []             # [sum of offsets-free positions, members]
    for value in wanted:
        groups.append([value, 1])
        while len(groups) > 1:
            (a, n), (b, m) = groups[-2], groups[-1]
            if b - a >= gap * (n + m) / 2:
                break
            groups[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    placed = []
    for centre, count in groups:
        placed += [centre + gap * (i - (count - 1) / 2) for i in range(count)]
    return placed


def end_labels(axes, ends, gap):
    """Labels right of the axes, each level with its curve's end as far as room allows, joined to it by a thin line.

    ends: (x, y, text, colour, weight) in data coordinates; the y axis is logarithmic. gap: share of the axes' height.
    """
    to_axes = lambda x, y: axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    ends = sorted(ends, key=lambda e: e[1])
    spots = [to_axes(x, y) for x, y, *_ in ends]
    for (x, y, text, colour, weight), (ax, ay), level in zip(ends, spots, place([s[1] for s in spots], gap)):
        axes.annotate(text, xy=(ax, ay), xycoords="axes fraction", xytext=(1.035, level), textcoords="axes fraction",
                      color=colour, fontweight=weight, fontsize=9.5, va="center", ha="left", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "alpha": 0.6, "shrinkA": 2, "shrinkB": 5,
                                  "relpos": (0, 0.5)})


def recall_axis(axes, lowest):
    """An axis of recall that gives the upper end the room it deserves; 1.0 has a place."""
    forward = lambda r: -_log(1 + NEAREST - r)
    backward = lambda v: 1 + NEAREST - _exp(-v)
    axes.set_xscale(FuncScale(axes, (forward, backward)))
    ticks = [t for t in TICKS if t >= lowest]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlim(lowest, 1.0005)


def _log(values):
    import numpy as np
    return np.log(np.maximum(values, 1e-9))


def _exp(values):
    import numpy as np
    return np.exp(values)


def thousands(value, _=None):
    if value >= 1:
        return f"{value:,.0f}"
    return f"{value:g}"


def log_axis(axis, low, high):
    """Ticks at 1, 2 and 5 of each decade (1 alone over many decades), written out."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 20_000 else (1,)
    axis.set_major_locator(FixedLocator([s * 10.0 ** d for d in decades for s in steps]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(thousands))


def recall_plot(run, data, stem):
    """Recall against queries a second, one client, of all engines on one data set."""
    results = report.of_data(run, data)
    figure, axes = plt.subplots(figsize=(9.6, 6.0))
    ends, speeds, lowest = [], [], 1.0
    axes.set_yscale("log")
    drawn = []
    us = report.ours(results)
    for r in sorted(results, key=lambda r: r is us):
        colour, marker = style(r)
        many = measure.curves(r)
        for name, searches in many:
            points = [(measure.recall_at(s), measure.median(measure.column(s, "qps"))) for s in searches]
            points = sorted(p for p in points if p[0] is not None and p[1])
            if not points:
                continue
            emphasis = r["name"] == "vecdb" and not report.exact(r)
            own = label(r)
            if len(many) > 1:
                own += f", {name.split('.')[-1].replace('_', ' ') or 'nothing set'}"
            drawn.append((r, points, emphasis, own, colour, marker, emphasis and name.endswith("target_recall")))
            speeds += [p[1] for p in points]
            lowest = min(lowest, points[0][0])
    if not speeds:
        plt.close(figure)
        return None
    floor = measure.median(report.floor_us(us)) if us is not None and us["floor"] else None
    low, high = min(speeds), max(speeds + ([1e6 / floor] if floor else []))
    axes.set_ylim(low / 1.5, high * 1.5)
    recall_axis(axes, max(0.0, min(0.75, math.floor((lowest - 0.02) * 20) / 20)))
    log_axis(axes.yaxis, low / 1.5, high * 1.5)
    for r, points, emphasis, own, colour, marker, second in drawn:
        process = r["name"] not in OVER_SQL
        axes.plot(*zip(*points), color=colour, marker=marker, markersize=6 if emphasis else 5, linewidth=2.8 if emphasis else 1.5,
                  linestyle=":" if second else (0, (5, 2)) if process else "-", zorder=5 if emphasis else 3,
                  markerfacecolor="white" if process or second else colour, markeredgewidth=1.2, clip_on=False)
        ends.append((*points[-1], own, colour, "bold" if emphasis else "normal"))
    figure.subplots_adjust(left=0.1, right=0.735, bottom=0.105)
    headings(figure, axes, f"Recall and speed: {data.get('label') or data['name']}",
             [f"{data['rows']:,} vectors × {data['dims']} dimensions, {data['metric']}; up and to the right is better. One client, one query at a time.",
              "Solid: over SQL; dashed: a library in a process of its own, no SQL. " + ("Hollow, dotted: effort by declared recall." if any(d[-1] for d in drawn) else ""),
              machine_line(run)])
    if floor:
        # beside the axes, where no curve runs through it
        axes.axhline(1e6 / floor, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        ends.append((1.0, 1e6 / floor, "floor: look-up by primary key", GREY, "normal"))
    axes.grid(True, color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{report.recall_name(results)}: share of the true nearest rows found (axis stretched towards 1)", color=GREY)
    axes.set_ylabel("queries per second (logarithmic)", color=GREY)
    end_labels(axes, ends, 0.05)
    return save(figure, stem)


def bars_plot(run, data, stem):
    """Build seconds, index size and peak memory of the engines on one data set, as three rows of bars."""
    results = [r for r in report.of_data(run, data) if r["builds"] and not report.exact(r)]
    if not results:
        return None
    us = report.ours(results)
    panels = (("build, seconds", lambda r: measure.median(report.build_values(r, "seconds")), lambda v: report.number(v)),
              ("index, MB", lambda r: mega(r["builds"][-1].get("index_bytes")), lambda v: report.number(v)),
              ("memory of the build, MB", lambda r: mega(r["builds"][-1].get("peak_bytes")), lambda v: report.number(v)))
    figure, all_axes = plt.subplots(1, 3, figsize=(9.6, 1.9 + 0.42 * len(results)), sharey=True)
    for axes, (name, value_of, text_of) in zip(all_axes, panels):
        values = [value_of(r) for r in results]
        biggest = max([v for v in values if v] or [1])
        for i, (r, value) in enumerate(zip(results, values)):
            emphasis = r is us
            axes.barh(i, value or 0, height=0.62, color="#000000" if emphasis else "#b9b9b9")
            axes.text((value or 0) + 0.02 * biggest, i, text_of(value), va="center", ha="left", fontsize=9.5,
                      fontweight="bold" if emphasis else "normal")
        axes.set_xlim(0, biggest * 1.28)
        axes.set_title(name, fontsize=10, color=GREY)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    all_axes[0].set_yticks(range(len(results)), [label(r) for r in results])
    for tick, r in zip(all_axes[0].get_yticklabels(), results):
        tick.set_color("black")
        tick.set_fontweight("bold" if r is us else "normal")
    all_axes[0].invert_yaxis()
    widest = max(len(label(r)) for r in results)
    figure.subplots_adjust(left=min(0.34, 0.02 + 0.0085 * widest), right=0.985, bottom=0.05, wspace=0.08)
    headings(figure, all_axes[0], f"Build time, size and memory: {data.get('label') or data['name']}",
             [f"{data['rows']:,} vectors × {data['dims']} dimensions, {data['metric']}; shorter is better. One index each, the one that the searches use.",
              "Memory: what the build needed beyond what was there before, the finished index included.", machine_line(run)])
    figure.subplots_adjust(top=1 - 1.42 / figure.get_figheight())
    return save(figure, stem)


def mega(value):
    return None if value is None else value / 1e6


def scaling_plot(run, stem):
    """How latency at recall 0.95, build time, memory and size grow with the number of rows; log-log, with exponents."""
    series = scaling_series(run)
    series = {k: v for k, v in series.items() if any(len(line[1]) > 1 for line in v["lines"])}
    if not series:
        return None
    figure, grid = plt.subplots(2, 2, figsize=(10.4, 8.4))
    first = run["data"][0]
    for axes, (name, what) in zip(grid.flat, series.items()):
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends, values = [], []
        for r, points in what["lines"]:
            if not points:
                continue
            colour, marker = style(r)
            emphasis = r["name"] == "vecdb" and not report.exact(r)
            axes.plot(*zip(*points), color=colour, marker=marker, linewidth=2.6 if emphasis else 1.4, markersize=5,
                      linestyle="-" if r["name"] in OVER_SQL else (0, (5, 2)), zorder=5 if emphasis else 3)
            _, power = exponent(name, r, points)
            ends.append((*points[-1], report.title(r) + (f"  ~ n^{power:.2f}" if power is not None else ""), colour, "bold" if emphasis else "normal"))
            values += [v for _, v in points]
        sizes = sorted({d["rows"] for d in run["data"]})
        axes.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)
        axes.set_ylim(min(values) / 1.6, max(values) * 1.6)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v < 1e6 else f"{v / 1e6:g} million"))
        axes.tick_params(axis="x", labelsize=8)
        log_axis(axes.yaxis, min(values) / 1.6, max(values) * 1.6)
        axes.grid(True, color="#e3e3e3", linewidth=0.7)
        axes.set_title(what["title"], fontsize=10.5, color="black")
        axes.set_xlabel("rows", color=GREY)
        what["ends"] = (axes, ends)
    for axes in list(grid.flat)[len(series):]:
        axes.set_visible(False)
    figure.subplots_adjust(left=0.065, right=0.825, bottom=0.065, wspace=0.78, hspace=0.36)
    headings(figure, grid[0][0], "Growth with the number of rows", [
        f"{first['name'].split(':')[0]} data, {first['dims']} dimensions, {first['metric']}; {sizes_text(run)} rows.",
        "Both axes logarithmic; n^b: exponent of growth, fitted (of latency: above the floor)", machine_line(run)])
    figure.subplots_adjust(top=1 - 1.52 / figure.get_figheight())
    for what in series.values():
        end_labels(*what["ends"], 0.075)
    return save(figure, stem)


def exponent(name, result, points):
    """(floor, b) of values that grow as floor + c n^b; b is None where too few sizes were measured.

    A latency over SQL has a floor, what a look-up by primary key takes whatever the number of rows."""
    floor = measure.median(report.floor_us(result)) or 0 if name == "latency" else 0
    above = [(n, value - floor) for n, value in points if value > floor]
    return floor, measure.growth(*zip(*above)) if len(above) >= FEWEST_SIZES else None


def sizes_text(run):
    sizes = sorted({d["rows"] for d in run["data"]})
    return f"{sizes[0]:,} to {sizes[-1]:,}"


def scaling_series(run):
    """{name: {"title", "lines": [(a result, [(rows, value), …]), …]}} of a run whose data sets differ in rows only."""
    panels = {
        "latency": ("latency at recall@10 0.95, µs", lambda r: measure.median(report.values_at(r, 0.95, "us") or [])),
        "build": ("build, seconds", lambda r: measure.median(report.build_values(r, "seconds"))),
        "memory": ("peak memory of the build, index included, MB", lambda r: mega(r["builds"][-1].get("peak_bytes")) if r["builds"] else None),
        "size": ("index, MB", lambda r: mega(r["builds"][-1].get("index_bytes")) if r["builds"] else None)}
    keys = list(dict.fromkeys(r["key"] for r in run["results"]))
    found = {}
    for name, (title, value_of) in panels.items():
        lines = []
        for key in keys:
            points = []
            for data in sorted(run["data"], key=lambda d: d["rows"]):
                r = next((r for r in report.of_data(run, data) if r["key"] == key), None)
                value = value_of(r) if r is not None and (name == "latency" or not report.exact(r)) else None
                if value and value > 0:
                    points.append((data["rows"], value))
            if points:
                lines.append((next(r for r in run["results"] if r["key"] == key), points))
        found[name] = {"title": title, "lines": lines}
    return found


def safe(name):
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def draw(run, folder, stem):
    """Draws all plots of a run into folder: {data set: [(caption, file), …]}, with those of no single data set under ''."""
    drawn = {}
    for data in run["data"]:
        for kind, function, caption in (("recall", recall_plot, "Recall against queries a second, one client"),
                                        ("build", bars_plot, "Build time, index size and memory")):
            file = function(run, data, os.path.join(folder, f"{stem}-{safe(data['name'])}-{kind}"))
            if file:
                drawn.setdefault(data["name"], []).append((f"{caption}: {data['name']}", file))
    if run.get("kind") == "scaling":
        file = scaling_plot(run, os.path.join(folder, f"{stem}-growth"))
        if file:
            drawn[""] = [("Growth with the number of rows", file)]
    return drawn
