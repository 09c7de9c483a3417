"""`jup2kub doctor`: is this machine ready, and has the world moved since a notebook was locked?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jup2kub import doctoring
from jup2kub.cli import common
from jup2kub.compose import Settings
from jup2kub.doctoring import Check
from jup2kub.errors import EXIT_ENVIRONMENT, EXIT_OK, Different, UsageError
from jup2kub.images import publish, squeeze
from jup2kub.images.blobs import Blobs, default_folder
from jup2kub.images.layers import Maker
from jup2kub.kit.canon import to_json


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("notebook", type=Path, nargs="?", metavar="NB", help="the notebook (default: none)")
    parser.add_argument(
        "--drift",
        action="store_true",
        help="what would be installed today instead of what is locked; and build the images again from what is kept",
    )
    parser.add_argument(
        "--kernel", default="", metavar="NAME", help="kernelspec to use instead of the notebook's"
    )
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    settings = None
    if options.notebook is not None:
        settings = Settings(notebook=options.notebook, workers=1, kernel=options.kernel, store=options.store)
    if options.drift:
        if settings is None:
            raise UsageError("J2K200", "--drift needs a notebook", "`jup2kub doctor NB.ipynb --drift`")
        return drift(settings, options.json)
    checks = doctoring.machine(settings, options.kernel, options.store)
    if options.json:
        common.result(json.dumps(to_json(checks), ensure_ascii=False))
    else:
        common.result("\n".join(line(c) for c in checks))
    return EXIT_ENVIRONMENT if any(c.state == "problem" for c in checks) else EXIT_OK


def line(check: Check) -> str:
    """Return a check as users read it."""
    code = f"{check.code} " if check.code else ""
    hint = f"\n{'':12}hint: {check.hint}" if check.hint and check.state != "ok" else ""
    return f"{check.state:8}{check.name}: {code}{check.text}{hint}"


def drift(settings: Settings, as_json: bool) -> int:
    """Tell what has changed, and whether the images come out the same. Raises Different (J2K696)."""
    maker = Maker(
        Blobs(default_folder(os.environ, Path.home())),
        squeeze.kinds()[0],
        lambda told: common.say(told.text),
        publish.clients(os.environ, Path.home()),
    )
    found = doctoring.drifted(settings, maker, common.say)
    common.result(json.dumps(found, ensure_ascii=False) if as_json else summary(found))
    if not found["rebuilt"]["same"]:
        raise Different(
            "J2K696",
            "the vendored inputs did not give the same images again",
            "the images' layers tell which: please report it",
        )
    return EXIT_OK


def summary(found: Mapping[str, Any]) -> str:
    """Return the findings as users read them."""
    lines = []
    if found["unresolvable"]:
        lines.append(f"nothing fits together any more today: {found['unresolvable']}")
    elif not found["changes"]:
        lines.append("an environment that is made today would be the same")
    for change in found["changes"]:
        lines.append(
            f"{change['kind']:6} {change['name']}: {change['locked'] or '-'} locked, {change['today'] or '-'} today"
        )
    for change in found["environment"]:
        was, now = change["locked"] or "-", change["today"] or "-"
        lines.append(f"since pylock.toml was written: {change['name']} {was}, now {now}")
    rebuilt = found["rebuilt"]
    word = "the same digests" if rebuilt["same"] else "OTHER DIGESTS"
    lines.append(
        f"built again from what is kept, without any network: {word} ({len(rebuilt['images'])} images)"
    )
    return "\n".join(lines)
