"""Image files that are damaged, cut, not images, or bombs: an error that says so, or an image.

The same ones on every machine.
"""

import io
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import cv2
import numpy as np
import pytest
from damage import attempt
from data_folders import picture
from dicoms import content as content_of
from dicoms import dicom
from PIL import Image

from h2a_lib.data import decode, images  # noqa: F401 (what the forks use is imported before them)

DRAWS = 20


def saved(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(1, 120, 90)).save(stream, kind, **options)
    return stream.getvalue()


def coloured_png() -> bytes:
    colours = np.stack([picture(k, 80, 60) for k in range(3)], axis=2)
    return cv2.imencode(".png", colours)[1].tobytes()


def deep_png() -> bytes:
    return cv2.imencode(".png", picture(2, 80, 60).astype(np.uint16) * 16)[1].tobytes()


def a_dicom(**attributes: int) -> bytes:
    image = picture(3, 64, 48).astype(np.uint16) * 16
    return content_of(dicom(image, WindowCenter=2048, WindowWidth=4096, **attributes))


SOUND = {
    "PNG": saved("PNG"),
    "PNG in colour": coloured_png(),
    "PNG of 16 bits": deep_png(),
    "JPEG": saved("JPEG"),
    "WebP": saved("WEBP"),
    "TIFF": saved("TIFF", compression="tiff_lzw"),
    "BMP": saved("BMP"),
    "JPEG 2000": saved("JPEG2000"),
    "DICOM": a_dicom(),
}


# --- how they are damaged ------------------------------------------------------------------------


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def with_a_bit_flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def with_bytes_overwritten(content: bytes, chance: random.Random) -> bytes:
    at, n = chance.randrange(len(content)), chance.randint(1, 200)
    return content[:at] + chance.randbytes(n) + content[at + n :]


def with_its_head_overwritten(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(2, 40)
    return content[:at] + chance.randbytes(chance.randint(1, 8)) + content[at + 8 :]


def with_a_piece_missing(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + content[at + chance.randint(1, 100) :]


def with_a_piece_twice(content: bytes, chance: random.Random) -> bytes:
    at, n = chance.randrange(len(content)), chance.randint(1, 2000)
    return content[: at + n] + content[at:]


def with_zero_bytes(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes(len(content) - at)


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated,
    with_a_bit_flipped,
    with_bytes_overwritten,
    with_its_head_overwritten,
    with_a_piece_missing,
    with_a_piece_twice,
    with_zero_bytes,
)


def damaged() -> Iterator[tuple[str, str, bytes]]:
    """Yield kind, damage and content: 9 kinds x 7 damages x 20 draws."""
    for kind, content in SOUND.items():
        for damage in DAMAGES:
            for seed in range(DRAWS):
                changed = damage(content, random.Random(f"{kind} {damage.__name__} {seed}"))
                if changed != content:
                    yield kind, damage.__name__, changed


# --- and what comes of it ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_damaged_image_is_an_error_or_an_image(tmp_path):
    observed, wrong = Counter(), []
    whole = {kind: decode.decode(content)[0] for kind, content in SOUND.items()}
    cases = list(damaged())
    assert len(cases) > 1200
    for kind, damage, content in cases:
        try:
            outcome = attempt(lambda c=content: decode.decode(c)[0], tmp_path)
        except AssertionError as error:
            wrong.append(f"{kind} {damage}: {error}")
            continue
        observed["refused" if outcome.error else "read"] += 1
        if outcome.error is None:
            image = outcome.result
            assert image.dtype == np.uint8 and image.ndim == 2 and image.size
            # The other formats hold no check sums, so that another picture may come of it.
            if kind.startswith("PNG") and not np.array_equal(image, whole[kind]):
                wrong.append(f"{kind} {damage}: its check sums were not heeded")
    print(f"\n{len(cases)} images: {dict(observed)}")
    assert not wrong, wrong


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, width: int = 64, height: int = 64) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return decode.PNG_MAGIC + header + b"".join(chunks) + chunk(b"IEND", b"")


def with_size(kind: str, at: int, form: str, *size: int) -> bytes:
    """Return a sound file that claims another size."""
    content = bytearray(SOUND[kind])
    struct.pack_into(form, content, at, *size)
    return bytes(content)


def jpeg_of(size: int) -> bytes:
    at = SOUND["JPEG"].index(b"\xff\xc0") + 5
    return with_size("JPEG", at, ">HH", size, size)


def jpeg_2000_of(size: int) -> bytes:
    content = SOUND["JPEG 2000"]
    at = content.index(b"\xff\x51") + 6  # SIZ: Rsiz, then Xsiz and Ysiz
    content = with_size("JPEG 2000", at, ">II", size, size)
    box = content.index(b"ihdr") + 4
    return content[:box] + struct.pack(">II", size, size) + content[box + 8 :]


def tiff_of(size: int) -> bytes:
    content = bytearray(SOUND["TIFF"])
    for tag in (256, 257):  # width and length: of one SHORT each, now of one LONG
        at = content.index(struct.pack("<HHI", tag, 3, 1))
        struct.pack_into("<HHII", content, at, tag, 4, 1, size)
    return bytes(content)


ROW = zlib.compress(bytes(65 * 64))


@cache
def a_gigabyte() -> bytes:
    return zlib.compress(bytes(10**9), 1)


# Made when they are needed: some take seconds.
BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG of 2**31 pixels a side": lambda: png(
        chunk(b"IDAT", ROW), width=2**31 - 1, height=2**31 - 1
    ),
    "PNG of 50,000 pixels a side": lambda: png(chunk(b"IDAT", ROW), width=50_000, height=50_000),
    "PNG just below the limit": lambda: png(chunk(b"IDAT", ROW), width=9_459, height=9_459),
    "PNG of no width": lambda: png(chunk(b"IDAT", ROW), width=0),
    "PNG whose pixels unpack to 1 GB": lambda: png(chunk(b"IDAT", a_gigabyte())),
    "PNG whose text unpacks to 1 GB": lambda: png(
        chunk(b"zTXt", b"Comment\0\0" + a_gigabyte()), chunk(b"IDAT", ROW)
    ),
    "PNG whose colours unpack to 1 GB": lambda: png(
        chunk(b"iCCP", b"name\0\0" + a_gigabyte()), chunk(b"IDAT", ROW)
    ),
    "transparent PNG whose text unpacks to 1 GB": lambda: png(
        chunk(b"tRNS", b"\0\1"),
        chunk(b"zTXt", b"Comment\0\0" + a_gigabyte()),
        chunk(b"IDAT", ROW),
    ),
    "PNG with a chunk of 4 GB": lambda: decode.PNG_MAGIC + struct.pack(">I4s", 2**32 - 1, b"IHDR"),
    "PNG with 100,000 chunks": lambda: png(
        *[chunk(b"tEXt", b"a\0b")] * 100_000, chunk(b"IDAT", ROW)
    ),
    "JPEG of 65,500 pixels a side": lambda: jpeg_of(65_500),
    "JPEG just below the limit": lambda: jpeg_of(9_459),
    "JPEG 2000 of 2**31 pixels a side": lambda: jpeg_2000_of(2**31 - 1),
    "JPEG 2000 just below the limit": lambda: jpeg_2000_of(9_459),
    "TIFF of 100,000 pixels a side": lambda: tiff_of(100_000),
    "TIFF just below the limit": lambda: tiff_of(9_459),
    "BMP of 2**31 pixels a side": lambda: with_size("BMP", 18, "<ii", 2**31 - 1, 2**31 - 1),
    "BMP just below the limit": lambda: with_size("BMP", 18, "<ii", 9_459, 9_459),
    "DICOM of 65,535 pixels a side": lambda: a_dicom(Rows=65_535, Columns=65_535),
    "DICOM just below the limit": lambda: a_dicom(Rows=9_459, Columns=9_459),
    "DICOM of a million frames": lambda: a_dicom(NumberOfFrames=1_000_000),
}
NO_IMAGES = {
    "nothing": b"",
    "zeros": bytes(100_000),
    "text": b"id,boneage,male\n1,120,True\n" * 100,
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
    "a GIF": b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "a zip": b"PK\3\4" + bytes(100),
    "an ELF": b"\x7fELF" + bytes(200),
    "a pickle": b"cos\nsystem\n(S'touch /tmp/h2a-was-here'\ntR.",
    "the magic of a PNG alone": decode.PNG_MAGIC,
    "the magic of DICOM alone": bytes(128) + b"DICM",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", [*BOMBS, *NO_IMAGES])
def test_bombs_and_other_files_are_refused_or_harmless(what, tmp_path):
    content = BOMBS[what]() if what in BOMBS else NO_IMAGES[what]
    outcome = attempt(lambda: decode.decode(content)[0].shape, tmp_path)
    # Texts and colour profiles are not unpacked, pixels no further than the picture, and where a
    # JPEG ends too early it is grey: an image as large as its head says, within the limit.
    harmless = [(64, 64), (9_459, 9_459)] if what in BOMBS else []
    assert outcome.error or outcome.result in harmless
