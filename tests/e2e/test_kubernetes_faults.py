"""Faults, one after the other: what the notebook's answer is, and what the user is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import IMAGE, kubectl
from tests.e2e.lab import HEAD, Lab, lab_fixture  # noqa: F401

pytestmark = pytest.mark.timeout(900)

REGISTRY = os.environ.get("J2K_REGISTRY", "10.89.0.1:5000")
TWO = (HEAD, "a = work(20)\na", "b = work(21)\nb", "print(a + b)")
ANSWER = [[], ["400"], ["441"], ["841\n"]]


def test_a_pod_deleted_in_the_middle_of_a_cell(lab: Lab) -> None:
    with lab.start(*TWO) as run:
        pod = lab.pod_of(run, "cell-1")
        lab.kubectl("delete", "pod", pod, "--wait=false")
        story = run.end()
    assert lab.outputs() == ANSWER
    assert re.search(r"cell 1: .*runs again", story), story


KILL = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        parent = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except OSError:
        continue
    if parent == 1 and int(pid) != os.getpid():
        os.kill(int(pid), signal.SIGSEGV)
"""


def test_a_kernel_that_crashes_in_the_middle_of_a_cell(lab: Lab) -> None:
    with lab.start(*TWO) as run:
        pod = lab.pod_of(run, "cell-1")
        lab.kubectl("exec", pod, "--", "python3", "-c", KILL)
        story = run.end()
    assert lab.outputs() == ANSWER
    assert re.search(r"cell 1: .*SIGSEGV", story), story


def test_a_cell_that_always_kills_its_kernel(lab: Lab) -> None:
    with lab.start(HEAD, "x = ctypes.string_at(0)", "print('after')") as run:
        lab.name(run)
        story = run.end(None)
        assert run.process.returncode in (1, 3), story
    assert re.search(r"SIGSEGV|signal 11|died", story), story


def test_the_run_server_deleted_in_the_middle(lab: Lab) -> None:
    with lab.start(*TWO) as run:
        lab.pod_of(run, "cell-1")
        lab.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=server", "--wait=false")
        run.end()
    assert lab.outputs() == ANSWER


def test_a_cell_that_needs_more_memory_than_its_pod_has(lab: Lab) -> None:
    big = (
        "x = bytearray(900 << 20)\nfor i in range(0, len(x), 4096):\n    x[i] = 1\nn = len(x) >> 20\ndel x\nn"
    )
    with lab.start(HEAD, big, "print(n)", more=("--memory", "768Mi")) as run:
        lab.name(run)
        story = run.end()
    assert lab.outputs() == [[], ["900"], ["900\n"]]
    assert re.search(r"memory", story), story


def test_an_image_that_does_not_exist(lab: Lab) -> None:
    with lab.start(HEAD, image=f"{REGISTRY}/j2k-no-such-image:1") as run:
        story = run.end(3)
    assert "J2K718" in story
    assert "the image cannot be pulled" in story
    assert "hint:" in story


def test_a_registry_that_is_down_is_waited_for_and_told(lab: Lab) -> None:
    with lab.start(HEAD, image="127.0.0.1:1/science:1") as run:
        run.until(r"the image cannot be pulled: .*(refused|127.0.0.1)")
        run.interrupt()
        run.end(130)
    assert lab.cluster.list("Deployment").items == ()


def test_an_image_name_that_is_none(lab: Lab) -> None:
    with lab.start(HEAD, image="UPPER/Case:!") as run:
        story = run.end(2)
    assert "J2K620" in story


def test_a_request_that_no_node_can_hold(lab: Lab) -> None:
    with lab.start(HEAD, "#| resources: gpu=1\na = work(1)", "print(a)") as run:
        name = lab.name(run)
        run.until(r"waiting for 1 nvidia.com/gpu \(0 of \d+ nodes have one free\)")
        state = lab.cli("status", name).stdout
        assert "waiting for 1 nvidia.com/gpu" in state, state
        run.interrupt()
        assert f"jup2kub cancel {name}" in run.end(130)
        lab.cli("cancel", name)


def test_a_quota_that_is_too_small_is_told_before_anything_is_made(lab: Lab) -> None:
    lab.kubectl("create", "quota", "small", "--hard=limits.memory=1Gi,requests.cpu=4")
    with lab.start(HEAD) as run:
        story = run.end(3)
    assert "J2K723" in story
    assert "exceeded quota: small" in story
    assert lab.cluster.list("Deployment").items == ()


def test_a_limit_range_that_forbids_our_pods_is_told_before_anything_is_made(lab: Lab) -> None:
    bounds = {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    made = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": bounds}
    lab.kubectl("create", "-f", "-", given=json.dumps(made))
    with lab.start(HEAD) as run:
        story = run.end(3)
    assert "maximum memory usage per Container is 1Gi" in story
    assert "choose --memory" in story
    assert lab.cluster.list("Deployment").items == ()


def test_a_quota_that_holds_one_agent_runs_everything_in_it(lab: Lab) -> None:
    lab.kubectl("create", "quota", "one", "--hard=limits.memory=2816Mi")
    with lab.start(HEAD, "a = work(2)\na", "b = work(3)\nb", "print(a + b)") as run:
        lab.name(run)
        story = run.end()
    assert lab.outputs() == [[], ["4"], ["9"], ["13\n"]]
    assert "quota" in story, story


@pytest.mark.alone
def test_the_api_server_stopped_for_thirty_seconds(lab: Lab) -> None:
    with lab.start(*TWO) as run:
        lab.pod_of(run, "cell-1")
        lab.kit("apiserver", "stop")
        try:
            time.sleep(30)
        finally:
            lab.kit("apiserver", "start")
        run.end()
    assert lab.outputs() == ANSWER


@pytest.mark.alone
def test_a_node_killed_with_a_step_on_it_and_brought_back(lab: Lab) -> None:
    slow = (HEAD, "a = work(30)\na", "b = work(31)\nb", "print(a + b)")
    with lab.start(*slow, more=("--cpu", "0.9", "--parallelism", "3")) as run:
        lab.pod_of(run, "cell-1")
        server = lab.kubectl(
            "get",
            "pod",
            "-l",
            "app.kubernetes.io/component=server",
            "-o",
            "jsonpath={.items[0].spec.nodeName}",
        )
        agents = list(lab.cluster.list("Pod", "app.kubernetes.io/component=agent").items)
        away = [p for p in agents if p["spec"].get("nodeName") not in (server, None)]
        if not away:
            pytest.skip("ALL AGENTS RUN ON THE RUN SERVER'S NODE")
        number = away[0]["spec"]["nodeName"][-1]
        lab.kit("node", "kill", number)
        try:
            run.end(0, 400)
        finally:
            lab.kit("node", "start", number)
            kubectl(lab.kit, "wait", "--for=condition=Ready", f"node/node{number}", "--timeout=60s")
    assert lab.outputs() == [[], ["900"], ["961"], ["1861\n"]]


@pytest.mark.alone
def test_the_node_of_the_run_servers_volume_killed(lab: Lab) -> None:
    with lab.start(*TWO) as run:
        lab.pod_of(run, "cell-1")
        node = lab.kubectl(
            "get",
            "pod",
            "-l",
            "app.kubernetes.io/component=server",
            "-o",
            "jsonpath={.items[0].spec.nodeName}",
        )
        lab.kit("node", "kill", node[-1])
        try:
            time.sleep(60)
        finally:
            lab.kit("node", "start", node[-1])
            kubectl(lab.kit, "wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
        run.end(0, 400)
    assert lab.outputs() == ANSWER


def test_the_main_line_killed_after_a_cell_with_effects_has_acted(lab: Lab) -> None:
    act = "import subprocess\nsubprocess.run(['true'], check=True)\ntime.sleep(600)"
    with lab.start(HEAD, act, "print('after')") as run:
        pod = lab.pod_of(run, "main")
        run.until(r"cell 1|is in namespace")
        time.sleep(5)
        lab.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        story = run.end(None, 300)
        assert run.process.returncode not in (0, None), story
    assert re.search(r"cell 1 may have acted|may have|half done", story), story
    assert "--redo 1" in story
    assert "--skip 1" in story
    again = lab.cli("resume", lab.names[0], "--skip", "1")
    assert lab.outputs()[2] == ["after\n"], again.stderr


@contextlib.contextmanager
def cut_off(pod: str) -> Iterator[None]:
    """Let a pod of the test cluster neither send nor receive: its processes go on, and nobody hears of them."""
    mine = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/environ")
        if f"HOSTNAME={pod}\0".encode() in read(path)
    ]
    assert mine, f"no process of {pod} is here"
    words = ["nsenter", f"--net=/proc/{mine[0]}/ns/net", "nft"]
    rules = (
        "add table inet cut\nadd chain inet cut out { type filter hook output priority 0; policy drop; }\n"
    )
    rules += "add chain inet cut in { type filter hook input priority 0; policy drop; }\n"
    subprocess.run([*words, "-f", "-"], input=rules, text=True, check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run([*words, "delete", "table", "inet", "cut"], check=True, timeout=20)


def read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def test_an_agent_cut_off_from_the_server_while_it_finishes(lab: Lab) -> None:
    if lab.kit.folder is None:
        pytest.skip("THIS FAULT NEEDS THE TEST CLUSTER ON THIS MACHINE")
    once = "Path('a.txt').write_text(Path('a.txt').read_text() + 'x' if Path('a.txt').exists() else 'x')"
    cells = (HEAD, f"from pathlib import Path\na = work(12)\n{once}\na", "b = work(35)\nb", "print(a + b)")
    with lab.start(*cells) as run:
        pod = lab.pod_of(run, "cell-1")
        with cut_off(pod):
            # The cell ends, nobody hears of it, and after 15 s of silence it is offered to another agent.
            run.until(r"cell 1: nothing is heard of the attempt before; it runs again", 90)
        story = run.end()
    assert lab.outputs() == [[], ["144"], ["1225"], ["1369\n"]], story
    assert (lab.project / "a.txt").read_text() == "x"


def test_the_registry_is_down_in_the_middle_of_a_run(lab: Lab) -> None:
    """A pod is lost, and the next one comes to a node that has not got the image and cannot get it for a while."""
    nowhere = "127.0.0.1:1/science:1"
    containerd = ("ctr", "-n", "k8s.io", "images")
    slow = (HEAD, "a = work(40)\na", "b = work(41)\nb", "print(a + b)")
    lab.kit("node", "shell", "1", *containerd, "tag", "--force", IMAGE, nowhere)
    kubectl(lab.kit, "cordon", "node2")
    try:
        with lab.start(*slow, image=nowhere, more=("--parallelism", "2", "--cpu", "0.3")) as run:
            pod = lab.pod_of(run, "cell-1")
            kubectl(lab.kit, "uncordon", "node2")
            kubectl(lab.kit, "cordon", "node1")
            lab.kubectl("delete", "pod", pod, "--wait=false")
            run.until(r"agents: the image cannot be pulled: .*(refused|127.0.0.1)")
            lab.kit("node", "shell", "2", *containerd, "tag", "--force", IMAGE, nowhere)
            story = run.end()
    finally:
        for number in ("1", "2"):
            kubectl(lab.kit, "uncordon", f"node{number}")
            lab.kit("node", "shell", number, *containerd, "rm", nowhere)
    assert lab.outputs() == [[], ["1600"], ["1681"], ["3281\n"]], story
