"""Strategy `dockerfile`: a folder per step that any builder of images takes, with the wheels in it and no network needed.

For those who must build with Docker, buildah or kaniko: the lock decides what is installed, by hash; the layers are
the builder's own, and are not the same bytes twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.images import environment, spec, wheels
from jup2kub.images.spec import Request, Step
from jup2kub.kit.canon import canonical, to_json
from jup2kub.model.env import Carried, Lock, travelling

TEXT = """\
# Made by `jup2kub build --strategy dockerfile`. Build with:  docker build -t {name} .
FROM {base}
COPY wheels /opt/j2k/wheels
COPY requirements.txt /opt/j2k/requirements.txt
RUN python3 -m venv --without-pip /opt/j2k/env \\
 && PIP_FIND_LINKS=/opt/j2k/wheels python3 -m pip --python /opt/j2k/env/bin/python install --no-cache-dir --no-index \\
        --no-deps --require-hashes -r /opt/j2k/requirements.txt \\
 && rm -r /opt/j2k/wheels \\
 && echo /opt/j2k/project > $(/opt/j2k/env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/jup2kub_project.pth
{carried}COPY shared /opt/j2k
COPY step.json /opt/j2k/step.json
RUN mkdir -p -m 1777 /home/j2k
ENV PATH=/opt/j2k/env/bin:$PATH VIRTUAL_ENV=/opt/j2k/env HOME=/home/j2k LANG=C.UTF-8
{labels}WORKDIR /home/j2k
USER 1000:1000
ENTRYPOINT ["/opt/j2k/env/bin/python", "/opt/j2k/agent"]
"""
OFFICIAL = "docker.io/library/python:{minor}-slim"


def write(request: Request, folder: Path) -> dict[str, Path]:
    """Write a folder for each step below `folder`; return them by step.

    Wheels are hard links into the cache where that can be. Raises UsageError (J2K626) if `folder` holds something
    else, EnvironmentProblem (J2K611, J2K616, J2K618).
    """
    marker = folder / ".jup2kub"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise UsageError(
            "J2K626",
            f"{folder} is not empty, and was not written by jup2kub",
            "name another folder, or empty it",
        )
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        marker.touch()
        return {step.id: _step(request, step, folder / step.id) for step in request.steps}
    except OSError as error:
        raise EnvironmentProblem(
            "J2K618", f"{folder} could not be written: {error.strerror}", "make room, or choose another place"
        ) from error


def _step(request: Request, step: Step, folder: Path) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(text(request, step), encoding="utf-8")
    (folder / "requirements.txt").write_text(requirements(request.lock), encoding="utf-8")
    (folder / "step.json").write_bytes(step.payload)
    for name, data in _shared(request):
        path = folder / "shared" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "wheels").mkdir()
    for wheel in request.lock.wheels:
        source = request.wheel(wheel)
        wheels.check(source, wheel.sha256)
        _place(source, folder / "wheels" / wheel.filename)
    for dist in request.lock.carried:
        for file in dist.files:
            environment.unchanged(Path(file.source), file.sha256, f"{file.target} of {dist.name}")
            target = folder / "carried" / file.target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.source, target)
    return folder


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _shared(request: Request) -> Iterator[tuple[str, bytes]]:
    prefix = spec.PREFIX + "/"
    for path, data in request.agent.items():
        yield f"{spec.AGENT.removeprefix(prefix)}/{path}", data
    yield spec.NOTEBOOK.removeprefix(prefix), request.notebook
    yield spec.LOCK.removeprefix(prefix), canonical(to_json(travelling(request.lock)))
    yield spec.SBOM.removeprefix(prefix), request.bill((), _base(request))
    for module in request.lock.modules:
        environment.unchanged(Path(module.source), module.sha256, module.path)
        yield f"{spec.PROJECT.removeprefix(prefix)}/{module.path}", Path(module.source).read_bytes()


def requirements(lock: Lock) -> str:
    """Return a requirements file: exact versions, each with the hash of its wheel (pip, “Secure installs”)."""
    return "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in lock.wheels)


def text(request: Request, step: Step) -> str:
    """Return the Dockerfile of a step."""
    base = _base(request)
    told = request.labels(request.bill((), base), "" if step.id == "main" else step.id)
    labels = "".join(f"LABEL {k}={_quoted(v)}\n" for k, v in sorted(told.items()))
    carried = _carried(request.lock.carried, request.lock.python.minor)
    return TEXT.format(name=f"{request.name}-{step.id}", base=base, labels=labels, carried=carried)


def _base(request: Request) -> str:
    return OFFICIAL.format(minor=request.lock.python.minor) if request.base == "debian" else request.base


def _carried(carried: tuple[Carried, ...], minor: str) -> str:
    if not carried:
        return ""
    names = ", ".join(f"{c.name} {c.version} ({c.kind})" for c in carried)
    return f"# As they are, for no wheel is them: {names}\nCOPY carried /{spec.home(minor).site}/\n"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ")
    return f'"{escaped}"'
