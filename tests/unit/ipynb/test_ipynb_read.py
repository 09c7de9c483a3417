import json

import nbformat
import pytest
from nbformat import v4

from jup2kub import ipynb
from jup2kub.errors import UsageError


def document(*cells, minor=5, **metadata):
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": list(cells)}


def code(source, **more):
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
        **more,
    }


def read(*cells, minor=5, **metadata):
    return ipynb.read(json.dumps(document(*cells, minor=minor, **metadata)).encode(), "a.ipynb")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "J2K200"),
        (b" \n", "J2K200"),
        (b"\xff\xfe\x00", "J2K201"),
        (b"import os\n", "J2K202"),
        (b'{"nbformat": 4,', "J2K202"),
        (b"[1, 2]", "J2K203"),
        (b'{"cells": []}', "J2K203"),
        (b'{"nbformat": 5, "cells": []}', "J2K204"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "poem"}]}', "J2K205"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [3]}', "J2K205"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": "x"}', "J2K205"),
        (b'{"nbformat": 3, "worksheets": 7}', "J2K205"),
        (b"[" * 100_000, "J2K202"),
        (json.dumps(document(code("print('\ud83d')"))).encode(), "J2K201"),
    ],
)
def test_what_is_no_notebook_is_refused_with_a_way_out(data, expected):
    with pytest.raises(UsageError) as caught:
        ipynb.read(data, "file.ipynb")
    assert caught.value.code == expected
    assert "file.ipynb" in caught.value.message
    assert caught.value.hint


def test_characters_that_json_writes_as_two_halves_are_read():
    assert read(code("print('\N{GRINNING FACE}')")).code[0].source == "print('\N{GRINNING FACE}')"


def test_halves_of_characters_in_old_outputs_keep_nothing_from_being_read():
    outputs = [{"output_type": "stream", "name": "stdout", "text": "\ud83d"}]
    assert read(code("1", outputs=outputs)).code[0].source == "1"


def test_older_formats_are_upgraded():
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "metadata": {},
                "cells": [
                    {"cell_type": "heading", "level": 2, "metadata": {}, "source": "T"},
                    {"cell_type": "code", "collapsed": False, "input": "x = 1", "language": "python", "metadata": {},
                     "outputs": [{"output_type": "nonsense"}], "prompt_number": 3},
                ],
            }
        ],
    }  # fmt: skip
    notebook = ipynb.read(json.dumps(old).encode(), "old.ipynb")
    assert [(c.kind, c.source) for c in notebook.cells] == [("markdown", "## T"), ("code", "x = 1")]
    assert (notebook.document["nbformat"], notebook.document["nbformat_minor"]) == (4, 5)


def test_missing_ids_depend_on_the_text_alone():
    cells = [code("x = 1"), code("x = 1"), {"cell_type": "markdown", "metadata": {}, "source": ["a\n", "b"]}]
    first, second = read(*cells, minor=2), read(*cells, minor=4)
    assert [c.id for c in first.cells] == [c.id for c in second.cells]
    assert len({c.id for c in first.cells}) == 3
    assert first.cells[2].source == "a\nb"
    assert read(code("y"), *cells, minor=2).cells[1].id == first.cells[0].id


def test_ids_that_repeat_or_are_not_valid_are_made_anew_and_others_kept():
    notebook = read(code("a", id="same"), code("b", id="same"), code("c", id="not valid"))
    ids = [c.id for c in notebook.cells]
    assert ids[0] == "same"
    assert len(set(ids)) == 3
    nbformat.validate(dict(notebook.document))


def test_outputs_even_broken_ones_are_dropped():
    notebook = read(code("x", outputs=[{"output_type": "?"}], execution_count=7))
    cell = notebook.document["cells"][0]
    assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_what_jupyter_tolerates_is_tolerated():
    raw = document({"cell_type": "code", "source": "x = 1", "more": 1}, custom={"a": 1})
    assert ipynb.read(json.dumps(raw).encode("utf-8-sig"), "a.ipynb").cells[0].python == "x = 1\n"


@pytest.mark.parametrize(
    ("metadata", "kernel", "language"),
    [
        ({}, "", "python"),
        ({"kernelspec": {"name": "python3", "display_name": "P"}}, "python3", "python"),
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, "ir", "R"),
        ({"kernelspec": {"name": "iron-python", "display_name": "I"}}, "iron-python", "python"),
        ({"kernelspec": {"name": "julia-1.10", "display_name": "J"}}, "julia-1.10", "julia"),
        ({"kernelspec": {"name": "mine", "display_name": "M", "language": "go"}}, "mine", "go"),
        ({"language_info": {"name": "ipython"}}, "", "python"),
    ],
)
def test_kernel_and_language(metadata, kernel, language):
    notebook = read(code("x <- 1"), **metadata)
    assert (notebook.kernel, notebook.language) == (kernel, language)
    assert notebook.cells[0].python == (None if language != "python" else "x <- 1\n")


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("x = 1", "x = 1\n"),
        ("", "\n"),
        ("x = !ls", "x = get_ipython().getoutput('ls')\n"),
        ("%time f()", "get_ipython().run_line_magic('time', 'f()')\n"),
        ("%%bash\nls", "get_ipython().run_cell_magic('bash', '', 'ls\\n')\n"),
        ("f?", "get_ipython().run_line_magic('pinfo', 'f')\n"),
        ("await f()", "await f()\n"),
        ("async with a as b:\n    pass", "async with a as b:\n    pass\n"),
        ("  x = 1\n  y = 2", "x = 1\ny = 2\n"),
        (">>> x = 1", "x = 1\n"),
        ("In [1]: x = 1", "x = 1\n"),
        ("'\\d'", "'\\d'\n"),
        ("x = = 1", None),
        ("a b c", None),
        ("x = '\0'", None),
    ],
)
def test_cells_become_the_python_that_the_kernel_runs(source, python):
    assert ipynb.to_python(source) == python


def test_written_bytes_are_those_of_nbformat():
    cells = [
        v4.new_markdown_cell(
            "# ü\n\nx", id="a", attachments={"i.png": {"image/png": "aGk=\n", "text/plain": "a\nb"}}
        ),
        v4.new_code_cell(
            "x\ny",
            id="b",
            outputs=[
                v4.new_output("stream", name="stdout", text="a\nb\n"),
                v4.new_output("display_data", {"text/html": "<b>\n</b>", "image/svg+xml": "<svg>\n</svg>"}),
                v4.new_output("execute_result", {"application/json": {"a": ["x"]}, "image/png": "aGk=\n"}),
                v4.new_output("error", ename="E", evalue="v", traceback=["a\nb"]),
            ],
        ),
        v4.new_raw_cell("", id="c"),
    ]
    node = v4.new_notebook(cells=cells)
    assert ipynb.write(node).decode() == nbformat.writes(node) + "\n"


def test_lone_surrogates_survive_writing():
    node = v4.new_notebook(cells=[v4.new_markdown_cell("a\udc80b", id="a")])
    assert json.loads(ipynb.write(node))["cells"][0]["source"] == ["a\udc80b"]
