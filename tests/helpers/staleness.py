"""Ask which steps would run again after a change, many times from one process.

`python staleness.py FOLDER` makes stand-ins (empty files) for all that the steps of the checkout
FOLDER make, records them as done, then reads changes as JSON lines from standard input and answers
each with a line: the steps that would run. A change is one of {"write": path, "base64": content},
{"touch": path}, {"renderer": name} or {}; it is undone before the next. The heavy libraries are
imported once, the project's own in a fork for each change.
"""

import base64
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas  # noqa: F401
import pydantic  # noqa: F401
import yaml  # noqa: F401

STUDY = "smoke"


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # messages are no answer
    in_fork(stand_in)
    for line in sys.stdin:
        change = json.loads(line)
        with changed(folder, change):
            names = in_fork(lambda c=change: sorted(stale(c.get("renderer", "auto"))))
        print(json.dumps(names), file=answers, flush=True)


@contextlib.contextmanager
def changed(folder: Path, change: dict[str, Any]) -> Iterator[None]:
    """Make a change and undo it, and with it what the preparation of the data makes of it."""
    cache = folder / "cache" / STUDY
    from_data = [*(folder / "results" / STUDY).glob("*.*"), *files_in(cache)]
    named = [folder / change[how] for how in ("write", "touch") if how in change]
    before = {file: _state(file) for file in {*from_data, *named}}
    if "write" in change:
        named[0].parent.mkdir(parents=True, exist_ok=True)
        named[0].write_bytes(base64.b64decode(change["base64"]))
    elif "touch" in change:
        named[0].touch()
    yield
    for file in set(files_in(cache)) - set(before):  # other data have image caches of their own
        file.unlink()
    for file, state in before.items():
        if state is None:
            file.unlink(missing_ok=True)
        elif _state(file) != state:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(state[0])
            os.utime(file, ns=(state[1], state[1]))


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it."""
    return [file for file in folder.rglob("*") if file.is_file()]


def _state(file: Path) -> tuple[bytes, int] | None:
    return (file.read_bytes(), file.stat().st_mtime_ns) if file.exists() else None


def in_fork(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a fork, or the traceback of its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = json.dumps(function())
        except BaseException:
            answer = json.dumps([traceback.format_exc()])
        with os.fdopen(writing, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


def steps_of(renderer: str) -> Any:
    """Return the study's steps, its data prepared as `h2a report` does."""
    from h2a_lib.pipeline import prepare
    from h2a_lib.pipeline.steps import Steps
    from h2a_lib.study import workspace

    study = workspace.locate(STUDY)
    prepare.prepare_data(study)
    return Steps(study, renderer)


def stand_in() -> None:
    """Make every output as an empty file, and record the steps as done."""
    from h2a_lib.pipeline.staleness import contents_now, write_record

    steps = steps_of("auto")
    contents = contents_now(steps)
    for step in steps.by_name.values():
        for file in step.outputs:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        write_record(step.record, step, contents[step.name], [], 1.0)


def stale(renderer: str) -> set[str]:
    from h2a_lib.pipeline.staleness import stale_steps

    return {name_of(one.step) for one in stale_steps(steps_of(renderer))}


def name_of(step) -> str:
    """Return a step's name, for a training run/EXPERIMENT."""
    return f"run/{step.name.split('/')[1]}" if step.rule == "train" else step.name


if __name__ == "__main__":
    main()
