"""The command line as other programs rely on it: shapes, streams, exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jup2kub.cli import main as cli
from jup2kub.errors import (
    EXIT_CELL_RAISED,
    EXIT_ENVIRONMENT,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
)
from jup2kub.images.blobs import Blobs

HEAVY = "total = 0\nfor i in range(30_000_000):\n    total += i * i\n{name} = total"
BRANCHES = ["import math", HEAVY.format(name="a"), HEAVY.format(name="b"), "print(a + b)"]


class Result:
    """What one call of the command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call the command in a folder of its own, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUP2KUB_STORE", str(tmp_path / "store"))

    def called(*words: object) -> Result:
        capfd.readouterr()
        code = cli.main([str(w) for w in words])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return called


def notebook(path: Path, *sources: str, **metadata: Any) -> Path:
    book = nbformat.v4.new_notebook(metadata=metadata)
    book.cells = [
        nbformat.v4.new_markdown_cell(s[2:]) if s.startswith("# ") else nbformat.v4.new_code_cell(s)
        for s in sources
    ]
    nbformat.write(book, path)
    return path


# -- plan --------------------------------------------------------------------------------------------------------


def test_plan_as_json_has_the_keys_that_programs_read(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "# title", *BRANCHES)
    result = call("plan", book, "--json", "--workers", 2)
    assert result.code == EXIT_OK
    document = result.json
    assert document["main"]
    assert sorted([*document["main"], *(i for s in document["steps"] for i in s["cells"])]) == [1, 2, 3, 4]
    assert len(document["steps"]) == 1, "of two independent heavy cells one leaves"
    for step in document["steps"]:
        assert {"id", "cells", "kind", "replays"} <= step.keys()
        assert step["kind"] in ("cells", "map")
    for edge in document["edges"]:
        assert edge.keys() == {"from", "to", "reasons"}
        assert edge["reasons"]
        for reason in edge["reasons"]:
            assert reason.keys() == {"rule", "name", "cells", "text"}
    pairs = {(e["from"], e["to"]) for e in document["cell_edges"]}
    assert {(2, 4), (3, 4)} <= pairs
    assert (2, 3) not in pairs, "what is independent is not ordered"
    assert all(e.keys() == {"from", "to", "rule", "name"} for e in document["cell_edges"])
    assert isinstance(document["decisions"], list)
    assert {e["from"] for e in document["edges"]} | {e["to"] for e in document["edges"]} <= {
        "main",
        *(s["id"] for s in document["steps"]),
    }


def test_a_plan_runs_nothing_and_needs_no_kernel(call: Call, tmp_path: Path) -> None:
    book = notebook(
        tmp_path / "nb.ipynb", "open('ran', 'w').close()", kernelspec={"name": "gone", "display_name": "g"}
    )
    assert call("plan", book, "--json").json["main"] == [0]
    assert not (tmp_path / "ran").exists()


def test_a_plan_in_words_drawings_and_a_page(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", *BRANCHES)
    assert "4 code cells" in call("plan", book).out
    explained = call("plan", book, "--explain", "--svg", "p.svg", "--html", "p.html")
    assert all(f"cell {i}" in explained.out for i in range(4))
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert "</html>" in (tmp_path / "p.html").read_text()
    assert call("plan", book, "--mermaid").out.startswith(("flowchart", "graph", "---"))


def test_a_percent_script_is_planned_like_a_notebook(call: Call, tmp_path: Path) -> None:
    (tmp_path / "nb.py").write_text("# %% [markdown]\n# title\n# %%\nx = 1\n# %%\nprint(x)\n")
    document = call("plan", "nb.py", "--json").json
    assert document["main"] == [1, 2]
    assert [(e["from"], e["to"], e["name"]) for e in document["cell_edges"]] == [(1, 2, "x")]


@pytest.mark.parametrize("where", ["missing/p.svg", "."])
def test_a_drawing_that_cannot_be_written_is_the_environments_fault(
    where: str, call: Call, tmp_path: Path
) -> None:
    result = call("plan", notebook(tmp_path / "nb.ipynb", "1"), "--svg", where)
    assert result.code == EXIT_ENVIRONMENT
    assert "J2K231" in result.err
    assert result.out == ""


def test_a_serial_plan_keeps_everything_in_main(call: Call, tmp_path: Path) -> None:
    document = call("plan", notebook(tmp_path / "nb.ipynb", *BRANCHES), "--plan", "serial", "--json").json
    assert document["steps"] == []
    assert document["main"] == [0, 1, 2, 3]
    assert document["mode"] == "serial"


# -- usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu", "nb.ipynb"], "did you mean `run`?"),
        (["run", "nb.ipynb", "--wrokers", "3"], "did you mean `--workers`?"),
        (["run", "nb.ipynb", "--keepgoing"], "did you mean `--keep-going`?"),
        (["run", "nb.ipynb", "--work=3"], "unrecognized arguments"),
        (["plan", "nb.ipynb", "--plan", "statc"], "did you mean `static`?"),
        (["run", "nb.ipynb", "--offload", "al"], "did you mean `all`?"),
        (["run"], "NB"),
        ([], "COMMAND"),
        (["run", "nb.ipynb", "--workers", "0"], "at least 1"),
        (["run", "nb.ipynb", "--workers", "two"], "--workers"),
        (["run", "nb.ipynb", "-p", "novalue"], "J2K220"),
        (["run", "nb.ipynb", "--sweep", "gone.csv"], "J2K221"),
        (["clean", "--keep", "much"], "500M"),
        (["status", "nothing"], "J2K240"),
        (["cancel", "nothing"], "J2K240"),
        (["run", "nb.ipynb", "-o", "nb.ipynb"], "J2K230"),
        (["run", "nb.ipynb", "-o", "folder"], "J2K231"),
        (["run", "gone.ipynb"], "J2K201"),
        (["plan", "gone.ipynb"], "J2K201"),
        (["verify", "gone.ipynb"], "J2K201"),
        (["run", "text.ipynb"], "J2K202"),
        (["run", "json.ipynb"], "J2K203"),
        (["run", "option.ipynb"], "timeout"),
    ],
)
def test_wrong_usage_says_what_and_the_way_out(
    words: list[str], said: str, call: Call, tmp_path: Path
) -> None:
    notebook(tmp_path / "nb.ipynb", "open('ran', 'w').close()")
    notebook(tmp_path / "option.ipynb", "#| timout: 3s\nopen('ran', 'w').close()")
    (tmp_path / "text.ipynb").write_text("this is not JSON")
    (tmp_path / "json.ipynb").write_text("[1, 2]")
    (tmp_path / "folder").mkdir()
    result = call(*words)
    assert result.code == EXIT_USAGE, result.err
    assert result.err.startswith("error: J2K2")
    assert "\nhint: " in result.err
    assert said in result.err
    assert result.out == ""
    assert not (tmp_path / "ran").exists(), "nothing has run"


def test_help_and_version_go_to_stdout(call: Call) -> None:
    for words in (["--help"], ["run", "--help"], ["--version"]):
        result = call(*words)
        assert result.code == EXIT_OK
        assert "jup2kub" in result.out
        assert result.err == ""
    for verb in cli.VERBS:
        assert f"\n    {verb}" in call("--help").out


def test_a_folder_that_is_missing_or_closed_is_refused_before_anything_runs(
    call: Call, tmp_path: Path
) -> None:
    book = notebook(tmp_path / "nb.ipynb", "open('ran', 'w').close()")
    result = call("run", book, "-o", "missing/out.ipynb")
    assert (result.code, result.out) == (EXIT_ENVIRONMENT, "")
    assert "J2K231" in result.err
    assert not (tmp_path / "ran").exists()


def test_a_kernel_that_is_not_installed_is_the_environments_fault(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = notebook(tmp_path / "nb.ipynb", "1", kernelspec={"name": "gone", "display_name": "Gone"})
    result = call("run", book)
    assert (result.code, result.out) == (EXIT_ENVIRONMENT, "")
    assert "J2K401" in result.err
    assert "'gone'" in result.err
    assert "--kernel NAME" in result.err
    assert not (tmp_path / "nb.executed.ipynb").exists()
    assert call("run", book, "--kernel", "nowhere").code == EXIT_ENVIRONMENT
    assert call("verify", book).code == EXIT_ENVIRONMENT


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(KeyboardInterrupt(), EXIT_INTERRUPTED, "continues"), (ZeroDivisionError("x"), EXIT_INTERNAL, "J2K900")],
)
def test_an_interrupt_and_a_fault_have_their_own_codes(
    raised: BaseException, code: int, said: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("jup2kub.cli.plan.compile_notebook", fail)
    result = call("plan", notebook(tmp_path / "nb.ipynb", "1"))
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


# -- run ---------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_a_run_writes_beside_the_source_and_tells_the_path_alone(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "my nb.ipynb", "# title", "x = 1", "print('told', x)")
    before = book.read_bytes(), book.stat().st_mtime_ns
    result = call("run", book)
    assert result.code == EXIT_OK
    assert result.out == f"{tmp_path / 'my nb.executed.ipynb'}\n"
    executed = nbformat.read(tmp_path / "my nb.executed.ipynb", as_version=4)
    nbformat.validate(executed)
    assert [c.get("execution_count") for c in executed.cells] == [None, 1, 2]
    assert executed.cells[2].outputs[0].text == "told 1\n"
    assert (book.read_bytes(), book.stat().st_mtime_ns) == before, "the source is never written"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my nb.executed.ipynb", "my nb.ipynb", "store"]


@pytest.mark.kernel
def test_a_run_as_json(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "x = 1", HEAVY.format(name="a"), "print(a)")
    first = call("run", book, "--json", "-o", "out.ipynb", "--workers", 2, "--offload", "all")
    assert first.code == EXIT_OK
    document = first.json
    assert {"output", "run", "state", "seconds", "steps", "kept"} <= document.keys()
    assert (document["output"], document["state"], document["kept"]) == ("out.ipynb", "done", [])
    assert 1 in document["steps"]
    again = call("run", book, "--json", "-o", "out.ipynb", "--workers", 2, "--offload", "all").json
    assert 1 in again["kept"]
    assert again["steps"] == [] or 1 not in again["steps"]
    fresh = call("run", book, "--json", "--fresh", "-o", "out.ipynb").json
    assert fresh["kept"] == []


@pytest.mark.kernel
def test_a_cell_that_raises_leaves_the_notebook_as_jupyter_would(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "x = 1", "1 / 0", "print(x)")
    result = call("run", book, "--json")
    assert result.code == EXIT_CELL_RAISED
    assert result.json["state"] == "failed"
    assert "J2K100 cell 1 raised ZeroDivisionError" in result.err.replace("error: ", "", 1)
    executed = nbformat.read(tmp_path / "nb.executed.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert executed.cells[2].outputs == []
    assert executed.cells[2].execution_count is None
    going = call("run", book, "--keep-going")
    assert going.code == EXIT_CELL_RAISED
    executed = nbformat.read(tmp_path / "nb.executed.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "1\n"


@pytest.mark.kernel
def test_what_earlier_cells_met_outside_decides_whether_a_result_is_used_again(
    call: Call, tmp_path: Path
) -> None:
    """An input file, and a module that no import statement names."""
    (tmp_path / "in.txt").write_text("one")
    (tmp_path / "helper.py").write_text("V = 'one'")
    book = notebook(
        tmp_path / "nb.ipynb",
        "import importlib\nhelper = importlib.import_module('hel' + 'per')",
        "text = open('in.txt').read()",
        f"{HEAVY.format(name='a')}\na = (a, text)",
        f"{HEAVY.format(name='b')}\nb = (b, helper.V)",
        "print(a[1], b[1])",
    )

    def run() -> tuple[str, list[int]]:
        result = call("run", book, "--json", "-o", "out.ipynb", "--workers", 1)
        assert result.code == EXIT_OK, result.err
        executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
        return executed.cells[4].outputs[0].text, result.json["kept"]

    assert run() == ("one one\n", [])
    assert run() == ("one one\n", [2, 3])
    (tmp_path / "in.txt").write_text("two")
    assert run() == ("two one\n", [3])
    (tmp_path / "helper.py").write_text("V = 'three'")
    assert run() == ("two three\n", [2])
    os.utime(tmp_path / "in.txt", ns=(1, 1))
    assert run() == ("two three\n", [2, 3])


@pytest.mark.kernel
def test_parameters_are_put_in_as_papermill_does(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "alpha = 1", "print(alpha)")
    document = json.loads(book.read_text())
    document["cells"][0]["metadata"]["tags"] = ["parameters"]
    book.write_text(json.dumps(document))
    assert call("run", book, "-p", "alpha=0.5").code == EXIT_OK
    executed = nbformat.read(tmp_path / "nb.executed.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "0.5\n"


@pytest.mark.kernel
def test_a_linked_notebook_runs_in_the_folder_of_the_link(call: Call, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.txt").write_text(name)
    text = "import helper\nprint(open('data.txt').read(), helper.name)"
    book = notebook(tmp_path / "first" / "nb.ipynb", text)
    (tmp_path / "second" / "nb.ipynb").symlink_to(book)
    (tmp_path / "linked").symlink_to("second")
    for place, expected in (("first", "first first\n"), ("linked", "second second\n")):
        (tmp_path / place / "helper.py").write_text(f"name = {expected.split()[0]!r}\n")
        assert call("run", tmp_path / place / "nb.ipynb").code == EXIT_OK
        executed = nbformat.read(tmp_path / place / "nb.executed.ipynb", as_version=4)
        assert executed.cells[0].outputs[0].text == expected


@pytest.mark.kernel
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_parameter_that_the_notebook_does_not_set_is_told_before_anything_runs(
    verb: str, call: Call, tmp_path: Path
) -> None:
    book = notebook(tmp_path / "nb.ipynb", "alpha = 1", "print(alpha)")
    document = json.loads(book.read_text())
    document["cells"][0]["metadata"]["tags"] = ["parameters"]
    book.write_text(json.dumps(document))
    done = call(verb, book, "-p", "alhpa=2")
    assert done.code == EXIT_OK
    note = "note: the cell tagged `parameters` does not set `alhpa`; did you mean `alpha`?\n"
    assert done.err.startswith(note)
    assert "note" not in call(verb, book, "-p", "alpha=2").err


@pytest.mark.kernel
def test_a_sweep_tells_why_a_set_failed_and_what_it_could_not_collect(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "ratio = 1 / alpha")
    words = ("-p", "alpha=0,4", "--collect", "ratio", "--collect", "ration", "-o", tmp_path / "out")
    done = call("run", book, *words)
    assert done.code == EXIT_CELL_RAISED
    assert "cell 1 raised ZeroDivisionError: division by zero\n" in done.err
    assert "note: no set has a variable `ration`: its column is empty\n" in done.err
    assert "`ratio`" not in done.err
    table = [line.split(",") for line in (tmp_path / "out" / "sweep.csv").read_text().splitlines()]
    assert [(row[1], row[2], *row[4:]) for row in table] == [
        ("alpha", "state", "ratio", "ration"),
        ("0", "error", "", ""),
        ("4", "ok", "0.25", ""),
    ]


# -- verify ------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_verify_as_json_and_as_a_report(call: Call, tmp_path: Path) -> None:
    book = notebook(tmp_path / "nb.ipynb", "x = [1]", "print(x)")
    result = call("verify", book, "--json", "--report", "deep/report")
    assert result.code == EXIT_OK
    assert result.json["equal"] is True
    assert json.loads((tmp_path / "deep/report/certificate.json").read_text()) == result.json
    assert "</html>" in (tmp_path / "deep/report/certificate.html").read_text()
    assert call("verify", book).out.startswith("equal: ")


@pytest.mark.parametrize("verb", ["plan", "verify"])
def test_several_values_for_a_parameter_are_refused_where_one_run_is_looked_at(
    call: Call, tmp_path: Path, verb: str
) -> None:
    book = notebook(tmp_path / "nb.ipynb", "alpha = 1", "print(alpha)")
    refused = call(verb, book, "-p", "alpha=1,2", "-p", "beta=3")
    assert (refused.code, refused.out) == (EXIT_USAGE, "")
    assert "J2K223" in refused.err
    assert "alpha has several values" in refused.err


# -- the store ---------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_the_store_is_shown_cancelled_and_cleaned(call: Call, tmp_path: Path) -> None:
    assert call("runs", "--json").json == []
    empty = call("status")
    assert (empty.code, empty.out) == (EXIT_USAGE, "")
    book = notebook(tmp_path / "nb.ipynb", "x = 1", "1 / 0")
    call("run", book)
    listed = call("runs", "--json").json
    assert [r["state"] for r in listed] == ["failed"]
    run = listed[0]["id"]
    assert run in call("runs").out
    shown = call("status", run[:-2].upper(), "--json").json
    assert shown.keys() >= {"run", "committed", "store"}
    assert shown["run"]["id"] == run
    assert call("cancel", run, "--json").json == {"run": run, "cancelled": True, "before": False}
    assert call("cancel", run, "--json").json["before"] is True
    assert call("runs", "--json").json[0]["state"] == "cancelled"
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*") if p.is_file()}
    report = call("clean", "--dry-run", "--json").json
    assert report["dry_run"] is True
    assert {p for p in (tmp_path / "store").rglob("*") if p.is_file()} >= set(files), "nothing is dropped"
    assert call("clean").code == EXIT_OK
    assert "kept" in call("clean", "--keep", "1M", "--dry-run").out


@pytest.mark.kernel
def test_cleaning_keeps_to_the_same_size_as_running(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = notebook(tmp_path / "nb.ipynb", HEAVY.format(name="a"), "b = bytes(a % 7 + 3_000_000)")
    assert call("run", book).code == EXIT_OK
    assert call("clean", "--json").json["dropped"] == []
    monkeypatch.setattr("jup2kub.cli.common.CAP", 1)
    assert call("clean", "--json").json["dropped"]


def test_a_store_that_is_no_store_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    for words in (["runs"], ["clean"], ["plan", notebook(tmp_path / "nb.ipynb", "1")]):
        result = call(*words, "--store", "full")
        assert (result.code, result.out) == (EXIT_ENVIRONMENT, "")
        assert "J2K504" in result.err


def test_layers_of_images_are_trimmed_too(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert call("clean", "--json").json["images"]["kept_bytes"] == 0
    assert not (tmp_path / "cache" / "jup2kub-images").exists()
    blobs = Blobs(tmp_path / "cache" / "jup2kub-images")
    path = blobs.path(blobs.put(bytes(2_000_000)).digest)
    os.utime(path, (1e9, 1e9))
    said = call("clean", "--keep-layers", "1M", "--dry-run").out
    assert "would free 2.0 MB of image layers; 0.0 MB kept" in said
    assert path.exists()
    assert call("clean", "--keep-layers", "1M", "--json").json["images"]["freed"] == 2_000_000
    assert not path.exists()
