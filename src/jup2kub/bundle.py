"""What a pod carries of this program: its files, and one zipapp of them, the same bytes for the same sources.

The compiler, the command line and the clients of a user's machine stay at home. All that travels keeps to Python 3.9
and the standard library.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TRAVELS = ("__init__.py", "errors.py", "kit", "model", "store", "agent", "engine", "kernel", "manifests")
ALSO = tuple(f"cluster/{name}.py" for name in ("__init__", "rest", "incluster", "reasons", "capacity"))
STAYS = frozenset({"engine/foreign.py"})
"""It runs notebooks of other languages by nbclient, which pods do not have."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip file can tell."""
MAIN = '''\
"""Starts an agent, or with the word `server` first a run server."""

import importlib
import os
import sys
import tempfile
import zipfile

here = os.path.dirname(os.path.abspath(__file__))
if os.path.isfile(here):
    # A zipapp: the kernel child is started as a folder, so the files must lie on a disk.
    folder = tempfile.mkdtemp(prefix="jup2kub-")
    with zipfile.ZipFile(here) as archive:
        archive.extractall(folder)
    sys.path[0] = folder
words = sys.argv[1:]
part = words.pop(0) if words[:1] in (["agent"], ["server"]) else "agent"
main = importlib.import_module("jup2kub.engine.%s.__main__" % {"agent": "pod", "server": "server"}[part]).main
sys.exit(main(words))
'''


def agent_files() -> dict[str, bytes]:
    """Return the files by their path below the folder that Python starts, `__main__.py` among them; sorted."""
    found = {"__main__.py": MAIN.encode()}
    for name in TRAVELS:
        place = HERE / name
        paths = place.rglob("*") if place.is_dir() else [place]
        for path in paths:
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found[path.relative_to(HERE.parent).as_posix()] = path.read_bytes()
    for name in ALSO:
        if (HERE / name).is_file():
            found[f"jup2kub/{name}"] = (HERE / name).read_bytes()
    for name in STAYS:
        found.pop(f"jup2kub/{name}", None)
    return dict(sorted(found.items()))


def agent_zipapp() -> bytes:
    """Return the zipapp that `python agent.pyz` starts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in agent_files().items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()
