"""For whom is the estimate wrong? Signed errors of girls and boys of similar labelled age."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.bands import EDGES_MONTHS, HALF_YEAR_MONTHS, masks_by_band
from h2a_lib.analysis.statistics.bootstrap import FEW, Estimate, bootstrap, mean_interval, number

ALL = "all"
# Widths of the strata of labelled age in which girls and boys are compared, and their names.
STRATA = {
    HALF_YEAR_MONTHS: "half-years of the label",
    12: "years of the label",
    24: "two-year bands of the label",
    EDGES_MONTHS[1]: "four-year bands of the label",
}


def sex_gap(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the mean signed error of girls and boys by age band; the last row is "all".

    Girls and boys differ in age, and young hands tend to be overestimated. So each gap (girls minus
    boys) is a mean over strata of labelled age (`stratum_months`), weighted by their hands; n
    counts the hands of strata with two girls and two boys or more, in which a gap can be measured.
    """
    errors, male = (frame[PREDICTED] - frame[TRUE]).to_numpy(float), frame["male"].to_numpy(bool)
    stratum = _stratum(frame, stratum_months(frame))
    rows = []
    for name, inside in masks_by_band(frame[TRUE]):
        girls, boys = errors[inside & ~male], errors[inside & male]
        gap = _gap(errors[inside], male[inside], stratum[inside])
        rows.append(
            {"band": name, "n_female": len(girls), "n_male": len(boys), "n": gap.n}
            | {"few": min(len(girls), len(boys)) < FEW}
            | mean_interval(girls).row("female_bias_months")
            | mean_interval(boys).row("male_bias_months")
            | gap.row("gap_months")
        )
    return pd.DataFrame(rows).assign(stratum_months=stratum_months(frame))


def stratum_months(frame: pd.DataFrame) -> int:
    """Return the narrowest strata that leave 30 girls and 30 boys to be compared, or the widest."""
    male = frame["male"].to_numpy(bool)
    for months in STRATA:
        shared = _is_shared(male, _stratum(frame, months))
        if min((shared & ~male).sum(), (shared & male).sum()) >= FEW:
            return months
    return months


def _stratum(frame: pd.DataFrame, months: int) -> NDArray[np.int64]:
    return np.floor(frame[TRUE].to_numpy(float) / months).astype(np.int64)


def _is_shared(male: NDArray[np.bool_], stratum: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which hands, (n,), are in a stratum with two girls and two boys or more."""
    _, at = np.unique(stratum, return_inverse=True)
    girls, boys = np.bincount(at, ~male), np.bincount(at, male)
    return ((girls > 1) & (boys > 1))[at]


def _gap(
    errors: NDArray[np.float64], male: NDArray[np.bool_], stratum: NDArray[np.int64]
) -> Estimate:
    """Mean error of girls minus that of boys, averaged over the strata that both are in."""
    shared = _is_shared(male, stratum)
    errors, male, stratum = errors[shared], male[shared], stratum[shared]
    _, at = np.unique(stratum, return_inverse=True)
    girls, boys = np.bincount(at, ~male)[at], np.bincount(at, male)[at]
    # Each sex of each stratum keeps its size in every resample, so each hand keeps its weight.
    weight = (girls + boys) / len(errors) * np.where(male, -1 / boys, 1 / girls)
    return bootstrap(lambda e, w: (e * w).sum(axis=-1), errors, weight, strata=2 * at + male)


def gap_of(table: pd.DataFrame, band: str = ALL) -> Estimate:
    """Return the gap of a band, from `sex_gap`."""
    return Estimate.of(table.set_index("band").loc[band], "gap_months")


def verdict(table: pd.DataFrame) -> str:
    """Say in a title for whom the estimate is wrong."""
    gap = gap_of(table)
    if np.isnan(gap.value):
        return "No gap between the sexes can be measured"
    if gap.is_tie:
        return f"No gap between the sexes is shown (n = {gap.n:,})"
    who, other = ("Girls", "boys") if gap.value > 0 else ("Boys", "girls")
    older = number(abs(gap.value))
    return f"{who}’ estimates exceed {other}’ by {older} months at similar labels"


def sentence(table: pd.DataFrame) -> str:
    """Give the gap over all ages, and the band in which it is largest among those with hands."""
    gap = gap_of(table)
    if np.isnan(gap.value):
        return "Girls and boys have no ages in common: the gap cannot be measured."
    if gap.is_tie:
        return (
            "At similar labelled ages, the mean error of girls minus that of boys is "
            f"{gap.text('months')}: no demonstrable difference."
        )
    who, other = ("girls", "boys") if gap.value > 0 else ("boys", "girls")
    everyone = table.set_index("band").loc[ALL]
    plain = everyone["female_bias_months"] - everyone["male_bias_months"]
    text = (
        f"At similar labels, the estimates of {who} exceed those of {other} by "
        f"{abs(gap).text('months')}, averaged over {STRATA[table['stratum_months'].iloc[0]]} that "
        f"contain both sexes ({number(abs(plain))} months without this adjustment)."
    )
    bands = table[(table["band"] != ALL) & ~table["few"]]
    if bands.empty:
        return f"{text} No age band has {FEW} hands of each sex."
    row = bands.loc[bands["gap_months"].abs().idxmax()]
    largest = abs(gap_of(table, row["band"])).text("months")
    return f"{text} The gap is largest at {row['band']}: {largest}."


def signed(value: float) -> str:
    """Print a number with its sign: "+7.7", "−6.0"."""
    text = number(value)
    return text if text.startswith("−") or text in ("0.0", "–") else f"+{text}"


def _with_sex_input(gap: Estimate) -> str:
    if gap.is_tie:
        return (
            f"With sex as an input, the gap is {gap.text('months')}: not distinguishable from none."
        )
    who, other = ("girls", "boys") if gap.value > 0 else ("boys", "girls")
    size = abs(gap).text("months")
    return (
        f"With sex as an input, at similar labels, the estimates of {who} exceed those of {other} "
        f"by {size}."
    )


def variables(table: pd.DataFrame, with_sex_input: pd.DataFrame | None = None) -> dict[str, str]:
    """Return the gap as ready-to-print values, and that of a network with sex input."""
    remaining = {}
    if with_sex_input is not None:
        remaining["sex_gap_sex_input"] = _with_sex_input(gap_of(sex_gap(with_sex_input)))
    return remaining | {
        "sex_gap": gap_of(table).text("months"),
        "sex_gap_verdict": verdict(table),
        "sex_gap_sentence": sentence(table),
    }
