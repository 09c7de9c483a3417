"""The lock: what exactly runs a notebook, with hashes, and the wheels themselves.

What ran is what is locked. The installed distributions are the truth, unless the author asks otherwise in a requirement
file or a `pip install`: then pip says what that stands for, kept as near to what is installed as it lets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jup2kub import ipynb
from jup2kub.agent.launch import Launch
from jup2kub.capture import carried, closure, declared, names, secrets, wishes
from jup2kub.capture.closure import Closed, Need, Roots
from jup2kub.capture.environment import Environment, Installed, look
from jup2kub.capture.names import Import, Local
from jup2kub.capture.vendoring import Vendored, installed_wheels, resolved_wheels
from jup2kub.capture.wheels import Vendor, default_cache, file_sha256
from jup2kub.errors import UsageError
from jup2kub.model.env import LOCK_VERSION, Carried, LocalModule, Lock, Seen, Wheel
from jup2kub.model.notebook import Notebook

NOT_EXECUTED = (
    "the notebook was not executed under observation: what libraries load by names that are made at run time is known "
    "only from their requirements (`jup2kub capture` looks)"
)


@dataclass(frozen=True)
class Asked:
    """What is to be locked."""

    notebook: Notebook
    folder: Path
    """Where it lies; absolute."""
    launch: Launch
    """How its kernel is started."""
    seen: Seen | None = None
    """What a traced execution has used; None = none was traced."""
    imports: tuple[str, ...] = ()
    """Top-level modules that earlier runs were seen to import."""
    values: tuple[bytes, ...] = ()
    """Secrets that must be nowhere."""


@dataclass(frozen=True)
class Looked:
    """The notebook's imports, with the environment they are looked up in."""

    environment: Environment
    imports: tuple[Import, ...]
    local: Local
    unread: tuple[str, ...]


def lock(asked: Asked, vendor: Vendor | None = None) -> Lock:
    """Return the lock; its wheels are in `vendor` afterwards (default: the user's cache).

    Asks the package index only for wheels that the cache does not know. Raises UsageError J2K660–J2K664 (what was asked
    for cannot be had), J2K680 (secrets), J2K653 (an import of what is not installed); EnvironmentProblem J2K650–J2K652,
    J2K670–J2K673.
    """
    vendor = vendor or Vendor(default_cache())
    secrets.refuse(secrets.in_notebook(asked.notebook, asked.values))
    looked = look_around(asked)
    environment = looked.environment
    found = _roots(asked, looked)
    in_cells = declared.in_cells(asked.notebook, asked.folder)
    if in_cells.wishes and "pip" in environment.distributions:
        # Such a cell runs in an image too: there pip finds everything installed, and needs no network.
        found.need("pip", f"{in_cells.wishes[0].where} runs it")
    wanted = wishes.weigh(
        declared.beside(asked.folder) + in_cells,
        environment,
        found,
        lambda name: closure.is_local(name, environment, asked.folder),
    )
    closed = closure.close(found.needs, _requirements(environment), environment)
    kinds = _kinds(closed, environment)
    if wanted.asks:
        vendored = resolved_wheels(environment, found, closed, kinds, wanted, vendor)
        closed = _again(vendored, closed, kinds, environment, found)
    else:
        dists = [environment.distributions[n] for n in sorted(closed.needs) if n not in kinds]
        vendored = installed_wheels(environment, dists, vendor)
    kinds = {**kinds, **{n: k for n, k in vendored.carried.items() if n not in kinds}}
    _missing(found, vendored.wheels, asked.folder)
    notes = [*found.notes, *wanted.notes, *vendored.notes, *closed.absent, *_left_out(found, vendored.wheels)]
    carry = _carried(kinds, closed, environment, asked.values)
    carry += [carried.unowned(name, module, asked.values) for name, module in sorted(found.unowned.items())]
    return Lock(
        version=LOCK_VERSION,
        python=environment.python,
        platform=environment.platform,
        wheels=_described(vendored.wheels, closed),
        carried=tuple(sorted(carry, key=lambda c: c.name)),
        modules=_modules(looked.local, asked),
        data=asked.seen.data if asked.seen else (),
        libraries=asked.seen.libraries if asked.seen else (),
        hosts=asked.seen.hosts if asked.seen else (),
        declared=wanted.declared,
        notes=tuple(dict.fromkeys(notes)),
        unseen=(*looked.unread, *(asked.seen.unseen if asked.seen else (NOT_EXECUTED,))),
    )


@dataclass(frozen=True)
class Needed:
    """What a notebook needs of the installed distributions, without a question to any index."""

    environment: Environment
    local: Local
    closed: Closed
    notes: tuple[str, ...]


def needs(asked: Asked) -> Needed:
    """Return what the notebook imports, was seen to use, and what that requires. Raises as `look_around`."""
    looked = look_around(asked)
    found = _roots(asked, looked)
    closed = closure.close(found.needs, _requirements(looked.environment), looked.environment)
    return Needed(looked.environment, looked.local, closed, (*found.notes, *closed.absent, *looked.unread))


def look_around(asked: Asked) -> Looked:
    """Read the imports, follow them into the project's folder, and ask the kernel's interpreter about all of them."""
    imports, unread = names.of_notebook(asked.notebook, ipynb.to_python)
    tops = {i.name.partition(".")[0] for i in imports if not i.level}
    nearby = names.local(imports, asked.folder, lambda top: _exists(asked.folder, top))
    tops |= {i.name.partition(".")[0] for i in nearby.imports}
    tops |= {*asked.imports, *(asked.seen.imports if asked.seen else ())}
    if not asked.launch.is_ipython:
        raise UsageError(
            "J2K652",
            f"the kernel {asked.launch.name!r} is not an IPython one: its environment cannot be locked",
            "environments of other languages are built with a base image of their own",
        )
    environment = look(asked.launch.argv, asked.launch.env, asked.folder, tops)
    found = names.local(imports, asked.folder, lambda top: closure.is_local(top, environment, asked.folder))
    return Looked(environment, imports, found, unread)


def _exists(folder: Path, top: str) -> bool:
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()


def _roots(asked: Asked, looked: Looked) -> Roots:
    environment = looked.environment
    found = closure.roots([*looked.imports, *looked.local.imports], environment, asked.folder)
    closure.kernel(environment, found)
    if asked.seen is None and not asked.imports:
        closure.optional_parts([n for n in found.needs if n != closure.KERNEL], environment, found)
    closure.observed(
        {*asked.imports, *(asked.seen.imports if asked.seen else ())},
        asked.seen.distributions if asked.seen else (),
        environment,
        found,
    )
    return found


def _requirements(environment: Environment) -> dict[str, tuple[str, ...]]:
    return {d.name: d.requires for d in environment.distributions.values()}


def _kinds(closed: Closed, environment: Environment) -> dict[str, tuple[str, str]]:
    """Return kind and reason of those that are carried."""
    kinds = {name: carried.kind_of(environment.distributions[name]) for name in closed.needs}
    return {name: kind for name, kind in kinds.items() if kind[0]}


def _again(
    vendored: Vendored,
    closed: Closed,
    kinds: Mapping[str, tuple[str, str]],
    environment: Environment,
    found: Roots,
) -> Closed:
    """Return the closure over what was resolved instead of what is installed."""
    requirements = {w.name: w.requires for w in vendored.wheels}
    for name in {*kinds, *vendored.carried}:
        requirements[name] = environment.distributions[name].requires
    needs = {n: need for n, need in found.needs.items() if n in requirements}
    again = closure.close(needs, requirements, environment)
    # What pip added without a reason that is known here (an extra of an extra) is needed all the same.
    rest = {w.name: Need(["resolved"]) for w in vendored.wheels if w.name not in again.needs}
    return replace(again, needs={**rest, **again.needs})


def _described(wheels: Iterable[Wheel], closed: Closed) -> tuple[Wheel, ...]:
    return tuple(
        replace(
            w,
            requires=closed.requires.get(w.name, ()),
            why=tuple(closed.needs[w.name].why) if w.name in closed.needs else (),
        )
        for w in sorted(wheels, key=lambda w: w.name)
    )


def _carried(
    kinds: Mapping[str, tuple[str, str]], closed: Closed, environment: Environment, values: Iterable[bytes]
) -> list[Carried]:
    values = tuple(values)
    found = []
    for name, (kind, reason) in kinds.items():
        dist: Installed = environment.distributions[name]
        entry = carried.carry(dist, kind, reason, values)
        why = tuple(closed.needs[name].why) if name in closed.needs else ()
        found.append(replace(entry, requires=closed.requires.get(name, ()), why=why))
    return found


def _modules(local: Local, asked: Asked) -> tuple[LocalModule, ...]:
    found = []
    for name, path in local.files:
        shown = path.relative_to(asked.folder).as_posix()
        secrets.refuse(secrets.in_file(path, shown, asked.values))
        found.append(LocalModule(name, shown, file_sha256(path), path.stat().st_size, str(path)))
    return tuple(sorted(found, key=lambda m: m.path))


def _missing(found: Roots, wheels: Iterable[Wheel], folder: Path) -> None:
    """Refuse imports that nothing in the lock provides. Raises UsageError J2K653."""
    provided = {name for wheel in wheels for name in wheel.imports}
    for item in found.missing:
        top = item.name.partition(".")[0]
        if not item.guarded and top not in provided:
            raise UsageError(
                "J2K653",
                f"{item.where} line {item.line} imports `{top}`, which is neither installed nor a module in {folder.name}/",
                "install what provides it in the kernel's environment (or `%pip install` it in a cell): the "
                "distribution may be called otherwise, and a stranger's package may have that very name, so none is "
                "guessed",
            )


def _left_out(found: Roots, wheels: Iterable[Wheel]) -> list[str]:
    provided = {name for wheel in wheels for name in wheel.imports}
    absent = {i.name.partition(".")[0]: i for i in found.missing if i.guarded}
    return [
        f"{item.where} would use `{top}` if it were installed"
        for top, item in absent.items()
        if top not in provided
    ]
