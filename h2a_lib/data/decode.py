"""From the content of an image file to 8-bit grey, white bone on black."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import kornia_rs
import numpy as np

from h2a_lib.data import dicom
from h2a_lib.data.grey import MAX_PIXELS, ImageError, Source, check_size, luma, scale_down

# A camera's MPO opens as JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "JPEG2000")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAGIC = {
    "TIFF": TIFF_MAGIC,
    "JPEG": (b"\xff\xd8\xff",),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "BMP": (b"BM",),
    "WebP": (b"RIFF",),
    "PNG": (PNG_MAGIC,),
}
OTHER_FORMATS = {
    "GIF": (b"GIF8",),
    "PDF": (b"%PDF",),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
}
# After the length of its first box: what phones make of a photograph.
HEIF_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftypavif")
GREY, RGB, GREY_ALPHA = 0, 2, 4  # PNG's colour types


def read(path: Path | str) -> np.ndarray:
    """Read a radiograph: PNG, JPEG, WebP, TIFF, BMP, JPEG 2000 or DICOM, of any depth or colour.

    Orientation (EXIF) is applied; transparency is laid on black, as a light box would show it;
    more than 8 bits are scaled down (see `grey.scale_down`); DICOM as its window and photometric
    interpretation say. Returns (h, w), uint8, white bone on black. An ImageError names the file:
    not there, not an image, truncated, damaged, too large, of a kind that is not read.
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
    """Decode an image file's content to (h, w), uint8; an ImageError as of `read`, but nameless."""
    if not content:
        raise ImageError("the file is empty")
    if content.startswith(PNG_MAGIC):
        header = _png_header(content)
        if header.is_plain:
            return _decode_plain_png(content, (header.height, header.width)), Source("PNG", 8)
        return _decode_png(content, header)
    if dicom.is_dicom(content):
        return dicom.decode(content)
    if content[:4] in TIFF_MAGIC and (layout := _deep_tiff(content)) is not None:
        return _guarded(_decode_deep_tiff, content, layout)
    return _guarded(_decode_by_pillow, content)


def _guarded(decoder, content: bytes, *more) -> tuple[np.ndarray, Source]:
    """Run a decoder; whatever it raises is an ImageError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return decoder(content, *more)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS:,} pixels in all") from None
    except Exception as error:
        # Arbitrary bytes make a decoder raise anything; whatever it is, this file is at fault.
        name = _format_of(content)
        if why := _kind_not_read(content):
            raise _not_read(name, why) from None
        if not isinstance(error, Image.UnidentifiedImageError):
            raise ImageError(f"damaged or truncated: {error}") from None
        if name in MAGIC:
            raise ImageError(
                f"a {name} file of a kind that is not read here, or a damaged one"
            ) from None
        what = f"a {name} file, which is not read here" if name else "not an image of a known kind"
        raise ImageError(what) from None


def _format_of(content: bytes) -> str:
    if content[4:12] in HEIF_BRANDS:
        return "HEIC or AVIF"
    known = MAGIC | OTHER_FORMATS
    return next((name for name, begins in known.items() if content.startswith(begins)), "")


def _not_read(name: str, why: str) -> ImageError:
    return ImageError(f"a {name} file of a kind that is not read here ({why})")


def _kind_not_read(content: bytes) -> str:
    """Return what of a JPEG or TIFF that could not be decoded no decoder here reads, or nothing."""
    if content.startswith(MAGIC["JPEG"]):
        return _jpeg_not_read(content)
    if content[:4] in TIFF_MAGIC and (tags := _tiff_tags(content)):
        return _tiff_not_read(content, tags)
    return ""


# --- PNG -----------------------------------------------------------------------------------------


class _PngHeader(NamedTuple):
    """What decides how a PNG is decoded; `key` is where and how long its tRNS chunk's data is."""

    width: int
    height: int
    depth: int
    colour: int
    is_plain: bool
    key: tuple[int, int] | None


def _png_header(content: bytes) -> _PngHeader:
    """Follow the chunks to the end mark, so that a file which ends too early is always refused.

    A plain PNG is 8-bit grey and nothing else, as most radiographs are.
    """
    if len(content) < 33:
        raise ImageError("truncated: the file ends within the PNG header")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    check_size(width, height)
    plain, key, position = depth == 8 and colour == GREY, None, 8
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IEND":
            return _PngHeader(width, height, depth, colour, plain, key)
        plain = plain and kind not in (b"tRNS", b"eXIf", b"acTL")
        if kind == b"tRNS":
            key = (position, length)
        position += length + 12
    raise ImageError("truncated: the PNG ends before its end mark")


def _decode_plain_png(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    # Rust's png crate by way of kornia-rs: 2.0 times as fast as OpenCV (libpng) on phantoms of
    # RSNA size and 3.0 times on the half-size RSNA images; benchmarks/ingest.py measures it.
    try:
        return kornia_rs.io.decode_image_png_u8(content, shape, "mono").reshape(shape)
    except Exception as error:  # PyO3 passes each of Rust's errors on as a bare Exception
        raise ImageError(f"damaged or truncated: {error}") from None


def _decode_png(content: bytes, header: _PngHeader) -> tuple[np.ndarray, Source]:
    """Decode a PNG that is not plain; its one transparent value, if it has one, becomes black.

    Decoders compare that value with samples that they have scaled already, or scale samples by it:
    so they are given the file without it.
    """
    key = None
    if header.key is not None and header.colour in (GREY, RGB):
        start, length = header.key
        if length != (2 if header.colour == GREY else 6):
            raise ImageError("damaged: the transparent value has another length than the samples")
        key = np.frombuffer(content, ">u2", length // 2, start + 8)
        content = content[:start] + content[start + length + 12 :]
    if header.depth == 16:
        return _guarded(_decode_deep_png, content, header, key)
    return _guarded(_decode_by_pillow, content, key, header.depth)


def _decode_deep_png(
    content: bytes, header: _PngHeader, key: np.ndarray | None
) -> tuple[np.ndarray, Source]:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
        _check_frames(getattr(opened, "n_frames", 1))
        orientation = opened.getexif().get(ORIENTATION, 1)
    values = _decode_by_opencv(content)
    if key is not None:
        samples = values[..., None] if values.ndim == 2 else values
        values[(samples == key).all(axis=-1)] = 0
    return _oriented(_grey_of(values, has_alpha=True), orientation), Source("PNG", 16)


# --- TIFF of more than 8 bits, or signed ---------------------------------------------------------

ORIENTATION, BITS, PHOTOMETRIC, SAMPLES, PLANAR = 274, 258, 262, 277, 284
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
COMPRESSION, STRIPS, TILES, IMAGE_DEPTH = 259, 273, 324, 32997
# Raw, CCITT, LZW, JPEG, Deflate, PackBits, LZMA, Zstandard; OpenCV is built without the last two.
PILLOW_UNPACKS = (1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946, 34925, 50000)
OPENCV_UNPACKS = (1, 5, 8, 32773, 32946)
JPEG = 7
COMPRESSIONS = {
    **{6: "JPEG of TIFF 6.0", JPEG: "JPEG", 34892: "JPEG of DNG", 34925: "LZMA", 34887: "LERC"},
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **{50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
COLOURS = {
    **{4: "a transparency mask", 8: "L*a*b*", 9: "L*a*b*", 10: "L*a*b*"},
    **{32803: "a colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"},
}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, TIFF_RGB = 0, 1, 2
UNASSOCIATED_ALPHA = 2
# Pillow keeps 8 bits of colour and of signed samples, and reads planes as if they were pixels.
OPENCV_READS = {UNSIGNED: (16, 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (32, 64)}


class _TiffLayout(NamedTuple):
    bits: int
    photometric: int
    samples: int
    orientation: int
    has_alpha: bool


def _deep_tiff(content: bytes) -> _TiffLayout | None:
    """Return the layout of a TIFF that Pillow cannot be trusted with; None for any other.

    An ImageError for a layout that no decoder here reads right.
    """
    if (tags := _tiff_tags(content)) is None:  # damaged: Pillow says how
        return None
    try:
        width, height = int(tags[256]), int(tags[257])
        bits, formats = tags.get(BITS, (1,)), tags.get(SAMPLE_FORMAT, (UNSIGNED,))
        bits, formats = (v if isinstance(v, tuple) else (v,) for v in (bits, formats))
        samples, planar = int(tags.get(SAMPLES, 1)), int(tags.get(PLANAR, 1))
        photometric, orientation = int(tags.get(PHOTOMETRIC, 1)), int(tags.get(ORIENTATION, 1))
        extra, slices = tags.get(EXTRA_SAMPLES, ()), int(tags.get(IMAGE_DEPTH, 1))
        compression = int(tags.get(COMPRESSION, 1))
    except (KeyError, TypeError, ValueError):
        return None
    if slices != 1:
        raise ImageError(f"a volume of {slices} slices, one image was expected")
    check_size(width, height)
    has_alpha = UNASSOCIATED_ALPHA in (extra if isinstance(extra, tuple) else (extra,))
    if set(formats) == {UNSIGNED} and max(bits) <= 8:
        if set(bits) <= {1, 2, 4, 8} and (
            planar == 1 or samples in (1, 3) or (samples == 4 and has_alpha)
        ):
            return None
    elif (
        len(set(bits)) == len(set(formats)) == 1
        and bits[0] in OPENCV_READS.get(formats[0], ())
        and (planar == 1 or samples == 1)
        and (
            (samples == 1 and photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO))
            or (samples in (3, 4) and photometric == TIFF_RGB)
        )
        and not (samples == 4 and bits[0] == 8)
    ):
        if tags.next:
            raise ImageError("has several pages, one was expected")
        if compression not in OPENCV_UNPACKS:
            raise _not_read("TIFF", _named(compression, bits[0]))
        return _TiffLayout(bits[0], photometric, samples, orientation, has_alpha)
    kind = {UNSIGNED: "", SIGNED: " signed", FLOAT: " floating-point"}.get(formats[0], " other")
    planes = ", in separate planes" if planar != 1 and samples > 1 else ""
    raise _not_read("TIFF", f"{samples} x {bits[0]}{kind} bits{planes}")


def _tiff_tags(content: bytes) -> Any:
    """Return the tags of a TIFF's first page, as Pillow keeps them; None if it is damaged."""
    from PIL import TiffImagePlugin

    try:
        is_big = content[2:4] in (b"+\0", b"\0+")
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if is_big else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
    except Exception:  # as in `_guarded`
        return None
    return tags


def _tiff_not_read(content: bytes, tags: Any) -> str:
    """Return what no decoder here reads of a TIFF: its colours, or how it is compressed."""
    photometric, compression = tags.get(PHOTOMETRIC, 1), tags.get(COMPRESSION, 1)
    if photometric in COLOURS:
        return f"stored as {COLOURS[photometric]}"
    if compression == JPEG:
        first = tags.get(STRIPS) or tags.get(TILES) or (len(content),)
        why = _jpeg_not_read(content[first[0] :])
        return f"JPEG, {why}" if why else ""
    if compression not in PILLOW_UNPACKS:
        return _named(compression)
    return ""


def _named(compression: int, bits: int = 8) -> str:
    name = COMPRESSIONS.get(compression, f"number {compression}")
    return f"compression {name}" + (f" of {bits} bits" if bits != 8 else "")


def _decode_deep_tiff(content: bytes, layout: _TiffLayout) -> tuple[np.ndarray, Source]:
    values = _decode_by_opencv(content)
    if values.ndim != (2 if layout.samples == 1 else 3):
        raise _not_read("TIFF", f"{layout.samples} x {layout.bits} bits")
    if layout.photometric == WHITE_IS_ZERO and layout.bits == 8:
        values = ~values  # of 8 bits, OpenCV has turned them round already
    grey = _grey_of(values, layout.has_alpha)
    if layout.photometric == WHITE_IS_ZERO:
        grey = 255 - grey
    return grey, Source("TIFF", layout.bits)


# --- JPEG ----------------------------------------------------------------------------------------

LOSSLESS, ARITHMETIC_LOSSLESS, JPEG_LS = 0xC3, 0xCB, 0xF7
HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
# Those of a frame, by ITU-T T.81, table B.1: C4, C8 and CC are no frames.
FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}


def _jpeg_not_read(content: bytes) -> str:
    """Return what of a JPEG's first frame no decoder here reads, or nothing."""
    position = 2
    while position + 5 <= len(content) and content[position] == 0xFF:
        marker, length = struct.unpack_from(">xBH", content, position)
        if marker in FRAMES:
            bits = content[position + 4]
            if marker == JPEG_LS:
                return "JPEG-LS"
            if marker in HIERARCHICAL:
                return "hierarchical"
            if marker == ARITHMETIC_LOSSLESS:
                return "lossless, arithmetic coding"
            return f"{'lossless, ' if marker == LOSSLESS else ''}{bits} bits" if bits != 8 else ""
        position += length + 2
    return ""


# --- any file ------------------------------------------------------------------------------------


def _decode_by_opencv(content: bytes) -> np.ndarray:
    """Return the samples as they are stored: (h, w) or (h, w, 3 or 4), red first."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ImageError("damaged or truncated")
    return values if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]


def _grey_of(values: np.ndarray, has_alpha: bool) -> np.ndarray:
    """Bring samples of any depth to 8-bit grey, (h, w); alpha is laid on black."""
    if values.ndim == 2:
        return scale_down(values)
    colours = values[..., :3]
    if has_alpha and values.shape[2] == 4:
        is_integer = np.issubdtype(values.dtype, np.integer)
        full = np.iinfo(values.dtype).max if is_integer else 1
        laid = colours * (values[..., 3:] / full)
        colours = (np.rint(laid) if is_integer else laid).astype(values.dtype)
    return luma(scale_down(colours))


def _oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image as EXIF's orientation, 1 to 8, says."""
    if orientation >= 5:
        image = image.T
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _check_frames(n: int) -> None:
    if n != 1:
        raise ImageError(f"has {n} pages, one was expected")


def _decode_by_pillow(
    content: bytes, key: np.ndarray | None = None, depth: int = 8
) -> tuple[np.ndarray, Source]:
    """Decode up to 8 bits a sample; `key` is the transparent value, of `depth` bits a sample."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        check_size(*opened.size)
        # A camera's MPO holds its picture first, then previews.
        if opened.format != "MPO":
            _check_frames(getattr(opened, "n_frames", 1))
        kind = str(opened.format)
        image = ImageOps.exif_transpose(opened)
        if kind == "JPEG2000" and image.mode in ("RGB", "RGBA", "LA") and _jp2_bits(content) > 8:
            values = _decode_by_opencv(content)
            return _grey_of(values, has_alpha=True), Source(kind, _jp2_bits(content))
        if image.mode == "La":  # associated alpha: laid on black as it is stored
            image = image.getchannel(0)
        if image.has_transparency_data:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image.convert("RGBA"))
        if image.mode.startswith(("I", "F")):
            values = np.asarray(image)
            return scale_down(values), Source(kind, 16)
        bits = 1 if image.mode == "1" else 8
        grey = np.array(image.convert("L"))
        if key is not None:
            samples = np.asarray(image.convert("L") if len(key) == 1 else image.convert("RGB"))
            samples = samples[..., None] if samples.ndim == 2 else samples
            grey[(samples == key * (255 // (2**depth - 1))).all(axis=-1)] = 0
    return np.ascontiguousarray(grey), Source(kind, bits)


def _jp2_bits(content: bytes) -> int:
    """Return the bits a sample of a JPEG 2000 file's first component."""
    start = content.find(b"\xff\x4f\xff\x51")  # SOC and SIZ markers
    return (content[start + 42] & 0x7F) + 1 if 0 <= start < len(content) - 42 else 8
