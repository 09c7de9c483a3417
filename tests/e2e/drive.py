"""The command line as a user types it, run by a test that waits for words and then breaks things."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import nbformat

SLOW = 420.0
"""Seconds that a run of a test may take on a busy machine."""


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of these cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(made.cells):
        cell["id"] = f"c{number}"
    nbformat.write(made, path)
    return path


def outputs(path: Path) -> list[list[Any]]:
    """Outputs of an executed notebook's cells; of a picture its kind alone, for fonts differ."""
    found = []
    for cell in json.loads(path.read_text())["cells"]:
        texts: list[Any] = []
        for out in cell.get("outputs", []):
            if out["output_type"] == "stream":
                texts.append("".join(out["text"]))
            elif out["output_type"] == "error":
                texts.append((out["ename"], out["evalue"]))
            else:
                data = out["data"]
                picture = [kind for kind in data if kind.startswith("image/")]
                texts.append(picture or "".join(data["text/plain"]))
        found.append(texts)
    return found


@dataclass
class Cli:
    """`jup2kub` with a kubeconfig and a store of its own."""

    kubeconfig: str
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        store = {"JUP2KUB_STORE": str(self.folder / "store"), "KUBECONFIG": self.kubeconfig}
        return {**os.environ, **store, "PYTHONUNBUFFERED": "1", **self.environ}

    def __call__(
        self, *words: str, code: int | None = 0, seconds: float = SLOW
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "jup2kub", *words],
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def start(self, *words: str) -> Started:
        return Started([sys.executable, "-m", "jup2kub", *words], self.env())


class Started:
    """A command under way, whose story can be waited for."""

    def __init__(self, words: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            words,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern: str, seconds: float = SLOW) -> re.Match[str]:
        """Wait for a line; fail with the whole story when it does not come."""
        limit = time.monotonic() + seconds
        with self._news:
            while True:
                for line in self.lines:
                    if hit := re.search(pattern, line):
                        return hit
                left = limit - time.monotonic()
                assert left > 0, f"no line {pattern!r} in:\n{self.text}"
                assert self.process.poll() is None or self._reader.is_alive(), (
                    f"ended without {pattern!r}:\n{self.text}"
                )
                self._news.wait(min(left, 1.0))

    def end(self, code: int | None = 0, seconds: float = SLOW) -> str:
        """Wait for the end; return the story."""
        found = self.process.wait(seconds)
        self._reader.join(10)
        assert code is None or found == code, f"exit code {found}\n{self.text}"
        return self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def __enter__(self) -> Started:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(10)
        if self.process.stdout:
            self.process.stdout.close()
