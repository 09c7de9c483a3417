"""`make demo`: the example notebooks one after the other in Jupyter's way, then in parallel, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cases import tool
from benchmarks.measure import Broken, call, environment, load, text_of

EXAMPLES = Path(__file__).parent.parent / "examples"
WIDTH = 40
"""Characters of the longest bar."""


def main() -> int:
    """Run every example; return 0 if all went well and said the same as in Jupyter."""
    sources = sorted(p for p in EXAMPLES.glob("*.ipynb") if not p.stem.endswith(".executed"))
    if not sources:
        print(f"no notebooks in {EXAMPLES}", file=sys.stderr)
        return 1
    good = True
    for source in sources:
        with tempfile.TemporaryDirectory(prefix="jup2kub-demo-") as name:
            try:
                good &= show(source, Path(name))
            except Broken as error:
                print(f"broken: {error}", file=sys.stderr)
                good = False
    return 0 if good else 1


def show(source: Path, folder: Path) -> bool:
    """Run one example twice and print how it went; return whether both runs say the same."""
    shutil.copytree(source.parent, folder / "jupyter", ignore=shutil.ignore_patterns("*.executed.ipynb"))
    print(f"\n{source.name}: as Jupyter runs it (nbclient), one cell after the other …", flush=True)
    serial = call([tool("jupyter-execute"), source.name, "--output=out"], folder / "jupyter")
    print(f"{source.name}: jup2kub run --fresh", flush=True)
    target = source.with_name(f"{source.stem}.executed.ipynb")
    command = [tool("jup2kub"), "run", str(source), "--fresh", "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment(folder), stdout=subprocess.PIPE, text=True)
    parallel = time.perf_counter() - began
    if done.returncode:
        raise Broken(f"{' '.join(command)} gave exit code {done.returncode}")
    said = json.loads(done.stdout)
    same = text_of(load(folder / "jupyter" / "out.ipynb")) == text_of(load(target))
    cells = load(target)["cells"]
    whole = max(serial, parallel)
    print()
    for name, seconds in (("one by one", serial), ("in parallel", parallel)):
        print(f"  {name:<12} {'█' * max(1, round(WIDTH * seconds / whole))} {seconds:.1f} s")
    print(f"  {serial / said['seconds']:.2f} times as fast, with {workers()} workers")
    for index in said["steps"]:
        source_text = "".join(cells[index]["source"]).strip().splitlines()
        seconds = cells[index]["metadata"]["jup2kub"]["seconds"]
        print(f"  step: cell {index}, {seconds:.1f} s: {source_text[0] if source_text else ''}")
    print(f"  the cells say {'the same' if same else 'SOMETHING ELSE'} in both runs")
    print(f"  the executed notebook: {os.path.relpath(target)}")
    return same


def workers() -> int:
    """Return the workers that `jup2kub run` uses by itself: the cores of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    raise SystemExit(main())
