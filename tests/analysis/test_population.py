import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.population import labels as population
from h2a_lib.data.labels import assign_split


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
    assert sum(table[split, "both"] for split in ("train", "selection", "validation")) == 300
    assert table["all", "female"] + table["all", "male"] == 300


def test_a_split_of_one_sex_has_no_row_for_the_other():
    table = population.counts(frame([12, 24, 36], [True, True, True]))
    assert set(table["sex"]) == {"male", "both"}


def test_labels_that_are_multiples_of_6_are_counted():
    hands = frame([6, 12, 24, 13, 13.5], [1, 0, 1, 0, 1])
    assert population.share_of_multiples_of_6(hands).value == pytest.approx(0.6)


def test_a_label_is_single_sex_only_if_enough_children_have_it():
    ages = [94] * 40 + [108] * 10 + [120] * 40
    male = [False] * 40 + [True] * 10 + [True, False] * 20
    assert population.single_sex_labels(frame(ages, male))["age_months"].tolist() == [94]


def test_labels_that_determine_sex_are_detected_and_others_are_not():
    male = np.arange(400) % 2 == 0
    decided = population.predict_sex_from_label(frame(np.where(male, 108, 94), male)).set_index(
        "name"
    )
    assert decided.loc["label in months", "accuracy"].value == 1
    assert decided.loc["label in months", "auc"].value == 1
    random = np.random.default_rng(1).integers(1, 200, 400)
    by_chance = population.predict_sex_from_label(frame(random, male)).set_index("name")
    assert not by_chance.loc["label in months", "auc"].excludes(0.5)


def test_a_child_is_predicted_from_other_children_only():
    # Every label belongs to one child: memorising it would give accuracy 1.
    male = np.arange(200) % 2 == 0
    table = population.predict_sex_from_label(frame(np.arange(200), male)).set_index("name")
    assert table.loc["label in months", "accuracy"].value < 0.6


def test_the_majority_does_not_rank():
    table = population.predict_sex_from_label(frame([12] * 50, [True] * 30 + [False] * 20))
    assert table.set_index("name").loc["majority", "auc"].value == 0.5


def test_an_unbalanced_split_is_detected_and_a_balanced_one_is_a_tie(hands):
    assert population.age_difference(hands).is_tie
    by_age = np.where(hands["age_months"] > 150, "validation", "train")
    unbalanced = hands.assign(split=by_age)
    assert population.age_difference(unbalanced).low > 50
    (distance,) = population.balance_table(unbalanced)["Kolmogorov-Smirnov"]
    assert distance == "1.000 (p = 0.00)"


def test_counts_list_the_splits_in_the_order_of_their_use(hands):
    splits = population.counts(hands)["split"]
    assert splits.drop_duplicates().tolist() == ["train", "selection", "validation", "all"]


def test_the_balance_table_compares_selection_and_validation_with_training(hands):
    table = population.balance_table(hands)
    assert table["split minus training"].tolist() == ["selection", "validation"]
    n = (hands["split"] != "selection").sum()
    assert f"n = {n}" in table["mean age"].iloc[1]


@pytest.mark.parametrize(
    ("shift", "finding"),
    [(60, "Boys have a higher"), (-60, "Girls have a higher"), (0, "No difference")],
)
def test_the_finding_on_age_names_the_older_sex(shift, finding):
    random = np.random.default_rng(0)
    male = np.arange(300) % 2 == 0
    ages = 100 + np.repeat(random.normal(0, 10, 150), 2) + shift * male
    assert population.sex_age_sentence(frame(ages, male)).startswith(finding)


def test_the_finding_on_labels_counts_the_single_sex_ones():
    none = population.heaping_sentence(frame([12, 13], [True, False]))
    assert "No label of at least 30 children" in none and "50.0 %" in none
    single = population.heaping_sentence(frame([94] * 40 + [120] * 40, [False] * 40 + [True] * 40))
    assert "2 labels belong" in single and "94 months (100.0 % female, n = 40)" in single


def test_the_finding_on_the_split_follows_its_interval(hands):
    assert population.balance_sentence(hands).startswith("No difference")
    by_age = np.where(hands["age_months"] > 150, "validation", "train")
    assert population.balance_sentence(hands.assign(split=by_age)).startswith("A difference")


@pytest.mark.parametrize("n", [10, 60])
def test_few_hands_or_one_sex_give_every_variable_as_text(n):
    for male in (np.arange(n) % 3 == 0, np.ones(n, bool)):
        values = population.variables(frame(np.arange(n) + 50, male), "0123456789abcdef")
        assert all(isinstance(value, str) and value.strip() for value in values.values())
        assert values["fingerprint"] == "0123456789ab" and values["n_total"] == str(n)


def test_one_sex_gives_no_interval():
    table = population.predict_sex_from_label(frame(np.arange(20), np.ones(20)))
    assert all(math.isnan(area.value) for area in table["auc"])


OFFICIAL = Path(__file__).parents[2] / "data" / "rsna-100px" / "boneage-training-dataset.csv"


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs the official training labels in data/")
def test_the_audit_of_the_12611_official_labels_gives_the_known_numbers():
    from h2a_lib.data.labels import read_labels

    labels = read_labels(OFFICIAL)
    labels["split"] = assign_split(labels["id"]).to_numpy()
    assert round(population.share_of_multiples_of_6(labels).value, 3) == 0.806
    table = population.predict_sex_from_label(labels).set_index("name")
    assert table.loc["label in months", "auc"].value == pytest.approx(0.847, abs=0.005)
    assert table.loc["label in years", "auc"].value == pytest.approx(0.686, abs=0.005)
    assert table.loc["label in months", "accuracy"].value == pytest.approx(0.769, abs=0.008)
    assert table.loc["label in years", "accuracy"].value == pytest.approx(0.643, abs=0.005)


@pytest.mark.parametrize(
    ("n", "shift", "begin"),
    [
        (4000, 0, "Balanced split: mean ages differ by"),
        (4000, 40, "The split is not balanced"),
        (12, 0, "Too few hands to show a balanced split"),
    ],
)
def test_a_split_is_called_balanced_where_that_is_shown(n, shift, begin):
    random = np.random.default_rng(0)
    split = np.where(np.arange(n) % 2 == 0, "train", "validation")
    ages = random.uniform(20, 180, n) + shift * (split == "train")
    hands = frame(ages, random.random(n) < 0.5, split)
    assert population.split_verdict(hands).startswith(begin)
