"""Capacity follows the work: what is started, what is told, and when a run is given up."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from jup2kub.cluster import Missing, Unreachable
from jup2kub.cluster.capacity import JobCapacity
from jup2kub.cluster.memory import MemoryCluster
from jup2kub.cluster.rest import Request, problem
from jup2kub.engine.server.steward import YOUNG, Steward
from jup2kub.manifests import workloads
from jup2kub.manifests.spec import RunSpec

SPEC = RunSpec(run="01abc", image="i:1", project="/home/a", namespace="lab", parallelism=3)


class Lab:
    """A fake cluster, and a desk of which a test says what it wants."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster("lab")
        self.cluster.create(workloads.server(SPEC))
        numbers = itertools.count(1)
        self.now = 0.0
        self.want: list[dict[str, Any]] = []
        self.joined: list[str] = []
        self.ended: bool | None = None
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        capacity = JobCapacity(self.cluster, SPEC, lambda: f"n{next(numbers)}")
        self.steward = Steward(self.ask, capacity, SPEC, lambda: self.now)

    def ask(self, request: str, body: Mapping[str, Any]) -> Any:
        self.asked.append((request, body))
        if request == "needs":
            return {"start": self.want, "joined": self.joined, "ended": self.ended}
        return {"known": body.get("pod") in self.joined}

    def jobs(self) -> list[str]:
        return [j["metadata"]["name"] for j in self.cluster.list("Job").items]

    def pod(self, job: str, phase: str, **status: Any) -> str:
        made = self.cluster.get("Job", job)
        labels = {**made["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        meta = {"name": f"{job}-p", "labels": labels}
        state = {"phase": phase, "conditions": [{"type": "PodScheduled", "status": "True"}], **status}
        self.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": state})
        return f"{job}-p"

    def last(self, request: str) -> Mapping[str, Any]:
        return [body for name, body in self.asked if name == request][-1]


WISH = {"cpu": 0.0, "memory": 0, "gpu": 0, "storage": 1}


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_what_is_wanted_is_made_and_no_more_than_is_allowed(lab: Lab) -> None:
    lab.want = [WISH] * 5
    assert lab.steward.round() is False
    assert len(lab.jobs()) == 3
    lab.steward.round()
    assert len(lab.jobs()) == 3, "those that start count"


def test_a_task_that_needs_more_gets_a_pod_of_another_class(lab: Lab) -> None:
    lab.want = [{**WISH, "memory": 8 << 30, "gpu": 1}]
    lab.steward.round()
    [job] = lab.cluster.list("Job").items
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (limits["memory"], limits["nvidia.com/gpu"]) == ("9Gi", "1"), "a tenth is the agent's own"


def test_a_pod_that_is_in_no_list_any_more_is_gone_before_silence_tells(lab: Lab) -> None:
    """Deleted by force it is, and a stranger may have deleted its Job with it."""
    lab.want = [WISH]
    lab.steward.round()
    name = lab.pod(lab.jobs()[0], "Running")
    lab.want, lab.joined = [], [name]
    lab.steward.round()
    lab.cluster.delete("Pod", name, uid=lab.cluster.get("Pod", name)["metadata"]["uid"])
    lab.steward.round()
    assert "gone" not in [request for request, _ in lab.asked], (
        "one list may be older than a pod that has joined"
    )
    lab.steward.round()
    assert lab.last("gone")["pod"] == name
    count = len([r for r, _ in lab.asked if r == "gone"])
    lab.joined = []
    lab.steward.round()
    assert len([r for r, _ in lab.asked if r == "gone"]) == count


def test_a_pod_that_runs_and_has_not_joined_is_told_to_the_desk_as_starting(lab: Lab) -> None:
    lab.want = [WISH]
    lab.steward.round()
    name = lab.pod(lab.jobs()[0], "Running")
    lab.want = []
    lab.steward.round()
    assert lab.last("needs")["starting"] == [{**WISH, "pod": name}]


def test_a_pod_that_ended_is_told_once(lab: Lab) -> None:
    lab.want = [WISH]
    lab.steward.round()
    name = lab.pod(lab.jobs()[0], "Failed", reason="Evicted", message="The node was low on resource: memory.")
    lab.want, lab.joined = [], [name]
    for _ in range(3):
        lab.steward.round()
    told = [body for request, body in lab.asked if request == "gone"]
    assert told == [
        {"pod": name, "reason": "evicted: The node was low on resource: memory.", "kind": "infrastructure"}
    ]


def test_pods_that_never_work_end_the_run_with_their_last_words(lab: Lab) -> None:
    lab.want = [WISH]
    over = [{"state": {"terminated": {"exitCode": 1, "message": "no module named x"}}}]
    for number in range(YOUNG):
        lab.steward.round()
        assert len(lab.jobs()) == number + 1
        lab.pod(lab.jobs()[-1], "Failed", containerStatuses=over)
        lab.steward.round()
        lab.now += 100
    assert "3 pods ended before they could work" in lab.last("words")["final"]
    assert "no module named x" in lab.last("words")["final"]


def test_pods_that_die_young_are_replaced_more_and_more_slowly(lab: Lab) -> None:
    lab.want = [WISH]
    lab.steward.round()
    lab.pod(lab.jobs()[0], "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 1}}}])
    lab.steward.round()
    lab.steward.round()
    assert len(lab.jobs()) == 1
    lab.now += 2.1
    lab.steward.round()
    assert len(lab.jobs()) == 2


def test_an_image_that_cannot_be_is_told_as_final(lab: Lab) -> None:
    lab.want = [WISH]
    lab.steward.round()
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image"}
    lab.pod(lab.jobs()[0], "Pending", containerStatuses=[{"state": {"waiting": waiting}}])
    lab.steward.round()
    assert "couldn't parse image" in lab.last("words")["final"]


def test_a_cluster_that_is_away_is_told_and_waited_for(lab: Lab) -> None:
    lab.cluster.down = Unreachable("J2K701", "no answer from the cluster")
    assert lab.steward.round() is False
    assert "no new pods for now" in lab.last("words")["words"]["cluster"]
    assert lab.last("words")["final"] == ""
    lab.cluster.down = None
    lab.want = [WISH]
    lab.steward.round()
    assert len(lab.jobs()) == 1


def test_a_full_quota_of_jobs_is_tried_again_later(lab: Lab) -> None:
    body = b'{"kind":"Status","message":"exceeded quota: lab, requested: count/jobs.batch=1"}'
    lab.cluster.refuse = lambda obj: problem(403, body, Request("POST", "/x"))
    lab.want = [WISH]
    lab.steward.round()
    assert "exceeded quota" in lab.last("words")["words"]["cluster"]
    assert lab.last("words")["final"] == ""
    lab.cluster.refuse = lambda obj: None
    lab.steward.round()
    assert lab.jobs() == []
    lab.now += 11
    lab.steward.round()
    assert len(lab.jobs()) == 1


def test_it_ends_with_the_run(lab: Lab) -> None:
    lab.ended, lab.want = True, [WISH]
    assert lab.steward.round() is True
    assert lab.jobs() == []


def test_without_the_deployment_nothing_is_made(lab: Lab) -> None:
    lab.cluster.drop("Deployment", "j2k-01abc-server")
    lab.want = [WISH]
    lab.steward.round()
    assert lab.jobs() == []
    with pytest.raises(Missing):
        lab.cluster.get("Deployment", "j2k-01abc-server")
