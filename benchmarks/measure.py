"""Whole processes, timed from outside: what a user waits for, the start of the tool included."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
TEXT = ("stream", "execute_result", "error")
"""Kinds of output that are compared; pictures are left to `verify`."""


class Broken(Exception):
    """A command that is measured has failed: its time means nothing."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work."""

    name: str
    commands: Callable[[Path], Sequence[Sequence[str]]]
    """From the folder of the repetition to the commands that are timed, one after the other."""
    prepare: Callable[[Path], None]
    """Puts into the folder what the commands need; not timed."""
    outputs: tuple[str, ...] = ("out.ipynb",)
    """Executed notebooks that must hold the same text as every other contender's; empty = none."""
    extract: Callable[[Path], Mapping[str, float]] = field(default=lambda folder: {})
    """More numbers, from what the commands left in the folder."""


@dataclass(frozen=True)
class Sample:
    """One repetition of one contender."""

    seconds: float
    """Wall-clock time of all its commands."""
    more: Mapping[str, float]
    cpu: float = 0.0
    """Seconds of the processor that they and the processes they waited for have used."""


@dataclass(frozen=True)
class Times:
    """All repetitions of all contenders of a case."""

    samples: Mapping[str, tuple[Sample, ...]]
    same: bool
    """Whether all contenders gave the same text."""
    pairs: tuple[float, ...] = ()
    """What two busy processes at once took, times one alone, before each repetition: see `two_at_once`."""

    @property
    def pair(self) -> float | None:
        """Return the median of `pairs`; None = it was not measured."""
        return statistics.median(self.pairs) if self.pairs else None

    def cpu(self, name: str) -> float:
        """Return the median seconds of the processor of a contender."""
        return statistics.median(s.cpu for s in self.samples[name])

    def of(self, name: str) -> float:
        """Return the median seconds of a contender."""
        return statistics.median(s.seconds for s in self.samples[name])

    def more(self, name: str, key: str) -> float:
        """Return the median of one of its further numbers."""
        return statistics.median(s.more[key] for s in self.samples[name])

    def spread(self, name: str) -> float:
        """Return half the distance of the slowest from the fastest, in seconds."""
        seconds = [s.seconds for s in self.samples[name]]
        return (max(seconds) - min(seconds)) / 2


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of every command: this interpreter's tools first, the folder's own store."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUP2KUB_", "PYTHON"))}
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', '')}"
    env["JUP2KUB_STORE"] = str(folder / "store")
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    return env


def call(command: Sequence[str], folder: Path) -> float:
    """Run one command in `folder` and return its seconds. Raises Broken."""
    return costs(command, folder)[0]


def costs(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run one command in `folder` and return its seconds, and those of the processor. Raises Broken."""
    with (folder / "said.txt").open("wb") as said:
        used = processor_of_children()
        began = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        text = (folder / "said.txt").read_text(errors="replace")[-1500:]
        raise Broken(f"{' '.join(command)} gave exit code {done.returncode}:\n{text}")
    return seconds, processor_of_children() - used


def processor_of_children() -> float:
    """Return the seconds of the processor of all child processes that have ended, and theirs."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def two_at_once(command: Sequence[str]) -> float:
    """Return how many times longer two such processes take at once than one alone, the better of two.

    1 = two full cores are free; 2 = there is one. No tool can be faster with two than 2 by this number.
    """

    def seconds(count: int) -> float:
        began = time.perf_counter()
        running = [subprocess.Popen(command) for _ in range(count)]
        if any(process.wait() for process in running):
            raise Broken(f"{command[0]} failed")
        return time.perf_counter() - began

    one = min(seconds(1) for _ in range(2))
    return min(seconds(2) for _ in range(2)) / one


def repeat(
    contenders: Sequence[Contender], folder: Path, repetitions: int, busy: Sequence[str] = ()
) -> Times:
    """Run the contenders in turn, `repetitions` times each, so that a slow minute hits all of them.

    `busy`: a command that keeps a core busy, to learn before each repetition what two cores are worth in this minute.
    """
    samples: dict[str, list[Sample]] = {c.name: [] for c in contenders}
    texts: list[object] = []
    pairs: list[float] = []
    for number in range(repetitions):
        if busy:
            pairs.append(two_at_once(busy))
        for contender in contenders:
            place = folder / f"{contender.name.replace(' ', '-')}-{number}"
            place.mkdir(parents=True)
            contender.prepare(place)
            spent = [costs(command, place) for command in contender.commands(place)]
            seconds, cpu = sum(s for s, _ in spent), sum(c for _, c in spent)
            samples[contender.name].append(Sample(seconds, contender.extract(place), cpu))
            if contender.outputs:
                texts.append([text_of(load(place / name)) for name in contender.outputs])
            shutil.rmtree(place)
    same = all(t == texts[0] for t in texts)
    return Times({k: tuple(v) for k, v in samples.items()}, same, tuple(pairs))


def load(path: Path) -> dict[str, Any]:
    """Return an executed notebook."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def text_of(document: Mapping[str, Any]) -> list[str]:
    """Return what the notebook says, a string for each cell that says something.

    Cells that a tool has put in without outputs (parameters) do not count.
    """
    said = []
    for cell in document["cells"]:
        parts = []
        for output in cell.get("outputs", ()):
            if output["output_type"] in TEXT:
                text = output.get("text", output.get("data", {}).get("text/plain", output.get("evalue", "")))
                parts.append(text if isinstance(text, str) else "".join(text))
        said.append("".join(parts))
    return [text for text in said if text]
