import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.population import labels as population
from h2a_lib.data.labels import assign_split
from h2a_lib.figures import population as draw


def frame(ages, male, split=None):
    ids = [str(k) for k in range(len(ages))]
    split = assign_split(ids).to_numpy() if split is None else split
    return pd.DataFrame(
        {"id": ids, "age_months": np.asarray(ages, float), "male": np.asarray(male, bool)}
        | {"split": split}
    )


@pytest.fixture
def hands():
    random = np.random.default_rng(0)
    return frame(random.integers(1, 228, 300), random.random(300) < 0.55)


def test_counts_add_up_over_splits_and_sexes(hands):
    table = population.counts(hands).set_index(["split", "sex"])["n"]
    assert table["all", "both"] == 300
    assert table["train", "both"] + table["validation", "both"] == 300
    assert table["all", "female"] + table["all", "male"] == 300


def test_a_split_of_one_sex_has_no_row_for_the_other():
    table = population.counts(frame([12, 24, 36], [True, True, True]))
    assert set(table["sex"]) == {"male", "both"}


def test_the_constant_predictor_says_the_training_median():
    hands = frame([10, 20, 60, 21, 29], [1, 1, 0, 1, 0], ["train"] * 3 + ["validation"] * 2)
    assert population.constant_error(hands).value == pytest.approx((1 + 9) / 2)
    assert population.constant_error(hands, by_sex=True).value == pytest.approx((6 + 31) / 2)


def test_heaping_counts_multiples():
    heaps = population.heaping(frame([6, 12, 24, 13, 13.5], [1, 0, 1, 0, 1]))
    assert heaps.multiples_of_6.value == pytest.approx(0.6)
    assert heaps.multiples_of_12.value == pytest.approx(0.4)
    assert heaps.distinct == 5 and heaps.top_20 == 1


def test_a_plate_is_single_sex_only_if_enough_children_have_it():
    ages = [94] * 40 + [108] * 10 + [120] * 40
    male = [False] * 40 + [True] * 10 + [True, False] * 20
    assert population.single_sex_plates(frame(ages, male))["age_months"].tolist() == [94]


def test_labels_that_decide_sex_are_found_and_labels_that_do_not_are_not():
    male = np.arange(400) % 2 == 0
    decided = population.label_tells_sex(frame(np.where(male, 108, 94), male)).set_index("name")
    assert decided.loc["label in months", "accuracy"].value == 1
    assert decided.loc["label in months", "auc"].value == 1
    random = np.random.default_rng(1).integers(1, 200, 400)
    by_chance = population.label_tells_sex(frame(random, male)).set_index("name")
    assert not by_chance.loc["label in months", "auc"].excludes(0.5)


def test_the_label_baseline_never_sees_the_child_it_judges():
    # Every label is one child's own: learning it would give accuracy 1.
    male = np.arange(200) % 2 == 0
    table = population.label_tells_sex(frame(np.arange(200), male)).set_index("name")
    assert table.loc["label in months", "accuracy"].value < 0.6


def test_the_majority_has_no_rank():
    table = population.label_tells_sex(frame([12] * 50, [True] * 30 + [False] * 20))
    assert table.set_index("name").loc["majority", "auc"].value == 0.5


def test_one_cut_through_age_agrees_with_sex_as_far_as_it_separates_them():
    male = [True] * 20 + [False] * 20
    apart = frame([180] * 20 + [100] * 20, male)
    assert population.threshold_agreement(apart) == 1
    assert population.threshold_agreement(frame([144] * 40, male)) == pytest.approx(0)


def test_an_unbalanced_split_is_seen_and_a_balanced_one_is_a_tie(hands):
    assert population.balance(hands).age_months.is_tie
    by_age = np.where(hands["age_months"] > 150, "validation", "train")
    unbalanced = population.balance(hands.assign(split=by_age))
    assert unbalanced.age_months.low > 50 and unbalanced.ks == 1


@pytest.mark.parametrize("n", [10, 60])
def test_few_hands_or_one_sex_give_every_variable_as_text(n):
    for male in (np.arange(n) % 3 == 0, np.ones(n, bool)):
        said = population.variables(frame(np.arange(n) + 50, male), "0123456789abcdef")
        assert all(isinstance(value, str) and value.strip() for value in said.values())
        assert said["fingerprint"] == "0123456789ab" and said["n_total"] == str(n)


def test_no_interval_is_made_up_where_there_is_one_sex():
    table = population.label_tells_sex(frame(np.arange(20), np.ones(20)))
    assert all(math.isnan(area.value) for area in table["auc"])


@pytest.mark.parametrize("n", [12, 800])
def test_the_figures_draw_every_hand(n):
    random = np.random.default_rng(2)
    hands = frame(random.integers(1, 228, n), random.random(n) < 0.5)
    figure, axes = plt.subplots(1, 3)
    draw.ages_by_sex(hands, axes[0])
    draw.heaps(hands, axes[1])
    draw.sex_by_plate(hands, axes[2])
    filled = [patch for patch in axes[0].patches if hasattr(patch, "get_height")]
    assert sum(patch.get_height() for patch in filled) == n
    assert sum(patch.get_height() for patch in axes[1].patches) == n
    plt.close(figure)


def test_the_split_figure_draws_shares_of_each_part(hands):
    figure, axes = plt.subplots()
    draw.split_balance(hands, "female", axes)
    filled = [patch for patch in axes.patches if hasattr(patch, "get_height")]
    assert sum(patch.get_height() for patch in filled) == pytest.approx(1)
    plt.close(figure)


OFFICIAL = Path(__file__).parents[2] / "data" / "rsna-100px" / "boneage-training-dataset.csv"


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs the official training labels in data/")
def test_the_audit_of_the_12611_official_labels_gives_the_known_numbers():
    from h2a_lib.data.labels import read_labels

    labels = read_labels(OFFICIAL)
    labels["split"] = assign_split(labels["id"]).to_numpy()
    heaps = population.heaping(labels)
    assert round(heaps.multiples_of_6.value, 3) == 0.806
    assert round(heaps.multiples_of_12.value, 3) == 0.579
    assert heaps.distinct == 160
    table = population.label_tells_sex(labels).set_index("name")
    assert table.loc["label in months", "auc"].value == pytest.approx(0.847, abs=0.005)
    assert table.loc["label in years", "auc"].value == pytest.approx(0.686, abs=0.005)
    assert table.loc["label in months", "accuracy"].value == pytest.approx(0.769, abs=0.008)
    assert table.loc["label in years", "accuracy"].value == pytest.approx(0.643, abs=0.005)
    assert population.threshold_agreement(labels) == pytest.approx(0.082, abs=0.001)
    assert population.constant_error(labels).value == pytest.approx(33, abs=0.5)
