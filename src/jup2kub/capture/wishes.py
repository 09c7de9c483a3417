"""Weighs what the author asks for against what is installed: met, to be resolved, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from jup2kub.capture.closure import Roots
from jup2kub.capture.declared import Wish, Wishes
from jup2kub.capture.environment import Environment
from jup2kub.errors import UsageError


@dataclass(frozen=True)
class Weighed:
    """The outcome."""

    asks: tuple[Wish, ...] = ()
    """Not met by what is installed: pip has to say what they stand for."""
    limits: tuple[str, ...] = ()
    """Constraints (PEP 508) that any resolution must keep."""
    declared: tuple[str, ...] = ()
    """All requirements by name, as asked for."""
    notes: tuple[str, ...] = ()


def weigh(wishes: Wishes, environment: Environment, found: Roots, is_local: Callable[[str], bool]) -> Weighed:
    """Add what is met to `found`, and return the rest.

    Raises UsageError J2K662 (not what conda or the interpreter has), J2K663 (from a repository, not installed),
    J2K665 (the name belongs to a stranger's package).
    """
    _python(wishes.python, environment)
    asks: list[Wish] = []
    limits: list[str] = []
    listed: list[str] = []
    notes = list(wishes.notes)
    for wish in wishes.wishes:
        if wish.requirement is not None and not environment.applies(wish.requirement):
            continue
        if wish.constraint:
            notes += _limit(wish, environment, limits)
            continue
        installed = environment.distributions.get(wish.name)
        if wish.origin:
            _from_elsewhere(wish, environment, found)
            continue
        assert wish.requirement is not None
        listed.append(wish.text)
        stranger(wish, environment, found, is_local)
        if installed is not None and wish.requirement.specifier.contains(installed.version, prereleases=True):
            found.need(wish.name, wish.where, wish.requirement.extras)
            continue
        asks.append(wish)
        if installed is not None:
            notes.append(
                f"{wish.where} asks for {wish.text}; installed is {installed.version}: the lock has what is asked for"
            )
    return Weighed(tuple(asks), tuple(limits), tuple(dict.fromkeys(listed)), tuple(notes))


def _python(wanted: str, environment: Environment) -> None:
    try:
        met = not wanted or SpecifierSet(wanted).contains(environment.python.version, prereleases=True)
    except InvalidSpecifier:
        met = True
    if not met:
        raise UsageError(
            "J2K662",
            f"Python {wanted} is asked for beside the notebook; its kernel has {environment.python.version}",
            "make an environment with that Python, install ipykernel in it, and name it with `--kernel`",
        )


def _limit(wish: Wish, environment: Environment, limits: list[str]) -> list[str]:
    """Check a constraint against what is installed; return notes. Raises UsageError J2K662."""
    requirement = wish.requirement
    if requirement is None:
        return []
    installed = environment.distributions.get(wish.name)
    from_conda = wish.where.startswith("environment.y")
    if installed is None:
        limits += [] if from_conda else [str(requirement)]
        return [f"{wish.where}: {wish.text} is not installed here under that name"] if from_conda else []
    if requirement.specifier.contains(installed.version, prereleases=True):
        limits += [] if from_conda else [str(requirement)]
        return []
    raise UsageError(
        "J2K662",
        f"{wish.where} wants {wish.text}; the kernel's environment has {wish.name} {installed.version}",
        "make the environment that the file describes, install ipykernel in it, and name its kernel with `--kernel`",
    )


def _from_elsewhere(wish: Wish, environment: Environment, found: Roots) -> None:
    """Take what came from a repository, an archive or a folder as it is installed. Raises UsageError J2K663."""
    for dist in environment.distributions.values():
        url = str((dist.direct_url or {}).get("url") or "")
        same = wish.name == dist.name or (url and _bare(url) == _bare(wish.origin))
        if same and dist.direct_url:
            found.need(dist.name, wish.where)
            return
    raise UsageError(
        "J2K663",
        f"{wish.where} asks for {wish.text}, which does not come from the package index and is not installed",
        "install it in the kernel's environment: it is then carried as it is, with its commit",
    )


def _bare(url: str) -> str:
    """Return what two spellings of one repository have in common."""
    host, _, path = url.partition("#")[0].rpartition("://")[2].partition("/")
    return f"{host.rpartition('@')[2]}/{path.partition('@')[0].removesuffix('/').removesuffix('.git')}"


def stranger(wish: Wish, environment: Environment, found: Roots, is_local: Callable[[str], bool]) -> None:
    """Refuse a name that is an import name, not a distribution's, or a slip of the pen. Raises UsageError J2K665.

    On an index anybody may own `sklearn`, `cv2`, `utils` or `pandsa`; who asks for those means another package.
    """
    if wish.name in environment.distributions:
        return
    name = wish.name.replace("-", "_")
    if is_local(name):
        raise UsageError(
            "J2K665",
            f"{wish.where} asks for {wish.name}, but {name} is a module of the project; the index's is a stranger's",
            f"remove {wish.name} from the requirements",
        )
    owners = [n for n in environment.providers(name) if n != wish.name]
    if owners:
        raise UsageError(
            "J2K665",
            f"{wish.where} asks for {wish.name}; the module {name} here is {owners[0]}'s, and a package that is called "
            f"{wish.name} is a stranger's",
            f"write {owners[0]} instead",
        )
    near = [n for n in found.needs if one_slip(n, wish.name)]
    if near:
        raise UsageError(
            "J2K665",
            f"{wish.where} asks for {wish.name}, which is not installed, one letter away from {near[0]}, which the "
            "notebook uses",
            f"write {near[0]}, or install {wish.name} if it is truly meant",
        )


def one_slip(a: str, b: str) -> bool:
    """Whether two names of five letters or more differ by one letter more, less or other, or by two exchanged."""
    if a == b or min(len(a), len(b)) < 5 or abs(len(a) - len(b)) > 1:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
    return a[1:] == b or a == b[1:]
