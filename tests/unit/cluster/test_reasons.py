"""Why a pod does not run, in words: from what a real cluster says."""

from __future__ import annotations

from typing import Any

import pytest

from jup2kub.cluster import reasons
from jup2kub.cluster.reasons import ENDED, ENDING, RUNNING, STARTING, WAITING, of_job, of_pod

Obj = dict[str, Any]


def pod(
    phase: str = "Pending", scheduled: bool = True, asks: dict[str, str] | None = None, **status: Any
) -> Obj:
    condition = {"type": "PodScheduled", "status": "True" if scheduled else "False"}
    if message := status.pop("unschedulable", ""):
        condition |= {"reason": "Unschedulable", "message": message}
    whole = {"phase": phase, "conditions": [condition, *status.pop("conditions", [])], **status}
    boxes = [{"resources": {"requests": asks or {}}}]
    return {
        "kind": "Pod",
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": boxes},
        "status": whole,
    }


def waiting(reason: str, message: str = "") -> Obj:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


def over(code: int, reason: str = "Error", message: str = "") -> Obj:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"containerStatuses": [{"state": state}]}


def event(reason: str, message: str, count: int = 1, at: str = "2026-01-01T00:00:00Z") -> Obj:
    return {"reason": reason, "message": message, "count": count, "lastTimestamp": at, "metadata": {}}


def test_a_gpu_that_no_node_has() -> None:
    why = of_pod(
        pod(
            scheduled=False,
            asks={"nvidia.com/gpu": "1", "cpu": "1"},
            unschedulable="0/7 nodes are available: 7 Insufficient nvidia.com/gpu. preemption: 0/7 nodes are available: "
            "7 Preemption is not helpful for scheduling.",
        )
    )
    assert (why.state, why.text) == (WAITING, "waiting for 1 nvidia.com/gpu (0 of 7 nodes have one free)")
    assert not why.final, "a node may come"


def test_memory_beside_a_taint() -> None:
    text = (
        "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
        "2 Insufficient memory. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    why = of_pod(pod(scheduled=False, asks={"memory": "900Gi"}, unschedulable=text))
    assert why.text.startswith(
        "waiting for 900Gi memory (1 of 3 nodes has that much free; 1 node(s) had untolerated"
    )


def test_what_most_nodes_lack_is_named_in_the_words_of_later_schedulers() -> None:
    text = (
        "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    why = of_pod(pod(scheduled=False, asks={"nvidia.com/gpu": "1", "cpu": "500m"}, unschedulable=text))
    assert why.text == "waiting for 1 nvidia.com/gpu (0 of 2 nodes have one free; 1 Insufficient cpu)"


def test_another_reason_is_quoted() -> None:
    text = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    why = of_pod(pod(scheduled=False, unschedulable=text))
    assert why.text == "waiting for a node: 2 node(s) didn't match Pod's node affinity/selector (of 2 nodes)"


def test_the_autoscaler_has_its_say() -> None:
    told = [event("TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2}]")]
    why = of_pod(pod(scheduled=False, unschedulable="0/1 nodes are available: 1 Insufficient cpu."), told)
    assert "autoscaler: pod triggered scale-up" in why.text


@pytest.mark.parametrize(
    ("words", "count", "final"),
    [
        ('Failed to pull image "x": rpc error: x: not found', 1, False),
        ('Failed to pull image "x": rpc error: x: not found', 3, True),
        ('Failed to pull image "x": unauthorized: authentication required', 3, True),
        ('Failed to pull image "x": dial tcp: connection refused', 9, False),
        ('Failed to pull image "x": unexpected status 503, not found', 9, False),
    ],
)
def test_an_image_is_given_up_after_three_refusals_and_never_for_an_absent_registry(
    words: str, count: int, final: bool
) -> None:
    why = of_pod(pod(**waiting("ImagePullBackOff", "Back-off")), [event("Failed", words, count)])
    assert (why.state, why.final, why.kind) == (STARTING, final, reasons.IMAGE)
    assert words in why.text


def test_an_image_that_cannot_be_is_given_up_at_once() -> None:
    why = of_pod(pod(**waiting("InvalidImageName", "couldn't parse image")))
    assert why.final
    assert "couldn't parse image" in why.text


def test_a_volume_that_does_not_come_is_told() -> None:
    why = of_pod(pod(), [event("FailedMount", "MountVolume.SetUp failed for volume")])
    assert why.text == "MountVolume.SetUp failed for volume"


def test_running() -> None:
    assert of_pod(pod("Running")).state == RUNNING


def test_asked_to_end_because_its_node_is_silent() -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    gone = pod("Running", conditions=[disrupted])
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    why = of_pod(gone)
    assert (why.state, why.text, why.kind) == (ENDING, "its node does not answer", reasons.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (over(137, "OOMKilled"), reasons.MEMORY, "it ran out of memory"),
        (over(0, "OOMKilled"), reasons.MEMORY, "it ran out of memory"),
        (over(1, "Error", "a\nlast words"), reasons.INFRASTRUCTURE, "it ended with exit code 1: last words"),
        (over(0, "Completed"), "", ""),
        (
            {
                "reason": "Evicted",
                "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
            },
            reasons.STORAGE,
            "evicted: Pod ephemeral local storage usage exceeds",
        ),
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory."},
            reasons.INFRASTRUCTURE,
            "evicted: The node was low",
        ),
    ],
)
def test_ends_are_classes(status: Obj, kind: str, text: str) -> None:
    why = of_pod(pod("Failed", **status))
    assert (why.state, why.kind) == (ENDED, kind)
    assert why.text.startswith(text)


QUOTA = (
    'Error creating: pods "x" is forbidden: exceeded quota: lab, requested: limits.memory=2Gi, '
    "used: limits.memory=7Gi, limited: limits.memory=8Gi"
)


def job() -> Obj:
    return {"kind": "Job", "metadata": {"name": "j", "uid": "u"}}


def test_a_full_quota_is_waited_for() -> None:
    why = of_job(job(), [event("FailedCreate", QUOTA)])
    assert not why.final
    assert why.text.startswith("waiting for quota: it asks for limits.memory=2Gi")


def test_a_quota_that_is_too_small_for_one_pod_is_final() -> None:
    why = of_job(
        job(),
        [event("FailedCreate", QUOTA.replace("limited: limits.memory=8Gi", "limited: limits.memory=1Gi"))],
    )
    assert why.final


@pytest.mark.parametrize(
    "words",
    [
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
        'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
    ],
)
def test_what_admission_refuses_is_final_and_quoted(words: str) -> None:
    why = of_job(job(), [event("FailedCreate", f"Error creating: {words}")])
    assert why.final
    assert words.partition(": ")[2] in why.text


def test_the_newest_word_counts() -> None:
    told = [event("FailedCreate", "Error creating: old", at="2026-01-01T00:00:00Z")]
    told.append(event("FailedCreate", QUOTA, at="2026-01-01T00:01:00Z"))
    assert "quota" in of_job(job(), told).text


def looping(count: int, code: int, message: str = "", reason: str = "Error") -> Obj:
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}}
    return {"containerStatuses": [{"state": state, "lastState": last, "restartCount": count}]}


def test_a_container_that_ends_again_and_again_says_why() -> None:
    words = "run server …\nerror: J2K530 the run server has no keys for S3\n"
    once, often = (of_pod(pod("Running", **looping(count, 1, words))) for count in (1, 3))
    assert (once.state, once.final) == (STARTING, False)
    assert "J2K530 the run server has no keys for S3" in once.text
    assert (often.state, often.final) == (STARTING, True)


def test_a_container_that_something_else_ends_may_come_up_yet() -> None:
    assert not of_pod(pod("Running", **looping(9, 137))).final
    starved = of_pod(pod("Running", **looping(9, 137, reason="OOMKilled")))
    assert (starved.kind, starved.final) == (reasons.MEMORY, False)
