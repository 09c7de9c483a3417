"""The story of a run on stderr: plain lines elsewhere, live ones in a terminal, and nothing when nobody can read it."""

from __future__ import annotations

import io

import pytest

from jup2kub import ipynb
from jup2kub.agent.session import Told
from jup2kub.cli.progress import Progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A stream that cannot be written."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Told("start", 1, "step", seconds=4.0), "cell 1 starts in a step: x = work()\n"),
        (Told("start", 1, seconds=0.1), ""),
        (Told("start", 1), ""),
        (Told("done", 1, seconds=90.0), "cell 1 done in 1 min 30 s (the main line)\n"),
        (Told("done", 1, seconds=0.1), ""),
        (Told("done", 1, text="raised", seconds=0.1), "cell 1 raised in 0.1 s (the main line)\n"),
        (Told("adopted", 1, seconds=7020.0), "cell 1 kept from an earlier run (it took 1 h 57 min)\n"),
        (Told("retry", 1, "step", text="it died"), "cell 1: it died\n"),
        (Told("note", text="a word"), "a word\n"),
    ],
)
def test_plain_lines(told: Told, line: str) -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.know(ipynb.read(b"# %% [markdown]\n# text\n# %%\n#| step: a\nx = work()\n", "nb.py"))
    with progress:
        progress(told)
    assert stream.getvalue() == line


def test_terminal_shows_what_runs_and_is_left_clean() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress(Told("start", 3, "step", seconds=1000.0))
        assert "▸ cell 3 [a step]" in stream.getvalue()
        assert "about 16 min" in stream.getvalue()
        progress(Told("note", text="a word"))
    assert "a word\n" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[1F\x1b[J")


def test_prefix_keeps_stories_apart() -> None:
    stream = Terminal()
    with Progress(stream, prefix="set 2: ") as progress:
        progress(Told("start", 3, seconds=5.0))
        progress(Told("note", text="a word"))
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().endswith("set 2: a word\n")


def test_stream_that_fails_ends_nothing() -> None:
    with Progress(Gone()) as progress:
        progress(Told("note", text="a word"))
        progress(Told("done", 1, seconds=5.0))
