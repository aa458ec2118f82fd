"""All images of a data set as one uint8 array on disk, made once and memory-mapped."""

import hashlib
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from h2a_lib.data import images, index
from h2a_lib.data.ingest import ArraySettings
from h2a_lib.errors import UserError
from h2a_lib.files import (
    as_csv,
    clear_errors,
    read_csv,
    read_json,
    write_folder_atomically,
    write_json,
    write_text,
)

ARRAY, IDS, KEY, LOG = "images.npy", "ids.csv", "cache.json", "done"


@dataclass(frozen=True)
class Key:
    """What a cache was made from; one that differs in any of it is another cache.

    `fingerprint` is of labels and image content, `version` of the code that makes pixels of files.
    """

    fingerprint: str
    size_px: int
    geometry: images.Geometry
    contrast: images.Contrast
    version: int = images.VERSION


@dataclass(frozen=True)
class Cache:
    """An open cache: n ids, and their images in the same order, (n, s, s), uint8, read-only."""

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

    `labels` have the columns id and path (relative to `data_folder`); size, geometry and contrast
    are as in `images.prepare`. Memory stays bounded: processes (by default as many as are worth it)
    write rows of the array on disk, see `Builder`. A DataError names every image that does not
    decode; none is left out in silence.
    """
    settings = ArraySettings(size_px, geometry, contrast)
    key = Key(fingerprint, *settings)
    if _why_not(cache_folder, key) is not None:
        if (twice := labels["id"].duplicated()).any():
            raise UserError(f"id {labels['id'][twice].iloc[0]!r} occurs twice")
        paths = dict(zip(labels["id"], labels["path"], strict=True))
        builder = Builder(paths, cache_folder, settings).begin()
        try:
            if _why_not(cache_folder, key) is not None:  # another process may have built it
                files = index.scan(
                    Path(data_folder),
                    list(labels["path"]),
                    memory=cache_folder.parent / index.INDEX,
                    arrays=[builder],
                    processes=processes,
                    progress=progress,
                )
                index.raise_problems(files)
            builder.finish(fingerprint)
        finally:
            builder.release()
    return open(cache_folder, key)


def is_built(cache_folder: Path, settings: ArraySettings, fingerprint: str) -> bool:
    """Whether the array of a data set is there and whole."""
    return _why_not(cache_folder, Key(fingerprint, *settings)) is None


def open(cache_folder: Path, expecting: Key) -> Cache:
    """Open a finished cache; a UserError if it is not there, is another's, or is not whole."""
    if (why := _why_not(cache_folder, expecting)) is not None:
        raise UserError(f"{cache_folder}: {why}")
    ids = read_csv(cache_folder / IDS)["id"]
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


class Builder:
    """An array under construction, in `<cache_folder>.partial`; what is finished is not made again.

    A second process that builds the same cache waits for the first. `paths` has the image file of
    each id, relative to the data folder.
    """

    def __init__(self, paths: Mapping[str, str], cache_folder: Path, settings: ArraySettings):
        self.cache_folder = cache_folder
        self.settings = settings
        self.partial = cache_folder.with_name(f"{cache_folder.name}.partial")
        ids = sorted(paths)
        self._rows = {paths[key]: row for row, key in enumerate(ids)}
        self._shape = (len(ids), settings.size_px, settings.size_px)
        self._ids_text = as_csv(pd.DataFrame({"id": ids}))
        about = {"version": images.VERSION, "n": len(ids), "ids_sha256": _digest(self._ids_text)}
        self._about = settings._asdict() | about
        self._lock = FileLock(cache_folder.with_name(f".{cache_folder.name}.lock"))
        self._done: dict[int, list[int]] = {}

    def begin(self) -> "Builder":
        """Wait for the lock; take up an interrupted build of the very same array, or begin one."""
        with clear_errors(self.cache_folder):
            self.cache_folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._done = self._resume()
        return self

    @property
    def target(self) -> tuple[Path, ArraySettings]:
        """Where the rows are written, and how their images are prepared."""
        return self.partial / ARRAY, self.settings

    def missing_row(self, path: str, state: list[int]) -> int | None:
        """Return the row of a file that is yet to be filled; `state` is its size and time."""
        row = self._rows.get(path)
        return None if row is None or self._done.get(row) == state else row

    def log(self, states: Mapping[str, list[int]]) -> None:
        """Record that the rows of some files are on disk."""
        done = {self._rows[path]: state for path, state in states.items() if path in self._rows}
        lines = "".join(f"{row} {size} {time}\n" for row, (size, time) in done.items())
        file = self.partial / LOG
        with clear_errors(file), file.open("a", encoding="ascii") as log:
            log.write(lines)
        self._done |= done

    def finish(self, fingerprint: str) -> None:
        """Make the array the cache of a data set; one that is there already stays."""
        with clear_errors(self.cache_folder):
            if not is_built(self.cache_folder, self.settings, fingerprint):
                with write_folder_atomically(self.cache_folder) as finished:
                    (self.partial / ARRAY).replace(finished / ARRAY)
                    write_text(finished / IDS, self._ids_text)
                    write_json(finished / KEY, {"fingerprint": fingerprint, **self._about})
            shutil.rmtree(self.partial)
        self.release()

    def release(self) -> None:
        """Let others build; what is finished stays in the partial folder."""
        self._lock.release()

    def _resume(self) -> dict[int, list[int]]:
        try:
            is_same = read_json(self.partial / KEY) == self._about
            if is_same and np.load(self.partial / ARRAY, "r").shape == self._shape:
                # A kill can leave half a line at the end; its row is made again.
                lines = (self.partial / LOG).read_text(encoding="ascii").splitlines(keepends=True)
                fields = [list(map(int, line.split())) for line in lines if line.endswith("\n")]
                return {row: state for row, *state in fields}
        except (OSError, ValueError):
            pass  # nothing there, or nothing of use
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        needed, free = math.prod(self._shape), shutil.disk_usage(self.partial).free
        if free < needed:
            raise UserError(
                f"the image cache needs {needed / 1e9:.1f} GB, {self.partial.parent} has "
                f"{free / 1e9:.1f} GB free"
            )
        array = self.partial / ARRAY
        np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=self._shape).flush()
        _reserve(array)
        write_text(self.partial / LOG, "")
        write_json(self.partial / KEY, self._about)
        return {}


def _reserve(array: Path) -> None:
    """Take the disk space now: where it ran out later, writing to the map would end the process."""
    if hasattr(os, "posix_fallocate"):
        with array.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.stat().st_size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
