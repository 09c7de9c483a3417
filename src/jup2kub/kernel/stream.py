"""`sys.stdout` and `sys.stderr` of the kernel: text goes straight into the pipes that the agent drains.

Python's text and that of C code and child processes share one pipe per stream, so their order needs no thread.
Markers, written into both pipes at once, tell the agent how the two streams and the display messages interleave.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterable
from typing import Any, Callable

STALE_SECONDS = 0.05
"""An unfinished line is sent at once if nothing has been sent for this long."""
LARGE = 8192
"""Characters after which an unfinished line is sent anyhow."""


def write_all(fd: int, data: bytes) -> None:
    """Write every byte of `data` to `fd`, which may be non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            time.sleep(0.001)


class Marks:
    """Numbers places in both pipes. `fds` are private copies, so that a cell that redirects fd 1 does not catch them."""

    def __init__(self, token: str, fds: dict[str, int]) -> None:
        self.token = token
        self.fds = fds
        self.number = 0
        self.pid = os.getpid()
        self.last: Stream | None = None
        self.lock = threading.RLock()

    @property
    def mine(self) -> bool:
        """Whether this is the kernel itself, not a process that the user's code has forked off it."""
        return os.getpid() == self.pid

    def mark(self) -> int:
        """Write the next marker into both pipes and return its number. Call with `lock` held, streams flushed."""
        self.number += 1
        data = f"\0{self.token}:{self.number}\0".encode("ascii")
        for fd in self.fds.values():
            write_all(fd, data)
        return self.number

    def switch(self, stream: Stream) -> None:
        """Note that `stream` is written next; a marker parts it from what the other stream wrote before."""
        if self.last is not None and self.mine:
            self.last.flush()
            self.mark()
        self.last = stream


class Raw(io.RawIOBase):
    """The bytes side of a `Stream`: ``sys.stdout.buffer``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        self._stream.write_bytes(bytes(data))
        return len(data)

    def close(self) -> None:
        """Stay open: the pipe belongs to the kernel."""


class Stream(io.TextIOBase):
    """A line-buffered text stream over the pipe of `name` (``stdout`` or ``stderr``)."""

    encoding = "UTF-8"
    errors = "backslashreplace"

    def __init__(self, name: str, fileno: int, marks: Marks) -> None:
        self.name = name
        self.buffer = Raw(self)
        self._fileno = fileno
        self._marks = marks
        self._parts: list[str] = []
        self._size = 0
        self._sent = 0.0
        self._shut = False
        self._hooks: list[Callable[..., Any]] = []

    def fileno(self) -> int:
        return self._fileno

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return self._shut

    def close(self) -> None:
        self.flush()
        self._shut = True

    def write(self, text: str) -> int:
        """Take `text`; complete lines are sent at once. Returns the number of characters taken."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        if self._shut:
            raise ValueError("I/O operation on closed file")
        with self._marks.lock:
            if self._marks.last is not self:
                self._marks.switch(self)
            self._parts.append(text)
            self._size += len(text)
            if "\n" in text or self._size > LARGE or time.monotonic() - self._sent > STALE_SECONDS:
                self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def write_bytes(self, data: bytes) -> None:
        """Send `data` as it is, after the text written so far."""
        with self._marks.lock:
            if self._marks.last is not self:
                self._marks.switch(self)
            self.flush()
            write_all(self._marks.fds[self.name], data)

    def flush(self) -> None:
        if not self._parts:
            return
        with self._marks.lock:
            text, self._parts, self._size = "".join(self._parts), [], 0
            if text:
                write_all(self._marks.fds[self.name], text.encode("utf-8", self.errors))
                self._sent = time.monotonic()

    def discard(self) -> None:
        """Forget text that has not been sent; for a forked process, whose parent will send it."""
        self._parts, self._size = [], 0
