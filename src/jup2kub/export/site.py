"""What all targets say in the same way: where things lie, what a task runs, and the words on top of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jup2kub.errors import UsageError
from jup2kub.manifests.render import to_yaml
from jup2kub.model.parts import LAST, Part, Parts

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""RFC 1123."""
SCRATCH = "/tmp/jup2kub/project"
"""The same in each task: a cell that looks where it is sees what it saw in the others."""
USER = 1000
"""All tasks are one user, for a store belongs to one."""


@dataclass(frozen=True)
class Site:
    """Where the exported workflow will run."""

    image: str
    """With Python >= 3.9, ipykernel, and the notebook's packages."""
    name: str
    """Of the workflow: a name that Kubernetes takes."""
    claim: str = "jup2kub"
    """The claim that all tasks mount, ReadWriteMany unless all run on one node. Pegasus: not used."""
    folder: str = "/jup2kub"
    """Where the shared folder is mounted in each task."""
    host: str = ""
    """Pegasus: where it lies on the machines that the containers run on; empty = as `folder`."""
    site: str = "condorpool"
    """Pegasus: the execution site that has the image's Python, as `pegasus-plan --sites` names it."""
    python: str = "python3"
    cpu: float = 1.0
    """Cores of a task of whose cells nothing is known."""
    memory: int = 2 << 30
    """Bytes of a task of whose cells nothing is known."""

    def place(self, name: str) -> str:
        """Return where something lies in the shared folder."""
        return f"{self.folder.rstrip('/')}/{self.name}/{name}"


def checked(site: Site) -> Site:
    """Return `site` if every target can hold it. Raises UsageError (J2K744)."""
    for what, word in (("name", site.name), ("claim", site.claim)):
        if not NAME.fullmatch(word) or len(word) > 50:
            raise UsageError(
                "J2K744",
                f"{word!r} is no {what} that a workflow can hold",
                "at most 50 lower-case letters, digits and hyphens",
            )
    for path in (site.folder, site.host or site.folder):
        if not path.startswith("/") or ":" in path or path == "/":
            raise UsageError("J2K744", f"{path!r} is no shared folder", "name an absolute path without `:`")
    if not site.image or any(c.isspace() for c in site.image):
        raise UsageError(
            "J2K744", f"{site.image!r} is no image", "`jup2kub build` makes one with the notebook's packages"
        )
    return site


def arguments(site: Site, part: Part) -> list[str]:
    """Return the arguments of Python for one task."""
    return [
        site.place("program.pyz"),
        "--parts",
        site.place("parts.json"),
        "--task",
        part.name,
        "--project",
        site.place("project"),
        "--store",
        site.place("store"),
        "--scratch",
        SCRATCH,
        "--out",
        site.place("out"),
    ]


def words(site: Site, parts: Parts, target: str) -> str:
    """Return the comment on top of the file: what it is, what it needs, and what is not as in a run of our own."""
    lines = [
        f"{target}: {site.name}, from {parts.job.notebook.rpartition('/')[2]}",
        "",
        f"Each task runs {site.place('program.pyz')} on the shared folder. Put there before: program.pyz and parts.json, which",
        "stand beside this file, and the notebook's folder as project/ (user 1000 must be able to read it, and write",
        f"beside it). The executed notebook and the files it wrote come to {site.place('out')}/.",
        "",
        "A task before the last makes the results of its cells, and of what they depend on, and keeps them in store/;",
        f"`{LAST}` then runs the notebook in order, takes what was made, and runs all else itself, effects included.",
    ]
    for part in parts.parts[:-1]:
        lines.append(f"  {part.name}: runs cells {listed(part.runs)} for {listed(part.cells)}")
    for kept in parts.kept:
        lines.append(f"  not a task: {kept.step} (cells {listed(kept.cells)}): {kept.reason}")
    lines.append(
        "Forks, chunks of loops in several pods and new attempts of single cells are those of `jup2kub run`"
    )
    lines.append("only. A loop's iterations share the cores of their task.")
    clean = (
        " ".join(line.split()) if not line.startswith("  ") else "  " + " ".join(line.split())
        for line in lines
    )
    return "".join(f"# {line}".rstrip() + "\n" for line in clean)


def listed(cells: tuple[int, ...]) -> str:
    """Return numbers as words."""
    return ", ".join(map(str, cells)) or "none"


def cores(site: Site, part: Part) -> float:
    """Return the cores that a task asks for."""
    return part.cpu or site.cpu


def memory(site: Site, part: Part) -> int:
    """Return the bytes that a task asks for: never less than is asked for where nothing is known."""
    return max(part.memory or 0, site.memory)


__all__ = ["SCRATCH", "USER", "Site", "arguments", "checked", "cores", "listed", "memory", "to_yaml", "words"]
