"""`jup2kub service`: the address of a service in a cluster, and what it answers."""

from __future__ import annotations

import argparse
import json

from jup2kub.cli import common, streams
from jup2kub.cluster.deployer import connect
from jup2kub.cluster.services import Unanswered, communicate_with_service, get_cluster_ip
from jup2kub.errors import EXIT_ENVIRONMENT, EXIT_OK


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("name", metavar="NAME", help="a service")
    parser.add_argument("--context", default="", help="the kubeconfig's context (default: its current one)")
    parser.add_argument("-n", "--namespace", default="", help="the namespace (default: the context's)")
    parser.add_argument(
        "--path", default="", metavar="/x", help="ask the service for this path, and print the answer"
    )
    parser.add_argument("--port", default="", help="name or number of its port (default: the first)")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="default: 10")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    cluster = connect(options.context, options.namespace)
    try:
        address = get_cluster_ip(options.name, cluster=cluster)
        answer = None
        if options.path and isinstance(address, str):
            answer = communicate_with_service(
                options.name, path=options.path, port=options.port, timeout=options.timeout, cluster=cluster
            )
    finally:
        cluster.close()
    wrong = next((one for one in (address, answer) if isinstance(one, Unanswered)), None)
    if options.json:
        told = {"service": options.name, "cluster_ip": address if isinstance(address, str) else None}
        if answer is not None and not isinstance(answer, Unanswered):
            told |= {"status": answer.status, "body": answer.body.decode(errors="replace")}
        if wrong is not None:
            told |= {"problem": wrong.reason, "hint": wrong.hint}
        common.result(json.dumps(told))
    elif wrong is None and answer is not None and not isinstance(answer, Unanswered):
        streams.give(answer.body)
        common.say(f"status {answer.status}")
    elif wrong is None:
        common.result(str(address))
    if wrong is not None and not options.json:
        common.say(f"error: {wrong.code} {wrong.reason}")
        common.say(f"hint: {wrong.hint}")
    return EXIT_OK if wrong is None else EXIT_ENVIRONMENT
