"""The hands of a main line in a pod: what leaves it goes to the run server, which gives it to any agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jup2kub.agent.aside import in_thread
from jup2kub.agent.away import Spreads
from jup2kub.agent.files import put_back
from jup2kub.agent.hands import Line
from jup2kub.agent.judge import Mispredicted, beyond
from jup2kub.agent.observed import met
from jup2kub.agent.recipe import Op
from jup2kub.agent.seen import versions_beyond
from jup2kub.agent.session import Session
from jup2kub.agent.steps import Done, Lost, Outcome, Raised
from jup2kub.engine.fresh import save_dear
from jup2kub.engine.pod.counter import Desk
from jup2kub.engine.pod.sender import Sender, may_leave
from jup2kub.engine.pod.workspace import Workspace, made_folders
from jup2kub.engine.tasks import COMMITTED, MAIN
from jup2kub.kit.canon import from_json, to_json
from jup2kub.kit.graph import closure
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan, Plan
from jup2kub.model.run import CellOutcome

QUEUED = 4
"""Cells that may be out, per worker of the plan: each may make the main kernel save what they read."""


@dataclass
class Out:
    """One cell that left."""

    cell: CellPlan
    generation: int
    """Of the slot that every attempt of it commits to."""
    turn: int
    letter: Mapping[str, Any]
    """As it was sent; it is sent again to a server that has forgotten it."""
    done: asyncio.Future[Outcome]


class RemoteHands:
    """See `agent.hands.Hands`. `turns` counts sendings: it goes on over the lives of the main kernel."""

    def __init__(
        self,
        session: Session,
        desk: Desk,
        workspace: Workspace,
        attempt: int,
        about: Mapping[str, Any],
        turns: Callable[[], int],
        plan: Plan,
    ) -> None:
        self.session, self.desk, self.workspace = session, desk, workspace
        self.attempt, self.about, self._turns = attempt, about, turns
        self.plan = plan
        """As the job has it, and with it every step."""
        self.out: dict[str, Out] = {}
        self._waiting = False
        self._settling: set[asyncio.Task[None]] = set()

    def may_send(self, cell: CellPlan) -> bool:
        """See `Hands`."""
        unfinished = sum(not o.done.done() for o in self.out.values())
        return unfinished < QUEUED * max(1, self.session.plan.workers)

    def at_home(self, cell: int, name: str) -> bool:
        """No value lives in a step's kernel: what cannot leave one is made by the main line."""
        return False

    def waits(self, waiting: bool) -> None:
        """See `Hands`."""
        self._waiting = waiting
        self.desk.say({"event": "waits", "attempt": self.attempt, "waiting": waiting})

    def cores(self, wanted: int) -> int:
        """See `Hands`."""
        return self.desk.lend("main", wanted)

    async def away(self, line: Line, cell: CellPlan) -> Spreads | None:
        """See `Hands`. What others could not make again for little is saved before the cell begins."""
        if not may_leave(self.session, cell):
            return None
        ops = await save_dear(self.session, line, cell)
        if ops is None:
            return None
        recipe, owner = ops, (MAIN, self.attempt)
        letter = lambda: self._letter(line, cell, recipe)  # noqa: E731
        about = (self.session, self.desk, cell.index, owner, letter, self._turns)
        return await self.session.aside(Sender, *about)

    async def send(self, line: Line, cell: CellPlan) -> asyncio.Future[Outcome] | None:
        """See `Hands`."""
        session, index = self.session, cell.index
        ops = await save_dear(session, line, cell)
        if ops is None:
            return None
        looked = session.looked.get(index)
        # A record that has come since is of the same sending: the server finds it in its place.
        if looked is None:
            following = await session.aside(session.store.next_generation, session.slot(index))
            looked = following.generation - 1
        generation, turn = looked + 1, self._turns()
        more = await session.aside(self._letter, line, cell, ops)
        letter = {
            "task": f"cell-{index}",
            "turn": turn,
            "generation": generation,
            "early": bool(line.out),
            "cpu": cell.cpu or 1.0,
            **more,
        }
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.out[f"cell-{index}"] = Out(cell, generation, turn, letter, done)
        await session.aside(self.desk.ask, "send", letter)
        return done

    def _letter(self, line: Line, cell: CellPlan, ops: tuple[Op, ...]) -> dict[str, Any]:
        """Return what an agent must know to have all that the cell reads; `ops`: the recipe of its kernel."""
        session = self.session
        reads = cell.reads | cell.mutates | cell.deletes
        settled = {n for n, p in line.pending.items() if n.startswith("@") and p in session.records}
        needed = {p for n, p in line.pending.items() if n in reads or n in settled}
        near = {p for p in (*needed, *cell.before, *(o.cell for o in ops)) if p in line.out}
        # What those were made from, in turn, is in the key of the result.
        inputs = closure(near, _before(session.plan)) & set(line.out)
        loaded = {o.cell for o in ops if o.names and not o.define} | needed
        return {
            "cell": cell.index,
            "inputs": [
                {"cell": p, "generation": self.out[f"cell-{p}"].generation, "near": p in near}
                for p in sorted(inputs)
            ],
            "beyond": {str(i): sorted(n) for i, n in versions_beyond(self.plan, session.plan).items()},
            "records": {
                str(p): {"values": r["values"], "deleted": r["deleted"], "held": bool(r.get("held"))}
                for p, r in session.records.items()
                if p in loaded
            },
            "met": {str(i): text for i, text in session.met.items()},
            "files": self.workspace.changes(),
            "folders": self.workspace.folders(),
            **self.about,
        }

    def send_again(self) -> None:
        """The server may have forgotten what is out: say it again. It may wait, so it is called in a thread."""
        for out in list(self.out.values()):
            if not out.done.done():
                self.desk.ask("send", out.letter)
        self.waits(self._waiting)

    def settled(self, letter: Mapping[str, Any]) -> None:
        """A task has reached its last state."""
        out = self.out.get(letter["task"])
        if out is not None and out.turn == letter["turn"] and not out.done.done():
            self._settling.add(asyncio.ensure_future(self._settle(out, letter)))

    async def _settle(self, out: Out, letter: Mapping[str, Any]) -> None:
        try:
            outcome = await self.session.aside(self._outcome, out, letter)
        except Exception as problem:
            if not out.done.done():
                out.done.set_exception(problem)
            return
        if not out.done.done():
            out.done.set_result(outcome)

    def _outcome(self, out: Out, letter: Mapping[str, Any]) -> Outcome:
        told, index = letter["outcome"], out.cell.index
        if letter["state"] == COMMITTED:
            return self._done(out)
        if told is not None and told["kind"] == "raised":
            return Raised(from_json(CellOutcome, told["outcome"]))
        if told is not None and told["kind"] in ("mispredicted", "unshippable"):
            return Mispredicted(index, told["reason"], from_json(Facts, told["facts"]))
        if told is not None and told["kind"] == "lost":
            return Lost(told["reason"], told["cause"])
        return Lost(letter["reason"], "died")

    def _done(self, out: Out) -> Outcome:
        """Take a commit as if it had been made here: values to load, files, and what keys of later cells depend on."""
        session, index = self.session, out.cell.index
        place = session.slot(index)
        record = session.store.record(type(place)(place.run, place.step, place.chunk, out.generation))
        if record is None:
            return Lost("its commit cannot be found", "died")
        if not session.made_from_these(index, record):
            return Lost("it was made from other versions than there are now", "died")
        for name in made_folders(record):
            (session.terms.project / name).mkdir(parents=True, exist_ok=True)
        put_back(session.terms.project, record["files"], session.store, session.undo.begin(index))
        self.workspace.know(record["files"], record["files"])
        facts = from_json(Facts, record["facts"])
        session.records[index], session.facts[index] = record, facts
        session.keys.executed(
            index, met(record["observed"], None if record["repeatable"] else record["token"])
        )
        return Done(from_json(CellOutcome, record["outcome"]), record, beyond(out.cell, facts))

    async def stop(self, handed_on: bool = False) -> None:
        """See `Hired`. What runs beside the main line, in the same folder, has ended on return."""
        tasks = [name for name, out in self.out.items() if not out.done.done()]
        if tasks and not handed_on:
            await in_thread(self.desk.ask, "withdraw", {"tasks": tasks, "turn": self._turns()})
            await self.desk.end(tasks)
        for settling in self._settling:
            settling.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        for name in tasks:
            self.out[name].done.cancel()


def _before(plan: Plan) -> dict[int, set[int]]:
    """Return the cells that each cell comes after, by the plan and by the text."""
    found: dict[int, set[int]] = {}
    for source, target in (*((e.source, e.target) for e in plan.cell_edges), *plan.text_edges):
        found.setdefault(target, set()).add(source)
    return found


def ended(outcome: Outcome, index: int, early: bool, generation: int) -> dict[str, Any]:
    """Return the outcome of an attempt as it is reported to the server."""
    if isinstance(outcome, Done):
        return {"kind": "done", "cell": index, "generation": generation}
    if isinstance(outcome, Raised):
        return {"kind": "raised", "cell": index, "early": early, "outcome": to_json(outcome.outcome)}
    if isinstance(outcome, Lost):
        return {"kind": "lost", "cell": index, "reason": outcome.reason, "cause": outcome.cause}
    if isinstance(outcome, Mispredicted):
        return {
            "kind": "mispredicted",
            "cell": outcome.cell,
            "reason": outcome.reason,
            "facts": to_json(outcome.facts),
        }
    names = ", ".join(f"{n} ({why})" for n, why in sorted(outcome.names.items()))
    reason = f"it made values that cannot leave its kernel: {names}"
    return {"kind": "unshippable", "cell": index, "reason": reason, "facts": to_json(outcome.facts)}
