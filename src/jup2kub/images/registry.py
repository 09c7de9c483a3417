"""A client for registries, over the standard library's HTTP (OCI distribution-spec 1.1, Docker's token protocol)."""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from jup2kub.errors import EnvironmentProblem
from jup2kub.images.credentials import Credentials
from jup2kub.images.reference import Reference

TRIES = 6
PATIENCE = 60.0
"""Seconds one answer may take."""
CERTIFICATES = (
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
    "~/.config/containers/certs.d",
    "~/.docker/certs.d",
)
"""Folders that hold, by a registry's host, certificates of its authority (`*.crt`) and of clients (`*.cert`, `*.key`)."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Answer:
    """What a registry said."""

    status: int
    headers: Message
    body: bytes = b""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by us: the authorisation must not go to another host."""

    def redirect_request(self, *args: Any) -> None:
        """Follow nothing."""


@dataclass
class Registry:
    """One registry, for one user."""

    server: str
    """Address with the scheme."""
    credentials: Credentials | None = None
    certificates: tuple[Path, ...] = ()
    """Folders as `CERTIFICATES` names them, of this host."""
    sleep: Callable[[float], None] = lambda seconds: None
    """Waits; given from outside."""
    _opener: Any = None
    _tokens: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        context = ssl.create_default_context()
        for folder in self.certificates:
            for authority in sorted(folder.glob("*.crt")):
                context.load_verify_locations(authority)
            for client in sorted(folder.glob("*.cert")):
                context.load_cert_chain(client, client.with_suffix(".key"))
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)

    def ask(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        into: Callable[[IO[bytes], Answer], None] | None = None,
        again: bool = True,
    ) -> Answer:
        """Send one request; return the answer, of whatever status. `path` may be a whole address.

        `scope`: what a token is asked for, should one be wanted; several are separated by a space.

        `into` reads the body of a good answer. What may pass is tried again, unless not `again`. Raises
        EnvironmentProblem: J2K621 nobody answers, J2K622 the user may not.
        """
        url = urllib.parse.urljoin(self.server, path)
        last: Exception | None = None
        for attempt in range(TRIES if again else 1):
            if attempt:
                self.sleep(min(0.2 * 4**attempt, 20))
            try:
                answer = self._authorised(method, url, scope, body, headers or {}, into)
            except ssl.SSLError as error:
                raise self._untrusted(error) from error
            except urllib.error.URLError as error:
                if isinstance(error.reason, ssl.SSLCertVerificationError):
                    raise self._untrusted(error.reason) from error
                last = error
            except (OSError, HTTPException) as error:
                last = error
            else:
                if answer.status in AGAIN and again and attempt + 1 < TRIES:
                    self.sleep(_after(answer))
                    continue
                return answer
        raise EnvironmentProblem(
            "J2K621",
            f"the registry {self.server} does not answer: {getattr(last, 'reason', last)}",
            "check its name and the network; the same command continues where it stopped",
        ) from last

    def _untrusted(self, error: Exception) -> EnvironmentProblem:
        host = urllib.parse.urlsplit(self.server).netloc
        return EnvironmentProblem(
            "J2K621",
            f"the registry {self.server} shows a certificate that is not trusted: {error}",
            f"name its authority in SSL_CERT_FILE, or put it into /etc/docker/certs.d/{host}/ca.crt; "
            "a registry without encryption is named http://HOST/NAME",
        )

    def _authorised(
        self, method: str, url: str, scope: str, body: bytes | None, headers: Mapping[str, str], into: Any
    ) -> Answer:
        known = self._tokens.get(scope)
        answer = self._send(
            method, url, body, {**headers, **({"Authorization": known} if known else {})}, into
        )
        if answer.status != 401:
            return answer
        with self._lock:
            if self._tokens.get(scope) in (None, known):
                self._tokens[scope] = self._login(answer.headers.get("WWW-Authenticate", ""), scope)
        answer = self._send(method, url, body, {**headers, "Authorization": self._tokens[scope]}, into)
        if answer.status in (401, 403):
            raise self._refused(answer)
        return answer

    def _refused(self, answer: Answer) -> EnvironmentProblem:
        host = urllib.parse.urlsplit(self.server).netloc
        who = f"as {self.credentials.user}" if self.credentials else "without a login"
        return EnvironmentProblem(
            "J2K622",
            f"the registry {host} refuses ({who}): {words(answer)}",
            f"`docker login {host}` (or podman, skopeo) leaves the credentials that are used here",
        )

    def _login(self, challenge: str, scope: str) -> str:
        """Return the header that a challenge asks for. Raises EnvironmentProblem (J2K622)."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "bearer":
            return self._token(dict(re.findall(r'(\w+)="([^"]*)"', rest)), scope)
        if self.credentials is None:
            raise self._refused(Answer(401, Message()))
        return self.credentials.basic

    def _token(self, asked: Mapping[str, str], scope: str) -> str:
        """Fetch a token (Docker's token specification; with an identity token by its OAuth2 form)."""
        realm, service = asked.get("realm", ""), asked.get("service", "")
        fields = [("service", service)]
        if self.credentials is not None and self.credentials.is_token:
            form = [
                *(*fields, ("scope", scope)),
                ("grant_type", "refresh_token"),
                ("client_id", "jup2kub"),
                ("refresh_token", self.credentials.secret),
            ]
            body = urllib.parse.urlencode(form).encode()
            answer = self._send(
                "POST", realm, body, {"Content-Type": "application/x-www-form-urlencoded"}, None
            )
        else:
            headers = {"Authorization": self.credentials.basic} if self.credentials else {}
            query = urllib.parse.urlencode([*fields, *(("scope", one) for one in scope.split())])
            answer = self._send("GET", f"{realm}?{query}", None, headers, None)
        try:
            said = json.loads(answer.body)
            return f"Bearer {said.get('token') or said['access_token']}"
        except (ValueError, KeyError, AttributeError):
            raise self._refused(answer) from None

    def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], into: Any, hops: int = 0
    ) -> Answer:
        request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
        try:
            with self._opener.open(request, timeout=PATIENCE) as opened:
                answer = Answer(opened.status, opened.headers)
                if into is not None:
                    into(opened, answer)
                    return answer
                return Answer(opened.status, opened.headers, opened.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (301, 302, 303, 307, 308) and hops < 5:
                    target = urllib.parse.urljoin(url, error.headers["Location"])
                    same = urllib.parse.urlsplit(target).netloc == urllib.parse.urlsplit(url).netloc
                    kept = {k: v for k, v in headers.items() if same or k != "Authorization"}
                    return self._send(method, target, body, kept, into, hops + 1)
                return Answer(error.code, error.headers, error.read())


def words(answer: Answer) -> str:
    """Return what the registry said went wrong, in its own words."""
    try:
        errors = json.loads(answer.body)["errors"]
        return "; ".join(f"{e.get('code')}: {e.get('message')}" for e in errors)[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers.get("WWW-Authenticate", "")))
        if "error" in challenge:  # an answer to HEAD has no body (RFC 6750, section 3)
            return f"{challenge['error']}: {challenge.get('scope', '')}"
        return f"status {answer.status} {answer.body[:200].decode(errors='replace')}".strip()


def _after(answer: Answer) -> float:
    """Return the seconds that the registry asks to wait (RFC 9110, Retry-After), not more than a minute."""
    said = answer.headers.get("Retry-After", "")
    return min(float(said), 60.0) if said.isdigit() else 0.0


def expect(answer: Answer, *good: int, what: str) -> Answer:
    """Return the answer if its status is one of `good`. Raises EnvironmentProblem (J2K623) with the registry's words."""
    if answer.status not in good:
        raise EnvironmentProblem("J2K623", f"{what}: {words(answer)}", "the registry's log may tell more")
    return answer


def certificates(host: str) -> tuple[Path, ...]:
    """Return the folders of certificates that this machine has for a registry."""
    return tuple(p for p in (Path(f).expanduser() / host for f in CERTIFICATES) if p.is_dir())


def scope(reference: Reference, *actions: str) -> str:
    """Return what a token is asked for."""
    return f"repository:{reference.path}:{','.join(actions)}"
