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
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from .chunks import Codec
from .mapfolds import Frame
from .mapitems import Items, why_not
from .mapparent import Parallel, Work
from .maptap import Ambient, OutputTap
from .rewrite import HEAD, JOIN, MAP, TAIL, Spec, spec_from

CHEAP = 200e-6
"""Seconds of an iteration below which taking its results apart costs more than running it."""
PROBE = 0.02
"""Seconds of iterations in place after which the loop's pace is believed."""
FORK_SECONDS = 0.08
"""Presumed cost of starting the children, looking at the state and putting results back."""


class MapRefused(RuntimeError):
    """`#| map` asked for a map step and this loop cannot be one."""


class LeaveCell(BaseException):
    """The wanted iterations are done and recorded; the rest of the cell is not this process's work."""


def _yes() -> bool:
    return True


@dataclass
class MapSettings:
    """What the cell's maps may use; set anew for every cell."""

    workers: int = 1
    """Children at once; 1 = every loop runs in place."""
    threshold_seconds: float = 1.0
    """Seconds that mapping must be predicted to save; asked loops are always mapped."""
    tap: Any = field(default_factory=OutputTap)
    """Diverts, takes and replays outputs: see `maptap.OutputTap`."""
    codec: Any = field(default_factory=Codec)
    """Writes and reads records: see `chunks.Codec`."""
    check: Any = field(default_factory=Ambient)
    """`take()`, `changed(before) -> reason or None`, `reseed()`: see `maptap.Ambient`."""
    fork: Callable[[], int] = os.fork
    may_fork: Callable[[], bool] = _yes
    """Whether a fork of this process is safe now; the caller knows libraries and threads."""
    chunk_folder: str = ""
    """Where finished chunks are kept for a later run of the cell; empty = they are not."""
    chunk_key: str = ""
    """Digest of all that the cell's loops depend on; empty = chunks are not kept."""
    only: tuple[int, int] | None = None
    """Run these iterations alone, keep their record, and leave the cell by `LeaveCell`; None = the whole loop."""
    chunk_seconds: float = 0.5
    callback: Callable[[Mapping[str, Any]], None] | None = None
    """Called with each loop's report when it ends."""


class _State:
    """The process's one engine."""

    def __init__(self) -> None:
        self.settings = MapSettings()
        self.namespace: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        self.busy = False
        """A map is running, here or in the parent of this child: inner loops run in place."""
        self.comprehensions: list[tuple[Frame, _Loop]] = []


STATE = _State()


def install(namespace: dict[str, Any], settings: MapSettings) -> None:
    """Set up the engine for the next cell of `namespace`, and forget the last cell's reports."""
    STATE.namespace, STATE.settings = namespace, settings
    STATE.reports, STATE.comprehensions = [], []
    for name, value in ((MAP, wrap), (HEAD, head), (TAIL, tail), (JOIN, join)):
        setattr(builtins, name, value)


def report() -> list[dict[str, Any]]:
    """Return what each wrapped loop did since `install`, in order of their starts.

    Keys: `cell`, `line`, `function`, `seconds`, `iterations`, `mapped` (iterations from children), `chunks`,
    `adopted` (chunks found finished), `reason` (why iterations ran in place; empty = as planned).
    """
    return STATE.reports


def wrap(text: str, iterable: Any) -> Iterator[Any]:
    """Return the iterator that stands for `iterable` in a `for` statement; `text` is the loop's spec."""
    return itertools.chain.from_iterable(_Loop(spec_from(text), iterable, None).parts())


def head(text: str, iterable: Any, one: Callable[[Any], Any]) -> Iterator[Any]:
    """Return the first items of a comprehension's iterable, or all if it stays in place."""
    loop = _Loop(spec_from(text), iterable, one)
    STATE.comprehensions.append((Frame(_caller()), loop))
    return loop.first()


def tail() -> Iterator[Any]:
    """Return the items that no child could do, after the children have done theirs."""
    frame, loop = _unfinished()
    return loop.rest(frame)


def join(first: Any, last: Any) -> Any:
    """Return the comprehension's collection: `first`, what children made, `last`."""
    _, loop = _unfinished()
    STATE.comprehensions.pop()
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
    while STATE.comprehensions[-1][0].frame is not frame:
        STATE.comprehensions.pop()
    return STATE.comprehensions[-1]


def _caller() -> Any:
    return sys._getframe(2)


class _Loop:
    """One execution of one wrapped loop."""

    def __init__(self, spec: Spec, iterable: Any, one: Callable[[Any], Any] | None) -> None:
        self.spec, self.one = spec, one
        self.iterator: Iterator[Any] = iter(iterable)
        self.items = Items(iterable, self.iterator)
        self.iterable = iterable
        self.done = 0
        self.values: list[Any] = []
        self.parallel = False
        self.pace = 0.0
        self.started = time.perf_counter()
        self.report: dict[str, Any] = {
            "cell": spec.cell,
            "line": spec.line,
            "function": spec.function,
            "seconds": 0.0,
            "iterations": 0,
            "mapped": 0,
            "chunks": 0,
            "adopted": 0,
            "reason": "",
        }

    def parts(self) -> Iterator[Iterator[Any]]:
        """Yield the loop's iterators one after the other; itertools.chain runs each at its own speed."""
        if STATE.busy:
            yield self.iterator
            return
        STATE.reports.append(self.report)
        try:
            yield self._probe()
            yield self._children(None) if self.parallel else self.iterator
            self.items.finish()
        finally:
            self._end()

    def first(self) -> Iterator[Any]:
        """As the first part of `parts`, for a comprehension; includes all the items unless children take over."""
        if STATE.busy:
            return self.iterator
        STATE.reports.append(self.report)
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
        self.report["seconds"] = time.perf_counter() - self.started
        if STATE.settings.callback is not None:
            STATE.settings.callback(self.report)

    def _probe(self) -> Iterator[Any]:
        """Run iterations in place, timed, until it is clear whether children pay."""
        settings, clock = STATE.settings, time.perf_counter
        if not self._possible():
            return
        if settings.only is not None:
            self.parallel = True
            return
        began = clock()
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
            saved = pace * left * (1 - 1 / min(settings.workers, max(left, 1))) - FORK_SECONDS
            sure = now - began >= PROBE
            if left >= 2 and (
                self.spec.asked or (sure and pace >= CHEAP and saved >= settings.threshold_seconds)
            ):
                self.parallel = True
                return
            if sure and mean < CHEAP / 10:
                return  # a tight loop: the rest runs at its own speed

    def _possible(self) -> bool:
        settings = STATE.settings
        reason = why_not(self.iterable)
        if reason and self.spec.asked:
            raise MapRefused(f"J2K367 the loop in line {self.spec.line} cannot be a map step: {reason}")
        if not reason and settings.only is None:
            if settings.workers < 2:
                reason = "one worker"
            elif not settings.may_fork():
                reason = "this process cannot be forked safely"
        self.report["reason"] = reason
        return not reason

    def _children(self, frame: Frame | None) -> Iterator[Any]:
        """Run the rest by children; yield what must run in place."""
        here = frame or Frame(_loop_frame())
        work = Work(
            self.spec, here, self.items, self.done, self.pace, self.one, STATE.reports.index(self.report)
        )
        engine = Parallel(work, STATE.settings, STATE.namespace, self.report)
        STATE.busy = True
        try:
            yield from engine.run()
        finally:
            STATE.busy = False
            engine.close()
            self.values = engine.values
        if STATE.settings.only is not None:
            raise LeaveCell


def _loop_frame() -> Any:
    return sys._getframe(2)
