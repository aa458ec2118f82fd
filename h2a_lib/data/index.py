"""The index of a data set's image files: what each is, remembered until the file changes."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from h2a_lib.data import images, ingest, pool
from h2a_lib.data.ingest import FACTS, Task
from h2a_lib.data.measure import MEASUREMENTS
from h2a_lib.errors import DataError, Problem
from h2a_lib.files import write_text

INDEX = "index.json"  # in the study's cache folder
CHUNK = 16
SECONDS_BETWEEN_SAVES = 20  # a kill loses what was read since
COLUMNS = ["path", *FACTS]


def scan(
    folder: Path,
    paths: Sequence[str],
    *,
    memory: Path | None = None,
    arrays: Sequence[Any] = (),
    processes: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Read the image files that are new or changed, each once, and fill the arrays' missing rows.

    `paths` are relative to the folder, `arrays` of `cache.Builder`. `memory` is a JSON file: what
    it has for a file of the same name, size and time of change is taken from it; it is brought up
    to date even when the scan is interrupted.

    Returns a row for each path, in the order given: path, problem (empty for a sound file), content
    and pixels (SHA-256 of the file, and of the decoded image), format, bits, and what `measure_one`
    says.
    """
    states = {path: _state(folder / path) for path in paths}
    remembered = _recall(memory)
    facts_of = _unchanged(remembered, states)
    tasks = _tasks(states, facts_of, arrays)
    if tasks:
        saved = time.monotonic()

        def write_memory() -> None:
            read = {path: [states[path], facts] for path, facts in facts_of.items()}
            _remember(memory, remembered | read)

        chunks = pool.chunked(tasks, CHUNK)
        n_bytes = sum(sum(states[task.path][:1]) for task in tasks)
        ingested = pool.in_parallel(
            ingest.ingest,
            chunks,
            folder,
            [array.target for array in arrays],
            processes=min(pool.workers(n_bytes, processes), len(chunks)),
            title="reading images",
            progress=progress,
        )
        try:
            for results in ingested:
                for path, facts in results.items():
                    facts_of[path] = facts_of.get(path, {}) | facts
                sound = {path: states[path] for path in results if not facts_of[path]["problem"]}
                for array in arrays:
                    array.log(sound)
                if time.monotonic() > saved + SECONDS_BETWEEN_SAVES:
                    write_memory()
                    saved = time.monotonic()
        finally:
            write_memory()
    return pd.DataFrame([{"path": path, **facts_of[path]} for path in states], columns=COLUMNS)


def measurements(labels: pd.DataFrame, data_folder: Path, cache_root: Path) -> pd.DataFrame:
    """Return what was measured in each hand's image; files that changed are measured again.

    n rows in the labels' order: id, and the measurements of `measure.measure_one`. A DataError
    names every image that does not decode.
    """
    files = scan(data_folder, list(labels["path"]), memory=cache_root / INDEX)
    raise_problems(files)
    facts = files.drop_duplicates("path").set_index("path")
    measured = facts.loc[labels["path"], list(MEASUREMENTS)].reset_index(drop=True)
    return measured.infer_objects().assign(id=labels["id"].to_numpy())[["id", *MEASUREMENTS]]


def problems_of(files: pd.DataFrame) -> list[Problem]:
    """Return the problem of every file that has one."""
    bad = files[files["problem"] != ""]
    return [Problem(file.path, None, file.problem) for file in bad.itertuples()]


def raise_problems(files: pd.DataFrame) -> None:
    """Raise a DataError that names every file with a problem, if there is one."""
    if problems := problems_of(files):
        raise DataError(problems)


def known(memory: Path, folder: Path, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the facts of those files that are sound and as they were when they were read."""
    facts_of = _unchanged(_recall(memory), {path: _state(folder / path) for path in paths})
    return {path: facts for path, facts in facts_of.items() if not facts["problem"]}


def _recall(memory: Path | None) -> dict[str, list[Any]]:
    """Return, by path, the state of each file when it was read, and its facts."""
    try:
        stored = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        version, files = stored["version"], stored["files"]
        if version == [ingest.VERSION, images.VERSION]:
            return {p: [state, dict(zip(FACTS, f, strict=True))] for p, (state, f) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, not ours, or of another time: everything is read again
    return {}


def _unchanged(
    remembered: dict[str, list[Any]], states: dict[str, list[int]]
) -> dict[str, dict[str, Any]]:
    """Return the facts of those files that are as they were when they were read."""
    return {
        path: remembered[path][1]
        for path, state in states.items()
        if path in remembered and remembered[path][0] == state
    }


def _state(file: Path) -> list[int]:
    try:
        state = file.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]


def _remember(memory: Path | None, known: dict[str, list[Any]]) -> None:
    if memory is not None:
        files = {path: [state, [f[name] for name in FACTS]] for path, (state, f) in known.items()}
        content = {"version": [ingest.VERSION, images.VERSION], "files": files}
        write_text(memory, json.dumps(content))


def _tasks(
    states: dict[str, list[int]], known: dict[str, dict[str, Any]], arrays: Sequence[Any]
) -> list[Task]:
    """Return the files to be read: without facts, or with a row to fill in an array."""
    tasks = []
    for path, state in states.items():
        if known.get(path, {}).get("problem"):
            continue
        rows = [(k, array.missing_row(path, state)) for k, array in enumerate(arrays)]
        wanted = tuple((k, row) for k, row in rows if row is not None)
        if wanted or path not in known:
            tasks.append(Task(path, path not in known, wanted))
    return tasks
