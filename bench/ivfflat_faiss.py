#!/usr/bin/env python3
"""ivfflat over SQL against FAISS IndexIVFFlat in process: build and search, one thread, the same
lists, the same data, interleaved in one run.

Usage: ivfflat_faiss.py --data DIR --conninfo CONNINFO [--lists N] [--passes N] [--cpu N]

  --data      a folder with base.f16.npy, queries.f16.npy, truth.i32.npy (cosine)
  --conninfo  a database with vecdb; the table bench_faiss in it is made anew
  --lists     lists of both indexes (default: what vecdb chooses)
  --passes    interleaved passes; medians and ranges are reported (default 3)
  --cpu       pin client, backend and FAISS to this processor

FAISS gets all queries in one call (no cost of Python a query); vecdb gets them one by one through
libpq (knn.c), prepared and binary. Needs numpy, faiss-cpu and psycopg, and knn built:
  cc -O2 -I$(pg_config --includedir) bench/knn.c -lpq -o build/knn
"""
import argparse, json, os, statistics, struct, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("--data", default=os.path.join(here, "..", "..", "shared", "data"))
parser.add_argument("--conninfo", required=True)
parser.add_argument("--lists", type=int)
parser.add_argument("--passes", type=int, default=3)
parser.add_argument("--cpu", type=int)
parser.add_argument("--knn", default=os.path.join(here, "..", "build", "knn"))
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = "1"
if args.cpu is not None:
    os.sched_setaffinity(0, {args.cpu})

import faiss, numpy as np, psycopg
faiss.omp_set_num_threads(1)
K = 10

base = np.load(os.path.join(args.data, "base.f16.npy")).astype(np.float32)
queries = np.load(os.path.join(args.data, "queries.f16.npy")).astype(np.float32)[:1000]
truth = np.load(os.path.join(args.data, "truth.i32.npy"))[:1000, :K]
n, dims = base.shape
unit = np.ascontiguousarray(base / np.linalg.norm(base, axis=1, keepdims=True))
unit_queries = np.ascontiguousarray(queries / np.linalg.norm(queries, axis=1, keepdims=True))

def recall(ids):
    return sum(len(set(a) & set(b)) for a, b in zip(ids.tolist(), truth.tolist())) / truth.size

db = psycopg.connect(args.conninfo, autocommit=True)
db.execute("CREATE EXTENSION IF NOT EXISTS vecdb")
db.execute("DROP TABLE IF EXISTS bench_faiss")
db.execute(f"CREATE TABLE bench_faiss (id integer, v vector({dims}))")
with db.cursor().copy("COPY bench_faiss FROM STDIN (FORMAT binary)") as copy:
    copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
    for i, row in enumerate(base.astype(">f4")):
        value = struct.pack(">HH", dims, 0) + row.tobytes()
        copy.write(struct.pack(">hiii", 2, 4, i, len(value)) + value)
    copy.write(struct.pack(">h", -1))
db.execute("VACUUM ANALYZE bench_faiss")
db.execute("CHECKPOINT")
db.execute("SET max_parallel_maintenance_workers = 0")
db.execute("SET maintenance_work_mem = '512MB'")
db.execute("SET enable_seqscan = off")
if args.cpu is not None:
    backend = db.execute("SELECT pg_backend_pid()").fetchone()[0]
    os.sched_setaffinity(backend, {args.cpu})

lists = args.lists
build = {"vecdb": [], "faiss": []}
for p in range(args.passes):
    db.execute("DROP INDEX IF EXISTS bench_faiss_v_idx")
    option = f"WITH (lists = {lists})" if lists else ""
    start = time.perf_counter()
    db.execute(f"CREATE INDEX ON bench_faiss USING ivfflat (v vector_cosine_ops) {option}")
    build["vecdb"].append(time.perf_counter() - start)
    if not lists:
        lists = int(db.execute("SELECT value FROM vecdb_index_stats('bench_faiss_v_idx') WHERE metric = 'lists'").fetchone()[0])
    start = time.perf_counter()
    quantizer = faiss.IndexFlatIP(dims)
    index = faiss.IndexIVFFlat(quantizer, dims, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(unit)
    index.add(unit)
    build["faiss"].append(time.perf_counter() - start)

def median(values):
    return statistics.median(values)

def spread(a, b):
    ratios = [x / y for x, y in zip(a, b)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"

print(f"{n:,} rows × {dims}, cosine, {lists} lists, {args.passes} passes, one thread; FAISS {faiss.__version__}, "
      f"{db.execute('SHOW server_version').fetchone()[0]}, vecdb.simd {db.execute('SELECT vecdb_simd()').fetchone()[0]}\n")
print("| build | seconds |\n|---|---|")
print(f"| FAISS, train + add | {median(build['faiss']):.2f} |\n| vecdb, CREATE INDEX | {median(build['vecdb']):.2f} |")
print(f"| ratio | {spread(build['vecdb'], build['faiss'])} |\n")

work = tempfile.mkdtemp()
query_file = os.path.join(work, "queries")
queries.astype(np.float32).tofile(query_file)
def run_vecdb(setting):
    out = os.path.join(work, "out")
    settings = ["SET enable_seqscan = off"] + setting
    sql = f"SELECT id FROM bench_faiss ORDER BY v <=> $1 LIMIT {K}"
    command = [args.knn, args.conninfo, sql, query_file, str(dims), str(K), out] + settings
    if args.cpu is not None:     # the backend of the client is a child of the postmaster: pin it from inside
        postmaster = os.popen(f"ps -o ppid= -p {backend}").read().strip()
        subprocess.run(["taskset", "-cp", str(args.cpu), postmaster], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command, check=True)
    raw = open(out, "rb").read()
    ids = np.frombuffer(raw, np.int32, len(queries) * K).reshape(-1, K)
    return ids, np.frombuffer(raw, np.float64, len(queries), len(queries) * K * 4)

def run_faiss(probes):
    index.nprobe = probes
    start = time.perf_counter()
    _, ids = index.search(unit_queries, K)
    return ids, (time.perf_counter() - start) / len(queries) * 1e6

print("| probes | recall@10 FAISS | recall@10 vecdb | µs a query FAISS | µs a query vecdb, SQL included | ratio |\n|---|---|---|---|---|---|")
curve = {"faiss": [], "vecdb": []}
for probes in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96):
    if probes > lists:
        break
    faiss_us, vecdb_us = [], []
    for p in range(args.passes):
        faiss_ids, us = run_faiss(probes)
        faiss_us.append(us)
        vecdb_ids, times = run_vecdb([f"SET ivfflat.probes = {probes}"])
        vecdb_us.append(times.mean())
    curve["faiss"].append((recall(faiss_ids), median(faiss_us)))
    curve["vecdb"].append((recall(vecdb_ids), median(vecdb_us)))
    print(f"| {probes} | {recall(faiss_ids):.4f} | {recall(vecdb_ids):.4f} | {median(faiss_us):.0f} | {median(vecdb_us):.0f} | {spread(vecdb_us, faiss_us)} |", flush=True)

def at(points, target):
    for (r0, t0), (r1, t1) in zip(points, points[1:]):
        if r0 <= target <= r1:
            return t0 + (t1 - t0) * (target - r0) / max(r1 - r0, 1e-9)

print("\n| at recall@10 | FAISS µs | vecdb µs | ratio |\n|---|---|---|---|")
for target in (0.80, 0.90, 0.95, 0.97):
    f, v = at(curve["faiss"], target), at(curve["vecdb"], target)
    if f and v:
        print(f"| {target:.2f} | {f:.0f} | {v:.0f} | {v / f:.2f} |")

print("\n| vecdb setting | recall@10 | µs mean | p50 | p99 |\n|---|---|---|---|---|")
for setting in ([], ["SET vecdb.target_recall = 0.99"], ["SET vecdb.target_recall = 0.80"]):
    ids, times = run_vecdb(setting)
    print(f"| {setting[0][4:] if setting else 'none'} | {recall(ids):.4f} | {times.mean():.0f} | {np.percentile(times, 50):.0f} | {np.percentile(times, 99):.0f} |")
