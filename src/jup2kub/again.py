"""Finds the images of a notebook in which nothing has changed, by sizes and times of files alone.

Light on purpose: neither the notebook is parsed nor the program loaded that builds. What is not the same to the last
file is left to `imaging`, which looks closer.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jup2kub import fingerprint
from jup2kub.agent.launch import Launch, find, located
from jup2kub.agent.spawn import peek
from jup2kub.capture import secrets
from jup2kub.errors import EnvironmentProblem
from jup2kub.fingerprint import Where
from jup2kub.images.blobs import Blob, Blobs
from jup2kub.kit.canon import digest, from_json, to_json

TICK = 20_000_000
"""Nanoseconds by which the clock of files may be behind."""
MACHINE = ("/etc/os-release", "/etc/ld.so.cache", "/var/lib/dpkg/status")
"""Files that change whenever a library of this machine does."""
CONFIGURING = re.compile(
    r"(PYTHON|PIP_|CONDA_|LD_LIBRARY_PATH$|VIRTUAL_ENV$|JUP2KUB_STORE$|XDG_CACHE_HOME$|HOME$)"
)
"""Variables that decide what an interpreter finds, pip fetches, or where this program keeps things."""
PROGRAM = Path(__file__).parent
NOT_STANDARD = frozenset({"site-packages", "dist-packages", "test", "tests", "__pycache__"})


@dataclass(frozen=True)
class Shown:
    """An image, as the user is told of it."""

    step: str
    reference: str
    digest: str
    bytes: int
    """Compressed, all its layers."""
    unique_bytes: int
    """Of that, what no image before it in the list has."""
    entrypoint: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What was built before."""

    images: tuple[Shown, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A build that is asked for, as the command line names it."""

    notebook: Path
    strategy: str
    base: str
    kind: str
    """Compression."""
    kernel: str = ""
    store: Path | None = None

    @property
    def key(self) -> str:
        """Under which its last answer is remembered."""
        words = [self.strategy, self.base, self.kind, self.kernel, str(self.store or "")]
        return digest(["again", str(located(self.notebook)), *words])

    def launch(self) -> Launch:
        """Return how the notebook's kernel is started. Raises EnvironmentProblem."""
        return find(self.kernel or peek(self.notebook), cwd=str(located(self.notebook).parent))


@dataclass(frozen=True)
class Facts:
    """Everything on which an answer depends; compared as a whole."""

    said: str
    """Digest of the launch, of what the environment tells, of secrets, and of this program."""
    project: str
    """Digest of what lies beside the notebook."""
    files: Mapping[str, str]
    """Size and time by path."""
    listings: Mapping[str, str]
    """Digest of what lies right in a folder, by its path."""
    trees: Mapping[str, str]
    """Digest of all that lies below a folder, by its path."""


def look(blobs: Blobs, question: Question, environ: Mapping[str, str]) -> Found | None:
    """Return what was built for the question, if it is all there, and nothing that decides it has changed."""
    record = blobs.record(question.key)
    if record is None:
        return None
    try:
        facts = from_json(Facts, record["facts"])
        if not all(blobs.has(Blob(*pair)) for pair in record["blobs"]):
            return None
        return from_json(Found, record["found"]) if _again(facts, question, environ) == facts else None
    except (KeyError, TypeError, ValueError, EnvironmentProblem):
        return None


def _again(facts: Facts, question: Question, environ: Mapping[str, str]) -> Facts:
    return Facts(
        said=_said(question, environ),
        project=fingerprint.of_project(*_beside(question)),
        files={path: fingerprint.fact(path) for path in facts.files},
        listings={path: fingerprint.of_listing(path) for path in facts.listings},
        trees={path: fingerprint.of_tree(path) for path in facts.trees},
    )


def _said(question: Question, environ: Mapping[str, str]) -> str:
    launch = question.launch()
    env = {name: value for name, value in launch.env.items() if CONFIGURING.match(name)}
    return digest(
        [
            *(list(launch.argv), launch.cwd, launch.is_ipython, launch.name, env),
            fingerprint.of_secrets(secrets.known_values(environ)),
            fingerprint.of_program(PROGRAM),
        ]
    )


def _beside(question: Question) -> tuple[Path, Path]:
    """Return the project's folder, and where a capture of the notebook lies."""
    path = located(question.notebook)
    return path.parent, path.with_name(f"{path.stem}.capture") / "environment.json"


@dataclass(frozen=True)
class Used:
    """What a build has read."""

    where: Where
    distributions: frozenset[str]
    """Normalised names of those in the lock."""
    files: tuple[str, ...]
    """Files outside of distributions that went into it, or decided something."""
    folders: tuple[str, ...] = ()
    """Folders in which a new file would be part of it."""


def remember(
    blobs: Blobs,
    question: Question,
    environ: Mapping[str, str],
    used: Used,
    answer: tuple[Found, Iterable[Blob]],
    began: int,
) -> None:
    """Keep an answer, and the blobs of which it speaks, for the next time. `began`: as `time.time_ns`, before the build.

    Nothing is kept if a file was written since then: which of its contents was read cannot be told.
    """
    facts = _again(_places(question, used), question, environ)
    told = [*facts.files.values(), *fingerprint.project(*_beside(question))]
    for folder in facts.trees:
        told += fingerprint.tree(folder)
    for folder in facts.listings:
        told += fingerprint.listing(folder)
    if fingerprint.newest(told) >= began - TICK:
        return
    found, made = answer
    pairs = sorted({(b.digest, b.size) for b in made})
    blobs.remember(
        question.key, {"facts": to_json(facts), "found": to_json(found), "blobs": [list(p) for p in pairs]}
    )


def _places(question: Question, used: Used) -> Facts:
    """Return what is to be compared; of it only the names count."""
    where = used.where
    program = question.launch().argv[0]
    places = [p for p in where.places if p != where.stdlib]
    trees, files = of_distributions(places, used.distributions)
    with os.scandir(where.stdlib) as entries:
        trees |= {e.path for e in entries if e.is_dir() and e.name not in NOT_STANDARD}
    files |= {*MACHINE, *used.files, str(located(question.notebook)), program, os.path.realpath(program)}
    files |= {os.path.join(where.prefix, fingerprint.ENVIRONMENT), os.path.abspath(question.base)}
    listings = {*places, where.stdlib, where.user, *used.folders}
    listings |= {os.path.join(p, "conda-meta") for p in (where.prefix, where.base)}
    return Facts("", "", *(dict.fromkeys(sorted(paths), "") for paths in (files, listings, trees)))


def of_distributions(places: Iterable[str], wanted: frozenset[str]) -> tuple[set[str], set[str]]:
    """Return the folders that hold the wanted distributions, and those of their files that lie elsewhere.

    Where an installed distribution does not say what belongs to it (RECORD, PEP 376), the whole place counts.
    """
    trees: set[str] = set()
    files: set[str] = set()
    for place in places:
        for described in glob.glob(os.path.join(glob.escape(place), "*.*-info")):
            if _name(described) not in wanted:
                continue
            record = _record(described)
            if record is None:
                trees.add(place)
                continue
            for path in record:
                top = path.split("/")[0]
                if top in ("..", ""):
                    files.add(os.path.normpath(os.path.join(place, path)))
                elif "/" in path:
                    trees.add(os.path.join(place, top))
    return {t for t in trees if os.path.isdir(t)}, {f for f in files if not f.endswith(".pyc")}


def _name(described: str) -> str:
    """Return the normalised name that the metadata of an installed distribution say; empty = they say none."""
    for name in ("METADATA", "PKG-INFO"):
        with (
            contextlib.suppress(OSError),
            open(os.path.join(described, name), encoding="utf-8", errors="replace") as file,
        ):
            told = next((line for line in file if line.lower().startswith("name:")), "")
            return re.sub(r"[-_.]+", "-", told[5:].strip()).lower()
    return ""


def _record(described: str) -> list[str] | None:
    try:
        with open(os.path.join(described, "RECORD"), encoding="utf-8", newline="") as file:
            return [row[0] for row in csv.reader(file) if row]
    except OSError:
        return None
