"""A loop of a thousand iterations over several pods, while pods go: each iteration's result is there, once and in order."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.drive import Started
from tests.e2e.lab import Lab, lab_fixture  # noqa: F401

pytestmark = pytest.mark.timeout(900)
COUNT, SECONDS = 1000, 0.2
PODS = 4
CHUNK = 26
"""Iterations that a pod may have under way: about five seconds of them."""
CELLS = (
    "import os\nimport time\n"
    f"n = {COUNT}\n"
    "def f(x):\n"
    "    with open('/proc/1/fd/1', 'w') as log:\n"  # the log of the pod, and no file of the notebook
    "        log.write(f'begins {x} in {os.uname().nodename}\\n')\n"
    f"    time.sleep({SECONDS})\n"
    "    return x * x, os.uname().nodename",
    "#| map\nout = []\nfor x in range(n):\n    out.append(f(x))",
    "print([v for v, _ in out] == [x * x for x in range(n)], len(out))",
    "print(*sorted({host for _, host in out}))",
)


class Watch:
    """Agents' pods: where they run, and what their logs say until they are gone."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.nodes: dict[str, str] = {}
        self.alive: list[str] = []
        self._logs: dict[str, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        words = ("get", "pods", "-l", "app.kubernetes.io/component=agent", "-o", "json")
        while not self._over.wait(1.0):
            with contextlib.suppress(AssertionError):  # the API server may be busy
                self._note(json.loads(self.lab.kubectl(*words))["items"])

    def _note(self, pods: list[dict[str, Any]]) -> None:
        running = [p for p in pods if p["status"].get("phase") == "Running"]
        self.alive = [p["metadata"]["name"] for p in running if not p["metadata"].get("deletionTimestamp")]
        for pod in running:
            name = str(pod["metadata"]["name"])
            self.nodes[name] = str(pod["spec"]["nodeName"])
            if name not in self._logs or self._logs[name].poll() not in (None, 0):
                self._follow(name)

    def _follow(self, name: str) -> None:
        words = ["kubectl", "--kubeconfig", self.lab.kit.kubeconfig, "-n", self.lab.namespace]
        with open(self.folder / f"{name}.log", "wb") as log:
            self._logs[name] = subprocess.Popen([*words, "logs", "-f", name], stdout=log, stderr=log)

    def begun(self) -> Counter[int]:
        """How often each iteration began, as far as the logs tell."""
        texts = (p.read_text(errors="replace") for p in self.folder.glob("*.log"))
        return Counter(int(x) for text in texts for x in re.findall(r"begins (\d+) in", text))

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)
        for process in self._logs.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def watch(lab: Lab, tmp_path: Path) -> Iterator[Watch]:
    (tmp_path / "logs").mkdir()
    made = Watch(lab, tmp_path / "logs")
    yield made
    made.close()


def disturb(watch: Watch, run: Started, chance: random.Random) -> int:
    """Delete two random pods a minute, that of the main line among them, until the run ends; return how many."""
    kills, limit = 0, time.monotonic() + 600
    while run.process.poll() is None:
        assert time.monotonic() < limit, run.text
        if kills == 0:
            victim = watch.lab.pod_of(run, "main")
        elif watch.alive:
            victim = chance.choice(sorted(watch.alive))
        words = ["pod", victim, "--ignore-not-found", "--wait=false"]
        watch.lab.kubectl("delete", *words, *(["--grace-period=0", "--force"] if kills % 2 == 0 else []))
        kills += 1
        until = time.monotonic() + chance.uniform(25, 35)
        while run.process.poll() is None and time.monotonic() < until:
            time.sleep(0.5)
    return kills


def test_a_thousand_iterations_while_two_pods_a_minute_go(lab: Lab, watch: Watch) -> None:
    with lab.start(*CELLS, more=("--parallelism", str(PODS))) as run:
        run.until("goes to other agents")
        limit = time.monotonic() + 120
        while sum(watch.begun().values()) < COUNT // 10:
            assert time.monotonic() < limit, run.text
            time.sleep(0.5)
        kills = disturb(watch, run, random.Random(11))
        story = run.end()
        lab.name(run)
    _, _, answer, hosts = lab.outputs()
    assert answer == [f"True {COUNT}\n"], story
    nodes = {watch.nodes[host] for host in str(hosts[0]).split()}  # type: ignore[index]
    assert len(nodes) > 1 or len(set(watch.nodes.values())) == 1, "pods of both nodes have worked"
    assert kills >= 2, story
    begun = watch.begun()
    assert set(begun) == set(range(COUNT))
    repeated = sum(n - 1 for n in begun.values())
    assert repeated <= kills * (CHUNK + 2), f"{repeated} iterations again after {kills} kills\n{story}"
