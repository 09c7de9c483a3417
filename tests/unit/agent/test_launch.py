"""Kernelspecs are found as Jupyter finds them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jup2kub.agent.launch import find
from jup2kub.errors import EnvironmentProblem


def spec(folder: Path, name: str, **content: Any) -> Path:
    place = folder / "kernels" / name
    place.mkdir(parents=True)
    content = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], **content}
    (place / "kernel.json").write_text(json.dumps(content))
    return place


def env(*folders: Path, **more: str) -> dict[str, str]:
    return {"JUPYTER_PATH": ":".join(map(str, folders)), "PATH": "/usr/bin:/bin", **more}


def test_the_first_folder_of_jupyter_path_wins(tmp_path: Path) -> None:
    spec(tmp_path / "a", "mine", display_name="A", language="python", env={"WHICH": "a"})
    spec(tmp_path / "b", "mine", env={"WHICH": "b"})
    launch = find("mine", cwd="/", env=env(tmp_path / "a", tmp_path / "b"), home=tmp_path)
    assert launch.env["WHICH"] == "a"
    assert launch.is_ipython
    assert launch.argv == (sys.executable,)
    assert launch.arguments == ("-f", "{connection_file}")


def test_names_do_not_depend_on_case(tmp_path: Path) -> None:
    spec(tmp_path, "MyEnv")
    assert find("myenv", cwd="/", env=env(tmp_path), home=tmp_path).is_ipython


def test_the_data_folder_of_the_user_is_searched(tmp_path: Path) -> None:
    spec(tmp_path / "data", "mine")
    assert (
        find("mine", cwd="/", env=env(JUPYTER_DATA_DIR=str(tmp_path / "data")), home=tmp_path).name == "mine"
    )


def test_variables_in_the_env_of_a_spec_are_filled(tmp_path: Path) -> None:
    spec(tmp_path, "mine", env={"MY_PATH": "${BASE}/x:$NOT_SET"})
    assert (
        find("mine", cwd="/", env=env(tmp_path, BASE="/b"), home=tmp_path).env["MY_PATH"] == "/b/x:$NOT_SET"
    )


def test_options_of_the_interpreter_and_of_ipykernel_are_kept_apart(tmp_path: Path) -> None:
    argv = [sys.executable, "-X", "dev", "-m", "ipykernel", "--matplotlib=inline", "-f", "{connection_file}"]
    spec(tmp_path, "mine", argv=argv)
    launch = find("mine", cwd="/", env=env(tmp_path), home=tmp_path)
    assert launch.argv == (sys.executable, "-X", "dev")
    assert launch.arguments == ("--matplotlib=inline", "-f", "{connection_file}")


def test_a_bare_python_is_the_one_of_the_environment_that_holds_the_spec(tmp_path: Path) -> None:
    spec(tmp_path / "env" / "share" / "jupyter", "mine", argv=["python", "-m", "ipykernel_launcher"])
    (tmp_path / "env" / "bin").mkdir()
    (tmp_path / "env" / "bin" / "python").touch()
    launch = find("mine", cwd="/", env=env(tmp_path / "env" / "share" / "jupyter"), home=tmp_path)
    assert launch.python == str(tmp_path / "env" / "bin" / "python")


def test_kernels_of_other_languages_keep_their_whole_command(tmp_path: Path) -> None:
    spec(tmp_path, "ir", argv=["R", "--slave", "-e", "IRkernel::main()", "{connection_file}"], language="R")
    launch = find("ir", cwd="/", env=env(tmp_path), home=tmp_path)
    assert not launch.is_ipython
    assert launch.language == "R"
    assert launch.argv[1:] == ("--slave", "-e", "IRkernel::main()", "{connection_file}")


def test_the_seed_of_hashes_is_fixed_unless_the_user_chose_one(tmp_path: Path) -> None:
    spec(tmp_path, "mine")
    assert find("mine", cwd="/", env=env(tmp_path), home=tmp_path).env["PYTHONHASHSEED"] == "0"
    chosen = find("mine", cwd="/", env=env(tmp_path, PYTHONHASHSEED="7"), home=tmp_path)
    assert chosen.env["PYTHONHASHSEED"] == "7"


def test_a_missing_kernel_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    spec(tmp_path, "here")
    with pytest.raises(EnvironmentProblem, match=r"'gone'.*here") as caught:
        find("gone", cwd="/", env=env(tmp_path), home=tmp_path)
    assert caught.value.code == "J2K401"
    assert "--kernel" in str(caught.value.hint)


def test_a_spec_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (spec(tmp_path, "bad") / "kernel.json").write_text("{")
    with pytest.raises(EnvironmentProblem) as caught:
        find("bad", cwd="/", env=env(tmp_path), home=tmp_path)
    assert caught.value.code == "J2K402"
