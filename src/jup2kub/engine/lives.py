"""The lives of a main line: one kernel after the other, until the notebook is done or a cell ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jup2kub.agent.hands import Hands
from jup2kub.agent.kernel import Kernel, KernelDied
from jup2kub.agent.launch import Launch
from jup2kub.agent.mainline import MainLine, StartAgain, Stop
from jup2kub.agent.session import Session, Told
from jup2kub.agent.steps import ReplayFailed, Unloadable
from jup2kub.engine.local import LocalHands
from jup2kub.errors import EnvironmentProblem, Jup2KubError
from jup2kub.model.run import CellError, CellOutcome

LIVES = 5
"""Times the main kernel may be lost before the run gives up."""


def poisoned(session: Session, death: KernelDied, deaths: Counter[int | None]) -> bool:
    """Count a death of the main kernel; return whether its cell has killed it twice, and so ends the notebook."""
    cell = death.death.cell
    deaths[cell] += 1
    if cell is None or deaths[cell] < 2:
        return False
    error = CellError("DeadKernelError", death.message, (death.message,))
    session.outcomes[cell] = CellOutcome(
        index=cell,
        status="aborted",
        outputs=tuple(death.outputs),
        count=session.counts[cell],
        attempt=deaths[cell],
        error=error,
    )
    return True


async def live(line: MainLine) -> None:
    """Drive the line. Copies of its kernel outlive it: what they are saving is finished, unless the user stops the run.

    Of a kernel that has run the whole notebook nothing more is wanted: it ends while they are saving.
    """
    try:
        await line.drive()
        ending = asyncio.ensure_future(line.kernel.close())
    except asyncio.CancelledError:
        await line.keeper.stop()
        raise
    finally:
        await line.keeper.finish()
    await ending


class Hired(Hands, Protocol):
    """Hands for one life of a main line."""

    async def stop(self, handed_on: bool = False) -> None:
        """Abandon every step that has not ended, unless another main line, elsewhere, goes on with what is out."""


@dataclass(frozen=True)
class Surroundings:
    """Who works for a main line, and where its kernels come from."""

    hire: Callable[[Session, Launch, int], Hired] = LocalHands
    """Given the pid of the first kernel, after which files of cells are named."""
    kernel: Callable[[Launch, int], Coroutine[Any, Any, Kernel]] = lambda launch, first: Kernel.start(
        launch, names_of=first
    )
    heed: Callable[[KernelDied], None] = lambda death: None
    """Told of each death of the main kernel; what it raises ends the run here."""
    deaths: Mapping[int, int] = field(default_factory=dict)
    """How often the main kernel has died under a cell, elsewhere and before."""


def earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two cells; None = there is none."""
    return min((cell for cell in (one, other) if cell is not None), default=None)


async def leave(line: MainLine, hands: Hired, *, over: bool, handed_on: bool) -> None:
    """End one life. `over`: the kernel may say its last words; `handed_on`: another main line takes the steps over."""
    line.land_all()
    await hands.stop(handed_on)
    if line.kernel.running is not None:
        line.kernel.kill()
    await line.kernel.close(over=over)


async def run(
    session: Session,
    launch: Launch,
    kernel: Kernel,
    replan: Callable[[], None],
    around: Surroundings = Surroundings(),
) -> int | None:
    """Run the session's plan to its end; return the cell that ended it early, or None.

    `kernel`: the first main kernel. `replan` is called after a misprediction was learned.
    Raises KernelDied when the main kernel cannot be kept alive.
    """
    in_order: int | None = None
    deaths: Counter[int | None] = Counter(around.deaths)
    first = kernel.pid
    for life in range(LIVES):
        hands = around.hire(session, launch, first)
        line = MainLine(session, hands, kernel, in_order)
        ended: int | None = None
        over, handed_on = False, False
        try:
            await live(line)
            over = True
            return None
        except Stop as stop:
            ended, over = stop.cell, True
        except StartAgain as again:
            session.tell(Told("note", text=str(again)))
            in_order = earlier(in_order, again.in_order)
            if again.wrong is not None:
                session.forget(again.wrong, in_order)
                replan()
        except (Unloadable, ReplayFailed) as failure:
            session.tell(Told("note", text=str(failure)))
            if isinstance(failure, ReplayFailed):
                in_order = earlier(in_order, failure.cell)
        except KernelDied as death:
            handed_on = True  # if the run ends here, then for this process alone
            around.heed(death)
            if poisoned(session, death, deaths):
                ended = None if session.terms.keep_going else death.death.cell
            elif life == LIVES - 1:
                raise
            else:
                session.tell(Told("retry", text=f"{death.message}; the main line comes back by replay"))
            handed_on = False
        except BaseException as problem:
            handed_on = not isinstance(problem, Jup2KubError) or problem.code == "J2K603"
            raise
        finally:
            await leave(line, hands, over=over, handed_on=handed_on)
        if ended is not None:
            session.undo.take_back(i for i in session.cells if i > ended)
            return ended
        session.undo.take_back()
        kernel = await around.kernel(launch, first)
    raise EnvironmentProblem(
        "J2K405", "the main kernel was lost too often", "see the last cell that was running, and its memory"
    )
