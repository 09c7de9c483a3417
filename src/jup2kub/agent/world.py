"""What besides the notebook decides its answer."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.keys import with_environment
from jup2kub.agent.launch import Launch
from jup2kub.kit.canon import digest

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def world(kernel: Kernel, launch: Launch, modules: Mapping[str, str]) -> str:
    """Return a digest of what besides the notebook decides its answer: interpreter, packages, CPU kind, threads."""
    return digest(
        {
            "python": kernel.info.get("python"),
            "packages": kernel.info.get("packages"),
            "machine": [platform.machine(), platform.processor(), platform.system()],
            "threads": {name: launch.env.get(name) for name in THREAD_VARIABLES},
            "modules": with_environment(dict(enumerate(modules.values())), launch.env),
        }
    )
