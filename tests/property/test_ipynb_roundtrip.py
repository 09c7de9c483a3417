"""What holds for every notebook."""

import ast
import json

import nbformat
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import v4

from jup2kub import ipynb, sweeps
from jup2kub.certify.masks import agrees, fits, learn
from jup2kub.collect import collect
from jup2kub.model.run import CellOutcome

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
lines = st.lists(
    st.sampled_from(["x = 1", "", "  y = 2", "%time f()", "%%bash", "!ls", "f?", ">>> a", "In [1]: b", "...: c",
                     "if x:", "    pass", "'''", "# c ?", "a = %foo", "d: e = '''?", "(", "%2)", "await z", "\\"]),
    max_size=6,
)  # fmt: skip
kinds = st.sampled_from(["code", "markdown", "raw"])


def bytes_of(cells):
    made = [{"cell_type": kind, "metadata": {}, "source": source} for kind, source in cells]
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": made}).encode()


@given(st.lists(st.tuples(kinds, texts.filter(lambda text: "|" not in text)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_reading_keeps_every_cell_and_writing_brings_it_back(cells):
    notebook = ipynb.read(bytes_of(cells), "a.ipynb")
    assert [(cell.kind, cell.source) for cell in notebook.cells] == cells
    again = ipynb.read(ipynb.write(notebook.document), "a.ipynb")
    assert again == notebook


@given(lines)
@settings(max_examples=200, deadline=None)
def test_python_is_what_ipython_makes_of_the_cell(source):
    text = "\n".join(source)
    try:
        theirs = TransformerManager().transform_cell(text)
        ast.parse(theirs)
    except (SyntaxError, ValueError):
        theirs = None
    assert ipynb.to_python(text) == theirs


@given(
    st.lists(st.sampled_from(["ok", "error", "aborted", "blocked", "none"]), max_size=6),
    st.booleans(),
    st.lists(st.sampled_from("ij"), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_the_executed_notebook_is_valid_and_ends_at_the_first_failure(statuses, keep_going, ids):
    notebook = ipynb.read(bytes_of([("code", f"x{i}") for i in range(len(statuses))]), "a.ipynb")
    displays = tuple(
        {
            "output_type": "display_data",
            "data": {"text/plain": "t"},
            "metadata": {},
            "transient": {"display_id": i},
        }
        for i in ids
    )
    outcomes = {i: CellOutcome(i, status, displays) for i, status in enumerate(statuses) if status != "none"}
    document = collect(notebook, outcomes, keep_going=keep_going)
    nbformat.validate(document)
    failures = [i for i, status in enumerate(statuses) if status in ("error", "aborted")]
    if failures and not keep_going:
        after = document["cells"][failures[0] + 1 :]
        assert all(cell["execution_count"] is None and cell["outputs"] == [] for cell in after)
    for i, status in enumerate(statuses):
        if status == "ok" and (keep_going or not failures or i < failures[0]):
            assert len(document["cells"][i]["outputs"]) == len(ids)


@given(texts, texts)
@settings(max_examples=150, deadline=None)
def test_each_sequential_run_agrees_with_what_both_have_taught(first, second):
    learned = learn(first, second)
    assert fits(learned, first)
    assert fits(learned, second)
    assert agrees(first, second, second)[0] != "different"


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers() | texts, min_size=1, max_size=3)))
@settings(max_examples=60, deadline=None)
def test_parameters_written_as_json_come_back(values):
    given_texts = [f"{name}={','.join(json.dumps(v) for v in vs)}" for name, vs in values.items()]
    assert sweeps.parse_params(given_texts, ipynb.resolve) == {name: tuple(vs) for name, vs in values.items()}


def test_nbformat_reads_what_is_written():
    node = v4.new_notebook(cells=[v4.new_code_cell("x")])
    assert nbformat.reads(ipynb.write(node).decode(), as_version=4) == node
