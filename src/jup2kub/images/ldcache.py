"""The cache of the dynamic loader, `/etc/ld.so.cache`, written without running ldconfig in the image.

Packages that are only unpacked leave it out; then `ctypes.util.find_library` finds nothing. Source: glibc,
sysdeps/generic/dl-cache.h (format `glibc-ld.so.cache1.1`) and elf/cache.c.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"glibc-ld.so.cache1.1"
HEADER = struct.Struct("<20sIIB3xI12x")
ENTRY = struct.Struct("<iIIIQ")
LITTLE_ENDIAN = 2
FLAGS = {62: 0x0303, 183: 0x0A03, 243: 0x0003, 21: 0x0503}
"""Kind of library by ELF machine: FLAG_ELF_LIBC6 with the machine's 64-bit flag (x86-64, AArch64, POWER)."""


@dataclass(frozen=True)
class Library:
    """A shared library that the loader may look for."""

    soname: str
    path: str
    """From the root, with the leading slash."""
    machine: int
    """ELF machine number."""


def build(libraries: Iterable[Library]) -> bytes:
    """Return the cache's content. Two libraries of one soname: the first given is found."""
    first: dict[str, Library] = {}
    for library in libraries:
        first.setdefault(library.soname, library)
    # The loader searches by halves, and expects descending order.
    ordered = [first[name] for name in sorted(first, key=functools.cmp_to_key(compare), reverse=True)]
    strings = bytearray()
    start = HEADER.size + ENTRY.size * len(ordered)
    entries = bytearray()
    for library in ordered:
        key = start + len(strings)
        strings += library.soname.encode() + b"\0"
        value = start + len(strings)
        strings += library.path.encode() + b"\0"
        entries += ENTRY.pack(FLAGS.get(library.machine, 0x0003), key, value, 0, 0)
    return HEADER.pack(MAGIC, len(ordered), len(strings), LITTLE_ENDIAN, 0) + bytes(entries) + bytes(strings)


def compare(one: str, two: str) -> int:
    """Compare names as the loader does (`_dl_cache_libcmp`): runs of digits by their value."""
    i = j = 0
    while i < len(one):
        if one[i].isdigit():
            if j >= len(two) or not two[j].isdigit():
                return 1
            first, second = digits(one, i), digits(two, j)
            if int(first) != int(second):
                return int(first) - int(second)
            i, j = i + len(first), j + len(second)
        elif j < len(two) and two[j].isdigit():
            return -1
        elif j >= len(two) or one[i] != two[j]:
            return ord(one[i]) - (ord(two[j]) if j < len(two) else 0)
        else:
            i, j = i + 1, j + 1
    return -1 if j < len(two) else 0


def digits(text: str, start: int) -> str:
    """Return the digits of `text` from `start` on."""
    return "".join(itertools.takewhile(str.isdigit, text[start:]))
