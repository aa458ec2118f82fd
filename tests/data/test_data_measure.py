import numpy as np
import pandas as pd
import pytest
from data_folders import picture, write_image, write_set

from h2a_lib import phantoms as phantom
from h2a_lib.analysis.population import images as pictures
from h2a_lib.data import index, ingest, measure, sources
from h2a_lib.errors import DataError

IDS = [str(k) for k in range(100, 112)]


@pytest.fixture(scope="module")
def phantoms():
    drawn = [phantom.render(30.0 + 5 * k, k % 2 == 0, 500 + k, 320) for k in range(36)]
    rows = [measure.measure_one(one.image) for one in drawn]
    return drawn, pd.DataFrame(rows)


def test_grey_values_are_measured_exactly():
    image = np.full((100, 50), 10, np.uint8)
    image[:20] = 200
    image[90:, :10] = 255
    row = measure.measure_one(image)
    assert (row["width_px"], row["height_px"]) == (50, 100)
    assert row["mean_grey"] == pytest.approx(image.mean(), abs=0.001)
    assert row["contrast_grey"] == 245
    assert row["white_share"] == pytest.approx(0.02)
    assert row["black_share"] == 0


def test_film_is_distinguished_from_digital_by_its_background(phantoms):
    drawn, measured = phantoms
    bright = measure.has_bright_background(measured)
    kinds = pd.Series([one.kind for one in drawn])
    assert {"film", "digital"} <= set(kinds)
    # Dark films pass for digital (four of 28 in `h2a data phantom --n 100`); the reverse is rare.
    assert bright[kinds == "film"].mean() > 0.6
    assert bright[kinds == "digital"].mean() < 0.05


def test_markers_are_found_where_there_are_any(phantoms):
    drawn, measured = phantoms
    has_one = np.array(["marker" in one.boxes for one in drawn])
    assert measured["marker"][has_one].mean() > 0.8


def test_a_hand_alone_has_no_marker_and_no_border():
    y, x = np.mgrid[:400, :300]
    hand = np.clip(220 - np.hypot(y - 200, x - 150) * 2, 0, 255).astype(np.uint8)
    row = measure.measure_one(hand)
    assert not row["marker"] and row["border"] < measure.BORDER_FROM
    with_marker = hand.copy()
    with_marker[30:60, 20:45] = 250
    assert measure.measure_one(with_marker)["marker"]


def test_a_straight_edge_near_a_side_is_a_border():
    image = picture(1, 400, 300)
    framed = image.copy()
    framed[:, :20] = 120
    rows = pd.DataFrame([measure.measure_one(one) for one in (image, framed)])
    assert measure.has_border(rows).tolist() == [False, True]


def test_what_a_centre_crop_cuts_off_the_hand_is_measured():
    image = np.zeros((400, 200), np.uint8)
    image[50:350, 80:120] = 200
    row = measure.measure_one(image)
    assert row["hand_cut"] == pytest.approx(1 / 3, abs=0.02)
    assert measure.measure_one(image[100:300])["hand_cut"] == 0


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.full((1, 900), 255), np.full((40, 30), 9)])
def test_pictures_of_nothing_are_measured_all_the_same(image):
    row = measure.measure_one(image.astype(np.uint8))
    assert not row["marker"] and row["contrast_grey"] == 0


def test_measurements_come_in_the_labels_order_and_are_kept(tmp_path, monkeypatch):
    data = write_set(tmp_path / "data", IDS)
    labels = sources.inspect(data).labels.iloc[::-1]
    first = index.measurements(labels, data, tmp_path / "cache")
    assert first["id"].tolist() == labels["id"].tolist()
    monkeypatch.setattr(ingest, "ingest", None)
    again = index.measurements(labels, data, tmp_path / "cache")
    pd.testing.assert_frame_equal(again, first)


def test_every_image_that_does_not_decode_is_named(tmp_path):
    data = write_set(tmp_path / "data", IDS)
    labels = sources.inspect(data).labels
    for key in ("103", "107"):
        (data / f"boneage-training-dataset/{key}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"103.*\n.*107"):
        index.measurements(labels, data, tmp_path)


def test_the_extremes_are_what_they_are_called(tmp_path):
    data = write_set(tmp_path / "data", IDS)
    images = data / "boneage-training-dataset"
    write_image(images / "100.png", np.full((60, 50), 200, np.uint8))
    write_image(images / "101.png", picture(1, 20, 20))
    write_image(images / "102.png", picture(2, 300, 300))
    write_image(images / "103.png", (picture(3) // 40).astype(np.uint8))
    measured = index.measurements(sources.inspect(data).labels, data, tmp_path)
    result = {kind: hand_id for kind, hand_id, _ in pictures.extremes(measured)}
    assert result["brightest"] == "100" and result["flattest"] == "100"
    assert result["smallest"] == "101" and result["largest"] == "102"
    assert result["darkest"] == "103"


def test_hands_are_spread_from_dark_to_bright(tmp_path):
    data = write_set(tmp_path / "data", IDS)
    measured = index.measurements(sources.inspect(data).labels, data, tmp_path)
    grey = measured.set_index("id")["mean_grey"]
    chosen = pictures.spread_by_exposure(measured)
    assert len(set(chosen)) == 6 and grey[chosen].is_monotonic_increasing
    assert len(pictures.spread_by_exposure(measured.head(2))) == 2


def test_every_variable_is_text(phantoms):
    measured = phantoms[1].assign(id="1")
    message = pictures.variables(measured) | pictures.geometry_variables(measured)
    assert all(isinstance(value, str) and value.strip() for value in message.values())


def test_a_range_is_one_number_where_all_images_have_one(phantoms):
    measured = phantoms[1].assign(id="1", mean_grey=41.8, width_px=1230)
    message = pictures.variables(measured)
    assert message["mean_grey_range"] == "42" and message["width_range"] == "1,230 px"
    assert "–" in message["contrast_range"]


@pytest.mark.parametrize(
    ("grey", "sides", "verdict"),
    [
        ([10, 100, 200], [10, 20, 40], "mean grey differs 20-fold, number of pixels 16-fold"),
        ([50, 100], [30, 30], "mean grey differs 2.0-fold, all are of one size"),
        ([50, 50.1], [10, 11], "all are equally bright, number of pixels 1.2-fold"),
        ([0.2, 90], [10, 11], "from black to a mean grey of 90, number of pixels 1.2-fold"),
    ],
)
def test_a_title_says_how_far_apart_the_extremes_are(grey, sides, verdict):
    measured = pd.DataFrame({"mean_grey": grey, "width_px": sides, "height_px": sides})
    assert pictures.extremes_verdict(measured) == verdict


def test_sizes_of_extremes_are_written_with_thousands_separated():
    measured = pd.DataFrame({"id": ["1"], "width_px": 1230, "height_px": 1485})
    *_, largest = pictures.extremes(measured.assign(mean_grey=10.0, contrast_grey=9.0))
    assert largest == ("largest", "1", "1,230 × 1,485 px")
