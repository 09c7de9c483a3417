from __future__ import annotations

from pathlib import Path

import pytest
from capture_world import environment, install

from jup2kub.capture import declared, wishes
from jup2kub.capture.closure import Roots
from jup2kub.capture.declared import Wishes
from jup2kub.capture.environment import Environment
from jup2kub.errors import UsageError


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    return environment(
        tmp_path,
        install(tmp_path, "scikit-learn", "1.4.0", {"sklearn/__init__.py": ""}),
        install(tmp_path, "pandas", "2.2.0", {"pandas/__init__.py": ""}),
        install(
            tmp_path, "repo", "1.0", {"repo.py": ""},
            direct_url={"url": "https://host/org/repo.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
        ),
    )  # fmt: skip


def weigh(
    text: str, here: Environment, local: tuple[str, ...] = (), **more: str
) -> tuple[wishes.Weighed, Roots]:
    found = Roots()
    found.need("pandas", "cell 0 imports pandas")
    wanted = Wishes((declared.wish(text, "cell 0"),), **more)  # type: ignore[arg-type]
    return wishes.weigh(wanted, here, found, lambda name: name in local), found


def test_what_is_installed_and_meets_the_wish_is_taken_as_it_is(here: Environment) -> None:
    weighed, found = weigh("scikit-learn>=1.3", here)
    assert weighed.asks == ()
    assert found.needs["scikit-learn"].why == ["cell 0"]
    assert weighed.declared == ("scikit-learn>=1.3",)


def test_another_version_is_asked_for_and_told(here: Environment) -> None:
    weighed, _ = weigh("pandas==1.5.3", here)
    assert [w.text for w in weighed.asks] == ["pandas==1.5.3"]
    assert "installed is 2.2.0" in weighed.notes[0]


def test_what_does_not_apply_here_is_not_asked_for(here: Environment) -> None:
    weighed, _ = weigh("pywin32; sys_platform == 'win32'", here)
    assert weighed == wishes.Weighed()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sklearn", "write scikit-learn instead"),
        ("pandsa", "write pandas"),
        ("panda", "write pandas"),
        ("helper", "remove helper"),
    ],
)
def test_a_strangers_name_is_refused(text: str, words: str, here: Environment) -> None:
    with pytest.raises(UsageError, match="J2K665") as refused:
        weigh(text, here, local=("helper",))
    assert words in str(refused.value.hint)


def test_a_repository_counts_as_it_is_installed(here: Environment) -> None:
    for text in (
        "git+https://me@host/org/repo@v2",
        "repo @ git+https://host/org/repo.git",
        "git+https://host/org/repo.git#egg=repo",
    ):
        _, found = weigh(text, here)
        assert "repo" in found.needs
    with pytest.raises(UsageError, match="J2K663"):
        weigh("git+https://host/org/other.git", here)


def test_a_conda_environment_that_differs_is_refused(here: Environment) -> None:
    wish = declared.Wish(declared.Requirement("pandas==1.*"), "pandas=1", "environment.yml", constraint=True)
    with pytest.raises(UsageError, match="J2K662"):
        wishes.weigh(Wishes((wish,)), here, Roots(), lambda name: False)
    with pytest.raises(UsageError, match="J2K662"):
        wishes.weigh(Wishes(python=">=3.12"), here, Roots(), lambda name: False)


@pytest.mark.parametrize(
    ("a", "b", "slip"),
    [
        ("pandas", "pandsa", True),
        ("pandas", "pands", True),
        ("pandas", "pandass", True),
        ("pandas", "bandas", True),
        ("pandas", "pandas", False),
        ("scipy", "sympy", False),
        ("dask", "task", False),
        ("torch", "torchvision", False),
    ],
)
def test_one_slip(a: str, b: str, slip: bool) -> None:
    assert wishes.one_slip(a, b) is slip
    assert wishes.one_slip(b, a) is slip
