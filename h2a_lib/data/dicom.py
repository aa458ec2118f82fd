"""DICOM radiographs to 8-bit grey, as their own attributes say they should be shown."""

import io
from typing import TYPE_CHECKING

import numpy as np

from h2a_lib.data.grey import ImageError, Source, as_8_bit, check_size, luma

if TYPE_CHECKING:
    from pydicom import Dataset


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file; one without preamble begins with an element of group 0002 or 0008."""
    return content[128:132] == b"DICM" or content[:2] in (b"\x02\0", b"\x08\0")


def decode(content: bytes) -> tuple[np.ndarray, Source]:
    """Decode a DICOM file's content: rescale, then window, then polarity (PS3.4, annex N.2).

    Returns (h, w), uint8, white bone on black, and its bits stored; an ImageError if it is damaged,
    holds no image or several, or its compression is not known.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if not dataset.get("PixelData"):
            raise ImageError("a DICOM file without an image (it has no pixel data)")
        if missing := [name for name in _REQUIRED if dataset.get(name) in (None, "")]:
            raise ImageError(
                f"a DICOM file that does not say how to read its image: no {missing[0]}"
            )
        check_size(int(dataset.Columns), int(dataset.Rows))
        if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
            raise ImageError(f"has {frames} frames, one was expected")
        _complete(dataset)
        _drop_empty(dataset)
        return _show(dataset), Source("DICOM", int(dataset.BitsStored))
    except ImageError:
        raise
    except Exception as error:
        # Arbitrary bytes make a parser raise anything; whatever it is, this file is at fault.
        # The first line: a decoder's plugins say the same thing in a line each.
        first = str(error).split("\n", 1)[0].rstrip(":")
        raise ImageError(f"a damaged DICOM file, or one of a kind not read: {first}") from None


def _complete(dataset: "Dataset") -> None:
    """Fill in the encoding of a file without preamble, as the parser has found it to be."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax


_REQUIRED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)
_OPTIONAL = (
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "ModalityLUTSequence", "VOILUTSequence"),
)


def _drop_empty(dataset: "Dataset") -> None:
    """Remove elements that are there without a value: they count as absent."""
    for name in _OPTIONAL:
        if name not in dataset:
            continue
        value = dataset[name].value
        if name.endswith("LUTSequence"):
            is_empty = not value or not value[0].get("LUTData")
        else:
            is_empty = value is None or value == ""
        if is_empty:
            del dataset[name]


def _show(dataset: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_color_lut, apply_modality_lut
    from pydicom.uid import JPEGExtended12Bit

    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
        dataset.PixelData = _with_full_spectrum(dataset.PixelData)
    pixels = dataset.pixel_array  # (h, w) or (h, w, 3)
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)
        return luma(as_8_bit(colours, 0, np.iinfo(colours.dtype).max))
    if pixels.ndim == 3:
        # pixel_array has turned YBR into RGB already.
        return luma(as_8_bit(pixels, 0, 2 ** int(dataset.BitsStored) - 1))
    padding = _padding(pixels, dataset)
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        grey = as_8_bit(*_apply_lookup_table(values, dataset))
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        grey = as_8_bit(_windowed(values, dataset), 0, 1)
    else:
        exposed = values[~padding]
        grey = as_8_bit(values, *((exposed.min(), exposed.max()) if exposed.size else (0, 0)))
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    grey[padding] = 0
    return grey


def _with_full_spectrum(data: bytes) -> bytes:
    """Set a JPEG scan's last coefficient to 63 where an old writer left 0, which says "DC only".

    The scan header (ITU-T T.81, B.2.3): length, n, n times (component, tables), Ss, Se, Ah and Al.
    """
    scan = data.find(b"\xff\xda")
    end = scan + 5 + 2 * data[scan + 4] if 0 <= scan < len(data) - 4 else len(data)
    if data[end : end + 3] == b"\0\0\0":
        return data[: end + 1] + b"\x3f" + data[end + 2 :]
    return data


def _apply_lookup_table(values: np.ndarray, dataset: "Dataset") -> tuple[np.ndarray, float, float]:
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
    center, width = (
        float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
    )
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


def _padding(pixels: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """Return where an image is padded, (h, w) bool: a value, or a range (PS3.3, C.7.5)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(pixels.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit", first)
    # What is stored signed may be written here as unsigned.
    bits = int(dataset.BitsAllocated)
    if dataset.PixelRepresentation:
        first, last = (v - 2**bits if v >= 2 ** (bits - 1) else v for v in (first, last))
    return (pixels >= min(first, last)) & (pixels <= max(first, last))
