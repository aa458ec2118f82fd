"""What every decoder shares: its error, the size limit, and the way to 8-bit grey."""

from typing import NamedTuple

import cv2
import numpy as np

from h2a_lib.errors import UserError

# Pillow's limit, three times the largest radiograph a film scanner makes (about 5,000 x 6,000).
MAX_PIXELS = 89_478_485


class ImageError(UserError):
    """An image file that cannot be used; `what` is wrong with it, without its name."""

    def __init__(self, what: str, name: str = "image"):
        super().__init__(f"{name}: {what}")
        self.what = what


class Source(NamedTuple):
    """How an image was stored: `format` as Pillow calls it or "DICOM", `bits` a sample."""

    format: str
    bits: int


def check_size(width: int, height: int) -> None:
    """Refuse, before decoding, what would fill the memory; sizes as the file's header says."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in all")
    if width == 0 or height == 0:
        raise ImageError(f"{width} x {height} pixels")


def scale_down(values: np.ndarray) -> np.ndarray:
    """Bring more than 8 bits to 8: (h, w) or (h, w, channels) to the same shape, uint8.

    Unsigned integers are divided by the full scale of the bits in use, the least of 8, 10, 12, 14,
    16 that holds the maximum: 12 bits stored in 16 are common in radiography and would come out
    all but black. More than 16 bits in use, floats and negative numbers are stretched from least
    to most.
    """
    if np.issubdtype(values.dtype, np.integer) and values.min() >= 0:
        used = int(values.max()).bit_length()
        bits = next((b for b in (8, 10, 12, 14, 16) if b >= used), None)
        if bits is not None:
            return as_8_bit(values, 0, 2**bits - 1)
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    return as_8_bit(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)


def as_8_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values linearly so that `low` is 0 and `high` 255, clipped; uint8."""
    low, high = float(low), float(high)
    if values.dtype == np.float64:  # a float32 cannot hold large neighbours apart
        values = values - low
        low, high = 0.0, high - low
    scale = 255 / (high - low) if high > low else 0.0
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(scale)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def luma(colours: np.ndarray) -> np.ndarray:
    """Return the grey (ITU-R BT.601) of (h, w, 3) RGB, uint8, as Pillow and OpenCV do."""
    return cv2.cvtColor(np.ascontiguousarray(colours[..., :3]), cv2.COLOR_RGB2GRAY)
