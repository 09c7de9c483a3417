"""Pegasus 5: an abstract workflow with its own transformation catalog (schema `wf-5.0`)."""

from __future__ import annotations

from typing import Any

from jup2kub.export.site import Site, arguments, cores, memory, to_yaml, words
from jup2kub.model.parts import Part, Parts

TOOL = "part"
CONTAINER = "notebook"
ENV = "/usr/bin/env"
"""Pegasus starts what is installed by its path; this one finds Python in any image."""


def document(parts: Parts, site: Site) -> dict[str, Any]:
    """Return the workflow. Its jobs exchange nothing by Pegasus: all lies in the shared folder."""
    children: dict[str, list[str]] = {}
    for part in parts.parts:
        for earlier in part.after:
            children.setdefault(earlier, []).append(part.name)
    mounts = [f"{site.host or site.folder}:{site.folder}:rw"]
    return {
        "pegasus": "5.0",
        "name": site.name,
        "transformationCatalog": {
            "transformations": [
                {
                    "name": TOOL,
                    "sites": [
                        {
                            "name": site.site,
                            "pfn": ENV,
                            "type": "installed",
                            "container": CONTAINER,
                        }
                    ],
                }
            ],
            "containers": [
                {
                    "name": CONTAINER,
                    "type": "docker",
                    "image": f"docker://{site.image}",
                    "mounts": mounts,
                }
            ],
        },
        "jobs": [_job(part, site) for part in parts.parts],
        "jobDependencies": [{"id": name, "children": after} for name, after in children.items()],
    }


def text(parts: Parts, site: Site) -> str:
    """Return the file for `pegasus-plan`."""
    return words(site, parts, "Pegasus workflow") + to_yaml(document(parts, site))


def _job(part: Part, site: Site) -> dict[str, Any]:
    megabytes = -(-memory(site, part) // (1 << 20))
    pegasus = {"cores": str(max(1, round(cores(site, part)))), "memory": str(megabytes)}
    if part.gpu:
        pegasus["gpus"] = str(part.gpu)
    return {
        "type": "job",
        "name": TOOL,
        "id": part.name,
        "nodeLabel": part.name,
        "arguments": [site.python, *arguments(site, part)],
        "uses": [],
        "profiles": {"env": {"HOME": "/tmp"}, "pegasus": pegasus},
    }
