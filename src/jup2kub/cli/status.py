"""`jup2kub status`: what the store holds of a run."""

from __future__ import annotations

import argparse
import json
import re
import time

from jup2kub.cli import common, onkube, where
from jup2kub.errors import EXIT_OK, UsageError
from jup2kub.kit.canon import to_json
from jup2kub.kube import drive, state
from jup2kub.kube.runs import Remembered
from jup2kub.store import RunInfo, Store

AGAIN = 1.0
"""Seconds between looks at a run on a cluster."""
CLOCK = re.compile(r", [\d.]+ (s|min|h)[ \d]*(s|min)?|\"(seconds|quiet)\": [\d.]+")
"""What changes by time alone."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run, or the beginning of its id (default: the newest)"
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="of a run on a cluster: until it has ended"
    )
    where.place_options(parser)
    common.store_option(parser)


def chosen(store: Store, prefix: str | None) -> RunInfo:
    """Return the run that the user means. Raises UsageError."""
    runs = store.runs()
    found = [r for r in runs if prefix is None or r.id.startswith(prefix.lower())]
    if not found or (prefix is not None and len(found) > 1):
        word = "no run begins" if not found else f"{len(found)} runs begin"
        text = f"{word} with {prefix!r}" if prefix else "there is no run in this store"
        raise UsageError("J2K240", text, "`jup2kub runs` lists them")
    return found[0]


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    far = onkube.find(options, options.run) if options.run else None
    if far is not None:
        return on_cluster(options, far)
    with common.store(options) as store:
        run = chosen(store, options.run)
        records = [r for _, r in sorted(store.records(run.id).items(), key=lambda item: item[0].step)]
        usage = store.usage()
    cells = [
        {
            "cell": r["cell"],
            "status": r["status"],
            "where": r["outcome"]["where"],
            "seconds": r["outcome"]["seconds"],
            "bytes": sum(v["bytes"] for v in r["values"]),
            "files": sorted(r["files"]),
        }
        for r in records
        if "outcome" in r
    ]
    if options.json:
        common.result(json.dumps({"run": to_json(run), "committed": cells, "store": to_json(usage)}))
        return EXIT_OK
    common.result(f"{run.id}  {run.state}  {run.key.notebook}")
    for cell in sorted(cells, key=lambda c: c["cell"]):
        common.result(
            f"  cell {cell['cell']:>3}  {cell['status']}  {cell['where']}  "
            f"{common.duration(cell['seconds'])}  {cell['bytes'] / 1e6:.1f} MB kept"
        )
    common.result(f"store: {usage.bytes / 1e6:.1f} MB in {usage.blobs} blobs, {usage.runs} runs")
    return EXIT_OK


def on_cluster(options: argparse.Namespace, known: Remembered) -> int:
    """Show a run on a cluster; with --watch again and again, as lines that have changed."""
    shown: list[str] = []
    with onkube.cluster_of(known) as cluster, drive.reached(known.run, cluster) as running:
        while True:
            found = state.look(running)
            told = [json.dumps(found)] if options.json else state.lines(found, common.duration)
            if CLOCK.sub("", "\n".join(told)) != CLOCK.sub("", "\n".join(shown)):
                for line in told:
                    common.result(line)
                shown = told
            if not options.watch or found["ended"] is not None:
                return EXIT_OK
            time.sleep(AGAIN)
