"""Whatever is killed, stopped or cut off, and when: the answer is that of one kernel, nothing finished begins again,
nothing acts twice."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jup2kub.compose import Execution, Settings, execute
from jup2kub.errors import Jup2KubError

from .chaos import Adversary, Proxy
from .lab import Lab
from .test_faults import settings, texts

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(280)]
SEEDS = range(int(os.environ.get("JUP2KUB_CHAOS_SEEDS", "4")))
PROBE = '''
import os, time

def work(name, seconds=0.7):
    """Note when the cell begins, take some time, and return a number."""
    with open(os.path.join(os.path.dirname(__file__), "marks", name), "a") as file:
        file.write(f"{time.time()}\\n")
    time.sleep(seconds)
    return 1.0
'''
TABLE = (
    '{"packages": {"probe": {"pure": true}}, "functions": {"probe.work": {"result": "atom", "weight": 5}}}'
)
HEAVY = "abcde"
CELLS = (
    "import probe, os, random, subprocess\nn = 3",
    "#| step: a\na = [probe.work('a')] * n",
    "#| step: b\nb = probe.work('b')\n_ = open('b.txt', 'w').write('B' * n)",
    "r = random.random()",
    "#| step: c\nc = sum(a) + probe.work('c')\nmet = r",
    "squares = []\nfor i in range(8):\n    squares.append(i * probe.work('loop', 0.15))",
    "subprocess.run(['sh', '-c', 'echo x >> @ACTED@'], check=True).returncode",
    "#| step: d\nd = open('b.txt').read() + str(probe.work('d'))\nwith open('log.txt', 'a') as f:\n    _ = f.write(d)",
    "#| step: e\ne = bytes(int(3_000_000 * probe.work('e')))",
    "log = open('log.txt').read()\n_ = open('end.txt', 'w').write(log)",
    "print(a, b, c, d, len(e), squares, log, met == r)\nprint(sorted(f for f in os.listdir('.') if f.endswith('.txt')))",
)


class World:
    """The notebook, and what its cells leave outside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.acted = folder, folder / "acted"
        self.library = folder / "site-packages"
        (self.library / "marks").mkdir(parents=True)
        (self.library / "probe.py").write_text(PROBE)
        (folder / "table.json").write_text(TABLE)

    def settings(self, name: str) -> Settings:
        made = settings(self.folder / name, [c.replace("@ACTED@", str(self.acted)) for c in CELLS])
        (made.notebook.parent / "log.txt").write_text("before ")
        return replace(made, annotations=(self.folder / "table.json",), plan="static")

    def begun(self, name: str) -> list[float]:
        path = self.library / "marks" / name
        return [float(line) for line in path.read_text().split()] if path.exists() else []

    def forget(self) -> None:
        self.acted.unlink()
        for path in (self.library / "marks").iterdir():
            path.unlink()


def files(wanted: Settings) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(wanted.notebook.parent.glob("*.txt"))}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    path = os.pathsep.join(filter(None, (str(made.library), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_the_answer_is_that_of_one_kernel(world: World, seed: int, tmp_path: Path) -> None:
    serial = replace(world.settings("serial"), store=tmp_path / "store", offload="none", plan="serial")
    expected, left = texts(execute(serial, lambda told: None)), files(serial)
    world.forget()
    wanted, done, refused = world.settings("project"), None, ""
    with Lab(tmp_path / "lab", name="run-1") as lab:
        proxy = Proxy(lab.port)
        lab.url = f"http://127.0.0.1:{proxy.port}"
        lab.hire(3)
        with Adversary(lab, proxy, seed, blows=8) as adversary:
            try:
                done = lab.begin(wanted).result(150.0)
            except Jup2KubError as problem:
                refused = problem.code
        proxy.close()
        assert refused in ("", "J2K602"), (refused, adversary.done)
        check(world, lab, adversary, done)
    if done is not None:
        assert (texts(done), files(wanted)) == (expected, left), adversary.done


def check(world: World, lab: Lab, adversary: Adversary, done: Execution | None) -> None:
    """Nothing acted twice, and no step began after its result was there."""
    acted = world.acted.read_text() if world.acted.exists() else ""
    assert acted in ("x\n", "") if done is None else acted == "x\n", adversary.done
    records = lab.store.records(lab.store.runs()[0].id)
    for cell, name in ((1, "a"), (2, "b"), (4, "c"), (5, "loop"), (7, "d"), (8, "e")):
        ready = [r["committed"] for slot, r in records.items() if slot.step == f"cell-{cell}"]
        late = [at for at in world.begun(name) if ready and at > min(ready) + 0.5]
        assert not late, (name, late, ready, adversary.done)
        assert len(world.begun(name)) <= (8 if name == "loop" else 1) * (1 + len(adversary.done))
