import math

import made_up
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.analysis.statistics.conformal import (
    HIGH,
    LOW,
    BandErrors,
    ConformalQuantiles,
    SplitConformal,
    compare_intervals,
    conformal_quantile,
    coverage,
    has_quantiles,
    interval_score,
    quantile_conformal,
    split_conformal,
)


def hands(n, seed=0, spread=lambda age: 10.0):
    frame, rng = made_up.hands(n, seed, ages=(0, 228))
    true = frame["age_months"]
    return frame.assign(predicted_age_months=true + rng.normal(0, 1, n) * spread(true))


def pulled(n, seed):
    """Hands of a network that underestimates the oldest."""
    frame = hands(n, seed)
    estimate = frame["predicted_age_months"]
    return frame.assign(predicted_age_months=estimate - np.maximum(estimate - 150, 0) * 0.6)


def heteroscedastic(n, seed=0, factor=1.0):
    """Hands whose spread is known to the network, and its own 90 % interval, times a factor."""
    rng = np.random.default_rng(seed)
    frame = hands(n, seed)
    # Blurred and sharp pictures of every age: no band of age shows which is which.
    spread = np.where(rng.random(n) < 0.5, 3.0, 20.0)
    estimate = frame["age_months"] + 100 + rng.normal(0, 1, n) * spread
    half = 1.645 * spread * factor
    return frame.assign(
        age_months=frame["age_months"] + 100,
        predicted_age_months=estimate,
        **{LOW: estimate - half, HIGH: estimate + half},
    )


def test_new_hands_are_covered_as_often_as_stated():
    intervals = split_conformal(hands(3000), hands(20_000, seed=1))
    assert intervals["covered"].mean() == pytest.approx(0.91, abs=0.02)


def test_coverage_is_at_least_what_is_stated_on_average_however_few_the_hands():
    # 19 hands: rank 18 of 19; the mean coverage over many draws is 18 / 20.
    covered = [
        (np.abs(np.random.default_rng(i + 10_000).normal(size=200)) <= conformal_quantile(
            np.abs(np.random.default_rng(i).normal(size=19)), 0.9
        )).mean()
        for i in range(400)
    ]  # fmt: skip
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_an_interval_is_wider_where_errors_are_larger():
    selection = hands(2000, spread=lambda age: np.where(age < 96, 3.0, 15.0))
    low, high = SplitConformal.fit(selection).interval([24, 200])
    assert high[0] - low[0] < (high[1] - low[1]) / 3


@pytest.mark.parametrize("column", ["age_months", "predicted_age_months"])
def test_every_age_is_covered_by_true_and_by_estimated_age_at_once(column):
    intervals = split_conformal(pulled(3000, 0), pulled(20_000, 1))
    by_age = intervals["covered"].groupby(band_of(intervals[column])).mean()
    assert by_age.min() > 0.87
    assert len(by_age) >= len(NAMES) - 1


def test_bands_of_the_estimate_alone_would_fail_the_oldest():
    selection, new = pulled(3000, 0), pulled(20_000, 1)
    by_estimate = SplitConformal.fit(selection).by_estimate
    low, high = SplitConformal(BandErrors((), (0.0,), (3000,)), by_estimate).interval(
        new["predicted_age_months"]
    )
    covered = new["age_months"].between(low, high)
    assert covered.groupby(band_of(new["age_months"])).mean().min() < 0.85


def test_an_interval_holds_the_ages_that_could_be_estimated_like_this_and_no_others():
    by_true = BandErrors((48, 96), (5, 10, 30), (99, 99, 99))
    fitted = SplitConformal(by_true, BandErrors((), (0,), (297,)))
    low, high = fitted.interval([20, 45, 80, 92, 130, -9])
    # 45: up to 48 as a young hand (± 5), from there to 55 as an older one (± 10).
    # 80: down to 70, up to 90; as one of 96 or more (± 30) it may be up to 110.
    # -9: no age is negative, so this is an estimate of 0.
    assert list(low) == [15, 40, 70, 82, 100, 0]
    assert list(high) == [25, 55, 110, 122, 160, 5]


def test_the_larger_error_of_true_and_estimated_band_counts():
    fitted = SplitConformal(BandErrors((), (5,), (99,)), BandErrors((96,), (2, 20), (50, 49)))
    low, high = fitted.interval([50, 150])
    assert (list(low), list(high)) == ([45, 130], [55, 170])


@given(st.floats(-300, 600), st.integers(0, 200))
def test_an_interval_holds_its_estimate_and_no_age_below_birth(estimate, n):
    low, high = SplitConformal.fit(hands(n)).interval([estimate])
    assert 0 <= low[0] <= max(estimate, 0) <= high[0]


def test_a_perfect_predictor_has_intervals_of_no_width():
    low, high = SplitConformal.fit(hands(300, spread=lambda age: 0)).interval([50, 150])
    assert np.array_equal(low, high)


def test_the_quantile_is_the_stated_rank():
    assert conformal_quantile(np.arange(1.0, 10), 0.9) == 9
    assert conformal_quantile(np.arange(1.0, 20), 0.9) == 18


def test_too_few_hands_bound_nothing():
    assert conformal_quantile(np.arange(8.0), 0.9) == math.inf
    assert conformal_quantile(np.array([]), 0.9) == math.inf


def test_a_band_with_few_hands_is_joined_to_its_smaller_neighbour():
    ages = np.repeat([24.0, 60, 100, 180, 200], [40, 20, 40, 35, 25])
    fitted = BandErrors.fit(ages, np.ones(160), 0.9)
    assert fitted.edges_months == (96, 144)
    assert fitted.n == (60, 40, 60)


def test_the_labels_of_the_reported_hands_have_no_part_in_their_intervals():
    selection, frame = hands(100), hands(50, seed=1)
    relabelled = frame.assign(age_months=5000.0)
    ends = ["low_months", "high_months"]
    before, after = (split_conformal(selection, f)[ends] for f in (frame, relabelled))
    assert before.equals(after)


def test_bands_that_fail_are_marked_and_the_others_are_not():
    intervals = split_conformal(hands(2000), hands(600, seed=1)).assign(covered=True)
    intervals.loc[intervals["age_months"] >= 192, "covered"] = False
    table = coverage(intervals).set_index(["band", "sex"])
    assert table.loc[(NAMES[-1], "both"), "fails"]
    assert not table.loc[(NAMES[0], "both"), "fails"]
    assert len(table) == (len(NAMES) + 1) * 3


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_conformalised_quantiles_cover_whatever_the_networks_own_did(factor):
    selection, new = heteroscedastic(2000, 0, factor), heteroscedastic(20_000, 1, factor)
    intervals = quantile_conformal(selection, new)
    assert intervals["covered"].mean() == pytest.approx(0.9, abs=0.02)


def test_conformalised_quantiles_have_a_width_for_each_hand_and_the_better_score():
    selection, new = heteroscedastic(2000), heteroscedastic(5000, 1)
    methods = {
        "split": split_conformal(selection, new),
        "quantiles": quantile_conformal(selection, new),
    }
    # The truth: half of the hands have a width of 9.9 months, the others of 65.8.
    widths = methods["quantiles"]["high_months"] - methods["quantiles"]["low_months"]
    assert np.quantile(widths, [0.25, 0.75]) == pytest.approx([9.9, 65.8], abs=4)
    assessed = compare_intervals(methods).query("by == 'all'").set_index("method")
    assert assessed["coverage"].min() > 0.88
    assert assessed["mean_width_months"]["quantiles"] < assessed["mean_width_months"]["split"] - 5
    assert assessed["interval_score_months"].idxmin() == "quantiles"


def test_a_negative_margin_never_turns_an_interval_inside_out():
    low, high = ConformalQuantiles(-10.0).interval([100, 100], [130, 104])
    assert (list(low), list(high)) == ([110, 102], [120, 102])


def test_the_interval_score_is_the_width_and_ten_times_the_miss():
    frame = pd.DataFrame({"low_months": [10.0, 10, 10], "high_months": [30.0, 30, 30],
                          "age_months": [20.0, 35, 8]})  # fmt: skip
    assert interval_score(frame, 0.8) == pytest.approx([20, 70, 40])


def test_predictions_with_both_quantiles_are_recognised():
    assert has_quantiles(heteroscedastic(3)) and not has_quantiles(hands(3))


@settings(deadline=None)
@given(st.integers(0, 8))
def test_hardly_any_selection_hands_give_unbounded_intervals_and_no_error(n):
    new = heteroscedastic(40, 1)
    for make in (split_conformal, quantile_conformal):
        intervals = make(heteroscedastic(n), new)
        assert intervals["covered"].all() and np.isinf(intervals["high_months"]).all()
        assert len(coverage(intervals)) == 18
        assert np.isinf(compare_intervals({"x": intervals})["mean_width_months"].iloc[0])


def test_no_reported_hands_are_no_error():
    intervals = split_conformal(hands(100), hands(0))
    assert len(intervals) == 0 and compare_intervals({"x": intervals})["n"].sum() == 0
