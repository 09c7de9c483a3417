"""`DynamicPodDeployer`, as the paper names it: makes what `manifests` has computed, waits for it, and removes it.

Idempotent: the same objects may be deployed again at any time, after a crash too. What is not ours is never touched.
Python >= 3.9 and the standard library; only `connect` loads the Kubernetes client of the command line.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from jup2kub.cluster import (
    Cluster,
    ClusterProblem,
    Exists,
    Forbidden,
    Gone,
    Missing,
    Obj,
    Unreachable,
    incluster,
    reasons,
)
from jup2kub.cluster.burial import bury, overdue, remove
from jup2kub.cluster.reasons import Why
from jup2kub.errors import EnvironmentProblem
from jup2kub.manifests.objects import NOTEBOOK, RUN, select
from jup2kub.manifests.render import DIGEST

log = logging.getLogger(__name__)
Tell = Callable[[str], None]
OURS = (
    "Deployment",
    "Job",
    "Pod",
    "Service",
    "ConfigMap",
    "Secret",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "RoleBinding",
    "Role",
    "ServiceAccount",
    "PersistentVolumeClaim",
)
"""Kinds that a run may have made, in the order they are removed: what makes others goes first, data last."""
AT_ONCE = 8
"""Objects that the cluster is asked about at the same time."""
CLEARING = 90.0
"""Seconds that removing a run's objects may take."""
GRACE = 5
"""Seconds that pods of a run that is over get to end."""
PATIENCE = 1.0
"""Seconds between looks where a watch has nothing to say."""


def connect(context: str = "", namespace: str = "") -> Cluster:
    """Return the cluster that this process may speak to: its own if it runs in a pod, else the kubeconfig's.

    A context that is named is the kubeconfig's in any case. Raises UsageError, EnvironmentProblem.
    """
    if not context and incluster.present():
        return incluster.connect(namespace)
    outside = importlib.import_module("jup2kub.cluster.outside")
    found: Cluster = outside.connect(context, namespace)
    return found


class DynamicPodDeployer:
    """Deploys into one namespace."""

    def __init__(
        self,
        cluster: Cluster,
        tell: Tell = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`tell` is given the story in words, each line once."""
        self.cluster = cluster
        self._tell, self._clock, self._pause = tell, clock, pause
        self._told = ""

    def check(self, objects: Iterable[Obj]) -> Tuple[Tuple[Obj, ClusterProblem], ...]:
        """Return the objects that the cluster would refuse, by server dry run, with its reasons."""
        wanted = list(objects)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(self._refused, wanted))
        return tuple((obj, why) for obj, why in zip(wanted, found) if why is not None)

    def _refused(self, obj: Obj) -> Optional[ClusterProblem]:
        try:
            self.cluster.create(obj, dry_run=True)
        except Exists:
            return None
        except ClusterProblem as problem:
            if isinstance(problem, Unreachable):
                raise
            return problem
        return None

    def deploy(self, objects: Sequence[Obj]) -> Tuple[Obj, ...]:
        """Make the objects in their order; return them as the cluster has them.

        One that exists is left alone if it is ours and the same, and changed by server-side apply if it is ours and was
        computed otherwise. Raises Exists (J2K716) if it belongs to something else.
        """
        return tuple(self._one(obj) for obj in objects)

    def _one(self, obj: Obj) -> Obj:
        kind, name = obj["kind"], obj["metadata"]["name"]
        try:
            made = self.cluster.create(obj)
            log.info("made %s %s", kind, name)
            return made
        except Exists:
            found = self.cluster.get(kind, name)
        mine, theirs = obj["metadata"], found["metadata"]
        whose = [
            theirs.get("labels", {}).get(label) == mine["labels"].get(label) for label in (RUN, NOTEBOOK)
        ]
        if not all(whose):
            raise Exists(
                "J2K716",
                f"{kind} {name} exists in namespace {self.cluster.namespace} and is not this run's",
                f"look at it with `kubectl get {kind.lower()} {name} -o yaml`; delete it or choose another --namespace",
            )
        if theirs.get("deletionTimestamp"):
            self.gone([(kind, name, theirs["uid"])], seconds=60)
            return self.cluster.create(obj)
        if theirs.get("annotations", {}).get(DIGEST) == mine.get("annotations", {}).get(DIGEST):
            return found
        log.info("changed %s %s", kind, name)
        return self.cluster.apply(obj)

    def wait(self, run: str, component: str, seconds: float, ended: bool = False) -> Obj:
        """Wait until a pod of this part of a run is ready (or with `ended`: over); return it.

        Tells why it takes time. Raises EnvironmentProblem: J2K717 when `seconds` are over, J2K718 as soon as it is
        certain that no pod can run.
        """
        chosen, limit, why = select(run, component), self._clock() + seconds, Why(reasons.WAITING)
        version = ""
        while True:
            with _patient(limit, self._clock):
                pods, version = self._pods(chosen)
                for pod, found in pods:
                    why = found
                    self._say(f"{component}: {why.text}" if why.text else "")
                    if (why.state == reasons.ENDED and ended) or (not ended and _ready(pod)):
                        return pod
                    if why.final:
                        raise EnvironmentProblem(
                            "J2K718", f"the {component} cannot run: {why.text}", _way_out(why)
                        )
                if not pods:
                    why = self._why_no_pod(run, component) or why
                    self._say(f"{component}: {why.text}" if why.text else "")
                    if why.final:
                        raise EnvironmentProblem(
                            "J2K718", f"the {component} cannot run: {why.text}", _way_out(why)
                        )
            if self._clock() >= limit:
                raise EnvironmentProblem(
                    "J2K717",
                    f"the {component} was not ready after {seconds:.0f} s: {why.text or why.state}",
                    "what was made stays and may still start: `jup2kub status RUN`, or `jup2kub delete RUN`",
                )
            with contextlib.suppress(Gone, Unreachable):
                for _ in self.cluster.watch(
                    "Pod", chosen, version, seconds=min(2.0, max(0.1, limit - self._clock()))
                ):
                    break

    def why(self, run: str, component: str) -> Why:
        """Return how far a part of a run has come, now."""
        pods, _ = self._pods(select(run, component))
        ready = [w for p, w in pods if _ready(p)]
        found = ready or [w for _, w in pods]
        return found[0] if found else self._why_no_pod(run, component) or Why(reasons.ENDED, "it has no pod")

    def _pods(self, chosen: str) -> Tuple[List[Tuple[Obj, Why]], str]:
        listing = self.cluster.list("Pod", chosen)
        alive = [p for p in listing.items if not p["metadata"].get("deletionTimestamp")]
        events = self._events([p for p in alive if not _ready(p)])
        return [(p, reasons.of_pod(p, events.get(p["metadata"]["uid"], ()))) for p in alive], listing.version

    def _events(self, pods: Sequence[Obj]) -> Dict[str, List[Obj]]:
        found: Dict[str, List[Obj]] = {}
        for pod in pods:
            about = self.cluster.list("Event", fields=f"involvedObject.uid={pod['metadata']['uid']}")
            found[pod["metadata"]["uid"]] = list(about.items)
        return found

    def _why_no_pod(self, run: str, component: str) -> Optional[Why]:
        """Return why controllers have made no pod: quota, admission; None = they have not said."""
        for kind in ("ReplicaSet", "Job"):
            for maker in self.cluster.list(kind, select(run, component)).items:
                uid = maker["metadata"]["uid"]
                events = self.cluster.list("Event", fields=f"involvedObject.uid={uid}").items
                if any(e.get("reason") == "FailedCreate" for e in events):
                    return reasons.of_job(maker, events)
        return None

    def _say(self, text: str) -> None:
        if text and text != self._told:
            self._told = text
            self._tell(text)

    def prune(self, run: str, keep: Iterable[Tuple[str, str]] = (), claims: bool = False) -> Tuple[str, ...]:
        """Remove what carries the run's label and is not in `keep` (kind, name); return what was removed, as `kind/name`.

        Claims hold results: only with `claims`. A claim that the user named has no label of ours, and stays.
        """
        kept = set(keep)
        asked: Dict[str, str] = {}
        limit = self._clock() + CLEARING
        while True:
            left = [o for o in self._ours(run, claims) if (o["kind"], o["metadata"]["name"]) not in kept]
            if not left:
                return tuple(asked.values())
            if self._clock() >= limit:
                raise _still_there(CLEARING, [(o["kind"], o["metadata"]["name"]) for o in left])
            for obj in left:
                kind, meta = obj["kind"], obj["metadata"]
                if kind == "Pod" and overdue(obj, time.time()):
                    bury(self.cluster, obj)
                elif meta["uid"] not in asked:
                    grace = GRACE if kind == "Pod" else None
                    remove(self.cluster, kind, meta["name"], meta["uid"], grace)
                    asked[meta["uid"]] = f"{kind.lower()}/{meta['name']}"
            # Looked at again: a controller may have made another pod before it was gone itself.
            self._pause(PATIENCE / 4)

    def _ours(self, run: str, claims: bool) -> List[Obj]:
        found: List[Obj] = []
        for kind in OURS:
            if kind != "PersistentVolumeClaim" or claims:
                # What a user may not even list, no run of that user's has made.
                with contextlib.suppress(Forbidden):
                    found += ({**o, "kind": kind} for o in self.cluster.list(kind, select(run)).items)
        return found

    def gone(self, targets: Sequence[Tuple[str, str, str]], seconds: float) -> None:
        """Wait until these objects (kind, name, uid) are no more. Raises EnvironmentProblem (J2K717)."""
        limit, left = self._clock() + seconds, list(targets)
        while left:
            still = []
            for kind, name, uid in left:
                with contextlib.suppress(Missing):
                    if self.cluster.get(kind, name)["metadata"]["uid"] == uid:
                        still.append((kind, name, uid))
            left = still
            if not left:
                return
            if self._clock() >= limit:
                raise _still_there(seconds, [(kind, name) for kind, name, _ in left])
            self._pause(PATIENCE / 4)


def _still_there(seconds: float, left: Sequence[Tuple[str, str]]) -> EnvironmentProblem:
    names = ", ".join(f"{kind.lower()}/{name}" for kind, name in left)
    return EnvironmentProblem(
        "J2K717",
        f"still there after {seconds:.0f} s: {names}",
        "a node that does not answer may hold them: the cluster removes them when it is back",
    )


@contextlib.contextmanager
def _patient(limit: float, clock: Callable[[], float]) -> Iterator[None]:
    """Let an API server that is away for a moment be no failure before `limit`."""
    try:
        yield
    except Unreachable:
        if clock() >= limit:
            raise


def _ready(pod: Obj) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _way_out(why: Why) -> str:
    if why.kind == reasons.IMAGE:
        return "check the image's name with --image, the registry's password with an image pull secret, or build it anew"
    if why.kind == reasons.INFRASTRUCTURE:
        return "the words are its own; `jup2kub delete RUN` removes what was made"
    return "ask for less (`#| resources`), or ask the namespace's administrator for more"
