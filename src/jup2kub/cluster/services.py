"""`get_cluster_ip` and `communicate_with_service`, as the paper names them; what goes wrong is a value, not an exception.

For a look from outside, by hand or from a notebook: parts of a run find each other by DNS names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from jup2kub.cluster import Answer, Cluster, ClusterProblem, Unreachable
from jup2kub.cluster.deployer import connect
from jup2kub.errors import Jup2KubError


@dataclass(frozen=True)
class Unanswered:
    """Why there is no answer."""

    code: str
    reason: str
    hint: str
    again: bool = False
    """Whether trying again may help: nothing answered in time, or no pod is ready."""


def get_cluster_ip(
    service: str, namespace: str = "", *, cluster: Optional[Cluster] = None
) -> Union[str, Unanswered]:
    """Return the address of a service inside its cluster; `None` is its word for a headless one.

    `namespace` empty = the context's. `cluster` None = the one that this process may speak to.
    """
    try:
        used = cluster or connect(namespace=namespace)
        try:
            return str(used.get("Service", service)["spec"].get("clusterIP") or "None")
        finally:
            if cluster is None:
                used.close()
    except Jup2KubError as problem:
        return _unanswered(problem)


def communicate_with_service(
    service: str,
    namespace: str = "",
    path: str = "/",
    *,
    port: Union[int, str] = "",
    method: str = "GET",
    body: bytes = b"",
    timeout: float = 10.0,
    cluster: Optional[Cluster] = None,
) -> Union[Answer, Unanswered]:
    """Ask a service over HTTP through the API server, so that it works from anywhere that the kubeconfig does.

    `port`: name or number; empty = the service's first. `timeout` in seconds. Any status of the service is an answer.
    """
    try:
        used = cluster or connect(namespace=namespace)
        try:
            ports = used.get("Service", service)["spec"].get("ports") or []
            if not port and not ports:
                return Unanswered("J2K704", f"service {service} has no port", "name one")
            return used.proxy(
                service, port or int(ports[0]["port"]), path, method=method, body=body, timeout=timeout
            )
        finally:
            if cluster is None:
                used.close()
    except Jup2KubError as problem:
        return _unanswered(problem)


def _unanswered(problem: Jup2KubError) -> Unanswered:
    again = isinstance(problem, Unreachable)
    if isinstance(problem, ClusterProblem) and "no endpoints available" in problem.message:
        return Unanswered(problem.code, problem.message, "no pod of the service is ready: look at them", True)
    return Unanswered(problem.code, problem.message, problem.hint or "", again)
