"""Debian's registry as users meet it: open, with TLS and a password, or with TLS and tokens of an issuer of its own."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import imagelab
import pytest

PROGRAM = "docker-registry"
USER, PASSWORD = "ann", "s3cret-pw"
IDENTITY = "an-identity-token"
"""What a login of the other kind leaves instead of a password."""
SERVICE, ISSUER = "lab-registry", "lab-issuer"
CONFIG = """
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {root}}}
http:
  addr: 127.0.0.1:{port}
{tls}{auth}
"""
EXTENSIONS = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"


@dataclass(frozen=True)
class Server:
    """A registry that runs."""

    host: str
    env: dict[str, str] = field(default_factory=dict)
    """What a user sets to be let in."""
    skopeo: tuple[str, ...] = ()
    log: Path = Path()
    issued: list[tuple[str, ...]] = field(default_factory=list)
    """Scopes of each token that the issuer was asked for."""

    @property
    def uploads(self) -> int:
        """Pieces of blobs that were sent to it."""
        text = self.log.read_text()
        return text.count('"PATCH ') + text.count("http.request.method=PATCH")


@contextmanager
def registry(folder: Path, kind: str) -> Iterator[Server]:
    """Run a registry on a free port. `kind`: `open`, `password` or `token`, the last two with TLS."""
    imagelab.needs(PROGRAM, "skopeo", "openssl", "mmdebstrap")
    port = free()
    tls = auth = ""
    env: dict[str, str] = {}
    words = ["--tls-verify=false"]
    issued: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        if kind != "open":
            certificate(folder)
            tls = f"  tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}\n"
            auth = passwords(folder) if kind == "password" else stack.enter_context(issuer(folder, issued))
            env = {"SSL_CERT_FILE": str(folder / "ca.crt"), "DOCKER_CONFIG": str(folder)}
            words = ["--cert-dir", str(folder / "trust"), "--creds", f"{USER}:{PASSWORD}"]
            know(folder, f"127.0.0.1:{port}")
        (folder / "config.yml").write_text(CONFIG.format(root=folder / "data", port=port, tls=tls, auth=auth))
        log = folder / "log"
        out = stack.enter_context(log.open("wb"))
        running = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=out, stderr=out)
        try:
            wait(port)
            yield Server(f"127.0.0.1:{port}", env, tuple(words), log, issued)
        finally:
            running.terminate()
            running.wait(20)


def free() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait(port: int) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the registry does not come up")


def certificate(folder: Path) -> None:
    """Make an authority of our own, and a certificate of this machine's address."""
    (folder / "extensions").write_text(EXTENSIONS)
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.crt"
        " -addext keyUsage=critical,keyCertSign,cRLSign",
        "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt",
    ):
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    (folder / "trust").mkdir()
    shutil.copy(folder / "ca.crt", folder / "trust" / "ca.crt")


def know(folder: Path, host: str, *, identity: str = "") -> None:
    """Leave what `docker login` leaves: a password, or an identity token."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    entry = {"identitytoken": identity} if identity else {"auth": login}
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def passwords(folder: Path) -> str:
    """Write the file of users; return the registry's settings for it."""
    if shutil.which("htpasswd") is None:
        pytest.skip("NOT TESTED, FOR THERE IS NO HTPASSWD (apache2-utils)")
    done = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, text=True, check=True)
    (folder / "users").write_text(done.stdout)
    return f"auth:\n  htpasswd: {{realm: lab, path: {folder}/users}}\n"


@contextmanager
def issuer(folder: Path, issued: list[tuple[str, ...]]) -> Iterator[str]:
    """Run an issuer of tokens, whose signature the registry verifies; give the registry's settings for it."""
    port = free()

    class Bound(Issuer):
        place = folder
        asked = issued

    server = ThreadingHTTPServer(("127.0.0.1", port), Bound)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield (
            f"auth:\n  token: {{realm: 'https://127.0.0.1:{port}/token', service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {folder}/ca.crt}}\n"
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class Issuer(BaseHTTPRequestHandler):
    """Gives tokens as “Token Authentication Specification” and “…using OAuth2” of the registry describe them.

    The user may do all in repositories below `lab/` and `another/`, and nothing elsewhere.
    """

    place: Path
    asked: list[tuple[str, ...]]

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        fields = parse_qs(urlsplit(self.path).query)
        kind, _, login = self.headers.get("Authorization", "").partition(" ")
        try:
            known = kind == "Basic" and base64.b64decode(login).decode() == f"{USER}:{PASSWORD}"
        except (binascii.Error, UnicodeDecodeError):
            known = False
        self.give(known, fields, "token")

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = fields.get("grant_type") == ["refresh_token"] and fields.get("refresh_token") == [IDENTITY]
        self.give(known, fields, "access_token")

    def give(self, known: bool, fields: dict[str, list[str]], name: str) -> None:
        scopes = tuple(word for scope in fields.get("scope", []) for word in scope.split())
        self.asked.append(scopes)
        if known and fields.get("service") == [SERVICE]:
            status, body = 200, {name: token(self.place, scopes)}
        else:
            status, body = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def token(folder: Path, scopes: tuple[str, ...]) -> str:
    """Return a signed token (RFC 7519, RFC 7515) for what of `scopes` the user may do."""
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        if re.match(r"(lab|another)/", name):
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    pem = (folder / "server.crt").read_text()
    der = "".join(pem.split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0].split())
    claims = {
        "iss": ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "iat": now,
        "nbf": now - 10,
        "exp": now + 300,
        "access": access,
    }
    parts = [{"typ": "JWT", "alg": "RS256", "x5c": [der]}, {**claims, "jti": str(time.monotonic_ns())}]
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in parts)
    words = ["openssl", "dgst", "-sha256", "-sign", str(folder / "server.key")]
    done = subprocess.run(words, input=signed.encode(), capture_output=True, check=True)
    return f"{signed}.{unpadded(done.stdout)}"


def unpadded(data: bytes) -> str:
    """Return bytes in base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
