"""For whom the estimate is wrong, on estimators whose gap is known."""

import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.age import sex_gap
from h2a_lib.analysis.bands import NAMES


def hands(n=2000, seed=0, girls_older_by=0.0, slope=1.0, girls_mean=127.0):
    """A sex-blind estimator of children whose girls mature `girls_older_by` months earlier."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.5
    age = np.clip(rng.normal(np.where(male, 127, girls_mean), 45, n), 2, 230)
    maturity = age + np.where(male, -0.5, 0.5) * girls_older_by
    estimate = 127 + slope * (maturity - 127) + rng.normal(0, 10, n)
    return pd.DataFrame({"age_months": age, "male": male, "predicted_age_months": estimate})


@pytest.mark.parametrize("planted", [12.0, -12.0])
def test_a_planted_gap_is_found_in_every_band_and_named(planted):
    table = sex_gap.sex_gap(hands(girls_older_by=planted))
    gap = sex_gap.gap_of(table)
    assert gap.low <= planted <= gap.high and not gap.is_tie
    bands = table[~table["few"]]
    assert (bands["gap_months"] - planted).abs().max() < 6
    older, younger = ("girls", "boys") if planted > 0 else ("boys", "girls")
    assert f"{older.capitalize()}’ estimates exceed {younger}’ by 1" in sex_gap.verdict(table)
    assert sex_gap.verdict(table).endswith("months at similar labels")
    assert f"the estimates of {older} exceed those of {younger} by 1" in sex_gap.sentence(table)
    assert "averaged over half-years of the label that contain both" in sex_gap.sentence(table)


def test_a_fair_estimator_has_no_gap_in_19_of_20_studies():
    ties = [sex_gap.gap_of(sex_gap.sex_gap(hands(300, seed))).is_tie for seed in range(40)]
    assert np.mean(ties) >= 0.85


def test_regression_to_the_mean_of_younger_girls_is_no_gap_between_the_sexes():
    frame = hands(6000, slope=0.6, girls_mean=100)
    table = sex_gap.sex_gap(frame)
    everyone = table.iloc[-1]
    between_means = everyone["female_bias_months"] - everyone["male_bias_months"]
    assert between_means > 8
    assert abs(everyone["gap_months"]) < 1.2
    assert f"{between_means:.1f} months without this adjustment" in sex_gap.sentence(table)


def test_a_gap_in_one_band_alone_is_named():
    frame = hands(girls_older_by=0)
    inside = frame["age_months"].between(96, 143)
    frame.loc[inside & ~frame["male"], "predicted_age_months"] += 7.7
    frame.loc[inside & frame["male"], "predicted_age_months"] -= 6.0
    sentence = sex_gap.sentence(sex_gap.sex_gap(frame))
    assert "largest at 8–12 years: 1" in sentence


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_hardly_any_hands_are_no_error(n):
    table = sex_gap.sex_gap(hands(n))
    assert table["band"].tolist() == [*NAMES, sex_gap.ALL]
    assert all(sex_gap.variables(table).values())


def test_one_sex_alone_has_no_gap():
    table = sex_gap.sex_gap(hands(50).assign(male=True))
    assert sex_gap.verdict(table) == "No gap between the sexes can be measured"
    assert "cannot be measured" in sex_gap.sentence(table)


def test_of_one_boy_no_interval_is_computed_and_a_tie_names_no_sex():
    frame = hands(40)
    frame = frame[frame["age_months"].between(48, 190)]
    youngest = frame["age_months"] < 96
    alone = frame[~youngest | ~frame["male"] | (frame.index == frame[frame["male"]].index[0])]
    alone.loc[alone[alone["male"]].index[0], "age_months"] = 60.0
    table = sex_gap.sex_gap(alone).set_index("band")
    assert table.loc["4–8 years", "n_male"] == 1
    assert np.isnan(table.loc["4–8 years", "gap_months_low"])
    assert "no demonstrable difference" in sex_gap.sentence(sex_gap.sex_gap(hands(60, seed=3)))
