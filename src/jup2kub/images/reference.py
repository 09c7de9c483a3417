"""Names of images, as registries and container tools read them (distribution-spec, reference grammar of `docker`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jup2kub.errors import UsageError

PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"\w[\w.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HUB = "docker.io"
HUB_SERVER = "registry-1.docker.io"


@dataclass(frozen=True)
class Reference:
    """An image in a registry."""

    host: str
    """With its port, as users write it."""
    path: str
    """Of the repository."""
    tag: str = ""
    digest: str = ""
    plain: bool = False
    """Whether the registry speaks HTTP without encryption."""

    @property
    def server(self) -> str:
        """Address of its registry, with the scheme."""
        host = HUB_SERVER if self.host == HUB else self.host
        return f"{'http' if self.plain else 'https'}://{host}"

    @property
    def wanted(self) -> str:
        """Digest or tag, as a manifest is asked for."""
        return self.digest or self.tag or "latest"

    @property
    def name(self) -> str:
        """The repository with its host."""
        return f"{self.host}/{self.path}"


def parse(text: str) -> Reference:
    """Read `[http://][HOST[:PORT]/]NAME[:TAG][@DIGEST]`.

    Without a host it is Docker Hub's. Plain HTTP is spoken to this machine only, or where `http://` asks for it.
    Raises UsageError (J2K620).
    """
    scheme, _, rest = text.rpartition("://")
    rest, _, digest = rest.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        host, path = HUB, rest if slash else f"library/{rest}"
    path, _, tag = path.partition(":")
    good = (
        PATH.fullmatch(path) and (not tag or TAG.fullmatch(tag)) and (not digest or DIGEST.fullmatch(digest))
    )
    if not good or scheme not in ("", "http", "https"):
        raise UsageError(
            "J2K620", f"{text!r} is not the name of an image", "HOST/NAME[:TAG][@sha256:…], all in lower case"
        )
    local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    return Reference(host, path, tag, digest, scheme == "http" or (local and scheme != "https"))
