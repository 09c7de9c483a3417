"""The agent that has a loop: its chunks become tasks of the run, and what came of them goes to its kernel.

How a loop was cut lies in the store, and so does each finished chunk: whoever comes to the same loop again, in another
life of the main line, finds them. A loop is the same if it stands at the same place, after the same number of iterations,
and if all that it may touch has the same value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from jup2kub.agent.away import Say
from jup2kub.agent.session import Session, Told
from jup2kub.engine.pod.counter import Desk
from jup2kub.engine.sharing import LOOP
from jup2kub.engine.tasks import COMMITTED
from jup2kub.errors import Interrupted, Jup2KubError
from jup2kub.kit.canon import canonical
from jup2kub.model.plan import CellPlan
from jup2kub.store import Record, Slot

WORTH = 30.0
"""Seconds that loops of a cell took in an earlier run, from which on what they read is saved before."""
TRIES = 256
"""Sendings of one attempt and its successors are told apart by this many turns."""


@dataclass
class Loop:
    """One loop that is away."""

    name: str
    place: str
    record: Record
    """How it was cut."""
    generation: int
    turn: int
    say: Say
    out: set[int] = field(default_factory=set)
    """Chunks that have not come back, by number from 1."""
    queue: list[int] = field(default_factory=list)
    """Chunks that are not sent yet, because so many may not be under way at once."""

    def range(self, number: int) -> tuple[int, int]:
        """Return the iterations of a chunk: the first, and the one after the last."""
        start, stop = self.record["chunks"][number - 1]
        return int(start), int(stop)


def may_leave(session: Session, cell: CellPlan) -> bool:
    """Return whether loops that the cell runs may be worth other agents' while, by what is known before it begins."""
    if session.terms.workers < 2 or not any(c.loops for c in session.plan.cells):
        return False
    if any(loop.asked for loop in cell.loops):
        return True
    known = cell.loop_seconds
    return sum(known.values()) >= WORTH if known else cell.heavy


class Sender:
    """See `agent.away.Spreads`. `letter` tells what an agent must know to have all that the cell reads.

    To make one is to ask the store, which may wait: do it in a thread.
    """

    def __init__(
        self,
        session: Session,
        desk: Desk,
        cell: int,
        owner: tuple[str, int],
        letter: Callable[[], Mapping[str, Any]],
        turns: Callable[[], int],
    ) -> None:
        self.session, self.desk, self.cell = session, desk, cell
        self.owner, self.attempt = owner
        self._letter, self._turns = letter, turns
        self._known: dict[str, tuple[int, Record]] = {}
        self._told: set[str] = set()
        self._work: set[asyncio.Task[None]] = set()
        self.loop: Loop | None = None
        """The one that is away now."""
        kept = "chunk_key" in session.map_settings(session.cells[cell])
        # Other pods have other names, which their environments tell: within a run no other difference is meant.
        self._key = session.keys.of(cell) if kept else ""
        self._look()
        desk.senders.append(self)

    @property
    def _step(self) -> str:
        return f"{LOOP}{self.cell}"

    def _slot(self, number: int, generation: int) -> Slot:
        return Slot(self.session.terms.run, self._step, number, generation)

    # -- what the kernel says ------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Find what an earlier life of the cell has left."""
        latest = self.session.store.latest(self.session.terms.run, self._step)
        for generation in range(latest[0].generation + 1 if latest else 0):
            record = self.session.store.record(self._slot(0, generation))
            if record is not None and record.get("key") == self._key:
                self._known[record["place"]] = (generation, record)

    def known(self) -> Mapping[str, Any]:
        """See `Spreads`."""
        return {place: [r["done"], r["pace"]] for place, (_, r) in self._known.items()}

    def heard(self, event: Mapping[str, Any], say: Say) -> None:
        """See `Spreads`."""
        what = event["what"]
        if what == "wants":
            self._wants(event, say)
        elif what == "begin":
            self._do(self._begin(event, say))
        elif what == "stays":
            self._note(f"the loop in line {event['line']} stays in this pod: {event['why']}")
        elif what == "end":
            self._end()

    def _wants(self, event: Mapping[str, Any], say: Say) -> None:
        why = str(event["why"]) or ("" if self._key else "what it computes may not be kept")
        if why and event["asked"]:
            self._note(f"the loop in line {event['place'].split('.')[1]} stays in this pod: {why}")
        say({"answer": {"agents": 0 if why else self.session.terms.workers}})

    def _note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.session.tell(Told("note", self.cell, text=text))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _begin(self, event: Mapping[str, Any], say: Say) -> None:
        """Send a loop away. Whatever is wrong with that, the kernel must not wait for ever."""
        try:
            generation, record = await self.session.aside(self._cut, event)
        except Exception as problem:
            say({"answer": {"chunks": [], "why": str(problem) or type(problem).__name__}})
            return
        place = str(event["place"])
        loop = Loop(f"{self._step}.{generation}", place, record, generation, self._turn(), say)
        loop.out = set(range(1, len(record["chunks"]) + 1))
        limit = int(event["limit"]) or len(loop.out)
        self.loop, numbers = loop, sorted(loop.out)
        say({"answer": {"chunks": record["chunks"]}})
        again = place in self._known and self._known[place][0] == generation
        self._known[place] = (generation, record)
        try:
            found = await asyncio.to_thread(self._finished, generation, numbers) if again else {}
        except Jup2KubError as problem:
            self._off(loop, problem.message)
            return
        fresh = [n for n in numbers if n not in found]
        text = f"the loop in line {event['line']} goes to other agents in {len(numbers)} parts"
        self._note(text + (f", of which {len(found)} are done already" if found else ""))
        for number, done in found.items():
            await self._bring(loop, number, done)
        if self.loop is loop:
            self._wait(True)
            loop.queue = fresh[limit:]
            await self._send(loop, fresh[:limit])

    async def _send(self, loop: Loop, numbers: list[int]) -> None:
        try:
            await asyncio.to_thread(self._spread, loop, numbers)
        except Jup2KubError as problem:
            self._off(loop, problem.message)

    def _off(self, loop: Loop, why: str) -> None:
        """The rest of the loop is not for others."""
        loop.say({"loop": loop.place, "off": f"it goes on in this pod: {why}"})
        self._note(f"the rest of its loop stays in this pod: {why}")

    def _turn(self) -> int:
        return self._turns() * TRIES + min(self.attempt, TRIES - 1)

    def _cut(self, event: Mapping[str, Any]) -> tuple[int, Record]:
        """Write down how the loop is cut, unless that was done before. Raises Jup2KubError."""
        place, store = str(event["place"]), self.session.store
        known = self._known.get(place)
        if known is not None and known[1]["value"] == event["key"] and known[1]["done"] == event["done"]:
            return known
        part = {
            "place": place,
            "key": event["key"],
            "done": event["done"],
            "pace": event["pace"],
            "seeded": event["seeded"],
            "before": event["before"],
        }
        document = canonical({**self._letter(), "part": part})
        record = {
            "status": "loop",
            "key": self._key,
            "value": event["key"],
            "place": place,
            "done": event["done"],
            "pace": event["pace"],
            "chunks": [[int(start), int(stop)] for start, stop in event["chunks"]],
            "blobs": [{"sha256": store.put_blob(document), "bytes": len(document)}],
        }
        while True:
            slot = store.next_generation(self._slot(0, 0))
            won, holds = store.commit(slot, record)
            if won:
                return slot.generation, record
            if holds is None or holds["status"] == "cancelled":
                raise Interrupted("J2K601", "the run was cancelled", "start it again with `jup2kub run`")

    def _finished(self, generation: int, numbers: list[int]) -> dict[int, Record]:
        store = self.session.store
        found = {n: store.record(self._slot(n, generation)) for n in numbers}
        return {n: record for n, record in found.items() if record is not None and store.valid(record)}

    # -- the server ----------------------------------------------------------------------------------------------

    def _spread(self, loop: Loop, numbers: list[int]) -> None:
        if numbers:
            body = {
                "owner": self.owner,
                "loop": loop.name,
                "cell": self.cell,
                "generation": loop.generation,
                "turn": loop.turn,
                "cpu": 1.0,
                "letter": loop.record["blobs"][0],
                "chunks": [[n, *loop.range(n)] for n in numbers],
            }
            self._ask("spread", body)

    def say_again(self) -> None:
        """The server may have forgotten what is out: say it again."""
        loop = self.loop
        if loop is not None:
            self._spread(loop, sorted(loop.out - set(loop.queue)))
            self._wait(True)

    def settled(self, letter: Mapping[str, Any]) -> None:
        """A chunk has come to its end, or will never be done by another agent."""
        loop = self.loop
        name, _, number = str(letter["task"]).rpartition(".")
        if loop is None or name != loop.name or int(number) not in loop.out:
            return
        told = letter["outcome"] or {}
        if letter["state"] == COMMITTED:
            self._do(self._fetch(loop, int(number)))
        elif told.get("kind") == "raised":
            self._off(loop, told["reason"])
        else:
            self._back(loop, int(number), {"path": None, "why": str(letter["reason"])})

    async def _fetch(self, loop: Loop, number: int) -> None:
        try:
            record = await asyncio.to_thread(self.session.store.record, self._slot(number, loop.generation))
        except Jup2KubError:
            record = None
        await self._bring(loop, number, record or {"blobs": []})

    async def _bring(self, loop: Loop, number: int, record: Record) -> None:
        """Give the kernel the record of a chunk, and the files that it wrote, from the store."""
        if record.get("reason"):
            self._back(loop, number, {"path": None, "reason": record["reason"]})
            return
        try:
            path, files = await asyncio.to_thread(self._download, record)
        except (Jup2KubError, IndexError) as problem:
            self._back(loop, number, {"path": None, "why": f"its result is not in the store: {problem}"})
            return
        self._back(loop, number, {"path": path, "files": files})

    def _download(self, record: Record) -> tuple[str, dict[str, Any]]:
        store, project = self.session.store, self.session.terms.project
        blob, files = record["blobs"][0], {}
        for name, inner in record["names"].items():
            image = record["files"].get(inner)
            source = str(store.blob_path(image["sha256"], image["bytes"])) if image else None
            files[name] = {
                "path": str(project / inner),
                "source": source,
                "mode": image["mode"] if image else 0,
                "folder": inner in record["folders"],
            }
        return str(store.blob_path(blob["sha256"], blob["bytes"])), files

    def _back(self, loop: Loop, number: int, news: Mapping[str, Any]) -> None:
        loop.out.discard(number)
        loop.say({"loop": loop.place, "chunk": list(loop.range(number)), **news})
        if loop.queue and self.loop is loop:
            self._do(self._send(loop, [loop.queue.pop(0)]))

    def _wait(self, waiting: bool) -> None:
        self.desk.say({"event": "waits", "task": self.owner, "attempt": self.attempt, "waiting": waiting})

    def _end(self) -> None:
        """The loop is done, or goes on here: nothing more of it is wanted."""
        loop, self.loop = self.loop, None
        if loop is not None:
            self._wait(False)
            body = {"loop": loop.name, "turn": loop.turn}
            self._do(asyncio.to_thread(self._ask, "gathered", body))

    def _ask(self, what: str, body: Mapping[str, Any]) -> None:
        self.desk.ask(what, body)

    def over(self) -> None:
        """See `Spreads`. A loop that was cut short by the death of its kernel goes on: its chunks are wanted again."""
        if self.loop is not None:
            self.loop = None
            self._wait(False)
        if self in self.desk.senders:
            self.desk.senders.remove(self)
