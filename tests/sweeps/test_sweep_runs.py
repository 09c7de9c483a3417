"""Sweeps from the command line: a notebook per set, their table, and shared work done once."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jup2kub.cli.main import main

LOOP = "t = 0\nfor i in range(300_000):\n    t = (t * 31 + i) % 1000003\n"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUP2KUB_STORE", str(tmp_path / "store"))


def write(folder: Path, *cells: str, parameters: str = "a = 0") -> Path:
    folder.mkdir(exist_ok=True)
    made = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *(new_code_cell(c) for c in cells)]
    path = folder / "nb.ipynb"
    nbformat.write(new_notebook(cells=made), path)
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def kept(folder: Path, name: str, cell: int) -> bool:
    """Whether that set took the cell (counted with the injected parameters) from the store."""
    found: Any = nbformat.read(folder / name, 4).cells[cell].metadata
    return bool(found["jup2kub"]["source"] == "store")


def run(*argv: Any) -> int:
    return main(["run", *map(str, argv), "--workers", "2"])


def test_a_grid_gives_a_notebook_for_each_set_and_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "r = a * 10 + b", "print(r)", parameters="a = 0\nb = 0")
    assert run(path, "-p", "a=1,2", "-p", "b=3,4", "--collect", "r", "-o", tmp_path / "out") == 0
    rows = table(tmp_path / "out")
    assert [(r["a"], r["b"], r["state"], r["r"]) for r in rows] == [
        ("1", "3", "ok", "13"),
        ("1", "4", "ok", "14"),
        ("2", "3", "ok", "23"),
        ("2", "4", "ok", "24"),
    ]
    printed = [nbformat.read(tmp_path / "out" / f"{r['set']}.ipynb", 4).cells[-1].outputs for r in rows]
    assert [p[0]["text"] for p in printed] == ["13\n", "14\n", "23\n", "24\n"]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_sets_come_from_a_file(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "p", "print(a)")
    sets = tmp_path / f"sets.{ending}"
    sets.write_text("a\n5\n6\n" if ending == "csv" else '{"a": 5}\n{"a": 6}\n')
    assert run(path, "--sweep", sets, "-o", tmp_path / "out") == 0
    assert [r["a"] for r in table(tmp_path / "out")] == ["5", "6"]


def test_a_set_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "p", "r = 1 / (a - 2)")
    assert run(path, "-p", "a=1,2,3", "--collect", "r", "-o", tmp_path / "out", "--json") == 1
    assert [r["state"] for r in table(tmp_path / "out")] == ["ok", "error", "ok"]
    assert [r["r"] for r in table(tmp_path / "out")] == ["-1.0", "", "1.0"]
    assert [s["state"] for s in json.loads(capsys.readouterr().out)["sets"]] == ["ok", "error", "ok"]
    failed = nbformat.read(tmp_path / "out" / "001.ipynb", 4).cells[-1].outputs
    assert failed[0]["ename"] == "ZeroDivisionError"


def test_what_does_not_depend_on_the_parameters_is_done_once(tmp_path: Path) -> None:
    path = write(tmp_path / "p", LOOP, "r = t + a\nprint(r)")
    assert run(path, "-p", "a=1,2,3", "-o", tmp_path / "out") == 0
    taken = [kept(tmp_path / "out", f"00{n}.ipynb", 2) for n in range(3)]
    assert sorted(taken) == [False, True, True]
    texts = [
        nbformat.read(tmp_path / "out" / f"00{n}.ipynb", 4).cells[-1].outputs[0]["text"] for n in range(3)
    ]
    assert len({int(text) - n for n, text in enumerate(texts)}) == 1


def test_shared_work_that_runs_as_a_step_is_done_once(tmp_path: Path) -> None:
    path = write(tmp_path / "p", LOOP, LOOP.replace("t ", "u ").replace("(t", "(u"), "print(t + u + a)")
    assert run(path, "-p", "a=1,2", "-o", tmp_path / "out", "--offload", "all") == 0
    for cell in (2, 3):
        assert sorted(kept(tmp_path / "out", f"00{n}.ipynb", cell) for n in range(2)) == [False, True]


def test_shared_work_that_fails_fails_in_every_set(tmp_path: Path) -> None:
    path = write(tmp_path / "p", LOOP + "1 / (t - t)", "print(a)")
    assert run(path, "-p", "a=1,2,3", "-o", tmp_path / "out", "--keep-going") == 1
    assert [r["state"] for r in table(tmp_path / "out")] == ["error"] * 3


def test_shared_work_that_cannot_be_kept_is_done_by_each(tmp_path: Path) -> None:
    path = write(tmp_path / "p", LOOP + "g = (i for i in range(t))", "print(next(g) + a)")
    assert run(path, "-p", "a=1,2,3", "-o", tmp_path / "out") == 0
    for n in range(3):
        assert (
            nbformat.read(tmp_path / "out" / f"00{n}.ipynb", 4).cells[-1].outputs[0]["text"] == f"{n + 1}\n"
        )


def test_a_sweep_that_cannot_start_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "#| map\nfor x in iter([1, 2]):\n    print(len(hex(x).zfill(a)))")
    assert run(path, "-p", "a=1,2", "-o", tmp_path / "out") == 2


def test_a_loop_that_is_asked_to_be_spread_is_as_good_inside_a_sweep(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p", "#| map\nout = []\nfor x in range(6):\n    out.append(hex(x * a))", "print(out)"
    )
    assert run(path, "-p", "a=1,2,3", "-o", tmp_path / "out") == 0
    for n in (1, 2, 3):
        shown: Any = nbformat.read(tmp_path / "out" / f"00{n - 1}.ipynb", 4).cells[-1].outputs[0]
        assert shown["text"] == str([hex(x * n) for x in range(6)]) + "\n"


def test_an_interrupted_sweep_keeps_its_table_and_goes_on(tmp_path: Path) -> None:
    book = write(
        tmp_path / "p",
        "open('shared', 'a').write('x')\n" + LOOP,
        "open(f'ran{a}', 'a').write('x')\nif a == 2 and not os.path.exists('again'):\n"
        "    open('gate', 'w').close()\n    while True: pass\nr = t + a",
        parameters="import os\na = 0",
    )
    folder = book.parent
    os.mkfifo(folder / "gate")
    command = [
        sys.executable,
        "-m",
        "jup2kub",
        "run",
        "nb.ipynb",
        "-p",
        "a=1,2,3",
        "-o",
        "out",
        "--workers",
        "1",
    ]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as first:
        open(folder / "gate").close()  # until the second set comes by
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=60)[1]
        assert first.returncode == 130, said
    assert "again continues" in said
    assert [(r["a"], r["state"]) for r in table(folder / "out")] == [("1", "ok")]
    (folder / "again").touch()
    (folder / "gate").unlink()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [r["state"] for r in table(folder / "out")] == ["ok"] * 3
    assert (folder / "shared").read_text() == "x"
    assert (folder / "ran1").read_text() == "x"
