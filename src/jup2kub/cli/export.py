"""`jup2kub export`: the plan as a workflow of another system."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from pathlib import Path

from jup2kub import bundle
from jup2kub.away import job_of
from jup2kub.cli import common
from jup2kub.compose import compile_notebook, open_store, read_notebook
from jup2kub.errors import EXIT_OK
from jup2kub.export import argo, cut, kfp, pegasus
from jup2kub.export.site import Site, checked
from jup2kub.kit.canon import canonical, to_json
from jup2kub.kube.wishes import size

TARGETS = {"argo": argo.text, "kfp": kfp.text, "pegasus": pegasus.text}


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    common.notebook_options(parser)
    parser.add_argument("--to", choices=tuple(TARGETS), required=True, help="the workflow system")
    parser.add_argument("-o", dest="out", type=Path, metavar="F", required=True, help="the file to write")
    parser.add_argument(
        "--image",
        required=True,
        metavar="REF",
        help="image with Python, ipykernel and the notebook's packages",
    )
    parser.add_argument(
        "--name", default="", metavar="NAME", help="the workflow's name (default: of the notebook)"
    )
    parser.add_argument(
        "--claim", default="jup2kub", metavar="NAME", help="the claim that all tasks mount (default: jup2kub)"
    )
    parser.add_argument(
        "--shared",
        default="/jup2kub",
        metavar="PATH",
        help="where tasks mount the shared folder (default: /jup2kub)",
    )
    parser.add_argument(
        "--shared-on-host",
        default="",
        metavar="PATH",
        help="pegasus: where it lies on the machines themselves",
    )
    parser.add_argument(
        "--site",
        default="condorpool",
        metavar="NAME",
        help="pegasus: the execution site (default: condorpool)",
    )
    parser.add_argument("--python", default="python3", metavar="PATH", help="Python in the image")
    parser.add_argument(
        "--cpu", type=float, default=1.0, metavar="N", help="cores of a task, where nothing is known"
    )
    parser.add_argument(
        "--memory", default="2Gi", metavar="SIZE", help="memory of a task, at least (default: 2Gi)"
    )


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    wanted = common.settings(options, common.one_set(options, "export"))
    site = checked(
        Site(
            image=options.image,
            name=options.name or _name(options.notebook),
            claim=options.claim,
            folder=options.shared,
            host=options.shared_on_host,
            site=options.site,
            python=options.python,
            cpu=options.cpu,
            memory=size(options.memory),
        )
    )
    with contextlib.closing(open_store(wanted)) as store:
        notebook = read_notebook(wanted)
        compiled = compile_notebook(notebook, wanted, store)
    parts = cut.parts(job_of(wanted, site.name, compiled, {}), notebook)
    text, program = TARGETS[options.to](parts, site), bundle.build(program="part")
    beside = options.out.with_suffix(".files")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        (beside / "program.pyz").write_bytes(program)
        (beside / "parts.json").write_bytes(canonical(to_json(parts)))
    except OSError as error:
        raise common.unwritable(beside, error) from error
    common.save(options.out, text)
    for kept in parts.kept:
        common.say(f"{kept.step} is no task of its own: {kept.reason}")
    common.say(f"copy {beside}/* to {site.place('')}, and the notebook's folder to {site.place('project')}")
    told = {"output": str(options.out), "files": str(beside), "tasks": [to_json(p) for p in parts.parts]}
    common.result(json.dumps(told) if options.json else str(options.out))
    return EXIT_OK


def _name(notebook: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", notebook.stem.lower()).strip("-")[:50].strip("-") or "notebook"
