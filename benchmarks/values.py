"""A frame of 1 GB to the store and back, in one process as a kernel's copy does it: `python values.py FOLDER`.

Writes `values.json` into the folder: `load` in seconds; `rate` in GB/s of writing and committing, to be kept for a
later run; `soon`, the same to be read at once, through the system's cache; `cpu` in seconds of the processor for a GB
of the first, which do not depend on the disk or on what else runs; `bare` in GB/s, the most that the disk gives to who
only writes as many bytes and waits for them; `digest` in GB/s, how fast one core takes their SHA-256; `bytes`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from jup2kub.kernel import values
from jup2kub.store.files import FileStore

PIECE = 1 << 26


def there_and_back(frame: pd.DataFrame, folder: Path, direct: bool) -> dict[str, float]:
    """Write, commit and load the frame with a store in `folder`; return the seconds of each, and the bytes."""
    store = FileStore(folder / "store")
    try:
        path = store.staging() / "value"
        began, worked = time.perf_counter(), time.process_time()
        written = values.dump({"frame": frame}, values.Definitions(), str(path), threads=True, direct=direct)
        digest = store.adopt_blob(path, sha256=written["sha256"], size=written["bytes"], trusted=True)
        saved, cpu = time.perf_counter() - began, time.process_time() - worked
        place = store.blob_path(digest, written["bytes"])
        began = time.perf_counter()
        again = values.load(str(place), values.Definitions())["frame"]
        loaded = time.perf_counter() - began
        if not again.equals(frame):
            raise SystemExit("the frame came back different")
    finally:
        store.close()
    return {"saved": saved, "cpu": cpu, "load": loaded, "bytes": float(written["bytes"])}


def bare(data: memoryview, path: Path, direct: bool) -> float:
    """Return the seconds that it takes to write bytes of whole pages into a file and have them on the disk."""
    began = time.perf_counter()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if direct else 0))
        try:
            for at in range(0, len(data), PIECE):
                os.write(fd, data[at : at + PIECE])
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:  # the file system knows no O_DIRECT
        return float("inf")
    finally:
        seconds = time.perf_counter() - began
        path.unlink(missing_ok=True)
    return seconds


def measure(folder: Path) -> dict[str, float]:
    """Return the numbers, each the best of two: the first time warms disk and memory."""
    frame = pd.DataFrame(np.random.default_rng(1).random((12_500_000, 10)), columns=list("abcdefghij"))
    with mmap.mmap(-1, frame.to_numpy().nbytes // mmap.PAGESIZE * mmap.PAGESIZE) as pages:
        np.copyto(np.frombuffer(pages, np.float64), frame.to_numpy().T.reshape(-1)[: len(pages) // 8])
        with memoryview(pages) as data:
            plain = min(bare(data, folder / "bare", direct) for direct in (True, False) for _ in range(2))
            began = time.perf_counter()
            hashlib.sha256(data).digest()
            digested, size = time.perf_counter() - began, len(data)
    kept = [there_and_back(frame, folder / f"kept-{n}", True) for n in range(2)]
    soon = [there_and_back(frame, folder / f"soon-{n}", False) for n in range(2)]
    best = min(kept, key=lambda found: found["saved"])
    return {
        "load": min(found["load"] for found in (*kept, *soon)),
        "rate": best["bytes"] / 1e9 / best["saved"],
        "soon": best["bytes"] / 1e9 / min(found["saved"] for found in soon),
        "cpu": min(found["cpu"] for found in kept) * 1e9 / best["bytes"],
        "bare": size / 1e9 / plain,
        "digest": size / 1e9 / digested,
        "bytes": best["bytes"],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "values.json").write_text(json.dumps(measure(target)))
