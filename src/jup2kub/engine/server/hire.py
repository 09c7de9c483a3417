"""Joins a run server and its crew: the spec that the command line left, and a thread that keeps pods for the run.

Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jup2kub.cluster import Cluster, incluster
from jup2kub.cluster.capacity import JobCapacity
from jup2kub.engine.server.crew import Crew, DeskOffice, fresh_name
from jup2kub.engine.server.desk import Desk
from jup2kub.engine.server.hall import Hall
from jup2kub.kit.canon import from_json
from jup2kub.manifests.spec import RunSpec


def read_spec(path: Path) -> RunSpec:
    """Return the spec that a file holds as JSON. Raises ValueError for one of another version of this program."""
    return from_json(RunSpec, json.loads(path.read_text()))


def hire(hall: Hall, spec: RunSpec, stop: threading.Event, bell: threading.Event) -> None:
    """Keep pods for the hall's run, as soon as there is one; and tell what they do under the route `pods`."""
    crews: list[Crew] = []

    def pods(body: Mapping[str, Any]) -> Any:
        return {"by": spec.jobs_by, "pods": crews[0].status() if crews else []}

    hall.site.routes["pods"] = pods
    if spec.jobs_by != "server":
        return
    cluster: Cluster = incluster.connect(spec.namespace)

    def begin(desk: Desk) -> None:
        crew = Crew(JobCapacity(cluster, spec, fresh_name), DeskOffice(desk, spec))
        crews.append(crew)
        # Under the desk's lock: only the bell is rung.
        desk.changed = bell.set
        threading.Thread(target=crew.serve, args=(stop, bell), name="crew", daemon=True).start()

    if hall.desk is not None:
        begin(hall.desk)
    else:
        hall.watchers.append(begin)
