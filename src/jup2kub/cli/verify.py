"""`jup2kub verify`: prove that the planned run gives the notebook's answer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jup2kub import certify
from jup2kub.cli import common, onkube, where
from jup2kub.cli.progress import Progress
from jup2kub.compose import read_notebook
from jup2kub.errors import EXIT_DIFFERENT, EXIT_OK
from jup2kub.proof import verify


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    common.notebook_options(parser)
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write certificate.json and certificate.html there"
    )
    where.options(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    wanted = common.settings(options, common.one_set(options, "verify"))
    if options.report:
        try:
            options.report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise common.unwritable(options.report, error) from error
    where.check_local(options)
    common.say_of_parameters(wanted, [wanted.parameters])
    with Progress() as progress:
        progress.know(read_notebook(wanted))
        if options.on == "kubernetes":
            with onkube.runner(options) as run:
                certificate = verify(wanted, progress, run)
        else:
            certificate = verify(wanted, progress)
    document = certificate.to_json()
    if options.report:
        common.save(options.report / "certificate.json", json.dumps(document, indent=1, ensure_ascii=False))
        common.save(options.report / "certificate.html", certify.html(certificate))
    if options.json:
        common.result(json.dumps(document, ensure_ascii=False))
    else:
        describe(certificate)
    return EXIT_OK if certificate.equal else EXIT_DIFFERENT


def describe(certificate: certify.Certificate) -> None:
    """Print the verdict, and every difference."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in certificate.counts.items() if n)
    common.result(f"{'equal' if certificate.equal else 'DIFFERENT'}: {counts}")
    for cell in certificate.cells:
        for one in cell.comparisons:
            if one.verdict == "different":
                common.result(f"  cell {cell.index}: {one.kind} {one.name} differs {one.note}")
    for one in certificate.files:
        if one.verdict == "different":
            common.result(f"  file {one.name} differs")
