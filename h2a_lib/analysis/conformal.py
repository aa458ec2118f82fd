"""Split-conformal intervals: how far off an estimate may be, with a stated chance of being right.

Vovk, Gammerman and Shafer 2005, *Algorithmic Learning in a Random World*, chapter 4.5 (by band,
"Mondrian"); Lei et al. 2018, JASA 113:1094, section 2.2 (split).

The band is that of the *predicted* age, since the true one is not known when a hand is read.
The residuals are those of validation hands: of training hands they would be too small. The
network's best epoch was chosen on the same hands, so they are still a little optimistic.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.age import PREDICTED, TRUE
from h2a_lib.analysis.bands import NAMES, band_of, by_band_and_sex
from h2a_lib.analysis.calibration import FOLDS, folds_of
from h2a_lib.analysis.statistics import FEW, mean_interval

LEVEL = 0.9


@dataclass(frozen=True)
class Conformal:
    """Half-widths of prediction intervals.

    Attributes
    ----------
    level : float
        Share of new hands whose true age is inside.
    half_width_months : tuple of float
        One for each band of `bands.NAMES`, by predicted age. Infinite where too few hands were
        seen in all to promise the level.
    n : tuple of int
        Hands behind each; a band with fewer than 30 takes the half-width of all hands together.
    """

    level: float
    half_width_months: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame, level: float = LEVEL) -> "Conformal":
        """Fit on hands that the network was not trained on.

        Parameters
        ----------
        frame : DataFrame
            `age_months`, `predicted_age_months`.
        level : float
            Between 0 and 1.
        """
        errors = (frame[PREDICTED] - frame[TRUE]).abs().to_numpy(float)
        band = band_of(frame[PREDICTED])
        of_all = quantile(errors, level)
        widths, counts = [], []
        for i in range(len(NAMES)):
            own = errors[band == i]
            enough = len(own) >= FEW
            widths.append(quantile(own, level) if enough else of_all)
            counts.append(len(own) if enough else len(errors))
        return cls(level, tuple(widths), tuple(counts))

    def half_widths(self, predicted_age_months: ArrayLike) -> NDArray[np.float64]:
        """Return the half-width for each prediction, (n,), months."""
        return np.array(self.half_width_months)[band_of(predicted_age_months)]

    def interval(
        self, predicted_age_months: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper ends, (n,) each, months; none is below 0, as no age is."""
        predicted = np.asarray(predicted_age_months, float)
        half = self.half_widths(predicted)
        return np.maximum(predicted - half, 0), np.maximum(predicted + half, 0)


def quantile(errors: NDArray[np.float64], level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest error; infinite if there are too few.

    With this rank a new error, exchangeable with these, is no larger with a chance of at least
    `level` whatever their distribution (Lei et al. 2018, theorem 2.2).
    """
    # The tolerance keeps 0.9 * 10 = 9.000000000000002 from asking for the tenth.
    rank = math.ceil((len(errors) + 1) * level - 1e-9)
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else math.inf


def cross_conformal(
    frame: pd.DataFrame, level: float = LEVEL, folds: int = FOLDS, seed: int = 0
) -> pd.DataFrame:
    """Give each validation hand an interval that was fitted on the other folds.

    So the coverage is measured on hands that had no part in the interval.

    Returns
    -------
    DataFrame
        As `frame`, with low_months, high_months, half_width_months and covered.
    """
    fold = folds_of(frame["id"], folds, seed)
    half = np.full(len(frame), np.inf)
    for k in np.unique(fold):
        fitted = Conformal.fit(frame[fold != k], level)
        half[fold == k] = fitted.half_widths(frame.loc[fold == k, PREDICTED])
    predicted, true = frame[PREDICTED].to_numpy(float), frame[TRUE].to_numpy(float)
    return frame.assign(
        low_months=np.maximum(predicted - half, 0),
        high_months=np.maximum(predicted + half, 0),
        half_width_months=half,
        # By the distance, not by the ends: the same at 0, where an end is cut off.
        covered=np.abs(predicted - true) <= half,
    )


def coverage(intervals: pd.DataFrame) -> pd.DataFrame:
    """Sum up achieved coverage and width by true age band and sex.

    Parameters
    ----------
    intervals : DataFrame
        From `cross_conformal`.

    Returns
    -------
    DataFrame
        band, sex, n, few, coverage with _low and _high, half_width_months (median).
    """
    rows = []
    for band, sex, part in by_band_and_sex(intervals):
        covered = mean_interval(part["covered"].to_numpy(float))
        width = float(part["half_width_months"].median()) if len(part) else math.nan
        rows.append(
            {"band": band, "sex": sex, "n": covered.n, "few": covered.few}
            | covered.row("coverage", digits=4)
            | {"half_width_months": round(width, 2)}
        )
    return pd.DataFrame(rows)
