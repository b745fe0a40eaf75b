#!/usr/bin/env python3
"""A graph build of src/graph beside that of hnswlib: CPU seconds, and what the graphs are worth.

    make bench-graph-build
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy hnswlib
    /tmp/venv/bin/python bench/graph_build_hnswlib.py test_unit/graph_build_bench VECTORS.npy QUERIES.npy [EF_CONSTRUCTION ...]

Vectors are brought to unit length (--raw: are not). Two threads each; degree 32, and M = 16. Both graphs are judged by the
same plain search on exact distances, from the nearest of 200 random nodes: so of hnswlib's, the bottom layer alone.
"""
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

import hnswlib
import numpy as np

M = 16
THREADS = 2
NONE = 0xFFFFFFFF


def bottom_layer(index):
    """Neighbours of each label, (rows, 2 M), NONE where there is none."""
    state = dict(index.__getstate__()[0])
    n, bytes_each = state["cur_element_count"], state["size_data_per_element"]
    data = np.asarray(state["data_level0"]).view(np.uint8)[:n * bytes_each].reshape(n, bytes_each)
    at = state["offset_level0"]
    links = data[:, at:at + 4 + 8 * M].copy().view(np.uint32)
    at = state["label_offset"]
    labels = data[:, at:at + 8].copy().view(np.uint64)[:, 0].astype(np.uint32)
    missing = np.arange(2 * M)[None, :] >= (links[:, :1] & 0xFFFF)
    edges = labels[np.where(missing, 0, links[:, 1:])]
    edges[missing] = NONE
    graph = np.empty_like(edges)
    graph[labels] = edges
    return graph


def main():
    arguments = [a for a in sys.argv[1:] if a != "--raw"]
    if len(arguments) < 3:
        sys.exit(__doc__)
    program, windows = arguments[0], [int(a) for a in arguments[3:]] or [200, 64]
    rows, queries = (np.load(a).astype(np.float32) for a in arguments[1:3])
    if "--raw" not in sys.argv:
        rows, queries = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (rows, queries))
    with tempfile.TemporaryDirectory() as folder:
        row_path, query_path, graph_path = (os.path.join(folder, a) for a in ("rows", "queries", "graph"))
        rows.tofile(row_path)
        queries.tofile(query_path)

        def judge(*options):
            command = [program, "-q", query_path, "-Q", str(len(queries)), *options, row_path, str(rows.shape[1])]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print("  " + "  ".join(f"{e}: {float(r):.4f} at {d}" for e, r, d in
                                   re.findall(r"ef=(\d+) recall=(\S+) distances=(\d+)", text)), flush=True)
            return text

        for window in windows:
            text = judge("-p", str(THREADS), "-w", str(window), "-m")
            print(f"window {window}: {re.search('cpu=(.*?) ', text)[1]} s CPU, {re.search('wall=(.*?) ', text)[1]} s", flush=True)
            index = hnswlib.Index("l2", rows.shape[1])
            index.init_index(len(rows), M=M, ef_construction=window, random_seed=1)
            cpu, wall = time.process_time(), time.time()
            index.add_items(rows, num_threads=THREADS)
            cpu, wall = time.process_time() - cpu, time.time() - wall
            graph = bottom_layer(index)
            with open(graph_path, "wb") as file:
                file.write(struct.pack("II", *graph.shape))
                graph.tofile(file)
            judge("-g", graph_path)
            print(f"hnswlib M {M}, ef_construction {window}: {cpu:.2f} s CPU, {wall:.2f} s", flush=True)


if __name__ == "__main__":
    main()
