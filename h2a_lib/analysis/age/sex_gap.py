"""For whom is the estimate wrong? Signed errors of girls and boys of the same labelled age."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.bands import band_of, masks_by_band
from h2a_lib.analysis.statistics.bootstrap import FEW, Estimate, bootstrap, mean_interval, number

ALL = "all"


def sex_gap(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the mean signed error of girls and boys by age band; the last row is "all".

    Girls and boys differ in age, and young hands tend to be overestimated. So the gap over all ages
    (girls minus boys) is the mean of the bands' gaps, each weighted by its hands. A band with fewer
    than two girls or two boys has none: of one hand no interval can be computed.
    """
    errors = (frame[PREDICTED] - frame[TRUE]).to_numpy(float)
    male, band = frame["male"].to_numpy(bool), band_of(frame[TRUE])
    rows = []
    for name, rows_of_band in masks_by_band(frame[TRUE]):
        girls, boys = errors[rows_of_band & ~male], errors[rows_of_band & male]
        gap = _gap(errors[rows_of_band], male[rows_of_band], band[rows_of_band])
        rows.append(
            {"band": name, "n_female": len(girls), "n_male": len(boys)}
            | {"few": min(len(girls), len(boys)) < FEW}
            | mean_interval(girls).row("female_bias_months")
            | mean_interval(boys).row("male_bias_months")
            | gap.row("gap_months")
        )
    return pd.DataFrame(rows)


def _gap(errors: NDArray[np.float64], male: NDArray[np.bool_], band: NDArray[np.int64]) -> Estimate:
    """Mean error of girls minus that of boys, averaged over the bands with two of each or more."""
    shared = [b for b in np.unique(band) if 1 < male[band == b].sum() < (band == b).sum() - 1]
    inside = np.isin(band, shared)
    errors, male, band = errors[inside], male[inside], band[inside]

    def gap(e: NDArray, m: NDArray, b: NDArray) -> NDArray[np.float64]:
        total = np.zeros(e.shape[:-1])
        for one_band in shared:
            girls, boys = (b == one_band) & (m == 0), (b == one_band) & (m == 1)
            difference = (e * girls).sum(-1) / girls.sum(-1) - (e * boys).sum(-1) / boys.sum(-1)
            total = total + difference * (band == one_band).mean()
        return total

    # Each sex of each band keeps its size in every resample.
    return bootstrap(gap, errors, male.astype(int), band, strata=2 * band + male)


def gap_of(table: pd.DataFrame, band: str = ALL) -> Estimate:
    """Return the gap of a band, from `sex_gap`."""
    row = table.assign(n=table["n_female"] + table["n_male"]).set_index("band").loc[band]
    return Estimate.of(row, "gap_months")


def verdict(table: pd.DataFrame) -> str:
    """Say in a title for whom the estimate is wrong."""
    gap = gap_of(table)
    if np.isnan(gap.value):
        return "No gap between the sexes can be measured"
    if gap.is_tie:
        return f"No gap between the sexes is shown (n = {gap.n:,})"
    who, other = ("Girls", "boys") if gap.value > 0 else ("Boys", "girls")
    older = number(abs(gap.value))
    return f"{who} are estimated {older} months older than {other} with the same label"


def sentence(table: pd.DataFrame) -> str:
    """Give the gap over all ages, and the band in which it is largest among those with hands."""
    gap = gap_of(table)
    if np.isnan(gap.value):
        return "The sexes have no age band in common: the gap cannot be measured."
    if gap.is_tie:
        return (
            "At the same labelled age, the mean error of girls minus that of boys is "
            f"{gap.text('months')}: no demonstrable difference."
        )
    who, other = ("girls", "boys") if gap.value > 0 else ("boys", "girls")
    everyone = table.set_index("band").loc[ALL]
    plain = everyone["female_bias_months"] - everyone["male_bias_months"]
    text = (
        f"At the same labelled age, {who} are estimated older than {other}: by "
        f"{abs(gap).text('months')}, averaged over age bands. (Over all ages at once it is "
        f"{number(abs(plain))} months, because girls and boys differ in age.)"
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


def variables(table: pd.DataFrame) -> dict[str, str]:
    """Return the gap as ready-to-print values."""
    return {
        "sex_gap": gap_of(table).text("months"),
        "sex_gap_verdict": verdict(table),
        "sex_gap_sentence": sentence(table),
    }
