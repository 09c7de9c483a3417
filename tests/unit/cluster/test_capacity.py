"""Agents' Jobs: made once, looked at, buried when nobody can confirm their end; never another's."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from jup2kub.cluster import Exists, Missing
from jup2kub.cluster.burial import FINALIZER
from jup2kub.cluster.capacity import JobCapacity
from jup2kub.cluster.memory import MemoryCluster
from jup2kub.cluster.reasons import ENDED, RUNNING, WAITING
from jup2kub.manifests import workloads
from jup2kub.manifests.spec import RunSpec

SPEC = RunSpec(run="01abc", image="i:1", project="/home/a", namespace="lab")


class Lab:
    """A fake cluster with the run's Deployment, and a clock of its own."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster("lab")
        self.cluster.create(workloads.server(SPEC))
        self.now = time.time()
        numbers = itertools.count(1)
        self.capacity = JobCapacity(self.cluster, SPEC, lambda: f"n{next(numbers)}", lambda: self.now)

    def pod_of(self, job: str, phase: str = "Running", **meta: Any) -> dict[str, Any]:
        """Do what the Job controller and the kubelet would."""
        made = self.cluster.get("Job", job)
        template = made["spec"]["template"]
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": made["metadata"]["uid"]}
        return self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{job}-p",
                    "labels": labels,
                    "ownerReferences": [owner],
                    "finalizers": [FINALIZER],
                    **meta,
                },
                "spec": {**template["spec"], "nodeName": "node1"},
                "status": {
                    "phase": phase,
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "True",
                            "lastTransitionTime": "2026-01-01T00:00:00Z",
                        }
                    ],
                },
            }
        )


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_a_job_is_owned_by_the_runs_deployment(lab: Lab) -> None:
    name = lab.capacity.start(SPEC.pod_class())
    [owner] = lab.cluster.get("Job", name)["metadata"]["ownerReferences"]
    assert owner["uid"] == lab.cluster.get("Deployment", "j2k-01abc-server")["metadata"]["uid"]


def test_an_answer_that_was_lost_makes_no_second_job(lab: Lab) -> None:
    lab.capacity._fresh = lambda: "same"
    first = lab.capacity.start(SPEC.pod_class())
    assert lab.capacity.start(SPEC.pod_class()) == first
    assert len(lab.cluster.list("Job").items) == 1


def test_a_job_of_the_same_name_from_another_template_is_not_ours(lab: Lab) -> None:
    lab.capacity._fresh = lambda: "same"
    name = lab.capacity.start(SPEC.pod_class())
    job = lab.cluster.get("Job", name)
    lab.cluster.patch(
        "Job", name, {"metadata": {"annotations": {workloads.TEMPLATE: "x"}}}, uid=job["metadata"]["uid"]
    )
    with pytest.raises(Exists):
        lab.capacity.start(SPEC.pod_class())


def test_what_is_there_is_seen(lab: Lab) -> None:
    first, second = lab.capacity.start(SPEC.pod_class()), lab.capacity.start(SPEC.pod_class(gpu=1))
    lab.pod_of(first)
    seen = {a.job: a for a in lab.capacity.observe()}
    assert (seen[first].why.state, seen[first].node, seen[first].live) == (RUNNING, "node1", True)
    assert (seen[second].why.state, seen[second].name, seen[second].live) == (WAITING, "", True)
    assert seen[second].pod_class == SPEC.pod_class(gpu=1).name


def test_a_job_without_a_pod_says_why_after_five_seconds(lab: Lab) -> None:
    name = lab.capacity.start(SPEC.pod_class())
    job = lab.cluster.get("Job", name)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lab.now))
    lab.cluster.put(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "creationTimestamp": stamp}}
    )
    lab.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e"},
            "reason": "FailedCreate",
            "message": 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted"',
            "involvedObject": {"uid": job["metadata"]["uid"]},
        }
    )
    assert (
        lab.capacity.observe()[0].why.text == "its pod is being made"
        or not lab.capacity.observe()[0].why.final
    )
    lab.now += 10
    [seen] = lab.capacity.observe()
    assert seen.why.final
    assert "PodSecurity" in seen.why.text


def test_a_pod_that_cannot_confirm_its_end_is_buried_with_its_job_first(lab: Lab) -> None:
    name = lab.capacity.start(SPEC.pod_class())
    pod = lab.pod_of(name)
    lab.cluster.delete("Pod", pod["metadata"]["name"], uid=pod["metadata"]["uid"], grace=60)
    assert lab.capacity.bury() == (), "it has its grace, and ten seconds"
    lab.now += 71
    assert lab.capacity.bury() == (f"{name}-p",)
    for kind, gone in (("Pod", f"{name}-p"), ("Job", name)):
        with pytest.raises(Missing):
            lab.cluster.get(kind, gone)


def test_finalizers_of_others_are_left_alone(lab: Lab) -> None:
    name = lab.capacity.start(SPEC.pod_class())
    pod = lab.pod_of(name, finalizers=[FINALIZER, "example.com/keep"])
    lab.cluster.delete("Pod", pod["metadata"]["name"], uid=pod["metadata"]["uid"], grace=0)
    lab.now += 60
    lab.capacity.bury()
    with pytest.raises(Missing):
        lab.cluster.get("Job", name)


def test_stopping_what_is_gone_already_is_no_error(lab: Lab) -> None:
    lab.capacity.start(SPEC.pod_class())
    [agent] = lab.capacity.observe()
    lab.capacity.stop([agent])
    lab.capacity.stop([agent])
    assert lab.capacity.observe() == ()


def test_another_runs_pods_are_not_seen(lab: Lab) -> None:
    other = RunSpec(run="02abc", image="i:1", project="/home/a", namespace="lab")
    lab.cluster.create(workloads.server(other))
    JobCapacity(lab.cluster, other, lambda: "x").start(other.pod_class())
    assert lab.capacity.observe() == ()


def test_an_end_is_seen_with_its_class(lab: Lab) -> None:
    name = lab.capacity.start(SPEC.pod_class())
    pod = lab.pod_of(name, "Failed")
    pod["status"]["containerStatuses"] = [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]
    lab.cluster.put(pod)
    [seen] = lab.capacity.observe()
    assert (seen.why.state, seen.why.kind, seen.live) == (ENDED, "memory", False)
