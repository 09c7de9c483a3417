"""Deploying is idempotent, waits with words, and never touches what is not ours."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.contract.apiserver import echo

from jup2kub.cluster import Exists, Missing, services
from jup2kub.cluster.burial import FINALIZER
from jup2kub.cluster.deployer import DynamicPodDeployer
from jup2kub.cluster.memory import MemoryCluster
from jup2kub.cluster.rest import Request, problem
from jup2kub.cluster.services import Unanswered, communicate_with_service, get_cluster_ip
from jup2kub.errors import EnvironmentProblem
from jup2kub.manifests import render
from jup2kub.manifests.objects import labels
from jup2kub.manifests.spec import SERVER, RunSpec

SPEC = RunSpec(
    run="01abc",
    image="i:1",
    project="/home/a",
    namespace="lab",
    bundle="j2k-01abc-bundle",
    notebook="0123abcd",
)


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster("lab")


def objects(token: str = "t") -> list[dict[str, Any]]:
    return render.run_objects(SPEC, token, b"program")


def server_pod(ready: bool = True, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
    meta = {"name": "server-1", "labels": labels("01abc", SERVER)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {},
        "status": {"phase": "Running" if ready else "Pending", "conditions": conditions, **status},
    }


def test_deploying_twice_changes_nothing(cluster: MemoryCluster) -> None:
    deployer = DynamicPodDeployer(cluster)
    first = deployer.deploy(objects())
    again = deployer.deploy(objects())
    assert [o["metadata"]["resourceVersion"] for o in first] == [
        o["metadata"]["resourceVersion"] for o in again
    ]


def test_what_was_computed_otherwise_is_changed(cluster: MemoryCluster) -> None:
    deployer = DynamicPodDeployer(cluster)
    deployer.deploy(objects("one"))
    deployer.deploy(objects("two"))
    assert cluster.get("Secret", "j2k-01abc-token")["data"] == {"token": "dHdv"}


def test_what_belongs_to_another_is_refused_and_left_alone(cluster: MemoryCluster) -> None:
    cluster.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "j2k-01abc"}, "spec": {"mine": True}}
    )
    with pytest.raises(Exists, match="is not this run's"):
        DynamicPodDeployer(cluster).deploy(objects())
    assert cluster.get("Service", "j2k-01abc")["spec"] == {"mine": True}


def test_a_second_run_of_the_notebook_takes_the_claim_that_is_there(cluster: MemoryCluster) -> None:
    deployer = DynamicPodDeployer(cluster)
    deployer.deploy(objects())
    other = RunSpec(**{**vars(SPEC), "run": "02abc", "bundle": "j2k-02abc-bundle"})
    deployer.deploy(render.run_objects(other, "t", b"program"))
    assert len(cluster.list("PersistentVolumeClaim").items) == 1


def test_waiting_ends_when_the_pod_is_ready(cluster: MemoryCluster) -> None:
    told: list[str] = []
    cluster.put(server_pod(ready=False))
    timer = threading.Timer(0.2, lambda: cluster.put(server_pod()))
    timer.start()
    pod = DynamicPodDeployer(cluster, told.append).wait("01abc", SERVER, 20)
    timer.join()
    assert pod["metadata"]["name"] == "server-1"
    assert told == ["server: it is being started"]


def test_waiting_ends_as_soon_as_it_is_hopeless(cluster: MemoryCluster) -> None:
    state = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image"}}
    cluster.put(server_pod(ready=False, containerStatuses=[{"state": state}]))
    with pytest.raises(EnvironmentProblem, match="couldn't parse image") as caught:
        DynamicPodDeployer(cluster).wait("01abc", SERVER, 60)
    assert caught.value.code == "J2K718"


def test_waiting_has_an_end(cluster: MemoryCluster) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        DynamicPodDeployer(cluster).wait("01abc", SERVER, 0.2)
    assert caught.value.code == "J2K717"


def test_pruning_removes_a_run_and_nothing_else(cluster: MemoryCluster) -> None:
    deployer = DynamicPodDeployer(cluster)
    deployer.deploy(objects())
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "foreign", "labels": {"jup2kub.dev/run": "01abc"}},
        }
    )
    removed = deployer.prune("01abc")
    assert "deployment/j2k-01abc-server" in removed
    assert cluster.get("ConfigMap", "foreign")
    assert cluster.get("PersistentVolumeClaim", "j2k-store-0123abcd"), "results stay"
    with pytest.raises(Missing):
        cluster.get("Secret", "j2k-01abc-token")


def test_pruning_outlasts_controllers_that_make_one_more_pod(cluster: MemoryCluster) -> None:
    deployer = DynamicPodDeployer(cluster, pause=lambda seconds: late())
    deployer.deploy(objects())
    more = [server_pod(ready=True)]

    def late() -> None:
        if more:
            cluster.put(more.pop())

    deployer.prune("01abc")
    assert not more
    assert cluster.list("Pod").items == ()


def test_pods_of_a_node_that_does_not_answer_are_removed_by_force(cluster: MemoryCluster) -> None:
    pod = server_pod(ready=True)
    pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[FINALIZER])
    cluster.put(pod)
    DynamicPodDeployer(cluster).prune("01abc")
    assert cluster.list("Pod").items == ()


def test_what_the_cluster_would_refuse_is_told_and_not_made(cluster: MemoryCluster) -> None:
    body = b'{"kind":"Status","message":"exceeded quota: lab","reason":"Forbidden"}'
    cluster.refuse = lambda obj: (
        problem(403, body, Request("POST", "/x")) if obj["kind"] == "Service" else None
    )
    [(refused, why)] = DynamicPodDeployer(cluster).check(objects())
    assert refused["kind"] == "Service"
    assert "exceeded quota" in why.message
    assert cluster.list("Deployment").items == ()


def test_the_papers_two_functions_give_values(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    monkeypatch.setattr(services, "connect", lambda namespace="": cluster)
    assert get_cluster_ip("web", "lab") == "10.96.0.7"
    gone = get_cluster_ip("nowhere", "lab")
    assert isinstance(gone, Unanswered)
    assert (gone.code, gone.again) == ("J2K704", False)
    early = communicate_with_service("web", "lab", "/x")
    assert isinstance(early, Unanswered)
    assert early.again
    cluster.services["web"] = echo
    answer = communicate_with_service("web", "lab", "/x", timeout=1.0)
    assert not isinstance(answer, Unanswered)
    assert b'"path": "/x"' in answer.body
