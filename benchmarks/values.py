"""A frame of 1 GB to the store and back, in one process as the kernel does it: `python values.py FOLDER`.

Writes `values.json` into the folder: `load` in seconds, `rate` in GB/s of writing and committing, `bytes`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from jup2kub.kernel import values
from jup2kub.store.files import FileStore


def measure(folder: Path) -> dict[str, float]:
    """Write, commit and load one frame; return the numbers."""
    frame = pd.DataFrame(np.random.default_rng(1).random((12_500_000, 10)), columns=list("abcdefghij"))
    store = FileStore(folder / "store")
    try:
        # A first one warms the disk and the page cache, and is replaced.
        values.dump({"frame": frame}, values.Definitions(), str(store.staging() / "warm"))
        path = store.staging() / "value"
        began = time.perf_counter()
        written = values.dump({"frame": frame}, values.Definitions(), str(path))
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
    return {"load": loaded, "rate": written["bytes"] / 1e9 / saved, "bytes": float(written["bytes"])}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "values.json").write_text(json.dumps(measure(target)))
