"""The user's own word about a cell: `#| key: value` lines, `jup2kub` metadata, tags."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jup2kub.errors import UsageError
from jup2kub.kit.canon import nearest
from jup2kub.model.notebook import MapOption, Options

from . import quantity
from .data import FOREIGN_KEYS, FOREIGN_PREFIXES

_LINE = re.compile(r"[ \t]*(?:#|//)\|(.*)")
_PAIR = re.compile(r"([A-Za-z][\w.-]*)[ \t]*:(?:[ \t]+(.*)|[ \t]*)$")
_BARE = re.compile(r"([A-Za-z][\w.-]*)(?:[ \t]+(.*))?$")
_TAG = re.compile(r"jup2kub[:-](.+)")
_STEP = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,48}[A-Za-z0-9])?")
_VOLUME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?:/\S*")
_SECRET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_SKIP_TAG = "skip-execution"
"""The tag by which Jupyter's own tools leave a cell out of a run."""

RECORD = "where"
"""The key that tells that `jup2kub` metadata is what a run has recorded; the user's options are then in `options`."""


@dataclass(frozen=True)
class _Said:
    """One statement of the user."""

    key: str
    value: str | None
    """Text after the colon; None = the bare key."""
    where: str
    """Where it stands, in words."""


def read_options(index: int, source: str, metadata: Mapping[str, Any], *, python: bool = True) -> Options:
    """Return the options of one code cell.

    Raises UsageError: J2K210 for a key that nobody knows, J2K211 for a value that cannot be read, J2K212 if two
    places contradict each other, J2K213 if an option stands below code, where it would have no effect.
    """
    said = [*_comments(index, source), *_metadata(index, metadata), *_tags(index, metadata)]
    if python:
        _refuse_below_code(index, source)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for one in said:
        for name, value in _parse(one, index).items():
            if name in values and values[name] != value:
                raise UsageError(
                    "J2K212",
                    f"{one.where}: `{name}` is given twice, differently (also in {places[name]})",
                    "keep one of the two",
                )
            values[name], places[name] = value, one.where
    return Options(**values)


# -- where statements stand ------------------------------------------------------------------------------------


def _comments(index: int, source: str) -> Iterable[_Said]:
    foreign = False
    for number, line in _head(source):
        found = _LINE.match(line)
        if not found:
            continue
        text = found[1]
        if foreign and re.match(r"[ \t]{2,}\S|[ \t]*-[ \t]", text):
            continue  # the rest of a value of several lines, of a key that is not ours
        where = f"cell {index}, line {number}"
        pair, bare = _PAIR.match(text.strip()), _BARE.match(text.strip())
        if pair:
            key, value = pair[1], _unquote(pair[2] or "")
        elif bare and (bare[1] in _KEYS or not bare[2]):
            key, value = bare[1], bare[2]
        else:
            continue  # an ordinary remark, or a drawing of bars
        foreign = _is_foreign(key)
        if not foreign:
            yield _Said(key, value, where)


def _head(source: str) -> Iterable[tuple[int, str]]:
    """Yield number and text of the lines above the first line of code; a cell magic may stand first."""
    magic_allowed = True
    for number, line in enumerate(source.splitlines(), 1):
        text = line.strip()
        if text.startswith("%%") and magic_allowed:
            magic_allowed = False
        elif text and not text.startswith(("#", "//")):
            return
        else:
            yield number, line


def _refuse_below_code(index: int, source: str) -> None:
    last = max((number for number, _ in _head(source)), default=0)
    lines = source.splitlines()
    if not any(_own_key(line) for line in lines[last:]):
        return
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return  # magics or broken code: whether the line is a comment cannot be told
    for token in tokens:
        line = token.start[0]
        if token.type == tokenize.COMMENT and line > last and lines[line - 1].lstrip().startswith("#|"):
            key = _own_key(lines[line - 1])
            if key:
                raise UsageError(
                    "J2K213",
                    f"cell {index}, line {line}: the option `{key}` stands below code and would have no effect",
                    "options stand at the top of the cell: move the line up",
                )


def _own_key(line: str) -> str | None:
    found = _LINE.match(line)
    pair = _PAIR.match(found[1].strip()) if found else None
    return pair[1] if pair and pair[1] in _KEYS else None


def _metadata(index: int, metadata: Mapping[str, Any]) -> Iterable[_Said]:
    entry = metadata.get("jup2kub")
    where = f"cell {index}, metadata `jup2kub`"
    if entry is None:
        return
    if isinstance(entry, Mapping) and (RECORD in entry or "options" in entry):
        entry = entry.get("options", {})
    if not isinstance(entry, Mapping):
        raise UsageError("J2K211", f"{where}: an object is wanted", 'for example {"step": "train"}')
    for key, value in entry.items():
        if value is not None:
            yield _Said(str(key), _as_text(value), where)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return str(value)


def _tags(index: int, metadata: Mapping[str, Any]) -> Iterable[_Said]:
    for tag in metadata.get("tags") or ():
        where = f"cell {index}, tag `{tag}`"
        found = _TAG.fullmatch(str(tag))
        if found:
            key, _, value = (
                part.strip() for part in re.sub(r"[:=]", "\0", found[1], count=1).partition("\0")
            )
            yield _Said(key, value or None, where)
        elif tag == _SKIP_TAG:
            yield _Said("skip", None, where)


def _unquote(text: str) -> str:
    text = text.strip()
    quoted = re.fullmatch(r"""(["'])(.*?)\1(?:\s+#.*)?""", text)
    return quoted[2] if quoted else re.sub(r"(?:^|\s+)#.*$", "", text)


def _is_foreign(key: str) -> bool:
    return key not in _KEYS and (key in FOREIGN_KEYS or key.startswith(FOREIGN_PREFIXES))


# -- what they mean --------------------------------------------------------------------------------------------


def _parse(said: _Said, index: int) -> dict[str, Any]:
    if said.key not in _KEYS:
        near = nearest(said.key, _KEYS)
        if said.key in ("cpu", "memory", "gpu"):
            hint = f"write `resources: {said.key}={said.value or '…'}`"
        elif near:
            hint = f"did you mean `{near}`?"
        else:
            hint = "the options are " + ", ".join(f"`{key}`" for key in _KEYS)
        raise UsageError("J2K210", f"{said.where}: unknown option `{said.key}`", hint)
    try:
        return _KEYS[said.key](said.value, index)
    except ValueError as error:
        shown = "nothing" if said.value is None else f"`{said.value}`"
        raise UsageError(
            "J2K211",
            f"{said.where}: `{said.key}` cannot be {shown}: {error}",
            f"for example `#| {_EXAMPLES[said.key]}`",
        ) from error


def _truth(text: str | None) -> bool:
    word = (text or "true").strip().lower()
    if word not in ("true", "false", "yes", "no"):
        raise ValueError("`true` or `false` is wanted")
    return word in ("true", "yes")


def _text(text: str | None, what: str) -> str:
    if not text:
        raise ValueError(f"{what} is wanted")
    return text


def _pairs(text: str, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in re.split(r"[\s,]+", text.strip()):
        key, equals, value = item.partition("=")
        if key not in known:
            near = nearest(key, known) or ", ".join(known)
            raise ValueError(f"`{key}` is not known; did you mean {near}?")
        if not equals or key in values:
            raise ValueError(f"`{key}=…` is wanted once")
        values[key] = known[key](value)
    return values


def _step(text: str | None, index: int) -> dict[str, Any]:
    name = text or f"cell-{index}"
    if not _STEP.fullmatch(name) or name == "main":
        raise ValueError("a name of at most 50 letters, digits, `-`, `_`, `.` is wanted; `main` is taken")
    return {"step": name}


def _map(text: str | None, index: int) -> dict[str, Any]:
    if text and "=" in text:
        known = {"chunks": _positive, "limit": _positive}
        return {"map": MapOption(**_pairs(text, known))}
    return {"map": MapOption() if _truth(text) else None}


def _positive(text: str) -> int:
    return quantity.whole(text, 1)


def _resources(text: str | None, index: int) -> dict[str, Any]:
    known: dict[str, Callable[[str], Any]] = {
        "cpu": quantity.cores,
        "memory": quantity.memory,
        "gpu": quantity.whole,
    }
    return _pairs(_text(text, "`cpu=4 memory=8Gi gpu=1`, or some of it,"), known)


def _timeout(text: str | None, index: int) -> dict[str, Any]:
    return {"timeout": quantity.seconds(_text(text, "a duration"))}


def _retries(text: str | None, index: int) -> dict[str, Any]:
    return {"retries": quantity.whole(_text(text, "a number"))}


def _volume(text: str | None, index: int) -> dict[str, Any]:
    if not _VOLUME.fullmatch(text or ""):
        raise ValueError("`claim:/path` is wanted")
    return {"volume": text}


def _secret(text: str | None, index: int) -> dict[str, Any]:
    if not _SECRET.fullmatch(text or ""):
        raise ValueError("the name of a secret (small letters, digits, `-`, `.`) is wanted")
    return {"secret": text}


_KEYS: Mapping[str, Callable[[str | None, int], dict[str, Any]]] = {
    "step": _step,
    "map": _map,
    "resources": _resources,
    "retries": _retries,
    "timeout": _timeout,
    "barrier": lambda text, index: {"barrier": _truth(text)},
    "skip": lambda text, index: {"skip": _truth(text)},
    "cache": lambda text, index: {"cache": _truth(text)},
    "volume": _volume,
    "secret": _secret,
}
_EXAMPLES = {
    "step": "step: train",
    "map": "map: chunks=64 limit=32",
    "resources": "resources: cpu=4 memory=8Gi gpu=1",
    "retries": "retries: 3",
    "timeout": "timeout: 2h 30m",
    "barrier": "barrier",
    "skip": "skip",
    "cache": "cache: true",
    "volume": "volume: data:/data",
    "secret": "secret: database",
}
