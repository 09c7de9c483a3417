"""Finds kernelspecs where Jupyter finds them, and says how to start one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.errors import EnvironmentProblem

CONNECTION_FILE = "{connection_file}"
_PYTHON = re.compile(r"python(\d+(\.\d+)?)?$")


@dataclass(frozen=True)
class Launch:
    """How to start the kernel of a notebook."""

    argv: tuple[str, ...]
    """Of an IPython kernel: the interpreter and its own options. Of any other: the whole command."""
    env: Mapping[str, str]
    """The whole environment of the process."""
    cwd: str
    """Folder the kernel starts in."""
    python: str
    """The interpreter; empty if the kernel is not an IPython one."""
    is_ipython: bool
    arguments: tuple[str, ...] = ()
    """What the kernelspec hands to ipykernel."""
    name: str = ""
    """Name of the kernelspec; empty = none was needed, the current interpreter serves."""
    language: str = "python"


def located(notebook: Path) -> Path:
    """Return a notebook's absolute path. Links on the way to it are followed, but not the notebook, should it be one.

    Its cells run in the folder of this path, as in Jupyter: beside a link lie the files that are meant.
    """
    return notebook.parent.resolve() / notebook.name


def data_folders(env: Mapping[str, str], home: Path, prefix: Path) -> list[Path]:
    """Return the folders that may hold ``kernels/``, the most important first, as Jupyter orders them."""
    found = [Path(p) for p in env.get("JUPYTER_PATH", "").split(os.pathsep) if p]
    if env.get("JUPYTER_DATA_DIR"):
        user = Path(env["JUPYTER_DATA_DIR"])
    elif sys.platform == "darwin":
        user = home / "Library" / "Jupyter"
    else:
        user = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "jupyter"
    own = [prefix / "share" / "jupyter"]
    virtual = env.get("VIRTUAL_ENV") or env.get("CONDA_PREFIX")
    if virtual and Path(virtual) != prefix:
        own.insert(0, Path(virtual) / "share" / "jupyter")
    asked = env.get("JUPYTER_PREFER_ENV_PATH")
    inside = (
        asked.lower() not in ("no", "n", "false", "off", "0", "0.0")
        if asked
        else sys.prefix != sys.base_prefix
    )
    found += [*own, user] if inside else [user, *own]
    found += [Path("/usr/local/share/jupyter"), Path("/usr/share/jupyter")]
    return list(dict.fromkeys(found))


def kernelspecs(folders: list[Path]) -> dict[str, Path]:
    """Return the folder of every kernelspec by its name in lower case; earlier `folders` win."""
    found: dict[str, Path] = {}
    for folder in folders:
        kernels = folder / "kernels"
        if kernels.is_dir():
            for spec in sorted(kernels.iterdir()):
                if (spec / "kernel.json").is_file():
                    found.setdefault(spec.name.lower(), spec)
    return found


def find(name: str, *, cwd: str, env: Mapping[str, str] | None = None, home: Path | None = None) -> Launch:
    """Return how to start the kernel called `name` in folder `cwd`.

    An empty `name`, or ``python3`` when no kernelspec has that name, falls back on the current interpreter if it has
    ipykernel. `env` is the environment to start from; default: this process's own. Raises EnvironmentProblem (J2K401)
    naming the kernels there are, or (J2K402) if the kernelspec cannot be used.
    """
    base = dict(os.environ if env is None else env)
    specs = kernelspecs(data_folders(base, home or Path.home(), Path(sys.prefix)))
    wanted = name or "python3"
    if wanted.lower() in specs:
        return _from_spec(wanted, specs[wanted.lower()], base, cwd)
    if wanted.lower() in ("python3", "python") and importlib.util.find_spec("ipykernel") is not None:
        return Launch(
            (sys.executable,), _environment(base, {}), cwd, sys.executable, True, ("-f", CONNECTION_FILE)
        )
    known = ", ".join(sorted(specs)) or "none"
    raise EnvironmentProblem(
        "J2K401",
        f"the notebook wants the kernel {wanted!r}, which is not installed; found: {known}",
        "install it (for Python: `pip install ipykernel && python -m ipykernel install --user"
        f" --name {wanted}`) or choose one with `--kernel NAME`",
    )


def _from_spec(name: str, folder: Path, base: Mapping[str, str], cwd: str) -> Launch:
    path = folder / "kernel.json"
    try:
        spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        argv = [str(a).replace("{resource_dir}", str(folder)) for a in spec["argv"]]
        argv[0]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise EnvironmentProblem(
            "J2K402",
            f"the kernelspec {path} cannot be read: {error}",
            "repair or remove it, or choose another kernel",
        ) from error
    env = _environment(base, spec.get("env") or {})
    argv[0] = _interpreter(argv[0], folder, env)
    language = str(spec.get("language") or "")
    at = _launcher(argv)
    if at is None:
        return Launch(tuple(argv), env, cwd, "", False, (), name, language)
    end, arguments = at
    return Launch(tuple(argv[:end]), env, cwd, argv[0], True, tuple(arguments), name, language)


def _launcher(argv: list[str]) -> tuple[int, list[str]] | None:
    """Return where ipykernel's launcher starts in `argv`, and the arguments after it; None if it is not ipykernel."""
    for i, word in enumerate(argv):
        if word == "-m" and i + 1 < len(argv) and argv[i + 1] in ("ipykernel_launcher", "ipykernel"):
            return i, argv[i + 2 :]
        if i and Path(word).name == "ipykernel_launcher.py":
            return i, argv[i + 1 :]
    return None


def _interpreter(word: str, folder: Path, env: Mapping[str, str]) -> str:
    """Return the program that `word` names; a bare ``python`` is the one of the environment that holds the spec."""
    if not _PYTHON.match(word):
        return word if os.sep in word else shutil.which(word, path=env.get("PATH")) or word
    # <prefix>/share/jupyter/kernels/<name>
    own = folder.parents[3] / "bin" / word if len(folder.parents) > 3 else None
    if own is not None and own.exists() and folder.parents[3] not in (Path("/usr"), Path("/usr/local")):
        return str(own)
    if importlib.util.find_spec("ipykernel") is not None:
        return sys.executable
    return shutil.which(word, path=env.get("PATH")) or word


def _environment(base: Mapping[str, str], extra: Mapping[str, Any]) -> dict[str, str]:
    """Return `base` with the kernelspec's own variables, whose ``${NAME}`` are filled from `base`."""
    env = dict(base)
    # Jupyter does not hand its own interpreter's home on.
    env.pop("PYTHONEXECUTABLE", None)
    for key, value in extra.items():
        env[str(key)] = string.Template(str(value)).safe_substitute(base)
    # Orders of sets and dictionaries must be the same in every kernel of a run.
    env.setdefault("PYTHONHASHSEED", "0")
    return env
