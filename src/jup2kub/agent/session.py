"""One run on one machine: what is committed, what may be adopted, and the words about it.

The same object serves the main line and the steps; it owns no process.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from jup2kub.agent.aside import Aside, at_once
from jup2kub.agent.files import post_images, put_back
from jup2kub.agent.flights import Flights
from jup2kub.agent.inputs import Inputs
from jup2kub.agent.judge import Mispredicted, beyond, moved_by_imports
from jup2kub.agent.kernel import CellResult
from jup2kub.agent.keys import Keys, with_environment
from jup2kub.agent.observed import file_digest, met, observe, still
from jup2kub.agent.recipe import Needs, adoptable, needs, read_later
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.room import Room
from jup2kub.errors import Interrupted
from jup2kub.kit.canon import digest, from_json, to_json
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan, Plan, with_edges
from jup2kub.model.run import CellOutcome
from jup2kub.store import Slot, Store

Record = Mapping[str, Any]
UNREPEATABLE = frozenset({"network", "process", "clock", "unseeded", "shell", "device", "outside", "input"})


@dataclass(frozen=True)
class Terms:
    """What this run was asked for."""

    run: str
    project: Path
    """The folder the notebook runs in."""
    workers: int = 1
    fresh: bool = False
    """Ignore results of other runs."""
    keep_going: bool = False
    fork: bool = True
    offload: str = "auto"
    digests: bool = False
    """Take digests of variables and files after every cell, for `verify`."""
    keep_undo: bool = False
    """Keep what files were before every cell, so that the whole run can be undone."""
    redo: frozenset[int] = frozenset()
    """Cells with effects that may act again although an earlier attempt may have acted."""
    asked: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names the user's call: for each, a cell of `redo` acts once more, and not at every try."""
    skip: frozenset[int] = frozenset()
    """Cells that are left out."""
    collect: tuple[str, ...] = ()
    """Variables whose last values are wanted."""
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """One thing worth telling the user while the run goes on."""

    kind: str
    """`start`, `done`, `adopted`, `retry`, `note`, `output`."""
    cell: int | None = None
    where: str = "main"
    text: str = ""
    seconds: float | None = None
    """Predicted (start) or measured (done)."""


class Session:
    """The state of one run that outlives its kernels."""

    def __init__(
        self,
        plan: Plan,
        sources: Mapping[int, str],
        store: Store,
        terms: Terms,
        world: str,
        tell: Callable[[Told], None],
        profile_keys: Mapping[int, str],
        undo: UndoLog,
    ) -> None:
        self.store, self.terms, self.tell = store, terms, tell
        self.room = Room(lambda text: self.tell(Told("note", text=text)))
        self.sources = dict(sources)
        self.world, self.undo = world, undo
        self.outcomes: dict[int, CellOutcome] = {}
        self.met: dict[int, str] = {}
        """What each cell met outside the notebook, for the keys of later cells."""
        self.records: dict[int, Record] = {}
        self.facts: dict[int, Facts] = {}
        self.flights: Flights | None = None
        """Shared with other runs of a sweep; None = this run is alone."""
        self.collected: dict[str, Any] = {}
        self.left_files: dict[str, str | None] = {}
        """Digests of the files that were written, as the run left them."""
        self.generations: dict[int, int] = {}
        """Generations of the slots that cells are to be committed to, where somebody else has chosen them."""
        self.looked: dict[int, int] = {}
        """Latest generation of each cell when its records were looked at; -1 = there was none."""
        self.aside: Aside = at_once
        """Carries out what may have to wait for the store."""
        self.fence: Callable[[], None] = lambda: None
        """Called before each cell of the main line; raises Interrupted where another main line has taken over."""
        self.see: Callable[[], set[str]] = set
        """Returns the files found changed after a cell, where it runs alone in a folder of its own."""
        self.look_again: Callable[[], Plan] | None = None
        """Plans once more with all that was learned; None = nobody can, and this plan is all that is known."""
        self.inputs = Inputs()
        self.untrusted: set[int] = set()
        """Cells whose earlier commits in this run rest on a broken assumption."""
        self.use(plan, profile_keys)

    def use(self, plan: Plan, profile_keys: Mapping[int, str]) -> None:
        """Go by this plan from now on."""
        self.plan, self.profile_keys = plan, profile_keys
        self.cells: dict[int, CellPlan] = {c.index: c for c in plan.cells}
        self.counts = {c.index: n for n, c in enumerate(plan.cells, 1)}
        self.step_of = {i: s.id for s in plan.steps if s.kind == "cells" for i in s.cells}
        self.needs: Needs = needs(plan)
        self.keys = Keys(plan, with_environment(self.sources, self.terms.environ), self.world, self.met)
        self.read_later: dict[int, frozenset[str]] = read_later(self.needs, self.cells)

    def slot(self, cell: int) -> Slot:
        """Return the first place of the cell's commit in this run."""
        return Slot(self.terms.run, f"cell-{cell}")

    def available(self, cell: int, name: str) -> bool:
        """Return whether that version can be loaded from the store."""
        record = self.records.get(cell)
        return record is not None and any(name in v["names"] for v in record["values"])

    def mates(self, cell: int, names: frozenset[str], reader: int) -> frozenset[str]:
        """Return `names` of the versions that `cell` made, and those saved with them that are current at `reader`.

        Names that may share an object are loaded together, or the sharing would be lost.
        """
        record = self.records.get(cell)
        entries = record["values"] if record is not None else ()
        together = {n for v in entries if names & set(v["names"]) for n in v["names"]}
        over = {n for c in self.plan.cells if cell < c.index < reader for n in c.writes}
        return names | frozenset(together - over)

    def refers(self, cell: int, name: str) -> frozenset[int]:
        """Return the cells whose definitions the stored version of `name` refers to."""
        record = self.records.get(cell)
        entries = record["values"] if record is not None else ()
        return frozenset(c for v in entries if name in v["names"] for c in v["cells"])

    @property
    def off(self) -> frozenset[int]:
        """Cells that the plan lets leave the main line."""
        return frozenset(self.step_of)

    def leave(self, state: str) -> None:
        """The process is through with the run: note how its files are, and put them back if it was a rehearsal."""
        self.inputs.report(self.terms.project, self.facts.values(), self.room.say)
        if self.terms.digests:
            names = {n for facts in self.facts.values() for n in facts.files_written}
            self.left_files = {n: file_digest(self.terms.project / n) for n in sorted(names)}
        if self.terms.keep_undo:
            self.undo.take_back()
        if state == "done":
            shutil.rmtree(self.store.workshop(self.terms.run)[0], ignore_errors=True)
        if self.terms.keep_undo or state == "done":
            self.undo.forget()
        else:
            self.undo.leave()

    def digests_of_files(self, facts: Facts) -> dict[str, str | None]:
        """Return the digest of every file that a cell wrote, as it is now; None = gone."""
        if not self.terms.digests:
            return {}
        return {name: file_digest(self.terms.project / name) for name in facts.files_written}

    def facts_of(self, cell: CellPlan, result: CellResult) -> Facts:
        """Return what was seen of an execution.

        Settings that moved while the cell imported libraries are the libraries' own doing: whoever imports them has
        them too. A generator that no cell has seeded carries no promise.
        """
        facts = replace(result.facts, raised=result.status != "ok", seconds=result.seconds)
        unseen = self.see() - set(facts.files_written)
        if unseen:
            facts = replace(facts, files_written=(*facts.files_written, *sorted(unseen)))
        loose = (
            {n for n in facts.mutated if n.startswith("@rng:")} - result.seeded - self.made_before(cell.index)
        )
        loose |= moved_by_imports(facts) - cell.writes
        return replace(facts, mutated=facts.mutated - loose)

    def made_before(self, index: int) -> set[str]:
        """Return the names and resources of which earlier cells make versions, by the plan."""
        return {n for c in self.plan.cells if c.index < index for n in c.writes}

    def map_loops(self, cell: CellPlan) -> tuple[Mapping[str, Any], ...]:
        """Return the loops in the cell's text that may be map steps, as the kernel wants them."""
        return tuple(to_json(loop) for loop in cell.loops)

    def map_settings(self, cell: CellPlan) -> Mapping[str, Any]:
        """Return what an execution of the cell is to know of its loops' past, and where their chunks are kept."""
        found: dict[str, Any] = {"expected": cell.loop_seconds}
        discreet = any(c.secret for c in self.plan.cells)
        if cell.cache is not False and cell.index not in self.untrusted and not discreet:
            folder, secret = self.store.workshop(self.terms.run)
            key = digest([self.keys.of(cell.index), sorted(self.terms.environ.items())])
            found.update(
                chunk_folder=str(folder / f"cell-{cell.index}"), chunk_key=key[:24], chunk_secret=secret
            )
        return found

    def distrust(self, cell: int) -> None:
        """Use the cell's record no more."""
        self.records.pop(cell, None)
        self.untrusted.add(cell)

    def hold(self, cell: int, saved: list[Mapping[str, Any]]) -> None:
        """Note values of an uncommitted cell that were saved only for others to load; twice is as good as once."""
        old = self.records.get(cell) or {"values": [], "deleted": [], "held": True}
        new = [value for value in saved if value not in old["values"]]
        self.records[cell] = {**old, "values": [*old["values"], *new]}

    def forget(self, wrong: Mispredicted, start: int | None) -> None:
        """Keep what was found of a cell for ever, and trust nothing that this run made from cell `start` on."""
        self.learn(wrong.cell, wrong.facts)
        for index in list(self.cells):
            if start is None or index >= start:
                self.untrusted.add(index)
                self.records.pop(index, None)
                self.outcomes.pop(index, None)
                self.met.pop(index, None)
        for index in [i for i, r in self.records.items() if r.get("held")]:
            del self.records[index]

    def made_from_these(self, cell: int, record: Record) -> bool:
        """Return whether a record of the cell was made from what this line has: not by one that met something else."""
        return bool(set(record.get("keys", ())) & set(self.keys.all_of(cell)))

    def worth(self, cell: CellPlan) -> bool:
        """Return whether a finished cell of the main line may be committed at all."""
        return cell.cache is not False and not cell.barrier and self._adoptable(cell)

    # -- adopting ------------------------------------------------------------------------------------------------

    def known(self, cell: CellPlan) -> Record | None:
        """Return a committed record that may stand for running the cell, or None."""
        index = cell.index
        if index in self.records and not self.records[index].get("held"):
            return self.records[index]
        if cell.cache is False or index in self.untrusted or cell.barrier or not self._adoptable(cell):
            return None
        latest = self.store.latest(self.terms.run, self.slot(index).step)
        self.looked[index] = latest[0].generation if latest else -1
        found = [latest[1]] if latest else []
        if not self.terms.fresh:
            recalled = (self._recalled(key, cell) for key in self.keys.all_of(index))
            found += [r for r in recalled if r is not None]
        fitting = (r for r in found if self.made_from_these(index, r) and self._stands(cell, r))
        return next(fitting, None)

    def _adoptable(self, cell: CellPlan) -> bool:
        return adoptable(self.read_later[cell.index])

    def _recalled(self, key: str, cell: CellPlan) -> Record | None:
        record = self.store.recall(key, lambda seen: still(seen, self.terms.project, self.terms.environ))
        if record is None or record.get("run") == self.terms.run:
            return record
        return record if record["repeatable"] or cell.cache else None

    def _stands(self, cell: CellPlan, record: Record) -> bool:
        if record["status"] != "ok" or not self.store.valid(record):
            return False
        if not still(record["observed"], self.terms.project, self.terms.environ):
            return False
        loadable = [v for v in record["values"] if cell.lifted or cell.index not in v["cells"]]
        saved = {n for v in loadable for n in v["names"]} | set(record["deleted"])
        saved |= cell.lifted - set(record["facts"]["mutated"])
        return self.read_later[cell.index] <= saved

    def adopt(self, cell: CellPlan, record: Record, again: bool = False) -> None:
        """Take a committed result as the cell's own: outputs, files, facts. Values are loaded when they are read.

        `again`: it was made or taken before in this process, and only its files are wanted.
        """
        put_back(self.terms.project, record["files"], self.store, self.undo.begin(cell.index))
        if again:
            return
        self.records[cell.index] = record
        self._seen(cell.index, from_json(Facts, record["facts"]))
        self.keys.executed(
            cell.index, met(record["observed"], None if record["repeatable"] else record["token"])
        )
        outcome = from_json(CellOutcome, record["outcome"])
        outcome = replace(outcome, index=cell.index, from_store=True, count=self.counts[cell.index])
        self.outcomes[cell.index] = outcome
        self.tell(Told("adopted", cell.index, outcome.where, seconds=outcome.seconds))

    # -- committing ----------------------------------------------------------------------------------------------

    def repeats(self, cell: CellPlan, facts: Facts) -> bool:
        """Return whether the cell would do the same again if it met the same, as planned and as seen."""
        return not (cell.effects | facts.effects) & UNREPEATABLE

    def executed(self, cell: CellPlan, facts: Facts, token: str, observed: Mapping[str, Any]) -> None:
        """Let the keys of later cells depend on what this execution met."""
        self.inputs.met(cell.index, observed)
        self.keys.executed(cell.index, met(observed, None if self.repeats(cell, facts) else token))

    def observe(self, facts: Facts) -> Mapping[str, Any]:
        """Return, right after a cell, the state of what it was seen to depend on."""
        return observe(facts, self.terms.project, self.terms.environ)

    def surroundings(
        self, facts: Facts, observed: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return, right after a cell, the files it wrote and (as `observed`) what it depended on, for its record."""
        files = post_images(self.terms.project, facts.files_written, self.store)
        return files, observed

    def commit(
        self,
        cell: CellPlan,
        outcome: CellOutcome,
        facts: Facts,
        saved: list[Mapping[str, Any]],
        token: str,
        around: tuple[Mapping[str, Any], Mapping[str, Any]],
    ) -> Record:
        """Make the result durable; whoever was first wins, and its record is returned.

        `around`: its `surroundings` when it ended. Raises Interrupted after a cancel.
        """
        files, observed = around
        record = {
            "cell": cell.index,
            "run": self.terms.run,
            "keys": self.keys.all_of(cell.index),
            "status": outcome.status,
            "repeatable": self.repeats(cell, facts),
            "token": token,
            "outcome": to_json(outcome),
            "values": saved,
            "files": files,
            "deleted": sorted(facts.deleted),
            "facts": to_json(facts),
            "observed": observed,
            "committed": time.time(),
        }
        slot, chosen = self.slot(cell.index), self.generations.get(cell.index)
        slot = self.store.next_generation(slot) if chosen is None else replace(slot, generation=chosen)
        won, winner = self.store.commit(slot, record)
        if won:
            for key in record["keys"]:
                self.store.remember(key, slot, observed)
        if winner is None or winner["status"] == "cancelled":
            raise Interrupted("J2K601", "the run was cancelled", "start it again with `jup2kub run`")
        self.records[cell.index] = winner
        return winner

    @property
    def validation_seconds(self) -> float:
        """Seconds that kernels of this run have spent on finding out what cells changed."""
        here = (i for i, outcome in self.outcomes.items() if not outcome.from_store)
        return sum(self.facts[i].validation_seconds for i in here if i in self.facts)

    def learn(self, cell: int, facts: Facts) -> None:
        """Keep what was seen of a cell, for this run and for later plans."""
        with self.room.used():
            self.store.learn(self.profile_keys[cell], facts)
        self._seen(cell, facts)

    def _seen(self, cell: int, facts: Facts) -> None:
        """Let keys and replays of later cells depend on the versions that a cell made beyond its plan."""
        self.facts[cell] = facts
        if self.look_again is not None and beyond(self.cells[cell], facts):
            self.use(with_edges(self.plan, self.look_again()), self.profile_keys)
