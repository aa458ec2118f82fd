import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from data_folders import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from h2a_lib.data import decode, images
from h2a_lib.data.grey import ImageError
from h2a_lib.errors import UserError


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    image, _ = decode.decode(content)
    assert image.dtype == np.uint8 and image.ndim == 2 and image.flags.c_contiguous
    return image


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_grey_is_read_exactly(kind):
    assert (decoded(encoded(Image.fromarray(picture()), kind)) == picture()).all()


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})]
)
def test_lossy_files_are_read_nearly(kind, options):
    error = decoded(encoded(Image.fromarray(picture()), kind, **options)).astype(int) - picture()
    assert np.abs(error).mean() < 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_stored_as_colour_with_alpha_or_by_palette_is_the_same_grey(mode):
    stored = Image.fromarray(picture() // 2).convert(mode)
    assert np.abs(decoded(encoded(stored, "PNG")).astype(int) - picture() // 2).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_than_8_bits_are_scaled_by_the_bits_in_use(kind, bits):
    top = 2**bits - 1
    values = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
    image, source = decode.decode(encoded(Image.fromarray(values), kind))
    assert source == (kind, 16)
    assert (image == np.rint(values * (255 / top))).all()


def test_floats_are_stretched_and_nans_are_dark():
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    assert decoded(encoded(Image.fromarray(values), "TIFF")).tolist() == [[0, 128], [255, 0]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind):
    upright = np.zeros((16, 32), np.uint8)
    upright[:, :16] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise
    image = decoded(encoded(Image.fromarray(upright), kind, exif=exif))
    assert image.shape == (32, 16)
    assert image[:12].min() > 200 and image[20:].max() < 50


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, kind, kept):
    content = encoded(Image.fromarray(picture(0, 200, 200)), kind)
    path = tmp_path / "hand"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=str(path)):
        decode.read(path)


def test_a_png_with_one_flipped_bit_in_its_data_is_an_error():
    content = bytearray(encoded(Image.fromarray(picture(0, 200, 200)), "PNG"))
    content[len(content) // 2] ^= 1
    with pytest.raises(ImageError):
        decode.decode(bytes(content))


@pytest.mark.parametrize(
    "content", [b"", b"id,boneage,male\n", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"%PDF"]
)
def test_what_is_no_image_is_an_error(content):
    with pytest.raises(ImageError):
        decode.decode(content)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: cannot be read: No such file"):
        decode.read(tmp_path / "absent.png")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return decode.PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (10_000, 9_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size):
    with pytest.raises(ImageError, match="pixels, more than"):
        decode.decode(bomb(*size))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]), st.data())
def test_arbitrary_damage_is_an_image_error_or_an_image(garbage, kind, data):
    content = encoded(Image.fromarray(picture(0, 20, 20)), kind)
    at = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(ImageError):
        image = decoded(content[:at] + garbage + content[at + len(garbage) :])
        assert image.size > 0, "what is not refused is a picture"


# --- geometry ------------------------------------------------------------------------------------


shapes = st.tuples(st.integers(1, 300), st.integers(1, 300))


@settings(deadline=None)
@given(
    shapes,
    st.integers(1, 128),
    st.sampled_from(images.GEOMETRIES),
    st.sampled_from(images.CONTRASTS),
)
def test_any_image_becomes_the_requested_square(shape, size_px, geometry, contrast):
    image = picture(1, *shape)
    before = image.copy()
    made = images.prepare(image, size_px, geometry, contrast)
    assert made.shape == (size_px, size_px) and made.dtype == np.uint8
    assert (image == before).all()


def test_shrinking_gives_the_mean_of_what_each_pixel_covers():
    image = picture(2, 64, 64)
    means = image.reshape(16, 4, 16, 4).mean((1, 3))
    # OpenCV rounds at each halving.
    assert np.abs(images.resize(image, 16, "squash") - means).max() <= 1


def test_center_crop_cuts_the_longer_side_at_both_ends():
    image = np.zeros((60, 20), np.uint8)
    image[20:40] = 100
    assert (images.resize(image, 20, "center_crop") == 100).all()
    assert images.kept_part(60, 20, "center_crop") == (slice(20, 40), slice(0, 20))


def test_padding_keeps_everything_in_proportion_on_black():
    made = images.resize(np.full((60, 20), 100, np.uint8), 30, "pad")
    assert (made[:, 10:20] == 100).all()
    assert (made[:, :10] == 0).all() and (made[:, 20:] == 0).all()


def test_squashing_keeps_everything_out_of_proportion():
    assert (images.resize(np.full((60, 20), 100, np.uint8), 30, "squash") == 100).all()


@pytest.mark.parametrize("shape", [(1514, 2044), (101, 67), (40, 30)])
def test_squashing_by_the_nearest_pixel_samples_as_the_reduced_copies_were_made(shape):
    image = picture(5, *shape)
    expected = np.array(Image.fromarray(image).resize((100, 100), Image.Resampling.NEAREST))
    assert (images.resize(image, 100, "squash_nearest") == expected).all()


def test_the_black_bars_do_not_weigh_in_the_contrast():
    image = picture(3, 90, 30)
    padded = images.prepare(image, 90, "pad", "equalize")
    assert (padded[:, 30:60] == cv2.equalizeHist(image)).all()
    assert (padded[:, :30] == 0).all()


# --- contrast ------------------------------------------------------------------------------------


def test_stretching_spreads_the_middle_98_percent_over_the_whole_scale():
    image = np.tile(np.linspace(100, 150, 101).astype(np.uint8), (50, 1))
    stretched = images.adjust_contrast(image, "stretch")
    assert stretched.min() == 0 and stretched.max() == 255


def test_a_flat_image_survives_every_contrast():
    flat = np.full((16, 16), 7, np.uint8)
    for contrast in images.CONTRASTS:
        made = images.adjust_contrast(flat, contrast)
        assert made.shape == flat.shape and (made == made[0, 0]).all()


def test_clahe_raises_local_contrast():
    image = (100 + picture(4, 64, 64) // 16).astype(np.uint8)
    assert images.adjust_contrast(image, "clahe").std() > image.std()


@pytest.mark.parametrize("what", ["geometry", "contrast"])
def test_an_unknown_name_lists_the_known_ones(what):
    with pytest.raises(UserError, match=f"unknown {what} 'none of it'; known: "):
        images.prepare(picture(), 8, **{what: "none of it"})


def test_the_pixels_are_those_of_this_version():
    # If this fails and the change is meant, raise images.VERSION (old caches must not be read)
    # and put the new numbers here.
    y, x = np.mgrid[:101, :67]
    image = ((3 * y + 2 * x) % 251 // 2).astype(np.uint8)
    made = {
        (geometry, contrast): images.prepare(image, 40, geometry, contrast).astype(float)
        for geometry in images.GEOMETRIES
        for contrast in images.CONTRASTS
    }
    assert images.VERSION == 3
    expected = {
        ("center_crop", "none"): (66.5, 36.8),
        ("center_crop", "equalize"): (128.3, 73.9),
        ("center_crop", "clahe"): (127.5, 36.4),
        ("center_crop", "stretch"): (136.2, 78.8),
        ("pad", "none"): (40.0, 39.1),
        ("pad", "equalize"): (86.8, 85.3),
        ("pad", "clahe"): (92.4, 72.4),
        ("pad", "stretch"): (81.3, 82.3),
        ("squash", "none"): (59.3, 33.6),
        ("squash", "equalize"): (128.5, 73.6),
        ("squash", "clahe"): (131.1, 38.1),
        ("squash", "stretch"): (120.5, 73.2),
        ("squash_nearest", "none"): (59.2, 34.7),
        ("squash_nearest", "equalize"): (127.4, 74.2),
        ("squash_nearest", "clahe"): (128.3, 37.0),
        ("squash_nearest", "stretch"): (121.6, 72.4),
    }
    for key, one in made.items():
        assert (one.mean(), one.std()) == pytest.approx(expected[key], abs=0.1), key
