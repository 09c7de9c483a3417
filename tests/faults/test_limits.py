"""Time-outs and memory: what hangs is stopped and shown, what does not fit waits."""

from __future__ import annotations

import pytest

from jup2kub.store.files import FileStore

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

DEAF = """#| timeout: 1s
def here_it_hangs():
    n = probe.at('b')
    while True:
        try:
            while True: n += 1
        except KeyboardInterrupt:
            n = 0
here_it_hangs()"""


@pytest.mark.parametrize("offload", ["none", "all"])
def test_cell_over_its_time_is_interrupted(lab: Lab, offload: str) -> None:
    lab.write(
        "import probe, time",
        "#| timeout: 1s\nprint('begun')\ndef here_it_hangs():\n    n = probe.at('b')\n    while True: n += 1\n"
        "here_it_hangs()",
        "print('never')",
    )
    done = lab.run(offload=offload)
    assert done.code == 1
    assert "J2K100 cell 1 raised TimeoutError: more than 1 s" in done.err
    assert "timeout: …" in done.err
    assert lab.text(1) == "begun\n"
    shown = lab.outputs()[1][-1]
    assert shown["ename"] == "TimeoutError"
    assert "here_it_hangs" in "".join(shown["traceback"])
    assert lab.outputs()[2] == []


def test_cell_that_ignores_the_interrupt_is_killed(lab: Lab) -> None:
    lab.write("import probe", DEAF, "print('free')", "print(here_it_hangs)")
    done = lab.run("--keep-going", offload="none")
    assert done.code == 1, done.err
    assert "here_it_hangs" in "".join(lab.outputs()[1][-1]["traceback"])
    assert len(lab.executions("b")) == 1
    assert lab.text(2) == "free\n"
    assert lab.outputs()[3] == []


def test_memory_error_has_a_way_out(lab: Lab) -> None:
    lab.write("n = 2 ** 62\nbytearray(n)")
    done = lab.run(offload="none")
    assert done.code == 1
    assert "raised MemoryError" in done.err
    assert "hint: memory ran out" in done.err


def test_what_does_not_fit_together_runs_one_after_the_other(lab: Lab) -> None:
    work = "#| resources: memory={0}\n{1} = probe.at('log', '{1}')\nfor i in range(20_000_000): pass\n{1} += probe.at('log')"
    lab.write("import probe", work.format("900Gi", "a"), work.format("900Gi", "b"), "print(a + b)")
    done = lab.run()
    assert done.code == 0, done.err
    pids = lab.executions("log")
    assert len(pids) == 4
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_cell_that_kills_its_kernel_ends_the_notebook(lab: Lab) -> None:
    lab.write("import probe, ctypes", "print('begun')\nb = probe.at('b')\nctypes.string_at(0)")
    done = lab.run(offload="none")
    assert done.code == 1
    assert "cell 1" in done.err
    assert lab.text(1) == "begun\n"
    assert len(lab.executions("b")) == 2


def test_a_copy_of_the_kernel_counts_only_the_memory_it_adds(lab: Lab) -> None:
    lab.write(
        "import probe, numpy as np\nlarge = np.ones(40_000_000)",
        "a = probe.at('a')\nsmall = np.ones(5_000_000)\ntotal = float(large.sum() + small.sum())",
        "b = probe.at('b')",
        "print(total, a, b)",
    )
    assert lab.run().code == 0
    found = FileStore(lab.store)
    try:
        facts = next(f for f in found.profile().values() if "small" in f.bound)
    finally:
        found.close()
    assert facts.peak_bytes > 320_000_000
    assert facts.grown_bytes is not None
    assert 35_000_000 < facts.grown_bytes < 200_000_000
