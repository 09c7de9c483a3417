"""The errors users meet: each has a stable code, a reason, and a way out.

Only the command line prints them and turns them into exit codes; everything else raises.
"""

from __future__ import annotations

from typing import Optional

EXIT_OK = 0
EXIT_CELL_RAISED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_DIFFERENT = 4
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class Jup2KubError(Exception):
    """Base of every error that a user may see.

    `code` is stable (``J2K…``), `hint` names the next action, `exit_code` is what the command returns,
    `__cause__` keeps the origin.
    """

    exit_code = EXIT_INTERNAL

    def __init__(self, code: str, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class UsageError(Jup2KubError):
    """Wrong options, a file that is not a notebook, an unknown cell option."""

    exit_code = EXIT_USAGE


class EnvironmentProblem(Jup2KubError):
    """The machine lacks something: a kernel, a package, disk space, a right to write."""

    exit_code = EXIT_ENVIRONMENT


class CellFailed(Jup2KubError):
    """A cell of the notebook raised; the executed notebook holds its traceback."""

    exit_code = EXIT_CELL_RAISED


class Interrupted(Jup2KubError):
    """The user stopped the run; `run` again continues it."""

    exit_code = EXIT_INTERRUPTED


class Different(Jup2KubError):
    """`verify` found a cell that does not give the same answer."""

    exit_code = EXIT_DIFFERENT


class StoreProblem(EnvironmentProblem):
    """The store cannot be read or written, or what it holds is not trusted."""
