from __future__ import annotations

from pathlib import Path

import pytest
from capture_world import notebook

from jup2kub.capture import declared
from jup2kub.errors import UsageError


def asked(*cells: str, folder: Path = Path("/nowhere")) -> list[str]:
    return [w.text for w in declared.in_cells(notebook(*cells), folder).wishes]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%pip install pandas==2.1 'numpy<2'", ["pandas==2.1", "numpy<2"]),
        ("!pip install -q -U seaborn", ["seaborn"]),
        ("!{sys.executable} -m pip install toolz", ["toolz"]),
        ("!python3 -m pip install toolz && echo done", ["toolz"]),
        ("!pip3 install toolz > /dev/null 2>&1", ["toolz"]),
        ("!uv pip install toolz", ["toolz"]),
        ("%%bash\n# pip install no\npip install yes\nls", ["yes"]),
        (
            "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', 'toolz'])",
            ["toolz"],
        ),
        ("text = 'pip install nothing'", []),
        ("# !pip install nothing", []),
        ("!pip list", []),
        ("%pip install --trusted-host h toolz", ["toolz"]),
        (
            "%pip install git+https://user:secret@host/org/repo.git@v1#egg=repo",
            ["git+https://host/org/repo.git@v1#egg=repo"],
        ),
    ],
)
def test_installs_in_cells(cell: str, expected: list[str]) -> None:
    assert asked(cell) == expected


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("!conda install -y -c conda-forge gdal", "conda"),
        ("!apt-get install -y libgdal", "apt-get"),
        ("%pip install $package", "known only when it runs"),
        ("!pip install {name}", "known only when it runs"),
    ],
)
def test_what_cannot_be_locked_is_told(cell: str, word: str) -> None:
    found = declared.in_cells(notebook(cell), Path("/nowhere"))
    assert found.wishes == ()
    assert word in found.notes[0]


def test_requirements_in_pips_format(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("six\n")
    (tmp_path / "limits.txt").write_text("numpy<2\n")
    (tmp_path / "requirements.txt").write_text(
        "# comment\n"
        "pandas[excel]==2.1.4 \\\n    --hash=sha256:abc\n"
        "tomli; python_version < '3.11'  # old\n"
        "-r more.txt\n"
        "-c limits.txt\n"
        "-e ./mine\n"
        "repo @ git+https://token@host/repo.git\n"
    )
    found = declared.beside(tmp_path).wishes
    assert [(w.name, w.constraint, bool(w.origin)) for w in found] == [
        ("pandas", False, False),
        ("tomli", False, False),
        ("six", False, False),
        ("numpy", True, False),
        ("", False, True),
        ("repo", False, True),
    ]
    assert found[0].where == "requirements.txt line 2"
    assert "token" not in "".join(w.text for w in found)


def test_files_that_name_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r requirements.txt")
    with pytest.raises(UsageError, match="J2K660"):
        declared.beside(tmp_path)


def test_a_line_that_is_no_requirement_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pandas==\n")
    with pytest.raises(UsageError, match=r"J2K661 requirements\.txt line 1"):
        declared.beside(tmp_path)


def test_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname="x"\nrequires-python=">=3.10"\ndependencies=["attrs>=20"]'
    )
    found = declared.beside(tmp_path)
    assert [w.text for w in found.wishes] == ["attrs>=20"]
    assert found.python == ">=3.10"


def test_conda_names_only_limit_and_its_pip_list_counts(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(
        "dependencies:\n- python=3.11\n- conda-forge::numpy=1.26\n- gdal>=3\n- pip\n- pip:\n  - toolz==0.12.0\n"
    )
    found = declared.beside(tmp_path)
    assert [(str(w.requirement), w.constraint) for w in found.wishes] == [
        ("numpy==1.26.*", True),
        ("gdal>=3", True),
        ("toolz==0.12.0", False),
    ]
    assert found.python == "==3.11.*"


def test_urls_lose_their_credentials() -> None:
    assert declared.clean("https://user:pw@host/simple?token=1") == "https://host/simple"
    assert declared.clean("git+ssh://git@host/r.git@abc#egg=r") == "git+ssh://host/r.git@abc#egg=r"
