"""machine.py: what a report must say about the machine, the versions and the commit."""
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIMD = ("sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_vpopcntdq", "amx_tile", "asimd", "sve")


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def realtime(thread=0):
    """Gives a thread or process of one thread (0: this one) a low real-time priority if BENCH_REALTIME=1, which bench/run sets for root.

    Other work on the machine then does not take turns with what is measured. OSError without the right.
    """
    if os.environ.get("BENCH_REALTIME") == "1":
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))


def processor():
    """The processor's name, or its vendor, family and model where the machine shows no more."""
    text = read("/proc/cpuinfo")
    field = lambda name: next(iter(re.findall(rf"^{name}\s*:\s*(.+)$", text, re.M)), "")
    name = field("model name") or field("Hardware") or platform.processor() or platform.machine()
    if field("cpu family") and field("model"):
        name += f" (family {field('cpu family')}, model {field('model')}, {field('cpu MHz').split('.')[0]} MHz)"
    return name


def describe():
    """The machine: cpu, cores, memory in bytes, kernel, SIMD levels, whether it is virtual, load at the start."""
    text = read("/proc/cpuinfo")
    flags = set(next(iter(re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)), "").split())
    memory = re.search(r"MemTotal:\s*(\d+) kB", read("/proc/meminfo"))
    return {"cpu": processor(), "cores": len(os.sched_getaffinity(0)), "memory": int(memory[1]) * 1024 if memory else None,
            "kernel": platform.release(), "simd": [f for f in SIMD if f in flags], "virtual": "hypervisor" in flags,
            "load": list(os.getloadavg()), "realtime": os.environ.get("BENCH_REALTIME") == "1"}


def versions():
    """Versions of the Python packages that take part, as installed."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "psycopg", "faiss-cpu", "hnswlib", "usearch", "annoy", "scann", "scalable-vs"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def commit():
    """(commit, whether the tree differs from it); ('unknown', None) outside a clone."""
    def git(*args):
        return subprocess.run(["git", "-C", TOP, *args], capture_output=True, text=True)
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        if head.returncode != 0:
            return "unknown", None
        return head.stdout.strip(), bool(git("status", "--porcelain", "--untracked-files=no").stdout.strip())
    except OSError:
        return "unknown", None


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
