"""Chunks of loops at a desk: letters to agents, commits in their slots, servers and agents that come and go."""

from __future__ import annotations

from typing import Any

import pytest
from test_desk import Lab

from jup2kub.engine.tasks import COMMITTED, LOST, MAIN, RUNNING
from jup2kub.store import Slot

NAMES = [f"loop-1.0.{n:05}" for n in (1, 2, 3)]


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.join("w1")
    made.desk.report(
        {"worker": "w1", "events": [{"number": 1, "event": "started", "task": MAIN, "attempt": 1}]}
    )
    for worker in ("w2", "w3"):
        made.join(worker)
    return made


def spread(lab: Lab, turn: int = 256, desk: Any = None) -> None:
    chunks = [[1, 1, 10], [2, 10, 20], [3, 20, 30]]
    body = {"worker": "w1", "owner": MAIN, "loop": "loop-1.0", "cell": 1, "generation": 0, "turn": turn}
    (desk or lab.desk).shares.spread(
        {**body, "cpu": 1.0, "letter": {"sha256": "0" * 64, "bytes": 1}, "chunks": chunks}
    )


def commit(lab: Lab, chunk: int) -> Slot:
    slot = Slot(lab.run, "loop-1", chunk, 0)
    assert lab.store.commit(slot, {"status": "ok", "range": [0, 1]}).won
    return slot


def test_an_agent_is_told_which_iterations_and_where_the_rest_stands(lab: Lab) -> None:
    spread(lab)
    letter = next(found for found in lab.letters("w2") if found["do"] == "start")
    assert (letter["task"], letter["range"], letter["chunk"], letter["at"]) == (NAMES[0], [1, 10], 1, "w1")
    assert letter["loop"] == "loop-1.0"


def test_who_has_the_loop_is_told_what_is_committed(lab: Lab) -> None:
    spread(lab)
    slot = commit(lab, 1)
    outcome = {"kind": "done", "cell": 1, "generation": 0}
    ended = {"number": 1, "event": "ended", "task": NAMES[0], "attempt": 1, "outcome": outcome}
    lab.desk.report({"worker": "w2", "events": [ended]})
    settled = [found for found in lab.letters("w1") if found["do"] == "settled"]
    assert [(s["task"], s["state"]) for s in settled] == [(NAMES[0], COMMITTED)]
    assert lab.desk.shares.slot(NAMES[0], 0) == slot


def test_what_was_committed_while_nobody_looked_is_settled_when_it_is_sent(lab: Lab) -> None:
    commit(lab, 2)
    spread(lab)
    assert lab.desk.state.tasks[NAMES[1]].state == COMMITTED


def test_after_a_server_has_started_again_a_chunk_goes_on_where_it_is(lab: Lab) -> None:
    lab.store.main_epoch(lab.run, 1, {})
    desk = lab.again()
    lab.join("w2", desk, [[NAMES[1], 3, "RUNNING"]])
    lab.join("w1", desk, [[MAIN, 1, "RUNNING"]])
    spread(lab, desk=desk)
    found = [desk.state.tasks[name] for name in NAMES]
    assert [t.state for t in found] == [LOST, RUNNING, LOST]
    assert [(a.worker, a.number) for a in found[1].attempts] == [("w2", 3)]


def test_a_loop_that_is_done_is_forgotten_and_late_words_of_it_too(lab: Lab) -> None:
    spread(lab)
    lab.desk.shares.gathered({"worker": "w1", "loop": "loop-1.0", "turn": 256})
    assert not set(NAMES) & set(lab.desk.state.tasks)
    assert [found["do"] for found in lab.letters("w3")][-1] == "gathered"
    spread(lab)
    assert not set(NAMES) & set(lab.desk.state.tasks)
    spread(lab, turn=512)
    assert set(NAMES) <= set(lab.desk.state.tasks)
