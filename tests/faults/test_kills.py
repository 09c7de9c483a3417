"""kill -9 of a step's kernel, of the main kernel, of everything: only what was in flight is done again."""

from __future__ import annotations

import os
import signal

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

APPEND = "with open('log.txt', 'a') as f:\n    f.write('{0}\\n')\n    f.flush()\n    x{0} = probe.at('{0}')"


def test_killed_step_is_repeated_alone_and_its_files_put_back_first(lab: Lab) -> None:
    (lab.project / "log.txt").write_text("before\n")
    lab.write("import probe", "a = probe.at('a')", APPEND.format("b"), "c = a + xb\nprint(c)")
    expected = lab.sequential()
    for name in "ab":
        (lab.marks / name).unlink()
    lab.gate("b")
    running = lab.start()
    with lab.hold("b"):
        os.kill(lab.executions("b")[0], signal.SIGKILL)
        lab.open_gate("b")
    done = running.end()
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert lab.files() == lab.after == {"log.txt": b"before\nb\n"}
    assert len(lab.executions("a")) == 1
    assert len(lab.executions("b")) == 2


@pytest.mark.parametrize("fork", [(), ("--no-fork",)], ids=["fork", "no-fork"])
def test_killed_main_kernel_comes_back_without_running_committed_cells(
    lab: Lab, fork: tuple[str, ...]
) -> None:
    (lab.project / "log.txt").write_text("before\n")
    lab.write(
        "import probe, time",
        "t = time.time()\nwhile time.time() < t + 0.6: pass\na = probe.at('a')",
        "b = probe.at('b')",
        APPEND.format("c"),
        APPEND.format("d"),
        "print(a + b + xc + xd)",
    )
    lab.gate("d")
    running = lab.start("--plan", "serial", *fork, offload="none")
    with lab.hold("d"):
        main = lab.executions("d")[0]
        assert lab.executions("a") == [main]
        os.kill(main, signal.SIGKILL)
        lab.open_gate("d")
    done = running.end()
    assert done.code == 0, done.err
    assert lab.text(5) == "4.0\n"
    assert lab.files() == {"log.txt": b"before\nc\nd\n"}
    assert [len(lab.executions(n)) for n in "acd"] == [1, 1, 2]


def test_after_a_kill_of_everything_only_what_was_in_flight_is_repeated(lab: Lab) -> None:
    (lab.project / "log.txt").write_text("before\n")
    lab.write(
        "import probe",
        APPEND.format("a"),
        "b = probe.at('b')",
        "c = probe.at('c')",
        APPEND.format("d"),
        "print(xa, b, c, xd)",
    )
    lab.gate("d")
    running = lab.start()
    with lab.hold("d"):
        assert len(lab.executions("a")) == 1
        running.signal(signal.SIGKILL)
        running.end()
        lab.open_gate("d")
    assert lab.files() == {"log.txt": b"before\na\nd\n"}
    done = lab.run()
    assert done.code == 0, done.err
    assert lab.text(5) == "1.0 1.0 1.0 1.0\n"
    assert lab.files() == {"log.txt": b"before\na\nd\n"}
    assert [len(lab.executions(n)) for n in "abd"] == [1, 1, 2]
