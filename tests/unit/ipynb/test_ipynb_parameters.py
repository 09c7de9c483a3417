import json
import math

import pytest
from nbformat import v4

from jup2kub import ipynb
from jup2kub.errors import UsageError

VALUES = {
    "a": 1,
    "b": -2.5,
    "c": True,
    "d": None,
    "e": 'ü "quoted"\n\\ $x',
    "f": [1, "x", {"k": None}],
    "g": {"x": [1.0, False]},
    "h": math.inf,
    "i": -math.inf,
}


def notebook(*cells, language="python"):
    node = v4.new_notebook(cells=list(cells), metadata={"language_info": {"name": language}})
    return ipynb.read(json.dumps(node).encode(), "a.ipynb")


def tagged(source, *tags):
    return v4.new_code_cell(source, metadata={"tags": list(tags)})


@pytest.mark.parametrize(
    "text", ["True", "False", "None", "1", "-1", "1_000", "1.5", "1e3", "nan", "", "x", "true", "[1]"]
)
def test_values_are_read_as_papermill_reads_them(text):
    cli = pytest.importorskip("papermill.cli")
    ours, theirs = ipynb.resolve(text), cli._resolve_type(text)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "cells",
    [
        [v4.new_markdown_cell("t"), tagged("a = 0", "parameters"), v4.new_code_cell("a")],
        [v4.new_markdown_cell("t"), v4.new_code_cell("a")],
        [tagged("a = 0", "parameters"), v4.new_code_cell("1"), tagged("a = 5", "injected-parameters")],
    ],
)
def test_the_cell_stands_where_papermill_puts_it_and_says_the_same(cells):
    papermill = pytest.importorskip("papermill.parameterize")
    from papermill.utils import nb_kernel_name

    assert nb_kernel_name
    ours = ipynb.inject(notebook(*cells), VALUES)
    node = v4.new_notebook(cells=cells, metadata={"papermill": {}})
    for cell in node.cells:
        cell.metadata.setdefault("tags", [])
    theirs = papermill.parameterize_notebook(node, VALUES, kernel_name="python3", language="python")
    assert [c.source for c in ours.cells] == [c.source for c in theirs.cells]
    assert [sorted(c.tags) for c in ours.cells] == [sorted(c.metadata.tags) for c in theirs.cells]


@pytest.mark.parametrize("language", ["R", "julia"])
def test_other_languages_write_finite_values_as_papermill_does(language):
    translators = pytest.importorskip("papermill.translators")
    values = {k: v for k, v in VALUES.items() if k not in ("e", "h", "i")}
    ours = ipynb.inject(notebook(language=language), values).cells[0].source
    assert ours == translators.translate_parameters("", language, values)


def test_python_values_come_back():
    namespace = {}
    exec(ipynb.inject(notebook(), VALUES).cells[0].source, namespace)
    assert {name: namespace[name] for name in VALUES} == VALUES


def test_nothing_to_set_changes_nothing():
    given = notebook(v4.new_code_cell("x"))
    assert ipynb.inject(given, {}) is given


def test_the_source_is_not_changed():
    given = notebook(tagged("a = 0", "parameters"))
    before = json.dumps(given.document)
    ipynb.inject(given, {"a": 1})
    assert json.dumps(given.document) == before


@pytest.mark.parametrize("name", ["1a", "a b", "class", ""])
def test_a_name_that_cannot_be_a_variable_is_refused(name):
    with pytest.raises(UsageError) as caught:
        ipynb.inject(notebook(), {name: 1})
    assert caught.value.code == "J2K220"


def test_a_language_without_a_way_to_write_values_is_refused():
    with pytest.raises(UsageError, match="cobol") as caught:
        ipynb.inject(notebook(language="cobol"), {"a": 1})
    assert caught.value.code == "J2K222"


def test_unknown_names_are_told():
    given = notebook(tagged("alpha = 1\nbeta: int = 2", "parameters"))
    assert ipynb.notes(given, {"alpha": 1, "beta": 1}) == ()
    (note,) = ipynb.notes(given, {"alhpa": 1})
    assert "`alhpa`" in note
    assert "`alpha`" in note
    assert "no cell" in ipynb.notes(notebook(v4.new_code_cell("x")), {"a": 1})[0]
