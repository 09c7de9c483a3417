"""What happens to a run (events) and what must be done about it (commands): the language of the state machine.

Python >= 3.9 and the standard library only. Times are seconds of any one clock; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


class Event:
    """Something that happened. Events may come twice, late or never."""


class Command:
    """Something the engine must do. A command may be carried out twice without harm."""


@dataclass(frozen=True)
class WorkerJoined(Event):
    """A worker offers its capacity. A worker that left never comes back under the same name."""

    worker: str
    image: str = ""
    cpu: float = 1.0
    memory: int = 0
    """Bytes; 0 = not known, never a limit."""
    gpu: int = 0
    running: tuple[tuple[str, int], ...] = ()
    """Attempts (task, number) that it has under way, for whoever has forgotten them."""


@dataclass(frozen=True)
class WorkerLeft(Event):
    """A worker is gone for good: its attempts are lost."""

    worker: str
    reason: str = ""
    jitter: float = 0.0
    kind: str = "infrastructure"
    """Budget that its attempts are paid from: `memory` or `storage` where the system says that this ended it."""


@dataclass(frozen=True)
class Resumed(Event):
    """A worker says that it has this attempt under way; whoever gave it out has forgotten."""

    worker: str
    task: str
    attempt: int
    state: str = "RUNNING"


@dataclass(frozen=True)
class Sent(Event):
    """The main line has sent a task away. A task that had ended without it is offered once more."""

    task: str
    needs: tuple[str, ...]
    """Steps that must have ended before; one that did not commit is for the attempt to find out."""
    turn: int
    """Grows with every sending of the run: what comes twice, or late, is told by it."""
    cpu: float = 1.0
    wait: float = 0.0
    """Seconds before it is offered, if nobody has it under way: who has may not have said so yet."""
    record: str = ""
    """Name of the record that is there already, where it goes; empty = none."""


@dataclass(frozen=True)
class Withdrawn(Event):
    """The main line wants the task no more; a commit of it stays."""

    task: str
    turn: int


@dataclass(frozen=True)
class Spread(Event):
    """A task has sent chunks of a loop away: tasks that come into being by it. Chunks that are under way go on."""

    owner: str
    """The task that runs the loop."""
    cell: int
    tasks: tuple[str, ...]
    turn: int
    """As in `Sent`."""
    cpu: float = 1.0
    wait: float = 0.0
    """As in `Sent`."""


@dataclass(frozen=True)
class Gathered(Event):
    """A loop is done, or goes on where it began: its chunks are wanted no more."""

    tasks: tuple[str, ...]
    turn: int


@dataclass(frozen=True)
class Heartbeat(Event):
    """A worker is alive, and with it all its attempts; with `task`, only that attempt speaks."""

    worker: str
    task: str = ""
    attempt: int = 0


@dataclass(frozen=True)
class Started(Event):
    """An attempt runs the user's code."""

    task: str
    attempt: int


@dataclass(frozen=True)
class Persisting(Event):
    """An attempt has run all its cells and writes its values."""

    task: str
    attempt: int


@dataclass(frozen=True)
class Committed(Event):
    """A commit record of the task was seen in the store, whoever wrote it: it beats every other event."""

    task: str
    record: str = ""
    """Name of the record."""
    ok: bool = True
    """False: the record holds the exception that ended the task."""


@dataclass(frozen=True)
class Failed(Event):
    """An attempt ended without a commit."""

    task: str
    attempt: int
    kind: str
    """`user`, `infrastructure`, `memory`, `hang` or `storage`."""
    reason: str = ""
    early: bool = False
    """The user's code raised while earlier cells were unfinished: it must run once more, in order."""
    peak: int = 0
    """Most memory seen, bytes; 0 = not known."""
    jitter: float = 0.0
    """Chance as data, 0…1: spreads retries."""


@dataclass(frozen=True)
class Mispredicted(Event):
    """An attempt found an assumption of the plan broken by `cell`: from there on the run goes in notebook order."""

    task: str
    attempt: int
    cell: int
    reason: str = ""


@dataclass(frozen=True)
class Unshippable(Event):
    """An attempt made a value that cannot leave its kernel: the work moves to main."""

    task: str
    attempt: int
    name: str
    reason: str = ""


@dataclass(frozen=True)
class MainPassed(Event):
    """The main line has finished a cell, and what steps need of it can be had."""

    cell: int


@dataclass(frozen=True)
class MainWaits(Event):
    """The main line, or a task whose loop is away, begins or stops to wait for others: so long it takes no processor."""

    attempt: int
    waiting: bool = True
    task: str = "main"


@dataclass(frozen=True)
class CoresTaken(Event):
    """An attempt uses this many processors from now on, for the iterations of a loop; 0 = as many as its task."""

    task: str
    attempt: int
    cores: float


@dataclass(frozen=True)
class Cancel(Event):
    """The user stops the run."""

    reason: str = "cancelled"


@dataclass(frozen=True)
class Tick(Event):
    """Time has passed."""

    jitter: float = 0.0


@dataclass(frozen=True)
class Dispatch(Command):
    """Start this attempt on this worker."""

    task: str
    attempt: int
    worker: str
    memory: int = 0
    """Bytes it may use; 0 = no limit known."""
    storage: int = 1
    """Factor on the ephemeral storage that the task asked for."""


@dataclass(frozen=True)
class Abandon(Command):
    """Stop this attempt if it still lives, and put back the files it changed."""

    task: str
    attempt: int
    worker: str
    reason: str


@dataclass(frozen=True)
class Settled(Command):
    """A task has reached its last state: tell whoever waits for it."""

    task: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class MoveToMain(Command):
    """The main line runs these cells itself, in order."""

    task: str
    cells: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class RestartMain(Command):
    """The main line starts again and runs everything from `cell` on in notebook order."""

    cell: int
    dropped: tuple[str, ...]
    """Steps whose results, committed or not, must not be used."""
    reason: str


@dataclass(frozen=True)
class Wake(Command):
    """Send a Tick at this time; a later Wake replaces an earlier one."""

    at: float


@dataclass(frozen=True)
class RunEnded(Command):
    """Every task has reached its last state."""

    ok: bool
