"""A fake cluster in memory: what the API server keeps and refuses, and nothing of what controllers do.

Tests make pods run, fail and vanish by `put` and `drop`. Python >= 3.9, standard library only.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Set, Tuple, Union

from jup2kub.cluster import KINDS, Answer, Change, ClusterProblem, Listing, Obj, Right
from jup2kub.cluster.rest import Request, problem

Handler = Callable[[str, str, bytes, Mapping[str, str]], Answer]
"""A service behind the proxy: method, path, body and headers to an answer."""


class MemoryCluster:
    """A `Cluster` without a cluster."""

    def __init__(self, namespace: str = "default") -> None:
        self.namespace = namespace
        self.denied: Set[str] = set()
        """Rights that the user lacks, as `str(Right)`."""
        self.refuse: Callable[[Obj], Optional[ClusterProblem]] = lambda obj: None
        """Admission: called with every object to be made."""
        self.listening: Dict[Tuple[str, int], Tuple[str, int]] = {}
        """What is behind the ports of pods: addresses of this machine, by pod and port."""
        self.services: Dict[str, Handler] = {}
        self.printed: Dict[str, bytes] = {}
        """Logs by pod."""
        self.down: Optional[ClusterProblem] = None
        """What every call raises while the API server is away; None = it answers."""
        self._objects: Dict[Tuple[str, str], Obj] = {}
        self._changes: list[Tuple[int, str, Obj]] = []
        self._numbers = itertools.count(1)
        self._version = 0
        self._changed = threading.Condition()

    def get(self, kind: str, name: str) -> Obj:
        with self._changed:
            return copy.deepcopy(self._found(kind, name))

    def list(self, kind: str, labels: str = "", fields: str = "") -> Listing:
        with self._changed:
            self._reachable()
            items = [
                o for (k, _), o in sorted(self._objects.items()) if k == kind and _chosen(o, labels, fields)
            ]
            return Listing(tuple(copy.deepcopy(items)), str(self._version))

    def create(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        with self._changed:
            self._admit(obj)
            name = obj["metadata"].get("name") or obj["metadata"]["generateName"] + f"x{next(self._numbers)}"
            if (obj["kind"], name) in self._objects:
                raise _error(409, "AlreadyExists", f'{KINDS[obj["kind"]].plural} "{name}" already exists')
            made = copy.deepcopy(obj)
            made["metadata"].update(name=name, uid=f"uid-{next(self._numbers)}", generation=1)
            if KINDS[obj["kind"]].namespaced:
                made["metadata"]["namespace"] = self.namespace
            return copy.deepcopy(made if dry_run else self._keep("ADDED", made))

    def apply(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        with self._changed:
            self._reachable()
            known = self._objects.get((obj["kind"], obj["metadata"]["name"]))
            if known is None:
                return self.create(obj, dry_run=dry_run)
            self._admit(obj)
            merged = _merged(known, obj)
            if merged == known or dry_run:
                return copy.deepcopy(merged)
            return copy.deepcopy(self._keep("MODIFIED", merged))

    def patch(self, kind: str, name: str, changes: Obj, *, uid: str) -> Obj:
        with self._changed:
            known = self._same(kind, name, uid)
            merged = self._keep("MODIFIED", _merged(known, changes))
            self._finish(kind, merged)
            return copy.deepcopy(merged)

    def delete(self, kind: str, name: str, *, uid: str, grace: Optional[int] = None) -> None:
        with self._changed:
            known = self._same(kind, name, uid)
            if known["metadata"].get("finalizers") or (kind == "Pod" and grace != 0 and _runs(known)):
                known = copy.deepcopy(known)
                known["metadata"].setdefault("deletionTimestamp", _stamp(time.time() + (grace or 0)))
                if grace is not None:
                    known["metadata"]["deletionGracePeriodSeconds"] = grace
                self._keep("MODIFIED", known)
                self._finish(kind, known)
                return
            self._remove(kind, known)

    def watch(
        self, kind: str, labels: str = "", version: str = "", seconds: float = 60.0
    ) -> Iterator[Change]:
        seen = int(version or 0)
        end = time.monotonic() + seconds
        if version and self._changes and seen < self._changes[0][0] - 1:
            raise _error(410, "Expired", "too old resource version")
        while True:
            with self._changed:
                self._reachable()
                new = [
                    c
                    for c in self._changes
                    if c[0] > seen and c[2]["kind"] == kind and _chosen(c[2], labels, "")
                ]
                if not new:
                    left = end - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        return
                    continue
            for number, word, obj in new:
                seen = number
                yield Change(word, copy.deepcopy(obj))

    def logs(
        self, pod: str, container: str = "", *, follow: bool = False, tail: Optional[int] = None
    ) -> Iterator[bytes]:
        with self._changed:
            self._found("Pod", pod)
            lines = self.printed.get(pod, b"").splitlines()
        yield from lines if tail is None else lines[-tail:]

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
        self._reachable()
        self._found("Service", service)
        if service not in self.services:
            raise _error(503, "ServiceUnavailable", f'no endpoints available for service "{service}"')
        return self.services[service](
            method, path if path.startswith("/") else f"/{path}", body, headers or {}
        )

    @contextlib.contextmanager
    def proxy_stream(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        *,
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = 30.0,
    ) -> Iterator[Iterator[bytes]]:
        answer = self.proxy(service, port, path, headers=headers, timeout=timeout)
        if answer.status >= 400:
            raise problem(answer.status, answer.body, Request("GET", path))
        yield iter([answer.body])

    def dial(self, pod: str, port: int, timeout: float = 30.0) -> socket.socket:
        self._reachable()
        self._found("Pod", pod)
        if (pod, port) not in self.listening:
            raise _error(503, "ServiceUnavailable", f"nothing listens on port {port} of pod {pod}")
        return socket.create_connection(self.listening[pod, port], timeout=timeout)

    def may(self, right: Right) -> bool:
        self._reachable()
        return str(right) not in self.denied

    def version(self) -> Tuple[int, int]:
        self._reachable()
        return 1, 35

    def close(self) -> None:
        """Nothing is held."""

    def put(self, obj: Obj) -> Obj:
        """Set an object as a controller would, status included, making it if need be."""
        with self._changed:
            known = self._objects.get((obj["kind"], obj["metadata"]["name"]))
            if known is None:
                return self.create(obj)
            return copy.deepcopy(self._keep("MODIFIED", _merged(known, obj)))

    def drop(self, kind: str, name: str) -> None:
        """Let an object vanish."""
        with self._changed:
            self._remove(kind, self._found(kind, name))

    def _reachable(self) -> None:
        if self.down is not None:
            raise self.down

    def _admit(self, obj: Obj) -> None:
        self._reachable()
        if KINDS[obj["kind"]].api != obj["apiVersion"]:
            raise ValueError(f"{obj['kind']} is not {obj['apiVersion']}")
        refused = self.refuse(obj)
        if refused is not None:
            raise refused

    def _found(self, kind: str, name: str) -> Obj:
        self._reachable()
        found = self._objects.get((kind, name))
        if found is None:
            raise _error(404, "NotFound", f'{KINDS[kind].plural} "{name}" not found')
        return found

    def _same(self, kind: str, name: str, uid: str) -> Obj:
        found = self._found(kind, name)
        if found["metadata"]["uid"] != uid:
            raise _error(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        return found

    def _keep(self, word: str, obj: Obj) -> Obj:
        self._version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._objects[obj["kind"], obj["metadata"]["name"]] = obj
        self._changes.append((self._version, word, obj))
        self._changed.notify_all()
        return obj

    def _finish(self, kind: str, obj: Obj) -> None:
        """Remove an object that was to be deleted and that nothing holds any longer."""
        meta = obj["metadata"]
        held = meta.get("finalizers") or (
            kind == "Pod" and _runs(obj) and meta.get("deletionGracePeriodSeconds") != 0
        )
        if "deletionTimestamp" in meta and not held:
            self._remove(kind, obj)

    def _remove(self, kind: str, obj: Obj) -> None:
        self._version += 1
        del self._objects[kind, obj["metadata"]["name"]]
        self._changes.append((self._version, "DELETED", obj))
        uid = obj["metadata"]["uid"]
        owned = [
            (k, o)
            for (k, _), o in list(self._objects.items())
            if any(r["uid"] == uid for r in o["metadata"].get("ownerReferences", ()))
        ]
        for other_kind, other in owned:
            self.delete(other_kind, other["metadata"]["name"], uid=other["metadata"]["uid"])
        self._changed.notify_all()


def _runs(pod: Obj) -> bool:
    """Whether a kubelet would have to end it first."""
    return bool(pod.get("spec", {}).get("nodeName")) and pod.get("status", {}).get("phase") in (
        "Pending",
        "Running",
    )


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _merged(known: Any, changes: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(changes, dict) or not isinstance(known, dict):
        return copy.deepcopy(changes)
    merged = dict(known)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _chosen(obj: Obj, labels: str, fields: str) -> bool:
    have = obj["metadata"].get("labels", {})
    for term in filter(None, labels.split(",")):
        key, equal, value = term.partition("=")
        if (have.get(key) != value.lstrip("=")) if equal else (key not in have):
            return False
    for term in filter(None, fields.split(",")):
        key, _, value = term.partition("=")
        found: Any = obj
        for part in key.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        if str(found) != value:
            return False
    return True


def _error(status: int, reason: str, message: str) -> ClusterProblem:
    body = {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message, "code": status}
    return problem(status, json.dumps(body).encode(), Request("GET", "/"))
