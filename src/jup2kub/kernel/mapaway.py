"""Chunks of a loop that kernels of other agents run, seen from the kernel that has the loop.

It cuts the loop, waits, and puts results together in iteration order, as with children of its own. Who runs a chunk, and
how often, is the affair of its agent. What no other kernel can do is done here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple

from .chunks import Record
from .maptalk import Message, Talk
from .mapwork import Range, cut

AWAY = -1
"""Stands for the agent among the children that something may come from."""
FAR_SECONDS = 30.0
"""Seconds that must be saved before a loop leaves by itself: elsewhere a kernel must be started and filled."""
FAR_ASKED = 5.0
"""The same, of work in all, where the user asks for a map step."""
PREFIX_SECONDS = 2.0
"""Seconds of the cell before its loop that every other kernel may spend in any case …"""
PREFIX_SHARE = 0.1
"""… and the share of the loop's work."""
AIM_SECONDS, LEAST_SECONDS = 5.0, 1.0
"""Of work in a chunk, and in the small ones at the end, after which all end together."""
MOST_CHUNKS = 500


class Start(NamedTuple):
    """One execution of a loop, as it was when it began."""

    place: str
    """Tells it from all others in the cell."""
    soiled: str
    """Why the cell until there cannot be run again elsewhere; empty = it can."""
    at: float
    """By `time.perf_counter`."""


class Away:
    """Whether, and to whom, loops of the running cell may go.

    `known`: loops that an earlier life of this cell sent away, by place: the iterations that it had run before, and
    seconds of one. `soiled` returns why what the cell did so far cannot be done again elsewhere; empty = it can. `spent`
    returns the seconds that one process would have taken for the cell until a time of `time.perf_counter`.
    """

    def __init__(
        self,
        talk: Talk,
        known: Mapping[str, Any],
        seeded: tuple[str, ...],
        soiled: Callable[[], str],
        spent: Callable[[float], float],
    ) -> None:
        self.talk, self.seeded = talk, seeded
        self._known, self.soiled, self.spent = known, soiled, spent
        self._refused: set[str] = set()

    def known(self, place: str) -> tuple[int, float] | None:
        """Return what is known of the loop at `place`; None = it was never sent away."""
        found = self._known.get(place)
        return None if found is None else (int(found[0]), float(found[1]))

    def agents(self, start: Start, asked: bool, seconds: float, left: int) -> int:
        """Return how many agents to reckon with for a loop with `left` iterations of `seconds` in all; 0 = it stays here."""
        place, why, before = start.place, start.soiled, self.spent(start.at)
        if place in self._refused or (place not in self._known and seconds < FAR_ASKED):
            return 0
        if not why and before > max(PREFIX_SECONDS, PREFIX_SHARE * seconds):
            why = f"the cell has worked {before:.1f} s before it, which each of them would have to do again"
        found = self.talk.ask("wants", place=place, why=why, asked=asked, seconds=seconds, left=left)
        count = int(found.get("agents", 0))
        if not count:
            self._refused.add(place)
        enough = asked or place in self._known or seconds * (1 - 1 / max(count, 1)) >= FAR_SECONDS
        return count if enough else 0


class Gathering:
    """One loop whose chunks are away. `engine`: a `mapparent.Parallel`."""

    def __init__(self, engine: Any, start: Start) -> None:
        self.engine, self.start, self.place, self.away = engine, start, start.place, engine.settings.away
        self.talk: Talk = self.away.talk
        self.out: set[Range] = set()
        """Chunks that have not come back."""
        self.called_off = ""
        """Why no other kernel can run the rest; empty = they can."""
        self.open = False

    def begin(self, key: str) -> str:
        """Send the loop away; `key`: digest of all that it may touch. Returns why it cannot be; empty = it is."""
        engine, work = self.engine, self.engine.work
        answer = self.talk.ask(
            "begin",
            place=self.place,
            key=key,
            done=work.done,
            end=engine.end,
            pace=work.pace,
            limit=work.spec.limit,
            line=work.spec.line,
            before=self.away.spent(self.start.at),
            seeded=list(self.away.seeded),
            chunks=cut_away(work, engine.end),
        )
        if not answer.get("chunks"):
            return str(answer.get("why") or "the agent is gone")
        self.out = {(start, stop) for start, stop in answer["chunks"]}
        self.open = True
        return ""

    def hear(self) -> None:
        """Take one piece of news."""
        message = self.talk.next()
        if message is None:
            self.called_off, self.open = "the agent is gone", False
        elif message.get("loop") == self.place and self.open:
            if "off" in message:
                self.called_off = self.engine.report["reason"] = str(message["off"])
                self.end()
            else:
                self._take(message)

    def _take(self, message: Message) -> None:
        start, stop = message["chunk"]
        if (start, stop) not in self.out:
            return
        self.out.discard((start, stop))
        engine, path = self.engine, message.get("path")
        if message.get("reason"):
            engine.settled.update(dict.fromkeys(range(start, stop)))
            engine.retreat(start, str(message["reason"]))
            return
        record: Record | None = None
        if path:
            with engine.quiet(), contextlib.suppress(Exception):
                record = engine.settings.codec.load(path, engine.world)
        if record is None or (record.start, record.stop) != (start, stop):
            engine.settled.update(dict.fromkeys(range(start, stop)))
            engine.report["reason"] = str(
                message.get("why") or "a result could not be read; it was made again"
            )
            return
        files: Mapping[str, Any] = message.get("files", {})
        for one in record.iterations:
            one.files = tuple(files[name]["path"] if name in files else name for name in one.files)
        engine.brought.update({f["path"]: f for f in files.values()})
        engine.report["chunks"] += 1
        engine.report["far"] += len(record.iterations)
        engine.settle(record)

    def left(self, position: int) -> list[Range]:
        """Return what of the loop, from iteration `position` on, nobody has done."""
        return sorted((max(start, position), stop) for start, stop in self.out if stop > position)

    def end(self) -> None:
        """Nothing more is wanted of others."""
        if self.open:
            self.open = False
            self.talk.tell("end", loop=self.place)


def cut_away(work: Any, end: int) -> list[Range]:
    """Cut the rest of a loop into chunks for several agents: large ones first, and twice as many as agents at least."""
    found: list[Range] = []
    start, count = work.done, end - work.done
    if work.spec.chunks:
        even = -(-count // work.spec.chunks)
        return [(s, min(s + even, end)) for s in range(start, end, even)]
    pace = max(work.pace, 1e-6)
    floor = max(1, -(-count // MOST_CHUNKS))
    most, least = max(floor, int(AIM_SECONDS / pace)), max(floor, int(LEAST_SECONDS / pace))
    while start < end:
        size = max(
            min(most, (end - start) // (2 * max(1, work.agents))), min(least, -(-count // (2 * work.agents)))
        )
        size = max(1, size)
        found.append((start, min(start + size, end)))
        start += size
    return found


def place_files(names: tuple[str, ...], brought: Mapping[str, Mapping[str, Any]]) -> None:
    """Put files that an iteration wrote elsewhere where they belong. Raises OSError."""
    for name in names:
        image = brought.get(name)
        if image is None:
            continue
        if image["folder"]:
            os.makedirs(name, exist_ok=True)
        elif image["source"] is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        else:
            os.makedirs(os.path.dirname(name), exist_ok=True)
            shutil.copyfile(image["source"], name)
            os.chmod(name, image["mode"])


def send(engine: Any, start: Start) -> Gathering | None:
    """Let other agents run the chunks of a loop; None = they cannot, and the user is told why."""
    key = engine.key()
    made = Gathering(engine, start)
    reason = made.begin(key) if key else "what it reads cannot be told apart by value"
    if not reason:
        engine.selector.register(made.talk, selectors.EVENT_READ, AWAY)
        return made
    engine.report["reason"] = f"its iterations cannot go to other agents: {reason}"
    made.talk.tell("stays", line=engine.work.spec.line, why=reason)
    return None


def go_on_here(engine: Any, ranges: list[Range]) -> Iterator[Any]:
    """Run these iterations in children of this process, if there are cores for any; yields in a child only."""
    engine.cores = engine.settings.cores(engine.settings.workers)
    if engine.cores > 1:
        engine.report["reason"] = ""
        engine.queue = [c for r in ranges for c in cut(engine.work, engine.end, engine.settings, *r)]
        yield from engine.side_by_side()
