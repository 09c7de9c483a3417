"""The state of a run on a cluster in words: main line and steps, pods and nodes, attempts, and what is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jup2kub.cluster import Cluster, Unreachable
from jup2kub.cluster.capacity import AgentPod, JobCapacity
from jup2kub.cluster.deployer import DynamicPodDeployer
from jup2kub.errors import StoreProblem
from jup2kub.kube.drive import Running
from jup2kub.manifests.spec import SERVER

WORDS = {
    "PENDING": "not yet",
    "READY": "ready",
    "DISPATCHED": "sent",
    "RUNNING": "runs",
    "PERSISTING": "saves",
    "RETRY_WAIT": "waits to be tried again",
    "LOST": "lost, to be tried again",
    "SUSPECT": "nothing is heard of it",
    "COMMITTED": "done",
    "QUARANTINED": "failed",
    "BLOCKED": "blocked",
    "CANCELLED": "cancelled",
}


def look(running: Running) -> dict[str, Any]:
    """Return a run's state as JSON: `run`, `ended`, `server`, `tasks`, `pods`; of a sweep `sets`. What does not answer is told as such."""
    found: dict[str, Any] = {"run": running.spec.run, "namespace": running.cluster.namespace, "ended": None}
    found |= {"tasks": [], "agents": [], "waits": {}}
    why = DynamicPodDeployer(running.cluster).why(running.spec.run, SERVER)
    found["server"] = {"state": why.state, "why": why.text}
    try:
        told = running.away.link.ask("/v1/status", {}, patience=5.0)
        found |= {key: told[key] for key in ("ended", "tasks", "agents", "waits", "sets") if key in told}
    except (StoreProblem, Unreachable) as problem:
        found["server"]["why"] = why.text or problem.message
    found["pods"] = [pod(one) for one in observe(running.cluster, running)]
    return found


def observe(cluster: Cluster, running: Running) -> Sequence[AgentPod]:
    """Return the run's agents' pods."""
    return JobCapacity(cluster, running.spec, str).observe()


def pod(one: AgentPod) -> dict[str, str]:
    """Return an agent's pod as JSON."""
    return {"job": one.job, "pod": one.name, "node": one.node, "state": one.why.state, "why": one.why.text}


def lines(state: Mapping[str, Any], duration: Any) -> list[str]:
    """Return a run's state as people read it; `duration` turns seconds into words."""
    ended = {None: "goes on", True: "has ended", False: "has ended early"}[state["ended"]]
    found = [f"{state['run']}  {ended}  (namespace {state['namespace']})"]
    server = state["server"]
    if server["state"] != "running" or server["why"]:
        found.append(f"  run server: {server['state']}{': ' if server['why'] else ''}{server['why']}")
    if state.get("sets"):
        over = [end for end in state["sets"].values() if end is not None]
        found.append(f"  {len(over)} of {len(state['sets'])} parameter sets have ended")
    nodes = {p["pod"]: p["node"] for p in state["pods"]}
    for task in state["tasks"]:
        if task["state"] == "CANCELLED" and not task["attempts"] and state["ended"]:
            continue  # The main line ran this cell itself.
        found += _task(task, nodes, duration)
    for one in state["pods"]:
        if one["state"] != "running":
            found.append(
                f"  pod {one['pod'] or one['job']}: {one['state']}{': ' if one['why'] else ''}{one['why']}"
            )
    return found


def _task(task: Mapping[str, Any], nodes: Mapping[str, str], duration: Any) -> list[str]:
    member = f"set {task['set']}: " if "set" in task else ""
    name = "main line" if task["task"] == "main" else f"  {task['task'].replace('-', ' ')}"
    reason = f": {task['reason']}" if task["reason"] else ""
    found = [f"  {member}{name}  {WORDS.get(task['state'], task['state'])}{reason}"]
    for attempt in task["attempts"]:
        where = attempt["worker"].rpartition(".")[0]
        node = f" on {nodes[where]}" if nodes.get(where) else ""
        quiet = ", not heard of" if attempt["silent"] else ""
        found.append(
            f"      attempt {attempt['number']} in {where}{node}, {duration(attempt['seconds'])}{quiet}"
        )
    return found
