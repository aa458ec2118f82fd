"""Perform one step of a study, and record what it was made with: a job of the Snakefile."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from h2a_lib.errors import UserError
from h2a_lib.files import remove
from h2a_lib.pipeline import ledger
from h2a_lib.pipeline.environment import use_step_environment
from h2a_lib.pipeline.forkserver import run_module
from h2a_lib.pipeline.processes import end_with_leader
from h2a_lib.pipeline.staleness import content_as_made, read_record, write_record
from h2a_lib.pipeline.steps import Step, Steps
from h2a_lib.study import runs
from h2a_lib.study.workspace import locate


def perform(steps: Steps, name: str) -> int:
    """Perform a step in this process, in the project's folder; return the exit code of its module.

    A complete run that is repeated is set aside as `seed-0.old` first, and removed when its
    successor is complete. If the one set aside is what is wanted, it takes its place again.
    """
    step = steps.by_name[name]
    content = content_as_made(step, steps)
    began = time.monotonic()
    if step.folder:
        old = read_record(old_of(step.folder) / step.record.name)
        if old and old.content.digest == content.digest:
            swap_with_old(step.folder)
            print(f"{step.label}: as it was before", flush=True)
            return 0
        set_aside(step.folder)
    # What is made from here on is not what the record says.
    remove(step.record)
    if code := run_module(step.module, list(step.arguments)):
        return code
    if missing := [str(output) for output in step.outputs if not output.exists()]:
        raise UserError(f"{step.label} has not made {', '.join(missing)}")
    write_record(step.record, step, content, results_of(step, steps), time.monotonic() - began)
    if ledger.evaluates(step):
        ledger.enter(steps.study.results_folder, step, content)
    if step.folder:
        shutil.rmtree(old_of(step.folder), ignore_errors=True)
    return 0


def results_of(step: Step, steps: Steps) -> list[str]:
    """Return the figures with their descriptions, the tables and the variables of a notebook.

    There may be more than the table of steps names.
    """
    results = steps.study.results
    files = [file for drawn in results.figures_of(step.label) for file in drawn]
    for name, maker in results.makers().items():
        kind = "variables" if name.endswith(".yml") else "tables"
        if maker == step.label and (file := results.folder / kind / name).exists():
            files.append(file)
    return [str(file.relative_to(steps.study.root)) for file in files]


def old_of(folder: Path) -> Path:
    """Return where the earlier run of a folder is kept until its successor is complete."""
    return folder.with_name(f"{folder.name}.old")


def set_aside(folder: Path) -> None:
    """Move a complete run out of the way; one that is incomplete goes on where it stopped."""
    if not all((folder / name).is_file() for name in runs.FILES):
        return
    old = old_of(folder)
    if old.exists():
        shutil.rmtree(old)
    folder.rename(old)


def swap_with_old(folder: Path) -> None:
    """Exchange a run and the earlier one."""
    aside = folder.with_name(f"{folder.name}.new")
    if folder.exists():
        folder.rename(aside)
    old_of(folder).rename(folder)
    if aside.exists():
        if all((aside / name).is_file() for name in runs.FILES):
            aside.rename(old_of(folder))
        else:
            shutil.rmtree(aside)


def main() -> int:
    """Run `python -m h2a_lib.pipeline.perform STUDY STEP`, STUDY being JSON.

    Returns 0; 1 if it failed; 2 for a mistake of the user; 130 if it was interrupted.
    """
    end_with_leader()
    request, name = json.loads(sys.argv[1]), sys.argv[2]
    try:
        study = locate(request["profile"], request["data"])
        os.chdir(study.root)
        use_step_environment(study.root)
        return perform(Steps(study, request["renderer"]), name)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
