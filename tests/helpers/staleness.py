"""Ask Snakemake which steps it would run again after a change, many times from one process.

`python staleness.py FOLDER` makes stand-ins (empty files) for all that the graph of the checkout
FOLDER makes, lets Snakemake record them as done, then reads changes as JSON lines from standard
input and answers each with a line: the steps that would run. A change is one of
{"write": path, "base64": content}, {"touch": path}, {"config": {…}} or {}; it is undone before
the next. The heavy libraries are imported once, the project's own in a fork for
each change.
"""

import base64
import contextlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas  # noqa: F401
import pydantic  # noqa: F401
import yaml  # noqa: F401
from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

STUDY = "smoke"


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Snakemake says is no answer
    in_fork(lambda: stand_in(folder))
    for line in sys.stdin:
        change = json.loads(line)
        with changed(folder, change):
            told = in_fork(lambda c=change: sorted(stale(folder, c.get("config", {}))))
        print(json.dumps(told), file=answers, flush=True)


@contextlib.contextmanager
def changed(folder: Path, change: dict[str, Any]) -> Iterator[None]:
    """Make a change and undo it, and with it what the preparation of the data makes of it."""
    from_data = [*(folder / "results" / STUDY).glob("*.*"), folder / f"cache/{STUDY}/index.json"]
    named = [folder / change[how] for how in ("write", "touch") if how in change]
    before = {file: _state(file) for file in {*from_data, *named}}
    if "write" in change:
        named[0].parent.mkdir(parents=True, exist_ok=True)
        named[0].write_bytes(base64.b64decode(change["base64"]))
    elif "touch" in change:
        named[0].touch()
    yield
    for file, state in before.items():
        if state is None:
            file.unlink(missing_ok=True)
        elif _state(file) != state:
            file.write_bytes(state[0])
            os.utime(file, ns=(state[1], state[1]))


def _state(file: Path) -> tuple[bytes, int] | None:
    return (file.read_bytes(), file.stat().st_mtime_ns) if file.exists() else None


def in_fork(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a fork, or the traceback of its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            told = json.dumps(function())
        except BaseException:
            told = json.dumps([traceback.format_exc()])
        with os.fdopen(writing, "w") as pipe:
            pipe.write(told)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)
    return told


@contextlib.contextmanager
def graph_of(folder: Path, config: dict[str, str], anew: bool = False) -> Iterator[Any]:
    """Give the study's graph, its data prepared as `h2a report` does."""
    from h2a_lib.pipeline import prepare
    from h2a_lib.study import workspace

    study = workspace.locate(STUDY)
    prepare.prepare_data(study, progress=False)
    given = {"profile": STUDY, "data": str(study.data_folder), "renderer": "auto"} | config
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        graph = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config={"asked": given}),
            snakefile=folder / "Snakefile",
            workdir=folder,
        )
        how = DAGSettings(targets={"all"}, force_incomplete=True, forceall=anew)
        yield graph, graph.dag(how)


def stand_in(folder: Path) -> None:
    """Make every output as an empty file, inputs before outputs, and record the steps as done."""
    with graph_of(folder, {}) as (workflow, graph):
        graph.execute_workflow(executor="dryrun")
        for job in workflow._workflow.dag.toposorted():
            for file in (Path(name) for one in job for name in one.output):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            time.sleep(0.02)
    with graph_of(folder, {}, anew=True) as (_, graph):
        graph.execute_workflow(executor="touch")
    shutil.rmtree(folder / ".snakemake" / "log", ignore_errors=True)


def stale(folder: Path, config: dict[str, str]) -> set[str]:
    with graph_of(folder, config) as (workflow, graph):
        graph.execute_workflow(executor="dryrun")
        jobs = list(workflow._workflow.dag.needrun_jobs(exclude_finished=False))
    return {name_of(job) for job in jobs if job.rule.name != "all"}


def name_of(job) -> str:
    """Return a rule's name, or run/EXPERIMENT, or cache/FOLDER."""
    if job.rule.name == "train":
        return f"run/{job.wildcards.experiment}"
    if job.rule.name == "cache":
        return f"cache/{Path(job.output[0]).parent.name}"
    return job.rule.name


if __name__ == "__main__":
    main()
