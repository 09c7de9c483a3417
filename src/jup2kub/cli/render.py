"""`jup2kub render`: the objects of a run as a folder for `kubectl apply --server-side -k`."""

from __future__ import annotations

import argparse
import json
import secrets
import time
from pathlib import Path

from jup2kub import bundle
from jup2kub.cli import common, onkube, where
from jup2kub.compose import Settings, read_notebook
from jup2kub.errors import EXIT_OK, UsageError
from jup2kub.kube.wishes import run_name, spec_of
from jup2kub.manifests import render, storage


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("notebook", type=Path, metavar="NB", help="the notebook")
    parser.add_argument("-o", dest="out", type=Path, metavar="DIR", required=True, help="the folder to write")
    parser.add_argument("--run", default="", metavar="NAME", help="the run's name (default: a new one)")
    where.place_options(parser)
    where.wish_options(parser)
    parser.add_argument("--json", action="store_true", help="print the objects as JSON on stdout, too")


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    read_notebook(Settings(options.notebook, 1))
    asked, program = onkube.wishes(options), bundle.build()
    name = options.run or run_name(time.time())
    spec = spec_of(asked, name, options.notebook, options.namespace or "default", program)
    objects = render.run_objects(spec, secrets.token_urlsafe(24), program)
    first = storage.administrator_objects(spec, storage.parse(asked.storage))
    files = render.folder(objects, first)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        if any(options.out.iterdir()):
            raise UsageError("J2K728", f"{options.out} is not empty", "name a new folder with -o")
    except OSError as error:
        raise common.unwritable(options.out, error) from error
    for file, text in files.items():
        common.save(options.out / file, text)
        # One of them holds the run's token.
        (options.out / file).chmod(0o600)
    if first:
        common.say(
            f"an administrator applies first: kubectl apply --server-side -f {options.out}/administrator.yaml"
        )
    common.say(f"then: kubectl apply --server-side -k {options.out}")
    common.result(json.dumps({"run": name, "objects": objects}) if options.json else str(options.out))
    return EXIT_OK
