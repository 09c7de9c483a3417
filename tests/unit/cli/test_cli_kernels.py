"""Which kernel runs a notebook: found as Jupyter finds it, in another environment, or of another language."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jup2kub.cli import main as cli

pytestmark = pytest.mark.kernel

ECHO = '''
import os
import signal

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel


class Echo(Kernel):
    """A language in which a line says itself, `fail` fails, `die` dies, `wait FILE` makes it and goes on for ever."""

    implementation = language = "echo"
    implementation_version = banner = "1"
    language_info = {"name": "echo", "mimetype": "text/plain", "file_extension": ".echo"}

    def do_execute(self, code, silent, *args, **kwargs):
        if code == "die":
            os._exit(1)
        if code.startswith("wait"):
            open(code.split()[1], "w").close()
            signal.pause()
        if code.startswith("fail"):
            error = {"ename": "EchoError", "evalue": code, "traceback": ["at " + code]}
            self.send_response(self.iopub_socket, "error", error)
            return {"status": "error", "execution_count": self.execution_count, **error}
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": code + "\\n"})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}


IPKernelApp.launch_instance(kernel_class=Echo)
'''


def spec(folder: Path, name: str, argv: list[str], language: str) -> None:
    place = folder / "kernels" / name
    place.mkdir(parents=True)
    content = {"argv": [*argv, "-f", "{connection_file}"], "display_name": name, "language": language}
    (place / "kernel.json").write_text(json.dumps(content))


def book(path: Path, kernel: str, language: str, *sources: str) -> Path:
    kernelspec = {"name": kernel, "display_name": kernel, "language": language}
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernelspec, "language_info": {"name": language}})
    made.cells = [nbformat.v4.new_code_cell(s) for s in sources]
    nbformat.write(made, path)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder; kernelspecs are looked for in `jupyter` beside it."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUP2KUB_STORE", str(tmp_path / "store"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def outputs(path: Path) -> list[list[Any]]:
    executed = nbformat.read(path, as_version=4)
    nbformat.validate(executed)
    return [[o.get("text", o.get("ename")) for o in c.outputs] for c in executed.cells]


@pytest.fixture
def echo(place: Path) -> Path:
    (place / "echo.py").write_text(ECHO)
    spec(place / "jupyter", "echo", [sys.executable, str(place / "echo.py")], "echo")
    return place


def test_a_notebook_of_another_language_is_one_serial_main_line_and_says_so(
    echo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nb = book(echo / "project" / "nb.ipynb", "echo", "echo", "for i in", "", "%echo")
    assert cli.main(["plan", str(nb), "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert (plan["main"], plan["steps"]) == ([0, 2], [])
    assert any("echo" in d["text"] and "main line" in d["text"] for d in plan["decisions"])
    assert [(e["from"], e["to"]) for e in plan["cell_edges"]] == [(0, 2)]
    assert cli.main(["run", str(nb), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["state"] == "done"
    assert "one serial main line" in err
    assert outputs(nb.with_name("nb.executed.ipynb")) == [["for i in\n"], [], ["%echo\n"]]
    executed = nbformat.read(nb.with_name("nb.executed.ipynb"), as_version=4)
    assert [c.execution_count for c in executed.cells] == [1, None, 2]
    assert {c.metadata["jup2kub"]["where"] for c in executed.cells if c.source} == {"main"}


def test_a_failing_cell_of_another_language_ends_its_notebook(
    echo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nb = book(echo / "project" / "nb.ipynb", "echo", "echo", "one", "fail here", "three")
    assert cli.main(["run", str(nb)]) == 1
    assert "EchoError" in capfd.readouterr().err
    assert outputs(nb.with_name("nb.executed.ipynb")) == [["one\n"], ["EchoError"], []]
    assert cli.main(["run", str(nb), "--keep-going"]) == 1
    assert outputs(nb.with_name("nb.executed.ipynb"))[2] == [], "it may depend on the cell that failed"


def test_a_kernel_of_another_language_that_dies_ends_its_notebook_and_keeps_what_was_done(
    echo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nb = book(echo / "project" / "nb.ipynb", "echo", "echo", "one", "die", "three")
    assert cli.main(["run", str(nb)]) == 1
    assert "cell 1 raised DeadKernelError" in capfd.readouterr().err
    assert outputs(nb.with_name("nb.executed.ipynb")) == [["one\n"], ["DeadKernelError"], []]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_notebook_of_another_language_is_interrupted_as_any_other(echo: Path, number: int) -> None:
    began = echo / "began"
    os.mkfifo(began)
    nb = book(echo / "project" / "nb.ipynb", "echo", "echo", "one", f"wait {began}", "three")
    command = [sys.executable, "-m", "jup2kub", "run", str(nb)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        began.read_bytes()  # until the cell opens its other end
        running.send_signal(number)
        err = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_a_kernel_of_another_language_that_does_not_start_is_the_environments_fault(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec(place / "jupyter", "dead", [sys.executable, "-c", "raise SystemExit(7)"], "dead")
    spec(place / "jupyter", "nothing", ["/no/such/program"], "dead")
    for name in ("dead", "nothing"):
        nb = book(place / "project" / f"{name}.ipynb", name, "dead", "one")
        assert cli.main(["run", str(nb)]) == 3
        out, err = capfd.readouterr()
        assert "J2K402" in err
        assert name in err
        assert out == ""


def test_the_kernel_that_was_asked_for_counts(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec(place / "jupyter", "mine", [sys.executable, "-X", "utf8", "-m", "ipykernel_launcher"], "python")
    nb = book(place / "project" / "nb.ipynb", "gone", "python", "import sys; print(sys.flags.utf8_mode)")
    assert cli.main(["run", str(nb)]) == 3
    assert "mine" in capfd.readouterr().err, "the kernels that there are, are listed"
    assert cli.main(["run", str(nb), "--kernel", "mine"]) == 0
    assert outputs(nb.with_name("nb.executed.ipynb")) == [["1\n"]]


def test_a_python_kernel_without_ipykernel_is_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = [sys.executable, "-S", "-I", "-m", "ipykernel_launcher"]
    spec(place / "jupyter", "bare", argv, "python")
    nb = book(place / "project" / "nb.ipynb", "bare", "python", "1")
    assert cli.main(["run", str(nb)]) == 3
    err = capfd.readouterr().err
    assert "J2K402" in err
    assert "ipykernel" in err


@pytest.fixture(scope="session")
def scientists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with ipykernel and nothing of what this program needs."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*install, "ipykernel"], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"no ipykernel to be had: {done.stderr[-200:]}")
    return folder


@pytest.mark.slow
def test_the_scientists_environment_needs_nothing_but_ipykernel(
    scientists: Path, place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(scientists / "share" / "jupyter"))
    nb = book(
        place / "project" / "nb.ipynb",
        "python3",
        "python",
        "import sys, importlib.util as u\nprint(sys.prefix, [n for n in ('nbformat', 'jup2kub', 'numpy') if u.find_spec(n)])",
        "a = 0\nfor i in range(20_000_000): a += i",
        "b = 0\nfor i in range(20_000_000): b += i",
        "print(a == b)",
    )
    for more in ([], ["--no-fork", "--fresh"]):
        assert cli.main(["run", str(nb), "--workers", "2", "--offload", "all", "--json", *more]) == 0
        told = json.loads(capfd.readouterr().out)
        assert told["steps"]
        assert outputs(nb.with_name("nb.executed.ipynb")) == [[f"{scientists} []\n"], [], [], ["True\n"]]
