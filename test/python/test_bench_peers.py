"""The benchmark's in-process peers (bench/harness/peers.py): what holds whether or not a library is here."""

import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))

from harness import peers, peer_worker
from harness.data import DataSet

# A library that is always here: compares the query with every row, and dies when told.
STUB = """
import os, signal, sys
import numpy as np
from harness import peer_worker

class Stub:
    def describe(self):
        return {"version": "1", "simd": "none"}
    def build(self, base, metric, kind, options, threads):
        self.base, self.held = base.copy(), np.ones(options["extra"], np.uint8)
    def size(self, folder):
        return self.base.nbytes, "counted"
    def search(self, setting, queries, k, mode):
        if setting.get("die"):
            print("about to go", flush=True)
            os.kill(os.getpid(), signal.SIGILL)
        if setting.get("fail"):
            raise ValueError("no such thing")
        return np.argsort(-(queries @ self.base.T), axis=1)[:, :k], np.full(len(queries), 2.0), "counted"
    def empty(self, k):
        return None

peer_worker.LIBRARIES["stub"] = Stub
peer_worker.main(sys.argv)
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A peer whose library is the stub above, with 50 MB that only its index holds."""
    monkeypatch.setattr(peers, "WORK", str(tmp_path / "peers"))
    monkeypatch.setattr(peers, "files", {})
    monkeypatch.setitem(peers.CATALOGUE, "stub all", ("stub", "", lambda options: [{}], {"extra": 50 << 20}))
    program = tmp_path / "stub.py"
    program.write_text(STUB)
    real = peers.subprocess.Popen

    def popen(command, **more):
        assert command[1:3] == ["-m", "harness.peer_worker"]
        return real([command[0], str(program), *command[3:]], **more)
    monkeypatch.setattr(peers.subprocess, "Popen", popen)
    peer = peers.make("stub all")
    yield peer
    peer.close()


def data_set(metric="cosine"):
    rng = np.random.default_rng(1)
    base = rng.standard_normal((300, 8)).astype(np.float32) * rng.uniform(0.1, 10, (300, 1)).astype(np.float32)
    return DataSet("made", metric, base, rng.standard_normal((20, 8)).astype(np.float32), "made")


def test_worker_round_trip(stub):
    ds = data_set()
    assert stub.available() == (True, "")
    assert stub.load(ds)["version"] == "1"
    built = stub.build()
    assert built["index_bytes"] == ds.base.nbytes
    assert 50 << 20 <= built["peak_bytes"] < 60 << 20
    answer = stub.search({}, 3)
    unit = ds.base / np.linalg.norm(ds.base, axis=1, keepdims=True)
    assert (answer.ids == np.argsort(-(ds.queries @ unit.T), axis=1)[:, :3]).all()
    assert answer.ids.dtype == np.int32 and answer.us_mean == pytest.approx(2.0) and len(answer.us) == 20


def test_inner_product_keeps_lengths(stub):
    ds = data_set("ip")
    stub.load(ds)
    stub.build()
    assert (stub.search({}, 3, queries=ds.queries[:5]).ids == np.argsort(-(ds.queries[:5] @ ds.base.T), axis=1)[:, :3]).all()


def test_failure_is_told_and_survived(stub):
    stub.load(data_set())
    stub.build()
    with pytest.raises(peers.PeerError, match="ValueError: no such thing"):
        stub.search({"fail": 1}, 3)
    assert stub.search({}, 3).ids.shape == (20, 3)


def test_crash_is_told(stub):
    stub.load(data_set())
    stub.build()
    with pytest.raises(peers.PeerError, match="ended with signal SIGILL: about to go"):
        stub.search({"die": 1}, 3)


def test_one_client_only(stub):
    stub.load(data_set())
    stub.build()
    with pytest.raises(peers.PeerError, match="one client"):
        stub.search({}, 3, clients=2)


def test_missing_library_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "WORK", str(tmp_path))
    monkeypatch.setitem(peers.CATALOGUE, "stub all", ("no_such_library", "", lambda options: [{}], {}))
    ok, reason = peers.make("stub all").available()
    assert not ok and "no_such_library" in reason


def test_make_refuses():
    with pytest.raises(peers.PeerError, match="no peer is called 'faiss Ivf'; there are: .*faiss IVFFlat"):
        peers.make("faiss Ivf")
    with pytest.raises(peers.PeerError, match="has no option nlist; it has: lists"):
        peers.make("faiss IVFFlat", nlist=7)


def test_sweeps_stay_within_the_index():
    for key, (_, _, sweep, defaults) in peers.CATALOGUE.items():
        for n, d in ((100, 7), (50_000, 384)):
            options = {name: value(n, d) if callable(value) else value for name, value in defaults.items()}
            settings = sweep(options)
            assert settings and len({str(s) for s in settings}) == len(settings), key
            most = options.get("lists", options.get("leaves"))
            for s in settings:
                assert most is None or s.get("nprobe", s.get("leaves")) <= most, key


@pytest.mark.parametrize("d, m", [(384, 192), (100, 50), (25, 5), (7, 1), (1, 1)])
def test_subquantizers_divide(d, m):
    assert peers.subquantizers(1000, d) == m


def test_pareto_keeps_the_best_only():
    settings = ["slow and bad", "fast", "middle", "a little slower", "best"]
    recalls, times = [0.8, 0.8, 0.9, 0.9, 0.99], [50, 10, 20, 20.2, 40]
    assert peers.pareto(settings, recalls, times) == ["fast", "middle", "a little slower", "best"]
    assert peers.pareto(settings, recalls, times, tolerance=0) == ["fast", "middle", "best"]


def test_pareto_thins_evenly_in_what_is_missed():
    missed = [0.5 * 0.8 ** i for i in range(30)]
    kept = peers.pareto(list(range(30)), [1 - m for m in missed], list(range(30)), most=6)
    assert kept[0] == 0 and kept[-1] == 29 and len(kept) == 6
    assert sum(missed[i] < 0.02 for i in kept) >= 2 and sum(missed[i] > 0.1 for i in kept) >= 2


def test_padded_marks_what_is_missing():
    assert peer_worker.padded([[3, 1], [], [2, 9, 4]], 2).tolist() == [[3, 1], [-1, -1], [2, 9]]
