"""stdout carries the result, stderr the story; what happens when one of them is closed, full, or read no more."""

from __future__ import annotations

import contextlib
import os
import sys

from jup2kub.errors import EnvironmentProblem


class NobodyReads(Exception):
    """Whoever read stdout has gone, and wants no more of it."""


def say(text: str) -> None:
    """Tell the story, on stderr. A story that cannot be told stops nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def result(text: str) -> None:
    """Give the result, on stdout. Raises NobodyReads, and EnvironmentProblem (J2K233) if it cannot be written."""
    give(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def give(data: bytes) -> None:
    """Give bytes as they are, on stdout. Raises as `result`."""
    try:
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data.decode(sys.stdout.encoding or "utf-8"))
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "wb") as nowhere:  # what is left in the buffer has to go somewhere
            os.dup2(nowhere.fileno(), 1)
        if isinstance(error, BrokenPipeError):
            raise NobodyReads from error
        raise EnvironmentProblem(
            "J2K233",
            f"the result cannot be written to stdout: {error.strerror}",
            "make room, or send it elsewhere; the executed notebook is written",
        ) from error


def mend() -> None:
    """Replace stdout and stderr that whoever started the process has closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
