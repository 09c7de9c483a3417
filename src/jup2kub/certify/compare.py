"""Two sequential executions and a planned one, compared cell by cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jup2kub.kit import canon
from jup2kub.model.notebook import Notebook
from jup2kub.model.run import CellOutcome

from .masks import agrees, plain
from .model import (
    DIFFERENT,
    EQUAL,
    NONDETERMINISTIC,
    UNCOMPARED,
    CellReport,
    Certificate,
    Comparison,
    Execution,
    summed,
)
from .names import aligned

_OUTPUT = "\ufffc"
"""Stands in the text of a stream where an output came in between."""
_SHOWN = 20_000
"""Most characters of a differing text that a certificate repeats."""
_IMAGE = 400_000
"""Most characters of a differing image that a certificate repeats."""
_WARNING = re.compile(r"^(?P<path>\S.*?):\d+: \w*(?:Warning|Error): ")
_Three = Sequence[Any]
"""The same thing in the first, the second and the planned execution."""
_MISSING = (None, "absent", "removed", "not run")


def compare(
    first: Execution,
    second: Execution,
    planned: Execution,
    *,
    notebook: Notebook | None = None,
    name: str = "",
    plan: Mapping[str, Any] | None = None,
    versions: Mapping[str, Any] | None = None,
    timings: Mapping[str, Any] | None = None,
) -> Certificate:
    """Return the certificate of `planned` against two sequential executions.

    What the sequential executions do not agree on is masked: tokens of texts, other things as a whole. `plan`,
    `versions` and `timings` are plain JSON values that the certificate carries.
    """
    runs = (first, second, planned)
    sources = {cell.index: cell.source for cell in notebook.cells} if notebook else {}
    seen, state = _Warnings(), _State()
    cells = []
    for index in sorted({index for run in runs for index in run.outcomes}):
        three = tuple(run.outcomes.get(index) for run in runs)
        found = tuple(_cell(three, seen, state))
        outcome = planned.outcomes.get(index)
        cells.append(
            CellReport(
                index=index,
                verdict=summed(found),
                comparisons=found,
                source=sources.get(index, ""),
                where=(outcome.step or outcome.where) if outcome else "",
                seconds=outcome.seconds if outcome else 0.0,
            )
        )
    seconds = {"first": first.seconds, "second": second.seconds, "planned": planned.seconds}
    return Certificate(
        notebook=name,
        cells=tuple(cells),
        files=tuple(_digests("file", tuple(run.files for run in runs))),
        plan=dict(plan or {}),
        versions=dict(versions or {}),
        timings={"seconds": seconds, **(timings or {})},
    )


@dataclass
class _Warnings:
    """Warnings seen so far: Python shows one of a library once, in the cell that happens to come first."""

    sequential: set[str] = field(default_factory=set)
    planned: set[str] = field(default_factory=set)


@dataclass
class _State:
    """The variables of each execution after the cells so far, by digest."""

    runs: tuple[dict[str, str | None], ...] = field(default_factory=lambda: ({}, {}, {}))

    def after(self, made: Sequence[Mapping[str, str | None]]) -> list[dict[str, str | None]]:
        """Return, of every variable that the cell made anew in any execution, what it is then in each of them.

        `made`: the versions that the cell made. Plans differ in what they presume: a cell that makes no version of a
        variable leaves it as it was.
        """
        names = {name for one in made for name in one}
        for state, one in zip(self.runs, made, strict=True):
            state.update(one)
        return [{name: state.get(name, "absent") for name in names} for state in self.runs]


def _cell(three: Sequence[CellOutcome | None], seen: _Warnings, state: _State) -> list[Comparison]:
    statuses = tuple(one.status if one else "not run" for one in three)
    found = [_exact("status", "", statuses)]
    runs = [_Output.of(one) for one in three]
    found += _streams(runs, seen)
    found += _displays([run.displays for run in runs])
    found += _digests("variable", state.after([one.digests if one else {} for one in three]))
    found += _digests("file", tuple(one.files if one else {} for one in three))
    return found


# -- outputs -----------------------------------------------------------------------------------------------------


@dataclass
class _Output:
    """The outputs of a cell, put in order for comparing."""

    streams: dict[str, str] = field(default_factory=dict)
    warnings: set[str] = field(default_factory=set)
    displays: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, outcome: CellOutcome | None) -> _Output:
        made = cls()
        for output in outcome.outputs if outcome else ():
            if output["output_type"] == "stream":
                name = output["name"]
                made.streams[name] = made.streams.get(name, "") + output["text"]
            else:
                made.displays.append(output)
                made.streams["stdout"] = made.streams.get("stdout", "") + _OUTPUT
        if outcome and outcome.error and not any(o["output_type"] == "error" for o in made.displays):
            error = outcome.error
            made.displays.append(
                {
                    "output_type": "error",
                    "ename": error.ename,
                    "evalue": error.evalue,
                    "traceback": list(error.traceback),
                }
            )
        for name, text in made.streams.items():
            made.streams[name] = plain(text) if text.strip(_OUTPUT) else ""
        if "stderr" in made.streams:
            made.streams["stderr"], made.warnings = _split_warnings(made.streams["stderr"])
        return made


def _split_warnings(text: str) -> tuple[str, set[str]]:
    """Take the warnings out of a text of stderr: each from its `path:line: Category:` to its line of source."""
    lines, rest, found = text.split("\n"), [], set()
    at = 0
    while at < len(lines):
        if not _WARNING.match(lines[at]):
            rest.append(lines[at])
            at += 1
            continue
        end = at + 1
        for look in range(at + 1, min(at + 20, len(lines))):
            if _WARNING.match(lines[look]):
                break
            if lines[look].startswith("  "):
                end = look + 1
                break
        found.add("\n".join(lines[at:end]))
        at = end
    return "\n".join(rest), found


def _streams(runs: Sequence[_Output], seen: _Warnings) -> list[Comparison]:
    found = []
    for name in sorted({name for run in runs for name in run.streams}):
        texts = tuple(run.streams.get(name, "") for run in runs)
        if any(text.strip(_OUTPUT) for text in texts):
            found.append(_text("stream", name, texts))
    first, second, planned = (run.warnings for run in runs)
    seen.sequential |= first | second
    seen.planned |= planned
    if first or second or planned:
        if (first & second) <= seen.planned and planned <= seen.sequential:
            verdict = EQUAL if first == second else NONDETERMINISTIC
            note = "" if first == planned else "shown once, by another cell or run"
            found.append(Comparison("warnings", "stderr", verdict, note))
        else:
            found.append(_text("warnings", "stderr", tuple("\n".join(sorted(run.warnings)) for run in runs)))
    return found


def _displays(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Comparison]:
    kinds = tuple(" ".join(output["output_type"] for output in run) for run in runs)
    if len(set(kinds)) > 1:
        # Which output answers to which is not known: the row of them is compared as a whole.
        return [_text("display", "number and kinds of outputs", kinds), *_whole(runs)]
    found = []
    for number, three in enumerate(zip(*runs, strict=True)):
        kind = {"execute_result": "result", "error": "error"}.get(three[0]["output_type"], "display")
        if kind == "error":
            found.append(_text(kind, three[0]["ename"], tuple(_traceback(output) for output in three)))
        else:
            found += _bundle(kind, number, three)
    return found


def _whole(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Comparison]:
    texts = tuple("\n".join(_digestible(output) for output in run) for run in runs)
    return [_text("display", "outputs", texts)]


def _digestible(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "error":
        return _traceback(output)
    data = output.get("data", {})
    return plain(str(data["text/plain"])) if "text/plain" in data else " ".join(sorted(data))


def _traceback(output: Mapping[str, Any]) -> str:
    lines = "\n".join(output.get("traceback") or ())
    return plain(f"{output['ename']}: {output['evalue']}\n{lines}")


def _bundle(kind: str, number: int, three: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    found = []
    for mime in sorted({mime for output in three for mime in output.get("data", {})}):
        data = tuple(output.get("data", {}).get(mime) for output in three)
        name = mime if number == 0 else f"{mime} ({number + 1})"
        if mime.startswith("text/") and mime != "text/html" and all(isinstance(one, str) for one in data):
            found.append(_text(kind, name, tuple(plain(one) for one in data)))
        else:
            found.append(_exact(kind, name, data))
    metadata = tuple(output.get("metadata") or {} for output in three)
    if any(one != metadata[0] for one in metadata):
        found.append(_exact(kind, f"metadata ({number + 1})", metadata))
    return found


# -- one thing in three executions ---------------------------------------------------------------------------------


def _text(kind: str, name: str, three: _Three) -> Comparison:
    verdict, masks = agrees(*three)
    note = f"{masks} place{'s' * (masks != 1)} masked" if masks else ""
    return _comparison(kind, name, verdict, three, note, masks)


def _exact(kind: str, name: str, three: _Three) -> Comparison:
    first, second, planned = three
    if first == second:
        verdict, note = (EQUAL if planned == first else DIFFERENT), ""
    elif (kind == "status" or planned in _MISSING) and planned not in (first, second):
        verdict, note = DIFFERENT, "the sequential runs differ too, but not so"
    else:
        verdict, note = NONDETERMINISTIC, "the sequential runs differ"
    return _comparison(kind, name, verdict, three, note, 0)


def _comparison(kind: str, name: str, verdict: str, three: _Three, note: str, masks: int) -> Comparison:
    if verdict == EQUAL:
        return Comparison(kind, name, verdict, note, masks)
    first, second, planned = (_shown(one, name) for one in three)
    return Comparison(kind, name, verdict, note, masks, first, None if second == first else second, planned)


def _shown(value: Any, name: str) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else canon.canonical(value).decode()
    text = text.replace(_OUTPUT, "▢")
    if name.startswith("image/") and len(text) <= _IMAGE:
        return text
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}\n… {len(text) - _SHOWN} characters more; sha256 {canon.digest(text.encode())}"


def _digests(kind: str, three: Sequence[Mapping[str, str | None]]) -> list[Comparison]:
    found = []
    three = aligned(three) if kind == "file" else three
    for name in sorted({name for one in three for name in one}):
        digests = [one.get(name, "absent") for one in three]
        if kind == "file":
            digests = ["removed" if digest is None else digest for digest in digests]
        present = [digest is not None for digest in digests]
        if not any(present) or (not all(present) and "absent" not in digests):
            found.append(Comparison(kind, name, UNCOMPARED, "its value has no digest"))
            continue
        shown = tuple("a value without digest" if digest is None else digest for digest in digests)
        found.append(_exact(kind, name, shown))
    return found
