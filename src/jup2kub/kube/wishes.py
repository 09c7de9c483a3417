"""What the user asked of the cluster, and the names that follow from it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from jup2kub.agent.launch import located
from jup2kub.errors import UsageError
from jup2kub.images import reference
from jup2kub.kit.canon import digest
from jup2kub.manifests import storage
from jup2kub.manifests.spec import PodClass, RunSpec, Volume, parse_quantity, quantity
from jup2kub.model.notebook import Notebook

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's alphabet: no letter that is read for another."""


@dataclass(frozen=True)
class Wishes:
    """Options of `--on kubernetes`."""

    image: str
    context: str = ""
    """Empty = the kubeconfig's current one."""
    namespace: str = ""
    """Empty = the context's."""
    storage: str = ""
    parallelism: int = 4
    account: str = ""
    pull_secrets: tuple[str, ...] = ()
    cpu: float = 0.5
    """Cores that an agent asks for."""
    memory: int = 2 << 30
    """Bytes of one agent."""
    max_memory: int = 0
    """Most bytes of an agent, also after a cell ran out of memory; 0 = no limit but the cluster's."""
    user: int = 1000
    python: str = "python3"
    keep: bool = False
    """Leave the server and its pods in the cluster after the result was brought back."""
    queue: str = ""


def run_name(now: float, chance: int | None = None) -> str:
    """Return a name for a run that sorts by time: seven letters of seconds since the epoch, five of chance."""
    number = secrets.randbits(25) if chance is None else chance
    return _letters(int(now), 7) + _letters(number, 5)


def _letters(number: int, count: int) -> str:
    return "".join(LETTERS[(number >> (5 * place)) & 31] for place in reversed(range(count)))


def notebook_mark(notebook: Path) -> str:
    """Return the eight hexadecimal digits by which a notebook's runs, and what they keep, are found in a cluster."""
    return digest(str(located(notebook)))[:8]


def spec_of(wishes: Wishes, run: str, notebook: Path, namespace: str, bundle: bytes) -> RunSpec:
    """Return the run's spec. Raises UsageError (J2K620, J2K714, J2K719) for what no cluster could do."""
    if not wishes.image:
        raise UsageError(
            "J2K719",
            "no image was named",
            "--image REF: any image with Python 3.9 or newer, ipykernel and the notebook's packages; or --registry "
            "HOST/NAME, and one is built and pushed there",
        )
    if wishes.parallelism < 1:
        raise UsageError("J2K719", "--parallelism is at least 1", "leave it out for 4")
    reference.parse(wishes.image)
    if wishes.max_memory and wishes.max_memory < wishes.memory:
        raise UsageError(
            "J2K719",
            f"--max-memory {quantity(wishes.max_memory)} is less than --memory {quantity(wishes.memory)}",
            "pods begin with --memory and grow up to --max-memory",
        )
    path = located(notebook)
    spec = RunSpec(
        run=run,
        image=wishes.image,
        project=str(path.parent),
        namespace=namespace,
        bundle=f"j2k-{run}-bundle",
        bundle_digest=digest(bundle),
        python=wishes.python,
        user=wishes.user,
        account=wishes.account,
        pull_secrets=wishes.pull_secrets,
        parallelism=wishes.parallelism,
        notebook=notebook_mark(notebook),
        base=PodClass(wishes.image, cpu=wishes.cpu, memory=wishes.memory),
        queue=wishes.queue,
        max_memory=wishes.max_memory,
    )
    return storage.with_storage(spec, storage.parse(wishes.storage))


def with_data(spec: RunSpec, notebook: Notebook) -> RunSpec:
    """Return the spec with the claims and secrets that cells ask for (`#| volume: CLAIM:/path`, `#| secret: NAME`).

    Raises UsageError for two claims at one path.
    """
    asked = [cell.options for cell in notebook.code]
    places: dict[str, str] = {}
    for text in (options.volume for options in asked if options.volume):
        claim, _, path = text.partition(":")
        if places.setdefault(path, claim) != claim:
            raise UsageError(
                "J2K719",
                f"two claims are to be at {path}: {places[path]} and {claim}",
                "give each a path of its own",
            )
    volumes = tuple(Volume(claim, path) for path, claim in sorted(places.items()))
    names = tuple(sorted({options.secret for options in asked if options.secret}))
    return replace(spec, volumes=volumes, secrets=names)


def without_roles(spec: RunSpec) -> RunSpec:
    """Return the spec for a user who may give no rights to a service account: the command line makes the Jobs."""
    return replace(spec, jobs_by="cli")


def size(text: str) -> int:
    """Return bytes of an option such as `4Gi`. Raises UsageError."""
    try:
        return int(parse_quantity(text))
    except ValueError as error:
        raise UsageError("J2K719", str(error), "write it as Kubernetes does: 512Mi, 4Gi") from error
