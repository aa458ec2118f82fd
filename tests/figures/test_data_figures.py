import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from data_folders import picture, write_set

from h2a_lib.data import measure, sources
from h2a_lib.figures import images as draw


def measured(n):
    random = np.random.default_rng(0)
    rows = [measure.measure_one(picture(k, *random.integers(40, 90, 2))) for k in range(40)]
    return pd.DataFrame([rows[k % 40] for k in range(n)])


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_a_hand_is_captioned_as_the_original_deck_did():
    assert draw.caption(94, False) == "7.83, female"


def test_hands_are_shown_in_proportion_and_no_larger_than_a_slide_needs(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "large.png"), picture(0, 1200, 900))
    cv2.imwrite(str(tmp_path / "small.png"), picture(0, 60, 40))
    large, small = draw.read_for_display([tmp_path / "large.png", tmp_path / "small.png"])
    assert large.shape == (480, 360) and small.shape == (60, 40)


def test_panels_that_are_left_over_stay_empty():
    figure, panels = plt.subplots(2, 2)
    draw.grid([picture(0), picture(1)], ["one", "two"], panels)
    assert [axes.get_title() for axes in panels.flat] == ["one", "two", "", ""]
    assert [axes.axison for axes in panels.flat] == [True, True, False, False]
    plt.close(figure)


@pytest.mark.parametrize("n", [3, 20])
def test_every_image_is_in_the_plots_of_all_of_them(n):
    frame = measured(n)
    figure, panels = plt.subplots(1, 3)
    draw.resolutions(frame, 224, panels[0])
    draw.contrast_exposure(frame, panels[1])
    draw.scanned_digital(frame, panels[2])
    assert len(panels[0].collections[0].get_offsets()) == n
    assert sum(len(dots.get_offsets()) for dots in panels[1].collections) == n
    assert sum(patch.get_height() for patch in panels[2].patches) == n
    plt.close(figure)


def test_many_images_of_one_size_are_one_dot(axes):
    frame = pd.DataFrame({"width_px": [100] * 2000, "height_px": [100] * 2000})
    draw.resolutions(frame, 224, axes)
    assert len(axes.collections[0].get_offsets()) == 1


def test_no_bar_of_the_rule_lies_on_both_sides_of_its_threshold(axes):
    draw.scanned_digital(pd.DataFrame({"air": [0.0, 0.1, 0.124, 0.125, 0.3]}), axes)
    edges = {round(patch.get_x(), 6) for patch in axes.patches}
    assert measure.SCANNED_FROM in edges


def test_geometries_have_a_row_each_and_a_column_for_each_hand():
    figure = draw.geometries([picture(0), picture(1, 40, 80)], ["a", "b"], 32)
    assert len(figure.axes) == 8
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        *["as it is", "centre crop", "padded", "squashed"]
    ]
    plt.close(figure)


def test_histograms_hold_all_pixels_even_those_beyond_the_limits():
    squares = np.stack([picture(k, 32, 32) for k in range(3)]) / 10
    figure = draw.with_histograms({"way": squares}, ["a", "b", "c"], {"way": (1, 5)}, {"way": "x"})
    for line in figure.axes[-1].lines:
        assert line.get_ydata().sum() == pytest.approx(1)
    plt.close(figure)


def test_leafing_finds_hands_by_age_and_sex_and_does_nothing_in_a_batch_run(tmp_path):
    write_set(tmp_path, [str(k) for k in range(100, 120)])
    labels = sources.inspect(tmp_path).labels
    assert draw.leaf_through(labels, tmp_path, live=False) is None
    sex, age, number, title, picture_shown = draw.leaf_through(labels, tmp_path, live=True).children
    assert title.value.startswith("1.00, male (id 100") and picture_shown.value[1:4] == b"PNG"
    sex.value = "female"
    assert title.value == "2.00, female (id 101, 1 of 10)"
    number.value = 9
    assert "10 of 10" in title.value
    age.value = (0, 30)
    assert title.value == "2.00, female (id 119, 2 of 2)"
    age.value = (0, 1)
    assert title.value == "no hand of this age and sex" and picture_shown.value == b""
