"""What a child's iterations print, kept apart and shown later by the parent; state that lies outside of all names."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import tempfile
from typing import Any

from .envreads import READS


class OutputTap:
    """Diverts the output of a child process: Python streams in order, then what was written to descriptors 1 and 2.

    A shell gives its own tap with the same methods, to divert display messages too.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, str]] = []
        self._files: dict[str, tuple[int, Any, int]] = {}

    def before_fork(self) -> None:
        """Flush what is buffered, so that no child repeats it."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()

    def begin(self) -> None:
        """Divert all output of this process, once and for good; called in the child."""
        for name, number in (("stdout", 1), ("stderr", 2)):
            target = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
            os.dup2(target.fileno(), number)
            self._files[name] = (number, target, 0)
            setattr(sys, name, _Stream(name, self._entries))

    def take(self) -> list[Any]:
        """Return the outputs since the last call, in order; they must pickle."""
        found: list[Any] = list(self._entries)
        self._entries.clear()
        for name, (number, target, seen) in self._files.items():
            size = os.fstat(number).st_size
            if size > seen:
                text = os.pread(target.fileno(), size - seen, seen).decode("utf-8", "replace")
                found.append((name, text))
                self._files[name] = (number, target, size)
        return found

    def replay(self, outputs: list[Any]) -> None:
        """Show outputs of a child; called in the parent."""
        for name, text in outputs:
            getattr(sys, name).write(text)


class Witness:
    """What iterations in children were seen to depend on. This one sees nothing; a kernel gives its own."""

    def take(self) -> dict[str, Any]:
        """Return what this process has seen, in a child; it must pickle."""
        return {}

    def stands(self, seen: dict[str, Any]) -> bool:
        """Return whether what an earlier run's child has seen is still so."""
        return True

    def tell(self, seen: dict[str, Any]) -> None:
        """Take what a child has seen as seen by this process."""

    def quiet(self) -> Any:
        """Return a context in which the engine's own work with files is not seen."""
        return contextlib.nullcontext()


class _Stream(io.TextIOBase):
    def __init__(self, name: str, entries: list[tuple[str, str]]) -> None:
        self.name, self._entries = name, entries

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text:
            self._entries.append((self.name, text))
        return len(text)

    def fileno(self) -> int:
        return {"stdout": 1, "stderr": 2}[self.name]


class Ambient:
    """State that no name holds: generators, environment, working folder, settings of loaded libraries.

    `seeded` names the global generators that the notebook has seeded (`random`, `numpy`, `torch`): they must not be
    drawn from by an iteration. The others carry no promise: every child starts them anew.
    """

    def __init__(self, seeded: Any = ()) -> None:
        self.seeded = frozenset(seeded)
        self._fresh: list[Any] = []

    def take(self) -> dict[str, Any]:
        """Return the state of everything watched, by name."""
        with READS.deaf():
            environment = dict(os.environ)
        found: dict[str, Any] = {
            "the environment": environment,
            "the working folder": os.getcwd(),
            "sys.path": list(sys.path),
        }
        if "warnings" in sys.modules:
            found["the warning filters"] = list(sys.modules["warnings"].filters)
        if "random" in self.seeded:
            found["the seeded generator of `random`"] = random.getstate()
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            found["numpy's error settings"] = numpy.geterr()
            found["numpy's print options"] = {n: repr(v) for n, v in numpy.get_printoptions().items()}
            if "numpy" in self.seeded:
                name, keys, *rest = numpy.random.get_state()
                found["the seeded generator of numpy"] = (name, keys.tobytes(), *rest)
        torch = sys.modules.get("torch")
        if torch is not None and "torch" in self.seeded:
            found["the seeded generator of torch"] = torch.get_rng_state().numpy().tobytes()
        figures = sys.modules.get("matplotlib._pylab_helpers")
        if figures is not None:
            found["the open figures"] = list(figures.Gcf.figs)
        settings = sys.modules.get("matplotlib")
        if settings is not None and hasattr(settings, "rcParams"):
            found["matplotlib's settings"] = {n: repr(v) for n, v in dict.items(settings.rcParams)}
        options = sys.modules.get("pandas._config.config")
        if options is not None:
            found["pandas' options"] = repr(options._global_config)
        return found

    def changed(self, before: dict[str, Any]) -> str | None:
        """Return what differs from `before`, in words, or None."""
        after = self.take()
        for name, value in before.items():
            if after.get(name) != value:
                return name
        return None

    def drawn(self) -> bool:
        """Return whether this child has drawn from a generator that the notebook has not seeded."""
        return self._fresh != self._generators()

    def _generators(self) -> list[Any]:
        found: list[Any] = [] if "random" in self.seeded else [random.getstate()]
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None and "numpy" not in self.seeded:
            name, keys, *rest = numpy.random.get_state()
            found.append((name, keys.tobytes(), *rest))
        if torch is not None and "torch" not in self.seeded:
            found.append(torch.get_rng_state().numpy().tobytes())
        return found

    def reseed(self) -> None:
        """Start every generator that the notebook has not seeded anew; called in a child."""
        if "random" not in self.seeded:
            random.seed()
        numpy = sys.modules.get("numpy")
        if numpy is not None and "numpy" not in self.seeded:
            numpy.random.seed()
        torch = sys.modules.get("torch")
        if torch is not None and "torch" not in self.seeded:
            torch.seed()
        self._fresh = self._generators()
