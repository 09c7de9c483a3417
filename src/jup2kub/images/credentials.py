"""Who the user is for a registry: what `docker login` or `podman login` have left, and credential helpers."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.images.reference import HUB

HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
LIMIT = 30
"""Seconds that a credential helper may take."""


@dataclass(frozen=True)
class Credentials:
    """A user's name and password, or a token that stands for both."""

    user: str
    secret: str
    """Password, or identity token."""
    is_token: bool = False

    def __repr__(self) -> str:
        """Return the name only: the secret must not get into logs."""
        return f"Credentials({self.user!r})"

    @property
    def basic(self) -> str:
        """Value of a header `Authorization` (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the files that may know the user, the most important first."""
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("DOCKER_CONFIG"):
        yield Path(environ["DOCKER_CONFIG"]) / "config.json"
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield home / ".config" / "containers" / "auth.json"
    yield home / ".docker" / "config.json"


def find(host: str, path: str, environ: Mapping[str, str], home: Path) -> Credentials | None:
    """Return the credentials for a repository of a registry; None = nothing is known, anonymous it is."""
    for config in files(environ, home):
        try:
            document = json.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = _in(document, host, path, environ) if isinstance(document, dict) else None
        if found is not None:
            return found
    return None


def _keys(host: str, path: str) -> list[str]:
    """Return the names under which a registry may be known, the most exact first."""
    words = path.split("/")
    names = ["/".join([host, *words[:count]]) for count in range(len(words), -1, -1)]
    names += [f"https://{host}", f"http://{host}", f"https://{host}/v1/", f"https://{host}/v2/"]
    return [*names, *HUB_KEYS] if host == HUB else names


def _in(document: Mapping[str, Any], host: str, path: str, environ: Mapping[str, str]) -> Credentials | None:
    keys = _keys(host, path)
    helpers = document.get("credHelpers") or {}
    for key in keys:
        if key in helpers:
            return _help(str(helpers[key]), key, environ)
    known = document.get("auths") or {}
    for key in keys:
        entry = known.get(key) or {}
        if entry.get("identitytoken"):
            return Credentials("<token>", str(entry["identitytoken"]), True)
        if entry.get("auth"):
            user, _, secret = base64.b64decode(entry["auth"]).decode().partition(":")
            return Credentials(user, secret.rstrip("\0"))
        if entry.get("username"):
            return Credentials(str(entry["username"]), str(entry.get("password", "")))
    store = document.get("credsStore")
    server = HUB_KEYS[0] if host == HUB else host
    return _help(str(store), server, environ) if store else None


def _help(name: str, server: str, environ: Mapping[str, str]) -> Credentials | None:
    """Ask a credential helper (docker-credential-helpers, “Development”); None = it knows nothing, or is not there."""
    try:
        done = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=server,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
            env=dict(environ),
        )
        said = json.loads(done.stdout)
        return Credentials(said["Username"], said["Secret"], said["Username"] == "<token>")
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
