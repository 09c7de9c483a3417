"""The plan as tasks of other systems: what becomes a task, what its results rest on, and the systems' own validators."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from jup2kub.agent.keys import Keys
from jup2kub.agent.seen import with_seen
from jup2kub.errors import UsageError
from jup2kub.export import argo, cut, kfp, pegasus
from jup2kub.export.site import Site, checked
from jup2kub.kit.canon import canonical, from_json, to_json
from jup2kub.kit.graph import closure
from jup2kub.model.facts import Facts
from jup2kub.model.job import Job
from jup2kub.model.notebook import Cell, Notebook
from jup2kub.model.parts import LAST, Parts
from jup2kub.model.plan import CellEdge, CellPlan, Plan, Step

GOLDEN = Path(__file__).parents[2] / "golden" / "export"
SITE = Site("registry.example/science:1", "study", host="/data/shared")
GIB = 1 << 30


def plan(cells: Sequence[CellPlan], edges: Sequence[tuple[int, int]], steps: Sequence[Step]) -> Plan:
    found = tuple(CellEdge(a, b, "reads", f"v{a}") for a, b in edges)
    off = {i for s in steps for i in s.cells}
    main = tuple(c.index for c in cells if c.index not in off)
    return Plan(1, "static", 2, "s", tuple(cells), main, tuple(steps), (), found, ())


def parts_of(found: Plan) -> Parts:
    sources = {c.index: f"c{c.index} = 1" for c in found.cells}
    job = Job("study", found, sources, {i: f"k{i}" for i in sources}, "/home/me/study.ipynb", "/home/me")
    cells = tuple(Cell(i, f"id{i}", "code", text) for i, text in sources.items())
    return cut.parts(job, Notebook(cells, "python3", "python", {"cells": []}))


def diamond(**changes: Any) -> Plan:
    """0 → 1, 2 → 3 → 4; `changes`: fields of cell 1."""
    cells = [CellPlan(i, reads=frozenset({f"v{i - 1}"}), defines=frozenset({f"v{i}"})) for i in range(5)]
    cells[1] = replace(cells[1], **changes)
    cells[2] = replace(cells[2], memory=5 * GIB, cpu=2.0, gpu=1)
    steps = [Step(f"step-{i}", (i,)) for i in (1, 2, 3)]
    return plan(cells, [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)], steps)


def test_each_step_is_a_task_after_those_whose_results_it_takes() -> None:
    found = {p.name: p for p in parts_of(diamond()).parts}
    assert {name: part.after for name, part in found.items()} == {
        "cells-1": (),
        "cells-2": (),
        "cells-3": ("cells-1", "cells-2"),
        LAST: ("cells-3",),
    }
    assert found["cells-2"].runs == (0, 2)
    assert found["cells-3"].runs == (0, 1, 2, 3)
    assert found[LAST].runs == (0, 1, 2, 3, 4)


def test_a_task_asks_for_what_its_hungriest_cell_needs() -> None:
    found = {p.name: p for p in parts_of(diamond()).parts}
    assert (found["cells-3"].memory, found["cells-3"].cpu, found["cells-3"].gpu) == (5 * GIB, 2.0, 1)
    assert found["cells-1"].memory is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"effects": frozenset({"network"})}, "network"),
        ({"effects": frozenset({"unseeded"})}, "unseeded"),
        ({"effects": frozenset({"outside"})}, "outside"),
        ({"barrier": "a magic"}, "a magic"),
        ({"waits_all": "calls what nobody knows"}, "nobody knows"),
        ({"secret": True}, "secret"),
    ],
)
def test_what_would_not_do_the_same_again_runs_in_the_last_task_with_all_that_needs_it(
    changes: dict[str, Any], word: str
) -> None:
    found = parts_of(diamond(**changes))
    assert [p.name for p in found.parts] == ["cells-2", LAST]
    assert [k.step for k in found.kept] == ["step-1", "step-3"]
    assert all(word in k.reason for k in found.kept)


def test_a_result_that_may_not_be_used_again_is_made_by_no_task() -> None:
    found = parts_of(diamond(cache=False))
    assert [p.name for p in found.parts] == ["cells-2", "cells-3", LAST]


def test_without_a_step_there_is_nothing_to_export() -> None:
    found = replace(diamond(), steps=())
    with pytest.raises(UsageError, match="no steps") as refused:
        parts_of(found)
    assert refused.value.code == "J2K740"


def test_a_loop_inside_a_cell_that_leaves_is_no_second_task() -> None:
    whole = diamond()
    found = parts_of(replace(whole, steps=(*whole.steps, Step("map-2", (2,), kind="map"))))
    assert [p.name for p in found.parts] == ["cells-1", "cells-2", "cells-3", LAST]


def test_tasks_never_wait_for_each_other_in_a_circle() -> None:
    cells = [CellPlan(i) for i in range(4)]
    steps = [Step("a", (0, 3)), Step("b", (1, 2))]
    found = parts_of(plan(cells, [(0, 1), (0, 2), (1, 3), (2, 3)], steps)).parts
    needs = {p.name: set(p.after) for p in found}
    assert not [n for n in needs if any(n in closure([m], needs) for m in needs[n])]
    names = [p.name for p in found]
    assert all(names.index(a) < names.index(p.name) for p in found for a in p.after)


def test_what_tasks_read_is_what_was_written() -> None:
    made = parts_of(diamond())
    assert canonical(to_json(from_json(Parts, to_json(made)))) == canonical(to_json(made))


def test_a_result_made_without_a_cell_that_has_changed_what_it_read_is_not_found() -> None:
    """Cell 2 reads `x`; that cell 1 changes it is known only when cell 1 has run."""
    cells = [
        CellPlan(0, defines=frozenset({"x"})),
        CellPlan(1),
        CellPlan(2, reads=frozenset({"x"}), defines=frozenset({"y"})),
        CellPlan(3, reads=frozenset({"y"})),
        CellPlan(4, reads=frozenset({"z"})),
    ]
    blind = plan(cells, [(0, 2), (2, 3)], [])
    seeing = with_seen(blind, {1: Facts(mutated=frozenset({"x"}))})
    sources = {c.index: str(c.index) for c in cells}
    before, after = Keys(blind, sources, "world"), Keys(seeing, sources, "world")
    assert [i for i in sources if before.of(i) != after.of(i)] == [2, 3]
    assert "x" in seeing.cells[1].mutates


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Study"},
        {"name": "a" * 51},
        {"claim": "a/b"},
        {"folder": "shared"},
        {"folder": "/"},
        {"host": "/a:b"},
        {"image": ""},
        {"image": "a b"},
    ],
)
def test_what_no_workflow_can_hold_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        checked(replace(SITE, **wrong))  # type: ignore[arg-type]
    assert refused.value.code == "J2K744"


TEXTS = {"argo": argo.text, "kfp": kfp.text, "pegasus": pegasus.text}


@pytest.mark.parametrize("target", TEXTS)
def test_golden(target: str) -> None:
    """Set J2K_GOLDEN=write to make them anew, and read the difference."""
    text = TEXTS[target](parts_of(diamond()), SITE)
    path = GOLDEN / f"{target}.yaml"
    if os.environ.get("J2K_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("target", TEXTS)
def test_the_head_says_what_is_no_task_and_why(target: str) -> None:
    text = TEXTS[target](parts_of(diamond(effects=frozenset({"network"}))), SITE)
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any("step-1 (cells 1)" in line and "network" in line for line in head)


def test_words_of_the_plan_cannot_leave_the_comment() -> None:
    text = argo.text(parts_of(diamond(barrier="a\nkind: Pod\u2028kind: Pod")), SITE)
    assert yaml.safe_load(text)["kind"] == "Workflow"
    assert all(line.startswith("#") for line in text.splitlines() if "Pod" in line)


def test_argo_takes_it_whole() -> None:
    """Hera's models are made from Argo's own schema: what they do not know would be lost on the way."""
    hera = pytest.importorskip("hera.workflows", reason="hera is not installed: Argo's file is not validated")
    document = yaml.safe_load(argo.text(parts_of(diamond()), SITE))
    assert hera.Workflow.from_dict(document).to_dict() == document


def test_kubeflow_takes_it_whole() -> None:
    """`ParseDict` refuses unknown fields and wrong types."""
    proto = pytest.importorskip(
        "kfp.pipeline_spec.pipeline_spec_pb2", reason="kfp-pipeline-spec is not installed: not validated"
    )
    json_format = pytest.importorskip("google.protobuf.json_format")
    pipeline, platform = yaml.safe_load_all(kfp.text(parts_of(diamond()), SITE))
    read = json_format.ParseDict(pipeline, proto.PipelineSpec())
    assert list(read.root.dag.tasks["cells-3"].dependent_tasks) == ["cells-1", "cells-2"]
    json_format.ParseDict(platform, proto.PlatformSpec())


def test_kubeflow_mounts_the_claim_in_each_task() -> None:
    spec = importlib.util.find_spec("kfp")
    places = list(spec.submodule_search_locations or ()) if spec else []
    file = next(
        (p for d in places for p in Path(d).glob("kubernetes/kubernetes_executor_config_pb2.py")), None
    )
    if file is None:
        pytest.skip("kfp-kubernetes is not installed: the claims of KFP's tasks are not validated")
    json_format = pytest.importorskip("google.protobuf.json_format")
    proto = _alone(file)
    _, platform = yaml.safe_load_all(kfp.text(parts_of(diamond()), SITE))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == 4
    for wanted in executors.values():
        read = json_format.ParseDict(wanted, proto.KubernetesExecutorConfig())
        assert read.pvc_mount[0].mount_path == "/jup2kub"


def _alone(file: Path) -> ModuleType:
    """Load a module without its package, which wants the whole SDK."""
    spec = importlib.util.spec_from_file_location("kubernetes_executor_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pegasus_writes_the_same() -> None:
    """The same workflow, built with Pegasus' own API, is the same document."""
    api = pytest.importorskip("Pegasus.api", reason="pegasus-wms.api is not installed: not validated")
    ours = yaml.safe_load(pegasus.text(parts_of(diamond()), SITE))
    tool, box = (
        ours["transformationCatalog"]["transformations"][0],
        ours["transformationCatalog"]["containers"][0],
    )
    container = api.Container(box["name"], api.Container.DOCKER, box["image"], mounts=box["mounts"])
    site = tool["sites"][0]
    transformation = api.Transformation(
        tool["name"], site=site["name"], pfn=site["pfn"], is_stageable=False, container=container
    )
    catalog = api.TransformationCatalog().add_containers(container).add_transformations(transformation)
    workflow = api.Workflow(ours["name"], infer_dependencies=False).add_transformation_catalog(catalog)
    jobs = {}
    for job in ours["jobs"]:
        made = api.Job(job["name"], _id=job["id"], node_label=job["nodeLabel"]).add_args(*job["arguments"])
        made.add_env(**job["profiles"]["env"]).add_profiles(
            api.Namespace.PEGASUS, **job["profiles"]["pegasus"]
        )
        jobs[job["id"]] = made
        workflow.add_jobs(made)
    for edge in ours["jobDependencies"]:
        workflow.add_dependency(jobs[edge["id"]], children=[jobs[i] for i in edge["children"]])
    out = io.StringIO()
    workflow.write(out)
    theirs = yaml.safe_load(out.getvalue())
    theirs.pop("x-pegasus", None)  # who wrote it, and when
    theirs["transformationCatalog"].pop("x-pegasus", None)
    # The API names the schema's newest revision; ours holds nothing that is newer than the first.
    assert theirs.pop("pegasus").startswith(ours.pop("pegasus"))
    assert theirs == ours
