import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.analysis.statistics.conformal import Conformal, coverage, cross_conformal, quantile


def hands(n, seed=0, spread=lambda age: 10.0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 228, n)
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "age_months": true,
            "male": rng.random(n) < 0.5,
            "predicted_age_months": true + rng.normal(0, 1, n) * spread(true),
        }
    )


def test_new_hands_are_covered_as_often_as_promised():
    fitted = Conformal.fit(hands(1000))
    new = hands(20_000, seed=1)
    low, high = fitted.interval(new["predicted_age_months"])
    covered = ((low <= new["age_months"]) & (new["age_months"] <= high)).mean()
    assert covered == pytest.approx(0.9, abs=0.02)


def test_coverage_is_at_least_the_promise_on_average_however_few_the_hands():
    # 19 hands: rank 18 of 19; the mean coverage over many draws is 18 / 20.
    covered = [
        (np.abs(np.random.default_rng(i + 10_000).normal(size=200)) <= quantile(
            np.abs(np.random.default_rng(i).normal(size=19)), 0.9
        )).mean()
        for i in range(400)
    ]  # fmt: skip
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_an_interval_is_wider_where_errors_are_larger():
    fitted = Conformal.fit(hands(2000, spread=lambda age: np.where(age < 96, 3.0, 15.0)))
    low, high = fitted.interval([24, 200])
    assert high[0] - low[0] < (high[1] - low[1]) / 3


def test_every_age_is_covered_by_a_network_that_reads_old_hands_too_young():
    pulled = [hands(n, seed) for n, seed in ((3000, 0), (20_000, 1))]
    for frame in pulled:
        predicted = frame["predicted_age_months"]
        frame["predicted_age_months"] = predicted - np.maximum(predicted - 150, 0) * 0.6
    low, high = Conformal.fit(pulled[0]).interval(pulled[1]["predicted_age_months"])
    covered = pulled[1]["age_months"].between(low, high)
    by_age = covered.groupby(band_of(pulled[1]["age_months"])).mean()
    assert len(by_age) == len(NAMES)
    assert by_age.min() > 0.87


def test_an_interval_holds_the_ages_that_would_be_read_like_this_and_no_others():
    fitted = Conformal(0.9, (48, 96), (5, 10, 30), (99, 99, 99))
    low, high = fitted.interval([20, 45, 80, 92, 130, -9])
    # 45: up to 48 as a young hand (± 5), from there to 55 as an older one (± 10).
    # 80: down to 70, up to 90; as one of 96 or more (± 30) it may be up to 110.
    assert list(low) == [15, 40, 70, 82, 100, 0]
    assert list(high) == [25, 55, 110, 122, 160, 0]


def test_a_perfect_predictor_has_intervals_of_no_width():
    assert set(Conformal.fit(hands(300, spread=lambda age: 0)).error_months) == {0}


def test_the_quantile_is_the_stated_rank():
    assert quantile(np.arange(1.0, 10), 0.9) == 9
    assert quantile(np.arange(1.0, 20), 0.9) == 18


def test_too_few_hands_promise_nothing():
    assert quantile(np.arange(8.0), 0.9) == math.inf
    assert quantile(np.array([]), 0.9) == math.inf


def test_a_band_with_few_hands_is_joined_to_its_smaller_neighbour():
    frame = hands(160)
    frame["age_months"] = np.repeat([24, 60, 100, 180, 200], [40, 20, 40, 35, 25])
    fitted = Conformal.fit(frame)
    assert fitted.edges_months == (96, 144)
    assert fitted.n == (60, 40, 60)


def test_no_interval_reaches_below_birth():
    low, _ = Conformal.fit(hands(500)).interval([1.0])
    assert low[0] == 0


def test_a_hands_own_error_has_no_part_in_its_interval():
    frame = hands(100)
    outlier = frame.copy()
    outlier.loc[7, "predicted_age_months"] += 1e-9
    outlier.loc[7, "age_months"] = 5000
    of = [cross_conformal(f).loc[7, "half_width_months"] for f in (frame, outlier)]
    assert of[0] == pytest.approx(of[1])


def test_cross_fitted_coverage_is_near_the_promise():
    table = coverage(cross_conformal(hands(3000))).set_index(["band", "sex"])
    assert table.loc[("all", "both"), "coverage"] == pytest.approx(0.9, abs=0.02)
    assert len(table) == (len(NAMES) + 1) * 3


@given(st.integers(0, 10))
def test_hardly_any_hands_give_unbounded_intervals_and_no_error(n):
    table = cross_conformal(hands(n))
    assert len(table) == n
    assert table["covered"].all()
    assert len(coverage(table)) == 18
