"""Tells in a fraction of a second whether anything that a build depends on has changed since the last one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jup2kub.agent.launch import Launch
from jup2kub.kit.canon import digest

WHERE = "import json, sys; print(json.dumps([sys.version, sys.prefix, sys.base_prefix, [p for p in sys.path if p]]))"
SKIPPED = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", "node_modules"})
DECLARING = (
    "requirements*.txt",
    "pyproject.toml",
    "environment.y*ml",
    "setup.py",
    "setup.cfg",
    "uv.lock",
    "*.lock",
)
SECONDS = 30


def of_environment(launch: Launch) -> str | None:
    """Return a digest of the kernel's interpreter and of every file of its libraries, by size and time.

    None = the interpreter does not answer; then nothing is known to be unchanged.
    """
    try:
        done = subprocess.run(
            [*launch.argv, "-c", WHERE],
            capture_output=True,
            env=dict(launch.env),
            cwd=launch.cwd,
            timeout=SECONDS,
            check=True,
        )
        version, prefix, base, places = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    stdlib = os.path.dirname(os.__file__)
    found = {
        place: digest(sorted(tree(place))) for place in places if place != stdlib and os.path.isdir(place)
    }
    return digest([version, prefix, base, list(launch.argv), found])


def tree(folder: str) -> Iterator[str]:
    """Yield every file below a folder, with size and time; bytecode is not told."""
    todo = [folder]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED:
                    todo.append(entry.path)
            elif not entry.name.endswith(".pyc"):
                yield fact(entry.path)


def fact(path: str) -> str:
    """Return a file's size and time, in words; of one that is not there, that."""
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} -"
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def of_project(folder: Path, captured: Path) -> str:
    """Return a digest of what beside the notebook tells what it needs: modules, requirement files, a capture."""
    modules: Iterable[str] = (f for f in tree(str(folder)) if f.rsplit(" ", 2)[0].endswith((".py", ".so")))
    declared = (fact(str(p)) for pattern in DECLARING for p in folder.glob(pattern))
    return digest([*sorted(modules), *sorted(declared), fact(str(captured))])


@functools.cache
def of_program(root: Path) -> str:
    """Return a digest of this program's own sources, by size and time."""
    return digest(sorted(tree(str(root))))


def of_secrets(values: Iterable[bytes]) -> str:
    """Return a digest of the secrets that must be nowhere; it tells nothing of any of them."""
    return digest(sorted(digest(value) for value in values))


def of_files(paths: Iterable[str]) -> Mapping[str, str]:
    """Return what is known of files whose content went into something."""
    return {path: fact(path) for path in sorted(paths)}


def still(facts: Mapping[str, str]) -> bool:
    """Return whether these files are as they were."""
    return all(fact(path) == known for path, known in facts.items())
