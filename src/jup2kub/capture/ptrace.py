"""The side that imports reprozip: a program of its own, for our interpreter, so that its settings stay its own.

    python -I ptrace.py trace DATABASE PROGRAM ARGUMENT…    run a program under ReproZip's tracer
    python -I ptrace.py config FOLDER                       write FOLDER/config.yml from FOLDER/trace.sqlite3
    python -I ptrace.py part BASE FOLDER < JSON             FOLDER/config.yml for one part, from BASE/config.yml
    python -I ptrace.py pack FOLDER TARGET                  make TARGET (.rpz) of FOLDER

Standard library and reprozip only; imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import warnings
from typing import Any

# reprozip imports distutils, which newer Pythons have from setuptools only, and with a warning.
warnings.simplefilter("ignore")
# It would otherwise send usage reports to its makers.
os.environ["REPROZIP_USAGE_STATS"] = "off"


def trace(words: list[str]) -> int:
    """Run `words[1:]` with every system call about files noted in the SQLite file `words[0]`; return its exit code."""
    from reprozip import _pytracer

    code = int(_pytracer.execute(words[1], words[1:], words[0]))
    return 128 + (code & 0xFF) if code & 0x0100 else code & 0xFF


def config(folder: str) -> int:
    """Write the configuration as `reprozip trace` does, without the name of this machine."""
    from reprozip import __version__
    from reprozip.common import load_config, save_config
    from reprozip.tracer.trace import write_configuration
    from rpaths import Path

    base = Path(folder)
    write_configuration(base, True, True, overwrite=True)
    found = load_config(base / "config.yml", canonical=False)
    for run in found.runs:
        run["hostname"] = "localhost"
    save_config(
        base / "config.yml", found.runs, found.packages, found.other_files, __version__, found.inputs_outputs
    )
    return 0


def part(base: str, folder: str, told: dict[str, Any]) -> int:
    """Write the configuration of one part: the files of the whole trace, and another program.

    `told`: `id`, `argv`, `workingdir`, `files` (added), `without` (left out).
    """
    from reprozip import __version__
    from reprozip.common import File, load_config, save_config
    from rpaths import Path

    found = load_config(Path(base) / "config.yml", canonical=False)
    first = dict(found.runs[0])
    first.update(
        id=told["id"], argv=told["argv"], binary=told["argv"][0], workingdir=told["workingdir"], exitcode=0
    )
    first.pop("signal", None)
    without = set(told["without"])
    files = {f for f in found.other_files if str(f.path) not in without}
    files |= {File(Path(p)) for p in told["files"]}
    target = Path(folder)
    if not target.exists():
        target.mkdir()
    save_config(target / "config.yml", [first], found.packages, files, __version__, {})
    shutil.copyfile(os.path.join(base, "trace.sqlite3"), os.path.join(folder, "trace.sqlite3"))
    return 0


def pack(folder: str, target: str) -> int:
    """Make the pack. ReproZip's own level of compression, 9, takes more than twice as long as 6, for a hundredth less."""
    from reprozip import pack as packing
    from rpaths import Path

    class Builder(packing.PackBuilder):  # type: ignore[misc]
        """Only opens the file otherwise."""

        def __init__(self, filename: object) -> None:
            self.tar = tarfile.open(str(filename), "w:gz", compresslevel=6)  # noqa: SIM115 (its `close` does)
            self.seen: set[object] = set()

    packing.PackBuilder = Builder
    packing.pack(Path(target), Path(folder), False)
    return 0


def main(words: list[str]) -> int:
    """Do what the first word says."""
    verb, rest = words[0], words[1:]
    if verb == "trace":
        return trace(rest)
    if verb == "config":
        return config(rest[0])
    if verb == "part":
        return part(rest[0], rest[1], json.load(sys.stdin))
    return pack(rest[0], rest[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
