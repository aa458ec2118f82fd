"""The figures of the population, the images and the preprocessing, and what stands beside them."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from data_folders import picture
from slides import check_on_its_slide

from h2a_lib.data import measure
from h2a_lib.data.index import measurements
from h2a_lib.data.labels import assign_split
from h2a_lib.figures import images as draw
from h2a_lib.figures import population as draw_population

pytestmark = pytest.mark.usefixtures("style")


@pytest.fixture(scope="module")
def measured(folder, labels, tmp_path_factory):
    return measurements(labels, folder, tmp_path_factory.mktemp("cache"))


def population(n):
    random = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "age_months": random.integers(1, 228, n).astype(float),
            "male": random.random(n) < 0.5,
            "split": assign_split([str(k) for k in range(n)]).to_numpy(),
        }
    )


def bars(axes):
    return [patch for patch in axes.patches if hasattr(patch, "get_height")]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_figure_has_the_name_that_the_report_uses_a_caption_with_n_and_a_finding(
    folder, labels, measured
):
    hands = labels.head(6)
    squares = np.stack([picture(k, 32, 32) for k in range(6)])
    drawings = [
        draw_population.ages_by_sex(population(60)),
        draw_population.label_audit(population(60)),
        draw_population.split_balance(population(60)),
        draw.resolutions(measured, 32),
        draw.contrast_exposure(measured),
        draw.background(measured),
        draw.extremes(measured, labels, folder),
        draw.geometry(hands, folder, 32, measured),
        draw.pixel_normalisation(squares, hands),
        draw.contrast(squares, hands),
    ]
    names = ["ages_by_sex", "label_audit", "split_balance", "resolutions", "contrast_exposure"]
    names += ["background", "extremes", "geometry", "pixel_normalisation", "contrast"]
    assert [drawing.name for drawing in drawings] == names
    for drawing in drawings:
        check_on_its_slide(drawing)
        assert "n = " in drawing.caption or "6 hands" in drawing.caption
        assert not drawing.caption.endswith(".") and drawing.alt.endswith(".")
        assert drawing.finding.endswith(".")
    assert [d.name for d in drawings if d.is_raster] == [*names[6:]]


@pytest.mark.parametrize("n", [12, 800])
def test_the_population_figures_show_every_hand(n):
    labels = population(n)
    drawing = draw_population.ages_by_sex(labels)
    assert sum(bar.get_height() for bar in bars(drawing.figure.axes[0])) == n
    left, right = draw_population.label_audit(labels).figure.axes
    assert sum(bar.get_height() for bar in bars(left)) == n
    assert len(right.collections[0].get_offsets()) > 0


def test_the_ages_are_labelled_with_number_and_median_of_each_sex():
    labels = population(10).assign(
        age_months=[10.0] * 5 + [90.0] * 5, male=[True] * 5 + [False] * 5
    )
    drawing = draw_population.ages_by_sex(labels)
    shown = texts(drawing.figure.axes[0])
    assert shown == ["5 girls\nmedian 90 months", "5 boys\nmedian 10 months"]
    assert "girls, median 90 months; boys, median 10 months" in drawing.alt
    assert drawing.finding.startswith("Girls have a higher mean bone age")


def test_single_sex_labels_are_named_in_the_figure_and_its_alt_text():
    labels = pd.DataFrame(
        {"age_months": [94.0] * 40 + [120.0] * 40, "male": [False] * 40 + [True, False] * 20}
    )
    drawing = draw_population.label_audit(labels)
    shown = texts(drawing.figure.axes[1])
    assert "at least 90 % girls, n ≥ 30" in shown and "at least 90 % boys, n ≥ 30" not in shown
    assert "94 months (100.0 % female, n = 40)" in drawing.alt


def test_the_split_figure_shows_shares_of_all_three_splits():
    labels = population(400)
    drawing = draw_population.split_balance(labels)
    for axes, male in zip(drawing.figure.axes, (False, True), strict=True):
        assert [line.get_ydata().sum() for line in axes.lines] == pytest.approx([1, 1, 1])
        assert axes.get_title(loc="left").endswith(f"n = {(labels['male'] == male).sum()}")
    (legend,) = drawing.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["training", "selection", "validation"]
    assert f"{(labels['split'] == 'selection').sum()} selection" in drawing.caption


@pytest.mark.parametrize(
    ("months", "male", "text"),
    [
        (30, False, "2 y 6 mo, girl"),
        (144, True, "12 y, boy"),
        (8, True, "8 mo, boy"),
        (0, True, "0 mo, boy"),
    ],
)
def test_ages_are_written_in_years_and_months(months, male, text):
    assert draw.age_and_sex(months, male) == text


def test_the_raw_grid_gives_age_and_sex_of_each_hand(folder, labels):
    drawing = draw.raw_grid(labels.head(9), folder)
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles[:2] == ["1 y, boy", "2 y, girl"] and titles[1] in drawing.alt


def test_hands_are_shown_in_proportion_and_no_larger_than_a_slide_needs(tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), picture(0, 1200, 900))
    cv2.imwrite(str(tmp_path / "small.png"), picture(0, 60, 40))
    large, small = draw.read_for_display([tmp_path / "large.png", tmp_path / "small.png"])
    assert large.shape == (480, 360) and small.shape == (60, 40)


def test_panels_that_are_left_over_stay_empty():
    _, panels = plt.subplots(2, 2)
    draw.draw_grid([picture(0), picture(1)], ["one", "two"], panels)
    assert [axes.get_title() for axes in panels.flat] == ["one", "two", "", ""]
    assert [axes.axison for axes in panels.flat] == [True, True, False, False]


@pytest.mark.parametrize("n", [3, 20])
def test_every_image_is_in_the_plots_of_all_of_them(measured, n):
    frame = measured.head(n)
    dots = draw.resolutions(frame, 224).figure.axes[0].collections
    assert len(dots[0].get_offsets()) == n
    dots = draw.contrast_exposure(frame).figure.axes[0].collections
    assert sum(len(kind.get_offsets()) for kind in dots) == n
    patches = draw.background(frame).figure.axes[0].patches
    assert sum(patch.get_height() for patch in patches) == n


@pytest.mark.parametrize(("size_px", "label"), [(224, "network: 224 × 224"), (100, "square")])
def test_a_single_size_is_stated(measured, size_px, label):
    frame = measured.assign(width_px=100, height_px=100)
    drawing = draw.resolutions(frame, size_px)
    axes = drawing.figure.axes[0]
    assert not axes.collections
    assert any(text.startswith("all 20 images:\n100 × 100") for text in texts(axes))
    assert label in texts(axes)
    assert drawing.finding.startswith("All 20 images are 100 × 100 px")


def test_many_images_of_few_sizes_are_a_dot_for_each_size(measured):
    frame = pd.concat([measured] * 100, ignore_index=True)
    frame = frame.assign(width_px=100, height_px=[100, 120] * 1000)
    dots = draw.resolutions(frame, 224).figure.axes[0].collections[0]
    assert len(dots.get_offsets()) == 2


def test_no_bar_of_the_rule_lies_on_both_sides_of_its_threshold(measured):
    drawing = draw.background(measured.head(5).assign(air=[0.0, 0.1, 0.124, 0.125, 0.3]))
    edges = {round(patch.get_x(), 6) for patch in drawing.figure.axes[0].patches}
    assert measure.BRIGHT_FROM in edges
    assert "40 %" in drawing.finding


def test_keys_stand_above_the_data(measured):
    for drawing in (draw.contrast_exposure(measured), draw.background(measured)):
        drawing.figure.canvas.draw()
        axes = drawing.figure.axes[0]
        assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1


def test_geometries_have_a_row_each_and_a_column_for_each_hand(folder, labels, measured):
    drawing = draw.geometry(labels.head(2), folder, 32, measured)
    axes = drawing.figure.axes
    assert len(axes) == 8
    assert [row.get_ylabel() for row in axes[::2]] == [
        *["as stored", "centre crop", "padded", "squashed"]
    ]
    assert axes[0].get_title() == "1 y\nboy"


def test_histograms_hold_all_pixels_even_those_beyond_the_limits():
    _, axes = plt.subplots()
    draw.draw_histograms(np.array([[[-9.0, 0.5], [0.7, 99.0]]]), (0, 1), ["red"], axes)
    (line,) = axes.lines
    assert line.get_ydata().sum() == pytest.approx(1)
    assert line.get_ydata()[[0, -1]].tolist() == [0.25, 0.25]


def test_instance_normalisation_centres_each_image_and_batch_normalisation_all_together():
    squares = np.stack([np.full((8, 8), 10), np.arange(64).reshape(8, 8) + 100]).astype(np.uint8)
    instance, batch = draw.normalised(squares, "instance"), draw.normalised(squares, "batch")
    assert instance.mean(axis=(1, 2)) == pytest.approx([0, 0], abs=1e-4)
    assert batch.mean() == pytest.approx(0, abs=1e-4) and batch[1].mean() > 0.9
    assert draw.normalised(squares, "none")[0].max() == pytest.approx(10 / 255)


def test_the_finding_on_contrast_is_measured(labels):
    squares = np.stack([picture(k, 32, 32) for k in range(6)])
    finding = draw.contrast(squares, labels.head(6)).finding
    dark = squares <= np.quantile(squares, 0.25, axis=(1, 2), keepdims=True)
    assert f"mean grey of {squares[dark].mean():.0f} before" in finding
