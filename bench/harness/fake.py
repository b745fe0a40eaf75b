"""fake.py: engines that measure nothing and know what must come out, for testing the harness.

A Fake answers with times from a formula, so that ratios, interpolation and reports can be checked against
numbers that are known; Broken fails at a chosen step.
"""
from dataclasses import dataclass

import numpy as np


@dataclass
class Answer:
    ids: np.ndarray
    us: np.ndarray
    us_mean: float
    cpu_us: float
    wall_s: float
    note: str = ""


class Fake:
    """Recall 1 - 0.5 ** probes, latency base + slope * probes microseconds times a drift all engines share."""

    def __init__(self, name, base=10.0, slope=20.0, probes=(1, 2, 3, 4, 5, 6, 7), index="ivfflat", truth=None, drift=None):
        self.name, self.index, self.options, self.key = name, index, {"lists": 100}, f"{name} {index}"
        self.base, self.slope, self.probes, self.truth = base, slope, probes, truth
        self.drift = drift if drift is not None else [1.0]
        self.closed = False

    def available(self):
        return True, ""

    def load(self, ds):
        self.ds = ds
        return {"table_bytes": ds.base.nbytes}

    def build(self):
        return {"seconds": self.slope / 10, "cpu_seconds": self.slope / 10, "peak_bytes": 10 ** 6, "index_bytes": ds_bytes(self.ds),
                "wal_bytes": None}

    def settings(self):
        return [{"probes": p} for p in self.probes]

    def search(self, setting, k, clients=1, queries=None, warm=None):
        queries = self.ds.queries if queries is None else queries
        wanted = 1 - 0.5 ** setting["probes"]
        # The first answers are right, the rest missing: recall is the share wanted, rounded to 1 / k.
        ids = np.full((len(queries), k), -1, np.int32)
        right = round(wanted * k)
        numbers = [int(np.flatnonzero((self.ds.queries == q).all(axis=1))[0]) for q in queries]
        ids[:, :right] = self.truth[numbers, :right]
        us = (self.base + self.slope * setting["probes"]) * self.drift[0]
        return Answer(ids, np.full(len(queries), us), us, us * 0.9, us * len(queries) * 1e-6)

    def close(self):
        self.closed = True


def ds_bytes(ds):
    return int(ds.base.nbytes)


class Broken(Fake):
    """Fails at a step: 'available', 'load', 'build' or 'search'."""

    def __init__(self, name, step, **kwargs):
        super().__init__(name, **kwargs)
        self.step = step

    def available(self):
        return (False, "it is said not to be here") if self.step == "available" else (True, "")

    def load(self, ds):
        if self.step == "load":
            raise RuntimeError("no room for the rows")
        return super().load(ds)

    def build(self):
        if self.step == "build":
            raise RuntimeError("the build was told to fail")
        return super().build()

    def search(self, *args, **kwargs):
        if self.step == "search":
            raise RuntimeError("the search was told to fail")
        return super().search(*args, **kwargs)
