#!/usr/bin/env python3
"""Estimates per second over blocks of 4-bit codes: src/quant/fastscan.c beside the FastScan indexes of FAISS.

    make bench-fastscan
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy faiss-cpu
    taskset -c 1 /tmp/venv/bin/python bench/fastscan_faiss.py test_unit/fastscan_bench [LEVEL]

One thread, one query a call, 200,000 rows of random codes, the nearest row kept; IndexPQFastScan and IndexRaBitQFastScan.
What a row takes is the time of a search of all rows less that of a search of the first 1,024, so neither the
query's preparation nor Python's call counts. Both take turns, in ROUNDS rounds; each figure is the median of the rounds' medians,
the ratio that of the rounds' ratios. LEVEL is for both (avx2, avx512).
"""
import os
import re
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
LEVEL = sys.argv[2] if len(sys.argv) > 2 else None
if LEVEL:
    os.environ["FAISS_SIMD_LEVEL"] = LEVEL.upper()
import faiss  # noqa: E402
import numpy as np  # noqa: E402

ROWS = 200_000
FEW = 1_024
ROUNDS = 5
SEARCHES = 41
CASES = [("pq", m) for m in (16, 32, 48, 96, 192, 384)] + [("rabitq", dim) for dim in (128, 384, 768, 1536)]


def faiss_indexes(kind, number):
    """An index of all rows, one of the first few, and a query."""
    dim = 2 * number if kind == "pq" else number
    rng = np.random.default_rng(1)
    whole, few = [faiss.IndexPQFastScan(dim, number, 4) if kind == "pq" else faiss.IndexRaBitQFastScan(dim) for _ in range(2)]
    first = rng.standard_normal((FEW, dim), dtype=np.float32)
    for index in (whole, few):
        index.train(first)
        index.add(first)
    # codes need not be of different rows
    more = rng.standard_normal((10_240, dim), dtype=np.float32)
    while whole.ntotal < ROWS:
        whole.add(more[:ROWS - whole.ntotal])
    return whole, few, rng.standard_normal((1, dim), dtype=np.float32)


def median_ns(index, query):
    index.search(query, 1)
    times = []
    for _ in range(SEARCHES):
        start = time.perf_counter_ns()
        index.search(query, 1)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times))


def run_ours(program, kind, number, *options):
    command = [program, "-n", str(ROWS), "-r", str(SEARCHES), *options, *(["-l", LEVEL] if LEVEL else []), kind, str(number)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(re.search(rf"{name}=(\S+)", text).group(1)) for name in ("all", "few")]


def main():
    program = sys.argv[1]
    faiss.omp_set_num_threads(1)
    print(f"FAISS {faiss.__version__}, {faiss.SIMDConfig.get_level_name() if hasattr(faiss, 'SIMDConfig') else 'level unknown'}")
    print("| codes | FAISS, million estimates/s | vecdb | ratio (least, most) | a search of 1,024 rows, us: FAISS, vecdb |")
    print("|---|---|---|---|---|")
    for kind, number in CASES:
        whole, few, query = faiss_indexes(kind, number)
        kinds = [()] if kind == "pq" else [(), ("-f",)]
        rounds = []
        for _ in range(ROUNDS):
            theirs = (median_ns(whole, query), median_ns(few, query))
            rounds.append([theirs] + [run_ours(program, kind, number, *options) for options in kinds])
        rounds = np.array(rounds)
        rate = 1e3 * (ROWS - FEW) / (rounds[:, :, 0] - rounds[:, :, 1])
        for i, options in enumerate(kinds, start=1):
            ratio = rate[:, i] / rate[:, 0]
            name = f"{kind} {number}{' fine' if options else ''}"
            print(f"| {name} | {np.median(rate[:, 0]):.0f} | {np.median(rate[:, i]):.0f} | {np.median(ratio):.2f} ({ratio.min():.2f}, {ratio.max():.2f}) "
                  f"| {np.median(rounds[:, 0, 1]) / 1e3:.1f}, {np.median(rounds[:, i, 1]) / 1e3:.1f} |", flush=True)


if __name__ == "__main__":
    main()
