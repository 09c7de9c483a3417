"""The contract `Cluster` over any HTTP transport: paths, parameters, and errors of the API in one place.

Paths and verbs: https://kubernetes.io/docs/reference/using-api/api-concepts/. Python >= 3.9, standard library only.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Protocol, Tuple, Type, Union
from urllib.parse import quote, urlencode

from jup2kub.cluster import (
    FIELD_MANAGER,
    KINDS,
    Answer,
    Change,
    ClusterProblem,
    Conflict,
    Exists,
    Forbidden,
    Gone,
    Invalid,
    Kind,
    Listing,
    Missing,
    Obj,
    Right,
    Unauthorized,
    Unreachable,
)

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""JSON is YAML; the content type `apply-patch+json` is younger than the oldest Kubernetes we take."""
MERGE = "application/merge-patch+json"
SECONDS = 30.0
PAGE = 500
"""Objects that one answer of a list may hold (chunking, KEP-365)."""


@dataclass(frozen=True)
class Request:
    """One HTTP request to the API server."""

    method: str
    path: str
    """With its query, percent-encoded."""
    body: Optional[bytes] = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = SECONDS
    """Seconds for the connection, and without a byte."""


class Stream(Protocol):
    """An answer that is read as it comes."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    def pieces(self) -> Iterator[bytes]:
        """Yield what comes. Raises Unreachable when the connection breaks."""


class Transport(Protocol):
    """Sends requests with the user's identity. Raises Unreachable without an answer; any status is an answer."""

    def send(self, request: Request) -> Answer:
        """Return the whole answer."""

    def stream(self, request: Request) -> contextlib.AbstractContextManager[Stream]:
        """Return the answer while it comes."""

    def dial(self, request: Request, address: Tuple[str, int]) -> socket.socket:
        """Return a connection to a pod: by the port-forward that is asked for, or to its own address."""

    def close(self) -> None:
        """Release connections."""


class RestCluster:
    """A `Cluster` that speaks to an API server."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self.namespace = namespace

    def get(self, kind: str, name: str) -> Obj:
        return self._json(Request("GET", self._path(KINDS[kind], name)))

    def list(self, kind: str, labels: str = "", fields: str = "") -> Listing:
        items: list[Obj] = []
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(PAGE)}
        while True:
            page = self._json(Request("GET", self._path(KINDS[kind], **query)))
            # Items of a list come without their kind.
            items += [
                {"apiVersion": KINDS[kind].api, "kind": kind, **item} for item in page.get("items") or ()
            ]
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return Listing(tuple(items), meta.get("resourceVersion", ""))
            query["continue"] = meta["continue"]

    def create(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        query = {
            "fieldManager": FIELD_MANAGER,
            "dryRun": "All" if dry_run else "",
            "fieldValidation": "Strict",
        }
        return self._json(self._with_body("POST", self._path(_kind(obj), **query), obj, JSON))

    def apply(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        query = {
            "fieldManager": FIELD_MANAGER,
            "force": "true",
            "dryRun": "All" if dry_run else "",
            "fieldValidation": "Strict",
        }
        path = self._path(_kind(obj), obj["metadata"]["name"], **query)
        return self._json(self._with_body("PATCH", path, obj, APPLY))

    def patch(self, kind: str, name: str, changes: Obj, *, uid: str) -> Obj:
        body = {**changes, "metadata": {**changes.get("metadata", {}), "uid": uid}}
        path = self._path(KINDS[kind], name, fieldManager=FIELD_MANAGER)
        request = self._with_body("PATCH", path, body, MERGE)
        answer = self._transport.send(request)
        # A merge patch has no preconditions; of another object its uid "is immutable" (422).
        other = answer.status == 422 and b"metadata.uid" in answer.body
        if answer.status >= 400:
            raise problem(409 if other else answer.status, answer.body, request)
        return dict(json.loads(answer.body))

    def delete(self, kind: str, name: str, *, uid: str, grace: Optional[int] = None) -> None:
        options: Obj = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self._json(self._with_body("DELETE", self._path(KINDS[kind], name), options, JSON))

    def watch(
        self, kind: str, labels: str = "", version: str = "", seconds: float = 60.0
    ) -> Iterator[Change]:
        query = {
            "watch": "1",
            "labelSelector": labels,
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(seconds))),
            "allowWatchBookmarks": "true",
        }
        request = Request("GET", self._path(KINDS[kind], **query), timeout=seconds + 15)
        with self._transport.stream(request) as answer:
            if answer.status >= 400:
                raise problem(answer.status, b"".join(answer.pieces()), request)
            for line in lines(answer.pieces()):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise problem(
                        event["object"].get("code", 500), json.dumps(event["object"]).encode(), request
                    )
                yield Change(event["type"], event["object"])

    def logs(
        self, pod: str, container: str = "", *, follow: bool = False, tail: Optional[int] = None
    ) -> Iterator[bytes]:
        query = {
            "container": container,
            "follow": "true" if follow else "",
            "tailLines": "" if tail is None else str(tail),
        }
        path = self._path(KINDS["Pod"], pod, "log", **query)
        request = Request("GET", path, timeout=3600.0 if follow else SECONDS)
        with self._transport.stream(request) as answer:
            if answer.status >= 400:
                raise problem(answer.status, b"".join(answer.pieces()), request)
            yield from lines(answer.pieces())

    def proxy(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = SECONDS,
    ) -> Answer:
        request = self._through(service, port, path, headers, timeout, method, body)
        answer = self._transport.send(request)
        if answer.status >= 400 and _is_status(answer.body):
            raise problem(answer.status, answer.body, request)
        return answer

    @contextlib.contextmanager
    def proxy_stream(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        *,
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = SECONDS,
    ) -> Iterator[Iterator[bytes]]:
        request = self._through(service, port, path, headers, timeout)
        with self._transport.stream(request) as answer:
            if answer.status >= 400:
                raise problem(answer.status, b"".join(answer.pieces()), request)
            yield answer.pieces()

    def dial(self, pod: str, port: int, timeout: float = SECONDS) -> socket.socket:
        found = self.get("Pod", pod)
        path = self._path(KINDS["Pod"], pod, "portforward", ports=str(port))
        address = (found.get("status", {}).get("podIP", ""), port)
        return self._transport.dial(Request("GET", path, timeout=timeout), address)

    def may(self, right: Right) -> bool:
        kind = KINDS[right.kind]
        attributes = {
            "namespace": self.namespace if kind.namespaced else "",
            "verb": right.verb,
            "group": kind.group,
            "resource": kind.plural,
            "subresource": right.subresource,
            "name": right.name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {k: v for k, v in attributes.items() if v}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._json(self._with_body("POST", path, review, JSON))
        return bool((answer.get("status") or {}).get("allowed"))

    def version(self) -> Tuple[int, int]:
        found = self._json(Request("GET", "/version"))
        major, minor = (re.match(r"\d*", str(found.get(key, "")))[0] for key in ("major", "minor"))  # type: ignore[index]
        return int(major or 0), int(minor or 0)

    def close(self) -> None:
        self._transport.close()

    def _path(self, kind: Kind, name: str = "", subresource: str = "", **query: str) -> str:
        parts = ["", "api" if "/" not in kind.api else "apis", kind.api]
        if kind.namespaced:
            parts += ["namespaces", quote(self.namespace, safe="")]
        parts += [
            kind.plural,
            *([quote(name, safe=":")] if name else []),
            *([subresource] if subresource else []),
        ]
        asked = urlencode({k: v for k, v in query.items() if v})
        return "/".join(parts) + (f"?{asked}" if asked else "")

    def _through(
        self,
        service: str,
        port: Union[int, str],
        path: str,
        headers: Optional[Mapping[str, str]],
        timeout: float,
        method: str = "GET",
        body: bytes = b"",
    ) -> Request:
        base = self._path(KINDS["Service"], f"{service}:{port}", "proxy")
        whole = base + (path if path.startswith("/") else f"/{path}")
        sent = dict(headers or {})
        if body:
            sent.setdefault("Content-Type", "application/octet-stream")
        return Request(method, whole, body or (b"" if method in ("POST", "PUT") else None), sent, timeout)

    def _with_body(self, method: str, path: str, body: Obj, content_type: str) -> Request:
        return Request(method, path, json.dumps(body).encode(), {"Content-Type": content_type})

    def _json(self, request: Request) -> Obj:
        answer = self._transport.send(request)
        if answer.status >= 400:
            raise problem(answer.status, answer.body, request)
        try:
            found = json.loads(answer.body or b"{}")
        except ValueError as error:
            raise problem(502, answer.body, request) from error
        return dict(found)


def _kind(obj: Obj) -> Kind:
    kind = KINDS[obj["kind"]]
    if obj["apiVersion"] != kind.api:
        raise ValueError(f"{kind.name} is {kind.api} here, not {obj['apiVersion']}")
    return kind


def _is_status(body: bytes) -> bool:
    """Whether an answer is the API's own, and not that of the service behind its proxy."""
    if not body.startswith(b'{"kind":"Status"'):
        return False
    with contextlib.suppress(ValueError):
        return bool(json.loads(body).get("apiVersion") == "v1")
    return False


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines without their ends; a last one without an end too."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest


CLASSES: Dict[int, Type[ClusterProblem]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unreachable,
}
CODES: Mapping[Type[ClusterProblem], Tuple[str, str]] = {
    Unreachable: ("J2K701", "check that the cluster is up and can be reached: `kubectl get --raw /readyz`"),
    Unauthorized: ("J2K702", "log in again: `kubectl auth whoami` shows who the cluster takes you for"),
    Forbidden: ("J2K703", "ask an administrator for the right that is named, or choose another --namespace"),
    Missing: ("J2K704", "check the names, the --context and the --namespace"),
    Exists: ("J2K705", "something else has this name: delete it, or choose another --namespace"),
    Conflict: ("J2K705", "it was changed or replaced by somebody else meanwhile: try again"),
    Gone: ("J2K701", "try again"),
    Invalid: ("J2K706", "the message is the cluster's own; if the object is ours, please report it"),
}


def problem(status: int, body: bytes, request: Request) -> ClusterProblem:
    """Return the error that an answer of the API server stands for, with the server's own words."""
    text, reason = body.decode(errors="replace").strip()[:500], ""
    with contextlib.suppress(ValueError):
        told: Any = json.loads(body)
        if isinstance(told, dict):
            text, reason = str(told.get("message") or text), str(told.get("reason") or "")
    kind = CLASSES.get(status, Unreachable if status >= 500 else ClusterProblem)
    if reason == "AlreadyExists":
        kind = Exists
    if reason in ("Expired", "Gone"):
        kind = Gone
    code, hint = CODES.get(kind, ("J2K706", "the message is the cluster's own"))
    found = kind(
        code,
        f"the cluster answered {status} to {request.method} {request.path.partition('?')[0]}: {text}",
        hint,
    )
    found.status, found.reason = status, reason
    return found
