"""Sweeps: many parameter sets for one notebook, and the table of what came of them. Pure."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from jup2kub.errors import UsageError

Parameters = Mapping[str, Any]
_WAYS = "write `-p name=1,2,3`; a comma inside a value needs JSON quotes: `-p name='\"a,b\",[1,2]'`"


@dataclass(frozen=True)
class SweepRow:
    """What came of one parameter set."""

    number: int
    """Place in the sweep, from 0; also the name of its executed notebook."""
    parameters: Parameters
    state: str
    """`ok`, `error`, `aborted`, …: the status of its notebook."""
    seconds: float
    """Wall-clock time."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Chosen variables; one that the run did not make is not in it."""


def parse_params(texts: Sequence[str], resolve: Callable[[str], Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each parameter of `-p name=value[,value…]` texts, in the order given.

    Values are separated by commas. One that begins with `[`, `{` or `"` is JSON; `resolve` reads any other.
    Raises UsageError J2K220.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise UsageError(
                "J2K220", f"`-p {text}`: a name of a variable, `=` and a value are wanted", _WAYS
            )
        if name in found:
            raise UsageError("J2K220", f"`-p {name}=…` is given twice", _WAYS)
        found[name] = tuple(_split(rest, text, resolve))
    return found


def grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination, the first parameter slowest; one empty set for no parameters."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def read_sweep(data: bytes, name: str, resolve: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Return the parameter sets of a `.jsonl` (an object a line), `.json` (a list of objects) or `.csv` file.

    In CSV the first row names the parameters, `resolve` reads the cells, and an empty cell leaves the notebook's
    own value. Raises UsageError J2K221.
    """
    ending = PurePath(name).suffix.lower()
    try:
        text = data.decode("utf-8-sig")
        if ending == ".csv":
            sets = _read_csv(text, resolve)
        elif ending in (".jsonl", ".ndjson"):
            sets = [_line(line, n) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        elif ending == ".json":
            sets = [_object(item, n) for n, item in enumerate(json.loads(text), 1)]
        else:
            raise ValueError("the name must end in .jsonl, .json or .csv")
        if not sets:
            raise ValueError("it holds no parameter set")
    except (ValueError, TypeError, csv.Error) as error:
        hint = 'a line such as {"alpha": 0.1} for each run, or a table whose first row names the parameters'
        raise UsageError("J2K221", f"sweep {name}: {error}", hint) from error
    return sets


def combine(sets: Sequence[Parameters], values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the sets of a sweep file times the grid of `-p`, the file slowest.

    Raises UsageError J2K221 if both set one parameter.
    """
    for name in values:
        if any(name in one for one in sets):
            raise UsageError(
                "J2K221", f"`{name}` is set by `-p` and by the sweep file", "keep one of the two"
            )
    return [{**one, **chosen} for one in sets for chosen in grid(values)]


def file_name(number: int, total: int) -> str:
    """Return the name of the executed notebook of one set: `000.ipynb`, as many digits as the sweep needs."""
    return f"{number:0{max(3, len(str(total - 1)))}d}.ipynb"


def table(rows: Sequence[SweepRow], chosen: Sequence[str] = ()) -> str:
    """Return the summary as CSV: number of the set, parameters, state, seconds, chosen variables.

    Lists and objects are JSON; what a set does not have is empty. A name that is taken gets `parameter.` or
    `result.` before it.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.parameters))
    fixed = ("set", "state", "seconds")
    heads = [f"parameter.{name}" if name in fixed else name for name in names]
    results = [f"result.{name}" if name in fixed or name in heads else name for name in chosen]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["set", *heads, "state", "seconds", *results])
    for row in rows:
        writer.writerow(
            [
                PurePath(file_name(row.number, len(rows))).stem,
                *(_cell(row.parameters, name) for name in names),
                row.state,
                f"{row.seconds:.3f}",
                *(_cell(row.values, name) for name in chosen),
            ]
        )
    return out.getvalue()


def _cell(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return ""
    value = values[name]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else str(value)


def _split(rest: str, text: str, resolve: Callable[[str], Any]) -> list[Any]:
    values: list[Any] = []
    decoder = json.JSONDecoder()
    while True:
        if rest[:1] in ("[", "{", '"') and rest:
            try:
                value, end = decoder.raw_decode(rest)
            except json.JSONDecodeError as error:
                raise UsageError(
                    "J2K220", f"`-p {text}`: the value looks like JSON, but: {error.msg}", _WAYS
                ) from error
            if rest[end : end + 1] not in ("", ","):
                raise UsageError("J2K220", f"`-p {text}`: a comma is wanted after `{rest[:end]}`", _WAYS)
            more, rest = rest[end : end + 1] == ",", rest[end + 1 :]
        else:
            piece, comma, rest = rest.partition(",")
            more = bool(comma)
            if not piece and (more or values):
                raise UsageError("J2K220", f"`-p {text}`: a value between commas is empty", _WAYS)
            value = resolve(piece)
        values.append(value)
        if not more:
            return values


def _line(text: str, number: int) -> dict[str, Any]:
    try:
        item = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    return _object(item, number)


def _object(item: Any, number: int) -> dict[str, Any]:
    if not isinstance(item, dict) or not all(name.isidentifier() for name in item):
        raise ValueError(f"item {number} is not an object of names and values")
    return item


def _read_csv(text: str, resolve: Callable[[str], Any]) -> list[dict[str, Any]]:
    rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    names = [name.strip() for name in rows[0]] if rows else []
    if not all(name.isidentifier() for name in names) or len(set(names)) != len(names):
        raise ValueError("its first row must name each parameter once")
    sets = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} values, the first row {len(names)}")
        sets.append({name: resolve(value) for name, value in zip(names, row, strict=True) if value != ""})
    return sets
