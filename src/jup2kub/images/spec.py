"""What is to be built, and what an environment in an image is: the contract between the strategies and the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jup2kub.images.layer import Layer
from jup2kub.images.tree import Ground
from jup2kub.images.wheels import Home
from jup2kub.model.env import Lock, Wheel

PREFIX = "opt/j2k"
"""Everything of ours lies here, whatever the base: a path of the image never tells of the machine that built it."""
ENVIRONMENT = f"{PREFIX}/env"
AGENT = f"{PREFIX}/agent"
PROJECT = f"{PREFIX}/project"
NOTEBOOK = f"{PREFIX}/notebook.json"
STEP = f"{PREFIX}/step.json"
LOCK = f"{PREFIX}/lock.json"
SBOM = f"{PREFIX}/sbom.json"


def home(python: str) -> Home:
    """Return where distributions lie in an image; `python`: the language's version, `3.11`."""
    return Home(ENVIRONMENT, python)


@dataclass(frozen=True)
class Step:
    """What one image is for."""

    id: str
    """`main`, or the id of a step of the plan."""
    payload: bytes
    """JSON: what is this step's alone."""


@dataclass(frozen=True)
class Request:
    """What is to be built."""

    name: str
    """Of the images, as registries write names: lower case."""
    lock: Lock
    wheel: Callable[[Wheel], Path]
    """Finds the vendored file of a wheel of the lock; raises Jup2KubError."""
    steps: tuple[Step, ...]
    notebook: bytes
    """What all steps share of the notebook: plan and sources, as JSON."""
    agent: Mapping[str, bytes]
    """The program that every container starts: its files, `__main__.py` among them, by their path in its folder."""
    sbom: bytes = b""
    """CycloneDX JSON; empty = none is put in."""
    base: str = "debian"
    """`debian`, a tar file, or a registry reference."""
    strategy: str = "lock"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rooted:
    """A root file system with the notebook's environment in it."""

    layers: tuple[Layer, ...]
    """The lowest first."""
    env: Mapping[str, str]
    """Variables of every container."""
    interpreter: str
    """The environment's Python, from the root."""
    architecture: str
    packages: tuple[tuple[str, str, str], ...] = ()
    """Debian packages: name, version, architecture."""
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def ground(self) -> Ground:
        """Folders and links of all layers."""
        return sum((x.ground for x in self.layers), Ground())


@dataclass(frozen=True)
class Told:
    """A message on the way."""

    text: str
    done: int | None = None
    """Bytes so far; None = not counted."""
    total: int | None = None
    """Bytes there will be; None = not known."""


Tell = Callable[[Told], None]
