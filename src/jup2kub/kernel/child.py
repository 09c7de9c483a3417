"""The kernel child: one request, one reply, over a socket; see the protocol in the project's architecture page."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import hashlib
import importlib.util
import json
import os
import platform
import random
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import ipykernel.compiler
from ipykernel._version import __version__ as ipykernel_version

from . import ambient, confidential, failure, forks, leaving, lifting, prints, values, weights
from .cellmaps import CellMaps
from .definitions import Definitions
from .files import Files
from .observe import Observer, Tap, own_names
from .refusals import Unshippable
from .shell import Shell
from .stream import Marks, Stream
from .wire import Channel

STACKS_SIGNAL = (signal.SIGRTMAX - 2) if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
"""On this signal the child appends the stacks of all its threads to its stacks file."""

SECRET = "it is or holds a secret, which stays in its kernel"
Request = dict[str, Any]
Reply = dict[str, Any]


class Copied(BaseException):
    """Raised in the copy that a fork has made: it answers no request, it waits for its own."""


class Child:
    """Serves requests until the agent hangs up. Single-threaded."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cell = -1
        self.is_copy = False
        """Whether a fork has made this process."""
        self.over = False  # whether the notebook ends with this process
        self.stacks: Any = None
        self.divert: Callable[[str, bytes], None] | None = None
        """Takes display messages instead of the agent, in a process that runs iterations."""
        self.definitions = Definitions()
        self.seeds = ambient.Seeds()
        self.secrets = confidential.Secrets()
        self.tap = Tap()
        self.said: dict[int, list[tuple[str, str]]] = {}
        """What definitions wrote that were made before the rest of their cell: it belongs to the cell's outputs."""
        self.maps = CellMaps(self)
        self.files: Files
        self.marks: Marks
        self.shell: Shell
        self.observer: Observer

    def start(self, hello: Request, argv: list[str]) -> Reply:
        """Set up streams and shell as the first request says, and answer it."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self.marks = Marks(hello["token"], {"stdout": os.dup(1), "stderr": os.dup(2)})
        self.dump_stacks_to(hello.get("stacks"))
        sys.stdout = Stream("stdout", 1, self.marks)
        sys.stderr = Stream("stderr", 2, self.marks)
        self.shell = Shell(argv, self.publish)
        self.shell.ip.ast_transformers.append(self.tap)
        self.files = Files()
        self.observer = Observer(self.files, self.tap, self.seeds)
        os.register_at_fork(before=self.flush, after_in_child=self._forked)
        name_cells_of(hello.get("names_of") or os.getpid())
        forks.end_with_parent()
        leaving.begin()
        return {
            "python": platform.python_version(),
            "ipykernel": ipykernel_version,
            "pid": os.getpid(),
            "xxh3": importlib.util.find_spec("xxhash") is not None,
            "packages": installed(),
            "mark": self.mark(),
        }

    def dump_stacks_to(self, path: str | None) -> None:
        """Let the stacks signal append to the file at `path` from now on; None = leave it."""
        if path:
            self.stacks = open(path, "ab", buffering=0)  # noqa: SIM115 - open for life
            faulthandler.register(STACKS_SIGNAL, file=self.stacks, all_threads=True)

    def _forked(self) -> None:
        # In a process that the user's code has forked off: the agent must not hear two voices.
        self.marks.lock = threading.RLock()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Stream):
                stream.discard()

    def flush(self) -> None:
        """Send what the streams hold."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()

    def mark(self) -> int:
        """Flush both streams and mark the place in both pipes."""
        with self.marks.lock:
            self.flush()
            self.marks.last = None
            return self.marks.mark()

    def publish(self, kind: str, content: Any, session: Any) -> None:
        """Take an output message of the running cell."""
        if self.divert is not None:
            self.divert(kind, session.pack(content))
        elif self.marks.mine:
            self.send_output(kind, session.pack(content))

    def send_output(self, kind: str, packed: bytes) -> None:
        """Send an output message, whose content is JSON already, with its place among the text."""
        with self.marks.lock:
            head = {"event": "output", "cell": self.cell, "mark": self.mark(), "type": kind}
            self.channel.send_bytes(json.dumps(head)[:-1].encode() + b', "content": ' + packed + b"}")

    def serve(self) -> None:
        """Answer requests until `exit`, the end of the socket, or the notebook's own ``exit()``."""
        while True:
            self.shell.idle_until_readable(self.channel.sock.fileno())
            got = self.channel.receive()
            request, fds = got or ({"do": "exit"}, [])
            if request.get("do") == "exit":
                self.over = bool(request.get("over"))
                return
            if "do" not in request:
                continue  # an answer to a cell that was interrupted while it asked
            handler: Callable[[Request, list[int]], Reply] = getattr(self, "do_" + request["do"])
            try:
                reply = {"id": request["id"], "ok": True, **handler(request, fds)}
            except Copied:
                continue
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
                reply = {"id": request["id"], "ok": False, "error": message, "trace": traceback.format_exc()}
                reply["errno"] = error.errno if isinstance(error, OSError) else None
            self.channel.send(reply)
            self.over = bool(reply.get("leaving"))
            if self.over:
                return

    def do_run(self, request: Request, fds: list[int]) -> Reply:
        """Run a cell. Replies `status`, `error`, `facts`, `seconds`, `seeded`, `maps` and `leaving`."""
        self.cell = request["cell"]
        shell, namespace = self.shell, self.shell.namespace
        self.maps.begin(request)
        shell.call(lambda: self.observer.begin(namespace, request))
        inputs = {int(number): source for number, source in request.get("inputs", {}).items()}
        self.tap.apart = frozenset(request.get("apart", ()))
        for name, text in self.said.pop(self.cell, ()) if self.tap.apart else ():
            getattr(sys, name).write(text)
        outcome = shell.run(request["source"], request["count"], inputs)
        mark = self.mark()
        raised = outcome["status"] != "ok"
        facts = shell.call(lambda: self.observer.end(namespace, raised, shell.pending))
        mapped = self.maps.end(facts)
        if self.tap.apart:
            made = self.definitions.of_cell(self.cell)
            again = {
                n for n, obj in made.items() if namespace.get(n) is not obj or self.definitions.changed(obj)
            }
            facts["mutated"] = sorted(again.union(facts.get("mutated", ())))
            self.tap.apart = frozenset()
        self.definitions.learn(namespace, facts["bound"], self.cell)
        self.secrets.learn(namespace, facts["bound"], bool(request.get("secret")))
        error: dict[str, Any] | None = None
        if raised:
            error = {k: outcome.get(k) for k in ("ename", "evalue", "traceback")}
            told = failure.describe(shell.ip.last_execution_result, namespace, request.get("watch", ()))
            error.update(told)
            if self.secrets:
                error.update(self._hidden(error))
        return {
            "status": outcome["status"],
            "error": error,
            "facts": facts,
            "seconds": facts["seconds"],
            "seeded": sorted(self.seeds.seeded),
            "leaving": bool(shell.ip.exit_now),
            "maps": mapped,
            "confidential": bool(self.secrets),
            "mark": mark,
        }

    def _hidden(self, error: dict[str, Any]) -> dict[str, Any]:
        hide = self.secrets.hide
        inputs = {
            n: confidential.HIDDEN if self.secrets.named(n) else hide(v) for n, v in error["inputs"].items()
        }
        lines = [hide(line) for line in error["traceback"] or ()]
        return {"evalue": hide(str(error["evalue"])), "traceback": lines, "inputs": inputs}

    def do_reveals(self, request: Request, fds: list[int]) -> Reply:
        """Reply whether a secret of the notebook stands in one of `texts`."""
        return {"reveals": any(map(self.secrets.within, request["texts"]))}

    def do_define(self, request: Request, fds: list[int]) -> Reply:
        """Run only the statements of a cell that begin at `lines`: definitions. Replies the names they define."""
        cell, source, count = request["cell"], request["source"], request["count"]
        said: list[tuple[str, str]] = []
        with self.files.deaf(), lifting.overheard(said):
            rewriting = self.maps.rewriting(request)
            names = self.shell.call(
                lambda: lifting.define(self.shell.ip, source, count, request["lines"], rewriting)
            )
        self.said.setdefault(cell, []).extend(said)
        self.definitions.learn(self.shell.namespace, names, cell)
        return {"names": names}

    def do_load(self, request: Request, fds: list[int]) -> Reply:
        """Bind the values of a file; names that start with ``@`` are resources."""
        found = values.load(request["path"], self.definitions)
        wanted = request.get("names")
        if wanted is not None:
            found = {name: value for name, value in found.items() if name in set(wanted)}
        for name, value in found.items():
            if name.startswith("@"):
                self.shell.call(functools.partial(ambient.put, name, value))
            else:
                self.definitions.spare(self.shell.namespace.get(name))
                self.shell.namespace[name] = value
        self.seeds.look()
        self.secrets.learn(self.shell.namespace, found, False)
        return {"names": sorted(found)}

    def do_drop(self, request: Request, fds: list[int]) -> Reply:
        """Make names absent."""
        for name in request["names"]:
            self.definitions.spare(self.shell.namespace.pop(name, None))
        return {"names": request["names"]}

    def do_weigh(self, request: Request, fds: list[int]) -> Reply:
        """Reply about how many bytes the big parts of the names' values have; what has no buffer counts nothing."""
        namespace = self.shell.namespace
        return {"bytes": sum(weights.weight(namespace[n]) for n in request["names"] if n in namespace)}

    def do_save(self, request: Request, fds: list[int]) -> Reply:
        """Write each group of names into a file of its own (`aside`: not read soon); name what cannot travel, and why."""
        saved, unshippable = [], {}
        how = {"threads": self.is_copy, "direct": bool(request.get("aside"))}
        for number, group in enumerate(request["groups"]):
            path = os.path.join(request["folder"], str(number))
            try:
                group_values = {name: self._value(name) for name in group}
                made = values.dump(group_values, self.definitions, path, **how)
                if self.secrets.in_file(path):
                    os.unlink(path)
                    raise Unshippable("", SECRET)
                saved.append({**made, "path": path})
            except Unshippable as error:
                unshippable.update(dict.fromkeys(group, error.reason))
                unshippable[error.name or group[0]] = error.reason
            except ambient.Unavailable as error:
                unshippable.update(dict.fromkeys(group, str(error)))
            except KeyError as error:
                unshippable.update(dict.fromkeys(group, f"there is no {error.args[0]}"))
        return {"saved": saved, "unshippable": unshippable}

    def _value(self, name: str) -> Any:
        if self.secrets.named(name):
            raise Unshippable(name, SECRET)
        if name.startswith("@"):
            return self.shell.call(lambda: ambient.get(name))
        return self.shell.namespace[name]

    def do_relate(self, request: Request, fds: list[int]) -> Reply:
        """Reply the groups of names that share with one of `names`; what is not looked into in `seconds` does not."""
        namespace, names, seconds = self.shell.namespace, set(request["names"]), request.get("seconds")
        order = sorted(own_names(namespace), key=lambda name: name not in names)
        found = prints.take({name: namespace[name] for name in order}, budget_seconds=seconds)
        opaque = set() if seconds else {name for name, digest in found.digests.items() if digest is None}
        groups = [sorted(g) for g in prints.aliases(found) if g & names]
        return {"groups": groups + ([sorted(names | opaque)] if opaque else [])}

    def do_show(self, request: Request, fds: list[int]) -> Reply:
        """Reply the values of names as JSON where they have it exactly, else their text."""
        shown = {}
        for name in request["names"]:
            if name in self.shell.namespace:
                value = self.shell.namespace[name]
                text = repr(value) if type(value) not in (bool, int, float, type(None), str) else value
                hidden = self.secrets.hide(text) if isinstance(text, str) else text
                shown[name] = confidential.HIDDEN if self.secrets.named(name) else hidden
        return {"values": shown}

    def do_digest(self, request: Request, fds: list[int]) -> Reply:
        """Reply the digest of each name's value; default: all of the notebook's."""
        namespace = self.shell.namespace
        names = request.get("names")
        names = own_names(namespace) if names is None else [n for n in names if n in namespace]
        hidden = {name: "opaque:secret" for name in names if self.secrets.named(name)}
        return {"digests": {n: hidden.get(n) or prints.digest(namespace[n]) for n in names}}

    def do_fork(self, request: Request, fds: list[int]) -> Reply:
        """Make a copy of this process that serves the descriptors `fds` (control, out, err)."""
        try:
            reason = forks.why_not()
            if reason:
                return {"refused": reason}
            self.flush()
            drawn, mix = random.getstate(), forks.mix()  # after the fork each look at a page would copy it
            try:
                pid = forks.fork()
            except OSError as error:
                return {"refused": f"the system refuses: {error}"}
            if pid == 0:
                random.setstate(drawn)  # Python itself seeds it anew in every fork
                self._become(request, fds)
                raise Copied
            return {"pid": pid, "mix": mix}
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
            fds.clear()

    def _become(self, request: Request, fds: list[int]) -> None:
        """In the copy: take over its own descriptors, and drop everything it shares with the original."""
        forks.own_group()
        self.is_copy = True
        control, out, err = fds
        self.channel.sock.close()
        self.channel = Channel(socket.socket(fileno=os.dup(control)))
        for fd, number, name in ((out, 1, "stdout"), (err, 2, "stderr")):
            os.dup2(fd, number)
            os.dup2(fd, self.marks.fds[name], inheritable=False)
        self.marks.token, self.marks.number, self.marks.last = request["token"], 0, None
        self.marks.pid, self.marks.lock = os.getpid(), threading.RLock()
        if self.stacks is not None:
            self.stacks.close()
        self.dump_stacks_to(request.get("stacks"))
        leaving.forget_inherited()
        self.seeds.renew()
        forks.renew_loop(self.shell.loop)
        forks.end_with_parent()


def installed() -> str:
    """Return a digest of the distributions that can be imported: the names of their metadata folders have versions."""
    found: set[str] = set()
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found.update(
                n for n in os.listdir(folder or ".") if n.endswith((".dist-info", ".egg-info", ".egg-link"))
            )
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def name_cells_of(pid: int) -> None:
    """Let file names of cells be those of the process `pid`: every kernel of a run names them as the main one does."""
    compiler: Any = ipykernel.compiler
    folder = compiler.get_tmp_directory().rpartition("_")[0]
    compiler.get_tmp_directory = lambda: f"{folder}_{pid}"


def main(fd: int, argv: list[str]) -> None:
    """Serve the agent at the other end of socket `fd`; `argv`: arguments for ipykernel."""
    os.set_inheritable(fd, False)
    channel = Channel(socket.socket(fileno=fd))
    got = channel.receive()
    if got is None:
        return
    child = Child(channel)
    channel.send({"id": got[0]["id"], "ok": True, **child.start(got[0], argv)})
    child.serve()
    leaving.leave(child.shell.namespace, child.is_copy, child.over)
