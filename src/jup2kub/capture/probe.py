"""Runs in the user's interpreter, fed through stdin: tells which distributions are there, and whose a module is.

Python >= 3.9 and the standard library only; imports nothing of ours. Arguments: a JSON list of dotted module names.
Prints one JSON object. Finding a module imports its parents, so only top-level names are looked up.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import sysconfig
from typing import Any

LICENCE = "License :: "


def python() -> dict[str, Any]:
    """Tell about the interpreter."""
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "conda": os.path.isdir(os.path.join(sys.base_prefix, "conda-meta")),
        "stdlib": sysconfig.get_paths()["stdlib"],
        "site": sorted({sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}),
        "path": sys.path,
    }


def markers() -> dict[str, str]:
    """Tell the values of the environment markers (PEP 508)."""
    version = sys.implementation.version
    full = f"{version.major}.{version.minor}.{version.micro}"
    if version.releaselevel != "final":
        full += version.releaselevel[0] + str(version.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": full,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def libc() -> str:
    """Tell the C library, `glibc 2.36`; empty if it does not say."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return " ".join(platform.libc_ver()).strip()


def text_of(dist: Any, name: str) -> str:
    """Return a file of the dist-info folder; empty if there is none."""
    try:
        return dist.read_text(name) or ""
    except (OSError, UnicodeDecodeError):
        return ""


def licence_of(meta: Any) -> str:
    """Return the licence that the metadata name: expression, else text of one line, else classifiers."""
    for key in ("License-Expression", "License"):
        text = (meta.get(key) or "").strip()
        if text and "\n" not in text and len(text) < 100 and text.upper() != "UNKNOWN":
            return str(text)
    words = [c.split(" :: ")[-1] for c in meta.get_all("Classifier") or () if c.startswith(LICENCE)]
    return " AND ".join(words)


def distribution(dist: Any) -> dict[str, Any]:
    """Tell about one installed distribution."""
    meta = dist.metadata
    files = [
        [str(f), f.hash.value if f.hash and f.hash.mode == "sha256" else None, f.size]
        for f in dist.files or ()
    ]
    folder = str(dist._path) if hasattr(dist, "_path") else ""
    site = os.path.abspath(str(dist.locate_file("")))
    places = editable(site, files)
    if not places and (not files or folder.endswith(".egg-info")):
        # Older kinds of installation, Debian's among them, list sources or nothing; the modules' names they do tell.
        places, files = by_name(site, text_of(dist, "top_level.txt").split()), []
    return {
        "name": meta["Name"],
        "version": dist.version,
        "folder": os.path.abspath(folder) if folder else "",
        "site": site,
        "requires": list(dist.requires or ()),
        "extras": meta.get_all("Provides-Extra") or [],
        "licence": licence_of(meta),
        "installer": text_of(dist, "INSTALLER").strip(),
        "direct_url": json.loads(text_of(dist, "direct_url.json") or "null"),
        "tags": [
            line.split(":", 1)[1].strip()
            for line in text_of(dist, "WHEEL").splitlines()
            if line.startswith("Tag:")
        ],
        "files": files,
        "editable": places,
    }


def editable(site: str, files: list[Any]) -> dict[str, str]:
    """Return import name -> path of what an editable install points at, by its .pth files and finders."""
    found: dict[str, str] = {}
    for name, _, _ in files:
        path = os.path.join(site, name)
        if name.endswith(".pth") and "/" not in name:
            for line in lines_of(path):
                if line and not line.startswith(("import ", "import\t", "#")) and os.path.isdir(line):
                    found.update(modules_in(line))
        elif name.startswith("__editable__") and name.endswith("_finder.py"):
            found.update(mapping_of(path))
    return found


def by_name(site: str, names: list[str]) -> dict[str, str]:
    """Return import name -> path of those modules that lie in a folder."""
    return {name: path for name, path in modules_in(site).items() if name in names} if names else {}


def lines_of(path: str) -> list[str]:
    """Return the lines of a text file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file]
    except OSError:
        return []


def modules_in(folder: str) -> dict[str, str]:
    """Return import name -> path of the packages and modules directly in a folder."""
    found = {}
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        name, ext = os.path.splitext(entry)
        if os.path.isfile(os.path.join(path, "__init__.py")) and entry.isidentifier():
            found[entry] = path
        elif ext == ".py" and name.isidentifier() and name not in ("setup", "conftest", "noxfile"):
            found[name] = path
        elif entry.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            found[entry.split(".")[0]] = path
    return found


def mapping_of(path: str) -> dict[str, str]:
    """Return MAPPING of a finder that setuptools wrote for an editable install."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return {}
    for node in tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name) and target.id == "MAPPING":
            try:
                return {str(k): str(v) for k, v in ast.literal_eval(node.value).items()}  # type: ignore[attr-defined]
            except (ValueError, AttributeError, TypeError):
                return {}
    return {}


def module(name: str) -> dict[str, Any]:
    """Tell where a top-level module would come from."""
    if name in sys.builtin_module_names:
        return {"kind": "builtin"}
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError) as error:
        return {"kind": "absent", "reason": str(error)}
    if spec is None:
        return {"kind": "absent"}
    if spec.origin in ("built-in", "frozen"):
        return {"kind": "builtin"}
    places = [os.path.abspath(p) for p in spec.submodule_search_locations or ()]
    if spec.origin and spec.has_location:
        return {"kind": "file", "origin": os.path.abspath(spec.origin), "places": places}
    return {"kind": "namespace", "places": places}


def main() -> None:
    """Read the names and print what is known."""
    names = json.loads(sys.argv[1]) if len(sys.argv) > 1 else []
    found: dict[str, Any] = {}
    for dist in importlib.metadata.distributions():
        name = dist.metadata["Name"]
        # The first on the path is the one that is imported.
        if name:
            found.setdefault(name.lower().replace("_", "-").replace(".", "-"), distribution(dist))
    told = {
        "python": python(),
        "markers": markers(),
        "libc": libc(),
        "distributions": list(found.values()),
        "modules": {name: module(name) for name in names},
    }
    sys.stdout.write("\x02" + json.dumps(told) + "\x03")


main()
