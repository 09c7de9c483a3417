"""The runs of a namespace, as the cluster knows them, and what this machine remembers of those it started.

The cluster is the truth: what a run's server is, and its token. Here only lies what the cluster cannot know: which
notebook it was, with which parameters, and where the result was to go.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jup2kub.cluster import Cluster, Missing, Obj
from jup2kub.errors import UsageError
from jup2kub.kit.canon import from_json, to_json
from jup2kub.kube.wishes import Wishes
from jup2kub.manifests.objects import NOTEBOOK, RUN, base_name
from jup2kub.manifests.spec import SERVER, RunSpec


@dataclass(frozen=True)
class Remembered:
    """One run that was started from this machine."""

    run: str
    context: str
    """Empty = the current one of the kubeconfig."""
    namespace: str
    notebook: str
    """Absolute path."""
    out: str
    """Where the executed notebook (of a sweep: its folder) was to be written; absolute."""
    began: float
    """Seconds since the epoch."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    keep_going: bool = False
    kernel: str = ""
    plan: str = "hybrid"
    offload: str = "auto"
    wishes: Wishes = field(default_factory=lambda: Wishes(""))
    sets: tuple[Mapping[str, Any], ...] = ()
    """Parameters of each set of a sweep, whose `out` is a folder; empty = it is none."""
    collect: tuple[str, ...] = ()
    """Variables for the sweep's table."""


def remember(folder: Path, run: Remembered) -> None:
    """Keep it in `folder`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    with os.fdopen(handle, "w") as file:
        json.dump(to_json(run), file)
    os.replace(name, folder / f"{run.run}.json")


def forget(folder: Path, run: str) -> None:
    """Drop it."""
    (folder / f"{run}.json").unlink(missing_ok=True)


def remembered(folder: Path) -> list[Remembered]:
    """Return all of them, the newest first; what cannot be read is left out."""
    found = []
    for path in sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else ():
        try:
            found.append(from_json(Remembered, json.loads(path.read_text())))
        except (OSError, ValueError):
            continue
    return found


def chosen(folder: Path, prefix: str) -> Remembered | None:
    """Return the one whose name begins so; None = there is none. Raises UsageError (J2K240) for several."""
    found = [r for r in remembered(folder) if r.run.startswith(prefix.lower())]
    if len(found) > 1 and prefix.lower() not in [r.run for r in found]:
        raise UsageError(
            "J2K240", f"{len(found)} runs on clusters begin with {prefix!r}", "give more letters"
        )
    exact = [r for r in found if r.run == prefix.lower()]
    return next(iter(exact or found), None)


def token(cluster: Cluster, run: str) -> str:
    """Return a run's token. Raises Missing (J2K725) when the cluster has no such run."""
    try:
        data = cluster.get("Secret", f"{base_name(run)}-token")["data"]
    except Missing as error:
        raise Missing(
            "J2K725",
            f"namespace {cluster.namespace} has no run {run}",
            "it may be deleted, or in another --namespace or --context",
        ) from error
    return base64.b64decode(data["token"]).decode()


def spec(cluster: Cluster, run: str) -> RunSpec:
    """Return the spec of a run in the cluster. Raises Missing."""
    data = cluster.get("ConfigMap", f"{base_name(run)}-spec")["data"]
    return from_json(RunSpec, json.loads(data["spec.json"]))


def of_notebook(cluster: Cluster, notebook: str) -> list[str]:
    """Return the runs of a notebook whose servers are there."""
    found: list[Obj] = list(cluster.list("Deployment", f"{NOTEBOOK}={notebook}").items)
    return [o["metadata"]["labels"][RUN] for o in found if not o["metadata"].get("deletionTimestamp")]


def servers(cluster: Cluster) -> list[Obj]:
    """Return the Deployments of all run servers in the namespace."""
    return list(
        cluster.list(
            "Deployment", f"app.kubernetes.io/managed-by=jup2kub,app.kubernetes.io/component={SERVER}"
        ).items
    )
