"""HTTP to a run server through the API server's service proxy: a laptop needs nothing but its kubeconfig."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from jup2kub.away import Away
from jup2kub.cluster import Cluster, Forbidden, Invalid, Missing, Unreachable
from jup2kub.manifests.objects import base_name, select
from jup2kub.manifests.spec import PORT, SERVER
from jup2kub.store.link import Answer, Direct, Link, Transport
from jup2kub.store.remote import RemoteStore

log = logging.getLogger(__name__)


class ProxyTransport:
    """One request, one answer, as `store.link` wants it; the token travels in a header of ours, for the proxy strips `Authorization`."""

    def __init__(self, cluster: Cluster, service: str, port: int = PORT) -> None:
        self._cluster, self._service, self._port = cluster, service, port

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        """Raises OSError while the API server or the run server is away."""
        try:
            found = self._cluster.proxy(
                self._service, self._port, path, method=method, body=body, headers=headers, timeout=timeout
            )
        except (Unreachable, Missing) as away:
            # The proxy learns of a new service a moment later than others do.
            raise ConnectionError(away.message) from away
        return Answer(found.status, found.headers, found.body)


class Line:
    """The service proxy; where the user may not use it, a port-forward to the server's pod."""

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._cluster, self._run = cluster, run
        self._proxy: Transport = ProxyTransport(cluster, base_name(run))
        self._forward = Direct("http://run-server", self._dialled)
        self.refused = False
        """The proxy was refused once: it is not asked again."""

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        """Raises OSError while API server or run server are away, Forbidden (J2K703) where neither way is open."""
        if not self.refused:
            try:
                return self._proxy.request(method, path, body, headers, timeout)
            except Forbidden as problem:
                self.refused = True
                log.info("a port-forward is used instead of the service proxy: %s", problem.message)
        return self._forward.request(method, path, body, headers, timeout)

    def close(self) -> None:
        """Close forwarded connections that are not in use."""
        self._forward.close()

    def _dialled(self, timeout: float) -> socket.socket:
        try:
            pods = self._cluster.list("Pod", select(self._run, SERVER)).items
            for pod in pods:
                if not pod["metadata"].get("deletionTimestamp"):
                    return self._cluster.dial(pod["metadata"]["name"], PORT, timeout)
        except (Unreachable, Missing, Invalid) as away:
            # Invalid: a pod that does not run yet.
            raise ConnectionError(away.message) from away
        raise ConnectionError("the run server has no pod")


def line(cluster: Cluster, run: str, token: str, folder: Path, patience: float) -> Away:
    """Return the line to a run's server. `folder`: for blobs on the way; `patience` in seconds."""
    link = Link(Line(cluster, run), token, patience=patience)
    return Away(link, RemoteStore(link, folder))
