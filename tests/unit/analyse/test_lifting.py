"""Which definitions of a cell may be made before the rest of it runs."""

from __future__ import annotations

import pytest
from notebooks_as_text import Analyse

CLASS = """import numpy as np
from dataclasses import dataclass, field
@dataclass
class P:
    x: int = 0
    xs: list = field(default_factory=list)
    @property
    def y(self): return self.x
    @y.setter
    def y(self, value): self.x = value
def f(a, b=np.pi, *, c=(1, 2)) -> float:
    return a
r = [f(i) for i in range(10)]"""


@pytest.mark.parametrize(
    ("sources", "lifted", "reads"),
    [
        ((CLASS,), {"P", "f"}, set()),
        (("N = 3", "class A:\n    n = N\nclass B(A):\n    pass\nb = B()"), {"A", "B"}, {"N"}),
        (("sq = lambda x: x * x\ny = sq(2)",), {"sq"}, set()),
        (("from collections import namedtuple\nP = namedtuple('P', 'x y')\nq = P(1, 2)",), {"P"}, set()),
        (("class A: pass", "class B(A): pass\nb = B()"), {"B"}, {"A"}),
        (("g = 2", "def f(x):\n    return x * g\ny = f(3)"), {"f"}, set()),
    ],
)
def test_definitions_without_effects_are_lifted(
    sources: tuple[str, ...], lifted: set[str], reads: set[str], graph: Analyse
) -> None:
    found = graph(*sources).cells[len(sources) - 1]
    assert (found.lifted, found.lifted_reads) == (lifted, reads)


def test_imports_that_definitions_need_go_with_them(graph: Analyse) -> None:
    assert graph(CLASS).cells[0].lifted_lines == (1, 2, 4, 11)


@pytest.mark.parametrize(
    "sources",
    [
        ("N = 3", "N = 4\ndef f(x=N): return x\ny = f()"),
        ("def f(): return 1", "y = f()\ndef f(): return 2\nz = f()"),
        ("def f(): return 1\nf.calls = 0\ny = f()",),
        ("def f(): return 1\nf = [f]\ny = f",),
        ("reg = {}\ndef note(fn):\n    reg[1] = fn\n    return fn", "@note\ndef f(): return 1\ny = f()"),
        ("from functools import lru_cache\n@lru_cache\ndef f(): return 1\ny = f()",),
        ("def f(): return 1\nif f():\n    def f(): return 2\ny = f()",),
        ("cfg = {}", "def f(c=cfg): return c\ny = f()"),
        ("class M(type): pass\nclass A(metaclass=M): pass", "class B(A): pass\nb = B()"),
        ("class A:\n    def __init_subclass__(cls): print(cls)", "class B(A): pass\nb = B()"),
        ("class A:\n    print('made')\ny = A()",),
        ("def f(x=print('made')): return x\ny = f()",),
        ("def f(): return 1; \ny = 2; z = lambda: 3",),
        ("def g():\n    global f\n    f = 3\ndef f(): return 1\ng()",),
        ("%%time\ndef f(): return 1\ny = f()",),
        ("import mystery\n@mystery.register\ndef f(): return 1\ny = f()",),
    ],
)
def test_what_has_effects_or_depends_on_the_rest_stays(sources: tuple[str, ...], graph: Analyse) -> None:
    found = graph(*sources).cells[len(sources) - 1]
    assert not found.lifted & {"f", "A", "B", "z"}


def test_a_base_of_the_projects_own_module_may_run_code(graph: Analyse) -> None:
    modules = {"helper": "class Base: pass"}
    found = graph("from helper import Base", "class A(Base): pass\na = A()", modules=modules)
    assert not found.cells[1].lifted
