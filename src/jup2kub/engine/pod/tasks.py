"""The main line, and steps, as an agent in a pod runs them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jup2kub.agent.aside import in_thread
from jup2kub.agent.kernel import Kernel, KernelDied
from jup2kub.agent.launch import Launch
from jup2kub.agent.seen import with_seen
from jup2kub.agent.session import Session, Told
from jup2kub.agent.steps import Attempt, Done, Lost, Outcome
from jup2kub.agent.world import world
from jup2kub.engine import lives
from jup2kub.engine.homes import Origin
from jup2kub.engine.pod.bench import Bench
from jup2kub.engine.pod.flights import RemoteFlights
from jup2kub.engine.pod.hands import RemoteHands, ended
from jup2kub.engine.pod.sender import Sender, may_leave
from jup2kub.engine.tasks import MAIN
from jup2kub.errors import Interrupted, Jup2KubError
from jup2kub.kit.canon import canonical, to_json
from jup2kub.kit.paths import overlap
from jup2kub.model.plan import CellPlan, Plan
from jup2kub.model.run import CellOutcome
from jup2kub.store import Slot

FILE = "@file:"
"""How edges call files."""
TURNS = 1 << 20
"""Sendings that one life of a main line may make."""


async def step(
    bench: Bench,
    letter: Mapping[str, Any],
    tell: Callable[[Told], None],
    over: Callable[[], None],
    alone: Callable[[], bool],
) -> dict[str, Any]:
    """Run one attempt of an off-loaded cell; return its outcome as it is reported.

    `over` is called when it is about to commit: from then on it is not told to stop, for nothing may be taken back.
    `alone`: whether no other task is at work here.
    """
    index, number = int(letter["cell"]), int(letter["attempt"])
    told = await in_thread(bench.told, letter, f"{letter['task']}-{number}", tell)
    if isinstance(told, int):
        return ended(Lost(f"cell {told}, which it reads, was not made", "unmade"), index, True, 0)
    session, files, folders = told
    session.generations[index] = int(letter["generation"])
    cell = session.cells[index]
    before = await bench.fill(files, folders, alone, touches(bench.job.plan, cell))

    origin = Origin()

    async def ready() -> Kernel:
        nonlocal origin
        kernel, origin = await bench.kernels.ready(session, cell)
        return kernel

    kept: list[Kernel] = []

    def keep(kernel: Kernel, outcome: Outcome) -> bool:
        if not isinstance(outcome, Done):
            return False
        if not cell.barrier and not session.facts[cell.index].sticky:
            kept.append(kernel)
        return bool(kept)

    tell(Told("start", index, "step", seconds=cell.seconds or None))
    session.see = lambda: bench.workspace.changed(before)
    cores = lambda wanted: bench.desk.lend(letter["task"], wanted)  # noqa: E731
    away = None
    if may_leave(session, cell):
        owner, turn = (str(letter["task"]), number), int(letter["turn"])
        about = (session, bench.desk, index, owner, lambda: _telling(letter), lambda: turn)
        away = await session.aside(Sender, *about)
    attempt = Attempt(session, cell, number, bench.worker, ready, bool(letter["early"]), keep, cores, away)
    attempt.committing = over
    outcome = await attempt.run()
    for kernel in kept:
        made = {n for n in session.facts[cell.index].bound if not n.startswith("@")}
        await bench.kernels.keep(kernel, origin.with_made(cell.index, cell.writes | made))
    session.undo.forget()
    return ended(outcome, index, bool(letter["early"]), session.generations[index])


def _telling(letter: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a step's letter what others must know to have all that it reads."""
    names = ("cell", "world", "beyond", "met", "records", "inputs", "files", "folders")
    return {name: letter[name] for name in names}


def touches(plan: Plan, cell: CellPlan) -> Callable[[str], bool]:
    """Return whether the cell may read or write a file, by its text or by what was seen of it before."""
    seen = {
        e.name[len(FILE) :] for e in plan.cell_edges if e.target == cell.index and e.name.startswith(FILE)
    }
    paths = {*cell.file_reads, *cell.file_writes, *seen}
    moved = any("@cwd" in c.writes for c in plan.cells)
    return lambda name: any(overlap(path, name, moved) for path in paths)


class Main:
    """One attempt of the main line."""

    def __init__(self, bench: Bench, letter: Mapping[str, Any], tell: Callable[[Told], None]) -> None:
        self.bench, self.letter, self._tell = bench, letter, tell
        self.hands: RemoteHands | None = None
        self._epoch = 0

    async def run(self) -> dict[str, Any]:
        """Run the notebook to its end and commit what came of it; return the outcome as it is reported."""
        bench, store = self.bench, self.bench.store
        await in_thread(self._claim)
        await bench.fill({}, (), lambda: True, None)
        kernel = await bench.kernels.fresh()
        about = {"world": world(kernel, bench.launch, bench.job.modules)}
        session = bench.session(f"main-{self._epoch}", about["world"], self._tell)
        session.fence = self._fence
        session.look_again = lambda: with_seen(session.plan, session.facts)
        session.flights = RemoteFlights(bench.desk.ask) if bench.job.shared else None
        turns = itertools.count(self._epoch * TURNS + 1)
        attempt = int(self.letter["attempt"])

        def hire(session: Session, launch: Launch, first: int) -> RemoteHands:
            self.hands = RemoteHands(
                session, bench.desk, bench.workspace, attempt, about, lambda: next(turns), bench.job.plan
            )
            return self.hands

        deaths = {int(cell): int(n) for cell, n in self.letter.get("deaths", {}).items()}
        around = lives.Surroundings(hire, lambda launch, first: bench.kernels.fresh(), self._heed, deaths)
        try:
            stopped = await lives.run(session, bench.launch, kernel, lambda: None, around)
            return await in_thread(self._commit, session, stopped, None)
        except KernelDied as death:
            if not death.death.memory:
                raise
            return ended(Lost(death.message, "memory"), death.death.cell or 0, False, 0)
        except Jup2KubError as problem:
            if problem.code == "J2K603":
                return ended(Lost(problem.message, "died"), 0, False, 0)
            return await in_thread(self._commit, session, None, problem)
        finally:
            store.main_epoch_held = 0

    def _claim(self) -> None:
        """Become the run's one main line; an earlier one stops before its next cell."""
        store, run = self.bench.store, self.bench.run
        while True:
            self._epoch = store.last_epoch(run) + 1
            record = {
                "worker": self.bench.worker,
                "attempt": self.letter["attempt"],
                "claim": secrets.token_hex(8),
            }
            if store.main_epoch(run, self._epoch, record):
                store.main_epoch_held = self._epoch
                return
            if store.cancelled(run) is not None:
                raise Interrupted("J2K601", "the run was cancelled", "start it again with `jup2kub run`")

    def _fence(self) -> None:
        if self.bench.store.last_epoch(self.bench.run) > self._epoch:
            raise Interrupted("J2K603", "another agent has taken over the main line")

    def _heed(self, death: KernelDied) -> None:
        """Give the main line back if it can have more memory elsewhere."""
        if death.death.memory and not self.letter.get("last_memory"):
            raise death

    def _named(self, outcome: CellOutcome) -> CellOutcome:
        """Return the outcome with the name of this agent, where it ran here."""
        here = outcome.worker == "main" and not outcome.from_store
        return replace(outcome, worker=self.bench.worker) if here else outcome

    def _commit(self, session: Session, stopped: int | None, problem: Jup2KubError | None) -> dict[str, Any]:
        """Put what came of the run into the main line's slot: outcomes, files, values."""
        bench, store = self.bench, self.bench.store
        whole = {
            "outcomes": {str(i): to_json(self._named(o)) for i, o in session.outcomes.items()},
            "plan": to_json(session.plan),
            "collected": session.collected,
            "validation_seconds": session.validation_seconds,
        }
        document = canonical(to_json(whole))
        error = {"code": problem.code, "message": problem.message, "hint": problem.hint} if problem else None
        record = {
            "status": "ok" if stopped is None and problem is None else "failed",
            "stopped": stopped,
            "problem": error,
            "worker": bench.worker,
            "blobs": [{"sha256": store.put_blob(document), "bytes": len(document)}],
            "files": bench.workspace.changes(),
            "folders": bench.workspace.folders(),
        }
        store.commit(Slot(bench.run, MAIN, 0, bench.round), record)
        session.undo.forget()
        return {"kind": "done", "cell": None, "generation": bench.round}
