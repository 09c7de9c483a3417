from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from capture_world import environment, install, notebook

from jup2kub import ipynb
from jup2kub.capture import closure, names
from jup2kub.capture.closure import Need, Roots
from jup2kub.capture.environment import Module
from jup2kub.errors import EnvironmentProblem


def test_the_installed_distribution_that_provides_the_import_is_the_truth(tmp_path: Path) -> None:
    site = tmp_path / "env" / "site-packages"
    here = environment(
        tmp_path,
        install(site, "opencv-python-headless", "4.9", {"cv2/__init__.py": ""}),
        install(site, "google-cloud-storage", "2", {"google/cloud/storage/__init__.py": ""}),
        install(site, "google-auth", "2", {"google/auth/__init__.py": ""}),
        modules={"absent": Module("absent"), "stray": Module("file", str(site / "stray.py")), "json": Module("file", "/usr/lib/python3.11/json/__init__.py")},
    )  # fmt: skip
    cell = "import cv2, json, stray\nfrom google.cloud import storage\nimport absent"
    imports, _ = names.of_notebook(notebook(cell), ipynb.to_python)
    found = closure.roots(imports, here, tmp_path / "project")
    assert set(found.needs) == {"opencv-python-headless", "google-cloud-storage"}
    assert set(found.unowned) == {"stray"}
    assert [i.name for i in found.missing] == ["absent"]


def test_a_local_module_hides_an_installed_one(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "yaml.py").write_text("")
    here = environment(
        tmp_path,
        install(tmp_path / "env" / "site-packages", "PyYAML".lower(), "6", {"yaml/__init__.py": ""}),
        modules={"yaml": Module("file", str(project / "yaml.py"))},
    )
    imports, _ = names.of_notebook(notebook("import yaml"), ipynb.to_python)
    found = closure.roots(imports, here, project)
    assert found.needs == {}
    assert found.notes == ["yaml is a module of the project, and hides pyyaml of the same name"]


def test_an_environment_inside_the_project_is_not_the_project(tmp_path: Path) -> None:
    project = tmp_path
    site = tmp_path / "env" / "lib"
    here = environment(tmp_path, install(site, "toolz", "1", {"toolz/__init__.py": ""}))
    assert not closure.is_local("toolz", here, project)


def test_the_closure_follows_extras_and_markers(tmp_path: Path) -> None:
    here = environment(tmp_path)
    requirements = {
        "a": ("b[fast]>=1", "w; sys_platform == 'win32'", "gone"),
        "b": ("c; extra == 'fast'", "d; extra == 'slow'"),
        "c": ("a",),
        "d": (),
    }
    closed = closure.close({"a": Need(["cell 0 imports a"])}, requirements, here)
    assert set(closed.needs) == {"a", "b", "c"}
    assert closed.requires == {"a": ("b",), "b": ("c",), "c": ("a",)}
    assert closed.needs["c"].why == ["needed by b"]
    assert closed.absent == ("a requires gone, which is not installed",)


def test_optional_parts_are_in_where_nothing_was_executed(tmp_path: Path) -> None:
    requires = ("openpyxl; extra == 'excel'", "pytest; extra == 'test'", "pyarrow; extra == 'parquet'")
    here = environment(
        tmp_path,
        install(tmp_path, "pandas", "2", {"pandas/__init__.py": ""}, requires),
        install(tmp_path, "openpyxl", "3", {"openpyxl/__init__.py": ""}),
        install(tmp_path, "pytest", "8", {"pytest/__init__.py": ""}),
    )
    found = Roots()
    closure.optional_parts(["pandas"], here, found)
    assert {n: need.why for n, need in found.needs.items()} == {"openpyxl": ["optional part of pandas"]}


def test_a_kernel_needs_ipykernel(tmp_path: Path) -> None:
    here = environment(tmp_path)
    with pytest.raises(EnvironmentProblem, match="J2K651"):
        closure.kernel(here, Roots())
    ready = replace(here, distributions={"ipykernel": install(tmp_path, "ipykernel", "7", {})})
    found = Roots()
    closure.kernel(ready, found)
    assert list(found.needs) == ["ipykernel"]
