"""Why a pod does not run, or ended, in words: from its conditions, its container and its events; pure.

Only pods, Jobs and events are read: an ordinary user may not look at nodes. Python >= 3.9, standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Optional, Tuple

from jup2kub.cluster import Obj

WAITING, STARTING, RUNNING, ENDING, ENDED = "waiting", "starting", "running", "ending", "ended"
"""Not scheduled; image and volumes; its program runs; asked to end; over."""

INFRASTRUCTURE, MEMORY, STORAGE, IMAGE, REFUSED = "infrastructure", "memory", "storage", "image", "refused"
"""Classes of ends; the first three are retry budgets of the run's state machine."""
PATIENCE = 3
"""Answers “unauthorized” or “not found” of a registry before the image is given up."""
BAD_IMAGE = ("InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
NEVER = re.compile(
    r"not found|unauthorized|denied|forbidden|no such manifest|name unknown|manifest unknown", re.I
)
SCALING = ("TriggeredScaleUp", "NotTriggerScaleUp", "Nominated")
"""Words of autoscalers in events of a pod."""
TRANSIENT = re.compile(
    r"timeout|timed out|connection refused|no such host|temporar|too many requests|\b5\d\d\b|EOF", re.I
)


@dataclass(frozen=True)
class Why:
    """How far a pod has come, and why not farther."""

    state: str
    """One of the five words above."""
    text: str = ""
    """For people; empty = there is nothing to say."""
    kind: str = ""
    """Class of its end, or of what it waits for; empty = none."""
    final: bool = False
    """It will never run as it is: trying again cannot help."""


def of_pod(pod: Obj, events: Iterable[Obj] = ()) -> Why:
    """Return how far a pod has come, from its object and its own events."""
    status, events = pod.get("status", {}), list(events)
    phase = status.get("phase", "Pending")
    if phase in ("Failed", "Succeeded"):
        return _ended(status)
    if pod["metadata"].get("deletionTimestamp"):
        why = _disrupted(status)
        return Why(ENDING, why or "it was asked to end", INFRASTRUCTURE)
    if phase == "Running":
        return _again_and_again(status) or Why(RUNNING)
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") != "True":
        return Why(WAITING, unschedulable(str(scheduled.get("message", "")), pod, events))
    return _starting(status, events)


def of_job(job: Obj, events: Iterable[Obj]) -> Why:
    """Return why a Job has no pod, in the words of its events."""
    told = [e for e in _newest(events) if e.get("reason") == "FailedCreate"]
    if not told:
        return Why(WAITING, "its pod is being made")
    message = str(told[0].get("message", ""))
    plain = re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", message)
    quota = re.search(r"exceeded quota: ([^,]+), requested: (.+), used: (.+), limited: (.+)", plain)
    if quota:
        name, asked, used, limit = quota.groups()
        final = _never_fits(asked, limit)
        how = f"it asks for {asked}, the namespace's quota {name} is {limit}"
        return Why(WAITING, f"waiting for quota: {how}, used {used}" if not final else how, REFUSED, final)
    return Why(WAITING, f"the cluster refuses its pod: {plain}", REFUSED, final=True)


def unschedulable(message: str, pod: Obj, events: Iterable[Obj] = ()) -> str:
    """Return in words what a pod waits for that no node gives it."""
    if not message:
        return "waiting for the scheduler"
    counted = re.match(r"\d+/(\d+) nodes are available: (.*)", message, re.S)
    scaling = [e for e in _newest(events) if e.get("reason") in SCALING]
    more = f"; autoscaler: {scaling[0].get('message', '')}" if scaling else ""
    if not counted:
        return f"waiting for a node: {message}{more}"
    # What preemption could do comes after, and says the same again.
    body = counted[2].split("preemption:")[0].replace("no new claims to deallocate", "")
    total, parts = int(counted[1]), [p for p in (p.strip(" .,") for p in re.split(r", |\. ", body)) if p]
    lacking = {p: hit for p in parts if (hit := re.fullmatch(r"(\d+) Insufficient (\S+)", p))}
    if not lacking:
        return f"waiting for a node: {'; '.join(parts)} (of {total} nodes){more}"
    # What most nodes lack is what to do something about; of two, the rarer kind, which has a domain in its name.
    first = max(lacking, key=lambda p: (int(lacking[p][1]), "/" in lacking[p][2]))
    without, resource = int(lacking[first][1]), lacking[first][2]
    asked = _requested(pod).get(resource, "")
    others = [p for p in parts if p != first]
    also = f"; {'; '.join(others)}" if others else ""
    verb, what = "has" if total - without == 1 else "have", "one" if asked == "1" else "that much"
    have = f"{total - without} of {total} nodes {verb} {what} free"
    return f"waiting for {asked} {resource}".replace("  ", " ") + f" ({have}{also}){more}"


def _requested(pod: Obj) -> Mapping[str, str]:
    """Return what the pod's container asks for; one container is all that our pods have."""
    boxes = pod.get("spec", {}).get("containers") or [{}]
    return dict(boxes[0].get("resources", {}).get("requests", {}))


def _again_and_again(status: Obj) -> Optional[Why]:
    """Return why the container ended the last time, while the kubelet waits before it starts it again; None = it runs."""
    box = (status.get("containerStatuses") or [{}])[0]
    if box.get("state", {}).get("waiting", {}).get("reason") != "CrashLoopBackOff":
        return None
    over, count = box.get("lastState", {}).get("terminated", {}), int(box.get("restartCount") or 0)
    if over.get("reason") == "OOMKilled":
        return Why(STARTING, f"it ran out of memory, {count} times so far", MEMORY)
    words = str(over.get("message", "")).strip().splitlines()
    last = f": {words[-1][:300]}" if words else ""
    # A pod that says itself what is wrong says so again; what a signal ended may yet come up.
    final = bool(words) and over.get("exitCode") == 1 and count >= PATIENCE
    text = f"it ended with exit code {over.get('exitCode')}, {count} times so far{last}"
    return Why(STARTING, text, INFRASTRUCTURE, final)


def _starting(status: Obj, events: Iterable[Obj]) -> Why:
    waiting = _container(status).get("waiting", {})
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    told = _newest(events)
    if reason in BAD_IMAGE:
        return Why(STARTING, f"the image cannot be used: {message or reason}", IMAGE, final=True)
    if reason in PULL:
        failures = [
            e for e in told if e.get("reason") == "Failed" and "pull image" in str(e.get("message", ""))
        ]
        words = str(failures[0]["message"]) if failures else message or reason
        count = sum(int(e.get("count") or 1) for e in failures)
        final = bool(NEVER.search(words)) and not TRANSIENT.search(words) and count >= PATIENCE
        return Why(STARTING, f"the image cannot be pulled: {words}", IMAGE, final)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Why(STARTING, f"the container cannot be made: {message or reason}", REFUSED)
    for event in told:
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
            return Why(STARTING, f"{event.get('message', '')}", INFRASTRUCTURE)
        if event.get("reason") == "Pulling":
            return Why(STARTING, "its image is being pulled")
    return Why(STARTING, "it is being started")


def _ended(status: Obj) -> Why:
    """An exit code carries no outcome: only that this pod is over, and what its end says about the machine."""
    message, reason = str(status.get("message", "")), str(status.get("reason", ""))
    if reason == "Evicted":
        own = "exceeds the" in message or "exceeded its" in message
        if (
            (own and "storage" in message)
            or (own and "emptyDir" in message)
            or (own and "EmptyDir" in message)
        ):
            return Why(ENDED, f"evicted: {message}", STORAGE)
        return Why(ENDED, f"evicted: {message}", INFRASTRUCTURE)
    disrupted = _disrupted(status)
    if disrupted:
        return Why(ENDED, disrupted, INFRASTRUCTURE)
    over = _container(status).get("terminated", {})
    if over.get("reason") == "OOMKilled":
        return Why(ENDED, "it ran out of memory", MEMORY)
    if reason in (
        "DeadlineExceeded",
        "NodeLost",
        "UnexpectedAdmissionError",
        "NodeAffinity",
        "Terminated",
        "Shutdown",
    ):
        return Why(ENDED, f"{reason}: {message}".rstrip(": "), INFRASTRUCTURE)
    if over.get("exitCode", 0) != 0:
        words = str(over.get("message", "")).strip().splitlines()
        last = f": {words[-1][:300]}" if words else ""
        return Why(ENDED, f"it ended with exit code {over.get('exitCode')}{last}", INFRASTRUCTURE)
    return Why(ENDED)


DISRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node does not answer",
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node is short of something, or shuts down",
}
"""Reasons of the condition DisruptionTarget (KEP-3329)."""


def _disrupted(status: Obj) -> str:
    found = _condition(status, "DisruptionTarget")
    if found.get("status") != "True":
        return ""
    return DISRUPTIONS.get(str(found.get("reason")), str(found.get("message") or found.get("reason")))


def _never_fits(asked: str, limit: str) -> bool:
    """Whether one pod asks for more than the whole quota, for some resource."""
    wanted, most = _amounts(asked), _amounts(limit)
    return any(amount > most.get(name, amount) for name, amount in wanted.items())


def _amounts(text: str) -> Mapping[str, float]:
    found = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        hit = re.fullmatch(r"([0-9.]+)(m|[kKMGTPE]i?)?", value)
        if hit:
            power = {"m": 1e-3, "k": 1e3, **{u: 1000.0 ** (i + 1) for i, u in enumerate("KMGTPE")}}
            power.update({u + "i": 1024.0 ** (i + 1) for i, u in enumerate("KMGTPE")})
            found[name] = float(hit[1]) * power.get(hit[2] or "", 1.0)
    return found


def _condition(status: Obj, kind: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


def _container(status: Obj) -> Mapping[str, Any]:
    """Return the state of the pod's one container."""
    found: Tuple[Mapping[str, Any], ...] = tuple(status.get("containerStatuses") or ())
    return dict(found[0].get("state", {})) if found else {}


def _newest(events: Iterable[Obj]) -> list[Obj]:
    return sorted(events, key=when, reverse=True)


def when(event: Obj) -> str:
    """Return when an event was last seen, as text that sorts by time."""
    series: Optional[Mapping[str, Any]] = event.get("series")
    seen = (series or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or event["metadata"].get("creationTimestamp") or "")
