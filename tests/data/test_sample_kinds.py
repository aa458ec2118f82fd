"""Every way in which samples are stored: read as NumPy says, or refused in words, never wrong."""

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from h2a_lib.data import decode
from h2a_lib.data.grey import ImageError

FILES = Path(__file__).parent / "files"
SHAPE = (12, 17)
NOT_READ = "of a kind that is not read here"


def ramp(dtype: str, channels: int, used: float, signed: bool) -> np.ndarray:
    """(h, w, channels): from 0, or from minus to plus, over a share of the range of the type."""
    rng = np.random.default_rng(1)
    unit = np.stack([rng.permutation(SHAPE[0] * SHAPE[1]) for _ in range(channels)], -1)
    unit = unit.reshape(*SHAPE, channels) / (SHAPE[0] * SHAPE[1] - 1)
    kind = np.dtype(dtype)
    full = float(np.iinfo(kind).max) if kind.kind in "iu" else 1000.0
    values = (unit * 2 - 1 if signed else unit) * full * used
    return np.clip(values, None, np.nextafter(full, 0)).astype(kind)


def expected(values: np.ndarray, depth: int) -> np.ndarray:
    """What (h, w, channels) unsigned samples of `depth` bits, or others, look like in grey."""
    values = values.astype(float)
    if depth < 8:
        scaled = values * 255 / (2**depth - 1)
    elif depth <= 16 and values.min() >= 0:
        used = next(b for b in (8, 10, 12, 14, 16) if values.max() < 2**b)
        scaled = values * 255 / (2**used - 1)
    else:
        scaled = (values - values.min()) * 255 / max(values.max() - values.min(), 1e-300)
    return scaled @ [0.299, 0.587, 0.114] if values.shape[2] == 3 else scaled[..., 0]


TIFFS = [
    (dtype, order, channels, planar, used, signed)
    for dtype, order, channels, planar, used in itertools.product(
        ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"),
        "<>",
        (1, 2, 3, 4),
        ("contig", "separate"),
        (1.0, 1 / 16),
    )
    for signed in ((False, True) if dtype[0] in "if" else (False,))
    if not (channels == 1 and planar == "separate")
]


def may_be_refused(dtype: str, channels: int, planar: str) -> bool:
    if dtype == "u1":
        return (channels, planar) == (2, "separate")
    return planar == "separate" or channels == 2 or dtype == "f2" or (dtype, channels) == ("i1", 4)


@pytest.mark.parametrize("dtype", sorted({case[0] for case in TIFFS}))
def test_tiff_of_every_kind(dtype):
    for _, order, channels, planar, used, signed in (case for case in TIFFS if case[0] == dtype):
        values = ramp(dtype, channels, used, signed)
        colours = values[..., :1] if channels < 3 else values[..., :3]
        if channels in (2, 4):  # opaque
            values[..., -1] = np.iinfo(dtype).max if dtype[0] in "iu" else 1
        stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            stored[..., 0] if channels == 1 else stored,
            byteorder=order,
            photometric="rgb" if channels >= 3 else "minisblack",
            planarconfig=None if channels == 1 else planar,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )
        case = (dtype, order, channels, planar, used, signed)
        try:
            image, source = decode.decode(buffer.getvalue())
        except ImageError as error:
            assert NOT_READ in error.what, case
            assert may_be_refused(dtype, channels, planar), case
            continue
        # The file as another reader has it is the file that was meant.
        again = tifffile.imread(io.BytesIO(buffer.getvalue()))
        assert (again.reshape(stored.shape) == stored).all()
        want = expected(colours, 8 * np.dtype(dtype).itemsize if dtype[0] != "f" else 64)
        assert np.abs(image - want).max() <= 1.6, case
        assert source.bits == 8 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_white_is_zero_and_orientation_of_16_bits(bits):
    values = ramp("u2", 1, 2**bits / 2**16, signed=False)[..., 0]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, values, photometric="miniswhite", extratags=[(274, 3, 1, 6, True)], compression=None
    )
    image, _ = decode.decode(buffer.getvalue())
    want = 255 - expected(values[..., None], 16)
    assert np.abs(image - np.rot90(want, -1)).max() <= 1


# --- PNG -----------------------------------------------------------------------------------------

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}


def png(values: np.ndarray, depth: int, colour: int, key: np.ndarray | None = None) -> bytes:
    """Write (h, w, channels) samples as the specification says, with no library's help."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    height, width, _ = values.shape
    if depth == 16:
        rows = values.astype(">u2").reshape(height, -1).view("u1").reshape(height, -1)
    else:
        bits = np.unpackbits(values.astype("u1").reshape(height, -1, 1), axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    transparent = b"" if key is None else chunk(b"tRNS", key.astype(">u2").tobytes())
    body = chunk(b"IDAT", zlib.compress(data))
    return decode.PNG_MAGIC + chunk(b"IHDR", header) + transparent + body + chunk(b"IEND", b"")


PNGS = [
    (colour, depth, has_key, used)
    for colour, depth, has_key in itertools.product(CHANNELS, (1, 2, 4, 8, 16), (False, True))
    for used in ((16, 14, 12, 10, 8) if depth == 16 else (depth,))
    if (colour == GREY or depth >= 8) and not (has_key and colour >= GREY_ALPHA)
]


@pytest.mark.parametrize(("colour", "depth", "has_key", "used"), PNGS)
def test_png_of_every_kind(colour, depth, has_key, used):
    rng = np.random.default_rng(2)
    values = rng.integers(0, 2**used, (*SHAPE, CHANNELS[colour]))
    values[-1, -1] = 2**used - 1
    colours = values[..., :1] if colour in (GREY, GREY_ALPHA) else values[..., :3]
    key = None
    if has_key:
        key = values[0, 0]
        colours = np.where((values == key).all(-1, keepdims=True), 0, values)
    content = png(values, depth, colour, key)
    if colour >= GREY_ALPHA:
        values[..., -1] = np.where(rng.random(SHAPE) < 0.5, 0, 2**depth - 1)
        content = png(values, depth, colour)
        colours = np.where(values[..., -1:] == 0, 0, colours)
    image, source = decode.decode(content)
    assert np.abs(image - expected(colours, depth)).max() <= 1.6
    assert source.format == "PNG"


# --- public test files ---------------------------------------------------------------------------


def test_a_transparent_value_of_16_bits_is_black_and_the_rest_is_scaled():
    image = decode.read(FILES / "tbwn0g16.png")
    assert image[0, 0] == 0 and image.max() >= 250 and len(np.unique(image)) > 50


def test_a_transparent_value_of_4_bits_is_black():
    image = decode.read(FILES / "tbbn0g04.png")
    assert image[0, 0] == 0


def test_12_bits_in_16_bit_colour_use_the_whole_range():
    image = decode.read(FILES / "rgb16-12bits.png")
    assert (image.min(), image.max()) == (0, 255)


def test_a_ramp_of_32_bits_is_a_ramp():
    image = decode.read(FILES / "gradient-1c-32b.tiff").ravel().astype(int)
    assert (image[0], image[-1]) == (0, 255)
    assert (np.diff(image) >= 0).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("flower-rgb-planar-16.tif", "a TIFF of a kind"),
        ("flower-minisblack-12.tif", "a TIFF of a kind"),
        ("monkey12.jpg", "a JPEG file of a kind"),
    ],
)
def test_a_kind_that_is_not_read_is_called_so(name, kind):
    with pytest.raises(ImageError, match=kind):
        decode.read(FILES / name)


def test_too_many_pixels_are_said_in_our_words(tmp_path):
    from PIL import Image

    whole = io.BytesIO()
    Image.new("L", (8, 8)).save(whole, "BMP")
    for side in (10_000, 40_000):
        content = bytearray(whole.getvalue())
        struct.pack_into("<ii", content, 18, side, side)
        with pytest.raises(ImageError, match="more than 89,478,485"):
            decode.decode(bytes(content))
