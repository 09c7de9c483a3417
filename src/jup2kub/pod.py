"""The program of a pod: `server` or `agent`, by its first argument. All that it needs travels in one file."""

from __future__ import annotations

import sys

from jup2kub.engine.pod import __main__ as agent
from jup2kub.engine.server import __main__ as server
from jup2kub.errors import EXIT_USAGE

PROGRAMS = {"server": server.main, "agent": agent.main}


def main(arguments: list[str]) -> int:
    """Run one of the programs; returns its exit code."""
    if not arguments or arguments[0] not in PROGRAMS:
        sys.stderr.write(f"usage: {{{','.join(PROGRAMS)}}} …\n")
        return EXIT_USAGE
    return PROGRAMS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
