"""The store in a folder: what only a folder can get wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jup2kub.errors import EXIT_ENVIRONMENT, StoreProblem
from jup2kub.store import RunKey, Slot, blobs, process
from jup2kub.store.disk import TEMPORARY, Disk
from jup2kub.store.files import FileStore
from jup2kub.store.runs import run_id

KEY = RunKey("/a.ipynb", "c0de")


def opened(root: Path, disk: Disk | None = None) -> FileStore:
    return FileStore(root, durable=False, disk=disk)


def dead() -> process.Process:
    """Return a process of this machine that has ended."""
    code = "from jup2kub.store import process; print(process.current().token)"
    token = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    found = process.parse(token.strip())
    assert found is not None
    return found


# opening


def test_the_store_and_its_key_are_private(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "store"
    root.mkdir(parents=True, mode=0o755)
    opened(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "key").stat().st_mode) == 0o600
    (root / "key").chmod(0o640)
    with pytest.raises(StoreProblem, match="others could read") as caught:
        opened(root)
    assert caught.value.code == "J2K506"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreProblem) as caught:
        opened(tmp_path)
    assert caught.value.code == "J2K504"
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ['{"format": 2}', "", "[]"])
def test_another_format_is_refused(tmp_path: Path, text: str) -> None:
    opened(tmp_path / "s")
    (tmp_path / "s" / "store.json").write_text(text)
    with pytest.raises(StoreProblem) as caught:
        opened(tmp_path / "s")
    assert caught.value.code == "J2K505"


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    (tmp_path / "s" / "key").write_text("abc")
    with pytest.raises(StoreProblem) as caught:
        opened(tmp_path / "s")
    assert caught.value.code == "J2K506"


class Refusing(Disk):
    """Fails one kind of call for good."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(durable=False)

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number), "somewhere")

        setattr(self, name, refuse)


def test_a_file_system_without_links_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreProblem, match="no exclusive link") as caught:
        opened(tmp_path / "s", Refusing("link", errno.EPERM))
    assert caught.value.code == "J2K501"
    assert list((tmp_path / "s").iterdir()) == []


def test_a_moved_store_is_probed_again(tmp_path: Path) -> None:
    opened(tmp_path / "s").close()
    (tmp_path / "s" / "store.json").write_text('{"format": 1, "device": -1}')
    with pytest.raises(StoreProblem):
        opened(tmp_path / "s", Refusing("link", errno.EPERM))
    opened(tmp_path / "s").close()
    opened(tmp_path / "s", Refusing("link", errno.EPERM)).close()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, number: int) -> None:
    for root in (tmp_path / "new", tmp_path / "old"):
        if root.name == "old":
            opened(root).close()
        with pytest.raises(StoreProblem) as caught:
            opened(root, Refusing("create", number)).open_run(KEY)
        assert caught.value.code == "J2K502"
        assert caught.value.hint


def test_a_full_disk_says_what_is_free_and_can_still_be_cleaned(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        store.close_run(store.open_run(KEY).id, "done")
    full = opened(tmp_path / "s", Refusing("create", errno.ENOSPC))
    with pytest.raises(StoreProblem, match=r"MB free") as caught:
        full.put_blob(b"more")
    assert caught.value.code == "J2K503"
    assert "clean" in (caught.value.hint or "")
    assert [d.kind for d in full.sweep(0).dropped] == ["run"]


# digests


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the blobs that are read for their digest."""
    counted: list[int] = []
    real = blobs._digest

    def count(file: object) -> str:
        counted.append(1)
        return real(file)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs, "_digest", count)
    return counted


def adopt(store: FileStore, data: bytes) -> str:
    path = store.staging() / "v"
    path.write_bytes(data)
    return store.adopt_blob(path, sha256=hashlib.sha256(data).hexdigest(), size=len(data), trusted=True)


def test_what_our_kernel_digested_is_not_read_again(tmp_path: Path, digests: list[int]) -> None:
    with opened(tmp_path / "s") as store:
        digest = adopt(store, b"x" * 1000)
        store.commit(Slot(store.open_run(KEY).id, "s"), {"blobs": [{"sha256": digest, "bytes": 1000}]})
        store.blob_path(digest, 1000)
    with opened(tmp_path / "s") as store:
        store.blob_path(digest, 1000)
    assert digests == []


def test_a_digest_is_taken_once_a_boot(
    tmp_path: Path, digests: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "s") as store:
        digest = adopt(store, b"x" * 1000)
    monkeypatch.setattr(process, "BOOT", "0123456789ab")
    for _ in range(2):
        with opened(tmp_path / "s") as store:
            store.blob_path(digest, 1000)
    assert len(digests) == 1


def test_a_digest_is_taken_again_after_a_crash(tmp_path: Path, digests: list[int]) -> None:
    with opened(tmp_path / "s") as store:
        digest = adopt(store, b"x" * 1000)
    (tmp_path / "s" / "users" / f"{dead().token}-0").touch()
    for _ in range(2):
        with opened(tmp_path / "s") as store:
            store.blob_path(digest, 1000)
    assert len(digests) == 1


def test_an_unsigned_digest_is_not_believed(tmp_path: Path, digests: list[int]) -> None:
    with opened(tmp_path / "s") as store:
        digest = adopt(store, b"x" * 1000)
    log = tmp_path / "s" / "verified" / process.BOOT
    log.write_bytes(log.read_bytes().replace(b"1000", b"1001"))
    with opened(tmp_path / "s") as store:
        store.blob_path(digest, 1000)
    assert len(digests) == 1


def test_a_blob_cannot_be_written_by_accident(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        digest = adopt(store, b"abc")
        assert stat.S_IMODE(store.blob_path(digest, 3).stat().st_mode) == 0o400


# runs


def test_run_ids_sort_by_time() -> None:
    ids = [run_id(t, bytes(10)) for t in (0.0, 0.001, 1.0, 1_800_000_000.0, 4_000_000_000.0)]
    assert ids == sorted(set(ids))
    assert ids[0] == "0" * 26
    assert run_id(1.0, b"\xff" * 10).endswith("z" * 16)


HOLDER = """
import sys
from pathlib import Path
from jup2kub.store import RunKey
from jup2kub.store.files import FileStore
store = FileStore(Path(sys.argv[1]), durable=False)
print(store.open_run(RunKey("/a.ipynb", "c0de")).id, flush=True)
sys.stdin.read()
"""


def test_a_killed_run_is_interrupted_and_continued(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with opened(root) as store:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            run = child.stdout.readline().strip()
            assert [(r.id, r.state, r.live, r.pid) for r in store.runs()] == [
                (run, "running", True, child.pid)
            ]
            mine = store.open_run(KEY)
            assert mine.id != run
            store.close_run(mine.id, "done")
            assert f"run {run}" in store.sweep(0).pinned
            child.send_signal(signal.SIGKILL)
        assert [(r.id, r.state, r.live) for r in store.runs()] == [(run, "interrupted", False)]
        again = store.open_run(KEY)
        assert (again.id, again.resumed) == (run, True)


class Stopped(Disk):
    """Stands for a process that is stopped right before it links, and goes on later."""

    def __init__(self) -> None:
        super().__init__(durable=False)
        self.meanwhile = lambda: None

    def link(self, source: Path, target: Path) -> None:
        self.meanwhile()
        super().link(source, target)


def test_a_zombie_cannot_commit_after_a_cancellation(tmp_path: Path) -> None:
    disk = Stopped()
    zombie, other = opened(tmp_path / "s", disk), opened(tmp_path / "s")
    run = zombie.open_run(KEY).id
    disk.meanwhile = lambda: other.cancel(run, {"by": "ada"}) and None
    assert zombie.commit(Slot(run, "s"), {"status": "ok"}) == (False, {"by": "ada", "status": "cancelled"})
    assert other.records(run) == {}
    assert list(tmp_path.rglob("s.s.*")) == []
    zombie.close()


def test_a_lost_answer_to_a_link_is_a_win(tmp_path: Path) -> None:
    class Deaf(Disk):
        def link(self, source: Path, target: Path) -> None:
            super().link(source, target)
            raise FileExistsError(errno.EEXIST, "the answer was lost, the retry found it", str(target))

    opened(tmp_path / "s").close()
    with opened(tmp_path / "s", Deaf(durable=False)) as store:
        assert store.commit(Slot(store.open_run(KEY).id, "s"), {"status": "ok"}).won


def test_a_forged_commit_is_ignored_with_a_reason_and_passed_by(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        run = store.open_run(KEY).id
        store.commit(Slot(run, "a"), {"status": "ok"})
        ledger = tmp_path / "s" / "runs" / run / "ledger"
        (ledger / "s.b.0.0.json").write_bytes((ledger / "s.a.0.0.json").read_bytes())
        slot = Slot(run, "b")
        assert store.record(slot) is None
        assert store.ignored() == {f"runs/{run}/s.b.0.0.json": "its signature is not this store's"}
        assert store.commit(slot, {"status": "ok"}) == (False, None)
        assert store.latest(run, "b") is None
        after = store.next_generation(slot)
        assert store.commit(after, {"status": "ok"}).won
        assert store.latest(run, "b") == (after, {"status": "ok"})


# sweep


def test_a_sweep_removes_what_the_dead_left_half_written(tmp_path: Path) -> None:
    root, gone, stranger = tmp_path / "s", dead(), process.Process("0" * 12, 1, 1, 1)
    with opened(root) as store:
        store.put_blob(b"whole")
        folder = next((root / "blobs").iterdir())
        for writer in (gone, stranger, process.current()):
            (folder / f"{TEMPORARY}{writer.token}-0").write_bytes(b"half")
            (root / "staging" / f"{writer.token}-9").mkdir()
            (root / "staging" / f"{writer.token}-9" / "v").write_bytes(b"half")
        assert store.usage().temporary_bytes == 24
        first = {Path(d.name).name for d in store.sweep().dropped}
        assert first == {f"{TEMPORARY}{gone.token}-0", f"{gone.token}-9"}
        for path in root.rglob("*"):
            if stranger.token in path.name or stranger.token in path.parent.name:
                os.utime(path, (1e9, 1e9))
        assert len(store.sweep().dropped) == 2
        assert {p.name for p in (root / "staging").iterdir()} == {f"{process.current().token}-9"}


def test_a_result_outlives_its_run_in_the_memo(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        run = store.open_run(KEY).id
        slot = Slot(run, "s")
        data = b"x" * 10_000
        record = {"status": "ok", "blobs": [{"sha256": store.put_blob(data), "bytes": len(data)}]}
        store.commit(slot, record)
        store.remember("k" * 64, slot, {"a": 1})
        store.close_run(run, "done")
        assert store.recall("k" * 64, lambda observed: True) == record
        store.sweep(store.usage().bytes - 1)
        assert store.runs() == ()
        assert store.recall("k" * 64, lambda observed: observed == {"a": 1}) == record


# durability


class Watched(Disk):
    """Writes down the calls whose order a power failure would test."""

    def __init__(self) -> None:
        super().__init__(durable=True)
        self.calls: list[str] = []

    def sync(self, fd: int) -> None:
        self.calls.append("sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self.calls.append("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.calls.append("link")
        super().link(source, target)


def test_content_is_durable_before_its_name_and_each_is_synced_once(tmp_path: Path) -> None:
    disk = Watched()
    with FileStore(tmp_path / "s", disk=disk) as store:
        run = store.open_run(KEY).id
        store.put_blob(b"first")
        digest = hashlib.sha256(b"value").hexdigest()
        (tmp_path / "s" / "blobs" / digest[:2]).mkdir(exist_ok=True)
        for act, name in (
            (lambda: adopt(store, b"value"), "rename"),
            (lambda: store.commit(Slot(run, "s"), {"status": "ok"}), "link"),
            (lambda: store.intent(run, 0, 1, {}), "link"),
            (lambda: store.close_run(run, "done"), "rename"),
        ):
            store.staging()
            disk.calls.clear()
            act()
            assert [c for c in disk.calls if c != "sync folder"] == ["sync file", name]
            assert disk.calls[-1] == "sync folder"
            disk.calls.clear()
