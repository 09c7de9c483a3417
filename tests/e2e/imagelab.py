"""Builds a notebook of four steps, and runs its images in a node of the test cluster: containerd and runc, as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tests.e2e.conftest import PEACE, held

HERE = Path(__file__).parent
CELLS = (
    "import pandas as pd, numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
    "import matplotlib.pyplot as plt\nimport helper",
    "#| step: load\nrng = np.random.default_rng(1)\ndf = pd.DataFrame({'x': rng.normal(size=1000)})\ndf['y'] = helper.line(df.x)",
    "#| step: fit\nmodel = LinearRegression().fit(df[['x']], df.y)",
    "#| step: score\nscore = model.score(df[['x']], df.y)",
    "#| step: plot\nfig, ax = plt.subplots(); ax.plot(df.x, df.y, '.'); fig.savefig('fit.png')",
    "print(round(score, 3), model.coef_.round(3))",
)
SAYS = "1.0 [3.]"
RUN = """
ctr -n {space} run --rm --read-only --mount type=tmpfs,src=tmpfs,dst=/tmp,options=rw:mode=1777 \
  --mount type=tmpfs,src=tmpfs,dst=/home/j2k,options=rw:mode=1777 \
  --mount type=bind,src={probes},dst=/mnt,options=rbind:ro {image} {name} {words}
"""


def needs(*programs: str) -> None:
    """Skip, loudly, where one of these programs is missing."""
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        pytest.skip(f"NOT TESTED, FOR THERE IS NO {', '.join(missing).upper()}")


def study(folder: Path, cells: tuple[str, ...] = CELLS) -> Path:
    """Write the notebook and the module beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text, id=f"cell-{i}") for i, text in enumerate(cells)]
    )
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "study.ipynb")
    (folder / "helper.py").write_text("def line(x):\n    return 3 * x - 2\n")
    return folder / "study.ipynb"


def build(notebook: Path, *words: str, env: dict[str, str] | None = None, code: int = 0) -> dict[str, Any]:
    """Run `jup2kub build --json`; return what it prints, or `{"error": …}`."""
    done = subprocess.run(
        [sys.executable, "-m", "jup2kub", "build", str(notebook), "--json", *words],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
        env={**os.environ, "JUP2KUB_STORE": str(notebook.parent / ".store"), **(env or {})},
    )
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if not code else {"error": done.stderr}
    return found


@dataclass(frozen=True)
class Node:
    """A node of the test cluster, with a namespace of containerd for these tests alone."""

    kit: Any
    space: str = "jup2kub-images"

    def load(self, archive: Path) -> None:
        """Import an archive."""
        with held(PEACE, alone=False):
            self.kit(
                "node",
                "shell",
                "1",
                "ctr",
                "-n",
                self.space,
                "images",
                "import",
                "--all-platforms",
                str(archive),
                seconds=600,
            )

    def run(self, image: str, *words: str, seconds: float = 300) -> str:
        """Run a program in a container: the image's own user, a root that cannot be written, no network."""
        quoted = " ".join(f"'{w}'" for w in words)
        name = f"j2k-{uuid.uuid4().hex[:8]}"
        script = RUN.format(space=self.space, probes=HERE, image=image, name=name, words=quoted)
        said: str = self.kit("node", "shell", "1", "sh", "-c", script, seconds=seconds)
        return said
