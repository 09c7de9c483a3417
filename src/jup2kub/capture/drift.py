"""What would be different if the environment were made anew today."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from jup2kub.capture.environment import Environment
from jup2kub.capture.resolve import Candidate, Unresolvable, resolve
from jup2kub.model.env import Lock

ROOT = re.compile(
    r"^(?:cell \d+|\S+\.(?:py|txt|toml|ya?ml).*) imports |^requirements|^pyproject|^environment\.y|^cell \d+$"
)
"""Reasons of a distribution that the notebook or its author names, and not another distribution."""


@dataclass(frozen=True)
class Change:
    """One distribution that is not the same."""

    name: str
    locked: str
    """Version; empty = not in the lock."""
    today: str
    """Version; empty = not needed any more."""

    @property
    def kind(self) -> str:
        """`major`, `minor`, `added` or `gone`: how much is to be feared."""
        if not self.locked:
            return "added"
        if not self.today:
            return "gone"
        try:
            old, new = Version(self.locked), Version(self.today)
        except InvalidVersion:
            return "major"
        return "major" if old.major != new.major else "minor"


@dataclass(frozen=True)
class Drift:
    """What has changed in the world since the lock."""

    asked: tuple[str, ...]
    """Requirements that were resolved today."""
    changes: tuple[Change, ...] = ()
    unresolvable: str = ""
    """pip's words, if nothing fits together any more; empty = something does."""


def asked(lock: Lock) -> tuple[str, ...]:
    """Return what a newcomer would ask for: what the author declares, and what the cells import, without versions."""
    declared = {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in lock.declared}
    roots = [w.name for w in lock.wheels if any(ROOT.search(r) for r in w.why) and w.name not in declared]
    return tuple(sorted({*lock.declared, *roots, "ipykernel"}))


def drift(lock: Lock, environment: Environment) -> Drift:
    """Resolve today what the lock was made of. Raises EnvironmentProblem J2K670, J2K671."""
    wanted = asked(lock)
    try:
        found = resolve(environment, wanted)
    except Unresolvable as error:
        return Drift(wanted, (), error.text)
    return Drift(wanted, compare(versions(lock), found, (c.name for c in lock.carried)))


def versions(lock: Lock) -> dict[str, str]:
    """Return the version of each wheel of the lock."""
    return {w.name: w.version for w in lock.wheels}


def compare(
    locked: Mapping[str, str], today: Iterable[Candidate], carried: Iterable[str] = ()
) -> tuple[Change, ...]:
    """Return what differs, by name. What is carried comes from no index, so it does not drift."""
    new, own = {c.name: c.version for c in today}, set(carried)
    return tuple(
        Change(name, locked.get(name, ""), new.get(name, ""))
        for name in sorted({*locked, *new} - own)
        if locked.get(name) != new.get(name)
    )


def since(path: Path, lock: Lock) -> tuple[Change, ...]:
    """Return what differs between a `pylock.toml` that was written before and the environment now; () if there is none."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        old = {str(p["name"]): str(p.get("version", "")) for p in document["packages"] if "wheels" in p}
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    new = versions(lock)
    return tuple(
        Change(n, old.get(n, ""), new.get(n, "")) for n in sorted({*old, *new}) if old.get(n) != new.get(n)
    )
