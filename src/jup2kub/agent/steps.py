"""One off-loaded cell, from its kernel to its commit."""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

from jup2kub.agent.apart import as_whole, define
from jup2kub.agent.away import Spreads
from jup2kub.agent.discretion import SHOWN, shows_secret
from jup2kub.agent.judge import Mispredicted, beyond, judge, plain, resident
from jup2kub.agent.kernel import CellResult, Kernel, KernelDied, RequestFailed, RunCell
from jup2kub.agent.loops import loops_of, shortfall
from jup2kub.agent.recipe import Op, shippable
from jup2kub.agent.room import NOT_KEPT
from jup2kub.agent.saving import lasting, save, with_digests
from jup2kub.agent.session import Record, Session, Told
from jup2kub.agent.undo import restore
from jup2kub.agent.within import within
from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan
from jup2kub.model.run import CellError, CellOutcome

SHARE = 0.025
"""Of a cell's predicted time, what may go into looking at the values that it touches …"""
LEAST = 0.006
"""… and the seconds that may in any case."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS")
"""Signals that a process brings upon itself: another try seldom helps."""


@dataclass(frozen=True)
class Done:
    """The cell ran and its record is committed."""

    outcome: CellOutcome
    record: Record
    beyond: frozenset[str] = frozenset()
    """Versions it made that the plan does not know of: good as long as no later cell has used the name."""


@dataclass(frozen=True)
class Raised:
    """The cell's own exception; final only if nothing before it was unfinished when it ran."""

    outcome: CellOutcome


@dataclass(frozen=True)
class Lost:
    """The kernel died under the cell; what it wrote has been put back."""

    reason: str
    cause: str
    """`died` (somebody killed it), `crashed` (by a fault of its own), `memory`, `hung`, or `unmade`: what the cell reads
    was not made, and it never started."""


@dataclass(frozen=True)
class Unshippable:
    """The cell ran, but some of what it made cannot leave its kernel, which stays as the home of these values."""

    outcome: CellOutcome
    names: Mapping[str, str]
    """What cannot leave, and why."""
    saved: list[Mapping[str, Any]]
    """Entries of what can."""
    facts: Facts
    beyond: frozenset[str] = frozenset()
    """As in `Done`."""


Cores = Callable[[int], int]
"""Lends a running cell as many cores as are wanted and free, in all and at least one; 0 gives them back."""
Outcome = Union[Done, Raised, Lost, Mispredicted, Unshippable]


def blob_paths(session: Session, record: Record, names: frozenset[str]) -> list[tuple[Path, list[str]]]:
    """Return the files that hold `names` of a record, each with those of the names that it holds."""
    found = []
    for value in record["values"]:
        wanted = [n for n in value["names"] if n in names]
        if wanted:
            found.append((session.store.blob_path(value["sha256"], value["bytes"]), wanted))
    return found


async def load(session: Session, kernel: Kernel, producer: int, names: frozenset[str]) -> None:
    """Bind the versions of `names` that cell `producer` made in `kernel`."""
    record = session.records[producer]
    try:
        for path, wanted in await session.aside(blob_paths, session, record, names):
            await kernel.load(str(path), wanted)
    except (RequestFailed, StoreProblem) as problem:
        session.distrust(producer)
        raise Unloadable(producer, problem) from problem
    gone = sorted(names & set(record["deleted"]))
    if gone:
        await kernel.drop(gone)


async def prepare(session: Session, kernel: Kernel, ops: tuple[Op, ...]) -> None:
    """Carry out a recipe in a fresh kernel. Raises KernelDied, and ReplayFailed when a replayed cell raises."""
    for op in ops:
        if op.replay:
            undo = session.undo.begin(op.cell)
            try:
                result = await execute(session, kernel, session.cells[op.cell], silent=True, undo=undo)
            finally:
                restore(undo)  # its files are there already, and perhaps later ones over them
            if result.status != "ok" and not session.cells[op.cell].may_raise:
                raise ReplayFailed(op.cell, result)
        elif op.define:
            await define(session, kernel, session.cells[op.cell])
        else:
            await load(session, kernel, op.cell, op.names)


class Unloadable(Exception):
    """A stored version cannot be loaded; its record is not used any more."""

    def __init__(self, cell: int, problem: Exception) -> None:
        super().__init__(f"what cell {cell} made cannot be loaded ({problem}); it is made again")
        self.cell = cell


class Elsewhere(Exception):
    """The kernel that a cell has to go to cannot be given all that the cell reads."""


class ReplayFailed(Exception):
    """A cell that had succeeded raised when it was replayed."""

    def __init__(self, cell: int, result: CellResult) -> None:
        super().__init__(f"cell {cell} raised when it was replayed: {result.error}")
        self.cell = cell


async def whole_facts(
    session: Session, kernel: Kernel, cell: CellPlan, result: CellResult, *, away: bool = False
) -> Facts:
    """Return what was seen of a cell. If it changed a value against its plan: with all names that share it.

    `away`: the cell ran outside the main kernel, where a value that it changed according to its plan becomes another
    object: names that share it, and of which the plan does not know that, are looked for in the time there is.
    """
    facts = session.facts_of(cell, result)
    changed, seconds = plain(facts.mutated) - cell.writes, None
    if away and not changed:
        changed, seconds = plain(facts.mutated), SHARE * result.seconds + LEAST
    if changed and result.status == "ok" and not result.leaving:
        shared = await kernel.relate(changed, seconds)
        mutated = facts.mutated.union(*(group for group in shared if group & changed))
        facts = replace(facts, mutated=mutated, aliases=(*facts.aliases, *shared))
    return facts


def watch(cell: CellPlan) -> tuple[str, ...]:
    """Return the names to compare before and after: what the cell touches."""
    return tuple(sorted(plain(cell.reads | cell.mutates)))


async def execute(
    session: Session,
    kernel: Kernel,
    cell: CellPlan,
    *,
    silent: bool = False,
    undo: Path | None,
    cores: Cores | None = None,
    away: Spreads | None = None,
) -> CellResult:
    """Run one cell within its time. Raises KernelDied.

    `cores`: who lends cores for the iterations of its loops; None = they run in place. `away`: who runs them on other
    machines; None = nobody.
    """
    split = bool(cell.lifted) and not silent
    if split:
        try:
            await define(session, kernel, cell)
        except RequestFailed:
            split = False  # it raises again where it stands in the cell, after what the cell shows before
    request = RunCell(
        cell=cell.index,
        count=session.counts[cell.index],
        source=session.sources[cell.index],
        silent=silent,
        watch=() if silent else watch(cell),
        modules={} if silent else session.plan.modules,
        budget=SHARE * cell.seconds + LEAST,
        undo=str(undo) if undo else None,
        project=str(session.terms.project),
        maps=session.map_loops(cell),
        workers=session.terms.workers if cores is not None else 1,
        map_settings=session.map_settings(cell) if cores is not None else {},
        inputs={session.counts[i]: session.sources[i] for i in session.cells if i < cell.index},
        secret=cell.secret,
        apart=cell.lifted_lines if split else (),
    )
    if away is not None:
        request = replace(request, map_settings={**request.map_settings, "away": away.known()})
        kernel.loops = functools.partial(away.heard, say=kernel.say)
    try:
        with kernel.lent(cores):
            result = await within(kernel, request, cell)
    finally:
        if away is not None:
            away.over()
    less = None if silent else shortfall(result, session.sources)
    if less:
        session.tell(Told("note", cell.index, text=less))
    return as_whole(cell, result) if split else result


def outcome_of(
    session: Session,
    cell: CellPlan,
    result: CellResult,
    *,
    start: float,
    attempt: int,
    worker: str,
    step: str | None,
) -> CellOutcome:
    """Return the outcome of an execution as the executed notebook will tell it."""
    error = result.error
    return CellOutcome(
        index=cell.index,
        status="ok" if result.status == "ok" else "error",
        outputs=tuple(result.outputs),
        updates=tuple(result.updates),
        count=session.counts[cell.index],
        where="step" if step else "main",
        step=step,
        worker=worker,
        attempt=attempt,
        start=start,
        seconds=result.seconds,
        peak_bytes=result.facts.peak_bytes or None,
        error=told_error(error) if error else None,
        loops=loops_of(result, session.sources),
    )


def told_error(error: Mapping[str, Any]) -> CellError:
    """Return the error of a cell as its kernel tells it."""
    return CellError(
        error["ename"],
        error["evalue"],
        tuple(error["traceback"]),
        error.get("line"),
        dict(error.get("inputs", {})),
    )


def to_save(cell: CellPlan, facts: Facts) -> list[str]:
    """Return the names whose versions the cell made, as planned and as seen."""
    made = cell.writes | facts.bound | facts.mutated
    names = plain(made) - facts.deleted - (cell.lifted - facts.mutated)
    return sorted(names) + sorted(n for n in made if n.startswith("@") and shippable(n) and n[:5] != "@file")


@dataclass
class Attempt:
    """One try of one off-loaded cell."""

    session: Session
    cell: CellPlan
    number: int
    worker: str
    kernel: Callable[[], Any]
    """Coroutine function that gives the kernel, ready to run the cell."""
    early: bool = False
    """Earlier cells were unfinished when it left: if it raises it is tried again, so its files are put back."""
    keep: Callable[[Kernel, Outcome], bool] = lambda kernel, outcome: False
    """Takes the kernel over, for a cell that goes on in it; False = nobody does."""
    cores: Cores | None = None
    away: Spreads | None = None
    committing: Callable[[], None] = lambda: None
    """Called when the commit is about to be asked for: from then on it cannot be known that there is none."""

    async def run(self) -> Outcome:
        """Run, judge, commit. Never raises for what the user's code or its kernel does."""
        session, cell = self.session, self.cell
        undo = session.undo.begin(cell.index)
        start = time.time()
        kernel: Kernel | None = None
        try:
            kernel = await self.kernel()
            result = await execute(session, kernel, cell, undo=undo, cores=self.cores, away=self.away)
            outcome = await self._conclude(kernel, result, start, undo)
            if self.keep(kernel, outcome):
                kernel = None
            return outcome
        except KernelDied as death:
            restore(undo)
            cause = "crashed" if death.death.signal in CRASHES else "died"
            return Lost(death.message, "memory" if death.death.memory else cause)
        except Elsewhere:
            reason = "it needs values that live in two kernels"
            return Mispredicted(cell.index, reason, Facts(mispredicted=True))
        except (ReplayFailed, Unloadable, RequestFailed) as failure:
            return Lost(str(failure), "died")
        except asyncio.CancelledError:
            if kernel is not None:
                kernel.kill()
                await kernel.close(over=False)
            restore(undo)
            raise
        finally:
            if kernel is not None:
                await kernel.close(over=False)

    async def _conclude(self, kernel: Kernel, result: CellResult, start: float, undo: Path) -> Outcome:
        session, cell = self.session, self.cell
        facts = await whole_facts(session, kernel, cell, result, away=True)
        outcome = outcome_of(
            session,
            cell,
            result,
            start=start,
            attempt=self.number,
            worker=self.worker,
            step=session.step_of.get(cell.index, f"cell-{cell.index}"),
        )
        if result.status != "ok":
            if self.early:
                restore(undo)
            return Raised(outcome)
        wrong = judge(cell, facts, session.made_before(cell.index))
        if wrong is not None:
            restore(undo)
            return wrong
        token, observed = secrets.token_hex(8), session.observe(facts)
        session.executed(cell, facts, token, observed)
        began = time.monotonic()
        known = (*cell.groups, *facts.aliases)
        extra = beyond(cell, facts)
        names = sorted({*to_save(cell, facts), *(extra - facts.deleted)})
        saved, stuck = await save(session, kernel, names, known=known, apart=cell.definitions)
        own = {n for v in saved if cell.index in v["cells"] and not cell.lifted for n in v["names"]}
        stuck = {**dict.fromkeys(own, "it is a definition of the cell itself"), **stuck}
        shown = await shows_secret(kernel, result)
        stuck = {**dict.fromkeys(names, SHOWN), **stuck} if shown else stuck
        facts = replace(
            facts,
            save_seconds=time.monotonic() - began,
            sizes={n: v["bytes"] for v in saved for n in v["names"]},
            unshippable=lasting(stuck),
        )
        outcome = await with_digests(session, kernel, to_save(cell, facts), facts, outcome)
        stuck = {**resident(cell, facts), **stuck}
        if shown or set(stuck) & (session.read_later[cell.index] | extra):
            return Unshippable(outcome, stuck, saved, facts, extra)
        with session.room.used():
            around = await session.aside(session.surroundings, facts, observed)
            self.committing()
            record = await session.aside(session.commit, cell, outcome, facts, saved, token, around)
            await session.aside(session.learn, cell.index, facts)
            return Done(outcome, record, extra)
        return Unshippable(outcome, dict.fromkeys(names, NOT_KEPT), [], facts)
