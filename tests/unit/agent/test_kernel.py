"""The kernel client: facts, forks, deaths, values, files put back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jup2kub.agent.kernel import CellResult, ForkRefused, Kernel, KernelDied, RunCell
from jup2kub.agent.launch import find
from jup2kub.agent.undo import restore
from jup2kub.errors import EnvironmentProblem

pytestmark = pytest.mark.kernel


class Line:
    """A kernel and the number of its next cell."""

    def __init__(self, kernel: Kernel, folder: Path, number: int = 0) -> None:
        self.kernel, self.folder, self.number = kernel, folder, number

    async def __call__(self, source: str, **more: Any) -> CellResult:
        self.number += 1
        request = RunCell(self.number - 1, self.number, source, project=str(self.folder), **more)
        return await asyncio.wait_for(self.kernel.run(request), 60)

    async def value(self, expression: str) -> Any:
        result = await self(f"import json as _json; print(_json.dumps({expression}))")
        assert result.status == "ok", result.error
        return json.loads(result.outputs[0]["text"])

    async def fork(self) -> Line:
        return Line(await self.kernel.fork(), self.folder, self.number)


def with_kernel(folder: Path, body: Callable[[Line], Awaitable[None]]) -> None:
    async def main() -> None:
        kernel = await Kernel.start(find("python3", cwd=str(folder)))
        try:
            await body(Line(kernel, folder))
        finally:
            await kernel.close()

    asyncio.run(main())


def test_names_bound_changed_and_deleted_are_told(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run("a = [1]; b = [2]; c = {'x': a}; d = 5; import os")
        result = await run("a.append(2); d = 6; e = b; del os", watch=("a", "b", "c", "d"), budget=5.0)
        assert result.facts.bound == {"d", "e"}
        assert result.facts.deleted == {"os"}
        assert {"a", "c"} <= result.facts.mutated
        assert "b" not in result.facts.mutated
        assert {"b", "@env", "@cwd"} <= result.facts.unchanged
        result = await run("a = a\nb = [2]\nb = [2]\nfor i in range(3): c = [i]")
        assert {"b", "c", "i"} <= result.facts.bound

    with_kernel(tmp_path, body)


def test_objects_die_when_they_would(tmp_path: Path) -> None:
    """Watching a cell keeps nothing alive: a file that loses its last name is closed there and then."""

    async def body(run: Line) -> None:
        await run("f = open('t.txt', 'w'); _n = f.write('kept')")
        assert await run.value("[globals().pop('f') is None, open('t.txt').read()]") == [False, "kept"]

    with_kernel(tmp_path, body)


def test_ambient_changes_and_seeds_are_told(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        result = await run("import random, os; random.random()")
        assert "@rng:random" in result.facts.mutated
        assert "unseeded" in result.facts.effects
        assert not result.seeded
        result = await run("random.seed(1); os.environ['J2K_T'] = '1'; os.chdir('..')")
        assert {"@rng:random", "@env", "@cwd"} <= result.facts.mutated
        assert result.seeded == {"@rng:random"}
        assert "unseeded" not in result.facts.effects

    with_kernel(tmp_path, body)


def test_files_effects_and_imports_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("1")
    (tmp_path / "helper.py").write_text("x = 1")

    async def body(run: Line) -> None:
        result = await run(
            "import os, helper\nopen('in.txt').read(); open('out.txt', 'w').write('2')\n"
            "try: open('gone.txt')\nexcept OSError: pass\nos.listdir('.')"
        )
        assert {"in.txt", "helper.py", "."} <= set(result.facts.files_read)
        assert result.facts.files_written == ("out.txt",)
        assert result.facts.absent == ("gone.txt",)
        assert "helper" in result.facts.imports
        assert not result.facts.effects
        result = await run("!true")
        assert "process" in result.facts.effects

    with_kernel(tmp_path, body)


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (
            "import threading; t = threading.Thread(target=threading.Event().wait, daemon=True); t.start()",
            "thread",
        ),
        ("import subprocess; p = subprocess.Popen(['sleep', '60'])", "child process"),
        ("import asyncio; t = asyncio.create_task(asyncio.sleep(60))", "task"),
        ("import signal; signal.signal(signal.SIGUSR1, print)", "signal handler"),
        ("import socket; s = socket.create_server(('127.0.0.1', 0))", "listening socket"),
        ("import atexit; atexit.register(int)", "at the end"),
        ("x = 1", ""),
    ],
)
def test_what_a_cell_leaves_running_is_told(source: str, left: str, tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        result = await run(source)
        assert left in result.facts.sticky
        assert bool(left) == bool(result.facts.sticky)
        await run("try: p.kill()\nexcept NameError: pass")

    with_kernel(tmp_path, body)


def test_forks_and_forks_of_forks_are_kernels_of_their_own(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run("import os, random, asyncio; x = [1]; name = (lambda: 0).__code__.co_filename")
        one = await run.fork()
        two = await one.fork()
        await asyncio.gather(
            run("x.append('main')"), one("x.append('one')"), two("await asyncio.sleep(0); x.append('two')")
        )
        lines = (run, one, two)
        assert [await line.value("x") for line in lines] == [[1, "main"], [1, "one"], [1, "two"]]
        assert len({await line.value("os.getpid()") for line in lines}) == 3
        assert len({await line.value("random.random()") for line in lines}) == 3, "unseeded generators differ"
        folders = {await line.value("os.path.dirname((lambda: 0).__code__.co_filename)") for line in lines}
        assert len(folders) == 1, "cells have the file names of main"
        assert (
            await run.value(
                "os.path.exists('/proc/%d/task' % os.getpid()) and open('/proc/self/task/%d/children' % os.getpid()).read()"
            )
            == ""
        )
        two.kernel.kill()
        assert (await two.kernel.dead).signal == "SIGKILL"
        await one.kernel.close()
        assert await run.value("1") == 1

    with_kernel(tmp_path, body)


def test_seeded_generators_go_on_alike_in_a_fork(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run("import random; random.seed(3)")
        fork = await run.fork()
        assert await run.value("random.random()") == await fork.value("random.random()")
        await fork.kernel.close()

    with_kernel(tmp_path, body)


def test_a_fork_is_refused_while_a_thread_runs(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run("import threading; e = threading.Event(); t = threading.Thread(target=e.wait); t.start()")
        with pytest.raises(ForkRefused, match="thread"):
            await run.kernel.fork()
        await run("e.set(); t.join()")
        await (await run.kernel.fork()).close()

    with_kernel(tmp_path, body)


@pytest.mark.parametrize(
    ("way", "signal"),
    [("os.kill(os.getpid(), 9)", "SIGKILL"), ("os.abort()", "SIGABRT"), ("os._exit(3)", "")],
)
def test_a_death_is_noticed_with_its_cause_and_what_was_printed(
    way: str, signal: str, tmp_path: Path
) -> None:
    async def body(run: Line) -> None:
        with pytest.raises(KernelDied) as caught:
            await run(f"import os; print('last words'); {way}")
        death = caught.value.death
        assert (death.signal, death.cell, death.wanted) == (signal, 0, False)
        assert death.code == (None if signal else 3)
        assert caught.value.outputs[0]["text"] == "last words\n"
        with pytest.raises(KernelDied):
            await run("1")

    with_kernel(tmp_path, body)


def test_an_interrupt_ends_the_cell_and_stacks_tell_where_it_is(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        started = asyncio.Event()
        run.kernel._on_output = lambda cell, output: started.set()
        cell = asyncio.ensure_future(run("def hang():\n    print('now')\n    while True: pass\nhang()"))
        await asyncio.wait_for(started.wait(), 30)
        assert "in hang" in await run.kernel.stacks()
        run.kernel.interrupt()
        result = await cell
        assert result.error is not None
        assert result.error["ename"] == "KeyboardInterrupt"
        assert await run.value("1") == 1

    with_kernel(tmp_path, body)


def test_values_go_from_kernel_to_kernel(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run("class A: pass\na = A(); a.v = [1]; b = a.v; c = (i for i in ())")
        fork = await run.fork()
        await fork("a.v.append(2)")
        saved, unshippable = await fork.kernel.save([["a", "b"], ["c"], ["nothing"]], str(tmp_path))
        assert [s["names"] for s in saved] == [["a", "b"]]
        assert set(unshippable) == {"c", "nothing"}
        await run.kernel.drop(["a"])
        assert await run.value("'a' in globals()") is False
        assert await run.kernel.load(saved[0]["path"]) == ["a", "b"]
        assert await run.value("[a.v, a.v is b, type(a) is A]") == [[1, 2], True, True]
        assert (await run.kernel.digest(["b"])) == (await fork.kernel.digest(["b"]))
        await fork.kernel.close()

    with_kernel(tmp_path, body)


def test_a_replay_is_silent_and_counts_come_with_the_request(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        result = await run("print('unheard'); 1", silent=True)
        assert result.outputs == ()
        request = RunCell(5, 7, "x = In[3]; 2", inputs={3: "elsewhere"})
        result = await run.kernel.run(request)
        assert result.outputs[0]["execution_count"] == 7
        result = await run.kernel.run(replace(request, count=8, source="x, _, Out[7], len(In), _1"))
        assert result.outputs[0]["data"]["text/plain"] == "('elsewhere', 2, 2, 9, 1)"

    with_kernel(tmp_path, body)


def test_exit_ends_the_kernel(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        assert (await run("exit()")).leaving
        assert (await run.kernel.dead).code == 0

    with_kernel(tmp_path, body)


def test_text_of_processes_and_streams_stays_in_order(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        result = await run(
            "import os, sys, subprocess\nprint('a', end='')\nsubprocess.run(['echo', 'b'])\nprint('c')\n"
            "os.write(1, b'd\\n'); print('e', file=sys.stderr); sys.stdout.buffer.write(b'f\\n'); os.system('echo g');"
        )
        assert [(o["name"], o["text"]) for o in result.outputs] == [
            ("stdout", "ab\nc\nd\n"),
            ("stderr", "e\n"),
            ("stdout", "f\ng\n"),
        ]

    with_kernel(tmp_path, body)


def test_a_cell_that_redirects_its_descriptors_catches_no_markers(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        await run(
            "import os; keep = os.dup(1); f = open('log', 'wb'); os.dup2(f.fileno(), 1)\n"
            "os.write(1, b'raw'); print('text'); os.dup2(keep, 1); f.close()"
        )
        assert (run.folder / "log").read_bytes() == b"raw"

    with_kernel(tmp_path, body)


def test_files_of_a_killed_cell_are_put_back(tmp_path: Path) -> None:
    project, undo = tmp_path / "project", tmp_path / "undo"
    (project / "folder").mkdir(parents=True)
    for name in ("changed", "removed", "appended", "renamed", "target", "folder/inside", "untouched"):
        (project / name).write_text(name)
    (project / "link").symlink_to("changed")
    before = {p.relative_to(project): p.read_bytes() for p in project.rglob("*") if p.is_file()}

    async def body(run: Line) -> None:
        with pytest.raises(KernelDied):
            await run(
                "import os, shutil\n"
                "open('changed', 'w').write('x'); os.remove('removed'); open('appended', 'a').write('more')\n"
                "os.rename('renamed', 'target'); shutil.rmtree('folder'); open('new', 'w').write('n')\n"
                "os.makedirs('made/deep'); open('made/deep/f', 'w').close(); open('changed', 'a').write('y')\n"
                "open('appended', 'w').write('z'); os.remove('link')\n"
                "os.kill(os.getpid(), 9)",
                undo=str(undo),
            )

    with_kernel(project, body)
    restore(undo)
    after = {p.relative_to(project): p.read_bytes() for p in project.rglob("*") if p.is_file()}
    assert after == before
    assert (project / "link").is_symlink()
    assert not (project / "made").exists()
    restore(undo)
    assert {p.relative_to(project): p.read_bytes() for p in project.rglob("*") if p.is_file()} == before
    restore(tmp_path / "never made")


def test_files_written_by_forked_children_are_told_and_put_back(tmp_path: Path) -> None:
    project, undo = tmp_path / "project", tmp_path / "undo"
    project.mkdir()
    (project / "old").write_text("old")

    async def body(run: Line) -> None:
        source = "import os\npid = os.fork()\nif not pid:\n    open('old', 'w').write('x'); open('new', 'w').close(); os._exit(0)\n_ = os.waitpid(pid, 0)"
        result = await run(source, undo=str(undo))
        assert set(result.facts.files_written) == {"old", "new"}
        assert "process" in result.facts.effects

    with_kernel(project, body)
    restore(undo)
    assert [p.name for p in project.iterdir()] == ["old"]
    assert (project / "old").read_text() == "old"


def test_numpys_generator_is_known_to_be_seeded_or_not_in_the_cell_that_imports_it(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        assert (await run("import numpy as np; np.random.rand(3000)")).seeded == frozenset()
        assert (await run("np.random.rand(3); np.random.shuffle([1, 2])")).seeded == frozenset()
        fork = await run.fork()
        assert await run.value("np.random.rand()") != await fork.value("np.random.rand()")
        assert (await run("np.random.seed(0)")).seeded == {"@rng:numpy"}
        await fork.kernel.close()

    with_kernel(tmp_path, body)
    with_kernel(tmp_path, other)


async def other(run: Line) -> None:
    assert (await run("import numpy as np; np.random.seed(0)")).seeded == {"@rng:numpy"}
    fork = await run.fork()
    assert await run.value("np.random.rand()") == await fork.value("np.random.rand()")
    await fork.kernel.close()


def test_helpers_of_tqdm_and_joblib_do_not_forbid_forks(tmp_path: Path) -> None:
    async def body(run: Line) -> None:
        result = await run(
            "from tqdm import tqdm; from joblib import Parallel, delayed\n"
            "for i in tqdm(range(2)): pass\nParallel(n_jobs=2)(delayed(abs)(i) for i in range(4))"
        )
        assert not result.facts.sticky
        fork = await run.fork()
        assert await fork.value("sum(Parallel(n_jobs=2)(delayed(abs)(i) for i in range(4)))") == 6
        await fork.kernel.close()

    with_kernel(tmp_path, body)


def test_a_kernel_that_does_not_start_says_why(tmp_path: Path) -> None:
    launch = replace(find("python3", cwd=str(tmp_path)), argv=("/usr/bin/env", "-i", "false"))
    with pytest.raises(EnvironmentProblem) as caught:
        asyncio.run(Kernel.start(launch))
    assert caught.value.code == "J2K402"
    with pytest.raises(EnvironmentProblem):
        asyncio.run(Kernel.start(replace(launch, argv=(str(tmp_path / "nothing"),))))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> tuple[int, int]:
        before = count()
        kernel = await Kernel.start(find("python3", cwd=str(tmp_path)))
        fork = await kernel.fork()
        await fork.close()
        await kernel.close()
        return before, count()

    before, after = asyncio.run(main())
    assert after == before
