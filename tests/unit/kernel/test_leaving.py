"""How kernel processes end: the notebook's own ending happens once, in the kernel that made it."""

import asyncio
import os
from pathlib import Path

import pytest

from jup2kub.agent.kernel import Kernel, RunCell
from jup2kub.agent.launch import find

pytestmark = pytest.mark.kernel

MADE = """
import atexit, tempfile, weakref
held = open('held.txt', 'w')
held.write('once ')
folder = tempfile.TemporaryDirectory(dir='.', prefix='made')
def ended(): open('ended.txt', 'a').write('end ')
atexit.register(ended)
class Last:
    def __del__(self): open('last.txt', 'a').write('last ')
last = Last()
last.me = last
"""


def test_files_and_endings_are_those_of_the_kernel_that_made_them(tmp_path: Path) -> None:
    async def go() -> list[str]:
        kernel = await Kernel.start(find("python3", cwd=str(tmp_path)))
        await kernel.run(RunCell(cell=0, count=1, source=MADE))
        copy = await kernel.fork()
        await copy.run(RunCell(cell=1, count=2, source="mine = open('mine.txt', 'w'); mine.write('copy')"))
        await copy.close()
        between = sorted(p.name for p in tmp_path.iterdir())
        await kernel.close()
        return between

    between = asyncio.run(go())
    assert "ended.txt" not in between
    assert "last.txt" not in between
    assert any(name.startswith("made") for name in between)
    assert (tmp_path / "mine.txt").read_text() == "copy"
    assert (tmp_path / "held.txt").read_text() == "once "
    assert (tmp_path / "ended.txt").read_text() == "end "
    assert (tmp_path / "last.txt").read_text() == "last "
    assert not [name for name in os.listdir(tmp_path) if name.startswith("made")]
