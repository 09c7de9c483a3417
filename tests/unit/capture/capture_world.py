"""An environment made by hand, and notebooks of a few cells."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from jup2kub import ipynb
from jup2kub.capture.environment import Environment, Installed, Module
from jup2kub.model.env import Platform, Python
from jup2kub.model.notebook import Notebook

MARKERS = {
    "python_version": "3.11",
    "python_full_version": "3.11.7",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "os_name": "posix",
    "platform_system": "Linux",
    "platform_release": "6",
    "platform_version": "1",
    "implementation_version": "3.11.7",
}


def notebook(*cells: str) -> Notebook:
    """Code cells; one that begins with `MD:` is Markdown."""
    made = []
    for number, text in enumerate(cells):
        common = {"id": f"c{number}", "metadata": {}, "source": text.removeprefix("MD:")}
        kind = {"cell_type": "markdown"} if text.startswith("MD:") else {"cell_type": "code", "outputs": []}
        made.append({**common, **kind, **({} if text.startswith("MD:") else {"execution_count": None})})
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
    return ipynb.read(json.dumps(document).encode(), "study.ipynb")


def hashed(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def install(
    site: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    requires: tuple[str, ...] = (),
    **more: object,
) -> Installed:
    """Write the files of a distribution, and return it as the probe would tell it."""
    listed: list[tuple[str, str | None, int | None]] = []
    for path, text in whole(name, version, files, requires).items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        listed.append((path, hashed(text.encode()), len(text.encode())))
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    listed.append((f"{info}/RECORD", None, None))
    return Installed(
        name,
        version,
        str(site / info),
        str(site),
        requires,
        files=tuple(listed),
        tags=("py3-none-any",),
        **more,
    )  # type: ignore[arg-type]


def whole(name: str, version: str, files: Mapping[str, str], requires: tuple[str, ...]) -> dict[str, str]:
    """Return all files of a distribution, but RECORD."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    meta = "".join(f"Requires-Dist: {r}\n" for r in requires)
    return {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n{meta}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str], requires: tuple[str, ...] = ()
) -> Path:
    """Write a wheel (PEP 427)."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    texts = whole(name, version, files, requires)
    record = "".join(f"{path},sha256={hashed(t.encode())},{len(t.encode())}\n" for path, t in texts.items())
    texts[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in texts.items():
            archive.writestr(inner, text)
    return path


def environment(
    tmp_path: Path, *dists: Installed, modules: Mapping[str, Module] | None = None
) -> Environment:
    """An interpreter in `tmp_path/env` with these distributions; their modules are found where they lie."""
    known: dict[str, Module] = {}
    for dist in dists:
        for top in dist.imports:
            for origin in (f"{dist.site}/{top}/__init__.py", f"{dist.site}/{top}.py"):
                if Path(origin).exists():
                    known[top] = Module("file", origin)
            if top not in known:
                known[top] = Module("namespace", "", (f"{dist.site}/{top}",))
    return Environment(
        python=Python("3.11.7", "cpython", "/env/bin/python", str(tmp_path / "env"), "/usr"),
        platform=Platform("linux", "x86_64", "glibc 2.36"),
        markers=MARKERS,
        stdlib="/usr/lib/python3.11",
        distributions={d.name: d for d in dists},
        modules={**known, **(modules or {})},
    )
