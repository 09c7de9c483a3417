"""Which distributions a notebook needs: those it names, those it was seen to use, and all that these require."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jup2kub.capture.environment import Environment, Module, parse
from jup2kub.capture.names import Import
from jup2kub.errors import EnvironmentProblem

KERNEL = "ipykernel"
NOT_FOR_USERS = re.compile(r"test|dev|doc|lint|typ|bench|build|ci$|all|full|complete|release", re.IGNORECASE)
"""Extras that hold tools of a package's makers, or only repeat the others."""


@dataclass
class Need:
    """Why a distribution is needed, and with which extras. Grows while the closure is walked."""

    why: list[str] = field(default_factory=list)
    extras: set[str] = field(default_factory=set)

    def because(self, reason: str) -> None:
        """Add a reason, once."""
        if reason not in self.why:
            self.why.append(reason)


@dataclass
class Roots:
    """What the imports come to."""

    needs: dict[str, Need] = field(default_factory=dict)
    """By distribution."""
    unowned: dict[str, Module] = field(default_factory=dict)
    """Modules on the path that no distribution owns."""
    missing: list[Import] = field(default_factory=list)
    """Imports of what is not installed."""
    notes: list[str] = field(default_factory=list)

    def need(self, name: str, reason: str, extras: Iterable[str] = ()) -> None:
        """Note that a distribution is needed."""
        need = self.needs.setdefault(name, Need())
        need.because(reason)
        need.extras.update(extras)


def is_standard(name: str, module: Module | None, environment: Environment) -> bool:
    """Whether a top-level name is the standard library's, as this interpreter sees it."""
    if module is None or module.kind == "absent":
        return name in sys.stdlib_module_names
    if module.kind == "builtin":
        return True
    real = os.path.realpath(module.origin) if module.origin else ""
    inside = real.startswith(os.path.realpath(environment.stdlib) + os.sep)
    return inside and "site-packages" not in real and "dist-packages" not in real


def is_local(name: str, environment: Environment, folder: Path) -> bool:
    """Whether a top-level name is a module of the notebook's folder, and not of an environment that lies in it."""
    module = environment.modules.get(name)
    if module is None or module.kind not in ("file", "namespace"):
        return False
    places = [module.origin] if module.origin else list(module.places)
    home = os.path.realpath(folder) + os.sep
    environments = [
        os.path.realpath(p) + os.sep for p in (environment.python.prefix, environment.python.base_prefix)
    ]
    for place in places:
        real = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
        if not real.startswith(home) or any(real.startswith(e) and e.startswith(home) for e in environments):
            continue
        # Modules are found from the notebook's folder: deeper ones only as parts of those.
        if os.path.relpath(real, home).split(os.sep)[0] in (name, os.path.basename(real)):
            return environment.owner(place) is None
    return False


def roots(imports: Iterable[Import], environment: Environment, folder: Path) -> Roots:
    """Return what the imports of the notebook, and of its local modules, come to here.

    The installed distribution that provides a module is the truth; a name is never guessed from another.
    """
    found = Roots()
    shadows: set[str] = set()
    for item in imports:
        top = item.name.partition(".")[0]
        module = environment.modules.get(top)
        if item.level:
            found.missing.append(item)
        elif is_local(top, environment, folder):
            _shadow(top, environment, shadows, found)
        elif is_standard(top, module, environment):
            continue
        elif module is None or module.kind == "absent":
            found.missing.append(item)
        else:
            _owned(item, module, environment, found)
    return found


def _shadow(top: str, environment: Environment, shadows: set[str], found: Roots) -> None:
    others = environment.providers(top)
    if top not in shadows and (others or top in sys.stdlib_module_names):
        shadows.add(top)
        what = ", ".join(others) or "the standard library's module"
        found.notes.append(f"{top} is a module of the project, and hides {what} of the same name")


def _owned(item: Import, module: Module, environment: Environment, found: Roots) -> None:
    reason = f"{item.where} imports {item.name.partition('.')[0]}"
    owner = environment.owner(module.origin) if module.origin else None
    names = (owner,) if owner else environment.providers(item.name)
    for name in names:
        found.need(name, reason)
    if not names:
        found.unowned[item.name.partition(".")[0]] = module


def observed(
    names: Iterable[str], distributions: Iterable[str], environment: Environment, found: Roots
) -> None:
    """Add what an execution was seen to use: top-level modules, and distributions."""
    for name in names:
        module = environment.modules.get(name)
        if module is None or module.kind != "file" or is_standard(name, module, environment):
            continue
        owner = environment.owner(module.origin)
        if owner:
            found.need(owner, "seen")
    for name in distributions:
        if name in environment.distributions:
            found.need(name, "seen")


def kernel(environment: Environment, found: Roots) -> None:
    """Add what every kernel needs. Raises EnvironmentProblem J2K651 if the environment has no ipykernel."""
    if KERNEL not in environment.distributions:
        raise EnvironmentProblem(
            "J2K651",
            "the kernel's environment has no ipykernel",
            f"`{environment.python.executable} -m pip install ipykernel`",
        )
    found.need(KERNEL, "kernel")


def optional_parts(names: Iterable[str], environment: Environment, found: Roots) -> None:
    """Add installed distributions that those in `names` use where they are there (`pd.read_excel` and the like).

    Which of them a notebook uses only its execution tells; without one, none is left out.
    """
    for name in names:
        dist = environment.distributions.get(name)
        for text in dist.requires if dist else ():
            requirement = parse(text)
            if requirement is None or requirement.marker is None or environment.applies(requirement):
                continue
            extras = re.findall(r"extra\s*==\s*['\"]([^'\"]+)", str(requirement.marker))
            other = canonicalize_name(requirement.name)
            wanted = [e for e in extras if not NOT_FOR_USERS.search(e)]
            if (
                other != name
                and other in environment.distributions
                and environment.applies(requirement, wanted)
            ):
                found.need(other, f"optional part of {name}")


@dataclass(frozen=True)
class Closed:
    """The closure: every distribution, why, what it requires of the others; and what is not there."""

    needs: Mapping[str, Need]
    requires: Mapping[str, tuple[str, ...]]
    absent: tuple[str, ...]
    """In words: required, but not installed."""


def close(
    needs: Mapping[str, Need], requirements: Mapping[str, tuple[str, ...]], environment: Environment
) -> Closed:
    """Follow Requires-Dist from `needs`. `requirements`: PEP 508 texts by distribution, of all there are."""
    found = {name: Need(list(n.why), set(n.extras)) for name, n in needs.items()}
    requires: dict[str, set[str]] = {}
    absent: list[str] = []
    todo = list(found)
    done: dict[str, frozenset[str]] = {}
    while todo:
        name = todo.pop()
        extras = frozenset(found[name].extras)
        if done.get(name) == extras or name not in requirements:
            continue
        done[name] = extras
        for requirement in _that_apply(requirements[name], extras, environment):
            other = canonicalize_name(requirement.name)
            if other not in requirements:
                absent.append(f"{name} requires {requirement}, which is not installed")
                continue
            requires.setdefault(name, set()).add(other)
            need = found.setdefault(other, Need())
            need.because(f"needed by {name}")
            need.extras.update(requirement.extras)
            todo.append(other)
    return Closed(found, {n: tuple(sorted(r)) for n, r in requires.items()}, tuple(sorted(set(absent))))


def _that_apply(
    texts: Iterable[str], extras: frozenset[str], environment: Environment
) -> Iterable[Requirement]:
    parsed = [parse(text) for text in texts]
    return [r for r in parsed if r is not None and environment.applies(r, extras)]
