"""Run the graph of a study with Snakemake: on this machine, or as jobs of a cluster."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2a_lib.errors import UserError, unknown
from h2a_lib.files import clear_errors, sweep, write_json, write_text
from h2a_lib.pipeline import forkserver as warm
from h2a_lib.pipeline import gpus
from h2a_lib.pipeline.processes import as_leader
from h2a_lib.study.workspace import Study, format_runs


@dataclass(frozen=True)
class Cluster:
    """Where jobs go instead of this machine.

    Attributes
    ----------
    executor : str or None
        Of Snakemake's executor plugins: "slurm", …; None leaves it to the profile.
    profile : Path
        Folder of a Snakemake profile: memory, time and GPU of each rule.
    """

    executor: str | None
    profile: Path

    @classmethod
    def named(cls, executor: str | None, profile: Path | None, root: Path) -> "Cluster | None":
        """Return what the command line asks for: None if it is this machine.

        Raises
        ------
        UserError
            If the profile is not there, or none is named for an executor that has none here.
        """
        if executor is None and profile is None:
            return None
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
    """Run the steps of the graph that lead to some targets and are missing or stale.

    Parameters
    ----------
    study : Study
        Whose data are prepared.
    targets : iterable of str
        Rules or files of the Snakefile.
    at_most : int, optional
        Processor cores of this machine to use; all by default.
    renderer : str
        Of the deck: quarto, pandoc or auto.
    cluster : Cluster, optional
        Where the steps run instead.

    Raises
    ------
    UserError
        If a step failed (its own message has been shown), if the Snakefile or the sheet allow no
        graph, or if another process is at work here.
    """
    asked = {
        "profile": study.profile_name,
        "data": str(study.data_folder),
        "renderer": renderer,
    }
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(study.root / "Snakefile")),
        *("--directory", str(study.root)),
        # Ours is released by the kernel when a process dies; Snakemake's own lock is not.
        *("--nolock", "--rerun-incomplete", "--keep-going"),
        *(_on_cluster(cluster) if cluster else _here(at_most)),
        # As JSON, which is YAML: Snakemake would read a bare "#" or ": " in a path as YAML's own.
        *("--config", f"asked={json.dumps(asked, ensure_ascii=False)}", "--", *targets),
    ]
    with alone(study):
        for folder in ("cache", "runs", "results"):
            sweep(study.root / folder / study.name)
        sweep(study.deck_folder.parent)
        mine = _environment(study.root)
        # A cluster's nodes cannot ask a server here.
        jobs = contextlib.nullcontext(mine) if cluster else warm.server(environment=mine)
        with jobs as environment:
            done = subprocess.run(command, env=environment, check=False)
            if done.returncode and not cluster:
                _raise_if_there_is_no_graph(command, environment)
    if done.returncode:
        raise UserError("the study is not complete: see the messages above")


def make_report(study: Study, **how: Any) -> None:
    """Make the whole report; if some runs fail, make it of the others, and say so on its slides.

    Parameters
    ----------
    study : Study
        Whose data are prepared.
    **how
        As `build` takes it.

    Raises
    ------
    UserError
        If anything failed. The deck then shows what there is and names the runs that are missing,
        or, where without them there is nothing to show, there is no deck: never an old one.
    """
    try:
        build(study, ["all"], **how)
    except UserError:
        failed = study.unfinished_runs()
        if not failed and study.diverged_runs():
            # Known only now: the graph was made before they were trained.
            build(study, ["all"], **how)
            return
        if not failed or len(failed) == len(study.planned_runs()):
            raise
    else:
        return
    names = format_runs(failed)
    write_json(study.missing_file, failed)
    try:
        build(study, ["all"], **how)
    except UserError:
        shutil.rmtree(study.deck_folder, ignore_errors=True)
        raise UserError(
            f"{names} failed: see the messages above. Without them the other steps could not be "
            "made, and the deck of an earlier study was removed"
        ) from None
    raise UserError(f"{names} failed: see the messages above. The deck says that they are missing")


@contextlib.contextmanager
def alone(study: Study) -> Iterator[None]:
    """Work on a study as the only process; may be nested.

    The lock is the kernel's, so it goes with the process, however that ends: none is ever stale.

    Raises
    ------
    UserError
        If another process is at work on it.
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
        write_text(note, f"process {os.getpid()} of {os.uname().nodename}\n")
        yield
    finally:
        lock.release()


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _raise_if_there_is_no_graph(command: list[str], environment: Mapping[str, str]) -> None:
    """Raise a UserError with why Snakemake could not begin: told to be quiet, it did not say so."""
    dry = [*command[:3], "--dry-run", *command[3:]]
    looked = subprocess.run(dry, env=environment, capture_output=True, text=True, check=False)
    if looked.returncode:
        said = f"{looked.stdout}{looked.stderr}".strip()
        raise UserError(f"Snakemake can make no graph of the study:\n{said}")


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


def _environment(root: Path) -> dict[str, str]:
    """Return the environment of the graph's jobs: this very Python, and no stray user settings."""
    defaults = {
        # Steps run side by side: with a thread for each core in each of them they would wait for
        # one another. And the last digit of a sum must not depend on the machine's cores. A
        # training sets its own number.
        "OMP_NUM_THREADS": "1",
    }
    folder = str(Path(sys.executable).parent)
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    return defaults | os.environ | as_leader() | {"PATH": path}
