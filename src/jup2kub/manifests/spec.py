"""What is wanted of Kubernetes, in the words of this project; frozen, and JSON by `kit.canon`.

The command line writes a `RunSpec` into a config map; the run server reads it there and makes agent Jobs by it.
"""

from __future__ import annotations

import math
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Tuple

from jup2kub.errors import UsageError
from jup2kub.kit.canon import digest, to_json

SERVER, AGENT, PROBE = "server", "agent", "probe"
PRODUCER, CONSUMER, BOTH = "producer", "consumer", "producer-consumer"
ROLES = (SERVER, AGENT, PROBE, PRODUCER, CONSUMER, BOTH)
PORT = 8080
GIB = 1 << 30


@dataclass(frozen=True)
class PodClass:
    """Pods that are alike: what a task asks for, and the pods that may run it."""

    image: str
    cpu: float = 0.5
    """Cores requested; one whole core may be used if it is there."""
    memory: int = 2 * GIB
    """Bytes, requested and allowed, `/dev/shm` included."""
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    storage: int = 4 * GIB
    """Bytes of ephemeral storage, requested and allowed: `/tmp`, the project folder and the cache of values."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Tuple[Mapping[str, Any], ...] = ()
    """As in the API, besides those that every pod of ours has."""

    @property
    def name(self) -> str:
        """Eight hexadecimal digits, the same for the same wishes."""
        return digest(to_json(self))[:8]

    @property
    def most_cores(self) -> float:
        """Cores that it may use."""
        return float(max(1, math.ceil(self.cpu)))

    @property
    def usable_memory(self) -> int:
        """Bytes for tasks: a tenth is the agent's own, and the system's for it."""
        return self.memory - self.memory // 10

    def resources(self) -> Mapping[str, Mapping[str, str]]:
        """Return `resources` of the container: both requests and limits, so that quotas and defaults never decide."""
        gpu = {self.gpu_resource: str(self.gpu)} if self.gpu else {}
        fixed = {"memory": quantity(self.memory), "ephemeral-storage": quantity(self.storage), **gpu}
        return {
            "requests": {"cpu": cores(self.cpu), **fixed},
            "limits": {"cpu": cores(self.most_cores), **fixed},
        }


@dataclass(frozen=True)
class Volume:
    """A claim of the user's own that pods of steps see (`#| volume: CLAIM:/path`)."""

    claim: str
    path: str
    """Absolute, in the pod."""
    read_only: bool = False


@dataclass(frozen=True)
class S3Place:
    """A bucket in which the run server keeps its store, instead of a claim."""

    url: str = ""
    """`s3://BUCKET/PREFIX`; empty = no bucket."""
    endpoint: str = ""
    """URL of a server other than Amazon's; empty = Amazon's own of the region."""
    region: str = "us-east-1"
    secret: str = ""
    """Secret of the user's own with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_SESSION_TOKEN; empty = the
    service account has a role."""
    cache: int = 4 * GIB
    """Bytes on the run server's node, for values on their way and read again."""


@dataclass(frozen=True)
class RunSpec:
    """All that the objects of one run are computed from."""

    run: str
    """Lower-case letters and digits."""
    image: str
    """Of the server, and of agents whose class names no other."""
    project: str
    """Absolute path of the notebook's folder, the same in every pod."""
    namespace: str = "default"
    bundle: str = ""
    """Name of the config map with the program; empty = the image brings it."""
    bundle_digest: str = ""
    """sha256 of the program; empty = the image brings it. A changed program makes new pods."""
    python: str = "python3"
    user: int = 1000
    """Numeric user and group of every process; never 0."""
    account: str = ""
    """Service account of the run server, which may make Jobs; empty = one of its own is made."""
    jobs_by: str = "server"
    """Who makes agent Jobs: `server`, or `cli` while it runs, if the user may make no Roles."""
    pull_secrets: Tuple[str, ...] = ()
    claim: str = ""
    """Claim of the run server's store that the user names; empty = one of ours."""
    notebook: str = ""
    """Eight hexadecimal digits that tell the notebook: its runs share a claim, one after the other. Empty = the run's own."""
    storage_class: str = ""
    """Of a claim of its own; empty = the cluster's default."""
    storage_bytes: int = 10 * GIB
    access: str = "ReadWriteOnce"
    s3: S3Place = field(default_factory=S3Place)
    """Where the store is, if in no claim at all."""
    parallelism: int = 4
    """Agent pods at once, at most."""
    deadline: int = 24 * 3600
    """Seconds that one agent pod may live."""
    idle: int = 60
    """Seconds without work after which an agent leaves."""
    base: PodClass = field(default_factory=lambda: PodClass(""))
    """What a task gets that asks for nothing; its image is `image`."""
    volumes: Tuple[Volume, ...] = ()
    secrets: Tuple[str, ...] = ()
    """Secrets of the user's own whose keys agents see as environment variables (`#| secret: NAME`)."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of agents, besides ours; never secrets."""
    network_policy: bool = True
    egress: Tuple[str, ...] = ("0.0.0.0/0", "::/0")
    """Networks that steps may speak to (CIDR), besides DNS and the run server."""
    queue: str = ""
    """Name of a Kueue LocalQueue; empty = none."""
    max_memory: int = 0
    """Most bytes of an agent, also after a cell ran out of memory; 0 = no limit but the cluster's."""

    def __post_init__(self) -> None:
        """Refuse what no object can hold. Raises UsageError."""
        if not re.fullmatch(r"[a-z0-9]{1,32}", self.run):
            raise UsageError(
                "J2K710",
                f"{self.run!r} cannot be the name of a run",
                "lower-case letters and digits, at most 32",
            )
        if self.user <= 0:
            raise UsageError("J2K710", "pods never run as root", "choose a user number above 0")
        check_project(self.project)

    def pod_class(self, **wishes: Any) -> PodClass:
        """Return the class of pods for a task's wishes (`cpu`, `memory`, …); None = as the base says."""
        asked = {"image": self.base.image or self.image, **{k: v for k, v in wishes.items() if v is not None}}
        return PodClass(**{**{f: getattr(self.base, f) for f in self.base.__dataclass_fields__}, **asked})


TAKEN = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr", "jup2kub")
"""First parts of paths that belong to the image or to us."""


def check_project(path: str) -> None:
    """Refuse a project folder that would hide the image's own files in a pod. Raises UsageError."""
    first = path.strip("/").partition("/")[0]
    if not path.startswith("/") or posixpath.normpath(path) != path or not first or first in TAKEN:
        raise UsageError(
            "J2K711",
            f"the notebook's folder {path} cannot have the same path in a pod: it would hide the image's own files",
            "move the notebook into a folder of your own, such as one below /home",
        )


def project_mount(path: str) -> str:
    """Return where the project's volume is mounted: the folder, or above it what only root could enter in an image."""
    return "/root" if path.startswith("/root/") else path


def quantity(size: int) -> str:
    """Return bytes as Kubernetes writes them."""
    for unit, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size >= 1 << power and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return str(size)


SUFFIXES = {
    "": 1.0,
    "m": 1e-3,
    **{s: 1000.0 ** (i + 1) for i, s in enumerate("kMGTPE")},
    **{s + "i": 1024.0 ** (i + 1) for i, s in enumerate("KMGTPE")},
}


def parse_quantity(text: str) -> float:
    """Return the number that a Kubernetes quantity stands for. Raises ValueError."""
    found = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)", text.strip())
    if found is None or found[2] not in SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * SUFFIXES[found[2]]


def cores(number: float) -> str:
    """Return cores as Kubernetes writes them."""
    return str(int(number)) if number == int(number) else f"{math.ceil(number * 1000)}m"
