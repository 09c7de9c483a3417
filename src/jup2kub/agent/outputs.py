"""From what a kernel sends to what a notebook records: the outputs of one cell, as nbclient assembles them. Pure."""

from __future__ import annotations

import codecs
from typing import Any, Callable

Output = dict[str, Any]


class CellOutputs:
    """Collects text and messages in order; `outputs` are nbformat output dictionaries.

    Adjacent text of one stream is one output. A display that has a display_id carries ``transient: {display_id}``.
    `updates` lists, in order, ``{display_id, data, metadata}`` for displays that earlier cells may hold.
    """

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.updates: list[dict[str, Any]] = []
        self._clear_next = False

    def text(self, name: str, text: str) -> None:
        """Add `text` written to the stream `name` (``stdout`` or ``stderr``)."""
        if not text:
            return
        self._clear_if_due()
        last = self.outputs[-1] if self.outputs else None
        if last is not None and last["output_type"] == "stream" and last["name"] == name:
            last["text"] += text
        else:
            self.outputs.append({"output_type": "stream", "name": name, "text": text})

    def message(self, kind: str, content: dict[str, Any]) -> Output | None:
        """Take a message of Jupyter's protocol; kinds that leave no output are ignored. Returns the new output."""
        if kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self.outputs.clear()
            return None
        display_id = (content.get("transient") or {}).get("display_id")
        if display_id and kind in ("display_data", "execute_result", "update_display_data"):
            self._update(display_id, content)
        output = output_of(kind, content)
        if output is None:
            return None
        self._clear_if_due()
        if display_id:
            output["transient"] = {"display_id": display_id}
        self.outputs.append(output)
        return output

    def _clear_if_due(self) -> None:
        if self._clear_next:
            self._clear_next = False
            self.outputs.clear()

    def _update(self, display_id: str, content: dict[str, Any]) -> None:
        data, metadata = content["data"], content.get("metadata") or {}
        self.updates.append({"display_id": display_id, "data": data, "metadata": metadata})
        for output in self.outputs:
            if (output.get("transient") or {}).get("display_id") == display_id:
                output["data"], output["metadata"] = data, metadata


def output_of(kind: str, content: dict[str, Any]) -> Output | None:
    """Return the nbformat output of a display, result or error message; None for every other kind."""
    if kind == "display_data":
        return {"output_type": kind, "data": content["data"], "metadata": content.get("metadata") or {}}
    if kind == "execute_result":
        return {
            "output_type": kind,
            "data": content["data"],
            "metadata": content.get("metadata") or {},
            "execution_count": content["execution_count"],
        }
    if kind == "error":
        return {"output_type": kind, **{key: content[key] for key in ("ename", "evalue", "traceback")}}
    return None


class MarkedText:
    """Splits the bytes of one pipe at the markers that the kernel wrote into it.

    `token` is the kernel's secret; a marker is ``\\0<token>:<number>\\0``. `on_text` gets text as soon as it is known
    not to be part of a marker.
    """

    def __init__(self, token: str, on_text: Callable[[str], None]) -> None:
        self._head = f"\0{token}:".encode("ascii")
        self._rest = b""
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open: list[str] = []
        self.reached = 0
        """The number of the last marker seen."""
        self._segments: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> None:
        """Take bytes from the pipe."""
        data = self._rest + data
        start = 0
        while True:
            at = data.find(self._head, start)
            if at < 0:
                break
            end = data.find(b"\0", at + len(self._head))
            if end < 0:
                break
            self._add(data[start:at])
            self._close(int(data[at + len(self._head) : end]))
            start = end + 1
        if at < 0:
            at = self._partial(data, start)
        self._add(data[start:at])
        self._rest = data[at:]

    def _partial(self, data: bytes, start: int) -> int:
        """Return where an unfinished marker may begin; the length of `data` if nowhere."""
        for at in range(max(start, len(data) - len(self._head)), len(data)):
            if self._head.startswith(data[at:]):
                return at
        return len(data)

    def _add(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._open.append(text)
            self._on_text(text)

    def _close(self, number: int) -> None:
        text = "".join(self._open)
        self._open = []
        if text:
            self._segments.append((number, text))
        self.reached = max(self.reached, number)

    def take(self) -> list[tuple[int, str]]:
        """Return and forget (number of the marker that follows, text) of all finished segments."""
        taken, self._segments = self._segments, []
        return taken

    def tail(self) -> str:
        """Return and forget the text after the last marker; for a kernel that died."""
        text = "".join(self._open) + self._decoder.decode(self._rest, True)
        self._open, self._rest = [], b""
        return text


def assemble(
    streams: dict[str, list[tuple[int, str]]], messages: list[tuple[int, str, dict[str, Any]]]
) -> CellOutputs:
    """Put text segments and messages (mark, kind, content) of one cell in order.

    A message of mark n comes after the text before marker n. Text of both streams between two markers, which only
    code outside Python can write, comes as stdout, stderr.
    """
    items: list[tuple[int, int, Any]] = []
    for place, name in enumerate(("stdout", "stderr")):
        items.extend((mark, place, (name, text)) for mark, text in streams.get(name, ()))
    items.extend((mark, 2, (kind, content)) for mark, kind, content in messages)
    items.sort(key=lambda item: item[:2])
    found = CellOutputs()
    for _, place, (kind, what) in items:
        if place == 2:
            found.message(kind, what)
        else:
            found.text(kind, what)
    return found
