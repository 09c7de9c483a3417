"""A loop in one process whose chunks another one runs: the same answer as plain Python, and what stays says why."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from maphelp import Outcome, run, visible

from jup2kub.kernel import maps
from jup2kub.kernel.mapaway import Away, cut_away
from jup2kub.kernel.maphost import Part
from jup2kub.kernel.maptalk import Talk
from jup2kub.kernel.wire import Channel


class Line:
    """The agent's end of a kernel's control socket."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def hear(self) -> dict[str, Any] | None:
        try:
            head = self.ours.recv(4, socket.MSG_WAITALL)
        except ConnectionResetError:  # it ended before it had read all that was said
            head = b""
        if len(head) < 4:
            return None
        found: dict[str, Any] = json.loads(self.ours.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL))
        return found

    def say(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.ours.sendall(struct.pack(">I", len(body)) + body)


class Pair:
    """Two processes with the same cell, and an agent between them. `other`: the cell of the one that helps."""

    def __init__(self, source: str, other: str = "", **given: Any) -> None:
        self.source, self.given = source, given
        lines = source.splitlines()
        self.line = max(n for n, text in enumerate(lines, 1) if "for x in" in text or "for item in" in text)
        """Of the one loop that goes away: the last."""
        self.near, self.far = Line(), Line()
        self.heard: list[dict[str, Any]] = []
        self.chunks: list[list[int]] = []
        self.helped: list[list[int]] = []
        self.helper = os.fork()
        if self.helper == 0:
            self._help(other or source)

    def _help(self, source: str) -> None:
        try:
            self.near.ours.close()
            self.near.theirs.close()
            self.far.ours.close()
            channel = Channel(self.far.theirs)
            got = channel.receive()
            assert got is not None
            part = Part(Talk(channel), got[0])
            run(source, maps.MapSettings(workers=2, host=part), **self.given)
        finally:
            os._exit(9)

    def run(self) -> Outcome:
        """Run the loop here, with the other's help."""
        threads = [threading.Thread(target=act, daemon=True) for act in (self._from_near, self._from_far)]
        for thread in threads:
            thread.start()
        away = Away(Talk(Channel(self.near.theirs)), {}, (), lambda: "", lambda at: 0.0)
        try:
            return run(self.source, maps.MapSettings(workers=2, cores=lambda n: 1, away=away), **self.given)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.helper, signal.SIGKILL)
            os.waitpid(self.helper, 0)
            for line in (self.near, self.far):
                line.theirs.close()
                line.ours.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive()
            for line in (self.near, self.far):
                line.ours.close()

    def _from_near(self) -> None:
        for event in iter(self.near.hear, None):
            self.heard.append(event)
            if event.get("what") == "wants":
                last = event["place"].split(".")[1] == str(self.line)
                self.near.say({"answer": {"agents": 2 if last else 0}})
            elif event.get("what") == "begin":
                self.place, self.chunks = event["place"], event["chunks"]
                self.near.say({"answer": {"chunks": self.chunks}})
                self.far.say({**event, "seeded": []})

    def _from_far(self) -> None:
        for event in iter(self.far.hear, None):
            self.heard.append(event)
            if event["what"] == "ready":
                for chunk in self.chunks:
                    self.far.say({"run": chunk})
            elif event["what"] == "unfit":
                self.near.say({"loop": self.place, "off": event["why"]})
            elif event["what"] == "chunk":
                self.helped.append(event["chunk"])
                self.near.say({"loop": self.place, "chunk": event["chunk"], "path": event["path"]})
            elif event["what"] == "lost":
                self.near.say(
                    {"loop": self.place, "chunk": event["chunk"], "path": None, "why": event["why"]}
                )


def same(source: str, **given: Any) -> tuple[Pair, Outcome]:
    """Run plainly, and by two processes; everything visible must be equal."""
    plain = run(source, None, **given)
    pair = Pair(source, **given)
    mapped = pair.run()
    assert (mapped.error, mapped.printed) == (plain.error, plain.printed)
    assert repr(visible(mapped.namespace)) == repr(visible(plain.namespace))
    return pair, mapped


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("jup2kub.kernel.mapaway.FAR_ASKED", 0.0)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "source",
    [
        "out, total = [], 0.1\nfor x in range(12):\n    print(x)\n    out.append(hex(x).zfill(base[x % 3]))\n    total += x / 7",
        "out = {x: hex(x).zfill(base[0]) for x in range(12)}",
        "def study(k):\n    made = []\n    for x in range(k):\n        made.append(hex(x).zfill(base[1]))\n    return made\nout = study(12)",
        "before = [hex(x).zfill(1) for x in range(30)]\nimport time\ntime.sleep(0.6)\nout = []\nfor x in before:\n    y = x.zfill(9)\n    out.append(y)",
    ],
    ids=["for", "comprehension", "in a function", "after another loop"],
)
def test_the_answer_is_that_of_one_process(source: str) -> None:
    pair, done = same(source, base=[3, 1, 2])
    assert len(pair.helped) == len(pair.chunks) > 1
    assert done.reports[-1]["far"] > 0
    assert done.reports[-1]["reason"] == ""


def test_elements_that_an_iteration_changes_are_changed_here() -> None:
    source = "items = [[x] for x in range(9)]\nfor item in items:\n    item.append(hex(item[0]).zfill(2))"
    pair, done = same(source)
    assert done.namespace["items"][4] == [4, "0x4"]
    assert pair.helped


def test_an_exception_leaves_what_the_iterations_before_it_left() -> None:
    source = "out = []\nfor x in range(12):\n    print(x)\n    if x == 7:\n        raise KeyError(x)\n    out.append(hex(x).zfill(1))"
    _, done = same(source)
    assert done.error.startswith("KeyError")


def test_what_proves_dependent_runs_in_order() -> None:
    source = "seen, out = {}, []\ndef g(x):\n    return seen.setdefault('a', x) if x > 5 else 0\nfor x in range(12):\n    out.append(g(x) + len(hex(x).zfill(1)))"
    _, done = same(source)
    assert "other iterations share" in done.reports[0]["reason"]


def test_a_process_where_values_are_others_does_not_help() -> None:
    source = "out = []\nfor x in range(9):\n    out.append(x * base[0] + len(hex(x).zfill(1)) * 0)"
    pair = Pair("base = [5]\n" + source, other="base = [6]\n" + source)
    done = pair.run()
    assert done.namespace["out"] == [5 * x for x in range(9)]
    assert "not the same" in done.reports[0]["reason"]
    assert pair.helped == []


def test_what_has_no_value_to_be_told_by_stays() -> None:
    source = "import threading\nlock, out = threading.Lock(), []\nfor x in range(9):\n    with lock:\n        out.append(hex(x).zfill(1))"
    pair = Pair(source)
    done = pair.run()
    assert done.namespace["out"] == [hex(x) for x in range(9)]
    assert [e["what"] for e in pair.heard if e.get("what") == "stays"] == ["stays"]


def test_a_child_that_dies_costs_its_iterations_only() -> None:
    source = "import os\nout = []\nfor x in range(12):\n    if x == 5 and os.getpid() != here:\n        os._exit(3)\n    out.append(hex(x).zfill(1))"
    pair = Pair(source, here=os.getpid())
    done = pair.run()
    assert done.namespace["out"] == [hex(x) for x in range(12)]
    assert [e["what"] for e in pair.heard].count("lost") == 1


@pytest.mark.parametrize(
    ("count", "pace", "agents"), [(1000, 0.3, 4), (50, 100.0, 3), (10**6, 0.001, 8), (3, 1.0, 9)]
)
def test_chunks_are_about_five_seconds_and_enough_for_all_agents(
    count: int, pace: float, agents: int
) -> None:
    spec = SimpleNamespace(chunks=0)
    cut = cut_away(SimpleNamespace(spec=spec, done=1, pace=pace, agents=agents), count)
    assert cut[0][0] == 1
    assert cut[-1][1] == count
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cut))
    sizes = [stop - start for start, stop in cut]
    assert len(cut) <= 600
    assert max(sizes) * pace <= max(6.0, pace * (1 + count / 500))
    assert len(cut) >= min(2 * agents, count - 1)
