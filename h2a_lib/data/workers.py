"""What the worker processes do. This module imports no pandas: a worker starts in half the time."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h2a_lib.data import images
from h2a_lib.data.grey import ImageError
from h2a_lib.errors import Problem

# What `look` finds in each file, beside its problem.
FOUND = ("content", "pixels", "width_px", "height_px", "format", "bits", "darkest", "brightest")


def fill(
    tasks: Sequence[tuple[int, str]],
    data_folder: Path,
    array: Path,
    size_px: int,
    geometry: images.Geometry,
    contrast: images.Contrast,
) -> tuple[list[int], list[Problem]]:
    """Prepare some images and write them to their rows of an array on disk.

    Parameters
    ----------
    tasks : sequence of (int, str)
        Row and image file, relative to `data_folder`.
    data_folder : Path
    array : Path
        A .npy file, (n, s, s), uint8.
    size_px, geometry, contrast
        As in `images.prepare`.

    Returns
    -------
    finished : list of int
        Rows that are on disk.
    failed : list of Problem
        Files that did not decode.
    """
    finished, failed = [], []
    stored = np.load(array, mmap_mode="r+")
    for row, path in tasks:
        try:
            stored[row] = images.prepare(data_folder / path, size_px, geometry, contrast)
            finished.append(row)
        except ImageError as error:
            failed.append(Problem(path, None, error.what))
    stored.flush()
    return finished, failed


def look(paths: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Decode some files; by path, the problem (empty for a sound file) and what is `FOUND`."""
    return {path: _look(folder / path) for path in paths}


def _look(file: Path) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(FOUND)
    try:
        content = file.read_bytes()
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}", **nothing}
    nothing["content"] = hashlib.sha256(content).hexdigest()
    try:
        image, source = decode(content)
    except ImageError as error:
        return {**nothing, "problem": error.what}
    height, width = image.shape
    pixels = hashlib.sha256(f"{height},{width}:".encode() + image.tobytes()).hexdigest()
    return {
        **nothing,
        "problem": "",
        "pixels": pixels,
        "width_px": width,
        "height_px": height,
        "format": source.format,
        "bits": source.bits,
        "darkest": int(np.min(image)),
        "brightest": int(np.max(image)),
    }
