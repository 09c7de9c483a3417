"""From distributions to wheels in the cache: those that are installed, or those that pip resolves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jup2kub.capture import wheels
from jup2kub.capture.closure import Closed, Roots
from jup2kub.capture.environment import Environment, Installed
from jup2kub.capture.resolve import Candidate, Unresolvable, fetch, resolve
from jup2kub.capture.wheels import Vendor
from jup2kub.capture.wishes import Weighed
from jup2kub.errors import UsageError
from jup2kub.kit.canon import digest
from jup2kub.model.env import INSTALLED, Wheel

NO_WHEEL = "no wheel of this version is on the index: it was built here"
OTHER_WHEEL = "the index's wheel of this version holds other files"


@dataclass(frozen=True)
class Vendored:
    """Wheels that are in the cache now, and what has to be carried instead."""

    wheels: tuple[Wheel, ...] = ()
    """`requires` still as PEP 508 texts."""
    carried: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Kind and reason by distribution."""
    notes: tuple[str, ...] = ()


def installed_wheels(environment: Environment, dists: Sequence[Installed], vendor: Vendor) -> Vendored:
    """Return the wheels that the installed distributions came from; a wheel with other files is not one of them.

    What the cache knows is taken from there. Raises EnvironmentProblem J2K670–J2K673.
    """
    found: list[Wheel] = []
    carried: dict[str, tuple[str, str]] = {}
    wanting: dict[str, Installed] = {}
    for dist in dists:
        known = vendor.recall(wheels.key_of(dist))
        if known is None:
            wanting[dist.name] = dist
        elif known:
            found += known
        else:
            carried[dist.name] = (INSTALLED, NO_WHEEL)
    candidates, none = _pinned(environment, list(wanting.values()))
    for name in none:
        carried[name] = (INSTALLED, NO_WHEEL)
        vendor.remember(wheels.key_of(wanting[name]), ())
    for wheel in fetched(environment, candidates, vendor):
        dist = wanting[wheel.name]
        differing = wheels.differences(vendor.path(wheel), dist)
        if differing:
            carried[wheel.name] = (INSTALLED, f"{OTHER_WHEEL}: {', '.join(differing[:5])}")
            continue
        vendor.remember(wheels.key_of(dist), (wheel,))
        found.append(wheel)
    return Vendored(tuple(found), carried)


def _pinned(environment: Environment, dists: Sequence[Installed]) -> tuple[tuple[Candidate, ...], list[str]]:
    """Return the candidates of exactly these versions, and the names of which the index has no such wheel."""
    left = {d.name: f"{d.name}=={d.version}" for d in dists}
    none: list[str] = []
    while left:
        try:
            return resolve(environment, list(left.values()), alone=True), none
        except Unresolvable as error:
            names = [n for n in error.names if n in left]
            if not names:
                raise UsageError(
                    "J2K664",
                    f"pip cannot tell the wheels of what is installed: {error.text}",
                    "see pip's words",
                ) from error
            none += names
            for name in names:
                del left[name]
    return (), none


def fetched(environment: Environment, candidates: Iterable[Candidate], vendor: Vendor) -> list[Wheel]:
    """Return the wheels of the candidates, fetched where the cache has not got them."""
    found: list[Wheel] = []
    wanting: list[Candidate] = []
    for candidate in candidates:
        known = vendor.recall(f"sha256-{candidate.sha256}") if candidate.sha256 else None
        if known:
            found += [replace(w, url=candidate.public_url) for w in known]
        else:
            wanting.append(candidate)
    if wanting:
        with vendor.waiting_room() as folder:
            paths = fetch(environment, wanting, folder)
            for candidate in wanting:
                sha256, path = vendor.adopt(paths[candidate.name], candidate.sha256)
                wheel = wheels.read(path, sha256, candidate.public_url)
                vendor.remember(f"sha256-{sha256}", (wheel,))
                found.append(wheel)
    return found


def resolved_wheels(
    environment: Environment,
    found: Roots,
    closed: Closed,
    kinds: Mapping[str, tuple[str, str]],
    wanted: Weighed,
    vendor: Vendor,
) -> Vendored:
    """Return the wheels of a resolution in which what the author asks for holds.

    First with everything else as it is installed; if that contradicts itself, with everything else free. Raises
    UsageError J2K664 if pip finds nothing either way. The same question is answered from the cache.
    """
    asked = sorted({str(w.requirement) for w in wanted.asks})
    names = {w.name for w in wanted.asks}
    free = [n for n in sorted(closed.needs) if n not in kinds and n not in names]
    pins = [f"{n}=={environment.distributions[n].version}" for n in free]
    top = [_with_extras(n, found) for n in sorted(found.needs) if n not in kinds and n not in names]
    key = "asked-" + digest(
        [asked, pins, top, sorted(wanted.limits), environment.python.version, environment.platform.machine]
    )
    known = vendor.recall(key)
    if known is None:
        known = _resolved(environment, [*asked, *top], pins, list(wanted.limits), vendor)
        vendor.remember(key, known)
    for wish in wanted.asks:
        found.need(wish.name, wish.where, wish.requirement.extras if wish.requirement else ())
    return Vendored(known, {}, tuple(_changes(known, environment, names)))


def _with_extras(name: str, found: Roots) -> str:
    extras = ",".join(sorted(found.needs[name].extras))
    return f"{name}[{extras}]" if extras else name


def _resolved(
    environment: Environment, requirements: list[str], pins: list[str], limits: list[str], vendor: Vendor
) -> tuple[Wheel, ...]:
    try:
        candidates = resolve(environment, requirements, constraints=[*pins, *limits])
    except Unresolvable:
        try:
            candidates = resolve(environment, requirements, constraints=limits)
        except Unresolvable as error:
            raise UsageError(
                "J2K664",
                f"what is asked for cannot be had as wheels for Python {environment.python.version}: {error.text}",
                "change the requirement, or give the notebook a kernel whose Python is as old as they are (`--kernel`)",
            ) from error
    return tuple(fetched(environment, candidates, vendor))


def _changes(found: Iterable[Wheel], environment: Environment, asked: set[str]) -> list[str]:
    return [
        f"{w.name} is {w.version} in the lock and {environment.distributions[w.name].version} here: what is asked for "
        "allows nothing else"
        for w in found
        if w.name not in asked
        and w.name in environment.distributions
        and w.version != environment.distributions[w.name].version
    ]
