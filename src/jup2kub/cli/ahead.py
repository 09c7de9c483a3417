"""Starts the kernel before the rest of the program is loaded: that takes as long as the kernel itself."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from jup2kub.agent.launch import find, located
from jup2kub.agent.spawn import Spawned, peek
from jup2kub.errors import EnvironmentProblem

NOTEBOOKS = (".ipynb", ".py")
OTHERWISE = ("-h", "--help", "--sweep", "--on")
"""Options with which `run` does not begin with one kernel."""


def begin(words: Sequence[str]) -> Spawned | None:
    """Start the kernel that `run` with the command line `words` is likely to want; None = that is not clear.

    Only a guess: who takes the kernel compares how it was started with what is wanted.
    """
    if any(w.partition("=")[0] in OTHERWISE for w in words) or _many(words):
        return None
    path = next((p for p in map(Path, words) if p.suffix in NOTEBOOKS and p.is_file()), None)
    if path is None:
        return None
    name = _value(words, "--kernel") or peek(path)
    with contextlib.suppress(EnvironmentProblem):
        launch = find(name, cwd=str(located(path).parent))
        if launch.is_ipython:
            return Spawned(launch)
    return None


def _many(words: Sequence[str]) -> bool:
    """Whether a parameter seems to have several values."""
    return any("," in value for option, value in itertools.pairwise(words) if option == "-p")


def _value(words: Sequence[str], option: str) -> str:
    """Return the value of an option; empty if it is not there."""
    for word, following in itertools.pairwise([*words, ""]):
        if word == option:
            return following
        if word.startswith(option + "="):
            return word[len(option) + 1 :]
    return ""
