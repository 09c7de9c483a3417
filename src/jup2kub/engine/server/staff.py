"""The desk as a steward asks it: which agents are wanted, which pods have ended, and what others wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jup2kub.engine.demand import Wish, wanted
from jup2kub.engine.server.desk import Desk
from jup2kub.kit.canon import to_json


class Staff:
    """Answers `needs`, `gone` and `words` for one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ahead = 1 + sum(len(s.cells) for s in desk.job.plan.steps if s.kind == "cells")
        """Agents to have at the beginning, if there may be so many."""

    def needs(self, body: Mapping[str, Any]) -> Any:
        """Return the agents that are wanted beyond those that are starting, who has joined, and whether the run has ended.

        `starting`: wishes of the pods that live, each with its name as `pod`; those that have joined are known here.
        """
        desk = self._desk
        joined, state, most = set(desk.pods().values()), desk.state, int(body["most"])
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
        desk.ask_to_leave(found.spare)
        return {"start": to_json(found.start), "joined": sorted(joined), "ended": desk.ended}

    def gone(self, body: Mapping[str, Any]) -> Any:
        """A pod has ended: whatever worked in it is lost. Tell whether it had ever joined."""
        for worker, pod in self._desk.pods().items():
            if pod == body["pod"]:
                self._desk.left(worker, str(body["reason"]), str(body["kind"]))
        return {"known": body["pod"] in self._desk.left_pods}

    def words(self, body: Mapping[str, Any]) -> Any:
        """Note, for people, what pods wait for, by pod.

        `final`: why some pod can never be had. That ends the run if nothing computes: what is ready waits for it in vain.
        """
        desk = self._desk
        fresh = {text for pod, text in body["words"].items() if desk.waits.get(pod) != text}
        desk.waits = dict(body["words"])
        for text in sorted(fresh):
            desk.note(text)
        if body.get("final") and desk.ended is None and not desk.computes():
            desk.give_up(str(body["final"]))
        return {}
