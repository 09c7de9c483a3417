"""From a notebook's path to a capture: one execution under observation, and the files that tell and keep what it used."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub import __version__, ipynb
from jup2kub.agent.launch import located
from jup2kub.capture import backends, packs, secrets
from jup2kub.capture import split as splitting
from jup2kub.capture.lock import Asked, needs
from jup2kub.capture.packs import Program
from jup2kub.capture.split import Part
from jup2kub.capture.trace import Subject, Traced, environ_for, trace
from jup2kub.compose import Settings, compile_notebook, open_store
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.kit.canon import to_json
from jup2kub.locking import REPORT, asked, capture_folder, source_digest
from jup2kub.model.notebook import Notebook

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Captured:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    traced: Traced
    report: Mapping[str, Any]
    """As in environment.json."""


def capture(
    settings: Settings,
    output: Path | None,
    *,
    rpz: bool,
    selector: str,
    tell: Tell = lambda text: None,
    parts: tuple[Part, ...] = (),
) -> Captured:
    """Run the notebook once under observation and write what it used to `output` (None: `NB.capture` beside it).

    `parts`: given instead of a selector.
    Raises UsageError J2K680 (secrets), J2K690, J2K691 (selector), J2K231, J2K657 (folder); EnvironmentProblem
    J2K650–J2K655, J2K692.
    """
    subject_of = replace(asked(settings), seen=None, imports=())
    secrets.refuse(secrets.in_notebook(subject_of.notebook, subject_of.values))
    parts = splitting.split(subject_of.notebook, selector) if selector else parts
    backend = backends.choose()
    if rpz and backend.name != "reprozip":
        raise EnvironmentProblem(
            "J2K655",
            f"packs need ReproZip's tracer: {backend.why}",
            "`pip install 'jup2kub[capture]'` on x86-64",
        )
    folder = output or capture_folder(located(settings.notebook))
    _open(folder)
    tell(f"watched by {backend.name}" + (f" ({backend.why})" if backend.why else ""))
    with tempfile.TemporaryDirectory(prefix="j2k-capture-") as scratch:
        return _captured(settings, subject_of, parts, backend, folder.resolve(), Path(scratch), rpz, tell)


def _open(folder: Path) -> None:
    """Make the folder. Raises EnvironmentProblem J2K231, UsageError J2K657 if it holds what no capture has written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = any(folder.iterdir()) and "seen" not in _earlier(folder)
    except OSError as error:
        raise EnvironmentProblem(
            "J2K231", f"cannot write {folder}: {error.strerror}", "choose another `-o`"
        ) from error
    if foreign:
        raise UsageError(
            "J2K657",
            f"{folder} is not empty, and no capture",
            "name an empty folder, a new one, or that of a capture",
        )


def _earlier(folder: Path) -> Mapping[str, Any]:
    """Return the report of an earlier capture into the same folder; {} if there is none."""
    try:
        found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _captured(
    settings: Settings,
    subject_of: Asked,
    parts: tuple[Part, ...],
    backend: backends.Backend,
    folder: Path,
    scratch: Path,
    rpz: bool,
    tell: Tell,
) -> Captured:
    looked = needs(subject_of)
    modules = tuple(str(path.resolve()) for _, path in looked.local.files)
    notebook = subject_of.notebook
    subject = Subject(
        notebook, subject_of.folder, subject_of.launch, looked.environment, modules, subject_of.values
    )
    traced = asyncio.run(trace(subject, backend, scratch, tell))
    _forget(folder)
    files: list[Path] = []
    if backend.name == "reprozip":
        withheld = packs.clean(scratch, traced, subject_of.values)
        known = {w.partition(" (cell")[0].partition(":")[0] for w in traced.seen.withheld}
        more = tuple(w for w in withheld if w.partition(":")[0] not in known)
        traced = replace(traced, seen=replace(traced.seen, withheld=(*traced.seen.withheld, *more)))
    packed = parts or _whole(settings, notebook)
    made = [f"{p.name}.ipynb" for p in (packed if rpz else parts)]
    made += ["run_part.py", "notebook.ipynb", *(f"{p.name}.rpz" for p in packed)] * rpz
    report = {**_report(settings, subject_of, traced), "files": made}
    _write(folder / REPORT, json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False), subject_of)
    files.append(folder / REPORT)
    if backend.name == "reprozip":
        shutil.copyfile(packs.configuration(scratch), folder / "config.yml")
        files.append(folder / "config.yml")
    wanted = _needed(settings, notebook, parts)
    for part in parts:
        document = _part(notebook, part, wanted)
        path = folder / f"{part.name}.ipynb"
        _write(path, ipynb.write(document).decode(), subject_of)
        files.append(path)
    if rpz and traced.failed is None:
        python = looked.environment.python.executable
        environ = environ_for(subject_of.launch, notebook)
        packs.learn_runner(scratch, python, subject_of.folder, environ)
        packs.clean(scratch, traced, subject_of.values)
        packs.configuration(scratch)
        new = _packs(settings, notebook, packed, wanted, traced, folder, scratch, python, tell)
        files += [path for path in new if path not in files]
    return Captured(folder, tuple(files), traced, report)


def _whole(settings: Settings, notebook: Notebook) -> tuple[Part, ...]:
    """Return the one part of a notebook that is not cut."""
    return (Part(1, settings.notebook.stem, tuple(c.index for c in notebook.cells)),)


def _forget(folder: Path) -> None:
    """Remove the parts and packs that an earlier capture has listed: they may be of another text, or cut otherwise."""
    names = _earlier(folder).get("files") or []
    for name in names:
        if isinstance(name, str) and Path(name).name == name and name.endswith((".ipynb", ".rpz", ".py")):
            (folder / name).unlink(missing_ok=True)


def _report(settings: Settings, subject_of: Asked, traced: Traced) -> dict[str, Any]:
    found = needs(replace(subject_of, seen=traced.seen))
    return {
        "format": 1,
        "jup2kub": __version__,
        "notebook": settings.notebook.name,
        "source": source_digest(subject_of.notebook),
        "python": found.environment.python.version,
        "platform": to_json(found.environment.platform),
        "seconds": round(traced.seconds, 3),
        "stopped": None
        if traced.failed is None
        else {"cell": traced.failed, "error": traced.error.ename if traced.error else ""},
        "seen": to_json(traced.seen),
        "distributions": [
            {"name": n, "version": found.environment.distributions[n].version, "why": need.why}
            for n, need in sorted(found.closed.needs.items())
        ],
        "modules": [path.relative_to(subject_of.folder).as_posix() for _, path in found.local.files],
        "notes": list(found.notes),
    }


def _write(path: Path, text: str, subject_of: Asked) -> None:
    """Write a text that travels; the value of a secret variable is in none."""
    data = text.encode("utf-8", "surrogatepass")
    for value in subject_of.values:
        if value in data:
            secrets.refuse([secrets.Finding(path.name, 0, "the value of a secret environment variable")])
    path.write_bytes(data)


def _needed(settings: Settings, notebook: Notebook, parts: tuple[Part, ...]) -> dict[int, tuple[int, ...]]:
    """Return, by part, the cells of earlier parts without which its own cells do not run."""
    if not parts:
        return {}
    with closing(open_store(settings)) as store:
        plan = compile_notebook(notebook, settings, store).plan
    before: dict[int, set[int]] = {}
    for edge in plan.cell_edges:
        before.setdefault(edge.target, set()).add(edge.source)
    found = {}
    for part in parts:
        own = set(part.cells)
        todo, seen = list(part.cells), set(part.cells)
        while todo:
            for other in before.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        found[part.number] = tuple(sorted(seen - own))
    return found


def _part(notebook: Notebook, part: Part, wanted: Mapping[int, tuple[int, ...]]) -> dict[str, Any]:
    document = splitting.part_document(notebook, part)
    document["metadata"]["jup2kub"]["part"]["needs"] = list(wanted.get(part.number, ()))
    return document


def _packs(
    settings: Settings,
    notebook: Notebook,
    parts: tuple[Part, ...],
    wanted: Mapping[int, tuple[int, ...]],
    traced: Traced,
    folder: Path,
    scratch: Path,
    python: str,
    tell: Tell,
) -> list[Path]:
    """Make one pack per part."""
    runner = folder / "run_part.py"
    shutil.copyfile(packs.RUNNER, runner)
    source = folder / "notebook.ipynb"
    whole = splitting.part_document(notebook, Part(0, "", tuple(c.index for c in notebook.cells)))
    source.write_bytes(ipynb.write(whole))
    software = packs.written_software(traced)
    files: list[Path] = [runner, source]
    for part in parts:
        path = folder / f"{part.name}.ipynb"
        path.write_bytes(ipynb.write(_part(notebook, part, wanted)))
        program = Program(
            f"part-{part.name}", (python, str(runner), str(source), str(path)), located(settings.notebook).parent,
            (runner, source, path, *software),
        )  # fmt: skip
        target = folder / f"{part.name}.rpz"
        size = packs.pack(scratch, program, target)
        tell(f"{target.name}: {size / 1e6:.1f} MB")
        files += [p for p in (path, target) if p not in files]
    return files
