import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from data_folders import picture
from dicoms import content, dicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from h2a_lib.data import decode, grey, sources
from h2a_lib.data.grey import ImageError

RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1.1"
# 12 bits, as detectors give: a ramp from 0 to 4095.
FILES = Path(__file__).parent / "files"
RAMP = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(64, 48)


def decoded(dataset: pydicom.Dataset) -> np.ndarray:
    image, source = decode.decode(content(dataset))
    assert image.dtype == np.uint8 and source.format == "DICOM"
    return image


def test_without_a_window_the_range_in_use_is_shown():
    assert (decoded(dicom(RAMP)) == grey.as_8_bit(RAMP, 0, 4095)).all()
    assert decode.decode(content(dicom(RAMP)))[1].bits == 12


def test_monochrome1_is_inverted_so_that_bone_is_white():
    turned = decoded(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert (turned == 255 - decoded(dicom(RAMP))).all()


def test_the_window_is_applied_as_the_standard_has_it():
    image = decoded(dicom(RAMP, WindowCenter=1000, WindowWidth=401))
    # PS3.3 C.11.2.1.2: black up to c - 0.5 - (w - 1) / 2, white from c - 0.5 + (w - 1) / 2.
    assert (image[RAMP <= 799] == 0).all() and (image[RAMP >= 1200] == 255).all()
    at = RAMP.ravel()[np.abs(RAMP.astype(int).ravel() - 1000).argmin()]
    assert abs(int(image[at == RAMP][0]) - 255 * ((at - 999.5) / 400 + 0.5)) <= 1


def test_of_several_windows_the_first_is_taken():
    one = decoded(dicom(RAMP, WindowCenter=1000, WindowWidth=400))
    assert (decoded(dicom(RAMP, WindowCenter=[1000, 9], WindowWidth=[400, 2])) == one).all()


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_every_window_function_rises_and_is_half_way_at_its_centre(function):
    image = decoded(dicom(RAMP, WindowCenter=2000, WindowWidth=1000, VOILUTFunction=function))
    assert (np.diff(image.ravel().astype(int)) >= 0).all()
    middle = image.ravel()[np.abs(RAMP.astype(int).ravel() - 2000).argmin()]
    assert abs(int(middle) - 127.5) < 2


def test_a_window_as_narrow_as_a_grey_value_is_a_threshold():
    image = decoded(dicom(RAMP, WindowCenter=2000, WindowWidth=1))
    assert set(np.unique(image)) == {0, 255} and ((image == 255) == (RAMP > 1999.5)).all()


def test_the_window_counts_in_rescaled_values():
    image = decoded(
        dicom(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=2000)
    )
    assert (image[RAMP < 1490] == 0).all() and (image[RAMP > 2510] == 255).all()


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("intercept", [0, -1000])
def test_a_lookup_table_is_applied_to_rescaled_values(bits, intercept):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS", [4096, intercept, bits])
    falling = np.linspace(2**bits - 1, 0, 4096).round()
    item.LUTData = falling.astype("<u2").tobytes()
    table = {"VOILUTSequence": pydicom.Sequence([item])}
    image = decoded(dicom(RAMP, RescaleSlope=1, RescaleIntercept=intercept, **table))
    assert np.abs(image - (255 - RAMP.astype(float) * 255 / 4095)).max() <= 1


def test_values_beyond_a_lookup_table_are_its_first_and_last():
    item = pydicom.Dataset()
    item.LUTDescriptor = [1000, 1500, 16]
    item.LUTData = np.linspace(0, 65535, 1000).astype("<u2").tobytes()
    image = decoded(dicom(RAMP, VOILUTSequence=pydicom.Sequence([item])))
    assert (image[RAMP <= 1500] == 0).all() and (image[RAMP >= 2499] == 255).all()


def test_signed_values_are_shown_in_their_range():
    values = (RAMP.astype(np.int32) - 2000).astype(np.int16)
    assert (decoded(dicom(values, stored_bits=16)) == decoded(dicom(RAMP))).all()


def test_padding_around_an_image_does_not_darken_it():
    values = RAMP.copy() // 4 + 1000
    values[:8] = 0
    image = decoded(dicom(values, PixelPaddingValue=0))
    assert image[8:].min() <= 1 and image[8:].max() == 255


def test_colour_is_made_grey():
    colours = np.stack([picture()] * 3, axis=-1)
    assert (decoded(dicom(colours, stored_bits=8)) == picture()).all()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression_gives_the_same_pixels(syntax):
    dataset = dicom(RAMP)
    dataset.compress(syntax, generate_instance_uid=False)
    assert (decoded(dataset) == decoded(dicom(RAMP))).all()


def test_jpeg_compression_gives_nearly_the_same_pixels():
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", quality=95)
    dataset = dicom(picture(), stored_bits=8, WindowCenter=128, WindowWidth=256)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([buffer.getvalue()])
    assert np.abs(decoded(dataset).astype(int) - picture()).mean() < 3


def test_a_file_without_preamble_is_read_too():
    whole = content(dicom(RAMP))
    dataset = pydicom.dcmread(io.BytesIO(whole))
    buffer = io.BytesIO()
    del dataset.file_meta
    dataset.preamble = None
    pydicom.dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    assert buffer.getvalue()[:2] == b"\x08\x00"
    assert (decode.decode(buffer.getvalue())[0] == decode.decode(whole)[0]).all()


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_an_error(kept):
    whole = content(dicom(RAMP))
    with pytest.raises(ImageError):
        decode.decode(whole[: int(len(whole) * kept)])


def test_several_frames_no_pixels_and_a_bomb_are_each_an_error():
    frames = dicom(RAMP, NumberOfFrames=2)
    frames.PixelData = RAMP.tobytes() * 2
    empty = dicom(RAMP)
    del empty.PixelData
    bomb = dicom(RAMP, Rows=60_000, Columns=60_000)
    for dataset, why in ((frames, "2 frames"), (empty, "without an image"), (bomb, "more than")):
        with pytest.raises(ImageError, match=why):
            decode.decode(content(dataset))


def test_a_folder_of_dicom_files_is_a_data_set(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for key in ("a", "b", "c"):
        (folder / f"{key}.dcm").write_bytes(content(dicom(RAMP // (ord(key) - 96))))
    (tmp_path / "labels.csv").write_text("id,boneage,male\na,12,True\nb,24,False\nc,36,True\n")
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound and set(inspection.files["format"]) == {"DICOM"}


# --- what public test files and bug reports showed -----------------------------------------------


def padded_ramp() -> np.ndarray:
    values = RAMP.copy() // 4 + 1000
    values[:4], values[4:8] = 0, 7
    return values


def test_a_range_of_padding_does_not_darken_an_image():
    image = decoded(dicom(padded_ramp(), PixelPaddingValue=0, PixelPaddingRangeLimit=10))
    assert image[8:].min() <= 1 and image[8:].max() == 255
    assert (image[:8] == 0).all()


def test_padding_of_an_inverted_image_is_black():
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    image = decoded(dicom(padded_ramp(), PixelPaddingValue=7, PixelPaddingRangeLimit=0, **inverted))
    assert (image[:8] == 0).all()
    assert image[8:].min() <= 1 and image[8:].max() == 255


def test_padding_written_as_unsigned_is_found_among_signed_values():
    values = padded_ramp().astype(np.int16)
    values[:8] = -2000
    dataset = dicom(values, stored_bits=16)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    assert decoded(dataset)[8:].min() <= 1


@pytest.mark.parametrize("name", ["RescaleSlope", "WindowWidth", "PixelPaddingValue"])
def test_an_empty_element_counts_as_absent(name):
    assert (decoded(dicom(RAMP, **{name: None})) == decoded(dicom(RAMP))).all()


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("items", [[], [pydicom.Dataset()]])
def test_an_empty_table_counts_as_absent(name, items):
    dataset = dicom(RAMP, **{name: pydicom.Sequence(items)})
    assert (decoded(dataset) == decoded(dicom(RAMP))).all()


def test_a_file_that_begins_with_its_meta_data_is_read_too():
    whole = content(dicom(RAMP))
    assert (decode.decode(whole[132:])[0] == decode.decode(whole)[0]).all()
    # Without the length of the group, too, which some writers leave out.
    assert (decode.decode(whole[132 + 12 :])[0] == decode.decode(whole)[0]).all()


def test_a_jpeg_scan_that_names_no_last_coefficient_is_read():
    jpeg = (FILES / "monkey12.jpg").read_bytes()
    # Without its segments of JFIF and colours, so that its three channels are taken as they are.
    jpeg = jpeg[:2] + jpeg[jpeg.index(b"\xff\xdb") :]
    scan = b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0"
    assert jpeg.count(scan + b"\x3f") == 1
    dataset = dicom(np.zeros((227, 149, 3), np.uint16))
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    images = []
    for stream in (jpeg, jpeg.replace(scan + b"\x3f", scan + b"\0")):
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        image, source = decode.decode(content(dataset))
        assert source.bits == 12
        images.append(image)
    assert (images[0] == images[1]).all()
    assert len(np.unique(images[0])) > 50


def test_a_compression_that_is_not_known_is_one_line():
    dataset = dicom(RAMP)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4
    with pytest.raises(ImageError) as caught:
        decode.decode(content(dataset))
    assert "\n" not in caught.value.what


def test_missing_pixels_are_reported():
    empty = dicom(RAMP)
    empty.PixelData = None
    with pytest.raises(ImageError, match="no pixel data"):
        decode.decode(content(empty))


@pytest.mark.parametrize("name", ["Rows", "Columns", "SamplesPerPixel", "BitsStored"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_says_how_to_read_the_pixels_is_named_where_it_is_missing(name, is_there):
    dataset = dicom(np.zeros((4, 5), np.uint16))
    if is_there:
        setattr(dataset, name, None)
    else:
        delattr(dataset, name)
    with pytest.raises(ImageError, match=f"does not say how to read its image: no {name}$"):
        decode.decode(content(dataset))
