"""Debian's Docker takes our images, and runs them: a daemon of the test's own, without any network."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import imagelab
import pytest

DAEMON = os.environ.get("J2K_TEST_DOCKERD") or shutil.which("dockerd") or ""
"""An old one (Debian's `docker.io` 20.10) reads no zstd; its package need not be installed, only unpacked."""
SAYS = "import os, sys; print(os.getuid(), os.access('/', os.W_OK), 'numpy' in sys.modules)"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a daemon, and let `docker` speak to it."""
    imagelab.needs("docker", "containerd", "runc", "mmdebstrap")
    if not DAEMON:
        pytest.skip("NOT TESTED, FOR THERE IS NO DOCKERD (J2K_TEST_DOCKERD names one)")
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: ONLY ROOT MAY RUN A DOCKER DAEMON")
    socket = tmp_path / "socket"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    words = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "exec"), "--pidfile"]
    words += [str(tmp_path / "pid"), "-H", f"unix://{socket}", "--iptables=false", "--ip6tables=false"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([DAEMON, *words, "--bridge=none"], stdout=log, stderr=log)
        try:
            wait(running, tmp_path / "log")
            yield
        finally:
            running.terminate()
            running.wait(60)


def wait(running: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and running.poll() is None:
        if (
            subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=30).returncode
            == 0
        ):
            return
        time.sleep(0.2)
    pytest.skip(f"NOT TESTED: NO DOCKER DAEMON RUNS HERE: {log.read_text()[-300:]}")


@pytest.mark.slow
@pytest.mark.usefixtures("docker")
@pytest.mark.timeout(1200)
def test_docker_loads_and_runs_an_image(tmp_path: Path) -> None:
    (made,) = imagelab.build(imagelab.study(tmp_path / "study", ("print(1)",)), "--load", "docker")["images"]
    words = ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/home/j2k", "--entrypoint"]
    done = subprocess.run(
        ["docker", "run", "--rm", *words, "/opt/j2k/env/bin/python", made["reference"], "-c", SAYS],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout == "1000 False False\n", done.stderr
    agent = ["docker", "run", "--rm", *words[:-1], made["reference"], "agent", "--help"]
    done = subprocess.run(agent, capture_output=True, text=True, timeout=300, check=False)
    assert "jup2kub-agent" in done.stdout, done.stderr
