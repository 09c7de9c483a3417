"""A frame of 1 GB to the store and back, in one process as a kernel's copy does it: `python values.py FOLDER`.

Writes `values.json` into the folder: `load` in seconds; `rate` in GB/s of writing and committing; `memory`, the same in
memory instead of on a disk, which is our own share (left out where there is no such folder); `bare` in GB/s, what the
disk gives to who only writes as many bytes and waits for them; `bytes`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from jup2kub.kernel import values
from jup2kub.store.files import FileStore

MEMORY = Path("/dev/shm")
PIECE = 1 << 26


def there_and_back(frame: pd.DataFrame, folder: Path) -> tuple[float, float, int]:
    """Write, commit and load the frame with a store in `folder`; return both times and the bytes."""
    store = FileStore(folder / "store")
    try:
        path = store.staging() / "value"
        began = time.perf_counter()
        written = values.dump({"frame": frame}, values.Definitions(), str(path), threads=True)
        digest = store.adopt_blob(path, sha256=written["sha256"], size=written["bytes"], trusted=True)
        saved = time.perf_counter() - began
        place = store.blob_path(digest, written["bytes"])
        began = time.perf_counter()
        again = values.load(str(place), values.Definitions())["frame"]
        loaded = time.perf_counter() - began
        if not again.equals(frame):
            raise SystemExit("the frame came back different")
    finally:
        store.close()
    return saved, loaded, int(written["bytes"])


def bare(frame: pd.DataFrame, path: Path) -> float:
    """Return the seconds that it takes to write the frame's bytes into a file and have them on the disk."""
    data = memoryview(frame.to_numpy().T).cast("B")
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), PIECE):
            file.write(data[at : at + PIECE])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def measure(folder: Path) -> dict[str, float]:
    """Return the numbers, the better of two: the first warms the disk and the page cache."""
    frame = pd.DataFrame(np.random.default_rng(1).random((12_500_000, 10)), columns=list("abcdefghij"))
    plain = min(bare(frame, folder / "bare") for _ in range(2))
    saved, loaded, size = min(there_and_back(frame, folder / name) for name in ("first", "second"))
    found = {"load": loaded, "rate": size / 1e9 / saved, "bare": size / 1e9 / plain, "bytes": float(size)}
    if MEMORY.is_dir():
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            found["memory"] = size / 1e9 / there_and_back(frame, Path(name))[0]
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "values.json").write_text(json.dumps(measure(target)))
