"""`jup2kub logs`: a run's story, and what its pods have printed."""

from __future__ import annotations

import argparse
import contextlib
import threading

from jup2kub import away
from jup2kub.cli import common, onkube, where
from jup2kub.cluster import Cluster, ClusterProblem
from jup2kub.errors import EXIT_OK, StoreProblem
from jup2kub.kube import drive
from jup2kub.kube.drive import Running
from jup2kub.manifests.objects import select


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run on a cluster, or the beginning of its name")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--cell", type=int, metavar="N", help="the story of this cell alone")
    where.place_options(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    known = onkube.must_find(options, options.run)
    with onkube.cluster_of(known) as cluster, drive.reached(known.run, cluster) as running:
        over = threading.Event()
        printers: dict[str, threading.Thread] = {}
        try:
            story(options, running, over, printers)
        finally:
            over.set()
        for printer in printers.values():
            printer.join(2.0)
    return EXIT_OK


def story(
    options: argparse.Namespace,
    running: Running,
    over: threading.Event,
    printers: dict[str, threading.Thread],
) -> None:
    """Print events as they come, and start a printer for each pod that is new."""
    last = 0
    while True:
        if options.cell is None:
            for pod in pods(running.cluster, running.spec.run):
                if pod not in printers:
                    words = (running.cluster, pod, options.follow, over)
                    printers[pod] = threading.Thread(target=copy, args=words, daemon=True)
                    printers[pod].start()
        wait = 2.0 if options.follow else 0.0
        found = running.away.link.ask("/v1/events", {"after": last, "wait": wait}, wait=wait)
        last = found["last"]
        for event in found["events"]:
            told = away.told(event)
            if options.cell is None or told.cell == options.cell:
                where = f"cell {told.cell}" if told.cell is not None else "run"
                took = f" {common.duration(told.seconds)}" if told.seconds is not None else ""
                by = event.get("worker", "").partition(".")[0]
                common.result(
                    " ".join(w for w in (where, told.kind, told.text, f"({by})" if by else "") if w) + took
                )
        if not options.follow or found["ended"] is not None:
            return


def pods(cluster: Cluster, run: str) -> list[str]:
    """Return the names of the run's pods that have begun."""
    return [
        p["metadata"]["name"]
        for p in cluster.list("Pod", select(run)).items
        if p.get("status", {}).get("phase") != "Pending"
    ]


def copy(cluster: Cluster, pod: str, follow: bool, over: threading.Event) -> None:
    """Print what a pod prints, each line with the pod's name."""
    with contextlib.suppress(ClusterProblem, StoreProblem):
        for line in cluster.logs(pod, follow=follow):
            common.result(f"{pod} | {line.decode(errors='replace')}")
            if over.is_set() and follow:
                return
