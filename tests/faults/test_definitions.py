"""Heavy cells that also define functions and classes: they leave, and every kernel makes the definitions itself."""

from __future__ import annotations

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

TWO_BRANCHES = (
    "import probe\nG = 5",
    "from dataclasses import dataclass\n"
    "@dataclass\n"
    "class P:\n"
    "    x: int = 0\n"
    "    def up(self):\n"
    "        return self.x + G\n"
    "def boom():\n"
    "    return 1 / 0\n"
    "a = probe.at('a')\n"
    "p = P(3)\n"
    "print('a', a)\n"
    "a",
    "b = probe.at('b')\nprint('b', b)\nb",
    "print(isinstance(p, P), P(4) > P(3) if hasattr(P, '__gt__') else p == P(3), p.up(), a, b)",
    "G = 7\nprint(p.up(), P.__module__, boom.__code__.co_firstlineno)",
    "boom()",
)
CHANGED = (
    "import probe",
    "class C:\n"
    "    n = 0\n"
    "    def __init__(self):\n"
    "        type(self).n += 1\n"
    "def keep(x, kept=[]):\n"
    "    kept.append(x)\n"
    "    return kept\n"
    "c, _ = C(), keep(1)\n"
    "a = probe.at('a')",
    "b = probe.at('b')",
    "print(a, b, C.n, keep(2), type(c) is C)",
)


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
def test_a_cell_with_definitions_leaves_and_looks_like_one_cell(lab: Lab, options: tuple[str, ...]) -> None:
    lab.write(*TWO_BRANCHES)
    wanted = lab.sequential()
    done = lab.run(*options)
    assert done.code == 1, done.err
    assert lab.cell(1)["where"] == "step"
    assert lab.outputs() == wanted
    again = lab.run(*options)
    assert again.code == 1, again.err
    assert lab.outputs() == wanted
    assert len(lab.executions("a")) == 2  # the sequential run's, and one


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
def test_a_definition_that_its_cell_changes_is_never_taken_for_a_new_one(
    lab: Lab, options: tuple[str, ...]
) -> None:
    lab.write(*CHANGED)
    wanted = lab.sequential()
    for _ in range(2):
        done = lab.run(*options)
        assert done.code == 0, done.err
        assert lab.outputs() == wanted
    learned = lab.run("--plan", "hybrid", "--fresh", *options)
    assert learned.code == 0, learned.err
    assert lab.outputs() == wanted
    assert lab.cell(1)["where"] == "main"
