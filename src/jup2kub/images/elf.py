"""Reads what the dynamic loader reads of an ELF file: its interpreter, name, needs and search paths.

Source: System V ABI, chapters 4 and 5; only 64-bit little-endian files, which all supported machines have.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

MAGIC = b"\x7fELF\x02\x01"
ARCHITECTURES = {3: "386", 22: "s390x", 21: "ppc64le", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}
"""As images name them (Go's GOARCH), by `e_machine`."""
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29


@dataclass(frozen=True)
class Elf:
    """What an ELF file asks of its surroundings."""

    machine: int
    interpreter: str = ""
    """The loader that the kernel starts (PT_INTERP); empty = a library, or static."""
    soname: str = ""
    needed: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Folders searched first, `$ORIGIN` unexpanded."""


def architecture(data: bytes) -> str:
    """Return for which machines an ELF file of any kind is made; empty = it is none, or that is not known."""
    if data[:4] != MAGIC[:4] or len(data) < 20:
        return ""
    return ARCHITECTURES.get(int.from_bytes(data[18:20], "big" if data[5] == 2 else "little"), "")


def parse(data: bytes | mmap.mmap) -> Elf | None:
    """Return what the file asks; None = not such a file, or damaged."""
    if data[: len(MAGIC)] != MAGIC or len(data) < 64:
        return None
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError, UnicodeDecodeError):
        return None


def _parse(data: bytes | mmap.mmap) -> Elf:
    machine = struct.unpack_from("<H", data, 18)[0]
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = []
    for i in range(count):
        kind, _, at, address, _, length = struct.unpack_from("<IIQQQQ", data, offset + i * size)
        segments.append((kind, at, address, length))
    interpreter = ""
    tags: list[tuple[int, int]] = []
    for kind, at, _, length in segments:
        if kind == PT_INTERP:
            interpreter = data[at : at + length].rstrip(b"\0").decode()
        elif kind == PT_DYNAMIC:
            tags = [struct.unpack_from("<qQ", data, at + k) for k in range(0, length, 16)]
    tags = tags[: next((i for i, (tag, _) in enumerate(tags) if tag == 0), len(tags))]
    table = dict(tags).get(DT_STRTAB)
    if table is None:
        return Elf(machine, interpreter)
    strings = next(
        at + table - addr for kind, at, addr, n in segments if kind == PT_LOAD and addr <= table < addr + n
    )

    def text(index: int) -> str:
        end = data.find(b"\0", strings + index)
        if end < 0:
            raise ValueError("a text has no end")
        return data[strings + index : end].decode()

    # DT_RPATH counts only where there is no DT_RUNPATH (ld.so(8)).
    runpath = [text(v) for tag, v in tags if tag == DT_RUNPATH] or [
        text(v) for tag, v in tags if tag == DT_RPATH
    ]
    return Elf(
        machine,
        interpreter,
        next((text(v) for tag, v in tags if tag == DT_SONAME), ""),
        tuple(text(v) for tag, v in tags if tag == DT_NEEDED),
        tuple(folder for value in runpath for folder in value.split(":") if folder),
    )
