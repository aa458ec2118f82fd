"""Figures of question 2, for any number of hands, and the threshold that is explored."""

import itertools

import made_up
import numpy as np
import pytest
from scipy.special import expit
from slides import check_on_its_slide

from h2a_lib.analysis.sex import errors
from h2a_lib.analysis.sex.calibration import Temperature
from h2a_lib.analysis.sex.maturity import ESTIMATE, SECOND_ESTIMATE, maturity
from h2a_lib.figures import sex as draw
from h2a_lib.figures.explore import live
from h2a_lib.figures.explore import sex as explore

pytestmark = pytest.mark.usefixtures("style")


def hands(n, seed=0):
    frame, rng = made_up.hands(n, seed, ages=(60.0, 96.0, 120.0))
    label, male = frame["age_months"], frame["male"]
    estimates = {
        name: label + np.where(male, -6, 6) + rng.normal(0, 9, n)
        for name in (ESTIMATE, SECOND_ESTIMATE)
    }
    return frame.assign(male_probability=expit(rng.normal(2.0 * male - 1, 1)), **estimates)


def drawings(n):
    train, selection, frame = hands(200, 1), hands(n, 2), hands(n)
    temperature = Temperature.fit(selection)
    return {
        "roc": draw.roc(train, frame, "sex/seed-0"),
        "band": draw.by_band(errors.by_band(frame, 0.5), errors.closest_match(frame)),
        "maturity": draw.maturity(maturity(train, selection, frame)),
        "calibration": draw.calibration(frame, 0.5, temperature),
    }


@pytest.mark.parametrize("n", [1, 2, 20, 400])
def test_every_figure_can_be_drawn_and_says_how_many_hands_it_shows(n):
    for drawing in drawings(n).values():
        check_on_its_slide(drawing)
        assert f"n = {n}" in drawing.caption and not drawing.caption.endswith(".")
        assert drawing.finding.endswith(".")


def test_findings_hold_the_numbers_of_the_figure():
    shown, frame = drawings(400), hands(400)
    area = errors.metrics(frame, 0.5)["auc"].text(digits=3)
    assert area in shown["roc"].finding and area in shown["roc"].alt
    matched = errors.closest_match(frame)
    assert matched.sentence()[1:] in shown["band"].finding
    assert "adding the image raises the AUC by " in shown["maturity"].finding
    assert "of 10 bins" in shown["calibration"].alt


def test_no_label_of_an_axis_lies_on_its_neighbour():
    for drawing in drawings(400).values():
        drawing.figure.canvas.draw()
        for axes in drawing.figure.axes:
            labels = [text for text in axes.get_xticklabels() if text.get_text()]
            boxes = [text.get_window_extent() for text in labels]
            for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)):
                assert left.x1 < right.x0, (drawing.name, [text.get_text() for text in labels])


def test_hands_are_counted_in_whole_numbers_below_the_legend():
    axes = drawings(20)["calibration"].figure.axes[1]
    assert all(tick % 1 == 0 for tick in axes.get_yticks())
    axes.figure.canvas.draw()
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= axes.get_window_extent().y1


def test_moving_the_threshold_moves_the_operating_point_and_the_confusion_matrix(
    is_live, monkeypatch
):
    frame = hands(100)
    figures = []
    monkeypatch.setattr(live.plt, "close", figures.append)
    view = explore.thresholds(frame, 0.5)
    (slider,), picture = view.children[0].children, view.children[1]
    before = bytes(picture.value)
    slider.value = 0.9
    assert bytes(picture.value) != before
    first, second = ([text.get_text() for text in f.axes[1].texts] for f in figures)
    counts = explore.confusion(frame, 0.9)
    assert first != second
    assert [int(text.split("\n")[0]) for text in second] == counts.to_numpy().ravel().tolist()
    point = figures[1].axes[0].lines[-1].get_xydata()[0]
    assert point == pytest.approx(counts["as male"] / counts.sum(axis=1))


def test_the_confusion_matrix_counts_each_hand_once_also_of_one_sex():
    frame = hands(30)
    called = frame["male_probability"] >= 0.4
    counts = explore.confusion(frame, 0.4)
    assert counts.loc["boys", "as male"] == (called & frame["male"]).sum()
    assert counts.loc["girls", "as male"] == (called & ~frame["male"]).sum()
    alone = explore.confusion(frame.assign(male=True), 0.4)
    assert alone.loc["girls"].sum() == 0 and alone.to_numpy().sum() == 30
    explore.operating_point(frame.assign(male=True), 0.4).canvas.draw()
