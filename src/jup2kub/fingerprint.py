"""Tells in a fraction of a second whether anything that a build depends on has changed since the last one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jup2kub.agent.launch import Launch
from jup2kub.kit.canon import digest, from_json

WHERE = """
import json, site, sys, sysconfig
print(json.dumps({"version": sys.version, "prefix": sys.prefix, "base": sys.base_prefix, "user": site.getusersitepackages(),
    "stdlib": sysconfig.get_path("stdlib"), "places": [p for p in sys.path if p]}))
"""
SKIPPED = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", "node_modules"})
ENVIRONMENT = "pyvenv.cfg"
"""Its folder is an environment of Python, which is looked at as such."""
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


@dataclass(frozen=True)
class Where:
    """Where a kernel's interpreter finds its libraries."""

    version: str
    prefix: str
    base: str
    """Prefix of the installation below a virtual environment."""
    user: str
    """The user's own site-packages, whether it is there or not."""
    stdlib: str
    places: tuple[str, ...]
    """`sys.path`, without the folder that it starts in."""


def where(launch: Launch) -> Where | None:
    """Ask a kernel's interpreter where its libraries are; None = it does not answer."""
    try:
        done = subprocess.run(
            [*launch.argv, "-c", WHERE],
            capture_output=True,
            env=dict(launch.env),
            cwd=launch.cwd,
            timeout=SECONDS,
            check=True,
        )
        return from_json(Where, json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def of_environment(launch: Launch, found: Where) -> str:
    """Return a digest of the kernel's interpreter and of every file of its libraries, by size and time."""
    trees = {p: of_tree(p) for p in found.places if p != found.stdlib and os.path.isdir(p)}
    return digest([found.version, found.prefix, found.base, list(launch.argv), trees])


def tree(folder: str, endings: tuple[str, ...] = ("",), environments: bool = True) -> Iterator[str]:
    """Yield every file below a folder whose name ends so, with size and time; bytecode is not told.

    `environments`: whether to look into those that lie in it.
    """
    todo = [folder]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        if not environments and any(e.name == ENVIRONMENT for e in entries):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED:
                    todo.append(entry.path)
            elif not entry.name.endswith(".pyc") and entry.name.endswith(endings):
                yield fact(entry.path)


def of_tree(folder: str) -> str:
    """Return a digest of every file below a folder, by size and time."""
    return digest(sorted(tree(folder)))


def listing(folder: str) -> Iterator[str]:
    """Yield what lies right in a folder: files with size and time, folders by name.

    Of those that describe an installed distribution the time is told too: pip makes them anew whatever it changes.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        described = entry.name.endswith((".dist-info", ".egg-info"))
        if entry.name in SKIPPED or entry.name.endswith(".pyc"):
            continue
        yield fact(entry.path) if described or not entry.is_dir(follow_symlinks=False) else entry.name


def of_listing(folder: str) -> str:
    """Return a digest of what lies right in a folder."""
    return digest(sorted(listing(folder)))


def fact(path: str) -> str:
    """Return a file's size and time, in words; of one that is not there, that."""
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} -"
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def newest(told: Iterable[str]) -> int:
    """Return the time of the file that was written last, in nanoseconds since 1970; of what is no file, 0."""
    times = (words.rpartition(" ")[2] for words in told)
    return max((int(t) for t in times if t.isdigit()), default=0)


def project(folder: Path, captured: Path) -> Iterator[str]:
    """Yield what beside the notebook tells what it needs: modules, requirement files, a capture."""
    yield from tree(str(folder), (".py", ".so"), environments=False)
    for pattern in DECLARING:
        yield from (fact(str(p)) for p in folder.glob(pattern))
    yield fact(str(captured))


def of_project(folder: Path, captured: Path) -> str:
    """Return a digest of what beside the notebook tells what it needs."""
    return digest(sorted(project(folder, captured)))


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
