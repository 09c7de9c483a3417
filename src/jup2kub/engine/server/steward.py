"""Capacity for one run: as many agents as its ready work can use, made and watched through the Kubernetes API.

It knows the desk by three requests only, so that it may run beside it, or on the user's machine where the server has no
right to make Jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.cluster import ClusterProblem
from jup2kub.cluster.capacity import AgentPod, JobCapacity
from jup2kub.cluster.reasons import INFRASTRUCTURE, MEMORY, RUNNING, STORAGE
from jup2kub.engine.demand import Wish
from jup2kub.kit.canon import to_json
from jup2kub.manifests.spec import PodClass, RunSpec

ROUND = 1.0
"""Seconds between looks."""
Ask = Callable[[str, Mapping[str, Any]], Any]


class Steward:
    """`ask(request, body)` reaches the desk: `needs`, `gone`, `words`."""

    def __init__(self, ask: Ask, capacity: JobCapacity, spec: RunSpec) -> None:
        self._ask, self._capacity, self._spec = ask, capacity, spec
        self._wishes: dict[str, Wish] = {}
        """What each Job was made for, by its name; of those made by an earlier steward nothing is known."""
        self._told: set[str] = set()
        self.problem = ""
        """Why the cluster does not do what it is asked, in words; empty = it does."""

    def serve(self, stop: threading.Event) -> None:
        """Look after capacity until told to stop, or the run has ended."""
        while not stop.wait(ROUND):
            if self.round():
                return

    def round(self) -> bool:
        """Look once; return whether the run has ended."""
        try:
            agents = self._capacity.observe()
            buried = self._capacity.bury()
        except ClusterProblem as problem:
            self.problem = str(problem)
            return False
        self._lost(agents, buried)
        live = [agent for agent in agents if agent.live]
        starting = [self._wishes.get(a.job, Wish()) for a in live if a.why.state != RUNNING]
        most = self._spec.parallelism
        found = self._ask("needs", {"starting": to_json(starting), "most": most})
        self.problem = ""
        for wish in [Wish(**w) for w in found["start"]][: max(0, most - len(live))]:
            self._start(wish)
        self._say(agents)
        return found["ended"] is not None

    def _start(self, wish: Wish) -> None:
        try:
            self._wishes[self._capacity.start(self.pod_class(wish))] = wish
        except ClusterProblem as problem:
            self.problem = str(problem)

    def pod_class(self, wish: Wish) -> PodClass:
        """Return the class of pods that does for a wish."""
        base = self._spec.pod_class()
        return self._spec.pod_class(
            cpu=max(base.cpu, wish.cpu),
            memory=max(base.memory, wish.memory),
            gpu=max(base.gpu, wish.gpu),
            storage=base.storage * wish.storage,
        )

    def _lost(self, agents: tuple[AgentPod, ...], buried: tuple[str, ...]) -> None:
        for agent in agents:
            if agent.name and agent.uid not in self._told and not agent.live:
                kind = agent.why.kind if agent.why.kind in (MEMORY, STORAGE) else INFRASTRUCTURE
                if agent.why.state == "ended":
                    self._told.add(agent.uid)
                    self._ask("gone", {"pod": agent.name, "reason": agent.why.text, "kind": kind})
        for pod in buried:
            reason = "its node does not answer"
            self._ask("gone", {"pod": pod, "reason": reason, "kind": INFRASTRUCTURE})

    def _say(self, agents: tuple[AgentPod, ...]) -> None:
        """Say what pods wait for; what is final for every kind of pod ends the run."""
        words = {a.name or a.job: a.why.text for a in agents if a.why.text and a.why.state != "ended"}
        if self.problem:
            words["cluster"] = self.problem
        hopeless = [a for a in agents if a.why.final and a.why.state != "ended"]
        working = [a for a in agents if a.live]
        final = hopeless[0].why.text if hopeless and not working else ""
        self._ask("words", {"words": words, "final": final})
