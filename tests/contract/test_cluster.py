"""The contract `Cluster`, offline: the fake, and both transports against a small API server over it."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.apiserver import echo, serving
from tests.contract.cluster_suite import ClusterContract, ProxyContract, name

from jup2kub.cluster import (
    Cluster,
    Forbidden,
    Invalid,
    Missing,
    Right,
    Unauthorized,
    Unreachable,
    incluster,
    outside,
)
from jup2kub.cluster.incluster import PlainTransport
from jup2kub.cluster.memory import MemoryCluster
from jup2kub.cluster.rest import Request, RestCluster, problem
from jup2kub.errors import UsageError

__all__ = ["name"]
BACKENDS = ("memory", "incluster", "outside")


def kubeconfig(folder: Path, port: int, **user: object) -> Path:
    path = folder / "config"
    text = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "lab"}}],
    }
    path.write_text(json.dumps(text))
    return path


@pytest.fixture
def fake() -> MemoryCluster:
    return MemoryCluster("lab")


@pytest.fixture(params=BACKENDS)
def cluster(request: pytest.FixtureRequest, fake: MemoryCluster, tmp_path: Path) -> Iterator[Cluster]:
    if request.param == "memory":
        yield fake
        return
    with serving(fake) as port:
        found: RestCluster
        if request.param == "incluster":
            found = RestCluster(PlainTransport("127.0.0.1", port, None, None), "lab")
        else:
            found = outside.connect(environ={"KUBECONFIG": str(kubeconfig(tmp_path, port))})
        yield found
        found.close()


class TestCluster(ClusterContract):
    """The suite."""

    def test_a_right_that_is_missing_is_known(self, cluster: Cluster, fake: MemoryCluster) -> None:
        fake.denied.add("create roles.rbac.authorization.k8s.io")
        assert cluster.may(Right("create", "Role")) is False

    def test_the_clusters_own_words_are_kept(self, cluster: Cluster, fake: MemoryCluster) -> None:
        body = b'{"kind":"Status","apiVersion":"v1","message":"exceeded quota: lab","reason":"Forbidden"}'
        fake.refuse = lambda obj: problem(403, body, Request("POST", "/x"))
        with pytest.raises(Forbidden, match="exceeded quota: lab"):
            cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})

    def test_logs_come_line_by_line(self, cluster: Cluster, fake: MemoryCluster) -> None:
        fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}})
        fake.printed["p"] = "eins\nzwei ü\ndrei".encode()
        assert list(cluster.logs("p")) == [b"eins", "zwei ü".encode(), b"drei"]
        assert list(cluster.logs("p", tail=1)) == [b"drei"]


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    """A port that gives back what it hears, in capitals, until the other side ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as line:
                while data := line.recv(1 << 16):
                    line.sendall(data.upper())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()
        thread.join(10)
        assert not thread.is_alive(), "whoever connected never closed"


def test_a_port_of_a_pod_is_a_connection(
    cluster: Cluster, fake: MemoryCluster, listener: tuple[str, int]
) -> None:
    """Bytes come through in both directions, whole and in order, and the end of one side is the end of the other."""
    status = {"phase": "Running", "podIP": listener[0]}
    fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}, "status": status})
    fake.listening["p", listener[1]] = listener
    said, heard = b"abcdefghij" * 50_000, b""
    with cluster.dial("p", listener[1], timeout=10.0) as line:
        line.settimeout(10.0)
        sender = threading.Thread(target=line.sendall, args=(said,), daemon=True)
        sender.start()
        while len(heard) < len(said):
            heard += line.recv(1 << 16)
        sender.join(10)
    assert heard == said.upper()


def test_a_port_of_a_pod_that_is_not_there_is_missing(cluster: Cluster) -> None:
    with pytest.raises(Missing):
        cluster.dial("nobody", 8080)


def test_a_port_forward_that_is_refused_says_why(fake: MemoryCluster, tmp_path: Path) -> None:
    fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}})
    with serving(fake) as port:
        found = outside.connect(environ={"KUBECONFIG": str(kubeconfig(tmp_path, port))})
        with pytest.raises(Unreachable, match="nothing listens on port 8080"):
            found.dial("p", 8080)
        found.close()


class TestProxy(ProxyContract):
    """What comes through the proxy."""

    @pytest.fixture
    def service(self, fake: MemoryCluster) -> str:
        fake.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": {}})
        fake.services["echo"] = echo
        return "echo"

    def test_a_service_without_pods_is_not_reachable_yet(self, cluster: Cluster, fake: MemoryCluster) -> None:
        fake.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": {}})
        with pytest.raises(Unreachable, match="no endpoints"):
            cluster.proxy("echo", 8080, "/")


@pytest.mark.parametrize("backend", ["incluster", "outside"])
def test_no_answer_is_told_as_such(backend: str, fake: MemoryCluster, tmp_path: Path) -> None:
    with serving(fake) as port:
        pass
    found = (
        RestCluster(PlainTransport("127.0.0.1", port, None, None), "lab")
        if backend == "incluster"
        else outside.connect(environ={"KUBECONFIG": str(kubeconfig(tmp_path, port))})
    )
    with pytest.raises(Unreachable, match="no answer from the cluster"):
        found.version()
    found.close()


def plugin(folder: Path, text: str) -> str:
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_exec_plugin_gives_the_token(version: str, fake: MemoryCluster, tmp_path: Path) -> None:
    api = f"client.authentication.k8s.io/{version}"
    said = '{"status": {"token": "abc"}}'
    command = plugin(tmp_path, f"""echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo '{said}'""")
    with serving(fake) as port:
        config = kubeconfig(
            tmp_path, port, exec={"apiVersion": api, "command": command, "interactiveMode": "Never"}
        )
        found = outside.connect(environ={"KUBECONFIG": str(config)})
        assert found.version() == (1, 35)
        found.close()
    assert json.loads((tmp_path / "info").read_text())["apiVersion"] == api


def test_a_failing_exec_plugin_is_quoted(fake: MemoryCluster, tmp_path: Path) -> None:
    command = plugin(tmp_path, "echo 'your session is over' >&2; exit 1")
    user = {"apiVersion": "client.authentication.k8s.io/v1", "command": command}
    with serving(fake) as port:
        found = outside.connect(environ={"KUBECONFIG": str(kubeconfig(tmp_path, port, exec=user))})
        with pytest.raises(Unauthorized, match="your session is over"):
            found.version()
        found.close()


def test_kubeconfigs_are_merged_and_the_first_word_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    one = kubeconfig(first, 1)
    other = json.loads(kubeconfig(second, 2).read_text())
    other["contexts"] = [{"name": "there", "context": {"cluster": "c2", "user": "u", "namespace": "far"}}]
    other["clusters"] = [{"name": "c2", "cluster": {"server": "http://127.0.0.1:2"}}]
    (second / "config").write_text(json.dumps(other))
    environ = {"KUBECONFIG": f"{one}:{second / 'config'}:{tmp_path / 'not-there'}"}
    assert outside.connect(environ=environ).namespace == "lab"
    assert outside.connect("there", environ=environ).namespace == "far"
    assert outside.connect("there", "mine", environ=environ).namespace == "mine"


def test_a_context_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere") as caught:
        outside.connect("nowhere", environ={"KUBECONFIG": str(kubeconfig(tmp_path, 1))})
    assert caught.value.code == "J2K707"
    assert "here" in str(caught.value.hint)


@pytest.mark.parametrize("field", ["as", "auth-provider"])
def test_what_would_be_passed_over_in_silence_is_refused(field: str, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, 1, token="t", **{field: {"name": "x"}})
    with pytest.raises(UsageError, match=field):
        outside.connect(environ={"KUBECONFIG": str(config)})


@pytest.mark.parametrize("text", ["", "[1", "hello"])
def test_a_broken_kubeconfig_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UsageError) as caught:
        outside.connect(environ={"KUBECONFIG": str(tmp_path / "config")})
    assert caught.value.code == "J2K707"


def test_without_a_kubeconfig_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kubeconfig"):
        outside.connect(environ={"HOME": str(tmp_path)})


def test_a_pod_is_told_by_its_service_account(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert not incluster.present(environ, tmp_path)
    (tmp_path / "token").write_text("t")
    assert incluster.present(environ, tmp_path)
    assert not incluster.present({}, tmp_path)


def test_the_token_is_read_again_for_every_request(fake: MemoryCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    with serving(fake) as port:
        transport = PlainTransport("127.0.0.1", port, None, token)
        transport.send(Request("GET", "/version"))
        token.unlink()
        with pytest.raises((Unreachable, Invalid)):
            transport.send(Request("GET", "/version"))
        transport.close()
