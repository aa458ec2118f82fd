import cv2
import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.bands import NAMES
from h2a_lib.analysis.saliency.registration import (
    CENTRE,
    ROOT_AREA,
    averages_by_band,
    hand_of,
    known_marker,
    phantom_regions,
    place,
    placement,
    registered,
    subset,
)
from h2a_lib.errors import UserError

SIDE = 96


def hand(degrees=0.0, zoom=1.0, shift=(0, 0)):
    """A bright upright ellipse on black, turned, enlarged and shifted."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    centre = (SIDE // 2 + shift[0], SIDE // 2 + shift[1])
    cv2.ellipse(image, centre, (int(12 * zoom), int(26 * zoom)), degrees, 0, 360, 200, -1)
    return image


@pytest.mark.parametrize(
    "where", [{}, {"degrees": 25}, {"degrees": -30}, {"zoom": 0.6}, {"shift": (12, -15)}]
)
def test_a_hand_comes_to_the_common_place_wherever_it_was(where):
    image = hand(**where)
    (placed,) = place(image[None], placement(image)[None])
    y, x = np.nonzero(placed > 100)
    assert x.mean() / SIDE == pytest.approx(CENTRE[0], abs=0.02)
    assert y.mean() / SIDE == pytest.approx(CENTRE[1], abs=0.02)
    assert np.sqrt(len(x)) / SIDE == pytest.approx(ROOT_AREA, rel=0.05)
    assert np.cov(x, y)[0, 1] == pytest.approx(0, abs=25)


def test_a_picture_without_a_hand_stays_where_it_is():
    assert np.array_equal(placement(np.zeros((SIDE, SIDE), np.uint8)), np.eye(2, 3))


@pytest.mark.parametrize("grey", [120, 255])
def test_a_bright_border_is_not_taken_for_a_hand(grey):
    framed = np.maximum(hand(), 20)
    framed[:, :14] = framed[:9] = framed[:, -10:] = grey
    result = hand_of(framed)
    assert (result & (hand() > 0)).sum() > 0.9 * (hand() > 0).sum()
    assert (result & (hand() == 0)).mean() < 0.03


def test_averages_keep_empty_bands_and_count_the_rest():
    images = np.stack([hand(), hand(zoom=0.7), hand(degrees=10)])
    maps = images / images.sum(axis=(1, 2), keepdims=True)
    result = averages_by_band(images, maps.astype(np.float32), [20.0, 20.0, 200.0])
    assert [name for name, *_ in result] == [*NAMES]
    assert [n for _, n, *_ in result] == [2, 0, 0, 0, 1]
    assert result[0][3].max() > 0
    assert not result[1][2].any()


def test_the_regions_of_phantoms_are_those_they_were_drawn_with(tmp_path):
    from h2a_lib import phantoms as phantom
    from h2a_lib.data import images

    phantom.write(tmp_path / "p", n=6, seed=3, height_px=160)
    result = phantom_regions(tmp_path / "p", ("2", "5"), 64, "pad")
    assert result["hand"].shape == (2, 64, 64)
    picture = images.prepare(tmp_path / "p/boneage-training-dataset/2.png", 64, "pad")
    inside, outside = (picture[result["hand"][0] == v].mean() for v in (1, 0))
    assert inside > outside + 20
    total = sum(result.values())
    assert total.max() <= 1 + 1e-3


def test_the_marker_is_known_on_phantoms_alone(tmp_path):
    from squares import SETTINGS

    from h2a_lib import phantoms as phantom
    from h2a_lib.study.config import RunConfig

    config = RunConfig(**SETTINGS)
    assert known_marker(tmp_path, ["1"], config) is None
    phantom.write(tmp_path / "p", n=3, seed=3, height_px=80)
    assert known_marker(tmp_path / "p", ["1", "3"], config).shape == (2, 32, 32)


def test_phantoms_of_another_version_are_refused(tmp_path):
    (tmp_path / "phantom.json").write_text('{"version": "0", "seed": 1, "height_px": 64}')
    with pytest.raises(UserError, match="another version"):
        phantom_regions(tmp_path, ("1",), 32, "pad")


def test_registered_hands_lie_on_one_another():
    images = np.stack([hand(), hand(zoom=0.7), hand(degrees=10)])
    moved = registered(images) > 40
    overlap = moved.all(axis=0).sum() / moved.any(axis=0).sum()
    before = (images > 40).all(axis=0).sum() / (images > 40).any(axis=0).sum()
    assert overlap > 0.75 > 0.6 > before


def test_a_subset_has_as_many_of_each_band_as_there_are():
    ages = [24.0] * 3 + [60.0] * 40 + [120.0] * 7
    frame = pd.DataFrame({"id": [str(i) for i in range(50)], "age_months": ages})
    drawn = frame.iloc[subset(frame, 15)]
    assert drawn["age_months"].value_counts().to_dict() == {60.0: 6, 120.0: 6, 24.0: 3}


def test_a_subset_goes_by_id_and_not_by_row():
    frame = pd.DataFrame({"id": [str(i) for i in range(50)], "age_months": range(0, 200, 4)})
    shuffled = frame.sample(frac=1, random_state=1)
    assert set(frame["id"].iloc[subset(frame, 7)]) == set(shuffled["id"].iloc[subset(shuffled, 7)])
    assert len(subset(frame, 500)) == 50
