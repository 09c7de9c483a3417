"""What the main line may expect of hands, whoever they are: the local engine's, over processes, and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from agentfakes import Book, FakeHands, Run

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.launch import find
from jup2kub.agent.mainline import Hands, MainLine, StartAgain, Stop
from jup2kub.engine.local import LocalHands
from jup2kub.store.memory import MemoryStore

Lab = Callable[..., Any]


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    opened.close()


@pytest.fixture(
    params=[
        "fake",
        pytest.param("forks", marks=pytest.mark.kernel),
        pytest.param("fresh kernels", marks=pytest.mark.kernel),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_hands(
    book: Book,
    kind: str,
    store: MemoryStore,
    folder: Path,
    body: Callable[[Run], Awaitable[None]],
    **terms: Any,
) -> None:
    """Run `body` with a main line whose hands are of this kind; every step may end when it likes."""

    async def main() -> None:
        async with hands(book, kind, store, folder, **terms) as run:
            await asyncio.wait_for(body(run), 100)

    asyncio.run(main())


@asynccontextmanager
async def hands(book: Book, kind: str, store: MemoryStore, folder: Path, **terms: Any) -> AsyncIterator[Run]:
    (folder / "project").mkdir(exist_ok=True)
    run = Run(book, store, folder / "project", free=range(9), fork=kind != "fresh kernels", **terms)
    if kind == "fake":
        try:
            yield run
        finally:
            await run.hands.stop()
            await run.line.keeper.stop()
        return
    launch = find("python3", cwd=str(folder / "project"))
    kernel = await Kernel.start(launch)
    local = LocalHands(run.session, launch, kernel.pid)
    run.hands = cast(FakeHands, local)
    run.line = MainLine(run.session, local, kernel)
    try:
        yield run
    finally:
        await run.line.keeper.stop()
        await local.stop()
        await kernel.close()


def text(run: Run, cell: int) -> str:
    return "".join(str(o.get("text", o.get("ename"))) for o in run.session.outcomes[cell].outputs).strip()


BRANCHES = (
    Book()
    .add("a = [1]", defines="a")
    .add("b = a + [2]", "a", "b", off=True)
    .add("c = a + [3]", "a", "c", off=True)
    .add("print(b + c)", "b c")
)
BOOKS = {
    "branches": (BRANCHES, 3, "[1, 2, 1, 3]"),
    "a chain of steps": (
        Book()
        .add("x = [1]", defines="x", off=True)
        .add("y = x + [2]", "x", "y", off=True)
        .add("z = x + y", "x y", "z", off=True)
        .add("print(z)", "z"),
        3,
        "[1, 1, 2]",
    ),
    "a change in place": (
        Book()
        .add("a = [1]\nb = a", defines="a b", groups=(frozenset("ab"),))
        .add("a.append(2)", mutates="a b", off=True, groups=(frozenset("ab"),))
        .add("b.append(3)", mutates="a b", groups=(frozenset("ab"),))
        .add("print(a)", "a b"),
        3,
        "[1, 2, 3]",
    ),
    "a name that is bound twice": (
        Book()
        .add("x = 1", defines="x", off=True)
        .add("y = x", "x", "y", off=True)
        .add("x = 2", defines="x", off=True)
        .add("print([x, y])", "x y"),
        3,
        "[2, 1]",
    ),
    "a name that a step deletes": (
        Book()
        .add("x = 1", defines="x")
        .add("y = x\ndel x", "x", "y", deletes="x", off=True)
        .add("print(['x' in globals(), y])", "x y"),
        2,
        "[False, 1]",
    ),
}


@pytest.mark.parametrize("name", BOOKS)
def test_the_answer_is_that_of_one_kernel(name: str, kind: str, store: MemoryStore, tmp_path: Path) -> None:
    book, cell, answer = BOOKS[name]

    async def body(run: Run) -> None:
        await run.line.drive()
        assert text(run, cell) == answer
        where = {i: o.where for i, o in run.session.outcomes.items()}
        assert [i for i, w in where.items() if w == "step"] or kind == "fresh kernels"
        assert run.statuses == dict.fromkeys(range(len(book.cells)), "ok")

    with_hands(book, kind, store, tmp_path, body)


@pytest.mark.kernel
@pytest.mark.parametrize("way", ["forks", "fresh kernels"])
def test_a_function_uses_what_its_globals_are_where_it_is_called(
    way: str, store: MemoryStore, tmp_path: Path
) -> None:
    book = (
        Book()
        .add("def f(n):\n    return n + k", defines="f", definitions=frozenset("f"))
        .add("k = 1", defines="k")
        .add("x = f(1)", "f k", "x", off=True)
        .add("k = 10", defines="k")
        .add("y = f(1)", "f k", "y", off=True)
        .add("print([x, y])", "x y")
    )

    async def body(run: Run) -> None:
        await run.line.drive()
        assert text(run, 5) == "[2, 11]"

    with_hands(book, way, store, tmp_path, body)


def test_an_exception_of_a_step_is_its_own(kind: str, store: MemoryStore, tmp_path: Path) -> None:
    book = Book().add("x = 1", defines="x").add("x / 0", "x", off=True).add("print(x)", "x", waits_all="w")

    async def body(run: Run) -> None:
        with pytest.raises(Stop) as stop:
            await run.line.drive()
        assert stop.value.cell == 1
        assert text(run, 1).endswith("ZeroDivisionError") or run.session.outcomes[1].error is not None
        assert 2 not in run.session.outcomes

    with_hands(book, kind, store, tmp_path, body)


def test_what_a_step_did_beyond_its_plan_is_found(kind: str, store: MemoryStore, tmp_path: Path) -> None:
    book = (
        Book()
        .add("a = [1]", defines="a")
        .add("a.append(2)", "a", off=True, seconds=5.0)
        .add("n = len(a)", "a", "n")
        .add("print(n)", "n")
    )

    async def body(run: Run) -> None:
        with pytest.raises(StartAgain) as again:
            await run.line.drive()
        assert again.value.wrong is not None
        assert again.value.wrong.cell == 1
        assert again.value.in_order == 2

    with_hands(book, kind, store, tmp_path, body)


def test_stopped_hands_leave_nothing_running_and_no_file(
    kind: str, store: MemoryStore, tmp_path: Path
) -> None:
    """The step waits for a file that never comes; the notebook ends before."""
    endless = "open('half', 'w').close()\nimport time\nwhile True: time.sleep(0.01)"
    if kind == "fake":
        endless = "x = 1"
    book = Book().add(endless, defines="time x", off=True, file_writes=("half",)).add("1 / 0")

    async def body(run: Run) -> None:
        if kind == "fake":
            run.hands.free.clear()
        driving = run.running = asyncio.ensure_future(run.line.drive())
        if kind == "fake":
            await run.held()
        else:
            half = tmp_path / "project" / "half"
            while not half.exists():
                await asyncio.sleep(0.01)
        driving.cancel()
        with pytest.raises((asyncio.CancelledError, Stop)):
            await driving
        stop = cast(Any, run.hands).stop
        await asyncio.wait_for(stop(), 60)
        assert not (tmp_path / "project" / "half").exists(), "what it wrote is put back"
        assert 0 not in run.session.outcomes

    with_hands(book, kind, store, tmp_path, body)


@pytest.mark.kernel
@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_that_waits_for_another_one_keeps_no_core_from_it(
    workers: int, store: MemoryStore, tmp_path: Path
) -> None:
    """The first dies once; when it is tried again the second, which reads its value, must not be in its way."""
    die = "import os\nif not os.path.exists('{0}'):\n    os.mkdir('{0}')\n    os.kill(os.getpid(), 9)\nx = 1"
    book = (
        Book()
        .add(die.format(tmp_path / "died"), defines="os x", off=True, file_writes=("*",))
        .add("y = x + 1", "x", "y", off=True)
        .add("print(y)", "y")
    )

    async def body(run: Run) -> None:
        await run.line.drive()
        assert text(run, 2) == "2"
        assert run.session.outcomes[0].attempt > 1
        assert [t.cell for t in run.told if t.kind == "retry"] == [0]

    with_hands(book, "forks", store, tmp_path, body)


@pytest.mark.kernel
def test_cores_that_nobody_uses_are_told(store: MemoryStore, tmp_path: Path) -> None:
    async def body(run: Run) -> None:
        local: Hands = run.hands
        assert local.may_send(run.session.cells[1])
        await run.line.drive()
        assert local.cores(8) == 2
        assert local.cores(1) == 1
        assert local.cores(0) == 0
        assert local.cores(2) == 2

    with_hands(BRANCHES, "forks", store, tmp_path, body)
