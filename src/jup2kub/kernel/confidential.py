"""Secrets of the notebook: what cells marked so have bound. They stay in this process and in its forks."""

from __future__ import annotations

import mmap
import os
import types
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "•••"
"""Stands for a secret in texts about a cell."""
LEAST = 4
"""Characters; a shorter text is found everywhere, so it is kept back by its name alone."""
DEPTH = 4
PUBLIC = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
ENCODINGS = ("utf-8", "utf-16-le", "utf-32-le")


class Secrets:
    """Grows with every cell; empty for most notebooks."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._texts: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._names or self._texts)

    def learn(self, namespace: Mapping[str, Any], bound: Iterable[str], secret: bool) -> None:
        """Take down what a cell has bound; what another cell binds anew under a name is secret no more."""
        names = set(bound)
        self._names -= names
        if not secret:
            return
        for name in names & namespace.keys():
            if not isinstance(namespace[name], PUBLIC):
                self._names.add(name)
                self._collect(namespace[name], DEPTH)

    def _collect(self, value: Any, depth: int) -> None:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "ignore")
        if isinstance(value, str):
            if len(value) >= LEAST:
                self._texts.add(str(value))
        elif depth:
            parts: Iterable[Any] = ()
            if isinstance(value, dict):
                parts = [*dict.keys(value), *dict.values(value)]
            elif isinstance(value, (list, tuple, set, frozenset)):
                parts = list(value)
            for part in parts:
                self._collect(part, depth - 1)

    def named(self, name: str) -> bool:
        """Whether the variable is a secret."""
        return name in self._names

    def within(self, text: str) -> bool:
        """Whether a secret stands in the text."""
        return any(secret in text for secret in self._texts)

    def hide(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def in_file(self, path: str) -> bool:
        """Whether a secret stands in a file of values, as Python, NumPy or a library writes text."""
        if not self._texts or not os.path.getsize(path):
            return False
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(s.encode(e, "ignore")) >= 0 for s in self._texts for e in ENCODINGS)
