"""The API server as a user's machine sees it: kubeconfig, contexts and exec plugins, through lightkube.

The only module that imports lightkube (extra `kubernetes`: 4 MB, and its models). Its dataclasses drop fields they do not
know, so that only its configuration and its HTTP client are used; objects stay JSON values.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from jup2kub.cluster import Answer, Unauthorized, Unreachable
from jup2kub.cluster.rest import CODES, Request, RestCluster, problem
from jup2kub.errors import EnvironmentProblem, UsageError

try:
    import httpx2
    import yaml
    from httpx2.websockets import WebSocketUpgradeError
    from lightkube.config.client_adapter import Client, ConnectionParams, user_auth
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig
    from lightkube.core.exceptions import ConfigError

    from jup2kub.cluster import forward
except ImportError as missing:  # pragma: no cover - the extra is installed where this is tested
    raise EnvironmentProblem(
        "J2K700", f"the Kubernetes client is not installed ({missing})", "`pip install 'jup2kub[kubernetes]'`"
    ) from missing

REFUSED = {
    "tls-server-name": "cluster",
    "as": "user",
    "auth-provider": "user",
}
"""Fields of a kubeconfig that would change what we do, and that the client below would pass over in silence."""


def connect(context: str = "", namespace: str = "", environ: Mapping[str, str] = os.environ) -> RestCluster:
    """Return the cluster of a context; empty = the current one, and its namespace.

    Raises UsageError (J2K707: no such context, a kubeconfig that cannot be read), Unauthorized.
    """
    config = configuration(context, environ)
    return RestCluster(HttpxTransport(config), namespace or config.namespace)


def configuration(context: str, environ: Mapping[str, str]) -> SingleConfig:
    """Return the configuration of a context, from all files of `KUBECONFIG` as kubectl merges them: the first word wins."""
    named = [Path(p) for p in environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    paths = [
        p for p in named or [Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"] if p.is_file()
    ]
    if not paths:
        where = ", ".join(map(str, named)) or "~/.kube/config"
        raise UsageError("J2K707", f"there is no kubeconfig ({where})", "set KUBECONFIG, or ask for one")
    merged: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    for path in paths:
        merge(merged, read(path), path.parent)
    try:
        found = KubeConfig.from_dict(merged, fname=paths[0]).get(context or None)
    except (ConfigError, KeyError, ValueError) as error:
        known = ", ".join(sorted(c["name"] for c in merged["contexts"])) or "none"
        raise UsageError(
            "J2K707", f"kubeconfig: {error}", f"choose one with --context; known: {known}"
        ) from error
    if found is None or found.user is None:
        raise UsageError("J2K707", "the kubeconfig's context names no user", "choose another --context")
    refuse_unknown(merged, found)
    return found


def read(path: Path) -> dict[str, Any]:
    """Return one kubeconfig. Raises UsageError."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            "J2K707", f"cannot read the kubeconfig {path}: {error}", "check KUBECONFIG"
        ) from error
    if not isinstance(found, dict):
        raise UsageError("J2K707", f"{path} is no kubeconfig", "check KUBECONFIG")
    return found


def merge(merged: dict[str, Any], more: dict[str, Any], folder: Path) -> None:
    """Add a kubeconfig to others; its relative paths are made absolute."""
    merged.setdefault("current-context", None)
    merged["current-context"] = merged["current-context"] or more.get("current-context")
    for section in ("clusters", "contexts", "users"):
        known = {entry["name"] for entry in merged[section]}
        merged[section] += [e for e in more.get(section) or () if e["name"] not in known]
    for entry in (*(more.get("clusters") or ()), *(more.get("users") or ())):
        body = entry.get("cluster") or entry.get("user") or {}
        for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
            if body.get(key):
                body[key] = str(folder / body[key])
        command = (body.get("exec") or {}).get("command", "")
        if "/" in command:
            body["exec"]["command"] = str(folder / command)


def refuse_unknown(merged: dict[str, Any], chosen: SingleConfig) -> None:
    """Refuse what would silently be done otherwise than kubectl does it. Raises UsageError."""
    for field, section in REFUSED.items():
        name = chosen.context.cluster if section == "cluster" else chosen.context.user
        body = next(e[section] for e in merged[section + "s"] if e["name"] == name) or {}
        if body.get(field):
            raise UsageError(
                "J2K707",
                f"the kubeconfig's {section} {name!r} uses {field!r}, which is not supported",
                "use a context without it",
            )


class ExecAuth(httpx2.Auth):
    """Bearer tokens from an exec plugin of any version (client.authentication.k8s.io/v1, v1beta1, v1alpha1).

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    """

    requires_response_body = False

    def __init__(self, config: SingleConfig) -> None:
        assert config.user is not None
        assert config.user.exec is not None
        self._exec = config.user.exec
        self._server = config.cluster
        self._token = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Use the token that is known; ask the plugin for one at first, and when it is no longer taken."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code != 401:
                return
        self._token = self._ask()
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _ask(self) -> str:
        plugin = self._exec
        info = {
            "apiVersion": plugin.apiVersion,
            "kind": "ExecCredential",
            "spec": {"interactive": False, "cluster": {"server": self._server.server}},
        }
        environ = {**os.environ, **{v.name: v.value for v in plugin.env or ()}}
        environ["KUBERNETES_EXEC_INFO"] = json.dumps(info)
        try:
            done = subprocess.run(
                [plugin.command, *(plugin.args or ())],
                env=environ,
                capture_output=True,
                timeout=120,
                check=True,
            )
            status = json.loads(done.stdout)["status"]
            return str(status["token"])
        except FileNotFoundError as error:
            hint = plugin.installHint or "install it, or choose another --context"
            raise Unauthorized(
                "J2K702", f"the kubeconfig's exec plugin {plugin.command!r} is not there", hint
            ) from error
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()[-500:]
            raise Unauthorized(
                "J2K702", f"{plugin.command} failed: {words}", "log in again, as its words say"
            ) from error
        except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
            raise Unauthorized(
                "J2K702",
                f"{plugin.command} gave no token: {error!r}",
                "plugins that give certificates are not supported",
            ) from error


class HttpxTransport:
    """HTTP by the client that lightkube makes of a kubeconfig."""

    def __init__(self, config: SingleConfig) -> None:
        """Raises UsageError for a configuration that cannot be used."""
        try:
            plugin = config.user is not None and config.user.exec is not None
            self._auth = ExecAuth(config) if plugin else user_auth(config.user)
            if plugin:
                assert config.user is not None
                config.user.exec = None
            self._client = Client(config, ConnectionParams(timeout=httpx2.Timeout(30.0)))
        except (ConfigError, OSError, ValueError) as error:
            raise UsageError("J2K707", f"kubeconfig: {error}", "check its certificates and paths") from error

    def send(self, request: Request) -> Answer:
        """Return the whole answer."""
        with self._guarded(request):
            answer = self._client.send(self._built(request), auth=self._auth)
            return Answer(answer.status_code, _headers(answer), answer.content)

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[HttpxStream]:
        """Return the answer while it comes."""
        with self._guarded(request):
            answer = self._client.send(self._built(request), stream=True, auth=self._auth)
        try:
            yield HttpxStream(answer, self, request)
        finally:
            answer.close()

    def dial(self, request: Request, address: tuple[str, int]) -> socket.socket:
        """Return a port-forward as a socket. Raises what the API server answers instead, as an error."""
        with contextlib.ExitStack() as made, self._guarded(request):
            try:
                session = made.enter_context(
                    self._client.websocket(
                        request.path,
                        subprotocols=[forward.PROTOCOL],
                        max_message_size_bytes=forward.MOST,
                        auth=self._auth,
                        timeout=httpx2.Timeout(request.timeout),
                    )
                )
            except WebSocketUpgradeError as refused:
                # Its words are lost with the handshake: the plain request is refused for the same reason.
                status, words = refused.response.status_code, self.send(request)
                body = words.body if words.status == status else refused.response.reason_phrase.encode()
                raise problem(status, body, request) from refused
            return forward.joined(session, made.pop_all().close)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def _built(self, request: Request) -> httpx2.Request:
        return self._client.build_request(
            request.method,
            request.path,
            content=request.body,
            headers={"User-Agent": "jup2kub", **request.headers},
            timeout=httpx2.Timeout(request.timeout, connect=min(10.0, request.timeout)),
        )

    @contextlib.contextmanager
    def _guarded(self, request: Request) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, OSError) as error:
            code, hint = CODES[Unreachable]
            path = request.path.partition("?")[0]
            why = (
                "it did not answer in time"
                if isinstance(error, httpx2.TimeoutException)
                else str(error) or repr(error)
            )
            raise Unreachable(
                code, f"{request.method} {path}: no answer from the cluster: {why}", hint
            ) from error


class HttpxStream:
    """An answer that is read as it comes."""

    def __init__(self, answer: httpx2.Response, transport: HttpxTransport, request: Request) -> None:
        self._answer, self._transport, self._request = answer, transport, request
        self.status = answer.status_code
        self.headers: Mapping[str, str] = _headers(answer)

    def pieces(self) -> Iterator[bytes]:
        """Yield what comes. Raises Unreachable."""
        with self._transport._guarded(self._request):
            yield from self._answer.iter_raw()


def _headers(answer: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}
