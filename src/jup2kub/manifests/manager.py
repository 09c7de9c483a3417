"""`PodManager`, as the paper names it: what a pod is for, its topics and its environment, and the objects that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from jup2kub.errors import UsageError
from jup2kub.kit.canon import nearest
from jup2kub.manifests import workloads
from jup2kub.manifests.pods import Container, http_probe, mounted_claim, program
from jup2kub.manifests.spec import (
    AGENT,
    BOTH,
    CONSUMER,
    PORT,
    PROBE,
    PRODUCER,
    ROLES,
    SERVER,
    PodClass,
    RunSpec,
)

Obj = Dict[str, Any]
STREAM = (PRODUCER, CONSUMER, BOTH)


@dataclass(frozen=True)
class PodManager:
    """One kind of pods of a run.

    `server` and `agent` make up the Jobs engine; `producer`, `consumer` and `producer-consumer` stand in a stream of
    Kafka topics, as in the paper's listing 1.
    """

    role: str
    spec: RunSpec
    pod_class: PodClass
    consumes: Tuple[str, ...] = ()
    """Topics it reads; consumers have at least one."""
    produces: Tuple[str, ...] = ()
    """Topics it writes; producers have at least one."""
    broker: str = ""
    """`host:port` of Kafka; empty for the Jobs engine, which needs none."""
    step: str = ""
    rev: str = ""
    """Revision of the pipeline; empty for the Jobs engine."""
    command: Tuple[str, ...] = ()
    """Program and arguments of a stream's or a probe's pod; empty = ours."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Path by claim."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides ours; never secrets."""

    def __post_init__(self) -> None:
        """Refuse a role that does not fit its topics. Raises UsageError."""
        if self.role not in ROLES:
            near = nearest(self.role, ROLES)
            raise UsageError(
                "J2K712", f"no pod has the role {self.role!r}", f"did you mean {near!r}?" if near else None
            )
        wrong = {
            "a producer writes to at least one topic": self.role in (PRODUCER, BOTH) and not self.produces,
            "a consumer reads at least one topic": self.role in (CONSUMER, BOTH) and not self.consumes,
            "a pod in a stream needs a broker": self.role in STREAM and not self.broker,
            f"a pod of role {self.role} has no topics": self.role not in STREAM
            and bool(self.consumes or self.produces),
        }
        for reason, holds in wrong.items():
            if holds:
                raise UsageError(
                    "J2K712", reason, "give `consumes`, `produces` and `broker` as the role needs them"
                )

    @property
    def container(self) -> Container:
        """What is particular to its container."""
        if self.role == SERVER:
            return workloads.server_container(self.spec)
        if self.role == AGENT:
            return workloads.agent_container(self.spec, self.pod_class)
        if self.role == PROBE:
            return Container(PROBE, self.command, self.pod_class, self.environment, grace=5, step=self.step)
        return self._stream()

    def job(self, name: str, owner: Optional[Obj] = None) -> Obj:
        """Return a Job of one agent."""
        if self.role != AGENT:
            raise UsageError("J2K712", f"a pod of role {self.role} does not run as a Job", "use `deployment`")
        return workloads.agent_job(self.spec, self.pod_class, name, owner)

    def deployment(self, name: str = "", replicas: Optional[int] = 3) -> Obj:
        """Return a Deployment: the run server's own, or one of a stream. `replicas` None: an autoscaler has the word."""
        if self.role == SERVER:
            return workloads.server(self.spec)
        if self.role not in STREAM:
            raise UsageError("J2K712", f"a pod of role {self.role} does not run as a Deployment", "use `job`")
        if (replicas or 2) > 1 and self.volumes and self.spec.access == "ReadWriteOnce":
            raise UsageError(
                "J2K713",
                f"{replicas or 'several'} replicas cannot share a claim that one node at a time may mount",
                "use a claim of a ReadWriteMany class (--storage class:NAME), or one replica",
            )
        mounts = tuple(
            mounted_claim(f"claim-{number}", claim, path)
            for number, (claim, path) in enumerate(sorted(self.volumes.items()))
        )
        return workloads.stream_deployment(self.spec, name, self._stream(), replicas=replicas, volumes=mounts)

    def _stream(self) -> Container:
        variables = {
            "KAFKA_BROKER": self.broker,
            "JUP2KUB_ROLE": self.role,
            "JUP2KUB_CONSUMES": ",".join(self.consumes),
            "JUP2KUB_PRODUCES": ",".join(self.produces),
            **self.environment,
        }
        return Container(
            self.role,
            self.command or (*program(self.spec), "stream"),
            self.pod_class,
            {name: value for name, value in variables.items() if value},
            {
                "startupProbe": http_probe("/healthz", 5, 60),
                "livenessProbe": http_probe("/healthz", 20, 6),
                "readinessProbe": http_probe("/readiness", 5, 3),
            },
            grace=90,
            port=PORT,
            step=self.step,
            rev=self.rev,
        )
