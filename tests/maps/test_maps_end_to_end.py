"""Map steps from the command line: spread by time or on demand, kept when killed, refused by name and line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jup2kub import compose
from jup2kub.agent.session import Told
from jup2kub.cli.main import main

WHO = "import os, time\nmain = os.getpid()\ndef f(x):\n    time.sleep(0.06)\n    return x * 2, os.getpid() == main\n"
LOOP = "out = []\nfor x in range(40):\n    out.append(f(x))\n"
COUNT = "print(sum(not here for _, here in out), [v for v, _ in out] == [2 * x for x in range(len(out))])"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUP2KUB_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def write(folder: Path, *cells: str) -> Path:
    path = folder / "nb.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells]), path)
    return path


def run(path: Path, *options: str) -> int:
    return main(["run", str(path), "-o", str(path.with_name("out.ipynb")), "--workers", "2", *options])


def text(path: Path, cell: int = -1) -> str:
    """What a code cell printed."""
    outputs: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[cell].outputs
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream")


@pytest.mark.parametrize(
    "cells",
    [
        (WHO, LOOP, COUNT),
        (WHO + "def study():\n" + "".join(f"    {line}\n" for line in LOOP.splitlines()) + "    return out\n",
         "out = study()", COUNT),
        (WHO, "out = [f(x) for x in range(40)]", COUNT),
    ],
    ids=["top level", "in a function", "comprehension"],
)  # fmt: skip
def test_a_long_loop_is_spread_by_itself_and_at_once_the_second_time(
    tmp_path: Path, cells: tuple[str, ...]
) -> None:
    path = write(tmp_path, *cells)
    for _ in range(2):
        assert run(path, "--fresh") == 0
        away, right = text(path).split()
        assert int(away) >= 30
        assert right == "True"


def test_with_one_worker_or_without_forks_it_runs_in_place(tmp_path: Path) -> None:
    path = write(tmp_path, WHO, LOOP.replace("40", "20"), COUNT)
    for options in (("--workers", "1"), ("--plan", "serial")):
        assert run(path, "--fresh", *options) == 0
        assert text(path) == "0 True\n"


def test_a_map_that_cannot_be_had_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "#| map\nt = 1\nfor x in range(4):\n    t = len(hex(t).zfill(x))\n"
    path = write(tmp_path, "open('ran', 'w').close()", source)
    assert run(path) == 2
    assert not (tmp_path / "ran").exists()
    said = capsys.readouterr().err
    assert "line 4" in said
    assert "`t`" in said


def test_a_map_that_proves_impossible_fails_loudly(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "def g():\n    yield from range(4)\nsource = g()",
        "#| map\nfor x in source:\n    hex(x).zfill(2)",
    )
    assert run(path) == 1
    error: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[-1].outputs[-1]
    assert "J2K367" in error["evalue"]


def test_what_is_shown_comes_in_order_and_an_exception_leaves_what_was_before(tmp_path: Path) -> None:
    body = "    print(x)\n    display(x * 10)\n    seen.append(f(x)[0])\n    1 / (x - 7)\n"
    path = write(tmp_path, WHO, "#| map\nseen = []\nfor x in range(12):\n" + body, "print(x, seen)")
    assert run(path) == 1
    outputs: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[1].outputs
    shown = [o["text"].strip() if "text" in o else o["data"]["text/plain"] for o in outputs[:-1]]
    assert shown == [str(v) for x in range(8) for v in (x, x * 10)]
    assert outputs[-1]["ename"] == "ZeroDivisionError"


def test_files_that_iterations_read_belong_to_the_facts_of_the_cell(tmp_path: Path) -> None:
    for n in range(8):
        (tmp_path / f"in{n}").write_text(str(n))
    source = "#| map\nout = []\nfor n in range(8):\n    out.append(open(f'in{n}').read())\n    f(n)\n"
    path = write(tmp_path, WHO, source, "print(out)")
    assert run(path) == 0
    (tmp_path / "in3").write_text("new")
    assert run(path) == 0
    assert "new" in text(path)


def test_a_killed_child_costs_only_its_iterations(tmp_path: Path) -> None:
    body = "    if x == 5 and os.getpid() != main:\n        os.kill(os.getpid(), 9)\n    out.append(f(x))\n"
    path = write(tmp_path, WHO, "#| map\nout = []\nfor x in range(12):\n" + body, COUNT)
    assert run(path) == 0
    away, right = text(path).split()
    assert int(away) >= 5
    assert right == "True"


def test_after_a_kill_of_everything_only_unfinished_iterations_run_again(tmp_path: Path) -> None:
    body = (
        "    with open(f'ran{x}', 'a') as h:\n        h.write('x')\n"
        "    if x == 20 and not exists('again'):\n        open('gate', 'w').close()\n"
        "    out.append(f(x))\n"
    )
    calm = (
        "import time\nfrom os.path import exists\ndef f(x):\n    time.sleep(0.06)\n    return x * 2, True\n"
    )
    write(tmp_path, calm, "#| map\nout = []\nfor x in range(32):\n" + body, COUNT)
    os.mkfifo(tmp_path / "gate")
    command = [sys.executable, "-m", "jup2kub", "run", "nb.ipynb", "-o", "out.ipynb", "--workers", "2"]
    with subprocess.Popen(command, cwd=tmp_path) as first:
        open(tmp_path / "gate").close()  # until iteration 20 comes by
        first.send_signal(signal.SIGKILL)
    (tmp_path / "again").touch()
    assert subprocess.run(command, cwd=tmp_path, timeout=120, check=False).returncode == 0
    times = [len((tmp_path / f"ran{x}").read_text()) for x in range(32)]
    assert text(tmp_path / "nb.ipynb").split()[1] == "True"
    assert set(times) == {1}


def test_facts_tell_how_long_each_loop_takes(tmp_path: Path) -> None:
    path = write(tmp_path, WHO, LOOP.replace("40", "20"))
    settings = compose.Settings(path, workers=2)
    told: list[Told] = []
    compose.execute(settings, told.append)
    facts = [f for f in compose.open_store(settings).profile().values() if f.loops]
    assert [list(f.loops) for f in facts] == [["2"]]
    assert 1.0 < facts[0].loops["2"] < 4.0


def test_a_map_that_turns_out_dependent_says_so_and_goes_on_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = "class Box:\n    last = 0\nbox = Box()\ndef g(x):\n    setattr(box, 'last', box.last + x)\n    return f(x)\n"
    source = "#| map\nout = []\nfor x in range(8):\n    out.append(g(x))\n"
    path = write(tmp_path, WHO + hidden, source, "print(box.last, len(out))")
    assert run(path) == 0
    assert text(path) == "28 8\n"
    said = capsys.readouterr().err
    assert "J2K368 the loop in line 3 goes on in order" in said
    assert "`Box`, which other iterations share" in said
    loop: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[1].metadata["jup2kub"]["loops"]
    assert [(p["line"], p["iterations"], p["spread"]) for p in loop] == [(3, 8, 0)]
    assert "share" in loop[0]["why"]


def test_a_map_that_is_had_says_how_much_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, WHO, "#| map\n" + LOOP, COUNT)
    assert run(path) == 0
    assert "J2K368" not in capsys.readouterr().err
    loop: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[1].metadata["jup2kub"]["loops"]
    assert loop[0]["spread"] >= 30
    assert loop[0]["why"] == ""


def test_loops_under_magics_are_spread_and_what_they_capture_is_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        WHO,
        "%%time\n" + LOOP,
        COUNT,
        "%%capture cap\nout = []\nfor x in range(40):\n    out.append(f(x))\n    print(x)\n    display(x * 10)",
        COUNT,
        "print(cap.stdout.split() == [str(x) for x in range(40)])\n"
        "print([o.data['text/plain'] for o in cap.outputs] == [str(x * 10) for x in range(40)])",
    )
    assert run(path) == 0
    for cell in (2, 4):
        away, right = text(path, cell).split()
        assert (int(away) >= 20, right) == (True, "True")
    assert text(path) == "True\nTrue\n"
    loop: Any = nbformat.read(path.with_name("out.ipynb"), 4).cells[1].metadata["jup2kub"]["loops"]
    assert loop[0]["line"] == 3  # of the cell's own text


def test_a_loop_whose_iterations_start_the_threads_of_openmp_is_spread(tmp_path: Path) -> None:
    """The first iteration runs in place and starts them: copies of the process would wait for them for ever."""
    pytest.importorskip("sklearn")
    path = write(
        tmp_path,
        "import os, numpy as np\nfrom sklearn.neighbors import KNeighborsClassifier\nmain = os.getpid()\n"
        "X = np.random.default_rng(0).random((4000, 8))\ny = (X[:, 0] > 0.5).astype(int)",
        "#| map\nout = []\nfor k in range(1, 9):\n"
        "    out.append((KNeighborsClassifier(k, algorithm='brute').fit(X, y).score(X, y) > 0.9, os.getpid() == main))",
        "print(all(good for good, _ in out), sum(not here for _, here in out))",
    )
    assert run(path) == 0
    good, away = text(path).split()
    assert good == "True"
    assert int(away) > 0
