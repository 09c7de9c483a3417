"""Forking the kernel: when it is safe, and how the copy becomes a kernel of its own.

What makes it unsafe is not how many threads there are but whose: pools that survive a fork by their own handlers are
known, OpenMP's are paused first, and a thread that nothing explains means no.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import os
import re
import select
import selectors
import signal
import sys
import threading
import time
import warnings
from typing import Any

NEVER = {
    "polars": "polars runs threads that do not survive a fork",
    "grpc": "gRPC does not survive a fork",
    "ray": "ray is connected to its own processes",
    "tensorflow": "TensorFlow runs threads that do not survive a fork",
    "jax": "JAX runs threads that do not survive a fork",
    "cupy": "CUDA does not survive a fork",
    "pyspark": "Spark is connected to its own processes",
}
"""Loaded modules that forbid forks, and why."""
SAFE_THREADS = re.compile(
    r"(jemalloc_bg_thd|mimalloc|iou-(wrk|sqp)|OpenBLAS|arrow|blosc|numexpr)", re.IGNORECASE
)
"""Names of native threads that their owners stop or restart around a fork by themselves."""
LOKY = ("joblib.externals.loky", "loky")
"""The pool of processes that joblib and scikit-learn use, under its two names."""
TQDM = "tqdm._monitor"
OPENMP = re.compile(r"/lib(gomp|omp|iomp5)[-.\w]*\.so[.\w]*$")
OPENBLAS = re.compile(r"/lib(\w*openblas)[-.\w]*\.so[.\w]*$")
THREAD_COUNTS = tuple(
    prefix + "openblas_get_num_threads" + suffix
    for prefix in ("scipy_", "")
    for suffix in ("", "64_", "_64_", "_")
)
PAUSE_HARD = 2
"""omp_pause_hard of the OpenMP standard: the threads of the pool end."""
PR_SET_PDEATHSIG = 1
ANSWER_SECONDS = 10.0
"""How long a fork may take: what must be copied of a process of many gigabytes needs some tenths."""
GONE_SECONDS = 0.2
"""How long threads that were told to end may take."""


def own_threads() -> list[threading.Thread]:
    """Return the Python threads beside the main one that the notebook may depend on.

    Left out are those that serve a pool or a progress bar and start again when needed.
    """
    pool = bool(_executors())
    found = []
    for thread in threading.enumerate():
        module = type(thread).__module__ or ""
        helper = module == TQDM or (pool and (module.startswith(LOKY) or thread.name == "QueueFeederThread"))
        if thread is not threading.main_thread() and not helper:
            found.append(thread)
    return found


def pool_processes() -> set[int]:
    """Return the pids of the workers of joblib's pool."""
    return {pid for executor in _executors() for pid in getattr(executor, "_processes", None) or ()}


def _executors() -> list[Any]:
    found = [getattr(sys.modules.get(name + ".reusable_executor"), "_executor", None) for name in LOKY]
    return [executor for executor in found if executor is not None]


def stop_helpers() -> None:
    """End joblib's pool and tqdm's monitor; both start again when they are used."""
    if own_threads():
        return  # no fork anyway
    for executor in _executors():
        with contextlib.suppress(Exception):
            executor.shutdown(wait=True)
    for thread in threading.enumerate():
        if type(thread).__module__ == TQDM:
            with contextlib.suppress(Exception):
                thread.exit()  # type: ignore[attr-defined]


def why_not() -> str:
    """Return why this process cannot be forked safely now; empty = it can.

    Ends OpenMP's threads and other helpers that start again when needed.
    """
    for module, reason in NEVER.items():
        if sys.modules.get(module) is not None:
            return reason
    cuda = sys.modules.get("torch.cuda")
    if cuda is not None and getattr(cuda, "is_initialized", bool)():
        return "CUDA does not survive a fork"
    stop_helpers()
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    if others:
        return f"the notebook has a thread running ({others[0].name})"
    if not os.path.isdir("/proc/self/task"):
        return "this system does not tell which threads run"
    libraries = mapped()
    reason = pause_openmp(libraries)
    return reason or _strangers(libraries)


def mapped() -> list[str]:
    """Return the paths of the shared libraries in this process."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return sorted(
            {"/" + line.rstrip("\n").split("/", 1)[1] for line in maps if "/" in line and ".so" in line}
        )


def mix() -> str:
    """Return a digest of the names of all that is imported: what a copy may not survive is among it."""
    names = sorted({name.partition(".")[0] for name in sys.modules})
    return hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:24]


def pause_openmp(libraries: list[str]) -> str:
    """End the thread pools of all loaded OpenMP run-times; they start again when needed. Returns why not, or empty."""
    for path in libraries:
        if OPENMP.search(path):
            try:
                pause = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY).omp_pause_resource_all
            except (OSError, AttributeError):
                continue  # its threads, if any, will be found as strangers
            if pause(PAUSE_HARD) != 0:
                return "OpenMP is in the middle of a parallel region"
    return ""


def _strangers(libraries: list[str]) -> str:
    """Return which native threads nothing explains, in words; empty = none. Threads that are ending get some time."""
    allowed: int | None = None
    end = time.monotonic() + GONE_SECONDS
    while True:
        unnamed, named = _native_threads()
        bad = [name for name in named if not SAFE_THREADS.match(name)]
        if bad or not unnamed:
            return f"a library runs a thread ({bad[0]}) that may not survive a fork" if bad else ""
        if allowed is None:
            allowed = _explained(libraries)
        if unnamed <= allowed:
            return ""
        if time.monotonic() > end:
            return f"{unnamed - allowed} thread(s) run that no known library explains"
        time.sleep(0.002)


def _native_threads() -> tuple[int, list[str]]:
    """Return how many other threads bear the main thread's name, and the names of the rest."""
    names = {}
    for task in os.listdir("/proc/self/task"):
        with (
            contextlib.suppress(OSError),
            open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as f,
        ):
            names[int(task)] = f.read().strip()
    own = names.pop(os.getpid(), "")
    return sum(1 for n in names.values() if n == own), sorted(n for n in names.values() if n != own)


def _explained(libraries: list[str]) -> int:
    """Return how many threads libraries may run that handle forks by themselves, but leave their threads unnamed."""
    count = 0
    for path in libraries:
        if OPENBLAS.search(path):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
                count += max((getattr(library, n)() for n in THREAD_COUNTS if hasattr(library, n)), default=0)
    arrow: Any = sys.modules.get("pyarrow.lib")
    if arrow is not None:
        with contextlib.suppress(Exception):
            count += arrow.cpu_count() + arrow.io_thread_count()
    numexpr: Any = sys.modules.get("numexpr")
    if numexpr is not None:
        count += int(getattr(numexpr, "nthreads", 0) or 0)
    return count


def fork() -> int:
    """Fork twice, so that the copy is never this process's child. Returns the copy's pid; 0 in the copy.

    Raises OSError if the system has no room for it.
    """
    read, write = os.pipe()
    gc.freeze()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            between = os.fork()
            if between == 0:
                _between(write)
                os.close(read)
                os.close(write)
                return 0
    except OSError:
        os.close(read)
        os.close(write)
        raise
    finally:
        if os.getpid() == _PARENT[0]:
            gc.unfreeze()
    os.close(write)
    answer = b""
    while not answer.endswith(b"\n"):
        if not select.select([read], [], [], ANSWER_SECONDS)[0]:
            # It stands still in what a library does around a fork.
            os.kill(between, signal.SIGKILL)
            break
        more = os.read(read, 32)
        if not more:
            break
        answer += more
    os.close(read)
    os.waitpid(between, 0)
    if not answer.strip().isdigit():
        raise OSError("the copy could not be made")
    return int(answer)


_PARENT = [os.getpid()]
"""The process that this module forks from; a copy enters itself."""
_BETWEEN = [0]
"""In a copy: the process between it and its original."""


def _between(write: int) -> None:
    """In the process between: fork the copy, tell its pid, and end. Returns in the copy only."""
    _BETWEEN[0] = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(write, b"%d\n" % pid)
        os._exit(0)
    _PARENT[0] = os.getpid()


def own_group() -> None:
    """Make this process, a fresh copy, leader of its own session, so that signals to its group are its alone."""
    with contextlib.suppress(OSError):
        os.setsid()


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends. Linux only.

    A copy waits (briefly) until the process between, which is ending, is no longer its parent.
    """
    if not sys.platform.startswith("linux"):
        return
    end = time.monotonic() + 1
    while os.getppid() == _BETWEEN[0]:
        if time.monotonic() > end:
            return
        time.sleep(0.0005)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def renew_loop(loop: Any) -> None:
    """Give an asyncio loop that is not running, copied by a fork, descriptors of its own.

    The poll object and the wake-up pipe would else be shared with the process it was copied from.
    """
    old = getattr(loop, "_selector", None)
    if not isinstance(loop, asyncio.SelectorEventLoop) or old is None:
        return
    new = selectors.DefaultSelector()
    for key in list(old.get_map().values()):
        with contextlib.suppress(OSError, ValueError):
            new.register(key.fileobj, key.events, key.data)
    old.close()
    private: Any = loop
    private._selector = new
    private._close_self_pipe()
    private._make_self_pipe()
