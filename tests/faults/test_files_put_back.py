"""What a killed cell did to the files of the project is undone by the next run, whatever it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

DEEDS = {
    "write inside": "f = open('d.bin', 'r+b'); f.seek(2); f.write(b'XX'); f.flush()",
    "append": "f = open('log.txt', 'a'); f.write('more'); f.flush()",
    "append, then cut": "f = open('log.txt', 'a'); f.write('more'); f.flush(); open('log.txt', 'w').close()",
    "memory map of an array": "import numpy as np\nm = np.memmap('d.bin', dtype='u1', mode='r+'); m[:3] = 9; m.flush()",
    "memory map": "import mmap\nf = open('d.bin', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0:2] = b'ZZ'; m.flush()",
    "write through a link": "open('link', 'w').write('through')",
    "replace a link": "import os\nos.unlink('link'); os.symlink('log.txt', 'link')",
    "remove a tree": "import shutil\nshutil.rmtree('sub')",
    "rename a folder": "import os\nos.rename('sub', 'sub2'); open('sub2/x.txt', 'w').write('new')",
    "rename a file": "import shutil\nshutil.move('log.txt', 'sub/moved.txt')",
    "replace a file": "import os\nopen('tmp', 'w').write('new'); os.replace('tmp', 'log.txt')",
    "remove and write": "import os\nos.unlink('log.txt'); open('log.txt', 'w').write('again')",
    "cut": "import os\nos.truncate('log.txt', 1)",
    "rights": "import os\nos.chmod('log.txt', 0o600)",
    "second name": "import os\nos.link('log.txt', 'hard')",
    "deep folders": "import os\nos.makedirs('p/q/r'); open('p/q/r/f', 'w').write('1')",
    "table": "import pandas as pd\npd.DataFrame({'a': [1]}).to_csv('log.txt')",
    "array": "import numpy as np\nnp.save('a.npy', np.arange(5)); np.savetxt('log.txt', [1.0])",
    "database": "import sqlite3\nd = sqlite3.connect('new.db'); d.execute('create table t (x)'); d.commit()",
    "big file": "f = open('big.bin', 'r+b'); f.write(b'x' * 30_000_000); f.flush()",
}


def look(folder: Path) -> dict[str, tuple[str, object, int]]:
    """Return kind, content and rights of everything in the folder, notebooks left out."""
    found: dict[str, tuple[str, object, int]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode & 0o777
        if path.suffix != ".ipynb" and "__pycache__" not in path.parts:
            content: object = os.readlink(path) if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
            kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
            found[str(path.relative_to(folder))] = (kind, content, mode)
    return found


@pytest.mark.parametrize("offload", ["none", "all"])
@pytest.mark.parametrize("deed", DEEDS)
def test_deed_of_a_killed_cell_is_undone(lab: Lab, deed: str, offload: str) -> None:
    (lab.project / "log.txt").write_text("before\n")
    (lab.project / "d.bin").write_bytes(b"0123456789")
    (lab.project / "big.bin").write_bytes(bytes(20_000_000) if deed == "big file" else b"")
    (lab.project / "t.txt").write_text("target")
    (lab.project / "link").symlink_to("t.txt")
    (lab.project / "sub").mkdir()
    (lab.project / "sub" / "x.txt").write_text("x")
    before = look(lab.project)
    lab.write("import probe", DEEDS[deed] + "\nb = probe.at('b')", "print(b)")
    lab.gate("b")
    running = lab.start(offload=offload)
    with lab.hold("b"):
        assert look(lab.project) != before
        running.signal(signal.SIGKILL)
        running.end()
    lab.write("print('another thing')")
    done = lab.run(offload=offload)
    assert done.code == 0, done.err
    assert look(lab.project) == before
