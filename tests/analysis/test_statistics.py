import math
import time

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from h2a_lib.analysis.statistics import bootstrap as statistics
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    bootstrap,
    join,
    mae_interval,
    mean_interval,
    number,
    over_seeds,
    paired_difference,
    share_interval,
)
from h2a_lib.errors import UserError


def predictions(errors, ids=None):
    errors = np.asarray(errors, dtype=float)
    age_months = np.linspace(20, 200, len(errors))
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(len(errors))] if ids is None else ids,
            "age_months": age_months,
            "predicted_age_months": age_months + errors,
        }
    )


def test_an_estimate_reads_as_one_sentence():
    estimate = Estimate(11.31, 10.93, 11.79, 2611)
    assert estimate.text("months") == "11.3 months (95 % CI 10.9–11.8, n = 2,611)"
    assert estimate.text(digits=2) == "11.31 (95 % CI 10.93–11.79, n = 2,611)"


def test_a_share_is_printed_in_percent():
    text = Estimate(0.769, 0.75, 0.79, 2611).text("%", scale=100)
    assert text == "76.9 % (95 % CI 75.0–79.0, n = 2,611)"


def test_a_negative_end_is_not_joined_by_a_dash():
    assert Estimate(-0.1, -0.4, 0.2, 100).span() == "−0.4 to 0.2"


def test_fewer_than_30_children_are_marked_as_few():
    assert Estimate(1, 0, 2, 29).text().endswith("n = 29, few)")
    assert "few" not in Estimate(1, 0, 2, 30).text()


def test_no_child_and_one_child_give_words_rather_than_an_error():
    assert mae_interval([]).text("months") == "not estimable (n = 0)"
    assert mae_interval([-3.0]).text("months") == "3.0 months (no interval, n = 1, few)"


def test_a_perfect_predictor_has_an_error_of_zero_with_no_width():
    estimate = mae_interval(np.zeros(50))
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_the_interval_equals_that_of_a_literal_loop():
    errors = np.random.default_rng(1).normal(0, 10, 37)
    # The oracle: the same stream of draws, one resample after the other, of the errors by size.
    sizes = sorted(map(abs, errors))
    (stream,) = np.random.default_rng(5).spawn(1)
    means = []
    for _ in range(400):
        drawn = [sizes[stream.integers(37)] for _ in range(37)]
        means.append(sum(drawn) / 37)
    estimate = mae_interval(errors, seed=5, resamples=400)
    assert estimate.value == pytest.approx(np.mean(np.abs(errors)))
    assert estimate.low == pytest.approx(np.quantile(means, 0.025))
    assert estimate.high == pytest.approx(np.quantile(means, 0.975))


def test_the_interval_agrees_with_scipy_within_the_noise_of_resampling():
    errors = np.abs(np.random.default_rng(2).normal(0, 12, 500))
    theirs = scipy.stats.bootstrap(
        (errors,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(0)
    )
    ours = mean_interval(errors, resamples=5000)
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_a_share_has_an_interval_with_a_width_even_where_all_are_alike():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611)}
    for (true, n), interval in published.items():
        result = share_interval(np.arange(n) < true)
        assert (result.value, result.n) == (true / n, n)
        assert (round(result.low, 4), round(result.high, 4)) == interval
    assert share_interval(np.ones(20, bool)).low < 1
    assert share_interval([]).text("%") == "not estimable (n = 0)"


def test_the_interval_of_an_error_does_not_depend_on_the_order_of_the_children():
    errors = np.random.default_rng(4).normal(size=60)
    assert mae_interval(errors[::-1], resamples=200) == mae_interval(errors, resamples=200)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(3)
    truth = math.sqrt(2 / math.pi)
    intervals = [mae_interval(rng.normal(size=80), seed=i, resamples=400) for i in range(300)]
    covered = np.mean([e.low <= truth <= e.high for e in intervals])
    assert 0.90 <= covered <= 0.98


def test_draws_do_not_depend_on_how_they_are_cut(monkeypatch):
    errors = np.random.default_rng(0).normal(size=101)
    strata = np.arange(101) % 2
    at_once = bootstrap(lambda x: x.mean(-1), errors, strata=strata, resamples=300)
    monkeypatch.setattr(statistics, "CHUNK_CELLS", 101 * 7)
    assert bootstrap(lambda x: x.mean(-1), errors, strata=strata, resamples=300) == at_once


def test_strata_keep_their_size_in_every_resample():
    group = np.array([0] * 3 + [1] * 20)
    share = bootstrap(lambda g: g.mean(-1), group, strata=group)
    assert share.low == share.high == share.value == 20 / 23


def test_columns_are_drawn_together():
    x = np.arange(40.0)
    difference = bootstrap(lambda a, b: (a - b).mean(-1), x, x - 1)
    assert difference.low == difference.high == 1


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\), \(2,\)"):
        bootstrap(lambda a, b: a.mean(-1), [1, 2, 3], [1, 2])


def test_2000_resamples_of_2611_children_take_less_than_a_second():
    errors = np.random.default_rng(0).normal(size=2611)
    start = time.process_time()
    mae_interval(errors)
    assert time.process_time() - start < 1


def test_the_same_predictions_are_a_tie():
    frame = predictions(np.random.default_rng(0).normal(0, 10, 60))
    difference = paired_difference(frame, frame)
    assert difference.value == 0
    assert difference.is_tie


def test_a_prediction_that_is_better_for_every_child_is_no_tie():
    errors = np.random.default_rng(0).normal(0, 30, 60)
    worse = predictions(errors + np.sign(errors))
    difference = paired_difference(predictions(errors), worse)
    assert difference.value == pytest.approx(-1)
    assert difference.high < 0
    assert not difference.is_tie


def test_pairing_goes_by_id_and_not_by_position():
    frame = predictions(np.random.default_rng(0).normal(0, 10, 60))
    assert paired_difference(frame, frame.sample(frac=1, random_state=1)).high == 0


def test_a_missing_and_a_double_id_are_named_together():
    a = predictions([1, 2, 3], ids=["7", "8", "9"])
    b = predictions([1, 2, 3], ids=["7", "9", "9"])
    with pytest.raises(UserError, match="twice in the second: 9; missing from the second: 8"):
        paired_difference(a, b)


def test_an_age_that_differs_between_the_two_is_named():
    a, b = predictions([1, 2, 3]), predictions([1, 2, 3])
    b.loc[1, "age_months"] += 1
    with pytest.raises(UserError, match="different ages for id 1"):
        join(a, b)


def test_seeds_are_summed_up_by_mean_and_standard_deviation():
    seeds = over_seeds([11.0, 11.2, 11.4])
    assert (seeds.mean, seeds.n) == (pytest.approx(11.2), 3)
    assert seeds.spread == pytest.approx(0.2)
    assert seeds.text("months") == "11.2 ± 0.2 months (mean ± SD, 3 seeds)"
    assert over_seeds([11.0]).text("months") == "11.0 months (1 seed)"


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_a_printed_number_reads_back_and_zero_has_no_sign(value, digits):
    text = number(value, digits)
    assert float(text.replace(",", "").replace("−", "-")) == pytest.approx(
        value, abs=0.5001 * 10**-digits
    )
    assert text != "−" + number(0, digits)
