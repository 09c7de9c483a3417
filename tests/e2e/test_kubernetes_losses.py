"""Whatever is taken from a run while it is under way, the notebook comes back as one kernel leaves it."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Kit, kubectl
from tests.e2e.drive import Started
from tests.e2e.test_kubernetes_faults import Lab

from jup2kub.cluster import Cluster

pytestmark = pytest.mark.timeout(900)
CELLS = (
    "import random\nimport time\ndef work(seconds):\n    time.sleep(seconds)\n    return int(seconds) ** 2",
    "a = work(14)\na",
    "r = random.random()",
    "b = work(15)\nmet = r\nb",
    "_ = open('made.txt', 'w').write('made')",
    "c = work(9)\nc",
    "print(a + b + c, met == r, open('made.txt').read())",
)
ANSWER = [[], ["196"], [], ["225"], [], ["81"], ["502 True made\n"]]
SERVER = ("-l", "app.kubernetes.io/component=server")
NOW = ("--grace-period=0", "--force")
Fault = Callable[[Lab, Started], None]


@pytest.fixture
def lab(kit: Kit, namespace: str, cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(kit, namespace, cluster, tmp_path)
    yield made
    for name in made.names:
        made.cli("delete", name, "-n", namespace, code=None, seconds=120)


def delete(lab: Lab, *words: str) -> None:
    lab.kubectl("delete", "pod", *words, "--wait=false")


def main_pod_at_once(lab: Lab, run: Started) -> None:
    delete(lab, lab.pod_of(run, "main"), *NOW)


def main_pod_kindly(lab: Lab, run: Started) -> None:
    delete(lab, lab.pod_of(run, "main"))


def server_twice(lab: Lab, run: Started) -> None:
    for _ in range(2):
        delete(lab, *SERVER)
        time.sleep(12)


def server_and_main_together(lab: Lab, run: Started) -> None:
    main = lab.pod_of(run, "main")
    server = lab.kubectl("get", "pod", *SERVER, "-o", "jsonpath={.items[0].metadata.name}")
    delete(lab, main, server, *NOW)


def kernel_on_its_node(lab: Lab, run: Started) -> None:
    pod = lab.pod_of(run, "cell-1")
    uid = lab.cluster.get("Pod", pod)["metadata"]["uid"].replace("-", "[-_]")
    find = f"for p in /proc/[0-9]*; do grep -q {uid} $p/cgroup 2>/dev/null && grep -aq jup2kub_kernel $p/cmdline && kill -9 ${{p#/proc/}}; done; true"
    lab.kit("node", "shell", lab.node_of(pod)[-1], "sh", "-c", find)


def deployment_scaled_to_nothing_and_back(lab: Lab, run: Started) -> None:
    name = lab.kubectl("get", "deployment", "-o", "jsonpath={.items[0].metadata.name}")
    lab.kubectl("scale", "deployment", name, "--replicas=0")
    time.sleep(15)
    lab.kubectl("scale", "deployment", name, "--replicas=1")


def all_jobs_by_a_stranger(lab: Lab, run: Started) -> None:
    lab.kubectl("delete", "job", "--all", "--wait=false")


FAULTS: tuple[Fault, ...] = (
    main_pod_at_once,
    main_pod_kindly,
    server_twice,
    server_and_main_together,
    kernel_on_its_node,
    deployment_scaled_to_nothing_and_back,
    all_jobs_by_a_stranger,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_what_is_taken_away_is_made_up_for(lab: Lab, fault: Fault) -> None:
    with lab.start(*CELLS) as run:
        lab.name(run)
        run.until("cell 1 starts")
        time.sleep(random.Random(fault.__name__).uniform(0.5, 6.0))
        began = time.monotonic()
        fault(lab, run)
        story = run.end()
        took = time.monotonic() - began
    assert lab.outputs() == ANSWER, story
    assert took < 120, story


def test_a_run_that_is_left_is_collected_by_another_process(lab: Lab, tmp_path: Path) -> None:
    with lab.start(*CELLS) as run:
        lab.name(run)
        run.until("cell 1 starts")
        run.interrupt()
        story = run.end(130)
        found = re.search(r"jup2kub collect (\w+)", story)
        assert found, story
    lab.cli("collect", found[1])
    assert lab.outputs() == ANSWER


def test_a_run_whose_client_was_killed_is_collected_from_another_folder(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lab.start(*CELLS) as run:
        lab.name(run)
        run.until("cell 1 starts")
        os.killpg(run.process.pid, signal.SIGKILL)
        run.end(-signal.SIGKILL)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    lab.cli("collect", lab.names[0])
    assert lab.outputs() == ANSWER


@pytest.mark.alone
def test_a_node_with_the_main_line_on_it_is_lost_for_a_while(lab: Lab) -> None:
    with lab.start(*CELLS, more=("--parallelism", "3")) as run:
        pod = lab.pod_of(run, "main")
        node = lab.node_of(pod)
        server = lab.kubectl("get", "pod", *SERVER, "-o", "jsonpath={.items[0].spec.nodeName}")
        if node == server:
            pytest.skip("THE MAIN LINE RUNS ON THE RUN SERVER'S NODE")
        lab.kit("node", "kill", node[-1])
        began = time.monotonic()
        try:
            story = run.end(0, 400)
        finally:
            lab.kit("node", "start", node[-1])
            kubectl(lab.kit, "wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
    assert lab.outputs() == ANSWER, story
    assert time.monotonic() - began < 150, story
