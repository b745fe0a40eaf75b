#!/usr/bin/env python3
"""Make the data of this folder: a random third of Debian's packages, at 8 bits a value.

Usage: make_subset.py SOURCE [OUT]
  SOURCE  folder with the full data set: base.f16.npy, base.tsv.gz, queries.f16.npy, queries.txt
  OUT     where to write; this folder if not given

The rows are drawn by one call of NumPy's generator with the seed below, whatever they hold. A vector becomes its
largest magnitude in 127 steps: an int8 code a value, and one float32 scale that makes code * scale a vector of length 1.
The truth is computed from the codes, that is, from what a reader of this folder sees; the recall of that truth against
the one over the float16 source is printed at the end and stated in README.md.
"""
import gzip
import os
import sys

import numpy as np

SEED = 20261123
ROWS = 20000
DEPTH = 100                     # neighbours kept a query


def quantise(vectors):
    """int8 codes and the float32 scale that gives each row length 1."""
    v = vectors.astype(np.float64)
    step = np.abs(v).max(axis=1, keepdims=True) / 127
    codes = np.rint(v / step).astype(np.int8)
    length = np.sqrt((codes.astype(np.int64) ** 2).sum(axis=1))
    return codes, (1 / length).astype(np.float32)


def nearest(base, queries, depth):
    """Exact neighbours by cosine distance in float64; equal distances by id."""
    b = base.astype(np.float64)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    q = queries.astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    ids = np.empty((len(q), depth), np.int32)
    distances = np.empty((len(q), depth), np.float32)
    for s in range(0, len(q), 150):
        d = 1 - q[s:s + 150] @ b.T
        order = np.argsort(d, axis=1, kind="stable")[:, :depth]
        ids[s:s + 150] = order
        distances[s:s + 150] = np.take_along_axis(d, order, 1)
        print(f"\r  {min(s + 150, len(q))} of {len(q)} queries", end="", flush=True)
    print()
    return ids, distances


def overlap(found, truth, k):
    return np.mean([len(set(f) & set(t)) / k for f, t in zip(found[:, :k], truth[:, :k])])


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = sys.argv[1]
    out = sys.argv[2] if len(sys.argv) == 3 else os.path.dirname(os.path.abspath(__file__))

    full = np.load(os.path.join(source, "base.f16.npy"))
    queries = np.load(os.path.join(source, "queries.f16.npy"))
    chosen = np.sort(np.random.default_rng(SEED).choice(len(full), ROWS, replace=False))
    with gzip.open(os.path.join(source, "base.tsv.gz"), "rt", encoding="utf-8") as f:
        lines = f.read().rstrip("\n").split("\n")
    assert len(lines) == len(full)

    base = full[chosen]
    codes, scales = quantise(base)
    query_codes, query_scales = quantise(queries)
    print("exact neighbours over the 8-bit values:")
    ids, distances = nearest(codes, query_codes, DEPTH)

    def save(name, array):
        np.save(os.path.join(out, name), array)

    save("base.i8.npy", codes)
    save("base_scale.f32.npy", scales)
    save("queries.i8.npy", query_codes)
    save("queries_scale.f32.npy", query_scales)
    save("truth.i32.npy", ids)
    save("truth_distance.f32.npy", distances)
    with open(os.path.join(source, "queries.txt"), encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(out, "queries.txt"), "w", encoding="utf-8") as f:
        f.write(text)
    with gzip.GzipFile(os.path.join(out, "base.tsv.gz"), "wb", 9, mtime=0) as f:
        for i, row in enumerate(chosen):
            f.write((str(i) + "\t" + lines[row].split("\t", 1)[1] + "\n").encode())

    print("the same over float16:")
    ids16, distances16 = nearest(base, queries, DEPTH)
    for k in (10, 100):
        print(f"recall@{k} of the 8-bit truth against the float16 truth: {overlap(ids, ids16, k):.4f}")
    moved = np.take_along_axis(
        1 - normal(query_codes) @ normal(codes).T, ids16[:, :10].astype(np.int64), 1) - distances16[:, :10]
    print(f"change of those distances: root mean square {np.sqrt((moved ** 2).mean()):.5f}, largest {np.abs(moved).max():.5f}")
    total = sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out)
                if n.endswith((".npy", ".gz", ".txt")))
    print(f"{ROWS} rows x {full.shape[1]}, {len(queries)} queries, {total / 1e6:.1f} MB")


def normal(v):
    v = v.astype(np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
