"""All images of a data set as one uint8 array on disk, made once and memory-mapped."""

import hashlib
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from h2a_lib.data import images, pool
from h2a_lib.data.workers import fill
from h2a_lib.errors import DataError, Problem, UserError
from h2a_lib.files import clear_errors, read_json, write_folder_atomically, write_json, write_text
from h2a_lib.pipeline.processes import end_with_leader

ARRAY, IDS, KEY, LOG = "images.npy", "ids.csv", "cache.json", "done"
CHUNK = 16


@dataclass(frozen=True)
class Key:
    """What a cache was made from; one that differs in any of it is another cache.

    Attributes
    ----------
    fingerprint : str
        Of the data set: labels and image content.
    size_px, geometry, contrast
        As in `images.prepare`.
    version : int
        Of the code that makes pixels of files.
    """

    fingerprint: str
    size_px: int
    geometry: images.Geometry
    contrast: images.Contrast
    version: int = images.VERSION


@dataclass(frozen=True)
class Cache:
    """An open cache.

    Attributes
    ----------
    ids : list of str
        n ids, in the images' order.
    images : memmap
        (n, s, s), uint8, read-only.
    key : Key
    """

    ids: list[str]
    images: np.memmap
    key: Key


def build(
    labels: pd.DataFrame,
    data_folder: Path,
    cache_folder: Path,
    *,
    size_px: int,
    geometry: images.Geometry,
    contrast: images.Contrast,
    fingerprint: str,
    processes: int | None = None,
    progress: bool = True,
) -> Cache:
    """Return a data set's cache, made first if it is not there or is another's.

    What is finished of an interrupted build is kept in `<cache_folder>.partial` and not made
    again. Memory stays bounded: processes write rows of the array on disk. A second process that
    asks for the same cache waits for the first.

    Parameters
    ----------
    labels : DataFrame
        With columns id and path (relative to `data_folder`).
    data_folder : Path
        Holds the image files.
    cache_folder : Path
        Where the cache is, or goes.
    size_px, geometry, contrast
        As in `images.prepare`.
    fingerprint : str
        Of the data set.
    processes : int, optional
        By default as many as are worth it, up to all cores.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Cache

    Raises
    ------
    DataError
        Naming every image that does not decode; none is left out in silence.
    """
    key = Key(fingerprint, size_px, geometry, contrast)
    with clear_errors(cache_folder):
        cache_folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_folder.with_name(f".{cache_folder.name}.lock")):
            if _why_not(cache_folder, key) is not None:
                _make(labels, Path(data_folder), cache_folder, key, processes, progress)
    return open(cache_folder, key)


def open(cache_folder: Path, expecting: Key) -> Cache:
    """Open a finished cache.

    Raises
    ------
    UserError
        If it is not there, was made from other data or in another way, or is not whole.
    """
    if (why := _why_not(cache_folder, expecting)) is not None:
        raise UserError(f"{cache_folder}: {why}")
    ids = pd.read_csv(cache_folder / IDS, dtype=str, keep_default_na=False)["id"]
    return Cache(list(ids), np.load(cache_folder / ARRAY, mmap_mode="r"), expecting)


def _why_not(cache_folder: Path, expecting: Key) -> str | None:
    """Return why a folder is not the cache that is expected; None if it is."""
    try:
        kept = read_json(cache_folder / KEY)
    except FileNotFoundError:
        return "there is no finished image cache here"
    except ValueError:
        return f"{KEY} is damaged"
    wanted = asdict(expecting)
    for name, value in wanted.items():
        if kept.get(name) != value:
            return f"a stale image cache: its {name} is {kept.get(name)!r}, not {value!r}"
    try:
        stored = np.load(cache_folder / ARRAY, mmap_mode="r")
        ids = (cache_folder / IDS).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return f"the image cache is not whole: {error}"
    expected = (kept.get("n"), expecting.size_px, expecting.size_px)
    if stored.shape != expected or stored.dtype != np.uint8:
        return f"the image cache is not whole: {stored.shape} {stored.dtype}, not {expected} uint8"
    if _digest(ids) != kept.get("ids_sha256"):
        return f"the image cache's {IDS} was changed"
    return None


# --- making --------------------------------------------------------------------------------------


def _make(
    labels: pd.DataFrame,
    data_folder: Path,
    cache_folder: Path,
    key: Key,
    processes: int | None,
    progress: bool,
) -> None:
    rows = labels.sort_values("id")
    if (twice := rows["id"].duplicated()).any():
        raise UserError(f"id {rows['id'][twice].iloc[0]!r} occurs twice")
    ids = rows[["id"]].to_csv(index=False, lineterminator="\n")
    about = {**asdict(key), "n": len(rows), "ids_sha256": _digest(ids)}
    partial = cache_folder.with_name(f"{cache_folder.name}.partial")
    done = _begin_or_resume(partial, about)
    tasks = [(row, path) for row, path in enumerate(rows["path"]) if row not in done]
    _fill_all(tasks, data_folder, partial, key, processes, progress)
    with write_folder_atomically(cache_folder) as finished:
        (partial / ARRAY).replace(finished / ARRAY)
        write_text(finished / IDS, ids)
        write_json(finished / KEY, about)
    shutil.rmtree(partial)


def _begin_or_resume(partial: Path, about: dict[str, Any]) -> set[int]:
    """Return the rows that an interrupted build of the very same cache has finished."""
    shape = (about["n"], about["size_px"], about["size_px"])
    try:
        if read_json(partial / KEY) == about and np.load(partial / ARRAY, "r").shape == shape:
            # A kill can leave half a line at the end; its row is made again.
            lines = (partial / LOG).read_text(encoding="ascii").splitlines(keepends=True)
            return {int(line) for line in lines if line.endswith("\n")}
    except (OSError, ValueError):
        pass  # nothing there, or nothing of use
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if (free := shutil.disk_usage(partial).free) < math.prod(shape):
        needed, there = (f"{size / 1e9:.1f} GB" for size in (math.prod(shape), free))
        raise UserError(f"the image cache needs {needed}, {partial.parent} has {there} free")
    np.lib.format.open_memmap(partial / ARRAY, mode="w+", dtype=np.uint8, shape=shape).flush()
    _reserve(partial / ARRAY)
    write_text(partial / LOG, "")
    write_json(partial / KEY, about)
    return set()


def _reserve(array: Path) -> None:
    """Take the disk space now: where it ran out later, writing to the map would end the process."""
    if hasattr(os, "posix_fallocate"):
        with array.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.stat().st_size)


def _fill_all(
    tasks: Sequence[tuple[int, str]],
    data_folder: Path,
    partial: Path,
    key: Key,
    processes: int | None,
    progress: bool,
) -> None:
    chunks = pool.chunked(tasks, CHUNK)
    files = (data_folder / path for _, path in tasks)
    n_bytes = sum(file.stat().st_size for file in files if file.exists())
    results = pool.in_parallel(
        fill,
        chunks,
        data_folder,
        partial / ARRAY,
        key.size_px,
        key.geometry,
        key.contrast,
        processes=max(1, min(pool.workers(n_bytes, processes), len(chunks))),
        title=f"{key.size_px} px, {key.geometry}, {key.contrast}",
        progress=progress,
    )
    problems: list[Problem] = []
    with (partial / LOG).open("a", encoding="ascii") as log:
        for finished, failed in results:
            log.write("".join(f"{row}\n" for row in finished))
            log.flush()
            problems += failed
    if problems:
        raise DataError(problems)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Execute `python -m h2a_lib.data.cache RESULTS DATA SIZE GEOMETRY CONTRAST KEY`.

    The graph's job calls it; RESULTS holds the study's labels.csv and data.json, and KEY is the
    cache's `cache.json`.

    Returns
    -------
    int
        0, or 2 for a mistake of the user.
    """
    end_with_leader()
    results, data_folder, size_px, geometry, contrast, key = arguments
    try:
        build(
            pd.read_csv(Path(results, "labels.csv"), dtype={"id": str}),
            Path(data_folder),
            Path(key).parent,
            size_px=int(size_px),
            geometry=geometry,  # type: ignore[arg-type]  # a wrong name is told when it is used
            contrast=contrast,  # type: ignore[arg-type]
            fingerprint=read_json(Path(results, "data.json"))["fingerprint"],
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
