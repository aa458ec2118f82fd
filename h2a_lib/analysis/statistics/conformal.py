"""Split-conformal intervals: how far off an estimate may be, with a stated chance of being right.

Vovk, Gammerman and Shafer 2005, *Algorithmic Learning in a Random World*, chapter 4.5 ("Mondrian",
by label); Lei et al. 2018, JASA 113:1094, section 2.2 (split).

The promise is kept in each band of *true* age. It is not known when a hand is read, but an age can
be tried: it is possible if the estimate is no farther off than it usually is for hands of that age,
and the interval spans all possible ages. With bands of the estimate instead, 90 % intervals of the
study on real radiographs held 64 % of the labels from 16 years on, since old hands are read too
young; these hold 90 %, and are 6 % wider on average.

The residuals are those of validation hands: of training hands they would be too small. The
network's best epoch was chosen on the same hands, so they are still a little optimistic.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.bands import EDGES_MONTHS, by_band_and_sex
from h2a_lib.analysis.statistics.bootstrap import FEW, share_interval
from h2a_lib.analysis.statistics.calibration import folds_of

LEVEL = 0.9


@dataclass(frozen=True)
class Conformal:
    """How far off estimates are, by true age.

    Attributes
    ----------
    level : float
        Share of new hands, in each band, whose true age is inside.
    edges_months : tuple of float
        Between the bands: those of `bands`, a band with fewer than 30 hands joined to the
        smaller of its neighbours.
    error_months : tuple of float
        One for each band: the error that `level` of its hands do not exceed. Infinite where too
        few hands were seen in all to promise the level.
    n : tuple of int
        Hands behind each.
    """

    level: float
    edges_months: tuple[float, ...]
    error_months: tuple[float, ...]
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
        true = frame[TRUE].to_numpy(float)
        errors = np.abs(frame[PREDICTED].to_numpy(float) - true)
        edges = _joined(true, list(EDGES_MONTHS[1:-1]))
        band = np.searchsorted(edges, true, side="right")
        own = [errors[band == i] for i in range(len(edges) + 1)]
        return cls(
            level, tuple(edges), tuple(quantile(e, level) for e in own), tuple(map(len, own))
        )

    def interval(
        self, predicted_age_months: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper ends, (n,) each, months; none is below 0, as no age is."""
        predicted = np.asarray(predicted_age_months, float)[:, None]
        errors = np.array(self.error_months)
        # (n, bands): the part of each band that is possible, if any is. The outermost bands are
        # open, so every estimate lies in a band and has at least itself.
        low = np.maximum(predicted - errors, [-np.inf, *self.edges_months])
        high = np.minimum(predicted + errors, [*self.edges_months, np.inf])
        possible = low <= high
        lowest = np.where(possible, low, np.inf).min(axis=1)
        highest = np.where(possible, high, -np.inf).max(axis=1)
        return np.maximum(lowest, 0), np.maximum(highest, 0)


def _joined(ages: NDArray[np.float64], edges: list[float]) -> list[float]:
    """Take out edges until no band has fewer than 30 of the ages, (n,), or one band is left."""
    while edges:
        n = np.bincount(np.searchsorted(edges, ages, side="right"), minlength=len(edges) + 1)
        least = int(n.argmin())
        if n[least] >= FEW:
            break
        below = n[least - 1] if least > 0 else math.inf
        above = n[least + 1] if least < len(edges) else math.inf
        edges = edges.copy()
        del edges[least - 1 if below <= above else least]
    return edges


def quantile(errors: NDArray[np.float64], level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest error; infinite if there are too few.

    With this rank a new error, exchangeable with these, is no larger with a chance of at least
    `level` whatever their distribution (Lei et al. 2018, theorem 2.2).
    """
    # The tolerance keeps 0.9 * 10 = 9.000000000000002 from asking for the tenth.
    rank = math.ceil((len(errors) + 1) * level - 1e-9)
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else math.inf


def cross_conformal(frame: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Give each validation hand an interval that was fitted on the other folds.

    So the coverage is measured on hands that had no part in the interval.

    Returns
    -------
    DataFrame
        As `frame`, with low_months, high_months, half_width_months and covered.
    """
    fold = folds_of(frame["id"])
    low, high = np.zeros(len(frame)), np.full(len(frame), np.inf)
    for k in np.unique(fold):
        own = fold == k
        fitted = Conformal.fit(frame[~own], level)
        low[own], high[own] = fitted.interval(frame.loc[own, PREDICTED])
    return frame.assign(
        low_months=low,
        high_months=high,
        half_width_months=(high - low) / 2,
        covered=frame[TRUE].between(low, high),
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
        covered = share_interval(part["covered"])
        width = float(part["half_width_months"].median()) if len(part) else math.nan
        rows.append(
            {"band": band, "sex": sex, "n": covered.n, "few": covered.few}
            | covered.row("coverage", digits=4)
            | {"half_width_months": round(width, 2)}
        )
    return pd.DataFrame(rows)
