"""What a notebook's author has asked for: requirement files beside the notebook, and `pip install` in its cells."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jup2kub.errors import UsageError
from jup2kub.model.notebook import Cell, Notebook

FILES = ("requirements.txt", "environment.yml", "environment.yaml", "pyproject.toml")
PIP = re.compile(
    r"^\s*(?:[%!]\s*|)(?:(?:\{?sys\.executable\}?|[\w./~-]*python[\d.]*)\s+-m\s+)?(?P<tool>uv\s+pip|pip3?(?:\.\d+)?)\s+install\s+(?P<rest>.+)$"
)
CONDA = re.compile(r"^\s*[%!]?\s*(conda|mamba|micromamba)\s+(?:env\s+)?(install|update|create)\b")
SYSTEM = re.compile(r"^\s*[!]?\s*(?:sudo\s+)?(apt-get|apt|yum|dnf|apk|brew)\s+(?:-\S+\s+)*(install|add)\b")
SHELLS = frozenset(("bash", "sh", "script", "system", "sx", "!"))
WITH_VALUE = re.compile(
    r"-[rceift]$|--(?:requirement|constraint|editable|target|prefix|root|platform|python-version|implementation|abi|"
    r"no-binary|only-binary|progress-bar|cache-dir|timeout|retries|proxy|trusted-host|upgrade-strategy|log|cert|src|"
    r"(?:extra-)?index\Wurl|find\Wlinks)$"
)
"""Options of pip that take a value."""
INDEXES = re.compile(r"-[if]$|--(?:extra-)?index\Wurl$|--find\Wlinks$")
"""Those of them that name another place to fetch from."""


@dataclass(frozen=True)
class Wish:
    """One thing that was asked for."""

    requirement: Requirement | None
    """By name; None = a path or repository whose name only its installation tells."""
    text: str
    """As written, without credentials."""
    where: str
    """`requirements.txt line 3`, `cell 1`."""
    constraint: bool = False
    """Whether it only says which version, if the distribution is used at all."""

    @property
    def name(self) -> str:
        """Normalised name; empty = not known."""
        return canonicalize_name(self.requirement.name) if self.requirement else ""

    @property
    def origin(self) -> str:
        """Repository, archive or folder that it must come from; empty = the index."""
        if self.requirement is None:
            return self.text
        return self.requirement.url or ""


@dataclass(frozen=True)
class Wishes:
    """All of them, and what could not be understood."""

    wishes: tuple[Wish, ...] = ()
    notes: tuple[str, ...] = ()
    python: str = ""
    """Versions of the interpreter that are asked for (`>=3.10`); empty = any."""
    files: tuple[str, ...] = ()
    """Requirement files that were read, those included that others name."""

    def __add__(self, other: Wishes) -> Wishes:
        """Return both."""
        return Wishes(
            self.wishes + other.wishes,
            self.notes + other.notes,
            ",".join(filter(None, (self.python, other.python))),
            self.files + other.files,
        )


def clean(url: str) -> str:
    """Return a URL without user name, password and query: those may be credentials."""
    vcs, plus, rest = url.partition("+") if re.match(r"[a-z]+\+", url) else ("", "", url)
    parts = urlsplit(rest)
    host = parts.netloc.rpartition("@")[2]
    return vcs + plus + urlunsplit((parts.scheme, host, parts.path, "", parts.fragment))


def beside(folder: Path) -> Wishes:
    """Return what the files of `folder` ask for. Raises UsageError J2K660 for one that cannot be read."""
    found = Wishes()
    if (folder / "requirements.txt").is_file():
        found += requirements(folder / "requirements.txt", "requirements.txt")
    for name in ("environment.yml", "environment.yaml"):
        if (folder / name).is_file():
            found += conda_file(folder / name)
            break
    if (folder / "pyproject.toml").is_file():
        found += pyproject(folder / "pyproject.toml")
    return found


def unreadable(path: Path, error: object) -> UsageError:
    """Return the error of a requirement file that cannot be understood."""
    return UsageError(
        "J2K660", f"{path.name} cannot be read: {error}", "repair it, or move it out of the notebook's folder"
    )


def requirements(path: Path, shown: str, *, constraint: bool = False, depth: int = 0) -> Wishes:
    """Return what a file in pip's format asks for, the files that it names included."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    if depth > 8:
        raise unreadable(path, "the files name each other in a circle")
    found = Wishes(files=(str(path.resolve()),))
    for number, line in _logical_lines(text):
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            words = _words(line)
            found += from_words(
                words, f"{shown} line {number}", path.parent, constraint=constraint, depth=depth
            )
    return found


def _words(line: str) -> list[str]:
    """Return the options of a line, or its requirement as one word: markers hold spaces and quotes."""
    if not line.startswith("-"):
        return [re.split(r"\s--(?:hash|config-settings|global-option)\b", line)[0].strip()]
    option, _, value = (
        line.partition("=") if line.startswith("--") and "=" in line.split()[0] else line.partition(" ")
    )
    return [option, value.strip()] if value.strip() else [option]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        held += line
        if held.endswith("\\"):
            held = held[:-1] + " "
            continue
        yield begun, held
        begun, held = 0, ""
    if held:
        yield begun, held


def from_words(
    words: list[str], where: str, folder: Path, *, constraint: bool = False, depth: int = 0
) -> Wishes:
    """Return what the arguments of one `pip install`, or one line of a requirement file, ask for."""
    found = Wishes()
    todo = list(words)
    while todo:
        word = todo.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word.startswith("-"):
            value = value if equals else (todo.pop(0) if WITH_VALUE.match(option) and todo else "")
            found += _option(option, value, where, folder, depth)
        else:
            found += Wishes((wish(word, where, constraint=constraint),))
    return found


def _option(option: str, value: str, where: str, folder: Path, depth: int) -> Wishes:
    if option in ("-r", "--requirement", "-c", "--constraint"):
        path = folder / value
        return requirements(path, path.name, constraint=option in ("-c", "--constraint"), depth=depth + 1)
    if option in ("-e", "--editable"):
        return Wishes((wish(value, where),))
    if INDEXES.match(option):
        return Wishes(
            notes=(
                f"{where}: {option} {clean(value)} is not followed: packages come from pip's own settings",
            )
        )
    return Wishes()


def wish(text: str, where: str, *, constraint: bool = False) -> Wish:
    """Return one requirement as it is written. Raises UsageError J2K661 if it is none."""
    text = text.strip()
    if re.match(r"(?:[a-z]+\+)?(?:https?|ssh|git|file)://", text) or text.startswith((".", "/", "~")):
        egg = re.search(r"#.*\begg=([\w.-]+)", text)
        named = Requirement(f"{egg[1]} @ {text.partition('#')[0]}") if egg else None
        return Wish(named, clean(text), where, constraint)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if text.endswith(".whl") or "/" in text:
            return Wish(None, text, where, constraint)
        raise UsageError(
            "J2K661",
            f"{where}: `{text}` is no requirement",
            "write it as `name`, `name==1.2` or `name>=1,<2`",
        ) from error
    shown = text if not requirement.url else f"{requirement.name} @ {clean(requirement.url)}"
    return Wish(requirement, shown, where, constraint)


def pyproject(path: Path) -> Wishes:
    """Return `project.dependencies` of a pyproject.toml (PEP 621)."""
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project") or {}
        listed = list(project.get("dependencies") or ())
        python = str(project.get("requires-python") or "")
    except (OSError, ValueError, AttributeError) as error:
        raise unreadable(path, error) from error
    return Wishes(tuple(wish(str(text), "pyproject.toml") for text in listed), python=python)


def conda_file(path: Path) -> Wishes:
    """Return what conda's environment file asks for.

    Names of conda packages are not names of an index: they count as constraints on what is installed, never as
    something to fetch. The `pip:` list is as requirements.txt. Raises UsageError J2K660.
    """
    try:
        import yaml as library
    except ImportError as error:
        raise unreadable(path, "PyYAML is not installed: `pip install jup2kub[capture]`") from error
    yaml: Any = library  # untyped there
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        entries = list(document.get("dependencies") or ())
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise unreadable(path, error) from error
    found = Wishes()
    for entry in entries:
        if isinstance(entry, dict):
            for text in entry.get("pip") or ():
                found += from_words(_words(str(text)), f"{path.name}, pip", path.parent)
        else:
            found += _conda_entry(str(entry), path)
    return found


def _conda_entry(text: str, path: Path) -> Wishes:
    bare = text.rpartition("::")[2].strip()
    match = re.match(r"^([A-Za-z0-9_.-]+)\s*(.*)$", bare)
    if match is None:
        raise unreadable(path, f"`{text}` is no package")
    name, rest = match[1].lower(), match[2].strip()
    version = re.split(r"\s+|(?<=[\d*])=(?=[a-z])", rest)[0] if rest else ""
    if version and re.match(r"^=[^=]", version):
        version = "==" + version[1:].rstrip(".*") + ".*"
    if name == "python":
        return Wishes(python=version)
    if name == "pip":
        return Wishes()
    try:
        return Wishes((Wish(Requirement(name + version), text, path.name, constraint=True),))
    except InvalidRequirement:
        return Wishes(
            notes=(f"{path.name}: the version of `{text}` is not understood; what is installed counts",)
        )


def in_cells(notebook: Notebook, folder: Path) -> Wishes:
    """Return what the cells install by themselves."""
    found = Wishes()
    for cell in notebook.code:
        for line in install_lines(cell):
            found += _line(line, f"cell {cell.index}", folder)
    return found


def install_lines(cell: Cell) -> list[str]:
    """Return the lines of a cell that a shell or a magic runs, and command lists handed to subprocess as lines."""
    lines = cell.source.splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#|")), None)
    head = lines[first].split() if first is not None else []
    if head and head[0].startswith("%%") and head[0][2:] in SHELLS and first is not None:
        shown = [line for line in lines[first + 1 :] if not line.lstrip().startswith("#")]
    else:
        shown = [line for line in lines if line.lstrip().startswith(("!", "%"))]
    return [*_pieces(shown), *_argument_lists(cell.python)]


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from re.split(r"\s*(?:&&|;|\|\|)\s*", line)


def _argument_lists(python: str | None) -> Iterator[str]:
    """Yield `[sys.executable, "-m", "pip", "install", "x"]` as lines."""
    try:
        tree = ast.parse(python or "")
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.List) and len(node.elts) > 2:
            words = [e.value if isinstance(e, ast.Constant) else "python" for e in node.elts]
            if "pip" in words[:3] and "install" in words[:4]:
                yield shlex.join(map(str, words[words.index("pip") :]))


def _line(line: str, where: str, folder: Path) -> Wishes:
    if CONDA.match(line) or SYSTEM.match(line):
        tool = (CONDA.match(line) or SYSTEM.match(line))[1]  # type: ignore[index]
        return Wishes(notes=(f"{where}: what `{tool}` installs is not part of the lock: `{line.strip()}`",))
    match = PIP.match(line)
    if match is None:
        return Wishes()
    rest = match["rest"]
    if re.search(r"\{[^}]*\}|\$\w", rest):
        return Wishes(
            notes=(
                f"{where}: what is installed is known only when it runs: `{line.strip()}`; install it before",
            )
        )
    try:
        words = shlex.split(re.split(r"\s+(?:[|>#]|2>)", rest)[0])
    except ValueError:
        return Wishes(notes=(f"{where}: `{line.strip()}` cannot be read as a command",))
    return from_words(words, where, folder)
