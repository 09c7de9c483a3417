"""What every `Cluster` does, whatever carries it; the fixtures `cluster` and `world` choose the backend.

Runs offline over the fake and both transports (test_cluster.py), and against a real cluster (tests/e2e).
"""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest

from jup2kub.cluster import Change, Cluster, Conflict, Exists, Invalid, Missing, Right

Obj = dict[str, Any]


def config(name: str, **data: str) -> Obj:
    """A small object of a kind that every cluster has."""
    labels = {"suite": "jup2kub", "one": name}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data,
    }


@pytest.fixture
def name(cluster: Cluster) -> str:
    return f"j2k-{uuid.uuid4().hex[:10]}"


class ClusterContract:
    """The suite."""

    def test_what_was_made_is_found(self, cluster: Cluster, name: str) -> None:
        made = cluster.create(config(name, a="ä"))
        assert cluster.get("ConfigMap", name)["data"] == {"a": "ä"}
        assert made["metadata"]["uid"] == cluster.get("ConfigMap", name)["metadata"]["uid"]
        assert made["metadata"]["namespace"] == cluster.namespace

    def test_what_is_not_there_is_missing(self, cluster: Cluster, name: str) -> None:
        with pytest.raises(Missing, match=name) as caught:
            cluster.get("ConfigMap", name)
        assert (caught.value.status, caught.value.reason, caught.value.code) == (404, "NotFound", "J2K704")

    def test_a_name_is_given_once(self, cluster: Cluster, name: str) -> None:
        cluster.create(config(name))
        with pytest.raises(Exists):
            cluster.create(config(name))

    def test_a_dry_run_makes_nothing(self, cluster: Cluster, name: str) -> None:
        assert cluster.create(config(name), dry_run=True)["metadata"]["name"] == name
        with pytest.raises(Missing):
            cluster.get("ConfigMap", name)

    def test_a_list_holds_what_the_labels_choose_with_its_kind(self, cluster: Cluster, name: str) -> None:
        cluster.create(config(name))
        cluster.create(config(f"{name}-other"))
        found = cluster.list("ConfigMap", f"suite=jup2kub,one={name}").items
        assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in found] == [
            ("ConfigMap", "v1", name)
        ]
        assert cluster.list("ConfigMap", "suite=nothing").items == ()

    def test_a_list_can_be_narrowed_by_a_field(self, cluster: Cluster, name: str) -> None:
        cluster.create(config(name))
        assert len(cluster.list("ConfigMap", fields=f"metadata.name={name}").items) == 1

    def test_apply_makes_and_changes(self, cluster: Cluster, name: str) -> None:
        first = cluster.apply(config(name, a="1"))
        again = cluster.apply(config(name, a="2"))
        assert again["data"] == {"a": "2"}
        assert again["metadata"]["uid"] == first["metadata"]["uid"]

    def test_a_patch_changes_only_what_it_names(self, cluster: Cluster, name: str) -> None:
        made = cluster.create(config(name, a="1", b="2"))
        patched = cluster.patch(
            "ConfigMap", name, {"data": {"a": None, "c": "3"}}, uid=made["metadata"]["uid"]
        )
        assert patched["data"] == {"b": "2", "c": "3"}

    def test_another_objects_uid_refuses_a_patch(self, cluster: Cluster, name: str) -> None:
        cluster.create(config(name, a="1"))
        with pytest.raises(Conflict):
            cluster.patch("ConfigMap", name, {"data": {"a": "2"}}, uid=str(uuid.uuid4()))
        assert cluster.get("ConfigMap", name)["data"] == {"a": "1"}

    def test_another_objects_uid_refuses_a_deletion(self, cluster: Cluster, name: str) -> None:
        made = cluster.create(config(name))
        with pytest.raises(Conflict):
            cluster.delete("ConfigMap", name, uid=str(uuid.uuid4()))
        cluster.delete("ConfigMap", name, uid=made["metadata"]["uid"])
        with pytest.raises(Missing):
            cluster.delete("ConfigMap", name, uid=made["metadata"]["uid"])

    def test_a_watch_tells_what_happens(self, cluster: Cluster, name: str) -> None:
        version = cluster.list("ConfigMap", f"one={name}").version
        seen: list[Change] = []

        def look() -> None:
            for change in cluster.watch("ConfigMap", f"one={name}", version, seconds=20):
                if change.type != "BOOKMARK":
                    seen.append(change)
                if change.type == "DELETED":
                    return

        thread = threading.Thread(target=look)
        thread.start()
        made = cluster.create(config(name, a="1"))
        cluster.patch("ConfigMap", name, {"data": {"a": "2"}}, uid=made["metadata"]["uid"])
        cluster.delete("ConfigMap", name, uid=made["metadata"]["uid"])
        thread.join(20)
        assert [c.type for c in seen] == ["ADDED", "MODIFIED", "DELETED"]
        assert seen[1].object["data"] == {"a": "2"}

    def test_a_watch_ends_by_itself(self, cluster: Cluster, name: str) -> None:
        version = cluster.list("ConfigMap", f"one={name}").version
        changes = list(cluster.watch("ConfigMap", f"one={name}", version, seconds=1))
        assert [c for c in changes if c.type != "BOOKMARK"] == []

    def test_rights_are_known(self, cluster: Cluster) -> None:
        assert cluster.may(Right("create", "Job")) is True

    def test_the_version_is_known(self, cluster: Cluster) -> None:
        assert cluster.version() >= (1, 31)

    def test_a_log_that_does_not_exist_is_missing(self, cluster: Cluster, name: str) -> None:
        with pytest.raises(Missing):
            list(cluster.logs(name))

    def test_an_object_of_another_version_is_refused_here(self, cluster: Cluster, name: str) -> None:
        with pytest.raises((ValueError, Invalid)):
            cluster.create({**config(name), "apiVersion": "v2"})

    def test_a_service_that_is_not_there_is_missing(self, cluster: Cluster, name: str) -> None:
        with pytest.raises(Missing):
            cluster.proxy(name, 8080, "/")

    def test_many_threads_may_call(self, cluster: Cluster, name: str) -> None:
        def make(number: int) -> None:
            cluster.create(config(f"{name}-{number}"))

        threads = [threading.Thread(target=make, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        names = {o["metadata"]["name"] for o in cluster.list("ConfigMap", "suite=jup2kub").items}
        assert {f"{name}-{n}" for n in range(6)} <= names


class ProxyContract:
    """What comes through the API server's proxy; `service` names an echo on port 8080."""

    def test_method_path_body_and_headers_arrive(self, cluster: Cluster, service: str) -> None:
        answer = cluster.proxy(
            service, 8080, "/a/b?c=d%20e", method="POST", body=b"hello", headers={"X-J2K-Token": "t"}
        )
        told = json.loads(answer.body)
        assert answer.status == 200
        assert told == {
            "method": "POST",
            "path": "/a/b?c=d%20e",
            "body": "hello",
            "token": "t",
            "authorization": False,
        }
        assert answer.headers["x-kind"] == "echo"

    def test_the_services_own_refusal_is_an_answer(self, cluster: Cluster, service: str) -> None:
        answer = cluster.proxy(service, 8080, "/missing")
        assert (answer.status, answer.body) == (404, b"no such page")

    def test_a_long_answer_comes_in_pieces(self, cluster: Cluster, service: str) -> None:
        with cluster.proxy_stream(service, 8080, "/x") as pieces:
            assert json.loads(b"".join(pieces))["path"] == "/x"
