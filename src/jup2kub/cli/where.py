"""`--on` and what belongs to it: options only, for what a cluster needs takes long to load."""

from __future__ import annotations

import argparse

from jup2kub.errors import UsageError

ONLY_THERE = [
    "image",
    "registry",
    "pull_registry",
    "storage",
    "parallelism",
    "service_account",
    "pull_secret",
    "cpu",
    "memory",
    "max_memory",
    "python",
    "keep",
    "queue",
    "context",
    "namespace",
]


def place_options(parser: argparse.ArgumentParser) -> None:
    """Add `--context` and `--namespace`."""
    parser.add_argument("--context", default="", help="the kubeconfig's context (default: its current one)")
    parser.add_argument("-n", "--namespace", default="", help="the namespace (default: the context's)")


def options(parser: argparse.ArgumentParser) -> None:
    """Add `--on` and what belongs to it."""
    parser.add_argument(
        "--on", choices=("local", "kubernetes"), default="local", help="where the cells run (default: local)"
    )
    place_options(parser)
    wish_options(parser)


def wish_options(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of the cluster."""
    parser.add_argument("--image", default="", metavar="REF", help="image with the notebook's packages")
    parser.add_argument(
        "--registry",
        default="",
        metavar="HOST/NAME",
        help="without --image: where the notebook's own image is pushed",
    )
    parser.add_argument(
        "--pull-registry",
        default="",
        metavar="HOST/NAME",
        help="how nodes name that registry (default: as --registry)",
    )
    parser.add_argument(
        "--storage",
        default="",
        metavar="WHERE",
        help="where results are kept: claim:NAME, class:NAME, local:/path@node, s3://…, …",
    )
    parser.add_argument("--parallelism", type=int, default=0, metavar="N", help="pods at once (default: 4)")
    parser.add_argument(
        "--service-account",
        default="",
        metavar="NAME",
        help="one that may make Jobs (default: the run makes its own)",
    )
    parser.add_argument(
        "--pull-secret",
        action="append",
        default=[],
        metavar="NAME",
        help="for the image's registry (may be repeated)",
    )
    parser.add_argument(
        "--cpu", type=float, default=0.0, metavar="CORES", help="cores that a pod asks for (default: 0.5)"
    )
    parser.add_argument("--memory", default="", metavar="SIZE", help="memory of a pod (default: 2Gi)")
    parser.add_argument(
        "--max-memory",
        default="",
        metavar="SIZE",
        help="most that a pod is given, also after a cell ran out of memory (default: what the cluster allows)",
    )
    parser.add_argument(
        "--python", default="", metavar="NAME", help="the image's interpreter (default: python3)"
    )
    parser.add_argument("--queue", default="", metavar="NAME", help="Kueue's LocalQueue for the pods")
    parser.add_argument(
        "--keep", action="store_true", help="leave the run's server in the cluster when it is done"
    )


def check_local(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing without `--on kubernetes`. Raises UsageError."""
    given = [name for name in ONLY_THERE if getattr(options, name)]
    if options.on == "local" and given:
        word = "--" + given[0].replace("_", "-")
        raise UsageError(
            "J2K200", f"{word} means nothing here", f"add `--on kubernetes`, or leave {word} out"
        )
