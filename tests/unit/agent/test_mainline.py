"""The main line over fakes: what runs where, what waits for what, and what a failure does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agentfakes import Book, Run

from jup2kub.agent.kernel import KernelDied
from jup2kub.agent.mainline import StartAgain, Stop
from jup2kub.errors import Interrupted
from jup2kub.store.memory import MemoryStore

Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    project = tmp_path / "project"
    project.mkdir()
    store = MemoryStore()

    def made(book: Book, **more: Any) -> Run:
        return Run(book, store, project, **more)

    yield made
    store.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def two_branches() -> Book:
    return (
        Book()
        .add("a = [1]", defines="a")
        .add("b = a + [2]", "a", "b", off=True)
        .add("c = a + [3]", "a", "c")
        .add("out(b + c)", "b c")
    )


def test_a_step_leaves_and_main_goes_on_until_it_reads_its_value(make: Make) -> None:
    async def body() -> None:
        it = make(two_branches())
        running = it.started()
        await it.held()
        assert it.done == [0, 2], "cell 2 did not wait for the step"
        assert "b" not in it.kernel.space, "the pending name is absent"
        assert it.line.pending == {"b": 1}
        it.hands.let(1)
        await running
        assert it.done == [0, 2, 1, 3]
        assert it.session.outcomes[3].outputs[0]["text"] == "[1, 2, 1, 3]"
        assert [it.session.outcomes[i].where for i in range(4)] == ["main", "step", "main", "main"]
        assert [it.session.outcomes[i].count for i in range(4)] == [1, 2, 3, 4]
        assert it.line.pending == {}

    run(body)


def test_a_step_nobody_reads_is_awaited_at_the_end(make: Make) -> None:
    async def body() -> None:
        it = make(Book().add("x = 1", defines="x", off=True).add("y = 2", defines="y"))
        running = it.started()
        await it.held()
        assert it.done == [1]
        it.hands.let(0)
        await running
        assert it.statuses == {0: "ok", 1: "ok"}
        assert "x" not in it.kernel.space, "nobody asked for it"

    run(body)


def test_values_come_by_whole_files_and_only_those_that_are_read(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = [1]\ny = x\nz = 5", defines="x y z", off=True, groups=(frozenset("xy"),))
        it = make(book.add("x.append(2)", mutates="x").add("out(y)", "y"), free=[0])
        await it.drive()
        assert it.session.outcomes[2].outputs[0]["text"] == "[1, 2]", "x and y are one object"

    run(body)


@pytest.mark.parametrize("why", [{"waits_all": "effects"}, {"barrier": "exec"}])
def test_a_cell_that_waits_for_all_runs_after_every_step_and_sees_everything(
    why: dict[str, str], make: Make
) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("y = 2", defines="y", off=True)
        it = make(book.add("out(sorted(n for n in globals() if len(n) == 1))", **why))
        running = it.started()
        await it.held()
        assert it.done == []
        it.hands.let(1)
        it.hands.let(0)
        await running
        assert it.done[-1] == 2
        assert it.session.outcomes[2].outputs[0]["text"] == "['x', 'y']"

    run(body)


def test_a_name_that_main_binds_anew_is_not_pending_any_more(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("x = 2", defines="x").add("out(x)", "x")
        it = make(book)
        running = it.started()
        await it.held()
        assert it.done == [1, 2], "a write after a write orders nothing"
        it.hands.let(0)
        await running
        assert it.session.outcomes[2].outputs[0]["text"] == "2"
        assert it.kernel.space["x"] == 2, "the step that ended later does not win"

    run(body)


def test_two_steps_may_bind_the_same_name_and_the_later_cell_counts(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("x = 2", defines="x", off=True)
        it = make(book.add("out(x)", "x"))
        it.hands.let(1)
        running = it.started()
        await it.held()
        it.hands.let(0)
        await running
        assert it.session.outcomes[2].outputs[0]["text"] == "2"

    run(body)


def test_a_pending_name_is_fetched_before_it_is_deleted(make: Make) -> None:
    async def body() -> None:
        book = (
            Book().add("x = 1\nk = 2", defines="x k", off=True).add("del x", deletes="x").add("out(k)", "k")
        )
        it = make(book)
        running = it.started()
        await it.held()
        it.hands.let(0)
        await running
        assert it.statuses == dict.fromkeys(range(3), "ok")
        assert "x" not in it.kernel.space

    run(body)


def test_a_step_that_deletes_leaves_the_name_absent(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x").add("y = x\ndel x", "x", "y", deletes="x", off=True)
        it = make(book.add("out('x' in globals() or y)", "x y"), free=[1])
        await it.drive()
        assert it.session.outcomes[2].outputs[0]["text"] == "1"

    run(body)


def test_a_step_may_read_what_another_step_makes(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("y = x + 1", "x", "y", off=True)
        it = make(book.add("out(y)", "y"))
        running = it.started()
        await it.held()
        assert it.hands.sent == [0, 1]
        it.hands.let(1)
        it.hands.let(0)
        await running
        assert it.session.outcomes[2].outputs[0]["text"] == "2"
        assert "x" not in it.kernel.space

    run(body)


def test_nothing_leaves_where_there_is_no_room(make: Make) -> None:
    async def body() -> None:
        it = make(two_branches())
        it.hands.full = True
        await it.drive()
        assert it.hands.sent == []
        assert it.done == [0, 1, 2, 3]

    run(body)


def test_from_a_cell_on_the_run_goes_in_order(make: Make) -> None:
    async def body() -> None:
        it = make(two_branches(), in_order=0)
        await it.drive()
        assert it.hands.sent == []
        assert it.session.outcomes[3].outputs[0]["text"] == "[1, 2, 1, 3]"

    run(body)


def test_an_exception_of_a_step_ends_the_notebook_where_it_stands(make: Make) -> None:
    async def body() -> None:
        book = Book().add("1 / 0", off=True).add("x = 1", defines="x")
        it = make(book.add("out(x)", "x", waits_all="effects").add("y = 1"), free=[0])
        with pytest.raises(Stop) as stop:
            await it.drive()
        assert stop.value.cell == 0
        assert it.session.outcomes[0].error is not None
        assert it.session.outcomes[0].error.ename == "ZeroDivisionError"
        assert 2 not in it.session.outcomes
        assert 3 not in it.session.outcomes

    run(body)


def test_an_exception_is_final_only_if_nothing_before_it_was_unfinished(make: Make) -> None:
    """It may come from what an earlier cell would have done: then it is tried again, in order."""

    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("1 / 0", off=True).add("out(x)", "x")
        it = make(book)
        running = it.started()
        await it.held()
        it.hands.let(1)
        await asyncio.sleep(0)
        it.hands.let(0)
        with pytest.raises(StartAgain) as again:
            await running
        assert again.value.in_order == 1
        assert again.value.wrong is None
        assert 1 not in it.session.outcomes, "nothing is published"

    run(body)


def test_a_cell_that_reads_a_pending_name_against_its_text_starts_again(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("out(x)")
        it = make(book)
        with pytest.raises(StartAgain) as again:
            await it.drive()
        assert again.value.in_order == 0
        assert again.value.wrong is not None
        assert again.value.wrong.cell == 1
        assert "x" in again.value.wrong.reason

    run(body)


def test_a_name_error_of_the_notebook_itself_is_its_own(make: Make) -> None:
    async def body() -> None:
        it = make(Book().add("x = 1", defines="x", off=True).add("out(nowhere)"), free=[0])
        with pytest.raises(Stop) as stop:
            await it.drive()
        assert stop.value.cell == 1
        assert it.statuses == {0: "ok", 1: "error"}, "what stands before it is published"

    run(body)


def test_a_version_beyond_the_plan_is_taken_if_nobody_has_used_the_name(make: Make) -> None:
    async def body() -> None:
        book = Book().add("a = [1]", defines="a").add("a.append(2)", "a", off=True)
        it = make(book.add("pass", waits_all="effects").add("out(a)", "a"), free=[1])
        await it.drive()
        assert it.session.outcomes[3].outputs[0]["text"] == "[1, 2]"

    run(body)


def test_a_version_beyond_the_plan_that_was_used_costs_a_restart(make: Make) -> None:
    async def body() -> None:
        book = Book().add("a = [1]", defines="a").add("a.append(2)", "a", off=True).add("out(a)", "a")
        it = make(book)
        running = it.started()
        await it.held()
        it.hands.let(1)
        with pytest.raises(StartAgain) as again:
            await running
        assert again.value.in_order == 2
        assert again.value.wrong is not None
        assert again.value.wrong.cell == 1
        assert again.value.wrong.facts.mispredicted

    run(body)


def test_keep_going_runs_what_does_not_depend_on_the_failure(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1 / 0", defines="x").add("y = x", "x", "y").add("z = y", "y", "z")
        it = make(book.add("out('free')").add("pass", barrier="exec"), keep_going=True)
        await it.drive()
        assert it.statuses == {0: "error", 1: "blocked", 2: "blocked", 3: "ok", 4: "blocked"}

    run(body)


def test_a_cell_that_may_raise_does_not_end_the_notebook(make: Make) -> None:
    async def body() -> None:
        it = make(Book().add("x = 1\n1 / 0", defines="x", may_raise=True).add("out(x)", "x"))
        await it.drive()
        assert it.statuses == {0: "error", 1: "ok"}

    run(body)


def test_cells_the_user_skips_are_left_out(make: Make) -> None:
    async def body() -> None:
        it = make(Book().add("1 / 0").add("out('on')"), skip=frozenset({0}))
        await it.drive()
        assert it.statuses == {0: "skipped", 1: "ok"}

    run(body)


def test_a_dead_main_kernel_is_told_and_nothing_of_the_cell_stays(make: Make) -> None:
    async def body() -> None:
        it = make(Book().add("x = 1", defines="x").add("raise SystemExit"))
        with pytest.raises(KernelDied):
            await it.drive()
        assert it.statuses == {0: "ok"}

    run(body)


def test_what_was_committed_is_adopted_by_the_next_run_and_loaded_when_it_is_read(make: Make) -> None:
    async def body() -> None:
        first = make(two_branches(), free=[1])
        await first.drive()
        first.end()
        second = make(two_branches(), free=[1])
        await second.drive()
        assert second.hands.sent == []
        assert second.session.outcomes[1].from_store
        assert second.session.outcomes[3].outputs[0]["text"] == "[1, 2, 1, 3]"
        assert ("load", ("b",)) in second.kernel.told
        second.end()
        fresh = make(two_branches(), free=[1], fresh=True)
        await fresh.drive()
        assert fresh.hands.sent == [1]

    run(body)


def test_an_edit_before_it_makes_a_committed_result_worthless(make: Make) -> None:
    async def body() -> None:
        first = make(two_branches(), free=[1])
        await first.drive()
        first.end()
        edited = (
            Book()
            .add("a = [7]", defines="a")
            .add("b = a + [2]", "a", "b", off=True)
            .add("c = a + [3]", "a", "c")
            .add("out(b + c)", "b c")
        )
        second = make(edited, free=[1])
        await second.drive()
        assert second.hands.sent == [1]
        assert second.session.outcomes[3].outputs[0]["text"] == "[7, 2, 7, 3]"

    run(body)


def test_a_cell_with_effects_is_announced_and_not_repeated_by_itself(make: Make) -> None:
    async def body() -> None:
        book = Book().add("raise SystemExit", effects="network", waits_all="effects")
        first = make(book)
        with pytest.raises(KernelDied):
            await first.drive()
        first.end("interrupted")
        second = make(book)
        with pytest.raises(Interrupted, match="cell 0 may have acted already") as told:
            await second.drive()
        assert told.value.code == "J2K602"
        assert "--redo 0" in str(told.value.hint)
        second.end("interrupted")
        third = make(book, redo=frozenset({0}))
        with pytest.raises(KernelDied):
            await third.drive()
        third.end("interrupted")
        left_out = make(book, skip=frozenset({0}))
        await left_out.drive()
        assert left_out.statuses == {0: "skipped"}

    run(body)


def test_wanted_variables_are_shown_at_the_end_pending_ones_too(make: Make) -> None:
    async def body() -> None:
        book = Book().add("x = 1", defines="x", off=True).add("y = 2", defines="y")
        it = make(book, free=[0], collect=("x", "y", "nowhere"))
        await it.drive()
        assert it.session.collected == {"x": 1, "y": 2}

    run(body)


def test_while_main_waits_its_core_is_free(make: Make) -> None:
    async def body() -> None:
        it = make(two_branches())
        running = it.started()
        await it.held()
        it.hands.let(1)
        await running
        assert it.hands.waiting[:2] == [True, False]
        assert it.hands.waiting.count(True) == it.hands.waiting.count(False)

    run(body)
