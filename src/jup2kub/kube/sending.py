"""The project's files on their way to a run server: what travels, what stays here, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from jup2kub.agent.files import FileImage, post_images
from jup2kub.away import credentials, project_files
from jup2kub.store.remote import RemoteStore

TOLD = 10 << 20
"""Bytes of a project from which on it is told that they are sent."""
BETWEEN = 2.0
"""Seconds between words about files that are being sent."""


def send_files(project: Path, store: RemoteStore, say: Callable[[str], None]) -> dict[str, FileImage]:
    """Send the project's files to the run server; return what they are, by name."""
    names = project_files(project)
    stay = credentials(project)
    if stay:
        say(f"these stay here, they look like credentials: {', '.join(stay[:5])}{', …' if stay[5:] else ''}")
    size = sum((project / name).stat().st_size for name in names)
    if size > TOLD:
        say(f"sending {len(names)} files, {size / 1e6:.0f} MB")
    before = store.moved
    store.moved = Meter(size, say) if size > TOLD else before
    try:
        return post_images(project, names, store)
    finally:
        store.moved = before


class Meter:
    """Tells how much of the files has been sent, when some seconds have passed or a tenth is done."""

    def __init__(
        self, size: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`size`: bytes of all files."""
        self._size, self._say, self._clock = size, say, clock
        self._began = self._told = clock()
        self._sent = self._there = 0

    def __call__(self, sent: int, there: int) -> None:
        """Take the bytes that went over the line now, and those that were there already."""
        self._sent += sent
        self._there += there
        done, now = self._sent + self._there, self._clock()
        if now - self._told < BETWEEN and done < self._size:
            return
        self._told = now
        pace = self._sent / max(0.001, now - self._began)
        left = f", about {(self._size - done) / pace:.0f} s left" if pace and done < self._size else ""
        known = f" ({self._there / 1e6:.0f} MB were there already)" if self._there else ""
        self._say(f"sent {done / 1e6:.0f} of {self._size / 1e6:.0f} MB{known}{left}")
