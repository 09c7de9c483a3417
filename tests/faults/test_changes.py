"""What changes while a run goes on: its notebook, its inputs, the folder of its result, the store's key."""

from __future__ import annotations

import shutil

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]


@pytest.mark.parametrize("offload", ["none", "all"])
def test_input_that_changes_during_the_run_is_told_and_read_anew_by_the_next(lab: Lab, offload: str) -> None:
    (lab.project / "in.csv").write_text("1")
    lab.write(
        "import probe",
        "a = open('in.csv').read()",
        "b = probe.at('b')\nprint(b)",
        "print(a, open('in.csv').read())",
    )
    lab.gate("b")
    running = lab.start(offload=offload)
    with lab.hold("b"):
        (lab.project / "in.csv").write_text("22")
    lab.open_gate("b")
    done = running.end()
    assert done.code == 0, done.err
    if lab.text(3) != "22 22\n":  # else the step had not read it yet
        assert "in.csv was changed by somebody else after cell 1 had read it" in done.err
    done = lab.run(offload=offload)
    assert lab.text(3) == "22 22\n"
    assert "somebody else" not in done.err


def test_notebook_edited_during_the_run_is_run_as_it_was(lab: Lab) -> None:
    lab.write("import probe", "b = probe.at('b')", "print('old')")
    lab.gate("b")
    running = lab.start()
    with lab.hold("b"):
        lab.write("import probe", "b = probe.at('b')", "print('new')")
    lab.open_gate("b")
    assert running.end().code == 0
    assert lab.text(2) == "old\n"
    assert lab.run().code == 0
    assert lab.text(2) == "new\n"


def test_result_is_kept_when_its_folder_goes_away(lab: Lab) -> None:
    lab.target = lab.folder / "results" / "out.ipynb"
    lab.target.parent.mkdir()
    lab.write("import probe", "with open('log', 'a') as f: f.write(str(probe.at('b')))")
    lab.gate("b")
    running = lab.start(offload="none")
    with lab.hold("b"):
        shutil.rmtree(lab.target.parent)
    lab.open_gate("b")
    done = running.end()
    assert done.code == 3
    assert "J2K232" in done.err
    assert "nothing is lost" in done.err
    lab.target.parent.mkdir()
    assert lab.run(offload="none").code == 0
    assert len(lab.executions("b")) == 1
    assert lab.files() == {"log": b"1.0"}


def test_store_without_its_key_is_refused(lab: Lab) -> None:
    lab.write("print(1)")
    assert lab.run().code == 0
    (lab.store / "key").unlink()
    done = lab.run()
    assert done.code == 3
    assert "J2K506" in done.err
    assert "hint: put it back" in done.err


def test_clock_that_jumps_decides_nothing(lab: Lab) -> None:
    """Whatever the dates of the store's files say."""
    lab.write("import probe", "b = probe.at('b')\nfor i in range(10_000_000): pass", "print(b)")
    assert lab.run().code == 0
    lab.age(lab.store, -400 * 86400)
    assert lab.run().code == 0
    lab.age(lab.store, 800 * 86400)
    done = lab.run()
    assert done.code == 0, done.err
    assert lab.text(2) == "1.0\n"
