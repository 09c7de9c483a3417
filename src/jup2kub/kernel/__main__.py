"""Entry point: ``python [options] <this folder> <fd of the control socket> [arguments of ipykernel …]``.

Loads the folder as a package under a private name, so that nothing of it shadows or leaks into the user's imports.
"""

import importlib
import importlib.machinery
import sys
import types

PACKAGE = "_jup2kub_kernel"


def load(folder: str) -> types.ModuleType:
    """Make the package at `folder` (a folder or a zip file) importable as `PACKAGE`, and return it."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [folder]
    package.__spec__ = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
    package.__spec__.submodule_search_locations = [folder]
    package.__package__ = PACKAGE
    sys.modules[PACKAGE] = package
    return package


if __name__ == "__main__":
    here = sys.argv[0]
    if sys.path and sys.path[0] == here:
        del sys.path[0]
    load(here)
    importlib.import_module(PACKAGE + ".later").prepare()
    importlib.import_module(PACKAGE + ".child").main(int(sys.argv[1]), sys.argv[2:])
