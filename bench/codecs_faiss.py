#!/usr/bin/env python3
"""Product (plain and after a learnt rotation) and scalar quantisation of src/quant beside those of FAISS: reconstruction error and CPU seconds.

    make bench-codecs
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy faiss-cpu
    /tmp/venv/bin/python bench/codecs_faiss.py test_unit/codec_bench [VECTORS.npy]

Data: clustered rows (50,000 x 128, made here) and, where given, rows of an .npy file. One thread each; median of three
seeds. "error" is the mean squared distance of a row and what its code stands for, over all rows. Both train on the
same 256 points a centroid (16,384 at most where a rotation is learnt), FAISS with its default of 25 iterations; its rotation
in its default of 50, ours in 20.
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

from kmeans_faiss import clustered  # noqa: E402

ROUNDS = 3
ROTATIONS = 20              # iterations of ours that learn a rotation
ROTATION_POINTS = 16384


def run_faiss(rows, m, bits, points, seed, rotate):
    if m is None:
        pq = faiss.ScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit)
    else:
        pq = faiss.ProductQuantizer(rows.shape[1], m, bits)
        pq.cp.seed = seed
    start = time.process_time()
    if rotate:
        rotation = faiss.OPQMatrix(rows.shape[1], m)
        rotation.pq = faiss.ProductQuantizer(rows.shape[1], m, bits)
        rotation.train(rows[:points])
        rows = rotation.apply(rows)
    pq.train(rows[:points])
    trained = time.process_time()
    codes = pq.compute_codes(rows)
    encoded = time.process_time()
    return float(((rows - pq.decode(codes)) ** 2).sum(1).mean()), trained - start, encoded - trained


def run_ours(program, path, dim, m, bits, points, seed, rotate):
    kind = ["-s"] if m is None else ["-m", str(m), "-b", str(bits)] + (["-o", str(ROTATIONS)] if rotate else [])
    command = [program, *kind, "-n", str(points), "-r", str(seed), path, str(dim)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(float(re.search(rf"{name}=(\S+)", text).group(1)) for name in ("error", "train", "encode"))


def main():
    program = sys.argv[1]
    faiss.omp_set_num_threads(1)
    cases = [("clustered 50,000 x 128", clustered(50_000, 128, 500))]
    if len(sys.argv) > 2:
        rows = np.load(sys.argv[2]).astype(np.float32)
        cases.append((f"{sys.argv[2].split('/')[-1]} {len(rows):,} x {rows.shape[1]}", rows))
    print("| rows | m | bits | error: FAISS | vecdb | ratio | training, CPU s: FAISS | vecdb | encoding: FAISS | vecdb |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, rows in cases:
        rows = np.ascontiguousarray(rows[np.random.default_rng(1).permutation(len(rows))])
        dim = rows.shape[1]
        with tempfile.NamedTemporaryFile() as file:
            rows.tofile(file.name)
            for m, bits, rotate in ((None, 8, False), (dim // 8, 8, False), (dim // 4, 8, False), (dim // 2, 4, False), (dim // 4, 4, True), (dim // 8, 8, True)):
                points = min(len(rows), 256 << bits, ROTATION_POINTS if rotate else len(rows))
                theirs = np.median([run_faiss(rows, m, bits, points, seed + 1, rotate) for seed in range(ROUNDS)], axis=0)
                ours = np.median([run_ours(program, file.name, dim, m, bits, points, seed + 1, rotate) for seed in range(ROUNDS)], axis=0)
                print(f"| {name} | {m or 'scalar'}{', rotated' if rotate else ''} | {bits} | {theirs[0]:.5g} | {ours[0]:.5g} | {ours[0] / theirs[0]:.4f} "
                      f"| {theirs[1]:.2f} | {ours[1]:.2f} | {theirs[2]:.2f} | {ours[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
