import csv

import pytest

from jup2kub import ipynb, sweeps
from jup2kub.errors import UsageError


def params(*texts):
    return sweeps.parse_params(texts, ipynb.resolve)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1", (1,)),
        ("a=1,2.5,x,True,None", (1, 2.5, "x", True, None)),
        ("a=", ("",)),
        ("a=b=c", ("b=c",)),
        ('a="x,y",z', ("x,y", "z")),
        ('a="1",1', ("1", 1)),
        ("a=[1,2]", ([1, 2],)),
        ('a=[1,2],[3],{"k": 1}', ([1, 2], [3], {"k": 1})),
        ('a="",b', ("", "b")),
        ('a=5" pipe', ('5" pipe',)),
    ],
)
def test_values_of_one_parameter(text, values):
    assert params(text) == {"a": values}


@pytest.mark.parametrize("text", ["a", "=1", "1a=2", "a=1,,2", "a=1,", 'a="x",', "a=[1,2", "a=[x]", 'a="x"y'])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError) as caught:
        params(text)
    assert caught.value.code == "J2K220"


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        params("a=1", "a=2")


def test_a_grid_takes_the_first_parameter_slowest():
    assert sweeps.grid(params("a=1,2", "b=x", "c=3,4")) == [
        {"a": 1, "b": "x", "c": 3},
        {"a": 1, "b": "x", "c": 4},
        {"a": 2, "b": "x", "c": 3},
        {"a": 2, "b": "x", "c": 4},
    ]
    assert sweeps.grid({}) == [{}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("s.jsonl", b'{"a": 1, "b": "x"}\n\n{"a": 2}\n'),
        ("s.json", b'[{"a": 1, "b": "x"}, {"a": 2}]'),
        ("s.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n2,\r\n"),
    ],
)
def test_sweep_files(name, data):
    assert sweeps.read_sweep(data, name, ipynb.resolve) == [{"a": 1, "b": "x"}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("s.jsonl", b""),
        ("s.jsonl", b"[1]\n"),
        ("s.jsonl", b"{a: 1}\n"),
        ("s.jsonl", b'{"1a": 1}\n'),
        ("s.json", b"3"),
        ("s.csv", b"a,a\n1,2\n"),
        ("s.csv", b"a,b\n1\n"),
        ("s.csv", b"a\n"),
        ("s.csv", b"\xff\n"),
        ("s.txt", b"a"),
    ],
)
def test_sweep_files_that_cannot_be_read_are_refused(name, data):
    with pytest.raises(UsageError) as caught:
        sweeps.read_sweep(data, name, ipynb.resolve)
    assert caught.value.code == "J2K221"
    assert name in caught.value.message


def test_a_broken_line_is_named_by_its_place_in_the_file():
    with pytest.raises(UsageError, match="line 3, column 6"):
        sweeps.read_sweep(b'{"a": 1}\n\n{"a":\n', "s.jsonl", ipynb.resolve)


def test_a_sweep_file_times_a_grid():
    assert sweeps.combine([{"a": 1}, {"a": 2}], {"b": (3, 4)}) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]
    with pytest.raises(UsageError, match="`a`"):
        sweeps.combine([{"a": 1}], {"a": (3,)})


def test_names_of_the_executed_notebooks_sort_as_their_numbers():
    assert sweeps.file_name(7, 10) == "007.ipynb"
    assert sweeps.file_name(7, 1001) == "0007.ipynb"


def test_the_table():
    rows = [
        sweeps.SweepRow(0, {"a": 1, "state": "x,y"}, "ok", 1.25, {"score": 0.5, "a": [1, 2]}),
        sweeps.SweepRow(1, {"a": 2}, "error", 0.0),
    ]
    text = sweeps.table(rows, ["score", "a"])
    assert list(csv.reader(text.splitlines())) == [
        ["set", "a", "parameter.state", "state", "seconds", "score", "result.a"],
        ["000", "1", "x,y", "ok", "1.250", "0.5", "[1, 2]"],
        ["001", "2", "", "error", "0.000", "", ""],
    ]
