"""The benchmark's data sets, its exact neighbours, and the recall it reports (bench/harness/data.py). No server needed."""

import hashlib
import io
import json
import math
import os
import sys
import tarfile

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))

from harness import data
from harness.data import DataError, DataSet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("VECDB_BENCH_CACHE", str(folder))
    monkeypatch.delenv("VECDB_BENCH_DATA", raising=False)
    return folder


def made(metric, base, queries):
    return DataSet("made", metric, np.ascontiguousarray(base, np.float32), np.ascontiguousarray(queries, np.float32), "made")


def brute_force(ds, k):
    """The k nearest by exact sums, one pair at a time."""
    answers = []
    for q in ds.queries.astype(float).tolist():
        far = []
        for i, b in enumerate(ds.base.astype(float).tolist()):
            product = math.fsum(x * y for x, y in zip(q, b))
            if ds.metric == "ip":
                far.append((-product, i))
            elif ds.metric == "l2":
                far.append((math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(q, b))), i))
            elif any(b):
                far.append((1 - product / math.sqrt(math.fsum(x * x for x in q)) / math.sqrt(math.fsum(x * x for x in b)), i))
        answers.append(sorted(far)[:k])
    return np.array([[i for _, i in a] for a in answers]), np.array([[d for d, _ in a] for a in answers])


# --- truth ---

@pytest.mark.parametrize("metric", data.METRICS)
@pytest.mark.parametrize("n, d, k", [(1, 1, 1), (7, 3, 7), (333, 5, 10), (700, 37, 100)])
def test_truth_is_brute_force(rng, monkeypatch, metric, n, d, k):
    """In portions that divide nothing evenly."""
    monkeypatch.setattr(data, "ROW_PORTION", 64)
    monkeypatch.setattr(data, "QUERY_PORTION", 4)
    ds = made(metric, rng.standard_normal((n, d)), rng.standard_normal((9, d)))
    ids, distances = data.truth(ds, k)
    expected_ids, expected = brute_force(ds, k)
    assert ids.dtype == np.int32 and ids.shape == (9, k)
    np.testing.assert_allclose(distances, expected, rtol=1e-12, atol=1e-14)
    # In one dimension all cosine distances are 0 or 2: the ids are those of ties.
    if d > 1:
        np.testing.assert_array_equal(ids, expected_ids)
    data.verify_truth(ds, k)


@pytest.mark.parametrize("metric, scale", [("l2", 1e-25), ("l2", 1e25), ("ip", 1e-25), ("ip", 1e18), ("cosine", 1e-30), ("cosine", 1e30)])
def test_truth_of_extreme_values(rng, metric, scale):
    """Squares that float32 cannot hold."""
    ds = made(metric, rng.standard_normal((500, 6)) * scale, rng.standard_normal((5, 6)) * scale)
    np.testing.assert_array_equal(data.truth(ds, 20)[0], brute_force(ds, 20)[0])


def test_truth_where_float32_is_blind(rng):
    """Rows far from the origin and close to each other: their float32 scores are nearly all alike."""
    ds = made("l2", 5000 + 0.05 * rng.standard_normal((3000, 16)), 5000 + 0.05 * rng.standard_normal((4, 16)))
    q, b = ds.queries, ds.base
    float32_only = np.argsort((b * b).sum(axis=1) - 2 * q @ b.T, axis=1)[:, :10]
    ids, _ = data.truth(ds, 10)
    np.testing.assert_array_equal(ids, brute_force(ds, 10)[0])
    assert (float32_only != ids).any()


@pytest.mark.parametrize("metric", data.METRICS)
def test_equal_rows_by_id(rng, monkeypatch, metric):
    monkeypatch.setattr(data, "ROW_PORTION", 50)
    few = rng.standard_normal((8, 19))
    which = rng.integers(0, 8, 400)
    ds = made(metric, few[which], rng.standard_normal((6, 19)))
    ids, distances = data.truth(ds, 90)
    np.testing.assert_array_equal(ids, brute_force(ds, 90)[0])
    assert (np.diff(ids)[np.diff(distances) == 0] > 0).all()


def test_rows_of_zeros_have_no_cosine_distance(rng):
    base = rng.standard_normal((40, 4))
    base[::2] = 0
    ds = made("cosine", base, rng.standard_normal((3, 4)))
    assert (data.truth(ds, 20)[0] % 2 == 1).all()
    with pytest.raises(DataError, match="fewer than 21 rows have a cosine distance"):
        data.truth(ds, 21)
    assert data.recall(ds, np.zeros((3, 20), int), 20) == 0


def test_truth_comes_from_the_cache(rng, cache):
    base, queries = rng.standard_normal((300, 8)), rng.standard_normal((5, 8))
    ids, distances = data.truth(made("l2", base, queries), 10)
    files = list(cache.iterdir())
    assert len(files) == 1 and files[0].stat().st_mode & 0o777 == 0o644
    np.savez(files[0], ids=np.tile(np.arange(100, dtype=np.int32), (5, 1)), distances=np.zeros((5, 100)))
    forged = made("l2", base, queries)
    assert data.truth(forged, 3)[0].tolist() == [[0, 1, 2]] * 5
    # Other content is another entry, and a damaged one is made again.
    base[17, 3] += 0.5
    data.truth(made("l2", base, queries), 10)
    data.truth(made("ip", base, queries), 10)
    assert len(list(cache.iterdir())) == 3
    base[17, 3] -= 0.5
    files[0].write_bytes(b"damaged")
    again = data.truth(made("l2", base, queries), 10)
    np.testing.assert_array_equal(again[0], ids)
    np.testing.assert_array_equal(again[1], distances)


@pytest.mark.parametrize("metric", data.METRICS)
@pytest.mark.parametrize("wrong", ["id", "distance", "twice", "order"])
def test_verify_finds_a_wrong_truth(rng, metric, wrong):
    ds = made(metric, rng.standard_normal((500, 12)), rng.standard_normal((20, 12)))
    ids, distances = (a.copy() for a in data.truth(ds, 100))
    assert data.verify_truth(ds)["queries"] == 20
    if wrong == "id":
        ids[3, 99] = next(i for i in range(500) if i not in ids[3])
    elif wrong == "distance":
        distances[3, 50] += 1e-6
    elif wrong == "twice":
        ids[3, 5] = ids[3, 4]
    else:
        ids[3, [7, 8]] = ids[3, [8, 7]]
    ds.memo["truth"] = ids, distances
    with pytest.raises(DataError, match="query 3 are wrong"):
        data.verify_truth(ds)


def test_verify_finds_ties_out_of_order():
    ds = line([1, -1, 2])
    ids, distances = data.truth(ds, 3)
    ds.memo["truth"] = ids[:, [1, 0, 2]], distances
    with pytest.raises(DataError, match="query 0 are wrong"):
        data.verify_truth(ds)


def test_shipped_neighbours_are_compared(rng):
    ds = made("l2", rng.standard_normal((200, 6)), rng.standard_normal((10, 6)))
    ds.shipped = data.truth(ds, 50)[0].copy()
    assert "100.0000% of the 50 neighbours of 10 queries" in data.verify_truth(ds)["shipped"]
    ds.shipped[4, 49] = data.truth(ds, 100)[0][4, 80]
    with pytest.raises(DataError, match="came with it are not the nearest"):
        data.verify_truth(ds)


# --- recall ---

def line(distances):
    """Rows on a line, the query at 0."""
    return made("l2", np.array(distances)[:, None], [[0.0]])


@pytest.mark.parametrize("ids, k, expected", [
    ([0, 1, 2, 3], 4, 1),
    ([3, 2, 1, 0], 4, 1),
    ([0, 1, 2, 9], 4, 0.75),
    ([0, 1, 2, 9], 3, 1),           # what comes after the k-th does not count
    ([9, 0, 1, 2], 3, 2 / 3),
    ([0, 0, 0, 1], 4, 0.5),         # a row counts once
    ([1, -1, -1, -1], 4, 0.25),     # missing
    ([-1, -1, -1, -1], 4, 0),
    ([9, 8, 7, 6], 4, 0),
])
def test_recall(ids, k, expected):
    assert data.recall(line(range(1, 11)), np.array([ids]), k) == expected


def test_rows_at_the_last_distance_are_hits():
    """Rows 2 to 5 are equally far; the truth at 3 can only name one of them."""
    ds = line([1, 2, 3, -3, 3, -3, 4])
    assert data.truth(ds, 3)[0].tolist() == [[0, 1, 2]]
    assert data.recall(ds, np.array([[0, 1, 5]]), 3) == 1
    assert data.recall(ds, np.array([[5, 4, 3]]), 3) == 1
    assert data.recall(ds, np.array([[0, 1, 6]]), 3) == 2 / 3
    assert data.recall(ds, np.array([[5, 5, 5]]), 3) == 1 / 3


def test_ties_of_cosine_are_of_direction(rng):
    row = rng.standard_normal(30)
    ds = made("cosine", np.array([row, row * 4, row + 1e-3 * rng.standard_normal(30), -row]), [row])
    assert [data.recall(ds, np.array([[i]]), 1) for i in range(4)] == [1, 1, 0, 0]


def test_missing_is_not_the_last_row():
    ds = line([5, 4, 3, 2, 1])
    assert data.recall(ds, np.array([[-1, -1]]), 2) == 0
    assert data.recall(ds, np.array([[-1, 4]]), 2) == 0.5


@pytest.mark.parametrize("metric", data.METRICS)
def test_recall_is_the_mean_of_the_shares(rng, metric):
    ds = made(metric, rng.standard_normal((600, 9)), rng.standard_normal((25, 9)))
    ids, _ = data.truth(ds, 10)
    answer = np.where(rng.random(ids.shape) < 0.7, ids, rng.integers(0, 600, ids.shape))
    expected = np.mean([len(set(a) & set(t)) / 10 for a, t in zip(answer.tolist(), ids.tolist())])
    assert data.recall(ds, answer, 10) == pytest.approx(expected, abs=1e-12)
    assert 0.6 < expected < 0.85


@pytest.mark.parametrize("ids, k, message", [
    (np.zeros((2, 3)), 3, "not whole numbers"),
    (np.zeros((1, 3), int), 3, r"not whole numbers \(2, 3 or more\)"),
    (np.zeros((2, 2), int), 3, r"int64 \(2, 2\)"),
    (np.full((2, 3), -2), 3, "id -2 is no row"),
    (np.full((2, 3), 5), 3, "id 5 is no row: ids are 0 to 4"),
])
def test_answers_that_are_none(rng, ids, k, message):
    with pytest.raises(DataError, match=message):
        data.recall(made("l2", rng.standard_normal((5, 2)), rng.standard_normal((2, 2))), ids, k)


# --- generated clusters ---

def digest(a):
    return hashlib.sha256(a.astype("<f4")).hexdigest()[:16]


def test_clusters_have_the_same_bytes_everywhere():
    ds = data.load("clustered:3000x48:7")
    assert (digest(ds.base), digest(ds.queries)) == ("3692da31c40a9636", "fa1c32909be8fdf8")
    assert digest(data.load("clustered:3000x48:8").base) != digest(ds.base)


def test_sums_of_clusters_are_exact():
    """Whole numbers that float32 holds: the order in which a product adds them cannot matter."""
    mixture = data.Mixture(1, 20)
    coefficients = data.bells((data.CLUSTERS, data.CENTRE_RANK), 1, 0, 0)
    exact = coefficients.astype(np.int64) @ data.directions((data.CENTRE_RANK, 20), data.CENTRE_SIZE, 1, 0, 1).astype(np.int64)
    np.testing.assert_array_equal(mixture.centre, exact)
    # The worst sum of magnitudes, in whichever order: below 2^24.
    worst = 512 * np.abs(mixture.basis).sum(axis=1).max() + np.abs(mixture.centre).max() * 2 + 2**13
    assert worst < 2**24
    ds = data.clustered(500, 20)
    for a in (ds.base, ds.queries):
        whole = a.astype(np.float64) / data.UNIT
        np.testing.assert_array_equal(whole, np.rint(whole))


@pytest.mark.parametrize("small, large, d", [(1, 50, 3), (997, 3000, 33), (data.CHUNK + 1, data.CHUNK + 777, 2)])
def test_smaller_sets_are_the_beginning_of_larger_ones(small, large, d):
    a, b = data.clustered(small, d), data.clustered(large, d)
    np.testing.assert_array_equal(a.base, b.base[:small])
    np.testing.assert_array_equal(a.queries, b.queries)


def test_clusters_are_unequal_and_thin():
    """What i.i.d. Gaussian vectors are not."""
    ds = data.clustered(20000, 128)
    noise = np.random.default_rng(1)
    plain = made("l2", noise.standard_normal((20000, 128)), noise.standard_normal((200, 128)))
    assert 8 < data.intrinsic_dimension(ds) < 25
    assert data.intrinsic_dimension(plain) > 50
    sizes = np.bincount(data.Mixture(1, 128).pick(20000, 1, 1, 0, 0), minlength=data.CLUSTERS)
    assert sizes.max() > 15 * np.median(sizes) and (sizes > 0).mean() > 0.95
    # Queries are of the same kind, yet no copies: farther from the nearest row than rows are from each other.
    among_rows = data.truth(made("l2", ds.base[200:], ds.base[:200]), 1)[1]
    from_queries = data.truth(ds, 1)[1]
    assert np.median(among_rows) < np.median(from_queries) < 2 * np.median(among_rows)


@pytest.mark.parametrize("metric", data.METRICS)
def test_clusters_for_every_metric(metric):
    ds = data.load(f"clustered:2000x16:5:{metric}")
    assert ds.metric == metric and ds.base.shape == (2000, 16) and len(ds.queries) == 1000
    assert data.recall(ds, data.truth(ds, 10)[0], 10) == 1
    data.verify_truth(ds)


# --- files ---

def test_debian_subset(monkeypatch, tmp_path):
    """Without the full set: the 20,000 rows of the repository, and it says so."""
    os.makedirs(tmp_path / "alone")
    os.symlink(os.path.join(data.TOP, "examples"), tmp_path / "alone" / "examples")
    monkeypatch.setattr(data, "TOP", str(tmp_path / "alone"))
    ds = data.load("debian")
    assert (ds.name, ds.base.shape, ds.queries.shape) == ("debian-subset", (20000, 384), (1000, 384))
    assert "subset" in ds.about and "1,000 of 1,050 queries" in ds.about
    said = data.verify_truth(data.load("debian", max_queries=60), 100, queries=10)
    assert said["shipped"].startswith("100.0000%") and said["held_out"] == 0
    small = data.load("debian:500", max_queries=20)
    assert (small.name, small.slug, small.base.shape, small.queries.shape) == ("debian-subset:500", "debian_subset_500", (500, 384), (20, 384))
    np.testing.assert_array_equal(small.base, ds.base[:500])
    with pytest.raises(DataError, match="debian-subset has 20,000 rows, 20,001 were asked for"):
        data.load("debian:20001")


def test_debian_elsewhere(monkeypatch, tmp_path, rng):
    np.save(tmp_path / "base.f16.npy", rng.standard_normal((30, 4)).astype(np.float16))
    np.save(tmp_path / "queries.f16.npy", rng.standard_normal((5, 4)).astype(np.float16))
    monkeypatch.setenv("VECDB_BENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cannot read .*truth.i32.npy"):
        data.load("debian")
    ds = data.load("debian:10")
    assert ds.name == "debian:10" and ds.base.shape == (10, 4)
    with pytest.raises(ValueError):
        ds.base[0, 0] = 1


def words_package(folder, vectors, order):
    """The package as npm makes it, with vectors in the order given; no number tells the word but the last in its entry."""
    numbers = json.JSONEncoder(separators=(",", ":")).encode
    entries = ",".join(f'"{w}":{numbers([*map(float, vectors[i]), float(np.linalg.norm(vectors[i])), i])}' for i, w in order)
    text = f'{{"precision":8,"words":["a:[1,2]"],"vectors":{{{entries}}},"unkVector":{numbers([0] * vectors.shape[1] + [0, -1])}}}'.encode()
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(os.path.join(folder, data.WORDS_PACKAGE.replace("@", "-") + ".tgz"), "w:gz") as t:
        member = tarfile.TarInfo(f"package/{data.WORDS_PACKAGE.split('@')[0]}.json")
        member.size = len(text)
        t.addfile(member, io.BytesIO(text))


@pytest.fixture
def words(rng, cache, monkeypatch):
    vectors = rng.standard_normal((60, 4)).round(4).astype(np.float32)
    monkeypatch.setattr(data, "WORDS_SHAPE", (60, 4))
    monkeypatch.setattr(data, "WORDS_HELD_OUT", 9)
    monkeypatch.setattr(data, "WORDS_SHA256", hashlib.sha256(vectors).hexdigest())
    order = [(i, ["é", ",", '\\"', "b]", "c[1"][i % 5] + str(i)) for i in rng.permutation(60).tolist()]
    words_package(cache, vectors, order)
    return vectors, order


def test_words(words, cache):
    vectors, _ = words
    ds = data.load("words")
    assert ds.base.shape == (51, 4) and ds.queries.shape == (9, 4) and ds.metric == "cosine"
    held = [int(np.flatnonzero((vectors == q).all(axis=1))[0]) for q in ds.queries]
    np.testing.assert_array_equal(ds.base, np.delete(vectors, held, axis=0))
    os.remove(cache / (data.WORDS_PACKAGE.replace("@", "-") + ".tgz"))       # parsed once
    np.testing.assert_array_equal(data.load("words:20").base, ds.base[:20])
    assert data.load("words", max_queries=3).queries.shape == (3, 4)


def test_words_that_are_not_in_order(words, cache, monkeypatch):
    vectors, order = words
    words_package(cache, vectors, order[:-1])
    with pytest.raises(DataError, match="1 of 60 are not in"):
        data.load("words")
    words_package(cache, vectors, order + order[:1])
    with pytest.raises(DataError, match="each number below 60 once"):
        data.load("words")
    vectors[3, 1] += 0.5
    words_package(cache, vectors, order)
    with pytest.raises(DataError, match="not those the benchmark knows"):
        data.load("words")
    next(cache.glob("*.tgz")).write_bytes(b"no archive")
    with pytest.raises(DataError, match="is not the package"):
        data.load("words")
    next(cache.glob("*.tgz")).unlink()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install npm"):
        data.load("words")
    assert not (cache / data.WORDS_FILE).exists()


def hdf5(path, train, test, distance=None, neighbors=None):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as f:
        f["train"], f["test"] = train, test
        if neighbors is not None:
            f["neighbors"] = neighbors
        if distance:
            f.attrs["distance"] = distance
    return str(path)


@pytest.mark.parametrize("distance, metric", [("angular", "cosine"), ("euclidean", "l2"), ("dot", "ip")])
def test_hdf5(tmp_path, rng, distance, metric):
    train, test = rng.standard_normal((300, 7)).astype(np.float32), rng.standard_normal((40, 7)).astype(np.float32)
    neighbors = data.truth(made(metric, train, test), 20)[0]
    by_attribute = hdf5(tmp_path / "a.hdf5", train, test.astype(np.float64), distance, neighbors)
    by_name = hdf5(tmp_path / f"b-7-{distance}.hdf5", train, test)
    ds = data.load(f"hdf5:{by_attribute}", max_queries=15)
    assert (ds.name, ds.metric, ds.queries.shape) == ("a", metric, (15, 7)) and "15 of 40 queries" in ds.about
    np.testing.assert_array_equal(ds.base, train)
    assert "100.0000% of the 20 neighbours of 15 queries" in data.verify_truth(ds)["shipped"]
    ds = data.load(f"hdf5:{by_name}:100")
    assert (ds.name, ds.metric, ds.base.shape) == (f"b-7-{distance}:100", metric, (100, 7))
    np.testing.assert_array_equal(ds.queries, test)
    assert ds.shipped is None


def test_hdf5_that_are_not_in_order(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    train = rng.standard_normal((30, 4)).astype(np.float32)
    with pytest.raises(DataError, match="distance 'jaccard' is not one of"):
        data.load("hdf5:" + hdf5(tmp_path / "x.hdf5", train, train[:3], "jaccard"))
    with pytest.raises(DataError, match="name the file x-angular.hdf5"):
        data.load("hdf5:" + hdf5(tmp_path / "x.hdf5", train, train[:3]))
    with pytest.raises(DataError, match="has 30 rows, 31 were asked for"):
        data.load("hdf5:" + hdf5(tmp_path / "x.hdf5", train, train[:3], "euclidean") + ":31")
    with h5py.File(tmp_path / "y.hdf5", "w") as f:
        f["rows"] = train
    with pytest.raises(DataError, match="has no matrix 'train' .it has: rows"):
        data.load(f"hdf5:{tmp_path / 'y.hdf5'}")
    (tmp_path / "z.hdf5").write_bytes(b"text")
    with pytest.raises(DataError, match="is not an HDF5 file"):
        data.load(f"hdf5:{tmp_path / 'z.hdf5'}")
    with pytest.raises(DataError, match="does not exist"):
        data.load(f"hdf5:{tmp_path / 'none.hdf5'}")


@pytest.mark.parametrize("spec, message", [
    ("sift", "'sift' is not known: use debian"),
    ("debian:many", "'many' is not a number of rows"),
    ("debian:0", "'0' is not a number of rows"),
    ("words:-5", "'-5' is not a number of rows"),
    ("clustered", "write clustered:ROWSxDIMENSIONS"),
    ("clustered:1000", "write clustered:ROWSxDIMENSIONS"),
    ("clustered:1000x8:x:y:z", "write clustered:ROWSxDIMENSIONS"),
    ("clustered:0x8", "rows must be at least 1, dimensions 1 to 16000"),
    ("clustered:10x16001", "rows must be at least 1, dimensions 1 to 16000"),
    ("clustered:10x8:1:hamming", "metric 'hamming' is not one of cosine, l2, ip"),
    (f"clustered:10x8:{2**32}", "the seed must be 0 to 4294967295"),
    ("clustered:10000000000x1000", "the machine has .* GB: take fewer rows"),
    ("hdf5:", "write hdf5:PATH"),
])
def test_specs_that_are_not_understood(spec, message):
    with pytest.raises(DataError, match=message):
        data.load(spec)


@pytest.mark.parametrize("change, message", [
    (lambda b, q: ("l1", b, q), "metric 'l1' is not one of"),
    (lambda b, q: ("l2", b.astype(np.float64), q), r"base is float64 \(9, 4\), not C-contiguous float32"),
    (lambda b, q: ("l2", b, q[:, ::2]), "queries is float32 .*, not C-contiguous"),
    (lambda b, q: ("l2", b, np.ascontiguousarray(q[:, :3])), "rows have 4 dimensions, queries 3"),
    (lambda b, q: ("l2", b[:0], q), "base has no rows"),
    (lambda b, q: ("l2", np.where(np.arange(9)[:, None] == 6, np.float32(np.nan), b), q), "row 6 of base holds NaN or infinity"),
    (lambda b, q: ("l2", b, np.where(np.arange(2)[:, None] == 1, np.float32(np.inf), q)), "row 1 of queries holds NaN or infinity"),
    (lambda b, q: ("cosine", b, np.zeros_like(q)), "query 0 is all zeros"),
])
def test_arrays_that_are_no_data_set(rng, change, message):
    metric, base, queries = change(rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal((2, 4)).astype(np.float32))
    with pytest.raises(DataError, match=message):
        DataSet("made", metric, base, queries, "made")


@pytest.mark.parametrize("k, message", [(0, "must be at least 1"), (10, "has 9 rows, the 10 nearest were asked for")])
def test_more_neighbours_than_rows(rng, k, message):
    with pytest.raises(DataError, match=message):
        data.truth(made("l2", rng.standard_normal((9, 4)), rng.standard_normal((2, 4))), k)
