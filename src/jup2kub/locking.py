"""From a notebook's path to its lock: reads what earlier runs and captures have seen, and hands it to `capture`."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from jup2kub.agent.launch import find, located
from jup2kub.capture import declared, secrets
from jup2kub.capture.lock import Asked
from jup2kub.capture.lock import lock as make
from jup2kub.capture.wheels import Vendor
from jup2kub.compose import Settings, compile_notebook, open_store, read_notebook
from jup2kub.kit.canon import digest, from_json
from jup2kub.model.env import Lock, Seen
from jup2kub.model.notebook import Notebook

REPORT = "environment.json"


def lock(settings: Settings, vendor: Vendor | None = None) -> Lock:
    """Return the lock of the notebook that `settings` name. Raises Jup2KubError, as `capture.lock.lock`."""
    return make(asked(settings), vendor)


def asked(settings: Settings) -> Asked:
    """Return what is to be locked, with all that is known of it."""
    notebook = read_notebook(settings)
    path = located(settings.notebook)
    seen = captured(path, notebook)
    return Asked(
        notebook=notebook,
        folder=path.parent,
        launch=find(settings.kernel or notebook.kernel, cwd=str(path.parent)),
        seen=seen,
        imports=() if seen else imports_of_runs(settings, notebook),
        values=secrets.known_values(os.environ),
    )


def declaring(asked: Asked) -> tuple[str, ...]:
    """Return the requirement files that the author's wishes stand in, wherever they lie. Raises UsageError."""
    found = declared.beside(asked.folder) + declared.in_cells(asked.notebook, asked.folder)
    return tuple(sorted(set(found.files)))


def capture_folder(notebook: Path) -> Path:
    """Return where `jup2kub capture` writes if nothing else is said: `NB.capture` beside the notebook."""
    return notebook.with_name(notebook.stem + ".capture")


def source_digest(notebook: Notebook) -> str:
    """Return the digest of all code: a capture counts only for the text that it has seen."""
    return digest([c.source for c in notebook.code])


def captured(path: Path, notebook: Notebook) -> Seen | None:
    """Return what a whole capture of this very text has seen, from beside the notebook; None if there is none."""
    try:
        document = json.loads((capture_folder(path) / REPORT).read_text(encoding="utf-8"))
        if document["source"] != source_digest(notebook) or document["stopped"] is not None:
            return None
        return from_json(Seen, document["seen"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def imports_of_runs(settings: Settings, notebook: Notebook) -> tuple[str, ...]:
    """Return the top-level modules that runs of these cells were seen to import; () if not all of them have run."""
    with contextlib.closing(open_store(settings)) as store:
        profile = store.profile()
        keys = compile_notebook(notebook, settings, store).keys
    facts = [profile[key] for key in keys.values() if key in profile]
    if len(facts) < len(notebook.code):
        return ()
    return tuple(sorted({name for f in facts for name in f.imports}))
