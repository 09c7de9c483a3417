"""`jup2kub`: verbs, common options, and the one boundary where errors become words and exit codes."""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from jup2kub import __version__
from jup2kub.cli import ahead, streams
from jup2kub.cli.entry import Beginning
from jup2kub.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, Jup2KubError, UsageError
from jup2kub.kit.canon import nearest

VERBS = {
    "run": "run a notebook and write the executed one",
    "plan": "show what would run where, and why",
    "capture": "run a notebook once under observation, and say what each cell used",
    "lock": "say what exactly runs a notebook, with hashes, and keep the wheels",
    "doctor": "check this machine; or what has changed in the world since a notebook was locked",
    "build": "make container images of a notebook, without a daemon",
    "verify": "prove that the planned run gives the notebook's answer",
    "status": "show a run in the store",
    "runs": "list the runs in the store",
    "collect": "follow a run on a cluster, and bring its result back",
    "logs": "show a run's story, and what its pods have printed",
    "cancel": "cancel a run, so that nothing of it can still be committed",
    "resume": "start a run on a cluster again that has ended early",
    "delete": "remove a run from its cluster",
    "render": "write a run's Kubernetes objects into a folder",
    "export": "write the plan for another workflow system: Argo, Kubeflow Pipelines, Pegasus",
    "service": "show a service's address in a cluster, and what it answers",
    "clean": "remove what is no longer needed from the store and the cache of layers",
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises instead of exiting, and takes no abbreviations: scripts must not depend on them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)
        self.options_of: argparse.ArgumentParser = self
        """Where the options are declared that the user may have meant."""

    def error(self, message: str) -> NoReturn:
        """Report wrong usage with the nearest right word, if there is one."""
        wrong = re.search(r"(?:unrecognized arguments: |invalid choice: ')([^\s']+)", message)
        choices = re.search(r"\(choose from (.*)\)", message)
        known = re.findall(r"[\w-]+", choices[1] if choices else self.options_of.format_help())
        near = nearest(wrong[1].partition("=")[0], known) if wrong else None
        also = f"did you mean `{near}`? " if near else ""
        raise UsageError("J2K200", message, f"{also}`{self.options_of.prog} --help` tells more")


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
            if verb:
                top.options_of = sub
            sub.set_defaults(act=module.act)
    return top


def end_as_interrupted() -> None:
    """Let a request to end, or a terminal that goes away, be the same as Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Do at once what Ctrl-C does: a signal that is only raised again may wait as long as the event loop does."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)


def stopped(alone: bool) -> int:
    """Say that the run was interrupted; return the exit code. `alone`: this process ends here, whoever interrupts again."""
    if alone:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    streams.say("interrupted; `jup2kub run` again continues where it stopped")
    return EXIT_INTERRUPTED


def main(argv: Sequence[str] | None = None, *, beginning: Beginning | None = None) -> int:
    """Run the command line; return the exit code. `beginning`: of the process that ends with this; None = it lives on."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = next((w for w in words if w in VERBS), "")
    debug = "--debug" in words
    alone = beginning is not None
    started = beginning.kernel if beginning is not None else None
    try:
        if beginning is not None:
            beginning.hand_over()
        end_as_interrupted()
        streams.mend()
        if verb == "run" and started is None:
            started = ahead.begin(words)
        chosen = parser(verb).parse_args(words, argparse.Namespace(ahead=started))
        return int(chosen.act(chosen))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        return stopped(alone)
    except streams.NobodyReads:
        return 0
    except Jup2KubError as error:
        if debug:
            traceback.print_exc()
        streams.say(f"error: {error.code} {error.message}")
        if error.hint:
            streams.say(f"hint: {error.hint}")
        return error.exit_code
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # wrapped by whatever was just being made
            return stopped(alone)
        if debug:
            traceback.print_exc()
        streams.say(f"error: J2K900 {type(error).__name__}: {error}")
        streams.say("hint: this is a fault of jup2kub; `--debug` shows where. Please report it.")
        return EXIT_INTERNAL
    finally:
        if started is not None:
            started.abandon()
