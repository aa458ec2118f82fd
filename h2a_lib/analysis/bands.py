"""Age bands: one definition for every table and figure that is split by age."""

import itertools

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

# 48 months each, as in the published clustering of these radiographs (docs/answers.md), so that
# its accuracy and ours are of the same question.
EDGES_MONTHS = (0, 48, 96, 144, 192, 240)
NAMES = tuple(f"{low // 12}–{high // 12} years" for low, high in itertools.pairwise(EDGES_MONTHS))
SEXES = ("female", "male")
# Labels of bone age are nearly all multiples of six months, so half a year is one label or two.
HALF_YEAR_MONTHS = 6


def band_of(age_months: ArrayLike) -> NDArray[np.int64]:
    """Return the band each age falls in, (n,), positions in `NAMES`; it holds its lower edge.

    What lies outside 0 to 240 months (a prediction may) belongs to the outermost band.
    """
    inner = EDGES_MONTHS[1:-1]
    return np.searchsorted(inner, np.asarray(age_months, dtype=float), side="right")


def sex_of(male: ArrayLike) -> NDArray[np.str_]:
    """Return "male" or "female", (n,), for a column of booleans."""
    return np.where(np.asarray(male, dtype=bool), "male", "female")


def masks_by_band(age_months: ArrayLike) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return which hands, (n,), are in each band of `NAMES`, and last in "all"."""
    band = band_of(age_months)
    everyone = ("all", np.ones(len(band), dtype=bool))
    return [*((name, band == i) for i, name in enumerate(NAMES)), everyone]


def by_band_and_sex(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Cut hands into (band, sex, part), with the totals "all" and "both".

    Empty parts are kept: a subgroup without hands is a finding, not a gap.
    """
    sex, everyone = sex_of(frame["male"]), ("both", np.ones(len(frame), dtype=bool))
    sexes = [*((name, sex == name) for name in SEXES), everyone]
    return [
        (band_name, sex_name, frame[in_band & of_sex])
        for band_name, in_band in masks_by_band(frame["age_months"])
        for sex_name, of_sex in sexes
    ]
