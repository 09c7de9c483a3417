"""The end of pods that nobody confirms: their node does not answer."""

from __future__ import annotations

import calendar
import contextlib
import time
from typing import Optional

from jup2kub.cluster import Cluster, Conflict, Missing, Obj

FINALIZER = "batch.kubernetes.io/job-tracking"
OVERTIME = 10.0
"""Seconds past its grace after which a terminating pod is believed dead."""


def seconds_of(stamp: str) -> float:
    """Return an API time stamp (RFC 3339, UTC) as seconds since the epoch; 0 for none."""
    return float(calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))) if stamp else 0.0


def overdue(pod: Obj, now: float) -> bool:
    """Return whether the pod is still Terminating well past its grace."""
    asked = seconds_of(pod["metadata"].get("deletionTimestamp", ""))
    return bool(asked) and now >= asked + OVERTIME


def bury(cluster: Cluster, pod: Obj) -> None:
    """Remove a pod by force.

    Its Job goes first, so that the Job controller makes no second pod; then the finalizer by which that counts pods; then
    the pod. What it may still commit loses against the first commit, as any late result does.
    """
    meta = pod["metadata"]
    for owner in meta.get("ownerReferences", ()):
        if owner["kind"] == "Job":
            remove(cluster, "Job", owner["name"], owner["uid"])
    with contextlib.suppress(Missing, Conflict):
        if FINALIZER in meta.get("finalizers", ()):
            finalizers = [f for f in meta["finalizers"] if f != FINALIZER]
            cluster.patch("Pod", meta["name"], {"metadata": {"finalizers": finalizers}}, uid=meta["uid"])
        remove(cluster, "Pod", meta["name"], meta["uid"], grace=0)


def remove(cluster: Cluster, kind: str, name: str, uid: str, grace: Optional[int] = None) -> None:
    """Delete an object if it is still the one with `uid`."""
    # Missing, or another one has its name now: either way this one is not there any longer.
    with contextlib.suppress(Missing, Conflict):
        cluster.delete(kind, name, uid=uid, grace=grace)
