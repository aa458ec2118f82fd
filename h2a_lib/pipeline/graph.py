"""Run the graph of a study with Snakemake: on this machine, or as jobs of a cluster."""

import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.data.pool import cores
from h2a_lib.errors import UserError, unknown
from h2a_lib.files import clear_errors, remove, sweep, write_json, write_text
from h2a_lib.pipeline import forkserver, gpus
from h2a_lib.pipeline.environment import step_environment
from h2a_lib.pipeline.estimate import estimate
from h2a_lib.pipeline.prepare import prepare_data
from h2a_lib.pipeline.processes import as_leader
from h2a_lib.pipeline.staleness import Stale, listing, stale_steps, summary
from h2a_lib.pipeline.steps import Step, Steps, remove_results_of_other_studies
from h2a_lib.study.config import RunConfig
from h2a_lib.study.provenance import duration
from h2a_lib.study.workspace import Study, format_runs

SECONDS_BETWEEN_LOOKS = 0.2
# Share of the work that must be done before the rest is estimated from it.
LEAST_TO_ESTIMATE_FROM = 0.1


@dataclass(frozen=True)
class Cluster:
    """Where jobs go instead of this machine.

    `executor` is one of Snakemake's plugins ("slurm"), None to leave it to the Snakemake profile in
    the folder `profile`: memory, time and GPU of each rule.
    """

    executor: str | None
    profile: Path

    @classmethod
    def named(cls, executor: str | None, profile: Path | None, root: Path) -> "Cluster | None":
        """Return what the command line asks for: None if it is this machine.

        A UserError if the profile is not there, none is named for an executor that has none here,
        or a job could not name this Python.
        """
        if executor is None and profile is None:
            return None
        if shlex.quote(sys.executable) != sys.executable:
            raise UserError(
                f"Snakemake writes {sys.executable} without quotes into the jobs of a cluster: "
                "install the environment in a folder without spaces and other special characters"
            )
        if profile is None:
            profile = root / "cluster" / str(executor)
            if not profile.is_dir():
                known = sorted(folder.name for folder in (root / "cluster").glob("*/"))
                error = unknown("executor", executor, known)
                raise UserError(f"{error}; for another, name its --workflow-profile")
        if not profile.exists():
            raise UserError(f"{profile} does not exist: name a folder with a Snakemake profile")
        return cls(executor, profile.resolve())


def build(
    study: Study,
    targets: Iterable[str],
    *,
    at_most: int | None = None,
    renderer: str = "auto",
    cluster: Cluster | None = None,
) -> None:
    """Run the steps that lead to some targets and are missing or stale.

    Targets are names of steps, outputs of steps, or "runs" for all that train. `at_most` cores of
    this machine are used, all by default; `renderer` is quarto, pandoc or auto. A UserError if a
    step failed (its own message has been shown), if Snakemake can make no graph, or if another
    process is at work here.
    """
    with alone(study):
        steps = Steps(study, renderer)
        targets = tuple(sorted(steps.named(tuple(targets))))
        stale = stale_steps(steps, targets)
        if not stale:
            return
        for folder in ("cache", "runs", "results"):
            sweep(study.root / folder / study.name)
        sweep(study.deck_folder.parent)
        if "deck" in targets:
            remove_results_of_other_studies(steps)
        wanted = steps.leading_to(targets)
        print(summary(stale, len(wanted), at_most or cores()), flush=True)
        if "deck" in targets and not cluster:  # whose nodes have another speed
            for line in estimate_untimed(study, stale, at_most or cores()):
                print(line, flush=True)
        mark(study, wanted, stale)
        _run_snakemake(study, targets, stale, at_most, renderer, cluster)


def plan(
    study: Study, renderer: str = "auto", at_most: int | None = None, form: TableFormat = AS_HEADED
) -> str:
    """Return which steps of the report would run: why, and how long each took the last time.

    The time of trainings not timed before is estimated.
    """
    parallel = at_most or cores()
    if not study.is_prepared:
        text = f"{report_state(study)}: first the data, then {len(Steps(study).by_name)} steps."
        has_data = study.profile.phantoms is not None or study.data_folder.is_dir()
        runs = [study.run_config(experiment, seed) for experiment, seed in study.planned_runs()]
        return f"{text}\n{estimate(study, runs, parallel, form)}" if has_data else text
    prepare_data(study, form=form)
    steps = Steps(study, renderer)
    if not (stale := stale_steps(steps)):
        return f"Nothing to do: the report of {study.name!r} is up to date."
    lines = [*listing(stale), summary(stale, len(steps.by_name), parallel)]
    return "\n".join([*lines, *estimate_untimed(study, stale, parallel)])


def estimate_untimed(study: Study, stale: list[Stale], parallel: int) -> Iterator[str]:
    """Yield a line on how long the runs not timed before will take, if there are any."""
    untimed = [
        RunConfig(**one.step.settings)
        for one in stale
        if one.step.rule == "train" and one.seconds is None
    ]
    if untimed:
        yield estimate(study, untimed, parallel)


def report_state(study: Study) -> str:
    """Return in a line whether the report is up to date, or else which steps must run and why.

    As the data were when they were last prepared.
    """
    for message in study.wrong_experiments().values():
        return f"no report can be made: {message}"
    if not study.is_prepared:
        return f"Nothing is made yet of {study.name!r}"
    steps = Steps(study)
    if stale := stale_steps(steps):
        return f"the report is out of date: {summary(stale, len(steps.by_name), cores())}"
    return "the report is up to date"


def stale_runs(study: Study) -> set[tuple[str, int]]:
    """Return the (experiment, seed) of the profile that a report would make, or make again."""
    planned = set(study.config.runs_of(study.profile_name))
    if not study.is_prepared:
        return planned
    steps = Steps(study)
    stale = {one.step.name for one in stale_steps(steps, ("runs",))}
    return {
        (experiment, seed)
        for experiment, seed in planned
        if (name := f"train/{experiment}/seed-{seed}") in stale or name not in steps.by_name
    }


def marker_of(study: Study, step: str) -> str:
    """Return the file that tells Snakemake that a step is up to date, relative to the project."""
    return f".snakemake/h2a/{study.name}/{step}"


def mark(study: Study, wanted: list[Step], stale: list[Stale]) -> None:
    """Tell Snakemake which steps are up to date."""
    must_run = {one.step.name for one in stale}
    for step in wanted:
        marker = study.root / marker_of(study, step.name)
        if step.name in must_run:
            remove(marker)
        else:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def _run_snakemake(
    study: Study,
    targets: tuple[str, ...],
    stale: list[Stale],
    at_most: int | None,
    renderer: str,
    cluster: Cluster | None,
) -> None:
    request = {"profile": study.profile_name, "data": str(study.data_folder), "renderer": renderer}
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(study.root / "Snakefile")),
        *("--directory", str(study.root)),
        # Ours is released by the kernel when a process dies; Snakemake's own lock is not.
        *("--nolock", "--keep-going"),
        # The markers alone say what must run.
        *("--rerun-triggers", "params", "--ignore-incomplete", "--drop-metadata"),
        *(_on_cluster(cluster) if cluster else _here(at_most)),
        # As JSON, which is YAML: Snakemake would read a bare "#" or ": " in a path as YAML's own.
        *("--config", f"request={json.dumps(request, ensure_ascii=False)}", "--"),
        *(marker_of(study, target) for target in targets),
    ]
    environment = step_environment(study.root) | as_leader()
    # A cluster's nodes cannot ask a server here.
    jobs = (
        contextlib.nullcontext(environment)
        if cluster
        else forkserver.server(environment=environment)
    )
    with jobs as given, subprocess.Popen(command, env=given) as process:
        report_progress(study, stale, process)
        if process.returncode and not cluster:
            _raise_if_there_is_no_graph(command, given)
    if process.returncode:
        raise UserError("the study is not complete: see the messages above")


def report_progress(study: Study, stale: list[Stale], process: subprocess.Popen[bytes]) -> None:
    """Print how many steps are done, and how long the others may take, until a process ends."""
    known = [one.seconds for one in stale if one.seconds is not None]
    usual = sum(known) / len(known) if known else 1.0
    waiting = {one.step.name: usual if one.seconds is None else one.seconds for one in stale}
    work = sum(waiting.values()) or 1.0
    began = time.monotonic()
    while process.poll() is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        done = [name for name in waiting if (study.root / marker_of(study, name)).exists()]
        for name in done:
            del waiting[name]
        if done and waiting:
            finished = 1 - sum(waiting.values()) / work
            spent = time.monotonic() - began
            line = f"{len(stale) - len(waiting)} of {len(stale)}"
            # Before that it is a guess from too little.
            if finished > LEAST_TO_ESTIMATE_FROM:
                line += f", {duration(spent / finished - spent)} left"
            print(line, flush=True)


def make_report(study: Study, **how: Any) -> None:
    """Make the whole report, as `build` does; if some runs fail, make it of the others, and say so.

    A UserError if anything failed. The deck then shows what there is and names the runs that are
    missing, or, where without them there is nothing to show, there is no deck: never an old one.
    """
    try:
        build(study, ("deck",), **how)
    except UserError:
        stale = stale_runs(study)
        failed = [run for run in study.planned_runs() if run in stale]
        if not failed and study.diverged_runs():
            # Known only now: the graph was made before they were trained.
            build(study, ("deck",), **how)
            return
        if not failed or len(failed) == len(study.planned_runs()):
            raise
    else:
        return
    names = format_runs(failed)
    write_json(study.missing_file, failed)
    try:
        build(study, ("deck",), **how)
    except UserError:
        shutil.rmtree(study.deck_folder, ignore_errors=True)
        raise UserError(
            f"{names} failed: see the messages above. Without them the other steps could not be "
            "made, and the deck of an earlier study was removed"
        ) from None
    raise UserError(f"{names} failed: see the messages above. The deck says that they are missing")


@contextlib.contextmanager
def alone(study: Study) -> Iterator[None]:
    """Work on a study as the only process; may be nested. A UserError if another is at work on it.

    The lock is the kernel's, so it goes with the process, however that ends: none is ever stale.
    """
    from filelock import FileLock, Timeout

    # A singleton, so that whoever holds it may ask for it again.
    lock = FileLock(study.root / "cache" / study.name / ".lock", is_singleton=True)
    note = Path(f"{lock.lock_file}.holder")
    try:
        with clear_errors(Path(lock.lock_file)):
            note.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        holder = note.read_text(encoding="utf-8").strip() if note.exists() else "another process"
        raise UserError(
            f"{holder} is at work on the study {study.name!r}: wait until it has ended"
        ) from None
    try:
        write_text(note, f"process {os.getpid()} of {platform.node()}\n")
        yield
    finally:
        lock.release()


def _raise_if_there_is_no_graph(command: list[str], environment: Mapping[str, str]) -> None:
    """Raise a UserError with why Snakemake could not begin: told to be quiet, it did not say so."""
    dry = [*command[:3], "--dry-run", *command[3:]]
    done = subprocess.run(dry, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        messages = f"{done.stdout}{done.stderr}".strip()
        raise UserError(f"Snakemake can make no graph of the study:\n{messages}")


def _here(at_most: int | None) -> Iterator[str]:
    yield from ("--cores", str(at_most or cores()))
    yield from ("--quiet", "all")  # the jobs speak for themselves
    if n_places := len(gpus.places()):
        yield from ("--resources", f"gpu={n_places}")


def _on_cluster(cluster: Cluster) -> Iterator[str]:
    # The jobs speak into logs, so Snakemake says what was submitted and what became of it.
    yield from ("--quiet", "rules", "--workflow-profile", str(cluster.profile))
    if cluster.executor:
        yield from ("--executor", cluster.executor)
