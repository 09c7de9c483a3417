"""The map engine in a kernel child: set up for each cell, with the kernel's own eyes, voice and cores."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from . import forks, maps
from .envreads import READS
from .mapaway import Away
from .maphost import Part
from .maptalk import Talk
from .maptap import Ambient, OutputTap, Witness
from .rewrite import rewrite

Request = dict[str, Any]
CAPTURED, CLEARED = "@@captured", "@@cleared"
"""Kinds of entries: displays that `%%capture` gathers."""


class ShellTap(OutputTap):
    """Diverts what iterations of a map step show, display messages included. `host`: the child, see `CellMaps`."""

    def __init__(self, host: Any) -> None:
        super().__init__()
        self._host = host

    def begin(self) -> None:
        """Divert all output of this process; display messages take their place among the text."""
        super().begin()
        self._host.divert = lambda kind, packed: self._entries.append(
            ("@" + kind, packed.decode("utf-8", "replace"))
        )
        publisher = self._host.shell.ip.display_pub
        if hasattr(publisher, "outputs"):  # `%%capture` gathers them in this process
            entries: list[Any] = self._entries
            publisher.publish = lambda *args, **kwargs: entries.append((CAPTURED, (args, kwargs)))
            publisher.clear_output = lambda wait=False: entries.append((CLEARED, wait))

    def replay(self, outputs: list[Any]) -> None:
        """Show outputs of an iteration."""
        for name, text in outputs:
            if name in (CAPTURED, CLEARED):
                publisher = self._host.shell.ip.display_pub
                if name == CAPTURED:
                    publisher.publish(*text[0], **text[1])
                else:
                    publisher.clear_output(text)
            elif name.startswith("@"):
                self._host.send_output(name[1:], text.encode("utf-8", "replace"))
            else:
                getattr(sys, name).write(text)


class FilesWitness(Witness):
    """Brings what children have read and done into the facts of the cell."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def take(self) -> dict[str, Any]:
        """Return files read with their state, paths looked for in vain, and effects; in a child."""
        files = self._files
        with self.quiet():
            read = {path: _state(path) for path in files.read if path not in files.written}
        return {
            "read": dict(zip(files.named(read), read.values())),
            "absent": files.named(files.absent),
            "effects": sorted(files.effects),
            "env": [*READS.names],
        }

    def stands(self, seen: dict[str, Any]) -> bool:
        """Return whether every file is as it was."""
        with self.quiet():
            same = all(_state(self._here(path)) == state for path, state in seen.get("read", {}).items())
            return same and not any(os.path.lexists(self._here(path)) for path in seen.get("absent", ()))

    def tell(self, seen: dict[str, Any]) -> None:
        """Count what a child has seen as the cell's own."""
        files = self._files
        files.read.update(dict.fromkeys(map(self._here, seen.get("read", ()))))
        files.absent.update(dict.fromkeys(map(self._here, seen.get("absent", ()))))
        files.effects.update(seen.get("effects", ()))
        READS.tell(seen.get("env", ()))
        if seen.get("drawn"):
            files.effects.add("unseeded")

    def _here(self, path: str) -> str:
        """Return the path that a child, perhaps of a kernel in another folder, has named."""
        return os.path.join(self._files.project, path)

    def quiet(self) -> Any:
        """Return a context in which file work is not heard."""
        return self._files.deaf()


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


class CellMaps:
    """Sets the engine up before each cell, and tells afterwards what it did.

    `host`: the child, with its `channel`, `shell`, `files`, `seeds` and `tap`, `divert` and `send_output`.
    """

    def __init__(self, host: Any) -> None:
        self._host = host
        self._pid = os.getpid()
        self._began = 0.0

    def begin(self, request: Request) -> None:
        """Prepare for the cell of `request`. A map may sit in a function whose cell ran before."""
        host = self._host
        self._pid, self._began = os.getpid(), time.perf_counter()
        self._talk = Talk(host.channel)
        settings = maps.MapSettings(
            workers=request.get("workers", 1),
            tap=ShellTap(host),
            check=Ambient(name.partition(":")[2] for name in host.seeds.seeded),
            fork=self._fork_quietly,
            may_fork=lambda: not forks.why_not(),
            cores=self._cores,
            witness=FilesWitness(host.files),
        )
        wanted = dict(request.get("map_settings") or {})
        if "away" in wanted:
            known, seeded = wanted.pop("away"), tuple(sorted(host.seeds.seeded))
            settings.away = Away(self._talk, known, seeded, self._soiled, self._spent)
        if "host" in wanted:
            part = wanted.pop("host")
            settings.host = Part(self._talk, part)
            settings.check = Ambient(n.partition(":")[2] for n in {*host.seeds.seeded, *part["seeded"]})
        for name, value in wanted.items():
            setattr(settings, name, value)
        maps.install(host.shell.namespace, settings)
        host.tap.rewrite = self.rewriting(request)

    def rewriting(self, request: Request) -> Callable[[Any], Any] | None:
        """Return what puts the engine under the loops of a cell; None = it has none."""
        loops = request.get("maps") or ()
        return functools.partial(rewrite, specs=loops) if loops else None

    def end(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """Add to the facts of the cell how long its loops took, and return what children did."""
        self._host.tap.rewrite = None
        facts["loops"] = {name: seconds for name, seconds in maps.seconds().items() if seconds > 0}
        return [r for r in maps.report() if r["mapped"] or r["asked"]]

    def _fork_quietly(self) -> int:
        # A child process of a map step is the kernel's doing, not an effect of the cell.
        with self._host.files.deaf():
            return os.fork()

    def _cores(self, wanted: int) -> int:
        """Ask the agent for cores; in a process that the user's code has forked there is nobody to ask."""
        if os.getpid() != self._pid:
            return 1
        return self._talk.cores(wanted)

    def _spent(self, until: float) -> float:
        """Return the seconds that one process alone would have taken for the cell until then."""
        loops: float = sum(max(0.0, r["work"] - r["seconds"]) for r in maps.report())
        return until - self._began + loops

    def _soiled(self) -> str:
        """Return why the beginning of the cell cannot be run again by others; empty = it can."""
        files = self._host.files
        if os.getpid() != self._pid:
            return "a process that the cell has started runs it"
        if files.effects or files.written:
            used = ", ".join(sorted(files.effects))
            done = f"has used {used}" if used else "has written files"
            return f"the cell {done} before it, and others would have to do that again"
        return ""
