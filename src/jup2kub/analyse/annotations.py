"""What is known of libraries: tables of data, the built-in ones and the user's own on top.

The tables are JSON files in `tables/`; `load` reads them once and `Annotations` answers questions about dotted names.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jup2kub.errors import UsageError
from jup2kub.kit.canon import nearest

TABLES = Path(__file__).parent / "tables"
ENTRY_KEYS = frozenset(
    [
        "about",
        "mutates",
        "view",
        "copies",
        "fresh",
        "plain",
        "result",
        "reads",
        "writes",
        "reads_file",
        "writes_file",
        "opens",
        "lists",
        "removes_tree",
        "all_files",
        "effects",
        "weight",
        "weight_fit",
        "draws",
        "draws_unless",
        "rng",
        "seeds",
        "generator",
        "restores",
        "suppresses",
        "stores",
        "barrier",
        "resource",
        "shared",
        "keep",
        "may",
        "calls",
        "sleeps",
        "figures",
        "displays",
        "updates_display",
        "imports",
        "injects",
        "opaque",
        "keeps",
        "collects",
    ]
)
SETTERS = (
    "set",
    "use",
    "enable",
    "disable",
    "register",
    "config",
    "init",
    "reset",
    "seterr",
    "basic",
    "option",
    "patch",
    "activate",
)
SETTER_NAMES = frozenset({"set", "seterr", "seed", "setup", "install", "login", "configure"})

NOT_SETTERS = frozenset({"setdiff1d", "setxor1d"})


@dataclass(frozen=True)
class Annotations:
    """The tables, ready to be asked. Unknown names give None or False, never an error."""

    functions: Mapping[str, Mapping[str, Any]]
    """By dotted name; `module.*` and `module.prefix*` stand for many."""
    packages: Mapping[str, Mapping[str, Any]]
    builtins: Mapping[str, Any]
    methods: Mapping[str, frozenset[str]]
    """By kind of effect: atom, fresh, view, mutate, fit, rng, …"""
    estimators: Mapping[str, Any]
    stars: Mapping[str, tuple[str, ...]]
    """Names that `from module import *` binds."""
    _memo: dict[str, Mapping[str, Any] | None] = field(default_factory=dict, compare=False, repr=False)

    def function(self, dotted: str) -> Mapping[str, Any] | None:
        """Return the entry for a dotted name, the nearest pattern's if there is no own one, or None."""
        if dotted not in self._memo:
            self._memo[dotted] = self._find(dotted)
        return self._memo[dotted]

    def _find(self, dotted: str) -> Mapping[str, Any] | None:
        if dotted in self.functions:
            return self.functions[dotted]
        for cut in range(len(dotted), 0, -1):
            entry = self.functions.get(dotted[:cut] + "*")
            if entry is not None:
                return entry
        return None

    def package(self, dotted: str) -> Mapping[str, Any] | None:
        """Return what is known of the package that a dotted name belongs to."""
        return self.packages.get(dotted.partition(".")[0])

    def feels(self, package: str) -> frozenset[str] | None:
        """Return the packages whose settings `package` feels, itself included; None = perhaps any."""
        known = self.packages.get(package)
        if known is None:
            return None
        return frozenset({package, *known.get("on", ())})

    def setter(self, dotted: str) -> bool:
        """Whether a function's name says that it changes settings of its package."""
        last = dotted.rpartition(".")[2]
        return (last.startswith(SETTERS) and last not in NOT_SETTERS) or last in SETTER_NAMES

    def method(self, name: str) -> str | None:
        """Return the kind of a method by its name alone: atom, fresh, view, mutate, fit; None = unknown."""
        for kind in ("fit", "mutate", "view", "atom", "fresh"):
            if name in self.methods[kind]:
                return kind
        return None


def load(paths: Iterable[str] = ()) -> Annotations:
    """Return the built-in tables with those of `paths` (JSON, the form of `functions.json`) on top.

    Raises UsageError J2K214 for a file that cannot be read and J2K215 for a key that no table has.
    """
    return _load(tuple(paths))


@functools.lru_cache(maxsize=8)
def _load(paths: tuple[str, ...]) -> Annotations:
    functions = dict(_table("functions")["functions"])
    packages = dict(_table("packages")["packages"])
    for path in paths:
        own = _own(Path(path))
        functions.update(own.get("functions", {}))
        packages.update(own.get("packages", {}))
    methods = {k: frozenset(v) for k, v in _table("methods").items() if k != "about"}
    stars = {k: tuple(v) for k, v in _table("stars").items() if k != "about"}
    return Annotations(functions, packages, _table("builtins"), methods, _table("estimators"), stars)


def _table(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    return data


def _own(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "J2K214", f"{path}: not a readable annotation table: {error}", "It is a JSON object."
        ) from error
    if not isinstance(data, dict):
        raise UsageError(
            "J2K214", f"{path}: a JSON object is wanted", 'For instance {"functions": {"lab.calibrate": {}}}.'
        )
    _known(path, data, {"about", "functions", "packages"})
    for name, entry in data.get("functions", {}).items():
        _known(path, entry, ENTRY_KEYS, f"{name}: ")
    return data


def _known(path: Path, data: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    for key in data:
        if key not in known:
            near = nearest(key, known)
            hint = f"Did you mean {near!r}?" if near else "See the annotation tables in the documentation."
            raise UsageError("J2K215", f"{path}: {where}unknown key {key!r}", hint)
