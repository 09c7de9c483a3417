"""Capacity for one run: as many agents as its ready work can use, made and watched through the Kubernetes API.

It knows the desk by three requests only, so that it may run beside it, or on the user's machine where the server has no
right to make Jobs.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.cluster import ClusterProblem, Invalid
from jup2kub.cluster.capacity import AgentPod, JobCapacity
from jup2kub.cluster.reasons import ENDED, INFRASTRUCTURE, MEMORY, STORAGE
from jup2kub.engine.demand import Wish
from jup2kub.errors import Jup2KubError
from jup2kub.kit.canon import to_json
from jup2kub.manifests.spec import PodClass, RunSpec

log = logging.getLogger(__name__)
ROUND = 1.0
"""Seconds between looks."""
STEP = 1 << 28
"""Bytes of which a pod's memory is a multiple, where it is more than the base's."""
YOUNG = 3
"""Pods that may end one after the other before they have joined; then no more are made."""
Ask = Callable[[str, Mapping[str, Any]], Any]


def whole_memory(usable: int) -> int:
    """Return the bytes of a pod of which `usable` are for tasks: a tenth is the agent's own; few sizes make few classes."""
    return math.ceil(usable / 0.9 / STEP) * STEP


class Steward:
    """`ask(request, body)` reaches the desk: `needs`, `gone`, `words`."""

    def __init__(
        self,
        ask: Ask,
        capacity: JobCapacity,
        spec: RunSpec,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._capacity, self._spec, self._clock = ask, capacity, spec, clock
        self._wishes: dict[str, Wish] = {}
        """What each Job was made for, by its name; of those made by an earlier steward nothing is known."""
        self._told: set[str] = set()
        self._absent: frozenset[str] = frozenset()
        """Pods of agents that work, which the last list did not hold."""
        self._young = 0
        """Pods that have ended before they joined, since one did join."""
        self._pause = 0.0
        """No pod is made before this time."""
        self._hopeless = ""
        """Why no pod can ever be had, in words; empty = one may."""
        self.problem = ""
        """Why the cluster does not do what it is asked, in words; empty = it does."""

    def serve(self, stop: threading.Event) -> None:
        """Look after capacity until told to stop, or the run has ended."""
        while not stop.wait(ROUND):
            try:
                if self.round():
                    return
            except Jup2KubError:
                # The run server is away: it is asked again in the next round.
                continue
            except Exception:
                # Without a steward a run would wait for ever and not say why.
                log.exception("looking after pods failed; trying again")

    def round(self) -> bool:
        """Look once; return whether the run has ended. Raises Jup2KubError while the desk cannot be asked."""
        try:
            self.problem = ""
            buried = self._capacity.bury()
            agents = self._capacity.observe()
        except ClusterProblem as problem:
            # The API server is away: pods work on, and what is known of them is not said anew.
            self.problem = problem.message
            self._ask("words", {"words": {"cluster": f"no new pods for now: {problem.message}"}, "final": ""})
            return False
        live = [agent for agent in agents if agent.live]
        starting = [{**to_json(self._wishes.get(a.job, Wish())), "pod": a.name} for a in live]
        found = self._ask("needs", {"starting": starting, "most": self._spec.parallelism})
        self._lost(agents, buried, frozenset(found["joined"]))
        if found["ended"] is None and self._clock() >= self._pause:
            for wish in [Wish(**w) for w in found["start"]][: max(0, self._spec.parallelism - len(live))]:
                self._start(wish)
        self._say(agents)
        return found["ended"] is not None

    def _start(self, wish: Wish) -> None:
        try:
            self._wishes[self._capacity.start(self.pod_class(wish))] = wish
        except ClusterProblem as problem:
            # A quota of Jobs may have room again; what is invalid will never be anything else.
            self.problem = f"the cluster refuses a Job: {problem.message}"
            self._pause = self._clock() + 10.0
            if isinstance(problem, Invalid):
                self._hopeless = self.problem

    def pod_class(self, wish: Wish) -> PodClass:
        """Return the class of pods that does for a wish."""
        base = self._spec.pod_class()
        most = self._spec.max_memory or math.inf
        return self._spec.pod_class(
            cpu=max(base.cpu, wish.cpu),
            memory=base.memory
            if wish.memory <= base.usable_memory
            else int(min(most, whole_memory(wish.memory))),
            gpu=max(base.gpu, wish.gpu),
            storage=base.storage * wish.storage,
        )

    def _lost(self, agents: tuple[AgentPod, ...], buried: tuple[str, ...], joined: frozenset[str]) -> None:
        if any(a.name in joined and a.live for a in agents):
            self._young = 0
        for agent in agents:
            if not agent.name or agent.uid in self._told or agent.why.state != ENDED:
                continue
            self._told.add(agent.uid)
            kind = agent.why.kind if agent.why.kind in (MEMORY, STORAGE) else INFRASTRUCTURE
            known = self._ask("gone", {"pod": agent.name, "reason": agent.why.text, "kind": kind})
            if not known["known"] and agent.why.text:
                self._young += 1
                self._pause = self._clock() + 2.0**self._young
                if self._young >= YOUNG:
                    self._hopeless = (
                        f"{self._young} pods ended before they could work; the last: {agent.why.text}"
                    )
        for pod in buried:
            reason = "its node does not answer"
            self._ask("gone", {"pod": pod, "reason": reason, "kind": INFRASTRUCTURE})
        # Deleted by force, a pod is in no list any more, before it could say anything. One list may be older than a pod.
        absent = joined - self._capacity.pods - {"", *buried}
        for pod in sorted(absent & self._absent):
            self._ask("gone", {"pod": pod, "reason": "its pod is gone", "kind": INFRASTRUCTURE})
        self._absent = absent

    def _say(self, agents: tuple[AgentPod, ...]) -> None:
        """Say what pods wait for, and what can never be had."""
        words = {a.name or a.job: a.why.text for a in agents if a.why.text and a.why.state != ENDED}
        if self.problem:
            words["cluster"] = self.problem
        final = [a.why.text for a in agents if a.why.final and a.why.state != ENDED]
        self._ask("words", {"words": words, "final": self._hopeless or (final[0] if final else "")})
