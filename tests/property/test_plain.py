"""What is taken for a notebook without asking nbformat is one for nbformat too."""

from __future__ import annotations

from typing import Any

import nbformat
from hypothesis import event, given, settings
from hypothesis import strategies as st

from jup2kub.ipynb.plain import is_plain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 6) | st.sampled_from(["", "code", "x", "a,b", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "source"]), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = [
    *("tags", "name", "format", "jupyter", "execution", "collapsed", "scrolled", "attachments"),
    *("kernelspec", "language_info", "orig_nbformat", "title", "authors", "anything"),
]


def rarely(strange: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 29).flatmap(lambda n: strange if n == 29 else usual)


def some(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return rarely(JSON, likely)


ODD = st.sampled_from(["a,b", "", "x\n", "x" * 65, "é", 5, None])
TEXT = rarely(ODD, st.sampled_from(["a", "b-1", "c_2", "parameters"]))
SPEC = some(st.fixed_dictionaries({"name": TEXT, "display_name": TEXT}))
LANGUAGE = some(
    st.fixed_dictionaries({"name": TEXT}, optional={"codemirror_mode": some(TEXT), "mimetype": TEXT})
)
METADATA = some(
    rarely(
        st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2),
        st.fixed_dictionaries(
            {},
            optional={
                "tags": some(st.lists(TEXT, max_size=3)),
                "kernelspec": SPEC,
                "language_info": LANGUAGE,
                "anything": JSON,
            },
        ),
    )
)
MORE = rarely(st.dictionaries(st.sampled_from(["more", "attachments", "outputs"]), JSON), st.just({}))
BASE = st.fixed_dictionaries({"id": TEXT, "metadata": METADATA, "source": TEXT})
CODE = st.fixed_dictionaries({"outputs": some(st.just([])), "execution_count": some(st.none())})
CELL = st.builds(
    lambda kind, base, code, more: {"cell_type": kind, **base, **(code if kind == "code" else {}), **more},
    some(st.sampled_from(["code", "markdown", "raw"])),
    BASE,
    CODE,
    MORE,
)
DOCUMENT = st.builds(
    lambda document, more: {**document, **more},
    st.fixed_dictionaries(
        {
            "nbformat": some(st.just(4)),
            "nbformat_minor": some(st.just(5)),
            "metadata": METADATA,
            "cells": some(st.lists(CELL, max_size=3)),
        }
    ),
    MORE,
)


@settings(max_examples=300)
@given(DOCUMENT)
def test_what_is_plain_is_valid(document: dict[str, Any]) -> None:
    """Never the other way round: a notebook that is no notebook would be run."""
    plain = is_plain(document)
    event(f"plain: {plain}")
    if plain:
        unique = len({c["id"] for c in document["cells"]}) == len(document["cells"])
        if unique:  # read() has seen to that before
            nbformat.validate(document, relax_add_props=True)


def test_an_ordinary_notebook_is_plain() -> None:
    """Else nothing is gained."""
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": "1"}
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {
            "name": "python",
            "version": "3.11",
            "codemirror_mode": {"name": "ipython", "version": 3},
        },
    }
    cells = [{**cell, "outputs": [], "execution_count": None}, {**cell, "cell_type": "markdown", "id": "b"}]
    assert is_plain({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})
