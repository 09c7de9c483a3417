"""HTTP to a run server through the API server's service proxy: a laptop needs nothing but its kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jup2kub.away import Away
from jup2kub.cluster import Cluster, Missing, Unreachable
from jup2kub.manifests.objects import base_name
from jup2kub.manifests.spec import PORT
from jup2kub.store.link import Answer, Link
from jup2kub.store.remote import RemoteStore


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


def line(cluster: Cluster, run: str, token: str, folder: Path, patience: float) -> Away:
    """Return the line to a run's server. `folder`: for blobs on the way; `patience` in seconds."""
    link = Link(ProxyTransport(cluster, base_name(run)), token, patience=patience)
    return Away(link, RemoteStore(link, folder))
