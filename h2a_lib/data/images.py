"""One radiograph: from a file to 8-bit grey, and to the size and contrast a network sees.

The same functions serve training, prediction and the demonstrations.
"""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import kornia_rs
import numpy as np

from h2a_lib.errors import UserError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image

Geometry = Literal["center_crop", "pad", "squash"]
Contrast = Literal["none", "equalize", "clahe", "stretch"]
GEOMETRIES: tuple[Geometry, ...] = ("center_crop", "pad", "squash")
CONTRASTS: tuple[Contrast, ...] = ("none", "equalize", "clahe", "stretch")

# Raise it when a function here gives other pixels than before: every cache is made anew.
VERSION = 2

# Pillow's limit, three times the largest radiograph a film scanner makes (about 5,000 x 6,000).
MAX_PIXELS = 89_478_485
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# A camera's MPO opens as JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "JPEG2000")

# OpenCV's defaults for CLAHE are a clip limit of 40; 2 on 8 x 8 tiles is usual in radiography,
# where more turns noise in the soft tissue into texture.
CLAHE_CLIP, CLAHE_TILES = 2.0, (8, 8)
STRETCH_PERCENTILES = (1.0, 99.0)


class ImageError(UserError):
    """An image file that cannot be used.

    Attributes
    ----------
    what : str
        What is wrong with it, without its name.
    """

    def __init__(self, what: str, name: str = "image"):
        super().__init__(f"{name}: {what}")
        self.what = what


class Source(NamedTuple):
    """How an image was stored: `format` as Pillow calls it or "DICOM", `bits` a sample."""

    format: str
    bits: int


# --- decoding ------------------------------------------------------------------------------------


def read(path: Path | str) -> np.ndarray:
    """Read a radiograph: PNG, JPEG, WebP, TIFF, BMP, JPEG 2000 or DICOM, of any depth or colour.

    Orientation (EXIF) is applied; transparency is laid on black, as a light box would show it;
    more than 8 bits are scaled down (see `scale_down`); DICOM as its window and photometric
    interpretation say.

    Returns
    -------
    ndarray
        (h, w), uint8, white bone on black.

    Raises
    ------
    ImageError
        Naming the file: not there, not an image, truncated, damaged, too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", str(path)) from None
    try:
        return decode(content)[0]
    except ImageError as error:
        raise ImageError(error.what, str(path)) from None


def decode(content: bytes) -> tuple[np.ndarray, Source]:
    """Decode an image file's content.

    Returns
    -------
    image : ndarray
        (h, w), uint8.
    source : Source
        How it was stored.

    Raises
    ------
    ImageError
        As `read`, without a name.
    """
    if not content:
        raise ImageError("the file is empty")
    if content.startswith(PNG_MAGIC):
        if (shape := _plain_png_shape(content)) is not None:
            return _decode_plain_png(content, shape), Source("PNG", 8)
    elif content[128:132] == b"DICM" or content[:2] == b"\x08\x00":
        # Some DICOM files lack the preamble and begin with their first element, of group 0008.
        from h2a_lib.data import dicom

        return dicom.decode(content)
    return _decode_general(content)


def _plain_png_shape(content: bytes) -> tuple[int, int] | None:
    """Return (h, w) of a PNG that is 8-bit grey and nothing else, as most radiographs are.

    None for any other PNG. The chunks are followed to the end mark, so that a file which ends too
    early is found however its decoder would take it.
    """
    if len(content) < 33:
        raise ImageError("truncated: the file ends within the PNG header")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    check_size(width, height)
    plain, position = depth == 8 and colour == 0, 8
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IEND":
            return (height, width) if plain else None
        plain = plain and kind not in (b"tRNS", b"eXIf", b"acTL")
        position += length + 12
    raise ImageError("truncated: the PNG ends before its end mark")


def _decode_plain_png(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    # Rust's png crate by way of kornia-rs: 2.0 times as fast as OpenCV (libpng) on phantoms of
    # RSNA size and 3.0 times on the half-size RSNA images; benchmarks/ingest.py measures it.
    try:
        return kornia_rs.io.decode_image_png_u8(content, shape, "mono").reshape(shape)
    except Exception as error:  # PyO3 passes each of Rust's errors on as a bare Exception
        raise ImageError(f"damaged or truncated: {error}") from None


def _decode_general(content: bytes) -> tuple[np.ndarray, Source]:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            check_size(*opened.size)
            frames = getattr(opened, "n_frames", 1)
            # A camera's MPO holds its picture first, then previews.
            if frames != 1 and opened.format != "MPO":
                raise ImageError(f"has {frames} pages, one was expected")
            kind, inverted = opened.format, _is_white_zero_16_bit(opened)
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                image = Image.alpha_composite(black, image.convert("RGBA"))
            if image.mode.startswith(("I", "F")):
                values = np.asarray(image)
                grey, bits = scale_down(values), 8 * values.dtype.itemsize
                if image.mode == "I":  # Pillow's container for 16 bits where it has no other
                    bits = 16
            else:
                grey, bits = np.asarray(image.convert("L")), 1 if image.mode == "1" else 8
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError("not an image of a known kind") from None
    except Exception as error:
        # Arbitrary bytes make a decoder raise anything; whatever it is, this file is at fault.
        raise ImageError(f"damaged or truncated: {error}") from None
    return np.ascontiguousarray(255 - grey if inverted else grey), Source(str(kind), bits)


def _is_white_zero_16_bit(image: "Image") -> bool:
    # Pillow inverts TIFF's WhiteIsZero at 1 to 8 bits, but not at 16.
    photometric_interpretation = 262
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I") and tags.get(photometric_interpretation) == 0


def check_size(width: int, height: int) -> None:
    """Refuse, before decoding, what would fill the memory; sizes as the file's header says."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in all")
    if width == 0 or height == 0:
        raise ImageError(f"{width} x {height} pixels")


def scale_down(values: np.ndarray) -> np.ndarray:
    """Bring more than 8 bits to 8.

    Parameters
    ----------
    values : ndarray
        (h, w). Unsigned integers are divided by the full scale of the bits in use, the least of 8,
        10, 12, 14, 16 that holds the maximum: 12 bits stored in 16 are common in radiography and
        would come out all but black. Floats and negative numbers are stretched from least to most.

    Returns
    -------
    ndarray
        (h, w), uint8.
    """
    if np.issubdtype(values.dtype, np.integer) and values.min() >= 0:
        used = int(values.max()).bit_length()
        bits = next((b for b in (8, 10, 12, 14, 16) if b >= used), used)
        return as_8_bit(values, 0, 2**bits - 1)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    return as_8_bit(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)


def as_8_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale (h, w) linearly so that `low` is 0 and `high` 255, clipped; uint8."""
    scale = 255 / (high - low) if high > low else 0.0
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(scale)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


# --- geometry and contrast -----------------------------------------------------------------------


def resize(image: np.ndarray, size_px: int, geometry: Geometry) -> np.ndarray:
    """Bring an image to a square.

    Parameters
    ----------
    image : ndarray
        (h, w), uint8.
    size_px : int
        s, the side of the square.
    geometry : {"center_crop", "pad", "squash"}
        "center_crop" (the original study's): the shorter side fills the square, the longer is cut
        at both ends. "pad": the longer side fills it, the rest is black. "squash": each side is
        scaled by itself.

    Returns
    -------
    ndarray
        (s, s), uint8.
    """
    return _pad(_fit(image, size_px, geometry), size_px)


def adjust_contrast(image: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Change an image's contrast.

    Parameters
    ----------
    image : ndarray
        (h, w), uint8.
    contrast : {"none", "equalize", "clahe", "stretch"}
        "equalize": all grey values equally frequent. "clahe": the same within tiles, limited
        (Zuiderveld 1994, *Graphics Gems IV*, 474-485). "stretch": from the 1st to the 99th
        percentile, linearly.

    Returns
    -------
    ndarray
        (h, w), uint8.
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
    """Make of a file, or of an image already read, what a network is given.

    Contrast is adjusted after scaling and before padding: the black bars are no part of the hand
    and should not weigh in its histogram.

    Parameters
    ----------
    image : path or ndarray
        A file, or (h, w), uint8.
    size_px, geometry
        As in `resize`.
    contrast
        As in `adjust_contrast`.

    Returns
    -------
    ndarray
        (s, s), uint8.
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
