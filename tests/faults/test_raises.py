"""A cell that raises: what is said of it, what is published, and the exit codes."""

from __future__ import annotations

import os
import subprocess

import nbformat
import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]


@pytest.mark.parametrize("offload", ["none", "all"])
def test_story_names_cell_line_exception_and_inputs(lab: Lab, offload: str) -> None:
    lab.write(
        "import probe",
        "class Odd:\n    def __repr__(self): raise RuntimeError('no text')\n"
        "x = list(range(1000))\nodd = Odd()\nzero = 0",
        "y = len(x)\nif odd:\n    z = y / zero",
    )
    done = lab.run(offload=offload)
    assert done.code == 1
    assert "J2K100 cell 2 raised ZeroDivisionError: division by zero\n  line 3: z = y / zero\n" in done.err
    assert "  odd = a Odd\n" in done.err
    assert "  x = [0, 1, 2, 3, 4, 5, ...]\n" in done.err
    assert "  zero = 0\n" in done.err
    assert "hint: its traceback is in the executed notebook" in done.err
    assert lab.outputs()[2][0]["ename"] == "ZeroDivisionError"


def test_missing_package_is_named(lab: Lab) -> None:
    lab.write("import sklearn_of_nobody.linear")
    done = lab.run(offload="none")
    assert done.code == 1
    assert "lacks the package 'sklearn_of_nobody'" in done.err


def test_nothing_after_the_failing_cell_is_published(lab: Lab) -> None:
    """Although the later step has finished before."""
    lab.write(
        "import probe",
        "a = probe.at('a')\nraise KeyError('a')",
        "b = probe.at('b')\nprint('b')",
        "c = b + probe.at('c')\nprint('c')",
        "with open('log.txt', 'a') as f:\n    f.write('never')",
    )
    lab.gate("a")
    lab.gate("c")
    running = lab.start()
    with lab.hold("a"):
        lab.hold("c").close()  # so cell 2 is done
    lab.open_gate("a")
    lab.open_gate("c")
    done = running.end()
    assert done.code == 1, done.err
    assert [len(o) for o in lab.outputs()] == [0, 1, 0, 0, 0]
    assert lab.files() == {}


def test_keep_going_blocks_dependants_and_publishes_the_rest(lab: Lab) -> None:
    lab.write(
        "import probe",
        "a = probe.at('a')\nraise KeyError('a')",
        "print('needs', a)",
        "b = probe.at('b')\nprint('free')",
        "print(b)",
    )
    done = lab.run("--keep-going")
    assert done.code == 1
    assert [len(o) for o in lab.outputs()] == [0, 1, 0, 1, 1]
    assert lab.cell(2)["status"] == "blocked"
    assert lab.text(3) == "free\n"


@pytest.mark.parametrize("offload", ["none", "all"])
def test_cell_that_may_raise(lab: Lab, offload: str) -> None:
    lab.write("x = 1\nraise ValueError('wanted')", "print(x)", tags={0: ["raises-exception"], 1: []})
    expected = lab.sequential()
    done = lab.run(offload=offload)
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert lab.outputs()[0][0]["evalue"] == "wanted"


def test_exit_codes(lab: Lab) -> None:
    """0 and 1 and 130 are met elsewhere, too; here the whole table."""
    lab.write("print(1)")
    assert lab.run().code == 0
    assert lab.run("--no-such-option").code == 2
    lab.notebook.write_text("no notebook")
    assert lab.run().code == 2
    lab.write("print(1)")
    missing = lab.run("--kernel", "no-such-kernel")
    assert missing.code == 3
    assert "J2K401" in missing.err
    lab.write("import itertools, os\nprint(os.path.exists('again'))\nopen('again', 'w').close()")
    words = lab.words("--offload", "none")
    words[words.index("run")] = "verify"
    del words[words.index("-o") : words.index("-o") + 2]
    verified = subprocess.run(words, cwd=lab.project, env=lab.env(), capture_output=True, timeout=60)
    assert verified.returncode == 0, verified.stderr


def test_read_only_folder(lab: Lab) -> None:
    if os.geteuid() == 0:
        lab.target = lab.project / "missing" / "out.ipynb"
    else:
        lab.project.chmod(0o500)
    lab.write("print(1)")
    done = lab.run()
    assert done.code == 3
    assert "J2K231" in done.err
    assert "hint: " in done.err


def test_result_that_cannot_be_put_in_place(lab: Lab) -> None:
    lab.write("print(1)")
    lab.target.mkdir()
    done = lab.run()
    assert done.code == 2
    assert "J2K231" in done.err
    lab.target.rmdir()
    assert lab.run().code == 0
    assert nbformat.read(lab.target, as_version=4).cells[0].outputs
