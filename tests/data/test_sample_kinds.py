"""Every way in which samples are stored: read as NumPy says, or refused in words, never wrong."""

import io
import itertools
import re
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


ALPHA = ("opaque", "unassalpha", "assocalpha", "unspecified")
TIFFS = [
    (dtype, order, channels, kind, planar, used, signed)
    for dtype, order, channels, planar, used in itertools.product(
        ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"),
        "<>",
        (1, 2, 3, 4),
        ("contig", "separate"),
        (1.0, 1 / 16),
    )
    for kind in {1: ("minisblack", "miniswhite"), 3: ("rgb",)}.get(channels, ALPHA)
    for signed in ((False, True) if dtype[0] in "if" else (False,))
    if not (channels == 1 and planar == "separate")
]


def may_be_refused(dtype: str, channels: int, kind: str, planar: str) -> bool:
    if dtype == "u1":
        return planar == "separate" and (channels == 2 or kind in ("assocalpha", "unspecified"))
    return planar == "separate" or channels == 2 or dtype == "f2" or (dtype, channels) == ("i1", 4)


@pytest.mark.parametrize("dtype", sorted({case[0] for case in TIFFS}))
def test_tiff_of_every_kind(dtype):
    full = np.iinfo(dtype).max if dtype[0] in "iu" else 1
    for case in (case for case in TIFFS if case[0] == dtype):
        _, order, channels, kind, planar, used, signed = case
        values = ramp(dtype, channels, used, signed)
        colours = (values[..., :1] if channels < 3 else values[..., :3]).astype(float)
        if channels in (2, 4):
            share = np.linspace(0, 1, values[..., 0].size).reshape(*SHAPE, 1)
            alpha = np.ones_like(share) if kind == "opaque" else np.rint(share * 255) / 255
            values[..., -1:] = np.clip(alpha * full, None, np.nextafter(float(full), 0) or full)
            if kind == "assocalpha":  # stored as it looks on black
                values[..., :-1] = colours * alpha
                colours = values[..., :-1].astype(float)
            elif kind != "unspecified":
                colours = colours * alpha
        stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            stored[..., 0] if channels == 1 else stored,
            byteorder=order,
            photometric="rgb" if channels >= 3 else kind if channels == 1 else "minisblack",
            planarconfig=None if channels == 1 else planar,
            extrasamples=[kind.replace("opaque", "unassalpha")] if channels in (2, 4) else None,
        )
        try:
            image, source = decode.decode(buffer.getvalue())
        except ImageError as error:
            assert NOT_READ in error.what, case
            assert may_be_refused(dtype, channels, kind, planar), case
            continue
        # The file as another reader has it is the file that was meant.
        again = tifffile.imread(io.BytesIO(buffer.getvalue()))
        assert (again.reshape(stored.shape) == stored).all()
        want = expected(colours, 8 * np.dtype(dtype).itemsize if dtype[0] != "f" else 64)
        want = 255 - want if kind == "miniswhite" else want
        assert np.abs(image - want).max() <= 1.6, case
        assert source.bits == 8 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", range(1, 17))
def test_tiff_of_every_depth(bits, photometric):
    """tifffile writes no other depths than whole bytes."""
    values = np.random.default_rng(3).integers(0, 2**bits, HAND.shape)
    values[0, 0] = 2**bits - 1
    unpacked = np.unpackbits(values.astype(">u2").view("u1").reshape(*HAND.shape, 2), axis=2)
    rows = np.packbits(unpacked[..., 16 - bits :].reshape(len(HAND), -1), axis=1)
    data = values.astype("<u2").tobytes() if bits == 16 else rows.tobytes()
    content = in_tiff(data, 1, bits, _262=photometric)
    if bits not in (1, 2, 4, 8, 16):
        with pytest.raises(ImageError, match=re.escape(f"{NOT_READ} (1 x {bits} bits)")):
            decode.decode(content)
        return
    want = expected(values[..., None], bits)
    assert np.abs(decode.decode(content)[0] - (want if photometric else 255 - want)).max() <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_tiff_with_a_palette_has_its_colours_or_is_refused(dtype):
    values = np.arange(256, dtype=dtype).reshape(8, 32)
    n = 2 ** (8 * values.itemsize)
    palette = np.random.default_rng(4).integers(0, 2**16, (3, n)).astype("u2")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="palette", colormap=palette)
    if dtype == "u2":
        with pytest.raises(ImageError, match=NOT_READ):
            decode.decode(buffer.getvalue())
        return
    want = (palette[:, values] / 257).T @ [0.299, 0.587, 0.114]
    assert np.abs(decode.decode(buffer.getvalue())[0] - want.T).max() <= 1.6


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
        (
            "flower-rgb-planar-16.tif",
            "a TIFF file of a kind that is not read here (3 x 16 bits, in",
        ),
        ("flower-minisblack-12.tif", "a TIFF file of a kind that is not read here (1 x 12 bits)"),
        ("monkey12.jpg", "a JPEG file of a kind that is not read here (12 bits)"),
    ],
)
def test_a_kind_that_is_not_read_is_called_so(name, kind):
    with pytest.raises(ImageError, match=re.escape(kind)):
        decode.read(FILES / name)


# --- files made here, of kinds that hardly any program writes ------------------------------------

HAND = (np.add.outer(np.arange(32), np.arange(24)) * 4).astype("u1")
LOSSLESS, HIERARCHICAL, ARITHMETIC_LOSSLESS, JPEG_LS = 0xC3, 0xC5, 0xCB, 0xF7
CCITT_4, OLD_JPEG, JPEG, LZMA, JPEG_2000, WEBP = 4, 6, 7, 34925, 34712, 50001


def lossless_jpeg(values: np.ndarray, bits: int, frame: int = LOSSLESS) -> bytes:
    """Encode (h, w) as ITU-T T.81 annex H says: predictor 1, Huffman codes of five bits each."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    code, (height, width) = "", values.shape
    for y, x in np.ndindex(height, width):
        above = int(values[y - 1, 0]) if y else 1 << (bits - 1)
        difference = int(values[y, x]) - (int(values[y, x - 1]) if x else above)
        n = abs(difference).bit_length()
        code += f"{n:05b}"
        if n:
            code += f"{difference if difference > 0 else difference + (1 << n) - 1:0{n}b}"
    code += "1" * (-len(code) % 8)
    data = int(code, 2).to_bytes(len(code) // 8).replace(b"\xff", b"\xff\0")
    huffman = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    sizes = struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0)
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    head = b"\xff\xd8" + segment(0xC4, huffman) + segment(frame, sizes)
    return head + scan + data + b"\xff\xd9"


def in_tiff(data: bytes, compression: int, bits: int = 8, **tags: int) -> bytes:
    """Wrap a strip as TIFF; tags by number override the usual ones."""
    entries = {256: HAND.shape[1], 257: HAND.shape[0], 258: bits, 259: compression, 262: 1}
    entries |= {273: 0, 277: 1, 278: HAND.shape[0], 279: len(data)}
    entries |= {int(key[1:]): value for key, value in tags.items()}
    n = len(entries)
    entries[273] = 8 + 2 + 12 * n + 4
    packed = [struct.pack("<HHII", key, 4, 1, value) for key, value in sorted(entries.items())]
    return struct.pack("<2sHIH", b"II", 42, 8, n) + b"".join(packed) + bytes(4) + data


def test_lossless_jpeg_of_8_bits_is_read_alone_and_in_tiff():
    content = lossless_jpeg(HAND, 8)
    assert (decode.decode(content)[0] == HAND).all()
    assert (decode.decode(in_tiff(content, JPEG))[0] == HAND).all()


def test_cmyk_is_read():
    from PIL import Image

    for form in ("TIFF", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(HAND).convert("CMYK").save(file, form)
        assert np.abs(decode.decode(file.getvalue())[0].astype(int) - HAND).max() <= 3


MONKEY = (FILES / "monkey12.jpg").read_bytes()
DEEP = HAND.astype("u2") << 8
RAW, RAW_16 = HAND.tobytes(), DEEP.tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lossless_jpeg(HAND.astype("u2") << 4, 12), "a JPEG file of .* (lossless, 12 bits)"),
        (lossless_jpeg(DEEP, 16), "a JPEG file of .* (lossless, 16 bits)"),
        (lossless_jpeg(HAND, 8, HIERARCHICAL), "a JPEG file of .* (hierarchical)"),
        (lossless_jpeg(HAND, 8, ARITHMETIC_LOSSLESS), "a JPEG file of .* (lossless, arithmetic"),
        (lossless_jpeg(HAND, 8, JPEG_LS), "a JPEG file of .* (JPEG-LS)"),
        (in_tiff(MONKEY, JPEG, 12), "a TIFF file of .* (1 x 12 bits)"),
        (in_tiff(MONKEY, JPEG), "a TIFF file of .* (JPEG, 12 bits)"),
        (in_tiff(lossless_jpeg(DEEP, 16), JPEG, 16), "a TIFF file of .* (compression JPEG of 16"),
        (in_tiff(RAW, JPEG_2000), "a TIFF file of .* (compression JPEG 2000)"),
        (in_tiff(RAW_16, JPEG_2000, 16), "a TIFF file of .* (compression JPEG 2000 of 16 bits)"),
        (in_tiff(RAW_16, LZMA, 16), "a TIFF file of .* (compression LZMA of 16 bits)"),
        (in_tiff(RAW, OLD_JPEG), "a TIFF file of .* (compression JPEG of TIFF 6.0)"),
        (in_tiff(RAW, WEBP), "a TIFF file of .* (compression WebP)"),
        (in_tiff(RAW, 65000), "a TIFF file of .* (compression number 65000)"),
        (in_tiff(RAW, 1, _262=32803), "a TIFF file of .* (stored as a colour filter array)"),
        (in_tiff(RAW * 3, 1, _262=8, _277=3), "a TIFF file of .* (stored as L*a*b*)"),
        (in_tiff(RAW * 3, 1, _32997=3), "a volume of 3 slices, one image was expected"),
        (b"GIF89a" + bytes(20), "a GIF file, which is not read here"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC or AVIF file, which is not read here"),
        (b"\xff\x0a" + bytes(20), "a JPEG XL file, which is not read here"),
        (b"%PDF-1.7" + bytes(20), "a PDF file, which is not read here"),
    ],
)
def test_what_no_decoder_here_reads_is_named(content, message):
    with pytest.raises(ImageError, match=re.escape(message).replace(r"\.\*", ".*")):
        decode.decode(content)


@pytest.mark.parametrize("content", [in_tiff(b"", 1), in_tiff(RAW[:9], CCITT_4), MONKEY[:20]])
def test_what_is_cut_off_is_not_called_a_kind(content):
    with pytest.raises(ImageError, match=r"damaged"):
        decode.decode(content)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_several_pages_are_rejected(dtype):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([HAND.astype(dtype)] * 2), photometric="minisblack")
    with pytest.raises(ImageError, match=r"(2|several) pages, one was expected"):
        decode.decode(buffer.getvalue())


def test_too_many_pixels_are_rejected_in_our_words(tmp_path):
    from PIL import Image

    whole = io.BytesIO()
    Image.new("L", (8, 8)).save(whole, "BMP")
    for side in (10_000, 40_000):
        content = bytearray(whole.getvalue())
        struct.pack_into("<ii", content, 18, side, side)
        with pytest.raises(ImageError, match="more than 89,478,485"):
            decode.decode(bytes(content))
