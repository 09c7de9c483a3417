"""Bytecode that stays valid in an image: unchecked-hash `.pyc` files (PEP 552), compiled under in-image names.

Files of a layer carry time 0, by which an ordinary `.pyc` is stale: every pod would compile everything again.
"""

from __future__ import annotations

import os
import posixpath
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from jup2kub.errors import EnvironmentProblem

SHARE = 3 << 20
"""Bytes of source that one process compiles. Fixed: what a process compiled before can show in its marshalled bytes
(references are marked by reference counts), so shares must not depend on the number of cores."""
WORKER = """
import sys, struct, marshal, warnings
import importlib.util as util, _imp
warnings.simplefilter("ignore")
read, out = sys.stdin.buffer.read, sys.stdout.buffer
while True:
    head = read(8)
    if not head:
        break
    name_size, size = struct.unpack("<II", head)
    name, source = read(name_size).decode(), read(size)
    try:
        code = compile(source, name, "exec", dont_inherit=True)
        data = util.MAGIC_NUMBER + struct.pack("<I", 1) + util.source_hash(source) + marshal.dumps(code)
    except (SyntaxError, ValueError, RecursionError, OverflowError):
        data = b""
    out.write(struct.pack("<I", len(data)) + data)
"""


@dataclass(frozen=True)
class Source:
    """A Python source of an image."""

    path: str
    """In the image, without a leading slash."""
    text: bytes


def cached_path(path: str, tag: str) -> str:
    """Return where the bytecode of the source at `path` lies (PEP 3147); `tag` is as `cpython-311`."""
    head, name = posixpath.split(path)
    return posixpath.join(head, "__pycache__", f"{name.removesuffix('.py')}.{tag}.pyc")


def is_worth(path: str) -> bool:
    """Whether a source is compiled ahead: nobody's start waits for a package's own tests, half of its text."""
    return not {"test", "tests", "idlelib", "lib2to3"} & set(path.split("/")[:-1])


def shares(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Cut the sources into shares of about `SHARE` bytes, in their order."""
    share: list[Source] = []
    size = 0
    for source in sources:
        share.append(source)
        size += len(source.text)
        if size >= SHARE:
            yield share
            share, size = [], 0
    if share:
        yield share


def compile_all(sources: Sequence[Source], python: str, workers: int | None = None) -> dict[str, bytes]:
    """Return the bytecode of each source by its path; what does not compile is left out, as pip does.

    `python`: the interpreter that compiles; its version must be that of the image's. Raises EnvironmentProblem
    (J2K610) if it fails.
    """
    found: dict[str, bytes] = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for part in pool.map(lambda share: _compile(share, python), shares(sources)):
            found.update(part)
    return found


def _compile(share: Sequence[Source], python: str) -> dict[str, bytes]:
    names = [b"/" + s.path.encode() for s in share]
    given = b"".join(
        struct.pack("<II", len(n), len(s.text)) + n + s.text for n, s in zip(names, share, strict=True)
    )
    # Sets of constants are marshalled in their order, which before Python 3.11 hangs on the hash seed.
    env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    for name in ("LD_LIBRARY_PATH", "SYSTEMROOT"):
        if name in os.environ:
            env[name] = os.environ[name]
    try:
        done = subprocess.run(
            [python, "-s", "-S", "-B", "-c", WORKER], input=given, capture_output=True, env=env, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise EnvironmentProblem(
            "J2K610",
            f"{python} could not compile the sources of the image: {said.decode(errors='replace')[-300:] or error}",
            "check that this interpreter runs; `--kernel NAME` chooses another",
        ) from error
    return {s.path: data for s, data in zip(share, _parts(done.stdout), strict=True) if data}


def _parts(data: bytes) -> Iterator[bytes]:
    starts = [0]
    while starts[-1] < len(data):
        (size,) = struct.unpack_from("<I", data, starts[-1])
        starts.append(starts[-1] + 4 + size)
    for start, end in pairwise(starts):
        yield data[start + 4 : end]
