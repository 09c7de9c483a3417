"""The wheels themselves, kept by digest in a cache folder, so that a lock can be built again without any network."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from jup2kub.capture.environment import Installed, top_level
from jup2kub.errors import EnvironmentProblem
from jup2kub.kit.canon import digest
from jup2kub.model.env import Wheel

OWN_FILES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s")
"""Of a dist-info folder: written by who installs, so no part of what the wheel holds."""


def default_cache() -> Path:
    """Return the cache's folder: `jup2kub/wheels` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "jup2kub" / "wheels"


@dataclass(frozen=True)
class Vendor:
    """A folder of wheels: `<first two digits>/<sha256>/<file name>`, and what each installed distribution came from."""

    folder: Path

    def path(self, wheel: Wheel) -> Path:
        """Return where the wheel lies. Raises EnvironmentProblem J2K672 if it is not there, or not what it was."""
        path = self._place(wheel.sha256) / wheel.filename
        try:
            whole = path.stat().st_size == wheel.bytes and file_sha256(path) == wheel.sha256
        except OSError:
            whole = False
        if not whole:
            raise EnvironmentProblem(
                "J2K672",
                f"the wheel {wheel.filename} is not in {self.folder}, or is damaged",
                "lock again where the package index can be reached",
            )
        return path

    def has(self, wheel: Wheel) -> bool:
        """Whether the wheel is there; its content is not looked at."""
        path = self._place(wheel.sha256) / wheel.filename
        return path.is_file() and path.stat().st_size == wheel.bytes

    def adopt(self, path: Path, expected: str = "") -> tuple[str, Path]:
        """Move a wheel in; return its sha256 and place.

        Raises EnvironmentProblem J2K673 if it is not the `expected`, J2K674 if the cache cannot be written.
        """
        sha256 = file_sha256(path)
        if expected and sha256 != expected:
            raise EnvironmentProblem(
                "J2K673",
                f"{path.name} is not what the index said: sha256 {sha256} instead of {expected}",
                "try again; if it stays so, do not trust that index",
            )
        place = self._place(sha256)
        target = place / path.name
        if not target.is_file() or target.stat().st_size != path.stat().st_size:
            with self._writing(place):
                handle, temporary = tempfile.mkstemp(dir=place, prefix=".new-")
                os.close(handle)
                shutil.move(str(path), temporary)
                os.chmod(temporary, 0o644)
                os.replace(temporary, target)
        return sha256, target

    def remember(self, key: str, wheels: Iterable[Wheel]) -> None:
        """Note under `key` which wheels something stands for. Raises EnvironmentProblem J2K674."""
        path = self.folder / "known" / f"{key}.json"
        text = json.dumps([[w.filename, w.sha256, w.bytes, w.url] for w in wheels])
        with self._writing(path.parent):
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)

    @contextlib.contextmanager
    def waiting_room(self) -> Iterator[Path]:
        """Give a folder for wheels that may move in: on the disk of the cache, so that a move is no copy.

        Raises EnvironmentProblem J2K674.
        """
        with self._writing(self.folder):
            room = tempfile.TemporaryDirectory(dir=self.folder, prefix=".fetch-")
        with room as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """Make the folder; turn what the disk refuses within into J2K674."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise EnvironmentProblem(
                "J2K674",
                f"the cache of wheels, {self.folder}, cannot be written: {error.strerror}",
                "make room there, or name another folder for caches: `XDG_CACHE_HOME=DIR jup2kub …`",
            ) from error

    def recall(self, key: str) -> tuple[Wheel, ...] | None:
        """Return the wheels noted under `key`, read again from their files; None if not all are there."""
        try:
            noted = json.loads((self.folder / "known" / f"{key}.json").read_text(encoding="utf-8"))
            files = [(self._place(sha256) / name, url) for name, sha256, _, url in noted]
            return tuple(read(path, path.parent.name, url) for path, url in files)
        except (OSError, ValueError, TypeError, zipfile.BadZipFile, EnvironmentProblem):
            return None

    def _place(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(dist: Installed) -> str:
    """Return a digest of what is installed: name, version, tags, and the hashes of all its files."""
    return digest([dist.name, dist.version, list(dist.tags), sorted(record_of(dist).items())])


def record_of(dist: Installed) -> dict[str, str]:
    """Return sha256 (base64, as RECORD has it) by path of the files that the wheel itself brought.

    Scripts are made by who installs, caches by the interpreter: they are left out.
    """
    return {
        path: value
        for path, value, _ in dist.files
        if value and not path.startswith("..") and path.rpartition("/")[2] not in OWN_FILES
    }


def read(path: Path, sha256: str, url: str = "") -> Wheel:
    """Return the noun of a wheel file, `requires` still as PEP 508 texts. Raises EnvironmentProblem J2K672."""
    try:
        with zipfile.ZipFile(path) as archive:
            meta = HeaderParser().parsestr(_info(archive, "METADATA").decode("utf-8", "replace"))
            names = archive.namelist()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise EnvironmentProblem(
            "J2K672", f"{path.name} is no wheel: {error}", "lock again where the package index can be reached"
        ) from error
    name = re.sub(r"[-_.]+", "-", str(meta["Name"])).lower()
    return Wheel(
        name=name,
        version=str(meta["Version"]),
        filename=path.name,
        sha256=sha256,
        bytes=path.stat().st_size,
        requires=tuple(meta.get_all("Requires-Dist") or ()),
        imports=tuple(sorted(top_level(_installed_names(names)))),
        licence=_licence(meta),
        url=url,
    )


def _licence(meta: Message[str, str]) -> str:
    for key in ("License-Expression", "License"):
        text = (meta.get(key) or "").strip()
        if text and "\n" not in text and len(text) < 100 and text.upper() != "UNKNOWN":
            return text
    classifiers = meta.get_all("Classifier") or ()
    return " AND ".join(c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: "))


def _installed_names(names: Iterable[str]) -> list[str]:
    """Return the names as they are under site-packages: what `.data/purelib` and `platlib` hold moves up."""
    return [
        re.sub(r"^[^/]+\.data/(?:purelib|platlib)/", "", n)
        for n in names
        if not re.match(r"[^/]+\.data/(?!p)", n)
    ]


def _info(archive: zipfile.ZipFile, name: str) -> bytes:
    found = [n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/" + re.escape(name), n)]
    if len(found) != 1:
        raise KeyError(f"{len(found)} files {name}")
    return archive.read(found[0])


def differences(path: Path, dist: Installed) -> tuple[str, ...]:
    """Return the files in which a wheel and the RECORD of an installed distribution differ; sorted.

    Equal means: what ran is what is in the wheel, file by file (PEP 427, “The .dist-info directory”).
    """
    with zipfile.ZipFile(path) as archive:
        lines = _info(archive, "RECORD").decode("utf-8", "replace").splitlines()
    brought: dict[str, str] = {}
    for line in lines:
        name, _, rest = line.strip().rpartition(",")[0].rpartition(",")
        name = name.strip('"')
        if rest.startswith("sha256=") and not re.match(r"[^/]+\.data/(?!purelib|platlib)", name):
            name = _installed_names([name])[0]
            if name.rpartition("/")[2] not in OWN_FILES:
                brought[name] = rest.partition("=")[2].rstrip("=")
    here = {name: value.rstrip("=") for name, value in record_of(dist).items()}
    return tuple(
        sorted(
            n for n in {*brought, *here} if brought.get(n) != here.get(n) and not _made_here(n, n in brought)
        )
    )


def _made_here(name: str, in_wheel: bool) -> bool:
    # uv and pip may write these, with hashes, when they install.
    return not in_wheel and (name.endswith((".pyc", "uv_cache.json")) or "__editable__" in name)


def edited(dist: Installed) -> tuple[str, ...]:
    """Return the files of an installed distribution that are not what its RECORD says; sorted. Missing ones too."""
    found = []
    for name, value in record_of(dist).items():
        try:
            with open(os.path.join(dist.site, name), "rb") as file:
                real = hashlib.file_digest(file, "sha256").digest()
        except OSError:
            found.append(name)
            continue
        if base64.urlsafe_b64encode(real).decode().rstrip("=") != value.rstrip("="):
            found.append(name)
    return tuple(sorted(found))
