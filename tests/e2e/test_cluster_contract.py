"""The contract `Cluster` against a real API server, by both transports, as an ordinary user."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.contract.cluster_suite import ClusterContract, ProxyContract, name
from tests.e2e.conftest import IMAGE

from jup2kub.cluster import Cluster, Missing, Unreachable, incluster, outside
from jup2kub.cluster.rest import RestCluster

__all__ = ["name"]
ECHO = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/missing"):
            status, text = 404, b"no such page"
        else:
            told = {"method": self.command, "path": self.path, "body": body.decode(),
                    "token": self.headers.get("X-J2K-Token", ""), "authorization": "Authorization" in self.headers}
            status, text = 200, json.dumps(told).encode()
        self.send_response(status)
        self.send_header("X-Kind", "echo")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = do
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def plain(config: Path, namespace: str) -> RestCluster:
    """The pod's transport, with the user's token and the cluster's certificate."""
    told = json.loads(config.read_text())
    server = urlsplit(told["clusters"][0]["cluster"]["server"])
    authority = base64.b64decode(told["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    token = config.with_suffix(".token")
    token.write_text(told["users"][0]["user"]["token"])
    assert server.hostname
    context = ssl.create_default_context(cadata=authority)
    return RestCluster(
        incluster.PlainTransport(server.hostname, server.port or 443, context, token), namespace
    )


@pytest.fixture(params=["incluster", "outside"])
def cluster(
    request: pytest.FixtureRequest, as_user: Callable[[str], Path], namespace: str
) -> Iterator[Cluster]:
    config = as_user("edit")
    found = (
        plain(config, namespace)
        if request.param == "incluster"
        else outside.connect(environ={"KUBECONFIG": str(config)})
    )
    yield found
    found.close()


class TestCluster(ClusterContract):
    """The suite."""


class TestProxy(ProxyContract):
    """What comes through the proxy."""

    @pytest.fixture
    def service(self, cluster: Cluster) -> str:
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "echo", "labels": {"app": "echo"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "echo",
                        "image": IMAGE,
                        "command": ["python3", "-c", ECHO],
                        "securityContext": security,
                    }
                ],
            },
        }
        spec = {"selector": {"app": "echo"}, "ports": [{"port": 8080}]}
        cluster.create(pod)
        cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": spec})
        limit = time.monotonic() + 60
        while True:
            try:
                if cluster.proxy("echo", 8080, "/").status == 200:
                    return "echo"
            except (Unreachable, Missing):  # the proxy learns of a new service a moment later
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)  # pods announce themselves to nobody outside
