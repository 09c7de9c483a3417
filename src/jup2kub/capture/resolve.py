"""Asks pip: which wheels do these requirements stand for, here, today? And fetches them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from jup2kub.capture.declared import clean
from jup2kub.capture.environment import Environment
from jup2kub.errors import EnvironmentProblem

SECONDS = 1800
"""A slow line may need long for large wheels."""
NOT_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9][\w.-]*)")
NO_INDEX = re.compile(
    r"NewConnectionError|Max retries exceeded|ProxyError|Temporary failure in name resolution|Network is unreachable|"
    r"Connection refused|ConnectTimeout|Read timed out|SSLError|CERTIFICATE_VERIFY_FAILED|Name or service not known|"
    r"Connection to \S+ timed out"
)
OLDEST_PIP = (23, 0)
"""The first whose report has the form of version 1."""
WHEELS_ONLY = ("--only-binary", ":all:")


@dataclass(frozen=True)
class Candidate:
    """One distribution that pip would install."""

    name: str
    """Normalised."""
    version: str
    url: str
    """As pip fetches it; may hold credentials, so it is only handed back to pip."""
    sha256: str
    """Empty = the index does not tell."""
    requires: tuple[str, ...] = ()

    @property
    def public_url(self) -> str:
        """The URL without credentials; empty for a file of this machine."""
        return clean(self.url).partition("#")[0] if self.url.startswith(("http://", "https://")) else ""


class Unresolvable(Exception):
    """pip found no set of wheels. `names`: those it found none for; empty = they contradict each other."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        super().__init__(text)
        self.text = text
        self.names = names


def pip_command(environment: Environment) -> list[str]:
    """Return a pip that resolves for the kernel's interpreter. Raises EnvironmentProblem J2K670 if there is none."""
    own = environment.distributions.get("pip")
    if own is not None and _numbers(own.version) >= OLDEST_PIP:
        return [environment.python.executable, "-m", "pip"]
    mine = subprocess.run(
        [sys.executable, "-c", "import pip; print(pip.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if mine.returncode == 0 and _numbers(mine.stdout.strip()) >= OLDEST_PIP:
        return [sys.executable, "-m", "pip", "--python", environment.python.executable]
    raise EnvironmentProblem(
        "J2K670",
        "there is no pip, in the kernel's environment or beside jup2kub, that can report what it would install",
        f"`{environment.python.executable} -m ensurepip --upgrade`, or install pip 23 or newer beside jup2kub",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def resolve(
    environment: Environment,
    requirements: Sequence[str],
    *,
    constraints: Iterable[str] = (),
    alone: bool = False,
) -> tuple[Candidate, ...]:
    """Return what pip would install for `requirements` into an empty environment of the kernel's kind, by name.

    `alone`: without what they require. Raises Unresolvable, or EnvironmentProblem J2K670, J2K671 (no index answers).
    """
    if not requirements:
        return ()
    with tempfile.TemporaryDirectory(prefix="j2k-resolve-") as folder:
        report = Path(folder, "report.json")
        limits = Path(folder, "constraints.txt")
        limits.write_text("\n".join([*constraints, ""]), encoding="utf-8")
        words = ["install", "--dry-run", "--ignore-installed", *WHEELS_ONLY, "--report", str(report)]
        words += ["--no-deps"] if alone else ["-c", str(limits)]
        _run([*pip_command(environment), *words, "-r", _listed(folder, requirements)], folder)
        told = json.loads(report.read_text(encoding="utf-8"))
    found = [
        Candidate(
            name=canonicalize_name(item["metadata"]["name"]),
            version=item["metadata"]["version"],
            url=item["download_info"]["url"],
            sha256=(item["download_info"].get("archive_info") or {}).get("hashes", {}).get("sha256", ""),
            requires=tuple(item["metadata"].get("requires_dist") or ()),
        )
        for item in told["install"]
    ]
    return tuple(sorted(found, key=lambda c: c.name))


def fetch(environment: Environment, candidates: Sequence[Candidate], folder: Path) -> dict[str, Path]:
    """Download the wheels of `candidates` into `folder`; return the file by name. Raises as `resolve`."""
    if not candidates:
        return {}
    with tempfile.TemporaryDirectory(prefix="j2k-fetch-") as scratch:
        pinned = [f"{c.name} @ {c.url}" for c in candidates]
        words = ["download", "--no-deps", *WHEELS_ONLY, "-d", str(folder), "-r", _listed(scratch, pinned)]
        _run([*pip_command(environment), *words], scratch)
    by_name: dict[str, Path] = {}
    for path in folder.glob("*.whl"):
        by_name[canonicalize_name(path.name.partition("-")[0])] = path
    return {c.name: by_name[c.name] for c in candidates}


def _listed(folder: str, requirements: Iterable[str]) -> str:
    path = Path(folder, "requirements.txt")
    path.write_text("\n".join([*requirements, ""]), encoding="utf-8")
    return str(path)


def _run(command: list[str], folder: str) -> None:
    env = {
        **os.environ,
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
    }
    # A folder or home of packages that is meant for another command must not be asked instead of the environment.
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PYTHONPATH", "PYTHONHOME"):
        env.pop(name, None)
    try:
        done = subprocess.run(
            [*command, "--quiet", "--retries", "2", "--timeout", "30"],
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            cwd=folder,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(
            "J2K670", f"pip cannot be run: {error}", "see whether it runs by hand"
        ) from error
    if done.returncode == 0:
        return
    text = done.stderr + done.stdout
    if NO_INDEX.search(text):
        raise EnvironmentProblem(
            "J2K671",
            "the package index does not answer, and not all wheels are in the cache",
            "see whether `pip download` works here (a proxy, a certificate?), and try again; the second time no "
            "network is needed",
        )
    lines = [line.strip() for line in text.splitlines() if line.startswith(("ERROR", "The conflict", "    "))]
    raise Unresolvable(
        " ".join(lines)[-600:] or text[-600:], tuple(map(canonicalize_name, NOT_FOUND.findall(text)))
    )
