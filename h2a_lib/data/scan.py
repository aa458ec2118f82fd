"""A look into every image file: does it decode, what are its content and its size."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from h2a_lib.data import images, pool
from h2a_lib.data.workers import FOUND, look
from h2a_lib.files import write_text

# Raise it when `look` finds other things than before: what is remembered is then forgotten.
VERSION = 1
CHUNK = 16
COLUMNS = ["path", "problem", *FOUND]


def scan(
    folder: Path,
    files: Sequence[Path],
    *,
    memory: Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Decode image files, each once, and remember what was found.

    Parameters
    ----------
    folder : Path
        Paths are given relative to it.
    files : sequence of Path
        n image files within it.
    memory : Path, optional
        A JSON file. What it has for a file of the same name, size and time of change is taken
        from it; it is brought up to date even when the scan is interrupted.
    processes : int, optional
        As many as are worth it by default.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        n rows in the order given: path (relative, with slashes), problem (empty for a sound file),
        content and pixels (SHA-256 of the file, and of the decoded image), width_px, height_px,
        format, bits, darkest, brightest (grey values).
    """
    states = {}
    for file in files:
        state = file.stat()
        states[_relative(file, folder)] = [state.st_size, state.st_mtime_ns]
    remembered = _recall(memory, states)
    new = [path for path in states if path not in remembered]
    if new:
        n_bytes = sum(states[path][0] for path in new)
        chunks = pool.chunked(new, CHUNK)
        n_processes = min(pool.workers(n_bytes, processes), len(chunks))
        try:
            for found in pool.in_parallel(
                look, chunks, folder, processes=n_processes, title="reading", progress=progress
            ):
                remembered |= found
        finally:
            _remember(memory, states, remembered)
    return pd.DataFrame([{"path": path, **remembered[path]} for path in states], columns=COLUMNS)


def _recall(memory: Path | None, states: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """Return what is remembered of the files that are as they were."""
    if memory is None or not memory.is_file():
        return {}
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        version, files = kept["version"], kept["files"]
    except (ValueError, KeyError, TypeError):
        return {}  # not ours, or of another time: everything is read again
    if version != [VERSION, images.VERSION]:
        return {}
    return {
        path: dict(zip(COLUMNS[1:], files[path][1], strict=True))
        for path, state in states.items()
        if path in files and files[path][0] == state
    }


def _remember(
    memory: Path | None, states: dict[str, list[int]], found: dict[str, dict[str, Any]]
) -> None:
    if memory is None:
        return
    files = {
        path: [states[path], [what[name] for name in COLUMNS[1:]]] for path, what in found.items()
    }
    write_text(memory, json.dumps({"version": [VERSION, images.VERSION], "files": files}))


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
