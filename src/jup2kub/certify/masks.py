"""What two sequential runs teach about a text: which of its tokens are not deterministic by themselves.

The two texts are aligned; where they agree stands a literal token, where they differ a mask. A third text agrees
if it has every literal in its place and, under each mask, a token of a kind that was seen there.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TIME_UNIT = (
    r"(?:ns|[uµμ]s|ms|s|secs?|seconds?|min|mins?|minutes?|h|hours?|(?:it|step|[kMG]?i?B)/s|s/(?:it|step))"
)
_TOKEN = re.compile(
    r"(?P<newline>\n)"
    r"|(?P<space>[ \t]+)"
    r"|(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?P<address>\b0x[0-9a-fA-F]+\b)"
    r"|(?P<date>\b\d{4}-\d\d-\d\d\b|\b\d\d/\d\d/\d{2,4}\b)"
    r"|(?P<clock>\b\d{1,3}:\d\d(?::\d\d(?:\.\d+)?)?\b)"
    r"|(?P<duration>\b\d+(?:\.\d+)?(?:[eE][-+]?\d+)?[ ]?" + _TIME_UNIT + r"(?![\w/]))"
    r"|(?P<hex>\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b)"
    r"|(?P<number>(?:(?<![\w.)\]])[-+])?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?j?(?![A-Za-z_]))"
    r"|(?P<word>\w+)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_LOOKALIKE = {
    "hex": ("number", "word"),
    "clock": ("duration",),
    "duration": ("clock",),
    "number": ("duration",),
}
"""Kinds that chance may turn into one another: a random hexadecimal name may have digits only."""
_TIMES = ("clock", "duration")

_LONGEST = 4000
"""Characters of a line that is still looked at as words."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_AT_ADDRESS = re.compile(r"\b(at|object|id=) ?0x[0-9a-fA-F]+")
_CELL_FILE = re.compile(r"\S*ipykernel_\d+[/\\](\w+)\.py")
_TIMING_LINE = re.compile(
    r"^[ \t]*(?:CPU times:|Wall time:|Compiler : |Parser +: ).*$"
    r"|^.*\bper loop \(mean ± std\. dev\..*$"
    r"|^.*\d+%\|.*\|.*\[[\d:?]+<.*\].*$"
    r"|^[\w: ]*?\d+(?:it|B|[kMG]i?B)? \[\d+:\d\d, .*/.*\].*$",
)
"""Lines whose only content is time, as IPython's magics and tqdm write them."""


@dataclass(frozen=True)
class Mask:
    """One token, or any number of them, that differed between the two runs."""

    kinds: frozenset[str]
    """Kinds of token seen there; empty = anything."""
    many: bool = False
    """Any number of tokens, none included."""


@dataclass(frozen=True)
class Learned:
    """A text with masks."""

    parts: tuple[str | Mask, ...]

    @property
    def masks(self) -> int:
        """Number of masks."""
        return sum(isinstance(part, Mask) for part in self.parts)


def plain(text: str) -> str:
    """Return a text without what never counts: colours, addresses of objects, process ids, overwritten lines, times."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    return "\n".join(_plain_line(_shown(line)) for line in text.split("\n"))


def _plain_line(line: str) -> str:
    line = _AT_ADDRESS.sub(r"\1 0x…", line)
    if len(line) > _LONGEST:
        # Data, not words: the patterns below take time that grows with the square of a line's length.
        return line
    if "ipykernel_" in line:
        line = _CELL_FILE.sub(r"ipykernel/\1.py", line)
    return _TIMING_LINE.sub(lambda found: _untimed(found[0]), line)


def _untimed(line: str) -> str:
    """Return what a line of times says beside times: the share done, the name of the bar, its postfix."""
    bar = re.match(r"(.*?(?:\d+%\|.*?\| *\S*|\d+(?:it|B|[kMG]i?B)?)) *\[[^,\]]*(?:,[^,\]]*(,.*)?)?\]", line)
    if bar:
        return re.sub(r"\|.*\| *", " ", bar[1]) + (bar[2] or "")
    return line.split(":")[0].strip() if ":" in line else "per loop"


def _shown(line: str) -> str:
    """Return what a terminal shows of a line: each carriage return begins it again."""
    if "\r" not in line:
        return line
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :] if part else shown
    return shown.rstrip()


def agrees(first: str, second: str, third: str) -> tuple[str, int]:
    """Compare plain texts; return the verdict and the number of masks.

    `equal` if all three are the same; `nondeterministic` if the two sequential ones differ and the third has what
    they have in common; else `different`.
    """
    if first == second:
        return ("equal" if third == first else "different"), 0
    learned = learn(first, second)
    return ("nondeterministic" if fits(learned, third) else "different"), learned.masks


def learn(first: str, second: str) -> Learned:
    """Return what two texts have in common, with a mask wherever they differ."""
    parts: list[str | Mask] = []
    for here, there in _aligned(_lay_out(first), _lay_out(second)):
        parts.extend(_line(here, there))
    merged: list[str | Mask] = []
    for part in parts:
        if merged and isinstance(part, Mask) and part.many and merged[-1] == part:
            continue
        merged.append(part)
    return Learned(tuple(merged))


def fits(learned: Learned, text: str) -> bool:
    """Tell whether a text has every literal in its place, and under each mask what may stand there."""
    words = _tokens(_lay_out(text))
    segments: list[list[str | Mask]] = [[]]
    for part in learned.parts:
        if isinstance(part, Mask) and part.many:
            segments.append([])
        else:
            segments[-1].append(part)
    if len(segments) == 1:
        return len(words) == len(segments[0]) and _matches(segments[0], words, 0)
    first, last = segments[0], segments[-1]
    end = len(words) - len(last)
    if end < len(first) or not _matches(first, words, 0) or not _matches(last, words, end):
        return False
    at = len(first)
    for segment in segments[1:-1]:  # the leftmost place is always good enough, as for `*` in file names
        while at + len(segment) <= end and not _matches(segment, words, at):
            at += 1
        if at + len(segment) > end:
            return False
        at += len(segment)
    return True


def _matches(segment: Sequence[str | Mask], words: Sequence[str], at: int) -> bool:
    return all(
        _allowed(part, words[at + i]) if isinstance(part, Mask) else part == words[at + i]
        for i, part in enumerate(segment)
    )


def _allowed(mask: Mask, word: str) -> bool:
    kind = _kind(word)
    return not mask.kinds or any(kind == seen or kind in _LOOKALIKE.get(seen, ()) for seen in mask.kinds)


@functools.lru_cache(maxsize=65536)
def _kind(word: str) -> str:
    found = _TOKEN.fullmatch(word)
    return (found.lastgroup or "sign") if found else "word"


def _tokens(text: str) -> list[str]:
    return [found[0] for found in _TOKEN.finditer(text)]


def _lay_out(text: str) -> str:
    """Take away what moves when a masked token gets longer or shorter: the widths of columns and of rules."""
    lines = (
        re.sub(r"([-=_*─═━])\1{2,}", r"\1\1\1", re.sub(r"[ \t]+", " ", line)).strip()
        for line in text.split("\n")
    )
    return "\n".join(lines)


def _aligned(first: str, second: str) -> list[tuple[list[str] | None, list[str] | None]]:
    """Pair the lines of two texts; None stands where one has no such line."""
    here, there = first.splitlines(keepends=True), second.splitlines(keepends=True)
    # Lines are matched by their words, so that a line whose numbers moved is still the same line.
    shapes = [_shape(line) for line in here], [_shape(line) for line in there]
    pairs: list[tuple[list[str] | None, list[str] | None]] = []
    for tag, i1, i2, j1, j2 in _opcodes(*shapes):
        if tag == "equal" or (tag == "replace" and i2 - i1 == j2 - j1):
            pairs += [(_tokens(a), _tokens(b)) for a, b in zip(here[i1:i2], there[j1:j2], strict=True)]
        else:
            pairs.append((None, None))
    return pairs


def _opcodes(here: list[str], there: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if here == there:
        return [("equal", 0, len(here), 0, len(there))]
    if _shape("".join(here)) == _shape("".join(there)) and len(here) == len(there):
        return [("replace", 0, len(here), 0, len(there))]
    # Exact alignment takes the square of the length; beyond a few thousand the rarer items must do.
    careful = max(len(here), len(there)) < 3000
    return difflib.SequenceMatcher(None, here, there, autojunk=not careful).get_opcodes()


def _shape(line: str) -> str:
    return "".join(word if _kind(word) == "word" else _kind(word)[:1] for word in _tokens(line))


def _line(here: list[str] | None, there: list[str] | None) -> list[str | Mask]:
    if here is None or there is None:
        return [Mask(frozenset(), many=True)]
    parts: list[str | Mask] = []
    for tag, i1, i2, j1, j2 in _opcodes(here, there):
        if tag == "equal":
            parts += here[i1:i2]
        elif tag == "replace" and i2 - i1 == j2 - j1:
            pairs = zip(here[i1:i2], there[j1:j2], strict=True)
            parts += [a if a == b else Mask(frozenset((_kind(a), _kind(b)))) for a, b in pairs]
        else:
            parts.append(Mask(frozenset(), many=True))
    # Where one time of a line moved, the others are times that happened to agree.
    if any(isinstance(part, Mask) and part.kinds & set(_TIMES) for part in parts):
        times = frozenset(_TIMES)
        parts = [Mask(times) if isinstance(part, str) and _kind(part) in _TIMES else part for part in parts]
    return parts
