"""Tiny folders of radiographs for the tests: grey gradients, each its own, of differing sizes."""

from pathlib import Path

import cv2
import numpy as np


def picture(seed: int = 0, height: int = 60, width: int = 48) -> np.ndarray:
    """(h, w), uint8: a bright blob on black with a little noise; every seed another."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    cy, cx = random.uniform(0.3, 0.7, 2) * (height, width)
    blob = 200 * np.exp(-(((y - cy) / height) ** 2 + ((x - cx) / width) ** 2) * 12)
    return np.clip(blob + random.normal(8, 4, (height, width)), 0, 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def write_set(
    folder: Path,
    ids,
    *,
    table: str = "boneage-training-dataset.csv",
    images: str = "boneage-training-dataset",
    header: str = "id,boneage,male",
    suffix: str = ".png",
) -> Path:
    """A label table and its images; ages 12, 24, … months, sexes in turn."""
    lines = [header]
    for k, key in enumerate(ids):
        lines.append(f"{key},{12 + 12 * k % 216},{k % 2 == 0}")
        write_image(folder / images / f"{key}{suffix}", picture(k, 60 + k, 48 + k % 7))
    path = folder / table
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return folder
