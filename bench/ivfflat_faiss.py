#!/usr/bin/env python3
"""ivfflat over SQL against FAISS IndexIVFFlat in process: build and search, one thread, the same
lists, the same data, interleaved in one run.

Usage: ivfflat_faiss.py --data DIR --conninfo CONNINFO [--lists N] [--passes N] [--cpu N]

  --data      a folder with base.f16.npy, queries.f16.npy, truth.i32.npy (cosine)
  --conninfo  a database with vecdb; the table bench_faiss in it is made anew
  --lists     lists of both indexes (default: what vecdb chooses)
  --cpu       pin FAISS, client and backend to this processor while searching (needs root or the server's user)
  --passes    interleaved passes; medians and ranges are reported (default 3)

FAISS gets all queries in one call: no cost of Python a query, and it ranks the centroids for all queries in one matrix
product, which no server can do that gets one query at a time; the column "singly" calls it once a query, Python
included. vecdb gets them one by one through
libpq (knn.c), prepared and binary. Processor time (client and backend; the process) is given beside the time on the
clock, since other load on the machine disturbs it less. Needs numpy, faiss-cpu and psycopg, and knn built:
  cc -O2 -I$(pg_config --includedir) bench/knn.c -lpq -lm -o build/knn
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

def text(sql):
    value = db.execute(sql).fetchone()[0]
    return value.decode() if isinstance(value, bytes) else value

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
      f"PostgreSQL {text('SHOW server_version')}, kernels {text('SELECT vecdb_simd()')}\n")
print("| build | seconds |\n|---|---|")
print(f"| FAISS, train + add | {median(build['faiss']):.2f} |\n| vecdb, CREATE INDEX | {median(build['vecdb']):.2f} |")
print(f"| ratio | {spread(build['vecdb'], build['faiss'])} |\n")

if args.cpu is not None:
    os.sched_setaffinity(0, {args.cpu})
    os.environ["KNN_CPU"] = str(args.cpu)
work = tempfile.mkdtemp()
query_file = os.path.join(work, "queries")
queries.astype(np.float32).tofile(query_file)

def run_vecdb(setting):
    """The answers, microseconds of each query, processor time a query (client and backend)."""
    out = os.path.join(work, "out")
    sql = f"SELECT id FROM bench_faiss ORDER BY v <=> $1 LIMIT {K}"
    subprocess.run([args.knn, args.conninfo, sql, query_file, str(dims), str(K), out,
                    "SET enable_seqscan = off"] + setting, check=True)
    raw = open(out, "rb").read()
    ids = np.frombuffer(raw, np.int32, len(queries) * K).reshape(-1, K)
    times = np.frombuffer(raw, np.float64, len(queries) + 1, len(queries) * K * 4)
    return ids, times[:-1], times[-1]

def run_faiss(probes):
    index.nprobe = probes
    start, cpu = time.perf_counter(), time.process_time()
    _, ids = index.search(unit_queries, K)
    return ids, (time.perf_counter() - start) / len(queries) * 1e6, (time.process_time() - cpu) / len(queries) * 1e6

def run_faiss_singly(probes):
    index.nprobe = probes
    cpu = time.process_time()
    for i in range(len(queries)):
        index.search(unit_queries[i:i + 1], K)
    return (time.process_time() - cpu) / len(queries) * 1e6

print("| probes | recall@10 FAISS | vecdb | µs FAISS | vecdb | ratio | processor µs FAISS | singly | vecdb | ratio | to singly |\n|---|---|---|---|---|---|---|---|---|---|---|")
curve = {"faiss": [], "vecdb": []}
for probes in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96):
    if probes > lists:
        break
    faiss_us, vecdb_us, faiss_cpu, single_cpu, vecdb_cpu = [], [], [], [], []
    for p in range(args.passes):
        faiss_ids, us, cpu = run_faiss(probes)
        faiss_us.append(us)
        faiss_cpu.append(cpu)
        single_cpu.append(run_faiss_singly(probes))
        vecdb_ids, times, cpu = run_vecdb([f"SET ivfflat.probes = {probes}"])
        vecdb_us.append(times.mean())
        vecdb_cpu.append(cpu)
    curve["faiss"].append((recall(faiss_ids), median(faiss_us), median(faiss_cpu)))
    curve["vecdb"].append((recall(vecdb_ids), median(vecdb_us), median(vecdb_cpu)))
    print(f"| {probes} | {recall(faiss_ids):.4f} | {recall(vecdb_ids):.4f} | {median(faiss_us):.0f} | {median(vecdb_us):.0f} | {spread(vecdb_us, faiss_us)} "
          f"| {median(faiss_cpu):.0f} | {median(single_cpu):.0f} | {median(vecdb_cpu):.0f} | {spread(vecdb_cpu, faiss_cpu)} | {spread(vecdb_cpu, single_cpu)} |", flush=True)

def at(points, target, column):
    for low, high in zip(points, points[1:]):
        if low[0] <= target <= high[0]:
            return low[column] + (high[column] - low[column]) * (target - low[0]) / max(high[0] - low[0], 1e-9)

print("\n| at recall@10, probes set | µs FAISS | vecdb | ratio | processor µs FAISS | vecdb | ratio |\n|---|---|---|---|---|---|---|")
for target in (0.80, 0.90, 0.95, 0.98):
    f, v, fc, vc = (at(curve[e], target, c) for e, c in (("faiss", 1), ("vecdb", 1), ("faiss", 2), ("vecdb", 2)))
    if f and v:
        print(f"| {target:.2f} | {f:.0f} | {v:.0f} | {v / f:.2f} | {fc:.0f} | {vc:.0f} | {vc / fc:.2f} |")

print("\n| vecdb by declared recall | recall@10 | µs mean | p50 | p99 | processor µs | FAISS at that recall, probes set: µs | processor µs | ratios |\n|---|---|---|---|---|---|---|---|---|")
for setting in (["SET vecdb.target_recall = 0.80"], [], ["SET vecdb.target_recall = 0.99"]):
    passes = [run_vecdb(setting) for p in range(args.passes)]
    ids, times = passes[0][0], np.median([p[1] for p in passes], axis=0)
    us, cpu, r = times.mean(), median([p[2] for p in passes]), recall(ids)
    f, fc = at(curve["faiss"], r, 1), at(curve["faiss"], r, 2)
    rest = f"{f:.0f} | {fc:.0f} | {us / f:.2f}, {cpu / fc:.2f}" if f else "– | – | –"
    print(f"| {setting[0][4:] if setting else 'nothing set (0.95)'} | {r:.4f} | {us:.0f} | {np.percentile(times, 50):.0f} | {np.percentile(times, 99):.0f} | {cpu:.0f} | {rest} |")
