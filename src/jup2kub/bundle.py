"""The program that pods carry, as one file: run server, agent and kernel child, and nothing of the compiler.

A zip archive that Python runs; the same sources give the same bytes. It unpacks itself into the temporary folder, for the
kernel child is started from a folder by whatever interpreter the notebook's kernel has.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from jup2kub.errors import UsageError

LIMIT = 900 << 10
"""Bytes; a config map holds 1 MiB with everything around it."""
PARTS = ("errors.py", "pod.py", "kit", "model", "store", "agent", "engine", "kernel", "cluster", "manifests")
TASK_PARTS = (*(part for part in PARTS if part != "pod.py"), "part.py", "collect.py", "ipynb/write.py")
"""Of the program that the tasks of an exported notebook run: they make the executed notebook themselves."""
LEFT_OUT = frozenset({"engine/foreign.py", "engine/early.py", "cluster/forward.py", "cluster/outside.py"})
"""For the user's machine only."""
DATA = frozenset({".py", ".json"})
STAMP = (1980, 1, 1, 0, 0, 0)
START = '''"""Unpacks the program beside it and runs it."""
import atexit
import shutil
import sys
import tempfile
import zipfile

folder = tempfile.mkdtemp(prefix="jup2kub-program-")
atexit.register(shutil.rmtree, folder, True)
with zipfile.ZipFile(sys.path[0]) as program:
    program.extractall(folder)
sys.path[0] = folder
sys.dont_write_bytecode = True

from jup2kub.PROGRAM import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
'''


def files(source: Path, program: str = "pod") -> dict[str, bytes]:
    """Return what the bundle holds, by path in the archive; `source`: the folder of this package, `program`: `pod` or `part`."""
    start = START.replace("PROGRAM", program)
    found = {"__main__.py": start.encode(), "jup2kub/__init__.py": (source / "__init__.py").read_bytes()}
    for part in TASK_PARTS if program == "part" else PARTS:
        top = source / part
        paths = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in paths:
            name = path.relative_to(source).as_posix()
            if path.is_file() and path.suffix in DATA and name not in LEFT_OUT and "__pycache__" not in name:
                found[f"jup2kub/{name}"] = path.read_bytes()
    return found


def build(source: Path = Path(__file__).parent, program: str = "pod") -> bytes:
    """Return the bundle. Raises UsageError (J2K730) when it is too big for a config map."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=zlib.Z_BEST_COMPRESSION) as archive:
        for name, data in sorted(files(source, program).items()):
            entry = zipfile.ZipInfo(name, STAMP)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    found = made.getvalue()
    if len(found) > LIMIT:
        raise UsageError(
            "J2K730",
            f"the program has {len(found) >> 10} KiB, more than the {LIMIT >> 10} that fit into a config map",
            "use an image that brings it",
        )
    return found
