"""Pods for a run: as many as it could use are kept alive, and the run is told of those that are gone, and why others wait.

What is true is what the cluster lists; this loop may be stopped and started anywhere. It runs in the run server, or,
where the user may give no rights to a service account, in the command line while that lives.
Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jup2kub.cluster import ClusterProblem, Forbidden, Invalid, Unreachable, reasons
from jup2kub.cluster.capacity import AgentPod, JobCapacity
from jup2kub.engine.budgets import INFRASTRUCTURE
from jup2kub.engine.server.demand import Demand, demand
from jup2kub.engine.server.desk import Desk
from jup2kub.manifests.spec import PodClass, RunSpec

LOOK = 1.0
"""Seconds between looks at the cluster while something changes."""
REST = 0.2
"""Seconds between two looks, however loud the bell is."""
CALM = 5.0
"""Seconds between looks while nothing does."""
YOUNG = 3
"""Pods of one class that may die, one after the other, before one of them has joined; then the run is given up."""
SILENT = 15.0
"""Seconds without a word after which an agent is not counted on."""


@dataclass(frozen=True)
class Agent:
    """One agent that has joined."""

    worker: str
    pod: str
    quiet: float
    """Seconds since it was last heard."""


class Office(Protocol):
    """The run, as its crew sees it. Methods may raise StoreProblem while the run server is away."""

    def demand(self) -> Demand:
        """Return what the run could use."""

    def agents(self) -> Iterable[Agent]:
        """Return the agents that have joined and not left."""

    def left(self, worker: str, reason: str, kind: str) -> None:
        """An agent's pod is gone."""

    def note(self, text: str) -> None:
        """Tell the user."""

    def give_up(self, reason: str) -> None:
        """End the run: it can never get what it needs."""


class Crew:
    """Keeps pods for one run. `look` is one round; `serve` goes on until told to stop."""

    def __init__(
        self,
        capacity: JobCapacity,
        office: Office,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity, self._office, self._clock = capacity, office, clock
        self._told: dict[str, str] = {}
        self._seen: set[str] = set()
        """Pods whose end was dealt with."""
        self._joined: set[str] = set()
        self._young: dict[str, int] = {}
        """Pods of a class that died before they joined, since one did join."""
        self._not_before: dict[str, float] = {}
        self.pods: tuple[AgentPod, ...] = ()
        """As last seen."""

    def serve(self, stop: threading.Event, bell: threading.Event) -> None:
        """Look again and again; `bell` asks for a look now."""
        while not stop.is_set():
            try:
                busy = self.look()
            except Unreachable as problem:
                self._say("cluster", f"the cluster does not answer: {problem.message}")
                busy = True
            except ClusterProblem as problem:
                self._say("cluster", f"the cluster refuses: {problem.message}")
                busy = False
            if not stop.wait(REST):
                bell.wait(LOOK if busy else CALM)
                bell.clear()

    def look(self) -> bool:
        """Bury, look, tell, start and stop; return whether something is under way. Raises ClusterProblem."""
        self._capacity.bury()
        self.pods = self._capacity.observe()
        agents = {a.pod: a for a in self._office.agents()}
        self._joined.update(agents)
        for pod in self.pods:
            self._follow(pod, agents.get(pod.name))
        wanted = self._office.demand()
        if wanted.ended:
            return False
        alive = [p for p in self.pods if p.live and not self._silent(agents.get(p.name))]
        for wish, count in wanted.pods.items():
            mine = [p for p in alive if p.pod_class == wish.name]
            for _ in range(count - len(mine)):
                self._start(wish)
        self._surplus(wanted, alive)
        self._explain(wanted)
        return (
            any(p.why.state in (reasons.WAITING, reasons.STARTING, reasons.ENDING) for p in self.pods)
            or not alive
        )

    def status(self) -> list[Mapping[str, Any]]:
        """Return the pods as JSON, for people."""
        return [
            {
                "job": p.job,
                "pod": p.name,
                "node": p.node,
                "state": p.why.state,
                "why": p.why.text,
                "class": p.pod_class,
            }
            for p in self.pods
        ]

    def _silent(self, agent: Agent | None) -> bool:
        return agent is not None and agent.quiet > SILENT

    def _follow(self, pod: AgentPod, agent: Agent | None) -> None:
        """Tell the run of a pod that has ended, and count those that never worked."""
        if pod.name in self._joined:
            self._young[pod.pod_class] = 0
        if pod.why.state != reasons.ENDED or pod.job in self._seen:
            return
        self._seen.add(pod.job)
        if agent is not None:
            kind = pod.why.kind if pod.why.kind in (reasons.MEMORY, reasons.STORAGE) else INFRASTRUCTURE
            self._office.left(agent.worker, pod.why.text or "its pod ended", kind)
        if pod.name not in self._joined and pod.why.text:
            count = self._young[pod.pod_class] = self._young.get(pod.pod_class, 0) + 1
            self._not_before[pod.pod_class] = self._clock() + 2.0**count
            self._say(pod.job, f"a pod ended before it could work: {pod.why.text}")
            if count >= YOUNG:
                self._office.give_up(f"{count} pods ended before they could work; the last: {pod.why.text}")

    def _start(self, wish: PodClass) -> None:
        if self._clock() < self._not_before.get(wish.name, 0.0):
            return
        try:
            self._capacity.start(wish)
        except (Forbidden, Invalid) as problem:
            # A quota of Jobs may have room again; what is invalid never will be.
            self._not_before[wish.name] = self._clock() + 10.0
            self._say(wish.name, f"the cluster refuses a Job: {problem.message}")
            if isinstance(problem, Invalid):
                self._office.give_up(problem.message)

    def _surplus(self, wanted: Demand, alive: Iterable[AgentPod]) -> None:
        """Take back pods that have no node yet and that nobody waits for any more."""
        want = {wish.name: count for wish, count in wanted.pods.items()}
        idle: dict[str, list[AgentPod]] = {}
        for pod in alive:
            idle.setdefault(pod.pod_class, []).append(pod)
        for name, pods in idle.items():
            over = len(pods) - want.get(name, 0)
            waiting = [p for p in pods if p.why.state == reasons.WAITING]
            self._capacity.stop(waiting[: max(0, over)])

    def _explain(self, wanted: Demand) -> None:
        """Tell why pods wait; give the run up when none of a class that is needed can ever run."""
        for wish in wanted.pods:
            mine = [p for p in self.pods if p.pod_class == wish.name and p.why.state != reasons.ENDED]
            for pod in mine:
                if pod.why.text and pod.why.state in (reasons.WAITING, reasons.STARTING):
                    self._say(wish.name, pod.why.text)
            final = [p for p in mine if p.why.final]
            if final and len(final) == len(mine):
                self._office.give_up(final[0].why.text)

    def _say(self, about: str, text: str) -> None:
        if self._told.get(about) != text:
            self._told[about] = text
            self._office.note(text)


class DeskOffice:
    """The run in this very process."""

    def __init__(self, desk: Desk, spec: RunSpec) -> None:
        self._desk, self._spec = desk, spec

    def demand(self) -> Demand:
        """See `Office`."""
        return demand(self._desk.state, self._desk.job.plan, self._spec)

    def agents(self) -> Iterable[Agent]:
        """See `Office`."""
        found = self._desk.status({})["agents"]
        return [Agent(a["worker"], str((a.get("about") or a).get("pod", "")), a["quiet"]) for a in found]

    def left(self, worker: str, reason: str, kind: str) -> None:
        """See `Office`."""
        self._desk.left(worker, reason, kind)

    def note(self, text: str) -> None:
        """See `Office`."""
        self._desk.note(text)

    def give_up(self, reason: str) -> None:
        """See `Office`."""
        self._desk.give_up(reason)


def fresh_name() -> str:
    """Return six letters and digits that no other Job of the run has."""
    return secrets.token_hex(3)
