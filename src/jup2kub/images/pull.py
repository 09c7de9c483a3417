"""Brings a registry image here as a base: its layers as they are, by digest, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import layer as layers
from jup2kub.images import registry as registries
from jup2kub.images import rootfs
from jup2kub.images.blobs import Blob, Blobs, Sink
from jup2kub.images.layer import Layer
from jup2kub.images.oci import INDEX, MANIFEST
from jup2kub.images.reference import Reference
from jup2kub.images.registry import Answer, Registry, expect
from jup2kub.kit.canon import digest

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
PIECE = 1 << 20
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "riscv64": "riscv64"}
"""Architectures as images name them."""


@dataclass(frozen=True)
class Pulled:
    """An image from a registry."""

    layers: tuple[Layer, ...]
    name: str
    """With the digest of its manifest."""
    env: Mapping[str, str]
    architecture: str


@dataclass
class Pull:
    """Pulls one image."""

    blobs: Blobs
    registry: Registry
    source: Reference
    tell: Callable[[str, int, int], None]
    """Gets what is brought, bytes so far, and bytes in all."""

    def image(self, architecture: str) -> Pulled:
        """Return the image for an architecture (`amd64`).

        What was once brought is found again without the network, by the digest or the very words that asked for it.
        Raises EnvironmentProblem.
        """
        key = digest(["pulled", self.source.name, self.source.wanted, architecture])
        known = self.blobs.record(key)
        if known is not None and self.source.digest and self._whole(known):
            return self._from(known)
        try:
            manifest, name = self._manifest(self.source.wanted, architecture)
        except EnvironmentProblem as error:
            if error.code == "J2K621" and known is not None and self._whole(known):
                return self._from(known)
            raise
        record = {**self._bring(manifest, architecture), "name": f"{self.source.name}@{name}"}
        self.blobs.remember(key, record)
        return self._from(record)

    def _whole(self, record: Mapping[str, Any]) -> bool:
        return all(self.blobs.has(layers.from_record(x).blob) for x in record["layers"])

    def _from(self, record: Mapping[str, Any]) -> Pulled:
        found = tuple(layers.from_record(x) for x in record["layers"])
        return Pulled(found, record["name"], record["env"], record["architecture"])

    def _ask(self, path: str, **more: Any) -> Answer:
        scope = registries.scope(self.source, "pull")
        return self.registry.ask("GET", f"/v2/{self.source.path}/{path}", scope=scope, **more)

    def _manifest(self, wanted: str, architecture: str) -> tuple[Mapping[str, Any], str]:
        """Return the manifest for an architecture, and its digest."""
        answer = self._ask(f"manifests/{wanted}", headers={"Accept": ACCEPT})
        expect(answer, 200, what=f"{self.source.name}:{wanted} cannot be read")
        real = f"sha256:{digest(answer.body)}"
        if wanted.startswith("sha256:") and real != wanted:
            raise _torn(wanted, real)
        document = json.loads(answer.body)
        if "manifests" not in document:
            return document, real
        made = []
        for one in document["manifests"]:
            platform = one.get("platform") or {}
            made.append(f"{platform.get('os')}/{platform.get('architecture')}")
            if made[-1] == f"linux/{architecture}":
                return self._manifest(one["digest"], architecture)
        known = ", ".join(sorted({m for m in made if "unknown" not in m}))
        raise other_architecture(f"{self.source.name}:{wanted}", known or "other machines", architecture)

    def _bring(self, manifest: Mapping[str, Any], architecture: str) -> dict[str, Any]:
        config = json.loads(self.blobs.read(self._fetch(manifest["config"], "configuration")))
        if config.get("architecture", architecture) != architecture:
            raise other_architecture(self.source.name, f"linux/{config['architecture']}", architecture)
        found = []
        for one, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            blob = self._fetch(one, "layer")
            kind = rootfs.kind_of(self.blobs.path(blob.digest))
            found.append(Layer(blob, diff_id, kind, 0, f"of {self.source.name}"))
        seen = rootfs.look([self.blobs.path(x.blob.digest) for x in found], lambda path: False)
        # What an upper layer has taken away is no ground any more: only the sum of all is known to be right.
        found[-1] = replace(found[-1], ground=seen.ground)
        pairs = (text.partition("=") for text in (config.get("config") or {}).get("Env") or ())
        return {
            "layers": [x.to_record() for x in found],
            "env": {name: value for name, _, value in pairs},
            "architecture": architecture,
        }

    def _fetch(self, one: Mapping[str, Any], what: str) -> Blob:
        blob = Blob(one["digest"], one["size"])
        if self.blobs.has(blob):
            return blob
        with self.blobs.writing() as sink:
            # A line that breaks is taken up where it broke.
            for _ in range(registries.TRIES):
                self._piece(blob, sink, what)
                if sink.size >= blob.size:
                    break
            if sink.digest != blob.digest:
                raise _torn(blob.digest, sink.digest)
        return blob

    def _piece(self, blob: Blob, sink: Sink, what: str) -> None:
        start = sink.size

        def into(stream: IO[bytes], answer: Answer) -> None:
            if answer.status == 200 and start:
                stream.read(start)  # the registry knows no ranges
            try:
                while data := stream.read(PIECE):
                    sink.write(data)
                    self.tell(what, sink.size, blob.size)
            except OSError:
                return

        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self._ask(f"blobs/{blob.digest}", headers=headers, into=into)
        expect(answer, 200, 206, what=f"{blob.digest} of {self.source.name} cannot be read")


def other_architecture(base: str, made: str, wanted: str) -> EnvironmentProblem:
    """Return the error of a base on which the notebook's packages cannot run."""
    return EnvironmentProblem(
        "J2K617",
        f"the base ({base}) is made for {made}, and the notebook's packages are for linux/{wanted}",
        f"name a base that is there for linux/{wanted}, or build on a machine of the other kind: the packages of a lock "
        "are those of the machine that it was made on",
    )


def _torn(wanted: str, real: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        "J2K624",
        f"the registry sent something else than {wanted}: {real}",
        "try again; if it stays so, do not trust it",
    )
