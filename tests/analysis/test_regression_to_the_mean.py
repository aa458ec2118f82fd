import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.age.errors import corrected, regression_to_the_mean


def pulled(n=500, slope=0.6, noise=5.0, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(10, 220, n)
    return pd.DataFrame(
        {
            "id": [f"h{i}" for i in range(n)],
            "age_months": true,
            "predicted_age_months": 127 + slope * (true - 127) + rng.normal(0, noise, n),
        }
    )


def test_perfect_answers_are_calibrated_and_not_pulled():
    frame = pulled(slope=1, noise=0)
    result = regression_to_the_mean(frame)
    assert result["calibration_slope"].value == pytest.approx(1)
    assert result["error_slope"].value == pytest.approx(0, abs=1e-9)


def test_a_constant_answer_is_pulled_all_the_way():
    assert regression_to_the_mean(pulled(slope=0, noise=0))["error_slope"].value == pytest.approx(
        -1
    )


def test_correction_by_other_hands_removes_the_pull_to_the_mean():
    frame = pulled()
    before, after = (
        regression_to_the_mean(f)["error_slope"] for f in (frame, corrected(pulled(seed=1), frame))
    )
    assert before.high < -0.3
    assert abs(after.value) < 0.05


def test_the_labels_of_the_corrected_hands_have_no_part_in_their_correction():
    frame, selection = pulled(60), pulled(60, seed=1)
    relabelled = corrected(selection, frame.assign(age_months=0.0))
    assert np.array_equal(
        corrected(selection, frame)["predicted_age_months"], relabelled["predicted_age_months"]
    )


def test_estimates_that_do_not_follow_the_age_are_left_alone():
    frame = pulled(slope=0, noise=1)
    assert corrected(pulled(slope=0, noise=1, seed=1), frame).equals(frame)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_selection_hands_correct_nothing(n):
    frame = pulled(20)
    assert corrected(pulled(n), frame).equals(frame)
    assert len(corrected(pulled(20), pulled(n))) == n
    assert regression_to_the_mean(pulled(n))["error_slope"].n == n


def test_estimates_on_a_line_are_corrected_to_the_true_age():
    frame = pulled(noise=0)
    assert corrected(pulled(noise=0, seed=1), frame)["predicted_age_months"].tolist() == (
        pytest.approx(frame["age_months"].tolist())
    )
