"""What runs: the run server, agent Jobs, probe pods, and Deployments as the paper's listing 1 has them."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from jup2kub.kit.canon import digest
from jup2kub.manifests.objects import CLASS, NOTEBOOK, base_name, claim_name, metadata, selector
from jup2kub.manifests.pods import (
    CACHE,
    PROGRAM,
    SECRET,
    SPEC,
    STORE,
    Container,
    http_probe,
    mounted_claim,
    mounted_config,
    mounted_secret,
    program,
    scratch,
    server_url,
    template,
)
from jup2kub.manifests.spec import AGENT, GIB, PORT, PROBE, SERVER, PodClass, RunSpec

Obj = Dict[str, Any]
TEMPLATE = "jup2kub.dev/template"
"""Annotation: digest of the pod template an object was made from."""
ACTIVE_ANNOTATIONS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""While a pod works, no autoscaler may move it to save a node."""
KEPT = 3600
"""Seconds that a finished Job and its pod's log are kept."""


def server_class(spec: RunSpec) -> PodClass:
    """Return the run server's own class: it moves bytes and folds events, and computes nothing."""
    storage = GIB + spec.s3.cache if spec.s3.url else GIB
    return PodClass(spec.image, cpu=0.1, memory=GIB // 2, storage=storage)


def store_options(spec: RunSpec) -> Tuple[str, ...]:
    """Return where the run server keeps its store, as its program is told."""
    if not spec.s3.url:
        return ("--store", f"{STORE}/jup2kub")
    endpoint = ("--endpoint", spec.s3.endpoint) if spec.s3.endpoint else ()
    # Half of the folder: what is on its way lies there, too.
    cache = ("--cache", f"{STORE}/s3", "--cache-bytes", str(spec.s3.cache // 2))
    return ("--store", spec.s3.url, *cache, "--region", spec.s3.region, *endpoint)


def server_container(spec: RunSpec) -> Container:
    """Return the run server's container."""
    return Container(
        SERVER,
        (
            *program(spec),
            "server",
            *store_options(spec),
            "--port",
            str(PORT),
            "--spec",
            f"{SPEC}/spec.json",
        ),
        server_class(spec),
        {"JUP2KUB_TOKEN_FILE": f"{SECRET}/token"},
        {
            "startupProbe": http_probe("/healthz", 1, 120),
            "livenessProbe": http_probe("/healthz", 10, 6),
            # Not /readiness: the job is sent through the service, which leads to ready pods only.
            "readinessProbe": http_probe("/healthz", 2, 3),
        },
        grace=15,
        port=PORT,
        keys=spec.s3.secret,
        annotations={**ACTIVE_ANNOTATIONS, "jup2kub.dev/program": spec.bundle_digest[:16] or "image"},
    )


def server(spec: RunSpec) -> Obj:
    """Return the run server: a Deployment of one replica that is never two at once (`Recreate`)."""
    name = base_name(spec.run)
    volumes = (
        scratch("store", STORE, spec.s3.cache)
        if spec.s3.url
        else mounted_claim("store", claim_name(spec), STORE),
        mounted_secret("token", f"{name}-token", SECRET),
        mounted_config("spec", f"{name}-spec", SPEC),
    )
    pod = template(spec, server_container(spec), restart="Always", volumes=volumes)
    if spec.jobs_by == "server":
        pod["spec"]["serviceAccountName"] = spec.account or name
    made = metadata(spec, f"{name}-server", SERVER)
    if spec.notebook:
        made["labels"][NOTEBOOK] = spec.notebook
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": made,
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(spec.run, SERVER)},
            "template": pod,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 1,
        },
    }


def agent_container(spec: RunSpec, wish: PodClass) -> Container:
    """Return an agent's container: it asks the run server for work of its class."""
    words = ("--server", server_url(spec), "--class", wish.name, "--cache", CACHE, "--idle", str(spec.idle))
    offer = ("--cpu", str(wish.most_cores), "--memory", str(wish.usable_memory), "--gpu", str(wish.gpu))
    return Container(
        AGENT,
        (*program(spec), "agent", *words, *offer),
        wish,
        {
            "JUP2KUB_TOKEN_FILE": f"{SECRET}/token",
            "JUP2KUB_PROJECT": spec.project,
            **spec.environment,
        },
        grace=60,
        annotations=ACTIVE_ANNOTATIONS,
    )


def agent_template(spec: RunSpec, wish: PodClass) -> Obj:
    """Return the pod template of agents of this class."""
    volumes = (mounted_secret("token", f"{base_name(spec.run)}-token", SECRET),)
    return template(spec, agent_container(spec, wish), restart="Never", volumes=volumes)


def agent_job(spec: RunSpec, wish: PodClass, name: str, owner: Optional[Obj] = None) -> Obj:
    """Return a Job of exactly one pod that is never retried by the Job controller: the run server owns every retry."""
    pod = agent_template(spec, wish)
    made = metadata(spec, name, AGENT, owner)
    made["labels"][CLASS] = wish.name
    if spec.queue:
        made["labels"]["kueue.x-k8s.io/queue-name"] = spec.queue
    made["annotations"] = {TEMPLATE: digest(pod)[:16]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": made,
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": spec.deadline,
            "ttlSecondsAfterFinished": KEPT,
            **({"suspend": True} if spec.queue else {}),
            "template": pod,
        },
    }


def probe_pod(spec: RunSpec, name: str, command: Tuple[str, ...], wish: Optional[PodClass] = None) -> Obj:
    """Return a pod that looks at an image from inside, and ends."""
    box = Container(
        PROBE, command, wish or PodClass(spec.image, cpu=0.1, memory=GIB // 2, storage=GIB), grace=5
    )
    return as_pod(spec, template(spec, box, restart="Never"), name, PROBE)


def as_pod(spec: RunSpec, pod: Obj, name: str, component: str) -> Obj:
    """Return a template as a Pod of its own: only so do quota, LimitRange, Pod Security and webhooks see it."""
    meta = metadata(spec, name, component)
    meta["labels"].update(pod["metadata"]["labels"])
    meta["annotations"] = dict(pod["metadata"]["annotations"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod["spec"]}


def stream_deployment(
    spec: RunSpec,
    name: str,
    box: Container,
    *,
    replicas: Optional[int] = 3,
    volumes: Tuple[Mapping[str, Any], ...] = (),
) -> Obj:
    """Return a Deployment as the paper's listing 1: rolling, one unavailable and one surplus at most.

    `replicas` None: not said, for a HorizontalPodAutoscaler has the word (only the first creation may give a number).
    """
    chosen = {**selector(spec.run, box.component), **({"jup2kub.dev/step": box.step} if box.step else {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(spec, name, box.component),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
            "selector": {"matchLabels": chosen},
            "template": template(spec, box, restart="Always", volumes=volumes),
        },
    }


__all__ = [
    "PROGRAM",
    "agent_container",
    "agent_job",
    "agent_template",
    "as_pod",
    "probe_pod",
    "server",
    "server_class",
    "server_container",
    "stream_deployment",
]
