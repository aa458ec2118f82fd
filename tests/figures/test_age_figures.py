"""The figures of question 1: what they show, say and describe."""

import ipywidgets as widgets
import made_up
import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.display import Image
from matplotlib.colors import to_hex
from slides import check_on_its_slide
from squares import squares
from trained import squares_for, trained

from h2a_lib.analysis import selection
from h2a_lib.analysis.age import errors, robustness, sex_gap, summary
from h2a_lib.analysis.statistics import conformal
from h2a_lib.figures import age as draw
from h2a_lib.figures import uncertainty
from h2a_lib.figures.colours import ORANGE
from h2a_lib.figures.explore import live
from h2a_lib.figures.explore.age import browse_errors

pytestmark = pytest.mark.usefixtures("style")


def hands_of(n, seed=0):
    frame, rng = made_up.hands(n, seed)
    true, male = frame["age_months"], frame["male"]
    estimate = 127 + 0.9 * (true - 127) + np.where(male, -5, 5) + rng.normal(0, 10, n)
    interval = {conformal.LOW: estimate - 20, conformal.HIGH: estimate + 20}
    return frame.assign(split="validation", predicted_age_months=estimate, **interval)


def drawings(n):
    """Every figure of question 1 for n hands."""
    frame, chosen_on = hands_of(n), hands_of(300, seed=1)
    grey = np.repeat(frame["age_months"].to_numpy().astype(np.uint8)[:, None, None], 20, 1)
    pictures = np.repeat(grey, 20, 2)
    methods = {
        summary.SPLIT: conformal.split_conformal(chosen_on, frame),
        summary.QUANTILES: conformal.quantile_conformal(chosen_on, frame),
    }
    assessed = conformal.compare_intervals(methods)
    signed = (frame["predicted_age_months"] - frame["age_months"]).to_numpy()
    curve, coverage = (
        errors.abstention(signed, np.abs(signed)),
        conformal.coverage(methods["split conformal"]),
    )
    robust = robustness.robustness(lambda i, male: i.mean(axis=(1, 2)), pictures, frame)
    yardsticks = summary.yardsticks(chosen_on, frame, "x", "rsna")
    made = [
        draw.scatter(frame, yardsticks, errors.answer(chosen_on, frame, "rsna"), (4.6, 7.0)),
        draw.agreement(frame),
        draw.by_band(errors.by_band(frame)),
        draw.gap(sex_gap.sex_gap(frame)),
        draw.worst_cases(pictures, frame),
        uncertainty.intervals(coverage, assessed, curve, 0.9),
        uncertainty.quantiles(assessed, 0.9),
        uncertainty.robustness(robust),
    ]
    return {drawing.name: drawing for drawing in made}


@pytest.mark.parametrize("n", [1, 20, 700])
def test_every_figure_is_drawn_captioned_and_described_for_any_number_of_hands(n):
    made = drawings(n)
    assert set(made) == {"age_scatter", "age_bland_altman", "age_by_band", "age_sex_gap",
                         "worst_cases", "age_conformal", "age_quantile", "robustness"}  # fmt: skip
    for name, drawing in made.items():
        check_on_its_slide(drawing)
        assert drawing.finding.endswith(".") and not drawing.caption.endswith("."), name
        assert "\n" not in drawing.caption
        assert drawing.finding.split(";")[0][:20] in drawing.alt
        if name != "age_sex_gap":
            assert f"n = {n}" in drawing.caption, name
    girls = int((~hands_of(n)["male"]).sum())
    assert f"n = {girls} girls and {n - girls} boys" in made["age_sex_gap"].caption


def test_the_findings_are_those_of_the_data():
    made = drawings(700)
    assert (
        "averaged over half-years of the label that contain both sexes"
        in made["age_sex_gap"].finding
    )
    assert "nominal coverage of 90 % contain 9" in made["age_conformal"].finding
    assert "times as large" in made["age_scatter"].finding
    finding = made["worst_cases"].finding
    assert "overestimates" in finding or "underestimates" in finding


def test_no_estimate_lies_outside_of_its_figure():
    frame = hands_of(20).assign(predicted_age_months=np.linspace(-52, 300, 20))
    axes = draw.plot_scatter(frame, plt.figure().subplots())
    low, high = axes.get_ylim()
    assert low < -52 and high > 300


def test_estimates_that_are_absurd_do_not_draw_thousands_of_ticks():
    frame = hands_of(20).assign(predicted_age_months=np.linspace(-3e5, 3e5, 20))
    axes = draw.plot_scatter(frame, plt.figure().subplots())
    assert max(len(axis.get_major_locator()()) for axis in (axes.xaxis, axes.yaxis)) < 20


def test_worst_cases_are_drawn_even_if_there_are_fewer_than_places():
    drawing = draw.worst_cases(squares(3, 1).images, hands_of(3))
    assert [len(axes.images) for axes in drawing.figure.axes] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert drawing.is_raster


def test_a_band_that_fails_is_drawn_in_orange_and_others_are_not():
    intervals = conformal.split_conformal(hands_of(900), hands_of(600, seed=1))
    oldest = intervals["age_months"] >= 192
    colours = []
    for covered in (intervals["covered"], intervals["covered"] & ~oldest):
        assessed = conformal.compare_intervals({"x": intervals.assign(covered=covered)})
        assessed = assessed[assessed["by"] != "estimated age"].assign(fails=assessed["fails"])
        axes = uncertainty.plot_coverage(assessed, 0.9, plt.figure().subplots())
        dots = [line for line in axes.lines if len(line.get_xdata()) == 1]
        colours.append([to_hex(dot.get_color()) for dot in dots])
    assert ORANGE.lower() not in colours[0]
    assert ORANGE.lower() in colours[1]


def test_a_number_at_a_bar_is_the_error_with_its_n():
    bands = errors.by_band(hands_of(700))
    texts = [text.get_text() for text in draw.by_band(bands).figure.axes[0].texts]
    row = bands[(bands["sex"] == "female") & (bands["n"] > 0)].iloc[0]
    assert texts[0] == f"{row['mae_months']:.1f} (n = {row['n']})"


@pytest.mark.parametrize("tier", ["phantom", "rsna"])
def test_published_errors_are_for_reference_only(tier):
    rows = summary.yardsticks(hands_of(50), hands_of(50), "x", tier)
    caption = draw.scatter(hands_of(50), rows, "An answer.").caption
    assert ("published, another split" in caption) == (tier == "rsna")


def test_one_kind_of_intervals_alone_makes_no_comparison():
    assessed = conformal.compare_intervals(
        {"x": conformal.split_conformal(hands_of(90), hands_of(9))}
    )
    assert uncertainty.quantiles(assessed, 0.9) is None


def test_the_noise_of_the_labels_is_a_band():
    rows = summary.yardsticks(hands_of(50), hands_of(50), "x", "rsna")
    axes = draw.plot_yardsticks(rows, plt.figure().subplots(), (4.6, 7.0))
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).intervalx == pytest.approx([4.6, 7.0])
    assert "4.6–7.0" in " ".join(text.get_text() for text in axes.texts)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "age", epochs=1)


def view_of(run):
    frame = selection.validation(run)
    images = selection.pictures(squares_for(run.config), frame["id"])
    intervals = conformal.split_conformal(selection.predictions_of(run, "selection"), frame)
    return browse_errors(run, images, intervals), frame


def test_a_slider_goes_from_the_worst_estimate_to_the_best(run, is_live, monkeypatch):
    titles = []
    original = draw.plt.close
    monkeypatch.setattr(
        live.plt, "close",
        lambda figure: (titles.append(figure.axes[2].get_title(loc="left")), original(figure)),
    )  # fmt: skip
    view, frame = view_of(run)
    (rank,), picture = view.children[0].children, view.children[1]
    assert isinstance(rank, widgets.IntSlider) and rank.max == len(frame)
    before = picture.value
    rank.value = rank.max
    assert picture.value != before and bytes(picture.value).startswith(b"\x89PNG")
    size = (frame["predicted_age_months"] - frame["age_months"]).abs()
    shown = [float(t.split()[1].replace("−", "-")) for t in titles]
    assert np.abs(shown) == pytest.approx([size.max(), size.min()], abs=0.06)
    assert f"1 of {len(frame)}" in titles[0]


def test_a_batch_run_shows_the_worst_estimate(run, is_batch):
    view, _ = view_of(run)
    assert isinstance(view, Image)


def test_intervals_without_an_end_are_not_drawn():
    hands, few = hands_of(60), hands_of(5, seed=1)
    curve = errors.abstention(np.ones(60), np.ones(60))
    for chosen, panels, begin in ((hands_of(900), 2, "Left: coverage"), (few, 1, "Abstention")):
        intervals = conformal.split_conformal(chosen, hands)
        drawing = uncertainty.intervals(
            conformal.coverage(intervals), conformal.compare_intervals({"x": intervals}), curve, 0.9
        )
        assert len(drawing.figure.axes) == panels and drawing.caption.startswith(begin)
