"""Hands an archive of images to a container engine on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jup2kub.errors import EnvironmentProblem

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "containerd": ("ctr", "--namespace", "k8s.io", "images", "import", "--all-platforms", "{archive}"),
    "kind": ("kind", "load", "image-archive", "{archive}"),
    "minikube": ("minikube", "image", "load", "{archive}"),
    "docker": ("docker", "load", "--input", "{archive}"),
}
"""How each engine is given an archive; containerd's namespace is the kubelet's."""
READS_ZSTD = 23
"""The first version of Docker that does."""
LIMIT = 1800
"""Seconds that an engine may take to unpack."""


def load(engine: str, archive: Path) -> None:
    """Load the images. Raises EnvironmentProblem: J2K625 the engine is missing, or refuses (with its own words)."""
    command = [word.format(archive=archive) for word in COMMANDS[engine]]
    if shutil.which(command[0]) is None:
        raise EnvironmentProblem(
            "J2K625",
            f"`{command[0]}`, which loads images into {engine}, is not installed here",
            "write an archive (`--archive F.tar`) and load it where it is, or push to a registry (`--push`)",
        )
    _run(engine, command)


def wants_plain(engine: str) -> bool:
    """Whether the engine reads no layers that are compressed by zstd: Docker before 23, as Debian 12 has it."""
    if engine != "docker":
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False  # what is wrong, loading tells
    major = done.stdout.strip().partition(".")[0]
    return major.isdigit() and int(major) < READS_ZSTD


def _run(engine: str, command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise EnvironmentProblem(
            "J2K625",
            f"{engine} does not take the images: {' / '.join(said[-3:])}",
            f"see whether `{' '.join(command[:-1])}` works, and whether it runs and you may use it",
        ) from error
