"""DICOM radiographs to 8-bit grey, as their own attributes say they should be shown."""

import io
from typing import TYPE_CHECKING

import numpy as np

from h2a_lib.data.images import ImageError, Source, as_8_bit, check_size

if TYPE_CHECKING:
    from pydicom import Dataset


def decode(content: bytes) -> tuple[np.ndarray, Source]:
    """Decode a DICOM file's content: rescale, then window, then polarity (PS3.4, annex N.2).

    Returns
    -------
    image : ndarray
        (h, w), uint8, white bone on black.
    source : Source
        "DICOM" and its bits stored.

    Raises
    ------
    ImageError
        If it is damaged, holds no image or several, or its compression is not known.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if "PixelData" not in dataset:
            raise ImageError("a DICOM file without an image")
        check_size(int(dataset.Columns), int(dataset.Rows))
        if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
            raise ImageError(f"has {frames} frames, one was expected")
        _complete(dataset)
        return _show(dataset), Source("DICOM", int(dataset.BitsStored))
    except ImageError:
        raise
    except Exception as error:
        # Arbitrary bytes make a parser raise anything; whatever it is, this file is at fault.
        raise ImageError(f"a damaged DICOM file, or one not understood: {error}") from None


def _complete(dataset: "Dataset") -> None:
    """Fill in the encoding of a file without preamble, as the parser has found it to be."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        found = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = found


def _show(dataset: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    pixels = dataset.pixel_array
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)
        return _grey(as_8_bit(colours, 0, np.iinfo(colours.dtype).max))
    if pixels.ndim == 3:
        # pixel_array has turned YBR into RGB already.
        return _grey(as_8_bit(pixels, 0, 2 ** int(dataset.BitsStored) - 1))
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        grey = as_8_bit(*_looked_up(values, dataset))
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        grey = as_8_bit(_windowed(values, dataset), 0, 1)
    else:
        grey = as_8_bit(values, *_range(values, pixels, dataset))
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _looked_up(values: np.ndarray, dataset: "Dataset") -> tuple[np.ndarray, float, float]:
    """Look values up in the first table: (h, w), and least and most (PS3.3, C.11.2.1.1)."""
    from pydicom.pixels import apply_voi

    table = dataset.VOILUTSequence[0]
    n, first, bits = table.LUTDescriptor
    # pydicom 3.0 counts in as many bits as an entry has: of 4,096 entries of 8 bits it finds 256.
    table.LUTDescriptor = [n, first, 16]
    # Rescaled values may be negative, and lie beyond the table.
    within = np.clip(np.rint(values), first, first + (n or 2**16) - 1).astype(np.int64)
    return apply_voi(within, dataset), 0, 2 ** int(bits) - 1


def _windowed(values: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """Apply the first window: (h, w), float, shown from 0 to 1 (PS3.3, C.11.2.1.2 and .3)."""
    center, width = (float(np.atleast_1d(dataset[k].value)[0]) for k in _WINDOW)
    values = values.astype(np.float32)
    match dataset.get("VOILUTFunction") or "LINEAR":
        case "SIGMOID":
            return 1 / (1 + np.exp(-4 * (values - center) / width))
        case "LINEAR_EXACT":
            return (values - center) / width + 0.5
    # LINEAR counts from the middle of a grey value to the middle of another.
    if width <= 1:
        return (values > center - 0.5).astype(np.float32)
    return (values - (center - 0.5)) / (width - 1) + 0.5


_WINDOW = ("WindowCenter", "WindowWidth")


def _range(values: np.ndarray, pixels: np.ndarray, dataset: "Dataset") -> tuple[float, float]:
    """Return least and most of what is shown; the padding around an image is not."""
    padding = dataset.get("PixelPaddingValue")
    shown = values if padding is None else values[pixels != padding]
    return (float(shown.min()), float(shown.max())) if shown.size else (0.0, 0.0)


def _grey(colours: np.ndarray) -> np.ndarray:
    """Return the luma (ITU-R BT.601) of (h, w, 3), as Pillow and OpenCV do."""
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(colours[..., :3]), cv2.COLOR_RGB2GRAY)
