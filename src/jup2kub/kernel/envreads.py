"""Which environment variables a cell reads: there is no audit event for it, so `os.environ` is given a dictionary that tells.

Seen is what goes through `os.environ`, `os.environb`, `os.getenv` and `os.path.expandvars`; a C library that asks for
itself is not. Libraries that configure themselves while they are imported do not count.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .files import quiet_prefixes

EVERY = "*"
"""Stands for the whole environment."""
_PLUMBING = frozenset({os.__file__, os.path.__file__, __file__, "<frozen os>", "<frozen posixpath>"})
_MAPPINGS = ("_collections_abc.py", "<frozen _collections_abc>")


class Reads:
    """The names read while it listens."""

    def __init__(self) -> None:
        self.active = False
        self.names: set[str] = set()
        self.seen = True
        """Whether reads can be seen at all in this interpreter."""
        self._quiet: tuple[str, ...] | None = None
        self._installed = False

    def begin(self) -> None:
        """Listen, and forget what was read before."""
        if not self._installed:
            self._install()
        self.names, self.active = set(), True

    def end(self) -> list[str]:
        """Stop listening; return the names read, or `EVERY`."""
        self.active = False
        return sorted(self.names) if self.seen else [EVERY]

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Not hear what the kernel itself reads."""
        active, self.active = self.active, False
        try:
            yield
        finally:
            self.active = active

    def tell(self, names: Iterable[str]) -> None:
        """Count what another process has read as read here."""
        self.names.update(names)

    def _install(self) -> None:
        self._installed = True
        try:
            told = _Told(os.environ._data, self)  # type: ignore[attr-defined]
            os.environ._data = told  # type: ignore[attr-defined]
            if hasattr(os, "environb"):
                os.environb._data = told  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            self.seen = False

    def read(self, key: Any) -> None:
        """Take down a read of a variable; `EVERY` for all."""
        if not self.active:
            return
        self.active = False
        try:
            if not self._configures():
                self.names.add(os.fsdecode(key))
        finally:
            self.active = True

    def _configures(self) -> bool:
        """Whether a library reads it while it is being imported."""
        frame: Any = sys._getframe(3)
        while frame is not None and _plumbing(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is None:
            return False
        if self._quiet is None:
            self._quiet = quiet_prefixes()
        if not frame.f_code.co_filename.startswith((*self._quiet, "<frozen")):
            return False
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                return True
            frame = frame.f_back
        return False


def _plumbing(name: str) -> bool:
    return name in _PLUMBING or name.endswith(_MAPPINGS)


class _Told(dict):  # type: ignore[type-arg]
    """The dictionary behind `os.environ`; tells `reads` who asks for what."""

    def __init__(self, content: Any, reads: Reads) -> None:
        super().__init__(content)
        self._reads = reads

    def __getitem__(self, key: Any) -> Any:
        self._reads.read(key)
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        self._reads.read(key)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._reads.read(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[Any]:
        self._reads.read(EVERY)
        return super().__iter__()

    def __len__(self) -> int:
        self._reads.read(EVERY)
        return super().__len__()

    def keys(self) -> Any:
        self._reads.read(EVERY)
        return super().keys()

    def values(self) -> Any:
        self._reads.read(EVERY)
        return super().values()

    def items(self) -> Any:
        self._reads.read(EVERY)
        return super().items()

    def copy(self) -> dict[Any, Any]:
        self._reads.read(EVERY)
        return dict(super().items())

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)


READS = Reads()
"""Of this process: there is one environment."""
