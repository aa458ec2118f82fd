"""Comparing runs: constructed runs with known answers."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.comparison import runs as comparisons
from h2a_lib.analysis.comparison import summary
from h2a_lib.analysis.comparison.labels import label, labels_of
from h2a_lib.errors import UserError

N = 200


@pytest.fixture
def run(config):
    """Return a function that makes a run whose errors on the same hands are as asked."""
    ages = np.linspace(10, 220, N)

    def make(experiment="resnet18", off_by=10.0, noise=0.0, seed=0, **settings):
        random = np.random.default_rng([seed, *experiment.encode()])
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
        mae = float(np.abs(predicted - ages).mean())
        return SimpleNamespace(
            config=config(experiment=experiment, seed=seed, **settings),
            predictions=frame.sample(frac=1, random_state=seed),
            history=pd.DataFrame({"lr": [1.0, 0.5]}),
            predictions_train=frame.assign(predicted_age_months=ages + off_by / 2),
            metrics={
                "epochs": 2,
                "best_epoch": 1,
                "selection": {"mae_months": mae},
                "validation": {"mae_months": mae},
            },
            provenance={"seconds": 1.0},
        )

    return make


def groups(*runs):
    return comparisons.by_experiment(runs)


def repeated(run, experiment="resnet18", off_by=10.0, seeds=5, spread=0.1, **settings):
    """Make runs of some seeds whose mean error varies by `spread` months around `off_by`."""
    shifts = np.linspace(-spread, spread, seeds) if seeds > 1 else [0.0]
    return [
        run(experiment, off_by + shift, noise=1.0, seed=seed, **settings)
        for seed, shift in enumerate(shifts)
    ]


def compare(*runs, margin=1.0):
    return comparisons.compare(runs, margin)


def test_a_study_without_what_all_are_compared_with_says_what_to_add(config, run):
    with pytest.raises(UserError, match="compared with resnet18, which is not among those"):
        comparisons.comparisons({"resnet34": config(experiment="resnet34", network="resnet34")})
    with pytest.raises(UserError, match="no run of resnet18"):
        compare(run("resnet34", network="resnet34"))


def test_a_difference_has_a_sign_and_hands_meet_by_id(run):
    result = compare(*repeated(run), *repeated(run, "b", 13, lr=0.1))
    assert result.estimate("b").value == pytest.approx(3, abs=0.2)
    better = compare(*repeated(run), *repeated(run, "b", 7, lr=0.1))
    assert better.estimate("b").value == pytest.approx(-3, abs=0.2)


def test_runs_of_other_children_cannot_be_compared(run):
    other = run(seed=1)
    other.predictions = other.predictions.assign(id=other.predictions["id"] + "x")
    with pytest.raises(UserError, match="same ids"):
        compare(run(), other, run("b", lr=0.1))


WORDS = {
    "better": "ResNet-34 performs better than ResNet-18 by 3",
    "worse": "ResNet-34 performs worse than ResNet-18 by 3",
    "equivalent": "ResNet-34 is equivalent to ResNet-18 within the margin of 1 month",
    "inconclusive": "Inconclusive compared with ResNet-18: ResNet-34 (+2",
}


@pytest.mark.parametrize(
    ("off_by", "spread", "verdict", "title"),
    [
        (7, 0.1, "better", "ResNet-34 performs better by 3"),
        (13, 0.1, "worse", "Deeper is not better: ResNet-34"),
        (10.1, 0.1, "equivalent", "ResNet-34 is equivalent"),
        (12, 4, "inconclusive", "ResNet-18 or ResNet-34: inconclusive"),
    ],
)
def test_each_verdict_has_its_sentence_and_its_title(run, off_by, spread, verdict, title):
    result = compare(
        *repeated(run, spread=spread),
        *repeated(run, "resnet34", off_by, spread=spread, network="resnet34"),
    )
    assert result.row("resnet34")["verdict"] == verdict
    sentence = summary.sentence(result, ["resnet18", "resnet34"])
    assert sentence.startswith(WORDS[verdict]) and "n = 200" not in sentence  # the caption has it
    assert summary.title(result, ["resnet18", "resnet34"], "depth").startswith(title)
    assert summary.verdict(result) == f"ResNet-34: {verdict}"


def test_an_interval_in_a_sentence_has_the_order_and_sign_of_its_verb(run):
    result = compare(*repeated(run), *repeated(run, "b", 7, lr=0.1))
    assert result.estimate("b").high < 0
    assert "−" not in summary.sentence(result, ["b"])


def test_one_seed_each_leaves_every_verdict_open_and_says_why(run):
    result = compare(run(), run("b", 2, lr=0.1))
    assert result.row("b")["verdict"] == "inconclusive"
    assert summary.verdict(result) == "inconclusive (training noise unknown: one seed each)"
    assert "(training noise unknown: one seed each)" in summary.sentence(result, ["b"])
    assert "training noise is unknown" in summary.noise_sentence(result)
    assert summary.title(result, ["b"], "learning_rate").startswith("Learning rate: inconclusive (")
    assert summary.forest_title(result).startswith("No verdict against the default (")


def test_an_experiment_with_one_seed_takes_the_noise_from_the_others(run):
    result = compare(*repeated(run, spread=2), run("b", 13, noise=1.0, lr=0.1))
    alone = compare(run(noise=1.0), run("b", 13, noise=1.0, lr=0.1))
    width, narrow = (e.high - e.low for e in (result.estimate("b"), alone.estimate("b")))
    assert width > 5 * narrow
    assert result.noise.degrees == 4 and "4 degrees of freedom" in summary.noise_sentence(result)


def test_identical_trainings_are_recognised_and_counted_once(run):
    twin = {"noise": 1.0, "off_by": 15}
    a, b = run("a", lr=0.1, **twin), run("b", lr=0.2)
    b.predictions = a.predictions
    same = run("renamed", lr=0.3)
    default = repeated(run)
    same.predictions = default[0].predictions
    result = compare(*default, a, b, same)
    assert result.row("b")["same_as"] == "a" and result.row("a")["same_as"] == ""
    assert result.row("renamed")["verdict"] == "identical"
    assert summary.verdict(result) == "1 worse, 1 identical"
    assert "is identical to" in summary.sentence(result, ["renamed"])


def test_many_experiments_are_counted_and_the_first_are_named(run):
    others = [run(f"e{i}", 14, noise=1.0, lr=0.1 * (i + 1)) for i in range(5)]
    result = compare(*repeated(run), *others)
    assert summary.verdict(result) == "all 5 worse"
    assert "and 2 more" in summary.sentence(result, list(result.groups))


def test_the_deck_names_the_best_network_that_sees_the_image_alone(run):
    runs = [run(off_by=10), run("b", off_by=8, lr=0.1), run("told", off_by=2, sex_input=True)]
    result = summary.variables(compare(*runs), runs)
    assert result["best_experiment"] == "b"
    assert str(result["best_mae"]).startswith("8.0 months")


def test_what_is_compared_follows_from_the_settings(config):
    configs = {
        "resnet18": config(),
        "resnet34": config(network="resnet34"),
        "fast": config(schedule={"name": "step", "gamma": 0.1, "step_size": 1}),
        "both": config(network="resnet34", weight_decay=0.1),
    }
    assert comparisons.differing_in(configs, "network") == ["resnet18", "resnet34"]
    result = comparisons.comparisons(configs)
    assert result["curves_by_depth"] == ["resnet18", "resnet34"]
    assert result["step_grid_curves"] == ["resnet18", "fast"]
    assert "plateau" not in result and "normalisation" not in result
    assert result["forest"] == list(configs)


def test_the_table_has_a_row_for_every_run_of_the_study(run):
    sex = run("sex", task="sex")
    sex.metrics["validation"] = {"auc": 0.75}
    result = comparisons.table([run(), run(seed=1), run("wide", lr=0.1), sex])
    assert result[["experiment", "seed"]].to_numpy().tolist() == [
        ["resnet18", 0],
        ["resnet18", 1],
        ["wide", 0],
        ["sex", 0],
    ]
    assert result["differs_in"].tolist() == ["nothing (default)"] * 2 + ["lr", "task"]
    assert result["mae_months"].tolist()[:3] == [10.0] * 3 and math.isnan(result["mae_months"][3])
    assert result["auc"][3] == 0.75


def test_a_cell_names_few_settings_and_counts_the_others(run):
    many = run("many", lr=0.1, epochs=9, batch_size=4, threads=2, width=0.5)
    (text,) = comparisons.table([run(), many]).query("experiment == 'many'")["differs_in"]
    assert text.endswith(" and 2 more") and len(text.split(", ")) == 3


def test_a_title_says_between_what_all_errors_lie(run):
    runs = [run(off_by=10), run("b", off_by=8, lr=0.1), run("sex", task="sex")]
    assert summary.errors_verdict(runs) == "validation errors from 8.0 to 10.0 months"
    assert summary.errors_verdict(runs[:1]) == "validation errors from 10.0 months"


def test_the_step_grid_has_a_cell_for_each_gamma_and_step(run):
    cells = [
        run(f"g{g}_s{s}", off_by=10 * g + s, schedule={"name": "step", "gamma": g, "step_size": s})
        for g in (0.1, 0.5)
        for s in (1, 4)
    ]
    grid = comparisons.step_grid(groups(*cells))
    assert grid.loc[0.5, 4] == pytest.approx(9) and grid.loc[0.1, 1] == pytest.approx(2)


def test_the_constant_predictor_is_beaten_tied_or_not(run):
    median = np.median(np.linspace(10, 220, N))
    good, constant, bad = run(off_by=5), run(), run(off_by=90)
    constant.predictions = constant.predictions.assign(predicted_age_months=median)
    assert summary.beats_constant_sentence(good) == (
        "The network removes 91 % of the error of always predicting the median age."
    )
    assert "not distinguishable from" in summary.beats_constant_sentence(constant)
    assert "worse than" in summary.beats_constant_sentence(bad)


def test_bias_and_variance_are_read_from_the_two_sets_and_ordered_by_the_setting(run):
    result = groups(
        run(off_by=10),
        run("l2_high", off_by=14, weight_decay=1e-2),
        run("l2_low", off_by=12, weight_decay=1e-4),
        run("augment", off_by=8, augment={}),
    )
    table = comparisons.trade_off(result, "weight_decay")
    assert table["label"].tolist() == ["0", "0.0001", "0.01"]
    assert table["train_mae_months"].tolist() == pytest.approx([5, 6, 7])
    assert table["mae_months"].tolist() == pytest.approx([10, 12, 14])
    assert comparisons.trade_off(result, "augment")["label"].tolist() == ["off", "on"]


def test_an_optimiser_is_compared_with_its_own_rate(config):
    configs = {
        "resnet18": config(),
        "sgd": config(optimizer="sgd", lr=0.1),
        "adamw": config(optimizer="adamw", weight_decay=0.01),
        "fast": config(lr=0.1),
        "recipe": config(optimizer="sgd", augment={}),
    }
    result = comparisons.comparisons(configs)
    assert result["optimizers"] == ["resnet18", "sgd", "adamw"]
    assert result["learning_rates"] == ["resnet18", "fast"]


def test_overfitting_is_the_distance_between_training_and_validation(run):
    sentence = summary.variance_sentence(groups(run(off_by=10)))
    assert sentence.startswith(
        "The default has a generalisation gap: 5.0 months in training, 10.0 months"
    )
    title = summary.variance_sentence(groups(run(off_by=10)), as_title=True)
    assert title == "Error of the default: 5.0 months in training, 10.0 in validation"
    two_seeds = groups(run(off_by=10), run(off_by=12, seed=1))
    assert summary.variance_sentence(two_seeds).startswith(
        "The default has a generalisation gap: 5.5 months in training, 11.0"
    )
    same = run(off_by=10)
    same.predictions_train = same.predictions
    assert summary.variance_sentence(groups(same)).startswith(
        "No generalisation gap of the default is shown: 10.0"
    )
    easier = run(off_by=10)
    easier.predictions_train = run(off_by=20).predictions
    assert "Validation hands are easier for the default" in summary.variance_sentence(
        groups(easier)
    )
    # Below the median in training alone: it has learned, and not what carries over.
    assert summary.variance_sentence(groups(run(off_by=60))).startswith(
        "The default has a generalisation gap"
    )
    untrained = summary.variance_sentence(groups(run(off_by=300)), as_title=True)
    assert untrained.startswith("The default has not learned: 150.0 months in training, 300.0 in")


def test_a_power_law_is_found_again_and_extrapolated(run):
    runs = []
    for share in (0.125, 0.25, 0.5, 1.0):
        name = "resnet18" if share == 1 else f"data_{share}"
        for seed in (0, 1):
            one = run(name, 20 * (share * N) ** -0.3, seed=seed, train_fraction=share)
            one.predictions_train = one.predictions_train.head(int(share * N))
            runs.append(one)
    law = comparisons.power_law(groups(*runs))
    assert law.exponent == pytest.approx(0.3)
    assert law.doubled.value == pytest.approx(20 * (2 * N) ** -0.3)
    assert law.doubled.low <= law.doubled.value <= law.doubled.high
    assert "to the power of −0.30" in summary.power_law_sentence(law)
    assert comparisons.comparisons(comparisons.configs_of(groups(*runs)))["data_curve"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"schedule": {"name": "step", "gamma": 0.1, "step_size": 9}},
            "dividing by 10 every 9 epochs",
        ),
        ({"schedule": {"name": "step", "gamma": 0.5, "step_size": 1}}, "halving every epoch"),
        ({"network": "resnet34"}, "ResNet-34"),
        ({"optimizer": "sgd", "lr": 0.01}, "SGD, learning rate 0.01"),
        ({"augment": {}}, "augmentation"),
        ({"lr": 0.1, "epochs": 9, "network": "resnet50"}, "ResNet-50, learning rate 0.1"),
        ({"task": "sex", "epochs": 9, "train_fraction": 0.5}, "sex alone"),
        ({"epochs": 9, "batch_size": 8, "train_fraction": 0.5}, "half of the data, 9 epochs"),
        ({"train_fraction": 0.25, "epochs": 24}, "a quarter of the data, 24 epochs"),
        ({"lr": 0.1, "weight_decay": 0.1, "augment": {}}, "combined recipe"),
        (
            {"lr": 0.1, "weight_decay": 0.1, "augment": {}, "sex_input": True},
            "combined recipe, with sex input",
        ),
        ({"task": "ssl", "lr": 0.1, "augment": {}}, "self-supervised"),
        ({}, "default"),
    ],
)
def test_an_experiment_is_described_by_how_it_differs(config, settings, text):
    assert label(config(**settings), config()) == text


def test_every_experiment_of_the_study_has_a_label_without_underscores():
    from pathlib import Path

    from h2a_lib.study import config as study

    parsed = study.load(Path(__file__).parents[2] / "study.yaml")
    for profile in parsed.profiles:
        names = parsed.experiments_of(profile)
        configs = {name: parsed.run_config(profile, name) for name in names}
        labels = labels_of(configs, names)
        assert len(set(labels.values())) == len(labels)
        assert not any("_" in text for text in labels.values())


def test_experiments_that_would_have_one_label_keep_their_names(config):
    recipe = {"lr": 0.1, "weight_decay": 0.1, "augment": {}}
    configs = {"resnet18": config()} | {
        name: config(experiment=name, epochs=epochs, **recipe)
        for name, epochs in (("a", 3), ("b", 4))
    }
    labels = labels_of(configs, configs)
    assert labels["a"] == "combined recipe (a)" and labels["b"] == "combined recipe (b)"


def test_the_title_of_many_experiments_names_the_best_or_says_that_none_is(run):
    default = repeated(run)

    def titled(topic, *others):
        result = compare(*default, *others)
        return summary.title(result, list(result.groups), topic)

    fast, slow = ({"lr": value} for value in (0.1, 1e-5))
    open_end = repeated(run, "b", 12, spread=4, **fast)
    one_end = titled("learning_rate", *repeated(run, "a", 25, **slow), *open_end)
    assert one_end.startswith("A learning rate of 1e-05 performs worse than 0.001 by 14.")
    both = [*repeated(run, "a", 14, **slow), *repeated(run, "b", 13, **fast)]
    assert titled("learning_rate", *both).startswith("A learning rate of 1e-05 performs worse")
    deep = repeated(run, "d", 14, network="resnet50")
    unclear = repeated(run, "c", 12, spread=4, network="resnet34")
    assert titled("depth", *deep).startswith("Deeper is not better: ResNet-50")
    assert titled("depth", *deep, *unclear).startswith("ResNet-50 performs worse than ResNet-18 by")
    better = [*repeated(run, "a", 7, **slow), *repeated(run, "b", 8, **fast)]
    assert titled("learning_rate", *better).endswith("; 2 beat the default")
    norm = repeated(run, "norm", 12, spread=4, pixel_norm="batch")
    assert titled("normalisation", *norm) == ("Pixel scaling per image or per batch: inconclusive")


def test_a_plateau_schedule_that_never_lowered_the_rate_says_so(run):
    plateau = repeated(run, "plateau", 10.5, schedule={"name": "plateau"})
    result = compare(*repeated(run), *plateau)
    assert "never lowered" not in summary.title(result, ["plateau"], "plateau")
    for one in plateau:
        one.history = pd.DataFrame({"lr": [1.0, 1.0]})
    values = summary.variables(result, [*result.groups["resnet18"], *plateau])
    assert values["plateau_verdict"] == "Reduce on plateau never lowered the rate in 2 epochs"
    assert "The rate stayed constant throughout the 2 epochs. " in values["plateau_sentence"]


@pytest.mark.parametrize(
    ("recipe", "single", "title"),
    [
        (
            7,
            10,
            "One multi-setting experiment beats the default; no single setting demonstrably does",
        ),
        (
            7,
            6,
            "One single setting beats the default, one multi-setting experiment beats it as well",
        ),
        (10, 6, "One single setting beats the default"),
        (10, 10, "No experiment demonstrably beats the default"),
    ],
)
def test_the_title_of_all_experiments_separates_single_settings_and_recipes(
    run, recipe, single, title
):
    result = compare(
        *repeated(run),
        *repeated(run, "best", recipe, lr=0.1, augment={}),
        *repeated(run, "resnet34", single, network="resnet34"),
    )
    assert summary.forest_title(result) == title


def test_the_title_says_what_the_better_recipes_have_more_of(run):
    more = {"epochs": 40, "image_size_px": 96, "lr": 0.1}
    result = compare(*repeated(run), *repeated(run, "best", 7, **more))
    begin = "One multi-setting experiment, trained longer on larger images, beats the default"
    assert summary.forest_title(result).startswith(begin)


def test_equal_updates_are_reported_where_they_were_trained(run):
    fewer = repeated(run, "data_25", 16, train_fraction=0.25)
    alone = summary.updates_sentence(compare(*repeated(run), *fewer))
    assert "fewer updates. The two effects are not separated" in alone
    slower = {"name": "exponential", "gamma": 0.9147}
    equal = repeated(run, "equal", 13, train_fraction=0.25, epochs=8, schedule=slower)
    configs = comparisons.configs_of(compare(*repeated(run), *equal).groups)
    assert labels_of(configs, ["equal"]) == {"equal": "a quarter of the data, equal updates"}
    text = summary.updates_sentence(compare(*repeated(run), *fewer, *equal))
    assert text.startswith("A quarter of the data raises the error by 3.0 months (95 % CI ")
    assert "at an equal number of updates, and by 6.0 months" in text
    assert text.endswith("at an equal number of epochs.")


def test_beside_others_the_default_is_called_by_what_it_has(run):
    result = groups(run(), run("sgd", optimizer="sgd", lr=0.01), run("norm", pixel_norm="batch"))
    configs = comparisons.configs_of(result)
    assert labels_of(configs, ["resnet18", "sgd"])["resnet18"] == "Adam (default)"
    assert labels_of(configs, ["resnet18", "norm"])["resnet18"].endswith(
        "pixel scaling per image (default)"
    )
    assert labels_of(configs, ["resnet18"]) == {"resnet18": "default"}


def test_a_title_says_when_the_median_is_as_good(run):
    assert summary.best_verdict(run(off_by=3), "the image alone").endswith("mean absolute error")
    title = summary.best_verdict(run(off_by=200), "the image alone")
    assert title.startswith("Bone age from the image alone: 200.0 months, worse than the median's")
