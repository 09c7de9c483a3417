"""The Kubernetes API as this project needs it: one contract, and the errors that stop at its edge.

Objects are plain JSON values (`Obj`), as `manifests` computes them and the API server returns them. Backends:
`outside.connect` (kubeconfig, contexts, exec plugins; for the command line), `incluster.connect` (standard library;
for the run server in a pod), and `memory.MemoryCluster` (a fake). All pass the same contract tests.

Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, Mapping, Optional, Protocol, Tuple, Union

from jup2kub.errors import EnvironmentProblem

Obj = Dict[str, Any]
"""One Kubernetes object, a JSON value with the API's own field names."""
FIELD_MANAGER = "jup2kub"
"""Owner of the fields that this project applies."""


@dataclass(frozen=True)
class Kind:
    """How the API addresses a kind of object."""

    name: str
    api: str
    """`v1`, or group and version."""
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.api.rpartition("/")[0]


def _kinds() -> Mapping[str, Kind]:
    table = {
        "v1": "ConfigMap Secret Service Pod PersistentVolumeClaim ServiceAccount Event LimitRange ResourceQuota",
        "apps/v1": "Deployment StatefulSet ReplicaSet",
        "batch/v1": "Job",
        "autoscaling/v2": "HorizontalPodAutoscaler",
        "policy/v1": "PodDisruptionBudget",
        "networking.k8s.io/v1": "NetworkPolicy",
        "rbac.authorization.k8s.io/v1": "Role RoleBinding",
        "discovery.k8s.io/v1": "EndpointSlice",
        "coordination.k8s.io/v1": "Lease",
    }
    wide = {"v1": "Namespace Node PersistentVolume", "storage.k8s.io/v1": "StorageClass"}
    irregular = {"NetworkPolicy": "networkpolicies", "StorageClass": "storageclasses"}
    return {
        name: Kind(name, api, irregular.get(name, name.lower() + "s"), namespaced)
        for namespaced, apis in ((True, table), (False, wide))
        for api, names in apis.items()
        for name in names.split()
    }


KINDS = _kinds()
"""Every kind this project touches, by name."""


class ClusterProblem(EnvironmentProblem):
    """The cluster refused or did not answer."""

    status = 0
    """HTTP status of the answer; 0 = there was none."""
    reason = ""
    """The API's own word, such as `AlreadyExists`."""


class Unreachable(ClusterProblem):
    """No answer, or one that says to try again: connection refused, time-out, 429, 5xx."""


class Unauthorized(ClusterProblem):
    """The API server does not know who asks (401)."""


class Forbidden(ClusterProblem):
    """The user may not do this, or quota or admission refuses it (403)."""


class Missing(ClusterProblem):
    """There is no such object (404)."""


class Exists(ClusterProblem):
    """An object of this name exists (409 AlreadyExists)."""


class Conflict(ClusterProblem):
    """The object is another one, or was changed meanwhile (409)."""


class Gone(ClusterProblem):
    """The version to watch from is too old: list again (410)."""


class Invalid(ClusterProblem):
    """The API server does not accept the object as it is (400, 422)."""


@dataclass(frozen=True)
class Listing:
    """Objects of one kind at one moment."""

    items: Tuple[Obj, ...]
    """In the API's order: by name."""
    version: str
    """`resourceVersion` to watch from."""


@dataclass(frozen=True)
class Change:
    """One line of a watch."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""
    object: Obj


@dataclass(frozen=True)
class Right:
    """Something that a user may or may not do."""

    verb: str
    kind: str
    """Name of a kind in `KINDS`."""
    subresource: str = ""
    name: str = ""
    """Empty = any object."""

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        what = kind.plural + (f"/{self.subresource}" if self.subresource else "")
        return f"{self.verb} {what}" + (f".{kind.group}" if kind.group else "")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that came through the API server's proxy."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


class Cluster(Protocol):
    """One namespace of a cluster. Methods raise ClusterProblem; calls may be made from several threads at once."""

    namespace: str
    """Where objects without a namespace of their own live."""

    def get(self, kind: str, name: str) -> Obj:
        """Return an object. Raises Missing."""

    def list(self, kind: str, labels: str = "", fields: str = "") -> Listing:
        """Return the objects that the label and field selectors choose."""

    def create(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Make an object with POST. Raises Exists, Forbidden, Invalid."""

    def apply(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Make the object so (server-side apply, KEP-555), taking the fields over from others."""

    def patch(self, kind: str, name: str, changes: Obj, *, uid: str) -> Obj:
        """Change an object by a JSON merge patch (RFC 7396), if it is still the one with `uid`. Raises Conflict, Missing."""

    def delete(self, kind: str, name: str, *, uid: str, grace: Optional[int] = None) -> None:
        """Delete an object and what it owns, if it is still the one with `uid`; `grace` in seconds, 0 = by force.

        Raises Conflict (another object has the name now), Missing.
        """

    def watch(
        self, kind: str, labels: str = "", version: str = "", seconds: float = 60.0
    ) -> Iterator[Change]:
        """Yield changes since `version`, at most for `seconds`. Raises Gone: list again."""

    def logs(
        self, pod: str, container: str = "", *, follow: bool = False, tail: Optional[int] = None
    ) -> Iterator[bytes]:
        """Yield what the container has printed, line by line without the line's end. Raises Missing, Invalid (no log yet)."""

    def proxy(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Speak HTTP with a service through the API server, which strips `Authorization`. Any status is an answer.

        `path` may hold a query. Raises Unreachable, Forbidden, Missing (the service, told apart from the service's own
        404 by the API's Status object).
        """

    def proxy_stream(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        *,
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = 30.0,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Yield the pieces of one long answer (GET) as they come. `timeout`: seconds without a byte."""

    def dial(self, pod: str, port: int, timeout: float = 30.0) -> socket.socket:
        """Return a connection to a port of a pod; `timeout` for making it. Raises Forbidden, Missing, Unreachable.

        From outside it is a port-forward through the API server, within the cluster a plain connection.
        """

    def may(self, right: Right) -> bool:
        """Return whether the user may do this here (SelfSubjectAccessReview)."""

    def version(self) -> Tuple[int, int]:
        """Return the major and minor version of Kubernetes."""

    def close(self) -> None:
        """Release connections."""
