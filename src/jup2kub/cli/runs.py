"""`jup2kub runs`: the runs in the store."""

from __future__ import annotations

import argparse
import json
import time

from jup2kub.cli import common, onkube
from jup2kub.errors import EXIT_OK
from jup2kub.kit.canon import to_json
from jup2kub.kube.runs import remembered


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    with common.store(options) as store:
        runs = store.runs()
    far = remembered(onkube.records())
    if options.json:
        common.result(
            json.dumps([to_json(r) for r in runs] + [{"on": "kubernetes", **to_json(r)} for r in far])
        )
        return EXIT_OK
    for one in far:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.began))
        common.result(f"{one.run}  on cluster   {when}  {one.notebook}  (namespace {one.namespace})")
    if not runs and not far:
        common.say("no runs in this store")
    for run in runs:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.opened))
        common.result(f"{run.id}  {run.state:<11}  {when}  {run.key.notebook}")
    return EXIT_OK
