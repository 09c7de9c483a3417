"""Map steps inside the user's interpreter: iterations of a loop in forked children, with the sequential answer.

`rewrite` wraps the iterable of a loop. The first iterations run in place, timed; if mapping pays, children run
the others chunk by chunk, and the parent puts their results into the very same objects in iteration order. What no
child could do (it died, it raised, its state check failed) runs in place, in order, as in plain Python.
"""

from __future__ import annotations

import builtins
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from .chunks import Codec
from .mapaway import Start
from .mapfolds import Frame
from .maphost import Host
from .mapitems import Items, why_not
from .mapparent import Parallel
from .mapplaces import Place, Places
from .maptap import Ambient, OutputTap, Witness
from .mapwork import Work
from .rewrite import HEAD, JOIN, MAP, ON, TAIL

CHEAP = 200e-6
"""Seconds of an iteration below which taking its results apart costs more than running it."""
PROBE = 0.02
"""Seconds of iterations in place after which the loop's pace is believed."""
FORK_SECONDS = 0.08
"""Presumed cost of starting the children, looking at the state and putting results back."""
ASK_SECONDS = 0.5
"""Time between two requests for cores."""


class MapRefused(RuntimeError):
    """`#| map` asked for a map step and this loop cannot be one."""


def _yes() -> bool:
    return True


def _all(wanted: int) -> int:
    return wanted


@dataclass
class MapSettings:
    """What the cell's maps may use; set anew for every cell."""

    workers: int = 1
    """Most children at once; 1 = every loop runs in place."""
    cores: Callable[[int], int] = _all
    """Takes as many cores as are wanted and free, in all and at least one; returns how many. 0 gives them back."""
    expected: Mapping[str, float] = field(default_factory=dict)
    """Seconds that executions of loops took in an earlier run, by `mapplaces.name_of`."""
    threshold_seconds: float = 1.0
    """Seconds that mapping must be predicted to save; asked loops are always mapped."""
    tap: Any = field(default_factory=OutputTap)
    """Diverts, takes and replays outputs: see `maptap.OutputTap`."""
    codec: Any = field(default_factory=Codec)
    """Writes and reads records: see `chunks.Codec`."""
    check: Any = field(default_factory=Ambient)
    """`take()`, `changed(before) -> reason or None`, `reseed()`, `drawn()`: see `maptap.Ambient`."""
    witness: Any = field(default_factory=Witness)
    """What children were seen to depend on: see `maptap.Witness`."""
    fork: Callable[[], int] = os.fork
    may_fork: Callable[[], bool] = _yes
    """Whether a fork of this process is safe now; the caller knows libraries and threads."""
    chunk_folder: str = ""
    """Where finished chunks are kept for a later run of the cell; empty = they are not."""
    chunk_key: str = ""
    """Digest of all that the cell's loops depend on; empty = chunks are not kept."""
    chunk_secret: str = ""
    """Seals what is kept: nothing else is read back."""
    away: Any = None
    """Whether loops may go to other agents, and how: `mapaway.Away`; None = they stay."""
    host: Any = None
    """The loop of which chunks are wanted here, and nothing else of the cell: `maphost.Part`; None = the whole cell."""
    chunk_seconds: float = 0.5
    callback: Callable[[Mapping[str, Any]], None] | None = None
    """Called with each loop's report when it ends."""


class _State:
    """The process's one engine."""

    def __init__(self) -> None:
        self.settings = MapSettings()
        self.namespace: dict[str, Any] = {}
        self.places = Places({})
        self.busy = False
        """A map is running, here or in the parent of this child: inner loops run in place."""
        self.asked = 0.0
        """When cores were wanted last, and there were none."""


class _Open(threading.local):
    """Comprehensions of this thread that have begun and not ended."""

    def __init__(self) -> None:
        self.stack: list[tuple[Frame, _Loop]] = []


STATE = _State()
OPEN = _Open()


def install(namespace: dict[str, Any], settings: MapSettings) -> None:
    """Set up the engine for the next cell of `namespace`, and forget the last cell's reports."""
    STATE.namespace, STATE.settings = namespace, settings
    STATE.places, STATE.asked = Places(settings.expected), 0.0
    OPEN.stack.clear()
    for name, value in ((MAP, wrap), (ON, on), (HEAD, head), (TAIL, tail), (JOIN, join)):
        setattr(builtins, name, value)


def report() -> list[dict[str, Any]]:
    """Return what each wrapped loop did since `install`, in order of their starts.

    Keys: `cell`, `line`, `function`, `asked`, `seconds`, `work` (seconds it would have taken in one process),
    `iterations`, `mapped` (iterations from children), `chunks`, `adopted` (chunks found finished), `far` (iterations from
    other agents), `reason` (why iterations ran in place; empty = as planned).
    """
    return STATE.places.reports


def seconds() -> dict[str, float]:
    """Return what an execution of each wrapped loop would have taken in one process, by `mapplaces.name_of`."""
    return STATE.places.seconds()


def wrap(text: str, iterable: Any) -> Any:
    """Return what stands for `iterable` in a `for` statement; `text` is the loop's spec."""
    if STATE.busy:
        return iterable
    place = STATE.places.of(text)
    if place.pass_over(iterable) and not _told_of(place):
        return iterable
    return itertools.chain.from_iterable(_Loop(place, iterable, None).parts())


def on(text: str) -> bool:
    """Return whether an execution of a comprehension is looked at."""
    if STATE.busy:
        return False
    place = STATE.places.of(text)
    return not place.seldom() or _told_of(place)


def head(text: str, iterable: Any, one: Callable[[Any], Any]) -> Iterator[Any]:
    """Return the first items of a comprehension's iterable, or all if it stays in place."""
    loop = _Loop(STATE.places.of(text), iterable, one)
    OPEN.stack.append((Frame(_caller()), loop))
    return loop.first()


def tail() -> Iterator[Any]:
    """Return the items that no child could do, after the children have done theirs."""
    frame, loop = _unfinished()
    return loop.rest(frame)


def join(first: Any, last: Any) -> Any:
    """Return the comprehension's collection: `first`, what children made, `last`."""
    _, loop = _unfinished()
    OPEN.stack.pop()
    for made in (*loop.values, last):
        if isinstance(first, list):
            first.extend(made)
        elif isinstance(first, dict):
            first.update(made)
        else:
            for value in made:  # one by one, so that the set is laid out as it would have been
                first.add(value)
    return first


def _unfinished() -> tuple[Frame, _Loop]:
    """The newest comprehension of the caller's frame; those above it were left by an exception."""
    frame = sys._getframe(2)
    while OPEN.stack[-1][0].frame is not frame:
        OPEN.stack.pop()
    return OPEN.stack[-1]


def _caller() -> Any:
    return sys._getframe(2)


def _told_of(place: Place) -> bool:
    """Whether this execution of a loop is one that was sent away."""
    settings, name = STATE.settings, place.name
    return (settings.host is not None and settings.host.place == name) or (
        settings.away is not None and settings.away.known(name) is not None
    )


class _Loop:
    """One execution of one wrapped loop."""

    def __init__(self, place: Place, iterable: Any, one: Callable[[Any], Any] | None) -> None:
        self.place, self.spec, self.one = place, place.spec, one
        self.iterator: Iterator[Any] = iter(iterable)
        self.items = Items(iterable, self.iterator)
        self.iterable = iterable
        self.done = 0
        self.values: list[Any] = []
        self.parallel = False
        self.pace = 0.0
        self.cores = 1
        self.agents = 0
        self.name = place.name
        away = STATE.settings.away
        self.start = None if away is None else Start(self.name, away.soiled(), time.perf_counter())
        self.started = time.perf_counter()
        self.report = STATE.places.report(place)

    def parts(self) -> Iterator[Iterator[Any]]:
        """Yield the loop's iterators one after the other; itertools.chain runs each at its own speed."""
        try:
            yield self._probe()
            yield self._children(None) if self.parallel else self.iterator
            self.items.finish()
        finally:
            self._end()

    def first(self) -> Iterator[Any]:
        """As the first part of `parts`, for a comprehension; includes all the items unless children take over."""
        return itertools.chain.from_iterable(self._first_parts())

    def _first_parts(self) -> Iterator[Iterator[Any]]:
        yield self._probe()
        if not self.parallel:
            yield self.iterator
            self._end()

    def rest(self, frame: Frame) -> Iterator[Any]:
        """Yield, for a comprehension, the items that must run in place after the children."""
        if not self.parallel:
            return
        try:
            yield from self._children(frame)
            self.items.finish()
        finally:
            self._end()

    def _end(self) -> None:
        seconds = self.report["seconds"] = time.perf_counter() - self.started
        if not self.parallel:
            self.report["work"] = seconds
        self.place.add(self.report["work"], self.items.total or 0)
        if STATE.settings.callback is not None:
            STATE.settings.callback(self.report)

    def _probe(self) -> Iterator[Any]:
        """Run iterations in place, timed, until it is clear whether children pay."""
        settings, clock = STATE.settings, time.perf_counter
        if settings.host is not None:
            self._wait_here()
            return
        if not self._possible():
            return
        began = clock()
        known = settings.away.known(self.name) if settings.away is not None else None
        if self._sent(0, known) if known else self._known():
            return
        for item in self.iterator:
            before = clock()
            yield item
            now = clock()
            self.done += 1
            self.report["iterations"] = self.done
            total = self.items.total
            if total is None:
                self.report["reason"] = "the number of iterations is not known ahead"
                return
            left = total - self.done
            mean = (now - began) / self.done
            pace = self.pace = max(mean, min(now - before, 2 * mean))
            sure = now - began >= PROBE
            if known and self.done <= known[0]:
                if self._sent(self.done, known):
                    return
            elif left >= 2 and (self.spec.asked or (sure and pace >= CHEAP and self._saves(left))):
                if self._take(left):
                    return
            elif sure and mean < CHEAP / 10:
                return  # a tight loop: the rest runs at its own speed

    def _wait_here(self) -> None:
        """In a kernel that is wanted for one loop alone: if this is it, go to where its chunks begin."""
        part = STATE.settings.host
        if part.place != self.name:
            return  # it comes before, and runs in place
        if not self._possible():
            part.unfit(self.report["reason"])
        for _ in itertools.islice(self.iterator, part.done):
            self.done += 1
        self.pace, self.parallel = 4 * part.pace, True  # what it reads is looked at with patience

    def _sent(self, done: int, known: tuple[int, float]) -> bool:
        """Whether the loop goes away once more, at the iteration where it did in an earlier life of the cell."""
        self.pace = known[1]
        return done == known[0] and self._goes_away((self.items.total or 0) - done)

    def _goes_away(self, left: int) -> bool:
        """Whether other agents run the rest."""
        away = STATE.settings.away
        if away is not None and left >= 2:
            self.agents = away.agents(self.start, self.spec.asked, self.pace * left, left)
        self.parallel = self.agents > 0
        if self.parallel:
            self.report["reason"] = ""
        return self.parallel

    def _saves(self, left: int) -> bool:
        workers = min(STATE.settings.workers, max(left, 1))
        saved = self.pace * left * (1 - 1 / workers) - FORK_SECONDS
        return saved >= STATE.settings.threshold_seconds

    def _known(self) -> bool:
        """Whether children pay by what an earlier run has seen; then no iteration is needed to find out."""
        total = self.items.total
        if not self.place.expected or total is None or total < 3:
            return False
        self.pace = self.place.expected / total
        return self.pace >= CHEAP and (self.spec.asked or self._saves(total)) and self._take(total)

    def _take(self, left: int) -> bool:
        """Take cores, if there are any for children; else ask again after a while."""
        now = time.perf_counter()
        if now - STATE.asked < ASK_SECONDS:
            return False
        if self._goes_away(left):
            return True
        wanted = min(STATE.settings.workers, self.spec.limit or left, left)
        self.cores = STATE.settings.cores(wanted)
        self.parallel = self.cores > 1 or wanted == 1
        if not self.parallel:
            STATE.asked, self.report["reason"] = now, "no core was free"
        else:
            self.report["reason"] = ""
        return self.parallel

    def _possible(self) -> bool:
        settings = STATE.settings
        reason = why_not(self.iterable)
        if not reason and settings.workers > 1 and not settings.may_fork():
            reason = "this process cannot be forked safely"
        if reason and self.spec.asked:
            raise MapRefused(f"J2K367 the loop in line {self.spec.line} cannot be a map step: {reason}")
        if not reason and settings.workers < 2:
            reason = "one worker"
        self.report["reason"] = reason
        return not reason

    def _children(self, frame: Frame | None) -> Iterator[Any]:
        """Run the rest by children; yield what must run in place."""
        here = frame or Frame(_loop_frame())
        work = Work(
            self.spec,
            here,
            self.items,
            self.done,
            self.pace,
            self.one,
            self.place.runs,
            self.cores,
            time.perf_counter() - self.started,
            self.agents,
            self.start,
        )
        kind = Parallel if STATE.settings.host is None else Host
        engine = kind(work, STATE.settings, STATE.namespace, self.report)
        STATE.busy = True
        try:
            yield from engine.run()
        finally:
            STATE.busy = False
            engine.close()
            STATE.settings.cores(0)
            self.values = engine.values


def _loop_frame() -> Any:
    return sys._getframe(2)
