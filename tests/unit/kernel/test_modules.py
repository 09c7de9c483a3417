"""State that modules keep to themselves: what counts as changed, and what does not."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from jup2kub.kernel import modules

SOURCE = """
import math, threading
rate, names, _private = 1, ["a"], {}
_result_cache = {}
lock = threading.Lock()
class Model:
    made = 0
    limits = [1]
    def fit(self): return self
    @property
    def area(self): return 3
def learn(value, seen=[]): return value
model = Model()
"""


@pytest.fixture
def lab() -> Iterator[types.ModuleType]:
    """A package with a module `lab.core`."""
    core = types.ModuleType("lab.core")
    core.__file__ = "core.py"
    exec(SOURCE, core.__dict__)
    sys.modules.update({"lab": types.ModuleType("lab"), "lab.core": core})
    yield core
    del sys.modules["lab"], sys.modules["lab.core"]


def after(lab: types.ModuleType, text: str, watched: dict[str, str]) -> set[str]:
    """Return what is found changed after the text ran in the module."""
    before = modules.take(watched, budget_seconds=5.0)
    exec(text, lab.__dict__)
    return modules.changed(before, watched, budget_seconds=5.0)


@pytest.mark.parametrize(
    "text",
    [
        "rate = 2",
        "rate = True",
        "rate = [1]",
        "names.append('b')",
        "names = 7",
        "_private['x'] = 1",
        "del rate",
        "extra = 1",
        "Model.made += 1",
        "Model.limits.append(2)",
        "learn.__defaults__[0].append(1)",
        "learn.count = 1",
        "model.weight = 3",
    ],
)
def test_change_is_seen(lab: types.ModuleType, text: str) -> None:
    assert after(lab, text, {"lab": "@lib:lab"}) == {"@lib:lab"}
    assert after(lab, "", {"lab": "@lib:lab"}) == set()


@pytest.mark.parametrize(
    "text",
    [
        "rate = 1",
        "model.area, model.fit(), len(names), sum(Model.limits)",
        "_result_cache['x'] = 1",
        "_backend = object()",
        "import json",
        "def helper(): return 1",
        "class Other: pass",
        "__warningregistry__ = {'x': 1}",
        "with lock: pass",
    ],
)
def test_use_is_no_change(lab: types.ModuleType, text: str) -> None:
    assert after(lab, text, {"lab": "@lib:lab"}) == set()


def test_module_of_the_project_stands_for_itself_alone(lab: types.ModuleType) -> None:
    assert after(lab, "rate = 5", {"lab": "@mod:lab"}) == set()
    assert after(lab, "rate = 6", {"lab.core": "@mod:lab.core"}) == {"@mod:lab.core"}


def test_what_is_not_loaded_or_not_affordable_is_no_change(lab: types.ModuleType) -> None:
    assert after(lab, "rate = 7", {"absent": "@lib:absent"}) == set()
    before = modules.take({"lab": "@lib:lab"}, budget_seconds=0.0)
    assert modules.changed(before, {"lab": "@lib:lab"}, budget_seconds=0.0) == set()
