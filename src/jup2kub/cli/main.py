"""`jup2kub`: verbs, common options, and the one boundary where errors become words and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from jup2kub import __version__
from jup2kub.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, Jup2KubError

VERBS = {
    "run": "run a notebook and write the executed one",
    "plan": "show what would run where, and why",
    "verify": "prove that the planned run gives the notebook's answer",
    "status": "show a run in the store",
    "runs": "list the runs in the store",
    "cancel": "cancel a run, so that nothing of it can still be committed",
    "clean": "remove what is no longer needed from the store",
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises instead of exiting."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Report wrong usage as an error with a way out."""
        raise SystemExit(_wrong(f"{message}", f"see `{self.prog} --help`"))


def _wrong(message: str, hint: str) -> int:
    print(f"error: J2K200 {message}\nhint: {hint}", file=sys.stderr)
    return EXIT_USAGE


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the module of `verb` is imported (None: all of them)."""
    top = Parser(
        prog="jup2kub",
        description="Runs an unchanged Jupyter notebook in parallel, survives crashes, and gives back the same "
        "notebook, executed.",
    )
    top.add_argument("--version", action="version", version=f"jup2kub {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True, parser_class=Parser)
    for name, text in VERBS.items():
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--debug", action="store_true", help="show the traceback of an error of this program"
        )
        if verb in (None, name):
            module = importlib.import_module(f"jup2kub.cli.{name}")
            module.options(sub)
            sub.set_defaults(act=module.act)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = next((w for w in words if w in VERBS), "")
    debug = "--debug" in words
    try:
        chosen = parser(verb).parse_args(words)
        return int(chosen.act(chosen))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        print("interrupted; `jup2kub run` again continues where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Jup2KubError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error.code} {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"error: J2K900 {type(error).__name__}: {error}", file=sys.stderr)
        print("hint: this is a fault of jup2kub; `--debug` shows where. Please report it.", file=sys.stderr)
        return EXIT_INTERNAL


if __name__ == "__main__":
    raise SystemExit(main())
