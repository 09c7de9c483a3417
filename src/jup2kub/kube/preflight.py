"""What would fail is told before anything is made: the version, rights, admission, and what the image lacks."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from jup2kub.cluster import Cluster, ClusterProblem, Conflict, Invalid, Missing, Obj, Right
from jup2kub.cluster.deployer import DynamicPodDeployer
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.kube.wishes import without_roles
from jup2kub.manifests import workloads
from jup2kub.manifests.objects import base_name
from jup2kub.manifests.spec import AGENT, PROBE, SERVER, RunSpec

OLDEST = (1, 31)
NEEDED = (
    Right("create", "Deployment"),
    Right("get", "Deployment"),
    Right("list", "Deployment"),
    Right("delete", "Deployment"),
    Right("create", "Service"),
    Right("delete", "Service"),
    Right("create", "ConfigMap"),
    Right("delete", "ConfigMap"),
    Right("create", "Secret"),
    Right("get", "Secret"),
    Right("delete", "Secret"),
    Right("create", "PersistentVolumeClaim"),
    Right("create", "Pod"),
    Right("list", "Pod"),
    Right("delete", "Pod"),
    Right("get", "Pod", "log"),
    Right("list", "Job"),
    Right("delete", "Job"),
    Right("list", "Event"),
)
"""What every run needs of the user."""
TO_SPEAK = (
    Right("get", "Service", "proxy"),
    Right("create", "Service", "proxy"),
    Right("update", "Service", "proxy"),
)
"""What speaking with the run server needs; or instead of that:"""
TO_FORWARD = (Right("create", "Pod", "portforward"), Right("get", "Pod", "portforward"))
TO_GIVE = (Right("create", "ServiceAccount"), Right("create", "Role"), Right("create", "RoleBinding"))
"""What giving the run server an account of its own needs."""
TO_HIRE = (Right("create", "Job"), Right("get", "Job"), Right("patch", "Pod"))
"""What making the agents' Jobs needs."""
NICE = {
    "PodDisruptionBudget": Right("create", "PodDisruptionBudget"),
    "NetworkPolicy": Right("create", "NetworkPolicy"),
}
"""Objects that a run can do without."""
LOOK = """
import json, sys, importlib.util, platform
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False
wanted = json.loads(sys.argv[1])
print(json.dumps({"python": list(sys.version_info[:3]), "machine": platform.machine(),
                  "missing": [n for n in wanted if not there(n)], "ipykernel": there("ipykernel")}))
"""
AT_ONCE = 8
"""Questions put to the API server at the same time: far away, each takes a tenth of a second."""
IMAGE_SECONDS = 600.0
"""How long an image may be pulled."""
ACCOUNT_SECONDS = 90.0
"""How long a namespace may be without the account that the cluster makes in it: a new one is for a moment, and one
made while the controllers find back to their API server for longer."""
NO_ACCOUNT = re.compile(r'error looking up service account \S+/default: serviceaccount "default" not found')


@dataclass(frozen=True)
class Seen:
    """What a probe pod saw in an image."""

    python: tuple[int, ...]
    missing: tuple[str, ...]
    """Modules that the notebook imports and the image lacks."""


def check_version(cluster: Cluster) -> None:
    """Refuse a cluster that is too old. Raises EnvironmentProblem (J2K721)."""
    found = cluster.version()
    if found < OLDEST:
        raise EnvironmentProblem(
            "J2K721",
            f"this cluster has Kubernetes {found[0]}.{found[1]}; {OLDEST[0]}.{OLDEST[1]} or newer is needed",
            "choose another --context",
        )


def check_data(cluster: Cluster, spec: RunSpec) -> None:
    """Refuse claims and secrets of the user's that are not there: pods would wait for them. Raises UsageError (J2K729)."""
    named = [("PersistentVolumeClaim", volume.claim) for volume in spec.volumes]
    named += [("Secret", name) for name in (*spec.secrets, *spec.pull_secrets)]
    named += [("ServiceAccount", spec.account)] if spec.account else []
    named += [("PersistentVolumeClaim", spec.claim)] if spec.claim else []
    named += [("Secret", spec.s3.secret)] if spec.s3.secret else []
    for kind, name in named:
        try:
            cluster.get(kind, name)
        except Missing as error:
            raise UsageError(
                "J2K729",
                f"namespace {cluster.namespace} has no {kind} {name}",
                f"make it, or check the name; `kubectl get {kind.lower()}` lists those that are there",
            ) from error


def settle_rights(
    cluster: Cluster, spec: RunSpec, tell: Callable[[str], None]
) -> tuple[RunSpec, frozenset[str]]:
    """Return the spec as the user's rights allow it, and the kinds to leave out. Raises EnvironmentProblem (J2K722)."""
    asked = (*NEEDED, *TO_SPEAK, *TO_FORWARD, *TO_GIVE, *TO_HIRE, *NICE.values())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        may = dict(zip(asked, pool.map(cluster.may, asked), strict=True))
    mute = [right for right in TO_SPEAK if not may[right]]
    forward = all(may[right] for right in TO_FORWARD)
    lacking = [right for right in NEEDED if not may[right]] + ([] if forward else mute)
    _refuse(lacking, cluster, "ask for ClusterRole `edit` in this namespace")
    if mute:
        tell("you may not use the service proxy here: files travel through a port-forward instead")
    if not spec.account and not all(may[right] for right in TO_GIVE):
        _refuse([r for r in TO_HIRE if not may[r]], cluster, "or name one that may with --service-account")
        tell(
            "you may make no Roles here: this command makes the pods, so the run waits for new ones when it ends "
            "(--service-account NAME lets the run server make them)"
        )
        spec = without_roles(spec)
    left = frozenset(kind for kind, right in NICE.items() if not may[right])
    if left:
        tell(f"without {' and '.join(sorted(left))}: you may not make them here")
    return spec, left


def _refuse(lacking: Iterable[Right], cluster: Cluster, hint: str) -> None:
    words = ", ".join(str(right) for right in lacking)
    if words:
        raise EnvironmentProblem("J2K722", f"in namespace {cluster.namespace} you may not: {words}", hint)


def check_admission(
    cluster: Cluster, spec: RunSpec, objects: Iterable[Obj], tell: Callable[[str], None] = lambda text: None
) -> None:
    """Let the cluster judge every object, and each pod template as a Pod, without making any. Raises EnvironmentProblem.

    Only a Pod is seen by LimitRange, quota, Pod Security and webhooks; the account that a run makes is not there yet.
    The namespace's own account, which the cluster makes after the namespace, is waited for.
    """
    server = workloads.server(spec)["spec"]["template"]
    server["spec"].pop("serviceAccountName", None)
    server["spec"]["automountServiceAccountToken"] = False
    name = base_name(spec.run)
    pods = [
        workloads.as_pod(spec, server, f"{name}-server-dry", SERVER),
        workloads.as_pod(spec, workloads.agent_template(spec, spec.pod_class()), f"{name}-agent-dry", AGENT),
    ]
    deployer, limit, told = DynamicPodDeployer(cluster), time.monotonic() + ACCOUNT_SECONDS, False
    refused = deployer.check([*objects, *pods])
    while any(NO_ACCOUNT.search(why.message) for _, why in refused) and time.monotonic() < limit:
        if not told:
            tell("waiting for the cluster to make the namespace's service account")
            told = True
        time.sleep(0.5)
        refused = deployer.check([*objects, *pods])
    if refused:
        obj, problem = refused[0]
        what = f"{obj['kind']} {obj['metadata']['name']}"
        more = f" (and {len(refused) - 1} more objects)" if len(refused) > 1 else ""
        raise EnvironmentProblem(
            "J2K723", f"the cluster refuses {what}{more}: {_plain(problem)}", way_out(problem)
        )


def _plain(problem: ClusterProblem) -> str:
    return problem.message.partition(": ")[2] or problem.message


def way_out(problem: ClusterProblem) -> str:
    """Return what to do about an object that admission refuses, from the cluster's own words."""
    text = problem.message
    if "exceeded quota" in text:
        return "ask for less with --memory and --cpu, delete what is not needed, or ask for a larger quota"
    if "usage per Container" in text or "usage per Pod" in text or "LimitRange" in text:
        return "the namespace's LimitRange sets bounds: choose --memory and --cpu within them"
    if "PodSecurity" in text:
        return "this namespace forbids what our pods need; they follow “restricted”: please report it"
    if NO_ACCOUNT.search(text):
        return "the cluster makes it in every namespace: its controllers do not run, or somebody deleted it"
    if "serviceaccount" in text:
        return "check the name given with --service-account"
    if isinstance(problem, Invalid):
        return "please report it: an object of ours is not what this cluster expects"
    return "the message is the cluster's own"


@contextlib.contextmanager
def probe(
    cluster: Cluster, spec: RunSpec, modules: Iterable[str], tell: Callable[[str], None]
) -> Iterator[Callable[[], Seen]]:
    """Look into the image with a pod, which is removed again; give what waits for what it has seen.

    Other things may be made meanwhile. What is given raises EnvironmentProblem (J2K718, J2K724).
    """
    name = f"{base_name(spec.run)}-probe"
    bare = replace(spec, bundle="", volumes=(), secrets=())
    pod = workloads.probe_pod(bare, name, (spec.python, "-c", LOOK, json.dumps(sorted(modules))))
    made = cluster.create(pod)

    def look() -> Seen:
        over = DynamicPodDeployer(cluster, tell).wait(spec.run, PROBE, IMAGE_SECONDS, ended=True)
        words = b"\n".join(_log(cluster, name)).decode(errors="replace").strip()
        state = (over["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("terminated", {})
        return seen(words, int(state.get("exitCode", 1)), spec)

    try:
        yield look
    finally:
        with contextlib.suppress(Missing, Conflict):
            cluster.delete("Pod", name, uid=made["metadata"]["uid"], grace=0)


def _log(cluster: Cluster, pod: str) -> list[bytes]:
    """Return a pod's log; the kubelet may have it a moment later than the pod's end."""
    for pause in (0.0, 0.2, 1.0):
        time.sleep(pause)
        with contextlib.suppress(Missing, Invalid):
            found = list(cluster.logs(pod))
            if found:
                return found
    return []


def seen(words: str, code: int, spec: RunSpec) -> Seen:
    """Read what a probe printed. Raises EnvironmentProblem (J2K724)."""
    try:
        told: Any = json.loads(words.splitlines()[-1])
        python = tuple(int(n) for n in told["python"])
    except (ValueError, LookupError, TypeError) as error:
        raise EnvironmentProblem(
            "J2K724",
            f"the image {spec.image} cannot run {spec.python} (exit code {code}): {words[-300:] or 'it said nothing'}",
            "it needs Python 3.9 or newer; --python names its interpreter",
        ) from error
    if python < (3, 9):
        raise EnvironmentProblem(
            "J2K724",
            f"the image {spec.image} has Python {'.'.join(map(str, python))}",
            "it needs Python 3.9 or newer; --python may name another interpreter in it",
        )
    if not told["ipykernel"]:
        raise EnvironmentProblem(
            "J2K724",
            f"the image {spec.image} has no ipykernel",
            "install ipykernel in it, or choose another --image",
        )
    return Seen(python, tuple(told["missing"]))
