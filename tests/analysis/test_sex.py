import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from h2a_lib.analysis.sex.errors import (
    BASELINES,
    age_matched,
    answer,
    baselines,
    by_age_threshold,
    by_band,
    by_label,
    calibration_curve,
    calibration_verdict,
    choose_threshold,
    closest_match,
    majority,
    metrics,
)
from h2a_lib.analysis.statistics.roc import auc, auc_difference, average_precision


def hands(n=400, seed=0, strength=1.5):
    """Hands whose image tells sex with some strength and whose label tells nothing."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.55
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "age_months": rng.choice([60.0, 96.0, 120.0, 150.0], n),
            "male": male,
            "male_probability": 1 / (1 + np.exp(-rng.normal((male - 0.5) * strength, 1))),
        }
    )


def lattice(n=600, seed=0):
    """Hands whose label tells sex exactly and whose image tells the label and nothing more."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.5
    age = np.where(male, 108.0, 94.0)
    crossed = rng.random(n) < 0.2
    age[crossed] = np.where(male[crossed], 94.0, 108.0)
    noise = rng.normal(0, 0.01, n)
    return pd.DataFrame({"id": np.arange(n).astype(str), "age_months": age, "male": male}).assign(
        male_probability=np.clip((age - 60) / 80 + noise, 0, 1)
    )


def literal_delong_variance(male, score):
    boys, girls = score[male], score[~male]
    wins = np.array([[(b > g) + 0.5 * (b == g) for g in girls] for b in boys])
    return wins.mean(1).var(ddof=1) / len(boys) + wins.mean(0).var(ddof=1) / len(girls)


def test_auc_and_its_interval_equal_those_of_literal_pair_counting():
    rng = np.random.default_rng(1)
    male, score = rng.random(60) < 0.4, rng.integers(0, 9, 60).astype(float)
    found = auc(male, score)
    half = 1.959964 * np.sqrt(literal_delong_variance(male, score))
    assert found.value == pytest.approx(roc_auc_score(male, score))
    assert found.low == pytest.approx(found.value - half, abs=1e-6)
    assert found.high == pytest.approx(found.value + half, abs=1e-6)


def test_delongs_interval_covers_the_truth_about_95_times_in_100():
    # Two normals one standard deviation apart: AUC = Phi(1 / sqrt 2).
    covered = []
    for i in range(400):
        frame = np.random.default_rng(i)
        male = np.arange(120) < 60
        found = auc(male, frame.normal(male * 1.0))
        covered.append(found.low <= 0.76025 <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_a_perfect_a_swapped_and_a_constant_predictor_of_sex():
    male = hands()["male"].to_numpy()
    assert auc(male, male * 1.0).value == 1
    assert auc(male, 1.0 - male).value == 0
    assert auc(male, np.full(len(male), 0.3)).value == 0.5


def test_a_sex_swapped_predictor_is_told_so():
    frame = hands(strength=3)
    swapped = frame.assign(male_probability=1 - frame["male_probability"])
    assert "worse than chance" in answer(swapped, frame)
    assert metrics(swapped, 0.5)["accuracy"].high < 0.5


def test_the_difference_of_a_score_from_itself_is_a_tie_of_no_width():
    frame = hands()
    gap = auc_difference(frame["male"], frame["male_probability"], frame["male_probability"])
    assert (gap.low, gap.value, gap.high) == (0, 0, 0)


def test_one_sex_has_no_auc_and_raises_nothing():
    frame = hands().query("male")
    assert auc(frame["male"], frame["male_probability"]).text() == (
        f"not estimable (n = {len(frame)})"
    )
    assert "of one sex" in answer(frame, hands())


def test_average_precision_agrees_with_scikit_learn_with_and_without_ties():
    rng = np.random.default_rng(2)
    male = rng.random((5, 80)) < 0.5
    for score in (rng.random((5, 80)), rng.integers(0, 4, (5, 80)).astype(float)):
        expected = [average_precision_score(m, s) for m, s in zip(male, score, strict=True)]
        assert average_precision(male, score) == pytest.approx(expected)


def test_metrics_agree_with_their_definitions():
    frame = hands()
    found = metrics(frame, 0.4)
    called = frame["male_probability"] >= 0.4
    assert found["accuracy"].value == pytest.approx((called == frame["male"]).mean())
    assert found["found_male"].value == pytest.approx(called[frame["male"]].mean())
    assert found["balanced_accuracy"].value == pytest.approx(
        (found["found_male"].value + found["found_female"].value) / 2
    )
    assert found["brier"].value == pytest.approx(
        ((frame["male_probability"] - frame["male"]) ** 2).mean()
    )
    assert found["average_precision"].value == pytest.approx(
        average_precision_score(frame["male"], frame["male_probability"])
    )


def test_the_threshold_is_the_one_a_literal_search_finds():
    train = hands(90, strength=1)
    threshold = choose_threshold(train)

    def balanced(cut):
        called = train["male_probability"] >= cut
        return called[train["male"]].mean() + (~called[~train["male"]]).mean()

    everywhere = max(balanced(cut) for cut in np.linspace(0, 1, 2001))
    assert balanced(threshold) >= everywhere - 1e-12


def test_the_threshold_of_a_perfect_parting_lies_in_the_middle_of_the_gap():
    train = pd.DataFrame(
        {"male": [False, False, True, True], "male_probability": [0.1, 0.2, 0.8, 0.9]}
    )
    assert choose_threshold(train) == pytest.approx(0.5)


def test_a_single_sex_or_a_single_score_leaves_the_threshold_defined():
    train = hands(10).assign(male=True)
    assert choose_threshold(train) == 0.5
    assert 0 < choose_threshold(hands(10).assign(male_probability=0.7)) < 1


def test_age_matching_counts_what_a_literal_loop_counts():
    frame = hands(80)
    boys, girls = frame[frame["male"]], frame[~frame["male"]]
    wins = [
        (b.male_probability > g.male_probability) + 0.5 * (b.male_probability == g.male_probability)
        for b, g in itertools.product(boys.itertuples(), girls.itertuples())
        if abs(b.age_months - g.age_months) <= 24
    ]
    found = age_matched(frame, 24)
    assert (found.pairs, found.estimate.value) == (len(wins), pytest.approx(np.mean(wins)))


def test_a_score_that_knows_only_the_label_adds_nothing_beyond_it():
    frame = lattice()
    assert auc(frame["male"], frame["male_probability"]).low > 0.65
    found = closest_match(frame)
    assert found.caliper_months == 0
    assert found.estimate.low < 0.5 < found.estimate.high
    assert "a tie with chance" in answer(frame, lattice(seed=1))


def test_a_score_that_reads_the_image_adds_to_the_label():
    frame = hands(strength=2)
    assert closest_match(frame).estimate.low > 0.5
    assert answer(frame, hands(seed=1)).count("Yes, beyond the label of age") == 1


def test_pairs_are_as_close_as_there_are_enough_of():
    frame = hands()
    frame["age_months"] += np.where(frame["male"], 2.0, 0.0)
    assert closest_match(frame).caliper_months == 3


def test_no_pair_at_all_is_not_an_error():
    frame = hands(20)
    frame["age_months"] = np.where(frame["male"], 200.0, 20.0)
    assert age_matched(frame).pairs == 0
    assert "cannot be said" in answer(frame, hands())


def test_one_pair_is_counted():
    frame = hands(2).assign(age_months=60.0, male=[True, False], male_probability=[0.9, 0.1])
    found = age_matched(frame)
    assert (found.estimate.value, found.estimate.n, found.pairs) == (1, 2, 1)


def test_baselines_learn_from_training_labels_alone():
    train, frame = lattice(seed=3), lattice(seed=4)
    blind = frame.assign(male=~frame["male"])
    for baseline in BASELINES.values():
        assert np.array_equal(baseline(train, frame), baseline(train, blind))


def test_the_label_baseline_is_the_smoothed_share_of_its_bin():
    train = pd.DataFrame(
        {"age_months": [94.0, 94.0, 108.0, 20.0], "male": [False, False, True, True]}
    )
    asked = pd.DataFrame({"age_months": [94.0, 108.0, 55.0]})
    assert by_label(train, asked).tolist() == pytest.approx([0.5 / 3, 1.5 / 2, 0.5])


def test_the_label_lattice_is_worth_more_than_the_majority():
    table = baselines(lattice(), lattice(seed=1)).set_index("name")
    assert table.loc["majority", "auc"] == 0.5
    assert table.loc["label in months", "auc"] == pytest.approx(0.8, abs=0.05)
    assert table.loc["one age threshold", "accuracy"] == pytest.approx(0.8, abs=0.05)
    assert bool(table.loc["label in months", "tie"])


def test_training_hands_of_one_age_leave_the_age_threshold_without_a_choice():
    train = hands(10).assign(age_months=60.0)
    assert np.array_equal(by_age_threshold(train, hands(5)), majority(train, hands(5)))


def test_bands_without_hands_or_with_one_sex_are_rows_without_numbers():
    table = by_band(hands().query("age_months < 100"), 0.5).set_index("band")
    assert table.loc["12–16 years", "n"] == 0
    assert np.isnan(table.loc["12–16 years", "auc"])
    assert table.loc["all", "n"] == table["n"].iloc[:-1].sum()


def test_a_calibrated_score_lies_on_its_curve():
    rng = np.random.default_rng(0)
    score = rng.random(5000)
    frame = pd.DataFrame({"male": rng.random(5000) < score, "male_probability": score})
    curve = calibration_curve(frame)
    assert np.abs(curve["male"] - curve["probability"]).max() < 0.05
    assert len(calibration_curve(frame.iloc[:7])) == 1
    assert len(calibration_curve(frame.iloc[:0])) == 0
    assert calibration_verdict(curve) in {
        f"in {some} 10 groups of hands" for some in ("all", "9 of", "8 of")
    }


def test_a_score_that_overstates_is_not_called_honest_but_a_bin_of_one_sex_may_be():
    score = np.repeat([0.03, 0.4, 0.97], 50)
    male = np.repeat([False, True, True], 50)
    frame = pd.DataFrame({"male": male, "male_probability": score})
    curve = calibration_curve(frame)
    assert (curve["male_low"] <= curve["male_high"] - 0.1).all()
    few = curve.iloc[[0, -1]]
    assert calibration_verdict(few) == "in all 2 groups of hands"
    assert calibration_verdict(curve.iloc[4:6]) == "in none of 2 groups of hands"
