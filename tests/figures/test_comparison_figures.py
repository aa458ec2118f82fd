"""The figures of notebooks 04 to 06, their words, and the control that chooses experiments."""

from functools import partial
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation
from slides import check_on_its_slide

from h2a_lib.analysis.comparison import range_test as interval
from h2a_lib.analysis.comparison import runs as comparisons
from h2a_lib.figures import comparison as draw
from h2a_lib.figures import schedules, training
from h2a_lib.figures.explore import runs as explore
from h2a_lib.models.range_test import RangeTest

pytestmark = pytest.mark.usefixtures("style")

N = 120
CURVES = ("curves_by_depth", "learning_rates", "optimizers", "normalisation")
FIGURES = (
    *(draw.forest, draw.step_grid, draw.trade_off, draw.data_curve),
    *(partial(draw.curves, name=name) for name in CURVES),
    *(partial(draw.curves_and_rates, name=name) for name in ("plateau", "cyclic")),
)
STEPS = {
    f"step_g{gamma}_s{size}": {"schedule": {"name": "step", "gamma": gamma, "step_size": size}}
    for gamma in (0.1, 0.5)
    for size in (1, 4, 9, 16, 25)
}
OTHERS = {
    "resnet34": {"network": "resnet34"},
    "plateau": {"schedule": "plateau"},
    "one_cycle": {"schedule": "one_cycle"},
    "lr_3e-3": {"lr": 3e-3},
    "sgd": {"optimizer": "sgd", "lr": 1e-2},
    "norm_batch": {"pixel_norm": "batch"},
    "l2": {"weight_decay": 1e-2},
    "augment": {"augment": {}},
    "data_25": {"train_fraction": 0.25},
    "data_50": {"train_fraction": 0.5},
    "recipe": {"augment": {}, "epochs": 9},
}


@pytest.fixture
def make_run(config):
    """Return a function that makes a run with curves, as the figures need them."""

    def make(experiment="resnet18", seed=0, off_by=10.0, **settings):
        random = np.random.default_rng([seed, *experiment.encode()])
        ages = np.linspace(10, 220, N)
        predictions = pd.DataFrame(
            {
                "id": [str(i) for i in range(N)],
                "age_months": ages,
                "male": np.arange(N) % 2 == 0,
                "split": "validation",
                "predicted_age_months": ages + off_by + random.normal(0, 3, N),
            }
        )
        share = settings.get("train_fraction", 1.0)
        errors = {"train_mae_months": [20.0, 9.0], "selection_mae_months": [22.0, 12.0]}
        return SimpleNamespace(
            config=config(experiment=experiment, seed=seed, **settings),
            name=f"{experiment}/seed-{seed}",
            predictions=predictions,
            predictions_train=predictions.head(int(N * share)),
            history=pd.DataFrame({"epoch": [1, 2]} | errors),
            steps=pd.DataFrame({"step": [1, 2, 3, 4], "lr": [1e-3, 1e-3, 7e-4, 7e-4]}),
            metrics={
                "epochs": 2,
                "best_epoch": 2,
                "n_train": 100,
                "selection": {"n": 60},
                "validation": {"mae_months": off_by},
            },
        )

    return make


@pytest.fixture
def comparison(make_run):
    runs = [make_run(seed=seed, off_by=10 + seed / 10) for seed in range(3)]
    runs += [
        make_run(name, off_by=11 + k / 2, **settings)
        for k, (name, settings) in enumerate((STEPS | OTHERS).items())
    ]
    return comparisons.compare(runs, 1.0)


@pytest.mark.parametrize("function", FIGURES)
def test_every_figure_of_notebook_06_has_words_and_legible_text(comparison, function):
    drawing = function(comparison)
    assert len(drawing.alt.split()) > 5 and drawing.finding.endswith(".")
    assert f"n = {N}" in drawing.caption and not drawing.caption.endswith(".")
    assert "resnet18" not in drawing.alt + drawing.caption + drawing.finding
    check_on_its_slide(drawing)


@pytest.mark.parametrize("function", [f for f in FIGURES if f is not draw.forest])
def test_without_runs_to_compare_nothing_is_drawn(make_run, function):
    assert function(comparisons.compare([make_run(), make_run(seed=1)], 1.0)) is None


def test_figures_are_named_as_the_workflow_expects(comparison):
    names = [function(comparison).name for function in FIGURES]
    assert sorted(names) == sorted(comparisons.comparisons(comparison.configs))


def test_curves_stand_beside_the_constant_predictor_and_the_noise_of_labels(comparison):
    axes = draw.curves(comparison, "optimizers", (4.6, 7.0)).figure.axes[0]
    written = {text.get_text() for text in axes.texts}
    assert {"always the median age", "label noise: 4.6–7.0 months", "Adam (default)"} <= written
    constant = comparisons.constant_error(comparison.groups["resnet18"][0])
    assert axes.get_ylim()[1] > constant.value


def test_a_training_that_diverged_does_not_set_the_scale(make_run):
    bad = make_run("resnet34", network="resnet34")
    bad.history["selection_mae_months"] = [5000.0, 1700.0]
    runs = [make_run(), make_run(seed=1), make_run(seed=2), bad]
    axes = draw.curves(comparisons.compare(runs, 1.0), "curves_by_depth").figure.axes[0]
    assert axes.get_ylim()[1] < 200
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    assert {"ResNet-34"} <= {text.get_text() for text in labels}
    assert all(0 <= text.xyann[1] <= 1 for text in labels if text.get_text() == "ResNet-34")


def test_direct_labels_do_not_overlap():
    placed = training.spread([0.5, 0.5, 0.51, 0.9, 0.99], 0.1)
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-9 and max(placed) <= 1


def test_of_many_curves_no_two_have_one_colour(comparison):
    for n in (3, 7, 8, 20):
        assert len(set(draw.colours_for(n)[:n])) == n
    axes = draw.step_grid(comparison).figure.axes[0]
    solid = [line.get_color() for line in axes.lines if line.get_label()[0] != "_"]
    assert len(set(solid)) == len(solid) == 11


def test_the_heat_map_is_light_where_the_error_is_low_and_has_a_colour_bar(comparison):
    figure = draw.step_grid(comparison).figure
    mesh = figure.axes[1].collections[0]
    values, colours = mesh.get_array().ravel(), mesh.cmap(mesh.norm(mesh.get_array().ravel()))
    light = colours[:, :3].mean(axis=1)
    assert light[values.argmin()] > light[values.argmax()]
    assert figure.axes[2].get_ylabel() == "Validation error (months)"


def test_a_ring_marks_the_epoch_whose_weights_were_kept():
    seeds = [
        pd.DataFrame({"epoch": [1, 2, 3], "train_mae_months": 1.0, "selection_mae_months": errors})
        for errors in ([20.0, 12.0, 15.0], [22.0, 14.0, 13.0])
    ]
    axes = training.curves({"a": seeds}, plt.subplots()[1])
    rings = [line.get_xydata().tolist() for line in axes.lines if line.get_markersize() > 10]
    assert rings == [[[2, 13.0]], [[3, 14.0]]]


def test_the_forest_shows_every_experiment_in_two_panels_of_about_one_scale(
    comparison, monkeypatch
):
    left, right = draw.forest(comparison).figure.axes
    names = [text.get_text() for axes in (left, right) for text in axes.get_yticklabels()]
    assert len(names) == (comparison.table["same_as"] == "").sum()
    left.figure.draw_without_rendering()
    scales = [np.ptp(axes.get_xlim()) / axes.get_window_extent().width for axes in (left, right)]
    assert scales[0] == pytest.approx(scales[1], rel=0.05)
    monkeypatch.setattr(draw, "MOST_ROWS", 10)
    drawing = draw.forest(comparison)
    (axes,) = drawing.figure.axes
    assert len(axes.get_yticklabels()) == 10
    assert f"{len(names) - 10} more in the table" in drawing.caption


def test_what_was_trained_for_longer_besides_is_starred_in_the_forest(make_run):
    runs = [make_run(), make_run(seed=1)]
    runs += [make_run(name, **OTHERS[name]) for name in ("recipe", "data_50", "sgd")]
    drawing = draw.forest(comparisons.compare(runs, 1.0))
    names = {text.get_text() for text in drawing.figure.axes[0].get_yticklabels()}
    assert names == {"augmentation, 9 epochs *", "half of the data", "SGD, learning rate 0.01"}
    assert "; * also differs in epochs; " in drawing.caption


def test_batch_normalisation_of_pixels_says_how_it_is_evaluated(comparison):
    assert "unlike in training" in draw.curves(comparison, "normalisation").caption


def test_the_share_of_the_data_says_what_it_is_confounded_with(comparison):
    assert "fewer updates" in draw.trade_off(comparison).finding
    panels = draw.trade_off(comparison).figure.axes
    titles = ["epoch (blue:\nselection hands)", *comparisons.TRADES.values()]
    assert [p.get_title(loc="left") for p in panels] == [f"By {title}" for title in titles]


def test_the_trade_off_is_the_mean_over_seeds(make_run):
    runs = [make_run(seed=seed, off_by=10.0 + seed) for seed in range(3)]
    runs += [make_run("resnet34", 0, 14.0, network="resnet34")]
    runs[0].history["selection_mae_months"] = [25.0, 15.0]
    drawing = draw.trade_off(comparisons.compare(runs, 1.0))
    by_epoch, by_depth = drawing.figure.axes
    assert by_epoch.lines[1].get_ydata().tolist() == [23.0, 13.0]
    mean = np.mean([comparisons.error(run).value for run in runs[:3]])
    validation = next(line for line in by_depth.lines if line.get_label() == "validation")
    assert validation.get_ydata()[0] == pytest.approx(mean) and len(validation.get_ydata()) == 2
    assert "mean over seeds" in drawing.caption


def test_a_caption_separates_hands_of_curves_and_hands_of_differences(comparison):
    caption = draw.curves(comparison, "learning_rates").caption
    assert "60 selection hands" in caption and f"n = {N} validation hands" in caption


def test_choosing_experiments_redraws_their_curves(comparison, is_live):
    view = explore.curves(comparison)
    control, picture = view.children[0].children[0], view.children[1]
    before = picture.value
    control.value = ("resnet18", "sgd", "l2")
    assert picture.value != before and bytes(picture.value).startswith(b"\x89PNG")
    control.value = ()
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert ("SGD, learning rate 0.01", "sgd") in control.options


def test_a_batch_run_shows_the_first_experiments(comparison, is_batch):
    assert not hasattr(explore.curves(comparison), "children")


def curve_of(noise):
    lr = np.geomspace(1e-6, 1, 100)
    x = np.log10(lr)
    loss = 1 - 0.5 * np.exp(-(((x + 3) / 0.8) ** 2)) + np.exp(3 * (x + 0.7))
    loss = loss + np.random.default_rng(0).normal(0, noise, 100)
    smoothed = pd.Series(loss).rolling(10, min_periods=1).mean()
    return pd.DataFrame({"lr": lr, "loss": loss, "smoothed": smoothed})


def test_the_range_tests_suggestion_is_the_less_certain_the_noisier_the_losses():
    ends = [interval.suggestion_interval(curve_of(noise)) for noise in (0.01, 0.3)]
    narrow, wide = (np.log10(high / low) for low, high in ends)
    assert wide > narrow and narrow < 0.5
    assert interval.suggestion_interval(curve_of(0.3)) == ends[1]


def test_an_interval_over_decades_is_called_undetermined(config):
    for noise, is_wide in ((0.01, False), (0.9, True)):
        drawing = schedules.range_test(RangeTest(curve_of(noise), 6.4e-4, diverged=True), config())
        title = drawing.figure.axes[0].get_title(loc="left")
        assert ("undetermined" in title) == ("undetermined" in drawing.finding) == is_wide
        verdict = interval.variables(RangeTest(curve_of(noise), 6.4e-4, True), config())["verdict"]
        assert ("inconclusive: 95 % interval" in verdict) == is_wide


def test_the_range_test_rounds_to_what_it_knows(config):
    result = RangeTest(curve_of(0.05), 6.4e-4, diverged=True)
    drawing = schedules.range_test(result, config())
    assert "suggests 6\u00a0×\u00a010⁻⁴, with a 95 % interval of" in drawing.finding
    assert interval.variables(result, config())["suggestion"] == "6\u00a0×\u00a010⁻⁴"


@pytest.mark.parametrize("augment", [None, {}])
def test_training_hands_are_drawn_as_the_network_receives_them(hands, config, augment):
    drawing = training.augmented_hands(hands, config(augment=augment))
    assert drawing.is_raster and len(drawing.figure.axes) == 12
    assert ("without" in drawing.caption) == (augment is None)


def test_estimates_stand_beside_their_labels(hands, make_run):
    run = make_run()
    ids = hands.labels["id"][hands.labels["split"] == "selection"].tolist()
    run.predictions = run.predictions.head(len(ids)).assign(id=ids, split="selection")
    drawing = training.estimates(run, hands)
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert len(titles) == 8 and all("→" in title and "months" in title for title in titles)
    assert titles[0] in drawing.alt


@pytest.mark.parametrize(
    ("rate", "place"),
    [(1e-3, "at the edge of"), (2e-4, "inside"), (1e-5, "outside"), (3e-3, "outside")],
)
def test_a_default_that_reads_like_an_end_of_the_interval_is_at_its_edge(rate, place):
    assert schedules._place(rate, 4.4e-5, 9.6e-4) == place


def test_a_heat_map_is_published_since_it_has_no_image(tmp_path):
    errors = pd.DataFrame([[20.0, 21.0], [19.0, 18.0]], index=[0.1, 0.5], columns=[1, 4])
    file = tmp_path / "grid.svg"
    schedules.grid(errors, plt.figure().subplots()).figure.savefig(file)
    assert b"<image" not in file.read_bytes()
