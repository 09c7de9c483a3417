"""What acts on the world is announced exclusively, and never repeated by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jup2kub.agent.intents import announce
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.session import Session, Terms
from jup2kub.errors import Interrupted
from jup2kub.model.plan import PLAN_VERSION, CellPlan, Plan
from jup2kub.store import RunKey
from jup2kub.store.memory import MemoryStore

ACTING = CellPlan(0, effects=frozenset({"network"}))


def session(store: MemoryStore, folder: Path, **more: Any) -> Session:
    """A main line of one cell; each call is another one, of the same run."""
    run = next((r.id for r in store.runs()), "") or store.open_run(RunKey("/nb.ipynb", "source")).id
    plan = Plan(PLAN_VERSION, "static", 1, "source", (ACTING,), (0,), (), (), (), ())
    terms = Terms(run, folder, **more)
    return Session(plan, {0: "act()"}, store, terms, "world", lambda told: None, {0: "key"}, UndoLog(folder))


def refused(made: Session) -> str:
    with pytest.raises(Interrupted) as caught:
        announce(made, ACTING)
    return caught.value.code


def test_what_may_have_acted_is_refused_until_the_user_says_so_and_then_once(tmp_path: Path) -> None:
    store = MemoryStore()
    announce(session(store, tmp_path), ACTING)
    assert refused(session(store, tmp_path)) == "J2K602"
    redo = frozenset({0})
    announce(session(store, tmp_path, redo=redo, asked="by hand"), ACTING)
    assert refused(session(store, tmp_path, redo=redo, asked="by hand")) == "J2K602"
    announce(session(store, tmp_path, redo=redo, asked="once more"), ACTING)


def test_of_two_main_lines_that_come_to_it_at_the_same_moment_one_acts(tmp_path: Path) -> None:
    store = MemoryStore()
    one, other = session(store, tmp_path), session(store, tmp_path)
    # The other one announces between the question and the announcement of the first.
    asked = store.intents

    def intents(run: str) -> Any:
        found = dict(asked(run))
        store.intents = asked  # type: ignore[method-assign]
        announce(other, ACTING)
        return found

    store.intents = intents  # type: ignore[method-assign]
    assert refused(one) == "J2K602"


def test_after_a_cancel_nothing_acts(tmp_path: Path) -> None:
    store = MemoryStore()
    made = session(store, tmp_path)
    store.cancel(made.terms.run, {"reason": "enough"})
    assert refused(made) == "J2K601"
