"""One radiograph: from 8-bit grey to the size and contrast that a network is given.

The same functions serve training, prediction and the demonstrations.
"""

from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from h2a_lib.data.decode import read
from h2a_lib.data.grey import as_8_bit
from h2a_lib.errors import unknown

Geometry = Literal["center_crop", "pad", "squash", "squash_nearest"]
Contrast = Literal["none", "equalize", "clahe", "stretch"]
GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)
CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)

# Raise it when a function here or in a decoder gives other pixels: every cache is made anew.
VERSION = 3

# OpenCV's defaults for CLAHE are a clip limit of 40; 2 on 8 x 8 tiles is usual in radiography,
# where more turns noise in the soft tissue into texture.
CLAHE_CLIP, CLAHE_TILES = 2.0, (8, 8)
STRETCH_PERCENTILES = (1.0, 99.0)


def resize(image: np.ndarray, size_px: int, geometry: Geometry) -> np.ndarray:
    """Bring an image, (h, w), to a square, (s, s), uint8.

    "center_crop" (the original study's): the shorter side fills the square, the longer is cut at
    both ends. "pad": the longer side fills it, the rest is black. "squash": each side is scaled by
    itself. "squash_nearest": the same, but of each place the pixel at its centre is taken, as the
    reduced copies of the RSNA images were made.
    """
    return _pad(_fit(image, size_px, geometry), size_px)


def adjust_contrast(image: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Change the contrast of an image, (h, w), uint8.

    "equalize": all grey values equally frequent. "clahe": the same within tiles, limited
    (Zuiderveld 1994, *Graphics Gems IV*, 474-485). "stretch": from the 1st to the 99th percentile,
    linearly.
    """
    match contrast:
        case "none":
            return image
        case "equalize":
            return cv2.equalizeHist(image)
        case "clahe":
            return cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES).apply(image)
        case "stretch":
            low, high = np.percentile(image, STRETCH_PERCENTILES)
            return as_8_bit(image, low, high)
    raise unknown("contrast", contrast, CONTRASTS)


def prepare(
    image: Path | str | np.ndarray,
    size_px: int,
    geometry: Geometry = "center_crop",
    contrast: Contrast = "none",
) -> np.ndarray:
    """Make of a file, or of an image already read, (h, w), what a network is given: (s, s), uint8.

    Geometries are those of `resize`. Contrast is adjusted after scaling and before padding: the
    black bars are no part of the hand and should not weigh in its histogram.
    """
    pixels = image if isinstance(image, np.ndarray) else read(image)
    return _pad(adjust_contrast(_fit(pixels, size_px, geometry), contrast), size_px)


def kept_part(height: int, width: int, geometry: Geometry) -> tuple[slice, slice]:
    """Return the rows and columns of an image that a geometry keeps; the rest is cut off."""
    if geometry != "center_crop":
        return slice(0, height), slice(0, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def _fit(image: np.ndarray, size_px: int, geometry: Geometry) -> np.ndarray:
    """Return the image cut and scaled, not yet padded: no side is longer than `size_px`."""
    if geometry not in GEOMETRIES:
        raise unknown("geometry", geometry, GEOMETRIES)
    kept = image[kept_part(*image.shape, geometry)]
    height, width = kept.shape
    if geometry == "squash_nearest":
        return cv2.resize(kept, (size_px, size_px), interpolation=cv2.INTER_NEAREST_EXACT)
    if geometry == "pad":
        scale = size_px / max(height, width)
        return scale_to(kept, max(1, round(height * scale)), max(1, round(width * scale)))
    return scale_to(kept, size_px, size_px)


def scale_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale by area where it shrinks (each pixel is the mean of what it covers), else linearly."""
    # OpenCV halves 13 times as fast as it scales by any other factor, so it halves as often as
    # leaves a factor of 1.5 to 3: of 1,357 to 224 pixels, 0.6 ms instead of 3.6 ms.
    while image.shape[0] >= 3 * height and image.shape[1] >= 3 * width:
        half = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * half[0], : 2 * half[1]]
        image = cv2.resize(even, half[::-1], interpolation=cv2.INTER_AREA)
    less = min(height, image.shape[0]), min(width, image.shape[1])
    if less != image.shape:
        image = cv2.resize(image, less[::-1], interpolation=cv2.INTER_AREA)
    if less != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _pad(image: np.ndarray, size_px: int) -> np.ndarray:
    """Centre an image in a black square, if it does not fill it already."""
    if image.shape == (size_px, size_px):
        return np.ascontiguousarray(image)
    square = np.zeros((size_px, size_px), np.uint8)
    top, left = (size_px - image.shape[0]) // 2, (size_px - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square
