"""A kernel and hands without processes: cells run by `exec` in a dictionary, steps end when the test says so."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pickle
import types
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

from jup2kub.agent.hands import Line
from jup2kub.agent.kernel import CellResult, Kernel, KernelDeath, KernelDied, RunCell
from jup2kub.agent.mainline import MainLine
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.session import Session, Terms, Told
from jup2kub.agent.steps import Attempt, Outcome, load
from jup2kub.model.facts import Facts
from jup2kub.model.plan import PLAN_VERSION, CellEdge, CellPlan, Plan, Step
from jup2kub.store import RunKey, Store


class FakeKernel:
    """Answers as `Kernel` does. `ran`: (cell, silent) of every execution; `bound`: every name loaded or dropped."""

    def __init__(self, space: dict[str, Any] | None = None) -> None:
        self.space: dict[str, Any] = {} if space is None else space
        self.ran: list[tuple[int, bool]] = []
        self.told: list[tuple[str, tuple[str, ...]]] = []
        self.pid = 1
        self.info: Mapping[str, Any] = {}
        self.closed = False

    async def run(self, request: RunCell) -> CellResult:
        self.ran.append((request.cell, request.silent))
        before = dict(self.space)
        seen = {n: pickle.dumps(before[n]) for n in request.watch if n in before}
        error, outputs = None, []
        self.space["out"] = self.space["print"] = outputs.append
        try:
            exec(request.source, self.space)
        except SystemExit as leaving:
            raise KernelDied(KernelDeath(1, "killed by SIGKILL", "SIGKILL", cell=request.cell)) from leaving
        except Exception as failure:
            error = {"ename": type(failure).__name__, "evalue": str(failure), "traceback": []}
        self.space.pop("__builtins__", None)
        del self.space["out"], self.space["print"]
        facts = Facts(
            bound=frozenset(n for n, v in self.space.items() if n not in before or before[n] is not v),
            deleted=frozenset(before) - frozenset(self.space),
            mutated=frozenset(
                n for n, b in seen.items() if self.space.get(n) is before[n] and pickle.dumps(before[n]) != b
            ),
        )
        shown = tuple({"output_type": "stream", "name": "stdout", "text": str(o)} for o in outputs)
        return CellResult(request.cell, "error" if error else "ok", shown, (), error, facts, 0.0)

    def lent(self, cores: Any) -> AbstractContextManager[None]:
        return nullcontext()

    async def load(self, path: str, names: Iterable[str] | None = None) -> list[str]:
        stored = pickle.loads(Path(path).read_bytes())
        wanted = list(stored if names is None else names)
        self.told.append(("load", tuple(wanted)))
        self.space.update({n: stored[n] for n in wanted})
        return wanted

    async def drop(self, names: Iterable[str]) -> None:
        self.told.append(("drop", tuple(names)))
        for name in names:
            self.space.pop(name, None)

    async def save(
        self, groups: Iterable[Iterable[str]], folder: str, *, aside: bool = False
    ) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
        saved, stuck = [], {}
        for number, group in enumerate(groups):
            values = {n: self.space[n] for n in group if n in self.space}
            bad = [n for n, v in values.items() if isinstance(v, types.GeneratorType)]
            if bad:
                stuck.update(dict.fromkeys(group, f"{bad[0]} is a generator"))
                continue
            data, path = pickle.dumps(values), Path(folder) / str(number)
            path.write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            saved.append(
                {
                    "names": sorted(values),
                    "path": str(path),
                    "bytes": len(data),
                    "sha256": sha256,
                    "cells": [],
                }
            )
        return saved, stuck

    async def show(self, names: Iterable[str]) -> dict[str, Any]:
        return {n: self.space[n] for n in names if n in self.space}

    async def digest(self, names: Iterable[str] | None = None) -> dict[str, str]:
        return {n: repr(self.space[n]) for n in (self.space if names is None else names) if n in self.space}

    async def weigh(self, names: Iterable[str]) -> int:
        """Nothing here is big."""
        return 0

    async def relate(self, names: Iterable[str], seconds: float | None = None) -> list[frozenset[str]]:
        """Return the groups of names bound to one object of which one is asked for."""
        groups = ({o for o in self.space if self.space[o] is self.space[n]} for n in names if n in self.space)
        return [frozenset(group) for group in groups]

    async def fork(self) -> FakeKernel:
        return FakeKernel(copy.deepcopy(self.space))

    async def close(self, *, over: bool = True) -> None:
        self.closed = True

    def kill(self) -> None:
        self.closed = True


class FakeHands:
    """Forks fakes; a step ends only after `let(cell)`, unless it is in `free`."""

    def __init__(self, session: Session, free: Iterable[int] = ()) -> None:
        self.session, self.free = session, set(free)
        self.gates: dict[int, asyncio.Event] = {}
        self.sent: list[int] = []
        self.waiting: list[bool] = []
        self.blocked = asyncio.Event()
        """Set while the main line waits."""
        self.full = False
        self.tasks: list[asyncio.Task[Outcome]] = []

    def let(self, *cells: int) -> None:
        for cell in cells:
            self.gates.setdefault(cell, asyncio.Event()).set()

    def may_send(self, cell: CellPlan) -> bool:
        return not self.full

    def at_home(self, cell: int, name: str) -> bool:
        return False

    def waits(self, waiting: bool) -> None:
        self.waiting.append(waiting)
        self.blocked.set() if waiting else self.blocked.clear()

    async def away(self, line: Line, cell: CellPlan) -> None:
        return None

    def cores(self, wanted: int) -> int:
        return min(wanted, 1)

    async def send(self, line: Line, cell: CellPlan) -> asyncio.Future[Outcome] | None:
        self.sent.append(cell.index)
        copied = await line.kernel.fork()
        needs = {n: p for n, p in line.pending.items() if n in cell.reads | cell.mutates | cell.deletes}
        inputs = [line.out[p] for p in set(needs.values()) if p in line.out]
        gate = self.gates.setdefault(cell.index, asyncio.Event())

        async def ready() -> Kernel:
            for producer in sorted(set(needs.values())):
                names = frozenset(n for n, p in needs.items() if p == producer)
                await load(self.session, copied, producer, names)
            return copied

        async def attempt() -> Outcome:
            if inputs:
                await asyncio.wait(inputs)
            if cell.index not in self.free:
                await gate.wait()
            return await Attempt(self.session, cell, 0, "worker", ready, early=bool(line.out)).run()

        task = asyncio.ensure_future(attempt())
        self.tasks.append(task)
        return task

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Book:
    """A notebook of few cells for the fakes; names as words."""

    def __init__(self) -> None:
        self.cells: list[CellPlan] = []
        self.sources: dict[int, str] = {}
        self.off: list[int] = []

    def add(self, source: str, reads: str = "", defines: str = "", *, off: bool = False, **more: Any) -> Book:
        index = len(self.cells)
        for key in ("mutates", "deletes", "may_define", "effects"):
            more[key] = frozenset(str(more.get(key, "")).split())
        every = frozenset(reads.split()) | more["mutates"] | more["deletes"] | more["may_define"]
        last = {n: c.index for c in self.cells for n in c.writes}
        before = tuple(sorted({last[n] for n in every if n in last}))
        defined = frozenset(defines.split())
        self.cells.append(CellPlan(index, every, defined, before=before, key=source, **more))
        self.sources[index] = source
        if off:
            self.off.append(index)
        return self

    def plan(self) -> Plan:
        edges, last = [], dict[str, int]()
        for cell in self.cells:
            edges += [CellEdge(last[n], cell.index, "J2K101", n) for n in sorted(cell.reads) if n in last]
            last.update(dict.fromkeys(cell.writes, cell.index))
        main = tuple(c.index for c in self.cells if c.index not in self.off)
        steps = tuple(Step(f"s{i}", (i,)) for i in self.off)
        return Plan(PLAN_VERSION, "static", 2, "", tuple(self.cells), main, steps, (), tuple(edges), ())


class Run:
    """One session over fakes, with everything that was told."""

    def __init__(
        self,
        book: Book,
        store: Store,
        project: Path,
        in_order: int | None = None,
        free: Iterable[int] = (),
        **terms: Any,
    ) -> None:
        info = store.open_run(RunKey(str(project), json.dumps(book.sources)))
        self.store, self.told = store, list[Told]()
        settings = Terms(run=info.id, project=project, workers=2, **terms)
        keys = {c.index: f"profile{c.index}" for c in book.cells}
        undo = UndoLog(project.parent / f"undo-{info.id}")
        self.session = Session(book.plan(), book.sources, store, settings, "w", self.told.append, keys, undo)
        self.kernel = FakeKernel()
        self.hands = FakeHands(self.session, free)
        self.line = MainLine(self.session, self.hands, cast(Kernel, self.kernel), in_order)

    async def drive(self) -> None:
        try:
            await asyncio.wait_for(self.line.drive(), 30)
        finally:
            await self.hands.stop()
            await self.line.keeper.stop()

    def started(self) -> asyncio.Task[None]:
        self.running = asyncio.ensure_future(self.drive())
        return self.running

    async def held(self) -> None:
        """Return when the main line waits for a step; fail if it ends instead."""
        waits = asyncio.ensure_future(self.hands.blocked.wait())
        await asyncio.wait({waits, self.running}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if not waits.done():
            waits.cancel()
            self.running.result()
        assert waits.done(), "the main line did not wait for any step"

    def end(self, state: str = "done") -> None:
        self.store.close_run(self.session.terms.run, state)

    @property
    def done(self) -> list[int]:
        """Cells in the order in which they were done."""
        return [t.cell for t in self.told if t.kind == "done" and t.cell is not None]

    @property
    def statuses(self) -> dict[int, str]:
        return {i: o.status for i, o in sorted(self.session.outcomes.items())}
