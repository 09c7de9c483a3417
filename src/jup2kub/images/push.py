"""Pushes images: what the registry has is not sent again, what another of its repositories has is mounted from there."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import registry as registries
from jup2kub.images.blobs import Blob, Blobs
from jup2kub.images.oci import MANIFEST, Image
from jup2kub.images.reference import Reference
from jup2kub.images.registry import Answer, Registry, expect
from jup2kub.kit.canon import digest

PIECE = 8 << 20
"""Bytes of a blob that one request carries; what a broken line costs at most."""
AT_ONCE = 3
OCTETS = "application/octet-stream"
RESUMES = 5


@dataclass(frozen=True)
class Progress:
    """What a push has done so far."""

    sent: int
    """Bytes uploaded."""
    spared: int
    """Bytes that the registry had already, or mounted from another of its repositories."""
    total: int


@dataclass
class Push:
    """Pushes images into one repository."""

    blobs: Blobs
    registry: Registry
    target: Reference
    tell: Callable[[Progress], None]
    _sent: int = 0
    _spared: int = 0
    _total: int = 0
    _lock: Lock = field(default_factory=Lock)

    def images(self, images: Iterable[tuple[str, Image]]) -> dict[str, str]:
        """Push images, each under a tag; return the reference by digest of each tag. Raises EnvironmentProblem."""
        listed = list(images)
        wanted = {b.digest: b for _, image in listed for b in image.blobs}
        self._total = sum(b.size for b in wanted.values())
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # The biggest first: the last one to end is then a small one.
            list(pool.map(self._blob, sorted(wanted.values(), key=lambda b: -b.size)))
        return {tag: self._manifest(tag, image) for tag, image in listed}

    def _ask(self, method: str, path: str, **more: object) -> Answer:
        scope = registries.scope(self.target, "pull", "push")
        return self.registry.ask(method, path, scope=scope, **more)  # type: ignore[arg-type]

    def _repository(self, rest: str) -> str:
        return f"/v2/{self.target.path}/{rest}"

    def _known(self) -> str:
        """Return the key under which the cache knows where in this registry a blob was seen."""
        return digest(["seen", self.target.host])

    def _blob(self, blob: Blob) -> None:
        if self._ask("HEAD", self._repository(f"blobs/{blob.digest}")).status == 200:
            self._count(spared=blob.size)
        else:
            self._upload(blob)
        self.blobs.remember(digest([self._known(), blob.digest]), {"path": self.target.path})

    def _upload(self, blob: Blob) -> None:
        other = (self.blobs.record(digest([self._known(), blob.digest])) or {}).get("path")
        begun = self._mounted(blob, other) if other and other != self.target.path else None
        if begun is None:
            begun = self._ask("POST", self._repository("blobs/uploads/"), body=b"")
        expect(begun, 201, 202, what=f"the registry takes no upload into {self.target.name}")
        if begun.status == 201:
            self._count(spared=blob.size)
            return
        self._send(blob, begun.headers["Location"])

    def _mounted(self, blob: Blob, other: str) -> Answer | None:
        """Ask for the blob of another repository, or an upload instead; None = the user may not read that repository.

        A token for this must name both repositories (distribution-spec, “Mounting a blob from another repository”).
        """
        query = urllib.parse.urlencode({"mount": blob.digest, "from": other})
        source = replace(self.target, path=other)
        both = f"{registries.scope(self.target, 'pull', 'push')} {registries.scope(source, 'pull')}"
        try:
            begun = self.registry.ask(
                "POST", self._repository("blobs/uploads/") + f"?{query}", scope=both, body=b""
            )
        except EnvironmentProblem as error:
            if error.code != "J2K622":
                raise
            return None
        return begun if begun.status in (201, 202) else None

    def _send(self, blob: Blob, location: str) -> None:
        """Send a blob piece by piece; after a broken line go on where the registry says that it stopped."""
        done, resumed = 0, 0
        with self.blobs.path(blob.digest).open("rb") as file:
            while done < blob.size:
                file.seek(done)
                piece = file.read(PIECE)
                headers = {"Content-Type": OCTETS, "Content-Range": f"{done}-{done + len(piece) - 1}"}
                try:
                    answer = self._ask("PATCH", location, body=piece, headers=headers, again=False)
                except EnvironmentProblem as error:
                    if error.code != "J2K621" or resumed == RESUMES:
                        raise
                    answer = None
                if answer is not None and answer.status == 202:
                    location = answer.headers["Location"]
                    self._count(sent=len(piece))
                    done += len(piece)
                    continue
                resumed += 1
                if resumed > RESUMES and answer is not None:
                    expect(answer, 202, what=f"the registry does not take {blob.digest}")
                location, done = self._where(blob, location, done)
        mark = "&" if "?" in location else "?"
        ended = f"{location}{mark}{urllib.parse.urlencode({'digest': blob.digest})}"
        answer = self._ask("PUT", ended, body=b"", headers={"Content-Type": OCTETS})
        if answer.status == 404 and self._ask("HEAD", self._repository(f"blobs/{blob.digest}")).status == 200:
            return  # the answer to an earlier try was lost on its way
        expect(answer, 201, 204, what=f"the registry does not take {blob.digest}")

    def _where(self, blob: Blob, location: str, done: int) -> tuple[str, int]:
        """Ask how much of an upload has arrived (distribution-spec, “Pushing a blob in chunks”)."""
        self.registry.sleep(1.0)
        answer = self._ask("GET", location)
        if answer.status == 404:
            begun = self._ask("POST", self._repository("blobs/uploads/"), body=b"")
            expect(begun, 202, what=f"the registry takes no upload into {self.target.name}")
            self._count(sent=-done)
            return begun.headers["Location"], 0
        expect(answer, 204, what=f"the registry has lost the upload of {blob.digest}")
        end = answer.headers.get("Range", "").rpartition("-")[2]
        arrived = int(end) + 1 if end.isdigit() and end != "0" else 0
        self._count(sent=arrived - done)
        return answer.headers.get("Location") or location, arrived

    def _manifest(self, tag: str, image: Image) -> str:
        body = self.blobs.read(image.manifest)
        answer = self._ask(
            "PUT", self._repository(f"manifests/{tag}"), body=body, headers={"Content-Type": MANIFEST}
        )
        expect(answer, 201, 200, what=f"the registry does not take the manifest of {tag}")
        said = answer.headers.get("Docker-Content-Digest", image.manifest.digest)
        if said != image.manifest.digest:
            raise EnvironmentProblem(
                "J2K623",
                f"the registry stored {tag} as {said}, not as {image.manifest.digest}",
                "use another registry",
            )
        return f"{self.target.name}@{image.manifest.digest}"

    def _count(self, sent: int = 0, spared: int = 0) -> None:
        with self._lock:
            self._sent += sent
            self._spared += spared
            self.tell(Progress(self._sent, self._spared, self._total))
