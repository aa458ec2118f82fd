import itertools
from functools import partial

import made_up
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.sex import maturity as maturity_analysis
from h2a_lib.analysis.sex import summary
from h2a_lib.analysis.sex.calibration import (
    Temperature,
    calibration_finding,
    calibration_verdict,
    reliability,
)
from h2a_lib.analysis.sex.errors import (
    BASELINES,
    age_matched,
    baselines,
    by_age_threshold,
    by_band,
    by_label,
    choose_threshold,
    closest_match,
    majority,
    matched_pairs,
    metrics,
)
from h2a_lib.analysis.sex.maturity import ESTIMATE, SECOND_ESTIMATE, maturity
from h2a_lib.analysis.statistics.bootstrap import Estimate, by_split
from h2a_lib.analysis.statistics.roc import auc, auc_difference
from h2a_lib.study.results import Results


def answer(frame, train):
    """Answer without an age estimate, so without a word on maturity."""
    blind = frame.assign(**{ESTIMATE: np.nan, SECOND_ESTIMATE: np.nan})
    return summary.answer(train, frame, maturity(train, blind, blind))


def hands(n=400, seed=0, strength=1.5):
    """Hands whose image tells sex with some strength and whose label tells nothing."""
    frame, rng = made_up.hands(n, seed, ages=(60.0, 96.0, 120.0, 150.0), share_male=0.55)
    log_odds = rng.normal((frame["male"] - 0.5) * strength, 1)
    return frame.assign(male_probability=expit(log_odds))


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
    outcome = auc(male, score)
    half = 1.959964 * np.sqrt(literal_delong_variance(male, score))
    assert outcome.value == pytest.approx(roc_auc_score(male, score))
    assert outcome.low == pytest.approx(outcome.value - half, abs=1e-6)
    assert outcome.high == pytest.approx(outcome.value + half, abs=1e-6)


def test_delongs_interval_covers_the_truth_about_95_times_in_100():
    # Two normals one standard deviation apart: AUC = Phi(1 / sqrt 2).
    covered = []
    for i in range(400):
        frame = np.random.default_rng(i)
        male = np.arange(120) < 60
        outcome = auc(male, frame.normal(male * 1.0))
        covered.append(outcome.low <= 0.76025 <= outcome.high)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_a_perfect_a_swapped_and_a_constant_predictor_of_sex():
    male = hands()["male"].to_numpy()
    assert auc(male, male * 1.0).value == 1
    assert auc(male, 1.0 - male).value == 0
    assert auc(male, np.full(len(male), 0.3)).value == 0.5


def test_a_sex_swapped_predictor_is_reported():
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
    assert "all" in answer(frame, hands())


def test_metrics_agree_with_their_definitions():
    frame = hands()
    outcome = metrics(frame, 0.4)
    called = frame["male_probability"] >= 0.4
    assert outcome["accuracy"].value == pytest.approx((called == frame["male"]).mean())
    assert outcome["recall_male"].value == pytest.approx(called[frame["male"]].mean())
    assert outcome["balanced_accuracy"].value == pytest.approx(
        (outcome["recall_male"].value + outcome["recall_female"].value) / 2
    )
    assert outcome["brier"].value == pytest.approx(
        ((frame["male_probability"] - frame["male"]) ** 2).mean()
    )
    assert outcome["average_precision"].value == pytest.approx(
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
    outcome = age_matched(frame, 24)
    assert (outcome.pairs, outcome.estimate.value) == (len(wins), pytest.approx(np.mean(wins)))


def test_a_score_that_knows_only_the_label_adds_nothing_beyond_it():
    frame = lattice()
    assert auc(frame["male"], frame["male_probability"]).low > 0.65
    outcome = closest_match(frame)
    assert outcome.caliper_months == 0
    assert outcome.estimate.low < 0.5 < outcome.estimate.high
    assert "not distinguishable from chance" in answer(frame, lattice(seed=1))


def test_a_score_that_reads_the_image_adds_to_the_label():
    frame = hands(strength=2)
    assert closest_match(frame).estimate.low > 0.5
    assert answer(frame, hands(seed=1)).startswith(
        "The image carries information on sex beyond the age label: in 10,040 girl–boy pairs "
    )


def test_pairs_are_as_close_as_there_are_enough_of():
    frame = hands()
    frame["age_months"] += np.where(frame["male"], 2.0, 0.0)
    assert closest_match(frame).caliper_months == 3


def test_no_pair_at_all_is_not_an_error():
    frame = hands(20)
    frame["age_months"] = np.where(frame["male"], 200.0, 20.0)
    assert age_matched(frame).pairs == 0
    assert "beyond the age label is unknown" in answer(frame, hands())


def test_one_pair_is_counted():
    frame = hands(2).assign(age_months=60.0, male=[True, False], male_probability=[0.9, 0.1])
    outcome = age_matched(frame)
    assert (outcome.estimate.value, outcome.estimate.n, outcome.pairs) == (1, 2, 1)


def test_baselines_learn_from_training_labels_alone():
    train, frame = lattice(seed=3), lattice(seed=4)
    blind = frame.assign(male=~frame["male"])
    for baseline in BASELINES.values():
        assert np.array_equal(baseline(train, frame), baseline(train, blind))


def test_the_label_baseline_is_the_smoothed_share_of_its_bin():
    train = pd.DataFrame(
        {"age_months": [94.0, 94.0, 108.0, 20.0], "male": [False, False, True, True]}
    )
    requested = pd.DataFrame({"age_months": [94.0, 108.0, 55.0]})
    assert by_label(train, requested).tolist() == pytest.approx([0.5 / 3, 1.5 / 2, 0.5])


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
    curve = reliability(frame)
    assert np.abs(curve["male"] - curve["probability"]).max() < 0.05
    assert len(reliability(frame.iloc[:7])) == 1
    assert len(reliability(frame.iloc[:0])) == 0
    assert calibration_verdict(curve) in {f"in {some} 10 bins" for some in ("all", "9 of", "8 of")}


def test_a_score_that_overstates_is_not_calibrated_but_a_bin_of_one_sex_may_be():
    score = np.repeat([0.03, 0.4, 0.97], 50)
    male = np.repeat([False, True, True], 50)
    curve = reliability(pd.DataFrame({"male": male, "male_probability": score}))
    assert (curve["male_low"] <= curve["male_high"] - 0.1).all()
    assert calibration_verdict(curve.iloc[[0, -1]]) == "in all 2 bins"
    assert calibration_verdict(curve.iloc[4:6]) == "in none of 2 bins"


def overconfident(n, factor, seed=0):
    """Hands whose log odds are `factor` times too large."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 1.5, n)
    male = rng.random(n) < expit(log_odds)
    return pd.DataFrame({"male": male, "male_probability": expit(log_odds * factor)})


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(factor):
    temperature = Temperature.fit(overconfident(4000, factor))
    assert temperature.value == pytest.approx(factor, rel=0.1)
    other = overconfident(3000, factor, seed=1)
    before, after = reliability(other), reliability(temperature.calibrate(other))
    assert after["calibrated"].sum() >= 8
    if factor == 3:
        assert before["calibrated"].sum() <= 4
        finding = calibration_finding(before, after, temperature)
        wrong = (~before["calibrated"]).sum()
        assert finding.startswith(f"Sex probabilities are miscalibrated in {wrong} of 10 bins")
        unchanged = calibration_finding(before, before, temperature)
        assert unchanged.endswith(f" still in {wrong} of 10")


@pytest.mark.parametrize(("wrong", "by_chance"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_few_bins_that_chance_misses_are_not_called_miscalibrated_without_saying_so(
    wrong, by_chance
):
    curve = pd.DataFrame({"calibrated": [False] * wrong + [True] * (10 - wrong)})
    finding = calibration_finding(curve, curve, Temperature(1.0, 40, note="not fitted"))
    assert (", no more than by chance" in finding) == by_chance


def test_a_temperature_changes_no_ranking_and_fits_fully_separated_sexes():
    separated = pd.DataFrame(
        {"male": np.arange(100) > 49, "male_probability": np.linspace(0.01, 0.99, 100)}
    )
    temperature = Temperature.fit(separated)
    applied = temperature.apply(separated["male_probability"])
    assert 0.05 < temperature.value < 1
    assert (np.diff(applied) > 0).all() and applied.min() > 0 and applied.max() < 1


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (overconfident(8, 1), "the 8 selection hands are fewer than 30"),
        (overconfident(60, 1).assign(male=True), "the 60 selection hands are of one sex"),
    ],
)
def test_too_few_hands_or_one_sex_leave_the_probabilities_as_they_are(selection, why):
    temperature = Temperature.fit(selection)
    assert temperature.value == 1 and why in temperature.text()
    given = selection["male_probability"].to_numpy()
    assert np.array_equal(temperature.apply(given), given)
    curve = reliability(selection)
    assert why in calibration_finding(curve, curve, temperature)


def children(n, seed, beyond=0.0, reads_anew=False):
    """Hands whose label is specific to sex, and a score made from maturity and something else.

    The score uses the first estimate of the age, or with `reads_anew` one of its own.
    """
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.5
    label = rng.choice(np.arange(60.0, 180, 6), n)
    # Of equal label the girl's hand looks older.
    estimate, second, own = label + np.where(male, -7, 7) + rng.normal(0, 10, (3, n))
    log_odds = (label - (own if reads_anew else estimate)) / 8 + beyond * rng.normal(
        np.where(male, 1, -1), 1
    )
    return pd.DataFrame(
        {
            "id": np.arange(n).astype(str),
            "age_months": label,
            "male": male,
            ESTIMATE: estimate,
            SECOND_ESTIMATE: second,
            "male_probability": expit(log_odds + rng.normal(0, 0.3, n)),
        }
    )


def test_a_score_made_from_maturity_alone_adds_nothing():
    train, selected, frame = (children(n, seed) for seed, n in enumerate((500, 600, 1500)))
    result = maturity(train, selected, frame)
    assert closest_match(frame).estimate.low > 0.6
    assert not result.is_beyond
    assert result.added.low <= 0 <= result.added.high
    assert abs(result.added.value) < 0.01
    message = summary.answer(train, frame, result)
    assert message.startswith(
        "The image carries information on sex beyond the age label, but not demonstrably "
    )
    assert result.verdict() == "Nothing beyond maturity is shown"


@pytest.mark.slow
def test_a_second_reading_of_maturity_is_nothing_beyond_it():
    beyond = []
    for seed in range(10):
        parts = [children(n, 10 * seed + k, 0.0, True) for k, n in enumerate((300, 400, 800))]
        result = maturity(*parts)
        assert result.added.low > 0 and result.second.low > 0, "it adds to one estimate"
        beyond.append(result.is_beyond)
    assert not any(beyond)
    assert (
        "adding a second such estimate instead of the image changes it by +0." in result.sentence()
    )


def test_without_a_second_estimate_nothing_beyond_maturity_is_shown():
    parts = [children(n, k, 1.0) for k, n in enumerate((500, 600, 1500))]
    result = maturity(*(part.assign(**{SECOND_ESTIMATE: np.nan}) for part in parts))
    assert result.added.low > 0 and not result.is_beyond
    assert "how much a second reading of maturity would add is not known" in result.sentence()


def test_what_a_score_knows_beyond_maturity_is_found():
    train, selected, frame = (children(n, seed, 1.0) for seed, n in enumerate((500, 600, 1500)))
    result = maturity(train, selected, frame)
    assert result.is_beyond and result.added.value > 0.05
    assert "adding the image raises the AUC by 0." in result.sentence()
    assert result.verdict().startswith("Beyond label and estimated maturity, the image adds 0.")
    assert result.same_maturity.estimate.low > 0.5
    conclusion = summary.conclusion(frame, result)
    assert summary.answer(train, frame, result).startswith(f"{conclusion} Estimated maturity")
    assert conclusion.startswith(
        "The image carries information on sex beyond the age label and estimated maturity: in "
        "28,087 girl–boy pairs with the same label, "
    )
    assert result.variables()["maturity_added"].startswith("+0.")
    table = result.table.set_index("name")["auc"]
    assert table["label"] < table["label and estimated age"] < table.iloc[-1]


def test_pairs_matched_on_the_estimate_are_a_subset_with_less_of_maturity():
    frame = children(1500, 3)
    by_label_alone = age_matched(frame)
    both = matched_pairs(frame, {"age_months": 0, ESTIMATE: 1})
    assert both.pairs < by_label_alone.pairs
    assert abs(both.estimate.value - 0.5) < abs(by_label_alone.estimate.value - 0.5) / 3


@pytest.mark.parametrize("n", [2, 8, 40])
def test_few_hands_leave_maturity_open(n):
    frame = children(n, 0)
    frame.loc[:1, "male"] = [True, False]
    result = maturity(children(200, 1), children(8, 2), frame)
    assert "too few selection hands of one sex" in result.sentence()
    assert result.verdict() == "Whether the image shows more than maturity is not known"


def test_estimates_of_another_run_are_joined_by_id():
    class Made:
        def __init__(self, predictions):
            self.predictions = predictions

    frame = children(40, 0).assign(split="validation")
    of_age = frame[["id", "split"]].assign(**{ESTIMATE: np.arange(40.0)}).sample(frac=1)
    others = [Made(of_age.assign(**{ESTIMATE: of_age[ESTIMATE] + months})) for months in (10, 20)]
    joined = maturity_analysis.with_estimates(Made(frame), [Made(of_age), *others], "validation")
    assert joined[ESTIMATE].tolist() == list(range(40))
    assert joined[SECOND_ESTIMATE].tolist() == list(range(15, 55))
    none = maturity_analysis.with_estimates(Made(frame), [], "validation")
    assert "no age estimate" in maturity(frame, none, none).sentence()


def numbers(train, frame):
    estimates = {ESTIMATE: frame["age_months"] + 3, SECOND_ESTIMATE: frame["age_months"] + 2}
    blind = frame.assign(**estimates)
    temperature = Temperature.fit(train)
    result = maturity(train, blind, blind)
    return summary.variables(train, [frame], choose_threshold(train), temperature, result)


@pytest.mark.parametrize("n", [2, 20, 400])
def test_the_numbers_of_question_2_can_be_printed_for_any_number_of_hands(n, tmp_path):
    frame = hands(n)
    frame.loc[0, "male"], frame.loc[1, "male"] = True, False
    values = numbers(hands(300, 9), frame)
    Results(tmp_path, tmp_path, "Squares").variables("sex", values)
    assert values["answer"] and values["n"] == n
    assert len(summary.calipers(frame)) == len(sex.CALIPERS_MONTHS)
    table = by_split(frame.assign(split="validation"), partial(metrics, threshold=0.5))
    table = table.set_index("measure")
    assert table.loc["brier", "n"] == n and table.loc["accuracy", "split"] == "validation"


@pytest.mark.parametrize("only", ["one sex", "one age"])
@pytest.mark.parametrize("n", [2, 40])
def test_hands_of_one_sex_or_age_leave_question_2_without_an_error(n, only, tmp_path):
    frame = hands(n)
    frame = frame.assign(male=True) if only == "one sex" else frame.assign(age_months=60.0)
    values = numbers(hands(90), frame)
    Results(tmp_path, tmp_path, "Squares").variables("sex", values)
    if only == "one sex":
        assert values["answer"] == f"Sex cannot be assessed: all {n} hands are of one sex."
        assert values["auc"].startswith("not estimable")


def test_of_a_score_that_knows_nothing_the_title_says_so_and_maturity_explains_nothing():
    chance, known = Estimate(0.5, 0.4, 0.6, 90), Estimate(0.9, 0.8, 0.95, 90)
    label = Estimate(0.6, 0.5, 0.7, 90)
    assert summary.verdict(chance, label).endswith("not distinguishable from chance")
    assert summary.verdict(known, label).endswith("against 0.600 from the age label")
