"""What leaves the program for a notebook, byte for byte. `REGEN=1` writes the files anew."""

import json
import os
from pathlib import Path

import pytest

from jup2kub import certify, ipynb, sweeps
from jup2kub.collect import collect
from jup2kub.model.run import CellError, CellOutcome

FOLDER = Path(__file__).parent / "notebook_out"
SCRIPT = """# %% [markdown]
# # Demonstration

# %% tags=["parameters"]
alpha = 0.1

# %%
#| step: heavy
#| timeout: 10m
total = sum(alpha * i for i in range(10))
print(total)

# %%
handle = display("…", display_id="state")

# %%
handle.update("done: ü"); 1 / 0

# %%
print("never")
"""


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def outcomes(total="4.5\n", address="0x7f01", seed="1"):
    shown = {"output_type": "display_data", "data": {"text/plain": "'…'"}, "metadata": {}}
    return {
        1: CellOutcome(1, start=1000.0, seconds=0.001, worker="main", digests={"alpha": "a"}),
        2: CellOutcome(2, start=1000.1, seconds=0.01, worker="main"),
        3: CellOutcome(
            3,
            outputs=(stream(total), stream(f"<object at {address}>, seed {seed}\n")),
            where="step",
            step="s1",
            worker="w1",
            start=1000.2,
            seconds=2.5,
            peak_bytes=50_000_000,
            digests={"total": total.strip()},
            files={"out.csv": total.strip()},
        ),
        4: CellOutcome(
            4, outputs=({**shown, "transient": {"display_id": "state"}},), start=1000.3, seconds=0.01
        ),
        5: CellOutcome(
            5,
            "error",
            updates=({"display_id": "state", "data": {"text/plain": "'done: ü'"}, "metadata": {}},),
            start=1003.0,
            seconds=0.02,
            error=CellError("ZeroDivisionError", "division by zero", ("\x1b[31mZeroDivisionError\x1b[39m",)),
        ),
        6: CellOutcome(6, outputs=(stream("never\n"),)),
    }


def notebook():
    return ipynb.inject(ipynb.read(SCRIPT.encode(), "demo.py"), {"alpha": 0.1})


def executed():
    return ipynb.write(collect(notebook(), outcomes(), summary={"workers": 2, "plan": "hybrid"})).decode()


def certificate():
    return certify.compare(
        certify.Execution(outcomes(), {"out.csv": "1"}, 3.0),
        certify.Execution(outcomes(address="0x7f02", seed="2"), {"out.csv": "1"}, 3.1),
        certify.Execution(outcomes("4.6\n", seed="3"), {"out.csv": "2"}, 1.6),
        notebook=notebook(),
        name="demo.py",
        plan={"mode": "hybrid", "workers": 2, "steps": ["s1: cell 3"]},
        versions={"python": "3.11.0", "jup2kub": "0.1.0"},
    )


def table():
    sets = sweeps.combine(
        sweeps.read_sweep(b"alpha,name\n0.1,a\n0.2,\n", "s.csv", ipynb.resolve),
        sweeps.parse_params(["k=1,2"], ipynb.resolve),
    )
    return sweeps.table(
        [sweeps.SweepRow(i, one, "ok", i / 3, {"total": i}) for i, one in enumerate(sets)], ["total"]
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("executed.ipynb", executed),
        (
            "certificate.json",
            lambda: json.dumps(certificate().to_json(), indent=1, ensure_ascii=False) + "\n",
        ),
        ("certificate.html", lambda: certify.html(certificate())),
        ("sweep.csv", table),
    ],
)
def test_golden(name, make):
    path, text = FOLDER / name, make()
    if os.environ.get("REGEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
