"""engine.py: what all engines of the benchmark have in common.

An engine is one index of one system with one set of build options. The harness calls, in this order: available,
load, build, settings, search (many times), close. sql.py has those behind SQL, peers.py those in process.
"""
from dataclasses import dataclass

import numpy as np


# The sweeps, the same for all engines.
EF = (10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 160, 200, 300, 400, 600, 800)
PROBES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def ladder(values, most):
    """The values up to most, and most itself in place of those beyond."""
    return [v for v in values if v < most] + [most]


@dataclass
class Pass:
    """The answers to a set of queries at one setting, and what they cost."""
    ids: np.ndarray             # int32 (q, k): rows found, nearest first; -1 where the engine gave fewer than k
    us: np.ndarray | None       # float64 (q,): microseconds of each query; None where only the total is known
    us_mean: float              # microseconds a query
    cpu_us: float               # processor time a query in microseconds: client and backend, or the process
    wall_s: float               # seconds for all queries
    note: str = ""              # how it was measured
    empty_us: float | None = None   # microseconds of an empty call where Python lies between queries; included in us


class Engine:
    """The interface; sub-classes set the attributes and fill in the methods."""
    name = ""                   # the system: 'vecdb', 'pgvector', 'faiss', …
    index = ""                  # 'ivfflat', 'hnsw', 'exact', …
    key = ""                    # unique in a comparison: 'vecdb ivfflat'
    options = {}                # build options, printed above every table

    def available(self):
        """(True, '') or (False, the reason)."""
        return True, ""

    def load(self, ds):
        """Takes the data set's base; a dict of figures ('table_bytes', …)."""
        raise NotImplementedError

    def build(self):
        """Builds the index anew: {'seconds', 'cpu_seconds', 'peak_bytes', 'index_bytes', 'wal_bytes'}, None where not known.

        peak_bytes: memory at its peak beyond what was there before, the finished index included."""
        raise NotImplementedError

    def settings(self):
        """The sweep, from fast to accurate: a list of dicts; {} is 'nothing set'."""
        return [{}]

    def search(self, setting, k, clients=1, queries=None, warm=None):
        """A Pass: the k nearest rows of each query (all of the data set's, or the float32 array given), after the queries
        `warm` untimed: others, or what is timed would be in the caches; without them the last WARM_UP of the queries."""
        raise NotImplementedError

    def close(self):
        """Frees what the engine holds; may be called twice."""
