"""`--on kubernetes`: a run on a cluster as the user sees it."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub.agent.launch import located
from jup2kub.agent.session import Told
from jup2kub.away import Sent
from jup2kub.cli import common
from jup2kub.cli.building import Line
from jup2kub.cli.progress import Progress
from jup2kub.cluster import Cluster
from jup2kub.cluster.deployer import connect
from jup2kub.compose import Execution, Proof, Settings, default_store, open_store
from jup2kub.errors import Interrupted, Jup2KubError, UsageError
from jup2kub.kube import drive, image, runs
from jup2kub.kube.advice import right_size
from jup2kub.kube.runs import Remembered
from jup2kub.kube.wishes import Wishes, size
from jup2kub.manifests.spec import RunSpec
from jup2kub.proof import Runner
from jup2kub.sweeping import Member


def wishes(options: argparse.Namespace) -> Wishes:
    """Return what the options ask of the cluster. Raises UsageError."""
    return Wishes(
        image=options.image,
        context=options.context,
        namespace=options.namespace,
        storage=options.storage,
        parallelism=options.parallelism or 4,
        account=options.service_account,
        pull_secrets=tuple(options.pull_secret),
        cpu=options.cpu or 0.5,
        memory=size(options.memory) if options.memory else 2 << 30,
        max_memory=size(options.max_memory) if options.max_memory else 0,
        python=options.python or "python3",
        keep=options.keep,
        queue=options.queue,
    )


def records() -> Path:
    """Return the folder of what this machine remembers of its runs on clusters."""
    return default_store() / "kubernetes"


def execute(options: argparse.Namespace, settings: Settings, target: Path) -> Execution:
    """Run the notebook as the options ask."""
    return carry_out(with_image(options, settings), settings, target)


def with_image(options: argparse.Namespace, settings: Settings) -> Wishes:
    """Return what the options ask, with an image that is built and pushed first if none is named."""
    asked = wishes(options)
    if asked.image or not options.registry:
        return asked
    ready = image.build_and_push(settings, options.registry, options.pull_registry, common.say, Line())
    return replace(asked, image=ready.reference, python=options.python or ready.python)


def carry_out(asked: Wishes, settings: Settings, target: Path) -> Execution:
    """Run the notebook on the cluster, tell its story, and remember the run while it lasts."""
    with (
        begun(asked, settings, target) as (cluster, started),
        contextlib.closing(open_store(settings)) as store,
        Progress() as progress,
    ):
        done = drive.execute(asked, settings, cluster, store, progress, started, know=progress.know)
    told = right_size(done.outcomes.values(), asked.memory)
    if told:
        common.say(told)
    return done


def sweep(
    options: argparse.Namespace,
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    folder: Path,
    tell: Callable[[int, Told], None],
    finished: Callable[[Member], None],
) -> list[Member]:
    """Run the notebook on the cluster once for every parameter set, and remember the run while it lasts."""
    return carry_out_sets(with_image(options, settings), settings, sets, folder, tell, finished)


def carry_out_sets(
    asked: Wishes,
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    folder: Path,
    tell: Callable[[int, Told], None],
    finished: Callable[[Member], None],
) -> list[Member]:
    """Run a sweep as it was asked for; see `sweep`."""
    with begun(asked, settings, folder, sets) as (cluster, started):
        members = Members(sets, finished)
        with contextlib.closing(open_store(settings)) as store:
            drive.sweep(asked, settings, sets, cluster, store, tell, members, started)
    outcomes = [o for m in members.found if m.done for o in m.done.outcomes.values()]
    told = right_size(outcomes, asked.memory)
    if told:
        common.say(told)
    return members.ordered()


class Members:
    """Collects what comes of the parameter sets, and passes each on."""

    def __init__(self, sets: Sequence[Mapping[str, Any]], finished: Callable[[Member], None]) -> None:
        self._sets, self._finished = sets, finished
        self.found: list[Member] = []

    def __call__(self, sent: Sent, done: Execution | Jup2KubError, seconds: float) -> None:
        """Take one."""
        problem = done if isinstance(done, Jup2KubError) else None
        execution = done if isinstance(done, Execution) else None
        self.found.append(Member(sent.number, self._sets[sent.number], execution, seconds, problem))
        self._finished(self.found[-1])

    def ordered(self) -> list[Member]:
        """Return them by their numbers."""
        return sorted(self.found, key=lambda m: m.number)


@contextlib.contextmanager
def begun(
    asked: Wishes, settings: Settings, target: Path, sets: Sequence[Mapping[str, Any]] = ()
) -> Iterator[tuple[Cluster, Callable[[RunSpec], None]]]:
    """Give the cluster, and what is called when the run is in it: from then on it is remembered until it is over.

    Raises Interrupted (J2K727) when the user stops following it.
    """
    cluster = connect(asked.context, asked.namespace)
    there: list[RunSpec] = []

    def started(spec: RunSpec) -> None:
        there.append(spec)
        known = Remembered(
            spec.run,
            asked.context,
            spec.namespace,
            str(located(settings.notebook)),
            str(target.resolve()),
            time.time(),
            dict(settings.parameters),
            settings.keep_going,
            settings.kernel,
            settings.plan,
            settings.offload,
            asked,
            tuple(dict(one) for one in sets),
            settings.collect,
        )
        runs.remember(records(), known)
        common.say(f"run {spec.run} is in namespace {spec.namespace}")

    try:
        yield cluster, started
    except KeyboardInterrupt as stop:
        if there:
            raise left(there[0].run, there[0].jobs_by) from stop
        raise
    except Jup2KubError as problem:
        if there:
            name = there[0].run
            common.say(
                f"run {name} stays in namespace {there[0].namespace}: `jup2kub resume {name}` goes on from what it has "
                f"kept, `jup2kub delete {name}` removes it"
            )
        raise problem
    finally:
        cluster.close()
    if not asked.keep and there:
        runs.forget(records(), there[0].run)


@contextlib.contextmanager
def runner(options: argparse.Namespace) -> Iterator[Runner]:
    """Give what runs a notebook on the cluster, once after the other, for `verify`."""
    asked = with_image(options, common.settings(options))
    cluster = connect(asked.context, asked.namespace)

    def run(settings: Settings, tell: Callable[[Told], None], proof: Proof) -> Execution:
        mine = replace(asked, parallelism=1 if settings.plan == "serial" else asked.parallelism, keep=False)
        with contextlib.closing(open_store(settings)) as store:
            return drive.execute(mine, settings, cluster, store, tell, lambda spec: None, proof)

    try:
        yield run
    finally:
        cluster.close()


def left(run: str, by: str) -> Interrupted:
    """Return what a user who stops following is told."""
    goes_on = (
        "goes on in the cluster" if by == "server" else "goes on with the pods it has, and gets no new ones"
    )
    return Interrupted(
        "J2K727",
        f"no longer followed; run {run} {goes_on}",
        f"`jup2kub collect {run}` follows it and brings the result, `jup2kub cancel {run}` ends it",
    )


def find(options: argparse.Namespace, prefix: str) -> Remembered | None:
    """Return the run on a cluster that the user means; None = it is none, as far as this machine knows.

    With --namespace or --context the cluster itself is asked, for a run that was started elsewhere.
    """
    known = runs.chosen(records(), prefix)
    if known is None and (options.namespace or options.context):
        return Remembered(prefix.lower(), options.context, options.namespace, "", "", 0.0)
    return known


def must_find(options: argparse.Namespace, prefix: str) -> Remembered:
    """Return the run on a cluster that the user means. Raises UsageError (J2K240)."""
    found = find(options, prefix)
    if found is None:
        raise UsageError(
            "J2K240",
            f"this machine knows no run {prefix!r} on a cluster",
            "name its --namespace (and --context), if it was started elsewhere; `jup2kub runs` lists those it knows",
        )
    return found


def must_find_notebook(options: argparse.Namespace, prefix: str) -> Remembered:
    """Return the run on a cluster that the user means, with its notebook's path. Raises UsageError (J2K240)."""
    known = must_find(options, prefix)
    if not known.notebook:
        raise UsageError(
            "J2K240",
            f"this machine does not know the notebook of run {known.run}",
            f"`jup2kub {options.verb} {known.run}` works where it was started",
        )
    return known


@contextlib.contextmanager
def cluster_of(known: Remembered) -> Iterator[Cluster]:
    """Give the cluster and namespace of a run."""
    cluster = connect(known.context, known.namespace)
    try:
        yield cluster
    finally:
        cluster.close()
