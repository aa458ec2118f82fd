import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.statistics.calibration import Line, cross_corrected, folds_of, measures


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
    found = measures(frame)
    assert found["calibration_slope"].value == pytest.approx(1)
    assert found["pull"].value == pytest.approx(0, abs=1e-9)


def test_a_constant_answer_is_pulled_all_the_way():
    assert measures(pulled(slope=0, noise=0))["pull"].value == pytest.approx(-1)


def test_correction_removes_the_pull_to_the_mean():
    before, after = (measures(f)["pull"] for f in (pulled(), cross_corrected(pulled())))
    assert before.high < -0.3
    assert after.is_tie


def test_no_hands_own_label_has_a_part_in_its_correction():
    frame = pulled(60)
    fold = folds_of(frame["id"])
    changed = frame.copy()
    changed.loc[fold == 2, "age_months"] = 0.0
    assert np.array_equal(
        cross_corrected(frame)["predicted_age_months"][fold == 2],
        cross_corrected(changed)["predicted_age_months"][fold == 2],
    )


def test_folds_go_by_id_and_not_by_row():
    ids = pd.Series([f"h{i}" for i in range(23)])
    shuffled = ids.sample(frac=1, random_state=3)
    assert dict(zip(ids, folds_of(ids), strict=True)) == dict(
        zip(shuffled, folds_of(shuffled), strict=True)
    )
    assert np.bincount(folds_of(ids)).tolist() == [5, 5, 5, 4, 4]


def test_answers_that_do_not_follow_the_age_are_left_alone():
    frame = pulled(slope=0, noise=1)
    assert cross_corrected(frame).equals(frame)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_hands_are_no_error(n):
    assert len(cross_corrected(pulled(n))) == n
    assert measures(pulled(n))["pull"].n == n


def test_a_line_is_recovered():
    line = Line.fit(pulled(noise=0))
    assert (line.slope, line.intercept) == (pytest.approx(0.6), pytest.approx(127 * 0.4))
