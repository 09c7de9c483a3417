"""The notebooks that are timed, made from text so that every repetition begins with a file that nobody has run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BURN = '''\
def burn(rounds, seed=1):
    """Compute something that takes time, and whose answer depends on all of it."""
    x = seed
    for _ in range(rounds):
        x = (x * 1103515245 + 12345) % 2147483648
    return x
'''
"""Pure Python on one core: the interpreter is what most slow notebooks wait for."""

PROBE = 2_000_000
"""Rounds of `burn` that are timed to learn how fast this machine is."""


def rounds_per_second() -> float:
    """Return how many rounds of `burn` one core does in a second, the best of three, in a process of its own."""
    text = (
        f"{BURN}\nimport time\nbest = 9e9\nfor _ in range(3):\n    t = time.perf_counter(); burn({PROBE})\n"
    )
    text += "    best = min(best, time.perf_counter() - t)\nprint(best)"
    said = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout
    return PROBE / float(said)


def busy(second: int) -> list[str]:
    """Return a command that keeps one core busy for half a second."""
    return [sys.executable, "-c", f"{BURN}\nburn({second // 2})"]


def notebook(cells: Sequence[str], parameters: int | None = None) -> dict[str, Any]:
    """Return an nbformat 4.5 dictionary of code cells; cell number `parameters` has papermill's tag."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": [
            {
                "id": f"cell-{number}",
                "cell_type": "code",
                "metadata": {"tags": ["parameters"]} if number == parameters else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(cells)
        ],
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """Write the notebook."""
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def branches(second: int) -> list[str]:
    """Two branches of 4 s that know nothing of each other. `second`: rounds of `burn` in a second, as below."""
    return [
        BURN,
        f"left = burn({4 * second}, 1)",
        f"right = burn({4 * second}, 2)",
        "print(left, right)",
    ]


def serial(second: int) -> list[str]:
    """Ten cells of half a second in which each needs the one before."""
    steps = [f"x{n} = burn({second // 2}, x{n - 1})\nprint(x{n})" for n in range(1, 9)]
    return [f"{BURN}\nx0 = 1", *steps, "x8"]


def trivial() -> list[str]:
    """Three cells that take no time: what is left is the cost of the tool."""
    return ["x = 20", "y = x + 1", "print(2 * y)"]


def frame(second: int) -> list[str]:
    """A frame of 1 GB, made once and used by two heavy cells."""
    return [
        f"import numpy as np\nimport pandas as pd\n\n{BURN}",
        "df = pd.DataFrame(np.random.default_rng(1).random((12_500_000, 10)), columns=list('abcdefghij'))",
        f"first = (df['a'].sum(), burn({3 * second}, 1))",
        f"second = (df['b'].max(), burn({3 * second}, 2))",
        "print(first, second)",
    ]


def loop(second: int) -> list[str]:
    """A loop at the top level, whose iterations depend on each other, of about 3 s."""
    body = f"x = 1\nfor _ in range({3 * second}):\n    x = (x * 1103515245 + 12345) % 2147483648"
    return ["import math", body, "print(x)"]


def chain(second: int, last: int = 1) -> list[str]:
    """Ten cells of 1 s in a row; `last` is what the user edits in the tenth."""
    steps = [f"x{n} = burn({second}, x{n - 1})" for n in range(1, 10)]
    return [f"{BURN}\nx0 = 1", *steps, f"x10 = burn({second}, x9 + {last})\nprint(x10)"]


def calls(second: int) -> list[str]:
    """A loop of 64 calls of 0.2 s at the top level, with no word about it."""
    body = f"results = []\nfor seed in range(64):\n    results.append(burn({second // 5}, seed))"
    return [BURN, body, "print(sum(results), results[:3])"]


def calls_inside(second: int) -> list[str]:
    """The same loop inside a function of the notebook."""
    study = (
        "def study(seeds):\n    results = []\n    for seed in seeds:\n"
        f"        results.append(burn({second // 5}, seed))\n    return results"
    )
    return [BURN, study, "results = study(range(64))", "print(sum(results), results[:3])"]


def sweep(second: int) -> tuple[list[str], int]:
    """A notebook whose first half (4 s) does not depend on its parameter; and the number of the parameters cell."""
    cells = [
        BURN,
        f"base = burn({4 * second}, 1)",
        "alpha = 1",
        f"answer = burn({4 * second}, base + alpha)",
        "print(alpha, answer)",
    ]
    return cells, 2


def imports() -> list[str]:
    """Big imports and small work: nothing to gain, so nothing may be lost."""
    return [
        "import matplotlib.pyplot as plt\nimport numpy as np\nimport pandas as pd",
        "from sklearn.linear_model import LinearRegression",
        "rng = np.random.default_rng(0)\ndf = pd.DataFrame({'x': rng.random(500)})\n"
        "df['y'] = 3 * df['x'] + rng.normal(0, 0.1, 500)",
        "model = LinearRegression().fit(df[['x']], df['y'])\nprint(model.coef_.round(3), round(model.intercept_, 3))",
        "fig, ax = plt.subplots()\nax.scatter(df['x'], df['y'], s=4)\nax.plot(df['x'], model.predict(df[['x']]), 'r')\nplt.show()",
        "df.describe().round(3)",
    ]
