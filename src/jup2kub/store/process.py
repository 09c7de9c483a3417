"""Who wrote a file, and whether that process is still there."""

from __future__ import annotations

import functools
import os
import re
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(r"([0-9a-f]{12})-([0-9]+)-([0-9]+)-([0-9]+)(?:[-.].*)?$")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _boot() -> str:
    """Return 12 hexadecimal digits that change with every boot of the machine."""
    text = _read("/proc/sys/kernel/random/boot_id").replace("-", "").strip()
    # Without a boot id every process is a boot of its own: more digests are computed, none is wrongly believed.
    return (text or uuid.uuid5(uuid.uuid1(), socket.gethostname()).hex)[:12]


def _space() -> int:
    """Return the number of the process-id namespace; 0 where there are none."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _start(pid: int) -> int | None:
    """Return the start of the process in clock ticks since boot; 0 = unknown, None = no such process."""
    text = _read(f"/proc/{pid}/stat")
    if text:
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0


BOOT = _boot()
SPACE = _space()


@dataclass(frozen=True)
class Process:
    """A process, told apart from a later one of the same number and from one of another machine or container."""

    boot: str
    space: int
    pid: int
    start: int
    """Clock ticks from boot to its start; 0 = unknown."""

    @property
    def token(self) -> str:
        """As part of a file name."""
        return f"{self.boot}-{self.space}-{self.pid}-{self.start}"

    def alive(self) -> bool | None:
        """Return whether it runs; None = it is not of this machine and container, so that nobody here can tell."""
        if (self.boot, self.space) != (BOOT, SPACE):
            return None
        start = _start(self.pid)
        return start is not None and (start == self.start or not self.start or not start)


@functools.lru_cache(maxsize=1)
def _identify(pid: int) -> Process:
    return Process(BOOT, SPACE, pid, _start(pid) or 0)


def current() -> Process:
    """Return this very process, after a fork the new one."""
    return _identify(os.getpid())


def parse(token: str) -> Process | None:
    """Return the process whose token begins the text, or None."""
    found = _TOKEN.match(token)
    if not found:
        return None
    return Process(found.group(1), int(found.group(2)), int(found.group(3)), int(found.group(4)))
