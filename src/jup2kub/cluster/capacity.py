"""The hands of capacity: agents' Jobs made, looked at, and buried; which and how many is the run server's word.

One Job is one pod (`backoffLimit: 0`, a name of its own, owned by the run's Deployment). What is true is what a list
says; nothing here remembers more than when a pod was first seen to be stuck. Python >= 3.9, standard library only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, Iterable, List, Optional, Tuple

from jup2kub.cluster import Cluster, Exists, Obj, reasons
from jup2kub.cluster.burial import bury, overdue, remove, seconds_of
from jup2kub.cluster.reasons import ENDED, ENDING, WAITING, Why
from jup2kub.manifests import workloads
from jup2kub.manifests.manager import PodManager
from jup2kub.manifests.objects import CLASS, base_name, owner_reference, select
from jup2kub.manifests.spec import AGENT, PodClass, RunSpec

NO_POD = 5.0
"""Seconds without a pod after which a Job's events are read."""


@dataclass(frozen=True)
class AgentPod:
    """One agent's Job, and its pod as far as there is one."""

    job: str
    job_uid: str
    pod_class: str
    """Name of its class."""
    why: Why
    name: str = ""
    """Of the pod; empty = there is none yet."""
    uid: str = ""
    node: str = ""
    """Empty = not scheduled."""
    since: float = 0.0
    """When it was made, in seconds since the epoch."""
    scheduled: float = 0.0
    """When it got a node; a deadline for starting counts from here. 0 = not yet."""

    @property
    def live(self) -> bool:
        """Whether it works, or may come to."""
        return self.why.state not in (ENDED, ENDING) and not self.why.final


class JobCapacity:
    """Makes agents for one run. Methods raise ClusterProblem; the API server being away is no reason to give up."""

    def __init__(
        self,
        cluster: Cluster,
        spec: RunSpec,
        fresh_name: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`fresh_name` gives lower-case letters and digits, at most ten, never the same again."""
        self._cluster, self._spec, self._fresh, self._clock = cluster, spec, fresh_name, clock
        self._owner: Optional[Obj] = None
        self.pods: FrozenSet[str] = frozenset()
        """Names of the agents' pods that `observe` found, whether their Jobs are there or not."""

    def start(self, wish: PodClass) -> str:
        """Make one agent of this class; return its Job's name. Raises Forbidden (quota of Jobs, a right), Invalid."""
        name = f"{base_name(self._spec.run)}-{wish.name}-{self._fresh()}"
        job = PodManager(AGENT, self._spec, wish).job(name, self._deployment())
        try:
            self._cluster.create(job)
        except Exists:
            # Ours, if a first answer was lost: success only for this very template, and if it is not on its way out.
            found = self._cluster.get("Job", name)
            mark = workloads.TEMPLATE
            same = found["metadata"].get("annotations", {}).get(mark) == job["metadata"]["annotations"][mark]
            if not same or found["metadata"].get("deletionTimestamp"):
                raise
        return name

    def observe(self) -> Tuple[AgentPod, ...]:
        """Return every agent's Job of this run that has not been removed."""
        chosen = select(self._spec.run, AGENT)
        jobs = self._cluster.list("Job", chosen).items
        pods: Dict[str, List[Obj]] = {}
        listed = self._cluster.list("Pod", chosen).items
        self.pods = frozenset(pod["metadata"]["name"] for pod in listed)
        for pod in listed:
            pods.setdefault(
                pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name", ""), []
            ).append(pod)
        events = self._events() if any(self._puzzling(job, pods) for job in jobs) else {}
        return tuple(self._agent(job, pods.get(job["metadata"]["name"], []), events) for job in jobs)

    def stop(self, agents: Iterable[AgentPod]) -> None:
        """Delete these Jobs with their pods, which end gracefully."""
        for agent in agents:
            remove(self._cluster, "Job", agent.job, agent.job_uid)

    def bury(self) -> Tuple[str, ...]:
        """Remove pods whose end nobody can confirm, and return their names.

        A pod that is still Terminating well past its grace is on a node that does not answer.
        """
        late = [
            pod
            for pod in self._cluster.list("Pod", select(self._spec.run, AGENT)).items
            if overdue(pod, self._clock())
        ]
        for pod in late:
            bury(self._cluster, pod)
        return tuple(pod["metadata"]["name"] for pod in late)

    def _deployment(self) -> Obj:
        if self._owner is None:
            self._owner = owner_reference(
                self._cluster.get("Deployment", f"{base_name(self._spec.run)}-server")
            )
        return self._owner

    def _puzzling(self, job: Obj, pods: Dict[str, List[Obj]]) -> bool:
        """Whether only events can tell why there is no progress."""
        mine = pods.get(job["metadata"]["name"], [])
        if not mine:
            return self._clock() > seconds_of(job["metadata"].get("creationTimestamp", "")) + NO_POD
        return any(p.get("status", {}).get("phase", "Pending") == "Pending" for p in mine)

    def _events(self) -> Dict[str, List[Obj]]:
        """Return the namespace's events by the uid of what they are about."""
        found: Dict[str, List[Obj]] = {}
        for event in self._cluster.list("Event").items:
            found.setdefault(event.get("involvedObject", {}).get("uid", ""), []).append(event)
        return found

    def _agent(self, job: Obj, pods: List[Obj], events: Dict[str, List[Obj]]) -> AgentPod:
        meta = job["metadata"]
        common = {
            "job": meta["name"],
            "job_uid": meta["uid"],
            "pod_class": meta.get("labels", {}).get(CLASS, ""),
        }
        made = seconds_of(meta.get("creationTimestamp", ""))
        if not pods:
            over = any(
                c.get("type") in ("Failed", "Complete") and c.get("status") == "True"
                for c in job.get("status", {}).get("conditions") or ()
            )
            if over or meta.get("deletionTimestamp"):
                return AgentPod(
                    **common, why=Why(ENDED, "its pod is gone", reasons.INFRASTRUCTURE), since=made
                )
            late = self._clock() > made + NO_POD
            why = reasons.of_job(job, events.get(meta["uid"], ())) if late else Why(WAITING)
            return AgentPod(**common, why=why, since=made)
        pod = max(pods, key=lambda p: str(p["metadata"].get("creationTimestamp", "")))
        scheduled = next(
            (
                seconds_of(c.get("lastTransitionTime", ""))
                for c in pod.get("status", {}).get("conditions") or ()
                if c.get("type") == "PodScheduled" and c.get("status") == "True"
            ),
            0.0,
        )
        return AgentPod(
            **common,
            why=reasons.of_pod(pod, events.get(pod["metadata"]["uid"], ())),
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            node=pod.get("spec", {}).get("nodeName", ""),
            since=made,
            scheduled=scheduled,
        )
