"""presets.py: which engines a comparison has, what is often quoted, and runs over many sizes.

A side is (key, options): key is 'vecdb ivfflat', 'faiss IVFFlat', … as in sql.py and peers.py; options are build
options in the names of that engine, and what is not given is its own default.
"""
import math

# The data of a report from one command: two real sets, unlike in dimensions and difficulty.
REAL = ("debian", "words")
INDEXES = ("ivfflat", "hnsw", "ivfpq", "exact")


def lists_for(rows):
    """The number of lists all inverted-file indexes of a comparison get: what vecdb would choose, 2 √rows."""
    return max(1, round(2 * math.sqrt(rows)))


def graph_sides(m, ef_construction):
    sql = {"m": m, "ef_construction": ef_construction}
    process = {"M": m, "ef_construction": ef_construction}
    return [("vecdb hnsw", sql), ("pgvector hnsw", sql), ("hnswlib HNSW", process), ("faiss HNSW", process), ("usearch HNSW", process)]


def sides(index, rows):
    """The sides of a comparison around one of vecdb's indexes, one of INDEXES."""
    lists = {"lists": lists_for(rows)}
    exact = [("vecdb exact", {}), ("pgvector exact", {}), ("faiss exact", {}), ("faiss exact (batch)", {})]
    return {
        "ivfflat": [("vecdb ivfflat", lists), ("pgvector ivfflat", lists), ("faiss IVFFlat", lists), ("faiss IVFFlat (batch)", lists)] + exact,
        "hnsw": graph_sides(16, 200) + [("svs Vamana", {}), ("annoy trees", {}), ("scann tree-AH+reorder", {})],
        "ivfpq": [("vecdb ivfpq", lists), ("pgvector ivfflat", lists), ("pgvector hnsw", {"m": 16, "ef_construction": 64}), ("faiss IVFPQFastScan+refine", lists),
                  ("faiss IVFRaBitQFastScan+refine", lists), ("faiss IVFRaBitQFastScan+refine (batch)", lists), ("scann tree-AH+reorder", {})],
        "exact": exact,
    }[index]


TEXTBOOK = "FAISS IVFPQ, nlist = 4096, m = 16, 8 bits, 128 dimensions"

# name: (what it repeats, data sets, sides as a function of the number of rows, settings that alone are searched with or None)
PRESETS = {
    "hnsw-100": ("HNSW, M = 16, ef_construction = 200, ef_search = 100", REAL, lambda rows: graph_sides(16, 200),
                 [{"hnsw.ef_search": 100}, {"ef": 100}]),
    "hnsw-50": ("HNSW, M = 16, ef_construction = 200, ef_search = 50", REAL, lambda rows: graph_sides(16, 200),
                [{"hnsw.ef_search": 50}, {"ef": 50}]),
    "ivfpq-4096": (TEXTBOOK, ("clustered:1000000x128",),
                   lambda rows: [("vecdb ivfpq", {"lists": 4096}), ("vecdb ivfflat", {"lists": 4096}),
                                 ("faiss IVFPQ", {"lists": 4096, "m": 16, "bits": 8})], None),
    # with the sample's codes in place of the default's
    "ivfpq-4096-pq": (TEXTBOOK, ("clustered:1000000x128",),
                      lambda rows: [("vecdb ivfpq", {"lists": 4096, "quantizer": "pq", "m": 16, "bits": 8}),
                                    ("faiss IVFPQ", {"lists": 4096, "m": 16, "bits": 8})], None),
    "annoy-10": ("Annoy, 10 trees of 64 dimensions", ("clustered:200000x64:1:cosine",),
                 lambda rows: [("vecdb hnsw", {}), ("vecdb ivfflat", {"lists": lists_for(rows)}), ("annoy trees", {"trees": 10})], None),
}
DIMENSIONS = (64, 128, 256, 384, 512, 768, 1536, 3072)


def dimension_rows(dims, memory):
    """Rows of a data set in the sweep over dimensions: 50,000, fewer where 1/24 of the memory (bytes) would not hold them."""
    return int(min(50_000, max(5_000, memory // 24 // (4 * dims))))


def scaling_sizes(top):
    """10,000 … top rows in steps of √10, rounded to whole hundreds; top itself is the last."""
    sizes, step = [], 0
    while True:
        n = int(round(10 ** (4 + step / 2), -2))
        if n >= top * 0.9:
            return sizes + [top]
        sizes.append(n)
        step += 1
