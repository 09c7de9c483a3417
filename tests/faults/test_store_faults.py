"""A full disk, torn and cut results, a broken key, two runs at once: never a wrong answer."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

CELLS = (
    "import probe",
    "a = [probe.at('a')] * 1000\nfor i in range(8_000_000): pass",
    "with open('log.txt', 'a') as f:\n    f.write('line\\n')\nn = sum(a)",
    "print(n, open('log.txt').read())",
)


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path_factory.mktemp("small")
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, timeout=10).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@pytest.mark.parametrize("offload", ["none", "all"])
def test_results_that_do_not_fit_are_not_kept(lab: Lab, small: Path, offload: str) -> None:
    """Only keeping fails: the run goes on and says so, or it stops with a way out; the answer is never wrong."""
    lab.store = small / "store"
    lab.write("import probe, os", "a = os.urandom(6_000_000)\nx = probe.at('a')", "b = len(a)", "print(b)")
    done = lab.run(offload=offload)
    if done.code == 0:
        assert lab.text(3) == "6000000\n"
        assert "space" in done.err
    else:
        assert done.code == 3
        assert "J2K503" in done.err
        assert "hint: " in done.err


def test_full_disk_from_the_start(lab: Lab, small: Path) -> None:
    free = os.statvfs(small).f_bfree * os.statvfs(small).f_bsize
    (small / "filler").write_bytes(bytes(free))
    lab.store = small / "store"
    lab.write("print(1)")
    done = lab.run()
    assert done.code == 3
    assert "J2K50" in done.err
    assert "hint: " in done.err


@pytest.mark.slow
@pytest.mark.parametrize("what", ["blobs", "runs", "memo", "profile"])
@pytest.mark.parametrize("offload", ["none", "all"])
def test_cut_store_gives_the_same_answer(lab: Lab, what: str, offload: str) -> None:
    lab.write(*CELLS)
    expected = lab.sequential()
    (lab.marks / "a").unlink()
    assert lab.run("--plan", "hybrid", offload=offload).code == 0
    after = lab.files()
    for path in (lab.store / what).rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            os.truncate(path, path.stat().st_size // 2)
    (lab.project / "log.txt").unlink()
    done = lab.run("--plan", "hybrid", offload=offload)
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert lab.files() == after
    if what == "blobs":
        assert len(lab.executions("a")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["zeroed", "flipped"])
@pytest.mark.parametrize("what", ["blobs", "runs"])
def test_damaged_store_gives_the_same_answer(lab: Lab, what: str, damage: str) -> None:
    """Files keep their length; each byte is zero, or one bit in the middle is another."""
    lab.write(*CELLS)
    expected = lab.sequential()
    assert lab.run("--plan", "hybrid").code == 0
    after = lab.files()
    for path in (lab.store / what).rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.chmod(0o600)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(bytes(len(data)) if damage == "zeroed" else data)
    (lab.project / "log.txt").unlink()
    done = lab.run("--plan", "hybrid")
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert lab.files() == after


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_broken_key(lab: Lab, content: bytes | None) -> None:
    lab.write("print(1)")
    assert lab.run().code == 0
    (key,) = [p for p in lab.store.iterdir() if "key" in p.name]
    if content is None:
        key.chmod(0o644)
    else:
        key.chmod(0o600)
        key.write_bytes(content)
    done = lab.run()
    assert done.code == 3
    assert "J2K506" in done.err
    assert "hint: " in done.err


def test_two_runs_at_once_do_not_mix(lab: Lab) -> None:
    lab.write("import probe", "a = probe.at('a')", "b = a + probe.at('b')\nprint(b)")
    lab.gate("a")
    first = lab.start()
    with lab.hold("a"):
        lab.open_gate("a")
        second_target = lab.target
        second = lab.run()
        assert second.code == 0, second.err
        assert lab.text(2) == "2.0\n"
        second_target.unlink()
    done = first.end()
    assert done.code == 0, done.err
    assert lab.text(2) == "2.0\n"
    assert len(lab.executions("a")) == 2


def test_other_runs_do_not_take_back_what_a_live_one_has_written(lab: Lab) -> None:
    lab.write(
        "import probe",
        "with open('log.txt', 'w') as f:\n    f.write('mine')",
        "a = probe.at('a')",
        "print(a)",
    )
    lab.gate("a")
    first = lab.start(offload="none")
    with lab.hold("a"):
        lab.open_gate("a")
        assert lab.run(offload="none").code == 0
        assert lab.files() == {"log.txt": b"mine"}
        first.signal(signal.SIGINT)
        assert first.end().code == 130
    assert lab.files() == {"log.txt": b"mine"}
