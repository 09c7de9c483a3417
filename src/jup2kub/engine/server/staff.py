"""The desks as a steward asks it: which agents are wanted, which pods have ended, and what others wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jup2kub.engine.demand import Wish, wanted
from jup2kub.engine.server.desk import Desk
from jup2kub.engine.server.floor import Floor
from jup2kub.kit.canon import to_json


class Staff:
    """Answers `needs`, `gone` and `words` for the desks of one server."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._said: dict[str, str] = {}
        """What pods wait for, as it was told last; once for all sets of a sweep."""
        self._ahead = -1
        """Agents to have at the beginning, if there may be so many; -1 = not known yet."""

    @property
    def _desks(self) -> list[Desk]:
        return list(self._floor.desks.values())

    def needs(self, body: Mapping[str, Any]) -> Any:
        """Return the agents that are wanted beyond those that are starting, who has joined, and whether the run has ended.

        `starting`: wishes of the pods that live, each with its name as `pod`; those that have joined are known here.
        """
        joined = {pod for desk in self._desks for pod in desk.pods().values()}
        state, most = self._floor.state(), int(body["most"])
        if self._ahead < 0:
            plans = [desk.job.plan for desk in self._desks]
            self._ahead = sum(1 + sum(len(s.cells) for s in p.steps if s.kind == "cells") for p in plans)
        starting = [
            Wish(**{k: v for k, v in wish.items() if k != "pod"})
            for wish in body["starting"]
            if wish.get("pod") not in joined
        ]
        self._ahead = min(self._ahead, most)
        found = wanted(state, starting, most, self._ahead)
        if len(state.workers) + len(starting) + len(found.start) >= self._ahead:
            # Once: those that leave because there is nothing to do are not called back.
            self._ahead = 0
        for desk in self._desks:
            desk.ask_to_leave(w for w in found.spare if w in desk.state.workers)
        return {"start": to_json(found.start), "joined": sorted(joined), "ended": self._floor.ended}

    def gone(self, body: Mapping[str, Any]) -> Any:
        """A pod has ended: whatever worked in it is lost. Tell whether it had ever joined."""
        for desk in self._desks:
            for worker, pod in desk.pods().items():
                if pod == body["pod"]:
                    desk.left(worker, str(body["reason"]), str(body["kind"]))
        return {"known": any(body["pod"] in desk.left_pods for desk in self._desks)}

    def words(self, body: Mapping[str, Any]) -> Any:
        """Note, for people, what pods wait for, by pod.

        `final`: why some pod can never be had. That ends the run if nothing computes: what is ready waits for it in vain.
        """
        computes = any(desk.computes() for desk in self._desks)
        going = [desk for desk in self._desks if desk.ended is None] or self._desks
        fresh = {text for pod, text in body["words"].items() if self._said.get(pod) != text}
        self._said = dict(body["words"])
        for text in sorted(fresh):
            going[0].note(f"agents: {text}")
        for desk in self._desks:
            desk.waits = dict(body["words"])
            if body.get("final") and desk.ended is None and not computes:
                desk.give_up(str(body["final"]))
        return {}
