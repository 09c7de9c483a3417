"""What an object does when it dies, it does once, in the cell that lets go of it."""

from __future__ import annotations

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

NOTED = "class Noted:\n    def __init__(self, n): self.n = n\n    def __del__(self): {0}\nx = Noted(1)\nbox = [Noted(2)]"


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
def test_a_name_that_waits_for_its_value_runs_no_finalizer(lab: Lab, options: tuple[str, ...]) -> None:
    (lab.project / "log.txt").write_text("")
    note = "open('log.txt', 'a').write(f'{self.n} ')"
    lab.write(
        "import probe\n" + NOTED.format(note),
        "a = probe.at('a')\nx = Noted(3)",
        "b = probe.at('b')\nbox.append(4)",
        "c = probe.at('c')\nbox = None",
        "print(a, b, c, x.n, open('log.txt').read())",
    )
    wanted = lab.sequential()
    for _ in range(2):
        (lab.project / "log.txt").write_text("")
        done = lab.run(*options)
        assert done.code == 0, done.err
        assert lab.outputs() == wanted


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
def test_what_a_finalizer_prints_and_counts_comes_once(lab: Lab, options: tuple[str, ...]) -> None:
    lab.write(
        "import probe\ngone = []\n" + NOTED.format("print('gone', self.n); gone.append(self.n)"),
        "a = probe.at('a')\nx = Noted(3)",
        "b = probe.at('b')\nbox.append(4)",
        "c = probe.at('c')\nbox = None",
        "print(a, b, c, x.n, gone)",
    )
    wanted = lab.sequential()
    for _ in range(2):
        (lab.project / "log.txt").write_text("")
        done = lab.run(*options)
        assert done.code == 0, done.err
        assert lab.outputs() == wanted
