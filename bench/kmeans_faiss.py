#!/usr/bin/env python3
"""k-means of src/quant beside that of FAISS: CPU seconds and mean squared distance.

    make bench-kmeans
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy faiss-cpu
    /tmp/venv/bin/python bench/kmeans_faiss.py test_unit/kmeans_bench [VECTORS.npy]

Data: clustered rows (200,000 x 128, made here) and, where given, rows of an
.npy file, brought to unit length. One thread each; the two take turns, and
the median counts. "quality" is the mean over all rows of the squared distance
to the nearest centroid, computed by FAISS for both. FAISS: 10 iterations, at
most 256 points a centroid, which are its defaults for IndexIVFFlat.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"
import faiss  # noqa: E402
import numpy as np  # noqa: E402

ROUNDS = 3


def clustered(n=200_000, dim=128, centres=2_000):
    rng = np.random.default_rng(5)
    middle = rng.standard_normal((centres, dim), dtype=np.float32)
    which = (rng.random(n) ** 2 * centres).astype(int)
    return middle[which] + 0.5 * rng.standard_normal((n, dim), dtype=np.float32)


def quality(rows, centroids, spherical):
    index = faiss.IndexFlatIP(rows.shape[1]) if spherical else faiss.IndexFlatL2(rows.shape[1])
    index.add(centroids)
    value, nearest = index.search(rows, 1)
    size = np.bincount(nearest[:, 0], minlength=len(centroids))
    mean = np.mean(2 - 2 * value) if spherical else np.mean(value)
    return float(mean), size.max() / size.mean(), int((size == 0).sum())


def run_faiss(rows, k, spherical):
    start = time.process_time()
    means = faiss.Kmeans(rows.shape[1], k, niter=10, spherical=spherical, seed=run_faiss.seed)
    means.train(rows)
    run_faiss.seed += 1
    return time.process_time() - start, means.centroids


run_faiss.seed = 1


def run_ours(program, path, rows, k, spherical, points, seed):
    with tempfile.NamedTemporaryFile() as out:
        command = [program, "-k", str(k), "-n", str(points), "-i", "10", "-r", str(seed), "-o", out.name]
        command += ["-s"] if spherical else []
        text = subprocess.run(command + [path, str(rows.shape[1])], check=True, capture_output=True, text=True).stdout
        centroids = np.fromfile(out.name, np.float32).reshape(-1, rows.shape[1])
    return float(re.search(r"train=([\d.]+)", text).group(1)), centroids


def main():
    program = sys.argv[1]
    faiss.omp_set_num_threads(1)
    cases = [("clustered 200,000 x 128", clustered(), 1000, False)]
    if len(sys.argv) > 2:
        rows = np.load(sys.argv[2]).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        name = f"{sys.argv[2].split('/')[-1]} {len(rows):,} x {rows.shape[1]}"
        cases += [(name, rows, k, s) for k in (250, 1000) for s in (False, True)]

    print("| rows | k | metric | who | points | CPU s | of FAISS | quality | of FAISS | largest / mean | empty |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, rows, k, spherical in cases:
        # the samples are prefixes, so the order must be random
        rows = np.ascontiguousarray(rows[np.random.default_rng(1).permutation(len(rows))])
        with tempfile.NamedTemporaryFile() as file:
            rows.tofile(file.name)
            samples = [len(rows)] + [p * k for p in (128, 64) if p * k < len(rows)]
            results = {who: [] for who in ["FAISS"] + samples}
            for seed in range(ROUNDS):
                cpu, centroids = run_faiss(rows, k, spherical)
                results["FAISS"].append((cpu, *quality(rows, centroids, spherical)))
                for points in samples:
                    cpu, centroids = run_ours(program, file.name, rows, k, spherical, points, seed + 1)
                    results[points].append((cpu, *quality(rows, centroids, spherical)))
        base = np.median(np.array(results["FAISS"]), axis=0)
        for who, values in results.items():
            cpu, mean, largest, empty = np.median(np.array(values), axis=0)
            points = f"{min(len(rows), 256 * k) if who == 'FAISS' else who:,}"
            print(f"| {name} | {k} | {'spherical' if spherical else 'L2'} | {who if who == 'FAISS' else 'vecdb'} | {points} "
                  f"| {cpu:.2f} | {cpu / base[0]:.2f} | {mean:.5g} | {mean / base[1]:.4f} | {largest:.1f} | {empty:.0f} |", flush=True)


if __name__ == "__main__":
    main()
