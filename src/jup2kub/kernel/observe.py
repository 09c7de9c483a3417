"""The facts of one execution: what a cell bound, changed, touched, cost and left behind."""

from __future__ import annotations

import ast
import atexit
import contextlib
import os
import resource
import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from . import ambient, forks, lifting, modules, prints
from .envreads import READS
from .files import Files

SHARE = 0.025
"""Of the time a kernel has been running, what may go into looking at values."""
ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...))
HIDDEN = frozenset(
    [
        "In",
        "Out",
        "exit",
        "quit",
        "get_ipython",
        "open",
        "_",
        "__",
        "___",
        "_i",
        "_ii",
        "_iii",
        "_ih",
        "_oh",
        "_dh",
        "_exit_code",
        "__session__",
        "__builtins__",
    ]
)
"""Names of the namespace that are the shell's."""


def own_names(namespace: dict[str, Any]) -> list[str]:
    """Return the names that belong to the notebook, not to the shell."""
    return [
        n for n in namespace if n not in HIDDEN and not (n[:2] == "_i" and n[2:].isdigit()) and not _is_out(n)
    ]


def _is_out(name: str) -> bool:
    return (name[:1] == "_" and name[1:].isdigit()) or (name[:2] == "__" and name[-2:] == "__")


class Identity:
    """Remembers which object a name holds, without keeping it alive: the moment it dies may be seen by the notebook."""

    __slots__ = ("atom", "number", "reference")

    def __init__(self, value: Any) -> None:
        self.number = id(value)
        self.atom: Any = None
        self.reference: Any = None
        if isinstance(value, ATOMS):
            self.atom = value
        else:
            with contextlib.suppress(TypeError):
                self.reference = weakref.ref(value)

    def holds(self, value: Any, stored: bool) -> bool:
        """Whether `value` is the remembered object. `stored`: the cell's text stores to the name."""
        if id(value) != self.number:
            return False
        if self.reference is not None:
            return self.reference() is value
        # A list that died and another made at its place look the same: then the text decides.
        return self.atom is value or not stored


class Tap(ast.NodeTransformer):
    """Sees the tree of each cell before it is compiled; may replace it (`rewrite`)."""

    def __init__(self) -> None:
        self.stores: set[str] = set()
        self.rewrite: Callable[[Any], Any] | None = None
        self.apart: frozenset[int] = frozenset()
        """First lines of definitions that have been made already."""

    def visit(self, node: Any) -> Any:
        """Take down which names the tree stores to, and return it, rewritten if the cell has map loops."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, (ast.Store, ast.Del)):
                self.stores.add(part.id)
        node = lifting.without(node, self.apart)
        return self.rewrite(node) if self.rewrite is not None else node


class Observer:
    """Watches one cell at a time. Its methods are called from where cells run."""

    def __init__(self, files: Files, tap: Tap, seeds: ambient.Seeds) -> None:
        self.files, self.tap, self.seeds = files, tap, seeds
        self._peak = _resettable_peak()
        self._born, self._spent = time.perf_counter(), 0.0

    def begin(self, namespace: dict[str, Any], request: dict[str, Any]) -> None:
        """Take down the state before a cell; `request` as in the protocol."""
        entered = time.thread_time()
        self.tap.stores.clear()
        self._names = {n: Identity(namespace[n]) for n in own_names(namespace)}
        self._silent = bool(request.get("silent"))
        self._source = request["source"]
        self._watch = [n for n in request.get("watch", ()) if n in namespace and not n.startswith("@")]
        self._budget = request.get("budget", 0.0)
        self._modules = set(sys.modules)
        if not self._silent:
            values = {n: namespace[n] for n in self._watch}
            self._prints = (
                prints.take(values, budget_seconds=self._affordable(), related=False) if values else None
            )
            self._ambient = ambient.take()
            self._kept = request.get("modules") or {}
            self._modules_before = modules.take(self._kept, budget_seconds=self._affordable())
            self._sticky = _running()
            if self._peak:
                _reset_peak()
            self._held = _peak()
        self.files.begin(request.get("project") or os.getcwd(), request.get("undo"))
        READS.begin()
        self._cpu, self._start = _cpu(), time.perf_counter()
        self._looking = time.thread_time() - entered

    def end(self, namespace: dict[str, Any], raised: bool, pending: bool) -> dict[str, Any]:
        """Return the facts as fields of `model.facts.Facts`; of a silent run only `bound`, `deleted` and costs."""
        seconds, cpu = time.perf_counter() - self._start, _cpu() - self._cpu
        ended = time.thread_time()
        self.files.end()
        env_read = READS.end()
        bound = self._bound(namespace)
        facts: dict[str, Any] = {
            "bound": sorted(bound),
            "deleted": sorted(self._names.keys() - namespace.keys()),
            "seconds": seconds,
            "cpu_seconds": cpu,
            "peak_bytes": _peak(),
            "raised": raised,
        }
        if self._peak and not self._silent:
            facts["grown_bytes"] = max(0, facts["peak_bytes"] - self._held)
        self._names = {}
        if self._silent:
            self.seeds.look()
            return facts
        mutated, same = self._compare(namespace, bound)
        facts["mutated"], facts["unchanged"] = sorted(mutated), sorted(same)
        facts["aliases"] = self._aliases
        facts["env_read"] = env_read
        facts["imports"] = sorted({m.partition(".")[0] for m in sys.modules.keys() - self._modules})
        self._add_files(facts)
        effects = set(self.files.effects)
        if self.files.outside():
            effects.add("outside")
        drawn = {n for n in mutated if n.startswith("@rng:")}
        if drawn - self.seeds.look():
            effects.add("unseeded")
        facts["effects"] = sorted(effects)
        facts["sticky"] = self._left(pending)
        facts["validation_seconds"] = self._looking + time.thread_time() - ended
        self._spent += facts["validation_seconds"]
        return facts

    def _affordable(self) -> float:
        """Return the seconds that one look at the values may take: the cell's own, and what earlier ones have left."""
        left = SHARE * (time.perf_counter() - self._born) - self._spent
        return (max(0.0, left) + float(self._budget)) / 2

    def _bound(self, namespace: dict[str, Any]) -> set[str]:
        found = set()
        for name in own_names(namespace):
            before = self._names.get(name)
            if before is None or not before.holds(namespace[name], name in self.tap.stores):
                found.add(name)
        return found

    def _compare(self, namespace: dict[str, Any], bound: set[str]) -> tuple[set[str], set[str]]:
        mutated, same = ambient.compare(self._ambient, ambient.take())
        self._ambient = {}
        mutated |= modules.changed(self._modules_before, self._kept, budget_seconds=self._affordable())
        self._aliases: list[list[str]] = []
        values = {n: namespace[n] for n in self._watch if n in namespace}
        if self._prints is not None:
            made = {n: namespace[n] for n in sorted(bound) if n in namespace}
            after = prints.take({**values, **made}, budget_seconds=self._affordable())
            changed, _, unknown = prints.changed(
                self._prints, after, values, budget_seconds=self._affordable()
            )
            gone = bound | (set(self._watch) - values.keys())
            mutated |= changed - gone
            same |= set(values) - changed - unknown - gone
            groups = prints.aliases(after)
            alone = made.keys() - frozenset().union(*groups)
            self._aliases = [sorted(group) for group in groups]
            self._aliases += [[n] for n in sorted(alone) if after.digests[n] is not None]
            self._prints = None
        return mutated, same

    def _add_files(self, facts: dict[str, Any]) -> None:
        files = self.files
        read = dict(files.read)
        for name in sys.modules.keys() - self._modules:
            origin = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(origin, str) and files.concerns(origin):
                read[origin] = None
        facts["files_read"] = files.named(read)
        facts["files_written"] = files.named(files.lasting())
        facts["absent"] = files.named(p for p in files.absent if p not in files.written)

    def _left(self, pending: bool) -> str:
        """Return in words what the cell left running; empty = nothing."""
        now = _running()
        before = self._sticky
        for kind, words in (
            ("threads", "a thread"),
            ("children", "a child process"),
            ("signals", "a signal handler"),
        ):
            new = now[kind] - before[kind]
            if new:
                return f"{words} ({', '.join(sorted(str(n[-1]) for n in new))})"
        if pending:
            return "a task in the event loop"
        if any(_listens(s) for s in self.files.sockets):
            return "a listening socket"
        added = now["exits"] != before["exits"]
        if added and ("atexit" in self._source or not (sys.modules.keys() - self._modules)):
            return "a function to be called at the end"
        return ""


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _resettable_peak() -> bool:
    return os.access("/proc/self/clear_refs", os.W_OK)


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _peak() -> int:
    """Return the most bytes of memory this process has had since the last reset."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _running() -> dict[str, Any]:
    """Return what lives beside the cell: threads, child processes, signal handlers, functions for the end."""
    return {
        "threads": {(t.ident, t.name) for t in forks.own_threads()},
        "children": {(pid, pid) for pid in _children() - _helpers()},
        "signals": {
            (number, id(signal.getsignal(number)), signal.Signals(number).name) for number in _HANDLED
        },
        "exits": atexit._ncallbacks(),
    }


_HANDLED = [
    s
    for s in signal.Signals
    if s not in (signal.SIGINT, signal.SIGKILL, signal.SIGSTOP) and s.name != "SIGCLD"
]


def _children() -> set[int]:
    """Return the pids of living child processes."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with (
                contextlib.suppress(OSError),
                open(f"/proc/self/task/{task}/children", encoding="ascii") as file,
            ):
                found.update(int(pid) for pid in file.read().split())
    return {pid for pid in found if not _zombie(pid)}


def _zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def _helpers() -> set[int]:
    """Return the pids of processes that libraries keep for themselves: pools, resource trackers, fork servers."""
    found: set[int] = set()
    for module, name in (
        ("multiprocessing.resource_tracker", "_resource_tracker"),
        ("multiprocessing.forkserver", "_forkserver"),
        ("joblib.externals.loky.backend.resource_tracker", "_resource_tracker"),
        ("loky.backend.resource_tracker", "_resource_tracker"),
    ):
        holder = getattr(sys.modules.get(module), name, None)
        found.update(
            p for p in (getattr(holder, "_pid", None), getattr(holder, "_forkserver_pid", None)) if p
        )
    return found | forks.pool_processes()


def _listens(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return sock.fileno() >= 0 and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return False
