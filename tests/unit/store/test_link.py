"""Requests with patience: what is lost is asked again, and an older server is not believed."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from jup2kub.engine.server.storeapi import StoreApi
from jup2kub.engine.server.web import Site, answered
from jup2kub.errors import Interrupted, StoreProblem
from jup2kub.store import Missing, RunKey, Slot
from jup2kub.store.link import EPOCH, REQUEST, Answer, Link, telling
from jup2kub.store.memory import MemoryStore


class Script:
    """A transport that gives prepared answers; an exception is raised."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Mapping[str, str]] = []

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        self.asked.append(dict(headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def good(value: Any, epoch: int = 1) -> Answer:
    return Answer(200, {EPOCH.lower(): str(epoch)}, json.dumps(value).encode())


def test_a_request_that_got_no_answer_is_sent_again_under_its_number() -> None:
    script = Script(ConnectionResetError(), Answer(503, {}, b""), good({"n": 1}))
    assert Link(script, "t").ask("/v1/x", {}) == {"n": 1}
    assert len({a[REQUEST] for a in script.asked}) == 1
    assert len(script.asked) == 3


def test_an_answer_of_an_older_server_is_not_believed() -> None:
    script = Script(good(1, epoch=3), good("old", epoch=2), good("new", epoch=3))
    link = Link(script, "t")
    link.ask("/v1/x", {})
    assert link.ask("/v1/x", {}) == "new"
    assert script.asked[-1][EPOCH] == "3"


def test_patience_ends_with_the_way_out() -> None:
    with pytest.raises(StoreProblem) as caught:
        Link(Script(OSError("no route")), "t", patience=0.0).ask("/v1/x", {})
    assert caught.value.code == "J2K520"
    assert "no route" in caught.value.message


def test_a_process_that_ends_waits_for_nobody() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreProblem):
        Link(Script(OSError()), "t", stop=stop).ask("/v1/x", {})


@pytest.mark.parametrize("problem", [Missing("J2K510", "gone", "again"), Interrupted("J2K603", "another")])
def test_errors_cross_the_line_with_family_code_and_hint(problem: Any) -> None:
    told = Answer(409, {EPOCH.lower(): "1"}, json.dumps(telling(problem)).encode())
    with pytest.raises(type(problem)) as caught:
        Link(Script(told), "t").ask("/v1/x", {})
    assert (caught.value.code, caught.value.hint) == (problem.code, problem.hint)


def test_a_main_line_that_was_replaced_commits_nothing() -> None:
    store = MemoryStore()
    run = store.open_run(RunKey("/nb", "s")).id
    store.main_epoch(run, 1, {})
    store.main_epoch(run, 2, {})
    api = StoreApi(store)
    slot = {"run": run, "step": "cell-1", "chunk": 0, "generation": 0}
    with pytest.raises(Interrupted):
        api.call("commit", {"slot": slot, "record": {"status": "ok"}, "main_epoch": 1})
    assert store.record(Slot(run, "cell-1")) is None
    assert api.call("commit", {"slot": slot, "record": {"status": "ok"}, "main_epoch": 2})["won"]


def test_a_torn_upload_is_gone_on_with_and_a_wrong_one_thrown_away() -> None:
    store = MemoryStore()
    api = StoreApi(store)
    name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert api.have(name, 3) == -1
    assert api.put(name, 3, 0, b"a") == 1
    assert api.have(name, 3) == 1
    assert api.put(name, 3, 2, b"c") == 1
    assert api.put(name, 3, 1, b"bc") == 3
    assert api.get(name, 3, 1, 2) == b"bc"
    other = "0" * 64
    with pytest.raises(StoreProblem):
        api.put(other, 2, 0, b"xy")
    assert api.have(other, 2) == -1
    store.close()


def test_unknown_requests_are_refused_in_words() -> None:
    site = Site(StoreApi(MemoryStore()), "secret")
    for path in ("nonsense", "store/nonsense"):
        status, body, _ = answered(lambda path=path: site.post(path, {}))  # type: ignore[misc]
        assert status == 409
        assert json.loads(body)["error"]["code"] == "J2K522"
