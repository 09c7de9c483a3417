"""How long things take on a cluster, beside a bare Indexed Job of the same image with the same cell, in the same minutes.

Run by hand: `pytest -m measure tests/e2e/test_kubernetes_measure.py`. Writes docs/kubernetes-measured.md.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import IMAGE, ROOT, kubectl
from tests.e2e.lab import Lab, lab_fixture  # noqa: F401

pytestmark = [pytest.mark.measure, pytest.mark.timeout(1800)]
PAGE = ROOT / "docs" / "kubernetes-measured.md"
WORK = """
def work(seconds, after=0):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return after + 1
""".strip()
FIRST = "import time\nprint(time.time())"
WIDE = 4
SECONDS = 3.0
"""Of the cell that both run."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    goal: str
    """Empty = there is none; it is here to be compared with."""
    met: bool | None
    """None = no goal."""


@dataclass(frozen=True)
class Ran:
    """One cell of an executed notebook."""

    pod: str
    where: str
    start: float
    """Seconds since the epoch."""
    end: float


FIGURES: list[Figure] = []


@pytest.fixture(autouse=True)
def _page() -> Iterator[None]:
    """Write what was measured; lines of the page that were not measured now stay."""
    load = os.getloadavg()[0]
    FIGURES.clear()
    yield
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(FIGURES, load, known), encoding="utf-8")


def page(figures: list[Figure], load: float, known: str) -> str:
    """Return the page: `known` with the lines of these figures in the place of those that it has."""
    word = {True: "met", False: "**not met**", None: ""}
    rows = {
        line.split(" | ")[0]: line
        for line in known.splitlines()
        if line.startswith("| ") and "goal" not in line
    }
    rows |= {
        f"| {f.what}": f"| {f.what} | {f.measured} | {f.goal} | {word[f.met]} | {load:.0f} |" for f in figures
    }
    return "\n".join(
        [
            "# Measured on Kubernetes",
            "",
            "Written by `pytest -m measure tests/e2e/test_kubernetes_measure.py`; do not edit. A cluster of two nodes on",
            f"one machine of {os.cpu_count()} cores ({platform.system()} {platform.machine()}), which they, the command line, "
            "the cluster's own programs and whatever",
            "else runs there share: `load` is that of the machine before the start, and above the number of cores every",
            "figure is larger than on a quiet one. The bare Indexed Job has the same image, requests and cell, and ran in the",
            "same minutes.",
            "",
            "| what | measured | goal | | load |",
            "|---|---|---|---|---|",
            *rows.values(),
            "",
        ]
    )


def add(what: str, value: float, goal: float | None = None, unit: str = "s") -> None:
    FIGURES.append(
        Figure(
            what,
            f"{value:.2f} {unit}",
            "" if goal is None else f"< {goal:g} {unit}",
            None if goal is None else value < goal,
        )
    )


def ran(path: Path) -> list[Ran]:
    """Return where and when each cell of an executed notebook ran."""
    found = []
    for cell in json.loads(path.read_text())["cells"]:
        mine = cell["metadata"]["jup2kub"]
        start = datetime.fromisoformat(mine["start"]).timestamp()
        found.append(Ran(mine["worker"], mine["where"], start, start + mine["seconds"]))
    return found


class Births:
    """When pods of the namespace were first seen, while it is used in a `with` statement."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.seen: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.is_set():
            for change in self._lab.cluster.watch("Pod", seconds=2.0):
                if change.type == "ADDED":
                    self.seen.setdefault(change.object["metadata"]["name"], time.time())

    def __enter__(self) -> Births:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


def bare_job(lab: Lab) -> dict[str, Any]:
    """Return the Indexed Job that computes the same cell `WIDE` times."""
    cell = f"{FIRST}\n{WORK}\nwork({SECONDS})\nprint(time.time())"
    inside = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    box = {
        "name": "cell",
        "image": IMAGE,
        "command": ["python3", "-c", cell],
        "resources": {"requests": {"cpu": "300m", "memory": "256Mi"}},
        "securityContext": inside,
    }
    pod = {"metadata": {"labels": {"bare": "yes"}}, "spec": {"restartPolicy": "Never", "containers": [box]}}
    spec = {"completions": WIDE, "parallelism": WIDE, "completionMode": "Indexed", "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bare"}, "spec": spec}


def test_a_first_cell_and_steps_in_fresh_pods_beside_a_bare_job(lab: Lab) -> None:
    more = ("--parallelism", str(WIDE + 1), "--cpu", "0.3", "--memory", "512Mi")
    with Births(lab) as births:
        began = time.time()
        lab.kubectl("create", "-f", "-", given=json.dumps(bare_job(lab)))
        lab.kubectl("wait", "--for=condition=Complete", "job/bare", "--timeout=110s")
        bare_seconds = time.time() - began
        bare = []
        for name in list(births.seen):
            first, _ = lab.kubectl("logs", name).split()
            bare.append(float(first) - births.seen[name])
        lab.kubectl("delete", "job", "bare", "--wait=true")
        cells = [FIRST, WORK, *(f"v{n} = work({SECONDS})" for n in range(WIDE)), "print(v0 + v1 + v2 + v3)"]
        began = time.time()
        with lab.start(*cells, more=more) as run:
            lab.name(run)
            run.end()
        whole = time.time() - began
    found = ran(lab.executed)
    main = found[0].pod
    fresh: dict[str, float] = {}
    for one in found:
        if one.where == "step" and one.pod != main:
            fresh.setdefault(one.pod, one.start - births.seen[one.pod])
    assert fresh, f"no step ran in a pod of its own: {found}"
    add("`run` typed → its first cell runs", found[0].start - began)
    add(f"a whole run of {WIDE} cells of {SECONDS:g} s as steps", whole)
    add(f"bare Indexed Job: made → complete, {WIDE} pods with the same cell", bare_seconds)
    add("bare Indexed Job: pod made → its cell runs (median)", statistics.median(bare))
    add("a step's pod made → the step runs (median)", statistics.median(fresh.values()))
    add(
        "of that beyond the bare Job's, with the kernel's start",
        statistics.median(fresh.values()) - statistics.median(bare),
        0.5,
    )


CHAIN = 60


def chain(count: int, seconds: float) -> list[str]:
    return [
        FIRST,
        WORK,
        "v0 = 0",
        *(f"v{n + 1} = work({seconds}, v{n})" for n in range(count)),
        f"print(v{count})",
    ]


def test_steps_one_after_the_other_in_a_warm_pod(lab: Lab) -> None:
    with lab.start(*chain(CHAIN, 0.2), more=("--parallelism", "2", "--cpu", "0.3")) as run:
        lab.name(run)
        run.end()
    assert lab.outputs()[-1] == [f"{CHAIN}\n"]
    found = ran(lab.executed)
    gaps = []
    for before, after in itertools.pairwise(found):
        warm = before.where == after.where == "step" and before.pod == after.pod
        gaps += [after.start - before.end] if warm else []
    # The first few find a kernel that is still being started beside them.
    gaps = gaps[5:]
    assert len(gaps) >= CHAIN // 2, gaps
    add("overhead of a step in a warm pod: save, commit, send, load (median)", statistics.median(gaps), 0.1)
    add(
        "a step ends → the next one runs, its commit included (p99)", sorted(gaps)[int(len(gaps) * 0.99)], 0.3
    )


def test_the_run_server_is_lost(lab: Lab) -> None:
    with lab.start(*chain(60, 0.5), more=("--parallelism", "2", "--cpu", "0.3")) as run:
        lab.name(run)
        run.until(r"cell 12 starts")
        killed = time.time()
        lab.kubectl(
            "delete", "pod", "-l", "app.kubernetes.io/component=server", "--grace-period=0", "--force"
        )
        run.end()
    assert lab.outputs()[-1] == ["60\n"]
    add("the run server's pod is lost → steps run on", first_after(ran(lab.executed), killed), 15.0)


def first_after(found: list[Ran], killed: float) -> float:
    """Return the seconds until work went on: the end of the longest time without a cell, after `killed`."""
    spans = itertools.pairwise(found)
    _, began = max((b.start - a.end, b.start) for a, b in spans if b.start > killed)
    return began - killed


@pytest.mark.alone
def test_a_node_is_lost_with_steps_on_it(lab: Lab) -> None:
    cells = [FIRST, WORK, *(f"v{n} = work(40, {n})" for n in range(3)), "print(v0 + v1 + v2)"]
    with lab.start(*cells, more=("--parallelism", "4", "--cpu", "0.4")) as run:
        lost = lab.step_elsewhere(lab.name(run))
        if not lost:
            pytest.skip("NO STEP RUNS ON ANOTHER NODE THAN RUN SERVER AND MAIN LINE")
        number = lab.running(lab.names[0])[lost[0]][-1]
        killed = time.time()
        lab.kit("node", "kill", number)
        try:
            run.end(0, 600)
        finally:
            lab.kit("node", "start", number)
            kubectl(lab.kit, "wait", "--for=condition=Ready", f"node/node{number}", "--timeout=60s")
    assert lab.outputs()[-1] == ["6\n"]
    found = ran(lab.executed)
    again = max(found[int(task.partition("-")[2])].start for task in lost)
    add("a node is lost → what ran on it runs again", again - killed, 45.0)
    add("steps that ran on the node that was lost", float(len(lost)), unit="steps")
