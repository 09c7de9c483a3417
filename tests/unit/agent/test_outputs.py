"""Outputs are put together as nbclient does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jup2kub.agent.outputs import CellOutputs, MarkedText, assemble

TOKEN = "0123abcd"


def display(text: str, display_id: str | None = None) -> dict[str, Any]:
    transient = {"display_id": display_id} if display_id else {}
    return {"data": {"text/plain": text}, "metadata": {}, "transient": transient}


def test_adjacent_text_of_one_stream_is_one_output() -> None:
    found = CellOutputs()
    for name, text in [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]:
        found.text(name, text)
    assert [(o["name"], o["text"]) for o in found.outputs] == [
        ("stdout", "ab"),
        ("stderr", "c"),
        ("stdout", "d"),
    ]


def test_clear_output_waits_for_the_next_output() -> None:
    found = CellOutputs()
    found.text("stdout", "old")
    found.message("clear_output", {"wait": True})
    assert len(found.outputs) == 1
    found.message("display_data", display("new"))
    assert [o["output_type"] for o in found.outputs] == ["display_data"]
    found.message("clear_output", {"wait": False})
    assert found.outputs == []


def test_an_update_changes_displays_of_the_cell_and_is_listed_for_earlier_ones() -> None:
    found = CellOutputs()
    found.message("display_data", display("one", "x"))
    found.message("update_display_data", display("two", "x"))
    found.message("update_display_data", display("elsewhere", "y"))
    assert [o["data"]["text/plain"] for o in found.outputs] == ["two"]
    assert [u["display_id"] for u in found.updates] == ["x", "x", "y"]


def test_unknown_messages_leave_no_output() -> None:
    found = CellOutputs()
    found.message("comm_open", {"data": {}})
    assert found.outputs == []


def test_text_and_messages_are_ordered_by_their_marks() -> None:
    streams = {"stdout": [(1, "a"), (3, "c")], "stderr": [(2, "b")]}
    found = assemble(streams, [(2, "display_data", display("D"))])
    kinds = [o.get("text") or o["data"]["text/plain"] for o in found.outputs]
    assert kinds == ["a", "b", "D", "c"]


@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.just("\0"), st.just(f"\0{TOKEN}"), st.integers(0, 9)), max_size=12
    ),
    st.integers(1, 7),
)
def test_markers_are_found_however_the_bytes_are_cut(parts: list[Any], size: int) -> None:
    """Text comes back whole and in its segment, also if it looks like the beginning of a marker."""
    data, wanted, number, text = b"", [], 0, ""
    for part in parts:
        if isinstance(part, int):
            number += 1
            data += f"\0{TOKEN}:{number}\0".encode()
            if text:
                wanted.append((number, text))
            text = ""
        else:
            part = part.encode("utf-8", "ignore").decode()
            data, text = data + part.encode(), text + part
    live: list[str] = []
    marked = MarkedText(TOKEN, live.append)
    for start in range(0, len(data), size):
        marked.feed(data[start : start + size])
    assert marked.take() == wanted
    assert marked.tail() == text
    assert marked.reached == number


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_no_text_makes_no_output(name: str) -> None:
    found = CellOutputs()
    found.text(name, "")
    assert found.outputs == []
