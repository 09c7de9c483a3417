"""A bill of materials (CycloneDX 1.6, ECMA-424) of a lock and its base, and the labels that tell an image's origin."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jup2kub.capture.pylock import files_digest, lock_digest
from jup2kub.kit.canon import canonical, digest
from jup2kub.model.env import VCS, Carried, Lock, Wheel

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""URLs, as RFC 9562 names it: serial numbers are made from what is listed, so that the same list is the same bytes."""
SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+()-]+)*")
KNOWN_IDS = frozenset(
    [
        "MIT",
        "Apache-2.0",
        "BSD-3-Clause",
        "BSD-2-Clause",
        "0BSD",
        "ISC",
        "PSF-2.0",
        "Python-2.0",
        "MPL-2.0",
        "HPND",
        "MIT-CMU",
        "Unlicense",
        "Zlib",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "AGPL-3.0-only",
        "CC0-1.0",
        "BSL-1.0",
        "GPL-3.0-with-GCC-exception",
    ]
)


@dataclass(frozen=True)
class DebianPackage:
    """One package of the base root file system."""

    name: str
    version: str
    architecture: str
    sha256: str = ""
    """Of the .deb, 64 hexadecimal digits; empty = not known."""
    source: str = ""


def sbom(lock: Lock, name: str, debian: Sequence[DebianPackage] = (), base: str = "") -> bytes:
    """Return the bill as JSON, the same bytes for the same lock.

    `name`: what is described (the notebook's file name, without its folder). `debian`: packages of the base root file
    system. `base`: digest or reference of the base image, if it is one.
    """
    components = [_wheel(w) for w in lock.wheels] + [_carried(c) for c in lock.carried]
    components += [_debian(p) for p in debian]
    components += [
        {"type": "file", "bom-ref": f"module:{m.path}", "name": m.path, "hashes": _hash(m.sha256)}
        for m in lock.modules
    ]
    described = {
        "type": "application",
        "bom-ref": "notebook",
        "name": name,
        "version": lock_digest(lock)[:12],
    }
    refs = {w.name: _purl(w.name, w.version) for w in lock.wheels} | {c.name: _ref(c) for c in lock.carried}
    requires = {w.name: w.requires for w in lock.wheels} | {c.name: c.requires for c in lock.carried}
    dependencies = [{"ref": "notebook", "dependsOn": sorted(c["bom-ref"] for c in components)}]
    dependencies += [
        {"ref": refs[n], "dependsOn": sorted(refs[r] for r in needed if r in refs)}
        for n, needed in sorted(requires.items())
    ]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": described,
            "tools": {"components": [{"type": "application", "name": "jup2kub"}]},
            "properties": _properties(
                {"python": lock.python.version, "libc": lock.platform.libc, "base": base}
            ),
        },
        "components": components,
        "dependencies": dependencies,
    }
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, digest(document))}"
    return canonical(document)


def labels(lock: Lock, *, notebook: str, source: str, bill: bytes, step: str = "") -> dict[str, str]:
    """Return the labels (annotations) that tell where an image comes from.

    `notebook`: its file name. `source`: digest of its cells. `bill`: the SBOM's bytes. `step`: empty = the main line.
    """
    found = {
        "org.opencontainers.image.title": notebook,
        "org.opencontainers.image.description": f"Jup2Kub: {f'step {step} of ' if step else ''}{notebook}",
        "dev.jup2kub.notebook.sha256": source,
        "dev.jup2kub.lock.sha256": lock_digest(lock),
        "dev.jup2kub.sbom.sha256": digest(bill),
        "dev.jup2kub.python": lock.python.version,
    }
    if step:
        found["dev.jup2kub.step"] = step
    return found


def _wheel(wheel: Wheel) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(wheel.name, wheel.version),
        "name": wheel.name,
        "version": wheel.version,
        "purl": _purl(wheel.name, wheel.version),
        "hashes": _hash(wheel.sha256),
        "properties": _properties({"file": wheel.filename}),
    }
    if wheel.licence:
        component["licenses"] = _licences(wheel.licence)
    if wheel.url:
        component["externalReferences"] = [
            {"type": "distribution", "url": wheel.url, "hashes": _hash(wheel.sha256)}
        ]
    return component


def _carried(carried: Carried) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref(carried),
        "name": carried.name,
        "version": carried.version,
        "hashes": _hash(files_digest(carried)),
        "properties": _properties({"carried": carried.kind, "reason": carried.reason}),
        "components": [{"type": "file", "name": f.target, "hashes": _hash(f.sha256)} for f in carried.files],
    }
    if carried.kind == VCS:
        component["purl"] = _purl(carried.name, carried.version)
    if carried.licence:
        component["licenses"] = _licences(carried.licence)
    return component


def _debian(package: DebianPackage) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version)}?arch={package.architecture}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.sha256:
        component["hashes"] = _hash(package.sha256)
    return component


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{quote(name)}@{quote(version)}"


def _ref(carried: Carried) -> str:
    return f"carried:{carried.name}@{carried.version}"


def _hash(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _licences(words: str) -> list[dict[str, Any]]:
    """Return what the metadata say: an identifier, an expression, or else their words."""
    if words in KNOWN_IDS:
        return [{"license": {"id": words}}]
    parts = re.split(r" (?:AND|OR|WITH) |[()]", words)
    if SPDX.fullmatch(words) and len(parts) > 1 and all(p in KNOWN_IDS for p in parts if p):
        return [{"expression": words}]
    return [{"license": {"name": words}}]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    found: Iterable[tuple[str, str]] = ((k, v) for k, v in values.items() if v)
    return [{"name": f"jup2kub:{key}", "value": value} for key, value in found]
