import made_up
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.age import literature
from h2a_lib.analysis.age.errors import (
    abstention,
    answer,
    baselines,
    bland_altman,
    by_band,
    constant,
    constant_by_sex,
    ensemble,
    metrics,
    noise_floor,
    single_report_floor,
)
from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.errors import UserError


def hands(n=200, seed=0):
    frame, _ = made_up.hands(n, seed)
    return frame.assign(age_months=frame["age_months"].round())


def predicted(frame, errors):
    return frame.assign(predicted_age_months=frame["age_months"] + errors)


def test_a_perfect_predictor_has_no_error_and_an_r2_of_one():
    result = metrics(predicted(hands(), 0.0))
    assert result["mae"].value == result["rmse"].value == result["bias"].high == 0
    assert result["r2"].low == result["within_6"].value == 1
    # 200 right of 200 do not show that none will be wrong.
    assert result["within_6"].low < result["within_6"].high == 1


def test_metrics_agree_with_scikit_learn():
    frame = predicted(hands(), np.random.default_rng(1).normal(3, 12, 200))
    result = metrics(frame)
    errors = frame["predicted_age_months"] - frame["age_months"]
    assert result["r2"].value == pytest.approx(
        r2_score(frame["age_months"], frame["predicted_age_months"])
    )
    assert result["rmse"].value == pytest.approx(np.sqrt((errors**2).mean()))
    assert result["median"].value == pytest.approx(errors.abs().median())
    assert result["within_12"].value == pytest.approx(1 - result["beyond_12"].value)


def test_error_and_bias_have_one_interval_wherever_they_stand():
    frame = predicted(hands(), np.random.default_rng(3).normal(0, 9, 200))
    assert metrics(frame)["mae"] == age.error(frame) == age.error(frame[::-1])
    assert (
        metrics(frame)["bias"] == bland_altman(frame)["bias"] == bland_altman(frame[::-1])["bias"]
    )


def test_the_median_is_the_constant_predictors_answer_and_its_r2_is_not_positive():
    frame = hands()
    simple = constant(frame, frame)
    assert simple["predicted_age_months"].unique() == [frame["age_months"].median()]
    assert metrics(simple)["r2"].value <= 0


def test_an_error_of_exactly_12_months_is_within_12():
    assert metrics(predicted(hands(), 12.0))["within_12"].value == 1


def test_r2_of_hands_of_one_age_is_undefined_rather_than_a_warning():
    frame = predicted(hands(5).assign(age_months=100.0), 3.0)
    assert metrics(frame)["r2"].text() == "not estimable (n = 5, few)"


def test_bands_hold_their_lower_edge_and_take_in_what_lies_outside():
    assert band_of([0, 47.9, 48, 191, 192, 240, -5, 300]).tolist() == [0, 0, 1, 3, 4, 4, 0, 4]


def test_bands_and_sexes_add_up_to_the_whole():
    table = by_band(predicted(hands(), 1.0)).set_index(["band", "sex"])
    assert table.loc[("all", "both"), "n"] == 200
    assert table.loc[[(b, s) for b in NAMES for s in ("female", "male")], "n"].sum() == 200
    assert (table["mae_months"] == 1).all()


def test_an_empty_band_is_a_row_with_n_0_and_a_single_hand_has_no_interval():
    frame = predicted(hands(1).assign(age_months=60.0, male=True), 4.0)
    table = by_band(frame).set_index(["band", "sex"])
    assert table.loc[(NAMES[0], "both"), ["n", "few"]].tolist() == [0, True]
    assert np.isnan(table.loc[(NAMES[0], "both"), "mae_months"])
    assert table.loc[(NAMES[1], "male"), "mae_months"] == 4
    assert np.isnan(table.loc[(NAMES[1], "male"), "mae_months_low"])


def test_limits_of_agreement_are_the_bias_and_1_96_standard_deviations():
    errors = np.random.default_rng(2).normal(5, 10, 4000)
    result = bland_altman(predicted(hands(4000), errors))
    assert result["bias"].value == pytest.approx(errors.mean())
    assert result["upper"].value == pytest.approx(errors.mean() + 1.96 * errors.std(ddof=1))
    assert result["lower"].low < result["lower"].value < result["lower"].high


def test_a_constant_answer_has_a_bland_altman_slope_of_minus_two():
    # difference = c - t, mean = (c + t) / 2: the slope is -1 / (1 / 2).
    frame = hands()
    assert bland_altman(constant(frame, frame))["slope"].value == pytest.approx(-2)


def test_bland_altman_of_one_hand_and_of_none_does_not_fail():
    assert np.isnan(bland_altman(predicted(hands(1), 3.0))["upper"].value)
    assert bland_altman(predicted(hands(1), 3.0).iloc[:0])["bias"].n == 0


def test_constants_are_fitted_on_the_training_hands_alone():
    train = pd.DataFrame({"age_months": [10.0, 20.0, 90.0], "male": [True, True, False]})
    frame = hands(4).assign(male=[True, True, False, False])
    assert constant(train, frame)["predicted_age_months"].tolist() == [20] * 4
    assert constant_by_sex(train, frame)["predicted_age_months"].tolist() == [15, 15, 90, 90]


def test_a_sex_without_a_training_hand_gets_the_median_of_all():
    train = pd.DataFrame({"age_months": [10.0, 30.0], "male": [True, True]})
    frame = hands(1).assign(male=False)
    assert constant_by_sex(train, frame)["predicted_age_months"].tolist() == [20]


def test_a_network_gains_nothing_over_itself_and_something_over_a_constant():
    frame = hands()
    table = baselines(frame, constant(frame, frame)).set_index("name")
    assert bool(table.loc["median age", "tie"])
    table = baselines(frame, predicted(frame, 1.0)).set_index("name")
    assert table.loc["median age", "gain_months_low"] > 0


def test_the_noise_floor_is_recovered_from_simulated_readers():
    rng = np.random.default_rng(0)
    truth, n = rng.uniform(0, 228, 200_000), 200_000
    model = truth + rng.normal(0, 5, n)
    readings = truth + rng.normal(0, 6, (7, n))
    one = np.abs(model - readings[0]).mean()
    six = np.abs(model - readings[1:].mean(axis=0)).mean()
    of_perfect = np.abs(truth - readings[0]).mean()
    assert single_report_floor(one, six) == pytest.approx(of_perfect, rel=0.02)


def test_the_noise_floor_is_that_of_the_field_notes_and_phantoms_have_none():
    assert 4.5 <= noise_floor("rsna") <= 5
    assert noise_floor("phantom") is None
    assert age.noise_range("phantom") is age.noise_range("folder") is None
    assert age.noise_range("rsna") == (noise_floor("rsna"), 7.0)


def test_published_results_on_the_two_kinds_of_labels_are_kept_apart():
    assert all(row.source for row in literature.AGE_ERRORS)
    assert {row.labels for row in literature.AGE_ERRORS} == {"one report", "six readings"}
    of_kind = {
        kind: [row.mae_months for row in literature.AGE_ERRORS if row.labels == kind]
        for kind in ("one report", "six readings")
    }
    assert max(of_kind["six readings"]) < min(of_kind["one report"])


def test_an_ensemble_is_the_mean_by_id_and_not_by_position():
    frame = hands(3)
    a, b = predicted(frame, 2.0), predicted(frame, -4.0).iloc[::-1]
    both = ensemble([a, b])
    assert (both["predicted_age_months"] - both["age_months"]).tolist() == [-1, -1, -1]
    assert both["spread_months"].tolist() == [3, 3, 3]


def test_an_ensemble_of_different_hands_is_refused():
    frame = predicted(hands(3), 0.0)
    with pytest.raises(UserError, match="missing from the second: 2"):
        ensemble([frame, frame.iloc[:2]])


def test_abstaining_by_the_error_itself_is_the_oracle():
    errors = np.random.default_rng(0).normal(0, 10, 100)
    curve = abstention(errors, np.abs(errors))
    assert np.allclose(curve["mae_months"], curve["oracle_months"])
    assert curve["answered"].iloc[-1] == 1
    assert curve["mae_months"].is_monotonic_increasing
    assert curve["mae_months"].iloc[-1] == pytest.approx(np.abs(errors).mean())


def test_abstention_works_for_a_single_hand():
    assert abstention([3.0], [1.0])["mae_months"].tolist() == [3]


def test_the_answer_calls_a_tie_a_tie_and_worse_worse():
    train = frame = hands()
    assert "not distinguishable from" in answer(train, constant(train, frame), "phantom")
    assert "worse than" in answer(train, predicted(frame, 150.0), "phantom")
    errors = np.random.default_rng(0).normal(0, 10, 200)
    assert "times as large" in answer(train, predicted(frame, errors), "phantom")


def test_an_error_below_the_noise_of_real_labels_is_suspected_of_a_leak():
    frame = hands()
    assert "suggests leakage" in answer(frame, predicted(frame, 2.0), "rsna")
    near = np.tile([4.5, 4.9], len(frame))[: len(frame)]
    assert "leak" not in answer(frame, predicted(frame, near), "rsna")
    assert "leak" not in answer(frame, predicted(frame, 2.0), "phantom")


def test_errors_are_reported_by_kind_of_picture():
    frame = pd.DataFrame({"age_months": [100.0] * 6, "predicted_age_months": [100.0, 101, 99] * 2})
    hard = np.array([False] * 3 + [True] * 3)
    frame.loc[hard, "predicted_age_months"] += 40
    table = age.by_kind(frame, {"flat": hard, "never": np.zeros(6, bool)})
    flat = table[table["subgroup"] == "flat"].set_index("in_subgroup")
    assert flat["mae_months"].to_dict() == {True: 40, False: pytest.approx(2 / 3)}
    assert flat["beyond_24"].to_dict() == {True: 1, False: 0}
    sentence = age.kinds_sentence(table)
    assert sentence.startswith("MAE by kind of image: flat 40.0 months (95 % CI 39.0–41.0, n = 3")
    assert sentence.endswith("against 0.7 (95 % CI 0.0–1.0, n = 3, few) in the others.")
    assert age.kinds_sentence(table[table["subgroup"] == "never"]) == "All images are of one kind."
