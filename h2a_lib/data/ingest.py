"""What is done with an image file in the one pass: read, hash, decode, measure, resize.

This module imports no pandas: a worker process starts in half the time.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from h2a_lib.data import images
from h2a_lib.data.decode import decode
from h2a_lib.data.grey import ImageError
from h2a_lib.data.measure import MEASUREMENTS, measure_one
from h2a_lib.files import clear_errors

# What the index holds of each file, beside its path. Raise VERSION when any of it is computed anew.
VERSION = 2
FACTS = ("problem", "content", "pixels", "format", "bits", *MEASUREMENTS)


class ArraySettings(NamedTuple):
    """How the images of an array are prepared: as in `images.prepare`."""

    size_px: int
    geometry: images.Geometry
    contrast: images.Contrast

    def folder(self, cache_root: Path) -> Path:
        """Return where a study keeps this array."""
        return cache_root / f"{self.size_px}px-{self.geometry}-{self.contrast}"


class Task(NamedTuple):
    """A file to read; `rows` are (number of the target, row in its array)."""

    path: str
    needs_facts: bool
    rows: tuple[tuple[int, int], ...]


def ingest(
    tasks: Sequence[Task], folder: Path, targets: Sequence[tuple[Path, ArraySettings]]
) -> dict[str, dict[str, Any]]:
    """Read some files once each, and fill their rows of the arrays: (n, s, s) uint8 as .npy.

    Returns `FACTS` by path; problem alone for a file whose facts are known. A file with a problem
    has no row filled.
    """
    stored = []
    for array, _ in targets:
        with clear_errors(array):
            stored.append(np.load(array, mmap_mode="r+"))
    facts = {}
    for task in tasks:
        facts[task.path], image = _read(folder / task.path, task.needs_facts)
        if image is not None:
            for number, row in task.rows:
                stored[number][row] = images.prepare(image, *targets[number][1])
    for memory_map in stored:
        memory_map.flush()
    return facts


def _read(file: Path, needs_facts: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    try:
        content = file.read_bytes()
    except OSError as error:
        return facts | {"problem": f"cannot be read: {error.strerror}"}, None
    if needs_facts:
        facts["content"] = hashlib.sha256(content).hexdigest()
    try:
        image, source = decode(content)
    except ImageError as error:
        return facts | {"problem": error.what}, None
    if not needs_facts:
        return {"problem": ""}, image
    height, width = image.shape
    pixels = hashlib.sha256(f"{height},{width}:".encode())
    pixels.update(image.data)
    facts |= {"problem": "", "pixels": pixels.hexdigest(), **source._asdict()}
    return facts | measure_one(image), image
