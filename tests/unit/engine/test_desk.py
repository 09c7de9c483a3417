"""The run server without its socket: letters, reports, restarts, sweeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from jup2kub.engine.budgets import Config
from jup2kub.engine.server.desk import Desk
from jup2kub.engine.server.floor import Flights, Floor
from jup2kub.engine.server.hall import Hall
from jup2kub.errors import StoreProblem
from jup2kub.kit.canon import canonical, digest, to_json
from jup2kub.model.job import Job
from jup2kub.model.plan import PLAN_VERSION, CellPlan, Plan
from jup2kub.store import BlobRef, RunKey, Slot
from jup2kub.store.memory import MemoryStore


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def job(cells: int = 3, parameters: str = "") -> Job:
    plans = tuple(CellPlan(i) for i in range(cells))
    plan = Plan(PLAN_VERSION, "static", 2, "source", plans, tuple(range(cells)), (), (), (), ())
    texts = {i: f"x{i} = {i}" for i in range(cells)}
    keys = {i: f"key-{i}" for i in range(cells)}
    return Job("run", plan, texts, keys, "/home/ada/nb.ipynb", "/home/ada", parameters=parameters)


class Lab:
    """A desk with a store and a clock of its own."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), Clock()
        self.run = self.store.open_run(RunKey("/nb.ipynb", "source")).id
        self.desk = self.again()

    def again(self) -> Desk:
        return Desk(self.store, self.run, job(), BlobRef("0" * 64, 1), Config(), self.clock)

    def join(self, worker: str, desk: Desk | None = None, running: list[Any] | None = None) -> Any:
        offer = {"image": "", "cpu": 1.0, "memory": 0, "gpu": 0, "about": {"pod": worker}}
        return (desk or self.desk).join({"worker": worker, "running": running or [], **offer})

    def letters(self, worker: str, acked: int = 0, desk: Desk | None = None) -> list[Mapping[str, Any]]:
        found = (desk or self.desk).poll({"worker": worker, "acked": acked, "wait": 0.0})
        return list(found["letters"])

    def send(self, cell: int, turn: int, desk: Desk | None = None, inputs: tuple[int, ...] = ()) -> None:
        wanted = [{"cell": i, "generation": 0, "near": True} for i in inputs]
        body = {"task": f"cell-{cell}", "cell": cell, "turn": turn, "generation": 0, "inputs": wanted}
        (desk or self.desk).send(body)

    def commit(self, step: str, desk: Desk | None = None) -> None:
        slot = Slot(self.run, step)
        won, record = self.store.commit(slot, {"status": "ok", "by": step})
        assert won
        assert record is not None
        (desk or self.desk).committed(slot, record)

    def report(self, worker: str, number: int, **event: Any) -> None:
        self.desk.report({"worker": worker, "events": [{"number": number, **event}]})


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_the_first_agent_gets_the_main_line_and_keeps_the_letter_until_it_says_so(lab: Lab) -> None:
    told = lab.join("w1")
    assert told["run"] == lab.run
    (letter,) = lab.letters("w1")
    assert (letter["do"], letter["task"], letter["attempt"]) == ("start", "main", 1)
    assert lab.letters("w1") == [letter]
    assert lab.letters("w1", acked=letter["number"]) == []


def test_a_sent_cell_goes_to_another_agent_and_its_end_is_told_to_the_main_line(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.send(1, turn=1)
    (start,) = lab.letters("w2")
    assert (start["do"], start["task"], start["generation"]) == ("start", "cell-1", 0)
    lab.commit("cell-1")
    settled = lab.letters("w1")[-1]
    assert (settled["do"], settled["task"], settled["state"], settled["turn"]) == (
        "settled",
        "cell-1",
        "COMMITTED",
        1,
    )


def test_a_cell_waits_for_what_it_reads(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.send(1, turn=1)
    lab.send(2, turn=2, inputs=(1,))
    assert [x["task"] for x in lab.letters("w2")] == ["cell-1"]
    lab.commit("cell-1")
    assert [x["task"] for x in lab.letters("w2") if x["do"] == "start"] == ["cell-1", "cell-2"]


def test_a_main_line_that_waits_lends_its_processor(lab: Lab) -> None:
    lab.join("w1")
    lab.send(1, turn=1)
    assert [x["task"] for x in lab.letters("w1")] == ["main"]
    lab.report("w1", 1, event="waits", attempt=1, waiting=True)
    assert [x["task"] for x in lab.letters("w1")] == ["main", "cell-1"]


def test_a_report_that_comes_twice_is_taken_once(lab: Lab) -> None:
    lab.join("w1")
    lost = {"event": "ended", "task": "main", "attempt": 1}
    outcome = {"kind": "lost", "reason": "killed", "cause": "died", "cell": None}
    for _ in range(3):
        lab.report("w1", 1, **lost, outcome=outcome)
    assert lab.desk.state.tasks["main"].spent == {"infrastructure": 1}


def test_an_exception_of_a_cell_reaches_the_main_line_as_it_was(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.send(1, turn=1)
    raised = {"kind": "raised", "early": True, "cell": 1, "outcome": {"index": 1}}
    lab.report("w2", 1, event="ended", task="cell-1", attempt=1, outcome=raised)
    settled = lab.letters("w1")[-1]
    assert settled["outcome"] == raised


def test_an_agent_that_is_silent_loses_its_claim_and_not_its_work(lab: Lab) -> None:
    for worker in ("w1", "w2", "w3"):
        lab.join(worker)
    lab.send(1, turn=1)
    lab.clock.now += 16
    for worker in ("w1", "w3"):
        lab.desk.beat({"worker": worker})
    lab.desk.tick()
    again = [x for x in lab.letters("w3") if x["do"] == "start"]
    assert [(x["task"], x["attempt"]) for x in again] == [("cell-1", 2)]
    lab.commit("cell-1")
    assert lab.desk.state.tasks["cell-1"].state == "COMMITTED"


def test_a_server_that_starts_again_waits_for_the_main_line_it_had(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.store.main_epoch(lab.run, 1, {})
    lab.send(1, turn=1)
    second = lab.again()
    lab.join("w3", second)
    assert lab.letters("w3", desk=second) == []
    lab.join("w2", second, running=[["cell-1", 1, "RUNNING"]])
    lab.join("w1", second, running=[["main", 1, "RUNNING"]])
    lab.send(1, turn=1, desk=second)
    assert [x for w in ("w1", "w2", "w3") for x in lab.letters(w, desk=second)] == []
    lab.commit("cell-1", second)
    assert [x["task"] for x in lab.letters("w1", desk=second)] == ["cell-1"]


def test_a_cell_sent_again_is_held_until_whoever_runs_it_had_time_to_join(lab: Lab) -> None:
    lab.store.main_epoch(lab.run, 1, {})
    second = lab.again()
    lab.join("w1", second, running=[["main", 1, "RUNNING"]])
    lab.join("w3", second)
    lab.send(1, turn=1, desk=second)
    assert lab.letters("w3", desk=second) == []
    lab.join("w2", second, running=[["cell-1", 1, "RUNNING"]])
    lab.clock.now += 7
    second.tick()
    assert lab.letters("w3", desk=second) == []
    lab.send(2, turn=2, desk=second)
    assert [x["task"] for x in lab.letters("w3", desk=second)] == ["cell-2"]


def test_a_server_that_starts_again_offers_a_main_line_that_is_gone(lab: Lab) -> None:
    lab.join("w1")
    lab.store.main_epoch(lab.run, 1, {})
    second = lab.again()
    lab.join("w2", second)
    lab.clock.now += 10
    second.beat({"worker": "w2"})
    lab.clock.now += 6
    second.tick()
    assert [(x["task"], x["attempt"]) for x in lab.letters("w2", desk=second)] == [("main", 2)]


def test_what_ended_while_no_server_was_there_is_settled_when_it_is_sent_again(lab: Lab) -> None:
    lab.store.main_epoch(lab.run, 1, {})
    lab.store.commit(Slot(lab.run, "cell-1"), {"status": "ok"})
    second = lab.again()
    lab.join("w1", second, running=[["main", 1, "RUNNING"]])
    lab.send(1, turn=5, desk=second)
    (letter,) = lab.letters("w1", desk=second)
    assert (letter["do"], letter["state"], letter["turn"]) == ("settled", "COMMITTED", 5)


def test_who_follows_misses_nothing_that_a_later_server_tells(lab: Lab) -> None:
    for text in "abc":
        lab.desk.note(text)
    seen = lab.desk.events({"after": 0, "wait": 0.0})
    assert [e["text"] for e in seen["events"]] == ["a", "b", "c"]
    assert lab.desk.events({"after": seen["last"], "wait": 0.0})["events"] == []
    time.sleep(0.01)  # a server takes longer than that to start
    second = lab.again()
    second.note("d")
    assert [e["text"] for e in second.events({"after": seen["last"], "wait": 0.0})["events"]] == ["d"]


def test_the_end_of_the_main_line_sends_everybody_home(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.commit("main")
    assert lab.desk.ended is True
    assert [lab.letters(w)[-1]["do"] for w in ("w1", "w2")] == ["leave", "leave"]
    assert lab.join("w3")["run"] == lab.run
    assert lab.letters("w3")[-1]["do"] == "leave"


def test_a_cancelled_run_takes_no_commit(lab: Lab) -> None:
    lab.join("w1")
    lab.desk.cancel({"reason": "enough"})
    assert lab.desk.ended is False
    assert not lab.store.commit(Slot(lab.run, "main"), {"status": "ok"}).won


def test_an_agent_that_nobody_knows_is_told_to_join(lab: Lab) -> None:
    with pytest.raises(StoreProblem) as caught:
        lab.letters("stranger")
    assert caught.value.code == "J2K524"


# a whole hall


def submit(hall: Hall, wanted: Job, number: int = 0) -> str:
    document = canonical(to_json(wanted))
    hall.store.put_blob(document)
    body = {"sha256": digest(document), "bytes": len(document), "set": number}
    return str(hall.site.post("job", body)["run"])


def offer(worker: str) -> dict[str, Any]:
    return {"worker": worker, "image": "", "cpu": 1.0, "memory": 0, "gpu": 0, "about": {}, "running": []}


def test_the_same_job_twice_is_one_run_and_another_is_refused() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    assert hall.site.post("join", offer("w1")) == {"job": None}
    assert submit(hall, job()) == submit(hall, job())
    with pytest.raises(StoreProblem) as caught:
        submit(hall, job(parameters="other"))
    assert caught.value.code == "J2K525"


def test_a_run_that_failed_goes_on_by_a_new_job_and_ends_anew() -> None:
    store = MemoryStore()
    first = Hall(store, "secret", "run")
    run = submit(first, job())
    assert first.desk is not None
    store.commit(first.desk.end, {"status": "failed"})
    first.desk.committed(first.desk.end, {"status": "failed"})
    first.tick()
    assert store.runs()[0].state == "failed"
    second = Hall(store, "secret", "another")
    again = replace(job(), name="another")
    assert submit(second, again) == run
    assert second.desk is not None
    assert second.desk.ended is None
    assert second.desk.end == Slot(run, "main", 0, 1)
    assert second.site.post("result", {})["record"] is None


def test_a_second_server_of_a_run_has_a_higher_epoch_and_the_first_finds_out() -> None:
    store = MemoryStore()
    first = Hall(store, "secret", "run")
    run = submit(first, job())
    store.close_run(run, "interrupted")  # as when its process is gone
    second = Hall(store, "secret", "run")
    assert second.resume()
    assert second.desk is not None
    assert second.desk.run == run
    assert second.site.epoch > first.site.epoch
    first.tick()
    assert first.site.fenced.is_set()
    second.tick()
    assert not second.site.fenced.is_set()


def test_agents_spread_over_the_sets_of_a_sweep_and_go_where_work_waits() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    runs = [submit(hall, job(parameters=str(n)), n) for n in range(3)]
    assert len(set(runs)) == 3
    given = [hall.site.post("join", offer(f"w{n}"))["run"] for n in range(2)]
    assert len(set(given)) == 2
    done = hall.floor.of({"worker": "w0"})
    slot = Slot(done.run, "main")
    done.committed(slot, hall.store.commit(slot, {"status": "ok"}).record or {})
    assert hall.site.post("leave", {"worker": "w0"}) == {"more": True}
    third = hall.site.post("join", offer("w0-2"))["run"]
    assert {*given, third} == set(runs)


def test_what_sets_share_is_done_by_one_and_again_if_that_one_fails() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    for n in range(2):
        submit(hall, job(parameters=str(n)), n)
        hall.site.post("join", offer(f"w{n}"))
    ask = {"key": "k", "seen": -1, "wait": 0.0}
    assert hall.site.post("first", {**ask, "worker": "w0"}) == {"first": True}
    assert hall.site.post("first", {**ask, "worker": "w0"}) == {"first": True}
    told = hall.site.post("first", {**ask, "worker": "w1"})
    assert told["first"] is None
    hall.site.post("land", {"key": "k", "kept": True, "worker": "w0"})
    assert hall.site.post("first", {**ask, "seen": told["seen"], "worker": "w1"}) == {"first": False}


def test_flights_of_a_set_that_has_ended_are_taken_over() -> None:
    store = MemoryStore()
    floor = Floor()
    for n in range(2):
        run = store.open_run(RunKey("/nb.ipynb", "source", str(n))).id
        floor.add(n, Desk(store, run, job(), BlobRef("0" * 64, 1), Config(), Clock()))
        floor.join(offer(f"w{n}"))
    flights = Flights(floor)
    ask = {"key": "k", "seen": -1, "wait": 0.0}
    assert flights.first({**ask, "worker": "w0"})["first"]
    floor.desks[0].give_up("enough")
    assert flights.first({**ask, "worker": "w1"})["first"]


def test_what_is_new_in_any_set_is_heard_at_once_and_ends_are_told() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    for n in range(3):
        submit(hall, job(parameters=str(n)), n)
    silent = {"after": {str(n): 0 for n in range(3)}, "wait": 0.0}
    assert hall.site.post("news", silent) == {"sets": {}}
    heard: list[Any] = []
    listener = threading.Thread(target=lambda: heard.append(hall.site.post("news", {**silent, "wait": 30.0})))
    listener.start()
    while not hall.floor.heeded:
        listener.join(0.01)
    hall.floor.desks[1].note("hello")
    listener.join(10)
    assert not listener.is_alive()
    told = heard[0]["sets"]
    assert list(told) == ["1"]
    assert [e["text"] for e in told["1"]["events"]] == ["hello"]
    again = {"after": {"1": told["1"]["last"], "2": 0}, "wait": 0.0}
    assert hall.site.post("news", again) == {"sets": {}}
    hall.floor.desks[2].give_up("enough")
    assert hall.site.post("news", again)["sets"]["2"]["ended"] is False


def test_a_sweep_is_cancelled_and_looked_at_as_a_whole() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    for n in range(2):
        submit(hall, job(parameters=str(n)), n)
        hall.site.post("join", offer(f"w{n}"))
    told = hall.site.post("status", {})
    assert {t["set"] for t in told["tasks"]} == {0, 1}
    assert told["sets"] == {"0": None, "1": None}
    assert hall.site.post("status", {"set": 1})["run"] == hall.floor.desks[1].run
    hall.site.post("cancel", {"reason": "enough"})
    assert [d.ended for d in hall.floor.desks.values()] == [False, False]
    assert hall.site.post("status", {})["sets"] == {"0": False, "1": False}


def test_before_there_is_a_job_who_asks_hears_that_and_nothing_of_agents() -> None:
    hall = Hall(MemoryStore(), "secret", "run")
    with pytest.raises(StoreProblem, match="no job yet: it comes after the project's files"):
        hall.site.post("status", {})


def test_what_is_spent_is_not_forgiven_by_a_server_that_starts_again(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    lab.send(1, turn=1)
    for number in (1, 2):
        outcome = {
            "kind": "lost",
            "cell": 1,
            "reason": "memory ran out",
            "cause": "memory",
            "peak": 100 << 20,
        }
        lab.report("w2", number, event="ended", task="cell-1", attempt=number, outcome=outcome)
        lab.clock.now += 120.0
        for worker in ("w1", "w2"):
            lab.desk.beat({"worker": worker})
        lab.desk.tick()
    again = lab.again()
    known = again.state.tasks["cell-1"]
    assert (dict(known.spent), known.number, known.memory) == ({"memory": 2}, 2, 400 << 20)
    fresh = Desk(lab.store, lab.run, job(), BlobRef("0" * 64, 1), Config(), lab.clock, round_=1)
    assert not fresh.state.tasks["cell-1"].spent, "who runs once more has all budgets again"


def test_a_cell_that_kills_the_main_kernel_is_remembered_by_the_next_server(lab: Lab) -> None:
    lab.join("w1")
    told = {"kind": "start", "cell": 2, "where": "main"}
    lab.report("w1", 1, event="told", task="main", attempt=1, told=told)
    lab.desk.left("w1", "its node is gone")
    again = lab.again()
    lab.join("w2", again)
    lab.clock.now += 60.0
    again.beat({"worker": "w2"})
    again.tick()
    (letter,) = lab.letters("w2", desk=again)
    assert (letter["task"], letter["deaths"]) == ("main", {"2": 1})


def test_a_record_that_is_there_when_a_cell_is_sent_ends_it(lab: Lab) -> None:
    lab.join("w1")
    lab.join("w2")
    won, _ = lab.store.commit(Slot(lab.run, "cell-1"), {"status": "ok", "by": "an earlier sending"})
    assert won
    lab.send(1, turn=1)
    assert not lab.letters("w2")
    settled = lab.letters("w1")[-1]
    assert (settled["do"], settled["state"], settled["turn"]) == ("settled", "COMMITTED", 1)
