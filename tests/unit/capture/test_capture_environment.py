"""What the probe tells, asked of a real interpreter that has a folder of made-up distributions on its path."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from capture_world import install

from jup2kub.capture import carried
from jup2kub.capture.environment import Environment, look
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.env import EDITABLE, EDITED, VCS

FINDER = (
    "from __future__ import annotations\nimport sys\nMAPPING: dict[str, str] = {%r: %r}\nNAMESPACES = {}\n"
)


def register(site: Path, name: str, files: dict[str, str], direct_url: object = None) -> None:
    """Install a distribution with a RECORD, as pip leaves it."""
    info = f"{name}-1.0.dist-info"
    extra = {f"{info}/direct_url.json": json.dumps(direct_url)} if direct_url else {}
    dist = install(site, name, "1.0", {**files, **extra})
    record = "".join(f"{p},{f'sha256={h}' if h else ''},{s or ''}\n" for p, h, s in dist.files)
    (site / info / "RECORD").write_text(record)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def here(root: Path) -> Environment:
    site, source, project = root / "site", root / "src", root / "project"
    for folder in (site, source / "bypath", source / "mapped", project):
        folder.mkdir(parents=True)
    (source / "bypath" / "__init__.py").write_text("x = 1")
    (source / "bypath" / ".secret").write_text("")
    (source / "mapped" / "__init__.py").write_text("x = 1")
    (project / "json5.py").write_text("")
    register(
        site,
        "bypath",
        {"__editable__.bypath-1.0.pth": f"{source}\n"},
        {"url": "file:///x", "dir_info": {"editable": True}},
    )
    finder = FINDER % ("mapped", str(source / "mapped"))
    register(site, "mapped", {"__editable___mapped_1_0_finder.py": finder})
    url = {"url": "https://me:pw@host/repo.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
    register(site, "repo", {"repo.py": "x = 1"}, url)
    register(site, "touched", {"touched/__init__.py": "x = 1"})
    (site / "touched" / "__init__.py").write_text("x = 2")
    register(site, "whole", {"whole/__init__.py": "x = 1", "whole/data.txt": "1"})
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    return look([sys.executable], env, project, ["whole", "json5", "sys", "nowhere.deep", "email.mime"])


def test_kinds(here: Environment) -> None:
    kinds = {
        n: carried.kind_of(here.distributions[n]) for n in ("bypath", "mapped", "repo", "touched", "whole")
    }
    assert {n: k for n, (k, _) in kinds.items()} == {
        "bypath": EDITABLE,
        "mapped": EDITABLE,
        "repo": VCS,
        "touched": EDITED,
        "whole": "",
    }
    assert kinds["repo"][1] == "installed from git+https://host/repo.git at commit abc123"


def test_editable_installs_bring_the_files_of_their_folders(here: Environment) -> None:
    for name in ("bypath", "mapped"):
        dist = here.distributions[name]
        targets = [f.target for f in carried.carry(dist, *carried.kind_of(dist)).files]
        assert f"{name}/__init__.py" in targets
        assert not any(t.endswith((".pth", "finder.py", ".secret")) for t in targets)
        assert f"{name}-1.0.dist-info/METADATA" in targets
        assert dist.imports[:1] == (name,) or name in dist.imports


def test_whose_a_module_is(here: Environment, root: Path) -> None:
    assert here.modules["whole"].kind == "file"
    assert here.owner(here.modules["whole"].origin) == "whole"
    assert here.providers("whole.data") == ("whole",)
    assert here.modules["json5"].origin == str(root / "project" / "json5.py")
    assert here.modules["sys"].kind == "builtin"
    assert here.modules["nowhere"].kind == "absent"
    assert here.owner(str(root / "src" / "mapped" / "__init__.py")) == "mapped"


def test_the_interpreter_tells_of_itself(here: Environment) -> None:
    assert here.python.version == ".".join(map(str, sys.version_info[:3]))
    assert here.markers["python_version"] == ".".join(map(str, sys.version_info[:2]))
    assert here.platform.system == sys.platform


def test_an_interpreter_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="J2K650"):
        look(["/bin/false"], dict(os.environ), tmp_path, [])
    with pytest.raises(EnvironmentProblem, match="J2K650"):
        look([str(tmp_path / "absent")], dict(os.environ), tmp_path, [])
