"""machine.py: what a report must say about the machine, the versions and the commit."""
import datetime
import fcntl
import importlib.metadata
import os
import platform
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.environ.get("BENCH_WORK") or os.path.join(TOP, "build", "bench")     # what the harness makes; bench/run says where
LOCK = "/tmp/vecdb-bench.lock"          # held by whatever measures on this machine, from any tree
SIMD = ("sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_vpopcntdq", "amx_tile", "asimd", "sve")


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def raise_priority(thread=0):
    """Gives a thread or process of one thread (0: this one) the highest ordinary priority if BENCH_NICE=1, which bench/run sets where it is allowed.

    Not a real-time one, which the kernel stops for 50 of every 1,000 ms. Where the kernel shares the processor out by sessions
    first (autogroup), that of the thread is raised too: call setsid() before, or it is the user's shell. OSError without the right.
    """
    if os.environ.get("BENCH_NICE") == "1":
        os.setpriority(os.PRIO_PROCESS, thread, -20)
        try:
            with open(f"/proc/{thread or 'self'}/autogroup", "r+") as file:
                if not file.read().rstrip().endswith(" -20"):
                    file.write("-20")
        except (FileNotFoundError, ProcessLookupError):
            pass                    # this kernel has none


def lock(path=LOCK, say=None):
    """Waits until no other run measures on this machine; the open file that keeps others waiting until it is closed."""
    try:
        file = open(path)
    except FileNotFoundError:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT, 0o644))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if say:
            say(f"another run measures on this machine (it holds {path}): waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


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
            "load": list(os.getloadavg()), "nice": os.environ.get("BENCH_NICE") == "1"}


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
        return subprocess.run(["git", "-c", f"safe.directory={TOP}", "-C", TOP, *args], capture_output=True, text=True)
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        if head.returncode != 0:
            return "unknown", None
        return head.stdout.strip(), bool(git("status", "--porcelain", "--untracked-files=no").stdout.strip())
    except OSError:
        return "unknown", None


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
