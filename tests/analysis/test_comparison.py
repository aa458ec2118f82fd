"""Comparing runs: constructed runs with known answers."""

import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.comparison import runs as comparison
from h2a_lib.analysis.comparison import summary as comparison_report
from h2a_lib.errors import UserError
from h2a_lib.figures import training
from h2a_lib.figures.comparison import Drawer, colours_for
from h2a_lib.study.results import Results

N = 200


@pytest.fixture
def run(config):
    """Return a function that makes a run whose errors on the same hands are as asked."""
    ages = np.linspace(10, 220, N)

    def make(experiment="resnet18", off_by=10.0, noise=0.0, seed=0, **settings):
        random = np.random.default_rng(seed)
        side = np.where(np.arange(N) % 2 == 0, 1, -1)
        predicted = ages + off_by * side + noise * random.normal(size=N)
        frame = pd.DataFrame(
            {
                "id": [str(i) for i in range(N)],
                "age_months": ages,
                "male": np.arange(N) % 3 == 0,
                "split": "validation",
                "predicted_age_months": predicted,
            }
        )
        return SimpleNamespace(
            config=config(experiment=experiment, seed=seed, **settings),
            predictions=frame.sample(frac=1, random_state=seed),
            predictions_train=frame.assign(predicted_age_months=ages + off_by / 2),
            metrics={
                "epochs": 2,
                "best_epoch": 1,
                "validation": {"mae_months": float(np.abs(predicted - ages).mean())},
            },
            made_by={"seconds": 1.0},
        )

    return make


def groups(*runs):
    return comparison.by_experiment(runs)


def test_the_best_is_the_one_with_the_lowest_error(run):
    found = groups(run(off_by=10), run("b", off_by=8, lr=0.1), run("c", off_by=12, lr=0.2))
    assert comparison.best(found) == "b"


def test_experiments_with_different_numbers_of_seeds_are_ranked_by_the_seeds_they_share(run):
    seeds = [run(off_by=9.8), run(off_by=10.3, seed=1), run(off_by=10.5, seed=2)]
    found = groups(*seeds, run("b", off_by=10, lr=0.1))
    assert comparison.best(found) == "b"
    assert comparison_report.ranking_sentence(found, "the rate").startswith(
        "Best is 0.001 (default); b errs 0.2 months"
    )
    assert comparison_report.ranking_verdict(found) == "The default is best"


def test_a_study_without_what_all_are_compared_with_says_what_to_add(config):
    with pytest.raises(UserError, match="compared with resnet18, which is not among those"):
        comparison.comparisons({"resnet34": config(experiment="resnet34", network="resnet34")})


def test_the_deck_names_the_best_network_that_sees_the_image_alone(run):
    runs = [run(off_by=10), run("b", off_by=8, lr=0.1), run("told", off_by=2, sex_input=True)]
    found = comparison_report.variables(runs)
    assert found["best_experiment"] == "b"
    assert str(found["best_mae"]).startswith("8.0 months")
    only_told = [run(off_by=2, sex_input=True)]
    assert comparison_report.variables(only_told)["best_experiment"] == "resnet18"


def test_a_difference_has_a_sign_and_hands_meet_by_id(run):
    a, b = [run("a", off_by=12)], [run("b", off_by=9, seed=1)]
    found = comparison.gap(a, b)
    assert found.value == pytest.approx(3)
    assert found.low == pytest.approx(3) and found.high == pytest.approx(3)
    assert comparison.gap(b, a).value == pytest.approx(-3)


def test_equal_runs_are_called_a_tie(run):
    found = groups(run(noise=5), run("b", noise=5, seed=1, lr=0.1))
    assert comparison.gap(found["b"], found["resnet18"]).is_tie
    assert comparison_report.ranking_sentence(found, "the rate").startswith(
        "A tie: the rate makes no"
    )
    assert comparison.forest(found)["tie"].tolist() == [True]


def test_a_clear_winner_is_named_with_the_distance(run):
    found = groups(run(off_by=10), run("b", off_by=4, lr=0.1), run("c", off_by=4, lr=0.2))
    sentence = comparison_report.ranking_sentence(found, "the rate")
    assert sentence.startswith("Best is b; 0.001 (default) errs 6.0 months")
    assert sentence.endswith("c ties with the best.")
    found |= groups(run("d", off_by=4, lr=0.3), run("e", off_by=4, lr=0.4))
    sentence = comparison_report.ranking_sentence(found, "the rate")
    assert sentence.endswith("; c, d and e tie with the best.")


def test_what_is_compared_follows_from_the_settings(config):
    configs = {
        "resnet18": config(),
        "resnet34": config(network="resnet34"),
        "fast": config(schedule={"name": "step", "gamma": 0.1, "step_size": 1}),
        "both": config(network="resnet34", weight_decay=0.1),
    }
    assert comparison.differing_in(configs, "network") == ["resnet18", "resnet34"]
    found = comparison.comparisons(configs)
    assert found["curves_by_depth"] == ["resnet18", "resnet34"]
    assert found["step_grid_curves"] == ["resnet18", "fast"]
    assert "plateau" not in found and "normalisation" not in found
    assert found["forest"] == list(configs)


def test_the_table_has_a_row_for_every_run_of_the_study(run):
    sex = run("sex", task="sex")
    sex.metrics["validation"] = {"auc": 0.75}
    found = comparison.table([run(), run(seed=1), run("wide", lr=0.1), sex])
    assert found[["experiment", "seed"]].to_numpy().tolist() == [
        ["resnet18", 0],
        ["resnet18", 1],
        ["wide", 0],
        ["sex", 0],
    ]
    assert found["differs_in"].tolist() == ["nothing (default)"] * 2 + ["lr", "task"]
    assert found["mae_months"].tolist()[:3] == [10.0] * 3 and math.isnan(found["mae_months"][3])
    assert found["auc"][3] == 0.75


def test_a_title_says_between_what_all_errors_lie(run):
    runs = [run(off_by=10), run("b", off_by=8, lr=0.1), run("sex", task="sex")]
    assert comparison_report.errors_verdict(runs) == "errors of 8.0 to 10.0 months"
    assert comparison_report.errors_verdict(runs[:1]) == "errors of 10.0 months"


def test_the_step_grid_has_a_cell_for_each_gamma_and_step(run):
    cells = [
        run(f"g{g}_s{s}", off_by=10 * g + s, schedule={"name": "step", "gamma": g, "step_size": s})
        for g in (0.1, 0.5)
        for s in (1, 4)
    ]
    grid = comparison.step_grid(groups(*cells))
    assert grid.loc[0.5, 4] == pytest.approx(9) and grid.loc[0.1, 1] == pytest.approx(2)


def test_the_constant_predictor_is_beaten_tied_or_not_in_words(run):
    median = np.median(np.linspace(10, 220, N))
    good, constant, bad = run(off_by=5), run(), run(off_by=90)
    constant.predictions = constant.predictions.assign(predicted_age_months=median)
    assert comparison_report.beats_constant_sentence(good) == (
        "It removes 91 % of the error of always answering the median age."
    )
    assert "cannot be told from" in comparison_report.beats_constant_sentence(constant)
    assert "worse than" in comparison_report.beats_constant_sentence(bad)


def test_bias_and_variance_are_read_from_the_two_sets_and_ordered_by_the_setting(run):
    found = groups(
        run(off_by=10),
        run("l2_high", off_by=14, weight_decay=1e-2),
        run("l2_low", off_by=12, weight_decay=1e-4),
        run("augment", off_by=8, augment={}),
    )
    table = comparison.trade_off(found, "weight_decay")
    assert table["label"].tolist() == ["0", "0.0001", "0.01"]
    assert table["train_mae_months"].tolist() == pytest.approx([5, 6, 7])
    assert table["mae_months"].tolist() == pytest.approx([10, 12, 14])
    assert comparison.trade_off(found, "augment")["label"].tolist() == ["off", "on"]


def test_an_optimiser_is_compared_with_its_own_rate(config):
    configs = {
        "resnet18": config(),
        "sgd": config(optimizer="sgd", lr=0.1),
        "adamw": config(optimizer="adamw", weight_decay=0.01),
        "fast": config(lr=0.1),
        "recipe": config(optimizer="sgd", augment={}),
    }
    found = comparison.comparisons(configs)
    assert found["optimizers"] == ["resnet18", "sgd", "adamw"]
    assert found["learning_rates"] == ["resnet18", "fast"]


def test_what_is_learnt_by_heart_is_said_in_words(run):
    sentence = comparison_report.variance_sentence(groups(run(off_by=10)))
    assert "by 5.0 months on the hands it learnt from" in sentence
    assert sentence.endswith("5.0 months are learnt by heart.")
    same = run(off_by=10)
    same.predictions_train = same.predictions
    assert comparison_report.variance_sentence(groups(same)).endswith("holds for others as well.")
    easier = run(off_by=10)
    easier.predictions_train = run(off_by=20).predictions
    assert comparison_report.variance_sentence(groups(easier)).endswith("happen to be easier.")


@pytest.fixture
def drawn_runs(run, tmp_path):
    """Return a function that makes a run with curves and a folder, as the figures need them."""

    def make(experiment="resnet18", **settings):
        found = run(experiment, noise=3.0, **settings)
        found.folder = tmp_path / "runs" / experiment
        found.folder.mkdir(parents=True)
        epochs = pd.Series([1, 2], name="epoch")
        errors = {"train_mae_months": [20.0, 9.0], "validation_mae_months": [22.0, 12.0]}
        found.history = pd.DataFrame({"epoch": epochs} | errors)
        found.steps = pd.DataFrame({"step": [1, 2, 3, 4], "lr": [1e-3, 1e-3, 7e-4, 7e-4]})
        for name in ("history", "steps", "predictions", "predictions_train"):
            getattr(found, name).to_csv(found.folder / f"{name}.csv")
        return found

    return make


def test_every_figure_of_notebook_06_is_drawn_with_its_yardsticks(drawn_runs, tmp_path):
    found = groups(
        drawn_runs(),
        drawn_runs("resnet34", network="resnet34"),
        drawn_runs("sgd", optimizer="sgd", lr=1e-2),
        drawn_runs("l2", weight_decay=1e-2),
        drawn_runs("half", train_fraction=0.5),
        drawn_runs("augment", augment={}),
        drawn_runs("plateau", schedule="plateau"),
    )
    results = Results(tmp_path / "results", tmp_path, "Made-up tier")
    draw = Drawer(results, found, "06_compare_runs", floor_months=4.6)
    names = list(found)
    curves = draw.curves("optimizers", ["resnet18", "sgd"], "by the optimiser")
    said = {text.get_text() for text in curves.axes[0].texts}
    assert said >= {"always the median age", "noise of the labels"}
    assert curves.axes[0].get_ylim()[1] > comparison.constant_error(found["resnet18"][0]).value
    draw.curves_with_rates("plateau", ["resnet18", "plateau"], "and rate")
    panels = draw.trade_off("bias_variance", names).axes
    assert [text.get_text() for text in panels[1].get_xticklabels()] == ["18", "34"]
    assert [panel.get_xlabel() for panel in panels] == ["epoch", *comparison.TRADES.values()]
    alone = draw.trade_off("bias_variance", ["resnet18"]).axes
    assert [panel.get_xlabel() for panel in alone] == ["epoch"]
    draw.forest("forest", comparison.forest(found))
    for name in ("optimizers", "plateau", "bias_variance", "forest"):
        assert (tmp_path / "results" / "figures" / f"{name}.svg").stat().st_size > 1000


def test_a_ring_marks_the_error_that_runs_are_compared_by_not_the_last():
    seeds = [
        pd.DataFrame({"epoch": [1, 2, 3], "train_mae_months": 1.0, "validation_mae_months": errors})
        for errors in ([20.0, 12.0, 15.0], [22.0, 14.0, 13.0])
    ]
    figure, axes = plt.subplots()
    training.curves({"a": seeds}, axes)
    rings = [line.get_xydata().tolist() for line in axes.lines if line.get_markersize() > 10]
    assert rings == [[[2, 12.0]], [[3, 13.0]]]
    plt.close(figure)


def drawer(tmp_path, *runs):
    return Drawer(Results(tmp_path / "results", tmp_path, "Made-up tier"), groups(*runs), "06")


def test_a_long_forest_has_columns_of_one_scale_that_begin_at_one_height(drawn_runs, tmp_path):
    many = [drawn_runs(f"rate_{i}", off_by=6 + i / 2, lr=0.1 / (i + 1)) for i in range(20)]
    draw = drawer(tmp_path, drawn_runs(), *many)
    table = comparison.forest(draw.groups)
    left, right = draw.forest("forest", table).axes
    shown = [[text.get_text() for text in axes.get_yticklabels()] for axes in (left, right)]
    assert shown[0] + shown[1] == table["experiment"].tolist()
    assert [len(names) for names in shown] == [10, 10]
    assert left.get_xlim() == right.get_xlim()
    short = draw.forest("forest", table[:15])
    assert len(short.axes) == 1
    # An odd one out: its rows stand as far apart as those beside them, the first as high.
    left, right = draw.forest("forest", table[:17]).axes
    tops = [axes.get_ylim()[1] - axes.get_yticks().max() for axes in (left, right)]
    assert tops[0] == pytest.approx(tops[1])
    assert np.ptp(left.get_ylim()) == pytest.approx(np.ptp(right.get_ylim()))


def test_what_was_trained_for_longer_besides_is_starred_in_the_forest(drawn_runs, tmp_path):
    draw = drawer(
        tmp_path,
        drawn_runs(),
        drawn_runs("recipe", augment={}, epochs=9),
        drawn_runs("half", train_fraction=0.5),
        drawn_runs("sgd", optimizer="sgd", lr=0.01),
    )
    (axes,) = draw.forest("forest", comparison.forest(draw.groups)).axes
    names = {text.get_text() for text in axes.get_yticklabels()}
    assert names == {"recipe *", "half", "sgd"}
    caption = (tmp_path / "results" / "figures" / "forest.json").read_text(encoding="utf-8")
    assert "* other epochs" in caption


def test_of_many_curves_no_two_have_one_colour(drawn_runs, tmp_path):
    for n in (3, 7, 8, 20):
        assert len(set(colours_for(n)[:n])) == n
    grid = [
        drawn_runs(f"g{g}_s{s}", schedule={"name": "step", "gamma": g, "step_size": s})
        for g in (0.1, 0.5)
        for s in (1, 4, 9, 16, 25)
    ]
    draw = drawer(tmp_path, drawn_runs(), *grid)
    curves = draw.step_grid("step_grid_curves", list(draw.groups)).axes[0]
    solid = [line.get_color() for line in curves.lines if line.get_label()[0] != "_"]
    assert len(set(solid)) == len(solid) == 11


def test_beside_others_the_default_is_called_by_what_it_has(run):
    found = groups(run(), run("sgd", optimizer="sgd", lr=0.01), run("norm", pixel_norm="batch"))
    configs = comparison.configs_of(found)
    assert comparison.in_words(configs, ["resnet18", "sgd"]) == {
        "resnet18": "adam (default)",
        "sgd": "sgd",
    }
    assert comparison.in_words(configs, ["resnet18", "norm"])["resnet18"] == "instance (default)"
    assert comparison.in_words(configs, ["resnet18"]) == {"resnet18": "resnet18"}


def test_the_forest_counts_what_is_better_worse_or_a_tie():
    table = pd.DataFrame({"tie": [False, False, False, True], "difference_months": [-1, 2, 3, 4]})
    assert comparison_report.forest_verdict(table) == "1 better, 2 worse, 1 tie"
    assert comparison_report.forest_verdict(pd.concat([table.tail(1)] * 2)) == "2 ties"
