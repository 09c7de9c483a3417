import json

import nbformat
import pytest
from nbformat import v4

from jup2kub import ipynb
from jup2kub.collect import collect
from jup2kub.model.run import CellError, CellOutcome


def notebook(*cells):
    made = [v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return ipynb.read(json.dumps(v4.new_notebook(cells=made)).encode(), "a.ipynb")


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def display(text, display_id=None, kind="display_data"):
    output = {"output_type": kind, "data": {"text/plain": text}, "metadata": {}}
    return {**output, "transient": {"display_id": display_id}} if display_id else output


def update(display_id, text):
    return {"display_id": display_id, "data": {"text/plain": text}, "metadata": {"m": 1}}


def ran(*outcomes):
    return {outcome.index: outcome for outcome in outcomes}


def run(given, outcomes, **more):
    document = collect(given, outcomes, **more)
    nbformat.validate(document)
    return document


def failure(index, **more):
    return CellOutcome(index, "error", error=CellError("ValueError", "no", ("tb",)), **more)


def test_cells_stay_as_they_are_and_counts_are_of_a_run_from_the_top():
    given = notebook(
        v4.new_markdown_cell("t"),
        "1",
        "",
        "2",
        v4.new_code_cell("3", metadata={"tags": ["skip-execution"]}),
        "4",
    )
    result = {
        "output_type": "execute_result",
        "data": {"text/plain": "1"},
        "metadata": {},
        "execution_count": 99,
    }
    document = run(
        given,
        ran(CellOutcome(1, outputs=(result,)), CellOutcome(3), CellOutcome(5, count=40, from_store=True)),
    )
    assert [cell["source"] for cell in document["cells"]] == ["t", "1", "", "2", "3", "4"]
    assert [cell.get("execution_count") for cell in document["cells"]] == [None, 1, None, 2, None, 3]
    assert document["cells"][1]["outputs"][0]["execution_count"] == 1
    statuses = [cell["metadata"].get("jup2kub", {}).get("status") for cell in document["cells"]]
    assert statuses == [None, "ok", "empty", "ok", "skipped", "ok"]


def test_the_source_and_the_outcomes_are_not_changed():
    given, outcomes = (
        notebook("a", "b"),
        ran(CellOutcome(0, outputs=(display("x", "i"),)), CellOutcome(1, updates=(update("i", "y"),))),
    )
    before = json.dumps(given.document), repr(outcomes)
    run(given, outcomes)
    assert (json.dumps(given.document), repr(outcomes)) == before


def test_an_update_changes_all_earlier_displays_of_its_id():
    given = notebook("a", "b", "c", "d")
    document = run(
        given,
        ran(
            CellOutcome(0, outputs=(display("1", "i"), display("other", "j"), display("1", "i"))),
            CellOutcome(1, outputs=(display("2", "i"),)),
            CellOutcome(2, updates=(update("i", "3"), update("unknown", "4"))),
            CellOutcome(3, outputs=(display("5", "i", "execute_result"),)),
        ),
    )
    shown = [[o["data"]["text/plain"] for o in cell["outputs"]] for cell in document["cells"]]
    assert shown == [["5", "other", "5"], ["5"], [], ["5"]]
    assert "transient" not in json.dumps(document)


def test_an_update_in_a_cell_that_is_not_published_changes_nothing():
    given = notebook("a", "b", "c")
    outcomes = ran(
        CellOutcome(0, outputs=(display("1", "i"),)), failure(1), CellOutcome(2, updates=(update("i", "2"),))
    )
    assert run(given, outcomes)["cells"][0]["outputs"][0]["data"] == {"text/plain": "1"}


def test_after_a_failure_nothing_is_published():
    given = notebook("a", "b", "c", "d")
    outcomes = ran(
        CellOutcome(0), failure(1, outputs=(stream("before"),)), CellOutcome(2, outputs=(stream("late"),))
    )
    document = run(given, outcomes)
    assert [o["output_type"] for o in document["cells"][1]["outputs"]] == ["stream", "error"]
    assert [cell["execution_count"] for cell in document["cells"]] == [1, 2, None, None]
    assert document["cells"][2]["outputs"] == []
    assert document["cells"][2]["metadata"]["jup2kub"]["status"] == "not published"
    assert document["cells"][3]["metadata"]["jup2kub"]["status"] == "not run"
    assert document["metadata"]["jup2kub"]["failed"] == [1]
    assert document["metadata"]["jup2kub"]["status"] == "error"


def test_keep_going_publishes_and_marks_what_did_not_depend():
    given = notebook("a", "b", "c")
    outcomes = ran(failure(0), CellOutcome(1, outputs=(stream("fine"),)), CellOutcome(2, "blocked"))
    document = run(given, outcomes, keep_going=True)
    assert document["cells"][1]["outputs"] == [stream("fine")]
    assert document["cells"][1]["metadata"]["jup2kub"]["after_failure"] == 0
    assert document["cells"][2]["execution_count"] is None
    assert document["cells"][2]["metadata"]["jup2kub"]["status"] == "blocked"


def test_an_error_that_the_cell_may_raise_ends_nothing():
    given = notebook(v4.new_code_cell("a", metadata={"tags": ["raises-exception"]}), "b")
    document = run(given, ran(failure(0), CellOutcome(1, outputs=(stream("on"),))))
    assert document["cells"][1]["outputs"] == [stream("on")]
    assert document["metadata"]["jup2kub"]["status"] == "ok"


def test_an_error_that_a_handler_of_the_notebook_took_is_shown_only_where_it_ends_the_notebook():
    taken = CellOutcome(0, "error", error=CellError("ValueError", "no", ()))
    allowed = notebook(v4.new_code_cell("a", metadata={"tags": ["raises-exception"]}))
    assert run(allowed, ran(taken))["cells"][0]["outputs"] == []
    assert [o["ename"] for o in run(notebook("a"), ran(taken))["cells"][0]["outputs"]] == ["ValueError"]


def test_the_traceback_that_the_kernel_gave_is_not_given_twice():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["tb"]}
    assert run(notebook("a"), ran(failure(0, outputs=(error,))))["cells"][0]["outputs"] == [error]


def test_every_cell_tells_where_it_ran_and_the_times_are_readable_by_jupyter():
    outcome = CellOutcome(
        0,
        where="step",
        step="s1",
        worker="w2",
        attempt=3,
        start=1.5,
        seconds=2.0,
        peak_bytes=10,
        from_store=True,
    )
    document = run(notebook("a"), ran(outcome), summary={"workers": 2}, language_info={"name": "python"})
    assert document["cells"][0]["metadata"]["jup2kub"] == {
        "where": "step",
        "status": "ok",
        "step": "s1",
        "worker": "w2",
        "attempt": 3,
        "start": "1970-01-01T00:00:01.500000Z",
        "seconds": 2.0,
        "peak_bytes": 10,
        "source": "store",
    }
    assert document["cells"][0]["metadata"]["execution"]["iopub.status.idle"] == "1970-01-01T00:00:03.500000Z"
    assert document["metadata"]["jup2kub"]["workers"] == 2
    assert document["metadata"]["jup2kub"]["from_store"] == 1
    assert document["metadata"]["language_info"] == {"name": "python"}


@pytest.mark.parametrize("options", [{"step": "a", "retries": 2}, {"options": {"step": "a", "retries": 2}}])
def test_an_executed_notebook_reads_as_its_source_does(options):
    given = notebook(v4.new_code_cell("#| timeout: 1m\na", metadata={"jup2kub": options, "tags": ["x"]}), "b")
    document = run(given, ran(CellOutcome(0, where="step", step="s9", start=1.0), CellOutcome(1)))
    again = ipynb.read(ipynb.write(document), "b.ipynb")
    assert again.cells == given.cells
    twice = ipynb.read(ipynb.write(run(again, ran(CellOutcome(0)))), "c.ipynb")
    assert twice.cells == given.cells
