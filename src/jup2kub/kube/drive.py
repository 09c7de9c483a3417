"""One run on a cluster, from beginning to end; each part can be done again by another process that knows the run's name."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub import away, bundle
from jup2kub.agent.launch import located
from jup2kub.agent.session import Told
from jup2kub.away import Away, job_of
from jup2kub.cluster import Cluster, ClusterProblem, Missing
from jup2kub.cluster.capacity import JobCapacity
from jup2kub.cluster.deployer import DynamicPodDeployer
from jup2kub.compose import Compiled, Execution, Proof, Settings, compile_notebook, imported, read_notebook
from jup2kub.engine.server.steward import Steward
from jup2kub.errors import Jup2KubError, UsageError
from jup2kub.kube import preflight, runs
from jup2kub.kube.advice import with_margin
from jup2kub.kube.line import line
from jup2kub.kube.runs import Remembered
from jup2kub.kube.sending import send_files
from jup2kub.kube.wishes import Wishes, run_name, spec_of, with_data
from jup2kub.manifests import render, storage
from jup2kub.manifests.objects import NOTEBOOK, claim_name
from jup2kub.manifests.spec import SERVER, RunSpec
from jup2kub.model.notebook import Notebook
from jup2kub.store import Store

START = 300.0
"""Seconds that a run server may take to be ready: its image is pulled, its volume made."""
PATIENCE = 900.0
"""Seconds that the run server, or the API server, may be away while it is followed."""
Tell = Callable[[Told], None]
Finished = Callable[[away.Sent, Execution | Jup2KubError, float], None]
"""Is given a parameter set, what came of it, and its seconds."""


@dataclass(frozen=True)
class Running:
    """A run in the cluster, and the line to its server."""

    spec: RunSpec
    cluster: Cluster
    away: Away


def note(tell: Tell) -> Callable[[str], None]:
    """Return `tell` for plain text."""
    return lambda text: tell(Told("note", text=text))


def prepare(wishes: Wishes, settings: Settings, compiled: Compiled, cluster: Cluster, tell: Tell) -> RunSpec:
    """Check everything that can be known before anything is made, and return the run's spec. Raises Jup2KubError."""
    program = bundle.build()
    spec = spec_of(wishes, run_name(time.time()), settings.notebook, cluster.namespace, program)
    spec = with_data(spec, compiled.notebook)
    preflight.check_version(cluster)
    preflight.check_data(cluster, spec)
    spec, left = preflight.settle_rights(cluster, spec, note(tell))
    for other in runs.of_notebook(cluster, spec.notebook):
        if not ended_early(cluster, other):
            raise UsageError(
                "J2K720",
                f"run {other} of this notebook is in the cluster",
                f"`jup2kub collect {other}` waits for it and brings its result; "
                f"`jup2kub delete {other}` removes it",
            )
        tell(
            Told(
                "note",
                text=f"run {other} of this notebook ended early: this one goes on from what it has kept",
            )
        )
        clear(cluster, other)
    missing = storage.administrator_objects(spec, storage.parse(wishes.storage))
    for obj in missing:
        try:
            cluster.get(obj["kind"], obj["metadata"]["name"])
        except Missing as error:
            raise UsageError(
                "J2K726",
                f"{obj['kind']} {obj['metadata']['name']} is not there, and only an administrator makes it",
                "`jup2kub render NB -o DIR` writes it into DIR/administrator.yaml",
            ) from error
    objects = [o for o in render.run_objects(spec, "x", program) if o["kind"] not in left]
    preflight.check_admission(cluster, spec, objects, note(tell))
    return replace(spec, network_policy="NetworkPolicy" not in left)


def ended_early(cluster: Cluster, run: str) -> bool:
    """Return whether a run has ended without a result that could be collected; False also where that cannot be known."""
    try:
        with reached(run, cluster, patience=10.0) as running:
            found = running.away.link.ask("/v1/result", {})
    except Jup2KubError:
        return False
    record = found["record"]
    return found["ended"] is not None and (record is None or record["problem"] is not None)


def modules_of(compiled: Compiled) -> set[str]:
    """Return the packages that the notebook and the project's modules import, local ones left out."""
    names: set[str] = set()
    for source in (*(c.python for c in compiled.notebook.code if c.python), *compiled.modules.values()):
        names |= {name.partition(".")[0] for name in imported(source)}
    return names - {name.partition(".")[0] for name in compiled.modules}


def deploy(spec: RunSpec, cluster: Cluster, modules: Iterable[str], tell: Tell, folder: Path) -> Running:
    """Make the run's objects, and wait until its server answers; meanwhile a probe pod looks into the image.

    `modules`: that the notebook imports. Raises EnvironmentProblem (J2K717, J2K718, J2K724); what the probe has seen
    comes first, for it says why.
    """
    deployer = DynamicPodDeployer(cluster, note(tell))
    with preflight.probe(cluster, spec, modules, note(tell)) as look:
        deployer.deploy(render.run_objects(spec, secrets.token_urlsafe(24), bundle.build()))
        seen = look()
    if seen.missing:
        note(tell)(f"the image lacks modules that the notebook imports: {', '.join(seen.missing)}")
    # The first agent starts beside the server. Where it cannot be had now, whoever looks after pods goes on trying.
    with contextlib.suppress(ClusterProblem):
        JobCapacity(cluster, spec, lambda: secrets.token_hex(4)).start(spec.pod_class())
    return reach(spec, cluster, tell, folder)


def reach(spec: RunSpec, cluster: Cluster, tell: Tell, folder: Path) -> Running:
    """Wait until the run's server answers. Raises EnvironmentProblem (J2K717, J2K718)."""
    DynamicPodDeployer(cluster, note(tell)).wait(spec.run, SERVER, START)
    return Running(spec, cluster, line(cluster, spec.run, runs.token(cluster, spec.run), folder, PATIENCE))


@contextlib.contextmanager
def hired(running: Running) -> Iterator[None]:
    """Keep the run's pods from here, where its server may not."""
    if running.spec.jobs_by != "cli":
        yield
        return
    stop = threading.Event()
    link = running.away.link
    capacity = JobCapacity(running.cluster, running.spec, lambda: secrets.token_hex(4))
    steward = Steward(lambda request, body: link.ask(f"/v1/{request}", body), capacity, running.spec)
    thread = threading.Thread(target=steward.serve, args=(stop,), name="steward", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10.0)


@contextlib.contextmanager
def removed_on_failure(cluster: Cluster, run: str, claims: bool = False) -> Iterator[None]:
    """Leave nothing of a run that could not be started, whatever stopped it; with `claims` no claim of the notebook either."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Jup2KubError):
            clear(cluster, run, claims)
        raise


@contextlib.contextmanager
def deployed(
    spec: RunSpec, cluster: Cluster, modules: Iterable[str], tell: Tell, folder: Path
) -> Iterator[Running]:
    """Give the run whose objects are made now; if it cannot be started, nothing of it is left.

    A claim that was there before stays, and one to which files were sent: the next run of the notebook goes on from them.
    """
    new = not has_claim(cluster, spec)
    with removed_on_failure(cluster, spec.run, claims=new):
        running = deploy(spec, cluster, modules, tell, folder)
    with removed_on_failure(cluster, spec.run):
        yield running


def execute(
    wishes: Wishes,
    settings: Settings,
    cluster: Cluster,
    store: Store,
    tell: Tell,
    started: Callable[[RunSpec], None],
    proof: Proof | None = None,
    know: Callable[[Notebook], None] = lambda notebook: None,
) -> Execution:
    """Run the notebook on the cluster; files come back into its folder. `started` is called when the run is in the cluster.

    `know` is given the notebook as soon as it is read.
    `store` is this machine's: what it has learned of the cells decides what leaves the main line. With `proof.undo` files
    do not come back.
    """
    proof = proof or Proof()
    began = time.monotonic()
    settings = replace(settings, fork=False, workers=wishes.parallelism)
    notebook = read_notebook(settings)
    know(notebook)
    compiled = compile_notebook(notebook, settings, store)
    compiled = replace(compiled, plan=with_margin(compiled.plan, notebook))
    with tempfile.TemporaryDirectory(prefix="jup2kub-line-") as folder:
        spec = prepare(wishes, settings, compiled, cluster, tell)
        with deployed(spec, cluster, modules_of(compiled), tell, Path(folder)) as running:
            files = send_files(located(settings.notebook).parent, running.away.store, note(tell))
            run = running.away.submit(job_of(settings, spec.run, compiled, files, proof.digests))
        started(spec)
        with hired(running):
            running.away.follow(tell)
        # What a proof does not want back is brought into a folder that goes.
        into = (
            replace(settings, notebook=Path(folder, "project", settings.notebook.name))
            if proof.undo
            else settings
        )
        done = away.gather(running.away, into, compiled, run, began, undo_folder(store, spec.run))
        away.learn(running.away, compiled.keys.values(), store)
        images = running.away.result()["files"]
        left = {name: image["sha256"] if image else None for name, image in images.items()}
    if not wishes.keep:
        tidy(cluster, spec.run, note(tell))
    return replace(done, files=left)


def tidy(cluster: Cluster, run: str, say: Callable[[str], None]) -> None:
    """Remove the objects of a run that is over. What cannot be removed is told: the result is here all the same."""
    try:
        clear(cluster, run)
    except Jup2KubError as problem:
        say(f"{problem}; `jup2kub delete {run}` removes the rest later")


def sweep(
    wishes: Wishes,
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    cluster: Cluster,
    store: Store,
    tell: Callable[[int, Told], None],
    finished: Finished,
    started: Callable[[RunSpec], None],
) -> None:
    """Run the notebook once for every parameter set, at one run server; what sets have in common runs once.

    `tell` and `finished` are given the set's number with the rest. `started` is called when all are in the cluster.
    """
    settings = for_sets(replace(settings, fork=False, workers=wishes.parallelism), len(sets))
    first = replace(settings, parameters=sets[0])
    compiled = compile_notebook(read_notebook(first), first, store)

    def said(told: Told) -> None:
        tell(0, told)

    with tempfile.TemporaryDirectory(prefix="jup2kub-line-") as folder:
        spec = prepare(wishes, settings, compiled, cluster, said)
        with deployed(spec, cluster, modules_of(compiled), said, Path(folder)) as running:
            files = send_files(located(settings.notebook).parent, running.away.store, note(said))
            sent = away.send_all(settings, sets, running.away, spec.run, store, files)
        started(spec)
        with hired(running):
            away.sweep(sent, running.away, tell, finished, undo_folder(store, spec.run))
        away.learn(running.away, (key for one in sent for key in one.compiled.keys.values()), store)
    if not wishes.keep:
        tidy(cluster, spec.run, note(said))


def for_sets(settings: Settings, sets: int) -> Settings:
    """Return the settings of one of several parameter sets, which share the pods."""
    return replace(settings, workers=max(1, settings.workers // sets))


def resume_sweep(
    known: Remembered,
    cluster: Cluster,
    store: Store,
    tell: Callable[[int, Told], None],
    finished: Finished,
) -> None:
    """Follow a sweep that another process started, and bring its results back."""
    settings = for_sets(settings_of(known), len(known.sets))
    with tempfile.TemporaryDirectory(prefix="jup2kub-line-") as folder:
        running = reach(runs.spec(cluster, known.run), cluster, lambda told: tell(0, told), Path(folder))
        sent = []
        for number, parameters in enumerate(known.sets):
            mine, compiled = away.compile_set(settings, parameters, store)
            run = str(running.away.link.ask("/v1/status", {"set": number})["run"])
            sent.append(away.Sent(number, mine, compiled, run))
        with hired(running):
            away.sweep(sent, running.away, tell, finished, undo_folder(store, known.run))
        away.learn(running.away, (key for one in sent for key in one.compiled.keys.values()), store)


def settings_of(known: Remembered) -> Settings:
    """Return the settings that a run was started with."""
    return Settings(
        notebook=Path(known.notebook),
        workers=known.wishes.parallelism,
        plan=known.plan,
        fork=False,
        offload=known.offload,
        kernel=known.kernel,
        keep_going=known.keep_going,
        parameters=known.parameters,
        collect=tuple(known.collect),
    )


def resume(known: Remembered, cluster: Cluster, store: Store, tell: Tell) -> Execution:
    """Follow a run that another process started, and bring its result back."""
    began = time.monotonic()
    settings = settings_of(known)
    compiled = compile_notebook(read_notebook(settings), settings, store)
    with tempfile.TemporaryDirectory(prefix="jup2kub-line-") as folder:
        running = reach(runs.spec(cluster, known.run), cluster, tell, Path(folder))
        run = str(running.away.link.ask("/v1/status", {})["run"])
        with hired(running):
            running.away.follow(tell)
        done = away.gather(running.away, settings, compiled, run, began, undo_folder(store, known.run))
        away.learn(running.away, compiled.keys.values(), store)
        return done


@contextlib.contextmanager
def reached(run: str, cluster: Cluster, patience: float = 20.0) -> Iterator[Running]:
    """Give the line to a run's server as it is now, without waiting for it to start."""
    spec, token = runs.spec(cluster, run), runs.token(cluster, run)
    with tempfile.TemporaryDirectory(prefix="jup2kub-line-") as folder:
        yield Running(spec, cluster, line(cluster, run, token, Path(folder), patience))


def undo_folder(store: Store, run: str) -> Path:
    """Return the folder for what files were before a run's own came back."""
    folder = store.undo_folder(f"kube-{run}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def has_claim(cluster: Cluster, spec: RunSpec) -> bool:
    """Return whether the claim that the run's store would get is there already."""
    try:
        cluster.get("PersistentVolumeClaim", claim_name(spec))
    except Missing:
        return False
    return True


def clear(cluster: Cluster, run: str, claims: bool = False) -> tuple[str, ...]:
    """Remove a run's objects; with `claims` also the claim that the notebook's runs share, if no other uses it."""
    deployer = DynamicPodDeployer(cluster)
    notebooks = {
        o["metadata"]["labels"].get(NOTEBOOK, "")
        for o in runs.servers(cluster)
        if o["metadata"]["name"].startswith(f"j2k-{run}-")
    }
    removed = list(deployer.prune(run, claims=claims))
    for notebook in sorted(filter(None, notebooks)) if claims else ():
        if not runs.of_notebook(cluster, notebook):
            removed += clear_results(cluster, notebook)
    return tuple(removed)


def clear_results(cluster: Cluster, notebook: str) -> tuple[str, ...]:
    """Remove the claim in which a notebook's runs have kept their results. Raises UsageError (J2K720) while one is there."""
    for run in runs.of_notebook(cluster, notebook):
        raise UsageError(
            "J2K720",
            f"run {run} of this notebook is in the cluster and keeps its results there",
            f"`jup2kub delete {run}` removes it with them",
        )
    chosen = f"app.kubernetes.io/managed-by=jup2kub,{NOTEBOOK}={notebook}"
    gone = []
    for claim in cluster.list("PersistentVolumeClaim", chosen).items:
        meta = claim["metadata"]
        cluster.delete("PersistentVolumeClaim", meta["name"], uid=meta["uid"])
        gone.append(("PersistentVolumeClaim", meta["name"], meta["uid"]))
    DynamicPodDeployer(cluster).gone(gone, seconds=60)
    return tuple(f"persistentvolumeclaim/{name}" for _, name, _ in gone)
