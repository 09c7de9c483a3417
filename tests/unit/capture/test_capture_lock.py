"""The whole way from cells to a lock, with an environment and an index made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from capture_world import environment, install, notebook, wheel

from jup2kub.agent.launch import Launch
from jup2kub.capture import lock as locking
from jup2kub.capture import vendoring, wheels
from jup2kub.capture.environment import Environment, Module
from jup2kub.capture.lock import Asked
from jup2kub.capture.resolve import Candidate
from jup2kub.capture.wheels import Vendor
from jup2kub.errors import UsageError
from jup2kub.model.env import EDITED, DataFile, Lock, Seen

DISTS = {
    "ipykernel": ("7.0", {"ipykernel/__init__.py": ""}, ()),
    "pip": ("26.0", {"pip/__init__.py": ""}, ()),
    "pandas": ("2.2.0", {"pandas/__init__.py": ""}, ("numpy>=1", "openpyxl; extra == 'excel'")),
    "numpy": ("2.0.0", {"numpy/__init__.py": ""}, ()),
    "openpyxl": ("3.1", {"openpyxl/__init__.py": ""}, ()),
    "requests": ("2.3", {"requests/__init__.py": ""}, ()),
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """All of `DISTS` installed and on the index; `helper.py` beside the notebook."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "helper.py").write_text("import requests\n")
    index = tmp_path / "index"
    index.mkdir()
    dists = [install(tmp_path / "site", n, v, files, r) for n, (v, files, r) in DISTS.items()]
    for name, (version, files, requires) in DISTS.items():
        wheel(index, name, version, files, requires)
    modules = {
        "helper": Module("file", str(project / "helper.py")),
        "nowhere": Module("absent"),
        "perhaps": Module("absent"),
    }
    here = environment(tmp_path, *dists, modules=modules)
    monkeypatch.setattr(locking, "look", lambda *told: here)

    def resolve(environment: object, requirements: list[str], **more: object) -> tuple[Candidate, ...]:
        paths = [next(index.glob(r.replace("==", "-") + "-*.whl")) for r in requirements]
        return tuple(
            Candidate(
                p.name.split("-")[0], p.name.split("-")[1], f"https://h/{p.name}", wheels.file_sha256(p)
            )
            for p in paths
        )

    def fetch(environment: object, candidates: list[Candidate], folder: Path) -> dict[str, Path]:
        found = {}
        for candidate in candidates:
            name = candidate.url.rpartition("/")[2]
            found[candidate.name] = folder / name
            (folder / name).write_bytes((index / name).read_bytes())
        return found

    monkeypatch.setattr(vendoring, "resolve", resolve)
    monkeypatch.setattr(vendoring, "fetch", fetch)
    return here


def locked(tmp_path: Path, *cells: str, seen: Seen | None = None) -> Lock:
    launch = Launch(("python",), {}, str(tmp_path / "project"), "python", True)
    asked = Asked(notebook(*cells), tmp_path / "project", launch, seen)
    return locking.lock(asked, Vendor(tmp_path / "cache"))


def test_what_is_imported_and_what_that_requires(tmp_path: Path, world: Environment) -> None:
    found = locked(
        tmp_path,
        "import helper",
        "import pandas as pd",
        "try:\n    import perhaps\nexcept ImportError:\n    pass",
    )
    assert {w.name: w.why for w in found.wheels} == {
        "ipykernel": ("kernel",),
        "numpy": ("needed by pandas",),
        "openpyxl": ("optional part of pandas",),
        "pandas": ("cell 1 imports pandas",),
        "requests": ("helper.py imports requests",),
    }
    pandas = found.wheel("pandas")
    assert pandas is not None
    assert pandas.requires == ("numpy",)
    assert [(m.name, m.path) for m in found.modules] == [("helper", "helper.py")]
    assert found.notes == ("cell 2 would use `perhaps` if it were installed",)
    assert "not executed" in found.unseen[0]


def test_what_an_execution_has_shown_replaces_guesses(tmp_path: Path, world: Environment) -> None:
    data = (DataFile("in.csv", (0,)),)
    seen = Seen("reprozip", ("pandas",), ("numpy", "pandas"), data, unseen=("threads",))
    found = locked(tmp_path, "import pandas as pd", seen=seen)
    assert {w.name for w in found.wheels} == {"ipykernel", "numpy", "pandas"}
    assert found.data == data
    assert found.unseen == ("threads",)


def test_what_cells_install_is_in_and_so_is_pip(tmp_path: Path, world: Environment) -> None:
    found = locked(tmp_path, "%pip install 'requests>=2'")
    assert {w.name for w in found.wheels} == {"ipykernel", "pip", "requests"}
    assert found.declared == ("requests>=2",)


def test_an_import_of_what_is_not_there_is_refused(tmp_path: Path, world: Environment) -> None:
    with pytest.raises(UsageError, match="J2K653 cell 1 line 2 imports `nowhere`"):
        locked(tmp_path, "x = 1", "x = 2\nimport nowhere")


def test_an_edited_package_is_carried(tmp_path: Path, world: Environment) -> None:
    (tmp_path / "site" / "numpy" / "__init__.py").write_text("edited = 1\n")
    found = locked(tmp_path, "import numpy")
    assert [(c.name, c.kind, c.why) for c in found.carried] == [("numpy", EDITED, ("cell 0 imports numpy",))]
    assert found.wheel("numpy") is None


def test_a_secret_in_a_local_module_is_refused(tmp_path: Path, world: Environment) -> None:
    (tmp_path / "project" / "helper.py").write_text("\n\nkey = 'AKIA" + "IOSFODNN7QWERTYU'\n")
    with pytest.raises(UsageError, match=r"J2K680 helper\.py line 3"):
        locked(tmp_path, "import helper")


def test_the_kernel_of_another_language_is_refused(tmp_path: Path, world: Environment) -> None:
    launch = replace(Launch(("R",), {}, "", "", False), name="ir", language="R")
    with pytest.raises(UsageError, match="J2K652"):
        locking.lock(Asked(notebook("x <- 1"), tmp_path / "project", launch), Vendor(tmp_path / "cache"))
