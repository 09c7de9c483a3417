"""ReproZip's own files: config.yml, and packs (.rpz) of a notebook's parts, without anything that must not travel.

A trace as it is holds the whole environment of every process and the names of all files, and a pack their contents: rows
are taken out of the database before ReproZip reads it, so that it never sees them.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.agent.spawn import CHILD
from jup2kub.capture import attribute, secrets
from jup2kub.capture.attribute import Places
from jup2kub.capture.backends import PTRACE
from jup2kub.capture.trace import KEPT, Traced
from jup2kub.errors import EnvironmentProblem

RUNNER = Path(__file__).with_name("runpart.py")
SECONDS = 3600
TRAVELS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "PYTHONHASHSEED", "LD_LIBRARY_PATH")
"""Variables of the kernel that a configuration keeps; the notebook's own are put there by its cells."""


@dataclass(frozen=True)
class Program:
    """What one pack runs."""

    name: str
    """Of the run, in letters, digits and dashes; ReproZip refuses one of digits alone."""
    argv: tuple[str, ...]
    folder: Path
    """Where it runs."""
    files: tuple[Path, ...] = ()
    """Put in besides what the trace has seen."""


def clean(scratch: Path, traced: Traced, values: Iterable[bytes] = ()) -> tuple[str, ...]:
    """Take out of the trace in `scratch` what must not travel; return it in words.

    `values`: secrets that must be nowhere.
    """
    values = tuple(values)
    withheld: list[str] = []
    with closing(sqlite3.connect(scratch / "trace.sqlite3", isolation_level=None)) as connection:
        # Tables of ReproZip are named in its `tracer/trace.py`; names are kept as it wrote them.
        names = [row[0] for row in connection.execute("SELECT DISTINCT name FROM opened_files")]
        gone = []
        for name in names:
            path = os.path.normpath(name)
            why = _unwanted(path, scratch, traced.places, values)
            if why:
                gone.append((name,))
                if why != "ours" and os.path.isfile(path):
                    withheld.append(f"{traced.places.named(path)}: {why}")
        connection.executemany("DELETE FROM opened_files WHERE name = ?", gone)
        rows = connection.execute("SELECT id, argv, envp FROM executed_files").fetchall()
        tidy = [(_argv(argv, values), _environ(envp), number) for number, argv, envp in rows]
        connection.executemany("UPDATE executed_files SET argv = ?, envp = ? WHERE id = ?", tidy)
        # What was deleted or replaced would stay readable in the file.
        connection.execute("VACUUM")
    return tuple(sorted(set(withheld)))


def _unwanted(path: str, scratch: Path, places: Places, values: tuple[bytes, ...]) -> str:
    if (
        path.startswith((f"{os.path.realpath(scratch)}/", f"{scratch}/", f"{CHILD}/"))
        or "/jup2kub-stacks-" in path
    ):
        return "ours"
    if os.path.isfile(path):
        return attribute.forbidden(path, places, values)
    return secrets.denied(path)


def _argv(text: str, values: tuple[bytes, ...]) -> str:
    """Return the arguments, or the program alone if one of them looks like a secret."""
    if secrets.in_text(text.replace("\0", "\n").encode("utf-8", "surrogatepass"), "argv", values):
        return text.partition("\0")[0] + "\0"
    return text


def _environ(text: str) -> str:
    kept = []
    for entry in text.split("\0"):
        name, _, value = entry.partition("=")
        if name in TRAVELS and KEPT.match(name + "") and not secrets.is_secret(name, value):
            kept.append(entry)
    return "".join(f"{entry}\0" for entry in kept)


def configuration(scratch: Path) -> Path:
    """Write ReproZip's config.yml of the cleaned trace in `scratch`; return it. Raises EnvironmentProblem J2K655."""
    _reprozip(["config", str(scratch)], "config.yml")
    return scratch / "config.yml"


def learn_runner(scratch: Path, python: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Trace the program that runs parts, on a notebook of its own, into the same database: what it needs is packed too.

    It is not the kernel: of IPython it uses other files. Raises EnvironmentProblem J2K655.
    """
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "source": "print(1 + 1)", "metadata": {}},
        {"cell_type": "code", "source": "1 / 0", "metadata": {"tags": ["raises-exception"]}},
    ]
    part = scratch / "learn.ipynb"
    part.write_text(
        json.dumps({"cells": cells, "metadata": {"jup2kub": {"part": {"needs": []}}}}), encoding="utf-8"
    )
    command = [sys.executable, "-I", str(PTRACE), "trace", str(scratch / "trace.sqlite3")]
    command += [python, str(RUNNER), str(part), str(part)]
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environ), capture_output=True, text=True, timeout=600, check=False
        )
        said = (done.stderr or done.stdout).strip()[-300:] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said:
        raise EnvironmentProblem(
            "J2K655",
            f"parts cannot be run with the kernel's interpreter: {said}",
            "see whether IPython works in it",
        )


def pack(scratch: Path, program: Program, target: Path, without: Sequence[str] = ()) -> int:
    """Make a pack of all that the trace has seen that runs `program`; return its size in bytes.

    `without`: absolute paths to leave out. Needs `configuration` before. Raises EnvironmentProblem J2K655.
    """
    folder = scratch / program.name
    told = {
        "id": program.name,
        "argv": program.argv,
        "workingdir": str(program.folder),
        "files": [str(p) for p in program.files],
        "without": list(without),
    }
    _reprozip(["part", str(scratch), str(folder)], "config.yml of a part", json.dumps(told))
    target.unlink(missing_ok=True)
    _reprozip(["pack", str(folder), str(target)], str(target.name))
    shutil.rmtree(folder)
    return target.stat().st_size


def written_software(traced: Traced) -> tuple[Path, ...]:
    """Return files of libraries that the run itself has written (`pip install` in a cell): ReproZip packs none of them."""
    places = traced.places
    return tuple(
        Path(path)
        for path in sorted(traced.touched.written)
        if path.startswith(places.software)
        and not places.is_data(path)
        and os.path.isfile(path)
        and not path.endswith(".pyc")
        and "/.cache/" not in path
    )


def _reprozip(words: list[str], what: str, text: str = "") -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(PTRACE), *words],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
        said = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except (OSError, subprocess.TimeoutExpired) as error:
        said = [str(error)]
    if said:
        raise EnvironmentProblem(
            "J2K655",
            f"ReproZip cannot make {what}: {said[0]}",
            "`pip install 'jup2kub[capture]'`, and see its message",
        )
