"""A folder with a notebook, a store of its own, and gates at which cells stop until the test lets them on.

Cells reach the gates through a module `probe` that lies where libraries lie, so that what it does is no part of the
notebook: it notes each execution, and where the test has made a gate it waits for the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

WITHOUT = Path(__file__).with_name("without.py")
SECONDS = 60
"""How long anything here may take before a test fails."""

PROBE = '''
import os, socket

_FOLDER = os.path.join(os.path.dirname(__file__), "marks")
_GATES = @GATES@

def at(name, *values):
    """Note that the cell runs, wait at the gate `name` if there is one, and return a number."""
    with open(os.path.join(_FOLDER, name), "a") as file:
        file.write(f"{os.getpid()}\\n")
    gate = os.path.join(_GATES, name)
    if os.path.exists(gate):
        with socket.socket(socket.AF_UNIX) as way:
            way.connect(gate)
            way.recv(1)
    return 1.0
'''
TABLE = {"packages": {"probe": {"pure": True}}, "functions": {"probe.at": {"result": "atom", "weight": 5}}}


@dataclass(frozen=True)
class Finished:
    """What a command line gave."""

    code: int
    out: str
    err: str


class Running:
    """A command under way, in a process group of its own, as a shell starts it."""

    def __init__(self, words: list[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Signal the whole group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> Finished:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=SECONDS)
        return Finished(self.process.returncode, out, err)


class Lab:
    """One test's world below `folder`: `project`, `store`, and what the probe keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.store = folder / "store"
        self.library = folder / "site-packages"
        self.marks = self.library / "marks"
        self.project.mkdir()
        self.marks.mkdir(parents=True)
        self.short = tempfile.mkdtemp(prefix="j2k-")  # names of sockets must be short
        self.gates: dict[str, socket.socket] = {}
        (self.library / "probe.py").write_text(PROBE.replace("@GATES@", repr(self.short)))
        self.table = folder / "table.json"
        self.table.write_text(json.dumps(TABLE))
        self.notebook = self.project / "nb.ipynb"
        self.target = self.project / "out.ipynb"
        self.live: list[Running] = []

    def write(self, *cells: str, tags: dict[int, list[str]] | None = None) -> None:
        """Make these cells the notebook."""
        document = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c, id=f"cell-{i}") for i, c in enumerate(cells)]
        )
        for index, mine in (tags or {}).items():
            document.cells[index].metadata["tags"] = mine
        nbformat.write(document, self.notebook)

    def words(self, *options: str) -> list[str]:
        """Return the command line of a run."""
        plan = [] if "--plan" in options else ["--plan", "static"]
        return [
            *[sys.executable, "-m", "jup2kub", "run", str(self.notebook), "-o", str(self.target)],
            *["--store", str(self.store), "--annotations", str(self.table), *plan, *options],
        ]

    def env(self) -> dict[str, str]:
        """Return the environment of a run."""
        path = os.pathsep.join(filter(None, (str(self.library), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *options: str, offload: str = "all", workers: int = 3) -> Running:
        """Start a run; by default each cell that may leaves the main line."""
        running = Running(
            self.words("--offload", offload, "--workers", str(workers), *options), self.project, self.env()
        )
        self.live.append(running)
        return running

    def run(self, *options: str, offload: str = "all", workers: int = 3) -> Finished:
        """Run to the end."""
        return self.start(*options, offload=offload, workers=workers).end()

    def run_without(self, mechanism: str, *options: str) -> Finished:
        """Run to the end with one mechanism of validation switched off."""
        words = self.words("--offload", "all", "--workers", "3", *options)
        words[1:3] = [str(WITHOUT), mechanism]
        self.live.append(Running(words, self.project, self.env()))
        return self.live[-1].end()

    def sequential(self) -> list[Any]:
        """Return the outputs of one serial run in a store of its own, and put the files back as they were."""
        before = self.files()
        words = self.words("--offload", "none", "--plan", "serial", "--fresh")
        words[words.index("--store") + 1] = str(self.folder / "other-store")
        done = Running(words, self.project, self.env()).end()
        assert done.code in (0, 1), done.err
        outputs, self.after = self.outputs(), self.files()
        for name in self.files().keys() - before.keys():
            (self.project / name).unlink()
        for name, data in before.items():
            (self.project / name).write_bytes(data)
        return outputs

    def gate(self, name: str) -> None:
        """Let whoever comes to `name` wait there."""
        self.gates[name] = socket.socket(socket.AF_UNIX)
        self.gates[name].bind(f"{self.short}/{name}")
        self.gates[name].listen()
        self.gates[name].settimeout(SECONDS)

    def hold(self, name: str) -> socket.socket:
        """Wait until somebody is at the gate; closing what is returned lets it on."""
        return self.gates[name].accept()[0]

    def open_gate(self, name: str) -> None:
        """Let nobody wait there any more."""
        os.unlink(f"{self.short}/{name}")
        self.gates.pop(name).close()

    def executions(self, name: str) -> list[int]:
        """Return the process of each execution that came to `name`."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.marks / name).read_text().split()]
        return []

    def outputs(self) -> list[Any]:
        """Return the outputs of each cell of the executed notebook, without what differs by itself."""
        document = nbformat.read(self.target, as_version=4)
        return [[{k: v for k, v in o.items() if k != "metadata"} for o in c.outputs] for c in document.cells]

    def text(self, cell: int) -> str:
        """Return what a cell of the executed notebook printed."""
        return "".join(o.get("text", "") for o in self.outputs()[cell])

    def cell(self, index: int) -> dict[str, Any]:
        """Return what the executed notebook tells of how a cell was run."""
        document = nbformat.read(self.target, as_version=4)
        return dict(document.cells[index].metadata.get("jup2kub", {}))

    def files(self) -> dict[str, bytes]:
        """Return the files of the project, without notebooks."""
        return {
            str(p.relative_to(self.project)): p.read_bytes()
            for p in sorted(self.project.rglob("*"))
            if p.is_file() and p.suffix != ".ipynb" and "__pycache__" not in p.parts
        }

    def committed(self) -> set[int]:
        """Return the cells that some run has committed."""
        ledgers = self.store.glob("runs/*/ledger")
        names = (p.name for ledger in ledgers for p in ledger.rglob("*cell-*"))
        return {int(found[1]) for name in names for found in [re.search(r"cell-(\d+)", name)] if found}

    @staticmethod
    def age(folder: Path, seconds: float) -> None:
        """Move the dates of all files in a folder, as a clock that was wrong leaves them."""
        for path in folder.rglob("*"):
            moved = path.lstat().st_mtime + seconds
            os.utime(path, (moved, moved))

    def leave(self) -> None:
        """End whatever still runs."""
        for running in self.live:
            if running.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    running.signal(signal.SIGKILL)
                running.end()
        for name in list(self.gates):
            self.open_gate(name)
        os.rmdir(self.short)


@contextlib.contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """Give a lab, and leave no process behind."""
    lab = Lab(folder)
    try:
        yield lab
    finally:
        lab.leave()
