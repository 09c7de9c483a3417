"""What is to be built, and what an environment in an image is: the contract between the strategies and the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


Package = tuple[str, str, str]
"""Name, version and architecture of a Debian package."""


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
    bill: Callable[[Sequence[Package], str], bytes]
    """Makes the bill of materials (JSON) of the lock and of a base: its Debian packages, and its name."""
    labels: Callable[[bytes, str], Mapping[str, str]]
    """Gives the labels of a step's image, from the bill and the step's id (empty = the main line)."""
    base: str = "debian"
    """`debian`, a tar file, or a registry reference."""
    strategy: str = "lock"
    release: str = ""
    """Release of Debian that this machine runs; empty = another system. Its packages of seen libraries are put in."""


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
    packages: tuple[Package, ...] = ()
    """Debian packages of the base."""
    origin: str = ""
    """The base, in words."""
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def ground(self) -> Ground:
        """Folders and links of all layers."""
        return sum((x.ground for x in self.layers), Ground())


@dataclass(frozen=True)
class Told:
    """A message on the way. One with `total` is sent again and again while something goes on; its text stays the same."""

    text: str
    done: int | None = None
    """Bytes so far; None = not counted."""
    total: int | None = None
    """Bytes there will be; None = not known."""


Tell = Callable[[Told], None]
