"""The main line: one kernel that runs the notebook top to bottom, and sends heavy independent cells away.

For every cell, in order: adopt a committed result, send the cell away as a step, or run it here once what it reads
has come back. Names whose versions are still out are *pending* and absent from the kernel's namespace.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace

from jup2kub.agent.apart import define
from jup2kub.agent.discretion import shows_secret
from jup2kub.agent.hands import Hands
from jup2kub.agent.intents import announce
from jup2kub.agent.judge import Mispredicted, listed, plain, unread
from jup2kub.agent.keeping import Keep, Keeper
from jup2kub.agent.kernel import Kernel, RequestFailed
from jup2kub.agent.saving import with_digests
from jup2kub.agent.session import UNREPEATABLE, Record, Session, Told
from jup2kub.agent.steps import (
    Done,
    Outcome,
    Raised,
    ReplayFailed,
    Unshippable,
    execute,
    load,
    outcome_of,
    to_save,
    whole_facts,
)
from jup2kub.agent.surprises import Surprises
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan
from jup2kub.model.run import CellOutcome

WORTH_SAVING = 0.5
"""Seconds; a cell of the main line that took less is made again rather than kept."""


class Stop(Exception):
    """The notebook ends at `cell`."""

    def __init__(self, cell: int) -> None:
        super().__init__(cell)
        self.cell = cell


class StartAgain(Exception):
    """The main kernel is lost, or stands on a broken assumption; `in_order` from a cell on."""

    def __init__(self, reason: str, in_order: int | None = None, wrong: Mispredicted | None = None) -> None:
        super().__init__(reason)
        self.in_order, self.wrong = in_order, wrong


class MainLine:
    """One life of the main kernel. `outcomes` and `records` live on in the session when it is lost."""

    def __init__(self, session: Session, hands: Hands, kernel: Kernel, in_order: int | None = None) -> None:
        self.session, self.hands, self.kernel = session, hands, kernel
        self.in_order = in_order
        self.pending: dict[str, int] = {}
        """Name → the cell that makes or made the version that is not in the namespace yet."""
        self.out: dict[int, asyncio.Future[Outcome]] = {}
        """Steps that have not ended, by cell."""
        self.ahead: dict[int, frozenset[int]] = {}
        """For each step the earlier ones that were unfinished when it left."""
        self.flying: dict[int, str] = {}
        """Cells that other runs of a sweep wait for, by memo key."""
        self.keeper = Keeper()
        self.surprises = Surprises(session.cells, session.facts)
        self.failed: set[int] = set()
        self.sticky = ""

    # -- the loop ------------------------------------------------------------------------------------------------

    async def drive(self) -> None:
        """Run all cells. Raises Stop, StartAgain, KernelDied (a step's death is no concern of this line)."""
        for index in [c.index for c in self.session.plan.cells]:
            await self._look(wait=())
            cell = self.session.cells[index]  # as it is known by now
            if cell.index in self.session.terms.skip:
                self.session.outcomes[cell.index] = CellOutcome(index=cell.index, status="skipped")
                self.session.keys.executed(cell.index, "skipped")
                continue
            if self._blocked(cell):
                self._block(cell)
                continue
            await self._turn(cell)
        await self._look(wait=tuple(self.out))
        if self.session.terms.digests:
            await self.fetch(n for n, p in self.pending.items() if not self.hands.at_home(p, n))
        if self.session.terms.collect:
            await self.fetch(self.session.terms.collect)
            self.session.collected = await self.kernel.show(self.session.terms.collect)

    async def _turn(self, cell: CellPlan) -> None:
        session, index = self.session, cell.index
        past = session.outcomes.get(index)
        record = await session.aside(session.known, cell)
        if record is None and past is None and await self._others(cell):
            record = await session.aside(session.known, cell)
        if record is not None:
            await self._define(cell)
            await session.aside(session.adopt, cell, record, past is not None)
            self.surprises.begin(index)
            await self._set_pending(cell, record_names(record))
        elif past is not None and not self._outdated(cell):
            await self._again(cell, past)
        elif not await self._send(cell):
            await self._here(cell)

    async def _send(self, cell: CellPlan) -> bool:
        """Send the cell away as a step, or to the home of a value it reads; return False if it must run here."""
        index = cell.index
        if not self._leaves(cell) and not await self._away(cell):
            return False
        try:
            await self._define(cell)
        except RequestFailed:
            return False  # it raises here as it does there: in its turn, with what the cell has shown before
        unfinished = frozenset(self.out)
        future = await self.hands.send(self, cell)
        if future is None:
            return False
        self.surprises.begin(index)
        self.ahead[index], self.out[index] = unfinished, future
        future.add_done_callback(lambda _: self._land(index))
        await self._set_pending(cell, cell.writes - cell.lifted)
        return True

    async def _define(self, cell: CellPlan) -> None:
        """Make the definitions of a cell that runs elsewhere or has run before."""
        await self.fetch(cell.lifted_reads)
        await define(self.session, self.kernel, cell)
        for name in cell.lifted:
            self.pending.pop(name, None)

    async def _away(self, cell: CellPlan) -> bool:
        """Return whether the cell reads something that cannot leave the kernel of a step.

        Raises StartAgain if it would have to be in two places.
        """
        everything = bool(cell.barrier or cell.waits_all)
        reads = (
            set(self.pending)
            if everything
            else (cell.reads | cell.mutates | cell.deletes) & set(self.pending)
        )
        await self._look(wait=sorted({self.pending[n] for n in reads}))
        away = {p for n in reads for p in [self.pending[n]] if self.hands.at_home(p, n)}
        if away and everything:
            raise StartAgain(f"cell {cell.index} needs everything, and some values live elsewhere", min(away))
        return bool(away)

    async def _others(self, cell: CellPlan) -> bool:
        """In a sweep: wait for another run that computes the same; return whether there was one."""
        flights = self.session.flights
        if flights is None or not cell.heavy or cell.effects & UNREPEATABLE:
            return False
        key = self.session.keys.of(cell.index)
        first = await flights.first(key, self.hands.waits)
        self.flying.update({cell.index: key} if first else {})
        return not first

    def _land(self, index: int) -> None:
        key = self.flying.pop(index, None)
        if key is not None and self.session.flights is not None:
            record = self.session.records.get(index)
            self.session.flights.land(key, record is not None and not record.get("held"))

    def land_all(self) -> None:
        """Let nobody wait for this line any more."""
        for index in list(self.flying):
            self._land(index)

    def _leaves(self, cell: CellPlan) -> bool:
        if self.in_order is not None or self.sticky or cell.index not in self.session.off:
            return False
        if cell.waits_all and self.out:
            return False
        return self.hands.may_send(cell)

    def _outdated(self, cell: CellPlan) -> bool:
        return self.in_order is not None and cell.index >= self.in_order

    async def _set_pending(self, cell: CellPlan, names: Iterable[str]) -> None:
        fresh = set(names)
        for name in fresh:
            self.pending[name] = cell.index
        absent = sorted(plain(fresh) | cell.deletes)
        if absent:
            await self.kernel.drop(absent)

    # -- pending values ------------------------------------------------------------------------------------------

    async def settle(self, cell: CellPlan) -> None:
        """Wait for the steps that `cell` comes after, and bring what it reads."""
        await self._look(wait=cell.before)
        # Generators and settings act on whatever runs: those that can be had are put in place, read or not.
        settled = {n for n, p in self.pending.items() if n.startswith("@") and p in self.session.records}
        await self.fetch(cell.reads | cell.mutates | cell.deletes | settled)

    async def fetch(self, names: Iterable[str]) -> None:
        """Bring pending versions of `names` into the main kernel, whole groups at a time."""
        await self._fetch(set(names) & set(self.pending))

    async def _fetch(self, names: set[str]) -> None:
        producers = sorted({self.pending[n] for n in names if n in self.pending})
        await self._look(wait=producers)
        for producer in producers:
            mine = frozenset(n for n, p in self.pending.items() if p == producer)
            record = self.session.records.get(producer)
            if record is not None:
                entries = [v for v in record["values"] if set(v["names"]) & names]
                mine = frozenset(n for v in entries for n in v["names"] if n in mine) | (
                    mine & set(record["deleted"])
                )
                await load(self.session, self.kernel, producer, mine)
            for name in mine | {n for n in names if self.pending.get(n) == producer}:
                self.pending.pop(name, None)

    async def _look(self, wait: Iterable[int]) -> None:
        """Wait for the steps of the cells `wait`, and act on every step that has ended, at once if it went wrong."""
        waiting = [self.out[i] for i in wait if i in self.out]
        while True:
            for index in sorted(i for i, f in self.out.items() if f.done()):
                await self._ended(index, self.out.pop(index).result())
            if all(f.done() for f in waiting):
                return
            self.hands.waits(True)
            try:
                under_way = [f for f in self.out.values() if not f.done()]
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.hands.waits(False)

    async def _ended(self, index: int, outcome: Outcome) -> None:
        session = self.session
        if isinstance(outcome, Done):
            session.outcomes[index] = outcome.outcome
            session.tell(Told("done", index, "step", seconds=outcome.outcome.seconds))
            await self._beyond(index, outcome.beyond)
        elif isinstance(outcome, Raised):
            await self._raised(index, outcome.outcome)
        elif isinstance(outcome, Mispredicted):
            raise StartAgain(f"cell {index}: {outcome.reason}", index, outcome)
        elif isinstance(outcome, Unshippable):
            session.outcomes[index] = outcome.outcome
            await session.aside(session.learn, index, outcome.facts)
            session.hold(index, outcome.saved)
            await self._beyond(index, outcome.beyond)
            names = ", ".join(f"{n.lstrip('@')} ({why})" for n, why in sorted(outcome.names.items()))
            session.tell(
                Told("note", index, "step", text=f"its kernel stays, for it cannot give away {names}")
            )
        elif outcome.cause == "unmade" and self._blocked(session.cells[index]):
            self._block(session.cells[index])
        else:
            raise StartAgain(f"cell {index}: {outcome.reason}", index)

    async def _beyond(self, index: int, names: frozenset[str]) -> None:
        """Take versions that nobody knew of; if a later cell has used the names, that cell was wrong."""
        self._check(self.surprises.made(index, names) or self.surprises.ended(index))
        await self._set_pending(self.session.cells[index], names)

    def _check(self, surprise: tuple[int, Mispredicted] | None) -> None:
        if surprise is not None:
            used, wrong = surprise
            facts = replace(wrong.facts, mispredicted=True)
            raise StartAgain(f"cell {wrong.cell}: {wrong.reason}", used, replace(wrong, facts=facts))

    async def _raised(self, index: int, outcome: CellOutcome) -> None:
        """An exception of a step is final only after every earlier cell is done, in order."""
        earlier = [i for i in self.out if i < index]
        if earlier:
            await self._look(wait=earlier)
        if self.ahead[index]:
            raise StartAgain(
                f"cell {index} raised while earlier cells were unfinished; it runs again in order", index
            )
        self._fail(index, outcome)

    def _fail(self, index: int, outcome: CellOutcome) -> None:
        self._land(index)
        self.session.outcomes[index] = outcome
        self.failed.add(index)
        if not self.session.terms.keep_going:
            raise Stop(index)

    # -- running here --------------------------------------------------------------------------------------------

    async def _here(self, cell: CellPlan) -> None:
        session, index = self.session, cell.index
        if cell.barrier or cell.waits_all:
            await self._look(wait=tuple(self.out))
            await self._fetch(set(self.pending))
        else:
            await self.settle(cell)
        await session.aside(announce, session, cell)
        self.surprises.begin(index)
        undo = session.undo.begin(index)
        start = time.time()
        session.tell(Told("start", index, "main", seconds=cell.seconds or None))
        cores = self.hands.cores if self.in_order is None and not self.sticky else None
        away = await self.hands.away(self, cell) if cores is not None else None
        result = await execute(session, self.kernel, cell, undo=undo, cores=cores, away=away)
        facts = await whole_facts(session, self.kernel, cell, result)
        outcome = outcome_of(session, cell, result, start=start, attempt=1, worker="main", step=None)
        if result.status != "ok" and not (cell.may_raise and result.status == "error"):
            await self._error_here(cell, outcome)
            return
        missed = unread(cell, facts, set(self.pending))
        if missed:
            raise StartAgain(f"cell {index} draws from {listed(missed)}, which its text does not say", index)
        for name in cell.writes | facts.bound | facts.mutated:
            self.pending.pop(name, None)
        self.sticky = self.sticky or facts.sticky
        await self._keep(cell, outcome, facts, await shows_secret(self.kernel, result))
        self._check(self.surprises.ended(index))
        if result.leaving:
            await self._look(wait=tuple(self.out))
            await self.keeper.finish()
            session.tell(
                Told("note", index, text="it ended its kernel by `exit()`, and with it the notebook")
            )
            raise Stop(index)

    async def _error_here(self, cell: CellPlan, outcome: CellOutcome) -> None:
        error = outcome.error
        if error is not None and error.ename == "NameError" and self.pending:
            name = next((n for n in self.pending if f"'{n}'" in error.evalue), None)
            if name is not None:
                facts = Facts(mispredicted=True, bound=frozenset())
                wrong = Mispredicted(cell.index, f"it reads {name}, which its text does not say", facts)
                raise StartAgain(
                    f"cell {cell.index}: {wrong.reason}", min(cell.index, self.pending[name]), wrong
                )
        await self._look(wait=tuple(self.out))
        self.session.tell(Told("done", cell.index, "main", text="raised", seconds=outcome.seconds))
        self._fail(cell.index, outcome)

    async def _keep(self, cell: CellPlan, outcome: CellOutcome, facts: Facts, secret: bool) -> None:
        """Commit what is worth keeping: heavy cells, and whatever would not repeat; no output that shows a `secret`."""
        session, index = self.session, cell.index
        token = secrets.token_hex(8)
        outcome = await with_digests(session, self.kernel, to_save(cell, facts), facts, outcome)
        session.outcomes[index] = outcome
        observed = session.observe(facts)
        session.executed(cell, facts, token, observed)
        await session.aside(session.learn, index, facts)
        once = not session.repeats(cell, facts) or bool(facts.files_written)
        worth = once or outcome.seconds >= WORTH_SAVING or index in self.flying
        kept = outcome.status == "ok" and worth and session.worth(cell) and not secret
        if kept:
            with session.room.used():
                around = await session.aside(session.surroundings, facts, observed)
                job = Keep(session, cell, outcome, facts, token, around)
                landed = functools.partial(self._land, index)
                await self.keeper.keep(job, self.kernel, not self.sticky, landed)
        if not kept or session.room.full:
            self._land(index)
        session.tell(Told("done", index, "main", seconds=outcome.seconds))

    async def _again(self, cell: CellPlan, past: CellOutcome) -> None:
        """Replay a finished cell in a new main kernel; its outputs stand."""
        if past.status != "ok" and not cell.may_raise:
            self.failed.add(cell.index)
            return
        await self.settle(cell)
        undo = self.session.undo.begin(cell.index)
        result = await execute(self.session, self.kernel, cell, silent=True, undo=undo)
        if result.status != "ok" and not cell.may_raise:
            raise ReplayFailed(cell.index, result)
        for name in cell.writes:
            self.pending.pop(name, None)

    # -- keep going ----------------------------------------------------------------------------------------------

    def _blocked(self, cell: CellPlan) -> bool:
        return bool(self.failed) and bool(set(cell.before) & self.failed or cell.barrier)

    def _block(self, cell: CellPlan) -> None:
        self.failed.add(cell.index)
        self.session.outcomes[cell.index] = CellOutcome(index=cell.index, status="blocked")


def record_names(record: Record) -> frozenset[str]:
    """Return every name whose version the record holds, removed ones included."""
    return frozenset(n for v in record["values"] for n in v["names"]) | frozenset(record["deleted"])
