"""What the user sees while a run goes on: a line per running cell in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from typing import TextIO

from jup2kub.agent.session import Told
from jup2kub.cli.common import duration
from jup2kub.model.notebook import Notebook

TICK = 0.5
"""Seconds between redrawings of the time left."""
SHORT = 1.0
"""Seconds; elsewhere than in a terminal a cell that took less is not worth a line."""


@dataclass(frozen=True)
class Running:
    """One cell that computes now."""

    where: str
    since: float
    """Monotonic seconds."""
    predicted: float | None
    """Seconds; None = not known."""


class Progress:
    """Tells a run's story on `stream`."""

    def __init__(self, stream: TextIO | None = None, prefix: str = "") -> None:
        """`prefix`: before every line; of several that share a stream none may draw over the others."""
        self.stream = stream or sys.stderr
        self.prefix = prefix
        self.live = not prefix and self.stream.isatty()
        self.titles: dict[int, str] = {}
        self.running: dict[int, Running] = {}
        self.drawn = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def know(self, notebook: Notebook) -> None:
        """Learn the cells' first lines."""
        for cell in notebook.code:
            lines = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#|")]
            self.titles[cell.index] = (lines[0] if lines else "")[:50]

    def __call__(self, told: Told) -> None:
        """Take one event."""
        with self._lock:
            self._take(told)
            self._redraw()

    def _take(self, told: Told) -> None:
        cell = told.cell
        if told.kind == "start" and cell is not None:
            self.running[cell] = Running(told.where, time.monotonic(), told.seconds)
            if not self.live and told.seconds and told.seconds >= SHORT:
                self._line(f"cell {cell} starts in {_place(told.where)}: {self.titles.get(cell, '')}")
        elif told.kind == "done" and cell is not None:
            self.running.pop(cell, None)
            if told.seconds is not None and (told.seconds >= SHORT or told.text):
                word = told.text or "done"
                self._line(f"cell {cell} {word} in {duration(told.seconds)} ({_place(told.where)})")
        elif told.kind == "adopted" and cell is not None and told.seconds and told.seconds >= SHORT:
            self._line(f"cell {cell} kept from an earlier run (it took {duration(told.seconds)})")
        elif told.kind in ("retry", "note"):
            where = f"cell {cell}: " if cell is not None else ""
            self._line(f"{where}{told.text}")

    def _line(self, text: str) -> None:
        self._erase()
        self._write(f"{self.prefix}{text}\n")

    def _write(self, text: str) -> None:
        # A terminal that went away, or a full disk behind stderr, is no reason to end the run.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()

    def _erase(self) -> None:
        if self.drawn:
            self._write(f"\x1b[{self.drawn}F\x1b[J")
            self.drawn = 0

    def _redraw(self) -> None:
        if not self.live:
            return
        self._erase()
        now = time.monotonic()
        lines = [self._text(cell, run, now) for cell, run in sorted(self.running.items())]
        self._write("".join(f"{line}\n" for line in lines))
        self.drawn = len(lines)

    def _text(self, cell: int, run: Running, now: float) -> str:
        spent = now - run.since
        left = ""
        if run.predicted and run.predicted > spent:
            left = f", about {duration(run.predicted - spent)} left"
        return f"  ▸ cell {cell} [{_place(run.where)}] {self.titles.get(cell, '')}  {duration(spent)}{left}"

    def __enter__(self) -> Progress:
        """Start redrawing."""
        if self.live:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and leave the terminal clean."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            self._erase()

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            with self._lock:
                self._redraw()


def _place(where: str) -> str:
    return "the main line" if where == "main" else "a step"
