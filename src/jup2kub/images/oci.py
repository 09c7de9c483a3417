"""Images from layers: configuration, manifest, index, and an archive that every tool can load.

Source: OCI image-spec 1.1 (config.md, manifest.md, image-index.md, image-layout.md), and the `manifest.json` of
`docker save`, which Docker before 25 wants beside them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from jup2kub.images import layer as layers
from jup2kub.images import rootfs
from jup2kub.images.blobs import Blob, Blobs
from jup2kub.images.layer import Layer
from jup2kub.images.tree import Ground
from jup2kub.kit.canon import canonical, to_json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Command:
    """How a container of the image starts."""

    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "1000:1000"
    folder: str = "/"
    """Working folder."""
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    """Given to the entry point where the user names none."""


@dataclass(frozen=True)
class Image:
    """One image, in the cache of blobs."""

    name: str
    """With its tag, as `localhost/study-main:latest`."""
    config: Blob
    manifest: Blob
    layers: tuple[Layer, ...]
    command: Command
    architecture: str

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Configuration and layers: what the manifest refers to."""
        return (self.config, *(layer.blob for layer in self.layers))

    @property
    def size(self) -> int:
        """Bytes that a registry must hold for it."""
        return self.manifest.size + sum(b.size for b in self.blobs)

    def to_record(self) -> dict[str, Any]:
        """Return the image as JSON values; folders of its layers are left out."""
        return {
            "name": self.name,
            "config": to_json(self.config),
            "manifest": to_json(self.manifest),
            "layers": [replace(x, ground=Ground()).to_record() for x in self.layers],
            "command": to_json(self.command),
            "architecture": self.architecture,
        }


def from_record(record: Mapping[str, Any]) -> Image:
    """Return the image of `to_record`."""
    command = {**record["command"], "entrypoint": tuple(record["command"]["entrypoint"])}
    return Image(
        record["name"],
        Blob(**record["config"]),
        Blob(**record["manifest"]),
        tuple(layers.from_record(x) for x in record["layers"]),
        Command(**{**command, "arguments": tuple(command["arguments"])}),
        record["architecture"],
    )


def assemble(
    blobs: Blobs, name: str, layers: Sequence[Layer], command: Command, architecture: str = "amd64"
) -> Image:
    """Write configuration and manifest of an image of `layers`, the lowest first.

    No history is told: it is optional, and would be most of what a further step's image costs.
    """
    settings: dict[str, Any] = {
        "User": command.user,
        "Env": [f"{k}={v}" for k, v in sorted(command.env.items())],
        "Entrypoint": list(command.entrypoint),
        "WorkingDir": command.folder,
    }
    if command.arguments:
        settings["Cmd"] = list(command.arguments)
    if command.labels:
        settings["Labels"] = dict(command.labels)
    config = blobs.put(
        canonical(
            {
                "architecture": architecture,
                "os": "linux",
                "created": EPOCH,
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            }
        )
    )
    manifest = blobs.put(
        canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
                "layers": [
                    {"mediaType": x.media_type, "digest": x.blob.digest, "size": x.blob.size} for x in layers
                ],
            }
        )
    )
    return Image(name, config, manifest, tuple(layers), command, architecture)


def named(image: Image, name: str) -> Image:
    """Return the image under another name."""
    return replace(image, name=name)


def index(images: Sequence[Image]) -> bytes:
    """Return the `index.json` of an image layout; each image under its own name.

    Two entries of one name make `skopeo copy oci:…` take whichever comes first. Raises ValueError for such names.
    """
    if len({image.name for image in images}) < len(images):
        raise ValueError("two images have the same name")
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {
                    "mediaType": MANIFEST,
                    "digest": image.manifest.digest,
                    "size": image.manifest.size,
                    "platform": {"architecture": image.architecture, "os": "linux"},
                    "annotations": {REF_NAME: image.name, CONTAINERD_NAME: image.name},
                }
                for image in images
            ],
        }
    )


def docker_manifest(images: Sequence[Image]) -> bytes:
    """Return the `manifest.json` of `docker save`, which names the same blobs."""
    return json.dumps(
        [
            {
                "Config": _inside(image.config),
                "RepoTags": [image.name],
                "Layers": [_inside(layer.blob) for layer in image.layers],
            }
            for image in images
        ]
    ).encode()


def _inside(blob: Blob) -> str:
    return f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"


class _Told:
    """A file being read, of which somebody is told."""

    def __init__(self, file: IO[bytes], before: int, tell: Callable[[int], None]) -> None:
        self._file, self._done, self._tell = file, before, tell

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        self._tell(self._done)
        return data


def archive(
    blobs: Blobs, images: Sequence[Image], target: IO[bytes], tell: Callable[[int], None] = lambda size: None
) -> None:
    """Write an archive of images: an OCI image layout and Docker's manifest over the same blobs.

    `tell` gets the number of bytes written so far. Raises OSError; ValueError if two images have the same name.
    """
    wanted = {b.digest: b for image in images for b in (image.manifest, *image.blobs)}
    small = {
        "index.json": index(images),
        "manifest.json": docker_manifest(images),
        "oci-layout": canonical({"imageLayoutVersion": "1.0.0"}),
    }
    done = 0
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as out:
        for name in ("blobs", "blobs/sha256"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            out.addfile(info)
        for digest in sorted(wanted):
            blob = wanted[digest]
            with blobs.path(digest).open("rb") as file:
                out.addfile(_info(_inside(blob), blob.size), cast(IO[bytes], _Told(file, done, tell)))
            done += blob.size
        for name, data in small.items():
            out.addfile(_info(name, len(data)), io.BytesIO(data))


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def save(blobs: Blobs, images: Sequence[Image], path: Path, tell: Callable[[int], None]) -> None:
    """Write the archive to `path`, which appears only when it is whole. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            archive(blobs, images, file, tell)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def plain_archive(blobs: Blobs, images: Sequence[Image], target: IO[bytes]) -> None:
    """Write an archive as `docker save` did before there were image layouts: plain tars, and `manifest.json` alone.

    Docker before 23 does not read zstd. An image is the same there, since its configuration names the tars. Raises
    OSError; ValueError if two images have the same name.
    """
    index(images)  # refuses two of one name
    written: set[str] = set()
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as out:
        for image in images:
            for one in image.layers:
                if one.diff_id not in written:
                    written.add(one.diff_id)
                    _unpacked(blobs, one, out)
            data = blobs.read(image.config)
            out.addfile(_info(_name(image.config.digest, ".json"), len(data)), io.BytesIO(data))
        told = [
            {
                "Config": _name(image.config.digest, ".json"),
                "RepoTags": [image.name],
                "Layers": [_name(one.diff_id, "/layer.tar") for one in image.layers],
            }
            for image in images
        ]
        data = json.dumps(told).encode()
        out.addfile(_info("manifest.json", len(data)), io.BytesIO(data))


def _unpacked(blobs: Blobs, one: Layer, out: tarfile.TarFile) -> None:
    path = blobs.path(one.blob.digest)
    size = one.raw
    if not size:  # of a layer that was pulled, the size of its tar is not known yet
        with rootfs.plain(path) as stream:
            while piece := stream.read(1 << 20):
                size += len(piece)
    with rootfs.plain(path) as stream:
        out.addfile(_info(_name(one.diff_id, "/layer.tar"), size), stream)


def _name(digest: str, end: str) -> str:
    return digest.removeprefix("sha256:") + end
