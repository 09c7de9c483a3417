"""The local engine: hands for the state machine in one process; kernels are child processes, cores are workers."""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from jup2kub.agent import memory
from jup2kub.agent.hands import Line
from jup2kub.agent.judge import Mispredicted
from jup2kub.agent.kernel import ForkRefused, Kernel, KernelDied
from jup2kub.agent.launch import Launch
from jup2kub.agent.recipe import recipe
from jup2kub.agent.session import Session, Told
from jup2kub.agent.steps import (
    Attempt,
    Done,
    Lost,
    Outcome,
    Raised,
    Unshippable,
    load,
    prepare,
)
from jup2kub.engine import events as ev
from jup2kub.engine.budgets import Config
from jup2kub.engine.fresh import save_dear
from jup2kub.engine.homes import Home, Origin
from jup2kub.engine.reserve import Reserve
from jup2kub.engine.state import advance
from jup2kub.engine.tasks import MAIN, State, initial, lend
from jup2kub.engine.watch import Watch
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan

QUEUED = 4
"""Forks that may wait for a core, per worker: each holds memory that the main line changes under it."""
HERE = "here"
"""The one worker: this machine."""


@dataclass
class Sent:
    """One cell that left the main line."""

    cell: CellPlan
    kernel: Callable[[], Coroutine[Any, Any, Kernel]]
    """Gives a kernel that is ready to run the cell."""
    needs: dict[str, int]
    """Names that were pending when it left and that it reads: name → the cell that makes it."""
    inputs: tuple[asyncio.Future[Outcome], ...]
    """Steps whose values it reads."""
    early: bool
    """Earlier cells were unfinished when it left: an exception of it is not final."""
    done: asyncio.Future[Outcome]
    origin: Origin
    parked: Kernel | None = None
    """Its kernel, kept for `successor`."""
    successor: int | None = None
    """The cell of the same step that goes on in its kernel."""
    last: Outcome = field(default_factory=lambda: Lost("never started", "died"))
    running: asyncio.Task[None] | None = None


def _pass_on(sent: Sent, task: asyncio.Task[None]) -> None:
    """Let a fault of this program reach the main line instead of leaving it waiting."""
    if not task.cancelled() and task.exception() is not None and not sent.done.done():
        sent.done.set_exception(task.exception() or RuntimeError())


class LocalHands:
    """Carries out what the state machine commands, and tells it what happened."""

    def __init__(self, session: Session, launch: Launch, names_of: int) -> None:
        self.session, self.launch, self.names_of = session, launch, names_of
        self.fork = session.terms.fork
        self.sent: dict[str, Sent] = {}
        self.homes: dict[tuple[int, str], Home] = {}
        """Versions (cell, name) that cannot leave their kernel."""
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.TimerHandle | None = None
        self._copies: list[Kernel] = []
        self._chance = random.Random(session.terms.run)
        self._watch = Watch(session.store, self._no_forks)
        self._reserve = Reserve(lambda: Kernel.start(launch, names_of=names_of))
        # A step can start when the main line has come to it: its fork is taken there.
        config = Config(silence_seconds=0.0, start_seconds=0.0)
        state = initial(session.plan, config)
        owner = {i: s.id for s in session.plan.steps if s.kind == "cells" for i in s.cells}
        steps = {
            f"cell-{i}": replace(
                state.tasks[owner.get(i, MAIN)],
                id=f"cell-{i}",
                cells=(i,),
                needs=(),
                after=frozenset({i}),
                timeout=0.0,
                priority=-float(i),
                memory=self._memory(cell, state.tasks[owner.get(i, MAIN)].memory),
            )
            for i, cell in session.cells.items()
        }
        self.state: State = replace(state, tasks={MAIN: state.tasks[MAIN], **steps})
        self.apply(ev.WorkerJoined(HERE, cpu=float(session.terms.workers), memory=memory.available()))
        self._prepare()

    def _memory(self, cell: CellPlan, whole: int) -> int:
        """Return the bytes that must be free for a step: a fork shares with the main kernel what it does not change."""
        return cell.growth if self.fork and cell.growth is not None else whole

    # -- the fold ------------------------------------------------------------------------------------------------

    def apply(self, event: ev.Event) -> None:
        """Let something have happened, and do what follows from it."""
        self.state, commands = advance(self.state, event, self._loop.time())
        for command in commands:
            self._do(command)

    def _do(self, command: ev.Command) -> None:
        if isinstance(command, ev.Dispatch) and command.task != MAIN:
            sent = self.sent[command.task]
            sent.running = asyncio.ensure_future(self._attempt(command, sent))
            sent.running.add_done_callback(functools.partial(_pass_on, sent))
        elif isinstance(command, ev.Abandon) and command.task != MAIN:
            running = self.sent[command.task].running if command.task in self.sent else None
            if running is not None and running is not asyncio.current_task():
                running.cancel()
        elif isinstance(command, (ev.Settled, ev.MoveToMain)) and command.task in self.sent:
            sent = self.sent[command.task]
            if not sent.done.done():
                sent.done.set_result(sent.last)
        elif isinstance(command, ev.Wake):
            if self._wake is not None:
                self._wake.cancel()
            self._wake = self._loop.call_at(command.at, lambda: self.apply(ev.Tick(self._chance.random())))

    async def _attempt(self, command: ev.Dispatch, sent: Sent) -> None:
        task, number, cell = command.task, command.attempt, sent.cell
        if not all(isinstance(f.result(), (Done, Unshippable)) for f in sent.inputs):
            sent.last = Lost("what it reads could not be made", "unmade")
            self.apply(ev.Unshippable(task, number, "", sent.last.reason))
            return
        homes = {id(h): h for n, p in sent.needs.items() for h in [self.homes.get((p, n))] if h is not None}
        home = next(iter(homes.values()), None)
        self.session.tell(Told("start", cell.index, "step", seconds=cell.seconds or None))
        self.apply(ev.Started(task, number))
        outcome: Outcome
        if len(homes) > 1:
            reason = "it needs values that live in two kernels"
            outcome = Mispredicted(cell.index, reason, Facts(mispredicted=True))
        else:
            kernel = sent.kernel if home is None else functools.partial(home.enter, self.session, cell)
            keep = functools.partial(self._keep, sent, home)
            worker = f"worker-{os.getpid()}-{number}"
            cores = functools.partial(self.cores, task=task, attempt=number) if self.fork else None
            outcome = await Attempt(self.session, cell, number, worker, kernel, sent.early, keep, cores).run()
        if isinstance(outcome, Unshippable):
            self.session.hold(cell.index, outcome.saved)  # before anybody who waits for it begins
        sent.last = outcome
        self._report(task, number, sent, outcome)

    def _keep(self, sent: Sent, home: Home | None, kernel: Kernel, outcome: Outcome) -> bool:
        """Take over the kernel of a cell that has ended, if anything goes on in it."""
        cell = sent.cell
        self._watch.proved(kernel)
        origin = sent.origin.with_made(cell.index, cell.writes)
        if home is not None:
            home.leave(cell)
        elif isinstance(outcome, Unshippable):
            home = Home(kernel, origin)
            self._copies.append(kernel)
        if home is not None and isinstance(outcome, Unshippable):
            self.homes.update({(cell.index, name): home for name in outcome.names})
        if home is None and isinstance(outcome, Done) and sent.successor is not None:
            sent.parked, sent.origin = kernel, origin
            self._copies.append(kernel)
            return True
        return home is not None

    def _report(self, task: str, number: int, sent: Sent, outcome: Outcome) -> None:
        """Tell the state machine how an attempt ended."""
        chance, index = self._chance.random(), sent.cell.index
        if isinstance(outcome, (Done, Unshippable)):
            # What cannot leave its kernel is finished all the same: nothing else may make it.
            self.apply(ev.Committed(task, f"{self.session.terms.run}/{task}"))
        elif isinstance(outcome, Raised):
            self.apply(ev.Failed(task, number, "user", "it raised", sent.early, jitter=chance))
        elif isinstance(outcome, Lost):
            self.session.tell(Told("retry", index, "step", text=outcome.reason))
            kinds = {"died": "infrastructure", "crashed": "hang", "memory": "memory", "hung": "hang"}
            self.apply(ev.Failed(task, number, kinds[outcome.cause], outcome.reason, jitter=chance))
        else:
            self.apply(ev.Mispredicted(task, number, index, outcome.reason))

    # -- for the main line ---------------------------------------------------------------------------------------

    def may_send(self, cell: CellPlan) -> bool:
        """Forks that only wait cost memory, so their number is bounded."""
        unfinished = sum(not s.done.done() for s in self.sent.values())
        return unfinished < QUEUED * self.session.terms.workers

    def waits(self, waiting: bool) -> None:
        """The main line begins or stops to wait: while it waits its core is free."""
        self.apply(ev.MainWaits(1, waiting))

    def at_home(self, cell: int, name: str) -> bool:
        """Return whether that version lives in a step's kernel and cannot leave it."""
        return (cell, name) in self.homes

    async def send(self, line: Line, cell: CellPlan) -> asyncio.Future[Outcome] | None:
        """Take a cell over from the main line; None = it needs something that only the main kernel has."""
        reads = cell.reads | cell.mutates | cell.deletes
        settled = {n for n, p in line.pending.items() if n.startswith("@") and p in self.session.records}
        needs = {n: p for n, p in line.pending.items() if n in reads or n in settled}
        inputs = [line.out[p] for p in sorted({*needs.values(), *cell.before}) if p in line.out]
        origin = Origin()
        before = self._predecessor(cell)
        kernel = None
        if before is not None:
            kernel = self._continued(before, cell)
            inputs += [before.done] if before.done not in inputs else []
        elif self.fork:
            kernel = await self._forked(line, cell, needs)
            origin = Origin(cell.index, frozenset(line.pending))
        if kernel is None:
            origin = Origin()
            kernel = await self._fresh(line, cell, inputs)
        if kernel is None:
            return None
        sent = Sent(cell, kernel, needs, tuple(inputs), bool(line.out), self._loop.create_future(), origin)
        self.sent[f"cell-{cell.index}"] = sent
        self._passed(sent)
        return sent.done

    async def away(self, line: Line, cell: CellPlan) -> None:
        """See `Hands`: there is this machine alone."""

    def cores(self, wanted: int, task: str = MAIN, attempt: int = 1) -> int:
        """Lend a running attempt as many cores as are wanted and free, in all; 0 = it gives them back."""
        found = lend(self.state, HERE, task, attempt, wanted)
        self.apply(ev.CoresTaken(task, attempt, float(found)))
        return found

    def _passed(self, sent: Sent) -> None:
        """Offer the cell once its inputs have ended: until then it takes no worker."""
        unmade = next((f for f in sent.inputs if not f.done()), None)
        if unmade is None:
            self.apply(ev.MainPassed(sent.cell.index))
        else:
            unmade.add_done_callback(lambda _: self._passed(sent))

    # -- kernels -------------------------------------------------------------------------------------------------

    def _predecessor(self, cell: CellPlan) -> Sent | None:
        """Return the step's cell before, if it still runs and its kernel lacks nothing that `cell` reads."""
        step = next((s for s in self.session.plan.steps if cell.index in s.cells), None)
        chain = [i for i in step.cells if i < cell.index] if step is not None else []
        sent = self.sent.get(f"cell-{chain[-1]}") if chain else None
        if sent is None or sent.done.done() or sent.successor is not None:
            return None
        begun = min(chain)
        if any(p not in chain and p > begun for p, _ in self.session.needs.get(cell.index, ())):
            return None
        return sent

    def _continued(self, before: Sent, cell: CellPlan) -> Callable[[], Coroutine[Any, Any, Kernel]]:
        """Go on in the kernel of the cell before."""
        before.successor = cell.index

        async def ready() -> Kernel:
            kernel, before.parked = before.parked, None
            if kernel is None:
                return await self._replayed(cell)
            self.sent[f"cell-{cell.index}"].origin = before.origin
            return kernel

        return ready

    async def _forked(
        self, line: Line, cell: CellPlan, needs: dict[str, int]
    ) -> Callable[[], Coroutine[Any, Any, Kernel]] | None:
        """Fork the main kernel as it is now; a copy of the copy stays behind for another try."""
        try:
            first = await line.kernel.fork()
        except ForkRefused as refusal:
            self._no_forks(f"no forks from here on: {refusal.reason}")
            return None
        self._copies.append(first)
        if self._watch.forbids(first):
            first.kill()
            self._no_forks(
                "no forks from here on: with the libraries it has loaded, a copy stood still before"
            )
            return None
        copy: Kernel | None = first
        loaded = False

        async def ready() -> Kernel:
            nonlocal copy, loaded
            if copy is None or self._watch.forbids(copy):
                return await self._replayed(cell)
            kernel = copy
            self._watch.begin(kernel)
            if not loaded:
                for producer in sorted(set(needs.values())):
                    wanted = frozenset(n for n, p in needs.items() if p == producer)
                    wanted = self.session.mates(producer, wanted, cell.index)
                    await load(self.session, kernel, producer, wanted)
                loaded = True
            try:
                copy = await kernel.fork()
                self._copies.append(copy)
            except (ForkRefused, KernelDied):
                copy = None
            return kernel

        return ready

    def _no_forks(self, reason: str) -> None:
        self.fork = False
        self.session.tell(Told("note", text=reason))
        self._prepare()

    def _prepare(self) -> None:
        """Where steps need fresh kernels, let some start while there is nothing else to wait for."""
        left = [
            i for i in self.session.off if i not in self.session.outcomes and f"cell-{i}" not in self.sent
        ]
        if not self.fork:
            self._reserve.keep(min(len(left), self.session.terms.workers - 1))

    async def _replayed(self, cell: CellPlan) -> Kernel:
        """Return a fresh kernel that has loaded and replayed what the cell reads."""
        session = self.session
        kernel = await self._reserve.take()
        self._prepare()
        try:
            ops = recipe([cell.index], session.needs, session.available, session.refers)
            whole = (
                replace(o, names=session.mates(o.cell, o.names, cell.index))
                if o.names and not o.define
                else o
                for o in ops
            )
            await prepare(session, kernel, tuple(whole))
        except BaseException:
            await kernel.close(over=False)
            raise
        return kernel

    async def _fresh(
        self, line: Line, cell: CellPlan, inputs: list[asyncio.Future[Outcome]]
    ) -> Callable[[], Coroutine[Any, Any, Kernel]] | None:
        """Save what the main kernel holds and would be dear to make again; the rest is replayed.

        Steps whose values will be loaded are added to `inputs`. None = something can neither be saved nor replayed.
        """
        ops = await save_dear(self.session, line, cell)
        if ops is None:
            return None
        made = [line.out[op.cell] for op in ops if op.cell in line.out and not op.define]
        inputs += [future for future in made if future not in inputs]
        return lambda: self._replayed(cell)

    async def stop(self, handed_on: bool = False) -> None:
        """Abandon every step, for none outlives this process; what they wrote is put back."""
        if self._wake is not None:
            self._wake.cancel()
        running = [s.running for s in self.sent.values() if s.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._watch.stop()
        await self._reserve.stop()
        for kernel in self._copies:
            kernel.kill()
            await kernel.close(over=False)
